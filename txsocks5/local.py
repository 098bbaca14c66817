"""
The machine's own addresses and ports.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import TypeVar

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress

from .errors import Overloaded
from .wire import Address, IPAddress, unmapped

__all__ = [
    "Place",
    "addressOf",
    "hostOf",
    "isNear",
    "isOwn",
    "openAtFirst",
    "openPort",
    "placeOf",
    "sourceTowards",
    "textOf",
]

_T = TypeVar("_T")

Place = Address | bytes
"""
Where to find a server: an address of the internet, or the path of a UNIX socket.
"""

# How many ports of a configured range are tried before giving up.
_ATTEMPTS = 64


def addressOf(address: IAddress | None) -> Address | None:
    """
    Turn Twisted's address of a connection or port into ours.  A scope id is dropped, and
    an IPv4-mapped address becomes the IPv4 one.

    @return: the address, or L{None} if it is not one of the internet, as with a UNIX
        socket.
    """
    host = getattr(address, "host", None)
    port = getattr(address, "port", None)
    if not isinstance(host, str) or not isinstance(port, int):
        return None
    try:
        return Address(hostOf(host), port)
    except ValueError:
        return None


def placeOf(address: IAddress | None) -> Place | None:
    """
    Where a connection has arrived, or a port listens: an address as of L{addressOf}, or the path of
    a UNIX socket.

    @return: L{None} if it is neither.
    """
    name = getattr(address, "name", None)
    return name if isinstance(name, bytes) else addressOf(address)


@lru_cache(maxsize=4096)
def hostOf(text: str) -> IPAddress:
    """
    Read an address as the system writes it.  Most come again soon.

    @raise ValueError: it is none.
    """
    return unmapped(ip_address(text.partition("%")[0]))


def textOf(host: IPAddress) -> str:
    """
    Write an address for the system, in a third of the time that C{str} takes.
    """
    if isinstance(host, IPv4Address):
        return socket.inet_ntoa(host.packed)
    return socket.inet_ntop(socket.AF_INET6, host.packed)


def _family(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6


def isOwn(address: IPAddress) -> bool:
    """
    Whether C{address} is one of this machine's: only those can be bound to.

    @raise OSError: it cannot be told, since there is no socket to try it with, or binding that
        failed for another reason.
    """
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            # All of its ports are taken, which clients can bring about with associations.
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return True


def isNear(client: IPAddress, reached: Sequence[IPAddress]) -> bool:
    """
    Whether a client is on this machine, be it by another of its addresses than the one it has
    reached: the system may have several, and chooses.  If it cannot be told, it may be.
    """
    if client.is_loopback or client in reached:
        return True
    try:
        return isOwn(client)
    except OSError:
        return True


def sourceTowards(address: IPAddress) -> IPAddress | None:
    """
    Which of its addresses the system would use towards C{address}.  No packet is sent.

    @return: the address, or L{None} if no route leads there.

    @raise OSError: there is no socket to try it with.
    """
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return None
        return unmapped(ip_address(probe.getsockname()[0].partition("%")[0]))


def openPort(listen: Callable[[int], _T], ports: range | None) -> _T:
    """
    Listen on a port that is free.

    @param listen: listens on a port, 0 for one of the system's choice.

    @param ports: the ports to choose from, or L{None} for the system's choice.

    @return: what C{listen} returned.

    @raise Overloaded: no port of the range was found free.

    @raise CannotListenError: from C{listen}, where the system chooses.
    """
    if ports is None:
        return listen(0)
    for port in random.sample(ports, min(_ATTEMPTS, len(ports))):
        try:
            return listen(port)
        except CannotListenError:
            continue
    raise Overloaded(f"no free port found in {ports.start}-{ports.stop - 1}")


def openAtFirst(listen: Callable[[IPAddress], _T], addresses: Sequence[IPAddress]) -> _T:
    """
    Listen at the first address where that works.  Behind a PROXY header, the address that a
    client has reached need not be one of this machine.

    @param addresses: at least one.

    @return: what C{listen} returned.

    @raise Exception: what C{listen} raised for the last of them.
    """
    for address in addresses[:-1]:
        with suppress(CannotListenError, Overloaded):
            return listen(address)
    return listen(addresses[-1])

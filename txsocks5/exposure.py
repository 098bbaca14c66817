"""
Where an endpoint string would listen, found out without listening.

A server that only its own machine can reach may go without authentication; any other must
not (S-04), and has to be refused before it listens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from .wire import Address, unmapped

__all__ = ["addressesOf", "isLocal"]


class _NotNow(Exception):
    """
    Keeps an endpoint from going on as if it listened.
    """


class _Recorder:
    """
    What an endpoint takes for a reactor; it only writes down where it is asked to listen.

    @ivar local: for each listener, whether only this machine can reach it.

    @ivar addresses: those that are known before it listens.
    """

    def __init__(self) -> None:
        self.local: list[bool] = []
        self.addresses: list[Address] = []

    def _note(self, interface: str, port: int) -> None:
        """
        Note an interface; the empty one is all of them.
        """
        try:
            host = unmapped(ip_address(interface.partition("%")[0] or "0.0.0.0"))
        except ValueError:
            self.local.append(False)
        else:
            self.local.append(host.is_loopback)
            if port:
                self.addresses.append(Address(host, port))

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> Any:
        """
        Note an interface.
        """
        self._note(interface, port)
        raise _NotNow

    def listenSSL(
        self,
        port: int,
        factory: object,
        contextFactory: object,
        backlog: int = 50,
        interface: str = "",
    ) -> Any:
        """
        Note an interface.
        """
        self._note(interface, port)
        raise _NotNow

    def listenUNIX(self, address: object, factory: object, *args: Any, **kwargs: Any) -> Any:
        """
        Note a UNIX socket.
        """
        self.local.append(True)
        raise _NotNow

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: object) -> Any:
        """
        Note a socket that systemd has passed on.  Raising an exception also keeps the endpoint
        from closing it.
        """
        with socket.socket(fileno=os.dup(fileDescriptor)) as inherited:
            if inherited.family != addressFamily:
                # Twisted would read every address from the wrong octets.
                raise OSError(f"its domain is not that of the socket, {inherited.family.name}")
            if inherited.family == socket.AF_UNIX:
                self.local.append(True)
            else:
                self._note(*inherited.getsockname()[:2])
        raise _NotNow


def isLocal(description: str) -> bool:
    """
    Whether only clients on this machine can reach a listener.

    @param description: an endpoint string.

    @return: L{True} if it is known to listen on loopback addresses or UNIX sockets only.

    @raise ValueError: it is no endpoint string.

    @raise TypeError: it has an argument too many, or too few.

    @raise Exception: it names something that cannot be used: a certificate that is not there, a
        socket that systemd has not passed on.
    """
    recorder = _recorded(description)
    return bool(recorder.local) and all(recorder.local)


def addressesOf(description: str) -> Sequence[Address]:
    """
    Where a listener would listen.

    @param description: see L{isLocal}, also for the errors.

    @return: the addresses that are known before it does: none for a UNIX socket, a name, or a port
        that the system is to choose.
    """
    return _recorded(description).addresses


def _recorded(description: str) -> _Recorder:
    """
    Let an endpoint listen, as far as it knows.
    """
    recorder = _Recorder()
    try:
        endpoint = serverFromString(cast(Any, recorder), description)
    except LookupError as error:
        raise ValueError(f"there is no such socket or argument: {error}") from error
    for failure in _failures(maybeDeferred(endpoint.listen, Factory())):
        # It has been asked to look at what is no socket.
        if isinstance(failure, OSError):
            raise failure
    return recorder


def _failures(listened: Deferred[Any]) -> list[BaseException]:
    """
    What has kept an endpoint from listening by now.
    """
    found: list[BaseException] = []

    def failed(reason: Failure) -> None:
        assert reason.value is not None
        found.append(reason.value)

    listened.addErrback(failed)
    return found

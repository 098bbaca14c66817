"""
The values that a configuration is made of, beyond numbers and texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated, TypeAlias, Union

import attrs

from ..exposure import isLocal
from ..wire import Address, Command, IPAddress, unmapped
from ._forms import BadValue, Form, described

__all__ = [
    "COMMANDS",
    "AddressText",
    "CommandWord",
    "Endpoint",
    "IPNetwork",
    "Moment",
    "NamePattern",
    "NameServer",
    "NamedSet",
    "Pattern",
    "Ports",
    "PortsOrPort",
    "addresses",
    "readNameServer",
    "readPorts",
]

IPNetwork = Union[IPv4Network, IPv6Network]  # noqa: UP007 - an alias that pydoctor reads


@attrs.frozen
class NamePattern:
    """
    A destination by its name as asked.

    @ivar name: in lower case and ASCII, without a trailing dot.

    @ivar below: whether it holds for every name below C{name}, and not for C{name}.
    """

    name: str
    below: bool = False


@attrs.frozen
class NamedSet:
    """
    One of the L{SETS <txsocks5.networks.SETS>}, or C{any}.
    """

    name: str


Pattern = Union[NamePattern, NamedSet, IPv4Network, IPv6Network]  # noqa: UP007
"""
One entry of a rule's C{to}.
"""

COMMANDS = {
    "connect": Command.CONNECT,
    "bind": Command.BIND,
    "udp": Command.UDP_ASSOCIATE,
}
"""
The commands by the words that stand for them in a file.
"""

_COMMAND = 'one of "connect", "bind", "udp"'
_ADDRESS = 'an IPv4 or IPv6 address, such as "192.0.2.9" or "2001:db8::9"'
_PORTS = 'a range of ports, such as "20000-29999", from 1 to 65535'
_PORTS_OR_PORT = 'a port from 0 to 65535, or a range such as "8000-8999"'
_MOMENT = "a date, such as 2027-01-31, or a date and time with offset, such as 2027-01-31T12:00:00Z"
_SERVER = (
    '"system", or the address of a name server with or without port, such as "192.0.2.53", '
    '"127.0.0.1:5353" or "[::1]:5353"'
)
_ENDPOINT = 'a server endpoint string of Twisted, such as "tcp:1080:interface=127.0.0.1"'

_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_SERVER_WITH_PORT = re.compile(r"(?:\[([^]]*)\]|([^:]*)):([0-9]{1,5})", re.ASCII)


def _readCommand(value: object) -> Command:
    """
    @raise BadValue: it is no command.
    """
    if not isinstance(value, str) or value not in COMMANDS:
        raise BadValue(described(value), _COMMAND)
    return COMMANDS[value]


def _writeAddress(address: IPAddress) -> str:
    """
    Write an address.
    """
    return f'"{address}"'


def _writeCommand(command: Command) -> str:
    """
    The word for a command.
    """
    return next(described(word) for word, each in COMMANDS.items() if each is command)


def _readAddress(value: object) -> IPAddress:
    """
    Read an address; an IPv4-mapped one is the IPv4 address.

    @raise BadValue: it is none, or one that means something only together with an interface.
    """
    if isinstance(value, str) and "%" not in value:
        try:
            return unmapped(ip_address(value))
        except ValueError:
            pass
    raise BadValue(described(value), _ADDRESS)


def readPorts(value: object, lowest: int, allowed: str) -> range:
    """
    Read a range of ports, such as C{8000-8999}.

    @param lowest: the lowest port that there is.

    @param allowed: what is, for people.

    @return: it, with both of its ends.

    @raise BadValue: it is none.
    """
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        first, last = int(match[1]), int(match[2])
        if lowest <= first <= last <= 0xFFFF:
            return range(first, last + 1)
    raise BadValue(described(value), allowed)


def _readSomePorts(value: object) -> range:
    """
    @raise BadValue: it is no range of ports that can be listened at.
    """
    return readPorts(value, 1, _PORTS)


def _readPortsOrPort(value: object) -> range:
    """
    @raise BadValue: it is neither a port nor a range of them.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF:
        return range(value, value + 1)
    return readPorts(value, 0, _PORTS_OR_PORT)


def _writePorts(ports: range) -> str:
    """
    A range, or a single port.
    """
    return str(ports.start) if len(ports) == 1 else f'"{ports.start}-{ports[-1]}"'


def _readMoment(value: object) -> datetime:
    """
    Read when something happens: the beginning of a date, in UTC, or a time that says its offset.

    @raise BadValue: it is neither.
    """
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return value
    elif isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise BadValue(described(value), _MOMENT)


def readNameServer(value: object) -> Address | None:
    """
    Read who is asked for the addresses of names.

    @return: the address of a name server; L{None} for C{system}.

    @raise BadValue: it is none.
    """
    if value == "system":
        return None
    if isinstance(value, str) and "%" not in value:
        match = _SERVER_WITH_PORT.fullmatch(value)
        host, port = (match[1] or match[2], int(match[3])) if match else (value, 53)
        try:
            address = unmapped(ip_address(host))
        except ValueError:
            pass
        else:
            if 1 <= port <= 0xFFFF and not (address.is_unspecified or address.is_multicast):
                return Address(address, port)
    raise BadValue(described(value), _SERVER)


def _readServer(value: object) -> str:
    """
    @raise BadValue: see L{readNameServer}.
    """
    readNameServer(value)
    return str(value)


def _readEndpoint(value: object) -> str:
    """
    @raise BadValue: it is no endpoint string, or one that cannot be used.
    """
    if not isinstance(value, str):
        raise BadValue(described(value), _ENDPOINT)
    try:
        isLocal(value)
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise BadValue(f"{described(value)}, which cannot be used: {reason}", _ENDPOINT) from None
    return value


def addresses(values: Iterable[IPAddress | str]) -> tuple[IPAddress, ...]:
    """
    Convert addresses, of which there may be one of each family.

    @raise BadValue: one is none, or there are two of a family.
    """
    found = tuple(unmapped(ip_address(value)) for value in values)
    if len({address.version for address in found}) < len(found):
        raise BadValue("more than one address of a family", "one IPv4 and one IPv6 address")
    return found


CommandWord: TypeAlias = Annotated[Command, Form(_COMMAND, _readCommand, _writeCommand)]
"""
A command, by the word for it.
"""

AddressText: TypeAlias = Annotated[IPAddress, Form(_ADDRESS, _readAddress, _writeAddress)]
"""
An address, never an IPv4-mapped one.
"""

Ports: TypeAlias = Annotated[range, Form(_PORTS, _readSomePorts, _writePorts)]
"""
Ports to listen at.
"""

PortsOrPort: TypeAlias = Annotated[range, Form(_PORTS_OR_PORT, _readPortsOrPort, _writePorts)]
"""
Ports to compare with.
"""

Moment: TypeAlias = Annotated[datetime, Form(_MOMENT, _readMoment)]
"""
When something happens.
"""

NameServer: TypeAlias = Annotated[str, Form(_SERVER, _readServer)]
"""
Who is asked for the addresses of names.
"""

Endpoint: TypeAlias = Annotated[str, Form(_ENDPOINT, _readEndpoint)]
"""
Where to listen.
"""

"""
The messages of RFC 1928 on the TCP connection: greeting, selection, request and
reply.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from ipaddress import IPv4Address

import attrs

from ..errors import CommandNotSupported, NotSOCKS5, ProtocolError, ReplyCode
from ._addresses import Address

_VERSION = 5

NO_ACCEPTABLE_METHOD = 0xFF


class Method(IntEnum):
    """
    The authentication methods that an RFC defines.  C{80} to C{FE} are private.
    """

    NONE = 0
    GSSAPI = 1
    PASSWORD = 2


class Command(IntEnum):
    """
    The values of CMD, RFC 1928 section 4.
    """

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


# Looked up in the module, they take a tenth of what they take in the enumeration.
_CONNECT, _UDP_ASSOCIATE = Command.CONNECT, Command.UDP_ASSOCIATE
_COMMANDS = {int(command): command for command in Command}


def _otherProtocol(first: int) -> str:
    """
    Guess, for the log, who else sends C{first} as its first octet.
    """
    if first == 0x04:
        return "a SOCKS4 client"
    if first == 0x16:
        return "a TLS client"
    if first in b"CDGHOPT":
        return "perhaps an HTTP client"
    return "no SOCKS client"


@attrs.frozen
class Greeting:
    """
    The client's first message, RFC 1928 section 3::

        +-----+----------+----------+
        | VER | NMETHODS | METHODS  |
        +-----+----------+----------+
        |  1  |    1     | 1 to 255 |
        +-----+----------+----------+

    @ivar methods: the methods offered, one an octet.  It is empty where NMETHODS
        is 0, which offers nothing.
    """

    methods: bytes

    @classmethod
    def read(cls, data: bytes) -> tuple[Greeting, int] | None:
        """
        Read a greeting.

        @raise NotSOCKS5: the first octet is not C{05}.
        """
        if not data:
            return None
        if data[0] != _VERSION:
            raise NotSOCKS5(f"first octet {data[0]:#04x}: {_otherProtocol(data[0])}")
        if len(data) < 2 or len(data) < 2 + data[1]:
            return None
        end = 2 + data[1]
        return cls(data[2:end]), end

    def octets(self) -> bytes:
        """
        Write the greeting.

        @raise ValueError: more than 255 methods.
        """
        return bytes((_VERSION, len(self.methods))) + self.methods


@attrs.frozen
class Selection:
    """
    The server's choice of a method, RFC 1928 section 3::

        +-----+--------+
        | VER | METHOD |
        +-----+--------+
        |  1  |   1    |
        +-----+--------+

    @ivar method: one of the methods offered, or L{NO_ACCEPTABLE_METHOD}.
    """

    method: int

    @classmethod
    def read(cls, data: bytes) -> tuple[Selection, int] | None:
        """
        Read a selection.

        @raise ProtocolError: the first octet is not C{05}.
        """
        if data and data[0] != _VERSION:
            raise ProtocolError(f"first octet {data[0]:#04x} instead of 05")
        if len(data) < 2:
            return None
        return cls(data[1]), 2

    def octets(self) -> bytes:
        """
        Write the selection.
        """
        return bytes((_VERSION, self.method))


@attrs.frozen
class Request:
    """
    What the client wants, RFC 1928 section 4::

        +-----+-----+-----+------+----------+----------+
        | VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT |
        +-----+-----+-----+------+----------+----------+
        |  1  |  1  |  1  |  1   | Variable |    2     |
        +-----+-----+-----+------+----------+----------+

    @ivar command: what to do.

    @ivar destination: DST.ADDR and DST.PORT.  For UDP ASSOCIATE this is where the
        client expects to send its datagrams from, not a destination.
    """

    command: Command
    destination: Address

    @classmethod
    def read(
        cls,
        data: bytes,
        *,
        commands: Collection[Command] = frozenset(Command),
        strict: bool = False,
    ) -> tuple[Request, int] | None:
        """
        Read a request.  Its fields are judged in their order, each as soon as it
        is there, so that the first fault decides the reply.

        @param commands: the commands that are served.

        @param strict: refuse an RSV other than C{00}.  RFC 1928 binds only the
            sender, and other servers differ.

        @raise CommandNotSupported: CMD is not among C{commands}.

        @raise AddressTypeNotSupported: ATYP is unknown.  How long such a request
            is cannot be known, so this does not wait for its end.

        @raise BadName: see L{parseHost <txsocks5.wire.parseHost>}.

        @raise ProtocolError: VER is not C{05}, or a CONNECT names port 0.
        """
        if data and data[0] != _VERSION:
            raise ProtocolError(f"request of version {data[0]:#04x}")
        if len(data) < 2:
            return None
        number = data[1]
        if number not in _COMMANDS or number not in commands:
            raise CommandNotSupported(f"CMD {number:#04x} is not served")
        if len(data) < 3:
            return None
        if strict and data[2]:
            raise ProtocolError(f"RSV is {data[2]:#04x}")
        command = _COMMANDS[number]
        address = Address.read(data, 3, loose=command is _UDP_ASSOCIATE)
        if address is None:
            return None
        destination, end = address
        if command is _CONNECT and not destination.port:
            raise ProtocolError("CONNECT to port 0")
        return cls(command, destination), end

    def octets(self) -> bytes:
        """
        Write the request.

        @raise ValueError: see L{Address.octets}.
        """
        return bytes((_VERSION, self.command, 0)) + self.destination.octets()


_UNSPECIFIED = Address(IPv4Address(0), 0)


@attrs.frozen
class Reply:
    """
    The answer to a request, RFC 1928 section 6::

        +-----+-----+-----+------+----------+----------+
        | VER | REP | RSV | ATYP | BND.ADDR | BND.PORT |
        +-----+-----+-----+------+----------+----------+
        |  1  |  1  |  1  |  1   | Variable |    2     |
        +-----+-----+-----+------+----------+----------+

    @ivar code: REP; a L{ReplyCode} where the RFC assigns one.

    @ivar bound: BND.ADDR and BND.PORT.  The default, C{0.0.0.0:0}, gives a failure
        the 10 octets that every client can read.
    """

    code: int
    bound: Address = _UNSPECIFIED

    @classmethod
    def read(cls, data: bytes) -> tuple[Reply, int] | None:
        """
        Read a reply.

        @raise ProtocolError: VER is not C{05}, RSV is not C{00}, ATYP is unknown,
            or BND.ADDR is a name that no host can have.
        """
        if data and data[0] != _VERSION:
            raise ProtocolError(f"reply of version {data[0]:#04x}")
        if len(data) < 3:
            return None
        if data[2]:
            raise ProtocolError(f"RSV is {data[2]:#04x}")
        address = Address.read(data, 3)
        if address is None:
            return None
        bound, end = address
        code = data[1]
        return cls(ReplyCode(code) if code <= max(ReplyCode) else code, bound), end

    def octets(self) -> bytes:
        """
        Write the reply.

        @raise ValueError: see L{Address.octets}.
        """
        return bytes((_VERSION, self.code, 0)) + self.bound.octets()

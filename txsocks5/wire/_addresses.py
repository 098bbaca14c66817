"""
ATYP, ADDR and PORT, which requests, replies and datagrams share (RFC 1928
section 5), and the rules for names.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TypeAlias

import attrs

from ..errors import AddressTypeNotSupported, BadName

IPAddress: TypeAlias = IPv4Address | IPv6Address

Host: TypeAlias = IPv4Address | IPv6Address | str
"""
A numeric address, or a name in lower case without a trailing dot.
"""

_PORT = struct.Struct("!H")

# Letters, digits, hyphen and underscore: what a stub resolver passes on
# unchanged.  Everything that has a meaning elsewhere (NUL, "/", "@", "%", a
# line end) stays outside.
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")

# The last label of the spellings of an IPv4 address that C libraries accept
# beside the dotted quad: "127.1", "0x7f000001", "2130706433", "0".
_NUMBERLIKE = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[a-z0-9_-]*)\Z")

_MAX_NAME = 253


class AddressType(IntEnum):
    """
    The values of ATYP, RFC 1928 section 5.
    """

    IPV4 = 1
    DOMAIN_NAME = 3
    IPV6 = 4


# Looked up in the module, they take a tenth of what they take in the enumeration.
_IPV4, _DOMAIN_NAME, _IPV6 = AddressType


def unmapped(address: IPAddress) -> IPAddress:
    """
    Turn an IPv4-mapped IPv6 address (C{::ffff:a.b.c.d}) into the IPv4 address
    that it stands for, and leave any other as it is.

    Rules for IPv4 would not hold for the mapped form, so nothing behind the
    readers ever sees one.
    """
    if address.version == 6:
        return address.ipv4_mapped or address
    return address


def _literal(text: str) -> IPAddress | None:
    """
    Read an address in text: a strict dotted quad, or IPv6 with or without
    brackets, never with a zone.
    """
    try:
        if ":" not in text:
            # Most are names, and errors are slow.
            return IPv4Address(text) if text[-1:].isdigit() else None
        if "%" in text:
            return None
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        return unmapped(IPv6Address(text))
    except AddressValueError:
        return None


def parseHost(octets: bytes, *, loose: bool = False) -> Host:
    """
    Read a DST.ADDR of ATYP C{03}.

    @param octets: what follows the length octet.

    @param loose: let a name through that looks like one of the loose spellings
        of an IPv4 address.  UDP ASSOCIATE ignores such a DST.ADDR, and a real
        client sends the name C{0} there.

    @return: the address, if the name is one in text, and the name otherwise, in
        lower case and without a trailing dot.

    @raise BadName: it is empty, too long, has other characters than letters,
        digits, C{-}, C{_} and C{.}, or is a number that a C library would take
        for an address.
    """
    try:
        text = octets.decode("ascii").lower()
    except UnicodeDecodeError:
        raise BadName("the name is not ASCII") from None
    literal = _literal(text)
    if literal is not None:
        return literal
    text = text.removesuffix(".")
    # Without its dot, a dotted quad would look like the address that it was not.
    if len(text) > _MAX_NAME or not _NAME.match(text) or _literal(text) is not None:
        raise BadName("not a host name")
    if not loose and _NUMBERLIKE.match(text):
        raise BadName("a number is not a host name")
    return text


# Most come again soon, and making one takes as long as everything else here.
_ipv4 = lru_cache(maxsize=4096)(IPv4Address)


@attrs.frozen
class Address:
    """
    ATYP, ADDR and PORT::

        +------+----------+------+
        | ATYP |   ADDR   | PORT |
        +------+----------+------+
        |  1   | Variable |  2   |
        +------+----------+------+

    ATYP C{01} has 4 octets of ADDR, C{04} has 16, and C{03} an octet that counts
    the octets of a name.

    @ivar host: the numeric address, never an IPv4-mapped one; or the name.

    @ivar port: 0 to 65535.
    """

    host: Host
    port: int

    @classmethod
    def read(
        cls, data: bytes, start: int = 0, *, loose: bool = False
    ) -> tuple[Address, int] | None:
        """
        Read an address.

        @param data: octets of a message.

        @param start: where in C{data} ATYP stands.

        @param loose: see L{parseHost}.

        @return: the address and the position behind it, or L{None} for "more".

        @raise AddressTypeNotSupported: ATYP is none of C{01}, C{03}, C{04}.

        @raise BadName: see L{parseHost}.
        """
        if len(data) <= start:
            return None
        kind = data[start]
        start += 1
        if kind == _IPV4:
            end = start + 4
        elif kind == _IPV6:
            end = start + 16
        elif kind == _DOMAIN_NAME:
            if len(data) <= start:
                return None
            end = start + 1 + data[start]
            start += 1
        else:
            raise AddressTypeNotSupported(f"unknown ATYP {kind:#04x}")
        if len(data) < end + 2:
            return None
        field = data[start:end]
        host: Host
        if kind == _IPV4:
            host = _ipv4(field)
        elif kind == _IPV6:
            host = unmapped(IPv6Address(field))
        else:
            host = parseHost(field, loose=loose)
        return cls(host, _PORT.unpack_from(data, end)[0]), end + 2

    def octets(self) -> bytes:
        """
        Write the address.

        @raise ValueError: the name is empty or longer than 255 octets, or the
            port is outside 0 to 65535.
        """
        if not 0 <= self.port <= 0xFFFF:
            raise ValueError(f"port {self.port} is outside 0 to 65535")
        port = _PORT.pack(self.port)
        host = self.host
        if isinstance(host, IPv4Address):
            return b"\x01" + host.packed + port
        if isinstance(host, IPv6Address):
            return b"\x04" + host.packed + port
        name = host.encode("ascii")
        if not 1 <= len(name) <= 255:
            raise ValueError(f"a name of {len(name)} octets")
        return b"\x03" + bytes((len(name),)) + name + port

    def __str__(self) -> str:
        """
        C{192.0.2.7:80}, C{[2001:db8::1]:80} or C{example.com:80}.
        """
        if isinstance(self.host, IPv6Address):
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"

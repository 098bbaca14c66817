"""
The header in front of every relayed datagram, RFC 1928 section 7.
"""

from __future__ import annotations

import attrs

from ..errors import AddressTypeNotSupported, ProtocolError
from ._addresses import Address, AddressType

# The length of the header by ATYP, where that decides it.
_FIXED_LENGTHS = {int(AddressType.IPV4): 10, int(AddressType.IPV6): 22}
_DOMAIN_NAME = int(AddressType.DOMAIN_NAME)


def splitDatagram(data: bytes, *, strict: bool = False) -> tuple[int, bytes, bytes]:
    """
    Take a datagram apart without reading its address, for a relay that knows most
    addresses already.

    @param data: the whole datagram.

    @param strict: refuse an RSV other than C{00 00}.

    @return: FRAG; the octets of ATYP, DST.ADDR and DST.PORT, for L{Address.read};
        and DATA.

    @raise AddressTypeNotSupported: ATYP is unknown.

    @raise ProtocolError: the header is cut off, or RSV is wrong.
    """
    if len(data) < 5:
        raise ProtocolError("the header is cut off")
    if strict and (data[0] or data[1]):
        raise ProtocolError("RSV is not zero")
    kind = data[3]
    end = 7 + data[4] if kind == _DOMAIN_NAME else _FIXED_LENGTHS.get(kind, 0)
    if not end:
        raise AddressTypeNotSupported(f"unknown ATYP {kind:#04x}")
    if len(data) < end:
        raise ProtocolError("the header is cut off")
    return data[2], data[3:end], data[end:]


@attrs.frozen
class Datagram:
    """
    A datagram between client and relay, RFC 1928 section 7::

        +-----+------+------+----------+----------+----------+
        | RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
        +-----+------+------+----------+----------+----------+
        |  2  |  1   |  1   | Variable |    2     | Variable |
        +-----+------+------+----------+----------+----------+

    The header has 10 octets with an IPv4 address, 22 with an IPv6 one (the RFC's
    table says 20, a slip) and 7 more than the name with a name.

    @ivar address: where it goes; or, towards the client, where it comes from.

    @ivar payload: DATA, perhaps empty.

    @ivar fragment: FRAG: 0 for a datagram of its own; else the position in its low
        7 bits, and the high bit for the last fragment.
    """

    address: Address
    payload: bytes
    fragment: int = 0

    @classmethod
    def read(cls, data: bytes, *, strict: bool = False) -> Datagram:
        """
        Read a datagram.

        @param strict: refuse an RSV other than C{00 00}.

        @raise ProtocolError: anything that is to be dropped: the header is cut off,
            ATYP is unknown, the name is none, or RSV is wrong.
        """
        fragment, field, payload = splitDatagram(data, strict=strict)
        address = Address.read(field)
        if address is None:
            raise ProtocolError("the header is cut off")
        return cls(address[0], payload, fragment)

    def octets(self) -> bytes:
        """
        Write the datagram.

        @raise ValueError: see L{Address.octets}.
        """
        return b"\x00\x00" + bytes((self.fragment,)) + self.address.octets() + self.payload

"""
Tests for L{txsocks5.wire._datagram}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import AddressTypeNotSupported, BadName, ProtocolError
from txsocks5.wire import Address, Datagram, _datagram, splitDatagram

from . import values

DNS = Address(IPv4Address("192.0.2.7"), 53)

# Headers without RSV and FRAG, and the addresses in them.
HEADERS: dict[bytes, Address] = {
    b"\x01\xc0\x00\x02\x07\x00\x35": DNS,
    b"\x01\x00\x00\x00\x00\x00\x00": Address(IPv4Address("0.0.0.0"), 0),
    bytes.fromhex("04 20010db8000000000000000000000001 0035"): Address(
        IPv6Address("2001:db8::1"), 53
    ),
    b"\x03\x0bexample.com\x01\xbb": Address("example.com", 443),
    b"\x03\x01a\x01\xbb": Address("a", 443),
}

# The same for headers that the server itself would not write.
FOREIGN_HEADERS: dict[bytes, Address] = {
    bytes.fromhex("04 00000000000000000000ffffc0000207 0035"): DNS,
    b"\x03\x09192.0.2.7\x00\x35": DNS,
    b"\x03\x0c[2001:db8::]\x00\x35": Address(IPv6Address("2001:db8::"), 53),
    b"\x03\x0cEXAMPLE.com.\x00\x35": Address("example.com", 53),
}

BAD_NAMES: tuple[bytes, ...] = (
    b"",
    b"0",
    b"127.1",
    b"0x7f000001",
    b"192.0.2.7.",
    b"fe80::1%eth0",
    b"127.0.0.1\x00.example",
    b"a b",
    b"a" * 255,
    b"\xff",
)


class SplitDatagramTests(SynchronousTestCase):
    """
    Tests for L{splitDatagram}.
    """

    def test_parts(self) -> None:
        """
        A datagram is FRAG, the octets of its address, and DATA, which may be empty.
        """
        for header, address in {**HEADERS, **FOREIGN_HEADERS}.items():
            for fragment in (0, 1, 0x83, 0xFF):
                for payload in (b"", b"\x00", b"hi", header):
                    data = bytes((0, 0, fragment)) + header + payload
                    self.assertEqual(splitDatagram(data), (fragment, header, payload))
                    self.assertEqual(Address.read(header), (address, len(header)))

    def test_lengths(self) -> None:
        """
        The header has 10 octets with an IPv4 address, 22 with an IPv6 one, and 7 more
        than the name with a name, 262 at most.
        """
        for header, length in (
            (b"\x01" + bytes(6), 10),
            (b"\x04" + bytes(18), 22),
            (b"\x03\x00" + bytes(2), 7),
            (b"\x03\x01a" + bytes(2), 8),
            (b"\x03\xff" + b"a" * 255 + bytes(2), 262),
        ):
            data = bytes(3) + header
            self.assertEqual(len(data), length)
            self.assertEqual(splitDatagram(data + b"hi"), (0, header, b"hi"))

    def test_nameIsNotJudged(self) -> None:
        """
        A name is left to L{Address.read}, whatever it is.
        """
        for name in BAD_NAMES:
            field = bytes((3, len(name))) + name + b"\x00\x35"
            self.assertEqual(splitDatagram(bytes(3) + field + b"hi"), (0, field, b"hi"))

    def test_cutOff(self) -> None:
        """
        A datagram that ends within its header is refused, shorter than 4 octets
        or not (R-1928-81).
        """
        for header in {**HEADERS, **FOREIGN_HEADERS}:
            data = bytes(3) + header
            for end in range(len(data)):
                error = self.assertRaises(ProtocolError, splitDatagram, data[:end])
                self.assertIs(type(error), ProtocolError, data[:end].hex(" "))

    def test_unknownTypes(self) -> None:
        """
        Any ATYP but C{01}, C{03} and C{04} is refused (R-1928-81).
        """
        for kind in range(256):
            if kind not in (1, 3, 4):
                data = bytes((0, 0, 0, kind)) + bytes(300)
                self.assertRaises(AddressTypeNotSupported, splitDatagram, data)
                self.assertRaises(AddressTypeNotSupported, splitDatagram, data[:5])

    def test_reserved(self) -> None:
        """
        RSV is ignored, unless strictness is asked for, which refuses any but
        C{00 00} (R-1928-80).
        """
        for header in HEADERS:
            data = b"\x00" + header + b"hi"
            expected = (0, header, b"hi")
            self.assertEqual(splitDatagram(b"\x00\x00" + data, strict=True), expected)
            for reserved in (b"\x00\x01", b"\x01\x00", b"\xff\xff", b"\x00\x80"):
                self.assertEqual(splitDatagram(reserved + data), expected)
                error = self.assertRaises(
                    ProtocolError, splitDatagram, reserved + data, strict=True
                )
                self.assertIs(type(error), ProtocolError)


class DatagramTests(SynchronousTestCase):
    """
    Tests for L{Datagram}.
    """

    def assertReads(self, octets: bytes, datagram: Datagram) -> None:
        """
        C{octets} are the datagram, in strict reading too.
        """
        self.assertEqual(Datagram.read(octets), datagram, octets.hex(" "))
        self.assertEqual(Datagram.read(octets, strict=True), datagram, octets.hex(" "))

    def test_vectors(self) -> None:
        """
        The datagram C{hi} to 192.0.2.7:53 and its answer C{yo} are read and written
        octet by octet.
        """
        for text, payload in (
            ("00 00 00 01 C0 00 02 07 00 35 68 69", b"hi"),
            ("00 00 00 01 C0 00 02 07 00 35 79 6F", b"yo"),
        ):
            octets = bytes.fromhex(text)
            self.assertReads(octets, Datagram(DNS, payload))
            self.assertEqual(Datagram(DNS, payload).octets(), octets)

    def test_fragments(self) -> None:
        """
        FRAG is read and written as it is: position and end bit are for the
        reassembly (R-1928-93).
        """
        for text, payload, fragment in (
            ("00 00 01 01 C0 00 02 07 00 35 61 62", b"ab", 0x01),
            ("00 00 02 01 C0 00 02 07 00 35 63 64", b"cd", 0x02),
            ("00 00 83 01 C0 00 02 07 00 35 65 66", b"ef", 0x83),
            ("00 00 80 01 C0 00 02 07 00 35", b"", 0x80),
            ("00 00 FF 01 C0 00 02 07 00 35", b"", 0xFF),
        ):
            octets = bytes.fromhex(text)
            self.assertReads(octets, Datagram(DNS, payload, fragment))
            self.assertEqual(Datagram(DNS, payload, fragment).octets(), octets)

    def test_addresses(self) -> None:
        """
        Each kind of address is read and written, with DATA and with none, which is a
        datagram as well (R-1928-81).
        """
        for header, address in HEADERS.items():
            for payload in (b"", b"\x00", b"hi", b"x" * 65507):
                octets = bytes(3) + header + payload
                self.assertReads(octets, Datagram(address, payload))
                self.assertEqual(Datagram(address, payload).octets(), octets)

    def test_foreignAddresses(self) -> None:
        """
        Mapped addresses, addresses in text and names in upper case come out as in a
        request (R-1928-25, R-1928-27, R-1928-34).
        """
        for header, address in FOREIGN_HEADERS.items():
            self.assertReads(bytes(3) + header + b"hi", Datagram(address, b"hi"))

    def test_cutOff(self) -> None:
        """
        A datagram that ends within its header is refused: there is no "more"
        (R-1928-81).
        """
        for header in {**HEADERS, **FOREIGN_HEADERS}:
            data = bytes(3) + header
            for end in range(len(data)):
                self.assertRaises(ProtocolError, Datagram.read, data[:end])

    def test_unknownTypes(self) -> None:
        """
        An unknown ATYP is refused (R-1928-81).
        """
        for kind in (0, 2, 5, 0x7F, 0xFF):
            data = bytes((0, 0, 0, kind)) + bytes(30)
            self.assertRaises(AddressTypeNotSupported, Datagram.read, data)

    def test_badNames(self) -> None:
        """
        A name that is none is refused (R-1928-81), and so is a number as one: the
        exception for UDP ASSOCIATE is for its request alone (R-1928-28).
        """
        for name in BAD_NAMES:
            data = bytes((0, 0, 0, 3, len(name))) + name + b"\x00\x35hi"
            self.assertRaises(BadName, Datagram.read, data)

    def test_reserved(self) -> None:
        """
        RSV is ignored, unless strictness is asked for, which refuses any but
        C{00 00} (R-1928-80).  It is never written otherwise.
        """
        for reserved in (b"\x00\x01", b"\x01\x00", b"\xff\xff"):
            data = reserved + b"\x00\x01\xc0\x00\x02\x07\x00\x35hi"
            self.assertEqual(Datagram.read(data), Datagram(DNS, b"hi"))
            self.assertEqual(Datagram.read(data).octets()[:2], b"\x00\x00")
            self.assertRaises(ProtocolError, Datagram.read, data, strict=True)

    def test_portZero(self) -> None:
        """
        Port 0 is read as it is.  Such a datagram is dropped (R-1928-81) by the relay,
        which does not have to read every address to see it.
        """
        octets = b"\x00\x00\x00\x01\xc0\x00\x02\x07\x00\x00hi"
        self.assertReads(octets, Datagram(Address(IPv4Address("192.0.2.7"), 0), b"hi"))

    def test_disagreement(self) -> None:
        """
        Should the address ask for more than the header has, the datagram is refused
        like any that is cut off.
        """

        def tooShort(data: bytes, *, strict: bool) -> tuple[int, bytes, bytes]:
            return 0, data[3:6], data[6:]

        self.patch(_datagram, "splitDatagram", tooShort)
        data = b"\x00\x00\x00\x01\xc0\x00\x02\x07\x00\x35hi"
        self.assertRaises(ProtocolError, Datagram.read, data)

    def test_outsideIsNotWritten(self) -> None:
        """
        A port, a name or a FRAG that does not fit is refused by the writer.
        """
        self.assertRaises(ValueError, Datagram(Address("a", 65536), b"").octets)
        self.assertRaises(ValueError, Datagram(Address("", 53), b"").octets)
        self.assertRaises(ValueError, Datagram(DNS, b"", 256).octets)

    def test_frozen(self) -> None:
        """
        A datagram is a value and cannot be changed.
        """
        self.assertRaises(AttributeError, setattr, Datagram(DNS, b""), "payload", b"a")

    @values.reproducible
    @given(values.datagrams)
    def test_survives(self, datagram: Datagram) -> None:
        """
        Every datagram that is written is read as itself.
        """
        self.assertReads(datagram.octets(), datagram)

    @values.reproducible
    @given(st.ip_addresses(v=4) | st.ip_addresses(v=6), values.ports, st.binary())
    def test_namesOfAddresses(
        self, host: IPv4Address | IPv6Address, port: int, payload: bytes
    ) -> None:
        """
        A datagram to an address in text is the same as one to that address, as far as
        the address is written as itself.
        """
        text = str(host).encode("ascii")
        field = bytes((3, len(text))) + text + port.to_bytes(2, "big")
        datagram = Datagram.read(bytes(3) + field + payload)
        self.assertEqual(Datagram.read(datagram.octets()), datagram)
        if values.isUnmapped(host):
            self.assertEqual(datagram, Datagram(Address(ip_address(str(host)), port), payload))

    @values.reproducible
    @given(values.anything(values.datagrams.map(Datagram.octets)), st.booleans())
    def test_anyOctets(self, data: bytes, strict: bool) -> None:
        """
        Any octets at all give a datagram or a L{ProtocolError}, and nothing else; both
        ways of reading agree; and what was read can be written and is read as the
        same.
        """
        try:
            fragment, field, payload = splitDatagram(data, strict=strict)
        except ProtocolError as error:
            refusal = self.assertRaises(ProtocolError, Datagram.read, data, strict=strict)
            self.assertIs(type(refusal), type(error))
            return
        self.assertEqual(bytes((fragment,)) + field + payload, data[2:])
        try:
            address = Address.read(field)
        except ProtocolError as error:
            refusal = self.assertRaises(ProtocolError, Datagram.read, data, strict=strict)
            self.assertIs(type(refusal), type(error))
            return
        datagram = Datagram.read(data, strict=strict)
        self.assertEqual(address, (datagram.address, len(field)))
        self.assertEqual((datagram.fragment, datagram.payload), (fragment, payload))
        self.assertReads(datagram.octets(), datagram)

"""
Tests for L{txsocks5.wire._addresses}.
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import AddressTypeNotSupported, BadName, ProtocolError
from txsocks5.wire import Address, AddressType, Host, parseHost, unmapped

from . import values
from .checks import WireTestCase, answerOf

# Names as they arrive, and what they are understood as.
NAMES: dict[bytes, str] = {
    b"example.com": "example.com",
    b"EXAMPLE.Com": "example.com",
    b"example.com.": "example.com",
    b"localhost": "localhost",
    b"a": "a",
    b"a.": "a",
    b"a_b.example": "a_b.example",
    b"_sip._tcp.example": "_sip._tcp.example",
    b"-.example": "-.example",
    b"xn--bcher-kva.example": "xn--bcher-kva.example",
    b"1.example": "1.example",
    b"127.0.0.1.example": "127.0.0.1.example",
    b"0x7f.example": "0x7f.example",
    b"1e": "1e",
    b"0.0x.a": "0.0x.a",
    b"1-2": "1-2",
    b"x0x1": "x0x1",
    b"a" * 63: "a" * 63,
    b".".join([b"a" * 63] * 3 + [b"b" * 61]): ".".join(["a" * 63] * 3 + ["b" * 61]),
    b".".join([b"a" * 63] * 3 + [b"b" * 61]) + b".": ".".join(["a" * 63] * 3 + ["b" * 61]),
    b".".join([b"a"] * 127): ".".join(["a"] * 127),
}

# Addresses in text.
LITERALS: dict[bytes, str] = {
    b"192.0.2.7": "192.0.2.7",
    b"0.0.0.0": "0.0.0.0",
    b"255.255.255.255": "255.255.255.255",
    b"2001:db8::1": "2001:db8::1",
    b"2001:DB8::A": "2001:db8::a",
    b"2001:0db8:0000:0000:0000:0000:0000:0001": "2001:db8::1",
    b"[2001:db8::1]": "2001:db8::1",
    b"::": "::",
    b"[::]": "::",
    b"::1": "::1",
    b"::127.0.0.1": "::7f00:1",
    b"64:ff9b::192.0.2.7": "64:ff9b::c000:207",
    b"::ffff:192.0.2.7": "192.0.2.7",
    b"::FFFF:192.0.2.7": "192.0.2.7",
    b"::ffff:c000:207": "192.0.2.7",
    b"0:0:0:0:0:ffff:0:0": "0.0.0.0",
    b"[::ffff:192.0.2.7]": "192.0.2.7",
}

# Neither a name nor an address.
BAD_NAMES: tuple[bytes, ...] = (
    b"",
    b".",
    b"..",
    b".a",
    b"a..",
    b"a..b",
    b"a" * 64,
    b"a" * 255,
    b".".join([b"a" * 63] * 3 + [b"b" * 62]),
    b".".join([b"a" * 63] * 3 + [b"b" * 62]) + b".",
    b".".join([b"a"] * 128),
    b"exam ple",
    b" example",
    b"example ",
    b"example\n",
    b"example.com\r\nHost: a",
    b"example\t",
    b"127.0.0.1\x00.example",
    b"example\x00",
    b"\x00",
    b"\x7f",
    b"a/b",
    b"a@b",
    b"a%b",
    b"a:80",
    b"a,b",
    b"a*b",
    b"a\\b",
    b"http://a",
    b"[a]",
    b"[]",
    b"[",
    b"]",
    b"[192.0.2.7]",
    b"[2001:db8::1",
    b"2001:db8::1]",
    b"[[2001:db8::1]]",
    b"[2001:db8::1].",
    b"[2001:db8::1]:80",
    b"2001:db8::1.",
    b"2001:db8::1/64",
    b"2001:db8:::1",
    b"2001:db8::1::",
    b"1:2:3:4:5:6:7:8:9",
    b"12345::",
    b":",
    b"::\n",
    b"::ffff:192.0.2.07",
    b"::ffff:192.0.2",
    b"fe80::1%eth0",
    b"fe80::1%",
    b"[fe80::1%1]",
    b"[fe80::1%25eth0]",
    b"::ffff:192.0.2.7%1",
    b"192.0.2.7/32",
    b"192.0.2.7:80",
    b"192.0.2.7\n",
    b" 192.0.2.7",
    "b\u00fccher.example".encode(),
    "b\u00fccher.example".encode("latin-1"),
    "\uff11\uff12\uff17.0.0.1".encode(),
    "\u0661.1.1.1".encode(),
    b"\xff",
    b"\x80" * 255,
)

# What C libraries take for an IPv4 address beside the dotted quad.
NUMBERS: tuple[bytes, ...] = (
    b"0",
    b"1",
    b"127.1",
    b"127.0.1",
    b"0x7f000001",
    b"0X7F000001",
    b"0x7f.1",
    b"127.0.0.0x1",
    b"0x",
    b"0xg",
    b"a.0x7f",
    b"0177.0.0.1",
    b"01.02.03.04",
    b"192.0.2.07",
    b"00.0.0.0",
    b"2130706433",
    b"4294967296",
    b"256.0.0.1",
    b"1.2.3.4.5",
    b"127.1.",
    b"0.",
    b"example.1",
)


class UnmappedTests(SynchronousTestCase):
    """
    Tests for L{unmapped}.
    """

    def test_mapped(self) -> None:
        """
        An IPv4-mapped IPv6 address becomes the IPv4 address in it (R-1928-34).
        """
        self.assertEqual(unmapped(IPv6Address("::ffff:192.0.2.7")), IPv4Address("192.0.2.7"))
        self.assertEqual(unmapped(IPv6Address("::ffff:0:0")), IPv4Address("0.0.0.0"))

    def test_others(self) -> None:
        """
        Any other address stays as it is, the other forms that hold an IPv4 address
        among them: those are for policy to look into.
        """
        for text in ("192.0.2.7", "0.0.0.0", "2001:db8::1", "::", "::1", "::127.0.0.1"):
            self.assertEqual(unmapped(ip_address(text)), ip_address(text), text)
        for text in ("64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:0:7f00:1", "::1:ffff:0:0"):
            self.assertEqual(unmapped(ip_address(text)), ip_address(text), text)


class ParseHostTests(SynchronousTestCase):
    """
    Tests for L{parseHost}.
    """

    def assertIsHost(self, octets: bytes, host: Host, *, loose: bool = False) -> None:
        """
        C{octets} are understood as C{host}.
        """
        parsed = parseHost(octets, loose=loose)
        self.assertEqual((type(parsed), parsed), (type(host), host), repr(octets))

    def assertIsBad(self, octets: bytes, *, loose: bool = False) -> None:
        """
        C{octets} are refused as a name.
        """
        try:
            host = parseHost(octets, loose=loose)
        except BadName:
            return
        self.fail(f"{octets!r} is understood as {host!r}")

    def test_names(self) -> None:
        """
        A name of letters, digits, hyphens and underscores in labels of 1 to 63, and
        of 253 octets at most, is understood, in lower case and without its trailing
        dot (R-1928-25).
        """
        for octets, name in NAMES.items():
            self.assertIsHost(octets, name)

    def test_everyCharacter(self) -> None:
        """
        Those are all characters that a name may have: no control octet, NUL, space,
        C{/}, C{@}, C{%}, C{[}, and nothing beyond ASCII (R-1928-25, R-1928-26).
        """
        allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
        for octet in range(256):
            octets = b"a" + bytes((octet,)) + b"b"
            if octet in allowed:
                self.assertIsHost(octets, octets.decode("ascii").lower())
            else:
                self.assertIsBad(octets)

    def test_literals(self) -> None:
        """
        A name that is an address in text, a strict dotted quad or IPv6 with or
        without brackets, is that address, and never a mapped one (R-1928-27,
        R-1928-34).
        """
        for octets, text in LITERALS.items():
            self.assertIsHost(octets, ip_address(text))

    def test_badNames(self) -> None:
        """
        Anything else is refused, the empty name (R-1928-24), wrong characters
        (R-1928-26) and zones (R-1928-29) among it.
        """
        for octets in BAD_NAMES:
            self.assertIsBad(octets)

    def test_numbers(self) -> None:
        """
        The loose spellings of an IPv4 address are refused, so that no C library ever
        gets to read them: the last label is all digits or begins with C{0x}
        (R-1928-28).
        """
        for octets in NUMBERS:
            self.assertIsBad(octets)
        self.assertIsBad(b"1.2.3.4.")

    def test_looseNumbers(self) -> None:
        """
        Where the address is ignored, such a number is a name like any other: one
        client sends the name C{0} in UDP ASSOCIATE (R-1928-66).
        """
        for octets in NUMBERS:
            self.assertIsHost(octets, octets.decode("ascii").lower().removesuffix("."), loose=True)

    def test_looseIsNoLooserElsewhere(self) -> None:
        """
        Everything else is judged as ever there.
        """
        for octets, name in NAMES.items():
            self.assertIsHost(octets, name, loose=True)
        for octets, text in LITERALS.items():
            self.assertIsHost(octets, ip_address(text), loose=True)
        for octets in BAD_NAMES:
            self.assertIsBad(octets, loose=True)

    def test_looseDottedQuadWithDot(self) -> None:
        """
        A name never looks like an address in text, so that both are told apart on the
        wire and in a log: of a dotted quad with a trailing dot, which is no address,
        the dot is not taken away to leave one.
        """
        try:
            host = parseHost(b"192.0.2.7.", loose=True)
        except BadName:
            return
        self.assertNotEqual(host, "192.0.2.7")

    def test_noTextInTheError(self) -> None:
        """
        The error does not repeat the octets, which could be meant for a log's reader.
        """
        for octets in (b"inject\r\nme", b"inject\xffme", b"inject.1"):
            error = self.assertRaises(BadName, parseHost, octets)
            self.assertNotIn("inject", str(error))

    @values.reproducible
    @given(st.binary(max_size=300), st.booleans())
    def test_anyOctets(self, octets: bytes, loose: bool) -> None:
        """
        Any octets at all are a host, which is read as the same again, or a
        L{BadName}; nothing else ever comes out.
        """
        try:
            host = parseHost(octets, loose=loose)
        except BadName:
            return
        self.assertEqual(parseHost(str(host).encode("ascii"), loose=loose), host)

    @values.reproducible
    @given(st.text(values.LETTERS.upper() + values.LETTERS + ".:[]%", max_size=40))
    def test_anyLikelyText(self, text: str) -> None:
        """
        Text of the characters that names and addresses have gives an address, or a
        name that is in lower case and without a trailing dot, or a L{BadName}.
        """
        try:
            host = parseHost(text.encode("ascii"))
        except BadName:
            return
        if isinstance(host, str):
            self.assertEqual(host, text.lower().removesuffix("."))
        else:
            self.assertEqual(unmapped(host), host)

    @values.reproducible
    @given(st.ip_addresses())
    def test_anyAddress(self, address: IPv4Address | IPv6Address) -> None:
        """
        Every address is read from its text, and IPv6 from every way to write it.
        """
        self.assertEqual(parseHost(str(address).encode("ascii")), unmapped(address))
        if address.version == 6:
            self.assertEqual(parseHost(address.exploded.encode("ascii")), unmapped(address))
            self.assertEqual(parseHost(f"[{address}]".encode("ascii")), unmapped(address))


class AddressTests(WireTestCase):
    """
    Tests for L{Address}.
    """

    MAXIMUM = 1 + 1 + 255 + 2

    def test_types(self) -> None:
        """
        ATYP is C{01}, C{03} or C{04}, as RFC 1928 section 5 numbers them.
        """
        self.assertEqual(
            {kind.name: kind.value for kind in AddressType},
            {"IPV4": 1, "DOMAIN_NAME": 3, "IPV6": 4},
        )

    def test_numeric(self) -> None:
        """
        ATYP C{01} has 4 octets of address and C{04} has 16; the port is big-endian.
        """
        for octets, address in (
            (b"\x01\xc0\x00\x02\x07\x00\x50", Address(IPv4Address("192.0.2.7"), 80)),
            (b"\x01\x00\x00\x00\x00\x00\x00", Address(IPv4Address("0.0.0.0"), 0)),
            (b"\x01\xff\xff\xff\xff\xff\xff", Address(IPv4Address("255.255.255.255"), 65535)),
            (b"\x01\xc0\x00\x02\x07\x01\xbb", Address(IPv4Address("192.0.2.7"), 443)),
            (
                bytes.fromhex("04 20010db8000000000000000000000001 01bb"),
                Address(IPv6Address("2001:db8::1"), 443),
            ),
            (b"\x04" + bytes(16) + b"\x00\x00", Address(IPv6Address("::"), 0)),
            (b"\x04" + bytes(15) + b"\x01\xbb\x01", Address(IPv6Address("::1"), 0xBB01)),
        ):
            self.assertReads(Address.read, octets, address)
            self.assertWrites(address, octets)

    def test_names(self) -> None:
        """
        ATYP C{03} has an octet that counts the octets of the name, and no terminator
        (R-1928-23).
        """
        for octets, name in NAMES.items():
            message = bytes((3, len(octets))) + octets + b"\x9c\x40"
            self.assertReads(Address.read, message, Address(name, 40000))
            written = bytes((3, len(name))) + name.encode("ascii") + b"\x9c\x40"
            self.assertWrites(Address(name, 40000), written)

    def test_literals(self) -> None:
        """
        A name that is an address in text is that address (R-1928-27).
        """
        for octets, text in LITERALS.items():
            message = bytes((3, len(octets))) + octets + b"\x00\x50"
            self.assertReads(Address.read, message, Address(ip_address(text), 80))

    def test_mapped(self) -> None:
        """
        An IPv4-mapped address of ATYP C{04} is the IPv4 address (R-1928-34).
        """
        octets = bytes.fromhex("04 00000000000000000000ffffc0000207 0050")
        self.assertReads(Address.read, octets, Address(IPv4Address("192.0.2.7"), 80))

    def test_unknownTypes(self) -> None:
        """
        Any other ATYP is refused as soon as it is there, since the length of what
        follows cannot be known (R-1928-22).
        """
        for kind in range(256):
            if kind not in (1, 3, 4):
                self.assertRefuses(Address.read, bytes((kind,)), AddressTypeNotSupported)

    def test_badNames(self) -> None:
        """
        A name that is none is refused once the port is there (R-1928-24, R-1928-25,
        R-1928-26, R-1928-28, R-1928-29).
        """
        for octets in (*BAD_NAMES, *NUMBERS):
            message = bytes((3, len(octets))) + octets + b"\x00\x50"
            self.assertRefuses(Address.read, message, BadName)

    def test_looseNumbers(self) -> None:
        """
        A number is let through as a name where that was asked for (R-1928-66).
        """
        for octets in NUMBERS:
            name = octets.decode("ascii").lower().removesuffix(".")
            message = bytes((3, len(octets))) + octets + b"\x00\x50"
            self.assertReads(partial(Address.read, loose=True), message, Address(name, 80))

    def test_start(self) -> None:
        """
        An address is read from the middle of a message, and the position behind it is
        counted from the message's beginning.
        """
        for octets in (
            b"\x01\xc0\x00\x02\x07\x00\x50",
            b"\x03\x01a\x00\x50",
            b"\x04" + bytes(16) + b"\x00\x50",
        ):
            alone = Address.read(octets)
            assert alone is not None
            for start in (0, 1, 3, 40):
                message = b"\x04" * start + octets
                for end in range(len(message)):
                    self.assertIsNone(Address.read(message[:end], start))
                expected = (alone[0], len(message))
                self.assertEqual(Address.read(message, start), expected)
                self.assertEqual(Address.read(message + b"GET", start), expected)

    def test_portOutsideIsNotWritten(self) -> None:
        """
        A port that does not fit into two octets is refused by the writer.
        """
        for port in (-1, 0x10000):
            self.assertRaises(ValueError, Address("a", port).octets)

    def test_nameOutsideIsNotWritten(self) -> None:
        """
        A name that a length octet cannot count, or that is not ASCII, is refused by
        the writer, and so is the empty one.
        """
        for name in ("", "a" * 256, "b\u00fccher.example"):
            self.assertRaises(ValueError, Address(name, 80).octets)
        self.assertWrites(Address("a" * 255, 80), b"\x03\xff" + b"a" * 255 + b"\x00\x50")

    def test_scopeIsNotWritten(self) -> None:
        """
        The scope of an IPv6 address means nothing to the peer and is left out
        (R-1928-36).
        """
        octets = bytes.fromhex("04 fe800000000000000000000000000001 0050")
        self.assertWrites(Address(IPv6Address("fe80::1%2"), 80), octets)

    def test_string(self) -> None:
        """
        As text it is the host, in brackets where that is needed, and the port.
        """
        self.assertEqual(str(Address(IPv4Address("192.0.2.7"), 80)), "192.0.2.7:80")
        self.assertEqual(str(Address(IPv6Address("2001:db8::1"), 80)), "[2001:db8::1]:80")
        self.assertEqual(str(Address("example.com", 80)), "example.com:80")

    def test_frozen(self) -> None:
        """
        An address is a value: it cannot be changed, and equal ones count as one.
        """
        address = Address("a", 80)
        self.assertRaises(AttributeError, setattr, address, "port", 81)
        self.assertEqual(len({address, Address("a", 80), Address("a", 81)}), 2)

    @values.reproducible
    @given(values.addresses, values.cuts)
    def test_survives(self, address: Address, cuts: list[int]) -> None:
        """
        Every address that is written is read as itself, however it is split.
        """
        self.assertSurvives(Address.read, address, cuts)

    @values.reproducible
    @given(values.anything(values.addresses.map(Address.octets)), st.booleans())
    def test_anyOctets(self, data: bytes, loose: bool) -> None:
        """
        Any octets at all give an address, or "more", or a L{ProtocolError}, which
        more octets never change (R-1928-01, R-1928-04).
        """
        self.assertObeys(partial(Address.read, loose=loose), data, self.MAXIMUM)

    @values.reproducible
    @given(st.binary(max_size=300))
    def test_nothingIsMapped(self, data: bytes) -> None:
        """
        What is read never holds an IPv4-mapped address, whichever way it came
        (R-1928-34).
        """
        answer = answerOf(Address.read, b"\x04" + bytes(10) + b"\xff\xff" + data)
        if answer is not None:
            assert not isinstance(answer, type)
            self.assertIsInstance(answer[0], Address)
            assert isinstance(answer[0], Address)
            self.assertIsInstance(answer[0].host, IPv4Address)

    def test_errorsAreProtocolErrors(self) -> None:
        """
        Both refusals are L{ProtocolError}s, which is all that a caller has to expect.
        """
        self.assertTrue(issubclass(BadName, ProtocolError))
        self.assertTrue(issubclass(AddressTypeNotSupported, ProtocolError))

"""
Tests for L{txsocks5.config._patterns}.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import (
    ANY,
    IPNetwork,
    NamedSet,
    NamePattern,
    readNetwork,
    readPattern,
)
from txsocks5.networks import SETS
from txsocks5.wire import parseHost

from ..wire.values import names, reproducible

NAMES = {
    "example.com": "example.com",
    "WWW.Example.COM": "www.example.com",
    "example.com.": "example.com",
    "localhost": "localhost",
    "_sip._tcp.example.com": "_sip._tcp.example.com",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "B\u00fccher.Example": "xn--bcher-kva.example",
    # The umlaut as two characters, the dot of an ideographic script, a letter of full width.
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "b\u00fccher\u3002example": "xn--bcher-kva.example",
    "\uff45xample.com": "example.com",
    "stra\u00dfe.example": "xn--strae-oqa.example",
    "_sip.b\u00fccher.example": "_sip.xn--bcher-kva.example",
}

BAD_NAMES = (
    "",
    ".",
    "a..example",
    "a b.example",
    "a\0.example",
    "a@example.com",
    "example.com:443",
    "http:example.com",
    "a" * 64 + ".example",
    "a." * 127 + "a",
    "\u2603.example",
    "\u200d.example",
)

LOOSE = ("0", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "0177.0.0.1", "2130706433", "1.2.3.4.")


class NameTests(SynchronousTestCase):
    """
    Names, and all names below one.
    """

    def test_names(self) -> None:
        """
        They are compared in lower case, without a trailing dot, in ASCII.
        """
        for text, name in NAMES.items():
            self.assertEqual(readPattern(text), NamePattern(name), text)

    def test_below(self) -> None:
        """
        So are those that stand for all names below them.
        """
        for text, name in NAMES.items():
            self.assertEqual(readPattern(f"*.{text}"), NamePattern(name, below=True), text)

    @reproducible
    @given(names)
    def test_meetsRequests(self, name: str) -> None:
        """
        Whatever name a client can ask for, a rule can name it, and it is the same one.
        """
        for text in (name, name.upper(), f"{name}."):
            host = parseHost(text.encode())
            if isinstance(host, str) and host not in (*SETS, ANY):
                self.assertEqual(readPattern(f"{text.removesuffix('.')}."), NamePattern(host))

    def test_bad(self) -> None:
        """
        What no client can ask for is an error, which says what is allowed.
        """
        for text in BAD_NAMES:
            for written in (text, f"*.{text}"):
                error = self.assertRaises(ValueError, readPattern, written)
                self.assertIn(repr(written), str(error))
                self.assertIn("allowed are a name", str(error))

    def test_asterisks(self) -> None:
        """
        An asterisk stands for whole labels at the beginning, and nowhere else; a dot at the
        beginning does not stand for it.
        """
        for text in ("*", "*example.com", "a.*", "a.*.example", "*.*.example", "**.example"):
            error = self.assertRaises(ValueError, readPattern, text)
            self.assertIn("an asterisk stands at the beginning, before a dot", str(error))
        error = self.assertRaises(ValueError, readPattern, ".example.com")
        self.assertIn("written with '*.'", str(error))

    def test_numbers(self) -> None:
        """
        The loose spellings of addresses are errors, and no names (R-1928-28).
        """
        for text in LOOSE:
            self.assertRaises(ValueError, readPattern, text)
            self.assertRaises(ValueError, readPattern, f"*.{text}")

    def test_otherDigits(self) -> None:
        """
        Neither are digits of other scripts, although IDNA would map them.
        """
        error = self.assertRaises(ValueError, readPattern, "\uff11\uff12\uff17.0.0.1")
        self.assertIn("digits are not ASCII", str(error))
        self.assertRaises(ValueError, readPattern, "\uff10x7f.1")

    @reproducible
    @given(st.text(max_size=20))
    def test_anyText(self, text: str) -> None:
        """
        Whatever the text, it is a pattern or a C{ValueError} that quotes it.
        """
        try:
            readPattern(text)
        except ValueError as error:
            self.assertIn(repr(text), str(error))


class SetTests(SynchronousTestCase):
    """
    The sets with a name.
    """

    def test_sets(self) -> None:
        """
        They are the eight that there are, in upper case as well: a denied set must not become a
        name that nobody asks for.
        """
        for name in (*SETS, "any"):
            for text in (name, name.upper(), name.title()):
                self.assertEqual(readPattern(text), NamedSet(name))

    def test_names(self) -> None:
        """
        Hosts that are called like one are written with a dot at their end.
        """
        self.assertEqual(readPattern("private."), NamePattern("private"))
        self.assertEqual(readPattern("*.private"), NamePattern("private", below=True))


class NetworkTests(SynchronousTestCase):
    """
    Networks and addresses, as destinations and of clients.
    """

    def read(self, text: str) -> IPNetwork:
        """
        Read a network in both ways.
        """
        network = readNetwork(text)
        self.assertEqual(readPattern(text), network)
        return network

    def refused(self, text: str) -> str:
        """
        Have it refused in both ways.

        @return: the text of the second error.
        """
        self.assertRaises(ValueError, readPattern, text)
        error = str(self.assertRaises(ValueError, readNetwork, text))
        self.assertIn(repr(text), error)
        return error

    def test_networks(self) -> None:
        """
        A network is an address, a slash, and a number of bits.
        """
        for text in ("10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "::/0", "2001:db8::/32"):
            self.assertEqual(self.read(text), ip_network(text))

    def test_addresses(self) -> None:
        """
        An address is a network of its own.
        """
        self.assertEqual(self.read("192.0.2.1"), IPv4Network("192.0.2.1/32"))
        self.assertEqual(self.read("2001:DB8::1"), IPv6Network("2001:db8::1/128"))

    def test_mapped(self) -> None:
        """
        Requests come with the IPv4 address where the client sends an IPv4-mapped one, so the rules
        hold it, too (R-1928-34).
        """
        self.assertEqual(self.read("::ffff:10.0.0.0/104"), IPv4Network("10.0.0.0/8"))
        self.assertEqual(self.read("::ffff:192.0.2.1"), IPv4Network("192.0.2.1/32"))
        self.assertEqual(self.read("::ffff:0:0/96"), IPv4Network("0.0.0.0/0"))
        self.assertEqual(self.read("::/80"), IPv6Network("::/80"))

    def test_hostBits(self) -> None:
        """
        An address with the length of its network is neither, and the error has both.
        """
        for text, network, address in (
            ("10.0.0.1/8", "10.0.0.0/8", "10.0.0.1"),
            ("2001:db8::1/64", "2001:db8::/64", "2001:db8::1"),
        ):
            error = self.refused(text)
            self.assertIn(f"the network is {network}", error)
            self.assertIn(f"the address alone {address}", error)

    def test_others(self) -> None:
        """
        Everything else is refused: masks, abbreviations, zones (S-08), lengths that are too long.
        """
        for text in (
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/0.255.255.255",
            "10/8",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "010.0.0.0/8",
            "\uff11\uff10.0.0.0/8",
            "::/129",
            "fe80::%eth0/64",
            "fe80::1%eth0",
            "example.com/24",
            "/8",
            *LOOSE,
        ):
            self.refused(text)
        self.assertIn("allowed are an address, and a network", self.refused("10/8"))

    def test_clients(self) -> None:
        """
        Clients are known by their address alone.
        """
        for text in ("example.com", "*.example.com", "private", "any", ""):
            self.assertRaises(ValueError, readNetwork, text)

    def test_brackets(self) -> None:
        """
        As a destination, an IPv6 address may stand in brackets, as in a URL.
        """
        self.assertEqual(readPattern("[2001:db8::1]"), IPv6Network("2001:db8::1/128"))

    def test_belowAddress(self) -> None:
        """
        There are no names below an address.
        """
        for text in ("*.10.0.0.1", "*.2001:db8::1"):
            error = self.assertRaises(ValueError, readPattern, text)
            self.assertIn("names below an address", str(error))

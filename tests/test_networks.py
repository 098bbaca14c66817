"""
Tests for L{txsocks5.networks}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.networks import SETS, choosesEmbedded, containing, embedded, setOf

from .wire.values import reproducible

# Of each set, the first and the last address of each of its networks, and those next to them that
# are in no set at all; S-05 and S-07 list the networks.
INSIDE: dict[str, tuple[str, ...]] = {
    "loopback": ("127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"),
    "link-local": (
        "169.254.0.0",
        "169.254.255.255",
        "fe80::",
        "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
    "private": (
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "fc00::",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
    "cgnat": ("100.64.0.0", "100.127.255.255"),
    "metadata": ("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"),
    "multicast": (
        "224.0.0.0",
        "224.0.0.1",
        "239.255.255.255",
        "ff00::",
        "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
    "reserved": (
        "0.0.0.0",
        "0.255.255.255",
        "192.0.0.0",
        "192.0.0.192",
        "192.0.0.255",
        "198.18.0.0",
        "198.19.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "2001::",
        "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
        "fec0::",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
}
OUTSIDE = (
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:1::",
    "2606:4700::1111",
    "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe00::",
    "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)


def forms(four: str) -> dict[str, IPv6Address]:
    """
    The IPv6 addresses that an IPv4 address can hide in, by the name of the form.
    """
    packed = IPv4Address(four).packed
    high, low = packed[:2], packed[2:]
    last = {
        "compatible ::/96": "::",
        "mapped ::ffff:0:0/96": "::ffff:0:0",
        "translated ::ffff:0:0:0/96": "::ffff:0:0:0",
        "NAT64 64:ff9b::/96": "64:ff9b::",
        "local NAT64 64:ff9b:1::/48, /96 of it": "64:ff9b:1::",
        "local NAT64 64:ff9b:1::/48, another /96 of it": "64:ff9b:1:fffe::",
    }
    found = {
        name: IPv6Address(IPv6Address(prefix).packed[:12] + packed) for name, prefix in last.items()
    }
    found["local NAT64 64:ff9b:1::/48, by RFC 6052"] = IPv6Address(
        bytes.fromhex("0064ff9b0001") + high + b"\x00" + low + b"\x00" * 5
    )
    found["6to4 2002::/16"] = IPv6Address(b"\x20\x02" + packed + b"\x00" * 9 + b"\x01")
    return found


class ContainingTests(SynchronousTestCase):
    """
    The sets, and the addresses next to them.
    """

    def test_inside(self) -> None:
        """
        The first and last address of each network are in the set that the network belongs to
        (S-05).
        """
        self.assertEqual(set(INSIDE), set(SETS))
        for name, texts in INSIDE.items():
            for text in texts:
                self.assertEqual(containing(ip_address(text)), name, text)

    def test_allNetworksTried(self) -> None:
        """
        No network of a set is left out of these tests, at either end.
        """
        tried = {ip_address(text) for texts in INSIDE.values() for text in texts}
        for networks in SETS.values():
            for network in networks:
                self.assertIn(network[0], tried)
                self.assertIn(network[-1], tried)

    def test_outside(self) -> None:
        """
        The addresses next to the networks are in no set.
        """
        for text in OUTSIDE:
            self.assertIsNone(containing(ip_address(text)), text)

    def test_metadataFirst(self) -> None:
        """
        A metadata address is called that, though it is link-local, private or CGNAT as well.
        """
        for text in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254"):
            self.assertEqual(containing(ip_address(text)), "metadata", text)

    def test_zone(self) -> None:
        """
        A zone does not hide what an address is (S-08).
        """
        self.assertEqual(containing(ip_address("fe80::1%eth0")), "link-local")
        self.assertEqual(containing(ip_address("::1%1")), "loopback")

    def test_setsConstant(self) -> None:
        """
        Nobody can change the sets by accident.
        """
        sets: Any = SETS
        with self.assertRaises(TypeError):
            sets["private"] = ()


class SetOfTests(SynchronousTestCase):
    """
    The sets, and the addresses as they stand.
    """

    def test_inside(self) -> None:
        """
        An address is in the same set, if nothing is looked for within it.
        """
        for name, texts in INSIDE.items():
            for text in texts:
                self.assertEqual(setOf(ip_address(text)), name, text)

    def test_embedded(self) -> None:
        """
        What is embedded does not matter.
        """
        for form, six in forms("10.0.0.1").items():
            self.assertIsNone(setOf(six), form)


class ChoosingTests(SynchronousTestCase):
    """
    Networks that hold some of the addresses which embed others.
    """

    def test_parts(self) -> None:
        """
        A part of such a network chooses among the IPv4 addresses, down to a single one.
        """
        for form, six in forms("10.0.0.1").items():
            begin = 17 if form.startswith("6to4") else 97
            for length in (begin, 128):
                network = ip_network(f"{six}/{length}", strict=False)
                self.assertTrue(choosesEmbedded(network), f"{form}: {network}")

    def test_wholes(self) -> None:
        """
        The whole of it does not, and neither does what is larger.
        """
        for form, six in forms("10.0.0.1").items():
            end = 16 if form.startswith("6to4") else 96
            for length in (0, 1, end - 1, end):
                network = ip_network(f"{six}/{length}", strict=False)
                self.assertFalse(choosesEmbedded(network), f"{form}: {network}")

    def test_others(self) -> None:
        """
        Nor does any other network.
        """
        for text in ("10.0.0.1/32", "2001:db8::/32", "2001:db8::1/128", "64:ff9b:2::1/128"):
            self.assertFalse(choosesEmbedded(ip_network(text)), text)


class EmbeddedTests(SynchronousTestCase):
    """
    IPv4 addresses that hide in IPv6 ones (S-07).
    """

    def test_hidden(self) -> None:
        """
        In every form, an address of a set is found out.
        """
        for name, texts in INSIDE.items():
            for text in texts:
                address = ip_address(text)
                if isinstance(address, IPv6Address) or text == "0.0.0.0":
                    continue
                for form, six in forms(text).items():
                    if form.startswith("compatible") and text == "0.0.0.1":
                        continue
                    self.assertEqual(containing(six), name, f"{text} as {form}: {six}")

    def test_hiddenUnspecified(self) -> None:
        """
        So is C{0.0.0.0}, of which nothing can be seen in the address that hides it.
        """
        for form, six in forms("0.0.0.0").items():
            if "another" not in form:
                self.assertIsNotNone(containing(six), form)

    def test_publicInside(self) -> None:
        """
        A public IPv4 address in an IPv6 one is public, so that a server with nothing but NAT64
        can reach it.
        """
        for text in ("8.8.8.8", "93.184.216.34", "1.0.0.0", "203.0.113.255"):
            for form, six in forms(text).items():
                if "another" not in form:
                    self.assertIsNone(containing(six), f"{text} as {form}: {six}")

    def test_libraryWouldNotDo(self) -> None:
        """
        These are known to pass for public elsewhere.
        """
        for text in (
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::ffff:0:7f00:1",
            "::ffff:127.0.0.1",
        ):
            self.assertEqual(containing(ip_address(text)), "loopback", text)

    def test_both(self) -> None:
        """
        In a local NAT64 prefix the address can stand in two places; one bad reading is enough.
        """
        eights = IPv4Address("8.8.8.8")
        for ten, name in ((IPv4Address("10.0.0.1"), "private"), (IPv4Address("1.1.1.1"), None)):
            behind = IPv6Address(bytes.fromhex("0064ff9b0001080800080800") + ten.packed)
            self.assertEqual(embedded(behind), (ten, eights))
            self.assertEqual(containing(behind), name)

    def test_plain(self) -> None:
        """
        Other addresses hold none.
        """
        for text in (
            "192.0.2.1",
            "::",
            "::1",
            "2606:4700::1111",
            "::2:0:0:0",
            "64:ff9b:2::a00:1",
            "2003:a00::",
        ):
            self.assertEqual(embedded(ip_address(text)), (), text)

    @reproducible
    @given(st.ip_addresses(v=4).map(str))
    def test_sameAnswer(self, text: str) -> None:
        """
        Whatever the IPv4 address, hiding it does not make it reachable.
        """
        plain = containing(IPv4Address(text))
        if plain is not None:
            for form, six in forms(text).items():
                self.assertIsNotNone(containing(six), form)

"""
Tests for L{txsocks5.index}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import IPNetwork
from txsocks5.index import NameIndex, NetworkIndex, PortIndex, first

from .wire.values import reproducible

NUMBERS = st.integers(0, 5)


def mask(*numbers: int) -> int:
    """
    The mask of some rules.
    """
    return sum(1 << number for number in set(numbers))


def nearNetworks(
    bits: int, family: type[IPv4Network] | type[IPv6Network]
) -> st.SearchStrategy[IPNetwork]:
    """
    Networks at the beginning, in the middle and at the end of a family, so that many are nested.
    """
    middle = 1 << bits - 1
    starts = (
        st.integers(0, 40)
        | st.integers(middle - 20, middle + 20)
        | st.integers(2**bits - 40, 2**bits - 1)
    )
    lengths = st.integers(bits - 6, bits) | st.sampled_from((0, 1, 2, bits // 2))

    def network(start: int, length: int) -> IPNetwork:
        return family((start >> bits - length << bits - length, length))

    return st.builds(network, starts, lengths)


networks = nearNetworks(32, IPv4Network) | nearNetworks(128, IPv6Network)
ranges = st.builds(
    lambda start, length: range(start, min(start + length, 65536)),
    st.integers(0, 30) | st.integers(65500, 65535),
    st.integers(0, 40),
)


class FirstTests(SynchronousTestCase):
    """
    The first rule of a mask.
    """

    def test_first(self) -> None:
        """
        It is the one with the lowest number, ten thousand rules on as well.
        """
        for numbers in ((0,), (0, 1), (3, 9), (9_999,), (9_999, 123_456)):
            self.assertEqual(first(mask(*numbers)), min(numbers))


class NameTests(SynchronousTestCase):
    """
    Names.
    """

    def setUp(self) -> None:
        """
        Make an index in which some names belong to several rules.
        """
        self.index = NameIndex()
        self.index.add("a.example", False, mask(0))
        self.index.add("a.example", False, mask(1))
        self.index.add("a.example", True, mask(2))
        self.index.add("example", True, mask(3))
        self.index.add("example", True, mask(4))

    def test_holding(self) -> None:
        """
        A name is found for itself and by all names above it.
        """
        for name, numbers in (
            ("a.example", (0, 1, 3, 4)),
            ("b.a.example", (2, 3, 4)),
            ("c.b.a.example", (2, 3, 4)),
            ("ba.example", (3, 4)),
            ("example", ()),
            ("a.example.com", ()),
            ("a", ()),
        ):
            self.assertEqual(self.index.holding(name), mask(*numbers), name)

    def test_covering(self) -> None:
        """
        All names below one are covered by those above it, and by itself.
        """
        for name, below, numbers in (
            ("a.example", False, (0, 1, 3, 4)),
            ("a.example", True, (2, 3, 4)),
            ("b.a.example", True, (2, 3, 4)),
            ("example", True, (3, 4)),
            ("com", True, ()),
        ):
            self.assertEqual(self.index.covering(name, below), mask(*numbers), name)

    def test_empty(self) -> None:
        """
        Where there are no names, none is found.
        """
        self.assertEqual(NameIndex().holding("a.example"), 0)


class NetworkTests(SynchronousTestCase):
    """
    Networks.
    """

    @reproducible
    @given(st.lists(st.tuples(networks, NUMBERS), max_size=12))
    def test_holding(self, entries: list[tuple[IPNetwork, int]]) -> None:
        """
        At the edges of each network, on both sides, exactly those are found that hold the address.
        """
        index = NetworkIndex((network, mask(number)) for network, number in entries)
        places = {ip_address(text) for text in ("0.0.0.0", "255.255.255.255", "::", f"::{'f' * 4}")}
        for network, _ in entries:
            family = type(network.network_address)
            low, high = int(network[0]), int(network[-1])
            for place in (low - 1, low, high, high + 1):
                if 0 <= place < 1 << network.max_prefixlen:
                    places.add(family(place))
        for address in places:
            expected = mask(*(number for network, number in entries if address in network))
            self.assertEqual(index.holding(address), expected, address)

    @reproducible
    @given(st.lists(st.tuples(networks, NUMBERS), max_size=8), networks)
    def test_covering(self, entries: list[tuple[IPNetwork, int]], inner: IPNetwork) -> None:
        """
        A network is covered by those rules whose networks hold all of its addresses.
        """
        index = NetworkIndex((network, mask(number)) for network, number in entries)
        covering = index.covering(inner)
        for number in range(6):
            left = [inner]
            for network in (network for network, other in entries if other == number):
                left = [part for rest in left for part in without(rest, network)]
            self.assertEqual(bool(covering >> number & 1), not left)

    def test_many(self) -> None:
        """
        Many networks that have nothing in common, and those that hold all of them.
        """
        tens = list(ip_network("10.0.0.0/8").subnets(new_prefix=20))
        index = NetworkIndex(
            [(net, mask(number)) for number, net in enumerate(tens)]
            + [(ip_network("10.0.0.0/8"), mask(9_000)), (ip_network("0.0.0.0/0"), mask(9_001))]
        )
        for number, net in enumerate(tens):
            self.assertEqual(index.holding(net[7]), mask(number, 9_000, 9_001))
        self.assertEqual(index.holding(IPv4Address("11.0.0.0")), mask(9_001))


def without(network: IPNetwork, other: IPNetwork) -> list[IPNetwork]:
    """
    What is left of a network.
    """
    if network.version != other.version or not network.overlaps(other):
        return [network]
    if network.subnet_of(other):  # type: ignore[arg-type]
        return []
    return list(network.address_exclude(other))  # type: ignore[arg-type]


class PortTests(SynchronousTestCase):
    """
    Ports.
    """

    @reproducible
    @given(st.lists(st.lists(ranges, max_size=4), max_size=6))
    def test_holding(self, rules: list[list[range]]) -> None:
        """
        Exactly the rules are found of which a range holds the port, however the ranges overlap.
        """
        index = PortIndex((each, mask(number)) for number, each in enumerate(rules))
        for port in (*range(75), *range(65495, 65536)):
            expected = [
                number for number, each in enumerate(rules) if any(port in ports for ports in each)
            ]
            self.assertEqual(index.holding(port), mask(*expected), port)

    @reproducible
    @given(st.lists(st.lists(ranges, max_size=4), max_size=6), ranges.filter(len))
    def test_covering(self, rules: list[list[range]], wanted: range) -> None:
        """
        Ports are covered by the rules that have all of them.
        """
        index = PortIndex((each, mask(number)) for number, each in enumerate(rules))
        expected = [
            number
            for number, each in enumerate(rules)
            if all(any(port in ports for ports in each) for port in wanted)
        ]
        self.assertEqual(index.covering(wanted), mask(*expected))

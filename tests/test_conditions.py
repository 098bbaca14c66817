"""
Tests for L{txsocks5.conditions}.
"""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.conditions import Conditions, networksOf
from txsocks5.config import Group, Rule, readNetwork, readPattern
from txsocks5.networks import SETS
from txsocks5.wire import Command

CONNECT, BIND, UDP = Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE
GROUPS = {
    "staff": Group(members=frozenset({"alice", "bob"})),
    "admins": Group(members=frozenset({"alice"})),
    "unused": Group(members=frozenset({"alice"})),
}


def to(*texts: str) -> Rule:
    """
    A rule for some destinations.
    """
    return rule(to=tuple(map(readPattern, texts)))


def rule(**stated: Any) -> Rule:
    """
    A rule with some conditions.
    """
    return Rule(name="rule", allow=frozenset(Command), **stated)


def conditions(*rules: Rule) -> Conditions:
    """
    Put the conditions of rules into indexes.
    """
    return Conditions(rules, GROUPS)


class ConditionsTests(SynchronousTestCase):
    """
    Commands and ports.
    """

    def test_commands(self) -> None:
        """
        Each rule allows or denies its commands.
        """
        known = conditions(
            Rule(name="", allow=frozenset({CONNECT, BIND})),
            Rule(name="", deny=frozenset({CONNECT})),
            Rule(name="", deny=frozenset({UDP})),
        )
        self.assertEqual((known.allows, known.denies), (0b001, 0b110))
        self.assertEqual(
            [known.of(command) for command in (CONNECT, BIND, UDP)], [0b011, 0b001, 0b100]
        )

    def test_ports(self) -> None:
        """
        A rule without ports is for all; a BIND for port 0 is for all rules.
        """
        known = conditions(rule(ports=(range(80, 90), range(443, 444))), rule())
        self.assertEqual(known.anyPort, 0b010)
        for port, mask in ((79, 0b10), (80, 0b11), (89, 0b11), (90, 0b10), (443, 0b11)):
            for command in Command:
                self.assertEqual(known.forPort(command, port), mask)
        self.assertEqual(known.forPort(CONNECT, 0), 0b10)
        self.assertEqual(known.forPort(BIND, 0) & 0b11, 0b11)


class ClientsTests(SynchronousTestCase):
    """
    Users and client networks.
    """

    def test_users(self) -> None:
        """
        Users are found by name and by all their groups.
        """
        clients = conditions(
            rule(users=("alice",)),
            rule(users=("@staff", "carol")),
            rule(users=("@admins",)),
            rule(),
        ).clients
        self.assertEqual(clients.anybody, 0b1000)
        for name, mask in (
            ("alice", 0b1111),
            ("bob", 0b1010),
            ("carol", 0b1010),
            ("@staff", 0b1000),
            ("", 0b1000),
        ):
            self.assertEqual(clients.users(name), mask, name)
        self.assertEqual(clients.ofGroup("@staff"), 0b1010)
        self.assertEqual(clients.ofGroup("@unused"), 0b1000)

    def test_sources(self) -> None:
        """
        Clients are found by network, and those without an address where no network is named.
        """
        clients = conditions(
            rule(source=(readNetwork("10.0.0.0/8"), readNetwork("fd00::/8"))),
            rule(),
            rule(source=(readNetwork("0.0.0.0/0"),)),
        ).clients
        self.assertEqual(clients.anywhere, 0b010)
        for address, mask in (("10.0.0.1", 0b111), ("fd00::1", 0b011), ("192.0.2.1", 0b110)):
            self.assertEqual(clients.sources(ip_address(address)), mask)
        self.assertEqual(clients.sources(None), 0b010)


class DestinationsTests(SynchronousTestCase):
    """
    Names, networks and sets.
    """

    def test_anything(self) -> None:
        """
        Without destinations a rule is for anything, and with C{any}.
        """
        known = conditions(rule(to=None), to("any"), to("private"), to("example"))
        self.assertEqual(known.destinations.anything, 0b0011)
        self.assertEqual(known.destinations.networked, 0b0100)

    def test_networks(self) -> None:
        """
        Networks, and those of sets, are found by the addresses that they hold.
        """
        found = conditions(to("10.0.0.0/8", "0.0.0.0/0"), to("private"), to("::/0")).destinations
        self.assertEqual(found.worlds, {4: 0b001, 6: 0b100})
        for address, mask in (("10.0.0.1", 0b011), ("192.0.2.1", 0b001), ("fd00::1", 0b110)):
            self.assertEqual(found.networks(ip_address(address)), mask)

    def test_covering(self) -> None:
        """
        A network is covered by larger ones, and by several together.
        """
        found = conditions(
            to("10.0.0.0/8"), to("0.0.0.0/0"), to("10.1.0.0/17", "10.1.128.0/17"), to("any")
        ).destinations
        self.assertEqual(found.covering(IPv4Network("10.1.0.0/16")), 0b0111)
        self.assertEqual(found.covering(IPv4Network("10.0.0.0/15")), 0b0011)

    def test_hidden(self) -> None:
        """
        So are those that hold what is embedded in an address.
        """
        found = conditions(to("10.0.0.0/8"), to("192.0.2.0/24"), to("64:ff9b::/96")).destinations
        for address, mask in (("64:ff9b::a00:1", 0b001), ("64:ff9b:1:a00:0:100:c000:201", 0b011)):
            self.assertEqual(found.hidden(ip_address(address)), mask)
        self.assertEqual(found.hidden(ip_address("10.0.0.1")), 0)

    def test_names(self) -> None:
        """
        Names are found by themselves, and by those above.
        """
        found = conditions(to("a.example"), to("*.example", "a.example")).destinations
        self.assertEqual(found.names.holding("a.example"), 0b11)
        self.assertEqual(found.names.holding("b.example"), 0b10)

    def test_opening(self) -> None:
        """
        What only the server can see is opened by a network that is not all of them.
        """
        found = conditions(to("10.0.0.0/8"), to("0.0.0.0/0", "any"), to("private")).destinations
        ten = ip_address("10.0.0.1")
        self.assertEqual(found.opening(ten, ten), 0b101)

    def test_openingMetadata(self) -> None:
        """
        Metadata by the address itself.
        """
        found = conditions(
            to("169.254.0.0/16"), to("169.254.169.254"), to("metadata"), to("169.254.169.253")
        ).destinations
        metadata = ip_address("169.254.169.254")
        self.assertEqual(found.opening(metadata, metadata), 0b0110)

    def test_openingEmbedded(self) -> None:
        """
        What is embedded is opened for itself, or by a network that is a part of its form.
        """
        found = conditions(
            to("10.0.0.0/8"),
            to("64:ff9b::/96", "64::/16"),
            to("64:ff9b::a00:0/104"),
            to("64:ff9b::a9fe:a9fe"),
            to("64:ff9b::a9fe:0/112"),
        ).destinations
        ten, metadata = ip_address("64:ff9b::a00:1"), ip_address("64:ff9b::a9fe:a9fe")
        self.assertEqual(found.opening(ten, ip_address("10.0.0.1")), 0b00101)
        self.assertEqual(found.opening(metadata, ip_address("169.254.169.254")), 0b01000)


class NetworksOfTests(SynchronousTestCase):
    """
    What an entry stands for.
    """

    def test_entries(self) -> None:
        """
        A network for itself, a set for its networks, all else for none.
        """
        self.assertEqual(networksOf(readPattern("10.0.0.0/8")), (IPv4Network("10.0.0.0/8"),))
        self.assertEqual(networksOf(readPattern("private")), SETS["private"])
        for text in ("any", "example.com", "*.example.com"):
            self.assertEqual(networksOf(readPattern(text)), ())

"""
Tests for L{txsocks5.rules}.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import local
from txsocks5.config import (
    Configuration,
    Group,
    IPNetwork,
    Network,
    Rule,
    User,
    readNetwork,
    readPattern,
)
from txsocks5.errors import Overloaded
from txsocks5.interfaces import Identity, IPolicy, Question, Verdict
from txsocks5.networks import SETS
from txsocks5.rules import RulePolicy, openRule, policyOf
from txsocks5.wire import Address, Command, IPAddress, Method, parseHost

from .reference import Reference
from .test_policy import HOST, PolicyFixture
from .wire.values import reproducible

CONNECT, BIND, UDP = Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE
CLIENT = IPv4Address("198.51.100.7")
PUBLIC = "203.0.113.80"
NOTHING = "default: no rule matches"
GROUPS = {"staff": Group(members=frozenset({"alice", "carol"})), "nobody": Group()}


def under(name: str) -> str:
    """
    The default that protects a set.
    """
    return f"default: {name} address at an exposed server"


def rule(name: str = "", **conditions: Any) -> Rule:
    """
    Make a rule as the file has it, with C{source} for C{from}.
    """
    fields: dict[str, Any] = {"name": name or "the rule"}
    for key, value in conditions.items():
        if key in ("allow", "deny"):
            fields[key] = frozenset({Command(each) for each in value})
        elif key == "to":
            fields[key] = tuple(map(readPattern, value))
        elif key == "source":
            fields[key] = tuple(map(readNetwork, value))
        elif key == "ports":
            fields[key] = tuple(
                each if isinstance(each, range) else range(each, each + 1) for each in value
            )
        else:
            fields[key] = tuple(value)
    return Rule(**fields)


def allow(*to: str, name: str = "", commands: Iterable[Command] = (CONNECT,), **more: Any) -> Rule:
    """
    Make a rule that allows; without destinations, all.
    """
    return rule(name, allow=commands, **({"to": to} if to else {}), **more)


def deny(*to: str, name: str = "", commands: Iterable[Command] = (CONNECT,), **more: Any) -> Rule:
    """
    Make a rule that denies.
    """
    return rule(name, deny=commands, **({"to": to} if to else {}), **more)


def asked(
    host: str = PUBLIC,
    port: int = 443,
    *,
    command: Command = CONNECT,
    user: str = "alice",
    client: IPAddress | None = CLIENT,
) -> Question:
    """
    Make a question, with the destination as a client sends it.
    """
    method = Method.PASSWORD if user else Method.NONE
    destination = Address(parseHost(host.encode()), port)
    return Question(Identity(user, method), client, command, destination)


class RulesFixture(PolicyFixture):
    """
    A machine with known addresses, and a server with rules.
    """

    local = False
    advertised: tuple[IPAddress, ...] = ()

    def decide(self, rules: Iterable[Rule], question: Question, address: str = "") -> Verdict:
        """
        Ask an exposed server about an address, in both of the ways in which it is asked.

        @param address: what the name leads to; empty for the address asked for.
        """
        policy = RulePolicy(tuple(rules), GROUPS, local=self.local, own=self.advertised)
        assert question.destination is not None
        verdict = policy.judgeAddress(
            question, ip_address(address or str(question.destination.host))
        )
        early = policy.judgeRequest(question)
        if verdict.allowed:
            self.assertTrue(early.allowed, early.reason)
        return verdict

    def allowed(self, rules: Iterable[Rule], question: Question, address: str = "") -> str:
        """
        Have it allowed.

        @return: the name of the rule.
        """
        verdict = self.decide(rules, question, address)
        self.assertTrue(verdict.allowed, verdict.reason)
        assert verdict.rule is not None
        self.assertEqual(verdict.reason, verdict.rule.name)
        return verdict.reason

    def denied(self, rules: Iterable[Rule], question: Question, address: str = "") -> str:
        """
        Have it denied.

        @return: the name of the rule, or the default.
        """
        verdict = self.decide(rules, question, address)
        self.assertFalse(verdict.allowed, verdict.reason)
        if verdict.rule is not None:
            self.assertEqual(verdict.reason, verdict.rule.name)
        else:
            self.assertIn("default: ", verdict.reason)
        return verdict.reason


class OrderTests(RulesFixture):
    """
    Rules are tried in their order, and what none of them matches is denied.
    """

    def test_interface(self) -> None:
        """
        It is a policy.
        """
        self.assertTrue(verifyObject(IPolicy, RulePolicy((), {})))

    def test_first(self) -> None:
        """
        The first rule that matches decides, and is named as the reason.
        """
        one, two = allow(PUBLIC, name="one"), deny("any", name="two")
        self.assertEqual(self.allowed([one, two], asked()), "one")
        self.assertEqual(self.denied([two, one], asked()), "two")

    def test_none(self) -> None:
        """
        Without a rule that matches, nothing is allowed: at a local server neither.
        """
        for self.local in (True, False):
            self.assertEqual(self.denied([], asked()), NOTHING)
            self.assertEqual(self.denied([allow("192.0.2.1"), deny("192.0.2.2")], asked()), NOTHING)

    def test_allConditions(self) -> None:
        """
        A rule matches if all that it says holds.
        """
        conditions = {
            "users": ["alice"],
            "source": ["198.51.100.0/24"],
            "to": [PUBLIC],
            "ports": [443],
        }
        whole = rule(allow=[CONNECT], **conditions)
        self.allowed([whole], asked())
        for question in (
            asked(user="bob"),
            asked(client=IPv4Address("192.0.2.1")),
            asked("203.0.113.81"),
            asked(port=80),
            asked(command=UDP),
        ):
            self.assertEqual(self.denied([whole], question), NOTHING)

    def test_commands(self) -> None:
        """
        It is for the commands that it lists.
        """
        for command in Command:
            for listed in Command:
                rules = [allow(commands=[listed])]
                (self.allowed if listed is command else self.denied)(rules, asked(command=command))
        self.allowed([allow(commands=Command)], asked(command=UDP))


class ClientTests(RulesFixture):
    """
    Who asks, and from where.
    """

    def test_anybody(self) -> None:
        """
        A rule without users is for everybody, and for those who have not authenticated.
        """
        for user in ("alice", ""):
            self.allowed([allow()], asked(user=user))

    def test_users(self) -> None:
        """
        Names are compared exactly.
        """
        rules = [allow(users=["alice"])]
        self.allowed(rules, asked(user="alice"))
        for user in ("Alice", "alice ", "al", "bob", ""):
            self.denied(rules, asked(user=user))

    def test_groups(self) -> None:
        """
        A group stands for its members, and a user that is called like one does not get in.
        """
        rules = [allow(users=["bob", "@staff", "@nobody"])]
        for user in ("alice", "bob", "carol"):
            self.allowed(rules, asked(user=user))
        for user in ("dave", "@staff", "staff", "@nobody", ""):
            self.denied(rules, asked(user=user))

    def test_severalGroups(self) -> None:
        """
        Users can be in several groups, and each has its rules.
        """
        groups = {"a": Group(members=frozenset({"u"})), "b": Group(members=frozenset({"u", "v"}))}
        policy = RulePolicy([allow("192.0.2.1", users=["@a"]), allow(users=["@b"])], groups)
        for user, host, reached in (
            ("u", "192.0.2.1", True),
            ("u", PUBLIC, True),
            ("v", PUBLIC, True),
            ("w", PUBLIC, False),
        ):
            verdict = policy.judgeAddress(asked(user=user), ip_address(host))
            self.assertEqual(verdict.allowed, reached)

    def test_source(self) -> None:
        """
        Clients come from one of the networks.
        """
        rules = [allow(source=["198.51.100.0/25", "2001:db8::/32"])]
        for client in ("198.51.100.0", "198.51.100.127", "2001:db8:ffff::1"):
            self.allowed(rules, asked(client=ip_address(client)))
        for client in ("198.51.100.128", "198.51.99.255", "2001:db9::1"):
            self.denied(rules, asked(client=ip_address(client)))

    def test_unix(self) -> None:
        """
        A client at a UNIX socket comes from no network, not even the largest.
        """
        self.denied([allow(source=["0.0.0.0/0", "::/0"])], asked(client=None))
        self.allowed([allow()], asked(client=None))

    def test_wholeFamily(self) -> None:
        """
        The largest network of a family holds all clients of it.
        """
        self.allowed([allow(source=["0.0.0.0/0"])], asked())
        self.denied([allow(source=["::/0"])], asked())


class PortTests(RulesFixture):
    """
    C{ports}.
    """

    def test_ports(self) -> None:
        """
        They are single ones and ranges, with both ends, of DST.PORT.
        """
        rules = [allow(ports=[443, range(8000, 9000), range(8500, 9100), range(9100, 9101)])]
        for port in (443, 8000, 8500, 8999, 9000, 9099, 9100):
            self.allowed(rules, asked(port=port))
        for port in (0, 442, 444, 7999, 9101, 65535):
            self.denied(rules, asked(port=port))

    def test_ends(self) -> None:
        """
        The highest and the lowest port are ports like any other.
        """
        rules = [allow(ports=[range(0, 65536)])]
        for port in (0, 1, 65535):
            self.allowed(rules, asked(port=port))
        self.allowed([allow(ports=[65535])], asked(port=65535))

    def test_datagrams(self) -> None:
        """
        Each datagram's port is looked at.
        """
        rules = [allow(commands=[UDP], ports=[53])]
        self.allowed(rules, asked(command=UDP, port=53))
        self.denied(rules, asked(command=UDP, port=54))

    def test_bind(self) -> None:
        """
        A BIND for port 0 passes, as the peer may come from any.
        """
        rules = [allow(commands=[BIND], ports=[20])]
        self.allowed(rules, asked(command=BIND, port=0))
        self.allowed(rules, asked(command=BIND, port=20))
        self.denied(rules, asked(command=BIND, port=21))
        self.denied([deny(commands=[BIND], ports=[20]), *rules], asked(command=BIND, port=0))


class NameTests(RulesFixture):
    """
    Names, which never widen what networks allow.
    """

    def test_exact(self) -> None:
        """
        A name holds for itself, however the client writes it.
        """
        rules = [allow("Wiki.Example")]
        for name in ("wiki.example", "WIKI.example.", "wIkI.eXaMpLe"):
            self.allowed(rules, asked(name), PUBLIC)
        for name in ("www.wiki.example", "example", "awiki.example"):
            self.denied(rules, asked(name), PUBLIC)

    def test_below(self) -> None:
        """
        With an asterisk it holds for all names below, and not for itself.
        """
        rules = [allow("*.wiki.example")]
        for name in ("www.wiki.example", "a.b.wiki.example"):
            self.allowed(rules, asked(name), PUBLIC)
        for name in ("wiki.example", "awiki.example", "wiki.example.org"):
            self.denied(rules, asked(name), PUBLIC)

    def test_international(self) -> None:
        """
        Names in other scripts are those that clients look up.
        """
        rules = [allow("*.b\u00fccher.example")]
        self.allowed(rules, asked("www.xn--bcher-kva.example"), PUBLIC)

    def test_address(self) -> None:
        """
        Who asks for the address itself does not ask for its name.
        """
        self.denied([allow("wiki.example")], asked())

    def test_literal(self) -> None:
        """
        An address that comes as a name is an address (R-1928-27).
        """
        for text in (PUBLIC, f"::ffff:{PUBLIC}"):
            self.allowed([allow(PUBLIC)], asked(text))
        self.allowed([allow("2001:db8::1")], asked("[2001:DB8:0::1]"))

    def test_byAddress(self) -> None:
        """
        A host asked for by name is allowed if a rule allows its address.
        """
        self.allowed([allow("203.0.113.0/24")], asked("wiki.example"), PUBLIC)
        self.allowed([allow("other.example", PUBLIC)], asked("wiki.example"), PUBLIC)

    def test_eachAddress(self) -> None:
        """
        Each address of a name is decided about for itself.
        """
        rules = [deny("198.51.100.0/24"), allow("*.example")]
        self.allowed(rules, asked("wiki.example"), PUBLIC)
        self.denied(rules, asked("wiki.example"), "198.51.100.1")

    def test_laterDeny(self) -> None:
        """
        An address that a later rule denies by a network or set is not admitted by its name.
        """
        for to in ("203.0.113.0/24", PUBLIC, "0.0.0.0/0"):
            rules = [allow("*.example", name="wiki"), deny(to, name="no")]
            self.assertEqual(self.denied(rules, asked("wiki.example"), PUBLIC), "no")
            self.assertEqual(self.allowed(rules, asked("wiki.example"), "2001:db8::1"), "wiki")
        self.local = True
        rules = [allow("*.example"), deny("private", name="no")]
        self.assertEqual(self.denied(rules, asked("wiki.example"), "10.0.0.1"), "no")

    def test_laterDenyOfAny(self) -> None:
        """
        C{any}, and a rule without destinations, only deny what has not been allowed yet.
        """
        for rest in (deny("any"), deny(), deny("wiki.example"), deny("*.example")):
            self.allowed([allow("*.example"), rest], asked("wiki.example"), PUBLIC)

    def test_laterDenyOfOthers(self) -> None:
        """
        A later rule only counts if it would match.
        """
        for rest in (
            deny(PUBLIC, users=["bob"]),
            deny(PUBLIC, source=["192.0.2.0/24"]),
            deny(PUBLIC, ports=[80]),
            deny(PUBLIC, commands=[UDP]),
            deny("203.0.113.81"),
        ):
            self.allowed([allow("*.example"), rest], asked("wiki.example"), PUBLIC)

    def test_laterDenyAndNetwork(self) -> None:
        """
        What is allowed by its network, too, does not depend on its name: in the same rule, or in
        one behind.
        """
        no = deny("203.0.113.0/24", name="no")
        for to in (PUBLIC, "any"):
            rules = [allow("*.example", to), no]
            self.allowed(rules, asked("wiki.example"), PUBLIC)
        rules = [allow("*.example", name="wiki"), allow(PUBLIC, name="address"), no]
        self.assertEqual(self.allowed(rules, asked("wiki.example"), PUBLIC), "address")
        self.assertEqual(self.denied(rules, asked("wiki.example"), "203.0.113.81"), "no")

    def test_earlierDeny(self) -> None:
        """
        A rule before decides, as always.
        """
        rules = [deny("wiki.example", name="no"), allow("*.example"), allow()]
        self.assertEqual(self.denied(rules, asked("wiki.example"), PUBLIC), "no")
        self.allowed(rules, asked("www.example"), PUBLIC)

    def test_floor(self) -> None:
        """
        Nor does a name admit what only the server can see, unless another rule does.
        """
        question = asked("wiki.example")
        self.assertEqual(self.denied([allow("*.example")], question, "10.0.0.1"), under("private"))
        rules = [allow("*.example", name="name"), allow("private", name="set")]
        self.assertEqual(self.allowed(rules, question, "10.0.0.1"), "set")
        self.allowed([allow("*.example", "private")], question, "10.0.0.1")

    def test_own(self) -> None:
        """
        Nor the server's own address.
        """
        reason = self.denied([allow("*.example")], asked("wiki.example"), str(HOST))
        self.assertEqual(reason, "default: the server's own address")


class FloorTests(RulesFixture):
    """
    What an exposed server allows only if a rule says so itself.
    """

    INSIDE = {
        "loopback": ("127.0.0.1", "::1"),
        "link-local": ("169.254.0.1", "fe80::1"),
        "private": ("10.1.2.3", "172.16.0.1", "192.168.0.1", "fd00::1"),
        "cgnat": ("100.64.0.1",),
        "metadata": ("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"),
        "multicast": ("224.0.0.1", "ff02::1"),
        "reserved": ("0.0.0.0", "240.0.0.1", "::", "2001::1"),
    }

    def test_closed(self) -> None:
        """
        C{any}, a rule without destinations and the largest networks open nothing.
        """
        for name, hosts in self.INSIDE.items():
            for host in hosts:
                for rules in ([allow()], [allow("any")], [allow("0.0.0.0/0", "::/0")]):
                    self.assertEqual(self.denied(rules, asked(host)), under(name))

    def test_sets(self) -> None:
        """
        The name of the set does, and that of no other.
        """
        for name, hosts in self.INSIDE.items():
            for host in hosts:
                for opened in SETS:
                    verdict = self.decide([allow(opened)], asked(host))
                    self.assertEqual(verdict.allowed, opened == name, f"{host} by {opened}")

    def test_networks(self) -> None:
        """
        So does any smaller network that holds the address, but for metadata.
        """
        for name, hosts in self.INSIDE.items():
            for host in hosts:
                for length in (1, 2, 8, 16, 31):
                    network = ip_network(f"{host}/{length}", strict=False)
                    verdict = self.decide([allow(str(network))], asked(host))
                    self.assertEqual(verdict.allowed, name != "metadata", f"{host} by {network}")

    def test_exact(self) -> None:
        """
        The exact address opens all of them.
        """
        for hosts in self.INSIDE.values():
            for host in hosts:
                self.allowed([allow(host)], asked(host))

    def test_passedOver(self) -> None:
        """
        A rule that opens nothing is passed over, so that one behind it can.
        """
        rules = [allow(name="all"), deny("10.1.0.0/16", name="no"), allow("private", name="set")]
        self.assertEqual(self.allowed(rules, asked("10.2.0.1")), "set")
        self.assertEqual(self.denied(rules, asked("10.1.0.1")), "no")
        self.assertEqual(self.allowed(rules, asked()), "all")
        self.assertEqual(self.denied(rules, asked("127.0.0.1")), under("loopback"))

    def test_own(self) -> None:
        """
        The server's own addresses are opened by a network, and by no set.
        """
        for host in map(str, self.own):
            for rules in ([allow()], [allow("any", *SETS)], [allow("0.0.0.0/0", "::/0")]):
                self.assertEqual(
                    self.denied(rules, asked(host)), "default: the server's own address"
                )
            self.allowed([allow(host)], asked(host))
            rules = [allow("any", name="all"), allow(f"{host}", name="own")]
            self.assertEqual(self.allowed(rules, asked(host)), "own")
            self.assertEqual(self.denied([allow(), deny(host, name="no")], asked(host)), "no")

    def test_advertised(self) -> None:
        """
        So is the address by which clients know a server behind NAT.
        """
        self.advertised = (ip_address("198.51.100.99"),)
        for host in ("198.51.100.99", "64:ff9b::198.51.100.99"):
            reason = self.denied([allow("any")], asked(host))
            self.assertEqual(reason, "default: the server's own address")
        self.allowed([allow("198.51.100.99")], asked("198.51.100.99"))
        self.allowed([allow("any")], asked("198.51.100.98"))

    def test_ownUnknown(self) -> None:
        """
        Only where it matters is it found out whose an address is.
        """
        self.withoutSockets()
        self.assertRaises(Overloaded, self.decide, [allow()], asked())
        self.allowed([allow(PUBLIC)], asked())
        self.denied([deny(PUBLIC), allow()], asked())
        self.denied([allow()], asked("10.0.0.1"))

    def test_local(self) -> None:
        """
        A local server has no such defaults: whoever uses it could go there without it.
        """
        self.local = True
        self.withoutSockets()
        for hosts in self.INSIDE.values():
            for host in hosts:
                self.allowed([allow()], asked(host))
                self.allowed([allow("*.example")], asked("wiki.example"), host)

    def test_exposedBefore(self) -> None:
        """
        Nor does a local server let somebody go there who has asked an exposed one, before it was
        a local one.
        """
        self.local = True
        question = attrs.evolve(asked("10.0.0.1"), exposed=True)
        self.assertEqual(self.denied([allow()], question), under("private"))
        self.allowed([allow("private")], question)

    def test_datagrams(self) -> None:
        """
        Datagrams are held to the same.
        """
        rules = [allow(commands=[UDP])]
        self.assertEqual(self.denied(rules, asked("10.0.0.1", command=UDP)), under("private"))
        self.allowed([allow("private", commands=[UDP])], asked("10.0.0.1", command=UDP))


class EmbeddedTests(RulesFixture):
    """
    IPv6 addresses with IPv4 ones in them (S-07).
    """

    TEN = ("64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1", "::ffff:0:a00:1", "64:ff9b:1::a00:1")

    def test_mapped(self) -> None:
        """
        The mapped form is the IPv4 address itself.
        """
        self.allowed([allow("10.0.0.0/8")], asked("::ffff:10.0.0.1"))
        self.denied([allow("::/1")], asked("::ffff:10.0.0.1"))

    def test_deny(self) -> None:
        """
        What denies an IPv4 address denies all that embed it.
        """
        for self.local in (True, False):
            for to in ("10.0.0.1", "10.0.0.0/8", "private", "0.0.0.0/0"):
                for host in self.TEN:
                    rules = [deny(to, name="no"), allow("::/1", "2002::/15", "private")]
                    self.assertEqual(self.denied(rules, asked(host)), "no")

    def test_laterDeny(self) -> None:
        """
        So does a later rule, if only the name is allowed.
        """
        self.local = True
        for host in self.TEN:
            rules = [allow("*.example"), deny("10.0.0.1", name="no")]
            self.assertEqual(self.denied(rules, asked("wiki.example"), host), "no")

    def test_allow(self) -> None:
        """
        What allows an IPv4 address allows no other.
        """
        for self.local in (True, False):
            for to in ("10.0.0.1", "10.0.0.0/8", "private", "0.0.0.0/0"):
                for host in self.TEN:
                    self.assertEqual(self.denied([allow(to)], asked(host)), NOTHING)

    def test_floor(self) -> None:
        """
        A network of IPv6 addresses does not open the IPv4 addresses in them, unless it is for
        some of those; or the rule opens them besides.
        """
        for host in self.TEN:
            for to in (["any"], ["::/0"], ["::/1", "2000::/3"], ["64:ff9b::/95", "2002::/16"]):
                reason = self.denied([allow(*to)], asked(host))
                self.assertIn(reason, (under("private"), NOTHING))
            self.allowed([allow("any", "private")], asked(host))
            self.allowed([allow("any", "10.0.0.0/8")], asked(host))
            self.allowed([allow(host)], asked(host))
        self.allowed([allow("64:ff9b::a00:0/104")], asked("64:ff9b::a00:1"))
        self.allowed([allow("2002:a00::/24")], asked("2002:a00:1::"))
        self.allowed([allow("64:ff9b:1::a00:0/104")], asked("64:ff9b:1::a00:1"))
        self.denied([allow("64:ff9b:1::/64")], asked("64:ff9b:1::a00:1"))

    def test_public(self) -> None:
        """
        Public ones are reached as what they are.
        """
        self.allowed([allow("64:ff9b::/96")], asked("64:ff9b::808:808"))
        self.allowed([allow("any")], asked("2002:808:808::1"))

    def test_metadata(self) -> None:
        """
        Metadata addresses are opened by C{metadata} or as the exact address.
        """
        host = "64:ff9b::a9fe:a9fe"
        for to in (["64:ff9b::a9fe:0/112"], ["any", "link-local"], ["any", "169.254.0.0/16"]):
            self.assertEqual(self.denied([allow(*to)], asked(host)), under("metadata"))
        for to in ([host], ["any", "metadata"], ["any", "169.254.169.254"]):
            self.allowed([allow(*to)], asked(host))

    def test_own(self) -> None:
        """
        The server's own address is not reached by way of a translator.
        """
        for host in ("64:ff9b::203.0.113.9", "2002:cb00:7109::1"):
            self.assertEqual(
                self.denied([allow()], asked(host)), "default: the server's own address"
            )
            self.allowed([allow("any", "203.0.113.9")], asked(host))
            self.allowed([allow(host)], asked(host))

    def test_eitherReading(self) -> None:
        """
        Where it cannot be told which IPv4 address is meant, both have to be allowed.
        """
        host = "64:ff9b:1:a00:0:100:a01:2"
        self.assertEqual(self.denied([allow("any", "10.1.0.0/16")], asked(host)), under("private"))
        self.allowed([allow("any", "10.1.0.0/16", "10.0.0.0/24")], asked(host))
        for to in ("10.1.0.2", "10.0.0.1"):
            self.denied([deny(to), allow("any", "private")], asked(host))


class BindTests(RulesFixture):
    """
    BIND, for the peer that is expected and for the one that comes.
    """

    def test_peer(self) -> None:
        """
        The expected peer is judged, and so is the one that comes, by its address.
        """
        rules = [allow("203.0.113.0/24", commands=[BIND])]
        self.allowed(rules, asked(PUBLIC, command=BIND))
        self.denied(rules, asked("198.51.100.1", command=BIND))
        self.allowed(rules, asked("wiki.example", command=BIND), PUBLIC)
        self.denied(rules, asked("wiki.example", command=BIND), "198.51.100.1")
        self.allowed(
            [allow("*.example", commands=[BIND])], asked("a.example", command=BIND), PUBLIC
        )

    def test_anyPeer(self) -> None:
        """
        Who expects anybody needs a rule for any peer, and each is judged when it comes
        (R-1928-59).
        """
        for anybody in ("0.0.0.0", "::"):
            question = asked(anybody, 0, command=BIND)
            for to in ([], ["any"], ["0.0.0.0/0", "::/0"], ["reserved"]):
                self.allowed([allow(*to, commands=[BIND])], question)
            for to in (["203.0.113.0/24"], ["private"], ["wiki.example"]):
                self.assertEqual(self.denied([allow(*to, commands=[BIND])], question), NOTHING)
            rules = [deny("198.51.100.0/24", commands=[BIND]), allow(commands=[BIND])]
            self.allowed(rules, question)
            self.allowed(rules, question, PUBLIC)
            self.denied(rules, question, "198.51.100.1")
            self.assertEqual(self.denied(rules, question, "10.0.0.1"), under("private"))
            policy = RulePolicy([allow("203.0.113.0/24", commands=[BIND])], {})
            self.assertEqual(policy.judgeRequest(question).reason, NOTHING)
            self.denied([allow()], question)


class RequestTests(RulesFixture):
    """
    What is refused before a name is looked up.
    """

    def judge(self, rules: Iterable[Rule], question: Question) -> Verdict:
        """
        Ask about a request.
        """
        return RulePolicy(tuple(rules), GROUPS).judgeRequest(question)

    def test_name(self) -> None:
        """
        A name is looked up if one of its addresses might be allowed.
        """
        question = asked("wiki.example")
        for rules in (
            [allow()],
            [allow("any")],
            [allow("private")],
            [allow("192.0.2.1")],
            [allow("::/0")],
            [allow("wiki.example")],
            [deny("203.0.113.0/24", "www.example"), allow("*.example")],
            [deny("0.0.0.0/0"), allow("*.example")],
            [allow("wiki.example"), deny("0.0.0.0/0")],
        ):
            self.assertTrue(self.judge(rules, question).allowed, rules)

    def test_nameRefused(self) -> None:
        """
        If none can be, it is refused at once, by the rule or default that would do so later.
        """
        question = asked("wiki.example")
        no = "no"
        for rules, reason in (
            ([], NOTHING),
            ([allow("www.example")], NOTHING),
            ([allow("*.wiki.example"), deny("10.0.0.0/8")], NOTHING),
            ([allow(users=["bob"])], NOTHING),
            ([allow(ports=[80])], NOTHING),
            ([allow(commands=[UDP])], NOTHING),
            ([deny("wiki.example", name=no), allow()], no),
            ([deny("*.example", name=no), allow("wiki.example")], no),
            ([deny("any", name=no), allow()], no),
            ([deny(name=no), allow("10.0.0.0/8")], no),
            ([deny("0.0.0.0/0", "::/0", name=no), allow()], no),
            ([allow("wiki.example"), deny("0.0.0.0/0", "::/0", name=no)], no),
        ):
            verdict = self.judge(rules, question)
            self.assertEqual((verdict.allowed, verdict.reason), (False, reason))

    def test_address(self) -> None:
        """
        Of an address it is known from the beginning.
        """
        self.assertTrue(self.judge([allow(PUBLIC)], asked()).allowed)
        self.assertFalse(self.judge([allow("wiki.example")], asked()).allowed)
        self.assertEqual(self.judge([deny(PUBLIC, name="no"), allow()], asked()).reason, "no")
        question = asked("64:ff9b::203.0.113.80")
        self.assertEqual(self.judge([deny(PUBLIC, name="no"), allow()], question).reason, "no")

    def test_association(self) -> None:
        """
        An association is allowed if a datagram might be.
        """
        question = Question(Identity("alice", 2), CLIENT, UDP, None)
        udp = [UDP]
        for rules in (
            [allow("wiki.example", commands=udp)],
            [allow("private", commands=udp, ports=[53], users=["@staff"])],
            [deny("10.0.0.0/8", commands=udp), allow(commands=udp)],
            [deny(commands=udp, users=["bob"]), allow(commands=udp)],
            [deny(commands=udp, ports=[53]), allow(commands=udp)],
        ):
            verdict = self.judge(rules, question)
            self.assertTrue(verdict.allowed)
            self.assertIs(verdict.rule, rules[-1])
        for refused, reason in (
            ([allow()], NOTHING),
            ([allow(commands=udp, users=["bob"])], NOTHING),
            ([allow(commands=udp, source=["192.0.2.0/24"])], NOTHING),
            ([deny(commands=udp, name="no"), allow(commands=udp)], "no"),
        ):
            verdict = self.judge(refused, question)
            self.assertEqual((verdict.allowed, verdict.reason), (False, reason))


class UnauthenticatedTests(RulesFixture):
    """
    Clients that have not authenticated.
    """

    def judge(self, *rules: Rule, client: IPAddress | None = CLIENT, **server: bool) -> Verdict:
        """
        Ask whether a client may come without a password.
        """
        return RulePolicy(rules, GROUPS, **server).judgeClient(client)

    def test_local(self) -> None:
        """
        A local server serves them, and so does an open one.
        """
        self.assertEqual(self.judge(local=True).reason, "default: local server")
        self.assertEqual(self.judge(open=True).reason, "default: open server")

    def test_rules(self) -> None:
        """
        Any other serves those for whom there is a rule that names no users.
        """
        for command in Command:
            one = allow("wiki.example", commands=[command], source=["198.51.100.0/24"], ports=[80])
            self.assertEqual(self.judge(one), Verdict(True, "the rule", one))
            self.assertFalse(self.judge(one, client=IPv4Address("192.0.2.1")).allowed)
            self.assertFalse(self.judge(one, client=None).allowed)
        self.assertTrue(self.judge(allow(), client=None).allowed)

    def test_refused(self) -> None:
        """
        Nobody else.
        """
        for rules in ([], [allow(users=["alice"])], [allow(users=["@staff"])], [deny()]):
            self.assertEqual(
                self.judge(*rules),
                Verdict(False, "default: an exposed server wants authentication"),
            )

    def test_denied(self) -> None:
        """
        Nor those to whom all of it is denied before.
        """
        lan = ["198.51.100.0/24"]
        self.assertFalse(self.judge(deny(source=lan), allow()).allowed)
        self.assertTrue(self.judge(deny(source=["192.0.2.0/24"]), allow()).allowed)
        self.assertTrue(self.judge(deny("10.0.0.0/8", source=lan), allow()).allowed)
        self.assertTrue(self.judge(deny(ports=[25], source=lan), allow()).allowed)
        self.assertTrue(self.judge(deny(source=lan), allow(commands=[UDP])).allowed)


class OpenRuleTests(SynchronousTestCase):
    """
    Rules that would make an open proxy.
    """

    def test_open(self) -> None:
        """
        A rule for everybody from everywhere does, also if everywhere is written in parts.
        """
        for source in (
            None,
            ["0.0.0.0/0"],
            ["10.0.0.0/8", "::/0"],
            ["0.0.0.0/1", "128.0.0.0/1"],
            ["::/1", "8000::/2", "c000::/2"],
        ):
            one = allow(**({} if source is None else {"source": source}))
            self.assertIs(openRule([deny(), allow(source=["10.0.0.0/8"]), one]), one)

    def test_closed(self) -> None:
        """
        Rules for some clients, for users, and those that deny, do not.
        """
        for one in (
            allow(source=["10.0.0.0/8", "fd00::/8"]),
            allow(source=["0.0.0.0/1"]),
            allow(users=["alice"]),
            deny(),
        ):
            self.assertIsNone(openRule([one]))
        self.assertIsNone(openRule([]))


class PolicyOfTests(PolicyFixture):
    """
    The policy that a configuration asks for.
    """

    def judge(self, configuration: Configuration, *, local: bool = False) -> str:
        """
        Ask for a public address.
        """
        policy = policyOf(configuration, local=local, now=Clock().seconds)
        return policy.judgeAddress(asked(), ip_address(PUBLIC)).reason

    def test_rules(self) -> None:
        """
        Rules decide where there are any, and else the defaults.
        """
        self.assertEqual(self.judge(Configuration(rules=(allow(name="one"),))), "one")
        self.assertEqual(self.judge(Configuration()), "default: public address")
        self.assertEqual(self.judge(Configuration(), local=True), "default: local server")

    def test_advertised(self) -> None:
        """
        With rules or without, the address that is advertised is the server's own.
        """
        network = Network(advertise=(ip_address(PUBLIC),))
        for rules in ((), (allow(name="one"),)):
            reason = self.judge(Configuration(rules=rules, network=network))
            self.assertEqual(reason, "default: the server's own address")

    def test_groups(self) -> None:
        """
        The rules know the groups.
        """
        rules = (allow(name="one", users=["@staff"]),)
        self.assertEqual(self.judge(Configuration(rules=rules, groups=GROUPS)), "one")

    def test_local(self) -> None:
        """
        The rules know whether the server is local.
        """
        configuration = Configuration(rules=(allow(),))
        for isLocal in (True, False):
            policy = policyOf(configuration, local=isLocal, now=Clock().seconds)
            verdict = policy.judgeAddress(asked("10.0.0.1"), ip_address("10.0.0.1"))
            self.assertEqual(verdict.allowed, isLocal)

    def test_open(self) -> None:
        """
        With rules or without, an open server is open.
        """
        for rules in ((), (allow(users=["alice"]),)):
            policy = policyOf(
                Configuration(open=True, rules=rules), local=False, now=Clock().seconds
            )
            self.assertTrue(policy.judgeClient(CLIENT).allowed)

    def test_expired(self) -> None:
        """
        A user's time ends, with rules or without.
        """
        end = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        for rules in ((), (allow(name="one"),)):
            clock = Clock()
            configuration = Configuration(users={"alice": User(expires=end)}, rules=rules)
            policy = policyOf(configuration, local=True, now=clock.seconds)
            self.assertTrue(policy.judgeRequest(asked()).allowed)
            clock.advance(60)
            self.assertFalse(policy.judgeRequest(asked()).allowed)


# What random rules are made of: few values, so that they meet.
USERS = ("alice", "bob", "@staff", "@nobody", "@both")
RANDOM_GROUPS = {
    "staff": Group(members=frozenset({"alice"})),
    "nobody": Group(),
    "both": Group(members=frozenset({"alice", "bob"})),
}
CLIENTS = ("10.0.0.7", "198.51.100.7", "2001:db8::7")
HOSTS = (
    "8.8.8.8",
    "10.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "203.0.113.9",
    "::",
    "::1",
    "fd00::1",
    "fd00:ec2::254",
    "2606:4700::1",
    "2001:db8::9",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::203.0.113.9",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:a00:0:100:808:808",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2002:cb00:7109::1",
    "::10.0.0.1",
    "::ffff:0:a00:1",
)
WANTED = ("example", "wiki.example", "a.wiki.example", "other.test")
NAMES = ("example", "*.example", "wiki.example", "*.wiki.example", "other.test")
PORTS = (range(0, 1), range(80, 81), range(443, 444), range(0, 100), range(80, 1000))
LENGTHS = {4: (0, 1, 8, 24, 32), 6: (0, 1, 16, 24, 48, 96, 97, 104, 120, 128)}


def networksAround(hosts: Iterable[str]) -> list[IPNetwork]:
    """
    Networks of several lengths that hold some addresses.
    """
    return [
        ip_network(f"{host}/{length}", strict=False)
        for host in hosts
        for length in LENGTHS[ip_address(host).version]
    ]


def some(values: Iterable[Any]) -> st.SearchStrategy[Any]:
    """
    Nothing said, mostly, or one of the values or two.
    """
    lists = st.lists(st.sampled_from(list(values)), min_size=1, max_size=2).map(tuple)
    return st.none() | st.none() | st.none() | lists


commandSets = st.frozensets(st.sampled_from(Command), min_size=2)
patterns = st.one_of(
    st.sampled_from(NAMES).map(readPattern),
    st.sampled_from((*SETS, "any", *HOSTS)).map(readPattern),
    st.sampled_from(networksAround(HOSTS)),
)
randomRules = st.builds(
    Rule,
    name=st.just("a rule"),
    allow=commandSets,
    users=some(USERS),
    source=some(networksAround(CLIENTS)),
    to=st.none() | st.lists(patterns, min_size=1, max_size=3).map(tuple),
    ports=some(PORTS),
)


def finished(rules: list[Rule], denying: list[bool]) -> tuple[Rule, ...]:
    """
    Let some of the rules deny, and name all of them.
    """
    return tuple(
        Rule(
            name=f"rule {number}",
            allow=None if denies else one.allow,
            deny=one.allow if denies else None,
            users=one.users,
            source=one.source,
            to=one.to,
            ports=one.ports,
        )
        for number, (one, denies) in enumerate(zip(rules, denying, strict=False), 1)
    )


ruleLists = st.builds(
    finished,
    st.lists(randomRules, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
questions = st.builds(
    Question,
    st.builds(Identity, st.sampled_from(("alice", "bob", "@staff", "")), st.just(2)),
    st.none() | st.sampled_from(CLIENTS).map(ip_address),
    st.sampled_from(Command),
    st.builds(
        Address,
        st.sampled_from(WANTED) | st.sampled_from(HOSTS).map(ip_address),
        st.sampled_from((0, 80, 99, 443)),
    ),
)
likely = settings(reproducible, max_examples=1500)


class ReferenceTests(PolicyFixture):
    """
    Rules decide as the documentation says, whatever they are.
    """

    @likely
    @given(ruleLists, questions, st.booleans())
    def test_sameDecision(self, rules: tuple[Rule, ...], question: Question, isLocal: bool) -> None:
        """
        For every address that a request might come to, the decision is that of the slow way; and
        a request of which anything can be allowed is not refused before.
        """
        policy = RulePolicy(rules, RANDOM_GROUPS, local=isLocal)
        reference = Reference(rules, RANDOM_GROUPS, isLocal, local.isOwn)
        assert question.destination is not None
        host = question.destination.host
        early = policy.judgeRequest(question)
        anyAllowed = False
        for address in map(ip_address, HOSTS) if isinstance(host, str) else (host,):
            verdict = policy.judgeAddress(question, address)
            expected, name = reference.decide(question, address)
            self.assertEqual((verdict.allowed, verdict.reason), (expected, name))
            self.assertEqual(verdict.rule is None, name.startswith("default: "))
            anyAllowed = anyAllowed or verdict.allowed
        if anyAllowed:
            self.assertTrue(early.allowed)
            association = attrs.evolve(question, destination=None)
            self.assertTrue(policy.judgeRequest(association).allowed)
        if not question.identity.name and anyAllowed:
            self.assertTrue(policy.judgeClient(question.client).allowed)

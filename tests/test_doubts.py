"""
Tests for L{txsocks5.doubts}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import Auth, Configuration, Group, Network, Rule
from txsocks5.doubts import doubts
from txsocks5.rules import RulePolicy
from txsocks5.wire import Command

from .test_policy import PolicyFixture
from .test_rules import HOSTS, allow, asked, deny
from .wire.values import reproducible

CONNECT, BIND, UDP = Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE
GROUPS = {
    "staff": Group(members=frozenset({"alice", "bob"})),
    "nobody": Group(),
    "crowd": Group(members=frozenset(f"user{number}" for number in range(1000))),
}
BEFORE = 'what it matches, "one" has matched before'


class DoubtsFixture(SynchronousTestCase):
    """
    A server with rules.
    """

    def doubts(self, *rules: Rule, local: bool = False, **settings: Any) -> dict[str, str]:
        """
        What is doubtful, by what it is about.
        """
        configuration = Configuration(rules=rules, groups=GROUPS, **settings)
        return {problem.path: problem.text for problem in doubts(configuration, local=local)}

    def hidden(self, one: Rule, *others: Rule, local: bool = False) -> bool:
        """
        Whether the second rule is said to have no effect, and no other.
        """
        found = self.doubts(attrs.evolve(one, name="one"), *others, local=local)
        if found:
            self.assertEqual(found, {"rules[1]": f'"the rule" has no effect: {BEFORE}'})
        return bool(found)


class RuleTests(DoubtsFixture):
    """
    Rules that match nothing.
    """

    def test_none(self) -> None:
        """
        Without rules there are no doubts, and good rules give no cause for any.
        """
        self.assertEqual(self.doubts(), {})
        self.assertEqual(self.doubts(deny("private"), allow("*.example", users=["alice"])), {})

    def test_commands(self) -> None:
        """
        A rule is for commands that are switched off.
        """
        network = Network(commands=[CONNECT])
        found = self.doubts(
            allow(commands=[BIND, UDP]),
            deny(commands=[BIND]),
            allow(commands=Command),
            network=network,
        )
        self.assertEqual(list(found), ["rules[0]", "rules[1]"])
        self.assertIn("[network] commands switches off all that it is for", found["rules[0]"])

    def test_groups(self) -> None:
        """
        It is for groups without members.
        """
        found = self.doubts(allow(users=["@nobody"]), allow(users=["@nobody", "alice"]))
        self.assertEqual(found, {"rules[0]": '"the rule" has no effect: nobody is in its groups'})

    def test_nobody(self) -> None:
        """
        It is for users, and no method tells who they are.
        """
        rules = (allow(users=["alice"]), allow(source=["10.0.0.0/8"]))
        found = self.doubts(*rules, auth=Auth(methods=("none",)))
        self.assertEqual(list(found), ["rules[0]"])
        self.assertIn("lets nobody say who they are", found["rules[0]"])
        self.assertEqual(self.doubts(*rules, auth=Auth(methods=("none", "password"))), {})

    def test_likeSets(self) -> None:
        """
        It is for a host whose name looks like that of a set.
        """
        found = self.doubts(deny("*.privat", "privat", "wiki", "private.example", "linklocal"))
        self.assertEqual(
            found,
            {
                "rules[0].to[1]": "it is the name of a host; the set is 'private'",
                "rules[0].to[4]": "it is the name of a host; the set is 'link-local'",
            },
        )

    def test_namesUnderNetworks(self) -> None:
        """
        It allows names, and all networks are denied by a later one; C{any} would do no harm.
        """
        everything = deny("0.0.0.0/0", "::/0", name="no")
        found = self.doubts(allow("*.example", "wiki"), everything)
        self.assertIn('"no" denies every network', found["rules[0]"])
        for rest in (deny("any"), deny("0.0.0.0/0"), deny("0.0.0.0/0", "::/0", users=["bob"])):
            self.assertEqual(self.doubts(allow("*.example"), rest), {})
        for one in (allow("*.example", "10.0.0.0/8"), allow(), deny("*.example")):
            self.assertNotIn("rules[0]", self.doubts(one, everything))


class HiddenTests(DoubtsFixture):
    """
    Rules that come too late.
    """

    def test_same(self) -> None:
        """
        A rule that is there twice.
        """
        for one in (
            allow("*.example"),
            allow("8.0.0.0/8", "2600::/16"),
            deny("private", "any"),
            allow(users=["alice", "@staff"], source=["10.0.0.0/8"], ports=[443]),
        ):
            self.assertTrue(self.hidden(one, one))

    def test_larger(self) -> None:
        """
        One that is larger in something, and smaller in nothing, hides what comes behind it.
        """
        one = deny(
            "*.example",
            "198.51.100.0/24",
            users=["@staff", "carol"],
            source=["10.0.0.0/8"],
            ports=[range(80, 90)],
            commands=[CONNECT, UDP],
        )
        smaller: dict[str, Any] = {
            "to": ("*.www.example", "198.51.100.7"),
            "users": ["alice", "carol"],
            "source": ["10.1.0.0/16", "10.2.0.1"],
            "ports": [80, range(85, 90)],
            "commands": [UDP],
        }
        larger: dict[str, Any] = {
            "to": ("example",),
            "users": ["alice", "dave"],
            "source": ["10.0.0.0/7"],
            "ports": [range(80, 91)],
            "commands": [UDP, BIND],
        }
        to = smaller.pop("to")
        self.assertTrue(self.hidden(one, allow(*to, **smaller)))
        self.assertFalse(self.hidden(one, allow(*larger.pop("to"), **smaller)))
        for key, value in larger.items():
            self.assertFalse(self.hidden(one, allow(*to, **{**smaller, key: value})), key)
        for key in ("users", "source", "ports"):
            some = {name: value for name, value in smaller.items() if name != key}
            self.assertFalse(self.hidden(one, allow(*to, **some)), key)
        self.assertFalse(self.hidden(one, allow(**smaller)))
        self.assertTrue(self.hidden(deny(commands=Command), allow(*to, **smaller)))

    def test_groups(self) -> None:
        """
        A group is hidden with its members, or as a whole if it is large.
        """
        self.assertTrue(self.hidden(deny(users=["alice", "bob"]), allow(users=["@staff"])))
        self.assertFalse(self.hidden(deny(users=["alice"]), allow(users=["@staff"])))
        self.assertTrue(self.hidden(deny(users=["@crowd"]), allow(users=["@crowd"])))
        self.assertTrue(self.hidden(deny(), allow(users=["@crowd"])))
        self.assertTrue(self.hidden(deny(users=["@crowd"]), allow(users=["user7"])))

    def test_manyEntries(self) -> None:
        """
        A long list is only looked at as a whole.
        """
        names = [f"a{number}.example" for number in range(1001)]
        self.assertTrue(self.hidden(deny("*.example"), allow(*names[:1000])))
        self.assertTrue(self.hidden(deny("any"), allow(*names)))
        self.assertFalse(self.hidden(deny("*.example"), allow(*names)))

    def test_sets(self) -> None:
        """
        Sets are their networks.
        """
        self.assertTrue(self.hidden(deny("10.0.0.0/8"), allow("10.0.0.0/9")))
        self.assertTrue(self.hidden(deny("private"), allow("10.0.0.0/9")))
        self.assertFalse(self.hidden(deny("10.0.0.0/8"), allow("private")))
        self.assertFalse(self.hidden(deny("private"), allow("any")))
        self.assertTrue(self.hidden(deny("0.0.0.0/0", "::/0"), allow("any")))

    def test_floor(self) -> None:
        """
        At an exposed server, a rule for everything does not hide one that opens what only the
        server can see.
        """
        for to in ("private", "10.0.0.0/8", "203.0.113.9"):
            self.assertFalse(self.hidden(allow(), allow(to)))
            self.assertTrue(self.hidden(allow(), allow(to), local=True))
        self.assertTrue(self.hidden(allow(), allow("*.example")))
        self.assertTrue(self.hidden(allow("10.0.0.0/8"), allow("10.1.0.0/16")))
        self.assertFalse(self.hidden(allow("169.254.0.0/16"), allow("169.254.169.254")))
        self.assertFalse(self.hidden(allow("64:ff9b::/96"), allow("64:ff9b::a00:0/104")))
        self.assertTrue(self.hidden(allow("0.0.0.0/0"), allow("0.0.0.0/0")))

    def test_tooLateToDeny(self) -> None:
        """
        What is allowed is denied too late.
        """
        self.assertTrue(self.hidden(allow(), deny("198.51.100.0/24")))
        self.assertTrue(self.hidden(allow(), deny("*.example"), allow("any", commands=[UDP])))
        self.assertTrue(self.hidden(allow("10.0.0.0/8"), deny("10.1.0.0/16")))
        # What embeds it is allowed by neither.
        self.assertFalse(self.hidden(allow("8.0.0.0/8"), deny("8.1.0.0/16"), allow("any")))
        # What only the server can see is not allowed by the first.
        self.assertFalse(self.hidden(allow(), deny("*.example"), allow("private")))

    def test_takesFromNames(self) -> None:
        """
        A rule that takes addresses from the names before it has an effect.
        """
        rules = [allow("*.example"), deny("any", name="one"), deny("198.51.100.0/24")]
        self.assertEqual(self.doubts(*rules), {})
        rules[1] = deny("198.51.0.0/16", name="one")
        self.assertEqual(list(self.doubts(*rules)), ["rules[2]"])

    def test_severalCandidates(self) -> None:
        """
        Another rule than the first that covers it may hide it, if it is among the first of many.
        """
        opening = [allow(name="all"), allow("private", name="inside"), allow("10.0.0.0/8")]
        found = self.doubts(*opening)
        self.assertEqual(list(found), ["rules[2]"])
        self.assertIn('"inside" has matched before', found["rules[2]"])
        many = [allow(ports=[443], name="one")] + [
            allow(ports=[443, port]) for port in range(444, 600)
        ]
        self.assertEqual(self.doubts(*many, allow("10.0.0.0/8", ports=[443])), {})


ENTRIES = (
    "any",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.1",
    "203.0.113.9",
    "169.254.0.0/16",
    "metadata",
    "8.0.0.0/8",
    "8.8.8.8",
    "64:ff9b::/96",
    "64:ff9b::a00:0/104",
    "*.example",
    "wiki.example",
)
someEntries = st.none() | st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3)
someRules = st.lists(st.tuples(st.booleans(), someEntries), min_size=2, max_size=4).map(
    lambda parts: tuple(
        (allow if allows else deny)(*(to or ()), name=f"rule {number}")
        for number, (allows, to) in enumerate(parts, 1)
    )
)


class SoundTests(PolicyFixture):
    """
    Nothing is said that is not so.
    """

    @settings(reproducible, max_examples=600)
    @given(someRules, st.booleans())
    def test_withoutEffect(self, rules: tuple[Rule, ...], isLocal: bool) -> None:
        """
        Rules without effect can be taken away.
        """
        for problem in doubts(Configuration(rules=rules), local=isLocal):
            number = int(problem.path.removeprefix("rules[").removesuffix("]"))
            others = rules[:number] + rules[number + 1 :]
            whole = RulePolicy(rules, {}, local=isLocal)
            less = RulePolicy(others, {}, local=isLocal)
            for address in map(ip_address, HOSTS):
                for question in (asked("wiki.example"), asked(str(address))):
                    self.assertEqual(
                        whole.judgeAddress(question, address).allowed,
                        less.judgeAddress(question, address).allowed,
                        f"{address} asked for as {question.destination}: {problem}",
                    )

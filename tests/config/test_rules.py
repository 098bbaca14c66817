"""
Tests for L{txsocks5.config._rules}.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import (
    NO_QUOTA,
    Group,
    Limits,
    NamedSet,
    NamePattern,
    Quota,
    Rule,
    User,
    readNetwork,
    readPattern,
)
from txsocks5.config._forms import BadValue, Form, formOf
from txsocks5.config._rules import Member, NetworkText, PatternText, UserOrGroup, timestamp
from txsocks5.wire import Command

CONNECT = frozenset([Command.CONNECT])


def form(kind: object) -> Form:
    """
    The form of a type.
    """
    found = formOf(kind)
    assert found is not None
    return found


class MadeTests(SynchronousTestCase):
    """
    What a program may make.
    """

    def assertRefused(self, kind: Any, name: str, *values: object) -> None:
        """
        None of C{values} is good for the setting C{name}, and the error names it.
        """
        for value in values:
            error = self.assertRaises(BadValue, kind, **{name: value})
            self.assertEqual(error.name, name)

    def test_limits(self) -> None:
        """
        Without being told there is none, except for those who have not authenticated yet.
        """
        self.assertEqual(
            Limits(),
            Limits(
                sessions=0,
                sessionsPerAddress=0,
                sessionsPerUser=0,
                handshakesPerAddress=64,
                bandwidthPerUser=0,
                quotaPerUser=None,
                database="",
            ),
        )
        for name in ("sessions", "sessionsPerAddress", "sessionsPerUser", "handshakesPerAddress"):
            self.assertRefused(Limits, name, -1, True, 0.5)
        self.assertRefused(Limits, "bandwidthPerUser", -1, 2**63)

    def test_noQuota(self) -> None:
        """
        A quota of no octets is none; a user's and a group's goes before another one.
        """
        self.assertIsNone(Limits(quotaPerUser=NO_QUOTA).quotaPerUser)
        self.assertIsNone(Rule(name="a", allow=CONNECT, quota=NO_QUOTA).quota)
        self.assertEqual(User(quota=NO_QUOTA).quota, NO_QUOTA)
        self.assertEqual(Group(quota=NO_QUOTA).quota, NO_QUOTA)
        quota = Quota(1, "day")
        self.assertEqual(Limits(quotaPerUser=quota).quotaPerUser, quota)

    def test_users(self) -> None:
        """
        Users and groups may have limits, and addresses of their own, one of a family.
        """
        for kind in (User, Group):
            made: Any = kind()
            self.assertEqual((made.bandwidth, made.sessions, made.quota), (None, None, None))
            self.assertEqual(kind(bandwidth=0, sessions=0).sessions, 0)
            self.assertRefused(kind, "bandwidth", -1)
            self.assertRefused(kind, "sessions", -1)
            self.assertRaises(ValueError, kind, outgoing=["192.0.2.1", "192.0.2.2"])

    def test_members(self) -> None:
        """
        The members of a group have names, and are no groups.
        """
        self.assertEqual(Group(members=["alice", "alice"]).members, {"alice"})
        self.assertRefused(Group, "members", [""], ["alice", "@staff"])

    def test_rule(self) -> None:
        """
        A rule has commands that it allows or denies, one of both.
        """
        rule = Rule(name="a", allow=CONNECT)
        self.assertEqual((rule.users, rule.source, rule.to, rule.ports, rule.quota), (None,) * 5)
        self.assertEqual((rule.bandwidth, rule.sessions), (0, 0))
        Rule(name="a", deny=CONNECT)
        error = self.assertRaises(BadValue, Rule, name="a")
        self.assertEqual(str(error), "found neither allow nor deny; allowed: one of them")
        error = self.assertRaises(BadValue, Rule, name="a", allow=CONNECT, deny=CONNECT)
        self.assertEqual(str(error), "found both allow and deny; allowed: one of them")

    def test_nothing(self) -> None:
        """
        A condition that nothing meets is a mistake.
        """
        for name in ("users", "source", "to", "ports"):
            self.assertRefused(partial(Rule, name="a", allow=CONNECT), name, ())
        for name in ("allow", "deny"):
            self.assertRefused(partial(Rule, name="a"), name, frozenset())

    def test_ruleUsers(self) -> None:
        """
        The users of a rule have names, and groups have one behind their sign.
        """
        self.assertRefused(partial(Rule, name="a", allow=CONNECT), "users", ("alice", ""), ("@",))
        rule = Rule(name="a", allow=CONNECT, users=("alice", "@staff"))
        self.assertEqual(rule.users, ("alice", "@staff"))

    def test_ruleLimits(self) -> None:
        """
        A rule's limits are numbers from 0 up.
        """
        for name in ("bandwidth", "sessions"):
            self.assertRefused(partial(Rule, name="a", allow=CONNECT), name, -1)


class TimestampTests(SynchronousTestCase):
    """
    Tests for L{timestamp}.
    """

    def test_zones(self) -> None:
        """
        A time without a zone is one of UTC, others are what they say.
        """
        moment = datetime(1970, 1, 1, 2)
        east = timezone(timedelta(hours=2))
        self.assertEqual(timestamp(moment), 7200)
        self.assertEqual(timestamp(moment.replace(tzinfo=UTC)), 7200)
        self.assertEqual(timestamp(moment.replace(tzinfo=east)), 0)


class FormTests(SynchronousTestCase):
    """
    How they stand in a file.
    """

    def test_members(self) -> None:
        """
        A member is a user, and no group.
        """
        self.assertEqual(form(Member).read("alice"), "alice")
        for wrong in ("", "@staff", 1, None):
            self.assertRaises(BadValue, form(Member).read, wrong)

    def test_users(self) -> None:
        """
        A rule may name groups.
        """
        for right in ("alice", "@staff"):
            self.assertEqual(form(UserOrGroup).read(right), right)
        for wrong in ("", "@", 1, None, ["alice"]):
            self.assertRaises(BadValue, form(UserOrGroup).read, wrong)

    def test_networks(self) -> None:
        """
        Networks are read and written; host bits are an error.
        """
        network = form(NetworkText)
        self.assertEqual(network.read("10.0.0.0/8"), readNetwork("10.0.0.0/8"))
        self.assertEqual(network.write(readNetwork("10.0.0.0/8")), '"10.0.0.0/8"')
        for wrong in ("10.0.0.1/8", "private", "example.com", ""):
            self.assertRaises(ValueError, network.read, wrong)
        for wrong in (10, None, ["10.0.0.0/8"]):
            self.assertRaises(BadValue, network.read, wrong)

    def test_patterns(self) -> None:
        """
        Patterns are read, and written so that they are read the same.
        """
        pattern = form(PatternText)
        for text, meaning in (
            ("*.wiki.example", NamePattern("wiki.example", True)),
            ("wiki.example", NamePattern("wiki.example")),
            ("198.51.100.0/24", readNetwork("198.51.100.0/24")),
            ("private", NamedSet("private")),
            ("private.", NamePattern("private")),
            ("*.private", NamePattern("private", True)),
        ):
            self.assertEqual(pattern.read(text), meaning)
            self.assertEqual(pattern.write(meaning), f'"{text}"')
            self.assertEqual(readPattern(text), meaning)
        for wrong in ("*", "10.0.0.1/8"):
            self.assertRaises(ValueError, pattern.read, wrong)
        for wrong in (10, None, {}):
            self.assertRaises(BadValue, pattern.read, wrong)

"""
Tests for L{txsocks5.config._configuration}.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import (
    GSSAPI,
    NO_QUOTA,
    SECTIONS,
    Auth,
    Configuration,
    Failures,
    Group,
    Limits,
    Network,
    Problem,
    Quota,
    Rule,
    Timeouts,
    User,
    contradictions,
)
from txsocks5.config._configuration import quotasWithoutDatabase, unknownGroups
from txsocks5.config._forms import BadValue
from txsocks5.wire import Command

CONNECT = frozenset([Command.CONNECT])
QUOTA = Quota(2**30, "day")


class DefaultsTests(SynchronousTestCase):
    """
    What holds if nothing is said.
    """

    def test_configuration(self) -> None:
        """
        It listens on loopback, and there are no users, no groups and no rules.
        """
        self.assertEqual(
            Configuration(),
            Configuration(
                listen=("tcp:1080:interface=127.0.0.1",),
                workers=1,
                open=False,
                auth=Auth(),
                network=Network(),
                timeouts=Timeouts(),
                limits=Limits(),
                users={},
                groups={},
                rules=(),
            ),
        )

    def test_auth(self) -> None:
        """
        Nobody is asked, and failures cost what they always do.
        """
        auth = Auth()
        self.assertEqual((auth.methods, auth.checkers, auth.gssapi), ((), (), None))
        self.assertEqual(auth.failures, Failures())
        auth = Auth(failureDelay=1, failureLimit=2, failureWindow=3)
        self.assertEqual(auth.failures, Failures(delay=1, limit=2, window=3))

    def test_gssapi(self) -> None:
        """
        Data are protected, with any key of the system's keytab.
        """
        gssapi = GSSAPI()
        self.assertEqual((gssapi.keytab, gssapi.service), ("", ""))
        self.assertEqual(gssapi.levels, ("confidentiality", "integrity"))

    def test_sections(self) -> None:
        """
        Each class stands for one table.
        """
        self.assertEqual(len(set(SECTIONS.values())), len(SECTIONS))


class MadeTests(SynchronousTestCase):
    """
    What a program may make.
    """

    def assertRefused(self, kind: type, **settings: Any) -> None:
        """
        A setting is refused; the error names it.
        """
        error = self.assertRaises(BadValue, kind, **settings)
        self.assertEqual([error.name], list(settings))

    def test_methods(self) -> None:
        """
        Each method is named once.
        """
        self.assertEqual(Auth(methods=("none", "password")).methods, ("none", "password"))
        self.assertRefused(Auth, methods=("password", "password"))
        self.assertRefused(Auth, methods=("passwort",))

    def test_levels(self) -> None:
        """
        There is at least one level, and it exists.
        """
        self.assertEqual(GSSAPI(levels=("clear", "curl")).levels, ("clear", "curl"))
        self.assertRefused(GSSAPI, levels=())
        self.assertRefused(GSSAPI, levels=("secret",))

    def test_listen(self) -> None:
        """
        A server listens somewhere.
        """
        self.assertRefused(Configuration, listen=())

    def test_workers(self) -> None:
        """
        There is at least one process.
        """
        for wrong in (0, -1, 1025, True, 1.0, "1"):
            self.assertRefused(Configuration, workers=wrong)
        self.assertEqual(Configuration(workers=4).workers, 4)

    def test_names(self) -> None:
        """
        Users and groups have names, which are not taken for groups.
        """
        for name in ("", "@staff"):
            self.assertRefused(Configuration, users={name: User()})
            self.assertRefused(Configuration, groups={name: Group()})

    def test_secrets(self) -> None:
        """
        Passwords are not shown by accident.
        """
        configuration = Configuration(auth=Auth(checkers=("memory:alice:secret",)))
        self.assertNotIn("secret", repr(configuration))

    def test_frozen(self) -> None:
        """
        What sessions share cannot be changed under them.
        """
        for kind in SECTIONS.values():
            self.assertTrue(attrs.has(kind))
            made: Any = kind(name="a", allow=CONNECT) if kind is Rule else kind()
            for field in attrs.fields(kind):
                with self.assertRaises(attrs.exceptions.FrozenInstanceError):
                    setattr(made, field.name, None)


class UnknownGroupsTests(SynchronousTestCase):
    """
    Rules for groups that nobody has defined.
    """

    def test_found(self) -> None:
        """
        They are found, with their place, and the error says which groups there are.
        """
        rules = (
            Rule(name="a", allow=CONNECT, users=("alice", "@staff", "@stuff")),
            Rule(name="b", allow=CONNECT),
        )
        configuration = Configuration(groups={"staff": Group()}, rules=rules)
        self.assertEqual(
            list(unknownGroups(configuration)),
            [
                Problem(
                    "rules[0].users[2]",
                    'found "@stuff", which is no group; allowed: a user, or one of "@staff"',
                )
            ],
        )

    def test_noGroups(self) -> None:
        """
        It also says if there is none.
        """
        rules = (Rule(name="a", allow=CONNECT, users=("@staff",)),)
        [problem] = unknownGroups(Configuration(rules=rules))
        self.assertIn("allowed: a user, as there are no groups", problem.text)


class ContradictionTests(SynchronousTestCase):
    """
    Settings that do not go together.
    """

    def test_all(self) -> None:
        """
        All of them are found.
        """
        rule = Rule(name="a", allow=CONNECT, users=("@staff",), quota=QUOTA)
        paths = [problem.path for problem in contradictions(Configuration(rules=(rule,)))]
        self.assertEqual(paths, ["rules[0].users[0]", "rules[0].quota"])
        self.assertEqual(list(contradictions(Configuration())), [])


class QuotaTests(SynchronousTestCase):
    """
    Quotas that a restart would forget.
    """

    def configuration(self, quota: Quota, database: str) -> Configuration:
        """
        Set a quota everywhere.
        """
        return Configuration(
            limits=Limits(quotaPerUser=quota, database=database),
            users={"a b": User(quota=quota), "bob": User()},
            groups={"staff": Group(quota=quota)},
            rules=(Rule(name="a", allow=CONNECT, quota=quota),),
        )

    def test_found(self) -> None:
        """
        They are found wherever they stand.
        """
        problems = list(quotasWithoutDatabase(self.configuration(QUOTA, "")))
        self.assertEqual(
            [problem.path for problem in problems],
            ["limits.quota_per_user", 'users."a b".quota', "groups.staff.quota", "rules[0].quota"],
        )
        self.assertIn('found "1GiB/day", and no limits.database', problems[0].text)

    def test_fine(self) -> None:
        """
        With a database they are fine, and so is none at all.
        """
        self.assertEqual(list(quotasWithoutDatabase(self.configuration(QUOTA, "/x"))), [])
        self.assertEqual(list(quotasWithoutDatabase(self.configuration(NO_QUOTA, ""))), [])

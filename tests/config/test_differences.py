"""
Tests for L{txsocks5.config._differences}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import (
    GSSAPI,
    Auth,
    Configuration,
    Limits,
    Rule,
    Timeouts,
    User,
    differences,
)


class DifferencesTests(SynchronousTestCase):
    """
    Tests for L{differences}.
    """

    def test_none(self) -> None:
        """
        Two that are equal, though they are not the same.
        """
        self.assertEqual(differences(Configuration(), Configuration()), [])

    def test_keys(self) -> None:
        """
        Keys are named with their full path, in their order, as a file writes them.
        """
        after = Configuration(
            listen=("tcp:1",),
            timeouts=Timeouts(idle=5, udpIdle=7),
            limits=Limits(sessionsPerAddress=3),
            rules=(Rule(name="first", allow=frozenset({"connect"})),),
        )
        self.assertEqual(
            set(differences(Configuration(), after)),
            {
                "listen",
                "timeouts.idle",
                "timeouts.udp_idle",
                "limits.sessions_per_address",
                "rules",
            },
        )

    def test_tables(self) -> None:
        """
        Of tables by name, those of which only one side has them are named, and the keys of those
        that both have.
        """
        before = Configuration(users={"alice": User(sessions=1), "b.c": User(), "dora": User()})
        after = Configuration(users={"alice": User(sessions=2), "eve": User(), "dora": User()})
        self.assertEqual(
            differences(before, after), ["users.alice.sessions", 'users."b.c"', "users.eve"]
        )

    def test_table(self) -> None:
        """
        A table that only one side has.
        """
        after = Configuration(auth=Auth(gssapi=GSSAPI()))
        self.assertEqual(differences(Configuration(), after), ["auth.gssapi"])

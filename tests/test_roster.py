"""
Tests for L{txsocks5.roster}.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import Group, Limits, Quota, User
from txsocks5.roster import Entitlement, Roster

ALICE = frozenset({"alice"})


class RosterTests(SynchronousTestCase):
    """
    Tests for L{Roster}.
    """

    def test_nothing(self) -> None:
        """
        Where nothing is said there is no limit.
        """
        self.assertEqual(Roster(Limits(), {}, {}).entitlement("alice"), Entitlement())

    def test_general(self) -> None:
        """
        The limits for all hold for users that the configuration does not name, for those it names
        but says nothing of, and for those without a name.
        """
        limits = Limits(sessionsPerUser=5, bandwidthPerUser=10, quotaPerUser=Quota(20, "day"))
        roster = Roster(limits, {"alice": User()}, {"staff": Group(members=frozenset({"bob"}))})
        for name in ("alice", "bob", "carol", ""):
            found = roster.entitlement(name)
            self.assertEqual((found.sessions, found.bandwidth), (5, 10), name)
            self.assertEqual(found.quota, Quota(20, "day"))

    def test_precedence(self) -> None:
        """
        A user's own value goes before a group's, a group's before that for all; each kind of value
        by itself.
        """
        limits = Limits(sessionsPerUser=5, bandwidthPerUser=10, quotaPerUser=Quota(20, "day"))
        groups = {"staff": Group(members=ALICE, sessions=50, bandwidth=100)}
        roster = Roster(limits, {"alice": User(sessions=500)}, groups)
        self.assertEqual(
            roster.entitlement("alice"),
            Entitlement(sessions=500, bandwidth=100, quota=Quota(20, "day"), groups=("staff",)),
        )

    def test_zeroIsNoLimit(self) -> None:
        """
        A user or group can be freed from the limits for all.
        """
        limits = Limits(sessionsPerUser=5, bandwidthPerUser=10, quotaPerUser=Quota(20, "day"))
        free = Roster(limits, {"alice": User(sessions=0, bandwidth=0, quota=Quota(0, "day"))}, {})
        self.assertEqual(free.entitlement("alice"), Entitlement())
        group = Group(members=ALICE, sessions=0, bandwidth=0, quota=Quota(0, "day"))
        free = Roster(limits, {}, {"staff": group})
        self.assertEqual(free.entitlement("alice"), Entitlement(groups=("staff",)))

    def test_strictest(self) -> None:
        """
        Of several groups the strictest counts, which one without a limit is not; a group that says
        nothing does not count.
        """
        groups = {
            "a": Group(members=ALICE, sessions=0, bandwidth=7),
            "b": Group(members=ALICE, sessions=9, bandwidth=8),
            "c": Group(members=ALICE, sessions=3),
            "d": Group(sessions=1, bandwidth=1),
        }
        found = Roster(Limits(sessionsPerUser=2), {}, groups).entitlement("alice")
        self.assertEqual((found.sessions, found.bandwidth), (3, 7))
        self.assertEqual(found.groups, ("a", "b", "c"))

    def test_strictestQuota(self) -> None:
        """
        Of quotas with different periods the one that allows the least in the long run counts.
        """
        for first, second, scanty in (
            (Quota(10, "day"), Quota(200, "month"), Quota(200, "month")),
            (Quota(10, "day"), Quota(400, "month"), Quota(10, "day")),
            (Quota(1, "hour"), Quota(23, "day"), Quota(23, "day")),
            (Quota(8, "day"), Quota(49, "week"), Quota(49, "week")),
            (Quota(8, "day"), Quota(0, "week"), Quota(8, "day")),
        ):
            groups = {
                "a": Group(members=ALICE, quota=first),
                "b": Group(members=ALICE, quota=second),
                "c": Group(members=ALICE),
            }
            found = Roster(Limits(), {}, groups).entitlement("alice")
            self.assertEqual(found.quota, scanty)

    def test_outgoing(self) -> None:
        """
        The user's own source addresses go before those of the first group that has some.
        """
        first, second, third = ((ip_address(f"192.0.2.{n}"),) for n in (1, 2, 3))
        groups = {
            "a": Group(members=ALICE),
            "b": Group(members=ALICE | {"bob"}, outgoing=first),
            "c": Group(members=ALICE, outgoing=second),
        }
        roster = Roster(Limits(), {"bob": User(outgoing=third)}, groups)
        self.assertEqual(roster.entitlement("alice").outgoing, first)
        self.assertEqual(roster.entitlement("bob").outgoing, third)
        self.assertEqual(roster.entitlement("carol").outgoing, ())

    def test_expires(self) -> None:
        """
        When a user's time is over is the user's own.
        """
        end = datetime(2027, 1, 31, tzinfo=UTC)
        self.assertEqual(
            Roster(Limits(), {"alice": User(expires=end)}, {}).entitlement("alice").expires, end
        )

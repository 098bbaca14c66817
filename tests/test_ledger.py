"""
Tests for L{txsocks5.ledger}.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.bandwidth import Meter
from txsocks5.config import Group, Limits, Quota, Rule, User
from txsocks5.errors import NotAllowed, OverLimit, Overloaded, replyCodeOf
from txsocks5.interfaces import Identity, Question
from txsocks5.ledger import Holding, Ledger
from txsocks5.tally import LocalTally
from txsocks5.testing import MemoryReactor, RecordedEvents
from txsocks5.usage import UnusableDatabase
from txsocks5.wire import Command


def asking(name: str = "alice", host: str | None = "192.0.2.1") -> Question:
    """
    The question of a client.
    """
    client = None if host is None else ip_address(host)
    return Question(Identity(name, 2), client, Command.CONNECT, None)


def ruleNamed(name: str, **limits: Any) -> Rule:
    """
    A rule with limits.
    """
    return Rule(name=name, allow=frozenset({Command.CONNECT}), **limits)


class Session:
    """
    Who does a request.

    @ivar meters: the limits that hold from some moment on.

    @ivar ends: why it has to end.
    """

    def __init__(self) -> None:
        self.meters: list[Meter | None] = []
        self.ends: list[str] = []

    def overdrawn(self, reason: str) -> None:
        """
        Keep why it has to end.
        """
        self.ends.append(reason)

    def metered(self, meter: Meter | None) -> None:
        """
        Keep what holds.
        """
        self.meters.append(meter)


class LedgerTestCase(SynchronousTestCase):
    """
    A ledger with a clock that stands still.
    """

    def setUp(self) -> None:
        """
        Prepare what it is given.
        """
        self.clock = Clock()
        self.tally = LocalTally()
        self.events = RecordedEvents(self)
        self.calendar = datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp()

    def now(self) -> float:
        """
        The time of the calendar.
        """
        return self.calendar + self.clock.seconds()

    def ledger(
        self,
        users: dict[str, User] | None = None,
        groups: dict[str, Group] | None = None,
        **limits: Any,
    ) -> Ledger:
        """
        Make one.

        @param limits: those for all.
        """
        return Ledger(
            self.clock,
            Limits(**limits),
            users,
            groups,
            tally=self.tally,
            now=self.now,
            inThread=maybeDeferred,
        )

    def refused(
        self, ledger: Ledger, question: Question, rule: Rule | None = None
    ) -> tuple[str, int]:
        """
        A request is refused.

        @return: for what reason, and with which REP.
        """
        error = self.assertRaises(NotAllowed, ledger.hold, question, rule, Session())
        return str(error), replyCodeOf(error)

    def hold(
        self, ledger: Ledger, name: str = "alice", rule: Rule | None = None
    ) -> tuple[Holding, Session]:
        """
        Begin a session.
        """
        session = Session()
        return ledger.hold(asking(name), rule, session), session

    def allowance(self, holding: Holding) -> int:
        """
        How much a session may relay.
        """
        assert holding.meter is not None
        return holding.meter.allowance()

    def spend(self, holding: Holding, octets: int) -> None:
        """
        Relay something.
        """
        assert holding.meter is not None
        holding.meter.spent(octets)


class EnterTests(LedgerTestCase):
    """
    Tests for L{Ledger.enter} and L{Ledger.leave}: clients that have not said what they want.
    """

    def test_limit(self) -> None:
        """
        S-11: each address has so many, and one more for each that has left.
        """
        ledger = self.ledger(handshakesPerAddress=2)
        one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
        keys = [ledger.enter(one), ledger.enter(one), ledger.enter(other)]
        error = self.assertRaises(OverLimit, ledger.enter, one)
        self.assertEqual(str(error), "limit: 2 unauthenticated connections of 192.0.2.1")
        ledger.leave(keys.pop(0))
        keys.append(ledger.enter(one))
        self.assertRaises(OverLimit, ledger.enter, one)
        for key in keys:
            ledger.leave(key)
        self.assertEqual(len(self.tally), 0)

    def test_network(self) -> None:
        """
        The addresses of an IPv6 /64 count as one.
        """
        ledger = self.ledger(handshakesPerAddress=1)
        ledger.enter(ip_address("2001:db8::1"))
        self.assertRaises(OverLimit, ledger.enter, ip_address("2001:db8::2"))
        ledger.enter(ip_address("2001:db8:0:1::1"))

    def test_default(self) -> None:
        """
        It is 64 unless something else is set.
        """
        ledger = Ledger(self.clock)
        for _ in range(64):
            ledger.enter(ip_address("192.0.2.1"))
        self.assertRaises(OverLimit, ledger.enter, ip_address("192.0.2.1"))

    def test_unlimited(self) -> None:
        """
        0 is no limit, and UNIX sockets have none.
        """
        free = self.ledger(handshakesPerAddress=0)
        strict = self.ledger(handshakesPerAddress=1)
        for _ in range(3):
            free.leave(free.enter(ip_address("192.0.2.1")))
            strict.enter(None)
        self.assertEqual(len(self.tally), 0)

    def test_flood(self) -> None:
        """
        Whoever connects again and again is logged every ten seconds, and not each time.
        """
        ledger = self.ledger(handshakesPerAddress=1)
        ledger.enter(ip_address("192.0.2.1"))
        for _ in range(120):
            self.assertRaises(OverLimit, ledger.enter, ip_address("192.0.2.1"))
            self.clock.advance(0.25)
        told = [(event["client"], event["limit"], event["count"]) for event in self.events.events]
        self.assertEqual(told, [("192.0.2.1", 1, 1), ("192.0.2.1", 1, 40), ("192.0.2.1", 1, 40)])


class HoldTests(LedgerTestCase):
    """
    Tests for L{Ledger.hold}: how many sessions there may be.
    """

    def fill(self, ledger: Ledger, *questions: Question, rule: Rule | None = None) -> list[Holding]:
        """
        Begin sessions.
        """
        return [ledger.hold(question, rule, Session()) for question in questions]

    def test_unlimited(self) -> None:
        """
        Without limits there may be any number, and nothing is counted.
        """
        ledger = self.ledger()
        self.fill(ledger, *[asking()] * 100)
        self.assertEqual(len(self.tally), 0)

    def test_address(self) -> None:
        """
        Over the limit of an address: REP C{02}, with the reason.  Others are not affected.
        """
        ledger = self.ledger(sessionsPerAddress=2)
        held = self.fill(ledger, asking("a"), asking("b"), asking("c", "192.0.2.2"))
        self.assertEqual(self.refused(ledger, asking("d")), ("limit: 2 sessions of 192.0.2.1", 2))
        held[0].release()
        held[0].release()
        self.fill(ledger, asking("d"))
        self.refused(ledger, asking("e"))

    def test_network(self) -> None:
        """
        The addresses of an IPv6 /64 count as one; UNIX sockets have no address.
        """
        ledger = self.ledger(sessionsPerAddress=1)
        self.fill(ledger, asking(host="2001:db8::1"), asking(host=None), asking(host=None))
        self.refused(ledger, asking(host="2001:db8::2"))

    def test_user(self) -> None:
        """
        Over the limit of a user: REP C{02}, from wherever the user comes.
        """
        ledger = self.ledger({"bob": User(sessions=1)}, sessionsPerUser=2)
        self.fill(ledger, asking(), asking(host="192.0.2.2"), asking("bob"))
        self.assertEqual(
            self.refused(ledger, asking(host="192.0.2.3")),
            ("limit: 2 sessions of user alice", 2),
        )
        self.assertEqual(self.refused(ledger, asking("bob")), ("limit: 1 sessions of user bob", 2))

    def test_nobody(self) -> None:
        """
        Those without a name count as one user.
        """
        ledger = self.ledger(sessionsPerUser=1)
        self.fill(ledger, asking(""))
        self.assertEqual(
            self.refused(ledger, asking("", "192.0.2.2")),
            ("limit: 1 sessions of users without a name", 2),
        )

    def test_anyName(self) -> None:
        """
        A name may be whatever an authenticator makes of it.
        """
        ledger = self.ledger(sessionsPerUser=1)
        for name in ("\udcff", "\ud800", "\N{SNOWMAN}", "a\0b"):
            self.fill(ledger, asking(name))
            self.refused(ledger, asking(name))

    def test_rule(self) -> None:
        """
        Over the limit of the rule that allowed it: REP C{02}, whoever asks.
        """
        ledger = self.ledger()
        rule = ruleNamed("wiki", sessions=1)
        other = ruleNamed("all")
        self.fill(ledger, asking(), rule=rule)
        self.fill(ledger, asking(), asking(), rule=other)
        self.assertEqual(
            self.refused(ledger, asking("bob"), rule), ("limit: 1 sessions by rule wiki", 2)
        )

    def test_server(self) -> None:
        """
        Over the limit of the server: REP C{01}.
        """
        ledger = self.ledger(sessions=2)
        held = self.fill(ledger, asking(), asking("bob", "192.0.2.2"))
        error = self.assertRaises(
            Overloaded, ledger.hold, asking("carol", "192.0.2.3"), None, Session()
        )
        self.assertEqual((str(error), replyCodeOf(error)), ("limit: 2 sessions of the server", 1))
        held[0].release()
        self.fill(ledger, asking())

    def test_ownBeforeServers(self) -> None:
        """
        Who is over a limit of its own and of the server's is told of its own.
        """
        ledger = self.ledger(sessions=1, sessionsPerUser=1)
        self.fill(ledger, asking())
        self.assertEqual(self.refused(ledger, asking())[1], 2)

    def test_refusedCountsNowhere(self) -> None:
        """
        What is refused by one limit does not count for another.
        """
        ledger = self.ledger(sessions=1, sessionsPerUser=9, sessionsPerAddress=9)
        rule = ruleNamed("a", sessions=9)
        held = self.fill(ledger, asking(), rule=rule)
        for _ in range(20):
            self.assertRaises(Overloaded, ledger.hold, asking(), rule, Session())
        self.assertEqual(len(self.tally), 4)
        held[0].release()
        self.assertEqual(len(self.tally), 0)

    def test_expired(self) -> None:
        """
        A user is refused from the moment on that is set.
        """
        end = datetime(2027, 1, 1, tzinfo=UTC)
        for expires in (end, end.replace(tzinfo=None)):
            self.clock = Clock()
            ledger = self.ledger({"alice": User(expires=expires)})
            self.clock.advance(59.9)
            self.fill(ledger, asking())
            self.clock.advance(0.1)
            reason, code = self.refused(ledger, asking())
            self.assertIn("user alice expired at 2027-01-01T00:00:00", reason)
            self.assertEqual(code, 2)
            self.fill(ledger, asking("bob"))


class OutgoingTests(LedgerTestCase):
    """
    Tests for L{Holding.outgoing}.
    """

    def test_outgoing(self) -> None:
        """
        A user's source addresses are those of its own, by the configuration that holds now.
        """
        address = (ip_address("192.0.2.10"),)
        ledger = self.ledger({"alice": User(outgoing=address)})
        alice, bob = (self.hold(ledger, name)[0] for name in ("alice", "bob"))
        self.assertEqual((alice.outgoing, bob.outgoing), (address, ()))
        ledger.reconfigure(Limits(), {}, {})
        self.assertEqual(self.hold(ledger)[0].outgoing, ())


class MeterTests(LedgerTestCase):
    """
    Tests for limits of bandwidth.
    """

    def test_unlimited(self) -> None:
        """
        A session without limits has no meter.
        """
        holding, _ = self.hold(self.ledger(sessions=1, sessionsPerUser=1), rule=ruleNamed("a"))
        self.assertIs(holding.meter, None)

    def test_user(self) -> None:
        """
        All sessions of a user share what the user may relay, and no others.
        """
        ledger = self.ledger({"bob": User(bandwidth=0)}, bandwidthPerUser=1000)
        one, other, carol = (self.hold(ledger, name)[0] for name in ("alice", "alice", "carol"))
        self.spend(one, 150)
        self.assertEqual([self.allowance(each) for each in (one, other, carol)], [50, 50, 200])
        self.assertIs(self.hold(ledger, "bob")[0].meter, None)

    def test_rule(self) -> None:
        """
        All sessions that a rule has allowed share what it allows, beside what the user may.
        """
        ledger = self.ledger({"bob": User(bandwidth=1000)})
        rule = ruleNamed("wiki", bandwidth=2000)
        alice, bob = (self.hold(ledger, name, rule)[0] for name in ("alice", "bob"))
        self.assertEqual([self.allowance(each) for each in (alice, bob)], [400, 200])
        self.spend(bob, 200)
        self.assertEqual([self.allowance(each) for each in (alice, bob)], [200, 0])

    def test_released(self) -> None:
        """
        A session that is over is not called any more.
        """
        ledger = self.ledger(bandwidthPerUser=1000)
        holding, _ = self.hold(ledger)
        self.spend(holding, 300)
        assert holding.meter is not None
        holding.meter.wait(lambda: self.fail("was called"))
        holding.release()
        self.assertIs(holding.meter, None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_comingBack(self) -> None:
        """
        Nobody gets more by ending a session and beginning another.
        """
        ledger = self.ledger(bandwidthPerUser=1000)
        for _ in range(3):
            holding, _ = self.hold(ledger)
            self.spend(holding, self.allowance(holding))
            holding.release()
        holding, _ = self.hold(ledger)
        self.assertEqual(self.allowance(holding), 0)

    def test_forgotten(self) -> None:
        """
        What makes no difference any more is forgotten, when others leave.
        """
        ledger = self.ledger(bandwidthPerUser=1000)
        rule = ruleNamed("a", bandwidth=1000)
        held = [self.hold(ledger, f"user {n}", rule)[0] for n in range(100)]
        for holding in held:
            self.spend(holding, 1)
            holding.release()
        self.assertGreater(len(self.tally), 50)
        self.clock.advance(1)
        for _ in range(40):
            self.hold(ledger, "late")[0].release()
        self.assertEqual(len(self.tally), 0)

    def test_stillUsed(self) -> None:
        """
        What others use is not forgotten.
        """
        ledger = self.ledger(bandwidthPerUser=1000)
        one, other = self.hold(ledger)[0], self.hold(ledger)[0]
        one.release()
        self.clock.advance(1)
        self.hold(ledger, "bob")[0].release()
        self.spend(other, 150)
        self.assertEqual(self.allowance(self.hold(ledger)[0]), 50)


class QuotaTests(LedgerTestCase):
    """
    Tests for quotas.
    """

    def test_user(self) -> None:
        """
        When a user's quota is used up, all sessions of the user end, and new ones are refused with
        REP C{02}, until the next period.
        """
        ledger = self.ledger({"bob": User(quota=Quota(0, "day"))}, quotaPerUser=Quota(1000, "day"))
        (one, first), (other, second) = self.hold(ledger), self.hold(ledger)
        self.spend(one, 700)
        self.assertEqual(self.allowance(other), 300)
        self.spend(other, 300)
        self.clock.advance(0)
        reason = "quota: 1kB/day of user alice is used up until 2027-01-01 00:00 UTC"
        self.assertEqual((first.ends, second.ends), ([reason], [reason]))
        self.assertEqual(self.refused(ledger, asking()), (reason, 2))
        one.release()
        other.release()
        self.assertIs(self.hold(ledger, "bob")[0].meter, None)
        self.clock.advance(60)
        self.assertEqual(self.allowance(self.hold(ledger)[0]), 1000)

    def test_rule(self) -> None:
        """
        A rule can have one, too, beside the users' own.
        """
        ledger = self.ledger(quotaPerUser=Quota(1000, "day"))
        rule = ruleNamed("wiki", quota=Quota(1500, "month"))
        holding, _ = self.hold(ledger, "alice", rule)
        self.spend(holding, 900)
        holding, _ = self.hold(ledger, "bob", rule)
        self.assertEqual(self.allowance(holding), 600)
        self.spend(holding, 600)
        self.assertEqual(
            self.refused(ledger, asking("carol"), rule)[0],
            "quota: 1500/month of rule wiki is used up until 2027-01-01 00:00 UTC",
        )
        self.hold(ledger, "carol", ruleNamed("other", quota=Quota(0, "month")))

    def test_bandwidthToo(self) -> None:
        """
        A quota holds beside a limit of bandwidth.
        """
        ledger = self.ledger(quotaPerUser=Quota(250, "day"), bandwidthPerUser=1000)
        holding, session = self.hold(ledger)
        self.assertEqual(self.allowance(holding), 200)
        self.spend(holding, 200)
        self.clock.advance(1)
        self.assertEqual(self.allowance(holding), 50)
        self.spend(holding, 50)
        self.clock.advance(0)
        self.assertEqual(len(session.ends), 1)

    def test_released(self) -> None:
        """
        A session that is over is not ended.
        """
        ledger = self.ledger(quotaPerUser=Quota(1000, "day"))
        (one, first), (other, second) = self.hold(ledger), self.hold(ledger)
        one.release()
        self.spend(other, 1000)
        other.release()
        self.clock.advance(0)
        self.assertEqual((first.ends, second.ends), ([], []))

    def test_reconfigured(self) -> None:
        """
        A quota that is changed counts what has been relayed; sessions that have had more end.
        """
        ledger = self.ledger(quotaPerUser=Quota(1000, "day"))
        holding, session = self.hold(ledger)
        self.spend(holding, 500)
        ledger.reconfigure(Limits(quotaPerUser=Quota(2000, "day")), {}, {})
        self.assertEqual(self.allowance(holding), 1500)
        ledger.reconfigure(Limits(quotaPerUser=Quota(400, "day")), {}, {})
        self.clock.advance(0)
        self.assertEqual(len(session.ends), 1)

    def test_remembered(self) -> None:
        """
        What has been used is written into the database, also for names that are no text anywhere
        else.
        """
        path = self.mktemp()
        limits = {"quotaPerUser": Quota(1000, "day"), "database": path}
        for left in (1000, 600, 200):
            ledger = self.ledger(**limits)
            ledger.start()
            for name in ("alice", "\ud800", ""):
                holding, _ = self.hold(ledger, name)
                self.assertEqual(self.allowance(holding), left)
                self.spend(holding, 400)
                holding.release()
            self.successResultOf(ledger.stop())
            self.tally = LocalTally()

    def test_otherDatabase(self) -> None:
        """
        Another database can be named while the server runs.
        """
        quota = Quota(1000, "day")
        ledger = self.ledger(quotaPerUser=quota)
        ledger.start()
        holding, _ = self.hold(ledger)
        self.spend(holding, 400)
        limits = Limits(quotaPerUser=quota, database=self.mktemp())
        for _ in range(2):
            ledger.reconfigure(limits, {}, {})
        holding.release()
        self.successResultOf(ledger.stop())
        self.tally = LocalTally()
        ledger = self.ledger(quotaPerUser=quota, database=limits.database)
        ledger.start()
        self.assertEqual(self.allowance(self.hold(ledger)[0]), 600)

    def test_inThread(self) -> None:
        """
        It is written in one of the reactor's threads.
        """
        reactor = MemoryReactor()
        limits = Limits(quotaPerUser=Quota(1000, "day"), database=self.mktemp())
        ledger = Ledger(reactor, limits)
        ledger.start()
        holding, _ = self.hold(ledger)
        self.spend(holding, 400)
        holding.release()
        reactor.threads.hold = True
        reactor.advance(1)
        self.assertEqual(len(reactor.threads.held), 1)
        stopped = ledger.stop()
        self.assertNoResult(stopped)
        reactor.threads.hold = False
        reactor.threads.release()
        self.successResultOf(stopped)

    def test_unusable(self) -> None:
        """
        A database that cannot be used prevents the start.
        """
        ledger = self.ledger(database=self.mktemp() + "/quotas")
        self.assertRaises(UnusableDatabase, ledger.start)


class ReconfigureTests(LedgerTestCase):
    """
    Tests for L{Ledger.reconfigure}.
    """

    def test_bandwidth(self) -> None:
        """
        Another limit holds for running sessions at once, and what they have spent counts.
        """
        ledger = self.ledger(bandwidthPerUser=1000)
        holding, session = self.hold(ledger)
        self.spend(holding, 200)
        called: list[None] = []
        assert holding.meter is not None
        holding.meter.wait(lambda: called.append(None))
        ledger.reconfigure(Limits(bandwidthPerUser=2000), {}, {})
        self.assertEqual((session.meters, called), ([holding.meter], [None]))
        self.assertEqual(self.allowance(holding), 0)
        self.clock.advance(0.125)
        self.assertEqual(self.allowance(holding), 250)

    def test_limitedAndFreed(self) -> None:
        """
        A session that had no limit can get one, and lose it.
        """
        ledger = self.ledger()
        holding, session = self.hold(ledger, rule=ruleNamed("a"))
        ledger.reconfigure(Limits(), {}, {}, [ruleNamed("a", bandwidth=1000), ruleNamed("b")])
        self.assertEqual(self.allowance(holding), 200)
        ledger.reconfigure(Limits(), {}, {}, [ruleNamed("b", bandwidth=1000)])
        self.assertIs(holding.meter, None)
        self.assertEqual([meter is None for meter in session.meters], [False, True])

    def test_groups(self) -> None:
        """
        Users and groups are those that are given.
        """
        ledger = self.ledger()
        holding, _ = self.hold(ledger)
        group = Group(members=frozenset({"alice"}), bandwidth=1000)
        ledger.reconfigure(Limits(), {}, {"staff": group})
        self.assertEqual(self.allowance(holding), 200)
        ledger.reconfigure(Limits(), {"alice": User(bandwidth=3000)}, {"staff": group})
        self.assertEqual(self.allowance(holding), 600)

    def test_sessions(self) -> None:
        """
        Sessions that are more than is allowed now go on, but count; also those that began when
        there was no limit.
        """
        ledger = self.ledger()
        held = [self.hold(ledger)[0] for _ in range(3)]
        first = ledger.reconfigure(Limits(sessions=2, sessionsPerUser=9), {}, {})
        self.successResultOf(first)
        ledger.reconfigure(Limits(sessions=2, sessionsPerUser=9), {}, {})
        for holding in held[:2]:
            self.assertRaises(Overloaded, ledger.hold, asking(), None, Session())
            holding.release()
        self.hold(ledger)[0].release()
        held[2].release()
        self.assertEqual(len(self.tally), 0)

    def test_released(self) -> None:
        """
        A session that is over hears nothing more.
        """
        ledger = self.ledger()
        holding, session = self.hold(ledger)
        holding.release()
        ledger.reconfigure(Limits(bandwidthPerUser=1000), {}, {})
        self.assertEqual(session.meters, [])

    def test_many(self) -> None:
        """
        Of many sessions some get their limits in each turn of the reactor: neither one that has
        ended by then, nor limits that have been replaced.
        """
        ledger = self.ledger()
        held = [self.hold(ledger) for _ in range(10)]

        def metered(meter: Meter | None) -> None:
            self.clock.rightNow += 0.002

        for _, session in held:
            self.patch(session, "metered", metered)
        first = ledger.reconfigure(Limits(bandwidthPerUser=1000), {}, {})
        limited = [holding for holding, _ in held if holding.meter is not None]
        self.assertEqual(len(limited), 3)
        gone = next(holding for holding, _ in held if holding.meter is None)
        gone.release()
        second = ledger.reconfigure(Limits(bandwidthPerUser=5000), {}, {})
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(first), 3)
        self.assertEqual(self.successResultOf(second), 9)
        self.assertIsNone(gone.meter)
        for holding, _ in held:
            if holding is not gone:
                self.assertEqual(self.allowance(holding), 1000)

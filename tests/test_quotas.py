"""
Tests for L{txsocks5.quotas}.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import Quota
from txsocks5.quotas import Claim, Quotas
from txsocks5.tally import LocalTally
from txsocks5.testing import RecordedEvents
from txsocks5.usage import UnusableDatabase, Usage, UsageDatabase

from .wire.values import reproducible

DAY = Quota(1000, "day")

#: A Sunday, one minute before midnight.
LATE = datetime(2026, 11, 22, 23, 59, tzinfo=UTC).timestamp()
TODAY = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
TOMORROW = TODAY + 86400


class Memory(UsageDatabase):
    """
    A database that keeps everything in memory, and can be broken.

    @ivar rows: what it holds.

    @ivar writes: what it was given, one item a time.

    @ivar broken: why it cannot be used.

    @ivar closed: whether it was closed.
    """

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.rows: dict[tuple[str, str], Usage] = {}
        self.writes: list[list[Usage]] = []
        self.broken = ""
        self.closed = False

    def load(self, since: float) -> list[Usage]:
        """
        Give back what was given.
        """
        if self.broken:
            raise UnusableDatabase(self.broken)
        return [row for row in self.rows.values() if row.begin >= since]

    def save(self, usages: Any) -> None:
        """
        Keep something.
        """
        if self.broken:
            raise UnusableDatabase(self.broken)
        self.writes.append(list(usages))
        for usage in self.writes[-1]:
            self.rows[usage.owner, usage.period] = usage

    def close(self) -> None:
        """
        Note it.
        """
        self.closed = True


class QuotasTestCase(SynchronousTestCase):
    """
    Quotas with a clock, a calendar and a database.
    """

    def setUp(self) -> None:
        """
        Begin one minute before midnight.
        """
        self.clock = Clock()
        self.tally = LocalTally()
        self.memory = Memory()
        self.events = RecordedEvents(self)
        self.late = LATE
        self.ends: list[str] = []
        self.threads: list[tuple[Callable[[], Any], Deferred[Any]]] | None = None
        self.quotas = self.make()

    def now(self) -> float:
        """
        The time of the calendar.
        """
        return self.late + self.clock.seconds()

    def make(self, database: UsageDatabase | None = None) -> Quotas:
        """
        Begin.
        """
        quotas = Quotas(self.clock, self.tally, self.now, database or self.memory, self.inThread)
        quotas.start()
        return quotas

    def restart(self) -> None:
        """
        End and begin again.
        """
        self.successResultOf(self.quotas.stop())
        self.tally = LocalTally()
        self.quotas = self.make()

    def inThread(self, call: Callable[[], Any]) -> Deferred[Any]:
        """
        Call something at once, or when L{work} says so.
        """
        result: Deferred[Any] = Deferred()
        if self.threads is None:
            self._call(call, result)
        else:
            self.threads.append((call, result))
        return result

    def work(self) -> None:
        """
        Let the thread do the first thing that it has to do.
        """
        assert self.threads is not None
        self._call(*self.threads.pop(0))

    @staticmethod
    def _call(call: Callable[[], Any], result: Deferred[Any]) -> None:
        try:
            value = call()
        except Exception as error:
            result.errback(error)
        else:
            result.callback(value)

    def claim(self, owner: str = "user alice", quota: Quota = DAY) -> Claim:
        """
        Begin a session.
        """
        return self.quotas.account(owner, quota).claim(self.ends.append)

    def left(self, owner: str = "user alice", quota: Quota = DAY) -> int:
        """
        How much may still be relayed.
        """
        return self.quotas.account(owner, quota).left

    def saved(self) -> list[tuple[str, int]]:
        """
        What is written down.
        """
        return sorted((row.owner, row.octets) for row in self.memory.rows.values())


class AccountTests(QuotasTestCase):
    """
    Tests for L{Account <txsocks5.quotas.Account>} and L{Claim}.
    """

    def test_shared(self) -> None:
        """
        All sessions of an owner use up the same; others have their own.
        """
        one, other, bob = self.claim(), self.claim(), self.claim("user bob")
        one.spent(600)
        other.spent(300)
        self.assertEqual([each.allowance() for each in (one, other, bob)], [100, 100, 1000])
        self.assertEqual(self.left(), 100)

    def test_usedUp(self) -> None:
        """
        When nothing is left all sessions end: at once, but not within the call; and it is logged.
        """
        one, _ = self.claim(), self.claim()
        one.spent(999)
        self.clock.advance(0)
        self.assertEqual(self.ends, [])
        one.spent(1)
        self.assertEqual((self.ends, one.allowance()), ([], 0))
        one.wait(lambda: self.fail("was called"))
        self.clock.advance(0)
        reason = "quota: 1kB/day of user alice is used up until 2026-11-23 00:00 UTC"
        self.assertEqual(self.ends, [reason] * 2)
        self.assertEqual(self.quotas.account("user alice", DAY).reason, reason)
        event = self.events.one("quotaOver")
        self.assertEqual(
            (event["owner"], event["quota"], event["until"]),
            ("user alice", "1kB/day", "2026-11-23 00:00 UTC"),
        )

    def test_usedUpElsewhere(self) -> None:
        """
        If another process has used up what was left, the sessions of this one end, too.
        """
        claim = self.claim()
        other = Quotas(self.clock, self.tally, self.now)
        other.account("user alice", DAY).claim(self.ends.append).spent(1000)
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 1)
        self.assertEqual(claim.allowance(), 0)
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 2)

    def test_usedUpElsewhereMeanwhile(self) -> None:
        """
        So do those that relay nothing: within a second.
        """
        self.patch(LocalTally, "isShared", True)
        idle, bob = self.claim(), self.claim("user bob")
        self.claim("user carol").leave()
        other = Quotas(self.clock, self.tally, self.now)
        other.account("user alice", DAY).spent(1000)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 1)
        self.assertEqual((idle.allowance(), bob.allowance()), (0, 1000))

    def test_ended(self) -> None:
        """
        A session that has ended is not ended again.
        """
        one, other = self.claim(), self.claim()
        other.leave()
        one.spent(1000)
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 1)

    def test_raised(self) -> None:
        """
        A quota can be raised while sessions use it up.
        """
        claim = self.claim()
        claim.spent(1000)
        self.assertEqual(self.left(quota=Quota(1500, "day")), 500)
        self.clock.advance(0)
        self.assertEqual(self.ends, [])
        claim.spent(500)
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 1)

    def test_lowered(self) -> None:
        """
        When it is lowered, sessions end that have used up more.
        """
        claim = self.claim()
        claim.spent(800)
        self.left(quota=Quota(700, "day"))
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 1)


class PeriodTests(QuotasTestCase):
    """
    Tests for the end of a period.
    """

    def test_newPeriod(self) -> None:
        """
        At midnight everybody has everything again; what was used before counts no more.
        """
        claim = self.claim()
        claim.spent(900)
        self.clock.advance(59)
        self.assertEqual(self.left(), 100)
        self.clock.advance(1)
        self.assertEqual((self.left(), claim.allowance()), (1000, 1000))
        claim.spent(999)
        self.clock.advance(1)
        self.assertEqual((self.left(), self.ends), (1, []))
        self.assertEqual(self.memory.rows["user alice", "day"].begin, TOMORROW)

    def test_newRequest(self) -> None:
        """
        A request that comes before anything else has happened at midnight is served.
        """
        self.claim().spent(1000)
        self.clock.rightNow += 60
        self.assertEqual(self.left(), 1000)

    def test_forgotten(self) -> None:
        """
        Accounts of a period that is over are forgotten, unless there are sessions.
        """
        for number in range(50):
            claim = self.claim(f"user {number}")
            claim.spent(1)
            claim.leave()
        stays = self.claim(quota=Quota(10, "hour"))
        stays.spent(5)
        self.clock.advance(61)
        self.assertLessEqual(len(self.tally), 1)
        self.clock.advance(3600)
        self.assertEqual(stays.allowance(), 10)
        stays.leave()
        self.clock.advance(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_different(self) -> None:
        """
        Periods of different kinds end at different times.
        """
        day, month = self.claim(), self.claim("rule wiki", Quota(1000, "month"))
        day.spent(10)
        month.spent(10)
        self.clock.advance(60)
        self.assertEqual((day.allowance(), month.allowance()), (1000, 990))

    def test_clockSetBack(self) -> None:
        """
        If the clock is set back into the period before, nobody gets that period's quota, too.
        """
        self.late += 120
        claim = self.claim()
        claim.spent(900)
        self.late -= 120
        self.assertEqual((claim.allowance(), self.left()), (100, 100))

    @reproducible
    @given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 40)), max_size=30))
    def test_model(self, steps: list[tuple[int, int]]) -> None:
        """
        Whenever and however much is relayed, what is left is the quota without what was relayed
        in the same day, and a restart changes nothing.
        """
        self.setUp()
        claim = self.claim()
        used: dict[int, int] = {}
        for octets, seconds in steps:
            for _ in range(seconds):
                self.clock.advance(1)
            claim.spent(octets)
            day = int(self.now()) // 86400
            used[day] = used.get(day, 0) + octets
            left = max(1000 - used[day], 0)
            self.assertEqual((claim.allowance(), self.left()), (left, left))
        claim.leave()
        self.restart()
        self.assertEqual(self.left(), max(1000 - used.get(int(self.now()) // 86400, 0), 0))


class SavingTests(QuotasTestCase):
    """
    Tests for what is written down.
    """

    def test_onceASecond(self) -> None:
        """
        However often something is relayed, it is written down once a second, and all together.
        """
        one, other = self.claim(), self.claim("user bob")
        for _ in range(100):
            one.spent(1)
            other.spent(2)
        self.assertEqual(self.memory.writes, [])
        self.clock.advance(1)
        self.assertEqual(len(self.memory.writes), 1)
        self.assertEqual(self.saved(), [("user alice", 100), ("user bob", 200)])
        self.clock.pump([1] * 5)
        self.assertEqual(len(self.memory.writes), 1)

    def test_noTimer(self) -> None:
        """
        When nothing is used and all is written down, there is no timer.
        """
        claim = self.claim()
        claim.spent(1)
        claim.leave()
        self.clock.pump([1] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.saved(), [("user alice", 1)])

    def test_restart(self) -> None:
        """
        What was used counts after a restart: also what has not been written down before the
        server stops.
        """
        self.claim().spent(400)
        self.clock.advance(1)
        self.claim().spent(300)
        self.restart()
        self.assertTrue(self.memory.closed)
        self.assertEqual(self.left(), 300)
        self.assertEqual(self.left("user bob"), 1000)

    def test_restartLater(self) -> None:
        """
        What was used in a period that is over counts no more after a restart.
        """
        self.claim().spent(400)
        self.successResultOf(self.quotas.stop())
        self.clock.rightNow += 60
        self.quotas = self.make()
        self.assertEqual(self.left(), 1000)

    def test_startRefused(self) -> None:
        """
        A database that cannot be used prevents the start.
        """
        self.memory.broken = "is broken"
        self.assertRaises(UnusableDatabase, self.make)

    def test_withoutDatabase(self) -> None:
        """
        Without a database everything works, but for remembering.
        """
        self.quotas = Quotas(self.clock, self.tally, self.now)
        self.quotas.start()
        claim = self.claim()
        claim.spent(400)
        self.clock.advance(1)
        self.assertEqual(self.left(), 600)
        claim.leave()
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.quotas.stop())

    def test_outage(self) -> None:
        """
        While the database cannot be written nothing suffers and nothing is lost; it is logged
        once, and once when it works again.
        """
        claim, other = self.claim(), self.claim("user bob")
        other.spent(50)
        self.clock.advance(1)
        self.memory.broken = "is full"
        claim.spent(100)
        self.clock.pump([1] * 5)
        claim.spent(100)
        self.clock.pump([1] * 5)
        self.assertEqual(self.left(), 800)
        self.assertEqual(self.events.one("quotasNotSaved")["reason"], "is full")
        self.memory.rows.clear()
        self.memory.broken = ""
        self.clock.advance(1)
        self.assertEqual(self.saved(), [("user alice", 200), ("user bob", 50)])
        self.assertEqual(self.events.names[-1], "quotasSaved")
        self.memory.broken = "is full"
        claim.spent(1)
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.events.named("quotasNotSaved")), 2)

    def test_outageAtTheEnd(self) -> None:
        """
        If it cannot be written when the server stops, that is logged in any case, and the server
        stops.
        """
        self.claim().spent(1)
        self.memory.broken = "is full"
        self.clock.advance(1)
        self.successResultOf(self.quotas.stop())
        self.assertEqual(len(self.events.named("quotasNotSaved")), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow(self) -> None:
        """
        While the thread is busy with one write there is no other.
        """
        self.threads = []
        claim = self.claim()
        for _ in range(5):
            claim.spent(1)
            self.clock.advance(1)
        self.assertEqual(len(self.threads), 1)
        self.work()
        self.clock.advance(1)
        self.work()
        self.assertEqual(self.memory.writes[1][0].octets, 5)
        self.assertEqual(self.threads, [])

    def test_stopWhileWriting(self) -> None:
        """
        A server that stops waits for the write under way, and writes down what came after it.
        """
        self.threads = []
        claim = self.claim()
        claim.spent(1)
        self.clock.advance(1)
        claim.spent(1)
        stopped = self.quotas.stop()
        self.assertNoResult(stopped)
        for _ in range(3):
            self.work()
        self.successResultOf(stopped)
        self.assertEqual((self.saved(), self.memory.closed), ([("user alice", 2)], True))

    def test_moved(self) -> None:
        """
        Another database can be used from now on: what it knows counts, what it does not know is
        written there, and the one before is closed.
        """
        one, other = self.claim(), self.claim("user bob")
        one.spent(100)
        self.clock.advance(1)
        other.spent(100)
        before, self.memory = self.memory, Memory()
        self.memory.save(
            [
                Usage("user alice", "day", TODAY, 400),
                Usage("user bob", "day", TODAY - 86400, 400),
                Usage("user carol", "day", TODAY, 400),
            ]
        )
        self.quotas.move(self.memory)
        self.assertTrue(before.closed)
        left = [self.left(f"user {name}") for name in ("alice", "bob", "carol")]
        self.assertEqual(left, [600, 900, 600])
        self.clock.advance(1)
        self.assertEqual(self.saved()[:2], [("user alice", 400), ("user bob", 100)])
        self.quotas.move(None)
        one.spent(1)
        self.clock.advance(1)
        self.assertEqual(self.saved()[0], ("user alice", 400))
        self.quotas.move(self.memory)
        self.clock.advance(1)
        self.assertEqual(self.saved()[0], ("user alice", 401))

    def test_movedUsedUp(self) -> None:
        """
        If the other database knows that nothing is left, sessions end.
        """
        self.claim()
        self.memory = Memory()
        self.memory.save([Usage("user alice", "day", TODAY, 1000)])
        self.quotas.move(self.memory)
        self.clock.advance(0)
        self.assertEqual(len(self.ends), 1)

    def test_movedWhileWriting(self) -> None:
        """
        What is being written is written to the end, before anything else happens.
        """
        self.threads = []
        self.claim().spent(1)
        self.clock.advance(1)
        before, self.memory = self.memory, Memory()
        self.quotas.move(self.memory)
        self.clock.advance(1)
        for _ in range(3):
            self.assertEqual(len(self.threads), 1)
            self.work()
        self.assertEqual((len(before.writes), before.closed), (1, True))
        self.clock.advance(1)
        self.work()
        self.assertEqual(self.saved(), [("user alice", 1)])

    def test_movedNowhere(self) -> None:
        """
        A database that cannot be used is tried again every second, as any other.
        """
        claim = self.claim()
        claim.spent(100)
        self.memory = Memory()
        self.memory.broken = "is broken"
        self.quotas.move(self.memory)
        self.clock.advance(1)
        self.assertEqual(self.events.one("quotasNotSaved")["reason"], "is broken")
        self.memory.broken = ""
        self.clock.advance(1)
        self.assertEqual(self.saved(), [("user alice", 100)])

    def test_failureBeforeTheEnd(self) -> None:
        """
        What a write under way could not save is saved when the server stops.
        """
        self.threads = []
        self.claim().spent(1)
        self.clock.advance(1)
        stopped = self.quotas.stop()
        self.memory.broken = "is full"
        self.work()
        self.memory.broken = ""
        self.work()
        self.work()
        self.successResultOf(stopped)
        self.assertEqual(self.saved(), [("user alice", 1)])

    def test_realFile(self) -> None:
        """
        All of this works with a file.
        """
        path = self.mktemp()
        self.memory = UsageDatabase(path)  # type: ignore[assignment]
        self.quotas = self.make()
        self.claim().spent(400)
        self.clock.advance(1)
        self.restart()
        self.assertEqual(self.left(), 600)
        self.successResultOf(self.quotas.stop())

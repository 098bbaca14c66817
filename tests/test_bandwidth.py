"""
Tests for L{txsocks5.bandwidth}.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.bandwidth import Bucket, Meter, Meters, Policer, Share
from txsocks5.sharedtally import SharedTally, createTally
from txsocks5.tally import LocalTally

from .meters import Purse
from .wire.values import reproducible

KEY = b"key"

#: The most that a relay passes on at a time.
PIECE = 65536


class Hose:
    """
    A session that always has something to relay, in pieces, as a relay does it.

    @ivar moved: octets that it has relayed.
    """

    def __init__(self, clock: Clock, meter: Meter, piece: int = PIECE) -> None:
        self.moved = 0
        self._clock = clock
        self._meter = meter
        self._piece = piece
        self._left = piece

    def turn(self) -> None:
        """
        Move some octets, or wait; and go on at the reactor's next turn.
        """
        allowed = min(self._meter.allowance(), self._left)
        if allowed:
            self.moved += allowed
            self._left -= allowed
            self._meter.spent(allowed)
        if self._left:
            # The rest of what has been read waits for its turn.
            self._meter.wait(self.turn)
        else:
            self._left = self._piece
            self._clock.callLater(0, self.turn)


class Limits(SynchronousTestCase):
    """
    A bucket with a clock.
    """

    def setUp(self) -> None:
        """
        Begin at no particular time.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000.123)
        self.tally = LocalTally()

    def bucket(self, rate: int) -> Bucket:
        """
        Make a bucket.
        """
        return Bucket(self.clock, self.tally, KEY, rate)

    def run_(self, seconds: float, hoses: list[Hose], step: float = 0.01) -> None:
        """
        Let some sessions relay.

        @param step: seconds of a turn of the reactor.
        """
        for hose in hoses:
            self.clock.callLater(0, hose.turn)
        for _ in range(round(seconds / step)):
            self.clock.advance(step)


class BucketTests(Limits):
    """
    Tests for L{Bucket} and L{Share}.
    """

    def test_burst(self) -> None:
        """
        A bucket that was not used has what it takes a fifth of a second to collect, and no more.
        """
        share = self.bucket(1000).share()
        self.assertEqual(share.allowance(), 200)
        self.clock.advance(100)
        self.assertEqual(share.allowance(), 200)

    def test_spent(self) -> None:
        """
        What is spent is missing until it has been collected again.
        """
        share = self.bucket(1000).share()
        share.spent(150)
        self.assertEqual(share.allowance(), 50)
        self.clock.advance(0.125)
        self.assertEqual(share.allowance(), 175)

    def test_debt(self) -> None:
        """
        More can be spent than is there; then nothing is allowed until that is paid for.
        """
        share = self.bucket(1000).share()
        share.spent(1200)
        self.clock.advance(0.9375)
        self.assertEqual(share.allowance(), 0)
        self.clock.advance(0.125)
        self.assertEqual(share.allowance(), 62)

    def test_called(self) -> None:
        """
        Who waits is called when a twentieth of a second's worth has been collected; nobody else
        gets anything in between.
        """
        bucket = self.bucket(1000)
        one, other = bucket.share(), bucket.share()
        one.spent(200)
        calls: list[int] = []
        one.wait(lambda: calls.append(one.allowance()))
        self.clock.advance(0.03125)
        self.assertEqual((calls, other.allowance()), ([], 0))
        self.clock.advance(0.03125)
        self.assertEqual(calls, [62])
        # What one has been granted, the other cannot have.
        self.assertEqual(other.allowance(), 0)
        one.spent(62)
        self.clock.advance(0.03125)
        self.assertEqual(other.allowance(), 31)
        self.assertEqual(one.allowance(), 31)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_divided(self) -> None:
        """
        All who wait get the same, those who wait longest first, and nobody less than is worth it.
        """
        for rate, granted in ((200_000, [3333, 3333, 3334]), (40_000, [2000])):
            bucket = self.bucket(rate)
            calls: list[int] = []
            shares = [bucket.share() for _ in range(3)]
            shares[0].spent(rate // 5)
            for share in shares:
                share.wait(partial(self._take, share, calls))
            self.clock.advance(0.05 + 1e-6)
            self.assertEqual(calls, granted)
            self.tally.forget(KEY, 2**63)

    @staticmethod
    def _take(share: Share, calls: list[int]) -> None:
        calls.append(share.allowance())
        share.spent(calls[-1])

    def test_manyTurns(self) -> None:
        """
        Not all of very many are called at the same time.
        """
        bucket = self.bucket(1 << 30)
        calls: list[int] = []
        shares = [bucket.share() for _ in range(1000)]
        shares[0].spent(1 << 30)
        for share in shares:
            share.wait(partial(self._take, share, calls))
        self.clock.advance(0.8502)
        self.assertEqual(len(calls), 256)

    def test_calledInVain(self) -> None:
        """
        If others have spent meanwhile what would be granted, those who wait go on waiting.
        """
        bucket = self.bucket(1000)
        share = bucket.share()
        share.spent(200)
        calls: list[None] = []
        share.wait(lambda: calls.append(None))
        share.spent(100)
        self.clock.advance(0.0625)
        self.assertEqual(calls, [])
        self.clock.advance(0.125)
        self.assertEqual(calls, [None])

    def test_grantKept(self) -> None:
        """
        What a session has been granted and has not used it can use later, though others wait.
        """
        bucket = self.bucket(1_000_000)
        idle, busy = bucket.share(), bucket.share()
        idle.spent(200_000)
        idle.wait(lambda: None)
        self.clock.advance(0.0625)
        busy.wait(lambda: None)
        self.assertGreater(idle.allowance(), 50_000)
        self.assertEqual(busy.allowance(), 0)

    def test_leave(self) -> None:
        """
        Who leaves is not called, and if nobody waits there is no timer.
        """
        bucket = self.bucket(1000)
        one, other = bucket.share(), bucket.share()
        one.spent(200)
        calls: list[str] = []
        one.wait(lambda: calls.append("one"))
        other.wait(lambda: calls.append("other"))
        one.leave()
        one.leave()
        self.clock.advance(1)
        self.assertEqual(calls, ["other"])
        other.spent(1000)
        other.wait(lambda: None)
        other.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_askingOnAndOn(self) -> None:
        """
        A session that goes on as long as it is allowed anything does not do so octet by octet, as
        they are collected: it has to wait for something worth the while.
        """
        for rate in (10_000, 1_000_000, 20_000_000):
            self.setUp()
            share = self.bucket(rate).share()
            pieces = []
            for _ in range(10_000):
                pieces.append(min(share.allowance(), PIECE))
                if not pieces[-1]:
                    break
                share.spent(pieces[-1])
                # As long as it takes to move them.
                self.clock.rightNow += 0.00003
            self.assertLess(len(pieces), rate // 5 // PIECE + 10)

    def test_leaveInTurn(self) -> None:
        """
        A session that is called may be the end of others that wait.
        """
        bucket = self.bucket(100_000)
        one, other = bucket.share(), bucket.share()
        one.spent(20_000)
        one.wait(other.leave)
        other.wait(lambda: self.fail("was called"))
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fewTimers(self) -> None:
        """
        However many wait, they are called twenty times a second.
        """
        bucket = self.bucket(1_000_000)
        hoses = [Hose(self.clock, bucket.share()) for _ in range(20)]
        calls = []
        self.patch(bucket, "_callThem", lambda: calls.append(None) or Bucket._callThem(bucket))
        self.run_(10, hoses, 0.001)
        self.assertIn(len(calls), range(180, 206))

    def test_brokenSession(self) -> None:
        """
        If one session fails when it is called, the others are called all the same.
        """
        bucket = self.bucket(100_000)
        one, other = bucket.share(), bucket.share()
        one.spent(20_000)
        calls: list[None] = []
        one.wait(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        other.wait(lambda: calls.append(None))
        self.assertRaises(ZeroDivisionError, self.clock.advance, 0.0625)
        self.clock.advance(0.0625)
        self.assertEqual(calls, [None])

    def test_setRate(self) -> None:
        """
        Another rate holds at once, for those who wait, too.
        """
        bucket = self.bucket(1000)
        share = bucket.share()
        share.spent(1200)
        calls: list[int] = []
        share.wait(lambda: calls.append(share.allowance()))
        bucket.setRate(2000)
        self.assertEqual(bucket.rate, 2000)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.0625)
        self.assertEqual(calls, [125])
        self.clock.advance(10)
        self.assertEqual(share.allowance(), 400)

    def test_clockSetBack(self) -> None:
        """
        If the clock is set back for an hour, nobody waits for that long.
        """
        bucket = self.bucket(1000)
        share = bucket.share()
        share.spent(100)
        self.clock.rightNow -= 3600
        self.assertEqual(share.allowance(), 0)
        self.clock.advance(1)
        self.assertEqual(share.allowance(), 200)

    def test_forget(self) -> None:
        """
        A bucket can be forgotten when it is full.
        """
        bucket = self.bucket(1000)
        bucket.share().spent(100)
        self.assertFalse(bucket.forget())
        self.clock.advance(0.125)
        self.assertEqual(len(self.tally), 1)
        self.assertTrue(bucket.forget())
        self.assertEqual(len(self.tally), 0)

    def test_isUsed(self) -> None:
        """
        A bucket knows whether it has sessions.
        """
        bucket = self.bucket(1000)
        self.assertFalse(bucket.isUsed)
        one, other = bucket.share(), bucket.share()
        one.leave()
        self.assertTrue(bucket.isUsed)
        other.leave()
        self.assertFalse(bucket.isUsed)

    def test_slowest(self) -> None:
        """
        A rate of one octet a second is one.
        """
        hose = Hose(self.clock, self.bucket(1).share())
        self.run_(100, [hose], 0.25)
        self.assertIn(hose.moved, range(100, 105))


class MetersTests(Limits):
    """
    Tests for L{Meters}.
    """

    def setUp(self) -> None:
        """
        Make two.
        """
        super().setUp()
        self.narrow = Bucket(self.clock, self.tally, b"n", 1000)
        self.wide = Bucket(self.clock, self.tally, b"w", 2000)
        self.meters = Meters([self.narrow.share(), self.wide.share()])
        self.calls: list[str] = []

    def spend(self, name: str) -> None:
        """
        Spend whatever is allowed, and wait again.
        """
        self.calls.append(name)
        self.meters.spent(self.meters.allowance())
        self.meters.wait(lambda: self.spend(name))

    def test_least(self) -> None:
        """
        The least of all counts; what is spent counts everywhere.
        """
        self.assertEqual(self.meters.allowance(), 200)
        self.meters.spent(100)
        self.assertEqual(self.meters.allowance(), 100)
        self.assertEqual(self.wide.share().allowance(), 300)
        self.wide.share().spent(230)
        self.assertEqual(self.meters.allowance(), 70)

    def test_directions(self) -> None:
        """
        If both directions of a session spend all that there is, they do so in turns.
        """
        self.meters.spent(200)
        self.spend("out")
        self.spend("in")
        for _ in range(4):
            self.clock.advance(0.0625)
        self.assertEqual(self.calls, ["out", "in", "out", "in", "out", "in"])

    def test_bothGoOn(self) -> None:
        """
        If one direction leaves something, the other can go on, too.
        """
        self.meters.spent(200)
        self.meters.wait(lambda: self.calls.append("out"))
        self.meters.wait(lambda: self.calls.append("in"))
        self.clock.advance(0.0625)
        self.assertEqual(self.calls, ["out", "in"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """
        When the session is over nobody is called.
        """
        self.meters.spent(200)
        self.spend("out")
        self.meters.leave()
        self.meters.wait(lambda: self.fail("was called"))
        self.assertEqual(self.meters.allowance(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.narrow.isUsed or self.wide.isUsed)

    def test_replaced(self) -> None:
        """
        When other limits hold, all who wait are called at once.
        """
        self.meters.spent(200)
        self.meters.wait(lambda: self.calls.append("out"))
        self.meters.wait(lambda: self.calls.append("in"))
        self.meters.replaced()
        self.assertEqual(self.calls, ["out", "in"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PolicerTests(SynchronousTestCase):
    """
    Tests for L{Policer}.
    """

    def setUp(self) -> None:
        """
        Allow 100 octets.
        """
        self.purse = Purse(100)
        self.policer = Policer()

    def test_enough(self) -> None:
        """
        What is allowed passes, all of it, and is accounted for once.
        """
        self.assertEqual(self.policer.admit(self.purse, [40, 0, 60]), 3)
        self.assertEqual((self.purse.left, self.purse.waiting), (0, []))

    def test_whole(self) -> None:
        """
        The last one passes whole.
        """
        self.assertEqual(self.policer.admit(self.purse, [99, 60, 1]), 2)
        self.assertEqual(self.purse.left, -59)

    def test_nothing(self) -> None:
        """
        Nothing passes if nothing is allowed, not even a datagram without payload.
        """
        purse = Purse()
        self.assertEqual(self.policer.admit(purse, [0]), 0)
        self.assertEqual(purse.left, 0)

    def test_turns(self) -> None:
        """
        An association that could send more waits as a relay does, once at a time.
        """
        for _ in range(3):
            self.policer.admit(self.purse, [99, 60, 1])
        self.assertEqual(len(self.purse.waiting), 1)
        self.purse.add(0)
        self.policer.admit(self.purse, [1])
        self.assertEqual(len(self.purse.waiting), 1)

    def test_besideRelays(self) -> None:
        """
        An association gets as much as the relays that share a limit with it.
        """
        clock = Clock()
        bucket = Bucket(clock, LocalTally(), KEY, 1_000_000)
        hoses = [Hose(clock, bucket.share()) for _ in range(2)]
        share = bucket.share()
        passed = 0
        for hose in hoses:
            clock.callLater(0, hose.turn)
        for _ in range(5000):
            passed += 1000 * self.policer.admit(share, [1000] * 2)
            clock.advance(0.002)
        for moved in (passed, hoses[0].moved, hoses[1].moved):
            within(self, moved, 3_333_333, 0.1)


def within(test: SynchronousTestCase, value: float, expected: float, part: float) -> None:
    """
    A value is what is expected, or nearly.
    """
    test.assertTrue(
        abs(value - expected) <= part * expected, f"{value} is not {expected} +- {part:%}"
    )


class ExactnessTests(Limits):
    """
    A rate is exact, and fair.
    """

    @settings(reproducible, max_examples=30)
    @given(
        rate=st.integers(10, 30).map(lambda exponent: 2**exponent) | st.integers(1000, 2**30),
        pieces=st.lists(st.sampled_from([PIECE, 16384, 1448]), min_size=1, max_size=50),
        step=st.sampled_from([0.005, 0.01, 0.037]),
    )
    def test_tenSeconds(self, rate: int, pieces: list[int], step: float) -> None:
        """
        Within 10 seconds, sessions that always have something to relay get the rate, together,
        with an error of less than 5 %, whatever it is, however many they are, and whatever they
        relay at a time; be the reactor quick or not.
        """
        self.setUp()
        bucket = self.bucket(rate)
        # A session that may relay much does so many times in a turn of this reactor.
        least = int(rate * step)
        hoses = [Hose(self.clock, bucket.share(), max(piece, least)) for piece in pieces]
        self.run_(10, hoses, step)
        within(self, sum(hose.moved for hose in hoses), 10 * rate, 0.05)

    def test_fair(self) -> None:
        """
        They all get the same, whether they relay much at a time or little.
        """
        for rate in (50_000, 1_000_000, 100_000_000):
            self.setUp()
            bucket = self.bucket(rate)
            hoses = [Hose(self.clock, bucket.share(), piece) for piece in (PIECE, 16384) * 5]
            self.run_(1, hoses)
            before = [hose.moved for hose in hoses]
            self.run_(10, [])
            for hose, then in zip(hoses, before, strict=True):
                within(self, hose.moved - then, rate, 0.1)

    def shared(self, *numbers: int, rate: int = 1_000_000) -> list[list[Hose]]:
        """
        Make sessions in several processes that share a limit.

        @param numbers: how many in each of them.
        """
        descriptor = createTally(len(numbers), 64)
        self.addCleanup(os.close, descriptor)
        found = []
        for process, number in enumerate(numbers):
            tally = SharedTally(descriptor, process)
            self.addCleanup(tally.close)
            bucket = Bucket(self.clock, tally, KEY, rate)
            found.append([Hose(self.clock, bucket.share()) for _ in range(number)])
        return found

    def test_fairBetweenProcesses(self) -> None:
        """
        Sessions get the same, wherever they are, and all of the rate together.
        """
        for numbers in ((1,), (2, 2), (3, 1), (10, 1, 1)):
            processes = self.shared(*numbers)
            hoses = [hose for each in processes for hose in each]
            # The processes look at different times.
            for each in processes:
                self.run_(0.017, each, 0.001)
                for hose in each:
                    hose.moved = 0
            for _ in range(10_000):
                self.clock.advance(0.001)
            for hose in hoses:
                within(self, hose.moved, 10_000_000 / sum(numbers), 0.15)
            within(self, sum(hose.moved for hose in hoses), 10_000_000, 0.05)

    def test_othersDoNotWait(self) -> None:
        """
        Those of another process that do not relay any more keep nothing from the others; nor do
        those that have left.
        """
        (idle,), (busy,) = self.shared(1, 1)
        self.run_(1, [idle, busy])
        idle.turn = lambda: None  # type: ignore[method-assign]
        for leave in (False, True):
            busy.moved = 0
            for _ in range(1000):
                self.clock.advance(0.01)
            within(self, busy.moved, 10_000_000, 0.05)
            if not leave:
                meter: Any = idle._meter
                meter.leave()

    def test_quietAgain(self) -> None:
        """
        When nobody has waited anywhere for a moment, nobody has to.
        """
        (one,), (other,) = self.shared(1, 1)
        self.run_(1, [one, other])
        for hose in (one, other):
            hose.turn = lambda: None  # type: ignore[method-assign]
        self.clock.pump([0.05] * 10)
        for hose in (one, other):
            self.assertEqual(hose._meter.allowance(), 200_000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leftWhileWaiting(self) -> None:
        """
        One that leaves while it waits is waited for by nobody.
        """
        (one,), (other,) = self.shared(1, 1)
        self.run_(1, [one, other])
        meter: Any = one._meter
        tally = meter._bucket._tally
        self.assertEqual(tally.count(b"w" + KEY), 2)
        meter.leave()
        self.assertEqual(tally.count(b"w" + KEY), 1)

    def test_joining(self) -> None:
        """
        Who begins while others are at it gets the same from then on.
        """
        bucket = self.bucket(1_000_000)
        hoses = [Hose(self.clock, bucket.share()) for _ in range(4)]
        self.run_(5, hoses[:2])
        before = [hose.moved for hose in hoses]
        self.run_(5, hoses[2:])
        for hose, then in zip(hoses, before, strict=True):
            within(self, hose.moved - then, 1_250_000, 0.1)

    def test_twoBuckets(self) -> None:
        """
        A session with two limits is held to both, and shares each with those who have only one.
        """
        narrow = Bucket(self.clock, self.tally, b"n", 400_000)
        wide = Bucket(self.clock, self.tally, b"w", 1_000_000)
        both = [Hose(self.clock, Meters([narrow.share(), wide.share()])) for _ in range(2)]
        others = [Hose(self.clock, narrow.share()), Hose(self.clock, wide.share())]
        self.run_(10, both + others)
        within(self, sum(hose.moved for hose in [*both, others[0]]), 4_000_000, 0.05)
        within(self, sum(hose.moved for hose in [*both, others[1]]), 10_000_000, 0.05)
        self.assertGreater(min(hose.moved for hose in both), 600_000)

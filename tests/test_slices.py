"""
Tests for L{txsocks5.slices}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.slices import inSlices


class Turns(Clock):
    """
    A clock of which a call of no delay waits for the next turn.
    """

    def turn(self) -> None:
        """
        Make the calls that are due by now.
        """
        [due] = self.calls
        self.calls = []
        due.func(*due.args, **due.kw)


class InSlicesTests(SynchronousTestCase):
    """
    Tests for L{inSlices}.
    """

    def setUp(self) -> None:
        """
        Have work that takes two milliseconds for each number.
        """
        self.clock = Turns()
        self.seen: list[int] = []
        self.taking = 0.002

    def work(self, number: int) -> int:
        """
        Work.
        """
        self.seen.append(number)
        self.clock.rightNow += self.taking
        if number == 13:
            raise ZeroDivisionError
        return number

    def test_none(self) -> None:
        """
        Nothing is done at once.
        """
        self.assertEqual(self.successResultOf(inSlices(self.clock, [], self.work)), 0)

    def test_one(self) -> None:
        """
        What does not take long is done at once.
        """
        self.assertEqual(self.successResultOf(inSlices(self.clock, [4, 5], self.work)), 9)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """
        After five milliseconds others have their turn; all are seen, in their order, and none that
        is added meanwhile.
        """
        numbers = set(range(10))
        done = inSlices(self.clock, numbers, self.work)
        numbers.clear()
        numbers.add(12)
        for count in (3, 6, 9):
            self.assertEqual(self.seen, list(range(count)))
            self.assertNoResult(done)
            self.clock.turn()
        self.assertEqual(self.successResultOf(done), 45)
        self.assertEqual(self.seen, list(range(10)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long(self) -> None:
        """
        However long one takes, there is one in each turn; also if the clock is set back.
        """
        for self.taking in (1.0, -1.0):
            self.seen.clear()
            done = inSlices(self.clock, [1, 2, 3], self.work)
            for count in (1, 2, 3):
                self.assertEqual(len(self.seen), count)
                self.clock.turn()
            self.assertEqual(self.successResultOf(done), 6)

    def test_fails(self) -> None:
        """
        The first that fails is the last, in whichever turn.
        """
        done = inSlices(self.clock, [1, 2, 3, 13, 4], self.work)
        self.assertNoResult(done)
        self.clock.turn()
        self.failureResultOf(done, ZeroDivisionError)
        self.assertEqual(self.seen, [1, 2, 3, 13])
        self.assertEqual(self.clock.getDelayedCalls(), [])

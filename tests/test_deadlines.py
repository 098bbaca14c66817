"""
Tests for L{txsocks5.deadlines}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.deadlines import Deadlines


class DeadlinesTests(SynchronousTestCase):
    """
    Tests for L{Deadlines}.
    """

    def setUp(self) -> None:
        """
        Make some that are ten seconds ahead.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, 10)
        self.passed: list[str] = []

        def one() -> None:
            self.passed.append("one")

        def two() -> None:
            self.passed.append("two")

        self.one, self.two = one, two

    def test_inTurn(self) -> None:
        """
        Each passes at its time; the reactor knows of one at a time.
        """
        self.deadlines.set(self.one)
        self.clock.advance(4)
        self.deadlines.set(self.two)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(5.9)
        self.assertEqual(self.passed, [])
        self.clock.advance(0.2)
        self.assertEqual(self.passed, ["one"])
        self.clock.advance(3.8)
        self.assertEqual(self.passed, ["one"])
        self.clock.advance(0.2)
        self.assertEqual(self.passed, ["one", "two"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_together(self) -> None:
        """
        Several pass at once.
        """
        self.deadlines.set(self.one)
        self.deadlines.set(self.two)
        self.clock.advance(10)
        self.assertEqual(self.passed, ["one", "two"])

    def test_lifted(self) -> None:
        """
        One that was lifted does not pass, whenever it was; nothing is left when none is set.
        """
        self.deadlines.set(self.one)
        self.clock.advance(1)
        self.deadlines.set(self.two)
        self.deadlines.lift(self.one)
        self.clock.advance(9)
        self.assertEqual(self.passed, [])
        self.clock.advance(1)
        self.assertEqual(self.passed, ["two"])
        self.deadlines.lift(self.two)
        self.deadlines.set(self.one)
        self.deadlines.lift(self.one)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_liftedByAnother(self) -> None:
        """
        One that passes lifts another, and sets it again.
        """

        def move() -> None:
            self.deadlines.lift(self.two)
            self.deadlines.set(self.two)

        self.deadlines.set(move)
        self.deadlines.set(self.two)
        self.clock.advance(10)
        self.assertEqual(self.passed, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(10)
        self.assertEqual(self.passed, ["two"])

    def test_broken(self) -> None:
        """
        One that fails does not keep the others from passing.
        """

        def fail() -> None:
            raise ZeroDivisionError

        self.deadlines.set(fail)
        self.deadlines.set(self.one)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 10)
        self.clock.advance(0)
        self.assertEqual(self.passed, ["one"])

    def test_never(self) -> None:
        """
        There may be none.
        """
        never = Deadlines(self.clock, 0)
        never.set(self.one)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        never.lift(self.one)

    def test_stay(self) -> None:
        """
        While they come and go the delayed call is kept, and made use of; it runs out once nothing
        is set.
        """
        self.deadlines.stay()
        self.deadlines.set(self.one)
        calls = self.clock.getDelayedCalls()
        self.clock.advance(3)
        self.deadlines.lift(self.one)
        self.deadlines.set(self.two)
        self.assertEqual(self.clock.getDelayedCalls(), calls)
        self.clock.advance(9.9)
        self.assertEqual(self.passed, [])
        self.clock.advance(0.2)
        self.assertEqual(self.passed, ["two"])
        self.deadlines.set(self.one)
        self.deadlines.lift(self.one)
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """
        Nothing is left behind when they do not come any more; those that are set still pass.
        """
        self.deadlines.leave()
        self.deadlines.stay()
        self.deadlines.set(self.one)
        self.deadlines.leave()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.lift(self.one)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.stay()
        self.deadlines.set(self.one)
        self.deadlines.lift(self.one)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

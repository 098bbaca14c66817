"""
Tests for L{txsocks5.sweep}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.sweep import Idler, Sweep


class Item:
    """
    Something to be looked at.

    @ivar seen: when it was.

    @ivar then: what to do when it is looked at.
    """

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.seen: list[float] = []
        self.then = then

    def swept(self, now: float) -> None:
        """
        Note the time.
        """
        self.seen.append(now)
        if self.then is not None:
            self.then()


class SweepTests(SynchronousTestCase):
    """
    Tests for L{Sweep}.
    """

    def setUp(self) -> None:
        """
        Make a sweep.
        """
        self.clock = Clock()
        self.sweep = Sweep(self.clock)

    def test_looksOnceASecond(self) -> None:
        """
        Everything in it is looked at once a second, with the time.
        """
        items = [Item(), Item()]
        for item in items:
            self.sweep.add(item)
        self.clock.pump([0.5] * 6)
        for item in items:
            self.assertEqual(item.seen, [1.0, 2.0, 3.0])
        self.assertEqual(self.sweep.now(), 3.0)

    def test_oneTimerForAll(self) -> None:
        """
        There is one delayed call however many things there are, and however often one is added.
        """
        item = Item()
        for each in (item, Item(), item, Item()):
            self.sweep.add(each)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(item.seen, [1.0])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_noTimerForNothing(self) -> None:
        """
        When nothing is left to look at there is no delayed call.
        """
        item, other = Item(), Item()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.sweep.add(item)
        self.sweep.add(other)
        self.sweep.remove(item)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.sweep.remove(other)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.sweep.remove(other)
        self.sweep.add(item)
        self.clock.advance(1)
        self.assertEqual(item.seen, [1.0])

    def test_stays(self) -> None:
        """
        Where things come and go all the time a delayed call runs out that is not needed, and
        serves what comes meanwhile.
        """
        self.sweep.stay()
        item, other = Item(), Item()
        self.sweep.add(item)
        self.clock.advance(0.5)
        [call] = self.clock.getDelayedCalls()
        self.sweep.remove(item)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.sweep.add(other)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.clock.advance(0.5)
        self.assertEqual((item.seen, other.seen), ([], [1.0]))
        self.sweep.remove(other)
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(other.seen, [1.0])

    def test_leaves(self) -> None:
        """
        When it is not to stay any more it leaves at once, or as soon as nothing is left to look at.
        """
        item = Item()
        for meanwhile in (0, 1, 2):
            self.sweep.stay()
            if meanwhile:
                self.sweep.add(item)
            if meanwhile == 1:
                self.sweep.remove(item)
                self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.sweep.leave()
            self.assertEqual(len(self.clock.getDelayedCalls()), meanwhile // 2)
        self.clock.advance(1)
        self.assertEqual(item.seen, [1.0])
        self.sweep.remove(item)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_removedByAnother(self) -> None:
        """
        What another removes in the same sweep is not looked at any more; the last one stops the
        clock.
        """
        items: list[Item] = []

        def removeAll() -> None:
            for item in items:
                self.sweep.remove(item)

        items += [Item(removeAll) for _ in range(5)]
        for item in items:
            self.sweep.add(item)
        self.clock.advance(1)
        self.assertEqual(sum(len(item.seen) for item in items), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_addedByAnother(self) -> None:
        """
        What is added in a sweep is looked at in the next, and there is still only one timer.
        """
        late = Item()
        self.sweep.add(Item(lambda: self.sweep.add(late)))
        self.clock.advance(1)
        self.assertEqual(late.seen, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(late.seen, [2.0])

    def test_replacedByAnother(self) -> None:
        """
        If the only one leaves and another comes in the same sweep, the clock goes on.
        """
        late = Item()

        def replace() -> None:
            self.sweep.remove(first)
            self.sweep.add(late)

        first = Item(replace)
        self.sweep.add(first)
        self.clock.pump([1, 1])
        self.assertEqual((first.seen, late.seen), ([1.0], [2.0]))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_brokenByOne(self) -> None:
        """
        One that fails is looked at no more, and the others are looked at as before.
        """
        others = [Item() for _ in range(20)]

        def fail() -> None:
            raise ZeroDivisionError

        broken = Item(fail)
        for item in (*others, broken):
            self.sweep.add(item)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1)
        for _ in range(3):
            self.clock.advance(1)
        self.assertEqual(len(broken.seen), 1)
        for item in others:
            self.assertEqual(item.seen[-3:], [2.0, 3.0, 4.0])

    def test_brokenAlone(self) -> None:
        """
        If the one that fails was the only one, there is nothing left to look at.
        """

        def fail() -> None:
            raise ZeroDivisionError

        self.sweep.add(Item(fail))
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class IdlerTests(SynchronousTestCase):
    """
    Tests for L{Idler}.
    """

    def test_counts(self) -> None:
        """
        The time since the count was last seen to change is told.
        """
        idler = Idler(100.0)
        self.assertEqual(idler.idle(103.0, 0), 3.0)
        self.assertEqual(idler.idle(104.0, 7), 0.0)
        self.assertEqual(idler.idle(110.5, 7), 6.5)
        self.assertEqual(idler.idle(111.0, 8), 0.0)

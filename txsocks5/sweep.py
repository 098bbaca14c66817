"""
One clock for all that may idle too long.
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Idler", "Sweep", "Sweepable"]


class Sweepable(TypingProtocol):
    """
    Something that a L{Sweep} looks at.
    """

    def swept(self, now: float) -> None:
        """
        A second, or more, has gone by.
        """


class Sweep:
    """
    Looks at everything in it once a second.  That is coarse, and costs nothing for each
    packet: a delayed call of its own for each session would be moved with each of them.

    The clock is only used while there is something to look at, or as long as L{stay} says so.
    """

    period = 1.0

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._staying = False
        self._items: set[Sweepable] = set()
        self._next: IDelayedCall | None = None

    def now(self) -> float:
        """
        The clock's seconds.
        """
        return self._clock.seconds()

    def add(self, item: Sweepable) -> None:
        """
        Begin to look at C{item}; nothing happens if it is there already.
        """
        self._items.add(item)
        if self._next is None:
            self._next = self._clock.callLater(self.period, self._sweep)

    def remove(self, item: Sweepable) -> None:
        """
        Look at C{item} no more; nothing happens if it is not there.
        """
        self._items.discard(item)
        if not self._items and self._next is not None and not self._staying:
            self._next.cancel()
            self._next = None

    def stay(self) -> None:
        """
        Things come and go all the time now: let a delayed call run out that is not needed, which
        is cheaper than to cancel it and soon make another.
        """
        self._staying = True

    def leave(self) -> None:
        """
        Leave nothing behind when there is nothing to look at.
        """
        self._staying = False
        if not self._items and self._next is not None:
            self._next.cancel()
            self._next = None

    def _sweep(self) -> None:
        self._next = None
        now = self._clock.seconds()
        try:
            for item in list(self._items):
                if item in self._items:
                    self._look(item, now)
        finally:
            if self._items and self._next is None:
                self._next = self._clock.callLater(self.period, self._sweep)

    def _look(self, item: Sweepable, now: float) -> None:
        """
        Look at one thing.  If it fails it is looked at no more: the others must not suffer.
        """
        try:
            item.swept(now)
        except BaseException:
            self.remove(item)
            raise


class Idler:
    """
    Tells when a count has stood still for too long.
    """

    def __init__(self, now: float) -> None:
        self._count = 0
        self._since = now

    def idle(self, now: float, count: int) -> float:
        """
        Look at the count again.

        @return: for how many seconds it has not changed, as far as was seen.
        """
        if count != self._count:
            self._count = count
            self._since = now
        return now - self._since

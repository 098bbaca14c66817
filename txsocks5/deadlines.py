"""
One delayed call for many deadlines.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Deadlines"]


class Deadlines:
    """
    Deadlines that are all the same time ahead when they are set, so that they are due in the order
    in which they were set.  Setting and lifting one is an entry in a dictionary; the reactor knows
    of the first alone.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        """
        @param seconds: how far ahead they are; 0 for never.
        """
        self._clock = clock
        self._seconds = seconds
        self._due: dict[Callable[[], object], float] = {}
        self._next: IDelayedCall | None = None
        self._staying = False

    def set(self, expired: Callable[[], object]) -> None:
        """
        Set one.

        @param expired: called when it has passed.
        """
        if self._seconds:
            self._due[expired] = self._clock.seconds() + self._seconds
            if self._next is None:
                self._next = self._clock.callLater(self._seconds, self._expire)

    def lift(self, expired: Callable[[], object]) -> None:
        """
        It no longer counts; nothing happens if it never did, or has passed.
        """
        self._due.pop(expired, None)
        if not self._due and self._next is not None and not self._staying:
            self._next.cancel()
            self._next = None

    def stay(self) -> None:
        """
        They come and go all the time now: let a delayed call run out that is not needed, which is
        cheaper than to cancel it and soon make another.
        """
        self._staying = True

    def leave(self) -> None:
        """
        Leave nothing behind when none is set.
        """
        self._staying = False
        if not self._due and self._next is not None:
            self._next.cancel()
            self._next = None

    def _expire(self) -> None:
        """
        The first has passed, if it has not been lifted; and perhaps more of them.
        """
        self._next = None
        now = self._clock.seconds()
        try:
            while self._due:
                expired, due = next(iter(self._due.items()))
                if due > now:
                    break
                del self._due[expired]
                expired()
        finally:
            if self._due and self._next is None:
                first = next(iter(self._due.values()))
                self._next = self._clock.callLater(max(first - now, 0), self._expire)

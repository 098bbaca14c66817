"""
A bounded queue in front of work that is slow and needs a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.python.failure import Failure

from .errors import Overloaded

__all__ = ["Turnstile"]

_T = TypeVar("_T")


class Turnstile:
    """
    Lets some calls run at once, some more wait, and turns the others away.

    Several of these share the reactor's threads, so that one kind of work that is stuck (a
    resolver that does not answer, say) leaves threads for the others.
    """

    def __init__(self, running: int, waiting: int) -> None:
        """
        @param running: how many calls run at a time.

        @param waiting: how many more may wait.
        """
        self._semaphore = DeferredSemaphore(running)
        self._waiting = waiting

    def run(self, call: Callable[[], Deferred[_T]]) -> Deferred[_T]:
        """
        Call C{call} when it is its turn.

        @return: a Deferred that fires as that of C{call} does.  Cancelling it while it
            waits gives up the place.  A call that runs goes on, since a thread cannot be
            stopped, and keeps its place until it ends; its result is dropped.

        @raise Overloaded: too many are waiting.
        """
        if len(self._semaphore.waiting) >= self._waiting:
            raise Overloaded("too many are waiting")
        started = False

        def begin() -> Deferred[_T]:
            nonlocal started
            started = True
            return call()

        def giveUp(abandoned: Deferred[_T]) -> None:
            if not started:
                turn.cancel()

        result: Deferred[_T] = Deferred(giveUp)

        def deliver(outcome: _T | Failure) -> None:
            if not result.called:
                result.callback(outcome)

        turn = self._semaphore.run(begin)
        turn.addBoth(deliver)
        return result

"""
A bounded queue in front of work that is slow and needs a thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from .errors import Overloaded

__all__ = ["Lanes", "Turnstile"]

_T = TypeVar("_T")


class Turnstile:
    """
    Lets some calls run at once, some more wait, and turns the others away.

    Several of these share the reactor's threads, so that one kind of work that is stuck (a
    resolver that does not answer, say) leaves threads for the others.
    """

    def __init__(
        self, running: int, waiting: int, emptied: Callable[[], object] | None = None
    ) -> None:
        """
        @param running: how many calls run at a time.

        @param waiting: how many more may wait.

        @param emptied: called when a call has ended, and none runs or waits any more.

        @raise ValueError: no call could ever run.
        """
        if running < 1:
            raise ValueError("at least one call has to run")
        self._free = self._places = running
        self._emptied = emptied
        self._room = waiting
        self._waiting: OrderedDict[Deferred[Any], Callable[[], Deferred[Any]]] = OrderedDict()
        self._admitting = False

    def run(self, call: Callable[[], Deferred[_T]]) -> Deferred[_T]:
        """
        Call C{call} when it is its turn.

        @return: a Deferred that fires as that of C{call} does.  Cancelling it while it
            waits gives up the place.  A call that runs goes on, since a thread cannot be
            stopped, and keeps its place until it ends; its result is dropped.

        @raise Overloaded: too many are waiting.
        """
        if not self._free and len(self._waiting) >= self._room:
            raise Overloaded("too many are waiting")
        result: Deferred[_T] = Deferred(self._giveUp)
        self._waiting[result] = call
        self._admit()
        return result

    def _giveUp(self, result: Deferred[Any]) -> None:
        """
        Leave the queue; nothing happens if the call runs already.
        """
        self._waiting.pop(result, None)

    def _admit(self) -> None:
        """
        Let in as many as there are places.  This is a loop, and not called by itself, for many
        calls may end as soon as they begin.
        """
        if self._admitting:
            return
        self._admitting = True
        while self._free and self._waiting:
            result, call = self._waiting.popitem(last=False)
            self._free -= 1
            maybeDeferred(call).addBoth(self._ended, result)
        self._admitting = False

    def _ended(self, outcome: Any, result: Deferred[Any]) -> None:
        """
        A call has ended.

        @param outcome: its result, or a failure.
        """
        self._free += 1
        if not result.called:
            result.callback(outcome)
        self._admit()
        if self._emptied is not None and self.isIdle:
            self._emptied()

    @property
    def isIdle(self) -> bool:
        """
        Whether no call runs or waits.
        """
        return self._free == self._places and not self._waiting


class Lanes:
    """
    A L{Turnstile} for each of those who want something, which is there as long as it is used.  In
    front of one for all, this keeps any of them from taking all of its places.
    """

    def __init__(self, running: int, waiting: int) -> None:
        """
        @param running: how many calls of each run at a time.

        @param waiting: how many more of each may wait.
        """
        self._running = running
        self._waiting = waiting
        self._lanes: dict[Hashable, Turnstile] = {}

    def run(self, key: Hashable, call: Callable[[], Deferred[_T]]) -> Deferred[_T]:
        """
        Call C{call} when it is its turn; see L{Turnstile.run}.

        @param key: tells who wants it.

        @raise Overloaded: too many of these are waiting.
        """
        lane = self._lanes.get(key)
        if lane is None:
            emptied = partial(self._tidy, key)
            lane = self._lanes[key] = Turnstile(self._running, self._waiting, emptied)
        return lane.run(call)

    def _tidy(self, key: Hashable) -> None:
        """
        A lane is not used any more, unless somebody who has heard of that has used it again.
        """
        lane = self._lanes.get(key)
        if lane is not None and lane.isIdle:
            del self._lanes[key]

    def __len__(self) -> int:
        """
        How many there are that want something.
        """
        return len(self._lanes)

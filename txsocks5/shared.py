"""
One piece of work for all who want the same at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["Shared"]

_T = TypeVar("_T")


@attrs.define(eq=False)
class _Call:
    """
    A call that has not ended.

    @ivar waiting: who wants to hear of it, in the order of coming.

    @ivar running: what it has returned.
    """

    waiting: dict[Deferred[Any], None] = attrs.field(factory=dict)
    running: Deferred[Any] | None = None


class Shared:
    """
    Lets those who come while a call runs have the result of that call.  What has ended is
    forgotten.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call] = {}

    def run(self, key: Hashable, call: Callable[[], Deferred[_T]]) -> Deferred[_T]:
        """
        Call C{call}, unless a call for this key runs already.

        @return: a Deferred that fires as that of the call does.  Cancelling it leaves the call to
            the others that wait for it; when the last one has gone, the call is cancelled.
        """
        common = self._calls.get(key)
        isFirst = common is None
        common = common or _Call()
        result: Deferred[_T] = Deferred(partial(self._leave, key, common))
        common.waiting[result] = None
        if isFirst:
            self._calls[key] = common
            common.running = maybeDeferred(call)
            common.running.addBoth(self._ended, key, common)
        return result

    def _leave(self, key: Hashable, common: _Call, result: Deferred[Any]) -> None:
        """
        Somebody does not want to hear of a call any more.
        """
        common.waiting.pop(result, None)
        if not common.waiting and self._calls.get(key) is common and common.running is not None:
            # Whoever comes from now on must not wait for what is being cancelled.
            del self._calls[key]
            common.running.cancel()

    def _ended(self, outcome: Any, key: Hashable, common: _Call) -> None:
        """
        A call has ended.

        @param outcome: its result, or a failure.
        """
        if self._calls.get(key) is common:
            del self._calls[key]
        waiting, common.waiting = common.waiting, {}
        for result in waiting:
            if not result.called:
                result.callback(outcome)

"""
What names have led to, remembered for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed

from .errors import NameNotResolved
from .wire import IPAddress

__all__ = ["Answers"]

_MOST = 10_000

_Entry = tuple[float, float, Sequence[IPAddress] | NameNotResolved]
"""
Since when, and until when, a name has led to something.
"""


class Answers:
    """
    The answers of the last time, no more than 10,000; beyond that the oldest is forgotten.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """
        @param now: tells the time in seconds.  If it goes back, what it leaves behind is forgotten.
        """
        self._now = now
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def keep(
        self, name: str, outcome: Sequence[IPAddress] | NameNotResolved, seconds: float
    ) -> None:
        """
        Remember what a name has led to.
        """
        now = self._now()
        self._entries.pop(name, None)
        self._entries[name] = (now, now + seconds, outcome)
        if len(self._entries) > _MOST:
            self._entries.popitem(last=False)

    def recall(self, name: str) -> Deferred[Sequence[IPAddress]] | None:
        """
        What a name has led to, as if it had just been found out; L{None} if that is not known, or
        not any longer.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        since, until, outcome = entry
        if not since <= self._now() < until:
            del self._entries[name]
            return None
        if isinstance(outcome, NameNotResolved):
            # A new one: those who raise an error write into it from where.
            return fail(type(outcome)(*outcome.args))
        return succeed(outcome)

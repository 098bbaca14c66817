"""
What makes guessing passwords slow.
"""

from __future__ import annotations

from collections import deque
from ipaddress import IPv6Address

import attrs
from twisted.internet.interfaces import IReactorTime

from .config import Failures
from .wire import IPAddress

__all__ = ["Throttle"]

_MAX_DELAY = 8.0
_MAX_SOURCES = 10_000


@attrs.define
class _Source:
    """
    One address's recent failures.

    @ivar times: when they were, the oldest first; as many as the limit at the most.

    @ivar row: how many there were since the last success.
    """

    times: deque[float] = attrs.field(factory=deque)
    row: int = 0


class Throttle:
    """
    Remembers failures by source address; those of an IPv6 /64 count together.  Nothing that
    happens at one address touches another, so nobody can lock out somebody else.

    The memory is bounded: beyond 10,000 addresses, the one that failed longest ago is
    forgotten.
    """

    def __init__(self, clock: IReactorTime, failures: Failures) -> None:
        self._clock = clock
        self._failures = failures
        self._sources: dict[object, _Source] = {}

    @staticmethod
    def _key(client: IPAddress | None) -> object:
        if isinstance(client, IPv6Address):
            return client.packed[:8]
        return client

    def _recent(self, client: IPAddress | None) -> _Source | None:
        """
        The failures of an address that still count.
        """
        key = self._key(client)
        source = self._sources.get(key)
        if source is None:
            return None
        begin = self._clock.seconds() - self._failures.window
        while source.times and source.times[0] <= begin:
            source.times.popleft()
        if not source.times:
            del self._sources[key]
            return None
        return source

    def exhausted(self, client: IPAddress | None) -> bool:
        """
        Whether an address has failed so often that it is not even heard.
        """
        source = self._recent(client)
        limit = self._failures.limit
        return bool(limit) and source is not None and len(source.times) >= limit

    def failed(self, client: IPAddress | None) -> float:
        """
        Count a failure.

        @return: for how many seconds to keep the client waiting for the refusal.
        """
        source = self._recent(client) or _Source()
        key = self._key(client)
        # The dict keeps the order of insertion: the longest quiet comes first.
        self._sources.pop(key, None)
        self._sources[key] = source
        if len(self._sources) > _MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        source.times.append(self._clock.seconds())
        # Without a limit only the last one counts, which tells how long to remember the row.
        if len(source.times) > max(self._failures.limit, 1):
            source.times.popleft()
        source.row += 1
        return min(
            self._failures.delay * 2.0 ** min(source.row - 1, 30),
            max(_MAX_DELAY, self._failures.delay),
        )

    def succeeded(self, client: IPAddress | None) -> None:
        """
        Start the delay of an address afresh.  Its failures still count towards the limit,
        so that one good password does not buy any number of guesses.
        """
        source = self._recent(client)
        if source is not None:
            source.row = 0

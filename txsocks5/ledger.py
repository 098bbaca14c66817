"""
Who has taken how much of what is limited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from . import events
from .config import Group, Limits, Rule, User
from .errors import NotAllowed, OverLimit, Overloaded
from .interfaces import Question
from .roster import Roster
from .tally import LocalTally, Tally, originOf
from .wire import IPAddress

__all__ = ["Holding", "Ledger"]

_REPORTS = 10
"""
Seconds between two reports that connections were turned away.
"""


class Holding:
    """
    What one session has taken.  It belongs to whoever does the session's request.
    """

    __slots__ = ("_keys", "_tally")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._keys: list[bytes] = []

    def take(self, key: bytes, limit: int) -> bool:
        """
        Count this session among those of a key.

        @return: whether there were less than C{limit}.
        """
        if not self._tally.take(key, limit):
            return False
        self._keys.append(key)
        return True

    def release(self) -> None:
        """
        The session is over; nothing happens if it has been before.
        """
        keys, self._keys = self._keys, []
        for key in keys:
            self._tally.give(key)


class Ledger:
    """
    Holds the clients of a server to their limits.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits | None = None,
        users: Mapping[str, User] | None = None,
        groups: Mapping[str, Group] | None = None,
        *,
        tally: Tally | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param limits: those for all.

        @param users: what is special about some of them, by name.

        @param groups: what some have in common, by the group's name.

        @param tally: where to count; by default, in this process alone.

        @param now: tells the time of the calendar, in seconds since 1970 in UTC.
        """
        self._clock = clock
        self._limits = limits or Limits()
        self._roster = Roster(self._limits, users or {}, groups or {})
        self._tally: Tally = LocalTally() if tally is None else tally
        self._now = now
        # Connections that were turned away and have not been reported, and when the next report
        # is due.
        self._unreported = 0
        self._reportDue = 0.0

    def enter(self, client: IPAddress | None) -> bytes:
        """
        A client has connected, and is still to say who it is and what it wants.

        @param client: where it connects from; L{None} for a UNIX socket, which has no limit.

        @return: what to call L{leave} with when it has, or is gone; empty if nothing was counted.

        @raise OverLimit: its address has too many such connections (S-11).
        """
        limit = self._limits.handshakesPerAddress
        if not limit or client is None:
            return b""
        key = b"h" + originOf(client)
        if not self._tally.take(key, limit):
            self._turnAway(client, limit)
            raise OverLimit(f"limit: {limit} unauthenticated connections of {client}")
        return key

    def leave(self, key: bytes) -> None:
        """
        A client has said what it wants, or is gone.

        @param key: from L{enter}.
        """
        if key:
            self._tally.give(key)

    def _turnAway(self, client: IPAddress, limit: int) -> None:
        """
        Report that connections are turned away, but not each of them: whoever floods the server
        shall not flood its log.
        """
        self._unreported += 1
        now = self._clock.seconds()
        if now >= self._reportDue:
            events.crowded.emit(self._log, client=str(client), limit=limit, count=self._unreported)
            self._unreported = 0
            self._reportDue = now + _REPORTS

    def hold(self, question: Question, rule: Rule | None) -> Holding:
        """
        Policy has allowed a request: count its session.

        @param rule: what has allowed it, if that was a rule.

        @return: what is to be released when the session is over.

        @raise NotAllowed: the user's time is over.

        @raise OverLimit: the user, the address or the rule has reached its limit.

        @raise Overloaded: the server has.
        """
        name = question.identity.name
        entitled = self._roster.entitlement(name)
        if entitled.expires is not None and _timestamp(entitled.expires) <= self._now():
            raise NotAllowed(f"user {name!r} has expired: {entitled.expires.isoformat()}")
        holding = Holding(self._tally)
        try:
            self._count(holding, question.client, name, entitled.sessions, rule)
        except Exception:
            holding.release()
            raise
        return holding

    def _count(
        self, holding: Holding, client: IPAddress | None, name: str, own: int, rule: Rule | None
    ) -> None:
        """
        Count a session wherever there is a limit.

        @param own: how many sessions the user may have.

        @raise OverLimit: see L{hold}, for this and the other errors.
        """
        limits = self._limits
        each = limits.sessionsPerAddress
        if each and client is not None and not holding.take(b"a" + originOf(client), each):
            raise OverLimit(f"limit: {each} sessions of {client}")
        if own and not holding.take(b"u" + name.encode("utf-8", "surrogatepass"), own):
            raise OverLimit(f"limit: {own} sessions of {_called(name)}")
        if rule is not None and rule.sessions:
            key = b"r" + rule.name.encode("utf-8", "surrogatepass")
            if not holding.take(key, rule.sessions):
                raise OverLimit(f"limit: {rule.sessions} sessions by rule {rule.name!r}")
        if limits.sessions and not holding.take(b"s", limits.sessions):
            raise Overloaded(f"limit: {limits.sessions} sessions of the server")


def _called(name: str) -> str:
    """
    What a user is called in the log.
    """
    return f"user {name!r}" if name else "users without a name"


def _timestamp(moment: datetime) -> float:
    """
    Seconds since 1970 in UTC; a time without a zone is one of UTC.
    """
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

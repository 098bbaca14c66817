"""
Observers that keep what they see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from ..interfaces import (
    IRelayObserver,
    IRelayTap,
    Question,
)
from ..wire import Address

#: What Twisted adds to an event for observers of the old kind.
_LEGACY = frozenset(("failure", "format", "isError", "message", "system", "time", "why"))


@implementer(IRelayTap)
class _RecordedSession:
    """
    The traffic of one session.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.passages: list[tuple[bool, Address, bytes]] = []
        self.totals: list[tuple[int, int]] = []

    def passed(self, fromClient: bool, peer: Address, data: bytes) -> None:
        """
        Keep what passes.
        """
        self.passages.append((fromClient, peer, data))

    def ended(self, fromClient: int, toClient: int) -> None:
        """
        Keep the sums.
        """
        self.totals.append((fromClient, toClient))


@implementer(IRelayObserver)
class RecordedTraffic:
    """
    An observer of relays that keeps everything.

    @ivar looking: whether it wants to see the data of a session that begins.

    @ivar questions: the session that have begun.

    @ivar sessions: those it has looked at, each with its C{question}, its C{passages} (whether
        from the client, the peer, the data) and its C{totals} (octets from the client, octets to
        it; one item when it has ended).
    """

    def __init__(self) -> None:
        self.looking = True
        self.questions: list[Question] = []
        self.sessions: list[_RecordedSession] = []

    def began(self, question: Question) -> IRelayTap | None:
        """
        A session begins.
        """
        self.questions.append(question)
        if not self.looking:
            return None
        session = _RecordedSession(question)
        self.sessions.append(session)
        return session


class _Cleaner(Protocol):
    """
    What is needed of a test case.
    """

    def addCleanup(self, f: Callable[[], object], /) -> object:
        """
        Call C{f} when the test is over.
        """


@implementer(ILogObserver)
class RecordedEvents:
    """
    The events of L{txsocks5.events} that are logged during a test.

    @ivar events: all of them, in order.
    """

    def __init__(self, case: _Cleaner) -> None:
        """
        @param case: the test; recording ends with it.
        """
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self)
        case.addCleanup(lambda: globalLogPublisher.removeObserver(self))

    def __call__(self, event: LogEvent) -> None:
        """
        Keep an event.
        """
        if "socks_event" in event:
            self.events.append({key: event[key] for key in event if key not in _LEGACY})

    @property
    def names(self) -> list[str]:
        """
        The names of the events.
        """
        return [event["socks_event"] for event in self.events]

    def named(self, name: str) -> list[LogEvent]:
        """
        The events of one name.
        """
        return [event for event in self.events if event["socks_event"] == name]

    def one(self, name: str) -> LogEvent:
        """
        The only event of a name.

        @raise AssertionError: there are none, or several.
        """
        found = self.named(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events {name!r} among {self.names}")
        return found[0]

    def text(self) -> str:
        """
        All events as a log file shows them, one a line.
        """
        return "\n".join(formatEvent(event) for event in self.events)

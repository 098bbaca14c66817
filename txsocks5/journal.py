"""
What is written down about each session.
"""

from __future__ import annotations

from twisted.logger import Logger
from zope.interface import implementer

from . import events
from .interfaces import IJournal, Record

__all__ = ["EventJournal", "Unwritten"]


@implementer(IJournal)
class EventJournal:
    """
    Tells the log of Twisted about each step.
    """

    _log = Logger()

    def opened(self, record: Record) -> None:
        """
        See L{IJournal.opened}.
        """
        client = "unix" if record.client is None else str(record.client)
        events.opened.emit(self._log, session=record.session, client=client)

    def authenticated(self, record: Record) -> None:
        """
        See L{IJournal.authenticated}.
        """
        events.authenticated.emit(
            self._log, session=record.session, user=record.user, method=record.method
        )

    def granted(self, record: Record) -> None:
        """
        See L{IJournal.granted}.
        """
        events.granted.emit(
            self._log,
            session=record.session,
            command=record.command,
            destination=str(record.destination),
            reason=record.reason,
            address=str(record.reached),
        )

    def closed(self, record: Record) -> None:
        """
        See L{IJournal.closed}.
        """
        events.closed.emit(
            self._log,
            session=record.session,
            duration=record.duration,
            reason=record.ended,
            fromClient=record.fromClient,
            toClient=record.toClient,
            dropped=record.dropped,
        )


@implementer(IJournal)
class Unwritten:
    """
    Writes nothing down.
    """

    def opened(self, record: Record) -> None:
        """
        Nothing.
        """

    authenticated = granted = closed = opened

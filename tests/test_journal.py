"""
Tests for L{txsocks5.journal}.
"""

from __future__ import annotations

import errno
import os
from ipaddress import ip_address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txsocks5.interfaces import IJournal, Record, Refused, Step
from txsocks5.journal import EventJournal, Unwritten
from txsocks5.testing import RecordedEvents, ScriptedAuthenticator
from txsocks5.wire import Address

from .served import CONNECT, GRANTED, GREETING, SELECTED, ServedTestCase


class JournalTests(SynchronousTestCase):
    """
    Tests for the journals.
    """

    def test_interface(self) -> None:
        """
        They are journals.
        """
        for journal in (EventJournal(), Unwritten()):
            verifyObject(IJournal, journal)

    def test_unwritten(self) -> None:
        """
        One writes nothing.
        """
        events = RecordedEvents(self)
        record = Record(1, 0.0)
        journal = Unwritten()
        for write in (journal.opened, journal.authenticated, journal.granted, journal.closed):
            write(record)
        self.assertEqual(events.events, [])

    def test_clients(self) -> None:
        """
        A client is an address, or somebody at a UNIX socket.
        """
        events = RecordedEvents(self)
        journal = EventJournal()
        journal.opened(Record(1, 0.0))
        journal.opened(Record(2, 0.0, Address(ip_address("::1"), 5)))
        self.assertEqual([event["client"] for event in events.events], ["unix", "[::1]:5"])


@implementer(IJournal)
class Kept:
    """
    A journal that keeps what it is told.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.record: Record | None = None

    def opened(self, record: Record) -> None:
        """
        Keep it.
        """
        self.steps.append("opened")

    def authenticated(self, record: Record) -> None:
        """
        Keep it.
        """
        self.steps.append(f"authenticated {record.method}")

    def granted(self, record: Record) -> None:
        """
        Keep it.
        """
        self.steps.append(f"granted {record.command}")

    def closed(self, record: Record) -> None:
        """
        Keep it, and all there is to tell.
        """
        self.steps.append("closed")
        self.record = record


class ServerTests(ServedTestCase):
    """
    A server with a journal, and without one.
    """

    def test_default(self) -> None:
        """
        Whoever brings none has the events of each session in the log of Twisted.
        """
        caller, target = self.connected()
        target.close()
        caller.close()
        self.flush()
        self.assertEqual(self.events.names, ["opened", "authenticated", "granted", "closed"])

    def test_given(self) -> None:
        """
        A journal is told instead; in the end there is all to tell.
        """
        journal = Kept()
        caller = self.call(self.serve(journal=journal))
        caller.say(GREETING + CONNECT)
        target = self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        caller.say(b"octets")
        target.send(b"answer!")
        self.flush()
        self.reactor.advance(2)
        target.close()
        caller.close()
        self.flush()
        self.assertEqual(journal.steps, ["opened", "authenticated 0", "granted CONNECT", "closed"])
        record = journal.record
        assert record is not None and record.question is not None
        self.assertEqual((record.fromClient, record.toClient, record.dropped), (6, 7, 0))
        self.assertEqual((record.reply, record.duration), (0, 2.0))
        self.assertEqual(str(record.destination), "192.0.2.7:80")
        self.assertEqual(self.events.names, [])

    def test_nothingAsked(self) -> None:
        """
        A client that goes without a word has a record, too.
        """
        journal = Kept()
        caller = self.call(self.serve(journal=journal))
        caller.close()
        self.flush()
        self.reactor.advance(5)
        self.flush()
        self.assertEqual(journal.steps, ["opened", "closed"])
        record = journal.record
        assert record is not None
        self.assertEqual((record.command, record.reply, record.method), ("request", None, 255))

    def ended(self, *said: bytes, seconds: float = 0.0, **options: Any) -> Record:
        """
        What there is to tell of a client that says something, and goes when the server does.
        """
        journal = Kept()
        caller = self.call(self.serve(journal=journal, **options))
        for octets in said:
            caller.say(octets)
        self.reactor.advance(seconds)
        self.flush()
        caller.abort()
        self.flush()
        assert journal.record is not None
        return journal.record

    def test_notServed(self) -> None:
        """
        Of a client that is not served the reason is told that the server's log has.
        """
        refused = ScriptedAuthenticator(Step(0, b"", Refused("wrong password", "alice")))
        record = self.ended(b"\x05\x01\x81", authenticators=[refused])
        self.assertEqual((record.reason, record.ended), ("wrong password", "not authenticated"))
        self.assertEqual(self.events.one("unauthenticated")["reason"], record.reason)
        record = self.ended(b"\x05\x01\x77")
        self.assertEqual(record.reason, "no acceptable method offered")
        self.assertEqual(self.events.named("unauthenticated")[-1]["reason"], record.reason)
        record = self.ended(b"\x04\x01")
        self.assertIn(self.events.one("malformed")["reason"], record.reason)

    def test_alwaysAReason(self) -> None:
        """
        Where there is no better reason, it is why the session ended.
        """
        for record in (
            self.ended(GREETING, seconds=60),
            self.ended(GREETING),
            self.ended(GREETING, CONNECT),
            self.ended(),
        ):
            self.assertTrue(record.reason)
            self.assertEqual(record.reason, record.ended)

    def test_plainWords(self) -> None:
        """
        What the system says is told in plain words, here and in the server's log.
        """
        journal = Kept()
        for given in ({"journal": journal}, {}):
            caller = self.call(self.serve(**given))
            caller.say(GREETING + CONNECT)
            self.dialer.dials[-1].result.errback(
                OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            )
            self.flush()
            caller.close()
            self.flush()
        assert journal.record is not None
        self.assertEqual(journal.record.reason, "connection refused")
        self.assertEqual(self.events.named("refused")[-1]["reason"], "connection refused")

"""
Tests for L{txsocks5.sessions}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import WrappingFactory

from txsocks5.config import Timeouts
from txsocks5.interfaces import Verdict
from txsocks5.testing import RecordingPeer, ScriptedPolicy
from txsocks5.wire import Address

from .served import (
    ASSOCIATE,
    BIND,
    CONNECT,
    GRANTED,
    GREETING,
    SELECTED,
    Caller,
    ReconfiguredTestCase,
    ServedTestCase,
    raises,
)


class StopTests(ServedTestCase):
    """
    Tests for a server that stops.
    """

    def test_nothingToStop(self) -> None:
        """
        Without clients it has stopped at once.
        """
        self.successResultOf(self.serve().stopSessions())

    def test_everything(self) -> None:
        """
        Wherever a session is, it ends, both of its sides are reset, and the Deferred fires when
        all have ended.
        """
        factory = self.serve()
        callers: list[Caller] = []
        for said in (b"", b"\x05", GREETING, GREETING + CONNECT, GREETING + BIND, b"\x05\x01\x7f"):
            callers.append(self.call(factory))
            callers[-1].say(said)
        relayed = self.call(factory)
        relayed.say(GREETING + CONNECT)
        target = self.answer()
        associated = self.call(factory)
        associated.say(GREETING + ASSOCIATE)
        stopped, again = factory.stopSessions(), factory.stopSessions()
        self.assertNoResult(stopped)
        self.flush()
        self.successResultOf(stopped)
        self.successResultOf(again)
        self.assertReset(target)
        for caller in (*callers[:-1], relayed, associated):
            self.assertReset(caller)
        self.assertTrue(self.dialer.dials[0].cancelled)
        self.assertOver(factory)
        reasons = {event["reason"] for event in self.events.named("closed")}
        self.assertEqual(reasons, {"server stopped", "no acceptable method"})

    def test_servesOn(self) -> None:
        """
        Clients that come later are served; stopping is up to whoever listens.
        """
        factory = self.serve()
        self.call(factory)
        factory.stopSessions()
        self.flush()
        caller = self.call(factory)
        caller.say(GREETING)
        self.assertEqual(caller.answers, [SELECTED])
        stopped = factory.stopSessions()
        self.flush()
        self.successResultOf(stopped)

    def test_turnAway(self) -> None:
        """
        Only those end who have come by the listener, whatever a PROXY header says, and have made no
        request.
        """
        factory = self.serve()
        silent, relaying = self.call(factory), self.call(factory)
        relaying.say(GREETING + CONNECT)
        unix = self.call(factory, clientAddress=UNIXAddress(None), serverAddress=UNIXAddress("/s"))
        wrapping = WrappingFactory(factory)
        wrapping.protocol = HAProxyProtocolWrapper
        proxied = self.call(wrapping)  # type: ignore[arg-type]
        proxied.say(b"PROXY TCP4 198.51.100.1 198.51.100.2 1000 2000\r\n" + GREETING)
        for host, port in (("203.0.113.6", 1080), ("203.0.113.5", 1081), ("198.51.100.2", 2000)):
            factory.sessions.turnAway([Address(ip_address(host), port)])
        self.flush()
        self.assertEqual(len(factory.sessions), 4)
        factory.sessions.turnAway([Address(ip_address("0.0.0.0"), 1080)])
        self.flush()
        self.assertReset(silent)
        self.assertReset(proxied)
        self.assertEqual((relaying.lost, unix.lost), (None, None))
        factory.sessions.turnAway([b"/t"])
        self.flush()
        self.assertIsNone(unix.lost)
        factory.sessions.turnAway([b"/s"])
        self.flush()
        self.assertReset(unix)

    def test_drain(self) -> None:
        """
        Stopping waits for sessions, but not for longer than it is told to.
        """
        factory = self.serve()
        self.successResultOf(factory.sessions.drain(5))
        silent = self.call(factory)
        first, second = self.call(factory), self.call(factory)
        for caller in (first, second):
            caller.say(GREETING + CONNECT)
        drained = factory.sessions.drain(5)
        self.flush()
        self.assertReset(silent)
        self.assertEqual(len(factory.sessions), 2)
        first.abort()
        self.advance(4)
        self.assertNoResult(drained)
        self.advance(1)
        self.successResultOf(drained)
        self.assertOver(factory)
        last = self.call(factory)
        last.say(GREETING + CONNECT)
        drained = factory.sessions.drain(5)
        last.abort()
        self.flush()
        self.successResultOf(drained)
        self.assertOver(factory)

    def test_drainAtOnce(self) -> None:
        """
        With no time to wait for them all end at once.
        """
        factory = self.serve()
        callers = [self.call(factory) for _ in range(2)]
        callers[1].say(GREETING + CONNECT)
        drained = factory.sessions.drain(0)
        self.flush()
        self.successResultOf(drained)
        for caller in callers:
            self.assertReset(caller)
        self.assertOver(factory)

    def test_drainForEver(self) -> None:
        """
        With no end to the waiting none ends that has made its request, and no clock runs.
        """
        factory = self.serve(timeouts=Timeouts(connect=0))
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        drained = factory.sessions.drain(None)
        self.flush()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertNoResult(drained)
        caller.abort()
        self.flush()
        self.successResultOf(drained)
        self.assertOver(factory)

    def test_endedWithAnother(self) -> None:
        """
        A session may end with one that is looked at before it.
        """
        factory = self.serve()
        for _ in range(2):
            self.call(factory).say(GREETING)

        def stands(*arguments: Any) -> bool:
            for session in list(factory.sessions):
                factory.sessions.left(session)
            return True

        self.patch(factory, "stands", stands)
        self.assertEqual(self.successResultOf(factory.sessions.review()), 0)


class ReviewTests(ReconfiguredTestCase):
    """
    Tests for the review of all sessions when the server begins to serve in another way.
    """

    def test_many(self) -> None:
        """
        Thousands of sessions do not make the others wait until all have been judged: each turn of
        the reactor brings some.  None escapes by what happens to it in between, and those that
        begin meanwhile are not looked at.
        """
        factory = self.serve()
        relaying, connecting, asking = ([self.call(factory) for _ in range(8)] for _ in range(3))
        for caller in relaying:
            caller.say(GREETING + CONNECT)
            self.answer()
        for caller in connecting:
            caller.say(GREETING + CONNECT)
        for caller in asking:
            caller.say(GREETING)
        stricter, callLater = ScriptedPolicy(), self.reactor.callLater
        turns: list[int] = [0]

        def judgeRequest(question: Any) -> Verdict:
            turns[-1] += 1
            self.reactor.rightNow += 0.001
            return Verdict(False, "rule 2")

        self.patch(stricter, "judgeRequest", judgeRequest)
        reviewed = self.reconfiguring(factory, policy=stricter)
        self.assertNoResult(reviewed)
        new = self.call(factory)
        new.say(GREETING)
        for caller in asking:
            caller.say(CONNECT)
        for dial in self.dialer.dials[8:]:
            if not dial.cancelled:
                dial.accept(RecordingPeer())
        self.flush()

        def inTurn(*call: Any) -> Any:
            turns.append(0)
            return callLater(*call)

        self.patch(self.reactor, "callLater", inTurn)
        self.reactor.advance(0)
        self.flush()
        self.successResultOf(reviewed)
        self.assertGreater(len(turns), 2)
        self.assertLessEqual(max(turns[1:]), 5)
        for caller in relaying:
            self.assertReset(caller)
        for caller in (*connecting, *asking):
            self.assertNotIn(GRANTED, caller.answers)
        self.assertEqual(len(self.traffic.questions), 8)
        self.assertIsNone(new.lost)

    def test_broken(self) -> None:
        """
        If judging a session anew fails it ends, and so do the others that have to; the same if
        ending it fails.
        """
        factory = self.serve()
        callers = [self.call(factory) for _ in range(3)]
        for caller in callers:
            caller.say(GREETING + CONNECT)
        self.patch(self.policy, "judgeRequest", raises(ZeroDivisionError()))
        self.assertEqual(self.reconfigure(factory), 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        for caller in callers:
            self.assertReset(caller)
        callers = [self.call(factory) for _ in range(3)]
        for session in factory.sessions:
            self.patch(session, "stop", raises(ZeroDivisionError()))
        factory.sessions.drain(5)
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertOver(factory)

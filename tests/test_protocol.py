"""
Tests for L{txsocks5.protocol}.
"""

from __future__ import annotations

import gc
import weakref
from ipaddress import IPv4Address, ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import WrappingFactory
from zope.interface.verify import verifyObject

from txsocks5 import Anonymous, PasswordAuthenticator, SOCKS5Factory
from txsocks5.config import Limits, Quota, Timeouts
from txsocks5.errors import Overloaded
from txsocks5.events import EVENTS
from txsocks5.interfaces import IAuthenticator, Step, Verdict
from txsocks5.ledger import Ledger
from txsocks5.protocol import SOCKS5Protocol
from txsocks5.testing import (
    MemoryConnection,
    MemoryTransport,
    PrivateAuthenticator,
    PrivateProtection,
    RecordingPeer,
    ScriptedAuthenticator,
)
from txsocks5.wire import Address

from .accepted import AcceptedFixture, addressOf
from .served import (
    ASSOCIATE,
    BIND,
    CONNECT,
    CONNECT_NAME,
    GRANTED,
    GREETING,
    OUTGOING,
    SELECTED,
    Caller,
    ReconfiguredTestCase,
    ServedTestCase,
    accepted,
    failure,
    raises,
)
from .wire.values import reproducible


class TransportTests(ServedTestCase):
    """
    Tests for what the protocol learns from its transport.
    """

    def test_halfCloseable(self) -> None:
        """
        The protocol hears of half-closes.
        """
        verifyObject(IHalfCloseableProtocol, self.serve().buildProtocol(None))

    def test_clientWithoutAddress(self) -> None:
        """
        A client whose address nobody knows is served like one at a UNIX socket.
        """
        caller = self.call(self.serve(), clientAddress=UNIXAddress(""))
        caller.say(GREETING)
        self.assertEqual(caller.answers, [SELECTED])


class AcceptedTests(AcceptedFixture):
    """
    Tests for a client that has no transport.
    """

    def test_served(self) -> None:
        """
        It is known where it comes from, and where it has arrived, before it has said anything; and
        then it is served.
        """
        factory = self.serve()
        caller = self.call()
        self.until(lambda: factory.sessions)
        here = addressOf(caller.socket.getsockname())
        self.assertEqual(self.events.one("opened")["client"], str(here))
        [session] = factory.sessions
        self.assertEqual(session.arrivedAt(), addressOf(caller.socket.getpeername()))
        caller.send(GREETING)
        self.hear(caller, SELECTED)
        self.assertEqual(self.policy.clients, [here.host])
        caller.abort()
        self.until(lambda: not factory.sessions)
        self.assertEqual(self.events.names, ["opened", "authenticated", "closed"])


class MethodTests(ServedTestCase):
    """
    Tests for the choice of a method.
    """

    def test_serversPreference(self) -> None:
        """
        The server's order decides, not the client's (R-1928-10).
        """
        first, second = ScriptedAuthenticator(method=0x82), ScriptedAuthenticator(method=0x81)
        factory = self.serve(first, second)
        for offered in (b"\x81\x82", b"\x82\x81", b"\x00\x81\x82\xff\x82"):
            caller = self.call(factory)
            caller.say(bytes((5, len(offered))) + offered)
            self.assertEqual(caller.answers, [b"\x05\x82"])
        caller = self.call(factory)
        caller.say(b"\x05\x02\x00\x81")
        self.assertEqual(caller.answers, [b"\x05\x81"])

    def test_admittedWithoutAuthentication(self) -> None:
        """
        Method C{00} is only selected if policy admits the client; otherwise it is as if it had not
        been offered (R-1928-11).
        """
        factory = self.serve(Anonymous(), ScriptedAuthenticator())
        self.policy.client = Verdict(False, "rule 1")
        caller = self.call(factory)
        caller.say(b"\x05\x02\x00\x81")
        self.assertEqual(caller.answers, [b"\x05\x81"])
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [b"\x05\xff"])
        self.assertTrue(caller.finished)
        self.assertEqual(self.policy.clients, [IPv4Address("192.0.2.1")] * 2)
        self.assertEqual(self.events.one("unauthenticated")["reason"], "rule 1")

    def test_authenticatorIsToldTheClient(self) -> None:
        """
        An authenticator learns where the client connects from; a UNIX socket is nowhere.
        """
        method = ScriptedAuthenticator()
        factory = self.serve(method)
        self.call(factory).say(b"\x05\x01\x81")
        address = IPv6Address("TCP", "::ffff:192.0.2.9", 5)
        self.call(factory, clientAddress=address).say(b"\x05\x01\x81")
        unix = self.call(factory, clientAddress=UNIXAddress(None), serverAddress=UNIXAddress("/s"))
        unix.say(b"\x05\x01\x81")
        self.assertEqual([str(c) for c in method.clients], ["192.0.2.1", "192.0.2.9", "None"])
        self.assertEqual(self.events.named("opened")[-1]["client"], "unix")

    def test_brokenAuthenticator(self) -> None:
        """
        An authenticator with a fault, which cannot begin, lets nobody in: the connection ends, and
        the fault is logged (S-01).
        """
        method = ScriptedAuthenticator()
        self.patch(method, "conversation", lambda client: 1 / 0)
        factory = self.serve(method)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x81" + CONNECT)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(caller.answers, [b"\x05\x81"])
        self.assertEqual(self.events.one("broken")["session"], 1)
        self.assertClosed(caller)
        self.assertEqual(self.dialer.dials, [])
        self.assertOver(factory)

    def test_noSuchMethod(self) -> None:
        """
        A method that no client could select is a mistake that is told at once; so are two
        authenticators for one method.
        """
        for methods in ((0xFF,), (-1,), (256,), (0x80, 0x81, 0x80)):
            authenticators = [ScriptedAuthenticator(method=method) for method in methods]
            self.assertRaises(ValueError, self.serve, *authenticators)
        self.serve(*[ScriptedAuthenticator(method=method) for method in (0, 0xFE)])

    def test_brokenPolicy(self) -> None:
        """
        A policy with a fault admits nobody.
        """
        self.patch(self.policy, "judgeClient", lambda client: 1 / 0)
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(caller.answers, [])
        self.assertOver(factory)


class EndTests(ServedTestCase):
    """
    Tests for how a connection ends.
    """

    def test_finThenAbort(self) -> None:
        """
        After a failure reply the client gets FIN at once, and is reset if it has not closed three
        seconds later: well before the ten seconds that there are (R-1928-40, R-1928-41).
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.flush()
        self.assertEqual(caller.received, SELECTED + failure(5))
        self.assertTrue(caller.finished)
        self.advance(2.9)
        self.assertTrue(caller.connection.server.connected)
        self.advance(0.2)
        self.assertFalse(caller.connection.server.connected)
        caller.say(b"x")
        self.assertReset(caller)
        self.assertOver(factory)

    def test_clientCloses(self) -> None:
        """
        If the client closes, the connection ends regularly, and no timer is left.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(b"\x05\x01\x7f")
        self.assertClosed(caller)
        self.assertOver(factory)

    def test_flood(self) -> None:
        """
        A client that goes on sending is listened to for 64 KiB, and then reset (R-1928-41, S-11).
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(b"\x05\x01\x7f")
        caller.say(b"x" * 65536)
        self.assertTrue(caller.connection.server.connected)
        caller.say(b"x")
        self.assertOver(factory)

    def test_lingerTime(self) -> None:
        """
        The time is a setting.
        """
        factory = self.serve(timeouts=Timeouts(linger=9))
        caller = self.call(factory)
        caller.say(b"\x05\x01\x7f")
        self.advance(8.9)
        self.assertTrue(caller.connection.server.connected)
        self.advance(0.2)
        self.assertOver(factory)

    def test_resetAnywhere(self) -> None:
        """
        A client can be gone at any point of its handshake, or behind it; nothing is left.
        """
        said = GREETING + CONNECT + b"data"
        for length in range(len(said) + 1):
            factory = self.serve()
            caller = self.call(factory)
            caller.say(said[:length])
            caller.abort()
            self.flush()
            self.assertOver(factory)
        self.assertTrue(all(dial.cancelled for dial in self.dialer.dials))

    def test_relayEnds(self) -> None:
        """
        When both sides have finished, both connections are closed, and the log says so
        (R-1928-49).
        """
        caller, target = self.connected()
        caller.finish()
        self.flush()
        target.send(b"answer")
        target.finish()
        self.flush()
        self.assertEqual(caller.received, b"answer")
        self.assertFalse(caller.connection.server.connected)
        self.assertEqual(self.events.one("closed")["reason"], "both sides finished")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_relayIsReset(self) -> None:
        """
        A reset of one side is a reset of the other, and the log tells of which it was
        (R-1928-50).
        """
        caller, target = self.connected()
        caller.abort()
        self.flush()
        self.assertReset(target)
        self.assertIn("client lost", self.events.named("closed")[0]["reason"])
        caller, target = self.connected()
        target.abort()
        self.flush()
        self.assertReset(caller)
        self.assertIn("target lost", self.events.named("closed")[1]["reason"])

    def test_afterTheRelay(self) -> None:
        """
        What a client sends when the relay is over goes nowhere.
        """
        caller, target = self.connected()
        caller.pause()
        target.send(b"x" * 200_000)
        target.finish()
        self.flush()
        caller.say(b"more")
        caller.finish()
        self.flush()
        self.assertEqual(target.received, b"more")
        caller.say(b"much more")
        caller.resume()
        self.flush()
        self.assertEqual(len(caller.received), 200_000)
        self.assertEqual(target.received, b"more")

    def test_memoryIsFreed(self) -> None:
        """
        The memory of a session is free when it ends; it does not wait for the garbage collector.
        """
        limits = Limits(
            sessionsPerUser=9, bandwidthPerUser=1_000_000, quotaPerUser=Quota(1_000_000, "day")
        )
        for ledger in (None, Ledger(self.reactor, limits)):
            self.assertFreed(self.serve(ledger=ledger))

    def assertFreed(self, factory: SOCKS5Factory) -> None:
        """
        Nothing is left of a session, however it ends.
        """
        # An event refers to who has logged it, and the test runner keeps events.
        self.patch(SOCKS5Protocol, "_log", Logger(observer=lambda event: None))
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for ending in (
            "client resets",
            "target resets",
            "both finish",
            "stopped",
            "greets wrongly",
        ):
            reference = self.lived(factory, ending)
            self.connections.clear()
            self.dialer.dials.clear()
            self.traffic.sessions.clear()
            self.assertIsNone(reference(), ending)

    def lived(self, factory: SOCKS5Factory, ending: str) -> weakref.ref[Any]:
        """
        Let a session live and end.

        @return: what refers to its protocol, if that is still there.
        """
        caller = self.call(factory)
        if ending == "greets wrongly":
            caller.say(b"\x05\x01\x7f")
            caller.close()
        else:
            caller.say(GREETING + CONNECT)
            target = self.answer()
            caller.say(b"question")
            target.send(b"answer")
            self.flush()
            if ending == "client resets":
                caller.abort()
            elif ending == "target resets":
                target.abort()
            elif ending == "stopped":
                factory.stopSessions()
            else:
                caller.finish()
                self.flush()
                target.finish()
        self.flush()
        self.assertEqual(factory.sessions, set())
        reference = weakref.ref(caller.connection.server.protocol)
        # As a real transport does when it is gone.
        for connection in self.connections:
            for transport in (connection.client, connection.server):
                transport.protocol = RecordingPeer()
        return reference

    def test_brokenProtection(self) -> None:
        """
        A protection that fails when it is closed does not keep the session from ending.
        """
        method = PrivateAuthenticator()
        factory = self.serve(method)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x80" + method.message("alice"))
        self.patch(method.protections[0], "close", lambda: 1 / 0)
        caller.abort()
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.names[-2:], ["broken", "closed"])
        self.assertOver(factory)


class BehindTests(ServedTestCase):
    """
    Tests for clients behind something that wraps them: an encapsulation, or another protocol.
    """

    def protected(self) -> tuple[Caller, PrivateProtection]:
        """
        A client that has agreed on a protection.
        """
        method = PrivateAuthenticator()
        caller = self.call(self.serve(method))
        caller.say(b"\x05\x01\x80" + method.message("alice"))
        caller.chunks.clear()
        return caller, method.clientProtection()

    def test_protectedOctetByOctet(self) -> None:
        """
        Encapsulated messages may be split, too (R-1928-01, R-1928-18).
        """
        caller, protection = self.protected()
        caller.sayEach(protection.wrap(CONNECT) + protection.wrap(b"data"))
        target = self.answer()
        self.assertEqual(target.received, b"data")
        self.assertEqual(protection.unwrap(caller.received), GRANTED)
        caller.send(protection.wrap(b"end"))
        caller.finish()
        self.flush()
        self.assertEqual(target.received, b"dataend")
        self.assertTrue(target.finished)

    def test_plainWhereProtected(self) -> None:
        """
        A plain request where an encapsulated one is due is not served (R-1928-18).
        """
        caller, _ = self.protected()
        caller.say(CONNECT)
        self.assertReset(caller)
        self.assertEqual((caller.received, self.dialer.dials), (b"", []))

    def test_truncated(self) -> None:
        """
        A client that finishes in the midst of an encapsulated message is reset.
        """
        caller, protection = self.protected()
        caller.send(protection.wrap(CONNECT)[:-1])
        caller.finish()
        self.flush()
        self.assertFalse(caller.connection.server.connected)
        self.assertIn("protection violated", self.events.one("closed")["reason"])

    def test_truncatedBeforeProtection(self) -> None:
        """
        That holds if it has finished before the protection was agreed on.
        """
        judged: Deferred[Step] = Deferred()
        factory = self.serve(ScriptedAuthenticator(judged))
        caller = self.call(factory)
        protection = PrivateProtection(1, server=False)
        caller.send(b"\x05\x01\x81" + protection.wrap(CONNECT)[:-1])
        caller.finish()
        self.flush()
        judged.callback(accepted(protection=PrivateProtection(1, server=True)))
        self.flush()
        self.assertOver(factory)
        self.assertIn("protection violated", self.events.one("closed")["reason"])

    def test_wrapped(self) -> None:
        """
        The client is known when the first octets have come through the wrapper, or when it is
        gone.
        """
        factory: Any = WrappingFactory(self.serve())
        caller = self.call(factory)
        self.assertEqual(self.events.names, [])
        caller.say(b"\x05")
        self.assertEqual(self.events.names, ["opened"])
        self.call(factory).abort()
        self.flush()
        self.assertEqual(self.events.names[1:], ["opened", "closed"])

    def test_aheadOfARelayThatIsBlocked(self) -> None:
        """
        A client that has sent much before it was connected is read again when it is, even if it
        does not read itself what it is sent (R-1928-51).
        """
        self.patch(MemoryTransport, "bufferSize", 250_000)
        method = ScriptedAuthenticator(accepted(send=b"welcome" * 40_000))
        caller = self.call(self.serve(method))
        caller.pause()
        data = bytes(range(256)) * 1000
        caller.say(b"\x05\x01\x81" + CONNECT + data)
        target = self.answer()
        self.assertEqual(target.received, data)
        target.send(b"answer" * 20_000)
        caller.resume()
        self.flush()
        self.assertEqual(
            caller.received,
            b"\x05\x81" + b"welcome" * 40_000 + GRANTED + b"answer" * 20_000,
        )


class CrowdTests(ServedTestCase):
    """
    Tests for the limit of connections that have not said yet what they want (S-11).
    """

    def limited(self, limit: int = 2) -> SOCKS5Factory:
        """
        A server with such a limit.
        """
        ledger = Ledger(self.reactor, Limits(handshakesPerAddress=limit))
        return self.serve(Anonymous(), ScriptedAuthenticator(accepted()), ledger=ledger)

    def assertTurnedAway(self, caller: Caller) -> None:
        """
        A connection was closed before it was read.
        """
        self.flush()
        self.assertReset(caller)
        self.assertEqual(caller.answers, [])

    def test_silent(self) -> None:
        """
        Over the limit of its address a connection is closed at once; that is one event, and none
        of a session.
        """
        factory = self.limited()
        callers = [self.call(factory) for _ in range(5)]
        for caller in callers[2:]:
            self.assertTurnedAway(caller)
        self.assertEqual(self.events.one("crowded")["client"], "192.0.2.1")
        self.assertEqual([event["session"] for event in self.events.named("opened")], [1, 2])
        other = self.call(factory, clientAddress=OUTGOING)
        other.say(GREETING + CONNECT)
        self.assertEqual(other.answers, [SELECTED])
        self.assertEqual(self.events.named("closed"), [])
        for caller in (*callers[:2], other):
            caller.abort()
        self.flush()
        self.assertEqual(len(self.events.named("closed")), 3)
        self.assertOver(factory)

    def test_untilRequested(self) -> None:
        """
        A client counts until its whole request has been read, however far it has come before.
        """
        factory = self.limited(1)
        caller = self.call(factory)
        for said in (b"\x05", b"\x02\x00\x81", CONNECT[:-1]):
            caller.say(said)
            self.assertTurnedAway(self.call(factory))
        caller.say(CONNECT[-1:])
        self.call(factory).say(GREETING + CONNECT)
        self.assertEqual(len(self.dialer.dials), 2)

    def test_untilGone(self) -> None:
        """
        A client that has failed counts until its connection is closed.
        """
        factory = self.limited(1)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x7f")
        self.assertTurnedAway(self.call(factory))
        caller.abort()
        self.flush()
        self.call(factory).say(GREETING + CONNECT)
        self.assertEqual(len(self.dialer.dials), 1)

    def test_behindProxyHeader(self) -> None:
        """
        Behind C{haproxy:} the client that the header names is the one that counts.
        """
        factory = self.limited(1)
        callers = []
        for host in ("198.51.100.1", "198.51.100.2", "198.51.100.1"):
            wrapper = HAProxyProtocolWrapper(WrappingFactory(factory), factory.buildProtocol(None))
            caller = Caller(self.flush)
            caller.connection = MemoryConnection(caller, wrapper)
            self.connections.append(caller.connection)
            caller.say(f"PROXY TCP4 {host} 203.0.113.80 50001 1080\r\n".encode() + GREETING)
            callers.append(caller)
        self.assertEqual([caller.answers for caller in callers], [[SELECTED], [SELECTED], []])
        self.assertReset(callers[2])

    def test_unix(self) -> None:
        """
        Clients of a UNIX socket have no address that could have too many.
        """
        factory = self.limited(1)
        unix = UNIXAddress("/s")
        callers = [
            self.call(factory, clientAddress=UNIXAddress(None), serverAddress=unix)
            for _ in range(3)
        ]
        for caller in callers:
            caller.say(GREETING + CONNECT)
        self.assertEqual(len(self.dialer.dials), 3)

    def test_default(self) -> None:
        """
        64 of an address may be silent at the same time, unless something else is set.
        """
        factory = self.serve()
        callers = [self.call(factory) for _ in range(65)]
        self.flush()
        self.assertEqual([caller.lost is None for caller in callers], [True] * 64 + [False])


class ReviewTests(ReconfiguredTestCase):
    """
    Tests for one client while the server begins to serve in another way.
    """

    def review(self, factory: SOCKS5Factory) -> bool:
        """
        Review the only session.

        @return: whether it has ended, as it says.
        """
        [session] = factory.sessions
        ended = session.review()
        self.flush()
        return ended

    def test_userIsGone(self) -> None:
        """
        Who is not to stand any more ends, whether or not there has been a request.
        """
        for request, reason in (
            (b"", "the user is gone"),
            (CONNECT, "no longer allowed: user 'alice' is gone"),
        ):
            factory = self.serve(ScriptedAuthenticator(accepted()))
            caller = self.call(factory)
            caller.say(b"\x05\x01\x81" + request)
            factory.authenticators.clear()
            self.assertTrue(self.review(factory))
            self.assertReset(caller)
            self.assertEqual(self.events.named("closed")[-1]["reason"], reason)
            self.assertOver(factory)

    def test_noLongerAllowed(self) -> None:
        """
        A session whose request policy refuses now ends, with both of its sides.
        """
        caller, target = self.connected()
        factory = caller.connection.server.protocol.factory
        self.policy.request = Verdict(False, "rule 2")
        self.assertTrue(self.review(factory))
        self.assertReset(caller)
        self.assertReset(target)
        self.assertEqual(self.events.one("closed")["reason"], "no longer allowed: rule 2")
        self.assertOver(factory)

    def test_goesOn(self) -> None:
        """
        One that is allowed as before goes on, before its request and behind it; the destinations
        of an association are judged, too.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING)
        self.assertFalse(self.review(factory))
        [session] = factory.sessions
        self.assertFalse(session.isServed)
        caller.say(ASSOCIATE)
        self.assertTrue(session.isServed)
        [inside] = self.reactor.udpPorts
        datagram = b"\0\0\0\x01\xc0\x00\x02\x07\0\x35hello"
        inside.deliver(datagram, ("192.0.2.1", 40000))
        outside = self.reactor.udpPorts[1]
        self.policy.addresses["192.0.2.7"] = Verdict(False, "rule 2")
        self.assertFalse(self.review(factory))
        inside.deliver(datagram, ("192.0.2.1", 40000))
        self.assertEqual([data for data, _ in outside.sent], [b"hello"])
        self.assertIsNone(caller.lost)

    def test_endedMeanwhile(self) -> None:
        """
        It may end as it is judged.
        """
        caller, target = self.connected()
        factory = caller.connection.server.protocol.factory

        def judgeRequest(question: object) -> Verdict:
            caller.abort()
            self.flush()
            return Verdict(True, "rule 1")

        self.patch(self.policy, "judgeRequest", judgeRequest)
        self.assertFalse(self.review(factory))
        self.assertReset(target)
        self.assertOver(factory)

    def test_broke(self) -> None:
        """
        If something that is done to it fails that is logged, and both sides are reset.
        """
        caller, target = self.connected()
        factory = caller.connection.server.protocol.factory
        [session] = factory.sessions
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            session.broke()
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.one("broken")["session"], 1)
        self.assertReset(caller)
        self.assertReset(target)
        self.assertOver(factory)

    def test_authenticating(self) -> None:
        """
        Nobody gets in by an authenticator that is gone, with what is known of users no more,
        though its answer was under way; with a protection or without.
        """
        for protection in (None, PrivateProtection(7, server=True)):
            waiting: Deferred[Step] = Deferred()
            factory = self.serve(ScriptedAuthenticator(waiting))
            caller = self.call(factory)
            caller.say(b"\x05\x01\x81secret")
            self.assertEqual(self.reconfigure(factory), 0)
            waiting.callback(accepted(6, b"welcome", protection))
            self.flush()
            self.assertReset(caller)
            self.assertOver(factory)
            self.assertEqual(self.events.named("authenticated"), [])

    def test_authenticatingStill(self) -> None:
        """
        Who is still to be let in is.
        """
        waiting: Deferred[Step] = Deferred()
        factory = self.serve(ScriptedAuthenticator(waiting))
        caller = self.call(factory)
        caller.say(b"\x05\x01\x81secret")
        self.reconfigure(factory, ScriptedAuthenticator())
        waiting.callback(accepted(6))
        caller.say(CONNECT)
        self.assertEqual(len(self.dialer.dials), 1)

    def test_cannotTell(self) -> None:
        """
        Who cannot be judged for now goes on (S-11).
        """
        caller, _ = self.connected()
        factory = caller.connection.server.protocol.factory
        self.patch(self.policy, "judgeRequest", raises(Overloaded("no descriptor")))
        self.assertEqual(self.reconfigure(factory), 0)
        self.assertIsNone(caller.lost)


class EventTests(ServedTestCase):
    """
    Tests for what is logged.
    """

    def assertDocumented(self) -> None:
        """
        All events are as the list of events says: their names, and the fields of each.
        """
        kinds = {event.name: event for event in EVENTS}
        for event in self.events.events:
            kind = kinds[event["socks_event"]]
            fields = {name for name in event if not name.startswith("log_")} - {"socks_event"}
            self.assertEqual(fields | {"log_failure"}, set(kind.fields) | {"log_failure"})
            self.assertIs(event["log_level"], kind.level)

    def test_session(self) -> None:
        """
        A session is told from beginning to end, each event with the session's number.
        """
        factory = self.serve(ScriptedAuthenticator(accepted()))
        self.call(factory)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x81" + CONNECT_NAME + b"question")
        self.advance(2.5)
        target = self.answer()
        target.send(b"answer")
        self.flush()
        target.abort()
        self.flush()
        events = [event for event in self.events.events if event["session"] == 2]
        self.assertEqual(
            [event["socks_event"] for event in events],
            ["opened", "authenticated", "granted", "closed"],
        )
        opened, authenticated, granted, closed = events
        self.assertEqual(opened["client"], "192.0.2.1:50000")
        self.assertEqual((authenticated["user"], authenticated["method"]), ("alice", 0x81))
        self.assertEqual(granted["command"], "CONNECT")
        self.assertEqual(granted["destination"], "example.com:443")
        self.assertEqual(granted["reason"], "scripted: any address")
        self.assertEqual(granted["address"], "192.0.2.7:443")
        self.assertEqual(closed["duration"], 2.5)
        self.assertEqual((closed["fromClient"], closed["toClient"], closed["dropped"]), (8, 6, 0))
        self.assertDocumented()

    def test_refused(self) -> None:
        """
        A refusal is told with what was asked, the code, and why.
        """
        self.policy.request = Verdict(False, "rule 1")
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        event = self.events.one("refused")
        self.assertEqual(event["command"], "CONNECT")
        self.assertEqual(event["destination"], "example.com:443")
        self.assertEqual((event["reply"], event["reason"]), (2, "rule 1"))
        self.assertClosed(caller)
        self.assertEqual(self.events.one("closed")["reason"], "refused with REP 2")
        self.assertDocumented()

    def test_unreadable(self) -> None:
        """
        Of a request that could not be read nothing is told but why.
        """
        caller = self.call(self.serve())
        caller.say(GREETING + b"\x05\x09\x00")
        event = self.events.one("refused")
        self.assertEqual((event["command"], event["destination"]), ("request", ""))
        self.assertEqual(event["reply"], 7)
        self.assertDocumented()

    def test_errorWithoutText(self) -> None:
        """
        An error that has nothing to say is named.
        """
        self.resolver.hosts["example.com"] = OSError()
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        self.assertEqual(self.events.one("refused")["reason"], "OSError()")

    def test_commands(self) -> None:
        """
        The other commands are told, too.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + BIND)
        port = self.reactor.tcpPorts[0]
        self.assertEqual(self.events.one("awaiting")["address"], f"203.0.113.5:{port.port}")
        self.assertEqual(self.events.one("awaiting")["destination"], "0.0.0.0:0")
        connection = port.connect(RecordingPeer())
        assert connection is not None
        self.connections.append(connection)
        self.flush()
        self.assertEqual(self.events.one("granted")["address"], "192.0.2.1:50000")
        self.call(factory).say(GREETING + ASSOCIATE)
        granted = self.events.named("granted")[1]
        self.assertEqual(granted["command"], "UDP_ASSOCIATE")
        self.assertEqual(granted["address"], f"203.0.113.5:{self.reactor.udpPorts[0].port}")
        self.assertDocumented()

    def test_escaped(self) -> None:
        """
        A user name cannot forge lines of the log (S-10).
        """
        method = self.passwords()
        caller = self.call(self.serve(method))
        name = b"bob\nsession 9: opened by 192.0.2.66\x1b[2J\xff" + b"x" * 200
        caller.say(b"\x05\x01\x02" + b"\x01" + bytes([len(name)]) + name + b"\x01x")
        self.advance(1)
        self.assertNotIn("\n", self.events.one("unauthenticated")["user"])
        for line in self.events.text().splitlines():
            self.assertTrue(line.startswith("session 1: "), line)
            self.assertTrue(line.isascii() and line.isprintable(), line)

    def passwords(self) -> IAuthenticator:
        """
        An authenticator that knows one user.
        """
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(b"ab", b"hunter2")
        return PasswordAuthenticator(self.reactor, [checker])

    def test_noSecrets(self) -> None:
        """
        Passwords and data are never logged, good or bad (R-1929-11).
        """
        factory = self.serve(self.passwords())
        caller = self.call(factory)
        caller.say(b"\x05\x01\x02\x01\x02ab\x07hunter2" + CONNECT + b"payload")
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x02\x01\x02ab\x07hunter3" + CONNECT + b"payload")
        self.advance(1)
        told = self.events.text() + repr(self.events.events)
        for secret in ("hunter2", "hunter3", "payload"):
            self.assertNotIn(secret, told)


class UnspokenTests(ServedTestCase):
    """
    Tests for a protection that fails when the server has something to say.
    """

    def setUp(self) -> None:
        """
        Let a client in, under a protection that only opens.
        """
        super().setUp()
        method = PrivateAuthenticator()
        self.protection = method.clientProtection()
        self.factory = self.serve(method)
        self.caller = self.call(self.factory)
        self.caller.say(b"\x05\x01\x80" + method.message("alice"))
        self.caller.chunks.clear()
        self.patch(method.protections[0], "wrap", lambda data: 1 // 0)

    def say(self, data: bytes) -> None:
        """
        Send octets, encapsulated.
        """
        self.caller.say(self.protection.wrap(data))

    def assertUnspoken(self) -> None:
        """
        The client was reset without a word, the fault is logged once, and nothing is left.
        """
        self.flush()
        self.assertEqual(self.caller.received, b"")
        self.assertReset(self.caller)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.events.one("broken")["session"], 1)
        self.assertEqual(self.events.names[-1], "closed")
        self.assertOver(self.factory)

    def test_failureAtOnce(self) -> None:
        """
        A failure reply that is due at once.
        """
        self.policy.request = Verdict(False, "rule 1")
        self.say(CONNECT)
        self.assertUnspoken()

    def test_failureLater(self) -> None:
        """
        One that comes later, when nobody waits for an answer any more who could notice.
        """
        self.say(CONNECT)
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.assertUnspoken()
        self.assertEqual(self.events.one("refused")["reply"], 5)

    def test_malformed(self) -> None:
        """
        The reply to a request that cannot be read.
        """
        self.say(b"\x05\x09\x00\x01")
        self.assertUnspoken()

    def test_connected(self) -> None:
        """
        The reply that a target is connected, which is let go of.
        """
        self.say(CONNECT + b"question")
        target = self.answer()
        self.assertUnspoken()
        self.assertReset(target)

    def test_listening(self) -> None:
        """
        The first reply of BIND; the port is closed.
        """
        self.say(BIND)
        self.assertEqual(len(self.reactor.tcpPorts), 1)
        self.assertUnspoken()

    def test_associated(self) -> None:
        """
        The reply to UDP ASSOCIATE; the port is closed.
        """
        self.say(ASSOCIATE)
        self.assertEqual(len(self.reactor.udpPorts), 1)
        self.assertUnspoken()


class NowhereTests(ServedTestCase):
    """
    Tests for a load balancer, and for one that announces clients without an internet address.
    """

    #: Version 2 of the header, which tells of a UNIX socket.
    HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8" + b"/client".ljust(108, b"\0") * 2

    def behind(self, **options: Any) -> Caller:
        """
        A client that comes through a load balancer.
        """
        self.factory = self.serve()
        wrapped: Any = WrappingFactory(self.factory)
        wrapped.protocol = HAProxyProtocolWrapper
        return self.call(wrapped, **options)

    def test_overTCP(self) -> None:
        """
        Such a client that comes over TCP is reset, whatever it asks for: it must not count as one
        of this machine, and nobody could judge it by its address.
        """
        caller = self.behind()
        caller.say(self.HEADER + GREETING + CONNECT)
        self.assertReset(caller)
        self.assertEqual((caller.answers, self.policy.clients, self.dialer.dials), ([], [], []))
        self.assertEqual(self.events.names, ["opened", "closed"])
        self.assertIn("no internet address", self.events.one("closed")["reason"])
        self.assertOver(self.factory)

    def test_overUNIX(self) -> None:
        """
        If the load balancer itself comes through a UNIX socket of this machine, it is served.
        """
        address = UNIXAddress("/run/s")
        caller = self.behind(clientAddress=address, serverAddress=address)
        caller.say(self.HEADER + GREETING)
        self.assertEqual(caller.answers, [SELECTED])

    def test_arrivedAt(self) -> None:
        """
        A client is known by the listener that it has come by, whatever the header says.
        """
        unix = UNIXAddress("/run/s")
        for options, arrived in (
            ({}, Address(ip_address("203.0.113.5"), 1080)),
            ({"clientAddress": unix, "serverAddress": unix}, b"/run/s"),
        ):
            caller = self.behind(**options)
            caller.say(b"PROXY TCP4 198.51.100.1 198.51.100.2 1000 2000\r\n" + GREETING)
            [session] = self.factory.sessions
            self.assertEqual(session.arrivedAt(), arrived)

    def test_gone(self) -> None:
        """
        One that has said nothing else is not told anything when it is gone: some transports
        cannot bear that.
        """
        caller = self.behind()
        told: list[None] = []
        self.patch(caller.connection.server, "abortConnection", lambda: told.append(None))
        caller.say(self.HEADER)
        self.assertEqual(self.events.names, [])
        caller.finish()
        self.flush()
        self.assertEqual(self.events.names, ["opened", "closed"])
        self.assertEqual(told, [])
        self.assertOver(self.factory)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.binary(max_size=40)),
        st.tuples(st.just("say"), st.sampled_from([GREETING, CONNECT, BIND, ASSOCIATE])),
        st.tuples(st.just("finish"), st.just(b"")),
        st.tuples(st.just("connect"), st.just(b"")),
        st.tuples(st.just("refuse"), st.just(b"")),
        st.tuples(st.just("wait"), st.just(b"")),
        st.tuples(st.just("peer"), st.just(b"")),
    ),
    max_size=12,
)


class ChaosTests(ServedTestCase):
    """
    Tests for whatever a client may do.
    """

    @reproducible
    @given(st.booleans(), actions)
    def test_nothingIsLeft(self, polite: bool, script: list[tuple[str, bytes]]) -> None:
        """
        Whatever a client says and does, in whatever order: nothing goes wrong within the server,
        it never says anything but its messages, and when the client is gone nothing is left.
        """
        self.setUp()
        factory = self.serve()
        caller = self.call(factory)
        if polite:
            caller.say(GREETING)
        for action, data in script:
            dials = [dial for dial in self.dialer.dials if not dial.result.called]
            ports = [port for port in self.reactor.tcpPorts if port.listening]
            if action == "say":
                caller.say(data)
            elif action == "finish":
                caller.finish()
            elif action == "connect" and dials:
                self.connections.append(dials[0].accept(clientAddress=OUTGOING))
            elif action == "refuse" and dials:
                dials[0].refuse(ConnectionRefusedError())
            elif action == "wait":
                self.advance(5)
            elif action == "peer" and ports:
                connection = ports[0].connect(RecordingPeer())
                assert connection is not None
                self.connections.append(connection)
            self.flush()
        self.assertEqual(self.events.named("broken"), [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertIn(b"".join(caller.answers[:1]), (b"", SELECTED, b"\x05\xff"))
        for answer in caller.answers[1:]:
            self.assertEqual(answer[:1] + answer[2:3], b"\x05\x00")
            self.assertEqual(len(answer), 10)
        caller.abort()
        self.flush()
        if caller.connection.server.connected:
            # It does not read, and so does not notice.
            factory.stopSessions()
            self.flush()
        self.advance(10)
        self.assertOver(factory)

"""
Tests for L{txsocks5.commands}, through the server that performs them.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from time import time
from typing import Any

from twisted.internet.address import IPv4Address as IPv4Endpoint
from twisted.internet.address import IPv6Address as IPv6Endpoint
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionLost,
    ConnectionRefusedError,
    NoRouteError,
    TCPTimedOutError,
)

from txsocks5 import SOCKS5Factory, local
from txsocks5.config import Limits, Network, Quota, Rule, Timeouts
from txsocks5.interfaces import Identity, Verdict
from txsocks5.ledger import Ledger
from txsocks5.periods import Period
from txsocks5.stream import Stream
from txsocks5.testing import (
    Dial,
    MemoryUDPPort,
    PrivateAuthenticator,
    RecordingPeer,
    ScriptedPolicy,
)
from txsocks5.wire import Address, Command

from .accepted import AcceptedFixture, addressOf, connect, granted
from .served import (
    ASSOCIATE,
    BIND,
    CONNECT,
    CONNECT_NAME,
    GRANTED,
    GREETING,
    OUTGOING,
    REACHED,
    SELECTED,
    Caller,
    ServedTestCase,
    failure,
)
from .sockets import Peer

#: The first datagram of a client, and where it comes from.
DATAGRAM = b"\x00\x00\x00\x01\xc0\x00\x02\x07\x00\x35"
SOURCE = ("192.0.2.1", 40000)


class ConnectTests(ServedTestCase):
    """
    Tests for CONNECT.
    """

    def test_address(self) -> None:
        """
        The target is connected to by its number, without a look-up.  The reply comes when the
        connection is there, with its local end (R-1928-44, R-1928-48).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [SELECTED])
        self.assertEqual(
            [dial.address for dial in self.dialer.dials], [Address(ip_address("192.0.2.7"), 80)]
        )
        self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        self.assertEqual(self.resolver.asked, [])

    def test_name(self) -> None:
        """
        A name is looked up once, and its address is connected to (R-1928-33).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        self.assertEqual(self.resolver.asked, ["example.com"])
        self.assertEqual(str(self.dialer.dials[0].address), "192.0.2.7:443")
        self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])

    def test_ipv6(self) -> None:
        """
        The reply to a CONNECT over IPv6 has 22 octets, and no scope id (R-1928-36).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + b"\x05\x01\x00\x04" + ip_address("2001:db8::1").packed + b"\x01\xbb")
        self.answer(address=IPv6Endpoint("TCP", "fe80::2%eth0", 40000))
        self.assertEqual(
            caller.answers[-1],
            b"\x05\x00\x00\x04" + ip_address("fe80::2").packed + b"\x9c\x40",
        )

    def test_mappedLocalEnd(self) -> None:
        """
        A local end that is IPv4 in the form of IPv6 is reported as IPv4 (R-1928-36).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT)
        self.answer(address=IPv6Endpoint("TCP", "::ffff:198.51.100.1", 40000))
        self.assertEqual(caller.answers[-1], GRANTED)

    def test_noInternetAddress(self) -> None:
        """
        A dialer may connect by other means than TCP; the reply is then C{0.0.0.0:0}.
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT)
        self.answer(address=UNIXAddress("/a"), serverAddress=UNIXAddress("/b"))
        self.assertEqual(caller.answers[-1], failure(0))
        self.assertEqual(self.events.one("granted")["address"], "0.0.0.0:0")

    def test_failures(self) -> None:
        """
        What goes wrong is told by its own code, at once, and then FIN (R-1928-39, R-1928-40).
        """
        for error, code in (
            (ConnectionRefusedError(), 5),
            (NoRouteError(), 3),
            (TCPTimedOutError(), 6),
            (ConnectError(113), 4),
            (OSError(13, "no"), 2),
        ):
            caller = self.call(self.serve())
            caller.say(GREETING + CONNECT)
            self.dialer.dials[-1].refuse(error)
            self.flush()
            self.assertEqual(caller.answers, [SELECTED, failure(code)], str(error))
            self.assertTrue(caller.finished)

    def test_unknownName(self) -> None:
        """
        A name without an address is a host that cannot be reached (R-1928-39).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME.replace(b"example", b"another"))
        self.assertEqual(caller.answers, [SELECTED, failure(4)])

    def test_notAllowed(self) -> None:
        """
        Policy is asked before anything is done: for the request, and for each address
        (R-1928-33).
        """
        self.policy.request = Verdict(False, "rule 1")
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        self.assertEqual(caller.answers, [SELECTED, failure(2)])
        self.assertEqual(self.resolver.asked, [])
        self.policy.request = Verdict(True, "rule 2")
        self.policy.addresses["192.0.2.7"] = Verdict(False, "rule 3")
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        self.assertEqual(caller.answers, [SELECTED, failure(2)])
        self.assertEqual(self.dialer.dials, [])
        self.assertEqual(
            [event["reason"] for event in self.events.named("refused")], ["rule 1", "rule 3"]
        )

    def test_question(self) -> None:
        """
        Policy and observer are told who asks, from where, and for what.
        """
        self.connected()
        question = self.traffic.questions[0]
        self.assertIn(question, self.policy.questions)
        self.assertEqual(question.identity, Identity("", 0))
        self.assertEqual(question.client, IPv4Address("192.0.2.1"))
        self.assertIs(question.command, Command.CONNECT)
        self.assertEqual(question.destination, Address(IPv4Address("192.0.2.7"), 80))

    def test_tooLong(self) -> None:
        """
        Connecting may take 30 seconds; then the attempt is given up (R-1928-46).
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.advance(29)
        self.assertEqual(caller.answers, [SELECTED])
        self.advance(1)
        self.assertEqual(caller.answers, [SELECTED, failure(6)])
        self.assertTrue(self.dialer.dials[0].cancelled)
        self.assertClosed(caller)
        self.assertOver(factory)

    def test_clientLeaves(self) -> None:
        """
        If the client is gone, connecting is given up (R-1928-47).
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        caller.abort()
        self.flush()
        self.assertTrue(self.dialer.dials[0].cancelled)
        self.assertEqual(self.events.named("refused"), [])
        self.assertOver(factory)

    def test_clientLeavesDuringLookUp(self) -> None:
        """
        So is a look-up (R-1928-47).
        """
        self.resolver.hold = True
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT_NAME)
        caller.abort()
        self.flush()
        self.assertEqual(self.resolver.cancelled, ["example.com"])
        self.assertOver(factory)

    def test_clientFinishes(self) -> None:
        """
        If it has only finished, connecting goes on (R-1928-47).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT)
        caller.finish()
        self.flush()
        self.assertFalse(self.dialer.dials[0].cancelled)
        target = self.answer()
        self.assertTrue(target.finished)
        target.send(b"answer")
        target.close()
        self.flush()
        self.assertEqual(caller.received, SELECTED + GRANTED + b"answer")
        self.assertTrue(caller.finished)

    def test_serverSpeaksFirst(self) -> None:
        """
        What the target says at once comes behind the reply, in a write of its own
        (R-1928-02, R-1928-48).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT)
        target = RecordingPeer()
        target.connectionMade = lambda: target.send(b"220 ready")  # type: ignore[method-assign]
        self.connections.append(self.dialer.dials[0].accept(target, clientAddress=OUTGOING))
        self.flush()
        self.assertEqual(caller.answers, [SELECTED, GRANTED, b"220 ready"])

    def test_connectedAtOnce(self) -> None:
        """
        It makes no difference whether the answer comes at once.
        """
        self.dialer.answer = lambda dial: self.connections.append(
            dial.accept(clientAddress=OUTGOING)
        )
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT + b"GET")
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        self.flush()
        self.dialer.answer = lambda dial: dial.refuse(ConnectionRefusedError())
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT + b"GET")
        self.assertEqual(caller.answers, [SELECTED, failure(5)])

    def test_internalError(self) -> None:
        """
        A fault of the server is told as C{01} and logged with its traceback (R-1928-38).
        """
        self.patch(self.resolver, "resolve", lambda name: 1 / 0)
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        self.assertEqual(caller.answers, [SELECTED, failure(1)])
        logged = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(logged), 1)
        self.assertIn("_resolver.resolve", logged[0].getTraceback())
        self.assertEqual(self.events.one("broken")["session"], 1)

    def test_dialerThatFails(self) -> None:
        """
        So is a fault of the dialer (R-1928-38).
        """

        def fail(dial: Dial) -> None:
            raise ZeroDivisionError

        self.dialer.answer = fail
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [SELECTED, failure(1)])
        logged = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(logged), 1)
        self.assertIn("raise ZeroDivisionError", logged[0].getTraceback())
        self.assertEqual(self.events.one("broken")["session"], 1)
        self.assertEqual(self.events.one("refused")["reason"], "ZeroDivisionError()")

    def test_oneAttemptFails(self) -> None:
        """
        If a name has several addresses, each attempt is looked at: a fault is logged, and what
        the network does is none (R-1928-39).
        """
        self.resolver.hosts["example.com"] = [f"192.0.2.{number}" for number in (7, 8, 9, 10)]
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME)
        for error in (
            ConnectionRefusedError(),
            ZeroDivisionError(),
            ConnectionLost(),
            OSError(113, "no"),
        ):
            self.dialer.dials[-1].refuse(error)
        self.flush()
        self.assertEqual(caller.answers, [SELECTED, failure(5)])
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.events.one("broken")["log_failure"].type, ZeroDivisionError)

    def test_lateAnswer(self) -> None:
        """
        A dialer that answers when it is cancelled leaves no connection behind (R-1928-47).
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        target = RecordingPeer()
        dial = self.dialer.dials[0]

        def connect(result: object) -> None:
            self.connections.append(dial.accept(target, clientAddress=OUTGOING))

        self.patch(dial.result, "_canceller", connect)
        caller.abort()
        self.flush()
        # Now with the connection that has come meanwhile.
        self.flush()
        self.assertReset(target)
        self.assertOver(factory)

    def test_goneAtOnce(self) -> None:
        """
        A target that closes as soon as it is connected: the client gets its last words and a
        regular end; one that resets makes a reset.
        """
        caller, target = self.connected()
        target.send(b"bye")
        target.close()
        self.flush()
        self.assertEqual(caller.received, b"bye")
        self.assertTrue(caller.finished)
        caller, target = self.connected()
        target.abort()
        self.flush()
        self.assertReset(caller)

    def test_observer(self) -> None:
        """
        An observer sees the data of both directions, and at the end the sums.
        """
        caller, target = self.connected()
        caller.say(b"question")
        self.flush()
        target.send(b"answer")
        self.flush()
        caller.abort()
        self.flush()
        session = self.traffic.sessions[0]
        peer = Address(IPv4Address("192.0.2.7"), 80)
        self.assertEqual(session.passages, [(True, peer, b"question"), (False, peer, b"answer")])
        self.assertEqual(session.totals, [(8, 6)])

    def test_observerThatDoesNotLook(self) -> None:
        """
        An observer need not look.
        """
        self.traffic.looking = False
        caller, target = self.connected()
        caller.say(b"question")
        self.flush()
        self.assertEqual(target.received, b"question")
        self.assertEqual((len(self.traffic.questions), self.traffic.sessions), (1, []))

    def test_observerThatFails(self) -> None:
        """
        An observer that fails when a relay is to begin ends the session on both sides, visibly,
        and nothing is left of it.
        """
        self.patch(self.traffic, "began", lambda question: 1 / 0)
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        target = self.answer()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertReset(caller)
        self.assertReset(target)
        self.assertOver(factory)

    def test_tapThatFails(self) -> None:
        """
        A tap that fails ends the session on both sides, visibly.
        """
        for fromClient in (True, False):
            factory = self.serve()
            caller = self.call(factory)
            caller.say(GREETING + CONNECT)
            target = self.answer()
            tap = self.traffic.sessions[-1]
            self.patch(tap, "passed", lambda fromClient, peer, data: 1 / 0)
            (caller if fromClient else target).send(b"data")
            self.flush()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertReset(target if fromClient else caller)
            self.assertEqual(target.received + caller.received[12:], b"")
            self.assertOver(factory)

    def test_tapThatFailsAtTheEnd(self) -> None:
        """
        A tap that fails when the session is over does not keep it from ending; the fault is
        logged.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        target = self.answer()
        self.patch(self.traffic.sessions[0], "ended", lambda fromClient, toClient: 1 / 0)
        stopped = factory.stopSessions()
        self.flush()
        self.successResultOf(stopped)
        self.assertReset(target)
        self.assertOver(factory)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.names[-2:], ["broken", "closed"])

    def test_noObserver(self) -> None:
        """
        Nobody needs to look.
        """
        caller, target = self.connected(observer=None)
        caller.say(b"question")
        self.assertEqual(target.received, b"question")
        caller.abort()
        self.flush()
        self.assertEqual(self.events.one("closed")["fromClient"], 8)


class AcceptedTests(AcceptedFixture):
    """
    Tests for CONNECT where neither side has a transport.
    """

    def setUp(self) -> None:
        """
        Have a target, and a client that was let in.
        """
        super().setUp()
        self.target = self.listening()
        self.factory = self.serve()
        self.caller = self.call()
        self.caller.send(GREETING)
        self.hear(self.caller, SELECTED)

    def answer(self) -> Peer:
        """
        The target accepts.
        """
        self.until(lambda: select.select([self.target], [], [], 0)[0])
        return Peer(self.keep(self.target.accept()[0]))

    def assertRelayed(self) -> None:
        """
        The client is connected to the target, and hears of it.
        """
        target = self.answer()
        self.hear(self.caller, granted(target))
        event = self.events.one("granted")
        self.assertEqual(event["address"], str(addressOf(self.target.getsockname())))
        self.assertEqual(event["reason"], "scripted: any address")
        self.caller.send(b"question")
        self.hear(target, b"question")
        target.send(b"answer")
        self.hear(self.caller, b"answer")

    def assertNothingOpen(self) -> None:
        """
        No socket is left but those that listen.
        """
        self.until(lambda: not self.factory.sessions, self.caller)
        self.assertEqual(len(self.factory._junction._watchers), 1)

    def test_atOnce(self) -> None:
        """
        A target that is near is connected to without waiting.
        """
        self.caller.send(connect(self.target))
        self.assertRelayed()

    def test_name(self) -> None:
        """
        So is one that is asked for by name.
        """
        self.caller.send(connect(self.target, "target.example"))
        self.assertRelayed()

    def test_later(self) -> None:
        """
        One that takes its time is waited for.
        """
        self.slowly(errno.EINPROGRESS, errno.EALREADY)
        self.caller.send(connect(self.target))
        self.assertRelayed()

    def test_noLongerAllowed(self) -> None:
        """
        A target that is connected, and that the client is not to reach any more as policy has
        become another one meanwhile, is reset.
        """
        self.resolver.hold = True
        self.caller.send(connect(self.target, "target.example"))
        self.until(lambda: self.resolver.asked)
        after = ScriptedPolicy()
        after.request = Verdict(False, "rule 2")
        self.factory.policy.replace(after)
        self.resolver.release()
        target = self.answer()
        self.hear(self.caller, failure(2))
        self.caller.finish()
        self.until(lambda: target.reset or target.finished, target)
        self.assertTrue(target.reset)
        self.assertNothingOpen()


class BindTests(ServedTestCase):
    """
    Tests for BIND.
    """

    #: The peer that is expected, and the request for it.
    PEER = IPv4Endpoint("TCP", "192.0.2.7", 20)
    EXPECT = b"\x05\x02\x00\x01\xc0\x00\x02\x07\x00\x15"

    def setUp(self) -> None:
        """
        Let the way to every peer lead through one address.
        """
        super().setUp()
        self.patch(local, "sourceTowards", lambda address: IPv4Address("198.51.100.1"))

    def bind(self, said: bytes = EXPECT, **options: object) -> Caller:
        """
        Ask for a BIND, as far as its first reply.
        """
        self.factory = self.serve(**options)
        caller = self.call(self.factory)
        caller.say(GREETING + said)
        self.port = self.reactor.tcpPorts[-1]
        return caller

    def come(self, address: IPv4Endpoint = PEER) -> RecordingPeer:
        """
        Let somebody connect to the listener.
        """
        peer = RecordingPeer()
        connection = self.port.connect(peer, address)
        if connection is not None:
            self.connections.append(connection)
        self.flush()
        return peer

    def first(self, host: str) -> bytes:
        """
        The first reply.
        """
        return b"\x05\x00\x00\x01" + ip_address(host).packed + self.port.port.to_bytes(2, "big")

    def test_twoReplies(self) -> None:
        """
        The first reply tells where the server listens, which is at one address; the second who
        has come.  Each is one write (R-1928-02, R-1928-42, R-1928-55, R-1928-56, R-1928-61).
        """
        caller = self.bind()
        self.assertEqual(self.port.interface, "198.51.100.1")
        self.assertEqual(caller.answers[1:], [self.first("198.51.100.1")])
        self.come()
        self.assertEqual(caller.answers[2:], [b"\x05\x00\x00\x01\xc0\x00\x02\x07\x00\x14"])
        self.assertFalse(self.port.listening)

    def test_relays(self) -> None:
        """
        What the client sends before the second reply goes to the peer first, and then all is as
        with CONNECT (R-1928-64).
        """
        caller = self.bind(self.EXPECT + b"one ")
        caller.say(b"two ")
        peer = self.come()
        caller.say(b"three")
        peer.send(b"answer")
        peer.close()
        self.flush()
        self.assertEqual(peer.received, b"one two three")
        self.assertEqual(caller.received[-6:], b"answer")
        self.assertTrue(caller.finished)

    def test_peerSpeaksFirst(self) -> None:
        """
        What the peer says comes behind the second reply, and is not lost while the listener takes
        its time to close.
        """
        caller = self.bind()
        peer = RecordingPeer()
        peer.connectionMade = lambda: peer.send(b"data")  # type: ignore[method-assign]
        connection = self.port.connect(peer, self.PEER)
        assert connection is not None
        self.connections.append(connection)
        self.flush()
        self.assertEqual(caller.answers[3:], [b"data"])

    def test_anybody(self) -> None:
        """
        If nobody in particular is expected, the server listens where the client has reached it
        (R-1928-59).
        """
        caller = self.bind(BIND)
        self.assertEqual(self.port.interface, REACHED.host)
        self.assertEqual(caller.answers[1:], [self.first(REACHED.host)])
        self.come(IPv4Endpoint("TCP", "203.0.113.99", 5))
        self.assertEqual(len(caller.answers), 3)

    def test_advertised(self) -> None:
        """
        The client is told the address that is configured for that (R-1928-56).
        """
        network = Network(advertise=(IPv4Address("203.0.113.77"),))
        caller = self.bind(network=network)
        self.assertEqual(caller.answers[1:], [self.first("203.0.113.77")])

    def test_strangers(self) -> None:
        """
        Whoever is not expected is turned away, and after eight of them the BIND fails
        (R-1928-58, R-1928-60).
        """
        caller = self.bind()
        for number in range(7):
            self.come(IPv4Endpoint("TCP", "192.0.2.99", number))
        self.assertEqual(len(caller.answers), 2)
        self.assertEqual(len(self.events.named("stranger")), 7)
        self.assertEqual(self.events.named("stranger")[3]["peer"], "192.0.2.99:3")
        self.come(IPv4Endpoint("TCP", "192.0.2.99", 8))
        self.assertEqual(caller.answers[2:], [failure(2)])
        self.assertTrue(caller.finished)
        self.assertFalse(self.port.listening)

    def test_nobodyComes(self) -> None:
        """
        If nobody comes, the second reply says so after two minutes, then FIN
        (R-1928-62, R-1928-63).
        """
        caller = self.bind()
        self.advance(119)
        self.assertEqual(len(caller.answers), 2)
        self.advance(1)
        self.assertEqual(caller.answers[2:], [failure(6)])
        self.assertFalse(self.port.listening)
        self.assertClosed(caller)
        self.assertOver(self.factory)

    def test_clientFinishes(self) -> None:
        """
        If the client finishes while the server waits, the listener is closed without a reply
        (R-1928-62).
        """
        caller = self.bind()
        caller.finish()
        self.flush()
        self.assertEqual(len(caller.answers), 2)
        self.assertTrue(caller.finished)
        self.assertOver(self.factory)

    def test_clientFinishesWithTheRequest(self) -> None:
        """
        That holds if FIN comes with the request.
        """
        self.factory = self.serve()
        caller = self.call(self.factory)
        caller.send(GREETING + self.EXPECT)
        caller.finish()
        self.flush()
        self.assertTrue(caller.finished)
        self.assertOver(self.factory)

    def test_clientLeaves(self) -> None:
        """
        If it is gone, the listener is closed (R-1928-62).
        """
        caller = self.bind()
        caller.abort()
        self.flush()
        self.assertOver(self.factory)

    def test_serverStops(self) -> None:
        """
        So it is when the server stops.
        """
        caller = self.bind()
        self.factory.stopSessions()
        self.flush()
        self.assertReset(caller)
        self.assertOver(self.factory)

    def test_noPort(self) -> None:
        """
        If no port is to be had, the only reply says so.
        """
        self.reactor.foreign.add("198.51.100.1")
        caller = self.call(self.serve())
        caller.say(GREETING + self.EXPECT)
        self.assertEqual(caller.answers, [SELECTED, failure(1)])

    def test_noRoute(self) -> None:
        """
        If no way leads to the peer, it says that.
        """
        self.patch(local, "sourceTowards", lambda address: None)
        caller = self.call(self.serve())
        caller.say(GREETING + self.EXPECT)
        self.assertEqual(caller.answers, [SELECTED, failure(3)])

    def test_lookedUpLate(self) -> None:
        """
        The peer can be a name, which takes its time.
        """
        self.resolver.hold = True
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT_NAME.replace(b"\x05\x01", b"\x05\x02"))
        self.assertEqual(self.reactor.tcpPorts, [])
        self.resolver.release()
        self.flush()
        self.port = self.reactor.tcpPorts[-1]
        self.assertEqual(caller.answers[1:], [self.first("198.51.100.1")])
        self.come()
        self.assertEqual(len(caller.answers), 3)

    def test_answersWhenItIsCancelled(self) -> None:
        """
        A resolver that answers when it is cancelled leaves no listener behind: nobody would wait
        for a peer there.
        """

        def resolve(name: str) -> Deferred[Sequence[IPv4Address]]:
            return Deferred(lambda answer: answer.callback([IPv4Address("192.0.2.7")]))

        self.patch(self.resolver, "resolve", resolve)
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT_NAME.replace(b"\x05\x01", b"\x05\x02"))
        caller.abort()
        self.flush()
        self.assertEqual(len(self.reactor.tcpPorts), 1)
        self.assertEqual(caller.answers, [SELECTED])
        self.assertOver(factory)


class AssociateTests(ServedTestCase):
    """
    Tests for UDP ASSOCIATE.
    """

    def associate(self, said: bytes = ASSOCIATE, **options: object) -> Caller:
        """
        Ask for an association.
        """
        self.factory = self.serve(**options)
        caller = self.call(self.factory)
        caller.say(GREETING + said)
        return caller

    @property
    def inside(self) -> MemoryUDPPort:
        """
        The socket for the client.
        """
        return self.reactor.udpPorts[0]

    @property
    def outside(self) -> MemoryUDPPort:
        """
        The socket for the world.
        """
        return self.reactor.udpPorts[1]

    def test_reply(self) -> None:
        """
        The reply tells where the client is to send its datagrams: a socket of its own, at the
        address where it has reached the server (R-1928-68, R-1928-69, R-1928-70).
        """
        caller = self.associate()
        self.assertEqual(self.inside.interface, REACHED.host)
        self.assertEqual(
            caller.answers[1:],
            [
                b"\x05\x00\x00\x01"
                + ip_address(REACHED.host).packed
                + self.inside.port.to_bytes(2, "big")
            ],
        )

    def test_relays(self) -> None:
        """
        Datagrams are relayed without their header, and answers with one (R-1928-78, R-1928-82).
        """
        self.associate()
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        self.assertEqual(self.outside.sent, [(b"hi", ("192.0.2.7", 53))])
        self.outside.deliver(b"yo", ("192.0.2.7", 53))
        self.assertEqual(self.inside.sent, [(DATAGRAM + b"yo", SOURCE)])

    def test_onlyTheClient(self) -> None:
        """
        Datagrams of others are dropped, whatever the request has said (R-1928-66, R-1928-72).
        """
        self.associate(b"\x05\x03\x00\x01\xc0\x00\x02\x63\x9c\x40")
        self.inside.deliver(DATAGRAM + b"hi", ("192.0.2.99", 40000))
        self.assertEqual(len(self.reactor.udpPorts), 1)
        self.inside.deliver(DATAGRAM + b"hi", ("192.0.2.1", 7))
        self.assertEqual(len(self.outside.sent), 1)

    def test_announcedPort(self) -> None:
        """
        A port that the client announces for its own address is the only one (R-1928-66).
        """
        self.associate(b"\x05\x03\x00\x01\xc0\x00\x02\x01\x9c\x40")
        self.inside.deliver(DATAGRAM + b"hi", ("192.0.2.1", 7))
        self.assertEqual(len(self.reactor.udpPorts), 1)
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        self.assertEqual(len(self.outside.sent), 1)

    def test_zeroAsName(self) -> None:
        """
        Some clients announce the name C{0} (R-1928-66).
        """
        caller = self.associate(b"\x05\x03\x00\x03\x010\x9c\x40")
        self.assertEqual(caller.answers[-1][1], 0)

    def test_unixClient(self) -> None:
        """
        A client at a UNIX socket sends its datagrams from the loopback address.
        """
        caller = self.call(
            self.serve(), clientAddress=UNIXAddress(None), serverAddress=UNIXAddress("/s")
        )
        caller.say(GREETING + ASSOCIATE)
        self.assertEqual(self.inside.interface, "127.0.0.1")
        self.inside.deliver(DATAGRAM + b"hi", ("127.0.0.1", 7))
        self.assertEqual(len(self.outside.sent), 1)

    def test_controlConnection(self) -> None:
        """
        What the client says behind the request means nothing, and nothing is said to it
        (R-1928-76).
        """
        caller = self.associate(ASSOCIATE + GREETING)
        caller.say(CONNECT * 20_000)
        self.assertEqual(len(caller.answers), 2)
        self.assertFalse(caller.finished)
        self.assertTrue(self.inside.listening)

    def test_clientFinishes(self) -> None:
        """
        FIN of the client ends the association, and all sockets are closed (R-1928-73).
        """
        caller = self.associate()
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        caller.finish()
        self.flush()
        self.assertTrue(caller.finished)
        self.assertOver(self.factory)
        self.assertEqual(self.events.one("closed")["reason"], "client finished")

    def test_clientFinishesWithTheRequest(self) -> None:
        """
        That holds for a FIN that comes with the request.
        """
        self.factory = self.serve()
        caller = self.call(self.factory)
        caller.send(GREETING + ASSOCIATE)
        caller.finish()
        self.flush()
        self.assertTrue(caller.finished)
        self.assertOver(self.factory)

    def test_clientLeaves(self) -> None:
        """
        So does its reset.
        """
        caller = self.associate()
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        caller.abort()
        self.flush()
        self.assertOver(self.factory)

    def test_idle(self) -> None:
        """
        When an association has been idle for too long, the connection is closed, too
        (R-1928-74, R-1928-75).
        """
        caller = self.associate(timeouts=Timeouts(udpIdle=10))
        self.advance(12)
        self.assertTrue(caller.finished)
        self.assertClosed(caller)
        self.assertOver(self.factory)
        self.assertEqual(self.events.one("closed")["reason"], "association idle for too long")

    def test_clientDoesNotCloseAfterIdling(self) -> None:
        """
        If the client does not close then, its datagrams are relayed no more, and the connection
        is reset after the linger time (R-1928-74).
        """
        caller = self.associate(timeouts=Timeouts(udpIdle=10))
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        self.advance(12)
        self.assertTrue(caller.finished)
        self.assertFalse(self.inside.listening, "the association goes on")
        self.advance(4)
        self.assertOver(self.factory)

    def test_notAllowed(self) -> None:
        """
        Policy is asked, without a destination (R-1928-77).
        """
        self.policy.request = Verdict(False, "no datagrams")
        caller = self.associate()
        self.assertEqual(caller.answers, [SELECTED, failure(2)])
        self.assertIsNone(self.policy.questions[0].destination)
        self.assertEqual(self.reactor.udpPorts, [])

    def test_noPort(self) -> None:
        """
        If no port is to be had, the reply says so (R-1928-77).
        """
        self.reactor.foreign.add(REACHED.host)
        caller = self.associate()
        self.assertEqual(caller.answers, [SELECTED, failure(1)])
        # Whoever has begun to look is told that there is nothing to see.
        self.assertClosed(caller)
        self.assertEqual([session.totals for session in self.traffic.sessions], [[(0, 0)]])

    def test_noObserver(self) -> None:
        """
        Datagrams pass where nobody looks on.
        """
        self.associate(observer=None)
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        self.assertEqual(self.outside.sent, [(b"hi", ("192.0.2.7", 53))])

    def test_observer(self) -> None:
        """
        An observer sees the payloads, and the log tells what was dropped.
        """
        caller = self.associate()
        self.inside.deliver(DATAGRAM + b"hi", SOURCE)
        self.outside.deliver(b"yo!", ("192.0.2.7", 53))
        self.inside.deliver(b"rubbish", SOURCE)
        caller.abort()
        self.flush()
        session = self.traffic.sessions[0]
        peer = Address(IPv4Address("192.0.2.7"), 53)
        self.assertEqual(session.passages, [(True, peer, b"hi"), (False, peer, b"yo!")])
        self.assertEqual(session.totals, [(2, 3)])
        closed = self.events.one("closed")
        self.assertEqual((closed["fromClient"], closed["toClient"], closed["dropped"]), (2, 3, 1))

    def test_serverStops(self) -> None:
        """
        When the server stops, the association ends.
        """
        caller = self.associate()
        self.factory.stopSessions()
        self.flush()
        self.assertReset(caller)
        self.assertOver(self.factory)

    def test_relayThatCannotBegin(self) -> None:
        """
        If something goes wrong before the relay has begun, the connection ends, the fault is
        logged, and no port stays open.
        """
        self.patch(Stream, "resumeReading", lambda stream: 1 // 0)
        self.associate()
        self.assertEqual(len(self.reactor.udpPorts), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertOver(self.factory)


class ProtectedTests(ServedTestCase):
    """
    Tests for commands under a method that encapsulates.
    """

    def setUp(self) -> None:
        """
        Let a client in.
        """
        super().setUp()
        self.method = PrivateAuthenticator()
        self.protection = self.method.clientProtection()
        self.factory = self.serve(self.method)
        self.caller = self.call(self.factory)
        self.caller.say(b"\x05\x01\x80" + self.method.message("alice"))
        self.caller.chunks.clear()

    def say(self, data: bytes) -> None:
        """
        Send octets, encapsulated.
        """
        self.caller.say(self.protection.wrap(data))
        self.flush()

    def heard(self) -> bytes:
        """
        Open what has been received since the last time.
        """
        heard = self.protection.unwrap(self.caller.received)
        self.caller.chunks.clear()
        return heard

    def test_connect(self) -> None:
        """
        The request, the reply, and all data in both directions are encapsulated
        (R-1928-18, R-1928-43, R-1928-53).
        """
        self.say(CONNECT)
        target = self.answer()
        self.assertNotIn(GRANTED, self.caller.received)
        self.assertEqual(self.heard(), GRANTED)
        self.say(b"question" * 9000)
        self.assertEqual(target.received, b"question" * 9000)
        target.send(b"answer" * 9000)
        self.flush()
        self.assertNotIn(b"answer", self.caller.received)
        self.assertEqual(self.heard(), b"answer" * 9000)
        question = self.traffic.questions[0]
        self.assertEqual(question.identity, Identity("alice", 0x80))

    def test_failure(self) -> None:
        """
        So is a failure reply (R-1928-43).
        """
        self.say(CONNECT)
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.flush()
        self.assertEqual(self.heard(), failure(5))
        self.assertTrue(self.caller.finished)

    def test_malformedRequest(self) -> None:
        """
        And the reply to a request that makes no sense, behind which nothing is opened
        (R-1928-43, S-24).
        """
        self.say(b"\x05\x09\x00\x01")
        self.assertEqual(self.heard(), failure(7))
        self.caller.say(b"rubbish that cannot be opened")
        self.assertTrue(self.caller.finished)
        self.assertTrue(self.caller.connection.server.connected)
        self.assertEqual(self.dialer.dials, [])

    def test_plainRequest(self) -> None:
        """
        A plain request where an encapsulated one is due is not served, and gets no answer
        (R-1928-18).
        """
        self.caller.say(CONNECT)
        self.assertEqual(self.caller.received, b"")
        self.assertReset(self.caller)
        self.assertEqual(self.dialer.dials, [])
        self.assertOver(self.factory)

    def test_plainData(self) -> None:
        """
        Plain data in a relay end it, on both sides and visibly; none of it is relayed.
        """
        self.say(CONNECT)
        target = self.answer()
        self.caller.say(self.protection.wrap(b"good") + b"bad")
        self.flush()
        self.assertEqual(target.received, b"")
        self.assertReset(target)
        self.assertReset(self.caller)
        self.assertOver(self.factory)
        self.assertIn("protection violated", self.events.one("closed")["reason"])

    def test_truncated(self) -> None:
        """
        A client that finishes in the midst of an encapsulated message is taken for one that was
        cut off: the target is reset.
        """
        self.say(CONNECT)
        target = self.answer()
        self.caller.send(self.protection.wrap(b"data")[:-1])
        self.caller.finish()
        self.flush()
        self.assertEqual(target.received, b"")
        self.assertFalse(target.finished)
        self.assertReset(target)
        self.assertOver(self.factory)

    def test_truncatedWhileWorking(self) -> None:
        """
        That holds while the server is connecting.
        """
        self.say(CONNECT)
        self.caller.send(self.protection.wrap(b"data")[:-1])
        self.caller.finish()
        self.flush()
        self.assertTrue(self.dialer.dials[0].cancelled)
        self.assertOver(self.factory)

    def test_finished(self) -> None:
        """
        One that finishes behind a whole message is a regular end.
        """
        self.say(CONNECT)
        target = self.answer()
        self.heard()
        self.caller.send(self.protection.wrap(b"data"))
        self.caller.finish()
        self.flush()
        self.assertEqual(target.received, b"data")
        self.assertTrue(target.finished)
        target.send(b"answer")
        target.finish()
        self.flush()
        self.assertEqual(self.heard(), b"answer")
        self.assertTrue(self.caller.finished)
        self.assertEqual(self.events.one("closed")["reason"], "both sides finished")

    def test_closed(self) -> None:
        """
        The protection is closed once, when the session is over.
        """
        self.say(CONNECT)
        target = self.answer()
        self.assertEqual(self.method.protections[0].closed, 0)
        target.abort()
        self.flush()
        self.assertEqual(self.method.protections[0].closed, 1)

    def test_bind(self) -> None:
        """
        Both replies of a BIND are encapsulated (R-1928-43).
        """
        self.say(BIND)
        self.assertEqual(self.heard()[:4], b"\x05\x00\x00\x01")
        connection = self.reactor.tcpPorts[0].connect(RecordingPeer())
        assert connection is not None
        self.connections.append(connection)
        self.flush()
        self.assertEqual(self.heard(), b"\x05\x00\x00\x01\xc0\x00\x02\x01\xc3\x50")

    def test_datagrams(self) -> None:
        """
        Datagrams are encapsulated in both directions, header included; one that is not genuine is
        dropped and counted (R-1928-78, R-1928-82).
        """
        self.say(ASSOCIATE)
        self.assertEqual(self.heard()[:4], b"\x05\x00\x00\x01")
        inside = self.reactor.udpPorts[0]
        inside.deliver(DATAGRAM + b"plain", SOURCE)
        self.assertEqual(len(self.reactor.udpPorts), 1)
        inside.deliver(self.protection.wrapDatagram(DATAGRAM + b"hi"), SOURCE)
        outside = self.reactor.udpPorts[1]
        self.assertEqual(outside.sent, [(b"hi", ("192.0.2.7", 53))])
        outside.deliver(b"yo", ("192.0.2.7", 53))
        self.assertNotIn(b"yo", inside.sent[0][0])
        self.assertEqual(self.protection.unwrapDatagram(inside.sent[0][0]), DATAGRAM + b"yo")
        self.caller.abort()
        self.flush()
        self.assertEqual(self.events.one("closed")["dropped"], 1)

    def test_fragments(self) -> None:
        """
        Each fragment is encapsulated by itself (R-1928-99).
        """
        self.say(ASSOCIATE)
        inside = self.reactor.udpPorts[0]
        for number, part in ((1, b"ab"), (2, b"cd"), (0x83, b"ef")):
            fragment = b"\x00\x00" + bytes([number]) + DATAGRAM[3:] + part
            inside.deliver(self.protection.wrapDatagram(fragment), SOURCE)
        self.assertEqual(self.reactor.udpPorts[1].sent, [(b"abcdef", ("192.0.2.7", 53))])


class ReplacedPolicyTests(ServedTestCase):
    """
    Policy becomes another one while something is under way.
    """

    def test_connecting(self) -> None:
        """
        What has been connected to is judged again, and refused with C{02} if it is not allowed any
        more; and once more nothing is left.
        """
        no = Verdict(False, "rule 2")
        for request, addresses in ((no, {}), (Verdict(True, ""), {"192.0.2.7": no})):
            factory = self.serve()
            caller = self.call(factory)
            caller.say(GREETING + CONNECT)
            after = ScriptedPolicy()
            after.request, after.addresses = request, addresses
            factory.policy.replace(after)
            target = self.answer()
            self.assertEqual(caller.answers, [SELECTED, failure(2)])
            self.assertClosed(caller)
            self.assertReset(target)
            self.assertOver(factory)

    def test_connectingStill(self) -> None:
        """
        What is still allowed is done.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        factory.policy.replace(ScriptedPolicy())
        self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])

    def test_relaying(self) -> None:
        """
        A relay has no destinations but its own: it goes on.
        """
        caller, target = self.connected()
        [session] = caller.connection.server.protocol.factory.sessions
        self.assertFalse(session.review())
        caller.say(b"question")
        self.assertEqual(target.received, b"question")

    def test_whileObserved(self) -> None:
        """
        An association is judged again, too, if policy becomes another one as an observer hears of
        it.
        """
        for allowed, answered in ((True, 0), (False, 2)):
            factory = self.serve()
            after = ScriptedPolicy()
            after.request = Verdict(allowed, "rule 2")

            def began(question: object, factory: Any = factory, after: Any = after) -> None:
                factory.policy.replace(after)

            self.patch(self.traffic, "began", began)
            caller = self.call(factory)
            caller.say(GREETING + ASSOCIATE)
            self.assertEqual(caller.answers[-1][1], answered)
            self.assertEqual(after.questions, [self.policy.questions[-1]])
            caller.abort()
            self.flush()
            self.assertOver(factory)

    def test_associated(self) -> None:
        """
        An association goes on; its destinations are judged anew.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + ASSOCIATE)
        session = next(iter(factory.sessions))
        reviewed: list[object] = []
        self.patch(session._performance._association, "review", lambda: reviewed.append(1))
        self.assertEqual(self.successResultOf(factory.sessions.review()), 0)
        self.assertEqual(reviewed, [1])


class LimitTests(ServedTestCase):
    """
    Tests for what counts as a session, and for how long.
    """

    def limited(self, **limits: int) -> SOCKS5Factory:
        """
        A server with limits.
        """
        return self.serve(ledger=Ledger(self.reactor, Limits(**limits)))

    def test_connect(self) -> None:
        """
        A CONNECT counts from the moment on in which policy has said yes, and until the client has
        gone; the next one is refused with REP C{02} and the reason in the log.
        """
        factory = self.limited(sessionsPerAddress=1)
        first, second = self.call(factory), self.call(factory)
        first.say(GREETING + CONNECT)
        second.say(GREETING + CONNECT)
        self.assertEqual(second.answers, [SELECTED, failure(2)])
        self.assertEqual(len(self.dialer.dials), 1)
        self.assertEqual(self.events.one("refused")["reason"], "limit: 1 sessions of 192.0.2.1")
        target = self.answer()
        third = self.call(factory)
        third.say(GREETING + CONNECT)
        self.assertEqual(third.answers, [SELECTED, failure(2)])
        target.close()
        first.close()
        self.flush()
        fourth = self.call(factory)
        fourth.say(GREETING + CONNECT)
        self.assertEqual(fourth.answers, [SELECTED])

    def test_failed(self) -> None:
        """
        A session that comes to nothing counts until its connection is closed.
        """
        factory = self.limited(sessions=1)
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.flush()
        self.assertClosed(caller)
        other = self.call(factory)
        other.say(GREETING + CONNECT)
        self.assertEqual(other.answers, [SELECTED])

    def test_server(self) -> None:
        """
        Over the limit of the server, the answer is REP C{01}.
        """
        factory = self.limited(sessions=1)
        self.call(factory).say(GREETING + CONNECT)
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [SELECTED, failure(1)])

    def test_deniedCountsNot(self) -> None:
        """
        What policy denies is no session.
        """
        self.policy.request = Verdict(False, "rule 1")
        factory = self.limited(sessions=1)
        for _ in range(3):
            self.call(factory).say(GREETING + CONNECT)
        self.assertEqual(
            [event["reason"] for event in self.events.named("refused")], ["rule 1"] * 3
        )

    def test_bindAndAssociate(self) -> None:
        """
        A BIND and an association count as any session does, from before a port is opened.
        """
        for request in (BIND, ASSOCIATE):
            factory = self.limited(sessionsPerUser=1)
            first = self.call(factory)
            first.say(GREETING + request)
            opened = len(self.reactor.tcpPorts), len(self.reactor.udpPorts)
            second = self.call(factory)
            second.say(GREETING + request)
            self.assertEqual(second.answers, [SELECTED, failure(2)])
            self.assertEqual((len(self.reactor.tcpPorts), len(self.reactor.udpPorts)), opened)
            first.close()
            self.flush()
            third = self.call(factory)
            third.say(GREETING + request)
            self.assertEqual(third.answers[-1][:2], b"\x05\x00")

    def test_rule(self) -> None:
        """
        The rule whose limit counts is the one that has allowed the first address.
        """
        self.policy.request = Verdict(
            True, "rule 1", Rule(name="name", allow=frozenset(Command), sessions=5)
        )
        address = Verdict(
            True, "rule 2", Rule(name="address", allow=frozenset(Command), sessions=1)
        )
        self.policy.addresses["192.0.2.7"] = address
        factory = self.limited()
        self.call(factory).say(GREETING + CONNECT)
        self.call(factory).say(GREETING + CONNECT)
        self.assertEqual(self.events.one("refused")["reason"], "limit: 1 sessions by rule address")


class MeterTests(ServedTestCase):
    """
    Tests for limits of what a session relays.
    """

    def serveLimited(self, **limits: Any) -> SOCKS5Factory:
        """
        Make a server with limits.
        """
        self.ledger = Ledger(self.reactor, Limits(**limits))
        return self.serve(ledger=self.ledger)

    def test_relay(self) -> None:
        """
        A relay moves no faster than is allowed, both directions together.
        """
        caller = self.call(self.serveLimited(bandwidthPerUser=1000))
        caller.say(GREETING + CONNECT + b"a" * 150)
        target = self.answer()
        target.send(b"b" * 150)
        self.flush()
        self.assertEqual(len(target.received) + len(caller.received) - len(SELECTED + GRANTED), 200)
        self.advance(0.125)
        self.assertEqual(caller.received[len(SELECTED + GRANTED) :], b"b" * 150)

    def test_bind(self) -> None:
        """
        So does that of a BIND.
        """
        caller = self.call(self.serveLimited(bandwidthPerUser=1000))
        caller.say(GREETING + BIND + b"a" * 300)
        peer = RecordingPeer()
        connection = self.reactor.tcpPorts[0].connect(peer)
        assert connection is not None
        self.connections.append(connection)
        self.flush()
        self.assertEqual(len(peer.received), 200)
        caller.abort()
        self.advance(1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_association(self) -> None:
        """
        An association drops what is too much.
        """
        caller = self.call(self.serveLimited(bandwidthPerUser=1000))
        caller.say(GREETING + ASSOCIATE)
        for _ in range(5):
            self.reactor.udpPorts[0].deliver(DATAGRAM + b"x" * 100, SOURCE)
        self.assertEqual(len(self.reactor.udpPorts[1].sent), 2)
        caller.abort()
        self.flush()
        self.assertEqual(self.events.one("closed")["dropped"], 3)

    def test_quota(self) -> None:
        """
        A session whose quota is used up is closed, on both sides, and what is over does not pass;
        the next request is refused with REP C{02}, and the log says until when.
        """
        quota = Quota(1000, "month")
        factory = self.serveLimited(quotaPerUser=quota)
        callers = [self.call(factory) for _ in range(2)]
        for caller, request in zip(callers, (CONNECT, ASSOCIATE), strict=True):
            caller.say(GREETING + request)
        target = self.answer(0)
        self.reactor.udpPorts[0].deliver(DATAGRAM + b"x" * 100, SOURCE)
        callers[0].say(b"a" * 600)
        target.send(b"b" * 600)
        self.flush()
        self.advance(0)
        self.assertReset(callers[0])
        self.assertReset(target)
        self.assertReset(callers[1])
        self.assertEqual(callers[0].received[len(SELECTED + GRANTED) :], b"b" * 300)
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [SELECTED, failure(2)])
        until = Period("month", time()).end
        reason = f"quota: 1kB/month of users without a name is used up until {until}"
        self.assertEqual(self.events.one("refused")["reason"], reason)
        self.assertEqual([event["reason"] for event in self.events.named("closed")], [reason] * 2)
        caller.abort()
        self.flush()
        self.advance(1)
        self.assertOver(factory)

    def test_changed(self) -> None:
        """
        Other limits hold at once, whatever the session does at that moment.
        """
        factory = self.serveLimited()
        callers = [self.call(factory) for _ in range(3)]
        for caller, request in zip(callers, (CONNECT, CONNECT, ASSOCIATE), strict=True):
            caller.say(GREETING + request)
        target = self.answer(0)
        self.ledger.reconfigure(Limits(bandwidthPerUser=1000), {}, {})
        other = self.answer(1)
        callers[0].say(b"a" * 150)
        callers[1].say(b"b" * 150)
        self.assertEqual(len(target.received) + len(other.received), 200)
        self.reactor.udpPorts[0].deliver(DATAGRAM + b"x", SOURCE)
        self.assertEqual(len(self.reactor.udpPorts), 1)
        self.ledger.reconfigure(Limits(), {}, {})
        self.flush()
        self.assertEqual(len(target.received) + len(other.received), 300)
        self.reactor.udpPorts[0].deliver(DATAGRAM + b"x", SOURCE)
        self.assertEqual(len(self.reactor.udpPorts[1].sent), 1)

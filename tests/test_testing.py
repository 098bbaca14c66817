"""
Tests for L{txsocks5.testing}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from twisted.internet import address as twistedAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    MessageLengthError,
    UserError,
)
from twisted.internet.interfaces import (
    IConnector,
    IConsumer,
    IHalfCloseableProtocol,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IPushProducer,
    ITCPTransport,
    IUDPTransport,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import events
from txsocks5.errors import NameNotResolved, ProtocolError
from txsocks5.interfaces import (
    Accepted,
    IAuthenticator,
    IConversation,
    Identity,
    IDialer,
    IPolicy,
    IProtection,
    IRelayObserver,
    IRelayTap,
    IResolver,
    ISOCKSReactor,
    Question,
    Refused,
    Step,
    Verdict,
)
from txsocks5.testing import (
    CLIENT_ADDRESS,
    SERVER_ADDRESS,
    MemoryConnection,
    MemoryReactor,
    PrivateAuthenticator,
    PrivateProtection,
    RecordedEvents,
    RecordedTraffic,
    RecordingPeer,
    ScriptedAuthenticator,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
    flushAll,
)
from txsocks5.wire import Address, Command

WHERE = Address(IPv4Address("192.0.2.7"), 80)


class Producer:
    """
    A producer that notes what it is told.

    @ivar told: that.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """
        Note.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        Note.
        """
        self.told.append("resume")

    def stopProducing(self) -> None:
        """
        Note.
        """
        self.told.append("stop")


class WholeProtocol(Protocol):
    """
    A protocol that knows of no half-close.

    @ivar received: what it has received.

    @ivar lost: why the connection has ended.
    """

    received = b""
    lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Keep octets.
        """
        self.received += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """
        Keep the reason.
        """
        self.lost = reason


class ConnectionTestCase(SynchronousTestCase):
    """
    A test case with two connected peers.
    """

    def connect(self, **options: Any) -> None:
        """
        Connect.
        """
        self.client, self.server = RecordingPeer(), RecordingPeer()
        self.connection = MemoryConnection(self.client, self.server, **options)
        self.near, self.far = self.connection.client, self.connection.server
        self.flush = self.connection.flush

    def setUp(self) -> None:
        """
        Connect.
        """
        self.connect()

    def assertLost(self, peer: Any, kind: type[Exception]) -> None:
        """
        A connection has ended for a reason.
        """
        assert peer.lost is not None
        self.assertIsNotNone(peer.lost.check(kind), str(peer.lost))


class MemoryConnectionTests(ConnectionTestCase):
    """
    Tests for L{MemoryConnection} and its transports.
    """

    def test_interfaces(self) -> None:
        """
        A transport is what a protocol expects of TCP; a peer takes half-closes.
        """
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, self.near)
        verifyObject(IHalfCloseableProtocol, self.client)

    def test_addresses(self) -> None:
        """
        Each end knows its own address and the other's; they can be of any kind.
        """
        self.assertEqual(
            (self.near.getHost(), self.near.getPeer()), (CLIENT_ADDRESS, SERVER_ADDRESS)
        )
        self.assertEqual((self.far.getHost(), self.far.getPeer()), (SERVER_ADDRESS, CLIENT_ADDRESS))
        unix = twistedAddress.UNIXAddress("/run/socket")
        six = twistedAddress.IPv6Address("TCP", "2001:db8::1", 5)
        self.connect(clientAddress=six, serverAddress=unix)
        self.assertEqual((self.far.getHost(), self.far.getPeer()), (unix, six))

    def test_nothingMovesByItself(self) -> None:
        """
        Octets move when they are pumped, and each write is noted.
        """
        self.client.send(b"one")
        self.near.writeSequence([b"two", b"", b"three"])
        self.assertEqual(self.near.writes, [b"one", b"two", b"three"])
        self.assertEqual((self.near.buffered, self.server.received), (11, b""))
        self.assertTrue(self.connection.pump())
        self.assertEqual((self.near.buffered, self.server.received), (0, b"onetwothree"))
        self.assertFalse(self.connection.pump())

    def test_readSize(self) -> None:
        """
        A read is no longer than it may be.
        """
        self.connect(readSize=4)
        self.client.send(b"one two three")
        self.flush()
        self.assertEqual(self.server.chunks, [b"one ", b"two ", b"thre", b"e"])

    def test_onlyBytes(self) -> None:
        """
        Only octets can be written.
        """
        self.assertRaises(TypeError, self.near.write, "text")

    def test_capacity(self) -> None:
        """
        While the other side does not read, the system takes only so much.
        """
        self.connect(capacity=10)
        self.server.pause()
        self.client.send(b"x" * 25)
        self.flush()
        self.assertEqual(self.near.buffered, 15)
        self.server.resume()
        self.flush()
        self.assertEqual((self.near.buffered, len(self.server.received)), (0, 25))

    def test_options(self) -> None:
        """
        What is set is noted.
        """
        self.assertFalse(self.near.getTcpNoDelay() or self.near.getTcpKeepAlive())
        self.near.setTcpNoDelay(True)
        self.near.setTcpKeepAlive(True)
        self.assertTrue(self.near.getTcpNoDelay() and self.near.getTcpKeepAlive())

    def test_halfClose(self) -> None:
        """
        FIN follows the data, and the other direction goes on.
        """
        self.client.send(b"question")
        self.client.finish()
        self.flush()
        self.client.send(b"not sent")
        self.assertEqual(self.server.received, b"question")
        self.assertTrue(self.server.finished)
        self.server.send(b"answer")
        self.server.finish()
        self.flush()
        self.assertEqual(self.client.received, b"answer")
        self.assertEqual((self.client.lost, self.server.lost), (None, None))

    def test_theSameEndAgain(self) -> None:
        """
        Whoever reads on after FIN finds it again, as with Twisted's sockets.
        """
        self.client.finish()
        self.flush()
        self.server.resume()
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)

    def test_closeAfterHalfClose(self) -> None:
        """
        A transport that has sent FIN is gone as soon as it is closed.
        """
        self.client.finish()
        self.flush()
        self.client.close()
        self.assertLost(self.client, ConnectionDone)

    def test_close(self) -> None:
        """
        A close waits for what was written; then each side has a regular end.
        """
        self.client.send(b"last words")
        self.client.close()
        self.client.close()
        self.client.resume()
        self.assertIsNone(self.client.lost)
        self.flush()
        self.assertLost(self.client, ConnectionDone)
        self.assertEqual(self.server.received, b"last words")
        self.assertTrue(self.server.finished)
        self.server.close()
        self.flush()
        self.assertLost(self.server, ConnectionDone)

    def test_closeOfAWholeProtocol(self) -> None:
        """
        A protocol that knows of no half-close loses its connection with the other's FIN, and
        hears nothing of its own.
        """
        for finish in (True, False):
            server = WholeProtocol()
            connection = MemoryConnection(RecordingPeer(), server)
            (connection.client if finish else connection.server).loseWriteConnection()
            connection.flush()
            if finish:
                self.assertLost(server, ConnectionDone)
            else:
                self.assertIsNone(server.lost)

    def test_closeWithUnreadInput(self) -> None:
        """
        Whoever closes over what it has not read resets the connection, and what the other has not
        read yet is lost.
        """
        self.client.pause()
        self.server.send(b"unread")
        self.flush()
        self.server.pause()
        self.client.send(b"last words")
        self.client.close()
        self.flush()
        self.assertLost(self.client, ConnectionDone)
        self.server.resume()
        self.flush()
        self.assertLost(self.server, ConnectionLost)
        self.assertEqual(self.server.received, b"")

    def test_writeToTheClosed(self) -> None:
        """
        Whoever writes to a side that has closed is reset.
        """
        self.client.close()
        self.flush()
        self.server.send(b"x")
        self.flush()
        self.assertLost(self.server, ConnectionLost)

    def test_abort(self) -> None:
        """
        An abort drops everything, and is told to both; our side hears of it a moment later.
        """
        self.client.send(b"x" * 100)
        self.client.abort()
        self.client.abort()
        self.client.resume()
        self.assertIsNone(self.client.lost)
        self.flush()
        self.assertLost(self.client, ConnectionAborted)
        self.assertLost(self.server, ConnectionLost)
        self.assertEqual(self.server.received, b"")

    def test_abortUnnoticed(self) -> None:
        """
        Whoever neither reads nor writes does not notice a reset, until it does.
        """
        for write in (True, False):
            self.connect()
            self.server.pause()
            self.client.abort()
            self.flush()
            self.assertIsNone(self.server.lost)
            if write:
                self.server.send(b"x")
            else:
                self.server.resume()
            self.flush()
            self.assertLost(self.server, ConnectionLost)

    def test_gone(self) -> None:
        """
        What is gone does nothing more.
        """
        self.client.abort()
        self.flush()
        self.client.send(b"x")
        self.client.close()
        self.client.abort()
        self.client.resume()
        self.assertFalse(self.connection.pump())
        producer = Producer()
        self.near.registerProducer(producer, True)
        self.assertEqual(producer.told, ["stop"])

    def test_stopProducing(self) -> None:
        """
        As a producer, a transport can be stopped: that closes it.
        """
        self.near.stopProducing()
        self.flush()
        self.assertLost(self.client, ConnectionDone)

    def test_pushProducer(self) -> None:
        """
        A push producer is paused when too much waits, and resumed when all is sent.
        """
        producer = Producer()
        self.near.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.near.registerProducer, producer, True)
        self.server.pause()
        self.near.write(b"x" * 65536)
        self.assertEqual(producer.told, [])
        self.near.write(b"x")
        self.flush()
        self.assertEqual(producer.told, ["pause"])
        self.server.resume()
        self.flush()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.near.write(b"x")
        self.flush()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked at first, and each time that all is sent.
        """
        producer = Producer()
        self.near.registerProducer(producer, False)
        self.assertEqual(producer.told, ["resume"])
        self.near.write(b"x")
        self.flush()
        self.assertEqual(producer.told, ["resume", "resume"])
        self.near.unregisterProducer()
        self.near.write(b"x")
        self.flush()
        self.assertEqual(producer.told, ["resume", "resume"])

    def test_producerDelaysClosing(self) -> None:
        """
        A transport does not close while a pull producer is registered; when the connection is
        gone, a producer is stopped.
        """
        producer = Producer()
        self.near.registerProducer(producer, False)
        self.near.loseConnection()
        self.flush()
        self.assertIsNone(self.client.lost)
        self.near.unregisterProducer()
        self.flush()
        self.assertLost(self.client, ConnectionDone)
        self.connect()
        self.near.registerProducer(producer, True)
        self.near.abortConnection()
        self.flush()
        self.assertEqual(producer.told[-1], "stop")

    def test_brokenProtocol(self) -> None:
        """
        A protocol that fails loses its connection, and the fault is logged, as by a reactor.
        """
        self.patch(self.server, "dataReceived", lambda data: 1 / 0)
        self.client.send(b"x")
        self.flush()
        self.assertLost(self.server, ZeroDivisionError)
        self.patch(self.client, "connectionLost", lambda reason: 1 / 0)
        self.client.abort()
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_restless(self) -> None:
        """
        Two that keep each other busy are found out.
        """
        self.patch(self.client, "dataReceived", self.client.send)
        self.patch(self.server, "dataReceived", self.server.send)
        self.client.send(b"x")
        self.assertRaises(RuntimeError, self.flush)

    def test_flushAll(self) -> None:
        """
        Several connections are flushed together.
        """
        other = RecordingPeer()
        second = MemoryConnection(RecordingPeer(), other)
        self.patch(self.server, "dataReceived", second.client.write)
        self.client.send(b"x")
        flushAll(second, self.connection)
        self.assertEqual(other.received, b"x")


class UDPTests(SynchronousTestCase):
    """
    Tests for L{MemoryUDPPort <txsocks5.testing.MemoryUDPPort>}.
    """

    def setUp(self) -> None:
        """
        Open sockets.
        """
        self.reactor = MemoryReactor()
        self.heard: list[tuple[bytes, Any]] = []
        self.protocol = DatagramProtocol()
        self.patch(self.protocol, "datagramReceived", lambda *heard: self.heard.append(heard))
        self.port = self.reactor.listenUDP(0, self.protocol, "192.0.2.1", 10)

    def test_interfaces(self) -> None:
        """
        A port is a transport, too.
        """
        verifyObject(IUDPTransport, self.port)
        verifyObject(IListeningPort, self.port)
        self.assertEqual(self.reactor.udpPorts, [self.port])
        self.assertIs(self.protocol.transport, self.port)

    def test_receives(self) -> None:
        """
        What is delivered comes to the protocol, cut to the longest that it takes.
        """
        self.port.startListening()
        self.port.deliver(b"0123456789abc", ("192.0.2.9", 5))
        self.assertEqual(self.heard, [(b"0123456789", ("192.0.2.9", 5))])

    def test_sends(self) -> None:
        """
        What is sent is kept.
        """
        self.port.write(b"data", ("192.0.2.9", 5))
        self.assertEqual(self.port.sent, [(b"data", ("192.0.2.9", 5))])

    def test_cannotSend(self) -> None:
        """
        What a system would refuse is refused: what is too long, to the other family, to port 0,
        to a name; and whatever the test says.
        """
        self.port.write(b"x" * 65507, ("192.0.2.9", 5))
        self.assertRaises(MessageLengthError, self.port.write, b"x" * 65508, ("192.0.2.9", 5))
        self.assertRaises(ValueError, self.port.write, b"", ("2001:db8::1", 5))
        self.assertRaises(ValueError, self.port.write, b"", ("192.0.2.9", 0))
        self.assertRaises(ValueError, self.port.write, b"", ("example.com", 5))
        six = self.reactor.listenUDP(0, DatagramProtocol(), "::")
        six.write(b"x" * 65527, ("2001:db8::1", 5))
        self.assertRaises(ValueError, six.write, b"", ("192.0.2.9", 5))
        self.port.refusal = OSError("no")
        self.assertRaises(OSError, self.port.write, b"", ("192.0.2.9", 5))
        self.assertEqual(len(self.port.sent), 1)

    def test_closes(self) -> None:
        """
        A closed socket hears nothing, but what had come before.
        """
        stopped: list[None] = []
        self.patch(self.protocol, "stopProtocol", lambda: stopped.append(None))
        self.successResultOf(self.port.stopListening())
        self.successResultOf(self.port.stopListening())
        self.assertEqual(len(stopped), 1)
        self.port.deliver(b"late", ("192.0.2.9", 5))
        self.assertEqual(self.heard, [])
        self.port.deliverAll([(b"a", ("192.0.2.9", 5)), (b"b", ("192.0.2.9", 5))])
        self.assertEqual(len(self.heard), 2)
        self.assertRaises(AssertionError, self.port.write, b"", ("192.0.2.9", 5))

    def test_brokenProtocol(self) -> None:
        """
        A protocol that fails goes on receiving, and the fault is logged.
        """
        self.patch(self.protocol, "datagramReceived", lambda data, source: 1 / 0)
        self.port.deliver(b"x", ("192.0.2.9", 5))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_address(self) -> None:
        """
        It tells its address; its number is one that a system would choose, or as asked.
        """
        host = self.port.getHost()
        self.assertEqual((host.type, host.host), ("UDP", "192.0.2.1"))
        self.assertTrue(49152 <= host.port == self.port.port)
        given = self.reactor.listenUDP(53, DatagramProtocol(), "::1")
        self.assertEqual(given.getHost(), twistedAddress.IPv6Address("UDP", "::1", 53))
        everywhere = self.reactor.listenUDP(53, DatagramProtocol())
        self.assertEqual(everywhere.getHost().host, "0.0.0.0")

    def test_notNeeded(self) -> None:
        """
        What the server has no use for is not there.
        """
        self.assertRaises(NotImplementedError, self.port.connect, "192.0.2.9", 5)
        self.assertRaises(NotImplementedError, self.port.setBroadcastAllowed, True)
        self.assertFalse(self.port.getBroadcastAllowed())


class ReactorTests(SynchronousTestCase):
    """
    Tests for L{MemoryReactor}.
    """

    def setUp(self) -> None:
        """
        Make a reactor.
        """
        self.reactor = MemoryReactor()

    def test_interfaces(self) -> None:
        """
        It has all that a server needs of a reactor.
        """
        for interface in ISOCKSReactor.__bases__:
            verifyObject(interface, self.reactor)

    def test_time(self) -> None:
        """
        The time is that of the test.
        """
        called: list[float] = []
        self.reactor.callLater(5, lambda: called.append(self.reactor.seconds()))
        self.reactor.advance(5)
        self.assertEqual(called, [5])

    def test_ports(self) -> None:
        """
        No number is given twice at one address while it is taken; others take numbers, too.
        """
        first = self.reactor.listenTCP(0, Factory(), interface="192.0.2.1")
        self.assertRaises(
            CannotListenError, self.reactor.listenTCP, first.port, Factory(), 50, "192.0.2.1"
        )
        self.reactor.listenTCP(first.port, Factory(), interface="192.0.2.2")
        first.stopListening()
        self.reactor.listenTCP(first.port, Factory(), interface="192.0.2.1")
        self.reactor.occupied = {first.port + 1, 80}
        self.assertEqual(self.reactor.listenTCP(0, Factory()).port, first.port + 2)
        self.assertRaises(CannotListenError, self.reactor.listenTCP, 80, Factory())
        self.assertRaises(CannotListenError, self.reactor.listenUDP, 80, DatagramProtocol())
        self.assertEqual(len(self.reactor.tcpPorts), 4)

    def test_foreignAddress(self) -> None:
        """
        An address of another machine cannot be listened on.
        """
        self.reactor.foreign.add("192.0.2.1")
        self.assertRaises(CannotListenError, self.reactor.listenTCP, 0, Factory(), 50, "192.0.2.1")
        self.reactor.listenTCP(0, Factory(), 50, "192.0.2.2")

    def test_listening(self) -> None:
        """
        A test can connect to a port; the factory is started and stopped with it.
        """
        factory = Factory.forProtocol(RecordingPeer)
        port = self.reactor.listenTCP(1080, factory, 5, "192.0.2.1")
        verifyObject(IListeningPort, port)
        port.startListening()
        self.assertEqual((port.backlog, factory.numPorts), (5, 1))
        client = RecordingPeer()
        connection = port.connect(client, capacity=5)
        assert connection is not None
        self.assertEqual(connection.server.getHost(), port.getHost())
        self.assertEqual(port.getHost(), twistedAddress.IPv4Address("TCP", "192.0.2.1", 1080))
        client.send(b"hello")
        connection.flush()
        self.assertEqual(connection.server.protocol.received, b"hello")  # type: ignore[attr-defined]
        self.successResultOf(port.stopListening())
        self.successResultOf(port.stopListening())
        self.assertEqual(factory.numPorts, 0)
        self.assertRaises(AssertionError, port.connect, client)

    def test_turnedAway(self) -> None:
        """
        A factory need not build a protocol.
        """
        factory = Factory()
        self.patch(factory, "buildProtocol", lambda addr: None)
        self.assertIsNone(self.reactor.listenTCP(0, factory).connect(RecordingPeer()))

    def test_connecting(self) -> None:
        """
        An attempt to connect hangs until the test accepts it.
        """
        factory = ClientFactory()
        factory.protocol = RecordingPeer
        connector = self.reactor.connectTCP("192.0.2.7", 80, factory, 5, ("192.0.2.1", 0))
        verifyObject(IConnector, connector)
        self.assertEqual(self.reactor.connectors, [connector])
        self.assertEqual((connector.timeout, connector.bindAddress), (5, ("192.0.2.1", 0)))
        connection = connector.accept()
        self.assertEqual(
            connection.client.getPeer(), twistedAddress.IPv4Address("TCP", "192.0.2.7", 80)
        )
        self.assertIsInstance(connection.server.protocol, RecordingPeer)
        server = RecordingPeer()
        self.assertIs(connector.accept(server).server.protocol, server)

    def test_failingToConnect(self) -> None:
        """
        It can be refused, and it can be given up.
        """
        factory = ClientFactory()
        failed: list[type[BaseException] | None] = []
        self.patch(
            factory,
            "clientConnectionFailed",
            lambda connector, reason: failed.append(reason.type),
        )
        self.reactor.connectTCP("192.0.2.7", 80, factory).refuse(ConnectionRefusedError())
        connector = self.reactor.connectTCP("2001:db8::1", 80, factory)
        connector.disconnect()
        self.assertTrue(connector.stoppedConnecting)
        self.assertEqual(failed, [ConnectionRefusedError, UserError])
        self.assertRaises(NotImplementedError, connector.connect)


class NameTests(SynchronousTestCase):
    """
    Tests for L{MemoryNameResolver <txsocks5.testing.MemoryNameResolver>}.
    """

    def setUp(self) -> None:
        """
        Name a host.
        """
        self.resolver = MemoryReactor().nameResolver
        self.resolver.hosts["example.com"] = ["192.0.2.7", "2001:db8::7"]
        self.told: list[Any] = []

    def resolutionBegan(self, resolution: Any) -> None:
        """
        Hear that a look-up has begun.
        """
        verifyObject(IHostResolution, resolution)
        self.resolution = resolution

    def addressResolved(self, address: Any) -> None:
        """
        Hear of an address.
        """
        self.told.append(address.host)

    def resolutionComplete(self) -> None:
        """
        Hear the end.
        """
        self.told.append(None)

    def ask(self, name: str, *kinds: Any) -> list[Any]:
        """
        Look up a name.

        @return: what was told, with L{None} for the end.
        """
        self.told.clear()
        self.resolver.resolveHostName(self, name, 80, kinds or None)  # type: ignore[arg-type]
        return self.told

    def test_resolves(self) -> None:
        """
        Names have the addresses that the test gives them, of the kinds that are asked for.
        """
        verifyObject(IHostnameResolver, self.resolver)
        self.assertEqual(self.ask("example.com"), ["192.0.2.7", "2001:db8::7", None])
        self.assertEqual(self.ask("example.com", twistedAddress.IPv6Address), ["2001:db8::7", None])
        self.assertEqual(self.ask("another.com"), [None])
        self.assertEqual(self.resolver.asked, ["example.com", "example.com", "another.com"])

    def test_replaced(self) -> None:
        """
        The resolver can be replaced.
        """
        reactor = MemoryReactor()
        before = reactor.nameResolver
        self.assertIs(reactor.installNameResolver(self.resolver), before)
        self.assertIs(reactor.nameResolver, self.resolver)

    def test_holds(self) -> None:
        """
        Answers can be kept for a while, and it is seen if nobody wants them any more.
        """
        self.resolver.hold = True
        self.assertEqual(self.ask("example.com"), [])
        self.resolution.cancel()
        self.assertTrue(self.resolver.held[0].cancelled)
        self.resolver.release()
        self.assertEqual(self.told, ["192.0.2.7", "2001:db8::7", None])


class ThreadTests(SynchronousTestCase):
    """
    Tests for L{MemoryThreads <txsocks5.testing.MemoryThreads>}.
    """

    def setUp(self) -> None:
        """
        Make a reactor.
        """
        self.reactor = MemoryReactor()

    def defer(self, call: Any, *args: Any) -> Deferred[Any]:
        """
        Call something in a thread.
        """
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), call, *args)  # type: ignore[arg-type]

    def test_calls(self) -> None:
        """
        What is called in a thread is called at once.
        """
        self.assertEqual(self.successResultOf(self.defer(divmod, 7, 2)), (3, 1))
        self.failureResultOf(self.defer(divmod, 7, 0), ZeroDivisionError)

    def test_holds(self) -> None:
        """
        It can be made to wait.
        """
        self.reactor.threads.hold = True
        result = self.defer(divmod, 7, 2)
        self.assertNoResult(result)
        self.reactor.threads.release()
        self.successResultOf(result)

    def test_withoutResult(self) -> None:
        """
        Something can be called whose result nobody wants.
        """
        called: list[int] = []
        self.reactor.callInThread(called.append, 1)
        self.reactor.callFromThread(called.append, 2)
        self.assertEqual(called, [1, 2])

    def test_poolSize(self) -> None:
        """
        How many threads are wanted is noted.
        """
        self.assertIsNone(self.reactor.threadPoolSize)
        self.reactor.suggestThreadPoolSize(72)
        self.assertEqual(self.reactor.threadPoolSize, 72)


class AuthenticatorTests(SynchronousTestCase):
    """
    Tests for the authenticators.
    """

    def test_scripted(self) -> None:
        """
        A scripted conversation gives its answers one after the other, then asks for more.
        """
        later: Deferred[Step] = Deferred()
        method = ScriptedAuthenticator(Step(1), later, None, ProtocolError("no"), method=0x90)
        verifyObject(IAuthenticator, method)
        conversation = method.conversation(IPv4Address("192.0.2.1"))
        verifyObject(IConversation, conversation)
        self.assertEqual(method.method, 0x90)
        self.assertEqual(conversation.received(b"a"), Step(1))
        self.assertIs(conversation.received(b"b"), later)
        self.assertIsNone(conversation.received(b"c"))
        self.assertRaises(ProtocolError, conversation.received, b"d")
        self.assertIsNone(conversation.received(b"e"))
        conversation.close()
        self.assertEqual(method.conversations[0].heard, [b"a", b"b", b"c", b"d", b"e"])
        self.assertEqual(method.conversations[0].closed, 1)
        self.assertEqual(method.clients, [IPv4Address("192.0.2.1")])
        self.assertEqual(method.conversation(None).received(b""), Step(1))

    def private(self, method: PrivateAuthenticator, said: bytes) -> Any:
        """
        What a private conversation answers.
        """
        conversation = method.conversation(None)
        verifyObject(IConversation, conversation)
        step = conversation.received(said)
        conversation.close()
        return step

    def test_private(self) -> None:
        """
        The private method lets in whom it knows, and brings a protection.
        """
        method = PrivateAuthenticator()
        verifyObject(IAuthenticator, method)
        step = self.private(method, method.message("alice") + b"more")
        self.assertEqual((step.consumed, step.send), (6, b"\x5a"))
        assert isinstance(step.outcome, Accepted)
        self.assertEqual(step.outcome.identity, Identity("alice", 0x80))
        self.assertIs(step.outcome.protection, method.protections[0])

    def test_privateRefuses(self) -> None:
        """
        It refuses others, and waits for the whole name.
        """
        method = PrivateAuthenticator("bob", method=0xFE, key=7)
        step = self.private(method, method.message("alice"))
        self.assertEqual((step.consumed, step.send), (6, b"\x00"))
        self.assertEqual(step.outcome, Refused("unknown user", "alice"))
        self.assertEqual(self.private(method, method.message("bob")).send, b"\x07")
        for said in (b"", b"\x03", b"\x03bo"):
            self.assertIsNone(self.private(method, said))
        self.assertRaises(ProtocolError, self.private, method, b"\x01\xff")


class ProtectionTests(SynchronousTestCase):
    """
    Tests for L{PrivateProtection}.
    """

    def setUp(self) -> None:
        """
        Make both sides.
        """
        method = PrivateAuthenticator()
        self.client = method.clientProtection()
        self.server = PrivateProtection(method.key, server=True)

    def test_stream(self) -> None:
        """
        What one side wraps the other unwraps, however it is split and however long it is.
        """
        verifyObject(IProtection, self.server)
        data = bytes(range(256)) * 200
        wrapped = self.client.wrap(b"hello") + self.client.wrap(data)
        self.assertNotIn(b"hello", wrapped)
        opened = b"".join(
            self.server.unwrap(wrapped[begin : begin + 7]) for begin in range(0, len(wrapped), 7)
        )
        self.assertEqual(opened, b"hello" + data)
        self.server.finished()
        self.assertEqual(self.client.unwrap(self.server.wrap(b"answer")), b"answer")

    def test_nothing(self) -> None:
        """
        Nothing is wrapped as nothing.
        """
        self.assertEqual(self.client.wrap(b""), b"")
        self.assertEqual(self.server.unwrap(b""), b"")

    def assertDistrusted(self, wrapped: bytes) -> None:
        """
        The server does not open this.
        """
        self.assertRaises(ProtocolError, self.server.unwrap, wrapped)

    def test_plain(self) -> None:
        """
        What is plain is found out by its first octet.
        """
        self.assertDistrusted(b"\x05")

    def test_changed(self) -> None:
        """
        So is a change of any octet, at the latest when the message should have ended.
        """
        wrapped = self.client.wrap(b"data")
        for index in range(len(wrapped)):
            self.setUp()
            changed = bytearray(wrapped)
            changed[index] ^= 1
            self.assertRaises(ProtocolError, self.server.unwrap, bytes(changed) + b"\x00" * 300)

    def test_repeatedLeftOutOrSentBack(self) -> None:
        """
        So is a message that comes twice, or is missing, or is the server's own.
        """
        first, second = self.client.wrap(b"1"), self.client.wrap(b"2")
        self.assertDistrusted(second)
        self.setUp()
        self.assertDistrusted(first + first)
        self.setUp()
        self.assertDistrusted(self.server.wrap(b"1"))

    def test_tooLong(self) -> None:
        """
        A message that claims to be too long is not waited for.
        """
        self.assertIs(bool(self.server.unwrap(b"\xa5\x40\x00")), False)
        self.setUp()
        self.assertDistrusted(b"\xa5\x40\x01")

    def test_truncated(self) -> None:
        """
        An end in the midst of a message is no regular one.
        """
        self.server.unwrap(self.client.wrap(b"data")[:-1])
        self.assertRaises(ProtocolError, self.server.finished)

    def test_datagrams(self) -> None:
        """
        Datagrams stand for themselves, in any order.
        """
        one, two = self.client.wrapDatagram(b"one"), self.client.wrapDatagram(b"two")
        self.assertEqual(self.server.unwrapDatagram(two), b"two")
        self.assertEqual(self.server.unwrapDatagram(one), b"one")
        for datagram in (b"", b"plain", one[:-1], self.server.wrapDatagram(b"own")):
            self.assertRaises(ProtocolError, self.server.unwrapDatagram, datagram)

    def test_close(self) -> None:
        """
        It counts how often it is closed.
        """
        self.server.close()
        self.assertEqual(self.server.closed, 1)


class DialerTests(SynchronousTestCase):
    """
    Tests for L{ScriptedDialer}.
    """

    def setUp(self) -> None:
        """
        Make a dialer.
        """
        self.dialer = ScriptedDialer()
        self.factory = Factory.forProtocol(RecordingPeer)

    def test_accepts(self) -> None:
        """
        A dial hangs until the test accepts it; then there is a connection.
        """
        verifyObject(IDialer, self.dialer)
        result = self.dialer.dial(WHERE, self.factory)
        self.assertNoResult(result)
        connection = self.dialer.dials[0].accept()
        self.assertIs(self.successResultOf(result), connection.client.protocol)
        self.assertEqual(connection.client.getPeer().port, 80)
        server = RecordingPeer()
        address = twistedAddress.IPv4Address("TCP", "192.0.2.50", 5)
        self.dialer.dial(Address(IPv6Address("2001:db8::1"), 80), self.factory)
        connection = self.dialer.dials[1].accept(server, address, capacity=5)
        self.assertIs(connection.server.protocol, server)
        self.assertEqual(connection.client.getHost(), address)

    def test_refuses(self) -> None:
        """
        Or until it is refused.
        """
        result = self.dialer.dial(WHERE, self.factory)
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.failureResultOf(result, ConnectionRefusedError)
        self.assertFalse(self.dialer.dials[0].cancelled)

    def test_cancelled(self) -> None:
        """
        Or until it is given up.
        """
        result = self.dialer.dial(WHERE, self.factory)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.dialer.dials[0].cancelled)

    def test_atOnce(self) -> None:
        """
        It can be answered before the caller sees it.
        """
        self.dialer.answer = lambda dial: dial.refuse(ConnectionRefusedError())
        self.failureResultOf(self.dialer.dial(WHERE, self.factory), ConnectionRefusedError)


class ResolverTests(SynchronousTestCase):
    """
    Tests for L{ScriptedResolver}.
    """

    def setUp(self) -> None:
        """
        Name hosts.
        """
        self.resolver = ScriptedResolver(
            {"example.com": ["192.0.2.7", "2001:db8::7"], "broken.com": OSError()}
        )

    def test_resolves(self) -> None:
        """
        Names have the addresses that the test gives them, or fail as it says.
        """
        verifyObject(IResolver, self.resolver)
        self.assertEqual(
            self.successResultOf(self.resolver.resolve("example.com")),
            [IPv4Address("192.0.2.7"), IPv6Address("2001:db8::7")],
        )
        self.failureResultOf(self.resolver.resolve("broken.com"), OSError)
        self.failureResultOf(self.resolver.resolve("another.com"), NameNotResolved)
        self.failureResultOf(ScriptedResolver().resolve("example.com"), NameNotResolved)
        self.assertEqual(self.resolver.asked, ["example.com", "broken.com", "another.com"])

    def test_holds(self) -> None:
        """
        Answers can be kept for a while, and given up meanwhile.
        """
        self.resolver.hold = True
        first, second = self.resolver.resolve("example.com"), self.resolver.resolve("broken.com")
        self.assertNoResult(first)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.resolver.cancelled, ["broken.com"])
        self.resolver.release()
        self.assertEqual(len(self.successResultOf(first)), 2)


class PolicyTests(SynchronousTestCase):
    """
    Tests for L{ScriptedPolicy}.
    """

    def test_answers(self) -> None:
        """
        Everything is allowed until the test says no, and all questions are kept.
        """
        policy = ScriptedPolicy()
        verifyObject(IPolicy, policy)
        question = Question(Identity("", 0), None, Command.CONNECT, WHERE)
        host = IPv4Address("192.0.2.7")
        self.assertTrue(policy.judgeClient(None).allowed)
        self.assertTrue(policy.judgeRequest(question).allowed)
        self.assertTrue(policy.judgeAddress(question, host).allowed)
        no = policy.client = policy.request = policy.addresses["192.0.2.7"] = Verdict(False, "no")
        self.assertIs(policy.judgeClient(host), no)
        self.assertIs(policy.judgeRequest(question), no)
        self.assertIs(policy.judgeAddress(question, host), no)
        self.assertEqual(policy.clients, [None, host])
        self.assertEqual(policy.questions, [question] * 2)
        self.assertEqual(policy.asked, [(question, host)] * 2)


class TrafficTests(SynchronousTestCase):
    """
    Tests for L{RecordedTraffic}.
    """

    def test_records(self) -> None:
        """
        What passes is kept, if it is to be looked at.
        """
        traffic = RecordedTraffic()
        verifyObject(IRelayObserver, traffic)
        question = Question(Identity("", 0), None, Command.CONNECT, WHERE)
        tap = traffic.began(question)
        assert tap is not None
        verifyObject(IRelayTap, tap)
        tap.passed(True, WHERE, b"data")
        tap.ended(4, 0)
        self.assertEqual(traffic.sessions[0].question, question)
        self.assertEqual(traffic.sessions[0].passages, [(True, WHERE, b"data")])
        self.assertEqual(traffic.sessions[0].totals, [(4, 0)])
        traffic.looking = False
        self.assertIsNone(traffic.began(question))
        self.assertEqual((len(traffic.questions), len(traffic.sessions)), (2, 1))


class EventTests(SynchronousTestCase):
    """
    Tests for L{RecordedEvents}.
    """

    def test_records(self) -> None:
        """
        The package's events are kept while the test runs, and no others.
        """
        cleanups: list[Any] = []

        class Case:
            """
            A test.
            """

            def addCleanup(self, call: Any) -> None:
                """
                Keep what is to be called.
                """
                cleanups.append(call)

        recorded = RecordedEvents(Case())
        log = Logger()
        log.info("something else")
        events.opened.emit(log, session=1, client="unix")
        events.opened.emit(log, session=2, client="unix")
        events.malformed.emit(log, session=2, reason="rubbish")
        self.assertEqual(recorded.names, ["opened", "opened", "malformed"])
        self.assertEqual([event["session"] for event in recorded.named("opened")], [1, 2])
        self.assertEqual(recorded.one("malformed")["reason"], "rubbish")
        self.assertRaises(AssertionError, recorded.one, "opened")
        self.assertRaises(AssertionError, recorded.one, "closed")
        self.assertEqual(
            recorded.text().splitlines()[1:],
            ["session 2: opened by unix", "session 2: protocol error: rubbish"],
        )
        self.assertNotIn("message", recorded.events[0])
        for call in cleanups:
            call()
        events.opened.emit(log, session=3, client="unix")
        self.assertEqual(len(recorded.events), 3)

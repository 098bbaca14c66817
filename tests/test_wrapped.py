"""
Tests for L{txsocks5.wrapped}.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import directlyProvides

from txsocks5.testing import MemoryConnection, RecordingPeer
from txsocks5.wire import IPAddress
from txsocks5.wrapped import (
    isNowhere,
    knowsClient,
    passHalfClose,
    plainConnection,
    reachedAddresses,
)

from .certificates import writeCertificate
from .served import (
    ASSOCIATE,
    BIND,
    CONNECT,
    GRANTED,
    GREETING,
    REACHED,
    SELECTED,
    Caller,
    ServedTestCase,
)

#: To mypy the reactor is only a module.
reactor: Any = installedReactor

HEADER = b"PROXY TCP4 198.51.100.9 203.0.113.80 50001 1080\r\n"
HEADER6 = b"PROXY TCP6 2001:db8::9 2001:db8::80 50001 1080\r\n"


class _Port:
    """
    Stands for an endpoint, so that C{haproxy:} shows what it would listen with.

    @ivar factory: the factory.
    """

    factory: Any = None

    def listen(self, factory: Any) -> None:
        """
        Keep the factory.
        """
        self.factory = factory


class WrapperTests(ServedTestCase):
    """
    Tests for a server behind something that wraps its connections.
    """

    def behind(self, **options: Any) -> Caller:
        """
        A client that comes through a load balancer.
        """
        port = _Port()
        proxyEndpoint(port).listen(self.serve(**options))
        return self.call(port.factory)

    def test_halfClose(self) -> None:
        """
        A client that has finished still gets its answer (R-1928-49).
        """
        caller = self.call(WrappingFactory(self.serve()))  # type: ignore[arg-type]
        caller.say(GREETING + CONNECT)
        target = self.answer()
        caller.send(b"question")
        caller.finish()
        self.flush()
        self.assertTrue(target.finished)
        target.send(b"answer")
        target.finish()
        self.flush()
        self.assertEqual(caller.received, SELECTED + GRANTED + b"answer")
        self.assertTrue(caller.finished)
        self.assertEqual(self.events.one("closed")["reason"], "both sides finished")

    def test_client(self) -> None:
        """
        Behind a load balancer the client is who its header says, and that is known before
        anything else is logged about it.
        """
        caller = self.behind()
        self.assertEqual(self.events.names, [])
        caller.say(HEADER + GREETING + CONNECT)
        self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        self.assertEqual(self.events.names[0], "opened")
        self.assertEqual(self.events.one("opened")["client"], "198.51.100.9:50001")
        self.assertEqual(str(self.traffic.questions[0].client), "198.51.100.9")

    def test_splitHeader(self) -> None:
        """
        That header may be split like everything else (R-1928-01), as soon as there is enough of
        it for Twisted to know it.
        """
        caller = self.behind()
        caller.say(HEADER[:16])
        caller.sayEach(HEADER[16:] + GREETING + CONNECT)
        self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        self.assertEqual(self.events.one("opened")["client"], "198.51.100.9:50001")

    def test_noHeader(self) -> None:
        """
        A connection without the header is closed, and is logged with the address that it came
        from.
        """
        caller = self.behind()
        caller.say(GREETING + CONNECT + b" " * 200)
        self.assertEqual(caller.answers, [])
        self.assertEqual(self.events.names, ["opened", "closed"])
        self.assertEqual(self.events.one("opened")["client"], "192.0.2.1:50000")

    def test_silence(self) -> None:
        """
        So is one that says nothing at all.
        """
        caller = self.behind()
        caller.finish()
        self.flush()
        self.assertTrue(caller.finished)
        self.assertEqual(self.events.names, ["opened", "closed"])

    def test_reachedThroughTheBalancer(self) -> None:
        """
        Where the client has reached the load balancer is where it reaches this server, if that
        is an address of this machine (R-1928-69).
        """
        caller = self.behind()
        caller.say(HEADER + GREETING + BIND)
        self.assertEqual(self.reactor.tcpPorts[0].interface, "203.0.113.80")
        caller = self.behind()
        caller.say(HEADER + GREETING + ASSOCIATE)
        self.assertEqual(self.reactor.udpPorts[0].interface, "203.0.113.80")

    def test_reachedDirectly(self) -> None:
        """
        If it is not, datagrams are taken where the load balancer reaches this server.
        """
        self.reactor.foreign.add("203.0.113.80")
        caller = self.behind()
        caller.say(HEADER + GREETING + ASSOCIATE)
        self.assertEqual(self.reactor.udpPorts[0].interface, REACHED.host)
        self.assertEqual(caller.answers[-1][1], 0)

    def test_ipv6(self) -> None:
        """
        The header can tell of IPv6.
        """
        caller = self.behind()
        caller.say(HEADER6 + GREETING + ASSOCIATE)
        self.assertEqual(self.reactor.udpPorts[0].interface, "2001:db8::80")
        self.assertEqual(self.events.one("opened")["client"], "[2001:db8::9]:50001")


class SeenThroughTests(SynchronousTestCase):
    """
    Tests for the functions by themselves.
    """

    def wrapped(self, **options: Any) -> tuple[ProtocolWrapper, RecordingPeer, MemoryConnection]:
        """
        A wrapper around a protocol, connected.
        """
        inner, outer = RecordingPeer(), RecordingPeer()
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), inner)
        return wrapper, inner, MemoryConnection(outer, wrapper, **options)

    def test_passesBothHalves(self) -> None:
        """
        Both the peer's FIN and our own come through.
        """
        wrapper, inner, connection = self.wrapped()
        heard: list[object] = []
        self.patch(RecordingPeer, "writeConnectionLost", lambda peer: heard.append(peer))
        passHalfClose(wrapper, inner)
        connection.server.loseWriteConnection()
        connection.client.loseWriteConnection()
        connection.flush()
        self.assertEqual(heard.count(inner), 1)
        self.assertTrue(inner.finished)
        self.assertIsNone(inner.lost)

    def test_notThroughTLS(self) -> None:
        """
        In TLS, a FIN without the alert is no regular end, and nothing is changed about that.
        """
        wrapper, inner, connection = self.wrapped()
        directlyProvides(wrapper, ISSLTransport)
        passHalfClose(wrapper, inner)
        self.assertFalse(IHalfCloseableProtocol.providedBy(wrapper))
        connection.client.abortConnection()
        connection.flush()
        assert inner.lost is not None
        self.assertIsNotNone(inner.lost.check(ConnectionLost))

    def test_knowsClient(self) -> None:
        """
        A connection tells at once where it comes from, with TLS, too; with other wrappers around
        or below that, it may not.
        """
        plain = MemoryConnection(RecordingPeer(), RecordingPeer()).server
        self.assertTrue(knowsClient(plain))
        secured = TLSMemoryBIOProtocol(WrappingFactory(Factory()), RecordingPeer())
        secured.transport = plain
        self.assertTrue(knowsClient(secured))
        wrapper, _, _ = self.wrapped()
        self.assertFalse(knowsClient(wrapper))
        secured.transport = wrapper
        self.assertFalse(knowsClient(secured))
        secured.transport = None
        self.assertFalse(knowsClient(secured))

    def hosts(self, transport: Any) -> list[str]:
        """
        The addresses at which a server was reached, in text.
        """
        found: list[IPAddress] = reachedAddresses(transport)
        return [str(host) for host in found]

    def test_reached(self) -> None:
        """
        Without a wrapper there is one address; a UNIX socket has none.
        """
        connection = MemoryConnection(RecordingPeer(), RecordingPeer())
        self.assertEqual(self.hosts(connection.server), ["203.0.113.5"])
        connection = MemoryConnection(
            RecordingPeer(), RecordingPeer(), serverAddress=UNIXAddress("/run/s")
        )
        self.assertEqual(self.hosts(connection.server), [])

    def test_reachedThroughWrapper(self) -> None:
        """
        A wrapper that says nothing of its own adds nothing; one that does comes first.
        """
        wrapper, _, connection = self.wrapped()
        self.assertEqual(self.hosts(wrapper), ["203.0.113.5"])
        self.patch(wrapper, "getHost", lambda: connection.client.getHost())
        self.assertEqual(self.hosts(wrapper), ["192.0.2.1", "203.0.113.5"])

    def test_reachedWrapperWithoutTransport(self) -> None:
        """
        A wrapper that has lost its transport only has its own word.
        """
        wrapper, _, connection = self.wrapped()
        self.patch(wrapper, "getHost", lambda: connection.server.getHost())
        wrapper.transport = None
        self.assertEqual(self.hosts(wrapper), ["203.0.113.5"])

    def test_nowhere(self) -> None:
        """
        A wrapper that says nothing of its own leaves an internet client where it is, and one that
        announces a client without an internet address takes it nowhere.
        """
        wrapper, _, connection = self.wrapped()
        self.assertFalse(isNowhere(connection.server))
        self.patch(wrapper, "getPeer", lambda: UNIXAddress("/client"))
        self.assertTrue(isNowhere(wrapper))
        outer = ProtocolWrapper(WrappingFactory(Factory()), RecordingPeer())
        outer.makeConnection(wrapper)
        self.assertTrue(isNowhere(outer))

    def test_unixIsSomewhere(self) -> None:
        """
        A UNIX socket of this machine is a place, with or without a wrapper.
        """
        address = UNIXAddress("/run/s")
        wrapper, _, connection = self.wrapped(clientAddress=address)
        self.assertFalse(isNowhere(connection.server))
        self.assertFalse(isNowhere(wrapper))

    def test_nowhereWithoutTransport(self) -> None:
        """
        Of a wrapper that has lost its transport nothing else is asked.
        """
        wrapper, _, _ = self.wrapped()
        self.patch(wrapper, "getPeer", lambda: UNIXAddress("/client"))
        wrapper.transport = None
        self.assertFalse(isNowhere(wrapper))

    def test_memoryIsNoSocket(self) -> None:
        """
        What is no socket of Twisted's is not taken for one, wrapped or not.
        """
        wrapper, _, connection = self.wrapped()
        self.assertIsNone(plainConnection(connection.server))
        self.assertIsNone(plainConnection(wrapper))
        wrapper.transport = None
        self.assertIsNone(plainConnection(wrapper))


class _Shouting(ProtocolWrapper):
    """
    A wrapper that changes what is written.
    """

    def write(self, data: bytes) -> None:
        """
        Change it.
        """
        super().write(data.upper())


class PlainConnectionTests(TestCase):
    """
    Tests for L{plainConnection} over a real connection.
    """

    def setUp(self) -> Deferred[None]:
        """
        Connect over the loopback interface.
        """
        connected: Deferred[Protocol] = Deferred()
        case = self

        class Accepted(Protocol):
            def connectionMade(self) -> None:
                connected.callback(self)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                case.gone.callback(None)

        self.gone: Deferred[None] = Deferred()
        factory = Factory.forProtocol(Accepted)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        peer = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=10)
        self.addCleanup(peer.close)

        def prepare(protocol: Protocol) -> None:
            self.transport: Any = protocol.transport
            self.addCleanup(self.leave)

        return connected.addCallback(prepare)

    def leave(self) -> Deferred[None]:
        """
        End the connection.
        """
        self.transport.abortConnection()
        return self.gone

    def around(self, transport: Any, kind: type[ProtocolWrapper] = ProtocolWrapper) -> Any:
        """
        A wrapper around a transport.
        """
        wrapper = kind(WrappingFactory(Factory()), RecordingPeer())
        wrapper.makeConnection(transport)
        return wrapper

    def test_plain(self) -> None:
        """
        A plain socket is its own.
        """
        self.assertIs(plainConnection(self.transport), self.transport)

    def test_wrapped(self) -> None:
        """
        Wrappers that pass on what is written, as that of C{haproxy:} does, are seen through.
        """
        wrapper = self.around(self.transport, HAProxyProtocolWrapper)
        self.assertIs(plainConnection(wrapper), self.transport)
        self.assertIs(plainConnection(self.around(wrapper)), self.transport)

    def test_changed(self) -> None:
        """
        One that writes in a way of its own is not, wherever it stands.
        """
        self.assertIsNone(plainConnection(self.around(self.transport, _Shouting)))
        self.assertIsNone(plainConnection(self.around(self.around(self.transport, _Shouting))))
        self.assertIsNone(plainConnection(self.around(self.around(self.transport), _Shouting)))

    def test_tls(self) -> None:
        """
        TLS is no plain connection, be it around the socket from the beginning or from now on.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        pem = writeCertificate(folder)
        options = PrivateCertificate.loadPEM(pem.read_bytes()).options()
        tls = TLSMemoryBIOFactory(options, False, Factory.forProtocol(RecordingPeer))
        wrapper = tls.buildProtocol(None)
        assert wrapper is not None
        wrapper.transport = self.transport
        self.assertIsNone(plainConnection(wrapper))
        self.transport.startTLS(options, False)
        self.assertIsNone(plainConnection(self.transport))
        self.assertIsNone(plainConnection(self.around(self.transport)))

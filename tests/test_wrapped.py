"""
Tests for L{txsocks5.wrapped}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Factory
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from txsocks5.testing import MemoryConnection, RecordingPeer
from txsocks5.wire import IPAddress
from txsocks5.wrapped import passHalfClose, reachedAddresses

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
        heard: list[str] = []
        inner.writeConnectionLost = lambda: heard.append("ours")  # type: ignore[method-assign]
        passHalfClose(wrapper, inner)
        connection.server.loseWriteConnection()
        connection.client.loseWriteConnection()
        connection.flush()
        self.assertEqual(heard, ["ours"])
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

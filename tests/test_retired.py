"""
Tests for L{txsocks5.retired}.
"""

from __future__ import annotations

import socket
import tempfile
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from txsocks5.retired import BareConnection, retire
from txsocks5.wrapped import plainConnection

from .sockets import Peer

reactor: Any = installedReactor


class Leaver(Protocol):
    """
    A protocol that takes its socket out of the reactor when it hears the first octets.

    @ivar retired: the connection, once it has done so.

    @ivar losses: why it has ended; one item if it has.

    @ivar early: end the connection at once.

    @ivar owed: what to write before.
    """

    retired: BareConnection | None = None
    early = False
    owed = b""

    def __init__(self) -> None:
        self.losses: list[Failure] = []
        self.heard: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        Leave.
        """
        assert self.transport is not None
        if self.owed:
            self.transport.write(self.owed)
        connection = plainConnection(self.transport)
        assert connection is not None
        self.retired = retire(connection, self.transport)
        if self.early:
            self.end(reset=True)
        self.heard.callback(None)

    def end(self, *, reset: bool) -> None:
        """
        End the connection.
        """
        assert self.retired is not None
        self.retired.close(reset=reset)
        self.retired.lost(reset=reset)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Keep the reason.
        """
        self.losses.append(reason)


class Counting(Factory):
    """
    A factory that keeps its protocols.
    """

    noisy = False

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.built: list[Leaver] = []

    def buildProtocol(self, addr: object) -> Leaver:
        """
        Build one.
        """
        protocol = Leaver()
        vars(protocol).update(self.given)
        self.built.append(protocol)
        return protocol


class CountingClients(Counting, ClientFactory):
    """
    The same for clients.
    """

    lost = failed = 0

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        """
        Count it.
        """
        self.lost += 1

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """
        Count it.
        """
        self.failed += 1


class RetireTests(TestCase):
    """
    Tests for L{retire}, within C{doRead} of whatever reactor there is.
    """

    timeout = 60

    async def until(self, done: Any, *peers: Peer) -> None:
        """
        Let turns of the reactor pass until something is the case.
        """
        while True:
            for peer in peers:
                peer.look()
            if done():
                return
            await deferLater(reactor, 0)

    def listen(self, factory: Factory, path: str = "") -> Any:
        """
        Listen until the test is over.

        @return: where.
        """
        if path:
            port = reactor.listenUNIX(path, factory)
        else:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return path or ("127.0.0.1", port.getHost().port)

    async def call(self, where: Any, factory: Counting, built: int = 1) -> tuple[Peer, Leaver]:
        """
        Connect, and let the server's side hear something.
        """
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        end = socket.socket(family)
        self.addCleanup(end.close)
        end.connect(where)
        peer = Peer(end)
        peer.send(b"octets")
        await self.until(lambda: len(factory.built) == built and factory.built[-1].heard.called)
        return peer, factory.built[-1]

    async def test_retired(self) -> None:
        """
        The reactor knows nothing of the socket any more, which goes on; when it has ended the
        protocol hears so, once.
        """
        for path in ("", self.shortPath()):
            for reset in (False, True):
                factory = Counting()
                peer, protocol = await self.call(
                    self.listen(factory, path and f"{path}{reset}"), factory
                )
                retired = protocol.retired
                assert retired is not None
                self.assertEqual(
                    [each for each in reactor.getReaders() if each is protocol.transport], []
                )
                retired.socket.send(b"more")
                await self.until(lambda peer=peer: peer.received == b"more", peer)
                self.assertEqual(protocol.losses, [])
                protocol.end(reset=reset)
                await self.until(lambda peer=peer: peer.finished or peer.reset, peer)
                self.assertEqual(peer.reset, reset and not path)
                kind = ConnectionAborted if reset else ConnectionDone
                self.assertEqual([each.type for each in protocol.losses], [kind])
                self.assertEqual(retired.socket.fileno(), -1)
                # It is closed already.
                retired.close(reset=True)

    def shortPath(self) -> str:
        """
        A path for a UNIX socket.
        """
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return f"{folder.name}/s"

    async def test_wrapped(self) -> None:
        """
        A wrapper hears of the end by way of the transport, and its factory's count is right.
        """
        for reset in (False, True):
            factory = Counting()
            wrapping = WrappingFactory(factory)
            wrapping.noisy = False
            peer, protocol = await self.call(self.listen(wrapping), factory)
            self.assertEqual(len(wrapping.protocols), 1)
            protocol.end(reset=reset)
            self.assertEqual(len(wrapping.protocols), 0)
            await self.until(lambda peer=peer: peer.finished or peer.reset, peer)
            self.assertEqual(peer.reset, reset)
            self.assertEqual(len(protocol.losses), 1)

    async def test_endsAtOnce(self) -> None:
        """
        It ends within C{doRead}: everybody hears of that once.
        """
        for wrapped in (False, True):
            factory = Counting(early=True)
            outer = WrappingFactory(factory) if wrapped else factory
            peer, protocol = await self.call(self.listen(outer), factory)
            await self.until(lambda peer=peer: peer.reset, peer)
            for _ in range(3):
                await deferLater(reactor, 0)
            self.assertEqual(len(protocol.losses), 1)
            self.assertEqual(self.flushLoggedErrors(), [])

    async def test_unsent(self) -> None:
        """
        What the transport has not sent goes with the socket, and is not sent by the transport, too,
        though its reactor may be about to call it.
        """
        for wrapped in (False, True):
            factory = Counting(owed=b"owed")
            outer = WrappingFactory(factory) if wrapped else factory
            peer, protocol = await self.call(self.listen(outer), factory)
            assert protocol.retired is not None
            self.assertEqual(protocol.retired.unsent, b"owed")
            connection: Any = protocol.transport
            while isinstance(connection, ProtocolWrapper):
                connection = connection.transport
            self.assertIs(connection.doWrite(), None)
            protocol.retired.socket.send(b"!")
            await self.until(lambda peer=peer: peer.received, peer)
            self.assertEqual(peer.received, b"!")
            protocol.end(reset=False)
            self.assertEqual(self.flushLoggedErrors(), [])

    async def test_producer(self) -> None:
        """
        A producer that waits for room is let go of.
        """
        factory = Counting()

        class Producer:
            def resumeProducing(self) -> None:
                """
                Never called.
                """
                raise AssertionError

        real = factory.buildProtocol

        def build(addr: object) -> Leaver:
            protocol = real(addr)
            protocol.connectionMade = lambda: protocol.transport.registerProducer(Producer(), True)  # type: ignore
            return protocol

        factory.buildProtocol = build  # type: ignore[method-assign]
        _peer, protocol = await self.call(self.listen(factory), factory)
        self.assertIs(protocol.transport.producer, None)  # type: ignore[union-attr]
        protocol.end(reset=False)

    async def test_clients(self) -> None:
        """
        The connection of a client, wrapped or not: its connector and factory hear of the end, too,
        and a reset is one.
        """
        for wrapped in (False, True):
            listening = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(listening.close)
            factory = CountingClients()
            outer: Any = factory
            if wrapped:
                outer = WrappingFactory(factory)
                outer.noisy = False
            reactor.connectTCP("127.0.0.1", listening.getsockname()[1], outer)
            await self.until(lambda factory=factory: factory.built)
            accepted = listening.accept()[0]
            self.addCleanup(accepted.close)
            peer = Peer(accepted)
            peer.send(b"octets")
            await self.until(
                lambda factory=factory: factory.built and factory.built[0].heard.called
            )
            factory.built[0].end(reset=True)
            await self.until(lambda peer=peer: peer.finished or peer.reset, peer)
            self.assertTrue(peer.reset)
            self.assertEqual((factory.lost, factory.failed), (1, 0))
            self.assertEqual(len(factory.built[0].losses), 1)


class BareTests(TestCase):
    """
    Tests for L{BareConnection}.
    """

    def test_bare(self) -> None:
        """
        Nobody has to know of its end; it can be closed twice.
        """
        near, far = socket.socketpair()
        self.addCleanup(far.close)
        bare = BareConnection(near, b"unsent")
        self.assertEqual((bare.unsent, bare.early), (b"unsent", b""))
        self.assertFalse(bare.watched or bare.readable or bare.ending)
        bare.close(reset=False)
        bare.lost(reset=False)
        bare.close(reset=True)
        self.assertEqual(near.fileno(), -1)

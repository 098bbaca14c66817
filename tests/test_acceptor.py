"""
Tests for L{txsocks5.acceptor}.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txsocks5 import acceptor as module
from txsocks5.acceptor import Acceptor
from txsocks5.junction import DATA
from txsocks5.testing import RecordedEvents

from .sockets import JunctionFixture, Peer


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """
    A protocol that answers with what it hears.

    @ivar lost: whether the connection is gone.
    """

    lost = False

    def dataReceived(self, data: bytes) -> None:
        """
        Answer.
        """
        assert self.transport is not None
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """
        The other side has finished.
        """

    def writeConnectionLost(self) -> None:
        """
        So have we.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Keep that.
        """
        self.lost = True


class Echoes(Factory):
    """
    A factory that keeps its protocols.

    @ivar closed: whether it builds none.
    """

    noisy = False
    closed = False

    def __init__(self) -> None:
        self.built: list[Echo] = []

    def buildProtocol(self, addr: object) -> Echo | None:
        """
        Build one.
        """
        if self.closed:
            return None
        self.built.append(Echo())
        return self.built[-1]


class AcceptorTests(JunctionFixture):
    """
    Tests for L{Acceptor}.
    """

    def setUp(self) -> None:
        """
        Accept.
        """
        super().setUp()
        self.events = RecordedEvents(self)
        self.factory = Echoes()
        self.addCleanup(self.end)

    def begin(self, listening: socket.socket | None = None) -> Acceptor:
        """
        Begin to accept.
        """
        self.socket = listening or self.listening()
        self.acceptor = Acceptor(self.junction, self.reactor, self.socket, self.factory)
        self.acceptor.start()
        return self.acceptor

    def end(self) -> None:
        """
        Close all connections.
        """
        for protocol in self.factory.built:
            transport: Any = protocol.transport
            transport.abortConnection()
        self.turns()

    def call(self) -> Peer:
        """
        A client connects.
        """
        end = self.keep(socket.socket(self.socket.family))
        end.connect(self.socket.getsockname())
        return Peer(end)

    def test_served(self) -> None:
        """
        Clients are served, over TCP and UNIX sockets; segments wait for nothing, and the system
        looks after connections that are silent.
        """
        name = f"\0txsocks5-{os.getpid()}-{id(self)}"
        unix = self.keep(socket.socket(socket.AF_UNIX))
        unix.bind(name)
        unix.listen()
        unix.setblocking(False)
        for listening in (self.listening(), self.listening("::1"), unix):
            acceptor = self.begin(listening)
            peers = [self.call() for _ in range(5)]
            for peer in peers:
                peer.send(b"octets")
            for peer in peers:
                self.until(lambda peer=peer: peer.received == b"octets", peer)
            transport: Any = self.factory.built[-1].transport
            if listening is not unix:
                handle = transport.getHandle()
                for level, option in (
                    (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                ):
                    self.assertTrue(handle.getsockopt(level, option))
            acceptor.stop()
        self.assertEqual(len(self.factory.built), 15)

    def test_atOnce(self) -> None:
        """
        What a client has said before it is accepted is heard with its connection; and if hearing it
        fails, that is its own end alone.
        """
        acceptor = self.begin()
        early, worse = self.call(), self.call()
        early.send(b"octets")
        worse.send(b"octets")

        def failing(data: bytes) -> None:
            raise ZeroDivisionError

        build = self.factory.buildProtocol

        def building(addr: object) -> Echo | None:
            built = build(addr)
            if len(self.factory.built) == 2:
                built.dataReceived = failing  # type: ignore[method-assign, union-attr]
            return built

        self.patch(self.factory, "buildProtocol", building)
        acceptor._expected = 2
        acceptor.happened(DATA)
        for peer in (early, worse):
            peer.look()
        self.assertEqual((early.received, worse.reset), (b"octets", True))
        self.assertEqual([each.lost for each in self.factory.built], [False, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_crowd(self) -> None:
        """
        Many are accepted in a turn when many come, and one is looked for when few do.
        """
        acceptor = self.begin()
        for _ in range(40):
            self.call()
        self.until(lambda: len(self.factory.built) == 40)
        self.assertGreater(acceptor._expected, 1)
        self.patch(module, "_TURN", 2)
        acceptor._expected = 1
        for _ in range(10):
            self.call()
        self.until(lambda: len(self.factory.built) == 50)
        self.assertLessEqual(acceptor._expected, 2)

    def test_stopped(self) -> None:
        """
        Nobody is accepted any more; those who wait are still there for whoever accepts next.
        """
        self.begin().stop()
        self.call()
        self.turns()
        self.assertEqual(self.factory.built, [])
        self.assertEqual(self.junction._watchers, {})

    def test_stoppedByOne(self) -> None:
        """
        One of those who are accepted stops it.
        """
        acceptor = self.begin()
        acceptor._expected = 10
        real = self.factory.buildProtocol

        def build(addr: object) -> Echo | None:
            acceptor.stop()
            return real(addr)

        self.factory.buildProtocol = build  # type: ignore[method-assign]
        for _ in range(3):
            self.call()
        self.turns()
        self.assertEqual(len(self.factory.built), 1)

    def test_turnedAway(self) -> None:
        """
        A factory that builds no protocol has the connection closed.
        """
        self.begin()
        self.factory.closed = True
        peer = self.call()
        self.until(lambda: peer.finished or peer.reset, peer)

    def refuse(self, *errors: int) -> None:
        """
        Let accepting fail, a number of times.
        """
        left = list(errors)
        real = self.acceptor._take

        def take() -> tuple[int, Any]:
            if left:
                number = left.pop(0)
                raise OSError(number, os.strerror(number))
            return real()

        self.acceptor._take = take

    def test_gone(self) -> None:
        """
        A client that has gone before it was accepted does not keep the next one from being served.
        """
        self.begin()
        self.refuse(errno.ECONNABORTED, errno.EPROTO)
        peer = self.call()
        peer.send(b"octets")
        self.until(lambda: peer.received == b"octets", peer)
        self.assertEqual(self.events.names, [])

    def test_exhausted(self) -> None:
        """
        When there are no descriptors left those who come wait; it is said once, and tried again
        until there are.
        """
        self.begin()
        self.refuse(errno.EMFILE, errno.ENFILE, errno.ENOBUFS)
        peer = self.call()
        peer.send(b"octets")
        for _ in range(3):
            self.until(lambda: self.acceptor._retry is not None)
            self.assertEqual(self.junction._watchers, {})
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            self.reactor.advance(0.2)
        self.until(lambda: peer.received == b"octets", peer)
        self.assertEqual(self.events.one("exhausted")["reason"], os.strerror(errno.EMFILE))
        self.refuse(errno.ENOMEM)
        self.call()
        self.until(lambda: self.acceptor._retry is not None)
        self.assertEqual(len(self.events.named("exhausted")), 2)
        self.acceptor.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_exhaustedStill(self) -> None:
        """
        There may be no room to watch the listening socket again: that is tried again, too.
        """
        self.begin()
        self.refuse(errno.EMFILE)
        peer = self.call()
        peer.send(b"octets")
        self.until(lambda: self.acceptor._retry is not None)
        real = self.junction.watchArrivals
        errors = [OSError(errno.ENOMEM, "Cannot allocate memory")]

        def watch(descriptor: int, watcher: Any) -> None:
            if errors:
                raise errors.pop()
            real(descriptor, watcher)

        self.patch(self.junction, "watchArrivals", watch)
        self.reactor.advance(0.2)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(0.2)
        self.until(lambda: peer.received == b"octets", peer)

    def test_cannotBeWatched(self) -> None:
        """
        There is no room to watch a connection: it is reset, its protocol hears of that, and the
        others are served.
        """
        self.begin()
        real = self.junction.watch
        errors = [OSError(errno.ENOSPC, "No space left on device")]

        def watch(descriptor: int, watcher: Any) -> None:
            if errors:
                raise errors.pop()
            real(descriptor, watcher)

        self.patch(self.junction, "watch", watch)
        first = self.call()
        self.until(lambda: first.reset, first)
        self.until(lambda: self.factory.built[0].lost)
        second = self.call()
        second.send(b"octets")
        self.until(lambda: second.received == b"octets", second)
        self.assertEqual(self.events.named("unforeseen"), [])
        self.assertEqual(len(self.events.named("exhausted")), 1)

    def test_watcher(self) -> None:
        """
        After an error that nobody has foreseen it goes on; it never waits for a turn.
        """
        acceptor = self.begin()
        acceptor.goOn()
        acceptor.broke()
        self.call()
        self.until(lambda: self.factory.built)

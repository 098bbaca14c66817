"""
Tests for L{txsocks5.socketstream}.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txsocks5.junction import BUFFER, READABLE, WRITABLE
from txsocks5.socketstream import SocketStream
from txsocks5.stream import Fate, streamOf
from txsocks5.testing import PrivateProtection

from .sockets import JunctionFixture, Peer


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """
    A protocol that keeps what it hears.
    """

    def __init__(self) -> None:
        self.received = b""
        self.finished = 0
        self.losses: list[type[Exception]] = []
        self.then: Any = lambda: None

    def dataReceived(self, data: bytes) -> None:
        """
        Keep octets.
        """
        self.received += data
        self.then()

    def readConnectionLost(self) -> None:
        """
        The other end has finished.
        """
        self.finished += 1
        streamOf(self.transport).exhausted()  # type: ignore[arg-type]

    def writeConnectionLost(self) -> None:
        """
        So have we.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Keep the reason.
        """
        self.losses.append(reason.type)  # type: ignore[arg-type]


class StreamTests(JunctionFixture):
    """
    Tests for L{SocketStream}.
    """

    def make(self, pair: tuple[socket.socket, Peer] | None = None) -> SocketStream:
        """
        Make a stream.
        """
        near, self.peer = pair or self.tcp()
        name = "" if near.family == socket.AF_UNIX else near.getpeername()
        stream = SocketStream(self.junction, self.reactor, near, name)
        self.protocol = Recorder()
        self.protocol.makeConnection(stream)
        stream.start(self.protocol)
        self.addCleanup(self.turns)
        self.addCleanup(stream.abort)
        return stream

    def fill(self, stream: SocketStream) -> int:
        """
        Write until the peer takes no more.
        """
        count = 0
        while not stream.blocked:
            stream.write(b"f" * 100_000)
            count += 100_000
        return count

    def test_both(self) -> None:
        """
        Octets pass both ways; each write is one.
        """
        stream = self.make()
        self.assertIs(stream.transport, stream)
        self.assertIs(streamOf(stream), stream)
        self.peer.send(b"ping")
        self.until(lambda: self.protocol.received == b"ping")
        stream.writeSequence([b"po", b"ng"])
        self.until(lambda: self.peer.received == b"pong", self.peer)
        self.assertFalse(stream.blocked)

    def test_much(self) -> None:
        """
        More than one read brings is read in turns; FIN behind it is heard once.
        """
        self.make()
        data = os.urandom(3 * BUFFER + 5)
        sent = 0
        while sent < len(data):
            try:
                sent += self.peer.socket.send(data[sent:])
            except BlockingIOError:
                self.turns(1)
        self.peer.finish()
        self.until(lambda: self.protocol.finished)
        self.turns()
        self.assertTrue(self.protocol.received == data)
        self.assertEqual((self.protocol.finished, self.protocol.losses), (1, []))

    def test_urgent(self) -> None:
        """
        Octets behind an urgent one are read.
        """
        self.make()
        self.peer.send(b"before")
        self.peer.urge(b"!")
        self.peer.send(b"behind")
        self.until(lambda: self.protocol.received == b"beforebehind")

    def test_paused(self) -> None:
        """
        Nothing is read while it is paused; what has come meanwhile is, when it goes on.
        """
        stream = self.make()
        stream.pauseReading()
        self.assertTrue(stream.paused)
        self.peer.send(b"octets")
        self.turns()
        self.assertEqual(self.protocol.received, b"")
        stream.resumeReading()
        stream.resumeReading()
        self.until(lambda: self.protocol.received == b"octets")
        stream.pauseReading()
        stream.resumeReading()
        self.peer.send(b"!")
        self.until(lambda: self.protocol.received == b"octets!")

    def test_pausedByWhatItReads(self) -> None:
        """
        Whoever pauses in the midst of much is not brought more.
        """
        stream = self.make()
        self.protocol.then = stream.pauseReading
        self.peer.fill()
        self.until(lambda: self.protocol.received)
        self.turns()
        self.assertLessEqual(len(self.protocol.received), BUFFER)

    def test_blocked(self) -> None:
        """
        What the peer does not take is kept, in order, and whoever waits is told when it has gone.
        """
        stream = self.make()
        drained: list[int] = []
        stream.drained = lambda: drained.append(1)
        sent = self.fill(stream)
        stream.write(b"end")
        self.turns()
        self.assertEqual(drained, [])
        self.until(lambda: len(self.peer.received) == sent + 3, self.peer)
        self.until(lambda: drained)
        self.assertTrue(self.peer.received.endswith(b"fend"))
        self.assertFalse(stream.blocked)
        self.peer.received = b""
        sent = self.fill(stream)
        self.until(lambda: len(self.peer.received) == sent, self.peer)

    def test_forNothing(self) -> None:
        """
        It is told of octets, or of room, when there are none, as another socket had the same
        descriptor a moment ago.
        """
        stream = self.make()
        stream.happened(READABLE | WRITABLE)
        self.assertEqual((self.protocol.received, self.protocol.losses), (b"", []))
        sent = self.fill(stream)
        self.turns()
        stream.happened(WRITABLE)
        self.assertTrue(stream.blocked)
        self.until(lambda: len(self.peer.received) == sent, self.peer)

    def test_bitByBit(self) -> None:
        """
        A write larger than all that the system takes at a time goes bit by bit.
        """
        stream = self.make()
        data = bytes(30_000_000)
        stream.write(data)
        self.until(lambda: len(self.peer.received) == len(data), self.peer)
        self.assertFalse(stream.blocked)

    def test_protection(self) -> None:
        """
        What is written is wrapped.
        """
        stream = self.make()
        stream.protection = PrivateProtection(5, server=True)
        self.assertFalse(stream.retirable)
        stream.write(b"secret")
        expected = PrivateProtection(5, server=True).wrap(b"secret")
        self.until(lambda: self.peer.received == expected, self.peer)

    def test_finish(self) -> None:
        """
        FIN follows what has been written, and nothing follows FIN; reading goes on.
        """
        for full in (False, True):
            stream = self.make()
            sent = self.fill(stream) if full else 0
            stream.loseWriteConnection()
            stream.finish()
            stream.write(b"no")
            self.until(lambda: self.peer.finished, self.peer)
            self.assertEqual(len(self.peer.received), sent)
            self.peer.send(b"still")
            self.until(lambda: self.protocol.received == b"still")
            stream.close()
            self.turns()
            self.assertEqual(self.protocol.losses, [ConnectionDone])

    def test_close(self) -> None:
        """
        It closes when all has been sent, and tells the protocol once, later.
        """
        for full in (False, True):
            stream = self.make()
            sent = self.fill(stream) if full else 0
            stream.loseConnection()
            self.assertEqual(self.protocol.losses, [])
            self.until(lambda: self.peer.finished, self.peer)
            self.assertEqual(len(self.peer.received), sent)
            stream.close()
            stream.abort()
            self.turns()
            self.assertEqual(self.protocol.losses, [ConnectionDone])
            self.assertEqual((stream.fate(), self.junction._watchers), (Fate.OPEN, {}))

    def test_abort(self) -> None:
        """
        It is reset at once, also in the midst of what it tells.
        """
        stream = self.make()
        self.protocol.then = stream.abortConnection
        self.peer.send(b"octets")
        self.until(lambda: self.peer.reset, self.peer)
        self.turns()
        stream.abort()
        self.assertEqual(self.protocol.losses, [ConnectionAborted])

    def test_reset(self) -> None:
        """
        The peer resets the connection: reading tells, or else writing.
        """
        self.make()
        self.peer.abort()
        self.until(lambda: self.protocol.losses)
        self.assertEqual(self.protocol.losses, [ConnectionLost])
        stream = self.make()
        stream.pauseReading()
        self.peer.abort()
        self.until(lambda: stream.fate() is Fate.RESET)
        stream.write(b"into nowhere")
        self.until(lambda: self.protocol.losses)
        self.assertEqual(self.protocol.losses, [ConnectionLost])

    def test_resetMetByWriting(self) -> None:
        """
        If writing meets a reset, that is how it ends, whoever reads next: the system tells of an
        error but once, and of the regular end then.
        """
        stream = self.make()
        stream.pauseReading()
        self.peer.send(b"octets")
        self.turns()
        self.peer.abort()
        self.until(lambda: stream.fate() is Fate.RESET)
        stream.write(b"into nowhere")
        stream.resumeReading()
        stream.goOn()
        self.assertEqual(self.protocol.losses, [])
        self.turns()
        self.assertEqual((self.protocol.received, self.protocol.finished), (b"", 0))
        self.assertEqual(self.protocol.losses, [ConnectionLost])

    def test_resetWhileBlocked(self) -> None:
        """
        The peer resets the connection instead of taking what it has been sent.
        """
        stream = self.make()
        self.fill(stream)
        stream.pauseReading()
        self.peer.abort()
        self.until(lambda: self.protocol.losses)
        self.assertEqual((self.protocol.losses, self.protocol.finished), ([ConnectionLost], 0))

    def test_full(self) -> None:
        """
        The system may take nothing at all at first.
        """
        stream = self.make()
        count = Peer(stream.getHandle()).fill()
        stream.write(b"at last")
        self.assertTrue(stream.blocked)
        self.until(lambda: len(self.peer.received) == count + 7, self.peer)
        self.assertEqual(self.peer.received[-7:], b"at last")
        self.assertFalse(stream.blocked)

    def test_broke(self) -> None:
        """
        A protocol that fails loses its connection, which the peer can see.
        """
        self.make()

        def fail() -> None:
            raise ZeroDivisionError

        self.protocol.then = fail
        self.peer.send(b"octets")
        self.until(lambda: self.peer.reset, self.peer)
        self.assertEqual(self.protocol.losses, [ConnectionLost])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_retire(self) -> None:
        """
        The socket is given away, with what is known of it; the stream does nothing any more.
        """
        stream = self.make()
        self.assertTrue(stream.retirable)
        stream._buffer = b"unsent"
        self.peer.finish()
        self.until(lambda: self.protocol.finished)
        retired = stream.retire()
        self.assertTrue(retired.watched and retired.readable and retired.ending)
        self.assertEqual(retired.unsent, b"unsent")
        self.assertFalse(stream.retirable)
        stream.goOn()
        stream.broke()
        stream.abort()
        stream.write(b"no")
        self.assertGreaterEqual(retired.socket.fileno(), 0)
        retired.close(reset=False)
        retired.lost(reset=False)
        self.assertEqual(self.protocol.losses, [ConnectionDone])

    def test_turnedAwayAtOnce(self) -> None:
        """
        A stream that was aborted before it was started is not watched.
        """
        near, _peer = self.tcp()
        stream = SocketStream(self.junction, self.reactor, near, near.getpeername())
        protocol = Recorder()
        protocol.makeConnection(stream)
        stream.abort()
        stream.start(protocol)
        self.turns()
        self.assertEqual((protocol.losses, self.junction._watchers), ([ConnectionAborted], {}))

    def test_addresses(self) -> None:
        """
        It tells both addresses.
        """
        stream = self.make()
        self.assertIsInstance(stream.getHost(), IPv4Address)
        self.assertEqual(str(stream.peer()), "{}:{}".format(*self.peer.socket.getsockname()))
        peer: Any = stream.getPeer()
        self.assertEqual((peer.host, peer.port), self.peer.socket.getsockname())
        self.assertIsInstance(stream.getHandle(), socket.SocketType)
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
            far = self.keep(socket.create_connection(listening.getsockname()[:2]))
            near = self.keep(listening.accept()[0])
        near.setblocking(False)
        self.assertIsInstance(self.make((near, Peer(far))).getPeer(), IPv6Address)
        stream = self.make(self.unix())
        self.assertIs(stream.peer(), None)
        self.assertEqual(stream.getPeer(), UNIXAddress(None))

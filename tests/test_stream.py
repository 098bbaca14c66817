"""
Tests for L{txsocks5.stream}.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from txsocks5.stream import Fate, Stream, TargetProtocol, endedWell
from txsocks5.testing import MemoryConnection, PrivateProtection, RecordingPeer

#: To mypy the reactor is only a module.
reactor: Any = installedReactor


class HeardEvents:
    """
    Whoever listens to a L{TargetProtocol}.

    @ivar heard: what it was told.
    """

    def __init__(self) -> None:
        self.heard: list[object] = []

    def received(self, data: bytes) -> None:
        """
        Note octets.
        """
        self.heard.append(data)

    def finished(self) -> None:
        """
        Note the end.
        """
        self.heard.append("finished")

    def lost(self, reason: Failure) -> None:
        """
        Note how the connection ended.
        """
        self.heard.append(reason.type)


class MemoryTestCase(SynchronousTestCase):
    """
    A test case with a L{TargetProtocol} that is connected to a peer by memory.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.peer = RecordingPeer()
        self.target = TargetProtocol()
        self.connection = MemoryConnection(self.target, self.peer)
        self.stream = self.target.stream
        self.transport = self.connection.client
        self.flush = self.connection.flush


class StreamTests(MemoryTestCase):
    """
    Tests for L{Stream} over a transport that is not a plain socket.
    """

    def test_interfaces(self) -> None:
        """
        A stream is both kinds of producer, so that every transport can brake it.
        """
        verifyObject(IPushProducer, self.stream)
        verifyObject(IPullProducer, self.stream)

    def test_noDelay(self) -> None:
        """
        A message does not wait for the next (R-1928-02), and a peer that has vanished is noticed
        (R-1928-52).
        """
        self.assertIs(self.transport.noDelay, True)
        self.assertIs(self.transport.keepAlive, True)

    def test_noSuchOption(self) -> None:
        """
        A transport that only says that it is one of TCP, as a UNIX socket of an older Twisted
        does, is used all the same.
        """

        def refuse(enabled: bool) -> None:
            raise OSError(errno.EOPNOTSUPP, "not supported")

        self.patch(self.transport, "setTcpNoDelay", refuse)
        self.transport.unregisterProducer()
        stream = Stream(self.transport)
        stream.write(b"\x05\x00")
        self.flush()
        self.assertEqual(self.peer.received, b"\x05\x00")

    def test_oneWrite(self) -> None:
        """
        What is written in one call goes to the transport in one (R-1928-02).
        """
        self.stream.write(b"\x05\x00")
        self.stream.write(b"\x01\x00")
        self.flush()
        self.assertEqual(self.transport.writes, [b"\x05\x00", b"\x01\x00"])
        self.assertEqual(self.peer.received, b"\x05\x00\x01\x00")

    def test_blocked(self) -> None:
        """
        A stream is blocked when the transport says that its buffer is full, and tells its owner
        when that has drained (R-1928-51).
        """
        drained: list[bool] = []
        self.stream.drained = lambda: drained.append(self.stream.blocked)
        self.peer.pause()
        self.stream.write(b"x" * 1000)
        self.flush()
        self.assertFalse(self.stream.blocked)
        self.stream.write(b"x" * 200_000)
        self.flush()
        self.assertTrue(self.stream.blocked)
        self.assertEqual(drained, [])
        self.peer.resume()
        self.flush()
        self.assertEqual(drained, [False])
        self.assertEqual(len(self.peer.received), 201_000)

    def test_drainedForNobody(self) -> None:
        """
        Nobody needs to wait for a stream to drain.
        """
        self.stream.write(b"x" * 200_000)
        self.assertTrue(self.stream.blocked)
        self.flush()
        self.assertFalse(self.stream.blocked)

    def test_protection(self) -> None:
        """
        All that is written goes through the protection (R-1928-43, R-1928-53).
        """
        self.stream.protection = PrivateProtection(1, server=True)
        self.stream.write(b"secret")
        self.flush()
        self.assertNotIn(b"secret", self.peer.received)
        opened = PrivateProtection(1, server=False).unwrap(self.peer.received)
        self.assertEqual(opened, b"secret")

    def test_pauseReading(self) -> None:
        """
        A stream that is paused takes nothing until it is resumed; more of either does nothing
        more.
        """
        listener = HeardEvents()
        self.target.listen(listener)
        self.stream.pauseReading()
        self.stream.pauseReading()
        self.peer.send(b"data")
        self.flush()
        self.assertEqual(listener.heard, [])
        self.stream.resumeReading()
        self.stream.resumeReading()
        self.flush()
        self.assertEqual(listener.heard, [b"data"])

    def test_exhausted(self) -> None:
        """
        Once the peer has sent FIN, reading on does not find the same end again.
        """
        listener = HeardEvents()
        self.target.listen(listener)
        self.peer.finish()
        self.flush()
        self.assertFalse(self.stream.readable)
        self.stream.pauseReading()
        self.stream.resumeReading()
        self.flush()
        self.assertEqual(listener.heard, ["finished"])

    def test_finish(self) -> None:
        """
        FIN follows what was written; then nothing more is sent, and the peer can go on.
        """
        listener = HeardEvents()
        self.target.listen(listener)
        self.stream.write(b"x" * 200_000)
        self.stream.finish()
        self.stream.write(b"not sent")
        self.stream.finish()
        self.flush()
        self.assertEqual(self.peer.received, b"x" * 200_000)
        self.assertTrue(self.peer.finished)
        self.peer.send(b"answer")
        self.flush()
        self.assertEqual(listener.heard, [b"answer"])

    def test_finishOverTLS(self) -> None:
        """
        TLS has no half-close: its close alert tells the peer that nothing follows.
        """
        alsoProvides(self.transport, ISSLTransport)
        self.stream.finish()
        self.assertTrue(self.transport.disconnecting)

    def test_finishWithoutHalfClose(self) -> None:
        """
        A transport that cannot half-close is closed.
        """
        transport = StringTransport()
        stream = Stream(transport)
        stream.write(b"last word")
        stream.finish()
        self.assertEqual(transport.value(), b"last word")
        self.assertTrue(transport.disconnecting)

    def test_close(self) -> None:
        """
        A stream that is closed sends what it holds and nothing more, and reads no more.
        """
        self.stream.write(b"x" * 200_000)
        self.stream.close()
        self.stream.write(b"not sent")
        self.stream.resumeReading()
        self.flush()
        self.assertEqual(self.peer.received, b"x" * 200_000)
        self.assertTrue(self.peer.finished)
        self.assertFalse(self.transport.connected)

    def test_closeAfterFinish(self) -> None:
        """
        What has finished can be closed.
        """
        self.stream.finish()
        self.flush()
        self.stream.close()
        self.assertFalse(self.transport.connected)

    def test_abort(self) -> None:
        """
        A stream that is aborted resets the connection, and what it held is lost.
        """
        self.peer.pause()
        self.stream.write(b"x" * 200_000)
        self.flush()
        self.stream.abort()
        self.stream.write(b"not sent")
        self.stream.finish()
        self.peer.resume()
        self.flush()
        assert self.peer.lost is not None
        self.assertIsNotNone(self.peer.lost.check(ConnectionLost))
        self.assertEqual(self.peer.received, b"")

    def test_gone(self) -> None:
        """
        When the transport is gone, writing and finishing do nothing.
        """
        self.peer.abort()
        self.flush()
        self.stream.write(b"nobody hears")
        self.stream.finish()
        self.assertEqual(self.transport.writes, [])

    def test_goneForGood(self) -> None:
        """
        What has heard that it is gone tells its transport nothing more: some cannot bear it.
        """
        self.stream.lost()
        self.stream.write(b"not sent")
        self.stream.finish()
        self.stream.close()
        self.stream.abort()
        self.stream.resumeReading()
        self.flush()
        self.assertEqual(self.transport.writes, [])
        self.assertTrue(self.transport.connected)
        self.assertFalse(self.peer.finished)

    def test_notRetirable(self) -> None:
        """
        What is no socket cannot be taken out of the hands of its transport.
        """
        self.assertFalse(self.stream.retirable)

    def test_fate(self) -> None:
        """
        Of a transport that is no socket nothing is known, so that its peer counts as being there.
        """
        self.peer.abort()
        self.assertIs(self.stream.fate(), Fate.OPEN)
        self.assertFalse(self.stream.paused)

    def test_endedWell(self) -> None:
        """
        Only a regular end is one with everything delivered.
        """
        self.assertTrue(endedWell(Failure(ConnectionDone())))
        self.assertFalse(endedWell(Failure(ConnectionLost())))
        self.assertFalse(endedWell(Failure(ConnectionAborted())))


class TargetProtocolTests(MemoryTestCase):
    """
    Tests for L{TargetProtocol}.
    """

    def test_passesOn(self) -> None:
        """
        What happens is told to the listener.
        """
        listener = HeardEvents()
        self.target.listen(listener)
        self.peer.send(b"data")
        self.peer.finish()
        self.flush()
        self.peer.abort()
        self.flush()
        self.stream.write(b"x")
        self.flush()
        self.assertEqual(listener.heard, [b"data", "finished", ConnectionLost])

    def test_keepsWhatCameEarly(self) -> None:
        """
        What the target has said before there is a listener is kept, and no more than one read of
        it; the listener hears it before all else (R-1928-48).
        """
        connection = MemoryConnection(self.target, self.peer, readSize=10)
        self.peer.send(b"0123456789abcdef")
        self.peer.finish()
        connection.flush()
        self.assertEqual(len(connection.server._wire), 6)
        listener = HeardEvents()
        self.target.listen(listener)
        self.assertEqual(listener.heard, [b"0123456789"])
        connection.flush()
        self.assertEqual(listener.heard, [b"0123456789", b"abcdef", "finished"])

    def test_keepsTheEnd(self) -> None:
        """
        A target that has finished before there is a listener has finished for it, too.
        """
        self.peer.finish()
        self.flush()
        listener = HeardEvents()
        self.target.listen(listener)
        self.assertEqual(listener.heard, ["finished"])

    def test_keepsTheLoss(self) -> None:
        """
        So has one that is gone.
        """
        self.peer.abort()
        self.flush()
        listener = HeardEvents()
        self.target.listen(listener)
        self.assertEqual(listener.heard, [ConnectionLost])


class _Recorder(TargetProtocol):
    """
    The protocol under test on a real socket.

    @ivar made: called when it is connected.

    @ivar gone: fires when the connection is gone.

    @ivar reason: why that is.
    """

    def __init__(self, made: Callable[[_Recorder], None]) -> None:
        self.made = made
        self.gone: Deferred[None] = Deferred()
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        """
        Tell the test.
        """
        super().connectionMade()
        self.made(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the test.
        """
        super().connectionLost(reason)
        self.reason = reason
        self.gone.callback(None)


class SocketTests(TestCase):
    """
    Tests for L{Stream} over a real socket, which it writes to at once.  The peer is a blocking
    socket in the same thread: nothing but the kernel takes what is written.
    """

    def setUp(self) -> Deferred[None]:
        """
        Connect over the loopback interface.
        """
        connected: Deferred[_Recorder] = Deferred()
        factory = Factory.forProtocol(lambda: _Recorder(connected.callback))
        port = reactor.listenTCP(0, self.around(factory), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.peer = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=10)
        self.addCleanup(self.peer.close)

        def prepare(target: _Recorder) -> None:
            self.target = target
            self.stream = target.stream
            assert target.transport is not None
            self.transport: Any = target.transport
            while isinstance(self.transport, ProtocolWrapper):
                self.transport = self.transport.transport
            self.addCleanup(self.leave)

        return connected.addCallback(prepare)

    def around(self, factory: Factory) -> Factory:
        """
        What listens: here nothing is around the connections.
        """
        factory.noisy = False
        return factory

    def leave(self) -> Deferred[None]:
        """
        End the connection, if it has not ended.
        """
        if self.target.reason is not None:
            # Perhaps this is called by what waited for that, which cannot be waited for then.
            return succeed(None)
        self.transport.abortConnection()
        return self.target.gone

    def read(self, octets: int) -> bytes:
        """
        Read at the peer, without letting the reactor run.
        """
        data = b""
        while len(data) < octets:
            piece = self.peer.recv(octets - len(data))
            if not piece:
                break
            data += piece
        return data

    def fill(self) -> int:
        """
        Write until the kernel takes no more.

        @return: the number of octets.
        """
        octets = 0
        while not self.stream.blocked:
            self.stream.write(b"x" * 65536)
            octets += 65536
        return octets

    def drained(self, octets: int) -> Deferred[None]:
        """
        Let the peer read what was written while the reactor runs.

        @return: fires when the stream has drained.
        """
        fired: Deferred[None] = Deferred()
        drained: list[None] = []
        self.stream.drained = lambda: drained.append(None)
        self.peer.setblocking(False)
        taken = 0

        def take() -> None:
            nonlocal taken
            try:
                while taken < octets:
                    taken += len(self.peer.recv(octets - taken))
            except BlockingIOError:
                pass
            if taken < octets or not drained:
                reactor.callLater(0.001, take)
            else:
                self.peer.setblocking(True)
                self.assertEqual(len(drained), 1)
                self.assertFalse(self.stream.blocked)
                fired.callback(None)

        take()
        return fired

    def test_writesAtOnce(self) -> None:
        """
        What is written is with the peer when the call returns: it does not wait for the reactor.
        """
        self.stream.write(b"now")
        self.assertEqual(self.read(3), b"now")
        self.assertFalse(self.stream.blocked)

    def test_eachMessageIsAWrite(self) -> None:
        """
        Two messages of the server in the same turn of the reactor are two writes, each of them
        whole (R-1928-02).
        """
        writes: list[bytes] = []
        send = self.transport.writeSomeData

        def record(data: bytes) -> object:
            writes.append(data)
            return send(data)

        self.patch(self.transport, "writeSomeData", record)
        self.stream.write(b"\x05\x00")
        self.stream.write(b"\x01\x00")
        self.assertEqual(writes, [b"\x05\x00", b"\x01\x00"])
        self.assertEqual(self.read(4), b"\x05\x00\x01\x00")

    def test_partOfAWrite(self) -> Deferred[None]:
        """
        If the kernel takes a part of a message, the rest follows when it can, in order.
        """
        send = self.transport.writeSomeData
        self.patch(self.transport, "writeSomeData", lambda data: send(data[:3]))
        self.stream.write(b"one two three")
        self.assertTrue(self.stream.blocked)
        self.assertEqual(self.read(3), b"one")
        fired: Deferred[None] = Deferred()
        self.stream.drained = lambda: fired.callback(None)

        def then(ignored: None) -> None:
            self.assertFalse(self.stream.blocked)
            self.assertEqual(self.read(10), b" two three")

        return fired.addCallback(then)

    def test_blockedByTheKernel(self) -> Deferred[None]:
        """
        When the kernel takes no more, the stream is blocked until it has; nothing is lost
        (R-1928-51).
        """
        octets = self.fill()
        self.stream.write(b"tail")
        self.assertTrue(self.stream.blocked)

        def then(ignored: object) -> None:
            self.assertEqual(self.read(4), b"tail")
            self.stream.write(b"again at once")
            self.assertEqual(self.read(13), b"again at once")

        return self.drained(octets).addCallback(then)

    def test_blockedAgain(self) -> Deferred[None]:
        """
        A stream can be blocked any number of times.
        """
        first = self.drained(self.fill())
        return first.addCallback(lambda ignored: self.drained(self.fill()))

    def test_finishWhileBlocked(self) -> Deferred[None]:
        """
        FIN follows what the kernel has not taken yet.
        """
        octets = self.fill()
        self.stream.finish()
        self.peer.setblocking(False)
        result: Deferred[None] = Deferred()
        taken = 0

        def take() -> None:
            nonlocal taken
            try:
                piece = self.peer.recv(1 << 20)
                while piece:
                    taken += len(piece)
                    piece = self.peer.recv(1 << 20)
            except BlockingIOError:
                reactor.callLater(0.001, take)
            else:
                result.callback(None)

        take()
        return result.addCallback(lambda ignored: self.assertEqual(taken, octets))

    def test_finish(self) -> Deferred[None]:
        """
        FIN is sent, and the answer to it is heard.
        """
        self.stream.write(b"question")
        self.stream.finish()
        listener = HeardEvents()
        self.target.listen(listener)
        result: Deferred[None] = Deferred()

        def look() -> None:
            if not listener.heard:
                reactor.callLater(0.001, look)
                return
            self.assertEqual(listener.heard, [b"answer"])
            self.assertEqual(self.read(100), b"question")
            result.callback(None)

        self.peer.sendall(b"answer")
        look()
        return result

    def test_writesToTheDead(self) -> Deferred[None]:
        """
        If the connection turns out to be gone when it is written to, its end is reported in the
        regular way, once.
        """
        self.stream.pauseReading()
        # The reactor has no turn to notice it before we write.
        self.reset()
        self.stream.write(b"nobody hears")

        def then(ignored: None) -> None:
            assert self.target.reason is not None
            self.assertIsNotNone(self.target.reason.check(ConnectionLost))
            self.stream.write(b"nobody hears this either")

        return self.target.gone.addCallback(then)

    def test_writesToTheReset(self) -> Deferred[None]:
        """
        If writing meets a reset, that is how the connection ends: reading would take it for the
        regular end then, as the system tells of an error but once.
        """
        listener = HeardEvents()
        self.target.listen(listener)
        self.reset()
        self.stream.write(b"nobody hears")
        return self.target.gone.addCallback(
            lambda ignored: self.assertEqual(listener.heard, [ConnectionAborted])
        )

    def test_retirable(self) -> None:
        """
        The socket can be taken out of the hands of its transport while it is open in both
        directions and nothing is to be done with what passes.
        """
        self.assertTrue(self.stream.retirable)
        self.stream.protection = PrivateProtection(1, server=True)
        self.assertFalse(self.stream.retirable)
        self.stream.protection = None
        self.stream.finish()
        self.assertFalse(self.stream.retirable)

    async def test_retire(self) -> None:
        """
        It is that of somebody else then, who is given what has been read already.  The stream does
        nothing with it any more, and the protocol hears of the end.
        """
        self.peer.sendall(b"early")
        while self.stream.readable and not self.stream.paused:
            await deferLater(reactor, 0.001)
        retired = self.target.retire()
        self.assertEqual(retired.early, b"early")
        self.assertFalse(self.stream.retirable)
        self.stream.write(b"not written")
        self.stream.finish()
        self.stream.close()
        self.stream.abort()
        await deferLater(reactor, 0)
        retired.socket.sendall(b"written")
        self.assertIsNone(self.target.reason)
        retired.close(reset=False)
        retired.lost(reset=False)
        await self.target.gone
        assert self.target.reason is not None
        self.assertTrue(endedWell(self.target.reason))
        self.assertEqual(self.read(100), b"written")

    def reset(self) -> None:
        """
        Let the peer reset the connection.
        """
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.peer.close()

    def test_fate(self) -> None:
        """
        What the peer has done is known without reading, whatever is still to be read.
        """
        self.stream.pauseReading()
        self.assertTrue(self.stream.paused)
        self.assertIs(self.stream.fate(), Fate.OPEN)
        self.peer.sendall(b"data")
        self.assertIs(self.stream.fate(), Fate.OPEN)
        self.peer.shutdown(socket.SHUT_WR)
        self.assertIs(self.stream.fate(), Fate.FINISHED)
        self.reset()
        self.assertIs(self.stream.fate(), Fate.RESET)

    async def test_fateOfTheFinished(self) -> None:
        """
        Where both sides have sent FIN, and the peer's is still to be read, that is no reset,
        whoever was first.
        """
        self.stream.pauseReading()
        self.peer.sendall(b"data")
        self.peer.shutdown(socket.SHUT_WR)
        await self.finished()
        self.assertIs(self.stream.fate(), Fate.FINISHED)
        self.assertIs(self.stream.fate(), Fate.FINISHED)

    async def test_fateOfTheFirstToFinish(self) -> None:
        """
        The same where the peer is the second.
        """
        self.stream.pauseReading()
        await self.finished()
        self.assertIs(self.stream.fate(), Fate.OPEN)
        self.peer.sendall(b"data")
        self.peer.shutdown(socket.SHUT_WR)
        self.assertIs(self.stream.fate(), Fate.FINISHED)

    async def test_fateOfTheResetBehindFIN(self) -> None:
        """
        A reset is one, also of a connection that we have finished.
        """
        self.stream.pauseReading()
        await self.finished()
        self.peer.sendall(b"data")
        self.reset()
        self.assertIs(self.stream.fate(), Fate.RESET)

    async def finished(self) -> None:
        """
        Send FIN, and wait until the peer has it.
        """
        self.stream.finish()
        self.peer.setblocking(False)
        while True:
            try:
                self.assertEqual(self.peer.recv(1), b"")
                return
            except BlockingIOError:
                await deferLater(reactor, 0)

    def test_fateUnknown(self) -> None:
        """
        Where the system does not tell, the peer counts as being there.
        """
        self.reset()
        self.patch(socket, "TCP_INFO", 0x7FFF)
        self.assertIs(self.stream.fate(), Fate.OPEN)
        del socket.TCP_INFO
        self.assertIs(self.stream.fate(), Fate.OPEN)

    def test_fateOfTheGone(self) -> Deferred[None]:
        """
        Of a connection that is gone nothing is asked.
        """
        self.transport.abortConnection()
        return self.target.gone.addCallback(
            lambda ignored: self.assertIs(self.stream.fate(), Fate.OPEN)
        )

    def test_writesBetweenEndAndNews(self) -> None:
        """
        A socket that is closed, but of whose end nobody has heard yet, swallows what is written.
        """
        self.transport.connected = 0
        self.addCleanup(setattr, self.transport, "connected", 1)
        self.stream.write(b"nobody hears")
        self.assertFalse(self.stream.blocked)


class WrappedSocketTests(SocketTests):
    """
    The same through a wrapper that passes on what is written, as that of C{haproxy:} does.
    """

    def around(self, factory: Factory) -> Factory:
        """
        Wrap the connections.
        """
        wrapping: Any = WrappingFactory(super().around(factory))  # type: ignore[arg-type]
        wrapping.noisy = False
        return wrapping  # type: ignore[no-any-return]

"""
Tests for L{txsocks5.linger}.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsocks5.linger import Linger
from txsocks5.stream import Stream
from txsocks5.testing import MemoryConnection, RecordingPeer

LAST_WORD = b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"


@implementer(IHalfCloseableProtocol)
class Speaker(Protocol):
    """
    Says its last word as soon as it is told to, and lingers.
    """

    linger: Linger | None = None
    stream: Stream
    gone = False

    def connectionMade(self) -> None:
        """
        Prepare to send.
        """
        assert self.transport is not None
        self.stream = Stream(self.transport)

    def say(self, clock: Clock) -> None:
        """
        Say the last word.
        """
        self.stream.write(LAST_WORD)
        self.linger = Linger(self.stream, clock, 3)

    def dataReceived(self, data: bytes) -> None:
        """
        Pass data on, once there is somebody to pass them to.
        """
        if self.linger is not None:
            self.linger.received(data)

    def readConnectionLost(self) -> None:
        """
        Pass on the end.
        """
        self.stream.exhausted()
        if self.linger is not None:
            self.linger.finished()

    def writeConnectionLost(self) -> None:
        """
        Our FIN is on its way.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Let go.
        """
        assert self.linger is not None
        self.gone = True
        self.linger.release()


class LingerTests(SynchronousTestCase):
    """
    Tests for L{Linger}.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.clock = Clock()
        self.peer = RecordingPeer()
        self.speaker = Speaker()
        self.connection = MemoryConnection(self.peer, self.speaker)

    def say(self) -> None:
        """
        Let the last word be said.
        """
        self.speaker.say(self.clock)
        self.connection.flush()

    def test_finAtOnce(self) -> None:
        """
        The peer gets the last word and FIN at once, and when it closes everything is gone
        (R-1928-41).
        """
        self.say()
        self.assertEqual(self.peer.received, LAST_WORD)
        self.assertTrue(self.peer.finished)
        self.assertFalse(self.speaker.gone)
        self.peer.close()
        self.connection.flush()
        self.assertTrue(self.speaker.gone)
        assert self.peer.lost is not None
        self.assertIsNotNone(self.peer.lost.check(ConnectionDone))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abortAfterItsTime(self) -> None:
        """
        A peer that does not close is reset when the time is over, whatever it sends
        (R-1928-41).
        """
        self.say()
        self.clock.advance(2.5)
        self.peer.send(b"still talking")
        self.connection.flush()
        self.assertFalse(self.speaker.gone)
        self.clock.advance(0.6)
        self.connection.flush()
        self.assertTrue(self.speaker.gone)
        self.peer.send(b"x")
        self.connection.flush()
        assert self.peer.lost is not None
        self.assertIsNotNone(self.peer.lost.check(ConnectionLost))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreadInputDoesNotDestroyTheLastWord(self) -> None:
        """
        What the peer has sent and nobody has read is read and thrown away: closing over it would
        send a reset, and the last word would be lost (R-1928-41).
        """
        self.speaker.stream.pauseReading()
        self.peer.send(b"x" * 60_000)
        self.peer.pause()
        self.connection.flush()
        self.say()
        self.assertFalse(self.speaker.gone)
        self.peer.resume()
        self.connection.flush()
        self.assertEqual(self.peer.received, LAST_WORD)
        self.assertTrue(self.peer.finished)

    def test_discards64KiB(self) -> None:
        """
        64 KiB are thrown away, one octet more makes a reset (R-1928-41).
        """
        self.say()
        self.peer.send(b"x" * 65536)
        self.connection.flush()
        self.assertFalse(self.speaker.gone)
        self.peer.send(b"x")
        self.connection.flush()
        self.assertTrue(self.speaker.gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_peerHasFinished(self) -> None:
        """
        If the peer has sent FIN before, the connection is closed as soon as the last word has
        gone.
        """
        self.peer.finish()
        self.connection.flush()
        self.say()
        self.assertEqual(self.peer.received, LAST_WORD)
        self.assertTrue(self.peer.finished)
        self.assertTrue(self.speaker.gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_peerHasFinishedAndDoesNotRead(self) -> None:
        """
        A peer that has sent FIN and does not take the last word is reset in the end, too.
        """
        self.peer.finish()
        self.connection.flush()
        self.peer.pause()
        self.speaker.stream.write(b"x" * 100_000)
        self.say()
        self.assertFalse(self.speaker.gone)
        self.clock.advance(3)
        self.connection.flush()
        self.assertTrue(self.speaker.gone)

    def test_blockedStream(self) -> None:
        """
        Whoever waited for the stream to drain does not hear of it any more, and the last word
        comes behind what was sent before.
        """
        drained: list[None] = []
        self.speaker.stream.drained = lambda: drained.append(None)
        self.peer.pause()
        self.speaker.stream.write(b"x" * 200_000)
        self.connection.flush()
        self.assertTrue(self.speaker.stream.blocked)
        self.say()
        self.peer.resume()
        self.connection.flush()
        self.assertEqual(self.peer.received, b"x" * 200_000 + LAST_WORD)
        self.assertTrue(self.peer.finished)
        self.assertEqual(drained, [])

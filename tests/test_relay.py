"""
Tests for L{txsocks5.relay}.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsocks5.bandwidth import Meter
from txsocks5.config import Timeouts
from txsocks5.interfaces import Identity, IRelayTap, Question
from txsocks5.relay import CopyingRelay
from txsocks5.stream import Fate, Stream, TargetProtocol
from txsocks5.sweep import Sweep
from txsocks5.testing import MemoryConnection, RecordedTraffic, RecordingPeer, flushAll
from txsocks5.wire import Address, Command

from .meters import Purse
from .wire.values import reproducible

PEER = Address(IPv4Address("192.0.2.7"), 80)


@implementer(IHalfCloseableProtocol)
class Side(Protocol):
    """
    The server's protocol towards a client, reduced to what a relay needs.
    """

    relay: CopyingRelay
    stream: Stream

    def connectionMade(self) -> None:
        """
        Prepare to send.
        """
        assert self.transport is not None
        self.stream = Stream(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Pass octets on.
        """
        self.relay.clientReceived(data)

    def readConnectionLost(self) -> None:
        """
        Pass on the end.
        """
        self.stream.exhausted()
        self.relay.clientFinished()

    def writeConnectionLost(self) -> None:
        """
        Our FIN is on its way.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Pass on that the connection is gone.
        """
        self.relay.clientLost(reason)


class Pair:
    """
    A client and a target with a relay between them.

    @ivar reasons: why the relay has ended; one item if it has.
    """

    def __init__(
        self,
        timeouts: Timeouts | None = None,
        tap: IRelayTap | None = None,
        capacity: int = 65536,
        readSize: int = 65536,
        clock: Clock | None = None,
        early: bytes = b"",
        meter: Meter | None = None,
        begin: bool = True,
    ) -> None:
        self.clock = clock or Clock()
        self.sweep = Sweep(self.clock)
        self.client, self.target = RecordingPeer(), RecordingPeer()
        self.reasons: list[str] = []
        size: dict[str, Any] = {"capacity": capacity, "readSize": readSize}
        self.side = Side()
        self.near = MemoryConnection(self.client, self.side, **size)
        outer = TargetProtocol()
        self.far = MemoryConnection(outer, self.target, **size)
        if early:
            self.target.send(early)
            self.flush()
        self.relay = self.side.relay = CopyingRelay(
            self.side.stream,
            outer,
            self.sweep,
            timeouts or Timeouts(),
            self.reasons.append,
            tap,
            PEER if tap is not None else None,
            meter,
        )
        if begin:
            self.relay.begin()

    def flush(self) -> None:
        """
        Let everything happen that can.
        """
        flushAll(self.near, self.far)

    def advance(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.flush()

    def held(self) -> int:
        """
        How many octets the relay holds in its own transports.
        """
        return self.near.server.buffered + self.far.client.buffered


def kindOf(peer: RecordingPeer) -> type[BaseException] | None:
    """
    How a connection has ended.
    """
    return None if peer.lost is None else peer.lost.type


class RelayTests(SynchronousTestCase):
    """
    Tests for what passes through a L{CopyingRelay}, and how it ends.
    """

    def test_passesBothWays(self) -> None:
        """
        What the client sends comes to the target, and the other way round.
        """
        pair = Pair()
        pair.client.send(b"question")
        pair.target.send(b"answer")
        pair.flush()
        self.assertEqual(pair.target.received, b"question")
        self.assertEqual(pair.client.received, b"answer")
        self.assertEqual((pair.relay.fromClient, pair.relay.toClient), (8, 6))
        self.assertEqual(pair.relay.dropped, 0)
        self.assertEqual(pair.reasons, [])

    def test_earlyData(self) -> None:
        """
        What a target has said before the relay began comes to the client, and first.
        """
        pair = Pair(early=b"220 ready\\r\\n")
        pair.target.send(b"more")
        pair.flush()
        self.assertEqual(pair.client.received, b"220 ready\\r\\nmore")

    def test_clientFinishesFirst(self) -> None:
        """
        A client that has sent its last octet and FIN gets an answer that comes later; when the
        target has finished too, both connections are closed (R-1928-49).
        """
        pair = Pair()
        pair.client.send(b"question")
        pair.client.finish()
        pair.flush()
        self.assertEqual(pair.target.received, b"question")
        self.assertTrue(pair.target.finished)
        self.assertIsNone(pair.target.lost)
        pair.target.send(b"late answer")
        pair.flush()
        self.assertEqual(pair.client.received, b"late answer")
        self.assertFalse(pair.client.finished)
        pair.target.finish()
        pair.flush()
        self.assertTrue(pair.client.finished)
        self.assertEqual(pair.reasons, ["both sides finished"])
        self.assertFalse(pair.near.server.connected)
        self.assertFalse(pair.far.client.connected)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_targetFinishesFirst(self) -> None:
        """
        A target that has finished still hears what the client sends (R-1928-49).
        """
        pair = Pair()
        pair.target.send(b"banner")
        pair.target.finish()
        pair.flush()
        self.assertTrue(pair.client.finished)
        pair.client.send(b"upload")
        pair.client.finish()
        pair.flush()
        self.assertEqual(pair.target.received, b"upload")
        self.assertTrue(pair.target.finished)
        self.assertEqual(pair.reasons, ["both sides finished"])
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_finWaitsForData(self) -> None:
        """
        FIN comes behind all data, however slowly the other side takes them (R-1928-49).
        """
        pair = Pair(capacity=1000)
        pair.target.pause()
        pair.client.send(b"x" * 300_000)
        pair.client.finish()
        pair.flush()
        self.assertFalse(pair.target.finished)
        pair.target.resume()
        pair.flush()
        self.assertEqual(len(pair.target.received), 300_000)
        self.assertTrue(pair.target.finished)

    def test_clientResets(self) -> None:
        """
        A reset from the client resets the target, so that it cannot take what it has got for all
        there was (R-1928-50).
        """
        pair = Pair()
        pair.client.send(b"half a mess")
        pair.flush()
        pair.client.abort()
        pair.flush()
        self.assertEqual(kindOf(pair.target), ConnectionLost)
        self.assertEqual(kindOf(pair.client), ConnectionAborted)
        self.assertEqual(len(pair.reasons), 1)
        self.assertIn("client lost: ", pair.reasons[0])
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_targetResets(self) -> None:
        """
        A reset from the target resets the client (R-1928-50).
        """
        pair = Pair()
        pair.target.abort()
        pair.flush()
        self.assertEqual(kindOf(pair.client), ConnectionLost)
        self.assertIn("target lost: ", pair.reasons[0])
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_resetAfterFin(self) -> None:
        """
        A reset is passed on as one even after that side has finished (R-1928-50).
        """
        pair = Pair()
        pair.client.finish()
        pair.flush()
        pair.client.abort()
        pair.target.send(b"answer")
        pair.flush()
        pair.target.send(b"more")
        pair.flush()
        self.assertEqual(kindOf(pair.target), ConnectionLost)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_resetWhileBlocked(self) -> None:
        """
        A reset discards what the relay holds for the other side, rather than waiting for it to be
        taken: the end of a truncated stream must not look regular (R-1928-50).
        """
        pair = Pair(capacity=1000)
        pair.target.pause()
        pair.client.send(b"x" * 5000)
        pair.flush()
        pair.client.abort()
        pair.flush()
        # The relay does not read while it is blocked, and so hears of the reset when the other
        # side has taken what it holds.
        pair.target.resume()
        pair.flush()
        self.assertEqual(kindOf(pair.target), ConnectionLost)

    def test_backPressure(self) -> None:
        """
        While the target does not read, not much of what the client sends is taken, however much it
        sends; when the target reads again it gets everything (R-1928-51).
        """
        data = bytes(range(256)) * 8000
        pair = Pair()
        pair.target.pause()
        pair.client.send(data)
        pair.flush()
        self.assertLessEqual(pair.held(), 2 * 65536)
        self.assertGreater(pair.near.client.buffered, len(data) - 6 * 65536)
        pair.target.resume()
        pair.flush()
        self.assertEqual(pair.target.received, data)

    def test_backPressureTowardsClient(self) -> None:
        """
        The same holds for a client that does not read (R-1928-51).
        """
        data = bytes(range(256)) * 8000
        pair = Pair()
        pair.client.pause()
        pair.target.send(data)
        pair.flush()
        self.assertLessEqual(pair.held(), 2 * 65536)
        self.assertGreater(pair.far.server.buffered, len(data) - 6 * 65536)
        # The other direction goes on meanwhile.
        pair.client.send(b"still here")
        pair.flush()
        self.assertEqual(pair.target.received, b"still here")
        pair.client.resume()
        pair.flush()
        self.assertEqual(pair.client.received, data)

    def test_blockedFromTheBeginning(self) -> None:
        """
        A side that is blocked when the relay begins brakes the other at once.
        """
        pair = Pair()
        other = Pair()
        pair.client.pause()
        pair.side.stream.write(b"x" * 200_000)
        pair.flush()
        self.assertTrue(pair.side.stream.blocked)
        outer = TargetProtocol()
        target = RecordingPeer()
        far = MemoryConnection(outer, target)
        pair.side.relay = CopyingRelay(
            pair.side.stream, outer, other.sweep, Timeouts(), pair.reasons.append
        )
        pair.side.relay.begin()
        target.send(b"y" * 1000)
        flushAll(pair.near, far)
        self.assertFalse(far.client.reading)
        pair.client.resume()
        flushAll(pair.near, far)
        self.assertEqual(pair.client.received, b"x" * 200_000 + b"y" * 1000)

    def test_tap(self) -> None:
        """
        A tap sees all data of both directions, with the peer.
        """
        traffic = RecordedTraffic()
        question = Question(Identity("", 0), None, Command.CONNECT, PEER)
        pair = Pair(tap=traffic.began(question))
        pair.client.send(b"a")
        pair.flush()
        pair.target.send(b"b")
        pair.flush()
        self.assertEqual(traffic.sessions[0].passages, [(True, PEER, b"a"), (False, PEER, b"b")])

    def test_abort(self) -> None:
        """
        A relay that is aborted resets both sides, and says so once.
        """
        pair = Pair()
        pair.relay.abort("because")
        pair.flush()
        self.assertEqual((kindOf(pair.client), kindOf(pair.target)), (ConnectionLost,) * 2)
        self.assertEqual(pair.reasons, ["because"])
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_finAfterTheEnd(self) -> None:
        """
        A FIN that is heard of when both connections are gone sets no timer.
        """
        pair = Pair()
        pair.relay.abort("because")
        pair.flush()
        pair.relay.clientFinished()
        self.assertEqual(pair.reasons, ["because"])
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_targetGoneBefore(self) -> None:
        """
        If the target has said something and is gone before the relay begins, the client still
        gets it, and the same kind of end.
        """
        for lost in (ConnectionDone, ConnectionLost):
            outer = TargetProtocol()
            target = RecordingPeer()
            far = MemoryConnection(outer, target)
            target.send(b"bye")
            far.flush()
            outer.connectionLost(Failure(lost()))
            pair = Pair()
            reasons: list[str] = []
            pair.side.relay = CopyingRelay(
                pair.side.stream, outer, pair.sweep, Timeouts(), reasons.append
            )
            pair.side.relay.begin()
            pair.flush()
            self.assertEqual(len(reasons), 1)
            if lost is ConnectionDone:
                self.assertEqual(pair.client.received, b"bye")
                self.assertFalse(pair.near.server.connected)
            else:
                self.assertEqual(kindOf(pair.client), ConnectionLost)


class MeterTests(SynchronousTestCase):
    """
    Tests for relays that a L{Meter <txsocks5.bandwidth.Meter>} holds back.
    """

    def test_held(self) -> None:
        """
        No more than is allowed passes; then the source is read no more until there is more.
        """
        purse = Purse(4)
        pair = Pair(meter=purse)
        pair.client.send(b"0123456789")
        pair.flush()
        self.assertEqual((pair.target.received, purse.left), (b"0123", 0))
        self.assertFalse(pair.near.server.reading)
        purse.add(3)
        pair.flush()
        self.assertEqual((pair.target.received, len(purse.waiting)), (b"0123456", 1))
        self.assertFalse(pair.near.server.reading)
        purse.add(30)
        pair.flush()
        self.assertEqual((pair.target.received, purse.left), (b"0123456789", 27))
        self.assertTrue(pair.near.server.reading)
        self.assertEqual((pair.relay.fromClient, purse.waiting), (10, []))

    def test_bothDirections(self) -> None:
        """
        Both directions spend of the same.
        """
        purse = Purse(6)
        pair = Pair(meter=purse)
        pair.client.send(b"0123")
        pair.flush()
        pair.target.send(b"abcd")
        pair.flush()
        self.assertEqual((pair.target.received, pair.client.received), (b"0123", b"ab"))
        purse.add(2)
        pair.flush()
        self.assertEqual(pair.client.received, b"abcd")

    def test_nothingAllowed(self) -> None:
        """
        Nothing passes if nothing is allowed, and being called in vain does no harm.
        """
        purse = Purse()
        pair = Pair(meter=purse)
        pair.client.send(b"0123")
        pair.flush()
        purse.add(0)
        pair.flush()
        self.assertEqual((pair.target.received, len(purse.waiting)), (b"", 1))

    def test_piecesOfOneRead(self) -> None:
        """
        What comes all the same while nothing is read, since TLS hands on one read in several
        pieces, waits behind the rest.
        """
        purse = Purse(1)
        pair = Pair(meter=purse)
        pair.relay.clientReceived(b"01")
        pair.relay.clientReceived(b"23")
        pair.flush()
        self.assertEqual((pair.target.received, len(purse.waiting)), (b"0", 1))
        purse.add(3)
        pair.flush()
        self.assertEqual(pair.target.received, b"0123")

    def test_finBehind(self) -> None:
        """
        A FIN that has been heard of passes behind what is held.
        """
        purse = Purse(1)
        pair = Pair(meter=purse)
        pair.relay.clientReceived(b"0123")
        pair.relay.clientFinished()
        pair.flush()
        self.assertEqual((pair.target.received, pair.target.finished), (b"0", False))
        purse.add(3)
        pair.flush()
        self.assertEqual((pair.target.received, pair.target.finished), (b"0123", True))
        pair.target.finish()
        pair.flush()
        self.assertEqual(pair.reasons, ["both sides finished"])

    def test_blockedMeanwhile(self) -> None:
        """
        A peer that does not read brakes as it always does, whatever is allowed.
        """
        purse = Purse(200_000)
        pair = Pair(meter=purse)
        data = bytes(range(250)) * 4000
        pair.target.pause()
        pair.client.send(data)
        pair.flush()
        self.assertLessEqual(pair.held(), 2 * 65536)
        purse.add(10_000_000)
        pair.flush()
        self.assertLessEqual(pair.held(), 2 * 65536)
        pair.target.resume()
        pair.flush()
        self.assertEqual(pair.target.received, data)

    def test_calledWhileBlocked(self) -> None:
        """
        If more is allowed while the peer does not read, what is held waits for the peer.
        """
        purse = Purse(100_000)
        pair = Pair(meter=purse, capacity=50_000)
        pair.target.pause()
        pair.relay.clientReceived(b"x" * 150_000)
        pair.flush()
        self.assertEqual((purse.left, len(purse.waiting)), (0, 1))
        purse.add(60_000)
        self.assertEqual((purse.left, len(purse.waiting)), (60_000, 0))
        pair.target.resume()
        pair.flush()
        self.assertEqual((len(pair.target.received), purse.left), (150_000, 10_000))

    def test_drainedWhileWaiting(self) -> None:
        """
        If the peer reads again before more is allowed, what is held waits for the meter.
        """
        purse = Purse(100_000)
        pair = Pair(meter=purse, capacity=50_000)
        pair.target.pause()
        pair.relay.clientReceived(b"x" * 150_000)
        pair.target.resume()
        pair.flush()
        self.assertEqual((len(pair.target.received), len(purse.waiting)), (100_000, 1))
        self.assertFalse(pair.near.server.reading)
        purse.add(50_000)
        pair.flush()
        self.assertEqual(len(pair.target.received), 150_000)
        self.assertTrue(pair.near.server.reading)

    def test_sourceGone(self) -> None:
        """
        If a connection has ended regularly, what it has sent passes at once, and is accounted for;
        its peer is closed behind it.
        """
        purse = Purse(1)
        pair = Pair(meter=purse)
        pair.relay.clientReceived(b"0123")
        pair.relay.clientLost(Failure(ConnectionDone()))
        pair.flush()
        self.assertEqual((pair.target.received, purse.left), (b"0123", -3))
        self.assertEqual(pair.reasons, ["client closed"])
        purse.add(10)
        pair.flush()
        self.assertEqual(purse.left, 7)

    def test_sourceReset(self) -> None:
        """
        What is held of a connection that was reset does not pass, nor does it count.
        """
        purse = Purse(1)
        pair = Pair(meter=purse)
        pair.relay.clientReceived(b"0123")
        pair.relay.clientFinished()
        pair.flush()
        pair.relay.clientLost(Failure(ConnectionLost()))
        purse.add(10)
        pair.flush()
        self.assertEqual((pair.target.received, purse.left), (b"0", 10))
        self.assertEqual(kindOf(pair.target), ConnectionLost)

    def test_limitedLater(self) -> None:
        """
        A relay without a limit can be given one while it runs.
        """
        pair = Pair()
        pair.client.send(b"01")
        pair.flush()
        purse = Purse(1)
        pair.relay.meter = purse
        self.assertIs(pair.relay.meter, purse)
        pair.client.send(b"23")
        pair.flush()
        self.assertEqual((pair.target.received, purse.left), (b"012", 0))

    def test_freedLater(self) -> None:
        """
        A limit can be taken away while a relay waits for it: once the meter calls, everything
        passes, in order.
        """
        purse = Purse(1)
        pair = Pair(meter=purse)
        pair.client.send(b"01")
        pair.flush()
        pair.relay.meter = None
        pair.relay.clientReceived(b"23")
        pair.flush()
        self.assertEqual(pair.target.received, b"0")
        purse.add(0)
        pair.flush()
        self.assertEqual(pair.target.received, b"0123")
        self.assertTrue(pair.near.server.reading)

    def test_freedAndGone(self) -> None:
        """
        If the limit has been taken away, what is held of a connection that has ended counts no
        more.
        """
        purse = Purse()
        pair = Pair(meter=purse)
        pair.relay.clientReceived(b"01")
        pair.relay.meter = None
        pair.relay.clientLost(Failure(ConnectionDone()))
        pair.flush()
        self.assertEqual((pair.target.received, purse.left), (b"01", 0))

    def test_afterTheEnd(self) -> None:
        """
        A relay that is over keeps no meter.
        """
        pair = Pair(meter=Purse())
        pair.relay.abort("because")
        pair.relay.meter = Purse()
        self.assertIs(pair.relay.meter, None)


class LimitTests(SynchronousTestCase):
    """
    Tests for relays in which nothing moves.
    """

    def test_idleForEver(self) -> None:
        """
        By default a relay may be idle for ever (R-1928-52), and costs no timer.
        """
        pair = Pair()
        self.assertEqual(pair.clock.getDelayedCalls(), [])
        self.assertEqual(pair.reasons, [])

    def test_idle(self) -> None:
        """
        With a limit, a relay ends when nothing has moved for that long, and both sides are reset
        (R-1928-52).
        """
        pair = Pair(Timeouts(idle=10))
        pair.advance(8)
        pair.target.send(b"x")
        pair.flush()
        pair.advance(8)
        pair.client.send(b"x")
        pair.flush()
        pair.advance(9)
        self.assertEqual(pair.reasons, [])
        pair.advance(3)
        self.assertEqual(pair.reasons, ["idle for too long"])
        self.assertEqual((kindOf(pair.client), kindOf(pair.target)), (ConnectionLost,) * 2)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_halfClosed(self) -> None:
        """
        A relay of which one side has finished ends when nothing moves any more (R-1928-49).
        """
        pair = Pair(Timeouts(halfClosed=10))
        pair.client.finish()
        pair.flush()
        pair.advance(8)
        pair.target.send(b"x")
        pair.flush()
        pair.advance(9)
        self.assertEqual(pair.reasons, [])
        pair.advance(3)
        self.assertEqual(pair.reasons, ["half-closed for too long"])
        self.assertEqual(kindOf(pair.client), ConnectionLost)
        pair.target.send(b"more")
        pair.flush()
        self.assertEqual(kindOf(pair.target), ConnectionLost)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_halfClosedForEver(self) -> None:
        """
        With a limit of 0 a relay may be half-closed for ever.
        """
        pair = Pair(Timeouts(halfClosed=0))
        pair.target.finish()
        pair.flush()
        pair.advance(1000)
        self.assertEqual(pair.reasons, [])
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_pausedForEver(self) -> None:
        """
        A relay without a limit may wait for ever for a side to take what is held for it; whether
        the other is still there is asked meanwhile, of any transport.
        """
        pair = Pair(capacity=1000)
        pair.target.pause()
        pair.client.send(b"x" * 100_000)
        pair.flush()
        pair.advance(1000)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(pair.reasons, [])
        pair.target.resume()
        pair.flush()
        pair.advance(2)
        self.assertEqual(len(pair.target.received), 100_000)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_resetWhilePaused(self) -> None:
        """
        A reset from a side that is not being read is noticed, though not at once, and resets the
        other (R-1928-50).
        """
        pair = Pair(capacity=1000)
        pair.target.pause()
        pair.client.send(b"x" * 100_000)
        pair.flush()
        pair.advance(3)
        self.assertEqual(pair.reasons, [])
        pair.side.stream.fate = lambda: Fate.RESET  # type: ignore[method-assign]
        pair.advance(1)
        self.assertEqual(pair.reasons, ["reset while it was not read"])
        pair.target.resume()
        pair.flush()
        self.assertEqual(kindOf(pair.target), ConnectionLost)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_halfClosedOutlivesIdle(self) -> None:
        """
        Once one side has finished, the limit for that counts and not the one for idling.
        """
        pair = Pair(Timeouts(idle=5, halfClosed=60))
        pair.client.finish()
        pair.flush()
        pair.advance(30)
        self.assertEqual(pair.reasons, [])
        pair.advance(31)
        self.assertEqual(pair.reasons, ["half-closed for too long"])

    def test_abortedBeforeItBegins(self) -> None:
        """
        A relay that ends before it has begun, since whoever looks on is broken for one, hears of
        the ends of both, and is not looked at for ever.
        """
        pair = Pair(begin=False, early=b"early")
        pair.relay.abort("too soon")
        pair.flush()
        pair.advance(1)
        self.assertEqual((pair.reasons, pair.clock.getDelayedCalls()), (["too soon"], []))
        self.assertEqual((kindOf(pair.client), kindOf(pair.target)), (ConnectionLost,) * 2)

    def test_closingIsStuck(self) -> None:
        """
        When one side is gone, the other gets what is held for it; if it takes nothing for too
        long, it is reset, so that it does not stay for ever.
        """
        pair = Pair(Timeouts(halfClosed=10), capacity=1000)
        pair.client.pause()
        pair.target.send(b"x" * 3000)
        pair.flush()
        pair.relay.lost(Failure(ConnectionDone()))
        pair.flush()
        self.assertEqual(pair.reasons, ["target closed"])
        self.assertTrue(pair.near.server.connected)
        pair.advance(12)
        self.assertFalse(pair.near.server.connected)
        self.assertEqual(pair.reasons, ["target closed"])


actions = st.one_of(
    st.tuples(st.sampled_from(["client sends", "target sends"]), st.integers(1, 5000)),
    st.tuples(
        st.sampled_from(
            [
                "client finishes",
                "target finishes",
                "client pauses",
                "client resumes",
                "target pauses",
                "target resumes",
                "pump near",
                "pump far",
            ]
        ),
        st.just(0),
    ),
)


class ScheduleTests(SynchronousTestCase):
    """
    Tests for whatever order things happen in.
    """

    @settings(reproducible, max_examples=300)
    @given(
        st.lists(actions, max_size=40),
        st.integers(1, 3000),
        st.integers(1, 3000),
        st.none() | st.integers(0, 1000),
    )
    def test_nothingIsLostOrDoubled(
        self, schedule: list[tuple[str, int]], capacity: int, readSize: int, purse: int | None
    ) -> None:
        """
        In any order of sending, finishing, pausing and reading, with any sizes of buffers and
        reads, with a limit or without, each side gets exactly what the other has sent, in order,
        then FIN (R-1928-49, R-1928-51).  No more passes than is allowed.
        """
        meter = None if purse is None else Purse(purse)
        pair = Pair(capacity=capacity, readSize=readSize, meter=meter)
        pair.near.server.bufferSize = pair.far.client.bufferSize = 2000
        sent = {"client": b"", "target": b""}
        finished: set[str] = set()
        peers = {"client": pair.client, "target": pair.target}
        for action, number in schedule:
            who, what = action.split()
            if who == "pump":
                (pair.near if what == "near" else pair.far).pump()
            elif what == "sends" and who not in finished:
                begin = len(sent[who])
                data = b"".join(octet.to_bytes(4, "big") for octet in range(begin, begin + number))[
                    :number
                ]
                sent[who] += data
                peers[who].send(data)
            elif what == "finishes":
                finished.add(who)
                peers[who].finish()
            elif what == "pauses":
                peers[who].pause()
            elif what == "resumes" and not peers[who].finished:
                peers[who].resume()
            elif what == "allows" and meter is not None:
                meter.add(number)
            self.assertLessEqual(pair.held(), 2 * (2000 + readSize))
            self.assertTrue(meter is None or meter.left >= 0)
        for peer in peers.values():
            if not peer.finished:
                peer.resume()
            peer.finish()
        pair.flush()
        for _ in range(1000):
            if meter is None or not meter.waiting:
                break
            meter.add(1000)
            pair.flush()
        self.assertEqual(pair.target.received, sent["client"])
        self.assertEqual(pair.client.received, sent["target"])
        self.assertTrue(pair.client.finished and pair.target.finished)
        self.assertEqual(
            (pair.relay.fromClient, pair.relay.toClient),
            (len(sent["client"]), len(sent["target"])),
        )
        self.assertEqual(pair.reasons, ["both sides finished"])
        self.assertFalse(pair.near.server.connected or pair.far.client.connected)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

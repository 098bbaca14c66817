"""
Tests for L{txsocks5.kernel}.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import socket
from collections.abc import Callable
from typing import Any
from unittest.mock import patch
from weakref import ref

from txsocks5 import kernel
from txsocks5.bandwidth import Meter
from txsocks5.config import Timeouts
from txsocks5.junction import ENDING, READABLE
from txsocks5.kernel import KernelRelay
from txsocks5.pipes import PipePool
from txsocks5.retired import BareConnection
from txsocks5.sweep import Sweep

from .meters import Purse
from .sockets import JunctionFixture, Peer

BULK = random.Random(1).randbytes(3_000_000)


class Connection(BareConnection):
    """
    A connection that tells whoever has to know.

    @ivar ends: whether it was reset; one item if it has ended.
    """

    def __init__(self, connected: socket.socket, unsent: bytes = b"") -> None:
        super().__init__(connected, unsent)
        self.ends: list[bool] = []
        self.hear: Callable[[], object] = lambda: None

    def lost(self, *, reset: bool) -> None:
        """
        Keep it.
        """
        self.ends.append(reset)
        self.hear()


class KernelFixture(JunctionFixture):
    """
    A relay between two sockets.
    """

    def setUp(self) -> None:
        """
        Prepare what it needs.
        """
        super().setUp()
        self.sweep = Sweep(self.reactor)
        self.pipes = PipePool()
        self.addCleanup(self.pipes.leave)
        self.reasons: list[str] = []

    def pair(self) -> tuple[socket.socket, Peer]:
        """
        A connection.
        """
        return self.tcp()

    def make(
        self,
        meter: Meter | None = None,
        timeouts: Timeouts | None = None,
        owed: tuple[bytes, bytes] = (b"", b""),
    ) -> KernelRelay:
        """
        Make a relay, and do not begin.

        @param owed: octets for the client, and for the target, that come before all others.
        """
        near, self.client = self.pair()
        far, self.target = self.pair()
        self.inner = Connection(near, owed[0])
        self.outer = Connection(far, owed[1])
        relay = KernelRelay(
            self.junction,
            self.pipes,
            self.inner,
            self.outer,
            self.sweep,
            timeouts or Timeouts(),
            self.reasons.append,
            meter,
        )
        self.addCleanup(relay.abort, "the test is over")
        return relay

    def relay(self, **options: Any) -> KernelRelay:
        """
        Make a relay, and begin.
        """
        relay = self.make(**options)
        relay.begin()
        return relay

    def await_(self, done: Callable[[], object]) -> None:
        """
        Let turns pass, with both peers reading, until something is the case.
        """
        self.until(done, self.client, self.target)

    def sendAll(self, source: Peer, sink: Peer, data: bytes = BULK) -> None:
        """
        Send much, with the other side reading, until all has come.
        """
        left = memoryview(data)

        def done() -> bool:
            nonlocal left
            if left:
                with contextlib.suppress(BlockingIOError):
                    left = left[source.socket.send(left[:400_000]) :]
            return len(sink.received) >= len(data)

        self.until(done, sink)
        self.assertTrue(sink.received == data)

    def assertOver(self, reason: str, *, reset: bool) -> None:
        """
        The relay has ended, has told everybody once, and has left nothing.
        """
        self.assertEqual(len(self.reasons), 1)
        self.assertRegex(self.reasons[0], reason)
        self.assertEqual((self.inner.ends, self.outer.ends), ([reset], [reset]))
        self.assertEqual((self.inner.socket.fileno(), self.outer.socket.fileno()), (-1, -1))
        self.assertEqual(self.junction._watchers, {})
        self.assertEqual(self.pipes.inUse, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class MovingTests(KernelFixture):
    """
    Octets come to the other side, all and in order.
    """

    def test_messages(self) -> None:
        """
        Small pieces pass in both directions, and are counted.
        """
        relay = self.relay()
        self.client.send(b"ping")
        self.await_(lambda: self.target.received == b"ping")
        self.target.send(b"pong!")
        self.await_(lambda: self.client.received == b"pong!")
        self.assertEqual((relay.fromClient, relay.toClient, relay.dropped), (4, 5, 0))
        self.assertEqual(self.reasons, [])

    def test_bulk(self) -> None:
        """
        Much passes in both directions; the pipes are back when nothing is on its way.
        """
        relay = self.relay()
        self.sendAll(self.client, self.target)
        self.sendAll(self.target, self.client)
        self.assertEqual((relay.fromClient, relay.toClient), (len(BULK), len(BULK)))
        self.assertEqual(self.pipes.inUse, 0)
        self.assertGreater(len(self.pipes._idle), 0)

    def test_smallPipes(self) -> None:
        """
        The system refuses large pipes, and one page is all that they hold.
        """
        self.pipes._large = False
        self.relay()
        self.sendAll(self.client, self.target)

    def test_noPipe(self) -> None:
        """
        If there is no descriptor left for a pipe everything is copied.
        """
        self.patch(self.pipes, "take", lambda: None)
        self.relay()
        self.sendAll(self.client, self.target)

    def test_stalledReader(self) -> None:
        """
        A peer that does not read stops the other; what is held is a pipe at the most, and it comes
        when the peer reads again.
        """
        relay = self.relay()
        sent = 0
        while True:
            more = self.client.fill()
            self.turns()
            if not more:
                break
            sent += more
        self.assertEqual(self.pipes.inUse, 1)
        self.assertLess(sent, 40_000_000)
        self.assertLessEqual(relay.fromClient, sent)
        self.await_(lambda: len(self.target.received) == sent)
        self.assertEqual(self.pipes.inUse, 0)
        # And once more, with the socket being watched for room already.
        self.target.received = b""
        sent = 0
        while more := self.client.fill():
            sent += more
            self.turns()
        self.await_(lambda: len(self.target.received) == sent)

    def test_partly(self) -> None:
        """
        What the system takes only a part of, when it is copied, is kept and sent later.
        """
        relay = self.make()
        self.outer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.target.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.patch(self.pipes, "take", lambda: None)
        relay.begin()
        self.client.send(BULK[:200_000])
        self.turns()
        self.assertGreater(relay._client.held, 0)
        self.assertIsNone(relay._client._pipe)
        self.await_(lambda: self.target.received == BULK[:200_000])
        self.assertEqual(relay._client.held, 0)

    def test_owed(self) -> None:
        """
        Octets that the transports had not sent come first; then those which had been read ahead,
        and then what the sockets say.  Only what has come from a peer is counted.
        """
        relay = self.make(owed=(b"reply", b"first"))
        self.inner.readable = True
        self.outer.early = b" early"
        self.client.send(b" socket")
        self.target.send(b" answer")
        relay.clientReceived(b" ahead")
        relay.begin()
        self.await_(lambda: len(self.target.received) >= 18 and len(self.client.received) >= 18)
        self.assertEqual(self.target.received, b"first ahead socket")
        self.assertEqual(self.client.received, b"reply early answer")
        self.assertEqual((relay.fromClient, relay.toClient), (13, 13))

    def test_alreadyWatched(self) -> None:
        """
        A socket that the junction watches already is not registered again.
        """
        near, client = self.pair()
        far, target = self.pair()
        connection = Connection(near)
        connection.watched = True
        self.junction.watch(near.fileno(), self)  # type: ignore[arg-type]
        relay = KernelRelay(
            self.junction,
            self.pipes,
            connection,
            Connection(far),
            self.sweep,
            Timeouts(),
            self.reasons.append,
        )
        relay.begin()
        client.send(b"octets")
        self.until(lambda: target.received == b"octets", target)
        relay.abort("enough")

    def test_fairness(self) -> None:
        """
        One direction moves a megabyte at the most before the others have their turn, and waits for
        its own once at a time.
        """
        relay = self.make()
        self.patch(kernel, "_TURN", 100_000)
        for end in (self.client.socket, self.inner.socket):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        relay.begin()
        sent = self.client.fill()
        self.assertGreater(sent, 1_000_000)
        self.junction.doRead()
        self.assertLess(relay.fromClient, sent)
        self.assertEqual(len(self.junction._waiting), 1)
        relay._client.happened(READABLE)
        self.assertEqual(len(self.junction._waiting), 1)
        self.await_(lambda: len(self.target.received) == sent)

    def test_unspliceableSource(self) -> None:
        """
        Where the system cannot splice from a socket its octets are copied.
        """

        def refuse(*args: object, **options: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(os, "splice", refuse)
        relay = self.relay()
        self.sendAll(self.client, self.target)
        self.assertFalse(relay._client._spliceable)
        self.assertEqual(self.pipes.inUse, 0)

    def test_unspliceableSink(self) -> None:
        """
        Where the system cannot splice to a socket what is in the pipe is copied, and all that
        follows.
        """
        real = os.splice
        relay = self.make()
        sink = self.outer.socket.fileno()

        def splice(source: int, target: int, count: int, **options: Any) -> int:
            if target == sink:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(source, target, count, **options)

        self.patch(os, "splice", splice)
        relay.begin()
        self.sendAll(self.client, self.target)
        self.assertFalse(relay._client._spliceable)
        self.assertEqual(self.pipes.inUse, 0)


class UrgentTests(KernelFixture):
    """
    Urgent octets, which nobody needs, and which are not passed on; but whoever sends them gets no
    more wrong than that.
    """

    def test_urgent(self) -> None:
        """
        An urgent octet, which is not passed on, makes a read end before it.  What stands behind it
        is read all the same.
        """
        relay = self.relay()
        self.client.send(b"before")
        self.client.urge(b"!")
        self.client.send(b"behind")
        self.await_(lambda: self.target.received == b"beforebehind")
        self.assertEqual(relay.fromClient, 12)

    def test_urgentInBulk(self) -> None:
        """
        The kernel moves nothing past an urgent octet, and behind a FIN it says that this is the
        end; it is not.
        """
        for finished in (True, False):
            relay = self.make()
            relay._client._bulk = True
            self.client.send(BULK[:50_000])
            self.client.urge(b"!")
            self.client.send(BULK[50_000:100_000])
            if finished:
                self.client.finish()
            relay.begin()
            self.await_(lambda: len(self.target.received) >= 100_000 or self.target.finished)
            self.assertTrue(self.target.received == BULK[:100_000])
            self.assertEqual(self.reasons, [])
            relay.abort("enough")
            self.reasons.clear()


class UNIXTests(MovingTests):
    """
    The same with UNIX sockets.
    """

    def pair(self) -> tuple[socket.socket, Peer]:
        """
        A connection.
        """
        return self.unix()


class EndTests(KernelFixture):
    """
    A relay ends.
    """

    def test_bothFinish(self) -> None:
        """
        Both sides finish, in either order: a half-close is passed on, the other direction goes on,
        and at the end both are closed regularly.
        """
        for clientFirst in (True, False):
            self.reasons.clear()
            self.relay()
            first, second = (self.client, self.target)[:: 1 if clientFirst else -1]
            first.send(b"question")
            first.finish()
            self.await_(lambda second=second: second.finished)
            self.assertEqual(second.received, b"question")
            self.assertEqual(self.reasons, [])
            second.send(b"answer")
            second.finish()
            self.await_(lambda first=first: first.finished)
            self.assertEqual(first.received, b"answer")
            self.assertOver("^both sides finished$", reset=False)

    def test_finishBehindBulk(self) -> None:
        """
        FIN comes behind all octets, though they are held when it comes.
        """
        for splicing in (True, False):
            self.reasons.clear()
            if not splicing:
                self.patch(self.pipes, "take", lambda: None)
            relay = self.relay()
            sent = self.client.fill()
            self.turns()
            while more := self.client.fill():
                sent += more
                self.turns()
            self.client.finish()
            self.turns()
            self.assertGreater(relay._client.held, 0)
            self.await_(lambda: self.target.finished)
            self.assertEqual(len(self.target.received), sent)
            self.target.finish()
            self.await_(lambda: self.client.finished)
            self.assertOver("^both sides finished$", reset=False)

    def test_heldWhileBothFinish(self) -> None:
        """
        The second side finishes while what the first has sent is still held: it is closed when
        that has gone.
        """
        relay = self.relay()
        sent = 0
        while more := self.client.fill():
            sent += more
            self.turns()
        self.client.finish()
        self.target.finish()
        self.until(lambda: relay._target.done)
        self.turns()
        self.assertEqual(self.reasons, [])
        self.await_(lambda: self.target.finished and self.client.finished)
        self.assertEqual(len(self.target.received), sent)
        self.assertOver("^both sides finished$", reset=False)

    def test_reset(self) -> None:
        """
        One side is reset: so is the other, so that it can see that something is missing.
        """
        for clientFirst in (True, False):
            self.reasons.clear()
            self.relay()
            first, second = (self.client, self.target)[:: 1 if clientFirst else -1]
            first.send(b"half a")
            self.await_(lambda second=second: second.received)
            first.abort()
            self.until(lambda second=second: second.reset, second)
            self.assertOver("^(client|target) lost: connection reset by peer$", reset=True)

    def test_resetBehindOctets(self) -> None:
        """
        Octets and a reset come together.
        """
        self.relay()
        self.client.send(b"half a")
        self.client.abort()
        self.until(lambda: self.target.reset, self.target)
        self.assertOver("^client lost: connection reset by peer$", reset=True)

    def test_resetAfterFIN(self) -> None:
        """
        A side that has finished is reset: nobody can answer it any more.
        """
        self.relay()
        self.client.finish()
        self.await_(lambda: self.target.finished)
        self.client.abort()
        self.until(lambda: self.reasons)
        self.assertOver("^client lost: ", reset=True)

    def test_resetWhileHeld(self) -> None:
        """
        A side is reset while it is not read, as the other one takes nothing: what is held for that
        does not matter any more.
        """
        self.relay()
        while self.client.fill():
            self.turns()
        self.assertEqual(self.pipes.inUse, 1)
        self.client.abort()
        self.until(lambda: self.reasons)
        self.assertOver("^client lost: connection reset by peer$", reset=True)

    def test_resetWhileTheMeterAllowsNothing(self) -> None:
        """
        A side is reset while it is not read, as the meter allows nothing.
        """
        purse = Purse()
        self.relay(meter=purse)
        self.client.send(b"octets")
        self.until(lambda: purse.waiting)
        self.client.abort()
        self.until(lambda: self.reasons)
        self.assertOver("^client lost: connection reset by peer$", reset=True)
        purse.add(100)

    def test_writingMeetsTheReset(self) -> None:
        """
        The one who is written to has gone, which writing finds out before reading does.
        """
        for splicing in (False, True):
            self.reasons.clear()
            relay = self.make()
            self.client.send(BULK[:60_000])
            self.target.abort()
            self.inner.socket.setblocking(False)
            relay._client._bulk = splicing
            relay._client._readable = True
            relay._client.move()
            self.assertOver("^target lost: ", reset=True)

    def test_heldIsRefused(self) -> None:
        """
        What is held cannot be sent, as the connection has been reset; it is in memory, or in a
        pipe.
        """
        for splicing in (True, False):
            self.reasons.clear()
            if not splicing:
                self.patch(self.pipes, "take", lambda: None)
            relay = self.relay()
            while self.client.fill():
                self.turns()
            self.assertGreater(relay._client.held, 0)
            self.target.abort()
            relay._client.move()
            self.until(lambda: self.reasons)
            self.assertOver("^target lost: ", reset=True)

    def test_splicingMeetsTheReset(self) -> None:
        """
        Splicing, not reading, finds out that the source has been reset.
        """
        relay = self.make()
        self.client.abort()
        relay._client._bulk = relay._client._readable = True
        relay.begin()
        self.assertOver("^client lost: connection reset by peer$", reset=True)

    def test_resetBeforeItBegins(self) -> None:
        """
        A client that has been reset by the time it is sent its reply: that is no regular end, even
        though sending has taken the error away.
        """
        relay = self.make(owed=(b"reply", b""))
        self.client.abort()
        self.inner.readable = True
        relay.clientReceived(b"ahead")
        relay.begin()
        self.assertOver("^client lost: ", reset=True)
        self.until(lambda: self.target.reset, self.target)
        self.assertEqual(relay.fromClient, 5)

    def test_overBeforeItBegins(self) -> None:
        """
        A relay that has ended before it begins does nothing.
        """
        relay = self.make()
        self.outer.early = b"early"
        relay.abort("too soon")
        relay.begin()
        self.assertOver("^too soon$", reset=True)
        self.assertEqual(relay.toClient, 0)

    def test_closingAsk(self) -> None:
        """
        FIN is to be sent to a side that has been reset: reading it tells.
        """
        relay = self.relay()
        self.target.abort()
        relay._client.done = True
        relay.finished(relay._client)
        self.until(lambda: self.reasons)
        self.assertOver("^target lost: ", reset=True)

    def test_aborted(self) -> None:
        """
        It can be ended at any time, from within what it calls, too, and only once.
        """
        relay = self.relay()
        sides = (relay._client, relay._target)
        while self.client.fill():
            self.turns()
        self.inner.hear = lambda: relay.abort("again")
        relay.abort("enough")
        self.assertOver("^enough$", reset=True)
        self.until(lambda: self.client.reset and self.target.reset, self.client, self.target)
        relay.abort("again")
        relay.clientFinished()
        relay.clientLost(Any)  # type: ignore[arg-type]
        for side in sides:
            side.goOn()
            side.happened(ENDING | READABLE)
        self.assertOver("^enough$", reset=True)

    def test_freed(self) -> None:
        """
        However it ends, it lets go of both sides, and they of each other, so that nothing waits
        for the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        endings: tuple[Callable[[KernelRelay], object], ...] = (
            lambda relay: relay.abort("enough"),
            lambda relay: self.client.abort(),
            lambda relay: (self.client.finish(), self.target.finish()),
            lambda relay: (relay.abort("too soon"), relay.begin()),
        )
        for end in endings:
            self.reasons.clear()
            relay = self.relay()
            self.client.fill()
            self.turns()
            end(relay)
            self.await_(lambda: self.reasons)
            sides = [ref(self.inner), ref(self.outer)]
            del self.inner, self.outer
            self.assertEqual([side() for side in sides], [None, None])

    def test_broke(self) -> None:
        """
        After an error that nobody has foreseen both sides are reset.
        """
        relay = self.relay()
        relay._client.broke()
        self.assertOver("^an error that nobody has foreseen$", reset=True)

    def test_cannotBeWatched(self) -> None:
        """
        The system has no room for another socket to watch: both are closed, and everybody hears of
        that.
        """

        def refuse(descriptor: int, watcher: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(self.junction, "watch", refuse)
        self.assertRaises(OSError, self.make)
        self.assertOver("^cannot be watched: no space left on device$", reset=True)


class TimeTests(KernelFixture):
    """
    Nothing moves for too long.
    """

    def test_idle(self) -> None:
        """
        Traffic puts the end off; time without any ends the relay.
        """
        self.relay(timeouts=Timeouts(idle=10, halfClosed=5))
        for _ in range(3):
            self.reactor.pump([1] * 9)
            self.client.send(b"x")
            self.until(lambda: self.target.received, self.target)
            self.target.received = b""
        self.reactor.pump([1] * 9)
        self.assertEqual(self.reasons, [])
        self.reactor.pump([1] * 3)
        self.assertOver("^idle for too long$", reset=True)

    def test_never(self) -> None:
        """
        Where idling is not limited no clock runs; and not for half-closed ones, if that is neither.
        """
        self.relay(timeouts=Timeouts(idle=0, halfClosed=0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.client.finish()
        self.await_(lambda: self.target.finished)
        self.reactor.pump([1] * 1000)
        self.assertEqual(self.reasons, [])

    def test_halfClosed(self) -> None:
        """
        When one side has finished another limit holds, be it the first one or not.
        """
        for idle in (0, 100):
            self.reasons.clear()
            self.relay(timeouts=Timeouts(idle=idle, halfClosed=5))
            self.client.finish()
            self.await_(lambda: self.target.finished)
            self.reactor.pump([1] * 7)
            self.assertOver("^half-closed for too long$", reset=True)


class MeterTests(KernelFixture):
    """
    A meter says how much may pass.
    """

    def test_dosed(self) -> None:
        """
        Just what the meter allows passes, and when it calls, more; all of it is counted.
        """
        purse = Purse(1000)
        relay = self.relay(meter=purse)
        self.client.send(BULK[:200_000])
        self.await_(lambda: len(self.target.received) == 1000)
        self.turns()
        self.assertEqual(len(self.target.received), 1000)
        self.assertEqual(len(purse.waiting), 1)
        relay._client.happened(READABLE)
        self.assertEqual(len(purse.waiting), 1)
        # One read, then splices.
        purse.add(100_000)
        self.await_(lambda: len(self.target.received) == 101_000)
        purse.add(1)
        self.await_(lambda: len(self.target.received) == 101_001)
        purse.add(10**9)
        self.await_(lambda: self.target.received == BULK[:200_000])
        self.assertEqual(purse.left, 10**9 + 101_001 - 200_000)

    def test_ahead(self) -> None:
        """
        What has been read already passes whatever the meter says, and is counted.
        """
        purse = Purse(10)
        relay = self.make(meter=purse)
        relay.clientReceived(b"x" * 100)
        relay.begin()
        self.await_(lambda: len(self.target.received) == 100)
        self.assertEqual(purse.left, -90)

    def test_replaced(self) -> None:
        """
        Another meter holds as soon as the one before has called; and there may be none.
        """
        first, second = Purse(), Purse(3)
        relay = self.relay(meter=first)
        self.client.send(b"octets")
        self.until(lambda: first.waiting)
        relay.meter = second
        first.add(0)
        self.await_(lambda: self.target.received == b"oct")
        relay.meter = None
        second.add(0)
        self.await_(lambda: self.target.received == b"octets")

    def test_endsInTheMidst(self) -> None:
        """
        A meter that ends the session when it is asked or told, because a quota is used up.
        """
        relay = self.make(meter=None)
        purse = Purse(10**6)
        with patch.object(purse, "spent", lambda octets: relay.abort("quota used up")):
            relay.meter = purse
            relay.begin()
            self.client.send(b"octets")
            self.until(lambda: self.reasons)
        self.assertOver("^quota used up$", reset=True)

"""
Tests for L{txsocks5.side}.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Any

from txsocks5 import junction, pipes, side
from txsocks5.junction import ENDING, READABLE

from .joined import BULK, KernelFixture
from .meters import Purse
from .sockets import Peer


class MovingTests(KernelFixture):
    """
    Octets come to the other side, all and in order.
    """

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

    def test_ahead(self) -> None:
        """
        What has been read already is passed on, and counted.
        """
        relay = self.make()
        relay._client.take(b"octets")
        self.assertEqual(relay._client.octets, 6)
        self.until(lambda: self.target.received == b"octets", self.target)

    def test_smallPipes(self) -> None:
        """
        The system refuses large pipes, and one page is all that they hold.
        """
        self.patch(pipes, "_SIZES", ((4096, 1 << 30),))
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

    def test_fairness(self) -> None:
        """
        One direction moves a megabyte at the most before the others have their turn, and waits for
        its own once at a time.
        """
        relay = self.make()
        self.patch(side, "_TURN", 100_000)
        self.patch(side, "_CAUTIOUS", 50_000)
        self.patch(junction, "_ROUNDS", 1)
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

        def splice(source: int, target: int, *rest: Any, **options: Any) -> int:
            if target == sink:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(source, target, *rest, **options)

        self.patch(os, "splice", splice)
        relay.begin()
        self.sendAll(self.client, self.target)
        self.assertFalse(relay._client._spliceable)
        self.assertEqual(self.pipes.inUse, 0)


class BulkTests(KernelFixture):
    """
    The kernel moves what comes, and nothing is left behind.
    """

    def setUp(self) -> None:
        """
        Note what is spliced.
        """
        super().setUp()
        real = os.splice
        self.spliced: list[tuple[int, int, int]] = []

        def splice(source: int, target: int, count: int, *rest: Any, **options: Any) -> int:
            try:
                moved = real(source, target, count, *rest, **options)
            except BlockingIOError:
                self.spliced.append((source, target, -1))
                raise
            self.spliced.append((source, target, moved))
            return moved

        self.patch(os, "splice", splice)

    def taken(self) -> list[int]:
        """
        How much has been spliced from the client each time; -1 where there was nothing.
        """
        source = self.inner.socket.fileno()
        return [moved for origin, _, moved in self.spliced if origin == source]

    def test_tinySegments(self) -> None:
        """
        Many small segments fill the pages of a pipe with few octets: what is behind them is moved
        as well, though nobody tells of it again.
        """
        relay = self.make()
        relay._client._bulk = 2
        for _ in range(1000):
            self.client.send(b"x")
        self.client.send(b"end")
        relay.begin()
        self.until(lambda: len(self.target.received) == 1003, self.target)
        # It did take more than one pipe, and the last one has met the end of what there was.
        self.assertGreater(len(self.taken()), 1)
        self.assertNotIn(-1, self.taken())

    def test_nothingLeft(self) -> None:
        """
        When all that was there has been moved the socket is not spliced from in vain; and what
        comes then is moved, too.
        """
        relay = self.make()
        relay._client._bulk = 2
        for number in range(1, 4):
            self.client.send(BULK[:50_000])
            self.until(lambda number=number: relay.fromClient == number * 50_000, self.target)
        self.turns()
        self.assertNotIn(0, self.taken())
        self.assertLessEqual(self.taken().count(-1), 1)
        self.assertEqual(self.target.received, BULK[:50_000] * 3)

    def test_cannotAsk(self) -> None:
        """
        Where the system does not tell how much there is, splicing tells.
        """

        self.patch(side, "isEmpty", lambda descriptor: False)
        self.relay()
        self.sendAll(self.client, self.target)
        self.turns()
        self.assertEqual(self.taken()[-1], -1)

    def test_endBehindOctets(self) -> None:
        """
        A lot and FIN come at once, before the relay looks.
        """
        for count in (1, 20_000, 100_000, 1_000_000):
            self.reasons.clear()
            relay = self.make()
            relay._client._bulk = 2
            self.inner.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_000_000)
            left = memoryview(BULK[:count])
            while left:
                with contextlib.suppress(BlockingIOError):
                    left = left[self.client.socket.send(left) :]
            self.client.finish()
            relay.begin()
            self.until(lambda: self.target.finished, self.target)
            self.assertTrue(self.target.received == BULK[:count])
            self.target.finish()
            self.await_(lambda: self.reasons)
            self.assertOver("^both sides finished$", reset=False)

    def test_smallAgain(self) -> None:
        """
        One small burst does not end splicing; two in a row do, and then everything is copied until
        much comes again.
        """
        relay = self.relay()

        def send(count: int) -> None:
            before = len(self.target.received)
            self.client.send(BULK[:count])
            self.until(lambda: len(self.target.received) == before + count, self.target)

        send(100_000)
        send(100)
        self.assertEqual(self.taken()[-1], 100)
        send(20_000)
        for _ in range(2):
            send(100)
        spliced = len(self.spliced)
        send(100)
        self.assertEqual(len(self.spliced), spliced)
        send(100_000)
        self.assertGreater(len(self.spliced), spliced)
        self.assertEqual(relay.fromClient, 220_400)

    def test_blocked(self) -> None:
        """
        While the other side takes nothing, what else comes is neither taken nor tried to be passed
        on, and is told of twice.
        """
        relay = self.relay()
        while self.client.fill():
            self.turns()
        self.assertGreater(relay._client.held, 0)
        spliced = len(self.spliced)
        for _ in range(3):
            relay._client.happened(READABLE)
        self.assertEqual(len(self.spliced), spliced)
        # This holds when it has to wait for room itself, too.
        while self.target.fill():
            self.turns()
        happened: list[int] = []
        self.patch(side.Side, "happened", lambda side, events: happened.append(events))
        # There is room for more to come, as if we had read.
        self.inner.socket.recv(300_000)
        self.client.send(b"x" * 1000)
        self.turns()
        self.assertEqual(happened, [])

    def test_blockedBothWays(self) -> None:
        """
        Neither side takes anything; when both do, all comes, and each is told of octets again.
        """
        relay = self.relay()
        sent = [0, 0]
        while any(more := (self.client.fill(), self.target.fill())):
            sent = [before + new for before, new in zip(sent, more, strict=True)]
            self.turns()
        sides = (relay._client, relay._target)
        for one in sides:
            one.happened(READABLE)
            one.happened(READABLE)
        self.await_(lambda: len(self.target.received) == sent[0])
        self.await_(lambda: len(self.client.received) == sent[1])
        self.assertEqual([one._knocks for one in sides], [0, 0])
        for one, other in ((self.client, self.target), (self.target, self.client)):
            one.send(b"more")
            self.await_(lambda other=other: other.received.endswith(b"more"))

    def test_endWhileBlocked(self) -> None:
        """
        An end is told of even when octets are not.
        """
        relay = self.relay()
        while self.client.fill():
            self.turns()
        relay._client.happened(READABLE)
        relay._client.happened(READABLE)
        self.client.abort()
        self.until(lambda: self.reasons)
        self.assertOver("^client lost: connection reset by peer$", reset=True)


class TrustTests(KernelFixture):
    """
    Who has been seen to read gets more than others.
    """

    def unsent(self) -> int:
        """
        How many octets the system keeps for the target.
        """
        return self.outer.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)

    def test_stalledFromTheStart(self) -> None:
        """
        For a peer that reads nothing little is kept, and little is in the pipe.
        """
        relay = self.relay()
        self.outer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_000_000)
        while self.client.fill():
            self.turns()
        self.assertEqual(self.unsent(), 512 * 1024)
        self.assertGreater(relay._client.held, 0)
        self.assertLessEqual(relay._client.held, 256 * 1024)
        self.assertLess(relay.fromClient, side._TRIED)

    def test_tried(self) -> None:
        """
        When more has been moved than anybody keeps who does not read, more is kept for the next
        turn of the others, once.
        """
        self.patch(side, "_TRIED", 2_000_000)
        self.patch(side, "_TURN", 100_000)
        self.relay()
        self.sendAll(self.client, self.target, BULK[:1_500_000])
        self.assertEqual(self.unsent(), 512 * 1024)
        self.target.received = b""
        self.sendAll(self.client, self.target)
        self.assertEqual(self.unsent(), 2048 * 1024)


class RefusedTests(KernelFixture):
    """
    The system does not do what was asked of it.
    """

    def test_unspliceableSinkThatIsFull(self) -> None:
        """
        That a sink cannot be spliced to turns out only when it has room.
        """
        real = os.splice
        relay = self.make()
        relay._client._bulk = 2
        sink = self.outer.socket.fileno()
        answers: list[OSError] = [BlockingIOError(errno.EAGAIN, ""), OSError(errno.EINVAL, "")]

        def splice(source: int, target: int, *rest: Any, **options: Any) -> int:
            if target == sink:
                raise answers.pop(0)
            return real(source, target, *rest, **options)

        self.patch(os, "splice", splice)
        self.client.send(BULK[:50_000])
        relay.begin()
        self.await_(lambda: self.target.received == BULK[:50_000])
        self.assertEqual((answers, self.pipes.inUse), ([], 0))

    def test_broke(self) -> None:
        """
        After an error that nobody has foreseen both sides are reset.
        """
        relay = self.relay()
        relay._client.broke()
        self.assertOver("^an error that nobody has foreseen$", reset=True)

    def test_endOfOneThatHasEnded(self) -> None:
        """
        A side that is told of an end when it has been closed asks its socket nothing.
        """
        relay = self.relay()
        ended = relay._client
        ended.done = True
        relay.abort("enough")
        ended.happened(ENDING)
        self.assertOver("^enough$", reset=True)


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
            relay._client._bulk = 2
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
    One side ends, or both do.
    """

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
            relay._client._bulk = 2 if splicing else 0
            relay._client.readable = True
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
        relay._client._bulk = 2
        relay._client.readable = True
        relay.begin()
        self.assertOver("^client lost: connection reset by peer$", reset=True)

    def test_resetBehindOctets(self) -> None:
        """
        Octets and a reset come together.
        """
        self.relay()
        self.client.send(b"half a")
        self.client.abort()
        self.until(lambda: self.target.reset, self.target)
        self.assertOver("^client lost: connection reset by peer$", reset=True)


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

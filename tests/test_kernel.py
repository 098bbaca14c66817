"""
Tests for L{txsocks5.kernel}.
"""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from weakref import ref

from txsocks5.config import Timeouts
from txsocks5.junction import ENDING, READABLE
from txsocks5.kernel import KernelRelay

from .joined import Connection, KernelFixture
from .meters import Purse


class MovingTests(KernelFixture):
    """
    Octets come to the other side, and are counted.
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

    def test_alreadyTold(self) -> None:
        """
        What the junction has told somebody else of is not told again: it is looked for.
        """
        near, client = self.pair()
        far, target = self.pair()
        told: list[int] = []
        another: Any = SimpleNamespace(happened=told.append)
        self.junction.watch(near.fileno(), another)
        client.send(b"octets")
        self.until(lambda: bool(told))
        connection = Connection(near)
        connection.watched = connection.readable = True
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
        self.until(lambda: target.received == b"octets", target)
        relay.abort("enough")


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

"""
Tests for L{txsocks5.junction}.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from txsocks5.junction import DATA, ENDING, READABLE, WRITABLE, Junction, isEmpty
from txsocks5.testing import MemoryReactor, RecordedEvents

from .sockets import JunctionFixture, Peer


class Recorder:
    """
    A watcher that keeps what it hears.

    @ivar heard: what has happened.

    @ivar turns: how often it was called to go on.

    @ivar broken: how often it was told that it has failed.

    @ivar then: called when something happens.
    """

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.turns = self.broken = 0
        self.then: Callable[[], object] = lambda: None

    def happened(self, events: int) -> None:
        """
        Keep it.
        """
        self.heard.append(events)
        self.then()

    def goOn(self) -> None:
        """
        Keep it.
        """
        self.turns += 1
        self.then()

    def broke(self) -> None:
        """
        Keep it.
        """
        self.broken += 1


class WorksTests(JunctionFixture):
    """
    Where a junction works.
    """

    def test_reactors(self) -> None:
        """
        It works with every reactor of Twisted's that reads descriptors, and with nothing else.
        """
        for kind in (EPollReactor, PollReactor, SelectReactor, AsyncioSelectorReactor):
            self.assertTrue(Junction.worksWith(kind.__new__(kind)), kind)
        self.assertFalse(Junction.worksWith(Clock()))
        self.assertFalse(Junction.worksWith(MemoryReactor()))

    def test_systems(self) -> None:
        """
        It works on Linux only.
        """
        reactor = EPollReactor.__new__(EPollReactor)
        self.assertTrue(Junction.worksWith(reactor))
        self.patch(sys, "platform", "darwin")
        self.assertFalse(Junction.worksWith(reactor))


class WatchTests(JunctionFixture):
    """
    Sockets are watched.
    """

    def watched(self) -> tuple[Recorder, socket.socket, Peer]:
        """
        A socket that is watched.
        """
        watcher = Recorder()
        near, peer = self.unix()
        self.junction.watch(near.fileno(), watcher)
        return watcher, near, peer

    def test_edges(self) -> None:
        """
        Something is told once, and again when there is more, and not when nothing has changed.
        """
        watcher, _near, peer = self.watched()
        self.turns()
        self.assertEqual(watcher.heard, [])
        peer.send(b"one")
        self.turns()
        self.assertEqual(len(watcher.heard), 1)
        self.assertTrue(watcher.heard[0] & READABLE)
        self.assertFalse(watcher.heard[0] & (ENDING | WRITABLE))
        peer.send(b"two")
        self.turns()
        self.assertEqual(len(watcher.heard), 2)
        peer.finish()
        self.turns()
        self.assertTrue(watcher.heard[2] & ENDING)

    def test_fromTheStart(self) -> None:
        """
        What is there already when watching begins is told, too.
        """
        watcher = Recorder()
        near, peer = self.unix()
        peer.send(b"octets")
        self.junction.watch(near.fileno(), watcher)
        self.turns()
        self.assertEqual(len(watcher.heard), 1)

    def test_room(self) -> None:
        """
        Room is told of at once if there is any, and then when there is again.
        """
        watcher, near, peer = self.watched()
        filling = Peer(near)
        sent = filling.fill()
        self.junction.watchWriting(near.fileno())
        self.turns()
        self.assertEqual(watcher.heard, [])
        self.until(lambda: len(peer.received) == sent, peer)
        self.until(lambda: watcher.heard)
        self.assertTrue(watcher.heard[0] & WRITABLE)

    def test_neither(self) -> None:
        """
        Octets are not told of where that is not wanted, an end always; and when it is wanted again
        what is there is told at once.
        """
        watcher, near, peer = self.watched()
        self.junction.watchFor(near.fileno(), octets=False, room=False)
        peer.send(b"octets")
        self.turns()
        self.assertEqual(watcher.heard, [])
        self.junction.watchFor(near.fileno(), octets=True, room=False)
        self.turns()
        self.assertEqual(len(watcher.heard), 1)
        self.assertFalse(watcher.heard[0] & (ENDING | WRITABLE))
        self.junction.watchFor(near.fileno(), octets=False, room=False)
        peer.finish()
        self.turns()
        self.assertTrue(watcher.heard[1] & ENDING)

    def test_handedOver(self) -> None:
        """
        Somebody else hears of a socket from now on.
        """
        first, near, peer = self.watched()
        second = Recorder()
        self.junction.handOver(near.fileno(), second)
        peer.send(b"octets")
        self.turns()
        self.assertEqual((len(first.heard), len(second.heard)), (0, 1))

    def test_unwatched(self) -> None:
        """
        A socket is watched no more, and can be watched again.
        """
        watcher, near, peer = self.watched()
        self.junction.unwatch(near.fileno())
        peer.send(b"octets")
        self.turns()
        self.assertEqual(watcher.heard, [])
        self.junction.watch(near.fileno(), watcher)
        self.turns()
        self.assertEqual(len(watcher.heard), 1)

    def test_arrivals(self) -> None:
        """
        A listening socket is told of as long as somebody waits, at most four times a turn.
        """
        watcher = Recorder()
        listening = self.listening()
        self.junction.watchArrivals(listening.fileno(), watcher)
        self.keep(socket.create_connection(listening.getsockname()))
        self.until(lambda: watcher.heard)
        before = len(watcher.heard)
        self.junction.doRead()
        self.assertEqual(len(watcher.heard), before + 4)
        listening.accept()[0].close()
        self.junction.doRead()
        self.assertEqual(len(watcher.heard), before + 4)

    def test_cannot(self) -> None:
        """
        What the system cannot watch is not remembered.
        """
        with open(__file__, "rb") as ordinary:
            self.assertRaises(OSError, self.junction.watch, ordinary.fileno(), Recorder())
            self.assertRaises(OSError, self.junction.watchArrivals, ordinary.fileno(), Recorder())
        self.junction.leave()
        self.assertEqual(self.reactor.readers, [])

    def test_isEmpty(self) -> None:
        """
        Whether there is nothing to read, and so an event will come; where the system does not tell
        that is not known.
        """
        for near, peer in (self.tcp(), self.unix()):
            self.assertTrue(isEmpty(near.fileno()))
            peer.send(b"xy")
            self.assertFalse(isEmpty(near.fileno()))
            near.recv(1)
            self.assertFalse(isEmpty(near.fileno()))
            near.recv(1)
            self.assertTrue(isEmpty(near.fileno()))
        self.assertFalse(isEmpty(self.listening().fileno()))

    def test_closedMeanwhile(self) -> None:
        """
        What happens to one socket closes another of which the same look has told: nobody is told.
        """
        first, near, peer = self.watched()
        second, other, otherPeer = self.watched()

        def close() -> None:
            closed = near if second.heard else other
            self.junction.forget(closed.fileno())
            closed.close()

        first.then = second.then = close
        peer.send(b"x")
        otherPeer.send(b"x")
        self.turns()
        self.assertEqual(len(first.heard) + len(second.heard), 1)

    def test_shared(self) -> None:
        """
        There is one buffer for all.
        """
        self.junction.view[:3] = b"abc"
        self.assertEqual(bytes(self.junction.buffer[:3]), b"abc")


class TurnTests(JunctionFixture):
    """
    Some wait until the others have had their turn.
    """

    def test_later(self) -> None:
        """
        Each goes on once, in order, at the reactor's next turn; who wants more waits for the one
        after that.
        """
        order: list[int] = []
        watchers = [Recorder() for _ in range(3)]
        for number, watcher in enumerate(watchers):
            watcher.then = lambda number=number: order.append(number)
            self.junction.later(watcher)
            self.junction.later(watcher)
        self.assertEqual(order, [])
        watchers[1].then = lambda: self.junction.later(watchers[1])
        self.reactor.turn()
        self.assertEqual(order, [0, 2])
        self.assertEqual([watcher.turns for watcher in watchers], [1, 1, 1])
        self.reactor.turn()
        self.assertEqual([watcher.turns for watcher in watchers], [1, 2, 1])

    def test_withinALook(self) -> None:
        """
        Who wants more while the junction looks goes on within the same look, after the others, but
        not for ever: then it is the reactor's turn.
        """
        order: list[str] = []
        for name in ("one", "two"):
            watcher = Recorder()
            near, peer = self.unix()
            self.junction.watch(near.fileno(), watcher)
            peer.send(b"x")

            def goOn(name: str = name, watcher: Recorder = watcher) -> None:
                order.append(name)
                self.junction.later(watcher)

            watcher.then = goOn
        self.junction.doRead()
        self.assertEqual(order, ["one", "two"] * 4)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_nobodyLeft(self) -> None:
        """
        The reactor is not asked for a turn if everybody has got all within the look.
        """
        watcher = Recorder()
        near, peer = self.unix()
        self.junction.watch(near.fileno(), watcher)
        peer.send(b"x")
        watcher.then = lambda: watcher.turns or self.junction.later(watcher)
        self.junction.doRead()
        self.assertEqual((len(watcher.heard), watcher.turns), (1, 1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_oneTurnEach(self) -> None:
        """
        Who waits for its turn, gets it since something has happened, and wants more, has no other
        one in the same look.
        """
        watcher = Recorder()
        near, peer = self.unix()
        self.junction.watch(near.fileno(), watcher)
        turns: list[int] = []

        def then() -> None:
            turns.append(len(watcher.heard))
            self.junction.later(watcher)
            peer.send(b"x")

        watcher.then = then
        self.junction.later(watcher)
        peer.send(b"x")
        self.junction.doRead()
        self.assertEqual((turns, watcher.turns), ([1, 2, 3, 4], 0))

    def test_broken(self) -> None:
        """
        A watcher that fails is told so, it is logged, and the others are called all the same, even
        if it fails at being told.
        """
        events = RecordedEvents(self)
        good, bad, worse = Recorder(), Recorder(), Recorder()

        def fail() -> None:
            raise ZeroDivisionError

        bad.then = worse.then = fail
        worse.broke = fail  # type: ignore[method-assign]
        for watcher in (bad, worse, good):
            self.junction.later(watcher)
        self.reactor.turn()
        self.assertEqual((bad.broken, good.turns), (1, 1))
        self.assertEqual(events.names, ["unforeseen"] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        peers = []
        for watcher in (worse, bad, good):
            near, peer = self.unix()
            self.junction.watch(near.fileno(), watcher)
            peer.send(b"x")
            peers.append(peer)
        self.turns()
        self.assertEqual((bad.broken, len(good.heard)), (2, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_tell(self) -> None:
        """
        A watcher can be told what its socket has not told the junction; and if it fails at that, it
        is told so.
        """
        good, bad = Recorder(), Recorder()

        def fail() -> None:
            raise ZeroDivisionError

        bad.then = fail
        for watcher in (good, bad):
            self.junction.tell(watcher, DATA)
        self.assertEqual((good.heard, good.broken, bad.broken), ([DATA], 0, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class LeaveTests(JunctionFixture):
    """
    The junction leaves the reactor.
    """

    def test_nothing(self) -> None:
        """
        As long as nothing is watched it is not in the reactor, and has no descriptor.
        """
        self.assertEqual((self.junction.fileno(), self.reactor.readers), (-1, []))
        self.junction.leave()
        self.junction.doRead()
        self.assertEqual(self.junction.logPrefix(), "SOCKS5 relays")
        self.junction.connectionLost(Failure(ZeroDivisionError()))

    def test_leave(self) -> None:
        """
        It stays with nothing to watch unless it was told to leave; then it leaves as soon as there
        is nothing, and comes back when there is something.
        """
        watcher = Recorder()
        near, _peer = self.unix()
        self.junction.watch(near.fileno(), watcher)
        self.junction.unwatch(near.fileno())
        self.assertEqual(self.reactor.readers, [self.junction])
        self.junction.leave()
        self.assertEqual((self.junction.fileno(), self.reactor.readers), (-1, []))
        for _ in range(2):
            self.junction.watch(near.fileno(), watcher)
            self.assertEqual(self.reactor.readers, [self.junction])
            self.junction.leave()
            self.assertEqual(self.reactor.readers, [self.junction])
            self.junction.unwatch(near.fileno())
            self.assertEqual(self.reactor.readers, [])
        self.junction.stay()
        self.junction.watch(near.fileno(), watcher)
        self.junction.unwatch(near.fileno())
        self.assertEqual(self.reactor.readers, [self.junction])

    def test_inTheMidst(self) -> None:
        """
        It leaves because of something that has happened, while it looks.
        """
        watcher = Recorder()
        near, peer = self.unix()
        self.junction.watch(near.fileno(), watcher)

        def close() -> None:
            self.junction.leave()
            self.junction.forget(near.fileno())
            near.close()

        watcher.then = close
        peer.send(b"x")
        self.turns()
        self.assertEqual((len(watcher.heard), self.junction.fileno()), (1, -1))

    def test_waiting(self) -> None:
        """
        Nobody who waited for a turn is called, or kept, after it has left.
        """
        watcher = Recorder()
        near, _peer = self.unix()
        self.junction.watch(near.fileno(), watcher)
        self.junction.later(watcher)
        self.junction.forget(near.fileno())
        self.junction.leave()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(1)
        self.assertEqual(watcher.turns, 0)
        self.junction.later(Recorder())
        self.reactor.turn()
        self.assertEqual(watcher.turns, 0)

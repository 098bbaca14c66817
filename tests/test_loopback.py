"""
Tests for the whole server, with clients and targets that have real sockets.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from txsocks5 import SOCKS5Factory, SOCKS5Service
from txsocks5.kernel import KernelRelay
from txsocks5.pipes import PipePool
from txsocks5.policy import DefaultPolicy
from txsocks5.relay import CopyingRelay
from txsocks5.testing import RecordedEvents, RecordedTraffic, ScriptedResolver

from .sockets import Peer

reactor: Any = installedReactor

OPENING = b"\x05\x01\x00\x05\x01\x00"
ANSWER = 12
"""
Octets of the selection and the reply.
"""


class LoopbackFixture(TestCase):
    """
    A server on loopback, with a target.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Start the server.
        """
        self.events = RecordedEvents(self)
        self.resolver = ScriptedResolver({"a.example": ["127.0.0.1"]})
        self.resolver.hold = True
        self.factory = self.make()
        self.service = SOCKS5Service(self.factory, "tcp:0:interface=127.0.0.1")
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.proxy = next(iter(self.factory.listeners)).port
        self.target = self.keep(socket.create_server(("127.0.0.1", 0), backlog=1024))
        self.target.setblocking(False)
        self.port: int = self.target.getsockname()[1]

    def make(self) -> SOCKS5Factory:
        """
        Make the server.
        """
        return SOCKS5Factory(reactor, policy=DefaultPolicy(local=True), resolver=self.resolver)

    def keep(self, opened: socket.socket) -> socket.socket:
        """
        Close a socket after the test.
        """
        self.addCleanup(opened.close)
        return opened

    def call(self) -> Peer:
        """
        A client connects.
        """
        return Peer(self.keep(socket.create_connection(("127.0.0.1", self.proxy))))

    def request(self, name: str = "") -> bytes:
        """
        The greeting, and the request.

        @param name: of the target; if it has none it is asked for by number.
        """
        host = b"\x03" + bytes((len(name),)) + name.encode() if name else b"\x01\x7f\x00\x00\x01"
        return OPENING + host + self.port.to_bytes(2, "big")

    async def until(self, done: Callable[[], object], *peers: Peer) -> None:
        """
        Let turns of the reactor pass until something is the case.

        @param peers: receive what comes meanwhile.
        """
        while True:
            for peer in peers:
                peer.look()
            if done():
                return
            await deferLater(reactor, 0)

    async def accept(self) -> Peer:
        """
        Wait for the server to connect to the target.
        """
        while True:
            try:
                return Peer(self.keep(self.target.accept()[0]))
            except BlockingIOError:
                await deferLater(reactor, 0)


class AheadTests(LoopbackFixture):
    """
    Clients that do not wait for the reply.
    """

    async def test_ahead(self) -> None:
        """
        What a client sends ahead of the reply comes to the target first, whatever has come behind
        it meanwhile, FIN included.
        """
        data = bytes(number * 7 % 251 for number in range(300_000))
        for length in (0, 1, 65_536 - 16, 65_536, len(data)):
            client = self.call()
            client.send(self.request() + data[:length])
            client.finish()
            target = await self.accept()
            await self.until(lambda target=target: target.finished or target.reset, target)
            self.assertTrue(target.finished)
            self.assertEqual(len(target.received), length)
            self.assertEqual(target.received, data[:length])
            target.send(b"bye")
            target.finish()
            await self.until(lambda client=client: client.finished or client.reset, client)
            self.assertEqual(client.received[ANSWER:], b"bye")
            await self.until(lambda: not self.factory.sessions)
            self.assertEqual(self.events.named("closed")[-1]["fromClient"], length)

    async def test_finishedBefore(self) -> None:
        """
        A client that has finished before its target was found has finished for the target, too.
        """
        client = self.call()
        client.send(self.request("a.example") + b"data")
        client.finish()
        session = None
        while session is None or not session._session.clientDone:
            await deferLater(reactor, 0)
            session = next(iter(self.factory.sessions), None)
        self.resolver.release()
        target = await self.accept()
        await self.until(lambda: target.finished or target.reset, target)
        self.assertTrue(target.finished)
        self.assertEqual(target.received, b"data")

    async def test_resetAhead(self) -> None:
        """
        A client that has reset its connection by the time of the reply is one that is lost, which
        its target can see; nothing about it is unforeseen.
        """
        client = self.call()
        client.send(self.request() + b"data")
        client.abort()
        target = await self.accept()
        await self.until(lambda: target.finished or target.reset, target)
        self.assertTrue(target.reset)
        await self.until(lambda: not self.factory.sessions)
        self.assertEqual(self.events.named("broken"), [])
        self.assertIn("client lost", self.events.one("closed")["reason"])
        self.assertEqual(self.events.one("closed")["fromClient"], 4)


def descriptors() -> set[str]:
    """
    The descriptors that the process has.
    """
    folder = "/proc/self/fd"
    listed = [f"{folder}/{name}" for name in os.listdir(folder)]
    return {path for path in listed if os.path.lexists(path)}


class Conversation:
    """
    A client and its target, each with something to send in pieces, at random.

    @ivar isOver: both have heard the end.
    """

    def __init__(self, chance: random.Random, client: Peer, name: int, port: int) -> None:
        self._chance = chance
        self.client = client
        self.target: Peer | None = None
        self._ends = chance.choice(("finish", "finish", "finish", "reset"))
        sizes = (0, 1, 100, 70_000, 1_500_000)
        # The first octets tell the target which conversation it is.
        self.up = name.to_bytes(4, "big") + chance.randbytes(chance.choice(sizes))
        self.down = chance.randbytes(chance.choice(sizes))
        number = port.to_bytes(2, "big")
        opening = OPENING + b"\x01\x7f\x00\x00\x01" + number
        self._toSend = {client: memoryview(opening + self.up)}
        self._finished: set[Peer] = set()

    def met(self, target: Peer) -> None:
        """
        The target is connected.
        """
        self.target = target
        self._toSend[target] = memoryview(self.down)

    @property
    def isOver(self) -> bool:
        """
        See the class.
        """
        if self.target is None:
            return False
        return all(peer.finished or peer.reset for peer in (self.client, self.target))

    def step(self) -> None:
        """
        Let each end do something, or not.
        """
        for peer in list(self._toSend):
            if self._chance.random() < 0.5:
                self._send(peer)
            if self._chance.random() < 0.5:
                peer.look()
        if self._ends == "reset" and self.target is not None and self._chance.random() < 0.1:
            one = self._chance.choice((self.client, self.target))
            one.abort()
            one.reset = True
            self._toSend.pop(one)
            self._ends = "was reset"

    def _send(self, peer: Peer) -> None:
        """
        Send a piece, or FIN if there is none left.
        """
        if (peer.finished and peer in self._finished) or peer.reset:
            return
        left = self._toSend[peer]
        try:
            if left:
                piece = left[: self._chance.choice((1, 1000, 65_536, 300_000))]
                self._toSend[peer] = left[peer.socket.send(piece) :]
            elif peer not in self._finished:
                self._finished.add(peer)
                peer.finish()
        except BlockingIOError:
            pass
        except OSError:
            peer.look()

    def check(self, case: TestCase) -> None:
        """
        Nothing is lost or altered; if it was reset, nothing is altered.
        """
        assert self.target is not None
        came, went = self.client.received[ANSWER:], self.target.received
        if self._ends == "was reset":
            case.assertTrue(self.up.startswith(went) and self.down.startswith(came))
        else:
            case.assertEqual((len(went), len(came)), (len(self.up), len(self.down)))
            case.assertTrue(self.up == went and self.down == came)
            case.assertFalse(self.client.reset or self.target.reset)


class RandomFixture(LoopbackFixture):
    """
    Many sessions at a time, of random sizes, in random pieces, that stall, finish in any order, and
    are reset: no octet is lost or altered, and nothing is left over.
    """

    count = 40

    async def converse(self) -> None:
        """
        Let all conversations come to their ends.
        """
        # The reactor has some of its own while it runs.
        await deferLater(reactor, 0)
        before = descriptors()
        chance = random.Random(self.id())
        all_ = [Conversation(chance, self.call(), name, self.port) for name in range(self.count)]
        unknown: list[Peer] = []
        while not all(each.isOver for each in all_):
            for each in all_:
                each.step()
            with contextlib.suppress(BlockingIOError):
                unknown.append(Peer(self.keep(self.target.accept()[0])))
            for peer in list(unknown):
                if self.introduced(peer, all_):
                    unknown.remove(peer)
            await deferLater(reactor, 0)
        for each in all_:
            each.check(self)
        await self.until(lambda: not self.factory.sessions)
        self.assertEqual(self.events.named("broken") + self.events.named("unforeseen"), [])
        for each in all_:
            assert each.target is not None
            each.client.socket.close()
            each.target.socket.close()
        pipes = self.factory._pipes
        self.assertEqual(pipes.inUse, 0)
        pipes.leave()
        self.assertEqual(descriptors() - before, set())
        gc.collect()
        left = [each for each in gc.get_objects() if isinstance(each, KernelRelay | CopyingRelay)]
        self.assertEqual([each for each in left if each._sweep is self.factory._sweep], [])

    def introduced(self, peer: Peer, conversations: Sequence[Conversation]) -> bool:
        """
        Find out which conversation a connection to the target belongs to.
        """
        if len(peer.received) < 4:
            with contextlib.suppress(BlockingIOError):
                peer.received += peer.socket.recv(4 - len(peer.received))
        if len(peer.received) < 4:
            return False
        conversations[int.from_bytes(peer.received, "big")].met(peer)
        return True


class RandomTests(RandomFixture):
    """
    By the kernel, with pipes of any kind.
    """

    async def test_kernel(self) -> None:
        """
        By the kernel.
        """
        await self.converse()

    async def test_smallPipes(self) -> None:
        """
        By the kernel, which allows small pipes only.
        """
        self.factory._pipes._large = False
        await self.converse()

    async def test_noPipes(self) -> None:
        """
        With no descriptors left for pipes.
        """
        self.patch(PipePool, "take", lambda self: None)
        await self.converse()


class RandomCopyTests(RandomFixture):
    """
    The same where somebody looks on, so that octets are copied.
    """

    def make(self) -> SOCKS5Factory:
        """
        Make the server.
        """
        return SOCKS5Factory(reactor, policy=DefaultPolicy(local=True), observer=RecordedTraffic())

    async def test_copied(self) -> None:
        """
        By copying.
        """
        await self.converse()

"""
Tests for the whole server, with clients and targets that have real sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from txsocks5 import SOCKS5Factory, SOCKS5Service
from txsocks5.policy import DefaultPolicy
from txsocks5.testing import RecordedEvents, ScriptedResolver

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

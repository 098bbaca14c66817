"""
Tests for users with source addresses of their own, from the request to the target, which sees where
a connection comes from.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from twisted.trial.unittest import TestCase

from txsocks5 import SOCKS5Factory, SOCKS5Service
from txsocks5.config import Network, Timeouts, User
from txsocks5.interfaces import Accepted, Identity, Step
from txsocks5.ledger import Ledger
from txsocks5.policy import DefaultPolicy
from txsocks5.testing import ScriptedAuthenticator

ALL = "127.0.0.8"
OWN = "127.0.0.9"


class Client(Protocol):
    """
    Says something, and keeps what comes.
    """

    def __init__(self, said: bytes, awaited: int) -> None:
        self.said = said
        self.awaited = awaited
        self.received = b""
        self.heard: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """
        Say it.
        """
        assert self.transport is not None
        self.transport.write(self.said)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it, and tell when it is enough.
        """
        self.received += data
        if len(self.received) >= self.awaited and not self.heard.called:
            self.heard.callback(self.received)


class Noting(Protocol):
    """
    A target that tells where somebody comes from.
    """

    def connectionMade(self) -> None:
        """
        Note it.
        """
        assert self.transport is not None
        factory: Any = self.factory
        if not factory.came.called:
            factory.came.callback(self.transport.getPeer().host)
        self.transport.loseConnection()


class NotingDatagrams(DatagramProtocol):
    """
    A target of datagrams that tells where one comes from.
    """

    def __init__(self) -> None:
        self.came: Deferred[str] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Note it.
        """
        if not self.came.called:
            self.came.callback(addr[0])


class OwnAddressTests(TestCase):
    """
    A server where alice has an address of her own.
    """

    timeout = 20

    async def serve(self, name: str) -> int:
        """
        Start a server for a user.

        @return: its port.
        """
        step = Step(0, b"", Accepted(Identity(name, 0x81)))
        users = {"alice": User(outgoing=(ip_address(OWN),))}
        factory = SOCKS5Factory(
            reactor,
            authenticators=[ScriptedAuthenticator(step)],
            policy=DefaultPolicy(local=True),
            ledger=Ledger(reactor, users=users),  # type: ignore[arg-type]
            network=Network(outgoing=(ip_address(ALL),)),
            timeouts=Timeouts(drain=0),
        )
        service = SOCKS5Service(factory, "tcp:0:interface=127.0.0.1")
        service.startService()
        self.addCleanup(service.stopService)
        [listener] = factory.listeners
        return listener.port

    async def ask(self, port: int, command: int, destination: int, awaited: int) -> Client:
        """
        Make a request for a port of this machine.
        """
        number = destination.to_bytes(2, "big")
        said = b"\x05\x01\x81\x05" + bytes((command,)) + b"\x00\x01\x7f\x00\x00\x01" + number
        client = Client(said, awaited)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        await connectProtocol(endpoint, client)
        await client.heard
        return client

    async def test_connect(self) -> None:
        """
        Her connections come from it, and those of others from the address of all.
        """
        for name, source in (("alice", OWN), ("bob", ALL)):
            target: Any = ServerFactory.forProtocol(Noting)
            target.came = Deferred()
            listening: Any = reactor.listenTCP(  # type: ignore[attr-defined]
                0, target, interface="127.0.0.1"
            )
            self.addCleanup(listening.stopListening)
            client = await self.ask(await self.serve(name), 1, listening.getHost().port, 12)
            self.assertEqual(client.received[:4], b"\x05\x81\x05\x00")
            self.assertEqual(socket.inet_ntoa(client.received[6:10]), source)
            self.assertEqual(await target.came, source)

    async def test_datagrams(self) -> None:
        """
        So do her datagrams.
        """
        for name, source in (("alice", OWN), ("bob", ALL)):
            target = NotingDatagrams()
            listening: Any = reactor.listenUDP(  # type: ignore[attr-defined]
                0, target, interface="127.0.0.1"
            )
            self.addCleanup(listening.stopListening)
            client = await self.ask(await self.serve(name), 3, 0, 12)
            relay = int.from_bytes(client.received[10:12], "big")
            number = listening.getHost().port.to_bytes(2, "big")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(
                    b"\x00\x00\x00\x01\x7f\x00\x00\x01" + number + b"hello", ("127.0.0.1", relay)
                )
                self.assertEqual(await target.came, source)
            assert client.transport is not None
            client.transport.loseConnection()

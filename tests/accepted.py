"""
A server that accepts its clients itself, and clients that come to it through the system.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from twisted.internet import tcp

from txsocks5 import Anonymous, SOCKS5Factory
from txsocks5.interfaces import IAuthenticator
from txsocks5.junction import Junction
from txsocks5.testing import RecordedEvents, ScriptedPolicy, ScriptedResolver
from txsocks5.wire import Address, Command, Reply, Request

from .sockets import JunctionFixture, Peer


class AcceptedFixture(JunctionFixture):
    """
    A server without transports, on a reactor that is driven by hand.
    """

    def setUp(self) -> None:
        """
        Prepare what the server is given.
        """
        super().setUp()
        self.patch(Junction, "worksWith", staticmethod(lambda reactor: True))
        self.policy = ScriptedPolicy()
        self.resolver = ScriptedResolver({"target.example": ["127.0.0.1"]})
        self.events = RecordedEvents(self)

    def make(self, *authenticators: IAuthenticator, **options: Any) -> SOCKS5Factory:
        """
        Make the server.

        @param authenticators: by default everybody is let in.

        @param options: arguments of L{SOCKS5Factory}.
        """
        given: dict[str, Any] = {
            "authenticators": authenticators or (Anonymous(),),
            "policy": self.policy,
            "resolver": self.resolver,
        }
        return SOCKS5Factory(self.reactor, **(given | options))

    def open(self, factory: Any, portClass: type[tcp.Port] = tcp.Port) -> Any:
        """
        Open a port of Twisted's, and close it after the test.
        """
        port: Any = portClass(0, factory, interface="127.0.0.1", reactor=self.reactor)
        port.startListening()
        self.addCleanup(self.turns)
        self.addCleanup(port.stopListening)
        return port

    def serve(self, *authenticators: IAuthenticator, **options: Any) -> SOCKS5Factory:
        """
        Make the server, see L{make}, and let it listen.
        """
        factory = self.make(*authenticators, **options)
        self.port = self.open(factory)
        self._acceptor = factory.takeOver(self.port)
        assert self._acceptor is not None
        self.addCleanup(self.turns)
        self.addCleanup(factory.stopSessions)
        self.addCleanup(self.close)
        return factory

    def close(self) -> None:
        """
        Listen no more, if it still does.
        """
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.stop()
            self.port.stopListening()
            self.turns()

    def call(self) -> Peer:
        """
        Connect a client to the server that was made last.
        """
        return Peer(self.keep(socket.create_connection(self.port.socket.getsockname())))

    def hear(self, peer: Peer, octets: bytes) -> None:
        """
        Wait until a peer has been sent something, which is then forgotten.
        """
        self.until(lambda: len(peer.received) >= len(octets), peer)
        self.assertEqual(peer.received, octets)
        peer.received = b""


def addressOf(where: tuple[Any, ...]) -> Address:
    """
    An address as the system gives it.
    """
    return Address(ip_address(where[0]), where[1])


def connect(listening: socket.socket, name: str = "") -> bytes:
    """
    The request for a CONNECT to where somebody listens.

    @param name: what to ask for in place of the address.
    """
    there = addressOf(listening.getsockname())
    return Request(Command.CONNECT, Address(name, there.port) if name else there).octets()


def granted(target: Peer) -> bytes:
    """
    The reply that tells of the local end of the connection to a target.
    """
    return Reply(0, addressOf(target.socket.getpeername())).octets()


__all__ = ["AcceptedFixture", "addressOf", "connect", "granted"]

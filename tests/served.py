"""
A server on fakes, and clients that talk to it in octets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import Anonymous, Identity, PasswordAuthenticator, SOCKS5Factory
from txsocks5.config import Limits, Network, Timeouts
from txsocks5.interfaces import Accepted, IAuthenticator, IProtection, Step
from txsocks5.testing import (
    MemoryConnection,
    MemoryReactor,
    RecordedEvents,
    RecordedTraffic,
    RecordingPeer,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
    flushAll,
)

# What a client says, and what it hears (most of it is in the examples of RFC 1928's formats).
GREETING = b"\x05\x01\x00"
CONNECT = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50"
CONNECT_NAME = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"
BIND = b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"
ASSOCIATE = b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"
SELECTED = b"\x05\x00"
GRANTED = b"\x05\x00\x00\x01\xc6\x33\x64\x01\x9c\x40"

#: The local end of outgoing connections; it is what C{GRANTED} says.
OUTGOING = IPv4Address("TCP", "198.51.100.1", 40000)

#: Where the server is reached.
REACHED = IPv4Address("TCP", "203.0.113.5", 1080)


def failure(code: int) -> bytes:
    """
    The reply that tells of a failure.
    """
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


def accepted(
    consumed: int = 0, send: bytes = b"", protection: IProtection | None = None, name: str = "alice"
) -> Step:
    """
    The step with which a conversation lets a client in.
    """
    return Step(consumed, send, Accepted(Identity(name, 0x81), protection))


class Caller(RecordingPeer):
    """
    A client of the server under test.
    """

    connection: MemoryConnection

    def __init__(self, flush: Callable[[], None]) -> None:
        """
        @param flush: lets everything happen that can.
        """
        super().__init__()
        self._flush = flush

    def say(self, data: bytes) -> None:
        """
        Send octets, and let everything happen that can.
        """
        self.send(data)
        self._flush()

    def sayEach(self, data: bytes) -> None:
        """
        Send octets one at a time.
        """
        for octet in data:
            self.say(bytes((octet,)))

    @property
    def answers(self) -> list[bytes]:
        """
        What the server has written, one item a write.
        """
        return self.connection.server.writes


class ServedTestCase(SynchronousTestCase):
    """
    A test case with a server on fakes.
    """

    def setUp(self) -> None:
        """
        Prepare what the server is given.
        """
        self.reactor = MemoryReactor()
        self.policy = ScriptedPolicy()
        self.resolver = ScriptedResolver({"example.com": ["192.0.2.7"]})
        self.dialer = ScriptedDialer()
        self.traffic = RecordedTraffic()
        self.events = RecordedEvents(self)
        self.connections: list[MemoryConnection] = []

    def serve(self, *authenticators: IAuthenticator, **options: Any) -> SOCKS5Factory:
        """
        Make the server.

        @param authenticators: by default everybody is let in.

        @param options: arguments of L{SOCKS5Factory}.
        """
        given: dict[str, Any] = {
            "authenticators": authenticators or (Anonymous(),),
            "policy": self.policy,
            "resolver": self.resolver,
            "dialer": self.dialer,
            "observer": self.traffic,
        }
        return SOCKS5Factory(self.reactor, **(given | options))

    def call(self, factory: SOCKS5Factory, **options: Any) -> Caller:
        """
        Connect a client to the server.

        @param options: arguments of L{MemoryConnection}.
        """
        caller = Caller(self.flush)
        server: IProtocol = factory.buildProtocol(options.get("clientAddress"))
        options = {"serverAddress": REACHED} | options
        caller.connection = MemoryConnection(caller, server, **options)
        self.connections.append(caller.connection)
        return caller

    def answer(
        self, index: int = -1, address: IAddress = OUTGOING, **options: Any
    ) -> RecordingPeer:
        """
        Let an attempt to connect succeed.

        @return: the target.
        """
        target = RecordingPeer()
        self.connections.append(
            self.dialer.dials[index].accept(target, clientAddress=address, **options)
        )
        self.flush()
        return target

    def connected(self, **options: Any) -> tuple[Caller, RecordingPeer]:
        """
        A client that has been connected to a target by CONNECT.

        @param options: arguments of L{SOCKS5Factory}.
        """
        caller = self.call(self.serve(**options))
        caller.say(GREETING + CONNECT)
        target = self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        caller.chunks.clear()
        return caller, target

    def flush(self) -> None:
        """
        Let everything happen that can.
        """
        flushAll(*self.connections)

    def advance(self, seconds: float) -> None:
        """
        Let time pass, second by second, and then what can happen.
        """
        whole = int(seconds)
        for step in [1.0] * whole + [seconds - whole]:
            self.reactor.advance(step)
            self.flush()

    def assertLost(self, peer: RecordingPeer, *kinds: type[Exception]) -> None:
        """
        A connection has ended for one of some reasons.
        """
        assert peer.lost is not None, "the connection has not ended"
        self.assertTrue(peer.lost.check(*kinds), str(peer.lost))

    def assertReset(self, peer: RecordingPeer) -> None:
        """
        A connection has been reset by the server.
        """
        self.assertLost(peer, ConnectionLost)

    def assertClosed(self, peer: RecordingPeer) -> None:
        """
        A connection has been closed regularly on our side, once we close it too.
        """
        peer.close()
        self.flush()
        self.assertLost(peer, ConnectionDone)

    def assertOver(self, factory: SOCKS5Factory) -> None:
        """
        Nothing is left of any session: no session, no timer, no port, no connection.
        """
        self.assertEqual(factory.sessions, set())
        self.assertEqual([str(call) for call in self.reactor.getDelayedCalls()], [])
        self.assertFalse(any(port.listening for port in self.reactor.tcpPorts))
        self.assertFalse(any(port.listening for port in self.reactor.udpPorts))
        for connection in self.connections:
            self.assertFalse(connection.server.connected and connection.client.connected)


def reconfigured(factory: SOCKS5Factory, **options: Any) -> Deferred[int]:
    """
    Let a server serve in another way.

    @param options: arguments of L{SOCKS5Factory.reconfigure}; the settings among them are by
        default as they are by default.
    """
    given: dict[str, Any] = {
        "network": Network(),
        "timeouts": Timeouts(),
        "limits": Limits(),
        "users": {},
        "groups": {},
        "rules": (),
    }
    return factory.reconfigure(**(given | options))


class ReconfiguredTestCase(ServedTestCase):
    """
    A test case with a server that begins to serve in another way.
    """

    def reconfiguring(
        self, factory: SOCKS5Factory, *authenticators: Any, **options: Any
    ) -> Deferred[int]:
        """
        Begin to serve in another way.
        """
        given = {
            "authenticators": authenticators or (Anonymous(),),
            "policy": self.policy,
            "resolver": self.resolver,
        }
        return reconfigured(factory, **(given | options))

    def reconfigure(self, factory: SOCKS5Factory, *authenticators: Any, **options: Any) -> int:
        """
        Serve in another way.

        @return: how many sessions have ended.
        """
        reviewed = self.reconfiguring(factory, *authenticators, **options)
        self.flush()
        return self.successResultOf(reviewed)

    def passwords(self, *names: bytes) -> PasswordAuthenticator:
        """
        Passwords of some users.
        """
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for name in names:
            checker.addUser(name, b"secret")
        return PasswordAuthenticator(self.reactor, [checker])


def raises(error: Exception) -> Any:
    """
    Something that raises an error when it is called.
    """

    def call(*arguments: Any) -> None:
        raise error

    return call


__all__ = [
    "ASSOCIATE",
    "BIND",
    "CONNECT",
    "CONNECT_NAME",
    "GRANTED",
    "GREETING",
    "OUTGOING",
    "REACHED",
    "SELECTED",
    "Caller",
    "ReconfiguredTestCase",
    "ServedTestCase",
    "accepted",
    "failure",
    "raises",
    "reconfigured",
]

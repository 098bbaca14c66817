"""
Tests for what ended sessions leave in memory: nothing, and at once, without the help of the
garbage collector.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import reactor as installedReactor
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from txsocks5 import Anonymous, PasswordAuthenticator, SOCKS5Factory, SOCKS5Service
from txsocks5.auth import withOctets
from txsocks5.config import Failures, Timeouts
from txsocks5.errors import NameNotResolved
from txsocks5.interfaces import IPAddress, IRelayObserver, IRelayTap, IResolver, Question
from txsocks5.journal import Unwritten
from txsocks5.junction import Junction
from txsocks5.policy import DefaultPolicy
from txsocks5.server import SOCKS5Protocol
from txsocks5.wire import Address

from .certificates import writeCertificate
from .sockets import Peer

reactor: Any = installedReactor

GREETING = b"\x05\x01\x00"
PASSWORD = b"\x05\x01\x02\x01\x05alice"
HOST = b"\x01\x7f\x00\x00\x01"
BULK = b"bulk" * 200_000

ANSWER = 12
"""
Octets of the selection and the reply.
"""

_TRANSPORTS = (tcp.Server, tcp.Port, unix.Server)
"""
Those of Twisted that are nobody's when they have ended; clients and their connectors know each
other.
"""


@implementer(IResolver)
class Resolver:
    """
    Knows no names, and never answers for C{slow.example}.
    """

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name.
        """
        return Deferred() if name == "slow.example" else fail(NameNotResolved("no such name"))


@implementer(IRelayTap)
class Tap:
    """
    Sees everything, and keeps nothing.
    """

    def passed(self, fromClient: bool, peer: Address, data: bytes) -> None:
        """
        Something passes.
        """

    def ended(self, fromClient: int, toClient: int) -> None:
        """
        It is over.
        """


@implementer(IRelayObserver)
class Observer:
    """
    Looks at every session.
    """

    def began(self, question: Question) -> IRelayTap:
        """
        A session begins.
        """
        return Tap()


class SealedPeer(Peer):
    """
    The far end of a connection in TLS.
    """

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving)
        self._waiting = b""
        self._finishing = False

    def send(self, data: bytes) -> None:
        """
        Send octets, as soon as the two have shaken hands.
        """
        self._waiting += data
        self.look()

    def finish(self) -> None:
        """
        Send the alert that nothing follows.
        """
        self._finishing = True
        self._alert()

    def look(self) -> None:
        """
        Receive what is there.
        """
        while not (self.finished or self.reset):
            try:
                if self._waiting:
                    self._waiting = self._waiting[self._tls.write(self._waiting) :]
                self._alert()
                self._flush()
                data = self._tls.read(1 << 20)
                self.received += data
                self.finished = not data
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    return
            except ssl.SSLZeroReturnError:
                self.finished = True
            except OSError:
                self.reset = True

    def _alert(self) -> None:
        """
        Say that nothing follows, if that is due, and they have shaken hands.
        """
        if self._finishing and self._tls.version() is not None:
            self._finishing = False
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    def _flush(self) -> None:
        """
        Send what TLS has for the other end.
        """
        data = self._leaving.read()
        assert self.socket.send(data) == len(data)

    def _fill(self) -> bool:
        """
        Receive for TLS.

        @return: whether there was something.
        """
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return False
        if data:
            self._arrived.write(data)
        else:
            self._arrived.write_eof()
        return True


class RemainsFixture(TestCase):
    """
    A server whose sessions end in all kinds of ways.
    """

    timeout = 120

    def setUp(self) -> None:
        """
        Start it.
        """
        # Events refer to who has logged them, and the test runner keeps them.
        self.patch(SOCKS5Protocol, "_log", Logger(observer=lambda event: None))
        users = InMemoryUsernamePasswordDatabaseDontUse()
        users.addUser("alice", "secret")
        passwords = PasswordAuthenticator(
            reactor, [withOctets(users)], Failures(delay=0.001, limit=0)
        )
        self.factory = SOCKS5Factory(
            reactor,
            authenticators=(Anonymous(), passwords),
            policy=DefaultPolicy(local=True),
            resolver=Resolver(),
            timeouts=Timeouts(handshake=0.3, connect=0.3, bind=0.2, linger=0.2),
            journal=Unwritten(),
            observer=self.observer(),
        )
        self.service = SOCKS5Service(self.factory, self.endpoint())
        self.service.startService()
        self.proxy = {listener.port for listener in self.factory.listeners}
        self.addCleanup(self.service.stopService)
        self.listening = self.keep(socket.create_server(("127.0.0.1", 0)))
        self.listening.setblocking(False)
        self.port: int = self.listening.getsockname()[1]

    def observer(self) -> Observer | None:
        """
        Who looks on.
        """
        return None

    def endpoint(self) -> str:
        """
        Where the server listens.
        """
        return "tcp:0:interface=127.0.0.1"

    def call(self) -> Peer:
        """
        A client connects.
        """
        (port,) = self.proxy
        return Peer(self.keep(socket.create_connection(("127.0.0.1", port))))

    def keep(self, opened: socket.socket) -> socket.socket:
        """
        Close a socket after the test.
        """
        self.addCleanup(opened.close)
        return opened

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
            await deferLater(reactor, 0.001)

    def request(self, command: int, port: int = 0, host: bytes = HOST) -> bytes:
        """
        A request.
        """
        return bytes((5, command, 0)) + host + port.to_bytes(2, "big")

    async def connected(self) -> tuple[Peer, Peer]:
        """
        A client that has been connected to a target.
        """
        client = self.call()
        client.send(GREETING + self.request(1, self.port))
        await self.until(lambda: len(client.received) == ANSWER, client)
        return client, await self.met(client)

    async def met(self, client: Peer) -> Peer:
        """
        Whoever connects to the target for a client.
        """
        while True:
            client.look()
            try:
                return Peer(self.keep(self.listening.accept()[0]))
            except BlockingIOError:
                await deferLater(reactor, 0.001)

    async def bothFinish(self, client: Peer, target: Peer) -> None:
        """
        A relay that ends regularly.
        """
        client.send(b"question")
        await self.until(lambda: target.received == b"question", target)
        target.send(b"answer")
        target.finish()
        await self.until(lambda: client.finished, client)
        client.finish()
        await self.until(lambda: target.finished, target)

    # Sessions

    async def regular(self) -> None:
        """
        CONNECT.
        """
        await self.bothFinish(*await self.connected())

    async def ahead(self) -> None:
        """
        The client sends ahead of everything, and the target resets.
        """
        client = self.call()
        client.send(GREETING + self.request(1, self.port) + b"ahead")
        target = await self.met(client)
        await self.until(lambda: target.received == b"ahead", target, client)
        target.abort()
        await self.until(lambda: client.reset or client.finished, client)

    async def clientResets(self) -> None:
        """
        The client resets while much is under way to it.
        """
        client, target = await self.connected()
        target.fill()
        await self.turns()
        client.abort()
        await self.until(lambda: target.reset, target)

    async def targetResets(self) -> None:
        """
        The target resets, after much.
        """
        client, target = await self.connected()
        target.fill()
        await self.turns()
        target.abort()
        await self.until(lambda: client.reset or client.finished, client)

    async def stopped(self) -> None:
        """
        The server stops.
        """
        _, target = await self.connected()
        await self.factory.stopSessions()
        await self.until(lambda: target.reset, target)

    async def nobodyListens(self) -> None:
        """
        The target is not there.
        """
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        await self.refused(GREETING + self.request(1, port))

    async def denied(self) -> None:
        """
        Policy says no.
        """
        self.factory.listeners.add(Address(ip_address("192.0.2.1"), 80))
        await self.refused(GREETING + self.request(1, 80, b"\x01\xc0\x00\x02\x01"))

    async def unknown(self) -> None:
        """
        The name does not resolve.
        """
        await self.refused(GREETING + self.request(1, 80, b"\x03\x09a.example"))

    async def malformed(self) -> None:
        """
        The client speaks HTTP.
        """
        await self.refused(b"GET / HTTP/1.1\r\n\r\n")

    async def wrongPassword(self) -> None:
        """
        The password is wrong.
        """
        await self.refused(PASSWORD + b"\x05wrong")

    async def rightPassword(self) -> None:
        """
        The password is right.
        """
        client = self.call()
        client.send(PASSWORD + b"\x06secret" + self.request(1, self.port))
        target = await self.met(client)
        await self.until(lambda: len(client.received) == ANSWER + 2, client)
        await self.bothFinish(client, target)

    async def refused(self, said: bytes) -> None:
        """
        A client is refused, and goes.
        """
        client = self.call()
        client.send(said)
        await self.until(lambda: client.finished or client.reset, client)
        client.socket.close()

    async def silent(self) -> None:
        """
        A client that says nothing is sent away.
        """
        await self.refused(b"")

    async def truncated(self) -> None:
        """
        A client that finishes in the midst of the handshake.
        """
        client = self.call()
        client.send(GREETING + b"\x05\x01")
        client.finish()
        await self.until(lambda: client.finished or client.reset, client)
        client.socket.close()

    async def looking(self) -> None:
        """
        The client resets while its name is looked up, or closes, where there is no reset: then
        it is looked up until that has taken too long.
        """
        client = self.call()
        client.send(GREETING + self.request(1, 80, b"\x03\x0cslow.example"))
        await self.until(lambda: len(client.received) == 2, client)
        await self.turns()
        client.abort()

    async def bind(self) -> None:
        """
        BIND, and the peer comes.
        """
        client = self.call()
        client.send(GREETING + self.request(2))
        await self.until(lambda: len(client.received) == ANSWER, client)
        port = int.from_bytes(client.received[-2:], "big")
        peer = Peer(self.keep(socket.create_connection(("127.0.0.1", port))))
        await self.until(lambda: len(client.received) == ANSWER + 10, client)
        client.received = b""
        await self.bothFinish(client, peer)

    async def bindTooLong(self) -> None:
        """
        BIND, and nobody comes in time.
        """
        client = self.call()
        client.send(GREETING + self.request(2))
        await self.until(lambda: client.finished, client)
        client.socket.close()

    async def bindGivenUp(self) -> None:
        """
        BIND, and the client goes before anybody comes.
        """
        client = self.call()
        client.send(GREETING + self.request(2))
        await self.until(lambda: len(client.received) == ANSWER, client)
        client.abort()

    async def associate(self) -> None:
        """
        UDP ASSOCIATE, with datagrams there and back, and one whose name is being looked up.
        """
        kind = (socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(*kind) as client, socket.socket(*kind) as target:
            await self.talk(client, target)

    async def talk(self, client: socket.socket, target: socket.socket) -> None:
        """
        Exchange datagrams through an association, and end it.
        """
        for each in (client, target):
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        carrier = self.call()
        carrier.send(GREETING + self.request(3, 0, b"\x01\0\0\0\0"))
        await self.until(lambda: len(carrier.received) == ANSWER, carrier)
        there = ("127.0.0.1", int.from_bytes(carrier.received[-2:], "big"))
        port = target.getsockname()[1].to_bytes(2, "big")
        client.sendto(b"\0\0\0\x03\x0cslow.example\0\x50later", there)
        client.sendto(b"\0\0\0" + HOST + port + b"question", there)
        question, source = await self.datagram(target)
        self.assertEqual(question, b"question")
        target.sendto(b"answer", source)
        answer, _ = await self.datagram(client)
        self.assertEqual(answer[-6:], b"answer")
        carrier.finish()
        await self.until(lambda: carrier.finished or carrier.reset, carrier)
        carrier.socket.close()

    async def datagram(self, sink: socket.socket) -> tuple[bytes, Any]:
        """
        Receive a datagram.
        """
        while True:
            try:
                return sink.recvfrom(65536)
            except BlockingIOError:
                await deferLater(reactor, 0.001)

    # What they leave

    async def lived(self, session: Callable[[], Awaitable[None]]) -> None:
        """
        Let a session live and end.
        """
        await session()
        await self.until(lambda: not self.factory.sessions)
        await self.turns()

    async def turns(self) -> None:
        """
        Let happen what can.
        """
        for _ in range(5):
            await deferLater(reactor, 0.001)

    async def leavesNothing(self, *forgiven: str) -> None:
        """
        Whatever a session is, and however it ends, nothing of it is left.

        @param forgiven: the classes of what may be left all the same.
        """
        sessions: dict[str, Callable[[], Awaitable[None]]] = {
            session.__name__: session
            for session in (
                self.regular,
                self.ahead,
                self.clientResets,
                self.targetResets,
                self.stopped,
                self.nobodyListens,
                self.denied,
                self.unknown,
                self.malformed,
                self.wrongPassword,
                self.rightPassword,
                self.silent,
                self.truncated,
                self.looking,
                self.bind,
                self.bindTooLong,
                self.bindGivenUp,
                self.associate,
            )
        }
        self.addCleanup(gc.enable)
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.set_debug, 0)
        left = {}
        for name, session in sessions.items():
            # Some things are made once, when they are first needed.
            await self.lived(session)
            gc.collect()
            gc.disable()
            gc.freeze()
            await self.lived(session)
            living = ours(gc.get_objects(), forgiven)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            gc.set_debug(0)
            waiting = ours(gc.garbage, forgiven)
            gc.garbage.clear()
            gc.unfreeze()
            if living or waiting:
                left[name] = (living, waiting)
        self.maxDiff = None
        self.assertEqual(left, {}, "sessions, and what they have left")


def ours(objects: Iterable[object], forgiven: Collection[str]) -> Counter[str]:
    """
    Of some objects those that sessions are made of, by their classes.
    """
    names = Counter(
        type(each).__name__
        for each in objects
        if type(each).__module__.startswith("txsocks5.") or isinstance(each, _TRANSPORTS)
    )
    return Counter({name: count for name, count in names.items() if name not in forgiven})


class RemainsTests(RemainsFixture):
    """
    Clients of plain TCP.
    """

    async def test_sockets(self) -> None:
        """
        Sockets without transports, joined by the kernel.
        """
        await self.leavesNothing()


class CopyRemainsTests(RemainsFixture):
    """
    Somebody looks on, so that octets are copied.
    """

    def observer(self) -> Observer:
        """
        Who looks on.
        """
        return Observer()

    async def test_copied(self) -> None:
        """
        Sockets without transports, joined by copying.
        """
        await self.leavesNothing()


class TransportRemainsTests(RemainsFixture):
    """
    A system, or a reactor, where sockets cannot be watched directly.
    """

    def setUp(self) -> None:
        """
        Start the server.
        """
        self.patch(Junction, "worksWith", staticmethod(lambda reactor: False))
        super().setUp()

    async def test_transports(self) -> None:
        """
        Twisted's transports, joined by copying.
        """
        await self.leavesNothing()


class UNIXRemainsTests(RemainsFixture):
    """
    Clients of a UNIX socket.
    """

    def endpoint(self) -> str:
        """
        Where the server listens.
        """
        # Relative, as the name of a socket may not be long.
        self.path = Path(self.mktemp()).name
        return f"unix:{self.path}"

    def call(self) -> Peer:
        """
        A client connects.
        """
        end = self.keep(socket.socket(socket.AF_UNIX))
        end.connect(self.path)
        return Peer(end)

    async def test_unix(self) -> None:
        """
        UNIX sockets.
        """
        await self.leavesNothing()


class WrappedRemainsTests(RemainsFixture):
    """
    Clients behind a load balancer.
    """

    def endpoint(self) -> str:
        """
        Where the server listens.
        """
        return "haproxy:tcp:0:interface=127.0.0.1"

    def call(self) -> Peer:
        """
        A client connects.
        """
        peer = super().call()
        peer.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 1080\r\n")
        return peer

    async def test_wrapped(self) -> None:
        """
        Transports that have a wrapper.
        """
        await self.leavesNothing()


class SealedRemainsTests(RemainsFixture):
    """
    Clients that speak TLS.
    """

    def endpoint(self) -> str:
        """
        Where the server listens.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate = writeCertificate(folder)
        return f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"

    def call(self) -> Peer:
        """
        A client connects.
        """
        return SealedPeer(super().call().socket)

    async def test_sealed(self) -> None:
        """
        Connections in TLS.  What Twisted's keeps of an end without its alert knows the calls in
        which that was noticed, and they know sockets.
        """
        await self.leavesNothing("Server", "SocketStream")

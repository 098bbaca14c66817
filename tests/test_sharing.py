"""
Tests for L{txsocks5.sharing}.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    clientFromString,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsocks5.sharing import Adopter, Inheritor, Opener, spelled

from .certificates import writeCertificate

reactor: Any = installed


class Greeter(Protocol):
    """
    Says hello, and closes.
    """

    def connectionMade(self) -> None:
        """
        Somebody has come.
        """
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class Listener(Protocol):
    """
    Hears what it is told.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        Something is said.
        """
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        That was all.
        """
        self.done.callback(self.heard)


class SharingTests(TestCase):
    """
    Sockets that one has opened and another accepts at.
    """

    async def shared(self, description: str) -> tuple[Any, Any]:
        """
        Open an endpoint as a supervisor does, and take it as a worker does.

        @return: both ports.
        """
        opened: Any = await serverFromString(Opener(reactor), description).listen(Factory())
        self.addCleanup(opened.stopListening)
        adopter = Adopter(reactor, [opened.fileno()])
        factory = Factory.forProtocol(Greeter)
        adopted: Any = await serverFromString(adopter, description).listen(factory)
        return opened, adopted

    async def greeting(self, description: str) -> bytes:
        """
        Connect, and hear what is said.
        """
        listener = Listener()
        await connectProtocol(clientFromString(reactor, description), listener)
        return await listener.done

    async def test_tcp(self) -> None:
        """
        Whoever connects is accepted by the one that has adopted the socket, and after that by
        nobody; the other still has it.
        """
        opened, adopted = await self.shared("tcp:0:interface=127.0.0.1")
        where = f"tcp:127.0.0.1:{opened.getHost().port}"
        self.assertEqual(adopted.getHost(), opened.getHost())
        self.assertEqual(await self.greeting(where), b"hello")
        self.assertNotIn(opened, reactor.getReaders())
        await adopted.stopListening()
        again = Adopter(reactor, [opened.fileno()])
        port = await serverFromString(again, "tcp:0").listen(Factory.forProtocol(Greeter))
        self.assertEqual(await self.greeting(where), b"hello")
        await port.stopListening()

    async def test_unix(self) -> None:
        """
        The name of a UNIX socket is made and removed by the one that has opened it; it listens for
        others when one does not any more.
        """
        name = os.path.relpath(self.mktemp())
        opened, adopted = await self.shared(f"unix:{name}:mode=600")
        self.assertEqual(await self.greeting(f"unix:{name}"), b"hello")
        await adopted.stopListening()
        self.assertEqual(os.stat(name).st_mode & 0o777, 0o600)
        again = Adopter(reactor, [opened.fileno()])
        port = await serverFromString(again, "unix:x").listen(Factory.forProtocol(Greeter))
        self.assertEqual(await self.greeting(f"unix:{name}"), b"hello")
        await port.stopListening()
        await opened.stopListening()
        self.assertFalse(os.path.exists(name))

    async def test_ssl(self) -> None:
        """
        TLS is spoken by the one that has adopted the socket.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        pem = writeCertificate(folder)
        opened, adopted = await self.shared(f"ssl:0:privateKey={pem}:interface=127.0.0.1")
        self.addCleanup(adopted.stopListening)
        trusted = trustRootFromCertificates([Certificate.loadPEM(pem.read_bytes())])
        listener = Listener()
        address = clientFromString(reactor, f"tcp:127.0.0.1:{opened.getHost().port}")
        options = optionsForClientTLS("localhost", trusted)
        await connectProtocol(wrapClientTLS(options, address), listener)
        self.assertEqual(await listener.done, b"hello")

    async def test_adopted(self) -> None:
        """
        A socket that was open before can be shared as well.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            opener = Opener(reactor)
            opened: Any = opener.adoptStreamPort(listening.fileno(), socket.AF_INET, Factory())
        self.addCleanup(opened.stopListening)
        adopter = Adopter(reactor, [opened.fileno()])
        port: Any = adopter.listenTCP(0, Factory.forProtocol(Greeter))
        self.addCleanup(port.stopListening)
        self.assertEqual(await self.greeting(f"tcp:127.0.0.1:{opened.getHost().port}"), b"hello")

    async def test_inherited(self) -> None:
        """
        A socket of systemd's serves those who come, and stays systemd's: its name, who may use it,
        and that it listens.
        """
        name = os.path.relpath(self.mktemp())
        inherited = socket.socket(socket.AF_UNIX)
        self.addCleanup(inherited.close)
        inherited.bind(name)
        inherited.listen()
        inherited.setblocking(False)
        os.chmod(name, 0o600)
        for _ in range(2):
            port = Inheritor(reactor).adoptStreamPort(
                inherited.fileno(), socket.AF_UNIX, Factory.forProtocol(Greeter)
            )
            self.assertEqual(await self.greeting(f"unix:{name}"), b"hello")
            await port.stopListening()
            self.assertEqual(os.stat(name).st_mode & 0o777, 0o600)

    def test_nothingLeft(self) -> None:
        """
        An endpoint that wants more sockets than were handed over does not listen.
        """
        adopter = Adopter(reactor, [])
        self.assertRaises(LookupError, adopter.listenTCP, 0, Factory())

    def test_theRest(self) -> None:
        """
        Everything else is the reactor's.
        """
        self.assertEqual(Adopter(reactor, []).callLater, reactor.callLater)


class Port(tcp.Port):
    """
    One that has an address and nothing else.
    """

    def __init__(self, address: Any) -> None:
        self._address = address

    def getHost(self) -> Any:
        """
        Its address.
        """
        return self._address


class SpelledTests(SynchronousTestCase):
    """
    Tests for L{spelled}.
    """

    def test_spelled(self) -> None:
        """
        Only what others cannot open is described anew, by its address.
        """
        v4, v6 = IPv4Address("TCP", "192.0.2.1", 1080), IPv6Address("TCP", "2001:db8::1", 1080)
        for description, address, expected in (
            ("tcp:0", v4, "tcp:0"),
            ("haproxy:tcp:0", v4, "haproxy:tcp:0"),
            ("systemd:domain=INET:index=0", v4, "tcp:1080:interface=192.0.2.1"),
            (
                "haproxy:systemd:domain=INET6:index=0",
                v6,
                "haproxy:tcp:1080:interface=2001\\:db8\\:\\:1",
            ),
            ("systemd:domain=UNIX:index=0", UNIXAddress(b"/run/x:y"), "unix:/run/x\\:y"),
            ("systemd:domain=UNIX:index=0", UNIXAddress(None), "unix:"),
        ):
            self.assertEqual(spelled(description, Port(address)), expected)

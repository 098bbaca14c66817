"""
The C{socks} package of Node.js: CONNECT, BIND and UDP ASSOCIATE.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from ._processes import Outcome, Program
from ._programs import program
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy, reactor
from ._targets import PAYLOAD, Caller, Checksum, Echo, digest, stream

#: The programs that use the package.
FOLDER = Path(__file__).with_name("node")


def missing() -> str | None:
    """
    Look for Node.js and the package.
    """
    found = (FOLDER / "node_modules" / "socks").is_dir()
    return program("node", package="nodejs") or (
        None if found else "the socks package of Node.js is not installed (make clients)"
    )


def options(proxy: Proxy, host: str, port: int, credentials: Credentials | None) -> str:
    """
    The argument of each program: the proxy, and the destination.
    """
    who = {"userId": credentials.user, "password": credentials.password} if credentials else {}
    return json.dumps(
        {
            "proxy": {"host": proxy.host, "port": proxy.port, "type": 5, **who},
            "destination": {"host": host, "port": port},
        }
    )


class NodeTests(InteropTestCase):
    """
    Programs for Node.js use the proxy.
    """

    skip = missing()

    async def connect(self, proxy: Proxy, host: str, port: int, stdin: bytes = b"") -> Outcome:
        """
        Send something to a host and collect the answer.
        """
        return await self.outcomeOf(
            *("node", str(FOLDER / "connect.js")),
            options(proxy, host, port, self.credentials),
            stdin=stdin,
        )

    async def assertEchoed(self, host: str, target: str, interface: str = "127.0.0.1") -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo), target)
        done = await self.connect(proxy, host, port, PAYLOAD)
        self.assertEqual((done.status, done.err), (0, b""), done.complaint)
        self.assertEqual(digest(done.out), digest(PAYLOAD))

    async def test_connectByName(self) -> None:
        """
        A host is reached by its name.
        """
        await self.assertEchoed("localhost", "127.0.0.1")

    async def test_connectByIPv4Address(self) -> None:
        """
        A host is reached by its IPv4 address.
        """
        await self.assertEchoed("127.0.0.1", "127.0.0.1")

    async def test_connectByIPv6Address(self) -> None:
        """
        A host is reached by its IPv6 address.
        """
        await self.assertEchoed("::1", "::1")

    async def test_proxyOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address is used.
        """
        await self.assertEchoed("::1", "::1", interface="::1")

    async def test_halfClose(self) -> None:
        """
        A host that answers only when it has heard everything is heard.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Checksum))
        done = await self.connect(proxy, "localhost", port, PAYLOAD)
        self.assertEqual((done.status, done.out), (0, digest(PAYLOAD)), done)

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        proxy = await self.startProxy()
        done = await self.connect(proxy, NOWHERE, 80)
        self.assertEqual(done.status, 1, done)
        self.assertIn("HostUnreachable", done.complaint)

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        proxy = await self.startProxy()
        done = await self.connect(proxy, "127.0.0.1", self.closedPort())
        self.assertEqual(done.status, 1, done)
        self.assertIn("ConnectionRefused", done.complaint)

    # -- BIND

    async def told(self, program: Program, event: str) -> tuple[str, int]:
        """
        The address that C{bind.js} prints with an event.
        """
        (address,) = await program.whenPrinted(rf"^{event} (.+)$")
        host, _, port = address.partition(" ")
        return host, int(port)

    async def assertBound(self, expected: str) -> None:
        """
        Wait at the proxy for a connection, make it, and use it.

        @param expected: the host that is expected to connect.
        """
        proxy = await self.startProxy()
        bind = self.spawn(
            *("node", str(FOLDER / "bind.js")),
            options(proxy, expected, 0, self.credentials),
        )
        host, port = await self.told(bind, "bound")
        self.assertEqual(host, "127.0.0.1")
        caller = Caller(PAYLOAD)
        await connectProtocol(TCP4ClientEndpoint(reactor, host, port), caller)
        self.assertEqual(await self.told(bind, "established"), caller.address)
        self.assertEqual(digest(await caller.answered), digest(PAYLOAD))
        done = await bind.whenEnded()
        self.assertEqual((done.status, done.err), (0, b""), done)

    async def test_bindForAnybody(self) -> None:
        """
        Whoever connects to the address that the proxy gave is let through, and
        the client is told who it was.
        """
        await self.assertBound("0.0.0.0")

    async def test_bindForOneHost(self) -> None:
        """
        The one host that is expected is let through.
        """
        await self.assertBound("127.0.0.1")

    # -- UDP ASSOCIATE

    async def assertReturned(
        self, host: str, target: str, size: int = 100, interface: str = "127.0.0.1"
    ) -> None:
        """
        Send two datagrams to a host and have both back from there.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param size: how many octets the second datagram has.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startDatagramEcho(target)
        nobody = "::" if ":" in interface else "0.0.0.0"
        done = await self.outcomeOf(
            *("node", str(FOLDER / "associate.js")),
            options(proxy, nobody, 0, self.credentials),
            json.dumps([{"host": host, "port": port, "size": each} for each in (1, size)]),
        )
        self.assertEqual((done.status, done.err), (0, b""), done)
        # The package writes IPv6 addresses in full.
        written = ip_address(target).exploded
        self.assertEqual(
            done.out.decode().splitlines(),
            [f"{written} {port} {each} true" for each in (1, size)],
        )

    async def test_associateByName(self) -> None:
        """
        Datagrams reach a host by its name; answers come from its address.
        """
        await self.assertReturned("localhost", "127.0.0.1")

    async def test_associateByIPv4Address(self) -> None:
        """
        Datagrams reach a host by its IPv4 address.
        """
        await self.assertReturned("127.0.0.1", "127.0.0.1")

    async def test_associateByIPv6Address(self) -> None:
        """
        Datagrams reach a host by its IPv6 address, from a client on IPv4.
        """
        await self.assertReturned("::1", "::1")

    async def test_associateWithProxyOnIPv6(self) -> None:
        """
        A client on IPv6 gets a relay on IPv6.
        """
        await self.assertReturned("127.0.0.1", "127.0.0.1", interface="::1")

    async def test_largeDatagram(self) -> None:
        """
        A datagram that is nearly as large as can be is not cut.
        """
        await self.assertReturned("127.0.0.1", "127.0.0.1", size=65_000)


class NodeWithPasswordTests(NodeTests):
    """
    Programs for Node.js use a proxy that demands a password.
    """

    credentials = ALICE

    async def assertTurnedAway(self, credentials: Credentials | None, complaint: str) -> None:
        """
        Try to reach a host, and fail at the proxy.

        @param complaint: what the library says.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        done = await self.outcomeOf(
            *("node", str(FOLDER / "connect.js")),
            options(proxy, "127.0.0.1", port, credentials),
        )
        self.assertEqual((done.status, done.out), (1, b""), done)
        self.assertIn(complaint, done.complaint)

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password the client is told that authentication failed.
        """
        await self.assertTurnedAway(MALLORY, "Socks5 Authentication failed")

    async def test_noPassword(self) -> None:
        """
        Without a password the client is told that its method is not accepted.
        """
        await self.assertTurnedAway(None, "no accepted authentication type")

"""
OpenBSD's C{nc -X 5}: the plainest of clients.
"""

from __future__ import annotations

from ._processes import Outcome
from ._programs import netcat
from ._proxy import ALICE, NOWHERE, InteropTestCase, Proxy
from ._targets import PAYLOAD, Checksum, Echo, digest, stream


async def connect(
    case: InteropTestCase, proxy: Proxy, host: str, port: int, stdin: bytes = b""
) -> Outcome:
    """
    Send something to a host, half-close the connection, and collect the answer.
    """
    return await case.outcomeOf(
        *("nc", "-X", "5", "-x", proxy.address, "-N", "-w", "60", host, str(port)), stdin=stdin
    )


class NetcatTests(InteropTestCase):
    """
    C{nc} connects through the proxy.
    """

    skip = netcat()

    async def assertEchoed(self, host: str, target: str, interface: str = "127.0.0.1") -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo), target)
        done = await connect(self, proxy, host, port, PAYLOAD)
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
        await self.assertEchoed("localhost", "127.0.0.1", interface="::1")

    async def test_halfClose(self) -> None:
        """
        A host that answers only when it has heard everything is heard.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Checksum))
        done = await connect(self, proxy, "localhost", port, PAYLOAD)
        self.assertEqual((done.status, done.out), (0, digest(PAYLOAD)), done)

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        proxy = await self.startProxy()
        done = await connect(self, proxy, NOWHERE, 80)
        self.assertEqual(done.status, 1, done)
        self.assertIn("Host unreachable", done.complaint)

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        proxy = await self.startProxy()
        done = await connect(self, proxy, "127.0.0.1", self.closedPort())
        self.assertEqual(done.status, 1, done)
        self.assertIn("Connection refused", done.complaint)


class NetcatWithoutPasswordTests(InteropTestCase):
    """
    C{nc} knows no passwords.
    """

    skip = netcat()

    credentials = ALICE

    async def test_noPassword(self) -> None:
        """
        A proxy that demands a password turns C{nc} away.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        done = await connect(self, proxy, "127.0.0.1", port)
        self.assertEqual((done.status, done.out), (1, b""), done)
        self.assertIn("authentication method negotiation failed", done.complaint)

"""
Java: a C{java.net.Socket} with a C{java.net.Proxy}.
"""

from __future__ import annotations

from pathlib import Path

from ._processes import Outcome
from ._programs import program
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, Checksum, Echo, digest, stream

SOURCE = Path(__file__).with_name("Filter.java")


class JavaTests(InteropTestCase):
    """
    A Java program uses the proxy.
    """

    # Only the whole JDK, and not a JRE, runs a program from its source.
    skip = program("javac", package="default-jdk-headless")

    async def connect(
        self,
        proxy: Proxy,
        host: str,
        port: int,
        credentials: Credentials | None,
        lookup: str = "proxy",
        stdin: bytes = b"",
    ) -> Outcome:
        """
        Send something to a host and collect the answer.

        @param lookup: who looks the host up, C{"proxy"} or C{"client"}.
        """
        who = [credentials.user, credentials.password] if credentials else []
        return await self.outcomeOf(
            *("java", str(SOURCE), proxy.host, str(proxy.port), host, str(port), lookup, *who),
            stdin=stdin,
        )

    async def assertEchoed(
        self, host: str, target: str, lookup: str = "proxy", interface: str = "127.0.0.1"
    ) -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo), target)
        done = await self.connect(proxy, host, port, self.credentials, lookup, PAYLOAD)
        self.assertEqual(done.status, 0, done.complaint)
        self.assertEqual(digest(done.out), digest(PAYLOAD))

    async def test_connectByName(self) -> None:
        """
        A host is reached by a name that only the proxy looks up.
        """
        await self.assertEchoed("localhost", "127.0.0.1")

    async def test_connectByIPv4Address(self) -> None:
        """
        A host is reached by its IPv4 address.
        """
        await self.assertEchoed("127.0.0.1", "127.0.0.1", lookup="client")

    async def test_connectByIPv6Address(self) -> None:
        """
        A host is reached by its IPv6 address.
        """
        await self.assertEchoed("::1", "::1", lookup="client")

    async def test_literalAsName(self) -> None:
        """
        An address that is sent as if it were a name is understood.
        """
        await self.assertEchoed("127.0.0.1", "127.0.0.1")

    async def test_IPv6LiteralAsName(self) -> None:
        """
        An IPv6 address that is sent as if it were a name is understood.
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
        done = await self.connect(proxy, "localhost", port, self.credentials, stdin=PAYLOAD)
        self.assertEqual((done.status, done.out), (0, digest(PAYLOAD)), done)

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        proxy = await self.startProxy()
        done = await self.connect(proxy, NOWHERE, 80, self.credentials)
        self.assertEqual(done.status, 1, done)
        self.assertIn("SOCKS: Host unreachable", done.complaint)

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        proxy = await self.startProxy()
        done = await self.connect(proxy, "127.0.0.1", self.closedPort(), self.credentials)
        self.assertEqual(done.status, 1, done)
        self.assertIn("SOCKS: Connection refused", done.complaint)


class JavaWithPasswordTests(JavaTests):
    """
    A Java program uses a proxy that demands a password.
    """

    credentials = ALICE

    async def assertTurnedAway(self, credentials: Credentials | None) -> None:
        """
        Try to reach a host, and fail at the proxy.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        done = await self.connect(proxy, "127.0.0.1", port, credentials)
        self.assertEqual((done.status, done.out), (1, b""), done)
        self.assertIn("SOCKS : authentication failed", done.complaint)

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password the program is told that authentication failed.
        """
        await self.assertTurnedAway(MALLORY)

    async def test_noAuthenticator(self) -> None:
        """
        A program that knows no password sends the name of its user with an empty
        one all the same, and is told that authentication failed.
        """
        await self.assertTurnedAway(None)

    async def test_emptyPassword(self) -> None:
        """
        With an empty password the program is told that authentication failed.
        """
        await self.assertTurnedAway(Credentials("alice", ""))

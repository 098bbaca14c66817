"""
PySocks: sockets of the standard library's kind, for streams and for datagrams.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ._programs import library
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, Checksum, Echo, digest, stream

if TYPE_CHECKING:
    from socks import socksocket


def opened(
    proxy: Proxy,
    credentials: Credentials | None,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    rdns: bool = True,
) -> socksocket:
    """
    A socket that is going to use the proxy.

    @param rdns: whether the proxy looks names up.
    """
    import socks

    family = socket.AF_INET6 if ":" in proxy.host else socket.AF_INET
    opened = socks.socksocket(family, kind)
    opened.settimeout(60)
    opened.set_proxy(
        socks.SOCKS5,
        proxy.host,
        proxy.port,
        rdns,
        credentials.user if credentials else None,
        credentials.password if credentials else None,
    )
    return opened


def readAll(connected: socket.socket) -> bytes:
    """
    Read until the other side closes the connection.
    """
    pieces = list(iter(lambda: connected.recv(65536), b""))
    return b"".join(pieces)


class PySocksTests(InteropTestCase):
    """
    Blocking Python programs use the proxy.
    """

    skip = library("socks", "PySocks")

    def exchange(
        self, proxy: Proxy, host: str, port: int, question: bytes, rdns: bool = True
    ) -> Callable[[], bytes]:
        """
        Something for a thread to do: to send something to a host, half-close the
        connection, and return the answer.
        """

        def work() -> bytes:
            with opened(proxy, self.credentials, rdns=rdns) as connected:
                connected.connect((host, port))
                connected.sendall(question)
                connected.shutdown(socket.SHUT_WR)
                return readAll(connected)

        return work

    async def assertEchoed(
        self, host: str, target: str, rdns: bool = True, interface: str = "127.0.0.1"
    ) -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param rdns: whether the proxy looks names up.
        @param interface: the address of the proxy.
        """
        # No more than the buffers hold: this client first sends all, then reads.
        question = PAYLOAD[:10_000]
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo), target)
        answer = await self.inThread(self.exchange(proxy, host, port, question, rdns))
        self.assertEqual(digest(answer), digest(question))

    async def test_connectByName(self) -> None:
        """
        A host is reached by a name that the proxy looks up.
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

    async def test_lookedUpByClient(self) -> None:
        """
        A host is reached by a name that the client looks up.
        """
        await self.assertEchoed("localhost", "127.0.0.1", rdns=False)

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
        answer = await self.inThread(self.exchange(proxy, "localhost", port, PAYLOAD))
        self.assertEqual(answer, digest(PAYLOAD))

    async def test_boundAddress(self) -> None:
        """
        The client is told from which address the proxy's own connection comes.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))

        def work() -> tuple[str, int]:
            with opened(proxy, self.credentials) as connected:
                connected.connect(("127.0.0.1", port))
                return cast("tuple[str, int]", connected.get_proxy_sockname())

        host, number = await self.inThread(work)
        self.assertEqual(host, "127.0.0.1")
        self.assertNotIn(number, (0, port, proxy.port))

    async def assertNoConnection(self, host: str, port: int, complaint: str) -> None:
        """
        Try to reach a host, and fail.

        @param complaint: a regular expression for what the library says.
        """
        import socks

        proxy = await self.startProxy()
        with self.assertRaises(socks.GeneralProxyError) as raised:
            await self.inThread(self.exchange(proxy, host, port, b""))
        self.assertIsInstance(raised.exception.socket_err, socks.SOCKS5Error)
        self.assertRegex(str(raised.exception), complaint)

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        await self.assertNoConnection(NOWHERE, 80, "0x04: Host unreachable")

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        await self.assertNoConnection("127.0.0.1", self.closedPort(), "0x05: Connection refused")

    # -- datagrams

    async def assertReturned(self, host: str, target: str, size: int = 100) -> None:
        """
        Send two datagrams to a host and have both back from there.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param size: how many octets the second datagram has.
        """
        proxy = await self.startProxy()
        port = await self.startDatagramEcho(target)
        datagrams = [b"", PAYLOAD[:size]]

        def work() -> list[tuple[bytes, tuple[str, int]]]:
            answers = []
            with opened(proxy, self.credentials, socket.SOCK_DGRAM) as unconnected:
                for datagram in datagrams:
                    unconnected.sendto(datagram, (host, port))
                    answers.append(unconnected.recvfrom(65536))
            return answers

        answers = await self.inThread(work)
        self.assertEqual(answers, [(datagram, (target, port)) for datagram in datagrams])

    async def test_datagramByName(self) -> None:
        """
        Datagrams reach a host by its name; answers come from its address.
        """
        await self.assertReturned("localhost", "127.0.0.1")

    async def test_datagramByIPv4Address(self) -> None:
        """
        Datagrams reach a host by its IPv4 address.
        """
        await self.assertReturned("127.0.0.1", "127.0.0.1")

    async def test_datagramByIPv6Address(self) -> None:
        """
        Datagrams reach a host by its IPv6 address.
        """
        await self.assertReturned("::1", "::1")

    async def test_largeDatagram(self) -> None:
        """
        A datagram that is nearly as large as can be is not cut.
        """
        await self.assertReturned("127.0.0.1", "127.0.0.1", size=65_000)


class PySocksWithPasswordTests(PySocksTests):
    """
    Blocking Python programs use a proxy that demands a password.
    """

    credentials = ALICE

    async def assertTurnedAway(self, credentials: Credentials | None, complaint: str) -> None:
        """
        Try to reach a host, and fail at the proxy.

        @param complaint: what the library says.
        """
        import socks

        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))

        def work() -> None:
            with opened(proxy, credentials) as connected:
                connected.connect(("127.0.0.1", port))

        with self.assertRaises(socks.GeneralProxyError) as raised:
            await self.inThread(work)
        self.assertIsInstance(raised.exception.socket_err, socks.SOCKS5AuthError)
        self.assertIn(complaint, str(raised.exception))

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password the client is told that authentication failed.
        """
        await self.assertTurnedAway(MALLORY, "SOCKS5 authentication failed")

    async def test_noPassword(self) -> None:
        """
        Without a password the client is told that its methods were rejected.
        """
        await self.assertTurnedAway(None, "All offered SOCKS5 authentication methods were rejected")

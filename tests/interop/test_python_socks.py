"""
python-socks: a proxy for blocking sockets, and one for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._programs import library
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, Checksum, Echo, digest, stream


def url(proxy: Proxy, credentials: Credentials | None) -> str:
    """
    What python-socks and its relatives are told about the proxy.
    """
    who = f"{credentials.user}:{credentials.password}@" if credentials else ""
    return f"socks5://{who}{proxy.address}"


class BlockingTests(InteropTestCase):
    """
    Blocking Python programs use the proxy.
    """

    skip = library("python_socks", "python-socks[asyncio]")

    def exchange(
        self,
        proxy: Proxy,
        credentials: Credentials | None,
        host: str,
        port: int,
        question: bytes,
        **options: Any,
    ) -> Callable[[], bytes]:
        """
        Something for a thread to do: to send something to a host, half-close the
        connection, and return the answer.

        @param options: further arguments for python-socks.
        """

        def work() -> bytes:
            from socket import SHUT_WR

            from python_socks.sync import Proxy as Client

            client = Client.from_url(url(proxy, credentials), **options)
            with client.connect(host, port, timeout=60) as connected:
                connected.settimeout(60)
                connected.sendall(question)
                connected.shutdown(SHUT_WR)
                return b"".join(iter(lambda: connected.recv(65536), b""))

        return work

    async def assertEchoed(
        self, host: str, target: str, interface: str = "127.0.0.1", **options: Any
    ) -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param interface: the address of the proxy.
        @param options: further arguments for python-socks.
        """
        # No more than the buffers hold: this client first sends all, then reads.
        question = PAYLOAD[:10_000]
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo), target)
        answer = await self.inThread(
            self.exchange(proxy, self.credentials, host, port, question, **options)
        )
        self.assertEqual(digest(answer), digest(question))

    async def test_connectByName(self) -> None:
        """
        A host is reached by a name that the proxy looks up.
        """
        await self.assertEchoed("localhost", "127.0.0.1", rdns=True)

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
        answer = await self.inThread(
            self.exchange(proxy, self.credentials, "localhost", port, PAYLOAD)
        )
        self.assertEqual(answer, digest(PAYLOAD))

    async def assertNoConnection(
        self, credentials: Credentials | None, host: str, port: int, reply: int | None
    ) -> str:
        """
        Try to reach a host, and fail.

        @param reply: the code that is in the proxy's reply.

        @return: what the library says.
        """
        from python_socks import ProxyError

        proxy = await self.startProxy()
        with self.assertRaises(ProxyError) as raised:
            await self.inThread(self.exchange(proxy, credentials, host, port, b""))
        self.assertEqual(raised.exception.error_code, reply)
        return str(raised.exception)

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        await self.assertNoConnection(self.credentials, NOWHERE, 80, 4)

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        await self.assertNoConnection(self.credentials, "127.0.0.1", self.closedPort(), 5)


class BlockingWithPasswordTests(BlockingTests):
    """
    Blocking Python programs use a proxy that demands a password.
    """

    credentials = ALICE

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password the client is told that authentication failed.
        """
        port = await self.startTarget(stream(Echo))
        said = await self.assertNoConnection(MALLORY, "127.0.0.1", port, None)
        self.assertIn("authentication failure", said)

    async def test_noPassword(self) -> None:
        """
        Without a password the client is told that its method is not accepted.
        """
        port = await self.startTarget(stream(Echo))
        said = await self.assertNoConnection(None, "127.0.0.1", port, None)
        self.assertIn("No acceptable authentication methods", said)


class _AsyncioExchange(InteropTestCase):
    """
    The same with asyncio, in a loop of its own.
    """

    def exchange(
        self,
        proxy: Proxy,
        credentials: Credentials | None,
        host: str,
        port: int,
        question: bytes,
        **options: Any,
    ) -> Callable[[], bytes]:
        """
        Something for a thread to do: to send something to a host, half-close the
        connection, and return the answer.

        @param options: further arguments for python-socks.
        """

        async def work() -> bytes:
            from python_socks.async_.asyncio import Proxy as Client

            client = Client.from_url(url(proxy, credentials), **options)
            connected = await client.connect(host, port, timeout=60)
            reader, writer = await asyncio.open_connection(sock=connected)
            writer.write(question)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            await writer.wait_closed()
            return answer

        return lambda: asyncio.run(work())


class AsyncioTests(_AsyncioExchange, BlockingTests):
    """
    asyncio programs use the proxy.
    """


class AsyncioWithPasswordTests(_AsyncioExchange, BlockingWithPasswordTests):
    """
    asyncio programs use a proxy that demands a password.
    """

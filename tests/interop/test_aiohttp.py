"""
aiohttp-socks: web pages with aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._programs import library
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, digest, webSite
from .test_python_socks import url


class AiohttpTests(InteropTestCase):
    """
    Web pages are fetched through the proxy.
    """

    skip = library("aiohttp_socks", "aiohttp-socks")

    def fetch(
        self,
        proxy: Proxy,
        credentials: Credentials | None,
        page: str,
        data: bytes | None = None,
        **options: Any,
    ) -> Callable[[], bytes]:
        """
        Something for a thread to do: to fetch a page, in an asyncio loop of its
        own.

        @param data: what is sent in a POST; L{None} for a GET.
        @param options: further arguments for the connector.
        """

        async def work() -> bytes:
            from aiohttp import ClientSession, ClientTimeout
            from aiohttp_socks import ProxyConnector

            connector = ProxyConnector.from_url(url(proxy, credentials), **options)
            async with (
                ClientSession(connector=connector, timeout=ClientTimeout(60)) as session,
                session.request("GET" if data is None else "POST", page, data=data) as response,
            ):
                return await response.read()

        return lambda: asyncio.run(work())

    async def assertFetched(
        self, host: str, target: str, interface: str = "127.0.0.1", **options: Any
    ) -> None:
        """
        Fetch a page and compare it.

        @param host: what the client calls the web site.
        @param target: the address of the web site.
        @param interface: the address of the proxy.
        @param options: further arguments for the connector.
        """
        proxy = await self.startProxy(interface)
        port = await self.startTarget(webSite(), target)
        page = f"http://{host}:{port}/payload"
        got = await self.inThread(self.fetch(proxy, self.credentials, page, **options))
        self.assertEqual(digest(got), digest(PAYLOAD))

    async def test_connectByName(self) -> None:
        """
        A web site is reached by a name that the proxy looks up.
        """
        await self.assertFetched("localhost", "127.0.0.1", rdns=True)

    async def test_connectByIPv4Address(self) -> None:
        """
        A web site is reached by its IPv4 address.
        """
        await self.assertFetched("127.0.0.1", "127.0.0.1")

    async def test_connectByIPv6Address(self) -> None:
        """
        A web site is reached by its IPv6 address.
        """
        await self.assertFetched("[::1]", "::1")

    async def test_lookedUpByClient(self) -> None:
        """
        A web site is reached by a name that the client looks up.
        """
        await self.assertFetched("localhost", "127.0.0.1", rdns=False)

    async def test_proxyOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address is used.
        """
        await self.assertFetched("localhost", "127.0.0.1", interface="::1")

    async def test_upload(self) -> None:
        """
        A long upload arrives complete and unchanged.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(webSite())
        page = f"http://localhost:{port}/upload"
        got = await self.inThread(self.fetch(proxy, self.credentials, page, PAYLOAD))
        self.assertEqual(got, digest(PAYLOAD))

    async def assertNotFetched(
        self, credentials: Credentials | None, page: str, reply: int | None
    ) -> str:
        """
        Try to fetch a page, and fail at the proxy.

        @param reply: the code that is in the proxy's reply.

        @return: what the library says.
        """
        from aiohttp_socks import ProxyError

        proxy = await self.startProxy()
        with self.assertRaises(ProxyError) as raised:
            await self.inThread(self.fetch(proxy, credentials, page))
        self.assertEqual(raised.exception.error_code, reply)
        return str(raised.exception)

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        await self.assertNotFetched(self.credentials, f"http://{NOWHERE}/", 4)

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        page = f"http://127.0.0.1:{self.closedPort()}/"
        await self.assertNotFetched(self.credentials, page, 5)


class AiohttpWithPasswordTests(AiohttpTests):
    """
    Web pages are fetched through a proxy that demands a password.
    """

    credentials = ALICE

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password the client is told that authentication failed.
        """
        port = await self.startTarget(webSite())
        page = f"http://127.0.0.1:{port}/greeting"
        said = await self.assertNotFetched(MALLORY, page, None)
        self.assertIn("authentication failure", said)

    async def test_noPassword(self) -> None:
        """
        Without a password the client is told that its method is not accepted.
        """
        port = await self.startTarget(webSite())
        page = f"http://127.0.0.1:{port}/greeting"
        said = await self.assertNotFetched(None, page, None)
        self.assertIn("No acceptable authentication methods", said)

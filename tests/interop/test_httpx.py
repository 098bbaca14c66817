"""
httpx-socks: web pages with httpx, blocking and with asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._programs import library
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, digest, webSite
from .test_python_socks import url


class HttpxTests(InteropTestCase):
    """
    Web pages are fetched through the proxy by blocking programs.
    """

    skip = library("httpx_socks", "httpx-socks[asyncio]")

    def fetch(
        self,
        proxy: Proxy,
        credentials: Credentials | None,
        page: str,
        data: bytes | None = None,
        **options: Any,
    ) -> Callable[[], bytes]:
        """
        Something for a thread to do: to fetch a page.

        @param data: what is sent in a POST; L{None} for a GET.
        @param options: further arguments for the transport.
        """

        def work() -> bytes:
            import httpx
            from httpx_socks import SyncProxyTransport

            transport = SyncProxyTransport.from_url(url(proxy, credentials), **options)
            with httpx.Client(transport=transport, timeout=60) as client:
                return client.request("POST" if data else "GET", page, content=data).content

        return work

    async def assertFetched(
        self, host: str, target: str, interface: str = "127.0.0.1", **options: Any
    ) -> None:
        """
        Fetch a page and compare it.

        @param host: what the client calls the web site.
        @param target: the address of the web site.
        @param interface: the address of the proxy.
        @param options: further arguments for the transport.
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
        self, credentials: Credentials | None, page: str, complaint: str
    ) -> None:
        """
        Try to fetch a page, and fail at the proxy.

        @param complaint: what the library says.
        """
        from httpx_socks import ProxyError

        proxy = await self.startProxy()
        with self.assertRaises(ProxyError) as raised:
            await self.inThread(self.fetch(proxy, credentials, page))
        self.assertIn(complaint, str(raised.exception))

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        await self.assertNotFetched(self.credentials, f"http://{NOWHERE}/", "Host unreachable")

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        page = f"http://127.0.0.1:{self.closedPort()}/"
        await self.assertNotFetched(self.credentials, page, "Connection refused")


class HttpxWithPasswordTests(HttpxTests):
    """
    Web pages are fetched by blocking programs through a proxy that demands a
    password.
    """

    credentials = ALICE

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password the client is told that authentication failed.
        """
        port = await self.startTarget(webSite())
        page = f"http://127.0.0.1:{port}/greeting"
        await self.assertNotFetched(MALLORY, page, "authentication failure")

    async def test_noPassword(self) -> None:
        """
        Without a password the client is told that its method is not accepted.
        """
        port = await self.startTarget(webSite())
        page = f"http://127.0.0.1:{port}/greeting"
        await self.assertNotFetched(None, page, "No acceptable authentication methods")


class _AsyncioFetch(InteropTestCase):
    """
    The same with asyncio, in a loop of its own.
    """

    def fetch(
        self,
        proxy: Proxy,
        credentials: Credentials | None,
        page: str,
        data: bytes | None = None,
        **options: Any,
    ) -> Callable[[], bytes]:
        """
        Something for a thread to do: to fetch a page.

        @param data: what is sent in a POST; L{None} for a GET.
        @param options: further arguments for the transport.
        """

        async def work() -> bytes:
            import httpx
            from httpx_socks import AsyncProxyTransport

            transport = AsyncProxyTransport.from_url(url(proxy, credentials), **options)
            async with httpx.AsyncClient(transport=transport, timeout=60) as client:
                method = "POST" if data else "GET"
                return (await client.request(method, page, content=data)).content

        return lambda: asyncio.run(work())


class HttpxAsyncioTests(_AsyncioFetch, HttpxTests):
    """
    Web pages are fetched through the proxy by asyncio programs.
    """


class HttpxAsyncioWithPasswordTests(_AsyncioFetch, HttpxWithPasswordTests):
    """
    Web pages are fetched by asyncio programs through a proxy that demands a
    password.
    """

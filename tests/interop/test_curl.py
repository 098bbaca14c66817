"""
curl: C{socks5://}, which looks names up itself, and C{socks5h://}, which leaves
them to the proxy.
"""

from __future__ import annotations

from ._processes import Outcome
from ._programs import program
from ._proxy import ALICE, MALLORY, NOWHERE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, digest, webSite

#: The exit status of curl when it gets no further than the proxy.
PROXY_FAILED = 97


class CurlTests(InteropTestCase):
    """
    curl fetches pages through the proxy.
    """

    skip = program("curl", package="curl")

    async def curl(
        self,
        proxy: Proxy,
        *arguments: str,
        scheme: str = "socks5h",
        credentials: Credentials | None = None,
        stdin: bytes = b"",
    ) -> Outcome:
        """
        Run curl.

        @param arguments: what it is told besides its proxy, and how to behave.
        @param scheme: what kind of proxy it is told to use.
        """
        who = ["--proxy-user", f"{credentials.user}:{credentials.password}"] if credentials else []
        return await self.outcomeOf(
            *("curl", "--disable", "--silent", "--show-error", "--globoff", "--max-time", "60"),
            *("--noproxy", "", "--proxy", f"{scheme}://{proxy.address}", *who, *arguments),
            stdin=stdin,
        )

    async def assertFetched(
        self,
        url: str,
        *arguments: str,
        target: str = "127.0.0.1",
        scheme: str = "socks5h",
        interface: str = "127.0.0.1",
    ) -> None:
        """
        Fetch one page and compare it.

        @param url: the page, with C{PORT} for the port of the web site.
        @param arguments: further arguments for curl, also with C{PORT}.
        @param target: the address of the web site.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = str(await self.startTarget(webSite(), target))
        done = await self.curl(
            proxy,
            *(argument.replace("PORT", port) for argument in (*arguments, url)),
            scheme=scheme,
            credentials=self.credentials,
        )
        self.assertEqual(done.status, 0, done)
        self.assertEqual(done.out, b"hello through the proxy\n", done)

    async def test_connectByName(self) -> None:
        """
        A web site that only the proxy looks up is fetched.
        """
        await self.assertFetched("http://localhost:PORT/greeting")

    async def test_connectByIPv4Address(self) -> None:
        """
        A web site is fetched from its IPv4 address.
        """
        await self.assertFetched("http://127.0.0.1:PORT/greeting")

    async def test_connectByIPv6Address(self) -> None:
        """
        A web site is fetched from its IPv6 address.
        """
        await self.assertFetched("http://[::1]:PORT/greeting", target="::1")

    async def test_lookedUpByCurl(self) -> None:
        """
        A web site whose name only curl can look up is fetched.
        """
        await self.assertFetched(
            "http://site.test:PORT/greeting",
            *("--resolve", "site.test:PORT:127.0.0.1"),
            scheme="socks5",
        )

    async def test_lookedUpByCurlToIPv6(self) -> None:
        """
        A web site whose name only curl can look up, to an IPv6 address, is
        fetched.
        """
        await self.assertFetched(
            "http://site.test:PORT/greeting",
            *("--resolve", "site.test:PORT:[::1]"),
            scheme="socks5",
            target="::1",
        )

    async def test_literalWithLocalLookup(self) -> None:
        """
        A C{socks5://} proxy takes addresses that need no look-up.
        """
        await self.assertFetched("http://[::1]:PORT/greeting", scheme="socks5", target="::1")

    async def test_proxyOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address serves a web site on IPv4.
        """
        await self.assertFetched("http://localhost:PORT/greeting", interface="::1")

    async def test_proxyAndTargetOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address serves a web site on IPv6.
        """
        await self.assertFetched("http://[::1]:PORT/greeting", target="::1", interface="::1")

    async def test_download(self) -> None:
        """
        A long answer arrives complete and unchanged.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(webSite())
        done = await self.curl(
            proxy, f"http://localhost:{port}/payload", credentials=self.credentials
        )
        self.assertEqual(done.status, 0, done.complaint)
        self.assertEqual(digest(done.out), digest(PAYLOAD))

    async def test_upload(self) -> None:
        """
        A long upload arrives complete and unchanged.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(webSite())
        done = await self.curl(
            proxy,
            *("--data-binary", "@-", f"http://localhost:{port}/upload"),
            credentials=self.credentials,
            stdin=PAYLOAD,
        )
        self.assertEqual(done.status, 0, done)
        self.assertEqual(done.out, digest(PAYLOAD))

    async def test_unknownName(self) -> None:
        """
        If the proxy cannot find a web site, curl says so: reply 04, host
        unreachable.
        """
        proxy = await self.startProxy()
        done = await self.curl(proxy, f"http://{NOWHERE}/", credentials=self.credentials)
        self.assertEqual(done.status, PROXY_FAILED, done)
        self.assertRegex(done.complaint, rf"complete SOCKS5 connection to {NOWHERE}\. \(4\)")

    async def test_refused(self) -> None:
        """
        If a web site refuses the connection, curl says so: reply 05, connection
        refused.
        """
        proxy = await self.startProxy()
        port = self.closedPort()
        done = await self.curl(proxy, f"http://127.0.0.1:{port}/", credentials=self.credentials)
        self.assertEqual(done.status, PROXY_FAILED, done)
        self.assertRegex(done.complaint, r"complete SOCKS5 connection to 127\.0\.0\.1\. \(5\)")


class CurlWithPasswordTests(CurlTests):
    """
    curl fetches pages through a proxy that demands a password.
    """

    credentials = ALICE

    async def assertTurnedAway(self, credentials: Credentials | None, complaint: str) -> None:
        """
        Try to fetch a page, and fail at the proxy.

        @param complaint: a regular expression for what curl says.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(webSite())
        done = await self.curl(proxy, f"http://127.0.0.1:{port}/greeting", credentials=credentials)
        self.assertEqual(done.status, PROXY_FAILED, done)
        self.assertEqual(done.out, b"")
        self.assertRegex(done.complaint, complaint)

    async def test_wrongPassword(self) -> None:
        """
        With a wrong password curl is rejected, and says so.
        """
        await self.assertTurnedAway(MALLORY, r"User was rejected by the SOCKS5 server")

    async def test_noPassword(self) -> None:
        """
        Without a password curl is told that nothing it offered will do.
        """
        await self.assertTurnedAway(None, r"(?i)no authentication method was acceptable")

    async def test_passwordInURL(self) -> None:
        """
        A password in the proxy's URL is as good as any other.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(webSite())
        done = await self.curl(
            proxy,
            *("--proxy", f"socks5h://{ALICE.user}:{ALICE.password}@{proxy.address}"),
            f"http://127.0.0.1:{port}/greeting",
        )
        self.assertEqual(done.status, 0, done)
        self.assertEqual(done.out, b"hello through the proxy\n")

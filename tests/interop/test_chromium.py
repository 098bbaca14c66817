"""
Chromium, without a window: whole pages through C{--proxy-server=socks5://}.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Site

from ._processes import Outcome
from ._programs import chromium
from ._proxy import ALICE, InteropTestCase, Proxy
from ._targets import Page, Target

DOCUMENT = b"""\
<!DOCTYPE html>
<html>
  <head>
    <title>A page behind the proxy</title>
    <link rel="stylesheet" href="style.css">
    <link rel="icon" href="picture.svg">
    <script src="script.js" defer></script>
  </head>
  <body><p>The page has come.</p><img src="picture.svg" alt=""></body>
</html>
"""

STYLE = b"body { color: green }\n"

SCRIPT = b"""\
const paragraph = document.createElement('p');
paragraph.textContent = 'The script has ' + 'come.';
document.body.append(paragraph);
"""

PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>\n'

#: How Chromium says that the proxy would not let it through: in the page that it
#: shows instead, or on its standard error.
NOT_CONNECTED = b"ERR_SOCKS_CONNECTION_FAILED"


class WebSite:
    """
    A web site for a browser.

    @ivar pages: all there is on it, by name.
    """

    def __init__(self) -> None:
        self.pages = {
            b"page.html": Page(DOCUMENT, b"text/html"),
            b"style.css": Page(STYLE, b"text/css"),
            b"script.js": Page(SCRIPT, b"text/javascript"),
            b"picture.svg": Page(PICTURE, b"image/svg+xml"),
        }
        root = Resource()
        for name, page in self.pages.items():
            root.putChild(name, page)
        self.target = Target(Site(root))


async def load(case: InteropTestCase, proxy: Proxy, url: str) -> Outcome:
    """
    Let Chromium load a page.

    @return: the page as it then is, as standard output.
    """
    command = chromium()
    assert command is not None
    return await case.outcomeOf(
        command,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={case.folder()}",
        f"--proxy-server=socks5://{proxy.address}",
        # Otherwise it would go to this machine's own addresses directly.
        "--proxy-bypass-list=<-loopback>",
        # Only the proxy may look names up.
        f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {proxy.host}",
        "--dump-dom",
        url,
    )


class ChromiumTests(InteropTestCase):
    """
    Chromium loads pages through the proxy.
    """

    skip = None if chromium() else "chromium is not installed (apt-get install chromium)"

    async def assertLoaded(self, host: str, target: str, interface: str = "127.0.0.1") -> None:
        """
        Load a page with all that belongs to it.

        @param host: what the browser calls the web site.
        @param target: the address of the web site.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        site = WebSite()
        port = await self.startTarget(site.target, target)
        done = await load(self, proxy, f"http://{host}:{port}/page.html")
        self.assertEqual(done.status, 0, done)
        self.assertIn(b"The page has come.", done.out, done)
        self.assertIn(b"The script has come.", done.out, done)
        missed = [name for name, page in site.pages.items() if not page.requests]
        self.assertEqual(missed, [], done)

    async def test_connectByName(self) -> None:
        """
        A page is loaded from a web site whose name the proxy looks up.
        """
        await self.assertLoaded("localhost", "127.0.0.1")

    async def test_connectByIPv4Address(self) -> None:
        """
        A page is loaded from the IPv4 address of a web site.
        """
        await self.assertLoaded("127.0.0.1", "127.0.0.1")

    async def test_connectByIPv6Address(self) -> None:
        """
        A page is loaded from the IPv6 address of a web site.
        """
        await self.assertLoaded("[::1]", "::1")

    async def test_proxyOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address is used.
        """
        await self.assertLoaded("localhost", "127.0.0.1", interface="::1")

    async def test_refused(self) -> None:
        """
        If a web site refuses the connection, the browser says so.
        """
        proxy = await self.startProxy()
        done = await load(self, proxy, f"http://127.0.0.1:{self.closedPort()}/page.html")
        self.assertIn(NOT_CONNECTED, done.out + done.err, done)


class ChromiumWithoutPasswordTests(InteropTestCase):
    """
    Chromium knows no passwords for SOCKS.
    """

    skip = ChromiumTests.skip

    credentials = ALICE

    async def test_noPassword(self) -> None:
        """
        If the proxy demands a password, nothing is loaded, also not directly, and
        the browser says so.
        """
        proxy = await self.startProxy()
        site = WebSite()
        port = await self.startTarget(site.target)
        done = await load(self, proxy, f"http://127.0.0.1:{port}/page.html")
        self.assertIn(NOT_CONNECTED, done.out + done.err, done)
        self.assertEqual([page.requests for page in site.pages.values()], [[]] * len(site.pages))

"""
txtorcon: a client endpoint for Twisted.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol

from ._programs import library
from ._proxy import ALICE, NOWHERE, InteropTestCase, Proxy, reactor
from ._targets import PAYLOAD, Caller, Checksum, Echo, digest, stream


def through(proxy: Proxy, host: str, port: int) -> Any:
    """
    The endpoint of a host behind the proxy.
    """
    from txtorcon.socks import TorSocksEndpoint  # type: ignore[import-untyped,unused-ignore]

    return TorSocksEndpoint(HostnameEndpoint(reactor, proxy.host, proxy.port), host, port)


class TxtorconTests(InteropTestCase):
    """
    Twisted programs use the proxy.
    """

    skip = library("txtorcon", "txtorcon")

    async def assertEchoed(self, host: str, interface: str = "127.0.0.1") -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo))
        caller = await connectProtocol(through(proxy, host, port), Caller(PAYLOAD))
        self.assertEqual(digest(await caller.answered), digest(PAYLOAD))

    async def test_connectByName(self) -> None:
        """
        A host is reached by its name.
        """
        await self.assertEchoed("localhost")

    async def test_connectByIPv4Address(self) -> None:
        """
        A host is reached by its IPv4 address.
        """
        await self.assertEchoed("127.0.0.1")

    async def test_proxyOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address is used.
        """
        await self.assertEchoed("localhost", interface="::1")

    async def test_halfClose(self) -> None:
        """
        A host that answers only when it has heard everything is heard.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Checksum))
        caller = await connectProtocol(through(proxy, "localhost", port), Caller(PAYLOAD))
        self.assertEqual(await caller.answered, digest(PAYLOAD))

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host.
        """
        from txtorcon.socks import HostUnreachableError

        proxy = await self.startProxy()
        with self.assertRaises(HostUnreachableError):
            await connectProtocol(through(proxy, NOWHERE, 80), Caller(b""))

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such.
        """
        from txtorcon.socks import ConnectionRefusedError

        proxy = await self.startProxy()
        with self.assertRaises(ConnectionRefusedError):
            await connectProtocol(through(proxy, "127.0.0.1", self.closedPort()), Caller(b""))

    async def test_resolve(self) -> None:
        """
        Tor's own request for a look-up is reported as not supported.
        """
        from txtorcon.socks import CommandNotSupportedError, resolve

        proxy = await self.startProxy()
        endpoint = HostnameEndpoint(reactor, proxy.host, proxy.port)
        with self.assertRaises(CommandNotSupportedError):
            await resolve(endpoint, "localhost")


class TxtorconWithoutPasswordTests(InteropTestCase):
    """
    txtorcon knows no passwords.
    """

    skip = TxtorconTests.skip

    credentials = ALICE

    async def test_noPassword(self) -> None:
        """
        A proxy that demands a password turns a Twisted program away.
        """
        from txtorcon.socks import SocksError

        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        with self.assertRaises(SocksError) as raised:
            await connectProtocol(through(proxy, "127.0.0.1", port), Caller(b""))
        self.assertIn("got 255", str(raised.exception))

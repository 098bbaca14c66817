"""
Tests for L{txsocks5.resolvers}.
"""

from __future__ import annotations

import gc
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import Network
from txsocks5.inorder import InOrder
from txsocks5.names import NameServer
from txsocks5.resolvers import Resolvers
from txsocks5.systemresolver import SystemResolver
from txsocks5.testing import MemoryReactor

FOUR, SIX = "192.0.2.80", "2001:db8::80"


class ResolversTests(SynchronousTestCase):
    """
    Tests for L{Resolvers}.
    """

    def setUp(self) -> None:
        """
        Have a system that never answers.
        """
        self.reactor = MemoryReactor()
        self.asked: list[str] = []
        self.reactor.nameResolver.resolveHostName = self.ask
        self.resolvers = Resolvers(self.reactor, lookUps=3)

    def ask(self, receiver: Any, name: str, *args: Any) -> None:
        """
        A name is looked up.
        """
        self.asked.append(name)

    def made(self, *servers: str, **settings: Any) -> Any:
        """
        What looks up names by such settings.
        """
        return self.resolvers.resolverFor(Network(resolver=servers or ("system",), **settings))

    def abandon(self, looked: Deferred[Any]) -> None:
        """
        Give up a look-up at last.
        """
        self.addCleanup(looked.addErrback, lambda reason: None)
        self.addCleanup(looked.cancel)

    def test_system(self) -> None:
        """
        The system is asked by the same one, whatever else has changed: however often a server
        is given other settings, no more names are looked up at a time, and what is stuck counts.
        """
        first = self.made()
        self.assertIsInstance(first, SystemResolver)
        for number in range(3):
            for network in ({}, {"prefer": "ipv6"}, {"prefer": "ipv4-only"}):
                resolver = self.made(**network)
                self.assertIs(resolver, first)
                self.abandon(resolver.resolve(f"a{number}-{len(self.asked)}.invalid"))
        self.assertIs(self.made("192.0.2.53", "system")._resolvers[1], first)
        self.assertEqual(len(self.asked), 3)

    def test_sameServers(self) -> None:
        """
        A name server that is still named is asked as before, with what it has said remembered.
        """
        alone = self.made("192.0.2.53")
        self.assertIsInstance(alone, NameServer)
        self.assertIs(self.made("192.0.2.53"), alone)
        several = self.made("192.0.2.54:5353", "192.0.2.53")
        self.assertIsInstance(several, InOrder)
        other, same = several._resolvers
        self.assertIs(same, alone)
        self.assertEqual((other._server.host, other._server.port), (ip_address("192.0.2.54"), 5353))

    def test_yielding(self) -> None:
        """
        A server is passed over while it is silent if another comes after it.
        """
        several = self.made("192.0.2.54", "192.0.2.53")._resolvers
        self.assertEqual([each._liveness is not None for each in several], [True, False])
        first = self.made("192.0.2.53", "system")._resolvers[0]
        self.assertIsNotNone(first._liveness)
        self.assertIsNone(self.made("192.0.2.53")._liveness)

    def test_otherFamilies(self) -> None:
        """
        Where other families are wanted of a server it is asked in another way; what is being asked
        in the old way takes the places of what is asked in the new.
        """
        resolvers = [self.made("192.0.2.53", prefer=prefer) for prefer in ("ipv4-only", "ipv4")]
        self.assertEqual([len(resolver._kinds) for resolver in resolvers], [1, 2])
        for number in range(100):
            self.abandon(resolvers[number % 2].resolve(f"a{number}.invalid"))
        self.assertEqual(len(self.listening()), 32 + 2 * 32)
        # In the end all of them have had their time.
        for _ in range(10):
            self.reactor.advance(5)
        self.assertEqual(self.listening(), [])

    def listening(self) -> list[Any]:
        """
        The sockets by which name servers are being asked.
        """
        return [port for port in self.reactor.udpPorts if port.listening]

    def test_forgotten(self) -> None:
        """
        A server that is named no more, and asked nothing, is forgotten.
        """
        self.made("192.0.2.53")
        gc.collect()
        self.assertEqual(len(self.resolvers._servers), 0)

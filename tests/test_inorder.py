"""
Tests for L{txsocks5.inorder}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import NameNotResolved, Overloaded
from txsocks5.inorder import InOrder
from txsocks5.names import NameServer, NoSuchName
from txsocks5.testing import MemoryReactor, ScriptedResolver
from txsocks5.wire import Address

SERVER = Address(ip_address("192.0.2.53"), 53)


class InOrderTests(SynchronousTestCase):
    """
    Several resolvers.
    """

    def setUp(self) -> None:
        """
        Have two.
        """
        self.first = ScriptedResolver({"a.invalid": ["192.0.2.1"], "gone.invalid": NoSuchName("x")})
        self.second = ScriptedResolver({name: ["192.0.2.2"] for name in ("a.invalid", "b.invalid")})
        self.names = InOrder([self.first, self.second])

    def found(self, name: str) -> str:
        """
        The address of a name.
        """
        [address] = self.successResultOf(self.names.resolve(name))
        return str(address)

    def test_order(self) -> None:
        """
        The second is asked if the first has not known.
        """
        self.assertEqual(self.found("a.invalid"), "192.0.2.1")
        self.assertEqual(self.second.asked, [])
        self.assertEqual(self.found("b.invalid"), "192.0.2.2")

    def test_overloaded(self) -> None:
        """
        Or has too much to do.
        """
        self.first.hosts["b.invalid"] = Overloaded("too many")
        self.assertEqual(self.found("b.invalid"), "192.0.2.2")

    def test_noName(self) -> None:
        """
        One that says there is no such name is believed.
        """
        self.failureResultOf(self.names.resolve("gone.invalid"), NoSuchName)
        self.assertEqual(self.second.asked, [])

    def test_nobody(self) -> None:
        """
        If nobody knows, the last one has the last word.
        """
        self.second.hosts["c.invalid"] = NameNotResolved("the last word")
        error = self.failureResultOf(self.names.resolve("c.invalid"), NameNotResolved).value
        self.assertEqual(str(error), "the last word")

    def test_cancel(self) -> None:
        """
        It can be cancelled.
        """
        self.first.hold = True
        looked = self.names.resolve("a.invalid")
        looked.addErrback(lambda reason: None)
        looked.cancel()
        self.assertEqual(self.first.cancelled, ["a.invalid"])
        self.assertEqual(self.second.asked, [])

    def test_fair(self) -> None:
        """
        Those that are fair to clients are told of them.
        """
        reactor = MemoryReactor()
        fair = NameServer(reactor, SERVER, running=4, waiting=0)
        resolver = InOrder([self.first, fair])
        client: Any = ip_address("198.51.100.1")
        resolver.resolveFor(client, "x.invalid")
        self.failureResultOf(resolver.resolveFor(client, "y.invalid"), Overloaded)
        self.assertEqual(self.first.asked, ["x.invalid", "y.invalid"])
        self.assertNoResult(resolver.resolve("z.invalid"))

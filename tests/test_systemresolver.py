"""
Tests for L{txsocks5.systemresolver}.
"""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from unittest.mock import patch

from twisted.internet import address as twistedAddress
from twisted.internet._resolver import GAIResolver
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import systemresolver
from txsocks5.errors import NameNotResolved, Overloaded
from txsocks5.interfaces import IFairResolver
from txsocks5.systemresolver import SystemResolver
from txsocks5.testing import MemoryReactor
from txsocks5.wire import IPAddress

FOUR = "192.0.2.1"
SIX = "2001:db8::1"


def texts(addresses: Sequence[IPAddress]) -> list[str]:
    """
    Addresses as text.
    """
    return [str(address) for address in addresses]


class SystemResolverTests(SynchronousTestCase):
    """
    Tests for L{SystemResolver}.
    """

    def setUp(self) -> None:
        """
        Let three names exist.
        """
        self.reactor = MemoryReactor()
        self.names = self.reactor.nameResolver
        self.names.hosts = {
            "one.example": [FOUR],
            "both.example": [SIX, FOUR, SIX],
            "odd.example": ["fe80::1%eth0", "::ffff:192.0.2.1", FOUR],
            "scoped.example": ["fe80::1%eth0"],
        }
        self.resolver = SystemResolver(self.names, running=2, waiting=1, now=self.reactor.seconds)

    def test_interface(self) -> None:
        """
        It is what it says.
        """
        self.assertTrue(verifyObject(IFairResolver, self.resolver))

    def test_found(self) -> None:
        """
        All addresses of both families are found, in the order of the system, each once.
        """
        found = self.successResultOf(self.resolver.resolve("both.example"))
        self.assertEqual(texts(found), [SIX, FOUR])

    def test_fair(self) -> None:
        """
        One client has a quarter of the look-ups, those that wait included, and the others find
        the rest free; a client that has gone does not make room for more.
        """
        resolver = SystemResolver(self.names, running=32, waiting=8)
        one, same, other = map(ip_address, ("2001:db8::1", "2001:db8::2", "192.0.2.9"))
        self.names.hold = True
        self.names.hosts = {f"{number}.example": [FOUR] for number in range(13)}
        looking = [resolver.resolveFor(one, f"{number}.example") for number in range(10)]
        self.assertEqual(len(self.names.held), 8)
        self.assertRaises(Overloaded, resolver.resolveFor, same, "10.example")
        looking.append(resolver.resolveFor(other, "11.example"))
        self.assertEqual(len(self.names.held), 9)
        looking[0].cancel()
        self.failureResultOf(looking[0], CancelledError)
        self.assertRaises(Overloaded, resolver.resolveFor, one, "12.example")
        self.names.hold = False
        self.names.release()
        for each in looking[1:]:
            self.assertEqual(texts(self.successResultOf(each)), [FOUR])

    def test_fairToFew(self) -> None:
        """
        Where few can run, one client can have four, if there are as many.
        """
        self.names.hold = True
        for running, allowed in ((8, 4), (4, 4), (2, 2)):
            self.names.held.clear()
            resolver = SystemResolver(self.names, running=running)
            for number in range(9):
                resolver.resolveFor(ip_address(FOUR), f"{number}.example")
            self.assertEqual(len(self.names.held), allowed)

    def test_notFound(self) -> None:
        """
        A name without an address is an error that names it.
        """
        reason = self.failureResultOf(self.resolver.resolve("no.example"), NameNotResolved)
        self.assertIn("no.example", str(reason.value))

    def test_odd(self) -> None:
        """
        R-1928-34: a mapped address is the IPv4 one.  One that only means something together with
        an interface is left out (S-08).
        """
        found = self.successResultOf(self.resolver.resolve("odd.example"))
        self.assertEqual(texts(found), [FOUR])
        self.failureResultOf(self.resolver.resolve("scoped.example"), NameNotResolved)

    def test_notOfTheInternet(self) -> None:
        """
        What a resolver of somebody's finds beside addresses of the internet is left out.
        """

        class Odd:
            def resolveHostName(self, receiver: Any, *rest: Any) -> None:
                receiver.addressResolved(twistedAddress.UNIXAddress(b"/run/socks.sock"))
                receiver.addressResolved(twistedAddress.UNIXAddress(None))
                receiver.addressResolved(twistedAddress.IPv4Address("TCP", FOUR, 0))
                receiver.resolutionComplete()

        odd: Any = Odd()
        found = self.successResultOf(SystemResolver(odd).resolve("one.example"))
        self.assertEqual(texts(found), [FOUR])

    def test_bounded(self) -> None:
        """
        Only so many look-ups run, and only so many wait, since each of them needs a thread.
        """
        self.names.hold = True
        self.names.hosts = {f"{number}.example": [FOUR] for number in range(4)}
        found = [self.resolver.resolve(f"{number}.example") for number in range(3)]
        self.assertEqual(len(self.names.held), 2)
        self.failureResultOf(self.resolver.resolve("3.example"), Overloaded)
        self.names.release()
        self.names.release()
        for each in found:
            self.assertEqual(texts(self.successResultOf(each)), [FOUR])

    def test_cancel(self) -> None:
        """
        Who gives up while waiting is not looked up at all; a look-up that runs keeps its place,
        and what it finds is dropped.
        """
        self.names.hold = True
        wanted = ("no.example", "one.example", "odd.example")
        found = [self.resolver.resolve(name) for name in wanted]
        for each in (found[2], found[0]):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        found.append(self.resolver.resolve("both.example"))
        self.assertEqual(len(self.names.held), 2)
        self.names.release()
        self.names.release()
        self.assertEqual(texts(self.successResultOf(found[1])), [FOUR])
        self.assertEqual(texts(self.successResultOf(found[3])), [SIX, FOUR])
        self.assertEqual(self.names.asked, ["no.example", "one.example", "both.example"])

    def test_together(self) -> None:
        """
        Who asks for a name that is being looked up hears the same answer, whoever it is; that
        one of them goes does not matter to the others.
        """
        self.names.hold = True
        clients = [ip_address(f"192.0.2.{number}") for number in range(1, 4)]
        found = [self.resolver.resolveFor(client, "one.example") for client in clients]
        found.append(self.resolver.resolve("one.example"))
        found[0].cancel()
        self.failureResultOf(found[0], CancelledError)
        self.names.release()
        for each in found[1:]:
            self.assertEqual(texts(self.successResultOf(each)), [FOUR])
        self.assertEqual(self.names.asked, ["one.example"])

    def test_remembered(self) -> None:
        """
        So does who asks for it within a second, though all places are taken; and then it is looked
        up again.
        """
        self.successResultOf(self.resolver.resolve("one.example"))
        self.names.hold = True
        self.names.hosts["one.example"] = [SIX]
        waiting = [self.resolver.resolve(f"{number}.example") for number in range(3)]
        self.reactor.advance(0.75)
        for found in (
            self.resolver.resolve("one.example"),
            self.resolver.resolveFor(ip_address(FOUR), "one.example"),
        ):
            self.assertEqual(texts(self.successResultOf(found)), [FOUR])
        while self.names.held:
            self.names.release()
        for each in waiting:
            self.failureResultOf(each, NameNotResolved)
        self.names.hold = False
        self.reactor.advance(0.25)
        found = self.resolver.resolve("one.example")
        self.assertEqual(texts(self.successResultOf(found)), [SIX])

    def test_failureIsNotRemembered(self) -> None:
        """
        A name that had no address is looked up again by the next who asks.
        """
        self.failureResultOf(self.resolver.resolve("new.example"), NameNotResolved)
        self.names.hosts["new.example"] = [FOUR]
        found = self.resolver.resolve("new.example")
        self.assertEqual(texts(self.successResultOf(found)), [FOUR])


class GetAddrInfoTests(SynchronousTestCase):
    """
    Tests for L{SystemResolver} with the resolver that Twisted's reactors have.
    """

    def setUp(self) -> None:
        """
        Make a resolver that looks up one name at a time.
        """
        self.reactor = MemoryReactor()
        names = GAIResolver(self.reactor, self.reactor.getThreadPool)
        self.resolver = SystemResolver(names, running=1, waiting=1)

    def lookUp(self, outcome: Any) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name when the system answers this, or raises it.
        """
        asked = "txsocks5.systemresolver.socket.getaddrinfo"
        with patch(asked, side_effect=[outcome]) as getaddrinfo:
            found = self.resolver.resolve("example.com")
        getaddrinfo.assert_called_once_with("example.com", 0, socket.AF_UNSPEC, socket.SOCK_STREAM)
        return found

    def test_found(self) -> None:
        """
        What C{getaddrinfo} finds is found.
        """
        answer = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (SIX, 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (FOUR, 0)),
        ]
        self.assertEqual(texts(self.successResultOf(self.lookUp(answer))), [SIX, FOUR])

    def test_freed(self) -> None:
        """
        Nothing of a look-up that has failed waits for the garbage collector.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

        def refuse(*args: Any) -> None:
            raise OSError(errno.EMFILE, "no")

        self.patch(systemresolver.socket, "getaddrinfo", refuse)
        self.failureResultOf(self.resolver.resolve("example.com"), NameNotResolved)
        left = [each for each in gc.get_objects() if isinstance(each, systemresolver._Receiver)]
        self.assertEqual(left, [])

    def test_failures(self) -> None:
        """
        Whatever it fails with, the look-up ends, and its place is free for the next: the system
        may be short of files or memory for a while.
        """
        for error in (
            socket.gaierror(socket.EAI_NONAME, "not known"),
            OSError(errno.EMFILE, "too many open files"),
            UnicodeError("label too long"),
            MemoryError(),
        ):
            self.failureResultOf(self.lookUp(error), NameNotResolved)
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (FOUR, 0))]
        self.assertEqual(texts(self.successResultOf(self.lookUp(answer))), [FOUR])
        self.assertEqual(self.flushLoggedErrors(), [])

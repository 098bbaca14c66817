"""
Tests for L{txsocks5.local}.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from unittest.mock import patch

from twisted.internet import address as twistedAddress
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import local
from txsocks5.errors import Overloaded
from txsocks5.wire import Address, IPAddress


class AddressOfTests(SynchronousTestCase):
    """
    Tests for L{local.addressOf} and L{local.placeOf}.
    """

    def test_place(self) -> None:
        """
        A place is an address, or the path of a UNIX socket.
        """
        self.assertEqual(
            local.placeOf(twistedAddress.IPv4Address("TCP", "192.0.2.1", 80)),
            Address(ip_address("192.0.2.1"), 80),
        )
        self.assertEqual(local.placeOf(twistedAddress.UNIXAddress("/s")), b"/s")
        for unknown in (None, twistedAddress.UNIXAddress(None), object()):
            self.assertIsNone(local.placeOf(unknown))  # type: ignore[arg-type]

    def test_families(self) -> None:
        """
        An address of Twisted's becomes one of ours.
        """
        self.assertEqual(
            local.addressOf(twistedAddress.IPv4Address("TCP", "192.0.2.1", 80)),
            Address(IPv4Address("192.0.2.1"), 80),
        )
        self.assertEqual(
            local.addressOf(twistedAddress.IPv6Address("UDP", "2001:db8::1", 53)),
            Address(IPv6Address("2001:db8::1"), 53),
        )

    def test_mapped(self) -> None:
        """
        R-1928-34: what a socket for both families calls an IPv4 client is that client.
        """
        self.assertEqual(
            local.addressOf(twistedAddress.IPv6Address("TCP", "::ffff:192.0.2.1", 80)),
            Address(IPv4Address("192.0.2.1"), 80),
        )

    def test_scope(self) -> None:
        """
        R-1928-36: a scope id only has a meaning here, so it is dropped.
        """
        self.assertEqual(
            local.addressOf(twistedAddress.IPv6Address("TCP", "fe80::1%eth0", 80)),
            Address(IPv6Address("fe80::1"), 80),
        )

    def test_elsewhere(self) -> None:
        """
        What is not of the internet has no address.
        """
        for address in (
            None,
            twistedAddress.UNIXAddress(b"/run/socks.sock"),
            twistedAddress.HostnameAddress(b"example.com", 80),
            twistedAddress.IPv4Address("TCP", "localhost", 80),
        ):
            self.assertIsNone(local.addressOf(address))


class TextOfTests(SynchronousTestCase):
    """
    Tests for L{local.textOf}.
    """

    def test_sameAsStandard(self) -> None:
        """
        The system reads it as the very address.
        """
        for text in ("0.0.0.0", "192.0.2.7", "255.255.255.255", "::", "::1", "2001:db8::7:0"):
            address = ip_address(text)
            self.assertEqual(local.textOf(address), text)
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            self.assertEqual(socket.inet_pton(family, local.textOf(address)), address.packed)


class IsOwnTests(SynchronousTestCase):
    """
    Tests for L{local.isOwn}, with the system's own sockets: nothing else knows.
    """

    def test_own(self) -> None:
        """
        The loopback address is always one of ours, and so is the unspecified one.
        """
        self.assertTrue(local.isOwn(IPv4Address("127.0.0.1")))
        self.assertTrue(local.isOwn(IPv4Address("0.0.0.0")))

    def test_foreign(self) -> None:
        """
        An address for documentation is nobody's.
        """
        self.assertFalse(local.isOwn(IPv4Address("192.0.2.1")))

    def failingWith(self, number: int) -> bool:
        """
        Ask when binding fails.
        """
        with patch.object(local.socket, "socket") as factory:
            factory.return_value.__enter__.return_value.bind.side_effect = OSError(number, "no")
            return local.isOwn(IPv4Address("203.0.113.5"))

    def test_portsExhausted(self) -> None:
        """
        An address of which all ports are taken is still ours.  Clients can take that many, and
        must not reach the server itself by doing so (S-05).
        """
        self.assertTrue(self.failingWith(errno.EADDRINUSE))
        self.assertFalse(self.failingWith(errno.EADDRNOTAVAIL))

    def test_cannotTell(self) -> None:
        """
        When the system fails for a reason of its own, nothing is known, and that is what it says.
        """
        for number in (errno.ENOBUFS, errno.EACCES, errno.EINVAL):
            self.assertRaises(OSError, self.failingWith, number)
        with patch.object(local.socket, "socket", side_effect=OSError(errno.EMFILE, "no")):
            self.assertRaises(OSError, local.isOwn, IPv6Address("2001:db8::1"))

    def test_family(self) -> None:
        """
        Each address is tried with a socket of its family.
        """
        for address, family in (
            (IPv4Address("192.0.2.1"), socket.AF_INET),
            (IPv6Address("2001:db8::1"), socket.AF_INET6),
        ):
            with patch.object(local.socket, "socket") as factory:
                self.assertTrue(local.isOwn(address))
            factory.assert_called_once_with(family, socket.SOCK_DGRAM)
            bound = factory.return_value.__enter__.return_value.bind
            bound.assert_called_once_with((str(address), 0))


class IsNearTests(SynchronousTestCase):
    """
    Tests for L{local.isNear}.
    """

    reached = (IPv4Address("203.0.113.5"), IPv6Address("2001:db8::5"))

    def near(self, client: str) -> bool:
        """
        Ask, where one further address is ours.
        """
        own = ip_address("203.0.113.6")
        with patch.object(local, "isOwn", lambda address: address == own):
            return local.isNear(ip_address(client), self.reached)

    def test_here(self) -> None:
        """
        A client is on this machine if it has a loopback address, one that was reached, or another
        of ours.
        """
        for client in ("127.0.0.2", "::1", "203.0.113.5", "2001:db8::5", "203.0.113.6"):
            self.assertTrue(self.near(client), client)

    def test_elsewhere(self) -> None:
        """
        Any other is not.
        """
        self.assertFalse(self.near("198.51.100.1"))

    def test_cannotTell(self) -> None:
        """
        If it cannot be told, it may be.
        """
        with patch.object(local, "isOwn", side_effect=OSError(errno.EMFILE, "no")):
            self.assertTrue(local.isNear(ip_address("198.51.100.1"), self.reached))


class SourceTowardsTests(SynchronousTestCase):
    """
    Tests for L{local.sourceTowards}.
    """

    def test_loopback(self) -> None:
        """
        The machine reaches itself from itself.
        """
        self.assertEqual(
            local.sourceTowards(IPv4Address("127.0.0.1")),
            IPv4Address("127.0.0.1"),
        )

    def test_scope(self) -> None:
        """
        The answer is an address that can be told to a client: no scope, and not mapped.
        """
        for name, address in (
            ("fe80::1%eth0", IPv6Address("fe80::1")),
            ("::ffff:192.0.2.1", IPv4Address("192.0.2.1")),
        ):
            with patch.object(local.socket, "socket") as factory:
                probe = factory.return_value.__enter__.return_value
                probe.getsockname.return_value = (name, 40000, 0, 2)
                self.assertEqual(local.sourceTowards(IPv6Address("2001:db8::1")), address)

    def test_noRoute(self) -> None:
        """
        Where no route leads, there is no source.
        """
        with patch.object(local.socket, "socket") as factory:
            probe = factory.return_value.__enter__.return_value
            probe.connect.side_effect = OSError(errno.ENETUNREACH, "no")
            self.assertIsNone(local.sourceTowards(IPv6Address("2001:db8::1")))


class OpenPortTests(SynchronousTestCase):
    """
    Tests for L{local.openPort}.
    """

    def setUp(self) -> None:
        """
        Begin with all ports free.
        """
        self.tried: list[int] = []
        self.taken: set[int] = set()

    def listen(self, port: int) -> str:
        """
        Listen on a port if it is free.
        """
        self.tried.append(port)
        if port in self.taken:
            raise CannotListenError("", port, OSError(errno.EADDRINUSE, "in use"))
        return f"port {port}"

    def test_system(self) -> None:
        """
        Without a range the system chooses.
        """
        self.assertEqual(local.openPort(self.listen, None), "port 0")

    def test_systemHasNone(self) -> None:
        """
        If the system has none, that is told as it is.
        """
        self.taken = {0}
        self.assertRaises(CannotListenError, local.openPort, self.listen, None)
        self.assertEqual(self.tried, [0])

    def test_range(self) -> None:
        """
        The port is one of the range, and not always the same.
        """
        ports = {local.openPort(self.listen, range(20000, 20010)) for _ in range(200)}
        self.assertLess(1, len(ports))
        self.assertLessEqual(set(self.tried), set(range(20000, 20010)))

    def test_oneIsFree(self) -> None:
        """
        In a small range the free port is found wherever it is.
        """
        self.taken = set(range(20000, 20010)) - {20007}
        self.assertEqual(local.openPort(self.listen, range(20000, 20010)), "port 20007")

    def test_noneIsFree(self) -> None:
        """
        If none is free, the range is named, and each port has been tried once.
        """
        self.taken = set(range(20000, 20010))
        error = self.assertRaises(Overloaded, local.openPort, self.listen, range(20000, 20010))
        self.assertIn("20000-20009", str(error))
        self.assertEqual(sorted(self.tried), list(range(20000, 20010)))

    def test_largeRange(self) -> None:
        """
        In a large range only some are tried: that a crowd finds no port must not take long.
        """
        self.taken = set(range(20000, 30000))
        self.assertRaises(Overloaded, local.openPort, self.listen, range(20000, 30000))
        self.assertEqual(len(self.tried), 64)
        self.assertEqual(len(set(self.tried)), 64)


class OpenAtFirstTests(SynchronousTestCase):
    """
    Tests for L{local.openAtFirst}.
    """

    def listen(self, *refusals: Exception | None) -> tuple[object, list[object]]:
        """
        Try as many addresses as there are answers.

        @return: the outcome, and what was tried.
        """
        answers = list(refusals)
        tried: list[object] = []
        addresses = [ip_address(f"192.0.2.{number}") for number in range(len(answers))]

        def attempt(address: IPAddress) -> IPAddress:
            tried.append(str(address))
            refusal = answers.pop(0)
            if refusal is not None:
                raise refusal
            return address

        return local.openAtFirst(attempt, addresses), tried

    def test_first(self) -> None:
        """
        If the first address will do, no other is tried.
        """
        self.assertEqual(self.listen(None, None), (ip_address("192.0.2.0"), ["192.0.2.0"]))

    def test_next(self) -> None:
        """
        An address that is not this machine's, or has no port left, is passed over.
        """
        refusals = (CannotListenError(None, None, OSError()), Overloaded("full"), None)
        self.assertEqual(self.listen(*refusals)[0], ip_address("192.0.2.2"))

    def test_none(self) -> None:
        """
        If none will do, the last one's error tells why.
        """
        refusals = (Overloaded("first"), Overloaded("last"))
        self.assertEqual(str(self.assertRaises(Overloaded, self.listen, *refusals)), "last")

    def test_other(self) -> None:
        """
        Whatever else goes wrong is not passed over.
        """
        self.assertRaises(ZeroDivisionError, self.listen, ZeroDivisionError(), None)

"""
Tests for L{txsocks5.throttle}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import throttle
from txsocks5.config import Failures
from txsocks5.throttle import Throttle

HERE = IPv4Address("192.0.2.1")
THERE = IPv4Address("192.0.2.2")


class ThrottleTests(SynchronousTestCase):
    """
    Tests for L{Throttle}, R-1929-09.
    """

    def setUp(self) -> None:
        """
        Begin at a time that is not zero.
        """
        self.clock = Clock()
        self.clock.advance(1000)

    def throttle(self, *, delay: float = 0.5, limit: int = 20, window: float = 300) -> Throttle:
        """
        Make one.
        """
        return Throttle(self.clock, Failures(delay=delay, limit=limit, window=window))

    def test_doubles(self) -> None:
        """
        The delay doubles with each failure, up to eight seconds.
        """
        guard = self.throttle()
        delays = [guard.failed(HERE) for _ in range(7)]
        self.assertEqual(delays, [0.5, 1, 2, 4, 8, 8, 8])

    def test_long(self) -> None:
        """
        A delay that is longer than eight seconds to begin with stays as it is.
        """
        guard = self.throttle(delay=20)
        self.assertEqual([guard.failed(HERE), guard.failed(HERE)], [20, 20])

    def test_none(self) -> None:
        """
        A delay can be switched off.
        """
        guard = self.throttle(delay=0)
        self.assertEqual([guard.failed(HERE) for _ in range(3)], [0, 0, 0])

    def test_manyFailures(self) -> None:
        """
        However many there are, the delay remains a number.
        """
        guard = self.throttle(limit=0)
        delays = {guard.failed(HERE) for _ in range(3000)}
        self.assertEqual(max(delays), 8)

    def test_success(self) -> None:
        """
        After a success the delay begins afresh.
        """
        guard = self.throttle()
        guard.failed(HERE)
        guard.failed(HERE)
        guard.succeeded(HERE)
        self.assertEqual(guard.failed(HERE), 0.5)

    def test_successOfAStranger(self) -> None:
        """
        A success at an address without failures leaves nothing behind.
        """
        guard = self.throttle()
        guard.succeeded(HERE)
        self.assertEqual(guard._sources, {})

    def test_addressesAreApart(self) -> None:
        """
        What happens at one address does not touch another: nobody locks out somebody else.
        """
        guard = self.throttle(limit=2)
        for _ in range(5):
            guard.failed(HERE)
        self.assertTrue(guard.exhausted(HERE))
        self.assertFalse(guard.exhausted(THERE))
        self.assertEqual(guard.failed(THERE), 0.5)
        guard.succeeded(THERE)
        self.assertEqual(guard.failed(HERE), 8)

    def test_networksOfIPv6(self) -> None:
        """
        An IPv6 client has a whole /64 to come from, so that counts as one address; the next one
        is another, and no IPv4 address is taken for any of them.
        """
        guard = self.throttle()
        guard.failed(IPv6Address("2001:db8::1"))
        self.assertEqual(guard.failed(IPv6Address("2001:db8::ffff:ffff:ffff:ffff")), 1)
        self.assertEqual(guard.failed(IPv6Address("2001:db8:0:1::1")), 0.5)
        self.assertEqual(guard.failed(IPv4Address("32.1.13.184")), 0.5)

    def test_unixSocket(self) -> None:
        """
        Clients without an address count together.
        """
        guard = self.throttle(limit=2)
        guard.failed(None)
        self.assertFalse(guard.exhausted(None))
        self.assertEqual(guard.failed(None), 1)
        self.assertTrue(guard.exhausted(None))

    def test_limit(self) -> None:
        """
        As many failures as the limit allows within the window, and the address is not heard any
        more; the next one is heard when the oldest of them has left the window.
        """
        guard = self.throttle(limit=3, window=300)
        for _ in range(3):
            self.assertFalse(guard.exhausted(HERE))
            guard.failed(HERE)
            self.clock.advance(100)
        self.assertFalse(guard.exhausted(HERE))
        guard.failed(HERE)
        self.assertTrue(guard.exhausted(HERE))
        self.clock.advance(99)
        self.assertTrue(guard.exhausted(HERE))
        self.clock.advance(1)
        self.assertFalse(guard.exhausted(HERE))

    def test_successBuysNothing(self) -> None:
        """
        Failures count towards the limit even if somebody at that address knows a password.
        """
        guard = self.throttle(limit=3)
        for _ in range(3):
            guard.failed(HERE)
            guard.succeeded(HERE)
        self.assertTrue(guard.exhausted(HERE))

    def test_noLimit(self) -> None:
        """
        Without a limit every client is heard.
        """
        guard = self.throttle(limit=0)
        for _ in range(100):
            guard.failed(HERE)
        self.assertFalse(guard.exhausted(HERE))

    def test_forgets(self) -> None:
        """
        When the window has passed since the last failure, it is as if there had been none, and
        nothing is kept.
        """
        guard = self.throttle(window=300)
        guard.failed(HERE)
        self.clock.advance(299)
        guard.failed(HERE)
        self.clock.advance(299)
        self.assertEqual(guard.failed(HERE), 2)
        self.clock.advance(300)
        self.assertFalse(guard.exhausted(HERE))
        self.assertEqual(guard._sources, {})
        self.assertEqual(guard.failed(HERE), 0.5)

    def test_memoryOfAnAddress(self) -> None:
        """
        What is kept for one address does not grow with its failures, with a limit or without.
        """
        for limit, kept in ((0, 1), (1, 1), (5, 5)):
            guard = self.throttle(limit=limit)
            for _ in range(1000):
                guard.failed(HERE)
            self.assertEqual(len(guard._sources[HERE].times), kept)

    def test_memoryOfAll(self) -> None:
        """
        No more than 10,000 addresses are kept; the one that has been quiet for longest goes
        first.
        """
        self.assertEqual(throttle._MAX_SOURCES, 10_000)
        guard = self.throttle()
        first = int(IPv4Address("198.18.0.0"))
        for number in range(10_000):
            guard.failed(ip_address(first + number))
        guard.failed(ip_address(first))
        guard.failed(HERE)
        self.assertEqual(len(guard._sources), 10_000)
        self.assertEqual(guard.failed(ip_address(first)), 2)
        self.assertEqual(guard.failed(ip_address(first + 1)), 0.5)
        self.assertEqual(len(guard._sources), 10_000)

"""
Tests for L{txsocks5.tally}.
"""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.tally import LocalTally, originOf

from .wire.values import reproducible


class LocalTallyTests(SynchronousTestCase):
    """
    Tests for L{LocalTally}.
    """

    def setUp(self) -> None:
        """
        Begin with nothing.
        """
        self.tally = LocalTally()

    def test_counts(self) -> None:
        """
        As many are counted as the limit says, and one more for each that is given back.
        """
        self.assertEqual([self.tally.take(b"a", 2) for _ in range(3)], [True, True, False])
        self.assertTrue(self.tally.take(b"b", 2))
        self.assertEqual((self.tally.count(b"a"), self.tally.count(b"c")), (2, 0))
        self.tally.give(b"a")
        self.assertEqual([self.tally.take(b"a", 2) for _ in range(2)], [True, False])

    def test_unlimited(self) -> None:
        """
        Without a limit all are counted.
        """
        self.assertTrue(all(self.tally.take(b"a", 0) for _ in range(100)))
        self.assertEqual(self.tally.count(b"a"), 100)
        self.assertFalse(self.tally.take(b"a", 100))

    def test_declared(self) -> None:
        """
        A count can be said instead, again and again.
        """
        self.assertEqual([self.tally.declare(b"a", number) for number in (3, 2, 0)], [3, 2, 0])
        self.assertEqual(len(self.tally), 0)
        self.tally.declare(b"a", 7)
        self.assertEqual(self.tally.count(b"a"), 7)

    def test_levels(self) -> None:
        """
        A level rises from its floor, or from where it is if that is higher.
        """
        self.assertEqual(self.tally.advance(b"a", 10, 5), 15)
        self.assertEqual(self.tally.advance(b"a", 10, 5), 20)
        self.assertEqual(self.tally.advance(b"a", 0, 0), 20)
        self.assertEqual(self.tally.advance(b"a", 30, 1), 31)

    def test_forget(self) -> None:
        """
        A level is forgotten if that makes no difference.
        """
        self.tally.advance(b"a", 10, 5)
        self.tally.forget(b"a", 14)
        self.assertEqual(self.tally.advance(b"a", 14, 0), 15)
        self.tally.forget(b"a", 15)
        self.tally.forget(b"b", 15)
        self.assertEqual(len(self.tally), 0)
        self.assertEqual(self.tally.advance(b"a", 0, 0), 0)

    @reproducible
    @given(
        st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans(), st.integers(0, 3)))
    )
    def test_nothingIsLeft(self, steps: list[tuple[bytes, bool, int]]) -> None:
        """
        Whatever is taken and given back, no count passes its limit, and none is remembered that
        is zero.
        """
        tally = LocalTally()
        taken: list[bytes] = []
        for key, take, limit in steps:
            if take:
                before = taken.count(key)
                self.assertEqual(tally.take(key, limit), not limit or before < limit)
                if not limit or before < limit:
                    taken.append(key)
            elif key in taken:
                tally.give(key)
                taken.remove(key)
            self.assertEqual(tally.count(key), taken.count(key))
        for key in taken:
            tally.give(key)
        self.assertEqual(len(tally), 0)


class OriginTests(SynchronousTestCase):
    """
    Tests for L{originOf}.
    """

    def test_sameNetwork(self) -> None:
        """
        An IPv6 /64 counts as one address, and an IPv4 address as one.
        """
        same = [originOf(ip_address(text)) for text in ("2001:db8::1", "2001:db8::ffff:2")]
        self.assertEqual(same[0], same[1])
        others = ("2001:db8:0:1::1", "192.0.2.1", "192.0.2.2")
        self.assertEqual(len({same[0], *(originOf(ip_address(text)) for text in others)}), 4)

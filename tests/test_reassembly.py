"""
Tests for L{txsocks5.reassembly}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import reassembly
from txsocks5.reassembly import TIMER, Budget, Reassembly

from .wire.values import reproducible

HERE = b"\x01\xc0\x00\x02\x07\x00\x35"
THERE = b"\x01\xc0\x00\x02\x08\x00\x35"

LARGEST = 65507

# One datagram: FRAG, the address, DATA.
Fragment = tuple[int, bytes, bytes]

# What it is about; the fragments; what each of them completes; how many come to nothing.
SEQUENCES: tuple[tuple[str, list[Fragment], list[bytes | None], int], ...] = (
    (
        "three parts (1.11)",
        [(0x01, HERE, b"ab"), (0x02, HERE, b"cd"), (0x83, HERE, b"ef")],
        [None, None, b"abcdef"],
        0,
    ),
    ("R-1928-95: 81 is a complete sequence of one", [(0x81, HERE, b"ab")], [b"ab"], 0),
    ("R-1928-97: all parts may be empty", [(1, HERE, b""), (0x82, HERE, b"")], [None, b""], 0),
    ("R-1928-95: 80 is invalid", [(0x80, HERE, b"ab")], [None], 1),
    (
        "R-1928-95: 80 abandons a sequence",
        [(1, HERE, b"a"), (0x80, HERE, b"b"), (0x82, HERE, b"c")],
        [None, None, None],
        3,
    ),
    ("R-1928-94: a sequence begins with 1", [(2, HERE, b"a"), (0x83, HERE, b"b")], [None, None], 2),
    (
        "R-1928-94: a duplicate is dropped, and nothing else",
        [(1, HERE, b"a"), (1, HERE, b"x"), (2, HERE, b"b"), (2, HERE, b"y"), (0x83, HERE, b"c")],
        [None, None, None, None, b"abc"],
        2,
    ),
    (
        "R-1928-93: a duplicate with the end bit is a duplicate",
        [(1, HERE, b"a"), (2, HERE, b"b"), (0x82, HERE, b"x"), (0x83, HERE, b"c")],
        [None, None, None, b"abc"],
        1,
    ),
    (
        "R-1928-94: a gap abandons the sequence",
        [(1, HERE, b"a"), (3, HERE, b"c"), (0x82, HERE, b"b")],
        [None, None, None],
        3,
    ),
    (
        "R-1928-91: a lower one abandons the sequence",
        [(1, HERE, b"a"), (2, HERE, b"b"), (3, HERE, b"c"), (2, HERE, b"x"), (0x84, HERE, b"d")],
        [None, None, None, None, None],
        5,
    ),
    (
        "R-1928-93: the end bit does not make a lower one high",
        [(1, HERE, b"a"), (2, HERE, b"b"), (3, HERE, b"c"), (0x82, HERE, b"x"), (4, HERE, b"d")],
        [None, None, None, None, None],
        5,
    ),
    (
        "R-1928-94: a 1 begins a new sequence",
        [(1, HERE, b"a"), (2, HERE, b"b"), (1, HERE, b"c"), (0x82, HERE, b"d")],
        [None, None, None, b"cd"],
        2,
    ),
    (
        "R-1928-94: so does 81, and ends it",
        [(1, HERE, b"a"), (2, HERE, b"b"), (0x81, HERE, b"c"), (0x83, HERE, b"d")],
        [None, None, b"c", None],
        3,
    ),
    (
        "R-1928-94: a new sequence may go elsewhere",
        [(1, HERE, b"a"), (2, HERE, b"b"), (1, THERE, b"c"), (0x82, THERE, b"d")],
        [None, None, None, b"cd"],
        2,
    ),
    (
        "R-1928-96: all go to the same place",
        [(1, HERE, b"a"), (0x82, THERE, b"b"), (0x82, HERE, b"c")],
        [None, None, None],
        3,
    ),
    (
        "R-1928-96: another place makes a repeated position no duplicate",
        [(1, HERE, b"a"), (1, THERE, b"b"), (0x82, HERE, b"c"), (0x82, THERE, b"d")],
        [None, None, None, None],
        4,
    ),
    (
        "R-1928-97: after the end everything begins afresh",
        [(1, HERE, b"a"), (0x82, HERE, b"b"), (1, THERE, b"c"), (0x82, THERE, b"d")],
        [None, b"ab", None, b"cd"],
        0,
    ),
)


class Naive:
    """
    R-1928-90 to 97 as they are written, one rule after the other, with everything kept.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.queue: list[Fragment] = []
        self.deadline = 0.0

    def reinitialise(self) -> None:
        """
        Abandon all that is queued.
        """
        self.lost += len(self.queue)
        self.queue = []

    def add(self, now: float, fragment: int, address: bytes, payload: bytes) -> bytes | None:
        """
        Take a fragment.
        """
        if self.queue and now >= self.deadline:
            self.reinitialise()
        position, highest = fragment % 128, len(self.queue)
        if position == 0:
            self.reinitialise()
            self.lost += 1
            return None
        same = not self.queue or self.queue[0][1] == address
        if same and position == highest:
            self.lost += 1
            return None
        if position > highest + 1 or position < highest:
            self.reinitialise()
            if position != 1:
                self.lost += 1
                return None
        elif not same:
            self.reinitialise()
            self.lost += 1
            return None
        if not self.queue:
            self.deadline = now + 5
        self.queue.append((fragment, address, payload))
        whole = b"".join(part for _, _, part in self.queue)
        if len(whole) > LARGEST:
            self.reinitialise()
            return None
        if fragment < 128:
            return None
        self.queue = []
        return whole


# Few positions and places, so that many of the fragments belong together.
arrivals = st.lists(
    st.tuples(
        st.sampled_from((0, 0, 0, 0.5, 2.5, 5)),
        st.sampled_from((1, 1, 2, 2, 3, 4, 0x80, 0x81, 0x82, 0x83, 0x84)) | st.integers(1, 255),
        st.sampled_from((HERE, HERE, HERE, THERE)),
        st.binary(max_size=3) | st.just(b"x" * 30000),
    ),
    max_size=40,
)


class ReassemblyTests(SynchronousTestCase):
    """
    Tests for L{Reassembly}.
    """

    def test_sequences(self) -> None:
        """
        Fragments that come in their order make a datagram; others come to nothing, are counted,
        and take with them what R-1928-91 to 97 say.
        """
        for title, fragments, wholes, abandoned in SEQUENCES:
            queue = Reassembly(Budget(LARGEST))
            self.assertEqual([queue.add(0, *fragment) for fragment in fragments], wholes, title)
            queue.abandon()
            self.assertEqual(queue.abandoned, abandoned, title)

    @reproducible
    @given(arrivals)
    def test_asTheRulesSay(self, fragments: list[tuple[float, int, bytes, bytes]]) -> None:
        """
        Whatever comes in whatever order, the outcome is that of R-1928-90 to 97 taken literally,
        and in the end nothing of the budget is missing.
        """
        queue, naive = Reassembly(Budget(LARGEST)), Naive()
        now = 0.0
        for pause, fragment, address, payload in fragments:
            now += pause
            self.assertEqual(
                queue.add(now, fragment, address, payload),
                naive.add(now, fragment, address, payload),
            )
        queue.abandon()
        naive.reinitialise()
        self.assertEqual(queue.abandoned, naive.lost)
        self.assertTrue(queue._budget.take(LARGEST))

    def test_longest(self) -> None:
        """
        R-1928-97: there are 127 positions, and a datagram can have that many parts.
        """
        queue = Reassembly(Budget(LARGEST))
        for position in range(1, 127):
            self.assertIsNone(queue.add(0, position, HERE, b"%c" % position))
        self.assertEqual(queue.add(0, 0xFF, HERE, b"\x7f"), bytes(range(1, 128)))

    def test_neverEnds(self) -> None:
        """
        When all positions have been used and none was the last, no fragment helps any more.
        """
        queue = Reassembly(Budget(LARGEST))
        for position in range(1, 128):
            self.assertIsNone(queue.add(0, position, HERE, b"x"))
        self.assertIsNone(queue.add(0, 0xFF, HERE, b"x"))
        self.assertIsNone(queue.add(0, 0x80, HERE, b"x"))
        self.assertEqual(queue.abandoned, 129)

    def test_size(self) -> None:
        """
        R-1928-97: together the parts may be as long as a datagram can be, and not longer.
        """
        half = b"x" * 32000
        queue = Reassembly(Budget(10 * LARGEST))
        queue.add(0, 1, HERE, half)
        rest = b"y" * (LARGEST - len(half))
        self.assertEqual(queue.add(0, 0x82, HERE, rest), half + rest)
        queue.add(0, 1, HERE, half)
        self.assertIsNone(queue.add(0, 2, HERE, rest + b"z"))
        self.assertEqual(queue.abandoned, 2)
        self.assertIsNone(queue.add(0, 0x82, HERE, b""))
        self.assertEqual(queue.abandoned, 3)

    def test_timer(self) -> None:
        """
        R-1928-91, R-1928-92: the parts of a datagram have five seconds from the first of them;
        another part does not make it longer.
        """
        self.assertEqual(TIMER, 5.0)
        queue = Reassembly(Budget(LARGEST))
        queue.add(10, 1, HERE, b"a")
        queue.add(14, 2, HERE, b"b")
        self.assertEqual(queue.add(14.99, 0x83, HERE, b"c"), b"abc")
        queue.add(20, 1, HERE, b"a")
        queue.add(24, 2, HERE, b"b")
        self.assertIsNone(queue.add(25, 0x83, HERE, b"c"))
        self.assertEqual(queue.abandoned, 3)

    def test_timerBelongsToASequence(self) -> None:
        """
        A new sequence has its own five seconds.
        """
        queue = Reassembly(Budget(LARGEST))
        queue.add(0, 1, HERE, b"a")
        queue.add(0, 2, HERE, b"b")
        queue.add(4, 1, HERE, b"c")
        self.assertEqual(queue.add(8, 0x82, HERE, b"d"), b"cd")

    def test_expire(self) -> None:
        """
        A sequence that has taken too long is given up even if nothing more comes, and not before.
        """
        queue = Reassembly(Budget(1))
        queue.expire(100)
        queue.add(0, 1, HERE, b"a")
        queue.expire(4.99)
        self.assertEqual(queue.abandoned, 0)
        queue.expire(5)
        self.assertEqual(queue.abandoned, 1)
        queue.expire(6)
        self.assertEqual(queue.abandoned, 1)
        self.assertEqual(queue.add(6, 0x81, HERE, b"b"), b"b")

    def test_abandon(self) -> None:
        """
        R-1928-95: a datagram of its own in the midst of a sequence ends that.
        """
        queue = Reassembly(Budget(LARGEST))
        queue.abandon()
        self.assertEqual(queue.abandoned, 0)
        queue.add(0, 1, HERE, b"a")
        queue.abandon()
        self.assertEqual(queue.abandoned, 1)
        self.assertIsNone(queue.add(0, 0x82, HERE, b"b"))

    def test_sharedBudget(self) -> None:
        """
        R-1928-97: what all associations hold together is bounded; who is over it loses the
        sequence, and the others do not.
        """
        budget = Budget(10)
        first, second = Reassembly(budget), Reassembly(budget)
        first.add(0, 1, HERE, b"123456")
        second.add(0, 1, HERE, b"1234")
        self.assertIsNone(second.add(0, 2, HERE, b"5"))
        self.assertEqual(second.abandoned, 2)
        self.assertEqual(first.add(0, 0x82, HERE, b"7890"), b"1234567890")
        self.assertTrue(budget.take(10))


class BudgetTests(SynchronousTestCase):
    """
    Tests for L{reassembly.Budget}.
    """

    def test_limit(self) -> None:
        """
        No more can be taken than is there, and what was given back can be taken again.
        """
        budget = reassembly.Budget(3)
        self.assertTrue(budget.take(2))
        self.assertFalse(budget.take(2))
        self.assertTrue(budget.take(1))
        self.assertFalse(budget.take(1))
        self.assertTrue(budget.take(0))
        budget.giveBack(1)
        self.assertTrue(budget.take(1))

"""
Tests for L{txsocks5.throttle}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import throttle
from txsocks5.config import Failures
from txsocks5.outcome import Outcome
from txsocks5.throttle import Exhausted, Throttle, Turn
from txsocks5.wire import IPAddress

from .wire.values import reproducible

HERE = IPv4Address("192.0.2.1")
THERE = IPv4Address("192.0.2.2")
FIRST = int(IPv4Address("198.18.0.0"))

ADDRESS = "too many failures from this address"
USER = "too many failures as this user"


def elsewhere(number: int) -> IPv4Address:
    """
    One of many other addresses.
    """
    return IPv4Address(FIRST + number)


class ThrottleTestCase(SynchronousTestCase):
    """
    Guesses.
    """

    def setUp(self) -> None:
        """
        Begin at a time that is not zero.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.guard = self.throttle()

    def throttle(self, *, delay: float = 0.5, limit: int = 20, window: float = 300) -> Throttle:
        """
        Make one.
        """
        self.guard = Throttle(self.clock, Failures(delay=delay, limit=limit, window=window))
        return self.guard

    def turn(self, client: IPAddress | None = HERE, user: str = "alice") -> Turn:
        """
        Ask for a turn, which is given at once.
        """
        return self.successResultOf(self.guard.turn(client, user))

    def fails(self, client: IPAddress | None = HERE, user: str = "alice") -> float:
        """
        Guess wrongly.
        """
        return self.turn(client, user).failed()

    def succeeds(self, client: IPAddress | None = HERE, user: str = "alice") -> None:
        """
        Guess rightly.
        """
        self.turn(client, user).succeeded()

    def refused(self, client: IPAddress | None = HERE, user: str = "alice") -> str:
        """
        Be refused unheard.
        """
        return self.reasonOf(self.guard.turn(client, user))

    def reasonOf(self, waiting: Deferred[Turn]) -> str:
        """
        Why a turn was refused.
        """
        return str(self.failureResultOf(waiting, Exhausted).value)

    def nothingRuns(self) -> None:
        """
        Nothing is kept of guesses that have ended.
        """
        self.assertEqual(self.guard._lines, {})
        self.assertEqual(self.guard._strangers, {})


class DelayTests(ThrottleTestCase):
    """
    How long a refusal takes.
    """

    def test_doubles(self) -> None:
        """
        The delay doubles with each failure, up to eight seconds.
        """
        self.assertEqual([self.fails() for _ in range(7)], [0.5, 1, 2, 4, 8, 8, 8])
        self.nothingRuns()

    def test_long(self) -> None:
        """
        A delay that is longer than eight seconds to begin with stays as it is.
        """
        self.throttle(delay=20)
        self.assertEqual([self.fails(), self.fails()], [20, 20])

    def test_none(self) -> None:
        """
        A delay can be switched off.
        """
        self.throttle(delay=0)
        self.assertEqual([self.fails() for _ in range(3)], [0, 0, 0])

    def test_manyFailures(self) -> None:
        """
        However many there are, the delay remains a number.
        """
        self.throttle(limit=0)
        self.assertEqual(max({self.fails() for _ in range(3000)}), 8)

    def test_success(self) -> None:
        """
        After a success the delay begins afresh.
        """
        self.fails()
        self.fails()
        self.succeeds()
        self.assertEqual(self.fails(), 0.5)

    def test_abandoned(self) -> None:
        """
        A guess of which nobody knows the result changes nothing.
        """
        self.fails()
        self.turn().abandoned()
        self.assertEqual(self.fails(), 1)
        self.nothingRuns()

    def test_once(self) -> None:
        """
        A turn ends once, whatever is said of it later.
        """
        for first in (Turn.failed, Turn.succeeded, Turn.abandoned):
            self.throttle(limit=2)
            turn = self.turn()
            first(turn)
            self.nothingRuns()
            turn.abandoned()
            turn.succeeded()
            self.assertEqual(turn.failed(), 0)
            self.nothingRuns()
            self.assertEqual(bool(self.guard._sources), first is Turn.failed)
            self.assertEqual(bool(self.guard._familiar), first is Turn.succeeded)

    def test_addressesAreApart(self) -> None:
        """
        What happens at one address does not touch the delay of another; all users of one address
        count together.
        """
        for user in ("alice", "bob", "carol"):
            self.fails(HERE, user)
        self.assertEqual(self.fails(THERE), 0.5)
        self.succeeds(THERE)
        self.assertEqual(self.fails(HERE), 4)

    def test_networksOfIPv6(self) -> None:
        """
        An IPv6 client has a whole /64 to come from, so that counts as one address; the next one
        is another, and no IPv4 address is taken for any of them.
        """
        self.fails(IPv6Address("2001:db8::1"))
        self.assertEqual(self.fails(IPv6Address("2001:db8::ffff:ffff:ffff:ffff")), 1)
        self.assertEqual(self.fails(IPv6Address("2001:db8:0:1::1")), 0.5)
        self.assertEqual(self.fails(IPv4Address("32.1.13.184")), 0.5)

    def test_unixSocket(self) -> None:
        """
        Clients without an address count together.
        """
        self.throttle(limit=2)
        self.fails(None)
        self.assertEqual(self.fails(None), 1)
        self.assertEqual(self.refused(None), ADDRESS)


class OtherFailuresTests(ThrottleTestCase):
    """
    Other limits hold from now on.
    """

    def test_remembered(self) -> None:
        """
        What has been remembered counts by the new limits; nothing of it is kept beyond them.
        """
        for _ in range(5):
            self.fails()
        self.guard.setFailures(Failures(delay=0.5, limit=6))
        self.fails()
        self.assertIn("this address", self.refused())
        self.guard.setFailures(Failures(delay=0.5, limit=10))
        self.fails()
        self.guard.setFailures(Failures(delay=0.5, limit=3))
        self.assertIn("this address", self.refused())
        self.fails(THERE)
        self.assertEqual(len(self.guard._targets["alice"]), 3)
        waiting = self.turn(IPv4Address("192.0.2.3"))
        self.guard.setFailures(Failures(delay=0.5, limit=0))
        self.assertIsInstance(self.fails(), float)
        self.assertEqual(len(self.guard._sources[HERE.packed].times), 1)
        waiting.failed()
        self.nothingRuns()


class AddressTests(ThrottleTestCase):
    """
    How many failures an address may have.
    """

    def test_limit(self) -> None:
        """
        As many failures as the limit allows within the window, and the address is not heard any
        more; the next one is heard when the oldest of them has left the window.
        """
        self.throttle(limit=3, window=300)
        for _ in range(3):
            self.fails()
            self.clock.advance(100)
        self.fails()
        self.assertEqual(self.refused(), ADDRESS)
        self.clock.advance(99)
        self.assertEqual(self.refused(), ADDRESS)
        self.clock.advance(1)
        self.succeeds()

    def test_successBuysNothing(self) -> None:
        """
        Failures count towards the limit even if somebody at that address knows a password.
        """
        self.throttle(limit=3)
        for _ in range(3):
            self.succeeds()
            self.fails(user="bob")
        self.assertEqual(self.refused(user="bob"), ADDRESS)
        self.assertEqual(self.refused(user="alice"), ADDRESS)

    def test_noLimit(self) -> None:
        """
        Without a limit every client is heard, and nobody waits.
        """
        self.throttle(limit=0)
        for _ in range(100):
            self.fails()
        turns = [self.turn() for _ in range(100)]
        for turn in turns:
            turn.failed()
        self.succeeds()
        self.assertEqual(self.guard._targets, {})
        self.nothingRuns()

    def test_forgets(self) -> None:
        """
        When the window has passed since the last failure, it is as if there had been none, and
        nothing is kept.
        """
        self.fails()
        self.clock.advance(299)
        self.fails()
        self.clock.advance(299)
        self.assertEqual(self.fails(), 2)
        self.clock.advance(300)
        self.turn().abandoned()
        self.assertEqual(self.guard._sources, {})
        self.assertEqual(self.fails(), 0.5)

    def test_memoryOfOne(self) -> None:
        """
        What is kept for one address or user does not grow with the failures.
        """
        self.throttle(limit=0)
        for _ in range(1000):
            self.fails()
        self.assertEqual(len(self.guard._sources[HERE.packed].times), 1)
        self.throttle(limit=5)
        for number in range(1000):
            self.fails(elsewhere(number))
        self.assertEqual(len(self.guard._targets["alice"]), 5)

    def test_memoryOfAll(self) -> None:
        """
        No more than 10,000 addresses are kept; the one that has been quiet for longest goes
        first.
        """
        self.assertEqual(throttle._MAX_ENTRIES, 10_000)
        for number in range(10_000):
            self.fails(elsewhere(number), "bob")
        self.fails(elsewhere(0), "eve")
        self.fails(HERE)
        self.assertEqual(len(self.guard._sources), 10_000)
        self.assertEqual(self.fails(elsewhere(0), "eva"), 2)
        self.assertEqual(self.fails(elsewhere(1), "eva"), 0.5)
        self.assertEqual(len(self.guard._sources), 10_000)

    def test_memoryOfUsers(self) -> None:
        """
        Nor are more users kept, failed as or succeeded.
        """
        self.patch(throttle, "_MAX_ENTRIES", 10)
        for number in range(30):
            self.fails(elsewhere(number), f"user{number}")
            self.succeeds(elsewhere(number), f"user{number}")
        newest = [f"user{number}" for number in range(20, 30)]
        self.assertEqual(list(self.guard._targets), newest)
        self.assertEqual([user for user, _ in self.guard._familiar], newest)


class UserTests(ThrottleTestCase):
    """
    How many failures there may be as one user, from many addresses.
    """

    def attack(self, number: int = 20, user: str = "alice") -> None:
        """
        Fail as a user, from as many addresses.
        """
        for each in range(number):
            self.fails(elsewhere(each), user)

    def test_nobodyIsLockedOut(self) -> None:
        """
        However often strangers fail as a user, from wherever, the user who knows the password is
        heard, also from an address that nobody has seen before.
        """
        self.attack(1000)
        self.succeeds(HERE)
        self.succeeds(THERE)
        self.succeeds(None)

    def test_oneGuessEach(self) -> None:
        """
        But after as many failures as the limit allows, each address has one guess at that user,
        and no more until it has left the window.
        """
        self.attack(19)
        self.fails(THERE, "bob")
        self.fails(elsewhere(0))
        self.assertEqual(self.refused(elsewhere(0)), USER)
        self.fails(HERE)
        self.assertEqual(self.refused(HERE), USER)
        self.fails(THERE)
        self.clock.advance(299)
        self.assertEqual(self.refused(THERE), USER)
        self.clock.advance(1)
        self.fails(THERE)

    def test_othersAreNotConcerned(self) -> None:
        """
        As other users, those addresses are heard as before.
        """
        self.attack()
        self.assertEqual(self.refused(elsewhere(1)), USER)
        for _ in range(19):
            self.fails(elsewhere(1), "bob")
        self.assertEqual(self.refused(elsewhere(1), "bob"), ADDRESS)

    def test_notYet(self) -> None:
        """
        Until then, an address that has failed as a user has all its guesses.
        """
        self.attack(10)
        for _ in range(9):
            self.fails(HERE)
        self.succeeds(HERE)

    def test_familiar(self) -> None:
        """
        An address from which a user has come within a week has all its guesses at that user, and
        its failures do not count for the others.
        """
        self.succeeds(HERE)
        for _ in range(19):
            self.fails(HERE)
        self.fails(THERE)
        self.fails(THERE)
        self.assertEqual(self.guard._against("alice"), 2)
        self.clock.advance(300)
        self.attack()
        for _ in range(19):
            self.fails(HERE)
        self.succeeds(HERE)
        self.fails(HERE, "bob")
        self.assertEqual(self.refused(HERE), ADDRESS)

    def test_familiarForAWhile(self) -> None:
        """
        After a week it is like any other.
        """
        self.succeeds(HERE)
        self.clock.advance(7 * 24 * 3600 - 1)
        self.attack()
        self.fails(HERE)
        self.turn(HERE).abandoned()
        self.clock.advance(1)
        self.assertEqual(self.refused(HERE), USER)

    def test_familiarIsOneUser(self) -> None:
        """
        That somebody has come from an address does not make it familiar for others.
        """
        self.succeeds(HERE, "bob")
        self.attack()
        self.fails(HERE)
        self.assertEqual(self.refused(HERE), USER)

    def test_passes(self) -> None:
        """
        When the failures have left the window, everything is as it was.
        """
        self.attack()
        self.clock.advance(300)
        self.fails(HERE)
        self.fails(HERE)
        self.assertEqual(list(self.guard._targets), ["alice"])
        self.assertEqual(len(self.guard._targets["alice"]), 2)


class AtOnceTests(ThrottleTestCase):
    """
    Many guesses at the same time.
    """

    def test_notMoreThanTheLimit(self) -> None:
        """
        Only so many guesses of an address are looked at as it has failures left; the others wait,
        and are refused when those have failed.
        """
        self.throttle(limit=5)
        self.fails()
        turns = [self.turn() for _ in range(4)]
        waiting = [self.guard.turn(HERE, "alice") for _ in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        for turn in turns[:3]:
            turn.failed()
            self.assertNoResult(waiting[0])
        turns[3].failed()
        self.assertEqual([self.reasonOf(each) for each in waiting], [ADDRESS] * 3)
        self.nothingRuns()

    def test_good(self) -> None:
        """
        Those that prove good make room, in the order of coming: many connections with good
        passwords all come in.
        """
        self.throttle(limit=2)
        users = [f"user{number}" for number in range(6)]
        wanted = [self.guard.turn(HERE, user) for user in users]
        for number, each in enumerate(wanted):
            turn = self.successResultOf(each)
            self.assertEqual(turn.username, users[number])
            for other in wanted[number + 2 :]:
                self.assertNoResult(other)
            turn.succeeded()
        self.nothingRuns()

    def test_nobodyOvertakes(self) -> None:
        """
        Who comes later does not go first, even if there is room for a moment.
        """
        self.throttle(limit=1)
        running = self.turn()
        first = self.guard.turn(HERE, "bob")
        first.addCallback(lambda turn: (turn, self.guard.turn(HERE, "carol")))
        running.succeeded()
        turn, second = self.successResultOf(first)
        self.assertNoResult(second)
        turn.succeeded()
        self.successResultOf(second).succeeded()
        self.nothingRuns()

    def test_manyThatEndAtOnce(self) -> None:
        """
        However many wait, and end as soon as they begin, that is no recursion.
        """
        self.throttle(limit=1)
        running = self.turn()
        done: list[None] = []
        for _ in range(5000):
            self.guard.turn(HERE, "alice").addCallback(lambda turn: done.append(turn.succeeded()))
        running.succeeded()
        self.assertEqual(len(done), 5000)
        self.nothingRuns()

    def test_otherAddresses(self) -> None:
        """
        At other addresses nobody waits for that.
        """
        self.throttle(limit=1)
        turn = self.turn(HERE, "alice")
        self.succeeds(THERE, "bob")
        turn.abandoned()
        self.nothingRuns()

    def test_leaving(self) -> None:
        """
        Who does not want to wait gives up the place.
        """
        self.throttle(limit=1)
        turn = self.turn()
        first, second = self.guard.turn(HERE, "bob"), self.guard.turn(HERE, "carol")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        turn.abandoned()
        self.successResultOf(second).abandoned()
        self.nothingRuns()

    def test_asOneUser(self) -> None:
        """
        Guesses at one user from many addresses at once count together, too: when there are as
        many as the limit allows, each address has one at a time.
        """
        self.throttle(limit=4)
        turns = [self.turn(elsewhere(each)) for each in range(3)]
        second = self.turn(elsewhere(0))
        third = self.guard.turn(elsewhere(0), "alice")
        self.assertNoResult(third)
        turns.append(self.turn(HERE))
        # Another user is another matter, but nobody overtakes.
        turns.append(self.turn(HERE, "bob"))
        other = self.guard.turn(elsewhere(0), "bob")
        self.assertNoResult(other)
        for turn in (*turns, second):
            turn.failed()
        self.assertEqual(self.reasonOf(third), USER)
        self.successResultOf(other).succeeded()
        self.nothingRuns()

    def test_asOneUserGood(self) -> None:
        """
        A user with many connections from a new address comes in with all of them, even while
        others guess.
        """
        self.throttle(limit=4)
        others = [self.turn(elsewhere(each)) for each in range(10)]
        mine = [self.guard.turn(HERE, "alice") for _ in range(10)]
        self.assertEqual([each.called for each in mine], [True] + [False] * 9)
        for each in mine:
            self.successResultOf(each).succeeded()
        for other in others:
            other.failed()
        self.nothingRuns()

    @reproducible
    @given(
        st.integers(1, 4),
        st.lists(
            st.one_of(
                st.tuples(st.integers(0, 2), st.sampled_from(["alice", "bob"])),
                st.tuples(
                    st.sampled_from([Turn.failed, Turn.succeeded, Turn.abandoned, None]),
                    st.integers(0, 50),
                ),
            ),
            max_size=60,
        ),
    )
    def test_neverMore(self, limit: int, events: list[Any]) -> None:
        """
        In whatever order guesses come and end, no address has more failures within the window
        than the limit, everybody that waits is heard or refused in the end, and nothing remains.
        """
        self.throttle(limit=limit)
        failures: Counter[object] = Counter()
        asked: list[Deferred[Turn]] = []
        turns: list[Turn] = []

        def end(turn: Turn, how: Any = Turn.abandoned) -> None:
            failures[turn.key] += how is Turn.failed
            how(turn)

        for what, which in events:
            if isinstance(what, int):
                wanted = self.guard.turn(elsewhere(what), which)
                asked.append(wanted.addCallbacks(turns.append, lambda _: None))
            elif what is None and asked:
                asked[which % len(asked)].cancel()
            elif what is not None and turns:
                end(turns.pop(which % len(turns)), what)
        while turns:
            end(turns.pop())
        self.assertLessEqual(max(failures.values(), default=0), limit)
        self.assertTrue(all(each.called for each in asked))
        self.nothingRuns()


class ProcessesTests(ThrottleTestCase):
    """
    Several processes, to which the same addresses connect.
    """

    def setUp(self) -> None:
        """
        Have two, that hear of each other at once.
        """
        super().setUp()
        self.told: list[Outcome] = []
        self.one = self.throttle(limit=4)
        self.other = self.throttle(limit=4)
        self.one.join(self._say(self.other), 2)
        self.other.join(self._say(self.one), 2)

    def _say(self, other: Throttle) -> Callable[[Outcome], None]:
        def say(outcome: Outcome) -> None:
            self.told.append(outcome)
            other.hear(outcome)

        return say

    def inTurn(self, number: int) -> None:
        """
        Let the next guess be for one or the other.
        """
        self.guard = (self.one, self.other)[number % 2]

    def test_address(self) -> None:
        """
        The failures of an address count together, for its delay as well as for the limit.
        """
        delays = []
        for number in range(4):
            self.inTurn(number)
            delays.append(self.fails())
        self.assertEqual(delays, [0.5, 1, 2, 4])
        for number in range(2):
            self.inTurn(number)
            self.assertEqual(self.refused(), ADDRESS)
            self.fails(THERE, "bob")
            self.fails(None, "carol")
        self.assertEqual(
            self.told[0], Outcome(HERE.packed, "alice", stranger=True, failed=True, at=1000)
        )
        self.assertEqual(self.told[-1].origin, b"")

    def test_user(self) -> None:
        """
        So do those as a user; and an address from which the user has come to one is no stranger to
        the other.
        """
        self.succeeds(THERE)
        for number in range(8):
            self.inTurn(number)
            self.fails(elsewhere(number))
        for number in range(2):
            self.inTurn(number)
            self.assertEqual(self.refused(elsewhere(0)), USER)
            self.fails(THERE)

    def test_before(self) -> None:
        """
        A process that begins later is told what has been, and forgets it when others do.
        """
        for number in range(4):
            self.inTurn(number)
            self.fails()
            self.clock.advance(50)
        new = self.throttle(limit=4)
        for outcome in self.told:
            new.hear(outcome)
        self.clock.advance(99)
        self.assertEqual(self.refused(), ADDRESS)
        self.clock.advance(1)
        self.assertEqual(self.fails(), 8)
        new.hear(Outcome(HERE.packed, "alice", stranger=True, failed=True, at=9e9))
        self.clock.advance(300)
        self.assertEqual(self.fails(), 0.5)

    def test_success(self) -> None:
        """
        A success is told where others do not know of it, or where it ends a row of failures.
        """
        self.fails()
        self.inTurn(0)
        self.succeeds()
        self.assertEqual(len(self.told), 2)
        self.inTurn(1)
        self.assertEqual(self.fails(), 0.5)
        del self.told[:]
        self.succeeds()
        for number in range(100):
            self.inTurn(number)
            self.succeeds()
        told = Outcome(HERE.packed, "alice", stranger=False, failed=False, at=1000)
        self.assertEqual(self.told, [told])
        self.clock.advance(3600)
        self.succeeds()
        self.assertEqual(len(self.told), 2)

    def test_atOnce(self) -> None:
        """
        Of many guesses at a time, one in each process is more than may fail, at the most; those
        that wait hear of failures elsewhere.
        """
        waiting = []
        for number in range(20):
            self.inTurn(number)
            waiting.append(self.guard.turn(HERE, f"user {number}"))
        self.assertEqual(sum(each.called for each in waiting), 4)
        failed = 0
        while looking := [each for each in waiting if isinstance(vars(each).get("result"), Turn)]:
            for each in looking:
                waiting.remove(each)
                failed += 1
                self.successResultOf(each).failed()
        self.assertEqual({self.reasonOf(each) for each in waiting}, {ADDRESS})
        self.assertEqual(failed, 5)
        self.nothingRuns()

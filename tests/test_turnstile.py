"""
Tests for L{txsocks5.turnstile}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import Overloaded
from txsocks5.turnstile import Lanes, Turnstile


class Work:
    """
    Calls that end when the test says so.

    @ivar running: those that have begun, by the names that they were given.
    """

    def __init__(self) -> None:
        self.running: dict[str, Deferred[str]] = {}

    def named(self, name: str) -> Callable[[], Deferred[str]]:
        """
        Make a call.
        """

        def call() -> Deferred[str]:
            self.running[name] = Deferred()
            return self.running[name]

        return call


class TurnstileTests(SynchronousTestCase):
    """
    Tests for L{Turnstile}.
    """

    def setUp(self) -> None:
        """
        Let two run and two more wait.
        """
        self.work = Work()
        self.turnstile = Turnstile(2, 2)

    def run_(self, name: str) -> Deferred[str]:
        """
        Send a call through.
        """
        return self.turnstile.run(self.work.named(name))

    def test_result(self) -> None:
        """
        Whoever sends a call through gets what it returns.
        """
        result = self.run_("a")
        self.assertNoResult(result)
        self.work.running["a"].callback("done")
        self.assertEqual(self.successResultOf(result), "done")

    def test_failure(self) -> None:
        """
        A call that fails, or raises, fails for who has sent it, and frees its place.
        """
        turnstile = Turnstile(1, 0)
        self.failureResultOf(turnstile.run(lambda: fail(KeyError())), KeyError)

        def broken() -> Deferred[str]:
            raise LookupError

        self.failureResultOf(turnstile.run(broken), LookupError)
        self.assertEqual(self.successResultOf(turnstile.run(lambda: succeed("a"))), "a")

    def test_turns(self) -> None:
        """
        As many as allowed run at a time; the others wait, and begin in the order in which they
        came.
        """
        results = [self.run_(name) for name in "abcd"]
        self.assertEqual(list(self.work.running), ["a", "b"])
        self.work.running["b"].callback("B")
        self.assertEqual(list(self.work.running), ["a", "b", "c"])
        self.work.running["a"].errback(KeyError())
        self.assertEqual(list(self.work.running), ["a", "b", "c", "d"])
        self.failureResultOf(results[0], KeyError)
        self.assertEqual(self.successResultOf(results[1]), "B")
        self.assertNoResult(results[2])

    def test_full(self) -> None:
        """
        When as many wait as may, the next is turned away; one that ends makes room for it.
        """
        results = [self.run_(name) for name in "abcd"]
        self.assertRaises(Overloaded, self.run_, "e")
        self.work.running["a"].callback("A")
        self.run_("e")
        self.assertRaises(Overloaded, self.run_, "f")
        self.assertEqual(self.successResultOf(results[0]), "A")

    def test_nobodyMayWait(self) -> None:
        """
        Where nobody may wait, calls still run as long as there are places.
        """
        turnstile = Turnstile(1, 0)
        turnstile.run(self.work.named("a"))
        self.assertRaises(Overloaded, turnstile.run, self.work.named("b"))
        self.work.running["a"].callback("A")
        turnstile.run(self.work.named("b"))
        self.assertIn("b", self.work.running)

    def test_cancelWaiting(self) -> None:
        """
        Who gives up while waiting is never called, and leaves the place to another.
        """
        results = [self.run_(name) for name in "abcd"]
        results[2].cancel()
        self.failureResultOf(results[2], CancelledError)
        self.run_("e")
        self.work.running["a"].callback("A")
        self.work.running["b"].callback("B")
        self.assertEqual(list(self.work.running), ["a", "b", "d", "e"])

    def test_cancelRunning(self) -> None:
        """
        A call that runs cannot be stopped: who gives up hears of that at once, but the place is
        only free when the call ends, whatever its end is then.
        """
        for end in (lambda call: call.callback("A"), lambda call: call.errback(KeyError())):
            turnstile = Turnstile(1, 1)
            abandoned = turnstile.run(self.work.named("a"))
            waiting = turnstile.run(self.work.named("b"))
            abandoned.cancel()
            self.failureResultOf(abandoned, CancelledError)
            self.assertFalse(self.work.running["a"].called)
            self.assertRaises(Overloaded, turnstile.run, self.work.named("c"))
            end(self.work.running["a"])
            self.work.running["b"].callback("B")
            self.assertEqual(self.successResultOf(waiting), "B")
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_manyEndAtOnce(self) -> None:
        """
        A long queue of calls that end as soon as they begin (a resolver that answers from
        memory) comes to its end.
        """
        turnstile = Turnstile(1, 5000)
        turnstile.run(self.work.named("first"))
        results = [turnstile.run(lambda number=number: succeed(number)) for number in range(5000)]
        self.work.running["first"].callback("done")
        self.assertEqual([self.successResultOf(result) for result in results], list(range(5000)))

    def test_oneLeadsToAnother(self) -> None:
        """
        Who gets a result may send the next call through at once; it stands behind those that
        wait already.
        """
        turnstile = Turnstile(1, 2)
        later: list[Deferred[str]] = []
        first = turnstile.run(self.work.named("a"))
        first.addCallback(lambda _: later.append(turnstile.run(self.work.named("c"))))
        turnstile.run(self.work.named("b"))
        self.work.running["a"].callback("A")
        self.assertEqual(list(self.work.running), ["a", "b"])
        self.work.running["b"].callback("B")
        self.work.running["c"].callback("C")
        self.assertEqual(self.successResultOf(later[0]), "C")

    def test_noPlaces(self) -> None:
        """
        A turnstile without places is a mistake, and not a queue for ever.
        """
        self.assertRaises(ValueError, Turnstile, 0, 10)


class LanesTests(SynchronousTestCase):
    """
    Tests for L{Lanes}.
    """

    def setUp(self) -> None:
        """
        Let everybody run one call, and have two more wait.
        """
        self.work = Work()
        self.lanes = Lanes(1, 2)

    def test_apart(self) -> None:
        """
        Who has many calls does not hold up the others, whose calls run at once.
        """
        for name in "abc":
            self.lanes.run("one", self.work.named(name))
        self.lanes.run("other", self.work.named("d"))
        self.assertEqual(list(self.work.running), ["a", "d"])
        self.work.running["a"].callback("")
        self.assertEqual(list(self.work.running), ["a", "d", "b"])

    def test_tooMany(self) -> None:
        """
        Nor does it take the room of the others.
        """
        for name in "abc":
            self.lanes.run("one", self.work.named(name))
        self.assertRaises(Overloaded, self.lanes.run, "one", self.work.named("d"))
        self.lanes.run("other", self.work.named("e"))

    def test_forgotten(self) -> None:
        """
        Who wants nothing any more is forgotten, however the calls have ended.
        """
        one = self.lanes.run("one", self.work.named("a"))
        other = self.lanes.run("one", self.work.named("b"))
        self.lanes.run("other", lambda: succeed("c"))
        self.assertEqual(len(self.lanes), 1)
        other.cancel()
        one.cancel()
        for cancelled in (one, other):
            self.failureResultOf(cancelled, CancelledError)
        self.assertEqual(len(self.lanes), 1)
        self.work.running["a"].errback(ValueError())
        self.assertEqual(len(self.lanes), 0)

    def test_again(self) -> None:
        """
        Who has heard the result of a call can make the next one at once.
        """

        def again(result: str) -> None:
            self.lanes.run("one", lambda: succeed(""))
            self.lanes.run("one", self.work.named("b"))

        self.lanes.run("one", self.work.named("a")).addCallback(again)
        self.work.running["a"].callback("")
        self.assertEqual(len(self.lanes), 1)
        self.lanes.run("one", self.work.named("c"))
        self.assertNotIn("c", self.work.running)
        self.work.running["b"].callback("")
        self.work.running["c"].callback("")
        self.assertEqual(len(self.lanes), 0)

"""
Tests for L{txsocks5.shared}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.shared import Shared


class SharedTests(SynchronousTestCase):
    """
    Tests for L{Shared}.
    """

    def setUp(self) -> None:
        """
        Have calls that end when the test says so.
        """
        self.shared = Shared()
        self.calls: list[Deferred[str]] = []
        self.cancelled: list[Deferred[str]] = []

    def call(self) -> Deferred[str]:
        """
        Begin.
        """
        self.calls.append(Deferred(self.cancelled.append))
        return self.calls[-1]

    def run_(self, key: str = "a") -> Deferred[str]:
        """
        Want something.
        """
        return self.shared.run(key, self.call)

    def test_together(self) -> None:
        """
        All who come while the call runs have its result.
        """
        wanted = [self.run_() for _ in range(3)]
        (call,) = self.calls
        for each in wanted:
            self.assertNoResult(each)
        call.callback("done")
        self.assertEqual([self.successResultOf(each) for each in wanted], ["done"] * 3)
        self.assertEqual(self.shared._calls, {})

    def test_failure(self) -> None:
        """
        Or its failure.
        """
        wanted = [self.run_() for _ in range(3)]
        self.calls[0].errback(ValueError("no"))
        for each in wanted:
            self.failureResultOf(each, ValueError)
        self.assertEqual(self.shared._calls, {})

    def test_afterwards(self) -> None:
        """
        Who comes when it has ended makes a call anew.
        """
        first = self.run_()
        self.calls[0].callback("one")
        second = self.run_()
        self.calls[1].callback("two")
        self.assertEqual(
            (self.successResultOf(first), self.successResultOf(second)), ("one", "two")
        )

    def test_atOnce(self) -> None:
        """
        A call may end as soon as it begins.
        """
        self.assertEqual(self.successResultOf(self.shared.run("a", lambda: succeed(1))), 1)
        error = self.shared.run("a", lambda: fail(ValueError()))
        self.failureResultOf(error, ValueError)
        self.assertEqual(self.shared._calls, {})

    def test_raises(self) -> None:
        """
        Or raise.
        """

        def broken() -> Deferred[None]:
            raise ValueError()

        self.failureResultOf(self.shared.run("a", broken), ValueError)
        self.assertEqual(self.shared._calls, {})

    def test_apart(self) -> None:
        """
        What is not the same is not shared.
        """
        first, second = self.run_("a"), self.run_("b")
        self.assertEqual(len(self.calls), 2)
        self.calls[1].callback("b")
        self.assertNoResult(first)
        self.assertEqual(self.successResultOf(second), "b")
        self.calls[0].callback("a")
        self.assertEqual(self.successResultOf(first), "a")

    def test_oneLeaves(self) -> None:
        """
        If one of them leaves, be it the one that began, the others have the result.
        """
        first, second = self.run_(), self.run_()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.cancelled, [])
        self.calls[0].callback("done")
        self.assertEqual(self.successResultOf(second), "done")

    def test_allLeave(self) -> None:
        """
        When the last one leaves, the call is cancelled; nobody else has to do with that.
        """
        first, second = self.run_(), self.run_()
        first.cancel()
        second.cancel()
        self.assertEqual(self.cancelled, self.calls)
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.shared._calls, {})

    def test_comesWhenAllHaveLeft(self) -> None:
        """
        Who comes while a call is being cancelled has one of its own, even if the old one goes on
        for a while.
        """
        stubborn: Deferred[Deferred[str]] = Deferred()
        rest: Deferred[str] = Deferred()
        stubborn.addErrback(lambda _: rest)
        first = self.shared.run("a", lambda: stubborn)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        second = self.run_()
        rest.callback("too late")
        self.assertNoResult(second)
        self.calls[0].callback("done")
        self.assertEqual(self.successResultOf(second), "done")

    def test_leavesMeanwhile(self) -> None:
        """
        One that hears of the end may make another leave, which then hears nothing more.
        """
        first, second = self.run_(), self.run_()
        first.addCallback(lambda _: second.cancel())
        self.calls[0].callback("done")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_comesMeanwhile(self) -> None:
        """
        One that comes while the others hear of the end makes a call anew.
        """
        wanted: list[Deferred[str]] = []
        self.run_().addCallback(lambda _: wanted.append(self.run_()))
        self.calls[0].callback("one")
        self.assertEqual(len(self.calls), 2)
        self.calls[1].callback("two")
        self.assertEqual(self.successResultOf(wanted[0]), "two")

"""
Tests for L{txsocks5.answers}.
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import answers
from txsocks5.answers import Answers
from txsocks5.errors import NameNotResolved
from txsocks5.names import NoSuchName

FOUND = (ip_address("192.0.2.80"), ip_address("2001:db8::80"))


class AnswersTests(SynchronousTestCase):
    """
    Tests for L{Answers}.
    """

    def setUp(self) -> None:
        """
        Remember one.
        """
        self.clock = Clock()
        self.answers = Answers(self.clock.seconds)
        self.answers.keep("a.invalid", FOUND, 5)

    def known(self, *names: str) -> list[bool]:
        """
        Which of these are known?
        """
        return [self.answers.recall(name) is not None for name in names]

    def test_recalled(self) -> None:
        """
        An answer is remembered for its time, and no longer.
        """
        self.assertIsNone(self.answers.recall("b.invalid"))
        self.clock.advance(4.5)
        found = self.answers.recall("a.invalid")
        assert found is not None
        self.assertEqual(self.successResultOf(found), FOUND)
        self.clock.advance(0.5)
        self.assertEqual(self.known("a.invalid", "a.invalid"), [False, False])

    def test_again(self) -> None:
        """
        A new answer takes the place of the old one.
        """
        self.answers.keep("a.invalid", FOUND[1:], 7)
        self.clock.advance(6)
        found = self.answers.recall("a.invalid")
        assert found is not None
        self.assertEqual(self.successResultOf(found), FOUND[1:])

    def test_failure(self) -> None:
        """
        So is a failure; each who hears it has one for itself.
        """
        self.answers.keep("b.invalid", NoSuchName("no b"), 5)
        failures = []
        for _ in range(2):
            recalled = self.answers.recall("b.invalid")
            assert recalled is not None
            failures.append(self.failureResultOf(recalled, NameNotResolved).value)
        self.assertEqual([str(each) for each in failures], ["no b"] * 2)
        self.assertEqual([type(each) for each in failures], [NoSuchName] * 2)
        self.assertIsNot(*failures)

    def test_bounded(self) -> None:
        """
        Of too many the oldest is forgotten.
        """
        self.patch(answers, "_MOST", 2)
        self.answers.keep("b.invalid", FOUND, 5)
        self.answers.keep("a.invalid", FOUND, 5)
        self.answers.keep("c.invalid", FOUND, 5)
        self.assertEqual(self.known("a.invalid", "b.invalid", "c.invalid"), [True, False, True])

    def test_clockSetBack(self) -> None:
        """
        What was remembered before the clock was set back is not remembered for longer.
        """
        self.clock.rightNow -= 3600
        self.assertEqual(self.known("a.invalid"), [False])

"""
Tests for L{txsocks5.liveness}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.liveness import Liveness
from txsocks5.testing import RecordedEvents


class LivenessTests(SynchronousTestCase):
    """
    Tests for L{Liveness}.
    """

    def setUp(self) -> None:
        """
        Have a server that is asked when the clock says 10.
        """
        self.clock = Clock()
        self.clock.advance(10)
        self.events = RecordedEvents(self)
        self.asked: list[Deferred[bool]] = []
        self.liveness = Liveness(self.clock, "192.0.2.53:53", self.ask)

    def ask(self) -> Deferred[bool]:
        """
        The server is asked something.
        """
        self.asked.append(Deferred())
        return self.asked[-1]

    def fallSilent(self) -> None:
        """
        It does not answer.
        """
        self.liveness.missed(9)
        self.asked[-1].callback(False)
        self.assertTrue(self.liveness.isSilent())

    def test_begins(self) -> None:
        """
        Nobody is silent who has not been asked.
        """
        self.assertFalse(self.liveness.isSilent())
        self.assertEqual(self.asked, [])

    def test_heardMeanwhile(self) -> None:
        """
        Who has answered something else meanwhile is not silent.
        """
        self.liveness.heard()
        self.clock.advance(2)
        self.liveness.missed(9)
        self.assertEqual(self.asked, [])
        self.assertFalse(self.liveness.isSilent())

    def test_silent(self) -> None:
        """
        Who has not is asked, once however many questions were not answered; and is silent if that
        has no answer, either.
        """
        for _ in range(3):
            self.liveness.missed(9)
        self.assertFalse(self.liveness.isSilent())
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback(False)
        self.assertTrue(self.liveness.isSilent())
        self.assertEqual(self.events.one("nameServerSilent")["server"], "192.0.2.53:53")

    def test_answers(self) -> None:
        """
        Who answers is not, whatever it did not tell of.
        """
        self.liveness.missed(9)
        self.asked[0].callback(True)
        self.assertFalse(self.liveness.isSilent())
        self.liveness.missed(9)
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(self.events.names, [])

    def test_askedAgain(self) -> None:
        """
        A silent one is asked again, not sooner than after five seconds, and only if somebody wants
        to know.
        """
        self.fallSilent()
        self.clock.advance(4.9)
        self.assertTrue(self.liveness.isSilent())
        self.clock.advance(0.1)
        self.assertEqual(len(self.asked), 1)
        self.assertTrue(self.liveness.isSilent())
        self.assertTrue(self.liveness.isSilent())
        self.assertEqual(len(self.asked), 2)
        self.clock.advance(3)
        self.asked[1].callback(False)
        self.clock.advance(4.9)
        self.assertTrue(self.liveness.isSilent())
        self.assertEqual(len(self.asked), 2)
        self.clock.advance(0.1)
        self.assertTrue(self.liveness.isSilent())
        self.asked[2].callback(True)
        self.assertFalse(self.liveness.isSilent())
        self.assertEqual(self.events.names, ["nameServerSilent", "nameServerBack"])

    def test_clockSetBack(self) -> None:
        """
        A clock that is set back does not keep a silent one from being asked.
        """
        self.fallSilent()
        self.clock.rightNow -= 3600
        self.assertTrue(self.liveness.isSilent())
        self.asked[1].callback(True)
        self.assertFalse(self.liveness.isSilent())
        self.clock.rightNow -= 3600
        self.liveness.missed(self.clock.seconds())
        self.assertEqual(len(self.asked), 3)

    def test_answersSomethingElse(self) -> None:
        """
        A silent one that answers anything is so no longer.
        """
        self.fallSilent()
        self.liveness.heard()
        self.assertFalse(self.liveness.isSilent())
        self.assertEqual(self.events.one("nameServerBack")["server"], "192.0.2.53:53")

    def test_cannotBeAsked(self) -> None:
        """
        Where it cannot be told whether it answers, nothing changes.
        """
        self.liveness.missed(9)
        self.asked[0].errback(OSError("no descriptor"))
        self.assertFalse(self.liveness.isSilent())
        self.fallSilent()
        self.clock.advance(5)
        self.assertTrue(self.liveness.isSilent())
        self.asked[-1].errback(OSError("no descriptor"))
        self.assertTrue(self.liveness.isSilent())

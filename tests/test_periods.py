"""
Tests for L{txsocks5.periods}.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.periods import Period

from .wire.values import reproducible


class PeriodTests(SynchronousTestCase):
    """
    Tests for L{Period}.
    """

    def assertPeriod(self, kind: str, moment: str, begin: str, until: str) -> None:
        """
        A moment is in the period that it should be in.
        """
        period = Period(kind, datetime.fromisoformat(f"{moment}+00:00").timestamp())
        found = [datetime.fromtimestamp(each, UTC) for each in (period.begin, period.until)]
        self.assertEqual([each.strftime("%Y-%m-%d %H:%M:%S") for each in found], [begin, until])

    def test_hour(self) -> None:
        """
        An hour begins with its first second.
        """
        self.assertPeriod(
            "hour", "2026-03-01T12:59:59.9", "2026-03-01 12:00:00", "2026-03-01 13:00:00"
        )
        self.assertPeriod("hour", "2026-03-01T13:00", "2026-03-01 13:00:00", "2026-03-01 14:00:00")

    def test_day(self) -> None:
        """
        A day is one of UTC.
        """
        self.assertPeriod("day", "2026-03-01T23:59", "2026-03-01 00:00:00", "2026-03-02 00:00:00")

    def test_week(self) -> None:
        """
        A week begins on Monday.
        """
        for day in ("2026-11-16", "2026-11-22T23:59:59"):
            self.assertPeriod("week", day, "2026-11-16 00:00:00", "2026-11-23 00:00:00")
        self.assertPeriod("week", "2026-11-23", "2026-11-23 00:00:00", "2026-11-30 00:00:00")

    def test_month(self) -> None:
        """
        A month has as many days as it has.
        """
        self.assertPeriod("month", "2026-12-31", "2026-12-01 00:00:00", "2027-01-01 00:00:00")
        self.assertPeriod("month", "2028-02-29", "2028-02-01 00:00:00", "2028-03-01 00:00:00")
        self.assertPeriod("month", "2026-11-30", "2026-11-01 00:00:00", "2026-12-01 00:00:00")

    def test_end(self) -> None:
        """
        People are told when it is over.
        """
        period = Period("month", datetime(2026, 12, 24, tzinfo=UTC).timestamp())
        self.assertEqual(period.end, "2027-01-01 00:00 UTC")

    @reproducible
    @given(st.sampled_from(["hour", "day", "week", "month"]), st.floats(0, 4e9))
    def test_gapless(self, kind: str, moment: float) -> None:
        """
        Any moment is in one period, and the next period begins where that ends.
        """
        period = Period(kind, moment)
        self.assertTrue(period.begin <= moment < period.until)
        self.assertEqual(Period(kind, period.until).begin, period.until)
        self.assertEqual(Period(kind, period.until - 0.5).begin, period.begin)

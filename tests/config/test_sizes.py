"""
Tests for L{txsocks5.config._sizes}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config._forms import BadValue, formOf
from txsocks5.config._sizes import (
    NO_QUOTA,
    PERIODS,
    Quota,
    QuotaText,
    Rate,
    readQuota,
    readRate,
    writeQuota,
    writeRate,
    writeSize,
)

from .test_forms import ANYTHING

UNITS = {
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}

#: Sizes that can be written, as number and unit.
SIZES = some.tuples(some.integers(0, 2**23 - 1), some.sampled_from(sorted(UNITS)))


class RateTests(SynchronousTestCase):
    """
    Octets a second.
    """

    def test_read(self) -> None:
        """
        Units with an C{i} are powers of 1024, the others of 1000.
        """
        self.assertEqual(readRate("10MiB/s"), 10 * 1024 * 1024)
        self.assertEqual(readRate("10MB/s"), 10_000_000)
        for unit, size in UNITS.items():
            self.assertEqual(readRate(f"3{unit}/s"), 3 * size)

    def test_none(self) -> None:
        """
        Nothing is no limit, with or without unit.
        """
        self.assertEqual(readRate("0"), 0)
        self.assertEqual(readRate("0KiB/s"), 0)

    def test_wrong(self) -> None:
        """
        A number without unit, a unit that is spelled otherwise, bits, fractions, signs, other
        digits and other periods could each be meant in more than one way, or in none.
        """
        for wrong in (
            "10",
            "10/s",
            "10MiB",
            "10mib/s",
            "10KB/s",
            "10kb/s",
            "10Mbit/s",
            "10B/s",
            "1.5MiB/s",
            "-1MiB/s",
            "+1MiB/s",
            "1e3MiB/s",
            "MiB/s",
            "10 MiB/s",
            " 10MiB/s",
            "10MiB/s\n",
            "10MiB/day",
            "\u0661MiB/s",
            "",
            "none",
            10,
            0,
            0.0,
            True,
            None,
            [],
        ):
            error = self.assertRaises(BadValue, readRate, wrong)
            self.assertIn("10MiB/s", error.allowed)

    def test_tooMuch(self) -> None:
        """
        More than a database could count is refused.
        """
        self.assertEqual(readRate("8388607TiB/s"), 8388607 * 2**40)
        for wrong in ("8388608TiB/s", "9999999999999999999kB/s"):
            self.assertRaises(BadValue, readRate, wrong)

    @given(SIZES)
    def test_roundTrip(self, size: tuple[int, str]) -> None:
        """
        What is written can be read again.
        """
        number, unit = size
        octets = readRate(f"{number}{unit}/s")
        self.assertEqual(octets, number * UNITS[unit])
        self.assertEqual(readRate(writeRate(octets)), octets)

    def test_write(self) -> None:
        """
        It is written with as few digits as possible.
        """
        for octets, text in (
            (0, "0"),
            (1, "1/s"),
            (1000, "1kB/s"),
            (1024, "1KiB/s"),
            (10**12, "1TB/s"),
            (2**40, "1TiB/s"),
            (10 * 2**20, "10MiB/s"),
            (1_500_000, "1500kB/s"),
            (1234, "1234/s"),
        ):
            self.assertEqual(writeRate(octets), text)
        self.assertEqual(writeSize(0), "0")


class QuotaTests(SynchronousTestCase):
    """
    Octets a period.
    """

    def test_read(self) -> None:
        """
        There are four periods.
        """
        for period in ("hour", "day", "week", "month"):
            self.assertEqual(readQuota(f"50GiB/{period}"), Quota(50 * 2**30, period))
        self.assertEqual(len(PERIODS), 4)

    def test_none(self) -> None:
        """
        No quota is one of no octets.
        """
        self.assertEqual(readQuota("0"), NO_QUOTA)
        self.assertEqual(readQuota("0kB/month"), Quota(0, "month"))

    def test_wrong(self) -> None:
        """
        Everything else is refused.
        """
        for wrong in ("50GiB", "50GiB/s", "50GiB/year", "50GiB/days", "50/day", "", 0, None, []):
            error = self.assertRaises(BadValue, readQuota, wrong)
            self.assertIn("50GiB/day", error.allowed)

    def test_made(self) -> None:
        """
        Nobody makes one that makes no sense.
        """
        for octets, period in ((-1, "day"), (2**63, "day"), (1, "year")):
            self.assertRaises(BadValue, Quota, octets, period)

    @given(SIZES, some.sampled_from(PERIODS))
    def test_roundTrip(self, size: tuple[int, str], period: str) -> None:
        """
        What is written can be read again.
        """
        quota = readQuota(f"{size[0]}{size[1]}/{period}")
        again = readQuota(writeQuota(quota))
        self.assertEqual(again, quota if quota.octets else NO_QUOTA)

    def test_write(self) -> None:
        """
        None is written as such.
        """
        self.assertEqual(writeQuota(None), "0")
        self.assertEqual(writeQuota(NO_QUOTA), "0")
        self.assertEqual(writeQuota(Quota(2**30, "week")), "1GiB/week")


class FormTests(SynchronousTestCase):
    """
    How they stand in a file.
    """

    def test_toml(self) -> None:
        """
        They are strings there.
        """
        rate, quota = formOf(Rate), formOf(QuotaText)
        assert rate is not None and quota is not None
        self.assertEqual(rate.write(rate.read("1MiB/s")), '"1MiB/s"')
        self.assertEqual(quota.write(quota.read("1MiB/day")), '"1MiB/day"')

    @given(ANYTHING)
    def test_nothingElse(self, value: object) -> None:
        """
        Whatever it is, it is read, or refused with words.
        """
        for read in (readRate, readQuota):
            try:
                read(value)
            except BadValue as error:
                self.assertTrue(str(error).isprintable())

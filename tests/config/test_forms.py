"""
Tests for L{txsocks5.config._forms}.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Any

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import _forms as forms
from txsocks5.config._forms import (
    COUNT,
    SECONDS,
    BadValue,
    described,
    each,
    formOf,
    oneOf,
    validated,
)

ANYTHING = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats()
    | some.text()
    | some.dates()
    | some.datetimes()
    | some.times(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=5,
)
"""
What a TOML parser can give, and more.
"""


def read(kind: object, value: object) -> object:
    """
    Read a value by the form of a type.
    """
    form = formOf(kind)
    assert form is not None
    return form.read(value)


class DescribedTests(SynchronousTestCase):
    """
    How values are shown.
    """

    def test_asInTheFile(self) -> None:
        """
        Values are shown as a file has them, and containers without what is in them.
        """
        for value, text in (
            ("a", '"a"'),
            ('"\n\x7fä', '"\\"\\n\\u007f\\u00e4"'),
            ("", '""'),
            (True, "true"),
            (False, "false"),
            (-5, "-5"),
            (0.5, "0.5"),
            (float("inf"), "inf"),
            (date(2027, 1, 31), "2027-01-31"),
            (datetime(2027, 1, 31, tzinfo=UTC), "2027-01-31T00:00:00+00:00"),
            (time(12), "12:00:00"),
            ({"password": "secret"}, "a table"),
            (["secret"], "an array"),
            ([], "an empty array"),
            (None, "None"),
        ):
            self.assertEqual(described(value), text)

    def test_long(self) -> None:
        """
        Nothing makes a line that nobody would read, or that takes for ever to write.
        """
        self.assertEqual(described("a" * 60), '"' + "a" * 60 + '"')
        self.assertEqual(described("a" * 61), '"' + "a" * 60 + '..."')
        self.assertEqual(described(10**5000), "an integer of many digits")
        self.assertEqual(described(-(10**60)), "an integer of many digits")

    @given(ANYTHING)
    def test_oneLine(self, value: object) -> None:
        """
        Whatever it is, it is printable ASCII.
        """
        text = described(value)
        self.assertTrue(text.isascii() and text.isprintable(), text)


class FormTests(SynchronousTestCase):
    """
    What single values may be.
    """

    def assertReads(self, kind: object, values: Any, others: Any) -> None:
        """
        C{values} are read as they are, C{others} are refused.
        """
        for value in values:
            self.assertEqual(read(kind, value), value)
        for value in others:
            error = self.assertRaises(BadValue, read, kind, value)
            self.assertEqual(error.name, "")

    def test_switch(self) -> None:
        """
        Yes and no are not numbers.
        """
        self.assertReads(forms.Switch, (True, False), (0, 1, "true", None, []))

    def test_count(self) -> None:
        """
        A number of something is whole, and not negative; true is none.
        """
        self.assertReads(forms.Count, (0, 1, 10**9), (-1, 10**9 + 1, True, 1.0, "1", None, [1]))

    def test_seconds(self) -> None:
        """
        A time may have a fraction; it ends within a year.
        """
        year = 365 * 24 * 3600
        wrong = (-0.1, year + 1, 10**400, float("nan"), float("inf"), True, "1", None)
        self.assertReads(forms.Seconds, (0, 0.5, 30, year), wrong)

    def test_text(self) -> None:
        """
        Text may be empty, but no path or name has a NUL in it.
        """
        self.assertReads(forms.Text, ("", "ä"), ("a\0", 1, None, ["a"]))

    def test_name(self) -> None:
        """
        A name may not.
        """
        self.assertReads(forms.Name, ("a", "ä b"), ("", "a\0", 1, None))

    def test_checker(self) -> None:
        """
        What is wrong with a checker is said without showing it, for there may be a password in it.
        """
        self.assertReads(forms.Checker, ("memory:alice:secret",), ("", 1, True, ["secret"]))
        form = formOf(forms.Checker)
        assert form is not None
        self.assertEqual(form.described("memory:alice:secret"), "a string")
        self.assertEqual(form.described(""), '""')
        self.assertEqual(form.described(5), "5")

    def test_oneOf(self) -> None:
        """
        One of some words is one of them.
        """
        form = oneOf(["a", "b"])
        self.assertEqual(form.read("b"), "b")
        for wrong in ("c", "A", "", 1, None, ["a"]):
            error = self.assertRaises(BadValue, form.read, wrong)
            self.assertEqual(error.allowed, 'one of "a", "b"')
        self.assertEqual(form.described("c"), '"c"')

    def test_formOf(self) -> None:
        """
        Types without a form have none.
        """
        self.assertIsNone(formOf(int))
        self.assertIsNone(formOf(Annotated[int, "of another kind"]))

    @given(ANYTHING)
    def test_nothingElse(self, value: object) -> None:
        """
        Whatever it is, it is read, or refused with words.
        """
        for kind in (
            forms.Switch,
            forms.Count,
            forms.Seconds,
            forms.Text,
            forms.Name,
            forms.Checker,
        ):
            try:
                read(kind, value)
            except BadValue as error:
                self.assertIn("; allowed: ", str(error))
                self.assertTrue(str(error).isprintable())


@attrs.frozen
class _Settings:
    """
    Some settings.
    """

    number: int = attrs.field(default=0, validator=COUNT)
    time: float = attrs.field(default=0, validator=SECONDS)
    word: str = attrs.field(default="a", validator=validated(oneOf(["a"]).read))
    words: Any = attrs.field(default=None, validator=[forms.some, each(oneOf(["x", "y"]).read)])


class ValidatorTests(SynchronousTestCase):
    """
    Settings that a program makes.
    """

    def test_right(self) -> None:
        """
        What a file could say is right.
        """
        _Settings(number=5, time=0.5, word="a", words=["x", "y"])
        _Settings()

    def test_wrong(self) -> None:
        """
        What it could not is refused, with the name of the setting.
        """
        wrong: tuple[dict[str, Any], ...] = (
            {"number": -1},
            {"time": float("nan")},
            {"word": "b"},
            {"words": ()},
            {"words": ["x", "z"]},
        )
        for settings in wrong:
            error = self.assertRaises(BadValue, _Settings, **settings)
            [name] = settings
            self.assertEqual(error.name, name)
            self.assertTrue(str(error).startswith(f"{name}: found "), str(error))

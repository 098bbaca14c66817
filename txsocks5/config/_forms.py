"""
How single values stand in a file: what is allowed, how it is read, and how it is written.

The types of the settings carry these forms, so that the file, its errors and its documentation
cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from typing import Annotated, Any, TypeAlias

import attrs

from ._problems import quoted

__all__ = [
    "COUNT",
    "SECONDS",
    "BadValue",
    "Checker",
    "Count",
    "Form",
    "Name",
    "Seconds",
    "Switch",
    "Text",
    "described",
    "each",
    "formOf",
    "oneOf",
    "some",
    "validated",
]

_MAX_TEXT = 60
_MOST = 1_000_000_000
_YEAR = 365 * 24 * 3600


class BadValue(ValueError):
    """
    A value that is not allowed where it stands.

    @ivar found: the value, for people, on one line of printable ASCII.

    @ivar allowed: what would be.

    @ivar name: the setting that it was meant for; empty if that is said elsewhere.
    """

    def __init__(self, found: str, allowed: str, name: str = "") -> None:
        super().__init__(found, allowed, name)
        self.found = found
        self.allowed = allowed
        self.name = name

    @property
    def text(self) -> str:
        """
        What was found, and what is allowed.
        """
        return f"found {self.found}; allowed: {self.allowed}"

    def __str__(self) -> str:
        """
        The name as well, if it is known.
        """
        return f"{self.name}: {self.text}" if self.name else self.text


def described(value: object) -> str:
    """
    Show a value of a file for people, much as the file has it: on one line, and cut if it is long.
    """
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "an array" if value else "an empty array"
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**_MAX_TEXT:
        # To write it in full takes long, or is refused.
        return "an integer of many digits"
    if not isinstance(value, str):
        return ascii(value)
    text = value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "..."
    return quoted(text)


def _withoutContent(value: object) -> str:
    """
    Show what kind of a value it is, and no more.
    """
    return described(value) if not isinstance(value, str) else "a string" if value else '""'


@attrs.frozen(eq=False)
class Form:
    """
    How a value stands in a file.

    @ivar allowed: what is allowed, for people.

    @ivar read: makes the value out of what the TOML parser gives; raises L{BadValue}, or another
        C{ValueError} that says what is wrong.

    @ivar write: the value as the file would have it, in TOML.

    @ivar secret: whether what was found must not be shown.
    """

    allowed: str
    read: Callable[[object], Any]
    write: Callable[[Any], str] = described
    secret: bool = False

    def described(self, value: object) -> str:
        """
        Show a value that does not have this form.
        """
        return _withoutContent(value) if self.secret else described(value)


def formOf(kind: object) -> Form | None:
    """
    The form that a type carries, if it does.
    """
    return next(
        (each for each in getattr(kind, "__metadata__", ()) if isinstance(each, Form)), None
    )


_SWITCH = "true or false"
_COUNT = f"a whole number from 0 to {_MOST}"
_SECONDS = f"a number of seconds from 0 to {_YEAR}"
_TEXT = "a string without NUL"
_NAME = "a string that is not empty, without NUL"
_CHECKER = "a string that names a twisted.cred checker, as --auth takes it"


def _readSwitch(value: object) -> bool:
    """
    @raise BadValue: it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise BadValue(described(value), _SWITCH)
    return value


def _readCount(value: object) -> int:
    """
    @raise BadValue: it is no whole number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise BadValue(described(value), _COUNT)
    return value


def _readSeconds(value: object) -> float:
    """
    @raise BadValue: it is no number, or out of range, as NaN always is.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _YEAR:
        raise BadValue(described(value), _SECONDS)
    return value


def _readText(value: object) -> str:
    """
    @raise BadValue: it is no string.
    """
    if not isinstance(value, str) or "\0" in value:
        raise BadValue(described(value), _TEXT)
    return value


def _readName(value: object) -> str:
    """
    @raise BadValue: it is no string, or an empty one.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadValue(described(value), _NAME)
    return value


def _readChecker(value: object) -> str:
    """
    @raise BadValue: it is no string, or an empty one.  The error does not show it, for there may
        be a password in it.
    """
    if not isinstance(value, str) or not value:
        raise BadValue(_withoutContent(value), _CHECKER)
    return value


Switch: TypeAlias = Annotated[bool, Form(_SWITCH, _readSwitch)]
"""
Yes or no.
"""

Count: TypeAlias = Annotated[int, Form(_COUNT, _readCount)]
"""
How many.
"""

Seconds: TypeAlias = Annotated[float, Form(_SECONDS, _readSeconds)]
"""
How long.
"""

Text: TypeAlias = Annotated[str, Form(_TEXT, _readText)]
"""
Text that means something only where it is used, and may be empty.
"""

Name: TypeAlias = Annotated[str, Form(_NAME, _readName)]
"""
What somebody or something is called.
"""

Checker: TypeAlias = Annotated[str, Form(_CHECKER, _readChecker, secret=True)]
"""
What C{--auth} takes.  It may hold a password.
"""


def oneOf(words: Iterable[str]) -> Form:
    """
    The form of a value that is one of some words.
    """
    known = tuple(words)
    allowed = "one of " + ", ".join(map(described, known))

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise BadValue(described(value), allowed)
        return value

    return Form(allowed, read)


def validated(read: Callable[[object], object]) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """
    Make a validator for settings that are made by a program, out of what reads them from a file.

    @param read: raises L{BadValue}.
    """

    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        try:
            read(value)
        except BadValue as error:
            raise BadValue(error.found, error.allowed, attribute.name) from None

    return validate


def each(read: Callable[[object], object]) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """
    Make a validator for settings that have several values, or L{None}.

    @param read: see L{validated}.
    """
    validate = validated(read)

    def validateAll(instance: object, attribute: attrs.Attribute[Any], values: Any) -> None:
        for value in values or ():
            validate(instance, attribute, value)

    return validateAll


SECONDS = validated(_readSeconds)
"""
Validates a setting that is a time.
"""

COUNT = validated(_readCount)
"""
Validates a setting that is a number of something.
"""


def some(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """
    Validate that there is at least one, if there are any at all.

    @raise BadValue: there is none.
    """
    if value is not None and not value:
        raise BadValue("an empty array", "at least one entry", attribute.name)

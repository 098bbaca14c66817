"""
What is wrong with a configuration, and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs

__all__ = ["ConfigurationError", "Problem", "bareOrQuoted", "keyOf", "quoted"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@attrs.frozen
class Problem:
    """
    One thing that is wrong, or dubious.

    @ivar path: the key's full path, as C{rules[2].ports[0]}; empty if no key is meant.

    @ivar text: what was found, and what is allowed.
    """

    path: str
    text: str

    def __str__(self) -> str:
        """
        All of it, on one line.
        """
        line = f"{self.path}: {self.text}" if self.path else self.text
        return "".join(
            character if character.isprintable() else ascii(character)[1:-1] for character in line
        )


class ConfigurationError(Exception):
    """
    A configuration with which nothing can be started.

    @ivar problems: all that is wrong with it; at least one.

    @ivar warnings: what else is dubious, as far as that has been looked at.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__(*self.problems)

    @property
    def lines(self) -> tuple[str, ...]:
        """
        One line for each problem.
        """
        return tuple(map(str, self.problems))

    def __str__(self) -> str:
        """
        All lines.
        """
        return "\n".join(self.lines)


def keyOf(field: attrs.Attribute[Any]) -> str:
    """
    The key that stands for a setting in a file: C{half_closed} for C{halfClosed}.
    """
    key: str = field.metadata.get("key") or _HUMP.sub("_", field.name).lower()
    return key


def quoted(text: str) -> str:
    """
    Text as a TOML string, in printable ASCII.
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    """
    A character within a TOML string.
    """
    if character in ('"', "\\"):
        return "\\" + character
    if character.isascii() and character.isprintable():
        return character
    number = ord(character)
    return _SHORT.get(character) or (f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}")


def bareOrQuoted(key: str) -> str:
    """
    A key as it stands in a file: in quotes if it has to.
    """
    return key if _BARE.fullmatch(key) else quoted(key)

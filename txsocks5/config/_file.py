"""
From a TOML file to a configuration.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from typing import Any

from ._configuration import Configuration
from ._problems import ConfigurationError, Problem

__all__ = ["readConfiguration", "readText"]

# A list of a million destinations is half of it.
_MAX_OCTETS = 64 * 1024 * 1024


def readConfiguration(
    path: str | os.PathLike[str], *, without: Collection[str] = ()
) -> Configuration:
    """
    Read a configuration file.

    @param path: the file.

    @param without: full paths of keys whose values in the file do not count, as something else
        replaces them; they keep their defaults.

    @return: what it says.

    @raise ConfigurationError: it cannot be read, or something in it is wrong; the error has all
        that is.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            octets = file.read(_MAX_OCTETS + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _wrong(f"{name} cannot be read: {reason}") from None
    if len(octets) > _MAX_OCTETS:
        raise _wrong(f"{name} is larger than {_MAX_OCTETS} octets")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        raise _wrong(f"{name} is no TOML: not in UTF-8 (at line {line})") from None
    return readText(text, name=name, without=without)


def readText(text: str, *, name: str = "the text", without: Collection[str] = ()) -> Configuration:
    """
    Read the text of a configuration file.

    @param name: what errors call the text.

    @param without: see L{readConfiguration}.

    @raise ConfigurationError: see L{readConfiguration}.
    """
    try:
        from ._structure import structured
    except ImportError as error:
        raise _wrong(
            f"a configuration file needs {error.name}: pip install txsocks5[config]"
        ) from None
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise _wrong(f"{name} is no TOML: nested too deeply") from None
    except ValueError as error:
        # Most of them are TOMLDecodeError; a number may be too long for Python.
        raise _wrong(f"{name} is no TOML: {error}") from None
    for key in without:
        _remove(tables, key.split("."))
    configuration, problems = structured(tables)
    if problems:
        raise ConfigurationError(problems)
    return configuration


def _remove(tables: dict[str, Any], keys: list[str]) -> None:
    """
    Remove a key, if it is there.
    """
    inner: Any = tables
    for key in keys[:-1]:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if isinstance(inner, dict):
        inner.pop(keys[-1], None)


def _wrong(text: str) -> ConfigurationError:
    """
    Say what is wrong with the file as a whole.
    """
    return ConfigurationError([Problem("", text)])

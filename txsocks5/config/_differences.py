"""
What has changed from one configuration to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ._configuration import Configuration
from ._problems import bareOrQuoted, keyOf

__all__ = ["differences"]


def differences(before: Configuration, after: Configuration) -> Sequence[str]:
    """
    Find what is different.

    @return: the paths of the keys, as deep as both sides have them: C{timeouts.idle}, and
        C{users.alice} for a user that only one of them has; of rules and other lists, the key of
        the list.
    """
    return list(_different("", before, after))


def _different(path: str, before: Any, after: Any) -> Iterator[str]:
    """
    Compare two values of the same key.
    """
    if before == after:
        return
    if attrs.has(type(before)) and type(before) is type(after):
        for attribute in attrs.fields(type(before)):
            name = attribute.name
            yield from _different(
                _below(path, keyOf(attribute)), getattr(before, name), getattr(after, name)
            )
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            inner = _below(path, bareOrQuoted(name))
            if name in before and name in after:
                yield from _different(inner, before[name], after[name])
            else:
                yield inner
    else:
        yield path


def _below(path: str, key: str) -> str:
    """
    The path of a key in a table.
    """
    return f"{path}.{key}" if path else key

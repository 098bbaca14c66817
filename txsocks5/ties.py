"""
Calling somebody without keeping them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec
from weakref import WeakMethod

__all__ = ["loosely"]

_P = ParamSpec("_P")


def loosely(method: Callable[_P, None]) -> Callable[_P, None]:
    """
    Tie a method loosely: for somebody whom the object of the method knows, and who would keep it,
    and with it all that it knows, until the garbage collector comes by.

    @param method: of an object that somebody else has for as long as it is to be called.

    @return: calls it, and does nothing once the object is gone.
    """
    tie = WeakMethod(method)

    def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
        there = tie()
        if there is not None:
            there(*args, **kwargs)

    return call

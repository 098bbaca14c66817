"""
Long work in short turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["inSlices"]

_T = TypeVar("_T")

_SLICE = 0.005
"""
Seconds for which others wait.
"""


def inSlices(clock: IReactorTime, items: Iterable[_T], call: Callable[[_T], int]) -> Deferred[int]:
    """
    Call C{call} with each of many things.  When that has taken 5 milliseconds the others wait for
    the next turn of the reactor.

    @param items: gone through as it is now, whatever happens in between.

    @return: a Deferred that fires with the sum of what the calls have returned, when all have been
        made; at once if that has taken one turn.  It fails if one of them does, and then no others
        follow.
    """
    done: Deferred[int] = Deferred()
    _slice(clock, iter(list(items)), call, 0, done)
    return done


def _slice(
    clock: IReactorTime,
    items: Iterator[_T],
    call: Callable[[_T], int],
    total: int,
    done: Deferred[int],
) -> None:
    """
    Use one turn.
    """
    began = clock.seconds()
    try:
        for item in items:
            total += call(item)
            # Also if the clock has been set back.
            if not 0 <= clock.seconds() - began < _SLICE:
                clock.callLater(0, _slice, clock, items, call, total, done)
                return
    except Exception:
        done.errback()
    else:
        done.callback(total)

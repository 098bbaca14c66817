"""
C{twistd} with a count of what is in its memory: C{python -m benchmarks.census FILE -n socks5 ...}
writes one into the file whenever SIGUSR2 comes.

It runs without the garbage collector, so that whatever waits for that is counted.  With
C{--copying} behind the file an observer looks at everything that C{socks5} relays, so that nothing
is left to the kernel.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.scripts import twistd
from zope.interface import implementer

from txsocks5 import tap
from txsocks5.interfaces import IRelayObserver, IRelayTap, Question
from txsocks5.wire import Address

__all__ = ["Onlooker", "census", "main"]


def census(objects: Iterable[object]) -> dict[str, int]:
    """
    Count, of some objects, those of txsocks5 by their classes.
    """
    # Not every class has text for the name of its module.
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in objects)
    return dict(Counter(name for name in names if name.startswith("txsocks5")))


@implementer(IRelayObserver, IRelayTap)
class Onlooker:
    """
    Looks at everything, and keeps nothing.
    """

    def began(self, question: Question) -> IRelayTap:
        """
        See L{IRelayObserver.began}.
        """
        return self

    def passed(self, fromClient: bool, peer: Address, data: bytes) -> None:
        """
        See L{IRelayTap.passed}.
        """

    def ended(self, fromClient: int, toClient: int) -> None:
        """
        See L{IRelayTap.ended}.
        """


def main(arguments: list[str]) -> None:
    """
    Run C{twistd}.

    @param arguments: the file, and what C{twistd} is told.
    """
    path = Path(arguments[0])

    def report(number: int, frame: FrameType | None) -> None:
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(census(gc.get_objects())))
        os.replace(whole, path)

    gc.disable()
    signal.signal(signal.SIGUSR2, report)
    sys.argv[1:] = arguments[1:]
    if sys.argv[1] == "--copying":
        del sys.argv[1]
        made: Any = tap
        made.SOCKS5Factory = partial(made.SOCKS5Factory, observer=Onlooker())
    twistd.run()


if __name__ == "__main__":
    main(sys.argv[1:])

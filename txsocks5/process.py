"""
What a process gets that does nothing but serve clients.
"""

from __future__ import annotations

import gc

__all__ = ["LOOK_UPS", "THREADS", "collectSeldom"]

LOOK_UPS = 64
"""
How many names the system looks up at a time.  Each blocks a thread, perhaps for long.
"""

THREADS = LOOK_UPS + 8
"""
How many threads the reactor has: checking passwords must not have to wait for names.
"""


def collectSeldom() -> None:
    """
    Sessions leave nothing to the garbage collector but what Twisted leaves of them, and looking for
    it takes a tenth of a short session's time: leave out what is there from the start, and look
    more seldom.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)

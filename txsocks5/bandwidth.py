"""
What holds back whoever relays for a session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as TypingProtocol

__all__ = ["Meter"]


class Meter(TypingProtocol):
    """
    How much of its payload a session may relay by now, both directions together.  A session
    without limits has none of these: whoever relays has L{None} then, and asks nobody.

    Before something is relayed, L{allowance} is asked; when it has been, L{spent} is told.  Where
    the answer is 0 the source is not read until L{wait} has called.
    """

    def allowance(self) -> int:
        """
        How many octets may be relayed now.  The answer is true until somebody else is asked or
        told: it is not to be kept.

        @return: 0 for "not now".
        """

    def spent(self, octets: int) -> None:
        """
        So many octets have been relayed.  It may be more than was allowed, where a piece cannot be
        divided; there is a longer pause after that.
        """

    def wait(self, resume: Callable[[], None]) -> None:
        """
        Wait for an allowance.

        @param resume: called once, later and never from within this call, when it is worth while
            to ask again; the allowance may still be 0, and then there is another wait.  It is
            also called when other limits hold from now on, and not at all if the session ends
            before.
        """

"""
A meter for tests.
"""

from __future__ import annotations

from collections.abc import Callable


class Purse:
    """
    A meter that allows what a test puts into it.

    @ivar left: how many octets may pass.

    @ivar waiting: what is to be called when there are more.
    """

    def __init__(self, left: int = 0) -> None:
        self.left = left
        self.waiting: list[Callable[[], None]] = []

    def allowance(self) -> int:
        """
        What is left.
        """
        return max(self.left, 0)

    def spent(self, octets: int) -> None:
        """
        Have less.
        """
        self.left -= octets

    def wait(self, resume: Callable[[], None]) -> None:
        """
        Keep whoever waits.
        """
        self.waiting.append(resume)

    def add(self, octets: int) -> None:
        """
        Have more, and call whoever waits.
        """
        self.left += octets
        waiting, self.waiting = self.waiting, []
        for resume in waiting:
            resume()

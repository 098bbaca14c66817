"""
Tests for L{txsocks5.ties}.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.ties import loosely


class Caller:
    """
    Somebody who calls.
    """

    call: Callable[[int], None]


class Called:
    """
    Somebody who is called, and knows by whom.
    """

    def __init__(self, heard: list[int]) -> None:
        self.heard = heard
        self.caller = Caller()
        self.caller.call = loosely(self.hear)

    def hear(self, number: int) -> None:
        """
        Keep what has been said.
        """
        self.heard.append(number)


class LooselyTests(SynchronousTestCase):
    """
    Tests for L{loosely}.
    """

    def test_called(self) -> None:
        """
        The method is called as long as somebody has its object, which is gone as soon as nobody
        has it.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        heard: list[int] = []
        called = Called(heard)
        caller = called.caller
        caller.call(1)
        self.assertEqual(heard, [1])
        del called
        caller.call(2)
        self.assertEqual(heard, [1])

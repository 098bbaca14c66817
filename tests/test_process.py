"""
Tests for L{txsocks5.process}.
"""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.process import LOOK_UPS, THREADS, collectSeldom


class ProcessTests(SynchronousTestCase):
    """
    Tests for what a process gets.
    """

    def test_threads(self) -> None:
        """
        Names cannot take all threads.
        """
        self.assertGreater(THREADS, LOOK_UPS)

    def test_collectSeldom(self) -> None:
        """
        The collector leaves out what is there, and comes by more seldom.
        """
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        gc.set_threshold(700, 10, 10)
        collectSeldom()
        self.assertGreater(gc.get_threshold()[0], 700)
        self.assertGreater(gc.get_freeze_count(), 0)

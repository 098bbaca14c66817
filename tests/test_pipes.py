"""
Tests for L{txsocks5.pipes}.
"""

from __future__ import annotations

import errno
import fcntl
import os

from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import pipes
from txsocks5.pipes import Pipe, PipePool


def isOpen(descriptor: int) -> bool:
    """
    Whether the process has a descriptor.
    """
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class PoolTests(SynchronousTestCase):
    """
    Tests for L{PipePool}.
    """

    def setUp(self) -> None:
        """
        Make a pool.
        """
        self.pool = PipePool()
        self.addCleanup(self.pool.leave)

    def take(self) -> Pipe:
        """
        Borrow a pipe.
        """
        pipe = self.pool.take()
        assert pipe is not None
        return pipe

    def test_pipe(self) -> None:
        """
        What is borrowed is a pipe: large, not blocking, and not for children.
        """
        pipe = self.take()
        self.assertEqual(self.pool.inUse, 1)
        os.write(pipe.sink, b"octets")
        self.assertEqual(os.read(pipe.source, 100), b"octets")
        self.assertRaises(BlockingIOError, os.read, pipe.source, 1)
        self.assertFalse(os.get_inheritable(pipe.source) or os.get_inheritable(pipe.sink))
        self.assertGreaterEqual(pipe.size, 4096)
        self.pool.discard(pipe)

    def test_again(self) -> None:
        """
        A pipe that was given back is the next one; one that was discarded is closed.
        """
        pipe = self.take()
        self.pool.give(pipe)
        self.assertEqual(self.pool.inUse, 0)
        self.assertIs(self.pool.take(), pipe)
        self.pool.discard(pipe)
        self.assertEqual(self.pool.inUse, 0)
        self.assertFalse(isOpen(pipe.source) or isOpen(pipe.sink))

    def test_few(self) -> None:
        """
        Only a few are kept.
        """
        self.patch(pipes, "_MAX_IDLE", 2)
        self.pool.stay()
        taken = [self.take() for _ in range(4)]
        for pipe in taken:
            self.pool.give(pipe)
        self.assertEqual(self.pool.inUse, 0)
        self.assertEqual([isOpen(pipe.sink) for pipe in taken], [True, True, False, False])

    def test_leave(self) -> None:
        """
        When nobody is served any more those that are not in use are closed, and none is kept; when
        somebody is, some are kept again.
        """
        idle, used = self.take(), self.take()
        self.pool.give(idle)
        self.pool.leave()
        self.assertFalse(isOpen(idle.source) or isOpen(idle.sink))
        self.assertTrue(isOpen(used.source) and isOpen(used.sink))
        self.pool.give(used)
        self.assertFalse(isOpen(used.source) or isOpen(used.sink))
        self.assertEqual(self.pool.inUse, 0)
        self.pool.stay()
        pipe = self.take()
        self.pool.give(pipe)
        self.assertTrue(isOpen(pipe.source))

    def test_exhausted(self) -> None:
        """
        The process has no descriptors left.
        """

        def refuse(flags: int) -> tuple[int, int]:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "pipe2", refuse)
        self.assertIs(self.pool.take(), None)
        self.assertEqual(self.pool.inUse, 0)

    def test_refused(self) -> None:
        """
        The system refuses large pipes to this user: they are not asked for again.
        """
        real = fcntl.fcntl
        asked = []

        def refuse(descriptor: int, command: int, argument: int = 0) -> int:
            if command == pipes._SET_SIZE:
                asked.append(argument)
                raise PermissionError(errno.EPERM, "Operation not permitted")
            return real(descriptor, command, argument)

        self.patch(fcntl, "fcntl", refuse)
        for pipe in (self.take(), self.take()):
            self.assertEqual(pipe.size, real(pipe.sink, fcntl.F_GETPIPE_SZ))
            self.pool.discard(pipe)
        self.assertEqual(len(asked), 1)

    def test_manyInUse(self) -> None:
        """
        When many are in use further ones are as the system makes them.
        """
        self.patch(pipes, "_MAX_LARGE", 1)
        large, small = self.take(), self.take()
        self.assertEqual(large.size, pipes._LARGE)
        self.assertLess(small.size, large.size)
        for pipe in (large, small):
            self.pool.discard(pipe)

    def test_otherSystems(self) -> None:
        """
        Where the size can be neither set nor asked for it is what is usual.
        """
        self.patch(pipes, "_SET_SIZE", None)
        self.patch(pipes, "_GET_SIZE", None)
        pool = PipePool()
        pipe = pool.take()
        assert pipe is not None
        self.assertEqual(pipe.size, 65536)
        pool.discard(pipe)

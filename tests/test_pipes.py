"""
Tests for L{txsocks5.pipes}.
"""

from __future__ import annotations

import errno
import fcntl
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import pipes
from txsocks5.pipes import Pipe, PipePool
from txsocks5.sweep import Sweep


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

    def test_spare(self) -> None:
        """
        Those that nobody has needed for ten seconds are closed; when none is left, nobody looks for
        them any more.
        """
        clock = Clock()
        sweep = Sweep(clock)
        self.pool = PipePool(sweep)
        self.addCleanup(self.pool.leave)
        taken = [self.take() for _ in range(3)]
        self.assertEqual(clock.getDelayedCalls(), [])
        for pipe in taken:
            self.pool.give(pipe)
        for _ in range(25):
            # Of three one is needed now and then.
            self.pool.give(self.take())
            clock.advance(1)
        self.assertEqual([isOpen(pipe.sink) for pipe in taken], [False, False, True])
        clock.pump([1] * 21)
        self.assertEqual([isOpen(pipe.sink) for pipe in taken], [False, False, False])
        self.assertEqual(clock.getDelayedCalls(), [])
        pipe = self.take()
        self.pool.give(pipe)
        self.pool.leave()
        self.assertEqual((isOpen(pipe.sink), clock.getDelayedCalls()), (False, []))

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
        The system refuses the largest pipes to this user, or all large ones: the next smaller size
        is tried.
        """
        real = fcntl.fcntl
        allowed = 256 * 1024

        def refuse(descriptor: int, command: int, argument: int = 0) -> int:
            if command == pipes._SET_SIZE and argument > allowed:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            return real(descriptor, command, argument)

        self.patch(fcntl, "fcntl", refuse)
        smaller = self.take()
        self.assertEqual(smaller.size, 256 * 1024)
        allowed = 0
        usual = self.take()
        self.assertEqual(usual.size, real(usual.sink, fcntl.F_GETPIPE_SZ))
        for pipe in (smaller, usual):
            self.pool.discard(pipe)

    def test_manyInUse(self) -> None:
        """
        The more there are, the smaller are further ones: so they hold no more than 64 MiB together,
        and little more.  Those that were closed do not count.
        """
        self.patch(pipes, "_SIZES", ((128 * 1024, 256 * 1024), (64 * 1024, 384 * 1024)))
        self.patch(pipes, "_MAX_IDLE", 0)
        self.pool.stay()
        sizes = [128, 128, 64, 64]
        taken = [self.take() for _ in sizes]
        self.assertEqual([pipe.size // 1024 for pipe in taken], sizes)
        usual = self.take()
        self.assertEqual(usual.size, fcntl.fcntl(usual.sink, fcntl.F_GETPIPE_SZ))
        self.pool.discard(usual)
        for _ in range(3):
            self.pool.give(taken.pop())
        taken.append(self.take())
        self.assertEqual(taken[-1].size // 1024, 128)
        for pipe in taken:
            self.pool.discard(pipe)
        self.assertEqual(self.pool._capacity, 0)

    def test_tiny(self) -> None:
        """
        A pipe that the system has made tiny, for a user who has many, is not kept.
        """
        self.patch(pipes, "_SIZES", ((4096, 1 << 20),))
        pipe = self.take()
        self.assertEqual(pipe.size, 4096)
        self.pool.give(pipe)
        self.assertFalse(isOpen(pipe.source) or isOpen(pipe.sink))
        self.assertEqual(self.pool.inUse, 0)

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

"""
Tests for L{txsocks5.sharedtally}, some of them with real processes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import txsocks5
from txsocks5 import sharedtally
from txsocks5.sharedtally import SharedTally, createTally
from txsocks5.tally import LocalTally

from .wire.values import reproducible


class TallyTestCase(SynchronousTestCase):
    """
    Memory for four processes.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.descriptor = createTally(4, 1024)
        self.addCleanup(os.close, self.descriptor)
        self.tally = self.at(0)

    def at(self, process: int) -> SharedTally:
        """
        As one of the processes has it.
        """
        tally = SharedTally(self.descriptor, process)
        self.addCleanup(tally.close)
        return tally


class SharedTallyTests(TallyTestCase):
    """
    Tests for L{SharedTally} by itself.
    """

    def test_shared(self) -> None:
        """
        A limit is one for all processes.
        """
        other = self.at(1)
        taken = [tally.take(b"a", 3) for tally in (self.tally, other, self.tally, other)]
        self.assertEqual(taken, [True, True, True, False])
        self.assertEqual((self.tally.count(b"a"), other.count(b"a")), (3, 3))
        self.tally.give(b"a")
        self.assertTrue(other.take(b"a", 3))
        self.assertEqual(self.tally.advance(b"b", 10, 5), 15)
        self.assertEqual(other.advance(b"b", 12, 5), 20)

    def test_drop(self) -> None:
        """
        What one process has taken can be given back, and nothing else.
        """
        other = self.at(3)
        for key in (b"a", b"b"):
            other.take(key, 0)
            other.take(key, 0)
        self.tally.take(b"b", 0)
        self.tally.advance(b"c", 0, 7)
        self.tally.drop(3)
        self.assertEqual([self.tally.count(key) for key in (b"a", b"b")], [0, 1])
        self.assertEqual(self.tally.advance(b"c", 0, 0), 7)
        self.assertEqual(len(self.tally), 2)

    def test_declared(self) -> None:
        """
        Each process says how many it has, and is told how many there are.
        """
        other = self.at(1)
        self.assertEqual([self.tally.declare(b"a", 3), other.declare(b"a", 4)], [3, 7])
        self.assertEqual([self.tally.declare(b"a", 1), other.count(b"a")], [5, 5])
        self.tally.drop(1)
        self.assertEqual(self.tally.declare(b"a", 1), 1)
        self.assertEqual((self.tally.declare(b"a", 0), len(self.tally)), (0, 0))

    def test_half(self) -> None:
        """
        A process may die in the midst of anything: a slot that was only named is free again, then.
        """
        digest, number = self.tally._placed(b"a")
        with self.tally._locked(number) as begin:
            self.tally._findOrTake(begin, digest)
        self.assertEqual(len(self.tally), 1)
        self.tally.drop(1)
        self.assertEqual(len(self.tally), 0)

    def test_full(self) -> None:
        """
        What there is no room for is not limited, and disturbs nothing.
        """
        descriptor = createTally(1, 1)
        self.addCleanup(os.close, descriptor)
        tally = SharedTally(descriptor, 0)
        self.addCleanup(tally.close)
        keys = [bytes([number]) for number in range(40)]
        for _ in range(3):
            self.assertTrue(all(tally.take(key, 3) for key in keys))
        self.assertEqual([tally.take(key, 3) for key in keys], [False] * 32 + [True] * 8)
        self.assertEqual(tally.advance(b"other", 5, 1), 6)
        self.assertEqual(tally.advance(b"other", 5, 1), 6)
        tally.forget(b"other", 5)
        self.assertEqual(tally.declare(b"other", 7), 7)
        for key in keys * 4:
            tally.give(key)
        self.assertEqual(len(tally), 0)

    def test_misaligned(self) -> None:
        """
        A digest that stands across two others is not taken for one.
        """
        digests = [bytes([number + 1]) * 16 for number in range(2)]
        begin = 64
        self.tally._name(begin, 0, digests[0])
        self.tally._name(begin, 1, digests[1])
        across = digests[0][8:] + digests[1][:8]
        self.assertIs(self.tally._find(begin, across), None)
        self.assertEqual(self.tally._find(begin, digests[1]), 1)

    def test_somethingElse(self) -> None:
        """
        Only the memory of a tally is taken for one, and only by a process that has a place in it.
        """
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        descriptor = os.memfd_create("other")
        self.addCleanup(os.close, descriptor)
        self.assertRaises(ValueError, SharedTally, descriptor, 0)
        for process in (-1, 4):
            self.assertRaises(ValueError, SharedTally, self.descriptor, process)

    def test_notMade(self) -> None:
        """
        If the system has no memory, no descriptor is left open.
        """
        before = len(os.listdir("/proc/self/fd"))
        self.assertRaises((OSError, OverflowError), createTally, 4, 2**62)  # type: ignore[arg-type]
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_otherSystems(self) -> None:
        """
        Systems without such memory are told apart.
        """
        self.patch(sharedtally, "os", object())
        error = self.assertRaises(OSError, createTally, 4)
        self.assertIn("on Linux only", str(error))

    @settings(reproducible, max_examples=100)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["take", "give", "advance", "forget"]),
                st.sampled_from([b"a", b"b", b"c", b"d"]),
                st.integers(0, 3),
                st.integers(0, 2**40),
            ),
            max_size=60,
        )
    )
    def test_model(self, steps: list[tuple[str, bytes, int, int]]) -> None:
        """
        Several processes together count what one would count alone.
        """
        descriptor = createTally(4, 16)
        tallies = [SharedTally(descriptor, process) for process in range(4)]
        model = LocalTally()
        taken: list[tuple[bytes, SharedTally]] = []
        for what, key, number, large in steps:
            tally = tallies[number]
            if what == "take":
                counted = tally.take(b"n" + key, number)
                self.assertEqual(counted, model.take(b"n" + key, number))
                if counted:
                    taken.append((b"n" + key, tally))
            elif what == "give" and taken:
                name, owner = taken.pop(number % len(taken))
                owner.give(name)
                model.give(name)
                self.assertEqual(tally.count(name), model.count(name))
            elif what == "advance":
                self.assertEqual(
                    tally.advance(key, number, large), model.advance(key, number, large)
                )
            elif what == "forget":
                tally.forget(key, large)
                model.forget(key, large)
        for name, owner in taken:
            owner.give(name)
        for key in (b"a", b"b", b"c", b"d"):
            self.assertEqual(tallies[0].advance(key, 0, 0), model.advance(key, 0, 0))
            tallies[0].forget(key, 2**62)
        self.assertEqual(len(tallies[0]), 0)
        for tally in tallies:
            tally.close()
        os.close(descriptor)


class ProcessTests(TallyTestCase):
    """
    Tests with processes.
    """

    def fork(self, work: Callable[[], object]) -> int:
        """
        Do something in another process.

        @return: its number, for L{wait}.
        """
        pid = os.fork()
        if not pid:
            code = 1
            try:
                signal.alarm(60)
                code = 0 if work() is not False else 2
            finally:
                os._exit(code)
        return pid

    def wait(self, pid: int) -> int:
        """
        Wait for a process.

        @return: its exit code, negative for a signal.
        """
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_limit(self) -> None:
        """
        However many processes take and give at the same time, there is never one too many, and in
        the end nothing is left.
        """

        def work(process: int) -> bool:
            tally = SharedTally(self.descriptor, process)
            for _ in range(2000):
                if tally.take(b"a", 3):
                    if tally.count(b"a") > 3:
                        return False
                    tally.give(b"a")
            return True

        pids = [self.fork(lambda process=process: work(process)) for process in range(4)]
        self.assertEqual([self.wait(pid) for pid in pids], [0] * 4)
        self.assertEqual(len(self.tally), 0)

    def test_level(self) -> None:
        """
        However many processes raise a level at the same time, nothing is lost.
        """

        def work(process: int) -> None:
            tally = SharedTally(self.descriptor, process)
            for _ in range(3000):
                tally.advance(b"a", 0, 1)

        pids = [self.fork(lambda process=process: work(process)) for process in range(4)]
        self.assertEqual([self.wait(pid) for pid in pids], [0] * 4)
        self.assertEqual(self.tally.advance(b"a", 0, 0), 12_000)

    def test_killed(self) -> None:
        """
        A process that is killed, even while it has a set for itself, stops nobody, and what it had
        taken can be given back.
        """
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)

        def work() -> None:
            tally = SharedTally(self.descriptor, 1)
            tally.take(b"a", 0)
            with tally._locked(tally._placed(b"a")[1]):
                os.write(write, b"!")
                signal.pause()

        pid = self.fork(work)
        os.read(read, 1)
        number = self.tally._placed(b"a")[1]
        lock = fcntl.LOCK_EX | fcntl.LOCK_NB
        self.assertRaises(OSError, fcntl.lockf, self.descriptor, lock, 1, number)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.wait(pid), -signal.SIGKILL)
        self.assertEqual(self.tally.count(b"a"), 1)
        self.tally.drop(1)
        self.assertEqual(self.tally.count(b"a"), 0)

    def test_busy(self) -> None:
        """
        One that has a set for itself is waited for.
        """
        read, write = os.pipe()
        goOn, letGo = os.pipe()
        for descriptor in (read, write, goOn, letGo):
            self.addCleanup(os.close, descriptor)

        def work() -> None:
            tally = SharedTally(self.descriptor, 1)
            with tally._locked(tally._placed(b"a")[1]):
                os.write(write, b"!")
                os.read(goOn, 1)
                tally._memory[-1:] = b"!"

        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            os.write(letGo, b"!")

        self.patch(sharedtally, "sleep", sleep)
        self.patch(sharedtally, "_PATIENCE", 60)
        pid = self.fork(work)
        os.read(read, 1)
        self.assertTrue(self.tally.take(b"a", 1))
        self.assertEqual(self.tally._memory[-1:], b"!")
        self.assertTrue(pauses)
        self.assertEqual(self.wait(pid), 0)

    def test_stopped(self) -> None:
        """
        One that is stopped while it has a set for itself does not stop the others either: they wait
        for it for a moment, once.
        """
        self.patch(sharedtally, "_PATIENCE", 0.01)
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)

        def work() -> None:
            tally = SharedTally(self.descriptor, 1)
            with tally._locked(tally._placed(b"a")[1]):
                os.write(write, b"!")
                signal.pause()

        pid = self.fork(work)
        os.read(read, 1)
        os.kill(pid, signal.SIGSTOP)
        self.assertTrue(self.tally.take(b"a", 1))
        self.patch(sharedtally, "_PATIENCE", 60)
        self.assertFalse(self.tally.take(b"a", 1))
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)
        self.assertEqual(self.tally.count(b"a"), 1)
        self.assertEqual(self.tally._stuck, set())

    def test_inherited(self) -> None:
        """
        Another program can have it, by the descriptor that it inherits.
        """
        program = (
            "import sys\n"
            "from txsocks5.sharedtally import SharedTally\n"
            "tally = SharedTally(int(sys.argv[1]), 2)\n"
            "tally.take(b'a', 0)\n"
            "print(tally.advance(b'b', 0, 1))\n"
        )
        self.tally.advance(b"b", 0, 41)
        done = subprocess.run(
            [sys.executable, "-c", program, str(self.descriptor)],
            pass_fds=[self.descriptor],
            env=os.environ | {"PYTHONPATH": str(Path(txsocks5.__file__).parent.parent)},
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        self.assertEqual(done.stdout, b"42\n")
        self.assertEqual(self.tally.count(b"a"), 1)

"""
What is counted across processes.
"""

from __future__ import annotations

import errno
import os
import struct
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from hashlib import blake2b
from mmap import mmap
from time import monotonic, sleep

__all__ = ["SharedTally", "createTally"]

_MAGIC = b"txsocks5 tally 1"

# The magic, the salt, the number of processes, and that of sets.
_HEADER = struct.Struct("<16s16sII")
_BEGIN = 64

_SLOTS = 32
_DIGEST = 16
_DIGESTS = _SLOTS * _DIGEST
_VACANT = bytes(_DIGEST)
_EMPTY = bytes(_DIGESTS)
_LEVEL = struct.Struct("<q")

_TRIES = 20
"""
How often a lock is asked for at once: whoever has it needs some microseconds.
"""

_PAUSE = 0.0001
"""
Seconds from one try to the next, after that.
"""

_PATIENCE = 1.0
"""
Seconds after which whoever has a lock is taken to be stopped.
"""


def createTally(processes: int, keys: int = 65536) -> int:
    """
    Make the memory that several processes count in.

    @param processes: how many there are.

    @param keys: how many keys there is room for, about.  The system gives the memory only where
        something is counted.

    @return: a descriptor, for L{SharedTally} in each of them.  It is not inherited by itself.

    @raise OSError: the system has no memory for it, or no descriptor.
    """
    # A set that is a quarter full on the average is never full.
    sets = max(4 * keys // _SLOTS, 1)
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, "workers: several processes can serve together on Linux only")
    descriptor = os.memfd_create("txsocks5", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, _BEGIN + sets * _sizeOfSet(processes))
        os.pwrite(descriptor, _HEADER.pack(_MAGIC, os.urandom(16), processes, sets), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _sizeOfSet(processes: int) -> int:
    """
    Octets of a set: the digests of its keys, and for each of them a level, and how many every
    process counts.
    """
    return _SLOTS * (_DIGEST + _LEVEL.size + 4 * processes)


class _Locked:
    """
    One set, locked.
    """

    __slots__ = ("_begin", "_descriptor", "_number", "_stuck")

    def __init__(self, descriptor: int, number: int, begin: int, stuck: set[int]) -> None:
        """
        @param stuck: the sets that are not waited for.
        """
        self._descriptor = descriptor
        self._number = number
        self._begin = begin
        self._stuck = stuck

    def __enter__(self) -> int:
        """
        Wait for the lock, but not for ever.

        @return: where the set begins.
        """
        if self._has():
            if self._stuck:
                self._stuck.discard(self._number)
        elif self._number not in self._stuck and not self._waited():
            self._stuck.add(self._number)
        return self._begin

    def _has(self) -> bool:
        """
        Try to have the lock.
        """
        try:
            lockf(self._descriptor, LOCK_EX | LOCK_NB, 1, self._number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _waited(self) -> bool:
        """
        Wait for it.

        @return: whether somebody has given it back in time.
        """
        end = monotonic() + _PATIENCE
        tries = 0
        while not self._has():
            if monotonic() > end:
                return False
            tries += 1
            if tries > _TRIES:
                sleep(_PAUSE)
        return True

    def __exit__(self, *failure: object) -> None:
        """
        Let others have it.
        """
        lockf(self._descriptor, LOCK_UN, 1, self._number)


class SharedTally:
    """
    A L{Tally <txsocks5.tally.Tally>} in memory that processes share.

    It is a table of sets.  The digest of a key tells the set, in which it takes any slot that is
    vacant.  Whoever looks at a set locks it, and nothing else, for some microseconds; the system
    takes the lock from a process that dies.  One that is stopped in that moment, as by SIGSTOP,
    holds up nobody for more than a second: the others go on without the lock, and count wrong, by
    one say, if it goes on just then.  Each process counts in a column of its own, so that what one
    had taken that has died can be given back.

    If a set should be full, what has no room in it is not counted, and so not limited.

    It is for one thread of a process.
    """

    isShared = True

    def __init__(self, descriptor: int, process: int) -> None:
        """
        @param descriptor: of L{createTally}; it stays the caller's, and has to stay open.

        @param process: which of the processes this is, from 0.

        @raise ValueError: the descriptor is of something else, or there is no such process.
        """
        header = os.pread(descriptor, _HEADER.size, 0)
        if not header.startswith(_MAGIC):
            raise ValueError("this is no memory of a tally")
        _, self._salt, processes, self._sets = _HEADER.unpack(header)
        if not 0 <= process < processes:
            raise ValueError(f"there are {processes} processes, and this would be {process}")
        self._descriptor = descriptor
        self._process = process
        self._stuck: set[int] = set()
        self._counts = struct.Struct(f"<{processes}i")
        self._sizeOfSet = _sizeOfSet(processes)
        self._memory = mmap(descriptor, _BEGIN + self._sets * self._sizeOfSet)

    def _locked(self, number: int) -> _Locked:
        """
        One set, to have for oneself.
        """
        return _Locked(self._descriptor, number, _BEGIN + number * self._sizeOfSet, self._stuck)

    def _placed(self, key: bytes) -> tuple[bytes, int]:
        """
        The digest of a key, and the number of its set.
        """
        digest = blake2b(key, digest_size=_DIGEST, key=self._salt).digest()
        return digest, int.from_bytes(digest[:4], "little") % self._sets

    def _find(self, begin: int, digest: bytes) -> int | None:
        """
        Which slot of a set has a digest.
        """
        at = self._memory.find(digest, begin, begin + _DIGESTS)
        while at >= 0 and (at - begin) % _DIGEST:
            at = self._memory.find(digest, at + 1, begin + _DIGESTS)
        return None if at < 0 else (at - begin) // _DIGEST

    def _findOrTake(self, begin: int, digest: bytes) -> int | None:
        """
        Which slot of a set has a digest, or can have it from now on.
        """
        slot = self._find(begin, digest)
        if slot is None:
            slot = self._find(begin, _VACANT)
            if slot is not None:
                self._name(begin, slot, digest)
        return slot

    def _name(self, begin: int, slot: int, digest: bytes) -> None:
        """
        Say whose a slot is.
        """
        at = begin + slot * _DIGEST
        self._memory[at : at + _DIGEST] = digest

    def _levelAt(self, begin: int, slot: int) -> int:
        """
        Where the level of a slot is.
        """
        return begin + _DIGESTS + slot * (_LEVEL.size + self._counts.size)

    def _countAt(self, begin: int, slot: int, process: int) -> int:
        """
        Where one process's count of a slot is.
        """
        return self._levelAt(begin, slot) + _LEVEL.size + 4 * process

    def _count(self, begin: int, slot: int) -> int:
        """
        What all processes count in a slot.
        """
        counts = self._counts.unpack_from(self._memory, self._countAt(begin, slot, 0))
        return sum(counts)

    def _add(self, begin: int, slot: int, process: int, number: int) -> None:
        """
        Count more, or less.
        """
        at = self._countAt(begin, slot, process)
        count = int.from_bytes(self._memory[at : at + 4], "little") + number
        self._memory[at : at + 4] = max(count, 0).to_bytes(4, "little")

    def _tidy(self, begin: int, slot: int) -> None:
        """
        Let a slot be somebody else's, if nothing is in it.
        """
        level = _LEVEL.unpack_from(self._memory, self._levelAt(begin, slot))[0]
        if not level and not self._count(begin, slot):
            self._name(begin, slot, _VACANT)

    def take(self, key: bytes, limit: int) -> bool:
        """
        See L{Tally.take <txsocks5.tally.Tally.take>}.
        """
        digest, number = self._placed(key)
        with self._locked(number) as begin:
            slot = self._findOrTake(begin, digest)
            if slot is not None:
                if limit and self._count(begin, slot) >= limit:
                    return False
                self._add(begin, slot, self._process, 1)
        return True

    def give(self, key: bytes) -> None:
        """
        See L{Tally.give <txsocks5.tally.Tally.give>}.
        """
        digest, number = self._placed(key)
        with self._locked(number) as begin:
            slot = self._find(begin, digest)
            if slot is not None:
                self._add(begin, slot, self._process, -1)
                self._tidy(begin, slot)

    def count(self, key: bytes) -> int:
        """
        See L{Tally.count <txsocks5.tally.Tally.count>}.
        """
        digest, number = self._placed(key)
        with self._locked(number) as begin:
            slot = self._find(begin, digest)
            return 0 if slot is None else self._count(begin, slot)

    def declare(self, key: bytes, number: int) -> int:
        """
        See L{Tally.declare <txsocks5.tally.Tally.declare>}.
        """
        digest, at = self._placed(key)
        with self._locked(at) as begin:
            slot = self._findOrTake(begin, digest)
            if slot is None:
                return number
            self._add(begin, slot, self._process, -(2**31))
            self._add(begin, slot, self._process, number)
            total = self._count(begin, slot)
            self._tidy(begin, slot)
        return total

    def advance(self, key: bytes, floor: int, by: int) -> int:
        """
        See L{Tally.advance <txsocks5.tally.Tally.advance>}.
        """
        digest, number = self._placed(key)
        with self._locked(number) as begin:
            slot = self._findOrTake(begin, digest)
            if slot is None:
                return floor + by
            at = self._levelAt(begin, slot)
            level: int = max(_LEVEL.unpack_from(self._memory, at)[0], floor) + by
            _LEVEL.pack_into(self._memory, at, level)
            self._tidy(begin, slot)
        return level

    def forget(self, key: bytes, floor: int) -> None:
        """
        See L{Tally.forget <txsocks5.tally.Tally.forget>}.
        """
        digest, number = self._placed(key)
        with self._locked(number) as begin:
            slot = self._find(begin, digest)
            if slot is not None:
                at = self._levelAt(begin, slot)
                if _LEVEL.unpack_from(self._memory, at)[0] <= floor:
                    _LEVEL.pack_into(self._memory, at, 0)
                    self._tidy(begin, slot)

    def drop(self, process: int) -> None:
        """
        Give back whatever a process had taken, which has died.
        """
        for number in range(self._sets):
            begin = _BEGIN + number * self._sizeOfSet
            if self._memory[begin : begin + _DIGESTS] == _EMPTY:
                continue
            with self._locked(number):
                for slot in range(_SLOTS):
                    self._add(begin, slot, process, -(2**31))
                    self._tidy(begin, slot)

    def __len__(self) -> int:
        """
        How many keys are remembered.
        """
        return sum(
            self._memory[at : at + _DIGEST] != _VACANT
            for number in range(self._sets)
            for at in range(
                _BEGIN + number * self._sizeOfSet,
                _BEGIN + number * self._sizeOfSet + _DIGESTS,
                _DIGEST,
            )
        )

    def close(self) -> None:
        """
        Let go of the memory.  Others keep it.
        """
        self._memory.close()

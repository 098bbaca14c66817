"""
Pipes for moving octets from socket to socket within the kernel.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Protocol as TypingProtocol

__all__ = ["Pipe", "PipePool", "Sweeper"]

_SIZES = ((512 * 1024, 32 * 1024 * 1024), (256 * 1024, 64 * 1024 * 1024))
"""
How many octets a pipe is to hold, as long as all pipes together hold no more than so many.  The
larger it is, the less processor time it takes to move a gigabyte; beyond that both ends wait for
their memory.
"""

_USUAL = 64 * 1024
"""
What the system makes by itself, unless this user has many already.
"""

_MAX_IDLE = 16

_SPARE = 10.0
"""
Seconds after which pipes are closed that nobody has needed all that time.
"""

# Python has the name from 3.10 on, on Linux.
_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)
_GET_SIZE = getattr(fcntl, "F_GETPIPE_SZ", None)


class Pipe:
    """
    One pipe.

    @ivar source: the descriptor that is read.

    @ivar sink: the descriptor that is written to.

    @ivar size: how many octets it can hold at the most.
    """

    __slots__ = ("sink", "size", "source")

    def __init__(self, source: int, sink: int, size: int) -> None:
        self.source = source
        self.sink = sink
        self.size = size


class Sweeper(TypingProtocol):
    """
    Looks at things once a second; see L{Sweep <txsocks5.sweep.Sweep>}.
    """

    def add(self, item: PipePool) -> None:
        """
        Begin to look at C{item}.
        """

    def remove(self, item: PipePool) -> None:
        """
        Look at it no more.
        """


class PipePool:
    """
    Lends pipes to whoever has octets to hold, and keeps a few empty ones for the next, as long as
    they are needed now and then.

    The first 64 hold 512 KiB, those after them 256 KiB until all together hold 64 MiB: that is what
    peers which do not read tie up, and little more with the small ones behind those.

    @ivar inUse: how many are lent.
    """

    def __init__(self, sweep: Sweeper | None = None) -> None:
        """
        @param sweep: looks for those that are not needed; by default nobody does.
        """
        self.inUse = 0
        self._sweep = sweep
        self._idle: list[Pipe] = []
        # The fewest that were idle at a time, and since when.
        self._spare = 0
        self._since = 0.0
        self._kept = _MAX_IDLE
        # What all can hold, those included that are idle.
        self._capacity = 0

    def take(self) -> Pipe | None:
        """
        Borrow an empty pipe.

        @return: L{None} if the process has no file descriptor left for one.
        """
        if self._idle:
            self.inUse += 1
            pipe = self._idle.pop()
            if len(self._idle) < self._spare:
                self._spare = len(self._idle)
            return pipe
        try:
            source, sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        size = self._sized(sink)
        self._capacity += size
        self.inUse += 1
        return Pipe(source, sink, size)

    def _sized(self, sink: int) -> int:
        """
        Make a pipe as large as it can be.

        @return: how many octets it holds.
        """
        if _SET_SIZE is None or _GET_SIZE is None:
            return _USUAL
        for size, together in _SIZES:
            if self._capacity + size <= together:
                # The system may refuse this to a user who has many pipes already.
                with suppress(OSError):
                    fcntl.fcntl(sink, _SET_SIZE, size)
                    break
        return fcntl.fcntl(sink, _GET_SIZE)

    def give(self, pipe: Pipe) -> None:
        """
        Bring back a pipe that is empty again.
        """
        # One that the system has made smaller than usual is not worth keeping.
        if len(self._idle) < self._kept and pipe.size >= _USUAL:
            self.inUse -= 1
            if not self._idle and self._sweep is not None:
                self._sweep.add(self)
            self._idle.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """
        Bring back a pipe with something in it, which is lost.
        """
        self.inUse -= 1
        self._close(pipe)

    def stay(self) -> None:
        """
        Keep a few that are not in use.
        """
        self._kept = _MAX_IDLE

    def leave(self) -> None:
        """
        Close all that are not in use, and those that come back.
        """
        self._kept = 0
        self._shrink(len(self._idle))

    def swept(self, now: float) -> None:
        """
        Close those that nobody has needed for a while.
        """
        if now - self._since >= _SPARE:
            self._shrink(self._spare)
            self._spare = len(self._idle)
            self._since = now

    def _shrink(self, count: int) -> None:
        """
        Close some of those that are not in use.
        """
        unused, self._idle = self._idle[:count], self._idle[count:]
        for pipe in unused:
            self._close(pipe)
        if not self._idle and self._sweep is not None:
            self._sweep.remove(self)

    def _close(self, pipe: Pipe) -> None:
        self._capacity -= pipe.size
        for descriptor in (pipe.source, pipe.sink):
            with suppress(OSError):
                os.close(descriptor)

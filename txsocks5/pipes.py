"""
Pipes for moving octets from socket to socket within the kernel.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

__all__ = ["Pipe", "PipePool"]

_LARGE = 256 * 1024
"""
What one move can take.  Smaller pipes move less than the sockets could, larger ones are not faster.
"""

_MAX_LARGE = 256
_MAX_IDLE = 16

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


class PipePool:
    """
    Lends pipes to whoever has octets to hold, and keeps a few empty ones for the next.

    Of those in use 256 at the most are large, so that peers which do not read tie up 64 MiB, and
    little more with the small ones behind those.

    @ivar inUse: how many are lent.
    """

    def __init__(self) -> None:
        self.inUse = 0
        self._idle: list[Pipe] = []
        self._kept = _MAX_IDLE
        # The system may refuse large pipes, to a user who has many already.
        self._large = _SET_SIZE is not None

    def take(self) -> Pipe | None:
        """
        Borrow an empty pipe.

        @return: L{None} if the process has no file descriptor left for one.
        """
        if self._idle:
            self.inUse += 1
            return self._idle.pop()
        try:
            source, sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if self._large and self.inUse < _MAX_LARGE:
            self._enlarge(sink)
        size = 64 * 1024 if _GET_SIZE is None else fcntl.fcntl(sink, _GET_SIZE)
        self.inUse += 1
        return Pipe(source, sink, size)

    def _enlarge(self, sink: int) -> None:
        """
        Make a pipe large, and do not try that again if the system refuses.
        """
        assert _SET_SIZE is not None
        try:
            fcntl.fcntl(sink, _SET_SIZE, _LARGE)
        except OSError:
            self._large = False

    def give(self, pipe: Pipe) -> None:
        """
        Bring back a pipe that is empty again.
        """
        if len(self._idle) < self._kept:
            self.inUse -= 1
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
        idle, self._idle = self._idle, []
        for pipe in idle:
            self._close(pipe)

    @staticmethod
    def _close(pipe: Pipe) -> None:
        for descriptor in (pipe.source, pipe.sink):
            with suppress(OSError):
                os.close(descriptor)

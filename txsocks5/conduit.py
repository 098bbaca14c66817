"""
Text that goes from one process to another without either waiting.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IWriteDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Conduit", "Lines"]

_MAX_WAITING = 1024 * 1024
"""
Octets that wait for the reader.
"""

_MAX_LINE = 16 * 1024
"""
Octets of a line; one that is longer becomes several.
"""


@implementer(IWriteDescriptor)
class Conduit:
    """
    The writer's end of a pipe.  It never blocks: what the reader does not take waits, up to a
    mebioctet.
    """

    def __init__(self, reactor: IReactorFDSet, descriptor: int) -> None:
        """
        @param descriptor: the pipe.  It belongs to this object.
        """
        self._reactor = reactor
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._watching = False
        self._broken = False
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """
        The pipe.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        For the log.
        """
        return "SOCKS5 worker"

    def write(self, text: str) -> None:
        """
        Write something, as a whole or not at all.

        @raise OSError: too much waits, or nobody reads.
        """
        data = text.encode("utf-8", "backslashreplace")
        if self._broken:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if len(self._waiting) + len(data) > _MAX_WAITING:
            raise BlockingIOError(errno.EAGAIN, "the supervisor does not read it")
        self._waiting += data
        if not self._watching:
            self.doWrite()

    def flush(self) -> None:
        """
        Nothing more can be done.
        """

    def doWrite(self) -> Any:
        """
        Write what waits, as far as there is room.
        """
        self._send()
        self._watch(bool(self._waiting))
        return CONNECTION_LOST if self._broken else None

    def _send(self) -> None:
        """
        Write as much as the pipe takes.
        """
        try:
            del self._waiting[: os.write(self._descriptor, self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            # Nobody reads any more.
            self._broken = True
            self._waiting.clear()

    def _watch(self, wanted: bool) -> None:
        """
        Have the reactor tell when there is room, or not.
        """
        if wanted != self._watching:
            self._watching = wanted
            if wanted:
                self._reactor.addWriter(self)
            else:
                self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has found that nobody reads any more.
        """
        self._broken = True
        self._waiting.clear()
        self._watch(False)

    def finish(self, seconds: float) -> None:
        """
        Write what waits and close the pipe, when there is no reactor any more.

        @param seconds: how long to wait for the reader at the most.
        """
        self._watch(False)
        end = time.monotonic() + seconds
        while self._waiting and time.monotonic() < end:
            select.select([], [self._descriptor], [], max(end - time.monotonic(), 0))
            self._send()
        os.close(self._descriptor)


class Lines:
    """
    The reader's end: from octets to lines.
    """

    def __init__(self) -> None:
        self._rest = b""

    def received(self, data: bytes) -> Iterator[str]:
        """
        Octets have come.

        @return: the lines that they complete, without their ends.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > _MAX_LINE:
            lines.append(rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest = rest
        return map(_readable, lines)

    def ended(self) -> Iterator[str]:
        """
        No more will come.

        @return: what was no whole line, if there was anything.
        """
        return self.received(b"\n") if self._rest else iter(())


def _readable(line: bytes) -> str:
    """
    Make a line fit for a log, as nobody knows who has written it.
    """
    text = line.decode("utf-8", "backslashreplace").replace("\t", "    ")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")

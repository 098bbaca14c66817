"""
The access log: a line of JSON for each session.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.logfile import LogFile
from zope.interface import implementer

from . import events
from .errors import reasonOf
from .events import escaped
from .interfaces import IJournal, Record

__all__ = ["AccessLog", "LineFile", "logFile"]

_MAX_WAITING = 1024
"""
Lines that wait to be written.  So many are written at once, and at the latest after a second.
"""

_PERIOD = 1.0

_MAX_FILE = 64 * 1024 * 1024
_MAX_FILES = 16


class _WholeLines(LogFile):
    """
    A file that ends with a whole line, whatever happens.
    """

    def write(self, data: str) -> None:
        """
        Write all, or nothing.

        @raise OSError: it cannot be done.
        """
        if self.shouldRotate():  # type: ignore[no-untyped-call]
            self.rotate()
        left = data.encode("utf-8")
        begin = self._file.tell()
        try:
            # A disk that has become full takes a part.
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(begin)
            self._file.seek(begin)
            raise
        self.size += len(data)

    def rotate(self) -> None:
        """
        Begin a new file; also if somebody else has moved the old one.
        """
        if os.path.exists(self.path):
            super().rotate()  # type: ignore[no-untyped-call]
        else:
            self.reopen()  # type: ignore[no-untyped-call]


def logFile(path: str) -> LogFile:
    """
    Open a file that is followed by a new one when it has become 64 MiB long; 16 old ones are kept.
    Only its owner may read it, as it tells who has been where.

    @raise OSError: it cannot be written.
    """
    folder, name = os.path.split(os.path.abspath(path))
    return _WholeLines(  # type: ignore[no-untyped-call]
        name, folder, rotateLength=_MAX_FILE, maxRotatedFiles=_MAX_FILES, defaultMode=0o600
    )


class LineFile(TypingProtocol):
    """
    Where the lines go; a C{LogFile} of Twisted, say.
    """

    def write(self, data: str) -> object:
        """
        Write.

        @raise OSError: it cannot be done.
        """

    def flush(self) -> object:
        """
        See that it is in the file.

        @raise OSError: it cannot be done.
        """


@implementer(IJournal)
class AccessLog:
    """
    Writes down each session when it is over, with one system call for many of them.

    Lines that cannot be written, since the disk is full, say, are lost; how many is told in the
    log, once as it begins and once when writing works again.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, open: Callable[[], LineFile], worker: int | None = None
    ) -> None:
        """
        @param clock: its seconds are those since 1970.

        @param open: opens the file.

        @param worker: a number that stands in each line; L{None} where there is one process only.
        """
        self._worker = {} if worker is None else {"worker": worker}
        self._clock = clock
        self._open = open
        self._file: LineFile | None = None
        self._lines: list[str] = []
        self._next: IDelayedCall | None = None
        self._lost = 0
        self._second = 0
        self._stamp = ""

    def start(self) -> None:
        """
        Open the file.

        @raise OSError: it cannot be opened.
        """
        self._file = self._open()

    def rotate(self) -> None:
        """
        Begin a new file, if this is one that can; otherwise nothing happens.
        """
        self.flush()
        with suppress(AttributeError, OSError):
            rotating: Any = self._file
            rotating.rotate()

    def stop(self) -> None:
        """
        Write what waits, and no more after that.
        """
        self.flush()
        file, self._file = self._file, None
        if isinstance(file, LogFile):
            file.close()

    def opened(self, record: Record) -> None:
        """
        Nothing to write yet.
        """

    authenticated = granted = opened

    def closed(self, record: Record) -> None:
        """
        Write down all of it.
        """
        self.add(_ENCODE(self._fields(record)))

    def add(self, line: str) -> None:
        """
        Write a line that somebody else has made.
        """
        self._lines.append(line)
        if len(self._lines) >= _MAX_WAITING:
            self.flush()
        elif self._next is None:
            self._next = self._clock.callLater(_PERIOD, self.flush)

    def _fields(self, record: Record) -> dict[str, Any]:
        """
        What a line holds.
        """
        ended = record.opened + record.duration
        return {
            "time": self._time(ended),
            **self._worker,
            "session": record.session,
            "client": "unix" if record.client is None else str(record.client),
            "user": escaped(record.user),
            "method": record.method,
            "command": record.command,
            "destination": ("" if record.destination is None else escaped(str(record.destination))),
            "reached": "" if record.reached is None else str(record.reached),
            "reply": record.reply,
            "reason": escaped(record.reason),
            "seconds": round(record.duration, 6),
            "fromClient": record.fromClient,
            "toClient": record.toClient,
            "dropped": record.dropped,
            "ended": escaped(record.ended),
        }

    def _time(self, seconds: float) -> str:
        """
        A moment in UTC, as ISO 8601 has it, to the millisecond.
        """
        whole = int(seconds)
        if whole != self._second:
            self._second = whole
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        return f"{self._stamp}.{int(seconds * 1000) % 1000:03d}Z"

    def flush(self) -> None:
        """
        Write what waits.
        """
        if self._next is not None:
            if self._next.active():
                self._next.cancel()
            self._next = None
        lines, self._lines = self._lines, []
        if not lines or self._file is None:
            return
        try:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            if not self._lost:
                events.accessLogLost.emit(self._log, reason=reasonOf(error))
            self._lost += len(lines)
        else:
            if self._lost:
                events.accessLogAgain.emit(self._log, lines=self._lost)
                self._lost = 0


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

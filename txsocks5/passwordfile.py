"""
Files of users with the hashes of their passwords, as C{htpasswd} writes them: C{name:hash}, one a
line.

Where Apache's own reading leaves no doubt it is followed: the first entry of a name counts, a
field behind the hash is ignored, lines that are blank or begin with C{#} say nothing.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping

import attrs

from .events import escaped
from .hashes import costOf, isCut, kindOf

__all__ = [
    "MAX_NAME",
    "MAX_SIZE",
    "PasswordFile",
    "Snapshot",
    "Unsettled",
    "nameOf",
    "snapshot",
]

MAX_SIZE = 16 * 1024 * 1024
"""
How many octets a file may have.
"""

MAX_NAME = 255
"""
How many octets of a user name fit into the message of RFC 1929.
"""

_BOM = b"\xef\xbb\xbf"

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


class Unsettled(OSError):
    """
    A file is being written.
    """


@attrs.frozen
class Snapshot:
    """
    What a file was at one moment.

    @ivar content: all of it.

    @ivar status: what the system says of it; of the file itself, not of a link to it.
    """

    content: bytes = attrs.field(repr=False)
    status: os.stat_result


def snapshot(path: str) -> Snapshot:
    """
    Read a file.  Nothing blocks here, whatever stands at C{path}.

    @raise OSError: it cannot be opened or read.

    @raise Unsettled: it has changed meanwhile.

    @raise ValueError: it is no regular file, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_SIZE + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(content) > MAX_SIZE:
        raise ValueError(f"{path} has more than {MAX_SIZE} octets")
    if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        raise Unsettled(f"{path} is being written")
    return Snapshot(content, status)


def nameOf(line: bytes) -> bytes | None:
    """
    Whose entry is a line?

    @param line: with or without its end.

    @return: the name; L{None} if the line is no entry.  The byte order mark that some editors put
        before the first line belongs to no name, wherever it comes to stand.
    """
    line = line.removeprefix(_BOM)
    if line.lstrip().startswith(b"#"):
        return None
    name, colon, _ = line.partition(b":")
    return name if colon else None


@attrs.frozen
class PasswordFile:
    """
    What a file says.

    @ivar hashes: the hash of each user, by the octets of the name; empty for one who is known
        and cannot log in.

    @ivar warnings: what is doubtful about it, a sentence each.

    @ivar decoy: the hash of some user, as much work as that of most; L{None} where nobody can
        log in.  Whoever compares the password of an unknown user with it takes the time that it
        takes for a known one (R-1929-06).

    @ivar unfinished: whether it may end in the midst of an entry, as a file does that is being
        written.

    @ivar unreadable: which lines cannot be part of such a file, a sentence each: whatever this is,
        it is damaged, not all there, or another file.
    """

    hashes: Mapping[bytes, bytes] = attrs.field(repr=False)
    warnings: tuple[str, ...] = ()
    decoy: bytes | None = attrs.field(default=None, repr=False)
    unfinished: bool = False
    unreadable: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: str, snapshot: Snapshot) -> PasswordFile:
        """
        Read what has been read.

        @param path: for the warnings.

        @raise ValueError: others than the owner could write to it, and thereby let in whom they
            want.
        """
        mode = stat.S_IMODE(snapshot.status.st_mode)
        if mode & _OTHERS_WRITE:
            raise ValueError(
                f"others than its owner can write to {path} (mode {mode:04o}): chmod go-w"
            )
        reading = _Reading(path)
        if mode & _OTHERS_READ:
            reading.warnings.append(
                f"{path}: others than its owner can read it (mode {mode:04o}): chmod go-r"
            )
        *lines, last = snapshot.content.split(b"\n")
        for line in lines:
            reading.take(line.removesuffix(b"\r"))
        reading.take(last, isWhole=False)
        return cls(
            reading.hashes,
            tuple(reading.warnings),
            reading.decoy(),
            unfinished=reading.wrong,
            unreadable=tuple(reading.unreadable),
        )


class _Reading:
    """
    A file while it is read.

    @ivar wrong: whether the line that was taken last is one that says nothing.
    """

    def __init__(self, path: str) -> None:
        self.hashes: dict[bytes, bytes] = {}
        self.warnings: list[str] = []
        self.unreadable: list[str] = []
        self.wrong = False
        self._path = path
        self._number = 0
        self._lines: dict[bytes, int] = {}

    def take(self, line: bytes, *, isWhole: bool = True) -> None:
        """
        Take the next line, without its end.

        @param isWhole: whether it has one.
        """
        self._number += 1
        self.wrong = False
        problem = _damage(line, isWhole)
        if problem:
            self.wrong = True
            self.unreadable.append(f"{self._path}: line {self._number}: {problem}")
        for problem in self._problems(line):
            self.wrong = True
            self.warnings.append(f"{self._path}: line {self._number}: {problem}")

    def _problems(self, line: bytes) -> Iterator[str]:
        """
        Take a line.

        @return: what is wrong with it.
        """
        name = nameOf(line)
        if name is None or b"\0" in line:
            return
        shown = "'" + escaped(name.decode("utf-8", "surrogateescape")) + "'"
        if not name or len(name) > MAX_NAME:
            yield f"no client could give this name ({shown}), so the entry is ignored"
        elif name in self._lines:
            yield f"{shown} has an entry in line {self._lines[name]} already, and that one counts"
        else:
            self._lines[name] = self._number
            found = line.split(b":", 2)[1].strip()
            known = kindOf(found) is not None
            self.hashes[name] = found if known else b""
            if not known:
                yield f"{shown} cannot log in: not a hash of a kind that can be verified here"

    def decoy(self) -> bytes | None:
        """
        A hash that takes the time that most of them take.
        """
        usable = [found for found in self.hashes.values() if found]
        if not usable:
            return None
        ((usual, _),) = Counter(map(costOf, usable)).most_common(1)
        return next(found for found in usable if costOf(found) == usual)


def _damage(line: bytes, isWhole: bool) -> str:
    """
    What makes it impossible that a line is what somebody has meant to write; empty if nothing does.
    The line is not told, since it may be a password.

    @param isWhole: whether it has an end.
    """
    if b"\0" in line:
        return "it has a NUL, so this is no entry"
    if nameOf(line) is None:
        text = line.removeprefix(_BOM).strip()
        return "no colon, so this is no entry" if text and not text.startswith(b"#") else ""
    if not isWhole and isCut(line.split(b":", 2)[1].strip()):
        return "the file ends in the midst of an entry"
    return ""

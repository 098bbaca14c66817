"""
C{txsocks5 passwd}: give a user of a password file a password, or take the user out of it.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

from twisted.python import usage

from .hashes import hashOf
from .passwordfile import MAX_NAME, MAX_SIZE, Snapshot, nameOf, snapshot

__all__ = ["Options", "edit", "withEntry", "withoutEntry"]

_MAX_PASSWORD = 255
_PATIENCE = 10.0
_PAUSE = 0.05


class Options(usage.Options):
    """
    What stands behind C{txsocks5 passwd}.
    """

    synopsis = "[--delete] FILE USER"
    longdesc = (
        "Gives USER a password in FILE, which is made if there is none; 'htpasswd:FILE' is then "
        "what --auth takes.  The password is asked for twice, or read from one line of standard "
        "input if that is no terminal.  It is kept as an Argon2 hash.  The file is written whole "
        "or not at all, with mode 0600; the entries of others stay as they are."
    )

    optFlags: ClassVar = [["delete", None, "Take USER out of FILE."]]

    def parseArgs(self, file: str, user: str) -> None:  # type: ignore[override]
        """
        Take the file and the user.

        @raise UsageError: nobody can have this name.
        """
        self["file"] = file
        self["user"] = os.fsencode(user)
        _judgeName(self["user"])

    def run(self) -> None:
        """
        Do it.

        @raise OSError: the file cannot be read or written; it is as it was.

        @raise ValueError: it is no file, there is no such user in it, or the password will not do.
        """
        user: bytes = self["user"]
        if self["delete"]:
            edit(self["file"], lambda content: withoutEntry(content, user))
            return
        entry = user + b":" + hashOf(_judgePassword(_askForPassword()))
        edit(self["file"], lambda content: withEntry(content, entry))


def _judgeName(name: bytes) -> None:
    """
    @raise UsageError: this cannot be the name of a user.
    """
    problem = None
    if not name:
        problem = "it is empty"
    elif len(name) > MAX_NAME:
        problem = f"it has more than {MAX_NAME} octets"
    elif b":" in name:
        problem = "it has a colon"
    elif any(octet < 0x20 or octet == 0x7F for octet in name):
        problem = "it has a control character"
    elif nameOf(name + b":") != name:
        problem = "it begins with '#', as comments do, or with a byte order mark"
    if problem:
        raise usage.UsageError(f"nobody can have this user name: {problem}")


def _judgePassword(password: bytes) -> bytes:
    """
    @raise ValueError: no client could send this, or should.
    """
    if not password:
        raise ValueError("the password is empty")
    if len(password) > _MAX_PASSWORD:
        raise ValueError(f"the password has more than {_MAX_PASSWORD} octets")
    return password


def _askForPassword() -> bytes:
    """
    Get the new password.

    @raise ValueError: it was not given, or not twice the same.
    """
    if not sys.stdin.isatty():
        line = sys.stdin.buffer.readline(_MAX_PASSWORD + 3)
        return line.removesuffix(b"\n").removesuffix(b"\r")
    try:
        first = getpass.getpass("New password: ")
        second = getpass.getpass("The same again: ")
    except EOFError:
        raise ValueError("no password was given") from None
    if first != second:
        raise ValueError("the second was not like the first")
    return first.encode("utf-8", "surrogateescape")


def withEntry(content: bytes, entry: bytes) -> bytes:
    """
    Put an entry into the content of a file: in the place of the one that the user has, or at the
    end.  Everything that belongs to others stays as it is.

    @param entry: a line without its end.
    """
    name = nameOf(entry)
    kept: list[bytes] = []
    place: int | None = None
    ending = b"\n"
    for line in _linesOf(content):
        if nameOf(line) != name:
            kept.append(line)
        elif place is None:
            place = len(kept)
            ending = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    if place is None:
        place = len(kept)
        if kept and not kept[-1].endswith(b"\n"):
            kept[-1] += b"\n"
    return b"".join([*kept[:place], entry + ending, *kept[place:]])


def withoutEntry(content: bytes, name: bytes) -> bytes:
    """
    Take all entries of a user out of the content of a file.

    @raise ValueError: there is none.
    """
    kept = [line for line in _linesOf(content) if nameOf(line) != name]
    shortened = b"".join(kept)
    if len(shortened) == len(content):
        raise ValueError("there is no such user in it")
    return shortened


def _linesOf(content: bytes) -> Iterator[bytes]:
    """
    The lines, each with its end.
    """
    # Not splitlines(): it would also split at a single CR.
    *whole, rest = content.split(b"\n")
    yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def edit(path: str, change: Callable[[bytes], bytes]) -> None:
    """
    Change a file as a whole or not at all, for nobody but its owner to read.  It stays the file
    of its owner if that is permitted.  Others that do the same wait; if somebody else changes
    it meanwhile, nothing is lost.

    @param path: the file, or a link to it.

    @param change: makes the new content out of the present one; of nothing if there is no file
        yet.

    @raise OSError: the file cannot be read or written, or is being changed all the time.

    @raise ValueError: it is no file, or too large, or what C{change} raises.
    """
    path = os.path.realpath(path)
    deadline = time.monotonic() + _PATIENCE
    with _alone(os.path.dirname(path), deadline):
        while True:
            before = _present(path)
            content = change(before.content if before else b"")
            if len(content) > MAX_SIZE:
                raise ValueError(f"{path} would have more than {MAX_SIZE} octets")
            if _replace(path, before, content):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"somebody else changes {path} all the time")


def _present(path: str) -> Snapshot | None:
    """
    What there is before.
    """
    try:
        return snapshot(path)
    except FileNotFoundError:
        return None


@contextmanager
def _alone(folder: str, deadline: float) -> Iterator[None]:
    """
    Keep others who call this from doing anything in the same folder.

    @param folder: the folder is locked itself: a file to be locked would be left lying about.

    @raise TimeoutError: somebody else has not finished in time.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"somebody else keeps {folder} locked") from None
                time.sleep(_PAUSE)
            except OSError:
                # Some file systems do not lock folders.  That nothing is lost is then up to the
                # comparison before the file is replaced.
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _replace(path: str, before: Snapshot | None, content: bytes) -> bool:
    """
    Write a new file and put it into the place of the old one.

    @param before: the old one.

    @return: whether that was done; not if the old one is another one by now.
    """
    descriptor, new = tempfile.mkstemp(prefix=".txsocks5.", dir=os.path.dirname(path))
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
            if before is not None:
                with suppress(PermissionError):
                    os.fchown(descriptor, before.status.st_uid, before.status.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        now = _present(path)
        if (now and now.content) != (before and before.content):
            return False
        os.rename(new, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)
    _settle(os.path.dirname(path))
    return True


def _settle(folder: str) -> None:
    """
    Let what was renamed survive a loss of power.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

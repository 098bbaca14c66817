"""
C{--auth htpasswd:FILE}: users and the hashes of their passwords, in a file.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from threading import Lock

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import InvalidAuthArgumentString
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from . import events
from .errors import reasonOf
from .hashes import verify
from .interfaces import IBlockingChecker, IRecallingChecker, IUserList
from .passwordfile import PasswordFile, Unsettled, snapshot

__all__ = ["HtpasswdChecker", "Successes", "checkerOf"]

_LIFETIME = 60.0
_MAX_SUCCESSES = 4096
_LOOK_EVERY = 1.0
_FRESH = 2.0
_MAX_WARNINGS = 20

_Signature = tuple[int, int, int, int, int]


class Successes:
    """
    Remembers for a minute which passwords were right, so that a client with many connections does
    not cost a slow hash for each.  It does not hold the passwords, but what comes of them with a
    key that only this object has.

    It can be used in any thread.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """
        @param clock: tells the time in seconds, and never goes back.
        """
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def add(self, username: bytes, password: bytes, found: bytes) -> None:
        """
        Remember.

        @param found: the hash that this is the password of.
        """
        digest = self._digest(username, password)
        with self._lock:
            self._expire()
            self._entries.pop(digest, None)
            self._entries[digest] = (found, self._clock() + _LIFETIME)
            if len(self._entries) > _MAX_SUCCESSES:
                self._entries.popitem(last=False)

    def holds(self, username: bytes, password: bytes, found: bytes) -> bool:
        """
        Was this found to be the password?

        @param found: the hash that the user has now.
        """
        digest = self._digest(username, password)
        with self._lock:
            self._expire()
            remembered, _ = self._entries.get(digest, (None, 0))
        return remembered == found

    def _expire(self) -> None:
        """
        Forget what is too old.
        """
        now = self._clock()
        # All live equally long: the oldest comes first.
        while self._entries and next(iter(self._entries.values()))[1] <= now:
            self._entries.popitem(last=False)

    def _digest(self, username: bytes, password: bytes) -> bytes:
        """
        What is kept in the place of a name and a password.
        """
        length = len(username).to_bytes(8)
        return blake2b(length + username + password, key=self._key).digest()


def _signatureOf(status: os.stat_result) -> _Signature:
    """
    What is another one when a file has changed.
    """
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@implementer(ICredentialsChecker, IBlockingChecker, IRecallingChecker, IUserList)
class HtpasswdChecker:
    """
    Knows the users of a file; see L{PasswordFile}.

    The file is read again when it has changed: before each check in a thread, and at most a second
    later for who is remembered (L{Successes}).  One that cannot be read, or that is being
    written, changes nothing, but for a line in the log: whoever was let in before still is.

    An unknown user costs the same as a known one (R-1929-06).
    """

    credentialInterfaces = (IUsernamePassword,)

    _log = Logger()

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        telling: bool = True,
    ) -> None:
        """
        Read the file.

        @param clock: tells the time in seconds, and never goes back.

        @param now: tells the time as the file system does.

        @param telling: whether to log now what is doubtful about the file, and not only when it
            has changed: somebody else may do so, by means of L{warnings}.

        @raise OSError: it cannot be read.

        @raise ValueError: it is none that could be used.
        """
        self._path = os.path.abspath(path)
        self._clock = clock
        self._now = now
        self._lock = Lock()
        self._successes = Successes(clock)
        self._problem: str | None = None
        # Whether it may be another time although the file does not change.
        self._again = False
        # When to look whether the file has changed.
        self._due = 0.0
        self._seen: _Signature | None = None
        self._file = PasswordFile({})
        self._take(telling)

    def __repr__(self) -> str:
        return f"<HtpasswdChecker {self._path!r}>"

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Check a password; this blocks.

        @param credentials: the name and the password, as octets.

        @return: a Deferred that has fired with the name, or failed with L{UnauthorizedLogin}.

        @raise ValueError: the hash cannot be computed now.
        """
        self.refresh()
        file = self._file
        username, password = credentials.username, credentials.password
        found = file.hashes.get(username)
        if not found:
            if file.decoy is not None:
                verify(password, file.decoy)
            return fail(UnauthorizedLogin())
        if not verify(password, found):
            return fail(UnauthorizedLogin())
        self._successes.add(username, password, found)
        return succeed(username)

    def recall(self, credentials: IUsernamePassword) -> bytes | None:
        """
        Has this password been right in the last minute, and has the user's entry not changed
        since?  See L{IRecallingChecker.recall}.
        """
        if not self._isCurrent():
            return None
        username: bytes = credentials.username
        found = self._file.hashes.get(username)
        if not found or not self._successes.holds(username, credentials.password, found):
            return None
        return username

    def knows(self, name: str) -> bool:
        """
        Does the file have an entry of this name?  See L{IUserList.knows}.
        """
        return name.encode("utf-8", "surrogateescape") in self._file.hashes

    def names(self) -> Iterable[str]:
        """
        All names; see L{IUserList.names}.
        """
        return [name.decode("utf-8", "surrogateescape") for name in self._file.hashes]

    def warnings(self) -> Sequence[str]:
        """
        What is doubtful about the file; see L{IUserList.warnings}.
        """
        return self._file.warnings

    def refresh(self) -> None:
        """
        Read the file again if it has changed; see L{IUserList.refresh}.
        """
        with self._lock:
            signature = self._signature()
            if signature == self._seen and not (self._again and self._clock() >= self._due):
                return
            try:
                self._take()
            except (OSError, ValueError) as error:
                self._keep(error, signature)

    def _signature(self) -> _Signature | None:
        """
        The signature of what is there now; L{None} if nothing is to be seen.
        """
        try:
            return _signatureOf(os.stat(self._path))
        except OSError:
            return None

    def _isCurrent(self) -> bool:
        """
        Whether the file was as it is known to be within the last second.  This does not read it.
        """
        now = self._clock()
        if now >= self._due:
            if self._again or self._signature() != self._seen:
                return False
            self._due = now + _LOOK_EVERY
        return True

    def _take(self, telling: bool = True) -> None:
        """
        Read the file and believe it.

        @param telling: whether to log what is doubtful about it.

        @raise OSError: it cannot be read, or is being written.

        @raise ValueError: it is none that could be used, or is being written.
        """
        taken = snapshot(self._path)
        file = PasswordFile.of(self._path, taken)
        if file.unreadable:
            more = len(file.unreadable) - 1
            raise ValueError(file.unreadable[0] + (f" (and {more} more like this)" if more else ""))
        signature = _signatureOf(taken.status)
        if self._file.hashes:
            self._judgeChange(file, signature)
        self._file = file
        self._seen = signature
        self._due = self._clock() + _LOOK_EVERY
        self._again = False
        self._problem = None
        events.passwordsRead.emit(self._log, path=self._path, users=len(file.hashes))
        if telling:
            self._tell(file.warnings)

    def _tell(self, warnings: Sequence[str]) -> None:
        """
        Log what is doubtful about the file.
        """
        for warning in warnings[:_MAX_WARNINGS]:
            events.passwordsDoubtful.emit(self._log, doubt=warning)
        if len(warnings) > _MAX_WARNINGS:
            more = f"{self._path}: {len(warnings) - _MAX_WARNINGS} more like these"
            events.passwordsDoubtful.emit(self._log, doubt=more)

    def _judgeChange(self, file: PasswordFile, signature: _Signature) -> None:
        """
        Find out whether somebody has not finished writing the file.

        @raise ValueError: so it seems, and whoever writes it will change it again.

        @raise Unsettled: so it seems, and it may also be meant.
        """
        if file.unfinished:
            raise ValueError(f"{self._path} ends in the midst of an entry")
        isSame = self._seen is not None and signature[:2] == self._seen[:2]
        age = self._now() - signature[3] / 1e9
        # Whoever writes into the file itself begins by emptying it.
        if not file.hashes and isSame and 0 <= age < _FRESH:
            raise Unsettled(f"{self._path} has just been emptied")

    def _keep(self, error: Exception, signature: _Signature | None) -> None:
        """
        Go on with what was known before.

        @param error: why.

        @param signature: what the file was before it was tried.
        """
        # What is wrong with the content of a file stays wrong until it changes.
        self._again = isinstance(error, OSError)
        self._seen = signature
        self._due = self._clock() + _LOOK_EVERY
        problem = reasonOf(error)
        if problem != self._problem:
            self._problem = problem
            events.passwordsKept.emit(self._log, path=self._path, reason=problem)


def checkerOf(argument: str) -> HtpasswdChecker:
    """
    What C{--auth htpasswd:FILE} stands for.  What is doubtful about the file is told by whoever
    reads the configuration.

    @param argument: the file.

    @raise InvalidAuthArgumentString: none is given.

    @raise OSError: it cannot be read.

    @raise ValueError: it is none that could be used.
    """
    if not argument:
        raise InvalidAuthArgumentString("say which file: htpasswd:FILE")
    return HtpasswdChecker(argument, telling=False)

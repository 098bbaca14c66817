"""
Tests for L{txsocks5.htpasswd}.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import InvalidAuthArgumentString, makeChecker
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import hashes, htpasswd, passwordfile
from txsocks5.auth import PasswordAuthenticator, UsernamePassword
from txsocks5.htpasswd import HtpasswdChecker, Successes, checkerOf
from txsocks5.interfaces import Accepted, IBlockingChecker, IRecallingChecker, IUserList, Step
from txsocks5.passwd import edit, withEntry
from txsocks5.testing import MemoryReactor
from txsocks5.wire import Credentials

#: Hashes of C{secret} and of C{other} that take little time.
SECRET = b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
OTHER = b"$apr1$saltsalt$oMNfpl1VcEny2lckzXHCp1"


class Time:
    """
    A clock that the test moves.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """
        Tell the time.
        """
        return self.now


class SuccessesTests(SynchronousTestCase):
    """
    Tests for L{Successes}.
    """

    def setUp(self) -> None:
        """
        Remember one.
        """
        self.time = Time()
        self.successes = Successes(self.time)
        self.successes.add(b"alice", b"secret", SECRET)

    def test_holds(self) -> None:
        """
        What was right is known; nothing else is, be it the same octets split elsewhere.
        """
        self.assertTrue(self.successes.holds(b"alice", b"secret", SECRET))
        for username, password in (
            (b"alice", b"Secret"),
            (b"alices", b"ecret"),
            (b"alic", b"esecret"),
            (b"bob", b"secret"),
            (b"", b"alicesecret"),
        ):
            self.assertFalse(self.successes.holds(username, password, SECRET))

    def test_otherHash(self) -> None:
        """
        When the user has another hash, nothing is known of it.
        """
        self.assertFalse(self.successes.holds(b"alice", b"secret", OTHER))

    def test_expires(self) -> None:
        """
        After a minute it is forgotten, however often it was asked for; what came later is not.
        """
        self.time.now += 59.9
        self.assertTrue(self.successes.holds(b"alice", b"secret", SECRET))
        self.successes.add(b"bob", b"secret", SECRET)
        self.time.now += 0.1
        self.assertFalse(self.successes.holds(b"alice", b"secret", SECRET))
        self.assertEqual(len(self.successes._entries), 1)
        self.assertTrue(self.successes.holds(b"bob", b"secret", SECRET))

    def test_again(self) -> None:
        """
        Found right again, it is known for another minute.
        """
        self.time.now += 30
        self.successes.add(b"alice", b"secret", SECRET)
        self.time.now += 59
        self.assertTrue(self.successes.holds(b"alice", b"secret", SECRET))

    def test_bounded(self) -> None:
        """
        Only so many are remembered; the oldest goes first.
        """
        for number in range(5000):
            self.successes.add(b"%d" % number, b"secret", SECRET)
        self.assertEqual(len(self.successes._entries), 4096)
        self.assertFalse(self.successes.holds(b"903", b"secret", SECRET))
        self.assertTrue(self.successes.holds(b"904", b"secret", SECRET))

    def test_noPasswords(self) -> None:
        """
        S-21: what is kept is not the password, and says nothing without the key, which is another
        each time.
        """
        (kept,) = self.successes._entries
        self.assertEqual(len(kept), 64)
        other = Successes(self.time)
        other.add(b"alice", b"secret", SECRET)
        self.assertNotIn(kept, other._entries)


class CheckerTestCase(SynchronousTestCase):
    """
    A checker and its file.
    """

    def setUp(self) -> None:
        """
        Write a file, and keep what is logged.
        """
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.time = Time()
        self.path = os.path.abspath(self.mktemp())
        self.write(b"alice:" + SECRET + b"\nbob:" + OTHER + b"\n")
        self.verified: list[bytes] = []
        self.patch(htpasswd, "verify", self.verify)

    def verify(self, password: bytes, text: bytes) -> bool:
        """
        Note what is computed.
        """
        self.verified.append(text)
        return hashes.verify(password, text)

    def write(self, content: bytes, *, age: float = 60) -> None:
        """
        Write into the file, a while ago.
        """
        path = Path(self.path)
        path.write_bytes(content)
        path.chmod(0o600)
        os.utime(path, (self.time.now - age, self.time.now - age))

    def checker(self) -> HtpasswdChecker:
        """
        Make one.
        """
        return HtpasswdChecker(self.path, clock=self.time, now=self.time)

    def letsIn(self, checker: HtpasswdChecker, username: bytes, password: bytes) -> bool:
        """
        Ask, in the way that takes its time.
        """
        asked = checker.requestAvatarId(UsernamePassword(username, password))
        if isinstance(asked.result, bytes):
            self.assertEqual(self.successResultOf(asked), username)
            return True
        self.failureResultOf(asked, UnauthorizedLogin)
        return False

    def remembers(self, checker: HtpasswdChecker, username: bytes, password: bytes) -> bool:
        """
        Ask in the way that does not; nothing is computed, and nothing read.
        """
        count = len(self.verified)
        with patch.object(htpasswd, "snapshot", side_effect=AssertionError):
            found = checker.recall(UsernamePassword(username, password))
        self.assertIn(found, (None, username))
        self.assertEqual(len(self.verified), count)
        return found is not None

    def logged(self, name: str) -> list[str]:
        """
        What the events of a name said.
        """
        fields = {"passwordsRead": "users", "passwordsDoubtful": "doubt"}
        return [
            event[fields.get(name, "reason")]
            for event in self.events
            if event.get("socks_event") == name
        ]


class CheckingTests(CheckerTestCase):
    """
    Who is let in.
    """

    def test_interfaces(self) -> None:
        """
        It provides what it says.
        """
        for interface in (ICredentialsChecker, IBlockingChecker, IRecallingChecker, IUserList):
            self.assertTrue(verifyObject(interface, self.checker()))

    def test_passwords(self) -> None:
        """
        Who knows the password is let in, whatever kind of hash there is.
        """
        checker = self.checker()
        self.assertTrue(self.letsIn(checker, b"alice", b"secret"))
        self.assertTrue(self.letsIn(checker, b"bob", b"other"))
        for username, password in (
            (b"alice", b"other"),
            (b"bob", b"secret"),
            (b"alice", b""),
            (b"alice", SECRET),
            (b"Alice", b"secret"),
            (b"", b""),
            (b"", b"secret"),
            (b"alice\0", b"secret"),
            (b"alice:", b"secret"),
        ):
            self.assertFalse(self.letsIn(checker, username, password))

    def test_unusable(self) -> None:
        """
        Who has a password in clear cannot log in, with the password or otherwise.
        """
        self.write(b"alice:secret\nbob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\ncarol:\n")
        checker = self.checker()
        for username in (b"alice", b"bob", b"carol"):
            for password in (b"secret", b""):
                self.assertFalse(self.letsIn(checker, username, password))
        self.assertEqual(self.verified, [])

    def test_emptyPassword(self) -> None:
        """
        R-1929-03: an empty password is right only if the file has the hash of one.
        """
        empty = hashes._libpass.apr_md5_crypt.hash(b"").encode()
        self.write(b"alice:" + empty + b"\n")
        self.assertTrue(self.letsIn(self.checker(), b"alice", b""))
        self.assertFalse(self.letsIn(self.checker(), b"alice", b"x"))

    def test_sameWork(self) -> None:
        """
        R-1929-06: one hash is computed for everybody, of the kind that most users have for those
        who are not known or cannot log in; whatever comes of that.
        """
        self.write(b"alice:" + SECRET + b"\nbob:" + OTHER + b"\ncarol:" + SECRET + b"\ndave:x\n")
        checker = self.checker()
        for username, password, lets in (
            (b"alice", b"secret", True),
            (b"alice", b"guess", False),
            (b"nobody", b"secret", False),
            (b"", b"secret", False),
            (b"dave", b"secret", False),
        ):
            del self.verified[:]
            self.assertEqual(self.letsIn(checker, username, password), lets)
            self.assertEqual(self.verified, [SECRET])

    def test_noMemory(self) -> None:
        """
        What cannot be computed is no wrong password.
        """
        self.write(b"alice:$argon2id$v=19$m=99999999999,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHQ\n")
        self.assertRaises(ValueError, self.letsIn, self.checker(), b"alice", b"secret")

    def test_repr(self) -> None:
        """
        It shows its file and nothing of what is in it.
        """
        self.assertEqual(repr(self.checker()), f"<HtpasswdChecker {self.path!r}>")

    def test_relative(self) -> None:
        """
        It knows its file again when the working directory changes.
        """
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(os.path.dirname(self.path))
        self.path = os.path.basename(self.path)
        checker = self.checker()
        os.chdir("/")
        self.assertTrue(self.letsIn(checker, b"alice", b"secret"))
        self.assertEqual(self.logged("passwordsKept"), [])


class UserListTests(CheckerTestCase):
    """
    Which users there are.
    """

    def test_names(self) -> None:
        """
        All that have an entry are known, be it one of no use.
        """
        self.write(b"alice:" + SECRET + b"\nbob:x\n\xff:x\n" + "åse:x\n".encode())
        checker = self.checker()
        self.assertEqual(list(checker.names()), ["alice", "bob", "\udcff", "åse"])
        for name in checker.names():
            self.assertTrue(checker.knows(name))
        for name in ("", "Alice", "carol", "ÿ"):
            self.assertFalse(checker.knows(name))

    def test_refresh(self) -> None:
        """
        Who is gone is not known any more when the file has been read again, and not before.
        """
        checker = self.checker()
        self.write(b"bob:" + OTHER + b"\n")
        self.assertTrue(checker.knows("alice"))
        checker.refresh()
        self.assertFalse(checker.knows("alice"))
        self.assertTrue(checker.knows("bob"))

    def test_warnings(self) -> None:
        """
        What is doubtful can be asked for, and is in the log.
        """
        self.write(b"alice:x\nbob:\n")
        checker = self.checker()
        warnings = list(checker.warnings())
        self.assertEqual(len(warnings), 2)
        self.assertTrue(warnings[1].startswith(f"{self.path}: line 2: 'bob' cannot log in"))
        self.assertEqual(self.logged("passwordsDoubtful"), warnings)

    def test_warningsOnce(self) -> None:
        """
        That of the command line leaves it to others to tell of it, until the file has changed.
        """
        self.write(b"alice:x\n")
        checker = checkerOf(self.path)
        self.assertEqual(len(checker.warnings()), 1)
        self.assertEqual(self.logged("passwordsDoubtful"), [])
        self.write(b"alice:x\nbob:x\n")
        checker.refresh()
        self.assertEqual(self.logged("passwordsDoubtful"), list(checker.warnings()))

    def test_damaged(self) -> None:
        """
        A file with lines that nobody can have meant is an error that names it and the first of
        them, and not what the line says; later, what was read before holds.
        """
        good = self.checker()
        for content, reason in (
            (b"alice:" + SECRET + b"\nsecret\n", "line 2: no colon, so this is no entry"),
            (b"secret\n\nsecret\n", "line 1: no colon, so this is no entry (and 1 more like this)"),
            (b"alice:" + SECRET[:-1], "line 1: the file ends in the midst of an entry"),
            (bytes(1000), "line 1: it has a NUL, so this is no entry"),
        ):
            self.write(content)
            error = self.assertRaises(ValueError, self.checker)
            self.assertEqual(str(error), f"{self.path}: {reason}")
            good.refresh()
            self.assertTrue(good.knows("bob"))

    def test_manyWarnings(self) -> None:
        """
        The log has not more than the first of them.
        """
        self.write(b"bob:x\n" * 100)
        self.assertEqual(len(self.checker().warnings()), 100)
        logged = self.logged("passwordsDoubtful")
        self.assertEqual(len(logged), 21)
        self.assertEqual(logged[20], f"{self.path}: 80 more like these")


class RecallTests(CheckerTestCase):
    """
    Who is remembered.
    """

    def test_remembered(self) -> None:
        """
        Who was let in is remembered for a minute, with that password; then it is found out again.
        """
        checker = self.checker()
        self.assertFalse(self.remembers(checker, b"alice", b"secret"))
        self.letsIn(checker, b"alice", b"secret")
        self.letsIn(checker, b"bob", b"secret")
        for _ in range(59):
            self.time.now += 1
            self.assertTrue(self.remembers(checker, b"alice", b"secret"))
            self.assertFalse(self.remembers(checker, b"alice", b"other"))
            self.assertFalse(self.remembers(checker, b"bob", b"secret"))
            self.assertFalse(self.remembers(checker, b"bob", b"other"))
            self.assertFalse(self.remembers(checker, b"eve", b"secret"))
        self.time.now += 1
        self.assertFalse(self.remembers(checker, b"alice", b"secret"))
        self.assertTrue(self.letsIn(checker, b"alice", b"secret"))
        self.assertTrue(self.remembers(checker, b"alice", b"secret"))

    def test_looksOnceASecond(self) -> None:
        """
        Whether the file has changed is looked at once a second.
        """
        checker = self.checker()
        self.letsIn(checker, b"alice", b"secret")
        with patch.object(htpasswd.os, "stat", side_effect=os.stat) as stat:
            for _ in range(100):
                self.assertTrue(self.remembers(checker, b"alice", b"secret"))
                self.time.now += 0.1
        self.assertEqual(stat.call_count, 9)

    def test_changed(self) -> None:
        """
        Within a second of a change of the file nobody is remembered until it has been read; then
        those are whose entry is still the same.
        """
        checker = self.checker()
        self.letsIn(checker, b"alice", b"secret")
        self.letsIn(checker, b"bob", b"other")
        self.write(b"bob:" + OTHER + b"\nalice:" + OTHER + b"\n")
        self.time.now += 1
        self.assertFalse(self.remembers(checker, b"bob", b"other"))
        checker.refresh()
        self.assertTrue(self.remembers(checker, b"bob", b"other"))
        self.assertFalse(self.remembers(checker, b"alice", b"secret"))
        self.assertFalse(self.letsIn(checker, b"alice", b"secret"))
        self.assertTrue(self.letsIn(checker, b"alice", b"other"))

    def test_gone(self) -> None:
        """
        Who is not in the file any more is not remembered.
        """
        checker = self.checker()
        self.letsIn(checker, b"alice", b"secret")
        self.write(b"bob:" + OTHER + b"\n")
        checker.refresh()
        self.assertFalse(self.remembers(checker, b"alice", b"secret"))
        self.assertFalse(self.letsIn(checker, b"alice", b"secret"))

    def test_fileIsGone(self) -> None:
        """
        While the file is missing those who are remembered still are, but for one a second, who
        looks for the file.
        """
        checker = self.checker()
        self.letsIn(checker, b"alice", b"secret")
        os.unlink(self.path)
        for _ in range(3):
            self.time.now += 1
            self.assertFalse(self.remembers(checker, b"alice", b"secret"))
            self.assertTrue(self.letsIn(checker, b"alice", b"secret"))
            self.assertTrue(self.remembers(checker, b"alice", b"secret"))
        self.assertEqual(len(self.logged("passwordsKept")), 1)


class ChangeTests(CheckerTestCase):
    """
    What becomes of a change of the file.
    """

    def lets(self, checker: HtpasswdChecker) -> str:
        """
        Whom it lets in, by their first letters.
        """
        users = ((b"alice", b"secret"), (b"bob", b"other"), (b"carol", b"secret"))
        return "".join(chr(name[0]) for name, word in users if self.letsIn(checker, name, word))

    def test_atOnce(self) -> None:
        """
        The next login sees a change; without one, the file is not read.
        """
        checker = self.checker()
        self.assertEqual(self.lets(checker), "ab")
        self.write(b"carol:" + SECRET + b"\nbob:" + OTHER)
        self.assertEqual(self.lets(checker), "bc")
        self.assertEqual(self.lets(checker), "bc")
        self.assertEqual(self.logged("passwordsRead"), [2, 2])

    def test_replaced(self) -> None:
        """
        It notices another file in the same place, even if all that can be seen of it is the same.
        """
        checker = self.checker()
        before = os.stat(self.path)
        edit(self.path, lambda content: content.replace(b"alice", b"carol"))
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertEqual(os.stat(self.path).st_size, before.st_size)
        self.assertEqual(self.lets(checker), "bc")

    def test_link(self) -> None:
        """
        It notices where a link leads to.
        """
        first, self.path = self.path, os.path.abspath(self.mktemp())
        os.symlink(first, self.path)
        checker = self.checker()
        second = os.path.abspath(self.mktemp())
        edit(second, lambda content: withEntry(content, b"carol:" + SECRET))
        os.unlink(self.path)
        os.symlink(second, self.path)
        self.assertEqual(self.lets(checker), "c")

    def kept(self, checker: HtpasswdChecker, reason: str) -> None:
        """
        Nothing has changed, which is said once.
        """
        for _ in range(5):
            self.assertEqual(self.lets(checker), "ab")
            self.time.now += 10
        (said,) = self.logged("passwordsKept")
        self.assertIn(reason, said)

    def comesBack(self, checker: HtpasswdChecker) -> None:
        """
        When the file is good again, that holds; and trouble that comes again is said again.
        """
        self.write(b"carol:" + SECRET + b"\n")
        self.assertEqual(self.lets(checker), "c")
        self.assertEqual(len(self.logged("passwordsKept")), 1)
        os.unlink(self.path)
        self.assertEqual(self.lets(checker), "c")
        self.assertEqual(len(self.logged("passwordsKept")), 2)

    def test_missing(self) -> None:
        """
        A file that is gone changes nothing; one that comes back does.
        """
        checker = self.checker()
        os.unlink(self.path)
        self.kept(checker, "no such file")
        self.comesBack(checker)

    def test_unreadable(self) -> None:
        """
        Nor does one that cannot be read; it is tried again each second, although nothing of it
        changes.
        """
        checker = self.checker()
        self.write(b"carol:" + SECRET + b"\n")
        with patch.object(passwordfile.os, "open", side_effect=PermissionError("no")) as tried:
            self.kept(checker, "no")
            self.assertEqual(tried.call_count, 5)
        self.assertEqual(self.lets(checker), "c")

    def test_writable(self) -> None:
        """
        Nor one that others could have written, or a large one, which is not read again and again.
        """
        checker = self.checker()
        self.write(b"carol:" + SECRET + b"\n")
        os.chmod(self.path, 0o666)
        with patch.object(htpasswd, "snapshot", side_effect=passwordfile.snapshot) as read:
            self.kept(checker, "others than its owner can write")
        self.assertEqual(read.call_count, 1)
        self.comesBack(checker)

    def test_noFile(self) -> None:
        """
        Nor something that is no file.
        """
        checker = self.checker()
        os.unlink(self.path)
        os.mkfifo(self.path)
        self.kept(checker, "no regular file")
        os.unlink(self.path)
        self.comesBack(checker)

    def test_halfWritten(self) -> None:
        """
        A file that ends in the midst of an entry is not believed, however old it is.
        """
        checker = self.checker()
        for half in (OTHER[:-1], b"", b"{SHA}5en6"):
            self.write(b"carol:" + SECRET + b"\nbob:" + half, age=1000)
            self.assertEqual(self.lets(checker), "ab")
            self.assertIn("midst of an entry", self.logged("passwordsKept")[-1])
        self.write(b"carol:" + SECRET + b"\n")
        self.assertEqual(self.lets(checker), "c")

    def test_changesWhileRead(self) -> None:
        """
        A file that changes while it is read is not believed, and read again.
        """
        checker = self.checker()
        self.write(b"carol:" + SECRET + b"\nbob:" + OTHER)
        statuses: list[Any] = []

        def fstat(descriptor: int) -> Any:
            statuses.append(status := original(descriptor))
            if len(statuses) == 1:
                os.utime(self.path, (1, 1))
            return status

        original = os.fstat
        with patch.object(passwordfile.os, "fstat", fstat):
            self.assertTrue(self.letsIn(checker, b"alice", b"secret"))
        self.assertEqual(len(self.logged("passwordsKept")), 1)
        self.assertEqual(self.lets(checker), "bc")

    def test_emptied(self) -> None:
        """
        A file that has just been emptied is about to be written: only when it stays empty, it is
        believed.
        """
        checker = self.checker()
        self.time.now += 100
        self.write(b"", age=0)
        self.assertEqual(self.lets(checker), "ab")
        self.time.now += 1.9
        self.assertEqual(self.lets(checker), "ab")
        self.time.now += 1
        self.assertEqual(self.lets(checker), "")
        self.assertEqual(len(self.logged("passwordsKept")), 1)

    def test_emptiedAndWritten(self) -> None:
        """
        What is written then holds at once.
        """
        checker = self.checker()
        self.time.now += 100
        self.write(b"", age=0)
        self.assertEqual(self.lets(checker), "ab")
        self.write(b"carol:" + SECRET + b"\n", age=0)
        self.assertEqual(self.lets(checker), "c")

    def test_emptyReplacement(self) -> None:
        """
        An empty file that has taken the place of the other was meant.
        """
        checker = self.checker()
        edit(self.path, lambda content: b"")
        os.utime(self.path, (self.time.now, self.time.now))
        self.assertEqual(self.lets(checker), "")

    def test_clockGoesWrong(self) -> None:
        """
        A file of the future is not new for ever.
        """
        checker = self.checker()
        self.write(b"", age=-1000)
        self.assertEqual(self.lets(checker), "")

    def test_startsWrong(self) -> None:
        """
        At the start all of that is an error; but a file without an end of line at its end is one
        that somebody has written so, if it may be whole.
        """
        self.write(b"alice:" + SECRET + b"\nbob:" + OTHER[:-1])
        self.assertRaises(ValueError, self.checker)
        self.write(b"alice:" + SECRET + b"\nbob:{SHA}5en6")
        self.assertEqual(self.lets(self.checker()), "a")
        os.chmod(self.path, 0o660)
        self.assertRaises(ValueError, self.checker)
        os.unlink(self.path)
        self.assertRaises(FileNotFoundError, self.checker)
        os.mkfifo(self.path)
        self.assertRaises(ValueError, self.checker)


class AuthTests(CheckerTestCase):
    """
    Tests for C{--auth htpasswd:FILE}.
    """

    def test_made(self) -> None:
        """
        The plugin makes one.
        """
        checker = makeChecker(f"htpasswd:{self.path}")
        self.assertIsInstance(checker, HtpasswdChecker)
        self.assertTrue(self.letsIn(checker, b"alice", b"secret"))

    def test_colons(self) -> None:
        """
        The name of the file may have colons.
        """
        other = self.path + ":x"
        os.rename(self.path, other)
        self.assertEqual(repr(makeChecker(f"htpasswd:{other}")), f"<HtpasswdChecker {other!r}>")

    def test_noFile(self) -> None:
        """
        It says what is missing.
        """
        for description in ("htpasswd", "htpasswd:"):
            self.assertRaises(InvalidAuthArgumentString, makeChecker, description)
        self.assertRaises(FileNotFoundError, checkerOf, self.mktemp())

    def login(
        self, authenticator: PasswordAuthenticator, username: bytes, password: bytes
    ) -> Deferred[Step]:
        """
        Log in over the protocol.
        """
        step = authenticator.conversation(None).received(Credentials(username, password).octets())
        assert isinstance(step, Deferred)
        return step

    def test_manyConnections(self) -> None:
        """
        A client with many connections costs one hash: those that come while it is computed wait
        for it, those that come later need none, and no thread.
        """
        reactor = MemoryReactor()
        reactor.threads.hold = True
        authenticator = PasswordAuthenticator(reactor, [self.checker()])
        steps = [self.login(authenticator, b"alice", b"secret") for _ in range(200)]
        self.assertEqual(len(reactor.threads.held), 1)
        reactor.threads.release()
        steps += [self.login(authenticator, b"alice", b"secret") for _ in range(200)]
        self.assertEqual(reactor.threads.held, [])
        for step in steps:
            self.assertIsInstance(self.successResultOf(step).outcome, Accepted)
        self.assertEqual(len(self.verified), 1)


class ApacheTests(CheckerTestCase):
    """
    Apache's C{htpasswd} and this understand one another.
    """

    if shutil.which("htpasswd") is None:
        skip = "htpasswd is not installed; tools/install-clients installs it"

    def htpasswd(self, *arguments: str) -> int:
        """
        Run it.

        @return: its exit status.
        """
        return subprocess.run(
            ["htpasswd", *arguments], capture_output=True, timeout=60, check=False
        ).returncode

    def test_theirFiles(self) -> None:
        """
        What it writes is understood, of all the kinds that are not refused.
        """
        self.write(b"")
        for number, option in enumerate(("-B", "-2", "-5", "-m")):
            self.assertEqual(self.htpasswd("-b", option, self.path, f"user{number}", "gehëim"), 0)
        self.htpasswd("-b", "-s", self.path, "sha", "secret")
        self.htpasswd("-b", "-p", self.path, "plain", "secret")
        self.htpasswd("-b", "-d", self.path, "crypt", "secret")
        checker = self.checker()
        for number in range(4):
            self.assertTrue(self.letsIn(checker, b"user%d" % number, "gehëim".encode()))
            self.assertFalse(self.letsIn(checker, b"user%d" % number, b"geheim"))
        for name in ("sha", "plain", "crypt"):
            self.assertTrue(checker.knows(name))
            self.assertFalse(self.letsIn(checker, name.encode(), b"secret"))

    def test_ourFiles(self) -> None:
        """
        What C{txsocks5 passwd} writes with bcrypt is understood by it, and it can change a file of
        ours without harm to the others.
        """
        self.patch(hashes, "_isInstalled", lambda name: name == "bcrypt")
        entry = b"alice:" + hashes.hashOf(b"secret")
        edit(self.path, lambda content: withEntry(b"", entry))
        self.assertEqual(self.htpasswd("-vb", self.path, "alice", "secret"), 0)
        self.assertNotEqual(self.htpasswd("-vb", self.path, "alice", "guess"), 0)
        self.assertEqual(self.htpasswd("-bB", self.path, "bob", "other"), 0)
        checker = self.checker()
        self.assertTrue(self.letsIn(checker, b"alice", b"secret"))
        self.assertTrue(self.letsIn(checker, b"bob", b"other"))

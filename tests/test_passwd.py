"""
Tests for L{txsocks5.passwd}.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import passwd
from txsocks5.hashes import verify
from txsocks5.passwd import Options, edit, withEntry, withoutEntry
from txsocks5.passwordfile import MAX_SIZE, PasswordFile, nameOf, snapshot

from .wire.values import reproducible

BOM = b"\xef\xbb\xbf"

names = st.binary(min_size=1, max_size=4).filter(
    lambda name: b":" not in name and b"\n" not in name and nameOf(name + b":") == name
)
lines = st.one_of(
    st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"") + b"\n"),
    names.map(lambda name: name + b":x\n"),
    names.map(lambda name: BOM + name + b":x\n"),
    st.sampled_from([b"alice:x\n", b"alice:y\r\n", b"# alice:x\n", b"\n"]),
)
contents = st.builds(
    lambda mark, several, end: mark + b"".join(several) + end,
    st.sampled_from([b"", BOM]),
    st.lists(lines, max_size=6),
    st.sampled_from([b"", b"alice:z", b"bob:z", b"# end"]),
)


def others(content: bytes, name: bytes) -> list[bytes]:
    """
    The lines of everybody but one.
    """
    return [line for line in content.split(b"\n") if line and nameOf(line) != name]


class ContentTests(SynchronousTestCase):
    """
    What becomes of the content of a file.
    """

    def test_append(self) -> None:
        """
        A new user comes last; an end of line that is missing is added.
        """
        self.assertEqual(withEntry(b"", b"alice:1"), b"alice:1\n")
        self.assertEqual(withEntry(b"bob:2", b"alice:1"), b"bob:2\nalice:1\n")
        self.assertEqual(withEntry(b"bob:2\r\n", b"alice:1"), b"bob:2\r\nalice:1\n")
        self.assertEqual(withEntry(BOM, b"alice:1"), BOM + b"\nalice:1\n")

    def test_replace(self) -> None:
        """
        A user that is there keeps the place, and the kind of end of line; further entries of the
        same name go.
        """
        self.assertEqual(
            withEntry(b"#\nalice:1\r\nbob:2\nalice:3\n", b"alice:4"), b"#\nalice:4\r\nbob:2\n"
        )
        self.assertEqual(withEntry(BOM + b"alice:1", b"alice:4"), b"alice:4\n")

    def test_delete(self) -> None:
        """
        All entries of the name go, so that no older one comes to count.
        """
        self.assertEqual(withoutEntry(b"alice:1\nbob:2\nalice:3", b"alice"), b"bob:2\n")
        self.assertEqual(withoutEntry(BOM + b"alice:1\nbob:2", b"alice"), b"bob:2")

    def test_marks(self) -> None:
        """
        What becomes the first line does not become another user by that.
        """
        content = b"alice:1\n" + BOM + b"bob:2\n"
        self.assertEqual(nameOf(withoutEntry(content, b"alice")), b"bob")
        self.assertEqual(withoutEntry(content, b"bob"), b"alice:1\n")

    def test_nobody(self) -> None:
        """
        Who is not there cannot be deleted.
        """
        for content in (b"", b"bob:2\n", b"#alice:1\n", b"alicex:1\nalice\n"):
            error = self.assertRaises(ValueError, withoutEntry, content, b"alice")
            self.assertEqual(str(error), "there is no such user in it")

    @reproducible
    @given(contents, names)
    def test_othersStay(self, content: bytes, name: bytes) -> None:
        """
        Whatever is in the file, the lines of others are the same afterwards, in the same order,
        and the user is there exactly once, or not at all.
        """
        changed = withEntry(content, name + b":new")
        self.assertEqual(others(changed, name), others(content, name))
        self.assertEqual(
            [line.removesuffix(b"\r") for line in changed.split(b"\n") if nameOf(line) == name],
            [name + b":new"],
        )
        without = withoutEntry(changed, name)
        self.assertEqual(others(without, name), others(content, name))
        self.assertRaises(ValueError, withoutEntry, without, name)


class EditTests(SynchronousTestCase):
    """
    Tests for L{edit}.
    """

    def setUp(self) -> None:
        """
        Have a folder.
        """
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "users"

    def content(self) -> list[str]:
        """
        What is in the folder.
        """
        return sorted(path.name for path in self.folder.iterdir())

    def test_new(self) -> None:
        """
        A file that is not there is made, for its owner alone, whatever the umask.
        """
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        edit(str(self.path), lambda content: content + b"alice:1\n")
        self.assertEqual(self.path.read_bytes(), b"alice:1\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(self.content(), ["users"])

    def test_relative(self) -> None:
        """
        A name without folder is one in the working directory.
        """
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        edit("users", lambda content: b"alice:1\n")
        os.chdir(before)
        self.assertEqual(self.path.read_bytes(), b"alice:1\n")

    def test_change(self) -> None:
        """
        One that is there is replaced by another, in which only the owner can read.
        """
        self.path.write_bytes(b"alice:1\n")
        self.path.chmod(0o666)
        before = self.path.stat()
        edit(str(self.path), lambda content: content.replace(b"1", b"2"))
        self.assertEqual(self.path.read_bytes(), b"alice:2\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertNotEqual(self.path.stat().st_ino, before.st_ino)

    def test_owner(self) -> None:
        """
        It stays the file of its owner; if that is not permitted, it is written nevertheless.
        """
        self.path.write_bytes(b"")
        given: list[tuple[int, int]] = []

        def chown(descriptor: int, user: int, group: int) -> None:
            given.append((user, group))
            raise PermissionError(errno.EPERM, "no")

        self.patch(os, "fchown", chown)
        edit(str(self.path), lambda content: b"alice:1\n")
        status = self.path.stat()
        self.assertEqual(given, [(status.st_uid, status.st_gid)])
        self.assertEqual(self.path.read_bytes(), b"alice:1\n")

    def test_link(self) -> None:
        """
        Of a link, the file is written that it leads to, and the link remains.
        """
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        self.path.symlink_to("elsewhere/real")
        edit(str(self.path), lambda content: b"alice:1\n")
        self.assertTrue(self.path.is_symlink())
        self.assertEqual((elsewhere / "real").read_bytes(), b"alice:1\n")

    def failing(self, error: type[Exception], change: Any = lambda content: b"alice:2\n") -> str:
        """
        Fail to change the file, which stays as it is; nothing else is left.
        """
        self.path.write_bytes(b"alice:1\n")
        raised = self.assertRaises(error, edit, str(self.path), change)
        self.assertEqual(self.path.read_bytes(), b"alice:1\n")
        self.assertEqual(self.content(), ["users"])
        return str(raised)

    def test_fullDisk(self) -> None:
        """
        Whatever fails before the end, the file is as it was.
        """

        def full(*arguments: object) -> None:
            raise OSError(errno.ENOSPC, "no space left")

        for name in ("fsync", "rename", "fchmod"):
            with patch.object(os, name, full):
                self.failing(OSError)

    def test_refused(self) -> None:
        """
        What the change raises is raised.
        """

        def refuse(content: bytes) -> bytes:
            raise ValueError("no such user")

        self.assertEqual(self.failing(ValueError, refuse), "no such user")

    def test_tooLarge(self) -> None:
        """
        No file is written that could not be read again.
        """
        text = self.failing(ValueError, lambda content: b"x" * (MAX_SIZE + 1))
        self.assertIn("more than 16777216 octets", text)

    def test_noFile(self) -> None:
        """
        What is no file is not replaced by one.
        """
        self.path.mkdir()
        self.assertRaises(ValueError, edit, str(self.path), lambda content: b"")
        self.assertRaises(
            FileNotFoundError, edit, str(self.folder / "no" / "users"), lambda content: b""
        )

    def test_changedMeanwhile(self) -> None:
        """
        What another program has written meanwhile is not lost: the change is made again, of that.
        """
        self.path.write_bytes(b"alice:1\n")
        seen: list[bytes] = []

        def change(content: bytes) -> bytes:
            seen.append(content)
            if len(seen) == 1:
                self.path.write_bytes(content + b"bob:2\n")
            return content + b"carol:3\n"

        edit(str(self.path), change)
        self.assertEqual(self.path.read_bytes(), b"alice:1\nbob:2\ncarol:3\n")
        self.assertEqual(len(seen), 2)
        self.assertEqual(self.content(), ["users"])

    def test_appearsMeanwhile(self) -> None:
        """
        Nor is a file that has come into being.
        """

        def change(content: bytes) -> bytes:
            if not self.path.exists():
                self.path.write_bytes(b"bob:2\n")
            return content + b"carol:3\n"

        edit(str(self.path), change)
        self.assertEqual(self.path.read_bytes(), b"bob:2\ncarol:3\n")

    def test_changedAllTheTime(self) -> None:
        """
        But that ends some day.
        """
        self.patch(passwd, "_PATIENCE", -1)

        def change(content: bytes) -> bytes:
            self.path.write_bytes(content + b"bob:2\n")
            return content

        error = self.assertRaises(TimeoutError, edit, str(self.path), change)
        self.assertIn("all the time", str(error))
        self.assertEqual(self.content(), ["users"])

    def test_oneAfterTheOther(self) -> None:
        """
        Many that add a user each at the same time all succeed.
        """
        entries = [b"user%d:x" % number for number in range(8)]
        threads = [
            threading.Thread(
                target=edit, args=(str(self.path), lambda content, e=entry: withEntry(content, e))
            )
            for entry in entries
        ]
        self.patch(passwd, "_PAUSE", 0.001)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(sorted(self.path.read_bytes().splitlines()), entries)
        self.assertEqual(self.content(), ["users"])

    def test_locked(self) -> None:
        """
        Who keeps the folder locked is not waited for without end.
        """
        descriptor = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.patch(passwd, "_PATIENCE", -1)
        self.assertIn("locked", self.failing(TimeoutError))

    def test_noLocks(self) -> None:
        """
        Where a folder cannot be locked, it is done without.
        """

        def flock(descriptor: int, operation: int) -> None:
            raise OSError(errno.EBADF, "no locks here")

        self.patch(fcntl, "flock", flock)
        edit(str(self.path), lambda content: b"alice:1\n")
        self.assertEqual(self.path.read_bytes(), b"alice:1\n")


class Terminal(io.TextIOWrapper):
    """
    Standard input.
    """

    def __init__(self, content: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content))
        self._terminal = terminal

    def isatty(self) -> bool:
        """
        Whether somebody sits there.
        """
        return self._terminal


class OptionsTests(SynchronousTestCase):
    """
    Tests for L{Options}.
    """

    def setUp(self) -> None:
        """
        Have a place for the file.
        """
        self.path = self.mktemp()

    def run_(self, *arguments: str, stdin: bytes = b"", typed: list[str] | None = None) -> None:
        """
        Call it.

        @param stdin: what standard input has, if nothing is typed.

        @param typed: what somebody types, in turn.
        """
        self.patch(passwd.sys, "stdin", Terminal(stdin, typed is not None))
        self.prompts: list[str] = []

        def getpass(prompt: str) -> str:
            self.prompts.append(prompt)
            if not typed:
                raise EOFError
            return typed.pop(0)

        self.patch(passwd.getpass, "getpass", getpass)
        options = Options()
        options.parseOptions([*arguments])
        options.run()

    def hashes(self) -> Any:
        """
        What the file says.
        """
        found = PasswordFile.of(self.path, snapshot(self.path))
        self.assertEqual(found.warnings, ())
        return found.hashes

    def test_typed(self) -> None:
        """
        Somebody at a terminal is asked twice.
        """
        self.run_(self.path, "alice", typed=["gehëim", "gehëim"])
        self.assertEqual(self.prompts, ["New password: ", "The same again: "])
        (found,) = self.hashes().items()
        self.assertEqual(found[0], b"alice")
        self.assertTrue(found[1].startswith(b"$argon2id$"))
        self.assertTrue(verify("gehëim".encode(), found[1]))

    def test_mistyped(self) -> None:
        """
        If the two are not the same, or there is no second one, nothing is written.
        """
        for typed in (["secret", "Secret"], ["secret"], []):
            self.assertRaises(ValueError, self.run_, self.path, "alice", typed=typed)
            self.assertFalse(Path(self.path).exists())

    def test_line(self) -> None:
        """
        Where there is no terminal, a line of standard input is the password, octet by octet; the
        end of the line is not.
        """
        for number, (line, password) in enumerate(
            (
                (b"secret\n", b"secret"),
                (b"secret", b"secret"),
                (b"secret\r\nmore\n", b"secret"),
                (b" \xff\0 \n", b" \xff\0 "),
                (b"x" * 255 + b"\r\n", b"x" * 255),
            )
        ):
            self.run_(self.path, f"user{number}", stdin=line)
            self.assertTrue(verify(password, self.hashes()[b"user%d" % number]))

    def test_badPasswords(self) -> None:
        """
        An empty password, and one that no client can send, are refused; the line that says so
        does not show it.
        """
        for line in (b"", b"\n", b"\r\n", b"x" * 256, b"x" * 256 + b"\n", b"x" * 100_000):
            error = self.assertRaises(ValueError, self.run_, self.path, "alice", stdin=line)
            self.assertIn("the password", str(error))
            self.assertNotIn("xx", str(error))
            self.assertFalse(Path(self.path).exists())

    def test_change(self) -> None:
        """
        A user who is there gets another password; the others are left alone.
        """
        self.run_(self.path, "alice", stdin=b"one\n")
        self.run_(self.path, "bob", stdin=b"two\n")
        bob = self.hashes()[b"bob"]
        self.run_(self.path, "alice", stdin=b"three\n")
        self.assertEqual(list(self.hashes()), [b"alice", b"bob"])
        self.assertEqual(self.hashes()[b"bob"], bob)
        self.assertTrue(verify(b"three", self.hashes()[b"alice"]))

    def test_delete(self) -> None:
        """
        C{--delete} takes a user out, and asks for nothing.
        """
        self.run_(self.path, "alice", stdin=b"one\n")
        self.run_(self.path, "bob", stdin=b"two\n")
        self.run_("--delete", self.path, "alice", typed=[])
        self.assertEqual(self.prompts, [])
        self.assertEqual(list(self.hashes()), [b"bob"])
        self.assertRaises(ValueError, self.run_, "--delete", self.path, "alice")

    def test_deleteWithoutFile(self) -> None:
        """
        To delete from a file that is not there is an error, and makes none.
        """
        self.assertRaises(ValueError, self.run_, "--delete", self.path, "alice")
        self.assertFalse(Path(self.path).exists())

    def test_badNames(self) -> None:
        """
        Names that no file can hold, or no client send, are wrong calls.
        """
        for name in (
            "",
            "a:b",
            "a\nb",
            "a\0b",
            "a\x7f",
            "\t",
            "x" * 256,
            "#alice",
            " #a",
            "\ufeffalice",
        ):
            for option in ([], ["--delete"]):
                error = self.assertRaises(usage.UsageError, self.run_, *option, self.path, name)
                self.assertTrue(str(error).startswith("nobody can have this user name: "))
                self.assertTrue(str(error).isprintable())

    def test_goodNames(self) -> None:
        """
        Any other name will do, be it octets that are no UTF-8.
        """
        for name, octets in (
            ("åse", "åse".encode()),
            ("\udcff", b"\xff"),
            ("x" * 255, b"x" * 255),
            ("a b", b"a b"),
        ):
            self.run_(self.path, name, stdin=b"secret\n")
            self.assertIn(octets, self.hashes())

    def test_wrongCall(self) -> None:
        """
        There has to be a file and a user, and nothing else.
        """
        for arguments in ([], [self.path], [self.path, "a", "b"], ["--no", self.path, "a"]):
            self.assertRaises(usage.UsageError, self.run_, *arguments)

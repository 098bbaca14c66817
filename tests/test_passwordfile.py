"""
Tests for L{txsocks5.passwordfile}.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import passwordfile
from txsocks5.passwordfile import PasswordFile, Unsettled, nameOf, snapshot

BOM = b"\xef\xbb\xbf"
BCRYPT = b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
BCRYPT_5 = b"$2b$05$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
APR1 = b"$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"


class FileFixture(SynchronousTestCase):
    """
    Password files.
    """

    def write(self, content: bytes, mode: int = 0o600) -> str:
        """
        Write a file.

        @return: its path.
        """
        path = Path(self.mktemp())
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def read(self, content: bytes, mode: int = 0o600) -> PasswordFile:
        """
        Write a file and read it.
        """
        path = self.write(content, mode)
        found = PasswordFile.of("FILE", snapshot(path))
        for warning in found.warnings:
            self.assertTrue(warning.startswith("FILE: "), warning)
            self.assertTrue(warning.isprintable(), warning)
        return found


class SnapshotTests(FileFixture):
    """
    Tests for L{snapshot}.
    """

    def test_content(self) -> None:
        """
        All of a file is read, and its status with it; C{repr} does not show the hashes.
        """
        path = self.write(b"alice:" + APR1)
        found = snapshot(path)
        self.assertEqual(found.content, b"alice:" + APR1)
        self.assertEqual(found.status.st_ino, os.stat(path).st_ino)
        self.assertNotIn("apr1", repr(found))

    def test_link(self) -> None:
        """
        A link is followed; the status is that of the file.
        """
        path = self.write(b"alice:x")
        link = self.mktemp()
        os.symlink(os.path.abspath(path), link)
        self.assertEqual(snapshot(link).status.st_ino, os.stat(path).st_ino)

    def test_noFile(self) -> None:
        """
        What is no file is an error, and does not block: a FIFO that nobody writes to neither.
        """
        folder, fifo = self.mktemp(), self.mktemp()
        os.mkdir(folder)
        os.mkfifo(fifo)
        for path in (folder, fifo, "/dev/null"):
            error = self.assertRaises(ValueError, snapshot, path)
            self.assertEqual(str(error), f"{path} is no regular file")
        self.assertRaises(FileNotFoundError, snapshot, self.mktemp())

    def test_changing(self) -> None:
        """
        What changes while it is read is not one thing nor the other, and not returned.
        """
        path = self.write(b"alice:x\n")
        fstat = os.fstat

        def status(descriptor: int) -> os.stat_result:
            before = fstat(descriptor)
            with open(path, "ab") as other:
                other.write(b"bob:y\n")
            return before

        with patch.object(passwordfile.os, "fstat", status):
            error = self.assertRaises(Unsettled, snapshot, path)
        self.assertEqual(str(error), f"{path} is being written")

    def test_size(self) -> None:
        """
        What is larger than 16 MiB is no password file, and not read to its end.
        """
        self.assertEqual(passwordfile.MAX_SIZE, 16 * 1024 * 1024)
        path = self.write(b"")
        os.truncate(path, passwordfile.MAX_SIZE)
        self.assertEqual(len(snapshot(path).content), passwordfile.MAX_SIZE)
        os.truncate(path, passwordfile.MAX_SIZE * 1000)
        error = self.assertRaises(ValueError, snapshot, path)
        self.assertIn("more than 16777216 octets", str(error))


class NameTests(SynchronousTestCase):
    """
    Tests for L{nameOf}.
    """

    def test_entries(self) -> None:
        """
        What stands before the first colon is the name, octet by octet.
        """
        for line, name in (
            (b"alice:x", b"alice"),
            (b"alice:x:y\r\n", b"alice"),
            (b" alice :x", b" alice "),
            (b":x", b""),
            ("åse:x".encode(), "åse".encode()),
            (b"a#b:x", b"a#b"),
            (BOM + b"alice:x", b"alice"),
            (b"alice" + BOM + b":x", b"alice" + BOM),
        ):
            self.assertEqual(nameOf(line), name)

    def test_others(self) -> None:
        """
        Comments, blank lines and lines without a colon have none.
        """
        for line in (
            b"",
            b"\n",
            b" \t\r\n",
            b"#alice:x",
            b"  # alice:x",
            b"alice",
            BOM,
            BOM + b"#x:y",
        ):
            self.assertIsNone(nameOf(line))


class PasswordFileTests(FileFixture):
    """
    Tests for L{PasswordFile}.
    """

    def test_plain(self) -> None:
        """
        Each user has the hash of the line, whatever else stands around.
        """
        found = self.read(
            b"# users\n\nalice:" + APR1 + b"\r\n   \nbob:" + BCRYPT + b"\nno:" + BCRYPT + b" \n"
        )
        self.assertEqual(found.hashes, {b"alice": APR1, b"bob": BCRYPT, b"no": BCRYPT})
        self.assertEqual(found.warnings, ())
        self.assertFalse(found.unfinished)
        self.assertNotIn("apr1", repr(found))

    def test_beyondASCII(self) -> None:
        """
        R-1929-04: names are octets; what some editors put before them is no part of a name.
        """
        found = self.read(
            BOM + "åse:".encode() + APR1 + b"\n\xe5se:" + BCRYPT + b"\n" + BOM + b"\n" + BOM + b"#"
        )
        self.assertEqual(found.hashes, {"åse".encode(): APR1, b"\xe5se": BCRYPT})
        self.assertEqual(found.warnings, ())

    def test_fieldsBehind(self) -> None:
        """
        What stands behind the hash is ignored.
        """
        self.assertEqual(self.read(b"alice:" + APR1 + b":a comment").hashes, {b"alice": APR1})

    def test_unknownKind(self) -> None:
        """
        Who has a password in clear, or a hash without salt, is known and cannot log in; the line
        is named and the password is not.
        """
        found = self.read(
            b"alice:secret\nbob:" + APR1 + b"\ncarol:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\ndave:\n"
        )
        self.assertEqual(found.hashes, {b"alice": b"", b"bob": APR1, b"carol": b"", b"dave": b""})
        reason = "cannot log in: not a hash of a kind that can be verified here"
        self.assertEqual(
            found.warnings,
            (
                f"FILE: line 1: 'alice' {reason}",
                f"FILE: line 3: 'carol' {reason}",
                f"FILE: line 4: 'dave' {reason}",
            ),
        )

    def test_twice(self) -> None:
        """
        Of two entries of a name the first counts, as for Apache, even one that is of no use: the
        second may be a password that was to be replaced.
        """
        found = self.read(b"alice:x\n\nalice:" + APR1 + b"\n")
        self.assertEqual(found.hashes, {b"alice": b""})
        self.assertEqual(
            found.warnings[1:],
            ("FILE: line 3: 'alice' has an entry in line 1 already, and that one counts",),
        )

    def test_noNames(self) -> None:
        """
        Names that no client can send, or that would be nobody's, are ignored and warned about, in
        a line that cannot be forged.
        """
        long = b"x" * 256
        found = self.read(b":" + APR1 + b"\n" + long + b":" + APR1 + b"\nb\x1b[2Job:x\n")
        self.assertEqual(list(found.hashes), [b"b\x1b[2Job"])
        self.assertEqual(
            [warning.partition(" (")[0] for warning in found.warnings[:2]],
            [f"FILE: line {number}: no client could give this name" for number in (1, 2)],
        )
        self.assertIn(r"'b\x1b[2Job' cannot log in", found.warnings[2])
        self.assertEqual(found.unreadable, ())

    def test_nul(self) -> None:
        """
        A line with a NUL is no entry, wherever that is.
        """
        for line in (b"alice:\0" + APR1, b"al\0ice:" + APR1, bytes(100)):
            found = self.read(b"# users\n" + line + b"\n")
            self.assertEqual((found.hashes, found.warnings), ({}, ()))
            reason = "FILE: line 2: it has a NUL, so this is no entry"
            self.assertEqual(found.unreadable, (reason,))

    def test_noColon(self) -> None:
        """
        Nor is a line without colon; it is not shown, since it may be a password.
        """
        found = self.read(b"alice\nbob:" + APR1 + b"\n")
        self.assertEqual(list(found.hashes), [b"bob"])
        self.assertEqual(found.unreadable, ("FILE: line 1: no colon, so this is no entry",))
        self.assertEqual(found.warnings, ())

    def test_cut(self) -> None:
        """
        A hash of a known kind that is not all there, at the end of the file, shows that the file
        is not all there; a hash of another kind, or one with an end of line, does not.
        """
        whole = b"alice:" + APR1 + b"\nbob:" + BCRYPT
        self.assertEqual(self.read(whole).unreadable, ())
        for missing in range(1, len(BCRYPT)):
            reason = "FILE: line 2: the file ends in the midst of an entry"
            self.assertEqual(self.read(whole[:-missing]).unreadable, (reason,))
        for line in (b"bob:", b"bob:secret", b"bob:{SHA}5en6", b"bob:$y$j9T$", b"bob:$2b$04$x\n"):
            found = self.read(b"alice:" + APR1 + b"\n" + line)
            self.assertEqual(found.unreadable, ())
            self.assertEqual(len(found.warnings), 1)

    def test_unfinished(self) -> None:
        """
        A file that ends in the midst of an entry is told from one without a last end of line.
        """
        whole = b"alice:" + APR1 + b"\nbob:" + BCRYPT
        self.assertFalse(self.read(whole).unfinished)
        self.assertFalse(self.read(whole + b"\n").unfinished)
        self.assertFalse(self.read(b"").unfinished)
        self.assertFalse(self.read(b"alice:nonsense\n").unfinished)
        for missing in range(1, len(BCRYPT) + len("bob:")):
            self.assertTrue(self.read(whole[:-missing]).unfinished, missing)

    def test_writable(self) -> None:
        """
        A file that others could write to is refused: they could let in whom they want.
        """
        for mode in (0o620, 0o602, 0o666):
            error = self.assertRaises(ValueError, self.read, b"", mode)
            self.assertEqual(
                str(error),
                f"others than its owner can write to FILE (mode 0{mode:o}): chmod go-w",
            )

    def test_readable(self) -> None:
        """
        One that others can read is warned about: they could guess as fast as they can compute.
        """
        for mode in (0o640, 0o604, 0o644):
            found = self.read(b"alice:" + APR1, mode)
            self.assertEqual(
                found.warnings,
                (f"FILE: others than its owner can read it (mode 0{mode:o}): chmod go-r",),
            )
            self.assertEqual(found.hashes, {b"alice": APR1})
        for mode in (0o600, 0o400):
            self.assertEqual(self.read(b"alice:" + APR1, mode).warnings, ())

    def test_decoy(self) -> None:
        """
        R-1929-06: what an unknown user's password is compared with costs what most cost, not only
        by its kind.
        """
        self.assertIsNone(self.read(b"").decoy)
        self.assertIsNone(self.read(b"alice:secret\n").decoy)
        lines = [BCRYPT, APR1, BCRYPT_5, BCRYPT_5, APR1, BCRYPT_5, b"x", b"x", b"x", b"x", b"x"]
        content = b"".join(b"user%d:%s\n" % entry for entry in enumerate(lines))
        self.assertEqual(self.read(content).decoy, BCRYPT_5)

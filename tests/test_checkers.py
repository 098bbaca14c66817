"""
Tests for L{txsocks5.checkers}.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from twisted.cred import strcred
from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.plugins.cred_file import theFileCheckerFactory
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import checkers
from txsocks5.checkers import describedChecker, doubtsAbout


class CheckersFixture(SynchronousTestCase):
    """
    A file of users.
    """

    def setUp(self) -> None:
        """
        Decide where it is, and let nothing be said of it on standard error.
        """
        self.path = Path(self.mktemp())
        self.patch(theFileCheckerFactory, "errorOutput", StringIO())

    def write(self, content: bytes, mode: int = 0o600) -> FilePasswordDB:
        """
        Write the file, and make a checker of it.
        """
        self.path.write_bytes(content)
        self.path.chmod(mode)
        return FilePasswordDB(str(self.path))

    def refusal(self, description: str) -> str:
        """
        Why there is no such checker.
        """
        error = self.assertRaises(ValueError, describedChecker, description)
        self.assertNotIn("secret", str(error))
        return str(error)


class DescribedCheckerTests(CheckersFixture):
    """
    From a description to a checker.
    """

    def test_memory(self) -> None:
        """
        A checker in memory knows octets, as clients send them.
        """
        checker: Any = describedChecker("memory:alice:secret")
        self.assertEqual(checker.users, {b"alice": b"secret"})

    def test_file(self) -> None:
        """
        So does one of a file.
        """
        self.write(b"alice:secret\n\nbob:secret")
        checker = describedChecker(f"file:{self.path}")
        self.assertIsInstance(checker, FilePasswordDB)

    def test_unknown(self) -> None:
        """
        What does not exist is named without what may be a secret.
        """
        self.assertEqual(
            self.refusal("nonsense:alice:secret"),
            "there is no 'nonsense'; --help-auth lists all that there is",
        )

    def test_other(self) -> None:
        """
        What does not check passwords would let everybody in.
        """
        self.assertEqual(
            self.refusal("anonymous"), "'anonymous' does not check user names and passwords"
        )

    def test_mistaken(self) -> None:
        """
        What is called in the wrong way cannot be used.
        """
        self.assertTrue(self.refusal("memory:secret").startswith("'memory' cannot be used: "))

    def test_withoutWords(self) -> None:
        """
        If what is wrong has no text, it has a name.
        """

        def broken(description: str) -> ICredentialsChecker:
            raise LookupError

        self.patch(checkers, "makeChecker", broken)
        self.assertEqual(self.refusal("memory:a:b"), "'memory' cannot be used: LookupError()")

    def test_missingFile(self) -> None:
        """
        A file that cannot be read is missed at the start, not when the first user comes.
        """
        self.assertIn(str(self.path), self.refusal(f"file:{self.path}"))

    def test_colons(self) -> None:
        """
        A line that would be cut off at its second colon is refused, by its number.
        """
        self.write(b"alice:secret\nbob:se:cret\n")
        refusal = self.refusal(f"file:{self.path}")
        self.assertIn(f"line 2 of {self.path} has a second colon", refusal)

    def test_writable(self) -> None:
        """
        Whoever can write to the file could let in whom they want.
        """
        for mode in (0o620, 0o602, 0o666):
            self.write(b"alice:secret\n", mode)
            self.assertIn(f"(mode {mode:04o}): chmod go-w", self.refusal(f"file:{self.path}"))

    def test_withoutCrypt(self) -> None:
        """
        Where Python cannot check the system's passwords nobody could log in.
        """
        found: list[object] = [None, object()]
        self.patch(checkers, "find_spec", lambda name: found.pop(0))
        self.assertIn("'unix' cannot be used", self.refusal("unix"))
        describedChecker("unix")

    def test_makeChecker(self) -> None:
        """
        Twisted's own way from a description to a checker is taken.
        """
        self.assertIs(checkers.makeChecker, strcred.makeChecker)


class DoubtsTests(CheckersFixture):
    """
    What is doubtful.
    """

    def test_readable(self) -> None:
        """
        The passwords in a file are in clear.
        """
        for mode in (0o640, 0o604):
            self.assertEqual(
                doubtsAbout(self.write(b"alice:secret\n", mode)),
                [f"{self.path}: others than its owner can read it (mode {mode:04o}): chmod go-r"],
            )

    def test_fine(self) -> None:
        """
        A file that nobody else can read is fine, and one that has gone is no business of this.
        """
        self.assertEqual(list(doubtsAbout(self.write(b"alice:secret\n"))), [])
        self.path.unlink()
        self.assertEqual(list(doubtsAbout(FilePasswordDB(str(self.path)))), [])

    def test_others(self) -> None:
        """
        Of others nothing is known.
        """
        self.assertEqual(list(doubtsAbout(InMemoryUsernamePasswordDatabaseDontUse())), [])

"""
Tests for L{txsocks5.userlist}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.cred.checkers import AllowAnonymousAccess, FilePasswordDB
from twisted.cred.strcred import makeChecker
from twisted.plugins.cred_unix import UNIXChecker
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5.auth import withOctets
from txsocks5.htpasswd import HtpasswdChecker
from txsocks5.interfaces import IUserList
from txsocks5.userlist import userListOf


class UserListOfTests(SynchronousTestCase):
    """
    Tests for L{userListOf}.
    """

    def listOf(self, checker: object) -> IUserList:
        """
        There is a list.
        """
        found: IUserList = userListOf(checker)
        self.assertTrue(verifyObject(IUserList, found))
        return found

    def test_ours(self) -> None:
        """
        A checker that can tell is its own list.
        """
        path = self.mktemp()
        Path(path).write_text("")
        os.chmod(path, 0o600)
        checker = HtpasswdChecker(path)
        self.assertIs(userListOf(checker), checker)

    def test_memory(self) -> None:
        """
        The users of C{--auth memory:} are known, as text, mended or not.
        """
        for checker in (
            makeChecker("memory:alice:secret:b\xf8b:gehëim"),
            withOctets(makeChecker("memory:alice:secret:b\xf8b:gehëim")),
        ):
            found = self.listOf(checker)
            self.assertEqual(sorted(found.names()), ["alice", "b\xf8b"])
            self.assertTrue(found.knows("b\xf8b"))
            self.assertFalse(found.knows("Alice"))
            self.assertFalse(found.knows(""))
            found.refresh()
            self.assertEqual(list(found.warnings()), [])

    def test_file(self) -> None:
        """
        So are those of C{--auth file:}, when it was last looked at; a file that has gone changes
        nothing.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"alice:secret\n\nnobody\nb\xf8b:x\r\n" + "åse:x".encode())
        found = self.listOf(makeChecker(f"file:{path}"))
        self.assertEqual(sorted(found.names()), ["alice", "b\udcf8b", "åse"])
        self.assertEqual(list(found.warnings()), [])
        path.write_bytes(b"eve:secret\n")
        self.assertTrue(found.knows("alice"))
        found.refresh()
        self.assertFalse(found.knows("alice"))
        self.assertTrue(found.knows("eve"))
        path.unlink()
        found.refresh()
        self.assertTrue(found.knows("eve"))

    def test_otherFields(self) -> None:
        """
        The file may be one with other fields.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"1|secret|alice\n2|bob\n")
        checker = FilePasswordDB(str(path), delim=b"|", usernameField=2, passwordField=1)
        self.assertEqual(list(self.listOf(checker).names()), ["alice"])

    def test_unknown(self) -> None:
        """
        Of others nobody can tell, nor of checkers that somebody has made of those.
        """

        class Mine(FilePasswordDB):
            pass

        for checker in (
            UNIXChecker(),
            AllowAnonymousAccess(),
            Mine("/nonexistent"),
            FilePasswordDB("/nonexistent", caseSensitive=False),
        ):
            self.assertIsNone(userListOf(checker))

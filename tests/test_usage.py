"""
Tests for L{txsocks5.usage}, with real files.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.usage import UnusableDatabase, Usage, UsageDatabase

ALICE = Usage("user alice", "day", 86400, 1000)
WIKI = Usage("rule wiki", "month", 0, 2**62)


class UsageTestCase(SynchronousTestCase):
    """
    A file, and what is kept in it.
    """

    def setUp(self) -> None:
        """
        Choose a name.
        """
        self.path = self.mktemp()
        self.opened: list[sqlite3.Connection] = []
        self.database = UsageDatabase(self.path, self.connect)
        self.addCleanup(self.closeAll)

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """
        Open a file without ever waiting for a lock.
        """
        connection = sqlite3.connect(*arguments, **options | {"timeout": 0})
        self.opened.append(connection)
        return connection

    def closeAll(self) -> None:
        """
        Leave nothing open.
        """
        self.database.close()
        for connection in self.opened:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def reread(self, since: float = 0) -> set[Usage]:
        """
        What the server would find the next time.
        """
        other = UsageDatabase(self.path)
        found = other.load(since)
        other.close()
        return set(found)

    def assertUnusable(self, reason: str, call: Any, *arguments: Any) -> None:
        """
        The file cannot be used, and what is said tells which file, and why.
        """
        error = self.assertRaises(UnusableDatabase, call, *arguments)
        self.assertTrue(
            str(error).startswith(f"limits.database: {self.path!r} cannot be used: "), str(error)
        )
        self.assertIn(reason, str(error))


class KeepingTests(UsageTestCase):
    """
    Tests for what is kept.
    """

    def test_new(self) -> None:
        """
        There need not be a file.  Nobody else can read it.
        """
        self.assertEqual(self.database.load(0), [])
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_kept(self) -> None:
        """
        What was written is there the next time.
        """
        self.database.load(0)
        self.database.save([ALICE, WIKI])
        self.assertEqual(self.reread(), {ALICE, WIKI})

    def test_more(self) -> None:
        """
        The same period's number only rises, so that nothing is lost if it is written late or
        twice.
        """
        self.database.load(0)
        for octets in (1000, 3000, 2000, 3000):
            self.database.save([Usage("user alice", "day", 86400, octets)])
        self.assertEqual(self.reread(), {Usage("user alice", "day", 86400, 3000)})

    def test_nextPeriod(self) -> None:
        """
        The next period's number replaces that of the one before, and not the other way round.
        """
        following = Usage("user alice", "day", 2 * 86400, 5)
        self.database.load(0)
        for usage in (ALICE, following, ALICE):
            self.database.save([usage])
        self.assertEqual(self.reread(), {following})

    def test_kindsOfPeriod(self) -> None:
        """
        Periods of different kinds have numbers of their own.
        """
        month = Usage("user alice", "month", 0, 7)
        self.database.load(0)
        self.database.save([ALICE, month])
        self.assertEqual(self.reread(), {ALICE, month})

    def test_old(self) -> None:
        """
        Old periods are forgotten.
        """
        self.database.load(0)
        self.database.save([ALICE, WIKI])
        self.assertEqual(self.reread(86400), {ALICE})
        self.assertEqual(self.reread(), {ALICE})

    def test_anyName(self) -> None:
        """
        A name can be any text.
        """
        usage = Usage("user '; DROP TABLE usage; --\0\N{SNOWMAN}", "day", 0, 1)
        self.database.load(0)
        self.database.save([usage])
        self.assertEqual(self.reread(), {usage})

    def test_severalProcesses(self) -> None:
        """
        Several processes can use the same file.
        """
        other = UsageDatabase(self.path)
        self.addCleanup(other.close)
        self.database.load(0)
        other.load(0)
        self.database.save([ALICE])
        other.save([WIKI])
        self.database.save([Usage("user bob", "day", 0, 1)])
        self.assertEqual(len(self.reread()), 3)


class FaultTests(UsageTestCase):
    """
    Tests for files that cannot be used: at the start, and afterwards.
    """

    def test_noFolder(self) -> None:
        """
        The folder has to be there.
        """
        self.path += "/quotas.sqlite"
        self.assertUnusable("No such file or directory", UsageDatabase(self.path).load, 0)

    def test_folder(self) -> None:
        """
        A folder is no file.
        """
        os.mkdir(self.path)
        self.assertUnusable("Is a directory", self.database.load, 0)

    def test_noDatabase(self) -> None:
        """
        A file of another kind is left as it is.
        """
        with open(self.path, "w") as file:
            file.write("precious " * 1000)
        self.assertUnusable("file is not a database", self.database.load, 0)
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious " * 1000)

    def test_otherTable(self) -> None:
        """
        So is the database of another program.
        """
        connection = self.connect(self.path)
        connection.execute("CREATE TABLE usage (precious TEXT)")
        connection.commit()
        self.assertUnusable("no such column", self.database.load, 0)

    def test_laterVersion(self) -> None:
        """
        So is the file of a version that does not exist yet.
        """
        self.connect(self.path).execute("PRAGMA user_version = 2")
        self.assertUnusable("is of version 2, which is not known", self.database.load, 0)

    def test_garbage(self) -> None:
        """
        Values that somebody else has put there do no harm.
        """
        self.database.load(0)
        self.connect(self.path, isolation_level=None).execute(
            "INSERT INTO usage VALUES (x'6162', 7, 'late', 'much')"
        )
        self.assertEqual(self.reread(-1), {Usage("ab", "7", 0, 0)})

    def test_locked(self) -> None:
        """
        What another program keeps locked cannot be used for now.
        """
        self.database.load(0)
        lock = self.connect(self.path, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        self.assertUnusable("database is locked", UsageDatabase(self.path, self.connect).load, 0)
        self.assertUnusable("database is locked", self.database.save, [ALICE])
        lock.execute("COMMIT")
        self.database.save([ALICE])
        self.assertEqual(self.reread(), {ALICE})

    def test_readOnly(self) -> None:
        """
        It is not enough that a file can be read.
        """
        self.database.load(0)
        self.database.close()

        def connect(path: str, **options: Any) -> sqlite3.Connection:
            return self.connect(f"file:{path}?mode=ro", uri=True, **options)

        readOnly = UsageDatabase(self.path, connect)
        self.assertUnusable("attempt to write a readonly database", readOnly.load, 0)

    def test_fullDisk(self) -> None:
        """
        If the disk is full nothing is written, and what was written before is kept; when there is
        room again it goes on.
        """
        self.database.load(0)
        self.database.save([ALICE])
        many = [Usage(f"user {number}", "day", 0, 1) for number in range(10_000)]
        self.opened[-1].execute("PRAGMA max_page_count = 3")
        self.assertUnusable("database or disk is full", self.database.save, many)
        self.assertEqual(self.reread(), {ALICE})
        self.database.save(many)
        self.assertEqual(len(self.reread()), 10_001)

    def test_fullDiskAtTheStart(self) -> None:
        """
        A disk that is full prevents the start: also where the file is there already, and nothing
        would have to be changed.
        """

        def connect(path: str, **options: Any) -> sqlite3.Connection:
            return self.connect(path, factory=_Full, **options)

        self.assertUnusable("disk is full", UsageDatabase(self.path, connect).load, 0)
        self.database.load(0)
        self.assertUnusable("disk is full", UsageDatabase(self.path, connect).load, 0)

    def test_corrupt(self) -> None:
        """
        A file that was damaged cannot be used, and one that is put in its place can.
        """
        self.database.load(0)
        self.database.save([Usage(f"user {number}", "day", 0, 1) for number in range(1000)])
        self.database.close()
        with open(self.path, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 20000)
        self.assertUnusable("malformed", self.database.load, 0)
        self.assertUnusable("malformed", self.database.save, [ALICE])
        os.remove(self.path)
        self.database.save([ALICE])
        self.assertEqual(self.reread(), {ALICE})

    def test_replaced(self) -> None:
        """
        A file that was removed or replaced is noticed: what was in it has to be written again.
        """
        for replace in (os.remove, lambda path: os.replace(self.other(), path)):
            self.database.load(0)
            self.database.save([WIKI])
            replace(self.path)
            self.assertUnusable("it was removed or replaced", self.database.save, [ALICE])
            self.database.save([ALICE])
            self.assertEqual(self.reread(), {ALICE})

    def other(self) -> str:
        """
        Make another file.
        """
        path = self.mktemp()
        other = UsageDatabase(path)
        other.load(0)
        other.close()
        return path

    def test_close(self) -> None:
        """
        It can be closed at any time.
        """
        self.database.close()
        self.database.load(0)
        self.database.close()
        self.database.close()

    def test_brokenClose(self) -> None:
        """
        A file that cannot even be closed is forgotten.
        """

        def connect(path: str, **options: Any) -> sqlite3.Connection:
            return self.connect(path, factory=_Stuck, **options)

        database = UsageDatabase(self.path, connect)
        database.load(0)
        database.close()
        self.assertEqual(database.load(0), [])


class _Full(sqlite3.Connection):
    """
    A database on a full disk.
    """

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        """
        Fail when there is something to write.
        """
        if sql == "COMMIT" and self.in_transaction:
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *arguments)


class _Stuck(sqlite3.Connection):
    """
    A database that cannot be closed.
    """

    def close(self) -> None:
        """
        Fail.
        """
        super().close()
        raise sqlite3.OperationalError("unable to close")

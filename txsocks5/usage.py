"""
The file that remembers how much has been relayed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import attrs

__all__ = ["UnusableDatabase", "Usage", "UsageDatabase"]

_T = TypeVar("_T")

_VERSION = 1

_PATIENCE = 5.0
"""
Seconds for which a lock is waited for that somebody else has.
"""

_TABLE = """
CREATE TABLE IF NOT EXISTS usage (
    owner TEXT NOT NULL,
    period TEXT NOT NULL,
    begin INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    PRIMARY KEY (owner, period)
) WITHOUT ROWID
"""

# SQLite keeps any value in any column.
_LOAD = """
SELECT CAST(owner AS TEXT), CAST(period AS TEXT), CAST(begin AS INTEGER), CAST(octets AS INTEGER)
FROM usage
"""

# What is written again, or late, changes nothing.
_SAVE = """
INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (owner, period) DO UPDATE SET
    octets = CASE
        WHEN excluded.begin > begin THEN excluded.octets
        WHEN excluded.begin = begin THEN max(excluded.octets, octets)
        ELSE octets
    END,
    begin = max(excluded.begin, begin)
"""


class UnusableDatabase(Exception):
    """
    The file cannot be read or written; the text says which, and why.
    """


@attrs.frozen
class Usage:
    """
    How much one owner of a quota has relayed in one period.

    @ivar owner: a user or a rule.

    @ivar period: of what kind the period is.

    @ivar begin: when it began, in seconds since 1970 in UTC.

    @ivar octets: of payload.
    """

    owner: str
    period: str
    begin: int
    octets: int


class UsageDatabase:
    """
    An SQLite file with one row for each owner and kind of period.

    It blocks, and may be used by one thread at a time.  Each error closes it, and the next use
    opens it again, so that a file that was mended or replaced is found.
    """

    def __init__(
        self, path: str, connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    ) -> None:
        """
        @param connect: opens SQLite files.
        """
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def load(self, since: float) -> list[Usage]:
        """
        Make the file if there is none, find out whether it can be written, and read it.

        @param since: periods that began before this moment are forgotten.

        @raise UnusableDatabase: it cannot be used.
        """

        def load(connection: sqlite3.Connection) -> list[Usage]:
            connection.execute("DELETE FROM usage WHERE begin < ?", (int(since),))
            rows = connection.execute(_LOAD)
            return [Usage(*row) for row in rows]

        return self._transact(load)

    def save(self, usages: Iterable[Usage]) -> None:
        """
        Write what has been relayed, unless the file knows of more, or of a later period.

        @raise UnusableDatabase: nothing has been written; or the file is another one than before,
            in which nothing is known of what was written to that.
        """
        if self._connection is not None and self._identity() != self._file:
            self.close()
            raise self._unusable("it was removed or replaced")
        rows = [attrs.astuple(usage) for usage in usages]
        self._transact(lambda connection: connection.executemany(_SAVE, rows))

    def close(self) -> None:
        """
        Close the file.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """
        Do something, all of it or nothing.

        @raise UnusableDatabase: nothing has been done.
        """
        try:
            connection = self._connection or self._open()
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise self._unusable(str(reason)) from error
        return result

    def _unusable(self, reason: str) -> UnusableDatabase:
        """
        What to raise.
        """
        return UnusableDatabase(f"limits.database: {self._path!r} cannot be used: {reason}")

    def _open(self) -> sqlite3.Connection:
        """
        Open the file.  It tells who has used the server how much, which is nobody else's business.
        """
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = self._connection = self._connect(
            self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"is of version {version}, which is not known")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        # This writes even if nothing changes, and so finds out whether that is possible.
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
        self._file = self._identity()
        return connection

    def _identity(self) -> tuple[int, int] | None:
        """
        Which file it is that has the name.

        @return: L{None} if there is none.
        """
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

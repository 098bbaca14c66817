"""
Which users does a checker know?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from zope.interface import implementer

from .interfaces import IUserList

__all__ = ["userListOf"]


def userListOf(checker: ICredentialsChecker) -> IUserList | None:
    """
    Find out which users a checker knows.

    @return: the checker itself if it can tell, a list for the checkers of C{--auth memory:} and
        C{--auth file:}, which is that of the last C{refresh}; L{None} if nobody can tell.
    """
    if IUserList.providedBy(checker):
        found: IUserList = checker
        return found
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        return _Listed(checker)
    # Not one that somebody has made another of: it may find its users elsewhere.
    if type(checker) is FilePasswordDB and checker.caseSensitive:
        return _InFile(checker)
    return None


@implementer(IUserList)
class _Listed:
    """
    The users of a checker that holds them itself.
    """

    def __init__(self, checker: InMemoryUsernamePasswordDatabaseDontUse) -> None:
        self._checker = checker

    def knows(self, name: str) -> bool:
        """
        See L{IUserList.knows}.
        """
        return name in self.names()

    def names(self) -> Iterable[str]:
        """
        See L{IUserList.names}.
        """
        return {_text(name) for name in self._checker.users}

    def warnings(self) -> Sequence[str]:
        """
        See L{IUserList.warnings}.
        """
        return ()

    def refresh(self) -> None:
        """
        See L{IUserList.refresh}.
        """


@implementer(IUserList)
class _InFile:
    """
    The users of a checker that looks into a file each time.
    """

    def __init__(self, checker: FilePasswordDB) -> None:
        self._checker = checker
        self._names: frozenset[str] = frozenset()
        self.refresh()

    def knows(self, name: str) -> bool:
        """
        See L{IUserList.knows}.
        """
        return name in self._names

    def names(self) -> Iterable[str]:
        """
        See L{IUserList.names}.
        """
        return self._names

    def warnings(self) -> Sequence[str]:
        """
        See L{IUserList.warnings}.
        """
        return ()

    def refresh(self) -> None:
        """
        See L{IUserList.refresh}.
        """
        try:
            with open(self._checker.filename, "rb") as file:
                lines = [line.rstrip().split(self._checker.delim) for line in file]
        except OSError:
            return
        field = self._checker.ufield
        fields = max(field, self._checker.pfield) + 1
        self._names = frozenset(_text(line[field]) for line in lines if len(line) >= fields)


def _text(name: bytes | str) -> str:
    """
    A name as L{Identity <txsocks5.interfaces.Identity>} has it.
    """
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name

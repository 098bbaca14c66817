"""
What C{--auth} takes: checkers of C{twisted.cred} by their description.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from importlib.util import find_spec

from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import InvalidAuthType, UnsupportedInterfaces, makeChecker
from twisted.plugins.cred_unix import UNIXChecker

from .auth import withOctets
from .errors import reasonOf

__all__ = ["describedChecker", "doubtsAbout"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def describedChecker(description: str) -> ICredentialsChecker:
    """
    Make a checker.

    @param description: its kind and what that needs, as in C{file:/etc/socks/users}.

    @return: one that checks user names and passwords, and can be expected to do so.

    @raise ValueError: there is no such checker, or it cannot be used.  The text says why, and has
        nothing of what stands behind the kind, which may be a secret.
    """
    kind = description.partition(":")[0]
    try:
        checker: ICredentialsChecker = makeChecker(description)
        if IUsernamePassword not in checker.credentialInterfaces:
            raise UnsupportedInterfaces
        _examine(checker)
    except UnsupportedInterfaces:
        raise ValueError(f"{kind!r} does not check user names and passwords") from None
    except InvalidAuthType:
        raise ValueError(f"there is no {kind!r}; --help-auth lists all that there is") from None
    except Exception as error:
        reason = reasonOf(error)
        raise ValueError(f"{kind!r} cannot be used: {reason}") from None
    return withOctets(checker)


def _examine(checker: ICredentialsChecker) -> None:
    """
    Find out whether a checker can do its work, which would otherwise show when the first user
    comes.

    @raise Exception: it cannot.
    """
    if isinstance(checker, FilePasswordDB):
        with open(checker.filename, "rb") as users:
            mode = stat.S_IMODE(os.fstat(users.fileno()).st_mode)
            if mode & _OTHERS_WRITE:
                raise ValueError(
                    f"others than its owner can write to {checker.filename} (mode {mode:04o}): "
                    "chmod go-w"
                )
            for number, line in enumerate(users, 1):
                # The checker would take what stands before the second colon for the password.
                if line.count(b":") > 1:
                    raise ValueError(f"line {number} of {checker.filename} has a second colon")
    elif isinstance(checker, UNIXChecker) and find_spec("crypt") is None:
        raise ValueError("this Python cannot check the system's passwords (it has no crypt)")


def doubtsAbout(checker: ICredentialsChecker) -> Sequence[str]:
    """
    What is doubtful about a checker, a line each, where that has no list of its own to tell.
    """
    if isinstance(checker, FilePasswordDB) and os.path.exists(checker.filename):
        mode = stat.S_IMODE(os.stat(checker.filename).st_mode)
        if mode & _OTHERS_READ:
            return [
                f"{checker.filename}: others than its owner can read it (mode {mode:04o}): "
                "chmod go-r"
            ]
    return ()

"""
C{--auth pam} and C{--auth pam:SERVICE}: the users of the system, and whoever else its PAM knows.
"""

from __future__ import annotations

import os
import re
from ctypes.util import find_library
from typing import Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from . import events
from .interfaces import IBlockingChecker

try:
    import pam as _library
except ImportError as error:
    raise ImportError("it needs python-pam: pip install 'txsocks5[pam]'") from error

__all__ = ["PAMChecker", "checkerOf"]

_SERVICE = "txsocks5"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/local/etc/pam.d")
_ONE_FILE = "/etc/pam.conf"

_REFUSALS = frozenset(
    {
        _library.PAM_PERM_DENIED,
        _library.PAM_AUTH_ERR,
        _library.PAM_CRED_INSUFFICIENT,
        _library.PAM_USER_UNKNOWN,
        _library.PAM_MAXTRIES,
        _library.PAM_NEW_AUTHTOK_REQD,
        _library.PAM_ACCT_EXPIRED,
        _library.PAM_CRED_EXPIRED,
        _library.PAM_AUTHTOK_EXPIRED,
    }
)
"""
What PAM says of users; everything else it says of itself.
"""


class _Conversation(Protocol):
    """
    What is used of C{pam.PamAuthenticator}.
    """

    code: int
    reason: str | bytes | None

    def authenticate(
        self, username: bytes, password: bytes, service: str, *, resetcreds: bool
    ) -> bool:
        """
        Ask PAM whether the password is good, and then whether the account may be used.
        """


@implementer(ICredentialsChecker, IBlockingChecker)
class PAMChecker:
    """
    Asks PAM, each time anew: whether the password is good (C{pam_authenticate}), and whether the
    account may be used now (C{pam_acct_mgmt}).  A password that has to be changed first does not
    do, since there is no way to change it here.

    It opens no PAM session, and cannot tell which users there are.
    """

    credentialInterfaces = (IUsernamePassword,)

    _log = Logger()

    def __init__(self, service: str = _SERVICE) -> None:
        """
        @param service: which configuration of PAM to use, a file in C{/etc/pam.d}.

        @raise ValueError: it cannot be used.
        """
        if not _NAME.fullmatch(service):
            raise ValueError(f"{service!r} cannot be the name of a service")
        if find_library("pam") is None:
            raise ValueError("this system has no libpam")
        if not _isConfigured(service):
            # PAM would take the service "other" instead, which might let in anybody.
            raise ValueError(
                f"PAM does not know the service {service!r}: write /etc/pam.d/{service}"
            )
        self._service = service

    def __repr__(self) -> str:
        return f"<PAMChecker {self._service!r}>"

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Check a password; this blocks, perhaps for seconds.

        @param credentials: the name and the password, as octets.

        @return: a Deferred that has fired with the name, or failed with L{UnauthorizedLogin}.
        """
        username: bytes = credentials.username
        # PAM has strings of C: nothing that it would cut off reaches it (R-1929-05).
        if b"\0" in username + credentials.password or not username:
            return fail(UnauthorizedLogin())
        conversation: _Conversation = _library.PamAuthenticator()
        good = conversation.authenticate(
            username, credentials.password, self._service, resetcreds=False
        )
        if good:
            return succeed(username)
        if conversation.code not in _REFUSALS:
            events.pamFailed.emit(self._log, service=self._service, reason=str(conversation.reason))
        return fail(UnauthorizedLogin())


def _isConfigured(service: str) -> bool:
    """
    Whether PAM has a configuration for a service.
    """
    if any(os.path.exists(os.path.join(folder, service)) for folder in _FOLDERS):
        return True
    try:
        with open(_ONE_FILE, encoding="utf-8", errors="replace") as file:
            return any(line.split()[:1] == [service] for line in file)
    except FileNotFoundError:
        return False


def checkerOf(argument: str) -> PAMChecker:
    """
    What C{--auth pam:SERVICE} stands for.

    @param argument: the service; empty for C{txsocks5}.

    @raise ValueError: it cannot be used.
    """
    return PAMChecker(argument or _SERVICE)

"""
Two checkers of passwords: one asks somebody and waits, one computes for long.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from txsocks5 import IBlockingChecker


@implementer(ICredentialsChecker)
class Directory:
    """
    Asks a directory, which answers later.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, ask: Callable[[bytes, bytes], Deferred[bool]]) -> None:
        """
        @param ask: is told a user name and a password, and tells whether they are good.
        """
        self._ask = ask

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Check; the result is the name that policy and log know the user by.
        """
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.password))

    async def _check(self, username: bytes, password: bytes) -> bytes | tuple[()]:
        if await self._ask(username, password):
            return username
        raise UnauthorizedLogin()


@implementer(ICredentialsChecker, IBlockingChecker)
class Hashed:
    """
    Knows hashes that take their time, and computes them in a thread.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: Mapping[bytes, tuple[bytes, bytes]]) -> None:
        """
        @param users: for each user name the salt and the hash.
        """
        self._users = users

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Check.
        """
        salt, expected = self._users.get(credentials.username, (b"", b""))
        if hmac.compare_digest(hashOf(credentials.password, salt), expected):
            return succeed(credentials.username)
        raise UnauthorizedLogin()


def hashOf(password: bytes, salt: bytes) -> bytes:
    """
    What is stored in the place of a password.
    """
    return hashlib.scrypt(password, salt=salt, n=2**14, r=8, p=1)

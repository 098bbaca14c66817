"""
Who is it?  No authentication, user name with password over C{twisted.cred}, and the way to
GSSAPI.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import attrs
from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.plugins.cred_unix import UNIXChecker
from twisted.python.failure import Failure
from zope.interface import classImplements, implementer

from . import events
from .config import Failures
from .errors import Overloaded, ProtocolError
from .interfaces import (
    Accepted,
    IAuthenticator,
    IBlockingChecker,
    IConversation,
    Identity,
    IRecallingChecker,
    IRevoking,
    Refused,
    Step,
)
from .shared import Shared
from .throttle import Exhausted, Throttle
from .turnstile import Turnstile
from .userlist import userListOf
from .wire import NO_ACCEPTABLE_METHOD, Credentials, IPAddress, Method, PasswordStatus

__all__ = [
    "Anonymous",
    "PasswordAuthenticator",
    "UsernamePassword",
    "byMethod",
    "gssapiAuthenticator",
    "installedAuthenticators",
    "withOctets",
]


classImplements(FilePasswordDB, IBlockingChecker)
classImplements(UNIXChecker, IBlockingChecker)


@implementer(IAuthenticator, IConversation)
class Anonymous:
    """
    Method C{00}: nothing is exchanged and nobody is refused.  It has no state, so it is also
    each of its conversations.

    @ivar accepted: the outcome of each of them, for whoever does not need the conversation.
    """

    method: int = Method.NONE
    accepted = Accepted(Identity("", Method.NONE))

    _step = Step(0, outcome=accepted)

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin; see L{IAuthenticator.conversation}.
        """
        return self

    def received(self, data: bytes) -> Step:
        """
        Accept.
        """
        return self._step

    def close(self) -> None:
        """
        Nothing to release.
        """


def _octets(text: bytes | str) -> bytes:
    """
    Stored text is UTF-8 (R-1929-04).
    """
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


@implementer(IUsernamePassword)
@attrs.frozen
class UsernamePassword:
    """
    What a checker is asked about.  Unlike Twisted's own credentials these compare in constant
    time, and do not show the password in C{repr}.
    """

    username: bytes
    password: bytes = attrs.field(repr=False)

    def checkPassword(self, password: bytes | str) -> bool:
        """
        Compare with the stored password.
        """
        return hmac.compare_digest(_octets(password), self.password)


class _InMemory(InMemoryUsernamePasswordDatabaseDontUse):
    """
    Answers at once, which Twisted's own does by four callbacks.
    """

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        See C{ICredentialsChecker.requestAvatarId}.
        """
        password = self.users.get(credentials.username)
        if password is not None and credentials.checkPassword(password):
            return succeed(credentials.username)
        return fail(UnauthorizedLogin())


def withOctets(checker: ICredentialsChecker) -> ICredentialsChecker:
    """
    Mend what C{--auth memory:} makes: its user names are text, so that no user name that a
    client sends would be found.

    @return: a checker for the same users, or C{checker} itself if it is of another kind.
    """
    if type(checker) is not InMemoryUsernamePasswordDatabaseDontUse:
        return checker
    mended = _InMemory()
    for username, password in checker.users.items():
        mended.addUser(_octets(username), _octets(password))
    return mended


def byMethod(authenticators: Iterable[IAuthenticator]) -> dict[int, IAuthenticator]:
    """
    The authenticators by method number, in their order.

    @raise ValueError: two of them have the same method, or one has none that a client could select.
    """
    found: dict[int, IAuthenticator] = {}
    for authenticator in authenticators:
        number = authenticator.method
        if not 0 <= number < NO_ACCEPTABLE_METHOD:
            raise ValueError(f"{type(authenticator).__qualname__}: there is no method {number}")
        if number in found:
            first, second = type(found[number]).__qualname__, type(authenticator).__qualname__
            raise ValueError(f"{first} and {second} have the same method, {number:#04x}")
        found[number] = authenticator
    return found


def installedAuthenticators() -> Iterable[IAuthenticator]:
    """
    The authenticators that other packages have put into C{twisted/plugins}.
    """
    found: Iterable[IAuthenticator] = getPlugins(IAuthenticator)
    return found


def gssapiAuthenticator(
    reactor: Any, keytab: str, service: str, levels: Iterable[str]
) -> IAuthenticator:
    """
    Make a L{GSSAPIAuthenticator <txsocks5.tickets.GSSAPIAuthenticator>}, if there is the library
    for it.

    @param keytab: the file with the server's keys; empty for the default one.

    @param service: C{socks} or C{socks@host}; empty for any key of the keytab.

    @param levels: see L{txsocks5.levels.NAMES}.

    @raise ValueError: that cannot be done.  The text says why, in one line.
    """
    try:
        from .tickets import GSSAPIAuthenticator
    except ImportError as error:
        raise ValueError(
            f"GSSAPI needs a library (pip install 'txsocks5[gssapi]'): {error}"
        ) from error
    return GSSAPIAuthenticator(reactor, keytab=keytab, service=service, levels=levels)


@implementer(IAuthenticator, IRevoking)
class PasswordAuthenticator:
    """
    Method C{02}, RFC 1929, over any C{twisted.cred} checker for
    L{IUsernamePassword}.

    A refusal is sent only after a delay that counts from the question, so that an unknown
    user and a wrong password take the same time; see L{Throttle}.

    Many that come at the same time with the same user name and password are checked once, if
    that needs a thread.
    """

    method: int = Method.PASSWORD

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        checkers: Sequence[ICredentialsChecker],
        failures: Failures | None = None,
        *,
        running: int = 2,
        waiting: int = 256,
    ) -> None:
        """
        @param reactor: provides L{IReactorTime} and L{IReactorThreads}.

        @param checkers: asked in this order until one knows the user.

        @param failures: what a refusal costs the client.

        @param running: how many checks run at a time in threads, if the checker provides
            L{IBlockingChecker}.

        @param waiting: how many more may wait for a thread; beyond that they fail.
        """
        self._reactor: IReactorTime = reactor
        self._threads: IReactorThreads = reactor
        self._checkers = tuple(checkers)
        self._users = [userListOf(checker) for checker in self._checkers]
        self._failures = failures or Failures()
        self._throttle = Throttle(reactor, self._failures)
        self._turnstile = Turnstile(running, waiting)
        self._shared = Shared()
        self._key = secrets.token_bytes(32)

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin; see L{IAuthenticator.conversation}.
        """
        return _PasswordConversation(self, client)

    def replaces(self, authenticator: IAuthenticator) -> None:
        """
        Remember the failures that another one does; see L{IRevoking.replaces}.
        """
        if isinstance(authenticator, PasswordAuthenticator):
            self._throttle = authenticator._throttle
            self._throttle.setFailures(self._failures)

    @property
    def throttle(self) -> Throttle:
        """
        What remembers the failures.
        """
        return self._throttle

    def stands(self, identity: Identity) -> bool:
        """
        Whether a checker knows the user, or does not tell; see L{IRevoking.stands}.
        """
        return any(users is None or users.knows(identity.name) for users in self._users)

    async def judge(self, credentials: Credentials, client: IPAddress | None) -> Accepted | Refused:
        """
        Find out whether these credentials are good, and take the time that it takes.

        @return: the outcome.  Whatever goes wrong in a checker is a refusal.
        """
        username = credentials.username.decode("utf-8", "surrogateescape")
        began = self._reactor.seconds()
        try:
            turn = self._throttle.turnAtOnce(client, username)
            if turn is None:
                turn = await self._throttle.turn(client, username)
        except Exhausted as error:
            return Refused(str(error), username)
        try:
            avatar = await self._ask(UsernamePassword(credentials.username, credentials.password))
        except LoginFailed as error:
            # What it has come through knows it, and the password.
            error.__traceback__ = None
            reason = "wrong user name or password"
            delay = turn.failed()
        except Overloaded as error:
            reason = str(error)
            delay = self._failures.delay
        else:
            turn.succeeded()
            name = avatar if isinstance(avatar, str) else avatar.decode("utf-8", "surrogateescape")
            return Accepted(Identity(name, self.method))
        finally:
            turn.abandoned()
        left = began + delay - self._reactor.seconds()
        if left > 0:
            await _sleep(self._reactor, left)
        return Refused(reason, username)

    async def _ask(self, credentials: UsernamePassword) -> bytes | str:
        """
        Ask each checker; those first that may know the answer without being asked.

        @return: the avatar identifier of the first that accepts.

        @raise LoginFailed: none does.

        @raise Overloaded: there was no room for the first one that had to be asked.
        """
        recalled = self._recall(credentials)
        if recalled is not None:
            return recalled
        asked = False
        for checker in self._checkers:
            try:
                avatar: object = await self._requestAvatarId(checker, credentials)
            except LoginFailed as error:
                error.__traceback__ = None
                asked = True
                continue
            except CancelledError:
                raise
            except Overloaded:
                if not asked:
                    raise
                continue
            except Exception as error:
                self._isBroken(checker, error)
                continue
            # Whoever is let in has a name: ANONYMOUS is a tuple.
            if isinstance(avatar, (bytes, str)):
                return avatar
        raise UnauthorizedLogin()

    def _recall(self, credentials: UsernamePassword) -> bytes | None:
        """
        Find a checker that has found these credentials good a while ago, and the avatar identifier
        that it gave.
        """
        for checker in self._checkers:
            if IRecallingChecker.providedBy(checker):
                try:
                    avatar: bytes | None = checker.recall(credentials)
                except Exception as error:
                    self._isBroken(checker, error)
                else:
                    if avatar is not None:
                        return avatar
        return None

    def _isBroken(self, checker: ICredentialsChecker, error: Exception) -> None:
        """
        Tell the log that a checker does not do what it should.
        """
        events.checkerBroken.emit(self._log, checker=repr(checker), log_failure=_withoutText(error))

    def _requestAvatarId(
        self, checker: ICredentialsChecker, credentials: UsernamePassword
    ) -> Deferred[object]:
        """
        Ask one checker, in a thread if it blocks.
        """
        if not IBlockingChecker.providedBy(checker):
            asked: object = checker.requestAvatarId(credentials)
            return asked if isinstance(asked, Deferred) else maybeDeferred(lambda: asked)

        def ask() -> Deferred[object]:
            pool = self._threads.getThreadPool()
            return deferToThreadPool(self._threads, pool, _resultOf, checker, credentials)

        # Not the password itself: this outlives the conversation.
        digest = blake2b(
            len(credentials.username).to_bytes(2) + credentials.username + credentials.password,
            key=self._key,
        ).digest()
        return self._shared.run((id(checker), digest), lambda: self._turnstile.run(ask))


class _CheckerFailed(Exception):
    """
    What a checker has raised, by the name of its class.
    """


def _withoutText(error: Exception) -> Failure:
    """
    Where an error has come from, for the log, without what it says: that may quote the password
    (R-1929-11), as that of a checker does which decodes it.
    """
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return Failure(_CheckerFailed(kind), _CheckerFailed, error.__traceback__)


def _resultOf(checker: ICredentialsChecker, credentials: UsernamePassword) -> object:
    """
    Call a blocking checker and take the result out of its Deferred, which has fired: there is
    no reactor in this thread that could make it fire later.
    """
    outcome: list[object] = []
    maybeDeferred(checker.requestAvatarId, credentials).addBoth(outcome.append)
    if not outcome:
        raise UnauthorizedLogin("a blocking checker did not answer")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def _sleep(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """
    Fires after some time, unless it is cancelled.
    """
    waited: Deferred[None] = Deferred(lambda waited: call.cancel())
    call = clock.callLater(seconds, waited.callback, None)
    return waited


@implementer(IConversation)
class _PasswordConversation:
    """
    RFC 1929 with one client: one message, one answer.
    """

    def __init__(self, authenticator: PasswordAuthenticator, client: IPAddress | None) -> None:
        self._authenticator = authenticator
        self._client = client

    def received(self, data: bytes) -> Step | Deferred[Step] | None:
        """
        Read the credentials and judge them; see L{IConversation.received}.
        """
        try:
            message = Credentials.read(data)
        except ProtocolError as error:
            return Step(len(data), PasswordStatus(False).octets(), Refused(str(error)))
        if message is None:
            return None
        credentials, consumed = message
        judged = Deferred.fromCoroutine(self._authenticator.judge(credentials, self._client))
        return judged.addCallback(_answer, consumed)

    def close(self) -> None:
        """
        Nothing is kept.
        """


_STATUS = {accepted: PasswordStatus(accepted).octets() for accepted in (True, False)}


def _answer(outcome: Accepted | Refused, consumed: int) -> Step:
    """
    What RFC 1929 has the server say to an outcome.
    """
    return Step(consumed, _STATUS[isinstance(outcome, Accepted)], outcome)

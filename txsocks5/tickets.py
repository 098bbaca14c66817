"""
Who is it?  Whoever has a ticket for this server: GSSAPI, RFC 1961, on the accepting side.

This is one of the modules that need the C{gssapi} library.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import Any

from gssapi import Credentials, MechType, Name, NameType, RequirementFlag, raw
from gssapi.exceptions import GSSError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from . import events
from .encapsulation import Encapsulation, openLevel, reasonOf, sealLevel
from .errors import Overloaded, ProtocolError
from .interfaces import Accepted, IAuthenticator, IConversation, Identity, Refused, Step
from .levels import DEFAULT, Levels
from .turnstile import Turnstile
from .wire import ABORT, Frame, FrameType, IPAddress, Method, ProtectionLevel

__all__ = ["GSSAPIAuthenticator"]

_log = Logger()

_MAX_ROUNDS = 10

# The first octets of a keytab, in either version of its format.
_KEYTABS = (b"\x05\x01", b"\x05\x02")

# The first octets of what a client sends that was told "no protection": a request, or a frame.
_REQUEST = 5
_FRAME = 1


@implementer(IAuthenticator)
class GSSAPIAuthenticator:
    """
    Method C{01}, RFC 1961, with Kerberos 5.

    A client is known by its whole principal, realm included.  Anonymous clients are refused, and
    what others delegate is dropped.  Tokens are judged in threads, for that can block on the
    replay cache.
    """

    method: int = Method.GSSAPI

    def __init__(
        self,
        reactor: Any,
        *,
        keytab: str | None = None,
        service: str = "",
        levels: Iterable[str] = DEFAULT,
        running: int = 2,
        waiting: int = 256,
    ) -> None:
        """
        @param reactor: provides L{IReactorThreads}.

        @param keytab: the file with the server's keys; by default that of the Kerberos library.
            The library reads it anew for each client.

        @param service: C{socks} or C{socks@host}, to accept only tickets for that; by default
            those for any key in the keytab.

        @param levels: what may be agreed on; see L{txsocks5.levels.NAMES}.

        @param running: how many tokens are judged at a time, each in a thread.

        @param waiting: how many more may wait for a thread; beyond that they are refused.

        @raise ValueError: the keytab cannot be used, it has no key for the service, or the levels
            make no sense.
        """
        self.levels = Levels.named(levels)
        self._threads: IReactorThreads = reactor
        self._turnstile = Turnstile(running, waiting)
        self._credentials = _acquired(keytab, service)

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin; see L{IAuthenticator.conversation}.
        """
        return _Conversation(self)

    def accept(
        self, context: raw.SecurityContext | None, token: bytes
    ) -> Deferred[raw.AcceptSecContextResult]:
        """
        Judge a client's token, in a thread.

        @param context: what the tokens before have led to; L{None} for the first one.

        @return: a Deferred that fires with what the library says, or fails with L{ProtocolError}
            if it does not accept the token.  It can be cancelled.

        @raise Overloaded: too many are waiting.
        """

        def judge() -> raw.AcceptSecContextResult:
            try:
                return raw.accept_sec_context(token, self._credentials, context)
            except GSSError as error:
                # The library may have made an error token for the client, but RFC 1961 has the
                # client told something else.  What has gone wrong only this thread knows.
                raise ProtocolError(reasonOf(error)) from error

        return self._turnstile.run(
            lambda: deferToThreadPool(self._threads, self._threads.getThreadPool(), judge)
        )


def _acquired(keytab: str | None, service: str) -> Credentials:
    """
    The keys that tickets are opened with.

    @raise ValueError: see L{GSSAPIAuthenticator}.
    """
    store = None
    if keytab:
        keytab = os.path.abspath(keytab)
        _examine(keytab)
        # With its kind, since the name may have a colon in it.
        store = {"keytab": f"FILE:{keytab}"}
    try:
        return Credentials(
            usage="accept", name=_name(service), mechs=[MechType.kerberos], store=store
        )
    except GSSError as error:
        where = f"the keytab {keytab!r}" if keytab else "the default keytab"
        whose = f"no key for {service!r}" if service else "no key that could be used"
        raise ValueError(f"{where} has {whose}: {reasonOf(error)}") from error


def _examine(keytab: str) -> None:
    """
    Look at a keytab; the library has one answer for all that can be wrong with it.

    @raise ValueError: it cannot be read, or is no keytab, or is not only its owner's.
    """
    try:
        with open(keytab, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            begin = file.read(2)
    except OSError as error:
        raise ValueError(f"the keytab {keytab!r} cannot be read: {error.strerror}") from error
    if begin not in _KEYTABS:
        raise ValueError(f"{keytab!r} is not a keytab")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(
            f"others than its owner can write to the keytab {keytab!r} (mode {mode:04o}): "
            "chmod go-w"
        )
    if mode & stat.S_IROTH:
        events.keytabReadable.emit(_log, keytab=keytab)


def _name(service: str) -> Name | None:
    """
    The name of a service, as GSSAPI has it.

    @raise ValueError: it is none.
    """
    if not service:
        return None
    if "/" in service or service.startswith("@") or service.endswith("@"):
        raise ValueError(f"the service {service!r} is neither NAME nor NAME@HOST")
    return Name(service, NameType.hostbased_service)


@implementer(IConversation)
class _Conversation:
    """
    RFC 1961 with one client: tokens until the context stands, then one exchange about the
    protection level.
    """

    def __init__(self, authenticator: GSSAPIAuthenticator) -> None:
        self._authenticator = authenticator
        self._levels = authenticator.levels
        self._stage: Callable[[bytes], Step | Deferred[Step] | None] = self._establish
        self._rounds = 0
        self._context: raw.SecurityContext | None = None
        self._identity = Identity("", Method.GSSAPI)
        self._confidential = False
        self._asked = ProtectionLevel.NONE

    def received(self, data: bytes) -> Step | Deferred[Step] | None:
        """
        Read what is due, and answer it; see L{IConversation.received}.
        """
        try:
            return self._stage(data)
        except (Overloaded, ProtocolError) as error:
            return self._refusal(len(data), str(error))

    def close(self) -> None:
        """
        Let go of the context, unless a protection has it.
        """
        self._context = None

    def _refusal(self, consumed: int, reason: str) -> Step:
        """
        What every refused client gets, R-1961-06.
        """
        return Step(consumed, ABORT, Refused(f"GSSAPI: {reason}", self._identity.name))

    def _establish(self, data: bytes) -> Deferred[Step] | None:
        """
        Read one of the client's tokens, and have it judged.
        """
        message = Frame.read(data, FrameType.AUTHENTICATION)
        if message is None:
            return None
        frame, end = message
        if not frame.token:
            raise ProtocolError("an empty token")
        self._rounds += 1
        if self._rounds > _MAX_ROUNDS:
            raise ProtocolError("too many tokens")
        judged = self._authenticator.accept(self._context, frame.token)
        return judged.addCallbacks(
            self._judged, self._unaccepted, callbackArgs=(end,), errbackArgs=(end,)
        )

    def _unaccepted(self, reason: Failure, end: int) -> Step:
        """
        The library does not accept a token.
        """
        reason.trap(ProtocolError)
        return self._refusal(end, str(reason.value))

    def _judged(self, result: raw.AcceptSecContextResult, end: int) -> Step:
        """
        The library accepts a token.
        """
        self._context = result.context
        if not result.more_steps:
            who = raw.display_name(result.initiator_name)
            name = who.name.decode("utf-8", "surrogateescape")
            self._identity = Identity(name, Method.GSSAPI)
            # MIT's library does not always set the flag.
            anonymous = RequirementFlag.anonymity in result.flags
            if anonymous or who.name_type == NameType.anonymous:
                return self._refusal(end, "an anonymous client")
            if RequirementFlag.integrity not in result.flags:
                return self._refusal(end, "the context has no integrity")
            self._confidential = RequirementFlag.confidentiality in result.flags
            self._stage = self._agree
        return Step(end, Frame(FrameType.AUTHENTICATION, result.token or b"").octets())

    def _agree(self, data: bytes) -> Step | None:
        """
        Read the protection level that the client asks for, and answer.
        """
        message = Frame.read(data, FrameType.PROTECTION_LEVEL)
        if message is None:
            return None
        frame, end = message
        # No wrapped level is that short.
        bare = len(frame.token) == 1
        if bare and not self._levels.nec:
            raise ProtocolError("a protection level that is not wrapped")
        read = ProtectionLevel.read if bare else self._opened
        self._asked = read(frame.token)
        answer = self._levels.answer(self._asked, self._confidential)
        if answer is None:
            raise ProtocolError("the context has no confidentiality")
        token = answer.octets() if bare else sealLevel(self._context, answer)
        send = Frame(FrameType.PROTECTION_LEVEL, token).octets()
        if self._levels.curl:
            self._stage = self._goOn
            return Step(end, send)
        return Step(end, send, self._accepted(answer))

    def _opened(self, token: bytes) -> ProtectionLevel:
        """
        Unwrap a protection level.
        """
        return openLevel(self._context, token)

    def _goOn(self, data: bytes) -> Step | None:
        """
        The client has been told "no protection", whatever it had asked for.  What it makes of
        that shows its next octet, which is left for whoever reads on (R-1961-20).
        """
        if not data:
            return None
        if data[0] == _REQUEST:
            return Step(0, outcome=self._accepted(ProtectionLevel.NONE))
        if data[0] == _FRAME and self._levels.goesOn(self._asked, self._confidential):
            return Step(0, outcome=self._accepted(self._asked))
        raise ProtocolError(f"octet {data[0]:#04x} after agreeing on no protection")

    def _accepted(self, level: ProtectionLevel) -> Accepted:
        """
        The good end.
        """
        if level is ProtectionLevel.NONE:
            return Accepted(self._identity)
        return Accepted(self._identity, Encapsulation(self._context, level))

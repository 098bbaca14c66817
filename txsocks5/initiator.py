"""
The client's side of GSSAPI, RFC 1961: to show a proxy who we are, to know that it is the right one,
and to agree with it on protection.

This is one of the modules that need the C{gssapi} library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gssapi import raw
from gssapi.exceptions import GSSError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from .encapsulation import Encapsulation, openLevel, reasonOf, sealLevel
from .errors import ProtocolError, SOCKSError
from .interfaces import Accepted, IConversation, Identity, Refused, Step
from .turnstile import Turnstile
from .wire import Frame, FrameType, Method, ProtectionLevel

__all__ = ["GSSAPIInitiator"]

_DEFAULT_LEVELS = (ProtectionLevel.CONFIDENTIALITY, ProtectionLevel.INTEGRITY)

_INDISPENSABLE = frozenset(
    {raw.RequirementFlag.mutual_authentication, raw.RequirementFlag.replay_detection}
)

_MAX_ROUNDS = 10
"""
How many tokens a server may ask for, as many as one of ours does (R-1961-08); Kerberos takes one.
"""


class GSSAPIInitiator:
    """
    Introduces us to one proxy, by Kerberos, as often as we connect to it.

    A context always has mutual authentication and replay detection.  Which tickets are used, and
    where the KDC is, is the business of the Kerberos library, its files and its environment
    variables.
    """

    method: int = Method.GSSAPI

    def __init__(
        self,
        reactor: Any,
        host: str,
        service: str = "socks",
        *,
        levels: Sequence[ProtectionLevel] = _DEFAULT_LEVELS,
        sequencing: bool = False,
        delegation: bool = False,
        credentials: Any = None,
        running: int = 2,
        waiting: int = 256,
    ) -> None:
        """
        @param reactor: provides L{IReactorThreads}: asking the KDC for a ticket blocks.

        @param host: the name of the proxy, as the KDC knows it.

        @param service: what the KDC calls a SOCKS server: C{socks} as in the RFC, or often C{rcmd}.

        @param levels: the protection that will do.  The server is asked for the first, and may
            answer with any.  L{ProtectionLevel.NONE} means no protection behind the introduction.

        @param sequencing: notice if messages are left out or come in another order.  Only for what
            does not send datagrams, for these may do both.

        @param delegation: let the proxy act in our name.

        @param credentials: a C{gssapi.Credentials} for who we are; by default the tickets of this
            process.

        @param running: how many calls of the Kerberos library run at a time, in threads.

        @param waiting: how many more may wait for a thread; beyond that they fail.

        @raise ValueError: there is no level, or one that does not say how to protect a message.
        """
        if not levels or ProtectionLevel.SELECTIVE in levels:
            raise ValueError(f"cannot agree on one of these levels: {list(levels)}")
        self._threads: IReactorThreads = reactor
        self._turnstile = Turnstile(running, waiting)
        self._name = raw.import_name(f"{service}@{host}".encode(), raw.NameType.hostbased_service)
        self._credentials = credentials
        self._flags = {*_INDISPENSABLE, raw.RequirementFlag.integrity}
        if ProtectionLevel.CONFIDENTIALITY in levels:
            self._flags.add(raw.RequirementFlag.confidentiality)
        if sequencing:
            self._flags.add(raw.RequirementFlag.out_of_sequence_detection)
        if delegation:
            self._flags.add(raw.RequirementFlag.delegate_to_peer)
        self.levels = tuple(levels)

    def conversation(self) -> IConversation:
        """
        Begin, with a connection on which the server has selected L{method}.

        @return: a conversation that is fed what the server says, and first of all nothing.  Its
            steps are for the server.  If it accepts, the identity is the principal as whom we are
            known now, and the protection is for all that follows.  If it refuses, the connection
            is to be closed; the server is told nothing (RFC 1961 section 4).
        """
        return _Introduction(self)

    def advance(self, context: Any, token: bytes | None) -> Deferred[Any]:
        """
        Have the Kerberos library take the next step towards a context, in a thread.

        @param context: what the step before has made of the context, L{None} for the first.

        @param token: what the server has sent.

        @return: a Deferred that fires with a C{gssapi.raw.InitSecContextResult}, or fails with
            L{ProtocolError}.

        @raise Overloaded: too many are waiting for a thread.
        """

        def step() -> Any:
            try:
                return raw.init_sec_context(
                    self._name,
                    self._credentials,
                    context,
                    raw.MechType.kerberos,
                    self._flags,
                    input_token=token,
                )
            except GSSError as error:
                # What exactly has gone wrong is only known to the thread in which it has.
                raise ProtocolError(reasonOf(error)) from error

        return self._turnstile.run(
            lambda: deferToThreadPool(self._threads, self._threads.getThreadPool(), step)
        )


@implementer(IConversation)
class _Introduction:
    """
    RFC 1961 with one server, from the first token to the level.
    """

    def __init__(self, initiator: GSSAPIInitiator) -> None:
        self._initiator = initiator
        self._context: Any = None
        self._rounds = 0
        self._due = FrameType.AUTHENTICATION

    def received(self, data: bytes) -> Step | Deferred[Step] | None:
        """
        Hear the server; see L{IConversation.received}.
        """
        if not self._rounds:
            return Deferred.fromCoroutine(self._advance(None, 0))
        try:
            message = Frame.read(data, self._due)
            if message is None:
                return None
            frame, consumed = message
            if self._due is FrameType.PROTECTION_LEVEL:
                return Step(consumed, outcome=self._agree(frame.token))
            if not frame.token:
                raise ProtocolError("an empty token before the context stands")
            if self._rounds == _MAX_ROUNDS:
                raise ProtocolError("the context does not come to stand")
        except ProtocolError as error:
            return Step(len(data), outcome=Refused(str(error)))
        return Deferred.fromCoroutine(self._advance(frame.token, consumed))

    def close(self) -> None:
        """
        Let go of the context; the protection, if there is one, has it.
        """
        self._context = None

    async def _advance(self, token: bytes | None, consumed: int) -> Step:
        """
        Answer a token, or open with one.
        """
        self._rounds += 1
        try:
            result = await self._initiator.advance(self._context, token)
            return Step(consumed, self._answer(result).octets())
        except SOCKSError as error:
            return Step(consumed, outcome=Refused(str(error)))
        except ValueError as error:
            # The ticket of a user with very many groups, say.
            return Step(consumed, outcome=Refused(f"cannot be sent: {error}"))

    def _answer(self, result: Any) -> Frame:
        """
        What a step towards the context, or the context, has to say to the server.

        @raise ProtocolError: the context stands, but not as it has to.
        """
        self._context = result.context
        if result.more_steps or result.token:
            return Frame(FrameType.AUTHENTICATION, result.token or b"")
        lacking = _INDISPENSABLE - set(result.flags)
        if lacking:
            raise ProtocolError(f"a context without {', '.join(flag.name for flag in lacking)}")
        self._due = FrameType.PROTECTION_LEVEL
        return Frame(self._due, sealLevel(self._context, self._initiator.levels[0]))

    def _agree(self, token: bytes) -> Accepted | Refused:
        """
        Hear which protection the server grants.

        @raise ProtocolError: it cannot be made out.
        """
        level = openLevel(self._context, token)
        if level not in self._initiator.levels:
            return Refused(f"the server grants only the protection level {level.name}")
        us = raw.inquire_context(self._context, initiator_name=True).initiator_name
        return Accepted(
            Identity(raw.display_name(us, name_type=False).name.decode(), self._initiator.method),
            Encapsulation(self._context, level) if level else None,
        )

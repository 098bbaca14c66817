"""
What a server says to one request, and each of the answers that lead to it.

Nothing is decided here: the request goes the way of a client's, as far as the point where a
connection would be made.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import attrs
from zope.interface import implementer

from .assembly import Assembly
from .config import Rule, writeQuota, writeRate
from .errors import BadName, NotAllowed, ProtocolError, ReplyCode, SOCKSError, replyCodeOf
from .exposure import addressesOf
from .interfaces import Identity, IPolicy, Question, Verdict
from .outgoing import Outgoing, TCPDialer
from .policy import SelfProtectingPolicy
from .roster import Roster
from .wire import Address, Command, IPAddress, Method, Request

__all__ = ["Answer", "Asked", "Explanation", "Limit", "explain"]

_MAX_NAME = 255
_ANYWHERE = Address(IPv4Address(0), 0)


@attrs.frozen
class Asked:
    """
    What a client might ask for.

    @ivar command: what to do.

    @ivar host: DST.ADDR as text: a name, or an address.

    @ivar port: DST.PORT.

    @ivar user: who it is; empty for nobody in particular.

    @ivar client: where it connects from; L{None} for a UNIX socket.
    """

    command: Command
    host: str
    port: int
    user: str = ""
    client: IPAddress | None = None


@attrs.frozen
class Answer:
    """
    What policy has said.

    @ivar subject: to what: C{client}, C{association}, C{request}, or an address.

    @ivar verdict: the answer.
    """

    subject: str
    verdict: Verdict


@attrs.frozen
class Limit:
    """
    What somebody may take.

    @ivar of: whose limit it is: C{server}, C{address}, C{user} or C{rule}.

    @ivar bandwidth: such as C{2MiB/s}; empty for no limit.

    @ivar sessions: at a time; 0 for no limit.

    @ivar quota: such as C{50GiB/day}; empty for no limit.
    """

    of: str
    bandwidth: str = ""
    sessions: int = 0
    quota: str = ""


@attrs.frozen
class Explanation:
    """
    What a server says to a request.

    @ivar asked: the request.

    @ivar allowed: whether it would be done.

    @ivar reason: the name of the rule, or the default, that decides; or what is wrong.

    @ivar rule: the rule, if it is one.

    @ivar reply: REP of the refusal; L{None} if it is none, or a client gets no reply: an
        unauthenticated one is not asked for a request, and a datagram is dropped.

    @ivar answers: what policy has said on the way.

    @ivar limits: those that hold for who asks, and for what is allowed.
    """

    asked: Asked
    allowed: bool
    reason: str
    rule: Rule | None
    reply: ReplyCode | None
    answers: Sequence[Answer]
    limits: Sequence[Limit]


@implementer(IPolicy)
class _Listening:
    """
    Stands in front of a policy and notes what it says.
    """

    def __init__(self, policy: IPolicy) -> None:
        self.answers: list[Answer] = []
        self._policy = policy

    def _noted(self, subject: str, verdict: Verdict) -> Verdict:
        self.answers.append(Answer(subject, verdict))
        return verdict

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        As the policy says.
        """
        return self._noted("client", self._policy.judgeClient(client))

    def judgeRequest(self, question: Question) -> Verdict:
        """
        As the policy says.
        """
        subject = "request" if question.destination is not None else "association"
        return self._noted(subject, self._policy.judgeRequest(question))

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        As the policy says.

        @raise Overloaded: see L{IPolicy.judgeAddress}.
        """
        return self._noted(str(address), self._policy.judgeAddress(question, address))


async def explain(reactor: Any, assembly: Assembly, asked: Asked) -> Explanation:
    """
    Find out what a server would say.  A name is looked up; no connection is made.

    @param reactor: see L{assemble <txsocks5.assembly.assemble>}; it has to run.

    @param assembly: the parts of the server.
    """
    configuration = assembly.configuration
    listeners = [address for each in configuration.listen for address in addressesOf(each)]
    advertised = configuration.network.advertise
    policy = _Listening(SelfProtectingPolicy(assembly.policy, listeners, advertised))
    outgoing = Outgoing(
        reactor,
        policy,
        assembly.resolver,
        TCPDialer(reactor),
        configuration.network,
        configuration.timeouts,
    )
    request = _Asking(assembly, policy, outgoing, asked)
    verdict: Verdict
    reply = None
    try:
        verdict = await request.decided()
    except SOCKSError as error:
        reason = str(error)
        rules = [
            answer.verdict.rule for answer in policy.answers if answer.verdict.reason == reason
        ]
        verdict = Verdict(False, reason, rules[0] if rules else None)
        if not request.silent:
            reply = replyCodeOf(error)
    limits = _limits(assembly, asked, verdict)
    return Explanation(
        asked, verdict.allowed, verdict.reason, verdict.rule, reply, tuple(policy.answers), limits
    )


class _Asking:
    """
    One request on its way.

    @ivar silent: whether a refusal at this point gets no reply.
    """

    def __init__(
        self, assembly: Assembly, policy: IPolicy, outgoing: Outgoing, asked: Asked
    ) -> None:
        self.silent = False
        self._network = assembly.configuration.network
        self._methods = [authenticator.method for authenticator in assembly.authenticators]
        self._policy = policy
        self._outgoing = outgoing
        self._asked = asked

    async def decided(self) -> Verdict:
        """
        Go the way.

        @return: what allows the request.

        @raise SOCKSError: it is refused.
        """
        asked = self._asked
        identity = self._identity()
        if asked.command is Command.UDP_ASSOCIATE:
            # Whatever the request itself tells is not where the datagrams go.
            self._read(Request(asked.command, _ANYWHERE).octets())
            self._outgoing.judge(Question(identity, asked.client, asked.command, None))
            self.silent = True
            destination = self._datagram()
        else:
            head = bytes((5, asked.command, 0))
            destination = self._read(head + self._field()).destination
        question = Question(identity, asked.client, asked.command, destination)
        host = destination.host
        if asked.command is Command.BIND and not isinstance(host, str) and host.is_unspecified:
            # Each peer is judged when it comes.
            return self._outgoing.judge(question)
        return (await self._outgoing.find(question)).verdict

    def _identity(self) -> Identity:
        """
        Who asks.  Where nobody comes without authentication, nobody in particular is somebody of
        whom no rule knows.

        @raise NotAllowed: there is no method for an unauthenticated client from there.
        """
        asked = self._asked
        others = [method for method in self._methods if method != Method.NONE]
        if asked.user or Method.NONE not in self._methods:
            return Identity(asked.user, others[0] if others else Method.PASSWORD)
        verdict = self._policy.judgeClient(asked.client)
        if not verdict.allowed:
            self.silent = True
            raise NotAllowed(verdict.reason)
        return Identity("", Method.NONE)

    def _field(self) -> bytes:
        """
        DST.ADDR and DST.PORT as a client would write them that has the host as text.

        @raise BadName: there is no room for it.
        """
        name = os.fsencode(self._asked.host)
        if len(name) > _MAX_NAME:
            raise BadName("not a host name")
        return struct.pack(f"!BB{len(name)}sH", 3, len(name), name, self._asked.port)

    def _read(self, octets: bytes) -> Request:
        """
        Read a request as the server would.

        @raise ProtocolError: it is none.
        """
        read = Request.read(octets, commands=self._network.commands)
        assert read is not None
        return read[0]

    def _datagram(self) -> Address:
        """
        Read the destination of a datagram.

        @raise ProtocolError: it is none.
        """
        read = Address.read(self._field())
        assert read is not None
        if not read[0].port:
            raise ProtocolError("port 0")
        return read[0]


def _limits(assembly: Assembly, asked: Asked, verdict: Verdict) -> Sequence[Limit]:
    """
    The limits for who asks, and of the rule that allows it.
    """
    configuration = assembly.configuration
    general = configuration.limits
    entitled = Roster(general, configuration.users, configuration.groups).entitlement(asked.user)
    limits = [Limit("server", sessions=general.sessions)]
    if asked.client is not None:
        limits.append(Limit("address", sessions=general.sessionsPerAddress))
    for of, holder in (("user", entitled), ("rule", verdict.rule if verdict.allowed else None)):
        if holder is not None:
            bandwidth = writeRate(holder.bandwidth) if holder.bandwidth else ""
            quota = writeQuota(holder.quota) if holder.quota else ""
            limits.append(Limit(of, bandwidth, holder.sessions, quota))
    return tuple(limit for limit in limits if limit != Limit(limit.of))

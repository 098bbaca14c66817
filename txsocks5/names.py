"""
Names to addresses, asked of name servers without the system's help: no hosts file, no search list,
no threads.
"""

from __future__ import annotations

import errno
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError, fail, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.names import dns
from twisted.names.error import DNSNameError, DomainError
from twisted.python.failure import Failure
from zope.interface import implementer

from .answers import Answers
from .dnsclient import DNSClient
from .errors import BadName, NameNotResolved, Overloaded
from .interfaces import IFairResolver
from .liveness import Liveness
from .shared import Shared
from .tally import originOf
from .turnstile import Lanes, Turnstile
from .wire import Address, IPAddress, parseHost, unmapped

__all__ = ["NameServer", "NoSuchName", "followed"]

_ATTEMPTS = (1.5, 3.5)
"""
Seconds to wait for the answer to a datagram, and to the second one.
"""

_PROBES = (1.0, 2.0)
"""
The same, when it is asked whether it answers at all.
"""

_PATIENCE = 8.0
"""
Seconds for a question in all, with what is asked again by TCP.
"""

_OTHER_FAMILY = 0.5
"""
Seconds to wait for the addresses of one family when those of the other have come.
"""

_SHORTEST = 5
_LONGEST = 3600
_WITHOUT_OTHER = 30
_UNKNOWN = 30
_UNANSWERED = 3
"""
Seconds to remember an answer: what a TTL may be at the least and at the most, an answer that lacks
a family, that there is no such name, that there was no answer.
"""

_SHARE = 4
"""
Which part of the questions one client may have.
"""

_MAX_ALIASES = 8
_MAX_ADDRESSES = 64


class NoSuchName(NameNotResolved):
    """
    Who has to know it says that a name does not exist, or that it has no address.
    """


@attrs.frozen
class _Found:
    """
    What a question has led to.

    @ivar addresses: at least one.

    @ivar seconds: for how long they are good.
    """

    addresses: tuple[IPAddress, ...]
    seconds: float


@implementer(IFairResolver)
class NameServer:
    """
    Asks one name server, for both families at the same time.

    The answers are remembered for as long as they are good, within bounds, and failures for a
    few seconds.  Who asks for a name while it is being asked for hears the same answer.
    """

    def __init__(
        self,
        reactor: Any,
        server: Address,
        *,
        families: Iterable[int] = (4, 6),
        running: int = 64,
        waiting: int = 1024,
        turnstile: Turnstile | None = None,
        yielding: bool = False,
    ) -> None:
        """
        @param reactor: provides C{IReactorTime}, C{IReactorUDP} and C{IReactorTCP}.

        @param server: where it is.

        @param families: which addresses to ask for: 4, 6.

        @param running: how many names are asked for at a time.  Each takes a UDP socket for each
            family, with a port of its own that nobody can guess.

        @param waiting: how many more may wait for their turn.

        @param turnstile: counts both, for several of these that are to have so many together.

        @param yielding: whether somebody else is asked if this server does not know.  Then it is
            not asked while it is silent: see L{Liveness}.
        """
        self._clock: IReactorTime = reactor
        self._server = server
        self._kinds = [{4: dns.A, 6: dns.AAAA}[family] for family in families]
        self._client = DNSClient(server, reactor)
        self._turnstile = turnstile or Turnstile(running, waiting)
        self._lanes = Lanes(max(running // _SHARE, 1), waiting // _SHARE)
        self._shared = Shared()
        self._memory = Answers(reactor.seconds)
        self._asking = 0
        self._liveness = Liveness(reactor, str(server), self._probe) if yielding else None

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name; see L{IResolver.resolve}.

        @return: a Deferred as there; it fails with L{NoSuchName} if the server says so, and with
            another L{NameNotResolved} if it cannot be asked.
        """
        known = self._recall(name)
        if known is not None:
            return known
        return self._shared.run(name, partial(self._turnstile.run, partial(self._begin, name)))

    def resolveFor(self, client: IPAddress, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name; see L{IFairResolver.resolveFor}.  A quarter of the questions that run, and
        of those that wait, may be of one address, or IPv6 /64.  What is remembered is not asked.
        """
        known = self._recall(name)
        if known is not None:
            return known
        return maybeDeferred(self._lanes.run, originOf(client), partial(self.resolve, name))

    def _recall(self, name: str) -> Deferred[Sequence[IPAddress]] | None:
        """
        What can be said of a name without asking for it.
        """
        known = self._memory.recall(name)
        if known is None and self._liveness is not None and self._liveness.isSilent():
            return fail(NameNotResolved(f"{self._server} does not answer"))
        return known

    def _begin(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Ask for a name, and remember the answer.
        """
        known = self._recall(name)
        if known is not None:
            # It has become known, or the server silent, while this waited for its turn.
            return known
        self._asking += 1
        return Deferred.fromCoroutine(self._find(name)).addBoth(self._asked)

    def _asked(self, outcome: Any) -> Any:
        """
        A name has been asked for.  What has been asked by TCP leaves a connection, which is of no
        use to anybody when there are no more questions.
        """
        self._asking -= 1
        if not self._asking:
            for protocol in self._client.connections:
                protocol.transport.loseConnection()
        return outcome

    async def _find(self, name: str) -> Sequence[IPAddress]:
        """
        Ask for a name, and remember the answer.

        @raise NameNotResolved: see L{resolve}, for this and the other errors.
        """
        began = self._clock.seconds()
        questions = [self._ask(name, kind) for kind in self._kinds]
        outcomes = await _Gathering(questions, self._clock).result
        found = [outcome for outcome in outcomes if isinstance(outcome, _Found)]
        if found:
            addresses = tuple(dict.fromkeys(each for one in found for each in one.addresses))
            seconds = min(one.seconds for one in found)
            if not all(isinstance(outcome, (_Found, NoSuchName)) for outcome in outcomes):
                seconds = min(seconds, _WITHOUT_OTHER)
            self._memory.keep(name, addresses, seconds)
            return addresses
        if self._liveness is not None:
            self._liveness.missed(began)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        # Whoever has not answered may have known more than who has said no.
        error = next((each for each in errors if not isinstance(each, NoSuchName)), errors[0])
        if isinstance(error, NameNotResolved):
            isUnknown = isinstance(error, NoSuchName)
            self._memory.keep(name, error, _UNKNOWN if isUnknown else _UNANSWERED)
        raise error

    async def _ask(self, name: str, kind: int) -> _Found:
        """
        Ask for the addresses of one family, and follow aliases.

        @raise NoSuchName: there are none.

        @raise NameNotResolved: that cannot be told.

        @raise Overloaded: see L{_query}.
        """
        current = name
        seconds: float = _LONGEST
        for _ in range(_MAX_ALIASES):
            answers = await self._query(current, kind)
            before = current
            current, addresses, shortest = followed(before, kind, answers)
            seconds = min(seconds, shortest)
            if addresses:
                return _Found(tuple(addresses[:_MAX_ADDRESSES]), max(seconds, _SHORTEST))
            if current == before:
                raise NoSuchName(f"no address found for {name}")
        raise NameNotResolved(f"too many aliases from {name}")

    async def _query(self, name: str, kind: int) -> Sequence[dns.RRHeader]:
        """
        Ask one question.

        @raise NoSuchName: there is no such name.

        @raise NameNotResolved: there is no answer, or none that helps.

        @raise Overloaded: there is no file descriptor left to ask with.
        """
        query: Any = self._client.lookupAddress if kind == dns.A else self._client.lookupIPV6Address
        asked: Deferred[tuple[Sequence[dns.RRHeader], Any, Any]]
        try:
            asked = query(name, timeout=_ATTEMPTS)
            answers, _, _ = await asked.addTimeout(_PATIENCE, self._clock)
            self._heard()
        except DNSNameError:
            self._heard()
            raise NoSuchName(f"there is no name {name}") from None
        except CannotListenError as error:
            if getattr(error.socketError, "errno", None) in (errno.EMFILE, errno.ENFILE):
                raise Overloaded(f"no file descriptor left to ask for {name}") from error
            raise self._failed(name, error) from error
        except Exception as error:
            if isinstance(error, DomainError):
                self._heard()
            for protocol in self._client.connections:
                # The next question is not to be sent where there is no answer to this one.
                protocol.transport.abortConnection()
            raise self._failed(name, error) from error
        return answers

    def _heard(self) -> None:
        """
        The server has answered.
        """
        if self._liveness is not None:
            self._liveness.heard()

    def _probe(self) -> Deferred[bool]:
        """
        Ask for what every server can tell of at once, or say that it does not: the root.

        @return: a Deferred that fires with whether there was an answer.
        """
        client: Any = self._client
        self._asking += 1
        asked: Deferred[Any] = maybeDeferred(client.lookupAuthority, "", timeout=_PROBES)
        asked.addTimeout(_PATIENCE, self._clock).addBoth(self._asked)
        return asked.addCallbacks(lambda answer: True, _isAnswer)

    def _failed(self, name: str, error: Exception) -> NameNotResolved:
        """
        Say that the server has not told.
        """
        return NameNotResolved(f"{self._server} does not tell of {name}: {type(error).__name__}")


def _isAnswer(reason: Failure) -> bool:
    """
    Whether a server has answered with an error.
    """
    reason.trap(DomainError, TimeoutError)
    return reason.check(DomainError) is not None


def followed(
    name: str, kind: int, answers: Iterable[dns.RRHeader]
) -> tuple[str, list[IPAddress], float]:
    """
    Find the addresses of a name in an answer, by way of the aliases in it.

    @param name: what was asked for.

    @param kind: the type of the records with addresses.

    @param answers: what the server says; what does not belong to the name is passed over.

    @return: the name at the end of the aliases; its addresses, if the answer has them; and for how
        many seconds all that is good.

    @raise NameNotResolved: an alias is for something that is no name of a host.
    """
    aliases: dict[str, tuple[bytes, float]] = {}
    addresses: dict[str, list[IPAddress]] = {}
    lifetimes: dict[str, float] = {}
    for record in answers:
        owner = record.name.name.decode("ascii", "replace").lower().removesuffix(".")
        payload: Any = record.payload
        if record.type == dns.CNAME:
            aliases[owner] = (payload.name.name, record.ttl)
        elif record.type == kind:
            packed = payload.address
            address: IPAddress = IPv4Address(packed) if kind == dns.A else IPv6Address(packed)
            addresses.setdefault(owner, []).append(unmapped(address))
            lifetimes[owner] = min(lifetimes.get(owner, _LONGEST), record.ttl)
    seconds: float = _LONGEST
    while name not in addresses and name in aliases:
        # Taken out, so that a circle comes to an end.
        target, lifetime = aliases.pop(name)
        seconds = min(seconds, lifetime)
        try:
            host = parseHost(target)
        except BadName as error:
            raise NameNotResolved(f"{name} is an alias for no host name") from error
        if not isinstance(host, str):
            raise NameNotResolved(f"{name} is an alias for an address")
        name = host
    return name, addresses.get(name, []), min(seconds, lifetimes.get(name, _LONGEST))


class _Gathering:
    """
    Asks several questions at the same time.

    @ivar result: fires with what each of them has led to, in their order; L{None} for one that was
        given up, as another has been answered for a while.
    """

    def __init__(
        self, questions: Sequence[Coroutine[Any, Any, _Found]], clock: IReactorTime
    ) -> None:
        self.result: Deferred[Sequence[_Found | BaseException | None]] = Deferred()
        self._clock = clock
        self._outcomes: list[_Found | BaseException | None] = [None] * len(questions)
        self._enough: IDelayedCall | None = None
        self._over = False
        self._asked = [Deferred.fromCoroutine(question) for question in questions]
        for place, asked in enumerate(self._asked):
            asked.addBoth(self._ended, place)

    def _ended(self, outcome: _Found | Failure, place: int) -> None:
        """
        One of them has been answered.
        """
        if self._over:
            return
        self._outcomes[place] = outcome.value if isinstance(outcome, Failure) else outcome
        if None not in self._outcomes:
            self._finish()
        elif isinstance(outcome, _Found):
            self._enough = self._clock.callLater(_OTHER_FAMILY, self._finish)

    def _finish(self) -> None:
        """
        Wait no longer.
        """
        self._over = True
        if self._enough is not None and self._enough.active():
            self._enough.cancel()
        for asked in self._asked:
            asked.cancel()
        self.result.callback(self._outcomes)

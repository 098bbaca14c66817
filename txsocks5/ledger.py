"""
Who has taken how much of what is limited.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from time import time
from typing import Any, TypeVar
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from . import events
from .bandwidth import Bucket, Meter, Meters, Part, Share
from .config import Group, Limits, Rule, User, timestamp
from .errors import NotAllowed, OverLimit, Overloaded
from .interfaces import Question
from .quotas import Account, Quotas
from .roster import Entitlement, Roster
from .slices import inSlices
from .tally import LocalTally, Tally, originOf
from .usage import UsageDatabase
from .wire import IPAddress

__all__ = ["Holder", "Holding", "Ledger"]

_T = TypeVar("_T")

InThread = Callable[[Callable[[], Any]], Deferred[Any]]

_SERVER = b"s"

_LOOKED_AT = 4
"""
Unused buckets that are looked at when a session ends.
"""

_REPORTS = 10
"""
Seconds between two reports that connections were turned away.
"""


class Holder(TypingProtocol):
    """
    Whoever does a session's request.
    """

    def metered(self, meter: Meter | None) -> None:
        """
        Other limits hold for what the session relays.

        @param meter: see L{Holding.meter}.
        """

    def overdrawn(self, reason: str) -> None:
        """
        A quota is used up: the session has to end.
        """


class Holding:
    """
    What one session has taken.  It belongs to whoever does the session's request.

    @ivar name: the user's name.

    @ivar client: where the client connects from; L{None} for a UNIX socket.

    @ivar rule: what has allowed the request, if that was a rule.

    @ivar holder: who has it.

    @ivar keys: what it is counted by.

    @ivar meter: how much it may relay; L{None} for no limit.

    @ivar outgoing: source addresses that the user has of its own, or by a group.
    """

    __slots__ = ("_ledger", "client", "holder", "keys", "meter", "name", "outgoing", "rule")

    def __init__(self, ledger: Ledger, question: Question, rule: Rule | None, holder: Holder):
        self._ledger = ledger
        self.name = question.identity.name
        self.client = question.client
        self.rule = rule
        self.holder = holder
        self.keys: Collection[bytes] = ()
        self.meter: Meters | None = None
        self.outgoing: tuple[IPAddress, ...] = ()

    def release(self) -> None:
        """
        The session is over; nothing happens if it has been before.
        """
        self._ledger.release(self)


class Ledger:
    """
    Holds the clients of a server to their limits.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits | None = None,
        users: Mapping[str, User] | None = None,
        groups: Mapping[str, Group] | None = None,
        *,
        tally: Tally | None = None,
        now: Callable[[], float] = time,
        inThread: InThread | None = None,
    ) -> None:
        """
        @param limits: those for all.

        @param users: what is special about some of them, by name.

        @param groups: what some have in common, by the group's name.

        @param tally: where to count; by default, in this process alone.

        @param now: tells the time of the calendar, in seconds since 1970 in UTC.

        @param inThread: calls something in a thread, if there is a database; by default, one of
            the reactor's.
        """
        self._clock = clock
        self._settle(limits or Limits())
        self._roster = Roster(self._limits, users or {}, groups or {})
        self._tally: Tally = LocalTally() if tally is None else tally
        self._now = now
        inThread = inThread or partial(_inThread, clock)
        self._quotas = Quotas(clock, self._tally, now, _database(self._limits), inThread)
        self._holdings: set[Holding] = set()
        self._buckets: dict[bytes, Bucket] = {}
        # Those that nobody uses: they are kept until they are full, so that nobody gets more by
        # coming again and again.
        self._unused: OrderedDict[bytes, None] = OrderedDict()
        # Connections that were turned away and have not been reported, and when the next report
        # is due.
        self._unreported = 0
        self._reportDue = 0.0

    def _settle(self, limits: Limits) -> None:
        """
        Take over what holds for all.
        """
        self._limits = limits
        self._isLimited = bool(limits.sessions or limits.sessionsPerAddress)

    def start(self) -> None:
        """
        Read what quotas have been used.  To be called before the first client comes.

        @raise UnusableDatabase: the database cannot be used.
        """
        self._quotas.start()

    def stop(self) -> Deferred[None]:
        """
        Write down what quotas have been used.  To be called when the last client has gone.

        @return: a Deferred that fires when that is done, or has failed, which has been logged.
        """
        return self._quotas.stop()

    def enter(self, client: IPAddress | None) -> bytes:
        """
        A client has connected, and is still to say who it is and what it wants.

        @param client: where it connects from; L{None} for a UNIX socket, which has no limit.

        @return: what to call L{leave} with when it has, or is gone; empty if nothing was counted.

        @raise OverLimit: its address has too many such connections (S-11).
        """
        limit = self._limits.handshakesPerAddress
        if not limit or client is None:
            return b""
        key = b"h" + originOf(client)
        if not self._tally.take(key, limit):
            self._turnAway(client, limit)
            raise OverLimit(f"limit: {limit} unauthenticated connections of {client}")
        return key

    def leave(self, key: bytes) -> None:
        """
        A client has said what it wants, or is gone.

        @param key: from L{enter}.
        """
        if key:
            self._tally.give(key)

    def _turnAway(self, client: IPAddress, limit: int) -> None:
        """
        Report that connections are turned away, but not each of them: whoever floods the server
        shall not flood its log.
        """
        self._unreported += 1
        now = self._clock.seconds()
        if now >= self._reportDue:
            events.crowded.emit(self._log, client=str(client), limit=limit, count=self._unreported)
            self._unreported = 0
            self._reportDue = now + _REPORTS

    def hold(self, question: Question, rule: Rule | None, holder: Holder) -> Holding:
        """
        Policy has allowed a request: count its session.

        @param rule: what has allowed it, if that was a rule.

        @param holder: hears when something changes.

        @return: what is to be released when the session is over.

        @raise NotAllowed: the user's time is over.

        @raise OverLimit: the user, the address or the rule has reached a limit, or has used up a
            quota.

        @raise Overloaded: the server has.
        """
        holding = Holding(self, question, rule, holder)
        entitled = self._roster.entitlement(holding.name)
        holding.outgoing = entitled.outgoing
        if rule is not None or entitled.isLimited or self._isLimited:
            self._limit(holding, entitled)
        self._holdings.add(holding)
        return holding

    def _limit(self, holding: Holding, entitled: Entitlement) -> None:
        """
        Count a session, where there is something to count.

        @raise NotAllowed: see L{hold}, for this and the others.
        """
        for account in self._accounts(holding, entitled):
            if not account.left:
                raise OverLimit(account.reason)
        if entitled.expires is not None and timestamp(entitled.expires) <= self._now():
            raise NotAllowed(f"{_called(holding.name)} expired at {entitled.expires.isoformat()}")
        holding.keys = keys = set()
        try:
            for key, limit, whose in self._counted(holding, entitled):
                if not self._tally.take(key, limit):
                    kind = Overloaded if key == _SERVER else OverLimit
                    raise kind(f"limit: {limit} sessions {whose}")
                keys.add(key)
        except Exception:
            self._giveBack(holding)
            raise
        holding.meter = self._metersOf(holding, entitled)

    def release(self, holding: Holding) -> None:
        """
        A session is over; nothing happens if it has been before.
        """
        self._holdings.discard(holding)
        if holding.keys:
            self._giveBack(holding)
        meter = holding.meter
        if meter is not None:
            holding.meter = None
            meter.leave()
            self._tidy(holding)

    def _giveBack(self, holding: Holding) -> None:
        """
        Count a session no more.
        """
        keys, holding.keys = holding.keys, ()
        for key in keys:
            self._tally.give(key)

    def _counted(self, holding: Holding, entitled: Entitlement) -> Iterable[tuple[bytes, int, str]]:
        """
        By what a session is counted: wherever there is a limit.

        @return: each key, the limit, and how to say whose it is.
        """
        limits, rule = self._limits, holding.rule
        if limits.sessionsPerAddress and holding.client is not None:
            key = b"a" + originOf(holding.client)
            yield key, limits.sessionsPerAddress, f"of {holding.client}"
        if entitled.sessions:
            yield _keyOf(b"u", holding.name), entitled.sessions, f"of {_called(holding.name)}"
        if rule is not None and rule.sessions:
            yield _keyOf(b"r", rule.name), rule.sessions, f"by rule {rule.name}"
        if limits.sessions:
            yield _SERVER, limits.sessions, "of the server"

    def _metersOf(self, holding: Holding, entitled: Entitlement) -> Meters | None:
        """
        What measures what a session relays, if anything.
        """
        parts: list[Part] = [
            account.claim(holding.holder.overdrawn) for account in self._accounts(holding, entitled)
        ]
        parts += [self._share(key, rate) for key, rate in self._rates(holding, entitled)]
        return Meters(parts) if parts else None

    def _accounts(self, holding: Holding, entitled: Entitlement) -> Iterable[Account]:
        """
        The quotas of a session.
        """
        if entitled.quota is not None:
            yield self._quotas.account(_written(_called(holding.name)), entitled.quota)
        rule = holding.rule
        if rule is not None and rule.quota is not None and rule.quota.octets:
            yield self._quotas.account(_written(f"rule {rule.name}"), rule.quota)

    def _rates(self, holding: Holding, entitled: Entitlement) -> Iterable[tuple[bytes, int]]:
        """
        The limits of bandwidth of a session, by the keys of their buckets.
        """
        if entitled.bandwidth:
            yield _keyOf(b"U", holding.name), entitled.bandwidth
        if holding.rule is not None and holding.rule.bandwidth:
            yield _keyOf(b"R", holding.rule.name), holding.rule.bandwidth

    def _share(self, key: bytes, rate: int) -> Share:
        """
        A part in the bucket of a key.
        """
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._clock, self._tally, key, rate)
        elif bucket.rate != rate:
            bucket.setRate(rate)
        return bucket.share()

    def _tidy(self, holding: Holding) -> None:
        """
        Forget buckets that make no difference any more: look at those of a session that has left
        them, and at some that were left before.
        """
        for key in (_keyOf(b"U", holding.name), holding.rule and _keyOf(b"R", holding.rule.name)):
            if key in self._buckets:
                self._unused[key] = None
        for _ in range(min(len(self._unused), _LOOKED_AT)):
            key, _ = self._unused.popitem(last=False)
            bucket = self._buckets[key]
            if not bucket.isUsed:
                if bucket.forget():
                    del self._buckets[key]
                else:
                    self._unused[key] = None

    def reconfigure(
        self,
        limits: Limits,
        users: Mapping[str, User],
        groups: Mapping[str, Group],
        rules: Iterable[Rule] = (),
    ) -> Deferred[int]:
        """
        Let other limits hold from now on.  Sessions that are more than is allowed now go on, but
        they count; how much may be relayed holds for all of them.

        @param rules: those of the policy from now on.  A session belongs to the rule of the same
            name as before, if there is one.

        @return: a Deferred that fires with how many sessions it holds for, when it does for all:
            of thousands, for some more in each turn of the reactor.
        """
        if limits.database != self._limits.database:
            self._quotas.move(_database(limits))
        self._settle(limits)
        self._roster = Roster(limits, users, groups)
        named = {rule.name: rule for rule in rules}
        return inSlices(self._clock, self._holdings, partial(self._fit, self._roster, named))

    def _fit(self, roster: Roster, rules: Mapping[str, Rule], holding: Holding) -> int:
        """
        Let the limits hold for a session, unless it has ended or there are others by now.

        @param rules: by their names.

        @return: 1 if they do, 0 if not.
        """
        if roster is not self._roster or holding not in self._holdings:
            return 0
        entitled = roster.entitlement(holding.name)
        before = holding.meter
        if holding.rule is not None:
            holding.rule = rules.get(holding.rule.name)
        keys = set(holding.keys)
        for key, _, _ in self._counted(holding, entitled):
            if key not in keys:
                self._tally.take(key, 0)
                keys.add(key)
        holding.keys = keys
        holding.meter = self._metersOf(holding, entitled)
        holding.holder.metered(holding.meter)
        if before is not None:
            before.replaced()
        return 1


def _keyOf(kind: bytes, name: str) -> bytes:
    """
    The key of what belongs to a user or a rule.
    """
    return kind + name.encode("utf-8", "surrogatepass")


def _database(limits: Limits) -> UsageDatabase | None:
    """
    What remembers the quotas.
    """
    return UsageDatabase(limits.database) if limits.database else None


def _called(name: str) -> str:
    """
    What a user is called in the log.
    """
    return f"user {name}" if name else "users without a name"


def _written(text: str) -> str:
    """
    A text as it can be written into a file, whatever an authenticator takes for a name.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _inThread(reactor: Any, call: Callable[[], _T]) -> Deferred[_T]:
    """
    Call something in one of a reactor's threads.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), call)

"""
How much may be relayed in a period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import events
from .config import Quota, writeQuota
from .periods import Period
from .sweep import Sweep
from .tally import Tally
from .usage import Usage, UsageDatabase

__all__ = ["Account", "Claim", "Quotas"]

_OLD = 32 * 24 * 3600
"""
A period that began so many seconds ago is over, whatever it is.
"""


class Account:
    """
    What one owner of a quota has relayed in the present period.

    @ivar owner: a user or a rule, as the log calls it.

    @ivar quota: how much it may be.

    @ivar period: the present one.

    @ivar claims: the sessions that belong to it.
    """

    __slots__ = ("_base", "_isOver", "_key", "_quotas", "claims", "owner", "period", "quota")

    def __init__(self, quotas: Quotas, owner: str, quota: Quota, base: Usage | None) -> None:
        """
        @param base: what is known of it from before.
        """
        self._quotas = quotas
        self.owner = owner
        self.quota = quota
        self.claims: set[Claim] = set()
        self.begin(base)

    def begin(self, base: Usage | None = None) -> None:
        """
        Begin with the present period.
        """
        period = self.period = Period(self.quota.period, self._quotas.now())
        self._base = base.octets if base is not None and base.begin == period.begin else 0
        self._key = f"q{period.begin} {self.quota.period} {self.owner}".encode()
        self._isOver = False

    @property
    def used(self) -> int:
        """
        Octets that have been relayed.
        """
        return self._quotas.tally.advance(self._key, self._base, 0)

    @property
    def left(self) -> int:
        """
        Octets that may still be relayed.
        """
        return max(self.quota.octets - self.used, 0)

    @property
    def reason(self) -> str:
        """
        What to say when there is nothing left.
        """
        return f"quota: {writeQuota(self.quota)} of {self.owner} is used up until {self.period.end}"

    def claim(self, overdrawn: Callable[[str], None]) -> Claim:
        """
        A session begins.

        @param overdrawn: called with the reason if it has to end because nothing is left; not from
            within this call.

        @return: what it is to tell.
        """
        claim = Claim(self, overdrawn)
        self.claims.add(claim)
        self._quotas.began()
        return claim

    def leave(self, claim: Claim) -> None:
        """
        A session is over.
        """
        self.claims.remove(claim)
        self._quotas.ended()

    def allowance(self) -> int:
        """
        See L{Meter.allowance <txsocks5.bandwidth.Meter.allowance>}.
        """
        left = self.left
        if not left:
            self._over()
        return left

    def spent(self, octets: int) -> None:
        """
        See L{Meter.spent <txsocks5.bandwidth.Meter.spent>}.
        """
        used = self._quotas.tally.advance(self._key, self._base, octets)
        self._quotas.changed(self)
        if used >= self.quota.octets:
            self._over()

    def _over(self) -> None:
        """
        Nothing is left: end all sessions, but not from within what one of them does.
        """
        if not self._isOver:
            self._isOver = True
            self._quotas.later(self._endAll)

    def _endAll(self) -> None:
        """
        End all sessions, unless there is something left again.
        """
        self._isOver = False
        if not self.left:
            self._quotas.tellOver(self)
            for claim in list(self.claims):
                claim.overdrawn(self.reason)

    def change(self, quota: Quota) -> None:
        """
        The quota is another one from now on, of the same kind of period.
        """
        self.quota = quota
        self.allowance()

    def remember(self, usage: Usage) -> None:
        """
        Count what has been relayed before, if it was in this period.
        """
        if usage.begin == self.period.begin:
            self._quotas.tally.advance(self._key, usage.octets, 0)
            self.allowance()

    def forget(self) -> None:
        """
        The period is over.
        """
        self._quotas.tally.forget(self._key, self.used)

    def usage(self) -> Usage:
        """
        What to write down.
        """
        return Usage(self.owner, self.quota.period, self.period.begin, self.used)


class Claim:
    """
    One session's part in an L{Account}: a L{Part <txsocks5.bandwidth.Part>}.
    """

    __slots__ = ("_account", "overdrawn")

    def __init__(self, account: Account, overdrawn: Callable[[str], None]) -> None:
        self._account = account
        self.overdrawn = overdrawn

    def allowance(self) -> int:
        """
        See L{Meter.allowance <txsocks5.bandwidth.Meter.allowance>}.
        """
        return self._account.allowance()

    def spent(self, octets: int) -> None:
        """
        See L{Meter.spent <txsocks5.bandwidth.Meter.spent>}.
        """
        self._account.spent(octets)

    def wait(self, resume: Callable[[], None]) -> None:
        """
        Nothing is left, and so the session ends: C{resume} is not called.
        """

    def leave(self) -> None:
        """
        The session is over.
        """
        self._account.leave(self)


class Quotas:
    """
    All accounts.  What has been relayed is written down once a second, in another thread; if that
    fails nothing suffers, and it is tried again as long as it takes.

    @ivar tally: where the octets are counted.

    @ivar now: tells the time of the calendar, in seconds since 1970 in UTC.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        tally: Tally,
        now: Callable[[], float],
        database: UsageDatabase | None = None,
        inThread: Callable[[Callable[[], Any]], Deferred[Any]] = maybeDeferred,
    ) -> None:
        """
        @param database: what remembers the accounts when the server is not running; L{None} for
            nothing.

        @param inThread: calls something in a thread; the Deferred fires in this one.
        """
        self.tally = tally
        self.now = now
        self._clock = clock
        self._sweep = Sweep(clock)
        self._database = database
        self._inThread = inThread
        self._accounts: dict[tuple[str, str], Account] = {}
        self._loaded: dict[tuple[str, str], Usage] = {}
        # When the first of their periods ends.
        self._ends = 0.0
        self._sessions = 0
        self._changed: set[Account] = set()
        # The database is used by one thread at a time.
        self._one = DeferredLock()
        self._failing = False

    def start(self) -> None:
        """
        Read what has been written down.

        @raise UnusableDatabase: that is not possible.
        """
        if self._database is not None:
            self._remember(self._database.load(self.now() - _OLD))

    def _remember(self, usages: Iterable[Usage]) -> None:
        """
        Count what has been relayed before.
        """
        for usage in usages:
            account = self._accounts.get((usage.owner, usage.period))
            if account is None:
                self._loaded[usage.owner, usage.period] = usage
            else:
                account.remember(usage)

    def stop(self) -> Deferred[None]:
        """
        Write down everything.

        @return: a Deferred that fires when that is done, or has failed.
        """
        self._sweep.remove(self)
        database = self._database
        if database is None:
            return succeed(None)
        # Whoever fails at the end is told of, though it may have been failing before.
        self._failing = False
        self._write()
        return self._one.run(self._inThread, database.close)

    def move(self, database: UsageDatabase | None) -> None:
        """
        Let another file remember the accounts from now on.  What it knows already counts, as soon
        as it has been read.

        @param database: L{None} for nothing.
        """
        before, self._database = self._database, database
        if before is not None:
            self._one.run(self._inThread, before.close)
        if database is not None:
            self._changed.update(self._accounts.values())
            self._sweep.add(self)
            self._one.run(self._load, database)

    def _load(self, database: UsageDatabase) -> Deferred[Any]:
        """
        It is our turn to read.
        """
        loading = self._inThread(partial(database.load, self.now() - _OLD))
        return loading.addCallbacks(self._remember, self._notWritten)

    def account(self, owner: str, quota: Quota) -> Account:
        """
        The account of an owner.

        @param owner: as the log calls it.
        """
        key = (owner, quota.period)
        account = self._accounts.get(key)
        if account is None:
            account = Account(self, owner, quota, self._loaded.pop(key, None))
            self._accounts[key] = account
            self._ends = min(self._ends or account.period.until, account.period.until)
        elif account.period.until <= self.now():
            account.forget()
            account.begin()
        if account.quota != quota:
            account.change(quota)
        return account

    # What the accounts say

    def began(self) -> None:
        """
        A session has begun.
        """
        self._sessions += 1
        self._sweep.add(self)

    def ended(self) -> None:
        """
        A session has ended.
        """
        self._sessions -= 1

    def changed(self, account: Account) -> None:
        """
        Something has been relayed.
        """
        self._changed.add(account)

    def later(self, call: Callable[[], None]) -> None:
        """
        Call C{call} soon.
        """
        self._clock.callLater(0, call)

    def tellOver(self, account: Account) -> None:
        """
        Log that an account is used up.
        """
        events.quotaOver.emit(
            self._log,
            owner=account.owner,
            quota=writeQuota(account.quota),
            until=account.period.end,
        )

    # Once a second

    def swept(self, now: float) -> None:
        """
        Write down what has changed, begin with the periods that begin, and end the sessions for
        which others have left nothing.
        """
        if self._changed and not self._one.locked:
            self._write()
        if self.now() >= self._ends:
            self._turnOver()
        if self.tally.isShared:
            for account in self._accounts.values():
                if account.claims:
                    account.allowance()
        if not (self._changed or self._one.locked or self._sessions):
            self._sweep.remove(self)

    def _turnOver(self) -> None:
        """
        Some periods are over.
        """
        now = self.now()
        for key, account in list(self._accounts.items()):
            if account.period.until <= now:
                account.forget()
                self._changed.discard(account)
                if account.claims:
                    account.begin()
                else:
                    del self._accounts[key]
        self._ends = min([a.period.until for a in self._accounts.values()], default=0.0)

    def _write(self) -> None:
        """
        Write down what has changed.
        """
        self._one.run(self._save)

    def _save(self) -> Deferred[Any]:
        """
        It is our turn to write.
        """
        changed, self._changed = self._changed, set()
        if self._database is None or not changed:
            return succeed(None)
        usages = [account.usage() for account in changed]
        saving = self._inThread(partial(self._database.save, usages))
        return saving.addCallbacks(self._written, self._notWritten)

    def _written(self, ignored: object) -> None:
        """
        It is written down.
        """
        if self._failing:
            self._failing = False
            events.quotasSaved.emit(self._log)

    def _notWritten(self, reason: Failure) -> None:
        """
        It is not.  Nobody knows what the file holds now, so everything is written again.
        """
        self._changed.update(self._accounts.values())
        if not self._failing:
            self._failing = True
            events.quotasNotSaved.emit(self._log, reason=reason.getErrorMessage())

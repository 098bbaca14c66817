"""
What makes guessing passwords slow.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from .config import Failures
from .outcome import Outcome
from .tally import originOf
from .wire import IPAddress

__all__ = ["Exhausted", "Throttle", "Turn"]

_MAX_DELAY = 8.0
_MAX_ENTRIES = 10_000
_FAMILIAR = 7 * 24 * 3600.0

_TOLD = 3600.0
"""
Seconds until other processes are told again that a user still comes from an address.
"""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Exhausted(Exception):
    """
    There have been too many failures; the text says of what.
    """


@attrs.define
class _Source:
    """
    One address's recent failures.

    @ivar times: when they were and who was claimed to come, the oldest first; as many as the
        limit at the most.

    @ivar row: how many there were since the last success.
    """

    times: deque[tuple[float, str]] = attrs.field(factory=deque)
    row: int = 0


@attrs.define
class _Line:
    """
    One address's guesses that have not ended.

    @ivar running: how many are being looked at, by the user.

    @ivar waiting: those that must not be looked at yet, with the user.

    @ivar admitting: whether somebody looks after those that wait.
    """

    running: dict[str, int] = attrs.field(factory=dict)
    waiting: OrderedDict[Deferred[Turn], str] = attrs.field(factory=OrderedDict)
    admitting: bool = False

    def leave(self, waiting: Deferred[Turn]) -> None:
        """
        Somebody does not want to wait any more.
        """
        self.waiting.pop(waiting, None)


class Turn:
    """
    The permission to look at one guess.  It ends with the first call of any of its methods; the
    others do nothing then.
    """

    def __init__(self, throttle: Throttle, key: bytes, username: str, stranger: bool) -> None:
        self.key = key
        self.username = username
        self.stranger = stranger
        self._throttle: Throttle | None = throttle

    def failed(self) -> float:
        """
        The guess was wrong.

        @return: for how many seconds to keep the client waiting for the refusal; counting from
            its question.
        """
        throttle, self._throttle = self._throttle, None
        return throttle.failed(self) if throttle is not None else 0.0

    def succeeded(self) -> None:
        """
        The guess was right.
        """
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle.succeeded(self)

    def abandoned(self) -> None:
        """
        Nobody will know: the client has left, or there was no time to look.  That is no failure:
        otherwise whoever keeps the checkers busy would lock out others.
        """
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle.ended(self)


def _originOf(client: IPAddress | None) -> bytes:
    """
    What counts as one address; clients without one count as one.
    """
    return b"" if client is None else originOf(client)


class Throttle:
    """
    Remembers failures, R-1929-09.

    I{By address}, where those of an IPv6 /64 count together: after C{limit} failures within
    C{window} an address is not heard until one of them is older than that.

    I{By user}: many addresses together could guess at one user without end.  Refusing that user
    would be what a stranger could do to anybody.  So, when there have been C{limit} failures as
    a user from wherever within C{window}, each address has one guess at that user instead of
    C{limit} of them: one that has failed as that user is not heard as that user until this
    failure is older than C{window}.  That does not concern addresses from which the user has
    come within the last seven days, and their failures do not count for it.  So nothing that
    happens at other addresses ever keeps out who knows the password.

    I{At the same time}: a guess that is being looked at counts as a failure until it proves to be
    none, so that many guesses at once are not more than one after the other.  What would be too
    much then waits, and is heard or refused when it is known.

    Without a limit nobody waits and nobody is refused unheard.

    I{In several processes}: each tells the others what has become of guesses, a moment later.  Of
    the guesses that may be looked at beside those that have failed, each takes only its part.

    The memory is bounded: of 10,000 addresses that have failed, users that were failed as, and
    pairs of user and address that have succeeded, the one that is longest ago is forgotten.
    Those that wait are connections in the handshake, which others bound.
    """

    def __init__(self, clock: IReactorTime, failures: Failures) -> None:
        self._clock = clock
        self._failures = failures
        self._sources: dict[bytes, _Source] = {}
        self._targets: dict[str, deque[float]] = {}
        # When they last came, and when others were last told.
        self._familiar: dict[tuple[str, bytes], tuple[float, float]] = {}
        self._lines: dict[bytes, _Line] = {}
        # How many guesses of strangers are being looked at, by the user.
        self._strangers: dict[str, int] = {}
        self._tell: Callable[[Outcome], None] | None = None
        self._processes = 1

    def setFailures(self, failures: Failures) -> None:
        """
        Let other limits hold from now on, for what is remembered as well.
        """
        self._failures = failures

    def join(self, tell: Callable[[Outcome], None], processes: int) -> None:
        """
        Be one of several processes from now on.

        @param tell: called with what the others are to L{hear}.

        @param processes: how many there are.
        """
        self._tell = tell
        self._processes = processes

    def hear(self, outcome: Outcome) -> None:
        """
        Something has become of a guess in another process, now or before this one was there.
        """
        at = min(outcome.at, self._clock.seconds())
        if outcome.failed:
            self._remember(outcome.origin, outcome.username, outcome.stranger, at)
        else:
            self._trust(outcome.origin, outcome.username, at)
        line = self._lines.get(outcome.origin)
        if line is not None:
            self._goOn(outcome.origin, line)

    def turn(self, client: IPAddress | None, username: str) -> Deferred[Turn]:
        """
        Ask to look at a guess.

        @param client: where it comes from; clients without address count as one.

        @return: a Deferred that fires with the L{Turn}, perhaps after others at the same address
            have ended, or fails with L{Exhausted}.  Cancelling it gives up the place.
        """
        try:
            turn = self.turnAtOnce(client, username)
        except Exhausted as error:
            return fail(error)
        if turn is not None:
            return succeed(turn)
        line = self._lines[_originOf(client)]
        waiting: Deferred[Turn] = Deferred(line.leave)
        line.waiting[waiting] = username
        return waiting

    def turnAtOnce(self, client: IPAddress | None, username: str) -> Turn | None:
        """
        Look at a guess, if nobody has to be waited for; see L{turn}.

        @return: L{None} if somebody has.

        @raise Exhausted: this one is not heard.
        """
        key = _originOf(client)
        refusal = self._refusal(key, username)
        if refusal is not None:
            raise refusal
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        if line.waiting or self._hasToWait(key, line, username):
            return None
        return self._admit(key, line, username)

    def _refusal(self, key: bytes, username: str) -> Exhausted | None:
        """
        Why a guess is not heard.
        """
        limit = self._failures.limit
        source = self._recent(key)
        if not limit or source is None:
            return None
        if len(source.times) >= limit:
            return Exhausted("too many failures from this address")
        if (
            any(username == other for _, other in source.times)
            and self._isStranger(key, username)
            and self._against(username) >= limit
        ):
            return Exhausted("too many failures as this user")
        return None

    def _hasToWait(self, key: bytes, line: _Line, username: str) -> bool:
        """
        Whether a guess would be too much if all failed that are being looked at.
        """
        limit = self._failures.limit
        if not limit or not line.running:
            return False
        source = self._recent(key)
        running = self._processes * sum(line.running.values())
        if running + (len(source.times) if source else 0) >= limit:
            return True
        return (
            username in line.running
            and self._isStranger(key, username)
            and self._against(username) + self._processes * self._strangers.get(username, 0)
            >= limit
        )

    def _recent(self, key: bytes) -> _Source | None:
        """
        The failures of an address that still count.
        """
        source = self._sources.get(key)
        if source is None:
            return None
        begin = self._clock.seconds() - self._failures.window
        while source.times and source.times[0][0] <= begin:
            source.times.popleft()
        if not source.times:
            del self._sources[key]
            return None
        return source

    def _against(self, username: str) -> int:
        """
        How many failures as a user, from addresses that are not the user's, still count.
        """
        times = self._targets.get(username)
        if times is None:
            return 0
        begin = self._clock.seconds() - self._failures.window
        while times and times[0] <= begin:
            times.popleft()
        if not times:
            del self._targets[username]
        return len(times)

    def _isStranger(self, key: bytes, username: str) -> bool:
        """
        Whether a user has not come from an address of late.
        """
        came = self._familiar.get((username, key))
        return came is None or came[0] + _FAMILIAR <= self._clock.seconds()

    def _admit(self, key: bytes, line: _Line, username: str) -> Turn:
        """
        Let a guess be looked at.
        """
        turn = Turn(self, key, username, self._isStranger(key, username))
        line.running[username] = line.running.get(username, 0) + 1
        if turn.stranger:
            self._strangers[username] = self._strangers.get(username, 0) + 1
        return turn

    def failed(self, turn: Turn) -> float:
        """
        Count a failure; see L{Turn.failed}.
        """
        now = self._clock.seconds()
        source = self._remember(turn.key, turn.username, turn.stranger, now)
        self._say(turn, now, failed=True)
        delay = self._failures.delay * 2.0 ** min(source.row - 1, 30)
        self.ended(turn)
        return min(delay, max(_MAX_DELAY, self._failures.delay))

    def _remember(self, key: bytes, username: str, stranger: bool, at: float) -> _Source:
        """
        Count a failure, here or in another process.
        """
        source = self._recent(key) or _Source()
        self._keep(self._sources, key, source)
        source.times.append((at, username))
        # Without a limit only the last one counts, which tells how long to remember the row.
        while len(source.times) > max(self._failures.limit, 1):
            source.times.popleft()
        source.row += 1
        if stranger and self._failures.limit:
            self._against(username)
            times = self._targets.get(username, deque())
            self._keep(self._targets, username, times)
            times.append(at)
            while len(times) > self._failures.limit:
                times.popleft()
        return source

    def succeeded(self, turn: Turn) -> None:
        """
        Start the delay of an address afresh; see L{Turn.succeeded}.  Its failures still count
        towards the limit, so that one good password does not buy any number of guesses.
        """
        now = self._clock.seconds()
        if self._trust(turn.key, turn.username, now):
            self._say(turn, now, failed=False)
        self.ended(turn)

    def _trust(self, key: bytes, username: str, at: float) -> bool:
        """
        Count a success, here or in another process.

        @return: whether others would like to know.
        """
        source = self._recent(key)
        isNew = source is not None and source.row > 0
        if source is not None:
            source.row = 0
        _, told = self._familiar.get((username, key), (at, at - _TOLD))
        isNew = isNew or told + _TOLD <= at
        self._keep(self._familiar, (username, key), (at, at if isNew else told))
        return isNew

    def _say(self, turn: Turn, now: float, *, failed: bool) -> None:
        """
        Tell other processes.
        """
        if self._tell is not None:
            self._tell(Outcome(turn.key, turn.username, turn.stranger, failed, now))

    @staticmethod
    def _keep(entries: dict[_K, _V], key: _K, value: _V) -> None:
        """
        Remember something, and forget what is longest ago if it is too much.
        """
        # The dict keeps the order of insertion: the oldest comes first.
        entries.pop(key, None)
        entries[key] = value
        if len(entries) > _MAX_ENTRIES:
            del entries[next(iter(entries))]

    def ended(self, turn: Turn) -> None:
        """
        Let those at the same address that wait have their turn, or refuse them.
        """
        line = self._lines[turn.key]
        self._less(line.running, turn.username)
        if turn.stranger:
            self._less(self._strangers, turn.username)
        self._goOn(turn.key, line)

    def _goOn(self, key: bytes, line: _Line) -> None:
        """
        Look after those at an address that wait.
        """
        if line.admitting:
            return
        line.admitting = True
        # This is a loop, and not called by itself, for a turn may end as soon as it begins.
        while line.waiting:
            waiting, username = next(iter(line.waiting.items()))
            refusal = self._refusal(key, username)
            if refusal is None and self._hasToWait(key, line, username):
                break
            del line.waiting[waiting]
            if refusal is not None:
                waiting.errback(refusal)
            else:
                waiting.callback(self._admit(key, line, username))
        line.admitting = False
        if not line.running and not line.waiting:
            self._lines.pop(key, None)

    @staticmethod
    def _less(counter: dict[str, int], username: str) -> None:
        """
        Count down, and forget a zero.
        """
        left = counter.pop(username) - 1
        if left:
            counter[username] = left

"""
How fast a session may relay.

C{twisted.protocols.htb} has token buckets as well, and is not used.  Its transports buffer text and
fail with octets.  They shape what is written, and are asked for it at every turn of the reactor;
here a relay stops reading, some never see octets in Python, and whoever waits is called in turn, by
one timer for all.  Its buckets take the time from C{time.time}, and no two processes share one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .tally import Tally

__all__ = ["Bucket", "Meter", "Meters", "Part", "Policer", "Share"]

_SECOND = 1_000_000_000

_TICK = _SECOND // 20
"""
Nanoseconds of its rate for which an exhausted bucket collects before it calls those who wait.
"""

_BURST = 4
"""
How many ticks a bucket that is not used collects at the most: as many may be late, or one burst be
that long.
"""

_LEAST = 1024
"""
Octets that are worth a call to a session that waits, if there are as many.
"""

_WORTHWHILE = 64 * 1024
"""
Octets that are worth relaying by themselves; less, where half a tick brings less.
"""

_TURNS = 256
"""
How many sessions are called at a time; the others are next.
"""

_WORST = 10 * _SECOND
_WORST_OCTETS = 256 * 1024
"""
A debt beyond this many nanoseconds and octets is none: the clock has been set back.
"""


class Meter(TypingProtocol):
    """
    How much of its payload a session may relay by now, both directions together.  A session
    without limits has none of these: whoever relays has L{None} then, and asks nobody.

    Before something is relayed, L{allowance} is asked; when it has been, L{spent} is told.  Where
    the answer is too little the source is not read until L{wait} has called.
    """

    def allowance(self) -> int:
        """
        How many octets may be relayed now.  The answer is true until somebody else is asked or
        told: it is not to be kept.

        @return: 0 for "not now".
        """

    def spent(self, octets: int) -> None:
        """
        So many octets have been relayed.  It may be more than was allowed, where a piece cannot be
        divided; there is a longer pause after that.
        """

    def wait(self, resume: Callable[[], None]) -> None:
        """
        Wait for an allowance, after what has been relayed was told.

        @param resume: called once, later and never from within this call, when it is worth while
            to ask again; the allowance may still be 0, and then there is another wait.  It is
            also called when other limits hold from now on, and not at all if the session ends
            before.
        """


class Part(Meter, TypingProtocol):
    """
    One of the limits of a session.  It is waited for once at a time.
    """

    def leave(self) -> None:
        """
        It no longer holds for this session; nobody waits for it any more.
        """


class Meters:
    """
    All limits of one session: a L{Meter}.  Its two directions, if both wait, have their turns one
    after the other.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """
        @param parts: at least one.
        """
        self._parts = parts
        self._waiting: deque[Callable[[], None]] = deque()
        self._registered = False

    def allowance(self) -> int:
        """
        See L{Meter.allowance}.
        """
        return min([part.allowance() for part in self._parts], default=0)

    def spent(self, octets: int) -> None:
        """
        See L{Meter.spent}.
        """
        if octets:
            for part in self._parts:
                part.spent(octets)

    def wait(self, resume: Callable[[], None]) -> None:
        """
        See L{Meter.wait}.
        """
        self._waiting.append(resume)
        self._register()

    def _register(self) -> None:
        """
        Wait for the limit that allows the least.
        """
        if self._parts and self._waiting and not self._registered:
            self._registered = True
            min(self._parts, key=lambda part: part.allowance()).wait(self._call)

    def _call(self) -> None:
        """
        Let those who wait go on, as long as there is something for them.
        """
        self._registered = False
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()
            if not self.allowance():
                break
        self._register()

    def leave(self) -> None:
        """
        The session is over: nobody is called any more.
        """
        self._waiting.clear()
        parts, self._parts = self._parts, ()
        for part in parts:
            part.leave()

    def replaced(self) -> None:
        """
        Other limits hold from now on.
        """
        waiting = list(self._waiting)
        self.leave()
        for resume in waiting:
            resume()


class Policer:
    """
    Says which datagrams are too many: they are dropped, and not kept, so that whoever sends them
    finds out how fast it may.
    """

    def __init__(self) -> None:
        self._waiting = False

    def admit(self, meter: Meter, lengths: Sequence[int]) -> int:
        """
        Spend on some datagrams what is allowed.  A datagram passes whole if anything is.

        @param lengths: octets of payload of each.

        @return: how many may pass, which are the first.
        """
        allowed = meter.allowance()
        count = spent = 0
        while count < len(lengths) and spent < allowed:
            spent += lengths[count]
            count += 1
        if count:
            meter.spent(spent)
        if count < len(lengths) and not self._waiting:
            # Others that share the limit would leave nothing to one that does not wait for it.
            self._waiting = True
            meter.wait(self._called)
        return count

    def _called(self) -> None:
        """
        It is our turn, with the next datagram.
        """
        self._waiting = False


class Bucket:
    """
    A rate that several sessions share.

    It is a token bucket, kept as the one moment at which all that was spent is paid for: spending
    moves it on, by the time that so many octets take; it never lies more than a burst in the past.
    One number can be moved by several processes, and where the clock is exact so is the rate.

    Sessions that want more than there is stand in a queue.  When the bucket has collected for a
    twentieth of a second, all who wait are granted the same, in turns where that would be too
    little for each; whoever does not wait may take only what has been granted to nobody.

    Where the moment is shared, each process looks once in a twentieth of a second, and takes what
    is due to the sessions that wait there of all that was collected since it looked before; and
    what nobody else has taken for so long.
    """

    def __init__(self, clock: IReactorTime, tally: Tally, key: bytes, rate: int) -> None:
        """
        @param tally: keeps the moment.

        @param key: under this key.

        @param rate: octets a second, at least one.
        """
        self._clock = clock
        self._tally = tally
        self._key = key
        self._shares: set[Share] = set()
        self._waiting: OrderedDict[Share, Callable[[], None]] = OrderedDict()
        self._reserved = 0
        self._next: IDelayedCall | None = None
        self._calling = False
        self._waitingKey = b"w" + key
        self._looked = 0
        # Until when others are taken to wait in other processes.
        self._crowded = 0
        self.setRate(rate)

    @property
    def rate(self) -> int:
        """
        Octets a second.
        """
        return self._rate

    def setRate(self, rate: int) -> None:
        """
        Another rate holds from now on.

        @param rate: octets a second, at least one.
        """
        self._rate = rate
        self._tick = max(_TICK, -(-_SECOND // rate))
        self._burst = _BURST * self._tick
        self._worthwhile = min(self._tick * rate // _SECOND // 2, _WORTHWHILE)
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._schedule()

    def _paidFor(self, spent: int = 0) -> tuple[int, int]:
        """
        When everything will be paid for that has been spent, with C{spent} octets more.

        @return: the time now, and then, in nanoseconds.
        """
        now = int(self._clock.seconds() * _SECOND)
        price = -(-spent * _SECOND // self._rate)
        then = self._tally.advance(self._key, now - self._burst, price)
        if then - now > _WORST + _WORST_OCTETS * _SECOND // self._rate:
            self._tally.forget(self._key, then)
            then = now
        return now, then

    def share(self) -> Share:
        """
        A session begins, which is to L{leave <Share.leave>} when it ends.
        """
        share = Share(self)
        self._shares.add(share)
        return share

    @property
    def isUsed(self) -> bool:
        """
        Whether there are sessions.
        """
        return bool(self._shares)

    def forget(self) -> bool:
        """
        Forget the moment, if that makes no difference: the bucket is full.

        @return: whether it was.
        """
        now, then = self._paidFor()
        full = then <= now - self._burst
        if full:
            self._tally.forget(self._key, then)
        return full

    def _credit(self) -> int:
        """
        How many octets may be spent now; less than 0 for a debt.
        """
        now, then = self._paidFor()
        return (now - then) * self._rate // _SECOND

    def allowance(self, share: Share) -> int:
        """
        See L{Meter.allowance}.
        """
        credit = self._credit()
        if self._waiting or (self._crowded and self._clock.seconds() * _SECOND < self._crowded):
            allowed = min(share.granted, credit)
        else:
            allowed = credit - max(self._reserved - share.granted, 0)
        # Whoever asks again and again would otherwise find a few octets each time.
        least = min(share.granted or self._worthwhile, self._worthwhile)
        return allowed if allowed >= max(least, 1) else 0

    def spend(self, share: Share, octets: int) -> None:
        """
        See L{Meter.spent}.
        """
        granted = min(share.granted, octets)
        share.granted -= granted
        self._reserved = max(self._reserved - granted, 0)
        self._paidFor(octets)

    def wait(self, share: Share, resume: Callable[[], None]) -> None:
        """
        See L{Meter.wait}; a share waits once at a time.
        """
        self._waiting[share] = resume
        if self._next is None and not self._calling:
            self._schedule()

    def leave(self, share: Share) -> None:
        """
        A session wants no more.
        """
        self._shares.discard(share)
        self._reserved = max(self._reserved - share.granted, 0)
        share.granted = 0
        self._waiting.pop(share, None)
        if not self._waiting and self._next is not None:
            self._next.cancel()
            self._next = None
            if self._tally.isShared:
                self._tally.declare(self._waitingKey, 0)

    def _schedule(self) -> None:
        """
        Look again when enough has been collected.
        """
        now, then = self._paidFor()
        left = max(then - now, self._tick) if self._tally.isShared else then + self._tick - now
        self._next = self._clock.callLater(max(left, 0) / _SECOND, self._callThem)

    def _due(self) -> int:
        """
        How many octets may be spent now by those who wait here; less than 0 for a debt.
        """
        credit = self._credit()
        if not self._tally.isShared:
            return credit
        now = int(self._clock.seconds() * _SECOND)
        # What others said may be over by now; nobody is kept waiting for long for that.
        here = len(self._waiting)
        everywhere = self._tally.declare(self._waitingKey, here)
        self._crowded = now + 2 * self._tick if everywhere > here else 0
        collected = (now - self._looked) * self._rate // _SECOND
        self._looked = now
        surplus = credit - self._tick * self._rate // _SECOND
        return min(credit, max(collected * here // max(everywhere, 1), surplus))

    def _callThem(self) -> None:
        """
        Divide what there is among those who wait.
        """
        self._next = None
        self._calling = True
        self._reserved = 0
        anybody = bool(self._waiting)
        credit = self._due()
        turns = max(min(len(self._waiting), _TURNS, credit // _LEAST), 1)
        try:
            for _ in range(turns if credit > 0 else 0):
                if self._waiting:
                    share, resume = self._waiting.popitem(last=False)
                    share.granted = credit // turns
                    self._reserved += share.granted
                    resume()
        finally:
            self._calling = False
            # Those who wait no more may be back in a moment; if not, others are told then.
            if self._waiting or (anybody and self._tally.isShared):
                self._schedule()


class Share:
    """
    One session's part in a L{Bucket}: a L{Meter}.

    @ivar granted: octets that it may spend before others.
    """

    __slots__ = ("_bucket", "granted")

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.granted = 0

    def allowance(self) -> int:
        """
        See L{Meter.allowance}.
        """
        return self._bucket.allowance(self)

    def spent(self, octets: int) -> None:
        """
        See L{Meter.spent}.
        """
        self._bucket.spend(self, octets)

    def wait(self, resume: Callable[[], None]) -> None:
        """
        See L{Meter.wait}.
        """
        self._bucket.wait(self, resume)

    def leave(self) -> None:
        """
        The session is over.
        """
        self._bucket.leave(self)

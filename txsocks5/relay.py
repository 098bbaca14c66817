"""
Two connected streams joined, by copying.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from .bandwidth import Meter
from .config import Timeouts
from .errors import reasonOf
from .interfaces import IRelayTap
from .stream import Fate, Stream, TargetProtocol, endedWell, nothing
from .sweep import Idler, Sweep
from .wire import Address

__all__ = ["CopyingRelay", "Flow"]


class Flow:
    """
    One direction of a relay: what one stream receives goes to the other.  At most one
    read's worth of it is held here, since the source is not read while the sink is
    blocked, or the meter allows nothing.

    @ivar octets: how many octets have been passed on.

    @ivar done: the source has sent its last octet, and it has been passed on.

    @ivar meter: how much may be passed on; L{None} for all.
    """

    def __init__(
        self,
        source: Stream,
        sink: Stream,
        paused: Callable[[], None],
        ended: Callable[[], None],
        watch: Callable[[bytes], None] | None,
        meter: Meter | None,
    ) -> None:
        """
        @param paused: called when the source is no longer read.

        @param ended: called when L{done} has become true.

        @param watch: called with all data.
        """
        self.octets = 0
        self.done = False
        self.meter = meter
        self._source = source
        self._sink = sink
        self._paused = paused
        self._ended = ended
        self._watch = watch
        # What the meter has not allowed yet, whether the source has finished behind it, and
        # whether the meter is to call.
        self._held = b""
        self._finishing = False
        self._waiting = False
        sink.drained = self._goOn
        if sink.blocked:
            self._pause()

    def received(self, data: bytes) -> None:
        """
        The source has received C{data}.
        """
        if self.meter is not None or self._held:
            data = self._measured(data)
            if not data:
                return
        self.octets += len(data)
        if self._watch is not None:
            self._watch(data)
        self._sink.write(data)
        if self._sink.blocked:
            self._pause()

    def _measured(self, data: bytes) -> bytes:
        """
        Keep back what may not be passed on now.

        @return: what may.
        """
        if self._held:
            # Of the same read as what is held, in pieces: TLS has records.
            self._held += data
            return b""
        assert self.meter is not None
        allowed = self.meter.allowance()
        if allowed >= len(data):
            self.meter.spent(len(data))
            return data
        self._held = data[allowed:]
        if allowed:
            self.meter.spent(allowed)
        self._pause()
        self._waiting = True
        self.meter.wait(self._allowed)
        return data[:allowed]

    def _allowed(self) -> None:
        """
        The meter has called.
        """
        self._waiting = False
        if not self._sink.blocked:
            self._goOn()

    def _goOn(self) -> None:
        """
        Nothing stands against passing on what is held, and then reading on; but perhaps the meter.
        """
        if self._waiting:
            return
        if self._held:
            held, self._held = self._held, b""
            self.received(held)
            if self._held or self._sink.blocked:
                return
        if self._finishing:
            self._finish()
        else:
            self._source.resumeReading()

    def _pause(self) -> None:
        """
        Read no more until what is held has gone.
        """
        self._source.pauseReading()
        self._paused()

    def finished(self) -> None:
        """
        The source has received FIN: the sink gets one behind the data.
        """
        if self._held:
            self._finishing = True
        else:
            self._finish()

    def _finish(self) -> None:
        """
        Everything has been passed on.
        """
        self.done = True
        self._finishing = False
        self._sink.finish()
        self._ended()

    def flush(self) -> None:
        """
        The source is gone, regularly: pass on what is held, whatever the meter says; it is at most
        one read's worth, and the meter is told.
        """
        held, self._held = self._held, b""
        if held:
            if self.meter is not None:
                self.meter.spent(len(held))
            meter, self.meter = self.meter, None
            self.received(held)
            self.meter = meter

    def stop(self) -> None:
        """
        Nothing more is to be passed on.
        """
        self._held = b""
        self._finishing = False
        self.meter = None

    def release(self) -> None:
        """
        Both streams are gone: do not know any more who has been called.
        """
        self._paused = self._ended = nothing


class CopyingRelay:
    """
    Joins a client and a target until both have finished, one of them is lost, or nothing
    has moved for too long.

    @ivar dropped: always 0; no octet of a stream is.
    """

    dropped = 0

    def __init__(
        self,
        client: Stream,
        target: TargetProtocol,
        sweep: Sweep,
        timeouts: Timeouts,
        ended: Callable[[str], None],
        tap: IRelayTap | None = None,
        peer: Address | None = None,
        meter: Meter | None = None,
    ) -> None:
        """
        @param client: the client's stream; its owner calls L{clientReceived},
            L{clientFinished} and L{clientLost}.

        @param target: the target's protocol.

        @param sweep: looks for time that has run out.

        @param ended: called once with the reason, when the relay has let go of both
            sides: each is closed, or will close when it has sent what it holds.

        @param tap: sees the data.

        @param peer: what C{tap} is told as the target's address.

        @param meter: see L{meter}.
        """
        self._client = client
        self._target = target.stream
        self._sweep = sweep
        self._timeouts = timeouts
        self._ended: Callable[[str], None] | None = ended
        self._idler = Idler(sweep.now())
        # The streams that are still open below us.
        self._open = {client, target.stream}
        both = (self._watchTime, self._oneFinished)
        outward, homeward = _watch(tap, True, peer), _watch(tap, False, peer)
        self._outward = Flow(client, self._target, *both, outward, meter)
        self._homeward = Flow(self._target, client, *both, homeward, meter)
        if timeouts.idle:
            self._watchTime()
        self._peer = target
        self._begun = False

    @property
    def meter(self) -> Meter | None:
        """
        How much may be relayed; L{None} for all.  Another one can be set at any time, and holds
        from then on; the one before is expected to call whoever waits for it.
        """
        return self._outward.meter

    @meter.setter
    def meter(self, meter: Meter | None) -> None:
        if self._ended is not None:
            self._outward.meter = self._homeward.meter = meter

    @property
    def fromClient(self) -> int:
        """
        Octets that have come from the client.
        """
        return self._outward.octets

    @property
    def toClient(self) -> int:
        """
        Octets that have come for the client.
        """
        return self._homeward.octets

    def received(self, data: bytes) -> None:
        """
        The target has sent C{data}.
        """
        self._homeward.received(data)

    def finished(self) -> None:
        """
        The target has sent FIN.
        """
        self._homeward.finished()

    def lost(self, reason: Failure) -> None:
        """
        The target's connection is gone.
        """
        self._sideLost(self._target, self._client, self._homeward, reason, "target")

    def begin(self) -> None:
        """
        Take what the target sends, and what it has sent already.
        """
        self._begun = True
        self._peer.listen(self)

    def clientReceived(self, data: bytes) -> None:
        """
        The client has sent C{data}.
        """
        self._outward.received(data)

    def clientFinished(self) -> None:
        """
        The client has sent FIN.
        """
        self._outward.finished()

    def clientLost(self, reason: Failure) -> None:
        """
        The client's connection is gone.
        """
        self._sideLost(self._client, self._target, self._outward, reason, "client")

    def abort(self, reason: str) -> None:
        """
        End now, on both sides, so that neither can take it for the regular end.
        """
        self._client.abort()
        self._target.abort()
        self._end(reason)
        if not self._begun:
            # Otherwise nobody would hear that the target is gone.
            self.begin()

    def _oneFinished(self) -> None:
        """
        One way is done: close if the other is too, and watch the time if not.
        """
        if self._outward.done and self._homeward.done:
            # Said first: a transport that has sent its FIN already is gone when this returns.
            self._end("both sides finished")
            self._client.close()
            self._target.close()
        else:
            self._watchTime()

    def _sideLost(
        self, side: Stream, other: Stream, flow: Flow, reason: Failure, name: str
    ) -> None:
        """
        One connection is gone: so that a truncation stays visible, the other is reset
        unless this was a regular end.

        @param flow: what C{side} has sent.
        """
        self._open.discard(side)
        if endedWell(reason):
            flow.flush()
            self._end(f"{name} closed")
            other.close()
        else:
            assert reason.value is not None
            self._end(f"{name} lost: {reasonOf(reason.value)}")
            other.abort()
        if not self._open:
            self._sweep.remove(self)
            # They know us: now nothing is left to the garbage collector.
            self._outward.release()
            self._homeward.release()

    def _end(self, reason: str) -> None:
        """
        Report the end.  The sweep stays, for the peer that does not take what it has
        been sent: closing waits for that.
        """
        ended, self._ended = self._ended, None
        if ended is not None:
            self._watchTime()
            self._outward.stop()
            self._homeward.stop()
            ended(reason)

    def _watchTime(self) -> None:
        """
        Something may not go on by itself: look at it now and then, until both are gone.
        """
        self._sweep.add(self)

    def swept(self, now: float) -> None:
        """
        End the relay, or a close that is stuck, if nothing has moved for too long, or if a side
        that is not being read has been reset.
        """
        idle = self._idler.idle(now, self._outward.octets + self._homeward.octets)
        halfClosed = self._ended is None or self._outward.done or self._homeward.done
        limit = self._timeouts.halfClosed if halfClosed else self._timeouts.idle
        paused = [side for side in self._open if side.paused]
        if limit and idle >= limit:
            self.abort("half-closed for too long" if halfClosed else "idle for too long")
        elif any(side.fate() is Fate.RESET for side in paused):
            self.abort("reset while it was not read")
        elif not (limit or paused):
            self._sweep.remove(self)


def _watch(
    tap: IRelayTap | None, fromClient: bool, peer: Address | None
) -> Callable[[bytes], None] | None:
    """
    What a flow calls for each piece of data.
    """
    if tap is None or peer is None:
        return None
    return lambda data: tap.passed(fromClient, peer, data)

"""
Two connected streams joined, by copying.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from .config import Timeouts
from .interfaces import IRelayTap
from .stream import Fate, Stream, TargetProtocol, endedWell
from .sweep import Idler, Sweep
from .wire import Address

__all__ = ["CopyingRelay", "Flow"]


class Flow:
    """
    One direction of a relay: what one stream receives goes to the other.  At most one
    read's worth of it is held here, since the source is not read while the sink is
    blocked.

    @ivar octets: how many octets have been passed on.

    @ivar done: the source has sent its last octet.
    """

    def __init__(
        self,
        source: Stream,
        sink: Stream,
        paused: Callable[[], None],
        watch: Callable[[bytes], None] | None,
    ) -> None:
        """
        @param paused: called when the source is no longer read.

        @param watch: called with all data.
        """
        self.octets = 0
        self.done = False
        self._source = source
        self._sink = sink
        self._paused = paused
        self._watch = watch
        sink.drained = source.resumeReading
        if sink.blocked:
            self._pause()

    def received(self, data: bytes) -> None:
        """
        The source has received C{data}.
        """
        self.octets += len(data)
        if self._watch is not None:
            self._watch(data)
        self._sink.write(data)
        if self._sink.blocked:
            self._pause()

    def _pause(self) -> None:
        """
        Read no more until the sink has taken what it has.
        """
        self._source.pauseReading()
        self._paused()

    def finished(self) -> None:
        """
        The source has received FIN: the sink gets one behind the data.
        """
        self.done = True
        self._sink.finish()


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
        """
        self._client = client
        self._target = target.stream
        self._sweep = sweep
        self._timeouts = timeouts
        self._ended: Callable[[str], None] | None = ended
        self._idler = Idler(sweep.now())
        # The streams that are still open below us.
        self._open = {client, target.stream}
        self._outward = Flow(client, self._target, self._watchTime, _watch(tap, True, peer))
        self._homeward = Flow(self._target, client, self._watchTime, _watch(tap, False, peer))
        if timeouts.idle:
            self._watchTime()
        target.listen(self)

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
        self._oneFinished()

    def lost(self, reason: Failure) -> None:
        """
        The target's connection is gone.
        """
        self._sideLost(self._target, self._client, reason, "target")

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
        self._oneFinished()

    def clientLost(self, reason: Failure) -> None:
        """
        The client's connection is gone.
        """
        self._sideLost(self._client, self._target, reason, "client")

    def abort(self, reason: str) -> None:
        """
        End now, on both sides, so that neither can take it for the regular end.
        """
        self._client.abort()
        self._target.abort()
        self._end(reason)

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

    def _sideLost(self, side: Stream, other: Stream, reason: Failure, name: str) -> None:
        """
        One connection is gone: so that a truncation stays visible, the other is reset
        unless this was a regular end.
        """
        self._open.discard(side)
        if endedWell(reason):
            self._end(f"{name} closed")
            other.close()
        else:
            self._end(f"{name} lost: {reason.getErrorMessage()}")
            other.abort()
        if not self._open:
            self._sweep.remove(self)

    def _end(self, reason: str) -> None:
        """
        Report the end.  The sweep stays, for the peer that does not take what it has
        been sent: closing waits for that.
        """
        ended, self._ended = self._ended, None
        if ended is not None:
            self._watchTime()
            ended(reason)

    def _watchTime(self) -> None:
        """
        Something may not go on by itself: look at it now and then.
        """
        if self._open:
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

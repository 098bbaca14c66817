"""
Two plain sockets joined, with the kernel moving the octets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.python.failure import Failure

from .bandwidth import Meter
from .config import Timeouts
from .errors import reasonOf
from .junction import Junction
from .pipes import PipePool
from .retired import BareConnection
from .side import Side
from .sweep import Idler, Sweep

__all__ = ["KernelRelay"]


class KernelRelay:
    """
    Joins a client and a target until both have finished, one of them is lost, or nothing has moved
    for too long; see L{CopyingRelay <txsocks5.relay.CopyingRelay>}, which does the same for
    connections that are more than a socket.

    Small pieces are copied, through one buffer for all relays; when much comes at once the kernel
    moves it, through a pipe that is borrowed for as long as there is something in it.  So a relay
    that is idle has neither, and one whose reader stalls has a pipe.

    @ivar dropped: always 0; no octet of a stream is.

    @ivar running: it has not ended.

    @ivar meter: how much may be relayed; L{None} for all.  Another one can be set at any time.
    """

    __slots__ = (
        "_client",
        "_ended",
        "_idler",
        "_octets",
        "_sweep",
        "_target",
        "_timeouts",
        "junction",
        "meter",
        "pipes",
        "running",
    )

    dropped = 0

    def __init__(
        self,
        junction: Junction,
        pipes: PipePool,
        client: BareConnection,
        target: BareConnection,
        sweep: Sweep,
        timeouts: Timeouts,
        ended: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        """
        @param junction: watches the sockets.

        @param client: not known to the reactor any more; likewise C{target}.

        @param sweep: looks for time that has run out.

        @param ended: called once with the reason, when both are closed.

        @param meter: how much may be relayed; L{None} for all.

        @raise OSError: the system cannot watch one of them.  Both are closed.
        """
        self.junction = junction
        self.meter = meter
        self.pipes = pipes
        self.running = True
        self._sweep = sweep
        self._timeouts = timeouts
        self._ended = ended
        self._idler: Idler | None = None
        self._client = Side(self, client, "client")
        self._target = Side(self, target, "target")
        self._client.other = self._target
        self._target.other = self._client
        try:
            for side in (self._client, self._target):
                if side.connection.watched:
                    junction.handOver(side.descriptor, side)
                else:
                    junction.watch(side.descriptor, side)
        except OSError as error:
            self._end(f"cannot be watched: {reasonOf(error)}", reset=True)
            raise
        if timeouts.idle:
            self._watchTime()
        # What each is still owed stands before what the other one sends.
        if client.unsent:
            self._target.owe(client.unsent)
        if target.unsent:
            self._client.owe(target.unsent)

    def begin(self) -> None:
        """
        Begin, unless it is over.
        """
        if self.running and self._target.connection.early:
            self._target.take(self._target.connection.early)
        # First what the client is owed: sending that tells of a reset which reading would take for
        # a regular end, as the reply has met it already.
        if self.running and (self._target.held or self._target.readable):
            self._target.move()
        if self.running and (self._client.held or self._client.readable):
            self._client.move()

    @property
    def fromClient(self) -> int:
        """
        Octets that have come from the client.
        """
        return self._client.octets if self.running else self._octets[0]

    @property
    def toClient(self) -> int:
        """
        Octets that have come for the client.
        """
        return self._target.octets if self.running else self._octets[1]

    def clientReceived(self, data: bytes) -> None:
        """
        The client has sent C{data} ahead.
        """
        self._client.take(data)

    def clientFinished(self) -> None:
        """
        The client has sent FIN.  Reading its socket will tell, behind whatever comes before.
        """

    def clientLost(self, reason: Failure) -> None:
        """
        The client's protocol hears of the end that we have brought about.
        """

    def finished(self, side: Side) -> None:
        """
        All that one side has sent is passed on, and it has finished.  The other one gets FIN;
        where both have finished, closing does that.
        """
        if side.other.done:
            self._end("both sides finished", reset=False)
        else:
            try:  # noqa: SIM105 - a context manager costs four calls
                side.other.socket.shutdown(socket.SHUT_WR)
            except OSError:
                # It has been reset, which its reading will tell.
                pass
            self._watchTime()

    def sideLost(self, side: Side, error: OSError) -> None:
        """
        One connection is gone: so that a truncation stays visible, the other is reset.
        """
        self._end(f"{side.name} lost: {reasonOf(error)}", reset=True)

    def abort(self, reason: str) -> None:
        """
        End now, on both sides, so that neither can take it for the regular end.
        """
        self._end(reason, reset=True)

    def _end(self, reason: str, *, reset: bool) -> None:
        """
        Close both sides, and tell everybody.
        """
        if not self.running:
            return
        self.running = False
        if self._idler is not None:
            self._sweep.remove(self)
        client, target = self._client, self._target
        self._octets = (client.octets, target.octets)
        client.close(reset=reset)
        target.close(reset=reset)
        self._ended(reason)
        client.connection.lost(reset=reset)
        target.connection.lost(reset=reset)
        # They know each other, and us: now nothing is left to the garbage collector.
        del self._client, self._target, client.other, target.other

    def _watchTime(self) -> None:
        """
        Something may not go on by itself: look at it now and then.
        """
        if self._idler is None:
            self._idler = Idler(self._sweep.now())
            self._sweep.add(self)

    def swept(self, now: float) -> None:
        """
        End the relay if nothing has moved for too long.
        """
        assert self._idler is not None
        idle = self._idler.idle(now, self._client.octets + self._target.octets)
        halfClosed = self._client.done or self._target.done
        limit = self._timeouts.halfClosed if halfClosed else self._timeouts.idle
        if limit and idle >= limit:
            self.abort("half-closed for too long" if halfClosed else "idle for too long")

"""
Two plain sockets joined, with the kernel moving the octets.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from twisted.python.failure import Failure

from .bandwidth import Meter
from .config import Timeouts
from .errors import reasonOf
from .junction import BUFFER, ENDING, READABLE, WRITABLE, Junction
from .pipes import Pipe, PipePool
from .retired import BareConnection
from .sweep import Idler, Sweep

__all__ = ["KernelRelay"]

_TURN = 1024 * 1024
"""
Octets that one direction may move before it is the others' turn.
"""

_BULK = 16 * 1024
"""
Below this, copying is cheaper: it takes one system call less, and no pipe.
"""

_MAX_UNSENT = 512 * 1024
"""
What the system keeps for a peer that does not take it, beyond what is on its way.
"""

_MOVE: int = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class _Side:
    """
    One of the two sockets, and the way from it to the other one.

    @ivar octets: how many have been taken from it.

    @ivar done: its peer has sent FIN.

    @ivar held: octets taken from it that the other one has not accepted: in a pipe, or in memory.
    """

    __slots__ = (
        "_armed",
        "_bounded",
        "_bulk",
        "_ending",
        "_pipe",
        "_readable",
        "_relay",
        "_rest",
        "_spliceable",
        "_waiting",
        "connection",
        "descriptor",
        "done",
        "held",
        "name",
        "octets",
        "other",
        "socket",
    )

    other: _Side

    def __init__(self, relay: KernelRelay, connection: BareConnection, name: str) -> None:
        self.connection = connection
        self.socket = connection.socket
        self.descriptor = connection.socket.fileno()
        self.done = False
        self.held = 0
        self.name = name
        self.octets = 0
        self._relay = relay
        self._armed = False
        self._bounded = False
        self._bulk = False
        self._ending = connection.ending
        self._pipe: Pipe | None = None
        self._readable = connection.readable
        self._rest = b""
        self._spliceable = True
        self._waiting = False

    def watch(self, junction: Junction) -> None:
        """
        Begin to hear what happens to the socket.

        @raise OSError: the system cannot watch it.
        """
        if self.connection.watched:
            junction.handOver(self.descriptor, self)
        else:
            junction.watch(self.descriptor, self)

    # What the junction says

    def happened(self, events: int) -> None:
        """
        See L{Watcher.happened <txsocks5.junction.Watcher.happened>}.
        """
        if events & WRITABLE and self.other.held:
            self.other.move()
        if events & ENDING:
            self._ending = True
            if self.done or self.held or self._waiting:
                # Nothing would be read now, which would tell.
                self._lookForReset()
        if events & READABLE and not self.done:
            self._readable = True
            self.move()

    def goOn(self) -> None:
        """
        See L{Watcher.goOn <txsocks5.junction.Watcher.goOn>}.
        """
        self.move()

    def broke(self) -> None:
        """
        See L{Watcher.broke <txsocks5.junction.Watcher.broke>}.
        """
        self._relay.abort("an error that nobody has foreseen")

    # Moving octets

    def take(self, data: bytes) -> None:
        """
        Octets have been read from this side before the relay began.  They are passed on whatever
        the meter says, but it is told.
        """
        self.octets += len(data)
        if self._relay.meter is not None:
            self._relay.meter.spent(len(data))
        self.owe(data)
        self._drain()

    def owe(self, data: bytes) -> None:
        """
        Hold octets for the other side, behind those that are held.
        """
        self._rest += data
        self.held += len(data)

    def move(self) -> None:
        """
        Take what there is, as long as the other side accepts it and the meter allows it.
        """
        left = most = _TURN
        relay = self._relay
        while relay.running and (not self.held or self._drain()) and self._readable:
            if left <= 0:
                relay.junction.later(self)
                return
            if relay.meter is not None:
                most = relay.meter.allowance()
                if not most:
                    self._await(relay.meter)
                    return
            moved = self._splice(most) if self._bulk else self._copy(most)
            left -= moved
            if relay.meter is not None:
                relay.meter.spent(moved)

    def _await(self, meter: Meter) -> None:
        """
        Go on when the meter calls.
        """
        if not self._waiting:
            self._waiting = True
            meter.wait(self._allowed)

    def _allowed(self) -> None:
        """
        The meter has called.
        """
        self._waiting = False
        self.move()

    def _copy(self, most: int) -> int:
        """
        Read once, and pass that on.

        @return: how many octets there were.
        """
        junction = self._relay.junction
        if most > BUFFER:
            most = BUFFER
        try:
            count = self.socket.recv_into(junction.buffer, most)
        except BlockingIOError:
            self._readable = False
            return 0
        except OSError as error:
            self._relay.sideLost(self, error)
            return 0
        if not count:
            self._finished()
            return 0
        if count < most:
            # That was all, and more would be told; but the end may have been told with it.
            self._readable = self._ending
        else:
            self._bulk = self._spliceable and most >= _BULK
            self.other.expectMuch()
        self.octets += count
        view = junction.view[:count]
        try:
            sent = self.other.socket.send(view)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._relay.sideLost(self.other, error)
            return count
        if sent < count:
            self._rest = bytes(view[sent:])
            self.held = count - sent
            self.other.awaitRoom()
        return count

    def _splice(self, most: int) -> int:
        """
        Move as much as there is into a pipe, and on.

        @return: how many octets there were.
        """
        pipe = self._relay.pipes.take()
        if pipe is None:
            self._bulk = False
            return 0
        count = 0
        try:
            count = os.splice(self.descriptor, pipe.sink, min(most, pipe.size), flags=_MOVE)
        except BlockingIOError:
            # This is also said of what stands behind an urgent octet; reading gets past that.
            if self._ending:
                self._bulk = False
            else:
                self._readable = False
        except OSError as error:
            if error.errno == errno.EINVAL:
                self._bulk = self._spliceable = False
            else:
                self._relay.sideLost(self, error)
        else:
            # Where FIN has come, too, the end is said of it: reading tells whether that is true.
            self._bulk = count >= _BULK
        if not count:
            self._relay.pipes.give(pipe)
            return 0
        self.octets += count
        self.held = count
        self._pipe = pipe
        self._drain()
        return count

    def _drain(self) -> bool:
        """
        Pass on what is held.

        @return: whether nothing is held now.
        """
        while self.held:
            try:
                if self._pipe is None:
                    sent = self.other.socket.send(self._rest)
                    self._rest = self._rest[sent:]
                else:
                    sent = os.splice(
                        self._pipe.source, self.other.descriptor, self.held, flags=_MOVE
                    )
            except BlockingIOError:
                self.other.awaitRoom()
                return False
            except OSError as error:
                if self._pipe is None or error.errno != errno.EINVAL:
                    self._relay.sideLost(self.other, error)
                    return False
                self._unpipe()
            else:
                self.held -= sent
        if self._pipe is not None:
            self._relay.pipes.give(self._pipe)
            self._pipe = None
        return True

    def _unpipe(self) -> None:
        """
        The other side cannot be spliced to: copy what is in the pipe, and all that follows.
        """
        assert self._pipe is not None
        self._rest = os.read(self._pipe.source, self.held)
        self._relay.pipes.give(self._pipe)
        self._pipe = None
        self._bulk = self._spliceable = False

    def expectMuch(self) -> None:
        """
        Much is about to be sent.  A peer that does not read must not make the system keep megabytes
        for it.
        """
        if not self._bounded:
            self._bounded = True
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT)

    def awaitRoom(self) -> None:
        """
        This side takes no more for now.
        """
        if not self._armed:
            self._armed = True
            self._relay.junction.watchWriting(self.descriptor)

    # Ends

    def _finished(self) -> None:
        """
        The peer has sent FIN.  Nothing is held, or it would not have been read.
        """
        self._readable = False
        self.done = True
        self._relay.finished(self)

    def _lookForReset(self) -> None:
        """
        An end has been told of while nothing is read.  If it is a reset, what is held
        no longer matters.
        """
        if not self._relay.running:
            return
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._relay.sideLost(self, OSError(code, os.strerror(code)))

    def close(self, *, reset: bool) -> None:
        """
        Close the socket, and give the pipe back.
        """
        self._relay.junction.forget(self.descriptor)
        self.connection.close(reset=reset)
        if self._pipe is not None:
            self._relay.pipes.discard(self._pipe)
            self._pipe = None
        self._rest = b""
        self.held = 0


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
        self._client = _Side(self, client, "client")
        self._target = _Side(self, target, "target")
        self._client.other = self._target
        self._target.other = self._client
        try:
            self._client.watch(junction)
            self._target.watch(junction)
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
        if self.running:
            self._target.move()
        if self.running:
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

    def finished(self, side: _Side) -> None:
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

    def sideLost(self, side: _Side, error: OSError) -> None:
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

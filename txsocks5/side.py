"""
One of two sockets that are joined, and the way from it to the other one.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Protocol as TypingProtocol

from .bandwidth import Meter
from .junction import BUFFER, ENDING, READABLE, WRITABLE, Junction, isEmpty
from .pipes import Pipe, PipePool
from .retired import BareConnection

__all__ = ["Side", "Whole"]

_TURN = 1024 * 1024
"""
Octets that one direction may move before it is the others' turn.
"""

_BULK = 16 * 1024
"""
Below this, copying is cheaper: it takes one system call less, and no pipe.
"""

_PATIENCE = 2
"""
So many bursts in a row have to be smaller than that, as the last octets often come by themselves;
and so often we are told of octets while there is no room: mostly there is before the second time.
"""

_ANY = 1 << 29
"""
More than a turn brings, where nobody asks a meter.
"""

_CAUTIOUS = 256 * 1024
_UNSENT = 512 * 1024
_TRIED = 2 * 1024 * 1024
_UNSENT_TRIED = 2 * 1024 * 1024
"""
What is moved at once, and so may be left in a pipe; and what the system keeps for a peer that does
not take it, beyond what is on its way.  After C{_TRIED} octets, which is more than one is sent that
does not read, both are more: otherwise a fast reader has taken all before its turn comes again.
"""

_MOVE: int = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Whole(TypingProtocol):
    """
    What two sides make up.

    @ivar junction: watches both.

    @ivar meter: how much may be relayed; L{None} for all.

    @ivar pipes: what octets can be moved through.

    @ivar running: it has not ended.  When it has, neither side knows the other any more.
    """

    junction: Junction
    meter: Meter | None
    pipes: PipePool
    running: bool

    def finished(self, side: Side) -> None:
        """
        All that one side has sent is passed on, and it has finished.
        """

    def sideLost(self, side: Side, error: OSError) -> None:
        """
        One connection is gone.
        """

    def abort(self, reason: str) -> None:
        """
        End now.
        """


class Side:
    """
    One of the two sockets, and the way from it to the other one.

    @ivar octets: how many have been taken from it.

    @ivar done: its peer has sent FIN.

    @ivar readable: there may be more to take from it.

    @ivar held: octets taken from it that the other one has not accepted: in a pipe, or in memory.
    """

    __slots__ = (
        "_armed",
        "_bulk",
        "_ending",
        "_knocks",
        "_pipe",
        "_relay",
        "_rest",
        "_spliceable",
        "_unsent",
        "_waiting",
        "connection",
        "descriptor",
        "done",
        "held",
        "name",
        "octets",
        "other",
        "readable",
        "socket",
    )

    other: Side

    def __init__(self, relay: Whole, connection: BareConnection, name: str) -> None:
        self.connection = connection
        self.socket = connection.socket
        self.descriptor = connection.socket.fileno()
        self.done = False
        self.held = 0
        self.name = name
        self.octets = 0
        self._relay = relay
        self._armed = False
        # How many small bursts it takes until we copy again; none while we do.
        self._bulk = 0
        self._ending = connection.ending
        # How often octets have come while there was no room.
        self._knocks = 0
        self._pipe: Pipe | None = None
        self.readable = connection.readable
        self._rest = b""
        self._spliceable = True
        self._unsent = 0
        self._waiting = False

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
            self.readable = True
            if self.held:
                self._knocks += 1
                if self._knocks == _PATIENCE:
                    self._relay.junction.watchFor(self.descriptor, octets=False, room=self._armed)
            elif self._bulk or self._relay.meter is not None:
                self.move()
            else:
                # Most of what is small comes whole.
                self._copy(BUFFER)
                if self.readable:
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
        left, most = _TURN, _ANY
        relay = self._relay
        while relay.running and (not self.held or self._drain()) and self.readable:
            if left <= 0:
                if self.octets > _TRIED:
                    self.other.expect(_UNSENT_TRIED)
                relay.junction.later(self)
                return
            if relay.meter is not None:
                most = relay.meter.allowance()
                if not most:
                    self._await(relay.meter)
                    return
            moved = self._pour(left, most) if self._bulk else self._copy(most)
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
            self.readable = False
            return 0
        except OSError as error:
            self._relay.sideLost(self, error)
            return 0
        if not count:
            self._finished()
            return 0
        if count < most:
            # That was all, and more would be told; but the end may have been told with it.
            self.readable = self._ending
        else:
            if self._spliceable and most >= _BULK:
                self._bulk = _PATIENCE
            self.other.expect(_UNSENT)
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

    def _pour(self, left: int, most: int) -> int:
        """
        Move what there is into a pipe, and on, again and again.

        @param left: how much until it is the others' turn; the last piece may go beyond.

        @param most: how much the meter allows.

        @return: how many octets there were.
        """
        pipe = self._relay.pipes.take()
        if pipe is None:
            self._bulk = 0
            return 0
        splice, flags, source, sink = os.splice, _MOVE, self.descriptor, self.other.descriptor
        asked = pipe.size if self.octets > _TRIED else min(pipe.size, _CAUTIOUS)
        moved = held = code = 0
        try:
            while moved < left and moved < most:
                count = splice(source, pipe.sink, min(asked, most - moved), None, None, flags)
                moved += count
                held = count
                held -= splice(pipe.source, sink, count, None, None, flags) if count else 0
                if held or not count:
                    break
                # A short splice does not tell that this was all: a pipe takes as many pieces as it
                # has pages, however small they are.
                if count < asked and not self._ending and isEmpty(source):
                    self.readable = False
                    break
        except OSError as error:
            code = error.errno or errno.EIO
        self.octets += moved
        # Where it is said to be the end reading tells, soon, whether that is true.
        self._bulk = _PATIENCE if moved >= _BULK else self._bulk - 1
        if held:
            self.held, self._pipe = held, pipe
        else:
            self._relay.pipes.give(pipe)
        if code:
            (self._refused if held else self._stopped)(code)
        return moved

    def _stopped(self, code: int) -> None:
        """
        Nothing can be spliced from this side.
        """
        if code == errno.EAGAIN:
            # This is also said of what stands behind an urgent octet; reading gets past that.
            if self._ending:
                self._bulk = 0
            else:
                self.readable = False
        elif code == errno.EINVAL:
            self._bulk, self._spliceable = 0, False
        else:
            self._relay.sideLost(self, OSError(code, os.strerror(code)))

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
            except OSError as error:
                if not self._refused(error.errno or errno.EIO):
                    return False
            else:
                self.held -= sent
        if self._pipe is not None:
            self._relay.pipes.give(self._pipe)
            self._pipe = None
        if self._knocks >= _PATIENCE:
            self._relay.junction.watchFor(self.descriptor, octets=True, room=self._armed)
        self._knocks = 0
        return True

    def _refused(self, code: int) -> bool:
        """
        The other side does not take what is held.

        @return: whether it may if it is asked again.
        """
        if code == errno.EAGAIN:
            self.other.awaitRoom()
            return False
        if self._pipe is not None and code == errno.EINVAL:
            self._unpipe(self._pipe)
            return True
        self._relay.sideLost(self.other, OSError(code, os.strerror(code)))
        return False

    def _unpipe(self, pipe: Pipe) -> None:
        """
        The other side cannot be spliced to: copy what is in the pipe, and all that follows.
        """
        self._rest = os.read(pipe.source, self.held)
        self._relay.pipes.give(pipe)
        self._pipe = None
        self._bulk, self._spliceable = 0, False

    def expect(self, unsent: int) -> None:
        """
        Much is about to be sent.  A peer that does not read must not make the system keep megabytes
        for it.

        @param unsent: how many octets it may keep, beyond what is on its way.
        """
        if self._unsent < unsent:
            self._unsent = unsent
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)

    def awaitRoom(self) -> None:
        """
        This side takes no more for now.
        """
        if not self._armed:
            self._armed = True
            octets = self._knocks < _PATIENCE
            self._relay.junction.watchFor(self.descriptor, octets=octets, room=True)

    # Ends

    def _finished(self) -> None:
        """
        The peer has sent FIN.  Nothing is held, or it would not have been read.
        """
        self.readable = False
        self.done = True
        self._relay.finished(self)

    def _lookForReset(self) -> None:
        """
        An end has been told of while nothing is read.  If it is a reset, what is held is lost.
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
        self._rest, self.held = b"", 0

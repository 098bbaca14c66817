"""
A connection that Twisted has no transport for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from socket import SocketType
from typing import Any

from twisted.internet import address as twistedAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    ISystemHandle,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from .junction import ENDING, READABLE, WRITABLE, Junction
from .local import hostOf
from .retired import RESET, BareConnection, Retired
from .stream import Stream
from .wire import Address

__all__ = ["SocketStream"]

_DONE = Failure(ConnectionDone())
_LOST = Failure(ConnectionLost())
_ABORTED = Failure(ConnectionAborted())


@implementer(ITransport, ISystemHandle)
class SocketStream(Stream):
    """
    A socket watched by a L{Junction}, as a stream, and as the transport of a protocol: it costs a
    third of one of Twisted's, and gives the socket to a relay without a system call.

    The protocol hears what any protocol hears, in the same order; it passes a half-close on.
    """

    _buffer = b""
    _armed = False
    _ended = False
    # Whether there may be something to read that will not be told again, and whether the end is
    # near.
    _pending = False
    _near = False
    _finishing = False
    _closing = False

    def __init__(
        self, junction: Junction, reactor: Any, connected: SocketType, peer: tuple[Any, ...]
    ) -> None:
        """
        @param connected: connected, and not blocking.

        @param peer: the address of the other end, as the system tells it.
        """
        self._junction = junction
        self._reactor = reactor
        self._socket = connected
        self._descriptor = connected.fileno()
        self._peer = peer

    @property
    def transport(self) -> Any:  # type: ignore[override]
        """
        Itself.
        """
        return self

    def start(self, protocol: IHalfCloseableProtocol) -> None:
        """
        Begin to read.

        @param protocol: has been connected to this transport.

        @raise OSError: the system cannot watch the socket.
        """
        self._protocol: Any = protocol
        # It may have been turned away when it was connected.
        if self._descriptor >= 0:
            self._junction.watch(self._descriptor, self)

    # What the junction says

    def happened(self, events: int) -> None:
        """
        See L{Watcher.happened <txsocks5.junction.Watcher.happened>}.
        """
        if events & WRITABLE and self._buffer:
            self._flush()
        if events & READABLE:
            self._pending = True
            if events & ENDING:
                self._near = True
            if self._reading and self.readable:
                self._read()

    def goOn(self) -> None:
        """
        See L{Watcher.goOn <txsocks5.junction.Watcher.goOn>}.
        """
        if self._pending and self._reading and self.readable and not self._gone:
            self._read()

    def broke(self) -> None:
        """
        See L{Watcher.broke <txsocks5.junction.Watcher.broke>}.
        """
        self._end(_LOST, reset=True)

    def _read(self) -> None:
        """
        Read once.
        """
        junction = self._junction
        try:
            count = self._socket.recv_into(junction.buffer)
        except BlockingIOError:
            self._pending = False
            return
        except OSError:
            self._end(_LOST, reset=True)
            return
        if not count:
            # It stays pending, for a relay to meet it, too.
            self._protocol.readConnectionLost()
            return
        if count < len(junction.buffer) and not self._near:
            # That was all, and more would be told.
            self._pending = False
        else:
            junction.later(self)
        self._protocol.dataReceived(bytes(junction.view[:count]))

    # What a stream does

    def write(self, data: bytes) -> None:
        """
        Send octets, wrapped if there is a protection.
        """
        if self._ending:
            return
        if self.protection is not None:
            data = self.protection.wrap(data)
        if self._buffer:
            self._buffer += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The system tells of an error but once: reading would take a reset for the regular
            # end now.
            self._break(_LOST)
            return
        if sent < len(data):
            self._buffer = data[sent:]
            self.blocked = True
            self._awaitRoom()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send octets.
        """
        self.write(b"".join(data))

    def _awaitRoom(self) -> None:
        """
        The peer takes no more for now.
        """
        if not self._armed:
            self._armed = True
            self._junction.watchWriting(self._descriptor)

    def _flush(self) -> None:
        """
        Send what the peer has not taken before.
        """
        try:
            sent = self._socket.send(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            self._end(_LOST, reset=True)
            return
        self._buffer = self._buffer[sent:]
        if self._buffer:
            return
        self.blocked = False
        if self._closing:
            self._end(_DONE, reset=False)
        elif self._finishing:
            self._shutDown()
        else:
            self.drained()

    def pauseReading(self) -> None:
        """
        Take no more octets from the peer for now.
        """
        self._reading = False

    def resumeReading(self) -> None:
        """
        Take octets from the peer again, unless there will not be any.
        """
        if self.readable and not self._reading:
            self._reading = True
            if self._pending:
                self._junction.later(self)

    def finish(self) -> None:
        """
        Send FIN when everything has been sent; keep receiving.
        """
        if not self._ending:
            self._ending = True
            self._finishing = True
            if not self._buffer:
                self._shutDown()

    def _shutDown(self) -> None:
        """
        Send FIN.
        """
        self._finishing = False
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """
        Close the connection when everything has been sent.
        """
        self._ending = True
        self.readable = False
        if not self._buffer:
            self._endSoon(_DONE)
        self._closing = True

    def abort(self) -> None:
        """
        Close the connection at once, with a reset.
        """
        self._break(_ABORTED)

    def _break(self, reason: Failure) -> None:
        """
        Reset the connection, and tell the protocol soon.
        """
        self._ending = True
        self.readable = False
        if not self._gone:
            self._closeSocket(reset=True)
            self._endSoon(reason)

    loseConnection = close
    abortConnection = abort
    loseWriteConnection = finish

    def _endSoon(self, reason: Failure) -> None:
        """
        Tell the protocol, and not from within what it has called.
        """
        if not self._ended:
            self._ended = True
            self._reactor.callLater(0, self._end, reason, reset=False)

    def _end(self, reason: Failure, *, reset: bool) -> None:
        """
        Close, and tell the protocol.
        """
        if self._gone:
            return
        self._ended = True
        self.lost()
        self._closeSocket(reset=reset)
        protocol, self._protocol = self._protocol, None
        protocol.connectionLost(reason)

    def _closeSocket(self, *, reset: bool) -> None:
        if self._descriptor < 0:
            return
        self._junction.forget(self._descriptor)
        self._descriptor = -1
        if reset:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with suppress(OSError):
            self._socket.close()

    @property
    def retirable(self) -> bool:
        """
        Whether this is an open socket, and nothing else.
        """
        return self.protection is None and not self._ending and not self._gone

    def retire(self) -> BareConnection:
        """
        Give the socket away, with whoever is to hear of its end.
        """
        self._gone = self._ending = True
        retired = Retired(self._socket, self._buffer, self._protocol)
        retired.watched = True
        retired.readable = self._pending
        retired.ending = self._near
        del self._protocol
        return retired

    # What else a transport does

    def peer(self) -> Address | None:
        """
        The other end's address; L{None} for a UNIX socket.
        """
        if self._socket.family == socket.AF_UNIX:
            return None
        return Address(hostOf(self._peer[0]), self._peer[1])

    def getHandle(self) -> SocketType:
        """
        The socket.
        """
        return self._socket

    def getHost(self) -> IAddress:
        """
        This end's address.
        """
        return _address(self._socket.family, self._socket.getsockname())

    def getPeer(self) -> IAddress:
        """
        The other end's address.
        """
        return _address(self._socket.family, self._peer)


def _address(family: int, name: Any) -> IAddress:
    """
    An address as Twisted has it.
    """
    if family == socket.AF_INET:
        return twistedAddress.IPv4Address("TCP", *name)
    if family == socket.AF_INET6:
        return twistedAddress.IPv6Address("TCP", *name)
    return twistedAddress.UNIXAddress(name or None)

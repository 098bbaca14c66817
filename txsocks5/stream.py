"""
One TCP connection of a session, seen from the relay.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from socket import SocketType
from typing import Protocol as TypingProtocol
from typing import cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .interfaces import IProtection
from .retired import BareConnection, retire
from .wrapped import plainConnection

__all__ = [
    "Fate",
    "IStreamTransport",
    "Stream",
    "StreamListener",
    "TargetProtocol",
    "endedWell",
    "streamOf",
]


# The first octet of Linux's TCP_INFO, from linux/tcp_states.h.
_CLOSED = 7
_PEER_FINISHED = frozenset((6, 8, 9, 11))  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING


class Fate(Enum):
    """
    What has become of a peer.
    """

    OPEN = "open"
    FINISHED = "finished"
    RESET = "reset"


class IStreamTransport(ITransport, IConsumer, IPushProducer):
    """
    What is needed of a transport; every stream transport of Twisted has it.
    """

    def abortConnection() -> None:
        """
        Close at once, in a way that the peer cannot take for a regular end.
        """

    def loseWriteConnection() -> None:
        """
        Send what is buffered, then FIN.
        """


def nothing() -> None:
    """
    Nobody waits.
    """


@implementer(IPushProducer, IPullProducer)
class Stream:
    """
    The sending half of a connection, and the brake of its receiving half.

    A plain socket is written to at once, in the call that brought the data: no turn
    of the reactor in between, no buffer, one system call.  What the kernel does not
    take goes through the transport, and until the transport has got rid of it the
    stream is L{blocked}.  Other transports (TLS, a wrapper, a fake) are written to
    as Twisted has it, and say themselves when they are full.

    @ivar transport: the connection.

    @ivar protection: what wraps all that is written, or L{None}.

    @ivar blocked: there are octets that the peer has not taken; its owner is expected
        not to bring more before L{drained} has been called.

    @ivar readable: more may come from the peer.

    @ivar drained: called when L{blocked} has become false.
    """

    # What most streams keep until they end is the class's: there are many of them.
    protection: IProtection | None = None
    blocked = False
    drained: Callable[[], None] = staticmethod(nothing)
    readable = True
    _reading = True
    _ending = False
    _gone = False
    # The transport knows us for as long as it is there.
    _registered = False

    def __init__(self, transport: ITransport) -> None:
        self.transport = cast(IStreamTransport, transport)
        self._connection = plainConnection(transport)
        self._registering = False
        if self._connection is None:
            self.transport.registerProducer(self, True)
            self._registered = True
        if ITCPTransport.providedBy(transport):
            # Every message of the server is a segment of its own (R-1928-02), and
            # relayed data wait for nobody.  UNIX sockets of Twisted 24.10 say that they have
            # this, too.
            with suppress(OSError):
                transport.setTcpNoDelay(True)
                transport.setTcpKeepAlive(True)

    def write(self, data: bytes) -> None:
        """
        Send octets, wrapped if there is a protection.
        """
        if self._ending:
            return
        if self.protection is not None:
            data = self.protection.wrap(data)
        connection = self._connection
        if connection is None or self.blocked or not connection.connected:
            self.transport.write(data)
            return
        sent = connection.writeSomeData(data)
        if isinstance(sent, BaseException):
            # The system tells of an error but once: reading would take a reset for the regular
            # end now.
            self.abort()
        elif sent < len(data):
            self.transport.write(data[sent:] if sent else data)
            self._awaitDrain()

    def _awaitDrain(self) -> None:
        """
        Ask the transport to say when its buffer is empty, whatever it holds: it says
        that to a pull producer only.
        """
        self.blocked = True
        self._registering = True
        self.transport.registerProducer(self, False)
        self._registering = False

    def pauseProducing(self) -> None:
        """
        The transport's buffer is full.
        """
        self.blocked = True

    def resumeProducing(self) -> None:
        """
        The transport's buffer is empty.
        """
        if self._registering:
            return
        if self._connection is not None:
            self.transport.unregisterProducer()
        self.blocked = False
        self.drained()

    def stopProducing(self) -> None:
        """
        The transport is gone; its protocol hears of that by itself.
        """
        self._ending = True

    @property
    def paused(self) -> bool:
        """
        Whether octets are not taken for now.
        """
        return not self._reading

    def pauseReading(self) -> None:
        """
        Take no more octets from the peer for now.
        """
        if self.readable and self._reading:
            self._reading = False
            self.transport.pauseProducing()

    def resumeReading(self) -> None:
        """
        Take octets from the peer again, unless there will not be any.
        """
        if self.readable and not self._reading:
            self._reading = True
            self.transport.resumeProducing()

    def fate(self) -> Fate:
        """
        Ask the system what the peer has done, without reading.  While a connection is not read
        nobody else would tell.

        @return: L{Fate.OPEN} also where that cannot be known: TLS, UNIX sockets, other systems
            than Linux, and transports that are no sockets at all.
        """
        transport = self.transport
        handle: object = None
        if not self._gone and ISystemHandle.providedBy(transport):
            handle = transport.getHandle()
        if not isinstance(handle, SocketType) or handle.family == socket.AF_UNIX:
            return Fate.OPEN
        try:
            state = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except (OSError, AttributeError):
            return Fate.OPEN
        if state == _CLOSED:
            # So it is when both have sent FIN, too, though there may be much to read still; but
            # then there is no error.  Asking for that takes it away, which whoever asks for the
            # fate of a connection does not mind: one that has been reset is ended.
            finished = self._ending and not handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return Fate.FINISHED if finished else Fate.RESET
        return Fate.FINISHED if state in _PEER_FINISHED else Fate.OPEN

    def exhausted(self) -> None:
        """
        The peer has sent its last octet.  A transport that was made to read on would
        find the same end again and again.
        """
        self.readable = False

    def _beginToEnd(self) -> bool:
        """
        Let the transport flush without us.

        @return: whether this is the first time.
        """
        if self._ending:
            return False
        self._ending = True
        if self.blocked or self._registered:
            self._registered = False
            self.transport.unregisterProducer()
        return True

    def finish(self) -> None:
        """
        Send FIN when everything has been sent; keep receiving.
        """
        if not self._beginToEnd():
            return
        # TLS has no half-close below its own: its close alert is what tells the peer
        # that nothing follows, and until the peer answers it octets are still taken.
        if ISSLTransport.providedBy(self.transport) or not hasattr(
            self.transport, "loseWriteConnection"
        ):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def close(self) -> None:
        """
        Close the connection when everything has been sent.
        """
        self._beginToEnd()
        self.readable = False
        if not self._gone:
            self.transport.loseConnection()

    def abort(self) -> None:
        """
        Close the connection at once, with a reset.
        """
        self._ending = True
        self.readable = False
        if not self._gone:
            self.transport.abortConnection()

    @property
    def retirable(self) -> bool:
        """
        Whether this is an open socket, and nothing else.
        """
        return (
            self._connection is not None
            and self.protection is None
            and not self._ending
            and bool(self._connection.connected)
        )

    def retire(self) -> BareConnection:
        """
        Take the socket out of the hands of its transport; only if it is L{retirable}.  The stream
        is of no use after that.
        """
        assert self._connection is not None
        self._ending = self._gone = True
        return retire(self._connection, self.transport)

    def lost(self) -> None:
        """
        The connection is gone.  Some transports cannot bear to be told to close after that.
        """
        self._gone = True
        self._ending = True
        self.readable = False
        self.drained = nothing
        if self._registered:
            # Not every transport forgets by itself whom it knows: TLS does not.
            self._registered = False
            self.transport.unregisterProducer()


def streamOf(transport: ITransport) -> Stream:
    """
    The stream of a connection; some transports are one.
    """
    return transport if isinstance(transport, Stream) else Stream(transport)


class StreamListener(TypingProtocol):
    """
    Whoever hears what a L{TargetProtocol} receives.
    """

    def received(self, data: bytes) -> None:
        """
        Some octets have come.
        """

    def finished(self) -> None:
        """
        The peer has sent FIN.
        """

    def lost(self, reason: Failure) -> None:
        """
        The connection is gone.
        """


@implementer(IHalfCloseableProtocol)
class TargetProtocol(Protocol):
    """
    The protocol of the connection on the far side of the proxy.  What it hears before
    it has a listener is kept: a single read of octets at the most, as it stops reading
    then.

    @ivar stream: the connection's L{Stream}, from L{connectionMade} on.
    """

    stream: Stream
    _listener: StreamListener | None = None
    _early = b""
    _finished = False
    _lost: Failure | None = None

    def connectionMade(self) -> None:
        """
        Prepare to send.
        """
        assert self.transport is not None
        self.stream = streamOf(self.transport)

    def listen(self, listener: StreamListener) -> None:
        """
        Pass on what has been received, and all that will be.
        """
        self._listener = listener
        if self._early:
            early, self._early = self._early, b""
            self.stream.resumeReading()
            listener.received(early)
        if self._finished:
            listener.finished()
        if self._lost is not None:
            self._listener = None
            listener.lost(self._lost)

    def retire(self) -> BareConnection:
        """
        Take the socket out of the hands of its transport; see L{Stream.retire}.
        """
        retired = self.stream.retire()
        retired.early, self._early = self._early, b""
        return retired

    def dataReceived(self, data: bytes) -> None:
        """
        Pass data on.
        """
        if self._listener is not None:
            self._listener.received(data)
        else:
            self._early += data
            self.stream.pauseReading()

    def readConnectionLost(self) -> None:
        """
        Pass on that the peer has finished.
        """
        self.stream.exhausted()
        if self._listener is not None:
            self._listener.finished()
        else:
            self._finished = True

    def writeConnectionLost(self) -> None:
        """
        Our FIN is on its way; nothing depends on it.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Pass on that the connection is gone.
        """
        self.stream.lost()
        # It knows us, too.
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.lost(reason)
        else:
            self._lost = reason


def endedWell(reason: Failure) -> bool:
    """
    Whether a connection ended with everything delivered.
    """
    return isinstance(reason.value, ConnectionDone)

"""
The transports of connections that are only memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.1", 50000)
"""
Where a L{MemoryConnection} comes from unless it is told otherwise.
"""

SERVER_ADDRESS = IPv4Address("TCP", "203.0.113.5", 1080)
"""
Where a L{MemoryConnection} leads unless it is told otherwise.
"""

READ_SIZE = 65536


_log = Logger()


def twistedAddress(kind: Literal["TCP", "UDP"], host: str, port: int) -> IPv4Address | IPv6Address:
    """
    Make Twisted's address of a host of either family.
    """
    if ":" in host:
        return IPv6Address(kind, host, port)
    return IPv4Address(kind, host, port)


# Connections


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    One end of a L{MemoryConnection}.  It behaves as Twisted's TCP transport does on a system that
    is not kind: octets that the peer has not read when a reset comes are lost, closing while there
    is unread input sends a reset, and who does not read does not notice one.

    @ivar protocol: what it was given.

    @ivar writes: what has been written, one item a call.

    @ivar connected: whether its protocol has not yet heard of the end.

    @ivar disconnecting: whether it is to be closed once all is sent.

    @ivar reading: whether it takes octets from the peer.

    @ivar noDelay: what was last set by L{setTcpNoDelay}.

    @ivar keepAlive: what was last set by L{setTcpKeepAlive}.

    @ivar producer: who is registered to produce for it.

    @ivar streaming: whether that one is a push producer.

    @cvar bufferSize: how many octets wait to be sent before a push producer is paused.
    """

    bufferSize = 65536

    def __init__(
        self, protocol: IProtocol, host: IAddress, peer: IAddress, capacity: int, readSize: int
    ) -> None:
        """
        @param host: the address of this end.

        @param peer: the address of the other end.

        @param capacity: how many octets the system keeps for the other end, before this one's own
            buffer begins to fill.

        @param readSize: how many octets come in one read, at most.
        """
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.connected = True
        self.disconnecting = False
        self.reading = True
        self.noDelay: bool | None = None
        self.keepAlive: bool | None = None
        self.producer: Any = None
        self.streaming = False
        self._host = host
        self._peer = peer
        self._capacity = capacity
        self._readSize = readSize
        self._other: MemoryTransport = self
        self._buffer = bytearray()
        self._wire = bytearray()
        self._writing = False
        self._paused = False
        self._finishing = False
        self._finished = False
        self._aborting = False
        self._reset = False

    def join(self, other: MemoryTransport) -> None:
        """
        Make C{other} the other end.
        """
        self._other = other

    @property
    def buffered(self) -> int:
        """
        How many octets wait here because the system does not take them.
        """
        return len(self._buffer)

    # ITransport

    def write(self, data: bytes) -> None:
        """
        Send octets; nothing goes before L{step}.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"Data must be bytes, not {type(data).__name__}")
        if not self.connected or self._finished:
            return
        if data:
            self.writes.append(data)
            self._buffer += data
            if self.producer is not None and self.streaming and self._full():
                self._paused = True
                self.producer.pauseProducing()
            self._writing = True

    def writeSequence(self, data: Any) -> None:
        """
        Send octets.
        """
        for piece in data:
            self.write(piece)

    def loseConnection(self) -> None:
        """
        Close when everything has been sent and no producer is registered.
        """
        if self.connected and not self.disconnecting:
            if self._finished:
                self._lose(ConnectionDone())
            else:
                self.reading = False
                self._writing = True
                self.disconnecting = True

    def getHost(self) -> Any:
        """
        The address of this end.
        """
        return self._host

    def getPeer(self) -> Any:
        """
        The address of the other end.
        """
        return self._peer

    # ITCPTransport

    def loseWriteConnection(self) -> None:
        """
        Send FIN when everything has been sent.
        """
        self._finishing = True
        self._writing = True

    def abortConnection(self) -> None:
        """
        Reset the connection; the protocol hears of it at the next L{step}.
        """
        if self.connected and not self._aborting:
            self._aborting = True
            self.reading = False
            self._writing = False

    def getTcpNoDelay(self) -> bool:
        """
        What was set.
        """
        return bool(self.noDelay)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Note it.
        """
        self.noDelay = enabled

    def getTcpKeepAlive(self) -> bool:
        """
        What was set.
        """
        return bool(self.keepAlive)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Note it.
        """
        self.keepAlive = enabled

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let C{producer} know when octets can be taken.

        @raise RuntimeError: there is one already.
        """
        if self.producer is not None:
            raise RuntimeError(f"{self.producer!r} was never unregistered")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """
        self.producer = None
        if self.connected and self.disconnecting:
            self._writing = True

    # IPushProducer

    def pauseProducing(self) -> None:
        """
        Read no more.
        """
        self.reading = False

    def resumeProducing(self) -> None:
        """
        Read on.  If the peer has finished, its end is found again.
        """
        if self.connected and not self.disconnecting and not self._aborting:
            self.reading = True

    def stopProducing(self) -> None:
        """
        Close.
        """
        self.loseConnection()

    # What a reactor would do

    def step(self) -> bool:
        """
        Write what the system takes, then read once.

        @return: whether anything has happened.
        """
        if self._aborting and self.connected:
            self._lose(ConnectionAborted())
            return True
        wrote = self._guarded(self._doWrite)
        return self._guarded(self._doRead) or wrote

    def _guarded(self, do: Callable[[], bool]) -> bool:
        """
        Do something; if the protocol raises, that is logged and ends the connection.
        """
        if not self.connected:
            return False
        try:
            return do()
        except Exception as error:
            _log.failure("{protocol!r} raised", protocol=self.protocol)
            self._lose(error)
            return True

    def _doWrite(self) -> bool:
        """
        Write.
        """
        if not self._writing:
            return False
        if self._reset or (self._buffer and not self._other.connected):
            self._lose(ConnectionLost())
            return True
        room = max(self._capacity - len(self._wire), 0)
        if self._buffer and not room:
            return False
        self._wire += self._buffer[:room]
        del self._buffer[:room]
        if not self._buffer:
            self._writing = False
            self._sent()
        return True

    def _sent(self) -> None:
        """
        All that waited has been sent.
        """
        if self.producer is not None and (not self.streaming or self._paused):
            self._paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self._lose(ConnectionDone())
        elif self._finishing and not self._finished:
            self._finished = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()

    def _doRead(self) -> bool:
        """
        Read once.
        """
        if not self.reading:
            return False
        if self._reset:
            self._lose(ConnectionLost())
            return True
        wire = self._other._wire
        if wire:
            data = bytes(wire[: self._readSize])
            del wire[: self._readSize]
            self.protocol.dataReceived(data)
            return True
        if not self._other._finished:
            return False
        self.reading = False
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._lose(ConnectionDone())
        return True

    def _full(self) -> bool:
        """
        Whether a push producer should pause.
        """
        return len(self._buffer) > self.bufferSize

    def _lose(self, reason: Exception) -> None:
        """
        The connection ends.
        """
        self.connected = False
        self.reading = self._writing = False
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        if isinstance(reason, ConnectionAborted) or self._other._wire:
            self._other._reset = True
            self._wire.clear()
        self._finished = True
        self._buffer.clear()
        self._other._wire.clear()
        try:
            self.protocol.connectionLost(Failure(reason))
        except Exception:
            _log.failure("{protocol!r} raised", protocol=self.protocol)

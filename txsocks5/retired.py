"""
Connections without a transport of Twisted's: their sockets, and who is to hear of their end.
"""

from __future__ import annotations

import socket
import struct
from socket import SocketType
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

__all__ = ["RESET", "BareConnection", "Retired", "retire"]

RESET = struct.pack("ii", 1, 0)
_ACCEPTED = (tcp.Server, unix.Server)
_DONE = Failure(ConnectionDone())
_ABORTED = Failure(ConnectionAborted())


class BareConnection:
    """
    A connected socket.

    @ivar socket: it does not block.

    @ivar unsent: octets for the peer that come before all others.

    @ivar early: octets that have been read already.

    @ivar watched: the junction watches it.

    @ivar readable: there may be more to read, of which the junction has told.

    @ivar ending: it has also told that the end is near.
    """

    __slots__ = ("early", "ending", "readable", "socket", "unsent", "watched")

    def __init__(self, socket: SocketType, unsent: bytes = b"") -> None:
        self.socket = socket
        self.unsent = unsent
        self.early = b""
        self.watched = self.readable = self.ending = False

    def close(self, *, reset: bool) -> None:
        """
        Close it.

        @param reset: in a way that the peer cannot take for a regular end.
        """
        try:
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.socket.close()
        except OSError:
            # It is closed anyhow.
            pass

    def lost(self, *, reset: bool) -> None:
        """
        Tell whoever has to know that it has been closed.
        """


class Retired(BareConnection):
    """
    A connection that had a transport.
    """

    __slots__ = ("_protocol",)

    def __init__(self, socket: SocketType, unsent: bytes, protocol: IProtocol) -> None:
        # As BareConnection does, in one call.
        self.socket = socket
        self.unsent = unsent
        self.early = b""
        self.watched = self.readable = self.ending = False
        self._protocol = protocol

    def lost(self, *, reset: bool) -> None:
        """
        Tell the protocol.
        """
        self._protocol.connectionLost(_ABORTED if reset else _DONE)


class _Wrapped(BareConnection):
    """
    A connection that had a transport and wrappers around the protocol, or a connector, which count
    their connections and hear of the end by way of the transport: that closes the socket.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, unsent: bytes) -> None:
        super().__init__(connection.socket, unsent)
        self._connection = connection

    def close(self, *, reset: bool) -> None:
        """
        Nothing yet.
        """

    def lost(self, *, reset: bool) -> None:
        """
        Let the transport close the socket, and tell everybody.
        """
        # A client's transport would take itself for one that has never been connected.
        self._connection.connected = 1
        self._connection.connectionLost(_ABORTED if reset else _DONE)


def _writeNothing(data: object) -> int:
    """
    Write no octets.
    """
    return 0


def retire(connection: Connection, transport: ITransport) -> BareConnection:
    """
    Take a socket out of the reactor, and out of the hands of its transport.

    @param connection: the socket's transport, connected, and without TLS.

    @param transport: what the protocol has for its transport: the same, or a wrapper of it.
    """
    if connection.producer is not None:
        connection.unregisterProducer()
    connection.stopReading()
    connection.stopWriting()
    unsent = b"".join((connection.dataBuffer[connection.offset :], *connection._tempDataBuffer))
    connection.connected = 0
    # The reactor may be in the midst of reading from it, and about to let it write.
    connection.dataBuffer, connection.offset = b"", 0
    connection._tempDataBuffer, connection._tempDataLen = [], 0
    hushed: Any = connection
    hushed.writeSomeData = _writeNothing
    known: object = transport
    if known is not connection or not isinstance(connection, _ACCEPTED):
        return _Wrapped(connection, unsent)
    retired = Retired(connection.socket, unsent, connection.protocol)
    # Without these the reactor finds nothing to close when it returns.
    del connection.socket
    del connection.protocol
    return retired

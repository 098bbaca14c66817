"""
Connections that are only memory, with both of their ends.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ._transport import CLIENT_ADDRESS, READ_SIZE, SERVER_ADDRESS, MemoryTransport

_MAX_ROUNDS = 100_000


class MemoryConnection:
    """
    Two protocols, connected by nothing but memory.  Octets only move in L{pump} and L{flush}.

    @ivar client: the transport of the one that has connected.

    @ivar server: the transport of the one that was connected to.
    """

    def __init__(
        self,
        client: IProtocol,
        server: IProtocol,
        *,
        clientAddress: IAddress = CLIENT_ADDRESS,
        serverAddress: IAddress = SERVER_ADDRESS,
        capacity: int = 65536,
        readSize: int = READ_SIZE,
    ) -> None:
        """
        Connect; both protocols hear of it, the server first.

        @param capacity: how many octets the system keeps in each direction while nobody reads.

        @param readSize: how many octets are read at once, at most.
        """
        self.client = MemoryTransport(client, clientAddress, serverAddress, capacity, readSize)
        self.server = MemoryTransport(server, serverAddress, clientAddress, capacity, readSize)
        self.client.join(self.server)
        self.server.join(self.client)
        server.makeConnection(self.server)
        client.makeConnection(self.client)

    def pump(self) -> bool:
        """
        Let each side write what it can and read once.

        @return: whether anything has happened.
        """
        moved = self.client.step()
        return self.server.step() or moved

    def flush(self) -> None:
        """
        Pump until nothing more happens.
        """
        flushAll(self)


def flushAll(*connections: MemoryConnection) -> None:
    """
    Pump several connections in turn until nothing more happens in any of them.

    @raise RuntimeError: that never comes to pass, since two protocols keep each other busy.
    """
    for _ in range(_MAX_ROUNDS):
        if not sum([connection.pump() for connection in connections]):
            return
    raise RuntimeError("the connections never come to rest")


@implementer(IHalfCloseableProtocol)
class RecordingPeer(TwistedProtocol):
    """
    The far end of a connection in a test.

    @ivar chunks: what was received, one item a read.

    @ivar finished: whether the other end has sent FIN.  Once is how often it may be heard.

    @ivar lost: why the connection ended, or L{None} as long as it has not.
    """

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.finished = False
        self.lost: Failure | None = None

    @property
    def received(self) -> bytes:
        """
        All that was received.
        """
        return b"".join(self.chunks)

    @property
    def _memory(self) -> MemoryTransport:
        """
        Our end of the connection.
        """
        return cast(MemoryTransport, self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep octets.
        """
        self.chunks.append(data)

    def readConnectionLost(self) -> None:
        """
        The other end has finished.
        """
        assert not self.finished
        self.finished = True

    def writeConnectionLost(self) -> None:
        """
        Our FIN has been sent.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Keep the reason.
        """
        self.lost = reason

    def send(self, data: bytes) -> None:
        """
        Send octets.
        """
        self._memory.write(data)

    def finish(self) -> None:
        """
        Send FIN, and go on receiving.
        """
        self._memory.loseWriteConnection()

    def close(self) -> None:
        """
        Close regularly.
        """
        self._memory.loseConnection()

    def abort(self) -> None:
        """
        Reset the connection.
        """
        self._memory.abortConnection()

    def pause(self) -> None:
        """
        Stop reading.
        """
        self._memory.pauseProducing()

    def resume(self) -> None:
        """
        Read on.
        """
        self._memory.resumeProducing()


# The reactor

"""
Ports and connectors that are only memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    MessageLengthError,
    UserError,
)
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IUDPTransport,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ._connection import MemoryConnection, RecordingPeer
from ._transport import CLIENT_ADDRESS, twistedAddress

_MAX_DATAGRAM = {4: 65507, 6: 65527}

_log = Logger()


@implementer(IUDPTransport, IListeningPort)
class MemoryUDPPort:
    """
    A UDP socket of a L{MemoryReactor}.

    @ivar protocol: who receives.

    @ivar interface: the address that it is bound to; empty for all of IPv4.

    @ivar port: its number.

    @ivar maxPacketSize: what is longer is cut off when it is received.

    @ivar sent: what was sent: the datagram, and where to.

    @ivar listening: whether it is open.

    @ivar refusal: if not L{None}, what L{write} raises instead of sending.
    """

    def __init__(
        self, protocol: DatagramProtocol, interface: str, port: int, maxPacketSize: int
    ) -> None:
        self.protocol = protocol
        self.interface = interface
        self.port = port
        self.maxPacketSize = maxPacketSize
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.listening = True
        self.refusal: Exception | None = None

    def deliver(self, data: bytes, source: tuple[str, int]) -> None:
        """
        A datagram comes from C{source}; nothing happens if the socket is closed.
        """
        if self.listening:
            self.deliverAll([(data, source)])

    def deliverAll(self, datagrams: Sequence[tuple[bytes, tuple[str, int]]]) -> None:
        """
        Datagrams come that the system has for one turn of the reactor: as in Twisted, they are
        delivered even if the socket is closed by what is done with the first.
        """
        for data, source in datagrams:
            try:
                self.protocol.datagramReceived(data[: self.maxPacketSize], source)
            except Exception:
                _log.failure("{protocol!r} raised", protocol=self.protocol)

    def startListening(self) -> None:
        """
        It has listened from the beginning.
        """

    def stopListening(self) -> Deferred[None]:
        """
        Close the socket.

        @return: a Deferred that has fired.
        """
        if self.listening:
            self.listening = False
            self.protocol.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        The address and port.
        """
        return twistedAddress("UDP", self.interface or "0.0.0.0", self.port)

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        Send a datagram.

        @raise MessageLengthError: it is longer than the family allows.

        @raise Exception: see L{refusal}.

        @raise ValueError: the address is of the other family, is no number, or has port 0.
        """
        assert addr is not None and self.listening
        family = ip_address(addr[0]).version
        if (family == 6) is not (":" in self.interface) or not addr[1]:
            raise ValueError(f"no datagram from {self.getHost()} to {addr}")
        if self.refusal is not None:
            raise self.refusal
        if len(packet) > _MAX_DATAGRAM[family]:
            raise MessageLengthError("message too long")
        self.sent.append((packet, addr))

    def connect(self, host: str, port: int) -> None:
        """
        Not done by this package.

        @raise NotImplementedError: always.
        """
        raise NotImplementedError

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """
        Not done by this package.

        @raise NotImplementedError: always.
        """
        raise NotImplementedError

    def getBroadcastAllowed(self) -> bool:
        """
        What the system begins with.
        """
        return False


@implementer(IListeningPort)
class MemoryTCPPort:
    """
    A listening TCP socket of a L{MemoryReactor}.

    @ivar factory: builds a protocol for each connection.

    @ivar interface: the address that it is bound to; empty for all of IPv4.

    @ivar port: its number.

    @ivar backlog: as it was asked for.

    @ivar listening: whether it is open.
    """

    def __init__(self, factory: IProtocolFactory, interface: str, port: int, backlog: int) -> None:
        self.factory = factory
        self.interface = interface
        self.port = port
        self.backlog = backlog
        self.listening = True

    def connect(
        self, client: IProtocol, clientAddress: IAddress = CLIENT_ADDRESS, **options: Any
    ) -> MemoryConnection | None:
        """
        Connect to it.

        @param options: further arguments of L{MemoryConnection}.

        @return: the connection, or L{None} if there is none because the factory has not built a
            protocol.
        """
        assert self.listening
        server: IProtocol | None = self.factory.buildProtocol(clientAddress)
        if server is None:
            return None
        options = {"serverAddress": self.getHost()} | options
        return MemoryConnection(client, server, clientAddress=clientAddress, **options)

    def startListening(self) -> None:
        """
        It has listened from the beginning.
        """

    def stopListening(self) -> Deferred[None]:
        """
        Close the socket.

        @return: a Deferred that has fired.
        """
        if self.listening:
            self.listening = False
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        The address and port.
        """
        return twistedAddress("TCP", self.interface or "0.0.0.0", self.port)


@implementer(IConnector)
class MemoryConnector:
    """
    An attempt to connect by a L{MemoryReactor}.  It hangs until the test says how it ends.

    @ivar host: where to, in text.

    @ivar port: where to.

    @ivar factory: builds the protocol.

    @ivar timeout: as it was asked for.

    @ivar bindAddress: as it was asked for.

    @ivar stoppedConnecting: whether it has been given up.
    """

    def __init__(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float | None,
        bindAddress: tuple[str, int] | None,
    ) -> None:
        self.host = host
        self.port = port
        self.factory = factory
        self.timeout = timeout
        self.bindAddress = bindAddress
        self.stoppedConnecting = False

    def accept(
        self,
        server: IProtocol | None = None,
        clientAddress: IAddress = CLIENT_ADDRESS,
        **options: Any,
    ) -> MemoryConnection:
        """
        Let the attempt succeed.

        @param server: the other side; a L{RecordingPeer} by default.

        @param options: further arguments of L{MemoryConnection}.
        """
        address = self.getDestination()
        protocol = self.factory.buildProtocol(address)
        assert protocol is not None
        return MemoryConnection(
            protocol,
            server or RecordingPeer(),
            clientAddress=clientAddress,
            serverAddress=address,
            **options,
        )

    def refuse(self, error: Exception) -> None:
        """
        Let the attempt fail.
        """
        self.factory.clientConnectionFailed(self, Failure(error))

    def stopConnecting(self) -> None:
        """
        Give up.
        """
        self.stoppedConnecting = True
        self.refuse(UserError())

    def disconnect(self) -> None:
        """
        Give up.
        """
        self.stopConnecting()

    def connect(self) -> None:
        """
        Not done by this package.

        @raise NotImplementedError: always.
        """
        raise NotImplementedError

    def getDestination(self) -> IPv4Address | IPv6Address:
        """
        Where to.
        """
        return twistedAddress("TCP", self.host, self.port)

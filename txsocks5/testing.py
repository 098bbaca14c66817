"""
Fakes for testing what has to do with a SOCKS5 server: a reactor, connections and ports that are
only memory, and a scripted provider of each interface in L{txsocks5.interfaces}.

Nothing here uses a network, a thread or the time.  What a fake is asked to do it writes down; what
it answers, and when, the test decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from itertools import count
from typing import Any, Literal, Protocol, TypeAlias, cast
from zlib import crc32

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    MessageLengthError,
    UserError,
)
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IConsumer,
    IHalfCloseableProtocol,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorPluggableNameResolver,
    IReactorThreads,
    IReactorUDP,
    IResolutionReceiver,
    ITCPTransport,
    IUDPTransport,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from .errors import NameNotResolved, ProtocolError
from .interfaces import (
    Accepted,
    IAuthenticator,
    IConversation,
    Identity,
    IDialer,
    IPolicy,
    IProtection,
    IRelayObserver,
    IRelayTap,
    IResolver,
    Question,
    Refused,
    Step,
    Verdict,
)
from .wire import Address, IPAddress

__all__ = [
    "Dial",
    "MemoryConnection",
    "MemoryConnector",
    "MemoryNameResolver",
    "MemoryReactor",
    "MemoryTCPPort",
    "MemoryThreads",
    "MemoryTransport",
    "MemoryUDPPort",
    "PrivateAuthenticator",
    "PrivateProtection",
    "RecordedEvents",
    "RecordedTraffic",
    "RecordingPeer",
    "ScriptedAuthenticator",
    "ScriptedConversation",
    "ScriptedDialer",
    "ScriptedPolicy",
    "ScriptedResolver",
    "flushAll",
]

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.1", 50000)
"""
Where a L{MemoryConnection} comes from unless it is told otherwise.
"""

SERVER_ADDRESS = IPv4Address("TCP", "203.0.113.5", 1080)
"""
Where a L{MemoryConnection} leads unless it is told otherwise.
"""

_READ = 65536
_MAX_ROUNDS = 100_000
_FIRST_PORT = 49152
_MAX_DATAGRAM = {4: 65507, 6: 65527}

#: What Twisted adds to an event for observers of the old kind.
_LEGACY = frozenset(("failure", "format", "isError", "message", "system", "time", "why"))

_log = Logger()


def _twistedAddress(kind: Literal["TCP", "UDP"], host: str, port: int) -> IPv4Address | IPv6Address:
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
        readSize: int = _READ,
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
        return _twistedAddress("UDP", self.interface or "0.0.0.0", self.port)

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
        return _twistedAddress("TCP", self.interface or "0.0.0.0", self.port)


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
        return _twistedAddress("TCP", self.host, self.port)


@implementer(IHostResolution)
class _Resolution:
    """
    A look-up that has begun.
    """

    def __init__(self, name: str, answer: Callable[[], None]) -> None:
        self.name = name
        self.cancelled = False
        self.answer = answer

    def cancel(self) -> None:
        """
        Give up.
        """
        self.cancelled = True


@implementer(IHostnameResolver)
class MemoryNameResolver:
    """
    The name resolver of a L{MemoryReactor}.

    @ivar hosts: for each name its addresses, in text.  Other names have none.

    @ivar asked: the names that were looked up.

    @ivar hold: keep the answers until L{release}.

    @ivar held: the look-ups that wait for that.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.hold = False
        self.held: list[_Resolution] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Look up a name.
        """

        def answer() -> None:
            for host in self.hosts.get(hostName, ()):
                address = _twistedAddress("TCP", host, portNumber)
                if addressTypes is None or isinstance(address, tuple(addressTypes)):
                    resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        self.asked.append(hostName)
        resolution = _Resolution(hostName, answer)
        resolutionReceiver.resolutionBegan(resolution)
        self.held.append(resolution)
        if not self.hold:
            self.release()
        return resolution

    def release(self) -> None:
        """
        Give the answers that were kept.
        """
        held, self.held = self.held, []
        for resolution in held:
            resolution.answer()


class MemoryThreads:
    """
    Stands for a pool of threads; what is called in one is called at once.

    @ivar hold: keep the calls until L{release}.

    @ivar held: the calls that wait for that.
    """

    def __init__(self) -> None:
        self.hold = False
        self.held: list[Callable[[], None]] = []

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        func: Callable[..., Any],
        *args: Any,
        **kw: Any,
    ) -> None:
        """
        Call C{func}, and C{onResult} with whether it went well, and its result or failure.
        """

        def call() -> None:
            try:
                success, result = True, func(*args, **kw)
            except Exception:
                success, result = False, Failure()
            if onResult is not None:
                onResult(success, result)

        self.held.append(call)
        if not self.hold:
            self.release()

    def callInThread(self, func: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """
        Call C{func}.
        """
        self.callInThreadWithCallback(None, func, *args, **kw)

    def release(self) -> None:
        """
        Do the calls that were kept.
        """
        held, self.held = self.held, []
        for call in held:
            call()


@implementer(IReactorPluggableNameResolver, IReactorThreads, IReactorUDP)
class MemoryReactor(MemoryReactorClock):
    """
    All that a SOCKS5 server needs of a reactor, in memory: L{ISOCKSReactor
    <txsocks5.interfaces.ISOCKSReactor>}.  The time is that of a L{Clock
    <twisted.internet.task.Clock>}.

    @ivar nameResolver: looks up names.

    @ivar threads: stands for the threads.

    @ivar threadPoolSize: what was last asked for by L{suggestThreadPoolSize}.

    @ivar tcpPorts: the sockets from L{listenTCP}, closed ones included.

    @ivar udpPorts: the sockets from L{listenUDP}, closed ones included.

    @ivar connectors: the attempts from L{connectTCP}.

    @ivar occupied: numbers of ports that cannot be listened on, because somebody else does.

    @ivar foreign: addresses that cannot be listened on, because they are not of this machine.
    """

    nameResolver: MemoryNameResolver
    connectors: list[MemoryConnector]
    tcpClients: list[Any]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nameResolver = MemoryNameResolver()
        self.threads = MemoryThreads()
        self.threadPoolSize: int | None = None
        self.tcpPorts: list[MemoryTCPPort] = []
        self.udpPorts: list[MemoryUDPPort] = []
        self.connectors = []
        self.occupied: set[int] = set()
        self.foreign: set[str] = set()
        self._free = count(_FIRST_PORT)

    def installNameResolver(self, resolver: Any) -> Any:
        """
        Replace the name resolver.

        @return: the one that was there.
        """
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def _bind(
        self, ports: Sequence[MemoryTCPPort | MemoryUDPPort], interface: str, port: int
    ) -> int:
        """
        Find out whether a socket can be bound.

        @return: its port.

        @raise CannotListenError: it cannot.
        """
        taken = {other.port for other in ports if other.listening and other.interface == interface}
        taken |= self.occupied
        if not port:
            port = next(number for number in self._free if number not in taken)
        if interface in self.foreign or port in taken:
            raise CannotListenError(interface, port, OSError("in use, or not ours"))
        return port

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> MemoryTCPPort:
        """
        Listen.

        @raise CannotListenError: see L{occupied} and L{foreign}.
        """
        self.tcpServers.append((port, factory, backlog, interface))
        listening = MemoryTCPPort(
            factory, interface, self._bind(self.tcpPorts, interface, port), backlog
        )
        factory.doStart()
        self.tcpPorts.append(listening)
        return listening

    def listenUDP(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> MemoryUDPPort:
        """
        Open a UDP socket.

        @raise CannotListenError: see L{occupied} and L{foreign}.
        """
        opened = MemoryUDPPort(
            protocol, interface, self._bind(self.udpPorts, interface, port), maxPacketSize
        )
        self.udpPorts.append(opened)
        protocol.makeConnection(opened)
        return opened

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float | None = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> MemoryConnector:
        """
        Begin to connect.
        """
        self.tcpClients.append((host, port, factory, timeout, bindAddress))
        connector = MemoryConnector(host, port, factory, timeout, bindAddress)
        self.connectors.append(connector)
        factory.doStart()
        factory.startedConnecting(connector)
        return connector

    def getThreadPool(self) -> Any:
        """
        The threads.
        """
        return self.threads

    def callInThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """
        Call it as L{threads} says.
        """
        self.threads.callInThread(callable, *args, **kwargs)

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """
        Call it at once: there is only one thread.
        """
        callable(*args, **kwargs)

    def suggestThreadPoolSize(self, size: int) -> None:
        """
        Note it.
        """
        self.threadPoolSize = size


# What can be replaced in a server

Answer: TypeAlias = Step | Deferred[Step] | Exception | None
"""
What a L{ScriptedAuthenticator} can answer: what L{IConversation.received} returns, or an exception
for it to raise.
"""


@implementer(IConversation)
class ScriptedConversation:
    """
    A conversation that gives its answers in their order, and L{None} behind the last.

    @ivar heard: what each call has passed.

    @ivar closed: how often it was closed.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.heard: list[bytes] = []
        self.closed = 0
        self._answers = list(answers)

    def received(self, data: bytes) -> Step | Deferred[Step] | None:
        """
        Give the next answer.
        """
        self.heard.append(data)
        if not self._answers:
            return None
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """
        Count.
        """
        self.closed += 1


@implementer(IAuthenticator)
class ScriptedAuthenticator:
    """
    An authentication method whose answers the test has written.

    @ivar clients: where each client came from.

    @ivar conversations: one for each client.
    """

    method: int = 0x81

    def __init__(self, *answers: Answer, method: int = 0x81) -> None:
        """
        @param answers: what each conversation answers.  A Deferred is of use to one only.
        """
        self.method = method
        self.clients: list[IPAddress | None] = []
        self.conversations: list[ScriptedConversation] = []
        self._answers = answers

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin.
        """
        self.clients.append(client)
        conversation = ScriptedConversation(self._answers)
        self.conversations.append(conversation)
        return conversation


_MARK = b"\xa5"
_HEAD = 7
_MAX_BODY = 16384


@implementer(IProtection)
class PrivateProtection:
    """
    The encapsulation of L{PrivateAuthenticator}, for either side.  On the stream each message is
    an octet C{A5}, two octets of length, four of a checksum, and the scrambled octets; the
    checksum covers a number too, so that nothing can be left out, repeated or sent back.  A
    datagram is four octets of checksum and the scrambled octets.

    This is a toy: it shows that all octets pass through it, and protects nothing.

    @ivar closed: how often it was closed.
    """

    def __init__(self, key: int, *, server: bool) -> None:
        """
        @param key: 1 to 255.

        @param server: which of the two sides this is.
        """
        self.closed = 0
        self._key = key
        self._server = server
        self._out = 0
        self._in = 0
        self._rest = b""

    def _scrambled(self, data: bytes) -> bytes:
        """
        Scramble, or unscramble.
        """
        key = self._key
        return bytes(octet ^ key for octet in data)

    def _check(self, data: bytes, number: int, fromServer: bool) -> bytes:
        """
        The checksum of octets.
        """
        salt = b"%d %d %d " % (self._key, number, fromServer)
        return crc32(salt + data).to_bytes(4, "big")

    def wrap(self, data: bytes) -> bytes:
        """
        Encapsulate octets, in one or more messages.
        """
        messages = []
        for start in range(0, len(data), _MAX_BODY):
            body = data[start : start + _MAX_BODY]
            self._out += 1
            check = self._check(body, self._out, self._server)
            messages += [_MARK, len(body).to_bytes(2, "big"), check, self._scrambled(body)]
        return b"".join(messages)

    def unwrap(self, data: bytes) -> bytes:
        """
        Open the messages that are there.

        @raise ProtocolError: it is no message of the other side, or not the next.
        """
        rest = self._rest + data
        bodies = []
        while rest:
            if rest[:1] != _MARK:
                raise ProtocolError("not encapsulated")
            end = _HEAD + int.from_bytes(rest[1:3], "big")
            if len(rest) >= 3 and end > _HEAD + _MAX_BODY:
                raise ProtocolError("an encapsulated message is too long")
            if len(rest) < _HEAD or len(rest) < end:
                break
            body = self._scrambled(rest[_HEAD:end])
            self._in += 1
            if rest[3:_HEAD] != self._check(body, self._in, not self._server):
                raise ProtocolError("an encapsulated message was tampered with")
            bodies.append(body)
            rest = rest[end:]
        self._rest = rest
        return b"".join(bodies)

    def finished(self) -> None:
        """
        The stream has ended.

        @raise ProtocolError: in the midst of a message.
        """
        if self._rest:
            raise ProtocolError("the stream ended in the midst of an encapsulated message")

    def wrapDatagram(self, data: bytes) -> bytes:
        """
        Encapsulate a datagram.
        """
        return self._check(data, 0, self._server) + self._scrambled(data)

    def unwrapDatagram(self, data: bytes) -> bytes:
        """
        Open a datagram.

        @raise ProtocolError: it is not one of the other side.
        """
        body = self._scrambled(data[4:])
        if data[:4] != self._check(body, 0, not self._server):
            raise ProtocolError("a datagram was tampered with")
        return body

    def close(self) -> None:
        """
        Count.
        """
        self.closed += 1


@implementer(IAuthenticator)
class PrivateAuthenticator:
    """
    A private authentication method that encapsulates: the client sends the length of a user name
    and the name; the server answers with the key, an octet from 1 to 255, or C{00} for no.

    @ivar protections: one for each client that was let in.
    """

    method: int = 0x80

    def __init__(self, *users: str, method: int = 0x80, key: int = 0x5A) -> None:
        """
        @param users: who is let in; C{alice} by default.

        @param key: which key every client gets.
        """
        self.method = method
        self.key = key
        self.protections: list[PrivateProtection] = []
        self._users = users or ("alice",)

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin.
        """
        return _PrivateConversation(self)

    def judge(self, user: str) -> tuple[bytes, Accepted | Refused]:
        """
        Look at a user name.

        @return: what to tell the client, and the outcome.
        """
        if user not in self._users:
            return b"\x00", Refused("unknown user", user)
        protection = PrivateProtection(self.key, server=True)
        self.protections.append(protection)
        return bytes([self.key]), Accepted(Identity(user, self.method), protection)

    @staticmethod
    def message(user: str) -> bytes:
        """
        What a client says.
        """
        name = user.encode("ascii")
        return bytes([len(name)]) + name

    def clientProtection(self) -> PrivateProtection:
        """
        The protection for a client that was let in.
        """
        return PrivateProtection(self.key, server=False)


@implementer(IConversation)
class _PrivateConversation:
    """
    One client of a L{PrivateAuthenticator}.
    """

    def __init__(self, authenticator: PrivateAuthenticator) -> None:
        self._authenticator = authenticator

    def received(self, data: bytes) -> Step | None:
        """
        Read the name.
        """
        if not data or len(data) <= data[0]:
            return None
        end = 1 + data[0]
        try:
            user = data[1:end].decode("ascii")
        except UnicodeDecodeError:
            raise ProtocolError("the user name is not ASCII") from None
        answer, outcome = self._authenticator.judge(user)
        return Step(end, answer, outcome)

    def close(self) -> None:
        """
        Nothing is kept.
        """


class Dial:
    """
    One call of L{ScriptedDialer.dial}; it hangs until the test says how it ends.

    @ivar address: where to.

    @ivar factory: builds the protocol.

    @ivar result: what L{ScriptedDialer.dial} has returned.

    @ivar cancelled: whether it has been given up.
    """

    def __init__(self, address: Address, factory: IProtocolFactory) -> None:
        self.address = address
        self.factory = factory
        self.cancelled = False
        self.result: Deferred[IProtocol] = Deferred(self._cancel)

    def _cancel(self, result: Deferred[IProtocol]) -> None:
        """
        The caller has given up.
        """
        self.cancelled = True

    def accept(
        self,
        server: IProtocol | None = None,
        clientAddress: IAddress = CLIENT_ADDRESS,
        **options: Any,
    ) -> MemoryConnection:
        """
        Let it succeed.

        @param server: the other side; a L{RecordingPeer} by default.

        @param clientAddress: the address of our side of the connection.

        @param options: further arguments of L{MemoryConnection}.
        """
        where = _twistedAddress("TCP", str(self.address.host), self.address.port)
        protocol = self.factory.buildProtocol(where)
        assert protocol is not None
        options = {"serverAddress": where} | options
        connection = MemoryConnection(
            protocol, server or RecordingPeer(), clientAddress=clientAddress, **options
        )
        self.result.callback(protocol)
        return connection

    def refuse(self, error: Exception) -> None:
        """
        Let it fail.
        """
        self.result.errback(error)


@implementer(IDialer)
class ScriptedDialer:
    """
    Connects as the test says.

    @ivar dials: one for each time that it was asked to connect.

    @ivar answer: if not L{None}, called with each L{Dial} before that is returned, so that it can
        be answered at once.
    """

    def __init__(self, answer: Callable[[Dial], object] | None = None) -> None:
        self.dials: list[Dial] = []
        self.answer = answer

    def dial(self, address: Address, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Begin to connect.
        """
        dial = Dial(address, factory)
        self.dials.append(dial)
        if self.answer is not None:
            self.answer(dial)
        return dial.result


@implementer(IResolver)
class ScriptedResolver:
    """
    Resolves names as the test says.

    @ivar hosts: for each name its addresses in text, or the exception to fail with.  Other names
        do not resolve.

    @ivar asked: the names that were looked up.

    @ivar cancelled: the names whose look-up was given up.

    @ivar hold: keep the answers until L{release}.
    """

    def __init__(self, hosts: Mapping[str, Sequence[str] | Exception] | None = None) -> None:
        self.hosts: dict[str, Sequence[str] | Exception] = dict(hosts or {})
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.hold = False
        self._held: list[tuple[str, Deferred[Sequence[IPAddress]]]] = []

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name.
        """
        self.asked.append(name)
        if not self.hold:
            return self._answer(name)
        held: Deferred[Sequence[IPAddress]] = Deferred(lambda held: self.cancelled.append(name))
        self._held.append((name, held))
        return held

    def release(self) -> None:
        """
        Give the answers that were kept.
        """
        held, self._held = self._held, []
        for name, result in held:
            if not result.called:
                self._answer(name).chainDeferred(result)

    def _answer(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        The answer for a name.
        """
        addresses = self.hosts.get(name, ())
        if isinstance(addresses, Exception):
            return fail(addresses)
        if not addresses:
            return fail(NameNotResolved(f"no address found for {name}"))
        return succeed([ip_address(address) for address in addresses])


@implementer(IPolicy)
class ScriptedPolicy:
    """
    Answers as the test says: at first everything is allowed.

    @ivar client: the verdict about clients without authentication.

    @ivar request: the verdict about requests.

    @ivar addresses: verdicts about single addresses, by their text.

    @ivar clients: the clients that were asked about.

    @ivar questions: the requests that were asked about.

    @ivar asked: the addresses that were asked about, with their questions.
    """

    def __init__(self) -> None:
        self.client = Verdict(True, "scripted: any client")
        self.request = Verdict(True, "scripted: any request")
        self.addresses: dict[str, Verdict] = {}
        self.clients: list[IPAddress | None] = []
        self.questions: list[Question] = []
        self.asked: list[tuple[Question, IPAddress]] = []

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        Answer.
        """
        self.clients.append(client)
        return self.client

    def judgeRequest(self, question: Question) -> Verdict:
        """
        Answer.
        """
        self.questions.append(question)
        return self.request

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Answer.
        """
        self.asked.append((question, address))
        return self.addresses.get(str(address), Verdict(True, "scripted: any address"))


@implementer(IRelayTap)
class _RecordedSession:
    """
    The traffic of one session.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.passages: list[tuple[bool, Address, bytes]] = []
        self.totals: list[tuple[int, int]] = []

    def passed(self, fromClient: bool, peer: Address, data: bytes) -> None:
        """
        Keep what passes.
        """
        self.passages.append((fromClient, peer, data))

    def ended(self, fromClient: int, toClient: int) -> None:
        """
        Keep the sums.
        """
        self.totals.append((fromClient, toClient))


@implementer(IRelayObserver)
class RecordedTraffic:
    """
    An observer of relays that keeps everything.

    @ivar looking: whether it wants to see the data of a session that begins.

    @ivar questions: the session that have begun.

    @ivar sessions: those it has looked at, each with its C{question}, its C{passages} (whether
        from the client, the peer, the data) and its C{totals} (octets from the client, octets to
        it; one item when it has ended).
    """

    def __init__(self) -> None:
        self.looking = True
        self.questions: list[Question] = []
        self.sessions: list[_RecordedSession] = []

    def began(self, question: Question) -> IRelayTap | None:
        """
        A session begins.
        """
        self.questions.append(question)
        if not self.looking:
            return None
        session = _RecordedSession(question)
        self.sessions.append(session)
        return session


class _Cleaner(Protocol):
    """
    What is needed of a test case.
    """

    def addCleanup(self, f: Callable[[], object], /) -> object:
        """
        Call C{f} when the test is over.
        """


@implementer(ILogObserver)
class RecordedEvents:
    """
    The events of L{txsocks5.events} that are logged during a test.

    @ivar events: all of them, in order.
    """

    def __init__(self, case: _Cleaner) -> None:
        """
        @param case: the test; recording ends with it.
        """
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self)
        case.addCleanup(lambda: globalLogPublisher.removeObserver(self))

    def __call__(self, event: LogEvent) -> None:
        """
        Keep an event.
        """
        if "socks_event" in event:
            self.events.append({key: event[key] for key in event if key not in _LEGACY})

    @property
    def names(self) -> list[str]:
        """
        The names of the events.
        """
        return [event["socks_event"] for event in self.events]

    def named(self, name: str) -> list[LogEvent]:
        """
        The events of one name.
        """
        return [event for event in self.events if event["socks_event"] == name]

    def one(self, name: str) -> LogEvent:
        """
        The only event of a name.

        @raise AssertionError: there are none, or several.
        """
        found = self.named(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events {name!r} among {self.names}")
        return found[0]

    def text(self) -> str:
        """
        All events as a log file shows them, one a line.
        """
        return "\n".join(formatEvent(event) for event in self.events)

"""
A reactor that is only memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from twisted.internet.error import (
    CannotListenError,
)
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorCore,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer, implementer_only

from ._ports import MemoryConnector, MemoryTCPPort, MemoryUDPPort
from ._transport import twistedAddress

_FIRST_PORT = 49152


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
                address = twistedAddress("TCP", host, portNumber)
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


# Twisted's says that it reads descriptors, which it does not.
@implementer_only(
    IReactorCore,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
)
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

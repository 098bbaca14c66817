"""
Listening sockets that somebody else has opened: another process that shares them, or systemd.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IListeningPort, IReactorCore
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

__all__ = ["Adopter", "Inheritor", "Opener", "spelled"]

# They are only asked for methods here, which get an object of these classes for their reactor.
_REACTOR: Any = PosixReactorBase


class _Substitute:
    """
    Stands for a reactor, and does some things in another way.
    """

    def __init__(self, reactor: IReactorCore) -> None:
        """
        @param reactor: does everything else.
        """
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        """
        Leave it to the reactor.
        """
        return getattr(self._reactor, name)


class Opener(_Substitute):
    """
    What endpoints take for a reactor that listen for other processes.  Their ports are the usual
    ones, but nobody looks whether a client comes.
    """

    def addReader(self, reader: object) -> None:
        """
        Look at nothing.
        """

    removeReader = addReader

    def listenTCP(self, *arguments: Any, **options: Any) -> IListeningPort:
        """
        See L{IReactorTCP.listenTCP <twisted.internet.interfaces.IReactorTCP.listenTCP>}.
        """
        return cast(IListeningPort, _REACTOR.listenTCP(self, *arguments, **options))

    def listenSSL(self, *arguments: Any, **options: Any) -> IListeningPort:
        """
        See L{IReactorSSL.listenSSL <twisted.internet.interfaces.IReactorSSL.listenSSL>}.
        """
        return cast(IListeningPort, _REACTOR.listenSSL(self, *arguments, **options))

    def listenUNIX(self, *arguments: Any, **options: Any) -> IListeningPort:
        """
        See L{IReactorUNIX.listenUNIX <twisted.internet.interfaces.IReactorUNIX.listenUNIX>}.
        """
        return cast(IListeningPort, _REACTOR.listenUNIX(self, *arguments, **options))

    def adoptStreamPort(self, *arguments: Any, **options: Any) -> IListeningPort:
        """
        See L{IReactorSocket.adoptStreamPort
        <twisted.internet.interfaces.IReactorSocket.adoptStreamPort>}.
        """
        return cast(IListeningPort, _REACTOR.adoptStreamPort(self, *arguments, **options))


class _AdoptedUNIXPort(unix.Port):
    """
    A UNIX socket with a name that belongs to somebody else, and so does who may use it.
    """

    # It listens for others, too.
    _shouldShutdown = False

    def startListening(self) -> None:
        """
        Begin to accept; the socket listens already.
        """
        port: Any = self
        port.factory.doStart()
        port.socket = port._preexistingSocket
        port._preexistingSocket = None
        port.connected = True
        port.fileno = port.socket.fileno
        port.numberAccepts = 100
        port.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """
        Leave the name as it is.
        """
        tcp.Port.connectionLost(self, reason)


def _adopted(reactor: Any, descriptor: int, family: int, factory: object) -> IListeningPort:
    """
    Make a port of a socket that listens.

    @param descriptor: belongs to the caller.
    """
    port: Any = _AdoptedUNIXPort
    if family == socket.AF_UNIX:
        port = port._fromListeningDescriptor(reactor, descriptor, factory)
        port.startListening()
    else:
        port = reactor.adoptStreamPort(descriptor, family, factory)
    return cast(IListeningPort, port)


class Inheritor(_Substitute):
    """
    What endpoints take for a reactor whose sockets systemd has opened.
    """

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: object) -> Any:
        """
        See L{IReactorSocket.adoptStreamPort
        <twisted.internet.interfaces.IReactorSocket.adoptStreamPort>}.
        """
        return _adopted(self._reactor, fileDescriptor, addressFamily, factory)


class Adopter(_Substitute):
    """
    What endpoints take for a reactor in a process that has been given their sockets.
    """

    def __init__(self, reactor: IReactorCore, descriptors: Iterable[int]) -> None:
        """
        @param descriptors: the sockets, in the order in which the endpoint opens them.  They
            belong to the caller.
        """
        super().__init__(reactor)
        self._descriptors = iter(descriptors)

    def listenTCP(
        self, port: int, factory: Factory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """
        Take the next socket.

        @raise LookupError: there is none left.
        """
        return self._adopt(factory)

    def listenSSL(
        self,
        port: int,
        factory: Factory,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """
        Take the next socket, and wrap its connections in TLS.

        @raise LookupError: there is none left.
        """
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory))

    def listenUNIX(
        self, address: str, factory: Factory, backlog: int = 50, mode: int = 0, wantPID: int = 0
    ) -> IListeningPort:
        """
        Take the next socket.

        @raise LookupError: there is none left.
        """
        return self._adopt(factory)

    def _adopt(self, factory: Any) -> IListeningPort:
        """
        Take the next socket.
        """
        descriptor = next(self._descriptors, None)
        if descriptor is None:
            raise LookupError("its sockets have not been handed over")
        with socket.socket(fileno=os.dup(descriptor)) as given:
            family = given.family
        return _adopted(self._reactor, descriptor, family, factory)


def spelled(description: str, port: IListeningPort) -> str:
    """
    Describe an endpoint that only this process can open, C{systemd:}, as one that others know.

    @param port: what it has opened.

    @return: a string that means the same address, which is another one only if it has to be.
    """
    wrapper = "haproxy:" if description.startswith("haproxy:") else ""
    if not description.removeprefix(wrapper).startswith("systemd:"):
        return description
    address: Any = port.getHost()
    if isinstance(address, UNIXAddress):
        return f"{wrapper}unix:{quoteStringArgument(os.fsdecode(address.name or b''))}"
    return f"{wrapper}tcp:{address.port}:interface={quoteStringArgument(address.host)}"

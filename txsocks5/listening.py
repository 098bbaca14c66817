"""
One place where a server takes its clients.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.python.failure import Failure

from . import local
from .acceptor import Acceptor
from .local import Place
from .server import SOCKS5Factory
from .sharing import Inheritor
from .wire import Address

__all__ = ["BACKLOG", "Listening", "endpointOf"]

BACKLOG = 4096
"""
Connections that the system keeps until they are accepted, where an endpoint string does not say
otherwise.  The system's own limit holds beside it.
"""

_WITH_BACKLOG = ("tcp", "tcp6", "ssl", "tls", "unix")


class Listening:
    """
    An endpoint, from its beginning to listen to its end.

    @ivar description: the endpoint string.

    @ivar port: the port, once it listens.

    @ivar place: where that is, or was; L{None} if that is not known.
    """

    def __init__(self, factory: SOCKS5Factory, description: str, reactor: Any = None) -> None:
        """
        @param factory: serves those who come.

        @param reactor: what the endpoint takes for one; by default, the factory's.
        """
        self._reactor = factory.reactor if reactor is None else reactor
        self.description = description
        self.port: IListeningPort | None = None
        self.place: Place | None = None
        self._factory = factory
        self._acceptor: Acceptor | None = None
        self._beginning: Deferred[None] | None = None

    def begin(self) -> Deferred[None]:
        """
        Listen.  Whoever comes waits to be accepted until L{admit} is called, if the port is one of
        those that can wait.

        @return: a Deferred that fires when it does, or fails with whatever keeps the endpoint from
            it.  L{stop} cancels it.
        """
        listened = maybeDeferred(self._listen).addCallback(self._listens)
        if not listened.called:
            self._beginning = listened.addErrback(self._ends)
        return listened

    def _listen(self) -> Deferred[IListeningPort]:
        """
        Listen.
        """
        endpoint = endpointOf(self._reactor, self.description)
        return endpoint.listen(self._factory)

    def _listens(self, port: IListeningPort) -> None:
        """
        The endpoint listens.
        """
        self.port = port
        self._beginning = None
        self.place = local.placeOf(port.getHost())
        if self.address is not None:
            self._factory.listeners.add(self.address)
        pause = getattr(port, "stopReading", None)
        if pause is not None:
            pause()

    @property
    def isOpen(self) -> bool:
        """
        Whether it listens, or is about to.
        """
        return self.port is not None or self._beginning is not None

    def _ends(self, reason: Failure) -> Failure:
        """
        The endpoint has taken its time, and does not listen.
        """
        self._beginning = None
        return reason

    def admit(self) -> None:
        """
        Take those who come.
        """
        port: Any = self.port
        self._acceptor = self._factory.takeOver(port)
        if self._acceptor is None and hasattr(port, "startReading"):
            port.startReading()

    def stop(self) -> Deferred[Any]:
        """
        Take nobody any more.

        @return: a Deferred that fires when the port is closed, and does not fail.
        """
        if self._beginning is not None:
            beginning, self._beginning = self._beginning, None
            beginning.cancel()
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None
        port, self.port = self.port, None
        if self.address is not None:
            self._factory.listeners.discard(self.address)
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening).addErrback(lambda reason: None)

    @property
    def address(self) -> Address | None:
        """
        Where it listens, or has, if that is an address of the internet.
        """
        return self.place if isinstance(self.place, Address) else None

    def __str__(self) -> str:
        """
        Where it listens, for the log.
        """
        if isinstance(self.place, bytes):
            return f"unix:{self.place.decode('utf-8', 'replace')}"
        return str(self.port if self.place is None else self.place)


def endpointOf(reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    Make an endpoint, with our backlog if it is of a kind that has one and does not set it.  A
    socket of systemd's stays open when the endpoint has been listened at.
    """
    kind = description.removeprefix("haproxy:").partition(":")[0]
    endpoint: IStreamServerEndpoint
    if kind in _WITH_BACKLOG and ":backlog=" not in description:
        try:
            endpoint = serverFromString(reactor, f"{description}:backlog={BACKLOG}")
            return endpoint
        except TypeError:
            # It is set without its name being said; or something is wrong, which the next line
            # finds out.
            pass
    if kind == "systemd":
        reactor = Inheritor(reactor)
    endpoint = serverFromString(reactor, description)
    adopting: Any = getattr(endpoint, "_wrappedEndpoint", endpoint)
    if type(adopting) is AdoptedStreamServerEndpoint:
        _keepOpen(adopting)
    return endpoint


def _keepOpen(endpoint: Any) -> None:
    """
    Let an endpoint not close the socket that it was given once it has a copy: a reload looks at it
    again, and would find something else by its number.
    """
    endpoint._close = lambda descriptor: None

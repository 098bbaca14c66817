"""
The life of a server: it begins to listen, and stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import events, local
from .acceptor import Acceptor
from .server import SOCKS5Factory
from .wire import Address, Method

__all__ = ["BACKLOG", "SOCKS5Service"]

BACKLOG = 4096
"""
Connections that the system keeps until they are accepted, where an endpoint string does not say
otherwise.  The system's own limit holds beside it.
"""


_PLAIN = ("tcp:", "tcp6:", "systemd:")
_WITH_BACKLOG = ("tcp", "tcp6", "ssl", "tls", "unix")


class SOCKS5Service(Service):
    """
    Listens for the clients of one factory.
    """

    _log = Logger()

    def __init__(self, factory: SOCKS5Factory, listen: str | Sequence[str]) -> None:
        """
        @param factory: serves the clients; its reactor listens.

        @param listen: a Twisted server endpoint string, C{tcp:1080:interface=127.0.0.1} say, or
            several.
        """
        self._factory = factory
        self._listen = (listen,) if isinstance(listen, str) else tuple(listen)
        self._ports: list[IListeningPort] = []
        self._acceptors: list[Acceptor] = []
        # The endpoints that take their time, and have not begun to listen yet.
        self._waiting: list[Deferred[None]] = []
        self._began = False

    def privilegedStartService(self) -> None:
        """
        Listen while privileged ports can still be had.

        @raise Exception: whatever keeps an endpoint from listening; then none of them listens.
        """
        Service.privilegedStartService(self)
        self._begin()

    def startService(self) -> None:
        """
        Listen, if that has not been done, and read what quotas have been used.

        @raise Exception: see L{privilegedStartService}.

        @raise UnusableDatabase: the quotas cannot be read.
        """
        self._begin()
        try:
            self._factory.means.ledger.start()
        except Exception:
            self._stopListening()
            raise
        Service.startService(self)

    def _begin(self) -> None:
        """
        Listen everywhere.
        """
        if self._began:
            return
        self._began = True
        failures: list[Failure] = []
        for description in self._listen:
            listened = maybeDeferred(self._listenAt, description).addCallback(self._listening)
            if listened.called:
                listened.addErrback(failures.append)
                if failures:
                    break
            else:
                # One of the endpoints that take their time.
                self._waiting.append(listened)
                listened.addErrback(self._failed)
        if failures:
            self._stopListening()
            failures[0].raiseException()
        self._announce()

    def _listenAt(self, description: str) -> Deferred[IListeningPort]:
        """
        Listen at one endpoint.
        """
        return _endpoint(self._factory.reactor, description).listen(self._factory)

    def _listening(self, port: IListeningPort) -> None:
        """
        One endpoint listens.
        """
        self._ports.append(port)
        acceptor = self._factory.takeOver(port)
        if acceptor is not None:
            self._acceptors.append(acceptor)
        address = local.addressOf(port.getHost())
        if address is not None:
            self._factory.listeners.add(address)
        events.listening.emit(self._log, address=_describe(port, address))

    def _failed(self, reason: Failure) -> None:
        """
        An endpoint that has taken its time does not listen.
        """
        if reason.check(CancelledError) is None:
            events.notListening.emit(self._log, reason=reason.getErrorMessage())

    def _announce(self) -> None:
        """
        Say that all is in place, and how to see it work.
        """
        if not self._ports:
            return
        methods = self._factory.authenticators
        offered = [f"{number:02x} ({type(each).__name__})" for number, each in methods.items()]
        events.offering.emit(self._log, methods=", ".join(offered))
        login = {Method.NONE: "", Method.PASSWORD: "USER:PASSWORD@"}
        usable = [login[Method(number)] for number in methods if number in login]
        if usable and self._listen[0].startswith(_PLAIN):
            address = local.addressOf(self._ports[0].getHost())
            if address is not None:
                url = f"socks5h://{min(usable, key=len)}{_here(address)}"
                events.ready.emit(self._log, url=url)

    def _stopListening(self) -> Deferred[Any]:
        """
        Close all ports.
        """
        self._began = False
        waiting, self._waiting = self._waiting, []
        for listened in waiting:
            listened.cancel()
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            acceptor.stop()
        ports, self._ports = self._ports, []
        for port in ports:
            address = local.addressOf(port.getHost())
            if address is not None:
                self._factory.listeners.discard(address)
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def stopService(self) -> Deferred[None]:
        """
        Close the listeners, then the sessions, and write down what quotas have been used.

        @return: a Deferred that fires when nothing is left of either.
        """
        Service.stopService(self)
        stopped = self._stopListening()
        stopped.addCallback(lambda ignored: self._factory.stopSessions())
        return stopped.addCallback(lambda ignored: self._factory.means.ledger.stop())


def _here(address: Address) -> Address:
    """
    How somebody on this machine reaches a listener.
    """
    if isinstance(address.host, str) or not address.host.is_unspecified:
        return address
    loopback = "127.0.0.1" if address.host.version == 4 else "::1"
    return Address(ip_address(loopback), address.port)


def _describe(port: IListeningPort, address: Address | None) -> str:
    """
    Where a port listens, for the log.
    """
    if address is not None:
        return str(address)
    name = getattr(port.getHost(), "name", None)
    return f"unix:{name.decode('utf-8', 'replace')}" if isinstance(name, bytes) else str(port)


def _endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    Make an endpoint, with our backlog if it is of a kind that has one and does not set it.
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
    endpoint = serverFromString(reactor, description)
    return endpoint

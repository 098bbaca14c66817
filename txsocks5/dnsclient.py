"""
Questions to a name server, which leave nothing in the log.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.names import dns
from twisted.names.client import DNSClientFactory, Resolver
from twisted.python.failure import Failure

from .datagrams import Sockets
from .peers import Datagrams
from .wire import Address

__all__ = ["DNSClient"]

_ATTEMPTS = 64
"""
How many ports are tried for a question.
"""

_UNPRIVILEGED = 1024
"""
The first port that anybody may have.
"""


class _Connecting(DNSClientFactory):
    """
    Builds what asks by TCP.  Twisted's own takes the time from the global reactor.
    """

    noisy = False

    def __init__(self, client: Resolver, reactor: Any) -> None:
        super().__init__(client)  # type: ignore[no-untyped-call]
        self._reactor = reactor

    def buildProtocol(self, address: IAddress | None) -> dns.DNSProtocol:
        """
        Build it.
        """
        protocol = dns.DNSProtocol(self.controller, reactor=self._reactor)
        protocol.factory = self
        return protocol


class _Wire:
    """
    The socket of one question: what Twisted's protocol takes for its port.
    """

    def __init__(
        self, sockets: Sockets, protocol: dns.DNSDatagramProtocol, interface: str, port: int
    ) -> None:
        """
        @raise CannotListenError: the system does not let us.
        """
        self._protocol = protocol
        # Nobody else's answer is one.  Older versions of Twisted do not see to that.
        self._asked: tuple[str, int] | None = None
        self._socket = sockets.open(interface, port, self._received, self._lost)

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        """
        Send.

        @raise OSError: the system does not take it.
        """
        self._asked = address
        if self._socket.send([data], address):
            raise OSError(errno.EHOSTUNREACH, f"nothing can be sent to {address[0]}")

    def _received(self, arrived: Datagrams) -> None:
        """
        Something has come.
        """
        for data, source in arrived:
            # The one before may have been the answer.
            if self._asked == (source[0], source[1]) and self._protocol.transport is not None:
                self._protocol.datagramReceived(data, self._asked)

    def _lost(self, reason: Failure) -> None:
        """
        The socket is gone, so that no answer comes.
        """

    def stopListening(self) -> None:
        """
        The question is over.
        """
        self._socket.close()
        self._protocol.stopProtocol()


class DNSClient(Resolver):
    """
    Asks one name server.  With Twisted's own resolver the log has eight lines for each name.
    """

    def __init__(self, server: Address, reactor: Any) -> None:
        """
        @param server: where it is.

        @param reactor: provides C{IReactorTime}, C{IReactorUDP} and C{IReactorTCP}.
        """
        where = [(str(server.host), server.port)]
        super().__init__(servers=where, reactor=reactor)  # type: ignore[no-untyped-call]
        self.factory = _Connecting(self, reactor)
        self._sockets = Sockets(reactor)

    def _connectedProtocol(self, interface: str = "") -> dns.DNSDatagramProtocol:
        """
        Make what asks one question, at a port that nobody can guess.

        @raise CannotListenError: there is no port, or no file descriptor.
        """
        protocol: Any = dns.DNSDatagramProtocol(self, reactor=self._reactor)
        protocol.startProtocol()
        protocol.transport = self._wire(protocol, interface)
        made: dns.DNSDatagramProtocol = protocol
        return made

    def _wire(self, protocol: dns.DNSDatagramProtocol, interface: str) -> _Wire:
        """
        Open a socket for a question.

        @raise CannotListenError: see L{_connectedProtocol}.
        """
        left = _ATTEMPTS
        while True:
            left -= 1
            try:
                port = _UNPRIVILEGED + dns.randomSource() % (65536 - _UNPRIVILEGED)
                return _Wire(self._sockets, protocol, interface, port)
            except CannotListenError as error:
                exhausted = (errno.EMFILE, errno.ENFILE)
                if not left or getattr(error.socketError, "errno", None) in exhausted:
                    raise

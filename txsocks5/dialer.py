"""
Connecting sockets without transports.
"""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import IPv4Address
from socket import SocketType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectBindError
from twisted.internet.interfaces import IReactorTime

from . import local
from .config import ofFamily
from .junction import Junction
from .retired import BareConnection
from .socketstream import SocketStream
from .stream import TargetProtocol
from .wire import Address, IPAddress

__all__ = ["ConnectedSocket", "SocketDialer"]

_IPV4, _IPV6 = int(socket.AF_INET), int(socket.AF_INET6)
_CONNECTED = (0, errno.EISCONN)
_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_KIND = (
    socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)
)
# From linux/in.h: a port is chosen when connecting and not when binding, so that the same one
# can serve for several destinations.
_BIND_ADDRESS_NO_PORT = 24


class ConnectedSocket(BareConnection):
    """
    The connection to a target.

    @ivar peer: the address asked for.

    @ivar bound: this end's.
    """

    __slots__ = ("bound", "peer")

    def __init__(self, socket: SocketType, peer: Address) -> None:
        """
        @raise OSError: it is not connected any more; or only to itself, as happens when the system
            chooses the very port for it that is to be reached.
        """
        super().__init__(socket)
        host, port = socket.getsockname()[:2]
        self.bound = Address(local.hostOf(host), port)
        self.peer = peer
        if port == peer.port and self.bound == peer:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")

    def adopt(self, junction: Junction, reactor: IReactorTime) -> TargetProtocol:
        """
        Give it a transport, and a protocol.

        @raise OSError: the system cannot watch it.
        """
        protocol: Any = TargetProtocol()
        peer = (str(self.peer.host), self.peer.port)
        stream = SocketStream(junction, reactor, self.socket, peer)
        protocol.makeConnection(stream)
        stream.start(protocol)
        adopted: TargetProtocol = protocol
        return adopted


class SocketDialer:
    """
    Connects as L{TCPDialer <txsocks5.outgoing.TCPDialer>} does, with as few calls as that takes.
    """

    def __init__(self, junction: Junction, outgoing: tuple[IPAddress, ...] = ()) -> None:
        """
        @param junction: watches sockets that do not connect at once.

        @param outgoing: see L{Network.outgoing <txsocks5.config.Network.outgoing>}.
        """
        self._junction = junction
        self._outgoing = outgoing

    def dial(
        self, address: Address, outgoing: tuple[IPAddress, ...] = ()
    ) -> ConnectedSocket | Deferred[ConnectedSocket]:
        """
        Connect.

        @param address: a numeric address that policy has allowed.

        @param outgoing: source addresses that go before those of all.

        @return: the connected socket, if it is that already; or a Deferred that fires with it, or
            fails with C{OSError}.  Cancelling it abandons the attempt.

        @raise OSError: it cannot be done; or C{ConnectBindError}.
        """
        host = address.host
        assert not isinstance(host, str)
        connecting = SocketType(_IPV4 if isinstance(host, IPv4Address) else _IPV6, _KIND)
        try:
            return self._connect(connecting, host, address, outgoing)
        except BaseException:
            connecting.close()
            raise

    def _connect(
        self,
        connecting: SocketType,
        host: IPAddress,
        address: Address,
        outgoing: tuple[IPAddress, ...],
    ) -> ConnectedSocket | Deferred[ConnectedSocket]:
        """
        Connect a new socket.

        @raise OSError: it cannot be done; see L{dial}.
        """
        # Relayed data wait for nobody.
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if outgoing or self._outgoing:
            version = host.version
            source = ofFamily(version, outgoing) or ofFamily(version, self._outgoing)
            if source is not None:
                _bind(connecting, source)
        where = (local.textOf(host), address.port)
        code = connecting.connect_ex(where)
        if code == errno.EINPROGRESS:
            # A host as near as this one has answered meanwhile.
            code = connecting.connect_ex(where)
        if code in _CONNECTED:
            return ConnectedSocket(connecting, address)
        if code in _UNDER_WAY:
            return _Attempt(self._junction, connecting, address, where).result
        raise OSError(code, os.strerror(code))


def _bind(connecting: SocketType, source: IPAddress) -> None:
    """
    Set the source address.

    @raise ConnectBindError: it is none of this machine's.
    """
    try:
        connecting.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        connecting.bind((str(source), 0))
    except OSError as error:
        raise ConnectBindError(error.errno, f"{source}: {error.strerror}") from error


class _Attempt:
    """
    A socket on its way.

    @ivar result: see L{SocketDialer.dial}.
    """

    def __init__(
        self,
        junction: Junction,
        connecting: SocketType,
        address: Address,
        where: tuple[str, int],
    ) -> None:
        self.result: Deferred[ConnectedSocket] = Deferred(self._abandon)
        self._junction = junction
        self._socket = connecting
        self._address = address
        self._where = where
        junction.watch(connecting.fileno(), self)
        junction.watchWriting(connecting.fileno())

    def _abandon(self, result: object) -> None:
        """
        Nobody waits any more.  The target may be there by now, and must not take this for the
        regular end of a client that has sent nothing.
        """
        self._junction.forget(self._socket.fileno())
        BareConnection(self._socket).close(reset=True)

    def happened(self, events: int) -> None:
        """
        See L{Watcher.happened <txsocks5.junction.Watcher.happened>}.  What it was is asked of the
        socket: another one may have had the same descriptor a moment ago.
        """
        code = self._socket.connect_ex(self._where)
        if code in _UNDER_WAY:
            return
        self._junction.unwatch(self._socket.fileno())
        try:
            if code not in _CONNECTED:
                raise OSError(code, os.strerror(code))
            connected = ConnectedSocket(self._socket, self._address)
        except BaseException:
            self._socket.close()
            self.result.errback()
        else:
            self.result.callback(connected)

    def goOn(self) -> None:
        """
        It never asks for that.
        """

    def broke(self) -> None:
        """
        See L{Watcher.broke <txsocks5.junction.Watcher.broke>}.
        """
        if not self.result.called:
            self.result.cancel()

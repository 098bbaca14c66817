"""
Accepting clients without the transports of Twisted.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from socket import SocketType
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from . import events
from .junction import DATA, Junction
from .socketstream import SocketStream

__all__ = ["Acceptor"]

_TURN = 64
"""
Connections that are accepted before others have their turn.
"""

_PAUSE = 0.2
"""
Seconds until accepting is tried again when the system has no file descriptors left.
"""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """
    Takes the connections that come to a listening socket, and gives each a L{SocketStream}.

    When there are no file descriptors left, those that come wait in the system's queue, and
    whatever exists goes on.
    """

    _log = Logger()

    def __init__(
        self, junction: Junction, reactor: IReactorTime, listening: socket.socket, factory: Factory
    ) -> None:
        """
        @param listening: stays its owner's.  Connections inherit the options that are set here.

        @param factory: builds the protocol of each connection, which has to know half-closes.
        """
        self._junction = junction
        self._reactor = reactor
        self._socket = listening
        # The accept of Python's own class makes enumerations of three numbers first, which takes
        # longer than accepting.
        self._take: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined]
        self._kind = (int(listening.family), int(listening.type), listening.proto)
        self._factory = factory
        self._retry: IDelayedCall | None = None
        self._stopped = False
        self._exhausted = False
        self._expected = 1
        if listening.family != socket.AF_UNIX:
            # Every message of the server is a segment of its own (R-1928-02), and relayed data
            # wait for nobody.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def start(self) -> None:
        """
        Begin.

        @raise OSError: the system cannot watch the socket.
        """
        self._junction.watchArrivals(self._socket.fileno(), self)

    def stop(self) -> None:
        """
        Take no more.  Before the socket is closed.
        """
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        else:
            self._junction.unwatch(self._socket.fileno())

    def happened(self, happening: int) -> None:
        """
        See L{Watcher.happened <txsocks5.junction.Watcher.happened>}.
        """
        self._accept()

    def goOn(self) -> None:
        """
        It never asks for that.
        """

    def broke(self) -> None:
        """
        See L{Watcher.broke <txsocks5.junction.Watcher.broke>}.  Others may still be waiting.
        """

    def _accept(self) -> None:
        """
        Take those that wait.
        """
        for count in range(self._expected):
            try:
                descriptor, peer = self._take()
            except BlockingIOError:
                self._expected = max(count, 1)
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                # The client has gone again, before it was looked at.
                continue
            self._exhausted = False
            self._serve(descriptor, peer)
            if self._stopped:
                return
        # Asking for one more than there are costs a system call.
        self._expected = min(2 * self._expected, _TURN)

    def _pause(self, error: OSError) -> None:
        """
        Try again in a while.
        """
        self._tell(error)
        self._junction.unwatch(self._socket.fileno())
        self._retry = self._reactor.callLater(_PAUSE, self._tryAgain)

    def _tell(self, error: OSError) -> None:
        """
        Say that the system has no more of something, unless that has been said.
        """
        if not self._exhausted:
            self._exhausted = True
            events.exhausted.emit(self._log, reason=error.strerror)

    def _tryAgain(self) -> None:
        """
        There may be descriptors again.
        """
        self._retry = None
        try:
            self.start()
        except OSError:
            self._retry = self._reactor.callLater(_PAUSE, self._tryAgain)

    def _serve(self, descriptor: int, peer: Any) -> None:
        """
        Begin with one.
        """
        connection = SocketType(*self._kind, descriptor)
        connection.setblocking(False)
        stream = SocketStream(self._junction, self._reactor, connection, peer)
        protocol: Any = self._factory.buildProtocol(None)
        if protocol is None:
            connection.close()
            return
        protocol.makeConnection(stream)
        try:
            stream.start(protocol)
        except OSError as error:
            self._tell(error)
            stream.abort()
        else:
            # Most clients have spoken by now, and what they have said is not told then.
            self._junction.tell(stream, DATA)

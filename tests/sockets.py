"""
Sockets of the system for tests, driven by hand.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import dialer
from txsocks5.dialer import SocketDialer
from txsocks5.junction import Junction
from txsocks5.wire import Address

_PATIENCE = 20.0
"""
Seconds after which something that should happen is held to never happen.
"""


_MOMENT = 1e-6
"""
Seconds of the clock that a turn takes.
"""


class Peer:
    """
    The far end of a connection.

    @ivar received: what it has received.

    @ivar finished: FIN has come behind that.

    @ivar reset: the connection has been reset.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.received = b""
        self.finished = self.reset = False

    def send(self, data: bytes) -> None:
        """
        Send octets that the system takes at once.
        """
        assert self.socket.send(data) == len(data)

    def fill(self, piece: bytes = b"f" * 65536) -> int:
        """
        Send as much as the system takes.

        @return: how many octets.
        """
        count = 0
        while True:
            try:
                count += self.socket.send(piece)
            except BlockingIOError:
                return count

    def urge(self, octet: bytes) -> None:
        """
        Send an urgent octet.
        """
        self.socket.send(octet, socket.MSG_OOB)

    def finish(self) -> None:
        """
        Send FIN.
        """
        self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """
        Close with RST.
        """
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def look(self) -> None:
        """
        Receive what is there.
        """
        while not (self.finished or self.reset):
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError:
                self.reset = True
                return
            self.received += data
            self.finished = not data


class HandReactor(Clock):
    """
    A reactor that reads when a test says so.

    @ivar readers: what it would read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """
        Begin to read.
        """
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """
        Read no more, if it did.
        """
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        """
        Write no more: nothing is written by the reactor.
        """

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        """
        Call later, and not in the same turn.
        """
        return super().callLater(max(delay, _MOMENT), callable, *args, **kw)

    def turn(self, seconds: float = 0.0) -> None:
        """
        One turn of the reactor.

        @param seconds: of the system's time, for which to wait for something to read.
        """
        if self.readers:
            select.select(self.readers, (), (), seconds)
        for reader in list(self.readers):
            reader.doRead()
        self.advance(_MOMENT)


class JunctionFixture(SynchronousTestCase):
    """
    A junction that is driven by hand.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.reactor = HandReactor()
        self.junction = Junction(self.reactor)
        self.addCleanup(self.junction.leave)

    def keep(self, opened: socket.socket) -> socket.socket:
        """
        Close a socket after the test.
        """
        self.addCleanup(opened.close)
        return opened

    def listening(self, host: str = "127.0.0.1") -> socket.socket:
        """
        A socket that listens.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = self.keep(socket.create_server((host, 0), family=family))
        listening.setblocking(False)
        return listening

    def tcp(self) -> tuple[socket.socket, Peer]:
        """
        A TCP connection.

        @return: its near end, and who has the far one.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            far = self.keep(socket.create_connection(listening.getsockname()))
            near = self.keep(listening.accept()[0])
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near.setblocking(False)
        return near, Peer(far)

    def unix(self) -> tuple[socket.socket, Peer]:
        """
        A connection of UNIX sockets.

        @return: its near end, and who has the far one.
        """
        near, far = socket.socketpair()
        near.setblocking(False)
        return self.keep(near), Peer(self.keep(far))

    def slowly(self, *codes: int) -> None:
        """
        Let the system answer a dialer with these at first, and then as it does.
        """
        left = list(codes)

        class Slow(socket.SocketType):  # type: ignore[misc, valid-type]
            def connect_ex(self, where: Any) -> int:
                """
                Answer, having begun to connect.
                """
                code: int = super().connect_ex(where)
                return left.pop(0) if left else code

        self.patch(dialer, "SocketType", Slow)

    def turns(self, count: int = 5) -> None:
        """
        Let happen what can.
        """
        for _ in range(count):
            self.reactor.turn()

    def until(self, done: Callable[[], object], *peers: Peer) -> None:
        """
        Let turns of the reactor pass until something is the case.

        @param peers: receive what comes meanwhile.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            for peer in peers:
                peer.look()
            if done():
                return
            assert time.monotonic() < end, "it did not happen"
            self.reactor.turn(0.001)


class DialerFixture(JunctionFixture):
    """
    A dialer that connects to sockets of the system.
    """

    def setUp(self) -> None:
        """
        Make a dialer.
        """
        super().setUp()
        self.dialer = SocketDialer(self.junction)

    def address(self, listening: socket.socket) -> Address:
        """
        Where somebody listens.
        """
        host, port = listening.getsockname()[:2]
        return Address(ip_address(host), port)


__all__ = ["DialerFixture", "HandReactor", "JunctionFixture", "Peer"]

"""
Tests for L{txsocks5.dialer}.
"""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectBindError

from txsocks5.dialer import ConnectedSocket, SocketDialer

from .sockets import DialerFixture, Peer


class DialerTests(DialerFixture):
    """
    Tests for L{SocketDialer}.
    """

    def dialled(self, listening: socket.socket) -> tuple[ConnectedSocket, Peer]:
        """
        Connect, and wait for that.
        """
        found: Any = self.dialer.dial(self.address(listening))
        if isinstance(found, Deferred):
            self.until(lambda: found.called)
            found = self.successResultOf(found)
        self.addCleanup(found.close, reset=False)
        return found, Peer(self.keep(listening.accept()[0]))

    def test_connected(self) -> None:
        """
        A near target is connected to at once, with IPv4 and IPv6; segments wait for nothing.
        """
        for host in ("127.0.0.1", "::1"):
            listening = self.listening(host)
            found, peer = self.dialled(listening)
            self.assertEqual(found.peer, self.address(listening))
            self.assertEqual(str(found.bound.host), host)
            self.assertEqual(found.bound.port, peer.socket.getpeername()[1])
            for level, option in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            ):
                self.assertTrue(found.socket.getsockopt(level, option))
            self.assertFalse(found.socket.getblocking())

    def test_later(self) -> None:
        """
        One that takes its time is waited for; being told of what is not yet there does no harm.
        """
        self.slowly(errno.EINPROGRESS, errno.EALREADY, errno.EALREADY)
        listening = self.listening()
        result: Any = self.dialer.dial(self.address(listening))
        attempt: Any = next(iter(self.junction._watchers.values()))
        attempt.happened(0)
        self.assertFalse(result.called)
        self.until(lambda: result.called)
        found = self.successResultOf(result)
        self.addCleanup(found.close, reset=False)
        peer = Peer(self.keep(listening.accept()[0]))
        self.assertEqual(self.junction._watchers, {})
        peer.send(b"octets")
        self.assertEqual(found.socket.recv(100), b"octets")

    def test_soon(self) -> None:
        """
        The system may say at the first time that it is connected.
        """
        self.slowly(0)
        found, peer = self.dialled(self.listening())
        self.assertEqual(found.bound.port, peer.socket.getpeername()[1])

    def test_refused(self) -> None:
        """
        Nobody listens: that is an error at once, or later.
        """
        listening = self.listening()
        address = self.address(listening)
        listening.close()
        error = self.assertRaises(OSError, self.dialer.dial, address)
        self.assertEqual(error.errno, errno.ECONNREFUSED)
        self.slowly(errno.EINPROGRESS, errno.EALREADY, errno.ECONNREFUSED)
        result: Any = self.dialer.dial(self.address(self.listening()))
        self.until(lambda: result.called)
        error = self.failureResultOf(result, OSError).value
        self.assertEqual((error.errno, self.junction._watchers), (errno.ECONNREFUSED, {}))

    def test_abandoned(self) -> None:
        """
        An attempt can be given up; also by an error that nobody has foreseen.  A target that is
        there by then is reset, as nobody has sent it everything.
        """
        for give in ("cancel", "broke"):
            self.slowly(errno.EINPROGRESS, errno.EALREADY)
            listening = self.listening()
            result: Any = self.dialer.dial(self.address(listening))
            peer = Peer(self.keep(listening.accept()[0]))
            attempt: Any = next(iter(self.junction._watchers.values()))
            attempt.goOn()
            result.cancel() if give == "cancel" else attempt.broke()
            self.failureResultOf(result, CancelledError)
            self.assertEqual((self.junction._watchers, attempt._socket.fileno()), ({}, -1))
            attempt.broke()
            self.until(lambda peer=peer: peer.reset or peer.finished, peer)
            self.assertTrue(peer.reset)

    def test_cannotBeWatched(self) -> None:
        """
        There is no room to watch the socket: it is closed.
        """

        def refuse(descriptor: int, watcher: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(self.junction, "watch", refuse)
        self.slowly(errno.EINPROGRESS, errno.EALREADY)
        before = len(os.listdir("/proc/self/fd"))
        listening = self.listening()
        self.assertRaises(OSError, self.dialer.dial, self.address(listening))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)

    def test_source(self) -> None:
        """
        Connections come from the address that is set for their family, those of a user first.
        """
        own = (ip_address("127.0.0.2"), ip_address("::1"))
        self.dialer = SocketDialer(self.junction, own)
        for host, source in (("127.0.0.1", "127.0.0.2"), ("::1", "::1")):
            found, peer = self.dialled(self.listening(host))
            self.assertEqual(str(found.bound.host), source)
            self.assertEqual(peer.socket.getpeername()[0], source)
        address = self.address(self.listening())
        users: Any = self.dialer.dial(address, (ip_address("127.0.0.3"),))
        self.addCleanup(users.close, reset=False)
        self.assertEqual(str(users.bound.host), "127.0.0.3")
        sixes: Any = SocketDialer(self.junction, (ip_address("::1"),)).dial(address)
        self.addCleanup(sixes.close, reset=False)
        self.assertEqual(str(sixes.bound.host), "127.0.0.1")

    def test_noSource(self) -> None:
        """
        The source address is none of this machine's.
        """
        dialer = SocketDialer(self.junction, (ip_address("192.0.2.1"),))
        self.assertRaises(ConnectBindError, dialer.dial, self.address(self.listening()))

    def test_itself(self) -> None:
        """
        A socket that is connected to itself is connected to nobody.
        """
        end = self.keep(socket.socket())
        end.bind(("127.0.0.1", 0))
        end.connect(end.getsockname())
        error = self.assertRaises(OSError, ConnectedSocket, end, self.address(end))
        self.assertEqual(error.errno, errno.ECONNREFUSED)

    def test_adopted(self) -> None:
        """
        A connection can be given a transport and a protocol.
        """
        found, peer = self.dialled(self.listening())
        protocol = found.adopt(self.junction, self.reactor)
        self.addCleanup(self.turns)
        self.addCleanup(protocol.stream.abort)
        self.assertEqual(protocol.stream.transport.getPeer().port, found.peer.port)
        protocol.stream.write(b"octets")
        self.until(lambda: peer.received == b"octets", peer)

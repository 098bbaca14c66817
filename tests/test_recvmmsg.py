"""
Tests for L{txsocks5.recvmmsg}: with the system itself, as nothing else shows whether it is given
the right octets; with a fake of it for what cannot be had on the loopback address.
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import recvmmsg
from txsocks5.peers import Datagrams
from txsocks5.recvmmsg import MAX_MESSAGES, MessageReader, systemReader

UDP_SEGMENT = 103
UDP_GRO = 104


class ReaderTestCase(SynchronousTestCase):
    """
    Tests for L{MessageReader} with sockets.
    """

    def setUp(self) -> None:
        """
        Make a reader and two sockets.
        """
        reader = systemReader()
        assert reader is not None
        self.reader: MessageReader = reader
        self.mine, self.peer = self.open(), self.open()
        self.mine.setblocking(False)

    def open(self) -> socket.socket:
        """
        Open a socket.
        """
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.bind(("127.0.0.1", 0))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return made

    def say(self, *said: bytes) -> None:
        """
        Send datagrams, one by one.
        """
        for data in said:
            self.peer.sendto(data, self.mine.getsockname())

    def once(self, most: int = MAX_MESSAGES) -> Datagrams:
        """
        Read once, as soon as something is there.
        """
        ready, _, _ = select.select([self.mine], [], [], 10)
        self.assertEqual(ready, [self.mine], "nothing comes any more")
        return self.reader.read(self.mine.fileno(), socket.AF_INET, most)

    def assertCome(self, *said: bytes) -> None:
        """
        These datagrams come, and then no more.
        """
        arrived: Datagrams = []
        while len(arrived) < len(said):
            arrived += self.once()
        self.assertEqual(arrived, [(data, self.peer.getsockname()) for data in said])
        self.assertNothing()

    def assertNothing(self) -> None:
        """
        There is nothing to be read.
        """
        with self.assertRaises(BlockingIOError):
            self.reader.read(self.mine.fileno(), socket.AF_INET, MAX_MESSAGES)


class ReadTests(ReaderTestCase):
    """
    Tests for what is read.
    """

    def test_many(self) -> None:
        """
        All that is there comes, in its order; empty datagrams and the longest that there are, too.
        """
        said = [b"1", b"", b"x" * 65507, b"2"] + [b"%d" % n for n in range(100)]
        self.say(*said)
        self.assertCome(*said)

    def test_again(self) -> None:
        """
        What a call has left behind does not matter to the next one.
        """
        for length in (65507, 5, 0, 70):
            self.say(b"x" * length, b"y" * length)
            self.assertCome(b"x" * length, b"y" * length)

    def test_most(self) -> None:
        """
        No more messages come than were asked for; the others stay.
        """
        self.say(*[b"%d" % n for n in range(10)])
        arrived: Datagrams = []
        while len(arrived) < 10:
            one = self.once(3)
            self.assertLessEqual(len(one), 3)
            arrived += one
        self.assertEqual([data for data, _ in arrived], [b"%d" % n for n in range(10)])

    def test_peers(self) -> None:
        """
        Each has the address of who has sent it.
        """
        peers = [self.open() for _ in range(5)]
        for number in (0, 1, 1, 2, 0, 3, 4):
            peers[number].sendto(b"%d" % number, self.mine.getsockname())
        arrived: Datagrams = []
        while len(arrived) < 7:
            arrived += self.once()
        self.assertEqual([data for data, _ in arrived], [b"0", b"1", b"1", b"2", b"0", b"3", b"4"])
        for data, peer in arrived:
            self.assertEqual(peer, peers[int(data)].getsockname())

    def test_joined(self) -> None:
        """
        What the kernel has joined is taken apart, together with what it has not joined.
        """
        self.mine.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        where = self.mine.getsockname()
        said: list[bytes] = []
        for size, number, last in ((1200, 20, 7), (1, 63, 1), (600, 2, 600), (1200, 0, 3)):
            train = [bytes([n]) * size for n in range(number)] + [b"z" * last]
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
            self.peer.sendmsg(train, control if number else [], 0, where)
            self.say(b"alone", b"")
            said += [*train, b"alone", b""]
        self.assertCome(*said)

    def test_afterFailure(self) -> None:
        """
        If what has come could not be taken apart, for want of memory, the next can be.
        """
        self.mine.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self.say(b"lost")
        with patch.object(self.reader, "_peer", side_effect=MemoryError):
            self.assertRaises(MemoryError, self.once)
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 2))]
        self.peer.sendmsg([b"aa", b"bb", b"c"], control, 0, self.mine.getsockname())
        self.assertCome(b"aa", b"bb", b"c")

    def test_errors(self) -> None:
        """
        Whatever is wrong is raised as Python's own functions do.
        """
        self.assertNothing()
        descriptor = self.mine.detach()
        socket.close(descriptor)
        with self.assertRaises(OSError) as raised:
            self.reader.read(descriptor, socket.AF_INET, 1)
        self.assertIn(raised.exception.errno, (errno.EBADF, errno.ENOTSOCK))


class NamesTests(SynchronousTestCase):
    """
    Tests for the names of peers.
    """

    def read(self, family: int, *names: bytes) -> list[Any]:
        """
        Read datagrams from peers with these names, as the system writes them.

        @return: the peers.
        """

        def call(descriptor: int, messages: int, most: int, flags: int, timeout: None) -> int:
            for number, name in enumerate(names):
                message = recvmmsg._Message.from_address(
                    messages + number * ctypes.sizeof(recvmmsg._Message)
                )
                self.assertEqual(message.header.nameLength, 28)
                ctypes.memmove(message.header.name, name, len(name))
                message.header.nameLength = len(name)
                message.header.controlLength = 0
                message.length = number
            return len(names)

        self.reader._call = call
        arrived = self.reader.read(5, family, MAX_MESSAGES)
        self.assertEqual([len(data) for data, _ in arrived], list(range(len(names))))
        return [peer for _, peer in arrived]

    def setUp(self) -> None:
        """
        Make a reader.
        """
        self.reader = MessageReader(self.fail)

    def four(self, host: str, port: int) -> bytes:
        """
        C{struct sockaddr_in}.
        """
        family = struct.pack("=H", socket.AF_INET)
        return family + struct.pack("!H4s8x", port, socket.inet_aton(host))

    def six(self, host: str, port: int, flow: int, scope: int) -> bytes:
        """
        C{struct sockaddr_in6}.
        """
        family = struct.pack("=H", socket.AF_INET6)
        octets = socket.inet_pton(socket.AF_INET6, host)
        return family + struct.pack("!HI16s", port, flow, octets) + struct.pack("=I", scope)

    def test_ipv4(self) -> None:
        """
        An IPv4 peer is its address and port.
        """
        peers = self.read(socket.AF_INET, self.four("192.0.2.9", 53), self.four("192.0.2.9", 54))
        self.assertEqual(peers, [("192.0.2.9", 53), ("192.0.2.9", 54)])

    def test_ipv6(self) -> None:
        """
        An IPv6 peer has flow and scope, too, which are needed to answer it.
        """
        names = self.six("2001:db8::7", 53, 0, 0), self.six("fe80::7", 54, 0x12345, 2)
        peers = self.read(socket.AF_INET6, *names)
        self.assertEqual(peers, [("2001:db8::7", 53, 0, 0), ("fe80::7", 54, 0x12345, 2)])

    def test_families(self) -> None:
        """
        Sockets of both families can be read in turn.
        """
        for _ in range(2):
            peers = self.read(socket.AF_INET6, self.six("2001:db8::7", 53, 0, 7))
            self.assertEqual(peers, [("2001:db8::7", 53, 0, 7)])
            self.assertEqual(
                self.read(socket.AF_INET, self.four("192.0.2.9", 5)), [("192.0.2.9", 5)]
            )

    def test_bounded(self) -> None:
        """
        Not more than so many of them are remembered.
        """
        for port in range(5000):
            self.read(socket.AF_INET, self.four("192.0.2.9", port))
        self.assertLessEqual(len(self.reader._peers), 4096)


class SystemTests(SynchronousTestCase):
    """
    Tests for L{systemReader}.
    """

    def made(self, library: Callable[..., object]) -> MessageReader | None:
        """
        Make one with a C library.
        """
        with patch.object(recvmmsg.ctypes, "CDLL", library):
            return systemReader()

    def test_elsewhere(self) -> None:
        """
        Other systems than Linux, and C libraries without the call, have none.
        """

        def broken(*arguments: object, **options: object) -> object:
            raise OSError("no such library")

        self.assertIsNone(self.made(lambda *arguments, **options: object()))
        self.assertIsNone(self.made(broken))
        with patch.object(sys, "platform", "freebsd14"):
            self.assertIsNone(systemReader())

    def test_noMemory(self) -> None:
        """
        If there is no memory for it, datagrams can still be read one by one.
        """
        with patch.object(recvmmsg.mmap, "mmap", side_effect=OSError(errno.ENOMEM, "no")):
            self.assertIsNone(systemReader())

"""
Tests for L{txsocks5.datagrams}: what the system does with datagrams no fake can tell, so most of
them use sockets on the loopback address, read as soon as something has come.
"""

from __future__ import annotations

import errno
import gc
import select
import socket
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txsocks5 import datagrams
from txsocks5.datagrams import DatagramPort, DatagramSocket, Reader, Sockets, trains
from txsocks5.peers import Datagrams, Peer
from txsocks5.testing import MemoryReactor, MemoryUDPPort

LOOPBACK = "127.0.0.1"
PEER = ("192.0.2.9", 5)


@implementer(IReactorFDSet)
class Descriptors:
    """
    The part of a reactor that reads descriptors; the test says when.

    @ivar readers: what it would read.

    @ivar error: if not L{None}, it cannot read any more of them.
    """

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.error: OSError | None = None

    def addReader(self, reader: Any) -> None:
        """
        Read it.
        """
        if self.error is not None:
            raise self.error
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """
        Read it no more.
        """
        assert reader.fileno() != -1, "a closed one cannot be found"
        self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        """
        Not needed.
        """

    def removeWriter(self, writer: Any) -> None:
        """
        Not needed.
        """

    def removeAll(self) -> list[Any]:
        """
        Not needed.
        """
        return []

    def getReaders(self) -> list[Any]:
        """
        Not needed.
        """
        return []

    def getWriters(self) -> list[Any]:
        """
        Not needed.
        """
        return []


class Plain(socket.socket):
    """
    A socket of a kernel that knows nothing of several datagrams in one call.
    """

    def setsockopt(self, level: int, *rest: Any) -> None:  # type: ignore[override]
        """
        Set an option.
        """
        if level == socket.IPPROTO_UDP:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        super().setsockopt(level, *rest)


class Counting(socket.socket):
    """
    A socket that notes what it is told to send, and can refuse that.

    @ivar calls: for each call the number of datagrams.

    @ivar refused: the errors that calls with several of them fail with, in their turn.

    @ivar refusing: decides about each that is sent by itself.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls: list[int] = []
        self.refused: list[int] = []
        self.refusing: Callable[[bytes], bool] = lambda data: False

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        """
        Send several.
        """
        self.calls.append(len(buffers))
        if self.refused:
            raise OSError(self.refused.pop(0), "no")
        return super().sendmsg(buffers, *rest)

    def sendto(self, data: Any, address: Any) -> int:  # type: ignore[override]
        """
        Send one.
        """
        self.calls.append(1)
        if self.refusing(data):
            raise OSError(errno.ENETUNREACH, "no")
        return super().sendto(data, address)


class Failing(socket.socket):
    """
    A socket that fails after some datagrams, for each way to read.

    @ivar left: how many come before that.

    @ivar error: what it fails with.
    """

    left = 0
    error = OSError(errno.EBADF, "no")

    def recvfrom(self, *arguments: Any) -> Any:
        """
        Read one.
        """
        self.left -= 1
        if self.left < 0:
            raise self.error
        return b"hi", PEER


class Scripted:
    """
    Stands for what reads many datagrams in one call.

    @ivar asked: how many each call has asked for.

    @ivar answers: what they bring, or fail with.
    """

    def __init__(self, *answers: Datagrams | OSError) -> None:
        self.asked: list[int] = []
        self.answers = list(answers)

    def read(self, descriptor: int, family: int, most: int) -> Datagrams:
        """
        Read.
        """
        assert descriptor >= 0 and family == socket.AF_INET
        self.asked.append(most)
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


class Owner:
    """
    Whoever opens a socket, and is called by it.
    """

    socket: Any

    def received(self, arrived: Datagrams) -> None:
        """
        Datagrams have come.
        """

    def lost(self, reason: Failure) -> None:
        """
        The socket is broken.
        """


class SocketTestCase(SynchronousTestCase):
    """
    Our sockets, and those of peers.

    @ivar turns: what has come, turn by turn.

    @ivar reasons: why sockets were lost.
    """

    def setUp(self) -> None:
        """
        Make what they need.
        """
        self.reactor = Descriptors()
        self.sockets = Sockets(self.reactor)
        self.turns: list[Datagrams] = []
        self.reasons: list[Failure] = []

    def make(self, kind: Callable[..., socket.socket] | None = None, **options: Any) -> Any:
        """
        Open one of ours.

        @param kind: what to use for a socket of the system.

        @param options: C{interface}, C{port}, and C{reader} for what is to read it.
        """
        if "reader" in options:
            self.sockets.reader = options.pop("reader")
        settings = {"interface": LOOPBACK, "port": 0} | options
        if kind is not None:
            self.patch(datagrams.socket, "socket", kind)
        try:
            made = self.sockets.open(
                received=self.turns.append, lost=self.reasons.append, **settings
            )
        finally:
            self.patch(datagrams.socket, "socket", Counting)
        self.addCleanup(made.close)
        return made

    def peer(self, family: int = socket.AF_INET) -> socket.socket:
        """
        Open somebody else's.
        """
        made = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.bind((LOOPBACK, 0))
        made.settimeout(10)
        return made

    def where(self, made: DatagramSocket) -> tuple[str, int]:
        """
        The address of one of ours.
        """
        host = made.getHost()
        return host.host, host.port

    def read(self, made: DatagramSocket, number: int) -> list[tuple[bytes, Peer]]:
        """
        Let one of ours read until so many datagrams have come.
        """
        while sum(map(len, self.turns)) < number:
            ready, _, _ = select.select([made], [], [], 10)
            self.assertEqual(ready, [made], "nothing comes any more")
            self.assertIsNone(made.doRead())
        return [arrival for turn in self.turns for arrival in turn]


class OpenTests(SocketTestCase):
    """
    Tests for L{Sockets}.
    """

    def test_own(self) -> None:
        """
        A reactor that reads descriptors gets a socket of ours to read.
        """
        made = self.make()
        self.assertIsInstance(made, DatagramSocket)
        self.assertEqual(self.reactor.readers, [made])
        verifyObject(IReadDescriptor, made)
        self.assertIn("datagrams", made.logPrefix())

    def test_foreign(self) -> None:
        """
        Any other opens one of its own.
        """
        reactor = MemoryReactor()
        opened = Sockets(reactor).open(LOOPBACK, 7000, self.turns.append, self.reasons.append)
        self.assertIsInstance(opened, DatagramPort)
        (port,) = reactor.udpPorts
        self.assertEqual((port.interface, port.port, port.maxPacketSize), (LOOPBACK, 7000, 65536))
        self.assertEqual(opened.getHost().port, 7000)

    def test_bound(self) -> None:
        """
        It is bound to the address and port asked for, and says so.
        """
        first = self.make()
        name = self.where(first)
        self.assertEqual(name[0], LOOPBACK)
        first.close()
        again = self.make(port=name[1])
        self.assertEqual(self.where(again), name)

    def test_ipv6(self) -> None:
        """
        An address of IPv6 makes a socket of IPv6.
        """
        asked = []

        def system(family: int, kind: int) -> socket.socket:
            asked.append(family)
            return Six()

        class Six(socket.socket):
            family = socket.AF_INET6  # type: ignore[assignment]

            def bind(self, address: Any) -> None:
                asked.append(address)

            def getsockname(self) -> Any:
                return "2001:db8::5", 7000, 0, 0

        made = self.make(system, interface="2001:db8::5", port=7000)
        self.assertEqual(asked, [socket.AF_INET6, ("2001:db8::5", 7000)])
        self.assertEqual((made.getHost().host, made.getHost().port), ("2001:db8::5", 7000))

    def test_occupied(self) -> None:
        """
        If the port is taken, or there is no socket to be had, that is the error that Twisted's
        ports raise; nothing is left open.
        """
        opened: list[socket.socket] = []

        def system(*arguments: Any) -> socket.socket:
            opened.append(Counting(*arguments))
            return opened[-1]

        def exhausted(*arguments: Any) -> socket.socket:
            raise OSError(errno.EMFILE, "Too many open files")

        taken = self.peer().getsockname()[1]
        self.assertRaises(CannotListenError, self.make, system, port=taken)
        self.assertRaises(CannotListenError, self.make, exhausted)
        self.reactor.error = OSError(errno.ENOSPC, "No space left on device")
        self.assertRaises(CannotListenError, self.make, system)
        self.assertEqual([made.fileno() for made in opened], [-1, -1])
        self.assertEqual(self.reactor.readers, [])

    def test_receiveBuffer(self) -> None:
        """
        Where the system keeps less than 512 KiB of what has not been read, it is asked for that;
        what an operator has set beyond is left alone, and a refusal does no harm.
        """

        class Buffered(socket.socket):
            asked: list[int] = []
            size = 0

            def getsockopt(self, level: int, option: int) -> int:  # type: ignore[override]
                return self.size

            def setsockopt(self, level: int, option: int, size: Any) -> None:  # type: ignore[override]
                if level == socket.SOL_SOCKET:
                    self.asked.append(size)
                raise OSError(errno.ENOBUFS, "No buffer space available")

        for Buffered.size in (0, 512 * 1024 - 1, 512 * 1024, 1 << 30):
            self.make(Buffered)
        self.assertEqual(Buffered.asked, [512 * 1024] * 2)


class ReadTests(SocketTestCase):
    """
    Tests for what comes.
    """

    def ways(self) -> list[tuple[Any, Reader | None]]:
        """
        A socket that is read in one call, one that is read in many, and one of a kernel that puts
        nothing together.
        """
        reader = self.sockets.reader
        return [(Counting, reader), (Plain, reader), (Plain, None)]

    def test_shared(self) -> None:
        """
        All sockets are read with the same memory.
        """
        self.assertIsNotNone(self.sockets.reader)
        self.assertIs(self.make()._reader, self.make()._reader)

    def test_withoutReader(self) -> None:
        """
        A Python without C{ctypes} reads one by one.
        """
        with patch.dict(sys.modules, {"txsocks5.recvmmsg": None}):
            self.assertIsNone(Sockets(self.reactor).reader)

    def test_order(self) -> None:
        """
        What waits is read in its order, with who has sent it; empty datagrams and the longest that
        there are, too.
        """
        for kind, reader in self.ways():
            self.turns.clear()
            made, peer = self.make(kind, reader=reader), self.peer()
            said = [b"1", b"", b"x" * 65507, b"2"]
            for data in said:
                peer.sendto(data, self.where(made))
            arrived = self.read(made, 4)
            self.assertEqual(arrived, [(data, peer.getsockname()) for data in said])

    def test_nothing(self) -> None:
        """
        If there is nothing, nobody is told.
        """
        for kind, reader in self.ways():
            self.assertIsNone(self.make(kind, reader=reader).doRead())
        self.assertEqual(self.turns, [])

    def test_bounded(self) -> None:
        """
        Others get their turn after 64 datagrams, or 256 KiB; the rest is for the next one.
        """
        for size, number, most in ((0, 100, 64), (60000, 6, 5)):
            self.turns.clear()
            made, peer = self.make(Plain, reader=None), self.peer()
            made._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for _ in range(number):
                peer.sendto(bytes(size), self.where(made))
            self.read(made, number)
            self.assertLessEqual(max(map(len, self.turns)), most)

    def test_grows(self) -> None:
        """
        A turn begins with 4 messages; as long as there are more, the next has twice as many, up to
        64.
        """
        few, full = [(b"", PEER)], [[(b"", PEER)] * 4 * 2**n for n in range(5)]
        reader = Scripted(few, *full, [(b"", PEER)] * 64, few)
        made = self.make(reader=reader)
        for _ in range(8):
            made.doRead()
        self.assertEqual(reader.asked, [4, 4, 8, 16, 32, 64, 64, 64])

    def test_shrinks(self) -> None:
        """
        If a turn has brought more than 256 datagrams or 256 KiB, the next has half as many.
        """
        grown = [[(b"", PEER)] * 64] * 4
        many, long = [(b"", PEER)] * 257, [(b"x" * 4097, PEER)] * 64
        reader = Scripted(*grown, many, long, many, many, many, [(b"x" * 65536, PEER)] * 4, many)
        made = self.make(reader=reader)
        for _ in range(11):
            made.doRead()
        self.assertEqual(reader.asked, [4, 8, 16, 32, 64, 32, 16, 8, 4, 4, 8])

    def test_coalesced(self) -> None:
        """
        What the kernel hands over as one is taken apart at the right places: the last may be
        shorter.
        """
        made, peer = self.make(), self.make()
        said = [bytes([number]) * 1200 for number in range(30)] + [b"the last"]
        self.assertEqual(peer.send(said, self.where(made)), [])
        self.assertEqual(peer._socket.calls, [31])
        arrived = self.read(made, 31)
        self.assertEqual(arrived, [(data, self.where(peer)) for data in said])

    def test_notCoalesced(self) -> None:
        """
        Who could not take it apart does not ask for it.
        """
        made, peer = self.make(reader=None), self.make()
        said = [bytes([number]) * 1200 for number in range(30)] + [b"the last"]
        self.assertEqual(peer.send(said, self.where(made)), [])
        arrived = self.read(made, 31)
        self.assertEqual(arrived, [(data, self.where(peer)) for data in said])

    def test_refusedElsewhere(self) -> None:
        """
        That somebody has refused a datagram, or that memory is short, does no harm; what has come
        before is not lost by it.
        """
        for number in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENOBUFS, errno.EMSGSIZE):
            self.turns.clear()
            made = self.make(Failing, reader=None)
            made._socket.left, made._socket.error = 2, OSError(number, "no")
            self.assertIsNone(made.doRead())
            self.assertEqual(self.turns, [[(b"hi", PEER)] * 2])
            made = self.make(reader=Scripted(OSError(number, "no")))
            self.assertIsNone(made.doRead())

    def test_interrupted(self) -> None:
        """
        Nor does a signal.
        """
        made = self.make(reader=Scripted(OSError(errno.EINTR, "no")))
        self.assertIsNone(made.doRead())

    def test_broken(self) -> None:
        """
        A socket that cannot be read any more is given back to the reactor, instead of being tried
        for ever; what has come before is not lost by it.
        """
        made = self.make(Failing, reader=None)
        made._socket.left = 2
        self.assertEqual(made.doRead().value.errno, errno.EBADF)
        self.assertEqual(self.turns, [[(b"hi", PEER)] * 2])
        made = self.make(reader=Scripted(OSError(errno.EBADF, "no")))
        self.assertEqual(made.doRead().value.errno, errno.EBADF)


class EndTests(SocketTestCase):
    """
    Tests for the end of a socket.
    """

    def test_closed(self) -> None:
        """
        It is closed at once, and the reactor reads it no more.  It can be closed again.
        """
        made = self.make()
        made.close()
        self.assertEqual((made.fileno(), self.reactor.readers), (-1, []))
        made.close()
        made.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reasons, [])

    def test_sentLate(self) -> None:
        """
        What is sent when it is closed is lost.
        """
        made = self.make()
        made.close()
        self.assertEqual(made.send([b"1", b"1"], PEER), [0, 1])

    def test_writable(self) -> None:
        """
        To hear that there is room is news of another socket, and does no harm: the reactor tells
        what it has heard of a descriptor to whoever has it now.
        """
        made = self.make()
        self.assertIsNone(made.doWrite())
        self.assertEqual(self.reactor.readers, [made])

    def test_freed(self) -> None:
        """
        A closed one does not know whom to call any more, who may well know it: nothing waits for
        the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        for reactor in (Descriptors(), MemoryReactor()):
            owner = Owner()
            seen = ref(owner)
            sockets = Sockets(reactor)
            owner.socket = sockets.open(LOOPBACK, 0, owner.received, owner.lost)
            owner.socket.close()
            del owner
            self.assertIsNone(seen())

    def test_lost(self) -> None:
        """
        If the reactor gives it up, it is closed, and its owner hears why, once.
        """
        made = self.make()
        reason = Failure(OSError(errno.EBADF, "no"))
        made.connectionLost(reason)
        made.connectionLost(reason)
        self.assertEqual((made.fileno(), self.reactor.readers), (-1, []))
        self.assertEqual(self.reasons, [reason])


class SendTests(SocketTestCase):
    """
    Tests for what is sent.
    """

    def setUp(self) -> None:
        """
        Open a socket, and one of somebody who knows nothing of several datagrams in one call.
        """
        super().setUp()
        self.made = self.make(Counting)
        self.system: Counting = self.made._socket
        self.receiver = self.peer()

    def send(self, *said: bytes) -> list[int]:
        """
        Send datagrams.

        @return: how many went with each call.
        """
        self.system.calls.clear()
        self.lost = self.made.send(list(said), self.receiver.getsockname())
        return self.system.calls

    def assertHeard(self, *said: bytes) -> None:
        """
        They come as they were sent.
        """
        heard = [self.receiver.recvfrom(65536) for _ in said]
        self.assertEqual(heard, [(data, self.where(self.made)) for data in said])

    def test_together(self) -> None:
        """
        Datagrams of one size leave in one call, and come as what they are.
        """
        said = [bytes([number]) * 1200 for number in range(40)] + [b"last"]
        self.assertEqual(self.send(*said), [41])
        self.assertHeard(*said)
        self.assertEqual(list(self.lost), [])

    def test_longest(self) -> None:
        """
        So it is with as many octets as fit into one call.
        """
        said = [b"x" * 32753, b"y" * 32753, b"z"]
        self.assertEqual(self.send(*said), [3])
        self.assertHeard(*said)

    def test_differing(self) -> None:
        """
        Those of other sizes leave in other calls; the order stays.
        """
        said = [b"", b"aa", b"bb", b"c", b"dd", b"", b"", b"eeee", b"ffff"]
        self.assertEqual(self.send(*said), [1, 3, 1, 1, 1, 2])
        self.assertHeard(*said)

    def test_single(self) -> None:
        """
        A single one is nothing special.
        """
        self.assertEqual(self.send(b"hi"), [1])
        self.assertHeard(b"hi")

    def test_cannot(self) -> None:
        """
        Where the kernel cannot do it, each leaves by itself.
        """
        made = self.make(Plain)
        self.assertEqual(made.send([b"1", b"2"], self.receiver.getsockname()), [])
        heard = [self.receiver.recv(10) for _ in range(2)]
        self.assertEqual(heard, [b"1", b"2"])

    def test_tooLong(self) -> None:
        """
        Those that are too long for a packet on their way leave one by one, to be fragmented; it is
        not tried again with any as long, but with shorter ones.
        """
        for number in (errno.EMSGSIZE, errno.EINVAL):
            self.setUp()
            self.system.refused = [number]
            self.assertEqual(self.send(b"x" * 1400, b"y" * 1400), [2, 1, 1])
            self.assertEqual(list(self.lost), [])
            self.assertEqual(self.send(b"x" * 1400, b"y" * 1400), [1, 1])
            self.assertHeard(*[b"x" * 1400, b"y" * 1400] * 2)
            self.assertEqual(self.send(b"x" * 1300, b"y" * 1300), [2])

    def test_interfaceCannot(self) -> None:
        """
        If the network interface cannot do it, it is not tried again at all.
        """
        for number in (errno.EIO, errno.EOPNOTSUPP):
            self.setUp()
            self.system.refused = [number]
            self.assertEqual(self.send(b"1", b"2"), [2, 1, 1])
            self.assertEqual(self.send(b"3", b"4"), [1, 1])
            self.assertHeard(b"1", b"2", b"3", b"4")

    def test_refused(self) -> None:
        """
        Anything else that goes wrong need not happen to each of them, nor the next time.
        """
        for number in (errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.EPERM):
            self.system.refused = [number]
            self.assertEqual(self.send(b"1", b"2"), [2, 1, 1])
            self.assertEqual(list(self.lost), [])
            self.assertEqual(self.send(b"3", b"4"), [2])
            self.assertHeard(b"1", b"2", b"3", b"4")

    def test_lost(self) -> None:
        """
        It says which of them the system has not taken.
        """
        self.system.refusing = lambda data: data.startswith(b"no")
        self.system.refused = [errno.ENETUNREACH]
        self.send(b"no1", b"yes", b"no2", b"longer", b"no")
        self.assertEqual(list(self.lost), [0, 2])
        self.assertHeard(b"yes", b"longer", b"no")
        self.send(b"no")
        self.assertEqual(list(self.lost), [0])


class TrainsTests(SynchronousTestCase):
    """
    Tests for L{trains}.
    """

    def of(self, *sizes: int, largest: int = 65507) -> list[tuple[int, int]]:
        """
        What goes together of datagrams with these sizes.
        """
        return list(trains([bytes(size) for size in sizes], largest))

    def test_shorterIsLast(self) -> None:
        """
        The kernel cuts at every so many octets: only the last can be shorter.
        """
        self.assertEqual(self.of(5, 5, 4, 5, 5), [(0, 3), (3, 5)])
        self.assertEqual(self.of(5, 4, 4, 4), [(0, 2), (2, 4)])
        self.assertEqual(self.of(5, 6), [(0, 1), (1, 2)])

    def test_empty(self) -> None:
        """
        An empty one would not be there.
        """
        self.assertEqual(self.of(5, 0, 0, 5), [(0, 1), (1, 2), (2, 3), (3, 4)])

    def test_number(self) -> None:
        """
        64 are the most.
        """
        self.assertEqual(self.of(*[1] * 130), [(0, 64), (64, 128), (128, 130)])

    def test_octets(self) -> None:
        """
        Together they are no longer than the longest datagram.
        """
        self.assertEqual(self.of(32753, 32753, 1), [(0, 3)])
        self.assertEqual(self.of(32753, 32753, 2), [(0, 2), (2, 3)])
        self.assertEqual(self.of(32754, 32754), [(0, 1), (1, 2)])

    def test_largest(self) -> None:
        """
        None is longer than it may be.
        """
        self.assertEqual(self.of(9, 9, 8, 8, largest=8), [(0, 1), (1, 2), (2, 4)])

    @given(
        st.lists(st.sampled_from((0, 1, 2, 1200, 40000)), min_size=1, max_size=200),
        st.sampled_from((1, 1200, 65507)),
    )
    def test_any(self, sizes: list[int], largest: int) -> None:
        """
        Whatever they are, each goes with one call, in its order, and each call is one that the
        kernel takes.
        """
        found = self.of(*sizes, largest=largest)
        self.assertEqual(
            [at for first, end in found for at in range(first, end)], [*range(len(sizes))]
        )
        for first, end in found:
            *full, last = sizes[first:end]
            if full:
                self.assertEqual(set(full), {full[0]})
                self.assertTrue(0 < last <= full[0] <= largest)
                self.assertTrue(len(full) < 64 and sum(full) + last <= 65507)


class PortTests(SynchronousTestCase):
    """
    Tests for L{DatagramPort}.
    """

    def setUp(self) -> None:
        """
        Open one.
        """
        self.reactor = MemoryReactor()
        self.turns: list[Datagrams] = []
        self.opened = Sockets(self.reactor).open(LOOPBACK, 0, self.turns.append, self.fail)
        (self.port,) = self.reactor.udpPorts

    def test_received(self) -> None:
        """
        What comes is passed on as it comes.
        """
        self.port.deliverAll([(b"1", PEER), (b"", PEER)])
        self.assertEqual(self.turns, [[(b"1", PEER)], [(b"", PEER)]])

    def test_sent(self) -> None:
        """
        What is sent goes one by one; it says which of them were not taken.
        """
        said = [b"1", b"x" * 65508, b"2"]
        self.assertEqual(self.opened.send(said, (*PEER, 0, 2)), [1])
        self.assertEqual(self.port.sent, [(b"1", PEER), (b"2", PEER)])
        self.port.refusal = OSError(errno.ENETUNREACH, "no")
        self.assertEqual(self.opened.send([b"3"], PEER), [0])

    def test_closed(self) -> None:
        """
        It can be closed.
        """
        self.opened.close()
        self.assertFalse(self.port.listening)

    def throughput(self, port: MemoryUDPPort) -> int | None:
        """
        For how many octets Twisted's port would read on.
        """
        return getattr(port, "maxThroughput", None)

    def test_turns(self) -> None:
        """
        After 64 datagrams, be they ever so small, nothing more is read until everybody else has
        had their turn.
        """
        for before in (None, 256 * 1024):
            self.port.deliverAll([(b"", PEER)] * 63)
            self.assertEqual(self.throughput(self.port), before)
            self.port.deliverAll([(b"", PEER)])
            self.assertEqual(self.throughput(self.port), 0)
            self.reactor.advance(0)
            self.assertEqual(self.throughput(self.port), 256 * 1024)

    def test_turnAfterTheEnd(self) -> None:
        """
        The port may be gone by then.
        """
        self.port.deliverAll([(b"", PEER)] * 63)
        self.opened.transport = None  # type: ignore[union-attr, assignment]
        self.port.deliverAll([(b"", PEER)])
        self.reactor.advance(0)
        self.assertEqual(len(self.turns), 64)

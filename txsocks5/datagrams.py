"""
UDP sockets that take and send many datagrams at a time.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorFDSet,
    IReactorTime,
    IReactorUDP,
    IReadDescriptor,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from .peers import MAX_DATAGRAM, Datagrams, Peer

__all__ = ["DatagramPort", "DatagramSocket", "Reader", "Sockets", "trains"]

# A turn begins with so few messages.  Each may be several datagrams that the kernel has joined:
# if one turn has brought more than this, the next is smaller.
_FEWEST_MESSAGES = 4
_MOST_MESSAGES = 64
_MAX_TURN = 256
_MAX_TURN_OCTETS = 256 * 1024

_RECEIVE_BUFFER = 512 * 1024
"""
Octets that the system is to keep for each socket until they are read, at least.  It grants as much
as its own limit allows, and takes memory only for what is there.
"""

# From linux/udp.h.  Elsewhere the system does not know them.
_UDP_SEGMENT = 103
_UDP_GRO = 104
_MAX_SEGMENTS = 64
_MAX_TRAIN = 65507

_REPORTED = frozenset(
    (
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EMSGSIZE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EPROTO,
    )
)
"""
What reading can fail with although the socket is well: somebody else has refused a datagram, or
the system is short of memory.
"""


class Reader(TypingProtocol):
    """
    Reads many datagrams in one call; see L{MessageReader <txsocks5.recvmmsg.MessageReader>}.
    """

    def read(self, descriptor: int, family: int, most: int) -> Datagrams:
        """
        Read what has come to a socket.
        """


class Sockets:
    """
    Opens UDP sockets, and has what they share.
    """

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: provides L{IReactorUDP}.  If it provides L{IReactorFDSet}, the sockets are
            our own, and Twisted's otherwise.
        """
        self._reactor = reactor

    @cached_property
    def reader(self) -> Reader | None:
        """
        What reads many datagrams in one call, if the system has that.
        """
        try:
            from .recvmmsg import systemReader
        except ImportError:
            # Python can be built without ctypes.
            return None
        return systemReader()

    def open(
        self,
        interface: str,
        port: int,
        received: Callable[[Datagrams], None],
        lost: Callable[[Failure], None],
    ) -> DatagramSocket | DatagramPort:
        """
        Open a UDP socket.

        @param interface: the address to bind it to, in text.

        @param port: its port, or 0 for one of the system's choice.

        @param received: called with what has come, in each turn of the reactor.

        @param lost: called with the reason if the socket breaks.  It is closed then.

        @raise CannotListenError: the system does not let us.
        """
        if IReactorFDSet.providedBy(self._reactor):
            return DatagramSocket(self._reactor, self.reader, interface, port, received, lost)
        opened = DatagramPort(received, self._reactor)
        opened.open(self._reactor, interface, port)
        return opened


def trains(datagrams: Sequence[bytes], largest: int) -> Iterator[tuple[int, int]]:
    """
    Find what can be sent in one call: datagrams of one size, of which the last may be shorter, at
    most 64, and no longer together than the longest datagram.

    @param largest: how long those may be of which there is more than one.

    @return: for each call the position of the first, and that behind the last.
    """
    first = 0
    size = before = total = len(datagrams[0])
    for position in range(1, len(datagrams)):
        length = len(datagrams[position])
        total += length
        if (
            before == size
            and 0 < length <= size <= largest
            and total <= _MAX_TRAIN
            and position - first < _MAX_SEGMENTS
        ):
            before = length
            continue
        yield first, position
        first = position
        size = before = total = length
    yield first, len(datagrams)


@implementer(IReadDescriptor)
class DatagramSocket:
    """
    A UDP socket that is read by the reactor without anything of Twisted's in between.

    Where the kernel can (Linux: C{UDP_GRO}, C{UDP_SEGMENT}), it takes several datagrams of one size
    in one call, and hands over several from one peer in one call.  On the wire they are what they
    would be otherwise.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        reader: Reader | None,
        interface: str,
        port: int,
        received: Callable[[Datagrams], None],
        lost: Callable[[Failure], None],
    ) -> None:
        """
        @param reader: reads many datagrams in one call; L{None} to read them one by one.

        @param interface: see L{Sockets.open}, for this and the others.
        """
        self._reactor = reactor
        self._reader = reader
        self._received = received
        self._lost = lost
        try:
            self._socket = _bound(interface, port)
        except OSError as error:
            raise CannotListenError(interface, port, error) from error
        self._family = int(self._socket.family)
        if reader is not None:
            _has(self._socket, socket.IPPROTO_UDP, _UDP_GRO, 1)
        # How many messages are read in a turn.
        self._most = _FEWEST_MESSAGES
        # Datagrams that are longer are sent one by one.
        segments = _has(self._socket, socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
        self._largest = _MAX_TRAIN if segments else 0
        try:
            reactor.addReader(self)
        except OSError as error:
            self._socket.close()
            raise CannotListenError(interface, port, error) from error

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        The address and port that it is bound to.
        """
        name = self._socket.getsockname()
        if self._family == socket.AF_INET6:
            return IPv6Address("UDP", *name[:2])
        return IPv4Address("UDP", *name)

    def fileno(self) -> int:
        """
        The file descriptor, -1 once it is closed.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """
        What stands in the log before whatever happens while this is read.
        """
        return "datagrams"

    def doRead(self) -> Failure | None:
        """
        Take what has come and pass it on, but not for ever: others want to be served, too.

        @return: what has broken the socket, if it is broken.
        """
        arrived: Datagrams = []
        broken: Failure | None = None
        try:
            if self._reader is None:
                self._readEach(arrived)
            else:
                arrived = self._readMany(self._reader)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            if error.errno not in _REPORTED:
                broken = Failure(error)
        if arrived:
            self._received(arrived)
        return broken

    def doWrite(self) -> None:
        """
        Nothing.  The reactor never is to say when there is room, but it can have heard that, in
        this very turn, of another socket that had the same descriptor until a moment ago.
        """

    def _readMany(self, reader: Reader) -> Datagrams:
        """
        Read as many datagrams as there are, in one call: the more there have been, the more next
        time, as long as they are not too many or too long for one turn.

        @raise OSError: there are none, or something is wrong.
        """
        arrived = reader.read(self._socket.fileno(), self._family, self._most)
        if len(arrived) >= self._most:
            octets = sum([len(data) for data, _ in arrived])
            if octets > _MAX_TURN_OCTETS or len(arrived) > _MAX_TURN:
                self._most = max(self._most // 2, _FEWEST_MESSAGES)
            else:
                self._most = min(self._most * 2, _MOST_MESSAGES)
        return arrived

    def _readEach(self, arrived: Datagrams) -> None:
        """
        Read single datagrams.

        @raise OSError: there are no more, or something is wrong.
        """
        receive = self._socket.recvfrom
        octets = 0
        while len(arrived) < _MOST_MESSAGES and octets < _MAX_TURN_OCTETS:
            arrival = receive(MAX_DATAGRAM)
            arrived.append(arrival)
            octets += len(arrival[0])

    def send(self, datagrams: Sequence[bytes], peer: Peer) -> Sequence[int]:
        """
        Send datagrams to one peer.

        @return: the positions of those that the system did not take.  They are lost, as datagrams
            may be.
        """
        if len(datagrams) == 1 or not self._largest:
            return self._sendEach(datagrams, 0, len(datagrams), peer)
        lost: list[int] = []
        for first, end in trains(datagrams, self._largest):
            if end - first == 1 or not self._sendTrain(datagrams[first:end], peer):
                lost += self._sendEach(datagrams, first, end, peer)
        return lost

    def _sendEach(
        self, datagrams: Sequence[bytes], first: int, end: int, peer: Peer
    ) -> Sequence[int]:
        """
        Send datagrams one by one.
        """
        lost = []
        send = self._socket.sendto
        for position in range(first, end):
            try:
                send(datagrams[position], peer)
            except OSError:
                lost.append(position)
        return lost

    def _sendTrain(self, datagrams: Sequence[bytes], peer: Peer) -> bool:
        """
        Send datagrams in one call.

        @return: whether the system has taken them; if not, none of them.
        """
        size = len(datagrams[0])
        control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", size))]
        try:
            self._socket.sendmsg(datagrams, control, 0, peer)
        except OSError as error:
            if error.errno in (errno.EMSGSIZE, errno.EINVAL):
                # Too long for a packet on the way there.  One by one they are fragmented.
                self._largest = size - 1
            elif error.errno in (errno.EIO, errno.EOPNOTSUPP):
                # The network interface cannot.
                self._largest = 0
            return False
        return True

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has given the socket up.
        """
        if self._socket.fileno() != -1:
            lost = self._lost
            self.close()
            lost(reason)

    def close(self) -> None:
        """
        Close the socket at once.  Nothing happens if it is closed already.
        """
        if self._socket.fileno() != -1:
            self._reactor.removeReader(self)
            self._socket.close()
            # Whoever it has called knows it, too.
            del self._received, self._lost


def _bound(interface: str, port: int) -> socket.socket:
    """
    Make a socket and bind it.

    @raise OSError: it cannot be made or bound.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < _RECEIVE_BUFFER:
            _has(made, socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        made.bind((interface, port))
    except OSError:
        made.close()
        raise
    return made


def _has(made: socket.socket, level: int, option: int, value: int) -> bool:
    """
    Set an option, if the system has it.

    @return: whether it has.
    """
    try:
        made.setsockopt(level, option, value)
    except OSError:
        return False
    return True


class DatagramPort(DatagramProtocol):
    """
    A UDP socket of Twisted's, for reactors that read no descriptors.
    """

    noisy = False
    transport: IUDPTransport

    def __init__(self, received: Callable[[Datagrams], None], clock: IReactorTime) -> None:
        self._received = received
        self._clock = clock
        self._turn = 0

    def open(self, reactor: IReactorUDP, interface: str, port: int) -> None:
        """
        Begin to listen.

        @raise CannotListenError: the system does not let us.
        """
        self._port: IListeningPort = reactor.listenUDP(
            port, self, interface=interface, maxPacketSize=MAX_DATAGRAM
        )

    def getHost(self) -> Any:
        """
        The address and port that it is bound to.
        """
        return self._port.getHost()

    def datagramReceived(self, datagram: bytes, addr: Peer) -> None:
        """
        Pass a datagram on.
        """
        self._turn += 1
        if self._turn == _MOST_MESSAGES:
            # Twisted's port reads on until it has read 256 KiB, be they in ever so many datagrams,
            # while nobody else is served.
            self._throughput(0)
            self._clock.callLater(0, self._nextTurn)
        self._received([(datagram, addr)])

    def _nextTurn(self) -> None:
        """
        Everybody else has had their turn.
        """
        self._turn = 0
        self._throughput(_MAX_TURN_OCTETS)

    def _throughput(self, octets: int) -> None:
        """
        Set for how many octets the port goes on reading.
        """
        port: Any = self.transport
        if port is not None:
            port.maxThroughput = octets

    def send(self, datagrams: Sequence[bytes], peer: Peer) -> Sequence[int]:
        """
        Send datagrams to one peer; see L{DatagramSocket.send}.
        """
        lost = []
        for position, datagram in enumerate(datagrams):
            try:
                self.transport.write(datagram, (peer[0], peer[1]))
            except (OSError, MessageLengthError):
                lost.append(position)
        return lost

    def close(self) -> None:
        """
        Close the socket.
        """
        self._port.stopListening()
        # Whoever has been called knows this, too.
        self._received = _ignore


def _ignore(arrived: Datagrams) -> None:
    """
    Nobody wants to know any more.
    """

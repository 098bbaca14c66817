"""
UDP ASSOCIATE: datagrams to and from anywhere, RFC 1928 sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IReactorTime, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from . import local
from .config import Network, Timeouts, ofFamily
from .destinations import MAX_DESTINATIONS, Destination, Destinations
from .errors import ProtocolError
from .interfaces import IProtection, IRelayTap, ISOCKSReactor, Question
from .outgoing import Outgoing
from .reassembly import Budget, Reassembly
from .sweep import Idler, Sweep
from .wire import Address, IPAddress, splitDatagram, unmapped

__all__ = ["Association", "Associations"]

_MAX_DATAGRAM = 65536
_MAX_TURN = 64
_MAX_THROUGHPUT = 256 * 1024
_MAX_TO_CLIENT = {4: 65507, 6: 65527}


class _Socket(DatagramProtocol):
    """
    One of the UDP sockets of an association.
    """

    noisy = False
    transport: IUDPTransport

    def __init__(
        self, received: Callable[[bytes, tuple[str, int]], None], clock: IReactorTime
    ) -> None:
        self._received = received
        self._clock = clock
        self._turn = 0

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Pass a datagram on.
        """
        self._turn += 1
        if self._turn == _MAX_TURN:
            # Twisted's port reads on until it has read 256 KiB, be they in ever so many datagrams,
            # while nobody else is served.
            self._throughput(0)
            self._clock.callLater(0, self._nextTurn)
        self._received(datagram, addr)

    def _nextTurn(self) -> None:
        """
        Everybody else has had their turn.
        """
        self._turn = 0
        self._throughput(_MAX_THROUGHPUT)

    def _throughput(self, octets: int) -> None:
        """
        Set for how many octets the port goes on reading.
        """
        port: Any = self.transport
        if port is not None:
            port.maxThroughput = octets

    def send(self, data: bytes, host: str, port: int) -> bool:
        """
        Send a datagram.

        @return: whether the system took it.  If not, it is lost, as datagrams may be.
        """
        try:
            self.transport.write(data, (host, port))
        except (OSError, MessageLengthError):
            return False
        return True


class Associations:
    """
    Opens associations for a server.
    """

    def __init__(
        self,
        reactor: ISOCKSReactor,
        outgoing: Outgoing,
        network: Network,
        timeouts: Timeouts,
        sweep: Sweep,
    ) -> None:
        self.reactor = reactor
        self.outgoing = outgoing
        self.network = network
        self.timeouts = timeouts
        self.sweep = sweep
        # The family and port of each socket that faces the world.
        self.outside: set[tuple[int, int]] = set()
        # What all reassembly queues of the server may hold together.
        self.budget = Budget(64 * 1024 * 1024)

    def open(
        self,
        question: Question,
        client: Address,
        reached: Sequence[IPAddress],
        ended: Callable[[str], None],
        protection: IProtection | None,
        tap: IRelayTap | None,
    ) -> Association:
        """
        Do what a UDP ASSOCIATE asks for, and policy has allowed.

        @param question: with no destination; it is asked again with each.

        @param client: where the client's datagrams come from: the address of its connection,
            and a port, or 0 to learn it from the first datagram.

        @param reached: the addresses at which to take them, the first that can be bound to.

        @param ended: called with the reason if the association ends by itself.

        @param protection: opens and wraps each datagram of the client.

        @param tap: sees the payloads.

        @raise CannotListenError: no port is to be had.

        @raise Overloaded: no port of the configured range is free.
        """
        return Association(self, question, client, reached, ended, protection, tap)

    def listen(self, socket: _Socket, interface: str, ports: range | None) -> IListeningPort:
        """
        Open one UDP socket.
        """
        return local.openPort(
            lambda port: self.reactor.listenUDP(
                port, socket, interface=interface, maxPacketSize=_MAX_DATAGRAM
            ),
            ports,
        )


class Association:
    """
    One association: a socket for the client, and one of each family for the world.

    @ivar bound: BND.ADDR and BND.PORT, where the client is to send its datagrams.

    @ivar fromClient: octets of payload sent on for the client.

    @ivar toClient: octets of payload passed to it.

    @ivar dropped: datagrams that were neither.
    """

    def __init__(
        self,
        server: Associations,
        question: Question,
        client: Address,
        reached: Sequence[IPAddress],
        ended: Callable[[str], None],
        protection: IProtection | None,
        tap: IRelayTap | None,
    ) -> None:
        """
        See L{Associations.open}.
        """
        self.fromClient = 0
        self.toClient = 0
        self._dropped = 0
        self._server = server
        self._clientHost = client.host
        self._clientPort = client.port
        assert not isinstance(client.host, str)
        self._near = _isNear(client.host, reached)
        # The peer of the client's socket as the socket names it, once a valid datagram
        # has come from there.
        self._client: tuple[str, int] | None = None
        self._ended = ended
        self._protection = protection
        self._tap = tap
        self._destinations = Destinations(
            server.outgoing, question, server.sweep.now, self._send, self._drop
        )
        # Who may answer; and the header for each source that has.
        self._addressed: dict[IPAddress, None] = {}
        self._headers: dict[tuple[str, int], tuple[bytes, Address]] = {}
        self._reassembly = Reassembly(server.budget)
        self._ports: list[IListeningPort] = []
        self._sockets: dict[int, _Socket] = {}
        self._outside: list[tuple[int, int]] = []
        self._relayed = 0
        self._over = False
        self._inside = _Socket(self._fromClient, server.reactor)
        self.bound = local.openAtFirst(self._openAt, reached)
        self._maxToClient = _MAX_TO_CLIENT[self.bound.host.version]  # type: ignore[union-attr]
        self._idler = Idler(server.sweep.now())
        server.sweep.add(self)

    @property
    def dropped(self) -> int:
        """
        Datagrams that were not relayed, parts of datagrams included.
        """
        return self._dropped + self._reassembly.abandoned

    def _drop(self, datagrams: int = 1) -> None:
        """
        Count datagrams that are not relayed.
        """
        self._dropped += datagrams

    def _openAt(self, address: IPAddress) -> Address:
        """
        Open the client's socket at an address.

        @return: what to tell the client.
        """
        network = self._server.network
        port = self._server.listen(self._inside, str(address), network.ports)
        self._ports.append(port)
        bound = local.addressOf(port.getHost())
        assert bound is not None
        return Address(network.advertised(address), bound.port)

    # The client's datagrams

    def _fromClient(self, data: bytes, source: tuple[str, int]) -> None:
        """
        A datagram has come to the client's socket.
        """
        if self._over:
            # The system had more for us when we closed.
            return
        if source != self._client and not self._mayBeClient(source):
            self._drop()
            return
        try:
            if self._protection is not None:
                data = self._protection.unwrapDatagram(data)
            fragment, field, payload = splitDatagram(data, strict=self._server.network.strict)
            destination = self._destinations.find(field)
        except ProtocolError:
            self._drop()
            return
        self._client = source
        if not fragment:
            self._reassembly.abandon()
            self._destinations.relay(destination, payload)
        elif not self._server.network.udpReassembly:
            self._drop()
        else:
            now = self._server.sweep.now()
            whole = self._reassembly.add(now, fragment, field, payload)
            if whole is not None:
                self._destinations.relay(destination, whole)

    def _mayBeClient(self, source: tuple[str, int]) -> bool:
        """
        Whether the first datagram of the client may come from C{source}: from the address of
        its connection, and the port that it has announced, if it has (R-1928-66, R-1928-72).
        """
        if self._client is not None or self._clientPort not in (0, source[1]):
            return False
        host = _address(source[0])
        if host != self._clientHost:
            return False
        # A client on this machine could otherwise reach another's association through its own.
        return not self._near or (host.version, source[1]) not in self._server.outside

    def _send(self, destination: Destination, payload: bytes) -> None:
        """
        Send a payload to its destination, to its first address that the system can reach.
        """
        port = destination.address.port
        for host in destination.hosts:
            socket = self._socket(host.version)
            if socket is not None:
                # Before sending: an answer may be there before this goes on.
                self._remember(host)
                if socket.send(payload, str(host), port):
                    self._relayed += 1
                    self.fromClient += len(payload)
                    if self._tap is not None:
                        self._tap.passed(True, Address(host, port), payload)
                    return
        self._drop()

    def _remember(self, host: IPAddress) -> None:
        """
        Let a host answer.
        """
        if host not in self._addressed:
            if len(self._addressed) >= MAX_DESTINATIONS:
                del self._addressed[next(iter(self._addressed))]
                self._headers.clear()
            self._addressed[host] = None

    def _socket(self, version: int) -> _Socket | None:
        """
        The socket of a family, opened when it is first needed.

        @return: it, or L{None} if the system has none to give.
        """
        if version not in self._sockets:
            socket = _Socket(self._fromWorld, self._server.reactor)
            own = ofFamily(version, self._server.network.outgoing)
            anywhere = "0.0.0.0" if version == 4 else "::"
            try:
                port = self._server.listen(socket, str(own or anywhere), None)
            except CannotListenError:
                return None
            self._ports.append(port)
            here = local.addressOf(port.getHost())
            assert here is not None
            self._outside.append((version, here.port))
            self._server.outside.add((version, here.port))
            self._sockets[version] = socket
        return self._sockets.get(version)

    # The world's datagrams

    def _fromWorld(self, data: bytes, source: tuple[str, int]) -> None:
        """
        A datagram has come from somebody else: pass it to the client, if that has sent to
        them before (R-1928-84).
        """
        if self._over:
            return
        known = self._headers.get(source) or self._header(source)
        if known is None or self._client is None:
            self._drop()
            return
        header, address = known
        datagram = header + data
        if self._protection is not None:
            try:
                datagram = self._protection.wrapDatagram(datagram)
            except ProtocolError:
                self._drop()
                return
        if len(datagram) > self._maxToClient or not self._inside.send(datagram, *self._client):
            self._drop()
            return
        self._relayed += 1
        self.toClient += len(data)
        if self._tap is not None:
            self._tap.passed(False, address, data)

    def _header(self, source: tuple[str, int]) -> tuple[bytes, Address] | None:
        """
        The header for datagrams from C{source}, or L{None} if they are not wanted.
        """
        host = _address(source[0])
        if host not in self._addressed and not self._server.network.udpFullCone:
            return None
        if len(self._headers) >= MAX_DESTINATIONS:
            self._headers.clear()
        address = Address(host, source[1])
        known = (b"\x00\x00\x00" + address.octets(), address)
        self._headers[source] = known
        return known

    # The end

    def swept(self, now: float) -> None:
        """
        End by idling, and let go of what has grown old.
        """
        self._reassembly.expire(now)
        self._destinations.expire(now)
        limit = self._server.timeouts.udpIdle
        if limit and self._idler.idle(now, self._relayed) >= limit:
            self._end("association idle for too long")

    def clientReceived(self, data: bytes) -> None:
        """
        Octets behind the request mean nothing (R-1928-76).
        """

    def clientFinished(self) -> None:
        """
        The client wants no more datagrams (R-1928-73).
        """
        self._end("client finished")

    def _end(self, reason: str) -> None:
        """
        Close everything at once (R-1928-73), and then have the connection closed (R-1928-74).
        """
        self.close()
        self._ended(reason)

    def clientLost(self, reason: Failure) -> None:
        """
        The connection that carries the association is gone: close everything.
        """
        self.close()

    def abort(self, reason: str) -> None:
        """
        The server ends the session.
        """
        self.close()

    def close(self) -> None:
        """
        Close all sockets and drop everything that waits.
        """
        self._over = True
        self._server.sweep.remove(self)
        self._destinations.close()
        self._reassembly.abandon()
        self._server.outside.difference_update(self._outside)
        ports, self._ports = self._ports, []
        for port in ports:
            port.stopListening()


def _isNear(client: IPAddress, reached: Sequence[IPAddress]) -> bool:
    """
    Whether a client is on this machine, be it by another of its addresses than the one it has
    reached: the system may have several, and chooses.  If it cannot be told, it may be.
    """
    if client.is_loopback or client in reached:
        return True
    try:
        return local.isOwn(client)
    except OSError:
        return True


def _address(host: str) -> IPAddress:
    """
    The address of a datagram's source, without its scope.
    """
    return unmapped(ip_address(host.partition("%")[0]))

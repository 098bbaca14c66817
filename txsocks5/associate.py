"""
UDP ASSOCIATE: datagrams to and from anywhere, RFC 1928 sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from . import local
from .bandwidth import Meter, Policer
from .config import Network, Timeouts, ofFamily
from .datagrams import DatagramPort, DatagramSocket, Sockets
from .destinations import Destination, Destinations
from .errors import NotAllowed, ProtocolError, reasonOf
from .interfaces import IProtection, IRelayTap, ISOCKSReactor, Question
from .outgoing import Outgoing
from .peers import Datagrams, Peer, hostOf
from .reassembly import Budget, Reassembly
from .sources import Sources
from .sweep import Idler, Sweep
from .ties import loosely
from .wire import Address, IPAddress, splitDatagram

__all__ = ["Association", "Associations"]

_MAX_TO_CLIENT = {4: 65507, 6: 65527}


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
        self.sockets = Sockets(reactor)
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
        outgoing: tuple[IPAddress, ...] = (),
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

        @param outgoing: source addresses that go before those of all, at most one of a family.

        @raise CannotListenError: no port is to be had.

        @raise Overloaded: no port of the configured range is free.
        """
        return Association(self, question, client, reached, ended, protection, tap, outgoing)

    def shareWith(self, others: Associations) -> None:
        """
        Stand in their place, with other settings: what all associations of a server have in common
        they have with those that were opened before.
        """
        self.sockets = others.sockets
        self.outside = others.outside
        self.budget = others.budget

    def listen(
        self,
        received: Callable[[Datagrams], None],
        lost: Callable[[Failure], None],
        interface: str,
        ports: range | None,
    ) -> DatagramSocket | DatagramPort:
        """
        Open one UDP socket; see L{Sockets.open}.
        """
        return local.openPort(
            lambda port: self.sockets.open(interface, port, received, lost), ports
        )


class Association:
    """
    One association: a socket for the client, and one of each family for the world.

    @ivar bound: BND.ADDR and BND.PORT, where the client is to send its datagrams.

    @ivar fromClient: octets of payload sent on for the client.

    @ivar toClient: octets of payload passed to it.

    @ivar dropped: datagrams that were neither.

    @ivar meter: how much may be relayed; L{None} for all.  What is more is dropped.
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
        outgoing: tuple[IPAddress, ...],
    ) -> None:
        """
        See L{Associations.open}.
        """
        self._outgoing = outgoing
        self.fromClient = 0
        self.toClient = 0
        self.meter: Meter | None = None
        self._policer = Policer()
        self._dropped = 0
        self._server = server
        self._clientHost = client.host
        self._clientPort = client.port
        assert not isinstance(client.host, str)
        self._near = local.isNear(client.host, reached)
        # The peer of the client's socket as the socket names it, once a valid datagram
        # has come from there.
        self._client: Peer | None = None
        self._ended = ended
        self._protection = protection
        self._tap = tap
        # Who looks on may end the session with any datagram, so that the next must not be gone.
        self._together = tap is None
        self._destinations = Destinations(
            server.outgoing,
            question,
            server.sweep.now,
            loosely(self._outward),
            loosely(self._drop),
        )
        self._sources = Sources(server.network.udpFullCone)
        self._reassembly = Reassembly(server.budget)
        self._sockets: dict[int, DatagramSocket | DatagramPort] = {}
        self._outside: list[tuple[int, int]] = []
        self._relayed = 0
        self._over = False
        self._inside: DatagramSocket | DatagramPort
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
        self._inside = self._server.listen(
            self._fromClient, self._broken, str(address), network.ports
        )
        bound = local.addressOf(self._inside.getHost())
        assert bound is not None
        return Address(network.advertised(address), bound.port)

    # The client's datagrams

    def _fromClient(self, arrived: Datagrams) -> None:
        """
        Datagrams have come to the client's socket.  Those for the same destination that follow
        each other leave together.
        """
        destination: Destination | None = None
        header = b""
        payloads: list[bytes] = []
        for data, source in arrived:
            if self._over:
                # The system had more for us when we closed.
                return
            if source != self._client or self._protection is not None:
                opened = self._opened(data, source)
                if opened is None:
                    continue
                data = opened
            if destination is not None:
                if self._together and data.startswith(header):
                    payloads.append(data[len(header) :])
                    continue
                self._outward(destination, payloads)
            destination, payload = self._read(data, source)
            header = data[: len(data) - len(payload)]
            payloads = [payload]
        if destination is not None:
            self._outward(destination, payloads)

    def _opened(self, data: bytes, source: Peer) -> bytes | None:
        """
        Open a datagram, if it is the client's.

        @return: header and payload, or L{None} if it is dropped.
        """
        try:
            if source == self._client or self._mayBeClient(source):
                protection = self._protection
                return data if protection is None else protection.unwrapDatagram(data)
        except ProtocolError:
            pass
        self._drop()
        return None

    def _read(self, data: bytes, source: Peer) -> tuple[Destination | None, bytes]:
        """
        Find out where a datagram goes, and see to it, if it is not to be sent at once.

        @return: its destination and payload, if it is; no destination otherwise.
        """
        if self._over:
            # Who looks on has ended the session with the datagram before.
            return None, b""
        try:
            fragment, field, payload = splitDatagram(data, strict=self._server.network.strict)
            destination = self._destinations.find(field)
        except ProtocolError:
            self._drop()
            return None, b""
        self._client = source
        if fragment:
            self._join(destination, fragment, field, payload)
            return None, b""
        self._reassembly.abandon()
        if destination.targets:
            return destination, payload
        self._destinations.relay(destination, payload)
        return None, b""

    def _join(self, destination: Destination, fragment: int, field: bytes, payload: bytes) -> None:
        """
        Take part of a datagram.
        """
        if not self._server.network.udpReassembly:
            self._drop()
            return
        whole = self._reassembly.add(self._server.sweep.now(), fragment, field, payload)
        if whole is not None:
            self._destinations.relay(destination, whole)

    def _mayBeClient(self, source: Peer) -> bool:
        """
        Whether the first datagram of the client may come from C{source}: from the address of
        its connection, and the port that it has announced, if it has (R-1928-66, R-1928-72).
        """
        if self._client is not None or self._clientPort not in (0, source[1]):
            return False
        host = hostOf(source)
        if host != self._clientHost:
            return False
        # A client on this machine could otherwise reach another's association through its own.
        return not self._near or (host.version, source[1]) not in self._server.outside

    def _outward(self, destination: Destination, payloads: Sequence[bytes]) -> None:
        """
        Send payloads to their destination, to its first address that the system can reach.  All
        that leaves for the world passes here, and is counted here.
        """
        if self.meter is not None and destination.targets:
            count = self._policer.admit(self.meter, [*map(len, payloads)])
            self._drop(len(payloads) - count)
            payloads = payloads[:count]
            if not count:
                return
        for target in destination.targets:
            version = target.host.version
            socket = self._sockets.get(version) or self._socket(version)
            if socket is None:
                continue
            # Before sending: an answer may be there before this goes on.
            self._sources.allow(target.peer[0])
            lost = socket.send(payloads, target.peer)
            self._relayed += len(payloads) - len(lost)
            self.fromClient += sum(map(len, payloads))
            if not lost:
                if self._tap is not None:
                    self._tap.passed(True, Address(target.host, target.peer[1]), payloads[0])
                return
            payloads = [payloads[position] for position in lost]
            self.fromClient -= sum(map(len, payloads))
        self._drop(len(payloads))

    def _socket(self, version: int) -> DatagramSocket | DatagramPort | None:
        """
        Open the socket of a family.

        @return: it, or L{None} if the system has none to give.
        """
        own = ofFamily(version, self._outgoing) or ofFamily(version, self._server.network.outgoing)
        anywhere = "0.0.0.0" if version == 4 else "::"
        try:
            socket = self._server.listen(self._fromWorld, self._broken, str(own or anywhere), None)
        except CannotListenError:
            return None
        here = local.addressOf(socket.getHost())
        assert here is not None
        self._outside.append((version, here.port))
        self._server.outside.add((version, here.port))
        self._sockets[version] = socket
        return socket

    # The world's datagrams

    def _fromWorld(self, arrived: Datagrams) -> None:
        """
        Datagrams have come from others: pass to the client what comes from those that it has sent
        to before (R-1928-84).
        """
        datagrams: list[bytes] = []
        passages: list[tuple[Address, bytes]] = []
        for data, source in arrived:
            known = self._sources.header(source)
            if known is None or self._client is None:
                self._drop()
                continue
            header, address = known
            datagram = self._wrapped(header + data)
            if datagram is None:
                self._drop()
                continue
            datagrams.append(datagram)
            passages.append((address, data))
            if not self._together:
                self._homeward(datagrams, passages)
                datagrams, passages = [], []
        if datagrams:
            self._homeward(datagrams, passages)

    def _wrapped(self, datagram: bytes) -> bytes | None:
        """
        Encapsulate a datagram, if the client's method does that.

        @return: what to send, or L{None} if it is too long for one datagram (R-1928-85).
        """
        if self._protection is not None:
            try:
                datagram = self._protection.wrapDatagram(datagram)
            except ProtocolError:
                return None
        return datagram if len(datagram) <= self._maxToClient else None

    def _homeward(
        self, datagrams: Sequence[bytes], passages: Sequence[tuple[Address, bytes]]
    ) -> None:
        """
        Send datagrams to the client.  All that is sent to it passes here, and is counted here.

        @param passages: for each datagram where it comes from, and its payload.
        """
        if self._over:
            return
        if self.meter is not None:
            count = self._policer.admit(self.meter, [len(payload) for _, payload in passages])
            self._drop(len(passages) - count)
            datagrams, passages = datagrams[:count], passages[:count]
            if not count:
                return
        assert self._client is not None
        lost = self._inside.send(datagrams, self._client)
        if lost:
            self._drop(len(lost))
            gone = frozenset(lost)
            passages = [each for position, each in enumerate(passages) if position not in gone]
        self._relayed += len(passages)
        self.toClient += sum([len(payload) for _, payload in passages])
        if self._tap is not None:
            for address, payload in passages:
                self._tap.passed(False, address, payload)

    # The end

    def swept(self, now: float) -> None:
        """
        End by idling, or because policy has changed its mind, and let go of what has grown old.
        """
        self._reassembly.expire(now)
        try:
            self._destinations.expire(now)
        except NotAllowed as error:
            self._end(f"no longer allowed: {error}")
            return
        for host in self._destinations.denied():
            self._sources.forbid(host)
        limit = self._server.timeouts.udpIdle
        if limit and self._idler.idle(now, self._relayed) >= limit:
            self._end("association idle for too long")

    def begin(self) -> None:
        """
        Datagrams are taken already: the client may have sent some before it has read the reply.
        """

    def review(self) -> None:
        """
        Policy has become another one: judge the destinations anew, and let only those answer that
        may still be sent to.
        """
        self._sources.restrict(self._destinations.review())

    def clientReceived(self, data: bytes) -> None:
        """
        Octets behind the request mean nothing (R-1928-76).
        """

    def clientFinished(self) -> None:
        """
        The client wants no more datagrams (R-1928-73).
        """
        self._end("client finished")

    def _broken(self, reason: Failure) -> None:
        """
        One of the sockets is gone, though nobody has closed it.
        """
        assert reason.value is not None
        self._end(f"datagrams: {reasonOf(reason.value)}")

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
        Close all sockets and drop everything that waits.  Nothing happens if that has been done.
        """
        if self._over:
            # The ports may be somebody else's by now.
            return
        self._over = True
        self._server.sweep.remove(self)
        self._destinations.close()
        self._reassembly.abandon()
        self._server.outside.difference_update(self._outside)
        self._inside.close()
        for socket in self._sockets.values():
            socket.close()

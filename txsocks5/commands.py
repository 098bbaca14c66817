"""
Doing what a request asks for: CONNECT, BIND and UDP ASSOCIATE, from the verdict to the relay.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv4Address
from typing import Any
from typing import Protocol as TypingProtocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectError, ConnectionClosed
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from . import events, local
from .associate import Association, Associations
from .bind import Binder, Listener
from .config import Timeouts
from .errors import ConnectFailed, SOCKSError
from .events import Emitter
from .interfaces import Identity, IRelayObserver, IRelayTap, Question, Verdict
from .ledger import Holding, Ledger
from .outgoing import Outgoing
from .relay import CopyingRelay
from .session import Session
from .stream import Stream, TargetProtocol
from .sweep import Sweep
from .wire import Address, Command, IPAddress, Request

__all__ = ["Carrier", "Client", "Means", "Performance"]

LOOPBACK = IPv4Address("127.0.0.1")

NOTHING_CARRIED = {"fromClient": 0, "toClient": 0, "dropped": 0}

# What the network, or this server's limits, do to a command.
_FORESEEN = (SOCKSError, ConnectError, ConnectionClosed, CannotListenError, OSError)

_NOWHERE = Address(IPv4Address(0), 0)


class Carrier(TypingProtocol):
    """
    What a session has been opened for: a relay, or an association.
    """

    def clientReceived(self, data: bytes) -> None:
        """
        The client has sent octets.
        """

    def clientFinished(self) -> None:
        """
        The client has sent FIN.
        """

    def clientLost(self, reason: Failure) -> None:
        """
        The client's connection is gone.
        """

    def abort(self, reason: str) -> None:
        """
        End now, so that nobody can take it for the regular end.
        """

    @property
    def fromClient(self) -> int:
        """
        Octets of payload that have come from the client.
        """

    @property
    def toClient(self) -> int:
        """
        Octets of payload that have gone to it.
        """

    @property
    def dropped(self) -> int:
        """
        Datagrams lost on the way.
        """


@attrs.frozen
class Means:
    """
    What all sessions of a server do their commands with.

    @ivar ledger: holds the clients to their limits.

    @ivar relay: joins the two sides of a CONNECT or BIND; called as L{CopyingRelay} is.
    """

    outgoing: Outgoing
    binder: Binder
    associations: Associations
    sweep: Sweep
    timeouts: Timeouts
    observer: IRelayObserver | None
    ledger: Ledger
    relay: Callable[..., Carrier] = CopyingRelay


@attrs.frozen
class Client:
    """
    Who asks, and from where.

    @ivar identity: who it is.

    @ivar address: where it connects from; L{None} for a UNIX socket.

    @ivar reached: the addresses at which it may have reached the server, the likeliest first.

    @ivar stream: its connection.
    """

    identity: Identity
    address: Address | None
    reached: Sequence[IPAddress]
    stream: Stream

    @property
    def host(self) -> IPAddress | None:
        """
        The numeric address, if there is one.
        """
        host = None if self.address is None else self.address.host
        assert not isinstance(host, str)
        return host


class Performance:
    """
    One request being done.

    @ivar carrier: the relay or association, once there is one.
    """

    def __init__(
        self, means: Means, session: Session, client: Client, request: Request, emit: Emitter
    ) -> None:
        """
        @param means: what to do it with.

        @param session: hears how it goes.

        @param emit: logs for the session.
        """
        self.carrier: Carrier | None = None
        self._means = means
        self._session = session
        self._client = client
        self._request = request
        self._emit = emit
        associating = request.command is Command.UDP_ASSOCIATE
        destination = None if associating else request.destination
        self._question = Question(client.identity, client.host, request.command, destination)
        self._listener: Listener | None = None
        self._association: Association | None = None
        self._target: TargetProtocol | None = None
        self._tap: IRelayTap | None = None
        self._holding: Holding | None = None

    def asked(self) -> dict[str, str]:
        """
        The fields of log events that tell the request.
        """
        return {
            "command": self._request.command.name,
            "destination": str(self._request.destination),
        }

    def begin(self) -> Deferred[None]:
        """
        Begin; see L{Hinge.perform <txsocks5.session.Hinge.perform>}.
        """
        if self._request.command is Command.CONNECT:
            return self._run(self._connect())
        if self._request.command is Command.BIND:
            return self._run(self._bind())
        return self._run(self._associate())

    def awaitPeer(self) -> Deferred[None]:
        """
        Wait for the peer of a BIND; see L{Hinge.awaitPeer <txsocks5.session.Hinge.awaitPeer>}.
        """
        assert self._listener is not None
        return self._run(self._letIn(self._listener))

    def _run(self, command: Coroutine[Any, Any, Callable[[], None]]) -> Deferred[None]:
        """
        Run a command, and tell the session when it has ended: not sooner, so that the session
        may cancel it at any time.

        @param command: ends with what is to be called then.
        """
        return (
            Deferred.fromCoroutine(command)
            .addCallback(lambda then: then())
            .addErrback(self._failed)
        )

    def _failed(self, reason: Failure) -> None:
        """
        A command has failed, or has been cancelled.
        """
        error = reason.value
        if isinstance(error, CancelledError):
            return
        assert error is not None
        attempts = error.errors if isinstance(error, ConnectFailed) else (error,)
        for attempt in attempts:
            if not isinstance(attempt, _FORESEEN):
                # Somebody's policy, resolver, dialer or observer is broken; or we are.
                self._emit(events.broken, log_failure=Failure(attempt))
        self._session.failed(error)

    async def _connect(self) -> Callable[[], None]:
        """
        CONNECT: BND is the local end of the new connection (R-1928-44).
        """
        target, why = await self._means.outgoing.connect(self._question, self._hold)
        transport = target.stream.transport
        bound, reached = _internet(transport.getHost()), _internet(transport.getPeer())
        return lambda: self._joined(target, bound, reached, why)

    async def _bind(self) -> Callable[[], None]:
        """
        BIND, as far as the first reply.
        """
        self._listener = listener = await self._means.binder.listen(
            self._question, self._client.reached, self._turnedAway, self._hold
        )
        self._emit(
            events.awaiting,
            destination=str(self._request.destination),
            address=str(listener.bound),
        )
        return lambda: self._session.listening(listener.bound)

    async def _letIn(self, listener: Listener) -> Callable[[], None]:
        """
        BIND, the rest of it: BND is the peer (R-1928-61).
        """
        peer = await listener.peer()
        address = _internet(peer.stream.transport.getPeer())
        return lambda: self._joined(peer, address, address, listener.reason)

    async def _associate(self) -> Callable[[], None]:
        """
        UDP ASSOCIATE.  Datagrams come from where the connection does.  A port that the client
        announces for that address is believed; whatever else it announces is not (R-1928-66).
        """
        means = self._means
        verdict = means.outgoing.judge(self._question)
        self._hold(verdict)
        host = self._client.host or LOOPBACK
        announced = self._request.destination
        association = means.associations.open(
            self._question,
            Address(host, announced.port if announced.host == host else 0),
            self._client.reached,
            self._session.ceased,
            self._client.stream.protection,
            self._observe(),
        )
        self.carrier = self._association = association
        return lambda: self._established(association.bound, association.bound, verdict.reason)

    def _hold(self, verdict: Verdict) -> None:
        """
        Policy has said yes: from now on this counts as a session.

        @raise NotAllowed: see L{Ledger.hold}, for this and the other errors.
        """
        self._holding = self._means.ledger.hold(self._question, verdict.rule)

    def _turnedAway(self, peer: object, reason: str) -> None:
        """
        A stranger has come to the listener of a BIND.
        """
        self._emit(events.stranger, peer=str(peer), reason=reason)

    def _joined(self, target: TargetProtocol, bound: Address, reached: Address, why: str) -> None:
        """
        The other side of the relay is there.
        """
        self._target = target
        self._established(bound, reached, why)

    def _established(self, bound: Address, reached: Address, why: str) -> None:
        """
        The command has been done.
        """
        self._emit(events.granted, reason=why, address=str(reached), **self.asked())
        self._session.established(bound)

    def _observe(self) -> IRelayTap | None:
        """
        Ask the observer whether it looks at this session.
        """
        if self._means.observer is not None:
            self._tap = self._means.observer.began(self._question)
        return self._tap

    def relay(self) -> Carrier:
        """
        Begin to relay.
        """
        if self._target is not None:
            self.carrier = self._means.relay(
                self._client.stream,
                self._target,
                self._means.sweep,
                self._means.timeouts,
                self._session.relayed,
                self._observe(),
                _internet(self._target.stream.transport.getPeer()),
            )
        assert self.carrier is not None
        return self.carrier

    def end(self) -> dict[str, int]:
        """
        The session is over.

        @return: the fields of log events that tell what was relayed.
        """
        carried = NOTHING_CARRIED
        if self.carrier is not None:
            carried = {
                "fromClient": self.carrier.fromClient,
                "toClient": self.carrier.toClient,
                "dropped": self.carrier.dropped,
            }
        elif self._target is not None:
            # The relay could not begin.
            self._target.stream.abort()
        if self._holding is not None:
            self._holding.release()
        # These belong to us as long as the session has not come to the point of using them.
        if self._listener is not None:
            self._listener.close()
        if self._association is not None:
            self._association.close()
        if self._tap is not None:
            try:
                self._tap.ended(carried["fromClient"], carried["toClient"])
            except Exception:
                self._emit(events.broken, log_failure=Failure())
        return carried


def _internet(address: IAddress) -> Address:
    """
    The address of a connection, or C{0.0.0.0:0} for one that a dialer made of something else
    than TCP.
    """
    return local.addressOf(address) or _NOWHERE

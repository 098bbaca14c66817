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
from .bandwidth import Meter
from .bind import Binder, Listener
from .config import Timeouts
from .dialer import ConnectedSocket
from .errors import ConnectFailed, NotAllowed, SOCKSError
from .events import Emitter
from .interfaces import Identity, IRelayObserver, IRelayTap, Question, Record, Verdict
from .joiner import Joiner
from .ledger import Holding, Ledger
from .outgoing import Admitted, Outgoing, Target
from .policy import SelfProtectingPolicy
from .session import Session
from .stream import Stream
from .sweep import Sweep
from .wire import Address, Command, IPAddress, Request
from .wrapped import reachedAddresses

__all__ = ["Carrier", "Client", "Means", "Performance"]

LOOPBACK = IPv4Address("127.0.0.1")

# What the network, or this server's limits, do to a command.
_FORESEEN = (SOCKSError, ConnectError, ConnectionClosed, CannotListenError, OSError)

# Looked up in the module, they take a tenth of what they take in the enumeration.
_CONNECT, _BIND, _UDP_ASSOCIATE = Command

_NOWHERE = Address(IPv4Address(0), 0)


class Carrier(TypingProtocol):
    """
    What a session has been opened for: a relay, or an association.

    @ivar meter: how much it may relay; L{None} for all.  It can be set at any time.
    """

    meter: Meter | None

    def begin(self) -> None:
        """
        Begin, after L{clientReceived} has been called with what the client has sent ahead.
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

    @ivar joiner: joins the two sides of a CONNECT or BIND.

    @ivar policy: decides; it may be told to decide otherwise while something is under way.

    @ivar exposed: whether others than this machine can reach the server.
    """

    outgoing: Outgoing
    binder: Binder
    associations: Associations
    sweep: Sweep
    timeouts: Timeouts
    observer: IRelayObserver | None
    ledger: Ledger
    joiner: Joiner
    policy: SelfProtectingPolicy
    exposed: bool = False


@attrs.frozen
class Client:
    """
    Who asks, and from where.

    @ivar identity: who it is.

    @ivar host: where it connects from; L{None} for a UNIX socket.

    @ivar stream: its connection.
    """

    identity: Identity
    host: IPAddress | None
    stream: Stream

    def reached(self) -> Sequence[IPAddress]:
        """
        The addresses at which it may have reached the server, the likeliest first.
        """
        return reachedAddresses(self.stream.transport) or [LOOPBACK]


class Performance:
    """
    One request being done.

    @ivar carrier: the relay or association, once there is one.
    """

    def __init__(
        self,
        means: Means,
        session: Session,
        client: Client,
        request: Request,
        record: Record,
        emit: Emitter,
    ) -> None:
        """
        @param means: what to do it with.

        @param session: hears how it goes.

        @param record: what is known of the session.

        @param emit: logs for the session.
        """
        self.carrier: Carrier | None = None
        self._means = means
        self._session = session
        self._client = client
        self._request = request
        self._emit = emit
        self._record = record
        associating = request.command is _UDP_ASSOCIATE
        destination = None if associating else request.destination
        self._question = record.question = Question(
            client.identity, client.host, request.command, destination, means.exposed
        )
        record.destination = request.destination
        self._listener: Listener | None = None
        self._association: Association | None = None
        self._target: Target | None = None
        self._tap: IRelayTap | None = None
        self._holding: Holding | None = None
        self._version = means.policy.version

    def begin(self) -> Deferred[Any] | None:
        """
        Begin; see L{Hinge.perform <txsocks5.session.Hinge.perform>}.
        """
        command = self._request.command
        if command is _CONNECT:
            return self._connect()
        return self._run(self._bind() if command is _BIND else self._associate())

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
        assert error is not None
        if isinstance(error, CancelledError):
            # What it has come through knows it.
            reason.cleanFailure()
            return
        attempts = error.errors if isinstance(error, ConnectFailed) else (error,)
        for attempt in attempts:
            if not isinstance(attempt, _FORESEEN):
                # Somebody's policy, resolver, dialer or observer is broken; or we are.
                self._emit(events.broken, log_failure=Failure(attempt))
            attempt.__traceback__ = None
        error.__traceback__ = None
        self._session.failed(error)

    def _connect(self) -> Deferred[Any] | None:
        """
        CONNECT: BND is the local end of the new connection (R-1928-44).
        """
        host = self._request.destination.host
        if isinstance(host, str):
            began = self._means.sweep.now()
            finding: Deferred[Any]
            finding = Deferred.fromCoroutine(self._means.outgoing.find(self._question))
            return finding.addCallback(self._reach, began).addErrback(self._failed)
        try:
            reaching = self._reach(self._means.outgoing.decide(self._question, host))
        except BaseException:
            self._failed(Failure())
            return None
        return None if reaching is None else reaching.addErrback(self._failed)

    def _reach(self, admitted: Admitted, began: float | None = None) -> Deferred[None] | None:
        """
        CONNECT, the rest of it.

        @param began: when looking up the name did, if there was one.
        """
        outgoing = self._hold(admitted.verdict).outgoing
        destination = self._request.destination
        reached = self._means.outgoing.reach(admitted, destination, began, outgoing)
        if not isinstance(reached, ConnectedSocket):
            joining: Deferred[None] = reached.addCallback(self._joined, admitted.verdict.reason)
            return joining
        self._target = reached
        self._established(reached.bound, reached.peer, admitted.verdict.reason)
        return None

    async def _bind(self) -> Callable[[], None]:
        """
        BIND, as far as the first reply.
        """
        self._listener = listener = await self._means.binder.listen(
            self._question, self._client.reached(), self._turnedAway, self._hold
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
        return lambda: self._met(peer, address, address, listener.reason)

    async def _associate(self) -> Callable[[], None]:
        """
        UDP ASSOCIATE.  Datagrams come from where the connection does.  A port that the client
        announces for that address is believed; whatever else it announces is not (R-1928-66).
        """
        means = self._means
        verdict = means.outgoing.judge(self._question)
        holding = self._hold(verdict)
        host = self._client.host or LOOPBACK
        announced = self._request.destination
        association = means.associations.open(
            self._question,
            Address(host, announced.port if announced.host == host else 0),
            self._client.reached(),
            self._session.ceased,
            self._client.stream.protection,
            self._observe(),
            holding.outgoing,
        )
        self.carrier = self._association = association
        association.meter = holding.meter
        return lambda: self._established(association.bound, association.bound, verdict.reason)

    def _hold(self, verdict: Verdict) -> Holding:
        """
        Policy has said yes: from now on this counts as a session.

        @return: what it has taken.

        @raise NotAllowed: see L{Ledger.hold}, for this and the other errors.
        """
        self._record.verdict = verdict
        self._holding = holding = self._means.ledger.hold(self._question, verdict.rule, self)
        return holding

    def metered(self, meter: Meter | None) -> None:
        """
        See L{Holder.metered <txsocks5.ledger.Holder.metered>}.
        """
        if self.carrier is not None:
            self.carrier.meter = meter

    def overdrawn(self, reason: str) -> None:
        """
        See L{Holder.overdrawn <txsocks5.ledger.Holder.overdrawn>}.
        """
        self._session.stopped(reason)

    def _turnedAway(self, peer: object, reason: str) -> None:
        """
        A stranger has come to the listener of a BIND.
        """
        self._emit(events.stranger, peer=str(peer), reason=reason)

    def _joined(self, target: Target, why: str) -> None:
        """
        CONNECT: the target is there.
        """
        if isinstance(target, ConnectedSocket):
            self._met(target, target.bound, target.peer, why)
        else:
            transport = target.stream.transport
            bound, peer = _internet(transport.getHost()), _internet(transport.getPeer())
            self._met(target, bound, peer, why)

    def _met(self, target: Target, bound: Address, peer: Address, why: str) -> None:
        """
        The other side of the relay is there.
        """
        self._target = target
        self._established(bound, peer, why)

    def _established(self, bound: Address, reached: Address, why: str) -> None:
        """
        The command has been done.
        """
        self._record.reached, self._record.reason = reached, why
        if self._version != self._means.policy.version:
            self._judgeAgain(reached)
        self._session.established(bound)

    def _judgeAgain(self, reached: Address) -> None:
        """
        Policy has become another one while this was under way.

        @raise NotAllowed: the new one says no.
        """
        self._means.outgoing.judge(self._question)
        if self._question.destination is not None and not isinstance(reached.host, str):
            verdict = self._means.policy.judgeAddress(self._question, reached.host)
            if not verdict.allowed:
                raise NotAllowed(verdict.reason)

    def review(self) -> None:
        """
        Policy has become another one: the destinations of an association are judged anew.
        """
        if self._association is not None:
            self._association.review()

    def _observe(self) -> IRelayTap | None:
        """
        Ask the observer whether it looks at this session.
        """
        if self._means.observer is not None:
            self._tap = self._means.observer.began(self._question)
        return self._tap

    def relay(self) -> Carrier:
        """
        Make what relays.

        @return: it, to be begun.
        """
        if self._target is not None:
            peer = self._record.reached
            assert peer is not None
            self.carrier = self._means.joiner.join(
                self._client.stream,
                self._target,
                peer,
                self._session.relayed,
                None if self._means.observer is None else self._observe(),
                None if self._holding is None else self._holding.meter,
            )
            self._target = None
        assert self.carrier is not None
        return self.carrier

    def end(self) -> None:
        """
        The session is over.
        """
        record = self._record
        if self.carrier is not None:
            record.fromClient = self.carrier.fromClient
            record.toClient = self.carrier.toClient
            record.dropped = self.carrier.dropped
            # It may know us, by way of its peer and the port that let that in.
            self.carrier = None
        elif self._target is not None:
            # It has come too late.
            if isinstance(self._target, ConnectedSocket):
                self._target.close(reset=True)
            else:
                self._target.stream.abort()
        if self._holding is not None:
            self._holding.release()
            self._holding = None
        # These belong to us as long as the session has not come to the point of using them.
        if self._listener is not None:
            # It knows us.
            listener, self._listener = self._listener, None
            listener.close()
        if self._association is not None:
            self._association.close()
        if self._tap is not None:
            try:
                self._tap.ended(record.fromClient, record.toClient)
            except Exception:
                self._emit(events.broken, log_failure=Failure())


def _internet(address: IAddress) -> Address:
    """
    The address of a connection, or C{0.0.0.0:0} for one that a dialer made of something else
    than TCP.
    """
    return local.addressOf(address) or _NOWHERE

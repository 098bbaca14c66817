"""
The hinge between a client's transport and everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from ipaddress import IPv4Address
from itertools import count
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from . import events, local
from .associate import Associations
from .auth import Anonymous
from .bind import Binder, Listener
from .config import Network, Timeouts
from .errors import ProtocolError, ReplyCode, SOCKSError, replyCodeOf
from .interfaces import (
    Accepted,
    IAuthenticator,
    IConversation,
    Identity,
    IDialer,
    IPolicy,
    IProtection,
    IRelayObserver,
    IRelayTap,
    IResolver,
    ISOCKSReactor,
    Question,
    Refused,
    Step,
)
from .linger import Linger
from .outgoing import Outgoing, SystemResolver, TCPDialer
from .policy import DefaultPolicy, SelfProtectingPolicy
from .relay import CopyingRelay
from .session import Core, SessionMachine
from .stream import Stream, TargetProtocol
from .sweep import Sweep
from .wire import (
    NO_ACCEPTABLE_METHOD,
    Address,
    Command,
    Greeting,
    IPAddress,
    Method,
    Reply,
    Request,
    Selection,
)

__all__ = ["SOCKS5Factory", "SOCKS5Protocol"]

_MAX_AHEAD = 64 * 1024
"""
Octets that a client may send ahead of what the server is ready for; then it is not read.
"""

_MAX_MESSAGE = 65539
"""
The longest message of any method's conversation: RFC 1961's frames.
"""

_LOOPBACK = IPv4Address("127.0.0.1")
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


@implementer(IHalfCloseableProtocol)
class SOCKS5Protocol(Protocol):
    """
    One client's connection.  It reads what the L{Session <txsocks5.session.Session>} waits for,
    tells it, and carries out what it decides; it is that machine's L{Hinge
    <txsocks5.session.Hinge>}.
    """

    factory: SOCKS5Factory

    _log = Logger()

    def __init__(self, factory: SOCKS5Factory) -> None:
        self.factory = factory
        self.number = next(factory.numbers)
        self._session = SessionMachine(Core(self, factory.authenticators, self._permitted))
        # What has come and not been read; and what reads it, or None while nothing is due.
        self._ahead = b""
        self._read: Callable[[], bool] | None = self._readGreeting
        self._take: Callable[[bytes], None] = self._gather
        self._finished = False
        self._client: Address | None = None
        self._identity = Identity("", NO_ACCEPTABLE_METHOD)
        self._protection: IProtection | None = None
        self._conversation: IConversation | None = None
        self._step: Deferred[None] | None = None
        self._request: Request | None = None
        self._question: Question | None = None
        self._target: TargetProtocol | None = None
        self._listener: Listener | None = None
        self._carrier: Carrier | None = None
        self._tap: IRelayTap | None = None
        self._linger: Linger | None = None
        self._why = ""
        self._began = False

    # What the transport says

    def connectionMade(self) -> None:
        """
        A client has connected.
        """
        assert self.transport is not None
        self.factory.sessions.add(self)
        self._stream = Stream(self.transport)
        clock = self.factory.reactor
        self._opened = clock.seconds()
        self._deadline: IDelayedCall | None = None
        if self.factory.timeouts.handshake:
            self._deadline = clock.callLater(
                self.factory.timeouts.handshake, self._session.expired
            )
        if isinstance(self.transport, ProtocolWrapper):
            self._lookThrough(self.transport)
        else:
            self._begin()

    def _lookThrough(self, wrapper: ProtocolWrapper) -> None:
        """
        Something stands between the socket and us, C{haproxy:} for one.  It may know the real
        peer only once it has read its header, so asking waits for the first octets.

        Twisted's wrappers do not pass on a half-close; where there is no TLS, this makes them.
        """
        if not ISSLTransport.providedBy(wrapper):
            wrapper.readConnectionLost = self.readConnectionLost
            wrapper.writeConnectionLost = self.writeConnectionLost
            alsoProvides(wrapper, IHalfCloseableProtocol)

    def _begin(self) -> None:
        """
        Now it is known who the client is.
        """
        assert self.transport is not None
        self._began = True
        self._client = local.addressOf(self.transport.getPeer())
        client = "unix" if self._client is None else str(self._client)
        self._emit(events.opened, client=client)

    def dataReceived(self, data: bytes) -> None:
        """
        Octets have come.
        """
        if not self._began:
            self._begin()
        if self._protection is not None and self._linger is None:
            try:
                data = self._protection.unwrap(data)
            except ProtocolError as error:
                self._session.distrusted(error)
                return
        if data:
            self._take(data)

    def readConnectionLost(self) -> None:
        """
        The client has sent FIN.
        """
        self._finished = True
        self._stream.exhausted()
        if self._linger is not None:
            self._linger.finished()
            return
        if self._protection is not None:
            try:
                self._protection.finished()
            except ProtocolError as error:
                self._session.distrusted(error)
                return
        if self._request is not None:
            self._session.clientFinished()
        elif self._read is not None:
            self._session.truncated()

    def writeConnectionLost(self) -> None:
        """
        Our FIN is on its way; nothing depends on it.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        if not self._began:
            self._begin()
        if self._carrier is not None:
            self._carrier.clientLost(reason)
        self._session.lost(reason.getErrorMessage())

    # What the client says

    def _gather(self, data: bytes) -> None:
        """
        Keep octets until they are read.
        """
        self._ahead += data
        self._advance()

    def _advance(self) -> None:
        """
        Read as many messages as there are.
        """
        while self._read is not None and self._read():
            pass
        if self._read is None:
            if len(self._ahead) >= _MAX_AHEAD:
                self._stream.pauseReading()
        elif self._finished:
            self._session.truncated()

    def _consume(self, octets: int) -> None:
        """
        Some of the octets have been read.
        """
        self._ahead = self._ahead[octets:]

    def _readGreeting(self) -> bool:
        try:
            message = Greeting.read(self._ahead)
        except ProtocolError as error:
            self._malformed(error)
            return False
        if message is None:
            return False
        greeting, consumed = message
        self._consume(consumed)
        self._session.greeted(greeting)
        return True

    def _converse(self) -> bool:
        """
        Let the conversation go on.
        """
        assert self._conversation is not None
        try:
            step = self._conversation.received(self._ahead)
        except ProtocolError as error:
            self._malformed(error)
            return False
        except Exception:
            self._brokenConversation(Failure())
            return False
        if step is None:
            if len(self._ahead) > _MAX_MESSAGE:
                self._malformed(ProtocolError("a message of the method is too long"))
            return False
        if not isinstance(step, Deferred):
            return self._takeStep(step)
        # Nothing is read before it fires.
        self._read = None
        self._step = step.addCallbacks(self._resume, self._brokenConversation)
        return False

    def _resume(self, step: Step) -> None:
        """
        The conversation has made up its mind.
        """
        self._step = None
        self._read = self._converse
        self._stream.resumeReading()
        if self._takeStep(step) or self._finished:
            self._advance()

    def _brokenConversation(self, reason: Failure) -> None:
        """
        The conversation has failed: refuse the client without a word.
        """
        self._step = None
        if reason.check(CancelledError):
            return
        if reason.check(ProtocolError) is None:
            self._emit(events.broken, log_failure=reason)
        self._malformed(ProtocolError("the method's conversation failed"))

    def _takeStep(self, step: Step) -> bool:
        """
        Do what the conversation says.

        @return: whether to look for another message.
        """
        self._consume(step.consumed)
        if step.send:
            self._stream.write(step.send)
        if isinstance(step.outcome, Refused):
            self._emit(
                events.unauthenticated, reason=step.outcome.reason, user=step.outcome.username
            )
            self._session.refused(step.outcome)
            return False
        if isinstance(step.outcome, Accepted):
            self._session.accepted(step.outcome)
            if self._protection is None:
                return True
            # What has come ahead is protected already.
            ahead, self._ahead = self._ahead, b""
            self.dataReceived(ahead)
            return False
        return bool(step.consumed and self._ahead)

    def _readRequest(self) -> bool:
        network = self.factory.network
        try:
            message = Request.read(self._ahead, commands=network.commands, strict=network.strict)
        except ProtocolError as error:
            self._session.malformed(error)
            return False
        if message is None:
            return False
        self._request, consumed = message
        self._consume(consumed)
        self._read = None
        self._session.requested(self._request)
        if self._finished:
            self._session.clientFinished()
        return False

    def _malformed(self, error: ProtocolError) -> None:
        """
        The client does not speak the protocol.
        """
        self._emit(events.malformed, reason=str(error))
        self._session.malformed(error)

    # What the session decides

    def _permitted(self, method: int) -> bool:
        """
        Whether the client may use a method.
        """
        if method != Method.NONE:
            return True
        host = None if self._client is None else self._client.host
        assert not isinstance(host, str)
        verdict = self.factory.policy.judgeClient(host)
        if not verdict.allowed:
            self._emit(events.unauthenticated, reason=verdict.reason, user="")
        return verdict.allowed

    def select(self, authenticator: IAuthenticator) -> None:
        """
        Select a method; see L{Hinge.select <txsocks5.session.Hinge.select>}.
        """
        host = None if self._client is None else self._client.host
        assert not isinstance(host, str)
        self._stream.write(Selection(authenticator.method).octets())
        self._conversation = authenticator.conversation(host)
        self._read = self._converse

    def refuseMethods(self) -> None:
        """
        No method will do.
        """
        self._emit(events.unauthenticated, reason="no acceptable method offered", user="")
        self._stream.write(Selection(NO_ACCEPTABLE_METHOD).octets())
        self.end("no acceptable method")

    def awaitRequest(self, accepted: Accepted) -> None:
        """
        Read the request, in the protection agreed on.
        """
        self._identity = accepted.identity
        self._emit(
            events.authenticated, user=accepted.identity.name, method=accepted.identity.method
        )
        self._read = self._readRequest
        self._protection = self._stream.protection = accepted.protection

    def perform(self, request: Request) -> Deferred[None]:
        """
        Do what is asked for.
        """
        self._stopDeadline()
        associating = request.command is Command.UDP_ASSOCIATE
        host = None if self._client is None else self._client.host
        assert not isinstance(host, str)
        self._question = Question(
            self._identity, host, request.command, None if associating else request.destination
        )
        if request.command is Command.CONNECT:
            return self._work(self._connect(self._question))
        if request.command is Command.BIND:
            return self._work(self._bind(self._question))
        return self._work(self._associate(self._question))

    def _work(self, command: Coroutine[Any, Any, Callable[[], None]]) -> Deferred[None]:
        """
        Run a command, and tell the session when it has ended: not sooner, so that the session
        may cancel it at any time.

        @param command: ends with what is to be called then.
        """
        return (
            Deferred.fromCoroutine(command)
            .addCallback(lambda then: then())
            .addErrback(self._commandFailed)
        )

    def _commandFailed(self, reason: Failure) -> None:
        """
        A command has failed, or has been cancelled.
        """
        if reason.check(CancelledError):
            return
        if reason.check(SOCKSError, ConnectError, CannotListenError, OSError) is None:
            self._emit(events.broken, log_failure=reason)
        assert reason.value is not None
        self._session.failed(reason.value)

    async def _connect(self, question: Question) -> Callable[[], None]:
        target, why = await self.factory.outgoing.connect(question)
        assert target.transport is not None
        bound = local.addressOf(target.transport.getHost())
        return lambda: self._joined(target, bound or _NOWHERE, why)

    async def _bind(self, question: Question) -> Callable[[], None]:
        reached = self._reached()[0]
        listener = await self.factory.binder.listen(question, reached, self._turnedAway)
        self._listener = listener
        return lambda: self._session.listening(listener.bound)

    def awaitPeer(self) -> Deferred[None]:
        """
        BIND: wait for the peer.
        """
        assert self._listener is not None
        return self._work(self._letIn(self._listener))

    async def _letIn(self, listener: Listener) -> Callable[[], None]:
        peer = await listener.peer()
        assert peer.transport is not None
        address = local.addressOf(peer.transport.getPeer())
        return lambda: self._joined(peer, address or _NOWHERE, listener.reason)

    async def _associate(self, question: Question) -> Callable[[], None]:
        assert self._request is not None
        why = self.factory.outgoing.judge(question).reason
        # Datagrams come from where the connection does; a port that the client announces for
        # that address is believed, anything else that it announces is not (R-1928-66).
        host = _LOOPBACK if self._client is None else self._client.host
        announced = self._request.destination
        association = self.factory.associations.open(
            question,
            Address(host, announced.port if announced.host == host else 0),
            self._reached(),
            self._session.ceased,
            self._protection,
            self._observe(),
        )
        self._carrier = association
        return lambda: self._established(association.bound, why)

    def _reached(self) -> list[IPAddress]:
        """
        The addresses at which the client may have reached the server.  Behind a PROXY header the
        first is what that says, and the second what the system says.
        """
        assert self.transport is not None
        addresses = [local.addressOf(self.transport.getHost())]
        if isinstance(self.transport, ProtocolWrapper):
            addresses.append(local.addressOf(self.transport.transport.getHost()))
        found = [address.host for address in addresses if address is not None]
        hosts = [host for host in dict.fromkeys(found) if not isinstance(host, str)]
        # Whoever comes through a UNIX socket is on this machine.
        return hosts or [_LOOPBACK]

    def _turnedAway(self, peer: object, reason: str) -> None:
        """
        A stranger has come to the listener of a BIND.
        """
        self._emit(events.stranger, peer=str(peer), reason=reason)

    def _joined(self, target: TargetProtocol, address: Address, why: str) -> None:
        """
        The other side of the relay is there.
        """
        self._target = target
        self._established(address, why)

    def _established(self, address: Address, why: str) -> None:
        """
        The command has been done.
        """
        self._emit(events.granted, reason=why, address=str(address), **self._asked())
        self._session.established(address)

    def _asked(self) -> dict[str, str]:
        """
        The fields of log events that tell the request.
        """
        if self._request is None:
            return {"command": "", "destination": ""}
        return {
            "command": self._request.command.name,
            "destination": str(self._request.destination),
        }

    def _observe(self) -> IRelayTap | None:
        """
        Ask the observer whether it looks at this session.
        """
        assert self._question is not None
        observer = self.factory.observer
        self._tap = None if observer is None else observer.began(self._question)
        return self._tap

    def replyListening(self, bound: Address) -> None:
        """
        BIND: send the first reply.
        """
        self._emit(events.awaiting, destination=self._asked()["destination"], address=str(bound))
        self._stream.write(Reply(ReplyCode.SUCCEEDED, bound).octets())

    def replySucceeded(self, bound: Address) -> None:
        """
        Send the reply that all is in place.
        """
        self._stream.write(Reply(ReplyCode.SUCCEEDED, bound).octets())

    def replyFailed(self, error: BaseException) -> None:
        """
        Send the reply that tells of an error.
        """
        code = replyCodeOf(error)
        self._emit(
            events.refused, reply=int(code), reason=str(error) or repr(error), **self._asked()
        )
        self._stream.write(Reply(code).octets())
        self.end(f"refused with REP {int(code):02x}")

    def relay(self) -> None:
        """
        Begin to relay.  What the client has sent ahead goes first.
        """
        if self._target is not None:
            peer = local.addressOf(self._target.stream.transport.getPeer())
            self._carrier = self.factory.relay(
                self._stream,
                self._target,
                self.factory.sweep,
                self.factory.timeouts,
                self._session.relayed,
                self._observe(),
                peer,
            )
        assert self._carrier is not None
        self._take = self._carrier.clientReceived
        ahead, self._ahead = self._ahead, b""
        if not self._stream.blocked:
            self._stream.resumeReading()
        if ahead:
            self._take(ahead)

    def finishClient(self) -> None:
        """
        Pass the client's FIN on.
        """
        assert self._carrier is not None
        self._carrier.clientFinished()

    def end(self, reason: str) -> None:
        """
        FIN, and a decent time for the client to close.
        """
        self._endReading(reason)
        self._linger = Linger(self._stream, self.factory.reactor, self.factory.timeouts.linger)
        self._take = self._linger.received
        if self._finished:
            self._linger.finished()

    def flush(self, reason: str) -> None:
        """
        The relay closes the connection.
        """
        self._endReading(reason)

    def abort(self, reason: str) -> None:
        """
        End both sides at once.
        """
        self._endReading(reason)
        if self._carrier is not None:
            self._carrier.abort(reason)
        self._stream.abort()

    def _endReading(self, reason: str) -> None:
        """
        From now on nothing that the client sends means anything (S-24).
        """
        self._why = self._why or reason
        self._stopDeadline()
        self._read = None
        self._take = _ignore
        self._ahead = b""
        step, self._step = self._step, None
        if step is not None:
            step.cancel()

    def _stopDeadline(self) -> None:
        """
        The handshake is over.
        """
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def release(self, reason: str) -> None:
        """
        The connection is gone.
        """
        self._endReading(reason)
        if self._linger is not None:
            self._linger.release()
        if self._conversation is not None:
            self._conversation.close()
        if self._protection is not None:
            self._protection.close()
        carrier = self._carrier
        fromClient, toClient, dropped = (
            (carrier.fromClient, carrier.toClient, carrier.dropped) if carrier else (0, 0, 0)
        )
        if self._tap is not None:
            self._tap.ended(fromClient, toClient)
        self._emit(
            events.closed,
            duration=self.factory.reactor.seconds() - self._opened,
            reason=self._why,
            fromClient=fromClient,
            toClient=toClient,
            dropped=dropped,
        )
        self.factory.forget(self)

    def stop(self) -> None:
        """
        The server stops.
        """
        self._session.stopped("server stopped")

    def _emit(self, event: events.Event, **fields: object) -> None:
        """
        Log something about this session.
        """
        event.emit(self._log, session=self.number, **fields)


def _ignore(data: bytes) -> None:
    """
    Octets that no longer mean anything.
    """


class SOCKS5Factory(Factory):
    """
    Builds the protocol of each client, and holds what they share.

    @ivar listeners: where this server listens.  L{SOCKS5Service <txsocks5.SOCKS5Service>} fills
        it; whoever listens by other means adds the addresses, so that nobody reaches the server
        through itself (S-18).

    @ivar sessions: the clients that are connected.

    @ivar relay: joins the two sides of a CONNECT or BIND; see L{CopyingRelay}.
    """

    noisy = False
    protocol = SOCKS5Protocol
    relay: Callable[..., Carrier] = CopyingRelay

    def __init__(
        self,
        reactor: Any,
        *,
        authenticators: Iterable[IAuthenticator] = (Anonymous(),),
        policy: IPolicy | None = None,
        resolver: IResolver | None = None,
        dialer: IDialer | None = None,
        observer: IRelayObserver | None = None,
        network: Network = Network(),
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        """
        @param reactor: provides what L{ISOCKSReactor} lists.

        @param authenticators: the methods, in the order in which the server prefers them.

        @param policy: who may do what.  The default is that of an exposed server: whoever has
            not authenticated is refused, and so are addresses that only the server can see.

        @param resolver: names to addresses; by default the reactor's name resolver.

        @param dialer: addresses to connections; by default L{TCPDialer}.

        @param observer: looks on while data are relayed.

        @raise ValueError: two authenticators have the same method, or one has none that a client
            could select.
        """
        self.reactor: ISOCKSReactor = reactor
        self.network = network
        self.timeouts = timeouts
        self.observer = observer
        self.listeners: set[Address] = set()
        self.sessions: set[SOCKS5Protocol] = set()
        self.numbers = count(1)
        self.authenticators = _byMethod(authenticators)
        self.policy: IPolicy = SelfProtectingPolicy(policy or DefaultPolicy(), self.listeners)
        self.sweep = Sweep(reactor)
        self.outgoing = Outgoing(
            reactor,
            self.policy,
            resolver or SystemResolver(reactor.nameResolver),
            dialer or TCPDialer(reactor, network.outgoing),
            network,
            timeouts,
        )
        self.binder = Binder(reactor, self.outgoing, self.policy, network, timeouts)
        self.associations = Associations(reactor, self.outgoing, network, timeouts, self.sweep)
        self._idle: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> SOCKS5Protocol:
        """
        A client has connected.
        """
        return self.protocol(self)

    def forget(self, session: SOCKS5Protocol) -> None:
        """
        A session has ended.
        """
        self.sessions.discard(session)
        if not self.sessions and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def stopSessions(self) -> Deferred[None]:
        """
        End all sessions, and visibly so: both sides are reset.

        @return: a Deferred that fires when there is none left.
        """
        if not self.sessions:
            return succeed(None)
        self._idle = self._idle or Deferred()
        idle = self._idle
        for session in list(self.sessions):
            session.stop()
        return idle


def _byMethod(authenticators: Iterable[IAuthenticator]) -> dict[int, IAuthenticator]:
    """
    The authenticators by method number, in their order.

    @raise ValueError: see L{SOCKS5Factory}.
    """
    found: dict[int, IAuthenticator] = {}
    for authenticator in authenticators:
        number = authenticator.method
        if not 0 <= number < NO_ACCEPTABLE_METHOD:
            raise ValueError(f"{authenticator!r}: there is no method {number}")
        if number in found:
            raise ValueError(f"{authenticator!r} and {found[number]!r} have the same method")
        found[number] = authenticator
    return found

"""
The hinge between a client's transport and everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any, TypeVar

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from . import events, local
from .acceptor import Acceptor
from .associate import Associations
from .auth import Anonymous, byMethod
from .bind import Binder
from .commands import Carrier, Client, Means, Performance
from .config import Group, Limits, Network, Rule, Timeouts, User
from .deadlines import Deadlines
from .dialer import SocketDialer
from .errors import OverLimit, Overloaded, ProtocolError, ReplyCode, reasonOf, replyCodeOf
from .handshake import Handshake
from .interfaces import (
    Accepted,
    IAuthenticator,
    Identity,
    IDialer,
    IJournal,
    IPolicy,
    IProtection,
    IRelayObserver,
    IResolver,
    IRevoking,
    ISOCKSReactor,
    Question,
    Record,
)
from .joiner import Joiner
from .journal import EventJournal
from .junction import Junction
from .ledger import Ledger
from .linger import Linger
from .outgoing import Outgoing, TCPDialer
from .pipes import PipePool
from .policy import DefaultPolicy, SelfProtectingPolicy
from .session import SessionMachine
from .slices import inSlices
from .socketstream import SocketStream
from .stream import endedWell, streamOf
from .sweep import Sweep
from .systemresolver import SystemResolver
from .wire import (
    NO_ACCEPTABLE_METHOD,
    Address,
    IPAddress,
    Method,
    Reply,
    Request,
    Selection,
)
from .wrapped import isNowhere, knowsClient, passHalfClose

__all__ = ["SOCKS5Factory", "SOCKS5Protocol"]

_T = TypeVar("_T")

_PLAIN_PORTS = (tcp.Port, unix.Port)
_NOBODY = Identity("", NO_ACCEPTABLE_METHOD)
_GONE = "the user is gone"
# Looked up in the module, they take a tenth of what they take in the enumeration.
_SUCCEEDED = ReplyCode.SUCCEEDED
_NONE = Method.NONE
_SELECTIONS = [Selection(method).octets() for method in range(256)]


@implementer(IHalfCloseableProtocol)
class SOCKS5Protocol(Protocol):
    """
    One client's connection.  It passes what the client says to the L{Handshake} or the relay, and
    carries out what the L{Session <txsocks5.session.Session>} decides: it is that machine's
    L{Hinge <txsocks5.session.Hinge>}.
    """

    factory: SOCKS5Factory

    _log = Logger()

    # What most sessions do not change, or not before they relay, is the class's.
    _identity = _NOBODY
    _protection: IProtection | None = None
    _performance: Performance | None = None
    _carrier: Carrier | None = None
    _linger: Linger | None = None
    # Where the client connects from; None for a UNIX socket.
    _host: IPAddress | None = None
    _begun = False
    _deadlines: Deadlines | None = None
    # That of policy when the client began to authenticate.
    _version = 0
    # What counts this connection among those that have not said yet what they want; and whether it
    # was turned away for it.
    _entry = b""
    _turnedAway = False
    _unacceptable = "no acceptable method offered"

    def __init__(self, factory: SOCKS5Factory) -> None:
        self.factory = factory
        self.record = Record(next(factory.numbers), factory.reactor.seconds())
        self._session = SessionMachine(self, factory.authenticators, self._permitted)

    # What the transport says

    def connectionMade(self) -> None:
        """
        A client has connected.
        """
        assert self.transport is not None
        factory = self.factory
        factory.sessions.add(self)
        self._stream = streamOf(self.transport)
        self._handshake: Handshake | None = Handshake(
            self._session,
            self._stream,
            factory.network,
            factory.means.sweep,
            self._emit,
            self._open,
        )
        self._take = self._handshake.received
        # A reload makes others, and these stay ours.
        self._deadlines = factory.deadlines
        self._deadlines.set(self._session.expired)
        if isinstance(self._stream, SocketStream):
            self._begin()
            return
        if isinstance(self.transport, ProtocolWrapper):
            passHalfClose(self.transport, self)
        if knowsClient(self.transport):
            self._begin()

    def _begin(self) -> None:
        """
        Now it is known who the client is.  What stands between the socket and us, C{haproxy:} for
        one, may know that only when the first octets have come.
        """
        assert self.transport is not None
        self._begun = True
        stream = self._stream
        if isinstance(stream, SocketStream):
            client = stream.peer()
        else:
            client = local.addressOf(self.transport.getPeer())
        self.record.client = client
        if client is not None:
            assert not isinstance(client.host, str)
            self._host = client.host
        try:
            self._entry = self.factory.means.ledger.enter(self._host)
        except OverLimit as error:
            # One of many, perhaps: it is logged with the others, and not by itself.
            self._turnedAway = True
            self._session.stopped(str(error))
            return
        self.factory.journal.opened(self.record)
        if client is None and isNowhere(self.transport):
            self._session.stopped("the PROXY header tells no internet address")

    def dataReceived(self, data: bytes) -> None:
        """
        Octets have come.
        """
        if not self._begun:
            self._begin()
        if self._protection is not None:
            self._open(data, False)
        else:
            self._take(data)

    def _open(self, data: bytes, finished: bool) -> None:
        """
        Octets have come that are protected.

        @param finished: there will be no more.
        """
        assert self._protection is not None
        try:
            data = self._protection.unwrap(data)
            if finished:
                self._protection.finished()
        except ProtocolError as error:
            self._session.distrusted(error)
            return
        if data:
            self._take(data)

    def readConnectionLost(self) -> None:
        """
        The client has sent FIN.
        """
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
        if self._handshake is not None:
            self._handshake.finished()
        else:
            self._session.clientFinished()

    def writeConnectionLost(self) -> None:
        """
        Our FIN is on its way; nothing depends on it.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        self._stream.lost()
        if not self._begun:
            self._begin()
        if self._carrier is not None:
            self._carrier.clientLost(reason)
        assert reason.value is not None
        self._session.lost("closed" if endedWell(reason) else reasonOf(reason.value))

    # What the session decides

    def _permitted(self, method: int) -> bool:
        """
        Whether the client may use a method.
        """
        if method != _NONE:
            return True
        verdict = self.factory.policy.judgeClient(self._host)
        if not verdict.allowed:
            self._unacceptable = verdict.reason
        return verdict.allowed

    def select(self, authenticator: IAuthenticator) -> None:
        """
        Select a method.
        """
        self._version = self.factory.policy.version
        self._say(_SELECTIONS[authenticator.method])
        try:
            conversation = authenticator.conversation(self._host)
        except Exception:
            self._emit(events.broken, log_failure=Failure())
            self._session.malformed(ProtocolError("the method's conversation did not begin"))
        else:
            assert self._handshake is not None
            self._handshake.converse(conversation)

    def refuseMethods(self) -> None:
        """
        No method will do.
        """
        self._emit(events.unauthenticated, reason=self._unacceptable, user="")
        self._say(_SELECTIONS[NO_ACCEPTABLE_METHOD])
        self.end("no acceptable method", self._unacceptable)

    def awaitRequest(self, accepted: Accepted) -> None:
        """
        Read the request, in the protection agreed on.
        """
        identity = self._identity = accepted.identity
        self.record.user, self.record.method = identity.name, identity.method
        self._protection = self._stream.protection = accepted.protection
        factory = self.factory
        if self._version != factory.policy.version and not factory.stands(identity, self._host):
            # It was found out by an authenticator that is gone.
            self.stop(_GONE)
            return
        factory.journal.authenticated(self.record)
        assert self._handshake is not None
        self._handshake.awaitRequest()

    def perform(self, request: Request) -> Deferred[None] | None:
        """
        Do what is asked for.
        """
        self._stopDeadline()
        if self._entry:
            self._leave()
        client = Client(self._identity, self._host, self._stream)
        self._performance = Performance(
            self.factory.means, self._session, client, request, self.record, self._emit
        )
        return self._performance.begin()

    def awaitPeer(self) -> Deferred[None]:
        """
        BIND: wait for the peer.
        """
        assert self._performance is not None
        return self._performance.awaitPeer()

    def replySucceeded(self, bound: Address) -> None:
        """
        Send a reply that all is in place.
        """
        self.record.reply = _SUCCEEDED
        self._say(Reply(_SUCCEEDED, bound).octets())
        self.factory.journal.granted(self.record)

    def replyListening(self, bound: Address) -> None:
        """
        Send the first of the replies to BIND.
        """
        self._say(Reply(_SUCCEEDED, bound).octets())

    def replyFailed(self, error: BaseException) -> None:
        """
        Send the reply that tells of an error.
        """
        code = replyCodeOf(error)
        record = self.record
        record.reply, record.reason = int(code), reasonOf(error)
        self._emit(
            events.refused,
            command=record.command,
            destination="" if record.destination is None else str(record.destination),
            reply=int(code),
            reason=record.reason,
        )
        self._say(Reply(code).octets())
        self.end(f"refused with REP {int(code)}")

    def relay(self) -> None:
        """
        Begin to relay.  What the client has sent ahead goes first.
        """
        assert self._performance is not None
        # Before there is a relay, which stops it again if the target takes no more.
        self._stream.resumeReading()
        assert self._handshake is not None
        ahead = self._handshake.takeAhead()
        # What only the handshake needs is not kept while relaying, which may be for days.
        self._handshake = None
        self._carrier = carrier = self._performance.relay()
        self._take = carrier.clientReceived
        if ahead:
            carrier.clientReceived(ahead)
        # It may be over by now.
        carrier.begin()

    def finishClient(self) -> None:
        """
        Pass the client's FIN on.
        """
        assert self._carrier is not None
        self._carrier.clientFinished()

    def end(self, reason: str, why: str = "") -> None:
        """
        FIN, and a decent time for the client to close.
        """
        self.record.reason = self.record.reason or why
        self.flush(reason)
        self._protection = None
        self._linger = Linger(self._stream, self.factory.reactor, self.factory.timeouts.linger)
        self._take = self._linger.received

    def flush(self, reason: str) -> None:
        """
        Nothing that the client sends from now on means anything.
        """
        self.record.ended = self.record.ended or reason
        if self._deadlines is not None:
            self._stopDeadline()
        if self._handshake is not None:
            self._handshake.stop()
            self._handshake = None
        self._take = _ignore

    def abort(self, reason: str) -> None:
        """
        End both sides at once.
        """
        self.flush(reason)
        if self._carrier is not None:
            self._carrier.abort(reason)
        self._stream.abort()

    def release(self, reason: str) -> None:
        """
        The connection is gone.
        """
        self.flush(reason)
        if self._linger is not None:
            self._linger.release()
        if self._stream.protection is not None:
            try:
                self._stream.protection.close()
            except Exception:
                self._emit(events.broken, log_failure=Failure())
        if self._performance is not None:
            self._performance.end()
        if self._entry:
            self._leave()
        if not self._turnedAway:
            self.record.duration = self.factory.reactor.seconds() - self.record.opened
            self.record.reason = self.record.reason or self.record.ended
            self.factory.journal.closed(self.record)
        self.factory.forget(self)
        # These refer back to us: without them the memory of ten thousand sessions that end at
        # once is free at once, and not when the garbage collector comes by.
        del self._session, self._take
        self._performance = self._carrier = self._linger = None

    @property
    def isServed(self) -> bool:
        """
        Whether the client has made its request.
        """
        return self.record.question is not None

    def stop(self, reason: str = "server stopped") -> None:
        """
        The server has no more for this client.
        """
        self._session.stopped(reason)

    def review(self) -> bool:
        """
        Others may be allowed to do other things than before: end, if this is not allowed any more.

        @return: whether it has.
        """
        question = self.record.question
        if question is None:
            # Policy is asked when the request comes; but who this is may be known already.
            gone = not self.factory.stands(self._identity, self._host)
            if gone:
                self.stop(_GONE)
            return gone
        try:
            refusal = self.factory.refusal(question, self.record.reached)
        except Overloaded:
            # Which does not make it forbidden.
            refusal = ""
        if refusal:
            self.stop(f"no longer allowed: {refusal}")
        elif self._performance is not None:
            self._performance.review()
        return bool(refusal)

    def arrivedAt(self) -> Address | None:
        """
        This end of the connection, whatever a PROXY header says; L{None} for a UNIX socket.
        """
        transport: Any = self.transport
        while isinstance(transport, ProtocolWrapper):
            transport = transport.transport
        return local.addressOf(transport.getHost())

    def broke(self) -> None:
        """
        Ending this session, or judging it anew, has failed: log it, and reset the connection.
        """
        self._emit(events.broken, log_failure=Failure())
        self._stream.abort()

    def _say(self, message: bytes) -> None:
        """
        Send a message of the server: in one write, with nothing else (R-1928-02).  If its
        protection fails there is nothing left to say, and the connection is reset.
        """
        try:
            self._stream.write(message)
        except Exception:
            self._emit(events.broken, log_failure=Failure())
            self._stream.abort()

    def _stopDeadline(self) -> None:
        """
        The handshake is over.
        """
        deadlines, self._deadlines = self._deadlines, None
        assert deadlines is not None
        deadlines.lift(self._session.expired)

    def _leave(self) -> None:
        """
        This connection is none of those any more that have not said what they want.
        """
        entry, self._entry = self._entry, b""
        self.factory.means.ledger.leave(entry)

    def _emit(self, event: events.Event, **fields: object) -> None:
        """
        Log something about this session.
        """
        event.emit(self._log, session=self.record.session, **fields)


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

    @ivar means: what the commands are done with.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        *,
        authenticators: Iterable[IAuthenticator] = (Anonymous(),),
        policy: IPolicy | None = None,
        resolver: IResolver | None = None,
        dialer: IDialer | None = None,
        observer: IRelayObserver | None = None,
        ledger: Ledger | None = None,
        network: Network | None = None,
        timeouts: Timeouts | None = None,
        journal: IJournal | None = None,
        exposed: bool = False,
    ) -> None:
        """
        @param reactor: provides what L{ISOCKSReactor} lists.

        @param authenticators: the methods, in the order in which the server prefers them.

        @param policy: who may do what.  The default is that of an exposed server: whoever has
            not authenticated is refused, and so are addresses that only the server can see.

        @param resolver: names to addresses; by default the reactor's name resolver.

        @param dialer: addresses to connections; by default L{TCPDialer}.

        @param observer: looks on while data are relayed.

        @param ledger: holds the clients to their limits; by default, those of L{Limits
            <txsocks5.config.Limits>}.

        @param network: how the server meets the network.

        @param timeouts: how long things may take.

        @param journal: writes down what happens to sessions; by default the log of Twisted.

        @param exposed: whether others than this machine can reach the server, for L{Question
            <txsocks5.interfaces.Question.exposed>}s to policy after it has become a local one.

        @raise ValueError: two authenticators have the same method, or one has none that a client
            could select.
        """
        self.reactor: ISOCKSReactor = reactor
        self.listeners: set[Address] = set()
        self.sessions: set[SOCKS5Protocol] = set()
        self._junction = Junction(reactor) if Junction.worksWith(reactor) else None
        self.numbers = count(1)
        self.journal: IJournal = journal or EventJournal()
        self.authenticators = byMethod(authenticators)
        network = network or Network()
        decides = policy or DefaultPolicy(own=network.advertise)
        self.policy = SelfProtectingPolicy(decides, self.listeners)
        self.ledger = ledger or Ledger(reactor)
        self._sweep = Sweep(reactor)
        self._pipes = PipePool()
        self._dialer = dialer
        self._observer = observer
        self._settle(
            resolver or SystemResolver(reactor.nameResolver, now=reactor.seconds),
            network,
            timeouts or Timeouts(),
            exposed,
        )
        self._idlers: list[Deferred[None]] = []

    def _settle(
        self, resolver: IResolver, network: Network, timeouts: Timeouts, exposed: bool
    ) -> None:
        """
        Make what depends on these settings.
        """
        reactor, policy, sweep = self.reactor, self.policy, self._sweep
        self.network = network
        policy.advertised = network.advertise
        self.timeouts = timeouts
        self.deadlines = Deadlines(reactor, timeouts.handshake)
        dialer = self._dialer or self._defaultDialer()
        outgoing = Outgoing(reactor, policy, resolver, dialer, network, timeouts)
        self.means = Means(
            outgoing,
            Binder(reactor, outgoing, policy, network, timeouts),
            Associations(reactor, outgoing, network, timeouts, sweep),
            sweep,
            timeouts,
            self._observer,
            self.ledger,
            Joiner(reactor, sweep, timeouts, self._junction, self._pipes),
            policy,
            exposed,
        )

    def _defaultDialer(self) -> IDialer | SocketDialer:
        """
        Make what connects if nobody brings another.
        """
        if self._junction is not None:
            return SocketDialer(self._junction, self.network.outgoing)
        return TCPDialer(self.reactor, self.network.outgoing)

    def takeOver(self, port: object) -> Acceptor | None:
        """
        Accept the clients of a plain port with less ado than it does by itself.

        @param port: listens for this factory.

        @return: who accepts them now, to be stopped before the port; or L{None} if nothing has
            changed.
        """
        if self._junction is None or type(port) not in _PLAIN_PORTS:
            return None
        plain: Any = port
        if plain.factory is not self:
            return None
        acceptor = Acceptor(self._junction, self.reactor, plain.socket, self)
        plain.stopReading()
        acceptor.start()
        return acceptor

    def startFactory(self) -> None:
        """
        Somebody listens for us.
        """
        self._sweep.stay()
        self.deadlines.stay()
        if self._junction is not None:
            self._junction.stay()
            self._pipes.stay()

    def stopFactory(self) -> None:
        """
        Nobody listens for us any more.
        """
        self._sweep.leave()
        self.deadlines.leave()
        if self._junction is not None:
            self._junction.leave()
            self._pipes.leave()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        A client has connected.
        """
        return SOCKS5Protocol(self)

    def stands(self, identity: Identity, client: IPAddress | None) -> bool:
        """
        Whether somebody who has authenticated, or not yet, may go on.

        @param client: where it connects from; L{None} for a UNIX socket.
        """
        if identity.method == NO_ACCEPTABLE_METHOD:
            return True
        authenticator = self.authenticators.get(identity.method)
        if authenticator is None:
            return False
        if identity.method == Method.NONE and not self.policy.judgeClient(client).allowed:
            return False
        return not IRevoking.providedBy(authenticator) or authenticator.stands(identity)

    def refusal(self, question: Question, reached: Address | None) -> str:
        """
        Judge a request that was allowed before.

        @param reached: where it has led to, if it has.

        @return: why it is not allowed now; empty if it is.

        @raise Overloaded: it cannot be told now.
        """
        identity = question.identity
        if not self.stands(identity, question.client):
            return f"user {identity.name!r} is gone"
        verdict = self.policy.judgeRequest(question)
        host = None if reached is None or question.destination is None else reached.host
        if verdict.allowed and host is not None and not isinstance(host, str):
            verdict = self.policy.judgeAddress(question, host)
        return "" if verdict.allowed else verdict.reason

    def reconfigure(
        self,
        *,
        authenticators: Iterable[IAuthenticator],
        policy: IPolicy,
        resolver: IResolver,
        network: Network,
        timeouts: Timeouts,
        limits: Limits,
        users: Mapping[str, User],
        groups: Mapping[str, Group],
        rules: Iterable[Rule],
        exposed: bool = False,
    ) -> Deferred[int]:
        """
        Serve in another way from now on.  Sessions that are still allowed go on; the others end.
        What was under way before is judged by the new policy as well, and keeps to the other
        settings that it began with.

        @param authenticators: see L{__init__}, for this and the next ones.

        @param limits: see L{Ledger.reconfigure}, for this and the next ones.

        @param exposed: see L{__init__}.  What began at an exposed server is judged as that.

        @return: a Deferred that fires with how many sessions have ended, see L{review}.

        @raise ValueError: see L{SOCKS5Factory}; nothing has changed then.
        """
        replaced, replacing = dict(self.authenticators), byMethod(authenticators)
        for method, authenticator in replacing.items():
            before = replaced.get(method)
            if before is not None and IRevoking.providedBy(authenticator):
                authenticator.replaces(before)
        # Whoever is about to say which methods it knows chooses among these.
        self.authenticators.clear()
        self.authenticators.update(replacing)
        self.policy.replace(policy)
        deadlines, associations = self.deadlines, self.means.associations
        self._settle(resolver, network, timeouts, exposed)
        self.means.associations.shareWith(associations)
        if self.numPorts:
            self.deadlines.stay()
        deadlines.leave()
        fitted = self.ledger.reconfigure(limits, users, groups, rules)
        return fitted.addCallback(lambda ignored: self.review())

    def review(self) -> Deferred[int]:
        """
        End the sessions that are not allowed any more.  Of thousands, some are looked at in each
        turn of the reactor.  What any of them asks for in between is judged as it is asked.

        @return: a Deferred that fires with how many have ended, when all have been looked at.
        """
        return inSlices(
            self.reactor, self.sessions, lambda session: self._each(session, session.review)
        )

    def _each(self, session: SOCKS5Protocol, call: Callable[[], _T]) -> _T | bool:
        """
        Do something with one of many sessions.  If it goes wrong, somebody's policy or journal
        being broken, that session ends, and the others must not suffer.

        @return: what it returns; whether it has gone wrong, if it does not.
        """
        if session not in self.sessions:
            # It has ended with one before it.
            return False
        try:
            return call()
        except Exception:
            session.broke()
            return True

    def turnAway(self, listeners: Collection[Address]) -> None:
        """
        End the connections that have come by some listeners and have made no request yet: they were
        let in as others are now.
        """
        for session in list(self.sessions):
            if not session.isServed:
                here = self._each(session, session.arrivedAt)
                if isinstance(here, Address) and any(_isAt(here, each) for each in listeners):
                    self._each(session, partial(session.stop, "its listener is gone"))

    def forget(self, session: SOCKS5Protocol) -> None:
        """
        A session has ended.
        """
        self.sessions.discard(session)
        if not self.sessions and self._idlers:
            idlers, self._idlers = self._idlers, []
            for idler in idlers:
                idler.callback(None)

    def _whenIdle(self) -> Deferred[None]:
        """
        Wait until there are no sessions.
        """
        if not self.sessions:
            return succeed(None)
        idler: Deferred[None] = Deferred()
        self._idlers.append(idler)
        return idler

    def drain(self, seconds: float | None) -> Deferred[None]:
        """
        Let the sessions come to their end.  Connections that have not made their request end now.

        @param seconds: when to end those that are left, as L{stopSessions} does: 0 for now, and
            L{None} for never.  That can be called sooner, too.

        @return: a Deferred that fires when there is none left.
        """
        if seconds == 0:
            return self.stopSessions()
        for session in list(self.sessions):
            if not session.isServed:
                self._each(session, session.stop)
        idle = self._whenIdle()
        if seconds is not None and not idle.called:
            late = self.reactor.callLater(seconds, self.stopSessions)
            idle.addBoth(_lift, late)
        return idle

    def stopSessions(self) -> Deferred[None]:
        """
        End all sessions, and visibly so: both sides are reset.

        @return: a Deferred that fires when there is none left.
        """
        for session in list(self.sessions):
            self._each(session, session.stop)
        return self._whenIdle()


def _isAt(here: Address, listener: Address) -> bool:
    """
    Whether a connection may have come by a listener.
    """
    anywhere = not isinstance(listener.host, str) and listener.host.is_unspecified
    return here.port == listener.port and (anywhere or here.host == listener.host)


def _lift(result: _T, late: IDelayedCall) -> _T:
    """
    It was not needed.
    """
    if late.active():
        late.cancel()
    return result

"""
The hinge between a client's transport and everything else.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from . import events, local
from .auth import Anonymous
from .commands import Carrier, Client, Performance
from .deadlines import Deadlines
from .errors import OverLimit, Overloaded, ProtocolError, ReplyCode, reasonOf, replyCodeOf
from .handshake import Handshake
from .interfaces import (
    Accepted,
    IAuthenticator,
    Identity,
    IProtection,
    Record,
)
from .linger import Linger
from .serving import Serving
from .session import SessionMachine
from .socketstream import SocketStream
from .stream import endedWell, streamOf
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

__all__ = ["SOCKS5Protocol"]

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

    factory: Serving

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

    def __init__(self, factory: Serving) -> None:
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
        if type(authenticator) is Anonymous:
            # Most clients: there is nothing to talk about.
            self._session.accepted(authenticator.accepted)
            return
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
        self.factory.sessions.left(self)
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

    def arrivedAt(self) -> local.Place | None:
        """
        This end of the connection, whatever a PROXY header says; L{None} if it is not known.
        """
        transport: Any = self.transport
        while isinstance(transport, ProtocolWrapper):
            transport = transport.transport
        return local.placeOf(transport.getHost())

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

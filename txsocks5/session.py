"""
What may happen next for one client.

The machine knows the order of things and nothing else: no transport, no octets, no clock.
What it decides is carried out by a L{Hinge}.  Its inputs are the methods of L{Session};
whoever calls them never asks for the state.

It is written by hand, as each session has about seven inputs: with Automat they took as long as
all system calls of a short session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred

from .errors import ProtocolError, reasonOf
from .interfaces import Accepted, IAuthenticator, Refused
from .wire import Address, Greeting, Request

__all__ = ["Hinge", "OutOfOrder", "Session", "SessionMachine", "State"]


class Hinge(Protocol):
    """
    What carries out the decisions: the protocol that holds the client's transport.
    """

    def select(self, authenticator: IAuthenticator) -> None:
        """
        Send the selection of a method, and begin its conversation.
        """

    def refuseMethods(self) -> None:
        """
        Send that no method is acceptable, and end the connection.
        """

    def awaitRequest(self, accepted: Accepted) -> None:
        """
        The client is known: protect what follows, and read the request.
        """

    def perform(self, request: Request) -> Deferred[None] | None:
        """
        Begin to do what is asked for.  In the end it calls L{Session.established}, or for BIND
        L{Session.listening}; if it fails, L{Session.failed}.

        @return: a Deferred, for cancelling it; or L{None} if it is over already.
        """

    def awaitPeer(self) -> Deferred[None]:
        """
        Begin to wait for the peer of a BIND, and call L{Session.established} or
        L{Session.failed}.

        @return: a Deferred, for cancelling it.
        """

    def replyListening(self, bound: Address) -> None:
        """
        Send the first of the two replies to a BIND.
        """

    def replySucceeded(self, bound: Address) -> None:
        """
        Send the reply that everything is in place.
        """

    def replyFailed(self, error: BaseException) -> None:
        """
        Send the failure reply for an error, and end the connection.
        """

    def relay(self) -> None:
        """
        Begin to relay for the established command.
        """

    def finishClient(self) -> None:
        """
        Pass on that the client has finished.
        """

    def end(self, reason: str, why: str = "") -> None:
        """
        End the connection: FIN, and in the end abort.  Nothing more is sent.

        @param why: more about it, for the log alone.
        """

    def flush(self, reason: str) -> None:
        """
        Leave the connection to the relay, which closes it.
        """

    def abort(self, reason: str) -> None:
        """
        End both sides at once, so that neither can take it for the regular end.
        """

    def release(self, reason: str) -> None:
        """
        The connection is gone: let go of everything.
        """


class Session(Protocol):
    """
    What can happen to a client.
    """

    def greeted(self, greeting: Greeting) -> None:
        """
        The client has offered its methods.
        """

    def accepted(self, accepted: Accepted) -> None:
        """
        The authenticator has let the client in.
        """

    def refused(self, refused: Refused) -> None:
        """
        The authenticator has turned the client away, and has said so to it.
        """

    def requested(self, request: Request) -> None:
        """
        The client has made its request.
        """

    def listening(self, bound: Address) -> None:
        """
        BIND: a listener waits for the peer.
        """

    def established(self, bound: Address) -> None:
        """
        The command has been done: a target is connected, a peer has come, a relay for
        datagrams is open.
        """

    def failed(self, error: BaseException) -> None:
        """
        The command cannot be done; or it has been, but the relay for it cannot begin.
        """

    def relayed(self, reason: str) -> None:
        """
        The relay is over: it has closed both sides, or is flushing them.
        """

    def ceased(self, reason: str) -> None:
        """
        What the connection was kept for is over.
        """

    def malformed(self, error: ProtocolError) -> None:
        """
        The client's octets make no sense here.
        """

    def truncated(self) -> None:
        """
        The client has finished in the midst of the handshake.
        """

    def clientFinished(self) -> None:
        """
        The client has sent FIN, having made its request.
        """

    def clientFinishedUnread(self) -> None:
        """
        The client has sent FIN behind more octets than are read before the relay begins.
        """

    def expired(self) -> None:
        """
        The handshake has taken too long.
        """

    def distrusted(self, error: ProtocolError) -> None:
        """
        What should be protected is not.
        """

    def stopped(self, reason: str) -> None:
        """
        The server ends the session.
        """

    def lost(self, reason: str) -> None:
        """
        The client's connection is gone.
        """


class State(Enum):
    """
    Where a session is.
    """

    GREETING = "Greeting"
    AUTHENTICATING = "Authenticating"
    REQUESTING = "Requesting"
    WORKING = "Working"
    LISTENING = "Listening"
    RELAYING = "Relaying"
    ENDING = "Ending"
    ENDED = "Ended"


# Looked up in the module, they take a tenth of what they take in the enumeration.
(
    _GREETING,
    _AUTHENTICATING,
    _REQUESTING,
    _WORKING,
    _LISTENING,
    _RELAYING,
    _ENDING,
    _ENDED,
) = State

_BEFORE_RELAYING = (_WORKING, _LISTENING)
_HANDSHAKING = (_GREETING, _AUTHENTICATING, _REQUESTING)
_SERVING = (_RELAYING, _WORKING, _LISTENING)
_PROTECTED = (_REQUESTING, *_SERVING)
_LIVING = (_ENDING, *_HANDSHAKING, *_SERVING)
_LATE = (_ENDING, _ENDED)
_UNREAD = (_AUTHENTICATING, _WORKING, *_LATE)


class OutOfOrder(Exception):
    """
    Something has happened that cannot, in this state: a programming error.
    """


class SessionMachine:
    """
    The L{Session} of one client.

    @ivar state: where it is.

    @ivar work: the command while it is being done.

    @ivar clientDone: the client has sent FIN.
    """

    __slots__ = ("_authenticators", "_hinge", "_permitted", "clientDone", "state", "work")

    def __init__(
        self,
        hinge: Hinge,
        authenticators: Mapping[int, IAuthenticator],
        permitted: Callable[[int], bool],
    ) -> None:
        """
        @param hinge: carries out the decisions.

        @param authenticators: by method number, in the server's order of preference.

        @param permitted: whether this client may use a method.
        """
        self._hinge = hinge
        self._authenticators = authenticators
        self._permitted = permitted
        self.state = _GREETING
        self.work: Deferred[None] | None = None
        self.clientDone = False

    def _overlooked(self, ignored: tuple[State, ...] = _LATE) -> bool:
        """
        An input has come in a state where it means nothing.

        @param ignored: where it is too late to matter: what was under way has been cancelled, the
            deadline no longer counts, or the end has been heard of from another side.

        @return: L{False}.

        @raise OutOfOrder: it cannot come in this state either.
        """
        if self.state in ignored:
            return False
        raise OutOfOrder(self.state.value)

    def _stopWork(self) -> None:
        """
        Cancel the command, if it is being done.
        """
        work, self.work = self.work, None
        if work is not None:
            work.cancel()

    # The handshake

    def greeted(self, greeting: Greeting) -> None:
        """
        See L{Session.greeted}.
        """
        if self.state is not _GREETING:
            raise OutOfOrder(self.state.value)
        offered = greeting.methods
        # The first of the server's methods that the client may use, and has offered (R-1928-10,
        # R-1928-11).
        for method, authenticator in self._authenticators.items():
            if method in offered and self._permitted(method):
                self.state = _AUTHENTICATING
                self._hinge.select(authenticator)
                return
        self.state = _ENDING
        self._hinge.refuseMethods()

    def accepted(self, accepted: Accepted) -> None:
        """
        See L{Session.accepted}.
        """
        if self.state is _AUTHENTICATING or self._overlooked():
            self.state = _REQUESTING
            self._hinge.awaitRequest(accepted)

    def refused(self, refused: Refused) -> None:
        """
        See L{Session.refused}.
        """
        if self.state is _AUTHENTICATING or self._overlooked():
            self.state = _ENDING
            self._hinge.end("not authenticated", refused.reason)

    def requested(self, request: Request) -> None:
        """
        See L{Session.requested}.
        """
        if self.state is not _REQUESTING:
            raise OutOfOrder(self.state.value)
        self.state = _WORKING
        work = self._hinge.perform(request)
        # What could be done at once is over.
        if self.state is _WORKING:
            self.work = work

    def malformed(self, error: ProtocolError) -> None:
        """
        See L{Session.malformed}.  Who does not even speak this protocol would not understand an
        answer, so that none is due.
        """
        if self.state in _HANDSHAKING or self._overlooked():
            requesting = self.state is _REQUESTING
            self.state = _ENDING
            if requesting:
                self._hinge.replyFailed(error)
            else:
                self._hinge.end(f"protocol error: {error}")

    def truncated(self) -> None:
        """
        See L{Session.truncated}.
        """
        if self.state in _HANDSHAKING or self._overlooked():
            self.state = _ENDING
            self._hinge.end("client finished in the midst of the handshake")

    def expired(self) -> None:
        """
        See L{Session.expired}.
        """
        if self.state in _HANDSHAKING or self._overlooked((*_SERVING, *_LATE)):
            self.state = _ENDING
            self._hinge.end("handshake took too long")

    # The command

    def listening(self, bound: Address) -> None:
        """
        See L{Session.listening}.
        """
        if self.state is _WORKING or self._overlooked():
            self.state = _LISTENING
            self._hinge.replyListening(bound)
            work = self._hinge.awaitPeer()
            # The peer may have been there already.
            if self.state is _LISTENING:
                self.work = work
                if self.clientDone:
                    self.clientFinished()

    def established(self, bound: Address) -> None:
        """
        See L{Session.established}.
        """
        if self.state in _BEFORE_RELAYING or self._overlooked():
            self.state = _RELAYING
            self.work = None
            self._hinge.replySucceeded(bound)
            self._hinge.relay()
            if self.clientDone:
                self.clientFinished()

    def failed(self, error: BaseException) -> None:
        """
        See L{Session.failed}.
        """
        if self.state in _SERVING or self._overlooked():
            relaying = self.state is _RELAYING
            self.state = _ENDING
            self.work = None
            if relaying:
                # The reply may have been sent, and nothing may follow it but the target's octets.
                self._hinge.abort(f"relay failed: {reasonOf(error)}")
            else:
                self._hinge.replyFailed(error)

    def clientFinished(self) -> None:
        """
        See L{Session.clientFinished}.
        """
        if self.state not in _SERVING:
            self._overlooked()
            return
        if self.state is _WORKING:
            # A half-close: what the client has sent so far is for the target (R-1928-47).
            self.clientDone = True
        elif self.state is _RELAYING:
            self._hinge.finishClient()
        else:
            self._leaveListening()

    def clientFinishedUnread(self) -> None:
        """
        See L{Session.clientFinishedUnread}.  Whoever sends more than is read before its target is
        there may well finish, too.
        """
        if self.state is _LISTENING or self._overlooked(_UNREAD):
            self._leaveListening()

    def _leaveListening(self) -> None:
        """
        A client that has finished waits for no peer.
        """
        self.state = _ENDING
        self._stopWork()
        self._hinge.end("client closed while BIND waited")

    # The end

    def relayed(self, reason: str) -> None:
        """
        See L{Session.relayed}.
        """
        if self.state is _RELAYING or self._overlooked():
            self.state = _ENDING
            self._hinge.flush(reason)

    def ceased(self, reason: str) -> None:
        """
        See L{Session.ceased}.
        """
        if self.state is _RELAYING or self._overlooked():
            self.state = _ENDING
            self._hinge.end(reason)

    def distrusted(self, error: ProtocolError) -> None:
        """
        See L{Session.distrusted}.
        """
        if self.state in _PROTECTED or self._overlooked():
            self.state = _ENDING
            self._stopWork()
            self._hinge.abort(f"protection violated: {error}")

    def stopped(self, reason: str) -> None:
        """
        See L{Session.stopped}.
        """
        if self.state in _LIVING or self._overlooked((_ENDED,)):
            self.state = _ENDING
            self._stopWork()
            self._hinge.abort(reason)

    def lost(self, reason: str) -> None:
        """
        See L{Session.lost}.
        """
        if self.state in _LIVING or self._overlooked((_ENDED,)):
            self.state = _ENDED
            if self.work is not None:
                self._stopWork()
            self._hinge.release(reason)

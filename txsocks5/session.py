"""
What may happen next for one client.

The machine knows the order of things and nothing else: no transport, no octets, no clock.
What it decides is carried out by a L{Hinge}.  Its inputs are the methods of L{Session};
whoever calls them never asks for the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred

from .errors import ProtocolError
from .interfaces import Accepted, IAuthenticator, Refused
from .wire import Address, Greeting, Request

__all__ = ["Core", "Hinge", "Session", "SessionMachine"]


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

    def perform(self, request: Request) -> Deferred[None]:
        """
        Begin to do what is asked for.  In the end it calls L{Session.established}, or for BIND
        L{Session.listening}; if it fails, L{Session.failed}.

        @return: a Deferred, for cancelling it.
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

    def end(self, reason: str) -> None:
        """
        End the connection: FIN, and in the end abort.  Nothing more is sent.
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

    def _select(self, authenticator: IAuthenticator) -> None:
        """
        One of the methods offered will do.
        """

    def _refuseMethods(self) -> None:
        """
        None of them will.
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


@attrs.define
class Core:
    """
    What the states share.

    @ivar hinge: carries out the decisions.

    @ivar authenticators: by method number, in the server's order of preference.

    @ivar permitted: whether this client may use a method.

    @ivar work: the command while it is being done.

    @ivar clientDone: the client has sent FIN.
    """

    hinge: Hinge
    authenticators: Mapping[int, IAuthenticator]
    permitted: Callable[[int], bool]
    work: Deferred[None] | None = None
    clientDone: bool = False

    def choose(self, offered: bytes) -> IAuthenticator | None:
        """
        Find the first of the server's methods that the client has offered and may use
        (R-1928-10, R-1928-11).
        """
        for method, authenticator in self.authenticators.items():
            if method in offered and self.permitted(method):
                return authenticator
        return None

    def stopWork(self) -> None:
        """
        Cancel the command, if it is being done.
        """
        work, self.work = self.work, None
        if work is not None:
            work.cancel()


def _makeMachine() -> Callable[[Core], Session]:
    machine = TypeMachineBuilder(Session, Core)

    # States:
    Greeting_ = machine.state("Greeting")
    Authenticating = machine.state("Authenticating")
    Requesting = machine.state("Requesting")
    Working = machine.state("Working")
    Listening = machine.state("Listening")
    Relaying = machine.state("Relaying")
    Ending = machine.state("Ending")
    Ended = machine.state("Ended")
    handshaking = (Greeting_, Authenticating, Requesting)
    serving = (Working, Listening, Relaying)

    # Too late to matter: what was under way has been cancelled, the deadline no longer
    # counts, or the end has been heard of from another side.
    for state in (Ending, Ended):
        state.upon(Session.accepted).loop().returns(None)
        state.upon(Session.refused).loop().returns(None)
        state.upon(Session.listening).loop().returns(None)
        state.upon(Session.established).loop().returns(None)
        state.upon(Session.failed).loop().returns(None)
        state.upon(Session.malformed).loop().returns(None)
        state.upon(Session.truncated).loop().returns(None)
        state.upon(Session.clientFinished).loop().returns(None)
        state.upon(Session.clientFinishedUnread).loop().returns(None)
        state.upon(Session.expired).loop().returns(None)
        state.upon(Session.relayed).loop().returns(None)
        state.upon(Session.ceased).loop().returns(None)
        state.upon(Session.distrusted).loop().returns(None)
    Ended.upon(Session.stopped).loop().returns(None)
    Ended.upon(Session.lost).loop().returns(None)
    for state in serving:
        state.upon(Session.expired).loop().returns(None)
    # Whoever sends more than is read before its target is there may well finish, too.
    Authenticating.upon(Session.clientFinishedUnread).loop().returns(None)
    Working.upon(Session.clientFinishedUnread).loop().returns(None)

    @pep614(Greeting_.upon(Session.greeted).loop())
    def greeted(session: Session, core: Core, greeting: Greeting) -> None:
        authenticator = core.choose(greeting.methods)
        if authenticator is None:
            session._refuseMethods()
        else:
            session._select(authenticator)

    @pep614(Greeting_.upon(Session._select).to(Authenticating))
    def select(session: Session, core: Core, authenticator: IAuthenticator) -> None:
        core.hinge.select(authenticator)

    @pep614(Greeting_.upon(Session._refuseMethods).to(Ending))
    def refuseMethods(session: Session, core: Core) -> None:
        core.hinge.refuseMethods()

    @pep614(Authenticating.upon(Session.accepted).to(Requesting))
    def accepted(session: Session, core: Core, accepted: Accepted) -> None:
        core.hinge.awaitRequest(accepted)

    @pep614(Authenticating.upon(Session.refused).to(Ending))
    def refused(session: Session, core: Core, refused: Refused) -> None:
        core.hinge.end("not authenticated")

    @pep614(Requesting.upon(Session.requested).to(Working))
    def perform(session: Session, core: Core, request: Request) -> None:
        core.work = core.hinge.perform(request)

    @pep614(Requesting.upon(Session.malformed).to(Ending))
    def refuseRequest(session: Session, core: Core, error: ProtocolError) -> None:
        core.hinge.replyFailed(error)

    @pep614(Greeting_.upon(Session.malformed).to(Ending))
    @pep614(Authenticating.upon(Session.malformed).to(Ending))
    def malformed(session: Session, core: Core, error: ProtocolError) -> None:
        # No answer is due: who does not speak this protocol would not understand one.
        core.hinge.end(f"protocol error: {error}")

    @pep614(Requesting.upon(Session.distrusted).to(Ending))
    @pep614(Working.upon(Session.distrusted).to(Ending))
    @pep614(Listening.upon(Session.distrusted).to(Ending))
    @pep614(Relaying.upon(Session.distrusted).to(Ending))
    def distrusted(session: Session, core: Core, error: ProtocolError) -> None:
        core.stopWork()
        core.hinge.abort(f"protection violated: {error}")

    @pep614(Working.upon(Session.listening).to(Listening))
    def listening(session: Session, core: Core, bound: Address) -> None:
        core.hinge.replyListening(bound)
        core.work = core.hinge.awaitPeer()
        if core.clientDone:
            session.clientFinished()

    @pep614(Working.upon(Session.established).to(Relaying))
    @pep614(Listening.upon(Session.established).to(Relaying))
    def established(session: Session, core: Core, bound: Address) -> None:
        core.work = None
        core.hinge.replySucceeded(bound)
        core.hinge.relay()
        if core.clientDone:
            session.clientFinished()

    @pep614(Working.upon(Session.failed).to(Ending))
    @pep614(Listening.upon(Session.failed).to(Ending))
    def failed(session: Session, core: Core, error: BaseException) -> None:
        core.work = None
        core.hinge.replyFailed(error)

    @pep614(Working.upon(Session.clientFinished).loop())
    def finishedWhileWorking(session: Session, core: Core) -> None:
        # A half-close: what the client has sent so far is for the target (R-1928-47).
        core.clientDone = True

    @pep614(Listening.upon(Session.clientFinishedUnread).to(Ending))
    @pep614(Listening.upon(Session.clientFinished).to(Ending))
    def finishedWhileListening(session: Session, core: Core) -> None:
        core.stopWork()
        core.hinge.end("client closed while BIND waited")

    @pep614(Relaying.upon(Session.clientFinished).loop())
    def finishedWhileRelaying(session: Session, core: Core) -> None:
        core.hinge.finishClient()

    @pep614(Relaying.upon(Session.failed).to(Ending))
    def notRelaying(session: Session, core: Core, error: BaseException) -> None:
        # The reply may have been sent, and nothing may follow it but the target's octets.
        core.hinge.abort(f"relay failed: {error}")

    @pep614(Relaying.upon(Session.relayed).to(Ending))
    def relayed(session: Session, core: Core, reason: str) -> None:
        core.hinge.flush(reason)

    @pep614(Relaying.upon(Session.ceased).to(Ending))
    def ceased(session: Session, core: Core, reason: str) -> None:
        core.hinge.end(reason)

    for state in handshaking:

        @pep614(state.upon(Session.truncated).to(Ending))
        def truncated(session: Session, core: Core) -> None:
            core.hinge.end("client finished in the midst of the handshake")

        @pep614(state.upon(Session.expired).to(Ending))
        def expired(session: Session, core: Core) -> None:
            core.hinge.end("handshake took too long")

    for state in (*handshaking, *serving, Ending):

        @pep614(state.upon(Session.stopped).to(Ending))
        def stopped(session: Session, core: Core, reason: str) -> None:
            core.stopWork()
            core.hinge.abort(reason)

        @pep614(state.upon(Session.lost).to(Ended))
        def lost(session: Session, core: Core, reason: str) -> None:
            core.stopWork()
            core.hinge.release(reason)

    return machine.build()


SessionMachine = _makeMachine()
"""
Makes the L{Session} of one client, from its L{Core}.
"""

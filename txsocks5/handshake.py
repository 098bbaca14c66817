"""
Reading what a client says, up to its request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from . import events
from .config import Network
from .errors import ProtocolError
from .events import Emitter
from .interfaces import Accepted, IConversation, Refused, Step
from .session import Session
from .stream import Fate, Stream
from .sweep import Sweep
from .wire import Greeting, Request

__all__ = ["Handshake"]

_MAX_AHEAD = 64 * 1024
"""
Octets that a client may send ahead of what the server is ready for; then it is not read.
"""

_MAX_MESSAGE = 65539
"""
The longest message of any method's conversation: RFC 1961's frames.
"""


class Handshake:
    """
    Keeps the octets that have come, reads from them what the session waits for, and tells it.
    What stands behind the request stays here until somebody L{takes <takeAhead>} it.
    """

    _ahead = b""
    _finished = False
    _swept = False
    _requested = False
    _conversation: IConversation | None = None
    _step: Deferred[Any] | None = None
    # How much of what has come the conversation has heard.
    _heard = 0

    def __init__(
        self,
        session: Session,
        stream: Stream,
        network: Network,
        sweep: Sweep,
        emit: Emitter,
        reopen: Callable[[bytes, bool], None],
    ) -> None:
        """
        @param session: hears what was read.

        @param stream: the client's; a conversation's answers go there.

        @param sweep: looks after the client while it is not read.

        @param emit: logs for this session.

        @param reopen: takes octets that came before the protection that they are wrapped in was
            agreed on, and whether they are the last.
        """
        self._session = session
        self._stream = stream
        self._network = network
        self._sweep = sweep
        self._emit = emit
        self._reopen = reopen
        # What reads the next message, or None while no message is due.
        self._read: Callable[[], bool] | None = self._readGreeting

    def received(self, data: bytes) -> None:
        """
        Octets have come: read as many messages as there are.

        @param data: none, if there is something else to go on with.
        """
        self._ahead += data
        while self._read is not None and self._read():
            pass
        if self._read is None:
            if len(self._ahead) >= _MAX_AHEAD:
                self._stream.pauseReading()
                self._swept = True
                self._sweep.add(self)
        elif self._finished:
            self._session.truncated()

    def finished(self) -> None:
        """
        The client has sent FIN.
        """
        self._finished = True
        if self._requested:
            self._session.clientFinished()
        else:
            self.received(b"")

    def converse(self, conversation: IConversation) -> None:
        """
        A method has been selected: let this conversation read on.
        """
        self._conversation = conversation
        self._read = self._converse

    def awaitRequest(self) -> None:
        """
        The client is known: read its request.
        """
        self._read = self._readRequest

    def swept(self, now: float) -> None:
        """
        The client has sent so much ahead that it is not read.  Ask the system whether it is still
        there.
        """
        fate = self._stream.fate()
        if fate is Fate.RESET:
            self._stream.abort()
        elif fate is Fate.FINISHED:
            self._session.clientFinishedUnread()

    def takeAhead(self) -> bytes:
        """
        Give away what has been received and not read.
        """
        if self._swept:
            self._swept = False
            self._sweep.remove(self)
        ahead = self._ahead
        if ahead:
            self._ahead = b""
        return ahead

    def stop(self) -> None:
        """
        Nothing that has come, or will come, means anything (S-24).
        """
        self._read = None
        self.takeAhead()
        step, self._step = self._step, None
        self._leaveConversation()
        if step is not None:
            try:
                step.cancel()
            except Exception:
                self._emit(events.broken, log_failure=Failure())

    def _leaveConversation(self) -> None:
        """
        The conversation is over.
        """
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            try:
                conversation.close()
            except Exception:
                self._emit(events.broken, log_failure=Failure())

    def _readGreeting(self) -> bool:
        """
        Read the greeting.

        @return: whether to look for another message; likewise in the other readers.
        """
        try:
            message = Greeting.read(self._ahead)
        except ProtocolError as error:
            return self._malformed(error)
        if message is None:
            return False
        greeting, consumed = message
        self._ahead = self._ahead[consumed:]
        self._session.greeted(greeting)
        # A conversation is begun with no octets at all.
        return self._conversation is not None or bool(self._ahead)

    def _converse(self) -> bool:
        """
        Let the conversation read.
        """
        assert self._conversation is not None
        self._heard = len(self._ahead)
        try:
            step = self._conversation.received(self._ahead)
        except ProtocolError as error:
            return self._malformed(error)
        except Exception:
            self._conversationFailed(Failure())
            return False
        if step is None:
            if len(self._ahead) > _MAX_MESSAGE:
                return self._malformed(ProtocolError("a message of the method is too long"))
            return False
        # Asking for Step first is faster: Deferred has a metaclass.
        if isinstance(step, Step) or not isinstance(step, Deferred):
            return self._take(step)
        if step.called and isinstance(step.result, Step):
            return self._take(step.result)
        # Nothing is read before it fires, which may be at once.
        self._read = None
        self._step = step
        step.addCallbacks(self._resume, self._conversationFailed).addErrback(self._broke)
        return False

    def _resume(self, step: Step) -> None:
        """
        The conversation has made up its mind.
        """
        self._step = None
        if self._conversation is None:
            # It has been cancelled, and came to an end of its own all the same.
            return
        self._read = self._converse
        self._swept = False
        self._sweep.remove(self)
        self._stream.resumeReading()
        if self._take(step) or self._finished:
            self.received(b"")

    def _take(self, step: object) -> bool:
        """
        Do what the conversation says.
        """
        if not isinstance(step, Step):
            self._conversationFailed(Failure(TypeError(f"{type(step)} instead of a Step")))
            return False
        # Whether there is something to go on with: it must make no difference how much of what a
        # client has to say has come when (R-1928-01).
        more = step.consumed or step.send or len(self._ahead) > self._heard
        self._ahead = self._ahead[step.consumed :]
        if step.send:
            self._stream.write(step.send)
        outcome = step.outcome
        if isinstance(outcome, Refused):
            self._emit(events.unauthenticated, reason=outcome.reason, user=outcome.username)
            self._session.refused(outcome)
            return False
        if not isinstance(outcome, Accepted):
            return bool(more and self._ahead)
        self._leaveConversation()
        self._session.accepted(outcome)
        if outcome.protection is None or self._read is None:
            # Nothing is protected; or the session has ended in the meantime.
            return bool(self._ahead)
        self._reopen(self.takeAhead(), self._finished)
        return False

    def _readRequest(self) -> bool:
        """
        Read the request.
        """
        network = self._network
        if not self._ahead:
            return False
        try:
            message = Request.read(self._ahead, commands=network.commands, strict=network.strict)
        except ProtocolError as error:
            self._session.malformed(error)
            return False
        if message is None:
            return False
        request, consumed = message
        self._ahead = self._ahead[consumed:]
        self._read = None
        self._requested = True
        self._session.requested(request)
        if self._finished:
            self._session.clientFinished()
        return False

    def _conversationFailed(self, reason: Failure) -> None:
        """
        The conversation has failed: refuse the client without a word.
        """
        self._step = None
        if self._conversation is None:
            # It has been cancelled.
            return
        if reason.check(ProtocolError) is None:
            self._emit(events.broken, log_failure=reason)
        self._malformed(ProtocolError("the method's conversation failed"))

    def _broke(self, reason: Failure) -> None:
        """
        Going on has failed: a protection that does not open what has come ahead, say.
        """
        self._emit(events.broken, log_failure=reason)
        self._session.stopped("an error that nobody has foreseen")

    def _malformed(self, error: ProtocolError) -> bool:
        """
        The client does not speak the protocol.
        """
        self._emit(events.malformed, reason=str(error))
        self._session.malformed(error)
        return False

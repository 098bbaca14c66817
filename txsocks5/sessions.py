"""
The clients that are connected, all together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol as TypingProtocol
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorTime,
)

from .local import Place
from .slices import inSlices
from .wire import (
    Address,
)

__all__ = ["Connected", "Sessions"]

_T = TypeVar("_T")


class Connected(TypingProtocol):
    """
    What is asked of one client's connection.

    @ivar isServed: the client has made its request.
    """

    @property
    def isServed(self) -> bool: ...

    def arrivedAt(self) -> Place | None:
        """
        This end of the connection; L{None} if it is not known.
        """

    def stop(self, reason: str = "server stopped") -> None:
        """
        End it.
        """

    def review(self) -> bool:
        """
        End it if it is not allowed any more.

        @return: whether it has ended.
        """

    def broke(self) -> None:
        """
        Something that was asked of it has failed.
        """


class Sessions(set[Connected]):
    """
    The clients that are connected.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._idlers: list[Deferred[None]] = []

    def left(self, session: Connected) -> None:
        """
        A session has ended.
        """
        self.discard(session)
        if not self and self._idlers:
            idlers, self._idlers = self._idlers, []
            for idler in idlers:
                idler.callback(None)

    def review(self) -> Deferred[int]:
        """
        End the sessions that are not allowed any more.  Of thousands, some are looked at in each
        turn of the reactor.  What any of them asks for in between is judged as it is asked.

        @return: a Deferred that fires with how many have ended, when all have been looked at.
        """
        return inSlices(self._clock, self, lambda session: self._each(session, session.review))

    def _each(self, session: Connected, call: Callable[[], _T]) -> _T | bool:
        """
        Do something with one of many sessions.  If it goes wrong, somebody's policy or journal
        being broken, that session ends, and the others must not suffer.

        @return: what it returns; whether it has gone wrong, if it does not.
        """
        if session not in self:
            # It has ended with one before it.
            return False
        try:
            return call()
        except Exception:
            session.broke()
            return True

    def turnAway(self, listeners: Collection[Place]) -> None:
        """
        End the connections that have come by some listeners and have made no request yet: they were
        let in as others are now.
        """
        for session in list(self):
            if not session.isServed:
                here = self._each(session, session.arrivedAt)
                if any(_isAt(here, each) for each in listeners):
                    self._each(session, partial(session.stop, "its listener is gone"))

    def _whenIdle(self) -> Deferred[None]:
        """
        Wait until there are no sessions.
        """
        if not self:
            return succeed(None)
        idler: Deferred[None] = Deferred()
        self._idlers.append(idler)
        return idler

    def drain(self, seconds: float | None) -> Deferred[None]:
        """
        Let the sessions come to their end.  Connections that have not made their request end now.

        @param seconds: when to end those that are left, as L{stop} does: 0 for now, and
            L{None} for never.  That can be called sooner, too.

        @return: a Deferred that fires when there is none left.
        """
        if seconds == 0:
            return self.stop()
        for session in list(self):
            if not session.isServed:
                self._each(session, session.stop)
        idle = self._whenIdle()
        if seconds is not None and not idle.called:
            late = self._clock.callLater(seconds, self.stop)
            idle.addBoth(_lift, late)
        return idle

    def stop(self) -> Deferred[None]:
        """
        End all sessions, and visibly so: both sides are reset.

        @return: a Deferred that fires when there is none left.
        """
        for session in list(self):
            self._each(session, session.stop)
        return self._whenIdle()


def _isAt(here: object, listener: Place) -> bool:
    """
    Whether a connection may have come by a listener.
    """
    if not isinstance(here, Address) or not isinstance(listener, Address):
        return bool(here == listener)
    anywhere = not isinstance(listener.host, str) and listener.host.is_unspecified
    return here.port == listener.port and (anywhere or here.host == listener.host)


def _lift(result: _T, late: IDelayedCall) -> _T:
    """
    It was not needed.
    """
    if late.active():
        late.cancel()
    return result

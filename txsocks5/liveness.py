"""
Whether a name server answers at all.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from . import events

__all__ = ["Liveness"]

_PAUSE = 5.0
"""
Seconds until a server that has not answered is asked again.
"""


class Liveness:
    """
    Finds out whether a server is silent, and when it is not any more.

    That it does not tell of one name says nothing: it may have to ask others who are.  But if it
    has not said anything else meanwhile, it is asked something that every server can answer at
    once, and is silent until it answers that.  A silent one is asked again whenever somebody wants
    to know whether it is silent, though not sooner than 5 seconds after the last time.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, server: str, ask: Callable[[], Deferred[bool]]) -> None:
        """
        @param clock: tells the time.

        @param server: its address, for the log.

        @param ask: asks it; the Deferred fires with whether it has answered, and fails if that
            cannot be told.
        """
        self._clock = clock
        self._server = server
        self._ask = ask
        self._asking = False
        self._silent = False
        # When it has answered last, and when it has last been asked whether it does.
        self._heard = self._asked = -inf

    def now(self) -> float:
        """
        The time.
        """
        return self._clock.seconds()

    def heard(self) -> None:
        """
        It has answered.
        """
        self._heard = self.now()
        if self._silent:
            self._silent = False
            events.nameServerBack.emit(self._log, server=self._server)

    def missed(self, since: float) -> None:
        """
        It has not answered.

        @param since: when it was asked.
        """
        if not since <= self._heard <= self.now():
            self._probe()

    def isSilent(self) -> bool:
        """
        Whether it does not answer.
        """
        # Also if the clock has been set back.
        if self._silent and not self._asked <= self.now() < self._asked + _PAUSE:
            self._probe()
        return self._silent

    def _probe(self) -> None:
        """
        Ask it, if that is not being done.
        """
        if not self._asking:
            self._asking = True
            maybeDeferred(self._ask).addCallback(self._probed).addBoth(self._over)

    def _probed(self, answered: bool) -> None:
        """
        It has answered, or not.
        """
        if answered:
            self.heard()
        elif not self._silent:
            self._silent = True
            events.nameServerSilent.emit(self._log, server=self._server)

    def _over(self, ignored: object) -> None:
        """
        It can be asked again, in a while.
        """
        self._asking = False
        self._asked = self.now()

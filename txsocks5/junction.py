"""
One reader in the reactor for all relayed sockets.
"""

from __future__ import annotations

import fcntl
import select
import sys
import termios
from collections.abc import Iterable, Sequence
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from . import events

__all__ = ["BUFFER", "DATA", "ENDING", "READABLE", "WRITABLE", "Junction", "Watcher", "isEmpty"]

BUFFER = 64 * 1024
"""
The length of the buffer that all share.
"""

_BATCH = 256
_ROUNDS = 4

# Not there on systems without it, where no Junction is made.
_EDGE: int = getattr(select, "EPOLLET", 0)
DATA: int = getattr(select, "EPOLLIN", 0)
WRITABLE: int = getattr(select, "EPOLLOUT", 0)
ENDING: int = (
    getattr(select, "EPOLLRDHUP", 0)
    | getattr(select, "EPOLLHUP", 0)
    | getattr(select, "EPOLLERR", 0)
    | getattr(select, "EPOLLPRI", 0)
)
READABLE: int = DATA | ENDING
"""
What C{happened} is told: there is something to read, be it an end; an end is near, or an urgent
octet, so that a read which brings less than was asked for has not brought all; there is room.
"""

_ENDS = getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLPRI", 0) | _EDGE


_NOTHING = bytes(4)


def isEmpty(descriptor: int) -> bool:
    """
    Whether there is nothing to read from a socket that is watched, so that whatever comes will be
    told.  This does not hold for one of which an end or an urgent octet has been told.
    """
    try:
        return fcntl.ioctl(descriptor, termios.FIONREAD, _NOTHING) == _NOTHING
    except OSError:
        return False


class Watcher(TypingProtocol):
    """
    Who cares for a socket.
    """

    def happened(self, events: int) -> None:
        """
        Something has changed, and will not be told again: L{READABLE}, L{WRITABLE}, L{ENDING}.
        """

    def goOn(self) -> None:
        """
        It was this one's turn to let the others have theirs, and now it goes on.
        """

    def broke(self) -> None:
        """
        One of the other two has raised an error that nobody has foreseen; it has been logged.
        """


@implementer(IReadDescriptor)
class Junction:
    """
    Watches sockets with an C{epoll} of its own, which is itself watched by the reactor.

    A socket is registered once and for edges only.  So a message costs no C{epoll_ctl}, and not the
    logging context that the reactor makes for each event: that is made once for all that happens
    in a turn.
    """

    _log = Logger()

    @staticmethod
    def worksWith(reactor: object) -> bool:
        """
        Whether this system, and this reactor, can do it.
        """
        return sys.platform == "linux" and isinstance(reactor, PosixReactorBase)

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: one that L{worksWith} accepts.
        """
        self._reactor = reactor
        self._epoll: select.epoll | None = None
        self._watchers: dict[int, Watcher] = {}
        # In order, each of them once.
        self._waiting: dict[Watcher, None] = {}
        self._next: IDelayedCall | None = None
        self._leaving = False
        # It is our own turn.
        self._looking = False
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)

    def fileno(self) -> int:
        """
        The descriptor of the C{epoll}; -1 while there is none.
        """
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """
        For the log.
        """
        return "SOCKS5 relays"

    def watch(self, descriptor: int, watcher: Watcher) -> None:
        """
        Begin to watch a socket, for octets to read.  What is there already is told, too.

        @raise OSError: the system cannot watch it.
        """
        (self._epoll or self._attach()).register(descriptor, DATA | _ENDS)
        self._watchers[descriptor] = watcher

    def _attach(self) -> select.epoll:
        """
        Have the reactor look at us.

        @raise OSError: the process has no file descriptor left.
        """
        self._epoll = select.epoll()
        self._reactor.addReader(self)
        return self._epoll

    def watchArrivals(self, descriptor: int, watcher: Watcher) -> None:
        """
        Begin to watch a listening socket; that is told as long as somebody waits to be accepted.

        @raise OSError: the system cannot watch it.
        """
        (self._epoll or self._attach()).register(descriptor, DATA)
        self._watchers[descriptor] = watcher

    def handOver(self, descriptor: int, watcher: Watcher) -> None:
        """
        Let somebody else hear of what happens to a socket from now on.
        """
        self._watchers[descriptor] = watcher

    def watchWriting(self, descriptor: int) -> None:
        """
        Tell when there is room for octets, from now on; and at once if there is.
        """
        self.watchFor(descriptor, octets=True, room=True)

    def watchFor(self, descriptor: int, *, octets: bool, room: bool) -> None:
        """
        Tell of an end, and of octets to read or of room for octets only if that is wanted.  What is
        the case already is told at once.
        """
        assert self._epoll is not None
        self._epoll.modify(descriptor, _ENDS | (DATA if octets else 0) | (WRITABLE if room else 0))

    def forget(self, descriptor: int) -> None:
        """
        A socket is about to be closed, which ends the watching.
        """
        self._watchers.pop(descriptor, None)
        if self._leaving and not self._watchers:
            self._detach()

    def unwatch(self, descriptor: int) -> None:
        """
        Watch a socket no more that stays open.
        """
        assert self._epoll is not None
        self._epoll.unregister(descriptor)
        self.forget(descriptor)

    def later(self, watcher: Watcher) -> None:
        """
        Call C{goOn}, once, when the others have had their turn.
        """
        self._waiting[watcher] = None
        if not self._looking:
            self._callLater()

    def _callLater(self) -> None:
        """
        Have the reactor call us in its next turn, for those who wait.
        """
        if self._next is None:
            self._next = self._reactor.callLater(0, self._called)

    def _called(self) -> None:
        """
        The reactor has had its turn.
        """
        self._next = None
        waiting, self._waiting = self._waiting, {}
        self._goOn(waiting)

    def _goOn(self, waiting: Iterable[Watcher]) -> None:
        """
        Give those their turn who have more to do.
        """
        for watcher in waiting:
            # Who waits again has had it, because something has happened.
            if watcher not in self._waiting:
                try:
                    watcher.goOn()
                except BaseException:
                    self._broke(watcher)

    def doRead(self) -> None:
        """
        Something has happened to some of the sockets.
        """
        self._looking = True
        try:
            self._look()
        finally:
            self._looking = False
            if self._waiting:
                self._callLater()

    def _look(self) -> None:
        """
        Look what has happened, and give those their turn who wait, a few times.
        """
        for _ in range(_ROUNDS):
            # It may be closed by what happens.
            happened = () if self._epoll is None else self._epoll.poll(0, _BATCH)
            waiting = self._waiting
            if waiting:
                self._waiting = {}
            elif not happened:
                return
            self._tellAll(happened)
            self._goOn(waiting)

    def _tellAll(self, happened: Sequence[tuple[int, int]]) -> None:
        """
        Tell the watchers of all that has happened at once.
        """
        watchers = self._watchers
        for descriptor, what in happened:
            watcher = watchers.get(descriptor)
            if watcher is not None:
                try:
                    watcher.happened(what)
                except BaseException:
                    self._broke(watcher)

    def tell(self, watcher: Watcher, what: int) -> None:
        """
        Tell a watcher what has been found out in another way.
        """
        try:
            watcher.happened(what)
        except BaseException:
            self._broke(watcher)

    def _broke(self, watcher: Watcher) -> None:
        """
        A watcher has failed.  The others must not suffer.
        """
        events.unforeseen.emit(self._log, log_failure=Failure())
        try:
            watcher.broke()
        except BaseException:
            events.unforeseen.emit(self._log, log_failure=Failure())

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has stopped.
        """

    def stay(self) -> None:
        """
        Stay in the reactor even while there is nothing to watch.
        """
        self._leaving = False

    def leave(self) -> None:
        """
        Leave the reactor as soon as there is nothing to watch.
        """
        self._leaving = True
        if not self._watchers:
            self._detach()

    def _detach(self) -> None:
        """
        Leave the reactor.
        """
        self._waiting.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._epoll is not None:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

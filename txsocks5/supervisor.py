"""
Several processes that serve the same clients, and the one that looks after them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet import tcp
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import events
from .accesslog import AccessLog
from .config import Configuration, differences
from .errors import reasonOf
from .listening import endpointOf
from .sharedtally import SharedTally, createTally
from .sharing import Opener
from .supervised import Supervised

__all__ = ["Supervisor"]

_SHORTEST, _LONGEST = 0.1, 5.0
"""
Seconds until a worker that has died is replaced.  Each that did not live long doubles them.
"""

_LONG = 10.0
"""
Seconds.
"""

_ATTEMPTS = 5
"""
Workers that may die before any has ever been ready.
"""

_PATIENCE = 10.0
"""
Seconds after which a worker is killed that was to have ended.
"""

_LEAST_COLUMNS = 16

_MAX_NEWS = 10_000
"""
Messages for the other workers that are kept for those that will be started.
"""

_BEAT = 10.0
"""
Seconds from one question to the workers to the next, whether they are still there.
"""

_UNANSWERED = 3
"""
Questions that a worker may leave without an answer.  They are counted, and not the seconds: nobody
has hung where the whole machine has slept.
"""


class Supervisor(Service):
    """
    Opens the listeners, and starts processes that accept the clients who come to them.  One that
    dies is replaced.  They count together, and write into the logs of this one.

    It reloads, stops and stops at once as a L{SOCKS5Service <txsocks5.SOCKS5Service>} does, all of
    them together.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        *,
        accessLog: AccessLog | None = None,
        giveUp: Callable[[], None],
    ) -> None:
        """
        @param reactor: provides what L{ISOCKSReactor <txsocks5.interfaces.ISOCKSReactor>} lists,
            processes and sockets.  The workers have one of the same kind.

        @param configuration: what the workers serve by.  It has been judged.

        @param accessLog: gets a line for each session.

        @param giveUp: called when no worker ever begins to serve.
        """
        self._reactor = reactor
        self._configuration = configuration
        self._accessLog = accessLog
        self._giveUp = giveUp
        self._ports: dict[str, Any] = {}
        self._workers: list[Supervised] = []
        self._numbers = 0
        self._news: deque[bytes] = deque(maxlen=_MAX_NEWS)
        self._columns = max(_LEAST_COLUMNS, 2 * configuration.workers)
        self._descriptor = -1
        self._tally: SharedTally | None = None
        self._delay = _SHORTEST
        self._failures: int | None = 0
        self._next: IDelayedCall | None = None
        self._beating: IDelayedCall | None = None
        self._killing: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def privilegedStartService(self) -> None:
        """
        Listen while privileged ports can still be had.

        @raise Exception: whatever keeps an endpoint from listening; then none of them listens.
        """
        Service.privilegedStartService(self)
        self._begin()

    def startService(self) -> None:
        """
        Listen, if that has not been done, and start the workers.

        @raise Exception: see L{privilegedStartService}.

        @raise OSError: the system has no memory that processes can share.
        """
        self._begin()
        self._descriptor = createTally(self._columns)
        self._tally = SharedTally(self._descriptor, 0)
        Service.startService(self)
        self._beat()
        self._fill()

    def _begin(self) -> None:
        """
        Listen everywhere.
        """
        if not self._ports:
            self._ports = self._listen(self._configuration.listen)

    def _listen(self, descriptions: Sequence[str]) -> dict[str, Any]:
        """
        Open listeners.

        @raise Exception: see L{privilegedStartService}.
        """
        ports: dict[str, Any] = {}
        try:
            for description in descriptions:
                port = _opened(Opener(self._reactor), description)
                ports[description] = port
                if not isinstance(port, tcp.Port):
                    raise ValueError(f"{description!r} cannot be shared by several workers")
        except BaseException:
            _close(ports.values())
            raise
        return ports

    # The processes

    def _fill(self) -> None:
        """
        Start as many workers as there are too few.
        """
        self._next = None
        while self.running and self._tooFew() and self._next is None and not self._isHopeless:
            self._start()

    @property
    def _isHopeless(self) -> bool:
        """
        Whether so many have died, and none has ever been ready, that no other one is started.
        """
        return self._failures is not None and self._failures >= _ATTEMPTS

    def _tooFew(self) -> bool:
        """
        Whether another worker is wanted, and there is a column for it.
        """
        serving = [worker for worker in self._workers if worker.running and not worker.retired]
        running = [worker for worker in self._workers if worker.running]
        return len(serving) < self._configuration.workers and len(running) < self._columns

    def _start(self) -> None:
        """
        Start one.
        """
        taken = {worker.column for worker in self._workers if worker.running}
        column = min(set(range(self._columns)) - taken)
        self._numbers += 1
        worker = Supervised(self, self._numbers, column, self._reactor.seconds())
        try:
            worker.start(self._reactor, self._descriptor, recording=self._accessLog is not None)
        except OSError as error:
            self._failed(f"worker {worker.number} cannot be started: {reasonOf(error)}")
            return
        self._workers.append(worker)
        events.workerStarted.emit(self._log, worker=worker.number, pid=worker.pid)
        worker.order(self._configuration, self._ports)
        worker.recount(self._news)

    def _beat(self) -> None:
        """
        Ask the workers whether they are still there, and end those that do not answer.
        """
        self._beating = self._reactor.callLater(_BEAT, self._beat)
        for worker in self._workers:
            if worker.unanswered < _UNANSWERED:
                worker.ask()
            elif worker.running:
                events.workerHung.emit(
                    self._log,
                    worker=worker.number,
                    pid=worker.pid,
                    seconds=round(_UNANSWERED * _BEAT),
                )
                worker.kill()

    # What they say

    def said(self, worker: Supervised, line: str) -> None:
        """
        A worker has written a line into its log.
        """
        events.workerSaid.emit(self._log, worker=worker.number, line=events.Line(line))

    def record(self, line: str) -> None:
        """
        A worker has written a line for the access log.
        """
        if self._accessLog is not None:
            self._accessLog.add(line)

    def spread(self, worker: Supervised, message: bytes) -> None:
        """
        A worker has something to say to the others.
        """
        self._news.append(message)
        for other in self._workers:
            if other is not worker:
                other.mention(message)

    def isReady(self) -> None:
        """
        A worker serves.
        """
        self._failures = None

    def exited(self, worker: Supervised, reason: str) -> None:
        """
        A worker has ended.
        """
        assert self._tally is not None
        self._tally.drop(worker.column)
        if not self.running or self._isHopeless:
            return
        if worker.retired:
            self._fill()
            return
        if self._reactor.seconds() - worker.since >= _LONG:
            self._delay = _SHORTEST
        self._failed(f"worker {worker.number} (process {worker.pid}) {reason}")

    def _failed(self, what: str) -> None:
        """
        There is one worker less than there should be.
        """
        if self._failures is not None:
            self._failures += 1
            if self._isHopeless:
                events.workersFailed.emit(self._log, reason=what)
                self._giveUp()
                return
        if self._next is None:
            self._next = self._reactor.callLater(self._delay, self._fill)
            self._delay = min(2 * self._delay, _LONGEST)
        delay = round(self._next.getTime() - self._reactor.seconds(), 3)
        events.workerLost.emit(self._log, reason=what, delay=delay)

    def ended(self, worker: Supervised) -> None:
        """
        Nothing is left of a worker.
        """
        self._workers.remove(worker)
        if not self._workers and self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)

    # The life cycle

    def reload(self, plan: Any) -> Deferred[None]:
        """
        Let all workers serve by another configuration; see L{SOCKS5Service.reload
        <txsocks5.SOCKS5Service.reload>}.  More or less of them, if it says so: those that are too
        many end when their sessions have.

        @param plan: an L{Assembly <txsocks5.assembly.Assembly>}.

        @return: a Deferred that fires when they have been told; or fails with what keeps a new
            endpoint from listening, and then everything is as it was.
        """
        return maybeDeferred(self._reload, plan.configuration)

    def _reload(self, configuration: Configuration) -> None:
        """
        See L{reload}.

        @raise ValueError: there are too many workers.
        """
        if configuration.workers > self._columns:
            raise ValueError(
                f"workers: found {configuration.workers}; allowed without a restart: "
                f"up to {self._columns}"
            )
        changed = differences(self._configuration, configuration)
        added = self._listen([each for each in configuration.listen if each not in self._ports])
        removed = [self._ports.pop(each) for each in set(self._ports) - set(configuration.listen)]
        self._ports |= added
        self._configuration = configuration
        serving = [worker for worker in self._workers if worker.running and not worker.retired]
        for worker in serving[configuration.workers :]:
            worker.retire()
        for worker in self._workers:
            worker.order(configuration, self._ports)
        _close(removed)
        if self._next is None:
            self._fill()
        events.workersReloaded.emit(self._log, changed=", ".join(changed) or "nothing")

    def stopService(self) -> Deferred[None]:
        """
        Listen no more, and have the workers stop; see L{SOCKS5Service.stopService
        <txsocks5.SOCKS5Service.stopService>}.

        @return: a Deferred that fires when none of them is left.
        """
        Service.stopService(self)
        for late in (self._next, self._beating):
            if late is not None:
                late.cancel()
        self._next = self._beating = None
        ports, self._ports = self._ports, {}
        closed = _close(ports.values())
        for worker in self._workers:
            worker.drain()
        ended: Deferred[None] = succeed(None)
        if self._workers:
            ended = self._stopped = Deferred()
            self._killIn(self._configuration.timeouts.drain + _PATIENCE)
        return closed.addCallback(lambda ignored: ended).addCallback(self._tidy)

    def stopNow(self) -> None:
        """
        Wait for no session any more.
        """
        for worker in self._workers:
            worker.hurry()
        if self._killing is not None:
            self._killIn(_PATIENCE)

    def _killIn(self, seconds: float) -> None:
        """
        Kill those that have not ended by then.
        """
        if self._killing is not None:
            self._killing.cancel()
        self._killing = self._reactor.callLater(seconds, self._kill)

    def _kill(self) -> None:
        """
        They have had their time.
        """
        self._killing = None
        for worker in self._workers:
            worker.kill()

    def _tidy(self, ignored: object) -> None:
        """
        All have ended.
        """
        if self._killing is not None:
            self._killing.cancel()
            self._killing = None
        if self._tally is not None:
            self._tally.close()
            self._tally = None
            os.close(self._descriptor)


def _opened(reactor: Any, description: str) -> IListeningPort:
    """
    Open a listener.

    @raise Exception: whatever keeps it from listening.
    """
    results: list[Any] = []
    listened = endpointOf(reactor, description).listen(Factory())
    listened.addBoth(results.append)
    if not results:
        listened.cancel()
        raise ValueError(f"{description!r} cannot be shared by several workers")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    port: IListeningPort = results[0]
    return port


def _close(ports: Any) -> Deferred[Any]:
    """
    Close listeners.
    """
    return DeferredList([maybeDeferred(port.stopListening) for port in ports])

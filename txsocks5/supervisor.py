"""
Several processes that serve the same clients, and the one that looks after them.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet import tcp
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import events
from .accesslog import AccessLog
from .channel import CLOSE, DRAIN, READY, RETIRE, Channel, Orders
from .conduit import Lines
from .config import Configuration, differences
from .errors import reasonOf
from .listening import endpointOf
from .sharedtally import SharedTally, createTally
from .sharing import Opener, spelled
from .worker import ACCESS_LOG, CONTROL, TALLY, Post

__all__ = ["Supervisor"]

_PROGRAM = "from txsocks5.worker import main; main()"

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


class _Worker(ProcessProtocol):
    """
    A worker, as its supervisor sees it.

    @ivar number: no other worker of the supervisor ever has the same.

    @ivar column: that of the tally.

    @ivar since: when it was started.

    @ivar sent: the endpoint strings whose sockets it has been given.

    @ivar ready: whether it has begun to serve.

    @ivar retired: whether it has been told to end.
    """

    def __init__(self, supervisor: Supervisor, number: int, column: int, since: float) -> None:
        self._supervisor = supervisor
        self.number = number
        self.column = column
        self.since = since
        self.sent: set[str] = set()
        self.ready = False
        self.retired = False
        self.running = True
        self.pid = 0
        self._process: Any = None
        self.channel = Channel(self._heard, lambda: None)
        self._lines = {1: Lines(), 2: Lines(), ACCESS_LOG: Lines()}

    def makeConnection(self, process: Any) -> None:
        """
        The process runs.
        """
        self.pid = process.pid
        self._process = process

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        It has written something.
        """
        self._say(childFD, self._lines[childFD].received(data))

    def childConnectionLost(self, childFD: int) -> None:
        """
        It will write no more.
        """
        self._say(childFD, self._lines[childFD].ended())

    def _say(self, descriptor: int, lines: Any) -> None:
        """
        Pass on what it has written.
        """
        for line in lines:
            if descriptor == ACCESS_LOG:
                self._supervisor.record(line)
            else:
                self._supervisor.said(self, line)

    def _heard(self, message: bytes, descriptors: Sequence[int]) -> None:
        """
        It says something about its orders.
        """
        self.ready = True
        if message == READY:
            self._supervisor.isReady()

    def retire(self) -> None:
        """
        Let it end when its sessions have.
        """
        self.retired = True
        self.channel.say(RETIRE)

    def kill(self) -> None:
        """
        End it.
        """
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")

    def processExited(self, reason: Failure) -> None:
        """
        It has ended.
        """
        self.running = False
        self._supervisor.exited(self, _saidOf(reason))

    def processEnded(self, reason: Failure) -> None:
        """
        It has ended, and all that it has written has come.
        """
        self._supervisor.ended(self)


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
        self._workers: list[_Worker] = []
        self._numbers = 0
        self._columns = max(_LEAST_COLUMNS, 2 * configuration.workers)
        self._descriptor = -1
        self._tally: SharedTally | None = None
        self._delay = _SHORTEST
        self._failures: int | None = 0
        self._next: IDelayedCall | None = None
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
        while self.running and self._tooFew() and self._next is None:
            self._start()

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
        worker = _Worker(self, self._numbers, column, self._reactor.seconds())
        try:
            self._spawn(worker)
        except OSError as error:
            self._failed(f"worker {worker.number}: {reasonOf(error)}")
            return
        self._workers.append(worker)
        events.workerStarted.emit(self._log, worker=worker.number, pid=worker.pid)
        self._order(worker)

    def _spawn(self, worker: _Worker) -> None:
        """
        Start the process of one.

        @raise OSError: the system cannot.
        """
        ours, its = socket.socketpair()
        with ours, its, open(os.devnull, "rb") as nothing:
            ours.setblocking(False)
            factory = Factory.forProtocol(lambda: worker.channel)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            self._reactor.spawnProcess(
                worker,
                sys.executable,
                [sys.executable, "-P", "-c", _PROGRAM, self._postOf(worker)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                path=None,
                childFDs={
                    0: nothing.fileno(),
                    1: "r",
                    2: "r",
                    CONTROL: its.fileno(),
                    TALLY: self._descriptor,
                    ACCESS_LOG: "r",
                },
            )

    def _postOf(self, worker: _Worker) -> str:
        """
        What to tell a process when it is started.
        """
        return json.dumps(
            attrs.asdict(
                Post(
                    number=worker.number,
                    column=worker.column,
                    reactor=type(self._reactor).__module__,
                    recording=self._accessLog is not None,
                )
            )
        )

    def _order(self, worker: _Worker) -> None:
        """
        Tell one by what to serve.
        """
        names = {
            description: spelled(description, port) for description, port in self._ports.items()
        }
        configuration = attrs.evolve(self._configuration, listen=tuple(names.values()))
        added = [description for description in self._ports if description not in worker.sent]
        worker.sent = set(self._ports)
        orders = Orders(configuration, tuple(names[description] for description in added))
        worker.channel.say(
            pickle.dumps(orders), [self._ports[description].fileno() for description in added]
        )

    # What they say

    def said(self, worker: _Worker, line: str) -> None:
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

    def isReady(self) -> None:
        """
        A worker serves.
        """
        self._failures = None

    def exited(self, worker: _Worker, reason: str) -> None:
        """
        A worker has ended.
        """
        assert self._tally is not None
        self._tally.drop(worker.column)
        if not self.running:
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
            if self._failures >= _ATTEMPTS:
                events.workersFailed.emit(self._log, reason=what)
                self._giveUp()
                return
        events.workerLost.emit(self._log, reason=what, delay=self._delay)
        if self._next is None:
            self._next = self._reactor.callLater(self._delay, self._fill)
            self._delay = min(2 * self._delay, _LONGEST)

    def ended(self, worker: _Worker) -> None:
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
            self._order(worker)
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
        if self._next is not None:
            self._next.cancel()
            self._next = None
        ports, self._ports = self._ports, {}
        closed = _close(ports.values())
        for worker in self._workers:
            worker.channel.say(DRAIN)
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
            worker.channel.say(CLOSE)
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


def _saidOf(reason: Failure) -> str:
    """
    Say how a process has ended.
    """
    status: Any = reason.value
    if status.signal is not None:
        return f"was killed by signal {status.signal}"
    return f"ended with status {status.exitCode}"

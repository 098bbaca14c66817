"""
A process that serves clients together with others, for a supervisor that has started it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from typing import Protocol as TypingProtocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, Logger, eventAsText, globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.reflect import namedModule
from zope.interface import implementer

from . import events
from .accesslog import AccessLog
from .assembly import Assembly, assemble
from .auth import PasswordAuthenticator
from .channel import ANSWER, ASK, CLOSE, DRAIN, NEWS, READY, REFUSED, RETIRE, Channel, Orders
from .conduit import Conduit
from .config import ConfigurationError
from .errors import reasonOf
from .journal import Unwritten
from .outcome import Outcome
from .process import LOOK_UPS, THREADS, collectSeldom
from .resolvers import Resolvers
from .server import SOCKS5Factory
from .service import SOCKS5Service
from .sharedtally import SharedTally
from .sharing import Adopter
from .throttle import Throttle

__all__ = ["ACCESS_LOG", "CONTROL", "TALLY", "Post", "Worker", "main"]

CONTROL, TALLY, ACCESS_LOG = 3, 4, 5
"""
The file descriptors that a worker is started with, beside the usual three: a UNIX socket, of which
the supervisor has the other end; the memory of a L{SharedTally}; and a pipe.
"""

_LAST_WORDS = 2.0
"""
Seconds for the supervisor to read what a worker has to say in the end.
"""


@attrs.frozen
class Post:
    """
    What a worker is told when it is started.

    @ivar number: its number.

    @ivar column: that of the tally.

    @ivar reactor: the module that installs the reactor.

    @ivar recording: whether the supervisor writes an access log.
    """

    number: int
    column: int
    reactor: str
    recording: bool


class _Writer(TypingProtocol):
    """
    Where lines go.
    """

    def write(self, text: str) -> object:
        """
        Write.

        @raise OSError: it cannot be done.
        """


@implementer(ILogObserver)
class LinesObserver:
    """
    Writes the log into a pipe.  What the supervisor does not read is counted, and told when it
    reads again.
    """

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._lost = 0

    def __call__(self, event: LogEvent) -> None:
        """
        Write down an event.
        """
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if self._lost:
            text = f"{self._lost} events are missing here: they were not read\n{text}"
        try:
            self._writer.write(f"{text}\n")
        except OSError:
            self._lost += 1
        else:
            self._lost = 0


class Worker:
    """
    Serves clients by the orders of a supervisor.

    @ivar status: with which the process is to exit.
    """

    _log = Logger()

    def __init__(self, reactor: Any, post: Post, tally: SharedTally, accessLog: Any) -> None:
        """
        @param tally: where all workers count.

        @param accessLog: where the lines of the access log go.
        """
        self._reactor = reactor
        self._post = post
        self._tally = tally
        self._resolvers = Resolvers(reactor, lookUps=LOOK_UPS)
        self._accessLog = (
            AccessLog(reactor, lambda: accessLog, worker=post.number) if post.recording else None
        )
        self._sockets: dict[str, int] = {}
        self._throttles: list[Throttle] = []
        self._service: SOCKS5Service | None = None
        self._stopping = False
        self.channel = Channel(self._heard, self._abandoned)
        self.status = 0

    def begin(self, control: int) -> None:
        """
        Listen to the supervisor.

        @param control: the UNIX socket.
        """
        os.set_blocking(control, False)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        factory = Factory.forProtocol(lambda: self.channel)
        self._reactor.adoptStreamConnection(control, socket.AF_UNIX, factory)
        os.close(control)

    def _heard(self, message: bytes, descriptors: Sequence[int]) -> None:
        """
        The supervisor says something.
        """
        if message == DRAIN:
            self._end()
        elif message == RETIRE:
            self._retire()
        elif message == CLOSE:
            self._hurry()
        elif message == ASK:
            self.channel.say(ANSWER)
        elif message.startswith(NEWS):
            for throttle in self._throttles:
                throttle.hear(Outcome.read(message.removeprefix(NEWS)))
        else:
            orders: Orders = pickle.loads(message)
            self._sockets.update(zip(orders.added, descriptors, strict=True))
            self._obey(orders)

    def _obey(self, orders: Orders) -> None:
        """
        Serve by these orders.
        """
        try:
            assembly = assemble(
                self._reactor, orders.configuration, resolvers=self._resolvers, tally=self._tally
            )
            if self._service is not None:
                served = self._service.reload(assembly)
            else:
                served = self._start(assembly)
        except Exception:
            self._refuse(Failure())
        else:
            served.addCallback(self._obeyed, assembly)
            served.addErrback(self._refuse)

    def _start(self, assembly: Any) -> Deferred[None]:
        """
        Begin to serve.

        @raise Exception: see L{SOCKS5Service.startService}.
        """
        factory = SOCKS5Factory(
            self._reactor, **assembly.parts, journal=self._accessLog or Unwritten()
        )
        if self._accessLog is not None:
            self._accessLog.start()
        service = SOCKS5Service(
            factory,
            assembly.configuration.listen,
            assembly.configuration,
            reactorOf=self._reactorOf,
        )
        service.startService()
        collectSeldom()
        self._service = service
        started: Deferred[None] = Deferred()
        started.callback(None)
        return started

    def _reactorOf(self, description: str) -> Any:
        """
        What an endpoint takes for a reactor.
        """
        given = self._sockets.get(description)
        return Adopter(self._reactor, () if given is None else (given,))

    def _obeyed(self, ignored: object, assembly: Assembly) -> None:
        """
        The orders are carried out.
        """
        configuration = assembly.configuration
        for description in set(self._sockets) - set(configuration.listen):
            os.close(self._sockets.pop(description))
        self._throttles = [
            each.throttle
            for each in assembly.authenticators
            if isinstance(each, PasswordAuthenticator)
        ]
        for throttle in self._throttles:
            throttle.join(self._tell, configuration.workers)
        self.channel.say(READY)

    def _tell(self, outcome: Outcome) -> None:
        """
        Tell the other workers what has become of a guess.
        """
        self.channel.mention(NEWS + outcome.octets())

    def _refuse(self, reason: Failure) -> None:
        """
        The orders cannot be carried out.
        """
        assert reason.value is not None
        lines = [reasonOf(reason.value)]
        if isinstance(reason.value, ConfigurationError):
            lines = [str(problem) for problem in reason.value.problems]
        for line in lines:
            events.workerRefused.emit(self._log, reason=line)
        if self._service is None:
            self.status = 1
            self._end()
        else:
            self.channel.say(REFUSED)

    def _abandoned(self) -> None:
        """
        The supervisor is gone.
        """
        self._end()
        self._hurry()

    def _end(self) -> None:
        """
        End the process when the sessions have ended.
        """
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _retire(self) -> None:
        """
        Let the sessions go on until they end, and then end the process.
        """
        if self._service is None:
            self._end()
        else:
            self._service.retire().addCallback(lambda ignored: self._end())

    def _hurry(self) -> None:
        """
        Wait for no session.
        """
        if self._service is not None:
            self._service.stopNow()

    def _stop(self) -> Deferred[None] | None:
        """
        The reactor is about to stop.
        """
        self._stopping = True
        if self._service is None:
            return None
        return self._service.stopService().addBoth(self._close)

    def _close(self, result: Any) -> Any:
        """
        All sessions have been written down.
        """
        if self._accessLog is not None:
            self._accessLog.stop()
        return result


def main() -> None:
    """
    Be a worker: the process that a supervisor has started begins here.
    """
    with suppress(OSError):
        # What a terminal says to its programs, it says to the supervisor.
        os.setsid()
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    post = Post(**json.loads(sys.argv[1]))
    namedModule(post.reactor).install()
    from twisted.internet import reactor

    running: Any = reactor
    running.suggestThreadPoolSize(THREADS)
    log, lines = Conduit(running, 1), Conduit(running, ACCESS_LOG)
    globalLogBeginner.beginLoggingTo([LinesObserver(log)])
    worker = Worker(running, post, SharedTally(TALLY, post.column), lines)
    worker.begin(CONTROL)
    running.run()
    for conduit in (lines, log):
        conduit.finish(_LAST_WORDS)
    sys.exit(worker.status)

"""
C{twistd socks5}.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import events
from .accesslog import AccessLog, logFile
from .assembly import Assembly, assemble
from .config import Configuration, ConfigurationError
from .errors import reasonOf
from .journal import Unwritten
from .options import CannotStart, Options
from .process import LOOK_UPS, THREADS, collectSeldom
from .resolvers import Resolvers
from .server import SOCKS5Factory
from .service import SOCKS5Service
from .supervisor import Supervisor

__all__ = ["Options", "makeService"]

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_log = Logger()


class _Program(Service):
    """
    What C{twistd} runs: a service, with the signals and the access log that belong to it.  It ends
    the program if it cannot listen, or write its log.

    @ivar served: the service, which serves the clients by itself or by others.
    """

    def __init__(
        self,
        served: SOCKS5Service | Supervisor,
        options: Options,
        accessLog: AccessLog | None,
        assembled: Callable[[Configuration], Assembly],
    ) -> None:
        """
        @param options: what has been asked for, and is read again when SIGHUP comes.

        @param assembled: makes the parts of a server.
        """
        self.served = served
        self._options = options
        self._accessLog = accessLog
        self._assembled = assembled

    def privilegedStartService(self) -> None:
        """
        Listen; see L{SOCKS5Service.privilegedStartService}.

        @raise CannotStart: an endpoint cannot listen.
        """
        Service.privilegedStartService(self)
        with _orNotAtAll():
            self.served.privilegedStartService()

    def startService(self) -> None:
        """
        Listen; see L{SOCKS5Service.startService}.

        @raise CannotStart: an endpoint cannot listen.
        """
        Service.startService(self)
        with _orNotAtAll():
            if self._accessLog is not None:
                self._accessLog.start()
                _alsoUpon(signal.SIGUSR1, self._accessLog.rotate)
            _alsoUpon(signal.SIGHUP, self._readAgain)
            self.served.startService()
        collectSeldom()

    def stopService(self) -> Deferred[None]:
        """
        Stop; see L{SOCKS5Service.stopService}.  Whoever asks for it a second time does not want to
        wait.
        """
        Service.stopService(self)
        before = {number: signal.signal(number, self._hurry) for number in _STOPPING}
        return self.served.stopService().addCallback(lambda ignored: self._stopped(before))

    def _readAgain(self) -> None:
        """
        Read the configuration again, and serve by it if nothing is wrong with it.
        """
        try:
            assembly = self._assembled(self._options.read())
        except ConfigurationError as error:
            for line in self._options.linesOf(error.problems):
                events.notReloaded.emit(_log, reason=line)
            return
        if assembly.configuration.workers > 1 and not isinstance(self.served, Supervisor):
            reason = "workers: a server that began with one process needs a restart for more"
            events.notReloaded.emit(_log, reason=reason)
            return
        for line in self._options.linesOf(assembly.warnings):
            events.dubious.emit(_log, doubt=line)
        self.served.reload(assembly).addErrback(self._kept)

    def _kept(self, reason: Failure) -> None:
        """
        The configuration that was read does not hold.
        """
        assert reason.value is not None
        events.notReloaded.emit(_log, reason=reasonOf(reason.value))

    def _hurry(self, number: int, frame: FrameType | None) -> None:
        """
        There has been another signal to stop.
        """
        from twisted.internet import reactor

        threads: Any = reactor
        threads.callFromThread(self.served.stopNow)

    def _stopped(self, before: Mapping[Any, Any]) -> None:
        """
        All sessions have been written down, and signals mean what they did before.
        """
        if self._accessLog is not None:
            self._accessLog.stop()
        for number, action in before.items():
            signal.signal(number, action)


def _alsoUpon(number: int, call: Callable[[], None]) -> None:
    """
    Call C{call} when a signal comes, besides whatever happens then anyhow.
    """
    from twisted.internet import reactor

    before = signal.getsignal(number)
    threads: Any = reactor

    def happened(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        threads.callFromThread(call)

    signal.signal(number, happened)


@contextmanager
def _orNotAtAll() -> Iterator[None]:
    """
    Turn any error into the end of the program.
    """
    try:
        yield
    except Exception as error:
        raise CannotStart(reasonOf(error)) from error


def makeService(options: Options) -> IService:
    """
    Make the service that C{twistd} runs.

    @raise CannotStart: nothing can be started with these options; all reasons are in its text.
    """
    from twisted.internet import reactor

    threads: Any = reactor
    threads.suggestThreadPoolSize(THREADS)
    assembled = partial(assemble, reactor, resolvers=Resolvers(reactor, lookUps=LOOK_UPS))
    try:
        assembly = assembled(options.configuration)
    except ConfigurationError as error:
        raise CannotStart("\n".join(options.linesOf(error.problems))) from None
    for line in options.linesOf(assembly.warnings):
        events.dubious.emit(_log, doubt=line)
    accessLog = _accessLog(reactor, options.accessLog())
    configuration = options.configuration
    served: SOCKS5Service | Supervisor
    if configuration.workers > 1:
        served = Supervisor(reactor, configuration, accessLog=accessLog, giveUp=_giveUp)
    else:
        factory = SOCKS5Factory(reactor, **assembly.parts, journal=accessLog or Unwritten())
        served = SOCKS5Service(factory, configuration.listen, configuration)
    service: IService = _Program(served, options, accessLog, assembled)
    return service


def _giveUp() -> None:
    """
    End the program with status 1.  C{twistd} has no way to, once the reactor runs.
    """
    from twisted.internet import reactor

    running: Any = reactor
    atexit.register(_exit)
    running.stop()


def _exit() -> None:
    """
    The interpreter is about to end.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _accessLog(clock: Any, where: str) -> AccessLog | None:
    """
    Make the access log.

    @param where: see L{Options.accessLog}.

    @return: L{None} for none.
    """
    if not where:
        return None
    # Twisted is about to put something of its own in the place of this one.
    standardOutput = sys.stdout
    if where == "-":
        return AccessLog(clock, lambda: standardOutput)
    return AccessLog(clock, lambda: logFile(where))

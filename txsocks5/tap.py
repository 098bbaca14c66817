"""
C{twistd socks5}.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from . import events
from .accesslog import AccessLog, logFile
from .assembly import Assembly, assemble
from .config import Configuration, ConfigurationError
from .journal import Unwritten
from .options import CannotStart, Options
from .server import SOCKS5Factory
from .service import SOCKS5Service

__all__ = ["Options", "makeService"]


_STOPPING = (signal.SIGTERM, signal.SIGINT)
_LOOK_UPS = 64
_OTHER_THREADS = 8

_log = Logger()


def _collectSeldom() -> None:
    """
    Sessions leave little to the garbage collector, the two sides of a relay that know each other,
    and looking for it takes a tenth of a short session's time: leave out what is there from the
    start, and look more seldom.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class _CommandLineService(SOCKS5Service):
    """
    A service that ends the program if it cannot listen, or write its log.
    """

    def __init__(
        self,
        factory: SOCKS5Factory,
        options: Options,
        accessLog: AccessLog | None,
        assembled: Callable[[Configuration], Assembly],
    ) -> None:
        """
        @param options: what has been asked for, and is read again when SIGHUP comes.

        @param assembled: makes the parts of a server.
        """
        super().__init__(factory, options.configuration.listen, options.configuration)
        self._options = options
        self._accessLog = accessLog
        self._assembled = assembled

    def privilegedStartService(self) -> None:
        """
        Listen; see L{SOCKS5Service.privilegedStartService}.

        @raise CannotStart: an endpoint cannot listen.
        """
        with _orNotAtAll():
            super().privilegedStartService()

    def startService(self) -> None:
        """
        Listen; see L{SOCKS5Service.startService}.

        @raise CannotStart: an endpoint cannot listen.
        """
        with _orNotAtAll():
            if self._accessLog is not None:
                self._accessLog.start()
                _alsoUpon(signal.SIGUSR1, self._accessLog.rotate)
            _alsoUpon(signal.SIGHUP, self._readAgain)
            super().startService()
        _collectSeldom()

    def stopService(self) -> Deferred[None]:
        """
        Stop; see L{SOCKS5Service.stopService}.  Whoever asks for it a second time does not want to
        wait.
        """
        before = {number: signal.signal(number, self._hurry) for number in _STOPPING}
        return super().stopService().addCallback(lambda ignored: self._stopped(before))

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
        for line in self._options.linesOf(assembly.warnings):
            events.dubious.emit(_log, doubt=line)
        self.reload(assembly).addErrback(
            lambda reason: events.notReloaded.emit(_log, reason=reason.getErrorMessage())
        )

    def _hurry(self, number: int, frame: FrameType | None) -> None:
        """
        There has been another signal to stop.
        """
        from twisted.internet import reactor

        threads: Any = reactor
        threads.callFromThread(self.stopNow)

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
        raise CannotStart(str(error) or repr(error)) from error


def makeService(options: Options) -> IService:
    """
    Make the service that C{twistd} runs.

    @raise CannotStart: nothing can be started with these options; all reasons are in its text.
    """
    from twisted.internet import reactor

    # Look-ups of names block a thread each, perhaps for long; checking passwords must not have to
    # wait for them.
    threads: Any = reactor
    threads.suggestThreadPoolSize(_LOOK_UPS + _OTHER_THREADS)
    assembled = partial(assemble, reactor, lookUps=_LOOK_UPS)
    try:
        assembly = assembled(options.configuration)
    except ConfigurationError as error:
        raise CannotStart("\n".join(options.linesOf(error.problems))) from None
    for line in options.linesOf(assembly.warnings):
        events.dubious.emit(_log, doubt=line)
    accessLog = _accessLog(reactor, options.accessLog())
    factory = SOCKS5Factory(reactor, **assembly.parts, journal=accessLog or Unwritten())
    service: IService = _CommandLineService(factory, options, accessLog, assembled)
    return service


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

"""
Child processes of the tests, and what they print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure


@dataclass(frozen=True)
class Outcome:
    """
    How a program ended.

    @ivar program: the program's name.
    @ivar status: its exit status; L{None} if a signal ended it.
    @ivar signal: the number of the signal that ended it; L{None} if it exited.
    @ivar out: what it wrote to its standard output.
    @ivar err: what it wrote to its standard error.
    """

    program: str
    status: int | None
    signal: int | None
    out: bytes
    err: bytes

    @property
    def complaint(self) -> str:
        """
        What the program wrote to its standard error, as text.
        """
        return self.err.decode("utf-8", "replace")

    def __str__(self) -> str:
        """
        Tell everything that helps to find out why a test failed.
        """
        out = self.out[-4000:].decode("utf-8", "replace")
        return (
            f"{self.program}: exit status {self.status}, signal {self.signal}\n"
            f"--- standard output ---\n{out}\n--- standard error ---\n{self.complaint}"
        )


class EndedEarly(Exception):
    """
    A program ended before it printed what was waited for.
    """


@dataclass
class _Awaited:
    """
    Something that a program is going to print.
    """

    pattern: re.Pattern[str]
    count: int
    found: Deferred[list[str]] = field(default_factory=Deferred)

    def look(self, text: str) -> bool:
        """
        Fire L{found} if it is all there.
        """
        matches = [match[1] for match in self.pattern.finditer(text)]
        if len(matches) < self.count:
            return False
        self.found.callback(matches)
        return True


class Program(ProcessProtocol):
    """
    A running program.

    @ivar name: its name, for messages.
    @ivar outcome: how it ended; L{None} as long as it runs.
    """

    transport: IProcessTransport

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome: Outcome | None = None
        self._out = bytearray()
        self._err = bytearray()
        self._awaited: list[_Awaited] = []
        self._watchers: list[Deferred[Outcome]] = []

    @classmethod
    def start(
        cls,
        reactor: IReactorProcess,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: str,
    ) -> Program:
        """
        Start a program.

        @param command: its file and its arguments.
        @param environment: all its environment variables.
        @param folder: its working directory.
        """
        running = cls(command[0].rpartition("/")[2])
        reactor.spawnProcess(running, command[0], command, dict(environment), folder)
        return running

    def outReceived(self, data: bytes) -> None:
        """
        Keep the data, and see whether something that is waited for is complete.
        """
        self._out += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        """
        Keep the data, and see whether something that is waited for is complete.
        """
        self._err += data
        self._look()

    def _look(self) -> None:
        """
        Tell those whose lines have come.
        """
        if self._awaited:
            text = self.printed
            self._awaited = [one for one in self._awaited if not one.look(text)]

    def processEnded(self, reason: Failure) -> None:
        """
        Tell everybody who waits for the end, or for something that will now
        never be printed.
        """
        status: int | None = getattr(reason.value, "exitCode", None)
        signal: int | None = getattr(reason.value, "signal", None)
        self.outcome = Outcome(self.name, status, signal, bytes(self._out), bytes(self._err))
        awaited, self._awaited = self._awaited, []
        for one in awaited:
            one.found.errback(EndedEarly(str(self.outcome)))
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(self.outcome)

    @property
    def printed(self) -> str:
        """
        All complete lines so far: those of the standard output, then those of
        the standard error.
        """
        complete = [stream[: stream.rfind(b"\n") + 1] for stream in (self._out, self._err)]
        return b"".join(complete).decode("utf-8", "replace")

    def whenPrinted(self, pattern: str, count: int = 1) -> Deferred[list[str]]:
        """
        Wait for lines on the program's standard output, or its standard error.

        @param pattern: a regular expression with one group.
        @param count: how many matches there have to be.

        @return: a L{Deferred} that fires with what the group matched, each time,
            or fails with L{EndedEarly} if the program ends before.
        """
        awaited = _Awaited(re.compile(pattern, re.MULTILINE), count)
        if not awaited.look(self.printed):
            if self.outcome is None:
                self._awaited.append(awaited)
            else:
                awaited.found.errback(EndedEarly(str(self.outcome)))
        return awaited.found

    def whenEnded(self) -> Deferred[Outcome]:
        """
        Wait for the end of the program.
        """
        watcher: Deferred[Outcome] = Deferred()
        if self.outcome is None:
            self._watchers.append(watcher)
        else:
            watcher.callback(self.outcome)
        return watcher

    def signal(self, name: str) -> None:
        """
        Send a signal, such as C{"TERM"}, unless the program has ended.
        """
        if self.outcome is None:
            self.transport.signalProcess(name)

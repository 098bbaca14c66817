"""
A run: servers started, measured in turn, stopped.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen

from .disciplines import Discipline, Trial
from .isolation import FIRST_PORT, isInside
from .load import Load, LoadError, Target
from .loads import Settings
from .peers import Peer, Place
from .processes import systemCalls
from .results import Sample, rotated
from .servers import Server, ServerError, started

#: The first and the last port of those that the system chooses by itself.
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

#: Before it counts, a server does the same for so many seconds, beside so many sessions.
_WARM_UP = Settings(0.2, 64)

#: What a failure of the whole trial is called.
_FAILED = "not measured: {}"


@frozen
class Run:
    """
    How everything is measured.

    @ivar folder: for the servers' files.

    @ivar cores: the processors of the servers.

    @ivar counting: whether system calls are counted, in one more round.

    @ivar tell: is told, in a line, what goes on.
    """

    load: Load
    folder: Path
    cores: frozenset[int]
    rounds: int
    settings: Settings
    tell: Callable[[str], None]
    counting: bool = False

    def discipline(self, discipline: Discipline, peers: Sequence[Peer]) -> Iterator[Sample]:
        """
        Measure servers in one discipline.

        @param peers: the servers, all of which can run.
        """
        for trial in discipline.trials:
            entrants = [(i, peer) for i, peer in enumerate(peers) if trial.suits(peer)]
            samples = self._oneByOne if trial.fresh else self._together
            for sample in samples(trial, entrants):
                sample = evolve(sample, discipline=discipline.name)
                self.tell(describe(sample, trial))
                yield sample

    def _together(self, trial: Trial, entrants: Sequence[tuple[int, Peer]]) -> Iterator[Sample]:
        """
        All servers run all the time, and are measured in turn.
        """
        with ExitStack() as stack:
            servers = []
            for index, peer in entrants:
                try:
                    server = stack.enter_context(self._started(index, peer, trial))
                except ServerError as error:
                    yield _failed(trial, peer, 0, error)
                    continue
                servers.append(server)
                self._measured(trial, server, 0, _WARM_UP)
            for number in range(1, (1 if trial.once else self.rounds) + 1):
                for server in rotated(servers, number):
                    yield self._measured(trial, server, number, self.settings)
            counted = self.counting and any(figure.optional for figure in trial.figures)
            for server in servers if counted else ():
                if sample := self._counted(trial, server):
                    yield sample

    def _oneByOne(self, trial: Trial, entrants: Sequence[tuple[int, Peer]]) -> Iterator[Sample]:
        """
        Each server is started to be measured once.
        """
        for number in range(1, (1 if trial.once else self.rounds) + 1):
            for index, peer in rotated(entrants, number):
                try:
                    with self._started(index, peer, trial) as server:
                        yield self._measured(trial, server, number, self.settings)
                except ServerError as error:
                    yield _failed(trial, peer, number, error)

    @contextmanager
    def _started(self, index: int, peer: Peer, trial: Trial) -> Iterator[Server]:
        """
        Run a server, and the one that asks for passwords, if the trial wants one.

        @raise ServerError: it does not start.
        """
        place = placeFor(index, self.folder)
        if trial.descriptors is not None:
            place = evolve(place, descriptors=trial.descriptors)
        with started(peer, place, self.cores) as server:
            if not trial.guarded:
                yield server
                return
            with started(peer, placeFor(index, self.folder, password=True), self.cores) as guarded:
                yield evolve(server, guarded=guarded)

    def _measured(self, trial: Trial, server: Server, number: int, settings: Settings) -> Sample:
        try:
            outcome = trial.measure(server, self.load, settings)
        except LoadError as error:
            return _failed(trial, server.peer, number, error)
        return Sample("", trial.name, server.peer.name, number, outcome.values, outcome.failures)

    def _counted(self, trial: Trial, server: Server) -> Sample | None:
        """
        Once more, with the system calls counted.  Nothing else of this is told: counting takes
        time.
        """
        if server.pid is None:
            return None
        with systemCalls(server.pid) as count:
            sample = self._measured(trial, server, self.rounds + 1, self.settings)
        calls, done = count(), sample.values.get("done")
        if calls is None or not done:
            return None
        return evolve(sample, values={"calls": calls / done})


def _failed(trial: Trial, peer: Peer, number: int, error: Exception) -> Sample:
    return Sample("", trial.name, peer.name, number, {}, {_FAILED.format(error): 1})


def placeFor(index: int, folder: Path, password: bool = False) -> Place:
    """
    Where a server runs, and what its clients ask for.

    @param index: which server it is.

    @param password: whether it is the one that asks for user and password.
    """
    if isInside():
        target = Target(addressOf(index), FIRST_PORT, nameOf(index))
        port = FIRST_PORT + 1 + 2 * index + password
    else:
        target = Target("127.0.0.1", unusedPort(), "localhost")
        port = unusedPort()
    return Place(folder / f"{index}{'-guarded' if password else ''}", port, target, password)


def addressOf(index: int) -> str:
    """
    The address of a server's target: each has one, so that none wears out the ports of another.
    """
    return f"127.1.0.{index + 1}"


def nameOf(index: int) -> str:
    """
    The name of a server's target.
    """
    return f"target-{index + 1}.benchmark.test"


def unusedPort() -> int:
    """
    A port of C{127.0.0.1} that nobody has just now, and that no connection gets meanwhile: it is
    none of those that the system chooses by itself, if there are others.

    @raise OSError: somebody has each of them.
    """
    first, last = map(int, EPHEMERAL.read_text().split())
    others: Sequence[int] = [*range(1024, first), *range(last + 1, 65536)] or range(first, last + 1)
    for port in random.sample(others, len(others)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, "no port is left")


def describe(sample: Sample, trial: Trial) -> str:
    """
    A sample in a line.
    """
    figures = [
        f"{figure.told(sample.values[figure.key])} {figure.title}"
        for figure in trial.figures
        if figure.key in sample.values
    ]
    failed = [f"{count} x {reason}" for reason, count in sample.failures.items()]
    where = f"{sample.discipline}, {sample.trial}"
    return f"round {sample.round}: {where:28} {sample.server:22} {'; '.join(figures + failed)}"

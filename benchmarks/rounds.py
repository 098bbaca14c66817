"""
A run: servers started, measured in turn, stopped.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve, frozen

from .disciplines import Discipline, Trial
from .isolation import FIRST_PORT, isInside
from .load import Load, LoadError, Target
from .peers import Peer, Place
from .results import Sample, rotated
from .servers import Server, ServerError, started

#: A trial that only makes a server warm is so long.
_WARM_UP = 0.2

#: What a failure of the whole trial is called.
_FAILED = "not measured: {}"


@frozen
class Run:
    """
    How everything is measured.

    @ivar folder: for the servers' files.

    @ivar cores: the processors of the servers.

    @ivar seconds: how long a trial lasts.

    @ivar tell: is told, in a line, what goes on.
    """

    load: Load
    folder: Path
    cores: frozenset[int]
    rounds: int
    seconds: float
    tell: Callable[[str], None]

    def discipline(self, discipline: Discipline, peers: Sequence[Peer]) -> list[Sample]:
        """
        Measure servers in one discipline.

        @param peers: the servers, all of which can run.
        """
        samples: list[Sample] = []
        for trial in discipline.trials:
            samples += self._trial(discipline, trial, [peer for peer in peers if trial.suits(peer)])
        return samples

    def _trial(self, discipline: Discipline, trial: Trial, peers: Sequence[Peer]) -> list[Sample]:
        samples: list[Sample] = []

        def measure(number: int, server: Server, seconds: float) -> Sample:
            sample = Sample(discipline.name, trial.name, server.peer.name, number, {})
            try:
                outcome = trial.measure(server, self.load, seconds)
            except LoadError as error:
                return evolve(sample, failures={_FAILED.format(error): 1})
            return evolve(sample, values=outcome.values, failures=outcome.failures)

        with ExitStack() as stack:
            servers = []
            for index, peer in enumerate(peers):
                place = placeFor(index, self.folder, trial.password)
                try:
                    server = stack.enter_context(started(peer, place, self.cores))
                except ServerError as error:
                    failures = {_FAILED.format(error): 1}
                    samples.append(Sample(discipline.name, trial.name, peer.name, 0, {}, failures))
                    continue
                servers.append(server)
                measure(0, server, _WARM_UP)
            for number in range(1, self.rounds + 1):
                for server in rotated(servers, number):
                    sample = measure(number, server, self.seconds)
                    samples.append(sample)
                    self.tell(describe(sample, trial))
        return samples


def placeFor(index: int, folder: Path, password: bool = False) -> Place:
    """
    Where a server runs, and what its clients ask for.

    @param index: which server it is.
    """
    if isInside():
        target = Target(addressOf(index), FIRST_PORT, nameOf(index))
        port = FIRST_PORT + 1 + index
    else:
        target = Target("127.0.0.1", unusedPort(), "localhost")
        port = unusedPort()
    return Place(folder / f"{index}", port, target, password)


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
    A port that nobody listens on just now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def describe(sample: Sample, trial: Trial) -> str:
    """
    A sample in a line.
    """
    figures = [
        f"{sample.values[figure.key]:,.{figure.digits}f} {figure.title}"
        for figure in trial.figures
        if figure.key in sample.values
    ]
    failed = [f"{count} x {reason}" for reason, count in sample.failures.items()]
    where = f"{sample.discipline}, {sample.trial}"
    return f"round {sample.round}: {where:36} {sample.server:22} {'; '.join(figures + failed)}"

"""
The load generator: a C program, built when it is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from attrs import define, frozen

SOURCES = Path(__file__).parent / "generator"

Value = str | float | bool

#: An IPv4 address and a port.
Address = tuple[str, int]


class LoadError(Exception):
    """
    The load generator could not be built, or has not done its work.
    """


@frozen
class Target:
    """
    What clients ask for.

    @ivar name: a name of the address, as the system's resolver knows it.
    """

    address: str
    port: int
    name: str


@frozen
class Outcome:
    """
    What the load generator says.

    @ivar values: its figures by their names.

    @ivar failures: how often what went wrong.
    """

    values: Mapping[str, float]
    failures: Mapping[str, int]


def build(folder: Path, sources: Path = SOURCES, compiler: str = "gcc") -> Path:
    """
    Build the load generator, unless that has been done since its sources were changed.

    @param folder: where it is kept.

    @return: the program.

    @raise LoadError: there is no compiler, or it does not like the sources.
    """
    program = folder / "load"
    files = sorted(sources.glob("*.[ch]"))
    newest = max(path.stat().st_mtime for path in files)
    if program.exists() and program.stat().st_mtime > newest:
        return program
    folder.mkdir(parents=True, exist_ok=True)
    # Two runs may build at the same time: each has a file of its own, and the last one stays.
    fresh = folder / f"load.{os.getpid()}"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    units = [str(path) for path in files if path.suffix == ".c"]
    try:
        done = subprocess.run(
            [compiler, *flags, "-o", str(fresh), *units],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise LoadError(f"{compiler}: {done.stderr.strip()}")
        fresh.rename(program)
    except FileNotFoundError:
        raise LoadError(f"{compiler} is needed to build the load generator") from None
    except subprocess.TimeoutExpired:
        raise LoadError(f"{compiler} takes more than two minutes") from None
    finally:
        fresh.unlink(missing_ok=True)
    return program


def parseOutcome(line: str) -> Outcome:
    """
    Read a line that the load generator has printed.

    @raise LoadError: it is not one.
    """
    try:
        values = json.loads(line)
        failures = values.pop("failures")
    except (ValueError, KeyError):
        raise LoadError(f"the load generator has said {line!r}") from None
    return Outcome(values, failures)


def _outcomeOf(process: subprocess.Popen[str], word: str | None, seconds: float) -> Outcome:
    """
    Wait for the end of a load generator.

    @param word: what to tell it.

    @raise LoadError: it does not end in time, or not well.
    """
    try:
        output, errors = process.communicate(word, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise LoadError("the load generator does not end") from None
    if process.returncode:
        raise LoadError(errors.strip() or f"the load generator ends with {process.returncode}")
    return parseOutcome(output)


@define
class Running:
    """
    A load generator that waits to be told to go on.

    @ivar before: what it has said before it began to wait.
    """

    _process: subprocess.Popen[str]
    _seconds: float
    before: Outcome

    def goOn(self) -> Outcome:
        """
        Tell it to go on, and wait for its end.

        @raise LoadError: it does not end well.
        """
        return _outcomeOf(self._process, "\n", self._seconds)


@frozen
class Load:
    """
    The load generator, ready to run.

    @ivar cores: the processors it may use; all, if it is empty.

    @ivar patience: seconds that a client waits for anything.
    """

    program: Path
    cores: frozenset[int] = frozenset()
    patience: float = 5.0

    def run(self, discipline: str, proxy: Address, target: Target, **options: Value) -> Outcome:
        """
        Put a load on a server.

        @param proxy: where the server listens.

        @param options: the load generator's own; see C{generator/main.c}.

        @raise LoadError: it does not do its work.
        """
        with self._started(discipline, proxy, target, options) as process:
            return _outcomeOf(process, None, self._most(options))

    @contextmanager
    def waiting(
        self, discipline: str, proxy: Address, target: Target, **options: Value
    ) -> Iterator[Running]:
        """
        Put a load on a server that stays until it is told to go on.

        @raise LoadError: it does not do its work.
        """
        with self._started(discipline, proxy, target, options) as process:
            assert process.stdout is not None
            # The generator itself gives up in time.
            line = process.stdout.readline()
            yield Running(process, self._most(options), parseOutcome(line))

    def _most(self, options: Mapping[str, Value]) -> float:
        """
        Seconds after which the generator must have ended by itself.
        """
        return float(options.get("seconds", 2)) * 2 + self.patience * 8 + 60

    @contextmanager
    def _started(
        self, discipline: str, proxy: Address, target: Target, options: Mapping[str, Value]
    ) -> Iterator[subprocess.Popen[str]]:
        given = {"patience": self.patience, **options}
        arguments = [
            f"{name}={int(value) if isinstance(value, bool) else value}"
            for name, value in given.items()
        ]
        process = subprocess.Popen(
            [
                *(str(self.program), discipline, proxy[0], str(proxy[1])),
                *(target.address, str(target.port)),
                *arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if self.cores:
                os.sched_setaffinity(process.pid, self.cores)
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                _close(stream)


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with suppress(BrokenPipeError):
            stream.close()

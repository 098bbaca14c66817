"""
Servers that run.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from . import processes
from .load import Address
from .peers import Peer, Place

_SECONDS_TO_START = 30.0
_SECONDS_TO_STOP = 5.0
_PR_SET_PDEATHSIG = 1

#: What is told of a server that does not start.
_LAST_LINES, _LAST_CHARACTERS = 2, 300


class ServerError(Exception):
    """
    A server does not start.
    """


@frozen
class Server:
    """
    A server that runs.

    @ivar pid: its first process; L{None} for none at all.

    @ivar guarded: another one, which asks for user and password.
    """

    peer: Peer
    place: Place
    pid: int | None
    guarded: Server | None = None

    @property
    def address(self) -> Address:
        """
        Where clients connect.
        """
        if self.pid is None:
            return self.place.target.address, self.place.target.port
        return "127.0.0.1", self.place.port

    def cpuSeconds(self) -> float:
        """
        Processor time that it has used.
        """
        return processes.cpuSeconds(self.pid) if self.pid is not None else 0.0

    def memory(self) -> float:
        """
        KiB (PSS).
        """
        return processes.memory(self.pid) if self.pid is not None else 0.0

    def descriptors(self) -> int:
        """
        Open descriptors.
        """
        return processes.descriptors(self.pid) if self.pid is not None else 0


@contextmanager
def started(peer: Peer, place: Place, cores: frozenset[int] = frozenset()) -> Iterator[Server]:
    """
    Run a server until the block is left.

    @param cores: the processors it may use; all, if it is empty.

    @raise ServerError: it does not start.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    try:
        command = peer.command(place)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(str(error)) from error
    if not command:
        yield Server(peer, place, None)
        return
    log = place.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=place.folder,
            env={**os.environ, **peer.environment()},
            start_new_session=True,
            preexec_fn=_prepared(cores, place.descriptors),
        )
    try:
        _awaitPort(process, place.port, log)
        yield Server(peer, place, process.pid)
    finally:
        _stop(process)


def _prepared(cores: frozenset[int], descriptors: int) -> Callable[[], None]:
    """
    What a server's process does before it becomes the server.
    """
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        if cores:
            os.sched_setaffinity(0, cores)

    return prepare


def _awaitPort(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServerError(f"ended with {process.returncode}: {_lastWords(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise ServerError(f"does not listen: {_lastWords(log)}")


def _lastWords(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-_LAST_LINES:])[-_LAST_CHARACTERS:] or "it has said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """
    End a server and whatever it has started.
    """
    before = {(relative.pid, relative.session) for relative in processes.family(process.pid)}
    process.terminate()
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    end = time.monotonic() + _SECONDS_TO_STOP
    while time.monotonic() < end:
        left = [
            other.pid
            for other in processes.everyProcess()
            if other.session == process.pid or (other.pid, other.session) in before
        ]
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)

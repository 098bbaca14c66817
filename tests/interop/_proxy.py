"""
The server under test, in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any, ClassVar, TypeVar

from twisted.internet import reactor as installedReactor
from twisted.internet.defer import TimeoutError
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import txsocks5

from ._processes import Outcome, Program
from ._targets import DatagramEcho, Target

_T = TypeVar("_T")

#: To mypy the reactor is only a module.
reactor: Any = installedReactor

#: A name that never has an address (RFC 2606).
NOWHERE = "no-such-host.invalid"

#: What the server says, once for each listener, as soon as clients may come.
READY = r"\blistening on (\S+)$"

#: What is never in the log of a server that is well.
ALARMING = ("Traceback (most recent call last)", "Unhandled", "Exception ignored", "never awaited")

#: The seconds that the server has to stop after it was told to.
STOPPING = 45

#: The folder that the package was imported from.
SOURCE = Path(txsocks5.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Credentials:
    """
    What a client authenticates with.
    """

    user: str
    password: str

    @property
    def checker(self) -> str:
        """
        The description of a C{twisted.cred} checker that takes only these.
        """
        return f"memory:{self.user}:{self.password}"


ALICE = Credentials("alice", "secret")
MALLORY = Credentials("alice", "guessed")


def environment() -> dict[str, str]:
    """
    The environment variables for programs: without those that name proxies.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("SOCKS")
    }


class Proxy:
    """
    A running C{twistd socks5} with one listener.

    @ivar host: the address that it listens on.
    @ivar port: the port that it listens on.
    @ivar process: its process.
    """

    def __init__(self, address: str, process: Program) -> None:
        self.process = process
        host, _, port = address.rpartition(":")
        self.host = host.strip("[]")
        self.port = int(port)

    @property
    def address(self) -> str:
        """
        Where it listens, as in a URL: C{127.0.0.1:1080} or C{[::1]:1080}.
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def complaints(outcome: Outcome) -> list[str]:
    """
    What is wrong with the way that the server ended, after it was told to stop.
    """
    found = []
    if (outcome.status, outcome.signal) not in ((0, None), (None, int(SIGTERM))):
        found.append("it did not stop cleanly")
    text = (outcome.out + outcome.err).decode("utf-8", "replace")
    found += [f"it logged {word!r}" for word in ALARMING if word in text]
    return found


class InteropTestCase(TestCase):
    """
    A test of one real client against a real server.

    @cvar credentials: what the server demands of its clients; L{None} if it
        lets everybody in.
    """

    timeout = 120

    credentials: ClassVar[Credentials | None] = None

    def folder(self) -> Path:
        """
        Make a new empty folder.
        """
        path = Path(self.mktemp()).absolute()
        path.mkdir(parents=True)
        return path

    # -- programs

    def spawn(self, *command: str, **variables: str) -> Program:
        """
        Start a program.  It ends with the test, at the latest.

        @param command: its name or file, and its arguments.
        @param variables: environment variables that it gets besides the usual.
        """
        file = shutil.which(command[0])
        assert file is not None, command
        folder = str(self.folder())
        program = Program.start(reactor, (file, *command[1:]), environment() | variables, folder)
        self.addCleanup(self._end, program)
        return program

    async def _end(self, program: Program) -> None:
        """
        End a program, if it runs, and wait until it is gone.
        """
        program.signal("KILL")
        await program.whenEnded()

    async def outcomeOf(self, *command: str, stdin: bytes = b"", **variables: str) -> Outcome:
        """
        Run a program to its end.

        @param command: its name or file, and its arguments.
        @param stdin: what it finds in its standard input.
        @param variables: environment variables that it gets besides the usual.
        """
        program = self.spawn(*command, **variables)
        program.transport.writeToChild(0, stdin)
        program.transport.closeChildFD(0)
        return await program.whenEnded()

    async def inThread(self, work: Callable[[], _T]) -> _T:
        """
        Let something that blocks have a thread of its own.
        """
        return await deferToThread(work)

    # -- the server

    async def startProxy(
        self,
        interface: str = "127.0.0.1",
        *more: str,
        **variables: str,
    ) -> Proxy:
        """
        Start a server that demands L{credentials}, and wait until clients may
        come.  It is stopped with the test, and fails it if it is not well.

        @param interface: the address that it listens on.
        @param more: more options for it.
        @param variables: environment variables that it gets besides the usual.
        """
        kind = "tcp6" if ":" in interface else "tcp"
        escaped = interface.replace(":", r"\:")
        options = ["--listen", f"{kind}:0:interface={escaped}"]
        if self.credentials is not None:
            options += ["--auth", self.credentials.checker]
        process = self.spawn(
            sys.executable,
            str(Path(sysconfig.get_path("scripts")) / "twistd"),
            *("--nodaemon", "--pidfile=", "--logfile=-", "socks5", *options, *more),
            PYTHONPATH=os.pathsep.join(
                [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            **variables,
        )
        (address,) = await process.whenPrinted(READY)
        self.addCleanup(self._stop, process)
        return Proxy(address, process)

    async def _stop(self, process: Program) -> None:
        """
        Stop the server, and see whether it has been well.
        """
        if process.outcome is not None:
            self.fail(f"the server ended by itself: {process.outcome}")
        process.signal("TERM")
        try:
            outcome = await process.whenEnded().addTimeout(STOPPING, reactor)
        except TimeoutError:
            self.fail(f"the server did not stop within {STOPPING} s: {process.printed}")
        problems = complaints(outcome)
        if problems:
            self.fail(f"{', '.join(problems)}: {outcome}")

    # -- what is behind it

    async def startTarget(self, target: Target, interface: str = "127.0.0.1") -> int:
        """
        Start a server for clients to connect to.

        @return: its port.
        """
        port = await target.listen(reactor, interface)
        self.addCleanup(target.stop)
        return port

    async def startDatagramEcho(self, interface: str = "127.0.0.1") -> int:
        """
        Start a server that sends datagrams back.

        @return: its port.
        """
        port = reactor.listenUDP(0, DatagramEcho(), interface=interface, maxPacketSize=65536)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def closedPort(self, interface: str = "127.0.0.1") -> int:
        """
        A port where every connection is refused, as long as the test runs.
        """
        taken = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET)
        self.addCleanup(taken.close)
        taken.bind((interface, 0))
        number: int = taken.getsockname()[1]
        return number

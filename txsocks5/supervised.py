"""
A process that serves clients, as the supervisor sees it that has started it.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from typing import Protocol as TypingProtocol

import attrs
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from .channel import ASK, CLOSE, DRAIN, NEWS, READY, RETIRE, Channel, Orders
from .conduit import Lines
from .config import Configuration
from .sharing import spelled
from .worker import ACCESS_LOG, CONTROL, TALLY, Post

__all__ = ["Supervised", "Supervising"]

_PROGRAM = "from txsocks5.worker import main; main()"


class Supervising(TypingProtocol):
    """
    Whoever looks after a worker.
    """

    def said(self, worker: Supervised, line: str) -> None:
        """
        It has written a line into its log.
        """

    def record(self, line: str) -> None:
        """
        It has written a line for the access log.
        """

    def isReady(self) -> None:
        """
        It serves by its orders.
        """

    def spread(self, worker: Supervised, message: bytes) -> None:
        """
        It has something to say to the other workers.
        """

    def exited(self, worker: Supervised, reason: str) -> None:
        """
        It has ended.

        @param reason: how.
        """

    def ended(self, worker: Supervised) -> None:
        """
        It has ended, and all that it has written has come.
        """


class Supervised(ProcessProtocol):
    """
    One worker.

    @ivar number: no other worker of the supervisor ever has the same.

    @ivar column: that of the tally.

    @ivar since: when it was started.

    @ivar running: whether it has not ended.

    @ivar retired: whether it has been told to end when its sessions have.

    @ivar pid: its process.

    @ivar unanswered: how often it has been asked whether it is there since it last said anything.
    """

    def __init__(self, supervisor: Supervising, number: int, column: int, since: float) -> None:
        self._supervisor = supervisor
        self.number = number
        self.column = column
        self.since = since
        self.running = True
        self.retired = False
        self.pid = 0
        self.unanswered = 0
        self._process: Any = None
        # The endpoint strings whose sockets it has been given.
        self._sent: set[str] = set()
        self._channel = Channel(self._heard, lambda: None)
        self._lines = {1: Lines(), 2: Lines(), ACCESS_LOG: Lines()}

    def start(self, reactor: Any, tally: int, *, recording: bool) -> None:
        """
        Start the process.

        @param reactor: provides processes and sockets.  The process has one of the same kind.

        @param tally: the descriptor of the memory that all of them count in.

        @param recording: whether there is an access log.

        @raise OSError: the system cannot.
        """
        post = Post(
            number=self.number,
            column=self.column,
            reactor=type(reactor).__module__,
            recording=recording,
        )
        ours, its = socket.socketpair()
        with ours, its, open(os.devnull, "rb") as nothing:
            ours.setblocking(False)
            factory = Factory.forProtocol(lambda: self._channel)
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            reactor.spawnProcess(
                self,
                sys.executable,
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(attrs.asdict(post))],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                path=None,
                childFDs={
                    0: nothing.fileno(),
                    1: "r",
                    2: "r",
                    CONTROL: its.fileno(),
                    TALLY: tally,
                    ACCESS_LOG: "r",
                },
            )

    def makeConnection(self, process: Any) -> None:
        """
        The process runs.
        """
        self.pid = process.pid
        self._process = process

    # What it is told

    def order(self, configuration: Configuration, ports: Mapping[str, Any]) -> None:
        """
        Tell it by what to serve.

        @param ports: the listeners, by their endpoint strings.
        """
        names = {description: spelled(description, port) for description, port in ports.items()}
        added = [description for description in ports if description not in self._sent]
        self._sent = set(ports)
        orders = Orders(
            attrs.evolve(configuration, listen=tuple(names.values())),
            tuple(names[description] for description in added),
        )
        descriptors = [ports[description].fileno() for description in added]
        self._channel.say(pickle.dumps(orders), descriptors)

    def retire(self) -> None:
        """
        Let it end when its sessions have.
        """
        self.retired = True
        self._channel.say(RETIRE)

    def drain(self) -> None:
        """
        Let it stop.
        """
        self._channel.say(DRAIN)

    def hurry(self) -> None:
        """
        Let it wait for no session.
        """
        self._channel.say(CLOSE)

    def ask(self) -> None:
        """
        Ask whether it is there.
        """
        self.unanswered += 1
        self._channel.say(ASK)

    def mention(self, message: bytes) -> None:
        """
        Pass on what another worker has to say.
        """
        self._channel.mention(message)

    def recount(self, messages: Iterable[bytes]) -> None:
        """
        Pass on what others had to say before it was there.
        """
        for message in messages:
            self._channel.say(message)

    def kill(self) -> None:
        """
        End it.
        """
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")

    # What it says

    def _heard(self, message: bytes, descriptors: Sequence[int]) -> None:
        """
        It says something about its orders, or that it is there.
        """
        self.unanswered = 0
        if message == READY:
            self._supervisor.isReady()
        elif message.startswith(NEWS):
            self._supervisor.spread(self, message)

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

    def _say(self, descriptor: int, lines: Iterable[str]) -> None:
        """
        Pass on what it has written.
        """
        for line in lines:
            if descriptor == ACCESS_LOG:
                self._supervisor.record(line)
            else:
                self._supervisor.said(self, line)

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


def _saidOf(reason: Failure) -> str:
    """
    Say how a process has ended.
    """
    status: Any = reason.value
    if status.signal is not None:
        return f"was killed by signal {status.signal}"
    return f"ended with status {status.exitCode}"

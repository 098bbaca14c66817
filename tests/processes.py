"""
Processes that were started and do nothing.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from txsocks5.worker import ACCESS_LOG


class Process:
    """
    A process that was started.
    """

    def __init__(
        self, pid: int, worker: Any, arguments: list[str], options: dict[str, Any]
    ) -> None:
        self.pid = pid
        self.options = options
        self.worker = worker
        self.post = json.loads(arguments[-1])
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, name: str) -> None:
        """
        Remember it.
        """
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, status: int | None = None, signal: int | None = None) -> None:
        """
        End.
        """
        self.gone = True
        reason = Failure(ProcessTerminated(status, signal))
        self.worker.processExited(reason)
        for descriptor in (1, 2, ACCESS_LOG):
            self.worker.childConnectionLost(descriptor)
        self.worker.processEnded(reason)


class Transport(StringTransport):
    """
    One that passes file descriptors, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.descriptors: list[int] = []
        self.sendFileDescriptor = self.descriptors.append


class Reactor(Clock):
    """
    One that starts no processes, but says so.
    """

    _supportedAddressFamilies = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.channels: list[Transport] = []
        self.broken: OSError | None = None

    def removeWriter(self, writer: object) -> None:
        """
        Nothing is watched.
        """

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        """
        Connect the channel.
        """
        self.channels.append(Transport())
        factory.buildProtocol(None).makeConnection(self.channels[-1])

    def spawnProcess(self, worker: Any, program: str, arguments: list[str], **options: Any) -> None:
        """
        Start a process, or not.
        """
        if self.broken is not None:
            self.channels.pop()
            raise self.broken
        process = Process(1000 + len(self.processes), worker, arguments, options)
        self.processes.append(process)
        worker.makeConnection(process)

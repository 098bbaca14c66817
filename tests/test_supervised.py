"""
Tests for L{txsocks5.supervised}.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.channel import (
    ANSWER,
    ASK,
    CLOSE,
    DRAIN,
    NEWS,
    READY,
    REFUSED,
    RETIRE,
    Channel,
    Orders,
)
from txsocks5.config import Configuration
from txsocks5.supervised import Supervised
from txsocks5.worker import ACCESS_LOG

from .processes import Reactor


class Port:
    """
    A listener.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """
        Its socket.
        """
        return self._descriptor


class SupervisedTests(SynchronousTestCase):
    """
    Tests for L{Supervised}, which tells somebody what happens.
    """

    def setUp(self) -> None:
        """
        Start one.
        """
        self.told: list[tuple[Any, ...]] = []
        self.reactor = Reactor()
        self.worker = Supervised(self, 7, 2, 0.0)
        self.worker.start(self.reactor, 99, recording=True)

    def said(self, worker: Supervised, line: str) -> None:
        """
        It has written something.
        """
        self.told.append(("said", worker.number, line))

    def record(self, line: str) -> None:
        """
        It has written something for the access log.
        """
        self.told.append(("record", line))

    def isReady(self) -> None:
        """
        It serves.
        """
        self.told.append(("ready",))

    def spread(self, worker: Supervised, message: bytes) -> None:
        """
        It has something to say to others.
        """
        self.told.append(("spread", worker.number, message))

    def exited(self, worker: Supervised, reason: str) -> None:
        """
        It has ended.
        """
        self.told.append(("exited", worker.number, worker.running, reason))

    def ended(self, worker: Supervised) -> None:
        """
        Nothing more will come.
        """
        self.told.append(("ended", worker.number))

    def heard(self) -> list[bytes]:
        """
        What it was told.
        """
        messages: list[bytes] = []
        reader = Channel(lambda message, ignored: messages.append(message), lambda: None)
        reader.dataReceived(self.reactor.channels[0].value())
        return messages

    def test_starts(self) -> None:
        """
        The process is told who it is, and gets what it needs; it imports what we would.
        """
        [process] = self.reactor.processes
        self.assertEqual(
            process.post,
            {"number": 7, "column": 2, "reactor": "tests.processes", "recording": True},
        )
        self.assertEqual(process.options["childFDs"][4], 99)
        self.assertEqual(process.options["childFDs"][ACCESS_LOG], "r")
        path = process.options["env"]["PYTHONPATH"].split(os.pathsep)
        self.assertIn(str(Path(__file__).parent.parent), path)
        self.assertEqual((self.worker.pid, self.worker.running), (process.pid, True))

    def test_cannotBeStarted(self) -> None:
        """
        The system may have no room.
        """
        self.reactor.broken = OSError(11, "no room")
        worker = Supervised(self, 8, 3, 0.0)
        self.assertRaises(OSError, worker.start, self.reactor, 99, recording=False)

    def test_orders(self) -> None:
        """
        It is told of all endpoints, and gets each socket once, unless it has to give it back in
        the meantime.
        """
        ports = {"tcp:1": Port(11), "tcp:2": Port(12)}
        self.worker.order(Configuration(workers=2), ports)
        self.worker.order(Configuration(workers=3), {"tcp:2": ports["tcp:2"]})
        self.worker.order(Configuration(workers=3), ports)
        first, second, third = (pickle.loads(each) for each in self.heard())
        self.assertEqual(
            first, Orders(Configuration(workers=2, listen=("tcp:1", "tcp:2")), ("tcp:1", "tcp:2"))
        )
        self.assertEqual(second, Orders(Configuration(workers=3, listen=("tcp:2",))))
        self.assertEqual(third.added, ("tcp:1",))
        self.assertEqual(self.reactor.channels[0].descriptors, [11, 12, 11])

    def test_ends(self) -> None:
        """
        It can be told to end in several ways; and killed, unless it has ended by itself.
        """
        self.assertFalse(self.worker.retired)
        self.worker.retire()
        self.worker.drain()
        self.worker.hurry()
        self.assertTrue(self.worker.retired)
        self.assertEqual(self.heard(), [RETIRE, DRAIN, CLOSE])
        [process] = self.reactor.processes
        self.worker.kill()
        process.gone = True
        self.worker.kill()
        self.assertEqual(process.signals, ["KILL"])

    def test_answers(self) -> None:
        """
        Whatever it says is an answer to the question whether it is there.
        """
        for answer in (ANSWER, READY, REFUSED):
            self.worker.ask()
            self.worker.ask()
            self.assertEqual(self.worker.unanswered, 2)
            self.worker._heard(answer, ())
            self.assertEqual(self.worker.unanswered, 0)
        self.assertEqual(self.heard(), 6 * [ASK])
        self.assertEqual(self.told, [("ready",)])

    def test_news(self) -> None:
        """
        It has something to say to others, and they to it.
        """
        self.worker._heard(NEWS + b"of it", ())
        self.assertEqual(self.told, [("spread", 7, NEWS + b"of it")])
        self.worker.mention(NEWS + b"for it")
        self.worker.recount([NEWS + b"1", NEWS + b"2"])
        self.assertEqual(self.heard(), [NEWS + b"for it", NEWS + b"1", NEWS + b"2"])

    def test_writes(self) -> None:
        """
        What it writes is passed on in lines.
        """
        self.worker.childDataReceived(1, b"hello\nyo")
        self.worker.childDataReceived(2, b"error\n")
        self.worker.childDataReceived(ACCESS_LOG, b"{}\n")
        self.worker.childDataReceived(1, b"u\nrest")
        for descriptor in (1, 2, ACCESS_LOG):
            self.worker.childConnectionLost(descriptor)
        self.assertEqual(
            self.told,
            [
                ("said", 7, "hello"),
                ("said", 7, "error"),
                ("record", "{}"),
                ("said", 7, "you"),
                ("said", 7, "rest"),
            ],
        )

    def test_hasEnded(self) -> None:
        """
        It is said how it has ended, and then that nothing more will come.
        """
        for status, number, reason in (
            (3, None, "ended with status 3"),
            (None, 9, "was killed by signal 9"),
        ):
            ended = Failure(ProcessTerminated(status, number))
            self.worker.processExited(ended)
            self.worker.processEnded(ended)
            self.assertEqual(self.told[-2:], [("exited", 7, False, reason), ("ended", 7)])

"""
Tests for L{txsocks5.accesslog}.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from io import StringIO
from ipaddress import ip_address
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import accesslog
from txsocks5.accesslog import AccessLog, logFile
from txsocks5.interfaces import Identity, IJournal, Question, Record
from txsocks5.testing import RecordedEvents
from txsocks5.wire import Address, Command

DESTINATION = Address("example.com", 443)


def record(session: int = 1, **fields: Any) -> Record:
    """
    What there is to tell about a session.
    """
    return Record(session, 1_700_000_000.25, **{"duration": 1.5, **fields})


class AccessLogTests(SynchronousTestCase):
    """
    Tests for L{AccessLog}.
    """

    def setUp(self) -> None:
        """
        Make a log that is kept in memory.
        """
        self.clock = Clock()
        self.events = RecordedEvents(self)
        self.file = StringIO()
        self.log = AccessLog(self.clock, lambda: self.file)

    def lines(self) -> list[dict[str, Any]]:
        """
        What has been written.
        """
        return [json.loads(line) for line in self.file.getvalue().splitlines()]

    def test_interface(self) -> None:
        """
        It is a journal, which writes nothing before a session is over.
        """
        verifyObject(IJournal, self.log)
        self.log.start()
        for write in (self.log.opened, self.log.authenticated, self.log.granted):
            write(record())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_line(self) -> None:
        """
        All there is to tell stands in one line.
        """
        self.log.start()
        self.log.closed(
            record(
                7,
                client=Address(ip_address("2001:db8::1"), 5),
                user='al"ice\n',
                method=2,
                question=Question(Identity("alice", 2), None, Command.CONNECT, DESTINATION),
                destination=DESTINATION,
                reached=Address(ip_address("192.0.2.7"), 443),
                reply=0,
                reason="a rule",
                fromClient=10,
                toClient=20,
                dropped=3,
                ended="both sides finished",
            )
        )
        self.log.stop()
        self.assertEqual(
            self.lines(),
            [
                {
                    "time": "2023-11-14T22:13:21.750Z",
                    "session": 7,
                    "client": "[2001:db8::1]:5",
                    "user": 'al"ice\\n',
                    "method": 2,
                    "command": "CONNECT",
                    "destination": "example.com:443",
                    "reached": "192.0.2.7:443",
                    "reply": 0,
                    "reason": "a rule",
                    "seconds": 1.5,
                    "fromClient": 10,
                    "toClient": 20,
                    "dropped": 3,
                    "ended": "both sides finished",
                }
            ],
        )

    def test_nothingKnown(self) -> None:
        """
        A session of which little is known has the same fields.
        """
        self.log.start()
        self.log.closed(record())
        self.log.closed(record(2, duration=2.5))
        self.log.stop()
        first, second = self.lines()
        self.assertEqual((first["client"], first["command"]), ("unix", "request"))
        self.assertIs(first["reply"], None)
        self.assertEqual((first["destination"], first["reached"]), ("", ""))
        self.assertEqual(second["time"], "2023-11-14T22:13:22.750Z")

    def test_together(self) -> None:
        """
        Lines are written together, a second after the first of them, or when there are many.
        """
        self.patch(accesslog, "_MAX_WAITING", 3)
        self.log.start()
        self.log.closed(record(1))
        self.log.closed(record(2))
        self.assertEqual(self.lines(), [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.lines()), 2)
        for number in (3, 4):
            self.log.closed(record(number))
        self.assertEqual(len(self.lines()), 2)
        self.log.closed(record(5))
        self.assertEqual([line["session"] for line in self.lines()], [1, 2, 3, 4, 5])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notStarted(self) -> None:
        """
        Before it starts, and after it has stopped, lines go nowhere; it can be started again.
        """
        self.log.closed(record(1))
        self.clock.advance(1)
        self.log.rotate()
        self.log.start()
        self.log.closed(record(2))
        self.log.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log.closed(record(3))
        self.clock.advance(1)
        self.log.stop()
        self.log.start()
        self.log.closed(record(4))
        self.log.stop()
        self.assertEqual([line["session"] for line in self.lines()], [2, 4])
        self.assertFalse(self.file.closed)

    def test_faults(self) -> None:
        """
        What cannot be written is lost: that is said when it begins, and how many lines when it is
        over.
        """
        errors: list[Exception] = [
            OSError(errno.ENOSPC, "no space left on device"),
            ValueError("I/O operation on closed file"),
        ]

        class Faulty(StringIO):
            def write(self, data: str) -> int:
                """
                Fail, or write.
                """
                if errors:
                    raise errors.pop(0)
                return super().write(data)

        self.file = Faulty()
        self.log.start()
        for number in (1, 2):
            self.log.closed(record(number))
        self.clock.advance(1)
        self.log.closed(record(3))
        self.clock.advance(1)
        self.assertEqual(self.events.names, ["accessLogLost"])
        self.assertIn("no space left", self.events.one("accessLogLost")["reason"])
        self.log.closed(record(4))
        self.clock.advance(1)
        self.assertEqual(self.events.one("accessLogAgain")["lines"], 3)
        self.assertEqual([line["session"] for line in self.lines()], [4])
        self.log.closed(record(5))
        self.clock.advance(1)
        self.assertEqual(self.events.names, ["accessLogLost", "accessLogAgain"])

    def test_cannotBeOpened(self) -> None:
        """
        Starting fails if the file cannot be opened.
        """
        log = AccessLog(self.clock, lambda: logFile(self.mktemp() + "/no/folder"))
        self.assertRaises(OSError, log.start)

    def test_noRotation(self) -> None:
        """
        What is no file is not begun anew.
        """
        self.log.start()
        self.log.closed(record())
        self.log.rotate()
        self.assertEqual(len(self.lines()), 1)


class Full:
    """
    A file on a disk that has room for 50 more octets.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = 50

    def __getattr__(self, name: str) -> Any:
        """
        The rest is the file's.
        """
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        """
        Write what there is room for.
        """
        if not self._left:
            raise OSError(errno.ENOSPC, "no space left on device")
        count: int = self._file.write(data[: self._left])
        self._left -= count
        return count


class FileTests(SynchronousTestCase):
    """
    Tests for L{logFile}.
    """

    def setUp(self) -> None:
        """
        Write to a file.
        """
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "access.log")
        self.clock = Clock()
        self.events = RecordedEvents(self)
        self.log = AccessLog(self.clock, lambda: logFile(self.path))
        self.log.start()
        self.addCleanup(self.log.stop)

    def write(self, session: int, count: int = 1) -> None:
        """
        Write some lines.
        """
        for _ in range(count):
            self.log.closed(record(session))
        self.log.flush()

    def sessions(self, name: str = "access.log") -> list[int]:
        """
        The sessions in a file.
        """
        with open(os.path.join(self.folder, name), encoding="utf-8") as lines:
            return [json.loads(line)["session"] for line in lines]

    def test_private(self) -> None:
        """
        Only its owner may read it.
        """
        self.write(1)
        self.assertEqual(self.sessions(), [1])
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_rotated(self) -> None:
        """
        A new file is begun when that is asked for, behind what waits, or when it is too large.
        """
        self.log.closed(record(1))
        self.log.rotate()
        self.write(2)
        self.assertEqual((self.sessions(), self.sessions("access.log.1")), ([2], [1]))
        self.patch(accesslog, "_MAX_FILE", 100)
        self.log.stop()
        self.log.start()
        self.write(3)
        self.write(4)
        self.assertEqual((self.sessions(), self.sessions("access.log.1")), ([4], [3]))

    def test_moved(self) -> None:
        """
        Somebody else has moved the file, or removed it: a new one is begun.
        """
        self.write(1)
        os.rename(self.path, os.path.join(self.folder, "moved"))
        self.log.rotate()
        self.write(2)
        self.assertEqual((self.sessions(), self.sessions("moved")), ([2], [1]))

    def test_closed(self) -> None:
        """
        No descriptor is left when it has stopped.
        """
        file: Any = self.log._file
        descriptor = file._file.fileno()
        self.log.stop()
        self.assertRaises(OSError, os.fstat, descriptor)

    def test_full(self) -> None:
        """
        The disk becomes full in the midst of a line: what is lost is lost as a whole, and what is
        written later stands in lines of its own.
        """
        self.write(1)
        kept: Any = self.log._file
        real, kept._file = kept._file, Full(kept._file)
        self.write(2, count=3)
        kept._file = real
        self.write(3)
        self.assertEqual(self.sessions(), [1, 3])
        self.assertEqual(self.events.names, ["accessLogLost", "accessLogAgain"])
        self.assertEqual(self.events.one("accessLogAgain")["lines"], 3)

"""
Tests for L{txsocks5.conduit}.
"""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.conduit import Conduit, Lines

from .wire.values import reproducible


class Watching:
    """
    A reactor that writes down what is to be watched.
    """

    def __init__(self) -> None:
        self.writers: list[object] = []
        self.addWriter = self.writers.append
        self.removeWriter = self.writers.remove


class ConduitTests(SynchronousTestCase):
    """
    Tests for L{Conduit}.
    """

    def setUp(self) -> None:
        """
        Have a pipe.
        """
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.reactor = Watching()
        self.conduit = Conduit(self.reactor, writer)  # type: ignore[arg-type]

    def read(self) -> bytes:
        """
        What has come.
        """
        try:
            return os.read(self.reader, 4 * 1024 * 1024)
        except BlockingIOError:
            return b""

    def fill(self) -> int:
        """
        Write until there is no room.

        @return: how many octets that were.
        """
        written: list[int] = []
        with self.assertRaises(BlockingIOError):
            while len(written) < 10000:
                self.conduit.write("x" * 1023 + "\n")
                written.append(1024)
        return sum(written)

    def test_atOnce(self) -> None:
        """
        What there is room for is written at once.
        """
        self.conduit.write("caf\u00e9 \udcff\n")
        self.conduit.flush()
        self.assertEqual(self.read(), "caf\u00e9 \\udcff\n".encode())
        self.assertEqual(self.reactor.writers, [])

    def test_slowReader(self) -> None:
        """
        It never blocks: what is not read waits, then it is refused as a whole, and when somebody
        reads it goes on.
        """
        written = self.fill()
        self.assertEqual(self.reactor.writers, [self.conduit])
        self.assertGreater(written, 1024 * 1024)
        read = 0
        while self.reactor.writers:
            read += len(self.read())
            self.assertIsNone(self.conduit.doWrite())
        read += len(self.read())
        self.assertEqual(read, written)
        self.conduit.doWrite()
        self.assertEqual(self.read(), b"")

    def test_nobodyReads(self) -> None:
        """
        When the reader is gone, everything is refused.
        """
        self.fill()
        os.close(self.reader)
        self.assertIs(self.conduit.doWrite(), CONNECTION_LOST)
        self.assertEqual(self.reactor.writers, [])
        self.assertRaises(BrokenPipeError, self.conduit.write, "x")
        self.conduit.finish(0)

    def test_reactorSaysSo(self) -> None:
        """
        The reactor may be the one who finds out.
        """
        self.fill()
        self.conduit.connectionLost(Failure(ConnectionLost()))
        self.assertRaises(BrokenPipeError, self.conduit.write, "x")
        self.assertEqual(self.reactor.writers, [])

    def test_finish(self) -> None:
        """
        In the end what waits is written, and the pipe closed; but nobody is waited for long.
        """
        self.conduit.write("last")
        descriptor = self.conduit.fileno()
        self.conduit.finish(10)
        self.assertEqual(self.read(), b"last")
        self.assertEqual(self.read(), b"")
        self.assertRaises(OSError, os.fstat, descriptor)

    def test_finishSlow(self) -> None:
        """
        What the reader does not take in time is lost.
        """
        self.fill()
        self.conduit.finish(0)
        self.assertEqual(self.reactor.writers, [])

    def test_finishReads(self) -> None:
        """
        A reader that takes something is given more.
        """
        written = self.fill()
        read = len(self.read())
        self.conduit.finish(0.01)
        more = len(self.read())
        self.assertGreater(more, 0)
        self.assertLessEqual(read + more, written)

    def test_name(self) -> None:
        """
        It has a name for the log.
        """
        self.assertEqual(self.conduit.logPrefix(), "SOCKS5 worker")


class LinesTests(SynchronousTestCase):
    """
    Tests for L{Lines}.
    """

    @reproducible
    @given(st.lists(st.text("abc")), st.integers(1, 9))
    def test_anyPieces(self, lines: list[str], size: int) -> None:
        """
        The lines are the same, however they come.
        """
        reader = Lines()
        data = "".join(f"{line}\n" for line in lines).encode()
        found = []
        for start in range(0, len(data), size):
            found += reader.received(data[start : start + size])
        self.assertEqual(found, lines)
        self.assertEqual(list(reader.ended()), [])

    def test_rest(self) -> None:
        """
        What has no end is told in the end.
        """
        reader = Lines()
        self.assertEqual(list(reader.received(b"one\ntwo")), ["one"])
        self.assertEqual(list(reader.ended()), ["two"])

    def test_long(self) -> None:
        """
        A line without end does not fill the memory.
        """
        lines = list(Lines().received(b"x" * 40000))
        self.assertEqual([len(line) for line in lines], [16384, 16384])

    def test_strange(self) -> None:
        """
        What is no text, or would change a terminal, is escaped.
        """
        lines = Lines().received(b"a\tb\n\xff\n\x1b[2J\ncaf\xc3\xa9\n")
        self.assertEqual(list(lines), ["a    b", "\\xff", "\\x1b[2J", "caf\u00e9"])

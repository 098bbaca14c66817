"""
What every reader of L{txsocks5.wire} is held to, whatever its message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import ProtocolError


class Message(Protocol):
    """
    A value that can be written.
    """

    def octets(self) -> bytes:
        """
        Write the message.
        """


Read: TypeAlias = Callable[[bytes], tuple[Message, int] | None]

Answer: TypeAlias = tuple[Message, int] | type[ProtocolError] | None

# What may stand behind a message: one octet of each kind that means something
# to a reader, data of an application, and the beginning of another message.
TAILS = (b"\x00", b"\x01", b"\x05", b"\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x05\x01\x00" * 200)


def answerOf(read: Read, data: bytes) -> Answer:
    """
    Tell which of the three answers a reader gives.

    @return: the value and the number of octets it took; L{None} for "more"; or
        the class of the L{ProtocolError}.  Any other exception is a fault, and is
        not caught.
    """
    try:
        return read(data)
    except ProtocolError as error:
        return type(error)


class WireTestCase(SynchronousTestCase):
    """
    A test case for readers and writers.
    """

    def assertReads(self, read: Read, octets: bytes, value: object) -> None:
        """
        C{octets} are exactly the message C{value}, in each of three ways: whole;
        one octet at a time; and with octets behind it, which are left alone.
        """
        expected = (value, len(octets))
        self.assertEqual(answerOf(read, octets), expected, octets.hex(" "))
        for end in range(len(octets)):
            self.assertIsNone(answerOf(read, octets[:end]), f"{octets[:end].hex(' ')}: too early")
        for tail in TAILS:
            self.assertEqual(answerOf(read, octets + tail), expected, octets.hex(" "))

    def assertRefuses(self, read: Read, octets: bytes, error: type[ProtocolError]) -> None:
        """
        C{octets} are refused with exactly C{error}, with the last of them and not
        earlier, and whatever follows does not change that.
        """
        for end in range(len(octets)):
            self.assertIsNone(answerOf(read, octets[:end]), f"{octets[:end].hex(' ')}: too early")
        for tail in (b"", *TAILS):
            self.assertIs(answerOf(read, octets + tail), error, (octets + tail).hex(" "))

    def assertWrites(self, message: Message, octets: bytes) -> None:
        """
        C{message} goes onto the wire as C{octets}.
        """
        self.assertEqual(message.octets().hex(" "), octets.hex(" "))

    def assertSurvives(self, read: Read, message: Message, cuts: list[int]) -> None:
        """
        C{message}, written and received in pieces, is read as itself: the reader
        asks for more until the last piece is there.

        @param cuts: where the octets are split; each is taken modulo their number.
        """
        octets = message.octets()
        for cut in cuts:
            self.assertIsNone(answerOf(read, octets[: cut % len(octets)]), octets.hex(" "))
        self.assertEqual(answerOf(read, octets), (message, len(octets)), octets.hex(" "))
        self.assertEqual(answerOf(read, octets + b"GET"), (message, len(octets)), octets.hex(" "))

    def assertObeys(self, read: Read, data: bytes, maximum: int) -> None:
        """
        Whatever the octets are: the reader asks for more until it can decide, and
        never once C{maximum} octets are there; what it has decided stays decided; a
        value took octets that were there; and what was read can be written, and is
        then read as the same.
        """
        decided: Answer = None
        for end in range(len(data) + 1):
            answer = answerOf(read, data[:end])
            if decided is not None:
                self.assertEqual(answer, decided, f"{data[:end].hex(' ')}: changed its mind")
            elif answer is None:
                self.assertLess(end, maximum, f"{data[:end].hex(' ')}: wants more than there is")
            elif not isinstance(answer, type):
                self.assertEqual(answer[1], end, f"{data[:end].hex(' ')}: not all taken")
            decided = answer
        if decided is None:
            self.assertIsNotNone(answerOf(read, data + bytes(maximum)), f"{data.hex(' ')}: no end")
        elif not isinstance(decided, type):
            value = decided[0]
            octets = value.octets()
            self.assertEqual(answerOf(read, octets), (value, len(octets)), data.hex(" "))

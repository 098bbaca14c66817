"""
Tests for L{txsocks5.wire._gssapi}.
"""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import Aborted, ProtocolError
from txsocks5.wire import ABORT, Frame, FrameType, ProtectionLevel

from . import values
from .checks import Read, WireTestCase


def due(kind: FrameType) -> Read:
    """
    The reader for frames of one kind.
    """
    return partial(Frame.read, due=kind)


class FrameTests(WireTestCase):
    """
    Tests for L{Frame}.
    """

    MAXIMUM = 1 + 1 + 2 + 65535

    def test_messages(self) -> None:
        """
        A frame is VER C{01}, MTYP, two octets of LEN in network order, and the token (RFC 1961
        sections 3 to 5).
        """
        for kind, octet in (
            (FrameType.AUTHENTICATION, b"\x01"),
            (FrameType.PROTECTION_LEVEL, b"\x02"),
            (FrameType.ENCAPSULATION, b"\x03"),
        ):
            for length, token in (
                (b"\x00\x00", b""),
                (b"\x00\x01", b"\x05"),
                (b"\x00\x4a", b"t" * 74),
                (b"\x01\x02", b"t" * 258),
            ):
                frame = Frame(kind, token)
                self.assertReads(due(kind), b"\x01" + octet + length + token, frame)
                self.assertWrites(frame, b"\x01" + octet + length + token)

    def test_longest(self) -> None:
        """
        A token may have 65535 octets, as those of Kerberos do that carry many groups
        (R-1961-08).
        """
        frame = Frame(FrameType.AUTHENTICATION, b"t" * 65535)
        octets = frame.octets()
        self.assertEqual(octets[:4], b"\x01\x01\xff\xff")
        read = due(FrameType.AUTHENTICATION)
        self.assertEqual(read(octets + b"\x01"), (frame, self.MAXIMUM))
        self.assertIsNone(read(octets[:-1]))

    def test_tooLongIsNotWritten(self) -> None:
        """
        A token that LEN cannot count is refused by the writer.
        """
        self.assertRaises(ValueError, Frame(FrameType.ENCAPSULATION, b"t" * 65536).octets)

    def test_otherVersions(self) -> None:
        """
        Any other VER is refused at once, the C{05} of SOCKS included (R-1961-07).
        """
        for version in range(256):
            if version != 1:
                for kind in FrameType:
                    self.assertRefuses(due(kind), bytes((version,)), ProtocolError)

    def test_otherTypes(self) -> None:
        """
        Any MTYP but the one that is due is refused at once (R-1961-07).
        """
        for kind in FrameType:
            for other in range(255):
                if other != kind:
                    self.assertRefuses(due(kind), bytes((1, other)), ProtocolError)

    def test_abort(self) -> None:
        """
        C{01 FF} is told apart from other faults, wherever it comes: nothing stands behind it
        (R-1961-06).
        """
        self.assertEqual(ABORT, b"\x01\xff")
        for kind in FrameType:
            self.assertRefuses(due(kind), ABORT, Aborted)

    def test_start(self) -> None:
        """
        A reader can be told where the frame begins, and says where it ends.
        """
        first = Frame(FrameType.ENCAPSULATION, b"one")
        second = Frame(FrameType.ENCAPSULATION, b"second")
        octets = first.octets() + second.octets()
        self.assertEqual(Frame.read(octets, FrameType.ENCAPSULATION, 7), (second, 17))
        self.assertIsNone(Frame.read(octets[:-1], FrameType.ENCAPSULATION, 7))
        self.assertIsNone(Frame.read(octets, FrameType.ENCAPSULATION, 17))

    def test_missing(self) -> None:
        """
        How much a frame lacks is known as soon as LEN is there; before, every octet is worth a
        look.
        """
        octets = Frame(FrameType.ENCAPSULATION, b"t" * 300).octets()
        found = [Frame.missing(octets[:end]) for end in range(len(octets) + 1)]
        self.assertEqual(found, [1, 1, 1, 1, *range(300, -1, -1)])
        self.assertEqual(Frame.missing(octets + b"more"), 0)
        self.assertEqual(Frame.missing(octets + octets[:5], len(octets)), 299)

    def test_tokenIsNotShown(self) -> None:
        """
        A token is not shown: it may be good for something to whoever reads the log.
        """
        self.assertNotIn("secret", repr(Frame(FrameType.AUTHENTICATION, b"secret")))

    def test_frozen(self) -> None:
        """
        A frame is a value and cannot be changed.
        """
        frame = Frame(FrameType.AUTHENTICATION, b"")
        self.assertRaises(AttributeError, setattr, frame, "token", b"t")

    @values.reproducible
    @given(values.frames, values.cuts)
    def test_survives(self, frame: Frame, cuts: list[int]) -> None:
        """
        Every frame that is written is read as itself, however it is split (R-1928-01).
        """
        self.assertSurvives(due(frame.kind), frame, cuts)

    @values.reproducible
    @given(st.sampled_from(FrameType), values.anything(values.frames.map(Frame.octets)))
    def test_anyOctets(self, kind: FrameType, data: bytes) -> None:
        """
        Any octets at all give a frame, or "more", or a L{ProtocolError}, and 65539 octets are
        always enough.
        """
        self.assertObeys(due(kind), data, self.MAXIMUM)


class ProtectionLevelTests(SynchronousTestCase):
    """
    Tests for L{ProtectionLevel}.
    """

    def test_levels(self) -> None:
        """
        A level is one octet: the three of RFC 1961 section 4, and C{00} for none (R-1961-16).
        """
        for octet, level in (
            (b"\x00", ProtectionLevel.NONE),
            (b"\x01", ProtectionLevel.INTEGRITY),
            (b"\x02", ProtectionLevel.CONFIDENTIALITY),
            (b"\x03", ProtectionLevel.SELECTIVE),
        ):
            self.assertIs(ProtectionLevel.read(octet), level)
            self.assertEqual(level.octets(), octet)

    def test_others(self) -> None:
        """
        There is no level from 4 up (R-1961-16).
        """
        for number in range(4, 256):
            self.assertRaises(ProtocolError, ProtectionLevel.read, bytes((number,)))

    @values.reproducible
    @given(st.binary(max_size=70).filter(lambda data: len(data) != 1))
    def test_length(self, data: bytes) -> None:
        """
        What is not one octet long is no level (R-1961-15).
        """
        self.assertRaises(ProtocolError, ProtectionLevel.read, data)

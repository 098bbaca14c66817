"""
Tests for L{txsocks5.encapsulation}, in a realm of our own.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5.errors import ProtocolError
from txsocks5.interfaces import IProtection
from txsocks5.wire import Frame, FrameType, ProtectionLevel

from .contexts import CONFIDENTIALITY, INTEGRITY, MUTUAL, REPLAY, USUAL, initiator, pair
from .kerberos import realm, whyNoRealm

skip = whyNoRealm()
if skip is None:
    from txsocks5 import encapsulation
    from txsocks5.encapsulation import Encapsulation, openLevel, sealLevel

PROTECTING = (ProtectionLevel.INTEGRITY, ProtectionLevel.CONFIDENTIALITY)


class EncapsulationTestCase(SynchronousTestCase):
    """
    A test case in the realm.
    """

    def setUp(self) -> None:
        """
        Live in the realm.
        """
        realm().inhabit(self)

    def protections(
        self, level: ProtectionLevel, flags: int = USUAL
    ) -> tuple[Encapsulation, Encapsulation]:
        """
        The two ends of a protection.
        """
        near, far = pair(flags)
        return Encapsulation(near, level), Encapsulation(far, level)

    def assertDistrusts(self, protection: Encapsulation, octets: bytes, reason: str) -> None:
        """
        C{octets} of a stream are refused for a reason.
        """
        error = self.assertRaises(ProtocolError, protection.unwrap, octets)
        self.assertIn(reason, str(error))


class LevelTests(EncapsulationTestCase):
    """
    Tests for L{sealLevel} and L{openLevel}.
    """

    def test_bothWays(self) -> None:
        """
        A level that one side has wrapped is what the other one finds.
        """
        near, far = pair()
        for level in ProtectionLevel:
            self.assertIs(openLevel(far, sealLevel(near, level)), level)
            self.assertIs(openLevel(near, sealLevel(far, level)), level)

    def test_withoutConfidentiality(self) -> None:
        """
        The token is wrapped without confidentiality (R-1961-15); one with it is tolerated.
        """
        near, far = pair()
        token = sealLevel(near, ProtectionLevel.CONFIDENTIALITY)
        self.assertFalse(far.unwrap(token).encrypted)
        self.assertIs(openLevel(far, near.wrap(b"\x01", True).message), ProtectionLevel.INTEGRITY)

    def test_notALevel(self) -> None:
        """
        A genuine token that holds no level, or more than one octet, is refused (R-1961-15,
        R-1961-16).
        """
        near, far = pair()
        for octets in (b"", b"\x04", b"\xff", b"\x01\x01"):
            self.assertRaises(ProtocolError, openLevel, far, near.wrap(octets, False).message)

    def test_notGenuine(self) -> None:
        """
        A token that was changed, or comes again, or is none, is refused.
        """
        near, far = pair()
        token = sealLevel(near, ProtectionLevel.CONFIDENTIALITY)
        # The octet behind the header of 16 is the level.
        self.assertEqual(token[16], 2)
        downgraded = token[:16] + b"\x01" + token[17:]
        for octets in (b"", b"\x02", downgraded, token[:-1]):
            self.assertRaises(ProtocolError, openLevel, far, octets)
        # MIT's library writes into the token that it checks.
        again = bytes(bytearray(token))
        openLevel(far, token)
        error = self.assertRaises(ProtocolError, openLevel, far, again)
        self.assertIn("duplicate", str(error))

    def test_unfinishedContext(self) -> None:
        """
        A context that does not stand cannot wrap, and that is no error of the program.
        """
        near = initiator()
        near.step()
        self.assertRaises(ProtocolError, sealLevel, near, ProtectionLevel.INTEGRITY)
        self.assertRaises(ProtocolError, Encapsulation, near, ProtectionLevel.INTEGRITY)


class StreamTests(EncapsulationTestCase):
    """
    Tests for the stream of an L{Encapsulation}.
    """

    def test_interface(self) -> None:
        """
        It is a protection.
        """
        near, _ = self.protections(ProtectionLevel.INTEGRITY)
        verifyObject(IProtection, near)
        self.assertIs(near.level, ProtectionLevel.INTEGRITY)

    def test_onlyProtectingLevels(self) -> None:
        """
        There is nothing to encapsulate at the other levels (R-1961-22).
        """
        near, _ = pair()
        for level in (ProtectionLevel.NONE, ProtectionLevel.SELECTIVE):
            self.assertRaises(ValueError, Encapsulation, near, level)

    def test_oneMessageOneFrame(self) -> None:
        """
        A message of the server is one frame: MTYP C{03}, and a token that is wrapped with
        confidentiality at level 2 and without at level 1, always (R-1961-22, R-1961-25).
        """
        for level in PROTECTING:
            near, far = pair()
            octets = Encapsulation(near, level).wrap(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            frame, end = Frame.read(octets, FrameType.ENCAPSULATION) or self.fail("no frame")
            self.assertEqual(end, len(octets))
            result = far.unwrap(frame.token)
            self.assertEqual(result.message, b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            self.assertIs(result.encrypted, level is ProtectionLevel.CONFIDENTIALITY)

    def test_nothing(self) -> None:
        """
        No octets need no frame.
        """
        for level in PROTECTING:
            self.assertEqual(self.protections(level)[0].wrap(b""), b"")

    def test_framesAreShort(self) -> None:
        """
        Much data go in frames of 16 KiB, each of which can be opened as soon as it is there
        (R-1961-26).
        """
        data = bytes(range(256)) * 256 + b"end"
        for level in PROTECTING:
            near, far = self.protections(level)
            octets = near.wrap(data)
            sizes = []
            start = 0
            while start < len(octets):
                frame, start = Frame.read(octets, FrameType.ENCAPSULATION, start) or self.fail()
                sizes.append(len(far.unwrap(frame.octets())))
            self.assertEqual(sizes, [16384] * 4 + [3])

    def test_manyOctets(self) -> None:
        """
        A million octets arrive as they are, each way and at each level, however they are split.
        """
        random = Random(1961)
        data = random.randbytes(1_000_000)
        for level in PROTECTING:
            near, far = self.protections(level)
            for sender, receiver in ((near, far), (far, near)):
                octets = bytearray()
                start = 0
                while start < len(data):
                    size = random.choice((1, 10, 1000, 16384, 16385, 70000))
                    octets += sender.wrap(data[start : start + size])
                    start += size
                received = bytearray()
                start = 0
                while start < len(octets):
                    size = random.choice((1, 2, 3, 4, 5, 100, 16384, 65536, 200_000))
                    received += receiver.unwrap(bytes(octets[start : start + size]))
                    start += size
                self.assertEqual(received, data)
                receiver.finished()

    def test_everySplit(self) -> None:
        """
        Wherever two frames are split, nothing is lost and nothing comes early.
        """
        for level in PROTECTING:
            near, _ = self.protections(level)
            first = len(near.wrap(b"one"))
            for cut in range(2 * first):
                near, far = self.protections(level, MUTUAL | CONFIDENTIALITY | INTEGRITY)
                octets = near.wrap(b"one") + near.wrap(b"two")
                self.assertEqual(far.unwrap(octets[:cut]), b"one" if cut >= first else b"")
                self.assertEqual(far.unwrap(octets[cut:]), b"two" if cut >= first else b"onetwo")

    def test_octetByOctet(self) -> None:
        """
        A frame that comes octet by octet is opened with its last one.
        """
        near, far = self.protections(ProtectionLevel.CONFIDENTIALITY)
        octets = near.wrap(b"one")
        for octet in octets[:-1]:
            self.assertEqual(far.unwrap(bytes((octet,))), b"")
        self.assertEqual(far.unwrap(octets[-1:]), b"one")

    def test_longFrames(self) -> None:
        """
        The other side may send frames as long as they can be.
        """
        for level in PROTECTING:
            near, far = pair()
            sealed = level is ProtectionLevel.CONFIDENTIALITY
            data = b"x" * near.get_wrap_size_limit(65535, sealed)
            token = near.wrap(data, sealed).message
            self.assertGreater(len(token), 65500)
            octets = Frame(FrameType.ENCAPSULATION, token).octets()
            self.assertEqual(Encapsulation(far, level).unwrap(octets), data)

    def test_emptyPlaintext(self) -> None:
        """
        A frame that holds nothing is ignored (R-1961-26).
        """
        for level in PROTECTING:
            near, far = pair()
            sealed = level is ProtectionLevel.CONFIDENTIALITY
            empty = Frame(FrameType.ENCAPSULATION, near.wrap(b"", sealed).message).octets()
            protection = Encapsulation(far, level)
            self.assertEqual(protection.unwrap(empty), b"")
            self.assertEqual(protection.unwrap(Encapsulation(near, level).wrap(b"x")), b"x")

    def test_unsealed(self) -> None:
        """
        At level 2 a token without confidentiality is refused, though GSSAPI opens it (R-1961-23).
        """
        near, far = pair()
        octets = Encapsulation(near, ProtectionLevel.INTEGRITY).wrap(b"open")
        protection = Encapsulation(far, ProtectionLevel.CONFIDENTIALITY)
        self.assertDistrusts(protection, octets, "without the confidentiality")

    def test_noConfidentiality(self) -> None:
        """
        Where the mechanism wraps without the confidentiality that it was asked for, nothing is
        sent.
        """
        from gssapi.raw.named_tuples import WrapResult

        near, _ = self.protections(ProtectionLevel.CONFIDENTIALITY)
        self.patch(encapsulation.raw, "wrap", lambda context, data, sealed: WrapResult(data, False))
        self.assertRaises(ProtocolError, near.wrap, b"secret")
        self.assertRaises(ProtocolError, near.wrapDatagram, b"secret")

    def test_sealedAtLevelOne(self) -> None:
        """
        At level 1 a token with confidentiality is tolerated (R-1961-23).
        """
        near, far = pair()
        octets = Encapsulation(near, ProtectionLevel.CONFIDENTIALITY).wrap(b"sealed")
        self.assertEqual(Encapsulation(far, ProtectionLevel.INTEGRITY).unwrap(octets), b"sealed")

    def test_changed(self) -> None:
        """
        A frame in which any octet was changed is refused, or waits for octets that never come; it
        is never opened (R-1961-27).
        """
        for level in PROTECTING:
            near, _ = self.protections(level)
            length = len(near.wrap(b"attack"))
            refused = 0
            for position in range(length):
                near, far = self.protections(level)
                octets = bytearray(near.wrap(b"attack"))
                octets[position] ^= 0x10
                try:
                    self.assertEqual(far.unwrap(bytes(octets)), b"")
                except ProtocolError:
                    refused += 1
                else:
                    self.assertIn(position, (2, 3))
                    self.assertRaises(ProtocolError, far.finished)
            self.assertGreaterEqual(refused, length - 2)

    def test_againAndOutOfOrder(self) -> None:
        """
        A frame that comes again, is left out, or is overtaken is refused, if the initiator has
        asked for replay detection and sequencing (R-1961-27).
        """
        for order, reason in (
            ((0, 0), "duplicate"),
            ((1,), "expected per-message token was not received"),
            ((0, 2), "expected per-message token was not received"),
        ):
            for level in PROTECTING:
                near, far = self.protections(level)
                octets = [near.wrap(b"%d" % number) for number in range(3)]
                for number in order[:-1]:
                    far.unwrap(octets[number])
                self.assertDistrusts(far, octets[order[-1]], reason)

    def test_sentBack(self) -> None:
        """
        What one side has sent is refused if it comes back to it.
        """
        for level in PROTECTING:
            near, _ = self.protections(level)
            self.assertRaises(ProtocolError, near.unwrap, near.wrap(b"mirror"))

    def test_otherContext(self) -> None:
        """
        What was wrapped in another context is refused.
        """
        for level in PROTECTING:
            near, _ = self.protections(level)
            _, far = self.protections(level)
            self.assertRaises(ProtocolError, far.unwrap, near.wrap(b"other"))

    def test_goodBeforeBad(self) -> None:
        """
        If one of several frames is bad nothing of them is given away, not even what came before
        (R-1961-27).
        """
        near, far = self.protections(ProtectionLevel.INTEGRITY)
        good = near.wrap(b"good")
        bad = bytearray(near.wrap(b"bad"))
        bad[-1] ^= 1
        self.assertDistrusts(far, good + bytes(bad), "Message Integrity Check")

    def test_notEncapsulated(self) -> None:
        """
        Octets in clear, frames of other kinds and C{01 FF} are refused with their first octets
        (R-1961-07).
        """
        for octets in (b"\x05", b"GET /", b"\x01\x01", b"\x01\x02", b"\x01\xff"):
            _, far = self.protections(ProtectionLevel.INTEGRITY)
            self.assertRaises(ProtocolError, far.unwrap, octets)

    def test_rubbish(self) -> None:
        """
        A frame with a token that GSSAPI has never made is refused.
        """
        _, far = self.protections(ProtectionLevel.INTEGRITY)
        for token in (b"", b"\x05", b"\x00" * 65535, Random(1).randbytes(300)):
            octets = Frame(FrameType.ENCAPSULATION, token).octets()
            self.assertRaises(ProtocolError, far.unwrap, octets)

    def test_endWithinFrame(self) -> None:
        """
        The stream may end between frames, and nowhere else (R-1961-28).
        """
        near, far = self.protections(ProtectionLevel.INTEGRITY)
        far.finished()
        octets = near.wrap(b"cut off")
        far.unwrap(octets[:1])
        self.assertRaises(ProtocolError, far.finished)
        far.unwrap(octets[1:-1])
        self.assertRaises(ProtocolError, far.finished)
        far.unwrap(octets[-1:])
        far.finished()

    def test_close(self) -> None:
        """
        With the end of the session the context is let go of.
        """
        import gc
        import weakref

        near, _ = pair()
        protection = Encapsulation(near, ProtectionLevel.INTEGRITY)
        seen = weakref.ref(near)
        del near
        gc.collect()
        self.assertIsNotNone(seen())
        protection.close()
        gc.collect()
        self.assertIsNone(seen())

    def test_reason(self) -> None:
        """
        The reason for the log is what the mechanism says, and holds no token.
        """
        near, far = self.protections(ProtectionLevel.CONFIDENTIALITY)
        octets = bytearray(near.wrap(b"x"))
        octets[-1] ^= 1
        self.assertDistrusts(
            far,
            bytes(octets),
            "cannot be unwrapped: Decrypt integrity check failed; "
            "A token had an invalid Message Integrity Check (MIC)",
        )


class DatagramTests(EncapsulationTestCase):
    """
    Tests for the datagrams of an L{Encapsulation}.
    """

    # What the client of an association asks for: no sequencing.
    UNORDERED = MUTUAL | REPLAY | CONFIDENTIALITY | INTEGRITY

    def test_bothWays(self) -> None:
        """
        A datagram is one frame in which its whole length is used, and the stream's context opens
        it (R-1961-29, R-1961-32).
        """
        for level in PROTECTING:
            near, far = self.protections(level)
            for sender, receiver in ((near, far), (far, near)):
                for data in (b"", b"\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x35question"):
                    octets = sender.wrapDatagram(data)
                    self.assertEqual(octets[:2], b"\x01\x03")
                    self.assertEqual(int.from_bytes(octets[2:4], "big"), len(octets) - 4)
                    self.assertEqual(receiver.unwrapDatagram(octets), data)
                    self.assertEqual(receiver.unwrap(sender.wrap(b"stream")), b"stream")

    def test_length(self) -> None:
        """
        A datagram that is longer or shorter than its frame, even by one octet, is dropped, and
        so is one that is no frame at all (R-1961-30).
        """
        near, far = self.protections(ProtectionLevel.INTEGRITY, self.UNORDERED)
        octets = near.wrapDatagram(b"data")
        for bad in (b"", octets[:3], octets[:-1], octets + b"\x00", octets + octets, b"\x00" * 20):
            self.assertRaises(ProtocolError, far.unwrapDatagram, bad)
        self.assertEqual(far.unwrapDatagram(octets), b"data")

    def test_order(self) -> None:
        """
        Datagrams may be lost, and overtake each other, but none is taken twice (R-1961-30).
        """
        for level in PROTECTING:
            near, far = self.protections(level, self.UNORDERED)
            octets = [near.wrapDatagram(b"%d" % number) for number in range(6)]
            for number in (3, 1, 5, 2):
                self.assertEqual(far.unwrapDatagram(octets[number]), b"%d" % number)
                self.assertRaises(ProtocolError, far.unwrapDatagram, octets[number])
            for number in (3, 1, 5, 2):
                self.assertRaises(ProtocolError, far.unwrapDatagram, octets[number])
            self.assertEqual(far.unwrapDatagram(octets[4]), b"4")

    def test_sequencing(self) -> None:
        """
        In a context with sequencing the library gives away neither the datagram that follows a
        loss nor one that was overtaken; those behind them arrive.
        """
        near, far = self.protections(ProtectionLevel.INTEGRITY)
        octets = [near.wrapDatagram(b"%d" % number) for number in range(4)]
        self.assertEqual(far.unwrapDatagram(octets[0]), b"0")
        self.assertRaises(ProtocolError, far.unwrapDatagram, octets[2])
        self.assertRaises(ProtocolError, far.unwrapDatagram, octets[1])
        self.assertEqual(far.unwrapDatagram(octets[3]), b"3")

    def test_notGenuine(self) -> None:
        """
        A datagram that was changed, was wrapped in another context or is not sealed at level 2 is
        dropped, and those that follow are not.
        """
        near, far = pair(self.UNORDERED)
        protection = Encapsulation(far, ProtectionLevel.CONFIDENTIALITY)
        other, _ = self.protections(ProtectionLevel.CONFIDENTIALITY)
        changed = bytearray(
            Encapsulation(near, ProtectionLevel.CONFIDENTIALITY).wrapDatagram(b"data")
        )
        changed[-1] ^= 1
        unsealed = Encapsulation(near, ProtectionLevel.INTEGRITY).wrapDatagram(b"data")
        for bad in (bytes(changed), unsealed, other.wrapDatagram(b"data")):
            self.assertRaises(ProtocolError, protection.unwrapDatagram, bad)
        good = Encapsulation(near, ProtectionLevel.CONFIDENTIALITY).wrapDatagram(b"good")
        self.assertEqual(protection.unwrapDatagram(good), b"good")

    def test_longest(self) -> None:
        """
        What does not fit into a frame is refused, and the longest that does is not (R-1961-31).
        """
        for level in PROTECTING:
            near, far = pair(self.UNORDERED)
            limit = near.get_wrap_size_limit(65535, level is ProtectionLevel.CONFIDENTIALITY)
            sender = Encapsulation(near, level)
            data = b"x" * limit
            octets = sender.wrapDatagram(data)
            self.assertLessEqual(len(octets), 65539)
            self.assertEqual(Encapsulation(far, level).unwrapDatagram(octets), data)
            self.assertRaises(ProtocolError, sender.wrapDatagram, data + b"x")

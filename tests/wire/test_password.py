"""
Tests for L{txsocks5.wire._password}.
"""

from __future__ import annotations

from hypothesis import given

from txsocks5.errors import ProtocolError
from txsocks5.wire import Credentials, PasswordStatus

from . import values
from .checks import WireTestCase


class CredentialsTests(WireTestCase):
    """
    Tests for L{Credentials}.
    """

    MAXIMUM = 1 + 1 + 255 + 1 + 255

    def test_messages(self) -> None:
        """
        The message is VER C{01} and two fields, each behind the octet that counts its
        octets (R-1929-01, R-1929-02).
        """
        for octets, user, password in (
            (b"\x01\x02ab\x03xyz", b"ab", b"xyz"),
            (b"\x01\x01u\x01p", b"u", b"p"),
            (b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255, b"u" * 255, b"p" * 255),
            (b"\x01\x01\x05\x01\x05", b"\x05", b"\x05"),
        ):
            self.assertReads(Credentials.read, octets, Credentials(user, password))
            self.assertWrites(Credentials(user, password), octets)

    def test_emptyFields(self) -> None:
        """
        Empty fields are read, since real clients send them; it is the checker that
        refuses them (R-1929-03).
        """
        for octets, user, password in (
            (b"\x01\x00\x00", b"", b""),
            (b"\x01\x00\x03xyz", b"", b"xyz"),
            (b"\x01\x02ab\x00", b"ab", b""),
        ):
            self.assertReads(Credentials.read, octets, Credentials(user, password))
            self.assertWrites(Credentials(user, password), octets)

    def test_octetsNotText(self) -> None:
        """
        The fields are octets, and come out as they went in: no charset, no trimming,
        no folding of case (R-1929-02, R-1929-04), and a NUL ends nothing
        (R-1929-05).
        """
        for field in (
            "p\u00e4ss".encode(),
            "p\u00e4ss".encode("latin-1"),
            b"user\x00anything",
            b"\x00",
            b" User \r\n",
            bytes(range(255)),
            b"\xff\xfe",
        ):
            octets = b"\x01" + bytes((len(field),)) + field + bytes((len(field),)) + field
            self.assertReads(Credentials.read, octets, Credentials(field, field))
            self.assertWrites(Credentials(field, field), octets)

    def test_otherVersions(self) -> None:
        """
        Any other VER is refused at once, the C{05} of SOCKS included (R-1929-01).
        """
        for version in range(256):
            if version != 1:
                self.assertRefuses(Credentials.read, bytes((version,)), ProtocolError)

    def test_whatFollowsIsLeft(self) -> None:
        """
        A request that is pipelined behind the credentials is left for its own reader.
        """
        octets = bytes.fromhex("01 02 6162 03 78797a 05 01 00 01 c0000207 0050 474554")
        self.assertEqual(Credentials.read(octets), (Credentials(b"ab", b"xyz"), 8))

    def test_passwordIsNotShown(self) -> None:
        """
        The password is neither in C{repr} nor in C{str} (R-1929-11).
        """
        credentials = Credentials(b"alice", b"sesame")
        for text in (repr(credentials), str(credentials), f"{credentials}", f"{[credentials]}"):
            self.assertIn("alice", text)
            self.assertNotIn("sesame", text)

    def test_passwordCounts(self) -> None:
        """
        Credentials that differ in the password alone are not equal.
        """
        self.assertNotEqual(Credentials(b"a", b"b"), Credentials(b"a", b"c"))

    def test_frozen(self) -> None:
        """
        Credentials are a value and cannot be changed.
        """
        self.assertRaises(AttributeError, setattr, Credentials(b"a", b"b"), "username", b"c")

    def test_tooLongIsNotWritten(self) -> None:
        """
        A field that a length octet cannot count is refused by the writer.
        """
        self.assertRaises(ValueError, Credentials(b"u" * 256, b"p").octets)
        self.assertRaises(ValueError, Credentials(b"u", b"p" * 256).octets)

    @values.reproducible
    @given(values.credentials, values.cuts)
    def test_survives(self, credentials: Credentials, cuts: list[int]) -> None:
        """
        All credentials that are written are read as themselves, however they are
        split (R-1928-01).
        """
        self.assertSurvives(Credentials.read, credentials, cuts)

    @values.reproducible
    @given(values.anything(values.credentials.map(Credentials.octets)))
    def test_anyOctets(self, data: bytes) -> None:
        """
        Any octets at all give credentials, or "more", or a L{ProtocolError}, and 513
        octets are always enough (R-1928-04).
        """
        self.assertObeys(Credentials.read, data, self.MAXIMUM)


class PasswordStatusTests(WireTestCase):
    """
    Tests for L{PasswordStatus}.
    """

    def test_accepted(self) -> None:
        """
        Success is STATUS C{00}, with VER C{01} (R-1929-01).
        """
        self.assertReads(PasswordStatus.read, b"\x01\x00", PasswordStatus(True))
        self.assertWrites(PasswordStatus(True), b"\x01\x00")

    def test_refused(self) -> None:
        """
        A refusal is always written as STATUS C{01}, so that it does not tell why
        (R-1929-08); any STATUS but C{00} is read as one.
        """
        self.assertWrites(PasswordStatus(False), b"\x01\x01")
        for status in range(1, 256):
            self.assertReads(PasswordStatus.read, bytes((1, status)), PasswordStatus(False))

    def test_otherVersions(self) -> None:
        """
        Any other VER is refused at once (R-1929-01).
        """
        for version in range(256):
            if version != 1:
                self.assertRefuses(PasswordStatus.read, bytes((version,)), ProtocolError)

    @values.reproducible
    @given(values.statuses, values.cuts)
    def test_survives(self, status: PasswordStatus, cuts: list[int]) -> None:
        """
        Every status that is written is read as itself, however it is split.
        """
        self.assertSurvives(PasswordStatus.read, status, cuts)

    @values.reproducible
    @given(values.anything(values.statuses.map(PasswordStatus.octets)))
    def test_anyOctets(self, data: bytes) -> None:
        """
        Any octets at all give a status, or "more", or a L{ProtocolError}.
        """
        self.assertObeys(PasswordStatus.read, data, 2)

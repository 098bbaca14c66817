"""
Tests for L{txsocks5.wire._socks}.
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from txsocks5.errors import (
    AddressTypeNotSupported,
    BadName,
    CommandNotSupported,
    NotSOCKS5,
    ProtocolError,
    ReplyCode,
    replyCodeOf,
)
from txsocks5.wire import (
    NO_ACCEPTABLE_METHOD,
    Address,
    Command,
    Credentials,
    Greeting,
    Method,
    Reply,
    Request,
    Selection,
)

from . import values
from .checks import Message, Read, WireTestCase

ORIGIN = Address(IPv4Address("192.0.2.7"), 80)


class GreetingTests(WireTestCase):
    """
    Tests for L{Greeting}.
    """

    MAXIMUM = 257

    def test_messages(self) -> None:
        """
        The greeting is VER C{05}, the number of methods, and the methods in the
        client's order, unknown, repeated and impossible ones among them (R-1928-07).
        """
        for octets, methods in (
            (b"\x05\x01\x00", b"\x00"),
            (b"\x05\x01\x02", b"\x02"),
            (b"\x05\x01\x7f", b"\x7f"),
            (b"\x05\x02\x00\x02", b"\x00\x02"),
            (b"\x05\x03\x02\x01\x00", b"\x02\x01\x00"),
            (b"\x05\x04\x00\x00\xff\x80", b"\x00\x00\xff\x80"),
            (b"\x05\x05" + b"\x05" * 5, b"\x05" * 5),
            (b"\x05\xff" + bytes(range(255)), bytes(range(255))),
        ):
            self.assertReads(Greeting.read, octets, Greeting(methods))
            self.assertWrites(Greeting(methods), octets)

    def test_noMethods(self) -> None:
        """
        NMETHODS 0 is a whole greeting that offers nothing, so that it is answered
        C{05 FF} (R-1928-06).
        """
        self.assertReads(Greeting.read, b"\x05\x00", Greeting(b""))
        self.assertWrites(Greeting(b""), b"\x05\x00")

    def test_longest(self) -> None:
        """
        The longest greeting has 257 octets (R-1928-04).
        """
        self.assertEqual(len(Greeting(bytes(255)).octets()), self.MAXIMUM)
        self.assertRaises(ValueError, Greeting(bytes(256)).octets)

    def test_otherProtocols(self) -> None:
        """
        Any first octet but C{05} is refused at once as another protocol's
        (R-1928-05).
        """
        for first in range(256):
            if first != 5:
                self.assertRefuses(Greeting.read, bytes((first,)), NotSOCKS5)

    def test_guess(self) -> None:
        """
        The refusal guesses, for the log, whose client it is.
        """
        for data, guess in (
            (b"\x04\x01\x00\x50\x00\x00\x00\x01u\x00a.b\x00", "SOCKS4"),
            (b"\x16\x03\x01\x02\x00", "TLS"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (b"CONNECT a:80 HTTP/1.1\r\n", "HTTP"),
            (b"POST / HTTP/1.1\r\n", "HTTP"),
            (b"HEAD / HTTP/1.1\r\n", "HTTP"),
            (b"SSH-2.0-", "no SOCKS"),
            (b"\x00", "no SOCKS"),
        ):
            error = self.assertRaises(NotSOCKS5, Greeting.read, data)
            self.assertIn(guess, str(error))

    @values.reproducible
    @given(values.greetings, values.cuts)
    def test_survives(self, greeting: Greeting, cuts: list[int]) -> None:
        """
        Every greeting that is written is read as itself, however it is split
        (R-1928-01).
        """
        self.assertSurvives(Greeting.read, greeting, cuts)

    @values.reproducible
    @given(values.anything(values.greetings.map(Greeting.octets)))
    def test_anyOctets(self, data: bytes) -> None:
        """
        Any octets at all give a greeting, or "more", or a L{ProtocolError}, and 257
        octets are always enough (R-1928-04).
        """
        self.assertObeys(Greeting.read, data, self.MAXIMUM)


class SelectionTests(WireTestCase):
    """
    Tests for L{Selection}.
    """

    def test_messages(self) -> None:
        """
        The selection is VER C{05} and the method.
        """
        for method in range(256):
            octets = bytes((5, method))
            self.assertReads(Selection.read, octets, Selection(method))
            self.assertWrites(Selection(method), octets)

    def test_numbers(self) -> None:
        """
        The methods have the numbers of RFC 1928 section 3, and C{FF} is none of them
        (R-1928-08).
        """
        self.assertEqual(
            {method.name: method.value for method in Method},
            {"NONE": 0, "GSSAPI": 1, "PASSWORD": 2},
        )
        self.assertWrites(Selection(NO_ACCEPTABLE_METHOD), b"\x05\xff")
        self.assertWrites(Selection(Method.PASSWORD), b"\x05\x02")

    def test_otherVersions(self) -> None:
        """
        Any other VER is refused at once.
        """
        for version in range(256):
            if version != 5:
                self.assertRefuses(Selection.read, bytes((version,)), ProtocolError)

    def test_outsideIsNotWritten(self) -> None:
        """
        A number that is no octet is refused by the writer.
        """
        self.assertRaises(ValueError, Selection(256).octets)

    @values.reproducible
    @given(values.selections, values.cuts)
    def test_survives(self, selection: Selection, cuts: list[int]) -> None:
        """
        Every selection that is written is read as itself, however it is split.
        """
        self.assertSurvives(Selection.read, selection, cuts)

    @values.reproducible
    @given(values.anything(values.selections.map(Selection.octets)))
    def test_anyOctets(self, data: bytes) -> None:
        """
        Any octets at all give a selection, or "more", or a L{ProtocolError}.
        """
        self.assertObeys(Selection.read, data, 2)


# Requests, and what they ask.
REQUESTS: dict[str, Request] = {
    "05 01 00 01 C0 00 02 07 00 50": Request(Command.CONNECT, ORIGIN),
    "05 01 00 03 0B 65 78 61 6D 70 6C 65 2E 63 6F 6D 01 BB": Request(
        Command.CONNECT, Address("example.com", 443)
    ),
    "05 01 00 04 20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 01 01 BB": Request(
        Command.CONNECT, Address(IPv6Address("2001:db8::1"), 443)
    ),
    "05 02 00 01 C0 00 02 07 00 15": Request(Command.BIND, Address(IPv4Address("192.0.2.7"), 21)),
    "05 03 00 01 00 00 00 00 00 00": Request(
        Command.UDP_ASSOCIATE, Address(IPv4Address("0.0.0.0"), 0)
    ),
    "05 03 00 03 01 30 9C 40": Request(Command.UDP_ASSOCIATE, Address("0", 40000)),
    "05 03 00 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00": Request(
        Command.UDP_ASSOCIATE, Address(IPv6Address("::"), 0)
    ),
    "05 02 00 01 00 00 00 00 00 00": Request(Command.BIND, Address(IPv4Address("0.0.0.0"), 0)),
}


class RequestTests(WireTestCase):
    """
    Tests for L{Request}.
    """

    MAXIMUM = 262

    def test_messages(self) -> None:
        """
        The request is VER C{05}, CMD, RSV C{00} and an address; it is read the same in
        strict reading.
        """
        for text, request in REQUESTS.items():
            self.assertReads(Request.read, bytes.fromhex(text), request)
            self.assertReads(partial(Request.read, strict=True), bytes.fromhex(text), request)
            self.assertWrites(request, bytes.fromhex(text))

    def test_numbers(self) -> None:
        """
        The commands have the numbers of RFC 1928 section 4.
        """
        self.assertEqual(
            {command.name: command.value for command in Command},
            {"CONNECT": 1, "BIND": 2, "UDP_ASSOCIATE": 3},
        )

    def test_lengths(self) -> None:
        """
        A request has 10 octets with an IPv4 address, 22 with an IPv6 one, and 7 more
        than the name with a name: 262 at most (R-1928-04).
        """
        for host, length in (
            (IPv4Address("192.0.2.7"), 10),
            (IPv6Address("2001:db8::1"), 22),
            ("a", 8),
            ("a" * 63, 70),
            ("a" * 255, 262),
        ):
            octets = Request(Command.CONNECT, Address(host, 80)).octets()
            self.assertEqual(len(octets), length)

    def test_otherVersions(self) -> None:
        """
        Any other VER is refused at once, with the REP for a general failure: so is a
        user's password message that nobody asked for (R-1928-16, R-1928-19).
        """
        for version in range(256):
            if version != 5:
                self.assertRefuses(Request.read, bytes((version,)), ProtocolError)
        error = self.assertRaises(ProtocolError, Request.read, b"\x01\x02ab\x03xyz")
        self.assertIs(replyCodeOf(error), ReplyCode.GENERAL_FAILURE)

    def test_unknownCommands(self) -> None:
        """
        Any other CMD is refused as soon as it is there, before ATYP is looked at
        (R-1928-20).
        """
        for command in range(256):
            if command not in (1, 2, 3):
                self.assertRefuses(Request.read, bytes((5, command)), CommandNotSupported)
        data = b"\x05\x09\x00\x02"
        error = self.assertRaises(CommandNotSupported, Request.read, data)
        self.assertIs(replyCodeOf(error), ReplyCode.COMMAND_NOT_SUPPORTED)

    def test_commandsSwitchedOff(self) -> None:
        """
        A command that is not served is as if unknown, and the others are read as ever
        (R-1928-20).
        """
        for served in ({1}, {1, 3}, {Command.BIND}, set(), (1, 2, 3)):
            read = partial(Request.read, commands=served)
            for command in (1, 2, 3):
                octets = bytes((5, command)) + b"\x00\x01\xc0\x00\x02\x07\x00\x50"
                if command in served:
                    self.assertReads(read, octets, Request(Command(command), ORIGIN))
                else:
                    self.assertRefuses(read, octets[:2], CommandNotSupported)

    def test_servedCommandsWithoutAName(self) -> None:
        """
        A CMD that no RFC defines stays unknown even where the commands to be served
        are told to include it: nothing but a L{ProtocolError} comes out.
        """
        read = partial(Request.read, commands=range(256))
        self.assertReads(read, b"\x05\x01\x00" + ORIGIN.octets(), Request(Command.CONNECT, ORIGIN))
        for command in (0, 5, 9, 0xF0, 0xFF):
            data = bytes((5, command, 0)) + ORIGIN.octets()
            self.assertRaises(CommandNotSupported, read, data)

    def test_reserved(self) -> None:
        """
        RSV is ignored, and written as C{00} (R-1928-21).
        """
        for reserved in range(256):
            octets = bytes((5, 1, reserved)) + ORIGIN.octets()
            self.assertReads(Request.read, octets, Request(Command.CONNECT, ORIGIN))

    def test_reservedStrictly(self) -> None:
        """
        Where strictness is asked for, RSV other than C{00} is refused as soon as it is
        there, with the REP for a general failure (R-1928-21).
        """
        read = partial(Request.read, strict=True)
        for reserved in range(1, 256):
            self.assertRefuses(read, bytes((5, 1, reserved)), ProtocolError)

    def test_unknownAddressTypes(self) -> None:
        """
        An unknown ATYP is refused with the fourth octet (R-1928-22).
        """
        for command in (1, 2, 3):
            for kind in (0, 2, 5, 0x7F, 0xFF):
                octets = bytes((5, command, 0, kind))
                self.assertRefuses(Request.read, octets, AddressTypeNotSupported)

    def test_badNames(self) -> None:
        """
        A name that is none is refused, for each command, with the REP for a general
        failure (R-1928-24, R-1928-25, R-1928-26, R-1928-29).
        """
        for name in (b"", b"a b", b"127.0.0.1\x00.example", b"fe80::1%eth0", b"\xff"):
            for command in (1, 2, 3):
                octets = bytes((5, command, 0, 3, len(name))) + name + b"\x00\x50"
                self.assertRefuses(Request.read, octets, BadName)
                error = self.assertRaises(BadName, Request.read, octets)
                self.assertIs(replyCodeOf(error), ReplyCode.GENERAL_FAILURE)

    def test_numbersAsNames(self) -> None:
        """
        A loose spelling of an address is refused (R-1928-28), but not in UDP
        ASSOCIATE, where the address is ignored (R-1928-66).
        """
        for name in (b"0", b"127.1", b"0x7f000001", b"0177.0.0.1", b"2130706433"):
            for command in (1, 2):
                octets = bytes((5, command, 0, 3, len(name))) + name + b"\x9c\x40"
                self.assertRefuses(Request.read, octets, BadName)
            octets = bytes((5, 3, 0, 3, len(name))) + name + b"\x9c\x40"
            expected = Request(Command.UDP_ASSOCIATE, Address(name.decode("ascii"), 40000))
            self.assertReads(Request.read, octets, expected)

    def test_addressesInText(self) -> None:
        """
        A name that is an address in text, and an IPv4-mapped address, are the address
        itself (R-1928-27, R-1928-34).
        """
        for field, text in (
            (b"\x03\x09192.0.2.7", "192.0.2.7"),
            (b"\x03\x0b2001:db8::1", "2001:db8::1"),
            (b"\x03\x0d[2001:db8::1]", "2001:db8::1"),
            (b"\x03\x10::ffff:192.0.2.7", "192.0.2.7"),
            (b"\x04" + bytes(10) + b"\xff\xff\xc0\x00\x02\x07", "192.0.2.7"),
        ):
            for command in Command:
                octets = bytes((5, command, 0)) + field + b"\x00\x50"
                self.assertReads(
                    Request.read, octets, Request(command, Address(ip_address(text), 80))
                )

    def test_connectToPortZero(self) -> None:
        """
        A CONNECT to port 0 is refused, whatever the address (R-1928-30).
        """
        for field in (b"\x01\xc0\x00\x02\x07", b"\x03\x01a", b"\x04" + bytes(16)):
            octets = b"\x05\x01\x00" + field + b"\x00\x00"
            self.assertRefuses(Request.read, octets, ProtocolError)

    def test_otherCommandsWithPortZero(self) -> None:
        """
        BIND and UDP ASSOCIATE may have port 0: the client may not know it
        (R-1928-67).
        """
        for command in (Command.BIND, Command.UDP_ASSOCIATE):
            octets = bytes((5, command)) + b"\x00\x01\x00\x00\x00\x00\x00\x00"
            expected = Request(command, Address(IPv4Address("0.0.0.0"), 0))
            self.assertReads(Request.read, octets, expected)

    def test_firstFaultDecides(self) -> None:
        """
        Of several faults, the first in the order VER, CMD, RSV, ATYP, address, port is
        the one that is reported (R-1928-20).
        """
        read = partial(Request.read, strict=True)
        name = b"\x03\x01/\x00\x00"
        for octets, error in (
            (b"\x04\x09\x01\x02", ProtocolError),
            (b"\x05\x09\x01\x02", CommandNotSupported),
            (b"\x05\x01\x01\x02", ProtocolError),
            (b"\x05\x01\x00\x02", AddressTypeNotSupported),
            (b"\x05\x01\x00" + name, BadName),
            (b"\x05\x01\x00\x03\x01a\x00\x00", ProtocolError),
        ):
            refusal = self.assertRaises(ProtocolError, read, octets)
            self.assertIs(type(refusal), error, octets.hex(" "))

    def test_applicationDataIsLeft(self) -> None:
        """
        Octets behind the request are no error and are left (R-1928-31).
        """
        octets = bytes.fromhex("05 01 00 01 C0 00 02 07 00 50 47 45 54")
        self.assertEqual(Request.read(octets), (Request(Command.CONNECT, ORIGIN), 10))

    def test_outsideIsNotWritten(self) -> None:
        """
        A port or a name that does not fit is refused by the writer.
        """
        self.assertRaises(ValueError, Request(Command.CONNECT, Address("a", 65536)).octets)
        self.assertRaises(ValueError, Request(Command.CONNECT, Address("", 80)).octets)

    def test_frozen(self) -> None:
        """
        A request is a value and cannot be changed.
        """
        request = Request(Command.CONNECT, ORIGIN)
        self.assertRaises(AttributeError, setattr, request, "command", Command.BIND)

    @values.reproducible
    @given(values.requests, values.cuts, st.booleans())
    def test_survives(self, request: Request, cuts: list[int], strict: bool) -> None:
        """
        Every request that is written is read as itself, however it is split
        (R-1928-01).
        """
        self.assertSurvives(partial(Request.read, strict=strict), request, cuts)

    @values.reproducible
    @given(
        values.anything(values.requests.map(Request.octets)),
        st.booleans(),
        st.sets(st.sampled_from(Command)),
    )
    def test_anyOctets(self, data: bytes, strict: bool, commands: set[Command]) -> None:
        """
        Any octets at all give a request, or "more", or a L{ProtocolError}, and 262
        octets are always enough (R-1928-04).
        """
        self.assertObeys(Request.read, data, self.MAXIMUM)
        read = partial(Request.read, strict=strict, commands=commands)
        self.assertObeys(read, data, self.MAXIMUM)


class ReplyTests(WireTestCase):
    """
    Tests for L{Reply}.
    """

    MAXIMUM = 262

    def test_messages(self) -> None:
        """
        The reply is VER C{05}, REP, RSV C{00} and an address (R-1928-35).
        """
        for text, reply in (
            (
                "05 00 00 01 C6 33 64 01 9C 40",
                Reply(ReplyCode.SUCCEEDED, Address(IPv4Address("198.51.100.1"), 40000)),
            ),
            (
                "05 00 00 01 C6 33 64 01 13 88",
                Reply(ReplyCode.SUCCEEDED, Address(IPv4Address("198.51.100.1"), 5000)),
            ),
            (
                "05 00 00 01 C0 00 02 07 00 14",
                Reply(ReplyCode.SUCCEEDED, Address(IPv4Address("192.0.2.7"), 20)),
            ),
            (
                "05 00 00 01 CB 00 71 05 17 70",
                Reply(ReplyCode.SUCCEEDED, Address(IPv4Address("203.0.113.5"), 6000)),
            ),
            (
                "05 00 00 04 20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 01 01 BB",
                Reply(ReplyCode.SUCCEEDED, Address(IPv6Address("2001:db8::1"), 443)),
            ),
            (
                "05 00 00 03 01 61 00 50",
                Reply(ReplyCode.SUCCEEDED, Address("a", 80)),
            ),
        ):
            self.assertReads(Reply.read, bytes.fromhex(text), reply)
            self.assertWrites(reply, bytes.fromhex(text))

    def test_failures(self) -> None:
        """
        A failure has exactly 10 octets, with an address of zeros (R-1928-37).
        """
        for code in range(1, 9):
            octets = bytes((5, code)) + b"\x00\x01\x00\x00\x00\x00\x00\x00"
            self.assertWrites(Reply(ReplyCode(code)), octets)
            self.assertReads(Reply.read, octets, Reply(ReplyCode(code)))

    def test_codes(self) -> None:
        """
        A REP that the RFC assigns is read as a L{ReplyCode}, and any other as a plain
        number.
        """
        for code in range(256):
            answer = Reply.read(bytes((5, code)) + b"\x00\x01" + bytes(6))
            assert answer is not None
            self.assertEqual(answer, (Reply(code), 10))
            self.assertIs(type(answer[0].code), ReplyCode if code <= 8 else int)

    def test_otherVersions(self) -> None:
        """
        Any other VER is refused at once.
        """
        for version in range(256):
            if version != 5:
                self.assertRefuses(Reply.read, bytes((version,)), ProtocolError)

    def test_reserved(self) -> None:
        """
        RSV other than C{00} is refused: here it is a server that has to write it
        (R-1928-35).
        """
        for reserved in range(1, 256):
            self.assertRefuses(Reply.read, bytes((5, 0, reserved)), ProtocolError)

    def test_unknownAddressTypes(self) -> None:
        """
        An unknown ATYP is refused with the fourth octet.
        """
        for kind in (0, 2, 5, 0xFF):
            self.assertRefuses(Reply.read, bytes((5, 0, 0, kind)), AddressTypeNotSupported)

    def test_badNames(self) -> None:
        """
        A name that no host can have is refused.
        """
        for name in (b"", b"0", b"a b", b"a\x00"):
            octets = bytes((5, 0, 0, 3, len(name))) + name + b"\x00\x50"
            self.assertRefuses(Reply.read, octets, BadName)

    def test_mapped(self) -> None:
        """
        An IPv4-mapped BND.ADDR is read as the IPv4 address (R-1928-34).
        """
        octets = b"\x05\x00\x00\x04" + bytes(10) + b"\xff\xff\xc0\x00\x02\x07\x00\x50"
        self.assertReads(Reply.read, octets, Reply(ReplyCode.SUCCEEDED, ORIGIN))

    def test_outsideIsNotWritten(self) -> None:
        """
        A REP or a port that does not fit is refused by the writer.
        """
        self.assertRaises(ValueError, Reply(256).octets)
        self.assertRaises(ValueError, Reply(0, Address("a", -1)).octets)

    @values.reproducible
    @given(values.replies, values.cuts)
    def test_survives(self, reply: Reply, cuts: list[int]) -> None:
        """
        Every reply that is written is read as itself, however it is split
        (R-1928-01).
        """
        self.assertSurvives(Reply.read, reply, cuts)

    @values.reproducible
    @given(values.anything(values.replies.map(Reply.octets)))
    def test_anyOctets(self, data: bytes) -> None:
        """
        Any octets at all give a reply, or "more", or a L{ProtocolError}, and 262
        octets are always enough.
        """
        self.assertObeys(Reply.read, data, self.MAXIMUM)


class StreamTests(WireTestCase):
    """
    The readers one after another, each beginning where the one before it ended.
    """

    def receive(
        self, reads: list[Read], data: bytes, cuts: list[int]
    ) -> tuple[list[Message], bytes]:
        """
        Feed C{data} in pieces to one reader after another.

        @return: the messages, and what was left behind them.
        """
        positions = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        waiting = list(reads)
        messages: list[Message] = []
        received = b""
        for start, end in pairwise(positions):
            received += data[start:end]
            while waiting and (answer := waiting[0](received)):
                messages.append(answer[0])
                received = received[answer[1] :]
                del waiting[0]
        return messages, received

    def test_pipelined(self) -> None:
        """
        A client that sends its whole handshake and application data in one segment,
        or octet by octet, is understood alike, and nothing is lost (R-1928-01,
        R-1928-31).
        """
        data = bytes.fromhex(
            "05 01 02  01 02 61 62 03 78 79 7A  05 01 00 01 C0 00 02 07 00 50  47 45 54"
        )
        expected = (
            [Greeting(b"\x02"), Credentials(b"ab", b"xyz"), Request(Command.CONNECT, ORIGIN)],
            b"GET",
        )
        reads: list[Read] = [Greeting.read, Credentials.read, Request.read]
        self.assertEqual(self.receive(reads, data, []), expected)
        self.assertEqual(self.receive(reads, data, list(range(len(data)))), expected)
        for cut in range(len(data)):
            self.assertEqual(self.receive(reads, data, [cut]), expected)

    def test_answers(self) -> None:
        """
        A client gets the server's three answers and what the target says behind
        them in the same way.
        """
        data = bytes.fromhex("05 00  05 00 00 01 C6 33 64 01 9C 40  59 4F")
        expected = (
            [
                Selection(Method.NONE),
                Reply(ReplyCode.SUCCEEDED, Address(IPv4Address("198.51.100.1"), 40000)),
            ],
            b"YO",
        )
        for cut in range(len(data)):
            self.assertEqual(self.receive([Selection.read, Reply.read], data, [cut]), expected)

    @values.reproducible
    @given(
        values.greetings,
        values.credentials,
        values.requests,
        st.binary(max_size=300),
        values.cuts,
    )
    def test_anySplit(
        self,
        greeting: Greeting,
        credentials: Credentials,
        request: Request,
        data: bytes,
        cuts: list[int],
    ) -> None:
        """
        Any handshake in any split gives the same messages and leaves the same octets
        (R-1928-01, S-14).
        """
        octets = greeting.octets() + credentials.octets() + request.octets() + data
        reads: list[Read] = [Greeting.read, Credentials.read, Request.read]
        messages, left = self.receive(reads, octets, cuts)
        self.assertEqual(messages, [greeting, credentials, request])
        self.assertEqual(left, data)

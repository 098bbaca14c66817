"""
Feed the readers of L{txsocks5.wire} with rubbish.

Run as C{python -m tests.fuzz_wire [--inputs N] [--seed S]}.  The inputs are valid
messages, valid messages changed in many ways, whole handshakes, and garbage; the
same seed gives the same inputs.  Of every reader and every input this holds:

  - the answer is a value, or "more", or L{ProtocolError}, and nothing else;

  - more octets never change an answer, and fewer give the same one or "more";

  - "more" is not said any more once the longest message would be there;

  - a value takes octets that are there, and with one octet less there is none;

  - what was read can be written, and is then read as the same;

  - a stream is read as the same messages however it is split.

It prints one line and exits with 0, or with 1 and the input at the first fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import TypeAlias

from txsocks5.errors import BadName, ProtocolError, ReplyCode
from txsocks5.wire import (
    Address,
    Command,
    Credentials,
    Datagram,
    Frame,
    FrameType,
    Greeting,
    Host,
    Method,
    PasswordStatus,
    ProtectionLevel,
    Reply,
    Request,
    Selection,
    parseHost,
    splitDatagram,
)

Message: TypeAlias = (
    Address | Credentials | Frame | Greeting | PasswordStatus | Reply | Request | Selection
)

Read: TypeAlias = Callable[[bytes], tuple[Message, int] | None]

Answer: TypeAlias = tuple[Message, int] | type[ProtocolError] | None

# Each reader with its longest message.
READERS: dict[str, tuple[Read, int]] = {
    "Greeting": (Greeting.read, 257),
    "Selection": (Selection.read, 2),
    "Credentials": (Credentials.read, 513),
    "PasswordStatus": (PasswordStatus.read, 2),
    "Request": (Request.read, 262),
    "Request, strict": (partial(Request.read, strict=True), 262),
    "Request, CONNECT only": (partial(Request.read, commands={Command.CONNECT}), 262),
    "Reply": (Reply.read, 262),
    "Address": (Address.read, 259),
    **{f"Frame, {kind.name}": (partial(Frame.read, due=kind), 4 + 0xFFFF) for kind in FrameType},
    "Address, loose": (partial(Address.read, loose=True), 259),
}

HANDSHAKES: tuple[tuple[Read, ...], ...] = (
    (Greeting.read, Request.read),
    (Greeting.read, Credentials.read, Request.read),
    (Selection.read, PasswordStatus.read, Reply.read, Reply.read),
    (
        Greeting.read,
        partial(Frame.read, due=FrameType.AUTHENTICATION),
        partial(Frame.read, due=FrameType.PROTECTION_LEVEL),
        partial(Frame.read, due=FrameType.ENCAPSULATION),
        partial(Frame.read, due=FrameType.ENCAPSULATION),
    ),
)

NAMES = (
    b"example.com",
    b"EXAMPLE.com.",
    b"_a-b.example",
    b"localhost",
    b"192.0.2.7",
    b"192.0.2.7.",
    b"127.1",
    b"0x7f000001",
    b"2130706433",
    b"0",
    b"",
    b".",
    b"::1",
    b"[2001:db8::1]",
    b"::ffff:192.0.2.7",
    b"fe80::1%eth0",
    b"127.0.0.1\x00.example",
    b"a b",
    b"\xc3\xbc.example",
    b".".join([b"a" * 63] * 3 + [b"a" * 61]),
    b"a" * 255,
)

ADDRESSES = (
    b"\x00\x00\x00\x00",
    b"\x7f\x00\x00\x01",
    b"\xc0\x00\x02\x07",
    b"\xff\xff\xff\xff",
    bytes(16),
    bytes(10) + b"\xff\xff\xc0\x00\x02\x07",
    bytes(12) + b"\x7f\x00\x00\x01",
    b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01",
)

NAME_OCTETS = b"abcxyzABCXYZ0123456789-_..::[]%x\x00 /@\xff"

# Octets with a meaning somewhere, or at the edge of a length.
EDGES = b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x10\x16\x40\x7f\x80\xfd\xfe\xff"


class Fault(Exception):
    """
    A reader broke its promise.
    """


def nameOctets(random: Random) -> bytes:
    """
    Make up a name, often a bad one.
    """
    if random.random() < 0.7:
        return random.choice(NAMES)
    return bytes(random.choices(NAME_OCTETS, k=random.choice((1, 4, 12, 63, 64, 253, 255))))


def addressOctets(random: Random) -> bytes:
    """
    Make up ATYP, ADDR and PORT.
    """
    port = random.choice((b"\x00\x00", b"\x00\x50", b"\x01\xbb", b"\xff\xff"))
    if random.random() < 0.5:
        name = nameOctets(random)
        return bytes((3, len(name))) + name + port
    address = random.choice(ADDRESSES)
    return (b"\x01" if len(address) == 4 else b"\x04") + address + port


def greetingOctets(random: Random) -> bytes:
    """
    Make up a greeting.
    """
    count = random.choice((0, 1, 2, 3, 4, 255))
    return bytes((5, count)) + bytes(random.choices(EDGES, k=count))


def credentialsOctets(random: Random) -> bytes:
    """
    Make up credentials.
    """
    user = random.randbytes(random.choice((0, 1, 2, 16, 255)))
    password = random.randbytes(random.choice((0, 1, 3, 16, 255)))
    return bytes((1, len(user))) + user + bytes((len(password),)) + password


def requestOctets(random: Random) -> bytes:
    """
    Make up a request.
    """
    return bytes((5, random.choice(list(Command)), 0)) + addressOctets(random)


def replyOctets(random: Random) -> bytes:
    """
    Make up a reply.
    """
    return bytes((5, random.choice(list(ReplyCode)), 0)) + addressOctets(random)


def selectionOctets(random: Random) -> bytes:
    """
    Make up a selection.
    """
    return bytes((5, random.choice((*Method, 0xFF))))


def statusOctets(random: Random) -> bytes:
    """
    Make up a status.
    """
    return bytes((1, random.choice((0, 1, 0xFF))))


def datagramOctets(random: Random) -> bytes:
    """
    Make up a datagram.
    """
    fragment = random.choice(b"\x00\x00\x00\x01\x02\x7f\x80\x81\xff")
    data = random.randbytes(random.choice((0, 1, 16, 300)))
    return bytes((0, 0, fragment)) + addressOctets(random) + data


def frameOctets(random: Random) -> bytes:
    """
    Make up a frame of RFC 1961.
    """
    size = random.choice((0, 1, 2, 28, 60, 255, 256, 697))
    kind = random.choice((*FrameType, 0, 0xFF))
    return bytes((1, kind)) + size.to_bytes(2, "big") + random.randbytes(size)


def gssapiOctets(random: Random) -> bytes:
    """
    Make up all that a client of RFC 1961 sends.
    """
    frames = [Frame(kind, random.randbytes(28)).octets() for kind in (*FrameType, FrameType(3))]
    return greetingOctets(random) + b"".join(frames)


def clientOctets(random: Random) -> bytes:
    """
    Make up all that a client sends, in one piece.
    """
    credentials = credentialsOctets(random) if random.random() < 0.5 else b""
    data = random.choice((b"", b"GET / HTTP/1.1\r\n\r\n"))
    return greetingOctets(random) + credentials + requestOctets(random) + data


def serverOctets(random: Random) -> bytes:
    """
    Make up all that a server answers.
    """
    answers = selectionOctets(random) + statusOctets(random)
    return answers + replyOctets(random) + replyOctets(random)


MESSAGES: tuple[Callable[[Random], bytes], ...] = (
    addressOctets,
    clientOctets,
    credentialsOctets,
    datagramOctets,
    frameOctets,
    greetingOctets,
    gssapiOctets,
    nameOctets,
    replyOctets,
    requestOctets,
    requestOctets,
    selectionOctets,
    serverOctets,
    statusOctets,
)


def changed(random: Random, octets: bytes) -> bytes:
    """
    Change a message in one way.
    """
    start = random.randint(0, len(octets))
    end = min(len(octets), start + random.choice((1, 1, 2, 16)))
    match random.randrange(7):
        case 0:
            return octets[:start]
        case 1:
            return octets[:start] + octets[end:]
        case 2:
            return octets[:start] + random.choice(MESSAGES)(random) + octets[start:]
        case 3:
            return octets[:start] + octets[start:end] * random.choice((2, 3, 100)) + octets[end:]
        case 4:
            return octets[:start] + random.randbytes(end - start) + octets[end:]
        case _:
            return octets[:start] + bytes(random.choices(EDGES, k=end - start)) + octets[end:]


def makeInput(random: Random) -> bytes:
    """
    Make up an input: a message as it is, or changed in up to four ways, or garbage.
    """
    kind = random.random()
    if kind < 0.05:
        return random.randbytes(random.randint(0, 40))
    if kind < 0.1:
        return bytes(random.choices(EDGES, k=random.choice((0, 1, 2, 3, 5, 10, 22, 262, 600))))
    octets = random.choice(MESSAGES)(random)
    if kind > 0.3:
        for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
            octets = changed(random, octets)
    return octets


def answerOf(read: Read, data: bytes) -> Answer:
    """
    Tell which of the three answers a reader gives.
    """
    try:
        return read(data)
    except ProtocolError as error:
        return type(error)
    except Exception as error:
        raise Fault(f"{error!r} for {data.hex()}") from error


def expect(truth: bool, promise: str, data: bytes) -> None:
    """
    @raise Fault: C{truth} is not.
    """
    if not truth:
        raise Fault(f"not so: {promise}; for {data.hex()}")


def checkReader(random: Random, read: Read, maximum: int, data: bytes) -> Answer:
    """
    Check all promises of one reader on one input.

    @return: its answer.
    """
    answer = answerOf(read, data)
    if answer is None:
        expect(len(data) < maximum, "the longest message is enough", data)
        full = data + bytes(maximum - len(data))
        expect(answerOf(read, full) is not None, "the longest message is enough", full)
        return None
    longer = data + random.choice((b"\x00", b"\xff", b"\x05\x01\x00", data))
    expect(answerOf(read, longer) == answer, "more octets change nothing", longer)
    shorter = data[: random.randint(0, len(data))]
    expect(answerOf(read, shorter) in (None, answer), "fewer octets change nothing", shorter)
    if isinstance(answer, type):
        return answer
    value, taken = answer
    expect(0 < taken <= min(len(data), maximum), "what is taken is there", data)
    expect(answerOf(read, data[:taken]) == answer, "what is taken is enough", data)
    expect(answerOf(read, data[: taken - 1]) is None, "what is taken is needed", data)
    try:
        octets = value.octets()
    except ValueError as error:
        raise Fault(f"{error!r} when writing {value!r}; for {data.hex()}") from error
    expect(answerOf(read, octets) == (value, len(octets)), "what is read can be written", data)
    return answer


def receive(reads: tuple[Read, ...], pieces: list[bytes]) -> tuple[list[Message], object]:
    """
    Feed pieces of a stream to one reader after another, until one refuses.

    @return: the messages; and the refusal, or the octets that are left.
    """
    messages: list[Message] = []
    buffer = b""
    for piece in pieces:
        buffer += piece
        while len(messages) < len(reads):
            answer = answerOf(reads[len(messages)], buffer)
            if isinstance(answer, type):
                return messages, answer
            if answer is None:
                break
            messages.append(answer[0])
            buffer = buffer[answer[1] :]
    return messages, buffer


def checkSplits(random: Random, data: bytes) -> None:
    """
    Check that a stream is read alike whole and in pieces.
    """
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.choice((1, 2, 8))))
    pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    for reads in HANDSHAKES:
        whole = receive(reads, [data])
        expect(receive(reads, pieces) == whole, f"splits at {cuts} change nothing", data)


def hostOf(data: bytes, loose: bool) -> Host | None:
    """
    Read a name.

    @return: L{None} if it is refused.
    """
    try:
        return parseHost(data, loose=loose)
    except BadName:
        return None
    except Exception as error:
        raise Fault(f"{error!r} for {data.hex()}") from error


def checkName(data: bytes) -> None:
    """
    Check L{parseHost} on one input.
    """
    host = hostOf(data, False)
    loose = hostOf(data, True)
    if host is not None:
        expect(loose == host, "loose reading only lets more through", data)
    for each in (host, loose):
        mapped = isinstance(each, IPv6Address) and each.ipv4_mapped is not None
        expect(not mapped, "no address is a mapped one", data)
        if isinstance(each, str):
            expect(each.isascii() and each == each.lower(), "a name is in lower case", data)
            expect(hostOf(each.encode("ascii"), True) == each, "a name stays a name", data)
        elif isinstance(each, IPv4Address | IPv6Address):
            text = str(each).encode("ascii")
            expect(hostOf(text, False) == each, "an address stays an address", data)


def checkLevel(data: bytes) -> None:
    """
    Check L{ProtectionLevel} on one input.
    """
    try:
        level = ProtectionLevel.read(data)
    except ProtocolError:
        return
    except Exception as error:
        raise Fault(f"{error!r} for {data.hex()}") from error
    expect(level.octets() == data, "what is read can be written", data)


def checkDatagram(data: bytes, strict: bool) -> bool:
    """
    Check both ways to read a datagram.

    @return: whether it is one.
    """
    try:
        fragment, field, payload = splitDatagram(data, strict=strict)
        address = Address.read(field)
        expect(address is not None, "a header holds its address", data)
        assert address is not None
        expect(address[1] == len(field), "an address is all of its field", data)
        expected = Datagram(address[0], payload, fragment)
    except ProtocolError as error:
        refusal = error
    except (Fault, Exception) as error:
        raise Fault(f"{error!r} for {data.hex()}") from error
    else:
        expect(bytes((fragment,)) + field + payload == data[2:], "no octet is lost", data)
        datagram = Datagram.read(data, strict=strict)
        expect(datagram == expected, "both ways agree", data)
        again = Datagram.read(datagram.octets(), strict=True)
        expect(again == datagram, "what is read can be written", data)
        return True
    try:
        Datagram.read(data, strict=strict)
    except ProtocolError as error:
        expect(type(error) is type(refusal), "both ways agree", data)
        return False
    raise Fault(f"not so: both ways agree; for {data.hex()}")


def fuzz(inputs: int, seed: int) -> str:
    """
    Check C{inputs} inputs.

    @return: a line that sums them up.

    @raise Fault: at the first one.
    """
    random = Random(seed)
    counts = {"values": 0, "more": 0, "refused": 0}
    for _ in range(inputs):
        data = makeInput(random)
        for name, (read, maximum) in READERS.items():
            try:
                answer = checkReader(random, read, maximum, data)
            except Fault as fault:
                raise Fault(f"{name}: {fault}") from fault
            if answer is None:
                counts["more"] += 1
            else:
                counts["refused" if isinstance(answer, type) else "values"] += 1
        for strict in (False, True):
            counts["values" if checkDatagram(data, strict) else "refused"] += 1
        checkName(data[:255])
        checkLevel(data[:1])
        checkLevel(data)
        checkSplits(random, data)
    summary = ", ".join(f"{count} {answer}" for answer, count in counts.items())
    return f"{inputs} inputs of seed {seed}: {summary}, no fault"


def main() -> int:
    """
    Run as a command.

    @return: its exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_wire")
    parser.add_argument("--inputs", type=int, default=20_000, help="how many (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="which (default 0)")
    arguments = parser.parse_args()
    try:
        print(fuzz(arguments.inputs, arguments.seed))
    except Fault as fault:
        print(f"seed {arguments.seed}: {fault}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

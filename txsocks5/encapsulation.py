"""
The protection that RFC 1961 puts around everything behind its negotiation.  It serves the acceptor
of a context and its initiator alike.

This is one of the modules that need the C{gssapi} library.
"""

from __future__ import annotations

from gssapi import raw
from gssapi.exceptions import GSSError
from zope.interface import implementer

from .errors import ProtocolError
from .interfaces import IProtection
from .wire import Frame, FrameType, ProtectionLevel

__all__ = ["Encapsulation", "openLevel", "reasonOf", "sealLevel"]

_MAX_TOKEN = 0xFFFF

_MAX_PLAINTEXT = 16 * 1024
"""
Octets of the stream in a frame: larger ones cost the same and are longer on their way, since none
can be opened before its last octet is there.
"""


def reasonOf(error: GSSError) -> str:
    """
    Say what has gone wrong, in the words of the GSSAPI mechanism.
    """
    texts: list[str] = []
    # What the mechanism says explains more than GSSAPI itself, which often only says "failure".
    for code, isMajor in ((error.min_code, False), (error.maj_code, True)):
        if code:
            texts += error.get_all_statuses(code, isMajor)
    # A supplementary status comes with the minor status of success.
    return "; ".join(text.rstrip(".") for text in texts if text != "Success")


def sealLevel(context: raw.SecurityContext, level: ProtectionLevel) -> bytes:
    """
    Wrap a protection level, RFC 1961 section 4: always without confidentiality.

    @param context: a context that stands.

    @return: the token for a frame.

    @raise ProtocolError: the context cannot wrap, or not any longer.
    """
    return _wrapped(context, level.octets(), False)


def openLevel(context: raw.SecurityContext, token: bytes) -> ProtectionLevel:
    """
    Unwrap the protection level of the other side.

    @param context: a context that stands.

    @param token: what was in the frame.

    @raise ProtocolError: the token is not genuine, or holds no level.
    """
    return ProtectionLevel.read(_unwrapped(context, token, False))


def _wrapped(context: raw.SecurityContext, data: bytes, sealed: bool) -> bytes:
    """
    Wrap octets.

    @param sealed: also against being read.

    @raise ProtocolError: the context cannot do that, or not any longer.
    """
    try:
        result = raw.wrap(context, data, sealed)
    except GSSError as error:
        raise ProtocolError(f"cannot be wrapped: {reasonOf(error)}") from error
    if sealed and not result.encrypted:
        raise ProtocolError("cannot be wrapped: there is no confidentiality in this context")
    message: bytes = result.message
    return message


def _unwrapped(context: raw.SecurityContext, token: bytes, sealed: bool) -> bytes:
    """
    Unwrap octets.

    @param token: belongs to the library from now on: MIT's writes into it.

    @param sealed: refuse what could have been read on its way: a context that has confidentiality
        opens such tokens, too (R-1961-23).

    @raise ProtocolError: the token is not genuine, or has come before, or is not the next one of
        a context that keeps the order.
    """
    try:
        result = raw.unwrap(context, token)
    except GSSError as error:
        raise ProtocolError(f"cannot be unwrapped: {reasonOf(error)}") from error
    if sealed and not result.encrypted:
        raise ProtocolError("a token without the confidentiality that was agreed on")
    message: bytes = result.message
    return message


@implementer(IProtection)
class Encapsulation:
    """
    RFC 1961 section 5: each message is the token of a frame of MTYP C{03}.

    Whether a replay, a gap or a wrong order is noticed depends on what the initiator has asked
    for when the context was established: with replay detection nothing is taken twice, and with
    sequencing nothing on the stream can be left out or moved.  A datagram that overtakes another
    in a context with sequencing is lost, as is the one that it has overtaken, since the library
    does not give away what it has found out of order; so initiators that want UDP do not ask for
    sequencing.

    @ivar level: the level agreed on.
    """

    def __init__(self, context: raw.SecurityContext, level: ProtectionLevel) -> None:
        """
        @param context: a context that stands, of either side.

        @param level: L{ProtectionLevel.INTEGRITY} or L{ProtectionLevel.CONFIDENTIALITY}.

        @raise ValueError: it is another level, which does not say how to protect a message.

        @raise ProtocolError: the context cannot wrap.
        """
        if level not in (ProtectionLevel.INTEGRITY, ProtectionLevel.CONFIDENTIALITY):
            raise ValueError(f"nothing is encapsulated at level {level}")
        self.level = level
        self._context: raw.SecurityContext | None = context
        self._sealed = level is ProtectionLevel.CONFIDENTIALITY
        try:
            limit: int = raw.wrap_size_limit(context, _MAX_TOKEN, self._sealed)
        except GSSError as error:
            raise ProtocolError(f"cannot be wrapped: {reasonOf(error)}") from error
        self._maxDatagram = limit
        self._maxPlaintext = min(limit, _MAX_PLAINTEXT)
        # The beginning of a frame, and how much has to come before it is worth a look.
        self._rest = bytearray()
        self._missing = 1

    def wrap(self, data: bytes) -> bytes:
        """
        Encapsulate octets, up to 16 KiB in a frame.

        @raise ProtocolError: the context has expired.
        """
        size = self._maxPlaintext
        parts: list[bytes] = []
        for start in range(0, len(data), size):
            token = _wrapped(self._context, data[start : start + size], self._sealed)
            parts += Frame.header(FrameType.ENCAPSULATION, len(token)), token
        return b"".join(parts)

    def unwrap(self, data: bytes) -> bytes:
        """
        Open the frames that are there.  At most one that is not whole is kept, 65538 octets.

        @raise ProtocolError: one is malformed or not genuine; or it has come before, or is not
            the next one, in a context that notices.
        """
        opened: list[bytes] = []
        start = 0
        # Only a frame that began before is put together.  The others are opened where they are,
        # for copying them costs a good part of what checking their integrity does.
        while self._rest and start < len(data):
            piece = data[start : start + self._missing]
            start += len(piece)
            self._rest += piece
            self._missing -= len(piece)
            if not self._missing:
                self._open(bytes(self._rest), 0, opened)
        if not self._rest:
            self._open(data, start, opened)
        return b"".join(opened)

    def _open(self, data: bytes, start: int, opened: list[bytes]) -> None:
        """
        Open the frames that are whole, and keep what is behind them.

        @param start: where in C{data} the first one begins.

        @param opened: what is in them is added to this.

        @raise ProtocolError: see L{unwrap}.
        """
        while (message := Frame.read(data, FrameType.ENCAPSULATION, start)) is not None:
            frame, start = message
            opened.append(_unwrapped(self._context, frame.token, self._sealed))
        self._rest = bytearray(memoryview(data)[start:])
        self._missing = Frame.missing(data, start)

    def finished(self) -> None:
        """
        The stream has ended.

        @raise ProtocolError: in the midst of a frame.
        """
        if self._rest:
            raise ProtocolError("the stream ended in the midst of a frame")

    def wrapDatagram(self, data: bytes) -> bytes:
        """
        Encapsulate a datagram, in one frame.

        @raise ProtocolError: there is no room for it in a frame, or the context has expired.
        """
        if len(data) > self._maxDatagram:
            raise ProtocolError(f"a datagram of {len(data)} octets does not fit into a frame")
        return self._frame(data)

    def unwrapDatagram(self, data: bytes) -> bytes:
        """
        Open a datagram, which is one frame.

        @raise ProtocolError: it is not, or the frame is not genuine, or has come before.
        """
        message = Frame.read(data, FrameType.ENCAPSULATION)
        if message is None or message[1] != len(data):
            raise ProtocolError("a datagram that is not as long as its frame")
        return _unwrapped(self._context, message[0].token, self._sealed)

    def close(self) -> None:
        """
        Let go of the context.  No token says so to the other side (R-1961-13).
        """
        self._context = None

    def _frame(self, data: bytes) -> bytes:
        """
        Encapsulate one message.
        """
        token = _wrapped(self._context, data, self._sealed)
        return Frame(FrameType.ENCAPSULATION, token).octets()

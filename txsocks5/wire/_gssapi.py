"""
The messages of RFC 1961, GSSAPI.
"""

from __future__ import annotations

from enum import IntEnum

import attrs

from ..errors import Aborted, ProtocolError

_VERSION = 1
_HEADER = 4
_MAX_TOKEN = 0xFFFF

ABORT = b"\x01\xff"
"""
The whole message by which a server refuses a client, RFC 1961 section 3.
"""


class FrameType(IntEnum):
    """
    The values of MTYP, RFC 1961 sections 3 to 5.
    """

    AUTHENTICATION = 1
    PROTECTION_LEVEL = 2
    ENCAPSULATION = 3


class ProtectionLevel(IntEnum):
    """
    The protection that both sides agree on, RFC 1961 section 4; an octet that is wrapped, but
    for NEC's variant.  The RFC has no C{NONE}: it is what some servers and clients understand by
    C{00}.
    """

    NONE = 0
    INTEGRITY = 1
    CONFIDENTIALITY = 2
    SELECTIVE = 3

    @classmethod
    def read(cls, data: bytes) -> ProtectionLevel:
        """
        Read a level.

        @param data: all that a token has held.

        @raise ProtocolError: it is not one octet, or that is no level.
        """
        if len(data) != 1:
            raise ProtocolError(f"a protection level of {len(data)} octets")
        if data[0] > cls.SELECTIVE:
            raise ProtocolError(f"there is no protection level {data[0]}")
        return cls(data[0])

    def octets(self) -> bytes:
        """
        Write the level.
        """
        return bytes((self,))


@attrs.frozen
class Frame:
    """
    What everything in RFC 1961 travels in, sections 3 to 5::

        +-----+------+-----+----------------+
        | VER | MTYP | LEN |     TOKEN      |
        +-----+------+-----+----------------+
        |  1  |  1   |  2  | up to 2^16 - 1 |
        +-----+------+-----+----------------+

    VER is C{01}.  The RFC does not say in which order the octets of LEN stand: it is the
    network's.

    @ivar kind: MTYP.

    @ivar token: what GSSAPI has made.  It is left out of C{repr}.
    """

    kind: FrameType
    token: bytes = attrs.field(repr=False)

    @classmethod
    def read(cls, data: bytes, due: FrameType, start: int = 0) -> tuple[Frame, int] | None:
        """
        Read a frame.

        @param due: the only MTYP that is allowed now.

        @param start: where in C{data} VER stands.

        @return: the frame and the position behind it, or L{None} for "more".

        @raise Aborted: this is the message C{01 FF}.

        @raise ProtocolError: VER is not C{01}, or MTYP is not C{due}.
        """
        size = len(data) - start
        if size > 0 and data[start] != _VERSION:
            raise ProtocolError(f"a frame of version {data[start]:#04x}")
        if size > 1 and data[start + 1] != due:
            if data[start + 1] == ABORT[1]:
                raise Aborted("the peer has aborted")
            raise ProtocolError(f"MTYP {data[start + 1]:#04x} instead of {due:#04x}")
        missing = cls.missing(data, start)
        if missing:
            return None
        begin = start + _HEADER
        end = begin + int.from_bytes(data[start + 2 : begin], "big")
        return cls(due, data[begin:end]), end

    @staticmethod
    def missing(data: bytes, start: int = 0) -> int:
        """
        How many octets have to come before it makes sense to read again.

        @param start: where in C{data} VER stands.

        @return: those that the frame still lacks; 1 while not even LEN is there; 0 for a frame
            that is whole.
        """
        size = len(data) - start
        if size < _HEADER:
            return 1
        length = int.from_bytes(data[start + 2 : start + _HEADER], "big")
        return max(_HEADER + length - size, 0)

    @staticmethod
    def header(kind: FrameType, length: int) -> bytes:
        """
        Write what stands before a token.

        @param length: the octets of the token.

        @raise ValueError: the token is longer than 65535 octets.
        """
        if length > _MAX_TOKEN:
            raise ValueError(f"a token of {length} octets")
        return bytes((_VERSION, kind)) + length.to_bytes(2, "big")

    def octets(self) -> bytes:
        """
        Write the frame.

        @raise ValueError: the token is longer than 65535 octets.
        """
        return self.header(self.kind, len(self.token)) + self.token

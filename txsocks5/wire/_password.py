"""
The messages of RFC 1929, user name and password.
"""

from __future__ import annotations

import attrs

from ..errors import ProtocolError

_VERSION = 1


@attrs.frozen
class Credentials:
    """
    The client's message, RFC 1929 section 2::

        +-----+------+----------+------+----------+
        | VER | ULEN |  UNAME   | PLEN |  PASSWD  |
        +-----+------+----------+------+----------+
        |  1  |  1   | 1 to 255 |  1   | 1 to 255 |
        +-----+------+----------+------+----------+

    The RFC demands at least one octet of each, but real clients send empty ones,
    so they are read; whether such an entry exists is for the checker to say.

    @ivar username: octets, not text; a NUL is an octet like any other.

    @ivar password: likewise.  It is left out of C{repr}.
    """

    username: bytes
    password: bytes = attrs.field(repr=False)

    @classmethod
    def read(cls, data: bytes) -> tuple[Credentials, int] | None:
        """
        Read user name and password.

        @raise ProtocolError: VER is not C{01}.
        """
        if data and data[0] != _VERSION:
            raise ProtocolError(f"credentials of version {data[0]:#04x}")
        if len(data) < 2:
            return None
        userEnd = 2 + data[1]
        if len(data) <= userEnd:
            return None
        end = userEnd + 1 + data[userEnd]
        if len(data) < end:
            return None
        return cls(data[2:userEnd], data[userEnd + 1 : end]), end

    def octets(self) -> bytes:
        """
        Write user name and password.

        @raise ValueError: one of them is longer than 255 octets.
        """
        return b"".join(
            (
                bytes((_VERSION, len(self.username))),
                self.username,
                bytes((len(self.password),)),
                self.password,
            )
        )


@attrs.frozen
class PasswordStatus:
    """
    The server's answer, RFC 1929 section 2::

        +-----+--------+
        | VER | STATUS |
        +-----+--------+
        |  1  |   1    |
        +-----+--------+

    VER is C{01}, the version of this exchange.  Many clients check that.

    @ivar accepted: whether STATUS is C{00}.
    """

    accepted: bool

    @classmethod
    def read(cls, data: bytes) -> tuple[PasswordStatus, int] | None:
        """
        Read a status.

        @raise ProtocolError: VER is not C{01}.
        """
        if data and data[0] != _VERSION:
            raise ProtocolError(f"status of version {data[0]:#04x}")
        if len(data) < 2:
            return None
        return cls(data[1] == 0), 2

    def octets(self) -> bytes:
        """
        Write the status: C{00} for success, and always C{01} for a refusal, so
        that it does not tell why.
        """
        return b"\x01\x00" if self.accepted else b"\x01\x01"

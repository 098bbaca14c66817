"""
A private authentication method that protects everything behind it.
"""

from __future__ import annotations

from zlib import crc32

from zope.interface import implementer

from ..errors import ProtocolError
from ..interfaces import (
    Accepted,
    IAuthenticator,
    IConversation,
    Identity,
    IProtection,
    Refused,
    Step,
)
from ..wire import IPAddress

_MARK = b"\xa5"
_HEAD = 7
_MAX_BODY = 16384


@implementer(IProtection)
class PrivateProtection:
    """
    The encapsulation of L{PrivateAuthenticator}, for either side.  On the stream each message is
    an octet C{A5}, two octets of length, four of a checksum, and the scrambled octets; the
    checksum covers a number too, so that nothing can be left out, repeated or sent back.  A
    datagram is four octets of checksum and the scrambled octets.

    This is a toy: it shows that all octets pass through it, and protects nothing.

    @ivar closed: how often it was closed.
    """

    def __init__(self, key: int, *, server: bool) -> None:
        """
        @param key: 1 to 255.

        @param server: which of the two sides this is.
        """
        self.closed = 0
        self._key = key
        self._server = server
        self._out = 0
        self._in = 0
        self._rest = b""

    def _scrambled(self, data: bytes) -> bytes:
        """
        Scramble, or unscramble.
        """
        key = self._key
        return bytes(octet ^ key for octet in data)

    def _check(self, data: bytes, number: int, fromServer: bool) -> bytes:
        """
        The checksum of octets.
        """
        salt = b"%d %d %d " % (self._key, number, fromServer)
        return crc32(salt + data).to_bytes(4, "big")

    def wrap(self, data: bytes) -> bytes:
        """
        Encapsulate octets, in one or more messages.
        """
        messages = []
        for start in range(0, len(data), _MAX_BODY):
            body = data[start : start + _MAX_BODY]
            self._out += 1
            check = self._check(body, self._out, self._server)
            messages += [_MARK, len(body).to_bytes(2, "big"), check, self._scrambled(body)]
        return b"".join(messages)

    def unwrap(self, data: bytes) -> bytes:
        """
        Open the messages that are there.

        @raise ProtocolError: it is no message of the other side, or not the next.
        """
        rest = self._rest + data
        bodies = []
        while rest:
            if rest[:1] != _MARK:
                raise ProtocolError("not encapsulated")
            end = _HEAD + int.from_bytes(rest[1:3], "big")
            if len(rest) >= 3 and end > _HEAD + _MAX_BODY:
                raise ProtocolError("an encapsulated message is too long")
            if len(rest) < _HEAD or len(rest) < end:
                break
            body = self._scrambled(rest[_HEAD:end])
            self._in += 1
            if rest[3:_HEAD] != self._check(body, self._in, not self._server):
                raise ProtocolError("an encapsulated message was tampered with")
            bodies.append(body)
            rest = rest[end:]
        self._rest = rest
        return b"".join(bodies)

    def finished(self) -> None:
        """
        The stream has ended.

        @raise ProtocolError: in the midst of a message.
        """
        if self._rest:
            raise ProtocolError("the stream ended in the midst of an encapsulated message")

    def wrapDatagram(self, data: bytes) -> bytes:
        """
        Encapsulate a datagram.
        """
        return self._check(data, 0, self._server) + self._scrambled(data)

    def unwrapDatagram(self, data: bytes) -> bytes:
        """
        Open a datagram.

        @raise ProtocolError: it is not one of the other side.
        """
        body = self._scrambled(data[4:])
        if data[:4] != self._check(body, 0, not self._server):
            raise ProtocolError("a datagram was tampered with")
        return body

    def close(self) -> None:
        """
        Count.
        """
        self.closed += 1


@implementer(IAuthenticator)
class PrivateAuthenticator:
    """
    A private authentication method that encapsulates: the client sends the length of a user name
    and the name; the server answers with the key, an octet from 1 to 255, or C{00} for no.

    @ivar protections: one for each client that was let in.
    """

    method: int = 0x80

    def __init__(self, *users: str, method: int = 0x80, key: int = 0x5A) -> None:
        """
        @param users: who is let in; C{alice} by default.

        @param key: which key every client gets.
        """
        self.method = method
        self.key = key
        self.protections: list[PrivateProtection] = []
        self._users = users or ("alice",)

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin.
        """
        return _PrivateConversation(self)

    def judge(self, user: str) -> tuple[bytes, Accepted | Refused]:
        """
        Look at a user name.

        @return: what to tell the client, and the outcome.
        """
        if user not in self._users:
            return b"\x00", Refused("unknown user", user)
        protection = PrivateProtection(self.key, server=True)
        self.protections.append(protection)
        return bytes([self.key]), Accepted(Identity(user, self.method), protection)

    @staticmethod
    def message(user: str) -> bytes:
        """
        What a client says.
        """
        name = user.encode("ascii")
        return bytes([len(name)]) + name

    def clientProtection(self) -> PrivateProtection:
        """
        The protection for a client that was let in.
        """
        return PrivateProtection(self.key, server=False)


@implementer(IConversation)
class _PrivateConversation:
    """
    One client of a L{PrivateAuthenticator}.
    """

    def __init__(self, authenticator: PrivateAuthenticator) -> None:
        self._authenticator = authenticator

    def received(self, data: bytes) -> Step | None:
        """
        Read the name.
        """
        if not data or len(data) <= data[0]:
            return None
        end = 1 + data[0]
        try:
            user = data[1:end].decode("ascii")
        except UnicodeDecodeError:
            raise ProtocolError("the user name is not ASCII") from None
        answer, outcome = self._authenticator.judge(user)
        return Step(end, answer, outcome)

    def close(self) -> None:
        """
        Nothing is kept.
        """

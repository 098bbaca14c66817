"""
What can go wrong, and what the client is told about it.

Every exception class carries the reply code (REP) of RFC 1928 section 6 that a
client gets for it.  L{replyCodeOf} is the one place where any other failure,
Twisted's or the operating system's, becomes such a code: by its type and its
C{errno}, never by its text.  L{reasonOf} is the one where it becomes words for the log.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from enum import IntEnum

from twisted.internet.defer import TimeoutError as DeferTimeoutError
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
    UnknownHostError,
    UnsupportedAddressFamily,
)
from twisted.python.failure import Failure

__all__ = [
    "Aborted",
    "AddressTypeNotSupported",
    "BadName",
    "CommandNotSupported",
    "ConnectFailed",
    "NameNotResolved",
    "NoRoute",
    "NotAllowed",
    "NotSOCKS5",
    "OverLimit",
    "Overloaded",
    "ProtocolError",
    "ReplyCode",
    "SOCKSError",
    "TimedOut",
    "reasonOf",
    "replyCodeOf",
    "replyCodeOfAll",
]


class ReplyCode(IntEnum):
    """
    The values of REP, RFC 1928 section 6.
    """

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class SOCKSError(Exception):
    """
    The root of everything that this package raises on purpose.

    @ivar replyCode: what the client is told when a request fails with this.
    """

    replyCode: ReplyCode = ReplyCode.GENERAL_FAILURE


class ProtocolError(SOCKSError):
    """
    The octets of the peer are not what the protocol allows at this point.
    """


class Aborted(ProtocolError):
    """
    The peer has given up a negotiation and said so: C{01 FF} of RFC 1961 section 3.
    """


class NotSOCKS5(ProtocolError):
    """
    The first octet of a connection is not C{05}: another protocol's client,
    which is owed no answer.
    """


class CommandNotSupported(ProtocolError):
    """
    CMD is unknown, or switched off.
    """

    replyCode = ReplyCode.COMMAND_NOT_SUPPORTED


class AddressTypeNotSupported(ProtocolError):
    """
    ATYP is unknown, or its family is switched off.
    """

    replyCode = ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED


class BadName(ProtocolError):
    """
    DST.ADDR holds a name that is neither a host name nor an address in text.
    """


class NotAllowed(SOCKSError):
    """
    Policy refused; the text says by which rule or default.
    """

    replyCode = ReplyCode.NOT_ALLOWED


class OverLimit(NotAllowed):
    """
    A limit of the client's own has been reached: of its user, of its address, or of the rule that
    allowed it.
    """


class NameNotResolved(SOCKSError):
    """
    A name has no usable address, or the resolver failed, or it took too long.
    """

    replyCode = ReplyCode.HOST_UNREACHABLE


class ConnectFailed(SOCKSError):
    """
    None of the addresses of a destination could be connected to.

    @ivar errors: what each attempt failed with.
    """

    def __init__(self, errors: Sequence[BaseException]) -> None:
        """
        @param errors: what each attempt failed with; at least one.
        """
        super().__init__("; ".join(dict.fromkeys(map(reasonOf, errors))))
        self.errors = tuple(errors)
        self.replyCode = replyCodeOfAll(errors)


class NoRoute(SOCKSError):
    """
    The system knows no way to an address.
    """

    replyCode = ReplyCode.NETWORK_UNREACHABLE


class TimedOut(SOCKSError):
    """
    Connecting, or waiting for a peer to connect, took too long.
    """

    replyCode = ReplyCode.TTL_EXPIRED


class Overloaded(SOCKSError):
    """
    A bound of the server itself has been reached: a queue is full, or no port
    of the configured range is free.
    """


_BY_ERRNO: dict[int, ReplyCode] = {
    errno.EACCES: ReplyCode.NOT_ALLOWED,
    errno.EPERM: ReplyCode.NOT_ALLOWED,
    errno.ENETUNREACH: ReplyCode.NETWORK_UNREACHABLE,
    errno.ENETDOWN: ReplyCode.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: ReplyCode.HOST_UNREACHABLE,
    errno.EHOSTDOWN: ReplyCode.HOST_UNREACHABLE,
    errno.ECONNREFUSED: ReplyCode.CONNECTION_REFUSED,
    errno.ECONNRESET: ReplyCode.CONNECTION_REFUSED,
    # What Linux calls a reset that came before the connection was looked at.
    errno.ECONNABORTED: ReplyCode.CONNECTION_REFUSED,
    errno.ETIMEDOUT: ReplyCode.TTL_EXPIRED,
    errno.EAFNOSUPPORT: ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
}

_BY_TYPE: tuple[tuple[type[BaseException], ReplyCode], ...] = (
    (ConnectionRefusedError, ReplyCode.CONNECTION_REFUSED),
    (NoRouteError, ReplyCode.NETWORK_UNREACHABLE),
    (TCPTimedOutError, ReplyCode.TTL_EXPIRED),
    (TimeoutError, ReplyCode.TTL_EXPIRED),
    (DeferTimeoutError, ReplyCode.TTL_EXPIRED),
    (DNSLookupError, ReplyCode.HOST_UNREACHABLE),
    (UnknownHostError, ReplyCode.HOST_UNREACHABLE),
    # Its errno is none of the system's.
    (socket.gaierror, ReplyCode.HOST_UNREACHABLE),
    (UnsupportedAddressFamily, ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED),
)

_PRECEDENCE = (
    ReplyCode.CONNECTION_REFUSED,
    ReplyCode.TTL_EXPIRED,
    ReplyCode.HOST_UNREACHABLE,
    ReplyCode.NETWORK_UNREACHABLE,
)


def replyCodeOf(error: BaseException) -> ReplyCode:
    """
    Tell which REP reports C{error} to the client.

    @param error: our own error, one of Twisted's connect errors, or an
        C{OSError}.

    @return: the code; L{ReplyCode.GENERAL_FAILURE} for whatever has no better
        one, so that the answer is always within C{00} to C{08}.
    """
    if isinstance(error, SOCKSError):
        return error.replyCode
    # Before the types: what goes wrong when binding is this server's own
    # trouble, whatever its errno says about networks.
    if isinstance(error, ConnectBindError) and error.osError != errno.EAFNOSUPPORT:
        return ReplyCode.GENERAL_FAILURE
    # Twisted has connected, and lost the connection before it could say so: a target that resets
    # at once.
    if isinstance(error, ConnectError) and error.args and isinstance(error.args[0], Failure):
        return ReplyCode.CONNECTION_REFUSED
    for kind, code in _BY_TYPE:
        if isinstance(error, kind):
            return code
    number = error.osError if isinstance(error, ConnectError) else None
    if isinstance(error, OSError):
        number = error.errno
    return (
        _BY_ERRNO.get(number, ReplyCode.GENERAL_FAILURE) if number else (ReplyCode.GENERAL_FAILURE)
    )


def replyCodeOfAll(errors: Sequence[BaseException]) -> ReplyCode:
    """
    Tell which REP reports that every one of several addresses failed.

    A host that answered "no" says more than one that did not answer, and that
    more than a missing route: refused goes before timed out, host unreachable,
    network unreachable and anything else.

    @param errors: what each attempt failed with.

    @return: the code that goes before the others;
        L{ReplyCode.GENERAL_FAILURE} for none at all.
    """
    codes = [replyCodeOf(error) for error in errors]
    for code in _PRECEDENCE:
        if code in codes:
            return code
    return codes[0] if codes else ReplyCode.GENERAL_FAILURE


_IN_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionDone, "closed"),
    (ConnectionAborted, "connection aborted"),
    (ConnectionLost, "connection lost"),
)


def reasonOf(error: BaseException) -> str:
    """
    Tell what has gone wrong in plain words, as they stand in the log: no numbers of errors, no
    brackets, C{connection refused} say.

    @param error: our own error, one of Twisted's, an C{OSError}, or anything else.

    @return: at least one word.
    """
    for kind, words in _IN_WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, CannotListenError):
        where = f"{error.interface or 'any'}:{error.port}"
        return f"cannot listen at {where}: {_ofAnything(error.socketError)}"
    if isinstance(error, ConnectError):
        said = error.args and error.args[0]
        if not said:
            known = isinstance(error.osError, int)
            return _plain(os.strerror(error.osError) if known else str(error).removesuffix("."))
        return ("cannot bind: " if isinstance(error, ConnectBindError) else "") + _ofAnything(said)
    if isinstance(error, OSError) and error.strerror and isinstance(error.strerror, str):
        where = "" if error.filename is None else f": {error.filename!r}"
        return _plain(error.strerror) + where
    # What pyOpenSSL raises has a list: of each fault the library, the function, the words.
    faults = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return "; ".join(str(each[-1]) for each in faults if isinstance(each, tuple) and each) or (
        str(error) or repr(error)
    )


def _ofAnything(error: object) -> str:
    """
    The words for what an error of Twisted has instead of some.
    """
    if isinstance(error, Failure):
        error = error.value
    return reasonOf(error) if isinstance(error, BaseException) else _plain(str(error))


def _plain(words: str) -> str:
    """
    Words as they stand behind a colon.
    """
    isSentence = words[:1].isupper() and words[1:2].islower()
    return words[:1].lower() + words[1:] if isSentence else words

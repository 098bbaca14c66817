"""
Tests for L{txsocks5.errors}.
"""

from __future__ import annotations

import errno
import os
import socket
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferTimeoutError
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    SSLError,
    TCPTimedOutError,
    TimeoutError,
    UnknownHostError,
    UserError,
    getConnectError,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import errors
from txsocks5.errors import (
    Aborted,
    AddressTypeNotSupported,
    BadName,
    CommandNotSupported,
    ConnectFailed,
    NameNotResolved,
    NoRoute,
    NotAllowed,
    NotSOCKS5,
    OverLimit,
    Overloaded,
    ProtocolError,
    ReplyCode,
    SOCKSError,
    TimedOut,
    reasonOf,
    replyCodeOf,
    replyCodeOfAll,
)

from .wire.values import reproducible

# What each error number is reported as.
BY_ERRNO: dict[int, int] = {
    errno.EACCES: 2,
    errno.EPERM: 2,
    errno.ENETUNREACH: 3,
    errno.ENETDOWN: 3,
    errno.EHOSTUNREACH: 4,
    errno.EHOSTDOWN: 4,
    errno.ECONNREFUSED: 5,
    errno.ECONNRESET: 5,
    errno.ECONNABORTED: 5,
    errno.ETIMEDOUT: 6,
    errno.EAFNOSUPPORT: 8,
    errno.EMFILE: 1,
    errno.ENFILE: 1,
    errno.ENOBUFS: 1,
    errno.ENOMEM: 1,
    errno.EADDRNOTAVAIL: 1,
    errno.EADDRINUSE: 1,
    errno.EINVAL: 1,
}


def refused() -> BaseException:
    """
    Make an error that is reported as C{05}.
    """
    return ConnectionRefusedError(errno.ECONNREFUSED)


def timedOut() -> BaseException:
    """
    Make an error that is reported as C{06}.
    """
    return TCPTimedOutError(errno.ETIMEDOUT)


def hostUnreachable() -> BaseException:
    """
    Make an error that is reported as C{04}.
    """
    return ConnectError(errno.EHOSTUNREACH)


def noRoute() -> BaseException:
    """
    Make an error that is reported as C{03}.
    """
    return NoRouteError(errno.ENETUNREACH)


def general() -> BaseException:
    """
    Make an error that is reported as C{01}.
    """
    return ConnectError(errno.EMFILE)


class ReplyCodeTests(SynchronousTestCase):
    """
    Tests for L{ReplyCode}.
    """

    def test_numbers(self) -> None:
        """
        The codes are the values of REP in RFC 1928 section 6.
        """
        self.assertEqual(
            [(code.name, code.value) for code in ReplyCode],
            [
                ("SUCCEEDED", 0),
                ("GENERAL_FAILURE", 1),
                ("NOT_ALLOWED", 2),
                ("NETWORK_UNREACHABLE", 3),
                ("HOST_UNREACHABLE", 4),
                ("CONNECTION_REFUSED", 5),
                ("TTL_EXPIRED", 6),
                ("COMMAND_NOT_SUPPORTED", 7),
                ("ADDRESS_TYPE_NOT_SUPPORTED", 8),
            ],
        )


class SOCKSErrorTests(SynchronousTestCase):
    """
    Tests for L{SOCKSError} and what is derived from it.
    """

    CODES: tuple[tuple[type[SOCKSError], type[SOCKSError], int], ...] = (
        (ProtocolError, SOCKSError, 1),
        (Aborted, ProtocolError, 1),
        (NotSOCKS5, ProtocolError, 1),
        (CommandNotSupported, ProtocolError, 7),
        (AddressTypeNotSupported, ProtocolError, 8),
        (BadName, ProtocolError, 1),
        (NotAllowed, SOCKSError, 2),
        (OverLimit, NotAllowed, 2),
        (NameNotResolved, SOCKSError, 4),
        (NoRoute, SOCKSError, 3),
        (TimedOut, SOCKSError, 6),
        (Overloaded, SOCKSError, 1),
    )

    def test_codes(self) -> None:
        """
        Each error carries the code that the client is told (R-1928-39), and its place
        in the tree tells who is to blame for it.
        """
        self.assertEqual(replyCodeOf(SOCKSError("text")), 1)
        for kind, parent, code in self.CODES:
            self.assertTrue(issubclass(kind, parent), kind)
            self.assertEqual(kind.replyCode, code, kind)
            self.assertEqual(replyCodeOf(kind("text")), code, kind)
            self.assertIs(type(replyCodeOf(kind("text"))), ReplyCode, kind)

    def test_everyErrorIsKnown(self) -> None:
        """
        No public error is missing from these tests, and none is reported as a success.
        """
        public = {getattr(errors, name) for name in errors.__all__}
        kinds = {each for each in public if isinstance(each, type) and issubclass(each, SOCKSError)}
        self.assertEqual(kinds, {SOCKSError, ConnectFailed, *(kind for kind, _, _ in self.CODES)})
        for kind in kinds:
            self.assertNotEqual(kind.replyCode, ReplyCode.SUCCEEDED, kind)

    def test_onlyProtocolErrorsAreTheClients(self) -> None:
        """
        What the server itself could not do is no L{ProtocolError}.
        """
        for kind in (NotAllowed, NameNotResolved, NoRoute, ConnectFailed, TimedOut, Overloaded):
            self.assertFalse(issubclass(kind, ProtocolError), kind)


class ConnectFailedTests(SynchronousTestCase):
    """
    Tests for L{ConnectFailed}.
    """

    def test_code(self) -> None:
        """
        The code is that of all attempts together (R-1928-39).
        """
        error = ConnectFailed([noRoute(), timedOut(), general()])
        self.assertIs(error.replyCode, ReplyCode.TTL_EXPIRED)
        self.assertIs(replyCodeOf(error), ReplyCode.TTL_EXPIRED)
        self.assertIs(replyCodeOf(ConnectFailed([noRoute()])), ReplyCode.NETWORK_UNREACHABLE)

    def test_codeIsItsOwn(self) -> None:
        """
        One failure does not change what another is reported as.
        """
        first = ConnectFailed([refused()])
        second = ConnectFailed([noRoute()])
        self.assertIs(replyCodeOf(first), ReplyCode.CONNECTION_REFUSED)
        self.assertIs(replyCodeOf(second), ReplyCode.NETWORK_UNREACHABLE)
        self.assertIs(ConnectFailed.replyCode, ReplyCode.GENERAL_FAILURE)

    def test_text(self) -> None:
        """
        The text, for the log, has that of every attempt.
        """
        text = str(ConnectFailed([OSError("one"), OSError("two")]))
        self.assertIn("one", text)
        self.assertIn("two", text)

    def test_errorWithoutText(self) -> None:
        """
        An attempt whose error has nothing to say is named.
        """
        text = str(ConnectFailed([ZeroDivisionError(), OSError("two")]))
        self.assertEqual(text, "ZeroDivisionError(); two")

    def test_errors(self) -> None:
        """
        What each attempt failed with can still be looked at, and does not change any more.
        """
        attempts = [refused(), noRoute()]
        error = ConnectFailed(attempts)
        self.assertEqual(error.errors, tuple(attempts))
        attempts.clear()
        self.assertEqual(len(error.errors), 2)

    def test_nested(self) -> None:
        """
        Within another, it counts as what it is reported as.
        """
        error = ConnectFailed([noRoute(), ConnectFailed([refused()])])
        self.assertIs(replyCodeOf(error), ReplyCode.CONNECTION_REFUSED)


class ReplyCodeOfTests(SynchronousTestCase):
    """
    Tests for L{replyCodeOf}.
    """

    def test_errnoOfTheSystem(self) -> None:
        """
        An C{OSError} is reported by its C{errno} (R-1928-39).
        """
        for number, code in BY_ERRNO.items():
            self.assertEqual(replyCodeOf(OSError(number, "text")), code, number)

    def test_errnoOfAnAttempt(self) -> None:
        """
        What Twisted makes of an error number when it connects is reported as the
        number itself would be, whether it has a class of its own or not.
        """
        for number, code in BY_ERRNO.items():
            error = getConnectError((number, "text"))
            self.assertEqual(replyCodeOf(error), code, error)
            self.assertEqual(replyCodeOf(ConnectError(number, "text")), code, number)

    def test_types(self) -> None:
        """
        An error of Twisted that tells by its class what happened is reported by that,
        with or without a number.
        """
        for error, code in (
            (ConnectionRefusedError(), 5),
            (NoRouteError(), 3),
            (TCPTimedOutError(), 6),
            (TimeoutError(), 6),
            (DeferTimeoutError(), 6),
            (DNSLookupError(), 4),
            (UnknownHostError(), 4),
            (ConnectionRefusedError(errno.EINVAL, "text"), 5),
            (DNSLookupError(errno.ECONNREFUSED, "text"), 4),
            (getConnectError(socket.gaierror(socket.EAI_NONAME, "text")), 4),
        ):
            self.assertEqual(replyCodeOf(error), code, repr(error))

    def test_lostWhileConnecting(self) -> None:
        """
        A target that accepts and resets before the connection is looked at has refused it
        (R-1928-39).
        """
        error = ConnectError(string=Failure(ConnectionDone()))
        self.assertEqual(replyCodeOf(error), ReplyCode.CONNECTION_REFUSED)

    def test_nameOfTheSystemsResolver(self) -> None:
        """
        A name that the system's resolver does not find, or not now, is reported as
        C{04}; its numbers are no C{errno}, though on some systems they look like one.
        """
        for number in (socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL, 1, 13):
            error = socket.gaierror(number, "text")
            self.assertEqual(replyCodeOf(error), ReplyCode.HOST_UNREACHABLE, repr(error))

    def test_bindingIsOurTrouble(self) -> None:
        """
        What goes wrong when the outgoing socket is bound says nothing about the
        destination, whatever its number.
        """
        for number in (
            errno.EACCES,
            errno.EADDRINUSE,
            errno.EADDRNOTAVAIL,
            errno.EMFILE,
            errno.ENETUNREACH,
            errno.ECONNREFUSED,
        ):
            error = ConnectBindError(number, "text")
            self.assertEqual(replyCodeOf(error), ReplyCode.GENERAL_FAILURE, number)
        self.assertEqual(replyCodeOf(ConnectBindError()), ReplyCode.GENERAL_FAILURE)

    def test_familyWithoutSockets(self) -> None:
        """
        A system without IPv6 refuses to make the socket, which Twisted reports with
        the class that it has for binding; the client is told that the family is not
        supported all the same.
        """
        error = ConnectBindError(errno.EAFNOSUPPORT, "text")
        self.assertEqual(replyCodeOf(error), ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)

    def test_anythingElse(self) -> None:
        """
        Any other failure is a general one.
        """
        for error in (
            Exception(),
            ValueError("text"),
            RuntimeError(errno.ECONNREFUSED),
            KeyboardInterrupt(),
            MemoryError(),
            OSError(),
            OSError("text"),
            OSError(0, "text"),
            OSError(errno.EIO, "text"),
            ConnectError(),
            ConnectError(string="text"),
            ConnectError(0),
            ConnectError(osError=OSError(errno.EIO, "text")),
            ConnectError("text"),
            UserError(),
            SSLError(),
            ConnectionLost(),
            ConnectionDone(),
            ConnectingCancelledError(None),
            CancelledError(),
            CannotListenError("", 1080, OSError(errno.EACCES, "text")),
        ):
            self.assertIs(replyCodeOf(error), ReplyCode.GENERAL_FAILURE, repr(error))

    def test_textDoesNotMatter(self) -> None:
        """
        The words of an error never decide.
        """
        for text in ("connection refused", "network unreachable", "timed out", "not allowed"):
            for error in (Exception(text), OSError(text), ConnectError(string=text)):
                self.assertIs(replyCodeOf(error), ReplyCode.GENERAL_FAILURE, text)
            refusal = ConnectionRefusedError(string=text)
            self.assertIs(replyCodeOf(refusal), ReplyCode.CONNECTION_REFUSED, text)

    @reproducible
    @given(st.integers(-300, 300), st.sampled_from((OSError, ConnectError, socket.gaierror)))
    def test_anyNumber(self, number: int, kind: type[Exception]) -> None:
        """
        Whatever its number, a failure is reported with a code of the RFC that is no
        success (R-1928-38).
        """
        code = replyCodeOf(kind(number, "text"))
        self.assertIsInstance(code, ReplyCode)
        self.assertIn(code, range(1, 9))


class ReplyCodeOfAllTests(SynchronousTestCase):
    """
    Tests for L{replyCodeOfAll}.
    """

    def test_precedence(self) -> None:
        """
        Of several addresses' failures C{05} goes before C{06}, then come C{04}, C{03}
        and C{01}, whatever the order of the attempts.
        """
        ranked = [refused(), timedOut(), hostUnreachable(), noRoute(), general()]
        for start, code in enumerate((5, 6, 4, 3, 1)):
            for attempts in permutations(ranked[start:]):
                self.assertEqual(replyCodeOfAll(attempts), code, repr(attempts))

    def test_one(self) -> None:
        """
        A single failure is reported as it is.
        """
        for number, code in BY_ERRNO.items():
            self.assertEqual(replyCodeOfAll([OSError(number, "text")]), code, number)

    def test_unranked(self) -> None:
        """
        Where no code has a rank, the first attempt's is reported; one that has a rank
        goes before it.
        """
        denied = OSError(errno.EACCES, "text")
        family = OSError(errno.EAFNOSUPPORT, "text")
        self.assertEqual(replyCodeOfAll([denied, family]), ReplyCode.NOT_ALLOWED)
        self.assertEqual(replyCodeOfAll([family, denied]), ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)
        self.assertEqual(replyCodeOfAll([denied, family, noRoute()]), ReplyCode.NETWORK_UNREACHABLE)

    def test_repeated(self) -> None:
        """
        A failure counts no more for happening often.
        """
        attempts = [noRoute()] * 5 + [refused()]
        self.assertEqual(replyCodeOfAll(attempts), ReplyCode.CONNECTION_REFUSED)

    def test_none(self) -> None:
        """
        Where nothing was tried, nothing better than a general failure can be said.
        """
        self.assertEqual(replyCodeOfAll([]), ReplyCode.GENERAL_FAILURE)


class ReasonOfTests(SynchronousTestCase):
    """
    Tests for L{reasonOf}.
    """

    def test_system(self) -> None:
        """
        What the system says is told in its words, without the number, whoever raises it.
        """
        words = "connection refused"
        system = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        for error in (
            system,
            getConnectError(system),
            getConnectError((errno.ECONNREFUSED, "Connection refused")),
            ConnectFailed([system]),
            ConnectFailed([system, getConnectError(system)]),
        ):
            self.assertEqual(reasonOf(error), words, repr(error))
        self.assertEqual(reasonOf(OSError(errno.EIO, "I/O error")), "I/O error")
        gone = FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b")
        self.assertEqual(reasonOf(gone), "no such file or directory: '/a/b'")
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.assertEqual(reasonOf(unknown), "name or service not known")

    def test_own(self) -> None:
        """
        What is raised here is told as it is; of several attempts that failed each reason, once.
        """
        self.assertEqual(reasonOf(NotAllowed("Rule 'X'")), "Rule 'X'")
        error = ConnectFailed([refused(), TimedOut("not connected within 3 s"), refused()])
        self.assertEqual(reasonOf(error), "connection refused; not connected within 3 s")

    def test_binding(self) -> None:
        """
        What cannot be bound or listened at is named.
        """
        busy = OSError(errno.EADDRINUSE, "Address already in use")
        error = CannotListenError("127.0.0.1", 80, busy)
        self.assertEqual(reasonOf(error), "cannot listen at 127.0.0.1:80: address already in use")
        error = CannotListenError("", 80, "a reason")
        self.assertEqual(reasonOf(error), "cannot listen at any:80: a reason")
        error = ConnectBindError(errno.EADDRNOTAVAIL, "192.0.2.9: Cannot assign")
        self.assertEqual(reasonOf(error), "cannot bind: 192.0.2.9: Cannot assign")

    def test_connections(self) -> None:
        """
        The end of a connection is told in few words.
        """
        for error, words in (
            (ConnectionDone(), "closed"),
            (ConnectionLost("text"), "connection lost"),
            (ConnectionAborted(), "connection aborted"),
            (ConnectError(string=Failure(ConnectionLost())), "connection lost"),
        ):
            self.assertEqual(reasonOf(error), words)

    def test_tls(self) -> None:
        """
        Of the faults of a TLS connection only the words are told.
        """
        error = SSL.Error([("SSL routines", "", "unknown ca"), ("SSL routines", "", "bad alert")])
        self.assertEqual(reasonOf(error), "unknown ca; bad alert")
        self.assertEqual(reasonOf(SSL.Error([])), "[]")

    def test_anything(self) -> None:
        """
        Everything else is told by its text, or by its type if it has none.
        """
        self.assertEqual(reasonOf(ValueError("Text")), "Text")
        self.assertEqual(reasonOf(ValueError()), "ValueError()")
        self.assertEqual(reasonOf(ConnectError()), "an error occurred while connecting")

    @reproducible
    @given(st.lists(st.none() | st.integers() | st.text() | st.lists(st.integers()), max_size=3))
    def test_anyArguments(self, arguments: list[object]) -> None:
        """
        Whatever an error has been made of, there is something to tell.
        """
        for kind in (OSError, ValueError, NotAllowed, SSL.Error):
            self.assertTrue(reasonOf(kind(*arguments)))

"""
Tests for L{txsocks5.auth}.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.cred.checkers import (
    ANONYMOUS,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.strcred import makeChecker
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.plugins.cred_unix import UNIXChecker
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted import plugins
from txsocks5.auth import (
    Anonymous,
    PasswordAuthenticator,
    UsernamePassword,
    byMethod,
    gssapiAuthenticator,
    installedAuthenticators,
    withOctets,
)
from txsocks5.config import Failures
from txsocks5.interfaces import (
    Accepted,
    IAuthenticator,
    IBlockingChecker,
    IConversation,
    Identity,
    IRecallingChecker,
    IRevoking,
    Refused,
    Step,
)
from txsocks5.testing import MemoryReactor, ScriptedAuthenticator
from txsocks5.wire import Credentials, IPAddress

from .kerberos import realm, whyNoRealm

HERE = IPv4Address("192.0.2.1")
THERE = IPv4Address("192.0.2.2")

ACCEPTED = b"\x01\x00"
REFUSED = b"\x01\x01"


@implementer(ICredentialsChecker)
class Checker:
    """
    A checker that answers as the test says.

    @ivar asked: the credentials that it was asked about.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        """
        @param answer: called with the credentials.
        """
        self.asked: list[Any] = []
        self._answer = answer

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Answer.
        """
        self.asked.append(credentials)
        return self._answer(credentials)


@implementer(IBlockingChecker)
class BlockingChecker(Checker):
    """
    One that is to be called in a thread.
    """


def refusing(credentials: Any) -> Any:
    """
    Nobody is known here.
    """
    raise UnauthorizedLogin()


def users(**passwords: str) -> InMemoryUsernamePasswordDatabaseDontUse:
    """
    A checker that knows some users.
    """
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in passwords.items():
        checker.addUser(name.encode(), password.encode())
    return checker


def message(username: bytes, password: bytes) -> bytes:
    """
    What a client sends.
    """
    return Credentials(username, password).octets()


class AnonymousTests(SynchronousTestCase):
    """
    Tests for L{Anonymous}.
    """

    def test_accepts(self) -> None:
        """
        R-1928-15: nothing is exchanged, everybody is let in, and what follows is left alone.
        """
        anonymous = Anonymous()
        self.assertTrue(verifyObject(IAuthenticator, anonymous))
        for client in (HERE, None):
            conversation = anonymous.conversation(client)
            self.assertTrue(verifyObject(IConversation, conversation))
            for data in (b"", b"\x05\x01\x00"):
                step = conversation.received(data)
                self.assertEqual(step, Step(0, b"", Accepted(Identity("", 0))))
            conversation.close()


class UsernamePasswordTests(SynchronousTestCase):
    """
    Tests for L{UsernamePassword}.
    """

    def test_checkPassword(self) -> None:
        """
        Passwords are compared octet by octet, and completely; stored text is UTF-8 (R-1929-04).
        """
        credentials = UsernamePassword(b"alice", "pässword".encode())
        self.assertTrue(verifyObject(IUsernamePassword, credentials))
        self.assertTrue(credentials.checkPassword("pässword".encode()))
        self.assertTrue(credentials.checkPassword("pässword"))
        for other in ("pässwor", "pässword ", "Pässword", "", "pa\u0308ssword"):
            self.assertFalse(credentials.checkPassword(other))
            self.assertFalse(credentials.checkPassword(other.encode()))
        self.assertFalse(credentials.checkPassword("pässword".encode("latin-1")))

    def test_nul(self) -> None:
        """
        R-1929-05: nothing ends at a NUL.
        """
        self.assertFalse(UsernamePassword(b"alice", b"secret\x00").checkPassword(b"secret"))
        self.assertFalse(UsernamePassword(b"alice", b"secret").checkPassword(b"secret\x00x"))

    def test_constantTime(self) -> None:
        """
        R-1929-06: the comparison is the one that takes the same time for all.
        """
        with patch("txsocks5.auth.hmac.compare_digest", return_value=True) as compare:
            self.assertTrue(UsernamePassword(b"a", b"b").checkPassword("c"))
        compare.assert_called_once_with(b"c", b"b")

    def test_repr(self) -> None:
        """
        R-1929-11: the password is not shown.
        """
        self.assertNotIn("secret", repr(UsernamePassword(b"alice", b"secret")))


class WithOctetsTests(SynchronousTestCase):
    """
    Tests for L{withOctets}.
    """

    def test_memory(self) -> None:
        """
        What C{--auth memory:} makes does know its users afterwards, whatever letters their names
        have.
        """
        made = makeChecker("memory:alice:secret:bøb:gehëim")
        credentials = UsernamePassword("bøb".encode(), "gehëim".encode())
        self.failureResultOf(made.requestAvatarId(credentials), UnauthorizedLogin)
        mended: Any = withOctets(made)
        avatar = self.successResultOf(mended.requestAvatarId(credentials))
        self.assertEqual(avatar, "bøb".encode())
        wrong = UsernamePassword(b"alice", "gehëim".encode())
        self.failureResultOf(mended.requestAvatarId(wrong), UnauthorizedLogin)

    def test_others(self) -> None:
        """
        Other checkers remain what they are, even those that only look like that one.
        """

        class Mine(InMemoryUsernamePasswordDatabaseDontUse):
            pass

        for checker in (FilePasswordDB("/nonexistent"), Mine()):
            self.assertIs(withOctets(checker), checker)


class ByMethodTests(SynchronousTestCase):
    """
    Tests for L{byMethod}.
    """

    def test_order(self) -> None:
        """
        Authenticators are found by their numbers, in the order in which they were given.
        """
        given = [ScriptedAuthenticator(method=number) for number in (0x82, 0, 0xFE)]
        found = byMethod(given)
        self.assertEqual(list(found), [0x82, 0, 0xFE])
        self.assertEqual(list(found.values()), given)
        self.assertEqual(byMethod([]), {})

    def test_noSuchMethod(self) -> None:
        """
        A number that no client could select is an error, which tells whose it is.
        """
        for number in (-1, 0xFF, 0x100):
            error = self.assertRaises(ValueError, byMethod, [ScriptedAuthenticator(method=number)])
            self.assertEqual(str(error), f"ScriptedAuthenticator: there is no method {number}")

    def test_twice(self) -> None:
        """
        So are two of one number; both are named.
        """
        error = self.assertRaises(
            ValueError, byMethod, [Anonymous(), ScriptedAuthenticator(method=0)]
        )
        self.assertEqual(
            str(error), "Anonymous and ScriptedAuthenticator have the same method, 0x00"
        )


class InstalledAuthenticatorsTests(SynchronousTestCase):
    """
    Tests for L{installedAuthenticators}.
    """

    def test_found(self) -> None:
        """
        A module that another package has put into C{twisted/plugins} is found.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "txsocks5_test_private.py").write_text(
            "from twisted.plugin import IPlugin\n"
            "from zope.interface import implementer\n"
            "from txsocks5.testing import PrivateAuthenticator\n"
            "@implementer(IPlugin)\n"
            "class Private(PrivateAuthenticator):\n"
            "    pass\n"
            "private = Private(method=0x8A)\n"
        )
        self.addCleanup(sys.modules.pop, "twisted.plugins.txsocks5_test_private", None)
        self.assertEqual(list(installedAuthenticators()), [])
        with patch.object(plugins, "__path__", [*plugins.__path__, str(directory)]):
            (found,) = installedAuthenticators()
        self.assertTrue(verifyObject(IAuthenticator, found))
        self.assertEqual(found.method, 0x8A)


class PasswordTestCase(SynchronousTestCase):
    """
    Authentication with passwords.
    """

    def setUp(self) -> None:
        """
        Keep what is logged.
        """
        self.reactor = MemoryReactor()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def authenticator(self, *checkers: Any, **options: Any) -> PasswordAuthenticator:
        """
        Make an authenticator.
        """
        return PasswordAuthenticator(self.reactor, checkers, **options)

    def send(
        self,
        authenticator: PasswordAuthenticator,
        username: bytes,
        password: bytes,
        client: IPAddress | None = HERE,
    ) -> Deferred[Step]:
        """
        Send credentials from a client.
        """
        conversation = authenticator.conversation(client)
        step = conversation.received(message(username, password))
        assert isinstance(step, Deferred)
        return step

    def refused(self, step: Deferred[Step], after: float) -> Refused:
        """
        Wait for a refusal, which is to come after so many seconds and not before.
        """
        if after:
            self.reactor.advance(after - 0.01)
            self.assertNoResult(step)
            self.reactor.advance(0.01)
        result = self.successResultOf(step)
        self.assertEqual(result.send, REFUSED)
        assert isinstance(result.outcome, Refused)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return result.outcome

    def accepted(self, step: Deferred[Step]) -> Identity:
        """
        Look at who was let in, which happens at once.
        """
        result = self.successResultOf(step)
        self.assertEqual(result.send, ACCEPTED)
        assert isinstance(result.outcome, Accepted)
        self.assertIsNone(result.outcome.protection)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return result.outcome.identity

    def logged(self) -> str:
        """
        All that was logged, tracebacks included.
        """
        return "\n".join(
            [eventAsText(event) for event in self.events] + [repr(event) for event in self.events]
        )


class ConversationTests(PasswordTestCase):
    """
    Tests for the message and its answer.
    """

    def test_interfaces(self) -> None:
        """
        The authenticator and its conversations provide what they say.
        """
        authenticator = self.authenticator(users(alice="secret"))
        self.assertTrue(verifyObject(IAuthenticator, authenticator))
        self.assertTrue(verifyObject(IConversation, authenticator.conversation(HERE)))
        self.assertEqual(authenticator.method, 2)

    def test_success(self) -> None:
        """
        Who knows the password is let in at once, under the name that the checker gives.
        """
        step = self.send(self.authenticator(users(alice="secret")), b"alice", b"secret")
        self.assertEqual(self.accepted(step), Identity("alice", 2))

    def test_octetByOctet(self) -> None:
        """
        R-1928-01: the message may come in any pieces; nothing is asked before it is complete.
        """
        checker = Checker(lambda credentials: succeed(credentials.username))
        conversation = self.authenticator(checker).conversation(HERE)
        octets = message(b"alice", b"secret")
        for end in range(len(octets)):
            self.assertIsNone(conversation.received(octets[:end]))
        self.assertEqual(checker.asked, [])
        step = conversation.received(octets)
        assert isinstance(step, Deferred)
        self.assertEqual(self.accepted(step).name, "alice")
        conversation.close()

    def test_whatFollowsIsKept(self) -> None:
        """
        R-1928-31: only the message is taken, and not what the client has sent behind it.
        """
        octets = message(b"alice", b"secret")
        for password, after in ((b"secret", 0), (b"wrong!", 0.5)):
            conversation = self.authenticator(users(alice="secret")).conversation(HERE)
            step = conversation.received(message(b"alice", password) + b"\x05\x01\x00")
            assert isinstance(step, Deferred)
            self.reactor.advance(after)
            self.assertEqual(self.successResultOf(step).consumed, len(octets))

    def test_version(self) -> None:
        """
        R-1929-01: a message of another version is refused with C{01 01}, at once, and all of it
        is taken.
        """
        conversation = self.authenticator(users(alice="secret")).conversation(HERE)
        step = conversation.received(b"\x05\x05alice\x06secret")
        assert isinstance(step, Step)
        self.assertEqual((step.consumed, step.send), (14, REFUSED))
        self.assertIsInstance(step.outcome, Refused)

    def test_emptyFields(self) -> None:
        """
        R-1929-03: empty fields are credentials like any others: they are wrong, unless there is
        such an entry.
        """
        fields = ((b"", b""), (b"alice", b""), (b"", b"secret"))
        strict = self.authenticator(users(alice="secret"), failures=Failures(delay=0))
        for username, password in fields:
            self.refused(self.send(strict, username, password), 0)
        lax = InMemoryUsernamePasswordDatabaseDontUse()
        lax.addUser(b"", b"")
        lax.addUser(b"alice", b"")
        authenticator = self.authenticator(lax, failures=Failures(delay=0))
        self.assertEqual(self.accepted(self.send(authenticator, b"", b"")).name, "")
        self.assertEqual(self.accepted(self.send(authenticator, b"alice", b"")).name, "alice")
        self.refused(self.send(authenticator, b"", b"secret"), 0)

    def test_nul(self) -> None:
        """
        R-1929-05: a NUL is an octet like any other, so that nothing behind it is left out.
        """
        authenticator = self.authenticator(users(alice="secret"), failures=Failures(delay=0))
        for username, password in (
            (b"alice\x00", b"secret"),
            (b"alice\x00x", b"secret"),
            (b"\x00alice", b"secret"),
            (b"alice", b"secret\x00"),
        ):
            self.refused(self.send(authenticator, username, password), 0)

    def test_octetsNotText(self) -> None:
        """
        R-1929-04: names and passwords are octets, neither folded nor trimmed; one that is no
        UTF-8 can be an entry, too, and is told in a way that keeps its octets.
        """
        checker = users(alice="secret")
        checker.addUser(b"\xe9l\xe8ve", b"\xff\xfe")
        authenticator = self.authenticator(checker, failures=Failures(delay=0))
        identity = self.accepted(self.send(authenticator, b"\xe9l\xe8ve", b"\xff\xfe"))
        self.assertEqual(identity.name, "\udce9l\udce8ve")
        for username, password in (
            (b"Alice", b"secret"),
            (b"alice", b"Secret"),
            (b" alice", b"secret"),
            (b"alice", b"secret\n"),
            ("élève".encode(), b"\xff\xfe"),
        ):
            self.refused(self.send(authenticator, username, password), 0)

    def test_longest(self) -> None:
        """
        R-1929-02: both fields can have 255 octets.
        """
        username, password = b"u" * 255, b"p" * 255
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(username, password)
        authenticator = self.authenticator(checker)
        identity = self.accepted(self.send(authenticator, username, password))
        self.assertEqual(identity.name, "u" * 255)

    def test_claimedName(self) -> None:
        """
        A refusal tells the log who the client has claimed to be.
        """
        step = self.send(self.authenticator(users(alice="secret")), b"b\xf6b", b"secret")
        outcome = self.refused(step, 0.5)
        self.assertEqual(outcome, Refused("wrong user name or password", "b\udcf6b"))


class ThrottledTests(PasswordTestCase):
    """
    Tests for what a refusal costs, R-1929-06 and R-1929-09.
    """

    def test_sameTime(self) -> None:
        """
        An unknown user and a wrong password are refused after the same time, with the same
        octets (R-1929-08).
        """
        for username in (b"alice", b"nobody"):
            authenticator = self.authenticator(users(alice="secret"))
            self.refused(self.send(authenticator, username, b"guess"), 0.5)

    def test_timeOfTheCheckCounts(self) -> None:
        """
        A checker that takes longer for one of them does not show in the time either.
        """
        for taken in (0, 0.1, 0.4):
            answer: Deferred[bytes] = Deferred()
            checker = Checker(lambda _, answer=answer: answer)
            step = self.send(self.authenticator(checker), b"alice", b"guess")
            self.reactor.advance(taken)
            answer.errback(UnauthorizedLogin())
            self.refused(step, 0.5 - taken)

    def test_slowCheck(self) -> None:
        """
        If the check has taken longer than the delay, there is nothing to wait for.
        """
        answer: Deferred[bytes] = Deferred()
        step = self.send(self.authenticator(Checker(lambda _: answer)), b"alice", b"guess")
        self.reactor.advance(3)
        answer.errback(UnauthorizedLogin())
        self.refused(step, 0)

    def test_doubles(self) -> None:
        """
        Each further failure from an address takes twice as long, up to eight seconds; a success
        starts that afresh, and other addresses are not concerned.
        """
        authenticator = self.authenticator(users(alice="secret"))
        for delay in (0.5, 1, 2, 4, 8, 8):
            self.refused(self.send(authenticator, b"alice", b"guess"), delay)
        self.refused(self.send(authenticator, b"alice", b"guess", THERE), 0.5)
        self.accepted(self.send(authenticator, b"alice", b"secret"))
        self.refused(self.send(authenticator, b"alice", b"guess"), 0.5)

    def test_networkOfIPv6(self) -> None:
        """
        All addresses of a /64 count as one.
        """
        authenticator = self.authenticator(users(alice="secret"))
        for last, delay in ((1, 0.5), (2, 1), (3, 2)):
            client = IPv6Address(f"2001:db8::{last}")
            self.refused(self.send(authenticator, b"alice", b"guess", client), delay)

    def test_unixSocket(self) -> None:
        """
        Clients without an address are judged likewise.
        """
        authenticator = self.authenticator(users(alice="secret"))
        self.refused(self.send(authenticator, b"alice", b"guess", None), 0.5)
        self.accepted(self.send(authenticator, b"alice", b"secret", None))

    def test_limit(self) -> None:
        """
        When there have been too many failures, the address is refused at once, and the checkers
        are not even asked, until the window has passed.
        """
        checker = Checker(users(alice="secret").requestAvatarId)
        authenticator = self.authenticator(checker, failures=Failures(delay=1, limit=2, window=300))
        self.refused(self.send(authenticator, b"alice", b"guess"), 1)
        self.refused(self.send(authenticator, b"alice", b"guess"), 2)
        outcome = self.refused(self.send(authenticator, b"alice", b"secret"), 0)
        self.assertEqual(outcome, Refused("too many failures from this address", "alice"))
        self.assertEqual(len(checker.asked), 2)
        self.accepted(self.send(authenticator, b"alice", b"secret", THERE))
        self.reactor.advance(300)
        self.accepted(self.send(authenticator, b"alice", b"secret"))

    def test_leavingSoonCounts(self) -> None:
        """
        Who does not wait for the refusal has failed nevertheless, and leaves no timer behind.
        """
        authenticator = self.authenticator(users(alice="secret"))
        for _ in range(3):
            step = self.send(authenticator, b"alice", b"guess")
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            step.cancel()
            self.failureResultOf(step, CancelledError)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.refused(self.send(authenticator, b"alice", b"guess"), 4)


class ReplacedTests(PasswordTestCase):
    """
    An authenticator in the place of another.
    """

    def checker(self, *names: bytes) -> InMemoryUsernamePasswordDatabaseDontUse:
        """
        A checker that can tell its users.
        """
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for name in names:
            checker.addUser(name, b"secret")
        return checker

    def test_stands(self) -> None:
        """
        Users stand whom a checker knows; or all, if one cannot tell.
        """
        authenticator = self.authenticator(self.checker(b"alice"), self.checker(b"bob"))
        self.assertTrue(verifyObject(IRevoking, authenticator))
        known = [authenticator.stands(Identity(name, 2)) for name in ("alice", "bob", "carol")]
        self.assertEqual(known, [True, True, False])
        self.assertTrue(self.authenticator(Checker({})).stands(Identity("carol", 2)))
        self.assertFalse(self.authenticator().stands(Identity("carol", 2)))

    def test_failures(self) -> None:
        """
        What there was of failures is not forgotten (R-1929-09), by the limits of the new one; an
        authenticator of another kind has nothing to tell.
        """
        before = self.authenticator(self.checker(b"alice"), failures=Failures(limit=2))
        for delay in (0.5, 1):
            self.refused(self.send(before, b"alice", b"wrong"), delay)
        after = self.authenticator(self.checker(b"alice"), failures=Failures(limit=2))
        after.replaces(Anonymous())
        self.accepted(self.send(after, b"alice", b"secret"))
        after.replaces(before)
        self.assertIs(after.throttle, before.throttle)
        refused = self.refused(self.send(after, b"alice", b"secret"), 0)
        self.assertIn("too many", refused.reason)
        after = self.authenticator(self.checker(b"alice"), failures=Failures(limit=3))
        after.replaces(before)
        self.accepted(self.send(after, b"alice", b"secret"))


class AtOnceTests(PasswordTestCase):
    """
    Tests for many guesses at once, with a checker that takes its time without a thread.
    """

    def setUp(self) -> None:
        """
        Let the test answer.
        """
        super().setUp()
        self.answers: list[Deferred[bytes]] = []
        self.checker = Checker(self.answer)

    def answer(self, credentials: Any) -> Deferred[bytes]:
        """
        Answer later.
        """
        self.answers.append(Deferred(lambda _: None))
        return self.answers[-1]

    def test_limit(self) -> None:
        """
        R-1929-09: as many guesses are looked at as there may be failures, however many are made
        at once; the others are refused unheard.
        """
        authenticator = self.authenticator(self.checker, failures=Failures(delay=0, limit=3))
        steps = [self.send(authenticator, b"alice", b"guess%d" % each) for each in range(50)]
        self.assertEqual(len(self.checker.asked), 3)
        for answer in self.answers:
            answer.errback(UnauthorizedLogin())
        self.assertEqual(len(self.checker.asked), 3)
        for step in steps[3:]:
            self.assertEqual(self.refused(step, 0).reason, "too many failures from this address")

    def test_good(self) -> None:
        """
        Who knows the password comes in with all connections.
        """
        authenticator = self.authenticator(self.checker, failures=Failures(limit=3))
        steps = [self.send(authenticator, b"alice", b"secret") for each in range(50)]
        for number in range(50):
            self.answers[number].callback(b"alice")
        for step in steps:
            self.accepted(step)

    def test_leaving(self) -> None:
        """
        Who leaves while waiting, or while the password is looked at, has not failed and holds up
        nobody.
        """
        authenticator = self.authenticator(self.checker, failures=Failures(limit=1))
        steps = [self.send(authenticator, b"alice", b"guess") for each in range(3)]
        steps[1].cancel()
        self.failureResultOf(steps[1], CancelledError)
        self.assertEqual(len(self.checker.asked), 1)
        steps[0].cancel()
        self.failureResultOf(steps[0], CancelledError)
        self.assertEqual(len(self.checker.asked), 2)
        self.answers[1].callback(b"alice")
        self.accepted(steps[2])

    def test_users(self) -> None:
        """
        However many fail as a user from elsewhere, the user is heard from an address that nobody
        has seen; but each address has only one guess then.
        """
        authenticator = self.authenticator(
            users(alice="secret"), failures=Failures(delay=0, limit=5)
        )
        for number in range(50):
            stranger = IPv4Address(int(THERE) + number)
            self.refused(self.send(authenticator, b"alice", b"guess", stranger), 0)
        again = self.refused(self.send(authenticator, b"alice", b"secret", THERE), 0)
        self.assertEqual(again, Refused("too many failures as this user", "alice"))
        self.accepted(self.send(authenticator, b"alice", b"secret", HERE))


class CheckersTests(PasswordTestCase):
    """
    Tests for the checkers of C{twisted.cred}.
    """

    def test_severalInOrder(self) -> None:
        """
        The checkers are asked in their order until one knows the user and the password.
        """
        last = Checker(lambda credentials: succeed(b"never"))
        authenticator = self.authenticator(users(alice="a"), users(alice="b", bob="c"), last)
        self.accepted(self.send(authenticator, b"alice", b"a"))
        self.accepted(self.send(authenticator, b"alice", b"b"))
        self.accepted(self.send(authenticator, b"bob", b"c"))
        self.assertEqual(last.asked, [])
        self.assertEqual(self.accepted(self.send(authenticator, b"eve", b"x")).name, "never")

    def test_none(self) -> None:
        """
        Without a checker nobody is let in.
        """
        self.refused(self.send(self.authenticator(), b"alice", b"secret"), 0.5)

    def test_waysToAnswer(self) -> None:
        """
        A checker may give the name as octets or as text, itself or in a Deferred.
        """
        for answer in (b"\xc3\xa5se", "åse", succeed(b"\xc3\xa5se"), succeed("åse")):
            authenticator = self.authenticator(Checker(lambda _, answer=answer: answer))
            self.assertEqual(self.accepted(self.send(authenticator, b"x", b"y")).name, "åse")

    def test_waysToRefuse(self) -> None:
        """
        It may refuse with any login failure, raised or in a Deferred; and who is let in has to
        have a name, so that the anonymous avatar is a refusal, too.
        """
        answers: tuple[Callable[[Any], Any], ...] = (
            refusing,
            lambda _: fail(UnauthorizedLogin()),
            lambda _: fail(LoginFailed()),
            lambda _: succeed(ANONYMOUS),
            lambda _: None,
            lambda _: succeed(True),
        )
        for answer in answers:
            self.refused(self.send(self.authenticator(Checker(answer)), b"x", b"y"), 0.5)

    def test_deferred(self) -> None:
        """
        A checker may take its time.
        """
        answer: Deferred[bytes] = Deferred()
        step = self.send(self.authenticator(Checker(lambda _: answer)), b"alice", b"secret")
        self.reactor.advance(10)
        self.assertNoResult(step)
        answer.callback(b"alice")
        self.accepted(step)

    def test_leavingDuringTheCheck(self) -> None:
        """
        If the client leaves meanwhile, the check is cancelled and nothing remains of it; no other
        checker is asked.
        """
        cancelled: list[object] = []
        answer: Deferred[bytes] = Deferred(cancelled.append)
        second = Checker(refusing)
        authenticator = self.authenticator(Checker(lambda _: answer), second)
        step = self.send(authenticator, b"alice", b"secret")
        step.cancel()
        self.failureResultOf(step, CancelledError)
        self.assertEqual(cancelled, [answer])
        self.assertEqual(second.asked, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_broken(self) -> None:
        """
        A checker that fails in another way refuses; the next is asked nevertheless, and the log
        tells which it was and where it went wrong.
        """

        def broken(credentials: Any) -> Any:
            raise KeyError("oops")

        for answer in (broken, lambda _: fail(KeyError("oops"))):
            checker = Checker(answer)
            self.refused(self.send(self.authenticator(checker), b"alice", b"secret"), 0.5)
            authenticator = self.authenticator(checker, users(alice="secret"))
            self.accepted(self.send(authenticator, b"alice", b"secret"))
            failures = self.flushLoggedErrors()
            self.assertEqual([str(each.value) for each in failures], ["builtins.KeyError"] * 2)
            self.assertIn(repr(checker), self.logged())
        self.assertIn("in broken", self.logged())

    def test_secrets(self) -> None:
        """
        R-1929-11: whatever a checker does with it, the password is in no log and no exception.
        """
        secret = b"tr\xff\xe9s-secret"

        def quoting(credentials: Any) -> Any:
            raise ValueError(f"bad password {credentials.password!r} of {credentials!r}")

        def decoding(credentials: Any) -> Any:
            return credentials.password.decode("utf-8")

        def chaining(credentials: Any) -> Any:
            try:
                return quoting(credentials)
            except ValueError as error:
                raise RuntimeError(credentials.password) from error

        checkers = [Checker(answer) for answer in (quoting, decoding, chaining)]
        checkers.append(BlockingChecker(quoting))
        step = self.send(self.authenticator(*checkers), b"alice", secret)
        outcome = self.refused(step, 0.5)
        self.assertEqual(len(self.flushLoggedErrors()), len(checkers))
        everything = self.logged() + repr(outcome) + repr(checkers[0].asked)
        for trace in ("-secret", "tr\\xff", "0xff", "\xff\xe9"):
            self.assertNotIn(trace, everything)

    def test_unix(self) -> None:
        """
        The checker of C{--auth unix} cannot read every user name; that is a refusal.
        """
        self.assertTrue(IBlockingChecker.implementedBy(UNIXChecker))
        authenticator = self.authenticator(UNIXChecker())
        self.refused(self.send(authenticator, b"\xff\xfe", b"secret"), 0.5)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def passwordFile(self, *lines: bytes) -> str:
        """
        Write a file of passwords.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return str(path)

    def test_file(self) -> None:
        """
        C{--auth file:} reads its file in a thread, anew for each login.
        """
        path = self.passwordFile(b"alice:secret", b"bob:", b"nothing", "åse:gehëim".encode())
        authenticator = self.authenticator(
            makeChecker(f"file:{path}"), failures=Failures(delay=0, limit=0)
        )
        for username, password in (("alice", "secret"), ("bob", ""), ("åse", "gehëim")):
            step = self.send(authenticator, username.encode(), password.encode())
            self.assertEqual(self.accepted(step).name, username)
        for username, password in (("alice", ""), ("nothing", ""), ("", ""), ("eve", "secret")):
            self.refused(self.send(authenticator, username.encode(), password.encode()), 0)
        self.reactor.threads.hold = True
        step = self.send(authenticator, b"eve", b"secret")
        Path(path).write_bytes(b"eve:secret\n")
        self.assertNoResult(step)
        self.reactor.threads.release()
        self.accepted(step)

    def test_fileIsGone(self) -> None:
        """
        When the file cannot be read, nobody is let in.
        """
        authenticator = self.authenticator(FilePasswordDB(self.mktemp()))
        self.refused(self.send(authenticator, b"alice", b"secret"), 0.5)

    def test_hashedFile(self) -> None:
        """
        So it does where the passwords are hashed.
        """
        path = self.passwordFile(b"alice:terces")
        checker = FilePasswordDB(path, hash=lambda user, password, stored: password[::-1])
        authenticator = self.authenticator(checker)
        self.accepted(self.send(authenticator, b"alice", b"secret"))
        self.refused(self.send(authenticator, b"alice", b"terces"), 0.5)


@implementer(IRecallingChecker)
class RecallingChecker(BlockingChecker):
    """
    One that remembers whom it has let in.

    @ivar remembered: the user names and passwords.
    """

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__(answer)
        self.remembered: set[tuple[bytes, bytes]] = set()

    def recall(self, credentials: Any) -> bytes | None:
        """
        Remember.
        """
        known = (credentials.username, credentials.password) in self.remembered
        return credentials.username if known else None


class RecallingTests(PasswordTestCase):
    """
    Tests for checkers that may know the answer.
    """

    def setUp(self) -> None:
        """
        Let a call in a thread wait for the test.
        """
        super().setUp()
        self.reactor.threads.hold = True
        self.checker = RecallingChecker(refusing)
        self.assertTrue(verifyObject(IRecallingChecker, self.checker))

    def test_known(self) -> None:
        """
        Whom a checker remembers is let in at once, without a thread.
        """
        self.checker.remembered.add((b"alice", b"secret"))
        authenticator = self.authenticator(BlockingChecker(refusing), self.checker)
        self.assertEqual(self.accepted(self.send(authenticator, b"alice", b"secret")).name, "alice")
        self.assertEqual(self.reactor.threads.held, [])

    def test_unknown(self) -> None:
        """
        Whom it does not remember is checked, as anybody.
        """
        self.checker.remembered.add((b"alice", b"secret"))
        authenticator = self.authenticator(self.checker)
        for username, password in ((b"alice", b"guess"), (b"eve", b"secret")):
            step = self.send(authenticator, username, password, THERE)
            self.reactor.threads.release()
            self.refused(step, 0.5 * len(self.checker.asked))

    def test_notForTheExhausted(self) -> None:
        """
        What is remembered cannot be guessed either: it is asked for when the guess is heard.
        """
        self.checker.remembered.add((b"alice", b"secret"))
        authenticator = self.authenticator(self.checker, failures=Failures(limit=1))
        bad = self.send(authenticator, b"alice", b"guess")
        good = self.send(authenticator, b"alice", b"secret")
        self.assertNoResult(good)
        self.reactor.threads.release()
        outcome = self.successResultOf(good).outcome
        self.assertEqual(outcome, Refused("too many failures from this address", "alice"))
        self.refused(bad, 0.5)

    def test_broken(self) -> None:
        """
        A checker that cannot even remember is asked nevertheless, and the log tells of it without
        the password.
        """

        def broken(credentials: Any) -> Any:
            raise KeyError(credentials.password)

        self.patch(self.checker, "recall", broken)
        authenticator = self.authenticator(self.checker, users(alice="secret"))
        step = self.send(authenticator, b"alice", b"secret")
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.reactor.threads.release()
        self.accepted(step)
        self.assertNotIn("secret", self.logged())


class BlockingTests(PasswordTestCase):
    """
    Tests for checkers that are called in threads, R-1929-07.
    """

    def setUp(self) -> None:
        """
        Let the calls wait for the test.
        """
        super().setUp()
        self.reactor.threads.hold = True
        several = {f"user{number}": "secret" for number in range(10)}
        self.checker = BlockingChecker(users(alice="secret", **several).requestAvatarId)

    def many(self, authenticator: PasswordAuthenticator, number: int) -> list[Deferred[Step]]:
        """
        Let as many users log in, each from an address of its own.
        """
        first = int(IPv4Address("198.51.100.0"))
        return [
            self.send(authenticator, b"user%d" % offset, b"secret", IPv4Address(first + offset))
            for offset in range(number)
        ]

    def test_thread(self) -> None:
        """
        The check happens in a thread; until then nothing is known.
        """
        authenticator = self.authenticator(self.checker)
        good = self.send(authenticator, b"alice", b"secret")
        bad = self.send(authenticator, b"alice", b"guess", THERE)
        self.assertEqual(self.checker.asked, [])
        self.reactor.threads.release()
        self.accepted_(good)
        self.refused(bad, 0.5)

    def accepted_(self, step: Deferred[Step]) -> None:
        """
        Look at who was let in, while others still wait.
        """
        self.assertEqual(self.successResultOf(step).send, ACCEPTED)

    def test_doesNotAnswer(self) -> None:
        """
        A checker in a thread has to answer there: one that does not is a refusal.
        """
        checker = BlockingChecker(lambda _: Deferred())
        step = self.send(self.authenticator(checker), b"alice", b"secret")
        self.reactor.threads.release()
        self.refused(step, 0.5)

    def test_bounded(self) -> None:
        """
        Only so many checks run, and only so many wait; the others are refused, after the usual
        time.  When there is room again, the next one is checked.
        """
        authenticator = self.authenticator(self.checker, running=2, waiting=3)
        steps = self.many(authenticator, 6)
        self.assertEqual(len(self.reactor.threads.held), 2)
        outcome = self.refused(steps.pop(), 0.5)
        self.assertEqual(outcome, Refused("too many are waiting", "user5"))
        while self.reactor.threads.held:
            self.reactor.threads.release()
        for step in steps:
            self.accepted(step)
        self.assertEqual(len(self.checker.asked), 5)

    def test_busyIsNobodysFailure(self) -> None:
        """
        Whoever keeps the checkers busy cannot lock out others by that: that there was no time to
        check a password is no failure of the one that sent it.
        """
        authenticator = self.authenticator(
            self.checker, running=1, waiting=0, failures=Failures(limit=2)
        )
        busy = self.send(authenticator, b"eve", b"guess", THERE)
        for _ in range(5):
            self.refused(self.send(authenticator, b"alice", b"secret"), 0.5)
        self.reactor.threads.release()
        self.refused(busy, 0)
        step = self.send(authenticator, b"alice", b"secret")
        self.reactor.threads.release()
        self.accepted(step)

    def test_busyHidesNoGuess(self) -> None:
        """
        But if one of several checkers has had time to say no, that is a failure.
        """
        authenticator = self.authenticator(
            users(alice="secret"), self.checker, running=1, waiting=0
        )
        busy = self.send(authenticator, b"eve", b"guess", THERE)
        self.refused(self.send(authenticator, b"alice", b"guess"), 0.5)
        outcome = self.refused(self.send(authenticator, b"alice", b"guess"), 1)
        self.assertEqual(outcome.reason, "wrong user name or password")
        busy.cancel()
        self.failureResultOf(busy, CancelledError)

    def guessTogether(self, authenticator: PasswordAuthenticator) -> list[Deferred[Step]]:
        """
        Let one address try ten passwords on as many connections at once, the last of them right;
        everything is checked that is going to be.
        """
        guesses = [b"guess%d" % number for number in range(9)]
        steps = [self.send(authenticator, b"alice", guess) for guess in (*guesses, b"secret")]
        other = self.send(authenticator, b"alice", b"secret", THERE)
        while self.reactor.threads.held:
            self.reactor.threads.release()
        self.accepted_(other)
        return steps

    def test_manyAtOnce(self) -> None:
        """
        Who makes many connections at once has no more guesses for it: what would be too much waits,
        and when there have been too many failures it is not looked at.  Other addresses are.
        """
        authenticator = self.authenticator(
            self.checker, running=1, failures=Failures(delay=1, limit=3, window=300)
        )
        steps = self.guessTogether(authenticator)
        asked = [credentials.password for credentials in self.checker.asked]
        self.assertEqual(asked, [b"guess0", b"guess1", b"guess2", b"secret"])
        self.reactor.advance(8)
        for step in steps:
            self.refused(step, 0)
        self.reactor.advance(300)
        step = self.send(authenticator, b"alice", b"secret")
        self.reactor.threads.release()
        self.accepted(step)

    def test_manyAtOnceWithoutLimit(self) -> None:
        """
        Where the failures are not limited, each of them is looked at.
        """
        authenticator = self.authenticator(
            self.checker, running=1, failures=Failures(delay=0, limit=0)
        )
        steps = self.guessTogether(authenticator)
        # The good password came twice, and was looked at once.
        self.assertEqual(len(self.checker.asked), 10)
        self.accepted(steps.pop())
        for step in steps:
            self.refused(step, 0)

    def test_manyAtOnceAndAnotherChecker(self) -> None:
        """
        Nor do they get a guess from a checker behind the one that they have waited for.
        """
        second = Checker(refusing)
        authenticator = self.authenticator(
            self.checker, second, running=1, failures=Failures(delay=1, limit=3)
        )
        steps = self.guessTogether(authenticator)
        asked = [credentials.password for credentials in second.asked]
        self.assertEqual(asked, [b"guess0", b"guess1", b"guess2"])
        self.reactor.advance(8)
        for step in steps:
            self.refused(step, 0)

    def test_sameTogether(self) -> None:
        """
        Who comes many times with the same password while it is checked costs one check, wherever
        from; another password of the same user, and the same split elsewhere, is another check.
        """
        authenticator = self.authenticator(self.checker)
        steps = [
            self.send(authenticator, b"alice", b"secret", client)
            for client in (HERE, THERE, None, HERE)
        ]
        self.assertEqual(len(self.reactor.threads.held), 1)
        others = [
            self.send(authenticator, b"alice", b"Secret"),
            self.send(authenticator, b"alices", b"ecret"),
        ]
        while self.reactor.threads.held:
            self.reactor.threads.release()
        self.assertEqual(len(self.checker.asked), 3)
        for step in steps:
            self.accepted_(step)
        for step in others:
            self.reactor.advance(1)
            self.assertEqual(self.successResultOf(step).send, REFUSED)

    def test_sameTogetherFail(self) -> None:
        """
        If it is wrong, each of them has failed.
        """
        authenticator = self.authenticator(self.checker, failures=Failures(limit=2))
        steps = [self.send(authenticator, b"alice", b"guess") for _ in range(3)]
        self.assertEqual(len(self.reactor.threads.held), 1)
        self.reactor.threads.release()
        outcome = self.successResultOf(steps.pop()).outcome
        self.assertEqual(outcome, Refused("too many failures from this address", "alice"))
        self.reactor.advance(0.5)
        self.assertEqual(self.successResultOf(steps[0]).send, REFUSED)
        self.assertNoResult(steps[1])
        self.reactor.advance(0.5)
        self.assertEqual(self.successResultOf(steps[1]).send, REFUSED)

    def test_oneOfThemLeaves(self) -> None:
        """
        If one of them leaves, the others have their answer; when all have left, who comes next is
        checked anew.
        """
        authenticator = self.authenticator(self.checker, running=1)
        first, second = (self.send(authenticator, b"alice", b"secret") for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.send(authenticator, b"alice", b"secret")
        self.reactor.threads.release()
        self.assertNoResult(third)
        self.reactor.threads.release()
        self.accepted(third)

    def test_passwordIsNotKept(self) -> None:
        """
        What is kept to know the same again is not the password.
        """
        authenticator = self.authenticator(self.checker)
        step = self.send(authenticator, b"alice", b"secret")
        ((_, digest),) = authenticator._shared._calls
        self.assertEqual(len(digest), 64)
        other = self.authenticator(self.checker)
        self.send(other, b"alice", b"secret")
        self.assertNotEqual(list(other._shared._calls), [(id(self.checker), digest)])
        self.reactor.threads.release()
        self.accepted_(step)
        self.assertEqual(authenticator._shared._calls, {})

    def test_leavingTheQueue(self) -> None:
        """
        A client that leaves while it waits makes room, and its password is never checked.
        """
        authenticator = self.authenticator(self.checker, running=1, waiting=1)
        first, second = self.many(authenticator, 2)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.send(authenticator, b"alice", b"secret", THERE)
        self.reactor.threads.release()
        self.reactor.threads.release()
        self.accepted(first)
        self.accepted(third)
        self.assertEqual(len(self.checker.asked), 2)

    def test_leavingTheThread(self) -> None:
        """
        A client that leaves while its password is checked is forgotten; the thread keeps its
        place until it has done.
        """
        authenticator = self.authenticator(self.checker, running=1, waiting=1)
        gone, other = self.many(authenticator, 2)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual(len(self.reactor.threads.held), 1)
        self.reactor.threads.release()
        self.assertNoResult(other)
        self.reactor.threads.release()
        self.accepted(other)
        self.assertEqual(self.flushLoggedErrors(), [])


class GSSAPITests(SynchronousTestCase):
    """
    Tests for L{gssapiAuthenticator}.
    """

    def test_withoutLibrary(self) -> None:
        """
        Where the library is not installed, one line says how to install it.
        """
        with patch.dict(sys.modules, {"gssapi": None}):
            # What needs it may have been imported before.
            for name in ("txsocks5.tickets", "txsocks5.encapsulation"):
                sys.modules.pop(name, None)
            error = self.assertRaises(
                ValueError, gssapiAuthenticator, MemoryReactor(), "", "", ["integrity"]
            )
        self.assertIn("pip install 'txsocks5[gssapi]'", str(error))
        self.assertNotIn("\n", str(error))

    def test_withLibrary(self) -> None:
        """
        It is made of the settings, which are judged.
        """
        if why := whyNoRealm():
            raise SkipTest(why)
        realm().inhabit(self)
        keytab = str(realm().keytab)
        authenticator = gssapiAuthenticator(MemoryReactor(), keytab, "socks", ["curl"])
        verifyObject(IAuthenticator, authenticator)
        self.assertEqual(authenticator.method, 1)
        for settings, expected in (
            (("/nowhere", "", ["integrity"]), "'/nowhere' cannot be read"),
            ((keytab, "nfs", ["integrity"]), "no key for 'nfs'"),
            ((keytab, "", ["secret"]), "there is no level 'secret'"),
        ):
            error = self.assertRaises(ValueError, gssapiAuthenticator, MemoryReactor(), *settings)
            self.assertIn(expected, str(error))

"""
Tests for L{txsocks5.tickets}: whole servers on fakes, whose clients have tickets of a realm of our
own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any
from weakref import ref

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from txsocks5.interfaces import IAuthenticator, IConversation, Verdict
from txsocks5.testing import MemoryReactor, RecordedEvents, RecordingPeer
from txsocks5.wire import (
    ABORT,
    Address,
    Datagram,
    Frame,
    FrameType,
    Method,
    ProtectionLevel,
)

from .contexts import (
    CONFIDENTIALITY,
    DELEGATION,
    INTEGRITY,
    MUTUAL,
    REPLAY,
    USUAL,
    initiator,
)
from .kerberos import ALICE, REALM, realm, whyNoAnonymous, whyNoRealm
from .served import ASSOCIATE, BIND, CONNECT, GRANTED, Caller, ServedTestCase, failure

skip = whyNoRealm()
if skip is None:
    from gssapi import RequirementFlag, SecurityContext

    from txsocks5 import tickets as module
    from txsocks5.encapsulation import Encapsulation, openLevel, sealLevel
    from txsocks5.tickets import GSSAPIAuthenticator

GREETING = b"\x05\x01\x01"
SELECTED = b"\x05\x01"

# Of MIT's library: the client speaks last.
DCE_STYLE = 0x1000

UNORDERED = MUTUAL | REPLAY | CONFIDENTIALITY | INTEGRITY

PROTECTING = (ProtectionLevel.INTEGRITY, ProtectionLevel.CONFIDENTIALITY)


def framed(kind: FrameType, token: bytes) -> bytes:
    """
    A frame, in octets.
    """
    return Frame(kind, token).octets()


class TicketsTestCase(ServedTestCase):
    """
    A test case with a server that accepts tickets, and one client of it.

    @ivar caller: the client.

    @ivar context: the client's side of the context.

    @ivar protection: the client's side of what was agreed on.
    """

    caller: Caller
    protection: Encapsulation

    def setUp(self) -> None:
        """
        Live in the realm.
        """
        super().setUp()
        realm().inhabit(self)

    def listen(self, *levels: str, **options: Any) -> None:
        """
        Make the server.

        @param levels: by default those of the authenticator.

        @param options: other arguments of L{GSSAPIAuthenticator}.
        """
        given: dict[str, Any] = {"keytab": str(realm().keytab)}
        if levels:
            given["levels"] = levels
        self.factory = self.serve(GSSAPIAuthenticator(self.reactor, **(given | options)))

    def greet(self) -> None:
        """
        Connect, and offer the method.
        """
        self.caller = self.call(self.factory)
        self.caller.say(GREETING)
        self.assertEqual(self.heard(), SELECTED)

    def heard(self) -> bytes:
        """
        What the client has received since it was last asked.
        """
        octets = self.caller.received
        self.caller.chunks.clear()
        self.caller.answers.clear()
        return octets

    def frame(self, kind: FrameType) -> bytes:
        """
        The token of the one frame that the client has received.
        """
        octets = self.heard()
        frame, end = Frame.read(octets, kind) or self.fail(f"no frame: {octets!r}")
        self.assertEqual(end, len(octets))
        token: bytes = frame.token
        return token

    def introduce(
        self, flags: int = USUAL, service: str = "socks@localhost", tickets: Path | None = None
    ) -> bytes:
        """
        Begin a context.

        @return: the first token, framed.
        """
        self.context = initiator(service, flags, tickets)
        return framed(FrameType.AUTHENTICATION, self.context.step())

    def establish(self, flags: int = USUAL, **options: Any) -> None:
        """
        Connect, and establish the context.
        """
        self.greet()
        self.caller.say(self.introduce(flags, **options))
        self.context.step(self.frame(FrameType.AUTHENTICATION))
        self.assertTrue(self.context.complete)

    def level(self, asked: ProtectionLevel) -> bytes:
        """
        Ask for a level, in octets.
        """
        return framed(FrameType.PROTECTION_LEVEL, sealLevel(self.context, asked))

    def ask(self, asked: ProtectionLevel) -> ProtectionLevel:
        """
        Ask for a level.

        @return: the answer.
        """
        self.caller.say(self.level(asked))
        return openLevel(self.context, self.frame(FrameType.PROTECTION_LEVEL))

    def agree(self, level: ProtectionLevel, flags: int = USUAL) -> None:
        """
        Get as far as a client can without a request.
        """
        self.establish(flags)
        self.assertIs(self.ask(level), level)
        self.protection = Encapsulation(self.context, level)

    def say(self, data: bytes) -> None:
        """
        Send octets, encapsulated.
        """
        self.caller.say(self.protection.wrap(data))

    def assertRefused(self, reason: str, user: str = "") -> None:
        """
        The client is told C{01 FF} and no more, the connection is closed, and the log says why.
        """
        self.flush()
        self.assertEqual(self.caller.answers, [ABORT])
        self.assertEqual(self.caller.received, ABORT)
        self.assertTrue(self.caller.finished)
        self.caller.say(b"\x05\x01\x00" + CONNECT)
        self.assertEqual(self.caller.received, ABORT)
        self.assertClosed(self.caller)
        self.assertOver(self.factory)
        event = self.events.one("unauthenticated")
        self.assertIn(reason, event["reason"])
        self.assertEqual(event["user"], user)
        self.assertNotIn("broken", self.events.names)

    def amend(self, change: Callable[[Any], Any]) -> None:
        """
        Have the library say something else than it does.

        @param change: is given the result of accepting a token, and gives another.
        """
        accept = module.raw.accept_sec_context
        self.patch(module.raw, "accept_sec_context", lambda *args: change(accept(*args)))


class EstablishingTests(TicketsTestCase):
    """
    Tests for how the context comes to stand.
    """

    def test_interfaces(self) -> None:
        """
        It is an authenticator for method C{01}.
        """
        authenticator = GSSAPIAuthenticator(self.reactor, keytab=str(realm().keytab))
        verifyObject(IAuthenticator, authenticator)
        self.assertEqual(authenticator.method, Method.GSSAPI)
        verifyObject(IConversation, authenticator.conversation(None))

    def test_whole(self) -> None:
        """
        A token, the level, a request and data: each answer is one frame in one write, and the
        user's name is the whole principal (R-1961-01 to R-1961-05, R-1961-12, R-1961-14).
        """
        self.listen()
        self.greet()
        self.caller.say(self.introduce())
        self.assertEqual(len(self.caller.answers), 1)
        self.context.step(self.frame(FrameType.AUTHENTICATION))
        self.caller.say(self.level(ProtectionLevel.CONFIDENTIALITY))
        self.assertEqual(len(self.caller.answers), 1)
        level = openLevel(self.context, self.frame(FrameType.PROTECTION_LEVEL))
        self.assertIs(level, ProtectionLevel.CONFIDENTIALITY)
        event = self.events.one("authenticated")
        self.assertEqual((event["user"], event["method"]), (f"{ALICE}@{REALM}", 1))
        self.protection = Encapsulation(self.context, level)
        self.say(CONNECT)
        target = self.answer()
        self.assertEqual(len(self.caller.answers), 1)
        self.assertEqual(self.protection.unwrap(self.heard()), GRANTED)
        self.say(b"question")
        self.assertEqual(target.received, b"question")
        target.send(b"answer")
        self.flush()
        self.assertEqual(self.protection.unwrap(self.heard()), b"answer")
        (question,) = self.policy.questions
        self.assertEqual(question.identity.name, f"{ALICE}@{REALM}")

    def test_octetByOctet(self) -> None:
        """
        It makes no difference if every octet comes by itself (R-1928-01).
        """
        self.listen()
        self.caller = self.call(self.factory)
        self.caller.sayEach(GREETING)
        self.assertEqual(self.heard(), SELECTED)
        self.caller.sayEach(self.introduce())
        self.context.step(self.frame(FrameType.AUTHENTICATION))
        self.caller.sayEach(self.level(ProtectionLevel.INTEGRITY))
        self.assertIs(
            openLevel(self.context, self.frame(FrameType.PROTECTION_LEVEL)),
            ProtectionLevel.INTEGRITY,
        )
        self.protection = Encapsulation(self.context, ProtectionLevel.INTEGRITY)
        self.caller.sayEach(self.protection.wrap(CONNECT))
        self.answer()
        self.assertEqual(self.protection.unwrap(self.heard()), GRANTED)

    def test_ahead(self) -> None:
        """
        A client that does not wait for the answer to its level is understood.
        """
        self.listen()
        self.establish()
        protection = Encapsulation(self.context, ProtectionLevel.INTEGRITY)
        level = self.level(ProtectionLevel.INTEGRITY)
        self.caller.say(level + protection.wrap(CONNECT[:3]) + protection.wrap(CONNECT[3:] + b"x"))
        target = self.answer()
        self.assertEqual(target.received, b"x")

    def test_withoutMutual(self) -> None:
        """
        To a client that does not ask who the server is, the library has nothing to answer; the
        frame is sent all the same, with LEN 0 (R-1961-05).
        """
        self.listen()
        self.greet()
        self.caller.say(self.introduce(REPLAY | CONFIDENTIALITY | INTEGRITY))
        self.assertEqual(self.heard(), b"\x01\x01\x00\x00")
        self.assertIs(self.ask(ProtectionLevel.INTEGRITY), ProtectionLevel.INTEGRITY)

    def test_anotherRound(self) -> None:
        """
        While the context does not stand another token is waited for; after the last one that
        needs no answer LEN is 0 (R-1961-04, R-1961-05).
        """
        self.listen()
        self.greet()
        self.caller.say(self.introduce(MUTUAL | CONFIDENTIALITY | INTEGRITY | DCE_STYLE))
        token = self.context.step(self.frame(FrameType.AUTHENTICATION))
        self.assertEqual(self.events.names, ["opened"])
        self.caller.say(framed(FrameType.AUTHENTICATION, token))
        self.assertEqual(self.heard(), b"\x01\x01\x00\x00")
        self.assertIs(self.ask(ProtectionLevel.INTEGRITY), ProtectionLevel.INTEGRITY)

    def test_tooManyRounds(self) -> None:
        """
        After ten tokens it has to be decided (R-1961-08).
        """
        self.listen()
        self.greet()
        token = self.introduce()
        contexts = []

        def goOn(token: bytes, credentials: object, context: object) -> Any:
            contexts.append(context)
            return module.raw.AcceptSecContextResult(
                len(contexts), None, None, b"more", [], 0, None, True
            )

        self.patch(module.raw, "accept_sec_context", goOn)
        for _ in range(10):
            self.caller.say(token)
            self.assertEqual(self.heard(), b"\x01\x01\x00\x04more")
        self.assertEqual(contexts, [None, *range(1, 10)])
        self.caller.say(token)
        self.assertRefused("too many tokens")
        self.assertEqual(len(contexts), 10)

    def test_malformed(self) -> None:
        """
        A frame that is not due, or empty, is answered C{01 FF}, and so is a request in clear
        (R-1961-06 to R-1961-08).
        """
        for octets, reason in (
            (CONNECT, "version 0x05"),
            (b"\x00", "version 0x00"),
            (b"\x01\x02", "MTYP 0x02 instead of 0x01"),
            (b"\x01\x03\x00\x01x", "MTYP 0x03 instead of 0x01"),
            (b"\x01\xff", "aborted"),
            (b"\x01\x01\x00\x00", "an empty token"),
        ):
            self.events.events.clear()
            self.listen()
            self.greet()
            self.caller.say(octets)
            self.assertRefused(reason)

    def test_rubbish(self) -> None:
        """
        What is no token of Kerberos is refused, up to the longest (R-1961-06, R-1961-08).
        """
        for token in (b"x", b"\x60\x82\x02\x00", Random(1).randbytes(700), b"\x60" * 65535):
            self.events.events.clear()
            self.listen()
            self.greet()
            self.caller.say(framed(FrameType.AUTHENTICATION, token))
            self.assertRefused("GSSAPI: ")

    def test_changed(self) -> None:
        """
        A token that was changed on its way is refused.
        """
        self.listen()
        self.greet()
        octets = bytearray(self.introduce())
        octets[-1] ^= 1
        self.caller.say(bytes(octets))
        self.assertRefused("Decrypt integrity check failed")

    def test_replayed(self) -> None:
        """
        A token that has come before is refused; that the library has an error token for the
        client makes no difference (R-1961-06).
        """
        self.listen()
        self.establish()
        self.caller.abort()
        self.greet()
        octets = self.introduce()
        self.caller.say(octets)
        self.caller.abort()
        self.flush()
        self.events.events.clear()
        self.greet()
        self.caller.say(octets)
        self.assertRefused("Request is a replay")

    def test_otherServers(self) -> None:
        """
        A ticket for somebody whose key the server does not have is refused.
        """
        realm().addService("socks/elsewhere.example.org", realm().file())
        self.listen()
        self.greet()
        self.caller.say(self.introduce(service="socks@elsewhere.example.org"))
        self.assertRefused("socks/elsewhere.example.org")

    def test_otherService(self) -> None:
        """
        A ticket for another service than the one that the server was told is refused, though it
        has the key (R-1961-03).
        """
        for service in ("socks", "socks@localhost"):
            self.events.events.clear()
            self.listen(service=service)
            self.establish()
            self.caller.abort()
            self.flush()
            self.events.events.clear()
            self.greet()
            self.caller.say(self.introduce(service="rcmd@localhost"))
            self.assertRefused("rcmd/localhost")

    def test_anyService(self) -> None:
        """
        Without one, tickets for every key in the keytab are accepted (R-1961-03).
        """
        self.listen()
        self.establish(service="rcmd@localhost")
        self.establish(service="socks@localhost")

    def test_defaultKeytab(self) -> None:
        """
        Without a keytab, it is that of the Kerberos library.
        """
        self.listen(keytab=None)
        self.establish()
        self.listen(keytab="")
        self.establish()

    def test_newKeys(self) -> None:
        """
        The keytab is read anew for each client, so that new keys need no restart.
        """
        keytab, later = realm().file(), realm().file()
        realm().addService("socks/first.example.org", keytab)
        self.listen(keytab=str(keytab))
        self.establish(service="socks@first.example.org")
        realm().addService("socks/second.example.org", later)
        os.replace(later, keytab)
        self.establish(service="socks@second.example.org")

    def test_anonymous(self) -> None:
        """
        Anonymous clients are refused (R-1961-10).  By its flags alone MIT's library does not tell
        who is one.
        """
        if why := whyNoAnonymous():
            raise SkipTest(why)
        self.listen()
        self.greet()
        self.caller.say(self.introduce(tickets=realm().anonymous()))
        self.assertRefused("an anonymous client", "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS")

    def test_anonymousByFlag(self) -> None:
        """
        Neither are those let in that only a flag tells of.
        """
        self.amend(
            lambda result: result._replace(
                flags=[RequirementFlag.integrity, RequirementFlag.anonymity]
            )
        )
        self.listen()
        self.greet()
        self.caller.say(self.introduce())
        self.assertRefused("an anonymous client", f"{ALICE}@{REALM}")

    def test_withoutIntegrity(self) -> None:
        """
        A context without integrity cannot carry the level, and is refused (R-1961-11).
        """
        self.amend(lambda result: result._replace(flags=[RequirementFlag.confidentiality]))
        self.listen()
        self.greet()
        self.caller.say(self.introduce())
        self.assertRefused("the context has no integrity", f"{ALICE}@{REALM}")

    def test_delegation(self) -> None:
        """
        What a client delegates is dropped at once (R-1961-10).
        """
        given: list[Any] = []

        class Delegated:
            """
            Stands for credentials, which cannot be watched.
            """

        def watch(result: Any) -> Any:
            self.assertIsNotNone(result.delegated_creds)
            delegated = Delegated()
            given.append(ref(delegated))
            return result._replace(delegated_creds=delegated)

        self.amend(watch)
        self.listen()
        self.establish(USUAL | DELEGATION, tickets=realm().login("trusting", "-f"))
        self.assertEqual([delegated() for delegated in given], [None])
        self.ask(ProtectionLevel.INTEGRITY)
        self.assertEqual(self.events.one("authenticated")["user"], f"trusting@{REALM}")

    def test_names(self) -> None:
        """
        A name is a whole principal, whatever its form (R-1961-12).
        """
        self.listen()
        self.establish(tickets=realm().login("carol/admin"))
        self.ask(ProtectionLevel.INTEGRITY)
        self.assertEqual(self.events.one("authenticated")["user"], f"carol/admin@{REALM}")

    def test_inThread(self) -> None:
        """
        Tokens are judged in threads, and the client waits (R-1961-33).
        """
        self.listen()
        self.greet()
        self.reactor.threads.hold = True
        self.caller.say(self.introduce())
        self.assertEqual(self.heard(), b"")
        self.reactor.threads.release()
        self.flush()
        self.context.step(self.frame(FrameType.AUTHENTICATION))
        self.assertTrue(self.context.complete)

    def test_leaving(self) -> None:
        """
        A client may leave meanwhile.
        """
        self.listen()
        self.greet()
        self.reactor.threads.hold = True
        self.caller.say(self.introduce())
        self.caller.abort()
        self.flush()
        self.assertOver(self.factory)
        self.reactor.threads.release()
        self.assertEqual(self.events.names, ["opened", "closed"])

    def test_deadline(self) -> None:
        """
        All of it has to be done within the time for the handshake (R-1961-08).
        """
        self.listen()
        self.greet()
        self.reactor.threads.hold = True
        self.caller.say(self.introduce())
        self.advance(30)
        self.advance(4)
        self.assertOver(self.factory)
        self.reactor.threads.release()
        self.assertNotIn("broken", self.events.names)

    def test_overloaded(self) -> None:
        """
        If too many tokens wait to be judged the next client is refused, and those that wait are
        not.
        """
        self.listen(running=1, waiting=0)
        self.reactor.threads.hold = True
        self.greet()
        self.caller.say(self.introduce())
        first, context = self.caller, self.context
        self.greet()
        self.caller.say(self.introduce())
        self.flush()
        self.assertEqual(self.caller.answers, [ABORT])
        self.assertIn("too many", self.events.one("unauthenticated")["reason"])
        self.reactor.threads.release()
        self.flush()
        self.caller = first
        context.step(self.frame(FrameType.AUTHENTICATION))
        self.assertTrue(context.complete)


class ExpiryTests(TicketsTestCase, TestCase):
    """
    Tests with tickets that do not last.
    """

    @inlineCallbacks
    def test_expired(self) -> Any:
        """
        A ticket that has expired is refused, once even a clock that is slow by what is tolerated
        must have noticed.  Here nothing is tolerated.
        """
        profile = Path(os.environ["KRB5_CONFIG"]).read_text()
        strict = realm().file()
        strict.write_text(profile.replace("[libdefaults]", "[libdefaults]\n\tclockskew = 0"))
        tickets = realm().login("mayfly", "-l", "1s")
        octets = self.introduce(tickets=tickets)
        yield deferLater(reactor, 2.1)
        realm().inhabit(self, KRB5_CONFIG=str(strict))
        self.listen()
        self.greet()
        self.caller.say(octets)
        self.assertRefused("Ticket expired")


class LevelTests(TicketsTestCase):
    """
    Tests for the agreement on a protection level.
    """

    def test_default(self) -> None:
        """
        Integrity and confidentiality are granted, and whoever asks for something else is offered
        the latter (R-1961-17).
        """
        self.listen()
        for asked, answer in (
            (ProtectionLevel.NONE, ProtectionLevel.CONFIDENTIALITY),
            (ProtectionLevel.INTEGRITY, ProtectionLevel.INTEGRITY),
            (ProtectionLevel.CONFIDENTIALITY, ProtectionLevel.CONFIDENTIALITY),
            (ProtectionLevel.SELECTIVE, ProtectionLevel.CONFIDENTIALITY),
        ):
            self.establish()
            self.assertIs(self.ask(asked), answer)
            self.protection = Encapsulation(self.context, answer)
            self.say(CONNECT)
            self.answer()
            self.assertEqual(self.protection.unwrap(self.heard()), GRANTED)

    def test_withoutConfidentiality(self) -> None:
        """
        In the answer, too, the level is wrapped without confidentiality (R-1961-15).
        """
        self.listen()
        self.establish()
        self.caller.say(self.level(ProtectionLevel.CONFIDENTIALITY))
        token = self.frame(FrameType.PROTECTION_LEVEL)
        self.assertEqual(self.context.unwrap(token), (b"\x02", False, 0))

    def test_refused(self) -> None:
        """
        What is no level, or not genuine, or not wrapped, or another frame, is answered C{01 FF}
        (R-1961-06, R-1961-07, R-1961-15, R-1961-16, R-1961-21).
        """

        def wrapped(octets: bytes) -> bytes:
            return framed(FrameType.PROTECTION_LEVEL, self.context.wrap(octets, False).message)

        def downgraded() -> bytes:
            octets = bytearray(self.level(ProtectionLevel.CONFIDENTIALITY))
            octets[20] ^= 3
            return bytes(octets)

        for make, reason in (
            (lambda: wrapped(b"\x04"), "no protection level 4"),
            (lambda: wrapped(b"\x07"), "no protection level 7"),
            (lambda: wrapped(b"\xff"), "no protection level 255"),
            (lambda: wrapped(b""), "of 0 octets"),
            (lambda: wrapped(b"\x01\x01"), "of 2 octets"),
            (downgraded, "Message Integrity Check"),
            (lambda: b"\x01\x02\x00\x00", "cannot be unwrapped"),
            (lambda: b"\x01\x02\x00\x01\x01", "not wrapped"),
            (lambda: b"\x01\x01\x00\x01x", "MTYP 0x01 instead of 0x02"),
            (lambda: b"\x01\x03", "MTYP 0x03 instead of 0x02"),
            (lambda: CONNECT, "version 0x05"),
        ):
            self.events.events.clear()
            self.listen()
            self.establish()
            self.caller.say(make())
            self.assertRefused(reason, f"{ALICE}@{REALM}")

    def test_noConfidentiality(self) -> None:
        """
        If the context has no confidentiality it is not agreed to; if nothing else is granted, the
        client is refused (R-1961-17).
        """
        self.amend(lambda result: result._replace(flags=[RequirementFlag.integrity]))
        self.listen()
        self.establish()
        self.assertIs(self.ask(ProtectionLevel.CONFIDENTIALITY), ProtectionLevel.INTEGRITY)
        self.events.events.clear()
        self.caller.abort()
        self.flush()
        self.listen("confidentiality")
        self.establish()
        self.caller.say(self.level(ProtectionLevel.CONFIDENTIALITY))
        self.assertRefused("no confidentiality", f"{ALICE}@{REALM}")

    def test_clear(self) -> None:
        """
        Where it is granted a client may ask for no protection: everything behind the answer is in
        clear (R-1961-19).
        """
        self.listen("clear")
        self.establish()
        self.assertIs(self.ask(ProtectionLevel.NONE), ProtectionLevel.NONE)
        self.caller.say(CONNECT + b"question")
        target = self.answer()
        self.assertEqual(self.heard(), GRANTED)
        self.assertEqual(target.received, b"question")
        self.assertEqual(self.events.one("authenticated")["user"], f"{ALICE}@{REALM}")

    def test_nec(self) -> None:
        """
        Where it is permitted the level may be sent as it is, and is answered alike; what follows
        is encapsulated (R-1961-21).
        """
        self.listen("nec", "integrity", "confidentiality")
        for level in PROTECTING:
            self.establish()
            self.caller.say(b"\x01\x02\x00\x01" + level.octets())
            self.assertEqual(self.heard(), b"\x01\x02\x00\x01" + level.octets())
            self.protection = Encapsulation(self.context, level)
            self.say(CONNECT)
            self.answer()
            self.assertEqual(self.protection.unwrap(self.heard()), GRANTED)
        self.agree(ProtectionLevel.INTEGRITY)

    def test_necRefused(self) -> None:
        """
        There is no level from 4 up in that way, either.
        """
        self.listen("nec", "integrity")
        self.establish()
        self.caller.say(b"\x01\x02\x00\x01\x04")
        self.assertRefused("no protection level 4", f"{ALICE}@{REALM}")


class CurlTests(TicketsTestCase):
    """
    Tests for what curl needs: C{00} is the answer to whatever was asked.
    """

    def test_clear(self) -> None:
        """
        A client that goes on with a request in clear is served in clear (R-1961-20).
        """
        self.listen("curl")
        for asked in ProtectionLevel:
            self.establish()
            self.events.events.clear()
            self.assertIs(self.ask(asked), ProtectionLevel.NONE)
            self.assertEqual(self.events.names, [])
            self.caller.say(CONNECT)
            self.answer()
            self.assertEqual(self.heard(), GRANTED)

    def test_ahead(self) -> None:
        """
        It makes no difference if the request is there already.
        """
        self.listen("curl")
        self.establish()
        self.caller.say(self.level(ProtectionLevel.CONFIDENTIALITY) + CONNECT + b"question")
        target = self.answer()
        self.assertTrue(self.caller.received.endswith(GRANTED))
        self.assertEqual(target.received, b"question")

    def test_goingOn(self) -> None:
        """
        One that goes on encapsulating does so at the level that it has asked for, as Dante's does
        (R-1961-20).
        """
        self.listen("curl", "integrity", "confidentiality")
        for asked in PROTECTING:
            for together in (False, True):
                self.establish()
                level = self.level(asked)
                self.protection = Encapsulation(self.context, asked)
                request = self.protection.wrap(CONNECT)
                if together:
                    self.caller.say(level + request)
                else:
                    self.caller.say(level)
                    self.caller.sayEach(request)
                target = self.answer()
                octets = self.heard()
                frame, end = Frame.read(octets, FrameType.PROTECTION_LEVEL) or self.fail()
                self.assertIs(openLevel(self.context, frame.token), ProtectionLevel.NONE)
                self.assertEqual(self.protection.unwrap(octets[end:]), GRANTED)
                self.say(b"question")
                self.assertEqual(target.received, b"question")

    def test_goingOnUnsealed(self) -> None:
        """
        Not at a lower one.
        """
        self.listen("curl", "integrity", "confidentiality")
        self.establish()
        self.ask(ProtectionLevel.CONFIDENTIALITY)
        self.caller.say(Encapsulation(self.context, ProtectionLevel.INTEGRITY).wrap(CONNECT))
        self.assertEqual(self.heard(), b"")
        self.assertReset(self.caller)
        self.assertIn("without the confidentiality", self.events.one("closed")["reason"])

    def test_notGranted(self) -> None:
        """
        Not at one that is not granted, or that says nothing.
        """
        for levels, asked in (
            (("curl",), ProtectionLevel.INTEGRITY),
            (("curl", "confidentiality"), ProtectionLevel.INTEGRITY),
            (("curl", "integrity"), ProtectionLevel.CONFIDENTIALITY),
            (("curl", "integrity", "confidentiality"), ProtectionLevel.NONE),
            (("curl", "integrity", "confidentiality"), ProtectionLevel.SELECTIVE),
        ):
            self.events.events.clear()
            self.listen(*levels)
            self.establish()
            self.ask(asked)
            self.caller.say(b"\x01\x03")
            self.assertRefused("after agreeing on no protection", f"{ALICE}@{REALM}")

    def test_others(self) -> None:
        """
        Whatever else comes is refused.
        """
        self.listen("curl")
        self.establish()
        self.ask(ProtectionLevel.CONFIDENTIALITY)
        self.caller.say(b"GET / HTTP/1.1\r\n")
        self.assertRefused("octet 0x47", f"{ALICE}@{REALM}")

    def test_waiting(self) -> None:
        """
        An octet is waited for, and asking for it twice does no harm.
        """
        conversation = GSSAPIAuthenticator(
            self.reactor, keytab=str(realm().keytab), levels=["curl"]
        ).conversation(None)
        token = self.introduce()
        established: Any = conversation.received(token)
        answer, _ = Frame.read(self.successResultOf(established).send, FrameType.AUTHENTICATION)
        self.context.step(answer.token)
        agreed = conversation.received(self.level(ProtectionLevel.CONFIDENTIALITY))
        self.assertIsNone(agreed.outcome)
        self.assertIsNone(conversation.received(b""))
        step = conversation.received(CONNECT)
        self.assertEqual(step.consumed, 0)
        self.assertIsNone(step.outcome.protection)
        conversation.close()

    def test_nec(self) -> None:
        """
        A level that was not wrapped is answered alike.
        """
        self.listen("curl", "nec")
        self.establish()
        self.caller.say(b"\x01\x02\x00\x01\x02")
        self.assertEqual(self.heard(), b"\x01\x02\x00\x01\x00")


class StreamTests(TicketsTestCase):
    """
    Tests for what is said and relayed under a protection.
    """

    def connect(self, level: ProtectionLevel, flags: int = USUAL) -> RecordingPeer:
        """
        Get a client connected to a target.
        """
        self.agree(level, flags)
        self.say(CONNECT)
        target = self.answer()
        self.assertEqual(self.protection.unwrap(self.heard()), GRANTED)
        return target

    def test_manyOctets(self) -> None:
        """
        A million octets go each way at each level, split anyhow.
        """
        random = Random(33)
        data = random.randbytes(1_000_000)
        self.listen()
        for level in PROTECTING:
            target = self.connect(level)
            back = bytearray()
            start = 0
            while start < len(data):
                size = random.choice((1, 100, 5000, 16384, 50_000, 100_000))
                octets = self.protection.wrap(data[start : start + size])
                cut = random.randrange(len(octets))
                self.caller.say(octets[:cut])
                self.caller.send(octets[cut:])
                target.send(data[start : start + size])
                self.flush()
                back += self.protection.unwrap(self.heard())
                start += size
            self.assertEqual(target.received, data)
            self.assertEqual(back, data)
            self.caller.finish()
            target.finish()
            self.flush()
            self.assertEqual(self.events.named("closed")[-1]["reason"], "both sides finished")

    def test_failure(self) -> None:
        """
        A reply that tells of a failure is encapsulated, too, before the connection is closed.
        """
        self.listen()
        self.agree(ProtectionLevel.CONFIDENTIALITY)
        self.policy.request = Verdict(False, "rule 1")
        self.say(CONNECT)
        self.assertEqual(len(self.caller.answers), 1)
        self.assertEqual(self.protection.unwrap(self.heard()), failure(2))
        self.assertClosed(self.caller)
        self.agree(ProtectionLevel.INTEGRITY)
        self.policy.request = Verdict(True, "rule 2")
        self.say(CONNECT)
        self.dialer.dials[-1].refuse(ConnectionRefusedError())
        self.flush()
        self.assertEqual(self.protection.unwrap(self.heard()), failure(5))

    def test_clearRequest(self) -> None:
        """
        A request in clear, where protection was agreed on, is answered by a reset.
        """
        self.listen()
        self.agree(ProtectionLevel.INTEGRITY)
        self.caller.say(CONNECT)
        self.assertEqual(self.caller.answers, [])
        self.assertReset(self.caller)
        self.assertEqual(self.dialer.dials, [])

    def test_violations(self) -> None:
        """
        A frame that was changed, comes again, or in which something was left out before it, one
        that is not sealed, and octets in clear end the session on both sides; nothing that comes
        with them is relayed (R-1961-23, R-1961-27).
        """

        def changed(good: list[bytes]) -> bytes:
            return good[0] + good[1][:-1] + bytes((good[1][-1] ^ 1,))

        def unsealed(good: list[bytes]) -> bytes:
            token = self.context.wrap(b"open", False).message
            return good[0] + good[1] + good[2] + framed(FrameType.ENCAPSULATION, token)

        for violation, reason in (
            (changed, "Message Integrity Check"),
            (lambda good: good[0] + good[0], "duplicate"),
            (lambda good: good[0] + good[2], "expected per-message token"),
            (unsealed, "without the confidentiality"),
            (lambda good: good[0] + b"\x05", "version 0x05"),
            (lambda good: good[0] + b"\x01\x01", "MTYP 0x01"),
            (lambda good: good[0] + b"\x01\xff", "aborted"),
            (lambda good: good[0] + b"\x01\x03\x00\x00", "cannot be unwrapped"),
        ):
            self.events.events.clear()
            self.listen()
            target = self.connect(ProtectionLevel.CONFIDENTIALITY)
            self.caller.say(violation([self.protection.wrap(b"good") for _ in range(3)]))
            self.assertEqual(target.received, b"")
            self.assertReset(target)
            self.assertReset(self.caller)
            self.assertIn(reason, self.events.one("closed")["reason"])
            self.assertOver(self.factory)

    def test_truncated(self) -> None:
        """
        An end within a frame is no regular end; one between frames is passed on (R-1961-28).
        """
        self.listen()
        target = self.connect(ProtectionLevel.INTEGRITY)
        self.caller.say(self.protection.wrap(b"last words")[:-1])
        self.caller.finish()
        self.flush()
        self.assertFalse(target.finished)
        self.assertReset(target)
        target = self.connect(ProtectionLevel.INTEGRITY)
        self.say(b"last words")
        self.caller.finish()
        self.flush()
        self.assertEqual(target.received, b"last words")
        self.assertTrue(target.finished)
        target.send(b"answer")
        self.flush()
        self.assertEqual(self.protection.unwrap(self.heard()), b"answer")

    def test_bind(self) -> None:
        """
        Both replies of a BIND are encapsulated, each in a frame.
        """
        self.listen()
        self.agree(ProtectionLevel.CONFIDENTIALITY)
        self.say(BIND)
        self.assertEqual(len(self.caller.answers), 1)
        self.assertEqual(self.protection.unwrap(self.heard())[:4], b"\x05\x00\x00\x01")
        peer = RecordingPeer()
        connection = self.reactor.tcpPorts[0].connect(peer)
        assert connection is not None
        self.connections.append(connection)
        self.flush()
        self.assertEqual(len(self.caller.answers), 1)
        self.assertEqual(
            self.protection.unwrap(self.heard()), b"\x05\x00\x00\x01\xc0\x00\x02\x01\xc3\x50"
        )
        peer.send(b"from outside")
        self.say(b"from inside")
        self.flush()
        self.assertEqual(self.protection.unwrap(self.heard()), b"from outside")
        self.assertEqual(peer.received, b"from inside")

    def test_contextGoes(self) -> None:
        """
        The context goes with the connection, and nothing about it is sent (R-1961-13).
        """
        contexts: list[Any] = []

        def watch(result: Any) -> Any:
            # The library's own kind cannot be watched.
            context = SecurityContext(base=result.context)
            contexts.append(ref(context))
            return result._replace(context=context)

        self.amend(watch)
        self.listen()
        target = self.connect(ProtectionLevel.INTEGRITY)
        self.assertIsNotNone(contexts[0]())
        target.finish()
        self.flush()
        self.assertEqual(self.heard(), b"")
        self.caller.finish()
        self.flush()
        self.assertOver(self.factory)
        self.assertIsNone(contexts[0]())

    def test_contextGoesInClear(self) -> None:
        """
        Where nothing is protected, the context goes as soon as it is known who the client is.
        """
        contexts: list[Any] = []

        def watch(result: Any) -> Any:
            context = SecurityContext(base=result.context)
            contexts.append(ref(context))
            return result._replace(context=context)

        self.amend(watch)
        self.listen("clear")
        self.establish()
        self.ask(ProtectionLevel.NONE)
        self.assertIsNone(contexts[0]())


class AssociationTests(TicketsTestCase):
    """
    Tests for datagrams under a protection.
    """

    SOURCE = ("192.0.2.1", 40000)
    V4 = Address(ip_address("192.0.2.7"), 53)
    V6 = Address(ip_address("2001:db8::7"), 53)
    NAME = Address("example.com", 53)

    def associate(self, level: ProtectionLevel, flags: int = UNORDERED) -> None:
        """
        Get a client an association.
        """
        self.agree(level, flags)
        self.say(ASSOCIATE)
        self.assertEqual(self.protection.unwrap(self.heard())[:4], b"\x05\x00\x00\x01")
        self.inside = self.reactor.udpPorts[-1]

    def send(self, datagram: Datagram) -> None:
        """
        The client sends a datagram, encapsulated.
        """
        octets = self.protection.wrapDatagram(datagram.octets())
        self.inside.deliver(octets, self.SOURCE)

    def sent(self) -> list[tuple[bytes, tuple[str, int]]]:
        """
        What has gone into the world.
        """
        ports = self.reactor.udpPorts[self.reactor.udpPorts.index(self.inside) + 1 :]
        return [sent for port in ports for sent in port.sent]

    def dropped(self) -> int:
        """
        End the association.

        @return: how many datagrams were dropped.
        """
        self.caller.abort()
        self.flush()
        dropped: int = self.events.named("closed")[-1]["dropped"]
        return dropped

    def test_addresses(self) -> None:
        """
        IPv4, IPv6 and names work, both ways, at each level; each datagram is a frame (R-1961-29).
        """
        self.listen()
        for level in PROTECTING:
            self.associate(level)
            for address in (self.V4, self.V6, self.NAME):
                self.send(Datagram(address, b"to " + str(address).encode()))
            self.assertEqual(
                self.sent(),
                [
                    (b"to 192.0.2.7:53", ("192.0.2.7", 53)),
                    (b"to example.com:53", ("192.0.2.7", 53)),
                    (b"to [2001:db8::7]:53", ("2001:db8::7", 53)),
                ],
            )
            outside = self.reactor.udpPorts[-2:]
            for port, address in zip(outside, (self.V4, self.V6), strict=True):
                port.deliver(b"answer", (str(address.host), 53))
                octets, where = self.inside.sent.pop()
                self.assertEqual(where, self.SOURCE)
                self.assertEqual(octets[:2], b"\x01\x03")
                self.assertEqual(int.from_bytes(octets[2:4], "big"), len(octets) - 4)
                datagram = Datagram.read(self.protection.unwrapDatagram(octets))
                self.assertEqual(datagram, Datagram(address, b"answer"))
            self.assertEqual(self.dropped(), 0)

    def test_fragments(self) -> None:
        """
        Fragments are encapsulated each by itself (R-1928-99).
        """
        self.listen()
        self.associate(ProtectionLevel.CONFIDENTIALITY)
        for fragment, payload in ((1, b"ab"), (2, b"cd"), (0x83, b"ef")):
            self.send(Datagram(self.V4, payload, fragment))
        self.assertEqual(self.sent(), [(b"abcdef", ("192.0.2.7", 53))])

    def test_dropped(self) -> None:
        """
        Datagrams in clear, replayed, changed, cut off, unsealed or of another context are dropped
        and counted; the association and the order of others are not harmed (R-1961-30).
        """
        self.listen()
        self.associate(ProtectionLevel.CONFIDENTIALITY)
        plain = Datagram(self.V4, b"x").octets()
        late = self.protection.wrapDatagram(Datagram(self.V4, b"late").octets())
        good = self.protection.wrapDatagram(Datagram(self.V4, b"good").octets())
        changed = good[:-1] + bytes((good[-1] ^ 1,))
        unsealed = framed(FrameType.ENCAPSULATION, self.context.wrap(plain, False).message)
        for octets in (plain, changed, good[:-1], good + b"\x00", unsealed, good, good, late, late):
            self.inside.deliver(octets, self.SOURCE)
        self.assertEqual([data for data, _ in self.sent()], [b"good", b"late"])
        self.assertEqual(self.dropped(), 7)

    def test_tooLong(self) -> None:
        """
        An answer that no longer fits, once it is encapsulated, is dropped and counted; the
        longest that does is not (R-1961-31).
        """
        self.listen()
        self.associate(ProtectionLevel.CONFIDENTIALITY)
        self.send(Datagram(self.V4, b"question"))
        outside = self.reactor.udpPorts[-1]
        room = self.context.get_wrap_size_limit(65507 - 4, True) - 10
        for size in (room, room + 1, 65507):
            outside.deliver(b"x" * size, ("192.0.2.7", 53))
        self.assertEqual(len(self.inside.sent), 1)
        self.assertLessEqual(len(self.inside.sent[0][0]), 65507)
        self.assertEqual(self.dropped(), 2)

    def test_clear(self) -> None:
        """
        Without protection the datagrams have none, either.
        """
        self.listen("clear")
        self.establish()
        self.assertIs(self.ask(ProtectionLevel.NONE), ProtectionLevel.NONE)
        self.caller.say(ASSOCIATE)
        self.inside = self.reactor.udpPorts[-1]
        self.inside.deliver(Datagram(self.V4, b"question").octets(), self.SOURCE)
        self.assertEqual(self.sent(), [(b"question", ("192.0.2.7", 53))])


class KeytabTests(SynchronousTestCase):
    """
    Tests for what can be wrong with the settings.
    """

    def setUp(self) -> None:
        """
        Live in the realm.
        """
        realm().inhabit(self)

    def assertUnusable(self, expected: str, **options: Any) -> None:
        """
        The settings are refused in one line.
        """
        given = {"keytab": str(realm().keytab)} | options
        error = self.assertRaises(ValueError, GSSAPIAuthenticator, MemoryReactor(), **given)
        self.assertIn(expected, str(error))
        self.assertNotIn("\n", str(error))

    def test_missing(self) -> None:
        """
        A keytab that is not there.
        """
        missing = realm().file()
        self.assertUnusable(
            f"the keytab {str(missing)!r} cannot be read: No such file or directory",
            keytab=str(missing),
        )

    def test_unreadable(self) -> None:
        """
        One that cannot be read; a directory cannot, whoever asks.
        """
        folder = realm().file()
        folder.mkdir()
        self.assertUnusable("cannot be read: Is a directory", keytab=str(folder))

    def test_otherFile(self) -> None:
        """
        A file that is something else, or empty.
        """
        for content in (b"", b"\x05", b"alice:secret\n"):
            other = realm().file()
            other.write_bytes(content)
            self.assertUnusable(f"{str(other)!r} is not a keytab", keytab=str(other))

    def test_writable(self) -> None:
        """
        A keytab that others than its owner can write to: they could let in whom they want.
        """
        for mode in (0o620, 0o602):
            keytab = realm().file()
            shutil.copy(realm().keytab, keytab)
            keytab.chmod(mode)
            self.assertUnusable(f"(mode 0{mode:o}): chmod go-w", keytab=str(keytab))

    def test_readable(self) -> None:
        """
        One that everybody can read will do, with a warning; it is usual for a group to read it
        (S-21).
        """
        events = RecordedEvents(self)
        for mode in (0o600, 0o640, 0o644):
            keytab = realm().file()
            shutil.copy(realm().keytab, keytab)
            keytab.chmod(mode)
            GSSAPIAuthenticator(MemoryReactor(), keytab=str(keytab))
        self.assertEqual(events.one("keytabReadable")["keytab"], str(keytab))

    def test_noKey(self) -> None:
        """
        A keytab without a key.
        """
        empty = realm().file()
        empty.write_bytes(b"\x05\x02")
        self.assertUnusable("has no key that could be used", keytab=str(empty))

    def test_noDefault(self) -> None:
        """
        The default keytab, where there is none.
        """
        realm().inhabit(self, KRB5_KTNAME=str(realm().file()))
        self.assertUnusable("the default keytab has no key", keytab="")

    def test_otherService(self) -> None:
        """
        One that has no key for the service.
        """
        for service in ("nfs", "socks@elsewhere.example.org"):
            self.assertUnusable(f"has no key for {service!r}", service=service)

    def test_noService(self) -> None:
        """
        A service that is none.
        """
        for service in ("socks/localhost", "@localhost", "socks@", "@"):
            self.assertUnusable(f"{service!r} is neither NAME nor NAME@HOST", service=service)

    def test_levels(self) -> None:
        """
        Levels that make no sense.
        """
        self.assertUnusable("there is no level 'secret'", levels=["secret"])

    def test_names(self) -> None:
        """
        Any path will do: relative to where the program is started, with a colon in it.
        """
        folder = realm().file()
        folder.mkdir()
        shutil.copy(realm().keytab, folder / "a:b")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        authenticator = GSSAPIAuthenticator(MemoryReactor(), keytab="a:b")
        os.chdir("/")
        accepting = authenticator.accept(None, initiator().step())
        self.assertTrue(self.successResultOf(accepting).token)


class ThreadTests(TestCase):
    """
    Tests with real threads.
    """

    @inlineCallbacks
    def test_manyAtOnce(self) -> Any:
        """
        Many clients can be judged at once.
        """
        realm().inhabit(self)
        authenticator = GSSAPIAuthenticator(reactor, keytab=str(realm().keytab))
        yield deferToThread(initiator().step)
        contexts = [initiator() for _ in range(40)]
        results = yield gatherResults(
            [authenticator.accept(None, context.step()) for context in contexts]
        )
        for context, result in zip(contexts, results, strict=True):
            context.step(result.token)
            self.assertTrue(context.complete)

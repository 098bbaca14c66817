"""
Tests for L{txsocks5.initiator}: against real tickets, and a server that is played here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.interfaces import Accepted, IConversation, Identity, Refused, Step
from txsocks5.testing import MemoryReactor
from txsocks5.wire import ABORT, Frame, FrameType, Method, ProtectionLevel

from .kerberos import ALICE, REALM, realm, whyNoRealm

WHY_NOT = whyNoRealm()

if WHY_NOT is None:
    from gssapi import Credentials, raw

    from txsocks5 import initiator as module
    from txsocks5.encapsulation import Encapsulation, openLevel, sealLevel
    from txsocks5.initiator import GSSAPIInitiator

NONE = ProtectionLevel.NONE
INTEGRITY = ProtectionLevel.INTEGRITY
CONFIDENTIALITY = ProtectionLevel.CONFIDENTIALITY

TOKEN = FrameType.AUTHENTICATION
LEVEL = FrameType.PROTECTION_LEVEL


class Server:
    """
    The other side, which holds the key.

    @ivar context: its side of the context.

    @ivar asked: the level that it was asked for.
    """

    context: Any
    asked: ProtectionLevel

    def accept(self, message: bytes) -> bytes:
        """
        Hear the first token.

        @return: the answer.
        """
        frame, consumed = Frame.read(message, TOKEN) or self.fail()
        assert consumed == len(message)
        result = raw.accept_sec_context(frame.token)
        self.context = result.context
        self.flags = set(result.flags)
        return Frame(TOKEN, result.token).octets()

    def grant(self, message: bytes, level: ProtectionLevel | None = None) -> bytes:
        """
        Hear the level.

        @param level: what to answer instead of the same.

        @return: the answer.
        """
        frame, consumed = Frame.read(message, LEVEL) or self.fail()
        assert consumed == len(message)
        self.asked = openLevel(self.context, frame.token)
        answer = self.asked if level is None else level
        return Frame(LEVEL, sealLevel(self.context, answer)).octets()

    @staticmethod
    def fail() -> Any:
        """
        A message that should have been whole is not.
        """
        raise AssertionError("not a whole message")


class InitiatorTestCase(SynchronousTestCase):
    """
    A test with tickets of L{ALICE}.
    """

    skip = WHY_NOT

    def setUp(self) -> None:
        """
        Move into the realm.
        """
        realm().inhabit(self)
        self.reactor = MemoryReactor()
        self.server = Server()

    def begin(self, host: str = "localhost", *args: str, **options: Any) -> IConversation:
        """
        Begin with the server.
        """
        self.conversation = GSSAPIInitiator(self.reactor, host, *args, **options).conversation()
        return self.conversation

    def step(self, data: bytes = b"") -> Step:
        """
        Let the client hear something that is answered at once, or in a thread.
        """
        step = self.conversation.received(data)
        result: Step = self.successResultOf(step) if isinstance(step, Deferred) else step
        self.assertIsInstance(result, Step)
        return result

    def establish(self) -> bytes:
        """
        Let both sides come to a context.

        @return: what the client says then.
        """
        answer = self.server.accept(self.step().send)
        step = self.step(answer)
        self.assertEqual((step.consumed, step.outcome), (len(answer), None))
        return step.send

    def agree(self, level: ProtectionLevel | None = None) -> Accepted | Refused | None:
        """
        Let both sides come to an agreement.

        @param level: what the server answers instead of what it is asked for.

        @return: the outcome.
        """
        answer = self.server.grant(self.establish(), level)
        step = self.step(answer)
        self.assertEqual((step.consumed, step.send), (len(answer), b""))
        self.conversation.close()
        return step.outcome

    def assertRefused(self, step: Step, reason: str) -> None:
        """
        This is the bad end, and the server is not told.
        """
        self.assertEqual(step.send, b"")
        self.assertIsInstance(step.outcome, Refused)
        self.assertRegex(step.outcome.reason, reason)


class AgreementTests(InitiatorTestCase):
    """
    Tests for what comes out in the end.
    """

    def protectionOf(self, outcome: Accepted | Refused | None) -> Encapsulation:
        """
        The protection of an outcome, which has to be a good one.
        """
        self.assertIsInstance(outcome, Accepted)
        self.assertEqual(outcome.identity, Identity(f"{ALICE}@{REALM}", Method.GSSAPI))
        self.assertIsInstance(outcome.protection, Encapsulation)
        protection: Encapsulation = outcome.protection
        return protection

    def test_method(self) -> None:
        """
        The method is C{01}.
        """
        self.assertEqual(GSSAPIInitiator(self.reactor, "localhost").method, 1)

    def test_levels(self) -> None:
        """
        The first level is asked for, and what is said behind it is protected so.
        """
        for level in (INTEGRITY, CONFIDENTIALITY):
            self.begin(levels=[level])
            protection = self.protectionOf(self.agree())
            self.assertEqual((self.server.asked, protection.level), (level, level))
            theirs = Encapsulation(self.server.context, level)
            wrapped = protection.wrap(b"\x05\x01\x00 spoken")
            self.assertEqual(b"spoken" in wrapped, level is INTEGRITY)
            self.assertEqual(theirs.unwrap(wrapped), b"\x05\x01\x00 spoken")
            self.assertEqual(protection.unwrap(theirs.wrap(b"heard")), b"heard")

    def test_default(self) -> None:
        """
        Without a word about it confidentiality is asked for, and integrity will do.
        """
        self.begin()
        protection = self.protectionOf(self.agree(INTEGRITY))
        self.assertEqual(self.server.asked, CONFIDENTIALITY)
        self.assertEqual(protection.level, INTEGRITY)

    def test_noProtection(self) -> None:
        """
        A server may leave everything in clear, if that will do.
        """
        self.begin(levels=[CONFIDENTIALITY, NONE])
        outcome = self.agree(NONE)
        self.assertEqual(
            outcome, Accepted(Identity(f"{ALICE}@{REALM}", Method.GSSAPI), protection=None)
        )

    def test_downgrade(self) -> None:
        """
        A server that grants another level than those that will do is left.
        """
        for levels, granted in (
            ([CONFIDENTIALITY], INTEGRITY),
            ([CONFIDENTIALITY, INTEGRITY], NONE),
            ([CONFIDENTIALITY, INTEGRITY], ProtectionLevel.SELECTIVE),
            ([INTEGRITY], CONFIDENTIALITY),
        ):
            self.begin(levels=levels)
            outcome = self.agree(granted)
            self.assertEqual(
                outcome, Refused(f"the server grants only the protection level {granted.name}")
            )

    def test_impossibleLevels(self) -> None:
        """
        At least one level has to do, and it has to say how to protect a message.
        """
        for levels in ([], [CONFIDENTIALITY, ProtectionLevel.SELECTIVE]):
            with self.assertRaises(ValueError):
                GSSAPIInitiator(self.reactor, "localhost", levels=levels)

    def test_otherService(self) -> None:
        """
        The service can be one of another name.
        """
        self.begin("localhost", "rcmd")
        self.protectionOf(self.agree())
        us = raw.inquire_context(self.server.context, target_name=True).target_name
        self.assertEqual(raw.display_name(us).name, f"rcmd/localhost@{REALM}".encode())

    def test_otherUser(self) -> None:
        """
        The tickets can be others than those of the process.
        """
        tickets = realm().login("dave")
        credentials = Credentials(usage="initiate", store={"ccache": str(tickets)})
        self.begin(credentials=credentials)
        outcome = self.agree()
        self.assertIsInstance(outcome, Accepted)
        self.assertEqual(outcome.identity.name, f"dave@{REALM}")


class FlagTests(InitiatorTestCase):
    """
    Tests for what is asked of a context, RFC 1961 section 3.
    """

    def flags(self, **options: Any) -> set[raw.RequirementFlag]:
        """
        What the server sees.
        """
        self.begin(**options)
        self.establish()
        return self.server.flags

    def test_default(self) -> None:
        """
        The server has to show who it is, and nothing counts twice.  Since datagrams may come in
        any order, order is not asked for; and the server cannot act in our name.
        """
        flags = self.flags()
        for flag in ("mutual_authentication", "replay_detection", "integrity", "confidentiality"):
            self.assertIn(raw.RequirementFlag[flag], flags)
        self.assertNotIn(raw.RequirementFlag.out_of_sequence_detection, flags)
        self.assertNotIn(raw.RequirementFlag.delegate_to_peer, flags)

    def test_sequencing(self) -> None:
        """
        Order can be asked for.
        """
        self.assertIn(raw.RequirementFlag.out_of_sequence_detection, self.flags(sequencing=True))

    def test_delegation(self) -> None:
        """
        With tickets that allow it, the server can be allowed to act in our name.
        """
        forwardable = realm().login("erin", "-f")
        credentials = Credentials(usage="initiate", store={"ccache": str(forwardable)})
        for wanted in (False, True):
            flags = self.flags(credentials=credentials, delegation=wanted)
            self.assertEqual(raw.RequirementFlag.delegate_to_peer in flags, wanted)

    def test_withoutConfidentiality(self) -> None:
        """
        Who only wants integrity gets a context.
        """
        self.assertIn(raw.RequirementFlag.integrity, self.flags(levels=[INTEGRITY]))

    def test_lacking(self) -> None:
        """
        A context in which the server has not shown who it is will not do.
        """
        real = raw.init_sec_context

        def careless(
            name: Any, creds: Any, context: Any, mech: Any, flags: Any, **more: Any
        ) -> Any:
            result = real(name, creds, context, mech, flags, **more)
            return result._replace(
                flags={raw.RequirementFlag.replay_detection, raw.RequirementFlag.integrity}
            )

        self.patch(module.raw, "init_sec_context", careless)
        self.begin()
        step = self.step(self.server.accept(self.step().send))
        self.assertRefused(step, "^a context without mutual_authentication$")


class TroubleTests(InitiatorTestCase):
    """
    Tests for what can go wrong.
    """

    def test_aborted(self) -> None:
        """
        A server that says C{01 FF} has refused, at every point.
        """
        self.begin()
        self.step()
        self.assertRefused(self.step(ABORT), "^the peer has aborted$")
        self.begin()
        self.establish()
        self.assertRefused(self.step(ABORT), "^the peer has aborted$")

    def test_noTickets(self) -> None:
        """
        Without tickets nothing is sent.
        """
        realm().inhabit(self, KRB5CCNAME=str(realm().file()))
        self.begin()
        self.assertRefused(self.step(), "No Kerberos credentials available")

    def test_unknownService(self) -> None:
        """
        A proxy that the KDC does not know is not spoken to.
        """
        self.begin("unheard-of.example.org")
        self.assertRefused(self.step(), "not found in Kerberos database")

    def test_impostor(self) -> None:
        """
        A server without the key cannot make up an answer.
        """
        self.begin()
        self.step()
        self.assertRefused(self.step(Frame(TOKEN, b"trust me").octets()), "[Tt]oken")

    def test_answerOfAnother(self) -> None:
        """
        The answer to somebody else is no answer to us.
        """
        self.begin()
        answer = self.server.accept(self.step().send)
        self.begin()
        self.step()
        self.assertRefused(self.step(answer), "[Mm]utual authentication failed")

    def test_emptyToken(self) -> None:
        """
        A server that has nothing to say although its answer is due is left.
        """
        self.begin()
        self.step()
        self.assertRefused(
            self.step(b"\x01\x01\x00\x00"), "^an empty token before the context stands$"
        )

    def test_wrongFrames(self) -> None:
        """
        What is not due, or no frame at all, ends it.
        """
        for message, reason in (
            (b"\x05", "version 0x05"),
            (b"\x01\x02\x00\x01\x02", "MTYP 0x02 instead of 0x01"),
            (b"\x01\x03\x00\x00", "MTYP 0x03 instead of 0x01"),
            (b"HTTP/1.1 400", "version 0x48"),
        ):
            self.begin()
            self.step()
            self.assertRefused(self.step(message), reason)

    def test_levelThatIsNotGenuine(self) -> None:
        """
        A level that somebody on the way has written is not believed.
        """
        for token in (b"\x00", b"\x01" * 60):
            self.begin()
            self.establish()
            self.assertRefused(self.step(Frame(LEVEL, token).octets()), "^cannot be unwrapped: ")

    def test_levelThatIsNone(self) -> None:
        """
        A genuine token that holds no level is refused.
        """
        self.begin()
        self.establish()
        token = raw.wrap(self.server.context, b"\x07", False).message
        self.assertRefused(self.step(Frame(LEVEL, token).octets()), "no protection level 7$")

    def test_tooManyRounds(self) -> None:
        """
        A server that always wants another token is left after ten.
        """
        real = raw.init_sec_context

        def endless(*args: Any, **options: Any) -> Any:
            result = real(*args[:2], None, *args[3:], input_token=None)
            self.assertTrue(result.more_steps)
            return result

        self.patch(module.raw, "init_sec_context", endless)
        self.begin()
        self.step()
        again = Frame(TOKEN, b"once more").octets()
        for _ in range(9):
            self.assertIsNone(self.step(again).outcome)
        self.assertRefused(self.step(again), "^the context does not come to stand$")

    def test_largeToken(self) -> None:
        """
        A ticket that no frame can hold is not cut.
        """
        real = raw.init_sec_context

        def large(*args: Any, **options: Any) -> Any:
            return real(*args, **options)._replace(token=bytes(65536))

        self.patch(module.raw, "init_sec_context", large)
        self.begin()
        self.assertRefused(self.step(), "^cannot be sent: a token of 65536 octets$")


class OctetTests(InitiatorTestCase):
    """
    Tests for how the octets of the server come.
    """

    def assertWaits(self, message: bytes) -> None:
        """
        Until a message is whole, nothing happens.
        """
        for size in range(len(message)):
            self.assertIsNone(self.conversation.received(message[:size]))

    def test_split(self) -> None:
        """
        Messages that come in pieces are heard when they are whole.
        """
        self.begin()
        answer = self.server.accept(self.step().send)
        self.assertWaits(answer)
        answer = self.server.grant(self.step(answer).send)
        self.assertWaits(answer)
        self.assertIsInstance(self.step(answer).outcome, Accepted)

    def test_joined(self) -> None:
        """
        What stands behind a message is left for the next.
        """
        self.begin()
        answer = self.server.accept(self.step().send)
        step = self.step(answer + b"behind")
        self.assertEqual(step.consumed, len(answer))
        answer = self.server.grant(step.send)
        self.assertEqual(self.step(answer + b"behind").consumed, len(answer))


class ThreadTests(InitiatorTestCase):
    """
    Tests for the threads: asking a KDC takes as long as it takes.
    """

    def hold(self) -> None:
        """
        Let nothing in a thread come to an end.
        """
        self.reactor.threads.hold = True

    def test_thread(self) -> None:
        """
        The library is called in a thread.
        """
        self.hold()
        self.begin()
        step = self.conversation.received(b"")
        self.assertNoResult(step)
        self.reactor.threads.release()
        self.server.accept(self.successResultOf(step).send)

    def test_left(self) -> None:
        """
        Who does not wait for the end hears nothing of it.
        """
        self.hold()
        self.begin()
        step = self.conversation.received(b"")
        step.addErrback(lambda failure: failure.type.__name__)
        step.cancel()
        self.conversation.close()
        self.reactor.threads.release()
        self.assertEqual(self.successResultOf(step), "CancelledError")

    def test_bounded(self) -> None:
        """
        A KDC that does not answer holds up only so many threads and connections.
        """
        self.hold()
        initiator = GSSAPIInitiator(self.reactor, "localhost", running=1, waiting=1)
        steps = [initiator.conversation().received(b"") for _ in range(3)]
        self.assertEqual(len(self.reactor.threads.held), 1)
        self.assertRefused(self.successResultOf(steps[2]), "^too many are waiting$")
        finish: Callable[[], None] = self.reactor.threads.release
        finish()
        finish()
        for step in steps[:2]:
            self.assertIsNone(self.successResultOf(step).outcome)

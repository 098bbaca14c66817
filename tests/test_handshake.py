"""
Tests for L{txsocks5.handshake}, through the server that it is part of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import PasswordAuthenticator
from txsocks5.config import Network, Timeouts
from txsocks5.errors import ProtocolError
from txsocks5.interfaces import IAuthenticator, Refused, Step
from txsocks5.stream import Fate, Stream
from txsocks5.testing import PrivateAuthenticator, PrivateProtection, ScriptedAuthenticator
from txsocks5.wire import Command

from .served import (
    ASSOCIATE,
    BIND,
    CONNECT,
    CONNECT_NAME,
    GRANTED,
    GREETING,
    SELECTED,
    Caller,
    ServedTestCase,
    accepted,
    failure,
)
from .wire.values import reproducible

PASSWORD = b"\x05\x01\x02"
CREDENTIALS = b"\x01\x02ab\x03xyz"
SCRIPTED = b"\x05\x01\x81"


class HandshakeTestCase(ServedTestCase):
    """
    A test case for what a client says before it is served.
    """

    def passwords(self) -> IAuthenticator:
        """
        An authenticator that knows the user C{ab} with the password C{xyz}.
        """
        checker = InMemoryUsernamePasswordDatabaseDontUse(ab=b"xyz")
        checker.users = {b"ab": b"xyz"}
        return PasswordAuthenticator(self.reactor, [checker])

    def assertFinished(self, caller: Caller, *answers: bytes) -> None:
        """
        The server has said this, and then FIN at once.
        """
        self.assertEqual(caller.answers, list(answers))
        self.assertEqual(caller.received, b"".join(answers))
        self.assertTrue(caller.finished, "no FIN")
        self.assertEqual(self.dialer.dials, [])
        self.assertEqual(self.reactor.tcpPorts + self.reactor.udpPorts, [])


class SplitTests(HandshakeTestCase):
    """
    Tests for handshakes that come in pieces of any size.
    """

    def pieces(self, data: bytes, cuts: tuple[int, ...]) -> Iterator[bytes]:
        """
        Cut octets into pieces.
        """
        begin = 0
        for end in (*cuts, len(data)):
            yield data[begin:end]
            begin = end

    def served(self, data: bytes, cuts: tuple[int, ...], *authenticators: IAuthenticator) -> None:
        """
        Send a handshake in pieces, and see it lead to the target, with its tail.
        """
        caller = self.call(self.serve(*authenticators))
        for piece in self.pieces(data, cuts):
            caller.say(piece)
        target = self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)
        self.assertEqual(target.received, b"GET")

    def test_octetByOctet(self) -> None:
        """
        A client that sends single octets is served like any other (R-1928-01).
        """
        data = PASSWORD + CREDENTIALS + CONNECT + b"GET"
        self.served(data, tuple(range(1, len(data))), self.passwords())

    def test_everySplitInThree(self) -> None:
        """
        Wherever a handshake is cut in three, the result is the same (R-1928-01).
        """
        data = GREETING + CONNECT_NAME + b"GET"
        for cuts in combinations(range(1, len(data)), 2):
            self.served(data, cuts)

    def test_everySplitWithPassword(self) -> None:
        """
        Wherever one with a password is cut in two, too (R-1928-01).
        """
        data = PASSWORD + CREDENTIALS + CONNECT + b"GET"
        for cut in range(1, len(data)):
            self.served(data, (cut,), self.passwords())

    @reproducible
    @given(st.sets(st.integers(1, 50)))
    def test_anySplitWithProtection(self, cuts: set[int]) -> None:
        """
        However one with an encapsulating method is cut, too: a request that comes in the same
        piece as the end of the method's exchange is still opened (R-1928-01, R-1928-18).
        """
        self.setUp()
        method = PrivateAuthenticator()
        client = method.clientProtection()
        data = b"\x05\x01\x80" + method.message("alice") + client.wrap(CONNECT + b"GET")
        caller = self.call(self.serve(method))
        for piece in self.pieces(data, tuple(sorted(cut for cut in cuts if cut < len(data)))):
            caller.say(piece)
        target = self.answer()
        self.assertEqual(target.received, b"GET")
        self.assertEqual(caller.answers[:2], [b"\x05\x80", bytes([method.key])])
        self.assertEqual(client.unwrap(b"".join(caller.answers[2:])), GRANTED)

    def test_everythingAtOnce(self) -> None:
        """
        A client need not wait for answers: greeting, credentials, request and data can come in one
        piece, and each answer is a write of its own (R-1928-02, R-1928-31).
        """
        caller = self.call(self.serve(self.passwords()))
        caller.say(PASSWORD + CREDENTIALS + CONNECT + b"GET")
        target = self.answer()
        self.assertEqual(caller.answers, [b"\x05\x02", b"\x01\x00", GRANTED])
        self.assertEqual(target.received, b"GET")


class GreetingTests(HandshakeTestCase):
    """
    Tests for the greeting and what comes instead of one.
    """

    def test_selects(self) -> None:
        """
        The selection is two octets, sent as soon as the greeting is whole.
        """
        caller = self.call(self.serve())
        caller.say(b"\x05\x02\x01")
        self.assertEqual(caller.answers, [])
        caller.say(b"\x00")
        self.assertEqual(caller.answers, [SELECTED])

    def test_noAcceptableMethod(self) -> None:
        """
        A client that offers nothing useful gets C{05 FF} and FIN (R-1928-08, R-1928-09).
        """
        for greeting in (b"\x05\x01\x7f", b"\x05\x00", b"\x05\x02\x01\xff"):
            caller = self.call(self.serve())
            caller.say(greeting)
            self.assertFinished(caller, b"\x05\xff")

    def test_passwordIsDue(self) -> None:
        """
        Where a password is due, a client that offers only C{00} gets C{05 FF}, and its request is
        not served (R-1928-11, S-01).
        """
        caller = self.call(self.serve(self.passwords()))
        caller.say(GREETING + CONNECT)
        self.assertFinished(caller, b"\x05\xff")

    def test_otherProtocols(self) -> None:
        """
        Clients of other protocols get not a single octet (R-1928-05).
        """
        for said in (
            b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
            b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\x04\x01\x00\x50\xc0\x00\x02\x07\x00",
            b"\x00",
        ):
            caller = self.call(self.serve())
            caller.say(said)
            self.assertFinished(caller)
        reasons = [event["reason"] for event in self.events.named("malformed")]
        self.assertEqual(len(reasons), 5)
        self.assertIn("HTTP", reasons[0])
        self.assertIn("TLS", reasons[2])
        self.assertIn("SOCKS4", reasons[3])

    def test_nothingBehindAFailureIsRead(self) -> None:
        """
        A greeting behind one that has failed is not answered, in the same piece or a later one
        (S-24).
        """
        for first, answer in ((b"\x05\x01\x7f", [b"\x05\xff"]), (b"\x04", [])):
            caller = self.call(self.serve())
            caller.say(first + GREETING + CONNECT)
            caller.say(GREETING + CONNECT)
            self.assertFinished(caller, *answer)

    def test_finInTheGreeting(self) -> None:
        """
        A client that finishes in the midst of its greeting is closed at once, without a word.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(b"\x05\x02\x00")
        caller.finish()
        caller.connection.flush()
        self.assertFinished(caller)
        self.assertOver(factory)
        self.assertIn("midst of the handshake", self.events.one("closed")["reason"])


class RequestTests(HandshakeTestCase):
    """
    Tests for the request.
    """

    def refused(self, said: bytes, code: int, **options: object) -> None:
        """
        A request is refused with a code, and nothing is done for it.
        """
        caller = self.call(self.serve(**options))
        caller.say(GREETING + said)
        self.assertFinished(caller, SELECTED, failure(code))

    def test_malformed(self) -> None:
        """
        A request that makes no sense is told so, with the code of its first fault
        (R-1928-19, R-1928-20, R-1928-22, R-1928-24, R-1928-30).
        """
        self.refused(b"\x04\x01\x00\x01\xc0\x00\x02\x07\x00\x50", 1)
        self.refused(b"\x01\x02ab\x03xyz", 1)
        self.refused(b"\x05\x09\x00\x01", 7)
        self.refused(b"\x05\x01\x00\x02", 8)
        self.refused(b"\x05\x01\x00\x03\x00\x00\x50", 1)
        self.refused(b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x00", 1)

    def test_nulInName(self) -> None:
        """
        A name with a NUL in it is refused without a look-up (R-1928-26).
        """
        self.refused(b"\x05\x01\x00\x03\x0b127.0.0.1\0x\x00\x50", 1)
        self.assertEqual(self.resolver.asked, [])

    def test_commandSwitchedOff(self) -> None:
        """
        A command that is switched off is answered with C{07} (R-1928-20).
        """
        network = Network(commands=frozenset({Command.CONNECT}))
        self.refused(BIND, 7, network=network)
        self.refused(ASSOCIATE, 7, network=network)

    def test_strict(self) -> None:
        """
        RSV is ignored unless the server is strict (R-1928-21).
        """
        said = CONNECT.replace(b"\x05\x01\x00", b"\x05\x01\x01")
        self.refused(said, 1, network=Network(strict=True))
        caller = self.call(self.serve())
        caller.say(GREETING + said)
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)

    def test_finInTheRequest(self) -> None:
        """
        A client that finishes in the midst of its request is closed at once.
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT[:-1])
        caller.finish()
        caller.connection.flush()
        self.assertFinished(caller, SELECTED)
        self.assertOver(factory)

    def test_finWithTheRequest(self) -> None:
        """
        A client that finishes right behind its request and some data is served: the target gets
        the data and FIN, the client the answer (R-1928-47, R-1928-49).
        """
        caller = self.call(self.serve())
        caller.send(GREETING + CONNECT + b"question")
        caller.finish()
        caller.connection.flush()
        target = self.answer()
        self.assertEqual(target.received, b"question")
        self.assertTrue(target.finished)
        target.send(b"answer")
        self.flush()
        self.assertEqual(caller.received, SELECTED + GRANTED + b"answer")

    def test_finBeforeTheAnswerOfTheMethod(self) -> None:
        """
        So is one whose authentication takes its time, and that has sent everything and FIN
        meanwhile.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.call(self.serve(ScriptedAuthenticator(judged)))
        caller.send(SCRIPTED + CONNECT + b"question")
        caller.finish()
        caller.connection.flush()
        self.assertEqual(caller.answers, [b"\x05\x81"])
        judged.callback(accepted())
        self.flush()
        target = self.answer()
        self.assertEqual(target.received, b"question")
        self.assertTrue(target.finished)

    def test_finInsteadOfTheRequest(self) -> None:
        """
        If all that comes behind the authentication is FIN, that is the end.
        """
        judged: Deferred[Step] = Deferred()
        factory = self.serve(ScriptedAuthenticator(judged))
        caller = self.call(factory)
        caller.send(SCRIPTED)
        caller.finish()
        caller.connection.flush()
        self.assertFalse(caller.finished)
        judged.callback(accepted())
        self.flush()
        self.assertFinished(caller, b"\x05\x81")
        self.assertOver(factory)


class ConversationTests(HandshakeTestCase):
    """
    Tests for how an authenticator's conversation is led.
    """

    def begin(self, *answers: object, said: bytes = SCRIPTED) -> Caller:
        """
        Select a scripted method.
        """
        self.method = ScriptedAuthenticator(*answers)  # type: ignore[arg-type]
        self.factory = self.serve(self.method)
        caller = self.call(self.factory)
        caller.say(said)
        return caller

    @property
    def heard(self) -> list[bytes]:
        """
        What the conversation was told.
        """
        return self.method.conversations[0].heard

    def test_serverSpeaksFirst(self) -> None:
        """
        A conversation is called at once, with nothing, so that a method can begin with a
        challenge; its answer is one write (R-1928-02).
        """
        caller = self.begin(Step(0, b"challenge"), None, accepted(8, b"welcome"))
        self.assertEqual(caller.answers, [b"\x05\x81", b"challenge"])
        caller.say(b"resp")
        caller.say(b"onse" + CONNECT)
        self.assertEqual(self.heard, [b"", b"resp", b"response" + CONNECT])
        self.assertEqual(caller.answers[2:], [b"welcome"])
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)

    def test_serverSpeaksFirstToAHastyClient(self) -> None:
        """
        It makes no difference whether the client has said its part before it was challenged, in
        the same piece as the greeting, say (R-1928-01).
        """
        caller = self.begin(
            Step(0, b"challenge"), accepted(8, b"welcome"), said=SCRIPTED + b"response" + CONNECT
        )
        self.assertEqual(caller.answers, [b"\x05\x81", b"challenge", b"welcome"])
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)

    def test_serverSpeaksFirstAndLate(self) -> None:
        """
        Nor whether it has said its part while the challenge was being made (R-1928-01).
        """
        for challenge in (b"challenge", b""):
            made: Deferred[Step] = Deferred()
            caller = self.begin(made, accepted(8))
            caller.say(b"response")
            made.callback(Step(0, challenge))
            self.assertEqual(self.heard, [b"", b"response"])
            caller.say(CONNECT)
            self.answer()
            self.assertEqual(caller.answers[-1], GRANTED)

    def test_stepThatTakesNothing(self) -> None:
        """
        A step that takes nothing and says nothing waits for more octets, like none at all.
        """
        caller = self.begin(None, Step(0), Step(0), accepted(2))
        caller.say(b"a")
        self.assertEqual(self.heard, [b"", b"a"])
        caller.say(b"b")
        self.assertEqual(self.heard, [b"", b"a", b"ab"])

    def test_severalSteps(self) -> None:
        """
        What a step leaves is heard again in the next, at once if there is something.
        """
        caller = self.begin(None, Step(3, b"1"), Step(3, b"2"), accepted(3, b"3"))
        caller.say(b"onetwoend" + CONNECT)
        self.assertEqual(
            self.heard, [b"", b"onetwoend" + CONNECT, b"twoend" + CONNECT, b"end" + CONNECT]
        )
        self.assertEqual(caller.answers, [b"\x05\x81", b"1", b"2", b"3"])
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)

    def test_stepThatTakesAll(self) -> None:
        """
        After a step that has taken everything, the next waits for more.
        """
        caller = self.begin(None, Step(3), accepted(3))
        caller.say(b"one")
        self.assertEqual(self.heard, [b"", b"one"])
        caller.say(b"end" + CONNECT)
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)

    def test_refused(self) -> None:
        """
        A client that is refused hears what the method says, and then FIN; its request is never
        read, even if it is there already (S-01, S-24).
        """
        caller = self.begin(None, Step(4, b"no", Refused("wrong", "bob")))
        caller.say(b"name" + CONNECT)
        caller.say(CONNECT)
        self.assertFinished(caller, b"\x05\x81", b"no")
        event = self.events.one("unauthenticated")
        self.assertEqual((event["user"], event["reason"]), ("bob", "wrong"))
        self.assertEqual(self.method.conversations[0].closed, 1)

    def test_wrongPassword(self) -> None:
        """
        A request behind a wrong password is not served, and the status is one write
        (R-1928-02, S-01).
        """
        caller = self.call(self.serve(self.passwords()))
        caller.say(PASSWORD + b"\x01\x02ab\x03abc" + CONNECT)
        self.advance(1)
        caller.say(CONNECT)
        self.assertFinished(caller, b"\x05\x02", b"\x01\x01")

    def test_later(self) -> None:
        """
        A conversation can take its time; it is not called meanwhile, and what comes is kept.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(None, judged)
        caller.say(b"name")
        caller.say(CONNECT)
        caller.say(b"GET")
        self.assertEqual(self.heard, [b"", b"name"])
        judged.callback(accepted(4, b"yes"))
        self.flush()
        self.assertEqual(caller.answers, [b"\x05\x81", b"yes"])
        target = self.answer()
        self.assertEqual(target.received, b"GET")

    def test_laterStep(self) -> None:
        """
        A step that comes later need not be the last, and the next is called if there is more.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(None, judged, accepted(3))
        caller.say(b"name")
        caller.say(b"end" + CONNECT)
        judged.callback(Step(4, b"go on"))
        self.flush()
        self.assertEqual(self.heard, [b"", b"name", b"end" + CONNECT])
        self.answer()
        self.assertEqual(caller.answers, [b"\x05\x81", b"go on", GRANTED])

    def test_laterStepWaits(self) -> None:
        """
        After one that has taken everything, the client is heard on.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(None, judged, accepted(3))
        caller.say(b"name")
        judged.callback(Step(4, b"go on"))
        caller.say(b"end" + CONNECT)
        self.assertEqual(self.heard, [b"", b"name", b"end" + CONNECT])

    def test_finBeforeALaterStep(self) -> None:
        """
        If the client has finished before a step that waits for more, that is the end.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(None, judged)
        caller.say(b"name")
        caller.finish()
        self.flush()
        judged.callback(Step(4, b"go on"))
        self.flush()
        self.assertFinished(caller, b"\x05\x81", b"go on")
        self.assertOver(self.factory)

    def test_noStep(self) -> None:
        """
        A conversation that answers with something else than a step has a fault like any other;
        at once or later.
        """
        later: Deferred[object] = Deferred()
        for answer in (True, later):
            caller = self.begin(answer)
            if answer is later:
                later.callback(b"yes")
                self.flush()
            self.assertFinished(caller, b"\x05\x81")
        self.assertEqual(len(self.events.named("broken")), 2)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_answersWhenItIsCancelled(self) -> None:
        """
        A conversation that is cancelled since the client has left may still come to an end of its
        own.  Nobody hears of it.
        """
        ends: list[Callable[[Deferred[Step]], None]] = [
            lambda judged: judged.callback(accepted()),
            lambda judged: judged.callback(Step(0, b"no", Refused("wrong"))),
            lambda judged: judged.errback(ZeroDivisionError()),
        ]
        for end in ends:
            caller = self.begin(Deferred(end))
            caller.abort()
            self.flush()
            self.assertOver(self.factory)
        self.assertEqual(self.events.named("unauthenticated"), [])
        self.assertEqual(self.events.named("broken"), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelledByItself(self) -> None:
        """
        A conversation that somebody else cancels has failed: the client does not wait for it.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        judged.cancel()
        self.flush()
        self.assertFinished(caller, b"\x05\x81")
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_refusedLater(self) -> None:
        """
        A refusal can come later, too.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        caller.say(CONNECT)
        judged.callback(Step(0, b"no", Refused("wrong")))
        self.flush()
        self.assertFinished(caller, b"\x05\x81", b"no")

    def test_tooMuchAhead(self) -> None:
        """
        What a client sends while the conversation takes its time is kept up to 64 KiB; then it is
        not read until the conversation goes on (R-1928-04, R-1928-31).
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        data = bytes(range(256)) * 1000
        caller.say(CONNECT + data)
        self.assertGreaterEqual(caller.connection.client.buffered, len(data) - 3 * 65536)
        judged.callback(accepted())
        self.flush()
        target = self.answer()
        self.assertEqual(target.received, data)

    def test_endlessMessage(self) -> None:
        """
        A conversation that wants more and more gets no more than the longest message that there
        is: 65539 octets (R-1928-04).
        """
        caller = self.begin()
        caller.say(b"x" * 65539)
        self.assertFalse(caller.finished)
        caller.say(b"x")
        self.assertFinished(caller, b"\x05\x81")
        self.assertIn("too long", self.events.one("malformed")["reason"])

    def test_malformed(self) -> None:
        """
        A client that breaks the rules of the method is closed without a word.
        """
        caller = self.begin(None, ProtocolError("rubbish"))
        caller.say(b"?" + CONNECT)
        self.assertFinished(caller, b"\x05\x81")
        self.assertEqual(self.events.one("malformed")["reason"], "rubbish")
        self.assertEqual(self.method.conversations[0].closed, 1)

    def test_malformedLater(self) -> None:
        """
        That can turn out later, and is still no fault of the server.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        judged.errback(ProtocolError("rubbish"))
        self.flush()
        self.assertFinished(caller, b"\x05\x81")
        self.assertEqual(self.events.named("broken"), [])

    def test_broken(self) -> None:
        """
        A conversation with a fault lets nobody in; the fault is logged (S-01).
        """
        judged: Deferred[Step] = Deferred()
        for answer in (ZeroDivisionError(), judged):
            caller = self.begin(answer, said=SCRIPTED + CONNECT)
            if not judged.called and answer is judged:
                judged.errback(ZeroDivisionError())
            self.flush()
            self.assertFinished(caller, b"\x05\x81")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.events.named("broken")), 2)

    def test_clientLeaves(self) -> None:
        """
        If the client leaves, a conversation that takes its time is cancelled and closed.
        """
        cancelled: list[object] = []
        judged: Deferred[Step] = Deferred(cancelled.append)
        caller = self.begin(judged)
        caller.abort()
        self.flush()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.method.conversations[0].closed, 1)
        self.assertOver(self.factory)
        self.assertEqual(self.events.named("malformed"), [])

    def test_cancellingFails(self) -> None:
        """
        A conversation that fails when it is cancelled keeps nobody from ending; the fault is
        logged.
        """
        judged: Deferred[Step] = Deferred(lambda judged: 1 // 0)
        caller = self.begin(judged)
        caller.abort()
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.names[-2:], ["broken", "closed"])
        self.assertEqual(self.method.conversations[0].closed, 1)
        self.assertOver(self.factory)

    def test_clientLeavesInTheSecondStep(self) -> None:
        """
        That holds if the step before came by a Deferred that had fired already.
        """
        cancelled: list[object] = []
        judged: Deferred[Step] = Deferred(cancelled.append)
        caller = self.begin(None, succeed(Step(3)), judged)
        caller.say(b"onetwo")
        self.assertEqual(self.heard, [b"", b"onetwo", b"two"])
        caller.abort()
        self.flush()
        self.assertEqual(len(cancelled), 1)

    def test_protectedAndTruncated(self) -> None:
        """
        A client that is let in after it has finished in the midst of an encapsulated message is
        aborted, and nothing is done for it: what it has sent was cut off.
        """
        for cut in (1, -1):
            judged: Deferred[Step] = Deferred()
            caller = self.begin(judged)
            client = PrivateProtection(1, server=False)
            caller.send(client.wrap(CONNECT) + client.wrap(b"data")[:cut])
            caller.finish()
            self.flush()
            judged.callback(accepted(protection=PrivateProtection(1, server=True)))
            self.flush()
            self.assertEqual(self.dialer.dials, [])
            self.assertOver(self.factory)
            self.assertIn("midst", self.events.named("closed")[-1]["reason"])

    def test_protectionThatFails(self) -> None:
        """
        A protection with a fault, which does not open what has come before it was agreed on, ends
        the session visibly; the fault is logged, and nobody is served.
        """
        judged: Deferred[Step] = Deferred()
        protection = PrivateProtection(1, server=True)
        self.patch(protection, "unwrap", lambda data: data[len(data)])
        caller = self.begin(judged, said=SCRIPTED + CONNECT)
        judged.callback(accepted(protection=protection))
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.assertEqual(self.events.names[-2:], ["broken", "closed"])
        self.assertReset(caller)
        self.assertEqual(self.dialer.dials, [])
        self.assertEqual(protection.closed, 1)
        self.assertOver(self.factory)

    def test_protectedAndFinished(self) -> None:
        """
        If it has finished behind a whole message, it is served.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        client = PrivateProtection(1, server=False)
        caller.send(client.wrap(CONNECT) + client.wrap(b"data"))
        caller.finish()
        self.flush()
        judged.callback(accepted(protection=PrivateProtection(1, server=True)))
        self.flush()
        target = self.answer()
        self.assertEqual(target.received, b"data")
        self.assertTrue(target.finished)

    def test_protectedAndFinishedWithoutRequest(self) -> None:
        """
        If it has finished without a request, that is the end.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        caller.finish()
        self.flush()
        judged.callback(accepted(protection=PrivateProtection(1, server=True)))
        self.flush()
        self.assertFinished(caller, b"\x05\x81")
        self.assertOver(self.factory)

    def test_noConversation(self) -> None:
        """
        If the authenticator fails when a conversation is to begin, nobody is let in, and nothing
        is left of the client.
        """
        method = ScriptedAuthenticator()
        self.patch(method, "conversation", lambda client: 1 / 0)
        factory = self.serve(method)
        caller = self.call(factory)
        caller.say(SCRIPTED + CONNECT)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.names[-1], "broken")
        self.assertFinished(caller, b"\x05\x81")
        self.assertClosed(caller)
        self.assertOver(factory)

    def test_closingFails(self) -> None:
        """
        A conversation that fails when it is closed keeps nobody from ending; the fault is logged.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.begin(judged)
        self.patch(self.method.conversations[0], "close", lambda: 1 / 0)
        judged.errback(ProtocolError("rubbish"))
        self.flush()
        self.assertFinished(caller, b"\x05\x81")
        self.assertClosed(caller)
        self.assertOver(self.factory)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.names[-3:], ["malformed", "broken", "closed"])

    def test_closedOnce(self) -> None:
        """
        A conversation that has let the client in is closed at once, and once.
        """
        caller = self.begin(accepted())
        self.assertEqual(self.method.conversations[0].closed, 1)
        caller.say(CONNECT)
        target = self.answer()
        target.abort()
        self.flush()
        self.assertEqual(self.method.conversations[0].closed, 1)


class DeadlineTests(HandshakeTestCase):
    """
    Tests for slow clients.
    """

    def test_oneDeadline(self) -> None:
        """
        A client has 30 seconds for the whole handshake, however busy it is; then the connection
        is closed without a word (R-1928-03, S-11).
        """
        factory = self.serve()
        caller = self.call(factory)
        for octet in GREETING + CONNECT[:-1]:
            self.advance(2.4)
            caller.say(bytes((octet,)))
        self.assertEqual(caller.answers, [SELECTED])
        self.advance(2.4)
        self.assertFinished(caller, SELECTED)
        self.assertClosed(caller)
        self.assertEqual(self.events.one("closed")["reason"], "handshake took too long")
        self.assertOver(factory)

    def test_silence(self) -> None:
        """
        That holds for one that says nothing.
        """
        factory = self.serve(timeouts=Timeouts(handshake=5))
        caller = self.call(factory)
        self.advance(4.9)
        self.assertFalse(caller.finished)
        self.advance(0.2)
        self.assertFinished(caller)
        # ... and does not close either.
        self.advance(3)
        self.assertOver(factory)

    def test_slowPassword(self) -> None:
        """
        That holds while a conversation takes its time, which is then cancelled.
        """
        cancelled: list[object] = []
        judged: Deferred[Step] = Deferred(cancelled.append)
        caller = self.call(self.serve(ScriptedAuthenticator(judged)))
        caller.say(SCRIPTED)
        self.advance(31)
        self.assertFinished(caller, b"\x05\x81")
        self.assertEqual(len(cancelled), 1)

    def test_requestIsTheEnd(self) -> None:
        """
        Once the request is there, other limits count.
        """
        caller = self.call(self.serve(timeouts=Timeouts(handshake=5, connect=60)))
        caller.say(GREETING + CONNECT)
        self.advance(50)
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)
        self.advance(100)
        self.assertFalse(caller.finished)

    def test_noDeadline(self) -> None:
        """
        With a limit of 0 the client has for ever.
        """
        caller = self.call(self.serve(timeouts=Timeouts(handshake=0)))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.advance(1000)
        caller.say(GREETING)
        self.assertEqual(caller.answers, [SELECTED])


class AheadTests(HandshakeTestCase):
    """
    Tests for what a client sends before it may.
    """

    def test_keptInOrder(self) -> None:
        """
        Data that come while the server is connecting go to the target first, and in order
        (R-1928-31).
        """
        caller = self.call(self.serve())
        caller.say(GREETING + CONNECT + b"one ")
        caller.say(b"two ")
        caller.sayEach(b"three ")
        target = self.answer()
        caller.say(b"four")
        self.flush()
        self.assertEqual(target.received, b"one two three four")

    def test_bounded(self) -> None:
        """
        While the server is connecting, at most 64 KiB and one read are taken; the rest waits with
        the client, and comes when the target is there (R-1928-31, S-11).
        """
        data = bytes(range(256)) * 2000
        caller = self.call(self.serve(), capacity=10_000, readSize=5000)
        caller.say(GREETING + CONNECT + data)
        self.assertGreater(caller.connection.client.buffered, len(data) - 90_000)
        self.assertFalse(caller.connection.server.reading)
        target = self.answer()
        self.assertEqual(target.received, data)

    def full(self, said: bytes) -> Caller:
        """
        A client that has sent so much ahead that it is not read.
        """
        caller = self.call(self.serve(ScriptedAuthenticator(Deferred())))
        caller.say(said + b"x" * 65536)
        self.assertFalse(caller.connection.server.reading)
        return caller

    def test_resetUnread(self) -> None:
        """
        A client that has sent too much ahead and is gone is noticed, though not at once, and what
        was done for it is cancelled (R-1928-47).
        """
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT + b"x" * 65536)
        self.advance(5)
        self.assertFalse(self.dialer.dials[0].cancelled)
        self.patch(Stream, "fate", lambda stream: Fate.RESET)
        self.advance(1)
        self.assertTrue(self.dialer.dials[0].cancelled)
        self.assertOver(factory)

    def test_finUnread(self) -> None:
        """
        If it has only finished, it gets what it has asked for (R-1928-47).
        """
        caller = self.call(self.serve(timeouts=Timeouts(handshake=0)))
        caller.say(GREETING + CONNECT + b"x" * 65536)
        self.patch(Stream, "fate", lambda stream: Fate.FINISHED)
        self.advance(10)
        target = self.answer()
        self.assertEqual(target.received, b"x" * 65536)
        self.advance(2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        other = self.full(SCRIPTED)
        self.advance(10)
        self.assertFalse(other.finished)

    def test_openUnread(self) -> None:
        """
        As long as it is there, nothing happens, and nobody asks any more once it is read again.
        """
        judged: Deferred[Step] = Deferred()
        caller = self.call(
            self.serve(ScriptedAuthenticator(judged), timeouts=Timeouts(handshake=0))
        )
        caller.say(SCRIPTED + CONNECT + b"x" * 65536)
        self.advance(5)
        self.assertFalse(caller.finished)
        judged.callback(accepted())
        self.flush()
        self.answer()
        self.assertEqual(caller.answers[-1], GRANTED)
        self.advance(2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_droppedOnFailure(self) -> None:
        """
        They are dropped if there is no target (R-1928-31), and the reply is still delivered
        (R-1928-41).
        """
        caller = self.call(self.serve(), capacity=200_000)
        caller.send(GREETING + CONNECT + b"x" * 65536 + GREETING + CONNECT)
        self.flush()
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.flush()
        self.assertEqual(caller.answers, [SELECTED, failure(5)])
        self.assertEqual(caller.received, SELECTED + failure(5))
        self.assertEqual(len(self.dialer.dials), 1)


class OneSessionTests(SynchronousTestCase):
    """
    Tests that need no fakes.
    """

    def test_fixturesAreTheDocumentedOctets(self) -> None:
        """
        The octets in these tests are those of the protocol's examples.
        """
        self.assertEqual(GRANTED.hex(" "), "05 00 00 01 c6 33 64 01 9c 40")
        self.assertEqual(
            CONNECT_NAME.hex(" "), "05 01 00 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb"
        )

"""
Tests for L{txsocks5.names}.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.internet import reactor as installedReactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.names import authority, dns, server
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsocks5 import answers
from txsocks5.errors import NameNotResolved, Overloaded
from txsocks5.interfaces import IFairResolver, IResolver
from txsocks5.names import NameServer, NoSuchName, followed
from txsocks5.testing import MemoryReactor, RecordedEvents, RecordingPeer
from txsocks5.wire import Address, IPAddress

SERVER = Address(ip_address("192.0.2.53"), 53)
FOUR, SIX = "192.0.2.80", "2001:db8::80"


def a(address: str, name: str = "host.invalid", ttl: int = 60) -> dns.RRHeader:
    """
    A record with an IPv4 address.
    """
    return dns.RRHeader(name, dns.A, dns.IN, ttl, dns.Record_A(address))


def aaaa(address: str, name: str = "host.invalid", ttl: int = 60) -> dns.RRHeader:
    """
    A record with an IPv6 address.
    """
    return dns.RRHeader(name, dns.AAAA, dns.IN, ttl, dns.Record_AAAA(address))


def cname(target: str, name: str = "host.invalid", ttl: int = 60) -> dns.RRHeader:
    """
    A record with an alias.
    """
    return dns.RRHeader(name, dns.CNAME, dns.IN, ttl, dns.Record_CNAME(target))


class Question:
    """
    What a server has been asked by datagram.

    @ivar name: the name.

    @ivar kind: the type of the records that are wanted.
    """

    def __init__(self, port: Any, data: bytes, where: tuple[str, int]) -> None:
        self._port = port
        self._where = where
        self.message = dns.Message()
        self.message.fromStr(data)
        [query] = self.message.queries
        self.name = query.name.name.decode("ascii")
        self.kind = query.type

    def answer(self, *records: dns.RRHeader, code: int = dns.OK, truncated: bool = False) -> None:
        """
        Answer.
        """
        reply = dns.Message(self.message.id, answer=1, rCode=code, trunc=truncated, maxSize=0)
        reply.queries = self.message.queries
        reply.answers = list(records)
        self._port.deliver(reply.toStr(), self._where)


class NamesFixture(SynchronousTestCase):
    """
    A name server that does what the test says.
    """

    def setUp(self) -> None:
        """
        Have one to ask.
        """
        self.reactor = MemoryReactor()
        self.names = NameServer(self.reactor, SERVER)
        self.looked: list[Deferred[Sequence[IPAddress]]] = []

    def tearDown(self) -> None:
        """
        In the end all sockets are closed, whoever has been left without an answer.
        """
        for looked in self.looked:
            looked.addErrback(lambda reason: None)
        for _ in range(10):
            self.reactor.advance(5)
        self.assertEqual([port for port in self.reactor.udpPorts if port.listening], [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def questions(self) -> list[Question]:
        """
        What is being asked now and has not been answered.
        """
        return [
            Question(port, *port.sent[-1])
            for port in self.reactor.udpPorts
            if port.listening and port.sent
        ]

    def question(self, kind: int) -> Question:
        """
        The only question of a kind.
        """
        [found] = [question for question in self.questions() if question.kind == kind]
        return found

    def answer(self, *records: dns.RRHeader, code: int = dns.OK) -> None:
        """
        Answer all that is asked with those of C{records} that fit.
        """
        for question in self.questions():
            fitting = [each for each in records if each.type in (question.kind, dns.CNAME)]
            question.answer(*fitting, code=code)

    def resolve(self, name: str = "host.invalid") -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name.
        """
        looked = self.names.resolve(name)
        self.looked.append(looked)
        return looked

    def resolveFor(self, client: str, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name on behalf of a client.
        """
        address: Any = ip_address(client)
        looked = self.names.resolveFor(address, name)
        self.looked.append(looked)
        return looked

    def assertFound(self, looked: Deferred[Sequence[IPAddress]], *addresses: str) -> None:
        """
        A look-up has led to these addresses.
        """
        found = self.successResultOf(looked)
        self.assertEqual(list(found), [ip_address(address) for address in addresses])


class AskingTests(NamesFixture):
    """
    One name, from the question to the addresses.
    """

    def test_interface(self) -> None:
        """
        It is a resolver, which is fair to clients.
        """
        self.assertTrue(IFairResolver.providedBy(self.names))
        self.assertTrue(IResolver.providedBy(self.names))

    def test_both(self) -> None:
        """
        Both families are asked for at the same time, and recursion is wanted.
        """
        looked = self.resolve()
        self.assertEqual(
            [(question.name, question.kind) for question in self.questions()],
            [("host.invalid", dns.A), ("host.invalid", dns.AAAA)],
        )
        for port in self.reactor.udpPorts:
            self.assertEqual([where for _, where in port.sent], [("192.0.2.53", 53)])
        self.assertTrue(all(question.message.recDes for question in self.questions()))
        self.answer(a(FOUR), a("192.0.2.81"), aaaa(SIX))
        self.assertFound(looked, FOUR, "192.0.2.81", SIX)

    def test_ports(self) -> None:
        """
        Each question has a socket of its own, and another number.
        """
        self.resolve()
        self.resolve("other.invalid")
        ports = {port.port for port in self.reactor.udpPorts}
        ids = {question.message.id for question in self.questions()}
        self.assertEqual((len(ports), len(ids)), (4, 4))

    def test_families(self) -> None:
        """
        A family that is not wanted is not asked for.
        """
        self.names = NameServer(self.reactor, SERVER, families=[6])
        looked = self.resolve()
        self.assertEqual([question.kind for question in self.questions()], [dns.AAAA])
        self.answer(aaaa(SIX))
        self.assertFound(looked, SIX)

    def test_serverOfIPv6(self) -> None:
        """
        A server may have an IPv6 address, and any port.
        """
        self.names = NameServer(self.reactor, Address(ip_address("::1"), 5353))
        looked = self.resolve()
        self.assertEqual([port.interface for port in self.reactor.udpPorts], ["::", "::"])
        self.assertEqual(self.reactor.udpPorts[0].sent[0][1], ("::1", 5353))
        self.answer(a(FOUR))
        self.assertFound(looked, FOUR)

    def test_mapped(self) -> None:
        """
        An IPv4-mapped address is the IPv4 address, and counts once.
        """
        looked = self.resolve()
        self.answer(a(FOUR), aaaa(f"::ffff:{FOUR}"))
        self.assertFound(looked, FOUR)

    def test_many(self) -> None:
        """
        A name belongs to a stranger: of each family no more than 64 addresses are kept.
        """
        records = [a(str(ip_address("10.0.0.0") + number)) for number in range(100)]
        looked = self.resolve()
        self.answer(*records)
        self.assertEqual(len(self.successResultOf(looked)), 64)

    def test_oneFamily(self) -> None:
        """
        A family without addresses is no failure.
        """
        looked = self.resolve()
        self.answer(aaaa(SIX))
        self.assertFound(looked, SIX)

    def test_oneFamilyFails(self) -> None:
        """
        Nor is one of which the server does not tell.
        """
        looked = self.resolve()
        self.question(dns.AAAA).answer(code=dns.ESERVER)
        self.question(dns.A).answer(a(FOUR))
        self.assertFound(looked, FOUR)

    def test_slowFamily(self) -> None:
        """
        A family that is slower than the other is waited for, but not long.
        """
        looked = self.resolve()
        self.question(dns.A).answer(a(FOUR))
        self.reactor.advance(0.4)
        self.assertNoResult(looked)
        self.question(dns.AAAA).answer(aaaa(SIX))
        self.assertFound(looked, FOUR, SIX)
        looked = self.resolve("other.invalid")
        self.question(dns.AAAA).answer(aaaa(SIX, "other.invalid"))
        self.reactor.advance(0.5)
        self.assertFound(looked, SIX)

    def test_noName(self) -> None:
        """
        A name that does not exist is one thing, a name without addresses as good as another.
        """
        for records, code in (([], dns.ENAME), ([], dns.OK), ([a(FOUR, "x.invalid")], dns.OK)):
            self.setUp()
            looked = self.resolve()
            self.answer(*records, code=code)
            self.failureResultOf(looked, NoSuchName)

    def test_noAnswer(self) -> None:
        """
        A server that does not answer is asked again, and then given up.
        """
        looked = self.resolve()
        self.reactor.advance(1.5)
        self.assertEqual(len(self.questions()), 2)
        self.assertEqual(len(self.reactor.udpPorts), 4)
        self.reactor.advance(3.4)
        self.assertNoResult(looked)
        self.reactor.advance(0.1)
        error = self.failureResultOf(looked, NameNotResolved).value
        self.assertNotIsInstance(error, NoSuchName)
        self.assertIn("192.0.2.53:53 does not tell of host.invalid", str(error))

    def test_secondAnswer(self) -> None:
        """
        If only the first datagram is lost, nothing is.
        """
        looked = self.resolve()
        self.reactor.advance(1.5)
        self.answer(a(FOUR), aaaa(SIX))
        self.assertFound(looked, FOUR, SIX)

    def test_refused(self) -> None:
        """
        What is wrong with the server is not what is wrong with the name, even if one family does
        not exist.
        """
        for code in (dns.ESERVER, dns.EREFUSED, dns.EFORMAT, dns.ENOTIMP, 15):
            self.setUp()
            looked = self.resolve()
            self.question(dns.A).answer()
            self.question(dns.AAAA).answer(code=code)
            error = self.failureResultOf(looked, NameNotResolved).value
            self.assertNotIsInstance(error, NoSuchName)

    def test_unsendable(self) -> None:
        """
        What cannot be sent is not waited for.
        """

        def refuse(*arguments: Any, **others: Any) -> Any:
            port = MemoryReactor.listenUDP(self.reactor, *arguments, **others)
            port.refusal = OSError(errno.ENETUNREACH, "no route")
            return port

        self.patch(self.reactor, "listenUDP", refuse)
        self.failureResultOf(self.resolve(), NameNotResolved)

    def test_noSocket(self) -> None:
        """
        Without a file descriptor to ask with it is the server that has too much to do.
        """
        for number, kind in ((errno.EMFILE, Overloaded), (errno.EACCES, NameNotResolved)):

            def refuse(port: int, *arguments: Any, number: int = number, **options: Any) -> Any:
                raise CannotListenError("", port, OSError(number, "no"))

            self.patch(self.reactor, "listenUDP", refuse)
            self.failureResultOf(self.resolve(f"{number}.invalid"), kind)

    def test_rubbish(self) -> None:
        """
        What is no answer is passed over.
        """
        looked = self.resolve()
        question = self.question(dns.A)
        for rubbish in (b"", b"\0" * 12, b"\xff" * 40):
            for port in self.reactor.udpPorts:
                port.deliver(rubbish, ("192.0.2.53", 53))
        self.flushLoggedErrors()
        self.assertNoResult(looked)
        question.answer(a(FOUR))
        self.question(dns.AAAA).answer()
        self.assertFound(looked, FOUR)


class AliasTests(NamesFixture):
    """
    Names that stand for others.
    """

    def test_inAnswer(self) -> None:
        """
        Those that come with the answer are followed.
        """
        looked = self.resolve()
        self.answer(
            cname("b.invalid"),
            cname("C.invalid", "B.INVALID"),
            a(FOUR, "c.invalid"),
            aaaa(SIX, "c.invalid"),
        )
        self.assertFound(looked, FOUR, SIX)

    def test_askedFor(self) -> None:
        """
        Otherwise the server is asked for what they stand for.
        """
        looked = self.resolve()
        self.answer(cname("b.invalid"))
        self.assertEqual([each.name for each in self.questions()], ["b.invalid"] * 2)
        self.answer(a(FOUR, "b.invalid"))
        self.assertFound(looked, FOUR)

    def test_endless(self) -> None:
        """
        But not for ever.
        """
        looked = self.resolve()
        asked = 0
        while self.questions():
            asked += len(self.questions())
            for question in self.questions():
                question.answer(cname(f"x{asked}.invalid", question.name))
        error = self.failureResultOf(looked, NameNotResolved).value
        self.assertIn("too many aliases", str(error))
        self.assertEqual(asked, 16)

    def test_circle(self) -> None:
        """
        A circle has no address.
        """
        looked = self.resolve()
        self.answer(cname("b.invalid"), cname("host.invalid", "b.invalid"))
        self.failureResultOf(looked, NoSuchName)

    def test_nonsense(self) -> None:
        """
        What is no name of a host is not asked for.
        """
        for target in ("a b.invalid", "127.1", "192.0.2.1"):
            self.setUp()
            looked = self.resolve()
            self.answer(cname(target))
            error = self.failureResultOf(looked, NameNotResolved).value
            self.assertIn("is an alias for", str(error))


class FollowedTests(SynchronousTestCase):
    """
    Tests for L{followed}.
    """

    def test_lifetime(self) -> None:
        """
        An answer is good for as long as all that it is made of.
        """
        answers = [
            cname("b.invalid", ttl=50),
            a(FOUR, "b.invalid", 40),
            a("192.0.2.81", "b.invalid", 30),
            a("192.0.2.82", "c.invalid", 1),
        ]
        name, found, seconds = followed("host.invalid", dns.A, answers)
        self.assertEqual((name, len(found), seconds), ("b.invalid", 2, 30))
        name, found, seconds = followed("host.invalid", dns.A, answers[:1])
        self.assertEqual((name, found, seconds), ("b.invalid", [], 50))
        self.assertEqual(followed("x.invalid", dns.A, answers), ("x.invalid", [], 3600))

    @given(
        some.lists(
            some.builds(
                lambda owner, target, kind: kind(target, owner),
                some.sampled_from("abcd"),
                some.sampled_from("abcd"),
                some.just(lambda target, owner: cname(target, owner)),
            )
            | some.builds(a, some.just(FOUR), some.sampled_from("abcd"))
            | some.builds(aaaa, some.just(SIX), some.sampled_from("abcd"))
        ),
        some.sampled_from([dns.A, dns.AAAA]),
    )
    def test_ends(self, answers: list[dns.RRHeader], kind: int) -> None:
        """
        Whatever stands in an answer, it has an end, and its addresses are of the family wanted.
        """
        _, found, seconds = followed("a", kind, answers)
        self.assertLessEqual({address.version for address in found}, {4 if kind == dns.A else 6})
        self.assertTrue(0 <= seconds <= 3600)


class TruncatedTests(NamesFixture):
    """
    Answers that do not fit into a datagram.
    """

    def test_tcp(self) -> None:
        """
        They are asked for again by TCP.
        """
        self.names = NameServer(self.reactor, SERVER, families=[4])
        looked = self.resolve()
        self.question(dns.A).answer(truncated=True)
        [connector] = self.reactor.connectors
        self.assertEqual((connector.host, connector.port), ("192.0.2.53", 53))
        peer = RecordingPeer()
        connection = connector.accept(peer)
        connection.flush()
        message = dns.Message()
        message.fromStr(peer.received[2:])
        reply = dns.Message(message.id, answer=1)
        reply.answers = [a(FOUR)]
        octets = reply.toStr()
        connection.server.write(len(octets).to_bytes(2) + octets)
        connection.flush()
        self.assertFound(looked, FOUR)
        self.assertTrue(peer.finished)

    def test_refused(self) -> None:
        """
        If that cannot be done there is no answer.
        """
        looked = self.resolve()
        for kind in (dns.A, dns.AAAA):
            self.question(kind).answer(truncated=True)
        for connector in self.reactor.connectors:
            connector.refuse(ConnectionRefusedError())
        error = self.failureResultOf(looked, NameNotResolved).value
        self.assertNotIsInstance(error, NoSuchName)

    def test_silent(self) -> None:
        """
        Nobody waits long for it.
        """
        looked = self.resolve()
        for kind in (dns.A, dns.AAAA):
            self.question(kind).answer(truncated=True)
        peer = RecordingPeer()
        connection = self.reactor.connectors[0].accept(peer)
        connection.flush()
        self.reactor.advance(7.9)
        self.assertNoResult(looked)
        self.reactor.advance(0.1)
        self.failureResultOf(looked, NameNotResolved)
        connection.flush()
        self.assertIsNotNone(peer.lost)
        self.assertEqual(self.names._client.connections, [])


class MemoryTests(NamesFixture):
    """
    What is remembered, and for how long.
    """

    def test_lifetime(self) -> None:
        """
        Addresses are remembered for as long as they are good.
        """
        self.resolve()
        self.answer(a(FOUR, ttl=60), aaaa(SIX, ttl=90))
        self.reactor.advance(59)
        self.assertFound(self.resolve(), FOUR, SIX)
        self.assertEqual(self.questions(), [])
        self.reactor.advance(1)
        self.resolve()
        self.assertEqual(len(self.questions()), 2)

    def test_bounds(self) -> None:
        """
        But for 5 seconds at the least, and an hour at the most.
        """
        for ttl, seconds in ((0, 5), (10**6, 3600)):
            self.setUp()
            self.resolve()
            self.answer(a(FOUR, ttl=ttl), aaaa(SIX, ttl=ttl))
            self.reactor.advance(seconds - 1)
            self.assertFound(self.resolve(), FOUR, SIX)
            self.reactor.advance(1)
            self.resolve()
            self.assertEqual(len(self.questions()), 2)

    def test_incomplete(self) -> None:
        """
        An answer that lacks a family because the server did not tell is soon asked for again.
        """
        self.resolve()
        self.question(dns.A).answer(a(FOUR, ttl=600))
        self.question(dns.AAAA).answer(code=dns.ESERVER)
        self.reactor.advance(29)
        self.assertFound(self.resolve(), FOUR)
        self.reactor.advance(1)
        self.assertNoResult(self.resolve())

    def test_failures(self) -> None:
        """
        That there is no name is remembered for 30 seconds, that nobody knows for 3.
        """
        for code, kind, seconds in (
            (dns.ENAME, NoSuchName, 30),
            (dns.ESERVER, NameNotResolved, 3),
        ):
            self.setUp()
            first = self.resolve()
            self.answer(code=code)
            error = self.failureResultOf(first, kind).value
            self.reactor.advance(seconds - 1)
            again = self.failureResultOf(self.resolve(), kind).value
            self.assertIsNot(again, error)
            self.assertEqual((type(again), str(again)), (type(error), str(error)))
            self.reactor.advance(1)
            self.assertNoResult(self.resolve())

    def test_overload(self) -> None:
        """
        That there was no file descriptor is not remembered.
        """

        def refuse(port: int, *arguments: Any, **options: Any) -> Any:
            raise CannotListenError("", port, OSError(errno.EMFILE, "too many"))

        patched = self.patch(self.reactor, "listenUDP", refuse)
        self.failureResultOf(self.resolve(), Overloaded)
        patched.restore()
        self.assertNoResult(self.resolve())

    def test_bounded(self) -> None:
        """
        The memory has an end: what was learned longest ago goes first.
        """
        self.patch(answers, "_MOST", 2)
        for name in ("a.invalid", "b.invalid", "c.invalid"):
            self.resolve(name)
            self.answer(a(FOUR, name), aaaa(SIX, name))
        for name in ("c.invalid", "b.invalid"):
            self.assertFound(self.resolve(name), FOUR, SIX)
        self.assertNoResult(self.resolve("a.invalid"))

    def test_nobodyWaits(self) -> None:
        """
        An answer that nobody waits for any more is remembered all the same.
        """
        looked = self.resolve()
        looked.addErrback(lambda reason: None)
        looked.cancel()
        self.answer(a(FOUR), aaaa(SIX))
        self.assertFound(self.resolve(), FOUR, SIX)


class CrowdTests(NamesFixture):
    """
    Many look-ups at the same time.
    """

    def test_same(self) -> None:
        """
        A name that many want is asked for once.
        """
        looked = [self.resolve() for _ in range(5)]
        self.assertEqual(len(self.questions()), 2)
        self.answer(a(FOUR))
        for each in looked:
            self.assertFound(each, FOUR)

    def test_oneLeaves(self) -> None:
        """
        Whoever leaves takes nothing from the others.
        """
        first, second = self.resolve(), self.resolve()
        first.addErrback(lambda reason: None)
        first.cancel()
        self.answer(a(FOUR))
        self.assertFound(second, FOUR)

    def test_bounded(self) -> None:
        """
        Some names are asked for at a time, some more wait, and the others are turned away.
        """
        self.names = NameServer(self.reactor, SERVER, running=1, waiting=1)
        first, second = self.resolve("a.invalid"), self.resolve("b.invalid")
        self.failureResultOf(self.resolve("c.invalid"), Overloaded)
        self.assertEqual({each.name for each in self.questions()}, {"a.invalid"})
        self.answer(a(FOUR, "a.invalid"))
        self.assertFound(first, FOUR)
        self.assertEqual({each.name for each in self.questions()}, {"b.invalid"})
        self.answer(a(FOUR, "b.invalid"))
        self.assertFound(second, FOUR)

    def test_fair(self) -> None:
        """
        One client cannot take all places; what is remembered takes none.
        """
        self.names = NameServer(self.reactor, SERVER, running=4, waiting=4)
        one, other = "198.51.100.1", "198.51.100.2"
        for number in range(2):
            self.resolveFor(one, f"a{number}.invalid")
        self.failureResultOf(self.resolveFor(one, "a2.invalid"), Overloaded)
        looked = self.resolveFor(other, "b.invalid")
        self.assertEqual({each.name for each in self.questions()}, {"a0.invalid", "b.invalid"})
        self.answer(a(FOUR, "b.invalid"))
        self.assertFound(looked, FOUR)
        self.assertFound(self.resolveFor(one, "b.invalid"), FOUR)


class SilentTests(NamesFixture):
    """
    A server that does not answer, and in whose place another can be asked.
    """

    def setUp(self) -> None:
        """
        Make one that yields to others.
        """
        super().setUp()
        self.events = RecordedEvents(self)
        self.names = NameServer(self.reactor, SERVER, yielding=True, running=2)

    def askedAbout(self) -> list[str]:
        """
        What the server is being asked about.
        """
        return [question.name for question in self.questions()]

    def fallSilent(self) -> None:
        """
        It does not answer a question, nor what it is asked to see whether it answers.
        """
        looked = self.resolve("lost.invalid")
        self.reactor.advance(1.5)
        self.reactor.advance(3.5)
        self.failureResultOf(looked, NameNotResolved)
        self.assertEqual(self.askedAbout(), [""])
        self.reactor.advance(1)
        self.reactor.advance(2)
        self.assertEqual(self.askedAbout(), [])
        self.events.one("nameServerSilent")

    def test_notAsked(self) -> None:
        """
        It is not asked any more, and whoever wants to know something of it hears so at once; also
        who has waited for a turn.
        """
        waiting = [self.resolve(f"{number}.invalid") for number in range(4)]
        self.reactor.advance(1.5)
        self.reactor.advance(3.5)
        self.reactor.advance(1)
        self.reactor.advance(2)
        self.assertEqual(self.askedAbout(), ["2.invalid"] * 2 + ["3.invalid"] * 2)
        waiting += [self.resolve("4.invalid"), self.resolveFor("192.0.2.9", "5.invalid")]
        for looked in (*waiting[:2], *waiting[4:]):
            error = self.failureResultOf(looked, NameNotResolved).value
            self.assertNotIsInstance(error, NoSuchName)
        self.assertIn("192.0.2.53:53 does not answer", str(error))

    def test_turn(self) -> None:
        """
        Who has waited for a turn is not made to wait for it, either.
        """
        self.fallSilent()
        self.assertEqual(self.names._turnstile._free, 2)
        turn = self.names._begin("other.invalid")
        self.failureResultOf(turn, NameNotResolved)

    def test_back(self) -> None:
        """
        It is asked again in a while, though nobody waits for that, and asked as before once it
        has answered.
        """
        self.fallSilent()
        self.reactor.advance(4.9)
        self.failureResultOf(self.resolve("a.invalid"), NameNotResolved)
        self.assertEqual(self.askedAbout(), [])
        self.reactor.advance(0.1)
        self.failureResultOf(self.resolve("b.invalid"), NameNotResolved)
        self.assertEqual(self.askedAbout(), [""])
        self.answer(code=dns.EREFUSED)
        self.events.one("nameServerBack")
        looked = self.resolve("c.invalid")
        self.answer(a(FOUR, "c.invalid"), aaaa(SIX, "c.invalid"))
        self.assertFound(looked, FOUR, SIX)

    def test_oneName(self) -> None:
        """
        That it does not tell of one name, or says that it cannot, does not make it silent.
        """
        looked = self.resolve("lost.invalid")
        self.reactor.advance(1.5)
        self.reactor.advance(3.5)
        self.failureResultOf(looked, NameNotResolved)
        self.answer()
        looked = self.resolve("lost2.invalid")
        self.reactor.advance(1)
        for code in (dns.ESERVER, dns.ENAME):
            other = self.resolve(f"other{code}.invalid")
            for question in self.questions():
                if question.name == f"other{code}.invalid":
                    question.answer(code=code)
            self.failureResultOf(other, NameNotResolved)
        self.reactor.advance(0.5)
        self.reactor.advance(3.5)
        self.failureResultOf(looked, NameNotResolved)
        self.assertEqual(self.askedAbout(), [])
        self.assertEqual(self.events.names, [])

    def test_cannotBeAsked(self) -> None:
        """
        It is not held to be silent if there is nothing to ask it with.
        """
        looked = self.resolve("lost.invalid")
        self.reactor.advance(1.5)
        attempts: list[int] = []

        def listenUDP(port: int, *args: Any, **kwargs: Any) -> Any:
            attempts.append(port)
            raise CannotListenError("", port, OSError(errno.EMFILE, "too many"))

        self.patch(self.reactor, "listenUDP", listenUDP)
        self.reactor.advance(3.5)
        self.failureResultOf(looked, NameNotResolved)
        self.assertTrue(attempts)
        self.reactor.advance(3)
        self.assertEqual(self.events.names, [])

    def test_notYielding(self) -> None:
        """
        Where nobody else is asked it always is.
        """
        self.names = NameServer(self.reactor, SERVER)
        for name in ("a.invalid", "b.invalid"):
            looked = self.resolve(name)
            self.assertEqual(self.askedAbout(), [name] * 2)
            self.reactor.advance(1.5)
            self.reactor.advance(3.5)
            self.failureResultOf(looked, NameNotResolved)
            self.assertEqual(self.askedAbout(), [])


class LoopbackTests(TestCase):
    """
    A real server, on loopback.
    """

    timeout = 30

    def listen(self, factory: Any) -> int:
        """
        Listen by UDP and TCP at the same port.
        """
        reactor: Any = installedReactor
        protocol = dns.DNSDatagramProtocol(factory)
        for _ in range(10):
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            number: int = port.getHost().port
            try:
                datagrams = reactor.listenUDP(number, protocol, interface="127.0.0.1")
            except CannotListenError:
                port.stopListening()
            else:
                self.addCleanup(port.stopListening)
                self.addCleanup(datagrams.stopListening)
                return number
        raise AssertionError("no port was free for both")

    async def test_answers(self) -> None:
        """
        Names are found, by datagram and by TCP, and aliases are followed.
        """
        reactor: Any = installedReactor
        factory = _Truncating(authorities=[_Zone("")])
        asking = NameServer(reactor, Address(ip_address("127.0.0.1"), self.listen(factory)))
        for name, addresses in (
            ("www.example.test", {"192.0.2.1", "2001:db8::1"}),
            ("alias.example.test", {"192.0.2.1", "2001:db8::1"}),
            ("many.example.test", set(_MANY)),
        ):
            found = await asking.resolve(name)
            self.assertEqual({str(address) for address in found}, addresses)
        self.assertGreaterEqual(len(factory.ended), 1)
        await factory.ended[0]
        for name in ("nothing.example.test", "example.test"):
            with self.assertRaises(NoSuchName):
                await asking.resolve(name)


_MANY = [f"10.0.0.{number}" for number in range(1, 51)]


class _Truncating(server.DNSServerFactory):
    """
    Sends no more than 512 octets in a datagram.

    @ivar ended: for each connection, fires at its end.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ended: list[Deferred[None]] = []

    def connectionMade(self, protocol: Any) -> None:
        """
        Somebody asks by TCP.
        """
        super().connectionMade(protocol)
        self.ended.append(Deferred())

    def connectionLost(self, protocol: Any) -> None:
        """
        And leaves.
        """
        super().connectionLost(protocol)
        for ended in self.ended:
            if not ended.called:
                ended.callback(None)
                break

    def sendReply(self, protocol: Any, message: dns.Message, address: Any) -> None:
        """
        Answer.
        """
        message.maxSize = 0 if address is None else 512
        super().sendReply(protocol, message, address)


class _Zone(authority.FileAuthority):
    """
    What the server knows.
    """

    def loadFile(self, filename: str) -> None:
        """
        Know it.
        """
        start = dns.Record_SOA(b"example.test", b"x")
        self.soa = (b"example.test", start)
        self.records = {
            b"example.test": [start],
            b"www.example.test": [dns.Record_A("192.0.2.1"), dns.Record_AAAA("2001:db8::1")],
            b"alias.example.test": [dns.Record_CNAME(b"www.example.test")],
            b"many.example.test": [dns.Record_A(address) for address in _MANY],
        }

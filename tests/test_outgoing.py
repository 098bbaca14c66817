"""
Tests for L{txsocks5.outgoing}.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.protocol import Factory, ServerFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from txsocks5.config import Network, Timeouts
from txsocks5.dialer import ConnectedSocket
from txsocks5.errors import (
    AddressTypeNotSupported,
    ConnectFailed,
    NameNotResolved,
    NotAllowed,
    Overloaded,
    TimedOut,
    reasonOf,
    replyCodeOf,
)
from txsocks5.interfaces import Identity, IDialer, Question, Verdict
from txsocks5.outgoing import (
    MAX_ADDRESSES,
    Admitted,
    Outgoing,
    TCPDialer,
    ordered,
    race,
)
from txsocks5.stream import TargetProtocol
from txsocks5.systemresolver import SystemResolver
from txsocks5.testing import (
    MemoryReactor,
    RecordingPeer,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
)
from txsocks5.wire import Address, Command, IPAddress

from .sockets import DialerFixture, Peer

FOUR = "192.0.2.1"
FOURS = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
SIX = "2001:db8::1"
SIXES = ["2001:db8::1", "2001:db8::2"]


def asking(host: str, port: int = 80) -> Question:
    """
    A CONNECT of alice's.
    """
    target: Any = host
    with contextlib.suppress(ValueError):
        target = ip_address(host)
    where = Address(target, port)
    return Question(Identity("alice", 2), IPv4Address("198.51.100.1"), Command.CONNECT, where)


def texts(addresses: Sequence[IPAddress]) -> list[str]:
    """
    Addresses as text.
    """
    return [str(address) for address in addresses]


class TCPDialerTests(SynchronousTestCase):
    """
    Tests for L{TCPDialer}.
    """

    def setUp(self) -> None:
        """
        Make a reactor.
        """
        self.reactor = MemoryReactor()

    def test_dial(self) -> None:
        """
        Both families are connected to by number, with no time-out of their own.
        """
        dialer = TCPDialer(self.reactor)
        self.assertTrue(verifyObject(IDialer, dialer))
        for host in (FOUR, SIX):
            dialled = dialer.dial(Address(ip_address(host), 80), Factory.forProtocol(RecordingPeer))
            connector = self.reactor.connectors[-1]
            self.assertEqual((connector.host, connector.port), (host, 80))
            self.assertIsNone(connector.timeout)
            self.assertIsNone(connector.bindAddress)
            self.assertNoResult(dialled)
            connector.accept()
            self.assertIsInstance(self.successResultOf(dialled), RecordingPeer)

    def test_source(self) -> None:
        """
        The source address is that of the family, if one is set.
        """
        dialer = TCPDialer(self.reactor, (IPv4Address("203.0.113.9"),))
        for host, source in ((FOUR, ("203.0.113.9", 0)), (SIX, None)):
            dialer.dial(Address(ip_address(host), 80), Factory.forProtocol(RecordingPeer))
            self.assertEqual(self.reactor.connectors[-1].bindAddress, source)

    def test_sourceOfOne(self) -> None:
        """
        Source addresses of a user's own go before those of all, each for its family.
        """
        dialer = TCPDialer(self.reactor, (IPv4Address("203.0.113.9"), IPv6Address("2001:db8::9")))
        own = (IPv4Address("203.0.113.10"),)
        for host, source in ((FOUR, ("203.0.113.10", 0)), (SIX, ("2001:db8::9", 0))):
            dialer.dial(Address(ip_address(host), 80), Factory.forProtocol(RecordingPeer), own)
            self.assertEqual(self.reactor.connectors[-1].bindAddress, source)

    def test_fails(self) -> None:
        """
        What goes wrong is told as it is.
        """
        dialled = TCPDialer(self.reactor).dial(
            Address(ip_address(FOUR), 80), Factory.forProtocol(RecordingPeer)
        )
        self.reactor.connectors[0].refuse(ConnectionRefusedError())
        self.failureResultOf(dialled, ConnectionRefusedError)

    def test_cancel(self) -> None:
        """
        Cancelling gives the attempt up.
        """
        dialled = TCPDialer(self.reactor).dial(
            Address(ip_address(FOUR), 80), Factory.forProtocol(RecordingPeer)
        )
        dialled.cancel()
        self.failureResultOf(dialled)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)


class RealTCPDialerTests(TestCase):
    """
    Tests for L{TCPDialer} with the loopback address.
    """

    async def test_connects(self) -> None:
        """
        A connection to a port that listens comes about.
        """
        from twisted.internet import reactor

        there: Any = reactor
        arrived: Deferred[RecordingPeer] = Deferred()

        class Arrival(RecordingPeer):
            def connectionMade(self) -> None:
                arrived.callback(self)

        port = there.listenTCP(0, ServerFactory.forProtocol(Arrival), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        where = Address(IPv4Address("127.0.0.1"), port.getHost().port)
        gone: Deferred[None] = Deferred()

        class Departing(RecordingPeer):
            def connectionLost(self, reason: Any = None) -> None:
                gone.callback(None)

        dialled: Any = await TCPDialer(there).dial(where, Factory.forProtocol(Departing))
        peer: Any = await arrived
        self.assertEqual(dialled.transport.getHost(), peer.transport.getPeer())
        peer.transport.abortConnection()
        dialled.transport.abortConnection()
        await gone

    async def test_refused(self) -> None:
        """
        A port that does not listen refuses.
        """
        from twisted.internet import reactor

        there: Any = reactor
        port = there.listenTCP(0, ServerFactory(), interface="127.0.0.1")
        where = Address(IPv4Address("127.0.0.1"), port.getHost().port)
        await maybeDeferred(port.stopListening)
        dialled = TCPDialer(there).dial(where, Factory.forProtocol(RecordingPeer))
        await self.assertFailure(dialled, ConnectionRefusedError)


class OrderedTests(SynchronousTestCase):
    """
    Tests for L{ordered}.
    """

    def test_preferences(self) -> None:
        """
        The families are tried in the order that is asked for, and each in its own order.
        """
        mixed = [ip_address(text) for text in (FOURS[0], SIXES[0], FOURS[1], FOURS[2], SIXES[1])]
        for prefer, result in (
            ("happy-eyeballs", [SIXES[0], FOURS[0], SIXES[1], FOURS[1], FOURS[2]]),
            ("ipv4", FOURS + SIXES),
            ("ipv6", SIXES + FOURS),
            ("ipv4-only", FOURS),
            ("ipv6-only", SIXES),
        ):
            self.assertEqual(texts(ordered(mixed, prefer)), result)

    def test_nothing(self) -> None:
        """
        Nothing remains nothing.
        """
        self.assertEqual(ordered([], "happy-eyeballs"), [])
        self.assertEqual(ordered([ip_address(FOUR)], "ipv6-only"), [])


class Attempts:
    """
    Attempts that end when the test says so.

    @ivar begun: those that have begun, in order.

    @ivar cancelled: the numbers of those that were given up.
    """

    def __init__(self, number: int) -> None:
        self.begun: list[Deferred[str]] = []
        self.cancelled: list[int] = []
        self.all: list[Callable[[], Deferred[str]]] = [self._begin] * number

    def _begin(self) -> Deferred[str]:
        """
        Begin one.
        """
        number = len(self.begun)
        attempt: Deferred[str] = Deferred(lambda attempt: self.cancelled.append(number))
        self.begun.append(attempt)
        return attempt


class RaceTests(SynchronousTestCase):
    """
    Tests for L{race}, RFC 8305 section 5.
    """

    def setUp(self) -> None:
        """
        Make a clock, which is to be left with nothing to do.
        """
        self.clock = Clock()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def test_firstWins(self) -> None:
        """
        If the first succeeds soon, no other begins.
        """
        attempts = Attempts(3)
        result = race(attempts.all, self.clock)
        self.clock.advance(0.24)
        self.assertEqual(len(attempts.begun), 1)
        attempts.begun[0].callback("first")
        self.assertEqual(self.successResultOf(result), "first")
        self.assertEqual(attempts.cancelled, [])

    def test_onlyOne(self) -> None:
        """
        One attempt alone waits for nothing.
        """
        attempts = Attempts(1)
        result = race(attempts.all, self.clock)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        attempts.begun[0].callback("only")
        self.assertEqual(self.successResultOf(result), "only")

    def test_stagger(self) -> None:
        """
        Each begins a quarter of a second after the one before; the others are cancelled when one
        succeeds.
        """
        attempts = Attempts(4)
        result = race(attempts.all, self.clock)
        for begun in (1, 2, 3):
            self.assertEqual(len(attempts.begun), begun)
            self.clock.advance(0.24)
            self.assertEqual(len(attempts.begun), begun)
            self.clock.advance(0.01)
        self.assertEqual(len(attempts.begun), 4)
        attempts.begun[1].callback("second")
        self.assertEqual(self.successResultOf(result), "second")
        self.assertEqual(attempts.cancelled, [0, 2, 3])

    def test_failureBeginsTheNext(self) -> None:
        """
        If one fails the next begins at once, and the one after that a quarter of a second later.
        """
        attempts = Attempts(3)
        result = race(attempts.all, self.clock)
        self.clock.advance(0.2)
        attempts.begun[0].errback(ConnectionRefusedError())
        self.assertEqual(len(attempts.begun), 2)
        self.clock.advance(0.24)
        self.assertEqual(len(attempts.begun), 2)
        self.clock.advance(0.01)
        self.assertEqual(len(attempts.begun), 3)
        attempts.begun[1].errback(ConnectionRefusedError())
        self.assertNoResult(result)
        attempts.begun[2].callback("third")
        self.assertEqual(self.successResultOf(result), "third")

    def test_allFail(self) -> None:
        """
        When all have failed, that is told with what says most: that one host answered "no".
        """
        attempts = Attempts(3)
        result = race(attempts.all, self.clock)
        self.clock.advance(1)
        attempts.begun[0].errback(NoRouteError())
        attempts.begun[1].errback(ConnectionRefusedError())
        self.assertNoResult(result)
        attempts.begun[2].errback(TCPTimedOutError())
        reason = self.failureResultOf(result, ConnectFailed)
        self.assertEqual(replyCodeOf(reason.value), 5)

    def test_precedence(self) -> None:
        """
        Refused goes before timed out, host unreachable, network unreachable and the rest (1.6).
        """
        errors: list[tuple[Callable[[], Exception], int]] = [
            (ConnectionRefusedError, 5),
            (TCPTimedOutError, 6),
            (lambda: ConnectError(errno.EHOSTUNREACH), 4),
            (NoRouteError, 3),
            (lambda: ConnectError(errno.EMFILE), 1),
        ]
        while errors:
            attempts = Attempts(len(errors))
            result = race(attempts.all, self.clock)
            for error, _ in reversed(errors):
                attempts.begun[-1].errback(error())
            reason = self.failureResultOf(result, ConnectFailed)
            self.assertEqual(replyCodeOf(reason.value), errors[0][1])
            del errors[0]

    def test_beginningRaises(self) -> None:
        """
        One that cannot even begin has failed.
        """

        def broken() -> Deferred[str]:
            raise OSError(errno.ENETUNREACH, "no")

        attempts = Attempts(1)
        result = race([broken, broken, *attempts.all], self.clock)
        attempts.begun[0].callback("third")
        self.assertEqual(self.successResultOf(result), "third")
        reason = self.failureResultOf(race([broken], self.clock), ConnectFailed)
        self.assertEqual(replyCodeOf(reason.value), 3)

    def test_cancel(self) -> None:
        """
        Giving up cancels all that are under way, and begins no other.
        """
        attempts = Attempts(3)
        result = race(attempts.all, self.clock)
        self.clock.advance(0.25)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(attempts.cancelled, [0, 1])
        self.clock.advance(10)
        self.assertEqual(len(attempts.begun), 2)


class OutgoingTestCase(SynchronousTestCase):
    """
    A way out on fakes.
    """

    def setUp(self) -> None:
        """
        Let some names exist.
        """
        self.clock = Clock()
        self.policy = ScriptedPolicy()
        self.resolver = ScriptedResolver({"four.example": [FOUR], "all.example": FOURS + SIXES})
        self.dialer = ScriptedDialer()
        self.granted: list[Verdict] = []
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def outgoing(self, *, connect: float = 30, prefer: str = "happy-eyeballs") -> Outgoing:
        """
        Make one.
        """
        return Outgoing(
            self.clock,
            self.policy,
            self.resolver,
            self.dialer,
            Network(prefer=prefer),
            Timeouts(connect=connect),
        )

    def find(self, host: str, **options: Any) -> Deferred[Admitted]:
        """
        Find where a request may go.
        """
        return Deferred.fromCoroutine(self.outgoing(**options).find(asking(host)))

    def connect(self, host: str, **options: Any) -> Deferred[Any]:
        """
        Find where a request may go, and connect.
        """
        outgoing = self.outgoing(**options)
        began = self.clock.seconds()
        question = asking(host)
        found = Deferred.fromCoroutine(outgoing.find(question))
        return found.addCallback(outgoing.reach, question.destination, began)

    def refuse(self, *hosts: str) -> None:
        """
        Let policy refuse some addresses.
        """
        for host in hosts:
            self.policy.addresses[host] = Verdict(False, f"rule against {host}")


class AdmitsTests(OutgoingTestCase):
    """
    Tests for L{Outgoing.admits}.
    """

    def test_again(self) -> None:
        """
        Both the request and the address are judged; who cannot be judged for now is admitted still.
        """
        outgoing, question = self.outgoing(), asking(FOUR)
        self.assertTrue(outgoing.admits(question, ip_address(FOUR)))
        self.refuse(FOUR)
        self.assertFalse(outgoing.admits(question, ip_address(FOUR)))
        self.policy.request = Verdict(False, "no")
        self.assertFalse(outgoing.admits(question, ip_address(FOUR)))

        def judge(question: Question) -> Verdict:
            raise Overloaded("no descriptor")

        self.patch(self.policy, "judgeRequest", judge)
        self.assertTrue(outgoing.admits(question, ip_address(FOUR)))


class FindTests(OutgoingTestCase):
    """
    Tests for L{Outgoing.judge}, L{Outgoing.admit} and L{Outgoing.find}.
    """

    def test_client(self) -> None:
        """
        A resolver that wants to be fair is told for which client it looks up a name.
        """
        reactor = MemoryReactor()
        reactor.nameResolver.hold = True
        resolver = SystemResolver(reactor.nameResolver, running=16)
        outgoing = Outgoing(
            self.clock, self.policy, resolver, self.dialer, Network(), Timeouts(connect=0)
        )
        for number in range(12):
            question = asking(f"{number}.example")
            if number < 6:
                question = attrs.evolve(question, client=None)
            found = Deferred.fromCoroutine(outgoing.find(question))
            self.addCleanup(self.failureResultOf, found, NameNotResolved)
        self.assertEqual(len(reactor.nameResolver.held), 6 + 4)
        reactor.nameResolver.release()
        reactor.nameResolver.release()

    def test_judge(self) -> None:
        """
        Policy decides about the request, and its reason is passed on.
        """
        question = asking("four.example")
        outgoing = self.outgoing()
        self.assertEqual(outgoing.judge(question), self.policy.request)
        self.policy.request = Verdict(False, "rule 7")
        error = self.assertRaises(NotAllowed, outgoing.judge, question)
        self.assertEqual(str(error), "rule 7")

    def test_number(self) -> None:
        """
        An address is judged, and nothing is looked up.
        """
        for host in (FOUR, SIX):
            admitted = self.successResultOf(self.find(host))
            self.assertEqual(texts(admitted.addresses), [host])
            self.assertEqual(admitted.verdict.reason, "scripted: any address")
        self.assertEqual(self.resolver.asked, [])

    def test_name(self) -> None:
        """
        R-1928-33: a name is resolved once, and each address is judged.
        """
        admitted = self.successResultOf(self.find("all.example"))
        self.assertEqual(
            texts(admitted.addresses), [SIXES[0], FOURS[0], SIXES[1], FOURS[1], FOURS[2]]
        )
        self.assertEqual(self.resolver.asked, ["all.example"])
        judged = [(question, str(address)) for question, address in self.policy.asked]
        self.assertEqual(
            judged, [(asking("all.example"), text) for text in texts(admitted.addresses)]
        )

    def test_requestRefused(self) -> None:
        """
        What policy refuses as it was asked is not looked up (S-06), and no address is judged.
        """
        self.policy.request = Verdict(False, "rule 7")
        for host in ("all.example", FOUR):
            reason = self.failureResultOf(self.find(host), NotAllowed)
            self.assertEqual(str(reason.value), "rule 7")
        self.assertEqual((self.resolver.asked, self.policy.asked), ([], []))

    def test_someRefused(self) -> None:
        """
        R-1928-33: only the admitted addresses remain; the reason is that of the first of them.
        """
        self.refuse(SIXES[0], FOURS[0], FOURS[2])
        self.policy.addresses[SIXES[1]] = Verdict(True, "rule 3")
        admitted = self.successResultOf(self.find("all.example"))
        self.assertEqual(texts(admitted.addresses), [SIXES[1], FOURS[1]])
        self.assertEqual(admitted.verdict.reason, "rule 3")

    def test_allRefused(self) -> None:
        """
        R-1928-33: if none remains, the request is refused with the reason for the first.
        """
        self.refuse(*FOURS, *SIXES)
        reason = self.failureResultOf(self.find("all.example"), NotAllowed)
        self.assertEqual(str(reason.value), f"rule against {SIXES[0]}")
        self.failureResultOf(self.find(FOUR), NotAllowed)

    def test_familySwitchedOff(self) -> None:
        """
        R-1928-22: an address of a family that is switched off has a type that is not supported.
        """
        for host, prefer in ((SIX, "ipv4-only"), (FOUR, "ipv6-only")):
            reason = self.failureResultOf(self.find(host, prefer=prefer), AddressTypeNotSupported)
            self.assertEqual(replyCodeOf(reason.value), 8)
        self.assertEqual(self.policy.asked, [])

    def test_nameOfAFamilySwitchedOff(self) -> None:
        """
        A name has a type that is supported; if all its addresses are of the other family, it has
        no usable one (1.6).
        """
        reason = self.failureResultOf(
            self.find("four.example", prefer="ipv6-only"), NameNotResolved
        )
        self.assertEqual(replyCodeOf(reason.value), 4)
        admitted = self.successResultOf(self.find("all.example", prefer="ipv6-only"))
        self.assertEqual(texts(admitted.addresses), SIXES)

    def test_nameWithThousands(self) -> None:
        """
        A name can have more addresses than anybody should be made to try: only the first are
        looked at.
        """
        first = int(IPv4Address("198.18.0.0"))
        many = [str(IPv4Address(first + number)) for number in range(4000)]
        self.resolver.hosts["many.example"] = many
        admitted = self.successResultOf(self.find("many.example"))
        self.assertEqual(texts(admitted.addresses), many[:MAX_ADDRESSES])
        self.assertEqual(len(self.policy.asked), MAX_ADDRESSES)

    def test_notResolved(self) -> None:
        """
        What the resolver fails with is what happens, REP C{04} for a name that does not exist.
        """
        reason = self.failureResultOf(self.find("no.example"), NameNotResolved)
        self.assertEqual(replyCodeOf(reason.value), 4)
        self.resolver.hosts["busy.example"] = Overloaded("too many")
        self.failureResultOf(self.find("busy.example"), Overloaded)

    def test_resolverIsBusy(self) -> None:
        """
        It makes no difference if the resolver raises instead.
        """
        reactor = MemoryReactor()
        reactor.nameResolver.hold = True
        resolver: Any = SystemResolver(reactor.nameResolver, running=1, waiting=0)
        resolver.resolve("one.example")
        self.resolver = resolver
        self.failureResultOf(self.find("two.example"), Overloaded)

    def test_resolvingTakesTooLong(self) -> None:
        """
        R-1928-46: looking up a name is part of the time for connecting; when that has passed the
        name has not been resolved (04), and the look-up is given up.
        """
        self.resolver.hold = True
        found = self.find("four.example", connect=7)
        self.clock.advance(6.99)
        self.assertNoResult(found)
        self.clock.advance(0.01)
        reason = self.failureResultOf(found, NameNotResolved)
        self.assertEqual(replyCodeOf(reason.value), 4)
        self.assertIn("7 s", str(reason.value))
        self.assertEqual(self.resolver.cancelled, ["four.example"])

    def test_resolvingInTime(self) -> None:
        """
        An answer just in time is good, and stops the clock.
        """
        self.resolver.hold = True
        found = self.find("four.example", connect=7)
        self.clock.advance(6.99)
        self.resolver.release()
        self.assertEqual(texts(self.successResultOf(found).addresses), [FOUR])

    def test_noTimeout(self) -> None:
        """
        Without a time-out it may take for ever.
        """
        self.resolver.hold = True
        found = self.find("four.example", connect=0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.resolver.release()
        self.successResultOf(found)

    def test_cancelWhileResolving(self) -> None:
        """
        R-1928-47: if the client leaves, the look-up is given up.
        """
        self.resolver.hold = True
        found = self.find("four.example")
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual(self.resolver.cancelled, ["four.example"])
        self.assertEqual(self.policy.asked, [])


class ConnectTests(OutgoingTestCase):
    """
    Tests for L{Outgoing.connect}.
    """

    def dialled(self) -> list[str]:
        """
        Where it has tried to connect to.
        """
        return [str(dial.address) for dial in self.dialer.dials]

    def test_number(self) -> None:
        """
        An address is connected to.
        """
        connected = self.connect(SIX)
        self.assertEqual(self.dialled(), ["[2001:db8::1]:80"])
        self.assertNoResult(connected)
        self.dialer.dials[0].accept()
        self.assertIsInstance(self.successResultOf(connected), TargetProtocol)

    def test_name(self) -> None:
        """
        R-1928-33: a name is connected to by its addresses, one after the other, and never resolved
        again (S-06).
        """
        connected = self.connect("all.example")
        self.assertEqual(self.dialled(), ["[2001:db8::1]:80"])
        self.clock.advance(0.25)
        self.assertEqual(self.dialled(), ["[2001:db8::1]:80", "192.0.2.1:80"])
        self.dialer.dials[0].refuse(ConnectionRefusedError())
        self.assertEqual(self.dialled()[2:], ["[2001:db8::2]:80"])
        self.dialer.dials[1].accept()
        protocol = self.successResultOf(connected)
        self.assertEqual(str(protocol.stream.transport.getPeer().host), FOUR)
        self.assertTrue(self.dialer.dials[2].cancelled)
        self.assertEqual(self.resolver.asked, ["all.example"])

    def test_onlyAdmitted(self) -> None:
        """
        R-1928-33: an address that policy refuses is not tried, however many others fail.
        """
        self.refuse(SIXES[0], FOURS[1])
        connected = self.connect("all.example")
        for dial in self.dialer.dials:
            dial.refuse(NoRouteError())
        self.failureResultOf(connected, ConnectFailed)
        self.assertEqual(self.dialled(), ["192.0.2.1:80", "[2001:db8::2]:80", "192.0.2.3:80"])

    def test_refused(self) -> None:
        """
        What policy refuses altogether is not tried.
        """
        self.refuse(FOUR)
        self.failureResultOf(self.connect("four.example"), NotAllowed)
        self.assertEqual(self.dialer.dials, [])

    def test_failures(self) -> None:
        """
        Where there is one address, its failure decides the reply (1.6).
        """
        for error, code in (
            (ConnectionRefusedError(), 5),
            (TCPTimedOutError(), 6),
            (ConnectError(errno.EHOSTUNREACH), 4),
            (NoRouteError(), 3),
            (ConnectError(errno.EACCES), 2),
            (ConnectError(errno.EAFNOSUPPORT), 8),
            (ConnectError(errno.EADDRNOTAVAIL), 1),
        ):
            connected = self.connect(FOUR)
            self.dialer.dials[-1].refuse(error)
            reason = self.failureResultOf(connected, ConnectFailed)
            self.assertEqual(replyCodeOf(reason.value), code)
            self.assertEqual(str(reason.value), reasonOf(error))

    def test_tooLong(self) -> None:
        """
        R-1928-46: a connection that does not come about in time is given up (06), for one address
        and for several.
        """
        for host, dials in ((FOUR, 1), ("all.example", 5)):
            self.dialer.dials.clear()
            connected = self.connect(host, connect=7)
            self.clock.pump([0.25] * 27)
            self.assertNoResult(connected)
            self.clock.advance(0.25)
            reason = self.failureResultOf(connected, TimedOut)
            self.assertEqual(replyCodeOf(reason.value), 6)
            self.assertEqual([dial.cancelled for dial in self.dialer.dials], [True] * dials)

    def test_timeIsShared(self) -> None:
        """
        The time that the look-up has taken is missing for connecting.
        """
        self.resolver.hold = True
        connected = self.connect("four.example", connect=10)
        self.clock.advance(9)
        self.resolver.release()
        self.clock.advance(0.99)
        self.assertNoResult(connected)
        self.clock.advance(0.01)
        self.failureResultOf(connected, TimedOut)

    def test_noTimeout(self) -> None:
        """
        Without a time-out it may take for ever.
        """
        connected = self.connect(FOUR, connect=0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.dialer.dials[0].accept()
        self.successResultOf(connected)

    def test_cancelWhileResolving(self) -> None:
        """
        R-1928-47: if the client leaves while its name is looked up, nothing is connected to.
        """
        self.resolver.hold = True
        connected = self.connect("four.example")
        connected.cancel()
        self.failureResultOf(connected, CancelledError)
        self.resolver.release()
        self.assertEqual(self.dialer.dials, [])

    def test_cancelWhileConnecting(self) -> None:
        """
        R-1928-47: if the client leaves then, all attempts are given up.
        """
        connected = self.connect("all.example")
        self.clock.advance(0.25)
        connected.cancel()
        self.failureResultOf(connected, CancelledError)
        self.assertEqual([dial.cancelled for dial in self.dialer.dials], [True, True])

    def test_cancelOneAttempt(self) -> None:
        """
        So it is with a single address; whatever error the dialer has for that, it is plain that
        nobody has failed.
        """
        reactor = MemoryReactor()
        dialer: Any = TCPDialer(reactor)
        self.dialer = dialer
        connected = self.connect(FOUR)
        connected.cancel()
        self.failureResultOf(connected, CancelledError)
        self.assertTrue(reactor.connectors[0].stoppedConnecting)


class SocketTests(DialerFixture):
    """
    Tests for L{Outgoing.reach} with a dialer that makes no transports.
    """

    def reach(
        self, *addresses: Address, name: str = "", **options: Any
    ) -> ConnectedSocket | Deferred[Any]:
        """
        Connect to one of some addresses, which have the same port.

        @param name: what was asked for in place of the first of them.
        """
        outgoing = Outgoing(
            self.reactor,
            ScriptedPolicy(),
            ScriptedResolver({}),
            self.dialer,
            Network(),
            Timeouts(connect=7),
        )
        hosts: list[Any] = [address.host for address in addresses]
        destination = Address(name or hosts[0], addresses[0].port)
        return outgoing.reach(Admitted(hosts, Verdict(True, "")), destination, **options)

    def connectedTo(self, listening: socket.socket, found: object) -> Peer:
        """
        A connection has come about, and octets pass.

        @return: its far end.
        """
        assert isinstance(found, ConnectedSocket)
        self.addCleanup(found.close, reset=False)
        self.assertEqual(found.peer, self.address(listening))
        peer = Peer(self.keep(listening.accept()[0]))
        found.socket.send(b"octets")
        self.until(lambda: peer.received == b"octets", peer)
        return peer

    def test_atOnce(self) -> None:
        """
        A near target is there when the call returns, by number and by name.
        """
        for name in ("", "target.example"):
            listening = self.listening()
            self.connectedTo(listening, self.reach(self.address(listening), name=name))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_source(self) -> None:
        """
        Source addresses are passed on, for a single address and for several.
        """
        source = (ip_address("127.0.0.3"),)
        listening = self.listening()
        for count in (1, 2):
            found = self.reach(*[self.address(listening)] * count, outgoing=source)
            if isinstance(found, Deferred):
                found = self.successResultOf(found)
            peer = self.connectedTo(listening, found)
            self.assertEqual(peer.socket.getpeername()[0], "127.0.0.3")

    def test_later(self) -> None:
        """
        One that takes its time is waited for; no clock runs on when it is there.
        """
        self.slowly(errno.EINPROGRESS, errno.EALREADY)
        listening = self.listening()
        result: Any = self.reach(self.address(listening))
        self.assertNoResult(result)
        self.until(lambda: result.called)
        self.connectedTo(listening, self.successResultOf(result))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        Where nobody listens that is a failure to connect (05), at once and later.
        """
        listening = self.listening()
        address = self.address(listening)
        listening.close()
        error = self.assertRaises(ConnectFailed, self.reach, address)
        self.assertEqual(replyCodeOf(error), 5)
        self.slowly(errno.EINPROGRESS, errno.EALREADY, errno.ECONNREFUSED)
        result: Any = self.reach(address)
        self.assertNoResult(result)
        self.until(lambda: result.called)
        later = self.failureResultOf(result, ConnectFailed).value
        self.assertEqual([replyCodeOf(later), str(later)], [5, str(error)])

    def test_tooLong(self) -> None:
        """
        R-1928-46: one that does not answer is given up in time (06), its socket closed.
        """
        self.slowly(errno.EINPROGRESS, *[errno.EALREADY] * 9)
        result: Any = self.reach(self.address(self.listening()))
        self.reactor.advance(6.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        reason = self.failureResultOf(result, TimedOut)
        self.assertEqual(replyCodeOf(reason.value), 6)
        self.assertEqual(self.junction._watchers, {})

    def test_cancel(self) -> None:
        """
        R-1928-47: if the client leaves, the attempt is given up, and nobody has failed.
        """
        self.slowly(errno.EINPROGRESS, errno.EALREADY)
        result: Any = self.reach(self.address(self.listening()))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual((self.junction._watchers, self.reactor.getDelayedCalls()), ({}, []))

    def test_several(self) -> None:
        """
        Of several addresses the next is tried when one has failed.
        """
        listening = self.listening()
        second = self.address(listening)
        self.slowly(errno.ECONNREFUSED)
        result: Any = self.reach(Address(ip_address("127.0.0.2"), second.port), second)
        self.connectedTo(listening, self.successResultOf(result))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

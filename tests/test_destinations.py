"""
Tests for L{txsocks5.destinations}.
"""

from __future__ import annotations

import contextlib
import errno
import gc
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import destinations
from txsocks5.config import Network, Timeouts
from txsocks5.destinations import MAX_DESTINATIONS, Destination, Destinations, Target
from txsocks5.errors import NameNotResolved, NotAllowed, Overloaded, ProtocolError
from txsocks5.interfaces import Identity, Question, Verdict
from txsocks5.outgoing import Outgoing
from txsocks5.testing import MemoryReactor, ScriptedDialer, ScriptedPolicy, ScriptedResolver
from txsocks5.wire import Address, Command

# Hosts of the world.
HERE = "192.0.2.7"
THERE = "192.0.2.8"
SIX = "2001:db8:1::7"

QUESTION = Question(Identity("alice", 2), IPv4Address("198.51.100.1"), Command.UDP_ASSOCIATE, None)


def address(host: str, port: int = 53) -> Address:
    """
    An address, or a name.
    """
    with contextlib.suppress(ValueError):
        return Address(ip_address(host), port)
    return Address(host, port)


def many() -> Iterator[str]:
    """
    As many hosts as are remembered.
    """
    first = IPv4Address("198.18.0.0")
    return (str(first + number) for number in range(MAX_DESTINATIONS))


class DestinationsTestCase(SynchronousTestCase):
    """
    The destinations of an association, on fakes.

    @ivar sent: the payloads that were sent on, each with the addresses to try.

    @ivar dropped: how many were not.
    """

    def setUp(self) -> None:
        """
        Make what they need, and them.
        """
        self.clock = MemoryReactor()
        self.policy = ScriptedPolicy()
        self.resolver = ScriptedResolver({"a.example": [HERE], "both.example": [SIX, HERE]})
        self.sent: list[tuple[bytes, list[str]]] = []
        self.dropped = 0
        self.make()

    def make(self, **network: Any) -> None:
        """
        Make them anew.
        """
        outgoing = Outgoing(
            self.clock,
            self.policy,
            self.resolver,
            ScriptedDialer(),
            Network(**network),
            Timeouts(connect=30),
        )
        self.destinations = Destinations(
            outgoing, QUESTION, self.clock.seconds, self.send, self.drop
        )

    def send(self, destination: Destination, payloads: Sequence[bytes]) -> None:
        """
        Payloads are sent on.
        """
        hosts = [str(target.host) for target in destination.targets]
        self.sent += [(payload, hosts) for payload in payloads]

    def drop(self, payloads: int) -> None:
        """
        Some are not.
        """
        self.dropped += payloads

    def find(self, host: str, port: int = 53) -> Destination:
        """
        Find the destination with a host.
        """
        return self.destinations.find(address(host, port).octets())

    def relay(self, host: str, payload: bytes = b"hi") -> None:
        """
        Send a payload to a host.
        """
        self.destinations.relay(self.find(host), payload)

    def passTime(self, seconds: float) -> None:
        """
        Time goes by, and the association looks what has grown old.
        """
        self.clock.advance(seconds)
        self.destinations.expire(self.clock.seconds())


class FindTests(DestinationsTestCase):
    """
    Tests for what is asked about a destination, R-1928-81.
    """

    def test_judgedOnce(self) -> None:
        """
        Policy is asked about a destination when it is seen first, on behalf of the client.
        """
        first = self.find(HERE)
        self.assertEqual(first.address, address(HERE))
        self.assertEqual(first.targets, [Target(ip_address(HERE), (HERE, 53))])
        self.assertIs(self.find(HERE), first)
        question = Question(
            QUESTION.identity, QUESTION.client, Command.UDP_ASSOCIATE, address(HERE)
        )
        self.assertEqual(self.policy.questions, [question])

    def test_eachPortIsADestination(self) -> None:
        """
        Policy is asked about a name with each port.
        """
        for port in (53, 54, 53):
            self.find("a.example", port)
        asked = [question.destination for question in self.policy.questions]
        self.assertEqual(asked, [address("a.example", 53), address("a.example", 54)])

    def test_malformed(self) -> None:
        """
        What is no destination is an error, and is not remembered; nobody is asked.
        """
        for field in (
            b"\x01\xc0\x00\x02\x07\x00\x00",
            b"\x02\xc0\x00\x02\x07\x00\x35",
            b"\x03\x09a.example\x00\x00",
            b"\x03\x03a b\x00\x35",
        ):
            for _ in range(2):
                self.assertRaises(ProtocolError, self.destinations.find, field)
        self.assertEqual(self.policy.questions, [])
        self.assertEqual(self.resolver.asked, [])

    def test_denied(self) -> None:
        """
        A destination that is denied has no addresses, and a name that is denied is not looked up;
        what to do with their payloads is left to who sends.
        """
        self.policy.request = Verdict(False, "no")
        for host in (HERE, "a.example"):
            self.relay(host)
        self.assertEqual(self.sent, [(b"hi", [])] * 2)
        self.assertEqual(self.resolver.asked, [])
        self.assertEqual(self.dropped, 0)

    def test_addressesAreJudged(self) -> None:
        """
        R-1928-83, S-06: policy is asked about each address that was found, and only what it admits
        is tried.
        """
        self.relay("both.example", b"1")
        self.policy.addresses[SIX] = Verdict(False, "no")
        self.passTime(60)
        self.relay("both.example", b"2")
        self.assertEqual(self.sent, [(b"1", [SIX, HERE]), (b"2", [HERE])])


class WaitingTests(DestinationsTestCase):
    """
    Tests for what waits for a name, R-1928-83.
    """

    def setUp(self) -> None:
        """
        Let look-ups take their time.
        """
        super().setUp()
        self.resolver.hold = True

    def test_waits(self) -> None:
        """
        What is sent to a name waits for its address, in order, and does not hold up the rest.
        """
        self.relay("a.example", b"1")
        self.relay("a.example", b"2")
        self.relay(THERE, b"3")
        self.assertEqual(self.sent, [(b"3", [THERE])])
        self.resolver.release()
        self.relay("a.example", b"4")
        self.assertEqual(self.sent[1:], [(b"1", [HERE]), (b"2", [HERE]), (b"4", [HERE])])
        self.assertEqual(self.resolver.asked, ["a.example"])
        self.assertEqual(self.dropped, 0)

    def test_bounded(self) -> None:
        """
        R-1928-83: at most sixteen payloads wait for a name, and the first are kept.
        """
        for number in range(20):
            self.relay("a.example", b"%d" % number)
        self.assertEqual(self.dropped, 4)
        self.resolver.release()
        self.assertEqual([payload for payload, _ in self.sent], [b"%d" % n for n in range(16)])

    def test_octetsAreBounded(self) -> None:
        """
        R-1928-83: nor do more than 64 KiB.
        """
        for octets in (40000, 25536, 1, 0):
            self.relay("a.example", b"x" * octets)
        self.assertEqual(self.dropped, 1)
        self.resolver.release()
        self.assertEqual([len(payload) for payload, _ in self.sent], [40000, 25536, 0])

    def test_tooLong(self) -> None:
        """
        A look-up that takes too long has failed.
        """
        self.relay("a.example")
        self.passTime(29)
        self.assertEqual(self.sent, [])
        self.passTime(1)
        self.assertEqual(self.sent, [(b"hi", [])])
        self.assertEqual(self.resolver.cancelled, ["a.example"])

    def test_lookUpsAreBounded(self) -> None:
        """
        At most sixteen names are looked up at a time; one more is found without addresses, and
        tried again when it comes again.  Those that are looked up are not forgotten for it.
        """
        names = [f"host{number}.example" for number in range(17)]
        self.resolver.hosts.update({name: [HERE] for name in names})
        for name in names:
            self.relay(name)
        self.assertEqual(self.resolver.asked, names[:16])
        self.assertEqual(self.sent, [(b"hi", [])])
        self.relay(THERE)
        self.assertEqual(self.sent[1:], [(b"hi", [THERE])])
        self.resolver.release()
        self.assertEqual(self.sent[2:], [(b"hi", [HERE])] * 16)
        self.relay(names[-1])
        self.resolver.release()
        self.assertEqual(self.sent[18:], [(b"hi", [HERE])])
        self.assertEqual(self.resolver.cancelled, [])

    def test_forgotten(self) -> None:
        """
        When so many destinations have come since that a name is forgotten, its look-up is given
        up, and what has waited for it is dropped; another name can be looked up in its place.
        """
        self.resolver.hosts.update({f"host{number}.example": [HERE] for number in range(16)})
        self.relay("a.example")
        self.relay("a.example")
        for number in range(15):
            self.relay(f"host{number}.example")
        self.relay("host15.example")
        self.assertEqual(len(self.resolver.asked), 16)
        for host in list(many())[15:]:
            self.find(host)
        self.assertEqual(self.resolver.cancelled, ["a.example"])
        self.assertEqual(self.dropped, 2)
        self.relay("host15.example")
        self.assertEqual(self.resolver.asked[16:], ["host15.example"])

    def test_closed(self) -> None:
        """
        At the end all look-ups are given up, and what waits is dropped.
        """
        self.relay("a.example")
        self.relay("both.example")
        self.relay("both.example")
        self.destinations.close()
        self.assertEqual(self.resolver.cancelled, ["a.example", "both.example"])
        self.assertEqual(self.sent, [])
        self.assertEqual(self.dropped, 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closedBySending(self) -> None:
        """
        If the end comes while the waiting payloads are sent, the rest of them have no address.
        """
        self.relay("a.example", b"1")
        self.relay("a.example", b"2")
        send = self.send

        def last(destination: Destination, payload: bytes) -> None:
            send(destination, payload)
            self.destinations.close()

        self.destinations._send = last
        self.resolver.release()
        self.assertEqual(self.sent, [(b"1", [HERE]), (b"2", [])])
        self.assertEqual(self.dropped, 0)


class ForgettingTests(DestinationsTestCase):
    """
    Tests for how long a destination is remembered.
    """

    def test_names(self) -> None:
        """
        The addresses of a name are used for a minute; then it is looked up again, which may find
        others.
        """
        self.relay("a.example", b"1")
        self.passTime(59)
        self.resolver.hosts["a.example"] = [THERE]
        self.relay("a.example", b"2")
        self.passTime(1)
        self.relay("a.example", b"3")
        self.assertEqual(self.sent, [(b"1", [HERE]), (b"2", [HERE]), (b"3", [THERE])])
        self.assertEqual(self.resolver.asked, ["a.example"] * 2)

    def test_sinceTheAnswer(self) -> None:
        """
        That minute begins when the name is resolved; a look-up does not expire.
        """
        self.resolver.hold = True
        self.relay("a.example")
        self.passTime(29)
        self.resolver.release()
        self.passTime(59)
        self.relay("a.example")
        self.assertEqual(self.sent, [(b"hi", [HERE])] * 2)
        self.assertEqual(self.resolver.asked, ["a.example"])
        self.assertEqual(self.resolver.cancelled, [])

    def test_notJudgedForNow(self) -> None:
        """
        A number that could not be judged, since the system had no socket to find out with, say,
        has no addresses, and is tried again with the next payload.
        """
        for error in (Overloaded("busy"), OSError(errno.EMFILE, "no")):
            with patch.object(self.policy, "judgeAddress", side_effect=error):
                for _ in range(2):
                    self.relay(HERE, b"lost")
            for _ in range(2):
                self.relay(HERE, b"hi")
            self.assertEqual(self.sent, [(b"lost", [])] * 2 + [(b"hi", [HERE])] * 2)
            self.assertEqual(len(self.policy.questions), 3)
            self.sent.clear()
            self.policy.questions.clear()
            self.make()
        self.assertEqual(self.dropped, 0)

    def test_deniedOnce(self) -> None:
        """
        One that policy denies, by the request or by the address, or whose family is switched off,
        is judged once a minute.
        """
        no, yes = Verdict(False, "no"), Verdict(True, "yes")
        for request, addresses, prefer in (
            (no, yes, "ipv6"),
            (yes, no, "ipv6"),
            (yes, yes, "ipv4-only"),
        ):
            self.make(prefer=prefer)
            self.policy.request, self.policy.addresses[SIX] = request, addresses
            self.relay(SIX)
            self.policy.request, self.policy.addresses[SIX] = yes, yes
            self.passTime(59)
            self.relay(SIX)
        self.assertEqual(self.sent, [(b"hi", [])] * 6)
        self.assertEqual(len(self.policy.questions), 3)

    def test_notResolved(self) -> None:
        """
        What waits for a name that does not exist is sent on without an address; the name is not
        asked for again at once, but after a while.
        """
        self.resolver.hold = True
        self.relay("no.example")
        self.relay("no.example")
        self.resolver.release()
        self.assertEqual(self.sent, [(b"hi", [])] * 2)
        self.resolver.hold = False
        self.resolver.hosts["no.example"] = [HERE]
        self.passTime(4)
        self.relay("no.example")
        self.assertEqual(self.sent[2:], [(b"hi", [])])
        self.passTime(1)
        self.relay("no.example")
        self.assertEqual(self.sent[3:], [(b"hi", [HERE])])
        self.assertEqual(self.resolver.asked, ["no.example"] * 2)

    def test_resolverFails(self) -> None:
        """
        Whatever a resolver fails with, that name has no addresses for a while, and no more.
        """
        for error in (Overloaded("busy"), OSError(errno.EMFILE, "no"), NameNotResolved("no")):
            self.resolver.hosts["bad.example"] = error
            self.relay("bad.example")
            self.passTime(5)
        self.assertEqual(self.resolver.asked, ["bad.example"] * 3)
        self.assertEqual(self.sent, [(b"hi", [])] * 3)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_resolverIsBroken(self) -> None:
        """
        If it fails with what no resolver should, that is logged; the name is tried again later.
        """
        self.resolver.hosts["bad.example"] = ZeroDivisionError("oops")
        self.resolver.hold = True
        self.relay("bad.example")
        self.resolver.release()
        self.assertEqual(self.sent, [(b"hi", [])])
        self.resolver.hold = False
        self.resolver.hosts["bad.example"] = [HERE]
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.passTime(5)
        self.relay("bad.example")
        self.assertEqual(self.sent[1:], [(b"hi", [HERE])])

    def test_bounded(self) -> None:
        """
        No more than so many destinations are remembered; the oldest is forgotten first, and asked
        about again when it comes again.  A name goes as numbers do, and does not expire then.
        """
        self.find("a.example")
        self.find(HERE)
        for host in list(many())[2:]:
            self.find(host)
        self.find(THERE)
        asked = len(self.policy.questions)
        self.find(HERE)
        self.assertEqual(len(self.policy.questions), asked)
        self.find("a.example")
        self.assertEqual(len(self.policy.questions), asked + 1)
        self.find(HERE)
        self.assertEqual(len(self.policy.questions), asked + 2)
        self.assertEqual(len(self.destinations._all), MAX_DESTINATIONS)
        self.assertEqual(len(self.destinations._names), 1)

    def test_notSentTo(self) -> None:
        """
        Nothing goes any more to a destination that was forgotten, even for one who still holds it.
        """
        destination = self.find(HERE)
        self.destinations.close()
        self.destinations.relay(destination, b"late")
        self.assertEqual(self.sent, [(b"late", [])])


class ReviewTests(DestinationsTestCase):
    """
    Policy has become another one.
    """

    def test_admitted(self) -> None:
        """
        Those that are allowed stay; others are forgotten, and judged when they are seen again.
        """
        kept, gone = self.find("both.example"), self.find("198.51.100.9")
        self.policy.addresses = {"198.51.100.9": Verdict(False, "no"), SIX: Verdict(False, "no")}
        self.assertEqual(self.destinations.review(), {HERE})
        self.assertEqual([target.peer[0] for target in kept.targets], [HERE])
        self.assertEqual(gone.targets, ())
        self.policy.addresses = {}
        self.assertEqual(len(self.find("198.51.100.9").targets), 1)

    def test_lookedUp(self) -> None:
        """
        A name that is being looked up is judged when it is found: the request, too.
        """
        for verdict, hosts in ((Verdict(True, "yes"), [HERE]), (Verdict(False, "no"), [])):
            self.make()
            self.sent.clear()
            self.resolver.hold = True
            self.relay("a.example")
            self.assertEqual(self.destinations.review(), set())
            self.policy.request = verdict
            self.resolver.release()
            self.assertEqual(self.sent, [(b"hi", hosts)])


class AgainTests(DestinationsTestCase):
    """
    Policy changes its mind by itself: somebody's time is over, say.
    """

    def test_denied(self) -> None:
        """
        An address is judged again after a minute, whatever has been sent there meanwhile; it is
        told which can be sent to no more.
        """
        for host in (HERE, THERE):
            self.relay(host, b"1")
        self.policy.addresses = {HERE: Verdict(False, "too late")}
        self.passTime(59)
        self.relay(HERE, b"2")
        self.assertEqual(self.destinations.denied(), set())
        self.passTime(1)
        for host in (HERE, THERE):
            self.relay(host, b"3")
        self.assertEqual(
            self.sent,
            [(b"1", [HERE]), (b"1", [THERE]), (b"2", [HERE]), (b"3", []), (b"3", [THERE])],
        )
        self.assertEqual(self.destinations.denied(), {HERE})
        self.assertEqual(self.destinations.denied(), set())

    def test_otherPort(self) -> None:
        """
        An address that can be sent to at another port is none of those.
        """
        for port in (53, 54):
            self.find(HERE, port)
        judge = self.policy.judgeAddress

        def judgeAddress(question: Question, host: Any) -> Verdict:
            assert question.destination is not None
            if question.destination.port == 53:
                return Verdict(False, "too late")
            return judge(question, host)

        self.patch(self.policy, "judgeAddress", judgeAddress)
        self.passTime(60)
        self.assertEqual(self.find(HERE).targets, ())
        self.assertEqual(len(self.find(HERE, 54).targets), 1)
        self.assertEqual(self.destinations.denied(), set())

    def test_allowed(self) -> None:
        """
        One that was denied may be allowed then.
        """
        self.policy.addresses = {HERE: Verdict(False, "too early")}
        self.relay(HERE)
        self.policy.addresses = {}
        self.passTime(60)
        self.relay(HERE)
        self.assertEqual(self.sent, [(b"hi", []), (b"hi", [HERE])])

    def test_cannotTell(self) -> None:
        """
        Where that cannot be told all stays as it is (S-11).
        """
        before = self.find(HERE)
        with patch.object(self.policy, "judgeAddress", side_effect=Overloaded("no descriptor")):
            self.passTime(60)
            self.assertIs(self.find(HERE), before)
        self.assertEqual(len(before.targets), 1)

    def test_oncePerMinute(self) -> None:
        """
        It is judged once a minute, and not with each datagram; nor when nothing is sent.
        """
        self.find(HERE)
        asked = len(self.policy.asked)
        for minute in (1, 2, 3):
            self.passTime(60)
            self.assertEqual(len(self.policy.asked), asked + minute - 1)
            for _ in range(3):
                self.find(HERE)
            self.assertEqual(len(self.policy.asked), asked + minute)

    def test_name(self) -> None:
        """
        A name is judged with each look-up.
        """
        self.relay("a.example")
        self.policy.addresses = {HERE: Verdict(False, "too late")}
        self.passTime(60)
        self.relay("a.example")
        self.assertEqual(self.sent, [(b"hi", [HERE]), (b"hi", [])])

    def test_association(self) -> None:
        """
        The association itself is judged, too, whether or not anything is sent.
        """
        self.policy.request = Verdict(False, "too late")
        self.passTime(59)
        error = self.assertRaises(NotAllowed, self.passTime, 1)
        self.assertEqual(str(error), "too late")

    def test_clockSetBack(self) -> None:
        """
        A clock that is set back makes nothing live longer.
        """
        self.policy.request = Verdict(False, "too late")
        self.clock.rightNow -= 3600
        self.assertRaises(NotAllowed, self.destinations.expire, self.clock.seconds())


class BoundsTests(SynchronousTestCase):
    """
    Tests for the numbers that R-1928-83 and the bounds name.
    """

    def test_numbers(self) -> None:
        """
        They are what is written down.
        """
        self.assertEqual(
            (destinations._MAX_WAITING, destinations._MAX_WAITING_OCTETS, MAX_DESTINATIONS),
            (16, 65536, 4096),
        )

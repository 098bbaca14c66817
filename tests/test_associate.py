"""
Tests for L{txsocks5.associate}.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import address as twistedAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsocks5 import local
from txsocks5.associate import Association, Associations
from txsocks5.config import Network, Timeouts
from txsocks5.datagrams import Sockets
from txsocks5.errors import Overloaded, ProtocolError
from txsocks5.interfaces import Identity, Question, Verdict
from txsocks5.outgoing import Outgoing, TCPDialer
from txsocks5.peers import Datagrams, Peer
from txsocks5.policy import DefaultPolicy
from txsocks5.sources import MAX_SOURCES
from txsocks5.sweep import Sweep
from txsocks5.testing import (
    MemoryReactor,
    MemoryUDPPort,
    PrivateProtection,
    RecordedTraffic,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
)
from txsocks5.wire import Address, Command, Datagram

from .meters import Purse

# The client, and where it has reached the server.
CLIENT = ("198.51.100.1", 40000)
CLIENT6 = ("2001:db8::c", 40000)
REACHED = "203.0.113.5"
REACHED6 = "2001:db8::5"

# Hosts of the world.
DNS = "192.0.2.7"
OTHER = "192.0.2.8"
SIX = "2001:db8:1::7"

LOOPBACK = IPv4Address("127.0.0.1")

QUESTION = Question(Identity("alice", 2), ip_address(CLIENT[0]), Command.UDP_ASSOCIATE, None)

# Headers behind FRAG that are to be dropped (R-1928-81).
MALFORMED: tuple[bytes, ...] = (
    b"",
    b"\x01",
    b"\x01\xc0\x00\x02\x07\x00",
    b"\x03",
    b"\x03\x05a",
    b"\x03\x00\x00\x35",
    b"\x03\x01a\x00",
    b"\x04" + bytes(17),
    b"\x02\xc0\x00\x02\x07\x00\x35hi",
    b"\x00\xc0\x00\x02\x07\x00\x35hi",
    b"\xff\xc0\x00\x02\x07\x00\x35hi",
    b"\x01\xc0\x00\x02\x07\x00\x00hi",
    b"\x03\x0bexample.com\x00\x00hi",
    b"\x03\x03a b\x00\x35hi",
    b"\x03\x05127.1\x00\x35hi",
    b"\x03\x0a0x7f000001\x00\x35hi",
    b"\x03\x12127.0.0.1\x00.example\x00\x35hi",
    b"\x03\x0cfe80::1%eth0\x00\x35hi",
    b"\x03\x02\xc3\xa4\x00\x35hi",
)


def address(host: str, port: int = 53) -> Address:
    """
    An address, or a name.
    """
    with contextlib.suppress(ValueError):
        return Address(ip_address(host), port)
    return Address(host, port)


def datagram(host: str, payload: bytes, fragment: int = 0, port: int = 53) -> bytes:
    """
    What a client sends.
    """
    return Datagram(address(host, port), payload, fragment).octets()


class AssociationTestCase(SynchronousTestCase):
    """
    An association on fakes.
    """

    def setUp(self) -> None:
        """
        Make what an association needs.
        """
        self.reactor = MemoryReactor()
        self.sweep = Sweep(self.reactor)
        self.policy = ScriptedPolicy()
        self.resolver = ScriptedResolver(
            {"a.example": [DNS], "b.example": [OTHER], "both.example": [SIX, DNS]}
        )
        self.ends: list[str] = []
        self.traffic = RecordedTraffic()
        self.own: set[str] = set()
        self.patch(local, "isOwn", lambda address: str(address) in self.own)

    def server(self, *, udpIdle: float = 300, **network: Any) -> Associations:
        """
        Make what opens associations.
        """
        settings, timeouts = Network(**network), Timeouts(udpIdle=udpIdle)
        outgoing = Outgoing(
            self.reactor, self.policy, self.resolver, ScriptedDialer(), settings, timeouts
        )
        return Associations(self.reactor, outgoing, settings, timeouts, self.sweep)

    def open(
        self,
        *,
        server: Associations | None = None,
        client: str = CLIENT[0],
        port: int = 0,
        reached: tuple[str, ...] = (REACHED,),
        protection: PrivateProtection | None = None,
        **options: Any,
    ) -> Association:
        """
        Open one.

        @param port: the one that the client has announced.
        """
        self.association = (server or self.server(**options)).open(
            QUESTION,
            address(client, port),
            [ip_address(each) for each in reached],
            self.ends.append,
            protection,
            self.traffic.began(QUESTION),
        )
        self.inside = self.reactor.udpPorts[-1]
        return self.association

    def fromClient(self, *datagrams: bytes, source: tuple[str, int] = CLIENT) -> None:
        """
        The client sends.
        """
        for each in datagrams:
            self.inside.deliver(each, source)

    def send(self, host: str, payload: bytes = b"hi", fragment: int = 0, port: int = 53) -> None:
        """
        The client sends a payload to a host.
        """
        self.fromClient(datagram(host, payload, fragment, port))

    @property
    def outside(self) -> list[MemoryUDPPort]:
        """
        The sockets that face the world.
        """
        mine = self.reactor.udpPorts[self.reactor.udpPorts.index(self.inside) + 1 :]
        return [port for port in mine if port.protocol is not self.inside.protocol]

    @property
    def sent(self) -> list[tuple[bytes, str]]:
        """
        What has gone into the world.
        """
        return [
            (payload, str(address(*where)))
            for socket in self.outside
            for payload, where in socket.sent
        ]

    @property
    def returned(self) -> list[tuple[bytes, str]]:
        """
        What has come back to the client, from whom.
        """
        answers = []
        for data, where in self.inside.sent:
            self.assertEqual(where, CLIENT)
            read = Datagram.read(data, strict=True)
            self.assertEqual(read.fragment, 0)
            answers.append((read.payload, str(read.address)))
        return answers

    def assertDropped(self, number: int) -> None:
        """
        So many datagrams have been dropped, and the association goes on.
        """
        self.assertEqual(self.association.dropped, number)
        self.assertEqual(self.ends, [])
        self.assertTrue(self.inside.listening)

    def assertOver(self) -> None:
        """
        No socket, timer, look-up or octet of the budget is left.
        """
        self.assertEqual([port for port in self.reactor.udpPorts if port.listening], [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.association._server.outside, set())
        budget = self.association._server.budget
        self.assertTrue(budget.take(64 * 1024 * 1024))
        budget.giveBack(64 * 1024 * 1024)


class OpenTests(AssociationTestCase):
    """
    Tests for the socket that faces the client.
    """

    def test_bound(self) -> None:
        """
        R-1928-69, R-1928-70: the socket is bound to the address at which the client has reached
        the server, and tells just that; each association has its own.
        """
        for host in (REACHED, REACHED6):
            first = self.open(reached=(host,))
            self.assertEqual(self.inside.interface, host)
            self.assertEqual(first.bound, address(host, self.inside.port))
            second = self.open(reached=(host,))
            self.assertNotEqual(first.bound, second.bound)

    def test_advertised(self) -> None:
        """
        R-1928-69: behind NAT it tells the address that is configured for the family, and is still
        bound to its own.
        """
        advertise = (IPv4Address("233.252.0.9"),)
        association = self.open(advertise=advertise)
        self.assertEqual(association.bound, address("233.252.0.9", self.inside.port))
        self.assertEqual(self.inside.interface, REACHED)
        association = self.open(advertise=advertise, reached=(REACHED6,))
        self.assertEqual(association.bound, address(REACHED6, self.inside.port))

    def test_portRange(self) -> None:
        """
        R-1928-70, R-1928-77: the port is one of the configured range; when there is none left,
        that is an error, and a closed association gives its port back.
        """
        server = self.server(ports=range(20000, 20002))
        associations = [self.open(server=server) for _ in range(2)]
        self.assertEqual({each.bound.port for each in associations}, {20000, 20001})
        self.assertRaises(Overloaded, self.open, server=server)
        associations[0].close()
        self.assertEqual(self.open(server=server).bound.port, associations[0].bound.port)

    def test_noPort(self) -> None:
        """
        R-1928-77: if the system has none to give, that is an error, and nothing is left behind.
        """
        self.reactor.foreign.add(REACHED)
        self.assertRaises(CannotListenError, self.open)
        self.assertEqual(self.reactor.udpPorts, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_notOurAddress(self) -> None:
        """
        What a PROXY header says the client has reached need not be an address of this machine:
        then it is the one that the system says, with a range of ports as without.
        """
        self.reactor.foreign.add("233.252.0.9")
        for ports in (None, range(20000, 20010)):
            association = self.open(reached=("233.252.0.9", REACHED), ports=ports)
            self.assertEqual(self.inside.interface, REACHED)
            self.assertEqual(association.bound, address(REACHED, self.inside.port))
        self.reactor.foreign.add(REACHED)
        self.assertRaises(Overloaded, self.open, reached=("233.252.0.9", REACHED), ports=ports)

    def test_nothingYet(self) -> None:
        """
        R-1928-71: sockets that face the world are opened when they are needed.
        """
        self.open()
        self.assertEqual(len(self.reactor.udpPorts), 1)
        self.assertEqual((self.association.fromClient, self.association.toClient), (0, 0))
        self.assertDropped(0)

    def test_packetSize(self) -> None:
        """
        R-1928-85: all sockets take datagrams of any size whole.
        """
        self.open()
        self.send(DNS)
        self.send(SIX)
        self.assertEqual([port.maxPacketSize for port in self.reactor.udpPorts], [65536] * 3)


class ClientTests(AssociationTestCase):
    """
    Tests for who may be the client of an association.
    """

    def test_learnt(self) -> None:
        """
        R-1928-72: the first valid datagram from the client's address fixes its port; other ports
        of that address are nobody from then on.
        """
        self.open()
        self.send(DNS, b"1")
        self.fromClient(datagram(DNS, b"2"), source=(CLIENT[0], 40001))
        self.send(DNS, b"3")
        self.assertEqual([payload for payload, _ in self.sent], [b"1", b"3"])
        self.assertDropped(1)

    def test_otherAddress(self) -> None:
        """
        R-1928-72: a datagram from another address is dropped, before and after the first; it
        teaches nothing, and asks nothing of policy or resolver.
        """
        self.open()
        for _ in range(2):
            for host in ("198.51.100.2", REACHED, "127.0.0.1", CLIENT6[0]):
                self.fromClient(datagram("a.example", b"no"), source=(host, CLIENT[1]))
            self.send(DNS)
        self.assertEqual([payload for payload, _ in self.sent], [b"hi", b"hi"])
        self.assertEqual(self.resolver.asked, [])
        self.assertEqual(len(self.policy.questions), 1)
        self.assertDropped(8)

    def test_announced(self) -> None:
        """
        R-1928-66: if the client has announced its port, that is the only one.
        """
        self.open(port=CLIENT[1])
        self.fromClient(datagram(DNS, b"no"), source=(CLIENT[0], 40001))
        self.send(DNS)
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])
        self.assertDropped(1)

    def test_malformedTeachesNothing(self) -> None:
        """
        R-1928-72: what is no valid datagram does not fix the port.
        """
        self.open()
        self.fromClient(b"", b"\x00\x00\x00\x01", source=(CLIENT[0], 40001))
        self.send(DNS)
        self.assertEqual(len(self.sent), 1)
        self.assertDropped(2)

    def test_deniedTeaches(self) -> None:
        """
        One that is refused is valid nevertheless.
        """
        self.policy.request = Verdict(False, "no")
        self.open()
        self.send(DNS)
        self.policy.request = Verdict(True, "yes")
        self.fromClient(datagram(OTHER, b"hi"), source=(CLIENT[0], 40001))
        self.assertEqual(self.sent, [])
        self.assertDropped(2)

    def test_ipv6(self) -> None:
        """
        All that holds for a client with an IPv6 address; a scope is no part of it.
        """
        self.open(client=CLIENT6[0], reached=(REACHED6,))
        self.fromClient(datagram(DNS, b"1"), source=("2001:db8::d", 40000))
        self.fromClient(datagram(DNS, b"2"), source=CLIENT6)
        self.assertEqual([payload for payload, _ in self.sent], [b"2"])
        self.open(client="fe80::1", reached=("fe80::5",))
        self.fromClient(datagram(DNS, b"3"), source=("fe80::1%eth0", 40000))
        self.assertEqual([payload for payload, _ in self.sent], [b"3"])

    def test_mapped(self) -> None:
        """
        R-1928-34: a socket for both families may call the client by its mapped address.
        """
        self.open()
        self.fromClient(datagram(DNS, b"hi"), source=("::ffff:" + CLIENT[0], 40000))
        self.assertEqual(len(self.sent), 1)

    def test_throughAnother(self) -> None:
        """
        S-02: where clients are on the server's own machine, what one of them sends through its
        association does not pass for a datagram of another's client.
        """
        server = self.server()
        victim = self.open(server=server, client=REACHED)
        facing = self.inside
        self.open(server=server, client=REACHED)
        self.fromClient(
            datagram(REACHED, datagram(DNS, b"no"), port=victim.bound.port),
            source=(REACHED, 40000),
        )
        ((payload, _),) = self.outside[0].sent
        facing.deliver(payload, (REACHED, self.outside[0].port))
        self.assertEqual(victim.dropped, 1)
        self.assertEqual(victim.fromClient, 0)
        facing.deliver(datagram(DNS, b"yes"), (REACHED, 40001))
        self.assertEqual(victim.fromClient, 3)

    def outsideOf(self, server: Associations, host: str) -> int:
        """
        Somebody else opens an association and sends to a host.

        @return: the port of the socket from which that goes.
        """
        self.open(server=server)
        self.send(host)
        return self.outside[0].port

    def test_portOfAnother(self) -> None:
        """
        R-1928-72: elsewhere a client may well have the port that a socket of the server has here.
        """
        server = self.server()
        for client, reached, host in ((CLIENT[0], REACHED, DNS), (CLIENT6[0], REACHED6, SIX)):
            port = self.outsideOf(server, host)
            association = self.open(server=server, client=client, reached=(reached,))
            self.fromClient(datagram(DNS, b"yes"), source=(client, port))
            self.assertEqual((association.fromClient, association.dropped), (3, 0))

    def test_portOfAnotherOnThisMachine(self) -> None:
        """
        S-02: not so if it has reached this machine from one of its own addresses, whichever, or
        if that cannot be told: the port is the server's.
        """

        def noSocket(address: object) -> bool:
            raise OSError(errno.EMFILE, "too many open files")

        server = self.server()
        self.own.add("203.0.113.6")
        for client, reached, host in (
            ("127.0.0.1", ("127.0.0.1",), DNS),
            ("127.0.0.2", (REACHED,), DNS),
            ("::1", (REACHED6,), SIX),
            (REACHED, ("192.0.2.99", REACHED), DNS),
            (REACHED6, (REACHED6,), SIX),
            ("203.0.113.6", (REACHED,), DNS),
            (CLIENT[0], (REACHED,), DNS),
        ):
            if client == CLIENT[0]:
                self.patch(local, "isOwn", noSocket)
            port = self.outsideOf(server, host)
            association = self.open(server=server, client=client, reached=reached)
            self.fromClient(datagram(DNS, b"no"), source=(client, port))
            self.assertEqual((association.fromClient, association.dropped), (0, 1), client)
            self.fromClient(datagram(DNS, b"yes"), source=(client, port + 1000))
            self.assertEqual((association.fromClient, association.dropped), (3, 1), client)


class TurnsTests(AssociationTestCase):
    """
    Tests for how much is read from a socket before others are served.
    """

    def assertReads(self, port: MemoryUDPPort, octets: int | None) -> None:
        """
        A port reads on in this turn of the reactor until it has read so many octets, or as many
        as Twisted says.
        """
        self.assertEqual(getattr(port, "maxThroughput", None), octets)

    def test_ends(self) -> None:
        """
        After 64 datagrams, be they ever so small or refused, nothing more is read from either kind
        of socket until everybody else has had their turn; then it goes on as before.
        """
        self.open()
        for turns in (3, 6):
            port = self.reactor.udpPorts[-1]
            for before in (None, 256 * 1024, 256 * 1024):
                for _ in range(63):
                    port.deliver(b"", (OTHER, 53))
                self.assertReads(port, before)
                port.deliver(b"", (OTHER, 53))
                self.assertReads(port, 0)
                self.reactor.advance(0)
                self.assertReads(port, 256 * 1024)
            self.assertDropped(turns * 64)
            self.send(DNS)

    def test_lastOneCounts(self) -> None:
        """
        The datagram that ends a turn is relayed like the others, and so are those that come
        nevertheless.
        """
        self.open()
        for number in range(70):
            self.send(DNS, b"%d" % number)
        self.assertEqual([payload for payload, _ in self.sent], [b"%d" % n for n in range(70)])
        self.reactor.advance(0)
        self.assertReads(self.inside, 256 * 1024)
        self.assertDropped(0)

    def test_closed(self) -> None:
        """
        An association may end before the next turn does, or because of what comes in this one.
        """
        self.open()
        for _ in range(64):
            self.send(DNS)
        self.association.close()
        self.reactor.advance(0)
        self.inside.deliverAll([(datagram(DNS, b"late"), CLIENT)] * 64)
        self.reactor.advance(0)
        self.assertEqual(self.association.fromClient, 2 * 64)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertOver()


class OutwardTests(AssociationTestCase):
    """
    Tests for datagrams on their way into the world.
    """

    def test_relayed(self) -> None:
        """
        R-1928-71: payloads leave from sockets of their own, one for each family.
        """
        self.open()
        self.send(DNS, b"1")
        self.send(SIX, b"23")
        self.send(OTHER, b"456", port=4711)
        self.assertEqual(
            self.sent,
            [(b"1", "192.0.2.7:53"), (b"456", "192.0.2.8:4711"), (b"23", "[2001:db8:1::7]:53")],
        )
        self.assertEqual([socket.interface for socket in self.outside], ["0.0.0.0", "::"])
        self.assertEqual(self.inside.sent, [])
        self.assertEqual(self.association.fromClient, 6)

    def test_outgoing(self) -> None:
        """
        The source address is that of the family, if one is set.
        """
        self.open(outgoing=(IPv4Address("203.0.113.9"),))
        self.send(DNS)
        self.send(SIX)
        self.assertEqual([socket.interface for socket in self.outside], ["203.0.113.9", "::"])

    def test_empty(self) -> None:
        """
        R-1928-81: an empty payload is a payload, to every kind of address.
        """
        self.open()
        for host in (DNS, SIX, "a.example"):
            self.send(host, b"")
        self.assertEqual(sorted(payload for payload, _ in self.sent), [b"", b"", b""])
        self.assertDropped(0)

    def test_largest(self) -> None:
        """
        R-1928-85: the largest datagram that a client can send goes on whole.
        """
        self.open()
        payload = b"x" * (65507 - 10)
        self.send(DNS, payload)
        self.assertEqual(self.sent, [(payload, "192.0.2.7:53")])

    def test_malformed(self) -> None:
        """
        R-1928-79, R-1928-81: what cannot be read is dropped and counted; nobody is told, and the
        association goes on.
        """
        self.open()
        for header in MALFORMED:
            self.fromClient(b"\x00\x00\x00" + header)
        for length in range(4):
            self.fromClient(bytes(length))
        self.assertEqual(self.outside, [])
        self.assertEqual(self.resolver.asked, [])
        self.assertEqual(self.inside.sent, [])
        self.assertDropped(len(MALFORMED) + 4)
        self.send(DNS)
        self.assertEqual(len(self.sent), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_reserved(self) -> None:
        """
        R-1928-80: RSV is not looked at, unless the server is strict.
        """
        wire = b"\xff\x01" + datagram(DNS, b"hi")[2:]
        self.open()
        self.fromClient(wire)
        self.assertEqual(len(self.sent), 1)
        self.open(strict=True)
        self.fromClient(wire)
        self.assertDropped(1)

    def test_policy(self) -> None:
        """
        R-1928-81: policy decides about each destination, once; what it refuses is dropped.
        """
        self.policy.addresses[DNS] = Verdict(False, "no")
        self.open()
        for _ in range(3):
            self.send(DNS)
            self.send(OTHER)
        self.assertEqual([where for _, where in self.sent], ["192.0.2.8:53"] * 3)
        self.assertDropped(3)
        questions = [
            Question(QUESTION.identity, QUESTION.client, Command.UDP_ASSOCIATE, address(host))
            for host in (DNS, OTHER)
        ]
        self.assertEqual(self.policy.questions, questions)

    def test_requestRefused(self) -> None:
        """
        A destination that policy refuses as it was asked is not looked up.
        """
        self.policy.request = Verdict(False, "no")
        self.open()
        self.send("a.example")
        self.assertEqual(self.resolver.asked, [])
        self.assertDropped(1)

    def test_familySwitchedOff(self) -> None:
        """
        Destinations of a family that is switched off are dropped.
        """
        self.open(prefer="ipv4-only")
        self.send(SIX)
        self.send("both.example")
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])
        self.assertDropped(1)

    def test_mappedDestination(self) -> None:
        """
        R-1928-34: a mapped destination is the IPv4 one.
        """
        self.open()
        self.fromClient(
            b"\x00\x00\x00\x04" + IPv6Address("::ffff:192.0.2.7").packed + b"\x00\x35hi"
        )
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])

    def test_writeErrors(self) -> None:
        """
        R-1928-79: what the system does not take is lost, and only that.
        """
        self.open()
        self.send(DNS)
        for number in (errno.ENETUNREACH, errno.EPERM, errno.ENOBUFS, errno.EAGAIN, errno.EACCES):
            self.outside[0].refusal = OSError(number, "no")
            self.send(DNS)
        self.outside[0].refusal = None
        self.send(DNS)
        self.assertEqual(len(self.sent), 2)
        self.assertEqual(self.association.fromClient, 4)
        self.assertDropped(5)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_noSocket(self) -> None:
        """
        If the system has no socket of a family, datagrams of that family are dropped; it is tried
        again with the next.
        """
        self.open()
        self.reactor.foreign.add("::")
        self.send(SIX)
        self.send(DNS)
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])
        self.assertDropped(1)
        self.reactor.foreign.clear()
        self.send(SIX)
        self.assertEqual(len(self.sent), 2)

    def test_tap(self) -> None:
        """
        Who looks on sees what passes, and not what does not.
        """
        self.open()
        self.send("a.example", b"question")
        self.fromClient(b"\x00\x00\x00\x01")
        self.outside[0].deliver(b"answer", (DNS, 53))
        self.outside[0].deliver(b"stranger", (OTHER, 53))
        self.assertEqual(
            self.traffic.sessions[0].passages,
            [(True, address(DNS), b"question"), (False, address(DNS), b"answer")],
        )

    def test_withoutTap(self) -> None:
        """
        Nobody has to look on.
        """
        self.traffic.looking = False
        self.open()
        self.send(DNS)
        self.outside[0].deliver(b"answer", (DNS, 53))
        self.assertEqual(self.returned, [(b"answer", "192.0.2.7:53")])

    def test_hostsAreBounded(self) -> None:
        """
        No more than so many hosts may answer; the oldest is forgotten first, until it is sent to
        again.
        """
        self.open()
        first = int(IPv4Address("198.18.0.0"))
        for number in range(MAX_SOURCES + 10):
            self.send(str(IPv4Address(first + number)))
        for number, heard in ((0, False), (9, False), (10, True), (MAX_SOURCES + 9, True)):
            before = len(self.inside.sent)
            self.outside[0].deliver(b"yo", (str(IPv4Address(first + number)), 53))
            self.assertEqual(len(self.inside.sent) > before, heard)
        self.send(str(IPv4Address(first)))
        self.outside[0].deliver(b"yo", (str(IPv4Address(first)), 53))
        self.assertEqual(self.returned[-1], (b"yo", "198.18.0.0:53"))


class MeterTests(AssociationTestCase):
    """
    Tests for associations that are limited (R-1928-86).
    """

    def test_outward(self) -> None:
        """
        What the client sends beyond what is allowed is dropped and counted; payload is what
        counts.
        """
        association = self.open()
        association.meter = purse = Purse(3)
        self.send(DNS, b"ab")
        self.send(DNS, b"cd")
        self.send(DNS, b"ef")
        self.assertEqual([payload for payload, _ in self.sent], [b"ab", b"cd"])
        self.assertDropped(1)
        self.assertEqual(purse.left, -1)
        purse.add(2)
        self.send(DNS, b"gh")
        self.assertEqual(self.sent[-1][0], b"gh")

    def test_homeward(self) -> None:
        """
        So is what comes for it.
        """
        association = self.open()
        association.meter = purse = Purse(5)
        self.send(DNS, b"ab")
        for payload in (b"12345", b"6"):
            self.outside[0].deliver(payload, (DNS, 53))
        self.assertEqual(self.returned, [(b"12345", f"{DNS}:53")])
        self.assertDropped(1)
        self.assertEqual(purse.left, -2)

    def test_goesNowhere(self) -> None:
        """
        What is not sent at all costs nothing.
        """
        self.policy.addresses[DNS] = Verdict(False, "rule 1")
        association = self.open()
        association.meter = purse = Purse(5)
        self.send(DNS, b"ab")
        self.assertDropped(1)
        self.assertEqual(purse.left, 5)


class NamesTests(AssociationTestCase):
    """
    Tests for destinations that are names, R-1928-83; when they are looked up is the matter of
    L{txsocks5.destinations}.
    """

    def test_waits(self) -> None:
        """
        What is sent to a name waits for its address, in order, and does not hold up the rest.
        """
        self.open()
        self.resolver.hold = True
        self.send("a.example", b"1")
        self.send("a.example", b"2")
        self.send(OTHER, b"3")
        self.assertEqual(self.sent, [(b"3", "192.0.2.8:53")])
        self.resolver.release()
        self.send("a.example", b"4")
        self.assertEqual([payload for payload, _ in self.sent], [b"3", b"1", b"2", b"4"])
        self.assertEqual(self.resolver.asked, ["a.example"])
        self.assertDropped(0)

    def test_waitingIsBounded(self) -> None:
        """
        R-1928-83: at most sixteen datagrams wait for a name, and the first are kept.
        """
        self.open()
        self.resolver.hold = True
        for number in range(20):
            self.send("a.example", b"%d" % number)
        self.assertDropped(4)
        self.resolver.release()
        self.assertEqual([payload for payload, _ in self.sent], [b"%d" % n for n in range(16)])

    def test_cached(self) -> None:
        """
        The addresses of a name are used for a minute; then it is looked up again, which may find
        others.
        """
        self.open()
        self.send("a.example")
        self.reactor.pump([1] * 59)
        self.send("a.example")
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.hosts["a.example"] = [OTHER]
        self.reactor.pump([1] * 2)
        self.send("a.example")
        self.assertEqual(len(self.resolver.asked), 2)
        self.assertEqual(
            [where for _, where in self.sent], ["192.0.2.7:53", "192.0.2.7:53", "192.0.2.8:53"]
        )

    def test_notResolved(self) -> None:
        """
        What waits for a name that does not exist is dropped; the name is not asked for again at
        once, but after a while.
        """
        self.open()
        self.resolver.hold = True
        self.send("no.example")
        self.send("no.example")
        self.resolver.release()
        self.resolver.hold = False
        self.assertDropped(2)
        self.send("no.example")
        self.assertDropped(3)
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.hosts["no.example"] = [DNS]
        self.reactor.pump([1] * 6)
        self.send("no.example")
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])

    def test_addressesAreJudged(self) -> None:
        """
        R-1928-83, S-06: policy is asked about each address that was found, and only what it admits
        is sent to.
        """
        self.policy.addresses[SIX] = Verdict(False, "no")
        self.open()
        self.send("both.example")
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])
        self.policy.addresses[OTHER] = Verdict(False, "no")
        self.send("b.example")
        self.assertEqual(len(self.sent), 1)
        self.assertDropped(1)

    def test_firstThatWorks(self) -> None:
        """
        It goes to the first address that the system can reach.
        """
        self.open()
        self.send("both.example", b"1")
        self.outside[0].refusal = OSError(errno.ENETUNREACH, "no")
        self.send("both.example", b"2")
        self.assertEqual(self.sent, [(b"1", "[2001:db8:1::7]:53"), (b"2", "192.0.2.7:53")])
        self.assertDropped(0)

    def test_firstFamilyThatWorks(self) -> None:
        """
        So it is on a machine without the family of the first.
        """
        self.open()
        self.reactor.foreign.add("::")
        self.send("both.example")
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")])


class HomewardTests(AssociationTestCase):
    """
    Tests for datagrams on their way to the client.
    """

    def test_answer(self) -> None:
        """
        R-1928-82: an answer gets the header with the address and port it comes from, and leaves
        from the socket that faces the client (R-1928-71).
        """
        self.open()
        self.send(DNS)
        self.outside[0].deliver(b"yo", (DNS, 53))
        self.assertEqual(
            self.inside.sent, [(bytes.fromhex("000000 01 C0000207 0035") + b"yo", CLIENT)]
        )
        self.assertEqual(self.association.toClient, 2)

    def test_numericEvenForNames(self) -> None:
        """
        R-1928-82: the header has a number even if the client has asked for a name.
        """
        self.open()
        self.send("a.example")
        self.outside[0].deliver(b"yo", (DNS, 53))
        self.assertEqual(self.returned, [(b"yo", "192.0.2.7:53")])

    def test_ipv6(self) -> None:
        """
        R-1928-82: likewise with an IPv6 host, whose header has 22 octets; a scope is left out.
        """
        self.open()
        self.send(SIX)
        self.send("fe80::7")
        self.outside[0].deliver(b"yo", (SIX, 53))
        self.assertEqual(len(self.inside.sent[0][0]), 24)
        self.outside[0].deliver(b"yo", ("fe80::7%eth0", 53))
        self.assertEqual(self.returned, [(b"yo", "[2001:db8:1::7]:53"), (b"yo", "[fe80::7]:53")])

    def test_mapped(self) -> None:
        """
        R-1928-82: what the IPv6 socket calls by its mapped address is an IPv4 host, with ATYP
        C{01}, and with the permissions of that.
        """
        self.open()
        self.send(DNS)
        self.send(SIX)
        self.outside[1].deliver(b"yo", ("::ffff:" + DNS, 53))
        self.outside[1].deliver(b"no", ("::ffff:" + OTHER, 53))
        self.assertEqual(self.inside.sent[0][0][3], 1)
        self.assertEqual(self.returned, [(b"yo", "192.0.2.7:53")])
        self.assertDropped(1)

    def test_whoMayAnswer(self) -> None:
        """
        R-1928-84: only hosts that the client has sent to may answer, from any port.
        """
        self.open()
        self.send(DNS)
        self.outside[0].deliver(b"yo", (DNS, 4711))
        self.outside[0].deliver(b"no", (OTHER, 53))
        self.assertEqual(self.returned, [(b"yo", "192.0.2.7:4711")])
        self.assertDropped(1)
        self.send(OTHER)
        self.outside[0].deliver(b"yes", (OTHER, 53))
        self.assertEqual(self.returned[1:], [(b"yes", "192.0.2.8:53")])

    def test_deniedMayNotAnswer(self) -> None:
        """
        R-1928-84: that the client has tried to send to a host is not enough.
        """
        self.policy.addresses[OTHER] = Verdict(False, "no")
        self.open()
        self.send(DNS)
        self.send(OTHER)
        self.outside[0].deliver(b"no", (OTHER, 53))
        self.assertEqual(self.returned, [])

    def test_fullCone(self) -> None:
        """
        R-1928-84: where that is switched on, every host may answer.
        """
        self.open(udpFullCone=True)
        self.send(DNS)
        self.outside[0].deliver(b"yo", (OTHER, 4711))
        self.assertEqual(self.returned, [(b"yo", "192.0.2.8:4711")])

    def test_clientUnknown(self) -> None:
        """
        S-03: before the client has shown where it is, nothing can be sent to it.
        """
        self.open(udpFullCone=True)
        socket: Any = self.association._socket(4)
        socket.datagramReceived(b"yo", (OTHER, 4711))
        self.assertEqual(self.inside.sent, [])
        self.assertDropped(1)

    def test_empty(self) -> None:
        """
        An empty answer is an answer.
        """
        self.open()
        self.send(DNS)
        self.outside[0].deliver(b"", (DNS, 53))
        self.assertEqual(self.returned, [(b"", "192.0.2.7:53")])

    def test_largest(self) -> None:
        """
        R-1928-85: what is too long with its header is dropped.
        """
        self.open()
        self.send(DNS)
        self.send(SIX)
        self.outside[0].deliver(b"x" * (65507 - 10), (DNS, 53))
        self.outside[0].deliver(b"x" * (65507 - 9), (DNS, 53))
        self.outside[1].deliver(b"x" * (65507 - 22), (SIX, 53))
        self.outside[1].deliver(b"x" * (65507 - 21), (SIX, 53))
        self.assertEqual([len(data) for data, _ in self.inside.sent], [65507, 65507])
        self.assertDropped(2)

    def test_largestByIPv6(self) -> None:
        """
        R-1928-85: a client with an IPv6 address can be sent 20 octets more.
        """
        self.open(client=CLIENT6[0], reached=(REACHED6,))
        self.fromClient(datagram(DNS, b"hi"), source=CLIENT6)
        self.outside[0].deliver(b"x" * (65527 - 10), (DNS, 53))
        self.outside[0].deliver(b"x" * (65527 - 9), (DNS, 53))
        self.assertEqual([len(data) for data, _ in self.inside.sent], [65527])
        self.assertDropped(1)

    def test_writeErrors(self) -> None:
        """
        R-1928-85: what the system does not take is lost, and only that.
        """
        self.open()
        self.send(DNS)
        for number in (errno.EMSGSIZE, errno.ENETUNREACH, errno.ENOBUFS):
            self.inside.refusal = OSError(number, "no")
            self.outside[0].deliver(b"no", (DNS, 53))
        self.inside.refusal = None
        self.outside[0].deliver(b"yo", (DNS, 53))
        self.assertEqual(self.returned, [(b"yo", "192.0.2.7:53")])
        self.assertEqual(self.association.toClient, 2)
        self.assertDropped(3)


class ReviewTests(AssociationTestCase):
    """
    Tests for L{Association.review}: policy has become another one.
    """

    def setUp(self) -> None:
        """
        An association has three hosts that answer, one of them by name.
        """
        super().setUp()
        self.open()
        for host in (DNS, "b.example", SIX):
            self.send(host)
        self.answer(b"before")
        self.assertEqual(len(self.returned), 3)
        self.inside.sent.clear()

    def answer(self, payload: bytes) -> None:
        """
        All of them answer.
        """
        four, six = self.outside
        four.deliver(payload, (DNS, 53))
        four.deliver(payload, (OTHER, 53))
        six.deliver(payload, (SIX, 53))

    def test_asBefore(self) -> None:
        """
        Where all is still allowed, nothing changes, and no name is looked up again.
        """
        self.association.review()
        self.answer(b"after")
        self.assertEqual(len(self.returned), 3)
        self.send("b.example", b"more")
        self.assertEqual(self.resolver.asked, ["b.example"])
        self.assertDropped(0)

    def test_noLonger(self) -> None:
        """
        What is not allowed any more is neither sent to nor answers, be it asked for by number or
        by name; the others go on.
        """
        no = Verdict(False, "no")
        self.policy.addresses = {DNS: no, OTHER: no}
        self.association.review()
        for socket in self.outside:
            socket.sent.clear()
        self.answer(b"after")
        for host in (DNS, "b.example", SIX):
            self.send(host)
        self.assertEqual(self.returned, [(b"after", f"[{SIX}]:53")])
        self.assertEqual(self.sent, [(b"hi", f"[{SIX}]:53")])
        self.assertDropped(4)

    def test_allowedNow(self) -> None:
        """
        What was denied and is allowed now is sent to.
        """
        denied = "192.0.2.9"
        self.policy.addresses = {denied: Verdict(False, "no")}
        self.send(denied, b"early")
        self.policy.addresses = {}
        self.send(denied, b"early")
        self.association.review()
        self.send(denied, b"late")
        self.assertIn((b"late", f"{denied}:53"), self.sent)
        self.assertDropped(2)


class ExpiryTests(AssociationTestCase):
    """
    Policy changes its mind while an association is open.
    """

    def setUp(self) -> None:
        """
        An association has been used.
        """
        super().setUp()
        self.open()
        self.send(DNS)
        self.send(OTHER)

    def test_user(self) -> None:
        """
        When the user is not allowed to have it any longer, it ends within a minute or so, without
        another datagram.
        """
        self.policy.request = Verdict(False, "default: the user expired")
        self.pump(61)
        self.assertEqual(self.ends, ["no longer allowed: default: the user expired"])
        self.assertOver()

    def test_destination(self) -> None:
        """
        A host that is not allowed any longer gets nothing more, and does not answer.
        """
        self.policy.addresses = {DNS: Verdict(False, "too late")}
        self.pump(61)
        for port in self.outside:
            port.sent.clear()
        self.send(DNS)
        self.send(OTHER)
        self.assertEqual(self.sent, [(b"hi", f"{OTHER}:53")])
        self.pump(1)
        for host in (DNS, OTHER):
            self.outside[0].deliver(b"yo", (host, 53))
        self.assertEqual(self.returned, [(b"yo", f"{OTHER}:53")])

    def pump(self, seconds: int) -> None:
        """
        Let time pass.
        """
        self.reactor.pump([1.0] * seconds)


class FragmentsTests(AssociationTestCase):
    """
    Tests for fragmented datagrams; their order is the matter of L{txsocks5.reassembly}.
    """

    def test_joined(self) -> None:
        """
        R-1928-97: the parts go on as one datagram.
        """
        self.open()
        for fragment, payload in ((0x01, b"ab"), (0x02, b"cd"), (0x83, b"ef")):
            self.send(DNS, payload, fragment)
        self.assertEqual(self.sent, [(b"abcdef", "192.0.2.7:53")])
        self.assertEqual(self.association.fromClient, 6)
        self.assertDropped(0)

    def test_largest(self) -> None:
        """
        R-1928-97: together they may be as long as a datagram can be.
        """
        self.open()
        self.send(DNS, b"x" * 60000, 0x01)
        self.send(DNS, b"y" * 5507, 0x82)
        self.assertEqual([len(payload) for payload, _ in self.sent], [65507])

    def test_interrupted(self) -> None:
        """
        R-1928-95: a whole datagram in between is sent on, and ends the sequence.
        """
        self.open()
        self.send(DNS, b"ab", 0x01)
        self.send(DNS, b"whole")
        self.send(DNS, b"cd", 0x82)
        self.assertEqual(self.sent, [(b"whole", "192.0.2.7:53")])
        self.assertDropped(2)

    def test_malformedInBetween(self) -> None:
        """
        What cannot be read, or comes from somebody else, is not part of any sequence.
        """
        self.open()
        self.send(DNS, b"ab", 0x01)
        self.fromClient(b"\x00\x00\x00\x01", b"\x00\x00\x02\x07")
        self.fromClient(datagram(DNS, b"xx", 0x82), source=(CLIENT[0], 40001))
        self.send(DNS, b"cd", 0x82)
        self.assertEqual(self.sent, [(b"abcd", "192.0.2.7:53")])
        self.assertDropped(3)

    def test_toAName(self) -> None:
        """
        They wait for an address as one datagram.
        """
        self.open()
        self.resolver.hold = True
        self.send("a.example", b"ab", 0x01)
        self.send("a.example", b"cd", 0x82)
        self.resolver.release()
        self.assertEqual(self.sent, [(b"abcd", "192.0.2.7:53")])

    def test_denied(self) -> None:
        """
        To a destination that is refused they come to nothing.
        """
        self.policy.addresses[DNS] = Verdict(False, "no")
        self.open()
        self.send(DNS, b"ab", 0x01)
        self.send(DNS, b"cd", 0x82)
        self.assertEqual(self.sent, [])
        self.assertDropped(1)

    def test_switchedOff(self) -> None:
        """
        R-1928-89: without reassembly every part is dropped.
        """
        self.open(udpReassembly=False)
        for fragment in (0x01, 0x82, 0x81, 0x80):
            self.send(DNS, b"ab", fragment)
        self.assertEqual(self.sent, [])
        self.assertDropped(4)

    def test_timer(self) -> None:
        """
        R-1928-91, R-1928-92: a sequence that is not complete after five seconds is given up, even
        if nothing comes any more, and what it held is free for others.
        """
        self.open()
        self.send(DNS, b"ab", 0x01)
        self.reactor.pump([1] * 4)
        self.assertDropped(0)
        self.reactor.advance(1)
        self.assertDropped(1)
        self.assertTrue(self.association._server.budget.take(64 * 1024 * 1024))

    def test_inherited(self) -> None:
        """
        So are those that were opened before the server had other settings, together with those
        that are opened since.
        """
        before, after = self.server(), self.server()
        after.shareWith(before)
        before.budget.take(64 * 1024 * 1024 - 3)
        first, second = self.open(server=before), self.open(server=after)
        self.inside = self.reactor.udpPorts[0]
        self.send(DNS, b"ab", 0x01)
        self.inside = self.reactor.udpPorts[1]
        self.send(DNS, b"cd", 0x01)
        self.assertEqual((first.dropped, second.dropped), (0, 1))
        first.close()
        self.send(DNS, b"cd", 0x01)
        self.assertEqual((first.dropped, second.dropped), (1, 1))

    def test_sharedBudget(self) -> None:
        """
        R-1928-97: what all associations of a server keep is bounded together.
        """
        server = self.server()
        budget = server.budget
        budget.take(64 * 1024 * 1024 - 3)
        first, second = self.open(server=server), self.open(server=server)
        self.inside = self.reactor.udpPorts[0]
        self.send(DNS, b"ab", 0x01)
        self.inside = self.reactor.udpPorts[1]
        self.send(DNS, b"cd", 0x01)
        self.assertEqual((first.dropped, second.dropped), (0, 1))
        first.close()
        self.send(DNS, b"cd", 0x01)
        self.assertEqual((first.dropped, second.dropped), (1, 1))


class ProtectionTests(AssociationTestCase):
    """
    Tests for methods that encapsulate.
    """

    def setUp(self) -> None:
        """
        Make both sides of a protection.
        """
        super().setUp()
        self.mine = PrivateProtection(0x5A, server=False)
        self.protection = PrivateProtection(0x5A, server=True)
        self.open(protection=self.protection)

    def test_outward(self) -> None:
        """
        R-1928-78: what the client sends is opened; what cannot be opened is dropped, and teaches
        nothing about where the client is.
        """
        wrapped = self.mine.wrapDatagram(datagram(DNS, b"hi"))
        plain = datagram(DNS, b"no")
        forged = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        self.fromClient(plain, forged, b"", source=(CLIENT[0], 40001))
        self.fromClient(wrapped, plain, forged, wrapped)
        self.assertEqual(self.sent, [(b"hi", "192.0.2.7:53")] * 2)
        self.assertDropped(5)

    def test_homeward(self) -> None:
        """
        R-1928-82: what goes to the client is wrapped, header and all.
        """
        self.fromClient(self.mine.wrapDatagram(datagram(DNS, b"hi")))
        self.outside[0].deliver(b"yo", (DNS, 53))
        ((data, where),) = self.inside.sent
        self.assertEqual(where, CLIENT)
        self.assertEqual(self.mine.unwrapDatagram(data), datagram(DNS, b"yo"))
        self.assertEqual(self.association.toClient, 2)

    def test_fragments(self) -> None:
        """
        R-1928-99: each part is wrapped by itself.
        """
        for fragment, payload in ((0x01, b"ab"), (0x82, b"cd")):
            self.fromClient(self.mine.wrapDatagram(datagram(DNS, payload, fragment)))
        self.assertEqual(self.sent, [(b"abcd", "192.0.2.7:53")])

    def test_largest(self) -> None:
        """
        R-1928-85: the wrapping takes part of the room.
        """
        self.fromClient(self.mine.wrapDatagram(datagram(DNS, b"hi")))
        self.outside[0].deliver(b"x" * (65507 - 14), (DNS, 53))
        self.outside[0].deliver(b"x" * (65507 - 13), (DNS, 53))
        self.assertEqual([len(data) for data, _ in self.inside.sent], [65507])
        self.assertDropped(1)

    def test_tooLargeToWrap(self) -> None:
        """
        What the protection has no room for is dropped and counted, and the next is not
        (R-1961-31).
        """

        def wrap(data: bytes) -> bytes:
            if len(data) > 100:
                raise ProtocolError("too long")
            return data

        self.fromClient(self.mine.wrapDatagram(datagram(DNS, b"hi")))
        self.patch(self.protection, "wrapDatagram", wrap)
        self.outside[0].deliver(b"x" * 100, (DNS, 53))
        self.outside[0].deliver(b"yo", (DNS, 53))
        self.assertEqual([data for data, _ in self.inside.sent], [datagram(DNS, b"yo")])
        self.assertDropped(1)


class EndTests(AssociationTestCase):
    """
    Tests for the end of an association.
    """

    def busy(self) -> None:
        """
        Open one, and give it something to let go of: a look-up, fragments, all sockets.
        """
        self.open()
        self.send(DNS)
        self.send(SIX)
        self.send(DNS, b"ab", 0x01)
        self.resolver.hold = True
        self.send("a.example", b"1")
        self.send("a.example", b"2")

    def assertLetGo(self) -> None:
        """
        All of that is gone.
        """
        self.assertOver()
        self.assertEqual(self.resolver.cancelled, ["a.example"])
        self.assertEqual(self.association.dropped, 3)
        self.assertEqual((self.association.fromClient, self.association.toClient), (4, 0))

    def test_lost(self) -> None:
        """
        R-1928-73: with the connection all sockets, queues, look-ups and timers go; nobody needs to
        be told.
        """
        self.busy()
        self.association.clientLost(Failure(ConnectionDone()))
        self.assertLetGo()
        self.assertEqual(self.ends, [])

    def test_finished(self) -> None:
        """
        R-1928-73: the client's FIN is the end; the sockets are closed at once, and do not wait for
        the connection to go.
        """
        self.busy()
        self.association.clientFinished()
        self.assertLetGo()
        self.assertEqual(self.ends, ["client finished"])
        self.association.clientLost(Failure(ConnectionDone()))
        self.assertLetGo()

    def test_aborted(self) -> None:
        """
        When the server stops, it is the end, too.
        """
        self.busy()
        self.association.abort("server stopped")
        self.assertLetGo()
        self.assertEqual(self.ends, [])

    def test_abortedAgain(self) -> None:
        """
        To end it once more changes nothing: its ports may be those of others by now.
        """
        self.busy()
        server = self.association._server
        ports = set(server.outside)
        self.association.abort("server stopped")
        server.outside |= ports
        self.association.close()
        self.assertEqual(server.outside, ports)

    def test_late(self) -> None:
        """
        What the system had received before the sockets were closed is not relayed any more, and
        nothing is looked up or opened for it.
        """
        self.open()
        self.send(DNS)
        outside = self.outside[0]
        asked = len(self.policy.questions)
        self.association.close()
        self.inside.deliverAll([(datagram("b.example", b"no"), CLIENT), (b"", CLIENT)])
        outside.deliverAll([(b"no", (DNS, 53))])
        self.assertEqual(self.inside.sent, [])
        self.assertEqual(len(outside.sent), 1)
        self.assertEqual(self.resolver.asked, [])
        self.assertEqual(len(self.policy.questions), asked)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertOver()

    def test_endedByWhoLooksOn(self) -> None:
        """
        Who looks on may end the session because of what it sees; what else waits for the same
        name is dropped then, and no socket is opened for it.
        """
        self.open()
        self.resolver.hold = True
        for payload in (b"1", b"2"):
            self.send("both.example", payload)
        tap: Any = self.traffic.sessions[0]
        tap.passed = lambda *passage: self.association.abort("over quota")
        self.resolver.release()
        self.assertEqual([payload for payload, _ in self.sent], [b"1"])
        self.assertEqual(self.association.dropped, 1)
        self.assertOver()

    def test_idle(self) -> None:
        """
        R-1928-74, R-1928-75: an association that relays nothing for too long is closed, and then
        so is its connection.
        """
        self.assertEqual(Timeouts().udpIdle, 300)
        self.busy()
        self.reactor.pump([1] * 299)
        self.assertEqual(self.ends, [])
        self.reactor.pump([1] * 2)
        self.assertEqual(self.ends, ["association idle for too long"])
        self.assertOver()
        self.reactor.pump([1] * 10)
        self.assertEqual(len(self.ends), 1)

    def test_notIdle(self) -> None:
        """
        R-1928-75: each datagram in either direction keeps it alive.
        """
        self.open(udpIdle=10)
        for _ in range(3):
            self.send(DNS)
            self.reactor.pump([1] * 8)
            self.outside[0].deliver(b"yo", (DNS, 53))
            self.reactor.pump([1] * 8)
        self.assertEqual(self.ends, [])
        self.reactor.pump([1] * 4)
        self.assertEqual(len(self.ends), 1)

    def test_idleDespiteNoise(self) -> None:
        """
        R-1928-75, R-1928-76: what is dropped, and what comes on the connection, does not.
        """
        self.open(udpIdle=10)
        self.send(DNS)
        for _ in range(11):
            self.fromClient(b"", datagram("no.example", b"hi"))
            self.outside[0].deliver(b"no", (OTHER, 53))
            self.association.clientReceived(b"anybody there?")
            self.reactor.advance(1)
        self.assertEqual(len(self.ends), 1)
        self.assertEqual(self.association.fromClient, 2)

    def test_neverIdle(self) -> None:
        """
        The time can be unlimited.
        """
        self.open(udpIdle=0)
        self.reactor.pump([100] * 100)
        self.assertEqual(self.ends, [])
        self.association.close()
        self.assertOver()


class Bundle:
    """
    A socket that takes several datagrams at a time, and hands over several.

    @ivar interface: the address that it is bound to.

    @ivar received: called with what comes.

    @ivar lost: called when it breaks.

    @ivar sent: for each call the datagrams and who they are for.

    @ivar listening: whether it is.

    @ivar refusing: decides which are not taken.
    """

    def __init__(
        self,
        sockets: Sockets,
        interface: str,
        port: int,
        received: Callable[[Datagrams], None],
        lost: Callable[[Failure], None],
    ) -> None:
        self.interface = interface
        self.received = received
        self.lost = lost
        self.sent: list[tuple[list[bytes], Peer]] = []
        self.listening = True
        self.refusing: Callable[[bytes], bool] = lambda data: False

    def getHost(self) -> Any:
        """
        Where it is.
        """
        kind = twistedAddress.IPv6Address if ":" in self.interface else twistedAddress.IPv4Address
        return kind("UDP", self.interface, 7000)

    def send(self, datagrams: Sequence[bytes], peer: Peer) -> list[int]:
        """
        Send some.
        """
        assert self.listening and datagrams
        refused = [at for at, data in enumerate(datagrams) if self.refusing(data)]
        taken = [data for at, data in enumerate(datagrams) if at not in refused]
        if taken:
            self.sent.append((taken, peer))
        return refused

    def close(self) -> None:
        """
        Close it.
        """
        self.listening = False


class TogetherTests(AssociationTestCase):
    """
    Tests for datagrams that come in one turn of the reactor.
    """

    def setUp(self) -> None:
        """
        Let the system hand over several of them at a time.
        """
        super().setUp()
        self.sockets: list[Bundle] = []

        def opened(*arguments: Any) -> Bundle:
            self.sockets.append(Bundle(*arguments))
            return self.sockets[-1]

        self.patch(Sockets, "open", opened)

    def make(self, protection: PrivateProtection | None = None, **options: Any) -> Association:
        """
        Open an association, and forget those before it.
        """
        self.sockets.clear()
        self.association = self.server(**options).open(
            QUESTION,
            address(CLIENT[0], 0),
            [ip_address(REACHED)],
            self.ends.append,
            protection,
            self.traffic.began(QUESTION) if self.traffic.looking else None,
        )
        self.inside: Any = self.sockets[0]
        return self.association

    def begin(self) -> Association:
        """
        Open one at whose traffic nobody looks.
        """
        self.traffic.looking = False
        return self.make()

    def come(self, *said: bytes, source: Peer = CLIENT) -> None:
        """
        The client's datagrams come, all in one turn.
        """
        self.sockets[0].received([(data, source) for data in said])

    def answer(self, *answers: tuple[bytes, Peer], version: int = 4) -> None:
        """
        The world's datagrams come, all in one turn.
        """
        socket: Any = self.association._sockets[version]
        socket.received(list(answers))

    @property
    def gone(self) -> list[tuple[list[bytes], Peer]]:
        """
        What has gone into the world.
        """
        return [call for socket in self.sockets[1:] for call in socket.sent]

    def test_oneDestination(self) -> None:
        """
        Those that go to one destination leave together, whatever their sizes.
        """
        self.begin()
        self.come(*[datagram(DNS, payload) for payload in (b"1", b"", b"333", b"4")])
        self.assertEqual(self.gone, [([b"1", b"", b"333", b"4"], (DNS, 53))])
        self.assertEqual(self.association.fromClient, 5)
        self.assertDropped(0)

    def test_order(self) -> None:
        """
        Those to others in between leave in between; what is no datagram of the client is in
        nobody's way.
        """
        self.begin()
        self.come(
            datagram(DNS, b"1"),
            datagram(DNS, b"2"),
            datagram(OTHER, b"3"),
            datagram(DNS, b"4", port=54),
            datagram(DNS, b"5"),
            datagram(DNS, b"6"),
        )
        self.sockets[0].received(
            [
                (datagram(DNS, b"7"), CLIENT),
                (datagram(DNS, b"no"), (CLIENT[0], 40001)),
                (datagram(DNS, b"8"), CLIENT),
            ]
        )
        self.assertEqual(
            self.gone,
            [
                ([b"1", b"2"], (DNS, 53)),
                ([b"3"], (OTHER, 53)),
                ([b"4"], (DNS, 54)),
                ([b"5", b"6"], (DNS, 53)),
                ([b"7", b"8"], (DNS, 53)),
            ],
        )
        self.assertDropped(1)

    def test_otherHeaders(self) -> None:
        """
        A header is the same if all of its octets are: FRAG, RSV if that counts, and no part of
        the payload.
        """
        self.begin()
        whole = datagram(DNS, b"1")
        self.come(whole, b"\xff" + whole[1:], datagram(DNS, b"2", 0x81), whole[:9], whole[:10])
        self.assertEqual([payloads for payloads, _ in self.gone], [[b"1"], [b"1"], [b"2"], [b""]])
        self.assertDropped(1)
        self.policy.addresses[OTHER] = Verdict(False, "no")
        self.begin()
        self.come(*[datagram(OTHER, b"1")] * 3, datagram("no.example", b"2"))
        self.assertEqual(self.gone, [])
        self.assertDropped(4)

    def test_names(self) -> None:
        """
        Those to a name leave together once it is resolved, and wait before.
        """
        self.begin()
        self.resolver.hold = True
        self.come(*[datagram("a.example", b"%d" % number) for number in range(2)])
        self.assertEqual(self.gone, [])
        self.resolver.release()
        self.come(*[datagram("a.example", b"%d" % number) for number in range(2, 5)])
        self.assertEqual(
            [payloads for payloads, _ in self.gone], [[b"0"], [b"1"], [b"2", b"3", b"4"]]
        )

    def test_notTaken(self) -> None:
        """
        Those that the system does not take are tried with the next address, and lost if there is
        none.
        """
        self.begin()
        self.come(datagram("both.example", b"0"))
        self.sockets[1].refusing = lambda data: data in (b"2", b"33")
        said = [datagram("both.example", data) for data in (b"1", b"2", b"33", b"4")]
        self.come(*said)
        self.assertEqual(
            self.gone,
            [([b"0"], (SIX, 53)), ([b"1", b"4"], (SIX, 53)), ([b"2", b"33"], (DNS, 53))],
        )
        self.assertDropped(0)
        self.sockets[2].refusing = lambda data: data == b"33"
        self.come(*said)
        self.assertEqual(self.association.fromClient, 1 + 5 + 3)
        self.assertDropped(1)

    def test_answers(self) -> None:
        """
        Answers leave together, whoever they are from, each with its header; strangers' are left
        out.
        """
        self.begin()
        self.come(datagram(DNS, b"1"), datagram(SIX, b"2"))
        self.answer((b"a", (DNS, 53)), (b"no", (OTHER, 53)), (b"", (DNS, 54)))
        self.answer((b"c", (SIX, 53, 0, 0)), version=6)
        self.assertEqual(
            self.sockets[0].sent,
            [
                ([datagram(DNS, b"a"), datagram(DNS, b"", port=54)], CLIENT),
                ([datagram(SIX, b"c")], CLIENT),
            ],
        )
        self.assertEqual(self.association.toClient, 2)
        self.answer((b"no", (OTHER, 53)), (b"x" * 65500, (DNS, 53)))
        self.assertDropped(3)

    def test_answersNotTaken(self) -> None:
        """
        Those of which the system does not take are lost, and are no traffic.
        """
        self.begin()
        self.come(datagram(DNS, b"1"))
        self.sockets[0].refusing = lambda data: data.endswith(b"no")
        self.answer((b"no", (DNS, 53)), (b"yes", (DNS, 53)), (b"no", (DNS, 53)))
        self.assertEqual(self.association.toClient, 3)
        self.assertDropped(2)

    def test_protected(self) -> None:
        """
        R-1928-78, R-1928-82: each is opened and wrapped by itself; in between may be what cannot
        be.
        """
        self.traffic.looking = False
        mine = PrivateProtection(0x5A, server=False)
        self.make(protection=PrivateProtection(0x5A, server=True))
        plain = datagram(DNS, b"1")
        self.come(mine.wrapDatagram(plain), plain, mine.wrapDatagram(datagram(DNS, b"2")))
        self.assertEqual(self.gone, [([b"1", b"2"], (DNS, 53))])
        self.answer((b"3", (DNS, 53)), (b"4", (DNS, 53)))
        ((wrapped, _),) = self.sockets[0].sent
        opened = [mine.unwrapDatagram(data) for data in wrapped]
        self.assertEqual(opened, [datagram(DNS, b"3"), datagram(DNS, b"4")])
        self.assertDropped(1)

    def test_lookedAt(self) -> None:
        """
        Who looks on sees each before the next one leaves, and may end the session with it.
        """
        self.make()
        self.come(*[datagram(DNS, payload) for payload in (b"1", b"2")])
        self.answer((b"3", (DNS, 53)), (b"4", (DNS, 53)))
        self.assertEqual([payloads for payloads, _ in self.gone], [[b"1"], [b"2"]])
        self.assertEqual(len(self.sockets[0].sent), 2)
        tap: Any = self.traffic.sessions[0]
        self.assertEqual([data for _, _, data in tap.passages], [b"1", b"2", b"3", b"4"])
        tap.passed = lambda *passage: self.association.abort("over quota")
        self.answer((b"5", (DNS, 53)), (b"6", (DNS, 53)))
        self.assertEqual(len(self.sockets[0].sent), 3)
        self.make()
        self.traffic.sessions[1].passed = tap.passed  # type: ignore[method-assign]
        self.come(*[datagram(DNS, payload) for payload in (b"1", b"2", b"3")])
        self.assertEqual([payloads for payloads, _ in self.gone], [[b"1"]])

    def test_nothingNewWhenEnded(self) -> None:
        """
        When it is ended with a datagram, no name of the next is looked up.
        """
        self.make()
        tap: Any = self.traffic.sessions[0]
        tap.passed = lambda *passage: self.association.abort("over quota")
        self.come(datagram(DNS, b"1"), datagram("a.example", b"2"), datagram("b.example", b"3"))
        self.assertEqual([payloads for payloads, _ in self.gone], [[b"1"]])
        self.assertEqual(self.resolver.asked, [])

    def test_broken(self) -> None:
        """
        If one of the sockets breaks, the association is over (R-1928-74).
        """
        for which in range(3):
            self.ends.clear()
            self.begin()
            self.come(datagram(DNS, b"1"), datagram(SIX, b"2"))
            self.sockets[which].listening = False
            self.sockets[which].lost(Failure(ConnectionDone("no more")))
            self.assertEqual(self.ends, ["datagrams: closed"])
            self.assertOver()
            self.assertEqual([each.listening for each in self.sockets], [False] * 3)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from((DNS, OTHER, SIX, "a.example", "no.example", "b.example")),
                st.binary(max_size=2),
                st.sampled_from((0, 0, 0, 0, 0x01, 0x82)),
                st.sampled_from((CLIENT, CLIENT, CLIENT, (CLIENT[0], 40001))),
            ),
            max_size=20,
        )
    )
    def test_sameAsAlone(self, said: list[tuple[str, bytes, int, Peer]]) -> None:
        """
        What becomes of them is what would if each had come in a turn of its own.
        """
        outcomes = []
        arrived = [(datagram(*rest), source) for *rest, source in said]
        self.policy.addresses[OTHER] = Verdict(False, "no")
        for turns in ([arrived], [[arrival] for arrival in arrived]):
            self.begin()
            for turn in turns:
                self.sockets[0].received(turn)
            gone = {
                each.interface: [(data, peer) for sent, peer in each.sent for data in sent]
                for each in self.sockets
            }
            association = self.association
            outcomes.append((gone, association.dropped, association.fromClient))
            association.close()
        self.assertEqual(outcomes[0], outcomes[1])


class _Peer(DatagramProtocol):
    """
    One that sends back what it gets, or keeps it.
    """

    def __init__(self, echo: bool) -> None:
        self.echo = echo
        self.next: Deferred[bytes] = Deferred()

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """
        Keep a datagram, or send it back.
        """
        if self.echo:
            assert self.transport is not None
            self.transport.write(data, addr)
        else:
            received, self.next = self.next, Deferred()
            received.callback(data)


class RealTests(TestCase):
    """
    Tests with sockets of the system, on the loopback address: a fake cannot tell whether the
    sizes are right.
    """

    def openHere(self, reactor: Any) -> Association:
        """
        Open an association for a client on this machine.
        """
        network, timeouts = Network(), Timeouts()
        resolver: Any = ScriptedResolver({"echo.example": ["127.0.0.1"]})
        policy = DefaultPolicy(local=True)
        outgoing = Outgoing(reactor, policy, resolver, TCPDialer(reactor), network, timeouts)
        associations = Associations(reactor, outgoing, network, timeouts, Sweep(reactor))
        association = associations.open(
            QUESTION, Address(LOOPBACK, 0), [LOOPBACK], lambda reason: None, None, None
        )
        self.addCleanup(deferLater, reactor, 0, lambda: None)
        self.addCleanup(association.close)
        return association

    async def test_turns(self) -> None:
        """
        When the system has ever so many datagrams for an association, even empty ones, others are
        served in between, and none is lost by that.
        """
        from twisted.internet import reactor

        there: Any = reactor
        mine = there.listenUDP(0, _Peer(False), interface="127.0.0.1")
        self.addCleanup(mine.stopListening)
        association = self.openHere(there)
        for _ in range(150):
            mine.write(b"", ("127.0.0.1", association.bound.port))
        read = [0]
        while read[-1] < 150 and len(read) < 1000:
            await deferLater(there, 0, lambda: None)
            read.append(association.dropped)
        self.assertEqual(read[-1], 150)
        turns = [after - before for before, after in pairwise(read)]
        self.assertLessEqual(max(turns), 64)

    async def test_roundTrip(self) -> None:
        """
        R-1928-81, R-1928-85: an empty datagram and one of the largest that there are go to a host
        and come back.
        """
        from twisted.internet import reactor

        there: Any = reactor
        client, echo = _Peer(False), _Peer(True)
        mine = there.listenUDP(0, client, interface="127.0.0.1", maxPacketSize=65536)
        self.addCleanup(mine.stopListening)
        host = there.listenUDP(0, echo, interface="127.0.0.1", maxPacketSize=65536)
        self.addCleanup(host.stopListening)
        association = self.openHere(there)
        port = host.getHost().port
        for name in ("127.0.0.1", "echo.example"):
            for payload in (b"", b"x" * (65507 - 10 - len(name))):
                received = client.next
                mine.write(
                    datagram(name, payload, port=port), ("127.0.0.1", association.bound.port)
                )
                answer = Datagram.read(await received, strict=True)
                self.assertEqual(answer, Datagram(Address(LOOPBACK, port), payload))
        self.assertEqual(association.fromClient, association.toClient)
        self.assertEqual(association.dropped, 0)

    async def test_manyAtOnce(self) -> None:
        """
        Datagrams that client and host send and take many at a time, where the system can do that,
        come there and back as they were sent: in their order, the last one shorter.
        """
        from twisted.internet import reactor

        there: Any = reactor
        association = self.openHere(there)
        answered: Deferred[None] = Deferred()
        heard: list[bytes] = []

        def echoed(arrived: Datagrams) -> None:
            heard.extend(data for data, _ in arrived)
            if len(heard) == len(said):
                answered.callback(None)

        def echo(arrived: Datagrams) -> None:
            host.send([data for data, _ in arrived], arrived[0][1])

        sockets = Sockets(there)
        host = sockets.open("127.0.0.1", 0, echo, self.fail)
        self.addCleanup(host.close)
        client = sockets.open("127.0.0.1", 0, echoed, self.fail)
        self.addCleanup(client.close)
        port = host.getHost().port
        said = [datagram("127.0.0.1", b"%04d" % n * 300, port=port) for n in range(50)]
        said.append(datagram("127.0.0.1", b"last", port=port))
        lost = client.send(said, ("127.0.0.1", association.bound.port))
        self.assertEqual(list(lost), [])
        await answered.addTimeout(30, there)
        self.assertEqual(heard, said)
        self.assertEqual(association.fromClient, 50 * 1200 + 4)
        self.assertEqual(association.toClient, association.fromClient)
        self.assertEqual(association.dropped, 0)

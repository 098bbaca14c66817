"""
Tests for L{txsocks5.bind}.
"""

from __future__ import annotations

import contextlib
import errno
import gc
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from unittest.mock import patch

from twisted.internet import address as twistedAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.bind import MAX_STRANGERS, Binder, Listener
from txsocks5.config import Network, Timeouts
from txsocks5.errors import (
    AddressTypeNotSupported,
    NameNotResolved,
    NoRoute,
    NotAllowed,
    OverLimit,
    Overloaded,
    TimedOut,
    replyCodeOf,
)
from txsocks5.interfaces import Identity, Question, Verdict
from txsocks5.outgoing import Outgoing
from txsocks5.stream import TargetProtocol
from txsocks5.testing import (
    MemoryConnection,
    MemoryReactor,
    MemoryTCPPort,
    RecordingPeer,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
)
from txsocks5.wire import Address, Command, IPAddress

PEER = "192.0.2.7"
OTHER = "192.0.2.8"
PEER6 = "2001:db8::7"

# Where the client has reached the server, and what leads to the peer.
REACHED = "203.0.113.5"
OUTSIDE = "198.51.100.1"
OUTSIDE6 = "2001:db8::1"


def asking(host: str, port: int = 21) -> Question:
    """
    A BIND of alice's.
    """
    target: Any = host
    with contextlib.suppress(ValueError):
        target = ip_address(host)
    client = ip_address("198.51.100.77")
    return Question(Identity("alice", 2), client, Command.BIND, Address(target, port))


class BindTestCase(SynchronousTestCase):
    """
    BIND on fakes.
    """

    def setUp(self) -> None:
        """
        Let there be ways to peers of both families.
        """
        self.reactor = MemoryReactor()
        self.policy = ScriptedPolicy()
        self.resolver = ScriptedResolver({"peer.example": [PEER6, PEER]})
        self.strangers: list[tuple[str, str]] = []
        self.granted: list[Verdict] = []
        self.routes: dict[str, str | Exception | None] = {
            PEER: OUTSIDE,
            OTHER: OUTSIDE,
            PEER6: OUTSIDE6,
        }
        patched = patch("txsocks5.bind.local.sourceTowards", side_effect=self.sourceTowards)
        patched.start()
        self.addCleanup(patched.stop)

    def sourceTowards(self, address: IPAddress) -> IPAddress | None:
        """
        Which address leads to another.
        """
        source = self.routes[str(address)]
        if isinstance(source, Exception):
            raise source
        return None if source is None else ip_address(source)

    def turnedAway(self, peer: object, reason: str) -> None:
        """
        Keep who was turned away.
        """
        self.strangers.append((str(peer), reason))

    def listen(
        self,
        host: str,
        granted: Callable[[Verdict], None] | None = None,
        *,
        bind: float = 120,
        reached: str = REACHED,
        **network: Any,
    ) -> Deferred[Listener]:
        """
        Begin.
        """
        settings, timeouts = Network(**network), Timeouts(bind=bind)
        outgoing = Outgoing(
            self.reactor, self.policy, self.resolver, ScriptedDialer(), settings, timeouts
        )
        binder = Binder(self.reactor, outgoing, self.policy, settings, timeouts)
        return Deferred.fromCoroutine(
            binder.listen(
                asking(host),
                [ip_address(each) for each in reached.split()],
                self.turnedAway,
                granted or self.granted.append,
            )
        )

    def wait(self, host: str, **options: Any) -> tuple[Listener, Deferred[TargetProtocol]]:
        """
        Begin, and wait for the peer.
        """
        listener = self.successResultOf(self.listen(host, **options))
        return listener, Deferred.fromCoroutine(listener.peer())

    @property
    def port(self) -> MemoryTCPPort:
        """
        The port that was opened last.
        """
        return self.reactor.tcpPorts[-1]

    def arrive(self, host: str, port: int = 20) -> MemoryConnection | None:
        """
        Somebody connects.
        """
        kind: Any = twistedAddress.IPv6Address if ":" in host else twistedAddress.IPv4Address
        return self.port.connect(RecordingPeer(), kind("TCP", host, port))

    def assertOver(self) -> None:
        """
        Neither a port nor a timer is left.
        """
        self.assertEqual([port for port in self.reactor.tcpPorts if port.listening], [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ListenTests(BindTestCase):
    """
    Tests for the first reply: where the server listens.
    """

    def test_notReachedByItsOwnAddress(self) -> None:
        """
        Behind a PROXY header the address that the client has reached may be another machine's;
        whoever may come comes to the server's own (R-1928-56).
        """
        self.reactor.foreign.add("203.0.113.9")
        listener = self.successResultOf(self.listen("0.0.0.0", reached="203.0.113.9 203.0.113.5"))
        self.assertEqual(str(listener.bound.host), "203.0.113.5")

    def test_listens(self) -> None:
        """
        R-1928-55, R-1928-56: it listens on the address that leads to the expected peer, on no
        other, with a small backlog, and tells just that.
        """
        listener = self.successResultOf(self.listen(PEER))
        self.assertEqual(self.port.interface, OUTSIDE)
        self.assertEqual(self.port.backlog, MAX_STRANGERS)
        self.assertTrue(self.port.listening)
        self.assertEqual(listener.bound, Address(ip_address(OUTSIDE), self.port.port))
        self.assertEqual(listener.reason, "scripted: any address")

    def test_ipv6(self) -> None:
        """
        The family is that of the peer.
        """
        listener = self.successResultOf(self.listen(PEER6))
        self.assertEqual(self.port.interface, OUTSIDE6)
        self.assertEqual(listener.bound.host, ip_address(OUTSIDE6))

    def test_advertised(self) -> None:
        """
        R-1928-56: behind NAT it tells the address that is configured for the family, and listens
        on its own.
        """
        advertise = (ip_address("233.252.0.9"),)
        listener = self.successResultOf(self.listen(PEER, advertise=advertise))
        self.assertEqual(self.port.interface, OUTSIDE)
        self.assertEqual(listener.bound, Address(advertise[0], self.port.port))
        listener = self.successResultOf(self.listen(PEER6, advertise=advertise))
        self.assertEqual(listener.bound, Address(ip_address(OUTSIDE6), self.port.port))

    def test_anybody(self) -> None:
        """
        R-1928-59: all zeros means any peer; it listens where the client has reached the server,
        and never on all addresses.
        """
        for host in ("0.0.0.0", "::"):
            listener = self.successResultOf(self.listen(host))
            self.assertEqual(self.port.interface, REACHED)
            self.assertEqual(listener.bound, Address(ip_address(REACHED), self.port.port))
            self.assertEqual(listener.reason, "scripted: any request")
        self.assertEqual(self.policy.asked, [])

    def test_granted(self) -> None:
        """
        Whoever asks hears what allowed it before anything is opened, and can still prevent it.
        """
        self.policy.addresses[PEER] = verdict = Verdict(True, "rule 1")
        self.successResultOf(self.listen(PEER))
        self.successResultOf(self.listen("0.0.0.0"))
        self.assertEqual(self.granted, [verdict, self.policy.request])
        opened = len(self.reactor.tcpPorts)

        def prevent(verdict: Verdict) -> None:
            raise OverLimit("too many")

        for host in (PEER, "0.0.0.0"):
            self.failureResultOf(self.listen(host, prevent), OverLimit)
        self.assertEqual(len(self.reactor.tcpPorts), opened)

    def test_portRange(self) -> None:
        """
        R-1928-56: the port is one of the configured range; if none is free, there is none.
        """
        for _ in range(2):
            self.successResultOf(self.listen(PEER, ports=range(20000, 20002)))
        self.assertEqual({port.port for port in self.reactor.tcpPorts}, {20000, 20001})
        reason = self.failureResultOf(self.listen(PEER, ports=range(20000, 20002)), Overloaded)
        self.assertEqual(replyCodeOf(reason.value), 1)

    def test_noPort(self) -> None:
        """
        If the system has no port to give, that is a general failure, and nothing is left behind.
        """
        self.reactor.foreign.add(OUTSIDE)
        reason = self.failureResultOf(self.listen(PEER), CannotListenError)
        self.assertEqual(replyCodeOf(reason.value), 1)
        self.assertOver()

    def test_policy(self) -> None:
        """
        R-1928-54, R-1928-57: policy decides about the request, and about the expected peer.
        """
        self.policy.addresses[PEER] = Verdict(False, "rule 7")
        reason = self.failureResultOf(self.listen(PEER), NotAllowed)
        self.assertEqual(str(reason.value), "rule 7")
        self.policy.request = Verdict(False, "rule 8")
        for host in (OTHER, "0.0.0.0", "::", "peer.example"):
            reason = self.failureResultOf(self.listen(host), NotAllowed)
            self.assertEqual(str(reason.value), "rule 8")
        self.assertEqual(self.reactor.tcpPorts, [])
        self.assertEqual(self.resolver.asked, [])

    def test_notResolved(self) -> None:
        """
        The peer may be a name, which has to resolve, in time.
        """
        self.failureResultOf(self.listen("no.example"), NameNotResolved)
        self.resolver.hold = True
        listening = self.listen("peer.example")
        self.reactor.advance(30)
        self.failureResultOf(listening, NameNotResolved)
        self.assertEqual(self.reactor.tcpPorts, [])

    def test_familySwitchedOff(self) -> None:
        """
        R-1928-22: so is a family that is switched off.
        """
        self.failureResultOf(self.listen(PEER6, prefer="ipv4-only"), AddressTypeNotSupported)

    def test_noRoute(self) -> None:
        """
        If no way leads to the peer, it could not come either.
        """
        self.routes[PEER] = None
        reason = self.failureResultOf(self.listen(PEER), NoRoute)
        self.assertEqual(replyCodeOf(reason.value), 3)
        self.assertEqual(self.reactor.tcpPorts, [])

    def test_oneAddressHasARoute(self) -> None:
        """
        If the peer has several addresses, it is enough that a way leads to one of them, whatever
        is wrong with the others: a machine may be without IPv6.
        """
        for failure in (None, OSError(errno.EAFNOSUPPORT, "no")):
            self.routes[PEER6] = failure
            listener, arriving = self.wait("peer.example")
            self.assertEqual(listener.bound.host, ip_address(OUTSIDE))
            self.arrive(PEER)
            self.successResultOf(arriving)

    def test_noSocket(self) -> None:
        """
        If it cannot be found out at all, the reply tells why.
        """
        self.routes[PEER] = OSError(errno.EMFILE, "too many open files")
        reason = self.failureResultOf(self.listen(PEER), OSError)
        self.assertEqual(replyCodeOf(reason.value), 1)

    def test_cancel(self) -> None:
        """
        R-1928-47: if the client leaves while the name of the peer is looked up, nothing is
        listened on.
        """
        self.resolver.hold = True
        listening = self.listen("peer.example")
        listening.cancel()
        self.failureResultOf(listening, CancelledError)
        self.resolver.release()
        self.assertEqual(self.reactor.tcpPorts, [])
        self.assertOver()


class PeerTests(BindTestCase):
    """
    Tests for the second reply: who has come.
    """

    def test_comes(self) -> None:
        """
        R-1928-61, R-1928-62: when the peer has come, the port is closed, and its connection is
        ready for the relay.
        """
        _, arriving = self.wait(PEER)
        self.assertNoResult(arriving)
        self.assertIsNotNone(self.arrive(PEER))
        target = self.successResultOf(arriving)
        self.assertEqual(target.stream.transport.getPeer().host, PEER)
        self.assertOver()

    def test_anyPort(self) -> None:
        """
        R-1928-58: the peer may come from any port.
        """
        for port in (20, 21, 65535):
            _, arriving = self.wait(PEER)
            self.arrive(PEER, port)
            self.assertEqual(self.successResultOf(arriving).stream.transport.getPeer().port, port)

    def test_anyAddressOfAName(self) -> None:
        """
        R-1928-58: if the peer was named, any of its addresses will do.
        """
        for host in (PEER, PEER6):
            _, arriving = self.wait("peer.example")
            self.arrive(host)
            self.successResultOf(arriving)
        self.assertEqual(self.strangers, [])

    def test_mapped(self) -> None:
        """
        R-1928-34: a socket for both families calls the peer by another name; it is the peer.
        """
        _, arriving = self.wait(PEER)
        self.arrive("::ffff:" + PEER)
        self.successResultOf(arriving)

    def test_stranger(self) -> None:
        """
        R-1928-60: somebody else is turned away, which the log is told, and waiting goes on.
        """
        _, arriving = self.wait(PEER)
        self.assertIsNone(self.arrive(OTHER, 4711))
        self.assertIsNone(self.arrive(PEER6, 4711))
        self.assertNoResult(arriving)
        self.assertEqual(
            self.strangers,
            [
                ("192.0.2.8:4711", "not the expected peer"),
                ("[2001:db8::7]:4711", "not the expected peer"),
            ],
        )
        self.assertIsNotNone(self.arrive(PEER))
        self.successResultOf(arriving)

    def test_seventhStranger(self) -> None:
        """
        R-1928-60: seven strangers do not keep the peer away.
        """
        _, arriving = self.wait(PEER)
        for _ in range(MAX_STRANGERS - 1):
            self.arrive(OTHER)
        self.assertNoResult(arriving)
        self.arrive(PEER)
        self.successResultOf(arriving)

    def test_tooManyStrangers(self) -> None:
        """
        R-1928-60: after eight of them waiting ends with REP C{02}; the port is closed, and not
        even the peer is let in.
        """
        self.assertEqual(MAX_STRANGERS, 8)
        _, arriving = self.wait(PEER)
        factory = self.port.factory
        for _ in range(MAX_STRANGERS):
            self.arrive(OTHER)
        reason = self.failureResultOf(arriving, NotAllowed)
        self.assertEqual(replyCodeOf(reason.value), 2)
        self.assertOver()
        late: Any = twistedAddress.IPv4Address("TCP", PEER, 20)
        self.assertIsNone(factory.buildProtocol(late))
        self.assertEqual(len(self.strangers), MAX_STRANGERS)

    def test_onlyOne(self) -> None:
        """
        R-1928-62: one peer is let in; one that the system had accepted before the port was closed
        is not, and it counts for nothing.
        """
        listener, arriving = self.wait(PEER)
        closed: Deferred[None] = Deferred()
        with patch.object(self.port, "stopListening", return_value=closed):
            self.arrive(PEER)
            self.assertNoResult(arriving)
            self.assertIsNone(self.arrive(PEER))
        closed.callback(None)
        self.successResultOf(arriving)
        self.assertEqual(self.strangers, [])
        self.assertEqual(listener.reason, "scripted: any address")

    def test_policyJudgesThePeer(self) -> None:
        """
        Where any peer may come (R-1928-59), policy is asked about the one that does.
        """
        self.policy.addresses[OTHER] = Verdict(False, "rule 7")
        _, arriving = self.wait("0.0.0.0")
        self.arrive(OTHER)
        self.assertEqual(self.strangers, [("192.0.2.8:20", "rule 7")])
        self.arrive(PEER)
        self.successResultOf(arriving)
        self.assertEqual([str(address) for _, address in self.policy.asked], [OTHER, PEER])
        self.assertEqual({question for question, _ in self.policy.asked}, {asking("0.0.0.0")})

    def test_policyHasChanged(self) -> None:
        """
        An expected peer that policy no longer admits is turned away.
        """
        _, arriving = self.wait(PEER)
        self.policy.addresses[PEER] = Verdict(False, "rule 7")
        self.arrive(PEER)
        self.assertEqual(self.strangers, [("192.0.2.7:20", "rule 7")])
        self.assertNoResult(arriving)

    def test_withoutAddress(self) -> None:
        """
        Who has no address of the internet is a stranger.
        """
        _, arriving = self.wait("0.0.0.0")
        for nowhere in (None, twistedAddress.UNIXAddress(b"/run/x")):
            built: Any = nowhere
            self.assertIsNone(self.port.factory.buildProtocol(built))
        self.assertEqual(self.strangers, [("None", "not an internet address")] * 2)
        self.assertNoResult(arriving)

    def test_tooLong(self) -> None:
        """
        R-1928-62: the peer has two minutes; then waiting ends with REP C{06}, and the port is
        closed.
        """
        self.assertEqual(Timeouts().bind, 120)
        _, arriving = self.wait(PEER)
        self.reactor.advance(60)
        self.arrive(OTHER)
        self.reactor.advance(59.9)
        self.assertNoResult(arriving)
        self.reactor.advance(0.1)
        reason = self.failureResultOf(arriving, TimedOut)
        self.assertEqual(replyCodeOf(reason.value), 6)
        self.assertIn("120 s", str(reason.value))
        self.assertOver()

    def test_noTimeout(self) -> None:
        """
        The time can be unlimited.
        """
        _, arriving = self.wait(PEER, bind=0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.arrive(PEER)
        self.successResultOf(arriving)

    def test_cancel(self) -> None:
        """
        R-1928-62: if the client leaves, the port is closed and the clock is stopped.
        """
        _, arriving = self.wait(PEER)
        arriving.cancel()
        self.failureResultOf(arriving, CancelledError)
        self.assertOver()

    def test_cancelWhileClosing(self) -> None:
        """
        If the client leaves when the peer has just come, and the port is still being closed, the
        peer's connection is reset.
        """
        _, arriving = self.wait(PEER)
        closed: Deferred[None] = Deferred()
        with patch.object(self.port, "stopListening", return_value=closed):
            connection = self.arrive(PEER)
        arriving.cancel()
        self.failureResultOf(arriving, CancelledError)
        self.assertReset(connection)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closingFails(self) -> None:
        """
        So it is if the port cannot be closed.
        """
        _, arriving = self.wait(PEER)
        with patch.object(self.port, "stopListening", side_effect=OSError(errno.EBADF, "no")):
            connection = self.arrive(PEER)
        assert connection is not None
        self.failureResultOf(arriving, OSError)
        connection.flush()
        self.assertFalse(connection.server.connected)

    def assertReset(self, connection: MemoryConnection | None) -> None:
        """
        A peer has been let in, and its connection was reset.
        """
        assert connection is not None
        connection.flush()
        peer: Any = connection.client.protocol
        self.assertTrue(peer.lost.check(ConnectionLost))

    def test_nobodyAwaits(self) -> None:
        """
        If the session ends before anybody waits for the peer, the port is closed and the clock is
        stopped, with or without a limit of time.
        """
        for bind in (120, 0):
            listener = self.successResultOf(self.listen(PEER, bind=bind))
            listener.close()
            self.assertOver()
            listener.close()
        del listener
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nobodyAwaitsWhoHasCome(self) -> None:
        """
        A peer that has come by then is reset.
        """
        listener = self.successResultOf(self.listen(PEER))
        connection = self.arrive(PEER)
        listener.close()
        self.assertReset(connection)
        self.assertOver()

    def test_nobodyAwaitsStrangers(self) -> None:
        """
        That too many strangers have come by then is nobody's concern any more.
        """
        listener = self.successResultOf(self.listen(PEER))
        for _ in range(MAX_STRANGERS):
            self.arrive(OTHER)
        listener.close()
        self.assertOver()
        del listener
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_awaited(self) -> None:
        """
        Once somebody waits for the peer, port and peer are theirs.
        """
        listener, arriving = self.wait(PEER)
        listener.close()
        self.assertTrue(self.port.listening)
        self.assertNoResult(arriving)
        connection = self.arrive(PEER)
        self.successResultOf(arriving)
        listener.close()
        assert connection is not None
        connection.flush()
        self.assertTrue(connection.server.connected)
        self.assertOver()

    def test_speaksAndLeaves(self) -> None:
        """
        What a peer sends before anybody listens is not lost, and neither is its end.
        """
        _, arriving = self.wait(PEER)
        connection = self.arrive(PEER)
        assert connection is not None
        target = self.successResultOf(arriving)
        connection.client.write(b"220 ready")
        connection.client.loseConnection()
        connection.flush()
        heard: list[object] = []

        class Ear:
            def received(self, data: bytes) -> None:
                heard.append(data)

            def finished(self) -> None:
                heard.append("FIN")

            def lost(self, reason: Any) -> None:
                heard.append(reason.type)

        target.listen(Ear())
        connection.flush()
        self.assertEqual(heard[:2], [b"220 ready", "FIN"])
        target.stream.close()
        connection.flush()
        self.assertEqual(heard[2:], [ConnectionDone])

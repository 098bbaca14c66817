"""
Tests for L{txsocks5.service}.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import IService, MultiService
from twisted.internet import reactor as installedReactor
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    _SystemdParser,
    wrapClientTLS,
)
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from txsocks5 import listening
from txsocks5 import service as module
from txsocks5.assembly import Assembly, assemble
from txsocks5.auth import Anonymous, PasswordAuthenticator
from txsocks5.bandwidth import Meter
from txsocks5.config import Configuration, Limits, Quota, Timeouts, User
from txsocks5.interfaces import Identity, Question, Step
from txsocks5.ledger import Ledger
from txsocks5.policy import DefaultPolicy
from txsocks5.server import SOCKS5Factory, SOCKS5Protocol
from txsocks5.service import BACKLOG, SOCKS5Service
from txsocks5.testing import (
    MemoryConnection,
    MemoryReactor,
    MemoryTransport,
    RecordedEvents,
    RecordingPeer,
    ScriptedAuthenticator,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
)
from txsocks5.usage import UnusableDatabase
from txsocks5.wire import Address, Command

from .certificates import writeCertificate

reactor: Any = installedReactor

HERE = "tcp:1080:interface=127.0.0.1"
THERE = "tcp:1081:interface=127.0.0.1"
ELSEWHERE = "tcp:1082:interface=127.0.0.1"

ARRIVED = {
    1: Address(ip_address("192.0.2.1"), 1090),
    2: Address(ip_address("127.0.0.1"), 1081),
}

HELLO = b"\x05\x01\x00"
TO_HOST = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50"
TO_NAME = b"\x05\x01\x00\x03\x0bexample.com\x00\x50"
BIND_ANY = b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"
ASSOCIATE = b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"


class Performer:
    """
    Stands for who does a request.
    """

    def metered(self, meter: Meter | None) -> None:
        """
        Never called.
        """

    def overdrawn(self, reason: str) -> None:
        """
        Never called.
        """


class ServiceFixture(SynchronousTestCase):
    """
    A server on a fake reactor.
    """

    def setUp(self) -> None:
        """
        Make a server on a fake reactor.
        """
        self.reactor = MemoryReactor()
        self.factory = SOCKS5Factory(self.reactor, policy=DefaultPolicy(local=True))
        self.events = RecordedEvents(self)

    def make(self, *listen: str) -> SOCKS5Service:
        """
        Make a service.
        """
        return SOCKS5Service(self.factory, listen or ("tcp:1080:interface=127.0.0.1",))

    def listening(self) -> list[int]:
        """
        The ports that are open.
        """
        return [port.port for port in self.reactor.tcpPorts if port.listening]


class ListeningTests(ServiceFixture):
    """
    A service begins to listen, and stops.
    """

    def test_service(self) -> None:
        """
        It is a service like any other; there can be several in one application.
        """
        service = self.make()
        self.assertTrue(IService.providedBy(service))
        parent = MultiService()
        service.setServiceParent(parent)
        self.make("tcp:1081:interface=127.0.0.1").setServiceParent(parent)
        self.assertIn(service, list(parent))
        parent.privilegedStartService()
        parent.startService()
        self.assertEqual(self.listening(), [1080, 1081])
        self.successResultOf(parent.stopService())
        self.assertEqual(self.listening(), [])

    def test_oneString(self) -> None:
        """
        A single endpoint needs no list.
        """
        service = SOCKS5Service(self.factory, "tcp:1080:interface=127.0.0.1")
        service.startService()
        self.assertEqual(self.listening(), [1080])
        self.successResultOf(service.stopService())

    def test_howToTry(self) -> None:
        """
        What is offered is said, and how to try it, if curl can do that; everywhere is not where
        curl can connect to.
        """
        none, private = Anonymous(), ScriptedAuthenticator()
        password = PasswordAuthenticator(self.reactor, [])
        for authenticators, endpoint, methods, url in (
            ([none], "tcp:1080", "00 (Anonymous)", "127.0.0.1:1080"),
            ([none], "tcp6:1080", "00 (Anonymous)", "[::1]:1080"),
            (
                [password],
                "tcp:1080",
                "02 (PasswordAuthenticator)",
                "USER:PASSWORD@127.0.0.1:1080",
            ),
            (
                [none, password],
                "tcp:1080",
                "00 (Anonymous), 02 (PasswordAuthenticator)",
                "127.0.0.1:1080",
            ),
            ([private], "tcp:1080", "81 (ScriptedAuthenticator)", None),
        ):
            self.events.events.clear()
            service = SOCKS5Service(
                SOCKS5Factory(MemoryReactor(), authenticators=authenticators), endpoint
            )
            service.startService()
            self.assertEqual(self.events.one("offering")["methods"], methods)
            urls = [event["url"] for event in self.events.named("ready")]
            self.assertEqual(urls, [] if url is None else [f"socks5h://{url}"])

    def test_several(self) -> None:
        """
        It listens at every endpoint; the server knows where, so as not to connect to itself
        (S-18).
        """
        service = self.make(
            "tcp:1080:interface=127.0.0.1",
            r"tcp6:1080:interface=\:\:1",
            "haproxy:tcp:1081:interface=127.0.0.1",
        )
        service.startService()
        self.assertEqual(self.listening(), [1080, 1080, 1081])
        self.assertEqual(
            self.factory.listeners,
            {
                Address(ip_address("127.0.0.1"), 1080),
                Address(ip_address("::1"), 1080),
                Address(ip_address("127.0.0.1"), 1081),
            },
        )

    def test_logged(self) -> None:
        """
        It says where it listens, port 0 resolved, and then how to try it.
        """
        service = self.make("tcp:0:interface=127.0.0.1", r"tcp6:1081:interface=\:\:1")
        service.startService()
        port = self.listening()[0]
        self.assertEqual(self.events.names, ["listening", "listening", "offering", "ready"])
        self.assertEqual(
            [event["address"] for event in self.events.named("listening")],
            [f"127.0.0.1:{port}", "[::1]:1081"],
        )
        self.assertEqual(self.events.one("ready")["url"], f"socks5h://127.0.0.1:{port}")

    def test_nothingToTry(self) -> None:
        """
        It does not say how, if curl could not: behind a load balancer, say.
        """
        for endpoints in (["haproxy:tcp:1080"], ["haproxy:tcp:1081", "tcp:1082"], []):
            service = SOCKS5Service(self.factory, endpoints)
            service.startService()
            self.assertEqual(self.events.named("ready"), [])

    def test_twice(self) -> None:
        """
        Starting it twice, as C{twistd} does when it has privileges to drop, makes it listen
        once.
        """
        service = self.make()
        service.privilegedStartService()
        service.privilegedStartService()
        service.startService()
        service.startService()
        self.assertEqual(self.listening(), [1080])
        self.assertTrue(service.running)

    def test_again(self) -> None:
        """
        It can be started again after it was stopped, and stopped twice.
        """
        service = self.make()
        for _ in range(2):
            service.startService()
            self.assertEqual(self.listening(), [1080])
            self.successResultOf(service.stopService())
            self.successResultOf(service.stopService())
            self.assertEqual(self.listening(), [])
            self.assertEqual(self.factory.listeners, set())
            self.assertFalse(service.running)

    def test_neverStarted(self) -> None:
        """
        It can be stopped without having been started.
        """
        self.successResultOf(self.make().stopService())

    def test_othersListeners(self) -> None:
        """
        Where else the server listens, by means of the application's, is left alone.
        """
        elsewhere = Address(ip_address("192.0.2.1"), 9050)
        self.factory.listeners.add(elsewhere)
        service = self.make()
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(self.factory.listeners, {elsewhere})

    def test_occupied(self) -> None:
        """
        If one endpoint cannot listen, the others do not either, and the error says which it was.
        """
        self.reactor.occupied.add(1081)
        endpoints = [f"tcp:{port}:interface=127.0.0.1" for port in (1080, 1081, 1082)]
        service = self.make(*endpoints)
        for start in (service.privilegedStartService, service.startService):
            error = self.assertRaises(CannotListenError, start)
            self.assertEqual(error.port, 1081)
            self.assertEqual(self.listening(), [])
            self.assertEqual(self.factory.listeners, set())
            self.assertFalse(service.running)
        self.assertEqual(self.events.named("ready"), [])
        # The third is not even tried.
        self.assertEqual(
            {event["address"] for event in self.events.named("listening")}, {"127.0.0.1:1080"}
        )

    def test_quotas(self) -> None:
        """
        The quotas that were used before are read at the start, and written down at the end.
        """
        limits = Limits(quotaPerUser=Quota(1000, "month"), database=self.mktemp())
        question = Question(Identity("alice", 2), None, Command.CONNECT, None)
        for left in (1000, 600):
            ledger = Ledger(self.reactor, limits)
            self.factory = SOCKS5Factory(
                self.reactor, policy=DefaultPolicy(local=True), ledger=ledger
            )
            service = self.make()
            service.startService()
            holding = ledger.hold(question, None, Performer())
            assert holding.meter is not None
            self.assertEqual(holding.meter.allowance(), left)
            holding.meter.spent(400)
            holding.release()
            self.successResultOf(service.stopService())

    def test_noQuotas(self) -> None:
        """
        If the quotas cannot be read it does not listen.
        """
        ledger = Ledger(self.reactor, Limits(database=self.mktemp() + "/quotas"))
        self.factory = SOCKS5Factory(self.reactor, policy=DefaultPolicy(local=True), ledger=ledger)
        service = self.make()
        self.assertRaises(UnusableDatabase, service.startService)
        self.assertEqual((self.listening(), service.running), ([], False))

    def test_occupiedNoMore(self) -> None:
        """
        It can be started when the reason has gone.
        """
        self.reactor.occupied.add(1080)
        service = self.make()
        self.assertRaises(CannotListenError, service.startService)
        self.reactor.occupied.clear()
        service.startService()
        self.assertEqual(self.listening(), [1080])

    def test_nonsense(self) -> None:
        """
        The same if an endpoint is none, wherever it stands.
        """
        for endpoints in (["nonsense:1", "tcp:1080"], ["tcp:1080", "nonsense:1"], ["tcp:x"]):
            service = self.make(*endpoints)
            self.assertRaises(ValueError, service.startService)
            self.assertEqual(self.listening(), [])
        self.assertRaises(TypeError, self.make("tcp:1:2:3:4:5").startService)

    def test_backlog(self) -> None:
        """
        The system keeps more connections waiting than Twisted would ask for by itself, unless
        the endpoint says how many, with the name of the argument or without.
        """
        for endpoint, backlog in (
            ("tcp:1080", BACKLOG),
            ("tcp:1080:interface=127.0.0.1", BACKLOG),
            (r"tcp6:1080:interface=\:\:1", BACKLOG),
            ("haproxy:tcp:1080", BACKLOG),
            ("tcp:1080:backlog=7", 7),
            ("tcp:1080:backlog=7:interface=127.0.0.1", 7),
            ("tcp:1080:127.0.0.1:7", 7),
            ("tcp6:1080:7", 7),
            ("haproxy:tcp:1080:127.0.0.1:7", 7),
        ):
            service = self.make(endpoint)
            service.startService()
            self.assertEqual(self.reactor.tcpPorts[-1].backlog, backlog, endpoint)
            self.successResultOf(service.stopService())


@implementer(IListeningPort)
class OddPort:
    """
    A port of an endpoint that somebody else has written.
    """

    def __init__(self) -> None:
        self.listening = True

    def startListening(self) -> None:
        """
        It has listened from the beginning.
        """

    def getHost(self) -> object:
        """
        It has no address that means anything here.
        """
        return object()

    def stopListening(self) -> None:
        """
        Close.
        """
        self.listening = False

    def __str__(self) -> str:
        return "an odd port"


class SlowEndpoint:
    """
    An endpoint that somebody else has written, which takes its time.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.result: Deferred[Any] = Deferred(lambda result: setattr(self, "cancelled", True))

    def listen(self, factory: object) -> Deferred[Any]:
        """
        Begin.
        """
        return self.result


class OddEndpointTests(ServiceFixture):
    """
    Endpoints that plugins bring.
    """

    def setUp(self) -> None:
        """
        Make a service with such an endpoint.
        """
        super().setUp()
        self.endpoint = SlowEndpoint()
        self.patch(listening, "serverFromString", lambda reactor, description: self.endpoint)
        self.service = self.make("slow:1")

    def test_late(self) -> None:
        """
        One that takes its time is logged when it listens, as it describes itself, and is closed
        in the end.
        """
        self.service.startService()
        self.assertEqual(self.events.names, [])
        port = OddPort()
        self.endpoint.result.callback(port)
        self.assertEqual(self.events.one("listening")["address"], "an odd port")
        self.assertEqual(self.factory.listeners, set())
        self.successResultOf(self.service.stopService())
        self.assertFalse(port.listening)

    def test_noAddress(self) -> None:
        """
        How to try it is not said of one without an address: a UNIX socket of systemd's, say.
        """
        self.endpoint.result.callback(OddPort())
        self.make("systemd:domain=UNIX:index=0").startService()
        self.assertEqual(self.events.names, ["listening", "offering"])

    def test_tooLate(self) -> None:
        """
        One that takes too much of it is given up when the service stops.
        """
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertTrue(self.endpoint.cancelled)
        self.assertEqual(self.events.names, [])

    def test_lateFailure(self) -> None:
        """
        If it fails when nobody waits for it any more, that is in the log.
        """
        self.service.startService()
        self.endpoint.result.errback(CannotListenError("", 1, OSError("no")))
        self.assertIn("no", str(self.events.one("notListening")["reason"]))
        self.successResultOf(self.service.stopService())

    def test_givenUpBecauseOfAnother(self) -> None:
        """
        It is given up as well if another endpoint cannot listen.
        """
        endpoints = [self.endpoint, SlowEndpoint()]
        endpoints[1].result.errback(CannotListenError("", 1, OSError("no")))
        self.patch(listening, "serverFromString", lambda *arguments: endpoints.pop(0))
        service = self.make("slow:1", "slow:2")
        self.assertRaises(CannotListenError, service.startService)
        self.assertTrue(self.endpoint.cancelled)


class StoppingTests(ServiceFixture):
    """
    Stopping while sessions are under way.
    """

    def setUp(self) -> None:
        """
        Make a server with scripted means, and start it.
        """
        super().setUp()
        self.resolver = ScriptedResolver({"example.com": ["192.0.2.7"]})
        self.dialer = ScriptedDialer()
        self.waiting: Deferred[Step] = Deferred()
        self.slow = ScriptedAuthenticator(self.waiting, method=0x81)
        self.factory = SOCKS5Factory(
            self.reactor,
            authenticators=[Anonymous(), self.slow],
            policy=ScriptedPolicy(),
            resolver=self.resolver,
            dialer=self.dialer,
            timeouts=Timeouts(idle=600, drain=0),
        )
        self.service = self.make("tcp:1080:interface=127.0.0.1")
        self.service.startService()
        self.connections: list[MemoryConnection] = []
        # The ends of the connections that the server holds.
        self.ends: list[MemoryTransport] = []

    def target(self) -> RecordingPeer:
        """
        The next connection that was asked for comes into being.
        """
        peer = RecordingPeer()
        dial = next(dial for dial in self.dialer.dials if not dial.result.called)
        connection = dial.accept(peer)
        self.connections.append(connection)
        self.ends.append(connection.client)
        self.flush()
        return peer

    def client(self, *messages: bytes) -> RecordingPeer:
        """
        A client connects and sends something.
        """
        peer = RecordingPeer()
        connection = self.reactor.tcpPorts[0].connect(peer)
        assert connection is not None
        self.connections.append(connection)
        self.ends.append(connection.server)
        for message in messages:
            peer.send(message)
            connection.flush()
        return peer

    def flush(self) -> None:
        """
        Let everything come to rest.
        """
        for connection in self.connections:
            connection.flush()

    def stop(self) -> None:
        """
        Stop the service, and see that nothing at all is left.
        """
        stopped = self.service.stopService()
        self.flush()
        self.successResultOf(stopped)
        self.assertEqual(self.factory.sessions, set())
        self.assertEqual(self.listening(), [])
        self.assertEqual([port for port in self.reactor.udpPorts if port.listening], [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual([end for end in self.ends if end.connected], [])

    def assertReset(self, peer: RecordingPeer) -> None:
        """
        The client has seen that its session did not end regularly.
        """
        assert peer.lost is not None
        self.assertFalse(peer.finished)

    def test_nobody(self) -> None:
        """
        Nobody has connected.
        """
        self.stop()

    def test_handshake(self) -> None:
        """
        Clients that have said nothing, half a greeting, a greeting, or half a request.
        """
        peers = [
            self.client(),
            self.client(b"\x05\x02\x00"),
            self.client(HELLO),
            self.client(HELLO, TO_HOST[:5]),
        ]
        self.assertEqual(len(self.factory.sessions), 4)
        self.stop()
        for peer in peers:
            self.assertReset(peer)

    def test_authenticating(self) -> None:
        """
        A client whose credentials are being checked.
        """
        self.assertReset(self.afterStop(self.client(b"\x05\x01\x81", b"secret")))
        self.assertEqual(self.slow.conversations[0].closed, 1)
        self.assertTrue(self.waiting.called)

    def afterStop(self, peer: RecordingPeer) -> RecordingPeer:
        """
        Stop.
        """
        self.stop()
        return peer

    def test_resolving(self) -> None:
        """
        One whose name is being looked up.
        """
        self.resolver.hold = True
        self.assertReset(self.afterStop(self.client(HELLO, TO_NAME)))
        self.assertEqual(self.resolver.cancelled, ["example.com"])

    def test_connecting(self) -> None:
        """
        One whose target is being connected to.
        """
        self.assertReset(self.afterStop(self.client(HELLO, TO_HOST)))
        self.assertTrue(self.dialer.dials[0].cancelled)

    def test_relaying(self) -> None:
        """
        One whose data are being relayed: the target sees a reset, too.
        """
        peer = self.client(HELLO, TO_HOST)
        target = self.target()
        peer.send(b"hello")
        self.flush()
        self.assertEqual(target.received, b"hello")
        self.stop()
        self.assertReset(peer)
        self.assertReset(target)

    def test_halfClosed(self) -> None:
        """
        One that has finished and waits for its answer.
        """
        peer = self.client(HELLO, TO_HOST)
        target = self.target()
        peer.finish()
        self.flush()
        self.assertTrue(target.finished)
        self.stop()
        self.assertReset(peer)

    def test_binding(self) -> None:
        """
        One that waits for a peer: its port is closed.
        """
        peer = self.client(HELLO, BIND_ANY)
        self.assertEqual(len(self.listening()), 2)
        self.stop()
        self.assertReset(peer)

    def test_associated(self) -> None:
        """
        One with an association: its sockets are closed.
        """
        peer = self.client(HELLO, ASSOCIATE)
        self.assertTrue(self.reactor.udpPorts[0].listening)
        self.stop()
        self.assertReset(peer)

    def test_lingering(self) -> None:
        """
        One that was refused and has not closed yet.
        """
        self.client(b"\x05\x01\x7f")
        self.assertEqual(len(self.factory.sessions), 1)
        self.stop()

    def test_flushing(self) -> None:
        """
        One that does not read what its target has sent before it closed.
        """
        peer = self.client(HELLO, TO_HOST)
        target = self.target()
        peer.pause()
        target.send(b"x" * 300_000)
        target.close()
        self.flush()
        self.assertEqual(len(self.factory.sessions), 1)
        self.stop()

    def test_allAtOnce(self) -> None:
        """
        All of these at once, and each tells in the log why it ended.
        """
        self.client()
        self.client(b"\x05\x01\x81", b"secret")
        self.client(HELLO, BIND_ANY)
        self.client(HELLO, ASSOCIATE)
        self.client(HELLO, TO_HOST)
        self.client(HELLO, TO_HOST)
        self.target()
        self.stop()
        self.assertEqual(
            [event["reason"] for event in self.events.named("closed")], ["server stopped"] * 6
        )

    def test_twiceAtOnce(self) -> None:
        """
        Whoever stops it a second time waits as well.
        """
        self.client(HELLO)
        first, second = self.service.stopService(), self.service.stopService()
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.flush()
        self.successResultOf(first)
        self.successResultOf(second)

    def test_retire(self) -> None:
        """
        A server that retires takes no more clients, and lets sessions go on for as long as they
        last.
        """
        waiting, served = self.client(HELLO), self.client(HELLO, TO_HOST)
        self.target()
        retired = self.service.retire()
        self.flush()
        self.assertEqual(self.listening(), [])
        self.assertReset(waiting)
        self.reactor.advance(599)
        self.flush()
        self.assertNoResult(retired)
        served.abort()
        self.flush()
        self.successResultOf(retired)
        self.assertEqual(self.factory.sessions, set())

    def test_againAfterwards(self) -> None:
        """
        Afterwards it can be started again, and serves.
        """
        self.client(HELLO)
        self.stop()
        self.service.startService()
        peer = RecordingPeer()
        connection = self.reactor.tcpPorts[-1].connect(peer)
        assert connection is not None
        peer.send(HELLO)
        connection.flush()
        self.assertEqual(peer.received, b"\x05\x00")


class ReloadTests(ServiceFixture):
    """
    L{SOCKS5Service.reload}.
    """

    def setUp(self) -> None:
        """
        Make a service from a configuration.
        """
        super().setUp()
        self.connections: list[MemoryConnection] = []
        before = self.plan(HERE)
        self.factory = SOCKS5Factory(self.reactor, **before.parts)
        self.service = SOCKS5Service(self.factory, (HERE,), before.configuration)

    def plan(self, *listen: str, **options: Any) -> Assembly:
        """
        The parts of another server.
        """
        configuration = Configuration(listen=listen or (HERE,), **options)
        return assemble(self.reactor, configuration, now=self.reactor.seconds)

    def reload(self, *listen: str, **options: Any) -> None:
        """
        Reload, which takes no time.
        """
        self.successResultOf(self.service.reload(self.plan(*listen, **options)))

    def client(self, port: int = 0) -> RecordingPeer:
        """
        A client connects.

        @param port: the position of the port.
        """
        peer = RecordingPeer()
        self.connection = self.reactor.tcpPorts[port].connect(peer)
        self.connections.append(self.connection)
        return peer

    def test_listeners(self) -> None:
        """
        Listeners that are named stay, others are closed, and new ones are opened, once each; the
        server knows of them (S-18), and the log says what is different.
        """
        self.service.startService()
        self.reload(THERE, HERE, THERE)
        self.assertEqual(self.listening(), [1080, 1081])
        self.assertEqual(len(self.factory.listeners), 2)
        told = self.events.one("reloaded")
        self.assertEqual((told["changed"], told["ended"]), ("listen", 0))
        self.assertEqual(len(self.events.named("listening")), 2)
        self.reload(THERE)
        self.assertEqual(self.listening(), [1081])
        self.reload(THERE)
        self.assertEqual(self.events.named("reloaded")[-1]["changed"], "nothing")
        self.successResultOf(self.service.stopService())
        self.assertEqual((self.listening(), self.factory.listeners), ([], set()))

    def test_inTheWay(self) -> None:
        """
        If one that goes stands in the way of one that comes it is closed first.
        """
        self.service.startService()
        again = f"{HERE}:backlog=7"
        self.reload(again)
        self.assertEqual(self.listening(), [1080])
        self.assertEqual(self.factory.listeners, {Address(ip_address("127.0.0.1"), 1080)})

    def test_occupied(self) -> None:
        """
        If a new one cannot be opened all is as before, also if old ones had to be closed for it:
        those who come are served, as they were.
        """
        self.service.startService()
        for listen in ((THERE, ELSEWHERE), (f"{HERE}:backlog=7", ELSEWHERE)):
            self.reactor.occupied = {1082}
            plan = self.plan(*listen, timeouts=Timeouts(idle=5))
            self.failureResultOf(self.service.reload(plan), CannotListenError)
            self.assertEqual(self.listening(), [1080])
            self.assertEqual(self.factory.timeouts.idle, Timeouts().idle)
            self.assertEqual(self.events.named("reloaded"), [])
        peer = self.client([port.listening for port in self.reactor.tcpPorts].index(True))
        peer.send(HELLO)
        self.connection.flush()
        self.assertEqual(peer.received, b"\x05\x00")
        stopped = self.service.stopService()
        self.service.stopNow()
        self.connection.flush()
        self.successResultOf(stopped)
        self.assertEqual(self.listening(), [])

    def test_occupiedWithNothingToClose(self) -> None:
        """
        There is no second attempt where nothing could be in the way.
        """
        self.service.startService()
        self.reactor.occupied = {1082}
        self.failureResultOf(self.service.reload(self.plan(HERE, ELSEWHERE)), CannotListenError)
        self.assertEqual(self.listening(), [1080])

    def test_lostForGood(self) -> None:
        """
        If an old one cannot be opened any more, either, that is in the log; the next reload tries
        again.
        """
        self.service.startService()
        stopped = self.reactor.tcpPorts[0].stopListening

        def stop() -> Any:
            self.reactor.occupied = {1080}
            return stopped()

        self.patch(self.reactor.tcpPorts[0], "stopListening", stop)
        self.failureResultOf(self.service.reload(self.plan(f"{HERE}:backlog=7")), CannotListenError)
        self.assertEqual(self.listening(), [])
        self.assertIn("1080", self.events.one("notListening")["reason"])
        self.reactor.occupied = set()
        self.reload(HERE)
        self.assertEqual(self.listening(), [1080])

    def test_idle(self) -> None:
        """
        A service that does not run listens nowhere, and by the new configuration when it starts;
        nothing is left behind.
        """
        self.reload(THERE, users={"alice": User(expires=datetime(1970, 1, 2, tzinfo=UTC))})
        self.assertEqual((self.listening(), self.reactor.getDelayedCalls()), ([], []))
        self.service.startService()
        self.assertEqual(self.listening(), [1081])
        self.successResultOf(self.service.stopService())
        self.reload(HERE)
        self.assertEqual((self.listening(), self.reactor.getDelayedCalls()), ([], []))

    def test_collision(self) -> None:
        """
        What cannot be served with is found out before anything is closed.
        """
        self.service.startService()
        plan = attrs.evolve(self.plan(THERE), authenticators=(Anonymous(), Anonymous()))
        self.failureResultOf(self.service.reload(plan), ValueError)
        self.assertEqual(self.listening(), [1080])

    def slow(self) -> tuple[SlowEndpoint, Deferred[None]]:
        """
        Begin a reload that takes its time.
        """
        self.service.startService()
        endpoint, made = SlowEndpoint(), listening.serverFromString

        def make(reactor: Any, description: str) -> Any:
            return endpoint if description == "slow:1" else made(reactor, description)

        self.patch(listening, "serverFromString", make)
        configuration = Configuration(listen=("slow:1",))
        plan = attrs.evolve(self.plan(), configuration=configuration)
        return endpoint, self.service.reload(plan)

    def test_oneAfterTheOther(self) -> None:
        """
        A reload waits for the one before it.
        """
        endpoint, first = self.slow()
        second = self.service.reload(self.plan(THERE))
        self.assertNoResult(second)
        self.assertEqual(self.listening(), [1080])
        port = OddPort()
        endpoint.result.callback(port)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual((self.listening(), port.listening), ([1081], False))

    def test_stoppedMeanwhile(self) -> None:
        """
        A service that stops during a reload leaves no listener behind, and starts as it was.
        """
        endpoint, reloaded = self.slow()
        self.successResultOf(self.service.stopService())
        self.assertTrue(endpoint.cancelled)
        self.failureResultOf(reloaded, CancelledError)
        self.assertEqual(self.listening(), [])
        self.service.startService()
        self.assertEqual(self.listening(), [1080])

    def test_stoppedWhileClosing(self) -> None:
        """
        The same while an old listener takes its time to close, and another start comes at once.
        """
        for starts in (False, True):
            self.service.startService()
            port = next(port for port in self.reactor.tcpPorts if port.listening)
            closing: Deferred[None] = Deferred()
            stop = port.stopListening
            self.patch(
                port,
                "stopListening",
                lambda stop=stop, closing=closing: (stop() and closing) or closing,
            )
            reloaded = self.service.reload(self.plan(f"{HERE}:backlog=7"))
            self.assertNoResult(reloaded)
            self.successResultOf(self.service.stopService())
            if starts:
                self.service.startService()
            closing.callback(None)
            self.failureResultOf(reloaded, CannotListenError if starts else CancelledError)
            self.assertEqual(self.listening(), [1080] if starts else [])
        self.successResultOf(self.service.stopService())

    def test_handshakes(self) -> None:
        """
        Whoever has come by a listener that goes, and has asked for nothing yet, is not served as
        those who come by the new ones are: that may be anybody without a password.
        """
        plan = self.plan("tcp:1090", THERE, open=True)
        self.service = SOCKS5Service(self.factory, ("tcp:1090", THERE), plan.configuration)
        self.service.startService()
        peers = [self.client(0), self.client(1)]
        self.patch(SOCKS5Protocol, "arrivedAt", lambda session: ARRIVED[session.record.session])
        self.reload(THERE)
        for connection in self.connections:
            connection.flush()
        self.assertEqual(len(self.factory.sessions), 1)
        self.assertIsNone(peers[1].lost)

    def test_embedded(self) -> None:
        """
        A service need not have been made from a configuration.
        """
        self.service = SOCKS5Service(self.factory, HERE)
        self.service.startService()
        self.reload(HERE)
        self.assertEqual(self.events.one("reloaded")["changed"], "nothing")

    def test_expiry(self) -> None:
        """
        When the time of a user is over sessions are looked at: not before it, and seldom later
        than an hour, as somebody may set the calendar.
        """
        reviews: list[float] = []

        def review() -> Deferred[int]:
            reviews.append(self.reactor.seconds())
            return succeed(0)

        self.patch(self.factory.sessions, "review", review)
        self.service.startService()
        users = {
            name: User(expires=datetime.fromtimestamp(seconds, UTC))
            for name, seconds in (("alice", 100), ("bob", 5000), ("carol", 100))
        }
        self.reload(HERE, users={**users, "dora": User()})
        reviews.clear()
        for _ in range(6000):
            self.reactor.advance(1)
        self.assertEqual(reviews, [100, 3700, 5000])
        self.reload(HERE, users={"alice": User(expires=datetime.fromtimestamp(9000, UTC))})
        self.reload(HERE)
        self.assertEqual(
            [call for call in self.reactor.getDelayedCalls() if call.func == self.service._expired],
            [],
        )
        self.reload(HERE, users={"alice": User(expires=datetime.fromtimestamp(9000, UTC))})
        self.successResultOf(self.service.stopService())
        self.reactor.advance(9000)

    def test_stopNow(self) -> None:
        """
        Stopping waits for sessions, until it is told not to.
        """
        dialer = ScriptedDialer()
        self.factory = SOCKS5Factory(
            self.reactor, policy=ScriptedPolicy(), dialer=dialer, timeouts=Timeouts(drain=10)
        )
        self.service = self.make(HERE)
        self.service.startService()
        peer = self.client()
        peer.send(HELLO + TO_HOST)
        self.connection.flush()
        stopped = self.service.stopService()
        self.assertEqual(self.listening(), [])
        self.reactor.advance(9)
        self.assertNoResult(stopped)
        self.service.stopNow()
        self.connection.flush()
        self.successResultOf(stopped)
        self.assertTrue(dialer.dials[0].cancelled)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


@implementer(IHalfCloseableProtocol)
class Talker(Protocol):
    """
    One end of a real connection, for tests that wait.
    """

    def __init__(self) -> None:
        self.received = b""
        self.finished = False
        self.lost: Failure | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        for ready, fired in waiting:
            if ready():
                fired.callback(None)
            else:
                self._waiting.append((ready, fired))

    def when(self, ready: Callable[[], bool]) -> Deferred[None]:
        """
        Wait until something is the case.
        """
        fired: Deferred[None] = Deferred()
        self._waiting.append((ready, fired))
        self._look()
        return fired

    async def read(self, octets: int) -> bytes:
        """
        Wait for octets.
        """
        await self.when(lambda: len(self.received) >= octets or self.lost is not None)
        data, self.received = self.received[:octets], self.received[octets:]
        return data

    def ended(self) -> Deferred[None]:
        """
        Wait for the end of the connection.
        """
        return self.when(lambda: self.lost is not None)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep octets.
        """
        self.received += data
        self._look()

    def readConnectionLost(self) -> None:
        """
        The other end has finished: so do we.
        """
        self.finished = True
        self.close()
        self._look()

    def writeConnectionLost(self) -> None:
        """
        We have.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        self.lost = reason
        self._look()

    def send(self, data: bytes) -> None:
        """
        Send octets.
        """
        assert self.transport is not None
        self.transport.write(data)

    def finish(self) -> None:
        """
        Send FIN.
        """
        transport: Any = self.transport
        transport.loseWriteConnection()

    def close(self) -> None:
        """
        Close.
        """
        assert self.transport is not None
        self.transport.loseConnection()


class Answering(Talker):
    """
    A target that answers when it has heard all: with the same, reversed.
    """

    def readConnectionLost(self) -> None:
        """
        Answer, and close.
        """
        self.send(self.received[::-1])
        super().readConnectionLost()


class RealTests(TestCase):
    """
    Real sockets, where fakes would prove nothing.
    """

    timeout = 20

    def setUp(self) -> None:
        """
        Make a folder for sockets and certificates, and a target.
        """
        # Not below the folder of the tests: the path of a UNIX socket has to be short.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.events = RecordedEvents(self)
        self.policy = ScriptedPolicy()
        self.clients: list[Talker] = []
        port = reactor.listenTCP(0, Factory.forProtocol(Answering), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        self.request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + number.to_bytes(2, "big")

    def tearDown(self) -> Any:
        """
        Wait for the clients to be gone.
        """
        for client in self.clients:
            transport: Any = client.transport
            if client.lost is None:
                transport.abortConnection()
        return gatherResults([client.ended() for client in self.clients])

    def start(self, *listen: str) -> SOCKS5Service:
        """
        Start a server.
        """
        self.factory = SOCKS5Factory(reactor, policy=self.policy, timeouts=Timeouts(drain=0))
        service = SOCKS5Service(self.factory, listen)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def ports(self) -> list[int]:
        """
        Where it listens, in order.
        """
        addresses = [str(event["address"]) for event in self.events.named("listening")]
        return [int(address.rpartition(":")[2]) for address in addresses if address[0] in "1[0"]

    async def connect(self, endpoint: Any) -> Talker:
        """
        Connect a client.
        """
        client: Talker = await endpoint.connect(Factory.forProtocol(Talker))
        self.clients.append(client)
        return client

    async def connectTCP(self, port: int) -> Talker:
        """
        Connect a client by TCP.
        """
        return await self.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port))

    async def assertServed(self, client: Talker, before: bytes = b"") -> None:
        """
        The server does a CONNECT for the client, half-close and all (R-1928-49).
        """
        client.send(before + HELLO + self.request + b"stressed")
        self.assertEqual(await client.read(2), b"\x05\x00")
        reply = await client.read(10)
        self.assertEqual(reply[:2], b"\x05\x00")
        client.finish()
        self.assertEqual(await client.read(8), b"desserts")
        await client.ended()

    async def test_tcpAndUNIX(self) -> None:
        """
        IPv4, IPv6 and a UNIX socket at once; when it stops, the socket file is gone and nobody
        can connect any more.
        """
        path = str(self.folder / "socket")
        service = self.start(
            "tcp:0:interface=127.0.0.1", r"tcp6:0:interface=\:\:1", f"unix:{path}:mode=600"
        )
        four, six = self.ports()
        self.assertEqual(Path(path).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.events.named("listening")[2]["address"], f"unix:{path}")
        endpoints = [
            TCP4ClientEndpoint(reactor, "127.0.0.1", four),
            TCP6ClientEndpoint(reactor, "::1", six),
            UNIXClientEndpoint(reactor, path),
        ]
        for endpoint in endpoints:
            await self.assertServed(await self.connect(endpoint))
        opened = [str(event["client"]) for event in self.events.named("opened")]
        self.assertTrue(opened[0].startswith("127.0.0.1:"))
        self.assertTrue(opened[1].startswith("[::1]:"))
        self.assertEqual(opened[2], "unix")
        await service.stopService()
        self.assertFalse(Path(path).exists())
        for endpoint in endpoints:
            with self.assertRaises(ConnectError):
                await endpoint.connect(Factory.forProtocol(Talker))

    async def test_crowd(self) -> None:
        """
        Connections that are too many of an address are closed, TLS or not, silent or not; others
        are served, and so are those that come when there are fewer (S-11).
        """
        pem = writeCertificate(self.folder)
        self.start("tcp:0:interface=127.0.0.1", f"ssl:0:privateKey={pem}:interface=127.0.0.1")
        plain, tls = self.ports()
        silent = [await self.connectTCP(tls if number % 2 else plain) for number in range(64)]
        for port in (plain, tls):
            # It may be reset before we hear that it was connected.
            with contextlib.suppress(ConnectError):
                client = await self.connectTCP(port)
                client.send(HELLO)
                await client.ended()
        self.assertEqual(len(self.events.named("opened")), 64)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", plain, bindAddress=("127.0.0.2", 0))
        await self.assertServed(await self.connect(endpoint))
        for client in silent[:2]:
            client.transport.loseConnection()  # type: ignore[union-attr]
            await client.ended()
        await self.assertServed(await self.connectTCP(plain))
        self.assertEqual(self.events.one("crowded")["client"], "127.0.0.1")
        self.assertEqual(self.events.named("unforeseen"), [])

    async def test_tls(self) -> None:
        """
        TLS around everything.
        """
        pem = writeCertificate(self.folder)
        self.start(f"ssl:0:privateKey={pem}:interface=127.0.0.1")
        authority = ssl.Certificate.loadPEM(pem.read_bytes())
        options = ssl.optionsForClientTLS("localhost", authority)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.ports()[0])
        client = await self.connect(wrapClientTLS(options, endpoint))
        client.send(HELLO)
        self.assertEqual(await client.read(2), b"\x05\x00")
        client.send(self.request + b"stressed")
        self.assertEqual((await client.read(10))[:2], b"\x05\x00")
        self.assertEqual(self.events.named("ready"), [])

    async def test_tlsRubbish(self) -> None:
        """
        A client that does not speak TLS is closed, and leaves nothing behind.
        """
        pem = writeCertificate(self.folder)
        self.start(f"ssl:0:privateKey={pem}:interface=127.0.0.1")
        client = await self.connectTCP(self.ports()[0])
        client.send(HELLO + self.request)
        await client.ended()
        await turn()
        self.assertEqual(len(self.factory.sessions), 0)

    async def test_haproxy1(self) -> None:
        """
        Behind a load balancer, log and policy see the client and not the load balancer, and
        half-close works.
        """
        self.start("haproxy:tcp:0:interface=127.0.0.1")
        client = await self.connectTCP(self.ports()[0])
        await self.assertServed(client, b"PROXY TCP4 198.51.100.7 203.0.113.5 40000 1080\r\n")
        self.assertEqual(self.events.one("opened")["client"], "198.51.100.7:40000")
        self.assertEqual(self.policy.clients, [ip_address("198.51.100.7")])
        self.assertEqual(self.policy.questions[0].client, ip_address("198.51.100.7"))

    async def test_haproxy2(self) -> None:
        """
        The same with the second version of the header, for IPv6.
        """
        self.start("haproxy:tcp:0:interface=127.0.0.1")
        client = await self.connectTCP(self.ports()[0])
        await self.assertServed(client, proxy2("2001:db8::7", "2001:db8::5", 40000, 1080))
        self.assertEqual(self.events.one("opened")["client"], "[2001:db8::7]:40000")
        self.assertEqual(self.policy.questions[0].client, ip_address("2001:db8::7"))

    async def test_haproxyHealth(self) -> None:
        """
        A load balancer that asks how the server is speaks for itself.
        """
        self.start("haproxy:tcp:0:interface=127.0.0.1")
        client = await self.connectTCP(self.ports()[0])
        await self.assertServed(client, proxy2("", "", 0, 0))
        self.assertTrue(str(self.events.one("opened")["client"]).startswith("127.0.0.1:"))

    async def test_haproxySplit(self) -> None:
        """
        The header and what follows may come in pieces.
        """
        header = proxy2("198.51.100.7", "203.0.113.5", 40000, 1080)
        port = self.start("haproxy:tcp:0:interface=127.0.0.1") and self.ports()[0]
        for at in (16, 20, len(header), len(header) + 1, len(header) + 3):
            client = await self.connectTCP(port)
            whole = header + HELLO
            client.send(whole[:at])
            await turn()
            client.send(whole[at:])
            self.assertEqual(await client.read(2), b"\x05\x00", str(at))
            await self.assertRequested(client)
        opened = [event["client"] for event in self.events.named("opened")]
        self.assertEqual(opened, ["198.51.100.7:40000"] * 5)

    async def assertRequested(self, client: Talker) -> None:
        """
        The server does a CONNECT for a client that has greeted it.
        """
        client.send(self.request + b"stressed")
        self.assertEqual((await client.read(10))[:2], b"\x05\x00")
        client.finish()
        self.assertEqual(await client.read(8), b"desserts")

    async def test_haproxyWithout(self) -> None:
        """
        Who sends no header is nobody's client: it is closed unheard.
        """
        self.start("haproxy:tcp:0:interface=127.0.0.1")
        client = await self.connectTCP(self.ports()[0])
        client.send(HELLO + self.request + b"stressed")
        await client.ended()
        self.assertEqual(client.received, b"")
        self.assertEqual(self.policy.clients, [])

    async def test_haproxyUNIX(self) -> None:
        """
        A load balancer may come by a UNIX socket.
        """
        path = str(self.folder / "socket")
        self.start(f"haproxy:unix:{path}")
        client = await self.connect(UNIXClientEndpoint(reactor, path))
        await self.assertServed(client, proxy2("198.51.100.7", "203.0.113.5", 40000, 1080))
        self.assertEqual(self.policy.clients, [ip_address("198.51.100.7")])

    async def test_systemd(self) -> None:
        """
        A socket that systemd has passed on is served, and refused as a target (S-18).
        """
        passed = socket.socket()
        passed.bind(("127.0.0.1", 0))
        passed.listen()
        port: int = passed.getsockname()[1]
        self.addCleanup(passed.close)
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([passed.fileno()], ["socks"]))
        self.start("systemd:domain=INET:name=socks")
        self.assertEqual(self.ports(), [port])
        await self.assertServed(await self.connectTCP(port))
        client = await self.connectTCP(port)
        client.send(HELLO + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        self.assertEqual((await client.read(12))[2:4], b"\x05\x02")

    async def test_occupied(self) -> None:
        """
        If a port is in use, the other endpoints are free again.
        """
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            path = self.folder / "socket"
            listen = [f"unix:{path}", f"tcp:{port}:interface=127.0.0.1"]
            with self.assertRaises(CannotListenError):
                self.start(*listen)
            await turn()
            self.assertFalse(path.exists())

    async def test_stop(self) -> None:
        """
        When it stops, clients and targets of all sorts see a reset, and trial finds nothing that
        is left.
        """
        service = self.start("tcp:0:interface=127.0.0.1", "haproxy:tcp:0:interface=127.0.0.1")
        plain, proxied = self.ports()
        peers = [await self.connectTCP(plain) for _ in range(5)]
        peers.append(await self.connectTCP(proxied))
        for peer, words in zip(
            peers[1:],
            ([HELLO], [HELLO, self.request], [HELLO, BIND_ANY], [HELLO, ASSOCIATE]),
            strict=False,
        ):
            for word in words:
                peer.send(word)
                await peer.read(2 if word is HELLO else 10)
        await service.stopService()
        self.assertEqual(self.factory.sessions, set())
        for peer in peers:
            await peer.ended()
            assert peer.lost is not None
            self.assertFalse(peer.finished)


def proxy2(source: str, destination: str, sourcePort: int, destinationPort: int) -> bytes:
    """
    A PROXY header, version 2; without addresses, that of a health check.
    """
    magic = b"\r\n\r\n\0\r\nQUIT\n"
    if not source:
        return magic + b"\x20\x00\x00\x00"
    addresses = ip_address(source).packed + ip_address(destination).packed
    ports = sourcePort.to_bytes(2, "big") + destinationPort.to_bytes(2, "big")
    family = b"\x11" if len(addresses) == 8 else b"\x21"
    body = addresses + ports
    return magic + b"\x21" + family + len(body).to_bytes(2, "big") + body


def turn() -> Deferred[None]:
    """
    Let the reactor do what is due: what has been sent arrives on loopback.
    """
    turned: Deferred[None] = Deferred()

    def again(left: int) -> None:
        if left:
            reactor.callLater(0, again, left - 1)
        else:
            turned.callback(None)

    again(20)
    return turned


class DescriptorTests(SynchronousTestCase):
    """
    A server that runs out of file descriptors (S-11).
    """

    def setUp(self) -> None:
        """
        Start a server that may open only a few, and a target.
        """
        code = (
            "import os, resource, sys\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'twisted', '--log-format=text',"
            " 'socks5', '--listen', 'tcp:0:interface=127.0.0.1'])"
        )
        checkout = str(Path(module.__file__).parent.parent)
        self.server = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": checkout},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(self.stop)
        assert self.server.stdout is not None
        for line in self.server.stdout:
            found = re.search(r"SOCKS5 listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        self.target = self.keep(socket.create_server(("127.0.0.1", 0)))
        self.target.settimeout(20)
        number: int = self.target.getsockname()[1]
        self.request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + number.to_bytes(2, "big")

    def stop(self) -> str:
        """
        Stop the server.

        @return: what is left of its log.
        """
        self.server.terminate()
        with contextlib.suppress(ConnectionError):
            while True:
                socket.create_connection(("127.0.0.1", self.port), timeout=20).close()
        # It waits for sessions, unless it is told a second time.
        self.server.terminate()
        return self.server.communicate(timeout=30)[0]

    def keep(self, opened: socket.socket) -> socket.socket:
        """
        Close a socket after the test.
        """
        self.addCleanup(opened.close)
        return opened

    def greet(self) -> tuple[socket.socket, bytes]:
        """
        A client connects and greets the server.

        @return: it, and the answer.
        """
        client = self.keep(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        client.sendall(HELLO)
        return client, receive(client, 2)

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """
        A client connects through the server.

        @return: it, and its target.
        """
        client, answer = self.greet()
        self.assertEqual(answer, b"\x05\x00")
        client.sendall(self.request)
        target = self.keep(self.target.accept()[0])
        target.settimeout(20)
        self.assertEqual(receive(client, 10)[:2], b"\x05\x00")
        return client, target

    def assertRelaying(self, client: socket.socket, target: socket.socket) -> None:
        """
        Octets pass in both directions.
        """
        client.sendall(b"ping")
        self.assertEqual(receive(target, 4), b"ping")
        target.sendall(b"pong")
        self.assertEqual(receive(client, 4), b"pong")

    def test_exhausted(self) -> None:
        """
        Sessions go on; clients that are there already are told that it is the server's trouble;
        new ones wait.  When descriptors are free again, everybody is served.
        """
        session = self.connect()
        crowd = []
        waiting = None
        while waiting is None:
            client = self.keep(socket.create_connection(("127.0.0.1", self.port), timeout=2))
            client.sendall(HELLO)
            try:
                receive(client, 2)
            except TimeoutError:
                waiting = client
            else:
                crowd.append(client)
        self.assertLess(len(crowd), 40)
        self.assertRelaying(*session)

        crowd[0].sendall(self.request)
        self.assertEqual(receive(crowd[0], 10), b"\x05\x01\x00\x01" + b"\x00" * 6)
        self.assertRelaying(*session)

        for client in crowd:
            client.close()
        waiting.settimeout(20)
        self.assertEqual(receive(waiting, 2), b"\x05\x00")
        self.assertRelaying(*session)
        self.assertRelaying(*self.connect())
        log = self.stop()
        self.assertNotIn("Traceback", log)
        self.assertEqual(self.server.returncode, -signal.SIGTERM)


def receive(connection: socket.socket, octets: int) -> bytes:
    """
    Read so many octets, or up to the end.
    """
    data = b""
    while len(data) < octets:
        more = connection.recv(octets - len(data))
        if not more:
            break
        data += more
    return data

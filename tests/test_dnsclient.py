"""
Tests for L{txsocks5.dnsclient}.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import Any

from twisted.internet import reactor as installedReactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import CannotListenError
from twisted.logger import LogEvent, globalLogPublisher
from twisted.names import dns
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsocks5.dnsclient import DNSClient
from txsocks5.testing import MemoryReactor, RecordingPeer
from txsocks5.wire import Address

SERVER = Address(ip_address("192.0.2.53"), 53)


class DNSClientTests(SynchronousTestCase):
    """
    Tests for L{DNSClient}.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.reactor = MemoryReactor()
        self.client = DNSClient(SERVER, self.reactor)

    def ask(self) -> Deferred[Any]:
        """
        Ask for the address of a name.
        """
        client: Any = self.client
        asked: Deferred[Any] = client.lookupAddress("a.invalid", timeout=(1.0, 2.0))
        return asked

    def reply(self, port: Any) -> bytes:
        """
        The answer to what has been asked at a port.
        """
        message = dns.Message()
        message.fromStr(port.sent[-1][0])
        answer = dns.Message(message.id, answer=1)
        answer.queries = message.queries
        answer.answers = [dns.RRHeader("a.invalid", payload=dns.Record_A("192.0.2.1"))]
        return answer.toStr()

    def test_answer(self) -> None:
        """
        An answer from the server itself ends the question, and closes its socket; anybody else's
        does not, nor does what comes behind it change anything.
        """
        asked = self.ask()
        [port] = self.reactor.udpPorts
        reply = self.reply(port)
        port.deliver(reply, ("192.0.2.54", 53))
        port.deliver(reply, ("192.0.2.53", 54))
        self.assertNoResult(asked)
        self.client._connectedProtocol()
        protocol = port.protocol
        protocol._received([(reply, ("192.0.2.53", 53)), (reply, ("192.0.2.53", 53))])
        [[found], _, _] = self.successResultOf(asked)
        self.assertEqual(found.payload.dottedQuad(), "192.0.2.1")
        self.assertFalse(port.listening)

    def test_silence(self) -> None:
        """
        Without an answer it is asked again, by another socket, and none is left in the end.
        """
        asked = self.ask()
        self.reactor.advance(1)
        self.assertEqual([port.listening for port in self.reactor.udpPorts], [False, True])
        self.reactor.advance(2)
        self.failureResultOf(asked, TimeoutError)
        self.assertEqual([port.listening for port in self.reactor.udpPorts], [False, False])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_tcp(self) -> None:
        """
        What does not fit into a datagram is asked for by TCP, with the reactor that was given.
        """
        asked = self.ask()
        [port] = self.reactor.udpPorts
        reply = dns.Message()
        reply.fromStr(self.reply(port))
        reply.trunc = 1
        port.deliver(reply.toStr(), ("192.0.2.53", 53))
        [connector] = self.reactor.connectors
        peer = RecordingPeer()
        connection = connector.accept(peer)
        connection.flush()
        self.assertIs(self.client.connections[0]._reactor, self.reactor)
        self.assertIn(b"invalid", peer.received)
        asked.addErrback(lambda reason: None)
        asked.cancel()

    def test_cannotBeSent(self) -> None:
        """
        What the system does not send has failed at once.
        """
        client: Any = self.client
        opened = client._sockets.open

        def open(*arguments: Any) -> Any:
            made = opened(*arguments)
            made.send = lambda datagrams, peer: [0]
            return made

        self.patch(client._sockets, "open", open)
        self.failureResultOf(self.ask(), OSError)
        self.assertEqual([port.listening for port in self.reactor.udpPorts], [False])

    def test_lost(self) -> None:
        """
        A socket that breaks is one by which no answer comes.
        """
        asked = self.ask()
        client: Any = self.client
        protocol = client._connectedProtocol()
        protocol.transport._lost(Failure(OSError("broken")))
        self.assertNoResult(asked)

    def refuse(self, number: int, times: int) -> list[int]:
        """
        Let the system give no port so many times.

        @return: the ports that are asked for.
        """
        ports: list[int] = []
        listen = self.reactor.listenUDP

        def listenUDP(port: int, *arguments: Any, **options: Any) -> Any:
            ports.append(port)
            if len(ports) <= times:
                raise CannotListenError("", port, OSError(number, "no"))
            return listen(port, *arguments, **options)

        self.patch(self.reactor, "listenUDP", listenUDP)
        return ports

    def test_ports(self) -> None:
        """
        Where a port is taken others are tried, but not for ever.
        """
        ports = self.refuse(errno.EADDRINUSE, 10)
        self.assertNoResult(self.ask())
        self.assertEqual(len(ports), 11)
        self.assertGreater(len(set(ports)), 5)
        self.assertGreater(min(ports), 1023)
        ports = self.refuse(errno.EACCES, 1000)
        self.assertRaises(CannotListenError, self.client._connectedProtocol)
        self.assertEqual(len(ports), 64)

    def test_noDescriptor(self) -> None:
        """
        Where there is no file descriptor no other port helps.
        """
        for number in (errno.EMFILE, errno.ENFILE):
            ports = self.refuse(number, 1000)
            self.assertRaises(CannotListenError, self.client._connectedProtocol)
            self.assertEqual(len(ports), 1)


class LoopbackTests(TestCase):
    """
    Real sockets.
    """

    timeout = 30

    async def test_quiet(self) -> None:
        """
        Over IPv4 and IPv6 a server is asked, and its answer taken, without a line in the log.
        """
        reactor: Any = installedReactor
        events: list[LogEvent] = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            server = socket.socket(family, socket.SOCK_DGRAM)
            self.addCleanup(server.close)
            server.bind((host, 0))
            where = Address(ip_address(host), server.getsockname()[1])
            client: Any = DNSClient(where, reactor)
            globalLogPublisher.addObserver(events.append)
            asked = client.lookupAddress("a.invalid", timeout=(10.0,))
            data, source = server.recvfrom(512)
            message = dns.Message()
            message.fromStr(data)
            message.answer = 1
            message.answers = [dns.RRHeader("a.invalid", payload=dns.Record_A("192.0.2.1"))]
            server.sendto(message.toStr(), source)
            [found], _, _ = await asked
            globalLogPublisher.removeObserver(events.append)
            self.assertEqual(found.payload.dottedQuad(), "192.0.2.1")
        self.assertEqual(events, [])

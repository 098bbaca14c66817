"""
Tests for L{intranet}.
"""

from intranet import Intranet
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import Accepted, Identity, SOCKS5Factory, SOCKS5Service, Step, Timeouts
from txsocks5.testing import (
    MemoryReactor,
    RecordingPeer,
    ScriptedAuthenticator,
    ScriptedDialer,
    ScriptedResolver,
    flushAll,
)


class IntranetTests(SynchronousTestCase):
    """
    Who gets where.
    """

    def setUp(self) -> None:
        """
        Serve alice, who needs no password here, on a reactor that is only memory.
        """
        self.reactor = MemoryReactor()
        self.dialer = ScriptedDialer()
        factory = SOCKS5Factory(
            self.reactor,
            authenticators=[ScriptedAuthenticator(Step(0, b"", Accepted(Identity("alice", 0x81))))],
            policy=Intranet(),
            resolver=ScriptedResolver({"wiki.example": ["10.1.2.3"]}),
            dialer=self.dialer,
            timeouts=Timeouts(drain=0),  # do not wait for sessions when stopping
        )
        self.service = SOCKS5Service(factory, ["tcp:1080"])
        self.service.startService()
        self.client = RecordingPeer()
        connection = self.reactor.tcpPorts[0].connect(self.client)
        assert connection is not None
        self.connections = [connection]

    def ask(self, port: int) -> None:
        """
        Offer method 81, and ask for wiki.example.
        """
        self.client.send(b"\x05\x01\x81" + b"\x05\x01\x00\x03\x0cwiki.example")
        self.client.send(port.to_bytes(2, "big"))
        flushAll(*self.connections)

    def test_allowed(self) -> None:
        """
        The staff reach the wiki.
        """
        self.ask(443)
        [dial] = self.dialer.dials
        self.assertEqual(str(dial.address), "10.1.2.3:443")
        wiki = RecordingPeer()
        self.connections.append(dial.accept(wiki))
        flushAll(*self.connections)
        self.assertEqual(self.client.received[:4], b"\x05\x81\x05\x00")
        self.client.send(b"hello")
        flushAll(*self.connections)
        self.assertEqual(wiki.received, b"hello")

        stopped = self.service.stopService()
        self.assertNoResult(stopped)  # what is in memory only ends when it is flushed
        flushAll(*self.connections)
        self.successResultOf(stopped)

    def test_refused(self) -> None:
        """
        They do not reach its other ports.
        """
        self.ask(22)
        self.assertEqual(self.dialer.dials, [])
        self.assertEqual(self.client.received[:4], b"\x05\x81\x05\x02")

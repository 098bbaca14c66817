"""
Tests for L{txsocks5.joiner}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from txsocks5.config import Timeouts
from txsocks5.dialer import ConnectedSocket
from txsocks5.joiner import Joiner
from txsocks5.kernel import KernelRelay
from txsocks5.relay import CopyingRelay
from txsocks5.socketstream import SocketStream
from txsocks5.stream import TargetProtocol
from txsocks5.sweep import Sweep
from txsocks5.testing import PrivateProtection, RecordedTraffic
from txsocks5.wire import Address

from .sockets import JunctionFixture, Peer

PEER = Address(ip_address("192.0.2.7"), 80)


class JoinerTests(JunctionFixture):
    """
    Tests for L{Joiner}.
    """

    def stream(self) -> tuple[Any, Peer]:
        """
        A connection with a stream.
        """
        near, peer = self.tcp()
        stream = SocketStream(self.junction, self.reactor, near, near.getpeername())
        protocol: Any = TargetProtocol()
        protocol.makeConnection(stream)
        stream.start(protocol)
        self.addCleanup(self.turns)
        self.addCleanup(stream.abort)
        return protocol, peer

    def join(self, client: Any, target: Any, **options: Any) -> Any:
        """
        Join two sides.
        """
        joiner = Joiner(self.reactor, Sweep(self.reactor), Timeouts(), self.junction)
        self.addCleanup(joiner.pipes.leave)
        relay = joiner.join(client, target, PEER, lambda reason: None, **options)
        self.addCleanup(relay.abort, "the test is over")
        relay.begin()
        return relay

    def test_chosen(self) -> None:
        """
        The kernel joins what is a socket and nothing more; all else is copied.
        """
        tap: Any = RecordedTraffic().began(None)  # type: ignore[arg-type]
        for bare in (True, False):
            for protected, watched, lost in (
                (False, False, False),
                (True, False, False),
                (False, True, False),
                (False, False, True),
            ):
                client, _ = self.stream()
                if protected:
                    client.stream.protection = PrivateProtection(5, server=True)
                if bare:
                    near, peer = self.tcp()
                    target: Any = ConnectedSocket(near, PEER)
                else:
                    target, peer = self.stream()
                    if lost:
                        target.stream.abort()
                relay = self.join(client.stream, target, tap=tap if watched else None)
                copied = protected or watched or (lost and not bare)
                self.assertIsInstance(relay, CopyingRelay if copied else KernelRelay)
                if not (lost or protected):
                    peer.send(b"octets")
                    self.until(lambda relay=relay: relay.toClient == 6)

    def test_early(self) -> None:
        """
        What a target has sent before it is joined comes first, whoever joins it.
        """
        for protected in (False, True):
            client, far = self.stream()
            target, peer = self.stream()
            peer.send(b"early")
            self.turns()
            if protected:
                client.stream.protection = PrivateProtection(5, server=True)
            relay = self.join(client.stream, target)
            self.assertIsInstance(relay, CopyingRelay if protected else KernelRelay)
            peer.send(b" and late")
            self.until(lambda relay=relay: relay.toClient == 14, far)
            if not protected:
                self.until(lambda far=far: far.received == b"early and late", far)

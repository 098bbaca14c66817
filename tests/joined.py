"""
Relays between sockets of the system, for the tests of what they are made of.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable
from typing import Any

from txsocks5.bandwidth import Meter
from txsocks5.config import Timeouts
from txsocks5.kernel import KernelRelay
from txsocks5.pipes import PipePool
from txsocks5.retired import BareConnection
from txsocks5.sweep import Sweep

from .sockets import JunctionFixture, Peer

BULK = random.Random(1).randbytes(3_000_000)


class Connection(BareConnection):
    """
    A connection that tells whoever has to know.

    @ivar ends: whether it was reset; one item if it has ended.
    """

    def __init__(self, connected: socket.socket, unsent: bytes = b"") -> None:
        super().__init__(connected, unsent)
        self.ends: list[bool] = []
        self.hear: Callable[[], object] = lambda: None

    def lost(self, *, reset: bool) -> None:
        """
        Keep it.
        """
        self.ends.append(reset)
        self.hear()


class KernelFixture(JunctionFixture):
    """
    A relay between two sockets.
    """

    def setUp(self) -> None:
        """
        Prepare what it needs.
        """
        super().setUp()
        self.sweep = Sweep(self.reactor)
        self.pipes = PipePool()
        self.addCleanup(self.pipes.leave)
        self.reasons: list[str] = []

    def pair(self) -> tuple[socket.socket, Peer]:
        """
        A connection.
        """
        return self.tcp()

    def make(
        self,
        meter: Meter | None = None,
        timeouts: Timeouts | None = None,
        owed: tuple[bytes, bytes] = (b"", b""),
    ) -> KernelRelay:
        """
        Make a relay, and do not begin.

        @param owed: octets for the client, and for the target, that come before all others.
        """
        near, self.client = self.pair()
        far, self.target = self.pair()
        self.inner = Connection(near, owed[0])
        self.outer = Connection(far, owed[1])
        relay = KernelRelay(
            self.junction,
            self.pipes,
            self.inner,
            self.outer,
            self.sweep,
            timeouts or Timeouts(),
            self.reasons.append,
            meter,
        )
        self.addCleanup(relay.abort, "the test is over")
        return relay

    def relay(self, **options: Any) -> KernelRelay:
        """
        Make a relay, and begin.
        """
        relay = self.make(**options)
        relay.begin()
        return relay

    def await_(self, done: Callable[[], object]) -> None:
        """
        Let turns pass, with both peers reading, until something is the case.
        """
        self.until(done, self.client, self.target)

    def sendAll(self, source: Peer, sink: Peer, data: bytes = BULK) -> None:
        """
        Send much, with the other side reading, until all has come.
        """
        left = memoryview(data)

        def done() -> bool:
            nonlocal left
            if left:
                with contextlib.suppress(BlockingIOError):
                    left = left[source.socket.send(left[:400_000]) :]
            return len(sink.received) >= len(data)

        self.until(done, sink)
        self.assertTrue(sink.received == data)

    def assertOver(self, reason: str, *, reset: bool) -> None:
        """
        The relay has ended, has told everybody once, and has left nothing.
        """
        self.assertEqual(len(self.reasons), 1)
        self.assertRegex(self.reasons[0], reason)
        self.assertEqual((self.inner.ends, self.outer.ends), ([reset], [reset]))
        self.assertEqual((self.inner.socket.fileno(), self.outer.socket.fileno()), (-1, -1))
        self.assertEqual(self.junction._watchers, {})
        self.assertEqual(self.pipes.inUse, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


__all__ = ["BULK", "Connection", "KernelFixture"]

"""
Tests for L{txsocks5.channel}.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.channel import READY, Channel, Orders
from txsocks5.config import Configuration


class Transport(StringTransport):
    """
    One that passes file descriptors, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.descriptors: list[int] = []
        self.sendFileDescriptor = self.descriptors.append


class ChannelTests(SynchronousTestCase):
    """
    Tests for L{Channel}.
    """

    def setUp(self) -> None:
        """
        Have one end.
        """
        self.heard: list[tuple[bytes, Sequence[int]]] = []
        self.lost: list[None] = []
        self.channel = Channel(
            lambda message, descriptors: self.heard.append((message, descriptors)),
            lambda: self.lost.append(None),
        )
        self.transport = Transport()

    def test_says(self) -> None:
        """
        A message goes out with its length, and with the descriptors before it.
        """
        self.channel.makeConnection(self.transport)
        self.channel.say(READY, [7, 8])
        self.assertEqual(self.transport.value(), b"\x00\x00\x00\x05ready")
        self.assertEqual(self.transport.descriptors, [7, 8])

    def test_hears(self) -> None:
        """
        Messages come with their descriptors, which are those that came since the last.
        """
        self.channel.makeConnection(self.transport)
        self.channel.fileDescriptorReceived(7)
        self.channel.dataReceived(b"\x00\x00\x00\x03one\x00\x00")
        self.channel.fileDescriptorReceived(8)
        self.channel.dataReceived(b"\x00\x03two")
        self.assertEqual(self.heard, [(b"one", [7]), (b"two", [8])])

    def test_mentions(self) -> None:
        """
        What may get lost does, where the other end does not read; everything else is said.
        """
        self.channel.makeConnection(self.transport)
        producer, _ = self.transport.producer, self.transport.clear()
        assert producer is self.channel and self.transport.streaming
        self.channel.mention(b"one")
        self.channel.pauseProducing()
        self.channel.mention(b"two")
        self.channel.say(b"three")
        self.channel.resumeProducing()
        self.channel.mention(b"four")
        self.channel.stopProducing()
        heard = b"\x00\x00\x00\x03one\x00\x00\x00\x05three\x00\x00\x00\x04four"
        self.assertEqual(self.transport.value(), heard)

    def test_lost(self) -> None:
        """
        When the other end is gone that is told, nothing more is said, and no descriptor is left.
        """
        self.channel.say(READY)
        self.channel.makeConnection(self.transport)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.channel.fileDescriptorReceived(writer)
        self.channel.connectionLost()
        self.channel.connected = 0
        self.channel.say(READY)
        self.assertEqual(self.lost, [None])
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(os.read(reader, 1), b"")


class OrdersTests(SynchronousTestCase):
    """
    Tests for L{Orders}.
    """

    def test_pickled(self) -> None:
        """
        They arrive as they were sent.
        """
        orders = Orders(Configuration(workers=2), ("tcp:1080",))
        self.assertEqual(pickle.loads(pickle.dumps(orders)), orders)

"""
What a supervisor and its workers say to each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from .config import Configuration

__all__ = [
    "ANSWER",
    "ASK",
    "CLOSE",
    "DRAIN",
    "NEWS",
    "READY",
    "REFUSED",
    "RETIRE",
    "Channel",
    "Orders",
]

DRAIN = b"drain"
"""
To a worker: stop, with as much patience as the configuration has for that.
"""

RETIRE = b"retire"
"""
To a worker: take no more clients, and end when the last has gone, however long that takes.
"""

CLOSE = b"close"
"""
To a worker that stops: wait for nobody.
"""

ASK = b"ask"
"""
To a worker: say whether you are there.
"""

ANSWER = b"answer"
"""
To the supervisor: yes.
"""

NEWS = b"news "
"""
How a message begins that is for the other workers, with an L{Outcome <txsocks5.outcome.Outcome>}.
The supervisor does not look into it.
"""

READY = b"ready"
"""
To the supervisor: the orders are carried out.
"""

REFUSED = b"refused"
"""
To the supervisor: they cannot be.  The reason is in the log.
"""


@attrs.frozen
class Orders:
    """
    By what a worker is to serve from now on.  They are pickled, and only ever go from a supervisor
    to a process that it has started.

    @ivar configuration: what the supervisor has read and judged.

    @ivar added: the endpoint strings whose sockets come with the orders, in their order.
    """

    configuration: Configuration
    added: tuple[str, ...] = ()


@implementer(IFileDescriptorReceiver, IPushProducer)
class Channel(Int32StringReceiver):
    """
    One end of a UNIX socket between the two.
    """

    MAX_LENGTH = 64 * 1024 * 1024

    def __init__(
        self, heard: Callable[[bytes, Sequence[int]], None], lost: Callable[[], None]
    ) -> None:
        """
        @param heard: called with each message, and the file descriptors that came with it, which
            belong to whoever is called.

        @param lost: called when the other end is gone.
        """
        self._heard = heard
        self._lost = lost
        self._descriptors: list[int] = []
        self._isFull = False

    def connectionMade(self) -> None:
        """
        There is somebody at the other end.
        """
        transport: Any = self.transport
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """
        The other end does not read.
        """
        self._isFull = True

    def resumeProducing(self) -> None:
        """
        It reads again.
        """
        self._isFull = False

    def stopProducing(self) -> None:
        """
        It is gone, which L{connectionLost} is told, too.
        """

    def mention(self, message: bytes) -> None:
        """
        Send a message that may get lost: it does where 64 KiB wait already to be read.
        """
        if not self._isFull:
            self.say(message)

    def say(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """
        Send a message.

        @param descriptors: sent with it; they are to stay open, and there are less of them than
            octets in the message.
        """
        transport: Any = self.transport
        if self.connected:
            for descriptor in descriptors:
                transport.sendFileDescriptor(descriptor)
            send: Callable[[bytes], None] = self.sendString
            send(message)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        One has come, before the end of its message.
        """
        self._descriptors.append(descriptor)

    def stringReceived(self, string: bytes) -> None:
        """
        A message has come.
        """
        descriptors, self._descriptors = self._descriptors, []
        self._heard(string, descriptors)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The other end is gone.
        """
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self._lost()

"""
Tests for L{txsocks5.listening}.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.endpoints import _SystemdParser
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import listening
from txsocks5.exposure import isLocal
from txsocks5.listening import BACKLOG, Listening, endpointOf
from txsocks5.server import SOCKS5Factory
from txsocks5.testing import MemoryReactor
from txsocks5.wire import Address

from .test_service import OddPort, SlowEndpoint

HERE = "tcp:1080:interface=127.0.0.1"
ADDRESS = Address(ip_address("127.0.0.1"), 1080)


class Host:
    """
    The address of a UNIX socket.
    """

    def __init__(self, name: object) -> None:
        self.name = name


class PausingPort(OddPort):
    """
    A port that can wait, and knows where it listens.
    """

    def __init__(self, name: object = b"/run/socks") -> None:
        super().__init__()
        self.calls: list[str] = []
        self._name = name

    def getHost(self) -> object:
        """
        A UNIX socket.
        """
        return Host(self._name)

    def stopReading(self) -> None:
        """
        Count.
        """
        self.calls.append("stopReading")

    def startReading(self) -> None:
        """
        Count.
        """
        self.calls.append("startReading")


class Accepting:
    """
    Stands for an acceptor.
    """

    stopped = False

    def stop(self) -> None:
        """
        Take nobody.
        """
        self.stopped = True


class ListeningTests(SynchronousTestCase):
    """
    Tests for L{Listening}.
    """

    def setUp(self) -> None:
        """
        Make a server on a fake reactor.
        """
        self.reactor = MemoryReactor()
        self.factory = SOCKS5Factory(self.reactor)

    def slow(self) -> tuple[SlowEndpoint, Listening]:
        """
        An endpoint that takes its time.
        """
        endpoint = SlowEndpoint()
        self.patch(listening, "serverFromString", lambda reactor, description: endpoint)
        return endpoint, Listening(self.factory, "slow:1")

    def test_life(self) -> None:
        """
        It listens, and can do so again; the server knows where as long as it does (S-18).
        """
        one = Listening(self.factory, HERE)
        self.assertFalse(one.isOpen)
        for _ in range(2):
            self.successResultOf(one.begin())
            one.admit()
            self.assertTrue(one.isOpen)
            self.assertEqual(str(one), "127.0.0.1:1080")
            self.assertEqual(self.factory.listeners, {ADDRESS})
            self.successResultOf(one.stop())
            self.assertFalse(one.isOpen)
            self.assertEqual(self.factory.listeners, set())
        self.successResultOf(one.stop())

    def test_occupied(self) -> None:
        """
        It fails at once if it cannot listen, and then is not open.
        """
        self.reactor.occupied.add(1080)
        one = Listening(self.factory, HERE)
        self.failureResultOf(one.begin(), CannotListenError)
        self.assertFalse(one.isOpen)

    def test_slow(self) -> None:
        """
        One that takes its time is open meanwhile, and can be stopped.
        """
        endpoint, one = self.slow()
        begun = one.begin()
        self.assertTrue(one.isOpen)
        self.successResultOf(one.stop())
        self.assertTrue(endpoint.cancelled)
        self.failureResultOf(begun, CancelledError)
        self.assertFalse(one.isOpen)

    def test_late(self) -> None:
        """
        What comes late is like what comes at once: it listens, or it is not open.
        """
        endpoint, one = self.slow()
        begun = one.begin()
        endpoint.result.errback(CannotListenError("", 1, OSError("no")))
        self.failureResultOf(begun, CannotListenError)
        self.assertFalse(one.isOpen)
        endpoint, one = self.slow()
        begun = one.begin()
        endpoint.result.callback(OddPort())
        self.successResultOf(begun)
        one.admit()
        self.assertEqual((str(one), one.isOpen), ("an odd port", True))

    def test_waits(self) -> None:
        """
        Nobody is taken before it is said, if the port can do that.
        """
        endpoint, one = self.slow()
        port = PausingPort()
        endpoint.result.callback(port)
        self.successResultOf(one.begin())
        self.assertEqual((str(one), port.calls), ("unix:/run/socks", ["stopReading"]))
        one.admit()
        self.assertEqual(port.calls, ["stopReading", "startReading"])

    def test_acceptor(self) -> None:
        """
        Where the server accepts by itself, the port does not; that ends before the port does.
        """
        endpoint, one = self.slow()
        port, acceptor = PausingPort("of another kind"), Accepting()
        self.patch(self.factory, "takeOver", lambda port: acceptor)
        endpoint.result.callback(port)
        self.successResultOf(one.begin())
        one.admit()
        self.assertEqual(port.calls, ["stopReading"])
        self.assertEqual(str(one), "an odd port")
        self.successResultOf(one.stop())
        self.assertTrue(acceptor.stopped)
        self.assertEqual(str(one), "None")

    def test_brokenPort(self) -> None:
        """
        A port that cannot be closed is given up.
        """
        endpoint, one = self.slow()
        port = OddPort()
        self.patch(port, "stopListening", lambda: 1 / 0)
        endpoint.result.callback(port)
        self.successResultOf(one.begin())
        self.successResultOf(one.stop())

    def test_backlog(self) -> None:
        """
        Many may wait to be accepted, unless the endpoint says how many.
        """
        asked: list[Any] = []

        def listenTCP(*arguments: Any, **options: Any) -> OddPort:
            asked.append((*arguments[2:], *options.values()))
            return OddPort()

        self.patch(self.reactor, "listenTCP", listenTCP)
        for description in ("tcp:1", "tcp:1:backlog=7", "tcp:1:127.0.0.1:8"):
            self.successResultOf(Listening(self.factory, description).begin())
        self.assertEqual([each[0] for each in asked], [BACKLOG, 7, 8])
        self.failureResultOf(Listening(self.factory, "nonsense:1").begin(), ValueError)


class InheritedTests(SynchronousTestCase):
    """
    Sockets that systemd passes on.
    """

    def inherit(self, *sockets: socket.socket) -> None:
        """
        Let the process have been started with some sockets.
        """
        for passed in sockets:
            passed.listen()
            self.addCleanup(passed.close)
        descriptors = [passed.fileno() for passed in sockets]
        names = [str(number) for number, _ in enumerate(sockets)]
        self.patch(_SystemdParser, "_sddaemon", ListenFDs(descriptors, names))

    def listen(self, description: str) -> Any:
        """
        Listen.
        """
        return self.successResultOf(endpointOf(installed, description).listen(Factory()))

    def test_again(self) -> None:
        """
        One that has been listened at can be found again: looked at, and listened at once more.
        """
        passed = socket.socket()
        passed.bind(("127.0.0.1", 0))
        self.inherit(passed)
        for description in ("systemd:domain=INET:index=0", "haproxy:systemd:domain=INET:index=0"):
            for _ in range(2):
                port = self.listen(description)
                self.assertEqual(port.getHost().port, passed.getsockname()[1])
                self.assertTrue(isLocal(description))
                self.successResultOf(maybeDeferred(port.connectionLost, Failure(ConnectionDone())))

    def test_name(self) -> None:
        """
        The name of a UNIX socket is systemd's: it says who may connect, and it stays, for whoever
        is started next.
        """
        path = Path(os.path.relpath(self.mktemp()))
        passed = socket.socket(socket.AF_UNIX)
        passed.bind(str(path))
        path.chmod(0o600)
        self.inherit(passed)
        port = self.listen("systemd:domain=UNIX:index=0")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        port.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(path.exists())

"""
The README's example is run as it stands, but for the port.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.trial.unittest import TestCase

from txsocks5 import SOCKS5Service
from txsocks5.wire import Address, Command, Reply, Request, parseHost

README = Path(__file__).parent.parent / "README.rst"


def example() -> str:
    """
    The README's only block of Python.
    """
    [block] = re.findall(
        r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README.read_text("utf-8")
    )
    return "\n".join(line[4:] for line in block.splitlines())


class _Echo(Protocol):
    """
    Sends back what it gets.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Send it back.
        """
        assert self.transport is not None
        self.transport.write(data)


class _Client(Protocol):
    """
    Sends what it is told to, and collects what comes back until the connection ends or enough
    has come.
    """

    def __init__(self, send: bytes, expect: int) -> None:
        self.send = send
        self.expect = expect
        self.seen = b""
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """
        Send all of it at once.
        """
        assert self.transport is not None
        self.transport.write(self.send)

    def dataReceived(self, data: bytes) -> None:
        """
        Collect.
        """
        assert self.transport is not None
        self.seen += data
        if len(self.seen) >= self.expect:
            self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        """
        That was all.
        """
        self.done.callback(self.seen)


class ReadmeTests(TestCase):
    """
    Tests for the example of embedding.
    """

    timeout = 30

    def setUp(self) -> None:
        """
        Run the example, on a port that the system chooses, and an echo server.
        """
        code = example().replace('"tcp:1080:', '"tcp:0:')
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(code, str(README), "exec"), names)
        service: SOCKS5Service = names["service"]
        service.startService()
        self.addCleanup(service.stopService)
        [self.proxy] = names["factory"].listeners
        listened = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(
            Factory.forProtocol(_Echo)
        )
        self.echo: IListeningPort = self.successResultOf(listened)
        self.addCleanup(self.echo.stopListening)

    def ask(self, token: bytes, port: int, expect: int) -> Deferred[bytes]:
        """
        Go through the whole handshake in one segment.
        """
        request = Request(Command.CONNECT, Address(parseHost(b"127.0.0.1"), port)).octets()
        client = _Client(b"\x05\x01\x80" + token + request + b"hello", expect)
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: client  # type: ignore[method-assign]
        net: Any = reactor
        net.connectTCP("127.0.0.1", self.proxy.port, factory)
        return client.done

    async def test_token(self) -> None:
        """
        Whoever has the token is let in, and reaches the target.
        """
        seen = await self.ask(b"sesame!!", self.echo.getHost().port, 3 + 10 + 5)
        self.assertEqual(seen[:3], b"\x05\x80\x00")
        reply = Reply.read(seen[3:])
        assert reply is not None
        self.assertEqual(reply[0].code, 0)
        self.assertEqual(seen[3 + reply[1] :], b"hello")

    async def test_wrongToken(self) -> None:
        """
        Whoever has not is told so, and the connection ends.
        """
        seen = await self.ask(b"password", self.echo.getHost().port, 100)
        self.assertEqual(seen, b"\x05\x80\x01")

    async def test_policy(self) -> None:
        """
        The policy of the example refuses low ports.
        """
        seen = await self.ask(b"sesame!!", 80, 100)
        self.assertEqual(seen, b"\x05\x80\x00" + Reply(2).octets())

    async def test_itself(self) -> None:
        """
        Nobody reaches the proxy through itself, although its policy allows everything else on
        this machine (S-18).
        """
        seen = await self.ask(b"sesame!!", self.proxy.port, 100)
        self.assertEqual(seen, b"\x05\x80\x00" + Reply(2).octets())

"""
What is behind the proxy: small servers in the reactor of the tests.
"""

from __future__ import annotations

import hashlib
import random
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocolFactory,
    IReactorTCP,
    ITCPTransport,
)
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

#: What the tests send through the proxy: more than all buffers on the way.
PAYLOAD = random.Random(1928).randbytes(300_000)


def digest(data: bytes) -> bytes:
    """
    The SHA-256 of some data, in hexadecimal.
    """
    return hashlib.sha256(data).hexdigest().encode()


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """
    Sends everything back, until the other side says that it is done.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Send it back.
        """
        assert self.transport is not None
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """
        Close the connection as soon as everything is sent.
        """
        assert self.transport is not None
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Nothing is left to be done.
        """


@implementer(IHalfCloseableProtocol)
class Checksum(Protocol):
    """
    Says nothing until the other side has said that it is done; then sends the
    L{digest} of all that it heard.
    """

    def connectionMade(self) -> None:
        """
        Nothing was heard yet.
        """
        self._heard = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self._heard += data

    def readConnectionLost(self) -> None:
        """
        Send the checksum and close the connection.
        """
        assert self.transport is not None
        self.transport.write(digest(bytes(self._heard)))
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Nothing is left to be done.
        """


class Page(Resource):
    """
    A page of a web site.

    @ivar requests: the addresses of those who asked for it.
    """

    def __init__(self, content: bytes, contentType: bytes = b"text/plain") -> None:
        super().__init__()
        self._content = content
        self._contentType = contentType
        self.requests: list[str] = []

    def render_GET(self, request: Request) -> bytes:
        """
        Send the content.
        """
        self.requests.append(request.getClientAddress().host)
        request.setHeader(b"content-type", self._contentType)
        return self._content


class Upload(Resource):
    """
    A page that answers with the L{digest} of what was sent to it.
    """

    def render_POST(self, request: Request) -> bytes:
        """
        Send the checksum.
        """
        assert request.content is not None
        return digest(request.content.read())


def webSite() -> Target:
    """
    A web site: C{/greeting} is a short text, C{/payload} is L{PAYLOAD}, and
    C{/upload} takes a POST.
    """
    root = Resource()
    root.putChild(b"greeting", Page(b"hello through the proxy\n"))
    root.putChild(b"payload", Page(PAYLOAD, b"application/octet-stream"))
    root.putChild(b"upload", Upload())
    return Target(Site(root))


@implementer(IHalfCloseableProtocol)
class _Connection(ProtocolWrapper):
    """
    A connection that its L{Target} knows about.
    """

    def readConnectionLost(self) -> None:
        """
        Pass it on to a protocol that wants to know; otherwise this is the end.
        """
        if IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            cast(IHalfCloseableProtocol, self.wrappedProtocol).readConnectionLost()
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Pass it on to a protocol that wants to know.
        """
        if IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            cast(IHalfCloseableProtocol, self.wrappedProtocol).writeConnectionLost()

    def abort(self) -> None:
        """
        End it at once.
        """
        cast(ITCPTransport, self.transport).abortConnection()


class Target(WrappingFactory):
    """
    A server that knows its connections, so that it can end them all.
    """

    protocol = _Connection

    def __init__(self, wrapped: IProtocolFactory) -> None:
        super().__init__(wrapped)
        self.noisy = False
        self._deserted: Deferred[None] | None = None

    async def listen(self, reactor: IReactorTCP, interface: str) -> int:
        """
        Begin to listen.

        @return: the port.
        """
        server = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
        self._port: IListeningPort = await server(reactor, 0, interface=interface).listen(self)
        port: int = self._port.getHost().port
        return port

    async def stop(self) -> None:
        """
        Stop listening, end all connections and wait until they are gone.
        """
        stopped = self._port.stopListening()
        if stopped is not None:
            await stopped
        if self.protocols:
            self._deserted = Deferred()
            for connection in list(self.protocols):
                connection.abort()
            await self._deserted

    def unregisterProtocol(self, connection: ProtocolWrapper) -> None:
        """
        A connection is gone.
        """
        super().unregisterProtocol(connection)
        if not self.protocols and self._deserted is not None:
            waiting, self._deserted = self._deserted, None
            waiting.callback(None)


def stream(protocol: type[Protocol]) -> Target:
    """
    A server which speaks a protocol of this module.
    """
    return Target(Factory.forProtocol(protocol))


class DatagramEcho(DatagramProtocol):
    """
    Sends every datagram back to where it came from.

    @ivar sizes: the sizes of those that came.
    """

    noisy = False

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Send it back.
        """
        assert self.transport is not None
        self.sizes.append(len(datagram))
        self.transport.write(datagram, addr)


class Caller(Protocol):
    """
    Calls somebody: sends a question, says that this was all, and collects the
    answer.

    @ivar answered: fires with the answer when the other side has closed the
        connection.
    """

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._answer = bytearray()
        self.answered: Deferred[bytes] = Deferred()

    @property
    def address(self) -> tuple[str, int]:
        """
        The address and the port that the call comes from.
        """
        host = cast(ITCPTransport, self.transport).getHost()
        return (host.host, host.port)

    def connectionMade(self) -> None:
        """
        Send all.
        """
        transport = cast(ITCPTransport, self.transport)
        transport.write(self._question)
        transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self._answer += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The answer is complete.
        """
        self.answered.callback(bytes(self._answer))

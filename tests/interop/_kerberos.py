"""
A client that introduces itself by Kerberos and protects what it says, and witnesses of what that
looks like on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from random import Random
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import (
    DatagramProtocol,
    Factory,
    Protocol,
    connectionDone,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from txsocks5.interfaces import Accepted, IProtection, Refused
from txsocks5.wire import Address, Command, Datagram, Greeting, Host, Reply, Request, Selection

_T = TypeVar("_T")


def hostOf(text: str) -> Host:
    """
    An address, if the text is one, or a name.
    """
    try:
        return ip_address(text)
    except ValueError:
        return text


class Ended(Exception):
    """
    The server has ended the connection, and not said what was waited for.
    """


@implementer(IHalfCloseableProtocol)
class KerberosClient(Protocol):
    """
    A connection to a SOCKS server, on which everything is protected as agreed.

    @ivar protection: what was agreed on; L{None} for nothing, or nothing yet.

    @ivar heard: what the server has said and nobody has waited for.
    """

    protection: IProtection | None = None

    def __init__(self) -> None:
        self.heard = bytearray()
        self._ended: str | None = None
        self._more: Deferred[None] | None = None
        self._gone: list[Deferred[None]] = []

    # -- the transport

    def connectionMade(self) -> None:
        """
        Each message is to leave at once.
        """
        self._transport = cast(ITCPTransport, self.transport)
        self._transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """
        Open it, if it is closed.
        """
        self.heard += data if self.protection is None else self.protection.unwrap(data)
        self._look()

    def readConnectionLost(self) -> None:
        """
        The server has no more to say.
        """
        self._ended = "finished"
        if self.protection is not None:
            self.protection.finished()
        self._look()

    def writeConnectionLost(self) -> None:
        """
        The server has been told that we have no more to say.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        self._ended = self._ended or "lost"
        self._look()
        gone, self._gone = self._gone, []
        for each in gone:
            each.callback(None)

    def _look(self) -> None:
        """
        Let whoever waits look again.
        """
        if self._more is not None:
            waiting, self._more = self._more, None
            waiting.callback(None)

    async def leave(self) -> None:
        """
        End the connection, and wait until it is gone.
        """
        if self._transport.connected:  # type: ignore[attr-defined]
            self._gone.append(Deferred())
            gone = self._gone[-1]
            self._transport.abortConnection()
            await gone

    def finish(self) -> None:
        """
        Say that this was all.
        """
        self._transport.loseWriteConnection()

    # -- what is said, in octets

    def say(self, data: bytes) -> None:
        """
        Send something, protected.
        """
        self._transport.write(data if self.protection is None else self.protection.wrap(data))

    def sayInClear(self, data: bytes) -> None:
        """
        Send something as it is.
        """
        self._transport.write(data)

    async def until(self, read: Callable[[bytes], tuple[_T, int] | None]) -> _T:
        """
        Wait for a message.

        @param read: as that of the values in L{txsocks5.wire}.
        """
        while (found := read(bytes(self.heard))) is None:
            if self._ended:
                raise Ended(f"{self._ended} after {bytes(self.heard)!r}")
            self._more = Deferred()
            await self._more
        message, consumed = found
        del self.heard[:consumed]
        return message

    async def hear(self, size: int) -> bytes:
        """
        Wait for so many octets.
        """
        return await self.until(lambda data: (data[:size], size) if len(data) >= size else None)

    async def hearAll(self) -> bytes:
        """
        Wait for the end.

        @return: all that has come until then.
        """
        return await self.until(lambda data: (data, len(data)) if self._ended else None)

    # -- SOCKS

    async def introduce(self, initiator: Any) -> Accepted | Refused:
        """
        Say who we are, and agree on protection.

        @param initiator: a L{GSSAPIInitiator <txsocks5.initiator.GSSAPIInitiator>}.

        @raise Ended: the server has gone without a word.
        """
        self.sayInClear(Greeting(bytes((initiator.method,))).octets())
        selection = await self.until(Selection.read)
        if selection.method != initiator.method:
            return Refused(f"method {selection.method:#04x} was selected")
        conversation = initiator.conversation()
        step = await maybeDeferred(conversation.received, b"")
        while True:
            del self.heard[: step.consumed]
            self.sayInClear(step.send)
            if step.outcome is not None:
                conversation.close()
                break

            async def feed() -> Any:
                return await maybeDeferred(conversation.received, bytes(self.heard))

            while (step := await feed()) is None:
                await self.until(_change(len(self.heard)))
        if isinstance(step.outcome, Accepted) and step.outcome.protection is not None:
            self.protection = step.outcome.protection
            self.heard[:] = self.protection.unwrap(bytes(self.heard))
        outcome: Accepted | Refused = step.outcome
        return outcome

    async def ask(self, command: Command, host: str, port: int) -> Reply:
        """
        Make a request, and wait for the reply.
        """
        self.say(Request(command, Address(hostOf(host), port)).octets())
        return await self.reply()

    async def reply(self) -> Reply:
        """
        Wait for a reply.
        """
        return await self.until(Reply.read)


def _change(known: int) -> Callable[[bytes], tuple[None, int] | None]:
    """
    Waits until there are more octets than are known.
    """
    return lambda data: (None, 0) if len(data) > known else None


class KerberosDatagrams(DatagramProtocol):
    """
    The datagrams of an association.
    """

    noisy = False

    def __init__(self, protection: IProtection | None, relay: tuple[str, int]) -> None:
        """
        @param relay: where they go.
        """
        self._protection = protection
        self._relay = relay
        self._heard: list[Datagram] = []
        self._waiting: Deferred[Datagram] | None = None

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Open it, and give it to whoever waits.
        """
        if self._protection is not None:
            datagram = self._protection.unwrapDatagram(datagram)
        self._heard.append(Datagram.read(datagram))
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self._heard.pop(0))

    def made(self, host: str, port: int, payload: bytes, fragment: int = 0) -> bytes:
        """
        Make a datagram for a host.
        """
        datagram = Datagram(Address(hostOf(host), port), payload, fragment).octets()
        return datagram if self._protection is None else self._protection.wrapDatagram(datagram)

    def send(self, host: str, port: int, payload: bytes, fragment: int = 0) -> None:
        """
        Send something to a host.
        """
        self.sendAsIs(self.made(host, port, payload, fragment))

    def sendAsIs(self, datagram: bytes) -> None:
        """
        Send something to the relay.
        """
        assert self.transport is not None
        self.transport.write(datagram, self._relay)

    def receive(self) -> Deferred[Datagram]:
        """
        Wait for a datagram.
        """
        received: Deferred[Datagram] = Deferred()
        if self._heard:
            received.callback(self._heard.pop(0))
        else:
            self._waiting = received
        return received


# -- witnesses


@implementer(IHalfCloseableProtocol)
class _Leg(Protocol):
    """
    One of the two connections of somebody in the middle.
    """

    other: _Leg

    def __init__(self, witness: StreamWitness) -> None:
        self._witness = witness
        self._pieces: list[bytes | None] = []
        self._turn: IDelayedCall | None = None
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """
        What is split has to stay so.
        """
        cast(ITCPTransport, self.transport).setTcpNoDelay(True)
        self._next()

    def dataReceived(self, data: bytes) -> None:
        """
        Note it, and pass it on in pieces.
        """
        self._witness.seen += data
        self.other.pass_(*self._witness.split(data))

    def readConnectionLost(self) -> None:
        """
        Pass it on.
        """
        self.other.pass_(None)

    def writeConnectionLost(self) -> None:
        """
        Nothing is left to be done.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The other one is of no more use.
        """
        self.transport = None
        if self._turn is not None:
            self._turn.cancel()
        self.other.pass_(None)
        self.gone.callback(None)

    def pass_(self, *pieces: bytes | None) -> None:
        """
        Send pieces, one in each turn of the reactor.

        @param pieces: L{None} for the end.
        """
        self._pieces += pieces
        if self.transport is not None and self._turn is None:
            self._next()

    def _next(self) -> None:
        """
        Send a piece, and come back for the next.
        """
        self._turn = None
        if self._pieces:
            piece = self._pieces.pop(0)
            transport = cast(ITCPTransport, self.transport)
            if piece is None:
                transport.loseWriteConnection()
            else:
                transport.write(piece)
            self._turn = self._witness.reactor.callLater(0, self._next)


class StreamWitness(Factory):
    """
    Stands between clients and a server, and passes on and notes all that they say, in pieces
    that neither of them has made.

    @ivar seen: all octets, of both sides.

    @ivar random: makes the sizes of the pieces, always the same.

    @ivar host: where clients may come.

    @ivar port: the port for that.
    """

    host = "127.0.0.1"
    port: int

    noisy = False

    def __init__(self, reactor: Any, host: str, port: int, largest: int) -> None:
        """
        @param host: the server's address.

        @param port: the server's port.

        @param largest: the octets of the largest piece.
        """
        self.reactor = reactor
        self.seen = bytearray()
        self._server = TCP4ClientEndpoint(reactor, host, port)
        self._largest = largest
        self.random = Random(1961)
        self._legs: list[_Leg] = []

    def split(self, data: bytes) -> Iterator[bytes]:
        """
        Make pieces.
        """
        start = 0
        while start < len(data):
            end = start + self.random.randint(1, self._largest)
            yield data[start:end]
            start = end

    def buildProtocol(self, addr: object) -> Protocol:
        """
        Call the server, too.
        """
        near, far = _Leg(self), _Leg(self)
        near.other, far.other = far, near
        self._legs += [near, far]
        connectProtocol(self._server, far)
        return near

    async def leave(self) -> None:
        """
        End all connections, and wait until they are gone.
        """
        for leg in self._legs:
            if leg.transport is not None:
                cast(ITCPTransport, leg.transport).abortConnection()
            await leg.gone


class DatagramWitness(DatagramProtocol):
    """
    Stands between one client and its relay, and passes on and notes all datagrams.

    @ivar seen: all octets, of both sides.
    """

    noisy = False

    def __init__(self, relay: tuple[str, int]) -> None:
        self.seen = bytearray()
        self._relay = relay
        self._client: tuple[str, int] | None = None

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Note it, and pass it on.
        """
        assert self.transport is not None
        self.seen += datagram
        if addr == self._relay:
            assert self._client is not None
            self.transport.write(datagram, self._client)
        else:
            self._client = addr
            self.transport.write(datagram, self._relay)

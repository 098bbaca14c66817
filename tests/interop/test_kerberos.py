"""
Kerberos: a client that protects what it says, on real sockets, with a real KDC.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol

from txsocks5.errors import ReplyCode
from txsocks5.interfaces import Accepted, Identity
from txsocks5.wire import Command, Datagram, Method, ProtectionLevel

from ..kerberos import ALICE, REALM, realm, whyNoRealm
from ._kerberos import (
    DatagramWitness,
    KerberosClient,
    KerberosDatagrams,
    StreamWitness,
    hostOf,
)
from ._proxy import NOWHERE, InteropTestCase, Proxy, reactor
from ._targets import PAYLOAD, Caller, Checksum, Echo, digest, stream

skip = whyNoRealm()
if skip is None:
    from txsocks5.initiator import GSSAPIInitiator

#: A million octets that nobody can guess, for each direction.
MUCH = Random(1961).randbytes(1_000_000)


class KerberosTestCase(InteropTestCase):
    """
    A test in the realm.

    @cvar level: the protection that the client wants.

    @cvar levels: what C{--gssapi-levels} says; L{None} for nothing.
    """

    level: ClassVar[ProtectionLevel] = ProtectionLevel.CONFIDENTIALITY
    levels: ClassVar[str | None] = None

    def setUp(self) -> None:
        """
        Live in the realm, and so do the programs that are started.
        """
        realm().inhabit(self)

    async def startProxy(self, interface: str = "127.0.0.1", *more: str, **options: Any) -> Proxy:
        """
        Start a server that demands a ticket.
        """
        if self.levels is not None:
            more = ("--gssapi-levels", self.levels, *more)
        return await super().startProxy(interface, "--gssapi", *more, **options)

    def initiator(self, **options: Any) -> GSSAPIInitiator:
        """
        What introduces the user of the realm at L{level}.
        """
        options = {"host": "localhost", "levels": [self.level], **options}
        return GSSAPIInitiator(reactor, **options)

    async def witness(self, proxy: Proxy, largest: int) -> StreamWitness:
        """
        Have somebody stand between clients and a server.

        @param largest: the octets of the largest piece that is passed on.
        """
        witness = StreamWitness(reactor, proxy.host, proxy.port, largest)
        port = reactor.listenTCP(0, witness, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(witness.leave)
        witness.port = port.getHost().port
        return witness

    async def call(self, host: str, port: int) -> KerberosClient:
        """
        Connect to something.
        """
        endpoint = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        client = await connectProtocol(endpoint(reactor, host, port), KerberosClient())
        self.addCleanup(client.leave)
        return client

    async def introduced(self, proxy: Proxy | StreamWitness, **options: Any) -> KerberosClient:
        """
        Connect to a server and be let in.

        @param options: for the L{initiator}.
        """
        client = await self.call(proxy.host, proxy.port)
        outcome = await client.introduce(self.initiator(**options))
        self.assertIsInstance(outcome, Accepted)
        self.assertEqual(outcome.identity, Identity(f"{ALICE}@{REALM}", Method.GSSAPI))
        return client

    async def connected(
        self, proxy: Proxy | StreamWitness, host: str, port: int, **options: Any
    ) -> KerberosClient:
        """
        Be connected to a host.
        """
        client = await self.introduced(proxy, **options)
        reply = await client.ask(Command.CONNECT, host, port)
        self.assertEqual(reply.code, ReplyCode.SUCCEEDED)
        return client

    async def associated(
        self, proxy: Proxy, **options: Any
    ) -> tuple[KerberosClient, tuple[str, int]]:
        """
        Have an association.

        @return: its connection, and where its datagrams go.
        """
        client = await self.introduced(proxy, **options)
        reply = await client.ask(Command.UDP_ASSOCIATE, "0.0.0.0", 0)
        self.assertEqual(reply.code, ReplyCode.SUCCEEDED)
        return client, (str(reply.bound.host), reply.bound.port)

    def datagrams(self, client: KerberosClient, relay: tuple[str, int]) -> KerberosDatagrams:
        """
        Begin to send datagrams.
        """
        datagrams = KerberosDatagrams(client.protection, relay)
        port = reactor.listenUDP(0, datagrams, interface=relay[0], maxPacketSize=65536)
        self.addCleanup(port.stopListening)
        return datagrams


class ConfidentialityTests(KerberosTestCase):
    """
    A client that wants nobody to read what it says.
    """

    # -- CONNECT

    async def assertEchoed(self, host: str, target: str, interface: str = "127.0.0.1") -> None:
        """
        Send something to a host and have it all back.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startTarget(stream(Echo), target)
        client = await self.connected(proxy, host, port)
        client.say(PAYLOAD)
        client.finish()
        self.assertEqual(digest(await client.hearAll()), digest(PAYLOAD))

    async def test_connectByName(self) -> None:
        """
        A host is reached by its name.
        """
        await self.assertEchoed("localhost", "127.0.0.1")

    async def test_connectByIPv4Address(self) -> None:
        """
        A host is reached by its IPv4 address.
        """
        await self.assertEchoed("127.0.0.1", "127.0.0.1")

    async def test_connectByIPv6Address(self) -> None:
        """
        A host is reached by its IPv6 address.
        """
        await self.assertEchoed("::1", "::1")

    async def test_proxyOnIPv6(self) -> None:
        """
        A proxy that listens on an IPv6 address is used.
        """
        await self.assertEchoed("localhost", "127.0.0.1", interface="::1")

    async def test_halfClose(self) -> None:
        """
        A host that answers only when it has heard everything is heard.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Checksum))
        client = await self.connected(proxy, "localhost", port)
        client.say(PAYLOAD)
        client.finish()
        self.assertEqual(await client.hearAll(), digest(PAYLOAD))

    async def test_unknownName(self) -> None:
        """
        A name without an address is reported as an unreachable host, under protection.
        """
        proxy = await self.startProxy()
        client = await self.introduced(proxy)
        reply = await client.ask(Command.CONNECT, NOWHERE, 80)
        self.assertEqual(reply.code, ReplyCode.HOST_UNREACHABLE)
        client.finish()
        self.assertEqual(await client.hearAll(), b"")

    async def test_refused(self) -> None:
        """
        A refused connection is reported as such, under protection.
        """
        proxy = await self.startProxy()
        client = await self.introduced(proxy)
        reply = await client.ask(Command.CONNECT, "127.0.0.1", self.closedPort())
        self.assertEqual(reply.code, ReplyCode.CONNECTION_REFUSED)
        client.finish()
        self.assertEqual(await client.hearAll(), b"")

    async def assertEchoedInPieces(self, largest: int, **options: Any) -> None:
        """
        Send a million octets and have them back, over a network that divides them anew.

        @param largest: the octets of the largest piece.
        """
        port = await self.startTarget(stream(Echo))
        witness = await self.witness(await self.startProxy(), largest)
        client = await self.connected(witness, "localhost", port, **options)
        said = 0
        while said < len(MUCH):
            size = witness.random.randint(1, 3 * largest)
            client.say(MUCH[said : said + size])
            said += size
        client.finish()
        self.assertEqual(digest(await client.hearAll()), digest(MUCH))

    async def test_muchInSmallPieces(self) -> None:
        """
        Messages are put together again from many pieces.
        """
        await self.assertEchoedInPieces(3000)

    async def test_muchInLargePieces(self) -> None:
        """
        Pieces of many messages are taken apart.
        """
        await self.assertEchoedInPieces(100_000)

    async def test_sequence(self) -> None:
        """
        A client that sends no datagrams can have the order of its messages watched.
        """
        await self.assertEchoedInPieces(30_000, sequencing=True)

    # -- BIND

    async def assertBound(self, host: str, interface: str) -> None:
        """
        Await a connection at the proxy, hear what comes, and answer.

        @param host: what the client says of who is going to connect.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        client = await self.introduced(proxy)
        bound = await client.ask(Command.BIND, host, 0)
        self.assertEqual((bound.code, bound.bound.host), (ReplyCode.SUCCEEDED, hostOf(interface)))
        caller = await self.calls(interface, bound.bound.port)
        reply = await client.reply()
        self.assertEqual(reply.code, ReplyCode.SUCCEEDED)
        self.assertEqual((str(reply.bound.host), reply.bound.port), caller.address)
        self.assertEqual(digest(await client.hear(len(PAYLOAD))), digest(PAYLOAD))
        client.say(PAYLOAD[::-1])
        client.finish()
        self.assertEqual(digest(await caller.answered), digest(PAYLOAD[::-1]))

    async def calls(self, host: str, port: int) -> Caller:
        """
        Somebody connects, and says something.
        """
        endpoint = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        caller: Caller = await connectProtocol(endpoint(reactor, host, port), Caller(PAYLOAD))
        return caller

    async def test_bindByIPv4Address(self) -> None:
        """
        A connection is awaited from an IPv4 address.
        """
        await self.assertBound("127.0.0.1", "127.0.0.1")

    async def test_bindByIPv6Address(self) -> None:
        """
        A connection is awaited from an IPv6 address.
        """
        await self.assertBound("::1", "::1")

    async def test_bindByName(self) -> None:
        """
        A connection is awaited from a host with a name.
        """
        await self.assertBound("localhost", "127.0.0.1")

    # -- UDP ASSOCIATE

    async def assertReturned(self, host: str, target: str, interface: str = "127.0.0.1") -> None:
        """
        Send datagrams to a host and have them back from there.

        @param host: what the client calls the host.
        @param target: the address of the host.
        @param interface: the address of the proxy.
        """
        proxy = await self.startProxy(interface)
        port = await self.startDatagramEcho(target)
        client, relay = await self.associated(proxy)
        datagrams = self.datagrams(client, relay)
        for payload in (b"", b"hello", PAYLOAD[:60_000]):
            datagrams.send(host, port, payload)
            received = await datagrams.receive()
            self.assertEqual((str(received.address.host), received.address.port), (target, port))
            self.assertEqual(digest(received.payload), digest(payload))

    async def test_datagramByName(self) -> None:
        """
        Datagrams reach a host by its name; answers come from its address.
        """
        await self.assertReturned("localhost", "127.0.0.1")

    async def test_datagramByIPv4Address(self) -> None:
        """
        Datagrams reach a host by its IPv4 address.
        """
        await self.assertReturned("127.0.0.1", "127.0.0.1")

    async def test_datagramByIPv6Address(self) -> None:
        """
        Datagrams reach a host by its IPv6 address.
        """
        await self.assertReturned("::1", "::1")

    async def test_datagramsOnIPv6(self) -> None:
        """
        A proxy on an IPv6 address takes datagrams there.
        """
        await self.assertReturned("localhost", "127.0.0.1", interface="::1")

    async def test_fragments(self) -> None:
        """
        Each fragment is a message of its own; the host gets one datagram.
        """
        proxy = await self.startProxy()
        port = await self.startDatagramEcho()
        client, relay = await self.associated(proxy)
        datagrams = self.datagrams(client, relay)
        for position, payload in ((1, b"one "), (2, b"two "), (0x83, b"three")):
            datagrams.send("127.0.0.1", port, payload, position)
        received = await datagrams.receive()
        self.assertEqual(received.payload, b"one two three")

    async def test_otherOrder(self) -> None:
        """
        Datagrams that overtake each other all arrive, and none arrives twice.
        """
        proxy = await self.startProxy()
        port = await self.startDatagramEcho()
        client, relay = await self.associated(proxy)
        datagrams = self.datagrams(client, relay)
        made = [datagrams.made("127.0.0.1", port, b"%d" % number) for number in range(5)]
        for number in (2, 2, 0, 4, 0, 3, 1):
            datagrams.sendAsIs(made[number])
        received: list[Datagram] = [await datagrams.receive() for _ in made]
        self.assertEqual([each.payload for each in received], [b"2", b"0", b"4", b"3", b"1"])


class IntegrityTests(ConfidentialityTests):
    """
    A client that wants nobody to change what it says.
    """

    level = ProtectionLevel.INTEGRITY


class ClearTests(ConfidentialityTests):
    """
    A client that only introduces itself.
    """

    level = ProtectionLevel.NONE
    levels = "clear"

    async def test_otherOrder(self) -> None:
        """
        Datagrams that overtake each other all arrive, as often as they come.
        """
        proxy = await self.startProxy()
        port = await self.startDatagramEcho()
        client, relay = await self.associated(proxy)
        self.assertIsNone(client.protection)
        datagrams = self.datagrams(client, relay)
        made = [datagrams.made("127.0.0.1", port, b"%d" % number) for number in range(2)]
        for number in (1, 1, 0):
            datagrams.sendAsIs(made[number])
        received: list[Datagram] = [await datagrams.receive() for _ in range(3)]
        self.assertEqual([each.payload for each in received], [b"1", b"1", b"0"])


class WitnessTests(KerberosTestCase):
    """
    What somebody on the way between client and proxy can see.
    """

    #: What is said to a host.
    SECRET = b"the password is swordfish"

    #: A name that is said, too, although nobody has it.
    NAME = b"mail.hidden.invalid"

    async def seenOnTheStream(self, level: ProtectionLevel) -> bytes:
        """
        Ask for a host, then tell another one a secret, and hear it repeated.

        @return: what has passed, in both directions.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        witness = await self.witness(proxy, 65536)
        client = await self.introduced(witness, levels=[level])
        reply = await client.ask(Command.CONNECT, self.NAME.decode(), port)
        self.assertEqual(reply.code, ReplyCode.HOST_UNREACHABLE)
        client = await self.connected(witness, "localhost", port, levels=[level])
        client.say(self.SECRET)
        self.assertEqual(await client.hear(len(self.SECRET)), self.SECRET)
        return bytes(witness.seen)

    async def seenOfDatagrams(self, level: ProtectionLevel) -> bytes:
        """
        Tell a host a secret in a datagram, and hear it repeated; before that, try another one.

        @return: what has passed, in both directions.
        """
        proxy = await self.startProxy()
        port = await self.startDatagramEcho()
        client, relay = await self.associated(proxy, levels=[level])
        witness = DatagramWitness(relay)
        listening = reactor.listenUDP(0, witness, interface="127.0.0.1", maxPacketSize=65536)
        self.addCleanup(listening.stopListening)
        datagrams = self.datagrams(client, ("127.0.0.1", listening.getHost().port))
        datagrams.send(self.NAME.decode(), port, b"")
        datagrams.send("127.0.0.1", port, self.SECRET)
        self.assertEqual((await datagrams.receive()).payload, self.SECRET)
        return bytes(witness.seen)

    def assertHidden(self, seen: bytes) -> None:
        """
        Nothing of it can be read.
        """
        for size in (len(self.SECRET), 5):
            self.assertNotIn(self.SECRET[:size], seen)
            self.assertNotIn(self.NAME[:size], seen)

    async def test_confidentialStream(self) -> None:
        """
        At confidentiality neither what is said can be read, nor to whom.
        """
        self.assertHidden(await self.seenOnTheStream(ProtectionLevel.CONFIDENTIALITY))

    async def test_integralStream(self) -> None:
        """
        At integrity both can be read, and so they could above, were they there.
        """
        seen = await self.seenOnTheStream(ProtectionLevel.INTEGRITY)
        self.assertEqual((seen.count(self.SECRET), seen.count(self.NAME)), (2, 1))

    async def test_confidentialDatagrams(self) -> None:
        """
        At confidentiality neither what is said in a datagram can be read, nor to whom.
        """
        self.assertHidden(await self.seenOfDatagrams(ProtectionLevel.CONFIDENTIALITY))

    async def test_integralDatagrams(self) -> None:
        """
        At integrity both can be read.
        """
        seen = await self.seenOfDatagrams(ProtectionLevel.INTEGRITY)
        self.assertEqual((seen.count(self.SECRET), seen.count(self.NAME)), (2, 1))

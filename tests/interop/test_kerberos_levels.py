"""
Kerberos: what a client and the server agree on.
"""

from __future__ import annotations

from typing import Any

from txsocks5.errors import ReplyCode
from txsocks5.interfaces import Refused
from txsocks5.wire import Command, Frame, FrameType, Greeting, ProtectionLevel, Selection

from ..kerberos import realm, whyNoRealm
from ._kerberos import Ended, KerberosClient
from ._programs import program
from ._proxy import Proxy
from ._targets import Echo, stream
from .test_kerberos import KerberosTestCase

skip = whyNoRealm()
if skip is None:
    from gssapi import raw

    from txsocks5.encapsulation import Encapsulation, openLevel, sealLevel

NONE = ProtectionLevel.NONE
INTEGRITY = ProtectionLevel.INTEGRITY
CONFIDENTIALITY = ProtectionLevel.CONFIDENTIALITY


class AgreementTests(KerberosTestCase):
    """
    What the server grants.
    """

    async def assertGranted(
        self, said: str, asked: ProtectionLevel, granted: ProtectionLevel
    ) -> None:
        """
        Ask for a level, and be granted one.

        @param said: what C{--gssapi-levels} says.
        """
        proxy = await self.startProxy("127.0.0.1", "--gssapi-levels", said)
        others = [level for level in (NONE, INTEGRITY, CONFIDENTIALITY) if level is not asked]
        client = await self.introduced(proxy, levels=[asked, *others])
        if granted is NONE:
            self.assertIsNone(client.protection)
        else:
            self.assertEqual(client.protection.level, granted)
        reply = await client.ask(Command.CONNECT, "127.0.0.1", self.closedPort())
        self.assertEqual(reply.code, ReplyCode.CONNECTION_REFUSED)

    async def test_same(self) -> None:
        """
        A level that is allowed is granted.
        """
        await self.assertGranted("confidentiality,integrity", INTEGRITY, INTEGRITY)

    async def test_less(self) -> None:
        """
        Whoever asks for too much is granted the most there is.
        """
        await self.assertGranted("integrity,clear", CONFIDENTIALITY, INTEGRITY)

    async def test_more(self) -> None:
        """
        Whoever asks for too little is granted more.
        """
        await self.assertGranted("confidentiality,integrity", NONE, CONFIDENTIALITY)

    async def test_notEnough(self) -> None:
        """
        A client that wants more than there is leaves.
        """
        proxy = await self.startProxy("127.0.0.1", "--gssapi-levels", "integrity")
        client = await self.call(proxy.host, proxy.port)
        outcome = await client.introduce(self.initiator(levels=[CONFIDENTIALITY]))
        self.assertEqual(outcome, Refused("the server grants only the protection level INTEGRITY"))


class ByHandTestCase(KerberosTestCase):
    """
    A test of clients that do other things than ours does.
    """

    async def established(self, proxy: Proxy) -> tuple[KerberosClient, Any]:
        """
        Have a context with the server, and not agreed on a level yet.

        @return: the connection, and the context.
        """
        client = await self.call(proxy.host, proxy.port)
        client.sayInClear(Greeting(b"\x01").octets())
        await client.until(Selection.read)
        name = raw.import_name(b"socks@localhost", raw.NameType.hostbased_service)
        flags = [raw.RequirementFlag.mutual_authentication, raw.RequirementFlag.replay_detection]
        begun = raw.init_sec_context(name, flags=flags)
        client.sayInClear(Frame(FrameType.AUTHENTICATION, begun.token).octets())
        answer = await client.until(lambda data: Frame.read(data, FrameType.AUTHENTICATION))
        done = raw.init_sec_context(
            name, context=begun.context, flags=flags, input_token=answer.token
        )
        return client, done.context

    async def agreed(
        self, client: KerberosClient, context: Any, asked: ProtectionLevel
    ) -> ProtectionLevel:
        """
        Ask for a level.

        @return: the answer.
        """
        token = sealLevel(context, asked)
        client.sayInClear(Frame(FrameType.PROTECTION_LEVEL, token).octets())
        answer = await client.until(lambda data: Frame.read(data, FrameType.PROTECTION_LEVEL))
        return openLevel(context, answer.token)

    async def assertRefused(self, proxy: Proxy, client: KerberosClient, reason: str) -> None:
        """
        The server says C{01 FF}, ends the connection and logs why.
        """
        client.finish()
        self.assertEqual(await client.hearAll(), b"\x01\xff")
        await proxy.process.whenPrinted(rf"(not authenticated: {reason})")


class CurlTests(ByHandTestCase):
    """
    C{--gssapi-levels curl}: everybody is told "no protection".
    """

    levels = "curl,confidentiality,integrity"

    async def connect(self, client: KerberosClient) -> None:
        """
        Be connected to a host, and hear what was said.
        """
        port = await self.startTarget(stream(Echo))
        reply = await client.ask(Command.CONNECT, "localhost", port)
        self.assertEqual(reply.code, ReplyCode.SUCCEEDED)
        client.say(b"hello")
        self.assertEqual(await client.hear(5), b"hello")

    async def test_bothKinds(self) -> None:
        """
        Clients that then speak in clear, as curl does, and clients that go on as they wanted to,
        as Dante's does, are served by the same server.
        """
        proxy = await self.startProxy()
        for asked in (NONE, INTEGRITY, CONFIDENTIALITY):
            client, context = await self.established(proxy)
            self.assertEqual(await self.agreed(client, context, asked), NONE)
            await self.connect(client)
        for asked in (INTEGRITY, CONFIDENTIALITY):
            client, context = await self.established(proxy)
            self.assertEqual(await self.agreed(client, context, asked), NONE)
            client.protection = Encapsulation(context, asked)
            await self.connect(client)

    async def test_otherLevel(self) -> None:
        """
        Whoever goes on does so at the level that was asked for.
        """
        proxy = await self.startProxy()
        client, context = await self.established(proxy)
        await self.agreed(client, context, CONFIDENTIALITY)
        client.protection = Encapsulation(context, INTEGRITY)
        with self.assertRaises(Ended):
            await client.ask(Command.CONNECT, "localhost", 9)
        await proxy.process.whenPrinted(r"(protection violated: .*without the confidentiality)")

    async def test_ours(self) -> None:
        """
        Our own client takes such an answer only if it will do.
        """
        proxy = await self.startProxy()
        client = await self.call(proxy.host, proxy.port)
        outcome = await client.introduce(self.initiator(levels=[CONFIDENTIALITY, INTEGRITY]))
        self.assertEqual(outcome, Refused("the server grants only the protection level NONE"))
        client = await self.introduced(proxy, levels=[CONFIDENTIALITY, NONE])
        await self.connect(client)


class NECTests(ByHandTestCase):
    """
    C{--gssapi-levels nec}: the level may travel as it is.
    """

    async def test_asItIs(self) -> None:
        """
        A level that was not wrapped is answered so.
        """
        proxy = await self.startProxy("127.0.0.1", "--gssapi-levels", "nec,confidentiality")
        client, context = await self.established(proxy)
        client.sayInClear(b"\x01\x02\x00\x01\x02")
        self.assertEqual(await client.hear(5), b"\x01\x02\x00\x01\x02")
        client.protection = Encapsulation(context, CONFIDENTIALITY)
        reply = await client.ask(Command.CONNECT, "127.0.0.1", self.closedPort())
        self.assertEqual(reply.code, ReplyCode.CONNECTION_REFUSED)

    async def test_wrapped(self) -> None:
        """
        Everybody else is served, too.
        """
        proxy = await self.startProxy("127.0.0.1", "--gssapi-levels", "nec,confidentiality")
        client = await self.introduced(proxy, levels=[CONFIDENTIALITY])
        reply = await client.ask(Command.CONNECT, "127.0.0.1", self.closedPort())
        self.assertEqual(reply.code, ReplyCode.CONNECTION_REFUSED)

    async def test_off(self) -> None:
        """
        Without it such a client is refused.
        """
        proxy = await self.startProxy()
        client, _ = await self.established(proxy)
        client.sayInClear(b"\x01\x02\x00\x01\x02")
        await self.assertRefused(proxy, client, "GSSAPI: a protection level that is not wrapped")


class RefusalTests(ByHandTestCase):
    """
    Clients that are not let in.
    """

    async def assertTurnedAway(self, proxy: Proxy, reason: str, **options: Any) -> None:
        """
        Try to be let in; the server says C{01 FF}.

        @param reason: a regular expression for what is in the log.
        """
        client = await self.call(proxy.host, proxy.port)
        outcome = await client.introduce(self.initiator(**options))
        self.assertEqual(outcome, Refused("the peer has aborted"))
        client.finish()
        self.assertEqual(await client.hearAll(), b"")
        await proxy.process.whenPrinted(rf"(not authenticated: GSSAPI: .*{reason})")

    async def test_newKey(self) -> None:
        """
        A ticket for a newer key than the server's opens nothing.
        """
        keytab = realm().file()
        realm().addService("socks/moved.localhost", keytab)
        realm().changeKey("socks/moved.localhost")
        proxy = await self.startProxy("127.0.0.1", "--gssapi-keytab", str(keytab))
        await self.assertTurnedAway(proxy, "keytab", host="moved.localhost")

    async def test_otherService(self) -> None:
        """
        A ticket for another service than the one that the server is opens nothing, even though the
        key is there.
        """
        proxy = await self.startProxy("127.0.0.1", "--gssapi-service", "socks")
        await self.assertTurnedAway(proxy, "rcmd", service="rcmd")
        await self.introduced(proxy)

    async def test_expired(self) -> None:
        """
        A ticket that has expired opens nothing.
        """
        # The program faketime would stand between us and the server, and not pass signals on.
        proxy = await self.startProxy(
            LD_PRELOAD="/usr/$LIB/faketime/libfaketime.so.1", FAKETIME="+2d"
        )
        await self.assertTurnedAway(proxy, "[Tt]icket expired")

    test_expired.skip = program("faketime", "faketime")  # type: ignore[attr-defined]

    async def test_noTicket(self) -> None:
        """
        A client without a ticket does not even try, and the server is well.
        """
        proxy = await self.startProxy()
        client = await self.call(proxy.host, proxy.port)
        nobody = realm().file()
        realm().inhabit(self, KRB5CCNAME=str(nobody))
        outcome = await client.introduce(self.initiator())
        self.assertIsInstance(outcome, Refused)
        self.assertIn("No Kerberos credentials available", outcome.reason)

    async def test_noMethod(self) -> None:
        """
        Nobody is served without a ticket.
        """
        proxy = await self.startProxy()
        client = await self.call(proxy.host, proxy.port)
        client.sayInClear(b"\x05\x01\x00")
        self.assertEqual(await client.until(Selection.read), Selection(0xFF))

    async def test_rubbish(self) -> None:
        """
        A token that is none is refused.
        """
        proxy = await self.startProxy()
        client = await self.call(proxy.host, proxy.port)
        client.sayInClear(b"\x05\x01\x01")
        await client.until(Selection.read)
        client.sayInClear(b"\x01\x01\x00\x05hello")
        await self.assertRefused(proxy, client, "GSSAPI: ")

    async def test_noLevel(self) -> None:
        """
        A request instead of a level is refused.
        """
        proxy = await self.startProxy()
        client, _ = await self.established(proxy)
        client.sayInClear(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        await self.assertRefused(proxy, client, "GSSAPI: a frame of version 0x05")

    async def test_requestInClear(self) -> None:
        """
        Where protection was agreed on, a request without it is not served (R-1928-18).
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        client = await self.introduced(proxy)
        client.sayInClear(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        with self.assertRaises(Ended):
            await client.reply()
        await proxy.process.whenPrinted(r"(protection violated: a frame of version 0x05)")

    async def test_changed(self) -> None:
        """
        A single changed bit on the way ends the session, and what it was in is not passed on.
        """
        proxy = await self.startProxy()
        echo = stream(Echo)
        port = await self.startTarget(echo)
        for level in (INTEGRITY, CONFIDENTIALITY):
            client = await self.connected(proxy, "localhost", port, levels=[level])
            frame = bytearray(client.protection.wrap(b"pay 100 to alice"))
            frame[-1] ^= 1
            client.sayInClear(bytes(frame))
            with self.assertRaises(Ended):
                await client.hear(1)

    async def test_replayed(self) -> None:
        """
        What was said once does not count twice.
        """
        proxy = await self.startProxy()
        port = await self.startTarget(stream(Echo))
        client = await self.connected(proxy, "localhost", port)
        frame = client.protection.wrap(b"pay 100 to alice")
        client.sayInClear(frame)
        self.assertEqual(await client.hear(16), b"pay 100 to alice")
        client.sayInClear(frame)
        with self.assertRaises(Ended):
            await client.hear(1)

    async def test_log(self) -> None:
        """
        The log names the whole principal.
        """
        proxy = await self.startProxy()
        client = await self.introduced(proxy)
        await client.leave()
        await proxy.process.whenPrinted(r"(alice@EXAMPLE\.ORG)")

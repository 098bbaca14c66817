"""
The configurations of the cookbook, as printed: each is served, and does what its page says.

Only paths, listeners, and what the tests cannot wait for are replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol

from txsocks5.errors import ReplyCode
from txsocks5.interfaces import Accepted
from txsocks5.wire import Command, Greeting, Method, ProtectionLevel, Selection

from ..kerberos import ALICE, REALM, realm, whyNoRealm
from ._internet import VARIABLE
from ._kerberos import KerberosClient
from ._processes import Program
from ._programs import program
from ._proxy import READY, SOURCE, InteropTestCase, reactor
from ._targets import PAYLOAD, webSite

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples" / "cookbook"
PAGE = EXAMPLES.parent.parent / "cookbook.rst"

#: A listener that others could reach, for all that the server can know: names are not looked up.
EXPOSED = "tcp:0:interface=localhost"

#: Every user's.
PASSWORD = "correct horse"


class CookbookTestCase(InteropTestCase):
    """
    A configuration of the cookbook.

    @cvar file: its name.

    @cvar addresses: the names that there are, and their addresses.

    @cvar sites: the C{address:port} of each web site that there is.
    """

    timeout = 60

    file: str
    addresses: dict[str, list[str]] = {}
    sites: Sequence[str] = ()

    def setUp(self) -> None:
        """
        Read it.
        """
        self.home = self.folder()
        self.text = (EXAMPLES / self.file).read_text("utf-8")
        self.processes: list[Program] = []
        self.ports: dict[str, int] = {}

    def replace(self, old: str, new: str) -> None:
        """
        Replace something in the configuration.
        """
        self.assertEqual(self.text.count(old), 1, f"{old} in {self.file}")
        self.text = self.text.replace(old, new)

    async def txsocks5(self, *arguments: str, stdin: bytes = b"") -> tuple[int | None, str]:
        """
        Run the command.

        @return: its exit status, and what it has printed.
        """
        outcome = await self.outcomeOf(
            sys.executable, "-m", "txsocks5", *arguments, stdin=stdin, PYTHONPATH=str(SOURCE)
        )
        return outcome.status, (outcome.out + outcome.err).decode()

    async def withUsers(self, printed: str, *names: str) -> None:
        """
        Make a password file.

        @param printed: its path in the configuration.
        """
        path = self.home / "users"
        for name in names:
            status, said = await self.txsocks5(
                "passwd", str(path), name, stdin=f"{PASSWORD}\n".encode()
            )
            self.assertEqual(status, 0, said)
        self.replace(printed, str(path))

    async def serve(self) -> Program:
        """
        Find nothing wrong with the configuration, serve by it, and note in C{listening} where.
        """
        path = self.home / self.file
        path.write_text(self.text, "utf-8")
        status, said = await self.txsocks5("check", str(path))
        self.assertEqual(status, 0, said)
        self.assertNotIn("warning", said)
        for site in self.sites:
            if site not in self.ports:
                self.ports[site] = await self.startTarget(webSite())
        internet = json.dumps({"addresses": self.addresses, "ports": self.ports})
        process = self.spawn(
            *(sys.executable, "-m", "tests.interop._internet"),
            *("--nodaemon", "--pidfile=", "--logfile=-", "socks5", "-c", str(path)),
            *("--access-log", str(self.home / "access.log")),
            PYTHONPATH=str(SOURCE),
            **{VARIABLE: internet},
        )
        self.listening = await process.whenPrinted(READY, self.text.count('"tcp:') or 1)
        self.addCleanup(self.stop, process)
        return process

    async def stop(self, process: Program) -> None:
        """
        Stop a server that is well.
        """
        if process.outcome is None:
            await self._stop(process)

    # -- clients

    async def call(self) -> KerberosClient:
        """
        Connect to the server.
        """
        host, _, port = self.listening[0].rpartition(":")
        endpoint = TCP4ClientEndpoint(reactor, host, int(port))
        client: KerberosClient = await connectProtocol(endpoint, KerberosClient())
        self.addCleanup(client.leave)
        return client

    async def offered(self, *methods: int) -> tuple[KerberosClient, int]:
        """
        Offer methods.

        @return: the connection, and the method that the server has chosen.
        """
        client = await self.call()
        client.sayInClear(Greeting(bytes(methods)).octets())
        return client, (await client.until(Selection.read)).method

    async def login(self, user: str, password: str = PASSWORD) -> tuple[KerberosClient, bytes]:
        """
        Log in.

        @return: the connection, and the status of RFC 1929.
        """
        client, method = await self.offered(Method.PASSWORD)
        self.assertEqual(method, Method.PASSWORD)
        name, secret = user.encode(), password.encode()
        client.sayInClear(b"\x01" + bytes([len(name)]) + name + bytes([len(secret)]) + secret)
        return client, (await client.hear(2))[1:]

    async def ask(
        self, user: str, host: str, port: int, command: Command = Command.CONNECT
    ) -> tuple[KerberosClient, int]:
        """
        Make a request as a user.

        @return: the connection, and the reply code.
        """
        client, status = await self.login(user)
        self.assertEqual(status, b"\x00")
        return client, (await client.ask(command, host, port)).code

    async def assertServed(self, client: KerberosClient) -> None:
        """
        What is at the other end is a web site.
        """
        client.say(b"GET /greeting HTTP/1.0\r\n\r\n")
        client.finish()
        self.assertIn(b"hello through the proxy", await client.hearAll())

    async def assertAllowed(self, user: str, host: str, port: int) -> None:
        """
        A user gets through to a web site.
        """
        client, code = await self.ask(user, host, port)
        self.assertEqual(code, ReplyCode.SUCCEEDED)
        await self.assertServed(client)

    async def assertRefused(
        self,
        user: str,
        host: str,
        port: int,
        reason: str,
        code: int = ReplyCode.NOT_ALLOWED,
        command: Command = Command.CONNECT,
    ) -> None:
        """
        A user does not, and the log says why.

        @param reason: a regular expression.
        """
        _, found = await self.ask(user, host, port, command)
        self.assertEqual(found, code)
        await self.process.whenPrinted(rf"refused with REP {code}: ({reason})")

    def printed(self, first: str) -> str:
        """
        What the page shows of an output in JSON, in one line again.

        @param first: its first key.
        """
        lines = PAGE.read_text("utf-8").splitlines()
        [begin] = [index for index, line in enumerate(lines) if line.startswith(f"    {{{first}")]
        end = lines.index("", begin)
        return " ".join(line.strip() for line in lines[begin:end])

    async def curl(self, *arguments: str) -> bytes:
        """
        Run curl.

        @return: what it got.
        """
        outcome = await self.outcomeOf("curl", "--silent", "--show-error", *arguments)
        self.assertEqual(outcome.status, 0, str(outcome))
        return outcome.out

    async def accesses(self) -> list[dict[str, Any]]:
        """
        Stop the server.

        @return: what is in its access log.
        """
        await self._stop(self.process)
        lines = (self.home / "access.log").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]


class LaptopTests(CookbookTestCase):
    """
    One person's laptop.
    """

    file = "laptop.toml"
    skip = program("curl", "curl")

    async def test_served(self) -> None:
        """
        Programs of this machine get everywhere without a password, but not to the server itself.
        """
        path = self.home / "s"
        self.replace("tcp:1080:", "tcp:0:")
        self.replace("/run/user/1000/txsocks5.sock", str(path))
        self.process = await self.serve()
        site = await self.startTarget(webSite())
        url = f"http://127.0.0.1:{site}/greeting"
        page = await self.curl("--proxy", f"socks5h://{self.listening[0]}", url)
        self.assertEqual(page, b"hello through the proxy\n")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        client = await connectProtocol(UNIXClientEndpoint(reactor, str(path)), KerberosClient())
        self.addCleanup(client.leave)
        client.sayInClear(Greeting(bytes([Method.NONE])).octets())
        await client.until(Selection.read)
        self.assertEqual(
            (await client.ask(Command.CONNECT, "127.0.0.1", site)).code, ReplyCode.SUCCEEDED
        )
        await self.assertServed(client)
        client, _ = await self.offered(Method.NONE)
        own = int(self.listening[0].rpartition(":")[2])
        reply = await client.ask(Command.CONNECT, "127.0.0.1", own)
        self.assertEqual(reply.code, ReplyCode.NOT_ALLOWED)
        await self.process.whenPrinted("refused with REP 2: (default: .*own.*)")


class LANTests(CookbookTestCase):
    """
    A network of one's own.
    """

    file = "lan.toml"
    skip = program("curl", "curl")
    addresses = {"www.example.com": ["198.51.100.7"], "printer.example.com": ["192.168.1.20"]}
    sites = ["198.51.100.7:80", "192.168.1.20:80"]

    async def test_served(self) -> None:
        """
        Users with a password get out, and nobody gets in.
        """
        self.replace("tcp:1080", EXPOSED)
        await self.withUsers("/etc/txsocks5/users", "alice")
        self.process = await self.serve()
        page = await self.curl(
            *("--proxy", f"socks5h://{self.listening[0]}", "--proxy-user", f"alice:{PASSWORD}"),
            "http://www.example.com/greeting",
        )
        self.assertEqual(page, b"hello through the proxy\n")
        _, method = await self.offered(Method.NONE)
        self.assertEqual(method, 0xFF)
        _, status = await self.login("alice", "guessed")
        self.assertNotEqual(status, b"\x00")
        await self.process.whenPrinted("(not authenticated: .*)")
        for host in ("192.168.1.20", "printer.example.com"):
            await self.assertRefused("alice", host, 80, "default: private address.*")
        await self.assertRefused("alice", "127.0.0.1", 80, "default: loopback address.*")
        await self.assertRefused("alice", "169.254.169.254", 80, "default: metadata address.*")
        await self.assertRefused("alice", "198.51.100.7", 80, ".*", 7, Command.BIND)


class OfficeTests(CookbookTestCase):
    """
    An office.
    """

    file = "office.toml"
    skip = whyNoRealm()
    addresses = {
        "wiki.example.org": ["10.20.0.7"],
        "build.example.org": ["10.20.0.8"],
        "www.example.com": ["198.51.100.7"],
    }
    sites = ["10.20.0.7:443", "10.20.0.7:80", "10.20.0.8:443", "10.20.0.8:22", "198.51.100.7:80"]

    def setUp(self) -> None:
        """
        Live in the realm.
        """
        super().setUp()
        realm().inhabit(self)

    async def test_served(self) -> None:
        """
        Each group reaches what is meant for it.
        """
        from txsocks5.initiator import GSSAPIInitiator

        self.replace("tcp:1080", EXPOSED)
        self.replace("/etc/txsocks5/krb5.keytab", str(realm().keytab))
        await self.withUsers("/etc/txsocks5/users", "bob", "carol", "eve")
        self.process = await self.serve()
        status, said = await self.txsocks5(
            *("explain", "-c", str(self.home / self.file), "--user", "bob"),
            *("connect", "10.20.0.8", "443"),
        )
        self.assertEqual(status, 1)
        for line in said.splitlines():
            self.assertIn(f"    {line}\n", PAGE.read_text("utf-8"))

        initiator = GSSAPIInitiator(reactor, "localhost", levels=[ProtectionLevel.CONFIDENTIALITY])
        client = await self.call()
        outcome = await client.introduce(initiator)
        assert isinstance(outcome, Accepted)
        self.assertEqual(outcome.identity.name, f"{ALICE}@{REALM}")
        reply = await client.ask(Command.CONNECT, "wiki.example.org", 443)
        self.assertEqual(reply.code, ReplyCode.SUCCEEDED)
        await self.assertServed(client)

        await self.assertAllowed("bob", "wiki.example.org", 443)
        await self.assertAllowed("bob", "www.example.com", 80)
        await self.assertAllowed("carol", "build.example.org", 22)
        await self.assertRefused("bob", "wiki.example.org", 80, ".*private address.*")
        await self.assertRefused("bob", "build.example.org", 443, ".*private address.*")
        await self.assertRefused("carol", "build.example.org", 25, ".*no rule.*")
        await self.assertRefused("eve", "www.example.com", 80, ".*no rule.*")
        self.assertEqual(
            {(line["user"], line["reason"]) for line in await self.accesses() if not line["reply"]},
            {
                (f"{ALICE}@{REALM}", "staff to the wiki"),
                ("bob", "staff to the wiki"),
                ("bob", "everybody to the web"),
                ("carol", "admins to private networks"),
            },
        )


class SandboxTests(CookbookTestCase):
    """
    The only way out of sandboxes.
    """

    file = "sandbox.toml"
    skip = program("curl", "curl")
    addresses = {
        "pypi.org": ["198.51.100.1"],
        "files.pythonhosted.org": ["198.51.100.2"],
        "pythonhosted.org": ["198.51.100.3"],
        "inside.pythonhosted.org": ["10.0.0.1"],
        "api.example.com": ["198.51.100.4"],
        "example.org": ["198.51.100.5"],
    }
    sites = [*(f"198.51.100.{number}:443" for number in range(1, 6)), "10.0.0.1:443"]

    async def test_served(self) -> None:
        """
        Each sandbox reaches the names listed for it; what it asked for besides is told to
        programs.
        """
        self.replace("tcp:1080", EXPOSED)
        await self.withUsers("/etc/txsocks5/sandboxes", "sandbox-1", "sandbox-2")
        self.process = await self.serve()
        page = await self.curl(
            *("--proxy", f"socks5h://{self.listening[0]}"),
            *("--proxy-user", f"sandbox-1:{PASSWORD}", "http://pypi.org:443/greeting"),
        )
        self.assertEqual(page, b"hello through the proxy\n")
        await self.assertAllowed("sandbox-1", "files.pythonhosted.org", 443)
        await self.assertAllowed("sandbox-2", "api.example.com", 443)
        for user, host, port, reason in (
            ("sandbox-1", "api.example.com", 443, ".*no rule.*"),
            ("sandbox-1", "pythonhosted.org", 443, ".*no rule.*"),
            ("sandbox-1", "pypi.org", 80, ".*no rule.*"),
            ("sandbox-1", "198.51.100.1", 443, ".*no rule.*"),
            ("sandbox-2", "inside.pythonhosted.org", 443, ".*private address.*"),
        ):
            await self.assertRefused(user, host, port, reason)
        for command in (Command.BIND, Command.UDP_ASSOCIATE):
            await self.assertRefused("sandbox-1", "198.51.100.1", 443, ".*", 7, command)
        status, said = await self.txsocks5(
            *("explain", "-c", str(self.home / self.file), "--json", "--user", "sandbox-1"),
            *("connect", "example.org", "443"),
        )
        self.assertEqual((status, said), (1, self.printed('"allowed"') + "\n"))
        await self.assertRefused("sandbox-1", "example.org", 443, ".*no rule.*")
        [line] = [
            line for line in await self.accesses() if line["destination"].startswith("example.org")
        ]
        shown = json.loads(self.printed('"time"'))
        for key in ("time", "session", "client", "seconds"):
            del line[key], shown[key]
        self.assertEqual(line, shown)


class ResellerTests(CookbookTestCase):
    """
    Customers.
    """

    file = "reseller.toml"
    addresses = {"www.example.com": ["198.51.100.7"]}
    sites = ["198.51.100.7:80"]

    async def test_served(self) -> None:
        """
        Nobody gets more than has been paid for, not even by waiting for the server to be restarted.
        """
        self.replace("tcp:1080", EXPOSED)
        self.replace("2027-12-31", "2999-12-31")
        self.replace("100MiB/day", "200KiB/day")
        self.replace("/var/lib/txsocks5", str(self.home))
        await self.withUsers("/etc/txsocks5/customers", "alice", "bob", "carol")
        self.process = await self.serve()
        await self.assertAllowed("alice", "www.example.com", 80)
        await self.assertRefused("carol", "www.example.com", 80, ".*expired.*")

        first, code = await self.ask("bob", "www.example.com", 80)
        self.assertEqual(code, ReplyCode.SUCCEEDED)
        second, code = await self.ask("bob", "www.example.com", 80)
        self.assertEqual(code, ReplyCode.SUCCEEDED)
        await self.assertRefused("bob", "www.example.com", 80, ".*sessions.*")
        await second.leave()

        begun = reactor.seconds()
        first.say(b"GET /payload HTTP/1.0\r\n\r\n")
        heard = await first.hearAll()
        self.assertLess(len(heard), len(PAYLOAD))
        self.assertGreater(len(heard), 100 * 1024)
        # After a fifth of a second's worth, the rest cannot have come sooner.
        self.assertGreater(reactor.seconds() - begun, (len(heard) / (256 * 1024) - 0.2) * 0.9)
        await self.process.whenPrinted("(quota: .* is used up until .*)")
        await self.assertRefused("bob", "www.example.com", 80, ".*quota.*")
        await self._stop(self.process)

        self.process = await self.serve()
        await self.assertRefused("bob", "www.example.com", 80, ".*quota.*")
        await self.assertAllowed("alice", "www.example.com", 80)


class PageTests(InteropTestCase):
    """
    The page itself.
    """

    def test_everyFile(self) -> None:
        """
        It shows each configuration.
        """
        page = PAGE.read_text("utf-8")
        for path in EXAMPLES.iterdir():
            self.assertIn(f".. literalinclude:: examples/cookbook/{path.name}\n", page)

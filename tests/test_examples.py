"""
The examples of the documentation are run as they stand.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import unittest
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import twisted.internet
from twisted.application.service import IService, IServiceCollection
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor as installedReactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

import txsocks5
from txsocks5 import (
    DefaultPolicy,
    Identity,
    NameNotResolved,
    PasswordAuthenticator,
    Question,
    SOCKS5Factory,
)
from txsocks5.assembly import assemble
from txsocks5.auth import UsernamePassword
from txsocks5.config import ConfigurationError, readText
from txsocks5.systemresolver import SystemResolver
from txsocks5.testing import MemoryReactor, ScriptedAuthenticator, ScriptedResolver
from txsocks5.wire import Address, Command, Method, ProtectionLevel, parseHost

from .kerberos import realm, whyNoRealm
from .served import CONNECT, GREETING, ServedTestCase, accepted, failure

reactor: Any = installedReactor

TWISTD = Path(sysconfig.get_path("scripts")) / "twistd"
EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
PACKAGE = Path(txsocks5.__file__).resolve().parent


def example(case: SynchronousTestCase, name: str) -> ModuleType:
    """
    Import an example; it is forgotten when the test is over.
    """
    case.patch(sys, "path", [str(EXAMPLES), *sys.path])
    before = set(sys.modules)

    def forget() -> None:
        for added in set(sys.modules) - before:
            if str(EXAMPLES) in (getattr(sys.modules[added], "__file__", None) or ""):
                del sys.modules[added]

    case.addCleanup(forget)
    return importlib.import_module(name)


class _Peer(Protocol):
    """
    A client on a real connection.

    @ivar received: all that it has heard.

    @ivar heard: fires when it has heard something.

    @ivar ended: fires at the end.
    """

    def __init__(self) -> None:
        self.received = b""
        self.heard: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def send(self, data: bytes) -> None:
        """
        Send octets.
        """
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep octets.
        """
        self.received += data
        if not self.heard.called:
            self.heard.callback(None)

    def connectionLost(self, reason: object = None) -> None:
        """
        It is over.
        """
        self.ended.callback(None)


class ReloadingTests(SynchronousTestCase):
    """
    Tests for C{reloading.py}.
    """

    def test_reloading(self) -> None:
        """
        The server listens where it is told to.
        """
        memory = MemoryReactor()
        self.patch(twisted.internet, "reactor", memory)
        module = example(self, "reloading")
        module.service.startService()
        self.successResultOf(module.listenAt("tcp:1081:interface=127.0.0.1"))
        self.assertEqual([port.port for port in memory.tcpPorts if port.listening], [1081])
        self.successResultOf(module.service.stopService())


class ApplicationTests(TestCase):
    """
    Tests for C{application.py}.
    """

    timeout = 30

    async def test_application(self) -> None:
        """
        The application has both services; the proxy answers once it has started, and is gone once
        it has stopped.
        """
        path = EXAMPLES / "application.py"
        code = path.read_text("utf-8").replace('"tcp:1080:', '"tcp:0:')
        names: dict[str, Any] = {"__name__": "application"}
        exec(compile(code, str(path), "exec"), names)
        application = names["application"]
        self.assertEqual(len(list(IServiceCollection(application))), 2)
        service = IService(application)
        self.patch(sys, "stdout", open(os.devnull, "w"))  # noqa: SIM115
        self.addCleanup(sys.stdout.close)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        [listener] = names["factory"].listeners

        client = _Peer()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", listener.port)
        await connectProtocol(endpoint, client)
        client.send(GREETING)
        await client.heard
        self.assertEqual(client.received, b"\x05\x00")
        await service.stopService()
        await client.ended
        with self.assertRaises(ConnectionRefusedError):
            await connectProtocol(endpoint, _Peer())


class ConfiguredTests(SynchronousTestCase):
    """
    Tests for C{configured.py}.
    """

    def test_server(self) -> None:
        """
        It serves by the file, and by another one when that is read again.
        """
        module = example(self, "configured")
        memory = MemoryReactor()
        path = Path(self.mktemp())
        path.write_text("listen = ['tcp:1080:interface=127.0.0.1']\n[timeouts]\nbind = 5")
        service = module.server(memory, str(path))
        service.startService()
        self.assertEqual([port.port for port in memory.tcpPorts if port.listening], [1080])
        path.write_text("listen = ['tcp:1081:interface=127.0.0.1']")
        self.successResultOf(module.readAgain(memory, str(path), service))
        self.assertEqual([port.port for port in memory.tcpPorts if port.listening], [1081])
        path.write_text("listen = 5")
        self.assertRaises(ConfigurationError, module.readAgain, memory, str(path), service)
        self.assertEqual([port.port for port in memory.tcpPorts if port.listening], [1081])
        stopped = service.stopService()
        memory.advance(60)
        self.successResultOf(stopped)


class IntranetTests(SynchronousTestCase):
    """
    Tests for C{intranet.py}.
    """

    def test_ownTests(self) -> None:
        """
        The example of a test runs and passes.
        """
        module = example(self, "test_intranet")
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(module.IntranetTests).run(result)
        self.assertEqual((result.errors, result.failures), ([], []))
        self.assertEqual(result.testsRun, 2)

    def test_others(self) -> None:
        """
        Who is not of the staff, and what is not of the intranet, is judged by the defaults.
        """
        policy = example(self, "intranet").Intranet()

        def allowed(name: str, host: str) -> bool:
            address = ip_address(host)
            question = Question(Identity(name, 2), None, Command.CONNECT, Address(address, 443))
            verdict: bool = policy.judgeAddress(question, address).allowed
            return verdict

        self.assertTrue(allowed("alice", "10.1.2.3"))
        self.assertFalse(allowed("eve", "10.1.2.3"))
        self.assertFalse(allowed("alice", "10.2.2.3"))
        self.assertFalse(allowed("alice", "fd00::1"))
        self.assertTrue(allowed("eve", "8.8.8.8"))


class HostsTests(SynchronousTestCase):
    """
    Tests for C{hosts.py}.
    """

    def setUp(self) -> None:
        """
        Know one name, and let somebody else know another.
        """
        address = ip_address("192.0.2.80")
        self.others = ScriptedResolver({"host.invalid": ["192.0.2.81"]})
        self.hosts = example(self, "hosts").Hosts(
            ".example", {"wiki.example": [address]}, self.others
        )

    def test_resolve(self) -> None:
        """
        Its own names are known, others are passed on.
        """
        found = [
            self.successResultOf(self.hosts.resolve(name))
            for name in ("wiki.example", "host.invalid")
        ]
        self.assertEqual(found, [[ip_address("192.0.2.80")], [ip_address("192.0.2.81")]])
        self.assertEqual(self.others.asked, ["host.invalid"])

    def test_unknown(self) -> None:
        """
        Nobody else is asked for a name of its zone.
        """
        self.failureResultOf(self.hosts.resolve("www.example"), NameNotResolved)
        self.assertEqual(self.others.asked, [])

    def test_system(self) -> None:
        """
        The system's resolver, as the documentation puts it behind this one, answers too.
        """
        memory = MemoryReactor()
        memory.nameResolver.hosts["host.invalid"] = ["192.0.2.82"]
        hosts = example(self, "hosts").Hosts(".example", {}, SystemResolver(memory.nameResolver))
        found = self.successResultOf(hosts.resolve("host.invalid"))
        self.assertEqual(list(found), [ip_address("192.0.2.82")])


class DialerTests(TestCase):
    """
    Tests for C{dialer.py}.
    """

    timeout = 30

    async def test_dial(self) -> None:
        """
        A CONNECT goes through the endpoint.
        """
        listening = reactor.listenTCP(0, Factory.forProtocol(_Greeter), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        asked: list[Address] = []

        def endpointFor(address: Address) -> TCP4ClientEndpoint:
            asked.append(address)
            return TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)

        factory = SOCKS5Factory(
            reactor,
            policy=DefaultPolicy(local=True),
            dialer=example(self, "dialer").EndpointDialer(endpointFor),
        )
        proxy = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(factory.stopSessions)
        self.addCleanup(proxy.stopListening)
        client = _Peer()
        await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", proxy.getHost().port), client
        )
        client.send(GREETING + CONNECT)
        await client.ended
        self.assertEqual(asked, [Address(parseHost(b"192.0.2.7"), 80)])
        self.assertEqual(client.received[:4], b"\x05\x00\x05\x00")
        self.assertTrue(client.received.endswith(b"hello"))


class _Greeter(Protocol):
    """
    Says hello, and closes.
    """

    def connectionMade(self) -> None:
        """
        Say it.
        """
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class VolumeTests(ServedTestCase):
    """
    Tests for C{volume.py}.
    """

    def test_volume(self) -> None:
        """
        Both directions of all sessions of a user are counted.
        """
        volume = example(self, "volume").Volume()
        for _ in range(2):
            caller, target = self.connected(observer=volume)
            caller.say(b"hello")
            target.send(b"hello, too")
            self.flush()
            caller.close()
            target.close()
            self.flush()
        self.assertEqual(volume.octets, {"": 30})


class CheckersTests(ServedTestCase):
    """
    Tests for C{checkers.py}.
    """

    def authenticate(self, checker: Any, password: bytes) -> bytes:
        """
        Log in as alice.

        @return: what the server has answered after a second.
        """
        factory = self.serve(PasswordAuthenticator(self.reactor, [checker]))
        caller = self.call(factory)
        caller.say(b"\x05\x01\x02\x01\x05alice" + bytes((len(password),)) + password)
        self.advance(1)
        return caller.received

    def test_directory(self) -> None:
        """
        A checker may take its time.
        """
        module = example(self, "checkers")
        asked: list[tuple[bytes, bytes]] = []

        def ask(username: bytes, password: bytes) -> Deferred[bool]:
            asked.append((username, password))
            return succeed(password == b"secret")

        checker = module.Directory(ask)
        self.assertEqual(self.authenticate(checker, b"secret"), b"\x05\x02\x01\x00")
        self.assertEqual(self.authenticate(checker, b"wrong!"), b"\x05\x02\x01\x01")
        self.assertEqual(asked, [(b"alice", b"secret"), (b"alice", b"wrong!")])

    def test_hashed(self) -> None:
        """
        A checker that blocks is called in a thread.
        """
        module = example(self, "checkers")
        checker = module.Hashed({b"alice": (b"salt", module.hashOf(b"secret", b"salt"))})
        self.reactor.threads.hold = True
        self.assertEqual(self.authenticate(checker, b"secret"), b"\x05\x02")
        self.reactor.threads.release()
        self.flush()
        self.assertEqual(self.connections[0].server.writes[-1], b"\x01\x00")
        self.reactor.threads.hold = False
        self.assertEqual(self.authenticate(checker, b"wrong!"), b"\x05\x02\x01\x01")
        with self.assertRaises(UnauthorizedLogin):
            checker.requestAvatarId(UsernamePassword(b"eve", b""))


class TicketsTests(SynchronousTestCase):
    """
    Tests for C{tickets.py}.
    """

    skip = whyNoRealm()

    def test_server(self) -> None:
        """
        It takes tickets, and agrees to nothing but encryption.
        """
        realm().inhabit(self)
        module = example(self, "tickets")
        factory = module.server(MemoryReactor(), str(realm().keytab))
        self.assertEqual(list(factory.authenticators), [Method.GSSAPI])
        levels = factory.authenticators[Method.GSSAPI].levels
        self.assertEqual(levels.granted, {ProtectionLevel.CONFIDENTIALITY})
        self.assertRaises(ValueError, module.server, MemoryReactor(), "/nowhere/keytab")


class PageTests(SynchronousTestCase):
    """
    Tests for C{docs/embedding.rst}.
    """

    page = (EXAMPLES.parent / "embedding.rst").read_text("utf-8")

    def test_snippets(self) -> None:
        """
        What is written between the examples can be run, from top to bottom.
        """
        example(self, "hosts")
        names = {"reactor": MemoryReactor()}
        snippets = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", self.page)
        for snippet in snippets:
            code = "\n".join(line[4:] for line in snippet.splitlines())
            exec(compile(code, "embedding.rst", "exec"), names)
        self.assertEqual(len(snippets), 6)

    def test_everyExample(self) -> None:
        """
        Each file of the examples is shown, without its docstring.
        """
        shown = re.findall(r"literalinclude:: examples/(\S+)\n   :language: python\n", self.page)
        files = [str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")]
        self.assertEqual(sorted(shown), sorted(files))
        self.assertEqual(self.page.count("   :lines: 5-\n"), len(files))
        for name in files:
            lines = (EXAMPLES / name).read_text("utf-8").splitlines()
            self.assertEqual((lines[0], lines[2], lines[3]), ('"""', '"""', ""), name)


class ConfigurationTests(SynchronousTestCase):
    """
    Tests for C{txsocks5.toml}.
    """

    def test_rules(self) -> None:
        """
        Its users reach what its comment says.
        """
        text = (EXAMPLES / "txsocks5.toml").read_text("utf-8")
        path = Path(self.mktemp()).absolute()
        path.write_text("alice:!\nbob:!\n")
        path.chmod(0o600)
        made = assemble(MemoryReactor(), readText(text.replace("/etc/txsocks5/users", str(path))))
        self.assertFalse(made.local)

        def allowed(user: str, name: str, address: str, port: int) -> bool:
            destination = Address(parseHost(name.encode()), port)
            question = Question(Identity(user, 2), None, Command.CONNECT, destination)
            if not made.policy.judgeRequest(question).allowed:
                return False
            return made.policy.judgeAddress(question, ip_address(address)).allowed

        self.assertTrue(allowed("alice", "10.20.0.1", "10.20.0.1", 443))
        self.assertTrue(allowed("bob", "example.com", "8.8.8.8", 80))
        self.assertFalse(allowed("alice", "10.20.0.1", "10.20.0.1", 80))
        self.assertFalse(allowed("alice", "example.com", "8.8.8.8", 22))
        self.assertFalse(allowed("eve", "example.com", "8.8.8.8", 80))


class DefaultsTests(ServedTestCase):
    """
    What the documentation says of a factory that is told nothing.
    """

    def test_exposed(self) -> None:
        """
        It refuses everybody.
        """
        caller = self.call(SOCKS5Factory(self.reactor))
        caller.say(GREETING)
        self.assertEqual(caller.received, b"\x05\xff")

    def test_local(self) -> None:
        """
        It serves everybody, and everything of this machine, if it is told to be local.
        """
        caller = self.call(SOCKS5Factory(self.reactor, policy=DefaultPolicy(local=True)))
        caller.say(GREETING + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        self.assertEqual(self.reactor.connectors[0].host, "127.0.0.1")

    def test_open(self) -> None:
        """
        It serves everybody, but not what only this machine can see, if it is told to be open.
        """
        caller = self.call(SOCKS5Factory(self.reactor, policy=DefaultPolicy(open=True)))
        caller.say(GREETING + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        self.assertEqual(caller.received, b"\x05\x00" + failure(2))

    def test_authenticated(self) -> None:
        """
        With another authenticator it serves whoever that has let in, but not everything.
        """
        authenticator = ScriptedAuthenticator(accepted())
        caller = self.call(SOCKS5Factory(self.reactor, authenticators=[authenticator]))
        caller.say(b"\x05\x01\x81\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        self.assertEqual(caller.received, b"\x05\x81" + failure(2))


class PluginTests(SynchronousTestCase):
    """
    Tests for the package in C{plugin}.
    """

    def setUp(self) -> None:
        """
        Put the package where Python finds it.
        """
        self.installed = Path(self.mktemp())
        shutil.copytree(
            EXAMPLES / "plugin", self.installed, ignore=shutil.ignore_patterns("__pycache__")
        )

    def serveWith(self, *arguments: str) -> subprocess.Popen[str]:
        """
        Run C{twistd socks5} with it.
        """
        paths = [str(self.installed.resolve()), str(PACKAGE.parent)]
        process = subprocess.Popen(
            [TWISTD, "--nodaemon", "--pidfile=", "socks5", *arguments],
            cwd=self.installed,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_offered(self) -> None:
        """
        Its method is offered, and method 00 no longer is.
        """
        process = self.serveWith("--listen", "tcp:0:interface=127.0.0.1")
        assert process.stdout is not None
        [offering] = [line for line in _until(process, "SOCKS5 methods") if "methods" in line]
        self.assertIn("80 (Token)", offering)
        self.assertNotIn("00 (", offering)
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.wait()

    def test_noPackageFiles(self) -> None:
        """
        It follows the rule that it is an example of.
        """
        self.assertEqual(list((EXAMPLES / "plugin" / "twisted").rglob("__init__.py")), [])


def _until(process: subprocess.Popen[str], text: str) -> list[str]:
    """
    Read what a program says, up to the line with C{text}.
    """
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))

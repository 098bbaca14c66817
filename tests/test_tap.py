"""
Tests for L{txsocks5.tap}.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import patch

import twisted.internet
from twisted.application.service import IService
from twisted.internet.endpoints import _SystemdParser
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import txsocks5
from txsocks5 import assembly, tap
from txsocks5.auth import Anonymous, PasswordAuthenticator
from txsocks5.interfaces import Question
from txsocks5.server import SOCKS5Factory
from txsocks5.service import SOCKS5Service
from txsocks5.supervisor import Supervisor
from txsocks5.tap import CannotStart, Options, makeService
from txsocks5.testing import (
    MemoryConnection,
    MemoryReactor,
    RecordedEvents,
    RecordingPeer,
    ScriptedAuthenticator,
    flushAll,
)
from txsocks5.wire import Address, Command, Method

from .kerberos import realm, whyNoRealm
from .test_exposure import EXPOSED, NONSENSE

CHECKOUT = Path(txsocks5.__file__).parent.parent
MEMORY = ["--auth", "memory:alice:secret"]


class TapFixture(SynchronousTestCase):
    """
    A command line on a fake reactor, without any plugins.
    """

    def setUp(self) -> None:
        """
        Install the reactor, and let no authenticators be installed.
        """
        self.reactor = MemoryReactor()
        self.installed: list[ScriptedAuthenticator] = []
        self.patch(assembly, "installedAuthenticators", lambda: iter(self.installed))
        # There has to be one before it can be replaced.
        importlib.import_module("twisted.internet.reactor")
        self.patch(twisted.internet, "reactor", self.reactor)

    def parse(self, *arguments: str) -> Options:
        """
        Read a command line.
        """
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def refusal(self, *arguments: str) -> str:
        """
        Try to make the service of a command line that is wrong.

        @return: what the operator is told, which is one line.
        """
        error = self.assertRaises(CannotStart, self.make, *arguments)
        self.assertIsInstance(error, SystemExit)
        text: str = error.code
        self.assertTrue(text.isprintable(), text)
        return text

    def make(self, *arguments: str) -> tuple[SOCKS5Service, SOCKS5Factory]:
        """
        Make the service of a command line.
        """
        service: Any = makeService(self.parse(*arguments))
        return service, service.served._factory


class RefusedTests(TapFixture):
    """
    Command lines with which nothing is started.
    """

    def test_openProxyRefused(self) -> None:
        """
        Every exposed endpoint is refused without authentication, with a line that says what to do
        (S-04).
        """
        for endpoint in EXPOSED:
            text = self.refusal("--listen", endpoint)
            for word in ("--listen: ", "without authentication", "--auth", "--open", "loopback"):
                self.assertIn(word, text, endpoint)

    def test_nonsense(self) -> None:
        """
        What is no endpoint is refused with a line that names the option and the endpoint.
        """
        for endpoint in NONSENSE:
            text = self.refusal("--listen", endpoint, "--open")
            self.assertTrue(text.startswith("--listen: "), text)
            self.assertIn(repr(endpoint), text)

    def test_systemd(self) -> None:
        """
        A socket of systemd's is looked at: an exposed one is refused like any other (S-04).
        """
        for host in ("127.0.0.1", "0.0.0.0"):
            passed = socket.socket()
            self.addCleanup(passed.close)
            passed.bind((host, 0))
            passed.listen()
            self.patch(_SystemdParser, "_sddaemon", ListenFDs([passed.fileno()], ["socks"]))
            self.make("--listen", "systemd:domain=INET:index=0", "--open")
        self.refusal("--listen", "systemd:domain=INET:name=socks")

    def test_auth(self) -> None:
        """
        What is wrong with a checker is said of the option, without the password.
        """
        refusal = self.refusal("--auth", "nonsense:alice:secret")
        self.assertTrue(refusal.startswith("--auth: there is no 'nonsense'"), refusal)
        self.assertNotIn("secret", refusal)

    def test_authNotInstalled(self) -> None:
        """
        Where the library of a checker is missing, the line says what to install.
        """
        with patch.dict(sys.modules, {"passlib": None}):
            for name in ("txsocks5.hashes", "txsocks5.passwordfile", "txsocks5.htpasswd"):
                sys.modules.pop(name, None)
            refusal = self.refusal("--auth", "htpasswd:/nonexistent")
        self.assertIn("pip install 'txsocks5[htpasswd]'", refusal)

    def test_several(self) -> None:
        """
        All that is wrong is said, one line each.
        """
        error = self.assertRaises(
            CannotStart, self.make, "--auth", "nonsense", "--listen", "tcp:x", "--workers", "2"
        )
        options = [line.partition(":")[0] for line in error.code.splitlines()]
        self.assertEqual(options, ["--auth", "--listen"])


class MakeServiceTests(TapFixture):
    """
    From options to a service.
    """

    def question(self, command: Command = Command.CONNECT) -> Question:
        """
        What a user asks for.
        """
        from txsocks5.interfaces import Identity

        destination = Address(ip_address("10.0.0.1"), 80)
        return Question(Identity("alice", 2), None, command, destination)

    def test_service(self) -> None:
        """
        It is a service, which C{twistd} can start; it listens where it was told to.
        """
        service, factory = self.make(
            "-l", "tcp:1081:interface=127.0.0.1", "-l", "tcp:1082:interface=127.0.0.2"
        )
        self.assertTrue(IService.providedBy(service))
        service.privilegedStartService()
        service.startService()
        self.assertEqual(
            factory.listeners,
            {Address(ip_address("127.0.0.1"), 1081), Address(ip_address("127.0.0.2"), 1082)},
        )
        self.successResultOf(service.stopService())
        self.assertEqual(factory.listeners, set())

    def test_threads(self) -> None:
        """
        There are threads for look-ups, and some more.
        """
        self.make()
        self.assertEqual(self.reactor.threadPoolSize, 72)

    def test_anonymous(self) -> None:
        """
        Without C{--auth}, a local server offers no method but none.
        """
        _, factory = self.make()
        self.assertEqual(list(factory.authenticators), [Method.NONE])
        self.assertIsInstance(factory.authenticators[0], Anonymous)
        self.assertTrue(factory.policy.judgeClient(ip_address("127.0.0.1")).allowed)

    def test_passwords(self) -> None:
        """
        With it, C{none} is no longer offered, at a local server neither.
        """
        for listen in ([], ["-l", "tcp:1080"], ["-l", "tcp:1080", "--open"]):
            _, factory = self.make(*MEMORY, *listen)
            self.assertEqual(list(factory.authenticators), [Method.PASSWORD])
            self.assertIsInstance(factory.authenticators[2], PasswordAuthenticator)

    def test_severalCheckers(self) -> None:
        """
        All checkers are asked, in the order given; those in memory know octets.
        """
        path = self.mktemp()
        Path(path).write_text("carol:secret\n")
        _, factory = self.make(*MEMORY, "--auth", f"file:{path}", "--auth", "memory:bob:b")
        authenticator: Any = factory.authenticators[2]
        names = [type(checker).__name__ for checker in authenticator._checkers]
        memory = "_InMemory"
        self.assertEqual(names, [memory, "FilePasswordDB", memory])
        self.assertEqual(authenticator._checkers[0].users, {b"alice": b"secret"})

    def test_gssapi(self) -> None:
        """
        With C{--gssapi}, C{none} is not offered either, and passwords are preferred (R-1928-12).
        """
        if why := whyNoRealm():
            raise SkipTest(why)
        realm().inhabit(self)
        for listen in ([], ["-l", "tcp:1080"], ["-l", "tcp:1080", "--open"]):
            _, factory = self.make("--gssapi", *listen)
            self.assertEqual(list(factory.authenticators), [Method.GSSAPI])
        _, factory = self.make("--gssapi", *MEMORY)
        self.assertEqual(list(factory.authenticators), [Method.PASSWORD, Method.GSSAPI])
        self.installed.append(ScriptedAuthenticator(method=0x80))
        _, factory = self.make("--gssapi", *MEMORY)
        self.assertEqual(list(factory.authenticators), [0x80, Method.PASSWORD, Method.GSSAPI])

    def test_gssapiCannotBeUsed(self) -> None:
        """
        What is wrong with the settings ends the program, in one line.
        """

        def make(*settings: Any) -> ScriptedAuthenticator:
            raise ValueError("the keytab is missing")

        self.patch(assembly, "gssapiAuthenticator", make)
        self.assertEqual(self.refusal("--gssapi"), "--gssapi: the keytab is missing")

    def test_plugin(self) -> None:
        """
        An authenticator that another package has installed is offered, and C{none} is not.
        """
        private = ScriptedAuthenticator(method=0x80)
        self.installed.append(private)
        _, factory = self.make()
        self.assertEqual(factory.authenticators, {0x80: private})
        _, factory = self.make(*MEMORY)
        self.assertEqual(set(factory.authenticators), {0x80, Method.PASSWORD})

    def test_pluginsCollide(self) -> None:
        """
        Two for one method end the program, with a line that says so.
        """
        self.installed += [ScriptedAuthenticator(), ScriptedAuthenticator()]
        self.assertIn("have the same method", self.refusal())

    def test_localPolicy(self) -> None:
        """
        A local server allows everything.
        """
        _, factory = self.make()
        self.assertTrue(factory.policy.judgeRequest(self.question(Command.BIND)).allowed)
        self.assertTrue(
            factory.policy.judgeAddress(self.question(), ip_address("10.0.0.1")).allowed
        )

    def test_exposedPolicy(self) -> None:
        """
        An exposed one does not, with passwords or open.
        """
        for more, anonymous in ((MEMORY, False), (["--open"], True)):
            _, factory = self.make("-l", "tcp:1080", *more)
            self.assertFalse(factory.policy.judgeRequest(self.question(Command.BIND)).allowed)
            self.assertFalse(
                factory.policy.judgeAddress(self.question(), ip_address("10.0.0.1")).allowed
            )
            self.assertEqual(factory.policy.judgeClient(ip_address("192.0.2.1")).allowed, anonymous)

    def test_advertised(self) -> None:
        """
        What is to be advertised is.
        """
        _, factory = self.make("--advertise", "203.0.113.5")
        self.assertEqual(
            factory.network.advertised(ip_address("10.0.0.5")), ip_address("203.0.113.5")
        )

    def test_dubious(self) -> None:
        """
        What may not be meant is logged, and the server is made.
        """
        path = self.mktemp()
        Path(path).write_text("alice:secret\n")
        os.chmod(path, 0o644)
        events = RecordedEvents(self)
        self.make("--auth", f"file:{path}")
        [event] = events.named("dubious")
        self.assertIn("--auth: ", event["doubt"])
        self.assertIn("chmod go-r", event["doubt"])

    def test_file(self) -> None:
        """
        What a file says is done, except where an option says something else.
        """
        path = Path(self.mktemp())
        path.write_text(
            'listen = ["tcp:1081:interface=127.0.0.1"]\n'
            "[timeouts]\nbind = 5\n[network]\nprefer = 'ipv4'\n"
            "[[rules]]\nallow = ['connect']\nto = ['10.0.0.1']\n"
        )
        service, factory = self.make("-c", str(path))
        service.startService()
        self.assertEqual(factory.listeners, {Address(ip_address("127.0.0.1"), 1081)})
        self.successResultOf(service.stopService())
        self.assertEqual((factory.timeouts.bind, factory.network.prefer), (5, "ipv4"))
        policy = factory.policy
        self.assertTrue(policy.judgeAddress(self.question(), ip_address("10.0.0.1")).allowed)
        self.assertFalse(policy.judgeAddress(self.question(), ip_address("10.0.0.2")).allowed)
        service, _ = self.make("-c", str(path), "-l", "tcp:1082:interface=127.0.0.1")
        self.assertEqual(service.served._listen, ("tcp:1082:interface=127.0.0.1",))

    def test_occupied(self) -> None:
        """
        If the port is in use the program ends with one line, in whichever way it was started.
        """
        self.reactor.occupied.add(1080)
        for start in ("privilegedStartService", "startService"):
            service, factory = self.make(
                "-l", "tcp:1081:interface=127.0.0.1", "-l", "tcp:1080:interface=127.0.0.1"
            )
            error = self.assertRaises(CannotStart, getattr(service, start))
            self.assertIsInstance(error, SystemExit)
            self.assertIn("1080", error.code)
            self.assertTrue(error.code.isprintable())
            self.assertEqual(factory.listeners, set())
            self.assertEqual([port for port in self.reactor.tcpPorts if port.listening], [])


def runTwisted(*arguments: str, environment: dict[str, str] | None = None) -> Any:
    """
    Run C{python -m twisted} until it ends.
    """
    return subprocess.run(
        [sys.executable, "-m", "twisted", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


class WorkersTests(TapFixture):
    """
    Several processes.
    """

    def test_supervised(self) -> None:
        """
        More than one worker are served by a supervisor, and one is not.
        """
        for number, kind in (("1", SOCKS5Service), ("2", Supervisor)):
            service: Any = makeService(self.parse("--workers", number))
            self.assertIsInstance(service.served, kind)

    def test_givesUp(self) -> None:
        """
        When no worker can serve, the program ends with status 1, and what it wrote is written.
        """
        ended: list[Any] = []
        self.patch(atexit, "register", ended.append)
        self.reactor.stop = lambda: ended.append("stop")
        self.patch(os, "_exit", ended.append)
        service: Any = makeService(self.parse("--workers", "2"))
        service.served._giveUp()
        end, stop = ended
        self.assertEqual(stop, "stop")
        end()
        self.assertEqual(ended[2:], [1])

    def test_lookUps(self) -> None:
        """
        However often it reloads, it is the same that looks up names.
        """
        path = Path(self.mktemp())
        path.write_text("")
        service: Any = makeService(self.parse("-c", str(path)))
        before = service.served._factory.means.outgoing._resolver
        self.assertEqual(before._turnstile._free, 64)
        path.write_text("network = { prefer = 'ipv4' }")
        service._readAgain()
        outgoing = service.served._factory.means.outgoing
        self.assertEqual(outgoing._network.prefer, "ipv4")
        self.assertIs(outgoing._resolver, before)

    def test_oneToMany(self) -> None:
        """
        A server that began with one process does not reload into several.
        """
        recorded = RecordedEvents(self)
        path = Path(self.mktemp())
        path.write_text("")
        service: Any = makeService(self.parse("-c", str(path)))
        path.write_text("workers = 2")
        service._readAgain()
        self.assertIn("needs a restart", recorded.one("notReloaded")["reason"])


class SignalTests(TapFixture):
    """
    Signals that come while the service runs.
    """

    def setUp(self) -> None:
        """
        Let signals mean afterwards what they meant before.
        """
        super().setUp()
        self.patch(tap, "collectSeldom", lambda: None)
        self.before: list[int] = []
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda number, frame: self.before.append(number))
        self.events = RecordedEvents(self)
        self.path = Path(self.mktemp())
        self.path.write_text("[timeouts]\nbind = 5\n")

    def start(self, accessLog: str = "") -> tuple[Any, SOCKS5Factory]:
        """
        Start the service of a file.
        """
        service, factory = self.make("-c", str(self.path), "--access-log", accessLog)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service, factory

    def session(self, factory: SOCKS5Factory) -> MemoryConnection:
        """
        A client whose request is being done.
        """
        caller = RecordingPeer()
        connection = MemoryConnection(caller, factory.buildProtocol(None))
        caller.send(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        flushAll(connection)
        return connection

    def test_reload(self) -> None:
        """
        Upon SIGHUP the file is read again, and it is served by what it says now.  What happened
        before upon that signal does, too.
        """
        _, factory = self.start()
        self.assertEqual(factory.timeouts.bind, 5)
        self.path.write_text("[timeouts]\nbind = 7\n")
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(factory.timeouts.bind, 7)
        self.assertEqual(self.before, [signal.SIGHUP])
        self.assertEqual(self.events.named("notReloaded"), [])

    def test_alone(self) -> None:
        """
        Nothing need have happened before.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _, factory = self.start()
        self.path.write_text("[timeouts]\nbind = 7\n")
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual((factory.timeouts.bind, self.before), (7, []))

    def test_mistakes(self) -> None:
        """
        If something is wrong with the file nothing changes, and the log has a line for each
        mistake.
        """
        _, factory = self.start()
        self.path.write_text("[timeouts]\nbind = 'soon'\nconnect = -1\n")
        signal.raise_signal(signal.SIGHUP)
        reasons = sorted(event["reason"] for event in self.events.named("notReloaded"))
        for key, reason in zip(("timeouts.bind", "timeouts.connect"), reasons, strict=True):
            self.assertIn(key, reason)
        self.assertEqual(factory.timeouts.bind, 5)

    def test_doesNotHold(self) -> None:
        """
        The same if it turns out that the configuration does not hold.
        """
        _, factory = self.start()
        before = set(factory.listeners)
        self.reactor.occupied.add(1082)
        self.path.write_text('listen = ["tcp:1082:interface=127.0.0.1"]\n[timeouts]\nbind = 7\n')
        signal.raise_signal(signal.SIGHUP)
        self.assertIn("1082", self.events.one("notReloaded")["reason"])
        self.assertEqual((factory.listeners, factory.timeouts.bind), (before, 5))

    def test_doubts(self) -> None:
        """
        What may not be meant is logged, and served by.
        """
        _, factory = self.start()
        users = Path(self.mktemp())
        users.write_text("alice:secret\n")
        os.chmod(users, 0o644)
        self.path.write_text(f'auth = {{ checkers = ["file:{users}"] }}\n')
        signal.raise_signal(signal.SIGHUP)
        self.assertIn("chmod go-r", self.events.one("dubious")["doubt"])
        self.assertEqual(list(factory.authenticators), [Method.PASSWORD])

    def test_rotate(self) -> None:
        """
        Upon SIGUSR1 the access log begins a new file.
        """
        log = Path(self.mktemp())
        _, factory = self.start(str(log))
        for _ in range(2):
            caller = self.session(factory)
            caller.client.abortConnection()
            flushAll(caller)
            signal.raise_signal(signal.SIGUSR1)
        lines = [Path(f"{log}.{number}").read_text().count("\n") for number in (1, 2)]
        self.assertEqual((lines, log.read_text()), ([1, 1], ""))
        self.assertEqual(self.before, [signal.SIGUSR1] * 2)

    def test_standardOutput(self) -> None:
        """
        The access log can go to standard output: the one from before Twisted puts its own in that
        place.
        """
        output = StringIO()
        self.patch(sys, "stdout", output)
        service, factory = self.make("-c", str(self.path), "--access-log", "-")
        self.patch(sys, "stdout", StringIO())
        service.startService()
        caller = self.session(factory)
        caller.client.abortConnection()
        flushAll(caller)
        self.successResultOf(service.stopService())
        self.assertEqual(json.loads(output.getvalue())["command"], "CONNECT")
        self.assertEqual(sys.stdout.getvalue(), "")

    def test_stop(self) -> None:
        """
        A server that stops waits for its sessions; a second signal to stop ends them.  Then such a
        signal means what it did before.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            service, factory = self.make("-c", str(self.path), "--access-log", "")
            service.startService()
            caller = self.session(factory)
            stopped = service.stopService()
            flushAll(caller)
            self.assertNoResult(stopped)
            signal.raise_signal(number)
            flushAll(caller)
            self.successResultOf(stopped)
            self.assertEqual(self.before, [])
            signal.raise_signal(number)
            self.assertEqual(self.before, [number])
            self.before.clear()


class OperatorTests(SynchronousTestCase):
    """
    What an operator sees whose server does not start.
    """

    def assertRefused(self, done: Any, *words: str) -> None:
        """
        The program has ended with one line and a status that tells of failure.
        """
        self.assertNotEqual(done.returncode, 0)
        first = done.stderr.splitlines()[0]
        for word in words:
            self.assertIn(word, first)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_openProxy(self) -> None:
        """
        A server that would be an open proxy.
        """
        done = runTwisted("socks5", "--listen", "tcp:0")
        self.assertRefused(done, "without authentication", "--auth", "--open")

    def test_badKeytab(self) -> None:
        """
        A keytab that is not there, levels that there are not, and no library.
        """
        done = runTwisted("socks5", "--gssapi", "--gssapi-keytab", "/nowhere/keytab")
        if find_spec("gssapi") is None:
            self.assertRefused(done, "--gssapi", "pip install 'txsocks5[gssapi]'")
        else:
            self.assertRefused(done, "--gssapi", "'/nowhere/keytab'", "No such file")
            self.assertEqual(len(done.stderr.splitlines()), 1)
            done = runTwisted("socks5", "--gssapi", "--gssapi-levels", "high")
            self.assertRefused(done, "--gssapi-levels", '"high"', "confidentiality")

    def test_badListen(self) -> None:
        """
        An endpoint that is none.
        """
        done = runTwisted("socks5", "--listen", "nonsense:1080")
        self.assertRefused(done, "--listen", "'nonsense:1080'")

    def test_occupied(self) -> None:
        """
        A port that is in use.
        """
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = runTwisted("socks5", "--listen", f"tcp:{port}:interface=127.0.0.1")
        self.assertRefused(done, f"127.0.0.1:{port}", "in use")
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_notOurs(self) -> None:
        """
        An address that is not of this machine.
        """
        done = runTwisted("socks5", "--open", "--listen", "tcp:0:interface=192.0.2.1")
        self.assertRefused(done, "192.0.2.1")

    def test_noSuchPort(self) -> None:
        """
        A port that cannot exist.
        """
        done = runTwisted("socks5", "--listen", "tcp:65536:interface=127.0.0.1")
        self.assertRefused(done, "0-65535")

    def test_help(self) -> None:
        """
        Asking for help is no failure.
        """
        done = runTwisted("socks5", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("--listen", done.stdout)

    def test_systemd(self) -> None:
        """
        An exposed socket that systemd has passed on (S-04).
        """
        with socket.socket() as passed:
            passed.bind(("0.0.0.0", 0))
            passed.listen()
            # As systemd does it: the socket is descriptor 3, and the environment names the process.
            code = (
                "import os, sys\n"
                f"os.dup2({passed.fileno()}, 3)\n"
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1',"
                " LISTEN_FDNAMES='socks')\n"
                "os.execv(sys.executable, [sys.executable, '-m', 'twisted', 'socks5',"
                " '--listen', 'systemd:domain=INET:index=0'])"
            )
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                pass_fds=[passed.fileno()],
                capture_output=True,
                text=True,
                timeout=60,
            )
        self.assertRefused(done, "without authentication")

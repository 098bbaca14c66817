"""
Tests for L{txsocks5.tap}.
"""

from __future__ import annotations

import importlib
import os
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
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.endpoints import _SystemdParser
from twisted.plugin import getPlugins
from twisted.plugins.cred_file import theFileCheckerFactory
from twisted.python import usage
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import txsocks5
from txsocks5 import tap
from txsocks5.auth import Anonymous, PasswordAuthenticator
from txsocks5.interfaces import Question
from txsocks5.server import SOCKS5Factory
from txsocks5.service import SOCKS5Service
from txsocks5.tap import CannotStart, Options, makeService
from txsocks5.testing import MemoryReactor, ScriptedAuthenticator
from txsocks5.wire import Address, Command, Method

from .kerberos import realm, whyNoRealm
from .test_exposure import EXPOSED, LOCAL, NONSENSE

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
        self.patch(tap, "installedAuthenticators", lambda: iter(self.installed))
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
        Read a command line that is wrong.

        @return: what the operator is told, which is one line.
        """
        error = self.assertRaises(usage.UsageError, self.parse, *arguments)
        self.assertTrue(str(error).isprintable(), str(error))
        return str(error)

    def make(self, *arguments: str) -> tuple[SOCKS5Service, SOCKS5Factory]:
        """
        Make the service of a command line.
        """
        service: Any = makeService(self.parse(*arguments))
        return service, service._factory


class OptionsTests(TapFixture):
    """
    What can be said, and what cannot.
    """

    def test_defaults(self) -> None:
        """
        Without options it serves the programs of this machine, and needs no passwords.
        """
        options = self.parse()
        self.assertEqual(options["listen"], ["tcp:1080:interface=127.0.0.1"])
        self.assertEqual(options["advertise"], [])
        self.assertTrue(options["local"])
        self.assertFalse(options["authenticated"])
        self.assertFalse(options["open"])

    def test_gssapiNeedsToBeSaid(self) -> None:
        """
        What only matters to GSSAPI is not taken for it.
        """
        for option in ("keytab", "service", "levels"):
            refusal = self.refusal(f"--gssapi-{option}", "something")
            self.assertEqual(refusal, f"--gssapi-{option} means nothing without --gssapi")

    def test_gssapi(self) -> None:
        """
        GSSAPI is authentication, so a server with it may be exposed.
        """
        options = self.parse("--gssapi", "--listen", "tcp:1080")
        self.assertTrue(options["authenticated"])
        self.assertFalse(options["local"])

    def test_listen(self) -> None:
        """
        C{--listen} can be repeated, has a short form, and replaces the default.
        """
        options = self.parse(
            "--listen",
            "tcp:0:interface=127.0.0.1",
            "-l",
            "unix:/run/s",
            "--listen=tcp6:0:interface=\\:\\:1",
        )
        self.assertEqual(
            options["listen"],
            ["tcp:0:interface=127.0.0.1", "unix:/run/s", "tcp6:0:interface=\\:\\:1"],
        )
        self.assertTrue(options["local"])

    def test_local(self) -> None:
        """
        Every local endpoint may do without authentication (S-04).
        """
        for endpoint in LOCAL:
            self.assertTrue(self.parse("--listen", endpoint)["local"], endpoint)

    def test_openProxyRefused(self) -> None:
        """
        Every exposed one is refused without authentication, with a line that says what to do
        (S-04).
        """
        for endpoint in EXPOSED:
            text = self.refusal("--listen", endpoint)
            for word in ("without authentication", "--auth", "--open", "loopback"):
                self.assertIn(word, text, endpoint)

    def test_oneExposedCounts(self) -> None:
        """
        One exposed listener among local ones is enough, wherever it stands.
        """
        for endpoints in (
            ["-l", "unix:/run/s", "-l", "tcp:1080"],
            ["-l", "tcp:1080", "-l", "unix:/run/s"],
        ):
            self.refusal(*endpoints)
            self.assertFalse(self.parse(*endpoints, "--open")["local"])

    def test_exposedWithPasswords(self) -> None:
        """
        With C{--auth} an exposed listener is fine.
        """
        options = self.parse("--listen", "tcp:1080", *MEMORY)
        self.assertFalse(options["local"])
        self.assertTrue(options["authenticated"])

    def test_exposedOnPurpose(self) -> None:
        """
        With C{--open} too.
        """
        options = self.parse("--listen", "tcp:1080", "--open")
        self.assertFalse(options["local"])
        self.assertFalse(options["authenticated"])
        self.assertTrue(options["open"])

    def test_exposedWithPlugin(self) -> None:
        """
        And with an authenticator that another package has installed.
        """
        self.installed.append(ScriptedAuthenticator())
        self.assertTrue(self.parse("--listen", "tcp:1080")["authenticated"])

    def test_nonsense(self) -> None:
        """
        What is no endpoint is refused with a line that names the option and the endpoint.
        """
        for endpoint in NONSENSE:
            text = self.refusal("--listen", endpoint)
            self.assertTrue(text.startswith("--listen: "), text)
            self.assertIn(repr(endpoint), text)

    def test_nonsenseDespiteOpen(self) -> None:
        """
        It is found out before anything is started, whatever else is said.
        """
        self.assertIn("--listen", self.refusal("--open", "--listen", "tcp:nonsense"))

    def test_systemd(self) -> None:
        """
        A socket of systemd's is looked at: an exposed one is refused like any other (S-04).
        """
        for host, local in (("127.0.0.1", True), ("0.0.0.0", False)):
            passed = socket.socket()
            self.addCleanup(passed.close)
            passed.bind((host, 0))
            passed.listen()
            self.patch(_SystemdParser, "_sddaemon", ListenFDs([passed.fileno()], ["socks"]))
            self.assertEqual(
                self.parse("--listen", "systemd:domain=INET:index=0", "--open")["local"], local
            )
        self.refusal("--listen", "systemd:domain=INET:name=socks")

    def test_advertise(self) -> None:
        """
        One address of each family can be advertised; an IPv4-mapped one is the IPv4 one.
        """
        options = self.parse("--advertise", "203.0.113.5", "--advertise=2001:db8::5")
        self.assertEqual(
            options["advertise"], [ip_address("203.0.113.5"), ip_address("2001:db8::5")]
        )
        options = self.parse("--advertise", "::ffff:203.0.113.5")
        self.assertEqual(options["advertise"], [ip_address("203.0.113.5")])

    def test_advertiseNonsense(self) -> None:
        """
        Names, networks, ports and nothing at all cannot be advertised.
        """
        for text in ("proxy.example", "203.0.113.0/24", "203.0.113.5:1080", "", "[2001:db8::5]"):
            refusal = self.refusal("--advertise", text)
            self.assertTrue(refusal.startswith("--advertise: "), refusal)
            self.assertIn(repr(text), refusal)

    def test_advertiseTwice(self) -> None:
        """
        Two addresses of one family cannot be told to one client.
        """
        for first, second in (
            ("203.0.113.5", "203.0.113.6"),
            ("2001:db8::5", "2001:db8::6"),
            ("203.0.113.5", "::ffff:203.0.113.6"),
        ):
            refusal = self.refusal("--advertise", first, "--advertise", second)
            self.assertIn("--advertise: more than one", refusal)

    def test_advertiseUnspecified(self) -> None:
        """
        Clients would take the unspecified address literally (R-1928-69).
        """
        for text in ("0.0.0.0", "::", "::ffff:0.0.0.0"):
            self.assertIn("--advertise: clients cannot", self.refusal("--advertise", text))

    def test_authUnknown(self) -> None:
        """
        A checker that does not exist is refused; the line shows no password.
        """
        refusal = self.refusal("--auth", "nonsense:alice:secret")
        self.assertTrue(refusal.startswith("--auth: there is no 'nonsense'"), refusal)
        self.assertNotIn("secret", refusal)

    def test_authOther(self) -> None:
        """
        So is one that does not check passwords: with it, everybody would be let in.
        """
        self.assertIn(
            "--auth: 'anonymous' does not check user names and passwords",
            self.refusal("--auth", "anonymous", "--listen", "tcp:1080"),
        )

    def test_authMistaken(self) -> None:
        """
        And one that is called in the wrong way.
        """
        refusal = self.refusal("--auth", "memory:alice")
        self.assertTrue(refusal.startswith("--auth: 'memory' cannot be used: "), refusal)

    def test_authFileWithColons(self) -> None:
        """
        A line of the password file that would be cut off at its second colon is refused, by its
        number.
        """
        path = self.mktemp()
        Path(path).write_text("alice:secret\nbob:a:b\n")
        refusal = self.refusal("--auth", f"file:{path}")
        self.assertIn(f"line 2 of {path} has a second colon", refusal)
        self.assertNotIn("a:b", refusal)

    def test_authUNIXWithoutCrypt(self) -> None:
        """
        Where Python cannot check the system's passwords, nobody could log in: it does not start.
        """
        found: list[object] = [None, object()]
        self.patch(tap, "find_spec", lambda name: found.pop(0))
        self.assertIn("'unix' cannot be used", self.refusal("--auth", "unix"))
        self.parse("--auth", "unix")

    def test_authMissingFile(self) -> None:
        """
        A password file that cannot be read is missed at the start, not when the first user
        comes.
        """
        missing = self.mktemp()
        self.patch(theFileCheckerFactory, "errorOutput", StringIO())
        refusal = self.refusal("--auth", f"file:{missing}")
        self.assertTrue(refusal.startswith("--auth: 'file' cannot be used: "), refusal)
        self.assertIn(missing, refusal)

    def test_authHashed(self) -> None:
        """
        A file of hashed passwords is read at the start; what is wrong with it is told in a line.
        """
        path = self.mktemp()
        self.assertIn("No such file", self.refusal("--auth", f"htpasswd:{path}"))
        self.assertIn("say which file", self.refusal("--auth", "htpasswd"))
        Path(path).write_text("alice:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n")
        os.chmod(path, 0o622)
        self.assertIn("others than its owner can write", self.refusal("--auth", f"htpasswd:{path}"))
        os.chmod(path, 0o600)
        self.assertTrue(self.parse("--auth", f"htpasswd:{path}")["authenticated"])

    def test_authNotInstalled(self) -> None:
        """
        Where the library is missing, the line says what to install.
        """
        with patch.dict(sys.modules, {"passlib": None}):
            for name in ("txsocks5.hashes", "txsocks5.passwordfile", "txsocks5.htpasswd"):
                sys.modules.pop(name, None)
            refusal = self.refusal("--auth", "htpasswd:/nonexistent")
        self.assertIn("pip install 'txsocks5[htpasswd]'", refusal)

    def test_unexpected(self) -> None:
        """
        What is no option is refused.
        """
        self.refusal("--nonsense")
        self.refusal("extra")

    def test_help(self) -> None:
        """
        The help shows every option of ours with its default, in full lines.
        """
        text = " ".join(str(self.parse()).split())
        for option, default in (
            ("-l, --listen=", "[default: tcp:1080:interface=127.0.0.1]"),
            ("--auth=", "[default: nobody, and nobody is asked]"),
            ("--advertise=", "[default: the proxy's own]"),
            ("--open", "[default: refuse to start]"),
        ):
            self.assertIn(option, text)
            self.assertIn(default, text.split(option, 1)[1])
        for line in str(self.parse()).splitlines():
            self.assertLessEqual(len(line), 80)


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
        memory = InMemoryUsernamePasswordDatabaseDontUse.__name__
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

    def test_gssapiSettings(self) -> None:
        """
        The authenticator is given what was said.
        """
        given: list[Any] = []

        def make(*settings: Any) -> ScriptedAuthenticator:
            given.append(settings)
            return ScriptedAuthenticator(method=1)

        self.patch(tap, "gssapiAuthenticator", make)
        self.make("--gssapi")
        self.make(
            "--gssapi",
            "--gssapi-keytab=/etc/socks.keytab",
            "--gssapi-service=socks@proxy.example.org",
            "--gssapi-levels=curl, integrity",
        )
        self.assertEqual(
            given,
            [
                (self.reactor, "", "", ("confidentiality", "integrity")),
                (
                    self.reactor,
                    "/etc/socks.keytab",
                    "socks@proxy.example.org",
                    ["curl", "integrity"],
                ),
            ],
        )

    def test_gssapiCannotBeUsed(self) -> None:
        """
        What is wrong with the settings ends the program, in one line.
        """

        def make(*settings: Any) -> ScriptedAuthenticator:
            raise ValueError("the keytab is missing")

        self.patch(tap, "gssapiAuthenticator", make)
        error = self.assertRaises(CannotStart, makeService, self.parse("--gssapi"))
        self.assertEqual(error.code, "--gssapi: the keytab is missing")

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
        options = self.parse()
        error = self.assertRaises(CannotStart, makeService, options)
        self.assertIn("have the same method", error.code)

    def test_pluginsReallyLookedFor(self) -> None:
        """
        Twisted's plugin system is asked for authenticators.
        """
        from txsocks5.auth import installedAuthenticators
        from txsocks5.interfaces import IAuthenticator

        self.assertEqual(list(installedAuthenticators()), list(getPlugins(IAuthenticator)))

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

    def test_checkersProvide(self) -> None:
        """
        What C{--auth} makes is a checker.
        """
        for checker in self.parse(*MEMORY)["credCheckers"]:
            self.assertTrue(ICredentialsChecker.providedBy(checker))

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
            done = runTwisted("socks5", "--gssapi", "--gssapi-levels", "high")
            self.assertRefused(done, "--gssapi", "'high'", "confidentiality")
        self.assertEqual(len(done.stderr.splitlines()), 1)

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

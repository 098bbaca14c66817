"""
Tests for L{txsocks5.assembly}.
"""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some
from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.plugin import getPlugins
from twisted.plugins.cred_file import theFileCheckerFactory
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import SOCKS5Factory, assembly
from txsocks5.assembly import Assembly, assemble
from txsocks5.auth import Anonymous, PasswordAuthenticator
from txsocks5.config import Configuration, ConfigurationError, Timeouts, readText
from txsocks5.interfaces import IAuthenticator, Identity, Question
from txsocks5.names import NameServer
from txsocks5.resolvers import Resolvers
from txsocks5.systemresolver import SystemResolver
from txsocks5.testing import MemoryReactor, ScriptedAuthenticator
from txsocks5.wire import Address, Command, Method, parseHost

from .test_exposure import EXPOSED, LOCAL, NONSENSE

OUT = 'listen = ["tcp:1080"]\n'
MEMORY = '[auth]\ncheckers = ["memory:alice:secret"]\n'


class AssemblyFixture(SynchronousTestCase):
    """
    A reactor that is only memory, and no plugins.
    """

    def setUp(self) -> None:
        """
        Let no authenticators be installed, and GSSAPI need no library.
        """
        self.reactor = MemoryReactor()
        self.installed: list[ScriptedAuthenticator] = []
        self.tickets: list[tuple[Any, ...]] = []
        self.patch(assembly, "installedAuthenticators", lambda: iter(self.installed))
        self.patch(assembly, "gssapiAuthenticator", self._gssapi)
        self.patch(theFileCheckerFactory, "errorOutput", StringIO())

    def _gssapi(self, *settings: Any) -> ScriptedAuthenticator:
        """
        Make an authenticator of tickets.
        """
        self.tickets.append(settings)
        if settings[1] == "/missing":
            raise ValueError("there is no keytab '/missing'")
        return ScriptedAuthenticator(method=Method.GSSAPI)

    def assemble(self, text: str = "") -> Assembly:
        """
        Make the parts for the text of a file.
        """
        return assemble(self.reactor, readText(text))

    def methods(self, text: str = "") -> list[int]:
        """
        The methods that are offered, the preferred first.
        """
        return [authenticator.method for authenticator in self.assemble(text).authenticators]

    def lines(self, text: str) -> list[str]:
        """
        What keeps a server from starting.
        """
        error = self.assertRaises(ConfigurationError, self.assemble, text)
        return list(error.lines)

    def line(self, text: str) -> str:
        """
        The only thing that keeps a server from starting.
        """
        [line] = self.lines(text)
        return line

    def warnings(self, text: str) -> list[str]:
        """
        What is dubious.
        """
        return [str(warning) for warning in self.assemble(text).warnings]


class MethodsTests(AssemblyFixture):
    """
    Which methods are offered, and in which order.
    """

    def test_default(self) -> None:
        """
        Those that are configured are offered, passwords first (R-1928-12), and none at all only if
        there is nothing else.
        """
        gssapi = "[auth.gssapi]\n"
        self.assertEqual(self.methods(), [Method.NONE])
        self.assertEqual(self.methods(MEMORY), [Method.PASSWORD])
        self.assertEqual(self.methods(gssapi), [Method.GSSAPI])
        self.assertEqual(self.methods(MEMORY + gssapi), [Method.PASSWORD, Method.GSSAPI])

    def test_order(self) -> None:
        """
        The operator's order holds.
        """
        text = '{}methods = ["gssapi", "none", "password"]\n[auth.gssapi]\n'
        self.assertEqual(
            self.methods(text.format(MEMORY)), [Method.GSSAPI, Method.NONE, Method.PASSWORD]
        )

    def test_installed(self) -> None:
        """
        Those of other packages come first, and then there is something else than none.
        """
        self.installed.append(ScriptedAuthenticator(method=0x80))
        self.assertEqual(self.methods(), [0x80])
        self.assertEqual(self.methods(MEMORY), [0x80, Method.PASSWORD])
        self.assertEqual(self.methods('[auth]\nmethods = ["none"]'), [0x80, Method.NONE])

    def test_installedReally(self) -> None:
        """
        Twisted's plugin system is asked for them.
        """
        from txsocks5.auth import installedAuthenticators

        self.assertEqual(list(installedAuthenticators()), list(getPlugins(IAuthenticator)))

    def test_collide(self) -> None:
        """
        Two for one method are refused, with a line that says so.
        """
        self.installed += [ScriptedAuthenticator(), ScriptedAuthenticator()]
        self.assertIn("have the same method", self.line(""))

    def test_notConfigured(self) -> None:
        """
        What is not configured cannot be offered.
        """
        self.assertEqual(
            self.lines('[auth]\nmethods = ["none", "password", "gssapi"]'),
            [
                'auth.methods[1]: found "password" without auth.checkers; allowed: both, or '
                "neither",
                'auth.methods[2]: found "gssapi" without [auth.gssapi]; allowed: both, or neither',
            ],
        )

    def test_notOffered(self) -> None:
        """
        What is configured and not offered is dubious.
        """
        text = f'{MEMORY}methods = ["none"]\n[auth.gssapi]\n'
        self.assertEqual(
            self.warnings(text),
            [
                'auth.checkers: not used: auth.methods has no "password"',
                'auth.gssapi: not used: auth.methods has no "gssapi"',
            ],
        )
        self.assertEqual(self.tickets, [])


class AuthenticatorsTests(AssemblyFixture):
    """
    What the methods are made of.
    """

    def test_anonymous(self) -> None:
        """
        Method 00 has no settings.
        """
        [authenticator] = self.assemble().authenticators
        self.assertIsInstance(authenticator, Anonymous)

    def test_passwords(self) -> None:
        """
        All checkers are asked, in the order given, and failures cost what they should.
        """
        path = Path(self.mktemp())
        path.write_text("carol:secret\n")
        path.chmod(0o600)
        text = f'[auth]\ncheckers = ["memory:a:b", "file:{path}", "memory:c:d"]\nfailure_limit = 5'
        authenticator: Any = self.assemble(text).authenticators[0]
        self.assertIsInstance(authenticator, PasswordAuthenticator)
        memory = InMemoryUsernamePasswordDatabaseDontUse
        kinds = (memory, FilePasswordDB, memory)
        for checker, kind in zip(authenticator._checkers, kinds, strict=True):
            self.assertIsInstance(checker, kind)
        self.assertEqual(authenticator._failures.limit, 5)

    def test_wrongCheckers(self) -> None:
        """
        Each that cannot be used is named, without a password that it may hold.
        """
        lines = self.lines('[auth]\ncheckers = ["memory:a:b", "x:secret", "memory:secret"]')
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith("auth.checkers[1]: there is no 'x'"), lines[0])
        self.assertTrue(lines[1].startswith("auth.checkers[2]: 'memory' cannot be"), lines[1])
        self.assertNotIn("secret", "".join(lines))

    def test_gssapi(self) -> None:
        """
        GSSAPI is given its settings.
        """
        self.assemble(
            "[auth.gssapi]\nkeytab = '/etc/k'\nservice = 'socks@p'\nlevels = ['curl', 'clear']"
        )
        self.assertEqual(self.tickets, [(self.reactor, "/etc/k", "socks@p", ("curl", "clear"))])

    def test_wrongGSSAPI(self) -> None:
        """
        What is wrong with it is said.
        """
        self.assertEqual(
            self.line("[auth.gssapi]\nkeytab = '/missing'"),
            "auth.gssapi: there is no keytab '/missing'",
        )


class ExposureTests(AssemblyFixture):
    """
    Who may come, and without authentication (S-04).
    """

    def serve(self, *listen: str, **settings: Any) -> Assembly:
        """
        Listen somewhere.
        """
        return assemble(self.reactor, Configuration(listen=listen, **settings))

    def test_local(self) -> None:
        """
        Every local endpoint may do without authentication.
        """
        for endpoint in LOCAL:
            self.assertTrue(self.serve(endpoint).local, endpoint)

    def test_exposed(self) -> None:
        """
        Every exposed one is refused, with a line that says what to do.
        """
        for endpoint in EXPOSED:
            error = self.assertRaises(ConfigurationError, self.serve, endpoint)
            [line] = error.lines
            self.assertTrue(line.startswith("listen: "), line)
            for word in (repr(endpoint), "without authentication", "--auth", "--open", "loopback"):
                self.assertIn(word, line)

    def test_oneExposedCounts(self) -> None:
        """
        One exposed listener among local ones is enough, wherever it stands.
        """
        for endpoints in (("unix:/run/s", "tcp:1080"), ("tcp:1080", "unix:/run/s")):
            error = self.assertRaises(ConfigurationError, self.serve, *endpoints)
            self.assertIn("at 'tcp:1080':", error.lines[0])
            self.assertFalse(self.serve(*endpoints, open=True).local)

    def test_authenticated(self) -> None:
        """
        With passwords, tickets, or a method of another package it is fine.
        """
        for text in (MEMORY, "[auth.gssapi]\n"):
            self.assertFalse(self.assemble(OUT + text).local)
        self.installed.append(ScriptedAuthenticator())
        self.assertFalse(self.assemble(OUT).local)

    def test_noneBeside(self) -> None:
        """
        Method 00 beside others counts as open.
        """
        text = f'{OUT}{MEMORY}methods = ["password", "none"]'
        self.assertIn("without authentication", self.line(text))
        self.assertFalse(self.assemble("open = true\n" + text).local)

    def test_nonsense(self) -> None:
        """
        What is no endpoint is refused, whatever else is said.
        """
        for endpoint in NONSENSE:
            error = self.assertRaises(
                ConfigurationError, self.serve, "unix:/run/s", endpoint, open=True
            )
            [line] = error.lines
            self.assertTrue(line.startswith(f"listen[1]: {endpoint!r} cannot be used: "), line)

    def test_withoutWords(self) -> None:
        """
        If what is wrong has no text, it has a name.
        """

        def isLocal(description: str) -> bool:
            raise LookupError

        self.patch(assembly, "isLocal", isLocal)
        error = self.assertRaises(ConfigurationError, self.serve, "tcp:1")
        self.assertEqual(error.lines, ("listen[0]: 'tcp:1' cannot be used: LookupError",))

    def test_clientRules(self) -> None:
        """
        Rules that say from where whoever is not named may come make it no open proxy.
        """
        for text in (
            "[[rules]]\nallow = ['connect']\nfrom = ['10.0.0.0/8']",
            "[[rules]]\nallow = ['connect']\nusers = ['alice']",
            "[[rules]]\ndeny = ['connect']",
        ):
            self.assertFalse(self.assemble(OUT + text).local)

    def test_openRules(self) -> None:
        """
        Others do not, and the first of them is named.
        """
        rule = "[[rules]]\nname = '{}'\nallow = ['connect']\n{}\n"
        first = rule.format("first", "from = ['10.0.0.0/8']")
        for world in ("", "from = ['0.0.0.0/0']", "from = ['::/1', '8000::/1']"):
            line = self.line(OUT + first + rule.format("second", world))
            self.assertIn("(by rule 'second', which ", line)
            self.assemble("open = true\n" + OUT + first + rule.format("second", world))


class PartsTests(AssemblyFixture):
    """
    The other parts, and that they fit.
    """

    def question(self, user: str = "alice", command: Command = Command.CONNECT) -> Question:
        """
        What a user asks for.
        """
        return Question(Identity(user, 2), None, command, Address(parseHost(b"10.0.0.1"), 80))

    def test_defaults(self) -> None:
        """
        Without rules the defaults hold: everything at a local server, public addresses at an
        exposed one.
        """
        address: Any = parseHost(b"10.0.0.1")
        for text, allowed in (("", True), (OUT + MEMORY, False)):
            policy = self.assemble(text).policy
            self.assertEqual(policy.judgeAddress(self.question(), address).allowed, allowed)
            bind = policy.judgeRequest(self.question(command=Command.BIND))
            self.assertEqual(bind.allowed, allowed)

    def test_rules(self) -> None:
        """
        Rules decide where there are any.
        """
        text = "[[rules]]\nallow = ['connect']\nusers = ['@staff']\n[groups.staff]\nmembers = ['a']"
        policy = self.assemble(text).policy
        self.assertTrue(policy.judgeRequest(self.question("a")).allowed)
        self.assertFalse(policy.judgeRequest(self.question("b")).allowed)

    def test_expired(self) -> None:
        """
        The time of users ends, by the clock that was given.
        """
        configuration = readText("[users.alice]\nexpires = 1970-01-02")
        now = 0.0
        policy = assemble(self.reactor, configuration, now=lambda: now).policy
        self.assertTrue(policy.judgeRequest(self.question()).allowed)
        now = 24 * 3600.0
        self.assertFalse(policy.judgeRequest(self.question()).allowed)

    def test_limits(self) -> None:
        """
        Limits are held.
        """
        from txsocks5.errors import OverLimit

        text = "[limits]\nsessions_per_user = 5\n[users.alice]\nsessions = 1"
        ledger = self.assemble(text).ledger
        holder: Any = None
        ledger.hold(self.question(), None, holder)
        self.assertRaises(OverLimit, ledger.hold, self.question(), None, holder)

    def test_resolver(self) -> None:
        """
        Names are looked up by the system, and by what was given to do it for several.
        """
        self.reactor.nameResolver.hosts["host.invalid"] = ["192.0.2.1"]
        found = self.successResultOf(self.assemble().resolver.resolve("host.invalid"))
        self.assertEqual(list(found), [parseHost(b"192.0.2.1")])
        resolvers = Resolvers(self.reactor)
        first, second = (
            assemble(self.reactor, Configuration(), resolvers=resolvers) for _ in range(2)
        )
        self.assertIs(first.resolver, second.resolver)

    def test_nameServers(self) -> None:
        """
        Or by name servers, which are asked in their order.
        """
        made: Any = self.assemble("[network]\nresolver = ['192.0.2.53']").resolver
        self.assertIsInstance(made, NameServer)
        made = self.assemble("[network]\nresolver = ['[::1]:5353', 'system']").resolver
        first, second = made._resolvers
        self.assertEqual(first._server, Address(parseHost(b"::1"), 5353))
        self.assertIsInstance(second, SystemResolver)
        for prefer, families in (("ipv4-only", 1), ("ipv6-only", 1), ("ipv4", 2)):
            text = f"[network]\nresolver = ['192.0.2.53']\nprefer = '{prefer}'"
            made = self.assemble(text).resolver
            self.assertEqual(len(made._kinds), families)

    def test_factory(self) -> None:
        """
        A factory can be made of them.
        """
        configuration = Configuration(timeouts=Timeouts(bind=5))
        made = assemble(self.reactor, configuration)
        factory = SOCKS5Factory(self.reactor, **made.parts)
        self.assertEqual(factory.timeouts.bind, 5)
        self.assertEqual(list(factory.authenticators), [Method.NONE])
        self.assertIs(made.configuration, configuration)

    def test_settings(self) -> None:
        """
        A server that runs can be given others.
        """
        first = assemble(self.reactor, Configuration())
        factory = SOCKS5Factory(self.reactor, **first.parts)
        second = assemble(self.reactor, Configuration(timeouts=Timeouts(bind=5)))
        self.assertEqual(self.successResultOf(factory.reconfigure(**second.settings)), 0)
        self.assertEqual(factory.timeouts.bind, 5)

    def test_nothingHappens(self) -> None:
        """
        They can be made again and again: no port is opened, no thread and no delayed call is
        begun.
        """
        text = f"{OUT}{MEMORY}[auth.gssapi]\n[[rules]]\nallow = ['connect']"
        first, second = self.assemble(text), self.assemble(text)
        self.assertIsNot(first.ledger, second.ledger)
        self.assertEqual(self.reactor.tcpPorts, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.threadPoolSize, MemoryReactor().threadPoolSize)


class DatabaseTests(AssemblyFixture):
    """
    Where quotas are kept.
    """

    def database(self, path: object) -> str:
        """
        Name a database.
        """
        return f"[limits]\ndatabase = '{path}'"

    def test_possible(self) -> None:
        """
        It need not be there, if it can be made.
        """
        path = Path(self.mktemp()).absolute()
        self.assemble(self.database(path))
        path.touch()
        self.assemble(self.database(path))
        self.assertEqual(path.read_bytes(), b"")
        self.assemble(self.database("database-in-the-current-folder"))

    def test_impossible(self) -> None:
        """
        It cannot be made where there is no folder, or where one may not write.
        """
        folder = Path(self.mktemp()).absolute()
        path = folder / "database"
        self.assertIn(f"there is no folder '{folder}'", self.line(self.database(path)))
        folder.mkdir()
        self.assertIn("is a folder, and not a file", self.line(self.database(folder)))
        path.touch()
        forbidden = {str(folder)}
        self.patch(os, "access", lambda name, mode: str(name) not in forbidden)
        self.assertIn("the folder", self.line(self.database(path)))
        forbidden = {str(path)}
        self.assertIn("cannot be read and written", self.line(self.database(path)))


class ContradictionTests(AssemblyFixture):
    """
    What no file could say can be said by a program.
    """

    def test_all(self) -> None:
        """
        It is found as well.
        """
        from txsocks5.config import Rule

        rule = Rule(name="a", allow=frozenset(Command), users=("@staff",))
        error = self.assertRaises(
            ConfigurationError, assemble, self.reactor, Configuration(rules=(rule,))
        )
        self.assertTrue(error.lines[0].startswith("rules[0].users[0]: "))

    def test_several(self) -> None:
        """
        All that is wrong is said.
        """
        lines = self.lines(
            f"{OUT}[auth]\nmethods = ['none', 'gssapi']\ncheckers = ['x']\n"
            "[limits]\ndatabase = '/nowhere/x'"
        )
        self.assertEqual(
            [line.partition(": ")[0] for line in lines],
            ["auth.methods[1]", "auth.checkers[0]", "listen", "limits.database"],
        )


class WarningTests(AssemblyFixture):
    """
    What is dubious, but keeps nothing from starting.
    """

    def test_nothing(self) -> None:
        """
        Most is not.
        """
        self.assertEqual(self.warnings(""), [])
        self.assertEqual(self.warnings(OUT + MEMORY), [])

    def test_passwordFile(self) -> None:
        """
        A file that others can read is.
        """
        path = Path(self.mktemp())
        path.write_text("alice:secret\n")
        path.chmod(0o644)
        [line] = self.warnings(f"[auth]\ncheckers = ['memory:a:b', 'file:{path}']")
        self.assertTrue(line.startswith(f"auth.checkers[1]: {path}: "), line)

    def test_userList(self) -> None:
        """
        So is what a checker itself doubts.
        """
        path = Path(self.mktemp())
        path.write_text("alice:nonsense\n")
        path.chmod(0o600)
        [line] = self.warnings(f"[auth]\ncheckers = ['htpasswd:{path}']")
        self.assertIn("line 1: ", line)

    def test_damagedUserList(self) -> None:
        """
        One that is damaged is an error, which names the file and the line.
        """
        path = Path(self.mktemp())
        path.write_text("# users\nali")
        path.chmod(0o600)
        error = self.assertRaises(
            ConfigurationError, self.assemble, f"[auth]\ncheckers = ['htpasswd:{path}']"
        )
        [line] = map(str, error.problems)
        self.assertIn(
            f"auth.checkers[0]: 'htpasswd' cannot be used: {path.absolute()}: line 2", line
        )

    def test_unknownUsers(self) -> None:
        """
        So are users whom no checker knows, wherever they are named.
        """
        text = (
            f"{MEMORY}[users.alice]\n[users.'b o b']\n"
            "[groups.staff]\nmembers = ['alice', 'carol']\n"
            "[[rules]]\nallow = ['connect']\nusers = ['alice', '@staff', 'dave']\n"
        )
        self.assertEqual(
            self.warnings(text),
            [
                "users.\"b o b\": no checker knows 'b o b'",
                "groups.staff.members: no checker knows 'carol'",
                "rules[0].users[2]: no checker knows 'dave'",
            ],
        )

    def test_principals(self) -> None:
        """
        A name with a realm may be in a ticket; others cannot.
        """
        text = "[auth.gssapi]\n[users.'alice@EXAMPLE.ORG']\n[users.bob]"
        self.assertEqual(self.warnings(text), ["users.bob: no checker knows 'bob'"])
        self.assertEqual(len(self.warnings("[users.'alice@EXAMPLE.ORG']")), 1)

    def test_cannotTell(self) -> None:
        """
        If somebody cannot tell, nothing is said.
        """
        self.installed.append(ScriptedAuthenticator())
        self.assertEqual(self.warnings("[users.bob]"), [])
        self.installed.clear()
        self.patch(assembly, "userListOf", lambda checker: None)
        self.assertEqual(self.warnings(f"{MEMORY}[users.bob]"), [])

    def test_withoutEffect(self) -> None:
        """
        So are rules that do nothing.
        """
        [line] = self.warnings("[[rules]]\nallow = ['connect']\n[[rules]]\ndeny = ['connect']")
        self.assertTrue(line.startswith("rules[1]: "), line)

    def test_sameNames(self) -> None:
        """
        So are rules that the log cannot tell from each other.
        """
        rule = "[[rules]]\nallow = ['connect']\nname = '{}'\nports = [{}]\n"
        text = "".join(rule.format(name, port) for port, name in enumerate("abaa", 1))
        self.assertEqual(
            self.warnings(text),
            [
                "rules[2].name: rules[0] has the name 'a', too",
                "rules[3].name: rules[0] has the name 'a', too",
            ],
        )


class PropertyTests(AssemblyFixture):
    """
    What holds for all configurations.
    """

    @settings(max_examples=50)
    @given(
        some.lists(some.sampled_from([*LOCAL, *EXPOSED, *NONSENSE]), min_size=1, max_size=3),
        some.lists(some.sampled_from(["memory:a:b", "memory:a", "x", "file:/x"]) | some.text()),
        some.lists(some.sampled_from(["password", "gssapi", "none"]), unique=True),
        some.sampled_from(["", "/missing"]),
        some.booleans(),
    )
    def test_onlyConfigurationErrors(
        self,
        listen: list[str],
        checkers: list[str],
        methods: list[str],
        keytab: str,
        isOpen: bool,
    ) -> None:
        """
        Whatever is wrong, the error says it on lines of their own; and nobody is served without
        authentication from other machines unless that was said.
        """
        from txsocks5.config import GSSAPI, Auth

        auth = Auth(methods=tuple(methods), checkers=tuple(checkers), gssapi=GSSAPI(keytab=keytab))
        configuration = Configuration(listen=tuple(listen), auth=auth, open=isOpen)
        try:
            made = assemble(self.reactor, configuration)
        except ConfigurationError as error:
            self.assertTrue(error.lines)
            self.assertTrue(all(line.isprintable() for line in error.lines))
        else:
            offered = [authenticator.method for authenticator in made.authenticators]
            self.assertTrue(made.local or isOpen or Method.NONE not in offered)

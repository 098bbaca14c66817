"""
Tests for L{txsocks5.explanation}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import attrs
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyClass

from txsocks5 import explanation
from txsocks5.errors import NameNotResolved, ReplyCode
from txsocks5.explanation import Asked, Explanation, Limit, explain
from txsocks5.interfaces import IPolicy
from txsocks5.testing import ScriptedAuthenticator, ScriptedResolver
from txsocks5.wire import Command, IPAddress, Method

from .test_assembly import MEMORY, OUT, AssemblyFixture
from .test_policy import PolicyFixture

CONNECT, BIND, UDP = Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE
CLIENT = IPv4Address("10.0.0.7")
RULES = """
[[rules]]
name = "wiki"
allow = ["connect", "udp", "bind"]
users = ["alice"]
to = ["*.example", "198.51.100.0/24"]
"""
NO_MATCH = "default: no rule matches"


class ExplainFixture(AssemblyFixture, PolicyFixture):
    """
    A resolver that knows some names.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        AssemblyFixture.setUp(self)
        PolicyFixture.setUp(self)
        self.resolver = ScriptedResolver(
            {
                "wiki.example": ["198.51.100.7", "10.0.0.1", "2001:db8::1"],
                "inside.example": ["10.0.0.1"],
                "gone.example": NameNotResolved("no address found for gone.example"),
            }
        )

    def explain(self, text: str, asked: Asked) -> Explanation:
        """
        Ask the server of a file.
        """
        parts = attrs.evolve(self.assemble(text), resolver=self.resolver)
        explained = Deferred.fromCoroutine(explain(self.reactor, parts, asked))
        self.reactor.advance(0)
        result: Explanation = self.successResultOf(explained)
        self.assertIs(result.asked, asked)
        return result

    def ask(
        self,
        text: str,
        host: str = "198.51.100.7",
        port: int = 443,
        *,
        command: Command = CONNECT,
        user: str = "alice",
        client: IPAddress | None = None,
    ) -> Explanation:
        """
        Ask the exposed server of the rest of a file.
        """
        return self.explain(OUT + MEMORY + text, Asked(command, host, port, user, client))

    def answers(self, explained: Explanation) -> list[tuple[str, bool, str]]:
        """
        What policy has said.
        """
        return [
            (answer.subject, answer.verdict.allowed, answer.verdict.reason)
            for answer in explained.answers
        ]


class DecisionTests(ExplainFixture):
    """
    What is said to requests.
    """

    def test_listening(self) -> None:
        """
        What notes the answers is a policy.
        """
        self.assertTrue(verifyClass(IPolicy, explanation._Listening))

    def test_address(self) -> None:
        """
        A request by address is allowed or denied by a rule, or by a default.
        """
        allowed = self.ask(RULES)
        self.assertEqual((allowed.allowed, allowed.reason, allowed.reply), (True, "wiki", None))
        assert allowed.rule is not None
        self.assertEqual(allowed.rule.name, "wiki")
        self.assertEqual(
            self.answers(allowed), [("request", True, "wiki"), ("198.51.100.7", True, "wiki")]
        )
        denied = self.ask(RULES, user="bob")
        self.assertEqual((denied.allowed, denied.reason), (False, NO_MATCH))
        self.assertEqual((denied.rule, denied.reply), (None, ReplyCode.NOT_ALLOWED))
        self.assertEqual(self.answers(denied), [("request", False, NO_MATCH)])

    def test_denyingRule(self) -> None:
        """
        A rule that denies is told as well.
        """
        denied = self.ask('[[rules]]\nname = "no"\ndeny = ["connect"]\n')
        assert denied.rule is not None
        self.assertEqual((denied.allowed, denied.reason, denied.rule.name), (False, "no", "no"))

    def test_name(self) -> None:
        """
        A name is looked up, and each of its addresses judged.
        """
        allowed = self.ask(RULES, "WIKI.example.")
        self.assertEqual(self.resolver.asked, ["wiki.example"])
        under = "default: private address at an exposed server"
        self.assertEqual((allowed.allowed, allowed.reason), (True, "wiki"))
        self.assertEqual(
            sorted(self.answers(allowed)),
            [
                ("10.0.0.1", False, under),
                ("198.51.100.7", True, "wiki"),
                ("2001:db8::1", True, "wiki"),
                ("request", True, "wiki"),
            ],
        )
        denied = self.ask(RULES, "inside.example")
        self.assertEqual((denied.allowed, denied.reason), (False, under))
        self.assertEqual(denied.reply, ReplyCode.NOT_ALLOWED)

    def test_nameInVain(self) -> None:
        """
        A name that cannot be allowed is not looked up.
        """
        self.assertEqual(self.ask(RULES, "wiki.test", user="bob").reason, NO_MATCH)
        self.assertEqual(self.resolver.asked, [])

    def test_unresolved(self) -> None:
        """
        One without an address leads nowhere.
        """
        denied = self.ask(RULES, "gone.example")
        self.assertFalse(denied.allowed)
        self.assertIn("gone.example", denied.reason)
        self.assertEqual(denied.reply, ReplyCode.HOST_UNREACHABLE)

    def test_literals(self) -> None:
        """
        Addresses are read as from a client, and so is what is none.
        """
        self.assertTrue(self.ask(RULES, "::ffff:198.51.100.7").allowed)
        self.assertEqual(self.ask(RULES, "[2001:db8::1]").answers[0].verdict.reason, NO_MATCH)
        for host in ("127.1", "0x7f.1", "", "a b", "b\u00fccher.example", "a" * 64, "a." * 150):
            denied = self.ask("", host)
            self.assertEqual((denied.allowed, denied.reply), (False, ReplyCode.GENERAL_FAILURE))
            self.assertEqual(denied.answers, ())

    def test_port(self) -> None:
        """
        There is no port 0 to connect to, or to send datagrams to; a BIND may have it.
        """
        self.assertEqual(self.ask(RULES, port=0).reply, ReplyCode.GENERAL_FAILURE)
        datagram = self.ask(RULES, port=0, command=UDP)
        self.assertEqual(
            (datagram.allowed, datagram.reason, datagram.reply), (False, "port 0", None)
        )
        self.assertTrue(self.ask(RULES, port=0, command=BIND).allowed)

    def test_commands(self) -> None:
        """
        A command that is switched off is refused as it is for clients.
        """
        for command in (BIND, UDP):
            denied = self.ask('[network]\ncommands = ["connect"]\n', command=command)
            self.assertEqual(denied.reply, ReplyCode.COMMAND_NOT_SUPPORTED)

    def test_datagrams(self) -> None:
        """
        For UDP the association is judged, and then the datagram, whose refusal gets no reply.
        """
        allowed = self.ask(RULES, command=UDP)
        self.assertTrue(allowed.allowed)
        self.assertEqual(
            [answer.subject for answer in allowed.answers],
            ["association", "request", "198.51.100.7"],
        )
        denied = self.ask(RULES, "192.0.2.1", command=UDP)
        self.assertEqual((denied.allowed, denied.reply), (False, None))
        denied = self.ask(RULES, command=UDP, user="bob")
        self.assertEqual((denied.allowed, denied.reply), (False, ReplyCode.NOT_ALLOWED))

    def test_anyPeer(self) -> None:
        """
        A BIND for any peer is allowed as such.
        """
        rules = '[[rules]]\nallow = ["bind"]\n'
        for host in ("0.0.0.0", "::"):
            self.assertTrue(self.ask(rules, host, 0, command=BIND).allowed)
            self.assertFalse(self.ask(RULES, host, 0, command=BIND).allowed)

    def test_ownListener(self) -> None:
        """
        The server's own listeners are not reached, whatever the rules say.
        """
        rules = '[[rules]]\nallow = ["connect"]\nto = ["loopback"]\n'
        self.assertTrue(self.ask(rules, "127.0.0.1", 1081).allowed)
        denied = self.ask(rules, "127.0.0.1", 1080)
        self.assertEqual(denied.reason, "default: the server's own address")

    def test_advertised(self) -> None:
        """
        Nor are they by the address that is advertised, whatever the rules say.
        """
        rules = '[network]\nadvertise = ["198.51.100.7"]\n' + (
            '[[rules]]\nallow = ["connect"]\nto = ["198.51.100.7"]\n'
        )
        self.assertTrue(self.ask(rules, port=443).allowed)
        denied = self.ask(rules, port=1080)
        self.assertEqual(denied.reason, "default: the server's own address")

    def test_expired(self) -> None:
        """
        A user whose time is over is refused.
        """
        denied = self.ask("[users.alice]\nexpires = 2020-01-01\n")
        self.assertEqual(denied.reason, "default: the user expired at 2020-01-01T00:00:00+00:00")

    def test_defaults(self) -> None:
        """
        Without rules, the defaults decide.
        """
        self.assertEqual(self.ask("").reason, "default: public address")
        self.assertIn("BIND", self.ask("", command=BIND).reason)


class ClientTests(ExplainFixture):
    """
    Who asks.
    """

    def unnamed(self, text: str, client: IPAddress | None = CLIENT) -> Explanation:
        """
        Ask without a name.
        """
        return self.explain(text, Asked(CONNECT, "198.51.100.7", 443, "", client))

    def test_local(self) -> None:
        """
        At a local server, nobody need have a name.
        """
        allowed = self.unnamed("")
        self.assertEqual(allowed.answers[0].subject, "client")
        self.assertEqual(allowed.reason, "default: local server")

    def test_unauthenticated(self) -> None:
        """
        Where clients come without, it is found out whether this one may.
        """
        rules = """
            [auth]
            methods = ["none"]
            [[rules]]
            name = "lan"
            allow = ["connect"]
            from = ["10.0.0.0/8"]
        """
        allowed = self.unnamed(OUT + rules)
        self.assertEqual(self.answers(allowed)[0], ("client", True, "lan"))
        self.assertEqual(allowed.reason, "lan")
        for client in (None, IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")):
            denied = self.unnamed(OUT + rules, client)
            reason = "default: an exposed server wants authentication"
            self.assertEqual((denied.allowed, denied.reason), (False, reason))
            self.assertIsNone(denied.reply)

    def test_unknown(self) -> None:
        """
        Where nobody does, it is a user of whom no rule knows.
        """
        self.assertEqual(self.unnamed(OUT + MEMORY).reason, "default: public address")
        self.assertEqual(self.unnamed(OUT + MEMORY + RULES).reason, NO_MATCH)
        allowed = self.unnamed(OUT + MEMORY + '[[rules]]\nallow = ["connect"]\n')
        self.assertEqual(allowed.reason, "rule 1")

    def test_named(self) -> None:
        """
        Who has a name has authenticated, by any method that there is.
        """
        text = OUT + "open = true\n"
        asked = Asked(CONNECT, "198.51.100.7", 443, "alice")
        self.assertTrue(self.explain(text, asked).allowed)
        self.installed = [ScriptedAuthenticator(method=0x80)]
        self.assertTrue(self.explain(text, asked).allowed)
        self.assertEqual(self.unnamed(text).reason, "default: public address")

    def test_methods(self) -> None:
        """
        Beside other methods, none is for those without a name.
        """
        text = 'listen = ["tcp:1080"]\nopen = true\n[auth]\nmethods = ["password", "none"]\n'
        text += 'checkers = ["memory:alice:secret"]\n'
        self.assertEqual(self.methods(text), [Method.PASSWORD, Method.NONE])
        self.assertEqual(self.answers(self.unnamed(text))[0][2], "default: open server")


class LimitTests(ExplainFixture):
    """
    The limits that hold.
    """

    def test_none(self) -> None:
        """
        Without limits, none is told.
        """
        self.assertEqual(self.ask("").limits, ())

    def test_limits(self) -> None:
        """
        Those of the server, the address, the user and the rule are told.
        """
        text = """
            [limits]
            sessions = 1000
            sessions_per_address = 100
            sessions_per_user = 10
            bandwidth_per_user = "1MiB/s"
            [groups.staff]
            members = ["alice"]
            bandwidth = "2MiB/s"
            [[rules]]
            allow = ["connect"]
            users = ["alice"]
            sessions = 7
            bandwidth = "3kB/s"
        """
        server, address = Limit("server", sessions=1000), Limit("address", sessions=100)
        alice = Limit("user", "2MiB/s", 10)
        self.assertEqual(
            self.ask(text, client=CLIENT).limits,
            (server, address, alice, Limit("rule", "3kB/s", 7)),
        )
        self.assertEqual(self.ask(text).limits, (server, alice, Limit("rule", "3kB/s", 7)))
        bob = Limit("user", "1MiB/s", 10)
        self.assertEqual(self.ask(text, user="bob").limits, (server, bob))

    def test_quota(self) -> None:
        """
        So are quotas.
        """
        text = f"""
            [limits]
            database = "{self.mktemp()}"
            [users.alice]
            quota = "50GiB/day"
        """
        self.assertEqual(self.ask(text).limits, (Limit("user", quota="50GiB/day"),))

"""
Tests for L{txsocks5.config._structure}.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import (
    GSSAPI,
    SECTIONS,
    Auth,
    Configuration,
    Group,
    Limits,
    NamedSet,
    NamePattern,
    Network,
    Quota,
    Rule,
    Timeouts,
    User,
)
from txsocks5.config._problems import keyOf
from txsocks5.config._structure import structured
from txsocks5.wire import Command

from .test_forms import ANYTHING

WHOLE = """
listen = ["tcp:1081:interface=0.0.0.0", "unix:/run/txsocks5.sock"]
workers = 2
open = true

[auth]
methods = ["gssapi", "password"]
checkers = ["memory:alice:secret", "unix"]
failure_delay = 1.5
failure_limit = 10
failure_window = 600

[auth.gssapi]
keytab = "/etc/krb5.keytab"
service = "socks@proxy.example"
levels = ["confidentiality", "curl"]

[network]
commands = ["connect", "udp"]
advertise = ["203.0.113.5", "2001:db8::5"]
ports = "20000-29999"
outgoing = ["192.0.2.9"]
prefer = "ipv4"
resolver = ["192.0.2.53", "[::1]:5353", "system"]
udp_reassembly = false
udp_full_cone = true
strict = true

[timeouts]
handshake = 1
connect = 2
bind = 3
idle = 4
half_closed = 5
udp_idle = 6.5
drain = 7
linger = 8

[limits]
sessions = 1
sessions_per_address = 2
sessions_per_user = 3
handshakes_per_address = 4
bandwidth_per_user = "10MiB/s"
quota_per_user = "50GiB/day"
database = "/var/lib/txsocks5/quotas"

[users.alice]
expires = 2027-01-31
bandwidth = "2MiB/s"
sessions = 50
quota = "1GB/month"
outgoing = "192.0.2.10"

[users."b o b"]
outgoing = ["192.0.2.11", "2001:db8::11"]

[groups.staff]
members = ["alice", "b o b"]
bandwidth = "1kB/s"
sessions = 5
quota = "0"
outgoing = "2001:db8::12"

[[rules]]
name = "staff to the wiki"
allow = ["connect"]
users = ["alice", "@staff"]
from = ["10.0.0.0/8"]
to = ["*.wiki.example", "198.51.100.0/24", "private"]
ports = [443, "8000-8999"]
bandwidth = "5MB/s"
sessions = 7
quota = "2TiB/week"

[[rules]]
deny = ["bind", "udp"]
"""

MEANING = Configuration(
    listen=("tcp:1081:interface=0.0.0.0", "unix:/run/txsocks5.sock"),
    workers=2,
    open=True,
    auth=Auth(
        methods=("gssapi", "password"),
        checkers=("memory:alice:secret", "unix"),
        failureDelay=1.5,
        failureLimit=10,
        failureWindow=600,
        gssapi=GSSAPI(
            keytab="/etc/krb5.keytab",
            service="socks@proxy.example",
            levels=("confidentiality", "curl"),
        ),
    ),
    network=Network(
        commands=[Command.CONNECT, Command.UDP_ASSOCIATE],
        advertise=["203.0.113.5", "2001:db8::5"],
        ports=range(20000, 30000),
        outgoing=["192.0.2.9"],
        prefer="ipv4",
        resolver=("192.0.2.53", "[::1]:5353", "system"),
        udpReassembly=False,
        udpFullCone=True,
        strict=True,
    ),
    timeouts=Timeouts(
        handshake=1, connect=2, bind=3, idle=4, halfClosed=5, udpIdle=6.5, drain=7, linger=8
    ),
    limits=Limits(
        sessions=1,
        sessionsPerAddress=2,
        sessionsPerUser=3,
        handshakesPerAddress=4,
        bandwidthPerUser=10 * 2**20,
        quotaPerUser=Quota(50 * 2**30, "day"),
        database="/var/lib/txsocks5/quotas",
    ),
    users={
        "alice": User(
            expires=datetime(2027, 1, 31, tzinfo=UTC),
            bandwidth=2 * 2**20,
            sessions=50,
            quota=Quota(10**9, "month"),
            outgoing=[ip_address("192.0.2.10")],
        ),
        "b o b": User(outgoing=[ip_address("192.0.2.11"), ip_address("2001:db8::11")]),
    },
    groups={
        "staff": Group(
            members=["alice", "b o b"],
            bandwidth=1000,
            sessions=5,
            quota=Quota(0, "day"),
            outgoing=[ip_address("2001:db8::12")],
        )
    },
    rules=(
        Rule(
            name="staff to the wiki",
            allow=frozenset([Command.CONNECT]),
            users=("alice", "@staff"),
            source=(ip_network("10.0.0.0/8"),),
            to=(
                NamePattern("wiki.example", True),
                ip_network("198.51.100.0/24"),
                NamedSet("private"),
            ),
            ports=(range(443, 444), range(8000, 9000)),
            bandwidth=5_000_000,
            sessions=7,
            quota=Quota(2 * 2**40, "week"),
        ),
        Rule(name="rule 2", deny=frozenset([Command.BIND, Command.UDP_ASSOCIATE])),
    ),
)


def problems(text: str) -> list[str]:
    """
    What is wrong with the text of a file.
    """
    return [str(problem) for problem in structured(tomllib.loads(text))[1]]


class ReadingTests(SynchronousTestCase):
    """
    What a file means.
    """

    def test_whole(self) -> None:
        """
        Every key has its meaning.
        """
        configuration, wrong = structured(tomllib.loads(WHOLE))
        self.assertEqual(wrong, [])
        self.assertEqual(configuration, MEANING)

    def test_everyKey(self) -> None:
        """
        There is no setting that the test above leaves out, or at its default.
        """
        for made in (
            MEANING,
            MEANING.auth,
            MEANING.auth.gssapi,
            MEANING.network,
            MEANING.timeouts,
            MEANING.limits,
            MEANING.users["alice"],
            MEANING.groups["staff"],
        ):
            for field in attrs.fields(type(made)):
                self.assertNotEqual(getattr(made, field.name), getattr(type(made)(), field.name))
        keys = {line.partition(" = ")[0] for line in WHOLE.splitlines() if " = " in line}
        self.assertLessEqual({keyOf(field) for field in attrs.fields(Rule)}, keys)

    def test_nothing(self) -> None:
        """
        An empty file means the defaults, and so do empty tables.
        """
        self.assertEqual(structured({}), (Configuration(), []))
        empty = tomllib.loads("[auth]\n[network]\n[timeouts]\n[limits]\n[users]\n[groups]")
        self.assertEqual(structured(empty), (Configuration(), []))

    def test_gssapi(self) -> None:
        """
        The table is enough to offer GSSAPI.
        """
        configuration, wrong = structured({"auth": {"gssapi": {}}})
        self.assertEqual((configuration.auth.gssapi, wrong), (GSSAPI(), []))


class WrongTests(SynchronousTestCase):
    """
    What a file may not say.
    """

    def test_places(self) -> None:
        """
        Each line begins with the full path of the key, and says what was found, and what is
        allowed.
        """
        for text, path, found, allowed in (
            ("listen = 'tcp:1'", "listen", '"tcp:1"', "an array"),
            ("listen = []", "listen", "an empty array", "at least one"),
            ("listen = ['tcp:1', 5]", "listen[1]", "5", "endpoint"),
            ("listen = ['tcp:x']", "listen[0]", '"tcp:x", which cannot be used', "endpoint"),
            ("workers = 0", "workers", "0", "from 1 to"),
            ("workers = true", "workers", "true", "from 1 to"),
            ("open = 1", "open", "1", "true or false"),
            ("auth = 1", "auth", "1", "a table"),
            ("[auth]\nmethods = ['x']", "auth.methods[0]", '"x"', '"password"'),
            ("[auth]\nmethods = ['none', 'none']", "auth.methods", "one of them twice", "once"),
            ("[auth]\nfailure_delay = -1", "auth.failure_delay", "-1", "seconds"),
            ("[auth]\nfailure_limit = 1.5", "auth.failure_limit", "1.5", "whole number"),
            ("[auth]\ngssapi = true", "auth.gssapi", "true", "a table"),
            ("[auth.gssapi]\nkeytab = 1", "auth.gssapi.keytab", "1", "a string"),
            ("[auth.gssapi]\nlevels = ['x']", "auth.gssapi.levels[0]", '"x"', '"integrity"'),
            ("[auth.gssapi]\nlevels = []", "auth.gssapi.levels", "an empty array", "at least"),
            ("[network]\ncommands = ['tcp']", "network.commands[0]", '"tcp"', '"connect"'),
            ("[network]\ncommands = []", "network.commands", "an empty array", "at least"),
            ("[network]\nadvertise = ['x']", "network.advertise[0]", '"x"', "address"),
            ("[network]\nadvertise = ['::']", "network.advertise", '"::"', "can reach"),
            ("[network]\nports = 5", "network.ports", "5", "a range"),
            ("[network]\noutgoing = '::1'", "network.outgoing", '"::1"', "an array"),
            ("[network]\nprefer = 'ipv5'", "network.prefer", '"ipv5"', '"ipv4-only"'),
            ("[network]\nresolver = ['x']", "network.resolver[0]", '"x"', '"system"'),
            ("[network]\nresolver = []", "network.resolver", "an empty array", "at least"),
            ("[timeouts]\nidle = nan", "timeouts.idle", "nan", "seconds"),
            ("[timeouts]\nidle = inf", "timeouts.idle", "inf", "seconds"),
            ("[timeouts]\nhalf_closed = '5'", "timeouts.half_closed", '"5"', "seconds"),
            ("[timeouts]\nlinger = 10", "timeouts.linger", "10", "below 10"),
            ("[limits]\nsessions = -5", "limits.sessions", "-5", "whole number"),
            (
                "[limits]\nbandwidth_per_user = 5",
                "limits.bandwidth_per_user",
                "5",
                '"10MiB/s"',
            ),
            ("[limits]\nquota_per_user = '5GiB'", "limits.quota_per_user", '"5GiB"', "/day"),
            ("[limits]\ndatabase = 5", "limits.database", "5", "a string"),
            ("users = 5", "users", "5", "[users.NAME]"),
            ("[users]\nalice = 5", "users.alice", "5", "a table"),
            ("[users.'']", 'users.""', '""', "not empty"),
            ("[users.'@a']", 'users."@a"', '"@a"', "begin with @"),
            ("[users.'a b']\nsessions = true", 'users."a b".sessions', "true", "whole"),
            ("[users.a]\nbandwidth = '1M'", "users.a.bandwidth", '"1M"', "/s"),
            ("[users.a]\nexpires = 07:32:00", "users.a.expires", "07:32:00", "a date"),
            ("[users.a]\noutgoing = 'x'", "users.a.outgoing", '"x"', "an IPv4 or IPv6"),
            ("[users.a]\noutgoing = ['x']", "users.a.outgoing[0]", '"x"', "an IPv4 or IPv6"),
            ("[users.a]\noutgoing = 5", "users.a.outgoing", "5", "an array"),
            ("groups = []", "groups", "an empty array", "[groups.NAME]"),
            ("[groups.'']", 'groups.""', '""', "not empty"),
            ("[groups.a]\nmembers = ['a', '']", "groups.a.members[1]", '""', "name of a user"),
            ("[groups.a]\nmembers = ['@b']", "groups.a.members[0]", '"@b"', "name of a user"),
            ("[groups.a]\nmembers = 'b'", "groups.a.members", '"b"', "an array"),
            ("rules = 5", "rules", "5", "[[rules]]"),
            ("rules = [5]", "rules[0]", "5", "a table"),
            ("[[rules]]", "rules[0]", "neither allow nor deny", "one of them"),
            (
                "[[rules]]\nallow = ['udp']\ndeny = ['udp']",
                "rules[0]",
                "both allow and deny",
                "one of them",
            ),
            ("[[rules]]\nallow = []", "rules[0].allow", "an empty array", "at least"),
            ("[[rules]]\ndeny = ['x']", "rules[0].deny[0]", '"x"', '"udp"'),
            ("[[rules]]\nallow = ['udp']\nname = ''", "rules[0].name", '""', "not empty"),
            ("[[rules]]\nallow = ['udp']\nusers = ['']", "rules[0].users[0]", '""', "@NAME"),
            ("[[rules]]\nallow = ['udp']\nusers = []", "rules[0].users", "an empty", "at least"),
            ("[[rules]]\nallow = ['udp']\nfrom = [5]", "rules[0].from[0]", "5", "a network"),
            ("[[rules]]\nallow = ['udp']\nto = [5]", "rules[0].to[0]", "5", "a name"),
            ("[[rules]]\nallow = ['udp']\nto = 'a'", "rules[0].to", '"a"', "an array"),
            (
                "[[rules]]\nallow = ['udp']\nports = [443, 70000]",
                "rules[0].ports[1]",
                "70000",
                "from 0 to 65535",
            ),
            ("[[rules]]\nallow = ['udp']\nsessions = -1", "rules[0].sessions", "-1", "whole"),
        ):
            [line] = problems(text)
            self.assertTrue(line.startswith(f"{path}: found {found}"), line)
            self.assertIn("; allowed: ", line)
            self.assertIn(allowed, line.split("; allowed: ")[1])

    def test_patterns(self) -> None:
        """
        What is wrong with a pattern or a network is said by what reads it.
        """
        for key, value in (("from", "10.0.0.1/8"), ("from", "private"), ("to", "10.0.0.1/8")):
            [line] = problems(f"[[rules]]\nallow = ['udp']\n{key} = ['10.0.0.0/8', '{value}']")
            self.assertTrue(line.startswith(f"rules[0].{key}[1]: "), line)
            self.assertIn(value, line)

    def test_all(self) -> None:
        """
        All that is wrong is said, whichever table it is in.
        """
        text = """
        wrkers = 5
        listen = ["tcp:x", "tcp:y"]
        [timeouts]
        idle = -1
        connect = true
        [users.alice]
        sessions = -1
        quota = "1GiB/day"
        [users.bob]
        bandwidth = "1"
        [[rules]]
        allow = ["tcp"]
        users = ["@staff"]
        [[rules]]
        allow = ["connect"]
        users = ["@staff"]
        ports = [-1, -2]
        """
        paths = [line.partition(": ")[0] for line in problems(text)]
        self.assertEqual(
            paths,
            [
                "wrkers",
                "listen[0]",
                "listen[1]",
                "timeouts.connect",
                "timeouts.idle",
                "users.alice.sessions",
                "users.bob.bandwidth",
                "rules[0].allow[0]",
                "rules[1].ports[0]",
                "rules[1].ports[1]",
                "rules[0].users[0]",
                "rules[1].users[0]",
                "users.alice.quota",
            ],
        )

    def test_limitsUnread(self) -> None:
        """
        A database that may be there is not missed.
        """
        [line] = problems("[limits]\ndatabase = 5\n[users.a]\nquota = '1GiB/day'")
        self.assertTrue(line.startswith("limits.database: "), line)
        [line] = problems("[limits]\nsessions = 5\n[users.a]\nquota = '1GiB/day'")
        self.assertTrue(line.startswith("users.a.quota: "), line)

    def test_groupUnread(self) -> None:
        """
        A group that is wrong is there.
        """
        rule = "[[rules]]\nallow = ['udp']\nusers = ['@staff']"
        [line] = problems(f"[groups.staff]\nmembers = 5\n{rule}")
        self.assertTrue(line.startswith("groups.staff.members: "), line)

    def test_secrets(self) -> None:
        """
        A checker may hold a password, and is not shown.
        """
        for text in (
            "[auth]\ncheckers = 'memory:alice:secret'",
            "[auth]\ncheckers = [['memory:alice:secret']]",
            "checkers = ['memory:alice:secret']",
            "[auth]\nchecker = 'memory:alice:secret'",
        ):
            [line] = problems(text)
            self.assertNotIn("secret", line)


class UnknownTests(SynchronousTestCase):
    """
    Keys that do not exist.
    """

    def test_hint(self) -> None:
        """
        The nearest one that does is named, and where else the key would be right.
        """
        for text, path, hint in (
            ("wrkers = 1", "wrkers", "did you mean workers?"),
            ("[timeouts]\nidel = 5", "timeouts.idel", "did you mean idle?"),
            ("[network]\nudpReassembly = true", "network.udpReassembly", "mean udp_reassembly?"),
            ("[auth.gssapi]\nkeytabs = ''", "auth.gssapi.keytabs", "did you mean keytab?"),
            ("[users.a]\nquotas = '0'", "users.a.quotas", "did you mean quota?"),
            ("[groups.a]\nmember = []", "groups.a.member", "did you mean members?"),
            ("[[rules]]\nallow = ['udp']\nport = [1]", "rules[0].port", "did you mean ports?"),
            ("drain = 5", "drain", "it belongs into [timeouts]"),
            ("[limits]\nworkers = 5", "limits.workers", "it belongs above all tables"),
            ("[limits]\n'a b' = 5", 'limits."a b"', "allowed: sessions, "),
            ("[colors]", "colors", "allowed: listen, "),
        ):
            [line] = problems(text)
            self.assertTrue(line.startswith(f"{path}: found a key that does not exist"), line)
            self.assertIn(hint, line)

    def test_several(self) -> None:
        """
        Each has its own line.
        """
        lines = problems("b = 1\na = 1\n[limits]\nd = 1\nc = 1\nsessions = -1")
        paths = [line.partition(": ")[0] for line in lines]
        self.assertEqual(paths, ["b", "a", "limits.sessions", "limits.c", "limits.d"])


def tables() -> Any:
    """
    Tables with keys that exist, most of them with values that no one would think of.
    """
    inner = {
        key: some.dictionaries(
            some.sampled_from([keyOf(field) for field in attrs.fields(kind)]) | some.text(),
            ANYTHING,
            max_size=4,
        )
        for key, kind in SECTIONS.items()
    }
    return some.fixed_dictionaries(
        {},
        optional={
            "listen": ANYTHING,
            "workers": ANYTHING,
            "open": ANYTHING,
            "auth": inner["[auth]"],
            "network": inner["[network]"] | ANYTHING,
            "timeouts": inner["[timeouts]"],
            "limits": inner["[limits]"] | ANYTHING,
            "users": some.dictionaries(some.text(), inner["[users.NAME]"]) | ANYTHING,
            "groups": some.dictionaries(some.text(), inner["[groups.NAME]"]) | ANYTHING,
            "rules": some.lists(inner["[[rules]]"] | ANYTHING, max_size=3) | ANYTHING,
        },
    )


class PropertyTests(SynchronousTestCase):
    """
    What holds for all files.
    """

    @given(tables() | some.dictionaries(some.text(), ANYTHING))
    def test_onlyProblems(self, found: dict[str, Any]) -> None:
        """
        Nothing that a parser could give makes anything else than lines that say what is wrong.
        """
        for problem in structured(found)[1]:
            self.assertTrue(problem.path)
            self.assertTrue(str(problem).isprintable())
            self.assertTrue(problem.text)

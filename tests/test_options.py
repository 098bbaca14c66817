"""
Tests for L{txsocks5.options}.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import GSSAPI, Auth, Configuration, Network, Problem
from txsocks5.options import CannotStart, Options

WORDS = ("confidentiality", "integrity")


class OptionsFixture(SynchronousTestCase):
    """
    A command line.
    """

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

    def write(self, text: str) -> str:
        """
        Write a configuration file.

        @return: where it is.
        """
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return str(path)


class FlagsTests(OptionsFixture):
    """
    What can be said without a file, and what cannot.
    """

    def test_defaults(self) -> None:
        """
        Without options the defaults hold.
        """
        self.assertEqual(self.parse().configuration, Configuration())

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
            options.configuration,
            Configuration(
                listen=("tcp:0:interface=127.0.0.1", "unix:/run/s", "tcp6:0:interface=\\:\\:1")
            ),
        )

    def test_open(self) -> None:
        """
        C{--open} is what it says.
        """
        self.assertEqual(self.parse("--open").configuration, Configuration(open=True))

    def test_auth(self) -> None:
        """
        C{--auth} can be repeated.
        """
        self.assertEqual(
            self.parse("--auth", "memory:a:b", "--auth", "unix").configuration,
            Configuration(auth=Auth(checkers=("memory:a:b", "unix"))),
        )

    def test_workers(self) -> None:
        """
        C{--workers} is a number of processes.
        """
        self.assertEqual(self.parse("--workers", "4").configuration, Configuration(workers=4))
        for wrong in ("", "x", "-1", "1.5", "\u0661", " 1"):
            self.assertEqual(
                self.refusal("--workers", wrong), f"--workers: {wrong!r} is not a number"
            )
        for wrong in ("0", "1025"):
            refusal = self.refusal("--workers", wrong)
            self.assertTrue(refusal.startswith(f"--workers: found {wrong}; allowed: "), refusal)

    def test_advertise(self) -> None:
        """
        One address of each family can be advertised; an IPv4-mapped one is the IPv4 one.
        """
        four, six = ip_address("203.0.113.5"), ip_address("2001:db8::5")
        for arguments, advertised in (
            (("--advertise", "203.0.113.5", "--advertise=2001:db8::5"), (four, six)),
            (("--advertise", "::ffff:203.0.113.5"), (four,)),
        ):
            self.assertEqual(
                self.parse(*arguments).configuration,
                Configuration(network=Network(advertise=advertised)),
            )

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
            self.assertIn("--advertise: found more than one", refusal)

    def test_advertiseUnspecified(self) -> None:
        """
        Clients would take the unspecified address literally (R-1928-69).
        """
        for text in ("0.0.0.0", "::", "::ffff:0.0.0.0"):
            self.assertIn("clients can reach", self.refusal("--advertise", text))

    def test_gssapi(self) -> None:
        """
        C{--gssapi} has the settings of its table.
        """
        self.assertEqual(self.parse("--gssapi").configuration.auth.gssapi, GSSAPI())
        options = self.parse(
            "--gssapi",
            "--gssapi-keytab=/etc/socks.keytab",
            "--gssapi-service=socks@proxy.example.org",
            "--gssapi-levels=curl, integrity",
        )
        self.assertEqual(
            options.configuration,
            Configuration(
                auth=Auth(
                    gssapi=GSSAPI(
                        keytab="/etc/socks.keytab",
                        service="socks@proxy.example.org",
                        levels=("curl", "integrity"),
                    )
                )
            ),
        )

    def test_gssapiNeedsToBeSaid(self) -> None:
        """
        What only matters to GSSAPI is not taken for it.
        """
        for option in ("keytab", "service", "levels"):
            refusal = self.refusal(f"--gssapi-{option}", "something")
            self.assertEqual(refusal, f"--gssapi-{option}: it means nothing without --gssapi")

    def test_gssapiLevels(self) -> None:
        """
        Levels that there are not are named.
        """
        refusal = self.refusal("--gssapi", "--gssapi-levels", "integrity,high")
        self.assertTrue(refusal.startswith('--gssapi-levels: found "high"; allowed: '), refusal)

    def test_several(self) -> None:
        """
        All that is wrong is said.
        """
        error = self.assertRaises(
            usage.UsageError, self.parse, "--workers=0", "--advertise=::", "--gssapi-keytab=/x"
        )
        self.assertEqual(
            [line.partition(":")[0] for line in str(error).splitlines()],
            ["--workers", "--advertise", "--gssapi-keytab"],
        )

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
            ("-c, --config=", "[default: none]"),
            ("-l, --listen=", "[default: tcp:1080:interface=127.0.0.1]"),
            ("--auth=", "[default: nobody, and nobody is asked]"),
            ("--advertise=", "[default: the proxy's own]"),
            ("--open", "[default: refuse to start]"),
            ("--workers=", "[default: 1]"),
        ):
            self.assertIn(option, text)
            self.assertIn(default, text.split(option, 1)[1])
        for line in str(self.parse()).splitlines():
            self.assertLessEqual(len(line), 80)


class FileTests(OptionsFixture):
    """
    A configuration file beside options.
    """

    def wrong(self, *arguments: str) -> str:
        """
        Read a command line with a file that is wrong.

        @return: what the operator is told.
        """
        error = self.assertRaises(CannotStart, self.parse, *arguments)
        self.assertIsInstance(error, SystemExit)
        text: str = error.code
        return text

    def test_file(self) -> None:
        """
        What it says holds.
        """
        path = self.write("open = true\n[timeouts]\nidle = 5")
        for option in ("-c", "--config"):
            configuration = self.parse(option, path).configuration
            self.assertEqual((configuration.open, configuration.timeouts.idle), (True, 5))

    def test_replaced(self) -> None:
        """
        What is said beside it replaces it, and the rest stays.
        """
        path = self.write(
            """
            listen = ["tcp:1"]
            workers = 2
            [auth]
            checkers = ["memory:a:b"]
            failure_limit = 5
            [auth.gssapi]
            keytab = "/file"
            service = "socks"
            [network]
            advertise = ["192.0.2.1"]
            prefer = "ipv6"
            """
        )
        options = self.parse(
            "--config",
            path,
            "--listen=unix:/run/s",
            "--workers=3",
            "--auth=memory:c:d",
            "--advertise=192.0.2.2",
            "--gssapi-keytab=/option",
            "--gssapi-levels=clear",
            "--open",
        )
        self.assertEqual(
            options.configuration,
            Configuration(
                listen=("unix:/run/s",),
                workers=3,
                open=True,
                auth=Auth(
                    checkers=("memory:c:d",),
                    failureLimit=5,
                    gssapi=GSSAPI(keytab="/option", service="socks", levels=("clear",)),
                ),
                network=Network(advertise=["192.0.2.2"], prefer="ipv6"),
            ),
        )

    def test_gssapi(self) -> None:
        """
        C{--gssapi} keeps what the file says of it.
        """
        path = self.write("[auth.gssapi]\nkeytab = '/file'")
        gssapi = self.parse("-c", path, "--gssapi").configuration.auth.gssapi
        self.assertEqual(gssapi, GSSAPI(keytab="/file"))

    def test_wrongButReplaced(self) -> None:
        """
        What is replaced need not be right.
        """
        path = self.write("listen = 5")
        configuration = self.parse("-c", path, "-l", "unix:/run/s").configuration
        self.assertEqual(configuration.listen, ("unix:/run/s",))

    def test_wrong(self) -> None:
        """
        What is wrong in the file is told by the key, one line each.
        """
        path = self.write("workers = 0\nopen = 1")
        lines = self.wrong("-c", path).splitlines()
        self.assertEqual([line.partition(":")[0] for line in lines], ["workers", "open"])

    def test_wrongOption(self) -> None:
        """
        What is wrong in an option is told by the option.
        """
        text = self.wrong("-c", self.write(""), "--workers=0")
        self.assertTrue(text.startswith("--workers: found 0; "), text)

    def test_missing(self) -> None:
        """
        A file that is not there is named.
        """
        path = self.mktemp()
        self.assertEqual(
            self.wrong("--config", path), f"{path} cannot be read: No such file or directory"
        )

    def test_readAgain(self) -> None:
        """
        It can be read again later, and the options still replace what it says.
        """
        path = self.write("open = true\n[timeouts]\nidle = 5")
        options = self.parse("-c", path, "-l", "unix:/run/s")
        Path(path).write_text("listen = ['tcp:1']\n[timeouts]\nidle = 6")
        configuration = options.read()
        self.assertEqual(configuration.listen, ("unix:/run/s",))
        self.assertEqual((configuration.open, configuration.timeouts.idle), (False, 6))
        self.assertEqual(options.configuration.timeouts.idle, 5)


class LinesOfTests(OptionsFixture):
    """
    What is said of what is wrong.
    """

    def test_option(self) -> None:
        """
        Where an option has replaced a key, the option is named.
        """
        options = self.parse("--auth=a", "--listen=tcp:1", "--gssapi", "--gssapi-keytab=/x")
        self.assertEqual(
            options.linesOf(
                [
                    Problem("auth.checkers[0]", "a"),
                    Problem("listen", "b"),
                    Problem("auth.gssapi.keytab", "c"),
                    Problem("auth.gssapi", "d"),
                    Problem("auth.methods[0]", "e"),
                    Problem("listener", "f"),
                    Problem("", "g"),
                ]
            ),
            [
                "--auth: a",
                "--listen: b",
                "--gssapi-keytab: c",
                "--gssapi: d",
                "auth.methods[0]: e",
                "listener: f",
                "g",
            ],
        )

    def test_key(self) -> None:
        """
        Where none has, the key is.
        """
        options = self.parse()
        self.assertEqual(options.linesOf([Problem("auth.gssapi", "a")]), ["auth.gssapi: a"])


class AccessLogTests(OptionsFixture):
    """
    Where the access log goes.
    """

    def test_given(self) -> None:
        """
        Where it is told to go.
        """
        for where in ("/var/log/socks", "-", ""):
            self.assertEqual(self.parse("--access-log", where).accessLog(), where)

    def test_default(self) -> None:
        """
        It goes where the log of C{twistd} goes, if that is standard output, and beside it if not.
        """
        options = self.parse()
        self.assertEqual(options.accessLog(), "-")
        for twistd, where in (
            ({"nodaemon": True, "logfile": None}, "-"),
            ({"nodaemon": True, "logfile": "-"}, "-"),
            ({"nodaemon": True, "logfile": "twistd.log"}, "socks5-access.log"),
            ({"nodaemon": False, "logfile": None}, "socks5-access.log"),
            # The command twist, which stays in the foreground.
            ({"logFile": None}, "-"),
        ):
            options.parent = twistd
            self.assertEqual(options.accessLog(), where)

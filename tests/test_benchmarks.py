"""
The benchmarks: that the load generator does what it says, and that the sums are right.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from attrs import evolve, frozen
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks import isolation, processes, rounds
from benchmarks.__main__ import circumstances, coresOf, main, parser, txsocks5s
from benchmarks.disciplines import CONNECT, DISCIPLINES, Discipline, Figure, Trial
from benchmarks.load import Load, LoadError, Outcome, Target, Value, build, parseOutcome
from benchmarks.loads import Fill, Flow, Hold, Measure, Relative, Settings, Stall
from benchmarks.peers import (
    PASSWORD,
    ROOT,
    USER,
    Direct,
    Floor,
    GoSocks5,
    HAProxy,
    Packaged,
    Peer,
    Place,
    PythonPeer,
    Txsocks5,
    everyPeer,
)
from benchmarks.report import asRST, asText
from benchmarks.results import Entrant, Results, Sample, rotated
from benchmarks.rounds import Run, placeFor, unusedPort
from benchmarks.servers import Server, ServerError, started
from txsocks5 import Anonymous, DefaultPolicy, PasswordAuthenticator, SOCKS5Factory
from txsocks5.interfaces import Verdict
from txsocks5.testing import ScriptedPolicy

#: What runs are told to do.
SETTINGS = Settings(3, 10)

#: Where the load generator is built, once for all tests.
FOLDER = TemporaryDirectory(prefix="txsocks5-test-benchmarks-")


def load(patience: float = 5) -> Load:
    """
    The load generator.
    """
    return Load(build(Path(FOLDER.name)), patience=patience)


class BuildTests(SynchronousTestCase):
    """
    Tests for L{build}.
    """

    def folder(self) -> Path:
        """
        A new folder.
        """
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return path

    def test_once(self) -> None:
        """
        The program is built when its sources have changed, and only then.
        """
        sources, folder = self.folder(), self.folder()
        unit = sources / "main.c"
        unit.write_text("int main(void) { return 0; }\n")
        program = build(folder, sources)
        first = program.stat().st_mtime_ns
        self.assertEqual(build(folder, sources).stat().st_mtime_ns, first)
        os.utime(unit, ns=(first + 10**9, first + 10**9))
        self.assertNotEqual(build(folder, sources).stat().st_mtime_ns, first)

    def test_wrong(self) -> None:
        """
        What the compiler dislikes is told, and nothing is left.
        """
        sources, folder = self.folder(), self.folder()
        (sources / "main.c").write_text("int main(void) { return none; }\n")
        self.assertIn("none", str(self.assertRaises(LoadError, build, folder, sources)))
        self.assertEqual(list(folder.iterdir()), [])

    def test_noCompiler(self) -> None:
        """
        A missing compiler is named.
        """
        error = self.assertRaises(LoadError, build, self.folder(), compiler="no-such-compiler")
        self.assertIn("no-such-compiler", str(error))


class OutcomeTests(SynchronousTestCase):
    """
    Tests for what the load generator says.
    """

    def test_read(self) -> None:
        """
        Its figures and its failures are told apart.
        """
        outcome = parseOutcome('{"rate": 3.5, "failures": {"closed": 2}}\n')
        self.assertEqual(outcome, Outcome({"rate": 3.5}, {"closed": 2}))

    def test_rubbish(self) -> None:
        """
        Anything else is an error.
        """
        for line in ("", "{", "{}"):
            self.assertRaises(LoadError, parseOutcome, line)


class LoadTests(TestCase):
    """
    Tests for the load generator, against a server in this process.
    """

    timeout = 60

    def serve(self, factory: SOCKS5Factory | None = None) -> int:
        """
        Start a server.

        @return: its port.
        """
        made = factory or SOCKS5Factory(
            reactor, authenticators=[Anonymous()], policy=DefaultPolicy(local=True)
        )
        port: IListeningPort = reactor.listenTCP(0, made, 256, "127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(made.stopSessions)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def put(self, discipline: str, port: int, **options: Value) -> Deferred[Outcome]:
        """
        Put a load on a server for a moment.
        """
        given: dict[str, Value] = {"seconds": 0.05, "count": 4, **options}
        target = Target("127.0.0.1", unusedPort(), "localhost")
        return deferToThread(load(30).run, discipline, ("127.0.0.1", port), target, **given)

    @inlineCallbacks
    def works(self, counted: str, discipline: str, **options: Value) -> Deferred[None]:
        """
        A discipline gets something done, and nothing fails.
        """
        outcome = yield self.put(discipline, self.serve(), **options)
        self.assertEqual(outcome.failures, {})
        self.assertGreater(outcome.values[counted], 0)

    def test_sessions(self) -> Deferred[None]:
        """
        Sessions by number.
        """
        return self.works("sessions", "sessions")

    def test_sessionsByName(self) -> Deferred[None]:
        """
        Sessions by name.
        """
        return self.works("sessions", "sessions", name="localhost")

    def test_exchanges(self) -> Deferred[None]:
        """
        Messages and their echoes.
        """
        return self.works("exchanges", "exchanges")

    def test_exchangesBeside(self) -> Deferred[None]:
        """
        The same beside sessions that do nothing.
        """
        return self.works("idle", "exchanges", beside=100)

    def test_bulkDown(self) -> Deferred[None]:
        """
        Streams to the clients, compared octet by octet.
        """
        return self.works("octets", "bulk", verify=True)

    def test_bulkUp(self) -> Deferred[None]:
        """
        Streams to the targets, compared octet by octet.
        """
        return self.works("octets", "bulk", up=True, verify=True)

    def test_datagrams(self) -> Deferred[None]:
        """
        Datagrams, one by one.
        """
        return self.works("datagrams", "datagrams")

    def test_datagramsInPieces(self) -> Deferred[None]:
        """
        Datagrams that the kernel cuts and joins.
        """
        return self.works("datagrams", "datagrams", segments=True, size=1200)

    def server(self, **options: Any) -> Server:
        """
        The server in this process, as it is measured.
        """
        target = Target("127.0.0.1", unusedPort(), "localhost")
        place = Place(Path(self.mktemp()), self.serve(), target, **options)
        return Server(Script("here", ""), place, os.getpid())

    @inlineCallbacks
    def measured(self, measure: Measure, server: Server) -> Deferred[Mapping[str, float]]:
        """
        Measure the server in this process; nothing fails.
        """
        outcome = yield deferToThread(measure, server, load(30), Settings(0.05, 20, 0.05))
        self.assertEqual(outcome.failures, {})
        return outcome.values

    @inlineCallbacks
    def test_flow(self) -> Deferred[None]:
        """
        A load takes time of the processor, for each thing done.
        """
        values = yield self.measured(DISCIPLINES[0].trials[0].measure, self.server())
        self.assertGreaterEqual(values["cost"], 0)
        self.assertEqual(values["done"], values["sessions"])

    @inlineCallbacks
    def test_flowByName(self) -> Deferred[None]:
        """
        Clients can ask by the name of the target.
        """
        named = Flow("sessions", "sessions", named=True, options={"count": 2})
        values = yield self.measured(named, self.server())
        self.assertGreater(values["sessions"], 0)

    @inlineCallbacks
    def test_flowBesideOthers(self) -> Deferred[None]:
        """
        There can be idle sessions beside.
        """
        crowded = Flow("exchanges", "exchanges", crowded=True, options={"count": 2})
        values = yield self.measured(crowded, self.server())
        self.assertEqual((values["idle"], values["alive"]), (20, 20))

    @inlineCallbacks
    def test_hold(self) -> Deferred[None]:
        """
        A session that does nothing has two descriptors here, and is still there afterwards.
        """
        values = yield self.measured(Hold(), self.server())
        self.assertEqual(values["sessions"], 20)
        self.assertGreaterEqual(values["descriptors"], 2)
        self.assertIn("memory", values)

    @inlineCallbacks
    def test_stall(self) -> Deferred[None]:
        """
        Who does not read is sent a part, which is all that arrives in the end.
        """
        values = yield self.measured(Stall(2), self.server())
        self.assertGreater(values["taken"], 0)
        self.assertIn("kernel", values)

    @inlineCallbacks
    def test_fill(self) -> Deferred[None]:
        """
        A server that is never full serves all, and has room for all again.
        """
        values = yield self.measured(Fill(8), self.server())
        expected = {"passed": 1, "full": 0, "served": 8, "kept": 8, "again": 8}
        self.assertEqual({key: values[key] for key in expected}, expected)

    @inlineCallbacks
    def test_notFilled(self) -> Deferred[None]:
        """
        A server that refuses all has not passed, though it refuses in order.
        """
        policy = ScriptedPolicy()
        factory = SOCKS5Factory(reactor, authenticators=[Anonymous()], policy=policy)
        target = Target("127.0.0.1", unusedPort(), "localhost")
        place = Place(Path(self.mktemp()), self.serve(factory), target)
        policy.request = Verdict(False, "scripted: nobody")
        server = Server(Script("here", ""), place, os.getpid())
        values = yield self.measured(Fill(8), server)
        self.assertEqual((values["served"], values["refused"], values["passed"]), (0, 65, 0))

    @inlineCallbacks
    def test_password(self) -> Deferred[None]:
        """
        Sessions of a user are done with the right password; with a wrong one none is, and each that
        is refused is counted.
        """
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
        factory = SOCKS5Factory(
            reactor,
            authenticators=[PasswordAuthenticator(reactor, [users])],
            policy=DefaultPolicy(local=True),
        )
        port = self.serve(factory)
        right = yield self.put("sessions", port, user="alice", password="secret")
        self.assertEqual(right.failures, {})
        self.assertGreater(right.values["sessions"], 0)
        wrong = yield self.put("sessions", port, user="alice", password="other", count=1)
        self.assertEqual(wrong.values["sessions"], 0)
        self.assertEqual(
            list(wrong.failures), ["waiting for the password's answer: password refused"]
        )

    @inlineCallbacks
    def test_plain(self) -> Deferred[None]:
        """
        Without SOCKS the load generator talks to its own targets.
        """
        target = Target("127.0.0.1", unusedPort(), "localhost")
        outcome = yield deferToThread(
            load().run, "sessions", ("127.0.0.1", target.port), target, plain=True, seconds=0.05
        )
        self.assertEqual(outcome.failures, {})
        self.assertGreater(outcome.values["sessions"], 0)

    @inlineCallbacks
    def test_nobody(self) -> Deferred[None]:
        """
        Where nobody listens every session fails, and says why.
        """
        outcome = yield self.put("sessions", unusedPort(), count=1)
        self.assertEqual(outcome.values["sessions"], 0)
        self.assertEqual(list(outcome.failures), ["connecting: ECONNREFUSED"])

    @inlineCallbacks
    def test_wrongCall(self) -> Deferred[None]:
        """
        A load generator that ends without a word is an error.
        """
        failure = yield self.assertFailure(self.put("nonsense", 1), LoadError)
        self.assertEqual(str(failure), "there is no discipline nonsense")


class RelativeTests(SynchronousTestCase):
    """
    Tests for L{Relative}.
    """

    def compare(self, first: Outcome, second: Outcome, guarded: bool = False) -> Outcome:
        """
        Compare two loads with these outcomes.
        """
        place = Place(Path(), 1, Target("127.0.0.1", 2, "localhost"))
        other = Server(Script("guarded", ""), place, 2)
        server = Server(Script("open", ""), place, 1, guarded=other)
        self.servers: list[Server] = []

        def measure(outcome: Outcome) -> Measure:
            def give(server: Server, load: Load, settings: Settings) -> Outcome:
                self.servers.append(server)
                return outcome

            return give

        relative = Relative(measure(first), measure(second), guarded)
        return relative(server, Load(Path()), SETTINGS)

    def test_share(self) -> None:
        """
        What is told is the second load, and how much that is of the first.
        """
        outcome = self.compare(Outcome({"rate": 200, "a": 1}, {}), Outcome({"rate": 50}, {}))
        self.assertEqual(outcome, Outcome({"rate": 50, "share": 25}, {}))

    def test_nothing(self) -> None:
        """
        Of nothing there is no part.
        """
        outcome = self.compare(Outcome({"rate": 0}, {}), Outcome({"rate": 50}, {}))
        self.assertEqual(outcome.values, {"rate": 50})

    def test_failures(self) -> None:
        """
        The failures of both are told.
        """
        outcome = self.compare(Outcome({}, {"closed": 1}), Outcome({}, {"closed": 2, "x": 3}))
        self.assertEqual(outcome, Outcome({}, {"closed": 3, "x": 3}))

    def test_guarded(self) -> None:
        """
        The second load may be for the server that asks for passwords.
        """
        nothing = Outcome({}, {})
        self.compare(nothing, nothing)
        self.assertEqual([server.peer.name for server in self.servers], ["open", "open"])
        self.compare(nothing, nothing, guarded=True)
        self.assertEqual([server.peer.name for server in self.servers], ["open", "guarded"])


@frozen
class Script(Peer):
    """
    A server that is a few lines of Python.

    @ivar text: they, to be formatted with its place.
    """

    text: str = "import socket\nwith socket.create_server(('127.0.0.1', {port})): input()"

    def missing(self) -> str | None:
        """
        It is always there.
        """
        return None

    def version(self) -> str:
        """
        It has none.
        """
        return ""

    def command(self, place: Place) -> list[str]:
        """
        Run the lines.
        """
        return [sys.executable, "-c", self.text.format(port=place.port)]

    def environment(self) -> Mapping[str, str]:
        """
        Nothing more.
        """
        return {}


#: Waits until it is ended.
LISTENS = """\
import os, signal, socket
listener = socket.create_server(('127.0.0.1', {port}))
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""


class UnusedPortTests(SynchronousTestCase):
    """
    Tests for L{unusedPort}.
    """

    def let(self, first: int, last: int) -> None:
        """
        Let the system choose ports of a range by itself.
        """
        path = Path(self.mktemp())
        path.write_text(f"{first}\t{last}\n")
        self.patch(rounds, "EPHEMERAL", path)

    def occupied(self) -> int:
        """
        A port that somebody has.
        """
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", unusedPort()))
        port: int = taken.getsockname()[1]
        return port

    def test_notOfTheSystem(self) -> None:
        """
        It is none that a connection could be given, be they below or above.
        """
        for first, last, expected in (
            (1034, 65535, range(1024, 1034)),
            (1024, 65525, range(65526, 65536)),
            (32768, 60999, [*range(1024, 32768), *range(61000, 65536)]),
        ):
            self.let(first, last)
            self.assertIn(unusedPort(), expected)

    def test_occupied(self) -> None:
        """
        A port that somebody has is not given; if there is no other, that is an error.
        """
        port = self.occupied()
        chosen = [port, *[unusedPort() for _ in range(20)]]
        self.patch(rounds.random, "sample", lambda population, count: chosen)
        self.assertIn(unusedPort(), chosen[1:])
        self.patch(rounds.random, "sample", lambda population, count: [port])
        self.assertRaises(OSError, unusedPort)

    def test_noOther(self) -> None:
        """
        Where the system chooses among all, it is one of those.
        """
        self.let(1024, 65535)
        self.assertIn(unusedPort(), range(1024, 65536))


class ServerTests(SynchronousTestCase):
    """
    Tests for starting servers.
    """

    def place(self) -> Place:
        """
        Somewhere to start one.
        """
        return placeFor(0, Path(self.mktemp()).absolute())

    def test_started(self) -> None:
        """
        A server runs while it is needed, and its children do not live longer.
        """
        with started(Script("script", "", text=LISTENS), self.place()) as server:
            assert server.pid is not None
            self.assertEqual(len(processes.family(server.pid)), 2)
            self.assertGreater(server.memory(), 1000)
            self.assertGreater(server.descriptors(), 2)
            self.assertGreaterEqual(server.cpuSeconds(), 0)
            self.assertEqual(server.address, ("127.0.0.1", server.place.port))
        self.assertEqual([p.pid for p in processes.family(server.pid)], [])

    def test_doesNotStart(self) -> None:
        """
        A server that ends at once is an error, with its last words.
        """
        script = Script("script", "", text="raise SystemExit('no reason')")
        with self.assertRaises(ServerError) as caught, started(script, self.place()):
            pass
        self.assertIn("no reason", str(caught.exception))

    def test_floor(self) -> None:
        """
        The least that can be done does what it is measured for, and is asked for nothing else.
        """
        peer = Floor("floor", "", whole=False)
        place = self.place()
        with started(peer, place) as server:
            options: dict[str, Value] = {"seconds": 0.05, "count": 4}
            outcome = load(30).run("sessions", server.address, place.target, **options)
        self.assertEqual(outcome.failures, {})
        self.assertGreater(outcome.values["sessions"], 0)
        asked = {each.name for each in DISCIPLINES if any(one.suits(peer) for one in each.trials)}
        self.assertEqual(asked, {"connect"})

    def test_parseStatus(self) -> None:
        """
        A process's name can hold anything, and its times are in ticks.
        """
        fields = ["S", "7", "8", "9", *"0" * 7, "100", "50", "20", "30", *"0" * 35]
        status = processes.parseStatus("12 (a ) (b) " + " ".join(fields))
        ticks = 200 / os.sysconf("SC_CLK_TCK")
        self.assertEqual(status, processes.Status(12, 7, 9, False, ticks))

    def test_tcpMemory(self) -> None:
        """
        The kernel says how much its sockets hold.
        """
        self.assertGreaterEqual(processes.tcpMemory(), 0)


class PeerTests(SynchronousTestCase):
    """
    Tests for the configuration of the servers.
    """

    def setUp(self) -> None:
        """
        Prepare a place, and a folder in which the Go server has been built already.
        """
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "gosocks5").touch()
        self.target = Target("127.1.0.1", 2345, "target.test")

    def told(self, peer: Peer, password: bool) -> str:
        """
        What a server is told, on its command line and in files.
        """
        folder = self.folder / f"{peer.name}-{password}"
        folder.mkdir()
        command = peer.command(Place(folder, 5432, self.target, password, 512))
        return " ".join(command + [path.read_text() for path in folder.iterdir()])

    def peers(self) -> list[Peer]:
        """
        Each kind of server.
        """
        every = everyPeer(Path("/nowhere/bin/python"))
        return [
            Txsocks5("txsocks5", "", passwords=True),
            *(
                evolve(peer, build=self.folder) if isinstance(peer, GoSocks5) else peer
                for peer in every
            ),
        ]

    def test_port(self) -> None:
        """
        Each server listens where its clients will look for it, or is none.
        """
        for peer in self.peers():
            told = self.told(peer, False)
            if isinstance(peer, Direct):
                self.assertEqual(told, "")
            else:
                self.assertIn("5432", told, peer.name)
                self.assertIn("127.0.0.1", told, peer.name)
                self.assertNotIn(PASSWORD, told, peer.name)

    def test_password(self) -> None:
        """
        Those that can ask for a password do, for that which clients say.
        """
        asking = [peer for peer in self.peers() if peer.passwords]
        self.assertGreater(len(asking), 3)
        for peer in asking:
            told = self.told(peer, True)
            self.assertIn(USER, told, peer.name)
            self.assertIn(PASSWORD, told, peer.name)

    def test_target(self) -> None:
        """
        Who forwards without SOCKS knows the target, and stays within its descriptors.
        """
        (haproxy,) = [peer for peer in self.peers() if isinstance(peer, HAProxy)]
        told = self.told(haproxy, False)
        self.assertIn("127.1.0.1:2345", told)
        self.assertIn("maxconn 160\n", told)

    def test_missing(self) -> None:
        """
        What is not installed says what would bring it.
        """
        for peer in self.peers():
            if isinstance(peer, PythonPeer):
                self.assertIn(peer.packages[0], str(peer.missing()))
            elif isinstance(peer, Packaged):
                gone = evolve(peer, program="no-such-program")
                self.assertIn(peer.package, str(gone.missing()))
            elif isinstance(peer, Direct | Floor):
                self.assertIsNone(peer.missing())
            else:
                gone = evolve(peer, checkout=self.folder)
                self.assertIn("no checkout", str(gone.missing()))

    def test_profile(self) -> None:
        """
        Each server that is profiled leaves a file of its own.
        """
        peer = Txsocks5("txsocks5", "", profile=self.folder)
        self.assertIn("txsocks5-1.profile", self.told(peer, False))
        (self.folder / "txsocks5-1.profile").touch()
        self.assertIn("txsocks5-2.profile", self.told(peer, True))


class IsolationTests(SynchronousTestCase):
    """
    Tests for what is done where there are no namespaces.
    """

    def test_cannotEnter(self) -> None:
        """
        Without C{unshare}, or where that may not be done, this goes on where it is.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.patch(os, "environ", {"PATH": str(folder)})
        isolation.enter([])
        (folder / "unshare").write_text("#!/bin/sh\nexit 1\n")
        (folder / "unshare").chmod(0o755)
        isolation.enter([])

    def test_notInside(self) -> None:
        """
        Nothing of the machine's own network is changed, and the report says so.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.assertEqual(isolation.prepare("", folder), ["not in a network namespace of its own"])
        self.assertEqual(list(folder.iterdir()), [])


class ProgramTests(SynchronousTestCase):
    """
    Tests for the command line.
    """

    def setUp(self) -> None:
        """
        Catch what is printed.
        """
        self.printed = StringIO()
        self.patch(sys, "stdout", self.printed)

    def test_read(self) -> None:
        """
        Figures that were kept can be printed again, and written for the documentation.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        kept, table, again = folder / "kept", folder / "table", folder / "again"
        kept.write_text(RESULTS.dump())
        self.assertEqual(main(["--read", str(kept), "--rst", str(table), "--json", str(again)]), 0)
        self.assertIn("400 (2.00) [!]", self.printed.getvalue())
        self.assertEqual(table.read_text(), asRST(RESULTS, DISCIPLINES))
        self.assertEqual(again.read_text(), kept.read_text())

    def test_only(self) -> None:
        """
        Some disciplines can be chosen; one that is not there is an error.
        """
        kept = Path(self.mktemp())
        kept.write_text(RESULTS.dump())
        main(["--read", str(kept), "--only", "bulk"])
        self.assertNotIn("Sessions", self.printed.getvalue())
        error = self.assertRaises(SystemExit, main, ["--only", "swimming"])
        self.assertIn("swimming", str(error))

    def test_checkouts(self) -> None:
        """
        Several checkouts, and several ways to start one, can run side by side.
        """
        arguments = ["--checkout", "old=/a", "--checkout", "/b/new"]
        arguments += ["--variant", "log=--log x", "--txsocks5-args=--open"]
        options = parser().parse_args(arguments)
        found = [
            (peer.name, str(peer.checkout), list(peer.arguments)) for peer in txsocks5s(options)
        ]
        self.assertEqual(
            found,
            [
                ("txsocks5", str(ROOT), ["--open"]),
                ("old", "/a", ["--open"]),
                ("txsocks5@new", "/b/new", ["--open"]),
                ("log", str(ROOT), ["--open", "--log", "x"]),
            ],
        )
        without = txsocks5s(parser().parse_args(["--without-own", "--checkout", "old=/a"]))
        self.assertEqual([peer.name for peer in without], ["old"])

    def test_variantWithoutName(self) -> None:
        """
        A way to start needs a name.
        """
        options = parser().parse_args(["--variant", "nameless"])
        self.assertIn("nameless", str(self.assertRaises(SystemExit, txsocks5s, options)))

    def test_circumstances(self) -> None:
        """
        The report says when and how it was made, and what disturbs it.
        """
        options = parser().parse_args(["--rounds", "3", "--profile", "folder"])
        about = circumstances(options, ["no cubic"])
        self.assertIn("3 interleaved rounds", about["Method"])
        self.assertEqual(about["Could not be done"], "no cubic")
        self.assertIn("Profiled", about)

    def test_cores(self) -> None:
        """
        The servers have a core for themselves, if there is more than one.
        """
        self.assertEqual(coresOf({0, 1, 2}), ({2}, {0, 1}))
        self.assertEqual(coresOf({0}), ({0}, {0}))


def samples(server: str, *rates: float) -> list[Sample]:
    """
    One sample for each round.
    """
    return [
        Sample("connect", "64 at a time", server, number, {"rate": rate})
        for number, rate in enumerate(rates, 1)
    ]


#: A run of three servers, one of which was missing and one of which failed once.
RESULTS = Results(
    {"Date": "2001-02-03"},
    (
        Entrant("alpha", "Python", "1"),
        Entrant("beta", "C", "2"),
        Entrant("gamma", "Go", "", "not installed"),
    ),
    (
        *samples("alpha", 100, 200, 400),
        *samples("beta", 300, 400, 400),
        Sample("connect", "64 at a time", "beta", 4, {}, {"closed": 3}),
    ),
)


class ResultsTests(SynchronousTestCase):
    """
    Tests for the sums, and for the tables.
    """

    where: ClassVar = ("connect", "64 at a time")

    def test_median(self) -> None:
        """
        A figure is the median of the rounds.
        """
        self.assertEqual(RESULTS.median(*self.where, "alpha", "rate"), 200)
        self.assertIsNone(RESULTS.median(*self.where, "gamma", "rate"))

    def test_ratio(self) -> None:
        """
        A ratio is the median of the ratios within each round.
        """
        self.assertEqual(RESULTS.ratio(*self.where, "beta", "rate"), 2)
        self.assertIsNone(RESULTS.ratio(*self.where, "gamma", "rate"))

    def test_ratioToNothing(self) -> None:
        """
        Where the first server has done nothing there is no ratio.
        """
        results = Results({}, (Entrant("a", "", ""),), (*samples("a", 0), *samples("b", 3)))
        self.assertIsNone(results.ratio(*self.where, "b", "rate"))

    def test_kept(self) -> None:
        """
        What is written can be read again.
        """
        self.assertEqual(Results.load(RESULTS.dump()), RESULTS)

    def test_text(self) -> None:
        """
        The report names every server, what is missing, and what has failed.
        """
        report = asText(RESULTS, [CONNECT])
        for expected in (
            "Date: 2001-02-03",
            "gamma: MISSING: not installed",
            "400 (2.00) [!]",
            "[!] beta, 64 at a time: 3 x closed",
        ):
            self.assertIn(expected, report)
        rows = [line.split() for line in report.splitlines()]
        self.assertIn(["gamma", "missing", "missing"], rows)
        self.assertIn(["alpha", "200", "\N{EN DASH}"], rows)

    def test_rst(self) -> None:
        """
        The documentation gets the same.
        """
        report = asRST(RESULTS, [CONNECT])
        for expected in (
            ":Date: 2001-02-03",
            "     - missing: not installed",
            "     - 400 (2.00) [!]",
            "- beta, 64 at a time: 3 x closed",
        ):
            self.assertIn(expected, report)

    def test_rotated(self) -> None:
        """
        Each server comes first in its turn.
        """
        self.assertEqual(rotated("abc", 1), ["b", "c", "a"])
        self.assertEqual(rotated("abc", 5), ["c", "a", "b"])
        self.assertEqual(rotated("", 1), [])

    def test_names(self) -> None:
        """
        Names are unique, and no figure is told twice.
        """
        names = [discipline.name for discipline in DISCIPLINES]
        self.assertEqual(len(set(names)), len(names))
        for discipline in DISCIPLINES:
            trials = [trial.name for trial in discipline.trials]
            self.assertEqual(len(set(trials)), len(trials))
            for trial in discipline.trials:
                keys = [figure.key for figure in trial.figures]
                self.assertEqual(len(set(keys)), len(keys))


class RunTests(SynchronousTestCase):
    """
    Tests for a run.
    """

    def run_(self, tell: Callable[[str], None] = lambda line: None) -> Run:
        """
        A run of two rounds.
        """
        folder = Path(self.mktemp()).absolute()
        return Run(Load(Path("load")), folder, frozenset(), 2, SETTINGS, tell)

    def discipline(self, measure: Measure, **options: Any) -> Discipline:
        """
        A discipline of one trial.
        """
        given = {"figures": (Figure("rate", "things/s"),), **options}
        return Discipline("discipline", "", "", (Trial("trial", measure, **given),))

    def test_interleaved(self) -> None:
        """
        All servers are measured in each round, in an order that turns; what cannot start is told.
        """
        order = []

        def measure(server: Server, load: Load, settings: Settings) -> Outcome:
            if settings == SETTINGS:
                order.append(server.peer.name)
            return Outcome({"rate": 1.0}, {})

        told: list[str] = []
        run = self.run_(told.append)
        discipline = self.discipline(measure)
        peers = [
            Script("one", "", text=LISTENS),
            Script("none", "", text="raise SystemExit('no reason')"),
            Script("two", "", text=LISTENS),
        ]
        found = list(run.discipline(discipline, peers))
        self.assertEqual(order, ["two", "one", "one", "two"])
        (failed,) = [sample for sample in found if sample.failures]
        self.assertEqual((failed.server, failed.values), ("none", {}))
        self.assertIn("no reason", str(failed.failures))
        self.assertEqual(len(found), 5)
        self.assertEqual(len(told), 5)
        self.assertIn("1 things/s", told[1])

    def test_fresh(self) -> None:
        """
        Where each trial needs a new server, each gets one, with what it wants.
        """
        pids = []

        def measure(server: Server, load: Load, settings: Settings) -> Outcome:
            assert server.guarded is not None
            pids.append(server.pid)
            self.assertEqual((server.place.password, server.guarded.place.password), (False, True))
            self.assertEqual(server.place.descriptors, 100)
            raise LoadError("no load")

        discipline = self.discipline(measure, fresh=True, guarded=True, descriptors=100)
        peers = [Script("one", "", text=LISTENS), Script("none", "", text="raise SystemExit(1)")]
        found = list(self.run_().discipline(discipline, peers))
        self.assertEqual(len(set(pids)), 2)
        self.assertEqual(len(found), 4)
        for sample in found:
            self.assertIn("not measured", str(sample.failures))

    def test_once(self) -> None:
        """
        What does not change from round to round is done once.
        """
        discipline = self.discipline(lambda *_: Outcome({}, {}), once=True)
        peers = [Script("one", "", text=LISTENS)]
        self.assertEqual(len(list(self.run_().discipline(discipline, peers))), 1)

    def test_systemCalls(self) -> None:
        """
        System calls are counted in a round of their own, for each thing done.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        perf = folder / "perf"
        ready = folder / "ready"
        # A shell could not trap what was ignored when it began, as it is in the background.
        perf.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, signal, sys\n"
            "said = '42,,raw_syscalls:sys_enter,1,2,,'\n"
            "signal.signal(signal.SIGINT, lambda *_: sys.exit(said))\n"
            f"pathlib.Path({str(ready)!r}).touch()\n"
            "while True:\n"
            "    signal.pause()\n"
        )
        perf.chmod(0o755)
        sleep = time.sleep

        def untilReady(seconds: float) -> None:
            # However long it takes on a busy machine.
            for _ in range(2000):
                if seconds != processes._PERF_STARTS or ready.exists():
                    break
                sleep(0.01)
            sleep(seconds)

        self.patch(time, "sleep", untilReady)
        self.patch(os, "environ", {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})
        figures = (Figure("rate", "things/s"), Figure("calls", "calls", optional=True))
        discipline = self.discipline(
            lambda *_: Outcome({"rate": 1, "done": 4}, {}), figures=figures
        )
        run = evolve(self.run_(), counting=True)
        found = list(run.discipline(discipline, [Script("one", "", text=LISTENS)]))
        self.assertEqual([sample.values.get("rate") for sample in found], [1, 1, None])
        self.assertEqual(found[2].values, {"calls": 10.5})
        results = Results({}, (Entrant("one", "", ""),), tuple(found))
        self.assertTrue(results.has("discipline", "trial", "calls"))
        self.assertFalse(results.has("discipline", "trial", "other"))

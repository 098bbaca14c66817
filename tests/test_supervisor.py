"""
Tests for L{txsocks5.supervisor}.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import threading
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import supervisor as supervisorModule
from txsocks5.accesslog import AccessLog
from txsocks5.channel import CLOSE, DRAIN, READY, REFUSED, RETIRE, Channel
from txsocks5.config import Configuration
from txsocks5.sharedtally import SharedTally
from txsocks5.supervisor import Supervisor
from txsocks5.testing import RecordedEvents
from txsocks5.worker import ACCESS_LOG

from .workers import PATIENCE, WorkersServer, address, asked, isAlive, read

CONNECT, BIND, ASSOCIATE = 1, 2, 3


HERE = "tcp:0:interface=127.0.0.1"


class Process:
    """
    A process that was started.
    """

    def __init__(self, pid: int, worker: Any, arguments: list[str]) -> None:
        self.pid = pid
        self.worker = worker
        self.post = json.loads(arguments[-1])
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, name: str) -> None:
        """
        Remember it.
        """
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, status: int | None = None, signal: int | None = None) -> None:
        """
        End.
        """
        self.gone = True
        reason = Failure(ProcessTerminated(status, signal))
        self.worker.processExited(reason)
        for descriptor in (1, 2, ACCESS_LOG):
            self.worker.childConnectionLost(descriptor)
        self.worker.processEnded(reason)


class Transport(StringTransport):
    """
    One that passes file descriptors, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.descriptors: list[int] = []
        self.sendFileDescriptor = self.descriptors.append


class Reactor(Clock):
    """
    One that starts no processes, but says so.
    """

    _supportedAddressFamilies = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.channels: list[Transport] = []
        self.broken: OSError | None = None

    def removeWriter(self, writer: object) -> None:
        """
        Nothing is watched.
        """

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        """
        Connect the channel.
        """
        self.channels.append(Transport())
        factory.buildProtocol(None).makeConnection(self.channels[-1])

    def spawnProcess(self, worker: Any, program: str, arguments: list[str], **options: Any) -> None:
        """
        Start a process, or not.
        """
        if self.broken is not None:
            self.channels.pop()
            raise self.broken
        process = Process(1000 + len(self.processes), worker, arguments)
        self.processes.append(process)
        worker.makeConnection(process)


class Plan:
    """
    What a server is made from.
    """

    def __init__(self, **settings: Any) -> None:
        self.configuration = Configuration(**settings)


class SupervisorTests(SynchronousTestCase):
    """
    Tests for L{Supervisor} with processes that do nothing.
    """

    def setUp(self) -> None:
        """
        Have two workers.
        """
        self.reactor = Reactor()
        self.events = RecordedEvents(self)
        self.givenUp: list[None] = []
        self.supervisor = self.make()

    def make(self, **settings: Any) -> Supervisor:
        """
        Make a supervisor.
        """
        settings = {"listen": (HERE,), "workers": 2} | settings
        supervisor = Supervisor(
            self.reactor, Configuration(**settings), giveUp=lambda: self.givenUp.append(None)
        )
        self.addCleanup(self.stop, supervisor)
        return supervisor

    def stop(self, supervisor: Supervisor | None = None) -> list[object]:
        """
        Stop, and let all processes end.
        """
        results: list[object] = []
        (supervisor or self.supervisor).stopService().addBoth(results.append)
        for process in self.reactor.processes:
            if not process.gone:
                process.end(0)
        self.reactor.advance(0)
        return results

    def start(self) -> None:
        """
        Start, with all workers ready.
        """
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        for process in self.reactor.processes:
            process.worker._heard(READY, ())

    def orders(self, index: int) -> tuple[list[Any], int]:
        """
        What a worker was told.

        @return: the messages, and how many sockets came with them.
        """
        messages: list[Any] = []
        reader = Channel(lambda message, ignored: messages.append(message), lambda: None)
        transport = self.reactor.channels[index]
        reader.dataReceived(transport.value())
        words = (CLOSE, DRAIN, RETIRE)
        told = [each if each in words else pickle.loads(each) for each in messages]
        return told, len(transport.descriptors)

    def serving(self) -> list[int]:
        """
        The numbers of the workers that there are.
        """
        return [each.post["number"] for each in self.reactor.processes if not each.gone]

    def test_starts(self) -> None:
        """
        Each worker has a number and a column of its own, and is told by what to serve.
        """
        self.start()
        self.assertEqual(self.serving(), [1, 2])
        self.assertEqual([each.post["column"] for each in self.reactor.processes], [0, 1])
        (orders,), sockets = self.orders(1)
        self.assertEqual(
            (orders.configuration.listen, orders.added, sockets), ((HERE,), (HERE,), 1)
        )
        self.assertEqual(self.stop(), [None])
        self.assertEqual(self.stop(), [None])

    def test_replaced(self) -> None:
        """
        One that dies is replaced, and later each time; at once again if the others lived long.
        """
        self.start()
        delays = []
        for index in range(8):
            self.reactor.processes[-1].end(signal=9)
            delays.append(self.events.named("workerLost")[index]["delay"])
            self.reactor.advance(delays[-1])
        self.assertEqual(delays, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
        self.assertEqual(self.serving(), [1, 10])
        self.assertIn("was killed by signal 9", self.events.named("workerLost")[0]["reason"])
        self.reactor.advance(10)
        self.reactor.processes[-1].end(3)
        lost = self.events.named("workerLost")[-1]
        self.assertEqual(lost["delay"], 0.1)
        self.assertIn("worker 10 (process 1009) ended with status 3", lost["reason"])

    def test_bothDie(self) -> None:
        """
        Two that die at a time are replaced at a time.
        """
        self.start()
        for process in self.reactor.processes[:2]:
            process.end(1)
        self.reactor.advance(0.1)
        self.assertEqual(self.serving(), [3, 4])

    def test_givesUp(self) -> None:
        """
        When no worker has ever been ready, five of them are enough.
        """
        self.supervisor.startService()
        while not self.givenUp:
            self.reactor.processes[-1].end(1)
            self.reactor.advance(5)
        self.assertEqual(len(self.events.named("workerLost")), 4)
        self.assertIn("ended with status 1", self.events.one("workersFailed")["reason"])
        self.assertEqual(self.stop(), [None])

    def test_cannotBeStarted(self) -> None:
        """
        It tries again when the system has no room for a process.
        """
        self.start()
        self.reactor.broken = OSError(11, "no room")
        self.reactor.processes[0].end(1)
        self.reactor.advance(0.1)
        self.assertIn("worker 3: no room", self.events.named("workerLost")[1]["reason"])
        self.reactor.broken = None
        self.reactor.advance(0.2)
        self.assertEqual(self.serving(), [2, 4])

    def test_countsAreDropped(self) -> None:
        """
        What a worker had taken is given back when it has died.
        """
        self.start()
        supervisor: Any = self.supervisor
        tally = SharedTally(supervisor._descriptor, 1)
        self.addCleanup(tally.close)
        tally.take(b"a", 1)
        self.reactor.processes[0].end(1)
        self.assertEqual(tally.count(b"a"), 1)
        self.reactor.processes[1].end(1)
        self.assertEqual(tally.count(b"a"), 0)

    def test_logs(self) -> None:
        """
        What a worker writes is in the log with its number; lines for the access log are not there.
        """
        lines: list[str] = []
        for accessLog in (None, AccessLog(self.reactor, StringIO)):
            if accessLog is not None:
                self.patch(accessLog, "add", lines.append)
            self.supervisor._accessLog = accessLog
            self.supervisor.record("{}")
        self.start()
        worker = self.reactor.processes[1].worker
        worker.childDataReceived(1, b"hello\n" + b"x" * 300 + b"\n")
        worker.childDataReceived(ACCESS_LOG, b"{1}\n")
        worker.childDataReceived(2, b"rest")
        worker.childConnectionLost(2)
        said = [(each["worker"], each["line"]) for each in self.events.named("workerSaid")]
        self.assertEqual(said, [(2, "hello"), (2, "x" * 300), (2, "rest")])
        self.assertEqual(lines, ["{}", "{1}"])
        worker._heard(REFUSED, ())

    def test_cannotListen(self) -> None:
        """
        It listens everywhere or nowhere, and never where others cannot accept.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            supervisor = self.make(listen=(HERE, f"tcp:{port}:interface=127.0.0.1"))
            self.assertRaises(CannotListenError, supervisor.startService)
        self.reactor.advance(0)
        results: list[Any] = [Deferred(), succeed(object())]
        for result in results:

            class Endpoint:
                def listen(self, factory: object, result: Any = result) -> Any:
                    return result

            result.addErrback(lambda reason: reason.trap(CancelledError))
            self.patch(supervisorModule, "endpointOf", lambda *ignored: Endpoint())
            self.patch(supervisorModule, "_close", lambda ports: succeed(None))
            error = self.assertRaises(ValueError, self.make().startService)
            self.assertIn("cannot be shared", str(error))

    def test_stops(self) -> None:
        """
        All are told to stop, and to hurry if there is a second wish; and killed if they do not.
        """
        self.start()
        stopped = self.supervisor.stopService()
        self.assertEqual([self.orders(index)[0][1:] for index in (0, 1)], [[DRAIN], [DRAIN]])
        self.supervisor.stopNow()
        self.assertEqual(self.orders(0)[0][1:], [DRAIN, CLOSE])
        first, second = self.reactor.processes
        self.reactor.advance(9)
        self.assertEqual(first.signals, [])
        first.gone = True
        self.reactor.advance(1)
        self.assertEqual(second.signals, ["KILL"])
        self.assertNoResult(stopped)
        first.end(0)
        second.end(signal=9)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.events.named("workerLost"), [])

    def test_stopsWhileWaiting(self) -> None:
        """
        Nobody is replaced when it stops.
        """
        self.supervisor.stopNow()
        self.start()
        self.reactor.processes[0].end(1)
        self.assertEqual(self.stop(), [None])
        self.reactor.advance(10)
        self.assertEqual(len(self.reactor.processes), 2)

    def reload(self, **settings: Any) -> None:
        """
        Reload.
        """
        self.successResultOf(self.supervisor.reload(Plan(**settings)))
        self.reactor.advance(0)

    def test_reload(self) -> None:
        """
        All are told the same; sockets are sent once.
        """
        self.start()
        other = "tcp:0:interface=127.0.0.1:backlog=7"
        self.reload(listen=(HERE, other), workers=2)
        (_, orders), sockets = self.orders(0)
        self.assertEqual((orders.added, sockets), ((other,), 2))
        self.reload(listen=(other,), workers=2)
        (_, _, orders), sockets = self.orders(0)
        self.assertEqual((orders.configuration.listen, orders.added, sockets), ((other,), (), 2))
        self.assertEqual(self.events.named("workersReloaded")[1]["changed"], "listen")
        self.reload(listen=(other,), workers=2)
        self.assertEqual(self.events.named("workersReloaded")[2]["changed"], "nothing")

    def test_reloadNumber(self) -> None:
        """
        More workers are started, and those that are too many retire; they are told of later
        reloads, too, and not replaced.
        """
        self.start()
        self.reload(listen=(HERE,), workers=3)
        self.assertEqual(self.serving(), [1, 2, 3])
        self.reload(listen=(HERE,), workers=1)
        told, _ = self.orders(1)
        self.assertEqual(told[2], RETIRE)
        self.reactor.processes[1].end(0)
        self.reload(listen=(HERE,), workers=2)
        self.assertEqual(self.serving(), [1, 3, 4])
        self.assertEqual(self.orders(2)[0][-1].configuration.workers, 2)
        self.assertEqual(self.events.named("workerLost"), [])

    def test_reloadWhileWaiting(self) -> None:
        """
        A reload does not shorten the wait for one that has died; the one that comes later serves
        by it.
        """
        self.start()
        self.reactor.processes[0].end(1)
        self.reload(listen=(HERE,), workers=3)
        self.assertEqual(self.serving(), [2])
        self.reactor.advance(0.1)
        self.assertEqual(self.serving(), [2, 3, 4])
        self.assertEqual(self.orders(2)[0][0].configuration.workers, 3)

    def test_reloadRefused(self) -> None:
        """
        Too many workers, or a listener that cannot be had, change nothing.
        """
        self.start()
        reason = self.failureResultOf(
            self.supervisor.reload(Plan(listen=(HERE,), workers=17)), ValueError
        )
        self.assertIn("up to 16", reason.getErrorMessage())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            there = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            plan = Plan(listen=(HERE, there), workers=2)
            self.failureResultOf(self.supervisor.reload(plan), CannotListenError)
        self.assertEqual(len(self.orders(0)[0]), 1)


class ProcessTests(SynchronousTestCase):
    """
    Real processes and real sockets.
    """

    def setUp(self) -> None:
        """
        Have a place to connect to.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        self.echo = listening.getsockname()
        thread = threading.Thread(target=self._echo, args=(listening,), daemon=True)
        thread.start()

    def _echo(self, listening: socket.socket) -> None:
        """
        Send everybody what they send.
        """

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(1024):
                        connection.sendall(data)
                except OSError:
                    pass

        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(self, configuration: str) -> WorkersServer:
        """
        Start a server.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        server = WorkersServer(folder, configuration)
        self.addCleanup(server.end)
        return server

    def ask(self, port: int, command: int = CONNECT) -> tuple[socket.socket, bytes]:
        """
        Make a request.
        """
        connection, reply = asked(
            port, command, self.echo if command == CONNECT else ("0.0.0.0", 0)
        )
        self.addCleanup(connection.close)
        return connection, reply

    def by(self, server: WorkersServer, number: int) -> None:
        """
        Let one worker accept, and no other.
        """
        for each, pid in server.workers().items():
            if isAlive(pid):
                os.kill(pid, signal.SIGCONT if each == number else signal.SIGSTOP)

    def assertEchoes(self, connection: socket.socket) -> None:
        """
        The session relays in both directions.
        """
        connection.sendall(b"hello")
        self.assertEqual(read(connection, 5), b"hello")

    def test_together(self) -> None:
        """
        Two workers serve at one port and hold clients to one limit; one that dies is replaced,
        without harm to the sessions of the other, and what it had counted is given back; in the
        end nothing is left.
        """
        server = self.serve(
            "listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[timeouts]\ndrain = 1\n[limits]\nsessions_per_address = 4\n"
        )
        port, *_ = server.serving(2)
        sessions = {}
        for number in (1, 2):
            self.by(server, number)
            sessions[number] = [self.ask(port) for _ in range(2)]
            for connection, reply in sessions[number]:
                self.assertEqual(reply[1], 0)
                self.assertEchoes(connection)
        self.assertEqual(self.ask(port)[1][1], 2)
        victim = server.workers()[1]
        os.kill(victim, signal.SIGKILL)
        lost = rf"worker 1 \(process {victim}\) was killed by signal 9; another"
        self.assertEqual(len(server.waitFor(lost)), 1)
        server.waitFor("worker 3: SOCKS5 listening")
        for connection, _ in sessions[1]:
            self.assertEqual(read(connection, 1), b"")
        for connection, _ in sessions[2]:
            self.assertEchoes(connection)
        self.by(server, 3)
        self.assertEqual([self.ask(port)[1][1] for _ in range(3)], [0, 0, 2])
        self.by(server, 2)
        self.assertEqual(self.ask(port)[1][1], 2)
        os.kill(server.workers()[3], signal.SIGCONT)
        server.tell(signal.SIGTERM)
        server.process.wait(PATIENCE)
        self.assertEqual([isAlive(pid) for pid in server.workers().values()], [False] * 3)

    def test_handshakes(self) -> None:
        """
        Connections that have not made their request are counted together.
        """
        server = self.serve(
            "listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[limits]\nhandshakes_per_address = 2\n"
        )
        port, *_ = server.serving(2)
        for number in (1, 2):
            self.by(server, number)
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
            self.addCleanup(connection.close)
            connection.sendall(b"\x05\x01\x00")
            self.assertEqual(read(connection, 2), b"\x05\x00")
        # It may be turned away before it has said anything.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self.assertEqual(self.ask(port)[1], b"")

    def test_otherCommands(self) -> None:
        """
        UDP ASSOCIATE and BIND work in each of them.
        """
        server = self.serve("listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n")
        port, *_ = server.serving(2)
        echo = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(echo.close)
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(PATIENCE)
        for number in (1, 2):
            self.by(server, number)
            connection, reply = self.ask(port, BIND)
            self.assertEqual(reply[1], 0)
            with socket.create_connection(address(reply), PATIENCE) as peer:
                self.assertEqual(address(read(connection, 10)), peer.getsockname())
                peer.sendall(b"hello")
                self.assertEqual(read(connection, 5), b"hello")
            connection, reply = self.ask(port, ASSOCIATE)
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                host, at = echo.getsockname()
                header = b"\x00\x00\x00\x01" + socket.inet_aton(host) + at.to_bytes(2, "big")
                client.sendto(header + b"ping", address(reply))
                data, peer_ = echo.recvfrom(100)
                echo.sendto(data + b"pong", peer_)
                self.assertEqual(client.recv(100), header + b"pingpong")

    def test_supervisorDies(self) -> None:
        """
        Workers do not outlive their supervisor.
        """
        server = self.serve("listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n")
        port, *_ = server.serving(2)
        self.assertEqual(self.ask(port)[1][1], 0)
        server.process.kill()
        workers = server.workers().values()
        server.until(lambda: not any(map(isAlive, workers)), "all dead")

    def test_reload(self) -> None:
        """
        All of them reload together: other listeners, more and fewer workers, other limits; and
        nothing changes if the file cannot be used.
        """
        name = "socket"
        server = self.serve("listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n")
        port, *_ = server.serving(2)
        before, _ = self.ask(port)
        folder = server.path.parent
        server.path.write_text(
            f"listen = ['unix:{name}']\nworkers = 3\n[limits]\nsessions_per_address = 1\n"
        )
        server.tell(signal.SIGHUP)
        server.waitFor("worker [123]: SOCKS5 listening on unix", 3)
        server.waitFor("worker [12]: .*reloaded|worker [12]: .*configuration", 2)
        self.assertEchoes(before)
        server.until(lambda: self._refuses(port), "the old port is closed")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(folder / name))
            client.sendall(b"\x05\x01\x00")
            self.assertEqual(read(client, 2), b"\x05\x00")
        server.path.write_text("workers = 'many'\n")
        server.tell(signal.SIGHUP)
        server.waitFor("workers: found")
        server.path.write_text(f"listen = ['unix:{name}']\nworkers = 2\n")
        server.tell(signal.SIGHUP)
        server.until(
            lambda: sum(map(isAlive, server.workers().values())) == 2, "two workers are left"
        )
        self.assertEchoes(before)
        server.tell(signal.SIGTERM)
        server.waitFor(r"\[-\] \(UNIX Port")
        server.tell(signal.SIGTERM)
        server.process.wait(PATIENCE)
        self.assertFalse((folder / name).exists())

    def _refuses(self, port: int) -> bool:
        """
        Whether nobody listens.
        """
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

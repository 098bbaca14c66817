"""
Tests for L{txsocks5.supervisor}.
"""

from __future__ import annotations

import pickle
import socket
from io import StringIO
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError, ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import supervisor as supervisorModule
from txsocks5.accesslog import AccessLog
from txsocks5.channel import ANSWER, ASK, CLOSE, DRAIN, NEWS, READY, RETIRE, Channel
from txsocks5.config import Configuration
from txsocks5.sharedtally import SharedTally
from txsocks5.supervisor import Supervisor
from txsocks5.testing import RecordedEvents
from txsocks5.worker import ACCESS_LOG

from .processes import Reactor

CONNECT, BIND, ASSOCIATE = 1, 2, 3


HERE = "tcp:0:interface=127.0.0.1"


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
        words = (ASK, CLOSE, DRAIN, RETIRE)
        told = [each if each in words else pickle.loads(each) for each in messages]
        return [each for each in told if each != ASK], len(transport.descriptors)

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
            self.reactor.advance(delays[-1] + 1e-6)
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
        Two that die within a moment are replaced at a time.
        """
        self.start()
        for process in self.reactor.processes[:2]:
            process.end(1)
            self.reactor.advance(0.05)
        delays = [event["delay"] for event in self.events.named("workerLost")]
        self.assertEqual(delays, [0.1, 0.05])
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

    def test_givesUpAtOnce(self) -> None:
        """
        When processes cannot be started at all, it gives up once.
        """
        self.reactor.broken = OSError(13, "forbidden")
        self.supervisor.startService()
        self.reactor.pump([5] * 9)
        self.assertEqual(len(self.givenUp), 1)
        reason = self.events.one("workersFailed")["reason"]
        self.assertEqual(reason, "worker 5 cannot be started: forbidden")

    def test_givesUpOnce(self) -> None:
        """
        When the last hope dies others may still be dying.
        """
        self.supervisor.startService()
        while not self.givenUp:
            for process in self.reactor.processes:
                if not process.gone:
                    process.end(1)
            self.reactor.advance(5)
        self.assertEqual(len(self.givenUp), 1)
        self.assertEqual(len(self.reactor.processes), 6)

    def test_spreads(self) -> None:
        """
        What one has to say to the others, all of them hear, also those that come later.
        """
        self.start()
        self.reload(listen=(HERE,), workers=3)
        for transport in self.reactor.channels:
            transport.clear()
        self.reactor.processes[1].worker._heard(NEWS + b"of it", ())
        heard = [transport.value()[4:] for transport in self.reactor.channels]
        self.assertEqual(heard, [NEWS + b"of it", b"", NEWS + b"of it"])
        self.reload(listen=(HERE,), workers=4)
        self.assertTrue(self.reactor.channels[3].value().endswith(NEWS + b"of it"))

    def test_hangs(self) -> None:
        """
        One that does not answer any more is killed, and replaced like any other that has died.
        """
        self.start()
        first, second = self.reactor.processes
        for _ in range(4):
            self.assertEqual(second.signals, [])
            self.reactor.advance(10)
            first.worker._heard(ANSWER, ())
        self.assertEqual((first.signals, second.signals), ([], ["KILL"]))
        event = self.events.one("workerHung")
        self.assertEqual((event["worker"], event["pid"], event["seconds"]), (2, second.pid, 30))
        second.worker.processExited(Failure(ProcessTerminated(None, 9)))
        self.reactor.advance(10)
        first.worker._heard(ANSWER, ())
        self.assertEqual(second.signals, ["KILL"])
        self.assertEqual(self.reactor.processes[2].post["number"], 3)

    def test_sleeps(self) -> None:
        """
        Nobody is killed only because the machine has slept.
        """
        self.start()
        self.reactor.advance(3600)
        self.reactor.advance(10)
        self.assertEqual([process.signals for process in self.reactor.processes], [[], []])

    def test_cannotBeStarted(self) -> None:
        """
        It tries again when the system has no room for a process.
        """
        self.start()
        self.reactor.broken = OSError(11, "no room")
        self.reactor.processes[0].end(1)
        self.reactor.advance(0.1)
        self.assertIn(
            "worker 3 cannot be started: no room",
            self.events.named("workerLost")[1]["reason"],
        )
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

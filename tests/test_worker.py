"""
Tests for L{txsocks5.worker}.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import socket
import sys
from typing import Any

import attrs
import twisted.internet
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import assembly, worker
from txsocks5.channel import ANSWER, ASK, CLOSE, DRAIN, NEWS, READY, REFUSED, RETIRE, Orders
from txsocks5.config import Auth, Configuration, Network
from txsocks5.outcome import Outcome
from txsocks5.sharedtally import SharedTally, createTally
from txsocks5.testing import MemoryReactor, RecordedEvents
from txsocks5.worker import LinesObserver, Post, Worker, main

HERE = "tcp:1080:interface=127.0.0.1"
POST = Post(7, 0, "txsocks5.testing", True)
AUTH = Auth(checkers=("memory:alice:secret",))


class Reactor(MemoryReactor):
    """
    One that can be stopped, and adopts connections by not looking at them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0
        self.factories: list[Any] = []
        self.ports: list[Any] = []

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        """
        Remember who wants it.
        """
        self.factories.append(factory)

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        """
        Listen at a port of memory.
        """
        return self.listenTCP(0, factory, 50, "127.0.0.1")

    def stop(self) -> None:
        """
        Count.
        """
        self.stopped += 1


class Pipe:
    """
    Takes what is written.
    """

    def __init__(self) -> None:
        self.text = ""
        self.full = False

    def write(self, text: str) -> None:
        """
        Take it, or not.
        """
        if self.full:
            raise BlockingIOError
        self.text += text

    def flush(self) -> None:
        """
        Nothing to do.
        """


class WorkerTests(SynchronousTestCase):
    """
    Tests for L{Worker}.
    """

    def setUp(self) -> None:
        """
        Make one that has a supervisor.
        """
        self.patch(assembly, "installedAuthenticators", lambda: iter(()))
        self.patch(worker, "collectSeldom", lambda: None)
        self.reactor = Reactor()
        self.events = RecordedEvents(self)
        self.said: list[bytes] = []
        self.pipe = Pipe()
        self.worker = self.make()

    def make(self, post: Post = POST) -> Worker:
        """
        Make a worker.
        """
        descriptor = createTally(16)
        self.addCleanup(os.close, descriptor)
        tally = SharedTally(descriptor, 0)
        self.addCleanup(tally.close)
        made = Worker(self.reactor, post, tally, self.pipe)
        made.channel.say = self.said.append  # type: ignore[method-assign,assignment]
        return made

    def order(self, configuration: Configuration, *added: str) -> list[int]:
        """
        Tell the worker by what to serve, with a socket for each of C{added}.

        @return: the sockets' descriptors.
        """
        descriptors = []
        for _ in added:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                descriptors.append(os.dup(listening.fileno()))
        self.hear(pickle.dumps(Orders(configuration, added)), descriptors)
        return descriptors

    def hear(self, message: bytes, descriptors: Any = ()) -> None:
        """
        Let the supervisor say something.
        """
        self.worker.channel._heard(message, descriptors)

    def finish(self) -> list[object]:
        """
        Let the reactor stop.
        """
        results: list[object] = []
        stopped = self.worker._stop()
        if stopped is not None:
            stopped.addBoth(results.append)
        self.reactor.advance(0)
        return results

    def test_begins(self) -> None:
        """
        It listens to its supervisor, and ends its sessions when the reactor stops.
        """
        ours, its = socket.socketpair()
        self.addCleanup(ours.close)
        self.worker.begin(its.detach())
        self.assertIs(self.reactor.factories[0].buildProtocol(None), self.worker.channel)
        self.assertEqual(
            self.reactor.triggers, {"before": {"shutdown": [(self.worker._stop, (), {})]}}
        )

    def test_serves(self) -> None:
        """
        It serves by its orders, and says so; again when there are others, and then it closes what
        it needs no more.
        """
        (first,) = self.order(Configuration(listen=(HERE,), workers=2), HERE)
        self.assertEqual(self.said, [READY])
        self.events.one("listening")
        other = "tcp:1081:interface=127.0.0.1"
        (second,) = self.order(Configuration(listen=(other,), workers=2), other)
        self.addCleanup(os.close, second)
        self.reactor.advance(0)
        self.assertEqual(self.said, [READY, READY])
        self.assertRaises(OSError, os.fstat, first)
        self.assertIsNotNone(os.fstat(second))

    def test_cannotServe(self) -> None:
        """
        One that cannot begin says why, and ends with a status.
        """
        listen = ("tcp:1080",)
        for socket_ in self.order(Configuration(listen=listen), *listen):
            self.addCleanup(os.close, socket_)
        self.assertIn("without authentication", self.events.one("workerRefused")["reason"])
        self.assertEqual((self.worker.status, self.reactor.stopped), (1, 1))
        self.assertEqual(self.finish(), [])

    def test_withoutSockets(self) -> None:
        """
        So does one that was not given what it needs.
        """
        self.order(Configuration(listen=(HERE,)))
        self.assertIn("not been handed over", self.events.one("workerRefused")["reason"])
        self.assertEqual(self.worker.status, 1)

    def test_cannotServeOtherwise(self) -> None:
        """
        One that serves goes on as before if it cannot serve by other orders.
        """
        self.serve()
        self.order(Configuration(listen=("tcp:1080",)))
        self.assertEqual(self.said, [READY, REFUSED])
        self.assertEqual((self.worker.status, self.reactor.stopped), (0, 0))

    def serve(self) -> None:
        """
        Begin to serve.
        """
        for descriptor in self.order(Configuration(listen=(HERE,)), HERE):
            self.addCleanup(os.close, descriptor)

    def test_stops(self) -> None:
        """
        It stops once, however often it is told, and its access log is written.
        """
        self.serve()
        self.hear(DRAIN)
        self.hear(DRAIN)
        self.hear(CLOSE)
        self.assertEqual(self.reactor.stopped, 1)
        self.assertEqual(self.finish(), [None])

    def test_retires(self) -> None:
        """
        A retired one ends when it has no sessions; at once, if it has never begun.
        """
        self.hear(CLOSE)
        self.hear(RETIRE)
        self.assertEqual(self.reactor.stopped, 1)
        self.worker = self.make(attrs.evolve(POST, recording=False))
        self.serve()
        self.hear(RETIRE)
        self.assertEqual(self.reactor.stopped, 2)
        self.assertEqual(self.finish(), [None])

    def test_waits(self) -> None:
        """
        A retired one with sessions waits for them.
        """
        self.serve()
        last: Deferred[None] = Deferred()
        self.patch(self.worker._service, "retire", lambda: last)
        self.hear(RETIRE)
        self.assertEqual(self.reactor.stopped, 0)
        last.callback(None)
        self.assertEqual(self.reactor.stopped, 1)

    def test_answers(self) -> None:
        """
        It says that it is there when it is asked.
        """
        self.hear(ASK)
        self.assertEqual(self.said, [ANSWER])

    def test_failures(self) -> None:
        """
        The others are told of failed guesses, and are listened to.
        """
        self.worker.channel.mention = self.said.append  # type: ignore[method-assign]
        self.order(Configuration(listen=(HERE,), auth=AUTH, workers=2), HERE)
        [throttle] = self.worker._throttles
        news = NEWS + Outcome(b"here", "alice", stranger=True, failed=True, at=0.0).octets()
        self.hear(news)
        self.assertEqual(throttle._against("alice"), 1)
        self.successResultOf(throttle.turn(None, "alice")).failed()
        told = Outcome(b"", "alice", stranger=True, failed=True, at=0.0)
        self.assertEqual(self.said, [READY, NEWS + told.octets()])
        self.order(Configuration(listen=(HERE,), auth=AUTH, workers=3))
        self.reactor.advance(0)
        self.assertEqual(self.worker._throttles, [throttle])
        self.order(Configuration(listen=(HERE,), workers=2))
        self.reactor.advance(0)
        self.hear(news)
        self.assertEqual((self.worker._throttles, throttle._against("alice")), ([], 2))

    def test_abandoned(self) -> None:
        """
        It does not outlive its supervisor, nor wait for its sessions.
        """
        self.serve()
        hurried: list[None] = []
        self.patch(self.worker._service, "stopNow", lambda: hurried.append(None))
        self.worker.channel._lost()
        self.assertEqual((self.reactor.stopped, hurried), (1, [None]))

    def test_lookUps(self) -> None:
        """
        By whatever orders it serves, it is the same that looks up names.
        """
        self.serve()
        service: Any = self.worker._service
        before = service._factory.means.outgoing._resolver
        self.order(Configuration(listen=(HERE,), network=Network(prefer="ipv4")))
        self.reactor.advance(0)
        outgoing = service._factory.means.outgoing
        self.assertEqual(outgoing._network.prefer, "ipv4")
        self.assertIs(outgoing._resolver, before)

    def test_reloadFails(self) -> None:
        """
        What fails later is told as well.
        """
        self.serve()
        self.patch(self.worker._service, "reload", lambda plan: fail(ValueError("no")))
        self.order(Configuration(listen=(HERE,)))
        self.assertEqual(self.events.one("workerRefused")["reason"], "no")


class ObserverTests(SynchronousTestCase):
    """
    Tests for L{LinesObserver}.
    """

    def test_lines(self) -> None:
        """
        Each event is a line; what could not be written is counted, and told.
        """
        pipe = Pipe()
        log = Logger(observer=LinesObserver(pipe))
        log.info("one")
        pipe.full = True
        log.info("two")
        log.info("three")
        pipe.full = False
        log.info("four")
        log.info("five")
        self.assertEqual(
            pipe.text, "one\n2 events are missing here: they were not read\nfour\nfive\n"
        )


class MainTests(SynchronousTestCase):
    """
    Tests for L{main}.
    """

    def test_main(self) -> None:
        """
        It is in a session of its own, ignores signals for the supervisor, installs the reactor that
        it was told, and exits with the status of the worker.
        """
        calls: list[str] = []

        class Running(Reactor):
            def run(self) -> None:
                calls.append("run")

        class Finishing(Pipe):
            def __init__(self, reactor: object, descriptor: int) -> None:
                super().__init__()

            def finish(self, seconds: float) -> None:
                calls.append("finish")

        class Post_:
            install = staticmethod(lambda: calls.append("install"))

        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.patch(os, "setsid", lambda: calls.append("setsid"))
        self.patch(sys, "argv", ["-c", json.dumps(attrs.asdict(POST))])
        self.patch(worker, "namedModule", lambda name: Post_)
        self.patch(worker, "Conduit", Finishing)
        self.patch(worker, "globalLogBeginner", self)
        self.patch(worker, "SharedTally", lambda *arguments: None)
        ours, its = socket.socketpair()
        self.addCleanup(ours.close)
        self.patch(worker, "CONTROL", its.detach())
        # There has to be one before it can be replaced.
        importlib.import_module("twisted.internet.reactor")
        self.patch(twisted.internet, "reactor", Running())
        error = self.assertRaises(SystemExit, main)
        self.assertEqual(error.code, 0)
        self.assertEqual(calls[:2], ["setsid", "install"])
        self.assertEqual(calls[-3:], ["run", "finish", "finish"])
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def beginLoggingTo(self, observers: object) -> None:
        """
        Stands for the one that begins to log.
        """

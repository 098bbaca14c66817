"""
Tests for the checker of sessions under load: that it finds what is lost or left, and that a server
which loses and leaves nothing passes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import census as censuses
from benchmarks import chaos, ends
from benchmarks.census import census
from benchmarks.clients import Clients
from benchmarks.ends import Abort, End, Plan, faults, pattern, planned
from txsocks5 import tap
from txsocks5.wire import Address

PASSED = "wrong: 0, left: nothing, errors logged: 0"


class PatternTests(SynchronousTestCase):
    """
    Tests for L{pattern}.
    """

    def test_pieces(self) -> None:
        """
        In whatever pieces they are asked for, the octets are the same; those of somebody else are
        others.
        """
        whole = pattern(8, 0, 10_000)
        self.assertEqual(whole, pattern(8, 0, 77) + pattern(8, 77, 9_923))
        self.assertNotEqual(whole, pattern(9, 0, 10_000))
        self.assertEqual(len(pattern(8, 3 << 40, 5)), 5)

    def test_planned(self) -> None:
        """
        Plans are within bounds, and the same for the same seed.
        """
        for seed in range(50):
            plan = planned(random.Random(seed), 100)
            self.assertEqual(plan, planned(random.Random(seed), 100))
            self.assertTrue(0 <= plan.size <= 100 and plan.piece and plan.read)


def end(name: str, sent: int, got: int, heard: str, *did: str) -> End:
    """
    An end that has done and heard something.
    """
    made = End(name, random.Random(1), 2, Plan(sent))
    made.sent, made.got, made.heard = sent, got, heard
    for what in did:
        setattr(made, what, True)
    return made


class FaultsTests(SynchronousTestCase):
    """
    Tests for L{faults}.
    """

    def found(self, client: End, target: End, **options: bool) -> list[str]:
        """
        The faults of a session.
        """
        return faults(client, target, **options)

    def test_regular(self) -> None:
        """
        Everything has arrived, and both have heard the end.
        """
        client = end("client", 5, 7, "end", "finished")
        target = end("target", 7, 5, "end", "finished")
        self.assertEqual(self.found(client, target), [])

    def test_lost(self) -> None:
        """
        Octets before an end are lost.
        """
        client = end("client", 5, 7, "end", "finished")
        target = end("target", 7, 4, "end", "finished")
        self.assertEqual(
            self.found(client, target),
            [
                "client to target: the end after 4 octets of 5",
                "client to target: 4 octets of 5, and then end",
            ],
        )

    def test_wrong(self) -> None:
        """
        Octets are altered, or there are too many.
        """
        client = end("client", 5, 7, "end", "finished")
        target = end("target", 7, 6, "end", "finished")
        target.wrong = 3
        self.assertEqual(
            self.found(client, target)[:2],
            [
                "client to target: wrong octets behind 3",
                "client to target: 6 octets, of 5 that were sent",
            ],
        )

    def test_reset(self) -> None:
        """
        A reset may cost octets, but is no end; nobody else may make one.
        """
        client = end("client", 5, 7, "nothing", "aborted")
        target = end("target", 7, 2, "reset", "finished")
        self.assertEqual(self.found(client, target), [])
        target.heard = "end"
        self.assertEqual(self.found(client, target), ["client to target: an end that was not sent"])
        client.aborted = False
        client.heard, client.finished = "end", True
        target.heard = "reset"
        self.assertEqual(
            self.found(client, target), ["client to target: 2 octets of 5, and then reset"]
        )
        self.assertEqual(self.found(client, target, limited=True), [])

    def test_unix(self) -> None:
        """
        A client at a UNIX socket cannot tell a reset from an end.
        """
        client = end("client", 5, 2, "end", "finished")
        target = end("target", 7, 5, "end", "aborted")
        self.assertEqual(self.found(client, target, resets=False), [])
        self.assertEqual(len(self.found(client, target)), 1)

    def test_stuck(self) -> None:
        """
        An end that was not heard.
        """
        client = end("client", 5, 7, "end", "finished")
        target = end("target", 7, 5, "nothing", "finished")
        self.assertEqual(
            self.found(client, target),
            ["client to target: no end", "client to target: 5 octets of 5, and then nothing"],
        )


class EndTests(SynchronousTestCase):
    """
    Tests for L{End}.
    """

    def meet(
        self, plans: tuple[Plan, Plan], between: Callable[[bytes], bytes] | None = None
    ) -> tuple[End, End]:
        """
        Let two ends talk by TCP.

        @param between: what somebody between them makes of each piece of the client's.
        """

        async def carry(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Any
        ) -> None:
            while data := await reader.read(65536):
                writer.write(change(data))
                await writer.drain()
            writer.write_eof()

        async def talk(client: End, target: End) -> None:
            listening = socket.create_server(("127.0.0.1", 0))
            loop = asyncio.get_running_loop()
            listening.setblocking(False)
            near = socket.create_connection(listening.getsockname())
            far, _ = await loop.sock_accept(listening)
            work = [client.run(near), target.run(far)]
            if between is not None:
                far.setblocking(False)
                there = socket.create_connection(listening.getsockname())
                other, _ = await loop.sock_accept(listening)
                one = await asyncio.open_connection(sock=far)
                two = await asyncio.open_connection(sock=there)
                work[1].close()
                work = [work[0], target.run(other)]
                work += [carry(one[0], two[1], between), carry(two[0], one[1], bytes)]
            await asyncio.gather(*work)
            if between is not None:
                one[1].close()
                two[1].close()
            listening.close()

        client = End("client", random.Random(1), 10, plans[0])
        target = End("target", random.Random(2), 11, plans[1])
        asyncio.run(talk(client, target))
        return client, target

    def test_regular(self) -> None:
        """
        Two that talk, with pauses, one behind the other, or both at once.
        """
        for after in (False, True):
            plans = (
                Plan(300_000, pause=0.001, stall=0.01),
                Plan(200_000, after=after, rest=0.001),
            )
            client, target = self.meet(plans)
            self.assertEqual(faults(client, target), [])
            self.assertEqual((client.got, target.got), (200_000, 300_000))
            self.assertEqual((client.wrong, target.wrong), (None, None))

    def test_aborted(self) -> None:
        """
        One resets when it has sent or got enough, or after a time; the other hears that.
        """
        for abort in (Abort("sent", 5, True), Abort("got", 5, True), Abort("time", 0.01, True)):
            timed = abort.what == "time"
            own = Plan(1000, piece=1, after=timed, stall=1 if timed else 0, abort=abort)
            plans = (own, Plan(10_000))
            client, target = self.meet(plans)
            self.assertEqual(faults(client, target), [])
            self.assertTrue(client.aborted)
            self.assertEqual(target.heard, "reset")

    def test_left(self) -> None:
        """
        One closes its socket.
        """
        client, target = self.meet((Plan(1000, abort=Abort("sent", 1000, False)), Plan(0)))
        self.assertEqual(faults(client, target), [])
        self.assertEqual((client.left, target.heard, target.got), (True, "end", 1000))

    def test_altered(self) -> None:
        """
        One octet that is altered, or left out, is noticed, and where.
        """
        for change in (
            lambda data: data[:700] + b"!" + data[701:],
            lambda data: data[:700] + data[701:],
        ):
            client, target = self.meet((Plan(1000, piece=1), Plan(5)), lambda data: data)
            self.assertEqual(faults(client, target), [])
            client, target = self.meet((Plan(1000, piece=5000, read=1), Plan(5)), change)
            self.assertIn(target.wrong, range(1001))
            self.assertIn("wrong octets", str(faults(client, target)))

    def test_stuck(self) -> None:
        """
        Somebody who never hears the end is given up.
        """
        self.patch(ends, "PATIENCE", 0.05)
        client, target = self.meet((Plan(0), Plan(5, stall=60)))
        self.assertIn("client to target: no end", faults(client, target))
        self.assertIn("heard nothing", str(target))


class CensusTests(SynchronousTestCase):
    """
    Tests for L{benchmarks.census}.
    """

    def test_counted(self) -> None:
        """
        Objects of txsocks5 are counted by their classes.
        """
        some = [Address("a.example", 1), Address("b.example", 1), object(), "text"]
        self.assertEqual(census(some), {"txsocks5.wire._addresses.Address": 2})

    def test_main(self) -> None:
        """
        C{twistd} is run with what is left of the command line, without the garbage collector, and
        writes the census when it is told.
        """
        self.addCleanup(gc.enable)
        self.addCleanup(signal.signal, signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
        self.patch(sys, "argv", ["python"])
        path = Path(self.mktemp())
        said: list[Any] = []

        def run() -> None:
            kept = Address("a.example", 1)
            signal.raise_signal(signal.SIGUSR2)
            counts = json.loads(path.read_text())
            name = f"{Address.__module__}.{Address.__qualname__}"
            said.append((sys.argv[1:], gc.isenabled(), counts[name] > 0, kept.port))

        self.patch(twistd, "run", run)
        censuses.main([str(path), "-n", "socks5"])
        self.assertEqual(said, [(["-n", "socks5"], False, True, 1)])

    def test_copying(self) -> None:
        """
        Somebody may look on.
        """
        self.addCleanup(gc.enable)
        self.addCleanup(signal.signal, signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
        self.patch(sys, "argv", ["python"])
        self.patch(tap, "SOCKS5Factory", lambda **options: options)
        self.patch(twistd, "run", lambda: None)
        censuses.main(["census", "--copying", "socks5"])
        self.assertEqual(sys.argv[1:], ["socks5"])
        made: Any = tap.SOCKS5Factory
        observer = made()["observer"]
        self.assertIs(observer.began(None), observer)
        self.assertIsNone(observer.passed(True, None, b""))
        self.assertIsNone(observer.ended(0, 0))


class ChaosTests(SynchronousTestCase):
    """
    Tests for the whole, with a server.
    """

    def run_(self, *arguments: str) -> tuple[int, str]:
        """
        Run it.
        """
        written = StringIO()
        # It raises the limit of descriptors, which is the test runner's, too.
        with redirect_stdout(written), mock.patch.object(chaos.resource, "setrlimit"):
            status = asyncio.run(chaos.main((*arguments, "--quick")))
        return status, written.getvalue()

    def test_nothingLost(self) -> None:
        """
        The server loses nothing, and leaves nothing.
        """
        for arguments in ((), ("--copying",), ("--reactor", "asyncio")):
            status, text = self.run_("--sessions", "30", "--parallel", "30", *arguments)
            self.assertEqual((status, text.splitlines()[2:]), (0, [PASSED]), text)
            self.assertIn("connect ", text)

    def test_exhausted(self) -> None:
        """
        A server that runs out of descriptors may refuse.
        """
        status, text = self.run_("--sessions", "60", "--parallel", "60", "--files", "60")
        self.assertEqual((status, text.splitlines()[2:]), (0, [PASSED]), text)

    def test_lost(self) -> None:
        """
        What is lost or left is said, and the status tells.
        """

        async def found(clients: Clients, count: int, parallel: int) -> None:
            clients.faults.append("session 1: lost")

        self.patch(Clients, "serve", found)
        self.patch(chaos, "_PATIENCE", 0)
        counts = iter((Counter(a=1), Counter(a=2)))

        async def objects(server: chaos.Server) -> Counter[str]:
            return next(counts)

        self.patch(chaos.Server, "objects", objects)
        status, text = self.run_("--sessions", "1")
        self.assertEqual(status, 1)
        self.assertEqual(
            text.splitlines()[-3:],
            ["session 1: lost"] * 2 + ["wrong: 2, left: {'a': 1}, errors logged: 0"],
        )

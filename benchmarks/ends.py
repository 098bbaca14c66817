"""
The two ends of a connection through a server, each of which sends, stalls, finishes and resets by a
plan; and what TCP promises to each of them about the other.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress

from attrs import field, frozen

__all__ = ["Abort", "End", "Plan", "faults", "pattern", "planned"]

_PERIOD = 2_097_143
_BLOCK = random.Random(4711).randbytes(_PERIOD) * 2
_RESET = struct.pack("ii", 1, 0)
_UNIX = socket.AF_UNIX

PATIENCE = 60.0
"""
Seconds after which a session that has not ended is stuck.
"""


def pattern(key: int, offset: int, octets: int) -> bytes:
    """
    What somebody sends: octets in which nothing can be left out, altered or sent twice without
    being noticed at once, and which need not be kept.

    @param key: says whose they are.

    @param offset: how many octets stand before these.

    @return: these, or fewer.
    """
    first = (key + offset) % _PERIOD
    return _BLOCK[first : first + min(octets, _PERIOD)]


@frozen
class Abort:
    """
    When an end gives its connection up.

    @ivar what: C{sent}, C{got}, or C{time}.

    @ivar count: how many octets, or seconds.

    @ivar reset: with RST; otherwise the socket is just closed.
    """

    what: str
    count: float
    reset: bool


@frozen
class Plan:
    """
    What an end does.

    @ivar size: octets that it sends.

    @ivar piece: how many at a time, at the most; likewise C{read}.

    @ivar pause: seconds between two of them, at the most, where it pauses; likewise C{rest}.

    @ivar stall: seconds before it begins to read.

    @ivar after: it sends only when the other end has finished.

    @ivar abort: when it gives up; L{None} for never.
    """

    size: int
    piece: int = 65536
    read: int = 65536
    pause: float = 0.0
    rest: float = 0.0
    stall: float = 0.0
    after: bool = False
    abort: Abort | None = None


def planned(chance: random.Random, largest: int, *, after: bool = False) -> Plan:
    """
    Make a plan at random.

    @param largest: octets to send at the most.
    """
    edges = (0, 0, 1, 16_384, 65_535, 65_536, 65_537, 262_144)
    size = min(largest, chance.choice((*edges, int(largest ** chance.random()))))
    return Plan(
        size=size,
        piece=chance.choice((1 << 20, 262_144, 65_536, max(1, size // 50))),
        read=chance.choice((1 << 20, 65_536, 16_384)),
        pause=chance.choice((0, 0, 0.05)),
        rest=chance.choice((0, 0, 0.05)),
        stall=chance.choice((0, 0, 0, chance.random() * 1.5)),
        after=after,
    )


class End:
    """
    One end.

    @ivar key: what its octets are; those of the other end have the same with the last bit changed.

    @ivar sent: how many octets the system has taken.

    @ivar got: how many have come.

    @ivar finished: it has sent FIN behind them, or closed its socket.

    @ivar aborted: it has reset the connection.

    @ivar left: it has closed its socket before it has heard the end.

    @ivar heard: C{end} for FIN, C{reset}, or C{nothing}.

    @ivar wrong: where the first octet has come that was not sent there.
    """

    def __init__(self, name: str, chance: random.Random, key: int, plan: Plan) -> None:
        self.name = name
        self.key = key
        self.plan = plan
        self.sent = self.got = 0
        self.finished = self.aborted = self.left = False
        self.heard = "nothing"
        self.wrong: int | None = None
        self._chance = chance
        self._reset = False
        self._ended = asyncio.Event()
        self._abort = asyncio.Event()

    def __str__(self) -> str:
        """
        For reports.
        """
        return (
            f"{self.name}: sent {self.sent} of {self.plan.size}, got {self.got}, heard "
            f"{self.heard}, finished {self.finished}, aborted {self.aborted}, left {self.left}"
        )

    @property
    def gaveUp(self) -> bool:
        """
        Whether it has not waited for the regular end.
        """
        return self.aborted or self.left

    async def run(self, connected: socket.socket, early: bytes = b"") -> None:
        """
        Do it all.

        @param connected: is closed in the end.

        @param early: octets that have come already.
        """
        connected.setblocking(False)
        self._take(early)
        talking = asyncio.gather(self._send(connected), self._receive(connected))
        aborting = asyncio.create_task(self._abort.wait())
        loop = asyncio.get_running_loop()
        plan = self.plan.abort
        late = None
        if plan is not None and plan.what == "time":
            late = loop.call_later(plan.count, self._abort.set)
        self._look()
        await asyncio.wait(
            (talking, aborting), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if late is not None:
            late.cancel()
        stopped = not talking.done()
        for task in (talking, aborting):
            task.cancel()
        await asyncio.gather(talking, aborting, return_exceptions=True)
        if self._abort.is_set() and (stopped or not self.finished):
            self.giveUp(connected)
        connected.close()
        self.left = self.left or not (self.finished or self.aborted)

    def giveUp(self, connected: socket.socket) -> None:
        """
        Give the connection up, as planned.  A UNIX socket cannot be reset.
        """
        assert self.plan.abort is not None
        self.aborted = self.plan.abort.reset and connected.family != _UNIX
        self.left = not self.aborted
        if self.aborted:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connected.close()

    def _look(self) -> None:
        """
        Find out whether it is time to give up.
        """
        abort = self.plan.abort
        if abort is not None and abort.what != "time":
            count = self.sent if abort.what == "sent" else self.got
            if count >= abort.count:
                self._abort.set()

    def _take(self, data: bytes) -> None:
        """
        Octets have come.
        """
        if self.wrong is None and data != pattern(self.key ^ 1, self.got, len(data)):
            self.wrong = self.got
        self.got += len(data)
        self._look()

    async def _pause(self, longest: float) -> None:
        """
        Wait, now and then; and let others have their turn.
        """
        often = longest and self._chance.random() < 0.1
        await asyncio.sleep(longest * self._chance.random() if often else 0)

    async def _send(self, connected: socket.socket) -> None:
        """
        Send everything, and FIN.
        """
        plan = self.plan
        if plan.after:
            await self._ended.wait()
        while self.sent < plan.size:
            most = min(plan.piece, plan.size - self.sent)
            octets = pattern(self.key, self.sent, self._chance.randint(1, most))
            try:
                self.sent += connected.send(octets)
            except BlockingIOError:
                await _room(connected)
            except OSError:
                # The system tells of an error but once: reading finds the regular end now.
                self._reset = True
                return
            self._look()
            await self._pause(plan.pause)
            if self._abort.is_set():
                return
        self.finished = True
        with suppress(OSError):
            connected.shutdown(socket.SHUT_WR)

    async def _receive(self, connected: socket.socket) -> None:
        """
        Read up to the end.
        """
        plan = self.plan
        await asyncio.sleep(plan.stall)
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(connected, plan.read):
                self._take(data)
                await self._pause(plan.rest)
            self.heard = "reset" if self._reset else "end"
        except OSError:
            self.heard = "reset"
        self._ended.set()


async def _room(connected: socket.socket) -> None:
    """
    Wait until the system takes more.
    """
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_writer(connected, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_writer(connected)


@frozen
class _Way:
    """
    What has gone one way, from C{source} to C{sink}.

    @ivar resets: whether the sink could be told of a reset.
    """

    source: End
    sink: End
    resets: bool = field(default=True)

    def faults(self, regular: bool) -> list[str]:
        """
        Find what may not be.

        @param regular: neither end has given up, nor has the server been allowed to.
        """
        source, sink = self.source, self.sink
        found = []
        if sink.wrong is not None:
            found.append(f"wrong octets behind {sink.wrong}")
        if sink.got > source.sent:
            found.append(f"{sink.got} octets, of {source.sent} that were sent")
        if sink.heard == "end" and self.resets and not sink.left:
            if not (source.finished or source.left):
                found.append("an end that was not sent")
            elif sink.got < source.sent:
                found.append(f"the end after {sink.got} octets of {source.sent}")
        if sink.heard == "nothing" and not sink.gaveUp:
            found.append("no end")
        if regular and (sink.heard, sink.got) != ("end", source.sent):
            found.append(f"{sink.got} octets of {source.sent}, and then {sink.heard}")
        return [f"{source.name} to {sink.name}: {each}" for each in found]


def faults(client: End, target: End, *, resets: bool = True, limited: bool = False) -> list[str]:
    """
    Compare what the two ends of a session have sent, and what has come.

    Whoever hears the end has everything, and nobody hears it that was not sent: a reset is told as
    such.  If nobody gives up, everything arrives.

    @param resets: the client can be told of a reset, which it cannot be over a UNIX socket.

    @param limited: the server may have ended the session.
    """
    regular = not (client.gaveUp or target.gaveUp or limited)
    ways = _Way(client, target), _Way(target, client, resets or regular)
    return [fault for way in ways for fault in way.faults(regular)]

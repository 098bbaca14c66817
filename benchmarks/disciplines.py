"""
What is measured.

A discipline is a group of trials that belong together in a table.  A trial is one load on one
server, and gives a few figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from .load import Load, Outcome, Value
from .peers import PASSWORD, USER, Peer
from .servers import Server

GIB = float(1 << 30)


@frozen
class Figure:
    """
    One column of a table.

    @ivar key: its name among the values.

    @ivar title: what the column is called, unit included.

    @ivar digits: how many to print behind the point.

    @ivar more: whether more is better.
    """

    key: str
    title: str
    digits: int = 0
    more: bool = True


@frozen
class Trial:
    """
    One load on one server.

    @ivar name: unique in its discipline.

    @ivar measure: puts the load on a server, and tells what has come of it.

    @ivar figures: what is told of it.

    @ivar suits: whether a server can be asked for this.

    @ivar password: the server has to ask for user and password.

    @ivar seconds: how long it lasts.
    """

    name: str
    measure: Callable[[Server, Load, float], Outcome]
    figures: tuple[Figure, ...]
    suits: Callable[[Peer], bool] = field(default=lambda peer: True)
    password: bool = False


@frozen
class Discipline:
    """
    Trials that belong together.

    @ivar title: the heading of its table.

    @ivar text: what it is, for the table's readers.
    """

    name: str
    title: str
    text: str
    trials: tuple[Trial, ...]


@frozen
class Flow:
    """
    A load that runs for a while, and how much of the server's processor time it takes.

    @ivar counted: which of the load generator's values says how much was done in all.

    @ivar cost: what the time for each of those is called, and how many of them, for what time.

    @ivar rate: what the rate is called, and how many make one.
    """

    discipline: str
    counted: str
    cost: tuple[str, float]
    unit: float = 1.0
    options: Mapping[str, Value] = field(factory=dict)

    def __call__(self, server: Server, load: Load, seconds: float) -> Outcome:
        """
        Put the load on a server.

        @raise LoadError: the load generator does not do its work.
        """
        options: dict[str, Any] = {"seconds": seconds, **self.options}
        if server.peer.plain:
            options["plain"] = True
        if server.place.password:
            options |= {"user": USER, "password": PASSWORD}
        if options.pop("named", False):
            options["name"] = server.place.target.name
        before = server.cpuSeconds()
        outcome = load.run(self.discipline, server.address, server.place.target, **options)
        spent = server.cpuSeconds() - before
        values = dict(outcome.values)
        if "rate" in values:
            values["rate"] /= self.unit
        done = values.get(self.counted, 0)
        if done and server.pid is not None:
            name, scale = self.cost
            values[name] = spent / done * scale
        return Outcome(values, outcome.failures)


def _sessions(**options: Value) -> Flow:
    return Flow("sessions", "sessions", ("cost", 1e6), options=options)


def _bulk(**options: Value) -> Flow:
    return Flow("bulk", "octets", ("cost", GIB), unit=GIB, options=options)


def _datagrams(**options: Value) -> Flow:
    return Flow("datagrams", "datagrams", ("cost", 1e6), options=options)


_RATE = Figure("rate", "sessions/s")
_COST = Figure("cost", "CPU µs each", 1, more=False)

CONNECT = Discipline(
    "connect",
    "Sessions",
    "Connect, 64 octets there and back, close.",
    (
        Trial("64 at a time", _sessions(count=64), (_RATE, _COST)),
        Trial(
            "one at a time",
            _sessions(count=1),
            (Figure("p50", "median µs", more=False), Figure("p99", "99 % below µs", more=False)),
        ),
    ),
)

BULK = Discipline(
    "bulk",
    "Bulk data",
    "Streams in one direction, as much as goes.",
    tuple(
        Trial(
            f"{count} {'up' if up else 'down'}",
            _bulk(count=count, up=up),
            (Figure("rate", "GiB/s", 2), Figure("cost", "CPU s/GiB", 2, more=False)),
        )
        for up in (False, True)
        for count in (1, 32)
    ),
)

MESSAGES = Discipline(
    "messages",
    "Small messages",
    "64 connections, each with one message of 64 octets on its way there or back.",
    (
        Trial(
            "64 octets",
            Flow("exchanges", "exchanges", ("cost", 1e6), options={"count": 64}),
            (Figure("rate", "round trips/s"), Figure("cost", "CPU µs each", 1, more=False)),
        ),
    ),
)


def _relaysDatagrams(peer: Peer) -> bool:
    return peer.datagrams


def _datagramTrial(name: str, **options: Value) -> Trial:
    return Trial(
        name,
        _datagrams(**options),
        (
            Figure("rate", "there and back/s"),
            Figure("lost", "lost", more=False),
            Figure("cost", "CPU µs each", 1, more=False),
        ),
        suits=_relaysDatagrams,
    )


DATAGRAMS = Discipline(
    "datagrams",
    "Datagrams",
    "One association, 64 datagrams on their way there or back.  The last trial hands them to the "
    "kernel, and takes them, in large pieces (UDP_SEGMENT, UDP_GRO).",
    (
        _datagramTrial("64 octets", size=64),
        _datagramTrial("1200 octets", size=1200),
        _datagramTrial("1200 octets, in pieces", size=1200, segments=True),
    ),
)

DISCIPLINES = (CONNECT, BULK, MESSAGES, DATAGRAMS)

"""
What is done to a server, and what is read off it meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from attrs import evolve, field, frozen

from . import processes
from .load import Load, Outcome, Value
from .peers import PASSWORD, USER
from .servers import Server

GIB = float(1 << 30)

#: After how many seconds a server has closed what its clients have closed, or never will.
_SETTLED = 10.0


@frozen
class Settings:
    """
    How much is done.

    @ivar seconds: how long a load lasts.

    @ivar sessions: how many idle sessions there are, where there are many.

    @ivar watched: how many seconds a server is watched doing nothing.
    """

    seconds: float
    sessions: int
    watched: float = 1.0


class Measure(Protocol):
    """
    Puts a load on a server, and tells what has come of it.
    """

    def __call__(self, server: Server, load: Load, settings: Settings) -> Outcome:
        """
        Do it.

        @raise LoadError: the load generator does not do its work.
        """


@frozen
class Flow:
    """
    A load that runs for a while, and how much of the server's processor time it takes.

    @ivar discipline: of the load generator.

    @ivar counted: which of its values says how much was done in all.

    @ivar per: the server's processor time is told in such fractions of a second for each.

    @ivar unit: how many of what it counts are one.

    @ivar named: clients ask by name.

    @ivar crowded: there are many idle sessions beside.
    """

    discipline: str
    counted: str
    per: float = 1e6
    unit: float = 1.0
    named: bool = False
    crowded: bool = False
    options: Mapping[str, Value] = field(factory=dict)

    def __call__(self, server: Server, load: Load, settings: Settings) -> Outcome:
        """
        See L{Measure}.  The values are the load generator's, and C{done} (how many in all) and
        C{cost} (of each, to the server).
        """
        options = {"seconds": settings.seconds, **optionsFor(server), **self.options}
        if self.named:
            options["name"] = server.place.target.name
        if self.crowded:
            options["beside"] = settings.sessions
        before = server.cpuSeconds()
        outcome = load.run(self.discipline, server.address, server.place.target, **options)
        spent = server.cpuSeconds() - before
        values = dict(outcome.values)
        done = values.get(self.counted, 0) / self.unit
        if "rate" in values:
            values["rate"] /= self.unit
        if done:
            values["done"] = done
            if server.pid is not None:
                values["cost"] = spent / done * self.per
        return Outcome(values, outcome.failures)


@frozen
class Relative:
    """
    Two loads, one after the other: the values are the second one's, and C{share} (its rate in
    percent of the first one's).

    @ivar guarded: the second one goes to the server that asks for user and password.
    """

    plain: Measure
    other: Measure
    guarded: bool = False

    def __call__(self, server: Server, load: Load, settings: Settings) -> Outcome:
        """
        See L{Measure}.
        """
        first = self.plain(server, load, settings)
        second = server.guarded if self.guarded else server
        assert second is not None
        outcome = self.other(second, load, settings)
        values = dict(outcome.values)
        if first.values.get("rate") and "rate" in values:
            values["share"] = values["rate"] / first.values["rate"] * 100
        return Outcome(values, Counter(first.failures) + Counter(outcome.failures))


def _warmUp(server: Server, load: Load, settings: Settings) -> None:
    """
    Let a server have served a few sessions, as what it needs for the first ones is not what each
    needs, and let it have closed them.
    """
    options = {"seconds": min(0.2, settings.seconds), "count": 64, **optionsFor(server)}
    load.run("exchanges", server.address, server.place.target, **options)
    end = time.monotonic() + _SETTLED
    before = -1
    while (descriptors := server.descriptors()) != before and time.monotonic() < end:
        before = descriptors
        time.sleep(settings.watched / 2)


@frozen
class Hold:
    """
    Many sessions that do nothing: C{memory} (KiB) and C{descriptors} of the server for each.
    """

    def __call__(self, server: Server, load: Load, settings: Settings) -> Outcome:
        """
        See L{Measure}.
        """
        _warmUp(server, load, settings)
        memory, descriptors = server.memory(), server.descriptors()
        options = {"count": settings.sessions, **optionsFor(server)}
        with load.waiting("hold", server.address, server.place.target, **options) as running:
            memory, descriptors = server.memory() - memory, server.descriptors() - descriptors
            sessions = running.before.values["sessions"]
            outcome = running.goOn()
        failures = Counter(outcome.failures)
        values = {"sessions": sessions}
        if sessions:
            values |= {"memory": memory / sessions, "descriptors": descriptors / sessions}
        if outcome.values["alive"] < sessions and not failures:
            failures["sessions that did not go on"] = int(sessions - outcome.values["alive"])
        return Outcome(values, failures)


@frozen
class Stall:
    """
    Sessions whose clients do not read what the target sends: C{memory} of the server for each,
    C{kernel} (what all TCP sockets hold, those of the load generator included), and C{taken} (what
    the target could send), in KiB.
    """

    count: int = 32

    def __call__(self, server: Server, load: Load, settings: Settings) -> Outcome:
        """
        See L{Measure}.
        """
        _warmUp(server, load, settings)
        memory, kernel = server.memory(), processes.tcpMemory()
        options = {"count": self.count, **optionsFor(server)}
        with load.waiting("stall", server.address, server.place.target, **options) as running:
            memory, kernel = server.memory() - memory, processes.tcpMemory() - kernel
            before = running.before.values
            outcome = running.goOn()
        values = {}
        if sessions := before["sessions"]:
            values["kernel"] = kernel / sessions
            values["taken"] = before["octets"] / 1024 / sessions
            if server.pid is not None:
                values["memory"] = memory / sessions
        return Outcome(values, outcome.failures)


@frozen
class Fill:
    """
    More sessions than the server has descriptors for.  The values are those of the load generator
    (see C{generator/fill.c}), C{idle} (percent of a processor that the full server uses while
    nothing is asked of it), and C{passed}: 1 if there were sessions, nobody was dropped without
    an answer, all sessions went on, and afterwards there was room for as many again.
    """

    most: int = 1000

    def __call__(self, server: Server, load: Load, settings: Settings) -> Outcome:
        """
        See L{Measure}.
        """
        options = {"count": self.most, **optionsFor(server)}
        with load.waiting("fill", server.address, server.place.target, **options) as running:
            used = server.cpuSeconds()
            time.sleep(settings.watched)
            used = server.cpuSeconds() - used
            outcome = running.goOn()
        values = {**running.before.values, **outcome.values, "idle": used / settings.watched * 100}
        good = (
            values["served"] > 0
            and not values["dropped"]
            and values["kept"] == values["served"]
            and values["again"] >= values["served"]
        )
        return evolve(outcome, values={**values, "passed": float(good)})


def optionsFor(server: Server) -> dict[str, Value]:
    """
    What the load generator has to know of a server.
    """
    options: dict[str, Value] = {}
    if server.peer.plain:
        options["plain"] = True
    if server.place.password:
        options |= {"user": USER, "password": PASSWORD}
    return options

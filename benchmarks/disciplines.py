"""
What is measured.

A discipline is a group of trials that belong together.  A trial is one load on one server, and
gives a few figures.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from .load import Value
from .loads import GIB, Fill, Flow, Hold, Measure, Relative, Stall
from .peers import Direct, Peer


@frozen
class Figure:
    """
    One column of a table.

    @ivar key: its name among the values.

    @ivar title: what the column is called, unit included.

    @ivar digits: how many to print behind the point.

    @ivar compared: whether it is told relative to the first server, too.

    @ivar optional: the column is left out where nobody has such a value.

    @ivar truth: it is told as yes (not 0) or no.
    """

    key: str
    title: str
    digits: int = 0
    compared: bool = True
    optional: bool = False
    truth: bool = False

    def told(self, value: float) -> str:
        """
        A value in words.
        """
        value = round(value, self.digits) + 0.0  # so that nothing is less than nothing
        return ("yes" if value else "no") if self.truth else f"{value:,.{self.digits}f}"


def _everybody(peer: Peer) -> bool:
    return True


def _isWhole(peer: Peer) -> bool:
    return peer.whole


@frozen
class Trial:
    """
    One load on one server.

    @ivar name: unique in its discipline.

    @ivar figures: what is told of it.

    @ivar suits: whether a server can be asked for this.

    @ivar guarded: a second server, which asks for user and password, has to run beside the first.

    @ivar fresh: each time it needs a server that has just been started.

    @ivar once: it is done in one round only.

    @ivar descriptors: how many a server may open; by default as many as the system allows.
    """

    name: str
    measure: Measure
    figures: tuple[Figure, ...]
    suits: Callable[[Peer], bool] = _isWhole
    guarded: bool = False
    fresh: bool = False
    once: bool = False
    descriptors: int | None = None


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


def _isServer(peer: Peer) -> bool:
    return peer.whole and not isinstance(peer, Direct)


def _hasNames(peer: Peer) -> bool:
    return peer.whole and not peer.plain


def _hasPasswords(peer: Peer) -> bool:
    return peer.passwords


def _hasDatagrams(peer: Peer) -> bool:
    return peer.datagrams


def _flow(
    rate: str, each: str = "each", cost: str = "CPU µs each", digits: int = 0
) -> tuple[Figure, ...]:
    """
    The figures of a load that runs for a while.
    """
    return (
        Figure("rate", rate, digits),
        Figure("cost", cost, digits or 1),
        Figure("calls", f"system calls {each}", 0 if digits else 1, optional=True),
    )


_NUMBER = Flow("sessions", "sessions", options={"count": 64})
_NAME = Flow("sessions", "sessions", options={"count": 64}, named=True)
_MESSAGES = Flow("exchanges", "exchanges", options={"count": 64})
_CROWDED = Flow("exchanges", "exchanges", options={"count": 64}, crowded=True)


CONNECT = Discipline(
    "connect",
    "Sessions",
    "Connect, 64 octets there and back, close.",
    (
        Trial("64 at a time", _NUMBER, _flow("sessions/s"), suits=_everybody),
        Trial(
            "one at a time",
            Flow("sessions", "sessions", options={"count": 1}),
            (Figure("p50", "median µs"), Figure("p99", "99 % below µs")),
            suits=_everybody,
        ),
    ),
)


def _bulk(count: int, up: bool) -> Trial:
    options: dict[str, Value] = {"count": count, "up": up}
    return Trial(
        f"{count} {'up' if up else 'down'}",
        Flow("bulk", "octets", per=1, unit=GIB, options=options),
        _flow("GiB/s", "per GiB", "CPU s per GiB", 2),
    )


BULK = Discipline(
    "bulk",
    "Bulk data",
    "Streams in one direction, as fast as they go, over one connection and over 32.",
    (_bulk(1, False), _bulk(32, False), _bulk(1, True), _bulk(32, True)),
)

MESSAGES = Discipline(
    "messages",
    "Small messages",
    "64 connections, each with one message of 64 octets on its way there or back.",
    (Trial("64 octets", _MESSAGES, _flow("round trips/s")),),
)


def _datagrams(name: str, **options: Value) -> Trial:
    return Trial(
        name,
        Flow("datagrams", "datagrams", options=options),
        (*_flow("there and back/s"), Figure("lost", "lost", compared=False)),
        suits=_hasDatagrams,
    )


DATAGRAMS = Discipline(
    "datagrams",
    "Datagrams",
    "One association, 64 datagrams on their way there or back.  In the last trial the load "
    "generator hands them to the kernel, and takes them, in large pieces (``UDP_SEGMENT``, "
    "``UDP_GRO``).",
    (
        _datagrams("64 octets", size=64),
        _datagrams("1200 octets", size=1200),
        _datagrams("1200, in pieces", size=1200, segments=True),
    ),
)

_RATE_AND_COST = (Figure("rate", "sessions/s"), Figure("cost", "CPU µs each", 1))
_SHARE = Figure("share", "% of the rate without", compared=False)

WAYS = Discipline(
    "ways",
    "Names and passwords",
    "64 sessions at a time again, but by a name that is in the hosts file, and with user and "
    "password; each relative to sessions of the same server by number and without a password.",
    (
        Trial(
            "by name",
            Relative(_NUMBER, _NAME),
            (*_RATE_AND_COST, _SHARE),
            suits=_hasNames,
        ),
        Trial(
            "with password",
            Relative(_NUMBER, _NUMBER, guarded=True),
            (*_RATE_AND_COST, _SHARE),
            suits=_hasPasswords,
            guarded=True,
        ),
    ),
)

CROWD = Discipline(
    "crowd",
    "Beside idle sessions",
    "64 connections with small messages, with thousands of idle sessions beside them and without.",
    (
        Trial(
            "64 octets",
            Relative(_MESSAGES, _CROWDED),
            (
                Figure("rate", "round trips/s beside"),
                Figure("share", "% of those alone", compared=False),
                Figure("alive", "idle ones alive", compared=False),
            ),
            suits=_isServer,
        ),
    ),
)

MEMORY = Discipline(
    "memory",
    "Memory",
    "What a session costs that does nothing, and one of 32 whose client does not read what its "
    "target sends as fast as it goes.  The kernel's memory is that of all TCP sockets, those of "
    "the load generator included.",
    (
        Trial(
            "idle",
            Hold(),
            (
                Figure("memory", "KiB each", 1),
                Figure("descriptors", "descriptors each", 1, compared=False),
                Figure("sessions", "sessions", compared=False),
            ),
            suits=_isServer,
            fresh=True,
        ),
        Trial(
            "stalled",
            Stall(),
            (
                Figure("memory", "KiB each", compared=False),  # nothing, with some
                Figure("kernel", "KiB of the kernel each"),
                Figure("taken", "KiB taken each", compared=False),
            ),
            suits=_isServer,
            fresh=True,
        ),
    ),
)

FULL = Discipline(
    "full",
    "Out of descriptors",
    "Sessions until the server, each of whose processes may open 512 descriptors, serves no more; "
    "then 64 more, who should wait or be told (REP 01).  Meanwhile the others should go on, and a "
    "server that is asked nothing should use no processor.  When the first ones leave, those who "
    "wait should be served, and when all have left there should be room for as many again.",
    (
        Trial(
            "512 descriptors",
            Fill(),
            (
                Figure("passed", "passed", compared=False, truth=True),
                *(
                    Figure(key, title, compared=False)
                    for key, title in (
                        ("served", "sessions"),
                        ("refused", "refused"),
                        ("dropped", "dropped"),
                        ("waiting", "waiting"),
                        ("kept", "going on"),
                        ("idle", "% CPU while full"),
                        ("later", "served later"),
                        ("again", "again"),
                    )
                ),
            ),
            suits=_isServer,
            fresh=True,
            once=True,
            descriptors=512,
        ),
    ),
)

DISCIPLINES = (CONNECT, BULK, MESSAGES, DATAGRAMS, WAYS, CROWD, MEMORY, FULL)

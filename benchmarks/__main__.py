"""
The command line.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from . import isolation
from .disciplines import DISCIPLINES, Discipline
from .load import Load, LoadError, build
from .loads import Settings
from .peers import ABSENT, ROOT, Txsocks5, everyPeer
from .report import asRST, asText
from .results import Entrant, Results, Sample
from .rounds import Run, addressOf, nameOf


def parser() -> argparse.ArgumentParser:
    """
    What the command line can say.
    """
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure txsocks5 beside other SOCKS5 servers: in turn, in the same run, each "
        "on the same core.  Only ratios within one run mean anything.  [!] marks figures of trials "
        "in which something has failed, which is then told.",
    )
    add = made.add_argument
    names = ", ".join(discipline.name for discipline in DISCIPLINES)
    add("--only", metavar="NAMES", help=f"disciplines, with commas: {names}")
    add(
        "--servers",
        metavar="NAMES",
        help="servers, with commas; the first is what they compare with",
    )
    add("--rounds", type=int, default=5, help="how often each is measured [%(default)s]")
    add("--seconds", type=float, default=2.0, help="how long each time [%(default)s]")
    add(
        "--checkout",
        metavar="[NAME=]FOLDER",
        action="append",
        default=[],
        help="measure the txsocks5 of this checkout, too; can be repeated",
    )
    add(
        "--without-own",
        action="store_true",
        help="do not measure the checkout that this program is in",
    )
    add("--txsocks5-args", metavar="ARGS", default="", help="more options for twistd socks5")
    add(
        "--variant",
        metavar="NAME=ARGS",
        action="append",
        default=[],
        help="measure this checkout with these further options, too; can be repeated",
    )
    add("--sessions", type=int, default=9500, help="idle sessions, where many are [%(default)s]")
    add("--system-calls", action="store_true", help="count system calls, in one more round (perf)")
    add("--peers", type=Path, metavar="FOLDER", help="the environment with the servers from PyPI")
    add("--profile", type=Path, metavar="FOLDER", help="leave what cProfile sees of txsocks5 there")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--rst", type=Path, metavar="FILE", help="write the tables there, for the documentation")
    add("--read", type=Path, metavar="FILE", help="measure nothing, read what --json has written")
    add("--shared-network", action="store_true", help="do not use a network namespace")
    return made


def _chosen(names: str | None, known: Sequence[str]) -> list[str]:
    """
    The names that are chosen.

    @raise SystemExit: there is no such name.
    """
    chosen = list(known) if names is None else names.split(",")
    for name in chosen:
        if name not in known:
            raise SystemExit(f"there is no {name!r}; there are {', '.join(known)}")
    return chosen


def txsocks5s(options: argparse.Namespace) -> list[Txsocks5]:
    """
    The checkouts of txsocks5 to measure.
    """
    folders = [] if options.without_own else [("txsocks5", ROOT)]
    for given in options.checkout:
        name, equals, folder = given.rpartition("=")
        path = Path(folder).absolute()
        folders.append((name if equals else f"txsocks5@{path.name}", path))
    lines = [(name, path, "") for name, path in folders]
    for given in options.variant:
        name, equals, arguments = given.partition("=")
        if not equals:
            raise SystemExit(f"--variant {given}: it has to be NAME=ARGS")
        lines.append((name, ROOT, arguments))
    return [
        Txsocks5(
            name,
            "Python, Twisted",
            datagrams=True,
            passwords=True,
            checkout=path,
            arguments=shlex.split(f"{options.txsocks5_args} {arguments}"),
            profile=options.profile and options.profile.absolute(),
        )
        for name, path, arguments in lines
    ]


def circumstances(options: argparse.Namespace, problems: Sequence[str]) -> dict[str, str]:
    """
    When and where this is measured, and how.
    """
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    about = {
        "Date": date.today().isoformat(),
        "Machine": f"{len(os.sched_getaffinity(0))} x {model}, Linux {platform.release()}",
        "Load before": f"{os.getloadavg()[0]:.2f}",
        "Method": f"medians of {options.rounds} interleaved rounds of {options.seconds:g} s",
        "Network": "a namespace of its own, cubic" if not problems else control,
    }
    if problems:
        about["Could not be done"] = "; ".join(problems)
    if options.profile:
        about["Profiled"] = "txsocks5 was slowed down by a profiler: its figures mean nothing"
    return about


def coresOf(available: set[int]) -> tuple[frozenset[int], frozenset[int]]:
    """
    The core of the servers, and those of the load generator.
    """
    server = max(available)
    return frozenset({server}), frozenset(available - {server} or {server})


def measure(
    options: argparse.Namespace, disciplines: Sequence[Discipline], folder: Path
) -> Results:
    """
    Do it all.  An interruption ends it early, and what has been measured until then is told.

    @param folder: for files that are needed as long as this runs.
    """
    python = (options.peers or ROOT / ".venv-peers").absolute() / "bin" / "python"
    byName = {peer.name: peer for peer in [*txsocks5s(options), *everyPeer(python)]}
    chosen = [byName[name] for name in _chosen(options.servers, list(byName))]
    hosts = "".join(f"{addressOf(i)} {nameOf(i)}\n" for i in range(len(chosen)))
    about = circumstances(options, isolation.prepare(hosts, folder))
    reasons = {peer.name: peer.missing() for peer in chosen}
    entrants = [
        Entrant(peer.name, peer.kind, "" if reason else peer.version(), reason or "")
        for peer in chosen
        for reason in [reasons[peer.name]]
    ]
    if options.servers is None:
        entrants += [Entrant(name, "", "", reason) for name, reason in ABSENT.items()]
    present = [peer for peer in chosen if not reasons[peer.name]]
    servers, generator = coresOf(os.sched_getaffinity(0))
    run = Run(
        load=Load(build(ROOT / "build" / "benchmarks"), generator),
        folder=folder,
        cores=servers,
        rounds=options.rounds,
        settings=Settings(options.seconds, options.sessions),
        tell=lambda line: print(line, file=sys.stderr, flush=True),
        counting=options.system_calls,
    )
    samples: list[Sample] = []
    try:
        for discipline in disciplines:
            samples.extend(run.discipline(discipline, present))
    except KeyboardInterrupt:
        about["Interrupted"] = "not everything was measured"
    return Results(about, tuple(entrants), tuple(samples))


def main(arguments: Sequence[str]) -> int:
    """
    Run the program.
    """
    options = parser().parse_args(arguments)
    names = _chosen(options.only, [discipline.name for discipline in DISCIPLINES])
    disciplines = [discipline for discipline in DISCIPLINES if discipline.name in names]
    if options.read is not None:
        results = Results.load(options.read.read_text())
    else:
        if not options.shared_network:
            isolation.enter(arguments)
        if options.profile:
            options.profile.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix="txsocks5-benchmark-") as folder:
                results = measure(options, disciplines, Path(folder))
        except LoadError as error:
            print(error, file=sys.stderr)
            return 1
    if options.json is not None:
        options.json.write_text(results.dump())
    if options.rst is not None:
        options.rst.write_text(asRST(results, disciplines))
    print(asText(results, disciplines), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

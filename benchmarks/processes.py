"""
What processes use, as Linux tells it in C{/proc}.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

#: The seconds that processor time is counted in.
TICK = 1 / os.sysconf("SC_CLK_TCK")


@frozen
class Status:
    """
    One process.

    @ivar parent: the process that it is a child of.

    @ivar session: the session that it belongs to.

    @ivar ended: nobody has asked yet how it has ended.

    @ivar cpu: seconds of processor time, with all threads, those that have ended included, and with
        the children that have ended.
    """

    pid: int
    parent: int
    session: int
    ended: bool
    cpu: float


def parseStatus(text: str) -> Status:
    """
    Read C{/proc/PID/stat}.
    """
    # The name stands in parentheses and can hold anything.
    pid = text.partition(" ")[0]
    fields = text.rpartition(")")[2].split()
    return Status(
        pid=int(pid),
        parent=int(fields[1]),
        session=int(fields[3]),
        ended=fields[0] in "ZX",
        cpu=sum(map(int, fields[11:15])) * TICK,
    )


def everyProcess() -> Iterator[Status]:
    """
    All processes that can be seen, and have not ended.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = parseStatus((entry / "stat").read_text(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if not status.ended:
                yield status


def family(pid: int) -> list[Status]:
    """
    A process, its descendants, and whatever else is in the session that it leads.
    """
    processes = list(everyProcess())
    members = {process.pid for process in processes if pid in (process.pid, process.session)}
    grown = True
    while grown:
        found = {process.pid for process in processes if process.parent in members}
        grown = not found <= members
        members |= found
    return [process for process in processes if process.pid in members]


def cpuSeconds(pid: int) -> float:
    """
    Processor time of a process and its family.
    """
    return sum(process.cpu for process in family(pid))


def memory(pid: int) -> float:
    """
    KiB of a process and its family, where each page that several share is divided among them (PSS).
    """
    total = 0
    for process in family(pid):
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += int(text.partition("\nPss:")[2].split()[0])
    return total


def descriptors(pid: int) -> int:
    """
    Open descriptors of a process and its family.
    """
    total = 0
    for process in family(pid):
        try:
            total += len(os.listdir(f"/proc/{process.pid}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def tcpMemory() -> float:
    """
    KiB that all TCP sockets of this network namespace's kernel hold.
    """
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            pages = int(words[words.index("mem") + 1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 1024
    raise ValueError("/proc/net/sockstat says nothing of TCP")


#: Seconds in which perf is ready, and in which it tells what it has counted.
_PERF_STARTS, _PERF_TELLS = 0.5, 30.0


@contextmanager
def systemCalls(pid: int) -> Iterator[Callable[[], float | None]]:
    """
    Count the system calls of a process and its family while the block runs.

    @return: what gives their number afterwards, or L{None} if C{perf} cannot count here.
    """
    told: list[float] = []
    program = shutil.which("perf")
    if program is None:
        yield lambda: None
        return
    members = ",".join(str(process.pid) for process in family(pid))
    perf = subprocess.Popen(
        [program, "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", members],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        time.sleep(_PERF_STARTS)
        yield lambda: told[0] if told else None
        perf.send_signal(signal.SIGINT)
        _, output = perf.communicate(timeout=_PERF_TELLS)
        told += [float(n) for line in output.splitlines() if (n := line.split(",")[0]).isdigit()]
    except subprocess.TimeoutExpired:
        pass
    finally:
        perf.kill()
        perf.wait()
        if perf.stderr is not None:
            perf.stderr.close()

"""
Many sessions that begin, talk, stall and end at random, with every octet compared: does the server
lose anything, and is anything left of them?

Run it with an environment in which txsocks5 is installed::

    python -m benchmarks.chaos [--sessions 10000] [--parallel 100] [--seed 1] [--copying]
        [--reactor asyncio] [--files 4096] [--quick]

The clients come by TCP, by a UNIX socket and behind a PROXY header.  There are CONNECT and BIND
whose ends send up to 4 MiB in pieces, pause, finish in any order, close, and reset at any moment,
that of the handshake included; targets that refuse, and that close at once; clients that say half
of a request, or nonsense; and associations.  Of the two ends of a session each must hear what
L{benchmarks.ends.faults} says.

Printed are the sessions where one did not, and what is left when all have ended: descriptors, and
objects of txsocks5, which are counted without the help of the garbage collector.  The exit status
is 1 if there is anything.  The server keeps a few pipes for up to twenty seconds, which C{--quick}
does not wait for.

With C{--copying} nothing is left to the kernel, as where somebody looks on.  A smaller number of
C{--files}, 150 say, lets the server run out of file descriptors now and then; then sessions may be
refused, but nothing else.

Linux only: descriptors are read from C{/proc}.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .clients import Clients

__all__ = ["Server", "main"]

_MAX_PIPES = 32
"""
Descriptors of the pipes that the server keeps for a while, though nobody uses them.
"""

_PATIENCE = 40
"""
Seconds after the last session in which everything has to be gone.
"""

_WARM = 100
"""
Sessions before the first look at the server: some things are made when they are first needed.
"""

_CONFIGURATION = """
listen = ["tcp:0:interface=127.0.0.1", "haproxy:tcp:0:interface=127.0.0.1", "unix:{unix}"]
[timeouts]
handshake = 3
connect = 3
bind = 3
"""


class Server:
    """
    The server under test, in its own process.

    @ivar log: the file that it writes its log to.
    """

    def __init__(self, files: int, *, copying: bool, reactor: str) -> None:
        """
        @param files: how many file descriptors it may have.

        @param copying: it is to copy what it relays.

        @param reactor: the short name of its reactor; empty for the default.
        """
        self._files = files
        self._copying = copying
        self._reactor = reactor
        self._folder = Path(tempfile.mkdtemp(prefix="txsocks5-chaos-"))
        self._census = self._folder / "census"
        self.log = self._folder / "log"
        self.unix = str(self._folder / "socket")

    async def start(self) -> None:
        """
        Start it, on ports of the system's choice.
        """
        configuration = self._folder / "socks.toml"
        configuration.write_text(_CONFIGURATION.format(unix=self.unix))
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.census", str(self._census)),
                *(("--copying",) if self._copying else ()),
                *((f"--reactor={self._reactor}",) if self._reactor else ()),
                *("-n", "--pidfile=", "socks5", "--access-log=", "-c", str(configuration)),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
                preexec_fn=lambda: resource.setrlimit(
                    resource.RLIMIT_NOFILE, (self._files, self._files)
                ),
            )
        while True:
            text = self.log.read_text()
            found = re.findall(r"listening on 127\.0\.0\.1:(\d+)", text)
            if len(found) == 2 and self.unix in text:
                self.tcp, self.haproxy = map(int, found)
                return
            if self.process.returncode is not None:
                raise SystemExit(f"the server did not start:\n{text}")
            await asyncio.sleep(0.05)

    def descriptors(self) -> Counter[str]:
        """
        Count the open descriptors by their kinds.
        """
        kinds: Counter[str] = Counter()
        folder = f"/proc/{self.process.pid}/fd"
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                kinds[os.readlink(f"{folder}/{name}").partition(":")[0]] += 1
        return kinds

    async def objects(self) -> Counter[str]:
        """
        Count the objects of txsocks5 that sessions are made of, by their classes.
        """
        self._census.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        while not self._census.exists():
            await asyncio.sleep(0.05)
        return Counter(json.loads(self._census.read_text()))

    async def stop(self) -> None:
        """
        Stop it.
        """
        self.process.terminate()
        await self.process.wait()


def _more(before: Counter[str], after: Counter[str], ignored: Sequence[str] = ()) -> dict[str, int]:
    """
    What there is more of.
    """
    return {name: count for name, count in (after - before).items() if name not in ignored}


async def _left(
    server: Server, descriptors: Counter[str], objects: Counter[str], pipes: int
) -> dict[str, int]:
    """
    Wait until everything is gone that sessions have.

    @param descriptors: those before, and likewise C{objects}.

    @param pipes: how many descriptors of pipes may be left.

    @return: what is not.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        left = _more(descriptors + Counter(pipe=pipes), server.descriptors())
        # Of one address or another it knows for a while that it has failed.
        kept = ("txsocks5.pipes.Pipe", "txsocks5.throttle._Source")
        left |= _more(objects, await server.objects(), kept)
        if not left or time.monotonic() > end:
            return left
        await asyncio.sleep(0.5)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.
    """
    parser = argparse.ArgumentParser(description="Random sessions, and what is lost and left.")
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--parallel", type=int, default=100, help="how many at a time")
    parser.add_argument("--seed", type=int, default=1, help="the same for the same sessions")
    parser.add_argument("--copying", action="store_true", help="leave nothing to the kernel")
    parser.add_argument("--reactor", default="", help="of the server: poll, select, asyncio")
    parser.add_argument("--files", type=int, default=4096, help="descriptors of the server")
    parser.add_argument("--quick", action="store_true", help="do not wait for pipes to be closed")
    return parser.parse_args(arguments)


async def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run it.

    @return: the exit status.
    """
    options = _options(arguments)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    server = Server(options.files, copying=options.copying, reactor=options.reactor)
    await server.start()
    try:
        descriptors = server.descriptors()
        enough = 20 * options.parallel
        clients = Clients(server, options.seed, limited=options.files < enough)
        async with clients:
            await clients.serve(min(_WARM, options.sessions), options.parallel)
            await asyncio.sleep(1)
            objects = await server.objects()
            began = time.monotonic()
            await clients.serve(options.sessions, options.parallel)
            took = time.monotonic() - began
        print(f"{options.sessions} sessions in {took:.0f} s, {clients.octets >> 20} MiB")
        print(", ".join(f"{name} {count}" for name, count in sorted(clients.kinds.items())))
        left = await _left(server, descriptors, objects, _MAX_PIPES if options.quick else 0)
        unforeseen = server.log.read_text(errors="replace").count("Traceback")
    finally:
        await server.stop()
    for fault in clients.faults:
        print(fault)
    print(f"wrong: {len(clients.faults)}, left: {left or 'nothing'}, errors logged: {unforeseen}")
    return 1 if clients.faults or left or unforeseen else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

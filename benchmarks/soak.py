"""
Many sessions at once, beside many clients that say nothing, through one server process.

Run it with an environment in which txsocks5 is installed::

    python benchmarks/soak.py [--sessions 2000] [--silent 5000] [--rounds 2]

Each round opens the silent connections and the sessions, lets every session send data that only
it has and checks the echo, half-close included, and then waits until the server has dropped the
silent ones, which it does after its 30 seconds.  Printed are what was lost, the server's resident
memory and its descriptors.  The exit status is 1 if anything was lost or left.

The connections come from many addresses of 127.0.0.0/8, for one address may not have more than 64
that have not made a request yet.

Linux only: memory and descriptors are read from C{/proc}.  Needs about four descriptors for each
session and two for each silent connection; see C{ulimit -n}.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import resource
import subprocess
import sys
import sysconfig
import time
from pathlib import Path


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """
    The target.
    """
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Server:
    """
    The server under test, in its own process.
    """

    async def start(self) -> None:
        """
        Start it, on a port of the system's choice.
        """
        self.process = await asyncio.create_subprocess_exec(
            str(Path(sysconfig.get_path("scripts")) / "twistd"),
            *("-n", "--pidfile=", "socks5", "--listen", "tcp:0:interface=127.0.0.1"),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert self.process.stdout is not None
        self.log = self.process.stdout
        while line := await self.log.readline():
            if found := re.search(rb"listening on 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                self.reading = asyncio.create_task(self._discard())
                return
        raise SystemExit("the server did not start")

    async def _discard(self) -> None:
        while await self.log.read(1 << 20):
            pass

    def memory(self) -> int:
        """
        Resident memory in KiB.
        """
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def descriptors(self) -> int:
        """
        Open descriptors.
        """
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def say(self, what: str) -> None:
        """
        Print how the server is.
        """
        print(f"{what:45} {self.memory():8} KiB {self.descriptors():6} descriptors", flush=True)


def source(number: int) -> tuple[str, int]:
    """
    Where a connection comes from.

    @param number: tells the connections apart.
    """
    address = number // 32 + 1
    return f"127.1.{address // 250}.{address % 250 + 1}", 0


async def silent(port: int, number: int) -> float:
    """
    Connect and say nothing.

    @return: after how many seconds the server ended that.
    """
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source(number))
    if await reader.read(1):
        raise RuntimeError("the server spoke first")
    writer.close()
    return time.monotonic() - began


async def session(port: int, target: int, number: int, gate: asyncio.Barrier) -> None:
    """
    One session: connect, wait for all the others, send, check the echo.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source(number))
    try:
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        writer.write(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
        assert (await reader.readexactly(10))[1] == 0
    finally:
        await gate.wait()
    data = os.urandom(20_000 + number)
    writer.write(data)
    writer.write_eof()
    assert await reader.read(-1) == data
    writer.close()


async def soak(server: Server, sessions: int, quiet: int) -> int:
    """
    One round.

    @return: how many connections were not served as they should be.
    """
    target = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    port = target.sockets[0].getsockname()[1]
    waiting = []
    for count in range(quiet):
        waiting.append(asyncio.create_task(silent(server.port, count)))
        if count % 500 == 499:
            # The system forgets connections that its queue has no room for, and tells nobody.
            await asyncio.sleep(0.1)
    gate = asyncio.Barrier(sessions + 1)
    running = [asyncio.create_task(session(server.port, port, n, gate)) for n in range(sessions)]
    await gate.wait()
    server.say(f"{sessions} sessions, {quiet} silent connections")
    results = await asyncio.gather(*running, return_exceptions=True)
    lost = [result for result in results if isinstance(result, BaseException)]
    print(f"sessions lost: {len(lost)} {lost[:3] or ''}")
    await asyncio.wait(waiting, timeout=60) if waiting else None
    for task in waiting:
        task.cancel()
    dropped = await asyncio.gather(*waiting, return_exceptions=True)
    times = [result for result in dropped if isinstance(result, float)]
    if times:
        span = f"{min(times):.1f} to {max(times):.1f} s"
        print(f"silent connections dropped: {len(times)}, after {span}")
    target.close()
    return len(lost) + quiet - len(times)


async def main() -> int:
    """
    Read the command line, and do the rounds.
    """
    parser = argparse.ArgumentParser(description="Many sessions at once.")
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--silent", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    server = Server()
    await server.start()
    try:
        await asyncio.sleep(1)  # it listens before it has all of its own descriptors
        before = server.descriptors()
        server.say("before")
        wrong = 0
        for _ in range(options.rounds):
            wrong += await soak(server, options.sessions, options.silent)
            await asyncio.sleep(5)  # what the server closes last takes its 3 seconds
            server.say("after")
        wrong += server.descriptors() - before
    finally:
        server.process.terminate()
        await server.process.wait()
    print(f"lost or left: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

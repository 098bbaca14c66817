"""
What protection by GSSAPI leaves of the throughput: sealed streams through one server process,
beside what the GSSAPI library reaches on the same data when it does nothing else.

Run it in the folder of a checkout, with an environment in which txsocks5 is installed with what its
tests need::

    python -m benchmarks.sealed [--rounds 7] [--mebibytes 128]

The server and the bare library run on one core, the client and its target on the others.  The
client has wrapped everything before it begins to send, and unwraps when everything is there, so
that only the server works while the clock runs: it unwraps what is sent, and wraps what is fetched.
One of the library's calls takes as many octets as a message of the server has.

Each round measures everything once, in turn.  Printed are the medians of the rounds, and of the
ratios within each round: of throughput, and of processor time, which says the same on a machine
that has nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from attrs import frozen
from gssapi import raw

from tests.kerberos import realm
from txsocks5.encapsulation import Encapsulation, openLevel, sealLevel
from txsocks5.wire import (
    Address,
    Command,
    Frame,
    FrameType,
    ProtectionLevel,
    Reply,
    Request,
    parseHost,
)

from .processes import TICK, cpuSeconds

_CHECKOUT = Path(__file__).resolve().parent.parent

_MESSAGE = 16 * 1024

_MIB = 1 << 20

_FLAGS = [raw.RequirementFlag.mutual_authentication, raw.RequirementFlag.replay_detection]


def target(listening: socket.socket, cores: set[int]) -> None:
    """
    The other side of the server: sends as much as it is told to, or says when it has so much.
    """
    os.sched_setaffinity(0, cores)
    piece = bytes(range(256)) * 256
    hole = bytearray(len(piece))
    while True:
        connection, _ = listening.accept()
        with connection:
            fetched, size = connection.recv(1), int.from_bytes(connection.recv(8), "big")
            if fetched == b"F":
                for start in range(0, size, len(piece)):
                    connection.sendall(piece[: size - start])
            else:
                while size > 0 and (got := connection.recv_into(hole)):
                    size -= got
                connection.sendall(b"!")


def contexts() -> tuple[raw.SecurityContext, raw.SecurityContext]:
    """
    Both sides of a context.
    """
    name = raw.import_name(b"socks@localhost", raw.NameType.hostbased_service)
    begun = raw.init_sec_context(name, flags=_FLAGS)
    accepted = raw.accept_sec_context(begun.token)
    raw.init_sec_context(name, context=begun.context, flags=_FLAGS, input_token=accepted.token)
    return begun.context, accepted.context


@frozen
class Took:
    """
    What something took.

    @ivar wall: seconds.

    @ivar cpu: seconds of processor time of whoever did it.
    """

    wall: float
    cpu: float


@contextmanager
def measuring(cpu: Callable[[], float]) -> Iterator[Callable[[], Took]]:
    """
    Let the clocks run.

    @param cpu: tells the processor time.

    @return: tells what has passed since.
    """
    began, used = time.perf_counter(), cpu()
    yield lambda: Took(time.perf_counter() - began, cpu() - used)


def bare(data: bytes, level: ProtectionLevel) -> tuple[Took, Took]:
    """
    Let the library wrap and unwrap, and nothing else.

    @return: what each took.
    """
    near, _ = contexts()
    sealed = level is ProtectionLevel.CONFIDENTIALITY
    pieces = [data[start : start + _MESSAGE] for start in range(0, len(data), _MESSAGE)]
    with measuring(time.process_time) as passed:
        for piece in pieces:
            # Keeping them all would take fresh memory for each.
            raw.wrap(near, piece, sealed)
        wrapping = passed()
    near, far = contexts()
    tokens = [raw.wrap(near, piece, sealed).message for piece in pieces]
    with measuring(time.process_time) as passed:
        for token in tokens:
            raw.unwrap(far, token)
        return wrapping, passed()


class Client:
    """
    One connection to the server.
    """

    def __init__(self, port: int, level: ProtectionLevel) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"\x05\x01\x01")
        assert self._read(2) == b"\x05\x01"
        name = raw.import_name(b"socks@localhost", raw.NameType.hostbased_service)
        begun = raw.init_sec_context(name, flags=_FLAGS)
        token = self._exchange(FrameType.AUTHENTICATION, begun.token)
        raw.init_sec_context(name, context=begun.context, flags=_FLAGS, input_token=token)
        token = self._exchange(FrameType.PROTECTION_LEVEL, sealLevel(begun.context, level))
        assert openLevel(begun.context, token) is level
        self.protection = Encapsulation(begun.context, level)

    def _read(self, size: int) -> bytes:
        """
        Wait for so many octets.
        """
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the server has ended the connection"
            data += more
        return data

    def _exchange(self, kind: FrameType, token: bytes) -> bytes:
        """
        Send a token, and wait for the answer.
        """
        self.socket.sendall(Frame(kind, token).octets())
        header = self._read(4)
        return self._read(int.from_bytes(header[2:], "big"))

    def connect(self, port: int) -> None:
        """
        Ask for the target.
        """
        request = Request(Command.CONNECT, Address(parseHost(b"127.0.0.1"), port))
        self.socket.sendall(self.protection.wrap(request.octets()))
        reply = b""
        while (found := Reply.read(reply)) is None:
            reply += self.protection.unwrap(self.socket.recv(65536))
        assert found[0].code == 0, found


def sent(client: Client, data: bytes, cpu: Callable[[], float]) -> Took:
    """
    Send, until the target says that it has all.

    @param cpu: tells the processor time of the server.

    @return: what that took.
    """
    client.socket.sendall(client.protection.wrap(b"S" + len(data).to_bytes(8, "big")))
    frames = client.protection.wrap(data)
    with measuring(cpu) as passed:
        client.socket.sendall(frames)
        answer = client.socket.recv(65536)
        took = passed()
    assert client.protection.unwrap(answer) == b"!"
    return took


def fetched(client: Client, data: bytes, cpu: Callable[[], float]) -> Took:
    """
    Fetch, until the target has ended.

    @param cpu: tells the processor time of the server.

    @return: what that took.
    """
    order = client.protection.wrap(b"F" + len(data).to_bytes(8, "big"))
    received = []
    with measuring(cpu) as passed:
        client.socket.sendall(order)
        while more := client.socket.recv(1 << 18):
            received.append(more)
        took = passed()
    assert sum(len(client.protection.unwrap(each)) for each in received) == len(data)
    return took


@contextmanager
def server(cores: set[int]) -> Iterator[tuple[int, Callable[[], float]]]:
    """
    Have C{twistd socks5 --gssapi} run.

    @return: its port, and what tells its processor time.
    """
    twistd = str(Path(sysconfig.get_path("scripts")) / "twistd")
    options = ("-n", "--pidfile=", "socks5", "--gssapi", "--listen", "tcp:0:interface=127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, twistd, *options],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(rb"listening on 127\.0\.0\.1:(\d+)", line):
                yield int(found[1]), lambda: cpuSeconds(process.pid)
                return
        raise SystemExit("the server did not start")
    finally:
        process.terminate()
        process.communicate()


class Bench:
    """
    What is measured, and where.

    @ivar data: what is sent each time.

    @ivar port: the server's.

    @ivar cpu: tells the processor time of the server.

    @ivar destination: the target's port.
    """

    def __init__(self, data: bytes, port: int, cpu: Callable[[], float], destination: int) -> None:
        self.data = data
        self._port = port
        self._cpu = cpu
        self._destination = destination

    def through(
        self, work: Callable[[Client, bytes, Callable[[], float]], Took], level: ProtectionLevel
    ) -> Took:
        """
        Measure the server.
        """
        client = Client(self._port, level)
        with client.socket:
            client.connect(self._destination)
            return work(client, self.data, self._cpu)

    def round(self, cores: set[int], ours: set[int]) -> Iterator[tuple[str, Took, Took]]:
        """
        Measure everything once.

        @param cores: those of the server, which the bare library has in its turn.

        @param ours: those of this process.

        @return: for each measurement its name, and what the server took, and the bare library.
        """
        for level in (ProtectionLevel.INTEGRITY, ProtectionLevel.CONFIDENTIALITY):
            name = level.name.lower()
            os.sched_setaffinity(0, cores)
            wrapping, unwrapping = bare(self.data, level)
            os.sched_setaffinity(0, ours)
            yield f"{name}, sent", self.through(sent, level), unwrapping
            yield f"{name}, fetched", self.through(fetched, level), wrapping


def line(name: str, pairs: Sequence[tuple[Took, Took]], mebibytes: int) -> str:
    """
    Sum up one measurement.
    """
    through = mebibytes / median(took.wall for took, _ in pairs)
    alone = mebibytes / median(alone.wall for _, alone in pairs)
    ratio = median(alone.wall / took.wall for took, alone in pairs)
    # The system counts in ticks, of which short work may take none.
    cpu = median(alone.cpu / max(took.cpu, TICK) for took, alone in pairs)
    return f"{name:26}{through:8.0f}{alone:8.0f}{ratio:8.2f}{cpu:8.2f}"


def main() -> None:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sealed",
        description="Measure sealed streams through the server beside the bare GSSAPI library.",
    )
    parser.add_argument("--rounds", type=int, default=7, help="[%(default)s]")
    parser.add_argument(
        "--mebibytes", type=int, default=128, help="how much to send each time [%(default)s]"
    )
    options = parser.parse_args()
    available = os.sched_getaffinity(0)
    cores = {max(available)}
    ours = available - cores or cores
    os.environ.update(realm().variables)
    data = os.urandom(_MIB) * options.mebibytes
    listening = socket.create_server(("127.0.0.1", 0))
    child = get_context("fork").Process(target=target, args=(listening, ours), daemon=True)
    child.start()
    measured: dict[str, list[tuple[Took, Took]]] = {}
    with server(cores) as (port, cpu):
        bench = Bench(data, port, cpu, listening.getsockname()[1])
        for _ in range(options.rounds):
            for name, took, alone in bench.round(cores, ours):
                measured.setdefault(name, []).append((took, alone))
    child.terminate()
    print(f"{'':26}{'MiB/s':>8}{'alone':>8}{'ratio':>8}{'cpu':>8}")
    for name, pairs in measured.items():
        print(line(name, pairs, options.mebibytes))


if __name__ == "__main__":
    main()

"""
A server of several processes, and clients of it that wait for their answers.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import txsocks5

CHECKOUT = Path(txsocks5.__file__).parent.parent
PATIENCE = 30.0
_TWISTD = "from twisted.scripts.twistd import run; run()"
_BY_SYSTEMD = (
    "import os; os.dup2({}, 3); "
    "os.environ |= {{'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', "
    "'LISTEN_FDNAMES': 'socks'}}; " + _TWISTD
)
GREETING = b"\x05\x01\x00"


class WorkersServer:
    """
    C{twistd socks5} in processes of its own.

    @ivar path: its configuration file.
    """

    def __init__(
        self, folder: Path, configuration: str, inherited: socket.socket | None = None
    ) -> None:
        """
        @param folder: an empty one, for its files.

        @param inherited: what it gets as from systemd.
        """
        folder = folder.resolve()
        descriptor = -1 if inherited is None else inherited.fileno()
        program = _TWISTD if inherited is None else _BY_SYSTEMD.format(descriptor)
        self.path = folder / "socks5.toml"
        self.path.write_text(configuration)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "-n", "--pidfile=", "socks5", "-c", str(self.path)],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=() if inherited is None else (descriptor,),
            )

    def text(self) -> str:
        """
        What is in the log.
        """
        return self._log.read_text()

    def waitFor(self, pattern: str, count: int = 1) -> list[str]:
        """
        Wait until something is in the log so many times.
        """
        self.until(lambda: len(re.findall(pattern, self.text())) >= count, pattern)
        return re.findall(pattern, self.text())

    def until(self, isTrue: Callable[[], object], what: str) -> None:
        """
        Wait until something is true.
        """
        end = time.monotonic() + PATIENCE
        while not isTrue():
            if time.monotonic() > end:
                raise AssertionError(f"not within {PATIENCE} s: {what}\n{self.text()}")
            select.select([], [], [], 0.02)

    def workers(self) -> dict[int, int]:
        """
        The processes of the workers that were ever started, by their numbers.
        """
        found = re.findall(r"worker (\d+) started, process (\d+)", self.text())
        return {int(number): int(pid) for number, pid in found}

    def serving(self, count: int) -> list[int]:
        """
        Wait until so many workers listen.

        @return: the ports, one for each endpoint of the first worker.
        """
        self.until(
            lambda: len(set(re.findall(r"worker (\d+): SOCKS5 listening", self.text()))) >= count,
            f"{count} workers",
        )
        first = re.findall(r"worker 1: SOCKS5 listening on 127.0.0.1:(\d+)", self.text())
        return [int(port) for port in first]

    def tell(self, number: int) -> None:
        """
        Send a signal to the supervisor.
        """
        self.process.send_signal(number)

    def end(self) -> None:
        """
        Leave nothing behind.
        """
        self.process.kill()
        self.process.wait(PATIENCE)
        for pid in self.workers().values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def isAlive(pid: int) -> bool:
    """
    Whether a process runs.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def read(connection: socket.socket, length: int) -> bytes:
    """
    Read so many octets, or less if there is an end before.
    """
    data = b""
    while len(data) < length:
        try:
            more = connection.recv(length - len(data))
        except ConnectionResetError:
            break
        if not more:
            break
        data += more
    return data


def asked(port: int, command: int, target: tuple[str, int]) -> tuple[socket.socket, bytes]:
    """
    Make a request.

    @return: the connection, and the reply.
    """
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall(GREETING)
    if read(connection, 2) != b"\x05\x00":
        return connection, b""
    return connection, request(connection, command, target)


def login(port: int, user: str, password: str) -> tuple[socket.socket, bool]:
    """
    Say who one is.

    @return: the connection, and whether that is believed.
    """
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall(b"\x05\x01\x02")
    fields = [bytes([len(text)]) + text.encode() for text in (user, password)]
    read(connection, 2)
    connection.sendall(b"\x01" + b"".join(fields))
    return connection, read(connection, 2) == b"\x01\x00"


def request(connection: socket.socket, command: int, target: tuple[str, int]) -> bytes:
    """
    Make a request, once it is known who one is.

    @return: the reply.
    """
    where = socket.inet_aton(target[0]) + target[1].to_bytes(2, "big")
    connection.sendall(bytes((5, command, 0, 1)) + where)
    return read(connection, 10)


def address(reply: bytes) -> tuple[str, int]:
    """
    BND.ADDR and BND.PORT of a reply.
    """
    return socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:10], "big")

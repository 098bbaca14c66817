"""
Several processes that serve the same clients, as an operator has them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from .certificates import writeCertificate
from .workers import (
    GREETING,
    PATIENCE,
    WorkersServer,
    address,
    asked,
    isAlive,
    login,
    read,
    request,
)

CONNECT, BIND, ASSOCIATE = 1, 2, 3


class WorkersTests(SynchronousTestCase):
    """
    Real processes and real sockets.
    """

    def setUp(self) -> None:
        """
        Have a place to connect to.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        self.echo = listening.getsockname()
        thread = threading.Thread(target=self._echo, args=(listening,), daemon=True)
        thread.start()

    def _echo(self, listening: socket.socket) -> None:
        """
        Send everybody what they send.
        """

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(1024):
                        connection.sendall(data)
                except OSError:
                    pass

        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(self, configuration: str, inherited: socket.socket | None = None) -> WorkersServer:
        """
        Start a server.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        server = WorkersServer(folder, configuration, inherited)
        self.addCleanup(server.end)
        return server

    def ask(self, port: int, command: int = CONNECT) -> tuple[socket.socket, bytes]:
        """
        Make a request.
        """
        connection, reply = asked(
            port, command, self.echo if command == CONNECT else ("0.0.0.0", 0)
        )
        self.addCleanup(connection.close)
        return connection, reply

    def by(self, server: WorkersServer, number: int) -> None:
        """
        Let one worker accept, and no other; 0 for all.
        """
        for each, pid in server.workers().items():
            if isAlive(pid):
                os.kill(pid, signal.SIGCONT if number in (0, each) else signal.SIGSTOP)

    def assertEchoes(self, connection: socket.socket) -> None:
        """
        The session relays in both directions.
        """
        connection.sendall(b"hello")
        self.assertEqual(read(connection, 5), b"hello")

    def test_together(self) -> None:
        """
        Two workers serve at one port and hold clients to one limit; one that dies is replaced,
        without harm to the sessions of the other, and what it had counted is given back; in the
        end nothing is left.
        """
        server = self.serve(
            "listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[timeouts]\ndrain = 1\n[limits]\nsessions_per_address = 4\n"
        )
        port, *_ = server.serving(2)
        sessions = {}
        for number in (1, 2):
            self.by(server, number)
            sessions[number] = [self.ask(port) for _ in range(2)]
            for connection, reply in sessions[number]:
                self.assertEqual(reply[1], 0)
                self.assertEchoes(connection)
        self.assertEqual(self.ask(port)[1][1], 2)
        victim = server.workers()[1]
        os.kill(victim, signal.SIGKILL)
        lost = rf"worker 1 \(process {victim}\) was killed by signal 9; another"
        self.assertEqual(len(server.waitFor(lost)), 1)
        server.waitFor("worker 3: SOCKS5 listening")
        for connection, _ in sessions[1]:
            self.assertEqual(read(connection, 1), b"")
        for connection, _ in sessions[2]:
            self.assertEchoes(connection)
        self.by(server, 3)
        self.assertEqual([self.ask(port)[1][1] for _ in range(3)], [0, 0, 2])
        self.by(server, 2)
        self.assertEqual(self.ask(port)[1][1], 2)
        os.kill(server.workers()[3], signal.SIGCONT)
        server.tell(signal.SIGTERM)
        server.process.wait(PATIENCE)
        self.assertEqual([isAlive(pid) for pid in server.workers().values()], [False] * 3)

    def test_handshakes(self) -> None:
        """
        Connections that have not made their request are counted together.
        """
        server = self.serve(
            "listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[limits]\nhandshakes_per_address = 2\n"
        )
        port, *_ = server.serving(2)
        for number in (1, 2):
            self.by(server, number)
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
            self.addCleanup(connection.close)
            connection.sendall(b"\x05\x01\x00")
            self.assertEqual(read(connection, 2), b"\x05\x00")
        # It may be turned away before it has said anything.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self.assertEqual(self.ask(port)[1], b"")

    def source(self) -> tuple[str, int]:
        """
        Have a place that sends without end.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)

        def send(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(bytes(65536))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=send, args=listening.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        address: tuple[str, int] = listening.getsockname()
        return address

    def session(
        self, port: int, user: str, target: tuple[str, int], command: int = CONNECT
    ) -> tuple[socket.socket, int]:
        """
        Log in, and make a request.

        @return: the connection, and the reply code.
        """
        connection, accepted = login(port, user, "secret")
        self.addCleanup(connection.close)
        self.assertTrue(accepted)
        return connection, request(connection, command, target)[1]

    def test_guesses(self) -> None:
        """
        Failed logins count for all workers: who has failed at one and the other more often than
        is allowed is refused by both, even with the right password.
        """
        server = self.serve(
            "listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n[auth]\n"
            "checkers = ['memory:alice:secret']\nfailure_limit = 3\nfailure_delay = 0.1\n"
        )
        port, *_ = server.serving(2)
        # One that is about to look at a guess may not have heard of the last one elsewhere.
        for number, password in ((1, "a"), (2, "b"), (1, "c"), (2, "d")):
            self.by(server, number)
            self.assertFalse(self.guess(port, password))
        for number in (1, 2):
            self.by(server, number)
            self.assertFalse(self.guess(port, "secret"))
        server.waitFor("too many failures from this address", 2)

    def guess(self, port: int, password: str) -> bool:
        """
        Log in.

        @return: whether the password was right.
        """
        connection, accepted = login(port, "alice", password)
        connection.close()
        return accepted

    def test_users(self) -> None:
        """
        What users are entitled to, they have once: sessions, bandwidth, a quota.  When that is
        used up by one worker, the sessions of the other end, too.
        """
        server = self.serve(
            "listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[auth]\ncheckers = ['memory:alice:secret:bob:secret']\n"
            "[limits]\ndatabase = 'usage'\n"
            "[users.alice]\nsessions = 4\nbandwidth = '1MiB/s'\n"
            "[users.bob]\nquota = '1MiB/day'\n"
        )
        port, *_ = server.serving(2)
        source = self.source()
        began = time.monotonic()
        received: dict[socket.socket, int] = {}
        for number in (1, 2):
            self.by(server, number)
            for _ in range(2):
                connection, code = self.session(port, "alice", source)
                self.assertEqual(code, 0)
                received[connection] = 0
            idle, code = self.session(port, "bob", ("0.0.0.0", 0), ASSOCIATE)
            self.assertEqual(code, 0)
        self.assertEqual(self.session(port, "alice", source)[1], 2)
        self.by(server, 0)
        while sum(received.values()) < 2 * 1024 * 1024:
            ready, _, _ = select.select(list(received), [], [], PATIENCE)
            self.assertTrue(ready)
            for connection in ready:
                received[connection] += len(connection.recv(65536))
        # The burst is a fifth of a second.
        self.assertGreater(time.monotonic() - began, 1.75)
        self.assertTrue(all(received.values()))
        self.by(server, 1)
        busy, code = self.session(port, "bob", source)
        self.assertEqual(code, 0)
        data = read(busy, 2 * 1024 * 1024)
        self.assertLess(len(data), 1024 * 1024 + 65536)
        self.by(server, 2)
        self.assertEqual(read(idle, 1), b"")
        self.assertEqual(self.session(port, "bob", source)[1], 2)

    def test_otherCommands(self) -> None:
        """
        UDP ASSOCIATE and BIND work in each of them.
        """
        server = self.serve("listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n")
        port, *_ = server.serving(2)
        echo = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(echo.close)
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(PATIENCE)
        for number in (1, 2):
            self.by(server, number)
            connection, reply = self.ask(port, BIND)
            self.assertEqual(reply[1], 0)
            with socket.create_connection(address(reply), PATIENCE) as peer:
                self.assertEqual(address(read(connection, 10)), peer.getsockname())
                peer.sendall(b"hello")
                self.assertEqual(read(connection, 5), b"hello")
            connection, reply = self.ask(port, ASSOCIATE)
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                host, at = echo.getsockname()
                header = b"\x00\x00\x00\x01" + socket.inet_aton(host) + at.to_bytes(2, "big")
                client.sendto(header + b"ping", address(reply))
                data, peer_ = echo.recvfrom(100)
                echo.sendto(data + b"pong", peer_)
                self.assertEqual(client.recv(100), header + b"pingpong")

    def test_endpoints(self) -> None:
        """
        Each worker serves at endpoints of all kinds: with TLS, behind HAProxy, at UNIX sockets, and
        at those of systemd, which are found again at a reload.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        pem = writeCertificate(folder.resolve())
        with socket.create_server(("127.0.0.1", 0)) as inherited:
            server = self.serve(
                f"listen = ['ssl:0:interface=127.0.0.1:privateKey={pem}',\n"
                "'haproxy:tcp:0:interface=127.0.0.1', 'systemd:domain=INET:index=0',\n"
                "'unix:socket', 'haproxy:unix:other']\nworkers = 2\n",
                inherited,
            )
            here = inherited.getsockname()[1]
        server.waitFor("SOCKS5 listening", 10)
        secure, behind, plain = server.serving(2)
        self.assertEqual(plain, here)
        trusting = ssl.create_default_context(cafile=str(pem))
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1080 1080\r\n"
        for number in (1, 2, 0):
            self.by(server, number)
            if not number:
                server.tell(signal.SIGHUP)
                server.waitFor("worker [12]: .*reloaded", 2)
            places = [("127.0.0.1", secure), ("127.0.0.1", behind), ("127.0.0.1", plain)]
            # Relative: the whole path may be longer than that of a UNIX socket can be.
            names = [os.path.relpath(server.path.parent / name) for name in ("socket", "other")]
            for kind, place in enumerate([*places, *names]):
                family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
                connection = socket.socket(family)
                connection.settimeout(PATIENCE)
                connection.connect(place)
                if kind == 0:
                    connection = trusting.wrap_socket(connection, server_hostname="localhost")
                with connection:
                    connection.sendall((header if kind in (1, 4) else b"") + GREETING)
                    self.assertEqual(read(connection, 2), b"\x05\x00")
                    self.assertEqual(request(connection, CONNECT, self.echo)[1], 0)
                    self.assertEchoes(connection)

    def test_supervisorDies(self) -> None:
        """
        Workers do not outlive their supervisor.
        """
        server = self.serve("listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n")
        port, *_ = server.serving(2)
        self.assertEqual(self.ask(port)[1][1], 0)
        server.process.kill()
        workers = server.workers().values()
        server.until(lambda: not any(map(isAlive, workers)), "all dead")

    def test_reload(self) -> None:
        """
        All of them reload together: other listeners, more and fewer workers, other limits; and
        nothing changes if the file cannot be used.
        """
        name = "socket"
        server = self.serve("listen = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n")
        port, *_ = server.serving(2)
        before, _ = self.ask(port)
        folder = server.path.parent
        server.path.write_text(
            f"listen = ['unix:{name}']\nworkers = 3\n[limits]\nsessions_per_address = 1\n"
        )
        server.tell(signal.SIGHUP)
        server.waitFor("worker [123]: SOCKS5 listening on unix", 3)
        server.waitFor("worker [12]: .*reloaded|worker [12]: .*configuration", 2)
        self.assertEchoes(before)
        server.until(lambda: self._refuses(port), "the old port is closed")
        self.assertServed(os.path.relpath(folder / name))
        server.path.write_text("workers = 'many'\n")
        server.tell(signal.SIGHUP)
        server.waitFor("workers: found")
        server.path.write_text(f"listen = ['unix:{name}']\nworkers = 2\n")
        server.tell(signal.SIGHUP)
        server.until(
            lambda: sum(map(isAlive, server.workers().values())) == 2, "two workers are left"
        )
        self.assertEchoes(before)
        self.assertServed(os.path.relpath(folder / name))
        server.tell(signal.SIGTERM)
        server.waitFor(r"\[-\] \(UNIX Port")
        server.tell(signal.SIGTERM)
        server.process.wait(PATIENCE)
        self.assertFalse((folder / name).exists())

    def assertServed(self, name: str) -> None:
        """
        Somebody is served by a UNIX socket.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(name)
            client.sendall(GREETING)
            self.assertEqual(read(client, 2), b"\x05\x00")

    def _refuses(self, port: int) -> bool:
        """
        Whether nobody listens.
        """
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

"""
Tests of a server that is told by signals to serve in another way, or to stop, on real sockets.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txsocks5

CHECKOUT = str(Path(txsocks5.__file__).parent.parent)

MANY = 15
PATIENCE = 30

Session = tuple[socket.socket, socket.socket]


class SignalTestCase(SynchronousTestCase):
    """
    A server in a process of its own, with two targets.
    """

    def setUp(self) -> None:
        """
        Open the targets.
        """
        self.path = Path(self.mktemp())
        self.targets = [self.keep(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        for target in self.targets:
            target.settimeout(PATIENCE)

    def configure(self, text: str) -> None:
        """
        Write the configuration.
        """
        self.path.write_text(text)

    def start(self) -> None:
        """
        Start the server.
        """
        self.server = subprocess.Popen(
            [
                *(sys.executable, "-m", "twisted", "--log-format=text", "socks5"),
                *("--config", str(self.path.absolute()), "--access-log", ""),
            ],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(self.end)
        self.log: list[str] = []

    def end(self) -> None:
        """
        See that nothing is left of it.
        """
        if self.server.poll() is None:
            self.server.kill()
        self.server.communicate(timeout=PATIENCE)

    def wait(self, pattern: str) -> re.Match[str]:
        """
        Read the log up to a line.
        """
        assert self.server.stdout is not None
        for line in self.server.stdout:
            self.log.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError("".join(self.log))

    def listener(self) -> tuple[str, int]:
        """
        The next listener that the log tells of.
        """
        found = self.wait(r"SOCKS5 listening on ([0-9.]+):(\d+)")
        return found[1], int(found[2])

    def signal(self, number: int) -> None:
        """
        Send the server a signal.
        """
        self.server.send_signal(number)

    def closed(self, listener: tuple[str, int]) -> None:
        """
        Wait until nobody listens any more.
        """
        try:
            while True:
                socket.create_connection(listener, timeout=PATIENCE).close()
        except ConnectionError:
            pass

    def keep(self, opened: socket.socket) -> socket.socket:
        """
        Close a socket after the test.
        """
        self.addCleanup(opened.close)
        return opened

    def login(self, listener: tuple[str, int], name: bytes) -> tuple[socket.socket, bytes]:
        """
        A client connects and says who it is.

        @return: it, and the status.
        """
        client = self.keep(socket.create_connection(listener, timeout=PATIENCE))
        client.sendall(b"\x05\x01\x02")
        self.assertEqual(receive(client, 2), b"\x05\x02")
        client.sendall(bytes((1, len(name))) + name + b"\x06secret")
        return client, receive(client, 2)

    def request(self, client: socket.socket, target: int) -> bytes:
        """
        It asks for a connection to one of the targets.

        @return: the reply code.
        """
        port: int = self.targets[target].getsockname()[1]
        client.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        return receive(client, 10)[1:2]

    def session(self, listener: tuple[str, int], name: bytes, target: int) -> Session:
        """
        A client connects to a target.
        """
        client, status = self.login(listener, name)
        self.assertEqual(status, b"\x01\x00")
        self.assertEqual(self.request(client, target), b"\x00")
        peer = self.keep(self.targets[target].accept()[0])
        peer.settimeout(PATIENCE)
        return client, peer

    def assertRelaying(self, *sessions: Session) -> None:
        """
        Octets pass in both directions.
        """
        for client, target in sessions:
            client.sendall(b"ping")
            self.assertEqual(receive(target, 4), b"ping")
            target.sendall(b"pong")
            self.assertEqual(receive(client, 4), b"pong")

    def assertReset(self, *sessions: Session) -> None:
        """
        Both sides see that the session did not end regularly.
        """
        for session in sessions:
            for side in session:
                self.assertRaises(ConnectionResetError, side.recv, 1)


class ReloadTests(SignalTestCase):
    """
    SIGHUP.
    """

    def test_reload(self) -> None:
        """
        Of many sessions those go on that are still allowed, and no other: neither those of a user
        that is gone, nor those that another rule forbids, nor whoever has said who it is and not
        yet what it wants.  A file with a mistake changes nothing.  When the time of a user is over
        the sessions of that user end.
        """
        kept = '"tcp:0:interface=127.0.0.1"'
        rules = "[[rules]]\nallow = ['connect']\n"
        before = (
            f"listen = [{kept}, 'tcp:0:interface=127.0.0.2']\n"
            "auth = {{ checkers = ['memory:{}'] }}\n".format("alice:secret:bob:secret")
        )
        after = (
            f"listen = [{kept}, 'tcp:0:interface=127.0.0.3']\n"
            "auth = {{ checkers = ['memory:{}'] }}\n".format("alice:secret:carol:secret")
        )
        denied = self.targets[1].getsockname()[1]
        stricter = f"[[rules]]\nname = 'closed'\ndeny = ['connect']\nports = [{denied}]\n{rules}"

        self.configure(before + rules)
        self.start()
        listeners = [self.listener(), self.listener()]
        numbers = range(MANY)
        allowed = [self.session(listeners[number % 2], b"alice", 0) for number in numbers]
        forbidden = [self.session(listeners[number % 2], b"alice", 1) for number in numbers]
        gone = [self.session(listeners[number % 2], b"bob", 0) for number in numbers]
        asking, status = self.login(listeners[0], b"bob")
        self.assertEqual(status, b"\x01\x00")
        early = self.keep(socket.create_connection(listeners[0], timeout=PATIENCE))

        self.configure(before + "rules = 7\n")
        self.signal(signal.SIGHUP)
        self.wait("configuration not reloaded, .*rules")
        self.assertRelaying(*allowed, *forbidden, *gone)

        self.configure(after + stricter)
        self.signal(signal.SIGHUP)
        opened = self.listener()
        self.assertEqual(opened[0], "127.0.0.3")
        told = self.wait(r"configuration reloaded; changed: (.*); (\d+) sessions ended")
        self.assertEqual(told[1], "listen, auth.checkers, rules")
        self.assertEqual(int(told[2]), 2 * MANY + 1)
        self.assertReset(*forbidden, *gone)
        self.assertRaises(ConnectionResetError, asking.recv, 1)
        self.assertRelaying(*allowed)

        self.assertRaises(ConnectionRefusedError, socket.create_connection, listeners[1])
        for listener in (listeners[0], opened):
            self.assertEqual(self.login(listener, b"bob")[1][1:], b"\x01")
            client, status = self.login(listener, b"carol")
            self.assertEqual((status, self.request(client, 1)), (b"\x01\x00", b"\x02"))
        carol = self.session(opened, b"carol", 0)
        early.sendall(b"\x05\x01\x02")
        self.assertEqual(receive(early, 2), b"\x05\x02")

        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        self.configure(f"{after}{stricter}[users.alice]\nexpires = {soon}\n")
        self.signal(signal.SIGHUP)
        told = self.wait("configuration reloaded; changed: (.*); ")
        self.assertEqual(told[1], "users.alice")
        self.assertReset(*allowed)
        self.assertRelaying(carol)
        self.assertNotIn("Traceback", "".join(self.log))


class UNIXTests(SignalTestCase):
    """
    SIGHUP, and clients of UNIX sockets.
    """

    def setUp(self) -> None:
        """
        Have a folder for sockets, whose path is short enough for them.
        """
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def connected(self, name: str) -> socket.socket:
        """
        A client connects to a socket.
        """
        client = self.keep(socket.socket(socket.AF_UNIX))
        client.settimeout(PATIENCE)
        client.connect(str(self.folder / name))
        return client

    def relayed(self, client: socket.socket) -> Session:
        """
        It connects to a target.
        """
        client.sendall(b"\x05\x01\x00")
        self.assertEqual(receive(client, 2), b"\x05\x00")
        self.assertEqual(self.request(client, 0), b"\x00")
        peer = self.keep(self.targets[0].accept()[0])
        peer.settimeout(PATIENCE)
        return client, peer

    def listening(self, *names: str) -> None:
        """
        Write the configuration.
        """
        self.configure(f"listen = {[f'unix:{self.folder / name}' for name in names]}\n")

    def test_listeners(self) -> None:
        """
        Sockets that are named stay, others go with their files, and new ones come.  Sessions go
        on by whichever they came; who has come by one that is gone, and has asked for nothing, has
        to go as well.
        """
        self.listening("a", "b")
        self.start()
        for _ in range(2):
            self.wait("SOCKS5 listening on unix:")
        sessions = [self.relayed(self.connected(name)) for name in ("a", "b")]
        silent, asking, leaving = (self.connected(name) for name in ("a", "a", "b"))
        for client in (asking, leaving):
            client.sendall(b"\x05\x01\x00")
            self.assertEqual(receive(client, 2), b"\x05\x00")

        self.listening("a", "c")
        self.signal(signal.SIGHUP)
        self.wait(r"configuration reloaded; changed: listen; 0 sessions ended")
        self.assertRelaying(*sessions)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "a.lock", "c", "c.lock"])
        self.assertRaises(FileNotFoundError, self.connected, "b")
        # A UNIX socket has no reset.
        self.assertEqual(leaving.recv(1), b"")
        self.assertRelaying(*map(self.relayed, (silent, self.connected("a"), self.connected("c"))))
        self.assertEqual(self.request(asking, 0), b"\x00")

    def test_exposed(self) -> None:
        """
        Where the server becomes an exposed one, a session that goes where only a local one may go
        ends.
        """
        self.listening("a")
        self.start()
        self.wait("SOCKS5 listening on unix:")
        client, target = self.relayed(self.connected("a"))
        self.configure(f"listen = ['unix:{self.folder / 'a'}', 'tcp:0']\nopen = true\n")
        self.signal(signal.SIGHUP)
        self.wait(r"configuration reloaded; changed: listen, open; 1 sessions ended")
        self.assertEqual(client.recv(1), b"")
        self.assertRaises(ConnectionResetError, target.recv, 1)


class BindTests(SignalTestCase):
    """
    SIGHUP, and clients that wait for a peer.
    """

    def bound(self, listener: tuple[str, int]) -> tuple[socket.socket, tuple[str, int]]:
        """
        A client asks for a peer, whichever.

        @return: it, and where the peer is to connect.
        """
        client, _ = self.login(listener, b"alice")
        client.sendall(b"\x05\x02\x00\x01" + bytes(6))
        reply = receive(client, 10)
        self.assertEqual(reply[:4], b"\x05\x00\x00\x01")
        return client, (socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big"))

    def peerOf(self, client: socket.socket, where: tuple[str, int], source: str) -> Session:
        """
        A peer connects from an address, and is let in.
        """
        peer = self.keep(socket.create_connection(where, PATIENCE, (source, 0)))
        self.assertEqual(receive(client, 10)[:8], b"\x05\x00\x00\x01" + socket.inet_aton(source))
        return client, peer

    def test_reload(self) -> None:
        """
        Who is still allowed to wait waits on, with the same port, and the peer is judged by the
        rules that hold when it comes; a session with a peer that is not allowed any more ends, and
        so does waiting for one.
        """
        settings = (
            "listen = ['tcp:0:interface=127.0.0.1']\n"
            "auth = { checkers = ['memory:alice:secret'] }\n"
        )
        self.configure(f"{settings}[[rules]]\nallow = ['bind']\n")
        self.start()
        listener = self.listener()
        met = [self.peerOf(*self.bound(listener), source) for source in ("127.0.0.1", "127.0.0.2")]
        waiting, where = self.bound(listener)

        self.configure(f"{settings}[[rules]]\nallow = ['bind']\nto = ['127.0.0.1', '0.0.0.0']\n")
        self.signal(signal.SIGHUP)
        self.wait("configuration reloaded; changed: rules; 1 sessions ended")
        self.assertRelaying(met[0])
        self.assertReset(met[1])
        stranger = self.keep(socket.create_connection(where, PATIENCE, ("127.0.0.2", 0)))
        self.assertGone(stranger)
        session = self.peerOf(waiting, where, "127.0.0.1")
        self.assertRelaying(session)

        waiting, where = self.bound(listener)
        self.configure(f"{settings}[[rules]]\nallow = ['connect']\n")
        self.signal(signal.SIGHUP)
        self.wait("configuration reloaded; changed: rules; 3 sessions ended")
        self.assertReset(met[0], session)
        self.assertRaises(ConnectionResetError, waiting.recv, 1)
        self.closed(where)

    def assertGone(self, peer: socket.socket) -> None:
        """
        A connection has ended, in whichever way.
        """
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(peer.recv(1), b"")


class DrainTests(SignalTestCase):
    """
    SIGTERM.
    """

    def serve(self) -> tuple[str, int]:
        """
        Start a server.
        """
        self.configure(
            "listen = ['tcp:0:interface=127.0.0.1']\n"
            "auth = { checkers = ['memory:alice:secret'] }\ntimeouts = { drain = 60 }\n"
        )
        self.start()
        return self.listener()

    def test_drained(self) -> None:
        """
        It waits for the sessions, and for no connection that has asked for nothing.
        """
        listener = self.serve()
        session = self.session(listener, b"alice", 0)
        silent, _ = self.login(listener, b"alice")
        self.signal(signal.SIGTERM)
        self.assertRaises(ConnectionResetError, silent.recv, 1)
        self.closed(listener)
        self.assertRelaying(session)
        session[0].close()
        self.assertEqual(session[1].recv(1), b"")
        session[1].close()
        self.assertEqual(self.server.wait(PATIENCE), -signal.SIGTERM)

    def test_hurried(self) -> None:
        """
        When told a second time it waits no more.
        """
        listener = self.serve()
        session = self.session(listener, b"alice", 0)
        self.signal(signal.SIGTERM)
        self.closed(listener)
        self.assertRelaying(session)
        self.signal(signal.SIGTERM)
        self.assertReset(session)
        self.assertEqual(self.server.wait(PATIENCE), -signal.SIGTERM)


def receive(connection: socket.socket, octets: int) -> bytes:
    """
    Read so many octets, or up to the end.
    """
    data = b""
    while len(data) < octets:
        more = connection.recv(octets - len(data))
        if not more:
            break
        data += more
    return data

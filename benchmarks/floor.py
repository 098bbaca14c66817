"""
The least that a proxy in Python can do: a loop around C{epoll} that knows CONNECT by IPv4 address,
and believes whatever it is told.  It decides nothing, limits nothing, logs nothing, waits for
nobody and loses what does not fit, and is no use but to be measured: whoever does more takes
longer.

    python floor.py ADDRESS PORT
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable
from typing import TypeAlias

BUFFER = 65536
TURN = 64

Next: TypeAlias = tuple[Callable[..., None], socket.SocketType, socket.SocketType | None]


class Floor:
    """
    The loop.
    """

    def __init__(self, address: str, port: int) -> None:
        self.epoll = select.epoll()
        self.nexts: dict[int, Next] = {}
        self.listening = socket.create_server((address, port), backlog=1024)
        self.listening.setblocking(False)
        self.epoll.register(self.listening, select.EPOLLIN)

    def run(self) -> None:
        """
        Serve for ever.
        """
        listening = self.listening.fileno()
        while True:
            for descriptor, events in self.epoll.poll():
                if descriptor == listening:
                    self.accept()
                elif descriptor in self.nexts:
                    call, near, far = self.nexts[descriptor]
                    call(near, far, events)

    def watch(self, near: socket.SocketType, events: int, following: Next) -> None:
        """
        Begin to watch a socket.
        """
        self.nexts[near.fileno()] = following
        self.epoll.register(near.fileno(), events | select.EPOLLET | select.EPOLLRDHUP)

    def accept(self) -> None:
        """
        Take those that wait.
        """
        for _ in range(TURN):
            try:
                descriptor, _ = self.listening._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            client = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.watch(client, select.EPOLLIN, (self.greeted, client, None))

    def greeted(self, client: socket.SocketType, _: None, events: int) -> None:
        """
        Select no authentication.
        """
        if client.recv(BUFFER):
            client.send(b"\x05\x00")
            self.nexts[client.fileno()] = (self.requested, client, None)
        else:
            self.end(client)

    def requested(self, client: socket.SocketType, _: None, events: int) -> None:
        """
        Connect.
        """
        request = client.recv(BUFFER)
        if not request:
            self.end(client)
            return
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        target = socket.SocketType(socket.AF_INET, kind)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target.connect_ex((socket.inet_ntoa(request[4:8]), int.from_bytes(request[8:10], "big")))
        self.watch(target, select.EPOLLIN | select.EPOLLOUT, (self.connected, target, client))

    def connected(self, target: socket.SocketType, client: socket.SocketType, events: int) -> None:
        """
        Answer.
        """
        if target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.end(client, target)
            return
        host, port = target.getsockname()
        client.send(b"\x05\x00\x00\x01" + socket.inet_aton(host) + port.to_bytes(2, "big"))
        self.nexts[target.fileno()] = (self.relay, target, client)
        self.nexts[client.fileno()] = (self.relay, client, target)

    def relay(self, near: socket.SocketType, far: socket.SocketType, events: int) -> None:
        """
        Pass on what has come; the end of one side is that of both.
        """
        if events & select.EPOLLIN:
            try:
                data = near.recv(BUFFER)
            except OSError:
                data = b""
            if data:
                far.send(data)
            else:
                self.end(near, far)

    def end(self, *ends: socket.SocketType) -> None:
        """
        Close.
        """
        for end in ends:
            del self.nexts[end.fileno()]
            end.close()


if __name__ == "__main__":
    Floor(sys.argv[1], int(sys.argv[2])).run()

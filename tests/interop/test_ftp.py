"""
FTP in active mode, where the server connects to the client: BIND, as it was meant
to be used.  The server is pyftpdlib; the client is C{ftplib}.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from ftplib import FTP
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path

from ._programs import library
from ._proxy import ALICE, Credentials, InteropTestCase, Proxy
from ._targets import PAYLOAD, digest
from .test_pysocks import opened

Address = tuple[str, int]

#: What the server says as soon as clients may come.
READY = r"starting FTP server on .+:(\d+), pid="


class Failed(Exception):
    """
    The proxy did not do what it was asked for.
    """


class BoundSocket(socket.socket):
    """
    A socket on which the proxy awaits one connection (RFC 1928, BIND).
    """

    @classmethod
    def bind5(
        cls, proxy: Proxy, credentials: Credentials | None, peer: Address
    ) -> tuple[BoundSocket, Address]:
        """
        Ask the proxy for an address.

        @param peer: who is going to connect.

        @return: the socket, and the address that the peer has to connect to.
        """
        bound = cls(socket.AF_INET6 if ":" in proxy.host else socket.AF_INET)
        bound.settimeout(60)
        try:
            bound.connect((proxy.host, proxy.port))
            bound._authenticate(credentials)
            host = ip_address(peer[0])
            kind = {4: b"\x01", 6: b"\x04"}[host.version]
            bound.sendall(b"\x05\x02\x00" + kind + host.packed + struct.pack("!H", peer[1]))
            return bound, bound.readReply()
        except BaseException:
            bound.close()
            raise

    def _authenticate(self, credentials: Credentials | None) -> None:
        """
        Say who is asking, if anybody has to.
        """
        self.sendall(b"\x05\x01\x02" if credentials else b"\x05\x01\x00")
        self._expect(b"\x05\x02" if credentials else b"\x05\x00")
        if credentials is not None:
            user, password = credentials.user.encode(), credentials.password.encode()
            self.sendall(
                bytes([1, len(user)]) + user + bytes([len(password)]) + password,
            )
            self._expect(b"\x01\x00")

    def readReply(self) -> Address:
        """
        Read one of the two replies.

        @return: the address in it.
        """
        self._expect(b"\x05\x00\x00")
        size = {b"\x01": 4, b"\x04": 16}[self._read(1)]
        host = str(ip_address(self._read(size)))
        (port,) = struct.unpack("!H", self._read(2))
        return host, port

    def _expect(self, octets: bytes) -> None:
        """
        Read an answer that there has to be.
        """
        answer = self._read(len(octets))
        if answer != octets:
            raise Failed(f"expected {octets.hex(' ')} and got {answer.hex(' ')}")

    def _read(self, size: int) -> bytes:
        """
        Read so many octets, and none behind them.
        """
        octets = b""
        while len(octets) < size:
            more = self.recv(size - len(octets))
            if not more:
                raise Failed(f"the proxy hung up after {octets.hex(' ')!r}")
            octets += more
        return octets


class ActiveFTP(FTP):
    """
    An FTP client which is behind a proxy, and still lets the server connect to
    it.
    """

    def __init__(self, proxy: Proxy, credentials: Credentials | None) -> None:
        super().__init__(timeout=60)
        self.set_pasv(False)
        self._proxy = proxy
        self._credentials = credentials

    def connectThrough(self, host: str, port: int) -> None:
        """
        Open the control connection, with CONNECT.
        """
        self.host, self.port = host, port
        self.sock = opened(self._proxy, self._credentials)
        self.sock.connect((host, port))
        self.af = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """
        Begin a transfer: have the proxy wait for the server, tell the server
        where, and go on when it has come.
        """
        server = (self.host, self.port)
        bound, (host, port) = BoundSocket.bind5(self._proxy, self._credentials, server)
        try:
            if self.af == socket.AF_INET6:
                self.sendeprt(host, port)
            else:
                self.sendport(host, port)
            answer = self.sendcmd(cmd)
            if not answer.startswith("1"):
                raise Failed(answer)
            peer, _ = bound.readReply()
            if peer != self.host:
                raise Failed(f"{peer} has connected, instead of {self.host}")
        except BaseException:
            bound.close()
            raise
        return bound, None


class ActiveFTPTests(InteropTestCase):
    """
    Files go to and from an FTP server in active mode.
    """

    skip = library("pyftpdlib", "pyftpdlib") or library("socks", "PySocks")

    async def startServer(self, interface: str) -> tuple[int, Path]:
        """
        Start the FTP server.

        @return: its port, and the folder with its files.
        """
        files = self.folder()
        server = self.spawn(
            *(sys.executable, "-u", "-m", "pyftpdlib"),
            *("--interface", interface, "--port", "0"),
            *("--write", "--directory", str(files)),
            *("--username", "bob", "--password", "builder"),
        )
        (port,) = await server.whenPrinted(READY)
        return int(port), files

    def session(
        self, proxy: Proxy, host: str, port: int, work: Callable[[FTP], None]
    ) -> Callable[[], None]:
        """
        Something for a thread to do: to log in, work, and say good-bye.
        """

        def inside() -> None:
            with ActiveFTP(proxy, self.credentials) as client:
                client.connectThrough(host, port)
                client.login("bob", "builder")
                work(client)

        return inside

    async def assertTransferred(self, interface: str) -> None:
        """
        Store a file, list it, and retrieve it.

        @param interface: the address of both the proxy and the FTP server.
        """
        proxy = await self.startProxy(interface)
        port, files = await self.startServer(interface)
        names: list[str] = []
        retrieved: list[bytes] = []

        def work(client: FTP) -> None:
            client.storbinary("STOR payload", BytesIO(PAYLOAD))
            names.extend(client.nlst())
            client.retrbinary("RETR payload", retrieved.append)

        await self.inThread(self.session(proxy, interface, port, work))
        self.assertEqual(names, ["payload"])
        self.assertEqual(digest((files / "payload").read_bytes()), digest(PAYLOAD))
        self.assertEqual(digest(b"".join(retrieved)), digest(PAYLOAD))

    async def test_transferOnIPv4(self) -> None:
        """
        Files arrive complete and unchanged, in both directions (PORT).
        """
        await self.assertTransferred("127.0.0.1")

    async def test_transferOnIPv6(self) -> None:
        """
        Files arrive complete and unchanged, in both directions, with IPv6 (EPRT).
        """
        await self.assertTransferred("::1")

    async def test_emptyFile(self) -> None:
        """
        The connection for an empty file carries nothing, and ends.
        """
        proxy = await self.startProxy()
        port, files = await self.startServer("127.0.0.1")
        (files / "before").touch()
        retrieved: list[bytes] = []

        def work(client: FTP) -> None:
            client.retrbinary("RETR before", retrieved.append)
            client.storbinary("STOR after", BytesIO())

        await self.inThread(self.session(proxy, "127.0.0.1", port, work))
        self.assertEqual(retrieved, [])
        self.assertEqual((files / "after").read_bytes(), b"")


class ActiveFTPWithPasswordTests(ActiveFTPTests):
    """
    Files go to and from an FTP server in active mode, through a proxy that
    demands a password.
    """

    credentials = ALICE

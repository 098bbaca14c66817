"""
C{twistd} with an Internet that is only a table: C{python -m tests.interop._internet}, and what else
stands behind C{twistd}.

The environment variable C{TEST_INTERNET} has, as JSON, the addresses of each name, and the port of
C{127.0.0.1} at which each C{address:port} is found.  Nothing else exists, but this machine itself.
"""

from __future__ import annotations

import _socket
import errno
import json
import os
import socket
import sys
from typing import Any

VARIABLE = "TEST_INTERNET"


class _Internet:
    """
    What there is.
    """

    def __init__(self, text: str) -> None:
        told = json.loads(text)
        self._addresses: dict[str, list[str]] = told["addresses"]
        self._ports: dict[str, int] = told["ports"]

    def getaddrinfo(self, host: str, port: int, *args: Any) -> list[Any]:
        """
        Look up a name, as C{socket.getaddrinfo} does.
        """
        if host not in self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in self._addresses[host]
        ]

    def found(self, host: str, port: int) -> tuple[str, int] | None:
        """
        Where an address and port really are; L{None} for nowhere.
        """
        if f"{host}:{port}" in self._ports:
            return ("127.0.0.1", self._ports[f"{host}:{port}"])
        return (host, port) if host.startswith("127.") else None


def main() -> None:
    """
    Replace the outside, and run C{twistd}.
    """
    from txsocks5 import dialer, systemresolver

    internet = _Internet(os.environ[VARIABLE])

    class Socket(_socket.socket):
        """
        A socket in this Internet.
        """

        def connect_ex(self, address: Any) -> int:
            """
            Connect to what is there.
            """
            where = internet.found(*address)
            return errno.ENETUNREACH if where is None else super().connect_ex(where)

    replaced: Any = dialer
    replaced.SocketType = Socket
    names: Any = systemresolver
    names._careful = internet.getaddrinfo
    sys.argv[0] = "twistd"
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()

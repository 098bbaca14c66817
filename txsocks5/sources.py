"""
Who may answer to an association, and how its client is told who has, RFC 1928 section 7.
"""

from __future__ import annotations

from collections.abc import Container

from .peers import Peer, hostOf
from .wire import Address

__all__ = ["MAX_SOURCES", "Sources"]

MAX_SOURCES = 4096
"""
How many hosts an association lets answer, and how many peers it remembers the header of; of the
hosts the oldest is forgotten first.
"""


class Sources:
    """
    The hosts that may answer, and the header for each peer that has.
    """

    def __init__(self, everybody: bool) -> None:
        """
        @param everybody: all hosts may answer (R-1928-84).
        """
        self._everybody = everybody
        self._hosts: dict[str, None] = {}
        self._headers: dict[Peer, tuple[bytes, Address]] = {}

    def allow(self, host: str) -> None:
        """
        Let a host answer.

        @param host: its address in text, as C{str} writes it.
        """
        if host not in self._hosts:
            if len(self._hosts) >= MAX_SOURCES:
                del self._hosts[next(iter(self._hosts))]
                self._headers.clear()
            self._hosts[host] = None

    def forbid(self, host: str) -> None:
        """
        Do not let a host answer any more.

        @param host: as for L{allow}.
        """
        self._hosts.pop(host, None)
        self._headers.clear()

    def restrict(self, hosts: Container[str]) -> None:
        """
        Let none answer but some of those that may now.

        @param hosts: their addresses in text, as for L{allow}.
        """
        self._hosts = {host: None for host in self._hosts if host in hosts}
        self._headers.clear()

    def header(self, peer: Peer) -> tuple[bytes, Address] | None:
        """
        The header for what comes from C{peer}: its numeric address, even if the client has asked
        for a name (R-1928-82).

        @return: the octets of the header and its address, or L{None} if this peer may not answer.
        """
        return self._headers.get(peer) or self._new(peer)

    def _new(self, peer: Peer) -> tuple[bytes, Address] | None:
        """
        Make the header for a peer that has not answered yet.
        """
        host = hostOf(peer)
        if not self._everybody and str(host) not in self._hosts:
            return None
        if len(self._headers) >= MAX_SOURCES:
            self._headers.clear()
        address = Address(host, peer[1])
        known = (b"\x00\x00\x00" + address.octets(), address)
        self._headers[peer] = known
        return known

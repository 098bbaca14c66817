"""
Who sends and receives datagrams, as the system names them.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, TypeAlias

from .wire import IPAddress, unmapped

__all__ = ["MAX_DATAGRAM", "Datagrams", "Peer", "hostOf"]

Peer: TypeAlias = tuple[Any, ...]
"""
Who sends or receives, as L{socket.socket} writes it: the address in text, the port, and for IPv6
perhaps the flow and the scope.
"""

Datagrams: TypeAlias = list[tuple[bytes, Peer]]
"""
Datagrams in the order in which they came, each with who has sent it.
"""

MAX_DATAGRAM = 65536
"""
Octets that are more than any datagram has.
"""


def hostOf(peer: Peer) -> IPAddress:
    """
    The address of a peer, without its scope.
    """
    return unmapped(ip_address(peer[0].partition("%")[0]))

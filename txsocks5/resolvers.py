"""
What looks up names, kept from one configuration to the next.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from .config import Network, readNameServer
from .inorder import InOrder
from .interfaces import IResolver
from .names import NameServer
from .systemresolver import SystemResolver
from .turnstile import Turnstile
from .wire import Address

__all__ = ["Resolvers"]

_QUESTIONS = 64
_WAITING = 1024
"""
How many names one name server is asked for at a time, and how many more may wait for that.
"""

_FAMILIES = {"ipv4-only": (4,), "ipv6-only": (6,)}


class Resolvers:
    """
    Makes resolvers for one server after another, or for one that is told to serve in another way.
    What has not changed goes on: what it remembers is remembered, and look-ups that are stuck take
    their places among those that come, so that a bound is one for all.
    """

    def __init__(self, reactor: Any, *, lookUps: int = 8) -> None:
        """
        @param reactor: provides what L{ISOCKSReactor <txsocks5.interfaces.ISOCKSReactor>} lists.
            Nothing is asked of it yet.

        @param lookUps: how many names the system looks up at a time.  Each holds one of the
            reactor's threads, of which there are 10 unless the application asks for more.
        """
        self._reactor = reactor
        self._lookUps = lookUps
        self._system: SystemResolver | None = None
        # Those that somebody uses, be it for what has not ended.
        self._servers: WeakValueDictionary[tuple[Address, tuple[int, ...], bool], NameServer]
        self._servers = WeakValueDictionary()
        self._turnstiles: WeakValueDictionary[Address, Turnstile] = WeakValueDictionary()

    def resolverFor(self, network: Network) -> IResolver:
        """
        What looks up names as C{network} has it: see L{Network.resolver
        <txsocks5.config.Network.resolver>} and L{Network.prefer <txsocks5.config.Network.prefer>}.
        """
        families = _FAMILIES.get(network.prefer, (4, 6))
        resolvers: list[IResolver] = []
        for number, entry in enumerate(network.resolver, 1):
            server = readNameServer(entry)
            if server is None:
                resolvers.append(self._theSystem())
            else:
                isLast = number == len(network.resolver)
                resolvers.append(self._asking(server, families, yielding=not isLast))
        return resolvers[0] if len(resolvers) == 1 else InOrder(resolvers)

    def _theSystem(self) -> IResolver:
        """
        What asks the system.
        """
        if self._system is None:
            self._system = SystemResolver(
                self._reactor.nameResolver, running=self._lookUps, now=self._reactor.seconds
            )
        return self._system

    def _asking(self, server: Address, families: tuple[int, ...], *, yielding: bool) -> IResolver:
        """
        What asks a name server.

        @param yielding: see L{NameServer}.
        """
        asking = self._servers.get((server, families, yielding))
        if asking is None:
            turnstile = self._turnstiles.get(server) or Turnstile(_QUESTIONS, _WAITING)
            self._turnstiles[server] = turnstile
            asking = NameServer(
                self._reactor, server, families=families, turnstile=turnstile, yielding=yielding
            )
            self._servers[server, families, yielding] = asking
        return asking

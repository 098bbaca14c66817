"""
Names to addresses, as the system knows them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any

from twisted.internet import address as twistedAddress
from twisted.internet._resolver import GAIResolver
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from .answers import Answers
from .errors import NameNotResolved
from .interfaces import IFairResolver
from .shared import Shared
from .tally import originOf
from .turnstile import Lanes, Turnstile
from .wire import IPAddress, unmapped

__all__ = ["SystemResolver"]

_SHARE = 4
_LEAST = 4
"""
Which part of the look-ups one client may have, and how many in any case.
"""

_REMEMBERED = 1.0
"""
Seconds to remember an answer: programs open several connections to a host at once, and each look-up
takes a thread.
"""


@implementer(IResolutionReceiver)
class _Receiver:
    """
    Collects what Twisted's resolver finds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._addresses: dict[IPAddress, None] = {}
        self.result: Deferred[Sequence[IPAddress]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        Nothing to do yet.
        """

    def addressResolved(self, address: IAddress) -> None:
        """
        Keep an address, unless it only means something together with an interface.
        """
        host = getattr(address, "host", None)
        if isinstance(host, str) and "%" not in host:
            self._addresses[unmapped(ip_address(host))] = None

    def resolutionComplete(self) -> None:
        """
        Fire.
        """
        if self._addresses:
            self.result.callback(tuple(self._addresses))
        else:
            self.result.errback(NameNotResolved(f"no address found for {self._name}"))


def _careful(*args: Any) -> Any:
    """
    Look up a name; whatever goes wrong, nothing is found.  Twisted's resolver takes an error of
    C{getaddrinfo} for that, too, but leaves it to the garbage collector.
    """
    try:
        return socket.getaddrinfo(*args)
    except Exception:
        return []


@implementer(IFairResolver)
class SystemResolver:
    """
    Asks the reactor's name resolver, which by default is the system's C{getaddrinfo} in a
    thread: the hosts file, search lists and all.

    Who asks for a name while it is being looked up hears the same answer, and so does who asks for
    it within a second after that.  That there is none is not remembered.
    """

    def __init__(
        self,
        resolver: IHostnameResolver,
        *,
        running: int = 8,
        waiting: int = 1024,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        @param resolver: usually C{reactor.nameResolver}.

        @param running: how many look-ups run at a time.  Each holds one of the reactor's
            threads, of which there are 10 unless the application asks for more.

        @param waiting: how many more may wait for their turn.

        @param now: tells the time in seconds.
        """
        if type(resolver) is GAIResolver:
            # Twisted's own never answers if there is no file descriptor left for a look-up, and
            # each of those would keep its place for ever.
            getaddrinfo: Any = _careful
            resolver = GAIResolver(resolver._reactor, resolver._getThreadPool, getaddrinfo)
        self._resolver = resolver
        self._turnstile = Turnstile(running, waiting)
        self._lanes = Lanes(max(running // _SHARE, min(running, _LEAST)), waiting // _SHARE)
        self._shared = Shared()
        self._answers = Answers(now)

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name; see L{IResolver.resolve}.
        """
        known = self._answers.recall(name)
        if known is not None:
            return known
        return self._shared.run(name, partial(self._turnstile.run, partial(self._begin, name)))

    def resolveFor(self, client: IPAddress, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name; see L{IFairResolver.resolveFor}.  A quarter of the look-ups that run, and of
        those that wait, may be of one address, or IPv6 /64; and four may run in any case.  What is
        remembered is not looked up.
        """
        known = self._answers.recall(name)
        if known is not None:
            return known
        return self._lanes.run(originOf(client), partial(self.resolve, name))

    def _begin(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Ask the system.
        """
        receiver = _Receiver(name)
        self._resolver.resolveHostName(
            receiver, name, 0, (twistedAddress.IPv4Address, twistedAddress.IPv6Address)
        )
        return receiver.result.addCallback(self._found, name)

    def _found(self, addresses: Sequence[IPAddress], name: str) -> Sequence[IPAddress]:
        """
        Remember an answer.
        """
        self._answers.keep(name, addresses, _REMEMBERED)
        return addresses

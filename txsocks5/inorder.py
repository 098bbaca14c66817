"""
Several resolvers, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from .errors import NameNotResolved, Overloaded
from .interfaces import IFairResolver, IResolver
from .names import NoSuchName
from .wire import IPAddress

__all__ = ["InOrder"]


@implementer(IFairResolver)
class InOrder:
    """
    Asks several resolvers, each if the one before has not known; if one says that there is no such
    name, that is believed.
    """

    def __init__(self, resolvers: Iterable[IResolver]) -> None:
        """
        @param resolvers: at least one.
        """
        self._resolvers = tuple(resolvers)

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name; see L{IResolver.resolve}.
        """
        return Deferred.fromCoroutine(self._resolve(name, None))

    def resolveFor(self, client: IPAddress, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name; see L{IFairResolver.resolveFor}.
        """
        return Deferred.fromCoroutine(self._resolve(name, client))

    async def _resolve(self, name: str, client: IPAddress | None) -> Sequence[IPAddress]:
        """
        Ask each of them.

        @raise NameNotResolved: what the last one has said, for this and L{Overloaded}.
        """
        for resolver in self._resolvers[:-1]:
            try:
                return await _resolved(resolver, name, client)
            except NoSuchName:
                raise
            except (NameNotResolved, Overloaded):
                continue
        return await _resolved(self._resolvers[-1], name, client)


def _resolved(
    resolver: IResolver, name: str, client: IPAddress | None
) -> Deferred[Sequence[IPAddress]]:
    """
    Ask a resolver, on behalf of a client if that is known and matters to it.
    """
    if client is not None and IFairResolver.providedBy(resolver):
        found: Deferred[Sequence[IPAddress]] = resolver.resolveFor(client, name)
        return found
    return resolver.resolve(name)

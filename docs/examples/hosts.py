"""
A resolver: some names are known here, the others are looked up as usual.
"""

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from txsocks5 import IResolver, NameNotResolved
from txsocks5.wire import IPAddress


@implementer(IResolver)
class Hosts:
    """
    Knows the names of one zone.
    """

    def __init__(
        self, zone: str, hosts: Mapping[str, Sequence[IPAddress]], others: IResolver
    ) -> None:
        """
        @param zone: the end of the names that nobody else is asked about, C{.example} say.

        @param others: looks up all other names.
        """
        self._zone = zone
        self._hosts = hosts
        self._others = others

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name.
        """
        if not name.endswith(self._zone):
            return self._others.resolve(name)
        if name not in self._hosts:
            return fail(NameNotResolved(f"there is no {name}"))
        return succeed(self._hosts[name])

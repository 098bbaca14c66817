"""
What each user is entitled to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeVar

import attrs

from .config import Group, Limits, Quota, User
from .wire import IPAddress

__all__ = ["Entitlement", "Roster"]

_T = TypeVar("_T")

_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.0}


@attrs.frozen(kw_only=True)
class Entitlement:
    """
    What holds for one user, whatever it comes from.

    @ivar bandwidth: octets of payload a second, both directions of all of the user's sessions
        together; 0 for no limit.

    @ivar sessions: at the same time; 0 for no limit.

    @ivar quota: octets of payload in a period; L{None} for no limit.

    @ivar outgoing: source addresses of the user's own; none for the server's.

    @ivar expires: the user is refused from this moment on; L{None} for never.

    @ivar groups: the groups that the user is in, in the order of the configuration.

    @ivar isLimited: there is a limit of one kind or another.
    """

    bandwidth: int = 0
    sessions: int = 0
    quota: Quota | None = None
    outgoing: tuple[IPAddress, ...] = ()
    expires: datetime | None = None
    groups: tuple[str, ...] = ()
    isLimited: bool = attrs.field(init=False, eq=False, repr=False)

    @isLimited.default
    def _(self) -> bool:
        return bool(self.bandwidth or self.sessions or self.quota or self.expires)


class Roster:
    """
    Finds the L{Entitlement} of a user: the user's own value goes before a group's, and that before
    the one for all; of several groups the strictest counts.
    """

    def __init__(
        self, limits: Limits, users: Mapping[str, User], groups: Mapping[str, Group]
    ) -> None:
        self._limits = limits
        self._groups = groups
        self._others = self._of(User(), ())
        self._named: dict[str, Entitlement] = {}
        memberships: dict[str, list[str]] = {name: [] for name in users}
        for name, group in groups.items():
            for member in group.members:
                memberships.setdefault(member, []).append(name)
        for name, memberOf in memberships.items():
            self._named[name] = self._of(users.get(name, User()), tuple(memberOf))

    def entitlement(self, name: str) -> Entitlement:
        """
        What a user is entitled to.

        @param name: the empty name is that of everybody who has none: they count as one user.
        """
        return self._named.get(name, self._others)

    def _of(self, user: User, names: tuple[str, ...]) -> Entitlement:
        """
        Put together what holds for C{user}, a member of the groups of these names.
        """
        groups = [self._groups[name] for name in names]
        limits = self._limits
        return Entitlement(
            bandwidth=_first(
                user.bandwidth, _least(each.bandwidth for each in groups), limits.bandwidthPerUser
            ),
            sessions=_first(
                user.sessions, _least(each.sessions for each in groups), limits.sessionsPerUser
            ),
            quota=_limiting(
                _first(user.quota, _scantiest(each.quota for each in groups), limits.quotaPerUser)
            ),
            outgoing=user.outgoing or next((each.outgoing for each in groups if each.outgoing), ()),
            expires=user.expires,
            groups=names,
        )


def _first(own: _T | None, shared: _T | None, general: _T) -> _T:
    """
    The value that goes before the others.
    """
    if own is not None:
        return own
    return general if shared is None else shared


def _least(values: Iterable[int | None]) -> int | None:
    """
    The strictest of the groups' values, of which 0 is no limit, if any group has one.
    """
    given = [value for value in values if value is not None]
    return min(given, key=lambda value: value or float("inf"), default=None)


def _scantiest(quotas: Iterable[Quota | None]) -> Quota | None:
    """
    The strictest of the groups' quotas, if any group has one: that which allows the least in the
    long run.  A month counts as 30 days.
    """
    given = [quota for quota in quotas if quota is not None]
    return min(
        given, key=lambda quota: quota.octets / _DAYS[quota.period] or float("inf"), default=None
    )


def _limiting(quota: Quota | None) -> Quota | None:
    """
    The quota, if it is one: one of no octets is no limit.
    """
    return quota if quota is not None and quota.octets else None

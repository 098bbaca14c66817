"""
Who may do what, and how much of it.
"""

from __future__ import annotations

from datetime import datetime

import attrs

from ..wire import Command, IPAddress
from ._values import IPNetwork, Pattern, Quota

__all__ = ["Group", "Limits", "Rule", "User"]


@attrs.frozen(kw_only=True)
class Limits:
    """
    What all clients together, and each of them, may take; 0, or no quota, is no limit.

    @ivar sessions: requests being served at the same time by the whole server.

    @ivar sessionsPerAddress: those of one client address; an IPv6 /64 counts as one.

    @ivar sessionsPerUser: those of one user.

    @ivar handshakesPerAddress: connections of one address that have not authenticated yet.

    @ivar bandwidthPerUser: octets of payload a second of one user, both directions together.

    @ivar quotaPerUser: octets of payload that one user may have relayed in a period.

    @ivar database: the SQLite file in which quotas survive a restart; required where there
        is a quota.
    """

    sessions: int = 0
    sessionsPerAddress: int = 0
    sessionsPerUser: int = 0
    handshakesPerAddress: int = 64
    bandwidthPerUser: int = 0
    quotaPerUser: Quota | None = None
    database: str = ""


@attrs.frozen(kw_only=True)
class User:
    """
    What is special about one user.

    @ivar expires: the user is refused from this moment on; a date means its beginning in UTC.

    @ivar bandwidth: octets of payload a second, of all of the user's sessions together;
        L{None} for what the user's groups or the limits say, 0 for no limit.

    @ivar sessions: at the same time; L{None} and 0 likewise.

    @ivar quota: L{None} for what the groups or the limits say; one of 0 octets is no limit.

    @ivar outgoing: the source addresses of the user's connections and datagrams, at most one of a
        family.
    """

    expires: datetime | None = None
    bandwidth: int | None = None
    sessions: int | None = None
    quota: Quota | None = None
    outgoing: tuple[IPAddress, ...] = ()


@attrs.frozen(kw_only=True)
class Group:
    """
    What some users have in common.  Its values are those of each of its members on their own.

    @ivar members: the users' names.

    @ivar bandwidth: see L{User.bandwidth}; of several groups the strictest counts.

    @ivar sessions: see L{User.sessions}.

    @ivar quota: see L{User.quota}.

    @ivar outgoing: see L{User.outgoing}; of several groups the first in the file counts.
    """

    members: frozenset[str] = frozenset()
    bandwidth: int | None = None
    sessions: int | None = None
    quota: Quota | None = None
    outgoing: tuple[IPAddress, ...] = ()


@attrs.frozen(kw_only=True)
class Rule:
    """
    One rule.  It matches if all the conditions that it states hold.

    @ivar name: for people and the log; C{rule N} where the file has none.

    @ivar allow: the commands that it allows.

    @ivar deny: the commands that it denies.  A rule has either this or C{allow}.

    @ivar users: names, and groups as C{@name}; L{None} for anybody.

    @ivar source: client networks, the key C{from}; L{None} for anywhere.

    @ivar to: destinations; L{None} for any.

    @ivar ports: of the destination, each a range without its C{stop}; L{None} for any.

    @ivar bandwidth: octets of payload a second that all sessions share which this rule allowed;
        0 for no limit.

    @ivar sessions: how many of them there may be at a time; 0 for no limit.

    @ivar quota: how much they may relay together.
    """

    name: str
    allow: frozenset[Command] | None = None
    deny: frozenset[Command] | None = None
    users: tuple[str, ...] | None = None
    source: tuple[IPNetwork, ...] | None = attrs.field(default=None, metadata={"key": "from"})
    to: tuple[Pattern, ...] | None = None
    ports: tuple[range, ...] | None = None
    bandwidth: int = 0
    sessions: int = 0
    quota: Quota | None = None

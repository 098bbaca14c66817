"""
Who may do what, and how much of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import attrs

from ._forms import COUNT, BadValue, Count, Form, Name, Text, described, each, some
from ._patterns import readNetwork, readPattern
from ._sizes import Quota, QuotaText, Rate
from ._values import (
    AddressText,
    CommandWord,
    IPNetwork,
    Moment,
    NamedSet,
    NamePattern,
    Pattern,
    PortsOrPort,
    addresses,
)

__all__ = ["Group", "Limits", "Rule", "User", "timestamp"]

_MOST = 2**63 - 1
_MEMBER = "the name of a user, which does not begin with @"
_USER = 'the name of a user, or of a group as "@NAME"'
_NETWORK = 'a network, such as "10.0.0.0/8" or "2001:db8::/32", or an address'
_PATTERN = (
    'a name, such as "www.example.com"; "*.example.com", for the names below it; an address; a '
    'network, such as "192.0.2.0/24"; or "loopback", "link-local", "private", "cgnat", "metadata", '
    '"multicast", "reserved", "any"'
)


def _readMember(value: object) -> str:
    """
    @raise BadValue: it is no name, or that of a group.
    """
    if not isinstance(value, str) or not value or value.startswith("@"):
        raise BadValue(described(value), _MEMBER)
    return value


def _readUser(value: object) -> str:
    """
    @raise BadValue: it is no name.
    """
    if not isinstance(value, str) or not value.removeprefix("@"):
        raise BadValue(described(value), _USER)
    return value


def _readNetwork(value: object) -> IPNetwork:
    """
    @raise ValueError: it is no network, or has host bits set.
    """
    if not isinstance(value, str):
        raise BadValue(described(value), _NETWORK)
    return readNetwork(value)


def _readPattern(value: object) -> Pattern:
    """
    @raise ValueError: it is no pattern.
    """
    if not isinstance(value, str):
        raise BadValue(described(value), _PATTERN)
    return readPattern(value)


def _writePattern(pattern: Pattern) -> str:
    """
    A pattern as it would be read again.
    """
    if isinstance(pattern, NamedSet):
        return described(pattern.name)
    if not isinstance(pattern, NamePattern):
        return described(str(pattern))
    if pattern.below:
        return described(f"*.{pattern.name}")
    # Without the dot, some names are those of sets.
    alone = isinstance(readPattern(pattern.name), NamePattern)
    return described(pattern.name if alone else f"{pattern.name}.")


Member: TypeAlias = Annotated[str, Form(_MEMBER, _readMember)]
"""
A user.
"""

UserOrGroup: TypeAlias = Annotated[str, Form(_USER, _readUser)]
"""
A user, or a group.
"""

NetworkText: TypeAlias = Annotated[IPNetwork, Form(_NETWORK, _readNetwork, _writePattern)]
"""
Where clients are.
"""

PatternText: TypeAlias = Annotated[Pattern, Form(_PATTERN, _readPattern, _writePattern)]
"""
A destination.
"""


def _amount(instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    """
    @raise BadValue: C{value} is no number of something.
    """
    if value is not None and not 0 <= value <= _MOST:
        raise BadValue(described(value), f"a whole number from 0 to {_MOST}", attribute.name)


def _unlessNone(quota: Quota | None) -> Quota | None:
    """
    A quota of no octets is none.
    """
    return quota if quota and quota.octets else None


@attrs.frozen(kw_only=True)
class Limits:
    """
    What all clients together, and each of them, may take; 0, or no quota, is no limit.

    @ivar sessions: requests being served at the same time by the whole server.

    @ivar sessionsPerAddress: those of one client address; an IPv6 /64 counts as one.

    @ivar sessionsPerUser: those of one user.

    @ivar handshakesPerAddress: connections of one client address that have not made their request
        yet.

    @ivar bandwidthPerUser: octets of payload a second of one user, both directions and all sessions
        together.

    @ivar quotaPerUser: octets of payload that one user may have relayed in a period.

    @ivar database: the SQLite file in which quotas survive a restart; required where there
        is a quota.
    """

    sessions: Count = attrs.field(default=0, validator=COUNT)
    sessionsPerAddress: Count = attrs.field(default=0, validator=COUNT)
    sessionsPerUser: Count = attrs.field(default=0, validator=COUNT)
    handshakesPerAddress: Count = attrs.field(default=64, validator=COUNT)
    bandwidthPerUser: Rate = attrs.field(default=0, validator=_amount)
    quotaPerUser: QuotaText | None = attrs.field(default=None, converter=_unlessNone)
    database: Text = ""


@attrs.frozen(kw_only=True)
class User:
    """
    What is special about one user.

    @ivar expires: the user is refused from this moment on; a date means its beginning in UTC.

    @ivar bandwidth: octets of payload a second, of all of the user's sessions together, both
        directions; if it is absent, what the user's groups or the limits say.

    @ivar sessions: how many the user may have at the same time, 0 for any number; if it is absent,
        what the user's groups or the limits say.

    @ivar quota: octets of payload that the user may have relayed in a period; if it is absent, what
        the user's groups or the limits say.

    @ivar outgoing: the source addresses of the user's connections and datagrams, at most one of a
        family; if it is absent, those of the groups or of the server.
    """

    expires: Moment | None = None
    bandwidth: Rate | None = attrs.field(default=None, validator=_amount)
    sessions: Count | None = attrs.field(default=None, validator=_amount)
    quota: QuotaText | None = None
    outgoing: tuple[AddressText, ...] = attrs.field(
        default=(), converter=addresses, metadata={"lone": True}
    )


@attrs.frozen(kw_only=True)
class Group:
    """
    What some users have in common.  Its values are those of each of its members on their own.

    @ivar members: the names of the users that are in it.

    @ivar bandwidth: as a user's; of several groups the strictest counts.

    @ivar sessions: as a user's; of several groups the strictest counts.

    @ivar quota: as a user's; of several groups the one that allows the least in the long run
        counts.

    @ivar outgoing: as a user's; of several groups the first in the file that has one counts.
    """

    members: frozenset[Member] = attrs.field(
        default=frozenset(), converter=frozenset, validator=each(_readMember)
    )
    bandwidth: Rate | None = attrs.field(default=None, validator=_amount)
    sessions: Count | None = attrs.field(default=None, validator=_amount)
    quota: QuotaText | None = None
    outgoing: tuple[AddressText, ...] = attrs.field(
        default=(), converter=addresses, metadata={"lone": True}
    )


@attrs.frozen(kw_only=True)
class Rule:
    """
    One rule.  It matches if all the conditions that it states hold.

    @ivar name: what people and the log call it; if it is absent, C{rule N}, counted from 1.

    @ivar allow: the commands that it allows.

    @ivar deny: the commands that it denies.  A rule has either this or C{allow}.

    @ivar users: for whom it is; if it is absent, for anybody.

    @ivar source: from where, the key C{from}; if it is absent, from anywhere.

    @ivar to: for which destinations; if it is absent, for any.

    @ivar ports: for which ports of the destination; if it is absent, for any.

    @ivar bandwidth: octets of payload a second that all sessions share which this rule has allowed,
        both directions together.

    @ivar sessions: how many of them there may be at a time; 0 for any number.

    @ivar quota: how much they may relay together in a period.
    """

    name: Name
    allow: frozenset[CommandWord] | None = attrs.field(default=None, validator=some)
    deny: frozenset[CommandWord] | None = attrs.field(default=None, validator=some)
    users: tuple[UserOrGroup, ...] | None = attrs.field(
        default=None, validator=[some, each(_readUser)]
    )
    source: tuple[NetworkText, ...] | None = attrs.field(
        default=None, validator=some, metadata={"key": "from"}
    )
    to: tuple[PatternText, ...] | None = attrs.field(default=None, validator=some)
    ports: tuple[PortsOrPort, ...] | None = attrs.field(default=None, validator=some)
    bandwidth: Rate = attrs.field(default=0, validator=_amount)
    sessions: Count = attrs.field(default=0, validator=COUNT)
    quota: QuotaText | None = attrs.field(default=None, converter=_unlessNone)

    def __attrs_post_init__(self) -> None:
        """
        @raise BadValue: it allows and denies, or neither.
        """
        if (self.allow is None) == (self.deny is None):
            found = "neither allow nor deny" if self.allow is None else "both allow and deny"
            raise BadValue(found, "one of them")


def timestamp(moment: datetime) -> float:
    """
    Seconds since 1970 in UTC; a time without a zone is one of UTC.
    """
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

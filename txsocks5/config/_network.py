"""
How the server meets the network, what failures cost, and how long things may take.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, TypeAlias

import attrs

from ..wire import Command, IPAddress
from ._forms import (
    COUNT,
    SECONDS,
    BadValue,
    Count,
    Form,
    Seconds,
    Switch,
    described,
    each,
    oneOf,
    some,
    validated,
)
from ._values import AddressText, CommandWord, NameServer, Ports, addresses, readNameServer

__all__ = ["PREFERENCES", "Failures", "Network", "Timeouts", "ofFamily"]

PREFERENCES = ("happy-eyeballs", "ipv4", "ipv6", "ipv4-only", "ipv6-only")
"""
What L{Network.prefer} can be.
"""

_PREFERENCE = oneOf(PREFERENCES)
_LINGER = "a number of seconds above 0 and below 10"

Preference: TypeAlias = Annotated[str, _PREFERENCE]
"""
One of L{PREFERENCES}.
"""


def _commands(values: Iterable[int]) -> frozenset[Command]:
    """
    Read commands.

    @raise ValueError: one is none.
    """
    return frozenset(Command(value) for value in values)


def _reachable(instance: object, attribute: object, values: tuple[IPAddress, ...]) -> None:
    """
    Clients would take the unspecified address literally (R-1928-69).

    @raise BadValue: an address is none that clients could connect to.
    """
    for address in values:
        if address.is_unspecified:
            raise BadValue(f'"{address}"', "an address that clients can reach", "advertise")


def _readLinger(value: object) -> float:
    """
    @raise BadValue: RFC 1928 section 6 wants the connection gone 10 seconds after the failure.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10:
        raise BadValue(described(value), _LINGER)
    return value


Linger: TypeAlias = Annotated[float, Form(_LINGER, _readLinger)]
"""
How long a client that was refused is waited for.
"""


@attrs.frozen(kw_only=True)
class Failures:
    """
    What failed passwords cost, R-1929-09.

    @ivar delay: seconds before a refusal is sent.  It doubles with each further
        failure from the same address, up to 8 seconds; a success starts it afresh.

    @ivar limit: failures of one address within C{window}, after which it is refused
        at once and unheard; and failures as one user, wherever from, after which each address
        has one guess at that user.  0 for no limit.

    @ivar window: seconds.
    """

    delay: Seconds = attrs.field(default=0.5, validator=SECONDS)
    limit: Count = attrs.field(default=20, validator=COUNT)
    window: Seconds = attrs.field(default=300, validator=SECONDS)


@attrs.frozen(kw_only=True)
class Network:
    """
    How the server meets the network.

    @ivar commands: the commands that are served; the others are answered with
        REP C{07}.

    @ivar advertise: what BND.ADDR says for BIND and UDP ASSOCIATE where clients or
        peers reach the server by other addresses than its own: at most one IPv4
        and one IPv6 address.

    @ivar ports: the ports that BIND and UDP ASSOCIATE take, both ends included; if it is absent
        the system chooses.

    @ivar outgoing: the source addresses of outgoing connections and datagrams: at
        most one IPv4 and one IPv6 address.

    @ivar prefer: which family comes first: C{happy-eyeballs} (IPv6 first, then in turn,
        RFC 8305), C{ipv4} or C{ipv6}; or which is the only one: C{ipv4-only} or
        C{ipv6-only}.

    @ivar udpReassembly: put fragmented datagrams together; otherwise drop them.

    @ivar udpFullCone: pass on answers from hosts that the client has not sent to.

    @ivar resolver: who is asked for the addresses of names, in this order: the system, with its
        hosts file, or name servers, which are asked directly.

    @ivar strict: refuse requests and drop datagrams in which RSV is not zero.
    """

    commands: frozenset[CommandWord] = attrs.field(
        default=frozenset(Command), converter=_commands, validator=some
    )
    advertise: tuple[AddressText, ...] = attrs.field(
        default=(), converter=addresses, validator=_reachable
    )
    ports: Ports | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(range))
    )
    outgoing: tuple[AddressText, ...] = attrs.field(default=(), converter=addresses)
    prefer: Preference = attrs.field(
        default="happy-eyeballs", validator=validated(_PREFERENCE.read)
    )
    resolver: tuple[NameServer, ...] = attrs.field(
        default=("system",), validator=[some, each(readNameServer)]
    )
    udpReassembly: Switch = True
    udpFullCone: Switch = False
    strict: Switch = False

    def advertised(self, like: IPAddress) -> IPAddress:
        """
        The address to report instead of C{like}: the advertised one of its family,
        or C{like} itself.
        """
        return ofFamily(like.version, self.advertise) or like


def ofFamily(version: int, addresses: tuple[IPAddress, ...]) -> IPv4Address | IPv6Address | None:
    """
    Find the address of one family.

    @param version: 4 or 6.
    """
    for address in addresses:
        if address.version == version:
            return address
    return None


@attrs.frozen(kw_only=True)
class Timeouts:
    """
    How long things may take, in seconds; 0 is for ever.

    @ivar handshake: from accepting a connection to the last octet of the request;
        traffic does not extend it.

    @ivar connect: looking up a name and connecting, together.

    @ivar bind: waiting for the peer of a BIND.

    @ivar idle: how long a relay may be without traffic.

    @ivar halfClosed: how long a relay may be without traffic of which one side has finished.

    @ivar udpIdle: how long an association may be without traffic.

    @ivar drain: how long a server that stops waits for its sessions to end by themselves.

    @ivar linger: how long a client may take to close after a refusal.  RFC 1928
        section 6 wants the connection gone 10 seconds after the failure.
    """

    handshake: Seconds = attrs.field(default=30, validator=SECONDS)
    connect: Seconds = attrs.field(default=30, validator=SECONDS)
    bind: Seconds = attrs.field(default=120, validator=SECONDS)
    idle: Seconds = attrs.field(default=0, validator=SECONDS)
    halfClosed: Seconds = attrs.field(default=300, validator=SECONDS)
    udpIdle: Seconds = attrs.field(default=300, validator=SECONDS)
    drain: Seconds = attrs.field(default=30, validator=SECONDS)
    linger: Linger = attrs.field(default=3, validator=validated(_readLinger))

"""
How the server meets the network, what failures cost, and how long things may take.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import attrs

from ..wire import Command, IPAddress, unmapped

__all__ = ["PREFERENCES", "Failures", "Network", "Timeouts", "ofFamily"]

PREFERENCES = ("happy-eyeballs", "ipv4", "ipv6", "ipv4-only", "ipv6-only")
"""
What L{Network.prefer} can be.
"""


def _addresses(values: Iterable[IPAddress | str]) -> tuple[IPAddress, ...]:
    """
    Read addresses.

    @raise ValueError: one is none, or there are two of a family.
    """
    found = tuple(unmapped(ip_address(value)) for value in values)
    if len({address.version for address in found}) < len(found):
        raise ValueError("more than one address of a family")
    return found


def _commands(values: Iterable[int]) -> frozenset[Command]:
    """
    Read commands.

    @raise ValueError: one is none.
    """
    return frozenset(Command(value) for value in values)


def _preference(instance: object, attribute: object, value: str) -> None:
    """
    @raise ValueError: C{value} is no preference.
    """
    if value not in PREFERENCES:
        raise ValueError(f"prefer: {value!r} is none of {', '.join(PREFERENCES)}")


def _notNegative(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """
    @raise ValueError: C{value} is no number from 0 up.
    """
    if not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"{attribute.name}: {value!r} is no number from 0 up")


@attrs.frozen(kw_only=True)
class Failures:
    """
    What failed passwords cost, R-1929-09.

    @ivar delay: seconds before a refusal is sent.  It doubles with each further
        failure from the same address, up to 8 seconds; a success starts it afresh.

    @ivar limit: failures of one address within C{window}, after which it is refused
        at once and unheard.  0 for no limit.

    @ivar window: seconds.
    """

    delay: float = attrs.field(default=0.5, validator=_notNegative)
    limit: int = attrs.field(default=20, validator=_notNegative)
    window: float = attrs.field(default=300, validator=_notNegative)


@attrs.frozen(kw_only=True)
class Network:
    """
    How the server meets the network.

    @ivar commands: the commands that are served; the others are answered with
        REP C{07}.

    @ivar advertise: what BND.ADDR says for BIND and UDP ASSOCIATE where clients or
        peers reach the server by other addresses than its own: at most one IPv4
        and one IPv6 address.

    @ivar ports: the ports that BIND and UDP ASSOCIATE take; L{None} lets the system
        choose.

    @ivar outgoing: the source addresses of outgoing connections and datagrams: at
        most one IPv4 and one IPv6 address.

    @ivar prefer: which family comes first: C{happy-eyeballs} (IPv6 first, then in turn,
        RFC 8305), C{ipv4} or C{ipv6}; or which is the only one: C{ipv4-only} or
        C{ipv6-only}.

    @ivar udpReassembly: put fragmented datagrams together; otherwise drop them.

    @ivar udpFullCone: pass on answers from hosts that the client has not sent to.

    @ivar resolver: who is asked for the addresses of names: C{system}, or name servers as
        C{192.0.2.53}, C{127.0.0.1:5353} or C{[::1]:5353}, tried in this order.

    @ivar strict: refuse requests and drop datagrams in which RSV is not zero.
    """

    commands: frozenset[Command] = attrs.field(default=frozenset(Command), converter=_commands)
    advertise: tuple[IPAddress, ...] = attrs.field(default=(), converter=_addresses)
    ports: range | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(range))
    )
    outgoing: tuple[IPAddress, ...] = attrs.field(default=(), converter=_addresses)
    prefer: str = attrs.field(default="happy-eyeballs", validator=_preference)
    resolver: tuple[str, ...] = ("system",)
    udpReassembly: bool = True
    udpFullCone: bool = False
    strict: bool = False

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

    @ivar connect: resolving and connecting together.

    @ivar bind: waiting for the peer of a BIND.

    @ivar idle: a relay without traffic.

    @ivar halfClosed: a relay without traffic of which one side has finished.

    @ivar udpIdle: an association without traffic.

    @ivar drain: how long a server that stops waits for its sessions to end by themselves.

    @ivar linger: after a refusal, how long the client may take to close.  RFC 1928
        section 6 wants the connection gone 10 seconds after the failure.
    """

    handshake: float = attrs.field(default=30, validator=_notNegative)
    connect: float = attrs.field(default=30, validator=_notNegative)
    bind: float = attrs.field(default=120, validator=_notNegative)
    idle: float = attrs.field(default=0, validator=_notNegative)
    halfClosed: float = attrs.field(default=300, validator=_notNegative)
    udpIdle: float = attrs.field(default=300, validator=_notNegative)
    drain: float = attrs.field(default=30, validator=_notNegative)
    linger: float = attrs.field(
        default=3, validator=attrs.validators.and_(attrs.validators.gt(0), attrs.validators.lt(10))
    )

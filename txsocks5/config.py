"""
The settings of a server, each with its unit and default.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import attrs

from .wire import Command, IPAddress

__all__ = ["Failures", "Network", "Timeouts"]

PREFERENCES = ("happy-eyeballs", "ipv4", "ipv6", "ipv4-only", "ipv6-only")
"""
What L{Network.prefer} can be.
"""


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

    delay: float = 0.5
    limit: int = 20
    window: float = 300


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

    @ivar strict: refuse requests and drop datagrams in which RSV is not zero.
    """

    commands: frozenset[Command] = frozenset(Command)
    advertise: tuple[IPAddress, ...] = ()
    ports: range | None = None
    outgoing: tuple[IPAddress, ...] = ()
    prefer: str = attrs.field(default="happy-eyeballs", validator=attrs.validators.in_(PREFERENCES))
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

    @ivar linger: after a refusal, how long the client may take to close.  RFC 1928
        section 6 wants the connection gone 10 seconds after the failure.
    """

    handshake: float = 30
    connect: float = 30
    bind: float = 120
    idle: float = 0
    halfClosed: float = 300
    udpIdle: float = 300
    linger: float = attrs.field(
        default=3, validator=attrs.validators.and_(attrs.validators.gt(0), attrs.validators.lt(10))
    )

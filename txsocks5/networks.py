"""
The networks with a meaning of their own, by name, as in S-05 and S-07.

The standard library's C{is_private} and its like are not used: what they say differs
between versions, and is wrong for addresses that hold others.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from types import MappingProxyType

from .index import NetworkIndex, first
from .wire import IPAddress

__all__ = ["SETS", "choosesEmbedded", "containing", "embedded", "setOf"]


def _networks(*texts: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in texts)


SETS: Mapping[str, tuple[IPv4Network | IPv6Network, ...]] = MappingProxyType(
    {
        "metadata": _networks(
            "169.254.169.254/32", "100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128"
        ),
        "loopback": _networks("127.0.0.0/8", "::1/128"),
        "link-local": _networks("169.254.0.0/16", "fe80::/10"),
        "private": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        "cgnat": _networks("100.64.0.0/10"),
        "multicast": _networks("224.0.0.0/4", "ff00::/8"),
        # 2001::/32 is Teredo: the address inside is obscured, so none of it is let
        # through.  fec0::/10 is what fc00::/7 replaced.
        "reserved": _networks(
            "0.0.0.0/8",
            "192.0.0.0/24",
            "198.18.0.0/15",
            "240.0.0.0/4",
            "::/128",
            "2001::/32",
            "fec0::/10",
        ),
    }
)
"""
What an exposed server does not let anybody reach unless a rule says so.
"""

# Where the IPv4 address begins, in the networks of the addresses that hold one.
_LAST_FOUR = _networks("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")

_PREFIXES_96 = frozenset(int(network.network_address) >> 32 for network in _LAST_FOUR)
_PREFIX_48 = int(_LOCAL_NAT64.network_address) >> 80
_PREFIX_16 = int(_SIX_TO_FOUR.network_address) >> 112


def embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    """
    The IPv4 addresses that the system, or a translator on the way, might turn an IPv6 address
    into: IPv4-compatible, IPv4-mapped, IPv4-translated, NAT64 (RFC 6052) and 6to4.

    @return: none, one, or two where it cannot be told at which of two places the address stands.
    """
    if isinstance(address, IPv4Address):
        return ()
    value = int(address)
    if value >> 32 in _PREFIXES_96:
        # :: and ::1 are what they are.
        return (IPv4Address(value & 0xFFFFFFFF),) if value > 1 else ()
    if value >> 112 == _PREFIX_16:
        return (IPv4Address(value >> 80 & 0xFFFFFFFF),)
    if value >> 80 == _PREFIX_48:
        octets = address.packed
        # At the end for a prefix of 96 bits, behind the prefix for one of 48.  The place where it
        # does not stand is mostly zero, and 0.0.0.0 is nowhere.
        places = (IPv4Address(octets[12:]), IPv4Address(octets[6:8] + octets[9:11]))
        return tuple(place for place in places if int(place)) or places[:1]
    return ()


def choosesEmbedded(network: IPv4Network | IPv6Network) -> bool:
    """
    Whether a network holds some of the IPv6 addresses of one of the forms that L{embedded} knows,
    but not all of them: then whoever has written it has thought of IPv4 addresses.
    """
    if isinstance(network, IPv4Network):
        return False
    length = network.prefixlen
    start = int(network.network_address)
    if length > _SIX_TO_FOUR.prefixlen and start >> 112 == _PREFIX_16:
        return True
    return length > 96 and (start >> 32 in _PREFIXES_96 or start >> 80 == _PREFIX_48)


_INDEX = NetworkIndex(
    (network, 1 << number) for number, networks in enumerate(SETS.values()) for network in networks
)
_NAMES = tuple(SETS)


def setOf(address: IPAddress) -> str | None:
    """
    Find the first of L{SETS} that holds an address, whatever may be embedded in it.

    @return: the name of the set, or L{None}.
    """
    mask = _INDEX.holding(address)
    return _NAMES[first(mask)] if mask else None


def containing(address: IPAddress) -> str | None:
    """
    Find the first of L{SETS} that holds an address, or one embedded in it.

    @return: the name of the set, or L{None} for an address of the open internet.
    """
    name = setOf(address)
    for face in embedded(address):
        name = name or setOf(face)
    return name

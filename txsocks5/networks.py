"""
The networks with a meaning of their own, by name, as in S-05 and S-07.

The standard library's C{is_private} and its like are not used: what they say differs
between versions, and is wrong for addresses that hold others.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from types import MappingProxyType

from .wire import IPAddress

__all__ = ["SETS", "containing", "embedded"]


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

_LAST_FOUR = _networks("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
_SIX_TO_FOUR = ip_network("2002::/16")
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")


def embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    """
    The IPv4 addresses that the system, or a translator on the way, might turn an IPv6 address
    into: IPv4-compatible, IPv4-mapped, IPv4-translated, NAT64 (RFC 6052) and 6to4.

    @return: none, one, or two where it cannot be told at which of two places the address stands.
    """
    if isinstance(address, IPv4Address):
        return ()
    octets = address.packed
    if any(address in network for network in _LAST_FOUR):
        return (IPv4Address(octets[12:]),)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(octets[2:6]),)
    if address in _LOCAL_NAT64:
        # At the end for a prefix of 96 bits, behind the prefix for one of 48.  The place where it
        # does not stand is mostly zero, and 0.0.0.0 is nowhere.
        places = (IPv4Address(octets[12:]), IPv4Address(octets[6:8] + octets[9:11]))
        return tuple(place for place in places if int(place)) or places[:1]
    return ()


def containing(address: IPAddress) -> str | None:
    """
    Find the first of L{SETS} that holds an address, or one embedded in it.

    @return: the name of the set, or L{None} for an address of the open internet.
    """
    # :: and ::1 would count as embedding 0.0.0.0 and 0.0.0.1.
    faces: tuple[IPv4Address | IPv6Address, ...] = (address, *embedded(address))
    for face in faces:
        for name, networks in SETS.items():
            if any(face in network for network in networks):
                return name
    return None

"""
Destinations and client networks, from text.

Names come out in the form in which requests bring them: see L{parseHost
<txsocks5.wire.parseHost>}.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network

import idna

from ..errors import BadName
from ..networks import SETS
from ..wire import Host, parseHost
from ._values import IPNetwork, NamedSet, NamePattern, Pattern

__all__ = ["ANY", "readNetwork", "readPattern"]

ANY = "any"
"""
The name of the set that holds every address.
"""

_NAMED = {name: NamedSet(name) for name in (*sorted(SETS), ANY)}

_DESTINATIONS = (
    "allowed are a name such as www.example.com, *.example.com for the names below it, an address, "
    f"a network such as 192.0.2.0/24, and {', '.join(_NAMED)}"
)
_NETWORKS = "allowed are an address, and a network such as 192.0.2.0/24 or 2001:db8::/32"

# The standard library would also take a mask, and guess whether 0.0.255.255 is an inverse one.
_LENGTH = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")

_MAPPED = IPv6Network("::ffff:0:0/96")


def readPattern(text: str) -> Pattern:
    """
    Read one entry of a rule's C{to}.

    @param text: one of the L{SETS}, or C{any}; a network or an address; a name; or C{*.} and a
        name, for all names below it.  What could be a set or a name is a set, and a name if it
        ends in a dot.

    @return: names in lower case, in ASCII (IDNA, mapped as in UTS 46), without a trailing dot; a
        single address as the network that holds nothing else; an IPv4-mapped network as the IPv4
        one.

    @raise ValueError: it is none of these.  The text says what it is, and what is allowed.
    """
    named = _NAMED.get(text.lower())
    if named is not None:
        return named
    if "/" in text:
        return _network(text, _DESTINATIONS)
    below = text.startswith("*.")
    host = _host(text, text[2:] if below else text)
    if isinstance(host, str):
        return NamePattern(host, below)
    if below:
        raise ValueError(f"{text!r} asks for the names below an address; {_DESTINATIONS}")
    return _network(str(host), _DESTINATIONS)


def readNetwork(text: str) -> IPNetwork:
    """
    Read one entry of a rule's C{from}.

    @param text: a network such as C{192.0.2.0/24} or C{2001:db8::/32}, or an address.

    @return: see L{readPattern}.

    @raise ValueError: it is neither.  The text says what it is, and what is allowed.
    """
    return _network(text, _NETWORKS)


def _network(text: str, allowed: str) -> IPNetwork:
    """
    Read a network, or an address.

    @raise ValueError: it is neither, or an address within a network.
    """
    family = IPv6Network if ":" in text else IPv4Network
    address, slash, length = text.partition("/")
    if "%" in address or (slash and not _LENGTH.match(length)):
        raise ValueError(f"{text!r} is no network; {allowed}")
    network: IPNetwork
    try:
        network = family(text)
    except ValueError:
        try:
            whole = family(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no network; {allowed}") from None
        raise ValueError(
            f"{text!r} has bits set behind its first {length}; the network is {whole}, "
            f"and the address alone {address}"
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Requests never bring the mapped form.
        octets = network.network_address.packed[12:]
        return IPv4Network((octets, network.prefixlen - _MAPPED.prefixlen))
    return network


def _host(text: str, name: str) -> Host:
    """
    Read a name, or an address, as from a request.

    @param text: what the error is to quote.

    @raise ValueError: it is neither.
    """
    try:
        host = parseHost((name if name.isascii() else _ascii(name)).encode())
    except (BadName, idna.IDNAError) as error:
        why = str(error)
    else:
        if isinstance(host, str) or name.isascii():
            return host
        why = "not an address, as its digits are not ASCII"
    if name.startswith("."):
        why = "a name begins with no dot, and the names below it are written with '*.'"
    elif "*" in name:
        why = "an asterisk stands at the beginning, before a dot, and nowhere else"
    raise ValueError(f"{text!r}: {why}; {_DESTINATIONS}")


def _ascii(name: str) -> str:
    """
    Turn a name into the form that is looked up.  Labels that are ASCII stay as they are, since
    IDNA knows no underscore.

    @raise IDNAError: it cannot have one.
    """
    labels = idna.uts46_remap(name, std3_rules=False).split(".")
    return ".".join(
        label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels
    )

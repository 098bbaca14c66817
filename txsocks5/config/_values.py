"""
The values that a configuration is made of, beyond numbers and texts.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Union

import attrs

__all__ = ["IPNetwork", "NamePattern", "NamedSet", "Pattern", "Quota"]

IPNetwork = Union[IPv4Network, IPv6Network]  # noqa: UP007 - an alias that pydoctor reads


@attrs.frozen
class Quota:
    """
    How much may be relayed in a period of the calendar, in UTC.

    @ivar octets: of payload, both directions together.

    @ivar period: C{hour}, C{day}, C{week} (from Monday) or C{month}.
    """

    octets: int
    period: str


@attrs.frozen
class NamePattern:
    """
    A destination by its name as asked.

    @ivar name: in lower case and ASCII, without a trailing dot.

    @ivar below: whether it holds for every name below C{name}, and not for C{name}.
    """

    name: str
    below: bool = False


@attrs.frozen
class NamedSet:
    """
    One of the L{SETS <txsocks5.networks.SETS>}, or C{any}.
    """

    name: str


Pattern = Union[NamePattern, NamedSet, IPv4Network, IPv6Network]  # noqa: UP007
"""
One entry of a rule's C{to}.
"""

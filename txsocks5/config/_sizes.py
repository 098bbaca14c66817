"""
Sizes, rates and quotas, as values and as text.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import attrs

from ._forms import BadValue, Form, described

__all__ = [
    "NO_QUOTA",
    "PERIODS",
    "Quota",
    "QuotaText",
    "Rate",
    "readQuota",
    "readRate",
    "writeQuota",
    "writeRate",
    "writeSize",
]

# The largest first.
_UNITS = {
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "kB": 10**3,
}
# What a database and a 64 bit counter can hold.
_MOST = 2**63 - 1
_SIZE = re.compile(rf"([0-9]{{1,19}})({'|'.join(_UNITS)})/([a-z]+)", re.ASCII)

PERIODS = ("hour", "day", "week", "month")
"""
The periods that a L{Quota} can be for.
"""

_ALLOWED = "a whole number with KiB, MiB, GiB, TiB, kB, MB, GB or TB"
_RATE = f'{_ALLOWED} and /s, such as "10MiB/s", or "0" for none'
_QUOTA = f'{_ALLOWED} and /hour, /day, /week or /month, such as "50GiB/day", or "0" for none'


@attrs.frozen
class Quota:
    """
    How much may be relayed in a period of the calendar, in UTC.

    @ivar octets: of payload, both directions together.

    @ivar period: C{hour}, C{day}, C{week} (from Monday) or C{month}.
    """

    octets: int
    period: str

    def __attrs_post_init__(self) -> None:
        """
        @raise BadValue: that is no quota.
        """
        if not 0 <= self.octets <= _MOST:
            raise BadValue(described(self.octets), f"from 0 to {_MOST} octets")
        if self.period not in PERIODS:
            raise BadValue(described(self.period), f"one of {', '.join(PERIODS)}")


NO_QUOTA = Quota(0, "day")
"""
What says that there is none: one of no octets, in whatever period.
"""


def _read(value: object, allowed: str) -> tuple[int, str]:
    """
    Take a size apart.

    @return: octets, and what stands behind the slash.

    @raise BadValue: it is none.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValue(described(value), allowed)
    octets = int(match[1]) * _UNITS[match[2]]
    if octets > _MOST:
        raise BadValue(described(value), f"less than {2**23} TiB")
    return octets, match[3]


def readRate(value: object) -> int:
    """
    Read a bandwidth.

    @return: octets a second; 0 for no limit.

    @raise BadValue: it is none.
    """
    if value == "0":
        return 0
    octets, period = _read(value, _RATE)
    if period != "s":
        raise BadValue(described(value), _RATE)
    return octets


def readQuota(value: object) -> Quota:
    """
    Read a quota.

    @return: it; L{NO_QUOTA} for no limit.

    @raise BadValue: it is none.
    """
    if value == "0":
        return NO_QUOTA
    octets, period = _read(value, _QUOTA)
    if period not in PERIODS:
        raise BadValue(described(value), _QUOTA)
    return Quota(octets, period)


def writeSize(octets: int) -> str:
    """
    Write a size with the largest unit in which it is a whole number.

    @return: such as C{10MiB}; the number alone if there is no such unit.
    """
    for unit, size in _UNITS.items():
        if octets and octets % size == 0:
            return f"{octets // size}{unit}"
    return str(octets)


def writeRate(octets: int) -> str:
    """
    Write a bandwidth, such as C{10MiB/s}; C{0} for none.
    """
    return f"{writeSize(octets)}/s" if octets else "0"


def writeQuota(quota: Quota | None) -> str:
    """
    Write a quota, such as C{50GiB/day}; C{0} for none.
    """
    return f"{writeSize(quota.octets)}/{quota.period}" if quota and quota.octets else "0"


Rate: TypeAlias = Annotated[int, Form(_RATE, readRate, lambda octets: described(writeRate(octets)))]
"""
Octets of payload a second, both directions together.
"""

QuotaText: TypeAlias = Annotated[
    Quota, Form(_QUOTA, readQuota, lambda quota: described(writeQuota(quota)))
]
"""
A L{Quota} that stands in a file as text.
"""

"""
Which of many rules hold for a name, an address or a port, without looking at each of them.

Rules are numbered from 0, and a set of rules is an integer with the bit C{1 << number} for each of
them, a I{mask}.  Python combines the masks of ten thousand rules in a fraction of a microsecond,
and a mask that many entries share exists once, so that an entry of a list of a million costs the
few octets of its place.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, MutableSequence
from ipaddress import IPv4Network, IPv6Network
from operator import attrgetter

from .wire import IPAddress

__all__ = ["NameIndex", "NetworkIndex", "PortIndex", "first"]


def first(mask: int) -> int:
    """
    The lowest number in a mask.

    @param mask: not 0.
    """
    return (mask & -mask).bit_length() - 1


class NameIndex:
    """
    Names, each for itself or for all names below it.
    """

    def __init__(self) -> None:
        self._exact: dict[str, int] = {}
        self._below: dict[str, int] = {}

    def add(self, name: str, below: bool, mask: int) -> None:
        """
        Add a name in lower case, without a trailing dot.

        @param below: whether it stands for the names below it.
        """
        masks = self._below if below else self._exact
        masks[name] = masks.get(name, 0) | mask

    def holding(self, name: str) -> int:
        """
        The rules of which a name holds for this one.
        """
        return self._exact.get(name, 0) | (self.above(name) if self._below else 0)

    def above(self, name: str) -> int:
        """
        The rules with a name for all below it that holds for this one.
        """
        mask = 0
        dot = name.find(".")
        while dot >= 0:
            name = name[dot + 1 :]
            mask |= self._below.get(name, 0)
            dot = name.find(".")
        return mask

    def covering(self, name: str, below: bool) -> int:
        """
        The rules of which a name holds for whatever this one holds for.
        """
        if below:
            return self._below.get(name, 0) | self.above(name)
        return self.holding(name)


class _Steps:
    """
    A function of integers that changes at a few places only.
    """

    def __init__(self, places: MutableSequence[int]) -> None:
        """
        @param places: empty, and able to hold all the places.
        """
        places.append(0)
        self._places = places
        self._masks = [0]

    def put(self, place: int, mask: int) -> None:
        """
        Let the function have the value C{mask} from C{place} on, which is not below any before.
        """
        if self._places[-1] == place:
            self._masks[-1] = mask
            if place > 0 and self._masks[-2] == mask:
                self._places.pop()
                self._masks.pop()
        elif self._masks[-1] != mask:
            self._places.append(place)
            self._masks.append(mask)

    def at(self, place: int) -> int:
        """
        The value at a place.
        """
        return self._masks[bisect_right(self._places, place) - 1]

    def over(self, low: int, high: int) -> int:
        """
        What the values from one place to another, this included, have in common.
        """
        begin = bisect_right(self._places, low) - 1
        mask = self._masks[begin]
        for step in range(begin + 1, bisect_right(self._places, high)):
            mask &= self._masks[step]
            if not mask:
                break
        return mask


class NetworkIndex:
    """
    Networks of both families.
    """

    def __init__(self, entries: Iterable[tuple[IPv4Network | IPv6Network, int]]) -> None:
        """
        @param entries: each a network, and the mask of the rules that have it.
        """
        fours: dict[int, int] = {}
        sixes: dict[int, int] = {}
        for network, mask in entries:
            # In this order, a network comes behind those that hold it.
            key = int(network.network_address) << 8 | network.prefixlen
            masks = fours if network.version == 4 else sixes
            masks[key] = masks.get(key, 0) | mask
        self._fours = _nested(fours, 32, _Steps(array("I")))
        self._sixes = _nested(sixes, 128, _Steps([]))

    def holding(self, address: IPAddress) -> int:
        """
        The rules of which a network holds an address.
        """
        return (self._fours if address.version == 4 else self._sixes).at(int(address))

    def covering(self, network: IPv4Network | IPv6Network) -> int:
        """
        The rules whose networks hold all addresses of a network.
        """
        steps = self._fours if network.version == 4 else self._sixes
        return steps.over(int(network.network_address), int(network.broadcast_address))


def _nested(masks: dict[int, int], bits: int, steps: _Steps) -> _Steps:
    """
    Turn networks, of which any two are nested or have nothing in common, into steps.

    @param masks: by the first address, and by the length in the last 8 bits.

    @param bits: how long an address is.
    """
    # The networks that hold the place, with the address behind each, and the masks of it and of
    # all that hold it.
    outer: list[tuple[int, int]] = []

    def leave(place: int) -> None:
        while outer and outer[-1][0] <= place:
            behind, _ = outer.pop()
            if behind >> bits == 0:
                steps.put(behind, outer[-1][1] if outer else 0)

    for key in sorted(masks):
        start, length = key >> 8, key & 0xFF
        leave(start)
        mask = masks[key] | outer[-1][1] if outer else masks[key]
        outer.append((start + (1 << bits - length), mask))
        steps.put(start, mask)
    leave(1 << bits)
    return steps


class PortIndex:
    """
    Ranges of ports.
    """

    def __init__(self, entries: Iterable[tuple[Iterable[range], int]]) -> None:
        """
        @param entries: for each rule its ranges, and its mask.
        """
        changes: dict[int, int] = {}
        for ranges, mask in entries:
            behind = 0
            for ports in sorted(ranges, key=attrgetter("start")):
                for place in (max(ports.start, behind), ports.stop):
                    if ports.stop > behind:
                        changes[place] = changes.get(place, 0) ^ mask
                behind = max(behind, ports.stop)
        self._steps = _Steps(array("I"))
        mask = 0
        for place in sorted(changes):
            mask ^= changes[place]
            self._steps.put(place, mask)

    def holding(self, port: int) -> int:
        """
        The rules of which a range holds a port.
        """
        return self._steps.at(port)

    def covering(self, ports: range) -> int:
        """
        The rules whose ranges hold all of some ports.

        @param ports: at least one.
        """
        return self._steps.over(ports.start, ports.stop - 1)

"""
What is counted across sessions: how many there are of a kind, and how much they have used.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Protocol as TypingProtocol

from .wire import IPAddress

__all__ = ["LocalTally", "Tally", "originOf"]


class Tally(TypingProtocol):
    """
    Where every limit keeps what it knows of more than one session, by keys of octets.  Several
    processes that serve the same ports hold their clients to the same limits by sharing one.

    There are two kinds of numbers, and a key is used for one of them.  A I{count} is of what
    exists at the time, and belongs to the process that took it: what a process that has died had
    taken is given back.  A I{level} only rises, and belongs to nobody.

    @ivar isShared: whether others than this process may change what is counted.
    """

    isShared: bool

    def take(self, key: bytes, limit: int) -> bool:
        """
        Count one more, if there are less than C{limit}.

        @param limit: 0 for no limit.

        @return: whether it was counted.
        """

    def give(self, key: bytes) -> None:
        """
        Count one less; only for what L{take} has counted.
        """

    def count(self, key: bytes) -> int:
        """
        How many there are.
        """

    def declare(self, key: bytes, number: int) -> int:
        """
        Say how many there are in this process, where they need not be taken and given one by one.

        @return: how many there are in all of them.
        """

    def advance(self, key: bytes, floor: int, by: int) -> int:
        """
        Raise a level: to C{floor} if it is lower than that, or unknown, and then by so much.

        @param by: 0 to ask how high it is.

        @return: the new level.
        """

    def forget(self, key: bytes, floor: int) -> None:
        """
        Forget a level that is not higher than C{floor}, as whoever asks next would start there.
        """


class LocalTally:
    """
    A L{Tally} of one process.  What is zero or forgotten takes no memory.
    """

    isShared = False

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._levels: dict[bytes, int] = {}

    def take(self, key: bytes, limit: int) -> bool:
        """
        See L{Tally.take}.
        """
        count = self._counts.get(key, 0)
        if limit and count >= limit:
            return False
        self._counts[key] = count + 1
        return True

    def give(self, key: bytes) -> None:
        """
        See L{Tally.give}.
        """
        count = self._counts[key]
        if count > 1:
            self._counts[key] = count - 1
        else:
            del self._counts[key]

    def count(self, key: bytes) -> int:
        """
        See L{Tally.count}.
        """
        return self._counts.get(key, 0)

    def declare(self, key: bytes, number: int) -> int:
        """
        See L{Tally.declare}.
        """
        if number:
            self._counts[key] = number
        else:
            self._counts.pop(key, None)
        return number

    def advance(self, key: bytes, floor: int, by: int) -> int:
        """
        See L{Tally.advance}.
        """
        level = max(self._levels.get(key, floor), floor) + by
        self._levels[key] = level
        return level

    def forget(self, key: bytes, floor: int) -> None:
        """
        See L{Tally.forget}.
        """
        if self._levels.get(key, floor) <= floor:
            self._levels.pop(key, None)

    def __len__(self) -> int:
        """
        How many keys are remembered.
        """
        return len(self._counts) + len(self._levels)


def originOf(client: IPAddress) -> bytes:
    """
    What counts as one client address: an IPv4 address, or an IPv6 /64, all of which belongs to
    whoever has one address of it.
    """
    return client.packed[:8] if isinstance(client, IPv6Address) else client.packed

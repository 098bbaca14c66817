"""
Fragments to datagrams, RFC 1928 section 7.
"""

from __future__ import annotations

__all__ = ["Budget", "Reassembly"]

_LAST = 0x80
_POSITION = 0x7F
_MAX_DATAGRAM = 65507

TIMER = 5.0
"""
Seconds that the fragments of one datagram may take; the RFC forbids less.
"""


class Budget:
    """
    A number of octets that all associations share.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, octets: int) -> bool:
        """
        Take some, if they are there.

        @return: whether they were.
        """
        if octets > self._left:
            return False
        self._left -= octets
        return True

    def giveBack(self, octets: int) -> None:
        """
        Give some back.
        """
        self._left += octets


class Reassembly:
    """
    The reassembly queue of one association.

    Fragments must come in their order: since a late one ends the sequence by the RFC's own
    rule, a gap could never be filled (R-1928-94).

    @ivar abandoned: how many fragments came to nothing.
    """

    def __init__(self, budget: Budget) -> None:
        self.abandoned = 0
        self._budget = budget
        self._address = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._began = 0.0

    def add(self, now: float, fragment: int, address: bytes, payload: bytes) -> bytes | None:
        """
        Take a fragment.

        @param now: the time in seconds.

        @param fragment: FRAG, not 0.

        @param address: the octets of ATYP, DST.ADDR and DST.PORT.

        @param payload: DATA.

        @return: the whole payload, if this was its last part.
        """
        self.expire(now)
        position = fragment & _POSITION
        highest = len(self._parts)
        if highest and position == highest and address == self._address:
            self.abandoned += 1
            return None
        if position != highest + 1 or (highest and address != self._address):
            startsAfresh = position == 1 and highest != 1
            self.abandon()
            if not startsAfresh:
                self.abandoned += 1
                return None
        if not self._parts:
            self._began = now
            self._address = address
        return self._append(payload, complete=bool(fragment & _LAST))

    def _append(self, payload: bytes, complete: bool) -> bytes | None:
        size = len(payload)
        if self._size + size > _MAX_DATAGRAM or not self._budget.take(size):
            self.abandon()
            self.abandoned += 1
            return None
        self._parts.append(payload)
        self._size += size
        if not complete:
            return None
        whole = b"".join(self._parts)
        self._clear()
        return whole

    def expire(self, now: float) -> None:
        """
        Abandon a sequence that has taken too long.
        """
        if self._parts and now - self._began >= TIMER:
            self.abandon()

    def abandon(self) -> None:
        """
        Abandon the sequence, if there is one.
        """
        self.abandoned += len(self._parts)
        self._clear()

    def _clear(self) -> None:
        self._budget.giveBack(self._size)
        self._parts = []
        self._size = 0

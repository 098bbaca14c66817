"""
Which protection a server of RFC 1961 agrees to.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .wire import ProtectionLevel

__all__ = ["DEFAULT", "NAMES", "Levels"]

_GRANTED = {
    "confidentiality": ProtectionLevel.CONFIDENTIALITY,
    "integrity": ProtectionLevel.INTEGRITY,
    "clear": ProtectionLevel.NONE,
}

NAMES = (*_GRANTED, "curl", "nec")
"""
What an operator can say.
"""

DEFAULT = ("confidentiality", "integrity")
"""
What holds if the operator says nothing: all that RFC 1961 demands, and no more.
"""


@attrs.frozen
class Levels:
    """
    What an operator permits.

    @ivar granted: the levels that may be agreed on.  With L{ProtectionLevel.NONE} clients only
        show who they are, and everything behind that is in clear.

    @ivar curl: answer "none" to everybody, which is the only answer that curl can go on with; and
        let a client that goes on encapsulating all the same, as Dante's does, do so at the level
        that it has asked for, if that is granted.

    @ivar nec: let clients send the level as it is, not wrapped, as NEC's implementation did: who
        stands between can change it.
    """

    granted: frozenset[ProtectionLevel]
    curl: bool = False
    nec: bool = False

    @classmethod
    def named(cls, names: Iterable[str]) -> Levels:
        """
        Read what an operator has said.

        @param names: some of L{NAMES}.

        @raise ValueError: one is unknown, or nothing could be agreed on.
        """
        said = frozenset(names)
        for name in sorted(said.difference(NAMES)):
            raise ValueError(f"there is no level {name!r}; there are {', '.join(NAMES)}")
        if said <= {"nec"}:
            raise ValueError(f"no level to agree on; there are {', '.join(NAMES[:-1])}")
        granted = frozenset(level for name, level in _GRANTED.items() if name in said)
        return cls(granted, "curl" in said, "nec" in said)

    def answer(self, asked: ProtectionLevel, confidential: bool) -> ProtectionLevel | None:
        """
        Answer what a client has asked for: the same if it is granted, and otherwise the highest
        level that is (R-1961-17).  A client that is not content with that leaves.

        @param confidential: whether the context has confidentiality.

        @return: never L{ProtectionLevel.SELECTIVE}; L{None} if there is nothing to agree on.
        """
        if self.curl:
            return ProtectionLevel.NONE
        usable = self._usable(confidential)
        return asked if asked in usable else max(usable, default=None)

    def goesOn(self, asked: ProtectionLevel, confidential: bool) -> bool:
        """
        Whether a client that was told "none" may encapsulate all the same, at the level that it
        has asked for (R-1961-20).

        @param confidential: whether the context has confidentiality.
        """
        return asked is not ProtectionLevel.NONE and asked in self._usable(confidential)

    def _usable(self, confidential: bool) -> frozenset[ProtectionLevel]:
        """
        The levels that a context permits.
        """
        if confidential:
            return self.granted
        return self.granted - {ProtectionLevel.CONFIDENTIALITY}

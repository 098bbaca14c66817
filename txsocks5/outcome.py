"""
What has become of a guess at a password, as one process tells others.
"""

from __future__ import annotations

import json

import attrs

__all__ = ["Outcome"]


@attrs.frozen
class Outcome:
    """
    A guess that has ended.

    @ivar origin: where it came from, as L{originOf <txsocks5.tally.originOf>} has it; empty for
        clients without address.

    @ivar username: as whom.

    @ivar stranger: whether that user had not come from there of late.

    @ivar failed: whether it was wrong.

    @ivar at: when it ended, in seconds since 1970.
    """

    origin: bytes
    username: str
    stranger: bool
    failed: bool
    at: float

    def octets(self) -> bytes:
        """
        How it is sent.
        """
        fields = (self.origin.hex(), self.username, self.stranger, self.failed, self.at)
        return json.dumps(fields).encode("ascii")

    @classmethod
    def read(cls, octets: bytes) -> Outcome:
        """
        Read what was sent.

        @raise ValueError: it is something else.
        """
        origin, username, stranger, failed, at = json.loads(octets)
        return cls(bytes.fromhex(origin), username, stranger, failed, at)

"""
Choosing what joins a client and its target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from .bandwidth import Meter
from .config import Timeouts
from .dialer import ConnectedSocket
from .interfaces import IRelayTap
from .junction import Junction
from .kernel import KernelRelay
from .outgoing import Target
from .pipes import PipePool
from .relay import CopyingRelay
from .retired import BareConnection
from .stream import Stream
from .sweep import Sweep
from .wire import Address

__all__ = ["Joiner"]


@attrs.frozen
class Joiner:
    """
    Joins streams: by the kernel where both are plain sockets, and nobody wants to see the octets;
    by copying where not.

    @ivar reactor: its time is what transports use that are no Twisted ones.

    @ivar sweep: looks for time that has run out.

    @ivar junction: watches sockets; L{None} where that does not work.
    """

    reactor: Any
    sweep: Sweep
    timeouts: Timeouts
    junction: Junction | None
    pipes: PipePool = attrs.field(factory=PipePool)

    def join(
        self,
        client: Stream,
        target: Target,
        peer: Address,
        ended: Callable[[str], None],
        tap: IRelayTap | None = None,
        meter: Meter | None = None,
    ) -> KernelRelay | CopyingRelay:
        """
        Make a relay, which is to be begun.

        @param peer: what C{tap} is told as the target's address.

        @param ended: called once with the reason, when the relay has let go of both sides.

        @raise OSError: the system has no file descriptors left for it.
        """
        if self.junction is not None and tap is None and client.retirable:
            bare = _bare(target)
            if bare is not None:
                return KernelRelay(
                    self.junction,
                    self.pipes,
                    client.retire(),
                    bare,
                    self.sweep,
                    self.timeouts,
                    ended,
                    meter,
                )
        if isinstance(target, ConnectedSocket):
            assert self.junction is not None
            target = target.adopt(self.junction, self.reactor)
        return CopyingRelay(client, target, self.sweep, self.timeouts, ended, tap, peer, meter)


def _bare(target: Target) -> BareConnection | None:
    """
    Take a socket out of the hands of its transport, if it has one.

    @return: L{None} if it is more than a socket; then nothing has changed.
    """
    if isinstance(target, ConnectedSocket):
        return target
    return target.retire() if target.stream.retirable else None

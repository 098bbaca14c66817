"""
Closing a connection in a way that lets the peer read the last word.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from .stream import Stream, nothing

__all__ = ["Linger"]

_MAX_DISCARDED = 64 * 1024


class Linger:
    """
    FIN, then everything is read and thrown away until the peer closes too; an abort if that
    takes too long, or too much comes (R-1928-41).  A socket that is closed with unread input
    answers with a reset instead, which can destroy a reply before it is read.
    """

    def __init__(self, stream: Stream, clock: IReactorTime, seconds: float) -> None:
        self._stream = stream
        self._left = _MAX_DISCARDED
        stream.drained = nothing
        if stream.readable:
            stream.resumeReading()
            stream.finish()
        else:
            stream.close()
        self._deadline = clock.callLater(seconds, stream.abort)

    def received(self, data: bytes) -> None:
        """
        The peer goes on sending.
        """
        self._left -= len(data)
        if self._left < 0:
            self._stream.abort()

    def finished(self) -> None:
        """
        The peer has closed, too.
        """
        self._stream.close()

    def release(self) -> None:
        """
        The connection is gone.
        """
        if self._deadline.active():
            self._deadline.cancel()

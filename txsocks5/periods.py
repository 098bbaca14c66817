"""
The periods of quotas: those of the calendar, in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["Period"]

_HOUR = 3600
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY

# The first of January 1970 was a Thursday, and a week begins on Monday.
_FIRST_MONDAY = 4 * _DAY


class Period:
    """
    An hour, day, week or month.

    @ivar begin: its first second, since 1970 in UTC.

    @ivar until: the first second of the next one.
    """

    __slots__ = ("begin", "until")

    def __init__(self, kind: str, moment: float) -> None:
        """
        Find the one that a moment is in.

        @param kind: C{hour}, C{day}, C{week} (from Monday) or C{month}.

        @param moment: seconds since 1970 in UTC.
        """
        second = int(moment // 1)
        if kind == "month":
            date = datetime.fromtimestamp(second, UTC)
            first = date.replace(day=1, hour=0, minute=0, second=0)
            ahead = divmod(first.month, 12)
            after = first.replace(year=first.year + ahead[0], month=ahead[1] + 1)
            self.begin, self.until = int(first.timestamp()), int(after.timestamp())
            return
        length = {"hour": _HOUR, "day": _DAY, "week": _WEEK}[kind]
        since = _FIRST_MONDAY if kind == "week" else 0
        self.begin = second - (second - since) % length
        self.until = self.begin + length

    @property
    def end(self) -> str:
        """
        When it ends, for people.
        """
        return datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%d %H:%M UTC")

"""
What has been measured, as it is kept and as it is summed up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any

from attrs import asdict, field, frozen


@frozen
class Sample:
    """
    What one trial has given for one server in one round.

    @ivar values: its figures.

    @ivar failures: how often what went wrong.
    """

    discipline: str
    trial: str
    server: str
    round: int
    values: Mapping[str, float]
    failures: Mapping[str, int] = field(factory=dict)


@frozen
class Entrant:
    """
    A server of the tables.

    @ivar kind: what it is written in, and how it does its work.

    @ivar missing: why it was not measured; empty if it was.
    """

    name: str
    kind: str
    version: str
    missing: str = ""


@frozen
class Results:
    """
    A run.

    @ivar about: the circumstances, as pairs of a name and a text.

    @ivar entrants: the first one is what the others are compared with.
    """

    about: Mapping[str, str]
    entrants: tuple[Entrant, ...]
    samples: tuple[Sample, ...]

    def dump(self) -> str:
        """
        The whole as JSON.
        """
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Results:
        """
        Read what L{dump} has given.
        """
        found: dict[str, Any] = json.loads(text)
        return cls(
            found["about"],
            tuple(Entrant(**entrant) for entrant in found["entrants"]),
            tuple(Sample(**sample) for sample in found["samples"]),
        )

    def of(self, discipline: str, trial: str, server: str) -> dict[int, Sample]:
        """
        The samples of one server in one trial, by their rounds.
        """
        return {
            sample.round: sample
            for sample in self.samples
            if (sample.discipline, sample.trial, sample.server) == (discipline, trial, server)
        }

    def has(self, discipline: str, trial: str, key: str) -> bool:
        """
        Whether anybody has a figure.
        """
        return any(
            key in sample.values
            for sample in self.samples
            if (sample.discipline, sample.trial) == (discipline, trial)
        )

    def median(self, discipline: str, trial: str, server: str, key: str) -> float | None:
        """
        The median of a figure over the rounds; L{None} if there is none.
        """
        values = _values(self.of(discipline, trial, server), key)
        return median(values.values()) if values else None

    def ratio(self, discipline: str, trial: str, server: str, key: str) -> float | None:
        """
        A figure of one server relative to that of the first one: the median of the ratios within
        each round, since figures of different rounds do not compare.  L{None} if there is none.
        """
        mine = _values(self.of(discipline, trial, server), key)
        first = _values(self.of(discipline, trial, self.entrants[0].name), key)
        ratios = [mine[number] / first[number] for number in mine if first.get(number)]
        return median(ratios) if ratios else None

    def failures(self, discipline: str) -> Iterator[str]:
        """
        Everything that has failed, a line each.
        """
        sums: dict[tuple[str, str, str], int] = {}
        for sample in self.samples:
            if sample.discipline == discipline:
                for reason, count in sample.failures.items():
                    place = (sample.server, sample.trial, reason)
                    sums[place] = sums.get(place, 0) + count
        for (server, trial, reason), count in sums.items():
            yield f"{server}, {trial}: {count} x {reason}"


def _values(samples: Mapping[int, Sample], key: str) -> dict[int, float]:
    return {
        number: sample.values[key] for number, sample in samples.items() if key in sample.values
    }


def rotated(items: Iterable[Any], by: int) -> list[Any]:
    """
    The same items, beginning further on: no server always comes first.
    """
    listed = list(items)
    by %= len(listed) or 1
    return listed[by:] + listed[:by]

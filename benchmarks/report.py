"""
Tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .disciplines import Discipline, Figure, Trial
from .results import Entrant, Results

_NOTHING = "\N{EN DASH}"

Table = list[list[str]]


def tableOf(results: Results, discipline: Discipline, trial: Trial) -> Table:
    """
    The table of a trial: a row for each server.
    """
    figures = [
        figure
        for figure in trial.figures
        if not figure.optional or results.has(discipline.name, trial.name, figure.key)
    ]
    table = [[trial.name, *(figure.title for figure in figures)]]
    for entrant in results.entrants:
        cells = [
            "missing" if entrant.missing else _cell(results, discipline, trial, entrant, figure)
            for figure in figures
        ]
        table.append([entrant.name, *cells])
    return table


def _cell(
    results: Results, discipline: Discipline, trial: Trial, entrant: Entrant, figure: Figure
) -> str:
    where = (discipline.name, trial.name, entrant.name)
    mark = " [!]" if any(sample.failures for sample in results.of(*where).values()) else ""
    value = results.median(*where, figure.key)
    if value is None:
        return mark.strip() or _NOTHING
    ratio = results.ratio(*where, figure.key) if figure.compared else None
    relative = (
        "" if entrant == results.entrants[0] or ratio is None else f" ({round(ratio, 2) + 0.0:.2f})"
    )
    return f"{figure.told(value)}{relative}{mark}"


def notesOf(results: Results, discipline: Discipline) -> list[str]:
    """
    What has failed in a discipline.
    """
    return list(results.failures(discipline.name))


def asText(results: Results, disciplines: Iterable[Discipline]) -> str:
    """
    A report for a terminal.
    """
    return "\n".join(_textLines(results, disciplines)) + "\n"


def _textLines(results: Results, disciplines: Iterable[Discipline]) -> Iterator[str]:
    for name, text in results.about.items():
        yield f"{name}: {text}"
    yield ""
    for entrant in results.entrants:
        yield f"{entrant.name}: {_told(entrant.kind, entrant.version, entrant.missing)}"
    for discipline in disciplines:
        yield ""
        yield f"{discipline.title}.  {discipline.text.replace('``', '')}"
        for trial in discipline.trials:
            yield ""
            yield from _aligned(tableOf(results, discipline, trial))
        for note in notesOf(results, discipline):
            yield f"  [!] {note}"


def _told(kind: str, version: str, missing: str) -> str:
    return f"MISSING: {missing}" if missing else "; ".join(filter(None, (kind, version)))


def _aligned(table: Table) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  " + "   ".join([row[0].ljust(widths[0]), *cells[1:]])


def asRST(results: Results, disciplines: Iterable[Discipline]) -> str:
    """
    The same for the documentation.
    """
    return "\n".join(_rstLines(results, disciplines)) + "\n"


def _rstLines(results: Results, disciplines: Iterable[Discipline]) -> Iterator[str]:
    yield ".. Written by ``python -m benchmarks --rst``; do not edit."
    yield ""
    for name, text in results.about.items():
        yield f":{name}: {text}"
    yield ""
    yield from _listTable(
        [["server", "what it is", "version"]]
        + [
            [
                entrant.name,
                entrant.kind,
                (entrant.missing and f"missing: {entrant.missing}") or entrant.version,
            ]
            for entrant in results.entrants
        ]
    )
    for discipline in disciplines:
        yield ""
        yield discipline.title
        yield "~" * len(discipline.title)
        yield ""
        yield discipline.text
        for trial in discipline.trials:
            yield ""
            yield from _listTable(tableOf(results, discipline, trial))
        notes = notesOf(results, discipline)
        if notes:
            yield ""
            yield "What has failed, marked [!]:"
            yield ""
            yield from (f"- {note}" for note in notes)


def _listTable(table: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in table:
        for number, cell in enumerate(row):
            yield f"   {'* -' if number == 0 else '  -'} {cell}".rstrip()

"""
Tests for L{txsocks5.events}.
"""

from __future__ import annotations

import ast
from pathlib import Path
from string import Formatter

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import txsocks5
from txsocks5 import events
from txsocks5.events import EVENTS, Event, escaped

from .wire.values import reproducible

PACKAGE = Path(txsocks5.__file__).parent
SOURCES = [
    path
    for path in PACKAGE.rglob("*.py")
    if path.name != "events.py" and path.parent != PACKAGE / "testing"
]


def eventOf(node: ast.expr) -> Event | None:
    """
    The event that C{events.something} stands for.
    """
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        found = getattr(events, node.attr, None) if node.value.id == "events" else None
        return found if isinstance(found, Event) else None
    return None


def calls() -> list[tuple[str, ast.Call]]:
    """
    All calls in the package, with where they stand.
    """
    return [
        (f"{path.name}:{node.lineno}", node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
    ]


def emissions() -> list[tuple[str, Event, ast.Call]]:
    """
    All places that log an event: as C{emit(events.something, …)} or C{events.something.emit(…)}.
    """
    found = []
    for where, call in calls():
        event = eventOf(call.args[0]) if call.args else None
        if event is None and isinstance(call.func, ast.Attribute) and call.func.attr == "emit":
            event = eventOf(call.func.value)
        if event is not None:
            found.append((where, event, call))
    return found


def documented() -> str:
    """
    What the documentation says of the events.
    """
    parts = []
    for event in EVENTS:
        parts.append(f"``{event.name}``\n    Level {event.level.name}.  ``{event.format}``\n")
        parts += [f"    ``{name}``\n        {text}\n" for name, text in event.fields.items()]
    return "\n".join(parts)


class ListTests(SynchronousTestCase):
    """
    The list is complete and true.
    """

    def test_all(self) -> None:
        """
        Every event of the module is listed, once, under the name that it has there.
        """
        defined = {name: event for name, event in vars(events).items() if isinstance(event, Event)}
        self.assertEqual(list(defined.values()), list(EVENTS))
        self.assertEqual(list(defined), [event.name for event in EVENTS])

    def test_allUsed(self) -> None:
        """
        Every event is logged somewhere.
        """
        self.assertEqual({event.name for _, event, _ in emissions()}, {e.name for e in EVENTS})

    def test_nothingElseLogged(self) -> None:
        """
        Nothing is logged that is not in the list.
        """
        others = [
            where
            for where, call in calls()
            if isinstance(call.func, ast.Attribute)
            and call.func.attr in {level.name for level in LogLevel.iterconstants()} | {"failure"}
            and "log" in ast.unparse(call.func.value).lower()
        ]
        self.assertEqual(others, [])

    def test_documentedFields(self) -> None:
        """
        What is logged has the fields that are documented, and no others.
        """
        for where, event, call in emissions():
            given = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
            self.assertLessEqual(given, set(event.fields), where)
            if not any(keyword.arg is None for keyword in call.keywords):
                self.assertEqual(given - {"session"}, set(event.fields) - {"session"}, where)

    def test_formatFields(self) -> None:
        """
        The texts hold every documented field and no other.
        """
        for event in EVENTS:
            named = {field for _, field, _, _ in Formatter().parse(event.format) if field}
            self.assertEqual(named, set(event.fields) - {"log_failure"}, event.name)

    def test_documented(self) -> None:
        """
        The page of the documentation tells the same.
        """
        page = Path(__file__).parent.parent / "docs" / "events.rst"
        self.assertTrue(page.read_text("utf-8").endswith(documented()), documented())

    def test_explained(self) -> None:
        """
        Every field is explained in words.
        """
        for event in EVENTS:
            self.assertTrue(event.name.isidentifier())
            for name, meaning in event.fields.items():
                self.assertGreater(len(meaning.split()), 1, f"{event.name}: {name}")

    def test_levels(self) -> None:
        """
        What clients do is worth a line; what may be wrong with the server is a warning, and only
        what is wrong with it is critical.
        """
        critical = {event.name for event in EVENTS if event.level is LogLevel.critical}
        self.assertEqual(
            critical,
            {
                "notListening",
                "notReloaded",
                "exhausted",
                "accessLogLost",
                "checkerBroken",
                "unforeseen",
                "passwordsKept",
                "quotasNotSaved",
                "pamFailed",
                "workerLost",
                "workerHung",
                "workersFailed",
                "workerRefused",
                "broken",
            },
        )
        warnings = {event.name for event in EVENTS if event.level is LogLevel.warn}
        self.assertEqual(
            warnings, {"dubious", "nameServerSilent", "passwordsDoubtful", "keytabReadable"}
        )
        others = {event.level for event in EVENTS if event.name not in critical | warnings}
        self.assertEqual(others, {LogLevel.info})


class EmitTests(SynchronousTestCase):
    """
    Logging an event.
    """

    def emit(self, event: Event, **values: object) -> dict[str, object]:
        """
        Log an event.

        @return: what an observer sees.
        """
        seen: list[dict[str, object]] = []
        event.emit(Logger(observer=seen.append), **values)
        return seen[0]

    def test_fields(self) -> None:
        """
        An observer sees the name and level of the event, its fields, and its text.
        """
        seen = self.emit(events.opened, session=7, client="192.0.2.1:5000")
        self.assertEqual(seen["socks_event"], "opened")
        self.assertEqual(seen["log_level"], LogLevel.info)
        self.assertEqual((seen["session"], seen["client"]), (7, "192.0.2.1:5000"))
        self.assertEqual(formatEvent(seen), "session 7: opened by 192.0.2.1:5000")

    def test_allFormats(self) -> None:
        """
        Every event can be formatted.
        """
        values = {
            "session": 1,
            "delay": 0.5,
            "duration": 1.5,
            "reply": 2,
            "log_failure": Failure(OSError("no")),
        }
        for event in EVENTS:
            seen = self.emit(event, **{name: values.get(name, name) for name in event.fields})
            self.assertNotIn("Unable to format", formatEvent(seen), event.name)

    def test_escaped(self) -> None:
        """
        A stranger cannot forge a line of the log (S-10).
        """
        user = "bob\r\n2027-01-01 session 1: user 'root'\x1b[2J"
        seen = self.emit(events.authenticated, session=7, user=user, method=2)
        self.assertEqual(seen["user"], r"bob\r\n2027-01-01 session 1: user 'root'\x1b[2J")
        self.assertTrue(formatEvent(seen).isprintable())

    def test_othersUntouched(self) -> None:
        """
        What is no text stays what it is.
        """
        failure = Failure(OSError("no\n"))
        seen = self.emit(events.broken, session=7, log_failure=failure)
        self.assertIs(seen["log_failure"], failure)

    def test_lines(self) -> None:
        """
        What is a line of a log already is neither cut nor escaped again.
        """
        line = events.Line("a\\b" * 200)
        self.assertEqual(self.emit(events.workerSaid, worker=1, line=line)["line"], line)

    def test_bracesHarmless(self) -> None:
        """
        Text that looks like a format is not taken for one.
        """
        seen = self.emit(events.malformed, session=7, reason="{session.__class__} {nothing}")
        self.assertEqual(
            formatEvent(seen), "session 7: protocol error: {session.__class__} {nothing}"
        )


class EscapedTests(SynchronousTestCase):
    """
    Text from strangers (S-10).
    """

    def test_plain(self) -> None:
        """
        Printable ASCII stays as it is.
        """
        plain = "".join(map(chr, range(0x20, 0x7F)))
        self.assertEqual(escaped(plain), plain)
        self.assertEqual(escaped(""), "")

    def test_cut(self) -> None:
        """
        255 characters are enough for any name; what is cut shows that it is.
        """
        self.assertEqual(escaped("x" * 255), "x" * 255)
        self.assertEqual(escaped("x" * 256), "x" * 255 + "...")
        self.assertEqual(escaped("\n" * 300), r"\n" * 255 + "...")

    def test_strange(self) -> None:
        """
        Everything else is written out: control characters, other scripts, characters that
        turn the direction of writing, and octets that were no UTF-8.
        """
        self.assertEqual(escaped("\x00\x7f\u202eü\udcff"), r"\x00\x7f\u202e\xfc\udcff")

    @reproducible
    @given(st.text())
    def test_always(self, text: str) -> None:
        """
        Whatever the text, one line of printable ASCII comes out.
        """
        result = escaped(text)
        self.assertTrue(result.isascii() and result.isprintable())

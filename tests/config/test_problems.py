"""
Tests for L{txsocks5.config._problems}.
"""

from __future__ import annotations

import tomllib

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import ConfigurationError, Network, Problem, Rule, Timeouts
from txsocks5.config._problems import bareOrQuoted, keyOf, quoted


class ProblemTests(SynchronousTestCase):
    """
    What is said.
    """

    def test_line(self) -> None:
        """
        The path, if there is one, and then the text.
        """
        self.assertEqual(str(Problem("rules[2].ports[0]", "wrong")), "rules[2].ports[0]: wrong")
        self.assertEqual(str(Problem("", "wrong")), "wrong")

    @given(some.text(), some.text())
    def test_oneLine(self, path: str, text: str) -> None:
        """
        It is one line, whatever somebody else's error says.
        """
        self.assertTrue(str(Problem(path, text)).isprintable())

    def test_escaped(self) -> None:
        """
        What would break the line is escaped, what would not is left alone.
        """
        self.assertEqual(str(Problem("a", "ä\n\x1b")), "a: ä\\n\\x1b")


class ConfigurationErrorTests(SynchronousTestCase):
    """
    All that is wrong.
    """

    def test_lines(self) -> None:
        """
        There is a line for each problem.
        """
        error = ConfigurationError([Problem("a", "b"), Problem("", "c")])
        self.assertEqual(error.problems, (Problem("a", "b"), Problem("", "c")))
        self.assertEqual(error.lines, ("a: b", "c"))
        self.assertEqual(str(error), "a: b\nc")


class KeyTests(SynchronousTestCase):
    """
    How settings are called in a file.
    """

    def test_keyOf(self) -> None:
        """
        In words with underscores, or as the setting wants it.
        """
        network, rule = attrs.fields(Network), attrs.fields(Rule)
        self.assertEqual(keyOf(network.udpFullCone), "udp_full_cone")
        self.assertEqual(keyOf(attrs.fields(Timeouts).halfClosed), "half_closed")
        self.assertEqual(keyOf(rule.source), "from")
        self.assertEqual(keyOf(rule.to), "to")

    @given(some.text())
    def test_bareOrQuoted(self, key: str) -> None:
        """
        A key is shown so that it could be copied into a file.
        """
        self.assertEqual(tomllib.loads(f"{bareOrQuoted(key)} = 1"), {key: 1})

    def test_bare(self) -> None:
        """
        Those that need no quotes have none.
        """
        self.assertEqual(bareOrQuoted("alice-2_b"), "alice-2_b")
        self.assertEqual(bareOrQuoted("a.b"), '"a.b"')
        self.assertEqual(bareOrQuoted(""), '""')

    @given(some.text())
    def test_quoted(self, text: str) -> None:
        """
        So is a string, in printable ASCII.
        """
        shown = quoted(text)
        self.assertTrue(shown.isascii() and shown.isprintable())
        self.assertEqual(tomllib.loads(f"a = {shown}"), {"a": text})

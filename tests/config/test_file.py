"""
Tests for L{txsocks5.config._file}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import Configuration, ConfigurationError, _file, readConfiguration, readText

from .test_structure import MEANING, WHOLE


class FileFixture(SynchronousTestCase):
    """
    A file.
    """

    def setUp(self) -> None:
        """
        Decide where it is.
        """
        self.path = Path(self.mktemp())

    def lines(self) -> tuple[str, ...]:
        """
        What is wrong with the file.
        """
        return self.assertRaises(ConfigurationError, readConfiguration, self.path).lines


class ReadConfigurationTests(FileFixture):
    """
    Reading a file.
    """

    def test_whole(self) -> None:
        """
        It means what its tables mean.
        """
        self.path.write_text(WHOLE, "utf-8")
        self.assertEqual(readConfiguration(self.path), MEANING)
        self.assertEqual(readConfiguration(str(self.path)), MEANING)

    def test_empty(self) -> None:
        """
        An empty file means the defaults.
        """
        self.path.touch()
        self.assertEqual(readConfiguration(self.path), Configuration())

    def test_missing(self) -> None:
        """
        A file that is not there is named.
        """
        self.assertEqual(self.lines(), (f"{self.path} cannot be read: No such file or directory",))

    def test_folder(self) -> None:
        """
        So is one that is a folder.
        """
        self.path.mkdir()
        self.assertEqual(self.lines(), (f"{self.path} cannot be read: Is a directory",))

    def test_impossible(self) -> None:
        """
        A path that cannot be one is an error like any other.
        """
        error = self.assertRaises(ConfigurationError, readConfiguration, "a\0b")
        [line] = error.lines
        self.assertTrue(line.startswith("a\\x00b cannot be read: "), line)

    def test_syntax(self) -> None:
        """
        What is no TOML is an error with its line.
        """
        self.path.write_text('open = true\nlisten = ["\n')
        [line] = self.lines()
        self.assertTrue(line.startswith(f"{self.path} is no TOML: "), line)
        self.assertIn("line 2", line)

    def test_notUTF8(self) -> None:
        """
        So is what is not in UTF-8.
        """
        self.path.write_bytes(b"open = true\n# \xe4\n")
        self.assertEqual(self.lines(), (f"{self.path} is no TOML: not in UTF-8 (at line 2)",))

    def test_deep(self) -> None:
        """
        A file that is nested too deeply for the parser ends in a line, too.
        """
        self.path.write_text("a = " + "[" * 100_000)
        [line] = self.lines()
        self.assertTrue(line.startswith(f"{self.path} is no TOML: "), line)

    def test_manyDigits(self) -> None:
        """
        And so does a number that Python would not read.
        """
        self.path.write_text("workers = " + "9" * 10_000)
        [line] = self.lines()
        self.assertTrue(line.startswith(f"{self.path} is no TOML: "), line)

    def test_large(self) -> None:
        """
        A file that does not end is not read to its end.
        """
        self.patch(_file, "_MAX_OCTETS", 10)
        self.path.write_text("#" * 10)
        self.assertEqual(readConfiguration(self.path), Configuration())
        self.path.write_text("#" * 11)
        self.assertEqual(self.lines(), (f"{self.path} is larger than 10 octets",))

    def test_wrong(self) -> None:
        """
        What is wrong in it is not about the file.
        """
        self.path.write_text("open = 1\nworkers = 0")
        self.assertEqual(
            self.lines(),
            (
                "open: found 1; allowed: true or false",
                "workers: found 0; allowed: a whole number from 1 to 1024",
            ),
        )

    def test_without(self) -> None:
        """
        What is replaced by something else does not count, and need not be right.
        """
        self.path.write_text("listen = 5\nopen = true\n[auth]\ncheckers = 6\nfailure_limit = 7")
        configuration = readConfiguration(
            self.path, without=["listen", "auth.checkers", "auth.gssapi.keytab", "network.ports"]
        )
        self.assertEqual(configuration.listen, Configuration().listen)
        self.assertEqual(configuration.auth.checkers, ())
        self.assertEqual((configuration.open, configuration.auth.failureLimit), (True, 7))

    def test_withoutTable(self) -> None:
        """
        If there is no such table, the table is wrong all the same.
        """
        self.path.write_text("auth = 5")
        error = self.assertRaises(
            ConfigurationError,
            readConfiguration,
            self.path,
            without=["auth.checkers", "auth.gssapi.keytab"],
        )
        self.assertEqual(error.lines, ("auth: found 5; allowed: a table",))

    @given(some.binary())
    def test_rubbish(self, octets: bytes) -> None:
        """
        Whatever is in the file, it is read or there are lines that say why not.
        """
        self.path.write_bytes(octets)
        try:
            readConfiguration(self.path)
        except ConfigurationError as error:
            self.assertTrue(all(line.isprintable() for line in error.lines))


class ReadTextTests(SynchronousTestCase):
    """
    Reading text.
    """

    def test_read(self) -> None:
        """
        Text means the same.
        """
        self.assertEqual(readText(WHOLE), MEANING)
        self.assertTrue(readText("open = true\nworkers = 'x'", without=["workers"]).open)

    def test_syntax(self) -> None:
        """
        What is no TOML is told from what is wrong in it.
        """
        for text, beginning in (("a = ", "the text is no TOML: "), ("a = 1", "a: found a key")):
            [line] = self.assertRaises(ConfigurationError, readText, text).lines
            self.assertTrue(line.startswith(beginning), line)

    def test_cattrsMissing(self) -> None:
        """
        If C{cattrs} is not installed, one line says how to get it.
        """
        with patch.dict(sys.modules, {"cattrs": None}):
            sys.modules.pop("txsocks5.config._structure", None)
            error = self.assertRaises(ConfigurationError, readText, "")
        self.assertEqual(
            error.lines, ("a configuration file needs cattrs: pip install txsocks5[config]",)
        )

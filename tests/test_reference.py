"""
Tests for C{tools/reference.py}, and for the page of the documentation that it writes.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import SECTIONS
from txsocks5.config._problems import keyOf
from txsocks5.config._structure import structured

PROJECT = Path(__file__).resolve().parent.parent
DOCS = PROJECT / "docs"


def tool() -> ModuleType:
    """
    The tool, as a module.
    """
    spec = importlib.util.spec_from_file_location("reference", PROJECT / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class KeysTests(SynchronousTestCase):
    """
    The list of keys.
    """

    keys = (DOCS / "configuration-keys.inc").read_text("utf-8")

    def test_current(self) -> None:
        """
        It says what the classes say; if not, C{make reference} writes it again.
        """
        self.assertEqual(tool().written(), self.keys)

    def test_complete(self) -> None:
        """
        Each key of each table has its entry, in the place of that table.
        """
        module = tool()
        titles = re.findall(r"(?m)^(\S.*)\n~+$", self.keys)
        parts = re.split(r"(?m)^\S.*\n~+$", self.keys)[1:]
        self.assertEqual(len(titles), len(SECTIONS))
        for part, kind in zip(parts, SECTIONS.values(), strict=True):
            keys = [keyOf(field) for field in attrs.fields(kind)]
            expected = [key for key in keys if key not in module.TABLES]
            self.assertEqual(re.findall(r"(?m)^``(\w+)``$", part), expected)

    def test_defaults(self) -> None:
        """
        What it calls a default is TOML, and means the default.
        """
        parts = re.split(r"(?m)^\S.*\n~+$", self.keys)[1:]
        found = 0
        for name, part in zip(SECTIONS, parts, strict=True):
            if "[[" in name or "NAME" in name:
                continue
            text = name + "\n"
            for key, rest in re.findall(r"(?ms)^``(\w+)``$(.*?)(?=^``\w+``$|\Z)", part):
                default = re.search(r"Default:\s+``(.*?)``\.", rest, re.DOTALL)
                if default is not None:
                    text += f"{key} = {' '.join(default[1].split())}\n"
                    found += 1
            configuration, problems = structured(tomllib.loads(text))
            self.assertEqual(problems, [])
            empty, _ = structured(tomllib.loads(name))
            self.assertEqual(configuration, empty)
        self.assertGreater(found, 25)


class PageTests(SynchronousTestCase):
    """
    The page around it.
    """

    def test_included(self) -> None:
        """
        The list is a part of it.
        """
        page = (DOCS / "configuration.rst").read_text("utf-8")
        self.assertIn(".. include:: configuration-keys.inc\n", page)

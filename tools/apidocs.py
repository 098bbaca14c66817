#!/usr/bin/env python3
"""
Build the API documentation with pydoctor.

    tools/apidocs.py

The settings are in pyproject.toml.  Links to other projects are made from
inventories that are written first, out of the projects as they are installed,
so that building needs no network.  Only the modules that txsocks5 imports, or
names in full in a docstring, are listed: a docstring that links to a name which
is not there is still an error.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydoctor import driver, model
from zope.interface.interface import InterfaceClass

# Top-level package: name of the file.  Everything else is Python's own.
PROJECTS = {
    "twisted": "twisted",
    "zope": "zope.interface",
    "automat": "automat",
    "attr": "attrs",
    "attrs": "attrs",
    "cryptography": "cryptography",
    "OpenSSL": "pyopenssl",
}

LINK = re.compile(r"[LU]\{(?:[^{}]*<)?\s*([A-Za-z_][\w.]+)\s*>?\}")


def importedNames(tree: ast.AST) -> Iterator[str]:
    """
    All dotted names that a module may refer to: what it imports, and what its
    docstrings link to.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (name for name in LINK.findall(node.value) if "." in name)


def moduleOf(name: str) -> ModuleType | None:
    """
    The innermost module that contains C{name}.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            return importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
    return None


def entries(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """
    Name, kind and place of a module and all that can be linked to in it.
    """
    prefix = module.__name__
    isTwisted = prefix.split(".")[0] == "twisted"

    def place(page: str, anchor: str = "") -> str:
        if isTwisted:
            return f"{page}.html#{anchor}" if anchor else f"{page}.html"
        full = f"{page}.{anchor}" if anchor else page
        return f"library/{prefix}.html#{full}"

    yield prefix, "module", place(prefix)
    for name, value in vars(module).items():
        full = f"{prefix}.{name}"
        isInterface = isinstance(value, InterfaceClass)
        if inspect.isclass(value) or isInterface:
            yield full, "class", place(full)
            for member in value.names(all=True) if isInterface else dir(value):
                if not member.startswith("__"):
                    yield f"{full}.{member}", "attribute", place(full, member)
        elif not inspect.ismodule(value):
            yield full, "function", place(prefix, name)


def write(path: Path, project: str, rows: list[tuple[str, str, str]]) -> None:
    """
    Write one inventory, in version 2 of Sphinx's format.
    """
    header = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project}\n"
        "# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    body = "".join(f"{name} py:{kind} 1 {place} -\n" for name, kind, place in rows)
    path.write_bytes(header.encode() + zlib.compress(body.encode()))


def writeInventories(folder: Path, package: Path) -> None:
    """
    Write an inventory for every other project, even if nothing links to it.
    """
    modules: dict[str, ModuleType] = {}
    for source in package.rglob("*.py"):
        for name in importedNames(ast.parse(source.read_text())):
            module = None if name.split(".")[0] == package.name else moduleOf(name)
            if module is not None:
                modules[module.__name__] = module

    rows: dict[str, list[tuple[str, str, str]]] = {
        project: [] for project in ("python", *PROJECTS.values())
    }
    for name in dir(builtins):
        rows["python"].append((name, "class", f"library/functions.html#{name}"))
    for name, module in sorted(modules.items()):
        rows[PROJECTS.get(name.split(".")[0], "python")].extend(entries(module))

    folder.mkdir(parents=True, exist_ok=True)
    for project, found in rows.items():
        write(folder / f"{project}.inv", project, found)


class System(model.System):
    """
    What pydoctor knows, without one of its complaints: that a class of another
    project, of which txsocks5 declares that it provides an interface, is not
    documented here.
    """

    def msg(self, section: str, msg: str, *args: Any, **kwargs: Any) -> None:
        """
        Report something; called by pydoctor.
        """
        if section == "zopeinterface" and msg.endswith("to classImplements() not found"):
            return
        super().msg(section, msg, *args, **kwargs)


if __name__ == "__main__":
    writeInventories(Path("build/docs/inventories"), Path("txsocks5"))
    sys.exit(driver.main(["--quiet", "--system-class=apidocs.System"]))

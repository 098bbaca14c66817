"""
Tests for L{txsocks5}: what users of the package see.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

import txsocks5

PACKAGE = Path(txsocks5.__file__).parent

# What Twisted calls protocols and options by has no annotations there, and what attrs and enum add
# is theirs.
FOREIGN = ("twisted.", "attr", "enum", "zope.")


def publicClasses() -> list[type]:
    """
    The classes that can be imported from the package.
    """
    found = [getattr(txsocks5, name) for name in txsocks5.__all__]
    return [value for value in found if isinstance(value, type)]


def ownMethods(kind: type) -> list[tuple[str, FunctionType]]:
    """
    The public methods that a class of ours defines.
    """
    found = []
    for name, value in vars(kind).items():
        method = value.fget if isinstance(value, property) else inspect.unwrap(value)
        written = isinstance(method, FunctionType) and method.__module__.startswith("txsocks5")
        if written and (not name.startswith("_") or name == "__init__"):
            found.append((name, method))
    return found


class SurfaceTests(SynchronousTestCase):
    """
    The names that can be imported.
    """

    def test_all(self) -> None:
        """
        Every name in the list exists and is a class or an interface of ours, and the list is
        sorted.
        """
        self.assertEqual(sorted(txsocks5.__all__), txsocks5.__all__)
        self.assertEqual(len(set(txsocks5.__all__)), len(txsocks5.__all__))
        for name in txsocks5.__all__:
            value = getattr(txsocks5, name)
            self.assertIsInstance(value, (type, InterfaceClass))
            self.assertTrue(value.__module__.startswith("txsocks5."), name)
            self.assertEqual(value.__name__, name)

    def test_extensionPoints(self) -> None:
        """
        Whoever implements an interface finds it, and the values that it deals in, here.
        """
        from txsocks5 import interfaces

        self.assertEqual(set(interfaces.__all__) - set(txsocks5.__all__), {"ISOCKSReactor"})

    def test_documented(self) -> None:
        """
        Every public class, and every public method of it, has a docstring.
        """
        self.assertTrue(txsocks5.__doc__)
        for kind in publicClasses():
            self.assertTrue(inspect.getdoc(kind), kind)
            for name, method in ownMethods(kind):
                if name == "__init__" and not _isWritten(kind, name):
                    continue
                described = method.__doc__ or len(inspect.signature(method).parameters) == 1
                self.assertTrue(described, f"{kind.__name__}.{name}")

    def test_annotated(self) -> None:
        """
        Every parameter and every result of them has an annotation.
        """
        for kind in publicClasses():
            for name, method in ownMethods(kind):
                signature = inspect.signature(method)
                parameters = list(signature.parameters.values())[1:]
                for parameter in parameters:
                    self.assertIsNot(
                        parameter.annotation, parameter.empty, f"{kind.__name__}.{name}"
                    )
                self.assertIsNot(
                    signature.return_annotation, signature.empty, f"{kind.__name__}.{name}"
                )

    def test_typed(self) -> None:
        """
        Type checkers are told that the annotations are meant for them.
        """
        self.assertTrue((PACKAGE / "py.typed").exists())

    def test_reactorNotImported(self) -> None:
        """
        Importing the package does not choose a reactor: that is for the application.
        """
        code = (
            "import sys, txsocks5, txsocks5.tap, txsocks5.testing\n"
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, timeout=60)
        self.assertEqual(done.returncode, 0)


def _isWritten(kind: type, name: str) -> bool:
    """
    Whether a method stands in the source, and was not made by attrs.
    """
    tree = ast.parse(inspect.getsource(kind))
    assert isinstance(tree.body[0], ast.ClassDef)
    return name in {node.name for node in tree.body[0].body if isinstance(node, ast.FunctionDef)}


class RecursionTests(SynchronousTestCase):
    """
    Small methods that call themselves instead of what they stand for (S-25).
    """

    def test_noMethodCallsItself(self) -> None:
        """
        No method of the package calls the same method of the same object, and no property
        asks for itself.
        """
        found = []
        for path in PACKAGE.rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    for method in node.body:
                        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                            found += _callsItself(path.name, method)
        self.assertEqual(found, [])


def _callsItself(where: str, method: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """
    The places where a method refers to itself by C{self} and its own name, and not to hand
    itself to somebody who calls it later.
    """
    isProperty = any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list)
    nodes: list[Any] = []
    for node in ast.walk(method):
        if isinstance(node, ast.Call):
            nodes.append(node.func)
        elif isProperty:
            nodes.append(node)
    return [
        f"{where}:{node.lineno}"
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr == method.name
    ]


class VersionTests(SynchronousTestCase):
    """
    Which version it is.
    """

    def reload(self) -> None:
        """
        Import the package anew.
        """
        before = dict(vars(txsocks5))
        self.addCleanup(vars(txsocks5).update, before)
        importlib.reload(txsocks5)

    def test_installed(self) -> None:
        """
        The version is that of the installed distribution.
        """
        self.patch(importlib.metadata, "version", lambda name: f"{name} 1.2.3")
        self.reload()
        self.assertEqual(txsocks5.__version__, "txsocks5 1.2.3")

    def test_checkout(self) -> None:
        """
        A checkout that is not installed can be used, too.
        """

        def version(name: str) -> str:
            raise importlib.metadata.PackageNotFoundError(name)

        self.patch(importlib.metadata, "version", version)
        self.reload()
        self.assertEqual(txsocks5.__version__, "unknown")

"""
Tests for who imports whom in L{txsocks5}: a room knows only those below it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txsocks5

PACKAGE = Path(txsocks5.__file__).resolve().parent

#: The modules, from the bottom to the top.  Each may import those of the lines before its own.
LAYERS = (
    # What can go wrong, what is logged, and what knows nothing of SOCKS.
    (
        "deadlines",
        "errors",
        "events",
        "hashes",
        "outcome",
        "pipes",
        "process",
        "reassembly",
        "shared",
        "sharedtally",
        "sharing",
        "slices",
        "sweep",
        "ties",
    ),
    # Octets and values.
    ("wire._addresses",),
    ("wire._datagram", "wire._gssapi", "wire._password", "wire._socks"),
    ("wire", "conduit", "liveness", "passwordfile", "turnstile"),
    ("exposure", "index", "junction", "levels", "periods", "tally", "usage"),
    ("answers", "bandwidth", "networks", "peers"),
    # The settings, and how they stand in a file.
    ("config._problems",),
    ("config._forms",),
    ("config._sizes", "config._values"),
    ("config._network", "config._patterns"),
    ("config._rules",),
    ("config._configuration",),
    ("config._differences", "config._structure"),
    ("config._file",),
    ("config",),
    # The borders, the machine's addresses.
    ("channel", "interfaces", "local"),
    # Single rooms: none of them knows of a session.
    ("conditions", "encapsulation", "journal", "passwd", "policy", "quotas", "retired", "roster"),
    ("recvmmsg", "side"),
    ("accesslog", "datagrams", "doubts", "kernel", "rules", "throttle", "wrapped"),
    ("dnsclient", "stream", "tickets", "userlist"),
    ("auth", "htpasswd", "initiator", "linger", "pam", "relay", "socketstream"),
    ("acceptor", "checkers", "dialer", "names", "systemresolver"),
    ("inorder", "outgoing"),
    ("joiner",),
    ("bind", "destinations", "ledger", "resolvers", "sources"),
    ("assembly", "associate"),
    ("explanation",),
    # The order of things, and who carries it out.
    ("session", "sessions"),
    ("commands", "handshake"),
    ("serving",),
    ("protocol",),
    ("server",),
    ("listening",),
    ("options", "service"),
    ("worker",),
    ("supervised",),
    ("supervisor",),
    # The public names, the fakes for those who use them, and the command line.
    ("__init__",),
    ("check", "commandline", "explain", "tap", "testing._transport"),
    ("__main__", "testing._connection", "testing._private", "testing._recorded"),
    ("testing._ports", "testing._scripted"),
    ("testing._reactor",),
    ("testing",),
)


def modules() -> dict[str, Path]:
    """
    The modules of the package, by their name within it.
    """
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = modules()


class Imports(ast.NodeVisitor):
    """
    What one module imports.

    @ivar own: the modules of the package.

    @ivar others: everything else, with whether that is within a function.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.own: set[str] = set()
        self.others: set[tuple[str, bool]] = set()
        package = "" if path.parent == PACKAGE else f"{path.parent.name}"
        self._package = [part for part in ("txsocks5", package) if part]
        self._depth = 0
        self._name = name
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """
        Look into a function.
        """
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_Import(self, node: ast.Import) -> None:
        """
        Note C{import a.b}.
        """
        for alias in node.names:
            self._note(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """
        Note C{from a import b}: C{a.b} if that is a module, and C{a} if not.
        """
        parts = node.module.split(".") if node.module else []
        if node.level:
            parts = self._package[: len(self._package) + 1 - node.level] + parts
        origin = ".".join(parts)
        for alias in node.names:
            self._note(f"{origin}.{alias.name}", origin)

    def _note(self, name: str, otherwise: str | None = None) -> None:
        """
        Note one module.
        """
        for each in (name, otherwise or name):
            if each == "txsocks5":
                self.own.add("__init__")
                return
            if each.startswith("txsocks5.") and each.partition(".")[2] in MODULES:
                self.own.add(each.partition(".")[2])
                return
        assert not name.startswith("txsocks5."), f"{self._name} imports {name}"
        self.others.add((name, self._depth > 0))


IMPORTS = {name: Imports(name, path) for name, path in MODULES.items()}


def importersOf(module: str) -> Iterator[tuple[str, bool]]:
    """
    Who imports a module of others, and whether within a function.
    """
    for name, imports in IMPORTS.items():
        for other, inside in imports.others:
            if other == module:
                yield name, inside


class ImportTests(SynchronousTestCase):
    """
    Tests for the order of the modules.
    """

    def test_everyModuleHasItsPlace(self) -> None:
        """
        Each module stands in the list, once.
        """
        listed = [name for layer in LAYERS for name in layer]
        self.assertEqual(sorted(listed), sorted(MODULES))

    def test_onlyDownward(self) -> None:
        """
        A module imports none that stands beside or above it.
        """
        level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
        upward = [
            f"{name} imports {other}"
            for name, imports in sorted(IMPORTS.items())
            for other in sorted(imports.own)
            if level[other] >= level[name]
        ]
        self.assertEqual(upward, [])

    def test_somethingIsSeen(self) -> None:
        """
        The order is not only kept because no import is seen.
        """
        self.assertIn("stream", IMPORTS["relay"].own)
        self.assertIn("local", IMPORTS["protocol"].own)
        self.assertIn("errors", IMPORTS["wire._socks"].own)
        self.assertIn("wire._addresses", IMPORTS["wire"].own)

    def test_nobodyImportsTheFakes(self) -> None:
        """
        The fakes are for tests; what runs in earnest does without them.
        """
        importers = {
            name
            for name, imports in IMPORTS.items()
            if any(other.startswith("testing") for other in imports.own)
        }
        self.assertEqual([name for name in importers if not name.startswith("testing")], [])

    def test_theReactor(self) -> None:
        """
        Nobody imports the reactor but the programs, and that only when they are about to start: an
        import would install one.
        """
        importers = sorted(importersOf("twisted.internet.reactor"))
        programs = ["check", "explain", "tap", "worker"]
        self.assertEqual(importers, [(program, True) for program in programs])

    def test_wireIsPure(self) -> None:
        """
        The readers and writers of octets do no I/O: they import nothing of Twisted.
        """
        for name in IMPORTS:
            if name.partition(".")[0] == "wire":
                others = {other.partition(".")[0] for other, _ in IMPORTS[name].others}
                self.assertNotIn("twisted", others, name)

    def test_theMachineIsPure(self) -> None:
        """
        The state machine knows no transport, no clock and no reactor; of Twisted it has the
        Deferred that it cancels.
        """
        twisted = {name for name, _ in IMPORTS["session"].others if name.startswith("twisted")}
        self.assertEqual(twisted, {"twisted.internet.defer.Deferred"})

"""
Tests for L{txsocks5.explain}.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import attrs

from twisted import internet
from txsocks5 import explain
from txsocks5.assembly import Assembly, assemble
from txsocks5.commandline import main
from txsocks5.testing import MemoryReactor, ScriptedResolver

from .test_assembly import MEMORY, OUT, AssemblyFixture
from .test_policy import PolicyFixture

DOCUMENT = Path(__file__).parent.parent / "docs" / "rules.rst"
RULES = """
[users.alice]
bandwidth = "2MiB/s"
sessions = 5

[[rules]]
name = "to \\u001b wiki"
allow = ["connect", "udp"]
users = ["alice"]
to = ["*.example"]

[[rules]]
deny = ["connect"]
users = ["bob"]
"""


class RunningReactor(MemoryReactor):
    """
    A reactor that can be run.

    @ivar interrupted: it stops at once.
    """

    interrupted = False

    def __init__(self) -> None:
        super().__init__()
        self._begin: list[Callable[[], object]] = []
        self.ran = self.stopped = False

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """
        Keep what is to be done.
        """
        self._begin.append(call)

    def run(self) -> None:
        """
        Do it.
        """
        self.ran = True
        if not self.interrupted:
            for call in self._begin:
                call()

    def stop(self) -> None:
        """
        Note that it has been done.
        """
        self.stopped = True


class ExplainFixture(AssemblyFixture, PolicyFixture):
    """
    The command, with a reactor and a resolver that are only memory.
    """

    def setUp(self) -> None:
        """
        Replace them.
        """
        AssemblyFixture.setUp(self)
        PolicyFixture.setUp(self)
        self.running = RunningReactor()
        self.resolver = ScriptedResolver({"wiki.example": ["198.51.100.7", "10.0.0.1"]})
        importlib.import_module("twisted.internet.reactor")
        self.patch(internet, "reactor", self.running)
        self.patch(explain, "assemble", self._assemble)
        self.file = Path(self.mktemp())
        self.file.write_text(OUT + MEMORY + RULES, "utf-8")

    def _assemble(self, reactor: Any, configuration: Any) -> Assembly:
        """
        Make the parts.
        """
        return attrs.evolve(assemble(reactor, configuration), resolver=self.resolver)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """
        Call it with a configuration.

        @return: the status, and what was printed on standard output and standard error.
        """
        return self.callAsIs("-c", str(self.file), *arguments)

    def callAsIs(self, *arguments: str) -> tuple[int, str, str]:
        """
        Call it.
        """
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            status = main(["explain", *arguments])
        return status, output.getvalue(), errors.getvalue()


class CallTests(ExplainFixture):
    """
    The command line.
    """

    def test_allowed(self) -> None:
        """
        What is allowed ends with status 0; the rules and defaults that decide are told, and the
        limits, and nothing that a terminal takes for a command.
        """
        status, output, errors = self.call(
            "--user", "alice", "--from", "::ffff:192.0.2.1", "connect", "wiki.example", "443"
        )
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(
            output.splitlines(),
            [
                "connect wiki.example 443, for alice from 192.0.2.1",
                '  request: allowed by "to \\x1b wiki"',
                '  198.51.100.7: allowed by "to \\x1b wiki"',
                "  10.0.0.1: denied: default: private address at an exposed server",
                "  limit of user: 2MiB/s, 5 sessions",
                'allowed by "to \\x1b wiki"',
            ],
        )
        self.assertTrue(self.running.ran and self.running.stopped)

    def test_denied(self) -> None:
        """
        What is denied ends with status 1, and with what the client is told.
        """
        status, output, _ = self.call("--user", "bob", "connect", "wiki.example", "443")
        self.assertEqual((status, output.splitlines()[-1]), (1, 'denied by "rule 2" (REP 02)'))
        status, output, _ = self.call("connect", "127.1", "443")
        self.assertEqual(status, 1)
        self.assertEqual(
            output.splitlines(),
            [
                "connect 127.1 443, for nobody in particular from a UNIX socket",
                "denied: a number is not a host name (REP 01)",
            ],
        )
        status, output, _ = self.call("--user", "alice", "udp", "wiki.test", "443")
        self.assertEqual((status, output.splitlines()[-1]), (1, "denied: default: no rule matches"))

    def test_json(self) -> None:
        """
        Programs are told the same.
        """
        arguments = ("--json", "--user", "alice", "--from", "10.0.0.7")
        status, output, _ = self.call(*arguments, "udp", "wiki.example", "53")
        self.assertEqual(status, 0)
        name = "to \x1b wiki"
        allowed = {"allowed": True, "reason": name, "rule": name}
        under = "default: private address at an exposed server"
        self.assertEqual(
            json.loads(output),
            {
                **allowed,
                "reply": None,
                "command": "udp",
                "host": "wiki.example",
                "port": 53,
                "user": "alice",
                "from": "10.0.0.7",
                "association": allowed,
                "request": allowed,
                "addresses": [
                    {"address": "198.51.100.7", **allowed},
                    {"address": "10.0.0.1", "allowed": False, "reason": under, "rule": None},
                ],
                "limits": [{"of": "user", "bandwidth": "2MiB/s", "sessions": 5}],
            },
        )
        self.file.write_text("", "utf-8")
        status, output, _ = self.call("--json", "bind", "", "0")
        self.assertEqual(status, 1)
        self.assertEqual(
            json.loads(output),
            {
                "allowed": False,
                "reason": "not a host name",
                "rule": None,
                "reply": 1,
                "command": "bind",
                "host": "",
                "port": 0,
                "user": None,
                "from": None,
                "client": {"allowed": True, "reason": "default: local server", "rule": None},
                "addresses": [],
                "limits": [],
            },
        )

    def test_wrongCalls(self) -> None:
        """
        A wrong call ends with status 2, and one line that says what is wrong.
        """
        for arguments, words in (
            ((), "arguments"),
            (("connect", "wiki.example"), "arguments"),
            (("fly", "wiki.example", "443"), "'fly' is none of connect, bind, udp"),
            (("connect", "wiki.example", "http"), "'http' is no port"),
            (("connect", "wiki.example", "65536"), "'65536' is no port"),
            (("connect", "wiki.example", "-1"), "'-1' is no port"),
            (("connect", "wiki.example", "\u0664"), "is no port"),
            (("connect", "wiki.example", "0" * 5000), "is no port"),
            (("--from", "here", "connect", "wiki.example", "1"), "'here' is no address"),
            (("--from", "fe80::1%1", "connect", "wiki.example", "1"), "is no address"),
            (("--user", "", "connect", "wiki.example", "1"), "empty name"),
        ):
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output), (2, ""), arguments)
            self.assertIn(words, errors)
            self.assertEqual(len(errors.splitlines()), 1)
        self.assertFalse(self.running.ran)

    def test_noConfiguration(self) -> None:
        """
        So does one without a configuration, or with one that would not start.
        """
        status, _, errors = self.callAsIs("connect", "wiki.example", "443")
        self.assertEqual(status, 2)
        self.assertIn("-c FILE", errors)
        for text in ("[", 'open = "yes"\nworkers = 0\n', OUT):
            self.file.write_text(text, "utf-8")
            status, output, errors = self.call("connect", "wiki.example", "443")
            self.assertEqual((status, output), (2, ""))
            self.assertEqual(len(errors.splitlines()), max(text.count("\n"), 1))
            for line in errors.splitlines():
                self.assertEqual(line[:10], "txsocks5: ")
        self.file.unlink()
        self.assertEqual(self.call("connect", "wiki.example", "443")[0], 2)

    def test_interrupted(self) -> None:
        """
        Who ends it before it is known is told nothing.
        """
        self.running.interrupted = True
        status, output, errors = self.call("connect", "wiki.example", "443")
        self.assertEqual((status, output, errors), (2, "", "txsocks5: interrupted\n"))

    def test_broken(self) -> None:
        """
        If a part of the server is broken, it is not said that it denies.
        """

        async def fail(*arguments: object) -> None:
            raise RuntimeError("broken")

        self.patch(explain, "explain", fail)
        self.assertRaises(RuntimeError, self.call, "connect", "wiki.example", "443")
        self.assertTrue(self.running.stopped)

    def test_realReactor(self) -> None:
        """
        It works as a program.
        """
        self.file.write_text("", "utf-8")
        called = subprocess.run(
            [sys.executable, "-m", "txsocks5", "explain", "-c", self.file, "udp", "127.0.0.1", "9"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((called.returncode, called.stderr), (0, ""))
        self.assertEqual(called.stdout.splitlines()[-1], "allowed: default: local server")

    def test_help(self) -> None:
        """
        Its help has all that it takes.
        """
        text = str(explain.Options())
        for word in ("--config", "-c", "--user", "--from", "--json", "HOST", "PORT"):
            self.assertIn(word, text)


def blocks(text: str) -> Iterator[str]:
    """
    The literal blocks of a document, without their indentation.
    """
    found = re.finditer(r"(?:::|console)\n\n((?:    .*\n|\n(?=    ))+)", text)
    for block in found:
        yield "".join(line[4:] or "\n" for line in block[1].splitlines(keepends=True))


class DocumentTests(ExplainFixture):
    """
    The page about rules.
    """

    def test_examples(self) -> None:
        """
        Every example says what it says there.
        """
        header, names, *examples = blocks(DOCUMENT.read_text("utf-8"))
        header = header.replace("htpasswd:/etc/txsocks5/users", "memory:alice:secret")
        self.resolver = ScriptedResolver()
        for line in names.splitlines():
            name, addresses = line.split(maxsplit=1)
            self.resolver.hosts[name] = addresses.split(", ")
        calls = 0
        for block in examples:
            if block.startswith("["):
                self.file.write_text(header + block, "utf-8")
                continue
            for call, *lines in map(str.splitlines, block.removeprefix("$ ").split("\n$ ")):
                program, command, *arguments = shlex.split(call)
                self.assertEqual(
                    (program, command, arguments[:2]), ("txsocks5", "explain", ["-c", "FILE"])
                )
                status, output, _ = self.call(*arguments[2:])
                self.assertEqual(
                    output.splitlines()[-len(lines) :], lines, f"{self.file.read_text()}{call}"
                )
                self.assertEqual(status, 0 if lines[-1].startswith("allowed") else 1)
                calls += 1
        self.assertGreater(calls, 20)

"""
Tests for L{txsocks5.check}.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import txsocks5
from txsocks5 import assembly
from txsocks5.check import Options

CHECKOUT = Path(txsocks5.__file__).parent.parent


class CheckTests(SynchronousTestCase):
    """
    What is said of a configuration, and with which status.
    """

    def setUp(self) -> None:
        """
        Let no authenticators be installed.
        """
        self.patch(assembly, "installedAuthenticators", lambda: iter(()))
        self.path = Path(self.mktemp()).absolute()

    def check(self, text: str) -> tuple[int, list[str]]:
        """
        Check a file.

        @return: the exit status, and the lines.
        """
        self.path.write_text(text, "utf-8")
        return self.run_(str(self.path))

    def run_(self, *arguments: str) -> tuple[int, list[str]]:
        """
        Run the command.
        """
        options = Options()
        options.parseOptions(list(arguments))
        output = io.StringIO()
        with redirect_stdout(output):
            status = options.run()
        return status, output.getvalue().splitlines()

    def test_good(self) -> None:
        """
        There is nothing to say of rules that are fine.
        """
        text = "[[rules]]\nallow = ['connect']\n"
        self.assertEqual(self.check(text), (0, []))

    def test_defaults(self) -> None:
        """
        Without rules it says which defaults hold.
        """
        status, [line] = self.check("")
        self.assertEqual(status, 0)
        self.assertTrue(line.startswith("note: there are no [[rules]], "), line)
        self.assertIn("a local server", line)
        status, [line] = self.check("listen = ['tcp:1080']\n[auth]\ncheckers = ['memory:a:b']")
        self.assertEqual(status, 0)
        self.assertIn("an exposed server", line)

    def test_wrong(self) -> None:
        """
        Each mistake is an error.
        """
        status, lines = self.check("workers = 0\n[timeouts]\nidle = -1")
        self.assertEqual(status, 1)
        self.assertTrue(lines[0].startswith("error: workers: found 0; "), lines)
        self.assertTrue(lines[1].startswith("error: timeouts.idle: found -1; "), lines)
        self.assertEqual(len(lines), 2)

    def test_wouldNotStart(self) -> None:
        """
        So is what only comes out when the parts are put together; what is dubious is said as well.
        """
        users = Path(self.mktemp()).absolute()
        users.write_text("alice:secret\n")
        users.chmod(0o644)
        text = f"[auth]\nmethods = ['gssapi']\ncheckers = ['file:{users}']"
        status, lines = self.check(text)
        self.assertEqual(status, 1)
        self.assertEqual(
            [line.partition(": ")[0] for line in lines], ["error", "warning", "warning"]
        )
        self.assertTrue(lines[0].startswith("error: auth.methods[0]: "), lines)

    def test_openProxy(self) -> None:
        """
        An open proxy would not start (S-04).
        """
        status, [line] = self.check("listen = ['tcp:1080']")
        self.assertEqual(status, 1)
        self.assertTrue(line.startswith("error: listen: other machines could use"), line)

    def test_warnings(self) -> None:
        """
        What is dubious keeps nothing from starting.
        """
        status, lines = self.check(
            "[auth]\ncheckers = ['memory:alice:secret']\n[users.bob]\n"
            "[[rules]]\nname = 'a'\nallow = ['connect']\n[[rules]]\nname = 'b'\ndeny = ['connect']"
        )
        self.assertEqual(status, 0)
        self.assertEqual(
            [line.partition(": ")[2].partition(": ")[0] for line in lines],
            ["users.bob", "rules[1]"],
        )
        self.assertEqual({line.partition(": ")[0] for line in lines}, {"warning"})

    def test_missing(self) -> None:
        """
        A file that is not there is an error.
        """
        self.assertEqual(
            self.run_(str(self.path)),
            (1, [f"error: {self.path} cannot be read: No such file or directory"]),
        )

    def test_wrongCall(self) -> None:
        """
        There is one file.
        """
        for arguments in ([], ["a", "b"], ["--nonsense", "a"]):
            self.assertRaises(usage.UsageError, Options().parseOptions, arguments)

    def test_program(self) -> None:
        """
        As a program it has these statuses: 0, 1, and 2 for a wrong call.
        """
        self.path.touch()
        for arguments, status in (
            ([str(self.path)], 0),
            ([self.mktemp()], 1),
            ([], 2),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "txsocks5", "check", *arguments],
                cwd=self.path.parent,
                env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(bool(done.stderr), status == 2, done.stderr)
            self.assertEqual(bool(done.stdout), status < 2)

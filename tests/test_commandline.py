"""
Tests for L{txsocks5.commandline} and L{txsocks5.__main__}.
"""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import txsocks5
from txsocks5 import commandline
from txsocks5.commandline import Options, main


class Scripted(usage.Options):
    """
    A subcommand.

    @cvar answer: what it does.
    """

    answer: Any = None

    def parseArgs(self, *words: str) -> None:
        """
        Take words.
        """
        if "wrong" in words:
            raise usage.UsageError("wrong word")

    def run(self) -> Any:
        """
        Do it.
        """
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class MainTests(SynchronousTestCase):
    """
    Tests for L{main}.
    """

    def setUp(self) -> None:
        """
        Have a subcommand of our own.
        """
        self.patch(Options, "subCommands", [("try", None, Scripted, "Try something.")])

    def call(self, *arguments: str, answer: Any = None) -> tuple[int, str, str]:
        """
        Call it.

        @return: the status, and what was printed on standard output and standard error.
        """
        self.patch(Scripted, "answer", answer)
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            try:
                status = main(arguments)
            except SystemExit as end:
                assert isinstance(end.code, int)
                status = end.code
        return status, output.getvalue(), errors.getvalue()

    def test_status(self) -> None:
        """
        The status is what the subcommand says; if it says nothing, all is well.
        """
        self.assertEqual(self.call("try"), (0, "", ""))
        self.assertEqual(self.call("try", answer=0), (0, "", ""))
        self.assertEqual(self.call("try", answer=1), (1, "", ""))

    def test_failed(self) -> None:
        """
        What fails is told in one line, with status 1.
        """
        for error in (
            OSError(28, "no space left", "/x"),
            ValueError("there is no such user"),
            ImportError("it needs libpass"),
        ):
            self.assertEqual(self.call("try", answer=error), (1, "", f"txsocks5: {error}\n"))
        self.assertEqual(
            self.call("try", answer=KeyboardInterrupt()), (1, "", "txsocks5: interrupted\n")
        )

    def test_mistake(self) -> None:
        """
        A mistake of ours is not taken for one of the operator.
        """
        self.assertRaises(ZeroDivisionError, self.call, "try", answer=ZeroDivisionError())

    def test_wrongCall(self) -> None:
        """
        A wrong call is told in one line, with status 2.
        """
        for arguments, reason in (
            ([], "say what to do: try"),
            (["nonsense"], "nonsense"),
            (["--nonsense"], "nonsense"),
            (["try", "--nonsense"], "nonsense"),
            (["try", "wrong"], "wrong word"),
        ):
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output), (2, ""))
            self.assertTrue(errors.startswith("txsocks5: "), errors)
            self.assertIn(reason, errors)
            self.assertEqual(errors.count("\n"), 1)

    def test_help(self) -> None:
        """
        C{--help} lists what it can do.
        """
        status, output, errors = self.call("--help")
        self.assertEqual((status, errors), (0, ""))
        self.assertRegex(output, r"(?m)^Usage: txsocks5 ")
        self.assertRegex(output, r"(?m)^ +try +Try something\.$")

    def test_version(self) -> None:
        """
        C{--version} tells the version of this package.
        """
        self.assertEqual(self.call("--version"), (0, f"txsocks5 {txsocks5.__version__}\n", ""))

    def test_argumentsOfTheProcess(self) -> None:
        """
        Without arguments it takes those of the process.
        """
        self.patch(sys, "argv", ["txsocks5", "try", "wrong"])
        with redirect_stderr(io.StringIO()):
            self.assertEqual(main(), 2)


class SubcommandsTests(SynchronousTestCase):
    """
    What the command can do.
    """

    def test_all(self) -> None:
        """
        Everything that is listed is there, and has help and a method that does it.
        """
        for name, _, make, description in Options.subCommands:
            options: Any = make()
            self.assertIsInstance(options, usage.Options)
            self.assertTrue(callable(options.run), name)
            self.assertIn("Options:", str(options))
            self.assertTrue(description.endswith("."), description)

    def test_late(self) -> None:
        """
        Nothing of it is imported before it is asked for.
        """
        code = "import sys, txsocks5.commandline; print('txsocks5.passwd' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        self.assertEqual((done.stdout, done.stderr), ("False\n", ""))

    def test_module(self) -> None:
        """
        C{python -m txsocks5} is the same, as a program with an exit status.
        """
        path = self.mktemp()
        for arguments, status in (
            (["passwd", path, "alice"], 0),
            (["passwd", "--delete", path, "alice"], 0),
            (["passwd", "--delete", path, "alice"], 1),
            (["passwd", path], 2),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "txsocks5", *arguments],
                input="secret\n",
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1 if status else 0, done.stderr)

    def test_moduleAsked(self) -> None:
        """
        That ends with the status that the command has, given what stands behind its name.
        """
        self.patch(sys, "argv", ["txsocks5", "nonsense"])
        self.patch(sys, "stderr", io.StringIO())
        error = self.assertRaises(SystemExit, runpy.run_module, "txsocks5", run_name="__main__")
        self.assertEqual(error.code, commandline.WRONG_CALL)
        self.assertIn("nonsense", sys.stderr.getvalue())

    def test_moduleImported(self) -> None:
        """
        Who only imports it runs nothing.
        """
        self.patch(sys, "argv", ["txsocks5", "nonsense"])
        self.assertIs(runpy.run_module("txsocks5.__main__")["main"], commandline.main)

    def test_constants(self) -> None:
        """
        A failure can be told from a wrong call.
        """
        self.assertEqual((commandline.FAILED, commandline.WRONG_CALL), (1, 2))

"""
C{txsocks5}, the command: what an operator does beside running the server.

Each thing that it can do is a class of options in a module of its own, which is imported when it is
asked for.  Such a class has a method C{run}, which does it; its result is the exit status.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from twisted.python import usage
from twisted.python.reflect import namedAny

from . import __version__

__all__ = ["Options", "main"]

FAILED = 1
WRONG_CALL = 2


def _optionsOf(name: str) -> Callable[[], usage.Options]:
    """
    Import the options of a subcommand when they are needed, and not before: some need packages
    that are not always there.

    @param name: the module.
    """

    def make() -> usage.Options:
        options: usage.Options = namedAny(f"{name}.Options")()
        return options

    return make


class Options(usage.Options):
    """
    The command line.
    """

    synopsis = "Usage: txsocks5 [options]"
    longdesc = (
        "'twistd socks5' runs the server; this looks after it.  'txsocks5 COMMAND --help' tells "
        "more of a command."
    )

    subCommands: ClassVar[list[tuple[str, None, Callable[[], usage.Options], str]]] = [
        (
            "check",
            None,
            _optionsOf("txsocks5.check"),
            "Find out whether a server would start.",
        ),
        (
            "passwd",
            None,
            _optionsOf("txsocks5.passwd"),
            "Set or delete a user's password in a file.",
        ),
        (
            "explain",
            None,
            _optionsOf("txsocks5.explain"),
            "Tell what a configuration says to a request, and why.",
        ),
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)

    def opt_version(self) -> None:
        """
        Show the version and exit.
        """
        print(f"txsocks5 {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """
        @raise UsageError: nothing is asked for.
        """
        if self.subCommand is None:
            names = ", ".join(name for name, *_ in self.subCommands)
            raise usage.UsageError(f"say what to do: {names}")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what a command line says.

    @param arguments: what stands behind the name of the command; by default, that of this process.

    @return: the exit status: 0 if all is well, 1 if something has failed, 2 if the call was wrong,
        or what the subcommand says.  What was wrong is on standard error, in one line.
    """
    options: Any = Options()
    try:
        options.parseOptions(list(sys.argv[1:] if arguments is None else arguments))
        status: int | None = options.subOptions.run()
    except usage.UsageError as error:
        return _say(f"{error} (txsocks5 --help tells what can be said)", WRONG_CALL)
    except (ImportError, OSError, ValueError) as error:
        return _say(str(error), FAILED)
    except KeyboardInterrupt:
        return _say("interrupted", FAILED)
    return status or 0


def _say(what: str, status: int) -> int:
    """
    Tell the operator why it ends.
    """
    print(f"txsocks5: {what}", file=sys.stderr)
    return status

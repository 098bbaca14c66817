"""
C{txsocks5 check}: find out whether a server would start.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.python import usage

from .assembly import Assembly, assemble
from .config import ConfigurationError, readConfiguration

__all__ = ["Options"]

_GOOD, _BAD = range(2)


class Options(usage.Options):
    """
    What stands behind C{txsocks5 check}.
    """

    synopsis = "FILE"
    longdesc = (
        "Reads the configuration FILE, and the files that it names, as 'twistd socks5 --config "
        "FILE' would, and says what is wrong ('error:') or dubious ('warning:') in a line each.  "
        "Nothing is started.  The exit status is 0 if a server would start, and 1 if not."
    )

    def parseArgs(self, file: str) -> None:  # type: ignore[override]
        """
        Take the file.
        """
        self["file"] = file

    def run(self) -> int:
        """
        Do it.

        @return: the exit status.
        """
        # It is not run.
        from twisted.internet import reactor

        try:
            assembly = assemble(reactor, readConfiguration(self["file"]))
        except ConfigurationError as error:
            for line in error.lines:
                print(f"error: {line}")
            for warning in error.warnings:
                print(f"warning: {warning}")
            return _BAD
        for line in _said(assembly):
            print(line)
        return _GOOD


def _said(assembly: Assembly) -> Iterator[str]:
    """
    What there is to say of a configuration that would start.
    """
    for warning in assembly.warnings:
        yield f"warning: {warning}"
    if not assembly.configuration.rules:
        yield (
            "note: there are no [[rules]], so the defaults of a local server hold: all commands, "
            "all destinations"
            if assembly.local
            else "note: there are no [[rules]], so the defaults of an exposed server hold: CONNECT "
            "and UDP ASSOCIATE, public addresses"
        )

"""
The command line of C{twistd socks5}, and the configuration that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, ClassVar, TypeVar

import attrs
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage

from .config import (
    GSSAPI,
    BadValue,
    Configuration,
    ConfigurationError,
    Problem,
    readConfiguration,
)
from .wire import unmapped

__all__ = ["CannotStart", "Options"]

_Method = TypeVar("_Method", bound=Callable[..., None])


def _inOneLine(method: _Method) -> _Method:
    """
    Make the docstring of a method, which is its help, fit to be wrapped.
    """
    method.__doc__ = " ".join((method.__doc__ or "").split())
    return method


class CannotStart(SystemExit, Exception):
    """
    Ends a program with one line or more on standard error, and status 1.  As it is an
    C{Exception}, too, C{twistd} tells them to whoever has started it, and removes its pidfile.
    """


class Options(usage.Options, AuthOptionMixin):
    """
    The command line.

    @ivar configuration: what it stands for, together with the file that it names.
    """

    supportedInterfaces = (IUsernamePassword,)

    synopsis = "[options]"
    longdesc = (
        "A SOCKS5 proxy: CONNECT, BIND and UDP ASSOCIATE.  Without options it serves the "
        "programs of this machine, on 127.0.0.1 port 1080.  Whoever can be reached from other "
        "machines has to say how clients authenticate.  Authentication methods that other "
        "packages have installed are offered, too; the log says which they are."
    )

    optFlags: ClassVar = [
        [
            "open",
            None,
            "Serve clients from other machines without authentication.  Anybody who can reach the "
            "proxy can then use it.  [default: refuse to start]",
        ],
        [
            "gssapi",
            None,
            "Let clients in that show who they are by GSSAPI (RFC 1961), with Kerberos tickets.  "
            "With it, nobody is served without authentication.",
        ],
    ]

    optParameters: ClassVar = [
        [
            "config",
            "c",
            None,
            "A configuration file.  What is said here as well replaces what it says; 'txsocks5 "
            "check FILE' says what is wrong with it.  [default: none]",
        ],
        [
            "gssapi-keytab",
            None,
            None,
            "The file with the keys for --gssapi.  [default: that of the Kerberos library]",
        ],
        [
            "gssapi-service",
            None,
            None,
            "Accept only tickets for this service: socks or socks@host.  [default: for every key "
            "in the keytab]",
        ],
        [
            "gssapi-levels",
            None,
            None,
            "What clients may agree on, separated by commas: confidentiality, integrity, clear (no "
            "protection), curl (no protection, whatever was asked for, which is all that curl "
            "understands), nec (the level itself may be sent without protection).  [default: "
            "confidentiality,integrity]",
        ],
        [
            "access-log",
            None,
            None,
            "Where to write a line of JSON for each session: a file, - for standard output, or "
            "nothing for nowhere.  SIGUSR1 makes it begin a new file.  [default: socks5-access.log "
            "beside the log of twistd, and standard output where that is the log]",
        ],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self["listen"] = []
        self["auth"] = []
        self["advertise"] = []
        self["workers"] = None
        self.configuration = Configuration()

    @_inOneLine
    def opt_listen(self, endpoint: str) -> None:
        """
        Where to take clients: a Twisted server endpoint string, such as tcp:1080 or
        unix:/run/socks.sock.  Can be repeated.  [default: tcp:1080:interface=127.0.0.1]
        """
        self["listen"].append(endpoint)

    opt_l = opt_listen

    @_inOneLine
    def opt_advertise(self, address: str) -> None:
        """
        The address to tell clients for BIND and UDP, where they reach the proxy by another than
        its own (NAT).  Can be given twice, for IPv4 and IPv6.  [default: the proxy's own]
        """
        try:
            self["advertise"].append(unmapped(ip_address(address)))
        except ValueError:
            raise usage.UsageError(
                f"--advertise: {address!r} is not an IPv4 or IPv6 address"
            ) from None

    @_inOneLine
    def opt_auth(self, description: str) -> None:
        """
        Who knows the users and their passwords, such as file:/etc/socks/users or unix; see
        --help-auth.  Can be repeated.  With it, nobody is served without a password.  [default:
        nobody, and nobody is asked]
        """
        self["auth"].append(description)

    @_inOneLine
    def opt_workers(self, number: str) -> None:
        """
        How many processes share the listening ports, so that more than one core is used.  Limits
        hold for all of them together.  [default: 1]
        """
        if not (number.isascii() and number.isdigit()):
            raise usage.UsageError(f"--workers: {number!r} is not a number")
        self["workers"] = int(number)

    def postOptions(self) -> None:
        """
        Read the configuration file, and let the options replace what it says.

        @raise UsageError: the options make no sense.

        @raise CannotStart: something is wrong with the file.
        """
        try:
            self.configuration = self.read()
        except ConfigurationError as error:
            lines = self.linesOf(error.problems)
            if self["config"] is None:
                raise usage.UsageError("\n".join(lines)) from None
            raise CannotStart("\n".join(lines)) from None

    def read(self) -> Configuration:
        """
        Read the configuration file, if there is one.

        @return: what the command line stands for, as of now.

        @raise ConfigurationError: something is wrong with it.
        """
        configuration = Configuration()
        given = self._given()
        if self["config"] is not None:
            replaced = [key for _, key, _ in given]
            configuration = readConfiguration(self["config"], without=replaced)
        if self["gssapi"] and configuration.auth.gssapi is None:
            configuration = _replaced(configuration, ["auth", "gssapi"], GSSAPI())
        problems = []
        for option, key, value in given:
            path = key.split(".")
            if "gssapi" in path and configuration.auth.gssapi is None:
                problems.append(Problem(option, "it means nothing without --gssapi"))
                continue
            try:
                configuration = _replaced(configuration, path, value)
            except BadValue as error:
                problems.append(Problem(option, error.text))
        if problems:
            raise ConfigurationError(problems)
        return configuration

    def _given(self) -> Sequence[tuple[str, str, Any]]:
        """
        What the options replace: for each, its name, the key's full path, and the value.
        """
        levels = self["gssapi-levels"]
        given = (
            ("listen", "listen", tuple(self["listen"]) or None),
            ("workers", "workers", self["workers"]),
            ("open", "open", True if self["open"] else None),
            ("auth", "auth.checkers", tuple(self["auth"]) or None),
            ("advertise", "network.advertise", tuple(self["advertise"]) or None),
            ("gssapi-keytab", "auth.gssapi.keytab", self["gssapi-keytab"]),
            ("gssapi-service", "auth.gssapi.service", self["gssapi-service"]),
            (
                "gssapi-levels",
                "auth.gssapi.levels",
                None if levels is None else tuple(each.strip() for each in levels.split(",")),
            ),
        )
        return [(f"--{name}", key, value) for name, key, value in given if value is not None]

    def linesOf(self, problems: Iterable[Problem]) -> list[str]:
        """
        Say what is wrong, by the names of the options where they have replaced what a file says.
        """
        options = {key: option for option, key, _ in self._given()}
        if self["gssapi"]:
            options["auth.gssapi"] = "--gssapi"
        return [str(_renamed(problem, options)) for problem in problems]

    def accessLog(self) -> str:
        """
        Where the access log goes, C{--access-log} or its default.
        """
        given = self["access-log"]
        if given is not None:
            return str(given)
        twistd: Mapping[str, Any] = getattr(self, "parent", None) or {"nodaemon": True}
        toStandardOutput = twistd.get("nodaemon", True) and twistd.get("logfile") in (None, "-")
        return "-" if toStandardOutput else "socks5-access.log"


def _replaced(settings: Any, path: Sequence[str], value: Any) -> Any:
    """
    Replace a setting within settings.

    @param path: the names of the attributes that lead to it.

    @raise BadValue: it cannot have this value.
    """
    name, *rest = path
    if rest:
        value = _replaced(getattr(settings, name), rest, value)
    return attrs.evolve(settings, **{name: value})


def _renamed(problem: Problem, options: Mapping[str, str]) -> Problem:
    """
    Name an option instead of the key that it stands for.
    """
    for key, option in options.items():
        if problem.path == key or problem.path.startswith((f"{key}[", f"{key}.")):
            return Problem(option, problem.text)
    return problem

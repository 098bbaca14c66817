"""
C{twistd socks5}.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from types import FrameType
from typing import Any, ClassVar, TypeVar

from twisted.application.service import IService
from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import (
    AuthOptionMixin,
    InvalidAuthType,
    UnsupportedInterfaces,
    makeChecker,
)
from twisted.internet.defer import Deferred
from twisted.plugins.cred_unix import UNIXChecker
from twisted.python import usage

from . import levels
from .accesslog import AccessLog, logFile
from .auth import (
    Anonymous,
    PasswordAuthenticator,
    gssapiAuthenticator,
    installedAuthenticators,
    withOctets,
)
from .config import Network
from .exposure import isLocal
from .interfaces import IAuthenticator
from .journal import Unwritten
from .outgoing import SystemResolver
from .policy import DefaultPolicy
from .server import SOCKS5Factory
from .service import SOCKS5Service
from .wire import IPAddress, unmapped

__all__ = ["Options", "makeService"]

_Method = TypeVar("_Method", bound=Callable[..., None])
_Result = TypeVar("_Result")

_LOOK_UPS = 64
_OTHER_THREADS = 8


def _inOneLine(method: _Method) -> _Method:
    """
    Make the docstring of a method, which is its help, fit to be wrapped.
    """
    method.__doc__ = " ".join((method.__doc__ or "").split())
    return method


class Options(usage.Options, AuthOptionMixin):
    """
    The command line.
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

    def accessLog(self) -> str:
        """
        Where the access log goes, C{--access-log} or its default.
        """
        given = self["access-log"]
        if given is not None:
            return str(given)
        twistd: Mapping[str, Any] = getattr(self, "parent", None) or {"nodaemon": True}
        toStandardOutput = twistd.get("nodaemon") and twistd.get("logfile") in (None, "-")
        return "-" if toStandardOutput else "socks5-access.log"

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self["listen"] = []
        self["advertise"] = []

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
        Who knows the users and their passwords, such as htpasswd:/etc/socks/users or unix; see
        --help-auth.  Can be repeated.  With it, nobody is served without a password.  [default:
        nobody, and nobody is asked]
        """
        # What stands behind the kind may be a secret.
        kind = description.partition(":")[0]
        try:
            checker = makeChecker(description)
            _examine(checker)
            AuthOptionMixin.addChecker(self, checker)
        except UnsupportedInterfaces:
            raise usage.UsageError(
                f"--auth: {kind!r} does not check user names and passwords"
            ) from None
        except InvalidAuthType:
            raise usage.UsageError(
                f"--auth: there is no {kind!r}; --help-auth lists all that there is"
            ) from None
        except Exception as error:
            raise usage.UsageError(f"--auth: {kind!r} cannot be used: {error}") from None

    def postOptions(self) -> None:
        """
        Judge the whole, before anything is started.

        @raise UsageError: the options make no sense, or would make an open proxy.
        """
        if not self["listen"]:
            self["listen"].append("tcp:1080:interface=127.0.0.1")
        advertised: list[IPAddress] = self["advertise"]
        if len({address.version for address in advertised}) < len(advertised):
            raise usage.UsageError("--advertise: more than one address of a family")
        for address in advertised:
            if address.is_unspecified:
                raise usage.UsageError(f"--advertise: clients cannot reach {address}")
        if not self["gssapi"]:
            for name in ("gssapi-keytab", "gssapi-service", "gssapi-levels"):
                if self[name] is not None:
                    raise usage.UsageError(f"--{name} means nothing without --gssapi")
        exposed = [endpoint for endpoint in self["listen"] if not self._isLocal(endpoint)]
        self["local"] = not exposed
        self["authenticated"] = (
            bool(self["gssapi"])
            or bool(self.get("credCheckers"))
            or bool(list(installedAuthenticators()))
        )
        if not (self["local"] or self["authenticated"] or self["open"]):
            raise usage.UsageError(
                "other machines could use this proxy without authentication, at "
                f"{', '.join(map(repr, exposed))}: give --auth or --gssapi, or listen on a "
                "loopback address (as a number), or say --open if that is what you want"
            )

    @staticmethod
    def _isLocal(endpoint: str) -> bool:
        try:
            return isLocal(endpoint)
        except Exception as error:
            raise usage.UsageError(f"--listen: {endpoint!r} cannot be used: {error}") from None


def _examine(checker: ICredentialsChecker) -> None:
    """
    Find out whether a checker can do its work, which would otherwise show when the first user
    comes.

    @raise Exception: it cannot.
    """
    if isinstance(checker, FilePasswordDB):
        with open(checker.filename, "rb") as users:
            for number, line in enumerate(users, 1):
                # The checker would take what stands before the second colon for the password.
                if line.count(b":") > 1:
                    raise ValueError(f"line {number} of {checker.filename} has a second colon")
    elif isinstance(checker, UNIXChecker) and find_spec("crypt") is None:
        raise ValueError("this Python cannot check the system's passwords (it has no crypt)")


class CannotStart(SystemExit, Exception):
    """
    Ends a program with one line on standard error, and status 1.  As it is an C{Exception}, too,
    C{twistd} tells the line to whoever has started it, and removes its pidfile.
    """


def _collectSeldom() -> None:
    """
    Sessions leave nothing to the garbage collector, and looking for it takes a tenth of a short
    session's time: leave out what is there from the start, and look more seldom.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class _CommandLineService(SOCKS5Service):
    """
    A service that ends the program if it cannot listen, or write its log.
    """

    def __init__(
        self, factory: SOCKS5Factory, listen: Sequence[str], accessLog: AccessLog | None
    ) -> None:
        super().__init__(factory, listen)
        self._accessLog = accessLog

    def privilegedStartService(self) -> None:
        """
        Listen; see L{SOCKS5Service.privilegedStartService}.

        @raise CannotStart: an endpoint cannot listen.
        """
        with _orNotAtAll():
            super().privilegedStartService()

    def startService(self) -> None:
        """
        Listen; see L{SOCKS5Service.startService}.

        @raise CannotStart: an endpoint cannot listen.
        """
        with _orNotAtAll():
            if self._accessLog is not None:
                self._accessLog.start()
                _alsoUpon(signal.SIGUSR1, self._accessLog.rotate)
            super().startService()
        _collectSeldom()

    def stopService(self) -> Deferred[None]:
        """
        Stop; see L{SOCKS5Service.stopService}.
        """
        stopped = super().stopService()
        if self._accessLog is not None:
            stopped.addBoth(self._endLog, self._accessLog)
        return stopped

    @staticmethod
    def _endLog(result: _Result, accessLog: AccessLog) -> _Result:
        """
        All sessions have been written down.
        """
        accessLog.stop()
        return result


def _alsoUpon(number: int, call: Callable[[], None]) -> None:
    """
    Call C{call} when a signal comes, besides whatever happens then anyhow.
    """
    from twisted.internet import reactor

    before = signal.getsignal(number)
    threads: Any = reactor

    def happened(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        threads.callFromThread(call)

    signal.signal(number, happened)


@contextmanager
def _orNotAtAll() -> Iterator[None]:
    """
    Turn any error into the end of the program.
    """
    try:
        yield
    except Exception as error:
        raise CannotStart(str(error) or repr(error)) from error


def _gssapi(reactor: Any, options: Options) -> IAuthenticator:
    """
    The authenticator for C{--gssapi}.

    @raise CannotStart: it cannot be used.
    """
    said = options["gssapi-levels"]
    names = levels.DEFAULT if said is None else [name.strip() for name in said.split(",")]
    keytab, service = options["gssapi-keytab"] or "", options["gssapi-service"] or ""
    try:
        return gssapiAuthenticator(reactor, keytab, service, names)
    except ValueError as error:
        raise CannotStart(f"--gssapi: {error}") from error


def makeService(options: Options) -> IService:
    """
    Make the service that C{twistd} runs.

    @raise CannotStart: two authentication methods have the same number, or GSSAPI cannot be used.
    """
    from twisted.internet import reactor

    # Look-ups of names block a thread each, perhaps for long; checking passwords must not have to
    # wait for them.
    threads: Any = reactor
    threads.suggestThreadPoolSize(_LOOK_UPS + _OTHER_THREADS)
    authenticators: list[IAuthenticator] = list(installedAuthenticators())
    checkers = [withOctets(checker) for checker in options.get("credCheckers", [])]
    if checkers:
        authenticators.append(PasswordAuthenticator(reactor, checkers))
    if options["gssapi"]:
        # After passwords: real clients offer it without being able to go through with it.
        authenticators.append(_gssapi(reactor, options))
    network = Network(advertise=tuple(options["advertise"]))
    accessLog = _accessLog(reactor, options.accessLog())
    with _orNotAtAll():
        factory = SOCKS5Factory(
            reactor,
            authenticators=authenticators or [Anonymous()],
            policy=DefaultPolicy(local=options["local"], open=bool(options["open"])),
            resolver=SystemResolver(threads.nameResolver, running=_LOOK_UPS),
            network=network,
            journal=accessLog or Unwritten(),
        )
    service: IService = _CommandLineService(factory, options["listen"], accessLog)
    return service


def _accessLog(clock: Any, where: str) -> AccessLog | None:
    """
    Make the access log.

    @param where: see L{Options.accessLog}.

    @return: L{None} for none.
    """
    if not where:
        return None
    # Twisted is about to put something of its own in the place of this one.
    standardOutput = sys.stdout
    if where == "-":
        return AccessLog(clock, lambda: standardOutput)
    return AccessLog(clock, lambda: logFile(where))

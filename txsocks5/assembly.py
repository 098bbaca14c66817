"""
From a configuration to the parts of a server.

Nothing here opens a socket or starts a thread, so that the parts can be made, and thrown away,
while a server runs that is made of others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker

from .auth import (
    Anonymous,
    PasswordAuthenticator,
    byMethod,
    gssapiAuthenticator,
    installedAuthenticators,
)
from .checkers import describedChecker, doubtsAbout
from .config import (
    Configuration,
    ConfigurationError,
    Problem,
    bareOrQuoted,
    contradictions,
)
from .doubts import doubts
from .exposure import isLocal
from .interfaces import IAuthenticator, IPolicy, IResolver
from .ledger import Ledger
from .resolvers import Resolvers
from .rules import openRule, policyOf
from .tally import Tally
from .userlist import userListOf

__all__ = ["Assembly", "assemble"]

_NEEDS = {"password": "auth.checkers", "gssapi": "[auth.gssapi]"}


@attrs.frozen(eq=False, kw_only=True)
class Assembly:
    """
    The parts of a server, which fit each other.

    @ivar configuration: what they are made from.

    @ivar local: whether only this machine can reach the server.

    @ivar authenticators: the methods, the preferred first.

    @ivar policy: who may do what.

    @ivar resolver: names to addresses.

    @ivar ledger: holds the clients to their limits.

    @ivar warnings: what is dubious, but keeps nothing from starting.
    """

    configuration: Configuration
    local: bool
    authenticators: tuple[IAuthenticator, ...]
    policy: IPolicy
    resolver: IResolver
    ledger: Ledger
    warnings: tuple[Problem, ...]

    @property
    def parts(self) -> dict[str, Any]:
        """
        The parts as L{SOCKS5Factory <txsocks5.SOCKS5Factory>} takes them.
        """
        return {
            "authenticators": self.authenticators,
            "policy": self.policy,
            "resolver": self.resolver,
            "ledger": self.ledger,
            "network": self.configuration.network,
            "timeouts": self.configuration.timeouts,
            "exposed": not self.local,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """
        The parts as L{SOCKS5Factory.reconfigure <txsocks5.SOCKS5Factory.reconfigure>} takes them.
        """
        configuration = self.configuration
        return {
            "authenticators": self.authenticators,
            "policy": self.policy,
            "resolver": self.resolver,
            "network": configuration.network,
            "timeouts": configuration.timeouts,
            "limits": configuration.limits,
            "users": configuration.users,
            "groups": configuration.groups,
            "rules": configuration.rules,
            "exposed": not self.local,
        }


def assemble(
    reactor: Any,
    configuration: Configuration,
    *,
    resolvers: Resolvers | None = None,
    now: Callable[[], float] = time,
    tally: Tally | None = None,
) -> Assembly:
    """
    Make the parts of a server.

    @param reactor: provides what L{ISOCKSReactor <txsocks5.interfaces.ISOCKSReactor>} lists.
        Nothing is asked of it yet.

    @param resolvers: what names are looked up by.  Whoever makes the parts of one server again and
        again has one for all of them.

    @param now: tells the time of the calendar, in seconds since 1970 in UTC.

    @param tally: where sessions are counted; by default, in this process alone.

    @raise ConfigurationError: nothing should be started with this configuration; the error has all
        reasons.
    """
    resolvers = resolvers or Resolvers(reactor)
    return _Assembler(reactor, configuration).assembly(resolvers, now, tally)


class _Assembler:
    """
    Makes the parts of one server.

    @ivar problems: what is wrong so far.

    @ivar warnings: what is dubious so far.
    """

    def __init__(self, reactor: Any, configuration: Configuration) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._reactor = reactor
        self._configuration = configuration
        self._auth = configuration.auth
        self._installed = list(installedAuthenticators())

    def assembly(
        self, resolvers: Resolvers, now: Callable[[], float], tally: Tally | None
    ) -> Assembly:
        """
        Make all of them; see L{assemble}.
        """
        configuration = self._configuration
        self.problems += contradictions(configuration)
        words = self._methods()
        checkers = self._checkers()
        authenticators = self._authenticators(words, checkers)
        exposed = self._exposed()
        if exposed and "none" in words and not configuration.open:
            self._judgeOpenProxy(exposed)
        self._judgeDatabase()
        if self.problems:
            raise ConfigurationError(self.problems, self.warnings)
        self._doubtUsers(checkers)
        self._doubtRules(local=not exposed)
        return Assembly(
            configuration=configuration,
            local=not exposed,
            authenticators=authenticators,
            policy=policyOf(configuration, local=not exposed, now=now),
            resolver=resolvers.resolverFor(configuration.network),
            ledger=Ledger(
                self._reactor,
                configuration.limits,
                configuration.users,
                configuration.groups,
                tally=tally,
                now=now,
            ),
            warnings=tuple(self.warnings),
        )

    def _methods(self) -> Sequence[str]:
        """
        Find out which methods are to be offered, beside those of other packages, and in which
        order.  By default passwords come before GSSAPI, which many clients offer without being
        able to go through with it (R-1928-12).
        """
        auth = self._auth
        configured = {"password": bool(auth.checkers), "gssapi": auth.gssapi is not None}
        ready = [word for word, isReady in configured.items() if isReady]
        if not auth.methods:
            return ready or ([] if self._installed else ["none"])
        for index, word in enumerate(auth.methods):
            if not configured.get(word, True):
                self._wrong(
                    f"auth.methods[{index}]",
                    f'found "{word}" without {_NEEDS[word]}; allowed: both, or neither',
                )
        for word in ready:
            if word not in auth.methods:
                self._doubt(_NEEDS[word].strip("[]"), f'not used: auth.methods has no "{word}"')
        return auth.methods

    def _checkers(self) -> Sequence[ICredentialsChecker]:
        """
        Make what knows the users and their passwords.
        """
        checkers = []
        for index, description in enumerate(self._auth.checkers):
            path = f"auth.checkers[{index}]"
            try:
                checker = describedChecker(description)
            except ValueError as error:
                self._wrong(path, str(error))
            else:
                checkers.append(checker)
                known = userListOf(checker)
                listed = known.warnings() if known is not None else ()
                for warning in (*doubtsAbout(checker), *listed):
                    self._doubt(path, warning)
        return checkers

    def _authenticators(
        self, words: Sequence[str], checkers: Sequence[ICredentialsChecker]
    ) -> tuple[IAuthenticator, ...]:
        """
        Make the methods: those of other packages come first.
        """
        auth = self._auth
        made = list(self._installed)
        for word in words:
            if word == "none":
                made.append(Anonymous())
            elif word == "password":
                made.append(PasswordAuthenticator(self._reactor, checkers, auth.failures))
            elif auth.gssapi is not None:
                settings = auth.gssapi
                try:
                    made.append(
                        gssapiAuthenticator(
                            self._reactor, settings.keytab, settings.service, settings.levels
                        )
                    )
                except ValueError as error:
                    self._wrong("auth.gssapi", str(error))
        try:
            byMethod(made)
        except ValueError as error:
            self._wrong("", str(error))
        return tuple(made)

    def _exposed(self) -> Sequence[str]:
        """
        Find the listeners that others than this machine can reach.
        """
        exposed = []
        for index, description in enumerate(self._configuration.listen):
            try:
                if not isLocal(description):
                    exposed.append(description)
            except Exception as error:
                reason = str(error) or type(error).__name__
                self._wrong(f"listen[{index}]", f"{description!r} cannot be used: {reason}")
        return exposed

    def _judgeOpenProxy(self, exposed: Sequence[str]) -> None:
        """
        An exposed server wants authentication, rules that say from where its clients come, or to
        be called open (S-04).
        """
        why = ""
        if self._configuration.rules:
            rule = openRule(self._configuration.rules)
            if rule is None:
                return
            why = f" (by rule {rule.name!r}, which has neither users nor a narrower from)"
        self._wrong(
            "listen",
            "other machines could use this proxy without authentication, at "
            f"{', '.join(map(repr, exposed))}{why}: give --auth or --gssapi, or [[rules]] that say "
            "from where, or listen on a loopback address (as a number), or say --open if that is "
            "what you want",
        )

    def _judgeDatabase(self) -> None:
        """
        The database is made when it is needed; that has to be possible.
        """
        path = self._configuration.limits.database
        folder = os.path.dirname(os.path.abspath(path))
        if not path:
            return
        if not os.path.isdir(folder):
            self._wrong("limits.database", f"there is no folder {folder!r}")
        elif not os.access(folder, os.W_OK | os.X_OK):
            self._wrong("limits.database", f"the folder {folder!r} cannot be written to")
        elif os.path.isdir(path):
            self._wrong("limits.database", f"{path!r} is a folder, and not a file")
        elif os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):
            self._wrong("limits.database", f"{path!r} cannot be read and written")

    def _doubtUsers(self, checkers: Sequence[ICredentialsChecker]) -> None:
        """
        Warn of users that no checker knows.  Only the checkers with a list of their users can
        tell; a name with a realm may be that of a ticket.
        """
        lists = [userListOf(checker) for checker in checkers]
        if self._installed or None in lists:
            return
        known = {name for users in lists if users is not None for name in users.names()}
        for path, name in _mentioned(self._configuration):
            isPrincipal = self._auth.gssapi is not None and "@" in name
            if name not in known and not isPrincipal:
                self._doubt(path, f"no checker knows {name!r}")

    def _doubtRules(self, *, local: bool) -> None:
        """
        Warn of rules without effect, and of those that the log cannot tell from each other.
        """
        self.warnings += doubts(self._configuration, local=local)
        first: dict[str, int] = {}
        for index, rule in enumerate(self._configuration.rules):
            if first.setdefault(rule.name, index) != index:
                self._doubt(
                    f"rules[{index}].name",
                    f"rules[{first[rule.name]}] has the name {rule.name!r}, too",
                )

    def _wrong(self, path: str, text: str) -> None:
        """
        Note a problem.
        """
        self.problems.append(Problem(path, text))

    def _doubt(self, path: str, text: str) -> None:
        """
        Note a warning.
        """
        self.warnings.append(Problem(path, text))


def _mentioned(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """
    Find the users that a configuration names, each with the key's full path.
    """
    for name in configuration.users:
        yield f"users.{bareOrQuoted(name)}", name
    for group, settings in configuration.groups.items():
        for name in sorted(settings.members):
            yield f"groups.{bareOrQuoted(group)}.members", name
    for index, rule in enumerate(configuration.rules):
        for place, name in enumerate(rule.users or ()):
            if not name.startswith("@"):
                yield f"rules[{index}].users[{place}]", name

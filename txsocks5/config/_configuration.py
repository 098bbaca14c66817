"""
The whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import attrs

from .. import levels
from ._forms import (
    COUNT,
    SECONDS,
    BadValue,
    Checker,
    Count,
    Form,
    Seconds,
    Switch,
    Text,
    described,
    each,
    oneOf,
    some,
    validated,
)
from ._network import Failures, Network, Timeouts
from ._problems import Problem, bareOrQuoted
from ._rules import Group, Limits, Rule, User
from ._sizes import Quota, writeQuota
from ._values import Endpoint

__all__ = [
    "GSSAPI",
    "METHODS",
    "SECTIONS",
    "Auth",
    "Configuration",
    "contradictions",
    "quotasOf",
    "quotasWithoutDatabase",
    "unknownGroups",
]

METHODS = ("password", "gssapi", "none")
"""
The words for the authentication methods.
"""

_FAILURES = Failures()
_METHOD = oneOf(METHODS)
_LEVEL = oneOf(levels.NAMES)
_WORKERS = "a whole number from 1 to 1024"


def _readWorkers(value: object) -> int:
    """
    @raise BadValue: it is no number of processes.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
        raise BadValue(described(value), _WORKERS)
    return value


MethodWord: TypeAlias = Annotated[str, _METHOD]
"""
One of L{METHODS}.
"""

LevelWord: TypeAlias = Annotated[str, _LEVEL]
"""
One of L{NAMES <txsocks5.levels.NAMES>}.
"""

Workers: TypeAlias = Annotated[int, Form(_WORKERS, _readWorkers)]
"""
How many processes.
"""


def _once(instance: object, attribute: attrs.Attribute[Any], values: tuple[str, ...]) -> None:
    """
    @raise BadValue: a value is there twice.
    """
    if len(set(values)) < len(values):
        raise BadValue("one of them twice", "each of them once", attribute.name)


def _keys(instance: object, attribute: attrs.Attribute[Any], value: Mapping[str, object]) -> None:
    """
    @raise BadValue: a user or a group has no name, or one that would be a group's in a rule.
    """
    for name in value:
        if not name or name.startswith("@"):
            raise BadValue(described(name), "a name that does not begin with @", attribute.name)


@attrs.frozen(kw_only=True)
class GSSAPI:
    """
    Authentication by GSSAPI, RFC 1961.

    @ivar keytab: the file with the server's keys; empty for the default one of the Kerberos
        library.

    @ivar service: which tickets are accepted: C{socks} or C{socks@host}; empty for those for any
        key of the keytab.

    @ivar levels: what clients may agree on.  C{clear} and C{curl} leave everything behind the
        authentication unprotected.
    """

    keytab: Text = ""
    service: Text = ""
    levels: tuple[LevelWord, ...] = attrs.field(
        default=levels.DEFAULT, validator=[some, each(_LEVEL.read), _once]
    )


@attrs.frozen(kw_only=True)
class Auth:
    """
    How users show who they are.

    @ivar methods: the methods that are offered, in the server's order of preference.  If it is
        empty those that are configured are, C{password} before C{gssapi}, and C{none} only if
        nothing else is.  Methods that other packages have installed come before all of them.

    @ivar checkers: who knows the users and their passwords, as C{--auth} takes them; asked in this
        order, until one knows the user.

    @ivar failureDelay: how long a refusal of a password is held back.  It doubles with each
        further failure from the same address, up to 8 seconds; a success starts it afresh.

    @ivar failureLimit: failures of one address within C{failure_window} after which it is refused
        at once and unheard; and failures as one user, wherever from, after which each address has
        one guess at that user.  0 for no limit.

    @ivar failureWindow: how long a failure counts.

    @ivar gssapi: GSSAPI, which is offered if the table is there.
    """

    methods: tuple[MethodWord, ...] = attrs.field(default=(), validator=[each(_METHOD.read), _once])
    checkers: tuple[Checker, ...] = attrs.field(default=(), repr=False)
    failureDelay: Seconds = attrs.field(default=_FAILURES.delay, validator=SECONDS)
    failureLimit: Count = attrs.field(default=_FAILURES.limit, validator=COUNT)
    failureWindow: Seconds = attrs.field(default=_FAILURES.window, validator=SECONDS)
    gssapi: GSSAPI | None = None

    @property
    def failures(self) -> Failures:
        """
        What failures cost.
        """
        return Failures(delay=self.failureDelay, limit=self.failureLimit, window=self.failureWindow)


@attrs.frozen(kw_only=True)
class Configuration:
    """
    Everything that an operator can set.

    @ivar listen: where to take clients.

    @ivar workers: how many processes share the listening ports.

    @ivar open: serve clients of other machines without authentication.

    @ivar auth: how users show who they are.

    @ivar network: how the server meets the network.

    @ivar timeouts: how long things may take.

    @ivar limits: what clients may take.

    @ivar users: what is special about some users, by their names.

    @ivar groups: what some users have in common, by the names of the groups.

    @ivar rules: the first that matches decides, and what none matches is denied; without any, the
        defaults hold.
    """

    listen: tuple[Endpoint, ...] = attrs.field(
        default=("tcp:1080:interface=127.0.0.1",), validator=some
    )
    workers: Workers = attrs.field(default=1, validator=validated(_readWorkers))
    open: Switch = False
    auth: Auth = attrs.field(factory=Auth)
    network: Network = attrs.field(factory=Network)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    limits: Limits = attrs.field(factory=Limits)
    users: Mapping[str, User] = attrs.field(factory=dict, validator=_keys)
    groups: Mapping[str, Group] = attrs.field(factory=dict, validator=_keys)
    rules: tuple[Rule, ...] = ()


SECTIONS: Mapping[str, type] = {
    "": Configuration,
    "[auth]": Auth,
    "[auth.gssapi]": GSSAPI,
    "[network]": Network,
    "[timeouts]": Timeouts,
    "[limits]": Limits,
    "[users.NAME]": User,
    "[groups.NAME]": Group,
    "[[rules]]": Rule,
}
"""
The tables of a file, and the class of each.
"""


def contradictions(configuration: Configuration) -> Iterator[Problem]:
    """
    Find what is wrong with settings that are right each on their own.
    """
    yield from unknownGroups(configuration)
    yield from quotasWithoutDatabase(configuration)


def unknownGroups(configuration: Configuration) -> Iterator[Problem]:
    """
    Find the groups in rules that do not exist.
    """
    known = ", ".join(described(f"@{name}") for name in configuration.groups)
    allowed = f"a user, or one of {known}" if known else "a user, as there are no groups"
    for index, rule in enumerate(configuration.rules):
        for place, name in enumerate(rule.users or ()):
            if name.startswith("@") and name[1:] not in configuration.groups:
                yield Problem(
                    f"rules[{index}].users[{place}]",
                    f"found {described(name)}, which is no group; allowed: {allowed}",
                )


def quotasOf(configuration: Configuration) -> Iterator[tuple[str, Quota]]:
    """
    Find all quotas that limit something, each with the key's full path.
    """
    quotas = {"limits.quota_per_user": configuration.limits.quotaPerUser}
    for name, user in configuration.users.items():
        quotas[f"users.{bareOrQuoted(name)}.quota"] = user.quota
    for name, group in configuration.groups.items():
        quotas[f"groups.{bareOrQuoted(name)}.quota"] = group.quota
    for index, rule in enumerate(configuration.rules):
        quotas[f"rules[{index}].quota"] = rule.quota
    for path, quota in quotas.items():
        if quota is not None and quota.octets:
            yield path, quota


def quotasWithoutDatabase(configuration: Configuration) -> Iterator[Problem]:
    """
    Find the quotas, if there is no database in which they could survive a restart.
    """
    if not configuration.limits.database:
        for path, quota in quotasOf(configuration):
            yield Problem(
                path,
                f"found {described(writeQuota(quota))}, and no limits.database; allowed: a quota "
                "together with the file that limits.database names",
            )

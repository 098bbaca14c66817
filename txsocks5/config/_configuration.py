"""
The whole of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ._network import Failures, Network, Timeouts
from ._rules import Group, Limits, Rule, User

__all__ = ["GSSAPI", "Auth", "Configuration"]


@attrs.frozen(kw_only=True)
class GSSAPI:
    """
    Authentication by GSSAPI, RFC 1961.

    @ivar keytab: the file with the server's keys; empty for the system's default one.

    @ivar service: C{socks} or C{socks@host}; empty for any key of the keytab.

    @ivar levels: the protection levels that are granted.
    """

    keytab: str = ""
    service: str = ""
    levels: tuple[str, ...] = ("confidentiality", "integrity")


@attrs.frozen(kw_only=True)
class Auth:
    """
    How users show who they are.

    @ivar methods: C{password}, C{gssapi} and C{none}, in the server's order of preference; empty
        for those that are configured, C{none} only if nothing else is.

    @ivar checkers: who knows the users and their passwords, as C{--auth} takes them.

    @ivar failures: what failures cost; in the file C{failure_delay}, C{failure_limit} and
        C{failure_window}.

    @ivar gssapi: L{None} for not offered.
    """

    methods: tuple[str, ...] = ()
    checkers: tuple[str, ...] = ()
    failures: Failures = attrs.field(factory=Failures)
    gssapi: GSSAPI | None = None


@attrs.frozen(kw_only=True)
class Configuration:
    """
    Everything that an operator can set.

    @ivar listen: Twisted's endpoint strings.

    @ivar workers: processes that share the listening ports.

    @ivar open: serve clients of other machines without authentication.

    @ivar rules: the first that matches decides, and what none matches is denied; without any, the
        defaults hold.
    """

    listen: tuple[str, ...] = ("tcp:1080:interface=127.0.0.1",)
    workers: int = 1
    open: bool = False
    auth: Auth = attrs.field(factory=Auth)
    network: Network = attrs.field(factory=Network)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    limits: Limits = attrs.field(factory=Limits)
    users: Mapping[str, User] = attrs.field(factory=dict)
    groups: Mapping[str, Group] = attrs.field(factory=dict)
    rules: tuple[Rule, ...] = ()

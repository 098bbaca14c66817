"""
What is allowed where no rules are given, and what never is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from zope.interface import implementer

from . import local
from .config import User, timestamp
from .errors import Overloaded
from .interfaces import IPolicy, Question, Verdict
from .networks import SETS, containing, embedded
from .wire import Address, Command, IPAddress, Method, unmapped

__all__ = [
    "FLOOR",
    "LOCAL",
    "OPEN",
    "OWN",
    "UNAUTHENTICATED",
    "DefaultPolicy",
    "ExpiringPolicy",
    "SelfProtectingPolicy",
    "isOwn",
]

_BIND = Command.BIND

LOCAL = Verdict(True, "default: local server")
_AUTHENTICATED = Verdict(True, "default: authenticated user")
OPEN = Verdict(True, "default: open server")
UNAUTHENTICATED = Verdict(False, "default: an exposed server wants authentication")
_NO_BIND = Verdict(False, "default: BIND at an exposed server only by rule")
OWN = Verdict(False, "default: the server's own address")
_PUBLIC = Verdict(True, "default: public address")
FLOOR = {name: Verdict(False, f"default: {name} address at an exposed server") for name in SETS}


@implementer(IPolicy)
class DefaultPolicy:
    """
    The defaults.

    I{Local} is a server whose clients are all on the same machine: every listener is on a
    loopback address or a UNIX socket.  They may do what they could do without it, too.
    Any other server is I{exposed}: it wants authentication, serves CONNECT and UDP
    ASSOCIATE, and lets nobody reach the addresses that only the server can see: see
    L{SETS <txsocks5.networks.SETS>} and the server's own.  What was asked of an exposed server
    is judged as such, also when it has become a local one.
    """

    def __init__(
        self, *, local: bool = False, open: bool = False, own: Collection[IPAddress] = ()
    ) -> None:
        """
        @param local: whether the server is local.

        @param open: whether an exposed server serves clients without authentication.

        @param own: addresses that lead to the server, through NAT say, beside those that the
            system knows of.
        """
        self._local = local
        self._open = open
        self._own = frozenset(own)

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        Allowed at a local server, or an open one.
        """
        if self._local:
            return LOCAL
        return OPEN if self._open else UNAUTHENTICATED

    def judgeRequest(self, question: Question) -> Verdict:
        """
        Everything but BIND at an exposed server.
        """
        if self._local and not question.exposed:
            return LOCAL
        if question.command is _BIND:
            return _NO_BIND
        if question.identity.method != Method.NONE:
            return _AUTHENTICATED
        # Others let in nobody else; a local server everybody, but not those who came before.
        return UNAUTHENTICATED if self._local and not self._open else OPEN

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Everything at a local server; at an exposed one, public addresses.

        @raise Overloaded: see L{IPolicy.judgeAddress}.
        """
        if self._local and not question.exposed:
            return LOCAL
        name = containing(address)
        if name is not None:
            return FLOOR[name]
        for face in (address, *embedded(address)):
            if face in self._own or isOwn(face):
                return OWN
        return _PUBLIC


@implementer(IPolicy)
class ExpiringPolicy:
    """
    Stands in front of any policy and refuses users whose time is over, whatever they ask for and
    however they have authenticated.
    """

    def __init__(
        self, policy: IPolicy, users: Mapping[str, User], now: Callable[[], float]
    ) -> None:
        """
        @param policy: decides the rest.

        @param users: by name; see L{User.expires}, where a time without zone is in UTC.

        @param now: tells the seconds since 1970, as a reactor does.
        """
        self._policy = policy
        self._now = now
        self._ends: dict[str, tuple[float, Verdict]] = {}
        for name, user in users.items():
            if user.expires is not None:
                end = timestamp(user.expires)
                when = datetime.fromtimestamp(end, user.expires.tzinfo or UTC).isoformat()
                self._ends[name] = end, Verdict(False, f"default: the user expired at {when}")

    def _refusal(self, question: Question) -> Verdict | None:
        """
        What to say if the user's time is over.
        """
        end = self._ends.get(question.identity.name)
        return end[1] if end is not None and self._now() >= end[0] else None

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        As the policy says.
        """
        return self._policy.judgeClient(client)

    def judgeRequest(self, question: Question) -> Verdict:
        """
        Nothing for a user that has expired; otherwise as the policy says.
        """
        return self._refusal(question) or self._policy.judgeRequest(question)

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Nothing for a user that has expired; otherwise as the policy says.

        @raise Overloaded: see L{IPolicy.judgeAddress}.
        """
        return self._refusal(question) or self._policy.judgeAddress(question, address)


@implementer(IPolicy)
class SelfProtectingPolicy:
    """
    Stands in front of any policy and refuses the server's own listeners, which would only
    make it talk to itself (S-18).

    @ivar version: how often the policy behind it has been replaced.

    @ivar advertised: addresses at which listeners are reached through NAT, at the same port.
    """

    def __init__(
        self,
        policy: IPolicy,
        listeners: Iterable[Address],
        advertised: Collection[IPAddress] = (),
    ) -> None:
        """
        @param policy: decides the rest.

        @param listeners: where the server listens; looked at anew for each question.
        """
        self._policy = policy
        self._listeners = listeners
        self.advertised = advertised
        self.version = 0

    def replace(self, policy: IPolicy) -> None:
        """
        Let another policy decide the rest from now on.
        """
        self._policy = policy
        self.version += 1

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        As the policy says.
        """
        return self._policy.judgeClient(client)

    def judgeRequest(self, question: Question) -> Verdict:
        """
        As the policy says.
        """
        return self._policy.judgeRequest(question)

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Not the server's own listeners; otherwise as the policy says.

        @raise Overloaded: see L{IPolicy.judgeAddress}.
        """
        if isinstance(address, IPv6Address):
            # A resolver of somebody else may not know that it should be.
            address = unmapped(address)
        if question.destination is not None and question.command is not _BIND:
            for listener in self._listeners:
                if listener.port == question.destination.port and any(
                    self._reaches(face, listener.host) for face in (address, *embedded(address))
                ):
                    return OWN
        return self._policy.judgeAddress(question, address)

    def _reaches(self, address: IPAddress, host: object) -> bool:
        """
        Whether connecting to C{address} reaches a listener at C{host}.
        """
        if address.is_unspecified:
            # The system takes it for its own loopback address.
            return True
        if address == host:
            return True
        if address in self.advertised and not getattr(host, "is_loopback", False):
            return True
        wildcard = getattr(host, "is_unspecified", False)
        if not wildcard or (isinstance(host, IPv4Address) and address.version == 6):
            return False
        return isOwn(address)


def isOwn(address: IPAddress) -> bool:
    """
    Whether C{address} is one of this machine's.

    @raise Overloaded: there is no file descriptor left to find out with.
    """
    try:
        return local.isOwn(address)
    except OSError as error:
        raise Overloaded(f"cannot tell whether {address} is the server's own: {error}") from error

"""
The operator's rules: the first that matches decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from zope.interface import implementer

from .conditions import Conditions
from .config import Configuration, Group, IPNetwork, Rule
from .index import first
from .interfaces import IPolicy, Question, Verdict
from .networks import embedded, setOf
from .policy import (
    FLOOR,
    LOCAL,
    OPEN,
    OWN,
    UNAUTHENTICATED,
    DefaultPolicy,
    ExpiringPolicy,
    isOwn,
)
from .wire import Command, IPAddress

__all__ = ["RulePolicy", "openRule", "policyOf"]

_NO_MATCH = Verdict(False, "default: no rule matches")


@implementer(IPolicy)
class RulePolicy:
    """
    Decides by rules, in their order, and denies what none of them matches.

    A rule matches if all the conditions that it states hold.  The first that matches decides, but
    one that allows is passed over for an address that it cannot admit:

      - matching by a name alone it admits no address that a later rule denies by a network or set;

      - at an exposed server it admits none of the L{SETS <txsocks5.networks.SETS>}, and none of
        the server's own, unless it names the set, or a network that is not all of them; and
        C{metadata} only if it names that, or the very address.

    An IPv6 address that embeds IPv4 ones is denied by whatever denies one of those.  It is
    allowed only as itself, and at an exposed server the rule has to admit the ones in it as well.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        groups: Mapping[str, Group],
        *,
        local: bool = False,
        open: bool = False,
        own: Collection[IPAddress] = (),
    ) -> None:
        """
        @param rules: each with either L{Rule.allow} or L{Rule.deny}.

        @param groups: by the name that rules write behind an C{@}.

        @param local: whether all clients are on the same machine; see L{DefaultPolicy}, also for
            those that were not.

        @param open: whether clients need not authenticate, whatever the rules say.

        @param own: see L{DefaultPolicy}.
        """
        self._conditions = Conditions(rules, groups)
        self._verdicts = [Verdict(rule.allow is not None, rule.name, rule) for rule in rules]
        self._local = local
        self._open = open
        self._own = frozenset(own)
        # The same question is asked again for each address.
        self._asked: Question | None = None
        self._answer = (0, 0)

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        Allowed at a local server, at an open one, and if a rule allows something to clients from
        there without naming users.
        """
        if self._local:
            return LOCAL
        if self._open:
            return OPEN
        conditions = self._conditions
        mask = conditions.clients.anybody & conditions.clients.sources(client)
        for command in Command:
            rules = mask & conditions.of(command)
            denies = rules & conditions.anyPort & conditions.destinations.anything
            verdict = self._first(rules & conditions.allows, denies & conditions.denies)
            if verdict.allowed:
                return verdict
        return UNAUTHENTICATED

    def judgeRequest(self, question: Question) -> Verdict:
        """
        Denied if nothing that it may come to can be allowed, so that no name is looked up in
        vain.
        """
        destinations = self._conditions.destinations
        allows, denies = self._asking(question)
        if question.destination is None:
            return self._first(allows, denies & destinations.anything & self._conditions.anyPort)
        host = question.destination.host
        if not isinstance(host, str):
            holding = destinations.anything | destinations.networks(host)
            return self._first(allows & holding, denies & (holding | destinations.hidden(host)))
        names = destinations.names.holding(host)
        everywhere = destinations.worlds[4] & destinations.worlds[6]
        admitting = names & _behind(denies & everywhere)
        admitting |= destinations.anything | destinations.networked
        return self._first(
            allows & admitting, denies & (destinations.anything | everywhere | names)
        )

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Decide.

        @raise Overloaded: see L{IPolicy.judgeAddress}.
        """
        destinations = self._conditions.destinations
        allows, denies = self._asking(question)
        networks = destinations.networks(address)
        holding = destinations.anything | networks
        covering = networks | destinations.hidden(address)
        names = 0
        if question.destination is not None and isinstance(question.destination.host, str):
            names = destinations.names.holding(question.destination.host)
        denies &= destinations.anything | names | covering
        allows &= holding | names & _behind(denies & covering)
        # The peer of a BIND may be anybody: each is judged when it comes.
        isFree = self._local and not question.exposed
        if isFree or (question.command is Command.BIND and address.is_unspecified):
            return self._first(allows, denies)
        return self._aboveFloor(address, allows, denies)

    def _asking(self, question: Question) -> tuple[int, int]:
        """
        The rules that allow and those that deny, if their C{to} holds, what somebody asks for.
        """
        if question is self._asked:
            return self._answer
        conditions = self._conditions
        matching = (
            conditions.of(question.command)
            & conditions.clients.users(question.identity.name)
            & conditions.clients.sources(question.client)
        )
        if question.destination is not None:
            matching &= conditions.forPort(question.command, question.destination.port)
        self._asked = question
        self._answer = matching & conditions.allows, matching & conditions.denies
        return self._answer

    def _aboveFloor(self, address: IPAddress, allows: int, denies: int) -> Verdict:
        """
        Decide at an exposed server.

        @param allows: the rules that allow the address, as far as it is like any other.

        @param denies: the rules that deny it.
        """
        destinations = self._conditions.destinations
        faces: tuple[IPAddress, ...] = (address, *embedded(address))
        otherwise = _NO_MATCH
        for face in faces:
            name = setOf(face)
            if name is not None and allows:
                allows &= destinations.opening(address, face)
                otherwise = FLOOR[name]
        verdict = self._first(allows, denies, otherwise)
        while verdict.allowed:
            number = first(allows)
            for face in faces:
                opening = destinations.opening(address, face)
                # To find out whose it is takes longer than all the rest.
                if not opening >> number & 1 and (face in self._own or isOwn(face)):
                    allows &= opening
                    verdict = self._first(allows, denies, OWN)
                    break
            else:
                break
        return verdict

    def _first(self, allows: int, denies: int, otherwise: Verdict = _NO_MATCH) -> Verdict:
        """
        Let the first of some rules decide.
        """
        rules = allows | denies
        return self._verdicts[first(rules)] if rules else otherwise


def _behind(mask: int) -> int:
    """
    All rules behind the last of some.
    """
    return -1 << mask.bit_length()


def openRule(rules: Iterable[Rule]) -> Rule | None:
    """
    Find what would make an exposed server an open proxy: a rule that allows something to all the
    world without authentication.

    @return: the first that does, or L{None}.
    """
    for rule in rules:
        if rule.allow is not None and rule.users is None and _isWorld(rule.source):
            return rule
    return None


def _isWorld(networks: Sequence[IPNetwork] | None) -> bool:
    """
    Whether networks together hold all addresses of a family.
    """
    if networks is None:
        return True
    fours = [network for network in networks if isinstance(network, IPv4Network)]
    sixes = [network for network in networks if isinstance(network, IPv6Network)]
    whole = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    return any(net in whole for net in (*collapse_addresses(fours), *collapse_addresses(sixes)))


def policyOf(configuration: Configuration, *, local: bool, now: Callable[[], float]) -> IPolicy:
    """
    Make the policy of a server: its rules, or the defaults where there are none, and users whose
    time ends.

    @param local: whether only this machine can reach it.

    @param now: see L{ExpiringPolicy}.
    """
    policy: IPolicy
    isOpen, own = configuration.open, configuration.network.advertise
    if configuration.rules:
        policy = RulePolicy(
            configuration.rules, configuration.groups, local=local, open=isOpen, own=own
        )
    else:
        policy = DefaultPolicy(local=local, open=isOpen, own=own)
    if all(user.expires is None for user in configuration.users.values()):
        return policy
    return ExpiringPolicy(policy, configuration.users, now)

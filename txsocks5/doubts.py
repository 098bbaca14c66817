"""
What is written in rules and cannot be meant: it would start, and do nothing.

Nothing is said that is not so; of rules that several others hide together, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from .conditions import Conditions, networksOf
from .config import ANY, Configuration, NamedSet, NamePattern, Pattern, Problem, Rule
from .index import first
from .networks import SETS, choosesEmbedded

__all__ = ["doubts"]

_METADATA = frozenset(SETS["metadata"])

# Where looking at all of them would take long, something may remain unsaid.
_MANY_ENTRIES = 1000
_MANY_MEMBERS = 100
_CANDIDATES = 64


def doubts(configuration: Configuration, *, local: bool) -> Iterator[Problem]:
    """
    Look for rules, and entries of rules, without effect.

    @param local: whether only this machine can reach the server.

    @return: each with the path of what it is about.
    """
    if not configuration.rules:
        return
    effects = _Effects(configuration, local)
    for number, rule in enumerate(configuration.rules):
        why = effects.missing(number)
        if why:
            yield Problem(f"rules[{number}]", f'"{rule.name}" has no effect: {why}')
        for place, entry in enumerate(rule.to or ()):
            near = _likeSet(entry)
            if near:
                yield Problem(
                    f"rules[{number}].to[{place}]", f"it is the name of a host; the set is {near!r}"
                )


def _likeSet(entry: Pattern) -> str:
    """
    The set that a name looks like, if it does.
    """
    if not isinstance(entry, NamePattern) or entry.below or "." in entry.name:
        return ""
    return "".join(get_close_matches(entry.name, (*SETS, "any"), 1, 0.8))


class _Effects:
    """
    What the rules of a configuration do to each other.
    """

    def __init__(self, configuration: Configuration, local: bool) -> None:
        self._configuration = configuration
        self._local = local
        self._rules = configuration.rules
        self._conditions = Conditions(self._rules, configuration.groups)
        self._naming = 0
        for number, rule in enumerate(self._rules):
            if any(isinstance(entry, NamePattern) for entry in rule.to or ()):
                self._naming |= 1 << number
        destinations = self._conditions.destinations
        self._everywhere = destinations.worlds[4] & destinations.worlds[6]

    def missing(self, number: int) -> str:
        """
        Why a rule has no effect; empty if it may have one.
        """
        rule = self._rules[number]
        served = self._configuration.network.commands
        if served.isdisjoint(rule.allow or rule.deny or ()):
            return "[network] commands switches off all that it is for"
        if rule.users is not None:
            if self._configuration.auth.methods == ("none",):
                return "it is for users, and [auth] methods lets nobody say who they are"
            if not any(self._membersOf(user) for user in rule.users):
                return "nobody is in its groups"
        others = self._covering(rule)
        hidden = self._hiddenBy(number, others & (1 << number) - 1)
        if hidden is not None:
            return f'what it matches, "{self._rules[hidden].name}" has matched before'
        if rule.allow is not None and self._namesOnly(rule):
            denying = others & self._conditions.denies & self._everywhere & -1 << number
            if denying:
                return (
                    f'"{self._rules[first(denying)].name}" denies every network, and names never '
                    'widen that; write "any" there instead'
                )
        return ""

    def _membersOf(self, user: str) -> Sequence[str]:
        """
        Whom an entry of C{users} means.
        """
        if user.startswith("@"):
            return tuple(self._configuration.groups[user[1:]].members)
        return (user,)

    def _namesOnly(self, rule: Rule) -> bool:
        """
        Whether a rule names nothing but names.
        """
        return rule.to is not None and all(isinstance(entry, NamePattern) for entry in rule.to)

    def _covering(self, rule: Rule) -> int:
        """
        The rules whose conditions hold whenever those of a rule do, C{to} left aside.
        """
        conditions, clients = self._conditions, self._conditions.clients
        mask = -1
        for command in rule.allow or rule.deny or ():
            mask &= conditions.of(command)
        if rule.users is None:
            mask &= clients.anybody
        for user in rule.users or ():
            mask &= self._forUser(user)
        if rule.source is None:
            mask &= clients.anywhere
        for network in rule.source or ():
            mask &= clients.anywhere | clients.networks.covering(network)
        if rule.ports is None:
            mask &= conditions.anyPort
        for ports in rule.ports or ():
            mask &= conditions.anyPort | conditions.ports.covering(ports)
        return mask

    def _forUser(self, user: str) -> int:
        """
        The rules for all whom an entry of C{users} means.
        """
        clients = self._conditions.clients
        if not user.startswith("@"):
            return clients.users(user)
        members = self._membersOf(user)
        if len(members) > _MANY_MEMBERS:
            return clients.ofGroup(user)
        mask = -1
        for member in members:
            mask &= clients.users(member)
        return mask

    def _hiddenBy(self, number: int, others: int) -> int | None:
        """
        Find a rule that leaves nothing to do for another one.

        @param others: the rules before it whose conditions hold whenever its own do.
        """
        others = self._holding(self._rules[number].to, others)
        for _ in range(_CANDIDATES):
            if not others:
                break
            other = first(others)
            if self._leavesNothing(other, number):
                return other
            others ^= 1 << other
        return None

    def _holding(self, to: Sequence[Pattern] | None, mask: int) -> int:
        """
        Find rules with a C{to} that holds whenever another one does.

        @param mask: those to choose from.
        """
        destinations = self._conditions.destinations
        wild = destinations.anything | self._everywhere
        if to is None or len(to) > _MANY_ENTRIES:
            return mask & wild
        for entry in to:
            if isinstance(entry, NamePattern):
                mask &= wild | destinations.names.covering(entry.name, entry.below)
            elif isinstance(entry, NamedSet) and entry.name == ANY:
                mask &= wild
            else:
                for network in networksOf(entry):
                    mask &= destinations.anything | destinations.covering(network)
        return mask

    def _leavesNothing(self, other: int, number: int) -> bool:
        """
        Whether a rule leaves nothing to do for a later one, which only matches what it does.

        A rule that allows may be passed over, a rule that denies a network takes addresses from
        the names before it, and one that names an IPv4 network denies what embeds it.
        """
        rules, conditions = self._rules, self._conditions
        destinations = conditions.destinations
        networked = destinations.networked >> number & 1
        behind = -1 << number + 1
        if rules[other].deny is not None and rules[number].allow is not None:
            return True
        if rules[number].deny is not None and networked:
            takes = conditions.allows & self._naming & (1 << number) - 1
            if takes and (rules[other].allow is not None or destinations.anything >> other & 1):
                return False
        if rules[other].deny is not None:
            return True
        if rules[number].allow is not None:
            return self._local or self._opensAsMuch(other, number)
        if not self._local and conditions.allows & destinations.networked & behind:
            return False
        return bool(destinations.anything >> other & 1) or not conditions.allows & behind

    def _opensAsMuch(self, other: int, number: int) -> bool:
        """
        Whether a rule opens whatever a later one opens of what only the server can see.
        """
        longer = self._conditions.destinations.longer
        return not any(
            network in _METADATA
            or choosesEmbedded(network)
            or not longer.covering(network) >> other & 1
            for entry in self._rules[number].to or ()
            for network in networksOf(entry)
            if network.prefixlen
        )

"""
The rules once more, as they are described in docs/rules.rst: slow, and without an index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Network

from txsocks5.config import Group, IPNetwork, NamedSet, NamePattern, Pattern, Rule
from txsocks5.interfaces import Question
from txsocks5.networks import SETS, embedded
from txsocks5.wire import Command, IPAddress

FORMS = tuple(
    map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "2002::/16"))
)
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


class Reference:
    """
    Decides by going through the rules, one by one.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        groups: Mapping[str, Group],
        local: bool,
        isOwn: Callable[[IPAddress], bool],
    ) -> None:
        self._rules = rules
        self._groups = groups
        self._local = local
        self._isOwn = isOwn

    def decide(self, question: Question, address: IPAddress) -> tuple[bool, str]:
        """
        Decide about one address.

        @return: whether it is allowed; and the name of the rule or the default.
        """
        default = "default: no rule matches"
        for number, rule in enumerate(self._rules):
            if not self._conditionsHold(rule, question):
                continue
            if rule.deny is not None:
                if self._denies(rule, question, address):
                    return False, rule.name
                continue
            byAddress = rule.to is None or any(self._holds(entry, address) for entry in rule.to)
            if not byAddress:
                if not self._named(rule, question):
                    continue
                if any(
                    later.deny is not None
                    and self._conditionsHold(later, question)
                    and self._covers(later, address)
                    for later in self._rules[number + 1 :]
                ):
                    continue
            anyPeer = question.command is Command.BIND and address.is_unspecified
            if not self._local and not anyPeer:
                closed = self._closed(rule, address)
                if closed:
                    default = closed
                    continue
            return True, rule.name
        return False, default

    def _conditionsHold(self, rule: Rule, question: Question) -> bool:
        """
        Whether everything holds that a rule asks for, but C{to}.
        """
        commands = rule.allow if rule.allow is not None else rule.deny
        assert commands is not None and question.destination is not None
        if question.command not in commands:
            return False
        if rule.users is not None and not any(map(self._is(question.identity.name), rule.users)):
            return False
        if rule.source is not None and not any(
            question.client is not None and question.client in network for network in rule.source
        ):
            return False
        port = question.destination.port
        if question.command is Command.BIND and port == 0:
            return True
        return rule.ports is None or any(port in ports for ports in rule.ports)

    def _is(self, name: str) -> Callable[[str], bool]:
        """
        What tells whether an entry of C{users} means a user.
        """

        def means(entry: str) -> bool:
            if not name:
                return False
            if entry.startswith("@"):
                return name in self._groups[entry[1:]].members
            return name == entry

        return means

    def _named(self, rule: Rule, question: Question) -> bool:
        """
        Whether a rule has a pattern for the name asked for.
        """
        assert question.destination is not None
        name = question.destination.host
        if not isinstance(name, str):
            return False
        for entry in rule.to or ():
            if isinstance(entry, NamePattern) and (
                name.endswith(f".{entry.name}") if entry.below else name == entry.name
            ):
                return True
        return False

    def _holds(self, entry: Pattern, address: IPAddress) -> bool:
        """
        Whether an entry of C{to} holds for an address as it stands.
        """
        if isinstance(entry, NamedSet) and entry.name == "any":
            return True
        return any(address in network for network in networks(entry))

    def _covers(self, rule: Rule, address: IPAddress) -> bool:
        """
        Whether a network or set of a rule holds for an address or for one within it.
        """
        return any(
            face in network
            for entry in rule.to or ()
            for network in networks(entry)
            for face in (address, *embedded(address))
        )

    def _denies(self, rule: Rule, question: Question, address: IPAddress) -> bool:
        """
        Whether C{to} of a rule that denies holds.
        """
        return (
            rule.to is None
            or NamedSet("any") in rule.to
            or self._named(rule, question)
            or self._covers(rule, address)
        )

    def _closed(self, rule: Rule, address: IPAddress) -> str:
        """
        Which default a rule would have to open for an address, and does not.
        """
        closed = ""
        for face in (address, *embedded(address)):
            name = next((name for name, nets in SETS.items() if any(face in n for n in nets)), "")
            if name and not self._opens(rule, address, face, name == "metadata"):
                closed = f"default: {name} address at an exposed server"
        if not closed and any(
            self._isOwn(face) and not self._opens(rule, address, face, False)
            for face in (address, *embedded(address))
        ):
            closed = "default: the server's own address"
        return closed

    def _opens(self, rule: Rule, address: IPAddress, face: IPAddress, metadata: bool) -> bool:
        """
        Whether a rule itself says that C{face} may be reached, as C{address}.
        """
        for entry in rule.to or ():
            for network in networks(entry):
                if network.prefixlen == 0:
                    continue
                if metadata:
                    if network.num_addresses == 1 and network[0] in (face, address):
                        return True
                elif face in network or (address in network and choosing(network)):
                    return True
        return False


def networks(entry: Pattern) -> Sequence[IPNetwork]:
    """
    The networks that an entry of C{to} stands for.
    """
    if isinstance(entry, NamePattern):
        return ()
    if isinstance(entry, NamedSet):
        return () if entry.name == "any" else SETS[entry.name]
    return (entry,)


def choosing(network: IPNetwork) -> bool:
    """
    Whether a network is a part of one of the forms in which IPv6 addresses embed others.
    """
    if not isinstance(network, IPv6Network):
        return False
    if network.subnet_of(LOCAL_NAT64):
        return network.prefixlen > 96
    return any(network.subnet_of(form) and network != form for form in FORMS)

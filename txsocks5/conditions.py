"""
What rules ask of a request before they match it, put into indexes.

A set of rules is a mask, as in L{txsocks5.index}, with the first rule as number 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .config import ANY, Group, IPNetwork, NamedSet, NamePattern, Pattern, Rule
from .index import NameIndex, NetworkIndex, PortIndex
from .networks import SETS, choosesEmbedded, embedded
from .wire import Command, IPAddress

__all__ = ["Clients", "Conditions", "Destinations", "networksOf"]

# An address takes long to hash.
_METADATA = frozenset(network.network_address.packed for network in SETS["metadata"])


class Conditions:
    """
    All conditions of some rules.

    @ivar allows: the rules that allow something.

    @ivar denies: those that deny something.

    @ivar clients: who asks.

    @ivar destinations: for what.

    @ivar anyPort: the rules that name no port.

    @ivar ports: the ports that the others name.
    """

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, Group]) -> None:
        self.allows = self.denies = self.anyPort = 0
        self._commands = [0] * (max(Command) + 1)
        for number, rule in enumerate(rules):
            mask = 1 << number
            self.allows |= mask if rule.allow is not None else 0
            self.denies |= mask if rule.deny is not None else 0
            self.anyPort |= mask if rule.ports is None else 0
            for command in rule.deny or rule.allow or ():
                self._commands[command] |= mask
        self.clients = Clients(rules, groups)
        self.destinations = Destinations(rules)
        self.ports = PortIndex((rule.ports or (), 1 << number) for number, rule in enumerate(rules))

    def of(self, command: Command) -> int:
        """
        The rules for a command.
        """
        return self._commands[command]

    def forPort(self, command: Command, port: int) -> int:
        """
        The rules for a port.  A BIND with port 0 expects its peer from any, so all will do.
        """
        if command is Command.BIND and not port:
            return -1
        return self.anyPort | self.ports.holding(port)


class Clients:
    """
    Conditions on who asks, and from where.

    @ivar anybody: the rules that name no user.

    @ivar anywhere: the rules that name no client network.

    @ivar networks: the networks that the others name.
    """

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, Group]) -> None:
        self.anybody = self.anywhere = 0
        self._named: dict[str, int] = {}
        self._ofGroup: dict[str, int] = {}
        for number, rule in enumerate(rules):
            mask = 1 << number
            self.anybody |= mask if rule.users is None else 0
            self.anywhere |= mask if rule.source is None else 0
            for user in rule.users or ():
                masks = self._ofGroup if user.startswith("@") else self._named
                masks[user] = masks.get(user, 0) | mask
        self._groupsOf: dict[str, list[str]] = {}
        for name in groups.keys() & {name[1:] for name in self._ofGroup}:
            for user in groups[name].members:
                self._groupsOf.setdefault(user, []).append(f"@{name}")
        self.networks = NetworkIndex(
            (network, 1 << number)
            for number, rule in enumerate(rules)
            for network in rule.source or ()
        )

    def users(self, name: str) -> int:
        """
        The rules for a user; for nobody in particular, those that name none.
        """
        mask = self.anybody
        if name:
            # A user may be called like a group.
            mask |= self._named.get(name, 0)
            for group in self._groupsOf.get(name, ()):
                mask |= self._ofGroup[group]
        return mask

    def ofGroup(self, name: str) -> int:
        """
        The rules for a group, as C{@name}, or for anybody.
        """
        return self.anybody | self._ofGroup.get(name, 0)

    def sources(self, client: IPAddress | None) -> int:
        """
        The rules for clients from an address; for those at a UNIX socket, the ones that name no
        client network.
        """
        return self.anywhere if client is None else self.anywhere | self.networks.holding(client)


def networksOf(entry: Pattern) -> Sequence[IPNetwork]:
    """
    The networks that an entry of a rule's C{to} stands for: none for a name, or for C{any}.
    """
    if isinstance(entry, NamePattern):
        return ()
    if isinstance(entry, NamedSet):
        return SETS.get(entry.name, ())
    return (entry,)


class Destinations:
    """
    Conditions on what is asked for.

    @ivar anything: the rules that name no destination, or C{any}.

    @ivar worlds: by version, those that name the network of all addresses.

    @ivar networked: those that name any networks, or sets other than C{any}.

    @ivar names: the names.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.anything = self.networked = 0
        self.worlds = {4: 0, 6: 0}
        self.names = NameIndex()
        # Those that name an address for itself which is, or embeds, one of the metadata set.
        self._exact: dict[IPAddress, int] = {}
        for number, rule in enumerate(rules):
            mask = 1 << number
            if rule.to is None:
                self.anything |= mask
            for entry in rule.to or ():
                if isinstance(entry, NamePattern):
                    self.names.add(entry.name, entry.below, mask)
                elif isinstance(entry, NamedSet) and entry.name == ANY:
                    self.anything |= mask
        choosing: list[tuple[IPNetwork, int]] = []
        self.longer = NetworkIndex(self._noted(rules, choosing))
        self._choosing = NetworkIndex(choosing)

    def _noted(
        self, rules: Sequence[Rule], choosing: list[tuple[IPNetwork, int]]
    ) -> Iterator[tuple[IPNetwork, int]]:
        """
        All networks but those of all addresses, which are noted here, as is what is exact.

        @param choosing: takes those that choose among embedded addresses.
        """
        for number, rule in enumerate(rules):
            mask = 1 << number
            for entry in rule.to or ():
                for network in networksOf(entry):
                    self.networked |= mask
                    if not network.prefixlen:
                        self.worlds[network.version] |= mask
                        continue
                    if network.prefixlen == network.max_prefixlen:
                        address = network.network_address
                        faces: tuple[IPAddress, ...] = (address, *embedded(address))
                        if any(face.packed in _METADATA for face in faces):
                            self._exact[address] = self._exact.get(address, 0) | mask
                    if choosesEmbedded(network):
                        choosing.append((network, mask))
                    yield network, mask

    def networks(self, address: IPAddress) -> int:
        """
        The rules of which a network holds an address.
        """
        return self.worlds[address.version] | self.longer.holding(address)

    def covering(self, network: IPNetwork) -> int:
        """
        The rules whose networks hold all addresses of a network.
        """
        return self.worlds[network.version] | self.longer.covering(network)

    def hidden(self, address: IPAddress) -> int:
        """
        The rules of which a network holds an address that is embedded in this one.
        """
        mask = 0
        for face in embedded(address):
            mask |= self.networks(face)
        return mask

    def opening(self, address: IPAddress, face: IPAddress) -> int:
        """
        The rules that say for themselves that an address which only the server can see may be
        reached.

        @param face: that address: C{address}, or one embedded in it.
        """
        if face.packed in _METADATA:
            return self._exact.get(face, 0) | self._exact.get(address, 0)
        if face == address:
            return self.longer.holding(address)
        return self.longer.holding(face) | self._choosing.holding(address)

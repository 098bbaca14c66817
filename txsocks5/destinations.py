"""
Where an association's datagrams go, RFC 1928 section 7: judged once a minute, names looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import CancelledError, Deferred

from .errors import AddressTypeNotSupported, NotAllowed, ProtocolError, SOCKSError
from .interfaces import Question
from .outgoing import Outgoing
from .wire import Address, IPAddress

__all__ = ["MAX_DESTINATIONS", "Destination", "Destinations", "Target"]

MAX_DESTINATIONS = 4096
"""
How many destinations an association remembers; the oldest is forgotten first.
"""

_MAX_LOOK_UPS = 16
_MAX_WAITING = 16
_MAX_WAITING_OCTETS = 64 * 1024

_NAME_LIFE = 60.0
"""
Seconds for which an association uses the addresses of a name.
"""

_FAILURE_LIFE = 5.0
"""
Seconds for which a name that did not resolve is not looked up again.
"""

_VERDICT_LIFE = 60.0
"""
Seconds for which it is not asked again whether the association, or an address, is allowed.
"""


@attrs.frozen
class Target:
    """
    One address of a destination, in the forms in which it is needed for each datagram.

    @ivar host: the address.

    @ivar peer: the same in text, and the port.
    """

    host: IPAddress
    peer: tuple[str, int]


@attrs.define(eq=False)
class Destination:
    """
    Where the datagrams with one particular header go.

    @ivar address: the destination as the client wrote it.

    @ivar targets: the addresses to try; none if it is denied, or does not resolve.

    @ivar lookUp: the look-up of a name, while it runs.

    @ivar waiting: the payloads that wait for it.

    @ivar expires: when a name is to be looked up again; L{None} while it is looked up.

    @ivar unsettled: it could not be judged for now.

    @ivar again: policy has become another one while a name was looked up.
    """

    address: Address
    targets: Sequence[Target] = ()
    lookUp: Deferred[None] | None = None
    waiting: list[bytes] = attrs.field(factory=list)
    waitingOctets: int = 0
    expires: float | None = None
    unsettled: bool = False
    again: bool = False

    @property
    def named(self) -> bool:
        """
        Whether the client wrote a name.
        """
        return isinstance(self.address.host, str)

    def found(self, hosts: Sequence[IPAddress]) -> None:
        """
        Take the addresses to try.
        """
        port = self.address.port
        self.targets = [Target(host, (str(host), port)) for host in hosts]

    def wait(self, payload: bytes) -> bool:
        """
        Keep a payload until the name is resolved.

        @return: whether there was room.
        """
        octets = self.waitingOctets + len(payload)
        if len(self.waiting) >= _MAX_WAITING or octets > _MAX_WAITING_OCTETS:
            return False
        self.waiting.append(payload)
        self.waitingOctets = octets
        return True

    def waited(self) -> list[bytes]:
        """
        Keep payloads no more.

        @return: those that have waited.
        """
        waiting, self.waiting = self.waiting, []
        self.waitingOctets = 0
        return waiting


class Destinations:
    """
    The destinations of one association, by their header fields.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        question: Question,
        now: Callable[[], float],
        send: Callable[[Destination, Sequence[bytes]], None],
        drop: Callable[[int], None],
    ) -> None:
        """
        @param question: with no destination; it is asked again with each.

        @param now: tells the time in seconds.

        @param send: called with payloads whose destination is looked up no more, whether or not
            it has targets.

        @param drop: called with a number of payloads that go nowhere.
        """
        self._outgoing = outgoing
        self._question = question
        self._now = now
        self._send = send
        self._drop = drop
        self._all: dict[bytes, Destination] = {}
        # Those of them that expire: few, where there are many.
        self._names: dict[bytes, Destination] = {}
        # Those of them that have been judged since a moment that is not long ago.
        self._judgedLately: dict[bytes, Destination] = {}
        self._since = now()
        # The addresses that were denied since somebody has asked for them.
        self._denied: set[str] = set()
        self._lookUps = 0

    def find(self, field: bytes) -> Destination:
        """
        The destination that a header names.

        @param field: the octets of ATYP, DST.ADDR and DST.PORT.

        @raise ProtocolError: it is malformed.
        """
        return self._judgedLately.get(field) or self._known(field)

    def relay(self, destination: Destination, payload: bytes) -> None:
        """
        Send a payload, now or when the name is resolved.
        """
        if destination.lookUp is None:
            self._send(destination, [payload])
        elif not destination.wait(payload):
            self._drop(1)

    def expire(self, now: float) -> None:
        """
        Forget the names, and the verdicts, that have grown old.

        @raise NotAllowed: the association itself is not allowed any longer.
        """
        old = [
            field
            for field, destination in self._names.items()
            if destination.expires is not None and destination.expires <= now
        ]
        for field in old:
            self._forget(field)
        # Also if the clock has been set back.
        if not self._since <= now < self._since + _VERDICT_LIFE:
            self._since = now
            self._judgedLately.clear()
            self._outgoing.judge(self._question)

    def denied(self) -> set[str]:
        """
        The addresses in text that datagrams could be sent to when this was asked last, and can no
        more.
        """
        denied, self._denied = self._denied, set()
        for destination in self._all.values() if denied else ():
            denied.difference_update(target.peer[0] for target in destination.targets)
        return denied

    def review(self) -> set[str]:
        """
        Judge all destinations anew, but for those that are being looked up, which are judged then.

        @return: the addresses in text that datagrams may still be sent to.
        """
        admitted: set[str] = set()
        for field, destination in list(self._all.items()):
            if destination.lookUp is not None:
                destination.again = True
            else:
                question = attrs.evolve(self._question, destination=destination.address)
                destination.targets = [
                    target
                    for target in destination.targets
                    if self._outgoing.admits(question, target.host)
                ]
                admitted.update(str(target.host) for target in destination.targets)
                if not destination.targets:
                    # It may be one that was denied before and is not now.
                    self._forget(field)
        return admitted

    def close(self) -> None:
        """
        Forget all destinations, and drop what waits.
        """
        for field in list(self._all):
            self._forget(field)

    def _known(self, field: bytes) -> Destination:
        """
        Look at a header that has not been seen for a while, if ever.  A name is judged when it is
        looked up, and that is soon enough.

        @raise ProtocolError: it is malformed.
        """
        destination = self._all.get(field)
        if destination is not None and not destination.named and not self._stands(destination):
            self._denied.update(target.peer[0] for target in destination.targets)
            self._forget(field)
            destination = None
        if destination is None:
            destination = self._judged(field)
        if field in self._all:
            self._judgedLately[field] = destination
        return destination

    def _stands(self, destination: Destination) -> bool:
        """
        Whether an address that could be sent to still can be.
        """
        question = attrs.evolve(self._question, destination=destination.address)
        return any(self._outgoing.admits(question, target.host) for target in destination.targets)

    def _judged(self, field: bytes) -> Destination:
        """
        Look at a header that has not been seen yet: ask policy, and begin to resolve a name.

        @raise ProtocolError: it is malformed.
        """
        address = Address.read(field)
        # What splitDatagram takes for an address is as long as one.
        assert address is not None
        if not address[0].port:
            raise ProtocolError("port 0")
        destination = Destination(address[0])
        if destination.named and self._lookUps >= _MAX_LOOK_UPS:
            # Not kept, so that it is tried again with the next datagram.
            return destination
        self._keep(field, destination)
        self._lookUps += 1
        found = Deferred.fromCoroutine(self._resolve(destination))
        if not found.called:
            destination.lookUp = found
        elif destination.unsettled:
            # Not kept, so that it is tried again with the next datagram.
            self._all.pop(field, None)
        return destination

    def _keep(self, field: bytes, destination: Destination) -> None:
        """
        Remember a destination, and forget the oldest if there are too many.
        """
        if len(self._all) >= MAX_DESTINATIONS:
            self._forget(next(iter(self._all)))
        self._all[field] = destination
        if destination.named:
            self._names[field] = destination

    async def _resolve(self, destination: Destination) -> None:
        """
        Find the admitted addresses of a destination, and send on what waits for them.
        """
        life = _FAILURE_LIFE
        try:
            question = attrs.evolve(self._question, destination=destination.address)
            hosts = (await self._outgoing.find(question)).addresses
            if destination.again:
                hosts = [host for host in hosts if self._outgoing.admits(question, host)]
            destination.found(hosts)
            life = _NAME_LIFE
        except (SOCKSError, CancelledError, OSError) as error:
            # The calls that it has come through know it, and whoever has made them.
            error.__traceback__ = None
            # A number keeps its verdict for a while, unless none was possible for now.
            destination.unsettled = not (
                destination.named or isinstance(error, (NotAllowed, AddressTypeNotSupported))
            )
        finally:
            # Also if somebody's resolver or policy is broken, which Twisted logs.
            self._lookUps -= 1
            destination.lookUp = None
            destination.expires = self._now() + life
            for payload in destination.waited():
                self._send(destination, [payload])

    def _forget(self, field: bytes) -> None:
        """
        Forget a destination.  Nothing is sent there any more.
        """
        destination = self._all.pop(field)
        self._names.pop(field, None)
        self._judgedLately.pop(field, None)
        destination.targets = ()
        if destination.lookUp is not None:
            self._drop(len(destination.waited()))
            destination.lookUp.cancel()

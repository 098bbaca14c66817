"""
BIND: waiting for a peer, RFC 1928 section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory

from . import local
from .config import Network, Timeouts
from .errors import NoRoute, NotAllowed, TimedOut
from .interfaces import IPolicy, ISOCKSReactor, Question, Verdict
from .outgoing import Outgoing
from .stream import TargetProtocol
from .wire import Address, IPAddress

__all__ = ["MAX_STRANGERS", "Binder", "Listener"]

MAX_STRANGERS = 8
"""
How many wrong peers are turned away before BIND gives up (R-1928-60).
"""


class _Peer(TargetProtocol):
    """
    The connection of the peer that was waited for.
    """

    def connectionMade(self) -> None:
        """
        Report the arrival.
        """
        super().connectionMade()
        assert isinstance(self.factory, _Door)
        self.factory.peer.callback(self)


class _Door(Factory):
    """
    Lets one peer in.

    @ivar peer: fires with the connection of the peer, or fails with L{NotAllowed} when too
        many strangers have come.
    """

    noisy = False

    def __init__(
        self, judge: Callable[[IPAddress], str | None], turnedAway: Callable[[object, str], None]
    ) -> None:
        """
        @param judge: says why an address is not let in, or L{None} to let it in.

        @param turnedAway: hears of a stranger and the reason.
        """
        self.peer: Deferred[TargetProtocol] = Deferred()
        self._judge = judge
        self._turnedAway = turnedAway
        self._strangers = 0
        self._shut = False

    def buildProtocol(self, addr: IAddress | None) -> _Peer | None:
        """
        Look at who is there.  Returning L{None} closes the connection.
        """
        if self._shut:
            return None
        address = local.addressOf(addr)
        reason = "not an internet address"
        if address is not None and not isinstance(address.host, str):
            refusal = self._judge(address.host)
            if refusal is None:
                self._shut = True
                peer = _Peer()
                peer.factory = self
                return peer
            reason = refusal
        self._turnedAway(address, reason)
        self._strangers += 1
        if self._strangers >= MAX_STRANGERS:
            self._shut = True
            self.peer.errback(NotAllowed(f"{MAX_STRANGERS} strangers came instead of the peer"))
        return None


class Listener:
    """
    A port that waits for the peer of one BIND.

    @ivar bound: BND.ADDR and BND.PORT of the first reply.

    @ivar reason: what allowed it.
    """

    def __init__(
        self,
        port: IListeningPort,
        door: _Door,
        bound: Address,
        reason: str,
        clock: IReactorTime,
        timeout: float,
    ) -> None:
        self.bound = bound
        self.reason = reason
        self._port = port
        self._door = door
        self._awaited = False
        if timeout:
            door.peer.addTimeout(timeout, clock, _waitedTooLong)

    async def peer(self) -> TargetProtocol:
        """
        Wait for the peer; then close the port, which it does in any case.

        @return: the connection of the peer.

        @raise NotAllowed: too many strangers have come.

        @raise TimedOut: the peer has not come in time.
        """
        self._awaited = True
        try:
            peer = await self._door.peer
        except BaseException:
            self._port.stopListening()
            raise
        try:
            await maybeDeferred(self._port.stopListening)
        except BaseException:
            peer.stream.abort()
            raise
        return peer

    def close(self) -> None:
        """
        Close the port, if nobody has begun to wait for the peer; otherwise whoever did closes it.
        """
        if not self._awaited:
            self._awaited = True
            self._port.stopListening()
            self._door.peer.addCallbacks(lambda peer: peer.stream.abort(), lambda reason: None)
            self._door.peer.cancel()


class Binder:
    """
    Opens the listeners of a server's BINDs.
    """

    def __init__(
        self,
        reactor: ISOCKSReactor,
        outgoing: Outgoing,
        policy: IPolicy,
        network: Network,
        timeouts: Timeouts,
    ) -> None:
        self._reactor = reactor
        self._outgoing = outgoing
        self._policy = policy
        self._network = network
        self._timeouts = timeouts

    async def listen(
        self,
        question: Question,
        reached: Sequence[IPAddress],
        turnedAway: Callable[[object, str], None],
        granted: Callable[[Verdict], object],
    ) -> Listener:
        """
        Begin to do what a BIND asks for.

        @param reached: the addresses at which the client may have reached the server: where to
            listen if any peer may come.

        @param turnedAway: hears of each stranger, and why it was turned away.

        @param granted: called when policy has said yes, before anything is opened; if it raises
            an error, nothing is.

        @return: the listener, whose L{Listener.peer} is to be awaited.

        @raise NotAllowed: policy says no.

        @raise NoRoute: the system has no address towards the expected peer.

        @raise OSError: there is no socket to find that out with.

        @raise CannotListenError: no port is to be had.

        @raise NameNotResolved: see L{Outgoing.find}, for this and the other errors.
        """
        expected, addresses, verdict = await self._expect(question, reached, granted)

        def judge(peer: IPAddress) -> str | None:
            if expected is not None and peer not in expected:
                return "not the expected peer"
            verdict = self._policy.judgeAddress(question, peer)
            return None if verdict.allowed else verdict.reason

        door: Any = _Door(judge, turnedAway)
        port = local.openAtFirst(lambda address: self._listenAt(address, door), addresses)
        here = local.addressOf(port.getHost())
        assert here is not None and not isinstance(here.host, str)
        bound = Address(self._network.advertised(here.host), here.port)
        return Listener(port, door, bound, verdict.reason, self._reactor, self._timeouts.bind)

    def _listenAt(self, address: IPAddress, door: Any) -> IListeningPort:
        """
        Listen at the one address that the peer is to be told (R-1928-56).
        """
        return local.openPort(
            lambda port: self._reactor.listenTCP(
                port, door, backlog=MAX_STRANGERS, interface=str(address)
            ),
            self._network.ports,
        )

    async def _expect(
        self,
        question: Question,
        reached: Sequence[IPAddress],
        granted: Callable[[Verdict], object],
    ) -> tuple[Collection[IPAddress] | None, Sequence[IPAddress], Verdict]:
        """
        Find out who may come, and where to wait.

        @return: the addresses of the expected peer, or L{None} for anybody; the local addresses
            to try, for a known peer that which it can reach, by the first of its own to which
            there is a way; and what allowed it.
        """
        assert question.destination is not None
        host = question.destination.host
        if not isinstance(host, str) and host.is_unspecified:
            verdict = self._outgoing.judge(question)
            granted(verdict)
            return None, reached, verdict
        admitted = await self._outgoing.find(question)
        granted(admitted.verdict)
        refusal: Exception = NoRoute(f"no route to {admitted.addresses[0]}")
        for towards in admitted.addresses:
            try:
                source = local.sourceTowards(towards)
            except OSError as error:
                refusal = error
                continue
            if source is not None:
                return frozenset(admitted.addresses), (source,), admitted.verdict
        raise refusal


def _waitedTooLong(reason: object, seconds: float) -> None:
    raise TimedOut(f"no peer came within {seconds:g} s")

"""
The way out: names to addresses, addresses past policy, addresses to a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from .config import Network, Timeouts, ofFamily
from .dialer import ConnectedSocket, SocketDialer
from .errors import (
    AddressTypeNotSupported,
    ConnectFailed,
    NameNotResolved,
    NotAllowed,
    Overloaded,
    TimedOut,
)
from .interfaces import IDialer, IFairResolver, IPolicy, IResolver, Question, Verdict
from .stream import TargetProtocol
from .wire import Address, IPAddress

__all__ = [
    "MAX_ADDRESSES",
    "Admitted",
    "Outgoing",
    "TCPDialer",
    "ordered",
    "race",
]

_T = TypeVar("_T")

_STAGGER = 0.25
"""
Seconds until the next address is tried beside one that has not answered: RFC 8305's
Connection Attempt Delay.
"""

MAX_ADDRESSES = 32
"""
How many addresses of a name are looked at; the others are as if they were not there.  A name
belongs to a stranger, and can have thousands.
"""


@implementer(IDialer)
class TCPDialer:
    """
    Connects directly.
    """

    def __init__(self, reactor: IReactorTCP, outgoing: tuple[IPAddress, ...] = ()) -> None:
        """
        @param outgoing: see L{Network.outgoing <txsocks5.config.Network.outgoing>}.
        """
        self._reactor = reactor
        self._outgoing = outgoing

    def dial(
        self, address: Address, factory: IProtocolFactory, outgoing: tuple[IPAddress, ...] = ()
    ) -> Deferred[IProtocol]:
        """
        Connect; see L{IDialer.dial}.  Time is limited by whoever calls, by cancelling.

        @param outgoing: source addresses that go before those of all.
        """
        host = address.host
        assert not isinstance(host, str)
        version = host.version
        source = ofFamily(version, outgoing) or ofFamily(version, self._outgoing)
        # No time-out of its own: the annotation leaves out that there can be none.
        endpointClass: Any = TCP4ClientEndpoint if host.version == 4 else TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = endpointClass(
            self._reactor,
            str(host),
            address.port,
            timeout=None,
            bindAddress=None if source is None else (str(source), 0),
        )
        return endpoint.connect(factory)


def ordered(addresses: Sequence[IPAddress], prefer: str) -> list[IPAddress]:
    """
    Put addresses into the order in which to try them.

    @param prefer: see L{Network.prefer <txsocks5.config.Network.prefer>}.

    @return: them, each family in the order given; with C{happy-eyeballs} the families in
        turn, IPv6 first (RFC 8305 section 4).  A family that is switched off is left out.
    """
    fours: list[IPAddress] = [address for address in addresses if address.version == 4]
    sixes: list[IPAddress] = [address for address in addresses if address.version == 6]
    if prefer == "ipv4":
        return fours + sixes
    if prefer == "ipv6":
        return sixes + fours
    if prefer == "ipv4-only":
        return fours
    if prefer == "ipv6-only":
        return sixes
    pairs = zip_longest(sixes, fours)
    return [address for address in chain.from_iterable(pairs) if address is not None]


def race(attempts: Sequence[Callable[[], Deferred[_T]]], clock: IReactorTime) -> Deferred[_T]:
    """
    Try several things in their order: the next begins when the one before has failed, or a
    quarter of a second after it.  The first that succeeds wins, the others are cancelled
    (RFC 8305 section 5).

    @param attempts: at least one; each begins an attempt.

    @return: a Deferred that fires with the winner's result, or fails with
        L{ConnectFailed} when all have failed.  Cancelling it cancels all attempts.
    """
    return _Race(attempts, clock).result


class _Race(Generic[_T]):
    """
    The state of a L{race}.
    """

    def __init__(self, attempts: Sequence[Callable[[], Deferred[_T]]], clock: IReactorTime) -> None:
        self.result: Deferred[_T] = Deferred(lambda result: self._stop())
        self._clock = clock
        self._waiting = list(reversed(attempts))
        self._running: list[Deferred[_T]] = []
        self._errors: list[BaseException] = []
        self._next: IDelayedCall | None = None
        self._over = False
        self._begin()

    def _begin(self) -> None:
        """
        Begin the next attempt.
        """
        self._next = None
        begin = self._waiting.pop()
        if self._waiting:
            self._next = self._clock.callLater(_STAGGER, self._begin)
        attempt = maybeDeferred(begin)
        self._running.append(attempt)
        attempt.addCallbacks(self._won, self._failed, errbackArgs=(attempt,))

    def _stop(self) -> None:
        """
        End everything that is under way.
        """
        self._over = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for attempt in self._running:
            attempt.cancel()

    def _won(self, result: _T) -> None:
        self._stop()
        self.result.callback(result)

    def _failed(self, reason: Failure, attempt: Deferred[_T]) -> None:
        if self._over:
            return
        self._running.remove(attempt)
        assert reason.value is not None
        self._errors.append(reason.value)
        if self._waiting:
            assert self._next is not None
            self._next.cancel()
            self._begin()
        elif not self._running:
            self._over = True
            self.result.errback(ConnectFailed(self._errors))


@attrs.frozen
class Admitted:
    """
    Where a request may go.

    @ivar addresses: at least one, in the order in which to try them.

    @ivar verdict: what allowed the first of them.
    """

    addresses: Sequence[IPAddress]
    verdict: Verdict


Target = TargetProtocol | ConnectedSocket
"""
A connection to a target: with a transport, or without.
"""


class Outgoing:
    """
    Resolves once, asks policy about every address, and connects to those it admits, by
    number (R-1928-33, S-06).
    """

    def __init__(
        self,
        clock: IReactorTime,
        policy: IPolicy,
        resolver: IResolver,
        dialer: IDialer | SocketDialer,
        network: Network,
        timeouts: Timeouts,
    ) -> None:
        """
        @param dialer: connects; L{SocketDialer <txsocks5.dialer.SocketDialer>} does so without
            transports.
        """
        self._clock = clock
        self._policy = policy
        self._resolver = resolver
        self._dialer = dialer
        self._network = network
        self._timeouts = timeouts
        self._selective = network.prefer.endswith("-only")

    def judge(self, question: Question) -> Verdict:
        """
        Ask policy about a request as it was made.

        @return: the verdict, which is a yes.

        @raise NotAllowed: it is a no.
        """
        verdict = self._policy.judgeRequest(question)
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)
        return verdict

    def admit(self, question: Question, addresses: Sequence[IPAddress]) -> Admitted:
        """
        Ask policy about addresses.

        @return: those that may be reached, L{MAX_ADDRESSES} at the most.

        @raise AddressTypeNotSupported: the address asked for is of a family that is switched off.

        @raise NameNotResolved: all addresses of the name asked for are.

        @raise NotAllowed: policy admits none.
        """
        usable = ordered(addresses, self._network.prefer)[:MAX_ADDRESSES]
        if not usable:
            assert question.destination is not None
            if isinstance(question.destination.host, str):
                raise NameNotResolved("all its addresses are of a family that is switched off")
            raise AddressTypeNotSupported("this address family is switched off")
        judge = self._policy.judgeAddress
        verdicts = [judge(question, address) for address in usable]
        for verdict in verdicts:
            if verdict.allowed:
                allowed = zip(usable, verdicts, strict=True)
                return Admitted([address for address, each in allowed if each.allowed], verdict)
        raise NotAllowed(verdicts[0].reason)

    def decide(self, question: Question, host: IPAddress) -> Admitted:
        """
        Judge a request by number.

        @raise NotAllowed: policy says no to the request or to the address.

        @raise AddressTypeNotSupported: see L{admit}.
        """
        policy = self._policy
        verdict = policy.judgeRequest(question)
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)
        if self._selective:
            return self.admit(question, (host,))
        verdict = policy.judgeAddress(question, host)
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)
        return Admitted((host,), verdict)

    def admits(self, question: Question, host: IPAddress) -> bool:
        """
        Whether policy still allows what it has allowed before; it does where that cannot be told.
        """
        try:
            self.judge(question)
            return self._policy.judgeAddress(question, host).allowed
        except NotAllowed:
            return False
        except Overloaded:
            return True

    async def find(self, question: Question) -> Admitted:
        """
        Judge a request, resolve its destination if that is a name, and judge the addresses.

        @raise NotAllowed: policy says no to the request or to all of its addresses.

        @raise AddressTypeNotSupported: see L{admit}.

        @raise NameNotResolved: the name has no address, or not in time.

        @raise Overloaded: too many names are being looked up.
        """
        assert question.destination is not None
        host = question.destination.host
        if not isinstance(host, str):
            return self.decide(question, host)
        self.judge(question)
        if question.client is not None and IFairResolver.providedBy(self._resolver):
            looked = self._resolver.resolveFor(question.client, host)
        else:
            looked = self._resolver.resolve(host)
        if self._timeouts.connect and not looked.called:
            looked.addTimeout(self._timeouts.connect, self._clock, _resolvingTooLong)
        return self.admit(question, await looked)

    def reach(
        self,
        admitted: Admitted,
        destination: Address,
        began: float | None = None,
        outgoing: tuple[IPAddress, ...] = (),
    ) -> ConnectedSocket | Deferred[Any]:
        """
        Connect to one of the addresses that a request may reach.

        @param destination: what was asked for: the port, and the address if it was one.

        @param began: when the request did, as what the look-up has taken counts; by default, now.

        @param outgoing: source addresses that go before those of all, at most one of a family.  A
            dialer of somebody else's does not hear of them.

        @return: the connection, if it was there at once; or a Deferred that fires with it, or
            fails as below.

        @raise ConnectFailed: no address could be connected to.

        @raise TimedOut: it took too long.
        """
        dialled: Deferred[Any]
        port = destination.port
        first = admitted.addresses[0]
        if len(admitted.addresses) > 1 or not isinstance(self._dialer, SocketDialer):
            attempts = [
                partial(self._dial, Address(address, port), outgoing)
                for address in admitted.addresses
            ]
            dialled = race(attempts, self._clock)
        else:
            if destination.host is not first:
                destination = Address(first, port)
            try:
                reached = self._dialer.dial(destination, outgoing)
            except Exception as error:
                raise ConnectFailed([error]) from error
            if isinstance(reached, ConnectedSocket):
                return reached
            dialled = reached
            dialled.addErrback(_soleFailed)
        if self._timeouts.connect and not dialled.called:
            now = self._clock.seconds()
            left = self._timeouts.connect - (0 if began is None else now - began)
            dialled.addTimeout(max(left, 0), self._clock, _connectingTooLong)
        return dialled

    def _dial(self, address: Address, outgoing: tuple[IPAddress, ...]) -> Deferred[Any]:
        """
        Begin an attempt to connect, one of several.

        @raise Exception: it is over already.
        """
        dialled: Any
        if isinstance(self._dialer, SocketDialer):
            dialled = self._dialer.dial(address, outgoing)
        elif isinstance(self._dialer, TCPDialer):
            dialled = self._dialer.dial(address, _TARGETS, outgoing)
        else:
            dialled = self._dialer.dial(address, _TARGETS)
        return dialled if isinstance(dialled, Deferred) else succeed(dialled)


def _soleFailed(reason: Failure) -> Failure:
    """
    The only attempt has failed.
    """
    assert reason.value is not None
    if isinstance(reason.value, CancelledError):
        return reason
    return Failure(ConnectFailed([reason.value]))


_TARGETS = Factory.forProtocol(TargetProtocol)
_TARGETS.noisy = False


def _resolvingTooLong(reason: object, seconds: float) -> None:
    raise NameNotResolved(f"no answer from the resolver within {seconds:g} s")


def _connectingTooLong(reason: object, seconds: float) -> None:
    raise TimedOut(f"not connected within {seconds:g} s")

"""
What clients share: the factory of their protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
)

from .acceptor import Acceptor
from .associate import Associations
from .auth import Anonymous, byMethod
from .bind import Binder
from .commands import Means
from .config import Group, Limits, Network, Rule, Timeouts, User
from .deadlines import Deadlines
from .dialer import SocketDialer
from .interfaces import (
    IAuthenticator,
    IDialer,
    IJournal,
    IPolicy,
    IRelayObserver,
    IResolver,
    IRevoking,
    ISOCKSReactor,
)
from .joiner import Joiner
from .journal import EventJournal
from .junction import Junction
from .ledger import Ledger
from .outgoing import Outgoing, TCPDialer
from .pipes import PipePool
from .policy import DefaultPolicy, SelfProtectingPolicy
from .protocol import SOCKS5Protocol
from .serving import Serving
from .sessions import Sessions
from .sweep import Sweep
from .systemresolver import SystemResolver
from .wire import (
    Address,
)

__all__ = ["SOCKS5Factory", "SOCKS5Protocol"]

_PLAIN_PORTS = (tcp.Port, unix.Port)


class SOCKS5Factory(Serving):
    """
    Builds the protocol of each client, and holds what they share.

    @ivar listeners: where this server listens.  L{SOCKS5Service <txsocks5.SOCKS5Service>} fills
        it; whoever listens by other means adds the addresses, so that nobody reaches the server
        through itself (S-18).

    @ivar sessions: the clients that are connected.

    @ivar means: what the commands are done with.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        *,
        authenticators: Iterable[IAuthenticator] = (Anonymous(),),
        policy: IPolicy | None = None,
        resolver: IResolver | None = None,
        dialer: IDialer | None = None,
        observer: IRelayObserver | None = None,
        ledger: Ledger | None = None,
        network: Network | None = None,
        timeouts: Timeouts | None = None,
        journal: IJournal | None = None,
        exposed: bool = False,
    ) -> None:
        """
        @param reactor: provides what L{ISOCKSReactor} lists.

        @param authenticators: the methods, in the order in which the server prefers them.

        @param policy: who may do what.  The default is that of an exposed server: whoever has
            not authenticated is refused, and so are addresses that only the server can see.

        @param resolver: names to addresses; by default the reactor's name resolver.

        @param dialer: addresses to connections; by default L{TCPDialer}.

        @param observer: looks on while data are relayed.

        @param ledger: holds the clients to their limits; by default, those of L{Limits
            <txsocks5.config.Limits>}.

        @param network: how the server meets the network.

        @param timeouts: how long things may take.

        @param journal: writes down what happens to sessions; by default the log of Twisted.

        @param exposed: whether others than this machine can reach the server, for L{Question
            <txsocks5.interfaces.Question.exposed>}s to policy after it has become a local one.

        @raise ValueError: two authenticators have the same method, or one has none that a client
            could select.
        """
        self.reactor: ISOCKSReactor = reactor
        self.listeners: set[Address] = set()
        self.sessions = Sessions(reactor)
        self._junction = Junction(reactor) if Junction.worksWith(reactor) else None
        self.numbers = count(1)
        self.journal: IJournal = journal or EventJournal()
        self.authenticators = byMethod(authenticators)
        network = network or Network()
        decides = policy or DefaultPolicy(own=network.advertise)
        self.policy = SelfProtectingPolicy(decides, self.listeners)
        self.ledger = ledger or Ledger(reactor)
        self._sweep = Sweep(reactor)
        self._pipes = PipePool(self._sweep)
        self._dialer = dialer
        self._observer = observer
        self._settle(
            resolver or SystemResolver(reactor.nameResolver, now=reactor.seconds),
            network,
            timeouts or Timeouts(),
            exposed,
        )

    def _settle(
        self, resolver: IResolver, network: Network, timeouts: Timeouts, exposed: bool
    ) -> None:
        """
        Make what depends on these settings.
        """
        reactor, policy, sweep = self.reactor, self.policy, self._sweep
        self.network = network
        policy.advertised = network.advertise
        self.timeouts = timeouts
        self.deadlines = Deadlines(reactor, timeouts.handshake)
        dialer = self._dialer or self._defaultDialer()
        outgoing = Outgoing(reactor, policy, resolver, dialer, network, timeouts)
        self.means = Means(
            outgoing,
            Binder(reactor, outgoing, policy, network, timeouts),
            Associations(reactor, outgoing, network, timeouts, sweep),
            sweep,
            timeouts,
            self._observer,
            self.ledger,
            Joiner(reactor, sweep, timeouts, self._junction, self._pipes),
            policy,
            exposed,
        )

    def _defaultDialer(self) -> IDialer | SocketDialer:
        """
        Make what connects if nobody brings another.
        """
        if self._junction is not None:
            return SocketDialer(self._junction, self.network.outgoing)
        return TCPDialer(self.reactor, self.network.outgoing)

    def takeOver(self, port: object) -> Acceptor | None:
        """
        Accept the clients of a plain port with less ado than it does by itself.

        @param port: listens for this factory.

        @return: who accepts them now, to be stopped before the port; or L{None} if nothing has
            changed.
        """
        if self._junction is None or type(port) not in _PLAIN_PORTS:
            return None
        plain: Any = port
        if plain.factory is not self:
            return None
        acceptor = Acceptor(self._junction, self.reactor, plain.socket, self)
        plain.stopReading()
        acceptor.start()
        return acceptor

    def startFactory(self) -> None:
        """
        Somebody listens for us.
        """
        self._sweep.stay()
        self.deadlines.stay()
        if self._junction is not None:
            self._junction.stay()
            self._pipes.stay()

    def stopFactory(self) -> None:
        """
        Nobody listens for us any more.
        """
        self._sweep.leave()
        self.deadlines.leave()
        if self._junction is not None:
            self._junction.leave()
            self._pipes.leave()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        A client has connected.
        """
        return SOCKS5Protocol(self)

    def reconfigure(
        self,
        *,
        authenticators: Iterable[IAuthenticator],
        policy: IPolicy,
        resolver: IResolver,
        network: Network,
        timeouts: Timeouts,
        limits: Limits,
        users: Mapping[str, User],
        groups: Mapping[str, Group],
        rules: Iterable[Rule],
        exposed: bool = False,
    ) -> Deferred[int]:
        """
        Serve in another way from now on.  Sessions that are still allowed go on; the others end.
        What was under way before is judged by the new policy as well, and keeps to the other
        settings that it began with.

        @param authenticators: see L{__init__}, for this and the next ones.

        @param limits: see L{Ledger.reconfigure}, for this and the next ones.

        @param exposed: see L{__init__}.  What began at an exposed server is judged as that.

        @return: a Deferred that fires with how many sessions have ended, see L{Sessions.review
            <txsocks5.sessions.Sessions.review>}.

        @raise ValueError: see L{SOCKS5Factory}; nothing has changed then.
        """
        replaced, replacing = dict(self.authenticators), byMethod(authenticators)
        for method, authenticator in replacing.items():
            before = replaced.get(method)
            if before is not None and IRevoking.providedBy(authenticator):
                authenticator.replaces(before)
        # Whoever is about to say which methods it knows chooses among these.
        self.authenticators.clear()
        self.authenticators.update(replacing)
        self.policy.replace(policy)
        deadlines, associations = self.deadlines, self.means.associations
        self._settle(resolver, network, timeouts, exposed)
        self.means.associations.shareWith(associations)
        if self.numPorts:
            self.deadlines.stay()
        deadlines.leave()
        fitted = self.ledger.reconfigure(limits, users, groups, rules)
        return fitted.addCallback(lambda ignored: self.sessions.review())

    def stopSessions(self) -> Deferred[None]:
        """
        End all sessions; see L{Sessions.stop <txsocks5.sessions.Sessions.stop>}.
        """
        return self.sessions.stop()

"""
The life of a server: it begins to listen, serves in other ways, and stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import events
from .auth import byMethod
from .config import Configuration, differences, timestamp
from .errors import reasonOf
from .listening import BACKLOG, Listening
from .server import SOCKS5Factory
from .wire import Address, Method

__all__ = ["BACKLOG", "SOCKS5Service"]

_PLAIN = ("tcp:", "tcp6:", "systemd:")

_MAX_AHEAD = 3600.0
"""
Seconds until the calendar is looked at again for users whose time is over: it may be set, and a
delayed call cannot be years ahead.
"""


class Plan(TypingProtocol):
    """
    What a server is made from.
    """

    @property
    def configuration(self) -> Configuration:
        """
        What an operator has set.
        """

    @property
    def settings(self) -> Mapping[str, Any]:
        """
        What L{SOCKS5Factory.reconfigure} takes.
        """


class SOCKS5Service(Service):
    """
    Listens for the clients of one factory.
    """

    _log = Logger()

    def __init__(
        self,
        factory: SOCKS5Factory,
        listen: str | Sequence[str],
        configuration: Configuration | None = None,
        reactorOf: Callable[[str], Any] | None = None,
    ) -> None:
        """
        @param factory: serves the clients; its reactor listens.

        @param listen: a Twisted server endpoint string, C{tcp:1080:interface=127.0.0.1} say, or
            several.

        @param configuration: what the factory has been made from, if it was one.

        @param reactorOf: tells what an endpoint, by its string, takes for its reactor; by default,
            the factory's.
        """
        self._reactorOf = reactorOf or (lambda description: factory.reactor)
        self._factory = factory
        self._listen = (listen,) if isinstance(listen, str) else tuple(listen)
        made = Configuration(listen=self._listen) if self._listen else Configuration()
        self._configuration = configuration or made
        self._listenings: list[Listening] = []
        self._reloading = DeferredLock()
        self._expiry: IDelayedCall | None = None
        self._began = False

    def privilegedStartService(self) -> None:
        """
        Listen while privileged ports can still be had.

        @raise Exception: whatever keeps an endpoint from listening; then none of them listens.
        """
        Service.privilegedStartService(self)
        self._begin()

    def startService(self) -> None:
        """
        Listen, if that has not been done, and read what quotas have been used.

        @raise Exception: see L{privilegedStartService}.

        @raise UnusableDatabase: the quotas cannot be read.
        """
        self._begin()
        try:
            self._factory.means.ledger.start()
        except Exception:
            self._stopListening()
            raise
        Service.startService(self)
        self._lookForExpired()

    def _begin(self) -> None:
        """
        Listen everywhere.
        """
        if self._began:
            return
        self._began = True
        failures: list[Failure] = []
        for description in self._listen:
            listening = self._listeningAt(description)
            self._listenings.append(listening)
            listened = listening.begin().addCallback(self._admit, listening)
            if listened.called:
                listened.addErrback(failures.append)
                if failures:
                    break
            else:
                # One of the endpoints that take their time.
                listened.addErrback(self._failed)
        if failures:
            self._stopListening()
            failures[0].raiseException()
        self._announce()

    def _listeningAt(self, description: str) -> Listening:
        """
        Prepare to listen at an endpoint.
        """
        return Listening(self._factory, description, self._reactorOf(description))

    def _admit(self, result: object, listening: Listening) -> None:
        """
        One endpoint listens.
        """
        listening.admit()
        events.listening.emit(self._log, address=str(listening))

    def _failed(self, reason: Failure) -> None:
        """
        An endpoint that has taken its time does not listen.
        """
        if reason.check(CancelledError) is None:
            assert reason.value is not None
            events.notListening.emit(self._log, reason=reasonOf(reason.value))

    def _announce(self) -> None:
        """
        Say that all is in place, and how to see it work.
        """
        first = self._listenings[0] if self._listenings else None
        if first is None or first.port is None:
            return
        methods = self._factory.authenticators
        offered = [f"{number:02x} ({type(each).__name__})" for number, each in methods.items()]
        events.offering.emit(self._log, methods=", ".join(offered))
        login = {Method.NONE: "", Method.PASSWORD: "USER:PASSWORD@"}
        usable = [login[Method(number)] for number in methods if number in login]
        if usable and first.address is not None and self._listen[0].startswith(_PLAIN):
            url = f"socks5h://{min(usable, key=len)}{_here(first.address)}"
            events.ready.emit(self._log, url=url)

    def _stopListening(self) -> Deferred[Any]:
        """
        Close all ports.
        """
        self._began = False
        listenings, self._listenings = self._listenings, []
        return DeferredList([listening.stop() for listening in listenings])

    def reload(self, plan: Plan) -> Deferred[None]:
        """
        Serve by another configuration from now on.  Sessions that it allows go on untouched, and
        those that it does not end at once; its limits hold for all of them.  Listeners that it does
        not name are closed, others are opened.

        @param plan: an L{Assembly <txsocks5.assembly.Assembly>}.  All that can be judged beforehand
            was judged when it was made.

        @return: a Deferred that fires when that is done; or fails with whatever keeps a new
            endpoint from listening, and then everything is as it was.
        """
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._reload(plan)))

    async def _reload(self, plan: Plan) -> None:
        """
        See L{reload}.
        """
        configuration = plan.configuration
        settings = plan.settings
        # What the factory would say of them is to be known before anything is closed.
        byMethod(settings["authenticators"])
        wanted = configuration.listen if self._began else ()
        kept: list[Listening] = []
        removed: list[Listening] = []
        for each in self._listenings:
            # One that has failed is tried again.
            (kept if each.description in wanted and each.isOpen else removed).append(each)
        present = {each.description for each in kept}
        added = [
            self._listeningAt(description)
            for description in dict.fromkeys(wanted)
            if description not in present
        ]
        # Whoever stops the service in the meantime stops all of them, and leaves another list.
        listenings = self._listenings = kept + removed + added
        try:
            await self._exchange(removed, added)
        except BaseException:
            if listenings is self._listenings:
                self._listenings = kept + removed
            raise
        if listenings is not self._listenings:
            await DeferredList([each.stop() for each in added])
            raise CancelledError("the service was stopped")
        self._listenings = kept + added
        changed = differences(self._configuration, configuration)
        self._listen, self._configuration = configuration.listen, configuration
        # Before others hold, those who come by these must not.
        self._factory.sessions.turnAway([each.place for each in removed if each.place is not None])
        reviewed = self._factory.reconfigure(**settings)
        for listening in added:
            self._admit(None, listening)
        self._lookForExpired()
        ended = await reviewed
        events.reloaded.emit(self._log, changed=", ".join(changed) or "nothing", ended=ended)

    async def _exchange(self, removed: Sequence[Listening], added: Sequence[Listening]) -> None:
        """
        Listen at new endpoints, admitting nobody yet, and no longer at old ones.

        @raise Exception: what keeps one from listening; then the old ones listen.
        """
        stopped = False
        listenings = self._listenings
        try:
            for listening in added:
                try:
                    await listening.begin()
                except CannotListenError:
                    if stopped or not removed:
                        raise
                    # One that is to go may stand in the way.
                    stopped = True
                    await DeferredList([each.stop() for each in removed])
                    await listening.begin()
        except BaseException:
            await DeferredList([each.stop() for each in added])
            if stopped and listenings is self._listenings:
                for each in removed:
                    each.begin().addCallback(self._admit, each).addErrback(self._failed)
            raise
        if not stopped:
            for each in removed:
                each.stop()

    def _lookForExpired(self) -> None:
        """
        End the sessions of users whose time is over, now and whenever that of another one is.
        """
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        self._expiry = None
        if not self.running:
            return
        now = self._factory.reactor.seconds()
        ends = [
            timestamp(user.expires)
            for user in self._configuration.users.values()
            if user.expires is not None
        ]
        ahead = [end - now for end in ends if end > now]
        if ahead:
            seconds = min(*ahead, _MAX_AHEAD)
            self._expiry = self._factory.reactor.callLater(seconds, self._expired)

    def _expired(self) -> None:
        """
        Somebody's time may be over.
        """
        self._factory.sessions.review()
        self._lookForExpired()

    def stopService(self) -> Deferred[None]:
        """
        Close the listeners, wait for the sessions as long as L{Timeouts.drain
        <txsocks5.config.Timeouts.drain>} says, end those that are left, and write down what quotas
        have been used.

        @return: a Deferred that fires when nothing is left of either.
        """
        Service.stopService(self)
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        stopped = self._stopListening()
        drained = self._factory.sessions.drain(self._factory.timeouts.drain)
        stopped.addCallback(lambda ignored: drained)
        return stopped.addCallback(lambda ignored: self._factory.ledger.stop())

    def retire(self) -> Deferred[None]:
        """
        Take no more clients, and let the sessions go on for as long as they last.

        @return: a Deferred that fires when there is none left.
        """
        self._stopListening()
        return self._factory.sessions.drain(None)

    def stopNow(self) -> None:
        """
        Wait for no session any more.
        """
        self._factory.stopSessions()


def _here(address: Address) -> Address:
    """
    How somebody on this machine reaches a listener.
    """
    if isinstance(address.host, str) or not address.host.is_unspecified:
        return address
    loopback = "127.0.0.1" if address.host.version == 4 else "::1"
    return Address(ip_address(loopback), address.port)

"""
What the clients of a server share.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.protocol import Factory

from .commands import Means
from .config import Network, Timeouts
from .deadlines import Deadlines
from .interfaces import (
    IAuthenticator,
    Identity,
    IJournal,
    IRevoking,
    ISOCKSReactor,
    Question,
)
from .policy import SelfProtectingPolicy
from .sessions import Sessions
from .wire import (
    NO_ACCEPTABLE_METHOD,
    Address,
    IPAddress,
    Method,
)

__all__ = ["Serving"]


class Serving(Factory):
    """
    What the protocols of a server share, and how they are judged again; L{SOCKS5Factory
    <txsocks5.SOCKS5Factory>} fills it.

    @ivar authenticators: by method number, in the server's order of preference.

    @ivar means: what the commands are done with.

    @ivar numbers: those of the sessions.

    @ivar sessions: the clients that are connected.
    """

    authenticators: dict[int, IAuthenticator]
    deadlines: Deadlines
    journal: IJournal
    means: Means
    network: Network
    numbers: Iterator[int]
    policy: SelfProtectingPolicy
    reactor: ISOCKSReactor
    sessions: Sessions
    timeouts: Timeouts

    def stands(self, identity: Identity, client: IPAddress | None) -> bool:
        """
        Whether somebody who has authenticated, or not yet, may go on.

        @param client: where it connects from; L{None} for a UNIX socket.
        """
        if identity.method == NO_ACCEPTABLE_METHOD:
            return True
        authenticator = self.authenticators.get(identity.method)
        if authenticator is None:
            return False
        if identity.method == Method.NONE and not self.policy.judgeClient(client).allowed:
            return False
        return not IRevoking.providedBy(authenticator) or authenticator.stands(identity)

    def refusal(self, question: Question, reached: Address | None) -> str:
        """
        Judge a request that was allowed before.

        @param reached: where it has led to, if it has.

        @return: why it is not allowed now; empty if it is.

        @raise Overloaded: it cannot be told now.
        """
        identity = question.identity
        if not self.stands(identity, question.client):
            return f"user {identity.name!r} is gone"
        verdict = self.policy.judgeRequest(question)
        host = None if reached is None or question.destination is None else reached.host
        if verdict.allowed and host is not None and not isinstance(host, str):
            verdict = self.policy.judgeAddress(question, host)
        return "" if verdict.allowed else verdict.reason

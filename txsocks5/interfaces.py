"""
Every place where this package can be bent, in one page.

Each interface below can be provided by an object of yours and given to
L{SOCKS5Factory <txsocks5.SOCKS5Factory>}.  An L{IAuthenticator} for a private
method can also be found through C{twisted.plugin}.  The frozen classes are what
is passed across these borders.  Nothing is implemented here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
)
from zope.interface import Attribute, Interface

from .config import Rule
from .wire import Address, Command, IPAddress

__all__ = [
    "Accepted",
    "IAuthenticator",
    "IBlockingChecker",
    "IConversation",
    "IDialer",
    "IFairResolver",
    "IJournal",
    "IPolicy",
    "IProtection",
    "IRecallingChecker",
    "IRelayObserver",
    "IRelayTap",
    "IResolver",
    "IRevoking",
    "ISOCKSReactor",
    "IUserList",
    "Identity",
    "Question",
    "Record",
    "Refused",
    "Step",
    "Verdict",
]


class ISOCKSReactor(
    IReactorTCP,
    IReactorUDP,
    IReactorTime,
    IReactorThreads,
    IReactorPluggableNameResolver,
):
    """
    What is used of a reactor, and why: TCP for CONNECT and BIND, UDP for UDP
    ASSOCIATE, time for every deadline, threads for slow password checks, and the
    name resolver for the names in requests.

    Twisted's own reactors provide all of it without saying so by this name.
    """


@attrs.frozen
class Identity:
    """
    Who a client has shown to be.

    @ivar name: the user's name as the authenticator knows it; empty for nobody in
        particular.  It never holds a secret.

    @ivar method: the number of the method that was used.
    """

    name: str
    method: int


@attrs.frozen
class Accepted:
    """
    The good end of a conversation.

    @ivar identity: who the client is.

    @ivar protection: how everything that follows is wrapped, or L{None} for not at
        all.
    """

    identity: Identity
    protection: IProtection | None = None


@attrs.frozen
class Refused:
    """
    The bad end of a conversation.

    @ivar reason: why, for the log alone; the client is not told.

    @ivar username: the user name that was claimed, for the log.
    """

    reason: str
    username: str = ""


@attrs.frozen
class Step:
    """
    What a conversation says to what it has received.

    @ivar consumed: how many of the octets it has taken.  The others are kept, for
        its next step or for what follows the conversation.

    @ivar send: octets for the client, sent in one write; empty for none.

    @ivar outcome: L{Accepted} or L{Refused} if this is the end, L{None} if not.
    """

    consumed: int
    send: bytes = b""
    outcome: Accepted | Refused | None = None


class IConversation(Interface):
    """
    One client's authentication.  It never sees the transport.
    """

    def received(data: bytes) -> Step | Deferred[Step] | None:
        """
        Hear what the client has sent.

        This is called first when the method has been selected, even with no octets
        at all, so that a method in which the server speaks first can do so; then
        whenever more octets have come, until a step has an outcome.  A step that has
        taken or sent something is followed by another call at once if octets are left.
        While a L{Deferred} has not fired it is not called.

        @param data: all octets that no step has taken yet.

        @return: a L{Step}; L{None} for "more octets, please"; or a Deferred that
            fires with a L{Step}.  The Deferred is cancelled if the client leaves.

        @raise ProtocolError: the octets are wrong and no answer is due: the
            connection is closed.  A Deferred that fails does the same.
        """

    def close() -> None:
        """
        The conversation is over: its outcome has been heard, or the client has
        left.  Called exactly once.
        """


class IAuthenticator(Interface):
    """
    An authentication method of RFC 1928 section 3.

    Install a provider of this interface and of C{twisted.plugin.IPlugin} as a
    module in C{twisted/plugins}, and C{twistd socks5} offers its method.
    """

    method: int = Attribute("The number of the method, 0 to 254; C{80} to C{FE} are private.")

    def conversation(client: IPAddress | None) -> IConversation:
        """
        Begin with a client that has offered this method.

        @param client: where it connects from; L{None} for a UNIX socket.
        """


class IBlockingChecker(Interface):
    """
    Marks a C{twisted.cred} checker whose C{requestAvatarId} blocks (it reads a file, or
    computes a slow hash) and does not need the reactor: it is called in a thread.  Declare
    it for a class of somebody else with C{zope.interface.classImplements}.
    """

    credentialInterfaces = Attribute("As in C{twisted.cred.checkers.ICredentialsChecker}.")


class IRecallingChecker(Interface):
    """
    A C{twisted.cred} checker that remembers for a while which credentials it has found
    good, so that a client with many connections needs not be checked for each of them.
    """

    def recall(credentials: IUsernamePassword) -> bytes | None:
        """
        Has it been found out already?  Asked in the reactor's thread, before
        C{requestAvatarId}; it must not block.

        @param credentials: a user name and a password, as octets.

        @return: what C{requestAvatarId} gave; L{None} if it has to be asked.
        """


class IRevoking(Interface):
    """
    An L{IAuthenticator} that can tell, later, that somebody is no longer to be served.
    """

    def replaces(authenticator: IAuthenticator) -> None:
        """
        From now on this one is used, and not another of the same method, perhaps of another kind.
        What that one remembers of failures should not be forgotten.
        """

    def stands(identity: Identity) -> bool:
        """
        May the sessions of somebody go on who has authenticated before, perhaps with another
        object of this method?  Asked for each session when the server is given other
        authenticators; it must not block.
        """


class IUserList(Interface):
    """
    Somebody who can tell which users there are; a checker that has a list of them.
    """

    def knows(name: str) -> bool:
        """
        Is there such a user?  This tells what is known, and does not block.

        @param name: as in L{Identity}.
        """

    def names() -> Iterable[str]:
        """
        All users that are known, in no particular order.
        """

    def warnings() -> Sequence[str]:
        """
        What is doubtful about the list, a line each.
        """

    def refresh() -> None:
        """
        Read the list again if it may have changed.  This may block, and can be called in any
        thread.  Where it cannot be read, what was known before remains.
        """


class IProtection(Interface):
    """
    The encapsulation that an authentication method brings: RFC 1928 section 3
    demands it for everything behind the conversation, datagrams included.
    """

    def wrap(data: bytes) -> bytes:
        """
        Encapsulate octets of the stream for the client.

        @param data: what to send; a whole reply, or some of the relayed data.

        @return: what goes onto the wire.

        @raise ProtocolError: nothing can be encapsulated any longer: both sides of the session
            are aborted.
        """

    def unwrap(data: bytes) -> bytes:
        """
        Take in octets of the stream from the client, split anyhow.

        @param data: what came from the wire.  An incomplete rest is kept by the
            protection, which bounds it.

        @return: as much as can be opened by now, perhaps nothing.

        @raise ProtocolError: the octets cannot be trusted: both sides of the session
            are aborted, and nothing of C{data} is relayed.
        """

    def finished() -> None:
        """
        The client's stream has ended.

        @raise ProtocolError: it has ended in the midst of a message, which counts
            as an abort and not as an end.
        """

    def wrapDatagram(data: bytes) -> bytes:
        """
        Encapsulate one datagram, header included, for the client.

        @raise ProtocolError: it cannot be encapsulated, since it is too long for one; it is
            dropped and counted.
        """

    def unwrapDatagram(data: bytes) -> bytes:
        """
        Open one datagram from the client.

        @raise ProtocolError: it is not genuine; it is dropped and counted.
        """

    def close() -> None:
        """
        The session is over.  Called exactly once.
        """


@attrs.frozen
class Question:
    """
    What policy is asked about.

    @ivar identity: who asks.

    @ivar client: where the client connects from; L{None} for a UNIX socket.

    @ivar command: what is asked for.

    @ivar destination: the destination as asked, by number or by name; for BIND the
        expected peer.  L{None} where a UDP association itself is in question and
        no datagram yet.

    @ivar exposed: whether others than the server's own machine could reach the server when this
        was asked first.  It may have become a local one since.
    """

    identity: Identity
    client: IPAddress | None
    command: Command
    destination: Address | None
    exposed: bool = False


@attrs.frozen
class Verdict:
    """
    What policy says.

    @ivar allowed: yes or no.

    @ivar reason: the rule or default that decided, for the log.

    @ivar rule: the rule that decided, if it was one: its limits hold for what it allows.
    """

    allowed: bool
    reason: str
    rule: Rule | None = None


class IPolicy(Interface):
    """
    Who may do what.  All answers are given at once: these methods stand in the way
    of every request and of every new destination of a datagram, and must not block.

    What policy allows is still not reached if it is one of the server's own
    listeners.
    """

    def judgeClient(client: IPAddress | None) -> Verdict:
        """
        May a client from here be served without authentication?  Only asked where
        method C{00} would be selected.
        """

    def judgeRequest(question: Question) -> Verdict:
        """
        May this be asked for?  Asked once a request, and once for each destination of
        a UDP association, before any name is resolved; once a minute for an association,
        and for each of its destinations that is used; and when the server is told to
        serve in another way.
        """

    def judgeAddress(question: Question, address: IPAddress) -> Verdict:
        """
        May this address be reached?  Asked for every address that the name resolved
        to, or for the one in the request, after C{judgeRequest} has allowed it; and
        for the peer that connects to a BIND listener.

        @param address: never an IPv4-mapped address.

        @raise Overloaded: it cannot be told now, and not for the client's fault.
        """


class IResolver(Interface):
    """
    Names to addresses.
    """

    def resolve(name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name.

        @param name: in lower case, without a trailing dot, never an address in text.

        @return: a Deferred that fires with all addresses of both families in the
            order of preference, at least one; or fails with L{NameNotResolved
            <txsocks5.errors.NameNotResolved>} or L{Overloaded
            <txsocks5.errors.Overloaded>}.  It can be cancelled.
        """


class IFairResolver(IResolver):
    """
    A resolver that keeps one client from holding up the others.
    """

    def resolveFor(client: IPAddress, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name, as C{resolve} does.

        @param client: who wants it.
        """


class IDialer(Interface):
    """
    An address to a connection.
    """

    def dial(address: Address, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        @param address: a numeric address that policy has allowed.

        @param factory: builds the protocol of the connection.  Its transport must
            have C{abortConnection}.

        @return: a Deferred that fires with that protocol once it is connected, or
            fails with an error that L{replyCodeOf <txsocks5.errors.replyCodeOf>}
            knows.  Cancelling it abandons the attempt.
        """


@attrs.define
class Record:
    """
    What there is to tell about one session; all of it when it is L{closed
    <IJournal.closed>}.

    @ivar session: a number that nothing else has while the process runs.

    @ivar opened: when, in the reactor's seconds.

    @ivar client: where it connects from; L{None} for a UNIX socket.

    @ivar user: the user's name; empty for nobody in particular.

    @ivar method: the number of the method by which it was found out; 255 for none at all.

    @ivar question: what was asked for; L{None} if nothing was.

    @ivar destination: the destination as asked.

    @ivar verdict: what policy said to it, if that was asked and said yes.

    @ivar reached: the address that was connected to, that connected to a BIND listener, or at
        which datagrams are taken.

    @ivar reply: the reply code; L{None} if there was no reply.

    @ivar reason: what allowed the request, or why it was refused; of a client that was not served,
        why not.

    @ivar duration: in seconds.

    @ivar fromClient: octets of payload relayed from the client.

    @ivar toClient: octets of payload relayed to it.

    @ivar dropped: datagrams of an association that were not relayed.

    @ivar ended: why it was closed.
    """

    session: int
    opened: float
    client: Address | None = None
    user: str = ""
    method: int = 255
    question: Question | None = None
    destination: Address | None = None
    verdict: Verdict | None = None
    reached: Address | None = None
    reply: int | None = None
    reason: str = ""
    duration: float = 0.0
    fromClient: int = 0
    toClient: int = 0
    dropped: int = 0
    ended: str = ""

    @property
    def command(self) -> str:
        """
        The name of the command, or C{request} if none could be read.
        """
        return "request" if self.question is None else self.question.command.name


class IJournal(Interface):
    """
    Writes down what happens to sessions.  Each of these is on the way of a session, and must not
    block nor raise; the record is to be read and not kept.
    """

    def opened(record: Record) -> None:
        """
        A client has connected.
        """

    def authenticated(record: Record) -> None:
        """
        It is known who the client is.
        """

    def granted(record: Record) -> None:
        """
        Its request is allowed, and has been done.
        """

    def closed(record: Record) -> None:
        """
        The session is over.
        """


class IRelayTap(Interface):
    """
    One session's traffic, as it passes.
    """

    def passed(fromClient: bool, peer: Address, data: bytes) -> None:
        """
        Some octets of the stream, or the payload of one datagram, are on their way.

        @param fromClient: whether the client sent them.

        @param peer: the host on the other side of the proxy.
        """

    def ended(fromClient: int, toClient: int) -> None:
        """
        The session is over.  Called exactly once.

        @param fromClient: octets of payload that the client sent.

        @param toClient: octets of payload that were sent to the client.
        """


class IRelayObserver(Interface):
    """
    Looks on while data are relayed.
    """

    def began(question: Question) -> IRelayTap | None:
        """
        A session begins to relay.

        @return: what is to see its data, or L{None} not to look.
        """

"""
Providers of the interfaces that do what a test tells them to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
)
from zope.interface import implementer

from ..errors import NameNotResolved
from ..interfaces import (
    IAuthenticator,
    IConversation,
    IDialer,
    IPolicy,
    IResolver,
    Question,
    Step,
    Verdict,
)
from ..wire import Address, IPAddress
from ._connection import MemoryConnection, RecordingPeer
from ._transport import CLIENT_ADDRESS, twistedAddress

Answer: TypeAlias = Step | Deferred[Step] | Exception | None
"""
What a L{ScriptedAuthenticator} can answer: what L{IConversation.received} returns, or an exception
for it to raise.
"""


@implementer(IConversation)
class ScriptedConversation:
    """
    A conversation that gives its answers in their order, and L{None} behind the last.

    @ivar heard: what each call has passed.

    @ivar closed: how often it was closed.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.heard: list[bytes] = []
        self.closed = 0
        self._answers = list(answers)

    def received(self, data: bytes) -> Step | Deferred[Step] | None:
        """
        Give the next answer.
        """
        self.heard.append(data)
        if not self._answers:
            return None
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """
        Count.
        """
        self.closed += 1


@implementer(IAuthenticator)
class ScriptedAuthenticator:
    """
    An authentication method whose answers the test has written.

    @ivar clients: where each client came from.

    @ivar conversations: one for each client.
    """

    method: int = 0x81

    def __init__(self, *answers: Answer, method: int = 0x81) -> None:
        """
        @param answers: what each conversation answers.  A Deferred is of use to one only.
        """
        self.method = method
        self.clients: list[IPAddress | None] = []
        self.conversations: list[ScriptedConversation] = []
        self._answers = answers

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin.
        """
        self.clients.append(client)
        conversation = ScriptedConversation(self._answers)
        self.conversations.append(conversation)
        return conversation


class Dial:
    """
    One call of L{ScriptedDialer.dial}; it hangs until the test says how it ends.

    @ivar address: where to.

    @ivar factory: builds the protocol.

    @ivar result: what L{ScriptedDialer.dial} has returned.

    @ivar cancelled: whether it has been given up.
    """

    def __init__(self, address: Address, factory: IProtocolFactory) -> None:
        self.address = address
        self.factory = factory
        self.cancelled = False
        self.result: Deferred[IProtocol] = Deferred(self._cancel)

    def _cancel(self, result: Deferred[IProtocol]) -> None:
        """
        The caller has given up.
        """
        self.cancelled = True

    def accept(
        self,
        server: IProtocol | None = None,
        clientAddress: IAddress = CLIENT_ADDRESS,
        **options: Any,
    ) -> MemoryConnection:
        """
        Let it succeed.

        @param server: the other side; a L{RecordingPeer} by default.

        @param clientAddress: the address of our side of the connection.

        @param options: further arguments of L{MemoryConnection}.
        """
        where = twistedAddress("TCP", str(self.address.host), self.address.port)
        protocol = self.factory.buildProtocol(where)
        assert protocol is not None
        options = {"serverAddress": where} | options
        connection = MemoryConnection(
            protocol, server or RecordingPeer(), clientAddress=clientAddress, **options
        )
        self.result.callback(protocol)
        return connection

    def refuse(self, error: Exception) -> None:
        """
        Let it fail.
        """
        self.result.errback(error)


@implementer(IDialer)
class ScriptedDialer:
    """
    Connects as the test says.

    @ivar dials: one for each time that it was asked to connect.

    @ivar answer: if not L{None}, called with each L{Dial} before that is returned, so that it can
        be answered at once.
    """

    def __init__(self, answer: Callable[[Dial], object] | None = None) -> None:
        self.dials: list[Dial] = []
        self.answer = answer

    def dial(self, address: Address, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Begin to connect.
        """
        dial = Dial(address, factory)
        self.dials.append(dial)
        if self.answer is not None:
            self.answer(dial)
        return dial.result


@implementer(IResolver)
class ScriptedResolver:
    """
    Resolves names as the test says.

    @ivar hosts: for each name its addresses in text, or the exception to fail with.  Other names
        do not resolve.

    @ivar asked: the names that were looked up.

    @ivar cancelled: the names whose look-up was given up.

    @ivar hold: keep the answers until L{release}.
    """

    def __init__(self, hosts: Mapping[str, Sequence[str] | Exception] | None = None) -> None:
        self.hosts: dict[str, Sequence[str] | Exception] = dict(hosts or {})
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.hold = False
        self._held: list[tuple[str, Deferred[Sequence[IPAddress]]]] = []

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Look up a name.
        """
        self.asked.append(name)
        if not self.hold:
            return self._answer(name)
        held: Deferred[Sequence[IPAddress]] = Deferred(lambda held: self.cancelled.append(name))
        self._held.append((name, held))
        return held

    def release(self) -> None:
        """
        Give the answers that were kept.
        """
        held, self._held = self._held, []
        for name, result in held:
            if not result.called:
                self._answer(name).chainDeferred(result)

    def _answer(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """
        The answer for a name.
        """
        addresses = self.hosts.get(name, ())
        if isinstance(addresses, Exception):
            return fail(addresses)
        if not addresses:
            return fail(NameNotResolved(f"no address found for {name}"))
        return succeed([ip_address(address) for address in addresses])


@implementer(IPolicy)
class ScriptedPolicy:
    """
    Answers as the test says: at first everything is allowed.

    @ivar client: the verdict about clients without authentication.

    @ivar request: the verdict about requests.

    @ivar addresses: verdicts about single addresses, by their text.

    @ivar clients: the clients that were asked about.

    @ivar questions: the requests that were asked about.

    @ivar asked: the addresses that were asked about, with their questions.
    """

    def __init__(self) -> None:
        self.client = Verdict(True, "scripted: any client")
        self.request = Verdict(True, "scripted: any request")
        self.addresses: dict[str, Verdict] = {}
        self.clients: list[IPAddress | None] = []
        self.questions: list[Question] = []
        self.asked: list[tuple[Question, IPAddress]] = []

    def judgeClient(self, client: IPAddress | None) -> Verdict:
        """
        Answer.
        """
        self.clients.append(client)
        return self.client

    def judgeRequest(self, question: Question) -> Verdict:
        """
        Answer.
        """
        self.questions.append(question)
        return self.request

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Answer.
        """
        self.asked.append((question, address))
        return self.addresses.get(str(address), Verdict(True, "scripted: any address"))

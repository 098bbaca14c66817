"""
Tests for L{txsocks5.session}.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.errors import ProtocolError
from txsocks5.interfaces import Accepted, IAuthenticator, Identity, Refused
from txsocks5.session import Hinge, OutOfOrder, Session, SessionMachine, State
from txsocks5.wire import Address, Command, Greeting, Method, Request

BOUND = Address(IPv4Address("192.0.2.7"), 5000)
REQUEST = Request(Command.CONNECT, Address("example.com", 80))
ACCEPTED = Accepted(Identity("alice", 2))
REFUSED = Refused("wrong password")
ERROR = ProtocolError("nonsense")


@attrs.define
class RecordingHinge:
    """
    Writes down what the machine decides.

    @ivar calls: names of the decisions.

    @ivar said: the decisions with their arguments.

    @ivar cancelled: which kinds of work were cancelled.

    @ivar during: called while a decision is carried out, by its name.
    """

    calls: list[str] = attrs.field(factory=list)
    said: list[tuple[object, ...]] = attrs.field(factory=list)
    cancelled: list[str] = attrs.field(factory=list)
    during: dict[str, Callable[[], None]] = attrs.field(factory=dict)

    def _note(self, name: str, *arguments: object) -> None:
        """
        Write down a decision.
        """
        self.calls.append(name)
        self.said.append((name, *arguments))
        self.during.get(name, lambda: None)()

    def _work(self, name: str) -> Deferred[None]:
        """
        Make work that can be cancelled.
        """
        work: Deferred[None] = Deferred(lambda _: self.cancelled.append(name))
        work.addErrback(lambda reason: reason.trap(CancelledError) and None)
        return work

    def select(self, authenticator: IAuthenticator) -> None:
        """
        See L{Hinge.select}.
        """
        self._note("select", authenticator)

    def refuseMethods(self) -> None:
        """
        See L{Hinge.refuseMethods}.
        """
        self._note("refuseMethods")

    def awaitRequest(self, accepted: Accepted) -> None:
        """
        See L{Hinge.awaitRequest}.
        """
        self._note("awaitRequest", accepted)

    def perform(self, request: Request) -> Deferred[None]:
        """
        See L{Hinge.perform}.
        """
        self._note("perform", request)
        return self._work("perform")

    def awaitPeer(self) -> Deferred[None]:
        """
        See L{Hinge.awaitPeer}.
        """
        self._note("awaitPeer")
        return self._work("awaitPeer")

    def replyListening(self, bound: Address) -> None:
        """
        See L{Hinge.replyListening}.
        """
        self._note("replyListening", bound)

    def replySucceeded(self, bound: Address) -> None:
        """
        See L{Hinge.replySucceeded}.
        """
        self._note("replySucceeded", bound)

    def replyFailed(self, error: BaseException) -> None:
        """
        See L{Hinge.replyFailed}.
        """
        self._note("replyFailed", error)

    def relay(self) -> None:
        """
        See L{Hinge.relay}.
        """
        self._note("relay")

    def finishClient(self) -> None:
        """
        See L{Hinge.finishClient}.
        """
        self._note("finishClient")

    def end(self, reason: str, why: str = "") -> None:
        """
        See L{Hinge.end}.
        """
        self._note("end", reason, *([why] if why else []))

    def flush(self, reason: str) -> None:
        """
        See L{Hinge.flush}.
        """
        self._note("flush", reason)

    def abort(self, reason: str) -> None:
        """
        See L{Hinge.abort}.
        """
        self._note("abort", reason)

    def release(self, reason: str) -> None:
        """
        See L{Hinge.release}.
        """
        self._note("release", reason)


INPUTS: dict[str, Callable[[Session], None]] = {
    "greeted": lambda session: session.greeted(Greeting(b"\x00")),
    "accepted": lambda session: session.accepted(ACCEPTED),
    "refused": lambda session: session.refused(REFUSED),
    "requested": lambda session: session.requested(REQUEST),
    "listening": lambda session: session.listening(BOUND),
    "established": lambda session: session.established(BOUND),
    "failed": lambda session: session.failed(ERROR),
    "relayed": lambda session: session.relayed("over"),
    "ceased": lambda session: session.ceased("over"),
    "malformed": lambda session: session.malformed(ERROR),
    "truncated": lambda session: session.truncated(),
    "clientFinished": lambda session: session.clientFinished(),
    "clientFinishedUnread": lambda session: session.clientFinishedUnread(),
    "expired": lambda session: session.expired(),
    "distrusted": lambda session: session.distrusted(ERROR),
    "stopped": lambda session: session.stopped("server stopped"),
    "lost": lambda session: session.lost("gone"),
}
"""
Everything that can happen to a client.
"""

WAYS: dict[str, tuple[str, ...]] = {
    "Greeting": (),
    "Authenticating": ("greeted",),
    "Requesting": ("greeted", "accepted"),
    "Working": ("greeted", "accepted", "requested"),
    "Listening": ("greeted", "accepted", "requested", "listening"),
    "Relaying": ("greeted", "accepted", "requested", "established"),
    "Ending": ("greeted", "refused"),
    "Ended": ("greeted", "lost"),
}
"""
What has to happen for each state.
"""

IMPOSSIBLE: dict[str, set[str]] = {
    "Greeting": {
        "clientFinishedUnread",
        "accepted",
        "refused",
        "requested",
        "listening",
        "established",
        "failed",
        "relayed",
        "ceased",
        "clientFinished",
        "distrusted",
    },
    "Authenticating": {
        "greeted",
        "requested",
        "listening",
        "established",
        "failed",
        "relayed",
        "ceased",
        "clientFinished",
        "distrusted",
    },
    "Requesting": {
        "clientFinishedUnread",
        "greeted",
        "accepted",
        "refused",
        "listening",
        "established",
        "failed",
        "relayed",
        "ceased",
        "clientFinished",
    },
    "Working": {
        "greeted",
        "accepted",
        "refused",
        "requested",
        "relayed",
        "ceased",
        "malformed",
        "truncated",
    },
    "Listening": {
        "greeted",
        "accepted",
        "refused",
        "requested",
        "listening",
        "relayed",
        "ceased",
        "malformed",
        "truncated",
    },
    "Relaying": {
        "clientFinishedUnread",
        "greeted",
        "accepted",
        "refused",
        "requested",
        "listening",
        "established",
        "malformed",
        "truncated",
    },
    "Ending": {"greeted", "requested"},
    "Ended": {"greeted", "requested"},
}
"""
What cannot happen in each state.  The reader of messages says no more than one thing at a time,
and nothing once it has been stopped; work tells of itself only while it is done; and a relay does
so only once there is one.
"""

VERDICTS = {"replySucceeded", "replyFailed", "refuseMethods"}
"""
Decisions that tell the client how its session turned out.
"""


class SessionFixture(SynchronousTestCase):
    """
    One session, and what it decides.
    """

    def setUp(self) -> None:
        """
        Begin a session at a server with one method.
        """
        self.begin()

    def begin(self, *methods: int, permitted: Callable[[int], bool] = lambda method: True) -> None:
        """
        Begin a session.

        @param methods: the server's, in the order in which it prefers them.
        """
        self.hinge = RecordingHinge()
        hinge: Hinge = self.hinge
        authenticators: dict[int, Any] = {
            method: f"authenticator {method}" for method in methods or (Method.NONE,)
        }
        self.session = SessionMachine(hinge, authenticators, permitted)

    def happen(self, *names: str) -> None:
        """
        Let some of L{INPUTS} happen.
        """
        for name in names:
            INPUTS[name](self.session)

    def arrive(self, state: str) -> None:
        """
        Begin a session and bring it into a state; forget what it decided on the way.
        """
        self.begin()
        self.happen(*WAYS[state])
        self.hinge.calls.clear()
        self.hinge.said.clear()


class WalkTests(SessionFixture):
    """
    All states, and all that can happen in them.
    """

    def test_statesKnown(self) -> None:
        """
        These tests know every state of the machine and everything that can happen.
        """
        self.assertEqual({state.value for state in State}, set(WAYS))
        self.assertEqual(
            {name for name in vars(Session) if not name.startswith("_")},
            set(INPUTS),
        )

    def test_impossible(self) -> None:
        """
        Exactly what cannot happen in a state is a programming error there.
        """
        for state in WAYS:
            refused = set()
            for name in INPUTS:
                self.arrive(state)
                try:
                    self.happen(name)
                except OutOfOrder:
                    refused.add(name)
            self.assertEqual(refused, IMPOSSIBLE[state], state)

    def test_lostAnywhere(self) -> None:
        """
        Whatever the session is about, when the client is gone it lets go of everything, once.
        """
        for state in WAYS:
            self.arrive(state)
            self.happen("lost", "lost")
            self.assertEqual(self.hinge.calls, [] if state == "Ended" else ["release"], state)
            self.assertIsNone(self.session.work)

    def test_stoppedAnywhere(self) -> None:
        """
        Whatever the session is about, a server that stops aborts it, and what it was working
        at is cancelled.
        """
        for state in WAYS:
            self.arrive(state)
            working = self.session.work is not None
            self.happen("stopped")
            self.assertEqual(self.hinge.calls, [] if state == "Ended" else ["abort"], state)
            self.assertEqual(bool(self.hinge.cancelled), working, state)
            self.happen("lost")

    def test_workOnlyWhileServing(self) -> None:
        """
        Whatever happens in whatever state: a session that has left the two states in which it
        works is not working any more.
        """
        for state in WAYS:
            for name in set(INPUTS) - IMPOSSIBLE[state]:
                self.arrive(state)
                self.happen(name)
                if self.session.work is not None:
                    self.assertIn(
                        (state, name),
                        {
                            ("Requesting", "requested"),
                            ("Working", "clientFinished"),
                            ("Working", "clientFinishedUnread"),
                            ("Working", "expired"),
                            ("Working", "listening"),
                            ("Listening", "expired"),
                        },
                    )

    def test_lateInputsIgnored(self) -> None:
        """
        What comes in after the end has begun changes nothing and sends nothing (S-24).
        """
        for state in ("Ending", "Ended"):
            for name in set(INPUTS) - IMPOSSIBLE[state] - {"stopped", "lost"}:
                self.arrive(state)
                self.happen(name, name)
                self.assertEqual(self.hinge.calls, [], f"{name} in {state}")

    def test_oneVerdict(self) -> None:
        """
        Whatever three things happen after a request, in any order, the client hears one
        verdict at the most (R-1928-42).
        """
        names = [name for name in INPUTS if name not in IMPOSSIBLE["Ending"]]
        for first in names:
            for second in names:
                for third in names:
                    self.arrive("Working")
                    for name in (first, second, third):
                        try:
                            self.happen(name)
                        except OutOfOrder:
                            break
                    verdicts = [call for call in self.hinge.calls if call in VERDICTS]
                    self.assertLessEqual(len(verdicts), 1, f"{first} {second} {third}")
                    self.assertLessEqual(self.hinge.calls.count("replyListening"), 1)
                    self.assertLessEqual(self.hinge.calls.count("relay"), 1)

    def test_nothingBehindAFailure(self) -> None:
        """
        Nothing is sent behind a failure reply, whatever happens then (R-1928-42).
        """
        for name in set(INPUTS) - IMPOSSIBLE["Ending"]:
            self.arrive("Working")
            self.happen("failed", name)
            self.assertNotIn(
                self.hinge.calls[-1], VERDICTS - {"replyFailed"} | {"replyListening", "relay"}
            )
            self.assertEqual(self.hinge.calls.count("replyFailed"), 1)


class MethodTests(SessionFixture):
    """
    Which method is selected.
    """

    def selected(self, offered: bytes) -> object:
        """
        Greet the server.

        @return: what it selected.
        """
        self.session.greeted(Greeting(offered))
        return self.hinge.said[-1]

    def test_serversOrder(self) -> None:
        """
        The server's order of preference counts, not the client's (R-1928-10).
        """
        self.begin(2, 1, 0)
        self.assertEqual(self.selected(b"\x00\x01\x02"), ("select", "authenticator 2"))

    def test_onlyOffered(self) -> None:
        """
        What the client has not offered is not selected (R-1928-07).
        """
        self.begin(2, 1, 0)
        self.assertEqual(self.selected(b"\x00\x01"), ("select", "authenticator 1"))

    def test_unknownIgnored(self) -> None:
        """
        Unknown methods, repeated ones and C{FF} do no harm (R-1928-07).
        """
        self.begin(0x80)
        self.assertEqual(
            self.selected(b"\x7f\x7f\xff\x80\x80"), ("select", f"authenticator {0x80}")
        )

    def test_notPermitted(self) -> None:
        """
        A method that this client may not use is not selected even though it is all that the
        client offers (R-1928-11, S-01).
        """
        self.begin(0, 2, permitted=lambda method: method != 0)
        self.assertEqual(self.selected(b"\x00"), ("refuseMethods",))

    def test_nextPermitted(self) -> None:
        """
        Of two methods, one of which the client may not use, the other is selected.
        """
        self.begin(0, 2, permitted=lambda method: method != 0)
        self.assertEqual(self.selected(b"\x00\x02"), ("select", "authenticator 2"))

    def test_permissionAskedLast(self) -> None:
        """
        Nobody is asked about methods that the client has not offered, or that the server
        does not come to.
        """
        asked: list[int] = []
        self.begin(2, 1, 0, permitted=lambda method: not asked.append(method))  # type: ignore[func-returns-value]
        self.selected(b"\x00\x01")
        self.assertEqual(asked, [1])

    def test_noneAcceptable(self) -> None:
        """
        Without a common method the client is told so, and nothing else happens (R-1928-08).
        """
        self.begin(2)
        self.assertEqual(self.selected(b"\x00"), ("refuseMethods",))
        self.happen("truncated", "clientFinished", "expired")
        self.assertEqual(self.hinge.calls, ["refuseMethods"])

    def test_noMethodsAtAll(self) -> None:
        """
        An empty list gets the same answer (R-1928-06).
        """
        self.assertEqual(self.selected(b""), ("refuseMethods",))


class HandshakeTests(SessionFixture):
    """
    From the greeting to the request.
    """

    def test_inOrder(self) -> None:
        """
        A request is performed after a method was selected and the client was accepted, with
        what each of them said.
        """
        self.happen("greeted", "accepted", "requested")
        self.assertEqual(
            self.hinge.said,
            [
                ("select", "authenticator 0"),
                ("awaitRequest", ACCEPTED),
                ("perform", REQUEST),
            ],
        )

    def test_refused(self) -> None:
        """
        After a failed authentication the connection ends, whatever has been sent ahead
        (R-1929-08, R-1929-10).
        """
        self.happen("greeted", "refused")
        self.assertEqual(self.hinge.said[1:], [("end", "not authenticated", "wrong password")])

    def test_noRequestBeforeAccepted(self) -> None:
        """
        No way leads to a request but through an accepted authentication (S-01).
        """
        for state in ("Greeting", "Authenticating"):
            self.arrive(state)
            self.assertRaises(OutOfOrder, self.happen, "requested")
            self.assertEqual(self.hinge.calls, [])

    def test_malformedEarly(self) -> None:
        """
        Who speaks another protocol gets no answer (R-1928-05).
        """
        for state in ("Greeting", "Authenticating"):
            self.arrive(state)
            self.happen("malformed")
            self.assertEqual(self.hinge.said, [("end", "protocol error: nonsense")], state)

    def test_malformedRequest(self) -> None:
        """
        A bad request is answered (R-1928-19 to R-1928-24).
        """
        self.arrive("Requesting")
        self.happen("malformed")
        self.assertEqual(self.hinge.said, [("replyFailed", ERROR)])

    def test_truncated(self) -> None:
        """
        A client that finishes too early gets its FIN back.
        """
        for state in ("Greeting", "Authenticating", "Requesting"):
            self.arrive(state)
            self.happen("truncated")
            self.assertEqual(self.hinge.calls, ["end"], state)

    def test_expired(self) -> None:
        """
        A client that takes too long for the handshake is told nothing (R-1928-03).
        """
        for state in ("Greeting", "Authenticating", "Requesting"):
            self.arrive(state)
            self.happen("expired")
            self.assertEqual(self.hinge.said, [("end", "handshake took too long")], state)

    def test_deadlineOver(self) -> None:
        """
        The deadline of the handshake means nothing to a session that has got its request.
        """
        for state in ("Working", "Listening", "Relaying"):
            self.arrive(state)
            self.happen("expired")
            self.assertEqual(self.hinge.calls, [], state)

    def test_distrustedRequest(self) -> None:
        """
        A request that should be protected and is not is no request (R-1928-18).
        """
        self.arrive("Requesting")
        self.happen("distrusted")
        self.assertEqual(self.hinge.said, [("abort", "protection violated: nonsense")])


class CommandTests(SessionFixture):
    """
    A request that is done, or is not.
    """

    def test_established(self) -> None:
        """
        The reply precedes the relay (R-1928-48).
        """
        self.arrive("Working")
        self.happen("established")
        self.assertEqual(self.hinge.said, [("replySucceeded", BOUND), ("relay",)])
        self.assertEqual(self.hinge.cancelled, [])

    def test_failed(self) -> None:
        """
        A failure is reported.
        """
        self.arrive("Working")
        self.happen("failed")
        self.assertEqual(self.hinge.said, [("replyFailed", ERROR)])
        self.assertEqual(self.hinge.cancelled, [])

    def test_establishedAtOnce(self) -> None:
        """
        A command that is done before it has even returned its Deferred is not taken for one
        that is still being done.
        """
        self.arrive("Requesting")
        self.hinge.during["perform"] = lambda: self.happen("established")
        self.happen("requested")
        self.assertEqual(self.hinge.calls, ["perform", "replySucceeded", "relay"])
        self.happen("lost")
        self.assertEqual(self.hinge.cancelled, [])

    def test_failedAtOnce(self) -> None:
        """
        The same for one that fails as quickly.
        """
        self.arrive("Requesting")
        self.hinge.during["perform"] = lambda: self.happen("failed")
        self.happen("requested")
        self.assertEqual(self.hinge.calls, ["perform", "replyFailed"])
        self.happen("lost")
        self.assertEqual(self.hinge.cancelled, [])

    def test_lostWhileWorking(self) -> None:
        """
        When the client disconnects, what it has asked for is cancelled (R-1928-47).
        """
        self.arrive("Working")
        self.happen("lost")
        self.assertEqual(self.hinge.cancelled, ["perform"])
        self.assertEqual(self.hinge.said, [("release", "gone")])

    def test_finishedWhileWorking(self) -> None:
        """
        A half-close cancels nothing, and is passed on when the relay begins (R-1928-47).
        """
        self.arrive("Working")
        self.happen("clientFinished")
        self.assertEqual(self.hinge.calls, [])
        self.happen("established")
        self.assertEqual(self.hinge.calls, ["replySucceeded", "relay", "finishClient"])

    def test_finishedUnread(self) -> None:
        """
        Nor does it if it stands behind more octets than are read yet: the relay finds it there.
        """
        for state in ("Authenticating", "Working"):
            self.arrive(state)
            self.happen("clientFinishedUnread", "clientFinishedUnread")
            self.assertEqual((self.hinge.calls, self.session.clientDone), ([], False), state)

    def test_relayOverBeforeHalfClose(self) -> None:
        """
        If the relay ends as it begins, there is nothing to pass a half-close on to.
        """
        self.arrive("Working")
        self.happen("clientFinished")
        self.hinge.during["relay"] = lambda: self.happen("relayed")
        self.happen("established")
        self.assertEqual(self.hinge.calls, ["replySucceeded", "relay", "flush"])

    def test_distrustedWhileWorking(self) -> None:
        """
        Rubbish where protected data are due cancels the work and aborts.
        """
        self.arrive("Working")
        self.happen("distrusted")
        self.assertEqual(self.hinge.cancelled, ["perform"])
        self.assertEqual(self.hinge.calls, ["abort"])

    def test_relayCannotBegin(self) -> None:
        """
        Something that goes wrong between the reply and the relay aborts the session: it would
        otherwise wait for ever for a relay that never begins.
        """
        self.arrive("Relaying")
        self.happen("failed")
        self.assertEqual(self.hinge.said, [("abort", "relay failed: nonsense")])


class BindTests(SessionFixture):
    """
    The two verdicts of a BIND.
    """

    def test_peerComes(self) -> None:
        """
        The first reply, then the second, then the relay (R-1928-42).
        """
        self.arrive("Working")
        self.happen("listening", "established")
        self.assertEqual(
            self.hinge.calls, ["replyListening", "awaitPeer", "replySucceeded", "relay"]
        )
        self.assertEqual(self.hinge.cancelled, [])

    def test_noPeer(self) -> None:
        """
        A failing second reply is a failure reply (R-1928-63).
        """
        self.arrive("Listening")
        self.happen("failed")
        self.assertEqual(self.hinge.calls, ["replyFailed"])

    def test_finishedWhileListening(self) -> None:
        """
        A client that closes while it waits gets no second reply, and the listener is closed
        (R-1928-62).
        """
        self.arrive("Listening")
        self.happen("clientFinished")
        self.assertEqual(self.hinge.cancelled, ["awaitPeer"])
        self.assertEqual(self.hinge.said, [("end", "client closed while BIND waited")])

    def test_finishedUnread(self) -> None:
        """
        The same for a client that has finished behind more octets than are read by then.
        """
        self.arrive("Listening")
        self.happen("clientFinishedUnread")
        self.assertEqual(self.hinge.cancelled, ["awaitPeer"])
        self.assertEqual(self.hinge.said, [("end", "client closed while BIND waited")])

    def test_finishedBeforeListening(self) -> None:
        """
        The same for a client that has closed before the listener was there.
        """
        self.arrive("Working")
        self.happen("clientFinished", "listening")
        self.assertEqual(self.hinge.calls, ["replyListening", "awaitPeer", "end"])
        self.assertEqual(self.hinge.cancelled, ["awaitPeer"])

    def test_lostWhileListening(self) -> None:
        """
        Nor does the listener outlive the connection.
        """
        self.arrive("Listening")
        self.happen("lost")
        self.assertEqual(self.hinge.cancelled, ["awaitPeer"])
        self.assertEqual(self.hinge.calls, ["release"])

    def test_peerAtOnce(self) -> None:
        """
        A peer that is there already is not taken for one that is still awaited.
        """
        self.arrive("Working")
        self.hinge.during["awaitPeer"] = lambda: self.happen("established")
        self.happen("listening")
        self.assertEqual(
            self.hinge.calls, ["replyListening", "awaitPeer", "replySucceeded", "relay"]
        )
        self.assertIsNone(self.session.work)

    def test_distrustedWhileListening(self) -> None:
        """
        Rubbish where protected data are due ends the waiting.
        """
        self.arrive("Listening")
        self.happen("distrusted")
        self.assertEqual(self.hinge.cancelled, ["awaitPeer"])
        self.assertEqual(self.hinge.calls, ["abort"])


class RelayTests(SessionFixture):
    """
    The end of an established session.
    """

    def test_clientFinished(self) -> None:
        """
        A half-close is passed on, and the session goes on (R-1928-49).
        """
        self.arrive("Relaying")
        self.happen("clientFinished")
        self.assertEqual(self.hinge.calls, ["finishClient"])
        self.happen("relayed")
        self.assertEqual(self.hinge.calls, ["finishClient", "flush"])

    def test_relayOverAsClientFinishes(self) -> None:
        """
        The relay may end while it is told that the client has finished.
        """
        self.arrive("Relaying")
        self.hinge.during["finishClient"] = lambda: self.happen("relayed")
        self.happen("clientFinished")
        self.assertEqual(self.hinge.calls, ["finishClient", "flush"])

    def test_relayed(self) -> None:
        """
        When the relay is over, it closes the connection itself.
        """
        self.arrive("Relaying")
        self.happen("relayed", "relayed")
        self.assertEqual(self.hinge.said, [("flush", "over")])

    def test_ceased(self) -> None:
        """
        When an association is over, its connection is closed (R-1928-74).
        """
        self.arrive("Relaying")
        self.happen("ceased", "ceased")
        self.assertEqual(self.hinge.said, [("end", "over")])

    def test_distrusted(self) -> None:
        """
        Data that are not genuine abort both sides.
        """
        self.arrive("Relaying")
        self.happen("distrusted", "distrusted")
        self.assertEqual(self.hinge.said, [("abort", "protection violated: nonsense")])

    def test_stoppedWhileFlushing(self) -> None:
        """
        A server that stops does not wait for data to be flushed, nor for a client to close.
        """
        self.arrive("Relaying")
        self.happen("relayed", "stopped")
        self.assertEqual(self.hinge.calls, ["flush", "abort"])

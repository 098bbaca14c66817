"""
Tests for L{txsocks5.server}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from txsocks5 import Anonymous, PasswordAuthenticator, SOCKS5Factory, local
from txsocks5.config import Limits, Network, Timeouts
from txsocks5.errors import Overloaded
from txsocks5.interfaces import Step, Verdict
from txsocks5.policy import DefaultPolicy
from txsocks5.testing import (
    PrivateAuthenticator,
    PrivateProtection,
    RecordingPeer,
    ScriptedAuthenticator,
    ScriptedPolicy,
)
from txsocks5.wire import Address

from .served import (
    ASSOCIATE,
    CONNECT,
    CONNECT_NAME,
    GRANTED,
    GREETING,
    OUTGOING,
    SELECTED,
    ServedTestCase,
    accepted,
    failure,
)

#: Names of fields that every event has, whatever it tells.
COMMON = {"socks_event", "session"}


class ReviewTests(ServedTestCase):
    """
    The server serves in another way while sessions are under way.
    """

    def reconfiguring(
        self, factory: SOCKS5Factory, *authenticators: Any, **options: Any
    ) -> Deferred[int]:
        """
        Begin to serve in another way.
        """
        given: dict[str, Any] = {
            "authenticators": authenticators or (Anonymous(),),
            "policy": self.policy,
            "resolver": self.resolver,
            "network": Network(),
            "timeouts": Timeouts(),
            "limits": Limits(),
            "users": {},
            "groups": {},
            "rules": (),
        }
        return factory.reconfigure(**(given | options))

    def reconfigure(self, factory: SOCKS5Factory, *authenticators: Any, **options: Any) -> int:
        """
        Serve in another way.

        @return: how many sessions have ended.
        """
        reviewed = self.reconfiguring(factory, *authenticators, **options)
        self.flush()
        return self.successResultOf(reviewed)

    def passwords(self, *names: bytes) -> PasswordAuthenticator:
        """
        Passwords of some users.
        """
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for name in names:
            checker.addUser(name, b"secret")
        return PasswordAuthenticator(self.reactor, [checker])

    def test_goesOn(self) -> None:
        """
        Who is allowed goes on, wherever the session is; nothing is left behind in the end.
        """
        factory = self.serve()
        factory.doStart()
        silent, asking, relaying = (self.call(factory) for _ in range(3))
        asking.say(GREETING)
        relaying.say(GREETING + CONNECT)
        self.answer()
        self.assertEqual(self.reconfigure(factory, timeouts=Timeouts(handshake=5)), 0)
        silent.say(GREETING)
        asking.say(CONNECT)
        relaying.say(b"hello")
        self.assertEqual(silent.answers, [SELECTED])
        self.assertEqual(len(self.dialer.dials), 2)
        self.assertEqual(len(factory.sessions), 3)
        factory.doStop()
        factory.stopSessions()
        self.flush()
        self.assertOver(factory)

    def test_gone(self) -> None:
        """
        Users that are gone end, and so does everybody whose method is gone, whether or not there
        has been a request.
        """
        factory = self.serve(self.passwords(b"alice", b"bob"))
        callers = {}
        for name in (b"alice", b"bob"):
            for request in (b"", CONNECT):
                caller = callers[name, request] = self.call(factory)
                caller.say(b"\x05\x01\x02\x01" + bytes([len(name)]) + name + b"\x06secret")
                caller.say(request)
        self.assertEqual(self.reconfigure(factory, self.passwords(b"alice")), 2)
        self.assertReset(callers[b"bob", b""])
        self.assertReset(callers[b"bob", CONNECT])
        self.assertEqual(len(factory.sessions), 2)
        self.assertEqual(self.reconfigure(factory, Anonymous()), 2)
        self.flush()
        self.assertOver(factory)

    def test_unknownYet(self) -> None:
        """
        Whoever has not chosen a method chooses among the new ones.
        """
        factory = self.serve()
        caller = self.call(factory)
        self.assertEqual(self.reconfigure(factory, self.passwords(b"alice")), 0)
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [b"\x05\xff"])

    def test_authenticating(self) -> None:
        """
        Nobody gets in by an authenticator that is gone, with what is known of users no more,
        though its answer was under way; with a protection or without.
        """
        for protection in (None, PrivateProtection(7, server=True)):
            waiting: Deferred[Step] = Deferred()
            factory = self.serve(ScriptedAuthenticator(waiting))
            caller = self.call(factory)
            caller.say(b"\x05\x01\x81secret")
            self.assertEqual(self.reconfigure(factory), 0)
            waiting.callback(accepted(6, b"welcome", protection))
            self.flush()
            self.assertReset(caller)
            self.assertOver(factory)
            self.assertEqual(self.events.named("authenticated"), [])

    def test_authenticatingStill(self) -> None:
        """
        Who is still to be let in is.
        """
        waiting: Deferred[Step] = Deferred()
        factory = self.serve(ScriptedAuthenticator(waiting))
        caller = self.call(factory)
        caller.say(b"\x05\x01\x81secret")
        self.reconfigure(factory, ScriptedAuthenticator())
        waiting.callback(accepted(6))
        caller.say(CONNECT)
        self.assertEqual(len(self.dialer.dials), 1)

    def test_noLongerAllowed(self) -> None:
        """
        Policy is asked about the client that has not authenticated, about the request, and about
        the address that was reached.
        """
        no = Verdict(False, "rule 2")
        for change in (
            {"client": no},
            {"request": no},
            {"addresses": {"192.0.2.7": no}},
        ):
            self.policy.client = self.policy.request = Verdict(True, "rule 1")
            self.policy.addresses = {}
            caller, target = self.connected()
            factory = next(iter(caller.connection.server.protocol.factory.sessions)).factory
            idle = self.call(factory)
            idle.say(GREETING)
            for name, value in change.items():
                setattr(self.policy, name, value)
            self.assertEqual(self.reconfigure(factory), 2 if "client" in change else 1)
            self.assertReset(caller)
            self.assertReset(target)

    def test_many(self) -> None:
        """
        Thousands of sessions do not make the others wait until all have been judged: each turn of
        the reactor brings some.  None escapes by what happens to it in between, and those that
        begin meanwhile are not looked at.
        """
        factory = self.serve()
        relaying, connecting, asking = ([self.call(factory) for _ in range(8)] for _ in range(3))
        for caller in relaying:
            caller.say(GREETING + CONNECT)
            self.answer()
        for caller in connecting:
            caller.say(GREETING + CONNECT)
        for caller in asking:
            caller.say(GREETING)
        stricter, callLater = ScriptedPolicy(), self.reactor.callLater
        turns: list[int] = [0]

        def judgeRequest(question: Any) -> Verdict:
            turns[-1] += 1
            self.reactor.rightNow += 0.001
            return Verdict(False, "rule 2")

        self.patch(stricter, "judgeRequest", judgeRequest)
        reviewed = self.reconfiguring(factory, policy=stricter)
        self.assertNoResult(reviewed)
        new = self.call(factory)
        new.say(GREETING)
        for caller in asking:
            caller.say(CONNECT)
        for dial in self.dialer.dials[8:]:
            if not dial.cancelled:
                dial.accept(RecordingPeer())
        self.flush()

        def inTurn(*call: Any) -> Any:
            turns.append(0)
            return callLater(*call)

        self.patch(self.reactor, "callLater", inTurn)
        self.reactor.advance(0)
        self.flush()
        self.successResultOf(reviewed)
        self.assertGreater(len(turns), 2)
        self.assertLessEqual(max(turns[1:]), 5)
        for caller in relaying:
            self.assertReset(caller)
        for caller in (*connecting, *asking):
            self.assertNotIn(GRANTED, caller.answers)
        self.assertEqual(len(self.traffic.questions), 8)
        self.assertIsNone(new.lost)

    def test_cannotTell(self) -> None:
        """
        Who cannot be judged for now goes on (S-11).
        """
        caller, _ = self.connected()
        factory = caller.connection.server.protocol.factory
        self.patch(self.policy, "judgeRequest", raises(Overloaded("no descriptor")))
        self.assertEqual(self.reconfigure(factory), 0)
        self.assertIsNone(caller.lost)

    def test_broken(self) -> None:
        """
        If judging a session anew fails it ends, and so do the others that have to; the same if
        ending it fails.
        """
        factory = self.serve()
        callers = [self.call(factory) for _ in range(3)]
        for caller in callers:
            caller.say(GREETING + CONNECT)
        self.patch(self.policy, "judgeRequest", raises(ZeroDivisionError()))
        self.assertEqual(self.reconfigure(factory), 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        for caller in callers:
            self.assertReset(caller)
        callers = [self.call(factory) for _ in range(3)]
        for session in factory.sessions:
            self.patch(session, "stop", raises(ZeroDivisionError()))
        factory.sessions.drain(5)
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertOver(factory)

    def test_associations(self) -> None:
        """
        Associations that were opened before and after have together what is counted once.
        """
        factory = self.serve()
        before = factory.means.associations
        caller = self.call(factory)
        caller.say(GREETING + ASSOCIATE)
        self.assertEqual(self.reconfigure(factory), 0)
        after = factory.means.associations
        self.assertIsNot(before, after)
        self.assertIs(before.outside, after.outside)
        self.assertIs(before.budget, after.budget)
        self.assertIs(before.sockets, after.sockets)
        self.assertIsNone(caller.lost)

    def exposed(self) -> SOCKS5Factory:
        """
        A server that others than its own machine can reach.
        """
        self.patch(local, "isOwn", lambda address: False)
        return self.serve(policy=DefaultPolicy(open=True), exposed=True)

    def toLocal(self, factory: SOCKS5Factory) -> int:
        """
        Nobody else can reach it any more.
        """
        return self.reconfigure(factory, policy=DefaultPolicy(local=True, open=True))

    def test_exposedAssociation(self) -> None:
        """
        An association of an exposed server does not get the freedom of a local one (S-05), one
        that is opened later does.
        """
        factory = self.exposed()
        datagram = b"\0\0\0\x01\x7f\0\0\x01\0\x35hello"
        for sent in (0, 1):
            caller = self.call(factory)
            caller.say(GREETING + ASSOCIATE)
            inside = self.reactor.udpPorts[-1]
            self.toLocal(factory)
            inside.deliver(datagram, ("192.0.2.1", 4000))
            self.flush()
            outside = [port.sent for port in self.reactor.udpPorts if port is not inside]
            self.assertEqual(len([each for each in outside if each]), sent)

    def test_exposedConnect(self) -> None:
        """
        Nor does a CONNECT by a name that is still looked up; and one that goes on is judged as
        what it was.
        """
        factory = self.exposed()
        self.resolver.hosts["example.com"] = ["127.0.0.1"]
        self.resolver.hold = True
        caller, public = self.call(factory), self.call(factory)
        caller.say(GREETING + CONNECT_NAME)
        public.say(GREETING + CONNECT.replace(b"\xc0\x00\x02\x07", b"\x08\x08\x08\x08"))
        self.answer()
        self.assertEqual(self.toLocal(factory), 0)
        self.resolver.release()
        self.flush()
        self.assertEqual(caller.answers[1:], [failure(2)])
        self.assertIn("loopback address", self.events.one("refused")["reason"])
        caller.abort()
        self.flush()
        self.assertEqual(self.reconfigure(factory, policy=DefaultPolicy(local=True)), 1)
        self.assertReset(public)

    def test_advertised(self) -> None:
        """
        The server is not reached by the address that it advertises, also if that has just become
        another one (S-18).
        """
        factory = self.serve()
        factory.listeners.add(Address(ip_address("10.0.0.5"), 80))
        for advertised, dials in (("192.0.2.8", 1), ("192.0.2.7", 1), ("192.0.2.8", 2)):
            self.reconfigure(factory, network=Network(advertise=(ip_address(advertised),)))
            self.call(factory).say(GREETING + CONNECT)
            self.assertEqual(len(self.dialer.dials), dials)
        self.assertEqual(self.events.one("refused")["reason"], "default: the server's own address")

    def test_advertisedByDefault(self) -> None:
        """
        Nor is any other port of it, where nobody brings a policy.
        """
        self.patch(local, "isOwn", lambda address: False)
        network = Network(advertise=(ip_address("192.0.2.7"),))
        factory = self.serve(self.passwords(b"alice"), policy=None, network=network)
        self.call(factory).say(b"\x05\x01\x02\x01\x05alice\x06secret" + CONNECT)
        self.assertEqual(self.events.one("refused")["reason"], "default: the server's own address")


def raises(error: Exception) -> Any:
    """
    Something that raises an error when it is called.
    """

    def call(*arguments: Any) -> None:
        raise error

    return call


class FactoryTests(ServedTestCase):
    """
    Tests for L{SOCKS5Factory}.
    """

    def test_halfCloseable(self) -> None:
        """
        The protocol hears of half-closes.
        """
        verifyObject(IHalfCloseableProtocol, self.serve().buildProtocol(None))

    def test_clientWithoutAddress(self) -> None:
        """
        A client whose address nobody knows is served like one at a UNIX socket.
        """
        caller = self.call(self.serve(), clientAddress=UNIXAddress(""))
        caller.say(GREETING)
        self.assertEqual(caller.answers, [SELECTED])

    def test_defaults(self) -> None:
        """
        What is not given comes from the reactor: names are looked up by it, and connections made.
        The policy is that of an exposed server, so somebody has to authenticate, and addresses
        that only the server can see are not reached.
        """
        self.reactor.nameResolver.hosts = {"example.com": ["10.0.0.7", "8.8.8.8"]}
        factory = SOCKS5Factory(self.reactor)
        caller = self.call(factory)
        caller.say(GREETING)
        self.assertEqual(caller.answers, [b"\x05\xff"])
        factory = SOCKS5Factory(self.reactor, authenticators=[ScriptedAuthenticator(accepted())])
        caller = self.call(factory)
        caller.say(b"\x05\x01\x81" + CONNECT_NAME)
        self.assertEqual([connector.host for connector in self.reactor.connectors], ["8.8.8.8"])
        self.connections.append(self.reactor.connectors[0].accept(clientAddress=OUTGOING))
        self.flush()
        self.assertEqual(caller.answers[-1], GRANTED)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x81\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        self.assertEqual(caller.answers[-1], failure(2))

    def test_givingUpAnAttempt(self) -> None:
        """
        An attempt of the default dialer is given up when the client leaves (R-1928-47).
        """
        factory = SOCKS5Factory(self.reactor, policy=self.policy)
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        caller.abort()
        self.flush()
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertOver(factory)

    def test_itself(self) -> None:
        """
        The server is not reached through itself (S-18).
        """
        factory = self.serve()
        factory.listeners.add(Address(IPv4Address("192.0.2.7"), 80))
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers[-1], failure(2))
        self.assertEqual(self.dialer.dials, [])

    def test_noDeadline(self) -> None:
        """
        A handshake may take for ever, if that is wanted.
        """
        self.call(self.serve(timeouts=Timeouts(handshake=0)))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_numbers(self) -> None:
        """
        Each session has a number of its own.
        """
        factory = self.serve()
        for _ in range(3):
            self.call(factory)
        self.assertEqual([event["session"] for event in self.events.named("opened")], [1, 2, 3])
        self.assertEqual(len(factory.sessions), 3)

    def test_brokenProtection(self) -> None:
        """
        A protection that fails when it is closed does not keep the session from ending.
        """
        method = PrivateAuthenticator()
        factory = self.serve(method)
        caller = self.call(factory)
        caller.say(b"\x05\x01\x80" + method.message("alice"))
        self.patch(method.protections[0], "close", lambda: 1 / 0)
        caller.abort()
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events.names[-2:], ["broken", "closed"])
        self.assertOver(factory)

    def test_brokenPolicy(self) -> None:
        """
        A policy with a fault admits nobody.
        """
        self.patch(self.policy, "judgeClient", lambda client: 1 / 0)
        factory = self.serve()
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(caller.answers, [])
        self.assertOver(factory)

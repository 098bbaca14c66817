"""
Tests for L{txsocks5.server}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from twisted.internet import tcp
from twisted.protocols.policies import WrappingFactory

from txsocks5 import Anonymous, SOCKS5Factory, local
from txsocks5.config import Network, Timeouts
from txsocks5.junction import Junction
from txsocks5.policy import DefaultPolicy
from txsocks5.testing import (
    ScriptedAuthenticator,
    ScriptedPolicy,
)
from txsocks5.wire import Address

from .accepted import AcceptedFixture, connect
from .served import (
    ASSOCIATE,
    CONNECT,
    CONNECT_NAME,
    GRANTED,
    GREETING,
    OUTGOING,
    SELECTED,
    ReconfiguredTestCase,
    ServedTestCase,
    accepted,
    failure,
    reconfigured,
)


class ReconfigureTests(ReconfiguredTestCase):
    """
    Tests for L{SOCKS5Factory.reconfigure}: the server serves in another way while sessions are
    under way.
    """

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

    def test_unknownYet(self) -> None:
        """
        Whoever has not chosen a method chooses among the new ones.
        """
        factory = self.serve()
        caller = self.call(factory)
        self.assertEqual(self.reconfigure(factory, self.passwords(b"alice")), 0)
        caller.say(GREETING + CONNECT)
        self.assertEqual(caller.answers, [b"\x05\xff"])

    def test_replaced(self) -> None:
        """
        A method that can take back whom it has let in is told of the one of the same number that
        was there before it.
        """
        before, after = self.passwords(b"alice"), self.passwords(b"alice")
        factory = self.serve(Anonymous(), before)
        replaced: list[object] = []
        self.patch(after, "replaces", replaced.append)
        self.reconfigure(factory, after)
        self.reconfigure(factory, Anonymous())
        self.reconfigure(factory, after)
        self.assertEqual(replaced, [before])

    def test_unchanged(self) -> None:
        """
        Settings that contradict each other change nothing.
        """
        factory = self.serve()
        refused = (Anonymous(), Anonymous())
        self.assertRaises(ValueError, self.reconfigure, factory, *refused, policy=ScriptedPolicy())
        caller = self.call(factory)
        caller.say(GREETING + CONNECT)
        self.answer()
        self.assertEqual(caller.answers, [SELECTED, GRANTED])
        self.assertEqual(len(self.policy.questions), 1)

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


class FactoryTests(ServedTestCase):
    """
    Tests for what L{SOCKS5Factory} makes for its clients.
    """

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


class AcceptingTests(AcceptedFixture):
    """
    Tests for a server whose reactor lets it do without transports.
    """

    def test_takenOver(self) -> None:
        """
        It accepts the clients of a plain port, and the port does not any more.
        """
        self.serve()
        self.assertNotIn(self.port, self.reactor.readers)
        for _ in range(2):
            caller = self.call()
            caller.send(GREETING)
            self.hear(caller, SELECTED)

    def test_notTakenOver(self) -> None:
        """
        A port of another kind, and one whose clients go through something else first, accept their
        clients themselves.
        """

        class Special(tcp.Port):
            """
            A port that may do more.
            """

        factory = self.make()
        wrapping = WrappingFactory(factory)
        for port in (self.open(wrapping), self.open(factory, Special)):
            self.assertIsNone(factory.takeOver(port))
            self.assertIn(port, self.reactor.readers)

    def test_notWithout(self) -> None:
        """
        Where the reactor does not let it, no port is taken over.
        """
        self.patch(Junction, "worksWith", staticmethod(lambda reactor: False))
        factory = self.make()
        self.assertIsNone(factory.takeOver(self.open(factory)))

    def test_dialer(self) -> None:
        """
        It connects by itself, from the address that is set; also if that has become another one.
        """
        target = self.listening()
        factory = self.serve(network=Network(outgoing=(ip_address("127.0.0.3"),)))
        for source in ("127.0.0.3", "127.0.0.4"):
            caller = self.call()
            caller.send(GREETING)
            self.hear(caller, SELECTED)
            caller.send(connect(target))
            self.until(lambda caller=caller: caller.received, caller)
            with target.accept()[0] as accepted:
                self.assertEqual(accepted.getpeername()[0], source)
            self.successResultOf(
                reconfigured(
                    factory,
                    authenticators=(Anonymous(),),
                    policy=self.policy,
                    resolver=self.resolver,
                    network=Network(outgoing=(ip_address("127.0.0.4"),)),
                )
            )

    def test_leaves(self) -> None:
        """
        When nobody listens any more nothing is left in the reactor, but not before the last session
        has ended.
        """
        factory = self.serve()
        caller = self.call()
        self.until(lambda: factory.sessions)
        self.close()
        caller.send(GREETING)
        self.hear(caller, SELECTED)
        self.assertEqual(len(self.reactor.readers), 1)
        caller.abort()
        self.until(lambda: not factory.sessions)
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))

    def test_stays(self) -> None:
        """
        While somebody listens it stays there.
        """
        factory = self.serve()
        self.call().abort()
        self.until(lambda: self.events.named("closed"))
        self.assertEqual((factory.sessions, len(self.reactor.readers)), (set(), 1))

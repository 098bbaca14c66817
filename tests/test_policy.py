"""
Tests for L{txsocks5.policy}.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, ip_address

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import local
from txsocks5.config import User
from txsocks5.errors import Overloaded, ReplyCode, replyCodeOf
from txsocks5.interfaces import Identity, IPolicy, Question, Verdict
from txsocks5.policy import DefaultPolicy, ExpiringPolicy, SelfProtectingPolicy
from txsocks5.testing import ScriptedPolicy
from txsocks5.wire import Address, Command, IPAddress, Method

from .test_networks import INSIDE, OUTSIDE, forms

CLIENT = IPv4Address("198.51.100.7")
NOBODY = Identity("", Method.NONE)
ALICE = Identity("alice", Method.PASSWORD)
EXAMPLE = Address("example.com", 80)
HOST = IPv4Address("203.0.113.9")
"""
An address of the server itself.
"""

reallyOwn = local.isOwn


def ask(
    command: Command = Command.CONNECT,
    identity: Identity = ALICE,
    destination: Address | None = EXAMPLE,
) -> Question:
    """
    Make a question.
    """
    return Question(identity, CLIENT, command, destination)


class PolicyFixture(SynchronousTestCase):
    """
    A machine with known addresses.
    """

    own: frozenset[IPAddress] = frozenset((HOST, ip_address("2001:db8::9")))

    def setUp(self) -> None:
        """
        Replace what the machine says of its addresses.
        """
        self.machineSays(lambda address: address.is_loopback or address in self.own)

    def machineSays(self, isOwn: Callable[[IPAddress], bool]) -> None:
        """
        Choose what the machine says of its addresses.
        """
        self.patch(local, "isOwn", isOwn)

    def withoutSockets(self) -> None:
        """
        Let the machine run out of file descriptors.
        """

        def isOwn(address: IPAddress) -> bool:
            raise OSError(errno.EMFILE, "too many open files")

        self.machineSays(isOwn)


class ExposedBeforeTests(PolicyFixture):
    """
    A local server, of which others had asked something before it was one.
    """

    def test_asExposed(self) -> None:
        """
        They are judged as what they were: public addresses, and no BIND.
        """
        policy = DefaultPolicy(local=True)
        question = attrs.evolve(ask(), exposed=True)
        self.assertEqual(policy.judgeRequest(question).reason, "default: authenticated user")
        self.assertTrue(policy.judgeAddress(question, ip_address("8.8.8.8")).allowed)
        verdict = policy.judgeAddress(question, ip_address("127.0.0.1"))
        self.assertEqual(verdict.reason, "default: loopback address at an exposed server")
        self.assertEqual(
            policy.judgeAddress(question, HOST).reason, "default: the server's own address"
        )
        question = attrs.evolve(ask(Command.BIND), exposed=True)
        self.assertFalse(policy.judgeRequest(question).allowed)

    def test_withoutAuthentication(self) -> None:
        """
        Without authentication only if an exposed server would serve them.
        """
        question = attrs.evolve(ask(identity=NOBODY), exposed=True)
        for isOpen in (False, True):
            policy = DefaultPolicy(local=True, open=isOpen)
            self.assertIs(policy.judgeRequest(question).allowed, isOpen)


class AdvertisedTests(PolicyFixture):
    """
    An exposed server behind NAT.
    """

    def test_own(self) -> None:
        """
        The address by which clients know it is one of its own (S-05), also by way of a translator.
        """
        policy = DefaultPolicy(own=[ip_address("8.8.4.4")])
        for host in ("8.8.4.4", "64:ff9b::8.8.4.4"):
            verdict = policy.judgeAddress(ask(), ip_address(host))
            self.assertEqual(verdict.reason, "default: the server's own address")
        self.assertTrue(policy.judgeAddress(ask(), ip_address("8.8.8.8")).allowed)


class LocalTests(PolicyFixture):
    """
    A server that only its own machine can reach.
    """

    def setUp(self) -> None:
        """
        Make its policy.
        """
        super().setUp()
        self.policy = DefaultPolicy(local=True)

    def test_interface(self) -> None:
        """
        It is a policy.
        """
        self.assertTrue(verifyObject(IPolicy, self.policy))

    def test_anonymous(self) -> None:
        """
        Clients need not authenticate.
        """
        for client in (IPv4Address("127.0.0.1"), None):
            self.assertEqual(
                self.policy.judgeClient(client), Verdict(True, "default: local server")
            )

    def test_commands(self) -> None:
        """
        Everything may be asked for, BIND as well (R-1928-54).
        """
        for command in Command:
            for identity in (NOBODY, ALICE):
                self.assertTrue(self.policy.judgeRequest(ask(command, identity)).allowed)
        self.assertTrue(self.policy.judgeRequest(ask(Command.UDP_ASSOCIATE, NOBODY, None)).allowed)

    def test_addresses(self) -> None:
        """
        Clients reach what they would reach without the proxy.
        """
        for texts in INSIDE.values():
            for text in texts:
                self.assertTrue(self.policy.judgeAddress(ask(), ip_address(text)).allowed, text)
        self.assertTrue(self.policy.judgeAddress(ask(), HOST).allowed)


class ExposedTests(PolicyFixture):
    """
    A server that other machines can reach.
    """

    def setUp(self) -> None:
        """
        Make its policy, which is what you get without saying anything.
        """
        super().setUp()
        self.policy = DefaultPolicy()

    def test_interface(self) -> None:
        """
        It is a policy.
        """
        self.assertTrue(verifyObject(IPolicy, self.policy))

    def test_anonymous(self) -> None:
        """
        Nobody is served without authentication, not even from the same machine (R-1928-11,
        S-04).
        """
        for client in (CLIENT, IPv4Address("127.0.0.1"), None):
            self.assertEqual(
                self.policy.judgeClient(client),
                Verdict(False, "default: an exposed server wants authentication"),
            )

    def test_anonymousAllowed(self) -> None:
        """
        Unless the operator has said so; then everybody is.
        """
        policy = DefaultPolicy(open=True)
        self.assertEqual(policy.judgeClient(CLIENT), Verdict(True, "default: open server"))
        self.assertEqual(
            policy.judgeRequest(ask(identity=NOBODY)), Verdict(True, "default: open server")
        )

    def test_commands(self) -> None:
        """
        Users may use CONNECT and UDP ASSOCIATE.
        """
        for command in (Command.CONNECT, Command.UDP_ASSOCIATE):
            self.assertEqual(
                self.policy.judgeRequest(ask(command)),
                Verdict(True, "default: authenticated user"),
            )

    def test_namelessUser(self) -> None:
        """
        Who has authenticated by a method that tells no name has authenticated all the same.
        """
        self.assertEqual(
            self.policy.judgeRequest(ask(identity=Identity("", 0x80))).reason,
            "default: authenticated user",
        )

    def test_bind(self) -> None:
        """
        BIND would open ports to the world, so it wants a rule (R-1928-54, S-16).
        """
        for policy in (self.policy, DefaultPolicy(open=True)):
            self.assertEqual(
                policy.judgeRequest(ask(Command.BIND)),
                Verdict(False, "default: BIND at an exposed server only by rule"),
            )

    def test_floor(self) -> None:
        """
        Addresses that only the server can see are refused, whoever asks and however the
        address is hidden; the reason names the set (S-05, S-07).
        """
        for policy in (self.policy, DefaultPolicy(open=True)):
            for name, texts in INSIDE.items():
                refusal = Verdict(False, f"default: {name} address at an exposed server")
                for text in texts:
                    address = ip_address(text)
                    self.assertEqual(policy.judgeAddress(ask(), address), refusal)
                    if address.version == 4 and text != "0.0.0.0":
                        for hidden in forms(text).values():
                            self.assertEqual(policy.judgeAddress(ask(), hidden), refusal)

    def test_floorHoldsForAllCommands(self) -> None:
        """
        Datagrams and the peers of BIND are held to the same.
        """
        for command in Command:
            verdict = self.policy.judgeAddress(ask(command), IPv4Address("10.0.0.1"))
            self.assertFalse(verdict.allowed)

    def test_public(self) -> None:
        """
        Everything else is reached.
        """
        for text in OUTSIDE:
            self.assertEqual(
                self.policy.judgeAddress(ask(), ip_address(text)),
                Verdict(True, "default: public address"),
            )

    def test_own(self) -> None:
        """
        The server's own public addresses are not, on any port: what listens there may trust
        the machine (S-05).
        """
        for address in self.own:
            self.assertEqual(
                self.policy.judgeAddress(ask(), address),
                Verdict(False, "default: the server's own address"),
            )

    def test_ownEmbedded(self) -> None:
        """
        Nor by way of a translator (S-07).
        """
        for form, hidden in forms(str(HOST)).items():
            # Read in the other way, one of them holds a reserved address.
            if "another" not in form:
                self.assertEqual(
                    self.policy.judgeAddress(ask(), hidden),
                    Verdict(False, "default: the server's own address"),
                )

    def test_ownUnknown(self) -> None:
        """
        If it cannot be told because the server has run out of file descriptors, the request
        fails, and the client is told that it is the server's trouble (R-1928-39).
        """
        self.withoutSockets()
        error = self.assertRaises(
            Overloaded, self.policy.judgeAddress, ask(), ip_address("192.0.2.1")
        )
        self.assertEqual(replyCodeOf(error), ReplyCode.GENERAL_FAILURE)

    def test_realMachine(self) -> None:
        """
        The addresses of a real machine are found out without asking for a list of them.
        """
        self.machineSays(reallyOwn)
        self.assertTrue(self.policy.judgeAddress(ask(), ip_address("192.0.2.1")).allowed)
        self.assertTrue(local.isOwn(IPv4Address("127.0.0.1")))


class ExpiringTests(PolicyFixture):
    """
    Users whose time ends.
    """

    def setUp(self) -> None:
        """
        Let time end for alice, in front of a policy that allows everything.
        """
        super().setUp()
        self.inner = ScriptedPolicy()
        self.clock = Clock()
        self.clock.advance(datetime(2027, 1, 30, 23, 59, 59, tzinfo=UTC).timestamp())

    def policy(self, expires: datetime | None) -> ExpiringPolicy:
        """
        Make a policy for a user.
        """
        return ExpiringPolicy(self.inner, {"alice": User(expires=expires)}, self.clock.seconds)

    def test_interface(self) -> None:
        """
        It is a policy.
        """
        self.assertTrue(verifyObject(IPolicy, self.policy(None)))

    def test_ends(self) -> None:
        """
        Until the moment itself nothing is refused, and from then on everything, whatever the
        policy says; the moment may be given with or without its time zone.
        """
        naive = datetime(2027, 1, 31)
        paris = datetime(2027, 1, 31, 1, tzinfo=timezone(timedelta(hours=1)))
        for policy, text in (
            (self.policy(naive), "2027-01-31T00:00:00+00:00"),
            (self.policy(naive.replace(tzinfo=UTC)), "2027-01-31T00:00:00+00:00"),
            (self.policy(paris), "2027-01-31T01:00:00+01:00"),
        ):
            refusal = Verdict(False, f"default: the user expired at {text}")
            start = self.clock.rightNow
            for command in Command:
                self.assertTrue(policy.judgeRequest(ask(command)).allowed)
                self.assertTrue(policy.judgeAddress(ask(command), CLIENT).allowed)
            self.clock.advance(1)
            for command in Command:
                self.assertEqual(policy.judgeRequest(ask(command)), refusal)
                self.assertEqual(policy.judgeRequest(ask(command, destination=None)), refusal)
                self.assertEqual(policy.judgeAddress(ask(command), CLIENT), refusal)
            self.clock.rightNow = start

    def test_anyMethod(self) -> None:
        """
        It does not matter how the user has authenticated.
        """
        policy = self.policy(datetime(2026, 1, 1))
        for method in (Method.GSSAPI, Method.PASSWORD, 0x80):
            self.assertFalse(policy.judgeRequest(ask(identity=Identity("alice", method))).allowed)

    def test_others(self) -> None:
        """
        All else is for the policy behind it: users without an end, and clients without a name.
        """
        self.inner.client = Verdict(False, "client")
        self.inner.request = Verdict(False, "request")
        self.inner.addresses["192.0.2.1"] = Verdict(False, "address")
        for policy, identity in (
            (self.policy(None), ALICE),
            (self.policy(datetime(2026, 1, 1)), Identity("bob", Method.PASSWORD)),
            (self.policy(datetime(2026, 1, 1)), NOBODY),
        ):
            question = ask(identity=identity)
            self.assertEqual(policy.judgeClient(CLIENT).reason, "client")
            self.assertEqual(policy.judgeRequest(question).reason, "request")
            address = policy.judgeAddress(question, ip_address("192.0.2.1"))
            self.assertEqual(address.reason, "address")


class SelfProtectingTests(PolicyFixture):
    """
    Nobody reaches the server through itself (S-18).
    """

    def setUp(self) -> None:
        """
        Protect a server whose policy allows everything.
        """
        super().setUp()
        self.inner = ScriptedPolicy()
        self.listeners: set[Address] = set()
        self.policy = SelfProtectingPolicy(self.inner, self.listeners)

    def test_replaced(self) -> None:
        """
        Another policy can stand behind it, which is told by a number.
        """
        self.assertEqual(self.policy.version, 0)
        self.policy.replace(DefaultPolicy())
        self.assertEqual(self.policy.version, 1)
        self.assertFalse(self.policy.judgeClient(None).allowed)

    def listen(self, host: str, port: int = 1080) -> None:
        """
        The server begins to listen.
        """
        self.listeners.add(Address(ip_address(host), port))

    def reaches(self, host: str, port: int = 1080, command: Command = Command.CONNECT) -> bool:
        """
        Whether a client may go there.
        """
        address = ip_address(host)
        question = ask(command, destination=Address(address, port))
        verdict = self.policy.judgeAddress(question, address)
        if not verdict.allowed:
            self.assertEqual(verdict.reason, "default: the server's own address")
        return verdict.allowed

    def test_interface(self) -> None:
        """
        It is a policy.
        """
        self.assertTrue(verifyObject(IPolicy, self.policy))

    def test_othersDecide(self) -> None:
        """
        All else is for the policy behind it.
        """
        self.inner.client = Verdict(False, "client")
        self.inner.request = Verdict(False, "request")
        self.inner.addresses["192.0.2.1"] = Verdict(False, "address")
        self.listen("127.0.0.1")
        self.assertEqual(self.policy.judgeClient(CLIENT).reason, "client")
        self.assertEqual(self.policy.judgeRequest(ask()).reason, "request")
        self.assertEqual(self.policy.judgeAddress(ask(), ip_address("192.0.2.1")).reason, "address")

    def test_same(self) -> None:
        """
        The address and port of a listener are not reached, other ports and addresses are.
        """
        self.listen("127.0.0.1")
        self.listen("::1", 1081)
        self.assertFalse(self.reaches("127.0.0.1"))
        self.assertFalse(self.reaches("::1", 1081))
        self.assertTrue(self.reaches("127.0.0.1", 1081))
        self.assertTrue(self.reaches("::1"))
        self.assertTrue(self.reaches("127.0.0.2"))
        self.assertTrue(self.reaches("192.0.2.1"))

    def test_mapped(self) -> None:
        """
        It is the same address in its IPv4-mapped form, which a resolver of somebody else may
        give (S-07, R-1928-34).
        """
        self.listen("127.0.0.1")
        self.assertFalse(self.reaches("::ffff:127.0.0.1"))
        self.reaches("::ffff:192.0.2.1")
        self.assertEqual(self.inner.asked[-1][1], IPv4Address("192.0.2.1"))

    def test_embedded(self) -> None:
        """
        It is reached by a translator as well.
        """
        self.listen(str(HOST))
        for hidden in forms(str(HOST)).values():
            self.assertFalse(self.reaches(str(hidden)))
            self.assertTrue(self.reaches(str(hidden), 1081))

    def test_advertised(self) -> None:
        """
        Nor is it reached by the address that clients know it by, which NAT makes one of its own;
        but at loopback, where NAT leads nobody.
        """
        self.policy.advertised = (ip_address("198.51.100.99"), ip_address("2001:db8::99"))
        for listener in ("0.0.0.0", "10.0.0.5", "::"):
            self.listeners.clear()
            self.listen(listener)
            self.assertFalse(self.reaches("198.51.100.99"), listener)
            self.assertFalse(self.reaches("2001:db8::99"), listener)
            self.assertFalse(self.reaches("64:ff9b::198.51.100.99"), listener)
            self.assertTrue(self.reaches("198.51.100.99", 1081), listener)
            self.assertTrue(self.reaches("198.51.100.98"), listener)
        self.listeners.clear()
        self.listen("127.0.0.1")
        self.assertTrue(self.reaches("198.51.100.99"))

    def test_unspecified(self) -> None:
        """
        The system takes C{0.0.0.0} and C{::} for its loopback address.
        """
        for listener in ("127.0.0.1", "::1", "0.0.0.0", "::", str(HOST)):
            self.listeners.clear()
            self.listen(listener)
            self.assertFalse(self.reaches("0.0.0.0"), listener)
            self.assertFalse(self.reaches("::"), listener)
            self.assertTrue(self.reaches("0.0.0.0", 80), listener)

    def test_wildcard(self) -> None:
        """
        A listener on all interfaces is reached by every IPv4 address of the machine.
        """
        self.listen("0.0.0.0")
        self.assertFalse(self.reaches("127.0.0.1"))
        self.assertFalse(self.reaches("127.1.2.3"))
        self.assertFalse(self.reaches(str(HOST)))
        self.assertTrue(self.reaches(str(HOST), 1081))
        self.assertTrue(self.reaches("192.0.2.1"))

    def test_wildcardOfOneFamily(self) -> None:
        """
        But by none of its IPv6 addresses.
        """
        self.listen("0.0.0.0")
        self.assertTrue(self.reaches("::1"))
        self.assertTrue(self.reaches("2001:db8::9"))

    def test_dualStack(self) -> None:
        """
        One on all IPv6 interfaces is reached by the IPv4 addresses, too.
        """
        self.listen("::")
        for host in ("::1", "2001:db8::9", "127.0.0.1", str(HOST)):
            self.assertFalse(self.reaches(host), host)
        self.assertTrue(self.reaches("192.0.2.1"))
        self.assertTrue(self.reaches("2001:db8::1"))

    def test_severalListeners(self) -> None:
        """
        Every listener counts, also those that were added after the policy was made.
        """
        self.listen("127.0.0.1")
        self.assertTrue(self.reaches(str(HOST), 9050))
        self.listen("0.0.0.0", 9050)
        self.assertFalse(self.reaches(str(HOST), 9050))
        self.listeners.clear()
        self.assertTrue(self.reaches("127.0.0.1"))

    def test_wildcardUnknown(self) -> None:
        """
        Without a file descriptor to find out with, the request fails as the server's trouble;
        where there is nothing to find out it does not.
        """
        self.withoutSockets()
        self.listen("0.0.0.0")
        self.assertRaises(Overloaded, self.reaches, "192.0.2.1")
        self.assertTrue(self.reaches("192.0.2.1", 80))

    def test_datagrams(self) -> None:
        """
        It holds for datagrams as well.
        """
        self.listen("127.0.0.1")
        self.assertFalse(self.reaches("127.0.0.1", command=Command.UDP_ASSOCIATE))

    def test_peersMayHaveAnyPort(self) -> None:
        """
        The port of a BIND is not one that the server connects to.
        """
        self.listen("127.0.0.1")
        self.assertTrue(self.reaches("127.0.0.1", command=Command.BIND))

    def test_associationItself(self) -> None:
        """
        A question without a destination is left to the policy.
        """
        self.listen("127.0.0.1")
        question = ask(Command.UDP_ASSOCIATE, destination=None)
        self.assertTrue(self.policy.judgeAddress(question, IPv4Address("127.0.0.1")).allowed)

    def test_nameThatLeadsHere(self) -> None:
        """
        A name is judged by the address it leads to (S-06).
        """
        self.listen("127.0.0.1", 80)
        self.assertFalse(self.policy.judgeAddress(ask(), IPv4Address("127.0.0.1")).allowed)

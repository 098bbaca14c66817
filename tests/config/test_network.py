"""
Tests for L{txsocks5.config._network}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import PREFERENCES, Failures, Network, Timeouts, ofFamily
from txsocks5.wire import Command

FOUR = IPv4Address("203.0.113.5")
SIX = IPv6Address("2001:db8::5")


class DefaultsTests(SynchronousTestCase):
    """
    What holds if nothing is said.
    """

    def test_failures(self) -> None:
        """
        A wrong password costs half a second, and twenty within five minutes are enough.
        """
        self.assertEqual(attrs.asdict(Failures()), {"delay": 0.5, "limit": 20, "window": 300})

    def test_timeouts(self) -> None:
        """
        30 seconds for the handshake (R-1928-03) and to connect (R-1928-46), 120 to wait for a
        peer (R-1928-62), 300 for a half-closed relay (R-1928-49) and an idle association
        (R-1928-75), none for an idle relay (R-1928-52), and 3 to linger (R-1928-41).
        """
        self.assertEqual(
            attrs.asdict(Timeouts()),
            {
                "handshake": 30,
                "connect": 30,
                "bind": 120,
                "idle": 0,
                "halfClosed": 300,
                "udpIdle": 300,
                "drain": 30,
                "linger": 3,
            },
        )

    def test_network(self) -> None:
        """
        All commands are served, the system chooses addresses and ports, fragments are put
        together (R-1928-89), only hosts that were sent to may answer (R-1928-84), and RSV does
        not matter (R-1928-21).
        """
        network = Network()
        self.assertEqual(network.commands, set(Command))
        self.assertEqual((network.advertise, network.outgoing, network.ports), ((), (), None))
        self.assertEqual(network.prefer, "happy-eyeballs")
        self.assertTrue(network.udpReassembly)
        self.assertFalse(network.udpFullCone)
        self.assertFalse(network.strict)


class ValuesTests(SynchronousTestCase):
    """
    What can be said.
    """

    def test_prefer(self) -> None:
        """
        A preference is one of five words.
        """
        for word in PREFERENCES:
            self.assertEqual(Network(prefer=word).prefer, word)
        self.assertRaises(ValueError, Network, prefer="ipv5")

    def test_linger(self) -> None:
        """
        A refused client is waited for, but gone within 10 seconds (R-1928-40).
        """
        self.assertEqual(Timeouts(linger=9.5).linger, 9.5)
        for seconds in (0, -1, 10, 60, float("nan"), True, "1"):
            self.assertRaises(ValueError, Timeouts, linger=seconds)

    def test_addresses(self) -> None:
        """
        Addresses can be given as text; an IPv4-mapped one is the IPv4 address; what is none, or
        one too many of a family, is refused.
        """
        network = Network(advertise=("::ffff:192.0.2.1",), outgoing=["2001:db8::1", "192.0.2.2"])
        self.assertEqual(network.advertise, (ip_address("192.0.2.1"),))
        self.assertEqual(network.outgoing, (ip_address("2001:db8::1"), ip_address("192.0.2.2")))
        for wrong in (("example.com",), ("192.0.2.1", "192.0.2.2")):
            self.assertRaises(ValueError, Network, advertise=wrong)
            self.assertRaises(ValueError, Network, outgoing=wrong)

    def test_commands(self) -> None:
        """
        What is no command is refused.
        """
        self.assertEqual(
            Network(commands=[1, 3]).commands, {Command.CONNECT, Command.UDP_ASSOCIATE}
        )
        self.assertRaises(ValueError, Network, commands=["connect"])

    def test_noCommands(self) -> None:
        """
        A server that does nothing is a mistake.
        """
        error = self.assertRaises(ValueError, Network, commands=[])
        self.assertEqual(str(error), "commands: found an empty array; allowed: at least one entry")

    def test_advertise(self) -> None:
        """
        Clients would take the unspecified address literally (R-1928-69).
        """
        for wrong in ("0.0.0.0", "::", "::ffff:0.0.0.0"):
            error = self.assertRaises(ValueError, Network, advertise=[wrong])
            self.assertIn("advertise: found ", str(error))

    def test_resolver(self) -> None:
        """
        Somebody has to be asked for names, by address.
        """
        servers = ("192.0.2.53", "system")
        self.assertEqual(Network(resolver=servers).resolver, servers)
        for wrong in ((), ("dns.example",)):
            self.assertRaises(ValueError, Network, resolver=wrong)

    def test_ports(self) -> None:
        """
        Ports are a range.
        """
        self.assertEqual(Network(ports=range(1, 3)).ports, range(1, 3))
        self.assertRaises(TypeError, Network, ports=(1, 2))

    def test_notNegative(self) -> None:
        """
        Times and numbers are numbers from 0 up; the error says which is not.
        """
        for wrong in (-1, "x", float("nan"), float("inf"), True, None):
            for kind, name in (
                (Timeouts, "handshake"),
                (Timeouts, "udpIdle"),
                (Failures, "delay"),
                (Failures, "limit"),
                (Failures, "window"),
            ):
                error = self.assertRaises(ValueError, kind, **{name: wrong})
                self.assertIn(name, str(error))

    def test_frozen(self) -> None:
        """
        What sessions share cannot be changed under them.
        """
        for settings in (Failures(), Network(), Timeouts()):
            for field in attrs.fields(type(settings)):
                with self.assertRaises(attrs.exceptions.FrozenInstanceError):
                    setattr(settings, field.name, None)

    def test_keywordsOnly(self) -> None:
        """
        Seconds and limits are named where they are given.
        """
        for settings in (Failures, Network, Timeouts):
            self.assertRaises(TypeError, settings, 1)


class FamilyTests(SynchronousTestCase):
    """
    One address for each family.
    """

    def test_ofFamily(self) -> None:
        """
        The first of the family is found.
        """
        self.assertEqual(ofFamily(4, (SIX, FOUR)), FOUR)
        self.assertEqual(ofFamily(6, (SIX, FOUR)), SIX)
        self.assertIsNone(ofFamily(6, (FOUR,)))
        self.assertIsNone(ofFamily(4, ()))

    def test_advertised(self) -> None:
        """
        Behind NAT, clients are told the advertised address of the family that they use
        (R-1928-56, R-1928-69), and else the real one.
        """
        network = Network(advertise=(FOUR,))
        self.assertEqual(network.advertised(IPv4Address("10.0.0.5")), FOUR)
        self.assertEqual(network.advertised(IPv6Address("fd00::5")), IPv6Address("fd00::5"))
        self.assertEqual(Network(advertise=(SIX,)).advertised(IPv6Address("fd00::5")), SIX)

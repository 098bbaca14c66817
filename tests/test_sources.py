"""
Tests for L{txsocks5.sources}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.sources import MAX_SOURCES, Sources
from txsocks5.wire import Address

HOST = "192.0.2.7"
SIX = "2001:db8::7"


def numbered(number: int) -> str:
    """
    One of many hosts.
    """
    return str(IPv4Address("198.18.0.0") + number)


class SourcesTests(SynchronousTestCase):
    """
    Tests for L{Sources}.
    """

    def setUp(self) -> None:
        """
        Make those of an association.
        """
        self.sources = Sources(False)

    def test_allowed(self) -> None:
        """
        R-1928-84: who is allowed may answer, from any port, and nobody else.
        """
        self.assertIsNone(self.sources.header((HOST, 53)))
        self.sources.allow(HOST)
        for port in (53, 4711):
            self.assertIsNotNone(self.sources.header((HOST, port)))
        self.assertIsNone(self.sources.header(("192.0.2.8", 53)))

    def test_everybody(self) -> None:
        """
        R-1928-84: or else everybody may.
        """
        self.assertIsNotNone(Sources(True).header((HOST, 53)))

    def test_header(self) -> None:
        """
        R-1928-82: the header has RSV, FRAG 0, and the numeric address of the peer; it stays.
        """
        self.sources.allow(HOST)
        known = self.sources.header((HOST, 53))
        address = Address(ip_address(HOST), 53)
        self.assertEqual(known, (bytes.fromhex("000000 01 C0000207 0035"), address))
        self.assertIs(self.sources.header((HOST, 53)), known)

    def test_ipv6(self) -> None:
        """
        What the system says of a peer beside its address and port is no part of the header; a
        mapped address is the one of IPv4 (R-1928-34).
        """
        for host in (SIX, HOST, "fe80::7"):
            self.sources.allow(host)
        for peer, address in (
            ((SIX, 53, 0, 0), f"[{SIX}]:53"),
            (("::ffff:" + HOST, 53, 0, 0), f"{HOST}:53"),
            (("fe80::7%eth0", 53, 0, 2), "[fe80::7]:53"),
        ):
            known = self.sources.header(peer)
            assert known is not None
            self.assertEqual(str(known[1]), address)

    def test_hostsAreBounded(self) -> None:
        """
        So many hosts may answer; the oldest is forgotten first, even if it has answered, until it
        is allowed again.
        """
        for number in range(MAX_SOURCES):
            self.sources.allow(numbered(number))
        self.assertIsNotNone(self.sources.header((numbered(0), 53)))
        self.sources.allow(numbered(5))
        self.assertIsNotNone(self.sources.header((numbered(0), 53)))
        self.sources.allow(HOST)
        self.assertIsNone(self.sources.header((numbered(0), 53)))
        self.assertIsNotNone(self.sources.header((numbered(1), 53)))
        self.sources.allow(numbered(0))
        self.assertIsNotNone(self.sources.header((numbered(0), 53)))

    def test_forbidden(self) -> None:
        """
        One may not answer any more; the others may.
        """
        self.sources.allow(HOST)
        self.sources.allow(SIX)
        self.sources.header((HOST, 53))
        self.sources.forbid(HOST)
        self.sources.forbid(numbered(1))
        self.assertIsNone(self.sources.header((HOST, 53)))
        self.assertIsNotNone(self.sources.header((SIX, 53)))

    def test_restricted(self) -> None:
        """
        Of those that may answer only some may from now on, and no other for it.
        """
        self.sources.allow(HOST)
        self.sources.allow(SIX)
        self.sources.header((HOST, 53))
        self.sources.restrict({SIX, numbered(1)})
        self.assertIsNone(self.sources.header((HOST, 53)))
        self.assertIsNotNone(self.sources.header((SIX, 53)))
        self.assertIsNone(self.sources.header((numbered(1), 53)))

    def test_peersAreBounded(self) -> None:
        """
        No more headers are kept than that, however many ports there are.
        """
        self.sources.allow(HOST)
        for port in range(1, MAX_SOURCES + 11):
            self.assertIsNotNone(self.sources.header((HOST, port)))
        self.assertLessEqual(len(self.sources._headers), MAX_SOURCES)

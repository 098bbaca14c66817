"""
Tests for L{txsocks5.config._values}.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time, timedelta, timezone
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.config import COMMANDS, readNameServer
from txsocks5.config import _values as values
from txsocks5.config._forms import BadValue, Form, formOf
from txsocks5.config._values import addresses
from txsocks5.wire import Address, Command

from ..test_exposure import EXPOSED, LOCAL, NONSENSE
from .test_forms import ANYTHING

OFFSET = timezone(timedelta(hours=2))


def form(kind: object) -> Form:
    """
    The form of a type.
    """
    found = formOf(kind)
    assert found is not None
    return found


class ReadingTests(SynchronousTestCase):
    """
    What a file may say.
    """

    def assertReads(self, kind: object, right: dict[Any, Any], wrong: Any) -> None:
        """
        What is C{right} is read as something, what is C{wrong} is refused.
        """
        for value, meaning in right.items():
            self.assertEqual(form(kind).read(value), meaning)
        for value in wrong:
            error = self.assertRaises(BadValue, form(kind).read, value)
            self.assertTrue(str(error).isprintable(), str(error))

    def test_commands(self) -> None:
        """
        The commands have three words.
        """
        self.assertReads(
            values.CommandWord,
            {
                "connect": Command.CONNECT,
                "bind": Command.BIND,
                "udp": Command.UDP_ASSOCIATE,
            },
            ("CONNECT", "udp_associate", "associate", "", 1, True, None, ["udp"]),
        )
        for word, command in COMMANDS.items():
            self.assertEqual(form(values.CommandWord).write(command), f'"{word}"')

    def test_addresses(self) -> None:
        """
        An IPv4-mapped address is the IPv4 address; one with a zone means nothing to others.
        """
        self.assertReads(
            values.AddressText,
            {
                "192.0.2.9": ip_address("192.0.2.9"),
                "2001:DB8::9": ip_address("2001:db8::9"),
                "::ffff:192.0.2.9": ip_address("192.0.2.9"),
            },
            ("192.0.2", "192.0.2.9/32", "[2001:db8::9]", "fe80::1%lo", "example.com", "", 1, None),
        )
        self.assertEqual(form(values.AddressText).write(ip_address("192.0.2.9")), '"192.0.2.9"')

    def test_ports(self) -> None:
        """
        Ports to listen at are a range that has both of its ends; port 0 is none of them.
        """
        self.assertReads(
            values.Ports,
            {"20000-29999": range(20000, 30000), "1-65535": range(1, 65536), "7-7": range(7, 8)},
            ("0-5", "5-4", "1-65536", "5", "5-", "-5", "5 - 6", "5-6-7", "1e3-2e3", 5, None, [1]),
        )
        self.assertEqual(form(values.Ports).write(range(20000, 30000)), '"20000-29999"')

    def test_portsOrPort(self) -> None:
        """
        Ports to compare with can be a single one, too, and 0.
        """
        self.assertReads(
            values.PortsOrPort,
            {
                443: range(443, 444),
                0: range(1),
                65535: range(65535, 65536),
                "8000-8999": range(8000, 9000),
                "0-65535": range(65536),
            },
            (-1, 65536, True, 4.0, "443", "8999-8000", "1-70000", "\u0664-\u0665", None, [443]),
        )
        self.assertEqual(form(values.PortsOrPort).write(range(443, 444)), "443")

    @given(some.integers(0, 65535), some.integers(0, 65535))
    def test_portsRoundTrip(self, one: int, other: int) -> None:
        """
        What is written can be read again.
        """
        kind = form(values.PortsOrPort)
        ports = range(min(one, other), max(one, other) + 1)
        [again] = tomllib.loads(f"ports = {kind.write(ports)}").values()
        self.assertEqual(kind.read(again), ports)

    def test_moments(self) -> None:
        """
        A date is its beginning in UTC; a time without offset would be another one elsewhere.
        """
        self.assertReads(
            values.Moment,
            {
                date(2027, 1, 31): datetime(2027, 1, 31, tzinfo=UTC),
                datetime(2027, 1, 31, 12, tzinfo=OFFSET): datetime(2027, 1, 31, 10, tzinfo=UTC),
            },
            (datetime(2027, 1, 31), time(12), "2027-01-31", 2027, None),
        )

    def test_nameServers(self) -> None:
        """
        Servers are addresses, with a port if it is not 53; the system is nobody's address.
        """
        right: dict[str, Address | None] = {
            "system": None,
            "192.0.2.53": Address(ip_address("192.0.2.53"), 53),
            "127.0.0.1:5353": Address(ip_address("127.0.0.1"), 5353),
            "::1": Address(ip_address("::1"), 53),
            "[::1]:5353": Address(ip_address("::1"), 5353),
        }
        for value, server in right.items():
            self.assertEqual(readNameServer(value), server)
            self.assertEqual(form(values.NameServer).read(value), value)
        self.assertReads(
            values.NameServer,
            {},
            (
                "System",
                "dns.example",
                "dns.example:53",
                "192.0.2.53:0",
                "192.0.2.53:65536",
                "192.0.2.53:",
                "[192.0.2.53",
                "fe80::1%lo",
                "0.0.0.0",
                "[::]:53",
                "224.0.0.251:5353",
                "",
                53,
                None,
            ),
        )

    def test_endpoints(self) -> None:
        """
        What C{--listen} takes is taken, and nothing else.
        """
        self.assertReads(values.Endpoint, {each: each for each in LOCAL + EXPOSED}, (5, None, []))
        for nonsense in NONSENSE:
            error = self.assertRaises(BadValue, form(values.Endpoint).read, nonsense)
            self.assertIn("which cannot be used: ", error.found)

    def test_endpointWithoutWords(self) -> None:
        """
        If what is wrong has no text, it has a name.
        """

        def isLocal(description: str) -> bool:
            raise LookupError

        self.patch(values, "isLocal", isLocal)
        error = self.assertRaises(BadValue, form(values.Endpoint).read, "tcp:1")
        self.assertIn("LookupError", error.found)

    @given(ANYTHING | some.text("0123456789.:-[]abcdef%/"))
    def test_nothingElse(self, value: object) -> None:
        """
        Whatever it is, it is read, or refused with words.
        """
        for kind in (
            values.CommandWord,
            values.AddressText,
            values.Ports,
            values.PortsOrPort,
            values.Moment,
            values.NameServer,
        ):
            try:
                form(kind).read(value)
            except BadValue as error:
                self.assertTrue(str(error).isprintable())


class AddressesTests(SynchronousTestCase):
    """
    One address of each family.
    """

    def test_addresses(self) -> None:
        """
        They come in any order, as text or not.
        """
        four, six = ip_address("192.0.2.9"), ip_address("2001:db8::9")
        self.assertEqual(addresses(["2001:db8::9", four]), (six, four))
        self.assertEqual(addresses([]), ())

    def test_wrong(self) -> None:
        """
        Two of a family are one too many, also if one of them is mapped.
        """
        for wrong in (["192.0.2.1", "192.0.2.2"], ["192.0.2.1", "::ffff:192.0.2.2"]):
            self.assertRaises(BadValue, addresses, wrong)
        self.assertRaises(ValueError, addresses, ["example.com"])

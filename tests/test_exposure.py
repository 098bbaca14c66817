"""
Tests for L{txsocks5.exposure}.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.endpoints import _SystemdParser
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.exposure import addressesOf, isLocal

from .certificates import writeCertificate

LOCAL = (
    "tcp:1080:interface=127.0.0.1",
    "tcp:1080:127.0.0.1",
    "tcp:port=1080:interface=127.0.0.1:backlog=5",
    "tcp:1080:interface=127.255.255.254",
    r"tcp:1080:interface=\:\:1",
    r"tcp6:1080:interface=\:\:1",
    r"tcp6:port=1080:interface=0\:0\:0\:0\:0\:0\:0\:1",
    r"tcp6:1080:interface=\:\:1%1",
    r"tcp6:1080:interface=\:\:ffff\:127.0.0.1",
    "unix:/run/txsocks5.sock",
    "unix:/run/txsocks5.sock:mode=660:lockfile=0",
    "haproxy:tcp:1080:interface=127.0.0.1",
    r"haproxy:tcp6:1080:interface=\:\:1",
    "haproxy:unix:/run/txsocks5.sock",
)
"""
Endpoints that only this machine can reach.
"""

EXPOSED = (
    "tcp:1080",
    "tcp:port=1080",
    "tcp:1080:interface=",
    "tcp:1080:interface=0.0.0.0",
    "tcp:1080:interface=192.0.2.1",
    "tcp:1080:interface=10.0.0.1",
    "tcp:1080:interface=128.0.0.1",
    "tcp6:1080",
    r"tcp6:1080:interface=\:\:",
    r"tcp6:1080:interface=2001\:db8\:\:1",
    r"tcp6:1080:interface=\:\:ffff\:192.0.2.1",
    r"tcp6:1080:interface=fe80\:\:1%lo",
    # Names are not looked up: what they stand for is not known before it is too late.
    "tcp:1080:interface=localhost",
    "tcp:1080:interface=127.1",
    "haproxy:tcp:1080",
    "haproxy:tcp6:1080",
    "stdio:",
)
"""
Endpoints that others can reach, or of which that is not known.
"""

NONSENSE = (
    "",
    ":",
    "nonsense",
    "nonsense:",
    "1080",
    "tcp",
    "tcp:",
    "tcp:x",
    "tcp:1080:1080:1080:1080",
    "tcp:1080:nonsense=1",
    "tcp6:x",
    "unix",
    "unix:/run/x:mode=rw",
    "ssl:1080:privateKey=/nonexistent.pem",
    "haproxy:",
    "haproxy:nonsense:1",
    "systemd:domain=INET",
    "systemd:domain=INET:index=0",
    "systemd:domain=INET:name=socks",
    "systemd:domain=NONSENSE:index=0",
    "haproxy:systemd:domain=INET:index=0",
)
"""
What is no endpoint at all.
"""


class IsLocalTests(SynchronousTestCase):
    """
    Who can reach a listener (S-04).
    """

    def test_local(self) -> None:
        """
        Loopback addresses, however they are written, and UNIX sockets are local.
        """
        for description in LOCAL:
            self.assertIs(isLocal(description), True, description)

    def test_exposed(self) -> None:
        """
        Everything else is exposed, also what is not known.
        """
        for description in EXPOSED:
            self.assertIs(isLocal(description), False, description)

    def test_nonsense(self) -> None:
        """
        What cannot be listened on is an error, which says why in words.
        """
        for description in NONSENSE:
            error = self.assertRaises((ValueError, TypeError, OSError), isLocal, description)
            self.assertGreater(len(str(error).split()), 2, description)

    def test_tls(self) -> None:
        """
        TLS does not change who can reach a listener.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        pem = writeCertificate(folder)
        self.assertTrue(isLocal(f"ssl:1080:privateKey={pem}:interface=127.0.0.1"))
        self.assertFalse(isLocal(f"ssl:1080:privateKey={pem}"))
        self.assertTrue(isLocal(f"haproxy:ssl:1080:privateKey={pem}:interface=127.0.0.1"))

    def test_nothingHappens(self) -> None:
        """
        Finding out leaves nothing behind: no socket file, no lock.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        self.assertTrue(isLocal(f"unix:{folder}/socket"))
        self.assertEqual(list(folder.iterdir()), [])


class AddressesTests(SynchronousTestCase):
    """
    Where a listener would listen.
    """

    def test_addresses(self) -> None:
        """
        Numbers are known, and no interface is all of them; without a port there is no address.
        """
        for description, address in (
            ("tcp:1080", "0.0.0.0:1080"),
            ("tcp:1080:interface=192.0.2.1", "192.0.2.1:1080"),
            ("tcp6:1080", "[::]:1080"),
            (r"tcp6:1080:interface=\:\:ffff\:192.0.2.1", "192.0.2.1:1080"),
            (r"tcp6:1080:interface=fe80\:\:1%lo", "[fe80::1]:1080"),
            ("haproxy:tcp:1080:interface=127.0.0.1", "127.0.0.1:1080"),
            ("tcp:1080:interface=localhost", ""),
            ("tcp:0", ""),
            ("unix:/run/txsocks5.sock", ""),
        ):
            self.assertEqual(", ".join(map(str, addressesOf(description))), address, description)

    def test_nonsense(self) -> None:
        """
        What cannot be listened on is an error here as well.
        """
        for description in NONSENSE:
            self.assertRaises((ValueError, TypeError, OSError), addressesOf, description)


class InheritedTests(SynchronousTestCase):
    """
    Sockets that systemd passes on.
    """

    def inherit(self, *sockets: socket.socket) -> None:
        """
        Let the process have been started with some sockets, named C{zero}, C{one} and so on.
        """
        names = ("zero", "one", "two")[: len(sockets)]
        descriptors = [passed.fileno() for passed in sockets]
        for passed in sockets:
            self.addCleanup(passed.close)
        self.patch(_SystemdParser, "_sddaemon", ListenFDs(descriptors, names))

    def bound(self, family: socket.AddressFamily, host: str) -> socket.socket:
        """
        Make a listening socket.
        """
        made = socket.socket(family)
        made.bind((host, 0))
        made.listen()
        return made

    def test_loopback(self) -> None:
        """
        One on a loopback address is local.
        """
        self.inherit(self.bound(socket.AF_INET, "127.0.0.1"), self.bound(socket.AF_INET6, "::1"))
        self.assertTrue(isLocal("systemd:domain=INET:index=0"))
        self.assertTrue(isLocal("systemd:domain=INET6:index=1"))
        self.assertTrue(isLocal("haproxy:systemd:domain=INET:index=0"))

    def test_exposed(self) -> None:
        """
        One on all addresses is not.
        """
        self.inherit(self.bound(socket.AF_INET, "0.0.0.0"), self.bound(socket.AF_INET6, "::"))
        self.assertFalse(isLocal("systemd:domain=INET:index=0"))
        self.assertFalse(isLocal("systemd:domain=INET6:index=1"))
        self.assertFalse(isLocal("haproxy:systemd:domain=INET:name=zero"))

    def test_address(self) -> None:
        """
        It says where it is.
        """
        made = self.bound(socket.AF_INET, "127.0.0.1")
        self.inherit(made)
        found = addressesOf("systemd:domain=INET:index=0")
        self.assertEqual([(str(each.host), each.port) for each in found], [made.getsockname()])

    def test_otherDomain(self) -> None:
        """
        One of another domain than is said cannot be used: its addresses would be misread.
        """
        self.inherit(self.bound(socket.AF_INET6, "::1"))
        error = self.assertRaises(OSError, isLocal, "systemd:domain=INET:index=0")
        self.assertIn("AF_INET6", str(error))

    def test_thisOne(self) -> None:
        """
        The one that is meant counts, by index or name.
        """
        self.inherit(self.bound(socket.AF_INET, "0.0.0.0"), self.bound(socket.AF_INET, "127.0.0.1"))
        self.assertFalse(isLocal("systemd:domain=INET:index=0"))
        self.assertTrue(isLocal("systemd:domain=INET:index=1"))
        self.assertFalse(isLocal("systemd:domain=INET:name=zero"))
        self.assertTrue(isLocal("systemd:domain=INET:name=one"))
        self.assertRaises(ValueError, isLocal, "systemd:domain=INET:index=2")
        self.assertRaises(ValueError, isLocal, "systemd:domain=INET:name=two")

    def test_unix(self) -> None:
        """
        A UNIX socket is local.
        """
        made = socket.socket(socket.AF_UNIX)
        folder = Path(self.mktemp())
        folder.mkdir()
        made.bind(os.path.relpath(folder / "s"))
        made.listen()
        self.inherit(made)
        self.assertTrue(isLocal("systemd:domain=UNIX:index=0"))

    def test_stillOpen(self) -> None:
        """
        Looking at a socket leaves it open, for the endpoint to take.
        """
        made = self.bound(socket.AF_INET, "127.0.0.1")
        self.inherit(made)
        for _ in range(2):
            self.assertTrue(isLocal("systemd:domain=INET:index=0"))
        client = socket.create_connection(made.getsockname())
        self.addCleanup(client.close)

    def test_noSocket(self) -> None:
        """
        A descriptor that is no socket is an error.
        """
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([reading], ["zero"]))
        self.assertRaises(OSError, isLocal, "systemd:domain=INET:index=0")

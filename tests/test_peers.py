"""
Tests for L{txsocks5.peers}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.peers import hostOf


class HostOfTests(SynchronousTestCase):
    """
    Tests for L{hostOf}.
    """

    def test_hosts(self) -> None:
        """
        R-1928-34: the address of a peer has no scope, and is never a mapped one.
        """
        for peer, host in (
            (("192.0.2.9", 5), "192.0.2.9"),
            (("2001:db8::1", 5, 0, 0), "2001:db8::1"),
            (("fe80::1%eth0", 5), "fe80::1"),
            (("::ffff:192.0.2.9", 5, 0, 0), "192.0.2.9"),
        ):
            self.assertEqual(str(hostOf(peer)), host)

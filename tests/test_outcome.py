"""
Tests for L{txsocks5.outcome}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsocks5.outcome import Outcome

from .wire.values import reproducible

ANY = st.builds(
    Outcome,
    origin=st.binary(max_size=8),
    username=st.binary(max_size=255).map(lambda name: name.decode("utf-8", "surrogateescape")),
    stranger=st.booleans(),
    failed=st.booleans(),
    at=st.floats(0, 2**33),
)


class OutcomeTests(SynchronousTestCase):
    """
    Tests for L{Outcome}.
    """

    @reproducible
    @given(ANY)
    def test_sent(self, outcome: Outcome) -> None:
        """
        It arrives as it was sent, whatever a client takes for a name, in one line of ASCII.
        """
        octets = outcome.octets()
        self.assertEqual(Outcome.read(octets), outcome)
        self.assertTrue(octets.decode("ascii").isprintable())

    def test_somethingElse(self) -> None:
        """
        Nothing else is taken for one.
        """
        for octets in (b"", b"{", b'["zz", "alice", true, true]', b"[1]", b"[]"):
            self.assertRaises((ValueError, TypeError), Outcome.read, octets)

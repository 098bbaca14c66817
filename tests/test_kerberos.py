"""
Tests for the Kerberos realm that other tests live in.
"""

from __future__ import annotations

import os
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase

from .kerberos import ALICE, REALM, realm, whyNoRealm


def introduce(service: str = "socks@localhost") -> str | None:
    """
    Let the holder of the tickets show the holder of the keys who it is.

    @return: whom the latter sees; L{None} if it cannot tell.
    """
    import gssapi

    name = gssapi.Name(service, gssapi.NameType.hostbased_service)
    initiator = gssapi.SecurityContext(name=name, usage="initiate")
    acceptor = gssapi.SecurityContext(usage="accept")
    acceptor.step(initiator.step())
    try:
        complete = acceptor.complete
    except gssapi.exceptions.GSSError:
        # The step before did not raise it, since it had a token for the other side.
        return None
    assert complete
    return str(acceptor.initiator_name)


class RealmTests(SynchronousTestCase):
    """
    Tests for L{Realm <tests.kerberos.Realm>}.
    """

    skip = whyNoRealm()

    def test_tickets(self) -> None:
        """
        The user's tickets are good for the service.
        """
        realm().inhabit(self)
        self.assertEqual(introduce(), f"{ALICE}@{REALM}")

    def test_otherUser(self) -> None:
        """
        More users can log in.
        """
        realm().inhabit(self, KRB5CCNAME=str(realm().login("bob")))
        self.assertEqual(introduce(), f"bob@{REALM}")

    def test_newKey(self) -> None:
        """
        A keytab does not open tickets for a key that came later.
        """
        keytab = realm().file()
        realm().addService("socks/moved.example.org", keytab)
        realm().inhabit(self, KRB5_KTNAME=str(keytab))
        self.assertEqual(introduce("socks@moved.example.org"), f"{ALICE}@{REALM}")
        realm().changeKey("socks/moved.example.org")
        realm().inhabit(self, KRB5CCNAME=str(realm().login("carol")))
        self.assertIsNone(introduce("socks@moved.example.org"))

    def test_leave(self) -> None:
        """
        After a test that lived in the realm, the process is out of it.
        """

        class Visit(SynchronousTestCase):
            def test_visit(self) -> None:
                realm().inhabit(self)

        before = dict(os.environ)
        Visit("test_visit").run(TestResult())
        self.assertEqual(dict(os.environ), before)

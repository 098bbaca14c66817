"""
Tests for L{txsocks5.pam}.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import makeChecker
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsocks5 import pam
from txsocks5.auth import UsernamePassword
from txsocks5.interfaces import IBlockingChecker
from txsocks5.pam import PAMChecker, checkerOf


class Conversation:
    """
    What asks PAM, without PAM.

    @cvar codes: what it says to each user name; others are not known.

    @cvar asked: what it was asked.
    """

    codes: dict[bytes, int] = {}
    asked: list[Any] = []

    def __init__(self) -> None:
        self.code = -1
        self.reason: str | None = None

    def authenticate(
        self, username: bytes, password: bytes, service: str, *, resetcreds: bool
    ) -> bool:
        """
        Answer.
        """
        self.asked.append((username, password, service, resetcreds))
        self.code = self.codes.get(username, pam._library.PAM_USER_UNKNOWN)
        self.reason = f"code {self.code}"
        return self.code == pam._library.PAM_SUCCESS


class PAMTestCase(SynchronousTestCase):
    """
    PAM without the system's.
    """

    def setUp(self) -> None:
        """
        Have a folder for services, and nothing else.
        """
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.one = self.mktemp()
        self.patch(pam, "_FOLDERS", (self.mktemp(), self.folder))
        self.patch(pam, "_ONE_FILE", self.one)
        self.patch(pam, "find_library", lambda name: f"lib{name}.so.0")
        self.patch(pam._library, "PamAuthenticator", Conversation)
        self.patch(Conversation, "asked", [])
        self.patch(Conversation, "codes", {b"alice": 0})
        self.service("txsocks5")

    def service(self, name: str) -> None:
        """
        Configure a service.
        """
        (Path(self.folder) / name).write_text("auth required pam_permit.so\n")


class CheckingTests(PAMTestCase):
    """
    Who is let in.
    """

    def setUp(self) -> None:
        """
        Keep what is logged.
        """
        super().setUp()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.checker = PAMChecker()

    def letsIn(self, username: bytes, password: bytes = b"secret") -> bool:
        """
        Ask.
        """
        asked = self.checker.requestAvatarId(UsernamePassword(username, password))
        if isinstance(asked.result, bytes):
            self.assertEqual(self.successResultOf(asked), username)
            return True
        self.failureResultOf(asked, UnauthorizedLogin)
        return False

    def test_interfaces(self) -> None:
        """
        It provides what it says; since it blocks, it is called in a thread.
        """
        self.assertTrue(verifyObject(ICredentialsChecker, self.checker))
        self.assertTrue(IBlockingChecker.providedBy(self.checker))
        self.assertEqual(repr(self.checker), "<PAMChecker 'txsocks5'>")

    def test_asked(self) -> None:
        """
        PAM is asked each time, about the octets as they are; credentials of the system are left
        alone, since there is no session.
        """
        self.patch(Conversation, "codes", {b"\xffse": 0})
        for _ in range(2):
            self.assertTrue(self.letsIn(b"\xffse", b"\xfe"))
        self.assertEqual(Conversation.asked, [(b"\xffse", b"\xfe", "txsocks5", False)] * 2)

    def test_service(self) -> None:
        """
        It asks the service that was said.
        """
        self.service("other.one")
        self.checker = PAMChecker("other.one")
        self.letsIn(b"alice")
        self.assertEqual(Conversation.asked[0][2], "other.one")

    def test_refusals(self) -> None:
        """
        Who is refused, for whatever reason PAM has for that user, is not let in; the log of the
        session is enough for that.
        """
        for code in pam._REFUSALS:
            self.patch(Conversation, "codes", {b"alice": code})
            self.assertFalse(self.letsIn(b"alice"))
        self.assertFalse(self.letsIn(b"nobody"))
        self.assertEqual(self.events, [])

    def test_failures(self) -> None:
        """
        What is wrong with PAM itself is a refusal, too, and the log tells of it.
        """
        codes = {pam._library.PAM_SYSTEM_ERR, pam._library.PAM_AUTHINFO_UNAVAIL, 999}
        for code in codes:
            self.patch(Conversation, "codes", {b"alice": code})
            self.assertFalse(self.letsIn(b"alice"))
        self.assertEqual(
            [(each["socks_event"], each["service"], each["reason"]) for each in self.events],
            [("pamFailed", "txsocks5", f"code {code}") for code in codes],
        )

    def test_nul(self) -> None:
        """
        R-1929-05: what PAM would cut off at a NUL, it is not asked about; nor about nobody.
        """
        for username, password in (
            (b"alice\0", b"secret"),
            (b"alice\0x", b"secret"),
            (b"alice", b"secret\0x"),
            (b"", b"secret"),
        ):
            self.assertFalse(self.letsIn(username, password))
        self.assertEqual(Conversation.asked, [])


class ConfigurationTests(PAMTestCase):
    """
    Tests for C{--auth pam}.
    """

    def refusal(self, service: str) -> str:
        """
        Why a service cannot be used, in one line.
        """
        error = self.assertRaises(ValueError, checkerOf, service)
        self.assertTrue(str(error).isprintable())
        return str(error)

    def test_made(self) -> None:
        """
        The plugin makes one, for the service C{txsocks5} or another.
        """
        self.service("login")
        for description, service in (
            ("pam", "txsocks5"),
            ("pam:", "txsocks5"),
            ("pam:login", "login"),
        ):
            self.assertEqual(repr(makeChecker(description)), f"<PAMChecker {service!r}>")

    def test_unknown(self) -> None:
        """
        A service that is not configured is refused: PAM would take another one for it.
        """
        self.assertIn("write /etc/pam.d/nonsense", self.refusal("nonsense"))

    def test_oneFile(self) -> None:
        """
        It may be configured in the one file of older systems.
        """
        Path(self.one).write_bytes(b"# old auth\n\xff\n\nold auth required pam_permit.so\n")
        self.assertEqual(repr(checkerOf("old")), "<PAMChecker 'old'>")
        for name in ("auth", "ol", "required"):
            self.refusal(name)

    def test_names(self) -> None:
        """
        What is no name of a service leads to no other file.
        """
        for name in ("../passwd", "/etc/passwd", ".", "..", "a/b", "a b", "a\n", "-x"):
            self.assertIn("cannot be the name of a service", self.refusal(name))

    def test_noPAM(self) -> None:
        """
        Where the system has no PAM, it says so.
        """
        self.patch(pam, "find_library", lambda name: None)
        self.assertIn("no libpam", self.refusal(""))

    def test_notInstalled(self) -> None:
        """
        Where the package is missing, it says what to install.
        """
        with patch.dict(sys.modules, {"pam": None}):
            del sys.modules[pam.__name__]
            error = self.assertRaises(ImportError, importlib.import_module, pam.__name__)
        self.assertEqual(str(error), "it needs python-pam: pip install 'txsocks5[pam]'")

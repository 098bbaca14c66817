"""
Tests for L{txsocks5.hashes}.
"""

from __future__ import annotations

import runpy
import sys
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txsocks5 import hashes
from txsocks5.hashes import costOf, hashOf, isCut, kindOf, verify

#: Hashes of C{secret} that take little time, with the kind of each and what tells its cost.
SECRET = (
    (
        b"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A",
        "argon2",
        b"$argon2id$v=19$m=8,t=1,p=1",
    ),
    (
        b"$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$QLwUNLm4UFVQct+D6wA6retx1gD/8FXSPUl0qxZeP6Y",
        "argon2",
        b"$argon2d$v=19$m=8,t=1,p=1",
    ),
    (
        b"$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$X5TwrKDLsshsw1ylU9uT2FzYTg+mRgAr9dIrrx3Y4G4",
        "argon2",
        b"$argon2i$v=19$m=8,t=1,p=1",
    ),
    (b"$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "bcrypt", b"$2a$04"),
    (b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "bcrypt", b"$2b$04"),
    (b"$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "bcrypt", b"$2y$04"),
    (
        b"$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop/Zok96Hr8Q13LEv0D"
        b"RY/x8v0/crpIjl8NJSAqXV/",
        "sha512_crypt",
        b"$6$rounds=1000",
    ),
    (
        b"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq"
        b".H91p5hVO1",
        "sha512_crypt",
        b"$6",
    ),
    (
        b"$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2",
        "sha256_crypt",
        b"$5$rounds=1000",
    ),
    (b"$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0", "apr_md5_crypt", b"$apr1"),
)

#: What is not taken for a hash.
NONE = (
    b"",
    b"secret",
    b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    b".1qmeMiXizJ7A",
    b"$1$saltsalt$LrttParrLPdxvgutaSXWJ0",
    b"$2x$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIr",
    b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n",
    b"$2b$32$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    b"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ",
    # Settings that nobody can compute with.
    b"$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHQ",
    b"$argon2id$v=19$m=8,t=1,p=1$c29$c29tZXNhbHQ",
    b"\xff\xfe",
)


class IsCutTests(SynchronousTestCase):
    """
    Tests for L{isCut}.
    """

    def test_beginnings(self) -> None:
        """
        Every beginning of a hash of a known kind is one, be its kind known from it yet or not.
        """
        for text, _, _ in SECRET:
            for length in range(1, text.index(b"$", 1) + 3):
                self.assertTrue(isCut(text[:length]), text[:length])

    def test_others(self) -> None:
        """
        A whole hash is none, nor is one of another kind, or nothing.
        """
        whole = [text for text, _, _ in SECRET]
        for text in (*whole, b"", b"secret", b"{SHA}5en6", b"$y$j9T$x", b"$1$salt$"):
            self.assertFalse(isCut(text), text)


class KindTests(SynchronousTestCase):
    """
    Which hashes there are.
    """

    def test_known(self) -> None:
        """
        Argon2, bcrypt, SHA-crypt and Apache's MD5 are known by what they look like.
        """
        for text, kind, _ in SECRET:
            self.assertEqual(kindOf(text), kind)

    def test_unknown(self) -> None:
        """
        Passwords in clear, hashes without salt, those of the old C{crypt}, and what only looks
        like a hash are not taken for one, nor is anything computed with them.
        """
        for text in NONE:
            self.assertIsNone(kindOf(text), text)
        for text in NONE[:-3]:
            self.assertRaises(ValueError, verify, b"secret", text)
            self.assertRaises(ValueError, costOf, text)

    def test_cost(self) -> None:
        """
        What tells the cost is the kind with its settings, and nothing of salt and result.
        """
        for text, _, cost in SECRET:
            self.assertEqual(costOf(text), cost)

    def test_notInstalled(self) -> None:
        """
        Where the package is missing that computes it, no such hash can be verified.
        """
        with patch.object(hashes, "_isInstalled", lambda name: name != "bcrypt"):
            kinds = {kind: kindOf(text) for text, kind, _ in SECRET}
        self.assertIsNone(kinds.pop("bcrypt"))
        self.assertEqual(list(kinds), list(kinds.values()))

    def test_withoutLibpass(self) -> None:
        """
        Where libpass is missing, one line says what to install.
        """
        with patch.dict(sys.modules, {"passlib": None}):
            error = self.assertRaises(ImportError, runpy.run_path, hashes.__file__)
        self.assertEqual(str(error), "it needs libpass: pip install 'txsocks5[htpasswd]'")


class VerifyTests(SynchronousTestCase):
    """
    Tests for L{verify}.
    """

    def test_all(self) -> None:
        """
        The password is the password, octet by octet (R-1929-04), and no other one is.
        """
        for text, kind, _ in SECRET:
            self.assertTrue(verify(b"secret", text), kind)
            for other in (b"", b"Secret", b"secret ", b"secre", b"\xffsecret"):
                self.assertFalse(verify(other, text), kind)

    def test_nul(self) -> None:
        """
        R-1929-05: nothing ends at a NUL, even where the hash was made for strings that do.
        """
        for text, kind, _ in SECRET:
            for other in (b"secret\0", b"secret\0x", b"\0", b"\0secret"):
                self.assertFalse(verify(other, text), kind)

    def test_nulIsNoBlank(self) -> None:
        """
        And none is taken for something else.
        """
        text = hashes._libpass.bcrypt.using(rounds=4).hash(b"a b").encode()
        self.assertTrue(verify(b"a b", text))
        self.assertFalse(verify(b"a\0b", text))

    def test_long(self) -> None:
        """
        Of a password that bcrypt has hashed, its first 72 octets count, as everywhere; with the
        others all 255 that a client can send do.
        """
        text = hashes._libpass.bcrypt.using(rounds=4).hash(b"x" * 72).encode()
        self.assertTrue(verify(b"x" * 255, text))
        self.assertFalse(verify(b"x" * 71, text))
        for name, rounds in (("argon2", 1), ("sha512_crypt", 1000), ("sha256_crypt", 1000)):
            scheme = getattr(hashes._libpass, name).using(rounds=rounds)
            text = scheme.hash(b"x" * 255).encode()
            self.assertTrue(verify(b"x" * 255, text))
            self.assertFalse(verify(b"x" * 254, text))

    def test_tooMuch(self) -> None:
        """
        What cannot be computed for want of memory is not passed off as a wrong password.
        """
        text = b"$argon2id$v=19$m=99999999999,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHQ"
        self.assertRaises(ValueError, verify, b"secret", text)


class HashOfTests(SynchronousTestCase):
    """
    Tests for L{hashOf}.
    """

    def test_argon2(self) -> None:
        """
        New passwords are hashed by Argon2id, each with a salt of its own, whatever is in them.
        """
        for password in (b"secret", b"\xff\0x", b"x" * 255):
            text = hashOf(password)
            self.assertTrue(text.startswith(b"$argon2id$"), text)
            self.assertTrue(verify(password, text))
            self.assertNotEqual(hashOf(password), text)

    def test_bcrypt(self) -> None:
        """
        Without Argon2 it is bcrypt, which cannot take everything: nothing is cut off silently.
        """
        self.patch(hashes, "_isInstalled", lambda name: name == "bcrypt")
        text = hashOf(b"secret")
        self.assertTrue(text.startswith(b"$2b$12$"), text)
        self.assertTrue(verify(b"secret", text))
        for password in (b"x" * 73, b"a\0b"):
            error = self.assertRaises(ValueError, hashOf, password)
            self.assertIn("no more than 72 octets", str(error))

    def test_nothing(self) -> None:
        """
        Without both, it says what to install.
        """
        self.patch(hashes, "_isInstalled", lambda name: False)
        error = self.assertRaises(ValueError, hashOf, b"secret")
        self.assertIn("pip install 'txsocks5[htpasswd]'", str(error))

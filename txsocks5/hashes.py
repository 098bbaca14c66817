"""
What is kept in the place of a password: salted hashes, computed by libpass.

Passwords in clear, and hashes without salt (C{{SHA}}), are of no kind that is known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import attrs

try:
    from passlib import hash as _libpass
except ImportError as error:
    raise ImportError("it needs libpass: pip install 'txsocks5[htpasswd]'") from error

__all__ = ["costOf", "hashOf", "kindOf", "verify"]


@attrs.frozen
class _Kind:
    """
    A kind of hash.

    @ivar name: what libpass calls it.

    @ivar pattern: what such hashes look like, from the first octet to the last.

    @ivar behind: how many fields at the end are the salt and what was computed; what stands
        before them says how much there is to compute.

    @ivar octets: how much of a password counts.  L{None} for all of it, NULs included: the
        others are made for the strings of C.

    @ivar hasImpossible: whether what looks like one may have settings that cannot be.
    """

    name: str
    pattern: re.Pattern[bytes]
    behind: int
    octets: int | None
    hasImpossible: bool = False

    @property
    def scheme(self) -> Any:
        """
        What computes it.
        """
        return getattr(_libpass, self.name)


_KINDS = (
    _Kind(
        "argon2",
        re.compile(
            rb"\$argon2(?:id|i|d)(?:\$v=\d+)?\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
        ),
        2,
        None,
        hasImpossible=True,
    ),
    _Kind(
        "bcrypt",
        re.compile(rb"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}"),
        1,
        72,
    ),
    _Kind(
        "sha512_crypt",
        re.compile(rb"\$6\$(?:rounds=[1-9]\d{3,8}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}"),
        2,
        255,
    ),
    _Kind(
        "sha256_crypt",
        re.compile(rb"\$5\$(?:rounds=[1-9]\d{3,8}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}"),
        2,
        255,
    ),
    _Kind(
        "apr_md5_crypt",
        re.compile(rb"\$apr1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"),
        2,
        255,
    ),
)

_BEGINNINGS = (b"$argon2", b"$2a$", b"$2b$", b"$2y$", b"$5$", b"$6$", b"$apr1$")
"""
How hashes of these kinds begin.
"""

_FOR_NEW = ("argon2", "bcrypt")


def _find(text: bytes) -> _Kind | None:
    """
    The kind of a hash.
    """
    for kind in _KINDS:
        if kind.pattern.fullmatch(text):
            return kind
    return None


def _kindOf(text: bytes) -> _Kind:
    """
    The kind of a hash.

    @raise ValueError: it has none.
    """
    kind = _find(text)
    if kind is None:
        raise ValueError("not a hash of a known kind")
    return kind


def kindOf(text: bytes) -> str | None:
    """
    Of which kind is a hash?

    @return: the name of the kind; L{None} for anything that cannot be verified here, be it
        that the package which computes it is not installed.
    """
    kind = _find(text)
    if kind is None or not _isInstalled(kind.name):
        return None
    if kind.hasImpossible:
        try:
            kind.scheme.from_string(text.decode("ascii"))
        except ValueError:
            return None
    return kind.name


def isCut(text: bytes) -> bool:
    """
    Whether this is the beginning of a hash, and not a whole one.
    """
    isBeginning = any(text.startswith(each) or each.startswith(text) for each in _BEGINNINGS)
    return bool(text) and isBeginning and _find(text) is None


@cache
def _isInstalled(name: str) -> bool:
    """
    Can hashes of this kind be computed?
    """
    # Only what libpass does not compute itself has backends.
    hasBackend: Callable[[], bool] = getattr(getattr(_libpass, name), "has_backend", lambda: True)
    return hasBackend()


def costOf(text: bytes) -> bytes:
    """
    What says how much there is to compute for a hash: two hashes of which this is the same
    take the same time.

    @raise ValueError: the hash is of no kind.
    """
    kind = _kindOf(text)
    return text.rsplit(b"$", kind.behind)[0]


def verify(password: bytes, text: bytes) -> bool:
    """
    Is this the password?  It takes as long as it takes, and the time does not depend on the
    password.

    @param text: a hash that has a kind.

    @raise ValueError: the hash is of no kind, or it cannot be found out now: there is not enough
        memory.
    """
    kind = _kindOf(text)
    plausible = True
    if kind.octets is not None:
        plausible = b"\0" not in password
        # The time is spent nevertheless.
        password = password.replace(b"\0", b" ")[: kind.octets]
    good: bool = kind.scheme.verify(password, text.decode("ascii"))
    return good and plausible


def hashOf(password: bytes) -> bytes:
    """
    Hash a new password: by Argon2, or by bcrypt where that is missing.

    @raise ValueError: it cannot be hashed as it is, or there is nothing to hash it with.
    """
    for name in _FOR_NEW:
        if _isInstalled(name):
            break
    else:
        raise ValueError("it needs argon2-cffi or bcrypt: pip install 'txsocks5[htpasswd]'")
    (kind,) = (kind for kind in _KINDS if kind.name == name)
    if kind.octets is not None and (len(password) > kind.octets or b"\0" in password):
        raise ValueError(f"{name} takes no more than {kind.octets} octets, and no NUL")
    text: str = kind.scheme.hash(password)
    return text.encode("ascii")

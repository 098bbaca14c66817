"""
A Kerberos realm on this machine, with a KDC of its own, for as long as the tests run.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from .certificates import writeCertificate

__all__ = ["ALICE", "REALM", "Realm", "realm", "whyNoAnonymous", "whyNoRealm"]

REALM = "EXAMPLE.ORG"

#: A user of the realm, and the password of every user.
ALICE = "alice"
_PASSWORD = "correct-horse"

#: How often a port may be lost to somebody else before the KDC gets to it.
_TRIALS = 5


def whyNoRealm() -> str | None:
    """
    Why tests that need a realm have to be skipped, or L{None} if there can be one.
    """
    for module in ("gssapi", "k5test"):
        if not find_spec(module):
            return f"{module} is not installed (pip install {module})"
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    for name, package in (
        ("krb5-config", "libkrb5-dev"),
        ("kinit", "krb5-user"),
        ("krb5kdc", "krb5-kdc"),
        ("kadmin.local", "krb5-admin-server"),
    ):
        if not shutil.which(name, path=path):
            return f"{name} is not installed (apt-get install {package})"
    return None


def whyNoAnonymous() -> str | None:
    """
    Why tests that need anonymous tickets have to be skipped, or L{None} if there can be some.
    """
    plugin = "krb5/plugins/preauth/pkinit.so"
    if not any(Path("/usr").glob(f"lib*/{plugin}")) and not any(
        Path("/usr/lib").glob(f"*/{plugin}")
    ):
        return "PKINIT is not installed (apt-get install krb5-pkinit)"
    return None


@cache
def realm() -> Realm:
    """
    The realm of this process.  It is made when it is first asked for, which takes some seconds.
    """
    return Realm()


class Realm:
    """
    A realm with a user, L{ALICE}, and the services C{socks} and C{rcmd} on C{localhost}.

    @ivar keytab: a file with the keys of both services.

    @ivar tickets: a file with the tickets of L{ALICE}.
    """

    def __init__(self) -> None:
        self._kdc = _kdc()
        atexit.register(self._kdc.stop)
        self._numbers = count()
        self.keytab = Path(self._kdc.keytab)
        for name in ("socks/localhost", "rcmd/localhost"):
            self.addService(name, self.keytab)
        self.tickets = Path(self._kdc.ccache)
        self._kdc.addprinc(ALICE, _PASSWORD)
        self._kdc.kinit(ALICE, _PASSWORD)

    @property
    def variables(self) -> Mapping[str, str]:
        """
        The environment variables that give a program this realm, L{tickets} and L{keytab}.
        """
        variables: Mapping[str, str] = self._kdc.env
        return variables

    def inhabit(self, case: SynchronousTestCase, **others: str) -> None:
        """
        Have this process itself live in the realm until a test ends.

        @param others: environment variables that are to differ from L{variables}.
        """
        for name, value in {**self.variables, **others}.items():
            case.addCleanup(_set, name, os.environ.get(name))
            _set(name, value)

    def file(self) -> Path:
        """
        The name of a new file, which is gone with the realm.
        """
        return Path(self._kdc.tmpdir) / f"file-{next(self._numbers)}"

    def addService(self, name: str, keytab: Path) -> None:
        """
        Make a service known.

        @param name: such as C{socks/localhost}.

        @param keytab: the file that its key is written to, behind those that are there.
        """
        self._kdc.addprinc(name)
        self._kdc.extract_keytab(name, str(keytab))

    def changeKey(self, name: str) -> None:
        """
        Give a service a new key, so that the one in its keytab opens no more tickets.
        """
        self._kdc.change_password(name)

    def login(self, name: str, *flags: str) -> Path:
        """
        Make a user known, and get initial tickets for that user.

        @param flags: arguments for C{kinit}.

        @return: the file with the tickets.
        """
        tickets = self.file()
        self._kdc.addprinc(name, _PASSWORD)
        self._kdc.kinit(name, _PASSWORD, flags=["-c", str(tickets), *flags])
        return tickets

    def anonymous(self) -> Path:
        """
        Get initial tickets for nobody in particular.

        @return: the file with the tickets.
        """
        tickets = self.file()
        self._kdc.addprinc("WELLKNOWN/ANONYMOUS")
        self._kdc.kinit(f"@{self._kdc.realm}", flags=["-n", "-c", str(tickets)])
        return tickets


def _set(name: str, value: str | None) -> None:
    """
    Set an environment variable, for the libraries of C too, or remove it.
    """
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _kdc() -> Any:
    """
    Start a KDC that listens on C{127.0.0.1} only.

    @return: a C{k5test.K5Realm} without any principals.
    """
    # Imported only now, so that where it is missing the tests can be skipped.
    from k5test import K5Realm

    for trial in range(_TRIALS):
        made = K5Realm(
            realm=REALM,
            portbase=_freePort(),
            create_user=False,
            create_host=False,
            get_creds=False,
            start_kdc=False,
            krb5_conf={
                # The names of hosts are taken as they are written.
                "libdefaults": {"dns_canonicalize_hostname": "false", "rdns": "false"},
                "realms": {
                    "$realm": {
                        "kdc": "127.0.0.1:$port0",
                        # Whoever wants to be anonymous has to know the KDC by its certificate.
                        "pkinit_anchors": "FILE:$tmpdir/server.pem",
                        "pkinit_kdc_hostname": "localhost",
                        "pkinit_eku_checking": "none",
                    }
                },
            },
            kdc_conf={
                "realms": {
                    "$realm": {
                        "kdc_listen": "127.0.0.1:$port0",
                        "kdc_tcp_listen": "127.0.0.1:$port0",
                        "kdc_ports": None,
                        "kdc_tcp_ports": None,
                        "pkinit_identity": "FILE:$tmpdir/server.pem",
                        "pkinit_anchors": "FILE:$tmpdir/server.pem",
                    }
                }
            },
        )
        writeCertificate(Path(made.tmpdir), withRSA=True)
        try:
            made.start_kdc()
        except Exception:
            made.stop()
            if trial + 1 == _TRIALS:
                raise
        else:
            return made
    raise AssertionError("unreachable")


def _freePort() -> int:
    """
    A port of C{127.0.0.1} that is free for TCP and for UDP, just now.
    """
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

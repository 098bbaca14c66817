"""
A server for users with Kerberos tickets, all of whose traffic is encrypted.
"""

from typing import Any

from txsocks5 import SOCKS5Factory
from txsocks5.tickets import GSSAPIAuthenticator


def server(reactor: Any, keytab: str) -> SOCKS5Factory:
    """
    Make the server.

    @raise ValueError: the keytab cannot be used.
    """
    tickets = GSSAPIAuthenticator(reactor, keytab=keytab, levels=["confidentiality"])
    return SOCKS5Factory(reactor, authenticators=[tickets])

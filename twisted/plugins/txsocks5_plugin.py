"""
The C{socks5} command of C{twistd}.

This module is imported whenever anybody lists the plugins of C{twistd}, so it
names the module with the options and imports nothing of the package.
"""

from twisted.application.service import ServiceMaker

txsocks5 = ServiceMaker(
    "SOCKS5 proxy",
    "txsocks5.tap",
    "A SOCKS5 proxy server (RFC 1928): CONNECT, BIND and UDP ASSOCIATE.",
    "socks5",
)

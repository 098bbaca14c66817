"""
A server by a configuration file, in an application of one's own; it can read the file again.
"""

from typing import Any

from twisted.internet.defer import Deferred

from txsocks5 import SOCKS5Factory, SOCKS5Service
from txsocks5.assembly import assemble
from txsocks5.config import readConfiguration


def server(reactor: Any, path: str) -> SOCKS5Service:
    """
    Make the server.

    @raise ConfigurationError: something is wrong with the file; its C{lines} say all of it.
    """
    configuration = readConfiguration(path)
    factory = SOCKS5Factory(reactor, **assemble(reactor, configuration).parts)
    return SOCKS5Service(factory, configuration.listen, configuration)


def readAgain(reactor: Any, path: str, service: SOCKS5Service) -> Deferred[None]:
    """
    Serve by what the file says now.

    @raise ConfigurationError: something is wrong with it, and everything stays as it was.
    """
    return service.reload(assemble(reactor, readConfiguration(path)))

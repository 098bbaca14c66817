"""
Another configuration for a server that runs.
"""

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from txsocks5 import SOCKS5Factory, SOCKS5Service
from txsocks5.assembly import assemble
from txsocks5.config import Configuration

before = assemble(reactor, Configuration(listen=("tcp:1080:interface=127.0.0.1",)))
service = SOCKS5Service(
    SOCKS5Factory(reactor, **before.parts), before.configuration.listen, before.configuration
)


def listenAt(*endpoints: str) -> Deferred[None]:
    """
    Listen at other endpoints from now on.
    """
    return service.reload(assemble(reactor, Configuration(listen=endpoints)))

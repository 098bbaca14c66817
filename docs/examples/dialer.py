"""
A dialer: connects through an endpoint.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from txsocks5 import Address, IDialer


@implementer(IDialer)
class EndpointDialer:
    """
    Connects through the endpoint that is made for an address.
    """

    def __init__(self, endpointFor: Callable[[Address], IStreamClientEndpoint]) -> None:
        self._endpointFor = endpointFor

    def dial(self, address: Address, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.
        """
        return self._endpointFor(address).connect(factory)

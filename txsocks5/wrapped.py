"""
Seeing through what stands between a socket and a protocol, C{haproxy:} and TLS for two.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, ITransport
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import alsoProvides

from . import local
from .wire import IPAddress

__all__ = ["passHalfClose", "reachedAddresses"]


def passHalfClose(wrapper: ProtocolWrapper, protocol: IHalfCloseableProtocol) -> None:
    """
    Make one of Twisted's wrappers pass a half-close on to the protocol that it wraps; without
    this it ends the connection, and an answer to a client that has finished is lost.  In TLS an
    end without its alert is no regular end, so that stays as it is.
    """
    if not ISSLTransport.providedBy(wrapper):
        hooked: Any = wrapper
        hooked.readConnectionLost = protocol.readConnectionLost
        hooked.writeConnectionLost = protocol.writeConnectionLost
        alsoProvides(wrapper, IHalfCloseableProtocol)


def reachedAddresses(transport: ITransport) -> list[IPAddress]:
    """
    The addresses at which a client may have reached the server.  Behind a PROXY header the first
    is what that says, and the second what the system says.

    @return: none for a UNIX socket.
    """
    addresses = [local.addressOf(transport.getHost())]
    if isinstance(transport, ProtocolWrapper) and transport.transport is not None:
        addresses.append(local.addressOf(transport.transport.getHost()))
    hosts = dict.fromkeys(address.host for address in addresses if address is not None)
    return [host for host in hosts if not isinstance(host, str)]

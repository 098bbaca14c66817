"""
Seeing through what stands between a socket and a protocol, C{haproxy:} and TLS for two.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, ITransport
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import directlyProvides, providedBy

from . import local
from .ties import loosely
from .wire import IPAddress

__all__ = ["isNowhere", "knowsClient", "passHalfClose", "plainConnection", "reachedAddresses"]


def passHalfClose(wrapper: ProtocolWrapper, protocol: IHalfCloseableProtocol) -> None:
    """
    Make one of Twisted's wrappers pass a half-close on to the protocol that it wraps; without
    this it ends the connection, and an answer to a client that has finished is lost.  In TLS an
    end without its alert is no regular end, so that stays as it is.
    """
    if not ISSLTransport.providedBy(wrapper):
        hooked: Any = wrapper
        # The protocol knows the wrapper.
        hooked.readConnectionLost = loosely(protocol.readConnectionLost)
        hooked.writeConnectionLost = loosely(protocol.writeConnectionLost)
        # As alsoProvides does, which leaves something to the garbage collector.
        directlyProvides(wrapper, providedBy(wrapper), IHalfCloseableProtocol)


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


def isNowhere(transport: ITransport) -> bool:
    """
    Whether a PROXY header has announced a client without an internet address, on a connection that
    has one.  Only a UNIX socket of this machine may do without, so nothing of it could be judged.
    """
    inner = transport
    while isinstance(inner, ProtocolWrapper) and inner.transport is not None:
        inner = inner.transport
    return inner is not transport and local.addressOf(inner.getPeer()) is not None


def knowsClient(transport: ITransport) -> bool:
    """
    Whether a connection tells where it comes from before anything has been received.  With
    C{haproxy:} the first octets say so; other wrappers may do likewise, but TLS does not.
    """
    inner = transport
    while isinstance(inner, TLSMemoryBIOProtocol) and inner.transport is not None:
        inner = inner.transport
    return not isinstance(inner, ProtocolWrapper)


def plainConnection(transport: ITransport) -> Connection | None:
    """
    The socket's own transport, if what is written to C{transport} gets there unchanged.

    @return: L{None} for TLS, for wrappers that write in a way of their own, and for what is no
        socket.
    """
    inner: Any = transport
    unchanged: Any = ProtocolWrapper.write
    while isinstance(inner, ProtocolWrapper) and type(inner).write is unchanged:
        inner = inner.transport
    return inner if isinstance(inner, Connection) and not inner.TLS else None

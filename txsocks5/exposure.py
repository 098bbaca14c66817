"""
Where an endpoint string would listen, found out without listening.

A server that only its own machine can reach may go without authentication; any other must
not (S-04), and has to be refused before it listens.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.python.systemd import ListenFDs

__all__ = ["isLocal"]


class _NoPort:
    """
    What a L{_Recorder} returns instead of a port.
    """


class _Recorder:
    """
    What an endpoint takes for a reactor; it only writes down where it is asked to listen.

    @ivar local: for each listener, whether only this machine can reach it.
    """

    def __init__(self) -> None:
        self.local: list[bool] = []

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> Any:
        """
        Note an interface.
        """
        self.local.append(_isLoopback(interface))
        return _NoPort()

    def listenSSL(
        self,
        port: int,
        factory: object,
        contextFactory: object,
        backlog: int = 50,
        interface: str = "",
    ) -> Any:
        """
        Note an interface.
        """
        self.local.append(_isLoopback(interface))
        return _NoPort()

    def listenUNIX(self, address: object, factory: object, *args: Any, **kwargs: Any) -> Any:
        """
        Note a UNIX socket.
        """
        self.local.append(True)
        return _NoPort()


def _isLoopback(interface: str) -> bool:
    """
    Whether C{interface} is a loopback address; the empty one is all of them.
    """
    try:
        return ip_address(interface.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _inheritedAreLocal() -> bool:
    """
    Whether all sockets that systemd has passed on are loopback or UNIX ones.  Which of them
    an endpoint takes is not asked: one exposed socket counts for all.
    """
    for descriptor in ListenFDs.fromEnvironment().inheritedDescriptors():
        with socket.socket(fileno=os.dup(descriptor)) as inherited:
            if inherited.family == socket.AF_UNIX:
                continue
            if not _isLoopback(inherited.getsockname()[0]):
                return False
    return True


def isLocal(description: str) -> bool:
    """
    Whether only clients on this machine can reach a listener.

    @param description: an endpoint string.

    @return: L{True} if it is known to listen on loopback addresses or UNIX sockets only.

    @raise ValueError: it is no endpoint string.
    """
    if description.removeprefix("haproxy:").startswith("systemd:"):
        return _inheritedAreLocal()
    recorder = _Recorder()
    endpoint = serverFromString(cast(Any, recorder), description)
    endpoint.listen(Factory()).addErrback(lambda reason: None)
    return bool(recorder.local) and all(recorder.local)

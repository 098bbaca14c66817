"""
Fakes for testing what has to do with a SOCKS5 server: a reactor, connections and ports that are
only memory, and a scripted provider of each interface in L{txsocks5.interfaces}.

Nothing here uses a network, a thread or the time.  What a fake is asked to do it writes down; what
it answers, and when, the test decides.
"""

from ._connection import MemoryConnection, RecordingPeer, flushAll
from ._ports import MemoryConnector, MemoryTCPPort, MemoryUDPPort
from ._private import PrivateAuthenticator, PrivateProtection
from ._reactor import MemoryNameResolver, MemoryReactor, MemoryThreads
from ._recorded import RecordedEvents, RecordedTraffic
from ._scripted import (
    Dial,
    ScriptedAuthenticator,
    ScriptedConversation,
    ScriptedDialer,
    ScriptedPolicy,
    ScriptedResolver,
)
from ._transport import CLIENT_ADDRESS, SERVER_ADDRESS, MemoryTransport

__all__ = [
    "CLIENT_ADDRESS",
    "SERVER_ADDRESS",
    "Dial",
    "MemoryConnection",
    "MemoryConnector",
    "MemoryNameResolver",
    "MemoryReactor",
    "MemoryTCPPort",
    "MemoryThreads",
    "MemoryTransport",
    "MemoryUDPPort",
    "PrivateAuthenticator",
    "PrivateProtection",
    "RecordedEvents",
    "RecordedTraffic",
    "RecordingPeer",
    "ScriptedAuthenticator",
    "ScriptedConversation",
    "ScriptedDialer",
    "ScriptedPolicy",
    "ScriptedResolver",
    "flushAll",
]

"""
A SOCKS5 server for Twisted: RFC 1928 and RFC 1929.

L{SOCKS5Factory} is the server; listen with it on any endpoint.  L{SOCKS5Service} does that for
you, as C{twistd socks5} does.  L{txsocks5.interfaces} lists all that can be replaced.
"""

from importlib.metadata import PackageNotFoundError, version

from .auth import Anonymous, PasswordAuthenticator
from .config import Failures, Limits, Network, Timeouts
from .errors import NameNotResolved, Overloaded, ProtocolError
from .interfaces import (
    Accepted,
    IAuthenticator,
    IBlockingChecker,
    IConversation,
    Identity,
    IDialer,
    IFairResolver,
    IJournal,
    IPolicy,
    IProtection,
    IRecallingChecker,
    IRelayObserver,
    IRelayTap,
    IResolver,
    IRevoking,
    IUserList,
    Question,
    Record,
    Refused,
    Step,
    Verdict,
)
from .ledger import Ledger
from .policy import DefaultPolicy
from .server import SOCKS5Factory
from .service import SOCKS5Service
from .wire import Address, Command

__all__ = [
    "Accepted",
    "Address",
    "Anonymous",
    "Command",
    "DefaultPolicy",
    "Failures",
    "IAuthenticator",
    "IBlockingChecker",
    "IConversation",
    "IDialer",
    "IFairResolver",
    "IJournal",
    "IPolicy",
    "IProtection",
    "IRecallingChecker",
    "IRelayObserver",
    "IRelayTap",
    "IResolver",
    "IRevoking",
    "IUserList",
    "Identity",
    "Ledger",
    "Limits",
    "NameNotResolved",
    "Network",
    "Overloaded",
    "PasswordAuthenticator",
    "ProtocolError",
    "Question",
    "Record",
    "Refused",
    "SOCKS5Factory",
    "SOCKS5Service",
    "Step",
    "Timeouts",
    "Verdict",
]

try:
    __version__ = version("txsocks5")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

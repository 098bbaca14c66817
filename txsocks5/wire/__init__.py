"""
The messages of RFC 1928, RFC 1929 and RFC 1961 as values: octets in, values out.

Nothing here performs I/O, reads a clock or writes a log.  A message of the
stream is a frozen class with two methods:

  - C{read(data)} looks at the octets received so far, from the start of the
    message.  It returns the value and how many octets it took; or L{None} for
    "more, please", having taken nothing; or it raises L{ProtocolError
    <txsocks5.errors.ProtocolError>}.  There is no fourth way, whatever the
    octets are.  What stands behind the message is left to the next reader.

  - C{octets()} is the message as it goes onto the wire.

A datagram is always whole, so L{Datagram.read} has no "more".
"""

from ._addresses import Address, AddressType, Host, IPAddress, parseHost, unmapped
from ._datagram import Datagram, splitDatagram
from ._gssapi import ABORT, Frame, FrameType, ProtectionLevel
from ._password import Credentials, PasswordStatus
from ._socks import (
    NO_ACCEPTABLE_METHOD,
    Command,
    Greeting,
    Method,
    Reply,
    Request,
    Selection,
)

__all__ = [
    "ABORT",
    "NO_ACCEPTABLE_METHOD",
    "Address",
    "AddressType",
    "Command",
    "Credentials",
    "Datagram",
    "Frame",
    "FrameType",
    "Greeting",
    "Host",
    "IPAddress",
    "Method",
    "PasswordStatus",
    "ProtectionLevel",
    "Reply",
    "Request",
    "Selection",
    "parseHost",
    "splitDatagram",
    "unmapped",
]

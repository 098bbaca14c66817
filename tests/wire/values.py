"""
Hypothesis strategies for the values of L{txsocks5.wire}, and for octets that look
like them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import settings
from hypothesis import strategies as st

from txsocks5.errors import ReplyCode
from txsocks5.wire import (
    Address,
    Command,
    Credentials,
    Datagram,
    Frame,
    FrameType,
    Greeting,
    PasswordStatus,
    Reply,
    Request,
    Selection,
)

# The same examples in every run and no clock: what fails here fails everywhere.
reproducible = settings(deadline=None, database=None, derandomize=True)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_"


def _isName(text: str) -> bool:
    """
    Tell whether labels joined by dots are short enough, and no number.
    """
    last = text.rpartition(".")[2]
    return len(text) <= 253 and not last.isdigit() and not last.startswith("0x")


def isUnmapped(address: IPv4Address | IPv6Address) -> bool:
    """
    Tell whether an address stands for itself.
    """
    return address.version == 4 or address.ipv4_mapped is None


labels = st.text(LETTERS, min_size=1, max_size=63)
names = st.lists(labels, min_size=1, max_size=8).map(".".join).filter(_isName)
ports = st.integers(0, 0xFFFF)
hosts = names | st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(isUnmapped)
addresses = st.builds(Address, hosts, ports)

greetings = st.builds(Greeting, st.binary(max_size=255))
selections = st.builds(Selection, st.integers(0, 255))
fields = st.binary(max_size=255)
credentials = st.builds(Credentials, fields, fields)
statuses = st.builds(PasswordStatus, st.booleans())
requests = st.builds(Request, st.sampled_from(Command), addresses).filter(
    lambda request: request.command is not Command.CONNECT or request.destination.port > 0
)
replies = st.builds(Reply, st.sampled_from(ReplyCode) | st.integers(9, 255), addresses)
frames = st.builds(Frame, st.sampled_from(FrameType), st.binary(max_size=600))
datagrams = st.builds(Datagram, addresses, st.binary(max_size=600), st.integers(0, 255))

cuts = st.lists(st.integers(0, 600), max_size=8)


@st.composite
def nearly(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """
    Messages with a few octets changed, perhaps cut off, perhaps with a tail.
    """
    octets = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 3))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(octets)) | st.just(len(octets)))
    return bytes(octets[:end]) + draw(st.binary(max_size=20))


def anything(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """
    Any octets at all, and such as come close to C{messages}.
    """
    return st.binary(max_size=600) | nearly(messages)

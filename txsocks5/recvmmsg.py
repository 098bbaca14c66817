"""
Many datagrams in one call of the system, recvmmsg(2), which Python has no function for.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import sys
from collections.abc import Callable

from .peers import MAX_DATAGRAM, Datagrams, Peer

__all__ = ["MAX_MESSAGES", "MessageReader", "systemReader"]

MAX_MESSAGES = 64
"""
How many messages a call can bring.
"""

_MAX_PEERS = 4096

# struct sockaddr_in and sockaddr_in6, behind the family.
_NAME4 = struct.Struct("!2xH4s8x")
_NAME6 = struct.Struct("!2xHI16s4s")
_WIDTHS = {int(socket.AF_INET): _NAME4.size, int(socket.AF_INET6): _NAME6.size}
_CONTROL = socket.CMSG_SPACE(4)
_SIZE = struct.Struct("=i")


class _IOVec(ctypes.Structure):
    """
    C{struct iovec}.
    """

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """
    C{struct msghdr}.
    """

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("nameLength", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("partsNumber", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controlLength", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """
    C{struct mmsghdr}.
    """

    _fields_ = [("header", _Header), ("length", ctypes.c_uint32)]


def _lengths() -> struct.Struct:
    """
    What is read of each C{struct mmsghdr}: the length of its control messages, and its own.
    """
    before = _Header.controlLength.offset
    between = _Message.length.offset - before - ctypes.sizeof(ctypes.c_size_t)
    behind = ctypes.sizeof(_Message) - _Message.length.offset - ctypes.sizeof(ctypes.c_uint32)
    # "@" is for the sizes of this machine; the gaps are such that nothing has to be aligned.
    return struct.Struct(f"@{before}xN{between}xI{behind}x")


_LENGTHS = _lengths()
_MESSAGE = _LENGTHS.size


class MessageReader:
    """
    Reads from UDP sockets.  All sockets of a server share one, and with it the memory: 64 KiB for
    each message that a call can bring, of which only what was ever used is really taken.

    Where a socket has C{UDP_GRO}, a message may be several datagrams that the kernel has put
    together; they are taken apart.
    """

    def __init__(self, call: Callable[..., int]) -> None:
        """
        @param call: C{recvmmsg} of the C library.
        """
        self._call = call
        # Private: a process that is forked off must not write into it.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._data = mmap.mmap(-1, MAX_MESSAGES * MAX_DATAGRAM, flags)
        self._names = bytearray(MAX_MESSAGES * _NAME6.size)
        self._controls = bytearray(MAX_MESSAGES * _CONTROL)
        self._peers: dict[bytes, Peer] = {}
        self._parts = (_IOVec * MAX_MESSAGES)()
        self._messages = (_Message * MAX_MESSAGES)()
        self._lay()
        self._view = memoryview(self._data)
        self._headers = memoryview(self._messages).cast("B")
        self._address = ctypes.addressof(self._messages)
        # What the system overwrites.
        self._blank = bytes(self._headers)

    def _lay(self) -> None:
        """
        Tell each message where its parts are.
        """
        data, names, controls = (
            ctypes.addressof(ctypes.c_char.from_buffer(memory))
            for memory in (self._data, self._names, self._controls)
        )
        parts = ctypes.addressof(self._parts)
        for number, message in enumerate(self._messages):
            part, header = self._parts[number], message.header
            part.base = data + number * MAX_DATAGRAM
            part.length = MAX_DATAGRAM
            header.parts = parts + number * ctypes.sizeof(_IOVec)
            header.partsNumber = 1
            header.name = names + number * _NAME6.size
            header.nameLength = _NAME6.size
            header.control = controls + number * _CONTROL
            header.controlLength = _CONTROL

    def read(self, descriptor: int, family: int, most: int) -> Datagrams:
        """
        Read what has come to a socket.

        @param descriptor: its file descriptor.

        @param family: C{AF_INET} or C{AF_INET6}, a plain number for the sake of speed.

        @param most: how many messages at the most, up to L{MAX_MESSAGES}.

        @return: at least one datagram.

        @raise BlockingIOError: there is nothing.

        @raise OSError: something is wrong.
        """
        number = self._call(descriptor, self._address, most, 0, None)
        if number < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        arrived: Datagrams = []
        view, names = self._view, self._names
        width = _WIDTHS[family]
        last: bytes | bytearray = b""
        peer: Peer = ()
        used = number * _MESSAGE
        headers = bytes(self._headers[:used])
        # At once: a message with no room for its size would be taken for a single datagram.
        self._headers[:used] = self._blank[:used]
        start = at = 0
        for control, length in _LENGTHS.iter_unpack(headers):
            name = names[at : at + width]
            if name != last:
                last = name
                key = bytes(name)
                peer = self._peers.get(key) or self._peer(key)
            if control:
                arrived += self._joined(start, length, peer)
            else:
                arrived.append((bytes(view[start : start + length]), peer))
            start += MAX_DATAGRAM
            at += _NAME6.size
        return arrived

    def _joined(self, start: int, length: int, peer: Peer) -> Datagrams:
        """
        Take datagrams apart that the kernel has joined.

        @param start: where the first begins.

        @param length: of all of them together.
        """
        at = start // MAX_DATAGRAM * _CONTROL + socket.CMSG_LEN(0)
        (size,) = _SIZE.unpack_from(self._controls, at)
        data = bytes(self._view[start : start + length])
        return [(data[first : first + size], peer) for first in range(0, length, size)]

    def _peer(self, name: bytes) -> Peer:
        """
        Read a C{struct sockaddr_in} or C{sockaddr_in6}, and remember it.
        """
        if len(name) == _NAME4.size:
            port, host = _NAME4.unpack(name)
            peer: Peer = (socket.inet_ntop(socket.AF_INET, host), port)
        else:
            port, flow, host, scope = _NAME6.unpack(name)
            number = int.from_bytes(scope, sys.byteorder)
            peer = (socket.inet_ntop(socket.AF_INET6, host), port, flow, number)
        if len(self._peers) >= _MAX_PEERS:
            self._peers.clear()
        self._peers[name] = peer
        return peer


def systemReader() -> MessageReader | None:
    """
    Make a reader.

    @return: it, or L{None} if the system cannot do that: it is Linux's.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).recvmmsg
        call.argtypes = (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        )
        call.restype = ctypes.c_int
        return MessageReader(call)
    except (OSError, AttributeError):
        # Another C library, or no memory.
        return None

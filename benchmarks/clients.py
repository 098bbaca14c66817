"""
Clients that do all kinds of things, at random, and their targets.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from contextlib import suppress
from typing import Protocol

from attrs import evolve

from .ends import Abort, End, Plan, faults, pattern, planned

__all__ = ["Clients", "Place"]

_LARGEST = 4 << 20
_PATIENCE = 60.0
_GREETING = b"\x05\x01\x00"
_LOOPBACK = b"\x01\x7f\x00\x00\x01"
_NAME = b"\x03\x09localhost"

_NONSENSE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
    b"\x05\x01\x09",
    b"\x05\x01\x00\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50",
    b"\x05\x01\x00\x05\x01\x00\x05\x7f",
)


class Place(Protocol):
    """
    Where the server is.

    @ivar tcp: a port on C{127.0.0.1}.

    @ivar haproxy: another, where a PROXY header is expected.

    @ivar unix: the path of a UNIX socket.
    """

    tcp: int
    haproxy: int
    unix: str


class _Refused(Exception):
    """
    The server has said no, or has gone without a reply.
    """


class Clients:
    """
    Everybody who uses the server.

    @ivar faults: what must not have happened, a line each.

    @ivar kinds: how many sessions of each kind there were.

    @ivar octets: how many have arrived.
    """

    def __init__(self, place: Place, seed: int, *, limited: bool) -> None:
        """
        @param seed: the same for the same sessions.

        @param limited: the server may run out of something, and end or refuse sessions.
        """
        self.faults: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.octets = 0
        self._place = place
        self._seed = seed
        self._limited = limited
        self._number = 0

    async def __aenter__(self) -> Clients:
        """
        Have a target for datagrams, which sends them back.
        """
        self._echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._echo.bind(("127.0.0.1", 0))
        self._echo.setblocking(False)
        self._echoing = asyncio.create_task(self._sendBack())
        return self

    async def __aexit__(self, *ignored: object) -> None:
        """
        That is over.
        """
        self._echoing.cancel()
        await asyncio.gather(self._echoing, return_exceptions=True)
        self._echo.close()

    async def _sendBack(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data, source = await loop.sock_recvfrom(self._echo, 65536)
            await loop.sock_sendto(self._echo, data, source)

    async def serve(self, count: int, parallel: int) -> None:
        """
        Let sessions happen.

        @param parallel: how many at a time.
        """
        numbers = iter(range(self._number, self._number + count))
        self._number += count

        async def work() -> None:
            for number in numbers:
                await self._session(number)

        await asyncio.gather(*(work() for _ in range(parallel)))

    async def _session(self, number: int) -> None:
        """
        One session.
        """
        chance = random.Random(self._seed << 32 | number)
        kinds = {
            self._connect: 80,
            self._refused: 4,
            self._nonsense: 3,
            self._bind: 8,
            self._associate: 3,
        }
        (kind,) = chance.choices(list(kinds), list(kinds.values()))
        self.kinds[kind.__name__.strip("_")] += 1
        found: list[str] = []
        try:
            async with asyncio.timeout(2 * _PATIENCE):
                found = await kind(chance, number)
        except _Refused as error:
            if not self._limited:
                found = [str(error)]
        except TimeoutError:
            found = ["it does not end"]
        except (OSError, EOFError) as error:
            if not self._limited:
                found = [repr(error)]
        self.faults += [f"session {number}, {kind.__name__.strip('_')}: {each}" for each in found]

    # What a client says first

    async def _call(self, chance: random.Random, number: int) -> socket.socket:
        """
        Connect to the server.
        """
        loop = asyncio.get_running_loop()
        way = chance.choice(("tcp", "tcp", "tcp", "haproxy", "unix"))
        client = socket.socket(socket.AF_UNIX if way == "unix" else socket.AF_INET)
        client.setblocking(False)
        try:
            if way == "unix":
                await loop.sock_connect(client, self._place.unix)
                return client
            # One address may not have many connections that have not made a request.
            host = f"127.1.{number // 250 % 250}.{number % 250 + 1}"
            client.bind((host, 0))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port = self._place.haproxy if way == "haproxy" else self._place.tcp
            await loop.sock_connect(client, ("127.0.0.1", port))
            if way == "haproxy":
                header = f"PROXY TCP4 {host} 127.0.0.1 4711 1080\r\n"
                await loop.sock_sendall(client, header.encode())
        except BaseException:
            client.close()
            raise
        return client

    async def _say(self, chance: random.Random, client: socket.socket, octets: bytes) -> None:
        """
        Send something, in one piece or in many.
        """
        loop = asyncio.get_running_loop()
        pieces = chance.choice((1, 1, 3, 20))
        most = len(octets) // pieces + 1
        for first in range(0, len(octets), most):
            await loop.sock_sendall(client, octets[first : first + most])
            if pieces > 1:
                await asyncio.sleep(chance.random() * 0.002)

    async def _reply(self, client: socket.socket) -> int:
        """
        Read a reply.

        @return: BND.PORT.

        @raise _Refused: it is a refusal, or there is none.
        """
        try:
            reply = await _exactly(client, 10)
        except (OSError, EOFError) as error:
            raise _Refused(f"no reply: {error!r}") from error
        if reply[1]:
            raise _Refused(f"refused with REP {reply[1]}")
        return int.from_bytes(reply[8:], "big")

    # Sessions

    async def _connect(self, chance: random.Random, number: int) -> list[str]:
        """
        CONNECT.
        """
        client, target = self._ends(chance, number)
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
            listening.setblocking(False)
            host = _NAME if chance.random() < 0.05 else _LOOPBACK
            port = listening.getsockname()[1].to_bytes(2, "big")
            opening = _GREETING + b"\x05\x01\x00" + host + port
            over = asyncio.Event()
            meeting = asyncio.create_task(self._meet(listening, target, over))
            try:
                connection = await self._call(chance, number)
                with connection:
                    resets = connection.family != socket.AF_UNIX
                    refusal = await self._open(chance, client, connection, opening)
                    if not (refusal or client.gaveUp):
                        await client.run(connection)
            finally:
                over.set()
                met = await meeting
        self.octets += client.got + target.got
        if refusal and not (client.gaveUp or target.gaveUp):
            raise _Refused(refusal)
        if not met or refusal:
            return []
        return faults(client, target, resets=resets, limited=self._limited)

    def _ends(self, chance: random.Random, number: int) -> tuple[End, End]:
        """
        Make a client and a target.
        """
        order = chance.random()
        plans = [
            planned(chance, _LARGEST, after=order < 0.2),
            planned(chance, _LARGEST, after=0.2 < order < 0.4),
        ]
        if chance.random() < 0.4:
            who = chance.randrange(2)
            plans[who] = evolve(plans[who], abort=_aborting(chance, plans[who], plans[1 - who]))
        key = 2 * chance.randrange(1 << 30)
        client = End("client", random.Random(number), key, plans[0])
        return client, End("target", random.Random(~number), key ^ 1, plans[1])

    async def _open(
        self, chance: random.Random, client: End, connection: socket.socket, opening: bytes
    ) -> str:
        """
        Do the client's part up to the reply; or a part of that.

        @return: why it has not come to that; empty if it has, or if the client has given up.
        """
        plan = client.plan
        ahead = 0 if plan.after else min(plan.size, chance.choice((0, 0, 100, 60_000)))
        said = opening + pattern(client.key, 0, ahead)
        if plan.abort is not None and chance.random() < 0.3:
            said = said[: chance.randrange(len(said))]
            ahead = max(len(said) - len(opening), 0)
        client.sent = ahead
        try:
            await self._say(chance, connection, said)
            if len(said) < len(opening) + client.sent or said[: len(opening)] != opening:
                client.giveUp(connection)
                return ""
            await _exactly(connection, 2)
            await self._reply(connection)
        except (OSError, EOFError, _Refused) as error:
            return str(error) or repr(error)
        return ""

    async def _meet(self, listening: socket.socket, target: End, over: asyncio.Event) -> bool:
        """
        Do the target's part.

        @param over: the client is gone.

        @return: whether the server has come.
        """
        loop = asyncio.get_running_loop()
        accepting = asyncio.create_task(loop.sock_accept(listening))
        gone = asyncio.create_task(over.wait())
        await asyncio.wait((accepting, gone), return_when=asyncio.FIRST_COMPLETED)
        # It may be on its way.
        await asyncio.wait((accepting,), timeout=0.3)
        gone.cancel()
        if not accepting.done():
            accepting.cancel()
            return False
        connection, _ = accepting.result()
        with connection:
            await target.run(connection)
        return True

    async def _refused(self, chance: random.Random, number: int) -> list[str]:
        """
        CONNECT where nobody listens.
        """
        with socket.socket() as nobody, await self._call(chance, number) as client:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1].to_bytes(2, "big")
            await self._say(chance, client, _GREETING + b"\x05\x01\x00" + _LOOPBACK + port)
            await _exactly(client, 2)
            try:
                await self._reply(client)
            except _Refused as error:
                if not str(error).endswith("REP 5"):
                    raise
                return await _end(client)
            return ["connected to nobody"]

    async def _nonsense(self, chance: random.Random, number: int) -> list[str]:
        """
        A client that does not know the protocol, or has had enough, or says nothing more.
        """
        with await self._call(chance, number) as client:
            await self._say(chance, client, chance.choice(_NONSENSE))
            return await _end(client)

    async def _bind(self, chance: random.Random, number: int) -> list[str]:
        """
        BIND, with a peer or without.
        """
        client, peer = self._ends(chance, number)
        with await self._call(chance, number) as connection:
            opening = _GREETING + b"\x05\x02\x00" + _LOOPBACK + b"\x00\x00"
            await self._say(chance, connection, opening)
            await _exactly(connection, 2)
            port = await self._reply(connection)
            if chance.random() < 0.2:
                # Nobody comes.
                try:
                    await self._reply(connection)
                except _Refused as error:
                    if not str(error).endswith("REP 6"):
                        raise
                    return await _end(connection)
                return ["a peer has come"]
            resets = connection.family != socket.AF_UNIX
            coming = asyncio.create_task(_come(port, peer))
            try:
                await self._reply(connection)
                await client.run(connection)
            except _Refused:
                if not (peer.gaveUp or peer.plan.abort):
                    raise
                return []
            finally:
                connection.close()
                await coming
        self.octets += client.got + peer.got
        return faults(client, peer, resets=resets, limited=self._limited)

    async def _associate(self, chance: random.Random, number: int) -> list[str]:
        """
        UDP ASSOCIATE.
        """
        loop = asyncio.get_running_loop()
        with (
            await self._call(chance, number) as carrier,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            opening = _GREETING + b"\x05\x03\x00" + b"\x01\x00\x00\x00\x00\x00\x00"
            await self._say(chance, carrier, opening)
            await _exactly(carrier, 2)
            port = await self._reply(carrier)
            host = "127.0.0.1" if carrier.family == socket.AF_UNIX else carrier.getsockname()[0]
            client.bind((host, 0))
            client.connect(("127.0.0.1", port))
            client.setblocking(False)
            there = self._echo.getsockname()[1].to_bytes(2, "big")
            header = b"\x00\x00\x00" + _LOOPBACK + there
            for count in range(chance.choice((0, 1, 50))):
                data = header + pattern(number, count, chance.choice((0, 1, 1400, 40_000)))
                await loop.sock_sendall(client, data)
                try:
                    async with asyncio.timeout(10):
                        if await loop.sock_recv(client, 65536) != data:
                            return [f"datagram {count} is another one"]
                except TimeoutError:
                    return [] if self._limited else [f"datagram {count} is lost"]
            if chance.random() < 0.5:
                carrier.shutdown(socket.SHUT_WR)
                return await _end(carrier)
            return []


async def _come(port: int, peer: End) -> None:
    """
    Be the peer of a BIND.
    """
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.bind(("127.0.0.1", 0))
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        await peer.run(connection)


async def _exactly(connection: socket.socket, octets: int) -> bytes:
    """
    Receive so many octets, and no more.

    @raise EOFError: there are not as many.
    """
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < octets:
        data = await loop.sock_recv(connection, octets - len(received))
        if not data:
            raise EOFError(f"the end after {received!r}")
        received += data
    return received


async def _end(connection: socket.socket) -> list[str]:
    """
    Wait for the end, whatever comes before it.

    @return: what is wrong, if it does not come.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE):
            with suppress(OSError):
                while await loop.sock_recv(connection, 65536):
                    pass
    except TimeoutError:
        return ["no end"]
    return []


def _aborting(chance: random.Random, own: Plan, other: Plan) -> Abort:
    """
    Say when an end gives up.
    """
    counts = {"sent": own.size * chance.random(), "got": other.size * chance.random()}
    what = chance.choice(("sent", "got", "time"))
    return Abort(what, counts.get(what, chance.random() * 0.3), chance.random() < 0.8)

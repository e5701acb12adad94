"""
A line between Kafka clients and one broker that fails to order while it is in use.

    client ──▶ port ▕ to the broker: late, slow, sliced, held, swallowed ▏──▶ broker
           ◀──      ▕ to the client: the same, each way for itself       ▏◀──

A client finds the brokers by what the first one answers, so the broker must give this port as its own address:
`doubles.proxied` starts one that does. Two rules of TCP hold whatever is ordered: bytes arrive in order, and behind
bytes that got lost none arrive. A way that has swallowed something therefore swallows to the end of its connection, the
end included, and neither side is told. The proxy has a thread and an event loop of its own.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Self

from doubles.loopback import lasting_ports

HOST = "127.0.0.1"
CHUNK = 65_536
IN_FLIGHT = 64
"""Chunks that a way holds before it lets the sender's window fill."""
PACE_S = 0.02
"""What a narrow line lets through at once, in seconds of its rate."""
SLICE_PAUSE_S = 0.0005
"""Between two slices, so that the receiver sees each by itself."""
ORDER_S = 10.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST and not FIN (socket(7))."""


class Direction(StrEnum):
    """Of the two ways of a connection."""

    TO_BROKER = "to broker"
    TO_CLIENT = "to client"


class Way(StrEnum):
    """What happens to bytes in one direction."""

    PASS = "pass"
    HOLD = "hold"
    """They wait, and arrive once the way passes again: an outage that TCP's own repetition bridges."""
    SWALLOW = "swallow"
    """They vanish, and so do all after them: a middle box that has forgotten the connection."""


@dataclass(frozen=True)
class Line:
    """What the line does; its parts combine. As it stands: nothing but passing on."""

    latency_s: float = 0.0
    """Each way."""
    jitter_s: float = 0.0
    """At most so much is added to the latency, evenly spread; order is kept."""
    bytes_per_s: float | None = None
    """Each way, all connections together."""
    slice_bytes: int | None = None
    """No write is larger."""
    to_broker: Way = Way.PASS
    to_client: Way = Way.PASS
    refuse: bool = False
    """New connections are refused as if nothing ran there; those that are open stay."""

    def of(self, way: Direction) -> Way:
        """Return what becomes of bytes in direction *way*."""
        return self.to_broker if way is Direction.TO_BROKER else self.to_client


PASS = Line()
HALF_OPEN = Line(to_broker=Way.SWALLOW, to_client=Way.SWALLOW)
"""Connections are accepted, bytes are taken, nothing ever comes back, not even an end."""
REFUSE = Line(refuse=True)


class _Pipe:
    """One way of one connection."""

    def __init__(
        self, proxy: "FaultProxy", way: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.lossy = False
        self._proxy = proxy
        self._way = way
        self._reader = reader
        self._writer = writer
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)

    async def carry(self) -> None:
        """Bring all of the reader to the writer, its end too."""
        await _all(self._receive(), self._deliver())

    def end(self, option: bytes | None = None) -> None:
        """Close the receiving side, with *option* `RESET` by RST."""
        if option and not self._writer.is_closing():
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            self._writer.transport.abort()
        self._writer.close()

    async def _receive(self) -> None:
        """Queue what comes with the moment at which it is due; an empty chunk, the last, stands for the end."""
        chunk = b"-"
        while chunk:
            chunk = await self._reader.read(CHUNK)
            await self._queue.put((self._proxy.due(), chunk))

    async def _deliver(self) -> None:
        chunk = b"-"
        while chunk:
            due, chunk = await self._queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._write(chunk)
        await self._look()
        if not self.lossy:
            self._writer.write_eof()

    async def _write(self, chunk: bytes) -> None:
        """Write *chunk* in the pieces and at the pace that the line has at each moment."""
        while chunk:
            line = self._proxy.line
            size = line.slice_bytes or (max(1, int(line.bytes_per_s * PACE_S)) if line.bytes_per_s else len(chunk))
            piece, chunk = chunk[:size], chunk[size:]
            if line.bytes_per_s:
                await self._proxy.turn_on_the_line(self._way, len(piece) / line.bytes_per_s)
            await self._look()
            if self.lossy:
                return
            self._writer.write(piece)
            await self._writer.drain()
            self._proxy.carried[self._way] += len(piece)
            if line.slice_bytes:
                await asyncio.sleep(SLICE_PAUSE_S)

    async def _look(self) -> None:
        """Wait while this way holds; note if it swallows."""
        while (now := self._proxy.line.of(self._way)) is Way.HOLD:
            await self._proxy.changed.wait()
        self.lossy |= now is Way.SWALLOW


class FaultProxy:
    """A context manager: listens on `port` and passes on to *broker_port*, both on loopback, as `order` says."""

    def __init__(self, broker_port: int, *, port: int | None = None, seed: int = 1) -> None:
        """Take *port*, or a free one; *seed* decides the jitter."""
        self.port = port or lasting_ports(1)[0]
        self.line = PASS
        self.changed = asyncio.Event()
        """Set once the line changes; each change has an event of its own."""
        self.accepted = 0
        self.carried = dict.fromkeys(Direction, 0)
        """Bytes delivered."""
        self._broker_port = broker_port
        self._random = Random(seed)
        self._connections: dict[asyncio.Task[Any], list[_Pipe]] = {}
        self._free_at = dict.fromkeys(Direction, 0.0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def bootstrap(self) -> str:
        """The address for clients, ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections somebody still believes in."""
        return len(self._connections)

    def order(self, line: Line) -> None:
        """Let the line be *line* from now on, for what is on its way too."""
        self._do(self._order(line))

    def reset(self) -> None:
        """End all connections by RST, on both sides, those included that have lost something."""
        self._do(self._reset())

    def due(self) -> float:
        """Return when something that comes in now is to be delivered, time of the loop."""
        return self._loop.time() + self.line.latency_s + self._random.uniform(0, self.line.jitter_s)

    async def turn_on_the_line(self, way: Direction, span_s: float) -> None:
        """Occupy *way* for *span_s* once it is free, and return when that is over."""
        self._free_at[way] = max(self._free_at[way], self._loop.time()) + span_s
        await asyncio.sleep(self._free_at[way] - self._loop.time())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(ORDER_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _order(self, line: Line) -> None:
        refused, self.line = self.line.refuse, line
        self.changed.set()
        self.changed = asyncio.Event()
        if line.refuse and self._server:
            self._server.close()
            self._server = None
        elif refused and not line.refuse:
            await self._listen()

    async def _reset(self) -> None:
        ended = dict(self._connections)
        for task, pipes in ended.items():
            for pipe in pipes:
                pipe.end(RESET)
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def _end(self) -> None:
        if self._server:
            self._server.close()
        await self._reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        pipes = [_Pipe(self, Direction.TO_CLIENT, reader, writer)]
        task = self._loop.create_task(self._serve(reader, writer, pipes))
        self._connections[task] = pipes
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pipes: list[_Pipe]) -> None:
        """Carry both ways until both have ended, and let each side know unless its way is lossy."""
        option = None
        try:
            if self.line.to_broker is Way.SWALLOW:  # no SYN gets through
                pipes[0].lossy = True
                await _exhaust(reader)
            else:
                answers, broker = await asyncio.open_connection(HOST, self._broker_port)
                pipes[:] = [
                    _Pipe(self, Direction.TO_BROKER, reader, broker),
                    _Pipe(self, Direction.TO_CLIENT, answers, writer),
                ]
                await _all(*(pipe.carry() for pipe in pipes))
        except OSError:
            option = RESET
        for pipe in pipes:
            if not pipe.lossy:
                pipe.end(option)
        if any(pipe.lossy for pipe in pipes):
            await asyncio.Event().wait()


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """Do all *works* at once; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _exhaust(reader: asyncio.StreamReader) -> None:
    while await reader.read(CHUNK):
        pass

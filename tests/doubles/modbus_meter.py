"""
A meter that speaks Modbus TCP: pymodbus's own server in a thread, its registers settable while it runs.

    with modbus_meter.metering({3059: [0x4348, 0x8000]}) as meter:    # float32 200.5
        meter.set(3059, [0x7FC0, 0x0000])                             # not a number
        meter.stop()
        meter.start()                                                 # the same port, as after a power cut

Registers are holding registers; those of *inputs* are input registers. Every other address is refused as the protocol
has it, with exception 2.
"""

import asyncio
import atexit
import functools
import socketserver
import struct
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNIT_ID = 7
WAIT_S = 10.0
READ_INPUT_REGISTERS = 4
ADDRESSES = 65_535
"""pymodbus's simulator serves addresses below this one."""


class Meter:
    """One meter on a loopback port that it keeps."""

    def __init__(self, registers: Mapping[int, Sequence[int]], inputs: Mapping[int, Sequence[int]]) -> None:
        self.port = 0
        self.refusal: ExcCodes | None = None
        """What it answers every request with, if anything."""
        self.silent = False
        """It takes requests and answers none."""
        self._holding, self._inputs = _by_address(registers), _by_address(inputs)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modbus meter", daemon=True)
        self._thread.start()
        self._server: ModbusTcpServer | None = None

    def set(self, address: int, words: Sequence[int]) -> None:
        """Change holding registers from *address* on; the next reading sees them."""
        self._holding |= _by_address({address: words})

    def start(self) -> None:
        """Listen."""
        self._wait(self._listen())

    def stop(self) -> None:
        """Drop every connection and listen no more."""
        if self._server is not None:
            self._wait(self._server.shutdown())  # type: ignore[no-untyped-call]  # pymodbus leaves its result out
            self._server = None

    def scrap(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._wait(_nothing_left())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    async def _listen(self) -> None:
        memory = SimData(0, count=ADDRESSES, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(UNIT_ID, simdata=[memory], action=self._answer)
        others = SimDevice(0, simdata=[memory], action=_no_such_unit)
        self._server = ModbusTcpServer([device, others], address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)
        listening: Any = self._server.transport  # an asyncio.Server, which pymodbus declares as a transport
        self.port = listening.sockets[0].getsockname()[1]

    async def _answer(
        self, function: int, _start: int, address: int, count: int, memory: list[int], _values: object
    ) -> ExcCodes | None:
        """Put what is asked for into pymodbus's *memory*, from which it replies."""
        if self.silent:
            await asyncio.Event().wait()
        if self.refusal is not None:
            return self.refusal
        table = self._inputs if function == READ_INPUT_REGISTERS else self._holding
        asked = range(address, address + count)
        if not table.keys() >= set(asked):
            return ExcCodes.ILLEGAL_ADDRESS
        memory[address : address + count] = [table[at] for at in asked]
        return None


class _HalfOpen(socketserver.StreamRequestHandler):
    """Answers every request with one figure, except on the first connection of all: that one is dead, and stays so."""

    server: "_HalfOpenServer"

    def handle(self) -> None:
        self.server.connections += 1
        dead, words = self.server.connections == 1, self.server.words
        while len(request := self.rfile.read(12)) == 12:
            transaction, unit, function = struct.unpack(">H4xBB4x", request)
            size = 2 * len(words)
            if not dead:
                head = struct.pack(">HHHBBB", transaction, 0, 3 + size, unit, function, size)
                self.wfile.write(head + struct.pack(f">{len(words)}H", *words))


class _HalfOpenServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, words: Sequence[int]) -> None:
        super().__init__(("127.0.0.1", 0), _HalfOpen)
        self.words = words
        self.connections = 0


@contextmanager
def half_open(words: Sequence[int]) -> Iterator[int]:
    """Serve *words* at every address but for the first connection, as after a power cut; yield the port."""
    with _HalfOpenServer(words) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), name="half-open meter", daemon=True)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join(WAIT_S)


@functools.cache
def standing() -> Meter:
    """Return a meter that lasts as long as this process: float32 200.5 at register 3059, int64 1 000 000 at 3203."""
    serving = metering({3059: [0x4348, 0x8000], 3203: [0x0000, 0x0000, 0x000F, 0x4240]})
    meter = serving.__enter__()
    atexit.register(serving.__exit__, None, None, None)
    return meter


async def _no_such_unit(*_request: object) -> ExcCodes:
    """Answer as a gateway does whose bus holds no such unit."""
    return ExcCodes.GATEWAY_NO_RESPONSE


@contextmanager
def metering(
    registers: Mapping[int, Sequence[int]], inputs: Mapping[int, Sequence[int]] | None = None
) -> Iterator[Meter]:
    """Start a meter with *registers*, by the address of the first word of each figure."""
    meter = Meter(registers, inputs or {})
    try:
        meter.start()
        yield meter
    finally:
        meter.scrap()


def _by_address(figures: Mapping[int, Sequence[int]]) -> dict[int, int]:
    return {at + offset: word for at, words in figures.items() for offset, word in enumerate(words)}


async def _nothing_left() -> None:
    """Cancel what still waits for a reply that never comes."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

"""
The hosts of a plan as one process: ``python sender.py ORDER``; sends each tick when it is due, until SIGTERM.

A file tells, once the process has ended with code 0, which ticks Kafka has acknowledged: those that a figure must hold.
One that was refused ends it with code 1.
"""

import asyncio
import signal
import sys
from pathlib import Path

import msgspec
from doubles.stream.fleet import Plan, deliveries

from pipeline.clock import Clock
from pipeline.kafka import Sender
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

IN_FLIGHT = 5000


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the process has to do."""

    plan: Plan
    kafka: Kafka
    clock: str
    acknowledged: Path

    def write(self, path: Path) -> Path:
        """Write it where the process will read it."""
        path.write_bytes(msgspec.json.encode(self, enc_hook=str))
        return path


class Sent(msgspec.Struct, frozen=True):
    """What became of it."""

    records: int
    """Acknowledged by Kafka, those that were sent twice twice."""
    ticks: list[tuple[str, str, int]]
    """Host, boot and number of each, once."""


async def send(order: Order) -> Sent:
    """Send what is due when it is due; one that is behind goes on as fast as it can, in the same order."""
    clock, stop = Clock.parse(order.clock), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    records, ticks = 0, dict[tuple[str, str, int], None]()
    async with Sender(order.kafka) as sender:
        waiting: list[asyncio.Future[object]] = []
        for due, tick in deliveries(order.plan):
            if due > clock.now():
                await clock.sleep_until(due)
            if stop.is_set():
                break
            waiting.append(await sender.enqueue(HOST_TICKS, tick))
            ticks[tick.host, tick.boot, tick.seq] = None
            if len(waiting) >= IN_FLIGHT:
                await asyncio.gather(*waiting)
                records, waiting = records + len(waiting), []
        await asyncio.gather(*waiting)
        return Sent(records + len(waiting), list(ticks))


def main(path: Path) -> None:
    """Carry out the order in *path*."""
    order = msgspec.json.decode(path.read_bytes(), type=Order, dec_hook=lambda kind, text: kind(text))
    sent = asyncio.run(send(order))
    order.acknowledged.write_bytes(msgspec.json.encode(sent))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

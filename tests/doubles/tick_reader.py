"""
Read a topic of host ticks to the end and on: ``python tests/doubles/tick_reader.py KAFKA TOPIC FILE``.

KAFKA is a `pipeline.settings.Kafka` as JSON. Every record is one line of FILE, ``partition offset host seq``. A process
of its own, so that nothing that befalls the producers befalls the reader; it runs until it is terminated.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.acked_and_read import Record

from deploy import supervise
from pipeline.codec import Codec
from pipeline.kafka import consumer
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, Topic

READ_S = 60.0


def topic_named(name: str, partitions: int) -> Topic[Any]:
    """Return a topic of host ticks under another name."""
    return replace(HOST_TICKS, name=name, partitions=partitions)


@asynccontextmanager
async def reading(kafka: Kafka, topic: Topic[Any], file: Path) -> AsyncIterator[None]:
    """Let a process of its own append all of *topic* to *file*, from here to the end of the block."""
    words = [msgspec.json.encode(kafka).decode(), topic.name, str(file)]
    process = supervise.start([sys.executable, __file__, *words], log=file.with_suffix(".log"))
    try:
        await supervise.until(file.exists, READ_S)
        yield
        assert process.poll() is None, f"the reader ended: {file.with_suffix('.log').read_text()[-2000:]}"
    finally:
        supervise.kill(process)


def records_in(file: Path) -> list[Record]:
    """Return what is in *file* of a reader; a last line without an end is not there yet."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [
        Record(int(partition), int(offset), host, int(seq))
        for partition, offset, host, seq in (line.split() for line in lines)
    ]


async def read_up_to(file: Path, log: Iterable[Record]) -> list[Record]:
    """Return what a reader has written to *file*, once that reaches the end of *log* or a minute is over."""
    ends = {record.partition: record.offset for record in log}

    def there() -> bool:
        reached = {record.partition: record.offset for record in records_in(file)}
        return all(reached.get(partition, -1) >= end for partition, end in ends.items())

    with suppress(TimeoutError):
        await supervise.until(there, READ_S)
    return records_in(file)


async def whole_log(kafka: Kafka, topic: Topic[Any]) -> list[Record]:
    """Return all that is in *topic* now, read by a consumer that knows nothing of before."""
    found: list[Record] = []
    async with consumer(kafka, topic) as reader:
        ends = await reader.end_offsets(list(reader.assignment()))
        while any([await reader.position(partition) < end for partition, end in ends.items()]):
            found += await _batch(reader, Codec(topic))
    return found


async def _batch(reader: Any, codec: Codec[Any]) -> list[Record]:
    """Return what comes within a moment."""
    batches = await reader.getmany(timeout_ms=200)
    return [
        Record(partition.partition, record.offset, message.host, message.seq)
        for partition, records in batches.items()
        for record, message in ((record, codec.decode(record.value)) for record in records)
    ]


async def main(kafka: Kafka, topic: Topic[Any], file: Path) -> None:
    """Append all of *topic* to *file*, for ever."""
    codec = Codec(topic)
    async with consumer(kafka, topic) as reader:
        with file.open("w", encoding="utf-8") as out:
            while True:
                batch = await _batch(reader, codec)
                out.writelines(f"{each.partition} {each.offset} {each.host} {each.seq}\n" for each in batch)
                out.flush()


if __name__ == "__main__":
    asyncio.run(
        main(msgspec.json.decode(sys.argv[1], type=Kafka), topic_named(sys.argv[2], partitions=1), Path(sys.argv[3]))
    )

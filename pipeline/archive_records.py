"""Records of Kafka as rows of the archive; what is no message of its topic is said in the log and passed over."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from pipeline.archive_places import FILING, fits
from pipeline.archive_rows import frame, row
from pipeline.archive_schemas import ARCHIVED, TELEMETRY
from pipeline.archive_ticks import Reader, Record
from pipeline.codec import Codec

log = logging.getLogger(__name__)

TICKS = {topic.name for topic in TELEMETRY}
CODECS = {topic.name: Codec(topic) for topic in ARCHIVED}


class KafkaRecord(Protocol):
    """What is needed of a record; aiokafka's are such."""

    value: bytes | None
    offset: int
    timestamp: int
    """Milliseconds since 1970."""


@dataclass
class Intake:
    """Makes rows; remembers the layouts of hosts between two batches."""

    reader: Reader = field(default_factory=Reader)

    def rows(self, topic: str, partition: int, records: Sequence[KafkaRecord]) -> pl.DataFrame:
        """Return the rows of *records*, which are of one partition, in the topic's schema."""
        if topic not in TICKS:
            return frame(topic, _rows(topic, partition, records))
        ticks = [Record(record.value, record.offset, record.timestamp) for record in records]
        rows, refused = self.reader.rows(partition, ticks)
        for offset, reason in refused:
            _pass_over(topic, partition, offset, reason)
        return rows


def _rows(topic: str, partition: int, records: Iterable[KafkaRecord]) -> Iterator[dict[str, Any]]:
    codec, site = CODECS[topic], FILING[topic].site
    for record in records:
        try:
            values = row(codec.decode(record.value), partition, record.offset)
        except ValueError as error:  # `DecodeError` is one
            _pass_over(topic, partition, record.offset, str(error))
            continue
        if site is not None and not fits(values[site]):
            _pass_over(topic, partition, record.offset, f"the name of its site is too long: {values[site][:40]}…")
            continue
        yield values


def _pass_over(topic: str, partition: int, offset: int, reason: str) -> None:
    log.warning("message at %s:%s:%s passed over: %s", topic, partition, offset, reason)

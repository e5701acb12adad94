"""
What was published of intervals not long ago, by whoever had the partitions before.

A worker publishes a figure first and writes down afterwards that it has. One that dies in between, or loses its
partitions, leaves a figure of which its successor's table knows nothing; by then the successor may know more of the
interval, and would give the number of that revision to another figure. So it asks the topic itself.
"""

from contextlib import suppress

from aiokafka import TopicPartition

from pipeline import kafka
from pipeline.codec import Codec, DecodeError
from pipeline.messages.telemetry import SiteInterval
from pipeline.settings import Kafka
from pipeline.site_intervals import table_key
from pipeline.topics import SITE_INTERVALS

#: Records read of each partition: those of minutes, where what is asked for was sent within seconds.
LAST = 300
PLACES = [TopicPartition(SITE_INTERVALS.name, number) for number in range(SITE_INTERVALS.partitions)]


async def newest(settings: Kafka) -> dict[str, SiteInterval]:
    """Return, by table key, the highest revision of the intervals that were published last."""
    codec, found = Codec(SITE_INTERVALS), dict[str, SiteInterval]()
    async with kafka.consumer(settings) as reader:
        reader.assign(PLACES)
        begins, ends = await reader.beginning_offsets(PLACES), await reader.end_offsets(PLACES)
        left = {place: ends[place] for place in PLACES if ends[place] > begins[place]}
        for place, end in left.items():
            reader.seek(place, max(begins[place], end - LAST))
        while left:
            for records in (await reader.getmany(*left, timeout_ms=200)).values():
                for record in records:
                    with suppress(DecodeError):  # what is no figure is nobody's, and stops nobody
                        _note(found, codec.decode(record.value))
            # by place and not by record: retention may have taken the last ones meanwhile
            left = {place: end for place, end in left.items() if await reader.position(place) < end}
    return found


def _note(found: dict[str, SiteInterval], figure: SiteInterval) -> None:
    key = table_key(figure.site, figure.interval)
    if key not in found or figure.revision >= found[key].revision:
        found[key] = figure

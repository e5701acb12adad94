"""What a worker learns of the figures published before it took over: real Kafka."""

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from unit.pipeline.test_site_intervals import part
from unit.pipeline.ticks import at

from pipeline.agents import told
from pipeline.kafka import Sender, ensure_topics
from pipeline.settings import Kafka
from pipeline.site_figures import merged_interval
from pipeline.site_intervals import table_key
from pipeline.topics import SITE_INTERVALS, TOPICS

pytestmark = pytest.mark.broker


async def test_of_what_was_published_last_the_highest_revision_is_told(kafka: Kafka) -> None:
    """Four hundred revisions of one figure, of which only the last 300 are read, and what is no figure behind them."""
    await ensure_topics(kafka, TOPICS)
    figure = merged_interval([msgspec.structs.replace(part(0), site="told-1")], 8, 1, [])
    many = [msgspec.structs.replace(figure, revision=number + 1) for number in range(400)]
    other = msgspec.structs.replace(figure, site="told-2", revision=2)
    async with Sender(kafka) as sender:
        for one in (*many, other, msgspec.structs.replace(other, revision=1)):
            await (await sender.enqueue(SITE_INTERVALS, one))
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as stranger:
        await stranger.send_and_wait(SITE_INTERVALS.name, b"{}", key=b"told-1")

    found = await told.newest(kafka)

    assert figure.interval.start == at(0)
    assert found[table_key("told-1", figure.interval)] == many[-1]
    assert found[table_key("told-2", figure.interval)] == other

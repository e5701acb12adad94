"""A mirror that reads a secured site, by password and by certificate, as a principal that may only look."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from aiokafka import TopicPartition
from doubles.guarded import Guarded, secured
from unit.pipeline.test_portfolio import figure, pool

from deploy.broker import mirror, mirror_progress
from deploy.broker.mirror_settings import Cluster, Mirror, Source
from deploy.broker.node import Variant
from pipeline.kafka import Sender, consumer
from pipeline.settings import Kafka
from pipeline.topics import SITE_CAPACITY

pytestmark = pytest.mark.broker

READER = "monitor"
WAIT_S = 120.0


@pytest.fixture(scope="module", params=list(Variant))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with secured(tmp_path_factory.mktemp("site"), request.param) as guarded:
        yield guarded


def secret(site: Guarded) -> bytes:
    """Return the reader's password, or a line out of the middle of its key."""
    scram = site.security.variant is Variant.SCRAM
    lines = site.security.of_client(READER, "password" if scram else "key").read_bytes().splitlines()
    return lines[0] if scram else lines[1]


def left_open(folder: Path) -> list[bytes]:
    """Return what a mirror has left in the files of *folder*, but for those that nobody else may read."""
    return [file.read_bytes() for file in folder.iterdir() if file.stat().st_mode & 0o077]


async def values(kafka: Kafka, topic: str, partitions: int) -> list[bytes]:
    """Return the values of all records in *topic*."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    found: list[bytes] = []
    async with consumer(kafka) as reader:
        reader.assign(places)
        ends = await reader.end_offsets(places)
        while any([await reader.position(place) < end for place, end in ends.items()]):
            for some in (await reader.getmany(timeout_ms=200)).values():
                found += [record.value or b"" for record in some]
    return found


async def test_figures_of_a_secured_site_arrive_and_its_secrets_stay_where_they_are(
    site: Guarded, kafka: Kafka, tmp_path: Path
) -> None:
    """A worker writes the figure at the site; the mirror may only look, and leaves no secret anywhere."""
    name = f"site-{site.security.variant}"
    told = figure(name, 1, pool())
    async with Sender(site.kafka("worker")) as sender:
        await sender.send(SITE_CAPACITY, told)
    settings = Mirror(
        target=Cluster(name="portfolio", bootstrap=kafka.bootstrap),
        source=(Source(**msgspec.structs.asdict(site.kafka(READER)) | {"name": name}),),
    )
    process = await mirror.start(settings, tmp_path, detach=False)
    try:
        deadline = time.monotonic() + WAIT_S
        while (await mirror_progress.read(settings))[0].behind != 0:
            assert time.monotonic() < deadline, mirror.last_words(process)
            await asyncio.sleep(0.2)
        stored = await values(kafka, f"mm2-configs.{name}.internal", 1)
    finally:
        mirror.stop(tmp_path)

    assert msgspec.json.encode(told) in await values(kafka, SITE_CAPACITY.name, SITE_CAPACITY.partitions)
    assert any(b"${file:" in value for value in stored), "what a connector was told is there, by reference"
    assert not [text for text in (*stored, *left_open(tmp_path)) if secret(site) in text]

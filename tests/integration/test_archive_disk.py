"""The archive's disk is full: the worker stops with one line and code 4, and goes on where it stopped."""

import asyncio
from pathlib import Path

import polars as pl
import pytest
from doubles.archived import ack
from doubles.disk.small import small_disk
from integration.workers import deployment, wait_for

from pipeline import kafka as bus
from pipeline.archive_hash import Contents
from pipeline.clock import Clock
from pipeline.desk_cli import query
from pipeline.rebuild_sources import held
from pipeline.settings import Kafka
from pipeline.storage import Folder
from pipeline.topics import ACKS

pytestmark = pytest.mark.broker
COUNT = 300


async def send(kafka: Kafka, host: str) -> None:
    async with bus.Sender(kafka) as sender:
        for number in range(COUNT):
            await sender.enqueue(ACKS, ack(number, host, Clock().now()))
        await sender.flush()


def test_a_full_disk_stops_the_worker_with_code_4_and_all_rows_are_there_once_there_is_room(
    kafka: Kafka, tmp_path: Path
) -> None:
    """A file of another program takes all room but a few kilobytes; nothing that is there is torn."""
    place = deployment(tmp_path, kafka, Clock())
    with small_disk(place.archive, 4096) as disk:
        with place.worker("worker-1") as process:
            free = disk.stat()
            assert free.st_dev != tmp_path.stat().st_dev
            _fill(disk / "somebody-elses")
            asyncio.run(send(kafka, place.site))
            assert process.wait(timeout=60) == 4
        log = (tmp_path / "worker-1.log").read_text().splitlines()
        assert [line for line in log if "make room" in line and "nothing is lost" in line]
        assert not list(disk.rglob("*.tmp"))
        for file in disk.rglob("*.parquet"):
            pl.read_parquet(file)

        (disk / "somebody-elses").unlink()
        sql = f"SELECT count(*), count(DISTINCT command_id) FROM acks WHERE host = '{place.site}'"
        with place.worker("worker-2"):
            wait_for(lambda: query(place.desk, sql)[1] == [(COUNT, COUNT)], 60, "all answers in the view")
        found = held(Folder(disk))
        assert all(isinstance(what, Contents) for what in found.values())
        assert ACKS.name in {place.topic for place in found}


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue

"""The archive on a real Kafka: killed and out of disk, it loses no row and shows none twice."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from integration.workers import deployment, wait_for
from unit.pipeline.ticks import NOON, at

from pipeline import desk, storage
from pipeline import kafka as bus
from pipeline.agents.archive import Archive
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.settings import Kafka
from pipeline.topics import ACKS

pytestmark = pytest.mark.broker


def ack(host: str, number: int) -> CommandAck:
    return CommandAck(
        host=host,
        command_id=f"{host}-{number}",
        seq=number,
        status=AckStatus.APPLIED,
        reason=None,
        issued_at=NOON,
        acknowledged_at=at(1),
        latency_ms=12.5,
        before_w=600.0,
        after_w=400.0,
        gpus=(),
        simulated=True,
    )


async def send(kafka: Kafka, acks: list[CommandAck], pace_s: float = 0.0) -> None:
    async with bus.Sender(kafka) as sender:
        for one in acks:
            await sender.enqueue(ACKS, one)
            await asyncio.sleep(pace_s)
        await sender.flush()


def counted(file: Path, view: str, host: str) -> tuple[int, int]:
    """Return how many rows of *host* the view has, and how many distinct commands."""
    with duckdb.connect(str(file), read_only=True) as connection:
        sql = f"SELECT count(*), count(DISTINCT command_id) FROM {view} WHERE host LIKE ?"
        rows, distinct = connection.execute(sql, [f"{host}%"]).fetchall()[0]
    return rows, distinct


def test_a_worker_killed_with_9_loses_no_row_and_shows_none_twice(kafka: Kafka, tmp_path: Path) -> None:
    place = deployment(tmp_path, kafka, Clock())
    acks = [ack(f"{place.site}-{number % 7}", number) for number in range(400)]
    with place.worker("worker-1") as process:
        asyncio.run(send(kafka, acks[:250], pace_s=0.01))
        process.kill()
    some = counted(place.desk, "acks", place.site)[0]
    asyncio.run(send(kafka, acks[250:]))
    with place.worker("worker-2"):
        wait_for(lambda: counted(place.desk, "acks", place.site)[1] == 400, 30, "all acknowledgements in the view")

    assert 0 < some <= 250, "killed after some rows were archived"
    assert counted(place.desk, "acks", place.site) == (400, 400)
    assert counted(place.desk, "archive.control_ack", place.site)[0] >= 400


async def archived(keeper: Archive, until: Callable[[], bool]) -> None:
    """Run *keeper* until the condition holds, or it fails."""
    running = asyncio.ensure_future(keeper.run())
    deadline = time.monotonic() + 20
    while not running.done() and not until():
        assert time.monotonic() < deadline, "no file after 20 s"
        await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])
    if not running.cancelled() and (error := running.exception()):
        raise error


def test_a_folder_that_takes_no_file_stops_the_archive_and_loses_nothing(kafka: Kafka, tmp_path: Path) -> None:
    """A file in the place of the topic's folder stands for the disk that is full; once it is gone, all rows arrive."""
    host = f"{tmp_path.name}-blocked"
    folder, file = tmp_path / "archive", tmp_path / "desk.duckdb"
    keeper = Archive(kafka=kafka, group=host, storage=storage.at(folder), session_timeout_s=6.0)
    folder.mkdir()
    (folder / ACKS.name).write_text("in the way")
    asyncio.run(send(kafka, [ack(host, number) for number in range(20)]))

    with pytest.raises(EnvironmentProblem, match="make room"):
        asyncio.run(archived(keeper, lambda: False))

    (folder / ACKS.name).unlink()
    again = Archive(kafka=kafka, group=host, storage=storage.at(folder), session_timeout_s=6.0)
    desk.build(file, storage.at(folder))
    asyncio.run(archived(again, lambda: counted(file, "acks", host)[1] == 20))
    assert counted(file, "acks", host) == (20, 20)
    assert not list(folder.rglob(".*.tmp"))

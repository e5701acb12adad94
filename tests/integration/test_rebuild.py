"""An archive built anew: from Kafka and from itself it holds the same, and what differs is named."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from doubles.archived import MINUTE, NOON, ack, interval
from unit.pipeline.ticks import steady

from pipeline import archive, frames, storage
from pipeline import kafka as bus
from pipeline.agents.archive import Archive
from pipeline.archive_places import Place
from pipeline.desk_cli import query
from pipeline.errors import ConfigError
from pipeline.rebuild_cli import main
from pipeline.rebuild_sources import expired, ticks
from pipeline.settings import Kafka
from pipeline.storage import Folder
from pipeline.topics import ACKS, HOST_TICKS, SITE_INTERVALS

pytestmark = pytest.mark.broker

TICKS = list(steady(29, host="host-1"))


async def produce(kafka: Kafka) -> None:
    """Send intervals of two sites, one twice and with a revision, answers of two days, half a minute of ticks."""
    async with bus.Sender(kafka) as sender:
        for number in range(20):
            for site in ("site-1", "dc/2"):
                await sender.enqueue(SITE_INTERVALS, interval(number, site))
        for again in (interval(3), interval(3, energy_kwh=2.0, revision=2)):
            await sender.enqueue(SITE_INTERVALS, again)
        for number in range(40):
            await sender.enqueue(ACKS, ack(number, f"host-{number % 5}", NOON + timedelta(minutes=30 * number)))
        for tick in TICKS:
            await sender.enqueue_encoded(HOST_TICKS, tick.host.encode(), frames.encode(tick))
        await sender.enqueue_encoded(HOST_TICKS, b"host-1", b"no tick")
        await sender.flush()


async def archived(keeper: Archive, until: Callable[[], bool]) -> None:
    """Run *keeper* until the condition holds."""
    running = asyncio.ensure_future(keeper.run())
    deadline = time.monotonic() + 60
    while not until():
        assert not running.done()
        assert time.monotonic() < deadline, "not archived within 60 s"
        await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait([running])


def keep(kafka: Kafka, folder: Path, group: str) -> None:
    """Archive all there is as *group*: ticks are published when it leaves."""
    keeper = Archive(
        kafka=kafka, group=group, storage=storage.at(folder), session_timeout_s=6.0, publish_every_s=0.2, telemetry=True
    )

    def everything() -> bool:
        read = sum(len(held.records) for held in keeper._held.values())
        return (
            keeper.written["site.interval.v1", "rows"] + keeper.written["control.ack.v1", "rows"] == 82 and read == 31
        )

    asyncio.run(archived(keeper, everything))


def rebuilt(capsys: pytest.CaptureFixture[str], place: Path, source: str, into: str) -> tuple[int, list[str], str]:
    """Return exit code, what was printed of the new archive, and the errors."""
    words = ["--config", str(place / "firmwatt.toml"), "--from", source, "--into", str(place / into), "--check"]
    code = main(words)
    said = capsys.readouterr()
    return code, [line for line in said.out.splitlines() if not line.startswith("equal")], said.err


def test_from_kafka_and_from_the_archive_come_equal_hashes_and_a_changed_row_is_found(
    fresh_kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Everything was archived twice, by two groups, as after a crash that forgot all its commits.

    Then somebody changes one figure in one file and makes the manifest fit.
    """
    folder = tmp_path / "archive"
    (tmp_path / "firmwatt.toml").write_text(
        f"""
[kafka]
bootstrap = "{fresh_kafka.bootstrap}"
[pipeline]
archive = "{folder}"
group = "kept"
archive_telemetry = true
"""
    )
    asyncio.run(produce(fresh_kafka))
    keep(fresh_kafka, folder, "forgotten")
    keep(fresh_kafka, folder, "kept-archive")
    archive.backfill(
        storage.at(folder), "site-1", pl.DataFrame({"start": [NOON], "load_kw": [9.0]}), MINUTE, NOON, simulated=True
    )

    from_kafka, from_archive = (rebuilt(capsys, tmp_path, source, f"from-{source}") for source in ("kafka", "archive"))

    assert (from_kafka[0], from_archive[0]) == (0, 0), from_kafka[2] + from_archive[2]
    assert from_kafka[1] == from_archive[1]
    counted = {tuple(line.split()[:4]) for line in from_kafka[1][1:]}
    assert counted == {
        ("site.interval.v1", "2026-07-23", "site-1", "21"),
        ("site.interval.v1", "2026-07-23", "dc/2", "20"),
        ("control.ack.v1", "2026-07-23", "-", "24"),
        ("control.ack.v1", "2026-07-24", "-", "16"),
        ("telemetry.host.v1", "2026-07-23", "site-1", "30"),
    }
    for built in ("from-kafka", "from-archive"):
        sql = "SELECT count(*), max(revision) FROM intervals WHERE site = 'site-1' AND source = 'metered'"
        assert query(tmp_path / built / "desk.duckdb", sql)[1] == [(20, 2)]
        day = tmp_path / built / "archive" / Place(SITE_INTERVALS.name, NOON.date(), "site-1").folder
        files = [file for file in day.glob("*.parquet") if not file.name.startswith("backfill-60s-")]
        assert len(files) == 1, "what is built anew is one file a day and site"

    forge(Folder(folder), Place(SITE_INTERVALS.name, NOON.date(), "dc/2"))
    code, _, errors = rebuilt(capsys, tmp_path, "kafka", "again")
    assert code == 1
    (line,) = errors.splitlines()
    assert "site.interval.v1/day=2026-07-23/site=dc%2F2" in line


def forge(place: Folder, where: Place) -> None:
    """Change one energy, in both copies of its row, and let the manifest say so, too."""
    for fact in archive.manifest(place, where).files.values():
        file = place.path / where.folder / fact.file
        rows = pl.read_parquet(file)
        changed = pl.when(pl.col("interval_start") == NOON).then(99.0).otherwise("energy_kwh").alias("energy_kwh")
        rows.with_columns(changed).write_parquet(file)
    (place.path / where.folder / "_manifest.jsonl").unlink()


def test_archived_ticks_come_back_in_order_as_the_frames_that_were_sent(fresh_kafka: Kafka, tmp_path: Path) -> None:
    """What intervals are computed from again."""
    asyncio.run(produce(fresh_kafka))
    keep(fresh_kafka, tmp_path / "archive", "kept-archive")

    found = list(ticks(Folder(tmp_path / "archive"), "site-1"))

    assert [record.payload for _, record in found] == [frames.encode(tick) for tick in TICKS]
    assert len({partition for partition, _ in found}) == 1
    assert [record.offset for _, record in found] == sorted(record.offset for _, record in found)
    assert all(record.appended_ms > 1_600_000_000_000 for _, record in found)


def test_a_damaged_file_is_named_and_days_that_went_are_not_missed(
    fresh_kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.archive_upkeep import Instants, tend
    from pipeline.pipeline_settings import Upkeep

    folder = tmp_path / "archive"
    settings = f'[kafka]\nbootstrap = "{fresh_kafka.bootstrap}"\n[pipeline]\narchive = "{folder}"\ngroup = "kept"\n'
    (tmp_path / "firmwatt.toml").write_text(settings + "archive_telemetry = true\n")
    asyncio.run(produce(fresh_kafka))
    keep(fresh_kafka, folder, "kept-archive")
    tend(Folder(folder), Upkeep(), {ACKS.name: 1}, Instants(NOON + timedelta(days=1), lambda: NOON))
    assert expired(Folder(folder)) == {Place(ACKS.name, NOON.date(), "")}
    assert rebuilt(capsys, tmp_path, "kafka", "kafka")[0] == 0

    (file, *_) = sorted((folder / Place(SITE_INTERVALS.name, NOON.date(), "site-1").folder).glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"X")
    code, _, errors = rebuilt(capsys, tmp_path, "kafka", "again")
    assert code == 1
    assert file.name in errors


def test_a_folder_that_is_not_empty_is_not_built_into(tmp_path: Path) -> None:
    (tmp_path / "firmwatt.toml").write_text("")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "something").touch()

    with pytest.raises(ConfigError, match="not empty"):
        main(["--config", str(tmp_path / "firmwatt.toml"), "--from", "archive", "--into", str(tmp_path / "new")])

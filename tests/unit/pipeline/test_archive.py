"""Messages as rows, files that appear whole or not at all, history that is loaded."""

import os
import resource
import subprocess
import sys
from datetime import timedelta, timezone
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from unit.pipeline.ticks import NOON, at

from pipeline import archive
from pipeline.archive_schemas import ARCHIVED, SCHEMAS
from pipeline.interval import Interval
from pipeline.market_topics import AWARDS
from pipeline.messages.market import Award
from pipeline.messages.telemetry import SiteInterval
from pipeline.pipeline_settings import membership
from pipeline.topics import SITE_INTERVALS

LIMIT = """
import resource, sys
from pathlib import Path
import polars as pl
from pipeline import archive
from pipeline.errors import FirmwattError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    archive.publish(Path(sys.argv[1]), pl.DataFrame({"number": range(100_000)}))
except FirmwattError as error:
    print(error.exit_code, error)
"""


def test_every_archived_topic_has_a_schema_and_no_other() -> None:
    assert {topic.name for topic in ARCHIVED} == set(SCHEMAS)


@pytest.mark.parametrize("topic", ARCHIVED, ids=lambda topic: topic.name)
def test_every_field_of_a_message_has_its_column(topic: object) -> None:
    """A field added to a message and forgotten in the schema would be lost without a word."""
    kind = topic.type  # type: ignore[attr-defined] # parametrised
    fields = set(getattr(kind, "model_fields", ()) or kind.__struct_fields__) - {"kind", "payload", "signature"}
    if "interval" in fields:
        fields = fields - {"interval"} | {"interval_start", "interval_end"}

    assert fields <= set(SCHEMAS[topic.name])  # type: ignore[attr-defined] # parametrised


def test_a_message_becomes_a_row_with_flat_interval_in_utc_and_decimals_kept() -> None:
    """An instant with another offset is the same instant."""
    award = Award(
        award_id="a1",
        offer_id="o1",
        resource="r1",
        product="p",
        interval=Interval(NOON, at(60)),
        quantity_mw=Decimal("0.3"),
        price_per_mwh=Decimal("95.25"),
        currency="USD",
        awarded_at=NOON.astimezone(timezone(timedelta(hours=-7))),
    )

    (row,) = archive.frame(AWARDS.name, [archive.row(award, 3, 17)]).iter_rows(named=True)

    assert (row["interval_start"], row["interval_end"], row["awarded_at"]) == (NOON, at(60), NOON)
    assert (row["quantity_mw"], row["price_per_mwh"]) == (Decimal("0.3"), Decimal("95.25"))
    assert (row["kafka_partition"], row["kafka_offset"]) == (3, 17)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The kernel refuses files above 1 000 bytes, as a full disk would refuse more."""
    target = tmp_path / "topic" / "file.parquet"

    done = subprocess.run([sys.executable, "-c", LIMIT, str(target)], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("4 cannot write")
    assert done.stdout.count("\n") == 1
    assert list(target.parent.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_scratch_files_of_the_dead_are_swept_and_fresh_ones_left(tmp_path: Path) -> None:
    (tmp_path / "topic").mkdir()
    old, new = tmp_path / "topic" / ".a.parquet.1.tmp", tmp_path / "topic" / ".b.parquet.2.tmp"
    for file, changed in ((old, 1000), (new, 1090)):
        file.touch()
        os.utime(file, (changed, changed))

    archive.sweep(tmp_path, machine_time=1100.0)

    assert [file.name for file in tmp_path.glob("*/.*")] == [new.name]


def test_loading_history_twice_leaves_it_once(tmp_path: Path) -> None:
    """60 kW over a minute is 1 kWh; a null is a gap and is not loaded."""
    history = pl.DataFrame({"start": [NOON, at(60), at(120)], "load_kw": [60.0, 120.0, None]})
    for _ in range(2):
        path = archive.backfill(tmp_path, "a/b", history, timedelta(minutes=1), simulated=True)

    rows = pl.read_parquet(path)
    assert [file.name for file in (tmp_path / SITE_INTERVALS.name).iterdir()] == [path.name]
    assert rows.schema == SCHEMAS[SITE_INTERVALS.name]
    assert rows["energy_kwh"].to_list() == [1.0, 2.0]
    assert rows["interval_end"].to_list() == [at(60), at(120)]
    assert set(rows["source"]) == {"backfill"}
    assert SiteInterval.__struct_fields__[-1] == "source"


def test_files_are_named_so_that_the_same_rows_come_back_under_the_same_name() -> None:
    assert archive.file_name(2, 17, 31) == "0002-00000000000000000017-00000000000000000031.parquet"


def test_a_member_of_a_group_beats_four_times_in_a_session() -> None:
    assert membership("g", 6.0) == {"group_id": "g", "session_timeout_ms": 6000, "heartbeat_interval_ms": 1500}

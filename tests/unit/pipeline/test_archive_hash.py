"""One hash for what an archive holds: blind to how it is stored, awake to what it says."""

from typing import Any

import polars as pl
import pytest
from doubles.archived import ack, interval
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive_hash import Contents, by_hour, contents
from pipeline.archive_places import FILING
from pipeline.archive_rows import frame, row, rows_of
from pipeline.archive_schemas import PROVENANCE, SCHEMAS
from pipeline.messages.telemetry import PoolInterval, Tier, Workload
from pipeline.topics import ACKS, SITE_INTERVALS

TOPIC = SITE_INTERVALS.name


def pool(tokens: float | None, served_model: str | None = "llama-70b") -> PoolInterval:
    return PoolInterval(
        tier=Tier.T3,
        workload=Workload.INFERENCE,
        gpu_model="H100",
        served_model=served_model,
        gpu_energy_kwh=0.5,
        tokens=tokens,
    )


MESSAGES = [
    interval(number, energy_kwh=1 + number / 7, pools=(pool(None), pool(9.0))[: number % 3]) for number in range(90)
]


def rows(*messages: Any, first: int = 0) -> pl.DataFrame:
    return frame(TOPIC, [row(message, 0, first + index) for index, message in enumerate(messages)])


def said(held: pl.DataFrame) -> Contents:
    return contents(TOPIC, by_hour(TOPIC, held))


WHOLE = said(rows(*MESSAGES))


@given(st.permutations(range(90)), st.lists(st.integers(0, 89), max_size=20))
def test_neither_order_nor_redelivery_nor_where_it_was_read_shows(order: list[int], again: list[int]) -> None:
    """Ninety messages over two hours, shuffled, some of them delivered again at later offsets of another run."""
    held = pl.concat([rows(*(MESSAGES[number] for number in order), first=1000), rows(*(MESSAGES[n] for n in again))])

    assert said(held) == WHOLE
    assert WHOLE.rows == 90


def test_no_messages_have_a_hash_too() -> None:
    assert said(rows()) == Contents(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_kwh": 1.0000000000000002},
        {"ticks": 61},
        {"revision": 2},
        {"source": "backfil"},
        {"simulated": False},
        {"pools": (pool(0.0),)},
        {"pools": (pool(None, None),)},
        {"pools": (pool(None, ""),)},
        {"pools": (pool(None), pool(None))},
    ],
    ids=str,
)
def test_whatever_a_message_says_otherwise_shows(changes: dict[str, Any]) -> None:
    """One unit in the last place of one figure, no tokens against nobody counting, no model against an empty name."""
    assert said(rows(interval(pools=(pool(None),)))) != said(rows(interval(**({"pools": (pool(None),)} | changes))))


def test_values_cannot_slip_from_one_row_or_column_into_the_next() -> None:
    def acks(*reasons: str | None) -> Contents:
        messages = [row(ack(number), 0, number) | {"reason": reason} for number, reason in enumerate(reasons)]
        return contents(ACKS.name, by_hour(ACKS.name, frame(ACKS.name, messages)))

    assert len({acks("ab", "c"), acks("a", "bc"), acks("abc", None), acks(None, "abc"), acks("abc", "")}) == 5


def test_a_zero_is_a_zero_whatever_its_sign() -> None:
    assert said(rows(interval(energy_kwh=-0.0))) == said(rows(interval(energy_kwh=0.0)))


def test_what_was_loaded_is_not_what_was_streamed() -> None:
    loaded = rows(interval(5)).with_columns(pl.lit(None, pl.Int64).alias("kafka_offset"))

    assert said(pl.concat([rows(interval(1)), loaded])) == said(rows(interval(1)))


def test_a_column_that_came_later_and_is_empty_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive of the version before, read by this one, is still what it was when it was sealed."""
    wider = pl.Schema({**SCHEMAS[TOPIC], "later": pl.Float64()})
    earlier = rows(*MESSAGES)
    monkeypatch.setitem(SCHEMAS, TOPIC, wider)

    assert said(earlier.with_columns(later=pl.lit(None, pl.Float64))) == WHOLE
    assert said(earlier.with_columns(later=1.0)) != WHOLE


def test_the_key_that_rows_are_sorted_by_is_made_of_columns() -> None:
    assert all(
        {*filing.key, filing.day_of} <= set(SCHEMAS[topic]) - set(PROVENANCE) for topic, filing in FILING.items()
    )


def test_a_file_gives_back_the_rows_that_were_hashed() -> None:
    from pipeline.archive_rows import parquet

    assert said(rows_of(TOPIC, [parquet(rows(*MESSAGES[:40])), parquet(rows(*MESSAGES[40:], first=40))])) == WHOLE

"""A fleet's request in pieces: the answers of many resources and events at once are those of one by one."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import chain

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from unit.pipeline.cbl.polars_cases import Row, ask, at, events, flat, frame, hours, request

from pipeline.cbl.answer import KEY, Answer
from pipeline.cbl.polars_engine import answer_within
from pipeline.cbl.polars_pieces import pieces, reach_of
from pipeline.cbl.request import CONTROL, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Level, Parameters, Reference, Regression

CAISO = DayMatching(
    look_back_days=45,
    days=10,
    other_days=4,
    minimum_days=5,
    minimum_other_days=4,
    fill_up=True,
    adjustment="ratio",
    adjust_from_hours=4,
    adjust_to_hours=1,
)
HIGH_FOUR = DayMatching(
    look_back_days=45,
    day_types="weekday-saturday-sunday",
    days=5,
    other_days=3,
    minimum_days=4,
    minimum_other_days=2,
    low_usage="mean-of-pool",
    low_usage_share=0.8,
    keep="highest",
    k=4,
    other_k=2,
    adjustment="additive",
    adjust_from_hours=4,
    adjust_to_hours=1,
)
RULES: tuple[Parameters, ...] = (
    CAISO,
    HIGH_FOUR,
    DayMatching(
        look_back_days=20,
        days=None,
        other_days=None,
        minimum_days=3,
        minimum_other_days=1,
        keep="nearest",
        k=3,
        other_k=3,
        rank_by="shape",
        match="outside-event",
        adjustment="ratio",
    ),
    AroundEvent(before_from_hours=2, after_from_hours=1, after_to_hours=3),
    Level(level_kw=12.0),
    Reference(source="control", minimum_customers=2, customers=3),
    Regression(terms="level", look_back_days=20, minimum_days=3, like_days=3, level_hours=4),
)


def fleet() -> Request:
    """Return three resources, one of which has gaps and one nothing near the events, and five events on four days."""
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(60)]
    rows: list[Row] = [
        (name, at(day, hour), size + (day.day * 7 + hour) % 11)
        for name, size in (("a", 10.0), ("b", 20.0))
        for day in days
        for hour in range(24)
    ]
    rows = [(name, start, None if name == "b" and start.hour == start.day else load) for name, start, load in rows]
    rows += flat({date(2025, 6, 1): 1.0}, "c")
    asked = request(
        rows,
        hours(date(2026, 7, 23), 17, 20),
        hours(date(2026, 7, 25), 14, 16),
        hours(date(2026, 7, 22), 17, 20),
        hours(date(2026, 7, 23), 2, 3),
        hours(date(2026, 7, 26), 22, 24),
        event_days=[date(2026, 7, 22), date(2026, 7, 23)],
    )
    control = [(name, start, load) for name, start, load in rows if name != "c"]
    return replace(asked, control=pl.DataFrame(control, schema=CONTROL, orient="row"))


def same(found: Answer, expected: Answer) -> None:
    for name in ("intervals", "days", "adjustments", "shortfalls"):
        order = [*KEY, *({"start", "day"} & set(getattr(expected, name).columns))]
        assert_frame_equal(
            getattr(found, name).sort(order), getattr(expected, name).sort(order), check_exact=False, abs_tol=1e-12
        )


@pytest.mark.parametrize("parameters", RULES, ids=lambda rule: type(rule).__name__)
def test_many_resources_and_events_at_once_are_as_one_by_one(parameters: Parameters) -> None:
    asked = fleet()
    alone = [
        ask(parameters, replace(asked, events=event, loads=asked.loads.filter(pl.col("resource") == resource)))
        for event in asked.events.iter_slices(1)
        for resource in "abc"
    ]

    found = ask(parameters, asked)

    assert found.intervals.height
    same(found, Answer(*(pl.concat([getattr(one, name) for one in alone]) for name in Answer.__dataclass_fields__)))


@pytest.mark.parametrize("parameters", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("most_rows", [1, 5_000])
@pytest.mark.parametrize("unsorted", [False, True])
def test_a_request_in_pieces_has_the_answer_of_the_whole(
    parameters: Parameters,
    most_rows: int,
    unsorted: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    asked = fleet()
    if unsorted:
        asked = replace(asked, loads=asked.loads.sample(fraction=1, shuffle=True, seed=1))

    same(answer_within(most_rows, parameters, asked), answer_within(10**9, parameters, asked))


def test_no_piece_takes_more_rows_than_are_allowed() -> None:
    """Joined, 45 days × (3 + 4) hours are 315 rows an event and resource: 1,500 are four of them, or 1,440 readings."""
    asked = replace(fleet(), loads=fleet().loads.sample(fraction=1, shuffle=True, seed=1))
    reach = reach_of(CAISO, asked, joined=True)

    cut = list(pieces(CAISO, asked, 1_500, joined=True))

    assert (reach.rows, reach_of(CAISO, asked).rows) == (315, 45)
    assert len(cut) == 6
    pairs = [
        piece.events.select("event").join(piece.loads.select("resource").unique(), how="cross").rows() for piece in cut
    ]
    assert sorted(chain(*pairs)) == [(event, resource) for event in range(5) for resource in "abc"]
    assert all(piece.events.height * piece.loads["resource"].n_unique() * reach.rows <= 1_500 for piece in cut)
    assert all(piece.loads.height <= 1_500 for piece in cut)


def test_nothing_asked_is_nothing_answered() -> None:
    asked = fleet()

    assert ask(CAISO, replace(asked, events=events())).intervals.is_empty()
    assert ask(CAISO, replace(asked, loads=frame([]))).shortfalls.is_empty()

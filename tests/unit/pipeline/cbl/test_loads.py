"""Files as people write them: what is read, what is refused, and by which line."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.calendar import Calendar
from pipeline.cbl import loads
from pipeline.cbl.loads import Expected, Loads
from pipeline.cbl.request import LOADS
from pipeline.errors import ConfigError

PACIFIC = Calendar("America/Los_Angeles")
HOUR = timedelta(hours=1)
NAMED = pl.DataFrame({"resource": ["a", "b"], "start": [None, None], "load_kw": [None, None]}, schema=LOADS)
UNNAMED = pl.DataFrame({"resource": [""], "start": [None], "load_kw": [None]}, schema=LOADS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "load.csv"


def read(path: Path, text: str, expected: Expected | None = None) -> Loads:
    path.write_text(text, encoding="utf-8")
    return loads.loads(path, PACIFIC, expected or Expected())


def starts(found: Loads) -> list[str]:
    return [f"{start:%m-%dT%H:%MZ}" for start in found.frame["start"]]


def hours(day: str, *kw: object) -> str:
    """Return hourly rows from midnight."""
    return "interval_start,load_kw\n" + "".join(f"{day}T{hour:02}:00,{load}\n" for hour, load in enumerate(kw))


def test_a_time_without_offset_is_local_and_one_with_it_is_not(file: Path) -> None:
    """Five in the afternoon in California in July is midnight UTC."""
    text = "interval_start,load_kw\n2026-07-23T17:00,1\n2026-07-23T18:00-07:00,2\n2026-07-24 02:00:00Z,3\n"

    assert starts(read(file, text)) == ["07-24T00:00Z", "07-24T01:00Z", "07-24T02:00Z"]


def test_an_offset_east_of_greenwich_is_taken_off(file: Path) -> None:
    text = "interval_start,load_kw\n2026-07-23T17:00+05:30,1\n2026-07-23T18:00+0530,1\n"

    assert starts(read(file, text)) == ["07-23T11:30Z", "07-23T12:30Z"]


def test_energy_is_divided_by_the_length_of_its_interval(file: Path) -> None:
    """250 kWh in a quarter of an hour are 1 000 kW."""
    found = read(file, "interval_start,energy_kwh\n2026-07-23T17:00,250\n2026-07-23T17:15,125\n")

    assert found.grid == timedelta(minutes=15)
    assert found.frame["load_kw"].to_list() == [1000.0, 500.0]


def test_headings_with_blanks_a_byte_order_mark_and_blank_lines_are_read(file: Path) -> None:
    found = read(file, "\ufeffInterval_Start , load_kw,meter\n2026-07-23T17:00, 1.5 ,x\n\n2026-07-23T18:00,2,x\n")

    assert found.frame["load_kw"].to_list() == [1.5, 2.0]
    assert found.warnings == ()


def test_both_hours_of_a_25_hour_day_are_told_apart_by_their_order(file: Path) -> None:
    """On 1 November 2026 clocks in California show one o'clock at 08:00 and at 09:00 UTC."""
    text = "interval_start,load_kw\n2026-11-01T00:00,1\n2026-11-01T01:00,2\n2026-11-01T01:00,3\n2026-11-01T02:00,4\n"

    assert starts(read(file, text)) == ["11-01T07:00Z", "11-01T08:00Z", "11-01T09:00Z", "11-01T10:00Z"]


def test_each_resource_has_its_own_two_hours(file: Path) -> None:
    rows = "".join(f"2026-11-01T01:00,{load},{name}\n" for load, name in ((1, "a"), (2, "b"), (3, "a"), (4, "b")))
    found = read(file, f"interval_start,load_kw,resource\n{rows}").frame.sort("resource", "start")

    assert found["load_kw"].to_list() == [1.0, 3.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (["00:00", "01:00", "02:00"], "line 3"),
        (["01:00", "01:00", "01:30", "01:30"], "line 4"),
        (["01:00", "01:00", "01:00"], "lines 2–4"),
    ],
    ids=["once", "interleaved", "three times"],
)
def test_an_hour_that_its_rows_do_not_tell_apart_is_refused(file: Path, rows: list[str], named: str) -> None:
    text = "interval_start,load_kw\n" + "".join(f"2026-11-01T{at},1\n" for at in rows)

    with pytest.raises(ConfigError, match=f"load.csv, {named}: .* showed that time twice"):
        read(file, text)


def test_an_hour_that_clocks_never_showed_is_refused(file: Path) -> None:
    text = "interval_start,load_kw\n2026-03-08T01:00,1\n2026-03-08T02:00,1\n2026-03-08T03:00,1\n"

    with pytest.raises(ConfigError, match=r"load.csv, line 3: .* never showed that time"):
        read(file, text)


def test_an_empty_cell_and_nan_are_missing_and_not_zero(file: Path) -> None:
    found = read(file, hours("2026-07-23", 5, "", "NaN", "inf", 6))

    assert found.frame["load_kw"].to_list() == [5.0, None, None, None, 6.0]
    assert found.warnings == ("load.csv, lines 3–5: no number; a missing reading, not zero",)


def test_intervals_without_a_row_are_told_with_their_hours(file: Path) -> None:
    text = "interval_start,load_kw\n" + "".join(f"2026-07-23T{hour:02}:00,5\n" for hour in (0, 1, 2, 5, 6))

    assert read(file, text).warnings == (
        "load.csv: 2 intervals without a row, missing, not zero: 2026-07-23T03:00-07:00 to 2026-07-23T05:00-07:00",
    )


@pytest.mark.parametrize("cell", ["1,5", "n/a", "12 kW"])
def test_a_cell_that_is_no_number_is_refused_by_its_line(file: Path, cell: str) -> None:
    with pytest.raises(ConfigError, match=r"load.csv, line 3: load_kw is no number"):
        read(file, hours("2026-07-23", 5, f'"{cell}"', 6))


@pytest.mark.parametrize("time", ["yesterday", "23.07.2026 17:00", "2026-07-23", "2026-07-32T00:00", ""])
def test_a_time_that_is_none_is_refused_by_its_line(file: Path, time: str) -> None:
    with pytest.raises(ConfigError, match=r"load.csv, line 3: interval_start is no ISO 8601 instant"):
        read(file, f"interval_start,load_kw\n2026-07-23T00:00,1\n{time},1\n")


def test_the_same_interval_twice_is_refused_even_where_both_agree(file: Path) -> None:
    text = "interval_start,load_kw\n2026-07-23T00:00,1\n2026-07-23T01:00,1\n2026-07-23T00:00-07:00,1\n"

    with pytest.raises(ConfigError, match=r"load.csv, lines 2, 4: the same interval twice"):
        read(file, text)


def test_rows_in_any_order_are_read(file: Path) -> None:
    text = "interval_start,load_kw\n2026-07-23T02:00,3\n2026-07-23T00:00,1\n2026-07-23T01:00,2\n"

    found = read(file, text)
    assert (found.grid, found.warnings) == (HOUR, ())


def test_rows_closer_than_their_interval_overlap(file: Path) -> None:
    rows = "".join(f"2026-07-23T{at},1\n" for at in ("00:00", "01:00", "01:30", "02:30", "03:30"))

    with pytest.raises(ConfigError, match=r"load.csv, line 4: 30min after the row before, among intervals of 60min"):
        read(file, f"interval_start,load_kw\n{rows}")


def test_hours_after_quarters_are_mixed_lengths_and_no_holes(file: Path) -> None:
    quarters = "".join(f"2026-07-23T{hour:02}:{minute:02},1\n" for hour in range(4) for minute in (0, 15, 30, 45))
    rows = quarters + "".join(f"2026-07-23T{hour:02}:00,1\n" for hour in range(4, 10))

    with pytest.raises(ConfigError, match=r"load.csv, lines 19–23: 60min from row to row, among intervals of 15min"):
        read(file, f"interval_start,load_kw\n{rows}")


def test_resources_metered_at_different_lengths_are_refused(file: Path) -> None:
    rows = "".join(f"2026-07-23T{hour:02}:00,1,a\n" for hour in range(6))
    rows += "".join(f"2026-07-23T00:{minute:02},1,b\n" for minute in (0, 15, 30))

    with pytest.raises(ConfigError, match=r"load.csv, lines 9–10: 15min after the row before"):
        read(file, f"interval_start,load_kw,resource\n{rows}")


def test_a_row_off_the_grid_is_refused(file: Path) -> None:
    rows = "".join(f"2026-07-23T{at},1\n" for at in ("00:00", "01:00", "02:00", "03:20"))

    with pytest.raises(ConfigError, match=r"load.csv, line 5: not a whole number of 60min"):
        read(file, f"interval_start,load_kw\n{rows}")


def test_a_sparse_file_needs_the_length_said(file: Path) -> None:
    """One reading a day could be of any length."""
    text = "interval_start,load_kw\n" + "".join(f"2026-07-{day}T17:00,1\n" for day in range(10, 20))

    with pytest.raises(ConfigError, match="say --interval"):
        read(file, text)
    assert read(file, text, Expected(interval=HOUR)).grid == HOUR


def test_a_length_that_does_not_divide_the_hour_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="do not divide the hour"):
        read(file, hours("2026-07-23", 1, 2), Expected(interval=timedelta(minutes=45)))


def test_load_below_zero_is_refused_unless_it_is_export(file: Path) -> None:
    text = hours("2026-07-23", 1, -2, -3)

    with pytest.raises(ConfigError, match=r"load.csv, lines 3–4: load below zero"):
        read(file, text)
    assert read(file, text, Expected(negative=True)).frame["load_kw"].to_list() == [1.0, -2.0, -3.0]


def days(*levels: float) -> str:
    """Return two readings a day at each of *levels*."""
    rows = (f"2026-07-{10 + day}T{hour}:00,{kw}\n" for day, kw in enumerate(levels) for hour in (17, 18))
    return "interval_start,load_kw\n" + "".join(rows)


@pytest.mark.parametrize("levels", [(40, 41, 41_500, 42_000), (40_000, 41_000, 41.5, 42)])
def test_a_level_that_jumps_a_thousandfold_is_another_unit(file: Path, levels: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"load.csv, line 6: the level changes about a thousandfold"):
        read(file, days(*levels))


def test_a_day_without_load_between_does_not_hide_another_unit(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"load.csv, line 6: the level changes about a thousandfold"):
        read(file, days(40, 0, 41_000, 42_000))


def test_a_jump_below_the_stated_maximum_is_a_warning(file: Path) -> None:
    found = read(file, days(40, 41, 41_500, 42_000), Expected(maximum_kw=50_000))

    assert found.warnings[1] == (
        "load.csv, line 6: the level changes about a thousandfold from the day before, within --maximum-kw 50,000"
    )


def test_readings_above_the_stated_maximum_are_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"load.csv, lines 6–9: above --maximum-kw 50, 835 times as much; W\?"):
        read(file, days(40, 41, 41_500, 42_000), Expected(maximum_kw=50))
    with pytest.raises(ConfigError, match=r"load.csv, lines 4–5: above --maximum-kw 50$"):
        read(file, days(40, 51, 41), Expected(maximum_kw=50))


def test_a_series_far_below_the_stated_maximum_is_another_unit(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"never above a 500th of --maximum-kw 50,000; MW\?"):
        read(file, days(40, 41), Expected(maximum_kw=50_000))


def two_days(wrong: range, kw: float, usual_kw: float = 40.0) -> str:
    """Return 48 hours of *usual_kw* from 10 July, line 2, and *kw* in those that are *wrong*."""
    rows = (f"2026-07-{10 + hour // 24}T{hour % 24:02}:00,{kw if hour in wrong else usual_kw}\n" for hour in range(48))
    return "interval_start,load_kw\n" + "".join(rows)


OFF = "about a thousand times the level of the day, or a thousandth of it"


@pytest.mark.parametrize(
    ("wrong", "told"), [(range(30, 31), "line 32"), (range(30, 35), "lines 32–36"), (range(20, 31), "lines 22–32")]
)
@pytest.mark.parametrize("kw", [0.04, 41_000.0])
def test_rows_a_thousandfold_off_for_less_than_half_a_day_are_named(
    file: Path, wrong: range, kw: float, told: str
) -> None:
    """They may be a spike or a standstill; nothing is refused, and nothing passes unseen. Eleven cross midnight."""
    (warning,) = read(file, two_days(wrong, kw)).warnings

    assert warning.startswith(f"load.csv, {told}: {OFF}")


@pytest.mark.parametrize("kw", [0.04, 41_000.0])
def test_rows_a_thousandfold_off_for_more_than_half_a_day_are_refused_though_no_day_s_level_jumps(
    file: Path, kw: float
) -> None:
    """Sixteen hours over midnight are eight of each day, whose medians do not move."""
    wrong = two_days(range(16, 32), kw)

    with pytest.raises(ConfigError, match=r"load.csv, lines 18–33: about a thousand times .* for more than half a day"):
        read(file, wrong)
    (stated,) = read(file, wrong, Expected(maximum_kw=10 * kw if kw > 40 else 50.0)).warnings
    assert "within --maximum-kw" in stated


@pytest.mark.parametrize("kw", [0.0, 400.0, 4_000.0, 0.4, 400_000.0])
def test_what_is_no_factor_of_a_thousand_is_what_was_drawn(file: Path, kw: float) -> None:
    assert read(file, two_days(range(30, 35), kw)).warnings == ()


def test_a_day_that_mostly_draws_nothing_is_held_against_the_others(file: Path) -> None:
    rows = [0.0] * 20 + [41_000.0] * 4 + [40.0] * 24
    text = "".join(f"2026-07-{10 + hour // 24}T{hour % 24:02}:00,{kw}\n" for hour, kw in enumerate(rows))

    (warning,) = read(file, f"interval_start,load_kw\n{text}").warnings
    assert warning.startswith("load.csv, lines 22–25: ")


def test_a_load_that_is_off_for_a_day_is_no_other_unit(file: Path) -> None:
    assert read(file, days(40_000, 0, 300, 41_000)).frame.height == 8


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        ("interval_start,load_mw", "needs one column of load_kw, energy_kwh; it has interval_start, load_mw"),
        ("interval_start,load_kw,energy_kwh", "needs one column of load_kw, energy_kwh"),
        ("start,load_kw", "has no column interval_start; it has start, load_kw"),
        ("interval_start;load_kw", "it has interval_start;load_kw"),
    ],
)
def test_other_columns_are_answered_with_those_there_are(file: Path, heading: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(file, f"{heading}\n")


def test_a_decimal_comma_makes_a_row_too_wide_and_its_line_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"load.csv, line 3: more cells than the heading"):
        read(file, hours("2026-07-23", 5, "5,5", 6))


def test_one_column_twice_is_refused_and_a_column_line_is_none_of_ours(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"load.csv has two columns load_kw"):
        read(file, "interval_start,load_kw,Load_kW\n2026-07-23T17:00,1,2\n2026-07-23T18:00,1,2\n")
    with pytest.raises(ConfigError, match=r"load.csv has two columns load_kw"):
        read(file, "interval_start,load_kw,load_kw\n2026-07-23T17:00,1,2\n2026-07-23T18:00,1,2\n")
    found = read(file, "interval_start,load_kw,line\n2026-07-23T17:00,1,9\n2026-07-23T18:00,,9\n")
    assert found.warnings == ("load.csv, line 3: no number; a missing reading, not zero",)


@pytest.mark.parametrize("name", ["resource", "customer"])
def test_a_row_of_nobody_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"interval_start,load_kw,{name}\n2026-07-23T17:00,1,a\n2026-07-23T18:00,1,\n")

    with pytest.raises(ConfigError, match=f"rows.csv, line 3: no {name}"):
        loads.control(path, PACIFIC, HOUR) if name == "customer" else loads.loads(path, PACIFIC, Expected())


def test_two_temperatures_of_one_hour_and_two_nominations_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("interval_start,celsius\n2026-07-23T17:00,1\n2026-07-23T17:00,2\n")
    with pytest.raises(ConfigError, match=r"twice.csv, lines 2–3: the same interval twice"):
        loads.temperatures(path, PACIFIC)

    row = "2026-07-23T17:00,5,2026-07-22T09:00\n"
    path.write_text(f"interval_start,load_kw,submitted_at\n{row}{row}")
    with pytest.raises(ConfigError, match=r"twice.csv, lines 2–3: the same interval twice"):
        loads.nominations(path, PACIFIC, UNNAMED, HOUR)


def test_a_file_that_is_not_there_or_empty_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        loads.loads(file, PACIFIC, Expected())
    with pytest.raises(ConfigError, match=r"load.csv: empty"):
        read(file, "")
    with pytest.raises(ConfigError, match=r"load.csv has no rows"):
        read(file, "interval_start,load_kw\n")


def test_a_span_across_midnight_touches_both_days_and_its_end_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "outages.csv"
    path.write_text("start,end\n2026-07-13T22:00,2026-07-14T03:00\n2026-07-16T17:00,2026-07-17T00:00\n")

    found, warnings = loads.days(path, PACIFIC, UNNAMED)
    assert sorted(found["day"]) == [date(2026, 7, 13), date(2026, 7, 14), date(2026, 7, 16)]
    assert found["resource"].to_list() == [None] * 3
    assert warnings == ()


def test_a_list_of_no_events_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("start,end\n")

    assert loads.days(path, PACIFIC, UNNAMED)[0].is_empty()


def test_an_event_that_ends_before_it_starts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("start,end\n2026-07-16T17:00,2026-07-16T16:00\n")

    with pytest.raises(ConfigError, match=r"events.csv, line 2: end is not after start"):
        loads.days(path, PACIFIC, UNNAMED)


def test_events_of_resources_without_load_are_told(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("start,end,resource\n2026-07-16T17:00,2026-07-16T18:00,a\n2026-07-16T17:00,2026-07-16T18:00,c\n")

    assert loads.days(path, PACIFIC, NAMED)[1] == ("events.csv, line 3: a resource that the load data has not",)
    with pytest.raises(ConfigError, match=r"events.csv, lines 2–3: a resource, and the load data has no column"):
        loads.days(path, PACIFIC, UNNAMED)


@pytest.mark.parametrize(("name", "value"), [("celsius", 30), ("temperature_c", 30), ("fahrenheit", 86)])
def test_temperatures_are_read_in_either_scale(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"interval_start,{name}\n2026-07-16T17:00,{value}\n2026-07-16T18:00,\n")

    assert loads.temperatures(path, PACIFIC)["celsius"].to_list() == pytest.approx([30.0])


def test_a_nomination_has_the_instant_it_was_submitted_at(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("interval_start,load_kw,submitted_at\n2026-07-23T17:00,5,2026-07-22T09:00\n")

    row = loads.nominations(path, PACIFIC, UNNAMED, HOUR)[0].row(0, named=True)
    assert row["resource"] is None
    assert row["submitted_at"] == datetime(2026, 7, 22, 16, tzinfo=UTC)


def test_a_control_customer_twice_in_an_interval_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    rows = "2026-07-23T17:00,5,a\n2026-07-23T17:00,6,b\n"
    path.write_text(f"interval_start,load_kw,customer\n{rows}")
    assert loads.control(path, PACIFIC, HOUR)["customer"].to_list() == ["a", "b"]

    path.write_text(f"interval_start,load_kw,customer\n{rows}2026-07-23T17:00,5,a\n")
    with pytest.raises(ConfigError, match=r"c.csv, lines 2, 4: the same interval twice"):
        loads.control(path, PACIFIC, HOUR)


def test_a_nomination_finer_than_the_readings_is_refused(tmp_path: Path) -> None:
    """Four values an hour for hourly readings: the first would be taken for the hour's mean."""
    path = tmp_path / "n.csv"
    rows = "".join(f"2026-07-23T17:{minute:02},100,2026-07-22T09:00\n" for minute in (0, 15, 30, 45))
    path.write_text(f"interval_start,load_kw,submitted_at\n{rows}")

    with pytest.raises(ConfigError, match=r"n.csv, lines 3–5: closer than the load's intervals of 60min"):
        loads.nominations(path, PACIFIC, UNNAMED, HOUR)
    assert len(loads.nominations(path, PACIFIC, UNNAMED, timedelta(minutes=15))[0]) == 4


def test_what_a_control_group_feeds_in_is_refused_unless_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("interval_start,load_kw,customer\n2026-07-23T17:00,-5,a\n")

    with pytest.raises(ConfigError, match=r"c.csv, line 2: load below zero"):
        loads.control(path, PACIFIC, HOUR)
    assert loads.control(path, PACIFIC, HOUR, negative=True)["load_kw"].to_list() == [-5.0]

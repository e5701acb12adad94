"""`firmwatt baseline` as it is typed: figures, JSON for other programs, exit codes, one line for what is wrong."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from unit.pipeline.cbl import cli_files
from unit.pipeline.cbl.cli_files import EVENT, words

from deploy import cli as firmwatt
from pipeline import archive, storage, store
from pipeline.calendar import Calendar
from pipeline.cbl import methods
from pipeline.cbl.cli_request import about

METHOD = "caiso-10-in-10"
Capture = pytest.CaptureFixture[str]


def run(*typed: str) -> int:
    return firmwatt.main(["baseline", *typed])


def told(capsys: Capture, *typed: str) -> dict[str, Any]:
    assert run(*typed, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: Capture, *typed: str) -> str:
    """Return the one line on standard error that the command ends with, exit code 2."""
    assert run(*typed) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_the_worked_example_comes_out_to_the_last_digit(tmp_path: Path, capsys: Capture, engine: str) -> None:
    found = told(capsys, METHOD, *words(tmp_path), "--engine", engine)

    assert (found["method"], found["version"], found["engine"]) == (METHOD, "1", engine)
    assert found["days_used"] == [f"2026-07-{day:02}" for day in (22, 21, 20, 17, 15, 14, 13, 9, 8, 7)]
    assert {"day": "2026-07-16", "reason": "event"} in found["days_excluded"]
    assert {"day": "2026-07-18", "reason": "other day type"} in found["days_excluded"]
    adjustment = found["adjustment"]
    assert (adjustment["kind"], adjustment["capped"]) == ("ratio", False)
    assert (round(adjustment["raw"], 6), round(adjustment["applied"], 6)) == (1.061728, 1.061728)
    assert [
        (
            one["start"],
            one["baseline_unadjusted_kw"],
            round(one["baseline_kw"], 3),
            one["load_kw"],
            round(one["reduction_kw"], 3),
        )
        for one in found["intervals"]
    ] == [
        ("2026-07-23T17:00:00-07:00", 42500.0, 45123.457, 34000.0, 11123.457),
        ("2026-07-23T18:00:00-07:00", 41500.0, 44061.728, 33000.0, 11061.728),
        ("2026-07-23T19:00:00-07:00", 40500.0, 43000.0, 35000.0, 8000.0),
    ]


def test_the_keys_are_those_that_other_programs_read(tmp_path: Path, capsys: Capture) -> None:
    found = told(capsys, METHOD, *words(tmp_path))

    named = {"method", "version", "engine", "days_used", "days_excluded", "adjustment", "intervals", "warnings"}
    assert named <= found.keys()
    assert set(found["adjustment"]) == {"kind", "raw", "applied", "capped"}
    assert list(found["intervals"][0]) == [
        "start",
        "baseline_unadjusted_kw",
        "baseline_kw",
        "load_kw",
        "reduction_kw",
    ]
    assert set(found["days_excluded"][0]) == {"day", "reason"}


def test_without_json_it_is_a_table_to_read(tmp_path: Path, capsys: Capture) -> None:
    assert run(METHOD, *words(tmp_path)) == 0

    shown = capsys.readouterr().out
    assert "2026-07-23T17:00:00-07:00      42500.000      45123.457      34000.000      11123.457" in shown
    assert "reduction      30185.185 kWh over the event" in shown
    assert "adjustment     ratio 1.061728, applied 1.061728" in shown
    assert "day not used   2026-07-16  event" in shown


def test_a_changed_parameter_makes_it_another_rule(tmp_path: Path, capsys: Capture) -> None:
    """With a ratio of at most 1 instead of 1.2, 42.5 MW stay 42.5 MW."""
    found = told(capsys, METHOD, *words(tmp_path), "--set", "adjust_highest=1")

    assert (found["is_the_rule"], found["changed"]) == (False, ["adjust_highest"])
    assert found["warnings"][0] == "not the rule: adjust_highest = 1.0 in place of 1.2"
    assert (found["adjustment"]["applied"], found["adjustment"]["capped"]) == (1.0, True)
    assert found["intervals"][0]["baseline_kw"] == 42500.0


def test_a_parameter_set_to_what_it_is_changes_nothing(tmp_path: Path, capsys: Capture) -> None:
    found = told(capsys, METHOD, *words(tmp_path), "--set", "look_back_days=45")

    assert (found["is_the_rule"], found["changed"]) == (True, [])


def test_the_figures_of_a_contract_are_told_and_leave_the_rule_the_rule(tmp_path: Path, capsys: Capture) -> None:
    """40 − 35 × 1.0 = 5 MW nominated; 34, 33 and 35 MW metered are 6, 7 and 5 delivered: 1.2, 1.4, 1.0."""
    typed = ["firm-service-level", *words(tmp_path), "--set", "level_kw=40000", "--set", "firm_kw=35000"]
    found = told(capsys, *typed)

    assert (found["is_the_rule"], found["changed"]) == (True, [])
    assert found["contract"] == {"level_kw": 40000.0, "firm_kw": 35000.0, "loss_factor": 1.0}
    assert not any("not the rule" in warning for warning in found["warnings"])
    assert [(one["nominated_kw"], one["delivered_kw"], one["ratio"]) for one in found["performance"]] == [
        (5000.0, 6000.0, 1.2),
        (5000.0, 7000.0, pytest.approx(1.4)),
        (5000.0, 5000.0, 1.0),
    ]
    assert run(*typed) == 0
    shown = capsys.readouterr().out
    assert "contract       level_kw = 40000, firm_kw = 35000, loss_factor = 1" in shown
    assert "2026-07-23T17:00:00-07:00  delivered 6000.000 of 5000.000 kW nominated, ratio 1.200000" in shown


def test_what_is_unverified_is_in_the_warnings(tmp_path: Path, capsys: Capture) -> None:
    warnings = told(capsys, "miso-10-day", *words(tmp_path))["warnings"]

    assert any(one.startswith("unverified parameters") and "look_back_days" in one for one in warnings)
    assert "unverified holidays: us-nerc" in warnings


def test_what_a_rule_rests_on_is_said_before_its_figures() -> None:
    (house,) = methods.load("house-regression")
    (open_,) = methods.load("miso-10-day")
    unread = msgspec.structs.replace(open_, verified=False, unverified=())

    assert about(house, house)[0] == "a method of our own: no ISO settles by it"
    assert about(unread, unread) == ("unverified: its numbers were not read in the rule itself",)


def test_an_adjustment_that_is_not_defined_is_told(tmp_path: Path, capsys: Capture) -> None:
    """Nothing was drawn in the hours before: there is no ratio to nothing."""
    typed = words(tmp_path)
    load = Path(typed[1])
    load.write_text(re.sub(r"(T1[345]:00),.*", r"\1,0", load.read_text()))

    found = told(capsys, METHOD, *typed)
    assert found["adjustment"] == {"kind": "ratio", "raw": None, "applied": 1.0, "capped": False}
    assert "no adjustment was made: the unadjusted baseline is zero in the adjustment hours" in found["warnings"]


def test_too_little_history_is_exit_code_2_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    shown = refused(capsys, METHOD, *words(tmp_path), "--set", "minimum_days=13")

    assert "need 13 like days with complete readings within 45 days of the event, have 12" in shown


def test_a_reading_missing_in_the_adjustment_hours_is_too_little(tmp_path: Path, capsys: Capture) -> None:
    shown = refused(capsys, METHOD, *words(tmp_path, "2026-07-23T14:00"))

    assert "need 3 metering intervals in the adjustment hours of the event day, have 2" in shown


def test_an_interval_that_was_not_metered_has_no_reduction(tmp_path: Path, capsys: Capture) -> None:
    found = told(capsys, METHOD, *words(tmp_path, "2026-07-23T18:00"))

    assert [one["reduction_kw"] is None for one in found["intervals"]] == [False, True, False]
    assert "1 of the event's 3 intervals were not metered: no reduction is told for them" in found["warnings"]
    run(METHOD, *words(tmp_path, "2026-07-23T18:00"))
    assert "reduction      19123.457 kWh over 2 of 3 intervals" in capsys.readouterr().out


def fleet(folder: Path, *, poor: str | None = None) -> str:
    """Write the worked example for two resources, b at half the load; of *poor* only the event's day."""
    path = folder / "fleet.csv"
    lines = [
        f"{start},{kw * share},{name}"
        for name, share in (("b", 0.5), ("a", 1.0))
        for start, kw in cli_files.rows()
        if name != poor or start.startswith("2026-07-23")
    ]
    path.write_text("\n".join(["interval_start,load_kw,resource", *lines, ""]))
    return str(path)


def test_several_resources_are_a_list_in_order_of_their_names(tmp_path: Path, capsys: Capture) -> None:
    found = told(
        capsys, METHOD, "--load", fleet(tmp_path), *EVENT, "--event-day", "2026-07-16", "--event-day", "2026-07-10"
    )

    assert [one["resource"] for one in found["resources"]] == ["a", "b"]
    assert [one["intervals"][2]["baseline_kw"] for one in found["resources"]] == pytest.approx([43000.0, 21500.0])


def test_one_resource_of_several_is_one_object(tmp_path: Path, capsys: Capture) -> None:
    assert told(capsys, METHOD, "--load", fleet(tmp_path), *EVENT, "--resource", "b")["resource"] == "b"
    assert "--resource c: the load data has a, b" in refused(
        capsys, METHOD, "--load", fleet(tmp_path), *EVENT, "--resource", "c"
    )


def test_the_others_are_printed_where_one_has_too_little(tmp_path: Path, capsys: Capture) -> None:
    assert run(METHOD, "--load", fleet(tmp_path, poor="a"), *EVENT, "--json") == 2

    shown = capsys.readouterr()
    poor, rich = json.loads(shown.out)["resources"]
    assert (poor["shortfall"]["have"], poor["intervals"]) == (0, [])
    assert len(rich["intervals"]) == 3
    assert "for a (1 of 2 resources have too little), have 0" in shown.err


def test_events_of_one_resource_are_not_those_of_another(tmp_path: Path, capsys: Capture) -> None:
    events = tmp_path / "e.csv"
    events.write_text("start,end,resource\n2026-07-16T17:00,2026-07-16T20:00,a\n")

    one, other = told(capsys, METHOD, "--load", fleet(tmp_path), *EVENT, "--events", str(events))["resources"]
    assert {"day": "2026-07-16", "reason": "event"} in one["days_excluded"]
    assert "2026-07-16" in other["days_used"]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (["--start", "yesterday"], "--start yesterday: it is no ISO 8601 instant"),
        (["--start", "2026-11-01T01:00", "--end", "2026-11-01T05:00"], "clocks showed that time twice"),
        (["--start", "2026-07-23T20:00"], "the event must end after it starts"),
        (["--end", "2026-07-24T01:00"], "the event crosses local midnight"),
        (["--end", "2026-07-23T19:30"], "does not begin and end where metering intervals of 60min do"),
        (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        (["--set", "k"], "--set k: write name=value"),
        (["--set", "kk=3"], "caiso-10-in-10 has no parameter 'kk'; it has look_back_days"),
        (["--holidays", "mars"], "no holidays 'mars'"),
        (["--set", "look_back_days=6200"], "holidays us-nerc cover 2010 to 2035, not 2009"),
        (["--events", "/nowhere.csv"], "no file /nowhere.csv"),
    ],
)
def test_wrong_words_are_exit_code_2_in_one_line(
    tmp_path: Path, capsys: Capture, changed: list[str], line: str
) -> None:
    assert line in refused(capsys, METHOD, *words(tmp_path), *changed)


def test_an_unknown_method_is_answered_with_those_there_are(tmp_path: Path, capsys: Capture) -> None:
    assert "gb-bl01" in refused(capsys, "caiso-9-in-10", *words(tmp_path))


def test_a_calendar_without_the_year_is_refused(tmp_path: Path, capsys: Capture) -> None:
    holidays = tmp_path / "holidays.csv"
    holidays.write_text("date\n2025-07-04\n")

    assert "holidays holidays.csv cover 2025 to 2025, not 2026" in refused(
        capsys, METHOD, *words(tmp_path), "--holidays", str(holidays)
    )


def test_a_holiday_of_a_file_is_no_like_day(tmp_path: Path, capsys: Capture) -> None:
    holidays = tmp_path / "holidays.csv"
    holidays.write_text("date\n2026-07-22\n")

    found = told(capsys, METHOD, *words(tmp_path), "--holidays", str(holidays))
    assert {"day": "2026-07-22", "reason": "other day type"} in found["days_excluded"]
    assert found["days_used"][-1] == "2026-07-06"


def test_a_rule_goes_by_the_holidays_of_its_own_market(tmp_path: Path, capsys: Capture) -> None:
    """Nothing is said of American holidays where a British or Australian rule is asked for."""
    for method in ("gb-bl01", "aemo-10-of-10"):
        typed = [*words(tmp_path), "--timezone", "Europe/London", "--set", "minimum_days=1"]
        assert "may keep others" not in str(told(capsys, method, *typed)["warnings"])


def test_american_holidays_abroad_are_told(tmp_path: Path, capsys: Capture) -> None:
    abroad = [*words(tmp_path), "--timezone", "Europe/London"]

    assert (
        "holidays are us-nerc, and Europe/London may keep others: say --holidays"
        in told(capsys, METHOD, *abroad)["warnings"]
    )
    assert "may keep others" not in str(told(capsys, METHOD, *abroad, "--holidays", "gb-england")["warnings"])


@pytest.mark.parametrize(
    ("method", "option"),
    [("caiso-weather-matching", "--temperature"), ("nominated", "--nomination"), ("control-group", "--control")],
)
def test_a_method_without_the_file_it_needs_says_so(tmp_path: Path, capsys: Capture, method: str, option: str) -> None:
    assert f"{method} needs {option} FILE" in refused(capsys, method, *words(tmp_path))


def test_a_nominated_baseline_is_what_was_nominated(tmp_path: Path, capsys: Capture) -> None:
    """36, 36, 36 MW nominated the day before; 34, 33, 35 metered."""
    path = tmp_path / "n.csv"
    rows = "".join(f"2026-07-23T{hour}:00,36000,2026-07-22T09:00\n" for hour in (17, 18, 19))
    path.write_text(f"interval_start,load_kw,submitted_at\n{rows}")

    found = told(capsys, "nominated", *words(tmp_path), "--nomination", str(path))
    assert [one["reduction_kw"] for one in found["intervals"]] == [2000.0, 3000.0, 1000.0]
    assert found["days_used"] == []


def test_a_generator_may_take_in_and_a_load_may_not_give(tmp_path: Path, capsys: Capture) -> None:
    typed = words(tmp_path)
    load = Path(typed[1])
    load.write_text(load.read_text().replace("2026-07-23T17:00,34000.0", "2026-07-23T17:00,-5"))

    assert "load below zero" in refused(capsys, METHOD, *typed)
    assert run(METHOD, *typed, "--allow-negative") == 0
    assert run("metering-generator-output", *typed) == 0


def test_the_list_has_every_method_with_its_citation(capsys: Capture) -> None:
    assert run("list", "--json") == 0

    listed = json.loads(capsys.readouterr().out)
    assert {one["method"] for one in listed} == set(methods.names())
    assert all(one["citation"] and one["version"] and "look_back_days" in str(one) for one in listed[:3])
    assert {"title", "venue", "valid_from", "valid_to", "verified", "unverified", "notes", "parameters"} <= listed[
        0
    ].keys()


def test_the_list_says_what_is_verified(capsys: Capture) -> None:
    assert run("list", METHOD, "house-regression") == 0

    shown = capsys.readouterr().out
    assert "numbers   verified but decimals" in shown
    assert "numbers   our own" in shown
    assert "adjust_highest = 1.2" in shown


def test_help_names_every_file_key_and_command(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        run("--help")

    page = capsys.readouterr().out
    for word in ("energy_kwh", "submitted_at", "days_excluded", "exit codes", "baseline list", "explain", "accuracy"):
        assert word in page


def archived(folder: Path, *, simulated: bool) -> list[str]:
    """Load an archive with thirty days of 1 000 kW before and on the event's day, hour by hour."""
    start = Calendar("America/Los_Angeles").bounds(date(2026, 6, 23)).start
    starts = [start + timedelta(hours=hour) for hour in range(31 * 24)]
    frame = pl.DataFrame({"start": starts, "load_kw": [1000.0] * len(starts)})
    archive.backfill(storage.at(folder), "site-1", frame, timedelta(hours=1), start, simulated=simulated)
    return ["--archive", str(folder), "--site", "site-1", *EVENT]


@pytest.mark.parametrize("simulated", [True, False])
def test_a_baseline_from_the_archive_says_whether_it_is_simulated(
    tmp_path: Path, capsys: Capture, *, simulated: bool
) -> None:
    found = told(capsys, METHOD, *archived(tmp_path, simulated=simulated), "--event-day", "2026-07-22")

    assert [one["reduction_kw"] for one in found["intervals"]] == [0.0, 0.0, 0.0]
    assert {"day": "2026-07-22", "reason": "event"} in found["days_excluded"]
    assert ("simulated history" in found["warnings"]) is simulated


def test_an_interval_that_is_covered_in_part_is_a_gap_and_no_smaller_load(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of the hosts was heard of in the first hour: 333 kW would be a reduction that nobody delivered."""
    typed = archived(tmp_path, simulated=True)
    whole = store.interval_history
    first = datetime(2026, 7, 24, tzinfo=UTC)

    def in_part(*asked: Any) -> pl.DataFrame:
        part = pl.col("start") == first
        return whole(*asked).with_columns(
            load_kw=pl.when(part).then(333.0).otherwise("load_kw"),
            covered_share=pl.when(part).then(1 / 3).otherwise("covered_share"),
        )

    monkeypatch.setattr(store, "interval_history", in_part)
    found = told(capsys, METHOD, *typed)

    assert [one["load_kw"] for one in found["intervals"]] == [None, 1000.0, 1000.0]
    assert "1 intervals of site-1 are covered in part and taken for gaps" in found["warnings"]


@pytest.mark.parametrize("method", ["pjm-same-day-3-2", "pjm-match-day"])
def test_hours_after_the_event_are_read_from_the_archive_too(tmp_path: Path, capsys: Capture, method: str) -> None:
    """Two hours after the event, or the rest of its day, are in the archive: 1 000 kW all along."""
    found = told(capsys, method, *archived(tmp_path, simulated=False))

    assert [one["baseline_kw"] for one in found["intervals"]] == [1000.0, 1000.0, 1000.0]


def test_an_archive_needs_no_time_zone_and_one_of_its_lengths(tmp_path: Path, capsys: Capture) -> None:
    typed = [word for word in archived(tmp_path, simulated=True) if word not in EVENT[4:]]

    assert told(capsys, METHOD, *typed, "--interval", "60min")["timezone"] == "America/Los_Angeles"
    assert "need 1 metering intervals of site-1" in refused(capsys, METHOD, *typed, "--interval", "5min")


def test_an_archive_with_two_lengths_asks_which(tmp_path: Path, capsys: Capture) -> None:
    typed = archived(tmp_path, simulated=True)
    start = Calendar("America/Los_Angeles").bounds(date(2026, 7, 23)).start
    frame = pl.DataFrame({"start": [start], "load_kw": [1000.0]})
    archive.backfill(storage.at(tmp_path), "site-1", frame, timedelta(minutes=5), start, simulated=True)

    assert "site-1 has intervals of 5min, 60min; say which with --interval" in refused(capsys, METHOD, *typed)
    assert run(METHOD, *typed, "--interval", "60min") == 0


def test_a_site_that_the_archive_has_not_is_too_little_history(tmp_path: Path, capsys: Capture) -> None:
    typed = archived(tmp_path, simulated=True)

    assert "need 1 metering intervals of site-2" in refused(capsys, METHOD, *typed, "--site", "site-2")
    assert "no archive at /nowhere" in refused(capsys, METHOD, *typed, "--archive", "/nowhere")


@pytest.mark.parametrize("left_out", ["--load", "--timezone"])
def test_what_must_be_given_is_asked_for(tmp_path: Path, capsys: Capture, left_out: str) -> None:
    typed = words(tmp_path)
    place = typed.index(left_out)

    with pytest.raises(SystemExit) as failure:
        run(METHOD, *typed[:place], *typed[place + 2 :])
    assert failure.value.code == 2
    assert left_out in capsys.readouterr().err

"""The report and the command line: what they say is what the scores say."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline import baseline_cli
from pipeline.calendar import Calendar
from pipeline.cbl import accuracy_finding, accuracy_hours, accuracy_svg
from pipeline.cbl.accuracy import ALL, BUSINESS, OTHER, REFERENCES, Plan
from pipeline.cbl.accuracy_report import matrix, report, verdicts
from pipeline.cbl.accuracy_scores import SCORES
from pipeline.cbl.accuracy_study import Study, request_of, study
from pipeline.cbl.methods import load
from pipeline.cbl.polars_engine import answer
from pipeline.cbl.request import LOADS
from pipeline.cbl.rule import Rule
from pipeline.cbl.series import Series
from pipeline.errors import ConfigError

RULES: tuple[Rule, ...] = (load("caiso-10-in-10")[-1], load("pjm-match-day")[-1], *REFERENCES)
HOUR = timedelta(hours=1)
MONDAY = date(2025, 3, 3)


def score(
    method: str, resource: str, error: float | None, before: float | None = None, **more: object
) -> dict[str, object]:
    """Return a row of `SCORES` of business days, ten days of 20 intervals, without bias."""
    figures = {"rrmse": error, "cv_rmse": error, "rrmse_unadjusted": before if before is not None else error}
    have = error is not None
    return {
        "method": method,
        "resource": resource,
        "kind": BUSINESS,
        "hour": None,
        "events": 10,
        "without_baseline": 0.0 if have else 1.0,
        "days": 10 if have else 0,
        "intervals": 20 if have else 0,
        "mean_kw": 100.0,
        "bias": 0.0 if have else None,
        "nmbe": 0.0 if have else None,
        "bias_unadjusted": 0.0 if have else None,
        "eligible": have and float(str(error)) <= 0.2,
        "indicative": True,
        **figures,
        **more,
    }


def studied(*rows: dict[str, object], simulated: bool = False, title: str = "Loads", name: str = "loads") -> Study:
    return Study(
        name=name,
        title=title,
        notes=("A note.",),
        plan=Plan(),
        rules=RULES,
        unfit=(("nominated", "needs nominations"),),
        scores=pl.DataFrame(rows, schema=SCORES),
        simulated=simulated,
    )


TWO = (
    score("caiso-10-in-10", "a", 0.25, 0.21),
    score("pjm-match-day", "a", 0.15, bias=0.031),
    score("same-time-yesterday", "a", 0.1),
    score("mean-of-hours-before", "a", 0.3),
    score("caiso-10-in-10", "b", 0.05, 0.08),
    score("pjm-match-day", "b", None),
    score("same-time-yesterday", "b", 0.06),
    score("mean-of-hours-before", "b", 0.02),
)


def test_the_table_marks_the_best_the_gate_and_an_adjustment_that_harms() -> None:
    lines = matrix(studied(*TWO), BUSINESS).splitlines()

    assert lines[0] == "| RRMSE, bias | a | b |"
    assert "| `caiso-10-in-10` | 25.0%, +0.0% ✗ ▲ | **5.0%, +0.0%** |" in lines
    assert "| `pjm-match-day` | **15.0%, +3.1%** | – |" in lines


def test_a_load_that_every_method_fits_is_told_in_a_word() -> None:
    rows = (
        score("caiso-10-in-10", "a", 0.05),
        score("pjm-match-day", "a", 0.1),
        score("same-time-yesterday", "a", 0.3),
    )

    assert verdicts(studied(*rows), BUSINESS).endswith("| a | `caiso-10-in-10` 5.0% (indicative) | all 2 | none |")


def test_a_reference_is_neither_best_nor_eligible() -> None:
    lines = verdicts(studied(*TWO), BUSINESS).splitlines()

    assert lines[2:] == [
        "| a | `pjm-match-day` 15.0% (indicative) | `pjm-match-day` | `caiso-10-in-10` |",
        "| b | `caiso-10-in-10` 5.0% (indicative) | `caiso-10-in-10` | 1 that never had a baseline |",
    ]


def test_the_finding_for_ai_load_is_computed_from_the_scores() -> None:
    by_hour = [score("caiso-10-in-10", one, error, 0.1, hour=7, days=5) for one, error in (("a", 0.3), ("b", 0.09))]
    shifted = pl.DataFrame(TWO, schema=SCORES).with_columns(first_day=MONDAY)
    others = studied(score("caiso-10-in-10", "x", 0.04), score("pjm-match-day", "x", 0.06), title="Meters")

    text = accuracy_finding.ai_load(studied(*TWO, *by_hour, simulated=True), others, shifted)

    assert text.startswith(
        "**On 0 of 2 simulated AI loads no market rule that had a baseline is within the gate of 20%"
    )
    assert "; on 1 all of them are. They are one record in 2 forms, 10 placebo days at its own intervals" in text
    assert "10 placebo days, 20 intervals a load; simulated load from real demand" in text
    assert (
        "**a**: of 2 market rules that had a baseline only 1 within the gate of 20% (RRMSE 15.0% to 25.0%); the best"
        in text
    )
    assert "**b**: of 1 market rules that had a baseline all pass" in text
    assert "1 of 2 (rule, load) pairs are worse with the rule's adjustment than without it" in text
    assert "(`caiso-10-in-10` on a: 25.0% against 21.0%)" in text
    assert (
        "by single start hours 1 of 2, the most by `caiso-10-in-10` on a from 7:00, 30.0% against 10.0% (n = 5" in text
    )
    assert "2 of 3 (rule, load) pairs are no better than the load of the same time yesterday" in text
    assert "median RRMSE 5.0% against 15.0% here, 2 of 2 pairs within the gate" in text
    assert "worse than without in 1 of 2 cases" in text


def test_rules_that_a_short_record_silences_are_named() -> None:
    rows = (
        score("caiso-10-in-10", "a", 0.1),
        score("pjm-match-day", "a", None),
        score("same-time-yesterday", "a", 0.2),
    )
    others = studied(score("caiso-10-in-10", "x", 0.04), title="Meters")

    shifted = pl.DataFrame(rows, schema=SCORES).with_columns(first_day=MONDAY)

    text = accuracy_finding.ai_load(studied(*rows), others, shifted)

    assert "1 of 2 rules never had a baseline: fourteen days are too few for `pjm-match-day`." in text
    assert (
        "0 of 1 (rule, load) pairs are worse with the rule's adjustment than without it; by single start hours" in text
    )


#: Two rules that say the same of both loads, and a third one.
SAME = tuple(
    score(method, resource, error, before)
    for resource, errors in (("a", (0.25, 0.15)), ("b", (0.1, 0.3)))
    for method, error, before in (
        ("aemo-10-of-10", errors[0], 0.2),
        ("caiso-10-in-10", errors[0] + 1e-14, 0.2),
        ("pjm-match-day", errors[1], None),
    )
)


def test_rules_that_give_the_same_answers_are_one_witness() -> None:
    rules = (load("aemo-10-of-10")[-1], *RULES)
    found = replace(studied(*SAME), rules=rules)
    others = studied(score("aemo-10-of-10", "x", 0.04), score("pjm-match-day", "x", 0.06), title="Meters")

    text = accuracy_finding.ai_load(found, others, found.scores.with_columns(first_day=MONDAY))

    assert "The same answers throughout, and counted once: `aemo-10-of-10`, `caiso-10-in-10`." in text
    assert "**a**: of 2 market rules that had a baseline only 1 within" in text
    assert "1 of 2 (rule, load) pairs are worse with the rule's adjustment than without it" in text
    assert "a 15.0% to 25.0% (1 of 2 pass)" in text
    assert "- a: best `pjm-match-day`, RRMSE 15.0%" in accuracy_finding.verdict(all_days(found))
    assert "; 1 of 2 methods pass the gate of 20%." in accuracy_finding.verdict(all_days(found))
    assert "- loads, business days: worse in 1 of 2, on 10 days." in accuracy_finding.adjustments([found])


def all_days(found: Study) -> Study:
    return replace(found, scores=found.scores.with_columns(kind=pl.lit(ALL)))


def test_what_is_eligible_names_all_and_counts_the_same_once() -> None:
    rows = [dict(row, rrmse=0.1, eligible=True) for row in SAME[:3]]
    found = replace(studied(*rows), rules=(load("aemo-10-of-10")[-1], *RULES))

    assert verdicts(found, BUSINESS).endswith("| a | `aemo-10-of-10` 10.0% (indicative) | all 2 | none |")
    assert "counted once: `aemo-10-of-10`, `caiso-10-in-10`." in report([found], "x").text


def test_errors_are_told_by_the_hour_at_which_an_event_begins() -> None:
    figures = {
        ("caiso-10-in-10", 7): (0.25, 0.1),
        ("caiso-10-in-10", 17): (0.04, 0.04),
        ("pjm-match-day", 7): (0.1, 0.1),
        ("pjm-match-day", 17): (0.06, 0.08),
        ("mean-of-hours-before", 17): (0.01, 0.01),
    }
    rows = [
        score(method, resource, error, hour=hour, days=20)
        for (method, hour), pair in figures.items()
        for resource, error in zip("ab", pair, strict=True)
    ]

    # What has a baseline on half of the events only was not asked the hard questions.
    rows += [
        score("caiso-10-in-10", "a", 0.05, hour=20),
        score("pjm-match-day", "a", 0.01, hour=20, without_baseline=0.5),
    ]

    lines = accuracy_hours.table(studied(*rows), BUSINESS).splitlines()

    assert lines[0] == "| RRMSE from | 7:00 | 17:00 | 20:00 |"
    assert "| `caiso-10-in-10` | 17.5%, 25.0% ✗ | **4.0%** | **5.0%** |" in lines
    assert "| `pjm-match-day` | **10.0%** | 7.0%, 8.0% | 1.0% |" in lines
    assert "| `same-time-yesterday` | – | – | – |" in lines
    assert "| `mean-of-hours-before` | – | 1.0% | – |" in lines
    assert lines[-1].startswith("Median of 2 resources, and the worst of them, on up to 20 days of each hour.")


def test_of_a_few_days_hours_are_not_told_apart() -> None:
    rows = [score("caiso-10-in-10", "a", 0.1, hour=hour, days=19) for hour in (7, 17)]

    assert "19 days of each are too few to tell hours apart" in accuracy_hours.table(studied(*rows), BUSINESS)


def test_what_an_adjustment_is_worth_counts_resources() -> None:
    rows = accuracy_finding.adjustments([studied(*TWO, simulated=True)]).splitlines()

    assert "- loads (simulated), business days: worse in 1 of 2, on 10 days." in rows

    assert rows[-1] == "| loads | `caiso-10-in-10` | business days | 2 | 1 | 15.0% | 14.5% |"


def test_simulated_loads_are_marked_wherever_they_are_shown() -> None:
    made = report([studied(*TWO, simulated=True, name="llm")], "accuracy")

    assert "**Simulated load from real demand.**" in made.text
    assert "llm, simulated load" in made.files["llm.svg"]
    assert "![RRMSE by method](accuracy/llm.svg)" in made.text
    assert "Other days: no method had a baseline" in made.text


def test_scores_are_all_in_the_table_beside_the_report() -> None:
    made = report([studied(*TWO)], "accuracy")

    rows = pl.read_csv(made.files["scores.csv"].encode())
    assert len(rows) == 8
    assert rows.filter(method="caiso-10-in-10", resource="a")["rrmse"].to_list() == [0.25]


def places(picture: str, kind: str) -> list[float]:
    return [float(one.attrib["cx"]) for one in ET.fromstring(picture).iter() if one.attrib.get("class") == kind]


def test_single_hours_are_listed_where_the_resources_are_few() -> None:
    many = [score("caiso-10-in-10", name, 0.1, hour=hour) for name in "abcde" for hour in (None, 7)]

    few, more = (pl.read_csv(report([studied(*rows)], "x").files["scores.csv"].encode()) for rows in (many[:8], many))

    assert (len(few), len(more)) == (8, 5)


def test_a_share_of_events_without_a_baseline_is_told_even_where_it_is_small() -> None:
    rows = (score("caiso-10-in-10", "a", 0.05, without_baseline=0.003), *TWO[1:4])

    assert "**5.0%, +0.0%** (0.3%)" in matrix(studied(*rows), BUSINESS)


def test_a_picture_puts_larger_errors_further_right_and_what_was_before_beside_them() -> None:
    rows = [
        ("one", [accuracy_svg.Dot("a", 0.1, 0.2), accuracy_svg.Dot("<b>", 0.3)]),
        ("two", [accuracy_svg.Dot("a", 9.0)]),
    ]

    picture = accuracy_svg.dots("Title", rows, 0.2)

    tenth, third, edge = places(picture, "after")
    assert tenth < places(picture, "before")[0] < third < edge <= accuracy_svg.WIDTH - accuracy_svg.RIGHT
    assert "&lt;b&gt;: 30.0%" in picture


def test_a_gap_is_a_gap_in_the_line() -> None:
    picture = accuracy_svg.lines("Title", 1, [("a", [1.0, 2.0, None, 3.0])])

    (path,) = [one.attrib["d"] for one in ET.fromstring(picture).iter() if one.attrib.get("class") == "line l0"]
    assert [command[0] for command in path.split()] == ["M", "L", "M"]


def series(resource: str, days: int) -> Series:
    """Return hours at 100 kW and, from noon on, 200; on the days with an odd number a tenth more."""
    first = datetime(2026, 1, 5, tzinfo=UTC)
    rows = [
        (resource, first + HOUR * hour, (100.0 if hour % 24 < 12 else 200.0) * (1.1 if hour // 24 % 2 else 1.0))
        for hour in range(days * 24)
    ]
    return Series(
        name="made",
        title="Made",
        loads=pl.DataFrame(rows, schema=LOADS, orient="row"),
        grid=HOUR,
        calendar=Calendar("UTC", frozenset()),
        notes=(f"of {resource}",),
    )


def test_a_study_holds_the_resources_of_all_its_series() -> None:
    rules = (*RULES, load("nominated")[-1], load("caiso-weather-matching")[-1])
    asked = [(one, request_of(one)) for one in (series("a", 40), series("b", 40))]

    found = study(asked, rules, Plan(days=3, start_hours=(14,)), answer)

    assert found.resources == ["a", "b"]
    assert found.notes == ("of a", "of b")
    assert dict(found.unfit) == {"nominated": "needs nominations", "caiso-weather-matching": "needs temperatures"}
    yesterday = found.overall(ALL).filter(method="same-time-yesterday", resource="b").row(0, named=True)
    assert (yesterday["days"], yesterday["intervals"]) == (6, 12)
    # Each day is 10 % above or 9.1 % below the day before.
    assert 0.09 < yesterday["rrmse"] < 0.1


@pytest.fixture
def load_csv(tmp_path: Path) -> Path:
    path = tmp_path / "Load.csv"
    rows = series("", 40).loads.select(
        pl.col("start").dt.strftime("%Y-%m-%dT%H:%MZ").alias("interval_start"), "load_kw"
    )
    rows.write_csv(path)
    return path


def run(load_csv: Path, *more: str) -> int:
    return baseline_cli.main(
        ["accuracy", "--load", str(load_csv), "--timezone", "UTC", "--start-hours", "14", "--days", "4", *more]
    )


def test_the_command_prints_scores_as_json(load_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(load_csv, "--methods", "caiso-10-in-10,firm-service-level", "--json") == 0

    found = json.loads(capsys.readouterr().out)
    assert found["gate"] == 0.2
    assert found["plan"] == {"start_hours": [14], "hours": 2, "days": 4}
    assert {row["method"] for row in found["scores"]} == {"caiso-10-in-10", *(rule.method for rule in REFERENCES)}
    assert {row["method"] for row in found["best"]} == {"caiso-10-in-10"}
    assert found["not_tried"][0]["method"] == "firm-service-level"


def test_both_engines_score_the_same(load_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for engine in ("polars", "duckdb"):
        run(load_csv, "--methods", "pjm-high-4-of-5", "--engine", engine)
        texts.append(capsys.readouterr().out)

    assert "business days: 4 placebo events" in texts[0]
    assert texts[0] == texts[1]


def test_a_report_is_written_with_its_pictures_beside_it(
    load_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(load_csv, "--methods", "caiso-10-in-10", "--report", str(tmp_path / "out" / "NOTE.md")) == 0

    assert "caiso-10-in-10" in capsys.readouterr().out
    text = (tmp_path / "out" / "NOTE.md").read_text()
    assert "- the load: best `caiso-10-in-10`" in text
    assert "](note/load.svg)" in text
    assert {one.name for one in (tmp_path / "out" / "note").iterdir()} == {"load.svg", "scores.csv"}


def test_american_holidays_abroad_are_warned_of_as_with_one_event(
    load_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(load_csv, "--methods", "caiso-10-in-10")
    unnamed = capsys.readouterr().out
    run(load_csv, "--methods", "caiso-10-in-10", "--holidays", "none", "--json")
    named = json.loads(capsys.readouterr().out)["warnings"]

    assert "warning: holidays are us-nerc, and UTC may keep others: say --holidays" in unnamed
    assert named == []


def test_days_of_events_are_no_placebo_days(load_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "events.csv"
    events.write_text("start,end\n2026-01-25T14:00Z,2026-02-12T16:00Z\n")

    run(load_csv, "--methods", "caiso-10-in-10", "--events", str(events), "--json")

    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {row["events"] for row in scores if row["kind"] == ALL} == {1}  # Friday 13 February is all that is left


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--report", "note.txt"), "a Markdown file"),
        (("--hours", "11"), "11 h from 14:00 do not lie within one day"),
        (("--methods", "guess"), "no 'guess'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(load_csv: Path, more: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        run(load_csv, *more)


def test_a_kind_of_day_that_is_not_there_has_no_section() -> None:
    made = report(
        [replace(studied(*TWO), scores=pl.DataFrame(TWO, schema=SCORES).with_columns(kind=pl.lit(OTHER)))], "x"
    )

    assert "### Business days: no method had a baseline" in made.text
    assert "### Other days: 10 days, 10 events, 20 intervals a resource" in made.text

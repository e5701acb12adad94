"""What stands behind a figure: tables, SQL, a picture."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import duckdb
import pytest
from unit.pipeline.cbl.cli_files import EVENT, words

from deploy import cli as firmwatt

METHOD = "caiso-10-in-10"
SVG = "{http://www.w3.org/2000/svg}"
Capture = pytest.CaptureFixture[str]


def explain(*typed: str) -> int:
    return firmwatt.main(["baseline", "explain", METHOD, *typed])


def table(shown: str, head: str) -> list[list[str]]:
    """Return the cells of the table under *head*."""
    _, _, below = shown.partition(f"{head}, kW\n")
    below, _, _ = below.partition("\n\n")
    return [re.split(r"\s{2,}", line.strip()) for line in below.splitlines()]


def test_the_loads_behind_each_interval_are_laid_side_by_side(tmp_path: Path, capsys: Capture) -> None:
    """The mean of ten days at five in the afternoon is 42.5 MW; the 22nd had 43."""
    assert explain(*words(tmp_path)) == 0

    heads, first, *_ = table(capsys.readouterr().out, "days used, event hours")
    assert heads[:4] == ["start", "event's day", "mean of these", "2026-07-22"]
    assert first[:4] == ["2026-07-23T17:00:00-07:00", "34000.000", "42500.000", "43000.000"]
    assert len(heads) == 3 + 10


def test_the_adjustment_can_be_computed_again_from_its_hours(tmp_path: Path, capsys: Capture) -> None:
    """42 + 43 + 44 over 39.5 + 40.5 + 41.5 is 129 ÷ 121.5 = 1.061728."""
    assert explain(*words(tmp_path)) == 0

    shown = capsys.readouterr().out
    rows = table(shown, "days used, adjustment hours")[1:]
    assert [row[0][11:16] for row in rows] == ["13:00", "14:00", "15:00"]
    assert [(row[1], row[2]) for row in rows] == [
        ("42000.000", "39500.000"),
        ("43000.000", "40500.000"),
        ("44000.000", "41500.000"),
    ]
    assert "ratio 1.061728, applied 1.061728" in shown


def test_days_not_used_are_shown_with_their_loads_and_gaps(tmp_path: Path, capsys: Capture) -> None:
    assert explain(*words(tmp_path)) == 0

    shown = capsys.readouterr().out
    heads, first, *_ = table(shown, "days not used, event hours")
    day = dict(zip(heads, first, strict=True))
    assert (day["2026-07-16"], day["2026-07-18"]) == ("30000.000", "–")
    assert "day not used   2026-07-16  event" in shown


def test_json_has_the_days_of_every_interval(tmp_path: Path, capsys: Capture) -> None:
    assert explain(*words(tmp_path), "--json") == 0

    first = json.loads(capsys.readouterr().out)["intervals"][0]
    assert {"day": "2026-07-16", "used": False, "reason": "event", "load_kw": 30000.0} in first["days"]
    used = [day["load_kw"] for day in first["days"] if day["used"]]
    assert sum(used) / len(used) == first["baseline_unadjusted_kw"] == 42500.0


def test_the_script_printed_gives_the_figures_in_any_duckdb(tmp_path: Path, capsys: Capture) -> None:
    assert explain(*words(tmp_path), "--sql") == 0

    script = capsys.readouterr().out
    assert f"-- {METHOD} 1:" in script
    with duckdb.connect() as connection:
        rows = connection.execute(script).fetchall()
        (kept,) = connection.execute("SELECT count(*) FROM days WHERE used").fetchall()
    assert [round(row[4], 3) for row in rows] == [45123.457, 44061.728, 43000.0]
    assert kept == (10,)


def drawn(folder: Path, *typed: str, name: str = "day.svg") -> str:
    path = folder / name
    assert explain(*typed, "--picture", str(path)) == 0
    return path.read_text()


def lines(svg: str, kind: str) -> dict[str, str]:
    """Return the paths of a kind, with a title, by their titles."""
    found = {}
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        title = path.find(f"{SVG}title")
        if path.get("class") == f"line {kind}" and title is not None:
            found[title.text or ""] = path.get("d", "")
    return found


def test_the_picture_has_every_day_with_its_reason(tmp_path: Path) -> None:
    """Of the days passed over only the two events were metered: a day without readings has no line."""
    svg = drawn(tmp_path, *words(tmp_path))

    assert len(lines(svg, "used")) == 10
    assert set(lines(svg, "pale")) == {"2026-07-16: event", "2026-07-10: event"}
    assert set(lines(svg, "today")) == {"the event's day"}
    assert len(lines(svg, "before")) == len(lines(svg, "after")) == 1
    assert "days not used (2 of 6)" in svg


def test_the_picture_is_to_scale(tmp_path: Path) -> None:
    """The shaded event begins at 17/24 of the axis; both baselines begin there, the adjusted one above the other."""
    svg = drawn(tmp_path, *words(tmp_path))

    shade = next(rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.get("class") == "event")
    left, right = 84, 960 - 32
    place = left + 17 / 24 * (right - left)
    assert float(shade.get("x", "")) == pytest.approx(place, abs=0.1)
    before, after = (next(iter(lines(svg, kind).values())) for kind in ("before", "after"))
    starts = [re.match(r"M([\d.]+) ([\d.]+)", path) for path in (before, after)]
    (x, low), (also, high) = [(float(found[1]), float(found[2])) for found in starts if found]
    assert x == also == pytest.approx(place, abs=0.1)
    assert high < low


def test_a_gap_is_a_gap_in_the_line(tmp_path: Path) -> None:
    """The event's day is metered at 13, 14, 15 and from 17 on: two pieces. Without 14 there are three."""
    whole = lines(drawn(tmp_path, *words(tmp_path)), "today")["the event's day"]
    without = ["--set", "adjust_to_hours=3", "--set", "adjust_from_hours=4"]
    holed = lines(drawn(tmp_path, *words(tmp_path, "2026-07-23T14:00"), *without), "today")["the event's day"]

    assert (whole.count("M"), holed.count("M")) == (2, 3)


def test_the_axes_say_units_zone_and_where_they_begin(tmp_path: Path) -> None:
    svg = drawn(tmp_path, *words(tmp_path))

    assert "load, kW (the axis does not begin at 0)" in svg
    assert "local time of day, America/Los_Angeles" in svg


def test_the_picture_needs_nothing_else_and_knows_the_dark(tmp_path: Path) -> None:
    page = drawn(tmp_path, *words(tmp_path), name="day.html")

    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme:dark" in page
    assert "<script" not in page
    assert "days used, adjustment hours" in page


def test_a_rule_without_days_is_explained_and_drawn(tmp_path: Path, capsys: Capture) -> None:
    """A level of 40 MW is its own baseline; there are no days, and nothing to adjust."""
    path = tmp_path / "level.svg"
    typed = ["guaranteed-load-drop", *words(tmp_path), "--set", "level_kw=40000", "--picture", str(path)]

    assert firmwatt.main(["baseline", "explain", *typed]) == 0
    shown = capsys.readouterr().out
    assert "adjustment     none" in shown
    assert "days used" not in shown
    assert len(lines(path.read_text(), "after")) == 1


def test_a_changed_rule_says_so_in_the_picture(tmp_path: Path) -> None:
    assert "changed: not the rule" in drawn(tmp_path, *words(tmp_path), "--set", "adjust_highest=1")


def test_names_in_the_picture_are_text_and_no_markup(tmp_path: Path) -> None:
    load = tmp_path / "one.csv"
    plain = Path(words(tmp_path)[1]).read_text().splitlines()
    load.write_text("\n".join([f"{plain[0]},resource", *(f"{line},<b>&" for line in plain[1:])]))

    svg = drawn(tmp_path, "--load", str(load), *EVENT)
    assert (ET.fromstring(svg).get("aria-label") or "").endswith(", <b>&")


@pytest.mark.parametrize("name", ["day.png", "day"])
def test_a_picture_of_another_kind_is_refused(tmp_path: Path, capsys: Capture, name: str) -> None:
    assert explain(*words(tmp_path), "--picture", name) == 2
    assert "a picture is a file ending in .svg or .html" in capsys.readouterr().err


def test_a_picture_shows_one_resource(tmp_path: Path, capsys: Capture) -> None:
    load = tmp_path / "two.csv"
    plain = Path(words(tmp_path)[1]).read_text().splitlines()
    rows = [f"{line},{name}" for name in "ab" for line in plain[1:]]
    load.write_text("\n".join([f"{plain[0]},resource", *rows]))
    typed = ["--load", str(load), *EVENT, "--picture", str(tmp_path / "p.svg")]

    assert explain(*typed) == 2
    assert "choose one with --resource: a, b" in capsys.readouterr().err
    assert explain(*typed, "--resource", "b") == 0


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_too_little_history_still_shows_the_days_and_why_not(tmp_path: Path, capsys: Capture, engine: str) -> None:
    """Thirteen days are the least and the pool has ten: they are shown, and the two events with their reason."""
    assert explain(*words(tmp_path), "--set", "minimum_days=13", "--set", "fill_up=false", "--engine", engine) == 2

    shown = capsys.readouterr()
    assert "no baseline: need 13 like days with complete readings within 45 days of the event, have 10" in shown.out
    assert "day not used   2026-07-16  event" in shown.out
    assert table(shown.out, "days used, event hours")[1][3] == "43000.000"
    assert shown.err.count("\n") == 1
    assert "need 13 like days" in shown.err


def test_too_little_history_is_json_and_a_picture_too(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "short.svg"
    typed = [*words(tmp_path), "--set", "minimum_days=13", "--set", "fill_up=false", "--json", "--picture", str(path)]
    assert explain(*typed) == 2

    found = json.loads(capsys.readouterr().out)
    assert (found["shortfall"]["have"], found["intervals"]) == (10, [])
    assert {"day": "2026-07-16", "reason": "event"} in found["days_excluded"]
    assert len(lines(path.read_text(), "used")) == 10


def test_fewer_days_than_asked_for_are_told(tmp_path: Path, capsys: Capture) -> None:
    """Fifteen are asked for and eleven there, which is above the least, five."""
    assert explain(*words(tmp_path), "--set", "days=15") == 0

    assert "warning        only 11 of 15 like days were found within 45 days of the event" in capsys.readouterr().out


def test_as_many_days_as_asked_for_need_no_word(tmp_path: Path, capsys: Capture) -> None:
    assert explain(*words(tmp_path)) == 0

    assert "like days were found" not in capsys.readouterr().out


def test_event_days_that_fill_up_are_told(tmp_path: Path, capsys: Capture) -> None:
    assert explain(*words(tmp_path), "--set", "minimum_days=12", "--set", "days=15") == 0

    assert "1 of the days used are event or outage days, for want of others" in capsys.readouterr().out


def test_meter_before_shows_the_hour_it_is_the_mean_of(tmp_path: Path, capsys: Capture) -> None:
    """From four to two hours before five in the afternoon: 42 and 43 MW."""
    hours = ["--set", "before_from_hours=4", "--set", "before_to_hours=2"]
    assert firmwatt.main(["baseline", "explain", "meter-before-after", *words(tmp_path), *hours]) == 0

    rows = table(capsys.readouterr().out, "days used, comparison hours")[1:]
    assert [(row[0][11:16], row[1]) for row in rows] == [("13:00", "42000.000"), ("14:00", "43000.000")]


def test_the_hours_that_days_are_compared_by_are_shown(tmp_path: Path, capsys: Capture) -> None:
    """Match Day compares midnight to 16:00 and 21:00 to midnight: nineteen hours, of which three were metered."""
    short = [
        "--set",
        "rank_by=shape",
        "--set",
        "match=outside-event",
        "--set",
        "match_gap_hours=1",
        "--set",
        "fill_up=false",
    ]
    assert explain(*words(tmp_path), *short, "--json") == 2

    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert [hour["start"][11:13] for hour in comparison] == [f"{hour:02}" for hour in (*range(16), 21, 22, 23)]


def test_a_learned_baseline_has_no_sql_and_says_so(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("sklearn", reason="house-ml needs the extra ml")
    assert firmwatt.main(["baseline", "explain", "house-ml", *words(tmp_path), "--sql"]) == 2

    assert "house-ml has no SQL: it is learned, by the Polars engine alone; leave --sql out" in capsys.readouterr().err

"""`firmwatt baseline accuracy`: how far off each method is on one's own load, and which of them pass the gate."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl import accuracy, accuracy_finding, cli_options, cli_shared, engines, holidays, loads, methods
from pipeline.cbl.accuracy import ALL, BUSINESS, GATE, OTHER, Plan
from pipeline.cbl.accuracy_report import Report, report
from pipeline.cbl.accuracy_scores import best
from pipeline.cbl.accuracy_study import Study, request_of, study
from pipeline.cbl.loads import Expected
from pipeline.cbl.request import ONE, Request
from pipeline.cbl.rule import Rule
from pipeline.cbl.series import Series
from pipeline.errors import ConfigError

PAGE = """\
Days without an event are taken for event days ("placebo"): what a baseline says there can be held against the load.

  firmwatt baseline accuracy --load load.csv --timezone America/Los_Angeles
  firmwatt baseline accuracy --load load.csv --timezone America/Los_Angeles --methods caiso-10-in-10,pjm-high-4-of-5 \\
      --start-hours 14,17 --hours 2 --days 60 --events events.csv --report accuracy.md
"""
FILES = """\
Files are those of `firmwatt baseline METHOD --help`. Days of events and outages are no placebo days. Beside the methods
stand two references: the load of the same time yesterday, and the flat mean of the 2nd, 3rd and 4th hour before.
RRMSE and bias: see `pipeline/cbl/accuracy_scores.py`; bias above zero means that a reduction is overstated.

JSON (--json): {gate, plan, scores: [{method, resource, kind, hour, events, without_baseline, days, intervals, mean_kw,
  rrmse, bias, cv_rmse, nmbe, rrmse_unadjusted, bias_unadjusted, eligible, indicative}], best: [the same], not_tried:
  [{method, reason}], warnings: [text]}; kind: business days, other days, all days; hour: null, all together.

exit codes: 0 done; 2 wrong options or bad input, in one line on standard error
"""


def main(argv: list[str]) -> int:
    """Print the scores; write a report where one is asked for."""
    options = _parser().parse_args(argv)
    if options.report and options.report.suffix != ".md":
        raise ConfigError(f"--report {options.report}: a Markdown file, such as accuracy.md")
    plan = Plan(start_hours=options.start_hours, hours=options.hours, days=options.days)
    rules = chosen(options.methods)
    calendar = holidays.find(options.holidays or cli_shared.US).calendar(options.timezone)
    series, request = _asked(options, calendar)
    found = study([(series, request)], rules, plan, engines.engine(options.engine))
    sys.stdout.write(json_text(found) if options.json else text(found))
    if options.report:
        folder = options.report.stem.lower()
        write(report([found], folder, opening=accuracy_finding.verdict(found)), options.report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="firmwatt baseline accuracy",
        description=PAGE,
        epilog=FILES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--load", type=Path, required=True, metavar="FILE", help="load.csv")
    parser.add_argument("--timezone", required=True, metavar="ZONE", help="the venue's, such as America/Los_Angeles")
    parser.add_argument(
        "--interval", type=cli_options.length, metavar="LENGTH", help="60min, 5min; inferred if left out"
    )
    parser.add_argument(
        "--maximum-kw", type=float, metavar="KW", help="the most that can be drawn, a check of the units"
    )
    parser.add_argument("--allow-negative", action="store_true", help="load below zero is export")
    parser.add_argument(
        "--methods", type=_words, metavar="A,B", help="as `firmwatt baseline list` has them; all if left out"
    )
    plan = Plan()
    hours = ",".join(map(str, plan.start_hours))
    parser.add_argument(
        "--start-hours", type=_hours, default=plan.start_hours, metavar="H,H", help=f"local, whole hours ({hours})"
    )
    parser.add_argument("--hours", type=int, default=plan.hours, help="length of an event (%(default)s)")
    parser.add_argument("--days", type=int, default=plan.days, help="placebo days of each kind (%(default)s)")
    for name in ("events", "outages", "temperature"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{name}.csv")
    parser.add_argument("--holidays", metavar="NAME or FILE", help=f"no business days ({cli_shared.US})")
    parser.add_argument("--engine", choices=engines.NAMES, default="polars", help="they agree to 1e-9 (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--report", type=Path, metavar="FILE.md", help="write a report, with pictures in a folder beside it"
    )
    return parser


def _words(typed: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in typed.split(",") if word.strip())


def _hours(typed: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(typed))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{typed!r} are no hours; write 14,17") from error


def chosen(names: tuple[str, ...] | None) -> tuple[Rule, ...]:
    """Return the newest version of each method, of all where none is named, and the references."""
    wanted = methods.names() if names is None else tuple(dict.fromkeys(names))
    return (*(methods.load(name)[-1] for name in wanted), *accuracy.REFERENCES)


def _asked(options: argparse.Namespace, calendar: Calendar) -> tuple[Series, Request]:
    """Return the loads of the files that *options* name, and what a rule may look at."""
    read = loads.loads(
        options.load,
        calendar,
        Expected(interval=options.interval, maximum_kw=options.maximum_kw, negative=options.allow_negative),
    )
    event_days, strange_events = cli_shared.days_of_file(options.events, calendar, read.frame)
    outage_days, strange_outages = cli_shared.days_of_file(options.outages, calendar, read.frame)
    kept = cli_shared.about_holidays(options.holidays, cli_shared.US, options.timezone)
    series = Series(
        name=options.load.stem.lower(),
        title=options.load.name,
        loads=read.frame,
        grid=read.grid,
        calendar=calendar,
        notes=(*kept, *read.warnings, *strange_events, *strange_outages),
        temperatures=None if options.temperature is None else loads.temperatures(options.temperature, calendar),
    )
    return series, request_of(series, event_days, outage_days)


def json_text(found: Study) -> str:
    """Return the scores as one JSON object."""
    plan = found.plan
    return (
        json.dumps(
            {
                "gate": GATE,
                "plan": {"start_hours": plan.start_hours, "hours": plan.hours, "days": plan.days},
                "scores": found.scores.to_dicts(),
                "best": best(found.own).to_dicts(),
                "not_tried": [{"method": method, "reason": reason} for method, reason in found.unfit],
                "warnings": found.notes,
            }
        )
        + "\n"
    )


def text(found: Study) -> str:
    """Return a table for each resource and kind of day, and the verdict."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Study) -> Iterator[str]:
    yield from (f"warning: {note}" for note in found.notes)
    for resource in found.resources:
        for kind in (BUSINESS, OTHER, ALL):
            scored = found.overall(kind).filter(resource=resource)
            if scored.is_empty():
                continue
            yield f"{resource + ', ' if resource != ONE else ''}{kind}: {_most(scored)} placebo events"
            yield _HEADING
            yield from (_line(row) for row in scored.iter_rows(named=True))
            yield ""
    yield from (f"not tried: {method} ({reason})" for method, reason in found.unfit)
    yield accuracy_finding.verdict(found).replace("`", "")


def _most(scored: pl.DataFrame) -> int:
    found: int = max(scored["events"].to_list())
    return found


_HEADING = "  method                       RRMSE  unadj.    bias  CV(RMSE)    NMBE  days      n  without  gate"


def _line(row: dict[str, Any]) -> str:
    figures = "".join(
        f"{'–' if row[name] is None else format(row[name], '.1%'):>{width}}"
        for name, width in (("rrmse", 8), ("rrmse_unadjusted", 8), ("bias", 8), ("cv_rmse", 10), ("nmbe", 8))
    )
    passed = f"{'eligible' if row['eligible'] else 'no'}{', indicative' if row['indicative'] else ''}"
    counts = f"{row['days']:>6}{row['intervals']:>7}{row['without_baseline']:>9.0%}"
    return f"  {row['method']:26}{figures}{counts}  {passed}"


def write(made: Report, path: Path) -> None:
    """Write the report, and its files into the folder beside it."""
    folder = path.parent / path.stem.lower()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(made.text, encoding="utf-8")
        for name, content in made.files.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--report {path}: {error.strerror}") from error

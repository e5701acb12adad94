"""What can be typed after `firmwatt baseline METHOD`, and the page of `--help`."""

import argparse
import re
from datetime import date, timedelta
from pathlib import Path

from pipeline import settings

PAGE = """\
What a resource would have drawn had it not been called, by an ISO's rule or one of our own, for one event.

  firmwatt baseline METHOD ...           compute; METHOD as `list` has it, such as caiso-10-in-10
  firmwatt baseline list [--json]        methods, versions, venues, what is verified, citations
  firmwatt baseline explain METHOD ...   the same options: which days, why not the others, the load of each, the
                                         adjustment; [--sql] [--picture FILE.svg or FILE.html]
  firmwatt baseline accuracy ...         how far methods are off on days without event; `accuracy --help`
"""
FILES = """\
files: CSV with a heading; other columns are passed over
  load.csv         interval_start,load_kw[,resource]   or energy_kwh, which is divided by the length of the interval.
                   Consumption is positive. An empty cell, NaN or no row: not metered. That is never read as zero.
  events.csv       start,end[,resource]                earlier calls; their local days are excluded as the rule says.
  outages.csv      start,end[,resource]                the same for outages. Without resource: all resources.
  temperature.csv  interval_start,celsius              or temperature_c, or fahrenheit
  control.csv      interval_start,load_kw,customer     customers that were not called
  nominations.csv  interval_start,load_kw,submitted_at[,resource]
  holidays.csv     date                                YYYY-MM-DD; it must have each year that the rule looks at
  Instants are ISO 8601: with an offset (2026-07-23T17:00-07:00, ...Z), or local time in --timezone (2026-07-23T17:00).
  The hour a 25-hour day has twice is told apart where a file has both in order; an hour that never was is refused.

refused, with file and lines: the same interval twice, overlaps, mixed interval lengths, load below zero (but see
  --allow-negative), cells that are no number, a level that jumps a thousandfold from day to day, or rows so far off
  their day for more than half a day (W for kW; state --maximum-kw to have it accepted or refused by that), an event
  across local midnight or off the metering grid, a calendar without a year that is needed. Warned of: missing readings,
  rows a thousandfold off for less than half a day, an event across a change of the clocks, parameters that are changed
  or unverified.

JSON (--json): one object, or where the load data has several resources {"resources": [object, ...]}
  resource                   where the load data names it
  method, version, engine
  is_the_rule, changed       whether no parameter was set; the names of those that were
  contract                   figures that a contract supplies, by name; setting them changes no rule
  verified                   whether the rule's numbers were read in the rule itself
  timezone
  days_used                  [day], newest first
  days_excluded              [{day, reason}]: other day type, event, outage, incomplete, low usage, not among those kept
  adjustment                 {kind: none|ratio|additive, raw, applied, capped}; ratio, or kW; raw null: not defined
  intervals                  [{start, baseline_unadjusted_kw, baseline_kw, load_kw, reduction_kw}], start in local time;
                             load and reduction are null where the event was not metered
  performance                [{start, nominated_kw, delivered_kw, ratio}], where a firm service level is set
  warnings                   [text]
  shortfall                  {need, have, what}, in place of intervals, where one of several resources has too few days

  explain --json adds to each interval days [{day, used, reason, load_kw}], and where a rule averages or compares other
  hours than the event's, comparison [{start, days}]

exit codes: 0 done; 2 wrong options, bad input, or too little history, in one line on standard error. With several
  resources those that have a baseline are printed all the same.

examples
  firmwatt baseline caiso-10-in-10 --load load.csv --timezone America/Los_Angeles \\
      --start 2026-07-23T17:00 --end 2026-07-23T20:00 --events events.csv
  firmwatt baseline pjm-high-4-of-5 --load load.csv --timezone America/New_York --set k=3 --json \\
      --start 2026-07-23T17:00 --end 2026-07-23T20:00
  firmwatt baseline explain caiso-10-in-10 --archive runs/latest/archive --site site-1 --picture day.html \\
      --start 2026-07-23T17:00 --end 2026-07-23T18:00
"""
_LENGTH = re.compile(r"(\d+)\s*(s|min|h)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours"}


def parser(*, explains: bool = False) -> argparse.ArgumentParser:
    """Return the parser of a computation, or of its explanation."""
    name = "firmwatt baseline explain" if explains else "firmwatt baseline"
    usage = f"{name} METHOD (--load FILE | --archive FOLDER) --start INSTANT --end INSTANT --timezone ZONE [options]"
    made = argparse.ArgumentParser(
        prog=name, usage=usage, description=PAGE, epilog=FILES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("method", metavar="METHOD", help="`firmwatt baseline list` has them")
    _event(made.add_argument_group("the event"))
    _load(made.add_argument_group("what was drawn"))
    _days(made.add_argument_group("days that must not serve"))
    _others(made.add_argument_group("what some methods need"))
    how = made.add_argument_group("how")
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value of a parameter of "
        "the rule, any number of times; `none` is one; the result then says that it is not the rule",
    )
    how.add_argument(
        "--engine", choices=("polars", "duckdb"), default="polars", help="they agree to 1e-9 (%(default)s)"
    )
    form = how.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    if explains:
        form.add_argument(
            "--sql", action="store_true", help="print the computation as a DuckDB script, readings included"
        )
        how.add_argument(
            "--picture", type=Path, metavar="FILE", help="write the days as .svg, or with the tables as .html"
        )
    return made


def _above_zero(text: str) -> float:
    """Return a power above zero, kW."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no power above zero, kW")
    return value


def _day(text: str) -> date:
    """Return a day."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no day; write YYYY-MM-DD") from error


def _event(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--start", required=True, metavar="INSTANT", help="such as 2026-07-23T17:00, local time")
    group.add_argument("--end", required=True, metavar="INSTANT", help="within the same local day")
    group.add_argument(
        "--timezone",
        metavar="ZONE",
        help="the venue's, for local days and times, such as "
        f"America/Los_Angeles; must be given with --load; for an archive {settings.Site().timezone}",
    )


def _load(group: argparse._ArgumentGroup) -> None:
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--load", type=Path, metavar="FILE", help="load.csv, see below")
    source.add_argument("--archive", metavar="FOLDER", help="Parquet files of closed intervals, or s3://bucket/prefix")
    group.add_argument("--site", default=settings.Site().name, help="of the archive (%(default)s)")
    group.add_argument(
        "--resource", action="append", default=[], metavar="NAME", help="only this one of load.csv; may be repeated"
    )
    group.add_argument(
        "--interval",
        type=length,
        metavar="LENGTH",
        help="of the metering intervals: 60min, 5min, 30s; inferred where left out",
    )
    group.add_argument(
        "--maximum-kw", type=_above_zero, metavar="KW", help="the most that can be drawn, a check of the units"
    )
    group.add_argument("--allow-negative", action="store_true", help="load below zero is export")


def _days(group: argparse._ArgumentGroup) -> None:
    for kind in ("event", "outage"):
        group.add_argument(f"--{kind}s", type=Path, metavar="FILE", help=f"{kind}s.csv, see below")
        group.add_argument(
            f"--{kind}-day",
            type=_day,
            action="append",
            default=[],
            metavar="YYYY-MM-DD",
            help="one of them, of all resources; may be repeated",
        )
    group.add_argument(
        "--holidays",
        metavar="NAME|FILE",
        help="us-nerc, gb-england, au-nem (the rule's own where left out), none, or a CSV file with a column date",
    )


def _others(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--temperature", type=Path, metavar="FILE", help="temperature.csv, outdoors")
    group.add_argument("--control", type=Path, metavar="FILE", help="control.csv: who was not called")
    group.add_argument("--nomination", type=Path, metavar="FILE", help="nominations.csv: what was said before")


def length(text: str) -> timedelta:
    """Return the length that "60min", "300s" or "1h" means."""
    match = _LENGTH.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no length; write 60min, 5min or 30s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parsed(argv: list[str], *, explains: bool = False) -> argparse.Namespace:
    """Return the options of *argv*; wrong words end the program with exit code 2, as everywhere."""
    made = parser(explains=explains)
    options = made.parse_args(argv)
    if options.timezone is None:
        if options.load is not None:
            made.error("--timezone must be given with --load")
        options.timezone = settings.Site().timezone
    return options

"""`firmwatt baseline`: compute a baseline from the archive and show what it rests on."""

import argparse
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import plugins, settings
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.baselines import Baseline

PACKAGE = "pipeline.baselines"


def main(argv: list[str]) -> int:
    """Print the baseline of one event."""
    options = _parser().parse_args(argv)
    from pipeline.baselines import Event
    from pipeline.calendar import Calendar
    from pipeline.interval import Interval
    from pipeline.store import interval_history

    method = plugins.load(PACKAGE, options.method)
    try:
        interval = Interval(_instant(options.start), _instant(options.end))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if "://" not in options.archive and not Path(options.archive).is_dir():
        raise ConfigError(f"no archive at {options.archive}; --archive names the folder of Parquet files")
    history = interval_history(options.archive, options.site, interval.end, _length(options, interval.end))
    event = Event(interval, frozenset(options.event_day), frozenset(options.outage_day))
    result = method.baseline(history, event, Calendar(options.timezone))
    simulated = bool(history["simulated"].any())
    print(report(result, options.timezone, simulated=simulated))  # noqa: T201 - a command line talks
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firmwatt baseline", description=__doc__)
    parser.add_argument(
        "--archive", default="runs/latest/archive", help="folder of Parquet files, or s3://bucket/prefix"
    )
    parser.add_argument("--site", default=settings.Site().name)
    parser.add_argument("--start", required=True, help="start of the event, ISO 8601 with offset")
    parser.add_argument("--end", required=True, help="end of the event")
    parser.add_argument("--timezone", default=settings.Site().timezone, help="the venue's, for local days")
    parser.add_argument("--interval-s", type=int, help="length of the intervals, where the site has several")
    parser.add_argument("--method", default="caiso_10_in_10", help=f"one of {', '.join(plugins.available(PACKAGE))}")
    for name in ("event-day", "outage-day"):
        parser.add_argument(f"--{name}", type=date.fromisoformat, action="append", default=[], help="YYYY-MM-DD")
    return parser


def _length(options: argparse.Namespace, as_of: datetime) -> timedelta:
    """Return the length asked for, or the only one there is; an hour where there is no history at all."""
    from pipeline.store import interval_lengths

    if options.interval_s:
        return timedelta(seconds=options.interval_s)
    lengths = interval_lengths(options.archive, options.site, as_of)
    if len(lengths) > 1:
        have = ", ".join(f"{length.total_seconds():g}" for length in lengths)
        raise ConfigError(f"{options.site} has intervals of {have} s; say which with --interval-s")
    return lengths[0] if lengths else timedelta(hours=1)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no ISO 8601 instant: {error}") from error
    if instant.tzinfo is None:
        raise ConfigError(f"{text!r} lacks an offset; write 2026-07-23T17:00:00-07:00")
    return instant.astimezone(UTC)


def report(result: "Baseline", timezone: str, *, simulated: bool) -> str:
    """Return *result* as text: the figures, then the days behind them; it says so where the history is *simulated*."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(timezone)
    raw = "undefined" if result.ratio_raw is None else f"{result.ratio_raw:.6f}"
    lines = [
        f"{result.method} version {result.version}; same-day adjustment {raw}, applied {result.ratio:.6f}",
        *(["simulated history"] if simulated else []),
        "",
        f"{'start':<25}  {'unadjusted kW':>14}  {'baseline kW':>14}",
        *(
            f"{start.astimezone(zone).isoformat():<25}  {unadjusted:>14.3f}  {adjusted:>14.3f}"
            for start, unadjusted, adjusted in result.intervals.iter_rows()
        ),
        "",
        f"days used      {', '.join(map(str, result.days_used))}",
        *(f"day not used   {excluded.day}  {excluded.reason}" for excluded in result.days_excluded),
    ]
    return "\n".join(lines)

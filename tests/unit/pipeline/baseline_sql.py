"""
The 10-in-10 baseline a second time, in DuckDB SQL, from the rule's text alone: what the Polars one must agree with.

Shares no code with `pipeline.cbl`. None where days or adjustment hours are short.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from pipeline.calendar import NERC_HOLIDAYS


@dataclass(frozen=True)
class Answer:
    """What the SQL found."""

    intervals: list[tuple[datetime, float, float]]
    """Start, unadjusted and adjusted kW."""
    days_used: list[date]
    ratio_raw: float | None


SQL = """
WITH raw AS (
    SELECT start, load_kw, (start AT TIME ZONE $zone) AS wall FROM read_parquet($file)
    WHERE start < $first AND load_kw IS NOT NULL AND isfinite(load_kw)
), loads AS (
    SELECT wall, arg_min(load_kw, start) AS load_kw FROM raw GROUP BY wall
), slots AS (
    SELECT s AS start, (s AT TIME ZONE $zone) AS wall, s >= $first AS in_event
    FROM (
        SELECT unnest(generate_series($first - INTERVAL 4 HOUR, $last - to_seconds($grid), to_seconds($grid))) AS s)
    WHERE s < $first - INTERVAL 1 HOUR OR s >= $first
), target AS (
    SELECT CAST(($first AT TIME ZONE $zone) AS DATE) AS day
), days AS (
    SELECT CAST(target.day - to_days(CAST(back AS INTEGER)) AS DATE) AS day
    FROM target, unnest(generate_series(1, 45)) AS n(back)
), typed AS (
    SELECT day, (isodow(day) < 6 AND day NOT IN (SELECT unnest($holidays))) AS business FROM days
), alike AS (
    SELECT typed.day FROM typed, target
    WHERE typed.business = (isodow(target.day) < 6 AND target.day NOT IN (SELECT unnest($holidays)))
), filled AS (
    SELECT alike.day, slots.start, slots.in_event, loads.load_kw
    FROM alike CROSS JOIN target CROSS JOIN slots
    LEFT JOIN loads ON loads.wall = slots.wall - to_days(CAST(target.day - alike.day AS INTEGER))
), scored AS (
    SELECT day, count(load_kw) = count(*) AS complete, sum(load_kw) FILTER (in_event) AS event_kw,
        day IN (SELECT unnest($excluded)) AS excluded
    FROM filled GROUP BY day
), regular AS (
    SELECT day FROM scored WHERE complete AND NOT excluded ORDER BY day DESC LIMIT $target_days
), filling AS (
    SELECT day FROM scored WHERE complete AND excluded ORDER BY event_kw DESC, day DESC
    LIMIT greatest(0, $minimum - (SELECT count(*) FROM regular))
), chosen AS (SELECT day FROM regular UNION ALL SELECT day FROM filling)
SELECT f.start, f.in_event, avg(f.load_kw) AS unadjusted_kw, any_value(raw.load_kw) AS today_kw,
    (SELECT list(day ORDER BY day DESC) FROM chosen) AS days
FROM filled AS f SEMI JOIN chosen ON chosen.day = f.day
LEFT JOIN raw ON raw.start = f.start
GROUP BY f.start, f.in_event ORDER BY f.start
"""


def baseline_sql(
    parquet: Path,
    first: datetime,
    last: datetime,
    zone: str,
    grid: timedelta,
    *,
    excluded: frozenset[date] = frozenset(),
) -> Answer | None:
    """Return the baseline of the event from *first* to *last*, None where the data cannot carry it."""
    day = first.astimezone(ZoneInfo(zone)).date()
    business = day.weekday() < 5 and day not in NERC_HOLIDAYS
    values = {
        "file": str(parquet),
        "first": first,
        "last": last,
        "zone": zone,
        "grid": grid.total_seconds(),
        "holidays": sorted(NERC_HOLIDAYS),
        "excluded": sorted(excluded) or [date(1900, 1, 1)],
        "target_days": 10 if business else 4,
        "minimum": 5 if business else 4,
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(SQL, values).fetchall()
    if not rows or len(rows[0][4]) < values["minimum"]:  # type: ignore[operator] # a mixed dictionary
        return None
    adjusting = [row for row in rows if not row[1]]
    if any(row[3] is None for row in adjusting):
        return None
    expected = sum(row[2] for row in adjusting)
    raw = sum(row[3] for row in adjusting) / expected if expected else None
    ratio = 1.0 if raw is None else max(0.8, min(1.2, raw))
    return Answer([(row[0], row[2], row[2] * ratio) for row in rows if row[1]], rows[0][4], raw)

"""
The tables every rule begins with, in SQL: events, metering intervals, and loads read by the local clock. Pure text.

    called     events with their local day                  slots    the metering intervals that count, numbered
    dates      local days with their type                    clock    what the clock showed at each instant of the loads
    barred     days of events and outages, a resource each   profile  load of a resource, on a day, at a slot
    own        the event day's readings, by instant          asked    slots of an event, and which events share them

Events with the same hours by the clock share `hours`, so that a day is read once for all of them.
"""

from datetime import timedelta

from pipeline.cbl.duckdb_text import Fragment, filled
from pipeline.cbl.request import Request

NEVER = Fragment("false")

DAY_TYPE = {
    "all": "'any'",
    "business": "CASE WHEN isodow(day) < 6 AND NOT holiday THEN 'business' ELSE 'other' END",
    "weekday-saturday-sunday": (
        "CASE WHEN holiday OR isodow(day) = 7 THEN 'sunday' WHEN isodow(day) = 6 THEN 'saturday' ELSE 'business' END"
    ),
}

CALLED = """
-- Events by the local clock, and every resource that is asked about.
CREATE OR REPLACE TEMP TABLE called AS
SELECT event, start AS begins, "end" AS ends, CAST(start AT TIME ZONE $zone AS DATE) AS event_day
FROM events;

CREATE OR REPLACE TEMP TABLE resources AS
SELECT DISTINCT resource FROM loads;

CREATE OR REPLACE TEMP TABLE pairs AS
SELECT event, resource FROM called CROSS JOIN resources;

-- The metering intervals that count. clock: seconds since the event day's midnight, as the clock on the wall showed it.
CREATE OR REPLACE TEMP TABLE slots AS
WITH grid AS (
    SELECT *, unnest(generate_series(begins - $reach, ends + $reach, $grid)) AS start FROM called
), local AS (
    SELECT *, start AT TIME ZONE $zone AS wall, start >= begins AND start < ends AS in_event FROM grid
), flagged AS (
    SELECT event, start, datediff('second', CAST(event_day AS TIMESTAMP), wall) AS clock, in_event,
        ($in_window) AS in_window, ($in_match) AS in_match
    FROM local
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY event ORDER BY start) AS slot
    FROM flagged WHERE in_event OR in_window OR in_match
), patterns AS (
    SELECT event, list((clock, in_event, in_window, in_match) ORDER BY slot) AS pattern FROM numbered GROUP BY event
), shared AS (
    SELECT event, dense_rank() OVER (ORDER BY pattern) AS hours FROM patterns
)
SELECT shared.hours, numbered.* FROM numbered JOIN shared USING (event);

-- The event day's own readings are found by instant. A reading that is null, NaN or infinite is none.
CREATE OR REPLACE TEMP TABLE own AS
SELECT event, resource, slot, load_kw FROM slots JOIN loads USING (start) WHERE isfinite(load_kw);
"""

DATES = """
-- Local days that may be looked at, and their type.
CREATE OR REPLACE TEMP TABLE dates AS
WITH every AS (
    SELECT DISTINCT event_day - CAST(back AS INTEGER) AS day
    FROM called CROSS JOIN generate_series(0, $look_back_days) AS calendar(back)
), marked AS (
    SELECT day, day IN (SELECT day FROM holidays) AS holiday FROM every
)
SELECT day, isodow(day) < 6 AND NOT holiday AS business, $day_type AS day_type FROM marked;

CREATE OR REPLACE TEMP TABLE looked_at AS
SELECT event, dates.day, dates.day_type = called_on.day_type AS alike
FROM called
JOIN dates AS called_on ON called_on.day = event_day
CROSS JOIN generate_series($newest, $look_back_days) AS calendar(back)
JOIN dates ON dates.day = event_day - CAST(back AS INTEGER);

-- Event and outage days that the rule excludes. One that names no resource is every resource's.
CREATE OR REPLACE TEMP TABLE barred AS
WITH named AS (
    SELECT resource, day, 'event' AS reason FROM event_days WHERE $exclude_events
    UNION ALL
    SELECT resource, day, 'outage' AS reason FROM outage_days WHERE $exclude_outages
), each_resource AS (
    SELECT resource, day, reason FROM named WHERE resource IS NOT NULL
    UNION ALL
    SELECT resources.resource, day, reason FROM named CROSS JOIN resources WHERE named.resource IS NULL
)
SELECT resource, day, CASE WHEN bool_or(reason = 'event') THEN 'event' ELSE 'outage' END AS barred
FROM each_resource GROUP BY resource, day;
"""

PROFILE = """
-- What the clock showed at each instant. A 25-hour day repeats an hour: there the first reading stands.
CREATE OR REPLACE TEMP TABLE clock AS
WITH starts AS (
    SELECT DISTINCT start FROM loads
), local AS (
    SELECT start, start AT TIME ZONE $zone AS wall FROM starts
)
SELECT start, wall, count(*) OVER (PARTITION BY wall) > 1 AS repeated FROM local;

-- The load at each slot of each like day, by the clock.
CREATE OR REPLACE TEMP TABLE profile AS
WITH wanted AS (
    SELECT DISTINCT hours, slot, in_event, in_window, in_match, day,
        CAST(day AS TIMESTAMP) + to_seconds(clock) AS wall
    FROM slots JOIN looked_at USING (event) WHERE alike
), metered AS (
    SELECT resource, start, wall, repeated, load_kw FROM loads JOIN clock USING (start) WHERE isfinite(load_kw)
), readings AS (
    SELECT resource, wall, load_kw FROM metered WHERE NOT repeated
    UNION ALL
    SELECT resource, wall, arg_min(load_kw, start) AS load_kw FROM metered WHERE repeated GROUP BY resource, wall
)
SELECT hours, resource, day, slot, in_event, in_window, in_match, load_kw FROM wanted JOIN readings USING (wall);
"""

LOCAL_DAYS = """
-- Local days of 23, 24 or 25 hours: how many metering intervals they have, and in which hours of the clock.
CREATE OR REPLACE TEMP TABLE local_days AS
WITH instants AS (
    SELECT unnest(generate_series(min(begins) - $margin, max(ends) + $margin, $grid)) AS start FROM called
), local AS (
    SELECT start, start AT TIME ZONE $zone AS wall FROM instants
)
SELECT CAST(wall AS DATE) AS day, count(*) AS intervals,
    count(DISTINCT start - (wall - date_trunc('hour', wall))) AS hours_of_day
FROM local GROUP BY CAST(wall AS DATE);
"""

WHOLE_DAYS = """
-- Days of which every reading is there.
CREATE OR REPLACE TEMP TABLE whole_days AS
WITH wanted AS (
    SELECT DISTINCT day, intervals FROM local_days JOIN looked_at USING (day) WHERE alike
)
SELECT resource, day, avg(load_kw) AS day_kw
FROM loads JOIN clock USING (start) JOIN wanted ON wanted.day = CAST(wall AS DATE)
WHERE isfinite(load_kw)
GROUP BY resource, day
HAVING count(*) = any_value(intervals);
"""


def called(request: Request, reach: timedelta, in_window: str = NEVER, in_match: str = NEVER) -> str:
    """Return the SQL of events and slots: metering intervals within *reach* of the event that meet a condition."""
    return filled(
        CALLED,
        zone=request.calendar.timezone,
        grid=request.grid,
        reach=reach,
        in_window=Fragment(in_window),
        in_match=Fragment(in_match),
    )


def dates(look_back_days: int, *, newest: int, day_types: str, exclude_events: bool, exclude_outages: bool) -> str:
    """Return the SQL of the days looked at, *newest* to *look_back_days* days before the event's."""
    return filled(
        DATES,
        look_back_days=look_back_days,
        newest=newest,
        day_type=Fragment(DAY_TYPE[day_types]),
        exclude_events=exclude_events,
        exclude_outages=exclude_outages,
    )


def profile(request: Request) -> str:
    """Return the SQL of loads by the local clock."""
    return filled(PROFILE, zone=request.calendar.timezone)


def local_days(request: Request, look_back_days: int) -> str:
    """Return the SQL of local days with their length."""
    margin = timedelta(days=look_back_days + 2)
    return filled(LOCAL_DAYS, zone=request.calendar.timezone, grid=request.grid, margin=margin)


def whole_days(request: Request, look_back_days: int) -> str:
    """Return the SQL of days with every reading."""
    return local_days(request, look_back_days) + WHOLE_DAYS


def before_start(from_hours: timedelta, to_hours: timedelta) -> str:
    """Return the condition of an interval that begins from so long to so long before the event's start."""
    return filled(
        "start >= begins - $from_hours AND start < begins - $to_hours", from_hours=from_hours, to_hours=to_hours
    )

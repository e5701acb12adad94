"""
Day matching in SQL: which days are looked at, which are passed over and why, which are averaged. Pure text.

    looked_at → candidates → low → pool → kept → days, shortfalls, unadjusted
"""

from datetime import timedelta
from math import ceil

from pipeline.cbl import duckdb_clock as clock
from pipeline.cbl.duckdb_finish import finished
from pipeline.cbl.duckdb_low_usage import low_usage
from pipeline.cbl.duckdb_text import Fragment, filled, hours
from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching

#: Longest local day, so that every slot of it is within reach of the event.
LONGEST_DAY = timedelta(hours=26)

ASKED = """
-- How many days each event asks for.
CREATE OR REPLACE TEMP TABLE asked AS
WITH sizes AS (
    SELECT event, any_value(hours) AS hours, count(*) AS slots, count(*) FILTER (in_match) AS match_slots
    FROM slots GROUP BY event
)
SELECT event, hours, slots, match_slots, event_day,
    CASE WHEN business THEN $days ELSE $other_days END AS pool_days,
    CASE WHEN business THEN $minimum_days ELSE $minimum_other_days END AS minimum,
    CASE WHEN business THEN $k ELSE $other_k END AS kept_days
FROM called JOIN sizes USING (event) JOIN dates ON dates.day = event_day;
"""

WARMEST = """
-- Difference of the highest temperatures of a day and the event's, of days with a temperature in every hour.
CREATE OR REPLACE TEMP TABLE compared AS
WITH local AS (
    SELECT start, celsius, start AT TIME ZONE $zone AS wall FROM temperatures WHERE isfinite(celsius)
), told AS (
    SELECT CAST(wall AS DATE) AS day, max(celsius) AS celsius,
        count(DISTINCT start - (wall - date_trunc('hour', wall))) AS hours_told
    FROM local GROUP BY CAST(wall AS DATE)
), warmest AS (
    SELECT day, celsius FROM told JOIN local_days USING (day) WHERE hours_told = hours_of_day
)
SELECT event, resource, theirs.day, abs(theirs.celsius - its.celsius) AS distance
FROM asked JOIN warmest AS its ON its.day = event_day
JOIN looked_at USING (event) JOIN warmest AS theirs ON theirs.day = looked_at.day
CROSS JOIN resources WHERE alike;
"""

SHAPES = """
-- Sum of squared differences of a day to the event's; none where the event's day itself lacks a reading.
CREATE OR REPLACE TEMP TABLE compared AS
WITH whole AS (
    SELECT event, resource
    FROM pairs JOIN slots USING (event) LEFT JOIN own USING (event, resource, slot)
    WHERE in_match GROUP BY event, resource HAVING count(*) = count(load_kw)
    UNION
    SELECT event, resource FROM pairs JOIN asked USING (event) WHERE match_slots = 0
), squares AS (
    SELECT event, resource, day, sum((profile.load_kw - own.load_kw) * (profile.load_kw - own.load_kw)) AS distance
    FROM looked_at JOIN asked USING (event) JOIN profile USING (hours, day) JOIN own USING (event, resource, slot)
    WHERE alike AND in_match GROUP BY event, resource, day
)
SELECT event, resource, day, coalesce(distance, 0) AS distance
FROM whole JOIN looked_at USING (event) LEFT JOIN squares USING (event, resource, day) WHERE alike;
"""

CANDIDATES = """
-- Like days of each resource, and why a day is passed over: the first reason that applies.
CREATE OR REPLACE TEMP TABLE candidates AS
WITH day_loads AS (
    SELECT hours, resource, day, count(*) AS readings,
        round(sum(load_kw) FILTER (in_event), 6) AS total_kw, round(avg(load_kw) FILTER (in_event), 6) AS usage_kw
    FROM profile GROUP BY hours, resource, day
), every AS (
    SELECT event, hours, slots, resource, day
    FROM looked_at JOIN asked USING (event) CROSS JOIN resources WHERE alike
), measured AS (
    SELECT event, resource, day, barred, total_kw, usage_kw, round($rank, 6) AS rank,
        coalesce(readings, 0) = slots$and_complete AS complete
    FROM every
    LEFT JOIN day_loads USING (hours, resource, day)
    LEFT JOIN barred USING (resource, day)$and_joined
)
SELECT *, CASE WHEN barred IS NOT NULL THEN barred WHEN NOT complete THEN 'incomplete' END AS reason FROM measured;
"""

POOL = """
-- The newest days that are left; where they are too few, if the rule says so, event and outage days of high load.
CREATE OR REPLACE TEMP TABLE pool AS
WITH numbered AS (
    SELECT event, resource, day, rank, row_number() OVER (PARTITION BY event, resource ORDER BY day DESC) AS nth
    FROM candidates ANTI JOIN low USING (event, resource, day) WHERE reason IS NULL
), newest AS (
    SELECT event, resource, day, rank FROM numbered JOIN asked USING (event) WHERE nth <= pool_days
), counted AS (
    SELECT event, resource, count(day) AS have
    FROM pairs LEFT JOIN newest USING (event, resource) GROUP BY event, resource
), highest AS (
    SELECT event, resource, day, rank,
        row_number() OVER (PARTITION BY event, resource ORDER BY total_kw DESC, day DESC) AS nth
    FROM candidates WHERE barred IS NOT NULL AND complete AND $fill_up
)
SELECT event, resource, day, rank FROM newest
UNION ALL
SELECT event, resource, day, rank
FROM highest JOIN counted USING (event, resource) JOIN asked USING (event) WHERE nth <= minimum - have;

CREATE OR REPLACE TEMP TABLE kept AS
SELECT event, resource, day, $used AS used FROM pool JOIN asked USING (event);

CREATE OR REPLACE TEMP TABLE shortfalls AS
SELECT event, resource, CAST(greatest(minimum, $fewest) AS BIGINT) AS need, count(day) AS have, $what AS what
FROM pairs JOIN asked USING (event) LEFT JOIN pool USING (event, resource)
GROUP BY event, resource, minimum HAVING count(day) < greatest(minimum, $fewest);
"""

TOLD = """
-- What is told of days: the pool, and what was passed over on the way to its oldest day, or at all where it is short.
CREATE OR REPLACE TEMP TABLE days AS
WITH passed AS (
    SELECT event, resource, day, coalesce(reason, 'low usage') AS reason
    FROM candidates ANTI JOIN kept USING (event, resource, day)
    LEFT JOIN (SELECT *, true AS is_low FROM low) USING (event, resource, day)
    WHERE reason IS NOT NULL OR is_low
    UNION ALL
    SELECT event, resource, day, 'other day type' AS reason FROM looked_at CROSS JOIN resources WHERE NOT alike
), oldest AS (
    SELECT event, resource, min(day) AS oldest_day
    FROM pool ANTI JOIN shortfalls USING (event, resource) GROUP BY event, resource
)
SELECT event, resource, day, used, CASE WHEN NOT used THEN 'not among those kept' END AS reason FROM kept
UNION ALL
SELECT event, resource, day, false AS used, reason
FROM passed LEFT JOIN oldest USING (event, resource) WHERE coalesce(day >= oldest_day, true);

CREATE OR REPLACE TEMP TABLE unadjusted AS
SELECT event, resource, slot, $average AS unadjusted_kw
FROM kept ANTI JOIN shortfalls USING (event, resource)
JOIN asked USING (event) JOIN profile USING (hours, resource, day)
WHERE used GROUP BY event, resource, slot;
"""

#: Of the loads at one slot; exponential from the oldest day on.
AVERAGE = {
    "mean": "avg(load_kw)",
    "exponential": (
        "list_reduce(list(load_kw ORDER BY day), lambda average, newer: (1e0 - $weight) * average + $weight * newer)"
    ),
}

OF_EACH = "row_number() OVER (PARTITION BY event, resource ORDER BY "
USED = {
    "all": "true",
    "highest": f"{OF_EACH}rank DESC, day DESC) <= kept_days",
    "nearest": f"{OF_EACH}rank, day DESC) <= kept_days",
    "middle": f"{OF_EACH}rank DESC, day DESC) > 1 AND {OF_EACH}rank, day) > 1",
}
RANK = {"event-hours": "usage_kw", "day": "day_kw", "shape": "distance", "temperature": "distance"}
COMPLETE = {"day_kw": " AND day_kw IS NOT NULL", "distance": " AND distance IS NOT NULL"}
JOINED = {
    "day_kw": "\n    LEFT JOIN whole_days USING (resource, day)",
    "distance": "\n    LEFT JOIN compared USING (event, resource, day)",
}


def script(rule: DayMatching, request: Request) -> str:
    """Return the SQL that answers *request* by *rule*."""
    return "".join(
        [
            _slots(rule, request),
            clock.dates(
                rule.look_back_days,
                newest=rule.skip_days + 1,
                day_types=rule.day_types,
                exclude_events=rule.exclude_events,
                exclude_outages=rule.exclude_outages,
            ),
            clock.profile(request),
            _asked(rule),
            _compared(rule, request),
            _candidates(rule),
            low_usage(rule),
            _pool(rule),
            filled(TOLD, average=Fragment(filled(AVERAGE[rule.average], weight=float(rule.weight)))),
            finished(rule, "load_kw - baseline_kw" if rule.supply else "baseline_kw - load_kw"),
        ]
    )


def _slots(rule: DayMatching, request: Request) -> str:
    """Return the SQL of slots; the window of an adjustment without hours of its own is the hours of `match`."""
    match = _match(rule)
    window, reach = "false", LONGEST_DAY
    if rule.adjustment != "none" and (rule.adjust_from_hours or rule.adjust_to_hours):
        window = clock.before_start(hours(rule.adjust_from_hours), hours(rule.adjust_to_hours))
        reach = max(reach, hours(ceil(rule.adjust_from_hours)))
    elif rule.adjustment != "none":
        window = match
    return clock.called(request, reach, window, match if rule.rank_by == "shape" else "false")


def _match(rule: DayMatching) -> str:
    after = " OR start >= ends + $gap" if rule.match == "outside-event" else ""
    text = f"CAST(wall AS DATE) = event_day AND (start < begins - $gap{after})"
    return filled(text, gap=hours(rule.match_gap_hours))


def _asked(rule: DayMatching) -> str:
    """No limit is every day within the look-back."""
    every = rule.look_back_days
    return filled(
        ASKED,
        days=every if rule.days is None else rule.days,
        other_days=every if rule.other_days is None else rule.other_days,
        minimum_days=rule.minimum_days,
        minimum_other_days=rule.minimum_other_days,
        k=every if rule.k is None else rule.k,
        other_k=every if rule.other_k is None else rule.other_k,
    )


def _compared(rule: DayMatching, request: Request) -> str:
    match rule.rank_by:
        case "event-hours":
            return ""
        case "day":
            return clock.whole_days(request, rule.look_back_days)
        case "shape":
            return SHAPES
        case "temperature":
            days = clock.local_days(request, rule.look_back_days)
            return days + filled(WARMEST, zone=request.calendar.timezone)


def _candidates(rule: DayMatching) -> str:
    rank = RANK[rule.rank_by]
    return filled(
        CANDIDATES,
        rank=Fragment(rank),
        and_complete=Fragment(COMPLETE.get(rank, "")),
        and_joined=Fragment(JOINED.get(rank, "")),
    )


def _pool(rule: DayMatching) -> str:
    """Ask for a day at least, and where the highest and the lowest are dropped for one more than these."""
    fewest = 3 if rule.keep == "middle" else 1
    what = f"like days with complete readings within {rule.look_back_days} days of the event"
    return filled(POOL, fill_up=rule.fill_up, fewest=fewest, used=Fragment(USED[rule.keep]), what=what)

"""
Least squares in closed form, in SQL: a line through history by degree days, or by the level just before. Pure text.

Sums are of differences to means, so that their rounding is that of the spread and not of the size. A spread within
rounding is none.
"""

from math import ceil

from pipeline.cbl import duckdb_clock as clock
from pipeline.cbl.duckdb_finish import finished, window_shortfalls
from pipeline.cbl.duckdb_level import LEVEL
from pipeline.cbl.duckdb_text import filled, hours
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Regression

TRAINING = """
CREATE OR REPLACE TEMP TABLE asked AS
SELECT event, any_value(hours) AS hours, count(*) AS slots, event_day
FROM called JOIN slots USING (event) GROUP BY event, event_day;

-- Cooling and heating degrees of the days with a temperature in every hour of the clock.
CREATE OR REPLACE TEMP TABLE degrees AS
WITH local AS (
    SELECT start, celsius, start AT TIME ZONE $zone AS wall FROM temperatures WHERE isfinite(celsius)
), measured AS (
    SELECT CAST(wall AS DATE) AS day, avg(celsius) AS celsius,
        count(DISTINCT start - (wall - date_trunc('hour', wall))) AS hours_told
    FROM local GROUP BY CAST(wall AS DATE)
)
SELECT day, hours_of_day, coalesce(hours_told, 0) AS hours_told, coalesce(hours_told, 0) = hours_of_day AS whole,
    greatest(0, celsius - $base) AS cooling, greatest(0, $base - celsius) AS heating
FROM local_days LEFT JOIN measured USING (day);

CREATE OR REPLACE TEMP TABLE training AS
SELECT event, resource, day, day_kw, cooling, heating,
    row_number() OVER (PARTITION BY event, resource ORDER BY day DESC) AS nth
FROM looked_at
JOIN whole_days USING (day)
JOIN degrees USING (day)
ANTI JOIN barred USING (resource, day)
WHERE alike AND whole;

CREATE OR REPLACE TEMP TABLE days AS
SELECT event, resource, day, true AS used, CAST(NULL AS VARCHAR) AS reason FROM training;

CREATE OR REPLACE TEMP TABLE shortfalls AS
SELECT event, resource, CAST($minimum_days AS BIGINT) AS need, count(day) AS have,
    'training days with complete readings and temperatures' AS what
FROM pairs LEFT JOIN training USING (event, resource)
GROUP BY event, resource HAVING count(day) < $minimum_days;

INSERT INTO shortfalls
SELECT event, resource, hours_of_day, hours_told, 'local hours with a temperature on the event day'
FROM pairs ANTI JOIN shortfalls USING (event, resource)
JOIN called USING (event) JOIN degrees ON degrees.day = event_day
WHERE NOT whole;
"""

FITTED = """
-- Day mean = mean + b (cooling − mean) + c (heating − mean), from the sums of squares and products. Where the two
-- cannot be told apart, one line through their difference.
CREATE OR REPLACE TEMP TABLE fitted AS
WITH means AS (
    SELECT event, resource, avg(day_kw) AS day_kw, avg(cooling) AS cooling, avg(heating) AS heating,
        max(cooling) - min(cooling) > $noise AS cools, max(heating) - min(heating) > $noise AS heats
    FROM training GROUP BY event, resource
), spread AS (
    SELECT event, resource, training.day_kw - means.day_kw AS y, cools, heats,
        CASE WHEN cools THEN training.cooling - means.cooling ELSE 0e0 END AS c,
        CASE WHEN heats THEN training.heating - means.heating ELSE 0e0 END AS h
    FROM training JOIN means USING (event, resource)
), sums AS (
    SELECT event, resource, sum(c * c) AS cc, sum(h * h) AS hh, sum(c * h) AS ch, sum(c * y) AS cy, sum(h * y) AS hy,
        sum((c - h) * (c - h)) AS tt, sum((c - h) * y) AS ty
    FROM spread GROUP BY event, resource
), solved AS (
    SELECT *, cc * hh - ch * ch AS determinant, cc * hh - ch * ch > $noise * cc * hh AS apart,
        cc > 0 AND hh > 0 AS together
    FROM sums
), slopes AS (
    SELECT event, resource,
        CASE WHEN apart THEN (hh * cy - ch * hy) / determinant WHEN together THEN ty / tt
            WHEN cc > 0 THEN cy / cc ELSE 0e0 END AS per_cooling,
        CASE WHEN apart THEN (cc * hy - ch * cy) / determinant WHEN together THEN -ty / tt
            WHEN hh > 0 THEN hy / hh ELSE 0e0 END AS per_heating
    FROM solved
)
SELECT event, resource, means.day_kw + per_cooling * (degrees.cooling - means.cooling)
    + per_heating * (degrees.heating - means.heating) AS day_kw
FROM slopes JOIN means USING (event, resource) JOIN called USING (event) JOIN degrees ON degrees.day = event_day;

-- Spread over the day as the newest like days were.
CREATE OR REPLACE TEMP TABLE unadjusted AS
WITH shares AS (
    SELECT event, resource, slot, avg(
        CASE WHEN load_kw IS NULL THEN NULL WHEN day_kw = 0 THEN 1e0 ELSE load_kw / day_kw END) AS share
    FROM training JOIN asked USING (event) JOIN profile USING (hours, resource, day)
    WHERE nth <= $like_days GROUP BY event, resource, slot
)
SELECT event, resource, slot, day_kw * share AS unadjusted_kw
FROM shares JOIN fitted USING (event, resource) ANTI JOIN shortfalls USING (event, resource);

-- A slot that none of the newest like days has a reading of has no share.
INSERT INTO shortfalls
SELECT event, resource, CAST($minimum_days AS BIGINT), 0, 'training days with complete readings and temperatures'
FROM pairs JOIN asked USING (event) ANTI JOIN shortfalls USING (event, resource)
LEFT JOIN unadjusted USING (event, resource)
GROUP BY event, resource, slots HAVING count(slot) < slots;
"""

#: Degrees, or a share: what differs by less is equal.
NOISE = 1e-9


def script(rule: Regression, request: Request) -> str:
    """Return the SQL of a regression."""
    return _degree_days(rule, request) if rule.terms == "degree-days" else _level(rule, request)


def _degree_days(rule: Regression, request: Request) -> str:
    window, reach = _window(rule)
    return "".join(
        [
            clock.called(request, hours(reach), window),
            _dates(rule, rule.look_back_days),
            clock.profile(request),
            clock.whole_days(request, rule.look_back_days),
            filled(TRAINING, zone=request.calendar.timezone, base=rule.base_celsius, minimum_days=rule.minimum_days),
            filled(FITTED, noise=NOISE, like_days=rule.like_days, minimum_days=rule.minimum_days),
            finished(rule),
        ]
    )


def _level(rule: Regression, request: Request) -> str:
    """Look back twice: a training day may be as old as the look-back, and its own like days as much older."""
    window, reach = _window(rule)
    level = clock.before_start(hours(rule.gap_hours + rule.level_hours), hours(rule.gap_hours))
    shortfalls = window_shortfalls("in_match", "metering intervals in the hours before the event")
    training, fitted = LEVEL
    return "".join(
        [
            clock.called(request, hours(max(reach, ceil(rule.gap_hours + rule.level_hours))), window, level),
            _dates(rule, 2 * rule.look_back_days),
            clock.profile(request),
            filled(
                training,
                look_back_days=rule.look_back_days,
                like_days=rule.like_days,
                minimum_days=rule.minimum_days,
            ),
            shortfalls,
            filled(fitted, noise=NOISE),
            finished(rule),
        ]
    )


def _window(rule: Regression) -> tuple[str, int]:
    if rule.adjustment == "none":
        return clock.NEVER, 0
    window = clock.before_start(hours(rule.adjust_from_hours), hours(rule.adjust_to_hours))
    return window, ceil(rule.adjust_from_hours)


def _dates(rule: Regression, look_back_days: int) -> str:
    return clock.dates(
        look_back_days,
        newest=1,
        day_types="business",
        exclude_events=rule.exclude_events,
        exclude_outages=rule.exclude_outages,
    )

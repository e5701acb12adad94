"""Rules that look at the event's own day alone, in SQL: a mean around the event, or a level agreed on. Pure text."""

from datetime import timedelta
from math import ceil

from pipeline.cbl import duckdb_clock as clock
from pipeline.cbl.duckdb_finish import finished, window_shortfalls
from pipeline.cbl.duckdb_text import filled, hours
from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, Level

AROUND = """
-- One mean of all readings before and after the event is the baseline of its every interval.
CREATE OR REPLACE TEMP TABLE unadjusted AS
WITH means AS (
    SELECT event, resource, avg(load_kw) AS unadjusted_kw
    FROM slots JOIN own USING (event, slot) WHERE in_window GROUP BY event, resource
)
SELECT event, resource, slot, unadjusted_kw FROM slots JOIN means USING (event) WHERE in_event;

CREATE OR REPLACE TEMP TABLE days AS
SELECT event, resource, event_day AS day, true AS used, CAST(NULL AS VARCHAR) AS reason
FROM pairs JOIN called USING (event);
"""

LEVEL = """
CREATE OR REPLACE TEMP TABLE unadjusted AS
SELECT event, resource, slot, $level_kw AS unadjusted_kw FROM pairs JOIN slots USING (event);
"""

#: Nothing fell short so far, and no day was looked at.
NO_SHORTFALLS = """
CREATE OR REPLACE TEMP TABLE shortfalls AS
SELECT event, resource, CAST(NULL AS BIGINT) AS need, CAST(NULL AS BIGINT) AS have, CAST(NULL AS VARCHAR) AS what
FROM pairs WHERE false;
"""
NO_DAYS = """
CREATE OR REPLACE TEMP TABLE days AS
SELECT event, resource, CAST(NULL AS DATE) AS day, false AS used, CAST(NULL AS VARCHAR) AS reason
FROM pairs WHERE false;
"""


def around(rule: AroundEvent, request: Request) -> str:
    """Return the SQL of a mean around the event."""
    after = filled(
        "start >= ends + $from_hours AND start < ends + $to_hours",
        from_hours=hours(rule.after_from_hours),
        to_hours=hours(rule.after_to_hours),
    )
    window = f"({clock.before_start(hours(rule.before_from_hours), hours(rule.before_to_hours))}) OR ({after})"
    return "".join(
        [
            clock.called(request, hours(ceil(max(rule.before_from_hours, rule.after_to_hours))), window),
            NO_SHORTFALLS,
            window_shortfalls("in_window", "metering intervals around the event"),
            AROUND,
            finished(rule),
        ]
    )


def level(rule: Level, request: Request) -> str:
    """Return the SQL of a level agreed on."""
    counted = filled("load_kw * $loss_factor", loss_factor=rule.loss_factor)
    reduction = f"baseline_kw - {counted}"
    if rule.below_kw is not None:
        below = filled("$below_kw", below_kw=rule.below_kw)
        reduction = f"CASE WHEN {counted} >= {below} THEN 0e0 ELSE {reduction} END"
    return "".join(
        [
            clock.called(request, timedelta(0)),
            NO_SHORTFALLS,
            NO_DAYS,
            filled(LEVEL, level_kw=None if rule.level_kw is None else float(rule.level_kw)),
            finished(rule, reduction),
        ]
    )

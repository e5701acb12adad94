"""The test of low usage in SQL: a table `low` of days passed over for it. Pure text."""

from pipeline.cbl.duckdb_text import filled
from pipeline.cbl.rule import DayMatching

NONE = """
CREATE OR REPLACE TEMP TABLE low AS
SELECT event, resource, day FROM candidates WHERE false;
"""

MEAN_OF_POOL = """
-- Round by round: days of the pool below a share of its mean go, all at once, and the next older take their place.
CREATE OR REPLACE TEMP TABLE low AS
WITH RECURSIVE rounds AS (
    SELECT event, resource, day, usage_kw, pool_days, false AS is_low, true AS again
    FROM candidates JOIN asked USING (event) WHERE reason IS NULL
    UNION ALL
    SELECT event, resource, day, usage_kw, pool_days, is_low, bool_or(is_low) OVER (PARTITION BY event, resource)
    FROM (
        SELECT event, resource, day, usage_kw, pool_days, nth <= pool_days AND usage_kw
            < round($share * avg(usage_kw) FILTER (nth <= pool_days) OVER (PARTITION BY event, resource), 6) AS is_low
        FROM (
            SELECT *, row_number() OVER (PARTITION BY event, resource ORDER BY day DESC) AS nth
            FROM rounds WHERE again AND NOT is_low
        )
    )
)
SELECT event, resource, day FROM rounds WHERE is_low;
"""

RUNNING_MEAN = """
-- Day by day, newest first, against a share of the mean of the days accepted so far, or of the seed before the first.
CREATE OR REPLACE TEMP TABLE numbered AS
SELECT event, resource, day, usage_kw, row_number() OVER (PARTITION BY event, resource ORDER BY day DESC) AS nth
FROM candidates WHERE reason IS NULL;

CREATE OR REPLACE TEMP TABLE low AS
WITH RECURSIVE tested AS (
    SELECT event, resource, CAST(NULL AS DATE) AS day, false AS is_low, CAST(0 AS BIGINT) AS nth,
        CAST(0 AS BIGINT) AS accepted, 0e0 AS accepted_kw,
        coalesce(max(usage_kw) FILTER (day >= event_day - $seed_days), max(usage_kw)) AS seed_kw
    FROM numbered JOIN asked USING (event) GROUP BY event, resource
    UNION ALL
    SELECT event, resource, day, is_low, nth, accepted + CAST(NOT is_low AS BIGINT),
        accepted_kw + CASE WHEN is_low THEN 0 ELSE usage_kw END, seed_kw
    FROM (
        SELECT event, resource, numbered.day, numbered.usage_kw, numbered.nth, accepted, accepted_kw, seed_kw,
            numbered.usage_kw
            < round($share * CASE WHEN accepted = 0 THEN seed_kw ELSE accepted_kw / accepted END, 6) AS is_low
        FROM tested JOIN numbered USING (event, resource) WHERE numbered.nth = tested.nth + 1
    )
)
SELECT event, resource, day FROM tested WHERE is_low;
"""


def low_usage(rule: DayMatching) -> str:
    """Return the SQL of the days that *rule* passes over for their usage."""
    match rule.low_usage:
        case "none":
            return NONE
        case "mean-of-pool":
            return filled(MEAN_OF_POOL, share=rule.low_usage_share)
        case "running-mean":
            return filled(RUNNING_MEAN, share=rule.low_usage_share, seed_days=rule.seed_days)

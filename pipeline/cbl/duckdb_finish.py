"""
From unadjusted baselines to the answer, in SQL: the same-day adjustment, reductions, rounding. Pure text.

Before it come the tables of `duckdb_clock`, `unadjusted` (event, resource, slot, unadjusted_kw) and `shortfalls`. Of an
event and a resource that are short of days the window is not looked at.
"""

from pipeline.cbl.duckdb_text import Fragment, Value, filled
from pipeline.cbl.rule import DayMatching, Parameters, Regression

SHORTFALLS_OF_WINDOW = """
INSERT INTO shortfalls
SELECT event, resource, need, have, $what FROM (
    SELECT pairs.event, pairs.resource, count(*) AS need, count(own.load_kw) AS have
    FROM pairs
    JOIN slots ON slots.event = pairs.event AND $window
    LEFT JOIN own ON own.event = pairs.event AND own.resource = pairs.resource AND own.slot = slots.slot
    GROUP BY pairs.event, pairs.resource
) ANTI JOIN shortfalls USING (event, resource)
WHERE have < need;
"""

UNTOUCHED = """
CREATE OR REPLACE TEMP TABLE adjustments AS
SELECT event, resource, 'none' AS kind, CAST(NULL AS DOUBLE) AS raw, 1e0 AS applied, false AS capped
FROM pairs ANTI JOIN shortfalls USING (event, resource);
"""

ADJUSTED = """
-- The event day against its unadjusted baseline: by how much, and what it is limited to.
CREATE OR REPLACE TEMP TABLE adjustments AS
WITH compared AS (
    SELECT event, resource, $raw AS raw
    FROM slots JOIN unadjusted USING (event, slot) JOIN own USING (event, resource, slot)
    WHERE in_window GROUP BY event, resource
), sizes AS (
    SELECT event, resource, $size AS size
    FROM slots JOIN unadjusted USING (event, slot) WHERE in_event GROUP BY event, resource
), every AS (
    SELECT event, resource, raw, size
    FROM pairs ANTI JOIN shortfalls USING (event, resource)
    LEFT JOIN compared USING (event, resource) LEFT JOIN sizes USING (event, resource)
), limited AS (
    SELECT event, resource, raw,
        CASE WHEN raw IS NULL THEN $nothing
            ELSE least(greatest(raw, $lowest * abs(size)), $highest * abs(size)) END AS applied
    FROM every
)
SELECT event, resource, $kind AS kind, raw, applied, coalesce(applied <> raw, false) AS capped FROM limited;
"""

INTERVALS = """
CREATE OR REPLACE TEMP MACRO told(kw) AS $rounded;

CREATE OR REPLACE TEMP TABLE intervals AS
WITH figures AS (
    SELECT event, resource, start, unadjusted_kw, $adjusted AS baseline_kw, load_kw
    FROM pairs ANTI JOIN shortfalls USING (event, resource)
    JOIN slots USING (event)
    JOIN adjustments USING (event, resource)
    LEFT JOIN unadjusted USING (event, resource, slot)
    LEFT JOIN own USING (event, resource, slot)
    WHERE in_event
), reduced AS (
    SELECT *, $reduction AS reduction_kw FROM figures
)
SELECT event, resource, start, told(unadjusted_kw) AS baseline_unadjusted_kw, told(baseline_kw) AS baseline_kw,
    load_kw, told($negative) AS reduction_kw
FROM reduced;
"""

BASELINE_MINUS_LOAD = "baseline_kw - load_kw"
RAW = {
    "ratio": (
        "CASE WHEN abs(sum(unadjusted_kw)) > 1e-9 * greatest(1e0, abs(sum(load_kw))) "
        "THEN sum(load_kw) / sum(unadjusted_kw) END"
    ),
    "additive": "avg(load_kw - unadjusted_kw)",
}
SIZE = {"ratio": "1e0", "additive": "avg(unadjusted_kw)"}
NOTHING = {"ratio": 1.0, "additive": 0.0}
APPLIED = {"none": "unadjusted_kw", "ratio": "unadjusted_kw * applied", "additive": "unadjusted_kw + applied"}


def finished(parameters: Parameters, reduction: str = BASELINE_MINUS_LOAD) -> str:
    """Return the SQL of adjustments and intervals; *reduction* is SQL of `baseline_kw` and `load_kw`, unrounded."""
    adjustment, applied = UNTOUCHED, APPLIED["none"]
    if isinstance(parameters, DayMatching | Regression) and parameters.adjustment != "none":
        adjustment, applied = _adjusted(parameters), APPLIED[parameters.adjustment]
    return adjustment + filled(
        INTERVALS,
        adjusted=Fragment(applied),
        reduction=Fragment(reduction),
        negative=Fragment(_negative(parameters)),
        rounded=Fragment("kw" if parameters.decimals is None else filled("round(kw, $d)", d=parameters.decimals)),
    )


def window_shortfalls(window: str, what: str) -> str:
    """Return the SQL that tells of pairs with a reading missing on the event's day in the slots of *window*."""
    return filled(SHORTFALLS_OF_WINDOW, window=Fragment(window), what=what)


def _adjusted(parameters: DayMatching | Regression) -> str:
    kind = parameters.adjustment
    limits: dict[str, Value] = {"lowest": parameters.adjust_lowest, "highest": parameters.adjust_highest}
    return window_shortfalls("in_window", "metering intervals in the adjustment hours of the event day") + filled(
        ADJUSTED,
        kind=kind,
        raw=Fragment(RAW[kind]),
        size=Fragment(SIZE[kind]),
        nothing=NOTHING[kind],
        **limits,
    )


def _negative(parameters: Parameters) -> str:
    if parameters.negative == "zero":
        return "CASE WHEN reduction_kw < 0 THEN 0e0 ELSE reduction_kw END"
    return "reduction_kw"

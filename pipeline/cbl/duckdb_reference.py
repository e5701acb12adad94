"""Baselines that somebody else supplies, in SQL: a nominated schedule, or customers that were not called. Pure text."""

from datetime import timedelta

from pipeline.cbl import duckdb_clock as clock
from pipeline.cbl.duckdb_around import NO_DAYS, NO_SHORTFALLS
from pipeline.cbl.duckdb_finish import finished
from pipeline.cbl.duckdb_text import filled
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Reference

NOMINATION = """
-- The newest nomination of each interval that came in time: the resource's own before one for all.
CREATE OR REPLACE TEMP TABLE unadjusted AS
WITH newest AS (
    SELECT event, slot, nominations.resource, arg_max(nominations.load_kw, submitted_at) AS load_kw
    FROM called JOIN slots USING (event) JOIN nominations USING (start)
    WHERE isfinite(nominations.load_kw) AND submitted_at <= begins - $lock
    GROUP BY event, slot, nominations.resource
)
SELECT pairs.event, pairs.resource, slots.slot, coalesce(theirs.load_kw, everybodys.load_kw) AS unadjusted_kw
FROM pairs JOIN slots USING (event)
LEFT JOIN newest AS theirs
    ON theirs.event = pairs.event AND theirs.slot = slots.slot AND theirs.resource = pairs.resource
LEFT JOIN (SELECT * FROM newest WHERE resource IS NULL) AS everybodys
    ON everybodys.event = pairs.event AND everybodys.slot = slots.slot;

INSERT INTO shortfalls
SELECT event, resource, count(*), count(unadjusted_kw), 'nominated intervals submitted in time'
FROM unadjusted GROUP BY event, resource HAVING count(unadjusted_kw) < count(*);
"""

CONTROL = """
-- Customers that were not called and have a reading in every interval: their mean × the customers that were called.
CREATE OR REPLACE TEMP TABLE metered AS
SELECT event, slot, customer, control.load_kw,
    count(*) OVER (PARTITION BY event, customer) AS readings
FROM slots JOIN control USING (start) WHERE isfinite(control.load_kw);

CREATE OR REPLACE TEMP TABLE complete AS
SELECT event, slot, customer, load_kw
FROM metered JOIN (SELECT event, count(*) AS intervals FROM slots GROUP BY event) USING (event)
WHERE readings = intervals;

CREATE OR REPLACE TEMP TABLE unadjusted AS
SELECT event, resource, slot, avg(load_kw) * $customers AS unadjusted_kw
FROM complete CROSS JOIN resources GROUP BY event, resource, slot;

INSERT INTO shortfalls
SELECT event, resource, $minimum_customers, count(DISTINCT customer), 'control customers with complete readings'
FROM pairs LEFT JOIN complete USING (event)
GROUP BY event, resource HAVING count(DISTINCT customer) < $minimum_customers;
"""


def script(rule: Reference, request: Request) -> str:
    """Return the SQL of a baseline that somebody else supplies."""
    if rule.source == "nomination":
        source = filled(NOMINATION, lock=timedelta(minutes=rule.lock_minutes))
    else:
        source = filled(CONTROL, customers=float(rule.customers), minimum_customers=rule.minimum_customers)
    return "".join([clock.called(request, timedelta(0)), NO_SHORTFALLS, NO_DAYS, source, finished(rule)])

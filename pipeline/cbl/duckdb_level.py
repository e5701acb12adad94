"""
Regression by the level just before, in SQL. Pure text.

x: mean of the like days at a slot; m: their mean level; n: the day's own level. `in_match` marks the level's hours.
"""

TRAINING = """
CREATE OR REPLACE TEMP TABLE asked AS
SELECT event, any_value(hours) AS hours, count(*) AS slots, event_day
FROM called JOIN slots USING (event) GROUP BY event, event_day;

-- Days that may be like days, the newest first, and the level of each.
CREATE OR REPLACE TEMP TABLE eligible AS
WITH day_loads AS (
    SELECT hours, resource, day, count(*) AS readings, avg(load_kw) FILTER (in_match) AS level_kw
    FROM profile GROUP BY hours, resource, day
)
SELECT event, resource, hours, day, event_day, level_kw,
    row_number() OVER (PARTITION BY event, resource ORDER BY day DESC) AS nth
FROM looked_at
JOIN asked USING (event)
JOIN day_loads USING (hours, day)
ANTI JOIN barred USING (resource, day)
WHERE alike AND readings = slots;

CREATE OR REPLACE TEMP TABLE days AS
SELECT event, resource, day, true AS used, CAST(NULL AS VARCHAR) AS reason
FROM eligible WHERE nth <= $like_days AND day >= event_day - $look_back_days;

-- x, m and n of every training day: one that has all its like days within the look-back before it.
CREATE OR REPLACE TEMP TABLE training AS
WITH every AS (
    SELECT event, resource, day, event_day, load_kw, level_kw AS n, avg(load_kw) OVER before AS x,
        avg(level_kw) OVER before AS m, count(*) OVER before AS have, min(day) OVER before AS oldest
    FROM eligible JOIN profile USING (hours, resource, day) WHERE in_event OR in_window
    WINDOW before AS (PARTITION BY event, resource, slot ORDER BY day ROWS BETWEEN $like_days PRECEDING AND 1 PRECEDING)
)
SELECT event, resource, day, load_kw, x, m, n FROM every
WHERE day >= event_day - $look_back_days AND have = $like_days AND oldest >= day - $look_back_days;

CREATE OR REPLACE TEMP TABLE shortfalls AS
SELECT event, resource, CAST($minimum_days AS BIGINT) AS need, count(DISTINCT day) AS have,
    'training days with like days of their own' AS what
FROM pairs LEFT JOIN training USING (event, resource)
GROUP BY event, resource HAVING count(DISTINCT day) < $minimum_days;
"""

FITTED = """
-- b: least squares of (load − x) on (n − m), without a constant. A spread within rounding is none.
CREATE OR REPLACE TEMP TABLE slopes AS
SELECT event, resource, CASE WHEN max(abs(n - m)) > $noise * max(abs(m))
    THEN sum((load_kw - x) * (n - m)) / sum((n - m) * (n - m)) ELSE 0e0 END AS b
FROM training GROUP BY event, resource;

CREATE OR REPLACE TEMP TABLE unadjusted AS
WITH levels AS (
    SELECT event, resource, avg(load_kw) AS n
    FROM slots JOIN own USING (event, slot) WHERE in_match GROUP BY event, resource
), like_days AS (
    SELECT event, resource, slot, avg(load_kw) AS x, avg(level_kw) AS m
    FROM days JOIN eligible USING (event, resource, day) JOIN profile USING (hours, resource, day)
    WHERE in_event OR in_window GROUP BY event, resource, slot
)
SELECT event, resource, slot, x + b * (n - m) AS unadjusted_kw
FROM like_days JOIN levels USING (event, resource) JOIN slopes USING (event, resource)
ANTI JOIN shortfalls USING (event, resource);
"""

LEVEL = (TRAINING, FITTED)

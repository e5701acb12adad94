"""
Day matching in Polars: like days, which of them, their mean, the adjustment (`pipeline.cbl.rule.DayMatching`). Pure.

    slots        the event's metering intervals, those of the adjustment and of the comparison, by the local clock
    candidates   event × resource × day: why it is passed over, and what it is ranked by
    pool, kept   the newest like days; those of them that are averaged

Days are matched by the local clock. On a 25-hour day the repeated hour is compared with the others' only one, and it is
the first of the two that stands for a 25-hour day; a 23-hour day that lacks an hour is incomplete for it.
"""

import polars as pl

from pipeline.cbl import answer as told
from pipeline.cbl import polars_adjust, polars_calendar, polars_slots
from pipeline.cbl.answer import KEY, Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching
from pipeline.errors import ConfigError

CANDIDATE = (*KEY, "day")
COMPARED = 6
"""Decimals of what days are compared by, a milliwatt: the order in which loads were added up decides nothing."""


def answer(rule: DayMatching, request: Request) -> Answer:
    """Return the baselines of all events and resources; raise `ConfigError` where `k` is needed and not set."""
    clocked = polars_slots.by_local_clock(request)
    slots = polars_slots.slots(rule, request)
    candidates = _without_low_usage(rule, _candidates(rule, request, clocked, slots))
    check_k(rule, set(candidates["business"].unique()))
    pool = _pool(rule, candidates)
    kept = _kept(rule, pool)
    short = _short(rule, request, pool)
    means = _means(rule, kept.join(short, on=KEY, how="anti"), slots, clocked)
    found = polars_adjust.adjusted(rule, means, request)
    return Answer(
        intervals=found.intervals,
        days=_looked_at(candidates, pool, kept, short),
        adjustments=found.adjustments,
        shortfalls=pl.concat([short, found.shortfalls]).sort(KEY),
    )


def check_k(rule: DayMatching, kinds: set[bool]) -> None:
    """Raise `ConfigError` where it is not said how many days are kept for events of these *kinds*: business, others."""
    if rule.keep not in {"highest", "nearest"}:
        return
    for business, name, k in ((True, "k", rule.k), (False, "other_k", rule.other_k)):
        if (k is None or k < 1) and business in kinds:
            raise ConfigError(f"keep = {rule.keep} needs {name}, how many days are kept; set {name} to 1 or more")


def _candidates(rule: DayMatching, request: Request, clocked: pl.DataFrame, slots: pl.DataFrame) -> pl.DataFrame:
    """Return event × resource × day, newest first: `business`, `reason`, `complete`, `usage_kw`, `total_kw`, `rank`."""
    days = polars_calendar.days_before(request, 1 + rule.skip_days, rule.look_back_days, rule.day_types)
    loads = polars_slots.loads_on(days.filter("alike"), slots, clocked)
    scored = loads.group_by(CANDIDATE).agg(
        complete=pl.col("load_kw").is_not_null().all(),
        usage_kw=pl.col("load_kw").filter("in_event").mean().round(COMPARED),
        total_kw=pl.col("load_kw").filter("in_event").sum().round(COMPARED),
    )
    reason = (
        pl.when(~pl.col("alike"))
        .then(pl.lit(told.OTHER_TYPE))
        .when(pl.col("was_event") & rule.exclude_events)
        .then(pl.lit(told.EVENT))
        .when(pl.col("was_outage") & rule.exclude_outages)
        .then(pl.lit(told.OUTAGE))
        .when(~pl.col("complete"))
        .then(pl.lit(told.INCOMPLETE))
    )
    return (
        days.join(_ranked(rule, request, loads, scored), on=CANDIDATE, how="left")
        .with_columns(pl.col("complete").fill_null(value=False))
        .with_columns(reason=reason)
        .sort("event", "resource", "day", descending=[False, False, True])
    )


def _ranked(rule: DayMatching, request: Request, loads: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """Return *scored* with `rank`, what days are ordered by; a day that has none of it is not complete."""
    match rule.rank_by:
        case "event-hours":
            return scored.with_columns(rank=pl.col("usage_kw"))
        case "day":
            means = polars_calendar.day_means(request).rename({"mean_kw": "rank"})
            joined = scored.join(means, on=["resource", "day"], how="left")
        case "shape":
            joined = scored.join(_unlikeness(request, loads), on=CANDIDATE, how="left")
        case "temperature":
            joined = scored.join(_warmth(request, loads), on=CANDIDATE, how="left")
    ranked = joined.with_columns(pl.col("rank").round(COMPARED))
    return ranked.with_columns(complete=pl.col("complete") & pl.col("rank").is_not_null())


def _unlikeness(request: Request, loads: pl.DataFrame) -> pl.DataFrame:
    """Return the sum of squared differences to the event's day; null where a reading of that is missing."""
    today = polars_slots.metered(request).rename({"load_kw": "today_kw"})
    difference = (pl.col("load_kw") - pl.col("today_kw")).filter("in_match")
    return (
        loads.join(today, on=["resource", "start"], how="left")
        .group_by(CANDIDATE)
        .agg(rank=pl.when(difference.is_not_null().all()).then((difference**2).sum()))
    )


def _warmth(request: Request, loads: pl.DataFrame) -> pl.DataFrame:
    """Return by how many degrees the highest temperature of each day differs from the event day's."""
    highest = polars_calendar.highest_temperatures(request)
    return (
        loads.select(*CANDIDATE, "event_day")
        .unique()
        .join(highest.rename({"day": "event_day", "celsius": "today"}), on="event_day", how="left")
        .join(highest, on="day", how="left")
        .select(*CANDIDATE, rank=(pl.col("celsius") - pl.col("today")).abs())
    )


def _without_low_usage(rule: DayMatching, candidates: pl.DataFrame) -> pl.DataFrame:
    """Return *candidates* with the reason "low usage" where it applies."""
    match rule.low_usage:
        case "none":
            return candidates
        case "mean-of-pool":
            low = _below_mean(rule, candidates)
        case "running-mean":
            low = _below_running_mean(rule, candidates)
    return _with_reason(candidates, low, told.LOW_USAGE)


def _with_reason(candidates: pl.DataFrame, days: pl.DataFrame, reason: str) -> pl.DataFrame:
    marked = candidates.join(
        days.select(*CANDIDATE, _new=pl.lit(reason)), on=CANDIDATE, how="left", maintain_order="left"
    )
    return marked.with_columns(reason=pl.coalesce("reason", "_new")).drop("_new")


def _below_mean(rule: DayMatching, candidates: pl.DataFrame) -> pl.DataFrame:
    """Return the days below the share of the mean of the pool they were in; the next older takes their place."""
    low = candidates.clear()
    while True:
        pool = _newest(rule, candidates.join(low, on=CANDIDATE, how="anti", maintain_order="left"))
        mean = pl.col("usage_kw").mean().over(KEY)
        found = pool.filter(pl.col("usage_kw") < (rule.low_usage_share * mean).round(COMPARED))
        if found.is_empty():
            return low
        low = pl.concat([low, found.select(low.columns)])


def _below_running_mean(rule: DayMatching, candidates: pl.DataFrame) -> pl.DataFrame:
    """
    Return the days below the share of the mean of the days accepted before, newest first.

    The mean begins as the highest day's of the `seed_days` before the event's, until the first day is accepted.
    """
    regular = candidates.filter(pl.col("reason").is_null())
    recent = (pl.col("event_day") - pl.col("day")).dt.total_days() <= rule.seed_days
    accepted = regular.group_by(KEY).agg(
        total=pl.coalesce(pl.col("usage_kw").filter(recent).max(), pl.col("usage_kw").max()), count=pl.lit(0)
    )
    numbered = regular.with_columns(place=pl.int_range(pl.len()).over(KEY))
    low = [numbered.clear().select(CANDIDATE)]
    for place in range((numbered.select(pl.col("place").max()).item() or 0) + 1):
        step = numbered.filter(pl.col("place") == place).join(accepted, on=KEY)
        mean = pl.col("total") / pl.max_horizontal("count", 1)
        is_low = pl.col("usage_kw") < (rule.low_usage_share * mean).round(COMPARED)
        low.append(step.filter(is_low).select(CANDIDATE))
        seeded = pl.when(pl.col("count") > 0).then("total").otherwise(0.0)
        newly = step.filter(~is_low).select(*KEY, total=seeded + pl.col("usage_kw"), count=pl.col("count") + 1)
        accepted = accepted.update(newly, on=KEY)
    return pl.concat(low)


def _newest(rule: DayMatching, candidates: pl.DataFrame) -> pl.DataFrame:
    """Return the newest days without a reason against them, as many as make the pool."""
    most = pl.when("business").then(pl.lit(rule.days)).otherwise(pl.lit(rule.other_days))
    place = pl.int_range(pl.len()).over(KEY)
    regular = candidates.filter(pl.col("reason").is_null())
    return regular.filter(most.is_null() | (place < most))


def _pool(rule: DayMatching, candidates: pl.DataFrame) -> pl.DataFrame:
    """Return the pool, event and outage days included where they have to fill up."""
    newest = _newest(rule, candidates)
    if not rule.fill_up:
        return newest
    have = newest.group_by(KEY).agg(have=pl.len().cast(pl.Int64))
    filling = (
        candidates.filter(pl.col("reason").is_in([told.EVENT, told.OUTAGE]), "complete")
        .sort("event", "resource", "total_kw", "day", descending=[False, False, True, True])
        .join(have, on=KEY, how="left", maintain_order="left")
        .filter(pl.int_range(pl.len()).over(KEY) < _minimum(rule) - pl.col("have").fill_null(0))
        .drop("have")
    )
    return pl.concat([newest, filling]).sort("event", "resource", "day", descending=[False, False, True])


def _minimum(rule: DayMatching) -> pl.Expr:
    return pl.when("business").then(pl.lit(rule.minimum_days)).otherwise(pl.lit(rule.minimum_other_days))


def _kept(rule: DayMatching, pool: pl.DataFrame) -> pl.DataFrame:
    """Return the days of *pool* that are averaged; of two that rank alike the newer."""
    k = pl.when("business").then(pl.lit(rule.k)).otherwise(pl.lit(rule.other_k))
    count = pl.len().over(KEY)
    place = pl.int_range(pl.len()).over(KEY)
    match rule.keep:
        case "all":
            return pool
        case "highest":
            ordered = pool.sort("event", "resource", "rank", "day", descending=[False, False, True, True])
            kept = ordered.filter(place < k)
        case "nearest":
            ordered = pool.sort("event", "resource", "rank", "day", descending=[False, False, False, True])
            kept = ordered.filter(place < k)
        case "middle":
            ordered = pool.sort("event", "resource", "rank", "day", descending=[False, False, True, True])
            kept = ordered.filter((place > 0) & (place < count - 1))
    return kept.sort("event", "resource", "day", descending=[False, False, True])


def _short(rule: DayMatching, request: Request, pool: pl.DataFrame) -> pl.DataFrame:
    """Return what lacks days: fewer than the minimum, none at all, or so few that none is left to be averaged."""
    have = pool.group_by(KEY).agg(have=pl.len().cast(pl.Int64))
    what = f"like days with complete readings within {rule.look_back_days} days of the event"
    least = 3 if rule.keep == "middle" else 1
    return (
        polars_calendar.pairs(request, rule.look_back_days, rule.day_types)
        .select(*KEY, need=pl.max_horizontal(_minimum(rule).cast(pl.Int64), pl.lit(least, pl.Int64)))
        .join(have, on=KEY, how="left")
        .with_columns(pl.col("have").fill_null(0), what=pl.lit(what))
        .filter(pl.col("have") < pl.col("need"))
        .select(told.SHORTFALLS.names())
    )


def _means(rule: DayMatching, kept: pl.DataFrame, slots: pl.DataFrame, clocked: pl.DataFrame) -> pl.DataFrame:
    """Return the average over the *kept* days of each slot: `start`, `in_event`, `in_adjust`, `unadjusted_kw`."""
    loads = polars_slots.loads_on(kept, slots.filter(pl.col("in_event") | pl.col("in_adjust")), clocked)
    load = pl.col("load_kw")
    if rule.average == "exponential":
        loads = loads.join(_weights(rule, kept), on=CANDIDATE)
        average = (load * pl.col("part")).sum()
    else:
        average = load.mean()
    return loads.group_by(*KEY, "start", "in_event", "in_adjust").agg(unadjusted_kw=average)


def _weights(rule: DayMatching, kept: pl.DataFrame) -> pl.DataFrame:
    """Return the `part` of each day in an exponential average; the oldest has what the newer ones leave."""
    back = pl.int_range(pl.len()).over(KEY)
    left = (1.0 - rule.weight) ** back
    newest_first = kept.sort("event", "resource", "day", descending=[False, False, True])
    return newest_first.select(
        *CANDIDATE, part=pl.when(back == pl.len().over(KEY) - 1).then(left).otherwise(rule.weight * left)
    )


def _looked_at(candidates: pl.DataFrame, pool: pl.DataFrame, kept: pl.DataFrame, short: pl.DataFrame) -> pl.DataFrame:
    """Return the pool and what was passed over on the way to its oldest day; all of it where days are short."""
    oldest = pool.group_by(KEY).agg(oldest=pl.col("day").min())
    on_the_way = (pl.col("day") >= pl.col("oldest")) | pl.col("short").is_not_null()
    return (
        candidates.join(kept.select(*CANDIDATE, used=pl.lit(value=True)), on=CANDIDATE, how="left")
        .join(pool.select(*CANDIDATE, pooled=pl.lit(value=True)), on=CANDIDATE, how="left")
        .join(oldest, on=KEY, how="left")
        .join(short.select(*KEY, short=pl.lit(value=True)), on=KEY, how="left")
        .filter(pl.col("reason").is_not_null() | pl.col("pooled").is_not_null(), on_the_way)
        .with_columns(pl.col("used").fill_null(value=False))
        .with_columns(
            reason=pl.when(~pl.col("used")).then(
                pl.when(pl.col("pooled").is_not_null()).then(pl.lit(told.NOT_KEPT)).otherwise("reason")
            )
        )
        .select(told.DAYS_LOOKED_AT.names())
        .sort("event", "resource", "day", descending=[False, False, True])
    )

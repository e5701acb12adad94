"""
Lines through history in Polars, least squares (`pipeline.cbl.rule.Regression`). Pure.

    degree-days   day mean load ~ 1 + cooling degrees + heating degrees, spread over the day as like days were
    level         load ~ like days' mean + b × (how much higher the hours before the event are than like days')

Both are solved in closed form for all events and resources at once, from deviations, which keeps their digits.
"""

from datetime import timedelta

import polars as pl

from pipeline.cbl import polars_adjust, polars_calendar, polars_slots
from pipeline.cbl.answer import KEY, Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Regression
from pipeline.errors import ConfigError

CANDIDATE = (*KEY, "day")
NEWEST_FIRST = [False, False, True]
ALIKE = 1e-9
"""Degrees that differ by less are one temperature; deviations by so small a share of the load are none."""
COLLINEAR = 1e-9
"""Cooling and heating degrees with no more of their variance apart cannot be told apart."""


def answer(rule: Regression, request: Request) -> Answer:
    """Return the baselines of all events and resources; raise `ConfigError` where hours or days are none."""
    if rule.like_days < 1:
        raise ConfigError("a regression needs like days; set like_days to 1 or more")
    if rule.terms == "level" and timedelta(hours=rule.level_hours) < request.grid:
        raise ConfigError("the hours before the event hold no metering interval; set level_hours to one or more")
    if rule.adjustment != "none" and rule.adjust_from_hours <= rule.adjust_to_hours:
        raise ConfigError(f"adjustment = {rule.adjustment} needs hours; set adjust_from_hours above adjust_to_hours")
    return _degree_days(rule, request) if rule.terms == "degree-days" else _level(rule, request)


def _answered(
    rule: Regression, request: Request, means: pl.DataFrame, short: pl.DataFrame, days: pl.DataFrame
) -> Answer:
    """Return the answer of *means*, one a slot, less the pairs that are *short*; the first reason of a pair is told."""
    short = short.unique(KEY, keep="first", maintain_order=True)
    found = polars_adjust.adjusted(rule, means.join(short, on=KEY, how="anti"), request)
    return Answer(
        intervals=found.intervals,
        days=polars_adjust.days_used(days),
        adjustments=found.adjustments,
        shortfalls=pl.concat([short, found.shortfalls]).sort(KEY),
    )


def _few(rule: Regression, request: Request, training: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return the pairs with fewer *training* days than the minimum; without any there is no line at all."""
    have = training.group_by(KEY).agg(have=pl.len())
    counted = (
        request.events.select("event")
        .join(polars_slots.resources(request), how="cross")
        .join(have, on=KEY, how="left")
        .with_columns(pl.col("have").fill_null(0), need=pl.lit(max(rule.minimum_days, 1)))
    )
    return polars_adjust.short_of(counted, what)


def _newest(rule: Regression, days: pl.DataFrame) -> pl.DataFrame:
    """Return the newest `like_days` of *days* of each pair."""
    ordered = days.sort(CANDIDATE, descending=NEWEST_FIRST)
    return ordered.filter(pl.int_range(pl.len()).over(KEY) < rule.like_days)


def _degree_days(rule: Regression, request: Request) -> Answer:
    clocked = polars_slots.by_local_clock(request)
    slots = polars_slots.slots(rule, request)
    days = _usable(rule, request, rule.look_back_days)
    warmth = _degrees(rule, request, pl.concat([days.select("day"), slots.select(day="event_day")]))
    training = days.join(polars_calendar.day_means(request), on=["resource", "day"]).join(
        warmth.filter(pl.col("have") >= pl.col("need")), on="day"
    )
    shares = (
        polars_slots.loads_on(_newest(rule, training), slots, clocked)
        .join(training.select(*CANDIDATE, "mean_kw"), on=CANDIDATE)
        .group_by(*KEY, "start", "event_day", "in_event", "in_adjust")
        .agg(share=_share().mean())
    )
    means = (
        shares.join(_fit(training), on=KEY)
        .join(warmth, left_on="event_day", right_on="day")
        .with_columns(unadjusted_kw=_on_the_line() * pl.col("share"))
    )
    what = "training days with complete readings and temperatures"
    cold = slots.select("event", day="event_day").unique().join(warmth, on="day")
    short = [
        _few(rule, request, training, what),
        polars_adjust.short_of(
            cold.join(polars_slots.resources(request), how="cross"), "local hours with a temperature on the event day"
        ),
        _unread(rule, shares, what),
    ]
    return _answered(rule, request, means, pl.concat(short), training)


def _usable(rule: Regression, request: Request, look_back_days: int) -> pl.DataFrame:
    """Return the days of the event day's type that are not excluded."""
    days = polars_calendar.days_before(request, 1, look_back_days, "business")
    return days.filter("alike", polars_calendar.not_excluded(events=rule.exclude_events, outages=rule.exclude_outages))


def _degrees(rule: Regression, request: Request, days: pl.DataFrame) -> pl.DataFrame:
    """Return `day`, `cooling` and `heating` degrees, local hours with a temperature (`have`) and all (`need`)."""
    above = pl.col("celsius") - rule.base_celsius
    return polars_calendar.mean_temperatures(request, days).select(
        "day",
        cooling=above.clip(lower_bound=0.0),
        heating=(-above).clip(lower_bound=0.0),
        need="steps",
        have="hours",
    )


def _share() -> pl.Expr:
    """Return load ÷ the day's mean; a day that drew nothing is flat."""
    load, mean = pl.col("load_kw"), pl.col("mean_kw")
    return pl.when(mean != 0).then(load / mean).when(load.is_not_null()).then(1.0)


def _unread(rule: Regression, shares: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return the pairs with a slot that none of their like days has a reading of."""
    unread = shares.filter(pl.col("share").is_null()).select(KEY).unique()
    return polars_adjust.short_of(unread.with_columns(need=pl.lit(max(rule.minimum_days, 1)), have=pl.lit(0)), what)


def _fit(training: pl.DataFrame) -> pl.DataFrame:
    """
    Return the line of each pair: `mean_y`, `mean_c`, `mean_h`, slopes `by_c` and `by_h`.

    Where cooling and heating degrees cannot be told apart (all days have one of two temperatures, on either side of the
    base), the line is one through the temperature itself.
    """
    y, c, h = pl.col("mean_kw"), pl.col("cooling"), pl.col("heating")
    from_mean = [
        (y - y.mean()).alias("y"),
        *(
            pl.when(x.max() - x.min() > ALIKE).then(x - x.mean()).otherwise(0.0).alias(x.meta.output_name())
            for x in (c, h)
        ),
    ]
    deviations = training.select(*KEY, *(one.over(KEY) for one in from_mean))
    dy, both = pl.col("y"), c - h
    sums = deviations.group_by(KEY).agg(
        cc=(c * c).sum(),
        hh=(h * h).sum(),
        ch=(c * h).sum(),
        cy=(c * dy).sum(),
        hy=(h * dy).sum(),
        tt=(both * both).sum(),
        ty=(both * dy).sum(),
    )
    cc, hh, ch, cy, hy = (pl.col(name) for name in ("cc", "hh", "ch", "cy", "hy"))
    rest = cc * hh - ch * ch
    apart = rest > COLLINEAR * cc * hh
    one_line = (cc > 0) & (hh > 0)
    by_c = pl.when(apart).then((cy * hh - hy * ch) / rest).when(one_line).then(pl.col("ty") / pl.col("tt"))
    by_h = pl.when(apart).then((hy * cc - cy * ch) / rest).when(one_line).then(-pl.col("ty") / pl.col("tt"))
    slopes = sums.select(
        *KEY,
        by_c=by_c.when(cc > 0).then(cy / cc).otherwise(0.0),
        by_h=by_h.when(hh > 0).then(hy / hh).otherwise(0.0),
    )
    return training.group_by(KEY).agg(mean_y=y.mean(), mean_c=c.mean(), mean_h=h.mean()).join(slopes, on=KEY)


def _on_the_line() -> pl.Expr:
    cooling, heating = pl.col("cooling") - pl.col("mean_c"), pl.col("heating") - pl.col("mean_h")
    return pl.col("mean_y") + pl.col("by_c") * cooling + pl.col("by_h") * heating


def _level(rule: Regression, request: Request) -> Answer:
    clocked = polars_slots.by_local_clock(request)
    slots = polars_slots.slots(rule, request)
    hours = polars_slots.hours_before(request, rule.gap_hours + rule.level_hours, rule.gap_hours)
    days = _usable(rule, request, 2 * rule.look_back_days)
    loads = polars_slots.loads_on(days, slots, clocked)
    history = _whole(days, loads, polars_slots.loads_on(days, hours, clocked))
    back = pl.duration(days=rule.look_back_days)
    like = _newest(rule, history.filter(pl.col("day") >= pl.col("event_day") - back))
    training = (
        history.sort(CANDIDATE)
        .with_columns(
            usual_level=_mean_of_last(rule, "level_kw", KEY), oldest=pl.col("day").shift(rule.like_days).over(KEY)
        )
        .filter(pl.col("day") >= pl.col("event_day") - back, pl.col("oldest") >= pl.col("day") - back)
    )
    today = (
        hours.join(polars_slots.resources(request), how="cross")
        .join(polars_slots.metered(request), on=["resource", "start"], how="left")
        .group_by(KEY)
        .agg(level_kw=pl.col("load_kw").mean(), need=pl.len(), have=pl.col("load_kw").is_not_null().sum())
    )
    means = (
        loads.join(like.select(*CANDIDATE, usual_level="level_kw"), on=CANDIDATE)
        .group_by(*KEY, "start", "in_event", "in_adjust")
        .agg(pl.col("load_kw", "usual_level").mean())
        .join(today.select(*KEY, "level_kw"), on=KEY)
        .join(_slope(rule, loads, history, training), on=KEY)
        .with_columns(unadjusted_kw=pl.col("load_kw") + pl.col("b") * (pl.col("level_kw") - pl.col("usual_level")))
        .drop("load_kw")
    )
    short = [
        _few(rule, request, training, "training days with like days of their own"),
        polars_adjust.short_of(today, "metering intervals in the hours before the event"),
    ]
    return _answered(rule, request, means, pl.concat(short), like)


def _whole(days: pl.DataFrame, loads: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Return the *days* with a reading in every slot and in every hour before, with the mean of these, `level_kw`."""
    gap = pl.col("load_kw").is_null().any()
    return (
        days.join(loads.group_by(CANDIDATE).agg(gap=gap), on=CANDIDATE)
        .join(before.group_by(CANDIDATE).agg(gap_before=gap, level_kw=pl.col("load_kw").mean()), on=CANDIDATE)
        .filter(~pl.col("gap"), ~pl.col("gap_before"))
        .select(*CANDIDATE, "event_day", "level_kw")
    )


def _mean_of_last(rule: Regression, column: str, group: tuple[str, ...]) -> pl.Expr:
    """Return the mean of the `like_days` days before each, of rows in order of days."""
    return pl.mean_horizontal(pl.col(column).shift(back).over(group) for back in range(1, rule.like_days + 1))


def _slope(rule: Regression, loads: pl.DataFrame, history: pl.DataFrame, training: pl.DataFrame) -> pl.DataFrame:
    """Return `b` of each pair; 0 where no day's level differs from what its like days had."""
    slot = (*KEY, "start")
    above_usual, level = pl.col("load_kw") - pl.col("usual_kw"), pl.col("level_kw") - pl.col("usual_level")
    squares = (level**2).sum()
    same = level.abs().max() <= ALIKE * pl.col("usual_level").abs().max()
    return (
        loads.join(history.select(CANDIDATE), on=CANDIDATE, how="semi")
        .sort(*slot, "day")
        .with_columns(usual_kw=_mean_of_last(rule, "load_kw", slot))
        .join(training.select(*CANDIDATE, "level_kw", "usual_level"), on=CANDIDATE)
        .group_by(KEY)
        .agg(b=pl.when(same).then(0.0).otherwise((above_usual * level).sum() / squares))
    )

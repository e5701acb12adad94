"""Meter before, meter after in Polars: one figure from the event's own day (`pipeline.cbl.rule.AroundEvent`). Pure."""

from datetime import timedelta

import polars as pl

from pipeline.cbl import polars_adjust, polars_slots
from pipeline.cbl.answer import KEY, Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent
from pipeline.errors import ConfigError


def answer(rule: AroundEvent, request: Request) -> Answer:
    """Return the baselines of all events and resources; raise `ConfigError` where the windows hold no interval."""
    windows = _windows(rule, request)
    if request.events.join(windows, on="event", how="anti").height:
        raise ConfigError(
            "the hours around the event hold no metering interval; set before_from_hours above before_to_hours"
        )
    read = (
        windows.join(polars_slots.resources(request), how="cross")
        .join(polars_slots.metered(request), on=["resource", "start"], how="left")
        .group_by(KEY)
        .agg(
            unadjusted_kw=pl.col("load_kw").mean(),
            event_day=pl.col("event_day").first(),
            need=pl.len(),
            have=pl.col("load_kw").is_not_null().sum(),
        )
    )
    found = read.filter(pl.col("have") == pl.col("need")).select(*KEY, "unadjusted_kw")
    return polars_adjust.unadjusted(
        rule,
        polars_slots.event_slots(request).join(found, on="event"),
        request,
        shortfalls=polars_adjust.short_of(read, "metering intervals around the event"),
        days=polars_adjust.days_used(read.select(*KEY, day="event_day")),
    )


def _windows(rule: AroundEvent, request: Request) -> pl.DataFrame:
    """Return the metering intervals that are averaged: `event`, `event_day`, `start`."""
    start = pl.col("start")
    before_from, before_to, after_from, after_to = (
        timedelta(hours=hours)
        for hours in (rule.before_from_hours, rule.before_to_hours, rule.after_from_hours, rule.after_to_hours)
    )
    before = (start >= pl.col("event_start") - before_from) & (start < pl.col("event_start") - before_to)
    after = (start >= pl.col("event_end") + after_from) & (start < pl.col("event_end") + after_to)
    around = polars_slots.grid_around(request, max(before_from, timedelta()), max(after_to, timedelta()))
    return around.filter(before | after).select("event", "event_day", "start")

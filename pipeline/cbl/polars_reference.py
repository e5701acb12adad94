"""A series somebody else supplies, in Polars: nominations, control groups (`pipeline.cbl.rule.Reference`). Pure."""

from datetime import timedelta

import polars as pl

from pipeline.cbl import polars_adjust, polars_slots
from pipeline.cbl.answer import KEY, Answer
from pipeline.cbl.request import CONTROL, NOMINATIONS, Request
from pipeline.cbl.rule import Reference


def answer(rule: Reference, request: Request) -> Answer:
    """Return the baselines of all events and resources; without nominations or control customers, shortfalls."""
    return _nominated(rule, request) if rule.source == "nomination" else _controlled(rule, request)


def _nominated(rule: Reference, request: Request) -> Answer:
    slots = polars_slots.event_slots(request).join(polars_slots.resources(request), how="cross")
    offered = request.nominations if request.nominations is not None else pl.DataFrame(schema=NOMINATIONS)
    offered = offered.filter(pl.col("load_kw").is_finite())
    own = _newest(rule, slots, offered.filter(pl.col("resource").is_not_null()), ["resource", "start"], "own_kw")
    for_all = _newest(rule, slots, offered.filter(pl.col("resource").is_null()).drop("resource"), ["start"], "all_kw")
    found = (
        slots.join(own, on=[*KEY, "start"], how="left")
        .join(for_all, on=[*KEY, "start"], how="left")
        .with_columns(unadjusted_kw=pl.coalesce("own_kw", "all_kw"))
    )
    counted = found.group_by(KEY).agg(need=pl.len(), have=pl.col("unadjusted_kw").is_not_null().sum())
    short = polars_adjust.short_of(counted, "nominated intervals submitted in time")
    return polars_adjust.unadjusted(rule, found.join(short, on=KEY, how="anti"), request, shortfalls=short)


def _newest(rule: Reference, slots: pl.DataFrame, offered: pl.DataFrame, on: list[str], name: str) -> pl.DataFrame:
    """Return the newest nomination of each slot that was submitted in time; of two submitted at once the lower one."""
    deadline = pl.col("event_start") - timedelta(minutes=rule.lock_minutes)
    return (
        slots.join(offered, on=on)
        .filter(pl.col("submitted_at") <= deadline)
        .sort("submitted_at", "load_kw", descending=[True, False])
        .group_by(*KEY, "start", maintain_order=True)
        .agg(pl.col("load_kw").first().alias(name))
    )


def _controlled(rule: Reference, request: Request) -> Answer:
    slots = polars_slots.event_slots(request)
    control = request.control if request.control is not None else pl.DataFrame(schema=CONTROL)
    loads = slots.join(control.filter(pl.col("load_kw").is_finite()), on="start")
    lengths = slots.group_by("event").agg(length=pl.len())
    complete = (
        loads.group_by("event", "customer")
        .agg(readings=pl.len())
        .join(lengths, on="event")
        .filter(pl.col("readings") == pl.col("length"))
        .select("event", "customer")
    )
    counted = (
        lengths.select("event", need=pl.lit(max(rule.minimum_customers, 1)))
        .join(complete.group_by("event").agg(have=pl.len()), on="event", how="left")
        .with_columns(pl.col("have").fill_null(0))
        .join(polars_slots.resources(request), how="cross")
    )
    short = polars_adjust.short_of(counted, "control customers with complete readings")
    means = (
        loads.join(complete, on=["event", "customer"], how="semi")
        .group_by("event", "start")
        .agg(unadjusted_kw=pl.col("load_kw").mean() * rule.customers)
    )
    found = means.join(polars_slots.resources(request), how="cross").join(short, on=KEY, how="anti")
    return polars_adjust.unadjusted(rule, found, request, shortfalls=short)

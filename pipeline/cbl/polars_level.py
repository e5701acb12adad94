"""A level agreed on beforehand, in Polars: firm service level, load drop (`pipeline.cbl.rule.Level`). Pure."""

import polars as pl

from pipeline.cbl import answer as told
from pipeline.cbl import polars_adjust, polars_slots
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Level
from pipeline.errors import ConfigError


def answer(rule: Level, request: Request) -> Answer:
    """Return the level and what was drawn less; raise `ConfigError` where no level is set."""
    if rule.level_kw is None:
        raise ConfigError("set level_kw, the load in kW that was agreed on beforehand")
    level = float(rule.level_kw)
    drawn = pl.col("load_kw") * rule.loss_factor
    reduction = level - drawn
    if rule.below_kw is not None:
        reduction = pl.when(drawn >= rule.below_kw).then(0.0).otherwise(reduction)
    found = (
        polars_slots.event_slots(request)
        .join(polars_slots.resources(request), how="cross")
        .join(polars_slots.metered(request), on=["resource", "start"], how="left")
        .with_columns(unadjusted_kw=pl.lit(level), baseline_kw=pl.lit(level), reduction_kw=reduction)
    )
    return polars_adjust.told_of(polars_adjust.finished(rule, found), pl.DataFrame(schema=told.SHORTFALLS))

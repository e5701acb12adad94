"""What an engine answers: figures, and everything needed to compute them again by hand. Values, no IO."""

from dataclasses import dataclass

import polars as pl

from pipeline.cbl.request import INSTANT

KEY = ("event", "resource")
_KEYS = {"event": pl.Int64(), "resource": pl.String()}
INTERVALS = pl.Schema(
    {
        **_KEYS,
        "start": INSTANT,
        "baseline_unadjusted_kw": pl.Float64(),
        "baseline_kw": pl.Float64(),
        "load_kw": pl.Float64(),
        "reduction_kw": pl.Float64(),
    }
)
"""One row a metering interval of the event; load and reduction are null where nothing was metered."""
DAYS_LOOKED_AT = pl.Schema({**_KEYS, "day": pl.Date(), "used": pl.Boolean(), "reason": pl.String()})
"""Days that were looked at; reason: why a day was not used, null where it was."""
ADJUSTMENTS = pl.Schema(
    {**_KEYS, "kind": pl.String(), "raw": pl.Float64(), "applied": pl.Float64(), "capped": pl.Boolean()}
)
"""Ratio (1 where there is none to be made), or kW; raw is null where it is not defined: a baseline of zero."""
SHORTFALLS = pl.Schema({**_KEYS, "need": pl.Int64(), "have": pl.Int64(), "what": pl.String()})
"""Why there is no baseline."""


@dataclass(frozen=True)
class Answer:
    """Baselines of events and resources; a pair of them has either intervals or a shortfall."""

    intervals: pl.DataFrame
    days: pl.DataFrame
    adjustments: pl.DataFrame
    shortfalls: pl.DataFrame


#: Why a day was not used. The first that applies is told.
OTHER_TYPE, EVENT, OUTAGE, INCOMPLETE, LOW_USAGE = "other day type", "event", "outage", "incomplete", "low usage"
NOT_KEPT = "not among those kept"

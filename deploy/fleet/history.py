"""The load of days past, from the same plan that the live fleet follows. Simulated, and stored as such."""

from datetime import UTC, datetime, time, timedelta

import numpy as np
import polars as pl

from deploy.fleet.plan import Plan, plan
from deploy.fleet.settings import FleetSettings
from deploy.fleet.variation import Floats
from pipeline.calendar import Calendar
from pipeline.interval import floor
from pipeline.settings import Site

#: The plan is sampled this finely, the bin of the finest trace; a step's load is the mean of its samples.
SAMPLE = timedelta(seconds=10)
#: So many samples are worked on at once, to bound memory.
CHUNK = 20_000
DEFAULT_TIMEZONE: str = Site().timezone


def history(
    settings: FleetSettings,
    days: int,
    until: datetime,
    step: timedelta,
    *,
    timezone: str = DEFAULT_TIMEZONE,
    extra_kw: float = 0.0,
) -> pl.DataFrame:
    """
    Return the site's mean load per *step* for the *days* local days before that of *until*, and for that day so far.

    Columns ``start`` (Datetime, µs, UTC) and ``load_kw`` (Float64), one row per whole step on the Unix grid that ends
    by *until*. *extra_kw* is constant load beside the fleet: hosts measured through NVML. Nothing is capped in it.
    """
    local_midnight = datetime.combine(Calendar(timezone).day_of(until) - timedelta(days=days), time())
    begin = local_midnight.replace(tzinfo=Calendar(timezone).zone).astimezone(UTC)
    first, steps = floor(begin, step), (floor(until, step) - floor(begin, step)) // step
    if first < begin:  # a step that began on the day before
        first, steps = first + step, steps - 1
    starts = first.timestamp() + np.arange(max(0, steps), dtype=np.float64) * step.total_seconds()
    load_kw = mean_kw(plan(settings, timezone), starts, step) + extra_kw
    start = pl.Series("start", np.round(starts * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame([start, pl.Series("load_kw", load_kw, dtype=pl.Float64)])


def mean_kw(site: Plan, starts: Floats, step: timedelta) -> Floats:
    """Return the expected mean load over each step that begins at the POSIX seconds *starts*."""
    samples = max(1, round(step / SAMPLE))
    middles = (np.arange(samples) + 0.5) * step.total_seconds() / samples
    rows = max(1, CHUNK // samples)
    chunks = [starts[at : at + rows] for at in range(0, len(starts), rows)]
    means = [site.site_kw((chunk[:, None] + middles).ravel()).reshape(-1, samples).mean(axis=1) for chunk in chunks]
    return np.concatenate([np.array([]), *means])

"""The run to look at: `report.html`, one file with its plots inside, no network needed to open it."""

from datetime import UTC, datetime
from importlib import resources
from typing import Any

import altair as alt
import polars as pl
import vl_convert
from jinja2 import Environment, StrictUndefined

from deploy.demo.report import Run
from pipeline.messages.telemetry import SiteCapacity
from pipeline.units import KW_PER_MW

TOKENS_PER_KTOKEN = 1000
LOAD, BASELINE, TARGET = "measured load", "baseline", "target (baseline − award)"


def _instant(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def load_frame(run: Run) -> pl.DataFrame:
    """Return ``at``, ``kw``, ``series`` for the event's plot, from when every host had been seen."""
    hosts = max((capacity.hosts for capacity in run.capacities), default=0)
    rows: list[tuple[datetime, float, str]] = [
        (_instant(capacity.as_of), capacity.load_kw, LOAD) for capacity in run.capacities if capacity.hosts == hosts
    ]
    baselines = {performance.award_id: performance.baseline_kw for performance in run.performance}
    for award in sorted(run.awards, key=lambda award: award.interval.start):
        if (baseline_kw := baselines.get(award.award_id)) is None:
            continue
        for at in (award.interval.start, award.interval.end):
            rows.append((_instant(at), baseline_kw, BASELINE))
            rows.append((_instant(at), baseline_kw - float(award.quantity_mw * KW_PER_MW), TARGET))
    return pl.DataFrame(rows, schema={"at": pl.Datetime("ms"), "kw": pl.Float64, "series": pl.String}, orient="row")


def tokens_frame(capacities: list[SiteCapacity]) -> pl.DataFrame:
    """Return ``at``, ``ktokens_per_s``, ``tier``: thousand tokens per second of the pools that count them."""
    rows = [
        (_instant(capacity.as_of), pool.tokens_per_s / TOKENS_PER_KTOKEN, f"{pool.tier} {pool.workload}")
        for capacity in capacities
        for pool in capacity.pools
        if pool.tokens_per_s is not None
    ]
    frame = pl.DataFrame(
        rows, schema={"at": pl.Datetime("ms"), "ktokens_per_s": pl.Float64, "tier": pl.String}, orient="row"
    )
    return frame.group_by("at", "tier").agg(pl.col("ktokens_per_s").sum()).sort("at")


def _svg(specification: dict[str, Any]) -> str:
    return str(vl_convert.vegalite_to_svg(specification))


def plot_load(run: Run) -> str:
    """Return the event as SVG: load against baseline and target, awarded intervals shaded."""
    windows = pl.DataFrame(
        [(_instant(award.interval.start), _instant(award.interval.end)) for award in run.awards],
        schema={"start": pl.Datetime("ms"), "end": pl.Datetime("ms")},
        orient="row",
    )
    axis = alt.Axis(title="simulated clock, UTC", format="%H:%M:%S", labelAngle=0)
    shade = alt.Chart(windows).mark_rect(color="#f3e6c4", opacity=0.6).encode(x="start:T", x2="end:T")
    lines = (
        alt.Chart(load_frame(run))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("at:T", axis=axis),
            y=alt.Y("kw:Q", title="site load, kW (simulated)", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "series:N",
                title=None,
                scale=alt.Scale(domain=[LOAD, BASELINE, TARGET], range=["#1b6ca8", "#777777", "#c0392b"]),
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.StrokeDash(
                "series:N",
                legend=None,
                scale=alt.Scale(domain=[LOAD, BASELINE, TARGET], range=[[1, 0], [6, 3], [2, 2]]),
            ),
        )
    )
    return _svg((shade + lines).properties(width=860, height=300).to_dict())


def plot_tokens(run: Run) -> str:
    """Return the tokens as SVG: what each tier went on producing."""
    axis = alt.Axis(title="simulated clock, UTC", format="%H:%M:%S", labelAngle=0)
    chart = (
        alt.Chart(tokens_frame(run.capacities))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("at:T", axis=axis),
            y=alt.Y("ktokens_per_s:Q", title="thousand tokens/s (simulated)"),
            color=alt.Color("tier:N", title=None, legend=alt.Legend(orient="top")),
        )
    )
    return _svg(chart.properties(width=860, height=180).to_dict())


def render(run: Run, report: dict[str, Any]) -> str:
    """Return the page."""
    template = resources.files("deploy.demo").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        report=report,
        run=run,
        load_svg=plot_load(run),
        tokens_svg=plot_tokens(run),
    )

"""The pictures of the back-test, as SVG. Pure."""

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from bidding.backtest.summary import Summary
from bidding.backtest.walk import FORESIGHT

WIDTH, HEIGHT = 860, 260
WEEK = 7
COLOURS = ("#777777", "#1b6ca8", "#2f8f5b", "#c98a1b", "#8a4fa3", "#c0392b", "#5c4a3d", "#111111")


def cumulative(lines: Sequence[Summary]) -> str:
    """Return what each contestant had earned by every week's end, one case."""
    rows = [
        {"day": day, "thousand": earned / 1000, "contestant": name}
        for name in _names(lines)
        for number, (day, earned) in enumerate(_earned([line for line in lines if line.contestant == name]))
        if number % WEEK == WEEK - 1
    ]
    chart = alt.Chart(_frame(rows, {"day": pl.Date, "thousand": pl.Float64, "contestant": pl.String})).mark_line(
        strokeWidth=1.8
    )
    return _svg(
        chart.encode(
            x=alt.X("day:T", title=None, axis=alt.Axis(format="%Y-%m", tickCount="month", labelOverlap="greedy")),
            y=alt.Y("thousand:Q", title="value so far, thousand $ (simulated site)"),
            color=_colour(_names(lines)),
        ).properties(width=WIDTH, height=HEIGHT)
    )


def _earned(lines: Sequence[Summary]) -> list[tuple[date, float]]:
    daily = sorted((day, value) for line in lines for day, value in line.daily.items())
    return list(zip((day for day, _ in daily), accumulate(value for _, value in daily), strict=True))


def frontier(lines: Sequence[Summary]) -> str:
    """Return mean value a day against the mean of the worst 5 % of days, a point a contestant, a panel a case."""
    rows = [
        {"panel": line.case, "cvar": line.cvar, "mean": line.mean, "contestant": line.contestant}
        for line in lines
        if line.whole and line.contestant != FORESIGHT
    ]
    schema = {"panel": pl.String, "cvar": pl.Float64, "mean": pl.Float64, "contestant": pl.String}
    points = (
        alt.Chart(_frame(rows, schema))
        .mark_point(size=70, filled=True)
        .encode(
            x=alt.X("cvar:Q", title="mean of the worst 5 % of days, $", scale=alt.Scale(zero=False)),
            y=alt.Y("mean:Q", title="mean day, $", scale=alt.Scale(zero=False)),
            color=_colour(_names([line for line in lines if line.contestant != FORESIGHT])),
        )
        .properties(width=230, height=170)
    )
    return _svg(
        points.facet(alt.Facet("panel:N", title=None), columns=3).resolve_scale(x="independent", y="independent")
    )


def captured(lines: Sequence[Summary]) -> str:
    """Return the share of perfect foresight by month, of one case; months without any are left out."""
    best = _monthly([line for line in lines if line.contestant == FORESIGHT])
    rows = [
        {"month": month, "share": value / best[month], "contestant": name}
        for name in _names(lines)
        if name != FORESIGHT
        for month, value in _monthly([line for line in lines if line.contestant == name]).items()
        if best.get(month, 0.0) > 0
    ]
    schema = {"month": pl.Date, "share": pl.Float64, "contestant": pl.String}
    chart = alt.Chart(_frame(rows, schema)).mark_line(strokeWidth=1.8, point=True)
    return _svg(
        chart.encode(
            x=alt.X("month:T", title=None, axis=alt.Axis(format="%Y-%m", tickCount="month", labelOverlap="greedy")),
            y=alt.Y("share:Q", title="share of perfect foresight", axis=alt.Axis(format="%")),
            color=_colour(_names([line for line in lines if line.contestant != FORESIGHT])),
        ).properties(width=WIDTH, height=HEIGHT)
    )


def _monthly(lines: Sequence[Summary]) -> dict[date, float]:
    found: dict[date, float] = {}
    for line in lines:
        for day, value in line.daily.items():
            month = day - timedelta(days=day.day - 1)
            found[month] = found.get(month, 0.0) + value
    return dict(sorted(found.items()))


def _names(lines: Sequence[Summary]) -> list[str]:
    return list(dict.fromkeys(line.contestant for line in lines))


def _frame(rows: Sequence[dict[str, Any]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def _colour(names: Sequence[str]) -> Any:
    scale = alt.Scale(domain=list(names), range=list(COLOURS[: len(names)]))
    return alt.Color("contestant:N", title=None, scale=scale, legend=alt.Legend(orient="top", labelLimit=400))


def _svg(chart: Any) -> str:
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))

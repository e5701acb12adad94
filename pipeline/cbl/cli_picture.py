"""
One event as a picture: its day, the days it was compared with, the baseline before and after the adjustment. Pure.

    load, kW ▲   pale: days not used     thin: days used     thick: the event's day
             │        ░░░░ shaded: event hours, and those of the adjustment
             └────────────────────────▶ local time

SVG without a library and without anything fetched; colours follow the reader's light or dark preference. A gap is a gap
in the line. Days are drawn by the local clock.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape

import polars as pl

from pipeline.cbl.cli_output import Object
from pipeline.cbl.cli_request import Asked
from pipeline.cbl.explain import by_clock
from pipeline.cbl.request import ONE
from pipeline.cbl.rule import DayMatching, Regression

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 84, 32, 104, 56
HOURS = 24
#: So many days of either kind are drawn, the newest.
MOST = 40
STYLE = """
.page{fill:#ffffff} .text{fill:#24292f;font:13px system-ui,sans-serif} .title{font-weight:600;font-size:15px}
.small{font-size:12px} .rule{stroke:#d8dee4;stroke-width:1} .frame{stroke:#57606a;stroke-width:1}
.event{fill:#f2cc60;fill-opacity:.35} .adjust{fill:#8c959f;fill-opacity:.18}
.line{fill:none;stroke-linejoin:round} .pale{stroke:#a7aeb6;stroke-opacity:.65;stroke-width:1;stroke-dasharray:2 3}
.used{stroke:#6f9fc8;stroke-opacity:.75;stroke-width:1.1} .today{stroke:#0b5cad;stroke-width:2.6}
.before{stroke:#8250df;stroke-width:2.4;stroke-dasharray:7 4} .after{stroke:#cf222e;stroke-width:2.8}
@media (prefers-color-scheme:dark){.page{fill:#0d1117} .text{fill:#e6edf3} .rule{stroke:#30363d}
.frame{stroke:#8b949e} .event{fill:#bb8009;fill-opacity:.35} .adjust{fill:#8b949e;fill-opacity:.2}
.pale{stroke:#6e7681} .used{stroke:#4f83b5} .today{stroke:#79c0ff} .before{stroke:#d2a8ff} .after{stroke:#ff7b72}}
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:15px system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;background:Canvas;
color:CanvasText}} svg{{width:100%;height:auto}} pre{{overflow-x:auto;font-size:12px}}</style></head>
<body>{svg}<pre>{text}</pre></body></html>
"""
Points = list[tuple[datetime, float]]


@dataclass(frozen=True)
class Plane:
    """Hours of a day and kW to places on the page."""

    lowest: float
    highest: float

    def x(self, hours: float) -> float:
        """Return the place of an hour of the day."""
        return LEFT + min(max(hours, 0), HOURS) / HOURS * (WIDTH - LEFT - RIGHT)

    def y(self, load_kw: float) -> float:
        """Return the place of a load."""
        share = (load_kw - self.lowest) / (self.highest - self.lowest)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def html(drawn: str, asked: Asked, told: str) -> str:
    """Return a page with the picture and the tables, which needs nothing else."""
    return PAGE.format(title=escape(_title(asked)), svg=drawn, text=escape(told))


def svg(asked: Asked, one: Object) -> str:
    """Return the picture of one resource."""
    days = _days(asked, one)
    grid = asked.request.grid
    before, after = (_baseline(asked, one, name) for name in ("baseline_unadjusted_kw", "baseline_kw"))
    today = days.pop(asked.request.calendar.day_of(asked.event.start), [])
    used = {day: points for day, points in days.items() if str(day) in one["days_used"]}
    others = {day: points for day, points in days.items() if day not in used}
    plane, ticks = _plane([load for points in (*days.values(), today, before, after) for _, load in points])
    reasons = {excluded["day"]: excluded["reason"] for excluded in one["days_excluded"]}
    parts = [
        *_axes(asked, plane, ticks),
        *_shades(asked, plane),
        *(_line("pale", points, plane, grid, f"{day}: {reasons[str(day)]}") for day, points in others.items()),
        *(_line("used", points, plane, grid, f"{day}: used") for day, points in used.items()),
        _line("today", today, plane, grid, "the event's day"),
        _line("before", before, plane, grid, "baseline before the adjustment"),
        _line("after", after, plane, grid, "baseline"),
        *_legend(one, len(used), len(others)),
    ]
    title = escape(_title(asked) + (f", {one['resource']}" if "resource" in one else ""))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f'<style>{STYLE}</style><rect class="page" width="{WIDTH}" height="{HEIGHT}"/>'
        f'<text class="text title" x="{LEFT}" y="26">{title}</text>{"".join(parts)}</svg>\n'
    )


def _title(asked: Asked) -> str:
    ends = [moment.astimezone(asked.request.calendar.zone) for moment in (asked.event.start, asked.event.end)]
    changed = "" if asked.rule.is_the_rule else ", changed: not the rule"
    return f"{asked.rule.method} version {asked.rule.version}{changed}: {ends[0]:%a %Y-%m-%d %H:%M} to {ends[1]:%H:%M}"


def _days(asked: Asked, one: Object) -> dict[date, Points]:
    """Return the readings of the event's day and of the newest days told, by the local clock."""
    told = [date.fromisoformat(day) for day in one["days_used"][:MOST]]
    told += [date.fromisoformat(excluded["day"]) for excluded in one["days_excluded"][:MOST]]
    told.append(asked.request.calendar.day_of(asked.event.start))
    clock = by_clock(asked, one.get("resource", ONE)).filter(pl.col("day").is_in(told)).sort("wall")
    return {
        day: list(part.select("wall", "load_kw").iter_rows())
        for (day,), part in clock.partition_by("day", as_dict=True, include_key=True).items()
    }


def _baseline(asked: Asked, one: Object, name: str) -> Points:
    zone = asked.request.calendar.zone
    return [
        ((asked.event.start + place * asked.request.grid).astimezone(zone).replace(tzinfo=None), interval[name])
        for place, interval in enumerate(one["intervals"])
    ]


def _plane(loads: list[float]) -> tuple[Plane, list[float]]:
    """Return a plane that holds *loads*, and the marks of its axis: 1, 2 or 5 times a power of ten apart."""
    lowest, highest = (min(loads), max(loads)) if loads else (0.0, 1.0)
    spread = (highest - lowest) or abs(highest) or 1.0
    power = 10 ** math.floor(math.log10(spread / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= spread)
    first, last = math.floor(lowest / step), math.ceil(highest / step)
    last = last if last > first else first + 1
    return Plane(first * step, last * step), [mark * step for mark in range(first, last + 1)]


def _axes(asked: Asked, plane: Plane, ticks: list[float]) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in ticks:
        y = plane.y(tick)
        yield f'<path class="rule" d="M{LEFT} {y:.1f}H{right}"/>'
        yield f'<text class="text small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,.10g}</text>'
    for hour in range(0, HOURS + 1, 3):
        x = plane.x(hour)
        yield f'<path class="frame" d="M{x:.1f} {bottom}v5"/>'
        yield f'<text class="text small" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{hour:02}:00</text>'
    yield f'<path class="frame line" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    zone = escape(asked.request.calendar.timezone)
    middle = (LEFT + right) / 2
    yield f'<text class="text" x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">local time of day, {zone}</text>'
    cut = "" if plane.lowest <= 0 <= plane.highest else " (the axis does not begin at 0)"
    place = f'x="20" y="{(TOP + bottom) / 2}" transform="rotate(-90 20 {(TOP + bottom) / 2})"'
    yield f'<text class="text" {place} text-anchor="middle">load, kW{cut}</text>'


def _shades(asked: Asked, plane: Plane) -> Iterator[str]:
    start, end = (
        _hours(moment.astimezone(asked.request.calendar.zone)) for moment in (asked.event.start, asked.event.end)
    )
    end = end or float(HOURS)
    parameters = asked.rule.parameters
    if isinstance(parameters, DayMatching | Regression) and parameters.adjustment != "none":
        yield _shade("adjust", plane, start - parameters.adjust_from_hours, start - parameters.adjust_to_hours)
    yield _shade("event", plane, start, end)


def _shade(kind: str, plane: Plane, first: float, last: float) -> str:
    x, width = plane.x(first), max(plane.x(last) - plane.x(first), 0)
    return f'<rect class="{kind}" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'


def _hours(moment: datetime) -> float:
    return moment.hour + moment.minute / 60 + moment.second / 3600


def _line(kind: str, points: Points, plane: Plane, grid: timedelta, title: str) -> str:
    """Return readings as steps, each as long as its interval; where one is missing the line ends."""
    drawn, expected = [], None
    for wall, load in points:
        x, y = plane.x(_hours(wall)), plane.y(load)
        joined = wall == expected
        drawn.append(
            f"{'V' if joined else f'M{x:.1f} '}{y:.1f}H{plane.x(_hours(wall) + grid.total_seconds() / 3600):.1f}"
        )
        expected = wall + grid
    return f'<path class="line {kind}" d="{"".join(drawn)}"><title>{escape(title)}</title></path>'


def _legend(one: Object, used: int, others: int) -> Iterable[str]:
    """Return the names of what is drawn, in two rows."""
    told = ((len(one["days_used"]), used), (len(one["days_excluded"]), others))
    counts = [f"{drawn}" if drawn == all_ else f"{drawn} of {all_}" for all_, drawn in told]
    entries = (
        ("today", "event's day"),
        ("used", f"days used ({counts[0]})"),
        ("pale", f"days not used ({counts[1]})"),
        ("before", "baseline before the adjustment"),
        ("after", "baseline"),
        ("event", "event hours"),
        ("adjust", "adjustment hours"),
    )
    for place, (kind, name) in enumerate(entries):
        x, y = LEFT + place % 4 * 215, 50 + place // 4 * 22
        if kind in {"event", "adjust"}:
            yield f'<rect class="{kind}" x="{x}" y="{y - 10}" width="26" height="12"/>'
        else:
            yield f'<path class="line {kind}" d="M{x} {y - 4}h26"/>'
        yield f'<text class="text small" x="{x + 33}" y="{y}">{name}</text>'

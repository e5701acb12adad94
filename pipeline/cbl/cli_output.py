"""Answers as JSON objects and as text. Pure; the objects' keys are what other programs read."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import polars as pl

from pipeline.cbl import performance
from pipeline.cbl.answer import NOT_KEPT, Answer
from pipeline.cbl.cli_request import Asked
from pipeline.cbl.request import ONE
from pipeline.cbl.rule import DayMatching, contract_of
from pipeline.tables import columns

#: Where a rule makes no adjustment.
UNADJUSTED = {"kind": "none", "raw": None, "applied": 1.0, "capped": False}
FIGURES = ("baseline_unadjusted_kw", "baseline_kw", "load_kw", "reduction_kw")
PROMISED = ("nominated_kw", "delivered_kw", "ratio")
#: Width of a column of kW.
KW_WIDE = 13
Object = dict[str, Any]


def objects(asked: Asked, answer: Answer) -> list[Object]:
    """Return one object a resource, in order of their names."""
    return [_object(asked, answer, name) for name in asked.request.loads["resource"].unique().sort().to_list()]


def _object(asked: Asked, answer: Answer, resource: str) -> Object:
    intervals, days, adjustments, shortfalls = (
        frame.filter(pl.col("resource") == resource)
        for frame in (answer.intervals, answer.days, answer.adjustments, answer.shortfalls)
    )
    newest = days.sort("day", descending=True)
    short = shortfalls.select("need", "have", "what").to_dicts()
    adjustment = adjustments.select("kind", "raw", "applied", "capped").to_dicts()
    contract, promised = contract_of(asked.rule.parameters), _promised(asked, intervals)
    return {
        **({} if resource == ONE else {"resource": resource}),
        "method": asked.rule.method,
        "version": asked.rule.version,
        "engine": asked.engine,
        "is_the_rule": asked.rule.is_the_rule,
        "changed": list(asked.rule.changed),
        **({"contract": contract} if contract else {}),
        "verified": asked.rule.verified,
        "timezone": asked.request.calendar.timezone,
        "days_used": [str(day) for day in newest.filter("used")["day"]],
        "days_excluded": [
            {"day": str(day), "reason": reason}
            for day, reason in newest.filter(~pl.col("used")).select("day", "reason").iter_rows()
        ],
        "adjustment": adjustment[0] if adjustment else UNADJUSTED,
        "intervals": [
            {"start": local(asked, start), **dict(zip(FIGURES, figures, strict=True))}
            for start, *figures in intervals.sort("start").select("start", *FIGURES).iter_rows()
        ],
        **({"performance": promised} if promised else {}),
        "warnings": [*asked.warnings, *_warnings(asked, intervals, adjustment, days)],
        **({"shortfall": short[0]} if short else {}),
    }


def _promised(asked: Asked, intervals: pl.DataFrame) -> list[Object]:
    """Return what was nominated and delivered in each interval; nothing where no firm level is set."""
    found = performance.of_level(asked.rule.parameters, intervals).sort("start")
    return [
        {"start": local(asked, start), **dict(zip(PROMISED, figures, strict=True))}
        for start, *figures in found.select("start", *PROMISED).iter_rows()
    ]


def local(asked: Asked, instant: datetime) -> str:
    """Return what clocks show at *instant*, with their offset."""
    return instant.astimezone(asked.request.calendar.zone).isoformat()


def _warnings(asked: Asked, intervals: pl.DataFrame, adjustment: list[Object], days: pl.DataFrame) -> Iterator[str]:
    """Return what must be said of the figures of one resource."""
    if len(intervals):
        yield from _few_days(asked, days)
    if unmetered := intervals["load_kw"].null_count():
        yield f"{unmetered} of the event's {len(intervals)} intervals were not metered: no reduction is told for them"
    if adjustment and adjustment[0]["kind"] != "none" and adjustment[0]["raw"] is None:
        yield "no adjustment was made: the unadjusted baseline is zero in the adjustment hours"


def _few_days(asked: Asked, days: pl.DataFrame) -> Iterator[str]:
    """Tell of a pool of fewer days than the rule asks for, or of fewer days kept than it keeps."""
    parameters = asked.rule.parameters
    if not isinstance(parameters, DayMatching):
        return
    calendar = asked.request.calendar
    business = calendar.is_business_day(calendar.day_of(asked.event.start))
    wanted, kept = (parameters.days, parameters.k) if business else (parameters.other_days, parameters.other_k)
    used = int(days["used"].sum())
    have = used + days.filter(pl.col("reason") == NOT_KEPT).height
    filled = days.filter("used", pl.col("day").is_in(_called(asked).implode())).height
    if wanted is not None and have < wanted:
        yield f"only {have} of {wanted} like days were found within {parameters.look_back_days} days of the event"
    elif parameters.keep in {"highest", "nearest"} and kept is not None and used < kept:
        yield f"only {used} of {kept} days to keep were found within {parameters.look_back_days} days of the event"
    if parameters.fill_up and filled:
        yield f"{filled} of the days used are event or outage days, for want of others"


def _called(asked: Asked) -> pl.Series:
    """Return the days of events and outages."""
    return pl.concat([asked.request.event_days["day"], asked.request.outage_days["day"]])


def json_text(found: list[Object]) -> str:
    """Return the one object, or those of several resources under `resources`."""
    return json.dumps(found[0] if len(found) == 1 else {"resources": found}, indent=2, allow_nan=False)


def text(asked: Asked, found: list[Object]) -> str:
    """Return the figures to read, a block a resource."""
    ends = " to ".join(local(asked, moment) for moment in (asked.event.start, asked.event.end))
    rule = asked.rule
    return "\n".join(
        [
            f"{rule.method} version {rule.version} ({rule.venue or 'our own'}): {rule.title}",
            f"event {ends}, engine {asked.engine}",
            *(line for one in found for line in ("", *block(one, asked.request.grid.total_seconds() / 3600))),
        ]
    )


def block(one: Object, hours: float) -> Iterator[str]:
    """Return the lines of one resource; *hours* is the length of its intervals."""
    if "resource" in one:
        yield f"resource {one['resource']}"
    if "shortfall" in one:
        yield "no baseline: need {need} {what}, have {have}".format(**one["shortfall"])
    if one["intervals"]:
        yield from figures(one["intervals"])
        yield from ("", _energy(one["intervals"], hours), f"adjustment     {_adjustment(one['adjustment'])}")
    if "contract" in one:
        yield f"contract       {', '.join(f'{name} = {figure:g}' for name, figure in one['contract'].items())}"
    for each in one.get("performance", ()):
        ratio = "–" if each["ratio"] is None else f"{each['ratio']:.6f}"
        delivered = f"delivered {number(each['delivered_kw'])} of {number(each['nominated_kw'])} kW nominated"
        yield f"{each['start']}  {delivered}, ratio {ratio}"
    if one["days_used"]:
        yield f"days used      {', '.join(one['days_used'])}"
    yield from (f"day not used   {excluded['day']}  {excluded['reason']}" for excluded in one["days_excluded"])
    yield from (f"warning        {warning}" for warning in one["warnings"])


def figures(intervals: list[Object]) -> Iterator[str]:
    """Return a table: one line an interval, kW."""
    heads = [head.rjust(KW_WIDE) for head in ("unadjusted kW", "baseline kW", "load kW", "reduction kW")]
    rows = [[one["start"], *(number(one[name]).rjust(KW_WIDE) for name in FIGURES)] for one in intervals]
    return columns(("start", *heads), *rows)


def number(value: float | None) -> str:
    """Return kW with watts; what is not known is a dash."""
    return "–" if value is None else f"{value:.3f}"


def _energy(intervals: list[Object], hours: float) -> str:
    known = [one["reduction_kw"] for one in intervals if one["reduction_kw"] is not None]
    count = f"over {len(known)} of {len(intervals)} intervals" if len(known) < len(intervals) else "over the event"
    return f"reduction      {sum(known) * hours:.3f} kWh {count}"


def _adjustment(told: Object) -> str:
    if told["kind"] == "none":
        return "none"
    unit = " kW" if told["kind"] == "additive" else ""
    raw = "undefined" if told["raw"] is None else f"{told['raw']:.6f}{unit}"
    return f"{told['kind']} {raw}, applied {told['applied']:.6f}{unit}{' (capped)' if told['capped'] else ''}"

"""Small builders for the rule layer and the gate: a situation in which the builders' offer leaves by itself."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from doubles.builders import GATE_MARGIN, NOON, offer, rules

from bidding.gate.control import Halted, Resumed, Source
from bidding.gate.quality import Observation, State, Trust
from bidding.gate.settings import Limits
from bidding.gate.situation import Flexibility, Situation
from bidding.offers import offer_id
from bidding.products import Rules
from bidding.rules import Refusal
from bidding.signing import public_bytes
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep

DAY = Interval(datetime(2026, 7, 23, 7, tzinfo=UTC), datetime(2026, 7, 24, 7, tzinfo=UTC))
"""23 July 2026 in Los Angeles."""
KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate("abc", start=1)}
APPROVERS = {name: public_bytes(key) for name, key in KEYS.items()}
ACTIVE = Trust(State.ACTIVE, None, Observation(NOON, 0.0, 1.0))
REDUCING = Trust(State.REDUCING, None, Observation(NOON, 0.3, 1.0))
HALTED = Trust(State.HALTED, None, Observation(NOON, 0.6, 1.0))


def flexibility(firm_mw: float = 1.0, ramp_kw_per_s: float = 100.0, deferrable_mwh: float = 10.0) -> Flexibility:
    """Return a site that is as firm all day."""
    return Flexibility(
        firm_kw={DAY: firm_mw * 1000},
        firm_up_kw={DAY: firm_mw * 1000},
        ramp_kw_per_s=ramp_kw_per_s,
        deferrable_kwh=deferrable_mwh * 1000,
    )


def situation(*products: Rules, **changes: object) -> Situation:
    """Return a situation of one site, 1 MW firm, nothing standing, telemetry whole, two approvers and a third."""
    known = Situation(
        now=NOON,
        products={(each.venue, each.product): each for each in products or (rules(),)},
        flexibility={"site-1": flexibility()},
        timezone="America/Los_Angeles",
        margin=GATE_MARGIN,
        trust=ACTIVE,
        approvers=APPROVERS,
    )
    return replace(known, **changes)  # type: ignore[arg-type] # field by field as declared


def limits(**changes: object) -> Limits:
    """Return the default limits with *changes*; amounts may be text."""
    amounts = {n: Decimal(a) if isinstance(a, str) and n != "worst_price" else a for n, a in changes.items()}
    return Limits(**amounts)  # type: ignore[arg-type] # key by key as declared


def minutes(begin: int, length: int = 1, *, day: datetime = NOON) -> Interval:
    """Return the interval from so many minutes after noon on."""
    return Interval(day + timedelta(minutes=begin), day + timedelta(minutes=begin + length))


def other(*steps: OfferStep, **changes: object) -> Offer:
    """Return the builders' offer with *changes* and the id that belongs to them."""
    made = offer(*steps, **changes)  # type: ignore[arg-type] # the builder's own
    key = offer_id(made.resource, made.venue, made.product, made.interval, made.revision)
    return made.model_copy(update={"offer_id": key})


def halt(at: datetime = NOON, source: Source = Source.RECORD) -> Halted:
    """Return the halt of one switch."""
    return Halted(by="Ada", at=at, why="wrong prices", source=source)


def resume(at: datetime = NOON, *, data_well: bool = True) -> Resumed:
    """Return a person's word to go on."""
    return Resumed(by="Grace", at=at, why="prices are right again", data_well=data_well)


def named(cases: Mapping[str, object], rules_there: tuple[object, ...]) -> tuple[set[str], set[str]]:
    """Return the names of the rules without a case, and of the cases without a rule."""
    names = {getattr(rule, "__name__", "") for rule in rules_there}
    return names - set(cases), set(cases) - names


def table() -> dict[str, tuple[str, str]]:
    """Return what the gate's README says of every rule: what it asks, and its source."""
    lines = (Path(__file__).parents[2] / "bidding" / "gate" / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): (row[1], row[2]) for row in rows if len(row) == 3}


def written_down(rule: object, refusal: Refusal) -> bool:
    """Tell whether the README has the rule's own words and a source that its refusal names."""
    text, source = table()[getattr(rule, "__name__", "")]
    figures = re.findall(r"`([^`]*)`", source) if not source.startswith("the duty's") else [": "]
    own = (rule.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return text == own and any(figure in refusal.source for figure in figures or ["firmwatt"])

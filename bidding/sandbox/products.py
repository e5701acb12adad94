"""
The products of the sandbox's own making, cut from its settings.

| name | promise |
|---|---|
| energy-dr | reduction against a baseline, real time |
| spin, non-spin, contingency, fast | MW held ready for a call |
| reg-up, reg-down | MW that follow a signal |
| NAME-da (energy-da, spin-da …) | the same, by the hour, sold the day before |
"""

from collections.abc import Iterable
from datetime import time
from decimal import Decimal
from typing import Any

from bidding.sandbox.gates import Gate
from bidding.sandbox.rules import PRODUCT, REGULATION, Family, Rules, Trading
from pipeline.errors import ConfigError

S_PER_HOUR, S_PER_DAY = 3600, 86_400
DAY_AHEAD = "-da"
DAYS_OPEN = 7

RESERVE_ROUNDING = (
    "capacity_amount = MW x hours x price (x score for regulation), exact, then half to even to the cent",
    "mileage_amount = MW x mileage x mileage_price x score, score and mileage of six decimals, then the same",
    "shortfall_amount = -(shortfall_kwh / 1000 x price x shortfall_factor), exact, then the same",
)
_RESERVE_SOURCES = (
    "min_mw: PJM reserves and regulation, general knowledge, unverified against the manuals",
    "price_cap: CAISO ancillary services, general knowledge, unverified against the tariff",
    "max_steps: ERCOT EWS BidSet schema, five blocks of an ancillary service offer",
    "block_mw, price_floor, shortfall_factor, notice_s, interval_s, gate_closure_s, horizon_s: simulated",
    "other bidders, requirements, prices, calls, regulation signal, mileage price: simulated",
)
_RESERVE: dict[str, Any] = {
    "max_steps": 5,
    "per": "MW-h",
    "price_cap": Decimal(250),
    "baseline_method": "",
    "rounding": RESERVE_ROUNDING,
    "penalty": "a called interval pays back what was not delivered, at the interval's price times shortfall_factor",
}


_SCORED = {"telemetry_s": 4, "penalty": "an hour scored below 0.25 earns nothing"}


def _reserve(family: Family, title: str, response_s: float, duration_s: float, timing: str) -> dict[str, Any]:
    return _RESERVE | {
        "family": family,
        "title": title,
        "response_s": response_s,
        "duration_s": duration_s,
        "sources": (*_RESERVE_SOURCES, f"response_s, duration_s: {timing}, general knowledge, unverified"),
        "unverified": ("min_mw", "price_cap", "response_s", "duration_s"),
    }


#: What each product has in place of energy-dr's figures.
OTHERS: dict[str, dict[str, Any]] = {
    "spin": _reserve(Family.SPINNING, "Spinning reserve", 600, 1800, "CAISO spinning reserve"),
    "non-spin": _reserve(Family.NON_SPINNING, "Non-spinning reserve", 600, 1800, "CAISO non-spinning reserve"),
    "reg-up": _reserve(Family.REGULATION_UP, "Regulation up", 300, S_PER_HOUR, "ERCOT regulation") | _SCORED,
    "reg-down": _reserve(Family.REGULATION_DOWN, "Regulation down", 300, S_PER_HOUR, "ERCOT regulation") | _SCORED,
    "fast": _reserve(Family.FAST, "Fast frequency response", 1, 900, "GB Dynamic Containment, ERCOT FFR's 15 min"),
    "contingency": _reserve(Family.CONTINGENCY, "Contingency reserve", 600, S_PER_HOUR, "ERCOT ECRS"),
}
NAMES = (PRODUCT, *OTHERS)
ALL = (*NAMES, "energy-da")
"""What `all` stands for: the real-time products and energy by the hour, the day before."""


def named(text: str) -> tuple[str, ...]:
    """Return the products that a list with commas names; raise `ConfigError` for one that is not known."""
    names = ALL if text.strip() == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    known = (*NAMES, "energy-da", *(f"{name}{DAY_AHEAD}" for name in OTHERS))
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        complaint = f"{unknown[0]!r} is not known" if unknown else "name each once, and at least one"
        raise ConfigError(f"[sandbox] products: {complaint}; there are all, {', '.join(known)}")
    return names


def build(names: Iterable[str], energy: Rules, day_ahead_at: time, signal_s: int) -> tuple[Rules, ...]:
    """Return the rules of *names*, cut from those of real-time *energy*."""
    return tuple(_built(name, energy, day_ahead_at, signal_s) for name in names)


def _built(name: str, energy: Rules, day_ahead_at: time, signal_s: int) -> Rules:
    ahead = name.endswith(DAY_AHEAD)
    changes = {"product": name, **OTHERS.get(name.removesuffix(DAY_AHEAD), {})}
    if changes.get("family") in REGULATION:
        changes["signal_s"] = signal_s
    if ahead:
        changes |= {
            "trading": Trading.DAY_AHEAD,
            "interval_s": S_PER_HOUR,
            "closes": Gate(days_before=1, at=day_ahead_at),
            "opens": Gate(days_before=DAYS_OPEN, at=time()),
            "gate_closure_s": S_PER_DAY - (day_ahead_at.hour * 60 + day_ahead_at.minute) * 60,
            "horizon_s": DAYS_OPEN * S_PER_DAY,
        }
    return energy.model_copy(update=changes)

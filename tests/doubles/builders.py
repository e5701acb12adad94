"""Small builders for bidding's tests: a venue's rules, a site of one pool per tier, an offer, an award."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bidding.capacity import Window
from bidding.entries import Intent
from bidding.offers import Terms, offer_id
from bidding.pricing import TierCost
from bidding.products import Rules
from bidding.submit import Patience
from pipeline.interval import Interval
from pipeline.messages.market import Award, Offer, OfferStep
from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, SiteCapacity, Tier, Workload
from pipeline.tiers import FLOOR_SHARE

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
GATE_MARGIN = 2 * SECOND
#: Five minutes after noon: far enough ahead for any gate.
INTERVAL = Interval(NOON + 5 * MINUTE, NOON + 6 * MINUTE)
MAX_W = 1000.0


def rules(**changes: object) -> Rules:
    """Return the rules of a small venue: minutes, blocks of 10 kW, gate 20 s before, open 10 minutes before."""
    published: dict[str, object] = {
        "venue": "sandbox",
        "product": "energy-dr",
        "timezone": "America/Los_Angeles",
        "interval_s": 60,
        "block_mw": "0.01",
        "min_mw": "0.05",
        "max_steps": 10,
        "price_tick": "0.01",
        "price_floor": "0",
        "price_cap": "1000",
        "currency": "USD",
        "gate_closure_s": 20,
        "horizon_s": 600,
        "baseline_method": "caiso-10-in-10",
        "shortfall_factor": "1.5",
        "energy_decimals": 3,
        "sources": ("simulated",),
    }
    return Rules.model_validate(published | changes)


def pool(tier: Tier, power_kw: float, relief_kw: float, tokens_per_s: float | None = 1000.0) -> PoolLoad:
    """
    Return a pool that lets *relief_kw* go at its tier's floor, in a straight line from no cap down to there.

    One GPU of 1 000 W for each kW, so that shares of the limit are shares of a kW.
    """
    floor = FLOOR_SHARE[tier]
    reach = 1 - floor or 1.0
    return PoolLoad(
        tier=tier,
        workload=Workload.INFERENCE,
        gpu_model="H100",
        gpus=max(1, round(power_kw)),
        power_kw=power_kw,
        relief_kw=tuple(
            relief_kw * min(1.0, (1 - share) / reach) if tier is not Tier.T0 else 0.0 for share in CAP_SHARES
        ),
        max_w=MAX_W,
        tokens_per_s=tokens_per_s,
    )


def capacity(as_of: datetime, *pools: PoolLoad, load_kw: float | None = None, **changes: object) -> SiteCapacity:
    """Return a whole, fresh capacity message; the load is that of the pools unless given."""
    fields: dict[str, object] = {
        "site": "site-1",
        "as_of": as_of,
        "known_at": as_of,
        "partitions": 8,
        "partitions_expected": 8,
        "hosts": 100,
        "hosts_stale": 0,
        "gpus": sum(p.gpus for p in pools),
        "load_kw": sum(p.power_kw for p in pools) if load_kw is None else load_kw,
        "pools": pools,
        "ticks_open": 0,
        "age_p50_ms": 500.0,
        "age_p99_ms": 900.0,
        "simulated": True,
    }
    return SiteCapacity(**(fields | changes))  # type: ignore[arg-type] # keyword by keyword as declared


def costs(**by_tier: str) -> Mapping[Tier, TierCost]:
    """Return costs of nothing but a service credit, $/MWh by tier: `costs(T3="10")`."""
    return {
        Tier(tier): TierCost(price_per_million_tokens=Decimal(0), service_credit_per_mwh=Decimal(credit))
        for tier, credit in by_tier.items()
    }


def window(confidence: float = 0.95) -> Window:
    """Return 20 s of evidence in slots of 2 s, before a tail of 10 s."""
    return Window(confidence, length=20 * SECOND, slot=2 * SECOND, max_age=10 * SECOND)


def patience(milliseconds: float, request_s: float = 30.0, least_s: float = 0.0) -> Patience:
    """Return the patience of a test: so long between questions, and 2 s before the gate."""
    span = timedelta(milliseconds=milliseconds)
    return Patience(retry=span, in_flight=span, gate_margin=GATE_MARGIN, request_s=request_s, least_s=least_s)


def terms(**changes: object) -> Terms:
    """Return terms that sell T3 at 10, T2 at 20 and T1 at 30 $/MWh, without margin."""
    fields: dict[str, object] = {
        "resource": "r1",
        "site": "site-1",
        "costs": costs(T3="10", T2="20", T1="30"),
        "margin": Decimal(0),
        "window": window(),
    }
    return Terms(**(fields | changes))  # type: ignore[arg-type] # keyword by keyword as declared


def step(quantity_mw: str, price: str, tier: Tier = Tier.T3) -> OfferStep:
    """Return one step of a curve."""
    return OfferStep(
        quantity_mw=Decimal(quantity_mw),
        price_per_mwh=Decimal(price),
        tier=tier,
        tokens_forgone_per_mwh=Decimal(0),
        token_cost_per_mwh=Decimal(0),
        service_credit_per_mwh=Decimal(price),
        restart_cost_per_mwh=Decimal(0),
    )


def offer(*steps: OfferStep, interval: Interval = INTERVAL, **changes: object) -> Offer:
    """Return an offer that breaks no rule of `rules()` at noon."""
    fields: dict[str, object] = {
        "offer_id": offer_id("r1", "sandbox", "energy-dr", interval, 1),
        "resource": "r1",
        "site": "site-1",
        "venue": "sandbox",
        "product": "energy-dr",
        "interval": interval,
        "steps": steps or (step("0.1", "10"), step("0.2", "20", Tier.T2)),
        "currency": "USD",
        "as_of": NOON,
        "baseline_method": "caiso-10-in-10",
        "baseline_kw": 1000.0,
        "firm_kw": 305.0,
        "confidence": 0.95,
        "simulated": True,
    }
    return Offer.model_validate(fields | changes)


def intent(*offers: Offer, content: bytes = b"{}") -> Intent:
    """Return the intent to send *offers*, one by default, in *content*."""
    return Intent.of(offers or (offer(),), content)


def award(
    quantity_mw: str = "0.25", price: str = "100", interval: Interval = INTERVAL, offered: Offer | None = None
) -> Award:
    """Return the award of an offer."""
    return Award(
        award_id=f"a-{interval.start:%H%M}",
        offer_id=(offered or offer(interval=interval)).offer_id,
        resource="r1",
        product="energy-dr",
        interval=interval,
        quantity_mw=Decimal(quantity_mw),
        price_per_mwh=Decimal(price),
        currency="USD",
        awarded_at=interval.start - timedelta(seconds=20),
    )

"""Problems for tests: hours from noon on, products of round figures, steps that cost what the test says."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

from doubles import builders
from doubles.builders import NOON

from bidding.portfolio.model import Flexibility, Prices, Problem, Scenario, Series, Slot, Step
from bidding.products import Family, Rules
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier

HOUR = timedelta(hours=1)


def hours(count: int) -> tuple[Interval, ...]:
    """Return *count* hours from noon."""
    return tuple(Interval(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in range(count))


def product(name: str, family: Family = Family.ENERGY, **changes: object) -> Rules:
    """Return an hourly product: whole MW/10, five steps, prices 0 to 1000, a missing MWh costs its price once."""
    figures: dict[str, object] = {
        "product": name,
        "family": family,
        "interval_s": 3600,
        "block_mw": "0.1",
        "min_mw": "0.1",
        "max_steps": 5,
        "shortfall_factor": "1",
        "gate_closure_s": 300,
        "horizon_s": 7 * 86400,
    }
    return builders.rules(**(figures | changes))


def step(power_mw: float, cost: str = "0", tier: Tier = Tier.T3, confidence: float = 0.999999) -> Step:
    """Return a step that is as good as sure to be there, unless said otherwise; tokens at a dollar a million."""
    return Step(
        tier=tier,
        confidence=confidence,
        firm_kw=power_mw * 1000,
        tokens_per_mwh=Decimal(cost) * 1_000_000,
        token_cost_per_mwh=Decimal(cost),
    )


def flexibility(*rows: Sequence[Step], **limits: object) -> Flexibility:
    """Return what can be let go in as many hours as there are *rows*; `up_mw` can be taken on."""
    up_mw = limits.pop("up_mw", 0.0)
    assert isinstance(up_mw, (int, float))
    slots = tuple(
        Slot(interval=interval, steps=tuple(row), up_kw=up_mw * 1000)
        for interval, row in zip(hours(len(rows)), rows, strict=True)
    )
    return Flexibility.model_validate({"slots": slots} | limits)


def scenario(
    probability: float = 1.0,
    called: Mapping[str, float] | None = None,
    name: str = "s",
    **prices: Sequence[float | None],
) -> Scenario:
    """Return a scenario of hourly prices by product, such as `scenario(0.5, energy=[20, 80])`."""
    return scenario_of(prices, probability, called, name)


def scenario_of(
    prices: Mapping[str, Sequence[float | None]],
    probability: float = 1.0,
    called: Mapping[str, float] | None = None,
    name: str = "s",
) -> Scenario:
    """Return a scenario of products whose names are no Python names."""
    series = {
        product: Series(price=tuple(row), called=(called[product],) * len(row) if called and product in called else ())
        for product, row in prices.items()
    }
    return Scenario(name=name, probability=probability, series=series)


def problem(
    flexible: Flexibility, scenarios: Sequence[Scenario], products: Sequence[Rules], **changes: object
) -> Problem:
    """Return the problem of selling *flexible* as *products*; steps of any confidence are for sale unless said."""
    first = next(iter(scenarios[0].series.values()))
    figures: dict[str, object] = {
        "resource": "r1",
        "site": "site-1",
        "flexibility": flexible,
        "prices": Prices(intervals=hours(len(first.price)), scenarios=tuple(scenarios), source="test", simulated=True),
        "products": {rules.product: rules for rules in products},
        "confidence": 0.01,
    }
    return Problem.model_validate(figures | changes)

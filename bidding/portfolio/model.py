"""
What an offer builder is given and what it answers: frozen values, and the one function of a strategy.

How money is counted, for every strategy and every back-test alike (`value.worth`):

- A step is taken in a scenario if its price is not above the scenario's clearing price of that product and interval;
  everything taken is paid the clearing price.
- Energy that is taken is owed in full. A reserve that is taken is paid per MW and hour for standing ready; of its MWh
  the scenario's `called` share is owed, paid at `activation` on top.
- What is owed and there is delivered, and costs its step's tokens, credits and restarts. What is owed and missing is
  not paid and costs the product's `shortfall_factor` times the clearing price; a reserve that is called at all while
  its power is missing is not paid for the interval.
- Whether a step's power is there is one draw for the whole day: a step of confidence c is there in a share c of days,
  and whenever a step of lower confidence is. With the firmest step missed nothing is there: how much would be is not
  known.

Forecast prices and kilowatts are float, because they are statistics; MW offered, offer prices and money are Decimal.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Protocol, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from bidding.products import Family, Rules
from pipeline.interval import Interval
from pipeline.messages.market import Document
from pipeline.messages.telemetry import Tier


class Step(Document):
    """Power of one tier that may be let go in an interval, beyond the steps before it, and what a MWh of it costs."""

    tier: Tier
    confidence: float = Field(gt=0, lt=1)
    """The probability that this power is there."""
    firm_kw: float
    """Added by this step; negative and NaN count as nothing."""
    tokens_per_mwh: Decimal
    """Tokens forgone or late…"""
    token_cost_per_mwh: Decimal
    """…and what they are worth, those only late left out."""
    service_credit_per_mwh: Decimal = Decimal(0)
    restart_cost_per_mwh: Decimal = Decimal(0)

    @property
    def cost_per_mwh(self) -> Decimal:
        """All that a MWh let go costs."""
        return self.token_cost_per_mwh + self.service_credit_per_mwh + self.restart_cost_per_mwh

    @property
    def power_kw(self) -> float:
        """Firm power that counts: never negative, nothing of a NaN."""
        return self.firm_kw if 0 < self.firm_kw < float("inf") else 0.0


class Slot(Document):
    """What can be let go, and taken on, over one interval of the plan."""

    interval: Interval
    steps: tuple[Step, ...] = ()
    """In the order in which they are let go: cheapest tier first, firmest first within a tier."""
    up_kw: float = 0.0
    """Load that can be taken on beyond the baseline: regulation down."""
    up_confidence: float = Field(default=0.95, gt=0, lt=1)
    """The probability that it can."""


class Flexibility(Document):
    """What a resource can do over the plan's intervals. A limit that is None does not bind."""

    slots: tuple[Slot, ...] = ()
    """In time order, without overlap; an interval that is missing has nothing to sell."""
    energy_mwh: Mapping[Tier, float] = Field(default_factory=dict)
    """Most that a tier may let go per local day, MWh: what can be caught up later. A tier left out is not bound."""
    all_called_mwh: float | None = None
    """Most that all promises of a local day may amount to if every one of them is called in full, MWh."""
    ramp_kw_per_min: float | None = None
    recovery_s: float = 0.0
    """Rest between the end of one reduction and the start of the next."""
    min_run_s: float = 0.0
    max_run_s: float | None = None
    max_calls_per_day: int | None = None
    """Separate reductions per local day."""
    up_cost_per_mwh: Decimal = Decimal(0)
    """What a MWh of load taken on costs, its energy included."""
    assumptions: tuple[str, ...] = ()
    """What is not measured here, in words: shown with every figure that rests on it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for earlier, later in pairwise(self.slots):
            if later.interval.start < earlier.interval.end:
                raise ValueError(f"slots overlap or are out of order at {later.interval.start.isoformat()}")
        return self


class Series(Document):
    """One product in one scenario, by interval of `Prices.intervals`."""

    price: tuple[float | None, ...]
    """Clearing price, money per MWh of energy, or per MW and hour of reserve; None: not known."""
    called: tuple[float, ...] = ()
    """Share of the reserve's MWh that is called, 0 to 1; left out: all of an energy product, nothing of a reserve."""
    activation: tuple[float, ...] = ()
    """Paid per MWh called, beside the price of standing ready; left out: nothing."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        for name in ("called", "activation"):
            if (have := len(getattr(self, name))) not in {0, len(self.price)}:
                raise ValueError(f"{name} has {have} intervals, price {len(self.price)}")
        if not all(0 <= share <= 1 for share in self.called):
            raise ValueError("called is a share, 0 to 1")
        return self


class Scenario(Document):
    """One way in which all products and intervals may turn out together: correlation is in the drawing of it."""

    name: str
    probability: float = Field(ge=0, le=1)
    series: Mapping[str, Series]
    """By product name."""


class Prices(Document):
    """
    What may happen. Probabilities may add up to less than 1.

    What is missing to 1 counts as a day on which everything offered is taken, called in full and paid nothing, so that
    a scenario that got lost never makes an offer look better.
    """

    intervals: tuple[Interval, ...]
    scenarios: tuple[Scenario, ...]
    source: str = ""
    """Where the forecast comes from, in words."""
    simulated: bool = False

    @model_validator(mode="after")
    def _even(self) -> Self:
        for earlier, later in pairwise(self.intervals):
            if later.start != earlier.end or later.length != earlier.length:
                raise ValueError(f"intervals differ in length or leave a gap at {later.start.isoformat()}")
        if (total := sum(scenario.probability for scenario in self.scenarios)) > 1 + 1e-9:
            raise ValueError(f"probabilities add up to {total}")
        for scenario in self.scenarios:
            for product, series in scenario.series.items():
                if len(series.price) != len(self.intervals):
                    raise ValueError(
                        f"{scenario.name}/{product}: {len(series.price)} prices, {len(self.intervals)} intervals"
                    )
        return self


class Obligation(Document):
    """Mandatory curtailment: power that has to be kept ready, or that bars sale altogether."""

    interval: Interval
    reserved_mw: Decimal
    source: str
    """The rule behind it."""
    bars_sale: bool = False
    """Nothing may be sold in this interval, whatever is left."""


class Commitment(Document):
    """Already promised: an offer that stands or an award. Reserves its power and its energy."""

    product: str
    interval: Interval
    quantity_mw: Decimal


class Problem(Document):
    """All that a strategy may know. The plan's grid is that of `prices.intervals`."""

    resource: str
    site: str
    flexibility: Flexibility
    prices: Prices
    products: Mapping[str, Rules]
    """By product name, those to be considered."""
    obligations: tuple[Obligation, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    timezone: str = "UTC"
    """Of the local days that energy and calls are counted by."""
    confidence: float = 0.95
    """Steps of lower confidence are not sold."""
    risk_weight: float = Field(default=0.0, ge=0, le=1)
    """λ in (1 − λ) expected value + λ CVaR."""
    tail: float = Field(default=0.95, gt=0, lt=1)
    """CVaR is the mean of the worst 1 − `tail` of outcomes."""
    margin: Decimal = Decimal(0)
    """Least profit on top of cost, as a share of it."""
    reference: Flexibility | None = None
    """
    What there would be with nothing missing, from ratings and not from telemetry; None: `flexibility` is taken for it.

    The optimiser plans against it and sells no more of that plan than `flexibility` shows. Otherwise an hour that lost
    its telemetry would free the day's energy for another hour, and missing data would raise that hour's offer.
    """

    @property
    def hours(self) -> float:
        """Length of the plan's intervals, in hours."""
        return self.prices.intervals[0].hours if self.prices.intervals else 0.0

    def day(self, interval: Interval) -> date:
        """Return the local day that *interval* starts on."""
        return interval.start.astimezone(ZoneInfo(self.timezone)).date()


class PlannedStep(Document):
    """One step of a planned offer, and what stands behind its price."""

    quantity_mw: Decimal = Field(gt=0)
    price_per_mwh: Decimal
    tier: Tier
    confidence: float
    tokens_per_mwh: Decimal
    token_cost_per_mwh: Decimal
    service_credit_per_mwh: Decimal
    restart_cost_per_mwh: Decimal

    @property
    def cost_per_mwh(self) -> Decimal:
        """All that a MWh delivered costs."""
        return self.token_cost_per_mwh + self.service_credit_per_mwh + self.restart_cost_per_mwh


class Planned(Document):
    """What the plan offers of one product in one interval, cheapest step first."""

    product: str
    interval: Interval
    steps: tuple[PlannedStep, ...] = Field(min_length=1)

    @property
    def quantity_mw(self) -> Decimal:
        """All steps together."""
        return sum((step.quantity_mw for step in self.steps), Decimal(0))


class Bound(Document):
    """A limit, how much of it the plan uses, and where the limit comes from."""

    name: str
    """`firm power`, `energy of the day`, `ramp`, `duration`, `obligation` …"""
    where: str
    """The interval's start, the local day or the product that it holds for."""
    used: float
    limit: float
    unit: str
    source: str = ""

    @property
    def slack(self) -> float:
        """What is left, in `unit`."""
        return self.limit - self.used


class Note(Document):
    """Something the desk should know about the plan; `loud` is for what changed the plan against what was asked."""

    name: str
    detail: str
    loud: bool = False


class Plan(Document):
    """A portfolio of offers, and what it is worth on the problem's own scenarios."""

    strategy: str
    """The one that made it; a fall-back says its own name and why in `notes`."""
    offers: tuple[Planned, ...] = ()
    """By product, then by interval."""
    expected_value: Decimal = Decimal(0)
    cvar: Decimal = Decimal(0)
    scenario_values: tuple[Decimal, ...] = ()
    """By scenario of `Problem.prices`: the mean over what may be there that day."""
    bounds: tuple[Bound, ...] = ()
    """Limits that hold the plan back: those without slack."""
    notes: tuple[Note, ...] = ()

    @property
    def mwh_offered(self) -> Decimal:
        """Quantity times hours over all offers."""
        return sum((offer.quantity_mw * Decimal(repr(offer.interval.hours)) for offer in self.offers), Decimal(0))


class Strategy(Protocol):
    """One file in `bidding/portfolio/strategies`; the module is the strategy."""

    def plan(self, problem: Problem) -> Plan:
        """Return what to offer; pure, and equal problems give equal plans, byte for byte."""
        ...


def is_energy(rules: Rules) -> bool:
    """Tell whether the product is paid per MWh let go; all others are paid for standing ready."""
    return rules.family is Family.ENERGY


def is_up(rules: Rules) -> bool:
    """Tell whether the product wants more load, not less."""
    return rules.family is Family.REGULATION_DOWN

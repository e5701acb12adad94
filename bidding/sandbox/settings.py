"""``[sandbox]``: everything about the venue that can be chosen; each key is an option of `firmwatt sandbox` too."""

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from bidding.sandbox import rulefile
from bidding.sandbox.faults import Faults, FaultShares
from bidding.sandbox.market import Market
from bidding.sandbox.products import build, named
from bidding.sandbox.rules import PRODUCT, Rules
from pipeline.errors import ConfigError
from pipeline.settings import Section

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[int, Meta(ge=1)]

S_PER_DAY = 86_400

#: The settings that are figures of `Rules` for energy in real time.
OWN = (
    "timezone",
    "interval_s",
    "gate_closure_s",
    "horizon_s",
    "notice_s",
    "block_mw",
    "min_mw",
    "max_steps",
    "price_tick",
    "price_floor",
    "price_cap",
    "shortfall_factor",
    "energy_decimals",
)


class SandboxSettings(Section, frozen=True, kw_only=True):
    """Rules, faults and where to listen. Spans are seconds of the venue's clock unless said otherwise."""

    port: Annotated[int, Meta(ge=0, le=65_535, description="loopback port; 0 takes a free one")] = 0
    journal: Annotated[str, Meta(description="file that keeps the book across restarts; none: in memory")] = ""
    seed: Annotated[int, Meta(description="of the simulated bidders, demand and faults")] = 1
    timezone: Annotated[str, Meta(description="whose local days the market has")] = "America/Los_Angeles"

    lose_replies: Annotated[Share, Meta(description="share of requests applied but not answered")] = 0.0
    late_replies: Annotated[Share, Meta(description="share of requests answered late")] = 0.0
    late_s: Annotated[float, Meta(ge=0, description="how late, machine seconds")] = 2.0
    reject_share: Annotated[Share, Meta(description="share of offers turned down for no reason")] = 0.0
    partial_share: Annotated[Share, Meta(description="share of offers accepted in part")] = 0.0
    cancel_share: Annotated[Share, Meta(description="share of accepted offers taken back before their gate")] = 0.0
    cancel_after_s: Annotated[int, Meta(ge=0, description="how long after acceptance, or halfway to the gate")] = 5
    fault_queries: Annotated[bool, Meta(description="whether queries lose replies too")] = False

    products: Annotated[str, Meta(description="what is sold, with commas, or `all`; the first is the default")] = (
        PRODUCT
    )
    rules_of: Annotated[str, Meta(description="product file of a venue whose rules hold here instead")] = ""
    day_ahead_at: Annotated[str, Meta(description="local time at which the day-ahead gate closes")] = "10:00"
    call_share: Annotated[Share, Meta(description="share of intervals at which a contingency begins")] = 0.0
    call_s: Annotated[Seconds, Meta(description="how long a contingency lasts")] = 1800
    signal_s: Annotated[Seconds, Meta(description="spacing of regulation set-points: 2 or 4")] = 4
    mileage_price: Annotated[Decimal, Meta(description="per MW of regulation and unit of mileage")] = Decimal("0.50")

    interval_s: Annotated[Seconds, Meta(description="market interval; divides the hour")] = 60
    gate_closure_s: Annotated[Seconds, Meta(description="offers close this long before their interval")] = 20
    horizon_s: Annotated[Seconds, Meta(description="offers open this long before their interval")] = S_PER_DAY
    notice_s: Annotated[Seconds, Meta(description="instructions come this long before their interval")] = 10
    block_mw: Annotated[Decimal, Meta(description="quantity step")] = Decimal("0.01")
    min_mw: Annotated[Decimal, Meta(description="smallest offer")] = Decimal("0.1")
    max_steps: Annotated[int, Meta(ge=1, description="longest curve")] = 10
    price_tick: Annotated[Decimal, Meta(description="price step per MWh")] = Decimal("0.01")
    price_floor: Annotated[Decimal, Meta(description="lowest price per MWh, not negative")] = Decimal(0)
    price_cap: Annotated[Decimal, Meta(description="highest price per MWh")] = Decimal(2000)
    shortfall_factor: Annotated[Decimal, Meta(description="a missing MWh costs this many prices")] = Decimal(1)
    energy_decimals: Annotated[int, Meta(ge=0, le=12, description="kWh on statements")] = 6

    def __post_init__(self) -> None:
        """Refuse figures that contradict each other, with a `ConfigError`."""
        contradictions = {
            "interval_s must divide an hour": 3600 % self.interval_s != 0,
            "notice_s must be shorter than gate_closure_s: awards come before instructions": self.notice_s
            >= self.gate_closure_s,
            "horizon_s must be longer than gate_closure_s": self.horizon_s <= self.gate_closure_s,
            "block_mw, min_mw and price_tick must be positive": min(self.block_mw, self.min_mw, self.price_tick) <= 0,
            "price_floor must be at least 0 and below price_cap": not 0 <= self.price_floor < self.price_cap,
            "shortfall_factor and mileage_price must not be negative": min(self.shortfall_factor, self.mileage_price)
            < 0,
            "signal_s must be 2 or 4": self.signal_s not in {2, 4},
        }
        for text, holds in contradictions.items():
            if holds:
                raise ConfigError(f"[sandbox] {text}")
        named(self.products)
        self.day_ahead()
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(f"[sandbox] timezone {self.timezone!r} is not known; try America/Los_Angeles") from error

    def day_ahead(self) -> time:
        """Return the day-ahead gate; raise `ConfigError` where it is no time of day."""
        try:
            return time.fromisoformat(self.day_ahead_at)
        except ValueError as error:
            raise ConfigError(f"[sandbox] day_ahead_at {self.day_ahead_at!r} is no time of day as in 10:00") from error

    def market(self) -> Market:
        """Return what is sold, and how; raise `ConfigError` where `rules_of` cannot be read."""
        energy = self.rules()
        products = (
            rulefile.load(Path(self.rules_of), energy, self.signal_s)
            if self.rules_of
            else build(named(self.products), energy, self.day_ahead(), self.signal_s)
        )
        return Market(
            products=products,
            cancel_after_s=self.cancel_after_s,
            call_share=self.call_share,
            call_s=self.call_s,
            mileage_price=self.mileage_price,
        )

    def rules(self) -> Rules:
        """Return the rules of energy in real time."""
        return Rules(**{name: getattr(self, name) for name in OWN})

    def faults(self) -> Faults:
        """Return the faults to begin with."""
        return Faults(FaultShares(**{name: getattr(self, name) for name in FaultShares.model_fields}), self.seed)

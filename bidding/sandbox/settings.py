"""``[sandbox]``: everything about the venue that can be chosen; each key is an option of `firmwatt sandbox` too."""

from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from bidding.sandbox.faults import Faults, FaultShares
from bidding.sandbox.rules import Rules
from pipeline.errors import ConfigError
from pipeline.settings import Section

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[int, Meta(ge=1)]

S_PER_DAY = 86_400


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
    fault_queries: Annotated[bool, Meta(description="whether queries lose replies too")] = False

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
            "shortfall_factor must not be negative": self.shortfall_factor < 0,
        }
        for text, holds in contradictions.items():
            if holds:
                raise ConfigError(f"[sandbox] {text}")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(f"[sandbox] timezone {self.timezone!r} is not known; try America/Los_Angeles") from error

    def rules(self) -> Rules:
        """Return the market's rules."""
        return Rules(**{name: getattr(self, name) for name in Rules.model_fields if hasattr(self, name)})

    def faults(self) -> Faults:
        """Return the faults to begin with."""
        return Faults(FaultShares(**{name: getattr(self, name) for name in FaultShares.model_fields}), self.seed)

"""What the sandbox accepts, as data: published at `/v1/rules`, frozen with the journal."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from bidding.sandbox.wire import Wire
from pipeline.interval import floor

PRODUCT = "energy-dr"
VENUE = "sandbox"

SOURCES = (
    "min_mw, block_mw, max_steps, price_cap: CAISO PDR energy, general knowledge, unverified against the tariff",
    "price_floor: simulated; zero, because a reduction is never paid for by its seller here",
    "baseline: CAISO 10-in-10 with load point adjustment, tariff text as quoted in public code, unverified",
    "holidays: NERC off-peak holidays, general knowledge, unverified",
    "interval_s, gate_closure_s, horizon_s, notice_s, shortfall_factor, energy_decimals: simulated",
    "other bidders, demand, prices: simulated",
)

ROUNDING = (
    "energy(x): kWh half to even to energy_decimals + 3 places, then half to even to energy_decimals",
    "baseline_kwh = energy(mean x ratio); metered_kwh = energy(reading); awarded_kwh = energy(MW x 1000 x hours)",
    "delivered_kwh = min(max(baseline_kwh - metered_kwh, 0), awarded_kwh); shortfall_kwh = awarded_kwh - delivered_kwh",
    "energy_amount = delivered_kwh / 1000 x price, exact, then half to even to the cent",
    "shortfall_amount = -(shortfall_kwh / 1000 x price x shortfall_factor), exact, then half to even to the cent",
    "total = energy_amount + shortfall_amount",
)


class Rules(Wire):
    """One product's rules; energy in kWh, offers in MW, prices per MWh, spans in seconds of the venue's clock."""

    venue: str = VENUE
    product: str = PRODUCT
    timezone: str
    interval_s: int
    block_mw: Decimal
    min_mw: Decimal
    max_steps: int
    price_tick: Decimal
    price_floor: Decimal
    price_cap: Decimal
    currency: str = "USD"
    gate_closure_s: int
    horizon_s: int
    notice_s: int
    """A dispatch instruction appears this long before its interval starts."""
    baseline_method: str = "caiso-10-in-10"
    shortfall_factor: Decimal
    energy_decimals: int
    rounding: tuple[str, ...] = ROUNDING
    sources: tuple[str, ...] = SOURCES
    simulated: bool = True

    @property
    def interval(self) -> timedelta:
        """The market interval."""
        return timedelta(seconds=self.interval_s)

    def aligned(self, start: datetime, end: datetime) -> bool:
        """Tell whether [*start*, *end*) is one market interval; the grid starts at the Unix epoch."""
        return start == floor(start, self.interval) and end - start == self.interval

    def gate_closes(self, start: datetime) -> datetime:
        """Return the first instant at which an offer for the interval from *start* is too late."""
        return start - timedelta(seconds=self.gate_closure_s)

    def gate_opens(self, start: datetime) -> datetime:
        """Return the first instant at which an offer for the interval from *start* is taken."""
        return start - timedelta(seconds=self.horizon_s)

    def dispatched_at(self, start: datetime) -> datetime:
        """Return when the instruction for the interval from *start* is given."""
        return start - timedelta(seconds=self.notice_s)

    def decided_until(self, now: datetime) -> datetime:
        """Return the start of the first interval whose gate is still open at *now*."""
        return floor(now + timedelta(seconds=self.gate_closure_s), self.interval) + self.interval


class PublishedRules(Rules):
    """The rules as a client reads them, with the holidays of the years around now."""

    holidays: tuple[date, ...]

"""What the sandbox accepts of a product, as data: published at `/v1/products`, frozen with the journal."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from pydantic import Field

from bidding.sandbox.gates import Gate, Pause
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


class Family(StrEnum):
    """What kind of promise a product is."""

    ENERGY = "energy"
    SPINNING = "spinning"
    NON_SPINNING = "non_spinning"
    REGULATION_UP = "regulation_up"
    REGULATION_DOWN = "regulation_down"
    """More load, not less: it competes with no other product for the power that can be let go."""
    FAST = "fast"
    CONTINGENCY = "contingency"
    CAPACITY = "capacity"
    EMERGENCY = "emergency"


REGULATION = frozenset({Family.REGULATION_UP, Family.REGULATION_DOWN})


class Trading(StrEnum):
    """In which market a product is sold."""

    DAY_AHEAD = "day_ahead"
    REAL_TIME = "real_time"
    SEASON = "season"


class Shape(StrEnum):
    """How prices run along a curve."""

    RISING = "rising"
    FALLING = "falling"
    SINGLE = "single"


class Rules(Wire):
    """One product's rules; energy in kWh, offers in MW, prices per MWh, spans in seconds of the venue's clock."""

    venue: str = VENUE
    product: str = PRODUCT
    family: Family = Family.ENERGY
    trading: Trading = Trading.REAL_TIME
    title: str = ""
    timezone: str
    interval_s: int
    block_mw: Decimal
    min_mw: Decimal
    max_mw: Decimal | None = None
    max_steps: int
    max_points: int | None = None
    shape: Shape = Shape.RISING
    max_equal_steps: int | None = None
    price_tick: Decimal
    price_floor: Decimal
    price_cap: Decimal
    net_benefits_floor: Decimal | None = None
    currency: str = "USD"
    per: str = "MWh"
    """What a price is for: energy, or capacity held for an hour, `MW-h`."""
    response_s: float | None = None
    """From instruction to full delivery."""
    duration_s: float | None = None
    recovery_s: float | None = None
    max_calls_per_day: int | None = None
    telemetry_s: float | None = None
    signal_s: int | None = None
    """Spacing of regulation set-points."""
    gate_closure_s: int
    horizon_s: int
    closes: Gate | None = None
    opens: Gate | None = None
    pauses: tuple[Pause, ...] = ()
    max_document_bytes: int | None = None
    notice_s: int
    """A dispatch instruction for energy appears this long before its interval starts."""
    baseline_method: str = "caiso-10-in-10"
    shortfall_factor: Decimal
    penalty: str = ""
    energy_decimals: int
    rounding: tuple[str, ...] = ROUNDING
    sources: tuple[str, ...] = SOURCES
    cited: dict[str, str] = Field(default_factory=dict)
    unverified: tuple[str, ...] = ()
    simulated: bool = True

    @property
    def interval(self) -> timedelta:
        """The market interval."""
        return timedelta(seconds=self.interval_s)

    @property
    def hours(self) -> Fraction:
        """The market interval in hours, exact."""
        return Fraction(self.interval_s, 3600)

    @property
    def zone(self) -> ZoneInfo:
        """Where the market's days are."""
        return ZoneInfo(self.timezone)

    @property
    def closing(self) -> Gate:
        """The gate after which offers are too late."""
        return self.closes or Gate(before_s=self.gate_closure_s)

    def aligned(self, start: datetime, end: datetime) -> bool:
        """Tell whether [*start*, *end*) is one market interval; the grid starts at the Unix epoch."""
        return start == floor(start, self.interval) and end - start == self.interval

    def gate_closes(self, start: datetime) -> datetime:
        """Return the first instant at which an offer for the interval from *start* is too late."""
        return self.closing.instant(start, self.zone)

    def gate_opens(self, start: datetime) -> datetime:
        """Return the first instant at which an offer for the interval from *start* is taken."""
        return (self.opens or Gate(before_s=self.horizon_s)).instant(start, self.zone)

    def pause(self, now: datetime) -> Pause | None:
        """Return the pause that holds at *now*."""
        return next((pause for pause in self.pauses if pause.holds(now, self.zone)), None)

    def dispatched_at(self, start: datetime) -> datetime:
        """Return when the instruction for the interval from *start* is given."""
        return start - timedelta(seconds=self.notice_s)

    def decided_until(self, now: datetime) -> datetime:
        """Return the start of the first interval whose gate is still open at *now*."""
        return self.closing.passed_until(now, self.interval, self.zone)


class PublishedRules(Rules):
    """The rules as a client reads them, with the holidays of the years around now."""

    holidays: tuple[date, ...]


class Products(Wire):
    """Everything that is sold here, the default product first."""

    products: tuple[PublishedRules, ...]

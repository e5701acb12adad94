"""
What each venue buys, as data: one TOML file a venue, every figure cited. No strategy needs to ask which venue it is.

    bidding/products/acme.toml ─▶ load("acme", on) ─▶ {"spin": Rules, "energy-rt": Rules, …}   those in force that day

A figure's citation names a source of the file, and each source says whether it was read (`verified`). A figure that
could not be checked against its manual is thereby marked in the data; `Rules.unverified` lists them. `README.md` says
what a file holds, `catalogue` and `load` read it, `confirm` takes the operator's own figures, `show` prints.
"""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import Field

from pipeline.calendar import NERC_HOLIDAYS
from pipeline.interval import Interval
from pipeline.messages.market import Document


class Family(StrEnum):
    """What kind of promise a product is."""

    ENERGY = "energy"
    SPINNING = "spinning"
    NON_SPINNING = "non_spinning"
    REGULATION_UP = "regulation_up"
    """Less load on signal: up as the grid sees it."""
    REGULATION_DOWN = "regulation_down"
    """More load on signal."""
    FAST = "fast"
    """Full response within seconds of a frequency deviation."""
    CONTINGENCY = "contingency"
    CAPACITY = "capacity"
    EMERGENCY = "emergency"


class Trading(StrEnum):
    """Which of a venue's markets a product is traded in."""

    DAY_AHEAD = "day_ahead"
    REAL_TIME = "real_time"
    SEASON = "season"


class Shape(StrEnum):
    """What an offer's price-quantity curve has to look like."""

    RISING = "rising"
    """A supply offer: the price never falls."""
    FALLING = "falling"
    """A bid to buy load: the price never rises."""
    SINGLE = "single"
    """One price for all of it."""


class Gate(Document):
    """An instant of market time: so long before the interval, or a local time so many days before its local day."""

    before_s: int = 0
    days_before: int | None = None
    at: time | None = None
    zone: str = ""
    """Whose clock `at` is on, where that is not the market day's: MISO's days are EST, its gates EPT."""

    def instant(self, interval: Interval, timezone: str) -> datetime:
        """Return the gate's instant for *interval*; a local time that the clocks skip is taken an hour later."""
        if self.days_before is None or self.at is None:
            return interval.start - timedelta(seconds=self.before_s)
        day = interval.start.astimezone(ZoneInfo(timezone)).date() - timedelta(days=self.days_before)
        return datetime.combine(day, self.at, ZoneInfo(self.zone or timezone)).astimezone(interval.start.tzinfo)


class Pause(Document):
    """A span of each local day in which nothing should be sent: a venue's own validation runs."""

    start: time
    end: time
    why: str

    def holds(self, now: datetime, timezone: str) -> bool:
        """Tell whether *now* lies in [start, end) of the venue's local day."""
        return self.start <= now.astimezone(ZoneInfo(timezone)).time() < self.end


class Rules(Document):
    """What a venue accepts of one product. Spans are seconds of the venue's clock, power is MW, money is per MWh."""

    venue: str
    product: str
    family: Family = Family.ENERGY
    trading: Trading = Trading.REAL_TIME
    title: str = ""
    timezone: str
    since: date | None = None
    """The first day on which these figures hold; None: not known."""
    until: date | None = None
    """The first day on which they hold no more."""

    interval_s: int
    block_mw: Decimal
    min_mw: Decimal
    max_mw: Decimal | None = None
    max_steps: int
    max_points: int | None = None
    """What the venue's own curve may have of points, the one at 0 MW included; `max_steps` counts ours."""
    shape: Shape = Shape.RISING
    first_quantity_zero: bool = False
    """The venue's own curve begins at 0 MW; ours never does, its encoder adds the point."""
    max_equal_steps: int | None = None
    """No more than so many neighbours of equal price or of equal quantity."""
    price_tick: Decimal
    price_floor: Decimal
    price_cap: Decimal
    net_benefits_floor: Decimal | None = None
    """Energy below this price is not worth buying as demand response (FERC Order 745's net benefits test)."""
    currency: str
    per: str = "MWh"
    """What a price is for: energy in `MWh`, or capacity held: `MW-h`, `MW-day`, `MW-block`, `MW-term`."""

    response_s: float | None = None
    """From instruction to full delivery."""
    duration_s: float | None = None
    """For how long a call may have to be held."""
    recovery_s: float | None = None
    """Rest after a call."""
    max_calls_per_day: int | None = None
    calls: str = ""
    """How often it may be called over longer than a day, in words."""
    telemetry_s: float | None = None
    """How often the venue wants to see the load."""
    signal_s: float | None = None
    """How often a set-point arrives, where one has to be followed."""
    symmetric: bool = False
    """Sold in both directions at once: as much more load as less."""
    trigger: str = ""
    """What calls it where that is no instruction: a frequency, a droop."""
    sold: str = ""
    """How it is sold where not by offers for intervals."""

    gate_closure_s: int
    """Offers close this long before the interval starts, where `closes` does not say otherwise."""
    horizon_s: int
    """Offers open this long before the interval starts, where `opens` does not say otherwise."""
    closes: Gate | None = None
    opens: Gate | None = None
    pauses: tuple[Pause, ...] = ()
    max_document_bytes: int | None = None
    one_product_per_document: bool = False
    one_day_per_document: bool = False
    """A document holds the offers of one local day."""
    stacks_with: tuple[str, ...] = ()
    """`PRODUCT` or `VENUE/PRODUCT` for which the same power may be offered too: the venue buys only one of them."""

    baseline_method: str
    """Name in `pipeline.cbl.methods`; empty where no baseline is involved."""
    shortfall_factor: Decimal
    """A missing MWh costs this many times the clearing price."""
    penalty: str = ""
    """What else non-performance costs, in words."""
    energy_decimals: int = 6
    """kWh on statements are rounded half to even to this many decimals; money to the cent, half to even."""
    sources: tuple[str, ...]
    """Where each figure comes from; `simulated` where the venue made it up."""
    cited: dict[str, str] = Field(default_factory=dict)
    """By figure: its source, in words."""
    unverified: tuple[str, ...] = ()
    """Figures whose manual could not be read: a person has to confirm them before money depends on them."""
    holidays: tuple[date, ...] = tuple(sorted(NERC_HOLIDAYS))
    """Days that are no business days for the baseline; NERC's where the venue publishes none."""
    simulated: bool = False
    """No real money moves here, so every document about it says so."""

    @property
    def interval(self) -> timedelta:
        """The market interval."""
        return timedelta(seconds=self.interval_s)

    def gate_closes(self, interval: Interval) -> datetime:
        """Return the first instant at which an offer for *interval* is too late."""
        gate = self.closes or Gate(before_s=self.gate_closure_s)
        return gate.instant(interval, self.timezone)

    def gate_opens(self, interval: Interval) -> datetime:
        """Return the first instant at which an offer for *interval* is taken."""
        gate = self.opens or Gate(before_s=self.horizon_s)
        return gate.instant(interval, self.timezone)

"""Everything a decision at the gate rests on, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from bidding.gate.control import Control
from bidding.gate.quality import State, Trust
from bidding.gate.settings import Collars, Limits, Obligation
from bidding.products import Rules
from bidding.rules.case import Key
from pipeline.interval import Interval
from pipeline.messages.market import Offer


@dataclass(frozen=True)
class Flexibility:
    """What one site can do; what is not said here it cannot."""

    firm_kw: Mapping[Interval, float] = field(default_factory=dict)
    """Load that can certainly be let go, by interval; where none covers an instant: 0. Overlaps: the least counts."""
    firm_up_kw: Mapping[Interval, float] = field(default_factory=dict)
    """Load that can certainly be added, for regulation down."""
    ramp_kw_per_s: float = 0.0
    """Infinite: it is no limit."""
    deferrable_kwh: float = 0.0
    """Work that can wait, by local day; infinite: it is no limit."""


@dataclass(frozen=True)
class Counters:
    """What has left already: the runaway guard counts on from here."""

    last_minute: int = 0
    today: int = 0


@dataclass(frozen=True)
class Situation:
    """The state of the world as a decision sees it. Maps that are left empty permit nothing."""

    now: datetime
    products: Mapping[tuple[str, str], Rules]
    """By (venue, product), those in force."""
    flexibility: Mapping[str, Flexibility]
    """By site."""
    timezone: str = "UTC"
    """Whose day the limits of a day are for."""
    margin: timedelta = timedelta(seconds=2)
    """Offers leave so long before the gate; [bidding] gate_margin_s."""
    standing: tuple[Offer, ...] = ()
    """All that may already bind us at any venue: sent, unknown, pending, accepted, awarded. Nothing that is held."""
    held: tuple[Offer, ...] = ()
    """
    What waits for people. Its power is promised, and its keys are taken, but nothing is lowered against it.

    A held document that is judged again is known by its offers, which are equal to these.
    """
    accepted: Mapping[Key, Offer] = field(default_factory=dict)
    """The last accepted revision."""
    reference: Mapping[tuple[str, str, Interval], Decimal] = field(default_factory=dict)
    """Price per MWh that is expected, by (venue, product, interval), where there is a forecast."""
    obligations: tuple[Obligation, ...] = ()
    limits: Limits = field(default_factory=Limits)
    collars: Collars = field(default_factory=Collars)
    counters: Counters = field(default_factory=Counters)
    trust: Trust = field(default_factory=Trust)
    control: Control = field(default_factory=Control)
    halt_file: tuple[str, str] | None = None
    """(by, why) of the halt file, where there is one: `bidding.gate.halt_file.file_halt`."""
    approvers: Mapping[str, bytes] = field(default_factory=dict)
    """Public keys by name."""

    @property
    def state(self) -> State:
        """How far telemetry is trusted."""
        return self.trust.state

    def day_of(self, instant: datetime) -> date:
        """Return the local date at *instant*."""
        return instant.astimezone(ZoneInfo(self.timezone)).date()

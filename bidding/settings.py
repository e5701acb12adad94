"""``[bidding]``: every default is documented here. Spans are seconds of the clock, prices in the venue's currency."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec

from bidding.capacity import ORDER, Window
from bidding.gate.settings import Approvers, Collars, Limits, Obligation, Quality
from bidding.offers import Terms
from bidding.pricing import TierCost
from bidding.submit import Patience
from pipeline.clock import Clock
from pipeline.errors import ConfigError
from pipeline.messages.control import RELEASE_S
from pipeline.messages.telemetry import Tier
from pipeline.settings import ClockSection, Kafka, Positive, Section, Site, load

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]

FIRM = "firm"
"""The strategy that needs no forecast: all firm power of one product, at cost plus margin."""

#: Assumptions to be replaced by the owner's own: preemptible training is mostly late, not lost; batch inference is
#: half deferrable; an interactive token not served is lost and credited to the customer.
TIER_COSTS: dict[str, TierCost] = {
    "T3": TierCost(
        price_per_million_tokens=Decimal("0.05"), deferrable_share=Decimal("0.8"), restart_cost_per_mwh=Decimal(2)
    ),
    "T2": TierCost(
        price_per_million_tokens=Decimal("0.20"), deferrable_share=Decimal("0.5"), service_credit_per_mwh=Decimal(5)
    ),
    "T1": TierCost(price_per_million_tokens=Decimal("0.60"), service_credit_per_mwh=Decimal(20)),
}


class Bidding(Section, frozen=True, kw_only=True):
    """``[bidding]``: what is sold, on which terms, and how it is delivered."""

    resource: str = "resource-1"
    """What the venue knows."""
    venue: str = "sandbox"
    """Plug-in name; the venue's own settings are in ``[venue.NAME]``."""
    product: str = "energy-dr"
    """What is sold there, by the venue's name for it; dispatches of it are settled."""
    products: tuple[str, ...] = ()
    """What a portfolio is made of, by the venue's names; empty: `product` alone."""
    strategy: str = FIRM
    """`firm`: all firm power of `product` at cost plus margin; others are plug-ins in bidding/portfolio/strategies."""
    forecast: str = ""
    """CSV of price scenarios, see bidding/forecast.py; a portfolio strategy offers nothing without."""
    risk_weight: Share = 0.2
    """λ: a portfolio is worth (1 − λ) × its expected value + λ × its CVaR."""
    tail: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.95
    """CVaR is the mean of the worst 1 − `tail` of outcomes."""
    deferrable_mwh: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Energy that may be let go per local day, all products together; left out: no limit."""
    ramp_kw_per_s: NotNegative = 0
    """How fast load comes down, as measured; 0: all that is firm takes `ramp_lead_s`."""
    recovery_s: NotNegative = 0
    """Rest of the site between two reductions."""

    halt_file: str = "var/halt"
    """While this file is there nothing leaves; its first line may say ``NAME: REASON``. Empty: no such switch."""
    limits: Limits = msgspec.field(default_factory=Limits)
    collars: Collars = msgspec.field(default_factory=Collars)
    quality: Quality = msgspec.field(default_factory=Quality)
    approvers: Approvers = msgspec.field(default_factory=dict)
    obligations: tuple[Obligation, ...] = ()

    journal: str = "var/bidding.journal"
    """Everything that was sent, received and decided; a process with the same journal goes on from it, or stands by."""
    takeover_s: Annotated[float, msgspec.Meta(ge=1)] = 10
    """The machine's time for which a primary is silent before a standby takes over; half of it is its own limit."""
    archive: str = "var/archive"
    """Folder of the Parquet archive, for history."""
    summary: str = ""
    """Where `stop_after_settlement` leaves its figures as JSON; empty: nowhere."""
    key_file: str = "var/dispatch.key"
    """Ed25519 private key, mode 0600; `firmwatt bid keygen` makes one."""
    key_id: str = "dispatch-1"
    """The name under which hosts know the public half."""

    first_interval_start: str = ""
    """ISO 8601, the first market interval to offer; empty: every interval from now on."""
    intervals: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many consecutive intervals from the first; 0: no end."""
    stop_after_settlement: bool = False
    """End once all planned intervals are settled."""

    confidence: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.95
    """Share of the window's slots that must reach what is offered."""
    window_s: Annotated[float, msgspec.Meta(ge=20)] = 20
    """How much capacity history an offer rests on."""
    slot_s: Positive = 2
    """Machine seconds: at least the spacing of capacity messages plus jitter (see bidding/capacity.py)."""
    max_age_s: Positive = 10
    """Capacity older than this is no capacity."""
    baseline_method: str = "caiso-10-in-10"
    """What deliveries are held against where the product names no baseline, as reserves mostly do."""
    margin: Share = 0.1
    """On top of cost."""
    tiers: dict[str, TierCost] = msgspec.field(default_factory=lambda: dict(TIER_COSTS))
    """``[bidding.tiers.T1]`` …: a tier that is left out here is never sold; left out altogether: the defaults above."""

    offer_lead_s: Positive = 120
    """Offers are made from this long before gate closure on: late enough to know the capacity, early for retries."""
    gate_margin_s: NotNegative = 2
    """Offers are sent this long before gate closure, or not at all."""
    poll_s: Positive = 1
    """How often the venue and the plan are looked at."""
    retry_s: Positive = 0.5
    """Between two questions what became of an offer, while the venue does not answer."""
    in_flight_s: Positive = 1
    """Between two questions before the venue's "never saw it" is believed."""

    revise_deadband: Share = 0.05
    """Share of what is promised by which less may be there before the offer is revised down, or the venue told."""
    revise_wait_s: NotNegative = 15
    """For so long less has to be there before anything is revised, withdrawn or told: one late message is no loss."""
    most_raises: Annotated[int, msgspec.Meta(ge=0)] = 1
    """How often one offer may be revised upward; the strategies here only cut."""
    reconcile_s: Positive = 30
    """Between two comparisons of what the venue holds with what we hold."""
    request_s: Positive = 10
    """The machine's time after which a request is given up; "never saw it" is not believed sooner after a start."""

    hold_margin: Share = 0.03
    """Hold the load this share of the award below what is owed."""
    ramp_lead_s: NotNegative = 5
    """Caps go out this long before the interval starts."""
    follow_up_s: Positive = 5
    """Between corrections: longer than a cap takes to show in capacity messages."""
    deadband: Share = 0.02
    """Share of the award by which load may differ from target before it is corrected."""
    lease_s: Annotated[float, msgspec.Meta(gt=0, le=900)] = 600
    """Longest lease; longer events are renewed at half of it. Hosts refuse more than 15 minutes by default."""
    release_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = RELEASE_S
    """How long after an event hosts take to go back, in stages; leases end that much later than the event."""
    meter_wait_s: NotNegative = 90
    """How long to wait after an interval for metering that covers every host; then what there is counts."""
    settle_wait_s: Positive = 120
    """How long after the last planned interval a silent venue is waited for before `stop_after_settlement` gives up."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for spans that contradict each other: whoever reads the settings names the line."""
        if self.release_s > self.lease_s / 4:
            raise ValueError(f"release_s {self.release_s:g} is more than a quarter of lease_s {self.lease_s:g}")

    @property
    def for_sale(self) -> tuple[str, ...]:
        """The products that are offered, by the venue's names."""
        return self.products or (self.product,)

    @property
    def tiers_for_sale(self) -> tuple[Tier, ...]:
        """The tiers that may be let go, in the order in which they are."""
        return tuple(tier for tier in ORDER if tier.value in self.tiers)

    @property
    def plan_start(self) -> datetime | None:
        """`first_interval_start` in UTC, None where every interval is meant."""
        if not self.first_interval_start:
            return None
        try:
            start = datetime.fromisoformat(self.first_interval_start)
        except ValueError as error:
            raise ConfigError(f"[bidding] first_interval_start is not ISO 8601: {error}") from error
        if start.tzinfo is None:
            raise ConfigError("[bidding] first_interval_start needs an offset, such as 2026-07-24T01:00:00Z")
        return start.astimezone(UTC)

    def terms(self, site: str, speed: float) -> Terms:
        """Return what the owner decided; *speed* of the clock, because capacity is published by machine time."""
        unknown = set(self.tiers) - {tier.value for tier in ORDER}
        if unknown:
            raise ConfigError(
                f"[bidding.tiers] knows T1, T2 and T3, not {', '.join(sorted(unknown))}; T0 is never sold"
            )
        return Terms(
            resource=self.resource,
            site=site,
            costs={Tier(name): cost for name, cost in self.tiers.items()},
            margin=Decimal(repr(self.margin)),
            window=Window(
                confidence=self.confidence,
                length=timedelta(seconds=self.window_s),
                slot=timedelta(seconds=self.slot_s * max(1.0, speed)),
                max_age=timedelta(seconds=self.max_age_s),
            ),
        )

    @property
    def patience(self) -> Patience:
        """How the submitter waits."""
        return Patience(
            retry=timedelta(seconds=self.retry_s),
            in_flight=timedelta(seconds=self.in_flight_s),
            gate_margin=timedelta(seconds=self.gate_margin_s),
            request_s=self.request_s,
        )


class Settings(Section, frozen=True, kw_only=True):
    """All sections that the bidding process reads."""

    path: Path
    kafka: Kafka
    clock: Clock
    site: Site
    bidding: Bidding


def read(path: Path, venue: str | None = None) -> Settings:
    """Return the settings in the file at *path*; *venue* overrides the file's."""
    bidding = load(path, "bidding", Bidding)
    return Settings(
        path=path,
        kafka=load(path, "kafka", Kafka),
        clock=load(path, "clock", ClockSection).clock(),
        site=load(path, "site", Site),
        bidding=msgspec.structs.replace(bidding, venue=venue) if venue else bidding,
    )

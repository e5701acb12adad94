"""What passes between us and a venue: documents that cross a trust boundary, hence pydantic."""

from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier


class Document(BaseModel):
    """Frozen; unknown fields from outside are ignored, unknown fields from us are a bug caught by type."""

    model_config = ConfigDict(frozen=True)


class OfferStep(Document):
    """One step of a price-quantity curve, and what stands behind its price."""

    quantity_mw: Decimal = Field(gt=0)
    """Added by this step, not cumulated."""
    price_per_mwh: Decimal
    tier: Tier
    tokens_forgone_per_mwh: Decimal
    token_cost_per_mwh: Decimal
    service_credit_per_mwh: Decimal
    restart_cost_per_mwh: Decimal


class Offer(Document):
    """Load reduction we are ready to sell over one market interval. Natural key `offer_id`."""

    kind: Literal["offer.v1"] = "offer.v1"
    offer_id: str
    """Hash of (resource, venue, product, interval start, revision): a retry is the same offer."""
    resource: str
    site: str
    venue: str
    product: str
    interval: Interval
    revision: int = 1
    steps: tuple[OfferStep, ...] = Field(min_length=1)
    currency: str
    as_of: AwareDatetime
    """Nothing known after this instant went into it."""
    baseline_method: str
    baseline_kw: float
    firm_kw: float
    """What the curve was cut from, at `confidence`."""
    confidence: float
    simulated: bool

    @property
    def quantity_mw(self) -> Decimal:
        """All steps together."""
        return sum((step.quantity_mw for step in self.steps), Decimal(0))


class OfferState(StrEnum):
    """The life of an offer; see the drawing in bidding/README.md."""

    HELD = "held"
    """Waits for two people's approval; nothing of it is on disk as intent yet."""
    INTENT = "intent"
    SENT = "sent"
    UNKNOWN = "unknown"
    PENDING = "pending"
    """The venue has it and has not judged it yet."""
    ACCEPTED = "accepted"
    PARTLY_ACCEPTED = "partly_accepted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """A later revision stands in its place."""
    WITHDRAWN = "withdrawn"
    """Taken back by us before the gate."""
    CANCELLED = "cancelled"
    """Taken back by the venue after it had accepted it."""
    AWARDED = "awarded"
    NOT_AWARDED = "not_awarded"
    DISPATCHED = "dispatched"
    SETTLED = "settled"


class OfferEvent(Document):
    """One step in an offer's life. Natural key (offer_id, state)."""

    kind: Literal["offer-event.v1"] = "offer-event.v1"
    offer_id: str
    state: OfferState
    at: AwareDatetime
    receipt: str | None = None
    accepted_mw: Decimal | None = None
    detail: str | None = None


class Award(Document):
    """What the venue bought. Natural key `award_id`."""

    kind: Literal["award.v1"] = "award.v1"
    award_id: str
    offer_id: str
    resource: str
    product: str
    interval: Interval
    quantity_mw: Decimal
    price_per_mwh: Decimal
    currency: str
    awarded_at: AwareDatetime


class Dispatch(Document):
    """The venue's instruction: reduce now."""

    kind: Literal["dispatch.v1"] = "dispatch.v1"
    dispatch_id: str
    award_id: str
    resource: str
    interval: Interval
    reduction_mw: Decimal
    issued_at: AwareDatetime


class Performance(Document):
    """What was delivered against what was awarded. Natural key (award_id, baseline_method)."""

    kind: Literal["performance.v1"] = "performance.v1"
    award_id: str
    resource: str
    site: str
    interval: Interval
    baseline_method: str
    unadjusted_baseline_kw: float
    adjustment_ratio: float
    baseline_kw: float
    baseline_days: tuple[str, ...]
    load_kw: float
    reduction_kw: float
    """Baseline minus load; negative when more was drawn than the baseline."""
    awarded_kw: float
    delivered_kw: float
    """Reduction as the venue counts it: floored at zero, not above the award."""
    shortfall_kw: float
    covered_share: float
    simulated: bool


class StatementLine(Document):
    """One interval's money."""

    award_id: str
    interval: Interval
    baseline_kwh: Decimal
    metered_kwh: Decimal
    awarded_kwh: Decimal
    delivered_kwh: Decimal
    shortfall_kwh: Decimal
    price_per_mwh: Decimal
    energy_amount: Decimal
    shortfall_amount: Decimal
    """Negative or zero."""
    total: Decimal


class Statement(Document):
    """Dollars, line by line. Natural key (statement_id, issuer)."""

    kind: Literal["statement.v1"] = "statement.v1"
    statement_id: str
    issuer: str
    """`firmwatt`, or the venue's name."""
    resource: str
    currency: str
    lines: tuple[StatementLine, ...]
    total: Decimal
    issued_at: AwareDatetime
    simulated: bool

"""The sandbox's documents as they travel: its own shapes, not those of the bidding side."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


class Wire(BaseModel):
    """Frozen; fields we do not know are ignored, as a venue does."""

    model_config = ConfigDict(frozen=True)


LARGEST = 10**12
FINEST_EXPONENT = -400
"""Finer than any binary float; without such bounds a dozen characters could ask for a gigabyte of digits."""


def _of_sane_size(figure: Decimal) -> Decimal:
    exponent = figure.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < FINEST_EXPONENT or not -LARGEST <= figure <= LARGEST:
        raise ValueError("figure is out of bounds")
    return figure


Figure = Annotated[Decimal, AfterValidator(_of_sane_size)]
Utc = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 2, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC)),
    AfterValidator(lambda instant: instant.astimezone(UTC)),
]
Share = Annotated[float, Field(ge=0, le=1)]


class CurvePoint(Wire):
    """Up to `mw` in all, cumulated, for `price` or more per MWh."""

    mw: Figure
    price: Figure


class OfferBody(Wire):
    """A price-quantity curve for one market interval."""

    resource: Annotated[str, Field(min_length=1)]
    product: str
    interval_start: Utc
    interval_end: Utc
    curve: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]
    revision: Annotated[int, Field(ge=1)] = 1

    @property
    def total_mw(self) -> Decimal:
        """All steps together."""
        return self.curve[-1].mw


class Receipt(Wire):
    """The venue's definite answer to an offer."""

    offer_id: str
    receipt: str
    status: Literal["accepted", "partly_accepted", "rejected"]
    accepted_mw: Decimal
    reasons: tuple[str, ...] = ()
    replaced_by: str | None = None


class Award(Wire):
    """What was bought of one offer, at the uniform price."""

    award_id: str
    offer_id: str
    resource: str
    product: str
    interval_start: Utc
    interval_end: Utc
    mw: Decimal
    price: Decimal
    currency: str
    awarded_at: Utc


class Awards(Wire):
    """A resource's awards; intervals that start before `cleared_until` are decided."""

    awards: tuple[Award, ...]
    cleared_until: Utc


class Dispatch(Wire):
    """The instruction to reduce."""

    dispatch_id: str
    award_id: str
    resource: str
    interval_start: Utc
    interval_end: Utc
    reduction_mw: Decimal
    issued_at: Utc


class Dispatches(Wire):
    """Instructions given so far."""

    dispatches: tuple[Dispatch, ...]


class Price(Wire):
    """One interval's clearing; no price where nothing was bought."""

    interval_start: Utc
    interval_end: Utc
    price: Decimal | None
    demand_mw: Decimal


class Prices(Wire):
    """Clearing prices, oldest first."""

    prices: tuple[Price, ...]


class Reading(Wire):
    """Metered energy over one market interval."""

    start: Utc
    end: Utc
    kwh: Figure


class MeterBody(Wire):
    """A batch of readings."""

    readings: tuple[Reading, ...]


class MeterStatus(Wire):
    """What the venue holds of a batch."""

    resource: str
    batch_id: str
    readings: int
    sha256: str


class StatementLine(Wire):
    """One award's energy and money, and the baseline behind them."""

    award_id: str
    interval_start: Utc
    interval_end: Utc
    baseline_kwh: Decimal
    metered_kwh: Decimal
    awarded_kwh: Decimal
    delivered_kwh: Decimal
    shortfall_kwh: Decimal
    price: Decimal
    energy_amount: Decimal
    shortfall_amount: Decimal
    total: Decimal
    baseline_days: tuple[str, ...]
    adjustment_ratio: str
    """Six decimals, for readers; the statement is computed with the exact ratio."""


class Pending(Wire):
    """An award without a line, and why."""

    award_id: str
    interval_start: Utc
    reason: str


class Statement(Wire):
    """A resource's settlement so far."""

    statement_id: str
    resource: str
    currency: str
    lines: tuple[StatementLine, ...]
    pending: tuple[Pending, ...]
    total: Decimal
    issued_at: Utc
    simulated: bool = True


class ClockReading(Wire):
    """What the venue's clock shows."""

    now: Utc


class Audit(Wire):
    """Counts since the journal began; queries since the process did."""

    submissions_applied: int
    duplicate_submissions: int
    accepted: int
    partial: int
    rejected: int
    conflicts: int
    after_gate: int
    before_gate: int
    meter_batches: int
    replies_lost: int
    replies_late: int
    query_replies_lost: int
    query_replies_late: int
    journal_entries: int


class Problem(Wire):
    """Any answer that is not 200."""

    error: str
    detail: str
    reasons: tuple[str, ...] = ()


def utc(instant: datetime) -> str:
    """Return *instant* as readers like it."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""The sandbox's documents, read and written. Pure; fields we do not know are ignored."""

import json
from collections.abc import Iterable
from datetime import UTC
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, JsonValue, TypeAdapter, ValidationError, model_validator

from bidding.markets import MeterReading, Notice, Receipt, Shortfall
from bidding.products import Rules
from pipeline.errors import VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch, Document, Offer, OfferStep

Utc = Annotated[AwareDatetime, AfterValidator(lambda instant: instant.astimezone(UTC))]


class Timed(Document):
    """Of one market interval; one that ends before it starts is refused."""

    interval_start: Utc
    interval_end: Utc

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        Interval(self.interval_start, self.interval_end)
        return self

    @property
    def interval(self) -> Interval:
        """The interval as one value."""
        return Interval(self.interval_start, self.interval_end)


class VenueClock(Document):
    """What the venue's clock shows."""

    now: Utc


class CurvePoint(Document):
    """Up to `mw` in all, cumulated, for `price` or more per MWh."""

    mw: Decimal
    price: Decimal


class WireOffer(Timed):
    """An offer on the wire."""

    resource: str
    product: str
    curve: tuple[CurvePoint, ...]
    revision: int
    note: dict[str, JsonValue]
    """Our own fields, which the venue ignores; `steps` holds what stands behind each price."""


class WireProducts(Document):
    """Everything that is sold, the default product first."""

    products: tuple[Rules, ...]


class WireReceipt(Document):
    """What the venue holds of an offer, and by whose words."""

    offer_id: str
    receipt: str
    status: str
    accepted_mw: Decimal
    reasons: tuple[str, ...] = ()
    replaced_by: str | None = None
    sha256: str = ""

    def ours(self) -> Receipt:
        """Return it as a receipt of our vocabulary."""
        return Receipt.model_validate(self.model_dump(exclude={"replaced_by", "sha256"}))


class WireNotice(Timed):
    """An accepted offer that the venue took back."""

    notice_id: str
    resource: str
    product: str
    reason: str
    issued_at: Utc

    def ours(self) -> Notice:
        """Return it as a notice of our vocabulary."""
        return Notice(interval=self.interval, **self.model_dump(exclude={"interval_start", "interval_end"}))


class WireNotices(Document):
    """Answer to the question for notices."""

    notices: tuple[WireNotice, ...]


class WireAward(Timed):
    """What was bought of one offer."""

    award_id: str
    offer_id: str
    resource: str
    product: str
    mw: Decimal
    price: Decimal
    currency: str
    awarded_at: Utc

    def ours(self) -> Award:
        """Return it as an award of our vocabulary."""
        return Award(
            award_id=self.award_id,
            offer_id=self.offer_id,
            resource=self.resource,
            product=self.product,
            interval=self.interval,
            quantity_mw=self.mw,
            price_per_mwh=self.price,
            currency=self.currency,
            awarded_at=self.awarded_at,
        )


class WireAwards(Document):
    """Answer to the question for awards."""

    awards: tuple[WireAward, ...]


class WireDispatch(Timed):
    """An instruction."""

    dispatch_id: str
    award_id: str
    resource: str
    reduction_mw: Decimal
    issued_at: Utc

    def ours(self) -> Dispatch:
        """Return it as a dispatch of our vocabulary."""
        return Dispatch(
            dispatch_id=self.dispatch_id,
            award_id=self.award_id,
            resource=self.resource,
            interval=self.interval,
            reduction_mw=self.reduction_mw,
            issued_at=self.issued_at,
        )


class WireDispatches(Document):
    """Answer to the question for instructions."""

    dispatches: tuple[WireDispatch, ...]


class WireReading(Document):
    """Metered energy over one market interval."""

    start: Utc
    end: Utc
    kwh: Decimal


class WireReadings(Document):
    """A batch of readings."""

    readings: tuple[WireReading, ...]


class MeterBatch(Document):
    """What the venue holds of a batch: its bytes, as a digest."""

    sha256: str


class Problem(Document):
    """An answer that is not 200."""

    error: str = "unknown"
    detail: str = ""


_STEPS: TypeAdapter[tuple[dict[str, JsonValue], ...]] = TypeAdapter(tuple[dict[str, JsonValue], ...])


def why(error: ValidationError) -> str:
    """Return in one line where a document went wrong first."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}"


def encode(offer: Offer) -> bytes:
    """Write *offer* in the venue's words."""
    upto = accumulate(step.quantity_mw for step in offer.steps)
    behind = [step.model_dump(mode="json", exclude={"quantity_mw", "price_per_mwh"}) for step in offer.steps]
    note = offer.model_dump(mode="json", exclude={"resource", "product", "interval", "revision", "steps"})
    document = WireOffer(
        resource=offer.resource,
        product=offer.product,
        interval_start=offer.interval.start,
        interval_end=offer.interval.end,
        curve=tuple(CurvePoint(mw=mw, price=step.price_per_mwh) for mw, step in zip(upto, offer.steps, strict=True)),
        revision=offer.revision,
        note={**note, "steps": behind},
    )
    return document.model_dump_json().encode()


def decode(document: bytes) -> Offer:
    """Read back what `encode` wrote; raise `VenueError` on anything else."""
    try:
        wire = WireOffer.model_validate_json(document)
        increments = (high - low for low, high in pairwise((Decimal(0), *(point.mw for point in wire.curve))))
        prices = (point.price for point in wire.curve)
        behind = _STEPS.validate_python(wire.note.get("steps"))
        steps = tuple(
            OfferStep.model_validate({**note, "quantity_mw": mw, "price_per_mwh": price})
            for note, mw, price in zip(behind, increments, prices, strict=True)
        )
        return Offer.model_validate(
            {
                **wire.note,
                "resource": wire.resource,
                "product": wire.product,
                "interval": wire.interval,
                "revision": wire.revision,
                "steps": steps,
            }
        )
    except ValidationError as error:
        raise VenueError(f"not an offer document that `encode` wrote: {why(error)}") from error
    except ValueError as error:  # curve and note do not have the same number of steps
        raise VenueError(f"not an offer document that `encode` wrote: {error}") from error


def shortfall_document(shortfall: Shortfall) -> bytes:
    """Write *shortfall* in the venue's words."""
    told = {
        "resource": shortfall.resource,
        "product": shortfall.product,
        "interval_start": shortfall.interval.start.isoformat(),
        "interval_end": shortfall.interval.end.isoformat(),
        "available_mw": str(shortfall.available_mw),
        "reason": shortfall.reason,
    }
    return json.dumps(told).encode()


def meter_document(readings: Iterable[MeterReading]) -> bytes:
    """Write *readings* as a batch, with every digit they have."""
    rows = (WireReading(start=row.interval.start, end=row.interval.end, kwh=row.energy_kwh) for row in readings)
    return WireReadings(readings=tuple(rows)).model_dump_json().encode()

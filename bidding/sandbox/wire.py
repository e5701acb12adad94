"""What is sent to the sandbox, and its receipts, as they travel: its own shapes, not those of the bidding side."""

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


class Slot(Wire):
    """Whose, of what, when."""

    resource: Annotated[str, Field(min_length=1)]
    product: str
    interval_start: Utc
    interval_end: Utc


class OfferBody(Slot):
    """A price-quantity curve for one market interval."""

    curve: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]
    revision: Annotated[int, Field(ge=1, le=LARGEST)] = 1
    capacity_mw: Annotated[Figure, Field(ge=0)] | None = None
    """What the resource can let go in all, whatever the product; none: its offers do not share power."""
    ramp_mw_per_min: Annotated[Figure, Field(ge=0)] | None = None
    """How fast it can; bounds what it is awarded in reserves by their response times."""

    @property
    def total_mw(self) -> Decimal:
        """All steps together."""
        return self.curve[-1].mw


class NamedOffer(OfferBody):
    """An offer among others in one document."""

    offer_id: Annotated[str, Field(min_length=1)]

    @property
    def body(self) -> OfferBody:
        """The offer without its name, as it travels alone."""
        return OfferBody(**self.model_dump(exclude={"offer_id"}))


class DocumentBody(Wire):
    """Several offers at once; each is judged by itself."""

    offers: Annotated[tuple[NamedOffer, ...], Field(min_length=1)]


class ShortfallBody(Slot):
    """Word, after the gate, that less will be there than was bought."""

    available_mw: Annotated[Figure, Field(ge=0)]
    reason: str = ""


class CancelBody(Wire):
    """Which accepted offer the venue is to take back: an order to the sandbox, not a participant's request."""

    offer_id: str
    reason: str = "to order"


class Reading(Wire):
    """Metered energy over one market interval."""

    start: Utc
    end: Utc
    kwh: Figure


class MeterBody(Wire):
    """A batch of readings."""

    readings: tuple[Reading, ...]


class ResponseBody(Wire):
    """What a resource did on the regulation signal: MW let go, every 10 s for 65 minutes from the full hour."""

    mw: tuple[Figure, ...]


class Receipt(Wire):
    """The venue's definite answer to an offer."""

    offer_id: str
    receipt: str
    status: Literal["accepted", "partly_accepted", "rejected", "withdrawn", "cancelled"]
    accepted_mw: Decimal
    reasons: tuple[str, ...] = ()
    replaced_by: str | None = None
    sha256: str = ""
    """Of the request body it came in, byte for byte: an offer of a document has the document's."""
    revision: int = 1


class OfferResult(Wire):
    """What came of one offer of a document."""

    offer_id: str
    outcome: str
    """A receipt's status, `duplicate`, or the error a single offer would have been refused with."""
    detail: str = ""
    receipt: Receipt | None = None


class DocumentReceipt(Wire):
    """What came of a document, offer by offer in its order."""

    document_id: str
    sha256: str
    results: tuple[OfferResult, ...]


def utc(instant: datetime) -> str:
    """Return *instant* as readers like it."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")

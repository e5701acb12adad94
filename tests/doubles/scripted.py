"""A venue in memory that does, call by call, what its scripts say; then all goes well."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from doubles.builders import rules
from pydantic import TypeAdapter

from bidding.markets import Feature, MeterReading, Notice, Receipt, Shortfall
from bidding.products import Rules
from bidding.states import key_of
from pipeline.errors import GateClosedError, RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Award, Dispatch, Offer, Statement

OFFERS: TypeAdapter[tuple[Offer, ...]] = TypeAdapter(tuple[Offer, ...])


@dataclass
class ScriptedVenue:
    """Applies what reaches it; one document for each resource."""

    products: Mapping[str, Rules] = field(default_factory=lambda: {"energy-dr": rules()})
    features: frozenset[Feature] = frozenset(Feature)
    on_submit: list[str] = field(default_factory=list)
    on_status: list[str] = field(default_factory=list)
    on_withdraw: list[str] = field(default_factory=list)
    verdict: str = "accepted"
    """Of every offer that is applied from now on."""
    book: dict[str, Receipt] = field(default_factory=dict)
    held: dict[object, Offer] = field(default_factory=dict)
    """By key: the offer applied last."""
    cancelled: list[Notice] = field(default_factory=list)
    told: list[Shortfall] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
        groups: dict[str, list[Offer]] = {}
        for offer in offers:
            groups.setdefault(offer.resource, []).append(offer)
        return [tuple(group) for group in groups.values()]

    def encode(self, offers: Sequence[Offer]) -> bytes:
        return OFFERS.dump_json(tuple(offers))

    def decode(self, document: bytes) -> tuple[Offer, ...]:
        return OFFERS.validate_json(document)

    async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        self.calls.append("submit")
        self.epochs.append(epoch)
        assert self.decode(document) == tuple(offers)
        match self.on_submit.pop(0) if self.on_submit else "ok":
            case "lost before":
                raise UnknownOutcomeError("no answer")
            case "refused connection":
                raise VenueError("nobody there")
            case "gate closed":
                raise GateClosedError("too late")
            case "rejected":
                raise RejectedError("no")
            case "lost after":
                self.apply(offers)
                raise UnknownOutcomeError("no answer")
            case "half lost":
                self.apply(offers[:1])
                raise UnknownOutcomeError("no answer")
            case _:
                return self.apply(offers)

    def apply(self, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
        for offer in offers:
            self.applied.append(offer.offer_id)
            self.held[key_of(offer)] = offer
            self.book[offer.offer_id] = Receipt(
                offer_id=offer.offer_id, receipt="R", status=self.verdict, accepted_mw=offer.quantity_mw
            )
        return tuple(self.book[offer.offer_id] for offer in offers)

    async def withdraw(self, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        self.calls.append("withdraw")
        self.epochs.append(epoch)
        match self.on_withdraw.pop(0) if self.on_withdraw else "ok":
            case "lost before":
                raise UnknownOutcomeError("no answer")
            case "rejected":
                raise RejectedError("no")
            case "lost after":
                self._take_back(offers)
                raise UnknownOutcomeError("no answer")
            case "forgotten after":
                for offer in offers:
                    del self.book[offer.offer_id]
                raise UnknownOutcomeError("no answer")
            case _:
                return self._take_back(offers)

    def _take_back(self, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
        changes = {"status": "withdrawn", "accepted_mw": Decimal(0)}
        for offer in offers:
            self.book[offer.offer_id] = self.book[offer.offer_id].model_copy(update=changes)
        return tuple(self.book[offer.offer_id] for offer in offers)

    async def status(self, offers: Sequence[Offer]) -> Mapping[str, Receipt]:
        self.calls.append("status")
        match self.on_status.pop(0) if self.on_status else "ok":
            case "lost":
                raise UnknownOutcomeError("no answer")
            case "arrives meanwhile":
                self.apply(offers)
                return {}
            case _:
                return {o.offer_id: self.book[o.offer_id] for o in offers if o.offer_id in self.book}

    async def notices(self, resource: str) -> tuple[Notice, ...]:
        return tuple(notice for notice in self.cancelled if notice.resource == resource)

    async def notify(self, shortfall: Shortfall, epoch: int) -> None:
        self.epochs.append(epoch)
        self.told.append(shortfall)

    async def awards(self, resource: str) -> tuple[Award, ...]:
        del resource
        return ()

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        del resource
        return ()

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        del resource, batch_id, readings

    async def statement(self, resource: str) -> Statement | None:
        del resource
        return None

    async def close(self) -> None:
        return

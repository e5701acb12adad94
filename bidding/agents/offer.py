"""
From what a strategy wants to what leaves: one gate for new offers, held ones and revisions.

    strategy ─▶ offers ─▶ documents ─▶ judge ─┬─▶ leaves: submit
                 held documents, again ──┘    ├─▶ held: kept until two people agree
                                              └─▶ refused: said once, kept as a finding
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from bidding.agents.gatekeeper import Gatekeeper, Reference
from bidding.book import Book
from bidding.capacity import Finding
from bidding.entries import Explained, Held, Refused
from bidding.gate import judge
from bidding.gate.judge import Decision, Outgoing
from bidding.markets import Market
from bidding.offers import NoOffer
from bidding.submit import Submitter
from pipeline.clock import Clock
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.market import Offer

log = logging.getLogger("bidding.offer")


class Strategy(Protocol):
    """What is offered, and when."""

    insufficient: InsufficientDataError | None
    """What history lacks, while it does."""
    reference: Reference
    """Prices that are expected, where they are."""

    async def due(self, now: datetime) -> Sequence[Offer | NoOffer | Explained]:
        """Return what to offer at *now* of what is not offered yet, why, and why not."""
        ...


class Offering:
    """Judge and submit; what prevents an offer is said once and kept as a finding."""

    def __init__(
        self,
        strategy: Strategy,
        market: Market,
        *,
        gate: Gatekeeper,
        book: Book,
        submitter: Submitter,
        clock: Clock,
    ) -> None:
        self._strategy, self._market, self._clock = strategy, market, clock
        self._gate, self._book, self._submitter = gate, book, submitter
        self._why_not: dict[tuple[str, Interval], NoOffer] = {}
        self._not_counted: dict[str, int] = {}

    @property
    def findings(self) -> list[Finding]:
        """Why planned intervals were not offered."""
        return [finding for refusal in self._why_not.values() for finding in refusal.findings]

    @property
    def insufficient(self) -> InsufficientDataError | None:
        """What history lacks, while it does."""
        return self._strategy.insufficient

    async def tick(self, now: datetime) -> None:
        """Offer what is due at *now*, and what people have agreed to since."""
        self._gate.look(now)
        await self._again(now)
        wanted = await self._strategy.due(now)
        now = self._clock.now()  # a solver takes its time; what it wants is judged by what is known after it
        self._gate.reference = self._strategy.reference
        for refusal in (one for one in wanted if isinstance(one, NoOffer)):
            self._say_why_not(refusal)
        reasons = {one.offer_id: one for one in wanted if isinstance(one, Explained)}
        await self.propose([one for one in wanted if isinstance(one, Offer)], now, reasons)

    async def propose(self, offers: Sequence[Offer], now: datetime, reasons: Mapping[str, Explained]) -> None:
        """Let through the gate what may leave of *offers*, document by document."""
        documents = list(self._encoded(self._market.documents(offers)))
        decisions = self._gate.judge(documents, now) if documents else ()
        leaving: list[Offer] = []
        for decision in decisions:
            if not isinstance(decision, judge.Refused):
                for offer in decision.offers:
                    if offer.offer_id in reasons:
                        self._book.write(reasons[offer.offer_id])
            leaving += self._kept(decision)
        await self._submit(leaving)

    def _encoded(self, documents: Iterable[tuple[Offer, ...]]) -> Iterator[Outgoing]:
        """Yield *documents* with their bytes; what the venue has no words for is not offered, and why is said."""
        for document in documents:
            try:
                yield Outgoing(document, self._market.encode(document))
            except ValueError as error:
                for offer in document:
                    self._say_why_not(NoOffer(offer.interval, (Finding("words", str(error)),), offer.product))

    async def _again(self, now: datetime) -> None:
        """Judge what waits for people anew: it leaves once they agree, and is over once its gate has closed."""
        waiting = list(self._book.ledger.held.values())
        outgoing = list(self._encoded(held.offers for held in waiting))
        leaving: list[Offer] = []
        for decision in self._gate.judge(outgoing, now) if outgoing else ():
            if isinstance(decision, judge.Leaves):
                log.info("document %s leaves: %s agreed", decision.document[:12], ", ".join(decision.approved_by))
                leaving += decision.offers
            elif isinstance(decision, judge.Held):
                self._say_not_counted(decision)
            elif is_over(decision):
                for offer in decision.offers:
                    self._book.write(Refused(offer_id=offer.offer_id, reason=str(decision)))
        await self._submit(leaving)

    def _say_not_counted(self, held: judge.Held) -> None:
        """Say which approvals do not count, and why, whenever there are more of them."""
        if len(held.refused) > self._not_counted.get(held.document, 0):
            self._not_counted[held.document] = len(held.refused)
            log.warning("document %s: %s", held.document[:12], "; ".join(map(str, held.refused)))

    def _kept(self, decision: Decision) -> tuple[Offer, ...]:
        """Return what of *decision* leaves; what waits is written down, what does not is said."""
        match decision:
            case judge.Leaves():
                return decision.offers
            case judge.Held():
                why = tuple(map(str, decision.why))
                self._book.write(
                    Held(document=decision.document, offers=decision.offers, why=why, needs=decision.needs)
                )
                log.warning("%s; `firmwatt bid approve %s`", decision, decision.document[:12])
            case judge.Refused():
                for refusal in refusals_by_interval(decision):
                    self._say_why_not(refusal)
        return ()

    async def _submit(self, offers: Sequence[Offer]) -> None:
        for record in await self._submitter.submit(offers) if offers else ():
            offer = record.offer
            self._why_not.pop((offer.product, offer.interval), None)
            self._why_not.pop(("", offer.interval), None)
            log.info(
                "offer %s of %s for %s: %s of %s MW at up to %s %s/MWh%s",
                offer.offer_id[:8],
                offer.product,
                offer.interval.start.isoformat(),
                record.state,
                offer.quantity_mw,
                offer.steps[-1].price_per_mwh,
                offer.currency,
                " (simulated)" if offer.simulated else "",
            )

    def _say_why_not(self, refusal: NoOffer) -> None:
        key = refusal.product, refusal.interval
        known = self._why_not.get(key)
        names = [finding.name for finding in refusal.findings]
        if known is None or [finding.name for finding in known.findings] != names:
            log.warning("nothing%s offered yet for %s: %s", f" as {key[0]}" if key[0] else "", _start(refusal), refusal)
        self._why_not[key] = refusal


def refusals_by_interval(decision: judge.Refused) -> Iterator[NoOffer]:
    """Yield the refusal of a document as one finding list an interval: what is about no one offer is about all."""
    for offer in decision.offers:
        concerned = [r for r in decision.refusals if r.offer_id in {"", offer.offer_id}]
        if concerned:
            found = tuple(Finding(r.rule, f"{r.detail} (by {r.source})") for r in concerned)
            yield NoOffer(offer.interval, found, offer.product)


def _start(refusal: NoOffer) -> str:
    return refusal.interval.start.isoformat()


def is_over(decision: Decision) -> bool:
    """Tell whether a held document can never leave any more; a halt, a gap in telemetry or a full minute pass."""
    return isinstance(decision, judge.Refused) and any(r.rule == "gate_closure" for r in decision.refusals)

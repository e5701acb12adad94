"""
The gate's shell: gathers what `bidding.gate.judge` decides on, and keeps what people said in the action log.

    action log, halt file, signal ─┐
    capacity messages ─────────────┼─▶ Situation ─▶ judge ─▶ leaves, held, refused
    ledger, forecast, settings ────┘

`closed` is asked again just before every document goes on the wire, so that a halt takes effect at once.
"""

import logging
import math
import signal
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bidding.agents.feed import World
from bidding.book import Book
from bidding.capacity import Window, firm_kw
from bidding.gate.control import Control, Halted, Source
from bidding.gate.halt_file import file_halt
from bidding.gate.judge import Decision, Outgoing, halted, judge
from bidding.gate.log import control_of
from bidding.gate.quality import Trust, observe
from bidding.gate.settings import approver_keys
from bidding.gate.situation import Counters, Flexibility, Situation
from bidding.journal import Journal, append_action
from bidding.owed import owed
from bidding.products import Rules
from bidding.settings import Bidding
from bidding.states import BINDING, TAKEN
from pipeline.clock import Clock
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferState

log = logging.getLogger("bidding.gate")

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
KWH_PER_MWH = 1000.0
HELD = OfferState.HELD

Reference = Mapping[tuple[str, str, Interval], Decimal]


class Switch:
    """SIGUSR1: a halt that needs neither disk nor network. It is written down at the next look, so that it lasts."""

    def __init__(self) -> None:
        self.is_thrown = False

    def listen(self) -> None:
        """Take the signal from now on; before that it would end the process."""
        signal.signal(signal.SIGUSR1, self._throw)

    def _throw(self, _number: int, _frame: object) -> None:
        self.is_thrown = True


class Gatekeeper:
    """What may leave, for one resource at one venue."""

    def __init__(
        self,
        settings: Bidding,
        site: str,
        products: Mapping[str, Rules],
        *,
        journal: Journal,
        book: Book,
        world: World,
        clock: Clock,
        window: Window,
        switch: "Switch",
    ) -> None:
        self._settings, self._site, self._products = settings, site, products
        self._journal, self._book, self._world = journal, book, world
        self._window = window
        self._quality = settings.quality.at_speed(clock.speed)
        self._keys = approver_keys(settings.approvers)
        self._control = Control()
        self._trust = Trust()
        self._switch = switch
        self._read = 0
        self._said = ""
        self.reference: Reference = {}
        """Expected prices, where there is a forecast."""

    def look(self, now: datetime) -> None:
        """Take in what people and telemetry have said by *now*; said in the log when it changes."""
        text = self.closed(now)
        if text != self._said:
            log.warning("%s", f"nothing leaves: {text}" if text else "the gate is open")
        self._said = text

    def _take_actions(self) -> None:
        actions = self._journal.actions(self._read)
        self._control = control_of(actions, self._control)
        self._read = actions[-1].number if actions else self._read

    def closed(self, now: datetime) -> str:
        """Return why nothing at all may leave, empty where the gate is open; looks at switches and telemetry anew."""
        if self._switch.is_thrown:
            self._switch.is_thrown = False
            said = Halted(by="signal", at=now, why="SIGUSR1", source=Source.SIGNAL)
            append_action(self._journal.path, said.at, said.by, said.kind, said)
        self._take_actions()
        self._trust = self._trust.after(observe(self._world.capacity, now, self._quality), self._quality)
        return "; ".join(map(str, halted(self._situation(now))))

    def judge(self, documents: Iterable[Outgoing], now: datetime) -> tuple[Decision, ...]:
        """Return the decision on each document at *now*."""
        batch = tuple(documents)
        return judge(batch, self._situation(now, [offer for document in batch for offer in document.offers]))

    def _situation(self, now: datetime, new: Sequence[Offer] = ()) -> Situation:
        records, awards = list(self._book.ledger.offers.values()), list(self._book.ledger.awards.values())
        judged = {offer.offer_id for offer in new}  # what is held is judged again, and not against itself
        ahead = [r for r in records if r.offer.interval.end > now and r.offer.offer_id not in judged]
        bound = tuple(owed(r.offer, awards) for r in ahead if r.state in BINDING - {HELD})
        waiting = tuple(r.offer for r in ahead if r.state is HELD)
        venue = next(iter(self._products.values())).venue if self._products else ""
        return Situation(
            now=now,
            products={(venue, name): rules for name, rules in self._products.items()},
            flexibility={self._site: self._flexibility((*bound, *waiting, *new), now)},
            timezone=next(iter(self._products.values())).timezone if self._products else "UTC",
            margin=timedelta(seconds=self._settings.gate_margin_s),
            standing=bound,
            held=waiting,
            accepted={
                (r.offer.venue, r.offer.resource, r.offer.product, r.offer.interval): r.offer
                for r in records
                if r.state in TAKEN and r.offer.interval.end > now
            },
            reference=self.reference,
            obligations=tuple(self._settings.obligations),
            limits=self._settings.limits,
            collars=self._settings.collars,
            counters=self._counted(now),
            trust=self._trust,
            control=self._control,
            halt_file=file_halt(Path(self._settings.halt_file)) if self._settings.halt_file else None,
            approvers=self._keys,
        )

    def _flexibility(self, offers: Sequence[Offer], now: datetime) -> Flexibility:
        """Return what the site can do at *now* in the intervals of *offers*, for as long as their calls may last."""
        tiers = self._settings.tiers_for_sale
        baselines = {offer.baseline_kw for offer in offers}
        firm = {kw: firm_kw(self._world.capacity, self._window, kw, now, tiers).total_kw for kw in baselines}
        by_interval: dict[Interval, float] = {}
        for offer in offers:
            for held in (offer.interval, self._held(offer)):
                by_interval[held] = min(firm[offer.baseline_kw], by_interval.get(held, float("inf")))
        deferrable_mwh, lead_s = self._settings.deferrable_mwh, max(self._settings.ramp_lead_s, 1.0)
        return Flexibility(
            firm_kw=by_interval,
            ramp_kw_per_s=self._settings.ramp_kw_per_s or max(firm.values(), default=0.0) / lead_s,
            deferrable_kwh=math.inf if deferrable_mwh is None else deferrable_mwh * KWH_PER_MWH,
        )

    def _held(self, offer: Offer) -> Interval:
        """Return the span over which a call of *offer* may have to be held."""
        rules = self._products.get(offer.product)
        longest = max(offer.interval.length, timedelta(seconds=(rules.duration_s or 0.0) if rules else 0.0))
        return Interval(offer.interval.start, offer.interval.start + longest)

    def _counted(self, now: datetime) -> Counters:
        """Return how many offers were made lately; by when they were made, so that a restart changes nothing."""
        made = [record.offer.as_of for record in self._book.ledger.offers.values() if record.state is not HELD]
        return Counters(
            last_minute=sum(now - MINUTE < at <= now for at in made), today=sum(now - DAY < at <= now for at in made)
        )

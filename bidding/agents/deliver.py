"""Awards and instructions in, signed leases out; then follow the load until the event is over."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from bidding import dispatch
from bidding.agents.feed import World
from bidding.book import Book
from bidding.dispatch import Cut, Lease, Plan
from bidding.entries import Commanded, NotAwarded
from bidding.markets import Market
from bidding.settings import Bidding
from bidding.signing import Signer
from bidding.states import CLEARED, STANDING
from pipeline import topics
from pipeline.clock import Clock
from pipeline.errors import VenueError
from pipeline.kafka import Sender
from pipeline.messages.control import LeaseCommand
from pipeline.messages.market import Award, Dispatch
from pipeline.messages.telemetry import SiteCapacity
from pipeline.units import KW_PER_MW

log = logging.getLogger("bidding.deliver")

SHORTEST = timedelta(seconds=1)
"""Of a lease, whose end has to lie behind its beginning even where there is no way back."""


class Intake:
    """Ask the venue what it bought and what it instructs; the journal keeps each answer once."""

    def __init__(self, settings: Bidding, market: Market, book: Book) -> None:
        self._resource = settings.resource
        self._market = market
        self._book = book
        self._answers = True

    async def tick(self, now: datetime) -> None:
        """Take in what is new at *now*; a silent venue is asked again at the next tick."""
        try:
            await self._awards(now)
            await self._dispatches()
        except VenueError as error:
            if self._answers:
                log.warning("the venue does not tell awards and instructions: %s; asking again", error)
            self._answers = False
        else:
            self._answers = True

    async def _awards(self, now: datetime) -> None:
        ledger = self._book.ledger
        for award in await self._market.awards(self._resource):
            known, named = ledger.awards.get(award.award_id), ledger.named(award)
            if known is None or named.model_copy(update={"awarded_at": known.awarded_at}) != known:
                self._say(award, known)
                self._book.write(award)
        for record in list(ledger.offers.values()):
            if record.state in STANDING and record.offer.interval.start <= now:
                self._book.write(NotAwarded(offer_id=record.offer.offer_id))
                log.info("no award for %s", record.offer.interval.start.isoformat())

    def _say(self, award: Award, known: Award | None) -> None:
        """Say what *award* is, and loudly where nothing stands here that it could be for."""
        start, before = award.interval.start.isoformat(), f", {known.quantity_mw} MW before" if known else ""
        log.info("award for %s: %s MW%s", start, award.quantity_mw, before)
        record = self._book.ledger.bought(award)
        if record is None:
            log.error("award %s for %s: nothing was offered that it could be for", award.award_id, start)
        elif record.state not in STANDING | CLEARED:
            name = record.offer.offer_id[:8]
            log.error("award %s for %s: offer %s is %s here, and bought", award.award_id, start, name, record.state)

    async def _dispatches(self) -> None:
        """Keep the venue's newest word of each instruction: it may be corrected, shortened, or let go with 0 MW."""
        for instruction in await self._market.dispatches(self._resource):
            if self._book.ledger.dispatches.get(instruction.dispatch_id) != instruction:
                self._book.write(instruction)
                log.info("instruction for %s: %s MW", instruction.interval.start.isoformat(), instruction.reduction_mw)


class Delivery:
    """Hold the load at the target while an instruction is in force; leases end by themselves."""

    def __init__(
        self, settings: Bidding, *, book: Book, world: World, signer: Signer, sender: Sender, clock: Clock
    ) -> None:
        self._settings = settings
        self._book, self._world, self._signer, self._sender, self._clock = book, world, signer, sender, clock
        self._plan = Plan()
        self._target_kw: float | None = None
        self._sent_at: datetime | None = None
        self._expires_at: datetime | None = None
        self._said: tuple[str, ...] = ()
        self._release = timedelta(seconds=settings.release_s)

    async def tick(self, now: datetime) -> None:
        """Plan when an instruction begins, correct while it lasts, let go when it is over, early or not."""
        active = self.active(now)
        self._go_on(now)
        if not active:
            await self._let_go(now)
            self._plan, self._target_kw, self._sent_at, self._expires_at = Plan(), None, None, None
            return
        end = self._event_end(active)
        capacity = self._world.whole_capacity
        if capacity is None or now - capacity.as_of > timedelta(seconds=self._settings.max_age_s):
            self._say(("telemetry", "no whole capacity message: caps stay as they are"))
            await self._renew(now, active[0], end)
            return
        target_kw = self._target(active, now)
        decided = self._decide(capacity, target_kw, float(active[0].reduction_mw * KW_PER_MW))
        decided = replace(decided, max_w={**dispatch.limits(capacity.pools), **decided.max_w})
        self._say(*((finding.name, finding.detail) for finding in decided.findings))
        if decided.cuts and (decided.cuts != self._plan.cuts or self._renewal_due(now, end)):
            await self._command(decided, active[0], capacity, target_kw, end)
        self._plan, self._target_kw = decided, target_kw

    async def _renew(self, now: datetime, instruction: Dispatch, event_end: datetime) -> None:
        """Send the plan in force once more when its leases run out before the event: a blind spell must not end it."""
        if self._target_kw is None or not self._renewal_due(now, event_end):
            return
        pools = (pool for message in self._world.capacity for pool in message.pools)
        plan = replace(self._plan, max_w={**dispatch.limits(pools), **self._plan.max_w})
        if plan.cuts and plan.max_w:  # without the GPUs' limits a share is no cap
            await self._command(plan, instruction, None, self._target_kw, event_end)

    async def _let_go(self, now: datetime) -> None:
        """Release the hosts whose leases outlast what the venue wants: it took an instruction back, or cut it short."""
        last = self._book.ledger.commanded
        instruction = self._book.ledger.dispatches.get(last.dispatch_id) if last else None
        if instruction is None or self._target_kw is None or self._expires_at is None or not self._plan.cuts:
            return
        if self._expires_at - self._release > now:
            lease = self._lease(instruction, now)
            leases = dispatch.releases(self._plan, self._world.hosts.values(), lease)
            await self._send(leases, lease, Plan(), None, self._target_kw)
            log.warning("the instruction is over before its leases are: %d hosts let go now", len(leases))

    def _go_on(self, now: datetime) -> None:
        """Take over the leases that a process before this one may have sent and that are in force at *now*."""
        last = self._book.ledger.commanded
        if self._sent_at is None and last is not None and last.expires_at > now:
            self._plan = Plan({tier: Cut(*cut) for tier, cut in last.cuts.items()})
            self._target_kw, self._sent_at, self._expires_at = last.target_kw, now, last.expires_at

    def active(self, now: datetime) -> list[Dispatch]:
        """Return the instructions in force at *now*, or about to be, in order of time."""
        lead = timedelta(seconds=self._settings.ramp_lead_s)
        found = [
            instruction
            for instruction in self._book.ledger.dispatches.values()
            if instruction.interval.start - lead <= now < instruction.interval.end
            and instruction.reduction_mw > 0
            and self._baseline(instruction)
        ]
        return sorted(found, key=lambda instruction: instruction.interval)

    def _decide(self, capacity: SiteCapacity, target_kw: float, reduction_kw: float) -> Plan:
        """Return the first plan, the corrected one once measurements show the last, or the same."""
        if self._sent_at is None or self._target_kw is None or target_kw < self._target_kw:
            return dispatch.plan(capacity, target_kw, self._plan)
        if capacity.as_of - self._sent_at < timedelta(seconds=self._settings.follow_up_s):
            return self._plan
        return dispatch.correct(self._plan, capacity, target_kw, self._settings.deadband * reduction_kw)

    def _baseline(self, instruction: Dispatch) -> float | None:
        """Return the baseline that the offer behind *instruction* was made on, None where it is not ours."""
        award = self._book.ledger.awards.get(instruction.award_id)
        record = self._book.ledger.offers.get(award.offer_id) if award else None
        return record.offer.baseline_kw if record else None

    def _target(self, active: Sequence[Dispatch], now: datetime) -> float:
        """
        Return the lowest load that *active* ask for from *now* on, kW.

        What is owed at one instant adds up, energy and the reserves called beside it: baseline 1,200 kW, 200 kW of
        energy and 100 kW of a reserve are 900 kW. What follows one another does not.
        """
        instants = {now, *(instruction.interval.start for instruction in active)}
        together = ([one for one in active if instant in one.interval] for instant in instants if instant >= now)
        return min(self._target_of(owed) for owed in together if owed)

    def _target_of(self, owed: Sequence[Dispatch]) -> float:
        kw = float(sum((instruction.reduction_mw for instruction in owed), Decimal(0)) * KW_PER_MW)
        baseline_kw = min(self._baseline(instruction) or 0.0 for instruction in owed)
        return dispatch.target_kw(baseline_kw, kw, self._settings.hold_margin)

    def _event_end(self, active: Sequence[Dispatch]) -> datetime:
        """Return the end of the run of instructions that follow each other without a gap."""
        end = active[0].interval.end
        for instruction in sorted(self._book.ledger.dispatches.values(), key=lambda one: one.interval):
            if instruction.interval.start <= end and instruction.reduction_mw > 0:
                end = max(end, instruction.interval.end)
        return end

    def _renewal_due(self, now: datetime, event_end: datetime) -> bool:
        """Tell whether leases run out before the event, or would outlast it because it was cut short."""
        if self._expires_at is None or self._expires_at - self._release == event_end:
            return False
        if self._expires_at - self._release > event_end:
            return True
        longest = timedelta(seconds=self._settings.lease_s)
        ramp = timedelta(seconds=2 * self._settings.ramp_lead_s)
        return self._expires_at - self._release - now < max(longest / 2 - self._release, ramp)

    async def _command(
        self, decided: Plan, instruction: Dispatch, capacity: SiteCapacity | None, target_kw: float, event_end: datetime
    ) -> None:
        """Send the caps of *decided*, until *event_end* or until they have to be renewed."""
        lease = self._lease(instruction, event_end)
        leases = dispatch.commands(decided, self._world.hosts.values(), lease)
        await self._send(leases, lease, decided, capacity, target_kw)
        log.info(
            "leases for %d hosts until %s: load %s, target %.1f kW, %s%s",
            len(leases),
            lease.expires_at.isoformat(),
            f"{capacity.load_kw:.1f} kW" if capacity else "not known",
            target_kw,
            ", ".join(f"{tier} at {cut.share:.0%}" for tier, cut in decided.cuts.items()),
            " (simulated)" if any(message.simulated for message in self._world.capacity) else "",
        )

    def _lease(self, instruction: Dispatch, event_end: datetime) -> Lease:
        now = self._clock.now()
        longest = timedelta(seconds=self._settings.lease_s)
        expires_at = dispatch.lease_end(now, event_end, longest, self._release)
        return Lease(
            award_id=instruction.award_id,
            dispatch_id=instruction.dispatch_id,
            issued_at=now,
            expires_at=max(expires_at, now + SHORTEST),
            seq=dispatch.next_seq(now, self._book.ledger.highest_seq),
            release_s=self._settings.release_s,
        )

    async def _send(
        self,
        leases: Sequence[LeaseCommand],
        lease: Lease,
        decided: Plan,
        capacity: SiteCapacity | None,
        target_kw: float,
    ) -> None:
        """Journal the round, then sign and send it: a sequence that may be out is never used again."""
        self._book.write(
            Commanded(
                award_id=lease.award_id,
                dispatch_id=lease.dispatch_id,
                seq=lease.seq,
                hosts=len(leases),
                load_kw=capacity.load_kw if capacity else None,
                target_kw=target_kw,
                expires_at=lease.expires_at,
                cuts={tier: (cut.share, cut.relief_kw) for tier, cut in decided.cuts.items()},
            )
        )
        acknowledged = [await self._sender.enqueue(topics.COMMANDS, self._signer.sign(command)) for command in leases]
        await self._sender.flush()
        for answer in acknowledged:
            await answer
        self._sent_at, self._expires_at = lease.issued_at, lease.expires_at

    def _say(self, *findings: tuple[str, str]) -> None:
        names = tuple(name for name, _ in findings)
        if names != self._said:
            for name, detail in findings:
                log.warning("%s: %s", name, detail)
        self._said = names

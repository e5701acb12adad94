"""
The bidding process: what is tied to what. Five loops on one clock, none of which waits for another.

    offers    recover ─▶ build ─▶ check ─▶ journal ─▶ submit       fails closed: nothing new while an outcome is open
    reconcile what stands there against what stands here; nothing new before the first time that all is answered
    intake    awards and instructions from the venue
    delivery  instruction ─▶ caps ─▶ signed leases ─▶ corrections
    settling  meter data ─▶ performance ─▶ statement ─▶ compare

Whatever it knows is in the journal; a new process with the same journal goes on where this one was killed.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bidding.agents import feed
from bidding.agents.baselines import Baselines
from bidding.agents.deliver import Delivery, Intake
from bidding.agents.due import planned
from bidding.agents.feed import World
from bidding.agents.firm import FirmOffers
from bidding.agents.firm_now import FirmNow
from bidding.agents.gatekeeper import Gatekeeper, Switch
from bidding.agents.history import History
from bidding.agents.offer import Offering, Strategy
from bidding.agents.portfolio import PortfolioOffers
from bidding.agents.publish import Outbox
from bidding.agents.revise import Revising
from bidding.agents.settle import Settling
from bidding.agents.summary import summarise, write_summary
from bidding.book import Book
from bidding.journal import Journal
from bidding.markets import Connect, Feature, Market
from bidding.offers import Terms
from bidding.performance import LookBack
from bidding.products import Rules
from bidding.reconcile import Reconciler, Verdict
from bidding.settings import FIRM, Settings
from bidding.signing import Signer
from bidding.standby import Primary, take_over
from bidding.states import OVER, UNRESOLVED
from bidding.submit import Submitter
from pipeline import plugins
from pipeline.cbl import single
from pipeline.clock import Clock
from pipeline.errors import ConfigError, FirmwattError, VenueError
from pipeline.interval import Interval
from pipeline.kafka import Sender, ensure_topics
from pipeline.market_topics import MARKET_TOPICS
from pipeline.messages.market import OfferState
from pipeline.topics import COMMANDS

log = logging.getLogger("bidding")

#: Beyond the offer's own window, so that a correction still finds the last whole message.
WINDOW_SLACK = timedelta(seconds=60)

#: Topics that are read or written here; others are none of our business, and may be hidden from us.
USED = (*feed.KEPT, *feed.LIVE, COMMANDS, *MARKET_TOPICS)

#: Nothing more will happen to such an offer.
FINAL = OVER | {OfferState.NOT_AWARDED, OfferState.SETTLED}


async def run(settings: Settings) -> None:
    """Bid until SIGTERM or SIGINT, or until the plan is settled."""
    work = asyncio.ensure_future(_bid(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def _bid(settings: Settings) -> None:
    bidding, clock = settings.bidding, settings.clock
    connect: Connect = plugins.load("bidding.markets", bidding.venue).connect
    terms = bidding.terms(settings.site.name, clock.speed)
    signer = Signer.load(Path(bidding.key_file), bidding.key_id)
    outbox = Outbox()
    window = terms.window.length + terms.window.max_age + WINDOW_SLACK
    world = World(settings.site.name, window, settings.site.interval)
    switch = Switch()
    switch.listen()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(take_over(Path(bidding.journal), bidding.takeover_s))
        primary = Primary(journal, bidding.takeover_s)
        book = Book(journal, clock, outbox.take)
        await ensure_topics(settings.kafka, USED)
        sender = await stack.enter_async_context(Sender(settings.kafka))
        market = await _connected(connect, settings)
        stack.push_async_callback(market.close)
        rules = _rules(market, settings)
        desk = Desk(
            settings,
            market,
            rules,
            switch=switch,
            journal=journal,
            primary=primary,
            book=book,
            world=world,
            signer=signer,
            sender=sender,
        )
        await _first_of(
            desk.work(),
            primary.run(),
            feed.listen(settings.kafka, feed.KEPT, "earliest", world),
            feed.listen(settings.kafka, feed.LIVE, "latest", world),
            outbox.run(sender),
            _ready(world, clock),
        )
        await outbox.drain(sender)
        desk.close_books()


def traded(market: Market, name: str) -> Rules:
    """Return the rules of product *name*; raise `ConfigError` where the venue does not buy it."""
    if name not in market.products:
        raise ConfigError(f"[bidding] product {name!r} is not traded; have {', '.join(market.products) or 'none'}")
    return market.products[name]


def strategy_of(
    settings: Settings, products: Mapping[str, Rules], terms: Terms, *, book: Book, world: World, baselines: Baselines
) -> Strategy:
    """Return the strategy that the settings name."""
    if settings.bidding.strategy != FIRM:
        return PortfolioOffers(settings.bidding, products, terms, book=book, world=world, baselines=baselines)
    if (rules := products.get(settings.bidding.product)) is None:
        raise ConfigError("[bidding] strategy firm sells `product` only: add it to `products`, or name a strategy")
    return FirmOffers(settings.bidding, rules, terms, book=book, world=world, baselines=baselines)


def _rules(market: Market, settings: Settings) -> Rules:
    """Return the rules of the product that is settled; raise `ConfigError` where they do not fit the site."""
    rules = traded(market, settings.bidding.product)
    ours, theirs = settings.site.interval_s, rules.interval_s
    if Feature.STATEMENT in market.features and ours != theirs:
        raise ConfigError(f"[site] interval_s is {ours}, the venue settles intervals of {theirs} s")
    if theirs % ours:
        raise ConfigError(f"[site] interval_s is {ours}: intervals of {theirs} s are no multiple of it")
    return rules


async def _connected(connect: Connect, settings: Settings) -> Market:
    """Return the venue once it answers; give up when the plan's last interval has begun without it."""
    bidding, clock = settings.bidding, settings.clock
    last = bidding.plan_start + bidding.intervals * settings.site.interval if bidding.plan_start else None
    said = False
    while True:
        try:
            return await connect(settings.path, clock)
        except VenueError as error:
            if last is not None and bidding.intervals and clock.now() >= last - settings.site.interval:
                raise VenueError(
                    f"the venue did not answer before its gate closed, nothing was offered: {error}"
                ) from error
            if not said:
                log.warning("%s; trying again", error)
            said = True
            await clock.sleep(timedelta(seconds=bidding.poll_s))


async def _ready(world: World, clock: Clock) -> None:
    """Say once that capacity is seen, then wait to be cancelled."""
    while world.whole_capacity is None:
        await clock.sleep(timedelta(milliseconds=200))
    print("ready bidding: capacity seen", file=sys.stderr, flush=True)  # noqa: T201 - what starts us waits for it
    await asyncio.Event().wait()


async def _first_of(work: Coroutine[Any, Any, None], *helpers: Coroutine[Any, Any, None]) -> None:
    """Return when *work* does, raise what any of them raises; none is left running."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in (work, *helpers)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def every(span: timedelta, clock: Clock, tick: Callable[[datetime], Awaitable[None]]) -> None:
    """Call *tick* with the time, *span* after it last returned, until cancelled."""
    while True:
        await tick(clock.now())
        await clock.sleep(span)


class Desk:
    """One resource at one venue: the loops, and when they are done."""

    def __init__(
        self,
        settings: Settings,
        market: Market,
        rules: Rules,
        *,
        switch: Switch,
        journal: Journal,
        primary: Primary,
        book: Book,
        world: World,
        signer: Signer,
        sender: Sender,
    ) -> None:
        bidding = settings.bidding
        method = single.method(rules.baseline_method or bidding.baseline_method)
        look_back = LookBack(method.look_back.days, method.reach)
        history = History(bidding.archive, world, settings.site.interval, look_back)
        self._settings, self._market, self._rules = settings, market, rules
        self._book, self._world = book, world
        self._clock = settings.clock
        self._reconciled = False
        terms = bidding.terms(settings.site.name, settings.clock.speed)
        products = {name: traded(market, name) for name in bidding.for_sale}
        self._gate = Gatekeeper(
            bidding,
            settings.site.name,
            products,
            journal=journal,
            book=book,
            world=world,
            clock=settings.clock,
            window=terms.window,
            switch=switch,
        )
        self._submitter = Submitter(
            market,
            book,
            settings.clock,
            bidding.patience,
            primary,
            closed=lambda: self._gate.closed(settings.clock.now()),
        )
        self._reconciler = Reconciler(market, book, self._submitter)
        strategy = strategy_of(
            settings, products, terms, book=book, world=world, baselines=Baselines(rules, method, book, history)
        )
        self._offering = Offering(
            strategy, market, gate=self._gate, book=book, submitter=self._submitter, clock=settings.clock
        )
        self._revising = Revising(
            bidding,
            market,
            book=book,
            submitter=self._submitter,
            firm=FirmNow(bidding, lambda name: market.products[name], book=book, world=world, window=terms.window),
            propose=lambda offers, now: self._offering.propose(offers, now, {}),
        )
        self._intake = Intake(bidding, market, book)
        self._delivery = Delivery(bidding, book=book, world=world, signer=signer, sender=sender, clock=settings.clock)
        self._settling = Settling(
            bidding, market, rules, book=book, history=history, method=method, site=settings.site.name
        )

    async def work(self) -> None:
        """Run the loops; return once the plan is done, if it is to stop then."""
        span = timedelta(seconds=self._settings.bidding.poll_s)
        await _first_of(
            self._until_done(),
            every(timedelta(seconds=self._settings.bidding.reconcile_s), self._clock, self._reconcile),
            every(span, self._clock, self._look),
            every(span, self._clock, self._offer),
            every(span, self._clock, self._intake.tick),
            every(span, self._clock, self._delivery.tick),
            every(span, self._clock, self._settle),
        )

    async def _look(self, now: datetime) -> None:
        """Take in switches and telemetry, also while an offer waits for a venue that is silent."""
        self._gate.look(now)

    async def _offer(self, now: datetime) -> None:
        """Offer only while nothing is open from before, and not before the venue agrees on what stands."""
        await self._submitter.poll()
        if await self._submitter.recover() and self._reconciled:
            await self._offering.tick(now)
            await self._revising.tick(now)

    async def _reconcile(self, now: datetime) -> None:
        if await self._submitter.recover():
            lines = await self._reconciler.tick(now)
            self._reconciled = self._reconciled or all(line.verdict is not Verdict.SILENT for line in lines)

    async def _settle(self, now: datetime) -> None:
        """Settle where the venue takes readings and writes statements; elsewhere that goes by other ways than ours."""
        if {Feature.METER, Feature.STATEMENT} <= self._market.features:
            await self._settling.tick(now)

    async def _until_done(self) -> None:
        span = timedelta(seconds=self._settings.bidding.poll_s)
        while not self._done(self._clock.now()):
            await self._clock.sleep(span)

    def _done(self, now: datetime) -> bool:
        intervals = planned(self._settings.bidding, self._rules)
        if not self._settings.bidding.stop_after_settlement or not intervals:
            return False
        patience = timedelta(seconds=self._settings.bidding.settle_wait_s)
        return all(self._is_over(interval, now) for interval in intervals) or now >= intervals[-1].end + patience

    def _is_over(self, interval: Interval, now: datetime) -> bool:
        records = [record for record in self._book.ledger.offers.values() if record.offer.interval == interval]
        if not records:
            return now >= self._rules.gate_closes(interval)
        return all(record.state in FINAL for record in records)

    def close_books(self) -> None:
        """Write the summary; raise what kept the plan from being settled."""
        bidding, ledger = self._settings.bidding, self._book.ledger
        summary = summarise(ledger, self._world, self._settling.differences, self._offering.findings, self._rules)
        if bidding.summary:
            write_summary(Path(bidding.summary), summary)
        problem = self._problem()
        if problem is not None:
            raise problem

    def _problem(self) -> FirmwattError | None:
        records = list(self._book.ledger.offers.values())
        if not records and self._offering.insufficient is not None:
            return self._offering.insufficient
        if not records:
            log.warning(
                "nothing was offered: %s", "; ".join(map(str, self._offering.findings)) or "no interval was due"
            )
            return None
        if any(record.state in UNRESOLVED for record in records):
            return VenueError("the venue did not say what became of an offer; start again with the same journal to ask")
        if any(record.state not in FINAL for record in records):
            return self._settling.problem or VenueError("the venue did not settle every award; start again to go on")
        return None

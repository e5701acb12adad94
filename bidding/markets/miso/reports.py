"""What MISO reports: results, instructions, and what it no longer sells of ours."""

import asyncio
from datetime import date, timedelta

from bidding.markets import Notice
from bidding.markets.miso import results
from bidding.markets.miso.answers import DayAheadResults, Notification, QualificationStatus, Qualified, notifications
from bidding.markets.miso.cells import MARKETS
from bidding.markets.miso.client import Absent, Session
from bidding.markets.miso.codec import Codec
from bidding.markets.miso.day import day_of
from bidding.markets.miso.schedule import flat
from bidding.markets.miso.strict import parse
from pipeline.clock import Clock
from pipeline.messages.market import Award, Dispatch

PAGE = 300
"""Notifications asked for at a time: a day has 288 dispatches."""
PAGES = 20


class Reports:
    """Queries about one participant's resources."""

    def __init__(self, session: Session, words: Codec, clock: Clock) -> None:
        self._session = session
        self._sold = results.sold(words.products)
        self._clock = clock

    async def awards(self, resource: str) -> tuple[Award, ...]:
        """Return the awards of today and tomorrow; raise `VenueError` when there is no answer."""
        ahead, orders = await self._said(resource)
        return (*ahead, *results.real_time_awards(orders, ahead, resource, self._sold))

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        """Return today's instructions; raise `VenueError` when there is no answer."""
        ahead, orders = await self._said(resource)
        given = (*orders, *results.replaced(orders))
        awards = (*ahead, *results.real_time_awards(given, ahead, resource, self._sold))
        deployments = await self._log("contingency-reserve", resource)
        energy = results.energy_dispatches(orders, awards)
        return tuple(energy) + results.reserve_dispatches(deployments, awards, resource)

    async def notices(self, resource: str) -> tuple[Notice, ...]:
        """Return what MISO took back of *resource* for today and tomorrow."""
        days = [(market, day) for market in MARKETS for day in self._days()]
        found = await asyncio.gather(*(self._taken_back(resource, market, day) for market, day in days))
        return tuple(notice for each in found for notice in each)

    def _days(self) -> tuple[date, date]:
        today = day_of(self._clock.now())
        return today, today + timedelta(days=1)

    async def _said(self, resource: str) -> tuple[tuple[Award, ...], tuple[results.Order, ...]]:
        """Return what the day ahead bought of *resource*, and today's instructions."""
        ahead = tuple([award for day in self._days() for award in await self._day_ahead(resource, day)])
        log = await self._log("dispatch-instruction", resource)
        return ahead, results.orders(log, resource, label_ends=self._session.settings.interval_label == "ends")

    async def _day_ahead(self, resource: str, day: date) -> tuple[Award, ...]:
        url = self._session.path(
            "markets", "day-ahead", str(day), "reports", "locational-results", "participants", "{participant}"
        )
        try:
            found = parse(DayAheadResults, await self._session.get(url, pnode=resource))
        except Absent:
            return ()  # not cleared yet
        return results.day_ahead_awards(found, resource, self._sold)

    async def _log(self, kind: str, resource: str) -> tuple[Notification, ...]:
        """Return today's notifications of *kind* about *resource*, the oldest first."""
        url = self._session.path(
            "markets", "notifications", str(self._days()[0]), kind, "participants", "{participant}", "messages"
        )
        found: list[Notification] = []
        for page in range(PAGES):
            try:
                value = await self._session.get(
                    url, pnode=resource, page=str(page), size=str(PAGE), sort="created:desc"
                )
            except Absent:
                break
            found += notifications(value)
            if not isinstance(value, list) or len(value) < PAGE:
                break
        return tuple(sorted(found, key=lambda entry: entry.created))

    async def _taken_back(self, resource: str, market: str, day: date) -> tuple[Notice, ...]:
        url = self._session.path("markets", market, str(day), "offer", "schedule", "participants", "{participant}")
        try:
            book = flat(await self._session.get(url, pnode=resource))
        except Absent:
            return ()
        if not any(key.resource == resource for key in book.cells):
            return ()
        flags = await self._flags(resource, market, day)
        return results.notices(book, flags, resource, self._sold, self._clock.now())

    async def _flags(self, resource: str, market: str, day: date) -> tuple[Qualified, ...]:
        url = self._session.path(
            "markets", market, str(day), "offer", "qualification-status", "participants", "{participant}"
        )
        try:
            found = parse(QualificationStatus, await self._session.get(url, pnode=resource))
        except Absent:
            return ()
        return tuple(flag for entry in found.resources if entry.pnode_name == resource for flag in entry.offers)

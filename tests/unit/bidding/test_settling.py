"""What goes to the venue after events: one batch of readings a local day, whatever is due together."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from doubles.builders import MINUTE, NOON, award, intent, offer, rules
from doubles.clocks import SetClock
from doubles.scripted import ScriptedVenue

from bidding.agents.feed import World
from bidding.agents.history import History
from bidding.agents.settle import Settling
from bidding.book import Book
from bidding.journal import Journal
from bidding.markets import MeterReading
from bidding.performance import LookBack
from bidding.settings import Bidding
from pipeline.calendar import Calendar
from pipeline.cbl.single import Baseline, Event
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.telemetry import SiteInterval

DAY = timedelta(days=1)
FIRST = Interval(NOON, NOON + MINUTE)
SECOND = Interval(NOON + DAY, NOON + DAY + MINUTE)


class Listening(ScriptedVenue):
    """Keeps the starts of the readings by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: dict[str, list[datetime]] = {}

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        del resource
        self.batches[batch_id] = [reading.interval.start for reading in readings]


class Metered(History):
    """No archive; of every event its own minute."""

    def __init__(self, world: World) -> None:
        super().__init__("", world, MINUTE, LookBack(days=0, reach=timedelta(0)))

    def reload(self, as_of: datetime) -> None:
        del as_of
        self._past = {}


def no_baseline(_history: pl.DataFrame, _event: Event, _calendar: Calendar, _grid: timedelta) -> Baseline:
    raise InsufficientDataError(1, 0, "days")


def metered(interval: Interval) -> SiteInterval:
    return SiteInterval(
        site="site-1",
        interval=interval,
        revision=1,
        energy_kwh=10.0,
        hosts=1,
        hosts_partial=0,
        covered_share=1.0,
        partitions=8,
        partitions_expected=8,
        ticks=60,
        ticks_missing=0,
        pools=(),
        simulated=True,
    )


async def test_the_readings_of_two_local_days_are_two_batches(tmp_path: Path) -> None:
    """A reserve was awarded at noon UTC of the 23rd and of the 24th; both are settled on the 25th."""
    world, venue = World("site-1", 10 * MINUTE, MINUTE), Listening()
    with Journal(tmp_path / "j") as journal:
        book = Book(journal, SetClock())
        for interval in (FIRST, SECOND):
            offered = offer(interval=interval, offer_id=interval.start.isoformat(), product="spin")
            book.write(intent(offered))
            bought = award("0.2", interval=interval, offered=offered)
            book.write(bought.model_copy(update={"award_id": interval.start.isoformat(), "product": "spin"}))
            world.take(metered(interval))
        settling = Settling(
            Bidding(), venue, rules(), book=book, history=Metered(world), method=no_baseline, site="site-1"
        )
        await settling.tick(NOON + 2 * DAY)

    assert venue.batches == {"2026-07-23": [FIRST.start], "2026-07-24": [SECOND.start]}
    assert list(book.ledger.reports) == ["2026-07-23", "2026-07-24"]

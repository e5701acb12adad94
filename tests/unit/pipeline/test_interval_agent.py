"""The interval agent: it publishes, remembers, and looks at an interval only when there is something to do."""

from collections import Counter, UserDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from unit.pipeline.test_site import partial
from unit.pipeline.test_site_intervals import late, part
from unit.pipeline.ticks import NOON, at

from pipeline.agents import interval
from pipeline.interval import Interval
from pipeline.messages.telemetry import IntervalCorrection, IntervalPartial, SiteInterval, SitePartial
from pipeline.site_intervals import KEEP, OpenInterval

Message = IntervalPartial | IntervalCorrection | SitePartial


class Watched(UserDict[str, OpenInterval]):
    """A table that counts how often a state was read."""

    reads = 0

    def __getitem__(self, key: str) -> OpenInterval:
        self.reads += 1
        return super().__getitem__(key)


@dataclass
class Agent:
    """An agent of two partitions, and what became of what it was sent."""

    table: Watched = field(default_factory=Watched)
    published: list[SiteInterval] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    recoveries: int = 0
    told: dict[str, SiteInterval] = field(default_factory=dict)
    """What was published before it took over, by table key."""

    async def handle(self, *messages: tuple[datetime, Message]) -> None:
        """Run it on *messages*, each at its instant."""
        instants = iter([instant for instant, _ in messages])
        await interval.run(
            stream(message for _, message in messages),
            self.table,
            self._emit,
            2,
            lambda: next(instants),
            recoveries=lambda: self.recoveries,
            told=self._told,
            passed_over=self.passed_over,
        )

    async def _told(self) -> dict[str, SiteInterval]:
        return self.told

    async def _emit(self, figure: SiteInterval) -> None:
        self.published.append(figure)


async def stream(messages: Iterator[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


def pulse(seconds: float) -> tuple[datetime, SitePartial]:
    return at(seconds), partial(0, seconds)


def moved(figure: IntervalPartial, minutes: int, length_s: int = 60) -> IntervalPartial:
    """Return *figure* of a later interval."""
    start = NOON + timedelta(minutes=minutes)
    return msgspec.structs.replace(figure, interval=Interval(start, start + timedelta(seconds=length_s)))


async def test_the_pulse_of_site_partials_ends_the_wait_for_a_dead_partition() -> None:
    agent = Agent()
    await agent.handle((at(61), part(0)), pulse(70), pulse(80.9), pulse(81), pulse(82))

    assert [(figure.revision, figure.partitions) for figure in agent.published] == [(1, 1)]


async def test_intervals_of_two_lengths_that_begin_together_are_two() -> None:
    agent = Agent()
    long = [moved(part(number), 0, 300) for number in (0, 1)]
    await agent.handle((at(66), part(0)), (at(66), part(1)), (at(306), long[0]), (at(306), long[1]))

    assert [figure.interval.length for figure in agent.published] == [timedelta(seconds=60), timedelta(seconds=300)]
    assert len(agent.table) == 2


async def test_a_correction_is_published_as_a_revision_three_days_later() -> None:
    agent = Agent()
    later = NOON + timedelta(hours=72)
    await agent.handle((at(66), part(0)), (at(66), part(1)), (later, partial(0, 0)), (later, late(0)))

    assert [(figure.revision, figure.corrected) for figure in agent.published] == [(1, False), (2, True)]
    assert agent.passed_over == {}


async def test_an_interval_is_forgotten_after_three_days_and_its_corrections_are_counted() -> None:
    agent = Agent()
    over = at(60) + KEEP
    await agent.handle((at(66), part(0)), (at(66), part(1)), (over, partial(0, 0)), (over, late(0)))

    assert not agent.table
    assert len(agent.published) == 1
    assert agent.passed_over == {"corrections_of_forgotten_intervals": 1}


async def test_a_partial_of_a_forgotten_interval_is_no_new_figure_of_it() -> None:
    """A partition without hosts, whose state was not saved since, closes it again: 0 kWh in place of what was there."""
    agent = Agent()
    over = at(60) + KEEP
    await agent.handle(
        (at(66), part(0)),
        (at(66), part(1)),
        (over, partial(0, 0)),
        (over, part(1, 0.0, offset=1)),
        (over + timedelta(seconds=30), partial(0, 0)),
    )

    assert [figure.revision for figure in agent.published] == [1]
    assert agent.passed_over == {"partials_of_forgotten_intervals": 1}


async def test_corrections_of_a_site_whose_figures_come_from_elsewhere_are_let_go_of() -> None:
    """No partial of it ever comes, and no pulse: only what is mirrored."""
    agent = Agent()
    for minute in range(3):
        await agent.handle((at(60 * minute) + KEEP, moved_late(minute)))
    later = msgspec.structs.replace(moved_late(5000))
    await agent.handle((later.interval.end + timedelta(minutes=1), later))

    assert len(agent.table) == 1


def moved_late(minutes: int) -> IntervalCorrection:
    """Return a correction of a later interval."""
    start = NOON + timedelta(minutes=minutes)
    return msgspec.structs.replace(late(0), interval=Interval(start, start + timedelta(seconds=60)))


async def test_a_correction_that_comes_before_its_partial_is_kept_and_counted() -> None:
    agent = Agent()
    await agent.handle((at(66), part(0)), (at(66), late(1)), (at(67), part(1)))

    assert [figure.energy_kwh for figure in agent.published] == [2.25]
    assert agent.passed_over == {"corrections_without_partial": 1}


async def test_a_partial_that_comes_after_its_predecessor_was_added_up_is_counted() -> None:
    agent = Agent()
    await agent.handle((at(66), part(0)), (at(66), part(1)), pulse(700), (at(701), part(1, 5.0, offset=300)))

    assert len(agent.published) == 1
    assert agent.passed_over == {"partials_after_collapse": 1}


async def test_a_pulse_looks_at_no_interval_that_has_nothing_to_do() -> None:
    """A hundred closed intervals; the pulse of a second then reads none of them."""
    agent = Agent()
    closed = [(at(60 * minute + 66), moved(part(number), minute)) for minute in range(100) for number in (0, 1)]
    await agent.handle(*closed, pulse(6007))
    agent.table.reads = 0

    await agent.handle(pulse(6008), pulse(6009), pulse(6010))

    assert agent.table.reads == 100  # once, at the start
    assert len(agent.table) == 100
    assert sum(1 for state in agent.table.values() if state.partials) == 10  # closed within ten minutes


async def test_what_a_predecessor_published_without_writing_it_down_keeps_its_number() -> None:
    """It had waited for one of two partitions and died. With the second there, the figure is the next revision."""
    first, second = Agent(), Agent()
    await first.handle((at(66), part(0)), pulse(90))
    (published,) = first.published
    second.told = dict.fromkeys(first.table, published)

    await second.handle((at(91), part(0)), (at(91), part(1)), (at(92), part(1)))

    assert [(figure.revision, figure.partitions) for figure in first.published] == [(1, 1)]
    assert [(figure.revision, figure.partitions) for figure in second.published] == [(2, 2)]


async def test_what_a_predecessor_published_is_not_published_again() -> None:
    first, second = Agent(), Agent()
    await first.handle((at(66), part(0)), (at(66), part(1)))
    second.told = dict.fromkeys(first.table, first.published[-1])

    await second.handle((at(91), part(0)), (at(91), part(1)), (at(95), late(0)))

    assert [(figure.revision, figure.corrected) for figure in second.published] == [(2, True)]


async def test_a_worker_that_takes_over_goes_on_waiting_where_the_other_stopped() -> None:
    """The other one died after the first partial; the new one has nothing but the table, filled while it runs."""
    first, second = Agent(), Agent()
    await first.handle((at(61), part(0)))

    class Filling(AsyncIterator[Message]):
        """The table is filled, as after a rebalance, between two pulses."""

        sent = 0

        async def __anext__(self) -> Message:
            self.sent += 1
            if self.sent == 2:
                second.table.update(first.table)
                second.recoveries += 1
            if self.sent > 2:
                raise StopAsyncIteration
            return partial(0, 0)

    instants = iter([at(70), at(81)])
    await interval.run(
        Filling(), second.table, second._emit, 2, lambda: next(instants), recoveries=lambda: second.recoveries
    )

    assert [(figure.revision, figure.partitions) for figure in second.published] == [(1, 1)]

"""
Interval partials and corrections to site intervals. The agent moves messages; `pipeline.site_intervals` decides.

Every message of a site is a pulse that tells when an interval has waited long enough, and site partials come along for
nothing else. A timer could tell, too, but a Faust table can only be changed while a message is handled, and an
exception in a timer ends the worker. The pulse of a site goes on while any worker holds any telemetry partition,
whether its hosts are heard of or not; where nobody does, nobody closes intervals either. Of a site whose figures
another cluster makes there are only corrections, which are let go of as later ones come.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush

from pipeline.messages.telemetry import IntervalCorrection, IntervalPartial, SiteInterval, SitePartial
from pipeline.site_intervals import (
    OpenInterval,
    collapsed,
    due,
    is_history,
    next_look,
    site_of,
    table_key,
    taken,
    unlike,
)

Emit = Callable[[SiteInterval], Awaitable[None]]


class Agenda:
    """When which interval has to be looked at although nothing comes, so that a pulse need not look at all of them."""

    def __init__(self, intervals: Mapping[str, OpenInterval], since: datetime) -> None:
        """Look through all *intervals* once, some 50 µs each. Nobody has listened before *since*."""
        self.since = since
        self._at = {key: next_look(state, since) for key, state in intervals.items()}
        self._of_site: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)
        for key, at in self._at.items():
            self._of_site[site_of(key)].append((at, key))
        for heap in self._of_site.values():
            heapify(heap)

    def note(self, key: str, state: OpenInterval) -> None:
        """Take down when *state*, at *key*, is to be looked at."""
        at = next_look(state, self.since)
        if self._at.get(key) != at:
            self._at[key] = at
            heappush(self._of_site[site_of(key)], (at, key))

    def due(self, site: str, now: datetime) -> list[str]:
        """Return, and strike out, the keys of *site* to be looked at by *now*."""
        heap, keys = self._of_site[site], []
        while heap and heap[0][0] <= now:
            at, key = heappop(heap)
            if self._at.get(key) == at:
                del self._at[key]
                keys.append(key)
        return keys


async def nothing_told() -> Mapping[str, SiteInterval]:
    """Return that nothing was published before."""
    return {}


async def run(
    messages: AsyncIterable[IntervalPartial | IntervalCorrection | SitePartial],
    intervals: MutableMapping[str, OpenInterval],
    emit: Emit,
    expected: int,
    now: Callable[[], datetime],
    *,
    recoveries: Callable[[], int] = lambda: 0,
    told: Callable[[], Awaitable[Mapping[str, SiteInterval]]] = nothing_told,
    passed_over: Counter[str] | None = None,
) -> None:
    """
    Publish each interval once it is complete or has waited long enough, and again when it changes.

    A change of *intervals* lasts only once what *emit* was given before it is acknowledged (`pipeline.app`).
    *recoveries* tells how often *intervals* was filled by somebody else; *told* then tells by table key what was
    published before (`pipeline.agents.told`). *passed_over* counts what changes no figure: corrections of intervals
    that are forgotten or whose partial is not in, partials whose predecessor was added up.
    """
    agent = _Agent(intervals, emit, expected, Counter() if passed_over is None else passed_over)
    known = None
    async for message in messages:
        instant = now()
        if known != recoveries():
            known = recoveries()
            agent.agenda = Agenda(intervals, instant)
            agent.told = await told()
        if not isinstance(message, SitePartial):
            await agent.take(message, instant)
        await agent.look(message.site, instant)


@dataclass(eq=False)
class _Agent:
    intervals: MutableMapping[str, OpenInterval]
    emit: Emit
    expected: int
    passed_over: Counter[str]
    agenda: Agenda = field(init=False)
    told: Mapping[str, SiteInterval] = field(default_factory=dict)

    async def take(self, message: IntervalPartial | IntervalCorrection, now: datetime) -> None:
        key = table_key(message.site, message.interval)
        before = self.intervals.get(key)
        if before is None and is_history(message, now):
            kind = "corrections" if isinstance(message, IntervalCorrection) else "partials"
            self.passed_over[f"{kind}_of_forgotten_intervals"] += 1
            return
        state, figure = taken(before, message, self.expected, now)
        await self._put(key, before, state, figure)
        if reason := _without_effect(message, state):
            self.passed_over[reason] += 1

    async def look(self, site: str, now: datetime) -> None:
        for key in self.agenda.due(site, now):
            if (before := self.intervals.get(key)) is None:
                continue
            if now >= before.kept_until:
                del self.intervals[key]
                continue
            state, figure = due(before, self.expected, now)
            await self._put(key, before, collapsed(state, self.agenda.since, now), figure)

    async def _put(
        self, key: str, before: OpenInterval | None, state: OpenInterval, figure: SiteInterval | None
    ) -> None:
        if figure:
            state, figure = unlike(self.told.get(key), state, figure)
        if figure:
            await self.emit(figure)
        if state is not before:
            self.intervals[key] = state
            self.agenda.note(key, state)


#: Why a message can be passed over; a page shows each, also while it never happened.
PASSED_OVER = (
    "corrections_of_forgotten_intervals",
    "partials_of_forgotten_intervals",
    "corrections_without_partial",
    "partials_after_collapse",
)


def _without_effect(message: IntervalPartial | IntervalCorrection, state: OpenInterval) -> str | None:
    """Return by name what *message* could not do, although it is news."""
    held = state.holds_up_to.get(message.partition)
    if held is None:
        return "corrections_without_partial"
    return "partials_after_collapse" if isinstance(message, IntervalPartial) and message.offset > held else None

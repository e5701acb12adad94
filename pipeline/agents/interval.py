"""
Interval partials to site intervals. The agent moves messages; `pipeline.site` decides.

Site partials come along as the pulse that tells when an interval has waited long enough: a Faust table can only be
changed while a message is being handled.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, MutableMapping
from datetime import datetime

from pipeline.messages.telemetry import IntervalPartial, SiteInterval, SitePartial
from pipeline.site import OpenInterval, heard, is_over, keys_of_site, step, table_key


async def run(
    messages: AsyncIterable[IntervalPartial | SitePartial],
    intervals: MutableMapping[str, OpenInterval],
    emit: Callable[[SiteInterval], Awaitable[None]],
    expected: int,
    now: Callable[[], datetime],
) -> None:
    """Publish each interval once it is complete or has waited long enough, and again when it changes."""
    pulse: dict[str, datetime] = {}
    async for message in messages:
        instant = now()
        if isinstance(message, IntervalPartial):
            key = table_key(message.site, message.interval.start)
            intervals[key] = heard(intervals.get(key), message, instant)
            keys = [key]
        elif pulse.get(message.site) != message.as_of:
            pulse[message.site] = message.as_of
            keys = keys_of_site(intervals, message.site)
        else:
            continue
        for key in keys:
            await _step(key, intervals, emit, expected, instant)


async def _step(
    key: str,
    intervals: MutableMapping[str, OpenInterval],
    emit: Callable[[SiteInterval], Awaitable[None]],
    expected: int,
    now: datetime,
) -> None:
    state, figure = step(before := intervals[key], expected, now)
    if figure:
        await emit(figure)
    if is_over(state, now):
        del intervals[key]
    elif state is not before:
        intervals[key] = state

"""Partials to site capacity, about once a second. The agent moves messages; `pipeline.site` decides."""

from collections.abc import AsyncIterable, Awaitable, Callable, MutableMapping
from datetime import datetime

from pipeline.messages.telemetry import SiteCapacity, SitePartial
from pipeline.site import capacity, due_second, newer, of_site, table_key


async def run(
    partials: AsyncIterable[SitePartial],
    newest: MutableMapping[str, SitePartial],
    emit: Callable[[SiteCapacity], Awaitable[None]],
    expected: int,
    now: Callable[[], datetime],
) -> None:
    """Keep each partition's newest partial in *newest* and publish a site's figure when a second is due."""
    published: dict[str, datetime] = {}
    async for partial in partials:
        key = table_key(partial.site, partial.partition)
        if not newer(newest.get(key), partial):
            continue
        newest[key] = partial
        everyone = of_site(newest, partial.site, expected)
        second = due_second(everyone, expected, published.get(partial.site), partial.as_of)
        if second is not None and (figure := capacity(everyone, expected, now())):
            await emit(figure)
            published[partial.site] = second

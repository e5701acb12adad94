"""
Partials to site capacity, about once a second. The agent moves messages; `pipeline.site` decides.

What it remembers is not kept on Kafka: every partition speaks again within a second, and what is older than
`capacity.STALE_AFTER` counts for nothing anyway.
"""

from collections import defaultdict
from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import datetime

from pipeline.messages.telemetry import SiteCapacity, SitePartial
from pipeline.site import capacity, due_second, newer


async def run(
    partials: AsyncIterable[SitePartial],
    emit: Callable[[SiteCapacity], Awaitable[None]],
    expected: int,
    now: Callable[[], datetime],
) -> None:
    """Publish a site's figure when a second is due; *expected* partitions are there."""
    newest: defaultdict[str, dict[int, SitePartial]] = defaultdict(dict)
    published: dict[str, datetime] = {}
    async for partial in partials:
        of_site = newest[partial.site]
        if not newer(of_site.get(partial.partition), partial):
            continue
        of_site[partial.partition] = partial
        second = due_second(of_site.values(), expected, published.get(partial.site), partial.as_of)
        if second is not None and (figure := capacity(of_site.values(), expected, now())):
            await emit(figure)
            published[partial.site] = second

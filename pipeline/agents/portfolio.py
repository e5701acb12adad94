"""Site to portfolio capacity, about once a second. The agent moves messages; `pipeline.portfolio` decides."""

from collections.abc import AsyncIterable, Awaitable, Callable, Collection, MutableMapping
from datetime import datetime

from pipeline.messages.telemetry import PortfolioCapacity, SiteCapacity
from pipeline.portfolio import capacity, due_second, replaces


async def run(
    figures: AsyncIterable[SiteCapacity],
    newest: MutableMapping[str, SiteCapacity],
    emit: Callable[[PortfolioCapacity], Awaitable[None]],
    *,
    portfolio: str,
    expected: Collection[str],
    now: Callable[[], datetime],
) -> None:
    """
    Keep the newest figure of each *expected* site in *newest* and publish the sum when a second is due.

    One agent must see all sites: *figures* is every partition of `topics.SITE_CAPACITY`.
    """
    published: datetime | None = None
    async for figure in figures:
        site, arrived = figure.site, now()
        if site not in expected or not replaces(newest.get(site), figure, arrived):
            continue
        newest[site] = figure
        known = {name: newest[name] for name in expected if name in newest}
        second = due_second(known, published, arrived)
        if second is not None and (total := capacity(known, expected, portfolio, arrived)):
            await emit(total)
            published = second

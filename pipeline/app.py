"""Composition root of the Faust half: ties agents, topics and tables together; builds without connecting."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from pipeline.agents import interval, site
from pipeline.messages.telemetry import SiteCapacity, SiteInterval, SitePartial
from pipeline.pipeline_settings import Pipeline
from pipeline.site import OpenInterval
from pipeline.streams import Table, faust, messages, source
from pipeline.topics import HOST_TICKS, INTERVAL_PARTIALS, SITE_PARTIALS


def build(
    bootstrap: str,
    settings: Pipeline,
    emit_capacity: Callable[[SiteCapacity], Awaitable[None]],
    emit_interval: Callable[[SiteInterval], Awaitable[None]],
    now: Callable[[], datetime],
) -> Any:
    """Return the Faust application with its two agents; nothing connects before it is started."""
    app = faust.App(
        settings.group,
        broker=";".join(f"kafka://{address}" for address in bootstrap.split(",")),
        store="memory://",
        datadir=settings.data,
        web_enabled=False,  # two workers on one host would fight for the port
        topic_disable_leader=True,  # nothing here needs a leader
        topic_replication_factor=settings.replication,
        topic_partitions=SITE_PARTIALS.partitions,
        table_standby_replicas=0,  # the tables are small: rebuilding takes less than a rebalance
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 4,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
    )
    partials: Table[SitePartial] = Table(app, "site-partials", SitePartial, SITE_PARTIALS.partitions)
    intervals: Table[OpenInterval] = Table(app, "open-intervals", OpenInterval, INTERVAL_PARTIALS.partitions)
    expected = HOST_TICKS.partitions

    @app.agent(source(app, SITE_PARTIALS), name="site")
    async def _site(stream: Any) -> None:
        await site.run(messages(stream, SITE_PARTIALS), partials, emit_capacity, expected, now)

    @app.agent(source(app, INTERVAL_PARTIALS, SITE_PARTIALS), name="interval")
    async def _interval(stream: Any) -> None:
        both = messages(stream, INTERVAL_PARTIALS, SITE_PARTIALS)
        await interval.run(both, intervals, emit_interval, expected, now)

    return app

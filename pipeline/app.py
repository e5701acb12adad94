"""Composition root of the Faust half: ties agents, topics and tables together; builds without connecting."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pipeline.agents import interval, portfolio, site, told
from pipeline.fence import Fence
from pipeline.heard import Heard
from pipeline.messages.telemetry import SiteCapacity, SiteInterval
from pipeline.outbox import Enqueue, Outbox
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Kafka
from pipeline.site_intervals import OpenInterval, joined
from pipeline.streams import Table, agent, credentials, faust, forward, messages, own, source
from pipeline.topics import (
    CORRECTIONS,
    INTERVAL_PARTIALS,
    PORTFOLIO_CAPACITY,
    SITE_CAPACITY,
    SITE_INTERVALS,
    SITE_PARTIALS,
    Topic,
)

#: A fetch of one partition ends here. Faust reads it up before it turns to the next: with its default of 1 MiB some
#: thousands of partials are handled while the other partitions wait.
FETCH_BYTES = 64 * 1024
#: Events that wait for an agent.
WAITING = 1000


def build(
    kafka: Kafka,
    settings: Pipeline,
    enqueue: Enqueue,
    now: Callable[[], datetime],
    *,
    fence: Fence,
    passed_over: Counter[str],
) -> Any:
    """
    Return the Faust application with its agents; nothing connects before it is started.

    *enqueue* queues a message. *fence* ends a worker that stood still, *passed_over* counts what
    changed no figure (`pipeline.agents.interval`).
    """
    app = _application(kafka, settings)
    expected = kafka.telemetry_partitions
    intervals = Table(app, "site-intervals", OpenInterval, INTERVAL_PARTIALS.partitions, joined)

    @agent(app, source(app, SITE_PARTIALS), "site")
    async def _site(stream: Any) -> None:
        sent = Outbox(enqueue, kafka.bootstrap)
        partials = messages(stream, fence, SITE_PARTIALS, settled=sent.settled)
        await site.run(partials, partial(sent.put, SITE_CAPACITY), expected, now)

    @agent(app, source(app, INTERVAL_PARTIALS, CORRECTIONS, SITE_PARTIALS), "interval")
    async def _interval(stream: Any) -> None:
        sent = Outbox(enqueue, kafka.bootstrap)

        async def settled() -> None:
            """Publish first, then remember: of what a worker published that dies between the two, the topic tells."""
            await sent.settled()
            fence.check()
            intervals.write()

        async def published() -> dict[str, SiteInterval]:
            await sent.settled()
            return await told.newest(kafka)

        await interval.run(
            messages(stream, fence, INTERVAL_PARTIALS, CORRECTIONS, SITE_PARTIALS, settled=settled),
            intervals,
            partial(sent.put, SITE_INTERVALS),
            expected,
            now,
            recoveries=lambda: intervals.recoveries,
            told=published,
            passed_over=passed_over,
        )

    _add_portfolio(app, settings, lambda: Outbox(enqueue, kafka.bootstrap), now, fence)
    return app


def _add_portfolio(
    app: Any, settings: Pipeline, outbox: Callable[[], Outbox], now: Callable[[], datetime], fence: Fence
) -> None:
    """
    Bring the sites together in one place.

    A worker sees the sites whose partitions it holds. So each sends on what it sees, to a topic of one partition, which
    one worker holds whatever their number, and another after it. It is read from `SITE_CAPACITY` rather than written
    beside it, so that the figures of sites which another cluster sends here are among them.
    """
    meeting = meeting_place(settings)

    @agent(app, source(app, SITE_CAPACITY), "portfolio-sites")
    async def _sites(stream: Any) -> None:
        await forward(stream, fence, own(app, meeting))

    @agent(app, own(app, meeting), "portfolio")
    async def _portfolio(stream: Any) -> None:
        heard, sent = Heard(now), outbox()
        await portfolio.run(
            _noted(messages(stream, fence, meeting, settled=sent.settled), heard),
            {},
            partial(sent.put, PORTFOLIO_CAPACITY),
            portfolio=settings.portfolio,
            expected=settings.sites or heard,
            now=now,
        )


async def _noted(figures: AsyncIterator[SiteCapacity], heard: Heard) -> AsyncIterator[SiteCapacity]:
    async for figure in figures:
        heard.note(figure.site, figure.known_at)
        yield figure


def meeting_place(settings: Pipeline) -> Topic[SiteCapacity]:
    """Return the topic on which the sites' capacities meet."""
    name = f"{settings.group}-portfolio-sites"
    return replace(SITE_CAPACITY, name=name, partitions=1, retention=timedelta(hours=1))


def sources(settings: Pipeline) -> frozenset[str]:
    """Return the names of the topics that the agents read."""
    topics = (SITE_PARTIALS, INTERVAL_PARTIALS, CORRECTIONS, SITE_CAPACITY, meeting_place(settings))
    return frozenset(topic.name for topic in topics)


def _application(kafka: Kafka, settings: Pipeline) -> Any:
    return faust.App(
        settings.group,
        broker=";".join(f"kafka://{address}" for address in kafka.bootstrap.split(",")),
        broker_credentials=credentials(kafka),
        store="memory://",
        datadir=settings.data,
        web_enabled=False,  # two workers on one host would fight for the port
        topic_disable_leader=True,  # nothing here needs a leader
        topic_replication_factor=settings.replication,
        topic_partitions=SITE_PARTIALS.partitions,
        table_standby_replicas=settings.standby_replicas,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        stream_buffer_maxsize=WAITING,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 4,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
    )

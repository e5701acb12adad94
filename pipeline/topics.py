"""The topology on one page. Pure data: collectors, Faust, bidding and the docs all read it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pipeline.messages.control import CommandAck, SignedCommand
from pipeline.messages.telemetry import (
    HostRecord,
    HostTick,
    IntervalPartial,
    SiteCapacity,
    SiteInterval,
    SitePartial,
)

M = TypeVar("M")


@dataclass(frozen=True)
class Topic(Generic[M]):
    """A stream of one message type, and the field that keeps its messages in order."""

    name: str
    type: type[M]
    key: Callable[[M], str]
    partitions: int
    retention: timedelta | None = timedelta(days=7)
    """None: kept by compaction, newest per key."""


#: collectors → rollup. Keyed by host: one host's ticks stay in order.
HOST_TICKS = Topic("telemetry.host.v1", HostTick, key=lambda m: m.host, partitions=8, retention=timedelta(days=2))
#: rollup → site agent
SITE_PARTIALS = Topic("site.partial.v1", SitePartial, key=lambda m: m.site, partitions=4, retention=timedelta(hours=6))
#: rollup → interval agent
INTERVAL_PARTIALS = Topic("site.interval-partial.v1", IntervalPartial, key=lambda m: m.site, partitions=4)
#: rollup → dispatch
HOST_RECORDS = Topic("site.host.v1", HostRecord, key=lambda m: m.host, partitions=4, retention=None)
#: site agent → bidding, archive, dashboards
SITE_CAPACITY = Topic("site.capacity.v1", SiteCapacity, key=lambda m: m.site, partitions=4)
#: interval agent → bidding, archive
SITE_INTERVALS = Topic("site.interval.v1", SiteInterval, key=lambda m: m.site, partitions=4)
#: dispatch → actuators
COMMANDS = Topic("control.command.v1", SignedCommand, key=lambda m: m.host, partitions=8)
#: actuators → dispatch, archive
ACKS = Topic("control.ack.v1", CommandAck, key=lambda m: m.host, partitions=8)

#: All that GPU hosts and workers exchange. Market documents: `pipeline.market_topics`, which needs pydantic.
TOPICS: tuple[Topic[Any], ...] = (
    HOST_TICKS,
    SITE_PARTIALS,
    INTERVAL_PARTIALS,
    HOST_RECORDS,
    SITE_CAPACITY,
    SITE_INTERVALS,
    COMMANDS,
    ACKS,
)

"""The topology on one page. Pure data: collectors, Faust, bidding and the docs all read it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pipeline.messages.control import CommandAck, SignedCommand
from pipeline.messages.telemetry import (
    HostRecord,
    HostTick,
    IntervalCorrection,
    IntervalPartial,
    PortfolioCapacity,
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
    settings: tuple[tuple[str, str], ...] = ()
    """Further settings on the broker, by Kafka's names."""


#: collectors → rollup. Keyed by host: one host's ticks stay in order.
#: Stamped by the broker: what tells a host whose clock is wrong, and a tick that came late.
HOST_TICKS = Topic(
    "telemetry.host.v1",
    HostTick,
    key=lambda m: m.host,
    partitions=8,
    retention=timedelta(days=2),
    settings=(("message.timestamp.type", "LogAppendTime"),),
)
#: rollup → site agent
SITE_PARTIALS = Topic("site.partial.v1", SitePartial, key=lambda m: m.site, partitions=4, retention=timedelta(hours=6))
#: rollup → interval agent
INTERVAL_PARTIALS = Topic("site.interval-partial.v1", IntervalPartial, key=lambda m: m.site, partitions=4)
#: rollup → interval agent, archive: what late ticks add to closed intervals
CORRECTIONS = Topic("site.correction.v1", IntervalCorrection, key=lambda m: m.site, partitions=4)
#: rollup → rollup: a partition's state, for whoever owns it next. Found by the offset that was committed with it, hence
#: not compacted; the newest is in the segment that is being written, which Kafka never deletes.
ROLLUP_STATE = Topic(
    "rollup.state.v1",
    bytes,
    key=lambda _: "",
    partitions=8,
    settings=(
        ("retention.ms", "-1"),
        ("retention.bytes", str(256 * 2**20)),
        ("segment.bytes", str(64 * 2**20)),
        ("max.message.bytes", str(32 * 2**20)),
    ),
)
#: rollup → dispatch
HOST_RECORDS = Topic("site.host.v1", HostRecord, key=lambda m: m.host, partitions=4, retention=None)
#: site agent → bidding, archive, dashboards
SITE_CAPACITY = Topic("site.capacity.v1", SiteCapacity, key=lambda m: m.site, partitions=4)
#: interval agent → bidding, archive
SITE_INTERVALS = Topic("site.interval.v1", SiteInterval, key=lambda m: m.site, partitions=4)
#: portfolio agent → archive, desk, dashboards
PORTFOLIO_CAPACITY = Topic("portfolio.capacity.v1", PortfolioCapacity, key=lambda m: m.portfolio, partitions=1)
#: dispatch → actuators
COMMANDS = Topic("control.command.v1", SignedCommand, key=lambda m: m.host, partitions=8)
#: actuators → dispatch, archive
ACKS = Topic("control.ack.v1", CommandAck, key=lambda m: m.host, partitions=8)

#: All that GPU hosts and workers exchange. Market documents: `pipeline.market_topics`, which needs pydantic.
TOPICS: tuple[Topic[Any], ...] = (
    HOST_TICKS,
    SITE_PARTIALS,
    INTERVAL_PARTIALS,
    CORRECTIONS,
    ROLLUP_STATE,
    HOST_RECORDS,
    SITE_CAPACITY,
    SITE_INTERVALS,
    PORTFOLIO_CAPACITY,
    COMMANDS,
    ACKS,
)

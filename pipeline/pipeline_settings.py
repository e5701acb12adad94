"""``[pipeline]``: where the worker keeps things and what its consumer groups are called."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import Positive, Section, Site
from pipeline.topics import TOPICS

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Upkeep(Section, frozen=True, kw_only=True):
    """``[pipeline.upkeep]``: when the archive's small files are made larger ones. Defaults suit a site of any size."""

    every_s: Positive = 30.0
    """Between two looks, machine time."""
    merge_files: Annotated[int, msgspec.Meta(ge=2)] = 300
    """So many files of one kind in one folder become one before the day is over."""
    merge_bytes: Annotated[int, msgspec.Meta(ge=1_000)] = 32_000_000
    """Files are merged up to this size; some ten times as much memory is needed for it."""
    grace_s: NotNegative = 300.0
    """Files whose rows are in a merged one stay this long, machine time, for queries that have begun to read them."""
    settle_s: NotNegative = 3600.0
    """A day is merged and sealed this long after its end, the deployment's clock."""


class Pipeline(Section, frozen=True, kw_only=True):
    """Paths are relative to the working directory unless absolute."""

    archive: str = "archive"
    """Folder of Parquet files, one subfolder a topic; or ``s3://bucket/prefix`` (`pipeline.storage_s3`)."""
    archive_telemetry: bool = False
    """Whether the hosts' ticks are archived too, minute by minute; pipeline/README.md says what that costs."""
    publish_every_s: Positive = 1.0
    """A row waits at most this long, machine time, for its file; in an object store rather 30 s."""
    keep_days: dict[str, AtLeastOne] = msgspec.field(default_factory=dict)
    """``[pipeline.keep_days]``: by topic, how many days the archive keeps; a topic that is not named is kept."""
    upkeep: Upkeep = Upkeep()
    desk: str = "desk.duckdb"
    group: str = "firmwatt"
    """Prefix of the consumer groups, and the Faust application's id."""
    replication: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Of topics that have to be created; 3 on a real cluster."""
    session_timeout_s: Annotated[float, msgspec.Meta(ge=1)] = 6.0
    """A worker silent for this long is taken to be dead. Kafka's own lower bound is 6 s."""
    standby_replicas: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    """How many other workers follow each partition's table of intervals, to take it over without reading it anew."""
    portfolio: str = "portfolio-1"
    """What all sites together are called."""
    sites: tuple[str, ...] = ()
    """The sites that make up the portfolio; empty: those heard of in the last hour."""
    telemetry_sites: tuple[str, ...] = ()
    """
    Other sites whose ticks come to this Kafka, by a mirror (profile ``telemetry``) or from their collectors.

    Every telemetry partition reports on them, also one in which they have no host: a site's figure counts as whole,
    and is offered on, only once all have.
    """
    listen: str = ""
    """``HOST:PORT`` of /metrics, /healthz and /readyz; empty: none. Workers on one machine need one each."""
    data: str = ".firmwatt/pipeline"
    """Faust's scratch folder; nothing in it must survive."""

    intervals_s: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = (60, 300)
    """Lengths of the intervals that are closed beside the settlement interval, seconds of the clock."""

    def lengths(self, site: Site) -> tuple[timedelta, ...]:
        """Return the lengths of all intervals, ascending; the settlement interval of *site* is one of them."""
        return tuple(timedelta(seconds=length) for length in sorted({*self.intervals_s, site.interval_s}))

    def __post_init__(self) -> None:
        """Refuse to keep or drop what is no topic."""
        known = {topic.name for topic in (*TOPICS, *MARKET_TOPICS)}
        if unknown := sorted(set(self.keep_days) - known):
            raise ValueError(
                f"keep_days names {unknown[0]!r}, which is no topic; `firmwatt pipeline topics` lists them"
            )

    @property
    def desk_path(self) -> Path:
        """The file market desks open."""
        return Path(self.desk)


def membership(group: str, session_timeout_s: float) -> dict[str, str | int]:
    """Return aiokafka's options for a member of *group* that is noticed when it dies."""
    session_ms = round(session_timeout_s * 1000)
    return {"group_id": group, "session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // 4}

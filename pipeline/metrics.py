"""
A worker about itself, in Prometheus' words: base units, Unix times, absent where unknown. Pure; see `pipeline.monitor`.

Partitions are shown by the worker that holds them, so that sums over all workers are the deployment's. Sites are shown
by the worker whose agent published their last figure, and so is the portfolio.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.agents.interval import PASSED_OVER
from pipeline.ends import REASONS
from pipeline.messages.telemetry import PortfolioCapacity, SiteCapacity
from pipeline.tally import IRREGULAR, Tally

#: A figure older than this is no longer shown; a site whose agent moved is shown by its new one.
SHOWN_FOR = timedelta(minutes=10)
#: Ages of ticks behind a figure older than this, and the sites missing from it, say nothing about now.
AGES_SHOWN_FOR = timedelta(seconds=10)
WATTS_PER_KW = 1000.0
MS_PER_S = 1000.0


class Held(NamedTuple):
    """A telemetry partition of this worker."""

    number: int
    offset: int
    """The next record."""
    replaying: bool
    """Silent until it has caught up with where the log ended when it was taken over."""


class Lag(NamedTuple):
    """How far a consumer group is behind on a partition that this worker holds."""

    group: str
    topic: str
    partition: int
    records: int
    standing_s: float
    """For how long records have waited and none was taken in; 0: it moves, or nothing waits."""


class Disk(NamedTuple):
    """The archive's file system, bytes."""

    free: int
    size: int


class Status(NamedTuple):
    """What a worker knows of itself at one instant."""

    worker: str
    group: str
    now: datetime
    """By the shared clock."""
    ready: bool
    held: tuple[Held, ...]
    partitions_expected: int
    lags: tuple[Lag, ...]
    counts: Mapping[str, int]
    """`Rollup.counts`."""
    tally: Tally
    passed_over: Mapping[str, int]
    """What the agents heard and that changed no figure."""
    rebalances: Mapping[tuple[str, str], int]
    """By group and kind of change."""
    figures: tuple[SiteCapacity, ...]
    """The newest that this worker's site agent published."""
    portfolios: tuple[PortfolioCapacity, ...]
    """The newest that this worker's portfolio agent published; none unless it holds the sites' meeting place."""
    written: Mapping[tuple[str, str], int]
    """`Archive.written`."""
    written_at: float | None
    disk: Disk | None
    """None in an object store."""
    ends: Mapping[str, int]
    """`pipeline.ends`."""


def families(status: Status) -> Iterator[Metric]:
    """Yield every metric of *status*."""
    info = GaugeMetricFamily("firmwatt_pipeline_info", "Who speaks", labels=("worker", "group"))
    info.add_metric((status.worker, status.group), 1)
    yield info
    yield GaugeMetricFamily(
        "firmwatt_pipeline_ready", "1 while partitions are assigned and caught up", value=float(status.ready)
    )
    yield from _partitions(status)
    yield from _lags(status.lags)
    yield from _counts(status)
    yield from _sites(status)
    yield from _portfolios(status)
    yield from _archive(status)


def _partitions(status: Status) -> Iterator[Metric]:
    """Yield what is known of the telemetry partitions held."""
    tally, numbers = status.tally, {held.number for held in status.held}
    yield GaugeMetricFamily(
        "firmwatt_pipeline_partitions_expected",
        "Telemetry partitions that all workers together must hold",
        value=status.partitions_expected,
    )
    yield _gauge("partition_offset_records", "The next record", {held.number: held.offset for held in status.held})
    yield _gauge(
        "partition_replaying",
        "1 while a partition is silent, catching up after it was taken over",
        {held.number: float(held.replaying) for held in status.held},
    )
    published = {number: at for number, at in dict(tally.published_at).items() if number in numbers}
    yield _gauge("published_timestamp_seconds", "Kafka last acknowledged figures at this time", published)
    opened = {number: count for number, count in dict(tally.open_intervals).items() if number in numbers}
    yield _gauge("open_intervals", "Intervals of the shortest length that are not closed", opened)
    saved = {number: state for number, state in dict(tally.saved).items() if number in numbers}
    yield _gauge("state_bytes", "Size of the state last saved", {number: size for number, (size, _) in saved.items()})
    yield _gauge(
        "state_saved_timestamp_seconds",
        "State and offset were last committed at this time",
        {number: at for number, (_, at) in saved.items()},
    )
    yield from _hosts(tally, numbers)


def _gauge(name: str, text: str, by_partition: Mapping[int, float]) -> Metric:
    gauge = GaugeMetricFamily(f"firmwatt_pipeline_{name}", text, labels=("partition",))
    for number, value in sorted(by_partition.items()):
        gauge.add_metric((str(number),), value)
    return gauge


def _hosts(tally: Tally, numbers: Iterable[int]) -> Iterator[Metric]:
    texts = {
        "hosts": "Hosts heard of in the last hour",
        "hosts_stale": "Hosts silent for 5 s, or whose own meter does not answer: their relief leaves the offer",
        "hosts_skewed": "Hosts whose clock is off by more than 1 s",
        "hosts_quarantined": "Hosts whose clock is off by more than 5 s: nothing of theirs is sold",
    }
    partials = {key: partial for key, partial in sorted(dict(tally.gauges).items()) if key[0] in numbers}
    for figure, text in texts.items():
        gauge = GaugeMetricFamily(f"firmwatt_pipeline_{figure}", text, labels=("site", "partition"))
        for (number, site), partial in partials.items():
            gauge.add_metric((site, str(number)), getattr(partial, figure))
        yield gauge


def _lags(lags: Iterable[Lag]) -> Iterator[Metric]:
    labels = ("group", "topic", "partition")
    waiting = GaugeMetricFamily("firmwatt_pipeline_lag_records", "Records not taken in yet", labels=labels)
    standing = GaugeMetricFamily(
        "firmwatt_pipeline_stalled_seconds", "For how long records have waited and none was taken in", labels=labels
    )
    for lag in lags:
        where = lag.group, lag.topic, str(lag.partition)
        waiting.add_metric(where, lag.records)
        standing.add_metric(where, lag.standing_s)
    yield waiting
    yield standing


def _counts(status: Status) -> Iterator[Metric]:
    """Yield what only grows, from the start of the process."""
    tally, counts = status.tally, status.counts
    yield CounterMetricFamily("firmwatt_pipeline_ticks", "Host ticks taken in", value=counts.get("ticks", 0))
    yield CounterMetricFamily(
        "firmwatt_pipeline_gpu_samples", "GPU samples taken in", value=counts.get("gpu_samples", 0)
    )
    yield CounterMetricFamily(
        "firmwatt_pipeline_kafka_errors", "Errors that Kafka's client told of", value=counts.get("kafka_errors", 0)
    )
    yield CounterMetricFamily(
        "firmwatt_pipeline_rereads",
        "Times that a partition was read again because records were missing in between",
        value=counts.get("rereads", 0),
    )
    irregular = CounterMetricFamily(
        "firmwatt_pipeline_irregular_ticks",
        "Ticks that changed nothing or filled a hole, and holes given up, by reason",
        labels=("partition", "reason"),
    )
    for held in status.held:
        for reason in IRREGULAR:
            irregular.add_metric((str(held.number), reason), tally.irregular[held.number, reason])
    yield irregular
    texts = {
        "intervals": "Closed intervals published, each site's and partition's",
        "interval_missing_ticks": "Ticks missing in them",
        "corrections": "Corrections of closed intervals published",
    }
    lengths = sorted({*tally.intervals, *tally.corrections})
    for (name, text), known in zip(
        texts.items(), (tally.intervals, tally.ticks_missing, tally.corrections), strict=True
    ):
        counter = CounterMetricFamily(f"firmwatt_pipeline_{name}", text, labels=("length",))
        for length_s in lengths:
            counter.add_metric((str(length_s),), known[length_s])
        yield counter
    passed_over = CounterMetricFamily(
        "firmwatt_pipeline_passed_over",
        "Partials and corrections that changed no interval's figure",
        labels=("reason",),
    )
    for reason in PASSED_OVER:
        passed_over.add_metric((reason,), status.passed_over.get(reason, 0))
    yield passed_over
    rebalances = CounterMetricFamily(
        "firmwatt_pipeline_rebalances", "Changes of who holds what, as this worker saw them", labels=("group", "change")
    )
    for where, count in sorted(status.rebalances.items()):
        rebalances.add_metric(where, count)
    yield rebalances
    ends = CounterMetricFamily("firmwatt_pipeline_ends", "Times that this worker ended by itself", labels=("reason",))
    for reason in REASONS:
        ends.add_metric((reason,), status.ends.get(reason, 0))
    yield ends


def _sites(status: Status) -> Iterator[Metric]:
    """Yield what the site figures say of themselves, times by the shared clock."""
    known_at = GaugeMetricFamily(
        "firmwatt_site_figure_timestamp_seconds", "The site's figure was published at this time", labels=("site",)
    )
    load = GaugeMetricFamily("firmwatt_site_load_watts", "Draw of the site", labels=("site",))
    parts = GaugeMetricFamily("firmwatt_site_partitions", "Telemetry partitions in the figure", labels=("site",))
    ages = GaugeMetricFamily(
        "firmwatt_site_tick_age_seconds",
        "Age of the newest ticks in the figure, of hosts that are not stale",
        labels=("site", "quantile"),
    )
    for figure in sorted(status.figures, key=lambda each: each.site):
        age = status.now - figure.known_at
        if age > SHOWN_FOR:
            continue
        where = (figure.site,)
        known_at.add_metric(where, figure.known_at.timestamp())
        load.add_metric(where, figure.load_kw * WATTS_PER_KW)
        parts.add_metric(where, figure.partitions)
        for quantile, age_ms in (("0.5", figure.age_p50_ms), ("0.99", figure.age_p99_ms)):
            if age_ms is not None and age <= AGES_SHOWN_FOR:
                ages.add_metric((figure.site, quantile), age_ms / MS_PER_S)
    yield from (known_at, load, parts, ages)


def _portfolios(status: Status) -> Iterator[Metric]:
    """Yield what the portfolio's figure says of itself; a site is missing for as long as figures say so."""
    known_at = GaugeMetricFamily(
        "firmwatt_portfolio_figure_timestamp_seconds",
        "The portfolio's figure was published at this time",
        labels=("portfolio",),
    )
    sites = GaugeMetricFamily("firmwatt_portfolio_sites", "Sites in the portfolio's figure", labels=("portfolio",))
    missing = GaugeMetricFamily(
        "firmwatt_portfolio_sites_missing",
        "1 for each site that is expected in the portfolio's figure and is not in it",
        labels=("portfolio", "site"),
    )
    for figure in sorted(status.portfolios, key=lambda each: each.portfolio):
        age = status.now - figure.known_at
        if age <= SHOWN_FOR:
            known_at.add_metric((figure.portfolio,), figure.known_at.timestamp())
        if age <= AGES_SHOWN_FOR:
            sites.add_metric((figure.portfolio,), len(figure.sites))
            for site in figure.sites_missing:
                missing.add_metric((figure.portfolio, site), 1)
    yield from (known_at, sites, missing)


def _archive(status: Status) -> Iterator[Metric]:
    for figure in ("rows", "files", "bytes"):
        counter = CounterMetricFamily(f"firmwatt_archive_{figure}", f"Published {figure}", labels=("topic",))
        for (topic, what), count in sorted(status.written.items()):
            if what == figure:
                counter.add_metric((topic,), count)
        yield counter
    if status.written_at is not None:
        yield GaugeMetricFamily(
            "firmwatt_archive_written_timestamp_seconds",
            "A file was last published at this time",
            value=status.written_at,
        )
    if status.disk is not None:
        yield GaugeMetricFamily(
            "firmwatt_archive_free_bytes", "Free space of the archive's file system", value=status.disk.free
        )
        yield GaugeMetricFamily(
            "firmwatt_archive_size_bytes", "Size of the archive's file system", value=status.disk.size
        )

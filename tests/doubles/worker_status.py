"""A pipeline worker's account of itself in which everything is known, and the page made of it."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from unit.pipeline.ticks import NOON

from pipeline.messages.telemetry import PortfolioCapacity, SiteCapacity, SitePartial
from pipeline.metrics import Disk, Held, Lag, Status, families
from pipeline.tally import Tally

MACHINE = 1_795_000_000.0
"""The machine's clock, which need not show the deployment's time."""


def partial(partition: int = 3, **fields: Any) -> SitePartial:
    """Return what a partition knows of site-1: ten hosts, of which two are silent and one is quarantined."""
    settings: dict[str, Any] = {"hosts": 10, "hosts_stale": 2, "hosts_skewed": 1, "hosts_quarantined": 1}
    return SitePartial(
        site="site-1",
        partition=partition,
        as_of=NOON,
        gpus=80,
        load_kw=56.0,
        pools=(),
        ticks_open=600,
        age_p50_ms=500.0,
        age_p99_ms=900.0,
        simulated=True,
        **(settings | fields),
    )


def capacity(**fields: Any) -> SiteCapacity:
    """Return a site figure of 56 kW, published at noon."""
    settings: dict[str, Any] = {"site": "site-1", "known_at": NOON, "load_kw": 56.0}
    settings |= {"age_p50_ms": 500.0, "age_p99_ms": 1250.0}
    return SiteCapacity(
        as_of=NOON,
        partitions=8,
        partitions_expected=8,
        hosts=10,
        hosts_stale=2,
        gpus=80,
        pools=(),
        ticks_open=600,
        simulated=True,
        **(settings | fields),
    )


def portfolio(**fields: Any) -> PortfolioCapacity:
    """Return a portfolio's figure, published at noon, from which site-2 is missing."""
    settings: dict[str, Any] = {"portfolio": "portfolio-1", "sites": ("site-1",), "sites_missing": ("site-2",)}
    settings |= {"known_at": NOON}
    return PortfolioCapacity(
        as_of=NOON, hosts=10, hosts_stale=2, gpus=80, load_kw=56.0, pools=(), simulated=True, **(settings | fields)
    )


def status(**fields: Any) -> Status:
    """Return a worker that holds telemetry partition 3 and knows everything there is to know."""
    tally = Tally(
        irregular=Counter({(3, "redelivered"): 7}),
        intervals=Counter({60: 20, 300: 4}),
        ticks_missing=Counter({60: 5, 300: 5}),
        corrections=Counter({60: 2}),
        gauges={(3, "site-1"): partial()},
        open_intervals={3: 2},
        published_at={3: MACHINE - 1},
        saved={3: (1_500_000, MACHINE - 8)},
    )
    known = Status(
        worker="worker-1",
        group="firmwatt",
        now=NOON + timedelta(seconds=1),
        ready=True,
        held=(Held(3, 12_345, replaying=False),),
        partitions_expected=8,
        lags=(Lag("firmwatt-rollup", "telemetry.host.v1", 3, 40, 0.0), Lag("firmwatt", "site.partial.v1", 0, 6, 12.5)),
        counts={"ticks": 12_000, "gpu_samples": 96_000, "kafka_errors": 1},
        tally=tally,
        passed_over={"corrections_of_forgotten_intervals": 1},
        rebalances={("firmwatt-rollup", "assigned"): 1},
        figures=(capacity(),),
        portfolios=(portfolio(),),
        written={
            ("site.capacity.v1", "rows"): 900,
            ("site.capacity.v1", "files"): 30,
            ("site.capacity.v1", "bytes"): 9,
        },
        written_at=MACHINE - 2,
        disk=Disk(free=40_000_000_000, size=100_000_000_000),
        ends={"rollup_stuck": 1},
    )
    return known._replace(**fields)


class Page(Collector):
    """What a worker in a given state serves."""

    def __init__(self, shown: Status) -> None:
        self.shown = shown

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from families(self.shown)
        yield from ProcessCollector(registry=None).collect()


def page(shown: Status) -> str:
    """Return the page of a worker in state *shown*."""
    registry = CollectorRegistry()
    registry.register(Page(shown))
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return every sample of a page: its name and its labels' values in order of their names → value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

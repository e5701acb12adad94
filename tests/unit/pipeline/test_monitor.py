"""What a worker's pages say of its life: to be killed, not ready and why, and which figures Kafka has."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.worker_status import capacity, portfolio

from pipeline import pages, storage
from pipeline.agents.archive import Archive
from pipeline.agents.rollup import Owned, Rollup
from pipeline.clock import Clock
from pipeline.monitor import Monitor
from pipeline.rollup import Partition
from pipeline.settings import Kafka
from pipeline.topics import PORTFOLIO_CAPACITY, SITE_CAPACITY, Topic

KAFKA = Kafka(bootstrap="127.0.0.1:9")


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    """Return what watches a worker that has everything and has caught up."""
    lengths = (timedelta(minutes=1),)
    rollup = Rollup(kafka=KAFKA, group="g-rollup", site="site-1", lengths=lengths, clock=Clock(), session_timeout_s=6.0)
    rollup._owned[3] = Owned(Partition(3, lengths, "site-1", offset=70), target=70)
    keeper = Archive(kafka=KAFKA, group="g-archive", storage=storage.at(tmp_path), session_timeout_s=6.0)
    rollup.assigned.set()
    keeper.assigned.set()
    return Monitor(
        worker="worker-1",
        group="g",
        clock=Clock(),
        partitions_expected=8,
        sources=frozenset(),
        rollup=rollup,
        keeper=keeper,
        folder=tmp_path,
        ends_file=tmp_path / "ends.json",
        recovered=True,
    )


@contextmanager
def served(monitor: Monitor) -> Iterator[str]:
    """Serve the pages of *monitor* and give their address."""
    server = pages.start("127.0.0.1:0", pages.Pages(monitor, monitor.health, monitor.readiness), "[pipeline] listen")
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.close()


def ask(address: str, path: str) -> tuple[int, list[str]]:
    """Return the status of a page, and its reasons."""
    try:
        with urllib.request.urlopen(f"{address}{path}", timeout=5) as reply:
            return reply.status, json.load(reply)["reasons"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["reasons"]


def test_a_worker_that_has_everything_is_healthy_and_ready(monitor: Monitor) -> None:
    with served(monitor) as address:
        assert ask(address, "/healthz") == (200, [])
        assert ask(address, "/readyz") == (200, [])


def test_an_event_loop_that_does_not_come_round_for_a_minute_is_to_be_killed(monitor: Monitor) -> None:
    """The pages have a thread of their own, so that they can say so."""
    with served(monitor) as address:
        monitor._came_round_at = time.monotonic() - 50.0
        assert ask(address, "/healthz") == (200, [])

        monitor._came_round_at = time.monotonic() - 61.0
        status, (reason,) = ask(address, "/healthz")
        assert status == 503
        assert reason.startswith("the event loop has not come round for 6")


def test_a_worker_that_replays_is_alive_and_not_ready(monitor: Monitor) -> None:
    """Killed for it, it would begin again; sent figures' readers to, it would have none."""
    monitor.rollup._owned[5] = Owned(Partition(5, (timedelta(minutes=1),), "site-1"), target=900)

    with served(monitor) as address:
        assert ask(address, "/readyz") == (503, ["telemetry partitions are replayed: 5"])
        assert ask(address, "/healthz") == (200, [])


def test_a_worker_that_was_assigned_nothing_yet_says_what_it_waits_for(monitor: Monitor) -> None:
    monitor.rollup.assigned.clear()
    monitor.keeper.assigned.clear()
    monitor.recovered = False

    assert monitor.readiness() == [
        "no telemetry partitions are assigned",
        "no partitions are assigned to the archive",
        "Faust's tables are being restored",
    ]


async def test_the_pages_have_the_figures_that_kafka_acknowledged_and_no_others(monitor: Monitor) -> None:
    waiting: list[asyncio.Future[Any]] = []

    async def enqueue(topic: Topic[Any], message: Any) -> "asyncio.Future[Any]":
        del topic, message
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    passing = monitor.passing(enqueue)
    for topic, figure in (
        (SITE_CAPACITY, capacity(site="a")),
        (SITE_CAPACITY, capacity(site="b")),
        (PORTFOLIO_CAPACITY, portfolio(portfolio="west")),
        (PORTFOLIO_CAPACITY, portfolio(portfolio="east")),
    ):
        await passing(topic, figure)
    for number, queued in enumerate(waiting):
        if number % 2:
            queued.set_exception(OSError("refused"))
        else:
            queued.set_result(None)
    await asyncio.sleep(0)

    shown = monitor.status()
    assert [figure.site for figure in shown.figures] == ["a"]
    assert [figure.portfolio for figure in shown.portfolios] == ["west"]

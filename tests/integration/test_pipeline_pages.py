"""A worker's pages while it works on a real Kafka: figures that add up, readiness, and why the last one ended."""

import asyncio
import json
import signal
import subprocess
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.loopback import lasting_ports
from doubles.worker_status import page, samples, status
from integration.workers import Deployment, deployment, wait_for
from unit.pipeline.ticks import steady

from deploy.broker import node
from pipeline import kafka as bus
from pipeline.clock import Clock
from pipeline.interval import floor
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

pytestmark = pytest.mark.broker

SECOND = timedelta(seconds=1)
HOSTS, SECONDS, GPUS, TWICE = 4, 20, 8, 3


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and text of one page, 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def total(port: int, *key: str) -> float:
    """Return the sum over all samples whose name and labels' values begin so, −1 where there is none."""
    found = [value for name, value in samples(ask(port, "/metrics")[1]).items() if name[: len(key)] == key]
    return sum(found) if found else -1.0


def listening(folder: Path, kafka: Kafka) -> tuple[Deployment, int]:
    """Return a deployment whose worker has pages, and their port."""
    place, (port,) = deployment(folder, kafka, Clock()), lasting_ports(1)
    place.config.write_text(f'{place.config.read_text()}listen = "127.0.0.1:{port}"\n')
    return place, port


async def send(kafka: Kafka, site: str) -> None:
    """Send the last twenty seconds of some hosts, the newest ticks of each twice."""
    start = floor(Clock().now(), SECOND) - SECONDS * SECOND
    async with bus.Sender(kafka) as sender:
        for host in range(HOSTS):
            ticks = list(steady(SECONDS, host=f"{site}-{host}", start=start, gpus=GPUS, site=site))
            for tick in [*ticks, *ticks[-TWICE:]]:
                await sender.enqueue(HOST_TICKS, tick)
        await sender.flush()


def test_the_page_says_what_became_of_the_ticks_and_where_the_worker_stands(fresh_kafka: Kafka, tmp_path: Path) -> None:
    """
    4 hosts × 21 ticks, 3 of each twice: 96 records, 768 GPU samples, 12 redeliveries, all partitions held, no lag.

    Every metric that a page can have is on it, so rules and dashboards may ask for any of them.
    """
    place, port = listening(tmp_path, fresh_kafka)
    with place.worker("worker-1") as process:
        asyncio.run(send(fresh_kafka, place.site))
        records = HOSTS * (SECONDS + 1 + TWICE)
        wait_for(lambda: total(port, "firmwatt_pipeline_ticks_total") == records, 20, "every record to be taken in")
        wait_for(lambda: ask(port, "/readyz")[0] == 200, 20, "the worker to be ready")
        wait_for(lambda: total(port, "firmwatt_site_load_watts", place.site) > 0, 20, "a figure of the site")
        wait_for(lambda: total(port, "firmwatt_portfolio_sites") == 1, 20, "a figure of the portfolio")
        lag = "firmwatt_pipeline_lag_records"
        wait_for(lambda: lagging(port) == {place.site, f"{place.site}-rollup", f"{place.site}-archive"}, 30, "lags")
        wait_for(lambda: total(port, lag, f"{place.site}-rollup") == 0, 30, "all ticks to be taken in")
        wait_for(lambda: total(port, lag) <= TWO_SECONDS, 30, "all groups to keep up with the second")
        wait_for(lambda: total(port, "firmwatt_pipeline_state_bytes") > 0, 30, "a state to be saved")
        wait_for(lambda: total(port, "firmwatt_archive_rows_total", "site.capacity.v1") > 0, 20, "rows in the archive")
        shown = samples(ask(port, "/metrics")[1])

        assert total(port, "firmwatt_pipeline_gpu_samples_total") == records * GPUS
        redelivered = sum(value for key, value in shown.items() if "redelivered" in key)
        assert redelivered == HOSTS * TWICE
        held = {key[1] for key in shown if key[0] == "firmwatt_pipeline_partition_offset_records"}
        assert held == {str(number) for number in range(HOST_TICKS.partitions)}
        assert total(port, "firmwatt_pipeline_partition_offset_records") == records
        assert shown["firmwatt_site_load_watts", place.site] == pytest.approx(HOSTS * GPUS * 600.0)
        absent = {key[0] for key in samples(page(status()))} - {key[0] for key in shown}
        assert absent <= CORRECTED | {"firmwatt_site_tick_age_seconds"}, "all hosts have been silent for a while"
        assert ask(port, "/healthz") == (200, '{"ok": true, "reasons": []}\n')

        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def lagging(port: int) -> set[str]:
    """Return the groups of which the page tells the lag."""
    return {key[1] for key in samples(ask(port, "/metrics")[1]) if key[0] == "firmwatt_pipeline_lag_records"}


#: Figures go on every second and offsets are committed every second: eight partials, and what becomes of them.
TWO_SECONDS = 2 * (HOST_TICKS.partitions + 4)
#: Only a deployment in which something came late, or a site is missing, has these.
CORRECTED = {
    "firmwatt_portfolio_sites_missing",
    "firmwatt_pipeline_corrections_total",
    "firmwatt_pipeline_corrections_created",
    "firmwatt_pipeline_intervals_total",
    "firmwatt_pipeline_interval_missing_ticks_total",
}


def test_whoever_comes_after_a_worker_that_lost_kafka_says_so(fresh_kafka: Kafka, tmp_path: Path) -> None:
    place, port = listening(tmp_path, fresh_kafka)
    with place.worker("worker-1") as process:
        wait_for(lambda: ask(port, "/healthz")[0] == 200, 10, "the pages")
        assert total(port, "firmwatt_pipeline_ends_total", "kafka_gone") == 0
        node.stop(tmp_path / "broker")
        assert process.wait(30) == 5

    asyncio.run(node.start(tmp_path / "broker", heap_mb=256, detach=False))
    with place.worker("worker-1"):
        wait_for(lambda: total(port, "firmwatt_pipeline_ends_total", "kafka_gone") == 1, 10, "the end to be told of")


def test_a_port_that_is_taken_is_said_in_one_line(fresh_kafka: Kafka, tmp_path: Path) -> None:
    place, port = listening(tmp_path, fresh_kafka)
    with place.worker("worker-1"):
        wait_for(lambda: ask(port, "/healthz")[0] == 200, 10, "the pages")
        told = json.loads(ask(port, "/readyz")[1])
        assert isinstance(told["reasons"], list)

        done = subprocess.run(place.command("worker-2"), capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "cannot listen" in done.stderr

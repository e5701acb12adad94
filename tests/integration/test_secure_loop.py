"""Ticks become site capacity on a secured broker: each process is its own principal, with its rights and no more."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from doubles.guarded import Guarded, secured, values
from integration.workers import ENTRY, deployment, wait_for

from deploy import toml
from deploy.broker.node import Variant
from pipeline.clock import Clock
from pipeline.codec import Codec
from pipeline.messages.telemetry import SiteCapacity
from pipeline.topics import SITE_CAPACITY

pytestmark = pytest.mark.broker

HOSTS = 5


@contextmanager
def fleet(broker: Guarded, folder: Path, site: str) -> Iterator[Path]:
    """Run simulated hosts of *site*; yield their log."""
    config, log = folder / "fleet.toml", folder / "fleet.log"
    kafka = toml.table("kafka", broker.kafka("fleet"))
    config.write_text(f'{kafka}[site]\nname = "{site}"\n[fleet]\nhosts = {HOSTS}\npatience_s = 60\n')
    command = [sys.executable, "-c", ENTRY, "fleet", "--config", str(config)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield log
        finally:
            process.kill()


def status(broker: Guarded, config: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Ask how the pipeline is, as somebody who may only look."""
    mine = folder / "monitor.toml"
    begin, _, rest = config.read_text().partition("[kafka]")
    after = rest[rest.index("\n[") :] if "\n[" in rest else ""
    mine.write_text(begin + toml.table("kafka", broker.kafka("monitor")) + after)
    words = [sys.executable, "-c", ENTRY, "pipeline", "status", "--config", str(mine), "--json"]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)


def figures(broker: Guarded, site: str) -> list[SiteCapacity]:
    """Return what is known of the capacity of *site* by somebody who may only look."""
    codec = Codec(SITE_CAPACITY)
    found = values(broker.kafka("monitor"), SITE_CAPACITY.name, SITE_CAPACITY.partitions, site.encode())
    return [codec.decode(value) for value in found]


@pytest.mark.parametrize("variant", list(Variant))
def test_a_worker_and_a_fleet_do_their_work_as_principals(tmp_path: Path, variant: Variant) -> None:
    """Batch loop, Faust with its tables, archive: all five hosts are in the figure, and no secret is in a log."""
    with secured(tmp_path / "broker", variant, "plant") as broker:
        place = deployment(tmp_path, broker.kafka("worker"), Clock())
        config = place.config.read_text()
        assert f'group = "{place.site}"' in config
        place.config.write_text(config.replace(f'group = "{place.site}"', f'group = "{broker.security.group}"'))

        with place.worker("worker-1"), fleet(broker, tmp_path, place.site) as fleet_log:
            wait_for(lambda: any(figure.hosts == HOSTS for figure in figures(broker, place.site)), 120, "all hosts")
            wait_for(lambda: any((place.archive / SITE_CAPACITY.name).rglob("*.parquet")), 60, "the archive")
            told = status(broker, place.config, tmp_path)
            assert "does not let" not in told.stdout + told.stderr
            assert [row["site"] for row in json.loads(told.stdout)["sites"]] == [place.site]

        logs = fleet_log.read_bytes() + (tmp_path / "worker-1.log").read_bytes()
        secrets = [*broker.security.folder.rglob("*.password"), *broker.security.folder.rglob("*.key")]
        assert secrets
        assert not [path for path in secrets if path.read_bytes().strip().splitlines()[-2:][0] in logs]

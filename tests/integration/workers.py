"""Pipeline workers as processes, for tests that start, stop and kill them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from deploy import toml
from pipeline.clock import Clock
from pipeline.settings import Kafka

ENTRY = "import sys; from deploy.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Deployment:
    """A folder with settings that several workers share; site and groups of its own."""

    folder: Path
    kafka: Kafka
    clock: Clock
    site: str
    interval_s: int

    @property
    def config(self) -> Path:
        return self.folder / "firmwatt.toml"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def desk(self) -> Path:
        return self.folder / "desk.duckdb"

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-c", ENTRY, "pipeline", "run", "--config", str(self.config), "--name", name]

    @contextmanager
    def worker(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a worker and yield it once it is ready; whatever happens, it is gone afterwards."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output, subprocess.Popen(self.command(name), stderr=output) as process:
            try:
                wait_for(lambda: "ready" in log.read_text() or process.poll() is not None, 30, f"{name} to be ready")
                assert process.poll() is None, log.read_text()
                yield process
            finally:
                process.kill()

    @contextmanager
    def supervised(self, name: str) -> Iterator[None]:
        """Run a worker until the block is left, started again whenever it ends with code 1, as a supervisor would."""
        over = threading.Event()

        def supervise() -> None:
            while not over.is_set():
                with self.worker(name) as process:
                    first.set()
                    while not over.is_set() and process.poll() is None:
                        over.wait(0.1)
                    if process.poll() not in {None, 1}:
                        return

        first = threading.Event()
        thread = threading.Thread(target=supervise)
        thread.start()
        try:
            assert first.wait(40), f"{name} was not ready"
            yield
        finally:
            over.set()
            thread.join()


def deployment(folder: Path, kafka: Kafka, clock: Clock, interval_s: int = 60) -> Deployment:
    """Write the settings of a deployment in *folder*."""
    made = Deployment(folder, kafka, clock, f"site-{uuid4().hex[:8]}", interval_s)
    made.config.write_text(
        f"""
{toml.table("kafka", kafka)}
[clock]
word = "{clock}"
[site]
name = "{made.site}"
interval_s = {interval_s}
[pipeline]
archive = "{made.archive}"
desk = "{made.desk}"
group = "{made.site}"
data = "{folder / "faust"}"
"""
    )
    return made


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once *condition* holds; fail the test after *seconds*."""
    deadline = time.monotonic() + seconds * float(os.environ.get("FIRMWATT_PATIENCE", "1"))
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)

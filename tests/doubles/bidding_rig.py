"""A site, a venue that loses replies and the settings of a bidding process between them, for tests."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from doubles import venue
from doubles.site import Site

from bidding.signing import generate
from deploy import toml
from pipeline.clock import real_clock_from
from pipeline.interval import Interval
from pipeline.settings import Kafka

#: Thursday 2026-07-23, 17:56 in California.
ORIGIN = datetime(2026, 7, 24, 0, 56, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LEAD = timedelta(seconds=180)
"""From the start of the process to the first interval: 18 s of the machine's."""
SPEED = 10.0
WITHIN_S = 90.0
COMMAND = (sys.executable, "-c", "import sys; from deploy.cli import main; sys.exit(main())", "bid")


@dataclass
class Rig:
    """A site, a venue and the settings of a bidding process between them."""

    site: Site
    url: str
    folder: Path
    config: Path

    async def start(self, *options: str) -> asyncio.subprocess.Process:
        with (self.folder / "bid.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *COMMAND, "run", "--config", str(self.config), *options, stderr=log
            )

    @property
    def log(self) -> str:
        return (self.folder / "bid.log").read_text(encoding="utf-8")

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        return found

    async def desk(self, action: str, *options: str) -> tuple[int, str]:
        """Return the exit code of `firmwatt bid` and what it printed, errors included."""
        done = await asyncio.create_subprocess_exec(
            *COMMAND,
            action,
            *options,
            "--config",
            str(self.config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await done.communicate()
        return done.returncode or 0, printed.decode()

    def audit(self) -> dict[str, int]:
        found: dict[str, int] = httpx.get(f"{self.url}/v1/audit", trust_env=False).json()
        return found

    async def obeyed(self, hosts: int, limit_s: float = WITHIN_S) -> None:
        """Return once *hosts* hosts have heard a command."""
        deadline = time.monotonic() + limit_s
        while len(self.site.leases) < hosts:
            assert time.monotonic() < deadline, f"{sorted(self.site.leases)} heard a command:\n{self.log}"
            await asyncio.sleep(0.05)

    async def until(self, what: str, limit_s: float = WITHIN_S) -> None:
        """Return once the log says *what*."""
        deadline = time.monotonic() + limit_s
        while what not in self.log:
            assert time.monotonic() < deadline, f"no {what!r} in:\n{self.log}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def rig(
    kafka: Kafka, folder: Path, name: str, *, days: int = 20, more: str = "", lead: timedelta = LEAD, **faults: object
) -> AsyncIterator[Rig]:
    """Yield a running site and venue, and the settings of the process under test; *more* are lines of `[bidding]`."""
    clock = real_clock_from(ORIGIN, SPEED)
    site = Site(kafka, clock, name)
    await site.prepare(days, lead + 20 * MINUTE)
    generate(folder / "dispatch.key")
    with venue.start(folder, str(clock), journal=folder / "venue.jsonl", horizon_s=3600, **faults) as url:
        config = folder / "firmwatt.toml"
        first = Interval.containing(clock.now() + lead + MINUTE, MINUTE).start
        config.write_text(
            f"""
            {toml.table("kafka", kafka)}
            [clock]
            word = "{clock}"
            [site]
            name = "{name}"
            interval_s = 60
            [venue.sandbox]
            url = "{url}"
            [bidding]
            resource = "{name}-resource"
            journal = "{folder}/bidding.journal"
            archive = "{folder}/archive"
            key_file = "{folder}/dispatch.key"
            summary = "{folder}/summary.json"
            first_interval_start = "{first.isoformat()}"
            intervals = 2
            stop_after_settlement = true
            quality = {{recover_s = 0.5}}
            {more}
            [bidding.tiers.T3]
            price_per_million_tokens = "0.05"
            [bidding.tiers.T2]
            price_per_million_tokens = "0.05"
            """,
            encoding="utf-8",
        )
        running = asyncio.ensure_future(site.run())
        try:
            yield Rig(site, url, folder, config)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

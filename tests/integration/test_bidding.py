"""The bidding process against a real broker and a real venue that loses replies, and killed in the middle."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from doubles import venue
from doubles.site import Site

from bidding.signing import generate
from deploy import toml
from pipeline.clock import real_clock_from
from pipeline.codec import Codec
from pipeline.interval import Interval
from pipeline.kafka import consumer
from pipeline.market_topics import OFFERS, STATEMENTS
from pipeline.messages.market import Offer, Statement
from pipeline.settings import Kafka

pytestmark = pytest.mark.broker

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
async def rig(kafka: Kafka, folder: Path, name: str, days: int = 20, **faults: object) -> AsyncIterator[Rig]:
    """Yield a running site and venue, and the settings of the process under test."""
    clock = real_clock_from(ORIGIN, SPEED)
    site = Site(kafka, clock, name)
    await site.prepare(days)
    generate(folder / "dispatch.key")
    with venue.start(folder, str(clock), journal=folder / "venue.jsonl", horizon_s=3600, **faults) as url:
        config = folder / "firmwatt.toml"
        first = Interval.containing(clock.now() + LEAD + MINUTE, MINUTE).start
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


async def read_all(kafka: Kafka, resource: str) -> tuple[list[Offer], list[Statement]]:
    """Return what others can read of *resource*'s offers and statements."""
    offers, statements = Codec(OFFERS), Codec(STATEMENTS)
    found: tuple[list[Offer], list[Statement]] = ([], [])
    async with consumer(kafka, OFFERS, STATEMENTS) as reader:
        while batches := await reader.getmany(timeout_ms=1500):
            for message in (m for batch in batches.values() for m in batch):
                if message.topic == OFFERS.name:
                    found[0].append(offers.decode(message.value))
                else:
                    found[1].append(statements.decode(message.value))
    return [o for o in found[0] if o.resource == resource], [s for s in found[1] if s.resource == resource]


async def test_from_capacity_to_dollars_with_replies_lost(kafka: Kafka, tmp_path: Path) -> None:
    """Nine in ten of the venue's replies are lost. Both intervals are offered once, delivered, and settled alike."""
    async with rig(kafka, tmp_path, "loop", lose_replies=0.9, seed=5) as running:
        process = await running.start()
        code = await asyncio.wait_for(process.wait(), WITHIN_S)
        audit = running.audit()

        assert code == 0, running.log
        summary = running.summary

        assert "ready bidding" in running.log
        assert (audit["submissions_applied"], audit["duplicate_submissions"]) == (2, 0)
        assert audit["replies_lost"] >= 1
        assert summary["unknown_outcomes_resolved"] >= 1
        assert summary["offers"] == 2
        assert summary["awarded_kw"] > 0
        assert summary["delivered_ratio"] >= 0.95, running.log
        assert summary["settlement_usd"] == summary["venue_statement_usd"]
        assert summary["differences"] == []
        assert summary["ack_p50_ms"] == 12.0
        assert summary["simulated"]

        offers, statements = await read_all(kafka, "loop-resource")
        assert len(offers) == 2
        assert {statement.issuer for statement in statements} == {"firmwatt", "sandbox"}


async def test_a_process_killed_in_the_middle_of_an_event_is_carried_on_by_the_next(
    kafka: Kafka, tmp_path: Path
) -> None:
    """
    `kill -9` once the first leases are out.

    The next process sends no offer again, its leases have higher sequences, and the event is settled.
    """
    async with rig(kafka, tmp_path, "killed") as running:
        first = await running.start()
        await running.until("leases for 5 hosts")
        await running.obeyed(hosts=5)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        before = {host: lease.seq for host, lease in running.site.leases.items()}

        second = await running.start()
        code = await asyncio.wait_for(second.wait(), WITHIN_S)
        audit = running.audit()

        assert code == 0, running.log
        assert (audit["submissions_applied"], audit["duplicate_submissions"]) == (2, 0)
        assert all(running.site.leases[host].seq > seq for host, seq in before.items()), running.log
        assert running.summary["settlement_usd"] == running.summary["venue_statement_usd"]


async def test_too_short_a_history_is_one_line_and_code_3(kafka: Kafka, tmp_path: Path) -> None:
    """Two days of history: nothing is offered, and the process says what it lacks."""
    async with rig(kafka, tmp_path, "short", days=2) as running:
        process = await running.start()
        code = await asyncio.wait_for(process.wait(), WITHIN_S)

        assert code == 3, running.log
        last = running.log.strip().splitlines()[-1]
        assert last.startswith("firmwatt bid: need 5 "), running.log
        assert running.audit()["submissions_applied"] == 0


async def test_sigterm_ends_it_cleanly(kafka: Kafka, tmp_path: Path) -> None:
    async with rig(kafka, tmp_path, "term") as running:
        process = await running.start()
        await running.until("ready bidding")
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), 15) == 0, running.log
        assert "Traceback" not in running.log


async def test_an_unknown_venue_is_one_line_that_lists_the_known(kafka: Kafka, tmp_path: Path) -> None:
    async with rig(kafka, tmp_path, "unknown") as running:
        process = await running.start("--venue", "ercto")

        assert await asyncio.wait_for(process.wait(), 15) == 2
        assert running.log.strip() == "firmwatt bid: no 'ercto' in bidding.markets; have sandbox"

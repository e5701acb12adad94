"""The bidding process against a real broker and a real venue that loses replies, and killed in the middle."""

import asyncio
import signal
from pathlib import Path

import pytest
from doubles.bidding_rig import WITHIN_S, rig

from pipeline.codec import Codec
from pipeline.kafka import consumer
from pipeline.market_topics import OFFERS, STATEMENTS
from pipeline.messages.market import Offer, Statement
from pipeline.settings import Kafka

pytestmark = pytest.mark.broker


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
        assert running.log.strip() == "firmwatt bid: no 'ercto' in bidding.markets; have ercot, miso, sandbox"

"""The gate of a running bidding process: what is held leaves when two people agree, and a halt holds everything."""

import asyncio
import base64
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.bidding_rig import WITHIN_S, Rig, rig

from bidding.signing import generate
from pipeline.settings import Kafka

pytestmark = pytest.mark.broker

LEAD = timedelta(minutes=55)
"""Of the venue's clock, 330 s of the machine's: time for people, on a slow machine too."""
EARLY = "offer_lead_s = 3600"


async def applied(running: Rig, count: int) -> None:
    """Return once the venue has applied *count* submissions."""
    deadline = time.monotonic() + WITHIN_S
    while running.audit()["submissions_applied"] < count:
        assert time.monotonic() < deadline, running.log
        await asyncio.sleep(0.05)


async def test_what_is_above_a_limit_leaves_when_two_people_agree(kafka: Kafka, tmp_path: Path) -> None:
    """One is not enough, the same one twice is not two; then the desk can see why the offer is what it is."""
    public = {name: base64.b64encode(generate(tmp_path / f"{name}.key")).decode() for name in ("anna", "ben")}
    names = ", ".join(f'{name} = "{key}"' for name, key in public.items())
    more = f'{EARLY}\nlimits = {{alone_mw = "0.01", approval_valid_s = 7200}}\napprovers = {{{names}}}'
    async with rig(kafka, tmp_path, "held", more=more, lead=LEAD) as running:
        process = await running.start()
        await running.until("needs 2 more approvals")
        document = running.log.partition("firmwatt bid approve ")[2].partition("`")[0]

        _, listed = await running.desk("offers", "--state", "held")
        assert "  held  " in listed
        assert f"document {document}  1 offers, needs 2 more approvals" in listed
        code, said = await running.desk("approve", document, "--by", "anna", "--key", str(tmp_path / "ben.key"))
        assert (code, "is not the key of anna" in said) == (2, True), said

        for _ in range(2):
            code, said = await running.desk("approve", document, "--by", "anna", "--key", str(tmp_path / "anna.key"))
            assert code == 0, said
        assert running.audit()["submissions_applied"] == 0
        code, said = await running.desk("approve", document, "--by", "ben", "--key", str(tmp_path / "ben.key"))
        assert code == 0, said
        await applied(running, 1)
        await running.until("leaves: anna, ben agreed")

        _, listed = await running.desk("offers", "--state", "accepted")
        offer_id = listed.splitlines()[0].split()[-2]
        code, said = await running.desk("explain", offer_id[:10])
        assert code == 0, said
        assert "tokens/MWh" in said
        assert "held" in said
        assert "intent" in said
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0, running.log
        code, said = await running.desk("reconcile")
        assert (code, said) == (0, "1 of 1 standing offers agree with what sandbox holds\n")


async def test_a_halt_keeps_everything_back_until_a_person_lets_go(kafka: Kafka, tmp_path: Path) -> None:
    """By command, by file and by signal, each until it is lifted; a restart knows of it."""
    halt_file = tmp_path / "halt"
    async with rig(kafka, tmp_path, "halt", more=f'{EARLY}\nhalt_file = "{halt_file}"', lead=LEAD) as running:
        code, said = await running.desk("halt", "--why", "storm", "--by", "anna")
        assert code == 0, said
        halt_file.write_text("ben: transformer is hot", encoding="utf-8")
        process = await running.start()
        await running.until("halted by anna")
        await running.until("halted by ben: transformer is hot; remove the file, then resume")
        process.send_signal(signal.SIGUSR1)
        await running.until("halted by signal")

        halt_file.unlink()
        code, said = await running.desk("resume", "--why", "storm is over", "--by", "anna")
        assert code == 0, said
        await running.until("the gate is open")
        await applied(running, 2)

        code, said = await running.desk("resume", "--why", "again", "--by", "anna")
        assert (code, said) == (2, "firmwatt bid: nothing was resumed: nothing is halted\n")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0, running.log

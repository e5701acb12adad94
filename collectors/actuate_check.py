"""
`firmwatt actuate --check`: everything that the settings name is tried once, before a fleet depends on it.

Whether a limit may be set is tried by asking for the one that holds already. One line for each part, `ok` or `FAIL`
and what to do; the exit code is that of the worst failure, 0 if there is none.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from collectors.actuator import Actuator
from collectors.check import Finding, tried
from collectors.controls import Control
from collectors.levers import Key
from collectors.mappings import UNCLAIMED
from pipeline.errors import EnvironmentProblem
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.messages.control import Kind, Trouble
from pipeline.messages.telemetry import Tier
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS

UNFIT = 4
"""Exit code of whatever is wrong with the machine (`EnvironmentProblem`)."""


def main(actuator: Actuator, journal: Path, kafka: Kafka) -> int:
    """Print the findings as they come."""
    return asyncio.run(_report(actuator, journal, kafka))


async def _report(actuator: Actuator, journal: Path, kafka: Kafka) -> int:
    worst = 0
    async for finding in findings(actuator, journal, kafka):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        worst = max(worst, finding.exit_code)
    return worst


async def findings(actuator: Actuator, journal: Path, kafka: Kafka) -> AsyncIterator[Finding]:
    """Yield a finding for every part; nothing is changed."""
    yield Finding("host", f"obeys leases for {actuator.host!r}")
    hands, now = actuator.hands, actuator.steady.now()
    await hands.look(now, ())
    await actuator.whose.know(now)
    claims = actuator.whose.claims(now)
    await hands.look(now, {claim.job for claim in claims.values() if claim.job is not None})
    for kind, why in hands.silent.items():
        yield Finding(f"lever for {kind}", why, UNFIT)
    for feed in actuator.whose.feeds:
        yield Finding(f"mapping {feed.name}", feed.trouble or "answers", UNFIT if feed.trouble else 0)
    await hands.set(unchanged(actuator.controls()))
    for key in sorted(hands.known):
        yield of_control(actuator, key)
    if not hands.known:
        yield Finding("controls", "there is nothing here that could be held back", UNFIT)
    gpus = {key.subject for key in hands.known if key.kind in {Kind.POWER, Kind.CLOCK}}
    owners = [claims.get(uuid, UNCLAIMED) for uuid in gpus]
    protected = sum(owner.tier is Tier.T0 for owner in owners)
    unclaimed = sum(owner.job is None for owner in owners)
    yield Finding("GPUs", f"{len(gpus)} seen, {protected} T0 and never touched, {unclaimed} of them claimed by nobody")
    await hands.close()
    left = f"; {len(actuator.found)} controls of an earlier run are to be put back" if actuator.found else ""
    text = f"highest sequence {actuator.state.highest_seq}{left}"
    yield await tried(f"journal {journal}", lambda: _writable(journal, text))
    yield await tried(f"Kafka at {kafka.bootstrap}", lambda: _kafka(kafka))


def unchanged(controls: Iterable[Control]) -> dict[Key, float]:
    """Return power limits as they are: asking for one changes nothing and shows whether it may be. T0 is not asked."""
    return {
        one.key: one.requested
        for one in controls
        if one.key.kind is Kind.POWER and one.requested is not None and one.tier is not Tier.T0 and one.answers
    }


def of_control(actuator: Actuator, key: Key) -> Finding:
    """Return what is to be said of one control that has answered once."""
    reading, failure = actuator.hands.known[key], actuator.hands.failures.get(key)
    if failure is not None:
        return Finding(str(key), f"{failure.trouble}: {failure.text}", UNFIT)
    if reading.note:
        return Finding(str(key), reading.note, UNFIT)
    if reading.enforced is not None and reading.requested is not None and reading.enforced < reading.requested:
        held = f"held at {reading.enforced:g} W out of band, {reading.requested:g} W requested"
        return Finding(str(key), f"{Trouble.OUT_OF_BAND}: {held}", UNFIT)
    level = "unknown" if reading.requested is None else f"{reading.requested:g}"
    return Finding(str(key), f"at {level}, takes {reading.lowest:g} to {reading.highest:g}")


async def _writable(journal: Path, text: str) -> str:
    probe = journal.with_name(f".{journal.name}.check")
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EnvironmentProblem(f"cannot be written: {error.strerror}") from error
    return text


async def _kafka(kafka: Kafka) -> str:
    await ensure_topics(kafka, [COMMANDS, ACKS])
    async with Sender(kafka), consumer(kafka, COMMANDS):
        return f"answers, and has {COMMANDS.name} and {ACKS.name}"

"""
One tick a second: read the source, put the tick together.

    clock     12:00:00        12:00:01        12:00:02
    tick          |x              |x              |x       read just after the second; a late read skips, never doubles

A second in which nothing could be measured has no tick: silence makes the host stale, which lowers what is offered.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from collectors import Reading, RestartNeededError, Source, SourceError
from collectors.mapping import UNCLAIMED, Claim
from collectors.process import Changes
from collectors.tokens import TokenFolder, Tokens
from pipeline.clock import Clock, wall
from pipeline.interval import floor
from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Quality

log = logging.getLogger(__name__)

PERIOD = timedelta(seconds=1)


@dataclass(frozen=True)
class Identity:
    """Who is speaking."""

    host: str
    site: str
    boot: str
    simulated: bool


def assemble(  # noqa: PLR0917 - a tick has six parts
    identity: Identity,
    seq: int,
    measured_at: datetime,
    readings: Sequence[Reading],
    claims: Mapping[str, Claim],
    tokens: Mapping[str, Tokens],
) -> HostTick:
    """Return the tick of one second: the sources' samples, each GPU with its claim, the jobs with their tokens."""
    gpus = tuple(
        _claimed(sample, claims.get(sample.uuid, UNCLAIMED)) for reading in readings for sample in reading.gpus
    )
    return HostTick(
        host=identity.host,
        site=identity.site,
        boot=identity.boot,
        seq=seq,
        measured_at=measured_at,
        gpus=gpus,
        jobs=jobs_on(gpus, claims, tokens),
        chassis_w=next((r.chassis_w for r in readings if r.chassis_w is not None), None),
        chassis_energy_j=next((r.chassis_energy_j for r in readings if r.chassis_energy_j is not None), None),
        simulated=identity.simulated,
    )


def jobs_on(
    gpus: Sequence[GpuSample], claims: Mapping[str, Claim], tokens: Mapping[str, Tokens]
) -> tuple[JobSample, ...]:
    """Return the jobs that claim any of *gpus*; a job of several tiers counts as its most protected one."""
    members: dict[str, list[str]] = {}
    for gpu in gpus:
        if gpu.job is not None:
            members.setdefault(gpu.job, []).append(gpu.uuid)
    return tuple(_job(job, uuids, claims, tokens.get(job, Tokens())) for job, uuids in sorted(members.items()))


def _job(job: str, uuids: list[str], claims: Mapping[str, Claim], tokens: Tokens) -> JobSample:
    protected = min((claims[uuid] for uuid in uuids), key=lambda claim: claim.tier)
    return JobSample(
        job=job,
        tier=protected.tier,
        workload=protected.workload,
        served_model=protected.served_model,
        tokens_total=tokens.tokens_total,
        prompt_tokens_total=tokens.prompt_tokens_total,
        epoch=tokens.epoch,
        gpus=tuple(uuids),
    )


def _claimed(sample: GpuSample, claim: Claim) -> GpuSample:
    return msgspec.structs.replace(sample, job=claim.job, tier=claim.tier, workload=claim.workload)


@dataclass
class Collector:
    """The shell around `assemble`: one source, one claims file, one folder of token counters."""

    identity: Identity
    source: Source
    claims: Mapping[str, Claim]
    folder: TokenFolder
    clock: Clock
    seq: int = 0
    changes: Changes = field(default_factory=lambda: Changes(log))

    async def tick(self) -> HostTick:
        """Measure once, the blocking part in a thread; raise `SourceError` if there is nothing to publish."""
        now = self.clock.now()
        reading = await asyncio.to_thread(self.source.read, now)
        tokens, problems = self.folder.read(wall())
        self.changes.note("tokens", "; ".join(problems) or None)
        lost = [gpu.uuid for gpu in reading.gpus if Quality.LOST in gpu.quality]
        self.changes.note("GPUs", f"lost: {', '.join(lost)}" if lost else None)
        self.seq += 1
        return assemble(self.identity, self.seq, now, [reading], self.claims, tokens)

    async def tick_or_silence(self) -> HostTick | None:
        """Measure once, None when that failed; only what needs a new process is raised."""
        try:
            tick = await self.tick()
        except RestartNeededError:
            raise
        except SourceError as error:
            self.changes.note("source", str(error))
            return None
        self.changes.note("source", None)
        return tick

    async def next_second(self) -> None:
        """Return just after the next full second of the shared clock, never just before."""
        due = floor(self.clock.now(), PERIOD) + PERIOD
        while self.clock.now() < due:
            await self.clock.sleep_until(due)

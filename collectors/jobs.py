"""What each job on a host does at one tick: whose GPUs, how many tokens, at which rate and for which watts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from collectors.buckets import merged
from collectors.claims import most_protected
from collectors.mappings import UNCLAIMED, Claim
from collectors.rates import Rates, summed
from collectors.scrape import EngineReading, only
from collectors.tokens import Tokens
from collectors.trails import Rate
from pipeline.messages.telemetry import GpuSample, JobSample, LatencyBuckets, Workload

SERVED_BY_NOBODY = Claim(workload=Workload.INFERENCE)
"""What is known of a job with an engine here and no GPU that anybody has claimed for it: T0, as for any such GPU."""


@dataclass
class Part:
    """One job's part of a host."""

    gpus: list[str] = field(default_factory=list)
    """UUIDs claimed by it."""
    engines: list[EngineReading] = field(default_factory=list)
    serving: dict[str, None] = field(default_factory=dict)
    """UUIDs of the GPUs that its engines name, in order; those of another host have no known draw."""
    claim: Claim = UNCLAIMED


def jobs(  # noqa: PLR0917 - a tick has these six parts
    now: datetime,
    gpus: Sequence[GpuSample],
    claims: Mapping[str, Claim],
    tokens: Mapping[str, Tokens],
    engines: Iterable[EngineReading],
    rates: Rates,
) -> tuple[JobSample, ...]:
    """
    Return the jobs that claim any of *gpus*, and those that an engine serves, by name.

    *gpus* carry their job; *claims* are by GPU UUID, *tokens* by job as they were handed in. *rates* goes on by this
    tick. A job that is scraped is counted by its engines, and what it hands in itself is left out.
    """
    everyone = rates.silent(engines)
    rates.advance(now, gpus, everyone)
    gpu_of = {unit: gpu.uuid for gpu in gpus for unit in (gpu.uuid, *gpu.mig)}
    parts: dict[str, Part] = defaultdict(Part)
    for gpu in gpus:
        if gpu.job is not None:
            parts[gpu.job].gpus.append(gpu.uuid)
    for engine in everyone:
        serving = [gpu_of.get(unit, unit) for unit in engine.gpus]
        job = engine.job or next((claims[uuid].job for uuid in serving if uuid in claims), None)
        if job is not None:
            parts[job].engines.append(engine)
            parts[job].serving.update(dict.fromkeys(serving))
    for part in parts.values():
        part.claim = most_protected([claims.get(uuid, UNCLAIMED) for uuid in part.gpus] or [SERVED_BY_NOBODY])
    return tuple(
        _scraped(job, part, rates) if part.engines else _handed_in(job, part, tokens.get(job, Tokens()), now, rates)
        for job, part in sorted(parts.items())
    )


def _handed_in(job: str, part: Part, tokens: Tokens, now: datetime, rates: Rates) -> JobSample:
    """Return a job that says itself how many tokens it has counted, or that nobody counts."""
    tokens = rates.counted(job, tokens, engine=None, origin=())
    rate = rates.of_handed_in(job, now, tokens)
    return JobSample(
        job=job,
        tier=part.claim.tier,
        workload=part.claim.workload,
        served_model=part.claim.served_model,
        tokens_total=tokens.tokens_total,
        prompt_tokens_total=tokens.prompt_tokens_total,
        epoch=tokens.epoch,
        tokens_per_s=rate and rate.per_s,
        tokens_per_s_per_w=_per_watt(rate, part.gpus, rates),
        gpus=tuple(part.gpus),
    )


def _scraped(job: str, part: Part, rates: Rates) -> JobSample:
    """Return a job whose engines are scraped; what one of them does not tell is unknown of all."""
    engines = sorted(part.engines, key=lambda engine: engine.name)
    kinds = "+".join(sorted(engine.kind for engine in engines))
    tokens = rates.counted(job, _added(engines), kinds, tuple(engine.name for engine in engines))
    serving = list(part.serving) if all(engine.gpus for engine in engines) else part.gpus
    rate = rates.of_engines(engines)
    return JobSample(
        job=job,
        tier=part.claim.tier,
        workload=part.claim.workload,
        served_model=part.claim.served_model or only(engine.served_model for engine in engines),
        engine=kinds,
        tokens_total=tokens.tokens_total,
        prompt_tokens_total=tokens.prompt_tokens_total,
        epoch=tokens.epoch,
        counted_at_finish=any(engine.counted_at_finish for engine in engines),
        tokens_per_s=rate and rate.per_s,
        tokens_per_s_per_w=_per_watt(rate, serving, rates),
        running=summed(engine.running for engine in engines),
        waiting=summed(engine.waiting for engine in engines),
        ttft=_merged(rates.buckets(engine, "ttft", engine.ttft) for engine in engines),
        itl=_merged(rates.buckets(engine, "itl", engine.itl) for engine in engines),
        gpus=tuple(part.gpus or part.serving),
    )


def _added(engines: Sequence[EngineReading]) -> Tokens:
    """Return the sum of what *engines* count; its epoch changes with any of theirs."""
    return Tokens(
        summed(engine.tokens.tokens_total for engine in engines),
        summed(engine.tokens.prompt_tokens_total for engine in engines),
        sum(engine.tokens.epoch for engine in engines),
    )


def _merged(parts: Iterable[LatencyBuckets | None]) -> LatencyBuckets | None:
    return merged([part for part in parts if part is not None])


def _per_watt(rate: Rate | None, gpus: Iterable[str], rates: Rates) -> float | None:
    """Return *rate* over the draw of *gpus* in the same span."""
    watts = rates.watts(gpus, rate) if rate else None
    return rate.per_s / watts if rate and watts else None

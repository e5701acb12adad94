"""A tick as large as they come: eight H100s with all their readings, an engine with its latencies, four meters."""

from datetime import UTC, datetime, timedelta
from random import Random

from pipeline.messages.telemetry import (
    Covers,
    GpuSample,
    HostTick,
    JobSample,
    LatencyBuckets,
    MeterSample,
    Tier,
    Workload,
)

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
JOB = "slurm-481516.0"
#: vLLM's upper bounds of the time to first token, seconds (vllm/v1/metrics/loggers.py).
BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)


def full_tick(seq: int, gpus: int = 8) -> HostTick:
    """Return tick *seq* of a busy host; what moves in reality moves here, at random."""
    chance = Random(seq)
    at = NOON + timedelta(seconds=seq, microseconds=chance.randrange(2000))
    return HostTick(
        host="gpu-node-0417.dc2.example.net",
        site="site-oregon-2",
        boot="9f2c6d81a4b7e035",
        seq=seq,
        measured_at=at,
        gpus=tuple(_gpu(index, seq, at, chance) for index in range(gpus)),
        jobs=(_job(seq, gpus, chance),),
        meters=(
            MeterSample(meter="redfish:chassis", covers=Covers.HOST, power_w=chance.gauss(7200, 90) // 1, read_at=at),
            MeterSample(meter="pdu:a:12", covers=Covers.HOST, power_w=chance.gauss(7300, 90) // 1, read_at=at),
            *(_package(index, seq, chance) for index in range(2)),
        ),
        chassis_w=chance.gauss(7200, 90) // 1,
    )


def _uuid(index: int) -> str:
    return f"GPU-7b1d2f{index:02x}-93c4-4e1a-b0d7-51f0a8c2e9{index:02x}"


def _gpu(index: int, seq: int, at: datetime, chance: Random) -> GpuSample:
    return GpuSample(
        uuid=_uuid(index),
        model="NVIDIA H100 80GB HBM3",
        power_w=round(chance.gauss(610, 40), 3),
        average_w=round(chance.gauss(608, 15), 3),
        energy_j=round(1.2e9 + index * 1e7 + seq * 610 + chance.random() * 40, 3),
        energy_epoch=1,
        read_at=at + timedelta(microseconds=chance.randrange(100_000)),
        enforced_w=700.0,
        requested_w=700.0,
        min_w=200.0,
        max_w=700.0,
        sm_mhz=chance.choice((1980, 1965, 1950, 1935, 1755)),
        memory_mhz=2619,
        event_reasons=chance.choice((0, 4)),
        capped_s=round(seq * 0.3 + chance.random(), 6),
        thermal_s=0.0,
        braked_s=0.0,
        utilization=chance.choice((1.0, 0.99, 0.98, 0.97)),
        memory_used_b=71_000_000_000 + chance.randrange(1000) * 2**21,
        temperature_c=float(chance.randrange(58, 66)),
        job=JOB,
        tier=Tier.T2,
        workload=Workload.INFERENCE,
    )


def _job(seq: int, gpus: int, chance: Random) -> JobSample:
    return JobSample(
        job=JOB,
        tier=Tier.T2,
        workload=Workload.INFERENCE,
        served_model="meta-llama/Llama-3.3-70B-Instruct",
        engine="vllm",
        tokens_total=float(9_000_000 + seq * 4211 + chance.randrange(900)),
        prompt_tokens_total=float(90_000_000 + seq * 9211 + chance.randrange(900)),
        epoch=1,
        tokens_per_s=round(chance.gauss(4211, 90), 3),
        tokens_per_s_per_w=round(chance.gauss(0.86, 0.03), 6),
        running=float(chance.randrange(90, 128)),
        waiting=float(chance.randrange(5)),
        ttft=_latencies(chance, most=4),
        itl=_latencies(chance, most=900),
        gpus=tuple(_uuid(index) for index in range(gpus)),
    )


def _latencies(chance: Random, most: int) -> LatencyBuckets:
    bounds_s = (*BOUNDS_S, 1e308)
    return LatencyBuckets(le_s=bounds_s, counts=tuple(float(chance.randrange(most)) for _ in bounds_s))


def _package(index: int, seq: int, chance: Random) -> MeterSample:
    return MeterSample(
        meter=f"rapl:package-{index}",
        covers=Covers.CPU,
        power_w=round(chance.gauss(220, 9), 3),
        energy_j=round(8e6 + seq * 220 + chance.random(), 6),
    )

"""How a tick is put together, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from doubles.clocks import SetClock
from doubles.commands import NOON

from collectors import Reading, RestartNeededError, SourceError
from collectors.mapping import Claim
from collectors.runner import Collector, Identity, assemble
from collectors.tokens import TokenFolder, Tokens
from pipeline.clock import real_clock_from
from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Tier, Workload

ME = Identity(host="host-1", site="site-1", boot="b", simulated=True)
TRAIN = Claim(job="train", tier=Tier.T3, workload=Workload.TRAINING, served_model="llama-70b")
CHAT = Claim(job="chat", tier=Tier.T1, workload=Workload.INFERENCE)


def gpu(uuid: str) -> GpuSample:
    """Return a measured GPU that nobody has claimed yet."""
    return GpuSample(uuid=uuid, model="H100", power_w=500)


def test_a_tick_names_the_job_and_tier_of_every_gpu() -> None:
    """Two GPUs train, one is nobody's and therefore T0; tokens are known for one job only."""
    readings = [Reading(gpus=(gpu("a"), gpu("b"), gpu("c")))]
    claims = {"a": TRAIN, "b": TRAIN, "gone": CHAT}

    tick = assemble(ME, 7, NOON, readings, claims, {"train": Tokens(1e6, None, 2), "elsewhere": Tokens(5)})

    assert tick == HostTick(
        host="host-1",
        site="site-1",
        boot="b",
        seq=7,
        measured_at=NOON,
        gpus=(
            GpuSample(uuid="a", model="H100", power_w=500, job="train", tier=Tier.T3, workload=Workload.TRAINING),
            GpuSample(uuid="b", model="H100", power_w=500, job="train", tier=Tier.T3, workload=Workload.TRAINING),
            GpuSample(uuid="c", model="H100", power_w=500),
        ),
        jobs=(
            JobSample(
                job="train",
                tier=Tier.T3,
                workload=Workload.TRAINING,
                served_model="llama-70b",
                tokens_total=1e6,
                epoch=2,
                gpus=("a", "b"),
            ),
        ),
        simulated=True,
    )


def test_tokens_that_nobody_counts_are_absent() -> None:
    (job,) = assemble(ME, 1, NOON, [Reading(gpus=(gpu("a"),))], {"a": CHAT}, {}).jobs

    assert job.tokens_total is None


def test_a_job_of_two_tiers_counts_as_the_more_protected() -> None:
    mixed = {"a": Claim(job="j", tier=Tier.T3), "b": Claim(job="j", tier=Tier.T1)}

    (job,) = assemble(ME, 1, NOON, [Reading(gpus=(gpu("a"), gpu("b")))], mixed, {}).jobs

    assert job.tier is Tier.T1


def test_the_chassis_comes_from_whichever_source_measures_it() -> None:
    readings = [Reading(gpus=(gpu("a"),)), Reading(chassis_w=6500.0, chassis_energy_j=9.0)]

    tick = assemble(ME, 1, NOON, readings, {}, {})

    assert (tick.chassis_w, tick.chassis_energy_j, len(tick.gpus)) == (6500.0, 9.0, 1)


@dataclass
class Flaky:
    """A source that answers, or raises what it is given."""

    error: SourceError | None = None

    def read(self, now: datetime) -> Reading:  # noqa: ARG002 - the protocol's
        """Answer with one GPU."""
        if self.error:
            raise self.error
        return Reading(gpus=(gpu("a"),))


def collector(source: Flaky) -> Collector:
    """Return a collector over *source*."""
    return Collector(ME, source, {}, TokenFolder(""), SetClock())


async def test_a_second_without_measurement_has_no_tick_and_no_number() -> None:
    """Silence makes the host stale; the sequence has no hole, since nothing was lost on the way."""
    source = Flaky()
    host = collector(source)

    first = await host.tick_or_silence()
    source.error = SourceError("NVML is away")
    silence = await host.tick_or_silence()
    source.error = None
    second = await host.tick_or_silence()

    assert silence is None
    assert first is not None
    assert second is not None
    assert (first.seq, second.seq) == (1, 2)


async def test_what_only_a_restart_can_mend_ends_the_process() -> None:
    with pytest.raises(RestartNeededError):
        await collector(Flaky(RestartNeededError("driver replaced"))).tick_or_silence()


async def test_ticks_fall_on_the_seconds_of_the_shared_clock() -> None:
    """The clock runs 50 times as fast: five ticks take a tenth of a second, each within its own second."""
    clock = real_clock_from(NOON, 50.0)
    host = Collector(ME, Flaky(), {}, TokenFolder(""), clock)

    seconds = []
    for _ in range(5):
        await host.next_second()
        seconds.append((clock.now() - NOON) // timedelta(seconds=1))

    assert len(set(seconds)) == 5

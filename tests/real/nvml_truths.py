"""
What holds of every NVML source on every host with GPUs, real or not. It only reads: no limit is set, nothing is locked.

Each truth takes two readings of a source, the second at least `APART_S` after the first by the driver's own clock.
"""

import contextlib
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pynvml

from collectors import Reading
from collectors.sources import nvml
from pipeline.clock import wall
from pipeline.messages.telemetry import GpuSample, Quality

APART_S = 0.5
DEADLINE_S = 30.0
CLOCK_STEP_MHZ = 15
"""As `nvidia-smi -q -d SUPPORTED_CLOCKS` of an H100, an A100, an L40S and a T4 lists them."""
TOLERANCE_W = 5.0
"""As accurate as power readings are: `nvidia-smi --help-query-gpu`."""


def now() -> datetime:
    """Return the machine's time."""
    return datetime.fromtimestamp(wall(), UTC)


def two_readings(source: nvml.Nvml) -> tuple[Reading, Reading]:
    """Return two readings whose timestamps lie at least `APART_S` apart."""
    first = source.read(now())
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        second = source.read(now())
        if all(_span(*pair) >= timedelta(seconds=APART_S) for pair in zip(first.gpus, second.gpus, strict=True)):
            return first, second
        time.sleep(0.05)
    raise AssertionError(f"the driver's timestamps have not moved by {APART_S} s within {DEADLINE_S:.0f} s")


def gpus_are_named(first: Reading, second: Reading) -> None:
    """Check that every GPU has a name of its own, the driver's, and keeps it."""
    uuids = [gpu.uuid for gpu in first.gpus]
    assert uuids
    assert len(set(uuids)) == len(uuids)
    assert all(gpu.uuid.startswith("GPU-") and gpu.model for gpu in first.gpus)
    assert [gpu.uuid for gpu in second.gpus] == uuids


def no_gpu_is_in_trouble(first: Reading, second: Reading) -> None:
    """Check that a healthy host has no marks but the scope's."""
    assert first.troubles == second.troubles == ()
    assert all(set(gpu.quality) <= {Quality.SCOPE_MODULE} for gpu in (*first.gpus, *second.gpus))


def draw_is_in_watts(first: Reading, second: Reading) -> None:
    """Check that a GPU draws something, and not much more than it may."""
    for gpu in (*first.gpus, *second.gpus):
        draws_w = [draw_w for draw_w in (gpu.power_w, gpu.average_w) if draw_w is not None]
        assert draws_w
        assert all(1 < draw_w < 1.5 * (gpu.max_w or 3000) for draw_w in draws_w)


def limits_are_in_order(first: Reading, second: Reading) -> None:
    """Check that what is asked for lies within the range, and what is enforced not above it."""
    del first
    for gpu in second.gpus:
        if gpu.requested_w is not None and gpu.min_w is not None and gpu.max_w is not None:
            assert gpu.min_w - TOLERANCE_W <= gpu.requested_w <= gpu.max_w + TOLERANCE_W
        if gpu.requested_w is not None and gpu.enforced_w is not None:
            assert gpu.enforced_w <= gpu.requested_w + TOLERANCE_W


def energy_is_in_joules(first: Reading, second: Reading) -> None:
    """Check that it grows by no more than the GPU may draw: millijoules or kilojoules would show."""
    for before, after in zip(first.gpus, second.gpus, strict=True):
        if before.energy_j is None or after.energy_j is None:
            continue
        span_s = _span(before, after).total_seconds()
        most_j = 1.5 * (after.max_w or 3000) * (span_s + 1)  # counters move in steps
        assert 0 <= after.energy_j - before.energy_j <= most_j


def readings_are_stamped_by_the_host_s_clock(first: Reading, second: Reading) -> None:
    """Check that the driver counts time since 1970, as the machine does."""
    assert all(abs(now() - (gpu.read_at or now())) < timedelta(seconds=DEADLINE_S + 5) for gpu in first.gpus)
    assert all(gpu.read_at is not None for gpu in second.gpus)


def slowdowns_are_in_seconds(first: Reading, second: Reading) -> None:
    """Check that a counter of time grows no faster than time."""
    for before, after in zip(first.gpus, second.gpus, strict=True):
        span_s = _span(before, after).total_seconds()
        for name in ("capped_s", "braked_s"):
            earlier, later = getattr(before, name), getattr(after, name)
            assert (earlier is None) == (later is None)
            if earlier is not None:
                assert 0 <= later - earlier <= span_s + 1, name


def shares_and_degrees_are_such(first: Reading, second: Reading) -> None:
    """Check that load is a share, temperature Celsius, clocks megahertz and memory bytes."""
    del first
    for gpu in second.gpus:
        assert gpu.utilization is None or 0 <= gpu.utilization <= 1
        assert gpu.temperature_c is None or 0 < gpu.temperature_c < 120
        assert gpu.sm_mhz is None or 0 <= gpu.sm_mhz < 5000
        assert gpu.memory_mhz is None or 0 < gpu.memory_mhz < 20_000
        assert gpu.memory_used_b is None or gpu.memory_used_b < 1 << 40


def places_are_numbered_from_zero(first: Reading, second: Reading) -> None:
    """Check that every GPU has one, the same in both readings."""
    assert sorted(place.index for place in first.places) == list(range(len(first.gpus)))
    assert {place.uuid for place in first.places} == {gpu.uuid for gpu in first.gpus}
    assert first.places == second.places


def clocks_come_in_steps(first: Reading, second: Reading) -> None:
    """Check that the clocks that can be locked fall from the highest in steps of 15 MHz at most; there may be none."""
    del second
    pynvml.nvmlInit()
    try:
        for place in first.places:
            handle = pynvml.nvmlDeviceGetHandleByUUID(place.uuid)
            with contextlib.suppress(pynvml.NVMLError_NotSupported):
                memory_mhz = max(pynvml.nvmlDeviceGetSupportedMemoryClocks(handle))
                clocks = pynvml.nvmlDeviceGetSupportedGraphicsClocks(handle, memory_mhz)
                assert clocks[0] == pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)
                assert all(0 < high - low <= CLOCK_STEP_MHZ for high, low in itertools.pairwise(clocks))
    finally:
        pynvml.nvmlShutdown()


#: What a test module goes through.
TRUTHS: tuple[Callable[[Reading, Reading], None], ...] = (
    gpus_are_named,
    no_gpu_is_in_trouble,
    draw_is_in_watts,
    limits_are_in_order,
    energy_is_in_joules,
    readings_are_stamped_by_the_host_s_clock,
    slowdowns_are_in_seconds,
    shares_and_degrees_are_such,
    places_are_numbered_from_zero,
    clocks_come_in_steps,
)


def closing_is_no_end(source: nvml.Nvml) -> None:
    """Check that a closed source is read again and shows the same GPUs."""
    before = [gpu.uuid for gpu in source.read(now()).gpus]
    source.close()
    source.close()
    assert [gpu.uuid for gpu in source.read(now()).gpus] == before


def _span(before: GpuSample, after: GpuSample) -> timedelta:
    assert before.read_at is not None, before.uuid
    assert after.read_at is not None, after.uuid
    return after.read_at - before.read_at

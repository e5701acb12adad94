"""
What a tick and a command cost a GPU host. One JSON line a figure.

Ratios, not microseconds, travel between machines: the source against a bare nvidia-ml-py loop over the same eight GPUs
of the stand-in library, a tick's JSON against the same content as plain dictionaries through the standard library's
`json`, a lease check against the bare Ed25519 verification in it. Each figure is the median of several runs.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pynvml
from doubles.commands import HOST, KEY, KEYRING, NOON, cap, lease, signed
from doubles.nvml import nvml_double

from collectors.admit import Refusal, admit
from collectors.bounds import Bounds
from collectors.mappings import Claim
from collectors.runner import claimed
from collectors.sources import nvml
from pipeline.codec import Codec
from pipeline.messages.telemetry import HostTick, Tier, Workload
from pipeline.topics import HOST_TICKS

RUNS, GPUS = 7, 8


def one_us(work: Callable[[], object], calls: int) -> float:
    """Return the time of one call in microseconds, mean of *calls*."""
    started = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - started) / calls * 1e6


def compare(name: str, work: Callable[[], object], bare: Callable[[], object], against: str, calls: int) -> None:
    """Print the time of *work* and its ratio to *bare*: medians of `RUNS` runs, one of each in turn."""
    runs = [(one_us(work, calls), one_us(bare, calls)) for _ in range(RUNS)]
    us, ratio = statistics.median(us for us, _ in runs), statistics.median(us / bare_us for us, bare_us in runs)
    print(json.dumps({"bench": name, "us": round(us, 2), "ratio": round(ratio, 2), "against": against}))  # noqa: T201 - a benchmark talks


def bare_loop(handles: list[Any]) -> Callable[[], object]:
    """Return the same driver calls without anything around them."""
    ids = [(186, 0), (185, 0), (190, 0), (192, 0), 83]
    return lambda: [pynvml.nvmlDeviceGetFieldValues(handle, ids) for handle in handles]


def bench_read(folder: Path) -> HostTick | None:
    """Time a reading of eight GPUs; return its tick, None without a C compiler."""
    if not nvml_double.attach(folder):
        print(json.dumps({"bench": "nvml_read_8_gpus", "skipped": "no C compiler"}))  # noqa: T201 - as above
        return None
    state = nvml_double.State.create(folder / "gpus", gpus=GPUS)
    source = nvml.connect(nvml.Settings())
    reading = source.read(NOON)
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(GPUS)]
    compare("nvml_read_8_gpus", lambda: source.read(NOON), bare_loop(handles), "bare pynvml loop", 200)
    claims = {state.uuid(i): Claim(job=f"j{i // 4}", tier=Tier.T3, workload=Workload.TRAINING) for i in range(GPUS)}
    gpus = tuple(claimed(gpu, claims) for gpu in reading.gpus)
    return HostTick(host="host-1", site="site-1", boot="b", seq=1, measured_at=NOON, gpus=gpus, simulated=True)


def bench_encode(tick: HostTick) -> None:
    """Time a tick's way to bytes."""
    codec, plain = Codec(HOST_TICKS), msgspec.to_builtins(tick)
    compare(
        "host_tick_encode", lambda: codec.encode(tick), lambda: json.dumps(plain).encode(), "json.dumps of it", 1000
    )


def bench_verify() -> None:
    """Time the judgement of one good command."""
    command, public = signed(lease(1, cap(400), cap(350, Tier.T2))), KEY.public_key()
    bounds = Bounds()
    assert not isinstance(admit(command, HOST, 0, KEYRING, NOON, bounds), Refusal)
    compare(
        "lease_admit",
        lambda: admit(command, HOST, 0, KEYRING, NOON, bounds),
        lambda: public.verify(command.signature, command.payload),
        "bare Ed25519 verify",
        500,
    )


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        tick = bench_read(Path(folder))
        if tick is not None:
            bench_encode(tick)
    bench_verify()


if __name__ == "__main__":
    main()

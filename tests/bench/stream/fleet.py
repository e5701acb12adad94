"""
Frames of a fleet, fast: a host is encoded once, then only its numbers move.

Of every twenty hosts eighteen serve one job, one serves two and one is idle: batches hold three shapes. A frame of
eight GPUs is as full as `doubles.full_tick`: 1.2 kB, of which the numbers that move here are 170 B. Layouts differ from
host to host as they do in reality; the details (clocks, temperatures, latencies) are the same everywhere: no figure is
made of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from doubles.full_tick import full_tick

from pipeline import frames
from pipeline.bulk import numbers
from pipeline.counters import Ints
from pipeline.frames import HEAD, Layout
from pipeline.messages.telemetry import HostTick, Tier, Workload

H100 = "NVIDIA H100 80GB HBM3"
#: What a GPU draws, what its job counts, each second.
WATTS, TOKENS = 610, 4211


def jobs_of(number: int) -> int:
    """Return how many jobs host *number* serves."""
    return {0: 0, 1: 2}.get(number % 20, 1)


def template(jobs: int, gpus: int) -> HostTick:
    """Return a tick of a host with so many *jobs*."""
    tick = full_tick(1, gpus)
    job = tick.jobs[0]
    samples = tick.gpus
    if not jobs:
        samples = tuple(msgspec.structs.replace(gpu, job=None, workload=Workload.IDLE, tier=Tier.T3) for gpu in samples)
    more = tuple(msgspec.structs.replace(job, job=f"{job.job}+{number}", gpus=()) for number in range(1, jobs))
    return msgspec.structs.replace(tick, seq=0, gpus=samples, jobs=(job, *more)[:jobs], simulated=True)


def layout_of(like: Layout, number: int, site: str, model: str) -> Layout:
    """Return the layout of host *number*, for the rest *like* another's."""
    names = {gpu.uuid: f"{gpu.uuid[:-6]}{number:06x}" for gpu in like.gpus}
    return Layout(
        host=f"gpu-node-{number:06d}.dc2.example.net",
        site=site,
        boot=f"{number:016x}",
        chassis_epoch=like.chassis_epoch,
        gpus=tuple(msgspec.structs.replace(gpu, uuid=names[gpu.uuid], model=model) for gpu in like.gpus),
        jobs=tuple(msgspec.structs.replace(job, gpus=tuple(names[uuid] for uuid in job.gpus)) for job in like.jobs),
    )


def busy(seq: Ints) -> Ints:
    """Return what GPUs draw that are in use, mW: a little more or less each second, by host."""
    draw: Ints = WATTS * 1000 + (seq * 7919 + np.arange(len(seq)) * 104_729) % 40_000
    return draw


@dataclass(eq=False)
class Shape:
    """Hosts of equally many jobs."""

    hosts: list[int]
    values: Any
    """Head and numbers of each host's next frame: records of `pipeline.bulk.numbers`."""
    tails: list[bytes]
    """Layout and details of each."""

    def payloads(self, at_us: int, draw: Callable[[Ints], Ints]) -> Iterator[tuple[int, bytes]]:
        """Yield each host with its next frame, measured at *at_us*."""
        values, size = self.values, self.values.dtype.itemsize
        values["seq"] += 1
        values["at_us"] = at_us
        values["energy_mj"] += WATTS * 1000 + (values["seq"] % 7 * 1000)[:, None]
        values["tokens_milli"] += TOKENS * 1000
        values["power_mw"] = draw(values["seq"])[:, None]
        whole = values.tobytes()
        for place, (host, tail) in enumerate(zip(self.hosts, self.tails, strict=True)):
            yield host, whole[place * size : (place + 1) * size] + tail


@dataclass(eq=False)
class Fleet:
    """Hosts that tick together."""

    hosts: Sequence[int]
    gpus: int = 8
    site: str = "site-1"
    model: str = H100
    draw: Callable[[Ints], Ints] = busy
    """What each GPU of a host draws, mW, by the number of the host's tick."""
    keys: dict[int, bytes] = field(default_factory=dict)
    shapes: list[Shape] = field(default_factory=list)

    def __post_init__(self) -> None:
        for jobs in range(3):
            if mine := [host for host in self.hosts if jobs_of(host) == jobs]:
                self.shapes.append(self._shape(mine, template(jobs, self.gpus)))

    def _shape(self, hosts: list[int], tick: HostTick) -> Shape:
        frame, like, kind = frames.encode(tick), frames.layout_of(tick), numbers(self.gpus, len(tick.jobs))
        details = frame[len(frame) - HEAD.unpack_from(frame)[6] :]
        values, tails = np.repeat(np.frombuffer(frame[: kind.itemsize], kind), len(hosts)), []
        for place, host in enumerate(hosts):
            layout = layout_of(like, host, self.site, self.model)
            packed, values["layout"][place] = frames._layout_bytes(layout)
            values["layout_length"][place] = len(packed)
            tails.append(packed + details)
            self.keys[host] = layout.host.encode()
        return Shape(hosts, values, tails)

    def tick(self, at: datetime) -> list[tuple[bytes, bytes]]:
        """Return key and next frame of each host, measured at *at*, in the order of `hosts`."""
        found: dict[int, bytes] = {}
        for shape in self.shapes:
            found.update(shape.payloads(frames.micros(at), self.draw))
        return [(self.keys[host], found[host]) for host in self.hosts]

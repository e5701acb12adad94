"""Numbers for what figures are grouped by, so that sums over GPUs are sums over an array. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.frames import Layout
from pipeline.messages.telemetry import Tier, Workload

#: A job whose GPUs its host does not report.
UNKNOWN_MODEL = "unknown"


class Pool(NamedTuple):
    """GPUs whose energy and tokens are one figure of an interval."""

    site: str
    tier: Tier
    workload: Workload
    gpu_model: str
    served_model: str | None = None
    engine: str | None = None

    @property
    def gauge(self) -> "Pool":
        """The pool whose draw and relief one figure covers: whatever its GPUs serve."""
        return Pool(self.site, self.tier, self.workload, self.gpu_model)

    @property
    def order(self) -> tuple[str, ...]:
        """What pools are sorted by."""
        return (*self[:4], self.served_model or "", self.engine or "")


@dataclass
class Pools:
    """Every pool there has been, by number."""

    names: list[Pool] = field(default_factory=list)
    _numbers: dict[Pool, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = {pool: number for number, pool in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, pool: Pool) -> int:
        """Return the number of *pool*, the next one where it is new."""
        if (number := self._numbers.get(pool)) is None:
            number = self._numbers[pool] = len(self.names)
            self.names.append(pool)
        return number

    def of_gpus(self, layout: Layout) -> Iterator[int]:
        """Yield the pool of each GPU of *layout*."""
        jobs = {job.job: job for job in layout.jobs}
        for gpu in layout.gpus:
            job = jobs.get(gpu.job) if gpu.job else None
            served, engine = (job.served_model, job.engine) if job else (None, None)
            yield self.number(Pool(layout.site, gpu.tier, gpu.workload, gpu.model, served, engine))

    def of_jobs(self, layout: Layout) -> Iterator[tuple[int, ...]]:
        """Yield the pools of each job of *layout*, one a GPU of it: its tokens are theirs in equal parts."""
        for job in layout.jobs:
            own = [gpu for gpu in layout.gpus if gpu.uuid in job.gpus]
            if not own:
                pool = Pool(layout.site, job.tier, job.workload, UNKNOWN_MODEL, job.served_model, job.engine)
                yield (self.number(pool),)
                continue
            yield tuple(
                self.number(Pool(layout.site, gpu.tier, gpu.workload, gpu.model, job.served_model, job.engine))
                for gpu in own
            )

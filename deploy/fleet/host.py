"""
One simulated host: who it is, what its collector would publish, what its actuator must know.

Readings are rounded as they leave: power and limits to 0.1 W, energy to 0.1 J, tokens to 0.1. The counters themselves
are never rounded, so the difference of two ticks is off by at most 0.1 J, however far apart they are.
"""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from collectors.controls import Control, power
from collectors.lease import HostState
from deploy.fleet import curves
from deploy.fleet.jobs import POOLS, Layout, Share
from deploy.fleet.model import FleetModel
from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Tier, Workload

Indices = npt.NDArray[np.int64]

#: As a vLLM server would be named, and what trains; both marked.
ENGINES = {Workload.INFERENCE: "vllm (simulated)", Workload.TRAINING: "torchtitan (simulated)"}


@dataclass
class Node:
    """A host's identity and the state its two processes would keep."""

    name: str
    site: str
    boot: str
    first_gpu: int
    gpus: tuple[Control, ...]
    """Their power limits."""
    jobs: tuple[tuple[str | None, Workload], ...]
    """By GPU: whose it is and what it does."""
    shares: tuple[tuple[Share, tuple[str, ...]], ...]
    """What counts tokens on this host, with its GPUs' UUIDs."""
    started_at: float
    """POSIX seconds; the chassis meter counts from here."""
    seq: int = 0
    state: HostState = field(default_factory=HostState.initial)
    applying: int = 0
    """Accepted leases on their way into the GPUs."""

    @property
    def indices(self) -> Indices:
        """Its GPUs in the model."""
        return np.arange(self.first_gpu, self.first_gpu + len(self.gpus))

    @property
    def span(self) -> slice:
        """The same as a slice."""
        return slice(self.first_gpu, self.first_gpu + len(self.gpus))


def nodes(layout: Layout, site: str, boot: str, started_at: float) -> tuple[Node, ...]:
    """Return every host of *layout*; names and UUIDs say that they are simulated."""
    of_host: dict[int, list[Share]] = {}
    for share in layout.shares:
        of_host.setdefault(share.host, []).append(share)
    return tuple(
        _node(
            f"{site}-sim-{host:04d}", site, boot, host * layout.gpus_per_host, layout, of_host.get(host, []), started_at
        )
        for host in range(layout.hosts)
    )


def _node(  # noqa: PLR0917 - a host is made of seven things
    name: str, site: str, boot: str, first_gpu: int, layout: Layout, shares: list[Share], started_at: float
) -> Node:
    owners = {gpu: share for share in shares for gpu in range(share.first_gpu, share.first_gpu + share.gpus)}
    own = [owners.get(gpu) for gpu in range(first_gpu, first_gpu + layout.gpus_per_host)]
    uuids = tuple(f"GPU-{name}-{index}" for index in range(layout.gpus_per_host))
    return Node(
        name=name,
        site=site,
        boot=boot,
        first_gpu=first_gpu,
        gpus=tuple(_limits(uuid, share) for uuid, share in zip(uuids, own, strict=True)),
        jobs=tuple((share.job, POOLS[share.pool].workload) if share else (None, Workload.IDLE) for share in own),
        shares=tuple(
            (share, uuids[share.first_gpu - first_gpu : share.first_gpu - first_gpu + share.gpus]) for share in shares
        ),
        started_at=started_at,
    )


def _limits(uuid: str, share: Share | None) -> Control:
    """Return a GPU's power limit as the lease core sees it; one that nobody has claimed is T0."""
    return power(
        uuid,
        curves.GPU_MODEL,
        POOLS[share.pool].tier if share else Tier.T0,
        curves.MIN_LIMIT_W,
        curves.MAX_LIMIT_W,
        curves.MAX_LIMIT_W,
        share.job if share else None,
    )


def next_tick(node: Node, model: FleetModel, measured_at: datetime) -> HostTick:
    """Return what the host's collector publishes at *measured_at*, the instant the model stands at; count its `seq`."""
    node.seq += 1
    return HostTick(
        host=node.name,
        site=node.site,
        boot=node.boot,
        seq=node.seq,
        measured_at=measured_at,
        gpus=_gpu_samples(node, model),
        jobs=tuple(_job_sample(share, uuids, model) for share, uuids in node.shares),
        chassis_w=round(chassis_w(node, model), 1),
        chassis_energy_j=round(chassis_energy_j(node, model), 1),
        simulated=True,
    )


def chassis_w(node: Node, model: FleetModel) -> float:
    """Return the whole node's draw: its GPUs and what they need around them."""
    fixed_w = curves.node_overhead_w(len(node.gpus))
    return fixed_w + (1.0 + curves.NODE_W_PER_GPU_W) * float(model.power_w[node.span].sum())


def chassis_energy_j(node: Node, model: FleetModel) -> float:
    """Return the whole node's energy since it started: the integral of `chassis_w`, because that is linear."""
    fixed_j = curves.node_overhead_w(len(node.gpus)) * (model.at - node.started_at)
    return fixed_j + (1.0 + curves.NODE_W_PER_GPU_W) * float(model.energy_j[node.span].sum())


def _gpu_samples(node: Node, model: FleetModel) -> tuple[GpuSample, ...]:
    readings = zip(
        node.gpus,
        node.jobs,
        model.power_w[node.span].round(1).tolist(),
        model.average_w[node.span].round(1).tolist(),
        model.energy_j[node.span].round(1).tolist(),
        model.limit_w[node.span].round(1).tolist(),
        strict=True,
    )
    return tuple(
        GpuSample(
            uuid=gpu.key.subject,
            model=gpu.model,
            power_w=power_w,
            average_w=average_w,
            energy_j=energy_j,
            enforced_w=limit_w,
            requested_w=limit_w,
            min_w=gpu.lowest,
            max_w=gpu.highest,
            job=job,
            tier=gpu.tier,
            workload=workload,
        )
        for gpu, (job, workload), power_w, average_w, energy_j, limit_w in readings
    )


def _job_sample(share: Share, uuids: tuple[str, ...], model: FleetModel) -> JobSample:
    pool = POOLS[share.pool]
    tokens = model.tokens[share.first_gpu : share.first_gpu + share.gpus].sum()
    return JobSample(
        job=share.job,
        tier=pool.tier,
        workload=pool.workload,
        served_model=pool.served_model,
        engine=ENGINES[pool.workload],
        tokens_total=round(float(tokens), 1),
        gpus=uuids,
    )

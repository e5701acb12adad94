"""
The actuators of the simulated hosts: the decisions of `collectors.lease`, the arrays of the model as GPUs.

    command ─ admit ─┬─ refused: acknowledged as such, nothing changes
                     └─ wait for its start ─ set the limits ─ let the draw settle ─ read ─ acknowledge watts
    every few steps ── leases that end are let go in stages ─ acknowledge the release

Delays are machine time, as they are on a real host; the leases' instants are firmwatt's clock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import numpy as np

from collectors import acks
from collectors.admit import Keyring, Refusal, admit
from collectors.bounds import Bounds
from collectors.lease import Lease, accept, response_time, step
from deploy.fleet.host import Node
from deploy.fleet.model import FleetModel
from pipeline.clock import Clock
from pipeline.messages.control import AckStatus, CommandAck, GpuAck, LeaseCommand, SignedCommand

#: NVML takes 10 to 20 ms to set a limit from a busy process (zeus issue 29), 31 to 33 ms through `nvidia-smi`
#: (GridPilot E7).
SET_S = (0.010, 0.050)
#: The draw is read at the first sensor refresh this long after the limit was set, so 0.2 to 0.3 s: a lowered cap
#: settles in 0.25 s (GridPilot E2).
SETTLE_S = 0.20
#: A waiting lease is taken out of the general look at leases this long before its start, seconds of the machine.
LEAD_S = 0.5

Watts = dict[str, float]


class Actuators:
    """All simulated hosts' actuators in one process."""

    def __init__(
        self,
        nodes: Iterable[Node],
        model: FleetModel,
        *,
        keyring: Keyring,
        clock: Clock,
        answer: Callable[[CommandAck], Awaitable[None]],
        bounds: Bounds | None = None,
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._model, self._keyring, self._clock, self._answer = model, keyring, clock, answer
        self._bounds = bounds or Bounds()
        self._lead = timedelta(seconds=LEAD_S * clock.speed)
        self._random = np.random.default_rng(model.plan.seed + 1)
        self._stepped = asyncio.Event()
        self.admitted = 0
        self.refused = 0

    def tell_stepped(self) -> None:
        """Say that the model has advanced: whoever waits for a reading has one."""
        self._stepped.set()
        self._stepped = asyncio.Event()

    async def obey(self, signed: SignedCommand) -> None:
        """Carry out one command from its arrival to its acknowledgement; commands to other hosts are not ours."""
        node = self._nodes.get(signed.host)
        if node is None:
            return
        now = self._clock.now()
        seq, is_latched = node.state.highest_seq, node.state.is_latched
        verdict = admit(signed, node.name, seq, self._keyring, now, self._bounds, is_latched=is_latched)
        if isinstance(verdict, Refusal):
            self.refused += 1
            await self._answer(acks.refused(node.name, verdict, now, simulated=True))
            return
        self.admitted += 1
        node.state = accept(node.state, Lease.of(verdict))
        if verdict.caps:
            await self._carry_out(node, verdict)

    async def let_go(self) -> None:
        """Advance every host that holds a lease: renewals take over, ended leases are released stage by stage."""
        for node in self._nodes.values():
            if not node.state.is_idle and not node.applying:
                self._enforce(node)
                if (released := node.state.released) is not None:
                    await self._answer(self._ack(node, released, AckStatus.RELEASED, {}, self._read(node)))

    async def _carry_out(self, node: Node, lease: LeaseCommand) -> None:
        """Set the lease's limits at its start and acknowledge the draw before and after; not if it was superseded."""
        await self._clock.sleep_until(lease.not_before - self._lead)
        node.applying += 1  # its start is this task's to act on: nobody else must get there before the reading
        try:
            await self._clock.sleep_until(lease.not_before)
            await asyncio.sleep(self._random.uniform(*SET_S))
            before = self._read(node)
            self._enforce(node)
        finally:
            node.applying -= 1
        if all(held.command is not lease for held in node.state.leases):
            return
        await asyncio.sleep(SETTLE_S)
        await self._stepped.wait()
        await self._answer(self._ack(node, lease, AckStatus.APPLIED, before, self._read(node)))

    def _enforce(self, node: Node) -> None:
        """Set the limits that belong to this instant."""
        node.state, levels = step(node.state, node.gpus, self._clock.now(), self._bounds, node.name)
        wanted = [levels.get(gpu.key, gpu.previous) for gpu in node.gpus]
        self._model.set_limit(node.indices, np.array(wanted))

    def _read(self, node: Node) -> Watts:
        """Return the instantaneous draw of the node's GPUs."""
        return dict(zip((gpu.key.subject for gpu in node.gpus), self._model.power_w[node.span].tolist(), strict=True))

    def _ack(self, node: Node, lease: LeaseCommand, status: AckStatus, before: Watts, after: Watts) -> CommandAck:
        """Return the acknowledgement of *lease*; *before* is empty for a release, which nobody timed."""
        now = self._clock.now()
        latency_s = self._clock.wall_seconds(response_time(lease, now)) if status is AckStatus.APPLIED else None
        return CommandAck(
            host=node.name,
            command_id=lease.command_id,
            seq=lease.seq,
            status=status,
            reason=None,
            issued_at=lease.issued_at,
            acknowledged_at=now,
            latency_ms=None if latency_s is None else round(1000.0 * latency_s, 1),
            before_w=round(sum(before.values()), 1) if before else None,
            after_w=round(sum(after.values()), 1),
            gpus=self._gpu_acks(node, lease, before, after),
            simulated=True,
        )

    def _gpu_acks(self, node: Node, lease: LeaseCommand, before: Watts, after: Watts) -> tuple[GpuAck, ...]:
        """Return one entry per GPU that the lease names."""
        asked_w = {(cap.tier, cap.gpu_model): cap.cap_w for cap in lease.caps}
        limits_w, capped = self._model.limit_w[node.span].tolist(), self._model.capped()[node.span].tolist()
        return tuple(
            _gpu_ack(
                gpu.key.subject,
                asked_w[gpu.tier, gpu.model],
                limit_w,
                before.get(gpu.key.subject),
                after[gpu.key.subject],
                binding=binding,
            )
            for gpu, limit_w, binding in zip(node.gpus, limits_w, capped, strict=True)
            if (gpu.tier, gpu.model) in asked_w
        )


def _gpu_ack(
    uuid: str, asked_w: float, limit_w: float, before_w: float | None, after_w: float, *, binding: bool
) -> GpuAck:
    return GpuAck(
        uuid=uuid,
        asked_w=asked_w,
        requested_w=limit_w,
        enforced_w=limit_w,
        before_w=None if before_w is None else round(before_w, 1),
        after_w=round(after_w, 1),
        binding=binding,
    )

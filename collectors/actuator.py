"""
The actuator between core, journal and lever. What to do is decided in `collectors.lease`, what to say in `acks`.

    command ─▶ admit ─▶ accept ─▶ journal (fsync) ─┐
    every 250 ms ──────────────────────────────────┴▶ step ─▶ journal ─▶ set ─▶ read back ─▶ settle ─▶ acknowledge

It does not know Kafka: commands come in by `obey`, acknowledgements leave by the function it was given, and leases end
whether anybody listens or not.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from collectors import SourceError, acks
from collectors.hands import Hands
from collectors.journal import Journal, Record
from collectors.lease import Bounds, GpuLimits, HostState, Keyring, Refusal, accept, admit, step
from collectors.levers import TOLERANCE_W, GpuReading
from collectors.mappings import UNCLAIMED, Claim
from collectors.process import Changes
from pipeline.clock import Clock
from pipeline.messages.control import CommandAck, LeaseCommand, SignedCommand

log = logging.getLogger(__name__)


def _unheard(ack: CommandAck) -> None:
    log.info("nobody to tell: %s %s", ack.command_id, ack.status)


def limits_of(
    readings: Mapping[str, GpuReading], claims: Mapping[str, Claim], previous_w: Mapping[str, float]
) -> list[GpuLimits]:
    """Return the GPUs as the core sees them: a limit that is not in the journal is one we have not touched."""
    return [
        GpuLimits(
            uuid=uuid,
            model=gpu.model,
            tier=claims.get(uuid, UNCLAIMED).tier,
            min_w=gpu.min_w,
            max_w=gpu.max_w,
            previous_w=previous_w.get(uuid, gpu.requested_w),
        )
        for uuid, gpu in readings.items()
    ]


def changes(
    readings: Mapping[str, GpuReading], held_w: Mapping[str, float], previous_w: Mapping[str, float]
) -> dict[str, float]:
    """Return the limits to set now: of GPUs held back, and of GPUs once touched that belong where they were."""
    return {
        uuid: limit_w
        for uuid, limit_w in {**previous_w, **held_w}.items()
        if uuid in readings and not _is_at(readings[uuid], limit_w)
    }


def still_touched(
    readings: Mapping[str, GpuReading], held_w: Mapping[str, float], previous_w: Mapping[str, float]
) -> dict[str, float]:
    """Return *previous_w* without the GPUs that are let go and read back as they were."""
    return {
        uuid: limit_w
        for uuid, limit_w in previous_w.items()
        if uuid in held_w or uuid not in readings or not _is_at(readings[uuid], limit_w)
    }


def _is_at(reading: GpuReading, limit_w: float) -> bool:
    return abs(reading.requested_w - limit_w) <= TOLERANCE_W


@dataclass
class Actuator:
    """One host's actuator."""

    host: str
    hands: Hands
    journal: Journal
    keyring: Keyring
    claims: Mapping[str, Claim]
    bounds: Bounds
    clock: Clock
    settle_s: float
    """How long GPUs get to follow a limit before their draw counts, seconds of the machine."""
    simulated: bool
    post: Callable[[CommandAck], None] = _unheard
    """Where acknowledgements go; must not block."""
    state: HostState = field(init=False)

    def __post_init__(self) -> None:
        """Start with what the journal knows; nothing is touched yet."""
        self.state = HostState.initial(self.journal.record.highest_seq)
        self._acknowledged_seq = self.state.highest_seq
        self._released: LeaseCommand | None = None
        self._troubles = Changes(log)
        self._turn = asyncio.Lock()

    async def obey(self, signed: SignedCommand) -> Refusal | None:
        """Judge a command; act on it at once if it must be obeyed, else return the refusal."""
        async with self._turn:
            verdict = admit(signed, self.host, self.state, self.keyring, self.clock.now(), self.bounds)
            if isinstance(verdict, Refusal):
                return verdict
            self.state = accept(self.state, verdict)
            self._released = None
            self._record(self.journal.record.previous_w)
        log.info("accepted %s: %d caps until %s", verdict.command_id, len(verdict.caps), verdict.expires_at)
        await self.advance()
        return None

    async def advance(self) -> None:
        """Make hold what should hold now: begin, keep and end leases. A host that holds nothing is not even read."""
        async with self._turn:
            if not self.state.leases and not self.journal.record.previous_w:
                return
            before = await self._gpus()
            if before is None:
                return
            known = limits_of(before, self.claims, self.journal.record.previous_w)
            self.state, held_w = step(self.state, known, self.clock.now(), self.bounds)
            self._released = self.state.released or self._released
            found_w = {gpu.uuid: gpu.previous_w for gpu in known if gpu.uuid in held_w}
            self._record({**self.journal.record.previous_w, **found_w})
            await self._hold(before, held_w)
        if self._released and not self.journal.record.previous_w:
            self._acknowledge_release(self._released, None)

    async def let_go(self, reason: str) -> None:
        """Put every limit back at once, whatever is leased, and forget the leases; the journal keeps what fails."""
        async with self._turn:
            holding, self.state = self.state.holding(self.clock.now()), HostState.initial(self.state.highest_seq)
            if not self.journal.record.previous_w:
                return
            before = await self._gpus()
            if before is not None:
                await self._hold(before, {})
        if left := self.journal.record.previous_w:
            log.error("%s, and these GPUs are still limited: %s", reason, ", ".join(sorted(left)))
        else:
            log.info("%s: all limits are as they were", reason)
            if holding:
                self._acknowledge_release(holding, reason)

    async def _gpus(self) -> Mapping[str, GpuReading] | None:
        """Read all GPUs, None while none can be asked."""
        try:
            readings = await self.hands.gpus(self.clock.now())
        except SourceError as error:
            self._troubles.note("lever", str(error))
            return None
        self._troubles.note("lever", None)
        return readings

    async def _hold(self, before: Mapping[str, GpuReading], held_w: Mapping[str, float]) -> None:
        """Set what differs, measure, acknowledge a lease that has begun, and forget GPUs that are back."""
        previous_w = self.journal.record.previous_w
        tried = await self.hands.set(changes(before, held_w, previous_w))
        self._troubles.note(
            "limits", "; ".join(f"{uuid}: {error}" for uuid, error in self.hands.errors.items()) or None
        )
        begun = self.state.holding(self.clock.now())
        is_news = begun is not None and bool(begun.caps) and begun.seq > self._acknowledged_seq
        if is_news:
            await asyncio.sleep(self.settle_s)
        after = await self._gpus() if tried or is_news else before
        if begun is not None and is_news:
            self._acknowledged_seq = begun.seq
            gpus = acks.gpu_acks(held_w, before, after or {}, self.hands.errors)
            self.post(acks.applied(begun, gpus, self.clock.now(), self.clock, simulated=self.simulated))
        self._record(still_touched(after or {}, held_w, previous_w))

    def _acknowledge_release(self, lease: LeaseCommand, reason: str | None) -> None:
        self._released = None
        log.info("released %s", lease.command_id)
        self.post(acks.released(lease, self.clock.now(), reason, simulated=self.simulated))

    def _record(self, previous_w: Mapping[str, float]) -> None:
        """Return once sequence and previous limits are on disk."""
        self.journal.write(Record(highest_seq=self.state.highest_seq, previous_w=dict(previous_w)))

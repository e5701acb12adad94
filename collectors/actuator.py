"""
The actuator between core, journal and levers. What to do is decided in `collectors.lease`, what to say in `acks`.

    command ─▶ admit ─▶ accept ─┐
    every 250 ms ───────────────┴▶ step ─▶ journal (fsync) ─▶ set, read back ─▶ verify ─▶ acknowledge
    every 5 s ──────────────────── read everything: who else has set it?

It does not know Kafka: commands come in by `obey`, acknowledgements leave by the function it was given, and leases end
whether anybody listens or not.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from collectors import acks
from collectors.admit import Refusal, RefusalCode, admit, opened
from collectors.bounds import Bounds
from collectors.controls import Control, asked, left_out
from collectors.hands import NOT_BACK, Failure, Hands
from collectors.journal import Journal, KeptLease, Record, touched
from collectors.keys import Keys
from collectors.lease import HostState, Lease, accept, let_go, resumed, step
from collectors.levers import FREE, Key, Reading, is_at
from collectors.mappings import Claim
from collectors.process import Changes
from collectors.steady import SteadyClock
from collectors.watch import Watch
from collectors.whose import Whose, claim_on, gpus_of, jobs
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem
from pipeline.messages.control import CommandAck, Kind, LeaseCommand, SignedCommand, Trouble

log = logging.getLogger(__name__)

POLL_S = 0.02
"""Between two looks at the draw while GPUs follow a new limit; field 186 is renewed every 20 ms at best (V100)."""


RETRY_S = 1.0
"""How soon everything is read again while something does not answer, seconds of the machine."""
UNLIMITED_S = 0.25
"""How long draw gets to follow what is no limit of it, as a paused job; a V100 settled in 0.25 s (GridPilot E2)."""


GPUS = (Kind.POWER, Kind.CLOCK)


def _names_jobs(command: LeaseCommand) -> bool:
    return bool(command.pauses or command.admissions)


def _unheard(ack: CommandAck) -> None:
    log.info("nobody to tell: %s %s", ack.command_id, ack.status)


@dataclass(frozen=True)
class Pace:
    """How an actuator spends its time. Seconds of the machine."""

    settle_s: float = 1.0
    """How long GPUs get at most to follow a new limit before their draw counts."""
    reconcile_s: float = 5.0
    """How often everything is read while anything is held."""
    answer_s: float = 10.0
    """How long a command waits at most for slow levers before it is acknowledged without them."""
    idle_s: float = 60.0
    """After so long with nothing held, devices are let go of: nobody replaces a driver that is in use."""


@dataclass(frozen=True)
class Plan:
    """What follows from one step."""

    now: datetime
    controls: list[Control]
    levels: Mapping[Key, float]
    """Of every control that is held back."""
    changes: Mapping[Key, float]
    """What is to be set for that."""


@dataclass
class Actuator:
    """One host's actuator."""

    host: str
    hands: Hands
    journal: Journal
    keys: Keys
    whose: Whose
    bounds: Bounds
    clock: Clock
    steady: SteadyClock
    boot: str
    """The run of the machine."""
    simulated: bool
    pace: Pace = field(default_factory=Pace)
    silence: timedelta | None = None
    """Without contact for so long, economic leases are let go of before they end."""
    post: Callable[[CommandAck], None] = _unheard
    """Where acknowledgements go; must not block."""
    state: HostState = field(init=False)
    refused: Counter[RefusalCode] = field(default_factory=Counter)
    accepted: int = 0
    conflicts: Counter[Key] = field(default_factory=Counter)
    set_ms: float | None = None
    """Of the newest command: from its arrival until every control was set and read back."""

    def __post_init__(self) -> None:
        """Know what the journal knows; nothing is touched yet."""
        record, now = self.journal.record, self.steady.now()
        self.previous: dict[Key, float] = record.previous()
        self._highest: dict[Key, float] = record.highest()
        self._kept: dict[int, SignedCommand] = {}
        is_same_boot = record.boot == self.boot
        deadline = None if record.deadline_up_s is None or not is_same_boot else self.steady.at(record.deadline_up_s)
        leases = [
            lease for kept in record.leases if (lease := self._lease(kept, is_same_boot=is_same_boot)) is not None
        ]
        self.state = resumed(leases, record.levels(), deadline, record.highest_seq, now)
        self._acknowledged_seq = record.acknowledged_seq
        self._watch = Watch()
        self._turn = asyncio.Lock()
        self._troubles = Changes(log)
        self._reason: str | None = None
        self._arrived_s: float | None = None
        self._asked_jobs_for = record.highest_seq
        """The newest command for which the levers of jobs were asked what there is."""
        self._before: dict[Key, Reading] = {}
        """What was read before the first change of a command that is not acknowledged yet."""
        self._looked_at: datetime | None = None
        self._ended: list[LeaseCommand] = []
        self.contact_at = now

    async def begin(self) -> None:
        """Look at what there is, and make hold what an earlier run has left to hold, or to put back."""
        if self.previous or self.state.leases:
            counts = len(self.previous), len(self.state.leases)
            log.info("found of an earlier run: %d controls touched, %d leases", *counts)
        async with self._turn:
            await self._look(self.steady.now())
        await self.advance()

    async def obey(self, signed: SignedCommand) -> Refusal | None:
        """Judge a command; act on it at once if it must be obeyed, else return the refusal."""
        arrived_s = time.monotonic()
        async with self._turn:
            verdict = admit(
                signed,
                self.host,
                self.state.highest_seq,
                self.keys.ring(),
                self.clock.now(),
                self.bounds,
                is_latched=self.state.is_latched,
            )
            if isinstance(verdict, LeaseCommand):
                verdict = await self._take(verdict, signed, arrived_s)
            if isinstance(verdict, Refusal):
                self.refused[verdict.code] += 1
                return verdict
        return None

    async def advance(self) -> None:
        """Make hold what should hold now: begin, keep and end leases. Devices of an idle host are not even read."""
        async with self._turn:
            now = self.steady.now()
            await self.whose.ask(now)
            if self.silence is not None and now - self.contact_at > self.silence:
                self._end("silence: no contact with Kafka", now)
            self.hands.collect()
            if self.is_idle:
                await self._rest()
                return
            if self._is_due_to_look:
                await self._look(now)
            await self._hold()

    def end(self, reason: str) -> None:
        """Begin the way back of all economic leases; further `advance` walks it. Safety caps stay."""
        self._end(reason, self.steady.now())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, planned or still to be put back."""
        return self.state.is_idle and not self.previous

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to do but to hold what is latched."""
        return self.is_idle or (self.state.is_latched and not self.state.ways_back and self.state.ending is None)

    @property
    def foreign(self) -> Collection[Key]:
        """Controls that somebody else has taken hold of."""
        return self._watch.foreign.keys()

    @property
    def overdue(self) -> list[Key]:
        """Controls that should be as they were and are not yet."""
        return [key for key in self.previous if key not in self.state.levels]

    def controls(self, now: datetime) -> list[Control]:
        """Return all controls that answer, as the core sees them."""
        return self._seen(self.hands.readings, now)

    async def _take(self, command: LeaseCommand, signed: SignedCommand, arrived_s: float) -> LeaseCommand | Refusal:
        """Take *command* on and act on it; a `Refusal`, and nothing has changed, where it cannot be put on disk."""
        if self._is_due_to_look:
            await self.whose.ask(self.steady.now())
            await self._look(self.steady.now(), GPUS)
        before = self.state, self.previous, self._highest, self._kept, self._watch
        self.state = accept(self.state, Lease.of(command, self.steady.ahead_of(self.clock.now())))
        self._kept = {**self._kept, command.seq: signed}
        self._watch = self._watch.renewed()
        plan = self._plan()
        try:
            self._record()
        except EnvironmentProblem as error:
            self.state, self.previous, self._highest, self._kept, self._watch = before
            self._troubles.note("journal", str(error))
            return Refusal(f"{error}; nothing is touched", RefusalCode.NOT_RECORDED, command)
        self.accepted += 1
        self._arrived_s, self._reason, self._before = arrived_s, None, {}
        log.info("accepted %s until %s: %s", command.command_id, command.expires_at.isoformat(), acks.words(command))
        await self._act(plan)
        if _names_jobs(command):  # slower to ask than GPUs are, so these are capped already
            await self._look(self.steady.now())
            self._asked_jobs_for = command.seq
            await self._hold()
        return command

    def _end(self, reason: str, now: datetime) -> None:
        if any(not lease.is_safety for lease in self.state.leases):
            log.warning("letting go before the lease's end: %s", reason)
            self._reason = reason
            self.state = let_go(self.state, now)

    async def _hold(self) -> None:
        """Take a step, and set, verify and acknowledge what follows from it."""
        plan = self._plan()
        try:
            self._record()
        except EnvironmentProblem as error:  # what lets go needs no journal; what holds back waits for it
            self._troubles.note("journal", str(error))
            plan = replace(plan, changes={key: level for key, level in plan.changes.items() if self._rises(key, level)})
        else:
            self._troubles.note("journal", None)
        await self._act(plan)

    def _plan(self) -> Plan:
        """Take a step and return what is to be done; nothing is touched yet."""
        now = self.steady.now()
        controls = self.controls(now)
        self.state, levels = step(self.state, controls, now, self.bounds, self.host)
        self.previous = {**{one.key: one.previous for one in controls if one.key in levels}, **self.previous}
        self._highest = {**{one.key: one.highest for one in controls if one.key in levels}, **self._highest}
        changes = {}
        for key, reading in self.hands.readings.items():
            if key not in self.previous or key in self._watch.foreign:
                continue
            level, ours = levels.get(key, self.previous[key]), self._watch.ours.get(key)
            if reading.requested is None:
                if ours != level:
                    changes[key] = level
            elif not is_at(key.kind, reading.requested, level) and (
                key in levels or (reading.requested < level and not self._watch.is_foreign(key, reading.requested))
            ):
                changes[key] = level
        return Plan(now, controls, levels, changes)

    async def _act(self, plan: Plan) -> None:
        """Set what is to change, verify and acknowledge a lease that has begun, forget what is as it was."""
        lease = self.state.in_force(plan.now)
        is_news = lease is not None and lease.holds(plan.now) and lease.command.seq > self._acknowledged_seq
        if is_news and self._arrived_s is not None and not self._before:
            self._before = dict(self.hands.readings)
        await self.hands.set(plan.changes)
        for key, level in self.hands.taken().items():
            self._watch = self._watch.put(key, level)
        if lease is not None and is_news:
            await self._tell(lease.command, plan)
        self._forget(plan.levels)
        if self.state.released is not None:
            self._ended.append(self.state.released)
        if self._ended and not self.overdue:
            for ended in self._ended:
                log.info("released %s", ended.command_id)
                self.post(acks.released(ended, self.clock.now(), self._reason, simulated=self.simulated))
            self._ended = []
        self._note()

    async def _tell(self, command: LeaseCommand, plan: Plan) -> None:
        """Acknowledge *command*, once all it asks for is set or refused and the draw has followed."""
        targets = asked(plan.controls, command)
        if any(plan.levels.get(key) != level for key, level in targets.items()):
            return  # on its way, stroke by stroke
        if self.hands.silent and not targets:
            return  # nothing can be asked yet
        waited_s = 0.0 if self._arrived_s is None else time.monotonic() - self._arrived_s
        is_out = not self.hands.pending.isdisjoint(targets) or (_names_jobs(command) and self._is_finding(command))
        if is_out and waited_s < self.pace.answer_s:
            return
        if self._arrived_s is not None:
            self.set_ms, self._arrived_s = waited_s * 1000, None
        before, self._before = self._before, {}
        self._acknowledged_seq = command.seq
        await self._settle(targets)
        missing = {key: reading for key, reading in self.hands.known.items() if key not in self.hands.readings}
        unreached = asked(self._seen(missing, plan.now), command)
        failures = {
            **dict.fromkeys(self.hands.pending, NOT_BACK),
            **self.hands.failures,
            **{
                key: Failure(Trouble.CONFLICT, f"held at {level:g} by somebody else")
                for key, level in self._watch.foreign.items()
            },
            **{key: Failure(Trouble.UNEQUAL, why) for key, why in left_out(plan.controls, command).items()},
        }
        report = acks.Report({**targets, **unreached}, before, self.hands.readings, failures, self._affected(targets))
        silent = "; ".join(f"{kind}: {why}" for kind, why in self.hands.silent.items())
        self.post(
            acks.applied(
                command, report, self.clock, set_ms=self.set_ms, reason=silent or None, simulated=self.simulated
            )
        )

    async def _settle(self, targets: Mapping[Key, float]) -> None:
        """Return once every GPU draws no more than its limit, or after `settle_s`; what else changes gets a moment."""
        watched = {key for key in targets if key not in self.hands.failures and key in self.hands.readings}
        watched |= {key for key in self._affected(targets) if key in self.hands.readings}
        began_s = time.monotonic()
        while watched:
            await asyncio.sleep(POLL_S)
            await self.hands.read(watched)
            waited_s = time.monotonic() - began_s
            has_followed = all(acks.has_followed(self.hands.readings.get(key), targets.get(key)) for key in watched)
            is_measured = waited_s >= UNLIMITED_S or all(key.kind is Kind.POWER for key in targets)
            if (has_followed and is_measured) or waited_s >= self.pace.settle_s:
                return

    def _affected(self, targets: Mapping[Key, float]) -> set[Key]:
        """Return the power controls of all GPUs whose draw *targets* change."""
        claims = self.whose.claims(self.steady.now())
        names = [key.subject for key in targets if key.kind in {Kind.RUN, Kind.ADMISSION}]
        uuids = [key.subject for key in targets if key.kind in {Kind.POWER, Kind.CLOCK}] + gpus_of(names, claims)
        return {Key(Kind.POWER, uuid) for uuid in uuids}

    def _forget(self, levels: Mapping[Key, float]) -> None:
        """Forget the controls that are let go of and are as they were, or as somebody else wants them."""
        for key in [key for key in self.previous if key not in levels and key in self.hands.readings]:
            found, previous = self.hands.readings[key].requested, self.previous[key]
            if found is None:
                is_over = self._watch.ours.get(key) == previous
            else:
                is_over = is_at(key.kind, found, previous) or found > previous or self._watch.is_foreign(key, found)
            if is_over:
                if found is not None and not is_at(key.kind, found, previous):
                    log.warning("%s was %g and is left at %g, which somebody else has set", key, previous, found)
                del self.previous[key]
                self._highest.pop(key, None)
                self._watch = self._watch.forget(key)
                self.hands.forget(key)
        try:
            self._record()
        except EnvironmentProblem as error:  # it says more than is true, which the next start finds out
            self._troubles.note("journal", str(error))

    async def _look(self, now: datetime, kinds: Collection[Kind] = tuple(Kind)) -> None:
        """Read all controls of *kinds*, and see whether somebody else has changed what we hold."""
        await self.hands.look(now, jobs(self.whose.claims(now)).keys(), kinds)
        self._looked_at = self.steady.now()
        before = self._watch.foreign.keys()
        self._watch = self._watch.look({key: reading.requested for key, reading in self.hands.readings.items()})
        if contested := self._watch.foreign.keys() - before:
            self.conflicts.update(contested)
            lease = self.state.in_force(now)
            found = {key: self._watch.foreign[key] for key in contested}
            log.error(
                "somebody else sets what we hold, and keeps it: %s", ", ".join(f"{k}: {v:g}" for k, v in found.items())
            )
            if lease is not None:
                self.post(
                    acks.conflict(lease.command, found, self.state.levels, self.clock.now(), simulated=self.simulated)
                )

    def _is_finding(self, command: LeaseCommand) -> bool:
        return self.hands.is_finding or self._asked_jobs_for < command.seq

    async def _rest(self) -> None:
        """Let go of the devices of a host that has been idle for a while."""
        if self.hands.readings and self._looked_s() > self.pace.idle_s:
            await self.hands.close()
            self._looked_at = None

    @property
    def _is_due_to_look(self) -> bool:
        is_whole = not (self.hands.silent or self.hands.failures)
        return self._looked_s() >= (self.pace.reconcile_s if is_whole else min(RETRY_S, self.pace.reconcile_s))

    def _looked_s(self) -> float:
        """Return how long ago everything was read, seconds of the machine."""
        if self._looked_at is None:
            return float("inf")
        return self.clock.wall_seconds(self.steady.now() - self._looked_at)

    def _seen(self, readings: Mapping[Key, Reading], now: datetime) -> list[Control]:
        claims = self.whose.claims(now)
        return [self._control(key, reading, claim_on(key.subject, claims)) for key, reading in readings.items()]

    def _control(self, key: Key, reading: Reading, claim: Claim) -> Control:
        unknown = FREE if key.kind is Kind.CLOCK else reading.highest  # of clocks alone nobody can tell a number
        found = unknown if reading.requested is None else reading.requested
        return Control(
            key=key,
            tier=claim.tier,
            lowest=reading.lowest,
            highest=self._highest.get(key, reading.highest),
            previous=self.previous.get(key, found),
            model=reading.model,
            job=claim.job,
            requested=reading.requested,
        )

    def _rises(self, key: Key, level: float) -> bool:
        found = self.hands.readings[key].requested
        return key not in self.state.levels or (found is not None and level > found)

    def _note(self) -> None:
        """Log what has changed for the worse or the better."""
        failures = "; ".join(f"{key}: {failure.text}" for key, failure in self.hands.failures.items())
        self._troubles.note("controls", failures or None)
        self._troubles.note("levers", "; ".join(f"{kind}: {why}" for kind, why in self.hands.silent.items()) or None)
        notes = {reading.note for reading in self.hands.readings.values() if reading.note}
        self._troubles.note("drivers", "; ".join(sorted(notes)) or None)

    def _lease(self, kept: KeptLease, *, is_same_boot: bool) -> Lease | None:
        """
        Return a lease of an earlier run, verified again; None where it is not to be trusted or not timed.

        After a restart of the machine nothing times an economic lease, and no limit has outlived it; safety stays.
        """
        command = opened(kept.signed, self.keys.ring())
        if isinstance(command, Refusal):
            log.error("a lease in the journal is not obeyed any more: %s", command.reason)
            return None
        if command.kind == "economic" and not is_same_boot:
            return None
        self._kept[command.seq] = kept.signed
        if not is_same_boot:
            return Lease(command, self.steady.now(), command.expires_at)
        return Lease(command, self.steady.at(kept.begins_up_s), self.steady.at(kept.ends_up_s))

    def _record(self) -> None:
        """Return once all that a next start must know is on disk."""
        self._kept = {lease.command.seq: self._kept[lease.command.seq] for lease in self.state.leases}
        deadline = self.state.deadline
        self.journal.write(
            Record(
                boot=self.boot,
                highest_seq=self.state.highest_seq,
                acknowledged_seq=self._acknowledged_seq,
                touched=touched(self.previous, self.state.levels, self._highest),
                leases=tuple(
                    KeptLease(
                        signed=self._kept[lease.command.seq],
                        begins_up_s=self.steady.up_s(lease.begins_at),
                        ends_up_s=self.steady.up_s(lease.ends_at),
                    )
                    for lease in self.state.leases
                ),
                deadline_up_s=None if deadline is None else self.steady.up_s(deadline),
            )
        )

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
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from collectors import acks
from collectors.admit import Refusal, RefusalCode, admit
from collectors.answers import Answers
from collectors.bounds import Bounds
from collectors.controls import Control
from collectors.hands import JOBS, Failure, Hands
from collectors.journal import Original
from collectors.keys import Keys, Nobody
from collectors.lease import HostState, Lease, accept, let_go, step
from collectors.levers import FREE, Key, is_at
from collectors.mappings import UNCLAIMED, Claim
from collectors.memory import Memory
from collectors.process import Changes
from collectors.steady import SteadyClock
from collectors.watch import Watch
from collectors.whose import Whose, claim_on, gpus_of, jobs
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem
from pipeline.messages.control import Kind, LeaseCommand, SignedCommand, Trouble

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
"""How soon everything is read again while something does not answer, seconds of the machine."""
GPUS = (Kind.POWER, Kind.CLOCK)


@dataclass(frozen=True)
class Pace:
    """How an actuator spends its time. Seconds of the machine."""

    reconcile_s: float = 5.0
    """How often everything is read while anything is held."""
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
    withheld: Collection[Key] = ()
    """What is not set, because it could not be put on disk before."""


@dataclass
class Actuator:
    """One host's actuator."""

    host: str
    hands: Hands
    memory: Memory
    answers: Answers
    keys: Keys | Nobody
    whose: Whose
    bounds: Bounds
    clock: Clock
    steady: SteadyClock
    pace: Pace = field(default_factory=Pace)
    silence: timedelta | None = None
    """Without contact for so long, economic leases are let go of before they end."""
    state: HostState = field(init=False)
    found: dict[Key, Original] = field(init=False)
    """What the controls were that may be other by our doing."""
    refused: Counter[RefusalCode] = field(default_factory=Counter)
    accepted: int = 0
    conflicts: Counter[Key] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Know what the journal knows; nothing is touched yet."""
        self.state, self.found = self.memory.state(), self.memory.found()
        self.contact_at = self.steady.now()
        self._watch = Watch(asked=self.memory.asked())
        self._is_stopping = False
        self._turn = asyncio.Lock()
        self._troubles = Changes(log)
        self._looked_at: datetime | None = None
        self._asked_jobs_for = self.state.highest_seq
        """The newest command for which the levers of jobs were asked what there is."""

    async def begin(self) -> None:
        """Look at what there is, and make hold what an earlier run has left to hold, or to put back."""
        if self.found or self.state.leases:
            counts = len(self.found), len(self.state.leases)
            log.info("found of an earlier run: %d controls touched, %d leases", *counts)
        async with self._turn:
            await self._look(self.steady.now(), GPUS)  # mappings may know GPUs by where they sit
            await self.whose.know(self.steady.now())
            await self._look(self.steady.now())
        await self.advance()

    async def obey(self, signed: SignedCommand) -> Refusal | None:
        """Judge a command; act on it at once if it must be obeyed, else return the refusal."""
        arrived_s = time.monotonic()
        async with self._turn:
            now, ahead = self._now()
            verdict = admit(
                signed,
                self.host,
                self.state.highest_seq,
                self.keys.ring(),
                now,
                self.bounds,
                is_latched=self.state.is_latched,
                planned=len(self.state.leases),
            )
            if isinstance(verdict, LeaseCommand) and self._is_stopping:
                verdict = Refusal("this actuator is stopping", RefusalCode.STOPPING, verdict)
            if isinstance(verdict, LeaseCommand):
                lease = Lease.of(verdict, ahead, self.bounds.min_release)
                verdict = await self._take(lease, signed, arrived_s)
            if isinstance(verdict, Refusal):
                self.refused[verdict.code] += 1
                return verdict
        return None

    async def advance(self) -> None:
        """Make hold what should hold now: begin, keep and end leases. Devices of an idle host are not even read."""
        async with self._turn:
            now = self.steady.now()
            self.whose.ask(now)
            if self.silence is not None and now - self.contact_at > self.silence:
                self._end("silence: no contact with Kafka", now)
            self._collect()
            if self.is_idle:
                await self._rest()
                return
            if self._is_due_to_look:
                await self._look(now)
            await self._hold()

    def end(self, reason: str) -> None:
        """Obey nothing more and begin the way back of all economic leases; `advance` walks it. Safety caps stay."""
        self._is_stopping = True
        self._end(reason, self.steady.now())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, planned or still to be put back."""
        return self.state.is_idle and not self.found

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
        return [key for key in self.found if key not in self.state.levels]

    def controls(self) -> list[Control]:
        """Return all controls that ever answered, as the core sees them now."""
        now = self.steady.now()
        claims, has_heard = self.whose.claims(now), self.whose.has_heard(now)
        return [self._control(key, claim_on(key.subject, claims), has_heard=has_heard) for key in self.hands.known]

    async def _take(self, lease: Lease, signed: SignedCommand, arrived_s: float) -> LeaseCommand | Refusal:
        """Take *lease* on and act on it; a `Refusal`, and nothing has changed, where it cannot be put on disk."""
        command = lease.command
        if self._is_due_to_look:
            await self._look(self.steady.now(), GPUS)
        await self.whose.know(self.steady.now())
        self.hands.retry()
        before = self.state, self.found, self._watch
        self.state = accept(self.state, lease)
        await self._refresh()
        plan = self._plan()
        try:
            self._record((command.seq, signed))
        except EnvironmentProblem as error:
            self.state, self.found, self._watch = before
            self._troubles.note("journal", str(error))
            return Refusal(f"{error}; nothing is touched", RefusalCode.NOT_RECORDED, command)
        self._troubles.note("journal", None)
        self.accepted += 1
        self.answers.arrived(arrived_s)
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
            self.answers.reason = reason
            self.state = let_go(self.state, now)

    async def _hold(self) -> None:
        """Take a step, and set, verify and acknowledge what follows from it."""
        await self._refresh()
        before = self._watch
        plan = self._plan()
        try:
            self._record()
        except EnvironmentProblem as error:  # what lets go needs no journal; what holds back waits for it
            self._troubles.note("journal", str(error))
            changes = {key: level for key, level in plan.changes.items() if self._rises(key, level)}
            self._watch = before.ask(changes)
            plan = replace(plan, changes=changes, withheld=plan.changes.keys() - changes.keys())
        else:
            self._troubles.note("journal", None)
        await self._act(plan)

    async def _refresh(self) -> None:
        """Read what is about to be touched for the first time: what is restored in the end is what is read now."""
        _, levels = step(self.state, self.controls(), self.steady.now(), self.bounds, self.host)
        if untouched := levels.keys() - self.found.keys():
            await self.hands.read(untouched)

    def _plan(self) -> Plan:
        """Take a step and return what is to be done; nothing is touched yet."""
        now, controls = self.steady.now(), self.controls()
        self.state, levels = step(self.state, controls, now, self.bounds, self.host)
        held = {one.key: one for one in controls if one.key in levels}
        for key, one in held.items():
            before = self.found.get(key)
            level, highest = (one.previous, one.highest) if before is None else (before.level, before.highest)
            self.found = {**self.found, key: Original(level, highest, one.tier, one.job)}
        changes = {}
        for key in self.found.keys() & self.hands.readings.keys():
            level = levels.get(key, self.found[key].level)
            if self._watch.is_to_set(key, self.hands.readings[key].requested, level, is_held=key in levels):
                changes[key] = level
        self._watch = self._watch.ask(changes)
        return Plan(now, controls, levels, changes)

    async def _act(self, plan: Plan) -> None:
        """Set what is to change, verify and acknowledge a lease that has begun, forget what is as it was."""
        await self.hands.set(plan.changes)
        self._collect()
        lease = self.state.in_force(plan.now)
        if lease is not None and lease.holds(plan.now) and lease.command.seq > self.answers.acknowledged_seq:
            await self._acknowledge(lease.command, plan)
        self._forget(plan)
        self.answers.ended(self.state.released, is_all_back=not self.overdue)
        self._note()

    async def _acknowledge(self, command: LeaseCommand, plan: Plan) -> None:
        await self.answers.applied(
            command,
            controls=self.controls(),  # with what has just been refused
            levels=plan.levels,
            failures=self._failures(plan),
            affected=self._affected(plan.levels),
            is_finding=_names_jobs(command) and (self.hands.is_finding or self._asked_jobs_for < command.seq),
        )

    def _failures(self, plan: Plan) -> dict[Key, Failure]:
        """Return what keeps controls from being as they should, beside what the levers say."""
        withheld = Failure(Trouble.FAILED, "not set, because the journal cannot be written")
        contested = {key: f"held at {level:g} by somebody else" for key, level in self._watch.foreign.items()}
        return {
            **dict.fromkeys(plan.withheld, withheld),
            **{key: Failure(Trouble.CONFLICT, text) for key, text in contested.items()},
        }

    def _collect(self) -> None:
        """Take what levers have answered."""
        self.hands.collect()
        self._watch = self._watch.taken(self.hands.taken())
        for key in self.hands.refused & self.hands.readings.keys():
            found, wanted = self.hands.readings[key].requested, self._watch.asked.get(key, ())
            if found is not None and wanted and is_at(key.kind, found, wanted[-1]):
                self.hands.forget(key)  # it was set after all, and only its reading back had failed

    def _affected(self, targets: Collection[Key]) -> set[Key]:
        """Return the power controls of all GPUs whose draw *targets* change."""
        claims = self.whose.claims(self.steady.now())
        names = [key.subject for key in targets if key.kind in JOBS]
        uuids = [key.subject for key in targets if key.kind in GPUS] + gpus_of(names, claims)
        return {Key(Kind.POWER, uuid) for uuid in uuids}

    def _forget(self, plan: Plan) -> None:
        """Forget the controls that are let go of and are as they were, or as somebody else wants them, or gone."""
        for key in [key for key in self.found if key not in plan.levels and self._is_over(key, plan.now)]:
            del self.found[key]
            self._watch = self._watch.forget(key)
        try:
            self._record()
        except EnvironmentProblem as error:  # it says more than is true, which the next start finds out
            self._troubles.note("journal", str(error))

    def _is_over(self, key: Key, now: datetime) -> bool:
        """Tell whether nothing is left to be done for a control that is let go of."""
        reading, original = self.hands.readings.get(key), self.found[key].level
        if reading is None:
            failure = self.hands.failures.get(key)
            is_gone = failure is not None and failure.trouble is Trouble.LOST
            return key.kind in JOBS and is_gone and key.subject not in jobs(self.whose.claims(now))
        if (found := reading.requested) is None:
            return not self._watch.is_to_set(key, None, original, is_held=False)
        if is_at(key.kind, found, original):
            return True
        if found > original or self._watch.is_theirs(key, found):
            log.warning("%s was %g and is left at %g, which somebody else has set", key, original, found)
            return True
        return False

    async def _look(self, now: datetime, kinds: Collection[Kind] = tuple(Kind)) -> None:
        """Read all controls of *kinds*, and see whether somebody else has changed what we hold."""
        touched = {key.subject for key in self.found if key.kind in JOBS}  # to be put back whoever claims them
        await self.hands.look(now, jobs(self.whose.claims(now)).keys() | touched, kinds)
        self._looked_at = self.steady.now()
        self._collect()
        before = self._watch.foreign.keys()
        found = {key: reading.requested for key, reading in self.hands.readings.items()}
        self._watch = self._watch.look(found, now)
        if contested := self._watch.foreign.keys() - before:
            self.conflicts.update(contested)
            lease = self.state.in_force(now)
            theirs = {key: self._watch.foreign[key] for key in contested}
            self.answers.conflict(None if lease is None else lease.command, theirs, self.state.levels)

    async def _rest(self) -> None:
        """Let go of the devices of a host that has been idle for a while."""
        if self.hands.readings and self._looked_s() > self.pace.idle_s:
            await self.hands.close()
            self._looked_at = None

    @property
    def _is_due_to_look(self) -> bool:
        is_whole = not (self.hands.silent or self.hands.failures)
        return self._looked_s() >= (self.pace.reconcile_s if is_whole else min(LOOK_AGAIN_S, self.pace.reconcile_s))

    def _looked_s(self) -> float:
        """Return how long ago everything was read, seconds of the machine."""
        if self._looked_at is None:
            return float("inf")
        return self.clock.wall_seconds(self.steady.now() - self._looked_at)

    def _control(self, key: Key, claim: Claim | None, *, has_heard: bool) -> Control:
        reading = self.hands.readings.get(key, self.hands.known[key])
        unknown = FREE if key.kind is Kind.CLOCK else reading.highest  # of clocks alone nobody can tell a number
        before = Original(unknown if reading.requested is None else reading.requested, reading.highest)
        original = self.found.get(key, before)
        is_orphan = claim is None and original.tier is not None
        if claim is None:  # a touched one is believed to be whose it was
            claim = UNCLAIMED if original.tier is None else Claim(job=original.job, tier=original.tier)
        return Control(
            key=key,
            tier=claim.tier,
            lowest=reading.lowest,
            highest=reading.highest if original.highest is None else original.highest,
            previous=original.level,
            model=reading.model,
            job=claim.job,
            requested=reading.requested,
            is_orphan=is_orphan and has_heard,
            answers=key in self.hands.readings,
            refuses=key in self.hands.refused,
        )

    def _now(self) -> tuple[datetime, timedelta]:
        """Return what the host's clock shows, and how far the steady one is ahead of it: read together."""
        shown = self.clock.now()
        return shown, self.steady.ahead_of(shown)

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

    def _record(self, newest: tuple[int, SignedCommand] | None = None) -> None:
        """Return once all that a next start must know is on disk."""
        self.memory.keep(self.state, self.found, self._watch.asked, self.answers.acknowledged_seq, newest)


def _names_jobs(command: LeaseCommand) -> bool:
    return bool(command.pauses or command.admissions)

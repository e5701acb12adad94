"""
The actuator's decisions: which level every control is to have at an instant. Pure; shells turn the controls.

    previous ─────────┐                                    ┌─────   4/4: exactly as it was, the lease is over
                      │                            ┌───────┘
                      │                    ┌───────┘
                      │            ┌───────┘  1/4 of the way back
    cap               └────────────┘
                  begins_at   holds_until               ends_at
                                   ├─jitter─┤   the same for a host every time, less than one stage: a site's hosts
                                                do not come back at one instant, which would be a grid event itself

- A lease's way back is its last part: at `ends_at` nothing of it is left. Of several leases, the highest sequence that
  has begun holds. So a renewal sent ahead of time takes over without a gap, and a lease that starts no later than an
  older one erases it.
- Whatever is no longer held goes back in stages, each control from where it is: after a release command, silence or
  SIGTERM, out of a stale journal, because the lease that took over does not name it, or nobody claims it any more.
  Protection alone is at once: a GPU that somebody claims as T0 is let go in the same step.
- ``kind="safety"`` latches: it has no end of its own, and only a safety command may follow it.
- A power limit moves in strokes of at most `max_step_w`, no faster than `max_rate_w_per_s`.

Instants are of a clock that nobody can step (`collectors.steady`). Nothing here needs the network: a host that hears
nothing more lets go by itself.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from collectors.bounds import OVERDUE, Bounds
from collectors.controls import Control, asked
from collectors.levers import Key
from pipeline.messages.control import Kind, LeaseCommand
from pipeline.messages.telemetry import Tier

ALWAYS = datetime.min.replace(tzinfo=UTC)
"""When a release has begun. No clock counts back to it: a shell that keeps leases keeps this as it is."""


@dataclass(frozen=True)
class Lease:
    """A command as this host keeps its time."""

    command: LeaseCommand
    begins_at: datetime
    ends_at: datetime
    min_release: timedelta = timedelta()
    """The host's own least way back."""

    @classmethod
    def of(cls, command: LeaseCommand, shift: timedelta = timedelta(), min_release: timedelta = timedelta()) -> "Lease":
        """Return *command* dated by a clock that is *shift* ahead of the one the dispatcher reads."""
        return cls(command, command.not_before + shift, command.expires_at + shift, min_release)

    @property
    def release(self) -> timedelta:
        """How long its way back takes, or the one that it commands."""
        return max(timedelta(seconds=self.command.release_s), self.min_release)

    @property
    def is_safety(self) -> bool:
        """Whether it latches."""
        return self.command.kind == "safety" and not self.command.is_release

    @property
    def holds_until(self) -> datetime:
        """When its way back begins: its last `release`, at most half of it."""
        return self.ends_at - min(self.release, (self.ends_at - self.begins_at) / 2)

    def holds(self, now: datetime) -> bool:
        """Tell whether its levels are in force at *now*, given that it has begun."""
        return not self.command.is_release and (self.is_safety or now < self.holds_until)


@dataclass(frozen=True)
class WayBack:
    """One control on its way to what it was."""

    start: float
    """Its level when that began."""
    begins_at: datetime
    ends_at: datetime

    def share_gone(self, now: datetime, host: str, stages: int) -> float:
        """Return how much of the way is gone: 0 before the first stage, 1 from the last on."""
        stage = (self.ends_at - self.begins_at) / stages
        if now >= self.ends_at or not stage:
            return 1.0
        first_at = self.begins_at + stage * jitter(host)
        return min(max((now - first_at) // stage + 1, 0), stages) / stages


@dataclass(frozen=True)
class HostState:
    """What a host remembers. Never edited: `accept`, `let_go` and `step` return a new one."""

    highest_seq: int = 0
    """The highest sequence ever accepted; shells keep it on disk, so that a replay after a restart is refused."""
    leases: tuple[Lease, ...] = ()
    """Accepted and not over, by sequence and by start: the first may hold now, the others wait."""
    levels: Mapping[Key, float] = field(default_factory=dict)
    """What the last step said should hold; shells keep it on disk, too."""
    ways_back: Mapping[Key, WayBack] = field(default_factory=dict)
    may_move_at: Mapping[Key, datetime] = field(default_factory=dict)
    """When the next stroke of a power limit may come."""
    deadline: datetime | None = None
    """When the lease that held last ends: every way back is over by then."""
    ending: LeaseCommand | None = None
    """What the present ways back are the end of: a lease, or the command that released it."""
    released: LeaseCommand | None = None
    """What the last step completed the release of: the moment to acknowledge it."""

    @classmethod
    def initial(cls, highest_seq: int = 0) -> "HostState":
        """Return the state of a host that holds nothing."""
        return cls(highest_seq=highest_seq)

    @property
    def is_latched(self) -> bool:
        """Whether a safety cap holds, or is about to."""
        return any(lease.is_safety for lease in self.leases)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, planned or on its way back."""
        return not (self.leases or self.levels or self.ending)

    def in_force(self, now: datetime) -> Lease | None:
        """Return the lease whose turn it is at *now*, on its way back or not."""
        return next((lease for lease in reversed(self.leases) if lease.begins_at <= now), None)


def accept(state: HostState, lease: Lease) -> HostState:
    """
    Return *state* with *lease* taken on: it replaces every lease that would not have begun before it.

    A command that asks for nothing replaces them all, and begins at once.
    """
    earlier = tuple(old for old in state.leases if old.begins_at < lease.begins_at)
    if lease.command.is_release:
        earlier, lease = (), replace(lease, begins_at=ALWAYS)
    return replace(state, highest_seq=max(state.highest_seq, lease.command.seq), leases=(*earlier, lease))


def resumed(
    leases: Iterable[Lease], levels: Mapping[Key, float], deadline: datetime | None, highest_seq: int, now: datetime
) -> HostState:
    """
    Return the state of a host that finds *leases* and *levels* of an earlier run.

    What ended a moment ago is completed at once, as it promised. What ended earlier is forgotten, and what it held goes
    back in stages: many hosts may start at one time.
    """
    kept = tuple(lease for lease in leases if lease.is_safety or now < lease.ends_at + OVERDUE)
    is_late = deadline is None or now >= deadline + OVERDUE
    return HostState(highest_seq=highest_seq, leases=kept, levels=levels, deadline=None if is_late else deadline)


def let_go(state: HostState, now: datetime) -> HostState:
    """Return *state* without economic leases; what they hold goes back from *now* on. Safety caps stay."""
    lease = state.in_force(now)
    kept = tuple(lease for lease in state.leases if lease.is_safety)
    ending = state.ending if lease is None or lease.is_safety else lease.command
    return replace(state, leases=kept, ending=ending)


def step(
    state: HostState, controls: Sequence[Control], now: datetime, bounds: Bounds, host: str
) -> tuple[HostState, dict[Key, float]]:
    """
    Return the new state and the level of every control that is to be held back at *now*.

    A control that is not named belongs at its `previous`. Call it as often as you like, at least once per stage.
    """
    lease = state.in_force(now)
    is_held = lease is not None and lease.holds(now)
    targets = asked(controls, lease.command) if lease is not None and is_held else {}
    levels, may_move_at = _strokes(state, controls, targets, now, bounds)
    ways_back = {}
    for control in controls:
        way = _way_back(state, control, lease, now, bounds)
        if control.key in levels or way is None:
            continue
        gone = way.share_gone(now, host, bounds.release_stages)
        if gone < 1 and not (gone > 0 and control.key.kind is Kind.RUN):  # a job runs again from the first stage on
            ways_back[control.key] = way
            levels[control.key] = min(control.previous, way.start + gone * (control.ceiling - way.start))
    return _after(state, lease, now, levels, ways_back, may_move_at), levels


def jitter(host: str) -> float:
    """Return this host's own delay before its first stage as a share of a stage: at least 0, less than 1."""
    return int.from_bytes(hashlib.sha256(host.encode()).digest()[:8]) / 2**64


def response_time(command: LeaseCommand, acknowledged_at: datetime) -> timedelta:
    """Return how long the host took, of the shared clock: from issue, or from the start of a lease sent ahead of it."""
    return acknowledged_at - max(command.issued_at, command.not_before)


def _strokes(
    state: HostState, controls: Iterable[Control], targets: Mapping[Key, float], now: datetime, bounds: Bounds
) -> tuple[dict[Key, float], dict[Key, datetime]]:
    """Return how far each held control is at *now* on its way to its target, and when it may move next."""
    levels: dict[Key, float] = {}
    may_move_at: dict[Key, datetime] = {}
    for control in controls:
        key = control.key
        if key not in targets:
            continue
        target = levels[key] = targets[key]
        if key.kind is not Kind.POWER:
            continue
        found = control.previous if control.requested is None else control.requested
        level = min(control.previous, state.levels.get(key, found))
        stroke_w = min(bounds.max_step_w, max(-bounds.max_step_w, target - level))
        if (wait_until := state.may_move_at.get(key, now)) > now:
            stroke_w = 0.0
            may_move_at[key] = wait_until
        elif stroke_w:
            may_move_at[key] = now + timedelta(seconds=abs(stroke_w) / bounds.max_rate_w_per_s)
        levels[key] = target if level + stroke_w == target else level + stroke_w
    return levels, may_move_at


def _way_back(state: HostState, control: Control, lease: Lease | None, now: datetime, bounds: Bounds) -> WayBack | None:
    """Return the way back of a control that no lease holds any more, None if there is none to go."""
    start = state.levels.get(control.key)
    if start is None or not control.answers or control.tier is Tier.T0:
        return None
    if (under_way := state.ways_back.get(control.key)) is not None:
        return under_way
    if control.requested is not None:
        start = max(start, control.requested)
    if start >= control.ceiling:
        return None
    if lease is not None and not lease.command.is_release and not lease.holds(now):
        return WayBack(start, lease.holds_until, lease.ends_at)
    span = lease.release if lease is not None and lease.command.is_release else bounds.release
    return WayBack(start, now, min(now + span, state.deadline or now + span))


def _after(  # noqa: PLR0917 - a step's outcome
    state: HostState,
    lease: Lease | None,
    now: datetime,
    levels: Mapping[Key, float],
    ways_back: Mapping[Key, WayBack],
    may_move_at: Mapping[Key, datetime],
) -> HostState:
    """Return *state* after a step: leases that are over are gone, and the last of them is told once."""
    leases = state.leases if lease is None else state.leases[state.leases.index(lease) :]
    ending, deadline = state.ending, state.deadline
    if lease is not None and lease.holds(now):
        ending, deadline = None, None if lease.is_safety else lease.ends_at
    elif lease is not None:
        ending = lease.command
    is_over = ending is not None and not ways_back
    if is_over and lease is not None and lease.command is ending:
        leases = leases[1:]
    return replace(
        state,
        leases=leases,
        levels=levels,
        ways_back=ways_back,
        may_move_at=may_move_at,
        deadline=deadline if levels else None,
        ending=None if is_over else ending,
        released=ending if is_over else None,
    )

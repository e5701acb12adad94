"""
Hosts to whom everything happens that happens to hosts, from a seed: the load of the failure harness. Pure.

    measured    a b c d e f g h …          one tick a second, eight GPUs, counters that only the host knows
    delivered   a c b b d   e f … g h      twice, overtaken, withheld for more than a minute, never

What is delivered last to first is decided here, so that whoever has the plan has the list of all ticks, too. A boot's
ticks are delivered before the next boot's: a host that is down sends nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from heapq import heappop, heappush, merge
from operator import itemgetter
from random import Random
from typing import Any

import msgspec

from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Tier, Workload

GPUS = 8
#: tier, workload, GPU model, served model, engine of a host's two jobs, each on half of its GPUs.
KINDS = (
    ((Tier.T3, Workload.TRAINING, "NVIDIA H100 80GB HBM3", "llama-70b", None),) * 2,
    ((Tier.T1, Workload.INFERENCE, "NVIDIA H100 80GB HBM3", "llama-70b", "vllm"),) * 2,
    (
        (Tier.T2, Workload.INFERENCE, "NVIDIA H200", "mixtral-8x22b", "sglang"),
        (Tier.T3, Workload.TRAINING, "NVIDIA H200", "mixtral-8x22b", None),
    ),
)
FIRST_IN_PEACE_S = 10
TWICE, OVERTAKEN, OVERTAKEN_S = 0.05, 0.1, 3.0


class Incident(StrEnum):
    """What happens to a host, besides ticks that come twice or overtake each other."""

    REBOOT = "reboot"
    COUNTER = "counter restart"
    JOB = "job change"
    LATE = "late"
    """Nothing is delivered for longer than any interval lasts, then all of it."""
    STRAGGLING = "straggling"
    """Some ticks come long after those behind them."""
    LOST = "lost"
    """Ticks with numbers that nobody will ever see."""
    UNREAD = "unread"
    """A GPU does not answer."""
    AWAY = "away"
    """Silent for too long for its counters to tell when the energy was used."""


#: How long each lasts, seconds of the clock, from … to.
LASTS_S = {
    Incident.REBOOT: (8, 20),
    Incident.COUNTER: (1, 1),
    Incident.JOB: (1, 1),
    Incident.LATE: (70, 90),
    Incident.STRAGGLING: (20, 30),
    Incident.LOST: (1, 3),
    Incident.UNREAD: (2, 5),
    Incident.AWAY: (121, 135),
}
STRAGGLING_S = (6.0, 40.0)
BETWEEN_S = (10, 40)
SILENT = {Incident.REBOOT, Incident.AWAY}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What decides every tick."""

    seed: int
    sites: tuple[str, ...]
    """Hosts are dealt out to them, most to the first."""
    hosts: int
    start: datetime
    seconds: int
    between_s: tuple[int, int] = BETWEEN_S
    """A host has so long a time in peace after each incident, seconds of the clock, from … to."""

    def host(self, number: int) -> str:
        """Return the name of host *number*."""
        return f"{self.sites[0]}-host-{number:04}"

    def site(self, number: int) -> str:
        """Return the site of host *number*."""
        return self.sites[0] if number % 4 else self.sites[number // 4 % len(self.sites)]


@dataclass(eq=False)
class Host:
    """A host's counters and what is happening to it."""

    plan: Plan
    number: int
    chance: Random
    boot: int = 0
    seq: int = 0
    energy_mj: list[int] = field(default_factory=lambda: [0] * GPUS)
    epoch: list[int] = field(default_factory=lambda: [0] * GPUS)
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    job: int = 0
    unread: int | None = None

    def happens(self, incident: Incident) -> None:
        """Let *incident* begin."""
        gpu = self.chance.randrange(GPUS)
        if incident is Incident.REBOOT:
            self.boot, self.seq, self.energy_mj = self.boot + 1, 0, [0] * GPUS
            self.tokens, self.job = [0, 0], self.job + 1
        elif incident is Incident.COUNTER:
            self.energy_mj[gpu], self.epoch[gpu] = self.chance.randrange(5000), self.epoch[gpu] + 1
        elif incident is Incident.JOB:
            self.tokens, self.job = [self.chance.randrange(10**6), 0], self.job + 1
        elif incident is Incident.UNREAD:
            self.unread = gpu

    def go_on(self) -> None:
        """Let a second pass."""
        self.seq += 1
        for gpu in range(GPUS):
            self.energy_mj[gpu] += self.chance.randrange(90_000, 700_000)
        self.tokens = [count + self.chance.randrange(900) for count in self.tokens]

    def tick(self, at: datetime) -> HostTick:
        """Return what the host measures at *at*."""
        return HostTick(
            host=self.plan.host(self.number),
            site=self.plan.site(self.number),
            boot=f"boot-{self.boot}",
            seq=self.seq,
            measured_at=at,
            gpus=tuple(self._gpu(number) for number in range(GPUS)),
            jobs=tuple(self._job(number) for number in range(2)),
            simulated=True,
        )

    def _gpu(self, number: int) -> GpuSample:
        tier, workload, model, _, _ = self._kind(number * 2 // GPUS)
        return GpuSample(
            uuid=f"gpu-{number}",
            model=model,
            power_w=self.energy_mj[number] % 400_000 / 1000 + 90,
            energy_j=None if number == self.unread else self.energy_mj[number] / 1000,
            energy_epoch=self.epoch[number],
            min_w=200.0,
            max_w=700.0,
            job=self._name(number * 2 // GPUS),
            tier=tier,
            workload=workload,
        )

    def _job(self, number: int) -> JobSample:
        tier, workload, _, served_model, engine = self._kind(number)
        mine = range(number * GPUS // 2, (number + 1) * GPUS // 2)
        return JobSample(
            job=self._name(number),
            tier=tier,
            workload=workload,
            served_model=served_model,
            engine=engine,
            tokens_total=float(self.tokens[number]),
            gpus=tuple(f"gpu-{gpu}" for gpu in mine),
        )

    def _kind(self, job: int) -> Any:
        return KINDS[(self.number + self.job) % len(KINDS)][job]

    def _name(self, job: int) -> str:
        return f"job-{self.job}-{job}"


def deliveries(plan: Plan) -> Iterator[tuple[datetime, HostTick]]:
    """Yield all ticks in the order they are sent, each with the instant it is due: never before it is measured."""
    yield from merge(*(_delivered(_measured(plan, number)) for number in range(plan.hosts)), key=itemgetter(0))


def ticks(plan: Plan) -> Iterator[HostTick]:
    """Yield every tick once, those that are never delivered left out."""
    for number in range(plan.hosts):
        for tick, due in _measured(plan, number):
            if due:
                yield tick


def _delivered(measured: Iterator[tuple[HostTick, list[datetime]]]) -> Iterator[tuple[datetime, HostTick]]:
    waiting: list[tuple[datetime, int, HostTick]] = []
    boot, order = "", 0
    for tick, due in measured:
        while waiting and (waiting[0][0] <= tick.measured_at or tick.boot != boot):
            at, _, earlier = heappop(waiting)
            yield min(at, tick.measured_at), earlier
        boot = tick.boot
        for at in due:
            heappush(waiting, (at, order := order + 1, tick))
    while waiting:
        at, _, earlier = heappop(waiting)
        yield at, earlier


def _measured(plan: Plan, number: int) -> Iterator[tuple[HostTick, list[datetime]]]:
    """Yield what host *number* measures, in that order, with the instants at which it is delivered."""
    host = Host(plan, number, Random(f"{plan.seed} {number}"))
    phase = timedelta(microseconds=host.chance.randrange(900_000))
    incident, begin, end = None, 0, FIRST_IN_PEACE_S + host.chance.randrange(20)
    to_come: list[Incident] = []
    for second in range(plan.seconds):
        if second == end:
            if incident is Incident.REBOOT:
                host.happens(incident)
            to_come = to_come or host.chance.sample(list(Incident), len(Incident))
            host.unread, incident = None, None
            begin = end + host.chance.randint(*plan.between_s)
            end = begin + host.chance.randint(*LASTS_S[to_come[-1]])
        if second == begin and to_come:
            incident = to_come.pop()
            if incident is not Incident.REBOOT:
                host.happens(incident)
        if incident in SILENT:
            continue
        host.go_on()
        at = plan.start + timedelta(seconds=second, microseconds=host.chance.randrange(2000)) + phase
        yield host.tick(at), _due(host.chance, at, incident if second >= FIRST_IN_PEACE_S else None, plan, end)


def _due(chance: Random, at: datetime, incident: Incident | None, plan: Plan, end: int) -> list[datetime]:
    """Return when a tick measured at *at* is delivered; nothing: never."""
    if incident is Incident.LOST:
        return []
    due = at
    if incident is Incident.LATE:
        due = max(at, plan.start + timedelta(seconds=end))
    elif incident is Incident.STRAGGLING and chance.random() < 1 / 3:
        due += timedelta(seconds=chance.uniform(*STRAGGLING_S))
    elif chance.random() < OVERTAKEN:
        due += timedelta(seconds=chance.uniform(0, OVERTAKEN_S))
    again = due + timedelta(seconds=chance.uniform(0, OVERTAKEN_S))
    return [due, again] if chance.random() < TWICE else [due]

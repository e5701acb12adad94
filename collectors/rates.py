"""
What is remembered from tick to tick, so that counters become rates and epochs never run backwards.

    ticks     |    |    |    |    |    |    |
    counted   0   60  120  (–)  240  300    5        a restart or a gap empties the trail; a rate needs a whole window
    window                  [──────────]  none       (300 − 60) ÷ 4 s = 60 a second
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from collectors.buckets import since
from collectors.scrape import EngineReading
from collectors.tokens import Tokens
from pipeline.messages.telemetry import GpuSample, JobSample, LatencyBuckets

HANDED_IN_WINDOW_S = 60.0
"""Files and pushes are renewed every few seconds to a minute."""
GAP_PERIODS = 3.5
"""Two readings in a row may be missing: the counter bridges them. More is a gap."""
SHORTEST_PERIOD_S = 1.0
"""Ten ticks a second do not make a missing second a gap."""
MAX_JOBS = 1024
"""Jobs remembered after they left this host, so that one that comes back goes on."""


class Point(NamedTuple):
    """A counter at one instant."""

    at: datetime
    total: float


class Trail:
    """A counter as far back as it can be subtracted."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque()
        self._epoch = 0

    def add(self, point: Point, epoch: int, *, gap_s: float, keep_s: float) -> None:
        """Go on to *point*; one that is not later says nothing new."""
        points = self._points
        if points and point.at <= points[-1].at:
            return
        if points and (
            epoch != self._epoch
            or point.total < points[-1].total
            or point.at - points[-1].at > timedelta(seconds=gap_s)
        ):
            points.clear()
        self._epoch = epoch
        points.append(point)
        while len(points) > 1 and points[1].at <= point.at - timedelta(seconds=keep_s):
            points.popleft()

    def per_s(self, window_s: float) -> float | None:
        """Return the mean rate over the last *window_s*; None while the trail is shorter."""
        if not self._points:
            return None
        last = self._points[-1]
        reached = bisect_right(self._points, last.at - timedelta(seconds=window_s), key=lambda point: point.at)
        if not reached:
            return None
        first = self._points[reached - 1]
        return (last.total - first.total) / (last.at - first.at).total_seconds()

    def ends_with(self, total: float) -> bool:
        """Whether the counter last stood at *total*."""
        return bool(self._points) and self._points[-1].total == total

    def ended_before(self, at: datetime) -> bool:
        """Whether nothing was added since *at*."""
        return not self._points or self._points[-1].at < at


@dataclass(frozen=True)
class Counting:
    """How a job's tokens were counted last."""

    tokens: Tokens
    """As published; a figure that is unknown now is the last one known."""
    engine: str | None
    origin: tuple[str, ...] | None = None
    """Names of the engines in it; None: counted in an earlier run."""
    raw_epoch: int = 0
    """The sum of the engines' own epochs."""

    def after(self, raw: Tokens, engine: str | None, origin: tuple[str, ...]) -> "Counting":
        """Return the counting with the sums *raw*: other engines, or any restart of one, open a new epoch."""
        is_other = engine != self.engine or (
            self.origin is not None and (origin != self.origin or raw.epoch != self.raw_epoch)
        )
        counted = raw.after(self.tokens)
        epoch = max(counted.epoch, self.tokens.epoch + is_other)
        known = Tokens(
            self.tokens.tokens_total if raw.tokens_total is None else raw.tokens_total,
            self.tokens.prompt_tokens_total if raw.prompt_tokens_total is None else raw.prompt_tokens_total,
            epoch,
        )
        return Counting(known, engine, origin, raw.epoch)


@dataclass
class Rates:
    """All trails of a host. One tick asks in this order: `silent`, `advance`, then for each job."""

    last: Sequence[JobSample] = ()
    """The jobs of the last tick published, by an earlier run perhaps: a counter that went on keeps its epoch."""

    _jobs: dict[str, Counting] = field(init=False)
    _trails: dict[str, Trail] = field(init=False, default_factory=dict)
    _engines: dict[str, EngineReading] = field(init=False, default_factory=dict)
    _buckets: dict[tuple[str, str], tuple[datetime, int, LatencyBuckets]] = field(init=False, default_factory=dict)
    _keep_s: float = field(init=False, default=HANDED_IN_WINDOW_S)

    def __post_init__(self) -> None:
        self._jobs = {
            job.job: Counting(Tokens(job.tokens_total, job.prompt_tokens_total, job.epoch), job.engine)
            for job in self.last
        }

    def silent(self, engines: Iterable[EngineReading]) -> list[EngineReading]:
        """
        Return *engines* and, for each that answered before and does not now, a reading without figures.

        A sum without one of its parts would look like tokens taken back, and then like tokens made in one tick.
        """
        readings = {engine.name: engine for engine in engines}
        self._engines |= readings
        return [readings.get(name) or _unknown(engine) for name, engine in self._engines.items()]

    def advance(self, now: datetime, gpus: Iterable[GpuSample], engines: Iterable[EngineReading]) -> None:
        """Go on with what GPUs and engines count."""
        engines = list(engines)
        spans_s = [max(engine.window_s, 2 * engine.period_s) for engine in engines]
        self._keep_s = max([HANDED_IN_WINDOW_S, *spans_s])
        for gpu in gpus:
            if gpu.energy_j is not None and not self._says_again(f"gpu {gpu.uuid}", gpu.energy_j):
                self._add(f"gpu {gpu.uuid}", Point(now, gpu.energy_j), gpu.energy_epoch, SHORTEST_PERIOD_S)
        for engine in engines:
            if engine.tokens.tokens_total is not None:
                point = Point(engine.at, engine.tokens.tokens_total)
                self._add(f"engine {engine.name}", point, engine.tokens.epoch, engine.period_s)
        oldest = now - timedelta(seconds=self._keep_s)
        self._trails = {name: trail for name, trail in self._trails.items() if not trail.ended_before(oldest)}

    def counted(self, job: str, raw: Tokens, engine: str | None, origin: tuple[str, ...]) -> Tokens:
        """Return the job's sums *raw* in their epoch; *engine* is what counted, *origin* each that did."""
        before = self._jobs.get(job)
        if raw.tokens_total is None and raw.prompt_tokens_total is None:
            return Tokens(epoch=before.tokens.epoch if before else 0)
        first = Counting(replace(raw, epoch=0), engine, origin, raw.epoch)
        after = before.after(raw, engine, origin) if before else first
        self._jobs.pop(job, None)
        self._jobs[job] = after
        while len(self._jobs) > MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return replace(raw, epoch=after.tokens.epoch)

    def handed_in_per_s(self, job: str, now: datetime, tokens: Tokens) -> float | None:
        """Return the rate of a job whose counters are handed in; *tokens* as published."""
        if tokens.tokens_total is None:
            return None
        self._add(f"job {job}", Point(now, tokens.tokens_total), tokens.epoch, SHORTEST_PERIOD_S)
        return self._trails[f"job {job}"].per_s(HANDED_IN_WINDOW_S)

    def engines_per_s(self, engines: Iterable[EngineReading]) -> float | None:
        """Return the sum of the engines' rates, each over its own window; None if one is unknown."""
        return summed(
            None if engine.tokens.tokens_total is None else self._per_s(f"engine {engine.name}", engine.window_s)
            for engine in engines
        )

    def watts(self, uuids: Iterable[str], window_s: float) -> float | None:
        """Return the mean draw of the GPUs *uuids* over the window, from their energy; None if one is unknown."""
        return summed(self._per_s(f"gpu {uuid}", window_s) for uuid in uuids)

    def buckets(self, engine: EngineReading, which: str, buckets: LatencyBuckets | None) -> LatencyBuckets | None:
        """Return what *engine* added to its histogram *which* since the tick before; None if it was not asked since."""
        if buckets is None:
            return None
        name = (engine.name, which)
        before = self._buckets.get(name)
        self._buckets[name] = engine.at, engine.tokens.epoch, buckets
        if before is None or before[0] == engine.at or before[1] != engine.tokens.epoch:
            return None
        return since(before[2], buckets)

    def _add(self, name: str, point: Point, epoch: int, period_s: float) -> None:
        gap_s = GAP_PERIODS * max(period_s, SHORTEST_PERIOD_S)
        self._trails.setdefault(name, Trail()).add(point, epoch, gap_s=gap_s, keep_s=self._keep_s)

    def _says_again(self, name: str, energy_j: float) -> bool:
        """Whether this is the reading before once more: no GPU draws nothing, but some are read more seldom."""
        return name in self._trails and self._trails[name].ends_with(energy_j)

    def _per_s(self, name: str, window_s: float) -> float | None:
        trail = self._trails.get(name)
        return None if trail is None else trail.per_s(window_s)


def _unknown(engine: EngineReading) -> EngineReading:
    return replace(engine, tokens=Tokens(), running=None, waiting=None, ttft=None, itl=None)


def summed(figures: Iterable[float | None]) -> float | None:
    """Return the sum, None if a part is unknown or there is none."""
    known = list(figures)
    return sum(figure for figure in known if figure is not None) if known and None not in known else None

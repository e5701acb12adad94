"""
What is remembered from tick to tick, so that counters become rates and epochs never run backwards.

    ticks     |    |    |    |    |    |    |
    counted   0   60  120  (–)  240  300    5        a restart or a gap empties the trail; a rate needs a whole window
    window                  [──────────]  none       (300 − 60) ÷ 4 s = 60 a second

Engines that count when a request ends have no such window: `collectors.trails`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from collectors.buckets import since
from collectors.scrape import EngineReading
from collectors.tokens import Tokens
from collectors.trails import KEPT_WINDOWS, Bursts, Point, Rate, Trail
from pipeline.messages.telemetry import GpuSample, JobSample, LatencyBuckets

HANDED_IN_WINDOW_S = 60.0
"""Files and pushes are renewed every few seconds to a minute."""
GAP_PERIODS = 3.5
"""Two readings in a row may be missing: the counter bridges them. More is a gap."""
SHORTEST_PERIOD_S = 1.0
"""Ten ticks a second do not make a missing second a gap."""
MAX_JOBS = 1024
"""Jobs remembered after they left this host, so that one that comes back goes on."""


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
    _bursts: dict[str, Bursts] = field(init=False, default_factory=dict)
    """By name, of the engines that count when a request ends."""
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
        self._keep_s = max([HANDED_IN_WINDOW_S, *map(_reach_s, engines)])
        for gpu in gpus:
            if gpu.energy_j is not None and not self._says_again(f"gpu {gpu.uuid}", gpu.energy_j):
                self._add(f"gpu {gpu.uuid}", Point(now, gpu.energy_j), gpu.energy_epoch, SHORTEST_PERIOD_S)
        for engine in engines:
            if engine.tokens.tokens_total is not None:
                self._go_on(engine, Point(engine.at, engine.tokens.tokens_total))
        oldest = now - timedelta(seconds=self._keep_s)
        self._trails = {name: trail for name, trail in self._trails.items() if not trail.ended_before(oldest)}
        self._bursts = {name: bursts for name, bursts in self._bursts.items() if not bursts.ended_before(oldest)}

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

    def of_handed_in(self, job: str, now: datetime, tokens: Tokens) -> Rate | None:
        """Return the rate of a job whose counters are handed in; *tokens* as published."""
        if tokens.tokens_total is None:
            return None
        self._add(f"job {job}", Point(now, tokens.tokens_total), tokens.epoch, SHORTEST_PERIOD_S)
        return self._trails[f"job {job}"].rate(HANDED_IN_WINDOW_S)

    def of_engines(self, engines: Iterable[EngineReading]) -> Rate | None:
        """Return the sum of the engines' rates, each over its own span, and what they span; None if one is unknown."""
        rates = [self._of_engine(engine) for engine in engines]
        known = [rate for rate in rates if rate is not None]
        if not known or len(known) < len(rates):
            return None
        return Rate(
            sum(rate.per_s for rate in known), min(rate.since for rate in known), max(rate.until for rate in known)
        )

    def watts(self, uuids: Iterable[str], rate: Rate) -> float | None:
        """Return the mean draw of the GPUs *uuids* over the span of *rate*, by their energy; None if one is unknown."""
        trails = [self._trails.get(f"gpu {uuid}", Trail()) for uuid in uuids]
        draws = [trail.between(rate.since, rate.until) for trail in trails]
        return summed(draw and draw.per_s for draw in draws)

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

    def _go_on(self, engine: EngineReading, point: Point) -> None:
        epoch, gap_s = engine.tokens.epoch, _gap_s(engine.period_s)
        if engine.counted_at_finish:
            bursts = self._bursts.setdefault(engine.name, Bursts())
            bursts.add(point, epoch, running=engine.running, gap_s=gap_s, window_s=engine.window_s)
        else:
            self._add(f"engine {engine.name}", point, epoch, engine.period_s)

    def _of_engine(self, engine: EngineReading) -> Rate | None:
        known = self._bursts.get(engine.name) if engine.counted_at_finish else self._trails.get(f"engine {engine.name}")
        return known.rate(engine.window_s) if known and engine.tokens.tokens_total is not None else None

    def _add(self, name: str, point: Point, epoch: int, period_s: float) -> None:
        self._trails.setdefault(name, Trail()).add(point, epoch, gap_s=_gap_s(period_s), keep_s=self._keep_s)

    def _says_again(self, name: str, energy_j: float) -> bool:
        """Whether this is the reading before once more: no GPU draws nothing, but some are read more seldom."""
        return name in self._trails and self._trails[name].ends_with(energy_j)


def _gap_s(period_s: float) -> float:
    return GAP_PERIODS * max(period_s, SHORTEST_PERIOD_S)


def _reach_s(engine: EngineReading) -> float:
    """Return how far back the engine's rate may reach."""
    if engine.counted_at_finish:
        return KEPT_WINDOWS * engine.window_s
    return max(engine.window_s, 2 * engine.period_s) + GAP_PERIODS * engine.period_s


def _unknown(engine: EngineReading) -> EngineReading:
    return replace(engine, tokens=Tokens(), running=None, waiting=None, ttft=None, itl=None)


def summed(figures: Iterable[float | None]) -> float | None:
    """Return the sum, None if a part is unknown or there is none."""
    known = list(figures)
    return sum(figure for figure in known if figure is not None) if known and None not in known else None

"""
What was published against what was measured: the verdict of the failure harness. Pure.

The truth is `doubles.golden`, a plain computation over all acknowledged ticks. A reader of `site.interval` holds by the
highest revision of each interval; that must equal the truth to the millijoule and the thousandth of a token, every
interval from the first tick to the last must be there, and no revision may mean two things.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from doubles.golden import Figure, figures

from pipeline.interval import Interval, floor
from pipeline.messages.telemetry import HostTick, SiteInterval

MJ_PER_KWH = 3.6e9
SHOWN = 5


@dataclass(eq=False)
class Seen:
    """What a reader of `site.interval` has read."""

    revisions: defaultdict[tuple[str, Interval], dict[int, list[SiteInterval]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """By site and interval, by revision: the different figures under that number."""

    def take(self, figure: SiteInterval) -> None:
        """Take in what has come; the same again is a redelivery."""
        known = self.revisions[figure.site, figure.interval].setdefault(figure.revision, [])
        if figure not in known:
            known.append(figure)

    def highest(self) -> Iterable[SiteInterval]:
        """Yield the figure of each interval that a reader holds by: of the highest revision the last that came."""
        return (known[max(known)][-1] for known in self.revisions.values())

    def rewritten(self) -> list[str]:
        """Return which revisions mean more than one thing."""
        return [
            f"{site} {interval.start:%H:%M:%S} +{interval.length.seconds} s revision {number}: {len(figures)} figures"
            for (site, interval), known in self.revisions.items()
            for number, figures in known.items()
            if len(figures) > 1
        ]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The sums of one run; the lists are empty if all is well."""

    acknowledged: int
    """Ticks, each once."""
    counted: int
    """Ticks in the shortest intervals."""
    intervals: int
    corrected: int
    """Intervals that have a second revision or more."""
    wrong: Sequence[str]
    holes: Sequence[str]
    doubles: Sequence[str]

    @property
    def failures(self) -> list[str]:
        """What is not as it must be, some of each kind."""
        found = []
        if self.counted != self.acknowledged:
            found.append(f"{self.acknowledged} ticks are acknowledged, {self.counted} are counted")
        for kind, told in (("wrong", self.wrong), ("hole", self.holes), ("double", self.doubles)):
            found += [f"{len(told)} {kind}: {'; '.join(told[:SHOWN])}"] if told else []
        return found


class Truth:
    """What the figures must be."""

    def __init__(self, ticks: Sequence[HostTick], lengths: Sequence[timedelta]) -> None:
        self.ticks = len(ticks)
        self.lengths = sorted(lengths)
        self.figures = {length: _plain(figures(ticks, length)) for length in lengths}
        self._first = min(tick.measured_at for tick in ticks)
        self._last = max(tick.measured_at for tick in ticks)
        self._sites = sorted({tick.site for tick in ticks})

    def verdict(self, seen: Seen) -> Verdict:
        """Return what *seen* is worth."""
        found: dict[timedelta, dict[Any, Figure]] = {length: {} for length in self.lengths}
        for figure in seen.highest():
            if figure.site in self._sites and figure.interval.length in found:
                found[figure.interval.length][figure.site, figure.interval.start] = _figure(figure)
        return Verdict(
            acknowledged=self.ticks,
            counted=sum(figure.ticks for figure in found[self.lengths[0]].values()),
            intervals=sum(map(len, self.figures.values())),
            corrected=sum(max(known) > 1 for known in seen.revisions.values()),
            wrong=[
                told for length in self.lengths for told in _differences(self.figures[length], _plain(found[length]))
            ],
            holes=[
                f"{site} {start:%H:%M:%S} +{length.seconds} s"
                for length in self.lengths
                for site in self._sites
                for start in self._grid(length)
                if (site, start) not in found[length]
            ],
            doubles=seen.rewritten(),
        )

    def _grid(self, length: timedelta) -> Iterable[datetime]:
        start = floor(self._first, length)
        while start <= self._last:
            yield start
            start += length


def _figure(interval: SiteInterval) -> Figure:
    """Return a published interval as the oracle writes it."""
    figure = Figure(
        energy_mj=round(interval.energy_kwh * MJ_PER_KWH),
        covered_us=round(interval.covered_host_s * 1e6),
        ticks=interval.ticks,
        missing=interval.ticks_missing,
    )
    for pool in interval.pools:
        key = pool.tier, pool.workload, pool.gpu_model, pool.served_model, pool.engine
        figure.gpu_mj[key] += round(pool.gpu_energy_kwh * MJ_PER_KWH)
        figure.tokens_milli[key] += round((pool.tokens or 0.0) * 1000)
    return figure


def _plain(found: dict[Any, Figure]) -> dict[Any, dict[str, Any]]:
    """Return *found* without zeros, so that what was never there and what came to nothing compare alike."""
    return {
        key: {
            "mJ": figure.energy_mj,
            "covered µs": figure.covered_us,
            "ticks": figure.ticks,
            "missing": figure.missing,
            "mJ by pool": {pool: value for pool, value in sorted(figure.gpu_mj.items(), key=str) if value},
            "tokens/1000": {pool: value for pool, value in sorted(figure.tokens_milli.items(), key=str) if value},
        }
        for key, figure in found.items()
        if figure.ticks or figure.energy_mj or figure.covered_us
    }


def _differences(true: dict[Any, Any], found: dict[Any, Any]) -> Iterable[str]:
    for site, start in sorted(true.keys() | found.keys()):
        right, told = true.get((site, start), {}), found.get((site, start), {})
        if right != told:
            names = [name for name in right or told if right.get(name) != told.get(name)]
            first = f"{names[0]} {right.get(names[0])}, published {told.get(names[0])}"
            yield f"{site} {start:%H:%M:%S}: {first}" + (f" (and {', '.join(names[1:])})" if names[1:] else "")

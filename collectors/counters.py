"""
Energy that can be subtracted: a device's counter in its epoch, checked against its power, or power integrated. Pure.

    counter   5000  5700  6400 |   80   780        a restart (lower, or back from the bus, or too far ahead)
    epoch        0     0     0 |    1     1        opens an epoch; nobody downstream subtracts across one

A counter is believed once it has agreed with the draw within `TOLERANCE` over `WINDOW` under load, and as long as it
moves; two windows in a row that do not agree, and it is given up until the next start (zeus#181: 187 J counted while
327 J were drawn; amdsmi#38: a frozen one). A device without a counter to be believed gets one made of its power, and
marked, with a new epoch wherever readings are too far apart to know what was drawn between them.
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec

from collectors import PLAUSIBLE_SHARE
from pipeline.messages.telemetry import GpuSample, HostTick, MeterSample, Quality

S = TypeVar("S", GpuSample, MeterSample)

WINDOW = timedelta(seconds=5)
TOLERANCE = 0.10
"""Of the integrated draw; NVML's own accuracy is ±5 W (`nvidia-smi --help-query-gpu`)."""
FROZEN = timedelta(seconds=60)
"""A counter that has not moved for so long under load does not count; exporters refresh every 30 s."""
GONE = timedelta(seconds=60)
"""A counter that has not been shown for so long while the device answers is not waited for any more."""
LOAD_SHARE = 0.3
"""Of the maximum limit: below it the meters' own error is a large share of the draw, and nothing is judged."""
LOAD_W = 100.0
"""The same for a device that tells no limit."""
FAILURES = 2
REACH = timedelta(seconds=3)
"""Power is integrated between readings at most this far apart."""
SLACK_J = 2000.0
"""A counter refreshed every 100 ms may be a little ahead of the clock that it is compared with."""


class Check(NamedTuple):
    """The comparison of a counter with the draw, so far."""

    span: timedelta = timedelta()
    counted_j: float = 0.0
    drawn_j: float = 0.0
    failures: int = 0
    passed: bool = False

    @property
    def failed(self) -> bool:
        """Whether the counter is not to be believed."""
        return self.failures >= FAILURES

    def after(self, span: timedelta, counted_j: float, power_w: float, load_w: float) -> "Check":
        """
        Return the check after another *span* at *power_w*; *load_w* is the draw from which it says anything.

        A counter that moves more seldom than it is read is not compared: with which draw is not known.
        """
        if self.failed:
            return self
        moves = counted_j > 0
        if self.passed and moves:
            return Check(passed=True)
        so_far = self if moves == (self.counted_j > 0) else Check(failures=self.failures, passed=self.passed)
        so_far = so_far._replace(
            span=so_far.span + span,
            counted_j=so_far.counted_j + counted_j,
            drawn_j=so_far.drawn_j + power_w * span.total_seconds(),
        )
        return so_far if so_far.span < (WINDOW if moves else FROZEN) else so_far.judged(load_w)

    def judged(self, load_w: float) -> "Check":
        """Return the verdict at the end of a window, and the next one's beginning."""
        if self.drawn_j < load_w * self.span.total_seconds():
            return Check(failures=self.failures, passed=self.passed)
        if self.passed:  # and frozen since
            return Check(failures=FAILURES)
        if abs(self.counted_j - self.drawn_j) <= TOLERANCE * self.drawn_j:
            return Check(passed=True)
        return Check(failures=self.failures + 1)


class Track(NamedTuple):
    """What is remembered of one device between readings."""

    at: datetime
    power_w: float | None = None
    raw_j: float | None = None
    """The device's own counter when last seen…"""
    moved_at: datetime | None = None
    """…and since when it has stood there; exporters refresh theirs more seldom than they are read."""
    made_j: float | None = None
    """Our own counter, while we integrate."""
    epoch: int = 0
    lost: bool = False
    check: Check = Check()


class Counters:
    """All devices of a host, from reading to reading and, through the last tick published, from run to run."""

    def __init__(self, last: HostTick | None = None) -> None:
        """Go on where *last* ended."""
        self._gpus = {gpu.uuid: _resumed(gpu, last.measured_at) for gpu in last.gpus} if last else {}
        self._meters = {meter.meter: _resumed(meter, last.measured_at) for meter in last.meters} if last else {}

    def gpus(self, samples: Iterable[GpuSample], at: datetime) -> tuple[GpuSample, ...]:
        """Return *samples*, as they are known at *at*, with energy and epoch to be subtracted."""
        return tuple(self._followed(self._gpus, sample.uuid, sample, sample.max_w, at) for sample in samples)

    def meters(self, samples: Iterable[MeterSample], at: datetime) -> tuple[MeterSample, ...]:
        """Return the same for meters; the draw of one that was not asked again since is taken to last."""
        return tuple(self._followed(self._meters, sample.meter, sample, None, at) for sample in samples)

    def suspects(self) -> list[str]:
        """Return the devices whose own counters are not believed."""
        return sorted(name for name, track in (self._gpus | self._meters).items() if track.check.failed)

    @staticmethod
    def _followed(tracks: dict[str, Track], name: str, sample: S, max_w: float | None, at: datetime) -> S:
        tracks[name] = track = follow(tracks.get(name, Track(at)), sample, max_w, at)
        return with_energy(sample, track)


def follow(before: Track, sample: GpuSample | MeterSample, max_w: float | None, at: datetime) -> Track:
    """Return what to remember of a device after *sample*, read at *at*."""
    power_w = _draw(sample)
    if Quality.LOST in sample.quality:
        return before._replace(at=at, power_w=None, lost=True)
    if before.lost:
        before = Track(before.at, epoch=before.epoch + 1)
    if sample.energy_j is None and before.raw_j is not None and before.made_j is None:
        if power_w is None or at - before.at < GONE:
            return before._replace(power_w=power_w)  # the counter goes on unseen, and its next reading spans the gap
        before = Track(at, epoch=before.epoch + 1)
    if sample.energy_j is None or before.check.failed:
        return _integrated(before._replace(raw_j=sample.energy_j), power_w, at)
    return _counted(before, sample.energy_j, power_w, max_w, at)


def with_energy(sample: S, track: Track) -> S:
    """Return *sample* with the energy that *track* stands for."""
    if Quality.LOST in sample.quality:
        return msgspec.structs.replace(sample, energy_j=None, energy_epoch=track.epoch)
    if track.made_j is not None and _draw(sample) is not None:
        marked = (*sample.quality, Quality.ENERGY_INTEGRATED)
        return msgspec.structs.replace(sample, energy_j=track.made_j, energy_epoch=track.epoch, quality=marked)
    if track.check.failed:
        marked = (*sample.quality, Quality.ENERGY_SUSPECT)
        return msgspec.structs.replace(sample, energy_j=None, energy_epoch=track.epoch, quality=marked)
    return msgspec.structs.replace(sample, energy_epoch=track.epoch)


def _counted(before: Track, raw_j: float, power_w: float | None, max_w: float | None, at: datetime) -> Track:
    """Return the track after a reading of the device's own counter."""
    if before.raw_j is None:
        fresh = before.made_j is not None  # what we made so far was another counter
        return Track(at, power_w, raw_j, at, epoch=before.epoch + fresh)
    span = at - before.at
    moved_j = raw_j - before.raw_j
    still_s = (at - (before.moved_at or before.at)).total_seconds()
    too_far_j = math.inf if max_w is None else PLAUSIBLE_SHARE * max_w * max(0.0, still_s) + SLACK_J
    if not 0 <= moved_j <= too_far_j:
        return Track(at, power_w, raw_j, at, epoch=before.epoch + 1)
    check = before.check
    if power_w is not None and before.power_w is not None and timedelta() < span <= REACH:
        load_w = LOAD_W if max_w is None else LOAD_SHARE * max_w
        check = check.after(span, moved_j, (before.power_w + power_w) / 2, load_w)
    if check.failed:
        return Track(at, power_w, raw_j, at, made_j=0.0, epoch=before.epoch + 1, check=check)
    moved_at = at if moved_j else before.moved_at
    return Track(at, power_w, raw_j, moved_at, epoch=before.epoch, check=check)


def _integrated(before: Track, power_w: float | None, at: datetime) -> Track:
    """Return the track after a reading of power alone: the trapezoid since the one before, or a new epoch."""
    if power_w is None:
        return before
    span = at - before.at
    if before.made_j is None or before.power_w is None:
        return before._replace(at=at, power_w=power_w, made_j=before.made_j or 0.0)
    if not timedelta() <= span <= REACH:
        return before._replace(at=at, power_w=power_w, made_j=0.0, epoch=before.epoch + 1)
    moved_j = (before.power_w + power_w) / 2 * span.total_seconds()
    return before._replace(at=at, power_w=power_w, made_j=before.made_j + moved_j)


def _draw(sample: GpuSample | MeterSample) -> float | None:
    """Return the figure to integrate: the driver's own average where there is one, nothing that is old."""
    if Quality.STALE in sample.quality:
        return None
    average_w = sample.average_w if isinstance(sample, GpuSample) else None
    return sample.power_w if average_w is None else average_w


def _resumed(sample: GpuSample | MeterSample, at: datetime) -> Track:
    """Return the track that ended with *sample* in an earlier run."""
    lost = Quality.LOST in sample.quality or sample.energy_j is None
    if Quality.ENERGY_INTEGRATED in sample.quality:
        return Track(at, _draw(sample), made_j=sample.energy_j, epoch=sample.energy_epoch, lost=lost)
    return Track(at, _draw(sample), sample.energy_j, at - FROZEN, epoch=sample.energy_epoch, lost=lost)

"""
Variation that is a function of time and seed alone, so that back-filled history and the live fleet agree.

The numbers come from a hash of (seed, stream, index), not from a generator with a past: any instant can be asked for
first. Instants are POSIX seconds; local days are those of a named time zone.
"""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60
#: Rules for local time change on quarter hours of UTC everywhere.
OFFSET_STEP_S = 900
#: A new day's level fades in over the first half hour, so that midnight is no step.
FADE_S = 1_800.0

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return well mixed bits of *words*: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def uniform(seed: int, stream: int | Indices, index: Indices) -> Floats:
    """Return one number in (0, 1) per *stream* and *index*, broadcast; the same arguments give the same for ever."""
    streams = np.atleast_1d(stream).astype(np.uint64)
    keys = _mixed(np.array([seed & 0xFFFF_FFFF], dtype=np.uint64) * _GOLDEN + _mixed(streams + _GOLDEN))
    words = _mixed(np.atleast_1d(index).astype(np.uint64) * _GOLDEN + keys)
    return np.asarray(((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


def normal(seed: int, stream: int | Indices, index: Indices) -> Floats:
    """Return a standard normal number each (Box and Muller), cut at ±3 so that no day is absurd."""
    radius = np.sqrt(-2.0 * np.log(uniform(seed, 2 * stream, index)))
    angle = 2.0 * np.pi * uniform(seed, 2 * stream + 1, index)
    return np.asarray(np.clip(radius * np.cos(angle), -3.0, 3.0))


@lru_cache(maxsize=16_384)
def _offset_s(quarter: int, zone: ZoneInfo) -> float:
    """Return what *zone* adds to UTC in the quarter hour that begins at *quarter*, seconds."""
    offset = datetime.fromtimestamp(quarter * OFFSET_STEP_S, UTC).astimezone(zone).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def local_s(at: Floats, zone: ZoneInfo) -> Floats:
    """Return wall-clock seconds in *zone* since its own 1970-01-01 00:00; both clock changes are in it."""
    quarters, where = np.unique(np.floor(at / OFFSET_STEP_S).astype(np.int64), return_inverse=True)
    offsets = np.array([_offset_s(int(quarter), zone) for quarter in quarters])
    return np.asarray(at + offsets[where])


def day_level(seed: int, stream: int | Indices, local: Floats, sigma: float) -> Floats:
    """Return 1 plus this local day's own deviation; yesterday's fades out after midnight."""
    day = np.floor(local / DAY_S).astype(np.int64)
    into = np.clip((local - day * DAY_S) / FADE_S, 0.0, 1.0)
    today, before = normal(seed, stream, day), normal(seed, stream, day - 1)
    return np.asarray(1.0 + sigma * (into * today + (1.0 - into) * before))


def minute_level(seed: int, stream: int | Indices, at: Floats, sigma: float) -> Floats:
    """Return 1 plus slow noise: a normal number per minute, joined by straight lines."""
    minute = np.floor(at / MINUTE_S).astype(np.int64)
    into = at / MINUTE_S - minute
    return np.asarray(
        1.0 + sigma * ((1.0 - into) * normal(seed, stream, minute) + into * normal(seed, stream, minute + 1))
    )

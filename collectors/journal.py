"""
What an actuator must still know after kill -9: what it found, what it set, which leases hold, the highest sequence.

One small JSON file, replaced whole: written beside, fsynced, renamed, the folder fsynced. It is on disk before any
control is touched, so whoever starts next can put everything back. Leases are kept as they were signed, and verified
again; their times are seconds since the machine started, which no clock change moves.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from collectors.levers import FREE, Key
from pipeline import files
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.messages.control import Kind, SignedCommand
from pipeline.messages.telemetry import Tier


class Original(NamedTuple):
    """What a control was before we came."""

    level: float
    """Its set-point, `FREE` if nothing held it."""
    highest: float | None = None
    """From where on nothing was held back; None: not known any more. A share is taken of this, not of what we made."""
    tier: Tier | None = None
    job: str | None = None
    """Whose it was when it was seen last: believed while no mapping tells anything else."""


class KeptLease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lease that is not over."""

    signed: SignedCommand
    begins_up_s: float
    ends_up_s: float


class Touched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One control that may be other than it was found; None is `FREE`."""

    previous: float | None
    level: float | None = None
    """What it is to be held at; as `previous` if nothing holds it."""
    asked: tuple[float | None, ...] = ()
    """Every level that may be in force by our doing, the newest last."""
    highest: float | None = None
    """From where on nothing was held back then."""
    tier: Tier | None = None
    job: str | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The journal's content."""

    boot: str = ""
    """The run of the machine in which it was written."""
    highest_seq: int = 0
    acknowledged_seq: int = 0
    touched: dict[Kind, dict[str, Touched]] = {}
    """By kind and subject. Empty: nothing of ours is in force."""
    leases: tuple[KeptLease, ...] = ()
    deadline_up_s: float | None = None
    """When the last lease that held ends."""
    previous_w: dict[str, float] = {}
    """By GPU UUID, what version 0.1 found before its first cap; only read."""

    def found(self) -> dict[Key, Original]:
        """Return what held before the first touch."""
        older = {Key(Kind.POWER, uuid): Original(limit_w) for uuid, limit_w in self.previous_w.items()}
        told = {key: Original(_level(one.previous), one.highest, one.tier, one.job) for key, one in self._each()}
        return {**older, **told}

    def asked(self) -> dict[Key, tuple[float, ...]]:
        """Return the levels that may be in force by our doing."""
        return {key: tuple(map(_level, one.asked)) for key, one in self._each() if one.asked}

    def levels(self) -> dict[Key, float]:
        """Return what was set last, of controls that were held back."""
        return {
            key: _level(touched.level)
            for key, touched in self._each()
            if _level(touched.level) != _level(touched.previous)
        }

    def _each(self) -> Iterator[tuple[Key, Touched]]:
        return ((Key(kind, subject), one) for kind, found in self.touched.items() for subject, one in found.items())


def touched(
    found: Mapping[Key, Original], levels: Mapping[Key, float], asked: Mapping[Key, tuple[float, ...]]
) -> dict[Kind, dict[str, Touched]]:
    """Return what a record says of the controls in *found*, those of them held at *levels*."""
    told: dict[Kind, dict[str, Touched]] = {}
    for key, original in found.items():
        one = Touched(
            previous=_number(original.level),
            level=_number(levels.get(key, original.level)),
            asked=tuple(map(_number, asked.get(key, ()))),
            highest=original.highest,
            tier=original.tier,
            job=original.job,
        )
        told.setdefault(key.kind, {})[key.subject] = one
    return told


class Journal:
    """The file. `record` is what it says."""

    def __init__(self, path: Path | None) -> None:
        """Read the journal at *path*, empty if there is none; no path keeps it in memory, for a dry run."""
        self._path = path
        self.record = _read(path) if path else Record()

    def write(self, record: Record) -> None:
        """Return once *record* is on disk; `EnvironmentProblem` if that fails, and then nothing may be held back."""
        if record == self.record:
            return
        if self._path:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                files.replace_durably(self._path, msgspec.json.encode(record))
            except OSError as error:
                raise EnvironmentProblem(f"cannot write the journal {self._path}: {error.strerror}") from error
        self.record = record


def _level(number: float | None) -> float:
    return FREE if number is None else number


def _number(level: float) -> float | None:
    return None if level == FREE else level


def _read(path: Path) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise EnvironmentProblem(f"cannot read the journal {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is no journal ({error}); compare limits with `nvidia-smi -q -d POWER`, then remove it"
        ) from error

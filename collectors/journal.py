"""
What an actuator must still know after kill -9: the limits it found, and the highest sequence it obeyed.

One small JSON file, replaced whole: written beside, fsynced, renamed, the folder fsynced. It is on disk before any
limit is touched, so whoever starts next can put everything back.
"""

from pathlib import Path

import msgspec

from pipeline import files
from pipeline.errors import ConfigError, EnvironmentProblem


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The journal's content."""

    highest_seq: int = 0
    previous_w: dict[str, float] = {}
    """By GPU UUID, the limit that held before the first cap. Empty: nothing of ours is in force."""


class Journal:
    """The file. `record` is what it says."""

    def __init__(self, path: Path | None) -> None:
        """Read the journal at *path*, empty if there is none; no path keeps it in memory, for a dry run."""
        self._path = path
        self.record = _read(path) if path else Record()

    def write(self, record: Record) -> None:
        """Return once *record* is on disk; `EnvironmentProblem` if that fails, and then nothing may be touched."""
        if record == self.record:
            return
        if self._path:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                files.replace_durably(self._path, msgspec.json.encode(record))
            except OSError as error:
                raise EnvironmentProblem(f"cannot write the journal {self._path}: {error.strerror}") from error
        self.record = record


def _read(path: Path) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise EnvironmentProblem(f"cannot read the journal {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"{path} is no journal ({error}); compare limits with `nvidia-smi -q -d POWER`, then remove it"
        ) from error

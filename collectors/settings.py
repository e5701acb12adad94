"""Settings of a GPU host: ``[collector]`` and ``[actuator]``, and the small documents they point at."""

import socket
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from pipeline.errors import ConfigError
from pipeline.settings import Positive, Section

T = TypeVar("T")

Whole = Annotated[int, msgspec.Meta(ge=1)]


class Collector(Section, frozen=True, kw_only=True):
    """``[collector]``: what measures this host."""

    host: str = ""
    """Empty: the machine's own name."""
    source: str = "nvml"
    """Plug-in name in `collectors.sources`."""
    mapping: str = ""
    """File that says which GPU works for whom; empty: none is claimed, all are T0."""
    tokens: str = ""
    """Folder into which jobs write their token counters; empty: nobody counts."""
    simulated: bool = False
    """The NVML underneath is a stand-in."""


class Actuator(Section, frozen=True, kw_only=True):
    """``[actuator]``: what may limit this host's power. Spans in seconds of the shared clock unless named otherwise."""

    host: str = ""
    lever: str = "nvml"
    """Plug-in name in `collectors.levers`."""
    keyring: str
    """File of the dispatchers' public keys."""
    journal: str
    """File of previous limits and of the highest sequence obeyed."""
    mapping: str = ""
    simulated: bool = False
    settle_ms: Positive = 250
    """How long the GPUs get to follow a new limit before their power is read, milliseconds of the machine."""
    period_ms: Positive = 250
    """How often leases are looked at, milliseconds of the machine."""
    max_lease_s: Positive = 900
    max_ahead_s: Positive = 3600
    release_stages: Whole = 4
    release_stage_s: Positive = 5


def host_name(given: str, configured: str) -> str:
    """Return the name this host goes by: the command line's, else the settings', else the machine's own."""
    return given or configured or socket.gethostname()


def seconds(count: float) -> timedelta:
    """Return *count* seconds of the shared clock."""
    return timedelta(seconds=count)


def read_document(path: Path, kind: type[T]) -> T:
    """Return the TOML document at *path* (JSON if its name ends so) as *kind*; `ConfigError` says why not."""
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
        return msgspec.convert(document, kind)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, not TOML or JSON, not of that kind: all of them are ValueErrors
        raise ConfigError(f"{path}: {error}") from error

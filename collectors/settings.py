"""Settings of a GPU host: ``[collector]`` and ``[actuator]``, and the small documents they point at."""

import os
import socket
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from pipeline.errors import ConfigError
from pipeline.settings import Positive, Section

T = TypeVar("T")

Whole = Annotated[int, msgspec.Meta(ge=1)]


class Collector(Section, frozen=True, kw_only=True):
    """``[collector]``: what runs on a GPU host. Spans in seconds of the shared clock unless named otherwise."""

    host: str = ""
    """Empty: the machine's own name."""
    sources: tuple[str, ...] = ("nvml",)
    """Plug-in names in `collectors.sources`; where two see one GPU, the first one's sample is published."""
    mappings: tuple[str, ...] = ("static",)
    """Plug-in names in `collectors.mappings`; where two claim one GPU, the first one's claim holds."""
    tokens: str = ""
    """Folder into which jobs write their token counters; empty: nobody counts."""
    simulated: bool = False
    """The devices underneath are stand-ins."""
    period_s: Annotated[float, msgspec.Meta(gt=0, le=3)] = 1.0
    """Readings further apart cannot be integrated (`collectors.counters.REACH`)."""
    fast_period_s: Positive = 0.1
    """During an event. Data-centre GPUs of today refresh their readings no faster."""
    spool: str = ""
    """Folder for ticks that Kafka has not acknowledged; empty: a folder of the service manager's or the user's."""
    spool_mb: Positive = 512.0
    drain_per_s: Positive = 500.0
    """Ticks a second that are sent after Kafka has been away, seconds of the machine."""
    listen: Annotated[str, msgspec.Meta(pattern=r"^$|^[^\s]+:[0-9]+$")] = "127.0.0.1:9465"
    """Where /metrics, /healthz and /readyz answer; empty: nowhere."""
    socket: str = ""
    """Where `firmwatt collect release|resume|fast` reaches this process; empty: in the spool's folder."""
    actuator_metrics: str = ""
    """The file that an actuator on this host writes, to be shown on this page too; empty: none."""
    push: bool = False
    """Whether PUT /tokens/NAME at `listen` takes counters that jobs push."""
    log: Literal["text", "json"] = "text"


class Actuator(Section, frozen=True, kw_only=True):
    """``[actuator]``: what may limit this host's power. Spans in seconds of the shared clock unless named otherwise."""

    host: str = ""
    levers: tuple[str, ...] = ("nvml",)
    """Plug-in names in `collectors.levers`, at most one for each kind of control."""
    mappings: tuple[str, ...] = ("static",)
    """Plug-in names in `collectors.mappings`, as the collector's; a GPU that nobody claims is T0 and never touched."""
    keyring: str
    """File of the dispatchers' public keys; read again when it changes."""
    journal: str
    """File of what was found and set, of leases and of the highest sequence obeyed."""
    metrics: str = ""
    """File for Prometheus' text, replaced every two seconds; empty: none."""
    simulated: bool = False
    settle_ms: Positive = 1000
    """How long GPUs get at most to follow a new limit before their power counts, milliseconds of the machine."""
    period_ms: Positive = 250
    """How often leases are looked at, milliseconds of the machine."""
    reconcile_s: Positive = 5
    """How often everything is read while anything is held, seconds of the machine."""
    idle_s: Positive = 60
    """After so long with nothing held devices are let go of, seconds of the machine."""
    min_cap_w: Positive = 50
    """Lowest and highest cap a command may ask of a GPU; it is refused otherwise."""
    max_cap_w: Positive = 3000
    max_step_w: Positive = 500
    """How far a command moves a power limit at one stroke, and how fast strokes follow each other."""
    max_rate_w_per_s: Positive = 1000
    max_lease_s: Positive = 900
    max_ahead_s: Positive = 3600
    """How far in the future a lease may begin."""
    max_skew_s: Positive = 5
    """How far ahead of this host's clock a command may have been issued."""
    min_release_s: Positive = 5
    """No way back is shorter, whatever a command says, unless half of its lease is."""
    release_s: Positive = 20
    """How long a way back takes that no lease has planned."""
    release_stages: Whole = 4
    silence_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 120
    """Without contact with Kafka for so long economic leases are let go of; 0: they hold until they end."""
    log: Literal["text", "json"] = "text"


def host_name(given: str, configured: str) -> str:
    """Return the name this host goes by: the command line's, else the settings', else the machine's own."""
    return given or configured or socket.gethostname()


def state_folder(section: Collector, host: str) -> Path:
    """
    Return where a collector keeps what must outlive it: as set, else the service manager's folder, else the user's.

    ``STATE_DIRECTORY`` is what systemd gives a unit with ``StateDirectory=`` (systemd.exec(5)).
    """
    if section.spool:
        return Path(section.spool)
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "firmwatt" / host


def socket_path(section: Collector, host: str) -> Path:
    """Return where a running collector is talked to."""
    return Path(section.socket) if section.socket else state_folder(section, host) / "collect.sock"


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

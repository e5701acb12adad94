"""
Power limits of the GPUs of an HGX board, set by its BMC: without root on the host, in seconds, not milliseconds.

    PATCH …/Processors/GPU_SXM_1/EnvironmentMetrics   {"PowerLimitWatts": {"SetPoint": 450}}

A GPU takes the lower of this limit and the driver's. Which GPU is which the settings say, as for the source of this
name. A BMC answers few clients at once (four on GB200), so there is one session here, and one question at a time. Its
user must be one that may change resources (ConfigureComponents); those the source needs may only read.

A limit with the ControlMode "Disabled" holds nothing back, whatever its SetPoint: it reads as the highest, and is
switched on by the first that is set. PowerLimitWatts.Reading is not read: it is that of the control's sensor, which is
the draw (374 W at a SetPoint of 500 W in the DMTF's mockup), so a BMC does not tell what is in force.

Source: DMTF DSP0266 (Redfish Specification), "PATCH" and "ETags"; DSP2046 (Redfish Resource and Schema Guide),
EnvironmentMetrics: PowerWatts.Reading and PowerLimitWatts, an excerpt of Control, with SetPoint, AllowableMin,
AllowableMax and ControlMode. That HGX boards have them there: NVIDIA DPS documentation, "Redfish API". Their BMC takes
whole watts only, and forgets a limit at a reset of the GPU (NVIDIA's bmcweb, environment_metrics.hpp).
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple, TypeVar

import msgspec

from collectors import PLAUSIBLE_SHARE, SourceError
from collectors.http import Endpoint
from collectors.levers import FREE, Found, LeverError, Reading
from collectors.process import Changes
from collectors.sources._bmc import Bmc, BmcError
from collectors.sources._redfish_gpus import Gpu, gpus
from collectors.sources._redfish_power import Limit, Value, value
from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import Positive, Section

T = TypeVar("T", bound=msgspec.Struct)

log = logging.getLogger(__name__)

LONG_AGO = datetime.min.replace(tzinfo=UTC)
LOOK_AGAIN = timedelta(minutes=10)
"""All GPUs are looked for anew so often: a board that starts shows fewer at first than later."""
LOOK_AGAIN_SOON = timedelta(minutes=1)
"""And so often while one of those named is missing."""
NOTE = "set and read by the BMC: its watts are seconds old, and it does not say whether the limit binds"

TROUBLES: Mapping[int, Trouble] = {
    HTTPStatus.BAD_REQUEST: Trouble.OUT_OF_RANGE,
    HTTPStatus.UNAUTHORIZED: Trouble.NO_PERMISSION,
    HTTPStatus.FORBIDDEN: Trouble.NO_PERMISSION,
    HTTPStatus.NOT_FOUND: Trouble.LOST,
    HTTPStatus.METHOD_NOT_ALLOWED: Trouble.NOT_SUPPORTED,
    HTTPStatus.NOT_IMPLEMENTED: Trouble.NOT_SUPPORTED,
}


REQUESTS = 4
"""A set-point read, written, written again and read back: what a call is allowed the time of."""


class _Limit(Limit, rename="pascal"):
    control_mode: str | None = None


class _Metrics(msgspec.Struct, rename="pascal"):
    """What a lever needs of EnvironmentMetrics; BMCs differ in the rest (Dell's GB200 has a list for a number)."""

    power_watts: Value | None = None
    power_limit_watts: _Limit | None = None


class _Range(NamedTuple):
    """A power limit that can be set, watts."""

    lowest: float
    highest: float
    requested: float
    is_off: bool


class Settings(Section, frozen=True, kw_only=True):
    """``[lever.redfish]``."""

    url: str
    """The BMC: https://HOST."""
    user: str = ""
    """Empty: the BMC asks for none."""
    password_file: str = ""
    ca_file: str = ""
    """Who signed the BMC's certificate; most have signed their own."""
    verify: bool = True
    gpus: Mapping[str, str]
    """UUID by the BMC's name of a GPU, as in ``GPU_SXM_1 = "GPU-…"``; no other is touched."""
    model: str = ""
    """Of these GPUs, as telemetry calls it, because leases do too; empty: as the BMC calls it."""
    timeout_s: Positive = 4.0
    """For one request, seconds of the machine; a setting takes two, four if somebody else sets at the same time."""


def connect(settings: Settings) -> "Redfish":
    """Return the lever; `find` logs in. Raise `ConfigError` for settings that cannot work."""
    if settings.user:
        secret_files.read(settings.password_file)
    elif settings.password_file:
        raise ConfigError("there is a password_file and no user")
    if not settings.gpus:
        raise ConfigError('name the GPUs to set in [lever.redfish.gpus], as in GPU_SXM_1 = "GPU-…"')
    if twice := {uuid for uuid in settings.gpus.values() if list(settings.gpus.values()).count(uuid) > 1}:
        raise ConfigError(f"two GPUs have the UUID {min(twice)}")
    try:
        endpoint = Endpoint(
            settings.url,
            headers={"Accept": "application/json"},
            timeout_s=settings.timeout_s,
            ca_file=settings.ca_file,
            verify=settings.verify,
        )
    except SourceError as error:
        raise ConfigError(str(error)) from error
    return Redfish(settings, Bmc(endpoint, settings.user, settings.password_file))


class Redfish:
    """The GPUs behind one BMC."""

    kind = Kind.POWER

    def __init__(self, settings: Settings, bmc: Bmc) -> None:
        self.patience_s = REQUESTS * settings.timeout_s
        self._settings = settings
        self._bmc = bmc
        self._turn = threading.Lock()
        self._now = self._found_at = LONG_AGO
        self._gpus: dict[str, Gpu] = {}
        self._missing: list[str] = []
        self._changes = Changes(log)

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:  # noqa: ARG002 - GPUs are no jobs
        """Return the GPUs of the settings that the BMC limits; raise `SourceError` where it shows none or is away."""
        with self._in_turn():
            self._now = now
            wait = LOOK_AGAIN_SOON if self._missing else LOOK_AGAIN
            if not self._gpus or not timedelta() <= now - self._found_at < wait:
                self._look(now)
            return tuple(Found(uuid) for uuid in self._gpus)

    def read(self, subject: str) -> Reading:
        """Return one GPU's limit and draw as its BMC has them, which is seconds late."""
        with _told(), self._in_turn():
            gpu = self._gpu(subject)
            found, _ = self._versioned(gpu)
            limit = _range(found)
        power_w = value(found.power_watts)
        is_garbage = power_w is not None and not 0 <= power_w <= PLAUSIBLE_SHARE * limit.highest
        return Reading(
            subject=subject,
            lowest=limit.lowest,
            highest=limit.highest,
            requested=limit.highest if limit.is_off else limit.requested,
            power_w=None if is_garbage else power_w,
            model=self._settings.model or gpu.model,
            note=NOTE,
        )

    def set(self, subject: str, level: float) -> None:
        """Ask for a limit, to the nearest watt; where somebody else sets at the same time, once more after them."""
        with _told(), self._in_turn():
            gpu = self._gpu(subject)
            try:
                self._patch(gpu, level)
            except BmcError as error:
                if error.status != HTTPStatus.PRECONDITION_FAILED:
                    raise
                self._patch(gpu, level)

    def close(self) -> None:
        """Log out; the next `find` looks for the GPUs again."""
        with self._in_turn():
            self._bmc.close()
            self._gpus, self._missing = {}, []

    def _patch(self, gpu: Gpu, level: float) -> None:
        found, etag = self._versioned(gpu)
        limit = _range(found)
        watts = round(limit.highest if level == FREE else level)
        change: dict[str, object] = {"SetPoint": watts}
        if limit.is_off and watts < limit.highest:
            change["ControlMode"] = "Automatic"
        self._bmc.patch(gpu.path, {"PowerLimitWatts": change}, etag, self._now)

    def _versioned(self, gpu: Gpu) -> tuple[_Metrics, str]:
        found, etag = self._bmc.versioned(gpu.path, _Metrics, self._now)
        if found is None:
            self._found_at = LONG_AGO  # another firmware may have it elsewhere
            raise LeverError(f"the BMC no longer shows {gpu.name}", Trouble.LOST)
        return found, etag

    def _look(self, now: datetime) -> None:
        """Ask for all GPUs, and each for its limit."""

        def get(path: str, kind: type[T]) -> T | None:
            return self._bmc.get(path, kind, now)

        def is_limited(gpu: Gpu) -> bool:
            try:
                return _limited(get(gpu.path, _Metrics)) is not None
            except BmcError:  # of this one the BMC tells nothing; the others can be set
                return False

        measured = list(gpus(get, self._settings.gpus))
        limited = {gpu.uuid: gpu for gpu in measured if is_limited(gpu)}
        self._missing = sorted(name for name, uuid in self._settings.gpus.items() if uuid not in limited)
        text = f"{self._settings.url} shows no power limit of {', '.join(self._missing)}"
        self._changes.note(self._settings.url, text if self._missing else None)
        self._gpus, self._found_at = limited, now
        if not limited:
            raise SourceError(text)

    def _gpu(self, uuid: str) -> Gpu:
        if uuid not in self._gpus:
            raise LeverError("the BMC shows no power limit of it", Trouble.LOST)
        return self._gpus[uuid]

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Wait until nobody else asks the BMC; raise `SourceError` rather than wait for ever."""
        longest_s = self._settings.timeout_s * (2 + 4 * len(self._settings.gpus))
        if not self._turn.acquire(timeout=longest_s):
            raise SourceError(f"{self._settings.url} has kept others waiting for {longest_s:g} s") from TimeoutError()
        try:
            yield
        finally:
            self._turn.release()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the BMC says, or that it says nothing, into what is wrong with one GPU."""
    try:
        yield
    except BmcError as error:
        raise LeverError(str(error), TROUBLES.get(error.status, Trouble.FAILED)) from error
    except SourceError as error:
        late = isinstance(error.__cause__, TimeoutError)
        raise LeverError(str(error), Trouble.HANGS if late else Trouble.FAILED) from error


def _limited(found: _Metrics | None) -> _Range | None:
    """Return the power limit that *found* tells of, None where it cannot be set."""
    limit = found.power_limit_watts if found else None
    if limit is None or limit.set_point is None or limit.allowable_min is None or limit.allowable_max is None:
        return None
    return _Range(limit.allowable_min, limit.allowable_max, limit.set_point, limit.control_mode == "Disabled")


def _range(found: _Metrics) -> _Range:
    limit = _limited(found)
    if limit is None:
        raise LeverError("the BMC shows no power limit of it now", Trouble.NOT_SUPPORTED)
    return limit

"""
The node's draw as its BMC measures it, by Redfish; the GPUs' of an HGX board too, where their UUIDs are known.

Which chassis is the node, and where that keeps its power, is found once and looked for again when it is gone. Several
chassis that are servers (a node in two boxes) are added up, and one of them without a reading leaves the sum absent.

A BMC names its GPUs by their place (`GPU_SXM_1`). That the UUID in its Processor resource is the one NVML gives is
nowhere promised, so the settings say which is which, and a GPU they do not name is left out.

Source: DMTF DSP2046 (Redfish Resource and Schema Guide).
"""

from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec

from collectors import Reading, SourceError
from collectors.http import Endpoint
from collectors.sources._bmc import Bmc
from collectors.sources._redfish_gpus import Gpu, gpus, sample
from collectors.sources._redfish_power import Chassis, Collection, Draw, EnvironmentMetrics, Get, Way, nodes, ways
from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Covers, GpuSample, MeterSample, Quality
from pipeline.settings import Positive, Section

T = TypeVar("T", bound=msgspec.Struct)

CHASSIS = "/redfish/v1/Chassis"
METER = "bmc"
MOST_W = 200_000.0
"""No node draws more; and none that runs this collector draws nothing."""

LOOK_AGAIN = timedelta(minutes=10)
"""A BMC that starts tells less at first than later: the best place for its watts is looked for now and then."""


class Settings(Section, frozen=True, kw_only=True):
    """``[source.redfish]``."""

    url: str
    """The BMC: https://HOST."""
    user: str = ""
    """Empty: the BMC asks for none."""
    password_file: str = ""
    ca_file: str = ""
    """Who signed the BMC's certificate; most have signed their own."""
    verify: bool = True
    chassis: tuple[str, ...] = ()
    """Ids of the chassis that make up the node; empty: every chassis that is a server by its type."""
    gpus: Mapping[str, str] = msgspec.field(default_factory=dict)
    """UUID by the BMC's name of a GPU, as in ``GPU_SXM_1 = "GPU-…"``."""
    period_s: Positive = 5.0
    timeout_s: Positive = 4.0
    """For one resource; a reading asks for one of each chassis and one of each GPU."""


class Plan(NamedTuple):
    """What each reading asks for."""

    ways: tuple[Way, ...]
    gpus: tuple[Gpu, ...]
    troubles: tuple[str, ...]


def connect(settings: Settings) -> "Redfish":
    """Return the source; the first reading logs in. Raise `ConfigError` if the password cannot be used."""
    if settings.user:
        secret_files.read(settings.password_file)
    elif settings.password_file:
        raise ConfigError("[source.redfish] has a password_file and no user")
    return Redfish(settings)


class Redfish:
    """One BMC."""

    def __init__(self, settings: Settings) -> None:
        self.period_s = settings.period_s
        self._settings = settings
        endpoint = Endpoint(
            settings.url,
            headers={"Accept": "application/json"},
            timeout_s=settings.timeout_s,
            ca_file=settings.ca_file,
            verify=settings.verify,
        )
        self._bmc = Bmc(endpoint, settings.user, settings.password_file)
        self._plan: Plan | None = None
        self._found_at = datetime.min.replace(tzinfo=UTC)

    def read(self, now: datetime) -> Reading:
        """Return the node's meter and the GPUs of the settings; raise `SourceError` if the BMC tells no power."""

        def get(path: str, kind: type[T]) -> T | None:
            return self._bmc.get(path, kind, now)

        plan, self._plan = self._plan, None  # what goes wrong from here on is looked for again
        if plan is None or not timedelta() <= now - self._found_at < LOOK_AGAIN:
            plan, self._found_at = self._found(get), now
        draws = [way.draw(get) for way in plan.ways]
        silent = [
            f"{self._settings.url}: chassis {way.chassis} has no power reading now in {way.path}"
            for way, draw in zip(plan.ways, draws, strict=True)
            if draw.power_w is None
        ]
        self._plan = None if silent else plan
        samples, failures = _samples(plan.gpus, get, now)
        return Reading(gpus=tuple(samples), meters=(node(draws, now),), troubles=(*plan.troubles, *silent, *failures))

    def close(self) -> None:
        """Log out."""
        self._bmc.close()
        self._plan = None

    def _found(self, get: Get) -> Plan:
        settings = self._settings
        there = get(CHASSIS, Collection)
        if there is None:
            raise SourceError(f"{settings.url}{CHASSIS} is not there; is that a BMC with Redfish?")
        every = [chassis for link in there.members if (chassis := get(link.path, Chassis))]
        found = tuple(first_way(chassis, get) for chassis in chosen(every, settings.chassis))
        measured = tuple(gpus(get, settings.gpus))
        missing = sorted(settings.gpus.keys() - {gpu.name for gpu in measured})
        return Plan(found, measured, tuple(f"{settings.url} does not measure a GPU called {name}" for name in missing))


def chosen(every: Sequence[Chassis], names: Names[str]) -> list[Chassis]:
    """Return the chassis called *names*, or else the servers; raise `SourceError` if one is missing. Pure."""
    known = ", ".join(f"{each.name} ({each.chassis_type})" for each in every) or "none"
    if missing := sorted(set(names) - {each.name for each in every}):
        raise SourceError(f"no chassis {', '.join(missing)}; there are: {known}")
    if found := [each for each in every if each.name in names] if names else nodes(every):
        return found
    raise SourceError(f"no chassis is a server by its type; name the node's in `chassis`, there are: {known}")


def first_way(chassis: Chassis, get: Get) -> Way:
    """Return the best way in which *chassis* tells its power now; raise `SourceError` that names what was tried."""
    tried = []
    for way in ways(chassis):
        if way.draw(get).power_w is not None:
            return way
        tried.append(way.path)
    looked = f"no reading in {', '.join(tried)}" if tried else "neither EnvironmentMetrics, Power nor PowerSubsystem"
    raise SourceError(f"chassis {chassis.name} tells no power: {looked}; name others in `chassis`")


def node(draws: Sequence[Draw], now: datetime) -> MeterSample:
    """Return the sum of *draws*; absent if one of them is, marked and withheld if one is garbage. Pure."""
    powers_w = [draw.power_w for draw in draws if draw.power_w is not None]
    energies_j = [draw.energy_j for draw in draws if draw.energy_j is not None and draw.energy_j >= 0]
    garbage = any(not 0 < power_w <= MOST_W for power_w in powers_w)
    return MeterSample(
        meter=METER,
        covers=Covers.HOST,
        power_w=sum(powers_w) if len(powers_w) == len(draws) and not garbage else None,
        energy_j=sum(energies_j) if len(energies_j) == len(draws) else None,
        read_at=now,
        quality=(Quality.IMPLAUSIBLE,) if garbage else (),
    )


def _samples(measured: Sequence[Gpu], get: Get, now: datetime) -> tuple[list[GpuSample], list[str]]:
    """Return a sample of each GPU, and a line for each that did not answer."""
    samples, failures = [], []
    for gpu in measured:
        try:
            samples.append(sample(gpu, get(gpu.path, EnvironmentMetrics), now))
        except SourceError as error:
            samples.append(GpuSample(uuid=gpu.uuid, model=gpu.model, quality=(Quality.STALE,)))
            failures.append(str(error))
    return samples, failures

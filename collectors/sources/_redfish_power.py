"""
Where Redfish keeps a chassis' power: resources as far as we read them, and what they say. Pure but for `get`.

Three places, the newest first; a BMC has one of them or several. Where they disagree the newest holds (the DMTF's own
mockup shows 374 W in EnvironmentMetrics and 344 W in Power).

    EnvironmentMetrics   PowerWatts.Reading; EnergyJoules or EnergykWh, since 2020.4
    Power                PowerControl[].PowerConsumedWatts, deprecated since 2020.4 and still what most BMCs have
    PowerSubsystem       each supply's Metrics.InputPowerWatts, added up

Source: DMTF DSP2046 (Redfish Resource and Schema Guide) by the names of the resources.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

import msgspec

J_PER_KWH = 3_600_000
T = TypeVar("T", bound=msgspec.Struct)

SERVERS = frozenset({"RackMount", "Blade", "Sled", "StandAlone"})
"""
The values of `ChassisType` that DSP2046 describes as a system's chassis. A Rack, Enclosure or Shelf holds several of
them; a Module, Card or Component (what HGX boards call their parts) is inside one.
"""


class Link(msgspec.Struct):
    """A reference to another resource."""

    path: str = msgspec.field(name="@odata.id", default="")

    @property
    def name(self) -> str:
        """The last part of the path, which is the resource's Id."""
        return self.path.rstrip("/").rpartition("/")[2]


class Collection(msgspec.Struct, rename="pascal"):
    """A list of resources."""

    members: tuple[Link, ...] = ()


class Links(msgspec.Struct, rename="pascal"):
    """Where a chassis is."""

    contained_by: Link | None = None


class Chassis(msgspec.Struct, rename="pascal"):
    """A box."""

    path: str = msgspec.field(name="@odata.id", default="")
    chassis_type: str | None = None
    links: Links | None = None
    environment_metrics: Link | None = None
    power: Link | None = None
    power_subsystem: Link | None = None

    @property
    def name(self) -> str:
        """Its Id."""
        return Link(self.path).name


class Value(msgspec.Struct, rename="pascal"):
    """A sensor's reading where it is repeated in another resource; null while the sensor has none."""

    reading: float | None = None


class Limit(msgspec.Struct, rename="pascal"):
    """
    A power limit, watts.

    Its `Reading` is left alone: it is that of the control's sensor, the draw, and no limit in force (DSP2046, Control).
    """

    set_point: float | None = None
    allowable_min: float | None = None
    allowable_max: float | None = None


class EnvironmentMetrics(msgspec.Struct, rename="pascal"):
    """Power and heat of a chassis or a processor."""

    power_watts: Value | None = None
    energy_joules: Value | None = None
    energy_kwh: Value | None = msgspec.field(name="EnergykWh", default=None)
    power_limit_watts: Limit | None = None
    temperature_celsius: Value | None = None


class PowerControl(msgspec.Struct, rename="pascal"):
    """The draw of one part of a chassis, or of all of it."""

    power_consumed_watts: float | None = None
    related_item: tuple[Link, ...] = ()


class Power(msgspec.Struct, rename="pascal"):
    """The older resource."""

    power_control: tuple[PowerControl, ...] = ()


class PowerSubsystem(msgspec.Struct, rename="pascal"):
    """Supplies of a chassis."""

    power_supplies: Link | None = None


class Status(msgspec.Struct, rename="pascal"):
    """Whether something is there and works."""

    state: str | None = None


class PowerSupply(msgspec.Struct, rename="pascal"):
    """A supply."""

    status: Status | None = None
    metrics: Link | None = None


class PowerSupplyMetrics(msgspec.Struct, rename="pascal"):
    """What a supply takes from the wall."""

    input_power_watts: Value | None = None


class Draw(NamedTuple):
    """What one chassis or processor draws; absent is None."""

    power_w: float | None = None
    energy_j: float | None = None


class Get(Protocol):
    """Ask the BMC for a resource; None where there is none."""

    def __call__(self, path: str, kind: type[T]) -> T | None: ...


class Way(NamedTuple):
    """How the power of a chassis is read."""

    chassis: str
    path: str
    draw: Callable[[Get], Draw]


def ways(chassis: Chassis) -> Iterator[Way]:
    """Yield every way in which *chassis* may tell its power, the best first."""
    if chassis.environment_metrics:
        path = chassis.environment_metrics.path
        yield Way(chassis.name, path, lambda get: environment(get(path, EnvironmentMetrics)))
    if chassis.power:
        older = chassis.power.path
        yield Way(chassis.name, older, lambda get: control(get(older, Power), chassis.path))
    if chassis.power_subsystem:
        supplied = chassis.power_subsystem.path
        yield Way(chassis.name, supplied, lambda get: supplies(get, supplied))


def environment(found: EnvironmentMetrics | None) -> Draw:
    """Return what EnvironmentMetrics say; joules where it has them, since a kilowatt-hour is a coarse step."""
    if found is None:
        return Draw()
    energy_j, energy_kwh = value(found.energy_joules), value(found.energy_kwh)
    if energy_j is None and energy_kwh is not None:
        energy_j = energy_kwh * J_PER_KWH
    return Draw(value(found.power_watts), energy_j)


def control(found: Power | None, chassis: str) -> Draw:
    """Return what Power says of *chassis* as a whole: the control related to it, else the first; they overlap."""
    controls = found.power_control if found else ()
    whole = [each for each in controls if Link(chassis) in each.related_item] or [*controls]
    return Draw(whole[0].power_consumed_watts) if whole else Draw()


def supplies(get: Get, path: str) -> Draw:
    """Return the sum of what all working supplies take in; unknown if one of them does not tell."""
    subsystem = get(path, PowerSubsystem)
    there = get(subsystem.power_supplies.path, Collection) if subsystem and subsystem.power_supplies else None
    inputs_w = []
    for link in there.members if there else ():
        supply = get(link.path, PowerSupply)
        if supply is None or (supply.status and supply.status.state != "Enabled"):
            continue
        metrics = get(supply.metrics.path, PowerSupplyMetrics) if supply.metrics else None
        inputs_w.append(value(metrics.input_power_watts) if metrics else None)
    known_w = [input_w for input_w in inputs_w if input_w is not None]
    return Draw(sum(known_w)) if known_w and len(known_w) == len(inputs_w) else Draw()


def value(of: Value | None) -> float | None:
    """Return a reading, None where the sensor or its reading is absent."""
    return of.reading if of else None


def nodes(found: Iterable[Chassis]) -> list[Chassis]:
    """Return the chassis that are servers and in no other server; a BMC that knows one chassis means that one."""
    there = {each.path: each for each in found}
    servers = {path for path, each in there.items() if each.chassis_type in SERVERS}
    outermost = [there[path] for path in sorted(servers) if servers.isdisjoint(_around(there, path))]
    return outermost or ([*there.values()] if len(there) == 1 else [])


def _around(there: dict[str, Chassis], path: str) -> Iterator[str]:
    """Yield the chassis around the one at *path*, from the inside out."""
    passed = {path}
    while (each := there.get(path)) and each.links and each.links.contained_by:
        path = each.links.contained_by.path
        if path in passed:
            return
        passed.add(path)
        yield path

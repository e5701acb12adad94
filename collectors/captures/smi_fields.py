"""
The names under which nvidia-smi writes power, in XML (-q -x), text (-q) and columns (--query-gpu).

    as seen in     table                draw                   in force               asked for
    515            power_readings       power_draw             enforced_power_limit   power_limit
    535            gpu_power_readings   power_draw             current_power_limit    requested_power_limit
    570 to 595     gpu_power_readings   average_…, instant_…   current_power_limit    requested_power_limit

The text spells the same names with capitals and spaces, and ``Instantaneous``. Beside ``gpu_power_readings`` stand
``module_power_readings`` (CPU and GPU of a superchip) and ``gpu_memory_power_readings`` (inside the GPU's): neither is
another GPU's draw.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from collectors.captures.quantities import ENERGY, POWER, gpu_uuid, quantity, switch, whole, words
from collectors.captures.values import Gpu, MigInstance

Fields: TypeAlias = Mapping[str, str | None]
"""Text by name; ``table.name`` within a table."""

_GPU_TABLES = ("gpu_power_readings.", "power_readings.")
_MODULE_TABLES = ("module_power_readings.",)
_INSTANT = ("instant_power_draw", "instantaneous_power_draw")
_IN_FORCE = ("current_power_limit", "enforced_power_limit")
_REQUESTED = ("requested_power_limit", "power_limit")


def gpu_of_log(fields: Fields, instances: tuple[MigInstance, ...], bus_id: str | None) -> Gpu:
    """Return the GPU that one entry of ``-q`` or ``-q -x`` describes."""
    return gpu_of(
        instant_w=_watts(fields, _GPU_TABLES, _INSTANT),
        draw_w=_watts(fields, _GPU_TABLES, ("power_draw",)),
        average_w=_watts(fields, _GPU_TABLES, ("average_power_draw",)),
        in_force_w=_watts(fields, _GPU_TABLES, _IN_FORCE),
        rest=Gpu(
            uuid=gpu_uuid(fields.get("uuid") or fields.get("gpu_uuid")),
            name=words(fields.get("product_name")),
            energy_j=_energy(fields),
            mig=switch(fields.get("mig_mode.current_mig") or fields.get("mig_mode.current")),
            mig_instances=instances,
            module_w=_watts(fields, _MODULE_TABLES, (*_INSTANT, "power_draw", "average_power_draw")),
            requested_w=_watts(fields, _GPU_TABLES, _REQUESTED),
            min_w=_watts(fields, _GPU_TABLES, ("min_power_limit",)),
            max_w=_watts(fields, _GPU_TABLES, ("max_power_limit",)),
            pci_bus_id=bus_address(fields.get("pci.pci_bus_id") or fields.get("pci.bus_id") or bus_id),
        ),
    )


def gpu_of_row(row: Fields, units: Mapping[str, str]) -> Gpu:
    """Return the GPU in one row of ``--query-gpu=… --format=csv``; *units* is what the header promises."""

    def watts(*columns: str) -> float | None:
        return _first(quantity(row.get(column), POWER, units.get(column, "")) for column in columns)

    energy = (quantity(row[column], ENERGY, units.get(column, "")) for column in row if "energy" in column)
    return gpu_of(
        instant_w=watts("power.draw.instant"),
        draw_w=watts("power.draw"),
        average_w=watts("power.draw.average"),
        in_force_w=watts("enforced.power.limit"),
        rest=Gpu(
            uuid=gpu_uuid(row.get("uuid")),
            name=words(row.get("name")),
            energy_j=_first(energy),
            mig=switch(row.get("mig.mode.current")),
            module_w=watts("module.power.draw.instant", "module.power.draw.average"),
            requested_w=watts("power.limit"),
            min_w=watts("power.min_limit"),
            max_w=watts("power.max_limit"),
            index=whole(row.get("index")),
            pci_bus_id=bus_address(row.get("pci.bus_id")),
        ),
    )


def gpu_of(
    *, instant_w: float | None, draw_w: float | None, average_w: float | None, in_force_w: float | None, rest: Gpu
) -> Gpu:
    """
    Return *rest* with the draw and the limit that count.

    A plain draw is the driver's 1 s average on most boards and the instant one on A100 and older (nvml.h,
    nvmlDeviceGetPowerUsage): it is the draw, but neither ``instant_w`` nor ``average_w``.
    """
    return msgspec.structs.replace(
        rest,
        power_w=_first((instant_w, draw_w, average_w)),
        instant_w=instant_w,
        average_w=average_w,
        limit_w=_first((in_force_w, rest.requested_w)),
    )


def bus_address(text: str | None) -> str | None:
    """Return a PCI address in one spelling: ``00000000:0C:00.0``."""
    address = words(text)
    return address.upper() if address else None


def _watts(fields: Fields, tables: tuple[str, ...], names: tuple[str, ...]) -> float | None:
    return _first(quantity(fields.get(table + name), POWER) for table in tables for name in names)


def _energy(fields: Fields) -> float | None:
    """No driver to 595 prints it here; one that does is believed if it says the unit."""
    mine = (text for name, text in fields.items() if "energy" in name and not name.startswith(("module", "gpu_memory")))
    return _first(quantity(text, ENERGY) for text in mine)


def _first(figures: Iterable[float | None]) -> float | None:
    return next((figure for figure in figures if figure is not None), None)

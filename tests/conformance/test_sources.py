"""What every source must do. A new file in `collectors.sources` is tested here unasked."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from doubles import nvml_host
from doubles.nvml.nvml_double import State

from collectors import Source, SourceError
from pipeline import plugins

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


def nvml_unplugged() -> State:
    """Return the stand-in host of the NVML source with its driver gone."""
    host = nvml_host.fresh()
    host.set_driver(loaded=False)
    return host


#: By source: (plug its devices in, unplug them).
DEVICES: dict[str, tuple[Callable[[], State], Callable[[], State]]] = {"nvml": (nvml_host.fresh, nvml_unplugged)}


@pytest.fixture(params=plugins.available("collectors.sources"))
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a source; one without devices to test it with is an error, not a skip."""
    found: str = request.param
    assert found in DEVICES, f"tests/conformance/test_sources.py has no devices for {found}"
    return found


def connected(name: str) -> Source:
    """Return the source."""
    source: Source = plugins.load("collectors.sources", name).connect()
    return source


def test_readings_are_in_watts_and_plausible(name: str) -> None:
    """A server GPU draws between 10 W and 3 kW: milliwatts or kilowatts would show."""
    DEVICES[name][0]()

    reading = connected(name).read(NOON)

    powers = [gpu.power_w for gpu in reading.gpus if gpu.power_w is not None]
    assert powers
    assert all(10 < power_w < 3000 for power_w in powers)
    assert all(gpu.energy_j is None or math.isfinite(gpu.energy_j) for gpu in reading.gpus)


def test_every_gpu_has_a_name_of_its_own_and_a_model(name: str) -> None:
    DEVICES[name][0]()

    gpus = connected(name).read(NOON).gpus

    assert len({gpu.uuid for gpu in gpus}) == len(gpus)
    assert all(gpu.uuid and gpu.model for gpu in gpus)


def test_an_unplugged_device_is_an_error_and_not_zero_watts(name: str) -> None:
    DEVICES[name][1]()

    with pytest.raises(SourceError):
        connected(name).read(NOON)


def test_reading_twice_does_not_double_count(name: str) -> None:
    """At one instant of the devices' own clock, both readings are the same."""
    DEVICES[name][0]()
    source = connected(name)

    assert source.read(NOON) == source.read(NOON + timedelta(seconds=1))


def test_a_source_claims_nothing(name: str) -> None:
    """Which job a GPU works for is the mapping's to say."""
    DEVICES[name][0]()

    assert all(gpu.job is None for gpu in connected(name).read(NOON).gpus)

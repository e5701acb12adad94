"""What every source must do. A new file in `collectors.sources` is tested here unasked."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from doubles import dcgm_page, modbus_meter, nvml_host, pages, rapl_tree, redfish_tree, snmp_pdu
from doubles.amd import amd_double

from collectors import Reading, Source, SourceError
from collectors.sources import amd, dcgm, modbus, nvml, rapl, redfish, snmp
from collectors.sources._snmp_settings import Pdu
from pipeline import plugins
from pipeline.settings import Section

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Devices:
    """How to arrange a source's devices; each function returns the settings to connect with."""

    plugged: Callable[[], Section]
    unplugged: Callable[[], Section]


def nvml_plugged() -> Section:
    """Return the settings for eight healthy GPUs."""
    nvml_host.fresh()
    return nvml.Settings()


def nvml_unplugged() -> Section:
    """Return the settings for GPUs whose driver is gone."""
    nvml_host.fresh().set_driver(loaded=False)
    return nvml.Settings()


def snmp_at(port: int) -> Section:
    """Return the settings for one PDU."""
    community = snmp_pdu.community_file("rack")
    pdu = Pdu(meter="rack", host="127.0.0.1", port=port, model="apc-rpdu2", community_file=community)
    return snmp.Settings(pdu=(pdu,), timeout_s=1.0)


def snmp_plugged() -> Section:
    """Return the settings for a PDU at 4.56 kW."""
    return snmp_at(snmp_pdu.standing().port)


def snmp_unplugged() -> Section:
    """Return the settings for a port where nobody answers."""
    return snmp_at(snmp_pdu.silent_port())


def modbus_at(port: int, unit_id: int = modbus_meter.UNIT_ID) -> Section:
    """Return the settings for one facility meter."""
    power = modbus.PowerRegister(register=3059, type="float32", unit="kW")
    energy = modbus.EnergyRegister(register=3203, type="int64", unit="Wh")
    meter = modbus.Meter(
        meter="grid", host="127.0.0.1", port=port, unit_id=unit_id, covers="facility", power=power, energy=energy
    )
    return modbus.Settings(meter=(meter,))


def modbus_plugged() -> Section:
    """Return the settings for a meter at 200.5 kW."""
    return modbus_at(modbus_meter.standing().port)


def modbus_unplugged() -> Section:
    """Return the settings for a meter whose gateway reaches it no more."""
    return modbus_at(modbus_meter.standing().port, unit_id=99)


def amd_plugged() -> Section:
    """Return the settings for two healthy GPUs."""
    amd_double.fresh("mi300x", "mi300x")
    return amd.Settings()


def amd_unplugged() -> Section:
    """Return the settings for GPUs whose driver is gone."""
    amd_double.fresh("mi300x").refuse_init(amd_double.DRIVER_NOT_LOADED)
    return amd.Settings()


STAND_INS = ExitStack()
"""What a test has started for itself; it ends with the test."""

NOBODY = "http://127.0.0.1:9"
"""The discard port, where no web server listens."""


@pytest.fixture(autouse=True)
def _stand_ins_end() -> Iterator[None]:
    yield
    STAND_INS.close()


def dcgm_plugged() -> Section:
    """Return the settings for an exporter that shows eight GPUs, the last one in two MIG instances."""
    gpus = [*map(dcgm_page.Gpu, range(7)), dcgm_page.Gpu(7, instance="1"), dcgm_page.Gpu(7, instance="2")]
    server = STAND_INS.enter_context(pages.serve({"/metrics": pages.Page(dcgm_page.text(*gpus))}))
    return dcgm.Settings(url=f"{server.url}/metrics")


def rapl_plugged() -> Section:
    """Return the settings for two packages with their memory."""
    folder = Path(STAND_INS.enter_context(TemporaryDirectory()))
    return rapl.Settings(root=str(rapl_tree.grow(folder, packages=2).root))


def redfish_plugged() -> Section:
    """Return the settings for a BMC at 5.2 kW with one GPU."""
    bmc = STAND_INS.enter_context(redfish_tree.serve(redfish_tree.server(power_w=5200, gpus=1)))
    return redfish.Settings(url=bmc.url, gpus={"GPU_SXM_1": "GPU-a"})


#: By source.
DEVICES: dict[str, Devices] = {
    "nvml": Devices(nvml_plugged, nvml_unplugged),
    "snmp": Devices(snmp_plugged, snmp_unplugged),
    "modbus": Devices(modbus_plugged, modbus_unplugged),
    "amd": Devices(amd_plugged, amd_unplugged),
    "dcgm": Devices(dcgm_plugged, lambda: dcgm.Settings(url=NOBODY)),
    "rapl": Devices(rapl_plugged, lambda: rapl.Settings(root="/nowhere")),
    "redfish": Devices(redfish_plugged, lambda: redfish.Settings(url=NOBODY)),
}


@pytest.fixture(params=plugins.available("collectors.sources"))
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a source; one without devices to test it with is an error, not a skip."""
    found: str = request.param
    assert found in DEVICES, f"tests/conformance/test_sources.py has no devices for {found}"
    return found


@contextmanager
def connected(name: str, settings: Section) -> Iterator[Source]:
    """Yield the source, closed afterwards."""
    source: Source = plugins.load("collectors.sources", name).connect(settings)
    try:
        yield source
    finally:
        source.close()


def reading_of(name: str) -> Reading:
    """Return the first reading of healthy devices."""
    with connected(name, DEVICES[name].plugged()) as source:
        return source.read(NOON)


def test_readings_are_in_watts_and_plausible(name: str) -> None:
    """A server GPU draws between 10 W and 3 kW: milliwatts or kilowatts would show. So would they on a meter."""
    reading = reading_of(name)

    gpus_w = [gpu.power_w for gpu in reading.gpus if gpu.power_w is not None]
    meters_w = [meter.power_w for meter in reading.meters if meter.power_w is not None]
    energies_j = [*filter(None, (gpu.energy_j for gpu in reading.gpus))]
    energies_j += [*filter(None, (meter.energy_j for meter in reading.meters))]
    assert gpus_w or meters_w or energies_j
    assert all(10 < power_w < 3000 for power_w in gpus_w)
    assert all(10 < power_w < 100e6 for power_w in meters_w)
    assert all(math.isfinite(energy_j) and energy_j >= 0 for energy_j in energies_j)


def test_every_gpu_and_every_meter_has_a_name_of_its_own(name: str) -> None:
    reading = reading_of(name)

    uuids = [gpu.uuid for gpu in reading.gpus]
    meters = [meter.meter for meter in reading.meters]
    assert len(set(uuids)) == len(uuids)
    assert len(set(meters)) == len(meters)
    assert all([*uuids, *meters, *(gpu.model for gpu in reading.gpus)])


def test_a_place_is_that_of_a_gpu_in_the_reading(name: str) -> None:
    reading = reading_of(name)

    assert {place.uuid for place in reading.places} <= {gpu.uuid for gpu in reading.gpus}


def test_an_unplugged_device_is_an_error_and_not_zero_watts(name: str) -> None:
    with connected(name, DEVICES[name].unplugged()) as source, pytest.raises(SourceError):
        source.read(NOON)


def test_reading_twice_does_not_double_count(name: str) -> None:
    """At one instant of the devices' own clock, both readings are the same but for when they were made."""
    with connected(name, DEVICES[name].plugged()) as source:
        first, second = source.read(NOON), source.read(NOON + timedelta(seconds=1))

    assert [gpu.energy_j for gpu in first.gpus] == [gpu.energy_j for gpu in second.gpus]
    assert [meter.energy_j for meter in first.meters] == [meter.energy_j for meter in second.meters]


def test_a_source_leaves_epochs_to_the_counters(name: str) -> None:
    reading = reading_of(name)

    assert all(gpu.energy_epoch == 0 for gpu in reading.gpus)
    assert all(meter.energy_epoch == 0 for meter in reading.meters)


def test_a_source_claims_nothing(name: str) -> None:
    """Which job a GPU works for is the mapping's to say."""
    assert all(gpu.job is None for gpu in reading_of(name).gpus)


def test_a_closed_source_is_read_again(name: str) -> None:
    """Released for the driver's sake, it opens its devices anew; closing twice is no error."""
    with connected(name, DEVICES[name].plugged()) as source:
        before = source.read(NOON)
        source.close()
        source.close()
        after = source.read(NOON + timedelta(seconds=1))

    assert [gpu.uuid for gpu in after.gpus] == [gpu.uuid for gpu in before.gpus]
    assert [meter.meter for meter in after.meters] == [meter.meter for meter in before.meters]

"""Facility meters by Modbus TCP: figures a reader can check, from a server on the loopback."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from doubles import modbus_meter
from doubles.modbus_meter import Meter, metering
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.constants import ExcCodes

from collectors import Reading, Source, SourceError
from collectors.sources import modbus
from collectors.sources.modbus import FORMATS, Kind, PowerRegister, number
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Covers, MeterSample
from pipeline.settings import load

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)

POWER, ENERGY = 3059, 3203
KILOWATTS_200_5 = [0x4348, 0x8000]  # float32 200.5: 1.56640625 × 2^7
MEGAWATT_HOUR = [0x0000, 0x0000, 0x000F, 0x4240]  # int64 1 000 000 Wh


def meter_of(device: Meter, **rest: object) -> dict[str, object]:
    """Return the table of a meter that measures power in kW as float32, and no energy."""
    own = {"meter": "grid", "host": "127.0.0.1", "port": device.port, "unit_id": modbus_meter.UNIT_ID}
    return own | {"covers": "facility", "power": power_at(POWER)} | rest


def power_at(register: int, **rest: object) -> dict[str, object]:
    """Return where a power in kW is."""
    return {"register": register, "type": "float32", "unit": "kW"} | rest


def settings(*meters: dict[str, object], timeout_s: float = 1.0) -> modbus.Settings:
    """Return ``[source.modbus]``, checked as a file is."""
    return msgspec.convert({"meter": meters, "timeout_s": timeout_s}, modbus.Settings)


@contextmanager
def connected(*meters: dict[str, object], timeout_s: float = 1.0) -> Iterator[Source]:
    """Yield the source, closed afterwards."""
    source = modbus.connect(settings(*meters, timeout_s=timeout_s))
    try:
        yield source
    finally:
        source.close()


def reading(*meters: dict[str, object]) -> Reading:
    """Return one reading."""
    with connected(*meters) as source:
        return source.read(NOON)


def test_power_and_energy_are_watts_and_joules() -> None:
    energy = {"register": ENERGY, "type": "int64", "unit": "Wh"}
    with metering({POWER: KILOWATTS_200_5, ENERGY: MEGAWATT_HOUR}) as device:
        seen = reading(meter_of(device, energy=energy))

    assert seen.troubles == ()
    assert seen.meters == (
        MeterSample(meter="grid", covers=Covers.FACILITY, power_w=200_500.0, energy_j=3.6e9, read_at=NOON),
    )


@pytest.mark.parametrize(
    ("words", "where", "power_w"),
    [
        ([0x07D0], {"type": "uint16", "unit": "W"}, 2_000.0),
        ([0xFF38], {"type": "int16", "unit": "kW"}, -200_000.0),  # -200 kW: it feeds in
        ([0xFF38], {"type": "int16", "unit": "kW", "scale": -0.1}, 20_000.0),
        ([0x0001, 0x86A0], {"type": "uint32", "unit": "W", "scale": 10}, 1_000_000.0),
        ([0x86A0, 0x0001], {"type": "uint32", "unit": "W", "words": "little"}, 100_000.0),
        ([0xFFFE, 0x7960], {"type": "int32", "unit": "W"}, -100_000.0),
        ([0x8000, 0x4348], {"type": "float32", "unit": "MW", "words": "little"}, 200_500_000.0),
        ([0x4069, 0x1000, 0x0000, 0x0000], {"type": "float64", "unit": "W"}, 200.5),
        ([0x0000, 0x0000, 0x0000, 0x07D0], {"type": "uint64", "unit": "mW"}, 2.0),
    ],
)
def test_every_type_of_register_is_read(words: list[int], where: dict[str, object], power_w: float) -> None:
    with metering({100: words}) as device:
        (sample,) = reading(meter_of(device, power={"register": 100} | where)).meters

    assert sample.power_w == pytest.approx(power_w, rel=1e-12)


def test_input_registers_are_another_table() -> None:
    with metering({POWER: [0, 0]}, inputs={POWER: KILOWATTS_200_5}) as device:
        (sample,) = reading(meter_of(device, power=power_at(POWER, table="input"))).meters

    assert sample.power_w == 200_500.0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ([0x8000], "int16"),
        ([0xFFFF], "uint16"),
        ([0x8000, 0x0000], "int32"),
        ([0x7FFF, 0xFFFF], "int32"),
        ([0xFFFF, 0xFFFF], "uint32"),
        ([0x8000, 0, 0, 0], "int64"),
        ([0xFFFF] * 4, "uint64"),
        ([0x7FC0, 0x0000], "float32"),
        ([0x7FBF, 0xFF80], "float32"),  # a NaN of another spelling, seen from a Fronius (pysunspec#100)
        ([0x7F80, 0x0000], "float32"),  # infinity
    ],
)
def test_a_register_that_is_not_implemented_is_absent(words: list[int], kind: str) -> None:
    energy = {"register": ENERGY, "type": "int64", "unit": "Wh"}
    with metering({100: words, ENERGY: MEGAWATT_HOUR}) as device:
        power = {"register": 100, "type": kind, "unit": "W"}
        seen = reading(meter_of(device, power=power, energy=energy))

    assert [(sample.power_w, sample.energy_j) for sample in seen.meters] == [(None, 3.6e9)]
    assert "power, holding register 100" in seen.troubles[0]


@given(
    kind=st.sampled_from(sorted(FORMATS)),
    little=st.booleans(),
    raw=st.binary(min_size=8, max_size=8),
)
def test_what_is_packed_is_what_is_read(kind: Kind, little: bool, raw: bytes) -> None:  # noqa: FBT001 - hypothesis's
    """Of any bytes: the number that struct finds there, whichever end comes first, or absent for the patterns."""
    size = struct.calcsize(FORMATS[kind])
    (value,) = struct.unpack(f">{FORMATS[kind]}", raw[:size])
    words = [int.from_bytes(raw[at : at + 2], "big") for at in range(0, size, 2)]
    where = PowerRegister(register=0, type=kind, words="little" if little else "big", unit="W")

    seen = number(words[::-1] if little else words, where)

    extremes = {-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1} if kind.startswith("int") else {2 ** (8 * size) - 1}
    absent = not math.isfinite(value) if kind.startswith("float") else value in extremes
    assert seen == (None if absent else float(value))


def test_an_address_that_the_meter_does_not_have_is_named() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device:
        energy = {"register": 42, "type": "uint32", "unit": "kWh", "table": "input"}
        seen = reading(meter_of(device, energy=energy))

    assert [sample.power_w for sample in seen.meters] == [200_500.0]
    (trouble,) = seen.troubles
    assert "energy, input register 42: the device has no such register (Modbus exception 2)" in trouble


def test_a_wrong_unit_id_is_said() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device, pytest.raises(SourceError, match="is unit_id right"):
        reading(meter_of(device, unit_id=9))


def test_a_meter_that_restarts_is_read_again_at_once() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device, connected(meter_of(device)) as source:
        source.read(NOON)
        device.stop()
        device.start()

        assert source.read(NOON).meters[0].power_w == 200_500.0


def test_a_meter_that_is_off_is_an_error_until_it_is_back() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device, connected(meter_of(device)) as source:
        source.read(NOON)
        device.stop()
        with pytest.raises(SourceError, match=r"grid \(127.0.0.1:\d+\): no connection"):
            source.read(NOON)
        device.start()

        assert source.read(NOON).meters[0].power_w == 200_500.0


def test_a_meter_that_hangs_costs_the_timeout_and_no_more() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device, connected(meter_of(device), timeout_s=0.3) as source:
        device.silent = True
        with pytest.raises(SourceError, match=r"no answer within 0\.3 s"):
            source.read(NOON)
        device.silent = False

        assert source.read(NOON).meters[0].power_w == 200_500.0


def test_a_connection_that_died_in_silence_is_given_up() -> None:
    """The meter lost power: nothing closes the connection that it forgot, and on another one it answers."""
    with modbus_meter.half_open(KILOWATTS_200_5) as port:
        back = {"meter": "grid", "host": "127.0.0.1", "port": port, "covers": "facility", "power": power_at(POWER)}
        with connected(back, timeout_s=0.3) as source:
            with pytest.raises(SourceError, match=r"no answer within 0\.3 s"):
                source.read(NOON)

            assert source.read(NOON).meters[0].power_w == 200_500.0


def test_one_meter_of_two_that_is_gone_is_a_trouble() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device, metering({}) as other:
        other.stop()
        seen = reading(meter_of(device), meter_of(other, meter="hall"))

    assert [sample.meter for sample in seen.meters] == ["grid"]
    assert [trouble.split()[0] for trouble in seen.troubles] == ["hall"]


def test_a_busy_device_is_an_error_that_says_so() -> None:
    with metering({POWER: KILOWATTS_200_5}) as device:
        device.refusal = ExcCodes.DEVICE_BUSY
        with pytest.raises(SourceError, match=r"the device is busy \(Modbus exception 6\)"):
            reading(meter_of(device))


@pytest.mark.parametrize(
    ("line", "number_of_it", "reason"),
    [
        ('power = { register = 1, type = "float32", unit = "kVA" }', 7, "Invalid enum value 'kVA'"),
        ('power = { register = 1, type = "float", unit = "kW" }', 7, "Invalid enum value 'float'"),
        ('power = { register = 70000, type = "int16", unit = "kW" }', 7, "<= 65535"),
        ('power = { register = 1, type = "int16", unit = "kW", scale = 0 }', 7, "a scale of 0"),
        ('power = { register = 1, type = "int16", unit = "Wh" }', 7, "Invalid enum value 'Wh'"),
        ('powr = { register = 1, type = "int16", unit = "W" }', 7, "unknown key 'powr'"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_its_line(
    tmp_path: Path, line: str, number_of_it: int, reason: str
) -> None:
    path = tmp_path / "host.toml"
    lines = ["[source.modbus]", "", "[[source.modbus.meter]]", 'meter = "grid"', 'host = "10.0.0.1"']
    path.write_text("\n".join([*lines, 'covers = "facility"', line, ""]), encoding="utf-8")

    with pytest.raises(ConfigError, match=f"host.toml, line {number_of_it}, .*{reason}"):
        load(path, "source.modbus", modbus.Settings)


def test_two_meters_of_one_name_are_refused() -> None:
    with metering({}) as device, pytest.raises(msgspec.ValidationError, match="two meters are called 'grid'"):
        settings(meter_of(device), meter_of(device))

"""
What PDUs and UPSs tell by SNMP: the object, what one count of it is worth, and when it is no measurement.

Only active power and active energy are read. Apparent power is larger than what is settled, and current is no power:
a device that has nothing else has no power object, and gets no figure. Names and units are the MIBs':

- PowerNet-MIB (APC, enterprise 318): rPDUIdent, rPDU2DeviceStatus, rPDU2OutletMeteredStatus. Banks and phases of
  these have current only, or power that the device figure already holds.
- PDU2-MIB (Raritan, 13742), revision 2017-11-13: sensors by type, each with its unit and its number of decimals.
- TRIPPLITE-PRODUCTS (850): tlpPdu, tlpAts. LIEBERT-GP-PDU-MIB (476): lgpPduPs. UPS-MIB, RFC 1628.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

ModelName = Literal[
    "apc-rpdu", "apc-rpdu2", "raritan-pdu2", "tripplite-pdu", "tripplite-ats", "liebert-pdu", "ups-mib", "oid"
]

KWH_TENTH_J = 3.6e5
"""A tenth of a kilowatt-hour."""


class Gauge(NamedTuple):
    """One figure of a device."""

    oid: str
    worth: float
    """Watts or joules a count."""
    decimals: str = ""
    """Object that says how many of the figure's digits are decimals; empty: none."""
    provided: tuple[tuple[str, int], ...] = ()
    """Objects, and what they must say for the figure to be a measurement."""

    @property
    def oids(self) -> tuple[str, ...]:
        """Every object that the figure needs."""
        return (self.oid, *filter(None, [self.decimals]), *(oid for oid, _ in self.provided))

    def of(self, objects: Mapping[str, int]) -> float | None:
        """
        Return the figure in watts or joules; None where the device does not measure it.

        A negative count is none: PowerNet-MIB answers -1 where a model lacks the meter.
        """
        count = objects.get(self.oid)
        if count is None or count < 0 or any(objects.get(oid) != wanted for oid, wanted in self.provided):
            return None
        if not self.decimals:
            return count * self.worth
        decimals = objects.get(self.decimals)
        return None if decimals is None else count * self.worth / 10**decimals

    def at(self, **places: int) -> "Gauge":
        """Return the gauge with its placeholders filled in."""
        return Gauge(
            self.oid.format(**places),
            self.worth,
            self.decimals.format(**places),
            tuple((oid.format(**places), wanted) for oid, wanted in self.provided),
        )


class Figures(NamedTuple):
    """The gauges that add up to a meter's power, and to its energy."""

    power: tuple[Gauge, ...]
    energy: tuple[Gauge, ...] = ()

    @property
    def oids(self) -> tuple[str, ...]:
        """Every object to ask for, once."""
        return tuple(dict.fromkeys(oid for gauge in (*self.power, *self.energy) for oid in gauge.oids))


class Model(NamedTuple):
    """A family of devices: gauges of the whole and of one outlet, with the places {pdu}, {line} and {outlet}."""

    whole: Figures
    outlet: Figures | None = None
    by_line: bool = False
    """The whole is the sum of inlets or phases, and how many there are is for the settings to say."""


_ACTIVE_POWER, _ACTIVE_ENERGY = 5, 8  # PDU2-MIB, SensorTypeEnumeration
_WATT, _WATT_HOUR = 3, 5  # PDU2-MIB, SensorUnitsEnumeration


def _sensor(measured: str, described: str, place: str, kind: int, unit: int) -> Gauge:
    """
    Return a sensor of PDU2-MIB, in watts or watt-hours.

    measurements…SensorValue with …SensorDecimalDigits; `provided` are …SensorUnits, and …SensorIsAvailable (true is 1).
    """
    raritan, row = "1.3.6.1.4.1.13742.6", f"{{pdu}}.{place}.{kind}"
    return Gauge(
        f"{raritan}.{measured}.4.{row}",
        1.0 if unit == _WATT else 3.6e3,
        f"{raritan}.{described}.7.{row}",
        ((f"{raritan}.{described}.6.{row}", unit), (f"{raritan}.{measured}.2.{row}", 1)),
    )


_RPDU = "1.3.6.1.4.1.318.1.1.12"
_RPDU2 = "1.3.6.1.4.1.318.1.1.26"
_TRIPP_LITE = "1.3.6.1.4.1.850.1.1.3"
_LIEBERT_PS = "1.3.6.1.4.1.476.1.42.3.8.30.20.1"

MODELS: dict[ModelName, Model] = {
    # rPDUIdentDevicePowerWatts. Where rPDUIdentDeviceLinetoLineVoltage is anything but -1 the card computes its watts
    # from current and a voltage and power factor that somebody typed in, says its DESCRIPTION: an AP7902B shows 192 W
    # for 1.6 A at "120 V" and power factor 1, while its rPDU2 tables say that it has no power meter.
    "apc-rpdu": Model(Figures((Gauge(f"{_RPDU}.1.16.0", 1.0, provided=((f"{_RPDU}.1.15.0", -1),)),))),
    # rPDU2DeviceStatusPower in hundredths of a kilowatt, …Energy in tenths of a kilowatt-hour;
    # rPDU2OutletMeteredStatusPower in watts, …Energy in tenths of a kilowatt-hour
    "apc-rpdu2": Model(
        Figures((Gauge(f"{_RPDU2}.4.3.1.5.{{pdu}}", 10.0),), (Gauge(f"{_RPDU2}.4.3.1.9.{{pdu}}", KWH_TENTH_J),)),
        Figures(
            (Gauge(f"{_RPDU2}.9.4.3.1.7.{{outlet}}", 1.0),), (Gauge(f"{_RPDU2}.9.4.3.1.11.{{outlet}}", KWH_TENTH_J),)
        ),
    ),
    "raritan-pdu2": Model(
        Figures(
            (_sensor("5.2.3.1", "3.3.4.1", "{line}", _ACTIVE_POWER, _WATT),),
            (_sensor("5.2.3.1", "3.3.4.1", "{line}", _ACTIVE_ENERGY, _WATT_HOUR),),
        ),
        Figures(
            (_sensor("5.4.3.1", "3.5.4.1", "{outlet}", _ACTIVE_POWER, _WATT),),
            (_sensor("5.4.3.1", "3.5.4.1", "{outlet}", _ACTIVE_ENERGY, _WATT_HOUR),),
        ),
        by_line=True,
    ),
    # tlpPduDeviceOutputPowerTotal, tlpPduOutletPower, both in watts
    "tripplite-pdu": Model(
        Figures((Gauge(f"{_TRIPP_LITE}.2.2.1.1.9.{{pdu}}", 1.0),)),
        Figures((Gauge(f"{_TRIPP_LITE}.2.3.3.1.1.9.{{pdu}}.{{outlet}}", 1.0),)),
    ),
    # tlpAtsOutputActivePower of each phase, tlpAtsOutletPower, both in watts; tlpAtsOutputCalculatedPowerKW is current
    # times voltage, and not read
    "tripplite-ats": Model(
        Figures((Gauge(f"{_TRIPP_LITE}.4.3.2.1.1.8.{{pdu}}.{{line}}", 1.0),)),
        Figures((Gauge(f"{_TRIPP_LITE}.4.3.3.1.1.9.{{pdu}}.{{outlet}}", 1.0),)),
        by_line=True,
    ),
    # lgpPduPsEntryPwrTotal in watts, lgpPduPsEntryEnergyAccum in tenths of a kilowatt-hour; one power source a PDU
    "liebert-pdu": Model(
        Figures((Gauge(f"{_LIEBERT_PS}.65.{{pdu}}.1", 1.0),), (Gauge(f"{_LIEBERT_PS}.50.{{pdu}}.1", KWH_TENTH_J),))
    ),
    # upsOutputPower of each line, watts (RFC 1628, 4.4)
    "ups-mib": Model(Figures((Gauge("1.3.6.1.2.1.33.1.4.4.1.4.{line}", 1.0),)), by_line=True),
}


def figures(model: ModelName, *, pdu: int, lines: tuple[int, ...], outlets: tuple[int, ...]) -> Figures:
    """Return what to ask a *model* for: the sum of its *outlets* where any are named, of its *lines*, or its whole."""
    known = MODELS[model]
    wanted = known.outlet if outlets and known.outlet is not None else known.whole
    places = [{"pdu": pdu, "line": line, "outlet": outlet} for line in lines or (0,) for outlet in outlets or (0,)]
    return Figures(
        tuple(gauge.at(**place) for place in places for gauge in wanted.power),
        tuple(gauge.at(**place) for place in places for gauge in wanted.energy),
    )


def total(gauges: tuple[Gauge, ...], objects: Mapping[str, int]) -> float | None:
    """Return the sum of *gauges* in watts or joules; None where one of them is absent: a part would pass for all."""
    parts = [gauge.of(objects) for gauge in gauges]
    present = [part for part in parts if part is not None]
    return sum(present) if parts and len(present) == len(parts) else None

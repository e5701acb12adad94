"""
Facility meters by Modbus TCP: the registers that the settings name, in the units that they name.

A register that holds the pattern for "not implemented" is absent, not 65 535 W, and a meter that does not answer is
one trouble beside the others' figures. Energy is the meter's own register as it stands.
"""

import asyncio
import math
import struct
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec

from collectors.sources._meters import JOULES, WATTS, Answer, EnergyUnit, Meters, PowerUnit, need, refuse_twins
from pipeline.messages.telemetry import Covers, MeterSample
from pipeline.settings import Positive, Section

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient

Name = Annotated[str, msgspec.Meta(min_length=1)]
Address = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Kind = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]

FORMATS: dict[Kind, str] = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
LOOP_TURNS = 3
"""Turns of the event loop in which it hears of a connection closed while it stood still: one to read the end of the
stream, one to tell the transport, one to tell the client."""
REFUSALS = {
    1: "the device does not know the request; is table right?",
    2: "the device has no such register",
    3: "the device refuses so many registers at once",
    4: "the device failed",
    6: "the device is busy",
    10: "the gateway has no path; is unit_id right?",
    11: "the gateway's device does not answer; is unit_id right?",
}
"""Exception codes: MODBUS Application Protocol Specification V1.1b3, section 7."""


class Register(Section, frozen=True, kw_only=True):
    """Where a figure is, and what its digits mean."""

    register: Address
    """The address on the wire, from 0: what manuals call 40001 is holding register 0."""
    type: Kind
    words: Literal["big", "little"] = "big"
    """Which end of a longer number comes first; "big" is the high one. Within a register the high byte always does."""
    table: Literal["holding", "input"] = "holding"
    scale: float = 1.0
    """Units a count; negative where the meter counts consumption as negative."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a scale of 0, which would make no watts of any."""
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every reading 0; leave scale out for 1")


class PowerRegister(Register, frozen=True, kw_only=True):
    """``power`` of a meter."""

    unit: PowerUnit


class EnergyRegister(Register, frozen=True, kw_only=True):
    """``energy`` of a meter: a counter."""

    unit: EnergyUnit


class Meter(Section, frozen=True, kw_only=True):
    """``[[source.modbus.meter]]``."""

    meter: Name
    host: Name
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 502
    unit_id: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    covers: Literal["facility", "host", "rack"]
    power: PowerRegister
    energy: EnergyRegister | None = None


class Settings(Section, frozen=True, kw_only=True):
    """``[source.modbus]``."""

    meter: tuple[Meter, ...] = ()
    period_s: Positive = 1.0
    timeout_s: Positive = 1.0
    """For connecting to one meter and reading all of its registers."""

    def __post_init__(self) -> None:
        """Raise `ValueError` where two meters share a name."""
        refuse_twins(meter.meter for meter in self.meter)


def connect(settings: Settings) -> Meters:
    """Return the source; raise `ConfigError` where pymodbus is missing."""
    need("pymodbus", "modbus")
    return Meters((Line(meter, settings.timeout_s) for meter in settings.meter), settings.period_s)


def number(registers: Sequence[int], where: Register) -> float | None:
    """
    Return what *registers* say, scaled; None for a number that stands for "none".

    SunSpec Device Information Model Specification 1.0, "not implemented": 0x8000… of signed integers, all ones of
    unsigned ones, NaN. The largest signed integer (0x7FFF…), which other makes use so, is no reading either: a meter
    that shows it has run out of digits. Infinities alike.
    """
    layout = FORMATS[where.type]
    ordered = registers if where.words == "big" else registers[::-1]
    packed = struct.pack(f">{len(ordered)}H", *ordered)
    (count,) = struct.unpack(f">{layout}", packed)
    if isinstance(count, float):
        return count * where.scale if math.isfinite(count) else None
    bits = 8 * len(packed)
    signed = layout.islower()
    unavailable = {-(1 << bits - 1), (1 << bits - 1) - 1} if signed else {(1 << bits) - 1}
    return None if count in unavailable else count * where.scale


class Figure(NamedTuple):
    """One figure in watts or joules, or what kept it from us."""

    si: float | None = None
    trouble: str = ""


class LineError(Exception):
    """One meter did not answer as it should; the text says why."""


class Line:
    """The connection to one meter; opened by the first reading, and again by the first one after it was lost."""

    def __init__(self, meter: Meter, timeout_s: float) -> None:
        self._meter = meter
        self._timeout_s = timeout_s
        self._client: AsyncModbusTcpClient | None = None

    async def measure(self, now: datetime) -> Answer:
        """Return the meter's figures, or why there are none."""
        try:
            async with asyncio.timeout(self._timeout_s):
                power, energy = await self._read(await self._connected())
        except TimeoutError:
            self.close()  # the meter may have forgotten this connection without closing it
            return Answer(troubles=(f"{self._where}: no answer within {self._timeout_s:g} s",))
        except LineError as error:
            self.close()
            return Answer(troubles=(f"{self._where}: {error}",))
        troubles = tuple(f"{self._where}: {figure.trouble}" for figure in (power, energy) if figure.trouble)
        if power.si is None and energy.si is None:
            return Answer(troubles=troubles)
        sample = MeterSample(
            meter=self._meter.meter,
            covers=Covers(self._meter.covers),
            power_w=power.si,
            energy_j=energy.si,
            read_at=now,
        )
        return Answer(sample, troubles)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _where(self) -> str:
        return f"{self._meter.meter} ({self._meter.host}:{self._meter.port})"

    async def _connected(self) -> "AsyncModbusTcpClient":
        """Return the kept connection, or another one where the meter has closed it since the last reading."""
        from pymodbus.client import AsyncModbusTcpClient

        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        if self._client is None or not self._client.connected:
            self.close()
            patience_s = 2 * self._timeout_s  # longer than ours, which holds for all requests together
            self._client = AsyncModbusTcpClient(
                self._meter.host, port=self._meter.port, timeout=patience_s, retries=0, reconnect_delay=0
            )
            if not await self._client.connect():
                raise LineError("no connection; is it up, and are host and port right?")
        return self._client

    async def _read(self, client: "AsyncModbusTcpClient") -> "tuple[Figure, Figure]":
        power, energy = self._meter.power, self._meter.energy
        drawn = await self._figure(client, power, WATTS[power.unit], "power")
        if energy is None:
            return drawn, Figure()
        return drawn, await self._figure(client, energy, JOULES[energy.unit], "energy")

    async def _figure(self, client: "AsyncModbusTcpClient", where: Register, worth: float, name: str) -> "Figure":
        from pymodbus.exceptions import ModbusException

        ask = client.read_holding_registers if where.table == "holding" else client.read_input_registers
        count = struct.calcsize(FORMATS[where.type]) // 2
        try:
            reply = await ask(where.register, count=count, device_id=self._meter.unit_id)
        except ModbusException as error:
            raise LineError(f"the connection broke: {error}") from error
        place = f"{name}, {where.table} register {where.register}"
        if reply.isError():
            code = reply.exception_code
            return Figure(trouble=f"{place}: {REFUSALS.get(code, 'the device refuses')} (Modbus exception {code})")
        if len(reply.registers) != count:
            raise LineError(f"{place}: {len(reply.registers)} registers instead of {count}")
        units = number(reply.registers, where)
        if units is None:
            return Figure(trouble=f"{place}: the meter has no figure there now")
        return Figure(units * worth)

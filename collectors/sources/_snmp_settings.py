"""The table ``[[source.snmp.pdu]]``: one PDU or UPS, and what is wrong with it before it is asked."""

from typing import Annotated, Literal

import msgspec

from collectors.sources._meters import JOULES, WATTS, EnergyUnit, PowerUnit
from collectors.sources._pdus import MODELS, Figures, Gauge, ModelName, figures
from pipeline.settings import Positive, Section

Name = Annotated[str, msgspec.Meta(min_length=1)]
Oid = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)+$")]
Row = Annotated[int, msgspec.Meta(ge=1)]


class PowerSum(Section, frozen=True, kw_only=True):
    """``power`` of a PDU of model "oid": the sum of *oids* in *unit*, times *scale*."""

    oids: Annotated[tuple[Oid, ...], msgspec.Meta(min_length=1)]
    unit: PowerUnit
    scale: Positive = 1.0


class EnergySum(Section, frozen=True, kw_only=True):
    """``energy`` of a PDU of model "oid"."""

    oids: Annotated[tuple[Oid, ...], msgspec.Meta(min_length=1)]
    unit: EnergyUnit
    scale: Positive = 1.0


class Pdu(Section, frozen=True, kw_only=True):
    """``[[source.snmp.pdu]]``: one meter. Rows count from 1."""

    meter: Name
    host: Name
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 161
    model: ModelName
    pdu: Row = 1
    """Which PDU of a chain that shares this address."""
    lines: tuple[Row, ...] = ()
    """Inlets (raritan-pdu2) or output phases (ups-mib, tripplite-ats) to add up; such a model has no total."""
    outlets: tuple[Row, ...] = ()
    """Outlets to add up instead of the whole PDU: those that feed one host."""
    power: PowerSum | None = None
    energy: EnergySum | None = None
    covers: Literal["host", "rack"] = "rack"
    version: Literal["2c", "3"] = "2c"
    community_file: str = ""
    user: str = ""
    context: str = ""
    """SNMPv3 context name; empty on nearly every PDU."""
    auth_key_file: str = ""
    auth: Literal["MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"] = "SHA256"
    priv_key_file: str = ""
    """Empty: replies are authenticated, not encrypted."""
    priv: Literal["DES", "AES", "AES192", "AES256"] = "AES"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that contradict each other."""
        if self.version == "2c" and not self.community_file:
            raise ValueError(f"{self.meter}: version 2c needs community_file")
        if self.version == "3" and not (self.user and self.auth_key_file):
            raise ValueError(f"{self.meter}: version 3 needs user and auth_key_file")
        if (self.model == "oid") != (self.power is not None):
            raise ValueError(f"{self.meter}: power = {{oids, unit}} belongs to model oid, and to no other")
        if self.model != "oid":
            self._check_rows()

    def _check_rows(self) -> None:
        known = MODELS[self.model]
        if self.energy is not None:
            raise ValueError(f"{self.meter}: energy = {{oids, unit}} belongs to model oid, and to no other")
        if self.outlets and known.outlet is None:
            raise ValueError(f"{self.meter}: {self.model} has no power of single outlets")
        if known.by_line and bool(self.lines) == bool(self.outlets):
            raise ValueError(f"{self.meter}: {self.model} needs lines, the inlets or phases to add up, or outlets")
        if self.lines and not known.by_line:
            raise ValueError(f"{self.meter}: {self.model} has a total; leave lines out")
        if len(set(self.outlets)) < len(self.outlets) or len(set(self.lines)) < len(self.lines):
            raise ValueError(f"{self.meter}: a line or an outlet is named twice")

    @property
    def figures(self) -> Figures:
        """What to ask the device for."""
        if self.model != "oid":
            return figures(self.model, pdu=self.pdu, lines=self.lines, outlets=self.outlets)
        power, energy = self.power, self.energy
        return Figures(
            tuple(Gauge(oid, power.scale * WATTS[power.unit]) for oid in power.oids) if power else (),
            tuple(Gauge(oid, energy.scale * JOULES[energy.unit]) for oid in energy.oids) if energy else (),
        )

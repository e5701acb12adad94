"""What the sources that ask several meters over a network share: units, names, and one reading of many answers."""

import asyncio
import importlib.util
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from collectors import Reading, SourceError
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import MeterSample

PowerUnit = Literal["mW", "dW", "W", "kW", "MW"]
EnergyUnit = Literal["J", "kJ", "MJ", "Wh", "kWh", "MWh"]

WATTS: dict[PowerUnit, float] = {"mW": 1e-3, "dW": 0.1, "W": 1.0, "kW": 1e3, "MW": 1e6}
JOULES: dict[EnergyUnit, float] = {"J": 1.0, "kJ": 1e3, "MJ": 1e6, "Wh": 3.6e3, "kWh": 3.6e6, "MWh": 3.6e9}


class Answer(NamedTuple):
    """What one meter gave: a sample, troubles, or both where a part of it did not answer."""

    sample: MeterSample | None = None
    troubles: tuple[str, ...] = ()


class Device(Protocol):
    """One meter that is asked over a network."""

    async def measure(self, now: datetime) -> Answer:
        """Return its figures, or why there are none."""
        ...

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        ...


class Meters:
    """The meters of one source, asked all at once in an event loop of their own, which runs while they are read."""

    def __init__(self, devices: Iterable[Device], period_s: float) -> None:
        self.period_s = period_s
        self._devices = tuple(devices)
        self._loop: asyncio.Runner | None = None

    def read(self, now: datetime) -> Reading:
        """Ask all meters; raise `SourceError` if none of them measured anything."""
        if self._loop is None:
            self._loop = asyncio.Runner()
        return reading(self._loop.run(self._ask(now)))

    def close(self) -> None:
        """Close the connections; the next `read` opens others."""
        if self._loop is not None:
            self._loop.run(self._hang_up())
            self._loop.close()
            self._loop = None

    async def _ask(self, now: datetime) -> Iterable[Answer]:
        return await asyncio.gather(*(device.measure(now) for device in self._devices))

    async def _hang_up(self) -> None:
        for device in self._devices:
            device.close()


def reading(answers: Iterable[Answer]) -> Reading:
    """Return *answers* as one reading; raise `SourceError` where none of them measured anything."""
    given = tuple(answers)
    meters = tuple(answer.sample for answer in given if answer.sample is not None)
    troubles = tuple(trouble for answer in given for trouble in answer.troubles)
    if not meters:
        raise SourceError("; ".join(troubles) or "no meter is configured")
    return Reading(meters=meters, troubles=troubles)


def refuse_twins(names: Iterable[str]) -> None:
    """Raise `ValueError` where two meters share a name: their energies could not be told apart."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two meters are called {name!r}; give each a name of its own")
        seen.add(name)


def need(library: str, source: str) -> None:
    """Raise `ConfigError` where *library* is not installed; nothing is imported."""
    if importlib.util.find_spec(library) is None:
        raise ConfigError(f"source {source} needs {library}: install firmwatt[{source}]")

"""
How many requests a job's engines take at once. How an engine is told is a plug-in of its own: `collectors.admission`.

    [[lever.admission.endpoint]]
    job = "chat-70b"
    via = "http"
    options = { url = "http://127.0.0.1:9000/admission", token_file = "/etc/firmwatt/admission-token" }

Half the requests at once is not half the watts: the batch gets smaller, every request faster, and the others wait or
are turned away. Whoever leases this should look at the draw and at the time to the first token.
"""

import math
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from collectors.admission import Admission as Way
from collectors.admission import Admitted
from collectors.levers import FREE, Found, LeverError, Reading
from pipeline import plugins
from pipeline.errors import ConfigError, UnknownPluginError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import Section

WAYS = "collectors.admission"


class Endpoint(Section, frozen=True, kw_only=True):
    """``[[lever.admission.endpoint]]``: where one job's engines, or the gateway before them, are told."""

    job: str
    via: str
    """Plug-in name in `collectors.admission`."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """The plug-in's own keys."""

    def __post_init__(self) -> None:
        """Raise `ValueError` here, so that whoever reads the settings knows the line of it."""
        if not self.job:
            raise ValueError("give the `job` whose requests these are")
        self.settings()

    def settings(self) -> Any:
        """Return `options` as the plug-in declares them; raise `ValueError` for what it does not know."""
        try:
            kind = plugins.load(WAYS, self.via).Settings
        except UnknownPluginError as error:
            raise ValueError(str(error)) from error
        keys = kind.__struct_fields__
        if unknown := sorted(self.options.keys() - set(keys)):
            raise ValueError(f"via {self.via} has no option {unknown[0]!r}; there are {', '.join(keys)}")
        try:
            return msgspec.convert(self.options, kind)
        except msgspec.ValidationError as error:
            raise ValueError(f"options: {str(error).replace('at `$.', 'at `')}") from error


class Settings(Section, frozen=True, kw_only=True):
    """``[lever.admission]``."""

    least: Annotated[int, msgspec.Meta(ge=1)] = 1
    """No engine is told to take fewer requests at once."""
    endpoint: tuple[Endpoint, ...]


class _Asked(NamedTuple):
    """What was asked for last, and the limit that this is to the engine, which counts in whole requests or more."""

    level: float
    limit: float | None


def connect(settings: Settings) -> "Admission":
    """Return the lever; nothing is asked yet. Raise `ConfigError` for an endpoint that cannot work."""
    ways: dict[str, Way] = {}
    for endpoint in settings.endpoint:
        if endpoint.job in ways:
            raise ConfigError(f"two endpoints of job {endpoint.job!r}: name the gateway before its engines instead")
        try:
            ways[endpoint.job] = plugins.load(WAYS, endpoint.via).connect(endpoint.settings())
        except ConfigError as error:
            raise ConfigError(f"endpoint of job {endpoint.job!r}: {error}") from error
    return Admission(ways, settings.least)


class Admission:
    """The jobs whose engines can be told."""

    kind = Kind.ADMISSION

    patience_s = 20.0
    """The ways bound their own requests; a figure is written and read back."""

    def __init__(self, ways: dict[str, Way], least: int) -> None:
        self._ways = ways
        self._least = least
        self._asked: dict[str, _Asked] = {}
        self._before: dict[str, float] = {}
        """What nothing held back, before we held back: what runs meanwhile says nothing about that."""

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:  # noqa: ARG002 - nothing is paced
        """Return those of *jobs* that have an endpoint; it is asked when they are read."""
        return tuple(Found(job) for job in self._ways if job in jobs)

    def read(self, subject: str) -> Reading:
        """Return how many requests a job's engines take; nothing is held back from their limit, or what runs, on."""
        now = self._way(subject).read()
        asked = self._asked.get(subject)
        held = FREE if now.limit is None else now.limit
        highest = self._before.get(subject) or _highest(now)
        return Reading(
            subject=subject,
            lowest=min(float(self._least), highest),
            highest=highest,
            requested=asked.level if asked and asked.limit == now.limit else held,
            enforced=now.limit,
            binding=None if now.limit is None or now.running is None else now.running >= now.limit,
        )

    def set(self, subject: str, level: float) -> None:
        """Let it take so many requests at once, a part of one counted as a whole; `FREE`: as many as come."""
        way = self._way(subject)
        if not level >= self._least:
            raise LeverError(f"{level:g} requests at once are fewer than {self._least}", Trouble.OUT_OF_RANGE)
        if level != FREE and subject not in self._before:
            self._before[subject] = _highest(way.read())
        self._asked.pop(subject, None)
        limit = way.limit(None if level == FREE else math.ceil(level))
        self._asked[subject] = _Asked(level, limit)
        if level >= self._before.get(subject, FREE):
            self._before.pop(subject, None)

    def close(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            way.close()

    def _way(self, job: str) -> Way:
        if job not in self._ways:
            raise LeverError("no endpoint is set for it", Trouble.NOT_SUPPORTED)
        return self._ways[job]


def _highest(now: Admitted) -> float:
    """Return the requests at once from which on nothing is held back: the limit, else what runs without one."""
    if now.limit is not None:
        return max(1.0, now.limit)
    if now.running is None:
        text = "it tells neither a limit nor how many requests run: there is nothing to take a share of"
        raise LeverError(text, Trouble.NOT_SUPPORTED)
    return max(1.0, now.running)

"""
Which GPU works for whom.

A mapping is one file here; the file name is its name. It has a settings struct and a function:

    class Settings(Section, frozen=True, kw_only=True): ...      # the table [mapping.NAME] of the settings file
    def connect(settings: Settings) -> Mapper: ...
"""

from collections import abc
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from collectors import Place
from pipeline.messages.telemetry import Tier, Workload
from pipeline.settings import Section


class Claim(Section, frozen=True, kw_only=True):
    """Who uses one GPU or one of its MIG instances, and how long that may wait."""

    job: str | None = None
    tenant: str | None = None
    """On whose behalf."""
    tier: Tier = Tier.T0
    workload: Workload = Workload.UNKNOWN
    served_model: str | None = None
    """The language model being served or trained."""


UNCLAIMED = Claim()


class Mapper(Protocol):
    """Everything a collector may ask of whoever places jobs on GPUs. Called by one thread at a time."""

    @property
    def period_s(self) -> float:
        """How often it is worth asking, seconds of the shared clock."""
        ...

    @property
    def troubles(self) -> tuple[str, ...]:
        """One line for each part that the last `claims` could not tell while it told the rest."""
        ...

    def claims(self, now: datetime, places: Sequence[Place]) -> abc.Mapping[str, Claim]:
        """
        Return the claims by GPU or MIG UUID; a GPU that nobody uses is not in it.

        Raise `SourceError` when it cannot be told; the claims known last then hold for three periods.
        """
        ...

"""This process's NVML is the stand-in, compiled once; every test gets a fresh host of it."""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.commands import NOON
from doubles.gpu_host import eventually
from doubles.nvml import nvml_double

from collectors import Reading
from collectors.nvml import Session
from collectors.sources import nvml
from pipeline.messages.telemetry import GpuSample

STARTED_S = 1_000_000
"""What the model's clock shows at noon, seconds since 1970."""


@functools.cache
def folder() -> Path | None:
    """Return the folder of the compiled stand-in, None without a C compiler."""
    made = Path(tempfile.mkdtemp(prefix="firmwatt-nvml-"))
    return made if nvml_double.attach(made) else None


def fresh(gpus: int = 8, profile: str | nvml_double.Profile = "h100") -> nvml_double.State:
    """Return a new host, its model's clock at `STARTED_S`; skip the test where there is no C compiler."""
    where = folder()
    if where is None:
        pytest.skip("the NVML stand-in needs a C compiler (cc)")
    state = nvml_double.State.create(where / "gpus", gpus=gpus, profile=profile)
    state.set_time(STARTED_S)
    return state


@dataclass(frozen=True)
class Measured:
    """The NVML source on a host of the stand-in."""

    host: nvml_double.State
    source: nvml.Nvml

    def reading(self, seconds: float = 0) -> Reading:
        """Read at *seconds* past noon, by the shared clock and by the model's."""
        self.host.set_time(STARTED_S + seconds)
        return self.source.read(NOON + timedelta(seconds=seconds))

    def gpus(self, seconds: float = 0) -> tuple[GpuSample, ...]:
        """Return the samples of `reading`."""
        return self.reading(seconds).gpus


@contextmanager
def measured(host: nvml_double.State, settings: nvml.Settings | None = None, **session: Path) -> Iterator[Measured]:
    """
    Yield the source on *host*, closed afterwards, by which time what hangs is let go. *session* as `Session` takes it.

    Without *settings*, nobody listens for XIDs: closing then takes no time. A busy machine has a second to answer.
    """
    source = nvml.Nvml(settings or nvml.Settings(xids=False, timeout_s=1), Session(**session))
    try:
        yield Measured(host, source)
    finally:
        host.mend()
        eventually(lambda: not source.hanging or None, "no thread of this test is in the library")
        source.close()

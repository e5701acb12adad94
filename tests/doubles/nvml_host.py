"""This process's NVML is the stand-in, compiled once; every test gets a fresh host of it."""

import functools
import tempfile
from pathlib import Path

import pytest
from doubles.nvml import nvml_double


@functools.cache
def folder() -> Path | None:
    """Return the folder of the compiled stand-in, None without a C compiler."""
    made = Path(tempfile.mkdtemp(prefix="firmwatt-nvml-"))
    return made if nvml_double.attach(made) else None


def fresh(gpus: int = 8, profile: str = "h100") -> nvml_double.State:
    """Return a new host, its model's clock at 1 000 000 s; skip the test where there is no C compiler."""
    where = folder()
    if where is None:
        pytest.skip("the NVML stand-in needs a C compiler (cc)")
    state = nvml_double.State.create(where / "gpus", gpus=gpus, profile=profile)
    state.set_time(1_000_000)
    return state

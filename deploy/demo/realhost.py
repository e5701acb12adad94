"""
The host whose collector and actuator are the real ones, over a stand-in `libnvidia-ml.so.1`.

The stand-in is C under tests/, compiled where there is a compiler and found by nvidia-ml-py through the loader, like
NVIDIA's own. Without a compiler, or without the tests folder, the demo says so and runs with simulated hosts only.
"""

import asyncio
import importlib.util
import math
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import deploy
from deploy.demo.children import Children
from pipeline.clock import Clock

HOST = "nvml-001"
GPUS = 8
DOUBLE = Path(deploy.__file__).parents[1] / "tests" / "doubles" / "nvml" / "nvml_double.py"
#: Uncapped draw of the stand-in's GPUs, watts: an H100 under batch inference
#: (Llama 3.1 8B at batch 32 to 256 draws 560 to 690 W: The ML.ENERGY Benchmark V3, Apache-2.0).
MEAN_W, SWING_W = 610.0, 40.0


@dataclass(frozen=True)
class RealHost:
    """A compiled stand-in and its state, ready for the two processes."""

    environment: dict[str, str]
    state: Any
    uuids: tuple[str, ...]


def _load_double() -> ModuleType | None:
    if not DOUBLE.is_file():
        return None
    specification = importlib.util.spec_from_file_location("nvml_double", DOUBLE)
    if specification is None or specification.loader is None:
        return None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def possible() -> bool:
    """Tell whether this machine can have such a host: the stand-in's source and a compiler for it."""
    return DOUBLE.is_file() and shutil.which("cc") is not None


def prepare(folder: Path) -> RealHost | str:
    """Compile the stand-in into *folder*; return it, or the sentence that says why there is none."""
    double = _load_double()
    if double is None:
        return "no host with the real collector: the NVML stand-in lives in tests/, which this installation lacks"
    library = double.compile(folder)
    if library is None:
        return "no host with the real collector: the NVML stand-in needs a C compiler (cc)"
    state = double.State.create(folder / "nvml.state", gpus=GPUS, profile="h100")
    for index in range(GPUS):
        state.set_demand_w(index, MEAN_W)
    return RealHost(double.environment(folder, state), state, tuple(state.uuid(index) for index in range(GPUS)))


def mapping(uuids: tuple[str, ...]) -> str:
    """Return the mapping file: all GPUs of the host belong to one batch inference job. Pure."""
    lines = []
    for uuid in uuids:
        lines += [f'["{uuid}"]', 'job = "batch-nvml"', 'tenant = "demo"', 'tier = "T2"', 'workload = "inference"', ""]
    return "\n".join(lines)


def demand_w(index: int, at: datetime) -> float:
    """Return the uncapped draw of GPU *index* at *at*: a slow swing, each GPU in its own phase. Pure."""
    return MEAN_W + SWING_W * math.sin(at.timestamp() / 20.0 + index)


async def breathe(host: RealHost, clock: Clock) -> None:
    """Let the stand-in's demand swing, until cancelled."""
    while True:
        now = clock.now()
        for index in range(GPUS):
            host.state.set_demand_w(index, demand_w(index, now))
        await asyncio.sleep(0.25)


def start(children: Children, host: RealHost, config: Path, clock: Clock) -> tuple[str, str]:
    """Start the real collector and the real actuator over the stand-in, which lives by *clock*; return their names."""
    host.state.run_clock(clock.origin.timestamp(), clock.started, clock.speed)
    children.start("collect", "collect", "run", "--config", str(config), environment=host.environment)
    children.start("actuate", "actuate", "--config", str(config), environment=host.environment)
    return "collect", "actuate"

"""
Drive the AMD SMI stand-in of `amd_smi.c`: compile it, fill a host with GPUs, move their figures, break them.

    library = amd_double.compile_into(folder)              # folder/lib/libamd_smi.so; None without a C compiler
    state = amd_double.State.create(folder / "gpus", "mi300x", "mi300x")
    subprocess.run([...], env=os.environ | amd_double.environment(folder, state))
    state.gpu(0).current_w = 717

The amdsmi wheel binds every symbol of the library when it is imported, and so one library a process: those that
`amd_smi.c` does not define are generated, and answer that they are not supported. `fresh` does all of it for the
process that calls it.
"""

import ctypes
import functools
import importlib.util
import mmap
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

import pytest

SOURCE = Path(__file__).with_name("amd_smi.c")
STATE_VARIABLE = "FAKE_AMD_SMI_STATE"

MAGIC, MAX_GPUS = 0x414D4431, 16
NOT_MEASURED = 0xFFFF_FFFF
RESOLUTION_UJ = 15.259
"""Microjoules a count of MI200's and MI300's energy counter (amdsmi, docs of amdsmi_get_energy_count)."""

NOT_SUPPORTED, IO, NOT_FOUND, DRIVER_NOT_LOADED = 2, 12, 31, 34


class Profile(NamedTuple):
    """What one GPU looks like to AMD SMI. Watts; microwatts are made of them."""

    model: str
    current_w: int = NOT_MEASURED
    average_w: int = NOT_MEASURED
    max_w: int = 0
    energy_counts: int = 0


PROFILES = {
    # ROCm/pytorch#1457: MI300 has current power (717 W) and no average, MI200 average power (94 W) and no current
    "mi300x": Profile("AMD Instinct MI300X", current_w=717, max_w=750, energy_counts=65_536_000_000),
    "mi210": Profile("AMD Instinct MI210", average_w=94, max_w=300, energy_counts=65_536_000),
    # ml-energy/zeus#203: powers of eight dies on four cards, [89, 0, 93, 0, 88, 0, 88, 0] W
    "mi250-first": Profile("AMD Instinct MI250X/MI250", average_w=89, max_w=560, energy_counts=65_536_000),
    "mi250-second": Profile("AMD Instinct MI250X/MI250", average_w=0),
}


class Gpu(ctypes.Structure):
    """`gpu_t`: one GPU's memory, live."""

    _fields_ = (
        ("uuid", ctypes.c_char * 64),
        ("model", ctypes.c_char * 64),
        ("code", ctypes.c_uint32),
        ("current_w", ctypes.c_uint32),
        ("average_w", ctypes.c_uint32),
        ("resolution_uj", ctypes.c_float),
        ("energy_counts", ctypes.c_uint64),
        ("cap_uw", ctypes.c_uint64),
        ("min_uw", ctypes.c_uint64),
        ("max_uw", ctypes.c_uint64),
        ("gfx_percent", ctypes.c_uint32),
        ("gfx_mhz", ctypes.c_uint32),
        ("memory_mhz", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("hotspot_c", ctypes.c_int64),
        ("vram_used_b", ctypes.c_uint64),
    )


class _Layout(ctypes.Structure):
    """`state_t`."""

    _fields_ = (
        ("magic", ctypes.c_uint32),
        ("gpu_count", ctypes.c_uint32),
        ("init_code", ctypes.c_uint32),
        ("inits", ctypes.c_uint32),
        ("gpus", Gpu * MAX_GPUS),
    )


class State:
    """The GPUs of one pretended host, in a file that all its processes map."""

    def __init__(self, path: Path) -> None:
        """Map the existing state file at *path*."""
        self.path = path
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Layout))
        self._layout = _Layout.from_buffer(self._memory)

    @classmethod
    def create(cls, path: Path, *profiles: str) -> Self:
        """Write a host with a GPU of each of *profiles*, its driver loaded; whoever has the file mapped finds it."""
        with path.open("ab") as file:
            file.truncate(ctypes.sizeof(_Layout))
        state = cls(path)
        layout = state._layout
        ctypes.memset(ctypes.addressof(layout), 0, ctypes.sizeof(layout))
        layout.gpu_count = len(profiles)
        for number, profile in enumerate(profiles):
            state._fill(number, PROFILES[profile])
        layout.magic = MAGIC
        return state

    def _fill(self, number: int, profile: Profile) -> None:
        gpu = self.gpu(number)
        gpu.uuid, gpu.model = f"{number:02x}ff74a1-0000-1000-8000-000000000000".encode(), profile.model.encode()
        gpu.current_w, gpu.average_w = profile.current_w, profile.average_w
        gpu.resolution_uj, gpu.energy_counts = RESOLUTION_UJ, profile.energy_counts
        gpu.cap_uw = gpu.max_uw = profile.max_w * 1_000_000
        gpu.gfx_percent, gpu.gfx_mhz, gpu.memory_mhz, gpu.hotspot_c = 99, 2100, 1300, 71
        gpu.vram_used_b = 64 << 30

    def gpu(self, number: int) -> Gpu:
        """Return GPU *number*, live: what is assigned to its fields holds at once."""
        gpu: Gpu = self._layout.gpus[number]
        return gpu

    def uuid(self, number: int) -> str:
        """Return the UUID of GPU *number*."""
        uuid: bytes = self.gpu(number).uuid
        return uuid.decode()

    def refuse_init(self, code: int) -> None:
        """Answer amdsmi_init with *code*; 0: let it in."""
        self._layout.init_code = code

    @property
    def inits(self) -> int:
        """How often the library has been opened on this host."""
        inits: int = self._layout.inits
        return inits


def symbols() -> frozenset[str]:
    """Return the functions that the installed amdsmi wheel binds when it is imported, read from its text."""
    wheel = importlib.util.find_spec("amdsmi")
    if wheel is None or wheel.origin is None:
        pytest.skip("the amdsmi wheel is not installed")
    text = Path(wheel.origin).with_name("amdsmi_wrapper.py").read_text(encoding="utf-8")
    return frozenset(re.findall(r"_libraries\['libamd_smi\.so'\]\.(\w+)", text))


def compile_into(folder: Path, without: str = "") -> Path | None:
    """
    Make ``lib/libamd_smi.so`` in *folder*, which can then be a ROCM_PATH; None where there is no C compiler.

    *without* names a symbol to leave out, as a library of another ROCm release does.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    defined = frozenset(re.findall(r"^status_t (amdsmi_\w+)\(", SOURCE.read_text(encoding="utf-8"), re.MULTILINE))
    stubs = folder / "stubs.c"
    stubs.write_text(
        "".join(f"unsigned {name}(void) {{ return 2; }}\n" for name in sorted(symbols() - defined - {without})),
        encoding="utf-8",
    )
    library = folder / "lib" / "libamd_smi.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    options = ["-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE"]
    subprocess.run([compiler, *options, "-o", str(library), str(SOURCE), str(stubs)], check=True)
    return library


def environment(folder: Path, state: State | None = None) -> dict[str, str]:
    """Return what a process needs to find the library in *folder* as its ROCm, and *state* as its GPUs."""
    return {"ROCM_HOME": str(folder), "ROCM_PATH": str(folder), STATE_VARIABLE: str(state.path) if state else ""}


@functools.cache
def _attached() -> Path | None:
    """Bind this process's amdsmi to the stand-in; return the folder of its state, None without a C compiler."""
    folder = Path(tempfile.mkdtemp(prefix="firmwatt-amd-"))
    if compile_into(folder) is None:
        return None
    before = os.environ.get("ROCM_HOME")
    os.environ["ROCM_HOME"] = str(folder)
    try:
        importlib.import_module("amdsmi")
    finally:
        if before is None:
            del os.environ["ROCM_HOME"]
        else:
            os.environ["ROCM_HOME"] = before
    os.environ[STATE_VARIABLE] = str(folder / "gpus")  # the library looks it up whenever it is opened
    return folder


def fresh(*profiles: str) -> State:
    """Return a new host of *profiles* for this process; skip the test where there is no C compiler."""
    folder = _attached()
    if folder is None:
        pytest.skip("the AMD SMI stand-in needs a C compiler (cc)")
    return State.create(folder / "gpus", *profiles)

"""
Drive the NVML stand-in of `nvml.c`: compile it, make a host full of GPUs, move their demand, break them.

    library = nvml_double.compile(folder)                  # None where there is no C compiler
    state = nvml_double.State.create(folder / "gpus", gpus=8, profile="h100")
    subprocess.run([...], env=os.environ | nvml_double.environment(folder, state))
    state.set_demand_w(0, 450.0)

Everything a `State` changes is seen at once by every process that maps the same file.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

SOURCE = Path(__file__).with_name("nvml.c")
SONAME = "libnvidia-ml.so.1"

MAGIC, MAX_GPUS, MAX_RULES, MAX_UNSUPPORTED = 0x4C4D564E, 16, 16, 8

NO_PERMISSION, NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST = 4, 3, 9, 15
POWER_AVERAGE, POWER_INSTANT, ENERGY = 185, 186, 83


class Profile(NamedTuple):
    """What one GPU model looks like to NVML. Watts, milliseconds."""

    name: str
    min_w: float
    max_w: float
    idle_w: float
    demand_w: float
    """Draw under full load if nothing limits it."""
    temperature_c: int
    lag_ms: int = 25
    """V100 stepped down by two 20 ms sensor updates in GridPilot's E2 telemetry; no figure for newer cards is known."""
    scope_mask: int = 1
    """Bit n: NVML power scope n answers (0 GPU, 1 module)."""
    unsupported: tuple[int, ...] = ()


PROFILES = {
    # nvidia_smi_captures/exporter_captures/linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01.txt, idle and under gpu-burn
    "h100": Profile("NVIDIA H100 80GB HBM3", 200.0, 700.0, 69.62, 629.45, 59),
    # nvidia_smi_captures/qx_hardware/qx-a100.xml: average draw N/A; idle, so demand is assumed: 97 % of the limit
    "a100": Profile("NVIDIA A100-SXM4-40GB", 100.0, 400.0, 49.68, 388.0, 33, unsupported=(POWER_AVERAGE,)),
    # Some GH200: scope 0 fails, only MODULE answers (Zeus probes for it); limits as GB300's module, demand assumed
    "module-only": Profile("NVIDIA GH200 480GB", 500.0, 900.0, 100.0, 800.0, 50, scope_mask=2),
}


class _Rule(ctypes.Structure):
    """`rule_t`."""

    _fields_ = (
        ("function", ctypes.c_char * 48),
        ("gpu", ctypes.c_int32),
        ("code", ctypes.c_int32),
        ("after", ctypes.c_uint32),
        ("hang_ms", ctypes.c_uint32),
        ("hits", ctypes.c_uint64),
    )


class Gpu(ctypes.Structure):
    """`gpu_t`: one GPU's memory, live."""

    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("bus_id", ctypes.c_char * 32),
        ("present", ctypes.c_uint32),
        ("mig", ctypes.c_uint32),
        ("min_mw", ctypes.c_uint32),
        ("max_mw", ctypes.c_uint32),
        ("default_mw", ctypes.c_uint32),
        ("requested_mw", ctypes.c_uint32),
        ("bmc_mw", ctypes.c_uint32),
        ("idle_mw", ctypes.c_uint32),
        ("demand_mw", ctypes.c_uint32),
        ("lag_ms", ctypes.c_uint32),
        ("temperature_c", ctypes.c_uint32),
        ("scope_mask", ctypes.c_uint32),
        ("reported_mw", ctypes.c_uint32),
        ("unsupported", ctypes.c_uint32 * MAX_UNSUPPORTED),
        ("field_code", ctypes.c_uint32),
        ("energy_uj", ctypes.c_uint64),
        ("stepped_ns", ctypes.c_int64),
        ("instant_mw", ctypes.c_double),
        ("average_mw", ctypes.c_double),
        ("set_calls", ctypes.c_uint64),
    )

    @property
    def requested_w(self) -> float:
        """The limit software asked for last."""
        return float(self.requested_mw) / 1000

    @property
    def instant_w(self) -> float:
        """Draw when the model last moved, which it does on every reading."""
        return float(self.instant_mw) / 1000


class _Layout(ctypes.Structure):
    """`state_t`."""

    _fields_ = (
        ("magic", ctypes.c_uint32),
        ("gpu_count", ctypes.c_uint32),
        ("driver_loaded", ctypes.c_uint32),
        ("root", ctypes.c_uint32),
        ("driver_version", ctypes.c_char * 80),
        ("generation", ctypes.c_uint32),
        ("rule_count", ctypes.c_uint32),
        ("now_ns", ctypes.c_int64),
        ("rules", _Rule * MAX_RULES),
        ("gpus", Gpu * MAX_GPUS),
    )


def milliwatts(power_w: float) -> int:
    """Return *power_w* in NVML's unit, to the nearest milliwatt."""
    return round(power_w * 1000)


class State:
    """The GPUs of one pretended host, in a file that all its processes map."""

    def __init__(self, path: Path) -> None:
        """Map the existing state file at *path*."""
        self.path = path
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Layout))
        self._layout = _Layout.from_buffer(self._memory)

    @classmethod
    def create(
        cls,
        path: Path,
        gpus: int = 8,
        profile: str = "h100",
        *,
        demand_w: float | None = None,
        driver_version: str = "590.48.01",
        uuid_prefix: str = "GPU-00000000-0000-0000-0000-",
    ) -> Self:
        """Write a host of *gpus* GPUs of one *profile*, driver loaded, allowed to set limits."""
        path.write_bytes(bytes(ctypes.sizeof(_Layout)))
        state = cls(path)
        layout = state._layout
        layout.gpu_count, layout.driver_loaded, layout.root = gpus, 1, 1
        layout.driver_version = driver_version.encode()
        for index in range(gpus):
            state._fill(index, PROFILES[profile], demand_w, f"{uuid_prefix}{index:012d}")
        layout.magic = MAGIC  # last: a library that looks earlier finds no driver
        return state

    def _fill(self, index: int, profile: Profile, demand_w: float | None, uuid: str) -> None:
        gpu = self.gpu(index)
        gpu.uuid, gpu.name, gpu.bus_id = uuid.encode(), profile.name.encode(), f"00000000:{index + 1:02X}:00.0".encode()
        gpu.present = 1
        gpu.min_mw, gpu.max_mw = milliwatts(profile.min_w), milliwatts(profile.max_w)
        gpu.default_mw = gpu.requested_mw = gpu.max_mw
        gpu.idle_mw = milliwatts(profile.idle_w)
        gpu.demand_mw = milliwatts(profile.demand_w if demand_w is None else demand_w)
        gpu.lag_ms, gpu.temperature_c, gpu.scope_mask = profile.lag_ms, profile.temperature_c, profile.scope_mask
        gpu.unsupported[: len(profile.unsupported)] = profile.unsupported

    def gpu(self, index: int) -> Gpu:
        """Return GPU *index*, live: what is assigned to its fields holds at once."""
        gpu: Gpu = self._layout.gpus[index]
        return gpu

    @property
    def gpus(self) -> list[Gpu]:
        """All GPUs, live."""
        return [self.gpu(index) for index in range(self._layout.gpu_count)]

    def uuid(self, gpu: int) -> str:
        """Return the UUID of GPU number *gpu*."""
        uuid: bytes = self.gpu(gpu).uuid
        return uuid.decode()

    def set_demand_w(self, gpu: int, demand_w: float) -> None:
        """Make *gpu* draw *demand_w* where nothing limits it."""
        self.gpu(gpu).demand_mw = milliwatts(demand_w)

    def set_bmc_cap_w(self, gpu: int, cap_w: float) -> None:
        """Cap *gpu* out of band, as a BMC does; 0 lifts it."""
        self.gpu(gpu).bmc_mw = milliwatts(cap_w)

    def set_reported_w(self, gpu: int, power_w: float) -> None:
        """Make the power fields of *gpu* say *power_w* whatever it draws; 0: the truth."""
        self.gpu(gpu).reported_mw = milliwatts(power_w)

    def set_energy_j(self, gpu: int, energy_j: float) -> None:
        """Set the energy counter of *gpu*, backwards too."""
        self.gpu(gpu).energy_uj = round(energy_j * 1e6)

    def lose(self, gpu: int) -> None:
        """Let *gpu* fall off the bus: every call on it answers GPU_IS_LOST."""
        self.gpu(gpu).present = 0

    def recover(self, gpu: int) -> None:
        """Bring *gpu* back after a reset: its energy counter starts again."""
        self.gpu(gpu).energy_uj = 0
        self.gpu(gpu).present = 1

    def reload_driver(self) -> None:
        """Reload the driver: handles are stale until NVML is initialised again, counters start again."""
        for gpu in self.gpus:
            gpu.energy_uj = 0
        self._layout.generation += 1

    def set_root(self, *, may_set: bool) -> None:
        """Grant or deny what setting a limit needs (CAP_SYS_ADMIN in practice)."""
        self._layout.root = may_set

    def set_driver(self, *, loaded: bool) -> None:
        """Load or unload the driver, as `nvmlInit` sees it."""
        self._layout.driver_loaded = loaded

    def set_count(self, gpus: int) -> None:
        """Show only the first *gpus* GPUs; 0 is a broken device mount."""
        self._layout.gpu_count = gpus

    def set_time(self, unix_s: float) -> None:
        """Stop the model's clock at *unix_s*, so that tests need not wait; 0 runs it with the machine's again."""
        self._layout.now_ns = round(unix_s * 1e9)

    def fail(self, function: str, code: int, *, gpu: int = -1, after: int = 0, hang_ms: int = 0) -> None:
        """
        Make *function* (no version suffix; ``*`` = any) answer *code* on one GPU, or on all (-1).

        It lets *after* calls pass first and hangs for *hang_ms*; a negative *code* only hangs. The first rule wins.
        """
        rule = self._layout.rules[self._layout.rule_count]
        rule.function, rule.gpu, rule.code, rule.after, rule.hang_ms = function.encode(), gpu, code, after, hang_ms
        self._layout.rule_count += 1

    def mend(self) -> None:
        """Forget all failure rules."""
        ctypes.memset(self._layout.rules, 0, ctypes.sizeof(self._layout.rules))
        self._layout.rule_count = 0


def compile(folder: Path, without: Iterable[str] = ()) -> Path | None:  # noqa: A001 - read as nvml_double.compile
    """
    Compile the stand-in into *folder* and return the library's path, None where there is no C compiler.

    Symbols in *without* are left out, as an older driver lacks them.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    library, exports = folder / SONAME, folder / "exports.map"
    hidden = "".join(f" {symbol};" for symbol in without)
    exports.write_text(f"{{ global: nvml*;{f' local:{hidden}' if hidden else ''} }};\n", encoding="utf-8")
    flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    links = [f"-Wl,-soname,{SONAME}", f"-Wl,--version-script,{exports}", "-lm", "-lpthread"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE), *links], check=True)
    return library


def environment(folder: Path, state: State) -> dict[str, str]:
    """Return what a process needs in its environment so that NVML is the library in *folder*, on *state*'s GPUs."""
    search = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": os.pathsep.join(search), "FAKE_NVML_STATE": str(state.path)}


def attach(folder: Path) -> bool:
    """
    Make this very process's `pynvml` use the stand-in on the state file ``folder/gpus``; False without a compiler.

    nvidia-ml-py keeps one library per process, so this holds until the process ends; `State.create` on the same path
    gives a test a fresh host.
    """
    import pynvml

    library = compile(folder)
    if library is None:
        return False
    os.environ["FAKE_NVML_STATE"] = str(folder / "gpus")
    pynvml.nvmlLib = ctypes.CDLL(str(library))
    pynvml._nvmlGetFunctionPointer_cache.clear()
    return True

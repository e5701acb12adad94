"""
Drive the NVML stand-in of `nvml.c` and its headers: make a host full of GPUs, move their demand, break them.

    library = nvml_double.compile(folder)                  # None where there is no C compiler
    state = nvml_double.State.create(folder / "gpus", gpus=8, profile="h100")
    subprocess.run([...], env=os.environ | nvml_double.environment(folder, state))
    state.set_demand_w(0, 450.0)
    state.sets()                                           # who set what, by all processes, in order

Everything a `State` changes is seen at once by every process that maps the same file.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

SOURCE = Path(__file__).with_name("nvml.c")
SONAME = "libnvidia-ml.so.1"

MAGIC, MAX_GPUS, MAX_RULES, MAX_UNSUPPORTED = 0x4C4D564E, 16, 16, 8
MAX_MIG, MAX_PIDS, MAX_XIDS, MAX_SETS, UUID_BYTES = 7, 16, 64, 256, 96

NO_PERMISSION, NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST = 4, 3, 9, 15
INVALID_ARGUMENT, UNKNOWN = 2, -1
POWER_AVERAGE, POWER_INSTANT, ENERGY, CAPPED = 185, 186, 83, 74
NEW_SLOWDOWNS, OLD_SLOWDOWNS = 269, 251
"""First of three field ids: as in nvidia-ml-py 13.615.71, as in nvml.h 12.9.40 and driver 580.65.06."""

HANGS, FOREVER_MS = -1, 0xFFFFFFFF
MIB = 1 << 20


class What(IntEnum):
    """What a setter changes, as in nvml_model.h."""

    LIMIT = 1
    CLOCKS = 2
    RESET_CLOCKS = 3
    PERSISTENCE = 4


class Set(NamedTuple):
    """One call of a setter, of any process, refused ones too."""

    number: int
    """From 1, in the order in which they took effect."""
    at_s: float
    """By the model's clock, seconds since 1970."""
    raw_ns: int
    """By the kernel's CLOCK_MONOTONIC_RAW, as `time.clock_gettime_ns` gives it."""
    gpu: int
    what: What
    value: float
    """As asked: watts of a limit, megahertz of a lock's upper bound, else the mode or 0."""
    lowest: float
    """The lock's lower bound, megahertz."""
    code: int
    """What it returned; `UNKNOWN`: its process was killed before it could."""
    pid: int


class Profile(NamedTuple):
    """What one GPU model looks like to NVML. Watts, milliseconds, megahertz, MiB."""

    name: str
    min_w: float
    max_w: float
    idle_w: float
    demand_w: float
    """Draw under full load if nothing limits it."""
    temperature_c: int
    sm_mhz: int
    """Under full load; at idle `sm_idle_mhz`."""
    sm_idle_mhz: int
    memory_mhz: int
    memory_total_mib: int
    memory_used_mib: int
    mig_max: int = 0
    """Instances it can be divided into; 0: it cannot be."""
    lag_ms: int = 25
    """V100 stepped down by two 20 ms sensor updates in GridPilot's E2 telemetry; no figure for newer cards is known."""
    scope_mask: int = 1
    """Bit n: NVML power scope n answers (0 GPU, 1 module)."""
    unsupported: tuple[int, ...] = ()
    capability: int = 90
    """CUDA's compute capability, times ten (developer.nvidia.com/cuda-gpus)."""
    module_w: tuple[float, float] = (0, 0)
    """The range of the CPU+GPU module's limits; 0: it tells none."""
    slowdown_field: int = NEW_SLOWDOWNS
    """0: its driver does not count slowdowns."""
    sm_lowest_mhz: int = 210
    """The lowest of the clocks that can be locked; the others are steps of 15 MHz up to `sm_mhz`."""
    lockable: bool = True
    """Clocks can be locked, as they can from Volta on."""


#: The figures are of the files named, all of them under nvidia_smi_captures. MIG counts: NVIDIA's MIG user guide.
PROFILES = {
    # exporter_captures/linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01.txt: idle, and under gpu-burn (average draw,
    # clocks, 59 C, 19818 MiB). Scope 2 (memory) answers there, too, with an average only; nothing here asks for it.
    "h100": Profile(
        "NVIDIA H100 80GB HBM3",
        200.0,
        700.0,
        69.62,
        629.45,
        59,
        1980,
        345,
        2619,
        81559,
        19818,
        mig_max=7,
        sm_lowest_mhz=345,
    ),
    # qx_hardware/qx-h100.xml: the first of eight, idle: 68.92 W instant, 68.57 W average, 29 C
    "h100-idle": Profile(
        "NVIDIA H100 80GB HBM3", 200.0, 700.0, 68.92, 68.92, 29, 1980, 345, 2619, 81559, 0, mig_max=7, sm_lowest_mhz=345
    ),
    # qx_hardware/qx-a100.xml: average draw N/A, no slowdown counters; idle, so demand is assumed: 97 % of the limit
    "a100": Profile(
        "NVIDIA A100-SXM4-40GB",
        100.0,
        400.0,
        49.68,
        388.0,
        33,
        1410,
        210,
        1215,
        40960,
        0,
        mig_max=7,
        unsupported=(POWER_AVERAGE,),
        capability=80,
        slowdown_field=0,
    ),
    # exporter_captures/linux-x86_64__nvidia-l40s__595.80.txt: two video encoders (110.01 W, 54 C, 1235 MiB);
    # qx_hardware/qx-l40s.xml: idle 66.16 W at 2040 MHz, MIG N/A
    "l40s": Profile("NVIDIA L40S", 100.0, 350.0, 66.16, 110.01, 54, 2520, 2040, 9001, 46068, 1235, capability=89),
    # qx_hardware/qx-t4.xml: average draw and MIG N/A; idle at 33.51 W and full clocks, so demand is assumed: the limit
    "t4": Profile(
        "Tesla T4",
        60.0,
        70.0,
        33.51,
        70.0,
        33,
        1590,
        1590,
        5000,
        15360,
        0,
        unsupported=(POWER_AVERAGE,),
        capability=75,
        sm_lowest_mhz=300,
    ),
    # Some GH200: scope 0 fails, only MODULE answers (Zeus probes for it); limits as GB300's module, demand and clocks
    # assumed
    "module-only": Profile(
        "NVIDIA GH200 480GB",
        500.0,
        900.0,
        100.0,
        800.0,
        50,
        1980,
        345,
        2619,
        97871,
        0,
        mig_max=7,
        scope_mask=2,
        module_w=(500.0, 900.0),
        sm_lowest_mhz=345,
    ),
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
        ("minor", ctypes.c_uint32),
        ("persistence", ctypes.c_uint32),
        ("sm_mhz", ctypes.c_uint32),
        ("sm_idle_mhz", ctypes.c_uint32),
        ("memory_mhz", ctypes.c_uint32),
        ("locked_min_mhz", ctypes.c_uint32),
        ("locked_max_mhz", ctypes.c_uint32),
        ("sw_thermal", ctypes.c_uint32),
        ("hw_thermal", ctypes.c_uint32),
        ("brake", ctypes.c_uint32),
        ("registered", ctypes.c_uint32),
        ("capped_ns", ctypes.c_uint64),
        ("sw_thermal_ns", ctypes.c_uint64),
        ("hw_thermal_ns", ctypes.c_uint64),
        ("brake_ns", ctypes.c_uint64),
        ("slowdown_field", ctypes.c_uint32),
        ("smoothing_field", ctypes.c_uint32),
        ("frozen_us", ctypes.c_int64),
        ("memory_total_b", ctypes.c_uint64),
        ("memory_used_b", ctypes.c_uint64),
        ("mig_max", ctypes.c_uint32),
        ("mig_count", ctypes.c_uint32),
        ("mig_uuids", ctypes.c_char * UUID_BYTES * MAX_MIG),
        ("pid_count", ctypes.c_uint32),
        ("capability", ctypes.c_uint32),
        ("pids", ctypes.c_uint32 * MAX_PIDS),
        ("module_min_mw", ctypes.c_uint32),
        ("module_max_mw", ctypes.c_uint32),
        ("lockable", ctypes.c_uint32),
        ("set_ms", ctypes.c_uint32),
        ("sm_lowest_mhz", ctypes.c_uint32),
        ("spare", ctypes.c_uint32),
    )

    @property
    def requested_w(self) -> float:
        """The limit software asked for last."""
        return float(self.requested_mw) / 1000

    @property
    def instant_w(self) -> float:
        """Draw when the model last moved, which it does on every reading."""
        return float(self.instant_mw) / 1000


class _Xid(ctypes.Structure):
    """`xid_t`."""

    _fields_ = (("gpu", ctypes.c_uint32), ("xid", ctypes.c_uint32))


class _Set(ctypes.Structure):
    """`set_t`."""

    _fields_ = (
        ("number", ctypes.c_uint64),
        ("at_ns", ctypes.c_int64),
        ("raw_ns", ctypes.c_int64),
        ("gpu", ctypes.c_uint32),
        ("what", ctypes.c_uint32),
        ("value", ctypes.c_uint32),
        ("lowest", ctypes.c_uint32),
        ("code", ctypes.c_int32),
        ("pid", ctypes.c_int32),
    )


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
        ("speed", ctypes.c_double),
        ("origin_ns", ctypes.c_int64),
        ("started_ns", ctypes.c_int64),
        ("born", ctypes.c_uint64),
        ("mended", ctypes.c_uint32),
        ("users", ctypes.c_uint32),
        ("xid_count", ctypes.c_uint32),
        ("spare", ctypes.c_uint32),
        ("xids", _Xid * MAX_XIDS),
        ("rules", _Rule * MAX_RULES),
        ("gpus", Gpu * MAX_GPUS),
        ("set_count", ctypes.c_uint64),
        ("sets", _Set * MAX_SETS),
    )


for _structure, _bytes in ((_Rule, 72), (Gpu, 1240), (_Set, 48), (_Layout, 33_960)):
    assert ctypes.sizeof(_structure) == _bytes, _structure


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
        profile: str | Profile = "h100",
        *,
        demand_w: float | None = None,
        driver_version: str = "590.48.01",
        uuid_prefix: str = "GPU-00000000-0000-0000-0000-",
    ) -> Self:
        """
        Write a host of *gpus* GPUs of one *profile*, driver loaded, allowed to set limits.

        A file that is there is filled anew in place: whoever has it mapped finds another host, and NVML closed.
        """
        with path.open("ab") as file:
            file.truncate(ctypes.sizeof(_Layout))
        state = cls(path)
        layout = state._layout
        ctypes.memset(ctypes.addressof(layout), 0, ctypes.sizeof(layout))
        layout.born = time.monotonic_ns()
        layout.gpu_count, layout.driver_loaded, layout.root = gpus, 1, 1
        layout.driver_version = driver_version.encode()
        card = PROFILES[profile] if isinstance(profile, str) else profile
        for index in range(gpus):
            state._fill(index, card, demand_w, f"{uuid_prefix}{index:012d}")
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
        gpu.minor, gpu.persistence, gpu.mig_max = index, 1, profile.mig_max
        gpu.sm_mhz, gpu.sm_idle_mhz, gpu.memory_mhz = profile.sm_mhz, profile.sm_idle_mhz, profile.memory_mhz
        gpu.memory_total_b, gpu.memory_used_b = profile.memory_total_mib * MIB, profile.memory_used_mib * MIB
        gpu.slowdown_field, gpu.capability = profile.slowdown_field, profile.capability
        gpu.module_min_mw, gpu.module_max_mw = map(milliwatts, profile.module_w)
        gpu.lockable, gpu.sm_lowest_mhz = profile.lockable, profile.sm_lowest_mhz

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

    @property
    def users(self) -> int:
        """How often NVML has been opened and not closed again, by all processes; one that was killed still counts."""
        users: int = self._layout.users
        return users

    def divide(self, gpu: int, *uuids: str) -> None:
        """Put *gpu* into MIG mode with an instance for each of *uuids*; an empty one is a hole in the numbering."""
        divided = self.gpu(gpu)
        divided.mig, divided.mig_count = 1, len(uuids)
        for index, uuid in enumerate(uuids):
            divided.mig_uuids[index].value = uuid.encode()

    def push_xid(self, gpu: int, xid: int) -> None:
        """Let the driver report *xid* on *gpu* to everyone who waits for events."""
        slot = self._layout.xids[self._layout.xid_count % MAX_XIDS]
        slot.gpu, slot.xid = gpu, xid
        self._layout.xid_count += 1

    def freeze_readings(self, gpu: int, unix_s: float) -> None:
        """Make every field of *gpu* say that it was read at *unix_s*; 0: when it was."""
        self.gpu(gpu).frozen_us = round(unix_s * 1e6)

    def run_processes(self, gpu: int, *pids: int) -> None:
        """Let the processes *pids* compute on *gpu*."""
        self.gpu(gpu).pid_count, self.gpu(gpu).pids[: len(pids)] = len(pids), pids

    def lose(self, gpu: int) -> None:
        """Let *gpu* fall off the bus: every call on it answers GPU_IS_LOST."""
        self.gpu(gpu).present = 0

    def recover(self, gpu: int) -> None:
        """Bring *gpu* back after a reset: its energy counter starts again with the next reading."""
        self.reset_gpu(gpu)
        self.gpu(gpu).present = 1

    def reset_gpu(self, gpu: int) -> None:
        """Reset *gpu* alone: no limit, no lock, counters from zero; handles stay good."""
        self._forget(gpu)
        self.gpu(gpu).stepped_ns = 0

    def reload_driver(self) -> None:
        """
        Reload the driver: handles are stale until NVML is initialised again, and nothing that was set is kept.

        A limit is back at the card's default, clocks are unlocked, counters start again. A BMC's cap is none of its
        business.
        """
        for gpu in range(self._layout.gpu_count):
            self._forget(gpu)
        self._layout.generation += 1

    def _forget(self, gpu: int) -> None:
        it = self.gpu(gpu)
        it.requested_mw, it.locked_min_mhz, it.locked_max_mhz = it.default_mw, 0, 0
        it.energy_uj = it.capped_ns = it.sw_thermal_ns = it.hw_thermal_ns = it.brake_ns = 0

    def set_latency(self, set_ms: int, gpu: int | None = None) -> None:
        """Let every setter take *set_ms* before it applies and answers, on one GPU or on all; drivers take about 10."""
        for it in self.gpus if gpu is None else [self.gpu(gpu)]:
            it.set_ms = set_ms

    def sets(self, after: int = 0) -> list[Set]:
        """Return the last 256 calls of setters beyond number *after*, oldest first."""
        ring: list[_Set] = [_Set.from_buffer_copy(entry) for entry in self._layout.sets]
        return sorted(
            Set(
                number=entry.number,
                at_s=entry.at_ns / 1e9,
                raw_ns=entry.raw_ns,
                gpu=entry.gpu,
                what=What(entry.what),
                value=entry.value / 1000 if entry.what == What.LIMIT else float(entry.value),
                lowest=float(entry.lowest),
                code=entry.code,
                pid=entry.pid,
            )
            for entry in ring
            if entry.number > after
        )

    def limits_set_w(self, gpu: int, after: int = 0) -> list[float]:
        """Return the limits that *gpu* was given, and took, beyond set number *after*, in order."""
        return [made.value for made in self.sets(after) if (made.gpu, made.what, made.code) == (gpu, What.LIMIT, 0)]

    @property
    def sets_made(self) -> int:
        """How many setters were called so far, by all processes."""
        count: int = self._layout.set_count
        return count

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

    def run_clock(self, origin_s: float, started_s: float, speed: float) -> None:
        """Let the model's clock show *origin_s* when the machine's shows *started_s* (Unix), and run at *speed*."""
        layout = self._layout
        layout.origin_ns, layout.started_ns, layout.speed = round(origin_s * 1e9), round(started_s * 1e9), speed

    def fail(self, function: str, code: int, *, gpu: int = -1, after: int = 0, hang_ms: int = 0) -> None:
        """
        Make *function* (no version suffix; ``*`` = any) answer *code* on one GPU, or on all (-1).

        It lets *after* calls pass first and hangs for *hang_ms*; a negative *code* only hangs. The first rule wins.
        """
        rule = self._layout.rules[self._layout.rule_count]
        rule.function, rule.gpu, rule.code, rule.after, rule.hang_ms = function.encode(), gpu, code, after, hang_ms
        self._layout.rule_count += 1

    def hits(self, rule: int) -> int:
        """Return how often failure rule number *rule* was met, the calls that it let through too."""
        hits: int = self._layout.rules[rule].hits
        return hits

    def mend(self) -> None:
        """Forget all failure rules; what hangs goes on."""
        self._layout.rule_count = 0
        ctypes.memset(self._layout.rules, 0, ctypes.sizeof(self._layout.rules))
        self._layout.mended += 1

    def hang(self, function: str, gpu: int = -1, *, after: int = 0) -> None:
        """Let *function* hang on one GPU, or on all (-1), until `mend`."""
        self.fail(function, HANGS, gpu=gpu, after=after, hang_ms=FOREVER_MS)


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

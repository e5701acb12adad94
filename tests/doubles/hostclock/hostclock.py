"""
Step the wall clock of running processes, and nothing but that: an NTP correction, an operator's typing error.

    library = hostclock.compile(folder)                                  # None without a C compiler
    clock = hostclock.HostClock(library)
    subprocess.Popen([...], env=os.environ | clock.environment())
    clock.step(-3600)                                                    # an hour back, now, in every process of it

`time.time` and `datetime.now` follow; `time.monotonic` stays true, and so do the GPUs of the NVML stand-in, which ask
the kernel. Children inherit it. This very process, and whatever is started without that environment, see true time.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("hostclock.c")
BYTES = 8


def compile(folder: Path) -> Path | None:  # noqa: A001 - read as hostclock.compile
    """Compile hostclock.c into *folder* and return the library, None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "hostclock.so"
    flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE)], check=True)
    return library


class HostClock:
    """The wall clock of the processes that have its `environment`; its offset lies in a file beside the *library*."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.path = library.with_suffix(".offset")
        self.path.write_bytes(bytes(BYTES))
        with self.path.open("r+b") as file:
            self._offset_ns = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), BYTES))

    @property
    def offset_s(self) -> float:
        """How far ahead of the true time it is."""
        return self._offset_ns.value / 1e9

    def step(self, seconds: float) -> None:
        """Step it by *seconds*, at once; negative: back."""
        self._offset_ns.value += round(seconds * 1e9)

    def mend(self) -> None:
        """Step it back to the true time."""
        self._offset_ns.value = 0

    def environment(self) -> dict[str, str]:
        """Return what a process needs in its environment to live by this clock; what is preloaded already stays."""
        loaded = filter(None, [str(self.library), os.environ.get("LD_PRELOAD")])
        return {"LD_PRELOAD": " ".join(loaded), "FAKE_HOST_CLOCK": str(self.path)}

"""The demo's processes: started together, watched, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from deploy import supervise
from pipeline.errors import EnvironmentProblem

READY = "ready"
STUCK = 1
LOOK_EVERY_S = 0.05


def last_line(log: Path) -> str:
    """Return the last line of *log* that says something, for an error message of one line."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "nothing in its log"


class Children:
    """Named child processes with a log file each. All of them die with this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._supervised: dict[str, tuple[str, ...]] = {}
        self.peak_bytes = 0
        self.restarts = 0

    def log(self, name: str) -> Path:
        """Return where *name* writes."""
        return self._folder / f"{name}.log"

    def supervise(self, name: str, *arguments: str) -> None:
        """Start `firmwatt ARGUMENTS` as *name*, and again whenever it ends with code 1: stuck, says its last line."""
        self._supervised[name] = arguments
        self.start(name, *arguments)

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `firmwatt ARGUMENTS` as *name*."""
        argv = [sys.executable, "-m", "deploy", *arguments]
        self._running[name] = supervise.start(argv, log=self.log(name), env=os.environ | (environment or {}))

    async def ready(self, name: str, timeout_s: float = 60.0) -> str:
        """Return what follows *name*'s `ready`; raise `EnvironmentProblem` when it dies or takes too long."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            for line in self.log(name).read_text(errors="replace").splitlines():
                if line.startswith(READY):
                    return line.removeprefix(READY).lstrip(":").strip()
            self.check(name)
            await asyncio.sleep(LOOK_EVERY_S)
        raise EnvironmentProblem(f"{name} was not ready within {timeout_s:g} s; see {self.log(name)}")

    def check(self, *names: str) -> None:
        """Raise `EnvironmentProblem` with the last log line of any of *names* (or of all) that has stopped."""
        for name in names or tuple(self._running):
            process = self._running.get(name)
            if process is None or process.poll() is None:
                continue
            if name in self._supervised and process.returncode == STUCK:
                self.restarts += 1
                self.start(name, *self._supervised[name])
            else:
                raise EnvironmentProblem(f"{name} stopped (exit {process.returncode}): {last_line(self.log(name))}")

    async def finished(self, name: str, timeout_s: float) -> int:
        """Return *name*'s exit code once it ends by itself; meanwhile the others must live."""
        process = self._running[name]
        deadline = asyncio.get_running_loop().time() + timeout_s
        while process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                raise EnvironmentProblem(f"{name} did not finish within {timeout_s:.0f} s; see {self.log(name)}")
            self.check(*(other for other in self._running if other != name))
            await asyncio.sleep(LOOK_EVERY_S)
        del self._running[name]
        return process.returncode

    def kill(self, name: str) -> None:
        """End *name* with SIGKILL, as a power cut would, and stop watching it."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def stop(self, *names: str, grace_s: float = 10.0) -> None:
        """End *names* (or all) cleanly: SIGTERM, then SIGKILL after *grace_s*."""
        chosen = [self._running.pop(name) for name in (names or tuple(self._running)) if name in self._running]
        await asyncio.to_thread(supervise.stop, chosen, grace_s)

    def weigh(self) -> None:
        """Take one sample of the memory of this process and all below it, shared pages counted every time."""
        own = psutil.Process()
        total = own.memory_info().rss
        for child in own.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.peak_bytes = max(self.peak_bytes, total)

"""
Who may write: the lease of the journal, and who is known to be dead. Pure but for two looks at /proc.

    lease   {epoch, holder, beat}      one row; whoever raises the epoch is the primary, every older one is fenced

A process is dead for certain when the kernel of the same machine, in the same namespace of process ids, no longer knows
it. Otherwise only its silence tells: its beat has not moved for `takeover_s` of the watcher's own clock. That clock is
CLOCK_BOOTTIME, which nobody can set and which goes on through suspension (clock_gettime(2)).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
GONE = frozenset("ZX")
"""States of a process that has ended and is only waited for (proc(5))."""
STAT_STATE, STAT_STARTED = 0, 19
"""Positions in /proc/PID/stat, counted behind the command's closing bracket (proc(5): fields 3 and 22)."""


@dataclass(frozen=True)
class Lease:
    """The journal's one lease."""

    epoch: int = 0
    holder: str = ""
    """Empty: given back."""
    beat: int = 0
    """Grows with every append, and while there is nothing to append."""


def up_s() -> float:
    """Return the seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def me() -> str:
    """Return what names this process: run of the machine, namespace, process id, start."""
    return f"{_here()} {os.getpid()} {_stat(os.getpid())[1]}"


def pid_of(holder: str) -> int | None:
    """Return the process id of *holder* where it is one of this machine and namespace."""
    here, _, rest = holder.rpartition(" ")[0].rpartition(" ")
    return int(rest) if here == _here() and rest.isdecimal() else None


def is_dead(holder: str) -> bool:
    """Tell whether *holder* is known to have ended; a process of another machine is never known to have."""
    pid = pid_of(holder)
    if pid is None:
        return False
    state, started = _stat(pid)
    return state in GONE or started != holder.rpartition(" ")[2]


def _here() -> str:
    boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {(PROC / 'self/ns/pid').readlink()}"


def _stat(pid: int) -> tuple[str, str]:
    """Return the state and the start of process *pid*; `X` and nothing where there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "X", ""
    fields = text.rpartition(")")[2].split()
    return fields[STAT_STATE], fields[STAT_STARTED]


@dataclass
class Watch:
    """How long a standby has seen the lease unchanged, by its own clock."""

    takeover_s: float
    _lease: Lease | None = None
    _since_s: float = 0.0

    def is_silent(self, lease: Lease, now_s: float) -> bool:
        """Return whether *lease*, seen at *now_s*, has been the same for `takeover_s`."""
        if lease != self._lease:
            self._lease, self._since_s = lease, now_s
        return now_s - self._since_s >= self.takeover_s

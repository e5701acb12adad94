"""
What the demo will do, decided before anything is started. Pure.

    clock   origin ───────────── ready ── offer ── gate ─┬─ interval 1 ─┬─ … ─┬─ release ── settled
    history 60 days ─┤ live ticks, 1 Hz of the clock                          │
                                                          └── minutes × 60 s ─┘

The demo's calendar is simulated: a business day in July, late afternoon in California, so that the settlement
baseline has its ten business days and its adjustment hours whatever day it is run on.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.errors import ConfigError
from pipeline.interval import floor

#: Thursday 2026-07-23, 17:57 in California.
ORIGIN = datetime(2026, 7, 23, 17, 57, tzinfo=ZoneInfo("America/Los_Angeles")).astimezone(UTC)
INTERVAL = timedelta(minutes=1)
GATE_CLOSURE = timedelta(seconds=20)
NOTICE = timedelta(seconds=15)
#: From the first full site figure to the gate: start of bidding, its 30 s of evidence, the submission, its retries.
#: At least; a machine that is slow to start processes gets more.
BIDDING_LEAD = timedelta(seconds=50)
#: All of it but the start.
EVIDENCE_AND_SUBMISSION = timedelta(seconds=40)


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    hosts: int = 200
    minutes: int = 2
    speed: float = 2.0
    trace: Path | None = None
    keep: bool = False
    json: bool = False
    venue: str = "sandbox"
    history_days: int = 60
    seed: int = 22
    """With it a fifth of lost replies hits the first submission, so that the demo of that fault shows it."""
    lose_replies: float = 0.0
    kill_worker: bool = False
    runs: Path = Path("runs")

    def checked(self) -> "Options":
        """Return itself; raise `ConfigError` that names the option that cannot work."""
        bounds: tuple[tuple[str, float, float, float], ...] = (
            ("--hosts", self.hosts, 1, 2000),
            ("--minutes", self.minutes, 1, 60),
            ("--speed", self.speed, 0.1, 4),
            ("--history-days", self.history_days, 0, 366),
            ("--lose-replies", self.lose_replies, 0, 0.9),
        )
        for name, given, low, high in bounds:
            if not low <= given <= high:
                raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {given:g}")
        if self.trace is not None and not self.trace.is_file():
            raise ConfigError(f"--trace {self.trace}: no such file")
        return self


def bidding_lead(start: timedelta) -> timedelta:
    """Return how long before its gate bidding is started where a process takes *start* of the clock to be ready."""
    return max(BIDDING_LEAD, EVIDENCE_AND_SUBMISSION + start)


def first_interval(now: datetime, lead: timedelta = BIDDING_LEAD) -> datetime:
    """Return the start of the first market interval whose gate is *lead* and a comfortable rest from *now*."""
    return floor(now + lead + GATE_CLOSURE + INTERVAL, INTERVAL)


def run_folder(runs: Path, machine_time: float, pid: int) -> Path:
    """Return the folder of a run, so named that two runs beside each other never share one."""
    stamp = datetime.fromtimestamp(machine_time, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return runs / f"{stamp}-{pid}"

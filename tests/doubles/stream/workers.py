"""
Pipeline workers as processes under a supervisor that starts again what fails, as a service manager would.

Nothing runs in the background: `Workforce.look` is called again and again by whoever waits for something.
"""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil

from deploy import supervise, toml
from pipeline.clock import Clock
from pipeline.settings import Kafka

#: Intervals that are closed: the settlement interval and one more.
LENGTHS = (timedelta(seconds=20), timedelta(seconds=60))
SESSION_S = 6.0
RESTART_AFTER_S = 1.0
LEAVE_WITHIN_S = 30.0
CLI = ("-c", "import sys; from deploy.cli import main; sys.exit(main())")
STOPPED_BY_US = {0, -signal.SIGKILL}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with the settings that all workers share."""

    folder: Path
    kafka: Kafka
    clock: Clock
    sites: tuple[str, ...]
    """The first is the workers' own."""
    entry: Sequence[str] = CLI
    """What Python runs."""
    archive: Path | None = None

    @property
    def config(self) -> Path:
        return self.folder / "firmwatt.toml"

    @property
    def archive_path(self) -> Path:
        return self.archive or self.folder / "archive"

    @property
    def group(self) -> str:
        """Prefix of the groups."""
        return self.sites[0]

    def write(self) -> None:
        """Write the settings."""
        settings: dict[str, dict[str, Any]] = {
            "clock": {"word": str(self.clock)},
            "site": {"name": self.sites[0], "interval_s": LENGTHS[0].seconds},
            "pipeline": {
                "archive": str(self.archive_path),
                "desk": str(self.folder / "desk.duckdb"),
                "group": self.group,
                "data": str(self.folder / "faust"),
                "session_timeout_s": SESSION_S,
                "intervals_s": [LENGTHS[1].seconds],
            },
        }
        self.config.write_text(toml.table("kafka", self.kafka) + "\n" + toml.render(settings))


@dataclass(eq=False)
class Member:
    """A worker that is to run until it is told to leave."""

    name: str
    log: Path
    process: "subprocess.Popen[bytes]"
    leaving: bool = False
    restart_at: float | None = None
    """Machine time, while nothing runs."""
    starts: int = 1
    said_before: int = 0
    """Characters in the log when the present process began."""

    @property
    def ready(self) -> bool:
        """Whether the present process has said so."""
        said = self.log.read_text(errors="replace")
        return self.process.poll() is None and said.count(f"ready {self.name}:") >= self.starts


@dataclass(eq=False)
class Workforce:
    """All workers of a place; a context manager that leaves nothing running."""

    place: Place
    members: list[Member] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    """With what processes have ended that we did not kill."""
    complaints: list[str] = field(default_factory=list)
    """Last lines of those that failed."""
    hired: int = 0

    def __enter__(self) -> Self:
        self.place.write()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            supervise.kill(member.process)

    def hire(self) -> Member:
        """Start one more worker."""
        self.hired += 1
        name = f"worker-{self.hired}"
        log = self.place.folder / f"{name}.log"
        log.touch()
        member = Member(name, log, self._start(name, log))
        self.members.append(member)
        return member

    def _start(self, name: str, log: Path) -> "subprocess.Popen[bytes]":
        line = [sys.executable, *self.place.entry, "pipeline", "run"]
        return supervise.start([*line, "--config", str(self.place.config), "--name", name], log=log)

    @property
    def working(self) -> list[Member]:
        """Those that are to stay."""
        return [member for member in self.members if not member.leaving]

    def dismiss(self, member: Member) -> None:
        """Ask *member* to leave, as a service manager does."""
        member.leaving = True
        member.process.terminate()

    def kill(self, member: Member) -> None:
        """End *member* with SIGKILL."""
        member.process.kill()

    def look(self) -> None:
        """Notice who has ended, and start again who is to stay."""
        for member in list(self.members):
            code = member.process.poll()
            if code is None:
                continue
            if member.restart_at is None:
                self._note(member, code)
                member.restart_at = time.monotonic() + RESTART_AFTER_S
            if member.leaving:
                self.members.remove(member)
            elif time.monotonic() >= member.restart_at:
                said = member.log.read_text(errors="replace")
                member.said_before, member.starts = len(said), said.count(f"ready {member.name}:") + 1
                member.process, member.restart_at = self._start(member.name, member.log), None

    def _note(self, member: Member, code: int) -> None:
        self.codes[code] += 1
        if code not in STOPPED_BY_US:
            said = member.log.read_text(errors="replace")[member.said_before :]
            last = said.splitlines()[-1:] or ["it says nothing"]
            self.complaints.append(f"{member.name} ended with {code}: {last[0][:300]}")

    def usage(self) -> list[tuple[str, int, int]]:
        """Return of each that runs its name, resident memory in bytes and number of open files."""
        running = [member for member in self.members if member.process.poll() is None]
        found = [(member.name, psutil.Process(member.process.pid)) for member in running]
        return [(name, process.memory_info().rss, process.num_fds()) for name, process in found]

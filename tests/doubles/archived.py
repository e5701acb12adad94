"""Messages in an archive: builders, and a place that dies in the middle of what it is told to do."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline import archive
from pipeline.archive_rows import frame, row
from pipeline.interval import Interval
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.messages.telemetry import SiteInterval
from pipeline.storage import Folder, Storage
from pipeline.topics import Topic

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def ack(number: int, host: str = "host-1", at: datetime = NOON) -> CommandAck:
    """Return the answer to command *number*, given *number* seconds after *at*."""
    return CommandAck(
        host=host,
        command_id=f"{host}-{number}",
        seq=number,
        status=AckStatus.APPLIED,
        reason=None,
        issued_at=at,
        acknowledged_at=at + timedelta(seconds=number),
        latency_ms=12.5,
        before_w=600.0,
        after_w=400.0,
        gpus=(),
        simulated=True,
    )


def interval(
    number: int = 0, site: str = "site-1", energy_kwh: float = 1.0, length: timedelta = MINUTE, **changes: Any
) -> SiteInterval:
    """Return the interval that begins *number* lengths after noon, all of it measured."""
    start = NOON + number * length
    fields: dict[str, Any] = {
        "site": site,
        "interval": Interval(start, start + length),
        "revision": 1,
        "energy_kwh": energy_kwh,
        "hosts": 1,
        "hosts_partial": 0,
        "covered_share": 1.0,
        "partitions": 8,
        "partitions_expected": 8,
        "ticks": 60,
        "ticks_missing": 0,
        "pools": (),
        "simulated": True,
    }
    return SiteInterval(**(fields | changes))


def put(
    storage: Storage, topic: Topic[Any], *messages: Any, first: int = 0, partition: int = 0, now: datetime = NOON
) -> None:
    """Archive *messages* of one partition as read from offset *first* on, in one go."""
    rows = [row(message, partition, first + index) for index, message in enumerate(messages)]
    archive.publish(storage, topic.name, partition, frame(topic.name, rows), now)


class Killed(BaseException):
    """Stands for the end of the process where a test goes on."""


def kill() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def be_killed() -> None:
    """Raise what nothing in the archive catches."""
    raise Killed


class Dying(Folder):
    """A folder that ends its process at the *step*-th thing to be changed: before it, or when it is *half* done."""

    def __init__(self, path: Path, step: int, die: Callable[[], None], *, half: bool) -> None:
        super().__init__(path)
        self.left, self._die, self._half = step, die, half

    def _is_last(self) -> bool:
        self.left -= 1
        return self.left == 0

    def publish(self, name: str, content: bytes) -> None:
        """Leave a draft with half of the content."""
        if self._is_last():
            if self._half:
                draft = self.path / name
                draft.parent.mkdir(parents=True, exist_ok=True)
                draft.with_name(f".{draft.name}.{os.getpid()}.tmp").write_bytes(content[: len(content) // 2])
            self._die()
        super().publish(name, content)

    def append(self, name: str, line: bytes) -> None:
        """Leave half a line."""
        if self._is_last():
            if self._half:
                with (self.path / name).open("ab") as file:
                    file.write(line[: len(line) // 2])
            self._die()
        super().append(name, line)

    def remove(self, name: str) -> None:
        """Leave the file."""
        if self._is_last():
            self._die()
        super().remove(name)

    def remove_folder(self, folder: str) -> None:
        """Leave the folder, or half of the files in it."""
        if self._is_last():
            if self._half:
                below = sorted(path for path in (self.path / folder).rglob("*") if path.is_file())
                for path in below[: len(below) // 2]:
                    path.unlink()
            self._die()
        super().remove_folder(folder)

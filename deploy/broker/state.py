"""What is known about a broker from its data folder: where it listens, its process, whether that still lives."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from deploy.broker import security
from deploy.broker.secure_properties import ADMIN
from pipeline import files
from pipeline.errors import EnvironmentProblem
from pipeline.settings import Kafka

STOP_S = 20.0
POLL_S = 0.05
LOOKS, LOOK_S = 50, 0.005


@dataclass(frozen=True)
class Node:
    """A broker that was healthy when this was written."""

    bootstrap: str
    """``host:port`` for clients."""
    pid: int
    data: Path
    log: Path

    @property
    def kafka(self) -> Kafka:
        """The settings with which a client on this machine finds it; the administrator's where it is secured."""
        guard = security.of(self.data)
        return guard.kafka(ADMIN, self.bootstrap) if guard else Kafka(bootstrap=self.bootstrap)

    def as_json(self) -> str:
        """Return all of it as one JSON object."""
        return json.dumps({name: value if name == "pid" else str(value) for name, value in asdict(self).items()})


class State(StrEnum):
    """What became of the broker of a data folder."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"  # it ended without being asked to


@dataclass(frozen=True)
class Status:
    """State of a data folder; *node* is absent if none was ever started there or the last one was stopped."""

    state: State
    node: Node | None


def file(data: Path) -> Path:
    """Return where the broker of *data* is described."""
    return data / "broker.json"


def properties(data: Path) -> Path:
    """Return the settings file of the node in *data*. Its name on a command line identifies the process."""
    return data / "server.properties"


def read(data: Path) -> Node | None:
    """Return what was written last; None if nothing was, or nothing that can be read."""
    try:
        seen = json.loads(file(data).read_text(encoding="utf-8"))
        return Node(bootstrap=seen["bootstrap"], pid=int(seen["pid"]), data=data, log=Path(seen["log"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(node: Node) -> None:
    """Describe *node* in its data folder, all or nothing."""
    files.replace(file(node.data), f"{node.as_json()}\n".encode())


def forget(data: Path) -> None:
    """Remove the description: nothing runs in *data*, and that is as it should be."""
    file(data).unlink(missing_ok=True)


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Refuse two starts of *what* in one *folder*, which exists, at the same time."""
    with (folder / ".starting").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentProblem(f"another process is starting {what} in {folder}: wait for it") from error
        yield


def is_ours(pid: int, data: Path) -> bool:
    """Tell whether *pid* is a living broker of *data*, and not a later process that was given the same number."""
    return runs_on(pid, properties(data))


def runs_on(pid: int, settings: Path) -> bool:
    """
    Tell whether *pid* is a living process that was started with the file *settings*.

    A process has no command line while it turns into another program, and none after it ended and waits to be reaped.
    """
    for _ in range(LOOKS):
        try:
            if words := Path(f"/proc/{pid}/cmdline").read_bytes():
                return os.fsencode(settings) in words.split(b"\0")
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(("Z", "X")):
                return False
        except OSError:
            return False
        time.sleep(LOOK_S)
    return False


def status(data: Path) -> Status:
    """Tell what became of the broker of *data*."""
    node = read(data := data.absolute())
    if node is None:
        return Status(State.STOPPED, None)
    return Status(State.RUNNING if is_ours(node.pid, data) else State.DEAD, node)


def terminate(pid: int, data: Path, grace_s: float = STOP_S) -> None:
    """End the broker *pid* of *data*: SIGTERM, after *grace_s* seconds SIGKILL; return once it is gone."""
    end(pid, properties(data), grace_s)


def end(pid: int, settings: Path, grace_s: float = STOP_S) -> None:
    """End the process *pid* that was started with the file *settings* in the same way."""
    for word, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        deadline = time.monotonic() + patience_s
        if runs_on(pid, settings):
            os.kill(pid, word)
        while runs_on(pid, settings) and time.monotonic() < deadline:
            time.sleep(POLL_S)

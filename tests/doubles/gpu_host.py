"""One GPU host as processes: the real collector and actuator over the stand-in library, all files in one folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from doubles.commands import KEY_ID, PUBLIC, keyring_text
from doubles.nvml import nvml_double

from deploy import toml
from pipeline.clock import Clock
from pipeline.settings import Kafka

T = TypeVar("T")

DEADLINE_S = 30.0


def eventually(look: Callable[[], T | None], what: str) -> T:
    """Return what *look* finds, asking until it finds something; fail after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")


@dataclass
class GpuHost:
    """Where everything of one host lies, and the processes started on it."""

    name: str
    folder: Path
    state: nvml_double.State
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    port: int = 0
    """Where the collector's pages are; 0: nowhere."""
    extra: dict[str, str] = field(default_factory=dict)
    """What its processes have in their environment besides, such as a `HostClock`'s."""

    @classmethod
    def make(cls, name: str, folder: Path, *, gpus: int = 2, without: Iterable[str] = ()) -> "GpuHost":
        """Compile a library and fill a host in *folder*; skip the test without a C compiler."""
        if nvml_double.compile(folder, without) is None:
            pytest.skip("the NVML stand-in needs a C compiler (cc)")
        state = nvml_double.State.create(folder / "gpus", gpus=gpus)
        host = cls(name, folder, state)
        claims = (f'["{state.uuid(i)}"]\njob = "train"\ntier = "T3"\nworkload = "training"\n' for i in range(gpus))
        (folder / "map.toml").write_text("\n".join(claims))
        (folder / "keys.toml").write_text(keyring_text({KEY_ID: PUBLIC}))
        host.configure(Kafka(bootstrap="127.0.0.1:9"), Clock())
        return host

    def listen(self) -> None:
        """Give the collector's pages a free port, from the next `configure` on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def amend(self, before: str, after: str) -> None:
        """Replace a part of the settings."""
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, after))

    def configure(self, kafka: Kafka, clock: Clock) -> None:
        """Write the settings of both processes; the GPUs live by the same *clock*."""
        self.state.run_clock(clock.origin.timestamp(), clock.started, clock.speed)
        self.config.write_text(
            f"""
{toml.table("kafka", kafka)}
[clock]
word = "{clock}"
[site]
name = "site-of-{self.name}"
[collector]
host = "{self.name}"
spool = "{self.folder / "spool"}"
listen = "{f"127.0.0.1:{self.port}" if self.port else ""}"
simulated = true
[mapping.static]
file = "{self.folder / "map.toml"}"
[actuator]
host = "{self.name}"
keyring = "{self.folder / "keys.toml"}"
journal = "{self.journal}"
metrics = "{self.folder / "actuate.prom"}"
simulated = true
"""
        )

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "firmwatt.toml"

    @property
    def journal(self) -> Path:
        """The actuator's journal."""
        return self.folder / "journal.json"

    def log(self, command: str) -> str:
        """Return what `firmwatt` *command* has logged."""
        return (self.folder / f"{command}.log").read_text()

    def start(self, command: str, *options: str) -> "subprocess.Popen[bytes]":
        """Start `firmwatt` *command* and return it once it is ready."""
        process = self.launch(command, *options)

        def ready() -> bool | None:
            assert process.poll() is None, self.log(command)
            return True if "ready" in self.log(command) else None

        eventually(ready, f"firmwatt {command} is ready")
        return process

    def launch(self, command: str, *options: str) -> "subprocess.Popen[bytes]":
        """Start `firmwatt` *command* and return it at once."""
        with (self.folder / f"{command}.log").open("w") as log:
            process = subprocess.Popen(self._line(command, *options), env=self._environment(), stderr=log)
        self.processes.append(process)
        return process

    def run(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run `firmwatt` *command* to its end."""
        return subprocess.run(
            self._line(command, *options),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()

    def limits_w(self) -> list[float]:
        """Return what software has asked of each GPU."""
        return [gpu.requested_w for gpu in self.state.gpus]

    def _line(self, command: str, *options: str) -> list[str]:
        firmwatt = Path(sys.executable).with_name("firmwatt")
        words = ("collect", "run") if command == "collect" else tuple(command.split())
        return [str(firmwatt), *words, "--config", str(self.config), *options]

    def _environment(self) -> dict[str, str]:
        return os.environ | nvml_double.environment(self.folder, self.state) | self.extra

"""
One host with an actuator in this very process, its GPUs the stand-in's, and all that it said.

    host = Actuated(fresh(gpus=3), tmp_path)
    await host.hear(lease(1, cap(400)))
    await host.after(60)                # the host's clock and the steady one go on together
    host.clock.move(3600)               # the host's clock alone: somebody has set it
    host.restart()                      # as after kill -9
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from doubles.clocks import SetClock
from doubles.commands import HOST, KEY_ID, NOON, PUBLIC, keyring_text, signed
from doubles.nvml.nvml_double import State

from collectors import Place
from collectors.actuator import Actuator
from collectors.admit import Refusal
from collectors.answers import Answers
from collectors.bounds import Bounds
from collectors.hands import Hands
from collectors.journal import Journal, Record
from collectors.keys import Keys
from collectors.levers import Lever, nvml
from collectors.mappings import Claim
from collectors.memory import Memory
from collectors.steady import SteadyClock
from collectors.whose import Whose
from pipeline.clock import Clock
from pipeline.messages.control import CommandAck, LeaseCommand
from pipeline.messages.telemetry import Tier


@dataclass
class Said:
    """A mapping that says what it is told."""

    said: dict[str, Claim]
    period_s: float = 10.0
    troubles: tuple[str, ...] = ()

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - it knows
        """Return it."""
        return self.said


@dataclass
class Actuated:
    """The host. GPU 0 is protected, the others are training's, each a job of its own."""

    host: State
    folder: Path
    levers: list[Lever] = field(default_factory=list)
    bounds: Bounds = field(default_factory=Bounds)
    clock: SetClock = field(default_factory=SetClock)
    said: list[CommandAck] = field(default_factory=list)
    passed_s: float = 0.0
    """Since noon, by the machine's own count."""
    boot: str = "boot-1"
    silence: timedelta | None = None
    patience_s: float = 5.0

    def __post_init__(self) -> None:
        """Start the actuator for the first time; the GPUs' draw follows at once, by a clock of their own."""
        self.host.set_time(0)
        for gpu in self.host.gpus:
            gpu.lag_ms = 0
        (self.folder / "keys.toml").write_text(keyring_text({KEY_ID: PUBLIC}))
        gpus = range(len(self.host.gpus))
        self.mapping = Said({self.host.uuid(i): Claim(job=f"job-{i}", tier=Tier.T3 if i else Tier.T0) for i in gpus})
        self.restart()

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.json"

    def restart(self, *levers: Lever) -> None:
        """Start a new actuator on what the journal says, as after kill -9."""
        hands = Hands(levers or self.levers or [nvml.connect(nvml.Settings(timeout_s=self.patience_s))])
        steady = SteadyClock(Clock(NOON), self._host_clock_s, lambda: self.passed_s)
        keys = Keys(self.folder / "keys.toml")
        memory = Memory(Journal(self.journal), keys, steady, self.boot, self.bounds.min_release)
        self.actuator = Actuator(
            host=HOST,
            hands=hands,
            memory=memory,
            answers=Answers(hands, self.clock, 0.5, simulated=True, acknowledged_seq=memory.acknowledged_seq()),
            keys=keys,
            whose=Whose({"said": self.mapping}, lambda: hands.places),
            bounds=self.bounds,
            clock=self.clock,
            steady=steady,
            silence=self.silence,
        )
        self.actuator.answers.post = self.said.append

    def _host_clock_s(self) -> float:
        return (self.clock.now() - NOON).total_seconds()

    async def begin(self) -> None:
        """Let a restarted actuator look at what it finds."""
        await self.actuator.begin()

    async def hear(self, command: LeaseCommand) -> Refusal | None:
        """Let a signed command arrive."""
        return await self.actuator.obey(signed(command))

    async def after(self, seconds: float) -> None:
        """Let time pass and the actuator look at its leases."""
        self.passed_s += seconds
        self.clock.move(seconds)
        await self.actuator.advance()

    def claim(self, gpu: int, **changes: object) -> None:
        """Let the mapping say something else of *gpu* when it is asked next."""
        uuid = self.host.uuid(gpu)
        self.mapping.said[uuid] = msgspec.structs.replace(self.mapping.said[uuid], **changes)

    @property
    def limits_w(self) -> list[float]:
        """What software has asked of each GPU."""
        return [gpu.requested_w for gpu in self.host.gpus]

    @property
    def recorded(self) -> Record:
        """What the journal on disk says."""
        return msgspec.json.decode(self.journal.read_bytes(), type=Record)

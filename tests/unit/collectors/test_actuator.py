"""The actuator between core, journal and lever: no Kafka anywhere, its GPUs the stand-in's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from doubles.clocks import SetClock
from doubles.commands import HOST, KEYRING, NOON, cap, lease, signed
from doubles.nvml.nvml_double import NO_PERMISSION, State
from doubles.nvml_host import fresh

from collectors.actuator import Actuator
from collectors.hands import Hands
from collectors.journal import Journal, Record
from collectors.lease import Bounds, Refusal, RefusalCode, release_jitter
from collectors.levers import GpuReading, nvml
from collectors.mappings import Claim
from pipeline.errors import EnvironmentProblem
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand
from pipeline.messages.telemetry import Tier

BOUNDS = Bounds()
RELEASE_S = release_jitter(HOST, BOUNDS).total_seconds() + 15


@dataclass
class Desk:
    """One host with an actuator, and everything it said."""

    host: State
    journal: Path
    clock: SetClock = field(default_factory=SetClock)
    said: list[CommandAck] = field(default_factory=list)
    protected: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Start the actuator for the first time."""
        for gpu in self.host.gpus:
            gpu.lag_ms = 0
        self.restart()

    def restart(self, lever: nvml.Nvml | None = None) -> None:
        """Start a new actuator on what the journal says, as after kill -9."""
        claims = {self.host.uuid(i): Claim(tier=Tier.T0 if i in self.protected else Tier.T3) for i in range(3)}
        self.actuator = Actuator(
            host=HOST,
            hands=Hands(lever or nvml.connect()),
            journal=Journal(self.journal),
            keyring=KEYRING,
            claims=claims,
            bounds=BOUNDS,
            clock=self.clock,
            settle_s=0,
            simulated=True,
            post=self.said.append,
        )

    async def hear(self, command: LeaseCommand) -> Refusal | None:
        """Let a signed command arrive; the GPUs' own clock goes on by a second meanwhile."""
        self.host.set_time(self._gpu_time_s())
        return await self.actuator.obey(signed(command))

    async def after(self, seconds: float) -> None:
        """Let time pass and the actuator look at its leases."""
        self.clock.move(seconds)
        await self.actuator.advance()

    def _gpu_time_s(self) -> float:
        return 1_000_000 + (self.clock.now() - NOON).total_seconds()

    @property
    def limits_w(self) -> list[float]:
        """What software has asked of each GPU."""
        return [gpu.requested_w for gpu in self.host.gpus]

    @property
    def recorded(self) -> Record:
        """What the journal on disk says."""
        return msgspec.json.decode(self.journal.read_bytes(), type=Record)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a host of three GPUs, the first one protected."""
    return Desk(fresh(gpus=3), tmp_path / "journal.json")


async def test_a_lease_caps_every_gpu_but_the_protected(desk: Desk) -> None:
    await desk.hear(lease(1, cap(400)))

    assert desk.limits_w == [700, 400, 400]


async def test_the_acknowledgement_carries_what_was_asked_what_holds_and_what_was_measured(desk: Desk) -> None:
    """Two GPUs at 629.45 W: 1258.9 W before. Their power follows once the model's clock moves."""
    await desk.hear(lease(1, cap(400)))

    (ack,) = desk.said

    assert (ack.status, ack.command_id, ack.seq, ack.reason) == (AckStatus.APPLIED, "host-1-1", 1, None)
    assert ack.before_w == pytest.approx(1258.9)
    assert [gpu.uuid for gpu in ack.gpus] == [desk.host.uuid(1), desk.host.uuid(2)]
    assert {(gpu.asked_w, gpu.requested_w, gpu.enforced_w, gpu.binding) for gpu in ack.gpus} == {(400, 400, 400, True)}
    assert ack.latency_ms == 0


async def test_it_lets_go_by_itself_with_nobody_to_tell_it(desk: Desk) -> None:
    """Kafka may be down: only time passes."""
    await desk.hear(lease(1, cap(400), lasts_s=60))

    await desk.after(59)
    held_w = desk.limits_w
    await desk.after(1 + RELEASE_S - 15)
    first_w = desk.limits_w
    await desk.after(15)

    assert held_w == [700, 400, 400]
    assert first_w == [700, 475, 475]
    assert desk.limits_w == [700, 700, 700]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED, AckStatus.RELEASED]
    assert desk.recorded == Record(highest_seq=1, previous_w={})


async def test_a_gpu_is_restored_to_the_limit_it_was_found_at(desk: Desk) -> None:
    """An operator had set 600 W; that, not the default of 700 W, is what comes back."""
    desk.host.gpu(1).requested_mw = 600_000
    await desk.hear(lease(1, cap(400)))

    await desk.after(60 + RELEASE_S)

    assert desk.limits_w == [700, 600, 700]


async def test_the_journal_is_on_disk_before_any_limit_is_touched(desk: Desk) -> None:
    """Whoever is killed in the middle of setting leaves the way back behind."""
    seen = []

    class Witness(nvml.Nvml):
        def set_limit(self, uuid: str, limit_w: float) -> None:
            seen.append(desk.recorded)
            super().set_limit(uuid, limit_w)

    desk.restart(Witness())
    await desk.hear(lease(1, cap(400)))

    expected = Record(highest_seq=1, previous_w={desk.host.uuid(1): 700.0, desk.host.uuid(2): 700.0})
    assert seen == [expected, expected]


async def test_a_journal_that_cannot_be_written_means_nothing_is_touched(desk: Desk) -> None:
    """Its folder is a file."""
    desk.journal = desk.journal.parent / "file" / "journal.json"
    desk.restart()
    desk.journal.parent.write_text("in the way")

    with pytest.raises(EnvironmentProblem, match="cannot write the journal"):
        await desk.hear(lease(1, cap(400)))
    assert desk.limits_w == [700, 700, 700]


async def test_killed_in_the_middle_and_started_again_it_restores_from_its_journal(desk: Desk) -> None:
    await desk.hear(lease(1, cap(400)))
    desk.restart()

    await desk.actuator.let_go("found limits of an earlier run")

    assert desk.limits_w == [700, 700, 700]
    assert desk.recorded == Record(highest_seq=1, previous_w={})


async def test_a_replay_after_a_restart_is_refused(desk: Desk) -> None:
    await desk.hear(lease(5, cap(400)))
    desk.restart()
    await desk.actuator.let_go("found limits of an earlier run")

    refusal = await desk.hear(lease(5, cap(400)))

    assert refusal is not None
    assert refusal.code is RefusalCode.REPLAYED
    assert desk.limits_w == [700, 700, 700]


async def test_of_two_commands_out_of_order_the_newer_holds(desk: Desk) -> None:
    await desk.hear(lease(2, cap(300)))

    refusal = await desk.hear(lease(1, cap(500)))

    assert refusal is not None
    assert desk.limits_w == [700, 300, 300]


async def test_one_gpu_that_may_not_be_set_does_not_stop_the_others(desk: Desk) -> None:
    desk.host.fail("nvmlDeviceSetPowerManagementLimit", NO_PERMISSION, gpu=1)

    await desk.hear(lease(1, cap(400)))

    assert desk.limits_w == [700, 700, 400]
    refused, taken = desk.said[0].gpus
    assert "CAP_SYS_ADMIN" in (refused.error or "")
    assert taken.error is None
    assert desk.said[0].reason == "1 of 2 GPUs could not be limited"


async def test_an_out_of_band_cap_is_reported_and_never_written_back(desk: Desk) -> None:
    """The BMC holds 300 W: 400 W changes nothing, and in the end 700 W is requested, the BMC's 300 W still in force."""
    desk.host.set_bmc_cap_w(1, 300)
    await desk.hear(lease(1, cap(400)))
    capped = desk.said[0].gpus[0]

    await desk.after(60 + RELEASE_S)

    assert (capped.requested_w, capped.enforced_w) == (400, 300)
    assert desk.limits_w == [700, 700, 700]
    assert desk.host.gpu(1).bmc_mw == 300_000


async def test_a_gpu_lost_during_the_lease_is_restored_when_it_is_back(desk: Desk) -> None:
    """Until then the journal remembers it, and no release is acknowledged."""
    await desk.hear(lease(1, cap(400)))
    desk.host.lose(2)
    await desk.after(60 + RELEASE_S)
    meanwhile, said = desk.recorded.previous_w, len(desk.said)
    desk.host.recover(2)

    await desk.after(60)
    await desk.after(60)

    assert meanwhile == {desk.host.uuid(2): 700}
    assert said == 1
    assert desk.limits_w == [700, 700, 700]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED, AckStatus.RELEASED]


async def test_a_lease_survives_a_driver_that_is_away_when_it_begins(desk: Desk) -> None:
    """Accepted at noon without NVML, applied once NVML is back."""
    desk.host.set_driver(loaded=False)
    await desk.hear(lease(1, cap(400)))
    nothing = list(desk.said)
    desk.host.set_driver(loaded=True)

    await desk.after(5)

    assert nothing == []
    assert desk.limits_w == [700, 400, 400]
    assert desk.said[0].latency_ms == 5000


async def test_stopping_restores_at_once_and_says_why(desk: Desk) -> None:
    await desk.hear(lease(1, cap(400)))

    await desk.actuator.let_go("stopped")

    assert desk.limits_w == [700, 700, 700]
    assert (desk.said[-1].status, desk.said[-1].reason) == (AckStatus.RELEASED, "stopped")


async def test_a_lease_that_names_no_gpu_of_this_host_says_so(desk: Desk) -> None:
    await desk.hear(lease(1, cap(400, model="NVIDIA A100-SXM4-40GB")))

    assert desk.said[0].reason == "no GPU of this host is named"
    assert (desk.said[0].before_w, desk.said[0].after_w) == (None, None)


async def test_an_idle_actuator_leaves_the_driver_alone(desk: Desk) -> None:
    """Without lease and without journal not one GPU is read."""
    asked: list[datetime] = []

    class Witness(nvml.Nvml):
        def gpus(self, now: datetime) -> Mapping[str, GpuReading]:
            asked.append(now)
            return super().gpus(now)

    desk.restart(Witness())
    await desk.after(60)
    idle = list(asked)
    await desk.hear(lease(1, cap(400), begins=desk.clock.now()))

    assert idle == []
    assert asked != []


async def test_a_command_accepted_while_the_driver_is_away_is_known_after_a_restart(desk: Desk) -> None:
    """Nothing was touched, and still its replay is refused."""
    desk.host.set_driver(loaded=False)

    await desk.hear(lease(5, cap(400)))

    assert desk.recorded == Record(highest_seq=5, previous_w={})

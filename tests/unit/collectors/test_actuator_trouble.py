"""What goes wrong around an actuator, and what it does all the same: its GPUs the stand-in's, its jobs a dict's."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from doubles.actuated import Actuated, Said
from doubles.commands import HOST, KEY_2, KEY_ID, KEY_ID_2, PUBLIC, PUBLIC_2, cap, keyring_text, lease, signed
from doubles.nvml.nvml_double import NO_PERMISSION
from doubles.nvml_host import fresh

from collectors import Place, SourceError
from collectors.admit import RefusalCode
from collectors.bounds import Bounds
from collectors.lease import jitter
from collectors.levers import Found, Key, LeverError, Reading, nvml
from collectors.mappings import Claim
from pipeline.messages.control import AckStatus, Kind, Trouble
from pipeline.messages.telemetry import Tier

STAGE_S = 5 * jitter(HOST) + 0.001
"""From the beginning of a way back of 20 s until its first stage has come."""


@dataclass
class Jobs:
    """A scheduler: which jobs there are, and which of them run."""

    running: dict[str, float] = field(default_factory=dict)
    kind = Kind.RUN
    patience_s = 5.0

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:  # noqa: ARG002 - as a lever has it
        """Return those of *jobs* that it was told about."""
        return tuple(Found(job) for job in sorted(jobs))

    def read(self, subject: str) -> Reading:
        """Return whether a job runs."""
        if subject not in self.running:
            raise LeverError("no such job", Trouble.LOST)
        return Reading(subject, 0, 1, self.running[subject])

    def set(self, subject: str, level: float) -> None:
        """Pause or resume."""
        self.read(subject)
        self.running[subject] = level

    def close(self) -> None:
        """Nothing is open."""


class Silent(Said):
    """A mapping that cannot tell."""

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - it fails
        """Fail."""
        raise SourceError("no answer")


class ByIndex(Said):
    """A mapping that knows GPUs by number only, as Slurm and dcgm-exporter's files do."""

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - it knows
        """Return a claim for each GPU whose place is known."""
        return {place.uuid: Claim(job=f"job-{place.index}", tier=Tier.T3) for place in places}


@pytest.fixture
def desk(tmp_path: Path) -> Actuated:
    """Return a host of three GPUs, the first one protected."""
    return Actuated(fresh(gpus=3), tmp_path)


async def test_a_level_whose_reading_back_failed_is_still_ours(desk: Actuated) -> None:
    """From 600 to 400 W; the set works and the answer is lost. It is no conflict, and in the end it is put back."""

    class Stumbles(nvml.Nvml):
        left = 2

        def read(self, subject: str) -> Reading:
            if self.left and desk.host.gpu(1).requested_w == desk.host.gpu(2).requested_w == 400:
                Stumbles.left -= 1
                raise LeverError("lost in transit")
            return super().read(subject)

    desk.restart(Stumbles())
    await desk.hear(lease(1, cap(600), lasts_s=600))
    await desk.after(1)
    await desk.hear(lease(2, cap(400), begins=desk.clock.now(), lasts_s=60))

    await desk.after(5)
    await desk.after(60)

    assert AckStatus.CONFLICT not in [ack.status for ack in desk.said]
    assert desk.limits_w == [700, 700, 700]
    assert desk.recorded.touched == {}


async def test_while_it_stops_it_obeys_nothing_more(desk: Actuated) -> None:
    """A correction arrives in the middle of the way back."""
    await desk.hear(lease(1, cap(400), lasts_s=600))
    desk.actuator.end("stopped")
    await desk.after(6)

    refusal = await desk.hear(lease(2, cap(350), begins=desk.clock.now(), lasts_s=600))
    await desk.after(20)

    assert refusal is not None
    assert refusal.code is RefusalCode.STOPPING
    assert desk.limits_w == [700, 700, 700]
    assert desk.actuator.is_at_rest


async def test_killed_during_a_release_with_the_clock_set_back_it_starts_again(desk: Actuated) -> None:
    """A release has begun always; no clock counts back to before that."""
    await desk.hear(lease(1, cap(400), lasts_s=600))
    await desk.hear(lease(2, begins=desk.clock.now()))
    desk.clock.move(-3600)
    desk.restart()

    await desk.begin()
    await desk.after(20)

    assert desk.limits_w == [700, 700, 700]


async def test_a_bug_in_a_lever_is_one_gpus_trouble(desk: Actuated) -> None:
    """GPU 1's set raises what no lever should; GPU 2's lease begins and ends."""

    class Buggy(nvml.Nvml):
        def set(self, subject: str, level: float) -> None:
            if subject == desk.host.uuid(1):
                raise KeyError(subject)
            super().set(subject, level)

    desk.restart(Buggy())
    await desk.hear(lease(1, cap(400)))
    held_w = desk.limits_w
    await desk.after(60)

    assert held_w == [700, 700, 400]
    assert [gpu.trouble for gpu in desk.said[0].gpus] == [Trouble.FAILED, None]
    assert desk.limits_w == [700, 700, 700]


async def test_the_first_command_after_a_long_rest_finds_gpus_known_by_number(desk: Actuated) -> None:
    """NVML was closed meanwhile; where GPUs sit is still known."""
    desk.mapping = ByIndex({})
    desk.restart()
    await desk.begin()
    await desk.after(61)
    await desk.after(60)

    await desk.hear(lease(1, cap(400), begins=desk.clock.now()))

    assert desk.limits_w == [400, 400, 400]


@pytest.mark.parametrize("kind", ["economic", "safety"])
async def test_a_mapping_that_is_slow_at_a_restart_lets_go_of_nothing(desk: Actuated, kind: str) -> None:
    """What was known of the GPUs when they were capped is believed until it has had three periods to answer."""
    await desk.hear(lease(1, cap(400), lasts_s=600, kind=kind))  # type: ignore[arg-type]
    desk.mapping = Silent({})
    desk.restart()

    await desk.begin()
    await desk.after(29)
    held_w = desk.limits_w
    await desk.after(2)
    await desk.after(20)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == ([700, 700, 700] if kind == "economic" else [700, 400, 400])


async def test_a_mapping_that_falls_silent_ends_a_lease_in_stages(desk: Actuated) -> None:
    """A scheduler's outage reaches all hosts at one time: they must not come back in one leap."""
    await desk.hear(lease(1, cap(400), lasts_s=900))
    desk.mapping.claims = Silent({}).claims  # type: ignore[method-assign] # it breaks
    for _ in range(4):
        await desk.after(10)
    at_once_w = desk.limits_w
    await desk.after(STAGE_S)
    first_w = desk.limits_w
    await desk.after(20)

    assert at_once_w == [700, 400, 400]
    assert first_w == [700, 475, 475]
    assert desk.limits_w == [700, 700, 700]


async def test_a_paused_job_runs_again_though_nobody_knows_any_more_whose_it_is(tmp_path: Path) -> None:
    """Its mapping fails in the event, and the actuator is started again on top."""
    jobs = Jobs({"job-0": 1.0, "job-1": 1.0})
    desk = Actuated(fresh(gpus=2), tmp_path, levers=[nvml.connect(), jobs])
    await desk.hear(lease(1, pauses=(Tier.T3,), lasts_s=120))
    paused = dict(jobs.running)
    desk.mapping = Silent({})
    desk.restart(nvml.connect(), jobs)

    await desk.begin()
    for _ in range(25):
        await desk.after(5)

    assert paused == {"job-0": 1, "job-1": 0}
    assert jobs.running == {"job-0": 1, "job-1": 1}
    assert desk.actuator.overdue == []


async def test_a_job_that_ends_while_it_is_paused_is_forgotten(tmp_path: Path) -> None:
    """Cancelled in the middle: nothing is overdue, and the lease's end is acknowledged."""
    jobs = Jobs({"job-0": 1.0, "job-1": 1.0})
    desk = Actuated(fresh(gpus=2), tmp_path, levers=[nvml.connect(), jobs])
    await desk.hear(lease(1, pauses=(Tier.T3,), lasts_s=60))
    del jobs.running["job-1"]
    del desk.mapping.said[desk.host.uuid(1)]

    for _ in range(14):
        await desk.after(5)

    assert desk.actuator.overdue == []
    assert desk.actuator.is_idle
    assert desk.said[-1].status is AckStatus.RELEASED
    assert Key(Kind.RUN, "job-1") not in desk.actuator.hands.known


async def test_corrections_do_not_turn_a_conflict_into_a_fight(desk: Actuated) -> None:
    """Somebody raises it every five seconds, dispatch corrects every ten: set four times at most, reported once."""
    await desk.hear(lease(1, cap(400), lasts_s=600))
    for seq in range(2, 22):
        for _ in range(2):
            desk.host.gpu(1).requested_mw = 700_000
            await desk.after(5)
        await desk.hear(lease(seq, cap(400 - seq), begins=desk.clock.now(), lasts_s=600))

    assert len([limit_w for limit_w in desk.host.limits_set_w(1) if limit_w < 700]) <= 4
    assert [ack.status for ack in desk.said].count(AckStatus.CONFLICT) == 1


async def test_a_set_that_is_answered_late_is_no_conflict(desk: Actuated) -> None:
    """The driver takes 0.8 s, longer than anybody waits."""
    await desk.hear(lease(1, cap(600), lasts_s=600))
    desk.host.set_latency(800)

    await desk.hear(lease(2, cap(400), begins=desk.clock.now(), lasts_s=600))
    for _ in range(20):
        await desk.after(5)
        if desk.limits_w == [700, 400, 400]:
            break

    assert desk.limits_w == [700, 400, 400]
    assert AckStatus.CONFLICT not in [ack.status for ack in desk.said]


async def test_a_job_whose_gpu_refuses_is_let_go_whole(desk: Actuated) -> None:
    """One of its two may not be set: the other is not held back for nothing. A new command tries again."""
    for gpu in (1, 2):
        desk.claim(gpu, job="one")
    desk.host.fail("nvmlDeviceSetPowerManagementLimit", NO_PERMISSION, gpu=1)

    await desk.hear(lease(1, cap(400), lasts_s=600))
    await desk.after(1)
    await desk.after(20)
    let_go_w = desk.limits_w
    desk.host.mend()
    await desk.hear(lease(2, cap(400), begins=desk.clock.now(), lasts_s=600))

    assert {gpu.trouble for gpu in desk.said[0].gpus} == {Trouble.NO_PERMISSION, Trouble.UNEQUAL}
    assert let_go_w == [700, 700, 700]
    assert desk.limits_w == [700, 400, 400]


async def test_what_is_restored_is_what_held_just_before_the_first_touch(desk: Actuated) -> None:
    """Looked at, and a second later an operator lowers a GPU to 500 W, then the command comes."""
    await desk.begin()
    desk.host.gpu(2).requested_mw = 500_000

    await desk.hear(lease(1, cap(400)))
    await desk.after(60)

    assert desk.limits_w == [700, 700, 500]


async def test_what_somebody_has_set_while_it_was_down_is_theirs(desk: Actuated) -> None:
    """Killed at 400 W, an operator goes to 300 W, started again: left at 300 W, and at the end of the lease too."""
    await desk.hear(lease(1, cap(400)))
    desk.host.gpu(1).requested_mw = 300_000
    desk.restart()

    await desk.begin()
    meanwhile_w = desk.limits_w
    await desk.after(60)

    assert meanwhile_w == [700, 300, 400]
    assert desk.limits_w == [700, 300, 700]


async def test_a_safety_cap_outlives_its_key(desk: Actuated) -> None:
    """Rotated out while it is latched, and the actuator started again; the new key's safety command ends it."""
    await desk.hear(lease(1, cap(400), kind="safety"))
    (desk.folder / "keys.toml").write_text(keyring_text({KEY_ID_2: PUBLIC_2}))
    desk.restart()

    await desk.begin()
    await desk.after(3600)
    held_w = desk.limits_w
    release = lease(2, kind="safety", begins=desk.clock.now())
    await desk.actuator.obey(signed(release, key=KEY_2, key_id=KEY_ID_2))
    await desk.after(20)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]


async def test_no_command_brings_limits_back_in_one_leap(tmp_path: Path) -> None:
    """A release that asks for no way back takes the host's own least one, ten seconds here, in four stages."""
    desk = Actuated(fresh(gpus=3), tmp_path, bounds=Bounds(min_release=timedelta(seconds=10)))
    await desk.hear(lease(1, cap(400), lasts_s=600))
    await desk.hear(lease(2, begins=desk.clock.now(), release_s=0))
    at_once_w = desk.limits_w
    await desk.after(10)

    assert at_once_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]


async def test_a_lease_that_begins_on_a_full_disk_says_that_it_is_not_set(desk: Actuated) -> None:
    """Accepted ahead of time; when it begins the journal takes nothing more."""
    ahead = lease(1, cap(400), begins=desk.clock.now() + timedelta(seconds=10))
    await desk.hear(msgspec.structs.replace(ahead, issued_at=desk.clock.now()))
    desk.journal.unlink()
    desk.journal.mkdir()

    await desk.after(10)

    assert desk.limits_w == [700, 700, 700]
    assert {gpu.error for gpu in desk.said[0].gpus} == {"not set, because the journal cannot be written"}


async def test_a_rotated_key_is_needed_for_what_is_new_only(desk: Actuated) -> None:
    """Two keys hold; one is taken away: its commands are refused, the other's pass."""
    (desk.folder / "keys.toml").write_text(keyring_text({KEY_ID: PUBLIC, KEY_ID_2: PUBLIC_2}))
    both = [
        await desk.hear(lease(1, cap(400))),
        await desk.actuator.obey(signed(lease(2, cap(500)), key=KEY_2, key_id=KEY_ID_2)),
    ]
    (desk.folder / "keys.toml").write_text(keyring_text({KEY_ID_2: PUBLIC_2}) + "\n")

    refusal = await desk.hear(lease(3, cap(300)))

    assert both == [None, None]
    assert refusal is not None
    assert refusal.code is RefusalCode.UNKNOWN_KEY

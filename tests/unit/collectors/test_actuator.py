"""The actuator between core, journal and levers: no Kafka anywhere, its GPUs the stand-in's."""

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from doubles.actuated import Actuated
from doubles.commands import HOST, NOON, cap, clock, keyring_text, lease
from doubles.nvml.nvml_double import NO_PERMISSION
from doubles.nvml_host import fresh

from collectors.admit import Refusal, RefusalCode
from collectors.bounds import Bounds
from collectors.journal import Record, Touched
from collectors.lease import jitter
from collectors.levers import Found, Reading, clocks, nvml
from pipeline.messages.control import AckStatus, Kind, Trouble
from pipeline.messages.telemetry import Tier

FIRST_S = 40 + 5 * jitter(HOST) + 0.001
"""When the first stage of a lease of a minute, with 20 s of way back, has just come."""


@pytest.fixture
def desk(tmp_path: Path) -> Actuated:
    """Return a host of three GPUs, the first one protected."""
    return Actuated(fresh(gpus=3), tmp_path)


def troubles(desk: Actuated) -> dict[int, Trouble | None]:
    """Return what the newest acknowledgement says of each GPU, by index."""
    indices = {desk.host.uuid(index): index for index in range(len(desk.host.gpus))}
    return {indices[gpu.uuid]: gpu.trouble for gpu in desk.said[-1].gpus}


async def test_a_lease_caps_every_gpu_but_the_protected(desk: Actuated) -> None:
    await desk.hear(lease(1, cap(400)))

    assert desk.limits_w == [700, 400, 400]


async def test_the_acknowledgement_carries_what_was_asked_what_holds_and_what_was_measured(desk: Actuated) -> None:
    """Two GPUs at 629.45 W: 1258.9 W before."""
    await desk.hear(lease(1, cap(400)))

    (ack,) = desk.said

    assert (ack.status, ack.command_id, ack.seq, ack.reason) == (AckStatus.APPLIED, "host-1-1", 1, None)
    assert ack.before_w == pytest.approx(1258.9)
    assert [gpu.uuid for gpu in ack.gpus] == [desk.host.uuid(1), desk.host.uuid(2)]
    assert {(gpu.asked_w, gpu.requested_w, gpu.enforced_w, gpu.binding) for gpu in ack.gpus} == {(400, 400, 400, True)}
    assert ack.latency_ms == 0
    assert ack.set_ms is not None
    assert ack.set_ms > 0


async def test_it_lets_go_by_itself_with_nobody_to_tell_it(desk: Actuated) -> None:
    """Kafka may be down: only time passes. At 12:01:00, the lease's end, all is as it was."""
    await desk.hear(lease(1, cap(400), lasts_s=60))

    await desk.after(39)
    held_w = desk.limits_w
    await desk.after(FIRST_S - 39)
    first_w = desk.limits_w
    await desk.after(60 - FIRST_S)

    assert held_w == [700, 400, 400]
    assert first_w == [700, 475, 475]
    assert desk.limits_w == [700, 700, 700]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED, AckStatus.RELEASED]
    assert desk.recorded == Record(boot="boot-1", highest_seq=1, acknowledged_seq=1)


async def test_a_gpu_is_restored_to_the_limit_it_was_found_at(desk: Actuated) -> None:
    """An operator had set 600 W; that, not the default of 700 W, is what comes back."""
    desk.host.gpu(1).requested_mw = 600_000
    await desk.hear(lease(1, cap(400)))

    await desk.after(60)

    assert desk.limits_w == [700, 600, 700]


async def test_the_journal_is_on_disk_before_any_limit_is_touched(desk: Actuated) -> None:
    """Whoever is killed in the middle of setting leaves the way back and the lease behind."""
    seen: list[Record] = []

    class Witness(nvml.Nvml):
        def set(self, subject: str, level: float) -> None:
            seen.append(desk.recorded)
            super().set(subject, level)

    desk.restart(Witness())
    await desk.hear(lease(1, cap(400)))

    expected = {
        Kind.POWER: {
            desk.host.uuid(gpu): Touched(
                previous=700, level=400, asked=(400,), highest=700, tier=Tier.T3, job=f"job-{gpu}"
            )
            for gpu in (1, 2)
        }
    }
    assert [(record.highest_seq, record.touched) for record in seen] == [(1, expected), (1, expected)]
    assert [(kept.begins_up_s, kept.ends_up_s) for kept in seen[0].leases] == [(0, 60)]


async def test_a_journal_that_cannot_be_written_means_the_command_is_refused(desk: Actuated) -> None:
    """Its place is taken by a folder. Nothing is touched, and the dispatcher hears why."""
    desk.journal.mkdir()

    refusal = await desk.hear(lease(1, cap(400)))

    assert refusal is not None
    assert refusal.code is RefusalCode.NOT_RECORDED
    assert "cannot write the journal" in refusal.reason
    assert desk.limits_w == [700, 700, 700]
    desk.journal.rmdir()
    assert await desk.hear(lease(1, cap(400))) is None


async def test_a_disk_that_fills_up_does_not_keep_anything_from_being_put_back(desk: Actuated) -> None:
    """From 12:00:10 on nothing can be written; at 12:01 all is as it was."""
    await desk.hear(lease(1, cap(400)))
    desk.journal.unlink()
    desk.journal.mkdir()

    await desk.after(FIRST_S)
    first_w = desk.limits_w
    await desk.after(60 - FIRST_S)

    assert first_w == [700, 475, 475]
    assert desk.limits_w == [700, 700, 700]


async def test_killed_and_started_again_it_goes_on_with_the_lease(desk: Actuated) -> None:
    """The cap holds until 12:00:40 as it would have, and is not acknowledged a second time."""
    await desk.hear(lease(1, cap(400)))
    desk.restart()

    await desk.begin()
    await desk.after(39)
    held_w = desk.limits_w
    await desk.after(21)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED, AckStatus.RELEASED]


async def test_killed_before_it_could_answer_it_answers_after_the_restart(desk: Actuated) -> None:
    """What the GPUs drew before is not known any more, and so not told."""

    class Dies(nvml.Nvml):
        def set(self, subject: str, level: float) -> None:
            super().set(subject, level)
            raise KeyboardInterrupt

    desk.restart(Dies())
    with pytest.raises(KeyboardInterrupt):
        await desk.hear(lease(1, cap(400)))
    desk.restart()

    await desk.begin()
    await desk.after(1)

    (ack,) = desk.said
    assert (ack.status, ack.before_w, ack.after_w) == (AckStatus.APPLIED, None, None)
    assert [(gpu.requested_w, gpu.before_w) for gpu in ack.gpus] == [(400, None), (400, None)]
    assert all(gpu.after_w == pytest.approx(400, abs=2) for gpu in ack.gpus)


async def test_a_lease_whose_key_was_taken_away_does_not_survive_a_restart(desk: Actuated) -> None:
    """Its signature is verified again: the key may be gone because it was stolen. The way back is in stages."""
    await desk.hear(lease(1, cap(400)))
    (desk.folder / "keys.toml").write_text(keyring_text({"another": bytes(32)}))
    desk.restart()

    await desk.begin()
    at_once_w = desk.limits_w
    await desk.after(20)

    assert at_once_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]


async def test_a_restart_of_the_machine_ends_an_economic_lease(desk: Actuated) -> None:
    """Nothing times it any more. Here the limit has even survived, so it is walked back."""
    await desk.hear(lease(1, cap(400), lasts_s=900))
    desk.boot = "boot-2"
    desk.restart()

    await desk.begin()
    await desk.after(20)

    assert desk.limits_w == [700, 700, 700]


@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
async def test_a_safety_cap_survives_kill_and_reboot(desk: Actuated, boot: str) -> None:
    """The driver has forgotten it with the reboot: it is set anew. An economic lease cannot follow it."""
    await desk.hear(lease(1, cap(400), kind="safety"))
    for gpu in desk.host.gpus:
        gpu.requested_mw = 700_000
    desk.boot = boot
    desk.restart()

    await desk.begin()
    await desk.after(86_400)
    held_w = desk.limits_w
    refusal = await desk.hear(lease(2, cap(600), begins=desk.clock.now()))
    await desk.hear(lease(3, kind="safety", begins=desk.clock.now()))
    await desk.after(20)

    assert held_w == [700, 400, 400]
    assert refusal is not None
    assert refusal.code is RefusalCode.LATCHED
    assert desk.limits_w == [700, 700, 700]


async def test_a_replay_after_a_restart_is_refused(desk: Actuated) -> None:
    await desk.hear(lease(5, cap(400)))
    desk.restart()
    await desk.begin()

    refusal = await desk.hear(lease(5, cap(300)))

    assert refusal is not None
    assert refusal.code is RefusalCode.REPLAYED
    assert desk.limits_w == [700, 400, 400]


async def test_of_two_commands_out_of_order_the_newer_holds(desk: Actuated) -> None:
    await desk.hear(lease(2, cap(300)))

    refusal = await desk.hear(lease(1, cap(500)))

    assert refusal is not None
    assert desk.limits_w == [700, 300, 300]


@pytest.mark.parametrize("step_s", [-3600, 3600])
async def test_a_clock_that_is_set_during_a_lease_moves_nothing(desk: Actuated, step_s: float) -> None:
    """By an hour, back or forth, half a minute into it: it ends 60 s after its beginning all the same."""
    await desk.hear(lease(1, cap(400)))
    await desk.after(30)
    desk.clock.move(step_s)

    await desk.after(9)
    held_w = desk.limits_w
    await desk.after(21)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]


async def test_a_clock_that_is_set_while_the_actuator_is_down_moves_nothing(desk: Actuated) -> None:
    """Killed at 12:00:10, the clock set back by an hour, started again."""
    await desk.hear(lease(1, cap(400)))
    await desk.after(10)
    desk.clock.move(-3600)
    desk.restart()
    await desk.begin()

    await desk.after(29)
    held_w = desk.limits_w
    await desk.after(21)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]


async def test_one_gpu_that_may_not_be_set_does_not_stop_the_others(desk: Actuated) -> None:
    desk.host.fail("nvmlDeviceSetPowerManagementLimit", NO_PERMISSION, gpu=1)

    await desk.hear(lease(1, cap(400)))

    assert desk.limits_w == [700, 700, 400]
    assert troubles(desk) == {1: Trouble.NO_PERMISSION, 2: None}
    assert "CAP_SYS_ADMIN" in (desk.said[0].gpus[0].error or "")
    assert desk.said[0].reason == "1 of 2 controls are not as asked"


async def test_a_gpu_that_hangs_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its setter never returns: it is said, it is not asked again, and the others' lease ends when it should."""
    desk = Actuated(fresh(gpus=3), tmp_path, patience_s=0.2)
    await desk.begin()
    desk.host.hang("nvmlDeviceSetPowerManagementLimit", gpu=1)
    try:
        await desk.hear(lease(1, cap(400)))
        told, held_w = troubles(desk), desk.limits_w
        await desk.after(60)
        others_w = desk.limits_w[2]
    finally:
        desk.host.mend()

    assert told == {1: Trouble.HANGS, 2: None}
    assert held_w == [700, 700, 400]
    assert others_w == 700


async def test_a_gpu_that_was_lost_before_the_lease_is_named_as_lost(desk: Actuated) -> None:
    await desk.begin()
    desk.host.lose(1)

    await desk.after(5)
    await desk.hear(lease(1, cap(400)))

    assert troubles(desk) == {1: Trouble.LOST, 2: None}
    assert desk.limits_w[2] == 400


async def test_an_out_of_band_cap_is_reported_and_never_written_back(desk: Actuated) -> None:
    """The BMC holds 300 W: 400 W changes nothing, and in the end 700 W is requested, the BMC's 300 W still in force."""
    desk.host.set_bmc_cap_w(1, 300)
    await desk.hear(lease(1, cap(400)))
    capped = desk.said[0].gpus[0]

    await desk.after(60)

    assert (capped.requested_w, capped.enforced_w, capped.trouble) == (400, 300, Trouble.OUT_OF_BAND)
    assert capped.error is None, "the limit is set as asked"
    assert desk.limits_w == [700, 700, 700]
    assert desk.host.gpu(1).bmc_mw == 300_000


async def test_a_draw_that_stays_above_its_limit_is_said_so(desk: Actuated) -> None:
    """A board that ignores its limit: 629 W drawn under 400 W."""
    desk.host.set_reported_w(1, 629)

    await desk.hear(lease(1, cap(400)))

    assert troubles(desk) == {1: Trouble.NOT_FOLLOWED, 2: None}


async def test_a_limit_that_somebody_raises_is_set_again_twice_and_then_left(desk: Actuated) -> None:
    """Every five seconds it is found at 700 W. The third time it is a conflict; the other GPU stays capped."""
    await desk.hear(lease(1, cap(400), lasts_s=600))
    found = []
    for _ in range(5):
        desk.host.gpu(1).requested_mw = 700_000
        await desk.after(5)
        found.append(desk.limits_w)

    conflict = desk.said[-1]

    assert found == [[700, 400, 400]] * 2 + [[700, 700, 400]] * 3
    assert conflict.status is AckStatus.CONFLICT
    assert [(one.subject, one.asked, one.found, one.trouble) for one in conflict.controls] == [
        (desk.host.uuid(1), 400, 700, Trouble.CONFLICT)
    ]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED, AckStatus.CONFLICT]


async def test_what_somebody_else_has_set_is_not_restored_over(desk: Actuated) -> None:
    """They lower it to 300 W during our lease of 400 W: left alone at once, and still at 300 W when that is over."""
    await desk.hear(lease(1, cap(400)))
    desk.host.gpu(1).requested_mw = 300_000

    await desk.after(5)
    said = desk.said[-1].status
    await desk.after(55)

    assert said is AckStatus.CONFLICT
    assert desk.limits_w == [700, 300, 700]
    assert desk.recorded.touched == {}


async def test_a_gpu_that_is_reset_is_capped_again(desk: Actuated) -> None:
    """A reset clears the limit; that happens once and is no conflict."""
    await desk.hear(lease(1, cap(400)))
    desk.host.reset_gpu(1)

    await desk.after(5)

    assert desk.limits_w == [700, 400, 400]
    assert desk.said[-1].status is AckStatus.APPLIED


async def test_a_driver_that_is_reloaded_is_capped_again(desk: Actuated) -> None:
    """All handles are stale, all limits gone; within seconds NVML is open anew and the lease holds."""
    await desk.hear(lease(1, cap(400)))
    for gpu in desk.host.gpus:
        gpu.persistence = 0
    desk.host.reload_driver()
    reloaded_w = desk.limits_w

    for _ in range(4):
        await desk.after(5)

    assert reloaded_w == [700, 700, 700]
    assert desk.limits_w == [700, 400, 400]


async def test_a_gpu_lost_during_the_lease_is_restored_when_it_is_back(desk: Actuated) -> None:
    """Until then the journal remembers it, and no release is acknowledged."""
    await desk.hear(lease(1, cap(400)))
    desk.host.lose(2)
    await desk.after(60)
    meanwhile, said = desk.recorded.touched, len(desk.said)
    desk.host.recover(2)

    await desk.after(60)
    await desk.after(60)

    assert set(meanwhile[Kind.POWER]) == {desk.host.uuid(2)}
    assert said == 1
    assert desk.limits_w == [700, 700, 700]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED, AckStatus.RELEASED]


async def test_a_lease_survives_a_driver_that_is_away_when_it_begins(desk: Actuated) -> None:
    """Accepted at noon without NVML, applied once NVML is back."""
    desk.host.set_driver(loaded=False)
    await desk.hear(lease(1, cap(400)))
    nothing = list(desk.said)
    desk.host.set_driver(loaded=True)

    await desk.after(5)

    assert nothing == []
    assert desk.limits_w == [700, 400, 400]
    assert desk.said[0].latency_ms == 5000


async def test_stopping_walks_back_in_stages_and_says_why(desk: Actuated) -> None:
    """SIGTERM at 12:00:10: at 12:00:30 all is as it was."""
    await desk.hear(lease(1, cap(400)))
    await desk.after(10)

    desk.actuator.end("stopped")
    await desk.after(0)
    await desk.after(5 * jitter(HOST) + 0.001)
    first_w = desk.limits_w
    await desk.after(20)

    assert first_w == [700, 475, 475]
    assert desk.limits_w == [700, 700, 700]
    assert (desk.said[-1].status, desk.said[-1].reason) == (AckStatus.RELEASED, "stopped")


async def test_stopping_leaves_a_safety_cap_in_force(desk: Actuated) -> None:
    await desk.hear(lease(1, cap(400), kind="safety"))

    desk.actuator.end("stopped")
    await desk.after(60)

    assert desk.actuator.is_at_rest
    assert desk.limits_w == [700, 400, 400]
    assert len(desk.recorded.leases) == 1


async def test_silence_ends_an_economic_lease_early(tmp_path: Path) -> None:
    """Two minutes without contact, of a lease of fifteen."""
    desk = Actuated(fresh(gpus=3), tmp_path, silence=timedelta(minutes=2))
    await desk.hear(lease(1, cap(400), lasts_s=900))
    await desk.after(119)
    held_w = desk.limits_w

    await desk.after(2)
    await desk.after(20)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == [700, 700, 700]
    assert (desk.said[-1].status, desk.said[-1].reason) == (AckStatus.RELEASED, "silence: no contact with Kafka")


async def test_contact_keeps_a_lease_and_silence_keeps_a_safety_cap(tmp_path: Path) -> None:
    desk = Actuated(fresh(gpus=3), tmp_path, silence=timedelta(minutes=2))
    await desk.hear(lease(1, cap(400), lasts_s=900))
    await desk.after(119)
    desk.actuator.contact_at = desk.actuator.steady.now()
    await desk.after(119)
    held_w = desk.limits_w
    await desk.hear(lease(2, cap(300), kind="safety", begins=desk.clock.now()))
    await desk.after(3600)

    assert held_w == [700, 400, 400]
    assert desk.limits_w == [700, 300, 300]


async def test_a_deep_cap_is_walked_in_strokes_and_acknowledged_at_the_last(tmp_path: Path) -> None:
    """At most 200 W a stroke and 100 W/s: 500 W at once, 300 W two seconds later."""
    desk = Actuated(fresh(gpus=3), tmp_path, bounds=Bounds(max_step_w=200, max_rate_w_per_s=100))
    await desk.hear(lease(1, cap(300)))
    first_w, said = desk.limits_w, len(desk.said)

    await desk.after(2)

    assert (first_w, said) == ([700, 500, 500], 0)
    assert desk.limits_w == [700, 300, 300]
    assert [ack.status for ack in desk.said] == [AckStatus.APPLIED]
    assert desk.host.limits_set_w(1) == [500, 300]


async def test_a_gpu_whose_tenant_turns_protected_is_let_go_at_once(desk: Actuated) -> None:
    """The next job on it is T0; its mapping is asked every ten seconds."""
    await desk.hear(lease(1, cap(400)))
    desk.claim(1, tier=Tier.T0)

    await desk.after(10)
    await desk.after(0.25)

    assert desk.limits_w == [700, 700, 400]


async def test_all_gpus_of_a_job_or_none(desk: Actuated) -> None:
    """One of the job's two GPUs is protected, so the other is left alone and named."""
    desk.claim(0, job="one")
    desk.claim(1, job="one")

    await desk.hear(lease(1, cap(400)))

    assert desk.limits_w == [700, 700, 400]
    assert troubles(desk) == {1: Trouble.UNEQUAL, 2: None}


async def test_clocks_are_locked_and_let_go(tmp_path: Path) -> None:
    """990 MHz of 1980 is half the clock: 69.62 + 559.83/2 = 349.5 W of 629.45 W. In the end nothing is locked."""
    desk = Actuated(fresh(gpus=2), tmp_path, levers=[nvml.connect(), clocks.connect()])
    await desk.hear(lease(1, clocks=(clock(990),)))
    locked = desk.host.gpu(1).locked_max_mhz
    (control,), (gpu,) = desk.said[0].controls, desk.said[0].gpus

    await desk.after(60)

    assert locked == 990
    assert (control.kind, control.asked, control.found, control.error) == (Kind.CLOCK, 990, 990, None)
    assert gpu.asked_w is None
    assert gpu.before_w == pytest.approx(629.45)
    assert gpu.after_w == pytest.approx(349.5, abs=0.1)
    assert [one.locked_max_mhz for one in desk.host.gpus] == [0, 0]
    assert desk.limits_w == [700, 700], "no power limit was touched"


async def test_a_lock_of_an_earlier_run_is_let_go(tmp_path: Path) -> None:
    """NVML cannot tell a lock; the journal can."""
    desk = Actuated(fresh(gpus=2), tmp_path, levers=[clocks.connect()])
    await desk.hear(lease(1, clocks=(clock(990),)))
    desk.restart(clocks.connect())
    await desk.begin()

    await desk.after(60)

    assert [one.locked_max_mhz for one in desk.host.gpus] == [0, 0]
    assert desk.recorded.touched == {}


async def test_a_lease_that_names_nothing_of_this_host_says_so(desk: Actuated) -> None:
    await desk.hear(lease(1, cap(400, model="NVIDIA A100-SXM4-40GB")))

    assert desk.said[0].reason == "nothing on this host is named"
    assert (desk.said[0].before_w, desk.said[0].after_w) == (None, None)


async def test_an_idle_actuator_leaves_the_driver_alone(desk: Actuated) -> None:
    """After a minute with nothing to hold NVML is closed, so that a driver can be replaced; a lease opens it again."""
    asked: list[datetime] = []

    class Witness(nvml.Nvml):
        def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:
            asked.append(now)
            return super().find(now, jobs)

        def read(self, subject: str) -> Reading:
            asked.append(NOON)
            return super().read(subject)

    desk.restart(Witness())
    await desk.begin()
    began, users = len(asked), desk.host.users
    await desk.after(61)
    await desk.after(60)
    idle, closed = len(asked), desk.host.users
    await desk.hear(lease(1, cap(400), begins=desk.clock.now()))

    assert (users, closed) == (1, 0)
    assert idle == began
    assert desk.limits_w == [700, 400, 400]


async def test_a_command_accepted_while_the_driver_is_away_is_known_after_a_restart(desk: Actuated) -> None:
    """Nothing was touched, and still its replay is refused."""
    desk.host.set_driver(loaded=False)

    await desk.hear(lease(5, cap(400)))

    assert (desk.recorded.highest_seq, desk.recorded.touched) == (5, {})


async def test_a_journal_of_version_0_1_is_understood(desk: Actuated) -> None:
    """Left by the version before this one in the middle of a curtailment."""
    desk.host.gpu(1).requested_mw = 400_000
    desk.journal.write_text(f'{{"highest_seq": 4, "previous_w": {{"{desk.host.uuid(1)}": 700.0}}}}')
    desk.restart()

    await desk.begin()

    assert desk.limits_w == [700, 700, 700]
    assert isinstance(await desk.hear(lease(4, cap(400))), Refusal)

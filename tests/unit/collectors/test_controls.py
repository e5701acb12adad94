"""What a command asks of each control of a host."""

from dataclasses import replace

import pytest
from doubles.commands import H100, admission, cap, clock, lease

from collectors.controls import Control, asked, left_out, named, power
from collectors.levers import FREE, Key
from pipeline.messages.control import Kind, LeaseCommand
from pipeline.messages.telemetry import Tier

TRAINING = power("a", H100, Tier.T3, 200, 700, 700)
BATCH = power("b", H100, Tier.T2, 200, 700, 700)
PROTECTED = power("c", H100, Tier.T0, 200, 700, 700)
GPUS = (TRAINING, BATCH, PROTECTED)


def levels(controls: tuple[Control, ...], command: LeaseCommand) -> dict[str, float]:
    """Return what is asked by subject."""
    return {key.subject: level for key, level in asked(controls, command).items()}


def test_a_cap_is_clamped_to_tier_device_and_previous_limit() -> None:
    """T3 may go to 30 % of 700 = 210 W, T2 to half = 350 W, T0 nowhere; one at 300 W stays there under a cap of 500."""
    deep, high = lease(1, cap(60), cap(60, Tier.T2), cap(60, Tier.T0)), lease(2, cap(500))

    assert levels(GPUS, deep) == {"a": 210, "b": 350}
    assert levels((replace(TRAINING, previous=300),), high) == {"a": 300}


def test_only_the_named_model_is_capped() -> None:
    assert levels(GPUS, lease(1, cap(400, model="NVIDIA A100-SXM4-40GB"))) == {}


def test_a_clock_has_the_tiers_floor_too() -> None:
    """An H100's SM clock reaches 1980 MHz; T2 keeps half of it, 990 MHz."""
    clocks = Control(Key(Kind.CLOCK, "b"), Tier.T2, 0, 1980, FREE, model=H100)

    assert levels((clocks,), lease(1, clocks=(clock(1200, Tier.T2),))) == {"b": 1200}
    assert levels((clocks,), lease(1, clocks=(clock(300, Tier.T2),))) == {"b": 990}


def test_only_preemptible_jobs_are_paused() -> None:
    jobs = tuple(Control(Key(Kind.RUN, name), tier, 0, 1, 1) for name, tier in (("late", Tier.T3), ("chat", Tier.T1)))

    assert levels(jobs, lease(1, pauses=(Tier.T3, Tier.T1))) == {"late": 0}


@pytest.mark.parametrize(("share", "requests"), [(0.75, 30), (0.76, 31), (0.1, 20)])
def test_a_share_of_the_requests_is_rounded_up_and_has_the_tiers_floor(share: float, requests: float) -> None:
    """40 at once; 76 % are 30.4, so 31; T2 keeps half of them."""
    engine = Control(Key(Kind.ADMISSION, "batch"), Tier.T2, 1, 40, FREE)

    assert levels((engine,), lease(1, admissions=(admission(share, Tier.T2),))) == {"batch": requests}


def test_all_gpus_of_a_job_get_the_highest_of_their_levels() -> None:
    """One board takes no less than 500 W, so its job's other one gets 500 W as well, and a stranger's 400 W."""
    stiff = power("a", H100, Tier.T3, 500, 700, 700, "job-1")
    gpus = (stiff, power("b", H100, Tier.T3, 200, 700, 700, "job-1"), power("d", H100, Tier.T3, 200, 700, 700, "job-2"))

    assert levels(gpus, lease(1, cap(400))) == {"a": 500, "b": 500, "d": 400}


def test_a_job_that_cannot_be_set_alike_is_left_alone() -> None:
    """Its second GPU is another model, which the lease does not name: capping the first would free little, cost all."""
    other = power("b", "NVIDIA A100-SXM4-40GB", Tier.T3, 100, 400, 400, "job-1")
    bystander = power("d", H100, Tier.T3, 200, 700, 700, "job-2")
    gpus, command = (replace(TRAINING, job="job-1"), other, bystander), lease(1, cap(400))

    assert levels(gpus, command) == {"d": 400}
    assert left_out(gpus, command) == {TRAINING.key: "job job-1 also runs on b, which cannot be set alike"}


def test_a_protected_gpu_protects_its_whole_job() -> None:
    gpus = (replace(TRAINING, job="job-1"), replace(PROTECTED, job="job-1"))

    assert levels(gpus, lease(1, cap(400))) == {}


@pytest.mark.parametrize(("answers", "refuses"), [(False, False), (True, True)])
def test_a_gpu_that_fails_takes_its_job_out_and_nobody_else(*, answers: bool, refuses: bool) -> None:
    """Seven capped GPUs wait for the eighth; a GPU that is a job of its own is asked all the same."""
    gpus = (
        replace(TRAINING, job="job-1"),
        replace(power("b", H100, Tier.T3, 200, 700, 700, "job-1"), answers=answers, refuses=refuses),
        replace(power("d", H100, Tier.T3, 200, 700, 700, "job-2"), refuses=True),
    )

    assert levels(gpus, lease(1, cap(400))) == {"d": 400}
    assert {key.subject for key in named(gpus, lease(1, cap(400)))} == {"a", "b", "d"}


def test_an_orphan_keeps_a_safety_cap_and_no_other() -> None:
    """Its mapping has fallen silent."""
    orphan = replace(TRAINING, is_orphan=True)

    assert levels((orphan,), lease(1, cap(400))) == {}
    assert levels((orphan,), lease(1, cap(400), kind="safety")) == {"a": 400}

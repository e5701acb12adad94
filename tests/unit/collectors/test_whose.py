"""Whose GPU is whose, for an actuator."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from threading import Event

from doubles.actuated import Said
from doubles.commands import NOON

from collectors import Place, SourceError
from collectors.mappings import Claim
from collectors.whose import Whose, claim_on, gpus_of, jobs
from pipeline.messages.telemetry import Tier

TRAINING, CHAT = Claim(job="train", tier=Tier.T3), Claim(job="chat", tier=Tier.T1)


class Failing(Said):
    """A mapping that cannot tell."""

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - it fails
        """Fail."""
        raise SourceError("no answer")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def test_claims_are_known_from_the_first_question_on() -> None:
    whose = Whose({"said": Said({"GPU-1": TRAINING})}, lambda: ())

    await whose.know(NOON)

    assert whose.claims(NOON) == {"GPU-1": TRAINING}


async def test_a_mapping_that_falls_silent_is_believed_for_three_periods() -> None:
    """Asked every ten seconds; from 12:00:30.001 on its GPUs are nobody's."""
    mapping = Said({"GPU-1": TRAINING})
    whose = Whose({"said": mapping}, lambda: ())
    await whose.know(NOON)
    mapping.claims = Failing({}).claims  # type: ignore[method-assign] # it breaks
    for second in (10, 20, 30):
        await whose.know(at(second))

    assert whose.claims(at(30)) == {"GPU-1": TRAINING}
    assert whose.claims(at(30.001)) == {}


async def test_after_a_long_sleep_claims_are_waited_for() -> None:
    """A host that was suspended for an hour does not take its tenants for nobody."""
    whose = Whose({"said": Said({"GPU-1": TRAINING})}, lambda: ())
    await whose.know(NOON)

    await whose.know(at(3600))

    assert whose.claims(at(3600)) == {"GPU-1": TRAINING}


async def test_a_mapping_that_hangs_holds_up_no_other_for_long() -> None:
    """Its thread is left alone; what the other says is known."""
    over = Event()

    class Hanging(Said):
        def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - it hangs
            over.wait(60)
            return {}

    whose = Whose({"hangs": Hanging({}), "said": Said({"GPU-1": TRAINING})}, lambda: ())

    await whose.know(NOON)
    known = whose.claims(NOON)
    over.set()

    assert known == {"GPU-1": TRAINING}


def test_a_job_with_gpus_of_two_tiers_is_as_protected_as_the_better_one() -> None:
    mixed = {"GPU-1": TRAINING, "GPU-2": Claim(job="train", tier=Tier.T1), "GPU-3": CHAT}

    assert jobs(mixed)["train"].tier is Tier.T1
    assert claim_on("train", mixed) == Claim(job="train", tier=Tier.T1)
    assert claim_on("GPU-1", mixed) == TRAINING
    assert claim_on("GPU-9", mixed) is None
    assert gpus_of(["train"], mixed) == ["GPU-1", "GPU-2"]

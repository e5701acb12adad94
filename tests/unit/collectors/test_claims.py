"""One claim for each GPU out of what several mappings say."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from collectors import Place
from collectors.claims import Use, gathered, merged, most_protected
from collectors.mappings import Claim
from pipeline.messages.telemetry import Tier

WHOLE = Place(uuid="GPU-w", index=0, minor=0)
SPLIT = Place(uuid="GPU-s", index=1, minor=1, mig=("MIG-1", "MIG-2", "MIG-3"))
PLACES = (WHOLE, SPLIT)

CHAT = Claim(job="chat", tenant="web", tier=Tier.T1)
TRAIN = Claim(job="train", tenant="lab", tier=Tier.T3)
BATCH = Claim(job="batch", tenant="lab", tier=Tier.T2)


def test_where_two_mappings_claim_a_gpu_the_first_one_holds() -> None:
    assert merged([{"GPU-w": TRAIN}, {"GPU-w": CHAT}], PLACES) == {"GPU-w": TRAIN}
    assert merged([{"GPU-w": CHAT}, {"GPU-w": TRAIN}], PLACES) == {"GPU-w": CHAT}


def test_mappings_that_claim_different_gpus_add_up() -> None:
    assert merged([{"GPU-w": TRAIN}, {"GPU-x": CHAT}], PLACES) == {"GPU-w": TRAIN, "GPU-x": CHAT}


def test_gpus_that_nobody_claims_are_absent() -> None:
    assert merged([], PLACES) == {}
    assert merged([{}, {}], PLACES) == {}


def test_the_most_protected_tenant_of_a_mig_gpu_wins() -> None:
    claims = {"MIG-1": TRAIN, "MIG-2": CHAT, "MIG-3": BATCH}

    assert merged([claims], PLACES) == {"GPU-s": CHAT}


def test_a_mig_gpu_with_an_instance_that_nobody_claims_is_t0() -> None:
    """Whoever uses the third instance is unknown, and a limit on the GPU would reach them. The job keeps its name."""
    assert merged([{"MIG-1": TRAIN, "MIG-2": TRAIN}], PLACES) == {
        "GPU-s": Claim(job="train", tenant="lab", tier=Tier.T0)
    }


def test_instances_of_one_gpu_may_be_claimed_by_different_mappings() -> None:
    assert merged([{"MIG-1": TRAIN, "MIG-2": TRAIN}, {"MIG-3": BATCH}], PLACES) == {"GPU-s": BATCH}


def test_a_claim_on_a_split_gpu_covers_the_instances_that_earlier_mappings_left() -> None:
    """How an operator says that idle instances may be counted: the GPU in a mapping configured last."""
    idle = Claim(tenant="nobody", tier=Tier.T3)

    assert merged([{"MIG-1": BATCH}, {"GPU-s": idle}], PLACES) == {"GPU-s": BATCH}


def test_a_claim_on_a_split_gpu_in_the_first_mapping_holds_over_its_instances() -> None:
    assert merged([{"GPU-s": TRAIN}, {"MIG-1": CHAT}], PLACES) == {"GPU-s": TRAIN}


def test_in_one_mapping_neither_a_gpu_nor_its_instance_is_less_protected_than_the_other() -> None:
    every = {"MIG-1": TRAIN, "MIG-2": TRAIN, "MIG-3": TRAIN}

    assert merged([every | {"GPU-s": CHAT}], PLACES) == {"GPU-s": CHAT}
    assert merged([every | {"GPU-s": TRAIN, "MIG-2": CHAT}], PLACES) == {"GPU-s": CHAT}


def test_an_instance_whose_gpu_is_not_known_claims_nothing() -> None:
    """NVML is away, or the GPU has been split anew: better no claim than one on the wrong GPU."""
    assert merged([{"MIG-9": TRAIN}], PLACES) == {}
    assert merged([{"MIG-1": TRAIN}], ()) == {}


def test_whole_gpus_need_no_places() -> None:
    assert merged([{"GPU-w": TRAIN}], ()) == {"GPU-w": TRAIN}


def test_an_instance_named_as_drivers_did_before_r470_tells_its_gpu_itself() -> None:
    claims = {"MIG-GPU-a1-b2/1/0": TRAIN, "MIG-GPU-a1-b2/2/0": CHAT}

    assert merged([claims], ()) == {"GPU-a1-b2": CHAT}


def test_those_who_share_a_gpu_are_one_claim_the_most_protected() -> None:
    uses = [Use("GPU-w", TRAIN), Use("GPU-w", CHAT), Use("MIG-1", TRAIN)]

    assert gathered(uses, PLACES) == {"GPU-w": CHAT, "MIG-1": TRAIN}


def test_instances_known_by_number_take_the_gpus_instances_in_order() -> None:
    """GPU instances 7, 9 and 12 are the three there are, so the GPU is claimed whole: T2, of the most protected."""
    uses = [Use("GPU-s", TRAIN, 12), Use("GPU-s", BATCH, 9), Use("GPU-s", TRAIN, 7)]

    claims = gathered(uses, PLACES)

    assert claims == {"MIG-1": TRAIN, "MIG-2": BATCH, "MIG-3": TRAIN}
    assert merged([claims], PLACES) == {"GPU-s": BATCH}


def test_a_mig_gpu_of_which_only_some_numbered_instances_are_claimed_is_t0() -> None:
    assert merged([gathered([Use("GPU-s", TRAIN, 7)], PLACES)], PLACES)["GPU-s"].tier is Tier.T0


def test_more_numbered_instances_than_the_gpu_has_lose_no_tenant() -> None:
    """A fourth one is left over from before a new split: it counts for the whole GPU."""
    uses = [*(Use("GPU-s", TRAIN, number) for number in (7, 8, 9)), Use("GPU-s", CHAT, 13)]

    assert merged([gathered(uses, PLACES)], PLACES) == {"GPU-s": CHAT}


names = st.sampled_from([None, "a", "b", "c"])
claims = st.builds(Claim, job=names, tenant=names, tier=st.sampled_from(Tier))
units = st.sampled_from(["GPU-w", "GPU-s", "MIG-1", "MIG-2", "MIG-3"])
said = st.dictionaries(units, claims)
SPLIT_UNITS = {"GPU-s", *SPLIT.mig}


@given(st.lists(claims, min_size=1, max_size=4))
def test_who_is_most_protected_does_not_depend_on_the_order_asked(several: list[Claim]) -> None:
    assert len({repr(most_protected(order)) for order in permutations(several)}) == 1


@given(said, st.permutations(SPLIT.mig))
def test_folding_does_not_depend_on_the_order_of_claims_and_instances(one: dict[str, Claim], mig: list[str]) -> None:
    backwards = dict(reversed(one.items()))
    elsewhere = (Place(uuid="GPU-s", index=1, mig=tuple(mig)), WHOLE)

    assert merged([one], PLACES) == merged([backwards], elsewhere)


@given(said)
def test_a_mig_gpu_is_never_less_protected_than_any_of_its_tenants(one: dict[str, Claim]) -> None:
    tenants = [claim.tier for uuid, claim in one.items() if uuid in SPLIT_UNITS]

    found = merged([one], PLACES).get("GPU-s")

    assert (found is None) == (not tenants)
    assert found is None or found.tier <= min(tenants)


@given(st.lists(said, max_size=3))
def test_a_mig_gpu_with_an_instance_that_no_mapping_claims_is_always_t0(several: list[dict[str, Claim]]) -> None:
    claimed = {uuid for one in several for uuid in one}

    found = merged(several, PLACES).get("GPU-s")

    if found and "GPU-s" not in claimed and not claimed >= set(SPLIT.mig):
        assert found.tier is Tier.T0


@given(st.lists(said, max_size=3))
def test_a_later_mapping_never_takes_protection_from_a_gpu_that_is_claimed_whole(
    several: list[dict[str, Claim]],
) -> None:
    """Whatever the mappings behind it say, the first one's claim on a whole GPU is what holds."""
    first = next((one["GPU-w"] for one in several if "GPU-w" in one), None)

    assert merged(several, PLACES).get("GPU-w") == first


@given(said, st.dictionaries(st.integers(0, 14), claims, max_size=5))
def test_no_user_of_a_numbered_instance_is_forgotten(one: dict[str, Claim], numbered: dict[int, Claim]) -> None:
    uses = [*(Use(uuid, claim) for uuid, claim in one.items()), *(Use("GPU-s", c, n) for n, c in numbered.items())]

    found = merged([gathered(uses, PLACES)], PLACES).get("GPU-s")

    assert all(found is not None and found.tier <= claim.tier for claim in numbered.values())

"""
One claim for each GPU out of what several mappings say. Pure.

Claims are made on units: the MIG instances of a GPU, or the GPU itself where it is not split. A claim on a split GPU
is one on each of its instances. Two rules then give the GPU's claim:

    for each unit    the first mapping that says anything of it holds (order of configuration)
    for each GPU     the most protected of its units' claims holds, T0 before T3

A limit is set for a whole GPU and reaches whoever runs on it, so an instance that nobody has claimed makes its GPU T0:
that nobody is known to use it does not mean that nobody does. The known tenant keeps its name on the GPU. Whoever wants
idle instances to count claims the GPU itself in a mapping configured after the others.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from collectors import Place
from collectors.mappings import Claim
from pipeline.messages.telemetry import Tier

MIG = "MIG-"
"""How an instance's UUID begins. Before driver R470 it was ``MIG-<UUID of the GPU>/<GI>/<CI>`` (MIG user guide)."""


class Use(NamedTuple):
    """One user of one GPU, of one of its MIG instances, or of a part of it."""

    uuid: str
    claim: Claim
    instance: int | None = None
    """The MIG GPU instance's id on the GPU `uuid`, where its own UUID is not told."""


def gathered(uses: Iterable[Use], places: Sequence[Place]) -> dict[str, Claim]:
    """
    Return the claims by UUID; of those who share a GPU or an instance the most protected one's holds.

    Instances known by number only take the GPU's instances in ascending order: which number is which UUID makes no
    difference to the claim on their GPU. Those that are more than it has instances count for all of it.
    """
    uses = list(uses)
    instances = {place.uuid: place.mig for place in places}
    numbers: dict[str, set[int]] = defaultdict(set)
    for use in uses:
        if use.instance is not None:
            numbers[use.uuid].add(use.instance)
    units: dict[tuple[str, int | None], str] = {
        (gpu, number): unit
        for gpu, found in numbers.items()
        for number, unit in zip(sorted(found), instances.get(gpu, ()), strict=False)
    }
    shared: dict[str, list[Claim]] = defaultdict(list)
    for use in uses:
        shared[units.get((use.uuid, use.instance), use.uuid)].append(use.claim)
    return {uuid: most_protected(claims) for uuid, claims in shared.items()}


def merged(found: Sequence[Mapping[str, Claim]], places: Sequence[Place]) -> dict[str, Claim]:
    """
    Return the claims by GPU UUID, instances folded into their GPU; a GPU without any claim is not in it.

    *found* is what each mapping says, in order of configuration. GPUs that *places* does not list are taken to be
    whole; an instance whose GPU is not known there is left out, and its GPU stays unclaimed.
    """
    instances = _instances(found, places)
    gpus = dict.fromkeys([*instances, *(uuid for claims in found for uuid in claims if not uuid.startswith(MIG))])
    folded = ((gpu, _folded([_first(found, gpu, unit) for unit in instances.get(gpu) or (gpu,)])) for gpu in gpus)
    return {gpu: claim for gpu, claim in folded if claim is not None}


def most_protected(claims: Iterable[Claim]) -> Claim:
    """
    Return the claim that protects most; *claims* in any order, at least one.

    Among equals the first by name, those with a job before those without: the same set gives the same answer.
    """
    return min(claims, key=_precedence)


def _precedence(claim: Claim) -> tuple[object, ...]:
    names = (claim.job, claim.tenant, claim.served_model)
    return (claim.tier, *((name is None, name or "") for name in names), claim.workload)


def _instances(found: Sequence[Mapping[str, Claim]], places: Sequence[Place]) -> dict[str, tuple[str, ...]]:
    """Return the instances of each GPU, those of old drivers by the GPU in their own name."""
    known = {place.uuid: place.mig for place in places}
    listed = {unit for units in known.values() for unit in units}
    for unit in dict.fromkeys(unit for claims in found for unit in claims):
        gpu = _gpu_in_name(unit)
        if gpu and unit not in listed:
            known[gpu] = (*known.get(gpu, ()), unit)
    return known


def _gpu_in_name(unit: str) -> str:
    return unit.removeprefix(MIG).partition("/")[0] if unit.startswith(f"{MIG}GPU-") else ""


def _first(found: Sequence[Mapping[str, Claim]], gpu: str, unit: str) -> Claim | None:
    """Return what the first mapping that says anything of *unit*, or of its GPU, says; None if none does."""
    return next((most_protected(said) for claims in found if (said := list(_said(claims, gpu, unit)))), None)


def _said(claims: Mapping[str, Claim], gpu: str, unit: str) -> Iterator[Claim]:
    return (claims[uuid] for uuid in dict.fromkeys((gpu, unit)) if uuid in claims)


def _folded(units: Sequence[Claim | None]) -> Claim | None:
    """Return the claim on a GPU of those *units*, None if nobody has claimed any."""
    claimed = [claim for claim in units if claim is not None]
    if not claimed:
        return None
    claim = most_protected(claimed)
    return claim if len(claimed) == len(units) else msgspec.structs.replace(claim, tier=Tier.T0)

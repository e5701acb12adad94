"""
What one nvmlDeviceGetFieldValues call tells about a GPU: draw, energy, limits, and how long something held it back.

Every field has a return code of its own, which is looked at, and the instant at which the driver read it. Field ids
are NVML's (nvml.h of API 13); milliwatts, millijoules and nanoseconds stay in this file.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, NamedTuple

import pynvml

from collectors.nvml.codes import SUCCESS, WHOLE_GPU, NVMLError

POWER_INSTANT, POWER_AVERAGE, ENFORCED_LIMIT, REQUESTED_LIMIT = 186, 185, 190, 192
ENERGY, SCOPED_ENERGY = 83, 191
CAPPED = 74
GPU_SCOPE, MODULE_SCOPE = 0, 1

SLOWDOWNS = ((269, 270, 271), (251, 252, 253))
"""
Counters of software thermal, hardware thermal and power-brake slowdown: NVIDIA has numbered them twice.

269 to 271 in nvidia-ml-py 13.615.71; 251 to 253 in nvml.h 12.9.40 and to the nvidia-smi of driver 580.65.06 (the
throttle counters of NVIDIA/k8s-test-infra's mock). To each of the two, the other's ids are settings of power smoothing.
"""

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: nvmlFieldValue_t: field, scope, timestamp in µs since 1970, latency in µs, type, return code, value.
FIELD = Struct("@IIqqIi8s")
#: By type: how to read the value, a union of C numbers.
NUMBERS = {
    0: Struct("d"),
    1: Struct("I"),
    2: Struct("L"),
    3: Struct("Q"),
    4: Struct("q"),
    5: Struct("i"),
    6: Struct("H"),
}


class Answer(NamedTuple):
    """What NVML says of one field."""

    code: int
    read_us: int
    """Microseconds since 1970; 0: not said."""
    kind: int
    """NVML's value type."""
    bits: bytes


class Layout(NamedTuple):
    """What to ask one GPU for; found out once per opening of NVML."""

    scope: int
    """The power scope that answers: the GPU's own, or that of its CPU+GPU module."""
    fields: tuple[tuple[int, int], ...]
    """Field and scope, in the order of `Fields`; the slowdown counters are left out where nobody knows their ids."""


class Fields(NamedTuple):
    """One answer. Watts, joules, seconds; what the card does not know is None."""

    power_w: float | None
    average_w: float | None
    enforced_w: float | None
    requested_w: float | None
    energy_j: float | None
    capped_s: float | None
    thermal_s: float | None
    braked_s: float | None
    read_at: datetime | None
    """When the driver read the draw, by the host's own clock."""


def layout(handle: Any) -> Layout:
    """Return what to ask the GPU of *handle* for; raise `NVMLError` if it does not answer."""
    scope = _scope(handle)
    energy = ENERGY if scope == GPU_SCOPE else SCOPED_ENERGY
    power = (POWER_INSTANT, POWER_AVERAGE, ENFORCED_LIMIT, REQUESTED_LIMIT, energy)
    counters = (CAPPED, *_slowdowns(handle))
    return Layout(scope, (*((field, scope) for field in power), *((field, GPU_SCOPE) for field in counters)))


def read_fields(handle: Any, asked: Layout) -> Fields:
    """Return what the GPU of *handle* measures now, in one driver call; raise `NVMLError` if it cannot answer."""
    answers = _ask(handle, asked.fields)
    power, average, enforced, requested, energy, capped, *slowdowns = [_number(answer) for answer in answers]
    sw_thermal, hw_thermal, brake = slowdowns or (None, None, None)
    return Fields(
        power_w=_thousandths(power),
        average_w=_thousandths(average),
        enforced_w=_thousandths(enforced),
        requested_w=_thousandths(requested),
        energy_j=_thousandths(energy),
        capped_s=_seconds(capped),
        thermal_s=_seconds(_sum(sw_thermal, hw_thermal)),
        braked_s=_seconds(brake),
        read_at=_read_at(answers[:2]),
    )


def _ask(handle: Any, fields: Sequence[tuple[int, int]]) -> list[Answer]:
    values = pynvml.nvmlDeviceGetFieldValues(handle, fields)
    return [Answer(code, read_us, kind, bits) for _, _, read_us, _, kind, code, bits in FIELD.iter_unpack(values)]


def _scope(handle: Any) -> int:
    """Return the first power scope that answers: some superchips know only the module's."""
    for scope in (GPU_SCOPE, MODULE_SCOPE):
        if any(answer.code == SUCCESS for answer in _ask(handle, [(POWER_INSTANT, scope), (POWER_AVERAGE, scope)])):
            return scope
    return GPU_SCOPE


def _slowdowns(handle: Any) -> tuple[int, ...]:
    """
    Return the ids under which this driver counts slowdowns; none where that is not certain.

    They are known by their type: a counter of nanoseconds is 64 bits wide, settings of power smoothing are not.
    """
    certain = [ids for ids in SLOWDOWNS if _are_counters(_ask(handle, [(field, GPU_SCOPE) for field in ids]))]
    return certain[0] if len(certain) == 1 else ()


def _are_counters(answers: Sequence[Answer]) -> bool:
    kinds = {answer.kind for answer in answers if answer.code == SUCCESS}
    return kinds == {pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG}


def _number(answer: Answer) -> float | None:
    """Return a field's number, None where the card has none; what is the whole GPU's trouble is raised."""
    if answer.code in WHOLE_GPU:
        raise NVMLError(answer.code)
    if answer.code != SUCCESS or answer.kind not in NUMBERS:
        return None
    number: float = NUMBERS[answer.kind].unpack_from(answer.bits)[0]
    return number


def _read_at(answers: Sequence[Answer]) -> datetime | None:
    """Return the timestamp of the first field that answered, to the microsecond."""
    stamps = (answer.read_us for answer in answers if answer.code == SUCCESS and answer.read_us > 0)
    return next((UNIX_EPOCH + timedelta(microseconds=stamp) for stamp in stamps), None)


def _thousandths(number: float | None) -> float | None:
    return None if number is None else number / 1000


def _seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None

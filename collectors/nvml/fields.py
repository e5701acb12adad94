"""
What one nvmlDeviceGetFieldValues call tells about a GPU: draw, energy, limits, and how long something held it back.

Every field has a return code of its own, which is looked at, and the instant at which the driver read it. Field ids
are NVML's (nvml.h of API 13); milliwatts, millijoules and nanoseconds stay in this file.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

import pynvml

from collectors import SourceError
from collectors.nvml.calls import Calls
from collectors.nvml.codes import FUNCTION_NOT_FOUND, SUCCESS, WHOLE_GPU, NVMLError

POWER_INSTANT, POWER_AVERAGE, ENFORCED_LIMIT, REQUESTED_LIMIT = 186, 185, 190, 192
MIN_LIMIT, MAX_LIMIT = 187, 188
ENERGY, SCOPED_ENERGY = 83, 191
CAPPED = 74
GPU_SCOPE, MODULE_SCOPE = 0, 1

SLOWDOWNS = ((269, 270, 271), (251, 252, 253))
"""
Counters of software thermal, hardware thermal and power-brake slowdown: NVIDIA has numbered them twice.

269 to 271 in nvidia-ml-py 13.615.71; 251 to 253 in nvml.h 12.9.40 and to the nvidia-smi of driver 580.65.06 (the
throttle counters of NVIDIA/k8s-test-infra's mock). To each of the two, the other's ids are settings of power smoothing.
"""

GA100 = (8, 0)
"""
Compute capability of the last chips whose nvmlDeviceGetPowerUsage is instantaneous; later ones average over a second.

nvml.h, nvmlDeviceGetPowerUsage: "On Ampere (except GA100) or newer GPUs, the API returns power averaged over 1 sec
interval. On GA100 and older architectures, instantaneous power is returned."
"""

Scalars: TypeAlias = tuple[tuple[str, Callable[[Any], int]], ...]
"""By figure of `Fields`: the call of its own that tells it, in milliwatts or millijoules."""

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
    min_w: float | None
    max_w: float | None
    """The range of limits of that scope."""
    scalars: Scalars = ()
    """What no field tells, as on driver 515, and a call of its own does; empty, and for nothing, on newer drivers."""


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
    """When the driver read the draw, by the host's own clock; not said of calls of their own."""

    @property
    def tells_power(self) -> bool:
        """Whether the draw is known."""
        return self.power_w is not None or self.average_w is not None


def layout(calls: Calls, handle: Any) -> Layout:
    """Return what to ask the GPU of *handle* for; raise `NVMLError` if it does not answer."""
    try:
        scope = _scope(handle)
    except NVMLError as error:
        if error.value == FUNCTION_NOT_FOUND:
            raise SourceError(f"this driver is too old for firmwatt: {error}; 515 or newer will do") from error
        raise
    energy = ENERGY if scope == GPU_SCOPE else SCOPED_ENERGY
    power = (POWER_INSTANT, POWER_AVERAGE, ENFORCED_LIMIT, REQUESTED_LIMIT, energy)
    counters = (CAPPED, *_slowdowns(handle))
    fields = (*((field, scope) for field in power), *((field, GPU_SCOPE) for field in counters))
    if scope == MODULE_SCOPE:
        least, most = (_number(answer) for answer in _ask(handle, [(MIN_LIMIT, scope), (MAX_LIMIT, scope)]))
        return Layout(scope, fields, _thousandths(least), _thousandths(most))
    least, most = calls.ask(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (None, None)
    return Layout(scope, fields, _thousandths(least), _thousandths(most), _scalars(calls, handle, fields))


def read_fields(calls: Calls, handle: Any, asked: Layout) -> Fields:
    """
    Return what the GPU of *handle* measures now; raise `NVMLError` if it cannot answer.

    That is one driver call, and one more for each figure that this driver has no field for.
    """
    fields = _fields(_ask(handle, asked.fields))
    missing = [(figure, call) for figure, call in asked.scalars if getattr(fields, figure) is None]
    told: dict[str, Any] = {figure: _thousandths(calls.ask(call, handle)) for figure, call in missing}
    return fields._replace(**told)


def _fields(answers: Sequence[Answer]) -> Fields:
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


def _scalars(calls: Calls, handle: Any, fields: Sequence[tuple[int, int]]) -> Scalars:
    """Return the calls that tell what none of *fields* does: most of them where a driver has no fields of power."""
    known = _fields(_ask(handle, fields))
    substitutes: Scalars = (
        ("enforced_w", pynvml.nvmlDeviceGetEnforcedPowerLimit),
        ("requested_w", pynvml.nvmlDeviceGetPowerManagementLimit),
        ("energy_j", pynvml.nvmlDeviceGetTotalEnergyConsumption),
    )
    if not known.tells_power:
        capability = calls.ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
        is_instant = capability is not None and tuple(capability) <= GA100
        substitutes += (("power_w" if is_instant else "average_w", pynvml.nvmlDeviceGetPowerUsage),)
    missing = [(figure, call) for figure, call in substitutes if getattr(known, figure) is None]
    return tuple((figure, call) for figure, call in missing if calls.ask(call, handle) is not None)


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

"""
Power caps through NVML. Needs root, in practice CAP_SYS_ADMIN.

Only the v1 setter is used: nvidia-ml-py 13.615.71 drops the return code of nvmlDeviceSetPowerManagementLimit_v2 and
reports success whatever happened. A GPU of which only the CPU+GPU module answers needs v2 and is left alone.
"""

from collections.abc import Collection
from datetime import datetime

import pynvml

from collectors.levers import Found, LeverError, Reading
from collectors.levers._nvml_gpus import Device, Gpus, note
from collectors.nvml.calls import SW_POWER_CAP, event_reasons
from collectors.nvml.fields import GPU_SCOPE, read_fields
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import Positive, Section


class Settings(Section, frozen=True, kw_only=True):
    """``[lever.nvml]``."""

    timeout_s: Positive = 1.0
    """A call that is out for longer hangs; setting a limit takes the driver 10 to 20 ms (zeus#29)."""


def connect(settings: Settings | None = None) -> "Nvml":
    """Return the lever; NVML is opened by the first call of `find`."""
    return Nvml(settings)


class Nvml:
    """The GPUs of this host that can be capped."""

    kind = Kind.POWER

    def __init__(self, settings: Settings | None = None) -> None:
        self.patience_s = (settings or Settings()).timeout_s
        self._gpus = Gpus()
        self._capped_s: dict[str, float | None] = {}
        """By UUID, what the counter stood at; forgotten with each new limit, which it says nothing of yet."""

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:  # noqa: ARG002 - GPUs are no jobs
        """Return the GPUs whose own scope answers and that tell a range of limits."""
        return self._gpus.find(now, _can_be_limited)

    def read(self, subject: str) -> Reading:
        """Return limit and draw, watts."""
        return self._gpus.ask(subject, self._read)

    def set(self, subject: str, level: float) -> None:
        """Ask for a limit of *level* watts, to the nearest milliwatt."""

        def ask(device: Device) -> None:
            pynvml.nvmlDeviceSetPowerManagementLimit(device.found.handle, round(level * 1000))

        try:
            self._gpus.ask(subject, ask)
        except LeverError as error:
            raise LeverError(f"cannot set {level:.1f} W: {error}", error.trouble) from error
        self._capped_s.pop(subject, None)

    def close(self) -> None:
        """Let go of NVML."""
        self._gpus.close()

    def _read(self, device: Device) -> Reading:
        found, asked = device.found, device.asked
        fields = read_fields(found.calls, found.handle, asked)
        if asked.min_w is None or asked.max_w is None or fields.requested_w is None:
            raise LeverError("this card has no power limit to set", Trouble.NOT_SUPPORTED)
        return Reading(
            subject=found.uuid,
            lowest=asked.min_w,
            highest=asked.max_w,
            requested=fields.requested_w,
            enforced=fields.enforced_w,
            power_w=fields.power_w,
            binding=self._binding(device, fields.capped_s),
            model=device.model,
            note=note(device),
        )

    def _binding(self, device: Device, capped_s: float | None) -> bool | None:
        """
        Tell whether the limit holds the clocks down, or has since the reading before; None where nobody says.

        The counter of time spent capped (field 74) catches what the bit, looked at now and then, would miss.
        """
        reasons = event_reasons(device.found.calls, device.found.handle)
        before_s, self._capped_s[device.found.uuid] = self._capped_s.get(device.found.uuid), capped_s
        has_counted = None if capped_s is None or before_s is None else capped_s > before_s
        if reasons is None:
            return has_counted
        return bool(reasons & SW_POWER_CAP) or bool(has_counted)


def _can_be_limited(device: Device) -> bool:
    return device.asked.scope == GPU_SCOPE and device.asked.max_w is not None

"""The GPUs of this host as NVML levers turn them: one session, opened when needed, each GPU asked what it is once."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, TypeVar

import pynvml

from collectors import Place, SourceError
from collectors.levers import Found as FoundSubject
from collectors.levers import LeverError
from collectors.nvml import Found, Session, identify
from collectors.nvml.codes import GONE, LIFE_CYCLE, NO_PERMISSION, NOT_SUPPORTED, NVMLError
from collectors.nvml.fields import Layout, layout
from pipeline.messages.control import Trouble

T = TypeVar("T")

INVALID_ARGUMENT = 2
TROUBLES = {
    NO_PERMISSION: Trouble.NO_PERMISSION,
    INVALID_ARGUMENT: Trouble.OUT_OF_RANGE,
    NOT_SUPPORTED: Trouble.NOT_SUPPORTED,
    **dict.fromkeys(LIFE_CYCLE | GONE, Trouble.LOST),
}
HINTS = {Trouble.NO_PERMISSION: "; the actuator needs CAP_SYS_ADMIN"}


class Device(NamedTuple):
    """One GPU of an open session, and what to ask it for."""

    found: Found
    model: str
    place: Place
    asked: Layout
    forgets: bool
    """Persistence mode is off: the driver unloads with its last user, and what was set goes with it."""


class Gpus:
    """NVML's GPUs by UUID. A GPU that does not answer is left out, and looked for anew before long."""

    def __init__(self, session: Session | None = None) -> None:
        self._session = session or Session()
        self._devices: dict[str, Device] = {}
        self._lost: set[str] = set()

    def find(self, now: datetime, can: Callable[[Device], bool]) -> tuple[FoundSubject, ...]:
        """Return the GPUs that answer and of which *can* is true; raise `SourceError` where there is no NVML."""
        if self._lost:
            self._session.reopen(now)
        devices = self._session.devices(now)
        if not devices:
            self._session.reopen(now)
            raise SourceError("NVML shows GPUs, and none of them answers: see the kernel log")
        self._look(devices)
        if not self._lost:
            self._session.healthy()
        able = {uuid: device for uuid, device in self._devices.items() if can(device)}
        return tuple(FoundSubject(uuid, device.place) for uuid, device in able.items())

    def ask(self, uuid: str, call: Callable[[Device], T]) -> T:
        """Return what *call* answers for one GPU; raise `LeverError` in an operator's words."""
        device = self._devices.get(uuid)
        if device is None:
            raise LeverError("does not answer", Trouble.LOST)
        try:
            return call(device)
        except NVMLError as error:
            trouble = TROUBLES.get(error.value, Trouble.FAILED)
            if trouble is Trouble.LOST:
                self._lost.add(uuid)
            raise LeverError(f"{error} ({error.value}){HINTS.get(trouble, '')}", trouble) from error

    def close(self) -> None:
        """Let go of NVML."""
        self._session.close()
        self._devices = {}

    def _look(self, found: Mapping[str, Found]) -> None:
        """Ask those that NVML has just found what they are."""
        known = dict(self._devices)
        for uuid, gpu in found.items():
            if uuid not in known or known[uuid].found is not gpu:
                known.pop(uuid, None)
                with suppress(NVMLError):  # the next look finds it, or it is lost
                    known[uuid] = _device(gpu)
                    self._lost.discard(uuid)
        self._lost |= self._devices.keys() - found.keys()
        self._devices = {uuid: device for uuid, device in known.items() if uuid in found}


def _device(gpu: Found) -> Device:
    what = identify(gpu)
    is_persistent = gpu.calls.ask(pynvml.nvmlDeviceGetPersistenceMode, gpu.handle)
    return Device(gpu, what.model, what.place, layout(gpu.calls, gpu.handle), forgets=is_persistent == 0)


def note(device: Device) -> str:
    """Return what an operator should know of a GPU."""
    return "persistence mode is off: the driver may forget what is set" if device.forgets else ""

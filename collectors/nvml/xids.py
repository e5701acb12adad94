"""XID events: what the driver logs about a GPU in trouble, heard in a thread of its own."""

import contextlib
import ctypes
import threading
from collections.abc import Mapping
from typing import Any

import pynvml

from collectors.nvml.codes import TIMEOUT, UNINITIALIZED, NVMLError

WAIT_MS = 1
"""NVML keeps events until they are fetched, so one need not be waited for…"""
POLL_S = 0.5
"""…but asked for so often: a wait of NVML's own cannot be ended when the driver is to be let go of."""
PAUSE_S = 1.0
"""Between waits that fail: one that answers GPU_IS_LOST does so at once, every time."""


class Xids:
    """The XIDs of all GPUs of an open session. Waiting holds NVML open, so `stop` comes before nvmlShutdown."""

    def __init__(self) -> None:
        self._heard: dict[str, list[int]] = {}
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def listen(self, handles: Mapping[str, Any]) -> None:
        """Hear the GPUs of *handles* (by UUID) from now on, and no others; cards that report no events are silent."""
        self.stop()
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._hear, args=(dict(handles), self._over), name="nvml xids", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Hear no more; returns once the thread has let go of NVML, or after a second if that hangs."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(WAIT_MS / 1000 + PAUSE_S)
            self._thread = None

    def heard(self) -> dict[str, tuple[int, ...]]:
        """Return what was heard and not yet passed on, by UUID, in the order of the events."""
        with self._guard:
            return {uuid: tuple(xids) for uuid, xids in self._heard.items()}

    def forget(self, passed_on: Mapping[str, tuple[int, ...]]) -> None:
        """Forget what `heard` returned, now that it is in a reading; what came since stays."""
        with self._guard:
            for uuid, xids in passed_on.items():
                del self._heard[uuid][: len(xids)]
            self._heard = {uuid: xids for uuid, xids in self._heard.items() if xids}

    def _hear(self, handles: dict[str, Any], over: threading.Event) -> None:
        try:
            events = pynvml.nvmlEventSetCreate()
        except NVMLError:
            return  # this library knows no events
        try:
            registered = {_address(handle): uuid for uuid, handle in handles.items() if _register(handle, events)}
            if registered:
                self._wait(events, registered, over)
        finally:
            with contextlib.suppress(NVMLError):  # NVML was closed underneath: nothing to free
                pynvml.nvmlEventSetFree(events)

    def _wait(self, events: Any, uuids: Mapping[int, str], over: threading.Event) -> None:
        while not over.is_set():
            try:
                event = pynvml.nvmlEventSetWait_v2(events, WAIT_MS)
            except NVMLError as error:
                if error.value == UNINITIALIZED:
                    return
                over.wait(POLL_S if error.value == TIMEOUT else PAUSE_S)
                continue
            uuid = uuids.get(_address(event.device))
            if uuid is not None:
                with self._guard:
                    self._heard.setdefault(uuid, []).append(event.eventData)


def _register(handle: Any, events: Any) -> bool:
    try:
        pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    except NVMLError:
        return False  # not on this card, or the card is gone
    return True


def _address(handle: Any) -> int:
    """Return what makes two handles the same one: the pointer they hold."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0

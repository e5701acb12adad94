"""NVML's return codes, as nvml.h of API 13 numbers them, and what each means for whoever runs the host."""

import pynvml

from collectors import RestartNeededError, SourceError

NVMLError = pynvml.NVMLError
"""Unhashable, and equal to nothing but its like: compare `.value`."""

SUCCESS, UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 0, 1, 3, 4, 6
DRIVER_NOT_LOADED, TIMEOUT, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 10, 12, 13
GPU_IS_LOST, RESET_REQUIRED, LIB_RM_VERSION_MISMATCH, GPU_NOT_FOUND, UNKNOWN = 15, 16, 18, 28, 999

LIFE_CYCLE = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH, GPU_NOT_FOUND})
"""Codes after which handles are worth nothing until NVML has been shut down and initialised again."""

GONE = frozenset({GPU_IS_LOST, RESET_REQUIRED})
"""Codes that say the GPU itself is off the bus, or as good as."""

WHOLE_GPU = LIFE_CYCLE | GONE
"""Codes that are never one field's or one call's alone."""

ONLY_RESTART_HELPS = {
    LIB_RM_VERSION_MISMATCH: "the driver was replaced underneath; a new process loads the new library",
    UNKNOWN: "device access was taken away, as after a daemon reload in a container; restart the container",
}
REMEDY = {
    DRIVER_NOT_LOADED: "load the NVIDIA driver (`nvidia-smi` must work first)",
    LIBRARY_NOT_FOUND: "no libnvidia-ml.so.1 on this host: install the NVIDIA driver, or mount it into the container",
}


def refusal(error: pynvml.NVMLError) -> SourceError:
    """Say in one line what NVML's *error* means for whoever runs this host."""
    code = error.value
    if code in ONLY_RESTART_HELPS:
        return RestartNeededError(f"NVML: {error} ({code}): {ONLY_RESTART_HELPS[code]}")
    return SourceError(f"no NVML here: {error} ({code}); {REMEDY.get(code, 'see the kernel log')}")

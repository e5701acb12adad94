"""Figures as nvidia-smi and the exporters write them: units, and the many words for "absent"."""

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

Units: TypeAlias = Mapping[str, tuple[int, int]]
"""Unit, case as written, to the fraction of the base unit that it is: milliwatts are (1, 1000) watts."""

POWER: Units = {"W": (1, 1), "mW": (1, 1000), "kW": (1000, 1)}
ENERGY: Units = {"J": (1, 1), "mJ": (1, 1000), "kJ": (1000, 1), "Wh": (3600, 1), "kWh": (3_600_000, 1)}

#: In brackets or not, lower case. Seen in drivers 515 to 595; `<<<…>>>` is DCGM's (dcgm_structs.h).
_ABSENT = frozenset(
    {"", "n/a", "none", "err!", "not supported", "not available", "unknown", "unknown error", "gpu is lost"}
    | {"insufficient permissions", "gpu requires reset", "requested functionality has been deprecated"}
    | {"<<<null>>>", "<<<not_found>>>", "<<<not_supported>>>", "<<<not_perm>>>"}
)

_FIGURE = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)", re.ASCII)
_BARE_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def words(text: str | None) -> str | None:
    """Return *text* without the space around it; None where it is one of the words for absent."""
    stripped = (text or "").strip()
    return None if stripped.strip("[]").strip().lower() in _ABSENT else stripped


def quantity(text: str | None, units: Units, unit: str = "") -> float | None:
    """
    Return the figure in *text* in the base unit of *units*, None where there is none.

    A unit in the text counts; *unit* is what a figure without one is given in, and without either it is no figure: it
    may have been cut short. Nothing a GPU measures is negative.
    """
    match = _FIGURE.fullmatch((text or "").strip())
    if match is None or (scale := units.get(match[2] or unit)) is None:
        return None
    figure = float(match[1]) * scale[0] / scale[1]
    return figure if math.isfinite(figure) else None


def whole(text: str | None) -> int | None:
    """Return the whole number in *text*, None where there is none."""
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None  # noqa: PLR2004 - 32 bits


def switch(text: str | None) -> bool | None:
    """Return whether a mode is on: nvidia-smi writes a word, the exporters a number."""
    return {"enabled": True, "1": True, "disabled": False, "0": False}.get((text or "").strip().lower())


def gpu_uuid(text: str | None) -> str | None:
    """
    Return a GPU's UUID as the driver spells it, which is how everything else in firmwatt knows the GPU.

    nvidia_gpu_exporter drops the prefix. A MIG instance's UUID is not its GPU's; drivers before 470 put the GPU's
    inside it (``MIG-GPU-…/gi/ci``).
    """
    uuid = words(text)
    if uuid is None:
        return None
    if _BARE_UUID.fullmatch(uuid):
        return f"GPU-{uuid}"
    if uuid.startswith("MIG-"):
        return uuid.removeprefix("MIG-").partition("/")[0] if uuid.startswith("MIG-GPU-") else None
    return uuid

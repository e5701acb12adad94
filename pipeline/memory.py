"""
Memory that is free again, given back to the operating system.

NumPy and Arrow ask the C library for blocks of every size, and glibc keeps what they free for the next one that fits:
resident memory creeps up for hours while what is used stays the same. `malloc_trim` (glibc manual, `malloc_trim(3)`)
lets go of whole free pages, in some milliseconds.
"""

import asyncio
import ctypes
from collections.abc import Callable
from contextlib import suppress

GIVE_BACK_EVERY_S = 60.0


def trimmer() -> Callable[[int], object] | None:
    """Return the C library's function that gives free pages back; None where it has none."""
    with suppress(OSError, AttributeError):
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
        return trim
    return None


async def give_back(every_s: float = GIVE_BACK_EVERY_S) -> None:
    """Give free memory back every *every_s* seconds, until cancelled."""
    trim = trimmer()
    while True:
        await asyncio.sleep(every_s)
        if trim is not None:
            await asyncio.to_thread(trim, 0)

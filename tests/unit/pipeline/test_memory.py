"""Free memory goes back to the operating system."""

import asyncio
from contextlib import suppress

import numpy as np
import psutil
import pytest

from pipeline.memory import give_back, trimmer

MB = 2**20


@pytest.mark.skipif(trimmer() is None, reason="this C library gives back by itself, or not at all")
def test_what_is_free_between_blocks_in_use_goes_back() -> None:
    """Sixty megabytes in blocks of 64 kB of which every second one is freed: half of them are no longer resident."""
    own = psutil.Process()

    async def hold_and_free() -> tuple[int, int]:
        blocks = [np.ones(64 * 1024, dtype=np.uint8) for _ in range(960)]
        del blocks[::2]
        before = own.memory_info().rss
        with suppress(TimeoutError):
            await asyncio.wait_for(give_back(0.01), 1.0)
        return before, own.memory_info().rss

    before, after = asyncio.run(hold_and_free())

    assert after <= before - 20 * MB

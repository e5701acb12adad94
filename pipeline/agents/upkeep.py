"""The archive's upkeep, beside the loop that fills it; one worker does it for all (`pipeline.archive_upkeep`)."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from pipeline.archive_upkeep import Instants, tend
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem
from pipeline.pipeline_settings import Pipeline
from pipeline.storage import Storage

log = logging.getLogger(__name__)

#: Every so many looks all days are looked at, not only the newest.
ALL_DAYS_EVERY = 120
#: What arrives late is mostly of these days.
NEWEST = timedelta(days=2)


async def run(storage: Storage, settings: Pipeline, clock: Clock, is_steward: Callable[[], bool]) -> None:
    """Look after the archive until cancelled, while *is_steward*."""
    looks = 0
    while True:
        await asyncio.sleep(settings.upkeep.every_s)
        if not is_steward():
            looks = 0
            continue
        now = Instants(clock.now(), Clock().now)
        since = None if looks % ALL_DAYS_EVERY == 0 else (now.clock - NEWEST).date()
        try:
            await asyncio.to_thread(tend, storage, settings.upkeep, settings.keep_days, now, since)
        except (
            EnvironmentProblem
        ) as error:  # where rows cannot be written either, the archive's own loop ends the worker
            log.warning("the archive is not looked after for now: %s", error)
            continue
        looks += 1

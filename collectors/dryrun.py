"""A lever that says what it would do."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from collectors.levers import GpuReading, Lever

log = logging.getLogger(__name__)


class DryRun:
    """Reads the real GPUs, pretends that limits are taken, touches nothing."""

    def __init__(self, lever: Lever) -> None:
        self._lever = lever
        self._pretended_w: dict[str, float] = {}

    def gpus(self, now: datetime) -> Mapping[str, GpuReading]:
        """Return the real readings with the pretended limits in them."""
        return {uuid: self._pretend(reading) for uuid, reading in self._lever.gpus(now).items()}

    def set_limit(self, uuid: str, limit_w: float) -> None:
        """Say it."""
        log.info("would set %s to %.1f W", uuid, limit_w)
        self._pretended_w[uuid] = limit_w

    def read(self, uuid: str) -> GpuReading:
        """Return the real reading with the pretended limit in it."""
        return self._pretend(self._lever.read(uuid))

    def _pretend(self, reading: GpuReading) -> GpuReading:
        return replace(reading, requested_w=self._pretended_w.get(reading.uuid, reading.requested_w))

"""A lever that says what it would do."""

import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from collectors.levers import Found, Lever, Reading
from pipeline.messages.control import Kind

log = logging.getLogger(__name__)

UNITS = {Kind.POWER: "W", Kind.CLOCK: "MHz", Kind.RUN: "(1 runs, 0 stands still)", Kind.ADMISSION: "requests"}


class DryRun:
    """Reads the real controls, pretends that set-points are taken, touches nothing."""

    def __init__(self, lever: Lever) -> None:
        self._lever = lever
        self._pretended: dict[str, float] = {}

    @property
    def kind(self) -> Kind:
        """What the real lever turns."""
        return self._lever.kind

    @property
    def patience_s(self) -> float:
        """As the real lever's."""
        return self._lever.patience_s

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:
        """Return what the real lever finds."""
        return self._lever.find(now, jobs)

    def read(self, subject: str) -> Reading:
        """Return the real reading with the pretended set-point in it."""
        reading = self._lever.read(subject)
        return replace(reading, requested=self._pretended.get(subject, reading.requested))

    def set(self, subject: str, level: float) -> None:
        """Say it."""
        log.info("would set %s of %s to %g %s", self.kind, subject, level, UNITS[self.kind])
        self._pretended[subject] = level

    def close(self) -> None:
        """Let the real lever go of its devices."""
        self._lever.close()

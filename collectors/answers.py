"""
When a host answers, and after which measurements. What it says is in `acks`.

    arrived ─▶ all set and read back (or refused, or out for too long) ─▶ draw has followed ─▶ APPLIED
    way back complete, and everything as it was ────────────────────────────────────────────▶ RELEASED
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from collectors import acks
from collectors.acks import Report
from collectors.controls import Control, asked, left_out, named
from collectors.hands import NOT_BACK, Failure, Hands
from collectors.levers import Key, Reading
from pipeline.clock import Clock
from pipeline.messages.control import CommandAck, Kind, LeaseCommand, Trouble

log = logging.getLogger(__name__)

POLL_S = 0.02
"""Between two looks at the draw while GPUs follow a new limit; field 186 is renewed every 20 ms at best (V100)."""
UNLIMITED_S = 0.25
"""How long draw gets to follow what is no limit of it, as a paused job; a V100 settled in 0.25 s (GridPilot E2)."""
ANSWER_S = 10.0
"""How long a command waits at most for slow levers before it is acknowledged without them, seconds of the machine."""


def _unheard(ack: CommandAck) -> None:
    log.info("nobody to tell: %s %s", ack.command_id, ack.status)


@dataclass
class Answers:
    """What was told, and what is still to be."""

    hands: Hands
    clock: Clock
    settle_s: float
    """How long GPUs get at most to follow a new limit before their draw counts, seconds of the machine."""
    simulated: bool
    acknowledged_seq: int
    """The newest command that was acknowledged as applied."""
    post: Callable[[CommandAck], None] = _unheard
    """Where acknowledgements go; must not block."""
    set_ms: float | None = None
    """Of the newest command: from its arrival until every control was set and read back."""
    reason: str | None = None
    """Why leases end before their time."""
    _arrived_s: float | None = None
    _before: dict[Key, Reading] = field(default_factory=dict)
    """What was read before the first change of a command that is not acknowledged yet."""
    _ended: list[LeaseCommand] = field(default_factory=list)

    def arrived(self, at_s: float) -> None:
        """Note that a new command is acted on, which had come in at *at_s* by `time.monotonic`."""
        self._arrived_s, self._before, self.reason = at_s, dict(self.hands.readings), None

    def ended(self, command: LeaseCommand | None, *, is_all_back: bool) -> None:
        """Note what has come to its end, and tell it once *is_all_back*: everything is as it was."""
        if command is not None:
            self._ended.append(command)
        if self._ended and is_all_back:
            for one in self._ended:
                log.info("released %s", one.command_id)
                self.post(acks.released(one, self.clock.now(), self.reason, simulated=self.simulated))
            self._ended = []

    def conflict(self, command: LeaseCommand | None, found: Mapping[Key, float], levels: Mapping[Key, float]) -> None:
        """Tell of which controls somebody else has taken hold while *command* held them at *levels*."""
        named = ", ".join(f"{key}: {level:g}" for key, level in found.items())
        log.error("somebody else sets what we hold, and keeps it: %s", named)
        if command is not None:
            self.post(acks.conflict(command, found, levels, self.clock.now(), simulated=self.simulated))

    async def applied(
        self,
        command: LeaseCommand,
        *,
        controls: list[Control],
        levels: Mapping[Key, float],
        failures: Mapping[Key, Failure],
        affected: Collection[Key],
        is_finding: bool,
    ) -> None:
        """
        Acknowledge *command*, once all it asks for is set or refused and the draw has followed; else do nothing yet.

        *affected* are the power controls of GPUs whose draw changes; *failures* come on top of what the levers say.
        """
        targets = asked(controls, command)
        if any(levels.get(key) != level for key, level in targets.items()):
            return  # on its way, stroke by stroke
        if self.hands.silent and not targets:
            return  # nothing can be asked yet
        waited_s = 0.0 if self._arrived_s is None else time.monotonic() - self._arrived_s
        if (is_finding or not self.hands.pending.isdisjoint(targets)) and waited_s < ANSWER_S:
            return
        if self._arrived_s is not None:
            self.set_ms, self._arrived_s = waited_s * 1000, None
        self.acknowledged_seq = command.seq
        await self._settle(targets, affected)
        wrong = {
            **{key: Failure(Trouble.UNEQUAL, why) for key, why in left_out(controls, command).items()},
            **dict.fromkeys(self.hands.pending, NOT_BACK),
            **self.hands.failures,
            **failures,
        }
        report = Report(named(controls, command), self._before, self.hands.readings, wrong, affected)
        silent = "; ".join(f"{kind}: {why}" for kind, why in self.hands.silent.items()) or None
        self._before = {}
        self.post(
            acks.applied(command, report, self.clock, set_ms=self.set_ms, reason=silent, simulated=self.simulated)
        )

    async def _settle(self, targets: Mapping[Key, float], affected: Collection[Key]) -> None:
        """Return once every GPU draws no more than its limit, or after `settle_s`; what else changes gets a moment."""
        keys = {key for key in targets if key not in self.hands.failures} | set(affected)
        watched = keys & self.hands.readings.keys()
        began_s = time.monotonic()
        while watched:
            await asyncio.sleep(POLL_S)
            await self.hands.read(watched)
            waited_s = time.monotonic() - began_s
            has_followed = all(acks.has_followed(self.hands.readings.get(key), targets.get(key)) for key in watched)
            is_measured = waited_s >= UNLIMITED_S or all(key.kind is Kind.POWER for key in targets)
            if (has_followed and is_measured) or waited_s >= self.settle_s:
                return

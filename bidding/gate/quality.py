"""
How far telemetry is trusted, as a fold: ACTIVE, REDUCING, HALTED. Pure.

    worse      at once, as far as the figures say
    better     one state at a time, each after `recover_s` without a figure near its threshold

What is seen of the last `halted_age_s` is its best message, so that no message that is lost can make it look better;
without any message all is lost. Thresholds: knowledge/reliability.md A4, 20 % and 50 % of MW.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum

from bidding.gate.settings import Quality
from pipeline.messages.telemetry import SiteCapacity


class State(IntEnum):
    """What may leave; a higher number is worse."""

    ACTIVE = 0
    """Everything the rules let through."""
    REDUCING = 1
    """Withdrawals, and revisions that lower."""
    HALTED = 2
    """Withdrawals and queries."""


@dataclass(frozen=True)
class Observation:
    """What telemetry looked like at one instant."""

    at: datetime
    lost_share: float
    """0 to 1, of hosts or MW; the larger where both are known. A NaN counts as 1."""
    age_s: float
    """Of the newest whole message; infinite where there is none."""


@dataclass(frozen=True)
class Trust:
    """The state, and since when it could be better."""

    state: State = State.HALTED
    """Before the first message nothing is known."""
    well_since: datetime | None = None
    caused_by: Observation | None = None
    """What made it worse last; kept while it gets better, so that the reason does not change by the second."""

    def after(self, observation: Observation, policy: Quality) -> "Trust":
        """Return the state once *observation* is known; a clock set back is as good as no time passed."""
        if (found := level(observation, policy, slack=0.0)) > self.state:
            return Trust(found, None, observation)
        if level(observation, policy, slack=policy.hysteresis) >= self.state:
            return Trust(self.state, None, self.caused_by or observation)
        since = self.well_since or observation.at
        if observation.at - since >= timedelta(seconds=policy.recover_s):
            return Trust(State(self.state - 1), None, self.caused_by)
        return replace(self, well_since=since)

    @property
    def why(self) -> str:
        """The figures behind the state, in words."""
        if self.caused_by is None:
            text = "nothing has been known of telemetry yet"
        else:
            text = f"{_words(self.caused_by)} at {self.caused_by.at:%H:%M:%S}Z"
        return text + (f", well since {self.well_since:%H:%M:%S}Z, which has to last" if self.well_since else "")


def observe(messages: Iterable[SiteCapacity], now: datetime, policy: Quality) -> Observation:
    """
    Return what *messages* of one site show at *now*: the best of the last `halted_age_s`.

    A message with a partition missing or without hosts shows nothing, whatever it says of the others.
    """
    ages = [
        ((now - message.as_of).total_seconds(), _lost(message))
        for message in messages
        if message.hosts > 0 and message.partitions >= message.partitions_expected and math.isfinite(message.load_kw)
    ]
    recent = [(age, lost) for age, lost in ages if 0 <= age <= policy.halted_age_s]
    return Observation(
        now,
        lost_share=min((lost for _, lost in recent), default=1.0),
        age_s=min((age for age, _ in recent), default=math.inf),
    )


def level(observation: Observation, policy: Quality, *, slack: float) -> State:
    """Return the state that the figures alone mean; *slack* lowers the thresholds by this share."""
    lost, age, by = _share(observation), observation.age_s, 1.0 - slack
    if not (lost <= policy.halted_lost * by and age <= policy.halted_age_s):
        return State.HALTED
    if not (lost <= policy.reducing_lost * by and age <= policy.reducing_age_s):
        return State.REDUCING
    return State.ACTIVE


def sellable_mw(state: State, firm_mw: float, standing_mw: float) -> float:
    """Return how much may be on offer in *state*: what is firm, no more than what stands, or nothing new."""
    if state is State.HALTED or not firm_mw > 0:
        return 0.0
    return firm_mw if state is State.ACTIVE else min(firm_mw, standing_mw)


def _lost(message: SiteCapacity) -> float:
    return min(1.0, (message.hosts_stale + message.hosts_quarantined) / message.hosts)


def _share(observation: Observation) -> float:
    return observation.lost_share if observation.lost_share >= 0 else 1.0


def _words(observation: Observation) -> str:
    if not math.isfinite(observation.age_s):
        return "there was no whole message of telemetry"
    if (share := min(1.0, _share(observation))) > 0:
        return f"{share:.0%} of telemetry was missing"
    return f"the newest message was {observation.age_s:.1f} s old"

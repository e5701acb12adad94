"""
A baseline's rule as data: what it is called, since when it holds, who says so, and every number in it. Pure.

One file of `pipeline.cbl.methods` holds one method: a tuple `RULES`, a `Rule` for each version. The engines (Polars and
DuckDB) know no method by name: they follow `Rule.parameters`, whose kind says what is done at all and whose fields say
how much of it.

    DayMatching    like days before the event, some of them, their mean, adjusted      most ISO rules
    AroundEvent    a mean of the event's own day, before and after it                  Same Day, meter before/after
    Level          a figure agreed on beforehand                                       firm service level, load drop
    Reference      a series that somebody else supplies                                nomination, control group
    Regression     a line through history, least squares                               ERCOT's, and one of our own
    Learned        boosted trees through history                                       our own; no ISO's
"""

from datetime import date
from typing import Any, Literal

import msgspec

from pipeline.cbl import rule_checks
from pipeline.errors import ConfigError


class DayMatching(msgspec.Struct, frozen=True, kw_only=True, tag="day-matching"):
    """
    The mean of like days before the event.

    Days are looked at newest first, from `skip_days` before the event's day back to `look_back_days`. A day is passed
    over where it is of another day type, was an event or outage day, lacks a reading in the hours that count, or fails
    the test of low usage. Of those left the newest `days` (`other_days` where the event's day is no business day) are
    the pool; `keep` says which of the pool are averaged.
    """

    look_back_days: int
    """Calendar days before the event's day."""
    skip_days: int = 0
    """Calendar days right before the event's day that are not looked at."""
    day_types: Literal["all", "business", "weekday-saturday-sunday"] = "business"
    """Which days are alike: all; business days and others; or Monday to Friday, Saturdays, Sundays with holidays."""
    days: int | None
    """Size of the pool for an event on a business day; None: every day within the look-back."""
    other_days: int | None
    """The same for an event on any other day."""
    minimum_days: int
    """Fewer carry no baseline."""
    minimum_other_days: int
    exclude_events: bool = True
    exclude_outages: bool = True
    fill_up: bool = False
    """Whether event and outage days, highest load in the event's hours first, fill up to the minimum."""
    low_usage: Literal["none", "mean-of-pool", "running-mean"] = "none"
    """What a day's mean load over the event's hours is compared with."""
    low_usage_share: float = 0.0
    """A day below this share of it is passed over, and the next older one looked at."""
    seed_days: int = 0
    """`running-mean` begins with the highest day of so many calendar days before the event's."""
    keep: Literal["all", "highest", "middle", "nearest"] = "all"
    """`middle`: all but the highest and the lowest."""
    k: int | None = None
    """How many are kept by `highest` and `nearest`."""
    other_k: int | None = None
    """The same for an event on a day that is no business day."""
    rank_by: Literal["event-hours", "day", "shape", "temperature"] = "event-hours"
    """What days are ordered by: mean load over the event's hours or over the day; for `nearest` the sum of squared
    differences to the event's day over the hours of `match`, or the difference of the highest temperatures."""
    average: Literal["mean", "exponential"] = "mean"
    """Of the days kept, alike; or `exponential`: oldest first, from the load of the oldest, each next day's load takes
    the part `weight` of the average so far."""
    weight: float = 0.1
    match: Literal["before-event", "outside-event"] = "before-event"
    """Hours by which `shape` compares: from local midnight to the event, or all of the day but the event…"""
    match_gap_hours: float = 0.0
    """…and so long before and after it."""
    adjustment: Literal["none", "ratio", "additive"] = "none"
    """Ratio: event day ÷ baseline, by their sums over the window; additive: their mean difference over it, kW."""
    adjust_from_hours: float = 0.0
    adjust_to_hours: float = 0.0
    """The window, in hours before the event's start; 0 and 0 with an adjustment: the hours of `match`."""
    adjust_lowest: float | None = None
    adjust_highest: float | None = None
    """What the ratio, or the addition as a share of the unadjusted mean over the event, is limited to."""
    negative: Literal["zero", "keep"] = "keep"
    """A reduction below nothing."""
    decimals: int | None = None
    """Baselines and reductions in kW are rounded half away from zero to so many places; None: not at all."""
    supply: bool = False
    """Load is a generator's output: what counts is what it gave above its baseline."""


class AroundEvent(msgspec.Struct, frozen=True, kw_only=True, tag="around-event"):
    """One figure, the mean of the readings of the event's own day in a window before it and one after it."""

    before_from_hours: float
    before_to_hours: float = 0.0
    """Hours before the event's start."""
    after_from_hours: float = 0.0
    after_to_hours: float = 0.0
    """Hours after the event's end; none where both are 0."""
    negative: Literal["zero", "keep"] = "keep"
    decimals: int | None = None


class Level(msgspec.Struct, frozen=True, kw_only=True, tag="level"):
    """
    A figure agreed on beforehand: reduction = `level_kw` − load × `loss_factor`.

    Where `below_kw` is given, there is no reduction in an interval whose load × `loss_factor` is not below it. A
    contract supplies all four figures: none of them is the rule's.
    """

    level_kw: float | None = None
    below_kw: float | None = None
    firm_kw: float | None = None
    """Load that was promised not to be exceeded; nominated was `level_kw` − `firm_kw` × `loss_factor`."""
    loss_factor: float = 1.0
    negative: Literal["zero", "keep"] = "keep"
    decimals: int | None = None


class Reference(msgspec.Struct, frozen=True, kw_only=True, tag="reference"):
    """A series somebody else supplies, interval by interval: a nominated schedule, or others that were not called."""

    source: Literal["nomination", "control"]
    lock_minutes: float = 0.0
    """A nomination submitted later than so long before the event's start does not count."""
    minimum_customers: int = 1
    """A control group of fewer carries no baseline."""
    customers: int = 1
    """Customers that were called, a figure of the contract: their baseline is so many times the group's mean."""
    negative: Literal["zero", "keep"] = "keep"
    decimals: int | None = None


class Regression(msgspec.Struct, frozen=True, kw_only=True, tag="regression"):
    """
    A line through history, least squares.

    `degree-days`: a day's mean load by 1, cooling and heating degrees, over days of its own type, spread
    over the day as like days were. `level`: load by the mean of like days at that local time and by the mean of the
    `level_hours` that end `gap_hours` before an event.
    """

    terms: Literal["degree-days", "level"]
    look_back_days: int
    minimum_days: int
    base_celsius: float = 18.0
    like_days: int = 10
    level_hours: float = 24.0
    gap_hours: float = 1.0
    exclude_events: bool = True
    exclude_outages: bool = True
    adjustment: Literal["none", "ratio"] = "none"
    adjust_from_hours: float = 0.0
    adjust_to_hours: float = 0.0
    adjust_lowest: float | None = None
    adjust_highest: float | None = None
    negative: Literal["zero", "keep"] = "keep"
    decimals: int | None = None


class Learned(msgspec.Struct, frozen=True, kw_only=True, tag="learned"):
    """Boosted trees on what is known a day ahead: the local time, the day's type, loads of the days before."""

    look_back_days: int
    minimum_days: int
    trees: int = 100
    leaves: int = 15
    rate: float = 0.1
    ahead_hours: float = 24.0
    """Nothing measured later than so long before the event's start is used."""
    exclude_events: bool = True
    exclude_outages: bool = True
    seed: int = 0
    negative: Literal["zero", "keep"] = "keep"
    decimals: int | None = None


#: Figures that a contract supplies and no rule has: whoever sets them changes no rule.
CONTRACT = ("level_kw", "below_kw", "firm_kw", "loss_factor", "customers")
Parameters = DayMatching | AroundEvent | Level | Reference | Regression | Learned


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one method."""

    method: str
    """As in `firmwatt baseline METHOD`."""
    version: str
    title: str
    venue: str | None
    """Whose rule it is; None: our own, which no ISO settles by."""
    valid_from: date | None
    valid_to: date | None = None
    """First day it does not hold any more; None of either: not known."""
    citation: str
    """Document and section, and how it was read."""
    verified: bool
    """Whether the numbers were read in the rule itself."""
    unverified: tuple[str, ...] = ()
    """Parameters that were not, where only some were."""
    notes: str = ""
    holidays: str = "us-nerc"
    """The list of `pipeline.cbl.holidays` that its day types go by, where whoever asks names none."""
    parameters: Parameters
    changed: tuple[str, ...] = ()
    """Parameters that were set to something else than the rule says: what comes out is not by the rule."""

    @property
    def is_the_rule(self) -> bool:
        """Whether nothing was changed."""
        return not self.changed

    def holds_on(self, day: date) -> bool:
        """Tell whether this version is in force on *day*, as far as is known."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)

    def with_parameters(self, settings: dict[str, str]) -> "Rule":
        """
        Return the rule with parameters set by their names in the rule, as they were typed: `{"k": "3"}`.

        Raise `ConfigError` for a name that the rule has not, naming those it has, and for a value of the wrong kind.
        """
        have = parameters_of(self.parameters)
        if unknown := sorted(settings.keys() - have.keys()):
            raise ConfigError(f"{self.method} has no parameter {unknown[0]!r}; it has {', '.join(have)}")
        blank = {name for name, text in settings.items() if text.lower() == "none" and not isinstance(have[name], str)}
        typed = {name: None if name in blank else text for name, text in settings.items()}
        try:
            parameters = msgspec.convert(
                {**msgspec.to_builtins(self.parameters), **typed}, type(self.parameters), strict=False
            )
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.method}: --set {' '.join(map('='.join, settings.items()))}: {error}") from error
        after = parameters_of(parameters)
        if problem := next(rule_checks.problems(after), None):
            raise ConfigError(f"{self.method}: {problem}")
        changed = tuple(name for name in have if name not in CONTRACT and after[name] != have[name])
        return msgspec.structs.replace(
            self, parameters=parameters, changed=tuple(dict.fromkeys(self.changed + changed))
        )


def parameters_of(parameters: Parameters) -> dict[str, Any]:
    """Return each parameter by its name."""
    return msgspec.structs.asdict(parameters)


def contract_of(parameters: Parameters) -> dict[str, float]:
    """Return the figures of a contract that are set, by their names."""
    have = parameters_of(parameters)
    return {name: have[name] for name in CONTRACT if have.get(name) is not None}


def in_force(rules: tuple[Rule, ...], day: date) -> Rule:
    """Return the newest of *rules* that holds on *day*; raise `ConfigError` where none does."""
    for rule in reversed(rules):
        if rule.holds_on(day):
            return rule
    first = rules[0]
    raise ConfigError(f"{first.method} has no version for {day}; it begins on {first.valid_from}")

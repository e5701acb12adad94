"""What the days of one contestant in one case add up to, in all and by year. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bidding.backtest.day import Outcome, total
from bidding.backtest.statistics import Gain, cvar, deviation, gain
from bidding.backtest.walk import FORESIGHT, Row

RULE = "simple"
TOKENS = Decimal(1_000_000)


@dataclass(frozen=True)
class Summary:
    """One line of the report."""

    case: str
    span: str
    """A year, or the first and last of several."""
    whole: bool
    """All days of the case, not one of several years."""
    contestant: str
    outcome: Outcome
    daily: dict[date, float]
    """Value of each day, dollars."""
    captured: float | None
    """Share of what perfect foresight was worth; None where that was nothing."""
    over_rule: Gain | None
    """Against the rule-based strategy; of that one itself, and of perfect foresight, None."""
    fell_back: int
    """Days on which the strategy could not answer."""

    @property
    def value(self) -> float:
        """Dollars."""
        return float(self.outcome.value)

    @property
    def days(self) -> int:
        """How many days offers were made for."""
        return len(self.daily)

    @property
    def mean(self) -> float:
        """Dollars a day."""
        return self.value / self.days if self.daily else 0.0

    @property
    def worst(self) -> float:
        """The worst day, dollars."""
        return min(self.daily.values(), default=0.0)

    @property
    def cvar(self) -> float:
        """Mean of the worst 5 % of days, dollars."""
        return cvar(list(self.daily.values()))

    @property
    def deviation(self) -> float:
        """Of the days, dollars."""
        return deviation(list(self.daily.values()))

    @property
    def per_million_tokens(self) -> float | None:
        """Revenue less penalties for a million tokens forgone, those produced later included, dollars."""
        earned = self.outcome.revenue - self.outcome.penalty
        return float(earned / self.outcome.tokens * TOKENS) if self.outcome.tokens else None


def summaries(rows: Sequence[Row], seed: int) -> list[Summary]:
    """Return the lines of the report: by case all days and then, where there are several, each year; by contestant."""
    found: list[Summary] = []
    for case in dict.fromkeys(row.case for row in rows):
        mine = [row for row in rows if row.case == case]
        years = sorted({row.day.year for row in mine})
        found += _span(f"{years[0]} to {years[-1]}" if len(years) > 1 else str(years[0]), mine, seed, whole=True)
        for year in years if len(years) > 1 else ():
            found += _span(str(year), [row for row in mine if row.day.year == year], seed, whole=False)
    return found


def _span(span: str, rows: Sequence[Row], seed: int, *, whole: bool) -> Iterator[Summary]:
    best = float(total(row.outcome for row in rows if row.contestant == FORESIGHT).value)
    rule = _daily([row for row in rows if row.contestant == RULE])
    for name in dict.fromkeys(row.contestant for row in rows):
        mine = [row for row in rows if row.contestant == name]
        outcome, daily = total(row.outcome for row in mine), _daily(mine)
        yield Summary(
            case=rows[0].case,
            span=span,
            whole=whole,
            contestant=name,
            outcome=outcome,
            daily=daily,
            captured=float(outcome.value) / best if best > 0 else None,
            over_rule=gain(daily, rule, seed) if rule and name not in {RULE, FORESIGHT} else None,
            fell_back=sum(row.fell_back for row in mine),
        )


def _daily(rows: Sequence[Row]) -> dict[date, float]:
    return {row.day: float(row.outcome.value) for row in rows}

"""How far methods are off on the loads of one or several series: what tables and reports are made from. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.cbl import accuracy
from pipeline.cbl.accuracy import Engine, Plan
from pipeline.cbl.accuracy_scores import SCORES, first_of_same, scores
from pipeline.cbl.request import DAYS, EVENTS, Request
from pipeline.cbl.rule import DayMatching, Regression, Rule
from pipeline.cbl.series import Series

REFERENCES = frozenset(rule.method for rule in accuracy.REFERENCES)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What was tried, on what, and what came out."""

    name: str
    title: str
    notes: tuple[str, ...]
    plan: Plan
    rules: tuple[Rule, ...]
    """Those that were tried."""
    unfit: tuple[tuple[str, str], ...]
    """Methods that say nothing of such loads, with the reason."""
    scores: pl.DataFrame
    """`SCORES`."""
    simulated: bool = False

    @property
    def resources(self) -> list[str]:
        """In the order of their names."""
        found: list[str] = self.scores["resource"].unique().sort().to_list()
        return found

    @property
    def by_rule(self) -> frozenset[str]:
        """Methods that are somebody's rule: neither our own nor a reference."""
        return frozenset(rule.method for rule in self.rules if rule.venue is not None)

    @property
    def same(self) -> dict[str, str]:
        """Each method, references aside, with the first by name of those that gave the same answers as it did."""
        return first_of_same(self.own)

    @property
    def once(self) -> frozenset[str]:
        """Methods, references aside, of those with the same answers only the first: what is counted."""
        return frozenset(self.same.values())

    @property
    def adjusted(self) -> frozenset[str]:
        """Methods that adjust by the event's day."""
        return frozenset(rule.method for rule in self.rules if adjusts(rule))

    @property
    def own(self) -> pl.DataFrame:
        """Scores of the methods, without the references, which nobody settles by."""
        return self.scores.filter(~pl.col("method").is_in(REFERENCES))

    def overall(self, kind: str) -> pl.DataFrame:
        """Return the scores of one *kind* of day, all hours together."""
        return self.scores.filter(pl.col("kind") == kind, pl.col("hour").is_null())

    def candidates(self, kind: str) -> pl.DataFrame:
        """Return the same of the methods alone, which a resource may be settled by."""
        return self.own.filter(pl.col("kind") == kind, pl.col("hour").is_null())


def adjusts(rule: Rule) -> bool:
    """Tell whether a rule moves its baseline by the event's own day."""
    return isinstance(rule.parameters, DayMatching | Regression) and rule.parameters.adjustment != "none"


def request_of(
    series: Series, event_days: pl.DataFrame | None = None, outage_days: pl.DataFrame | None = None
) -> Request:
    """Return what a rule may look at, without an event yet."""
    return Request(
        loads=series.loads,
        grid=series.grid,
        events=pl.DataFrame(schema=EVENTS),
        calendar=series.calendar,
        event_days=pl.DataFrame(schema=DAYS) if event_days is None else event_days,
        outage_days=pl.DataFrame(schema=DAYS) if outage_days is None else outage_days,
        temperatures=series.temperatures,
    )


def scored(rules: Iterable[Rule], request: Request, plan: Plan, engine: Engine) -> pl.DataFrame:
    """Return `SCORES` of those of *rules* that fit the loads of *request*."""
    fitting = [rule for rule in rules if accuracy.unfit(rule, request) is None]
    events = accuracy.placebo(request, plan)
    found = accuracy.errors(fitting, request, events, engine)
    return scores(found, accuracy.metered(request, events), tuple(rule.method for rule in fitting))


def study(asked: Sequence[tuple[Series, Request]], rules: Sequence[Rule], plan: Plan, engine: Engine) -> Study:
    """Return one study of series whose resources have different names; its name and title are the first one's."""
    first = asked[0][0]
    reasons = {rule.method: {accuracy.unfit(rule, request) for _, request in asked} for rule in rules}
    parts = [scored(rules, request, plan, engine) for _, request in asked]
    return Study(
        name=first.name,
        title=first.title,
        notes=tuple(dict.fromkeys(note for series, _ in asked for note in series.notes)),
        plan=plan,
        rules=tuple(rule for rule in rules if None in reasons[rule.method]),
        unfit=tuple((method, next(filter(None, why))) for method, why in reasons.items() if None not in why),
        scores=pl.concat([pl.DataFrame(schema=SCORES), *parts]),
        simulated=first.simulated,
    )

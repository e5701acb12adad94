"""The baseline that each offer is made on, as known when it is made; computed again only when its inputs changed."""

from datetime import datetime

from bidding.agents.history import History
from bidding.book import Book
from bidding.performance import baseline_of, calendar_of, events
from bidding.products import Rules
from pipeline.cbl.single import Baseline, Method
from pipeline.interval import Interval


class Baselines:
    """One site's baselines by one method."""

    def __init__(self, rules: Rules, method: Method, book: Book, history: History) -> None:
        self._method, self._book, self._history = method, book, history
        self._calendar = calendar_of(rules)
        self._known: dict[Interval, tuple[object, Baseline]] = {}

    def kw(self, interval: Interval, now: datetime) -> float:
        """
        Return the baseline of *interval* at *now*, kW, as part of the event it would belong to.

        Raise `InsufficientDataError` where history does not carry one.
        """
        taken = [offer.interval for offer in self._book.ledger.taken]
        event = next(run for run in events([*taken, interval], self._calendar) if interval.start in run)
        return self._of(event, now).over(interval)[1]

    def reload(self, now: datetime) -> None:
        """Read the archive again: it may know more by now."""
        self._history.reload(now)

    def _of(self, event: Interval, now: datetime) -> Baseline:
        awards = tuple(self._book.ledger.awards.values())
        rests_on = (self._history.version, len(awards))
        known, baseline = self._known.get(event, (None, None))
        if baseline is None or known != rests_on:
            readings = self._history.readings([event], self._calendar, now)
            baseline = baseline_of(event, readings, awards, self._method, self._calendar)
            rests_on = (self._history.version, len(awards))  # the first question reads the archive
            self._known[event] = (rests_on, baseline)
        return baseline

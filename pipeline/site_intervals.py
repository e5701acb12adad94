"""
Interval partials and corrections to site intervals. Pure; the shell is `pipeline.agents.interval`.

    partials       0 1 2 3 4 5 6 7 ──▶ revision 1      all are in, or `COMPLETE_AFTER` has passed
    corrections              3 ──────▶ revision 2      ticks that came after the interval was closed
    unchanged for `COLLAPSE_AFTER`                     one sum in place of the partials, for corrections to be added to
    `KEEP` after its end                               forgotten

A figure is the sum of the partitions' partials and of what their corrections add. State only ever grows: of each
partition it holds the figures with the highest offset, and two states put together are the state of all that is in
either (`joined`). So a message that comes twice, late, in another order or again after a crash changes nothing, and
neither does a state that a worker wrote after it had lost its partitions.

A partial holds every record up to its offset: a correction of a lower offset is in it already. That happens when a
worker dies and the next one, replaying, closes the interval later in the log than the first did.

What a site holds with intervals of one and of five minutes: 73 h × (60 + 12) = 5,256 keys. With 8 pools one takes
1.9 kB collapsed, 10 MB in all; 14 kB before that, but only those of the last ten minutes are.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from pipeline.interval import Interval
from pipeline.messages.telemetry import Instant, IntervalCorrection, IntervalPartial, SiteInterval
from pipeline.rollup import KEEP as CORRECTED_FOR
from pipeline.site_figures import added_up, merged_interval

#: A site's interval is published this long after its end (clock time) even if partitions are missing.
COMPLETE_AFTER = timedelta(seconds=20)
#: After so long without a change (clock time) the partials are replaced by their sum.
COLLAPSE_AFTER = timedelta(minutes=10)
#: An interval in which something has changed is kept so long (clock time), however old it is.
QUIET = timedelta(hours=1)
#: An interval is kept so long after its end (clock time): corrections come up to `rollup.KEEP` late.
KEEP = CORRECTED_FOR + QUIET

F = TypeVar("F", IntervalPartial, IntervalCorrection)


class OpenInterval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the partitions have said of one interval of one site so far, and how often that was published."""

    partials: tuple[IntervalPartial, ...] = ()
    """By partition; none of a partition that is in `base`."""
    corrections: tuple[IntervalCorrection, ...] = ()
    """By partition."""
    base: SiteInterval | None = None
    """The sum of the partials that were collapsed, without any correction…"""
    offsets: dict[int, int] = {}
    """…and by partition their offsets."""
    first_heard: Instant | None = None
    """When the first partial came, clock time."""
    changed_at: Instant
    """When anything new came, clock time."""
    revision: int = 0
    """Of the figure last published; 0: none was."""

    @property
    def interval(self) -> Interval:
        """The interval all is about."""
        return next(figure.interval for figure in (self.base, *self.partials, *self.corrections) if figure is not None)

    @property
    def parts(self) -> tuple[IntervalPartial | SiteInterval, ...]:
        """What is known of the partitions, corrections aside."""
        return self.partials if self.base is None else (self.base, *self.partials)

    @property
    def holds_up_to(self) -> dict[int, int]:
        """By partition whose partial is in, the offset of that partial."""
        return self.offsets | {partial.partition: partial.offset for partial in self.partials}

    @property
    def patient_until(self) -> datetime:
        """
        When (clock time) the first figure is published even if partitions are missing.

        The time runs from the interval's end, or from the first partial where that came later: after an outage
        partitions catch up one after the other.
        """
        end = self.interval.end
        return max(self.first_heard or end, end) + COMPLETE_AFTER

    @property
    def kept_until(self) -> datetime:
        """When (clock time) the interval is forgotten."""
        return max(self.interval.end + KEEP, self.changed_at + QUIET)


def opened(message: IntervalPartial | IntervalCorrection, now: datetime) -> OpenInterval:
    """Return the state of an interval of which nothing but *message* is known."""
    if isinstance(message, IntervalPartial):
        return OpenInterval(partials=(message,), first_heard=now, changed_at=now)
    return OpenInterval(corrections=(message,), changed_at=now)


def joined(one: OpenInterval, other: OpenInterval) -> OpenInterval:
    """Return what *one* and *other*, states of the same interval, know together: by partition the higher offset."""
    based = max(one, other, key=lambda state: (len(state.offsets), sum(state.offsets.values())))
    heard = [state.first_heard for state in (one, other) if state.first_heard is not None]
    partials = _newest((*one.partials, *other.partials))
    return OpenInterval(
        partials=tuple(partial for partial in partials if partial.partition not in based.offsets),
        corrections=_newest((*one.corrections, *other.corrections)),
        base=based.base,
        offsets=based.offsets,
        first_heard=min(heard, default=None),
        changed_at=max(one.changed_at, other.changed_at),
        revision=max(one.revision, other.revision),
    )


def _newest(figures: Iterable[F]) -> tuple[F, ...]:
    """Return each partition's figure with the highest offset, by partition."""
    newest: dict[int, F] = {}
    for figure in figures:
        if figure.partition not in newest or figure.offset > newest[figure.partition].offset:
            newest[figure.partition] = figure
    return tuple(newest[partition] for partition in sorted(newest))


def taken(
    state: OpenInterval | None, message: IntervalPartial | IntervalCorrection, expected: int, now: datetime
) -> tuple[OpenInterval, SiteInterval | None]:
    """
    Return the state with *message* in it, and the figure to publish if there is one; *expected* partitions are due.

    The first figure waits for all partitions (`due`); after it every change of the figure is the next revision.
    """
    new = opened(message, now)
    if state is None:
        return due(new, expected, now)
    after = joined(state, new)
    if msgspec.structs.replace(after, changed_at=state.changed_at) == state:
        return state, None
    if not state.revision:
        return due(after, expected, now)
    figure = _figure(after, expected, state.revision + 1)
    return (after, None) if figure == _figure(state, expected, state.revision + 1) else _published(after, figure)


def due(state: OpenInterval, expected: int, now: datetime) -> tuple[OpenInterval, SiteInterval | None]:
    """Return the first figure, if it is time: every partition is in, or `COMPLETE_AFTER` has passed."""
    if state.revision or not state.parts:
        return state, None
    if len(state.holds_up_to) < expected and now < state.patient_until:
        return state, None
    return _published(state, _figure(state, expected, 1))


def _published(state: OpenInterval, figure: SiteInterval) -> tuple[OpenInterval, SiteInterval]:
    return msgspec.structs.replace(state, revision=figure.revision), figure


def unlike(
    told: SiteInterval | None, state: OpenInterval, figure: SiteInterval
) -> tuple[OpenInterval, SiteInterval | None]:
    """
    Return *state* and *figure*, its newest, with a revision that means nothing else; no figure where it is no news.

    *told* is what a predecessor published last of the interval, which the state may not know.
    """
    if told is None or figure.revision > told.revision:
        return state, figure
    again = msgspec.structs.replace(figure, revision=told.revision) == told
    revision = told.revision if again else told.revision + 1
    figure = msgspec.structs.replace(figure, revision=revision)
    return msgspec.structs.replace(state, revision=revision), None if again else figure


def _figure(state: OpenInterval, expected: int, revision: int) -> SiteInterval:
    corrections = [correction for correction in state.corrections if adds_to(state, correction)]
    return merged_interval(state.parts, expected, revision, corrections)


def adds_to(state: OpenInterval, correction: IntervalCorrection) -> bool:
    """
    Tell whether *correction* is to be added: its partition's partial is in, and does not hold it already.

    Without the partial there is nothing it corrects: it is kept, and waits.
    """
    return correction.offset > state.holds_up_to.get(correction.partition, correction.offset)


def collapsed(state: OpenInterval, quiet_since: datetime, now: datetime) -> OpenInterval:
    """
    Return *state* with its partials replaced by their sum, once published and unchanged for long enough.

    The time runs from *quiet_since* at the earliest, when somebody began to listen: after an outage of all workers
    the newer partial of one that died is still to come.
    """
    if not state.partials or not state.revision or now < max(quiet_since, state.changed_at) + COLLAPSE_AFTER:
        return state
    return msgspec.structs.replace(state, partials=(), base=added_up(state.parts), offsets=state.holds_up_to)


def next_look(state: OpenInterval, quiet_since: datetime) -> datetime:
    """Return when (clock time) *state* has something to do although nothing comes: publish, collapse or end."""
    if state.parts and not state.revision:
        return state.patient_until
    if not state.partials:
        return state.kept_until
    return min(state.kept_until, max(quiet_since, state.changed_at) + COLLAPSE_AFTER)


def is_history(message: IntervalPartial | IntervalCorrection, now: datetime) -> bool:
    """
    Tell whether the interval of *message* is forgotten by now.

    A figure of it made anew would be one of a single partition, and contradict the one that was published.
    """
    return now >= message.interval.end + KEEP


def table_key(site: str, interval: Interval) -> str:
    """Return the table key of a site's interval; intervals of several lengths begin at the same instant."""
    return f"{site}|{interval.start.isoformat()}|{interval.length.total_seconds():g}"


def site_of(key: str) -> str:
    """Return the site in a table key."""
    return key.rsplit("|", 2)[0]

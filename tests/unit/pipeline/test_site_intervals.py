"""Partials and corrections to site intervals: whatever order they come in and however often, the figure is the same."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from unit.pipeline.ticks import H100, NOON, at

from pipeline.interval import Interval
from pipeline.messages.telemetry import IntervalCorrection, IntervalPartial, PoolInterval, SiteInterval, Tier, Workload
from pipeline.site_figures import merged_interval
from pipeline.site_intervals import (
    COLLAPSE_AFTER,
    KEEP,
    OpenInterval,
    collapsed,
    due,
    joined,
    next_look,
    opened,
    site_of,
    table_key,
    taken,
)

MINUTE = Interval(NOON, at(60))
Figure = IntervalPartial | IntervalCorrection
HOUR = timedelta(hours=1)


def pool(gpu_energy_kwh: float = 1.0, tokens: float | None = None, engine: str | None = "vllm") -> PoolInterval:
    return PoolInterval(
        tier=Tier.T2,
        workload=Workload.INFERENCE,
        gpu_model=H100,
        served_model="llama-70b",
        engine=engine,
        gpu_energy_kwh=gpu_energy_kwh,
        tokens=tokens,
        gpu_s=60.0,
        covered_gpu_s=30.0,
    )


def part(
    partition: int, energy_kwh: float = 1.0, *, hosts: int = 1, covered_host_s: float = 60.0, offset: int = 100
) -> IntervalPartial:
    return IntervalPartial(
        site="site-1",
        partition=partition,
        interval=MINUTE,
        energy_kwh=energy_kwh,
        hosts=hosts,
        hosts_partial=1 if covered_host_s < 60.0 * hosts else 0,
        covered_share=covered_host_s / (60.0 * hosts) if hosts else 0.0,
        ticks=60,
        ticks_missing=0,
        pools=(pool(energy_kwh),),
        simulated=True,
        covered_host_s=covered_host_s,
        offset=offset,
    )


def late(
    partition: int, energy_kwh: float = 0.25, *, hosts: int = 0, covered_host_s: float = 0.0, offset: int = 200
) -> IntervalCorrection:
    return IntervalCorrection(
        site="site-1",
        partition=partition,
        interval=MINUTE,
        energy_kwh=energy_kwh,
        covered_host_s=covered_host_s,
        hosts=hosts,
        ticks=5,
        ticks_missing=-5,
        pools=(pool(energy_kwh),),
        first_late=NOON,
        last_late=at(5),
        simulated=True,
        offset=offset,
    )


def spoken(*messages: Figure, expected: int, now: datetime) -> tuple[OpenInterval, list[SiteInterval]]:
    """Return the state after *messages*, all at *now*, and what was published."""
    state, published = None, []
    for message in messages:
        state, figure = taken(state, message, expected, now)
        published += [figure] if figure else []
    assert state is not None
    return state, published


def test_an_interval_is_published_when_all_partitions_are_in() -> None:
    state, nothing = spoken(part(0), expected=2, now=at(66))
    _, figure = taken(state, part(1, 2.0), 2, at(67))

    assert nothing == []
    assert figure is not None
    assert (figure.energy_kwh, figure.revision, figure.partitions, figure.ticks) == (3.0, 1, 2, 120)
    assert (figure.covered_share, figure.hosts_partial, figure.corrected) == (1.0, 0, False)


def test_an_interval_is_published_twenty_seconds_after_its_end_with_what_there_is_and_revised_later() -> None:
    waiting, _ = spoken(part(0), expected=2, now=at(60))
    assert next_look(waiting, NOON) == at(80)
    assert due(waiting, 2, at(79.9)) == (waiting, None)

    state, first = due(waiting, 2, at(80))
    _, second = taken(state, part(1, 2.0), 2, at(90))

    assert first is not None
    assert second is not None
    assert (first.revision, first.partitions, first.partitions_expected, first.energy_kwh) == (1, 1, 2, 1.0)
    assert (second.revision, second.partitions, second.energy_kwh) == (2, 2, 3.0)


def test_after_an_outage_the_partitions_get_their_time_to_catch_up() -> None:
    """The first partial comes an hour late; the wait of 20 s runs from then."""
    state, _ = spoken(part(0), expected=2, now=at(3660))

    assert due(state, 2, at(3679.9))[1] is None
    assert due(state, 2, at(3680))[1] is not None


def test_the_same_figures_again_make_no_revision() -> None:
    state, published = spoken(part(0), part(1), part(1), part(0), late(1), late(1), expected=2, now=at(66))

    assert [figure.revision for figure in published] == [1, 2]
    assert taken(state, late(1), 2, at(70)) == (state, None)


def test_a_correction_makes_the_next_revision_and_says_so() -> None:
    """1 kWh and 1 kWh, of which 30 s were not measured; late ticks add 0.25 kWh and 15 s, and fill five holes."""
    _, published = spoken(part(0), part(1, covered_host_s=30.0), late(1, covered_host_s=15.0), expected=2, now=at(66))

    first, second = published
    assert (first.energy_kwh, first.covered_share, first.hosts_partial, first.corrected) == (2.0, 0.75, 1, False)
    assert (second.revision, second.energy_kwh, second.covered_share, second.corrected) == (2, 2.25, 0.875, True)
    assert (second.ticks, second.ticks_missing, second.hosts_partial) == (125, -5, 1)


def test_hosts_count_as_partial_until_every_host_second_is_covered() -> None:
    _, published = spoken(part(0, covered_host_s=30.0), late(0, covered_host_s=30.0), expected=1, now=at(66))

    assert [(figure.hosts_partial, figure.covered_share) for figure in published] == [(1, 0.5), (0, 1.0)]


def test_a_host_that_nobody_expected_counts_as_partial_with_its_first_late_ticks() -> None:
    """One host in full, and 15 s of another: 75 of 120 host-seconds."""
    _, published = spoken(part(0), late(0, hosts=1, covered_host_s=15.0), expected=1, now=at(66))

    assert (published[1].hosts, published[1].hosts_partial, published[1].covered_share) == (2, 1, 0.625)


def test_more_than_everything_is_everything() -> None:
    _, published = spoken(part(0), late(0, covered_host_s=3.0), expected=1, now=at(66))

    assert (published[1].covered_share, published[1].covered_host_s) == (1.0, 63.0)


def test_coverage_is_zero_of_nothing() -> None:
    _, published = spoken(part(0, 0.0, hosts=0, covered_host_s=0.0), expected=1, now=at(66))

    assert (published[0].covered_share, published[0].hosts_partial) == (0.0, 0)


def test_of_two_figures_of_one_partition_the_higher_offset_counts() -> None:
    """The partial of 110 takes the place of that of 100; a correction of 190 comes after that of 200 and is ignored."""
    state, published = spoken(part(0), expected=1, now=at(66))
    for message in (part(0, 3.0, offset=110), late(0, 0.5), late(0, 9.0, offset=190), part(0, 7.0, offset=50)):
        state, figure = taken(state, message, 1, at(70))
        published += [figure] if figure else []

    assert [(figure.revision, figure.energy_kwh) for figure in published] == [(1, 1.0), (2, 3.0), (3, 3.5)]


def test_a_correction_that_a_later_partial_holds_already_does_not_count_twice() -> None:
    """
    A worker closes at record 100 and corrects at 200 by 0.25 kWh; it dies unsaved.

    The next one replays and closes at record 250, the late ticks among the others: 1.25 kWh, not 1.5.
    """
    first: list[Figure] = [part(0), late(0)]
    second: list[Figure] = [part(0, 1.25, offset=250)]

    for messages in (first + second, second + first, [late(0), *second, part(0)]):
        state, _ = spoken(*messages, expected=1, now=at(66))
        assert joined(state, state) == state
        assert state.revision >= 1
        _, after = taken(state, late(0, 0.5, offset=300), 1, at(70))
        assert after is not None
        assert after.energy_kwh == 1.75


def test_news_that_change_no_number_make_no_revision() -> None:
    """The same partial closed later in the log; and a correction that it holds already."""
    _, published = spoken(part(0), part(0, offset=300), late(0), expected=1, now=at(66))

    assert [figure.revision for figure in published] == [1]


def test_a_correction_whose_partial_is_not_in_waits_for_it() -> None:
    alone, nothing = spoken(late(0), expected=1, now=at(66))
    _, figure = taken(alone, part(0), 1, at(67))

    assert nothing == []
    assert due(alone, 1, at(600)) == (alone, None)
    assert figure is not None
    assert (figure.energy_kwh, figure.corrected, figure.revision) == (1.25, True, 1)


def test_pools_are_kept_apart_by_engine_and_unknown_tokens_are_no_zero() -> None:
    """Tokens: nobody counted, 5 and nobody counted; of another engine nobody counts at all."""
    one = msgspec.structs.replace(part(0), pools=(pool(1.0, None), pool(4.0, None, engine="trt")))
    two = msgspec.structs.replace(part(1), pools=(pool(2.0, 5.0),))

    figure = merged_interval((one, two), 2, 1, [late(1, 0.25)])

    assert [(one.engine, one.gpu_energy_kwh, one.tokens) for one in figure.pools] == [
        ("trt", 4.0, None),
        ("vllm", 3.25, 5.0),
    ]
    assert [(one.gpu_s, one.covered_gpu_s) for one in figure.pools] == [(60.0, 30.0), (180.0, 90.0)]


def test_after_ten_quiet_minutes_the_partials_are_one_sum_and_a_correction_still_counts() -> None:
    """Tenths of a kWh, which no binary number holds exactly, add up to the same bits either way."""
    parts = [part(number, 0.1 + number / 10, offset=number) for number in range(8)]
    whole, _ = spoken(*parts, expected=8, now=at(66))
    quiet = at(66) + COLLAPSE_AFTER

    small = collapsed(whole, NOON, quiet)

    assert next_look(whole, NOON) == quiet
    assert collapsed(whole, NOON, quiet - timedelta(seconds=1)) is whole
    assert small.partials == ()
    assert len(msgspec.msgpack.encode(small)) < len(msgspec.msgpack.encode(whole)) / 4
    assert taken(small, parts[3], 8, quiet) == (small, None)
    assert taken(small, late(3), 8, quiet)[1] == taken(whole, late(3), 8, quiet)[1]


def test_who_has_just_begun_to_listen_waits_ten_minutes_with_the_sum() -> None:
    """All workers were away for an hour: the newer partial of one that died is still to come."""
    whole, _ = spoken(part(0), expected=1, now=at(66))

    assert collapsed(whole, at(3600), at(3601)) is whole
    assert next_look(whole, at(3600)) == at(3600) + COLLAPSE_AFTER


def test_a_partition_that_comes_after_the_sum_is_added_to_it() -> None:
    state, _ = spoken(part(0), expected=2, now=at(66))
    state, _ = due(state, 2, at(90))
    state = collapsed(state, NOON, at(700))

    _, figure = taken(state, part(1, 2.0), 2, at(710))

    assert figure is not None
    assert (figure.revision, figure.energy_kwh, figure.partitions, figure.hosts) == (2, 3.0, 2, 2)


def test_an_interval_is_kept_for_corrections_of_three_days_and_an_hour_after_a_change() -> None:
    state, _ = spoken(part(0), expected=1, now=at(66))
    week = timedelta(days=7)
    old, _ = spoken(part(0), expected=1, now=NOON + week)

    assert timedelta(hours=72) + HOUR == KEEP
    assert state.kept_until == at(60) + KEEP
    assert old.kept_until == NOON + week + HOUR


def test_intervals_of_two_lengths_that_begin_together_have_two_keys() -> None:
    """The site's name may hold what separates the parts of a key."""
    keys = {table_key("north|hall", interval) for interval in (MINUTE, Interval(NOON, at(300)))}

    assert len(keys) == 2
    assert {site_of(key) for key in keys} == {"north|hall"}


def test_a_state_survives_the_table_s_encoding() -> None:
    state, _ = spoken(part(0), part(1), late(0), expected=2, now=at(66))

    for known in (state, collapsed(state, NOON, at(1000))):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(known), type=OpenInterval) == known


#: Figures as a log holds them: what a partition says is a matter of the offset it says it at.
PARTIALS = st.builds(
    lambda partition, offset: part(partition, (offset * 7919 % 1000) / 1000, hosts=offset % 3, offset=offset),
    st.integers(0, 2),
    st.integers(0, 5).map(lambda number: number * 100),
)
CORRECTIONS = st.builds(
    lambda partition, offset: late(partition, (offset * 104729 % 1000) / 1000 - 0.3, offset=offset),
    st.integers(0, 2),
    st.integers(0, 5).map(lambda number: number * 100 + 50),
)
FIGURES = st.lists(st.one_of(PARTIALS, CORRECTIONS), min_size=1, max_size=12)


def final(messages: Sequence[Figure]) -> SiteInterval | None:
    """Return what is held true in the end, its revision left out; None if nothing ever was."""
    state = None
    published = None
    for second, message in enumerate(messages):
        state, figure = taken(state, message, 3, at(61 + second))
        published = figure or published
    assert state is not None
    _, figure = due(state, 3, at(10_000))
    published = figure or published
    return msgspec.structs.replace(published, revision=0) if published else None


@given(FIGURES, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_shows_in_the_final_figure(figures: list[Figure], chance: Random) -> None:
    again = [*figures, *figures[: len(figures) // 2]]
    chance.shuffle(again)

    assert final(again) == final(figures)


@given(FIGURES)
def test_the_final_figure_is_what_the_highest_offsets_add_up_to(figures: list[Figure]) -> None:
    """Computed here from scratch, in thousandths of a kWh."""
    ascending = sorted(figures, key=lambda one: one.offset)
    parts = {one.partition: one for one in ascending if isinstance(one, IntervalPartial)}
    newest = {one.partition: one for one in ascending if isinstance(one, IntervalCorrection)}
    adds = {number: one for number, one in newest.items() if number in parts and one.offset > parts[number].offset}
    every: list[Figure] = [*parts.values(), *adds.values()]

    found = final(figures)

    assert (found is None) == (not parts)
    if found:
        assert round(found.energy_kwh * 1000) == sum(round(one.energy_kwh * 1000) for one in every)
        assert (found.partitions, found.hosts) == (len(parts), sum(one.hosts for one in every))
        assert found.corrected == bool(adds)


@given(FIGURES)
def test_a_missing_partition_lowers_what_is_known_never_raises_it(figures: list[Figure]) -> None:
    whole, others = final(figures), [one for one in figures if one.partition != 1]
    less = final(others) if others else None

    if less is not None:
        assert whole is not None
        assert less.partitions <= whole.partitions
        assert less.hosts <= whole.hosts
        assert less.ticks <= whole.ticks


@given(FIGURES, FIGURES, FIGURES)
def test_states_can_be_put_together_in_any_order(one: list[Figure], two: list[Figure], three: list[Figure]) -> None:
    """What a table is filled with, whoever wrote last: commutative, associative, and the same again adds nothing."""
    a, b, c = (state_of(figures) for figures in (one, two, three))

    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(a, a) == a
    assert joined(joined(a, b), a) == joined(a, b)


def state_of(figures: Sequence[Figure]) -> OpenInterval:
    state = opened(figures[0], at(61))
    for second, figure in enumerate(figures[1:]):
        state, _ = taken(state, figure, 3, at(62 + second))
    return state


@given(FIGURES, FIGURES)
def test_the_sum_in_place_of_the_partials_shows_nowhere(before: list[Figure], after: list[Figure]) -> None:
    """Collapsed in between or not: the same is published, but for newer partials of partitions in the sum."""
    state, _ = due(state_of(before), 3, at(100))
    after = [one for one in after if isinstance(one, IntervalCorrection) or one.partition not in state.holds_up_to]
    small = collapsed(state, NOON, at(5000))

    for figure in after:
        state, wanted = taken(state, figure, 3, at(5001))
        small, found = taken(small, figure, 3, at(5001))
        assert found == wanted

"""A partition's state written down and read back; `test_rollup_exact.py` shows that nothing is lost by it."""

from datetime import timedelta

import numpy as np
import pytest
from doubles.rolled import MINUTE, close, feed, fresh, rolled
from unit.pipeline.ticks import at, steady, tick

from pipeline import frames
from pipeline.snapshot import SnapshotError, restore, save


def test_what_is_restored_says_what_the_original_would_have_said() -> None:
    ticks = [one for pair in zip(steady(62), steady(62, host="h2"), strict=True) for one in pair if one.seq != 30]
    original = rolled(ticks)
    copy = restore(save(original), 0, (MINUTE,), "site-1")

    for state in (original, copy):
        feed(state, [tick(n + 1, n) for n in range(63, 70)])

    assert close(copy, 130) == close(original, 130)
    assert copy.due(at(131)).gauges == original.due(at(131)).gauges


def test_figures_that_were_closed_and_not_yet_published_are_in_it() -> None:
    partition = rolled(steady(66))

    assert len(restore(save(partition), 0, (MINUTE,), "site-1").published()[0]) == 1


def test_a_length_that_is_new_begins_where_the_state_was_saved() -> None:
    partition = rolled(steady(130))
    both = restore(save(partition), 0, (MINUTE, 5 * MINUTE), "site-1")

    feed(both, (one for one in steady(306) if one.seq > 131))
    closed, _ = close(both, 310)

    assert [figure.interval.length for figure in closed].count(5 * MINUTE) == 1


@pytest.mark.parametrize(
    ("payload", "lengths"),
    [
        (b"", (MINUTE,)),
        (b"garbage", (MINUTE,)),
        (save(rolled(steady(3))), (timedelta(seconds=20),)),
        (save(rolled(steady(3)))[:-5], (MINUTE,)),
    ],
    ids=["nothing", "garbage", "another grid", "cut off"],
)
def test_what_cannot_be_gone_on_with_is_refused(payload: bytes, lengths: tuple[timedelta, ...]) -> None:
    with pytest.raises(SnapshotError):
        restore(payload, 0, lengths, "site-1")


def test_a_minute_in_which_one_host_was_late_takes_less_than_a_kilobyte_of_state() -> None:
    """
    Of 400 hosts one has a tick a minute late, for twenty minutes.

    What was late is kept for three days; kept by host it would be 48 bytes of each, 19 kB a minute.
    """

    def size_b(*, late: bool) -> int:
        partition, corrections = fresh(), 0
        for minute in range(20):
            feed(partition, [tick(2 * minute + 1, 60 * minute + 1, host=f"h{host}") for host in range(400)])
            if late and minute:
                feed(partition, [tick(2 * minute, 60 * minute - 1, host="h0")], delay_s=61)
            corrections += len(partition.published()[1])
        assert corrections == 19 * late
        return len(save(partition))

    assert (size_b(late=True) - size_b(late=False)) / 19 < 1000


def test_rows_that_no_host_is_in_any_more_are_let_go() -> None:
    """A hundred jobs one after the other leave a hundred layouts; once their minutes are closed, a few are left."""
    partition = rolled(
        tick(n + 1, n, gpus=(tick(1).gpus[0].__class__(uuid="g", model="H100", job=f"job-{n}"),)) for n in range(100)
    )
    close(partition, 600)
    partition.tidy()

    rows = sum(len(cohort) for cohort in partition.cohorts.values())
    feed(partition, [tick(101, 100)])

    assert rows < 10
    assert np.sum([cohort.used["current"].sum() for cohort in partition.cohorts.values()]) == 1
    assert frames.micros(at(100)) in partition.last_us().tolist()

"""Energy from second to second, whatever the counters do."""

from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise

import pytest
from doubles.commands import NOON
from hypothesis import given
from hypothesis import strategies as st

from collectors.counters import Counters
from pipeline.messages.telemetry import Covers, GpuSample, HostTick, MeterSample, Quality


def at(second: float) -> "timedelta":
    """Return a span from noon."""
    return timedelta(seconds=second)


def gpu(energy_j: float | None, power_w: float | None = 700.0, *marks: Quality) -> GpuSample:
    """Return a reading of an H100, limit 700 W; a lost one measures nothing."""
    return GpuSample(uuid="g", model="H100", power_w=power_w, energy_j=energy_j, max_w=700.0, quality=marks)


LOST = gpu(None, None, Quality.LOST)
STALE = gpu(None, None, Quality.STALE)


def followed(readings: Iterable[GpuSample], step_s: float = 1.0, counters: Counters | None = None) -> list[GpuSample]:
    """Return *readings*, one every *step_s*, as they are published."""
    counters = counters or Counters()
    return [
        sample
        for second, reading in enumerate(readings)
        for sample in counters.gpus([reading], NOON + at(second * step_s))
    ]


def energies(samples: Iterable[GpuSample]) -> list[tuple[float | None, int]]:
    """Return energy and epoch of each."""
    return [(sample.energy_j, sample.energy_epoch) for sample in samples]


def test_a_counter_that_counts_is_passed_on() -> None:
    assert energies(followed([gpu(5000), gpu(5700), gpu(6400)])) == [(5000, 0), (5700, 0), (6400, 0)]


def test_a_counter_that_runs_backwards_opens_an_epoch() -> None:
    assert energies(followed([gpu(5000), gpu(5700), gpu(80), gpu(780)])) == [(5000, 0), (5700, 0), (80, 1), (780, 1)]


def test_a_gpu_back_from_the_bus_is_in_a_new_epoch_even_if_its_counter_is_higher() -> None:
    assert energies(followed([gpu(5000), LOST, gpu(5100)])) == [(5000, 0), (None, 0), (5100, 1)]


def test_a_second_without_answer_leaves_the_epoch_and_the_counter_spans_it() -> None:
    assert energies(followed([gpu(5000), STALE, gpu(6400)])) == [(5000, 0), (None, 0), (6400, 0)]


def test_a_counter_that_leaps_further_than_the_gpu_can_draw_is_another_counter() -> None:
    """In a second at most 1.5 × 700 W = 1050 J, and 2000 J of slack: 3050 J may be, 3051 J may not."""
    assert energies(followed([gpu(5000), gpu(8050)])) == [(5000, 0), (8050, 0)]
    assert energies(followed([gpu(5000), gpu(8051)])) == [(5000, 0), (8051, 1)]


def test_a_long_absence_may_have_drawn_a_lot() -> None:
    """Ten hours at 700 W are 25.2 MJ."""
    assert energies(followed([gpu(0), gpu(25.2e6)], step_s=36_000)) == [(0, 0), (25.2e6, 0)]


def test_a_counter_that_has_agreed_with_the_draw_is_believed_as_long_as_it_moves() -> None:
    """Five windows right, then the counter creeps at a tenth: whatever that is, the start-up check is over."""
    right = [gpu(700.0 * second) for second in range(26)]
    creeping = [gpu(700.0 * 25 + 70.0 * second) for second in range(1, 20)]

    assert {sample.quality for sample in followed([*right, *creeping])} == {()}


def test_a_counter_that_freezes_after_it_was_believed_is_given_up_after_a_minute() -> None:
    """Right until 10 s; it stands at 7000 J from then on, while 700 W are drawn."""
    readings = [gpu(700.0 * min(second, 10)) for second in range(74)]

    samples = followed(readings)

    assert [Quality.ENERGY_INTEGRATED in sample.quality for sample in samples[69:72]] == [False, True, True]
    assert energies(samples)[70:72] == [(0, 1), (700, 1)]


def test_a_counter_that_is_not_shown_any_more_is_replaced_after_a_minute() -> None:
    """The device answers with 700 W and no energy; until then the counter may come back and span the gap."""
    samples = followed([gpu(5000), *[gpu(None) for _ in range(62)]])

    assert energies(samples)[59:63] == [(None, 0), (0, 1), (700, 1), (1400, 1)]


def test_a_gpu_that_does_not_answer_for_minutes_keeps_its_counter() -> None:
    """100 s without an answer at 700 W: the counter, when it is back, knows what was drawn."""
    samples = followed([gpu(5000), *[STALE for _ in range(99)], gpu(75_000)])

    assert energies(samples)[-1] == (75_000, 0)


def test_an_old_reading_is_not_integrated() -> None:
    """The driver shows 600 W for ever; from the moment it is known to be old nothing is made of it."""
    samples = followed(
        [gpu(None, 600.0), gpu(None, 600.0), gpu(None, 600.0, Quality.STALE), gpu(None, 600.0, Quality.STALE)]
    )

    assert energies(samples) == [(0, 0), (600, 0), (None, 0), (None, 0)]


@pytest.mark.parametrize("share", [0.57, 1.2])
def test_a_counter_that_disagrees_in_two_windows_is_given_up_for_integrated_power(share: float) -> None:
    """
    187 J counted while 327 J were drawn (zeus#181) is a share of 0.57.

    Windows of 5 s end at 5 s and 10 s; from then on 700 J a second are integrated, from 0 in a new epoch, and marked.
    """
    samples = followed([gpu(700.0 * share * second) for second in range(14)])

    assert energies(samples)[9:] == [(pytest.approx(700 * share * 9), 0), (0, 1), (700, 1), (1400, 1), (2100, 1)]
    assert samples[9].quality == ()
    assert samples[10].quality == (Quality.ENERGY_INTEGRATED,)


def test_one_bad_window_is_no_verdict() -> None:
    """The first 5 s count half, then all is right."""
    half = [gpu(350.0 * second) for second in range(6)]
    right = [gpu(350.0 * 5 + 700.0 * second) for second in range(1, 30)]

    assert {sample.energy_epoch for sample in followed([*half, *right])} == {0}


def test_an_idle_gpu_is_not_judged() -> None:
    """70 W is a tenth of the limit; the counter sees half of it, as real ones do at idle."""
    assert {s.quality for s in followed([gpu(35.0 * second, 70.0) for second in range(60)])} == {()}


def test_a_counter_frozen_under_load_is_given_up_after_two_minutes() -> None:
    """amdsmi#38. Two spans of 60 s without a joule at 700 W."""
    samples = followed([gpu(5000.0) for _ in range(123)])

    assert [Quality.ENERGY_INTEGRATED in sample.quality for sample in samples[119:122]] == [False, True, True]


def test_a_counter_refreshed_every_30_s_is_believed_without_a_verdict() -> None:
    """As dcgm-exporter publishes it: the draw in between is not known well enough to accuse the counter."""
    samples = followed([gpu(21_000.0 * (second // 30), 650.0) for second in range(300)])

    assert {sample.quality for sample in samples} == {()}
    assert {sample.energy_epoch for sample in samples} == {0}


def test_a_gpu_without_counter_gets_one_of_its_power() -> None:
    """400 W, 600 W, 600 W: the trapezoids are 500 J and 600 J."""
    samples = followed([gpu(None, 400.0), gpu(None, 600.0), gpu(None, 600.0)])

    assert energies(samples) == [(0, 0), (500, 0), (1100, 0)]
    assert {sample.quality for sample in samples} == {(Quality.ENERGY_INTEGRATED,)}


def test_the_drivers_average_is_integrated_where_there_is_one() -> None:
    readings = [
        GpuSample(uuid="g", model="A100", power_w=0.0, average_w=300.0),
        GpuSample(uuid="g", model="A100", power_w=900.0, average_w=300.0),
    ]

    assert energies(followed(readings)) == [(0, 0), (300, 0)]


def test_what_was_drawn_while_nobody_looked_is_not_made_up() -> None:
    """Three seconds are bridged, four are a hole; the second without a reading has no energy."""
    bridged = followed([gpu(None, 400.0), STALE, STALE, gpu(None, 400.0)])
    hole = followed([gpu(None, 400.0), STALE, STALE, STALE, gpu(None, 400.0), gpu(None, 400.0)])

    assert energies(bridged) == [(0, 0), (None, 0), (None, 0), (1200, 0)]
    assert energies(hole)[-2:] == [(0, 1), (400, 1)]


def test_a_counter_that_appears_after_all_is_in_a_new_epoch() -> None:
    assert energies(followed([gpu(None), gpu(None), gpu(9000)])) == [(0, 0), (700, 0), (9000, 1)]


def test_a_meter_that_is_asked_every_five_seconds_counts_every_second() -> None:
    """8 kW held between readings: 8 kJ a second."""
    counters = Counters()
    meter = MeterSample(meter="bmc", covers=Covers.HOST, power_w=8000.0, read_at=NOON)

    samples = [counters.meters([meter], NOON + at(second))[0] for second in range(4)]

    assert [sample.energy_j for sample in samples] == [0, 8000, 16_000, 24_000]


def test_a_restarted_collector_goes_on_where_the_last_tick_ended() -> None:
    """
    Killed at 6400 J in epoch 3; ten seconds later the driver's counter stands at 13 400 J: the same epoch.

    Had it leapt to 100 MJ in that time, it would be another counter.
    """
    last = HostTick(
        host="h",
        site="s",
        boot="b",
        seq=9,
        measured_at=NOON,
        gpus=(GpuSample(uuid="g", model="H100", energy_j=6400, energy_epoch=3),),
    )

    assert energies(Counters(last).gpus([gpu(13_400)], NOON + at(10))) == [(13_400, 3)]
    assert energies(Counters(last).gpus([gpu(1e8)], NOON + at(10))) == [(1e8, 4)]


def test_a_gpu_lost_before_the_restart_is_in_a_new_epoch_after_it() -> None:
    last = HostTick(host="h", site="s", boot="b", seq=9, measured_at=NOON, gpus=(LOST,))

    assert energies(Counters(last).gpus([gpu(100)], NOON + at(10))) == [(100, 1)]


def test_a_gpu_without_energy_in_the_last_tick_is_in_a_new_epoch_after_the_restart() -> None:
    """What its counter was is not known any more: lower or higher, nothing may be subtracted across."""
    last = HostTick(host="h", site="s", boot="b", seq=9, measured_at=NOON, gpus=(STALE,))

    assert energies(Counters(last).gpus([gpu(80)], NOON + at(10))) == [(80, 1)]


@given(
    st.lists(
        st.one_of(
            st.just(LOST),
            st.just(STALE),
            st.builds(gpu, st.one_of(st.none(), st.floats(0, 1e9)), st.one_of(st.none(), st.floats(0, 1050))),
        ),
        max_size=60,
    )
)
def test_within_an_epoch_energy_never_decreases_and_epochs_never_go_back(readings: list[GpuSample]) -> None:
    samples = [sample for sample in followed(readings) if sample.energy_j is not None]

    for earlier, later in pairwise(samples):
        assert later.energy_epoch >= earlier.energy_epoch
        assert later.energy_epoch > earlier.energy_epoch or later.energy_j >= earlier.energy_j  # type: ignore[operator] # filtered

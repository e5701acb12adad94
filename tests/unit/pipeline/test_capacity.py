"""What could be let go: measured draw minus the draw at the set-point, and never more than was measured."""

from dataclasses import dataclass
from math import nan
from typing import Any

import msgspec
import pytest
from doubles.rolled import close, feed, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.ticks import at, gpu, job, tick

from pipeline import frames
from pipeline.capacity import quantile, site_partials
from pipeline.messages.telemetry import CAP_SHARES, GpuSample, HostTick, Quality, SitePartial, Tier

NOW = at(10)
LOWEST, SEVENTY = len(CAP_SHARES) - 1, CAP_SHARES.index(0.7)


def partial(*ticks: HostTick) -> SitePartial:
    (figure,) = site_partials(feed(fresh(), ticks), frames.micros(NOW))
    return figure


def relief(*gpus: GpuSample, level: int = LOWEST, seconds: float = 10) -> float:
    return sum(pool.relief_kw[level] for pool in partial(tick(1, seconds, gpus=gpus)).pools)


def test_relief_is_the_draw_above_the_cap() -> None:
    """600 W under a cap of 0.7 × 700 = 490 W lets go of 110 W."""
    assert relief(gpu(), level=SEVENTY) == pytest.approx(0.110)


def test_a_cap_that_does_not_bind_frees_nothing() -> None:
    """LLM decode at 250 W of 700 W: no cap down to 490 W reaches it."""
    assert relief(gpu(power_w=250.0), level=SEVENTY) == 0.0


@pytest.mark.parametrize(("tier", "freed_w"), [(Tier.T0, 0.0), (Tier.T1, 210.0), (Tier.T2, 350.0), (Tier.T3, 490.0)])
def test_a_tier_s_floor_bounds_what_the_lowest_cap_frees(tier: Tier, freed_w: float) -> None:
    """700 W against floors of 1.0, 0.7, 0.5 and 0.3 of 700 W; the lowest level published is 0.3."""
    assert relief(gpu(power_w=700.0, tier=tier)) == pytest.approx(freed_w / 1000)


def test_a_device_s_own_minimum_bounds_it_too() -> None:
    assert relief(gpu(power_w=700.0, min_w=400.0)) == pytest.approx(0.300)


def test_an_untouchable_gpu_frees_nothing_even_above_its_limit() -> None:
    assert relief(gpu(power_w=750.0, tier=Tier.T0)) == 0.0


@pytest.mark.parametrize(
    "blemish",
    [
        {"power_w": None},
        {"power_w": nan},
        {"power_w": -600.0},
        {"min_w": None},
        {"max_w": None},
        {"quality": (Quality.STALE,)},
        {"quality": (Quality.LOST,)},
        {"quality": (Quality.IMPLAUSIBLE,)},
    ],
)
def test_a_gpu_that_cannot_be_believed_frees_nothing(blemish: dict[str, object]) -> None:
    assert relief(gpu(**blemish)) == 0.0  # type: ignore[arg-type] # test data


@pytest.mark.parametrize("seconds", [4.9, 15.1])
def test_a_host_silent_or_ahead_by_more_than_five_seconds_keeps_its_load_and_loses_its_relief(seconds: float) -> None:
    figure = partial(tick(1, seconds))

    assert (figure.hosts, figure.hosts_stale, figure.load_kw) == (1, 1, 0.6)
    assert figure.pools[0].relief_kw == (0.0,) * len(CAP_SHARES)


def test_load_is_the_chassis_meter_where_there_is_one() -> None:
    assert partial(tick(1, chassis_w=1000.0)).load_kw == 1.0
    assert partial(tick(1, gpus=(gpu(), gpu("gpu-1", power_w=None)))).load_kw == 0.6


def test_a_host_whose_own_meter_does_not_answer_sells_nothing() -> None:
    """It draws 1,000 W; the 600 W of its GPU seem like 400 W less, which an offer must not rise by."""
    silent = partial(tick(1, 10, chassis_epoch="bmc@1"), tick(1, 10, host="h2"))
    answers = partial(tick(1, 10, chassis_epoch="bmc@1", chassis_w=1000.0, chassis_energy_j=5.0))

    assert (silent.hosts, silent.hosts_stale) == (2, 1)
    assert sum(pool.relief_kw[LOWEST] for pool in silent.pools) == pytest.approx(0.39), "of the other one alone"
    assert (answers.hosts_stale, answers.load_kw) == (0, 1.0)


def test_tokens_per_second_come_from_the_last_two_ticks() -> None:
    """150 tokens in 2 s are 75 a second."""
    before, now = tick(1, 8, jobs=(job(100.0),)), tick(2, 10, jobs=(job(250.0),))

    assert partial(before, now).pools[0].tokens_per_s == 75.0
    assert partial(now).pools[0].tokens_per_s is None


def test_ages_are_those_of_the_newest_ticks() -> None:
    """
    Ten hosts, 0 to 9 s old, of which those above 5 s are stale: nearest rank 3 of 6 is 2 s, rank 6 is 5 s.

    Where all are stale there is no age to tell.
    """
    figure = partial(*(tick(1, 10 - age, host=f"h{age}") for age in range(10)))

    assert (figure.hosts, figure.hosts_stale) == (10, 4)
    assert (figure.age_p50_ms, figure.age_p99_ms) == (2000.0, 5000.0)
    assert partial(tick(1, 1)).age_p99_ms is None
    assert quantile([], 0.5) is None


def test_an_overtaken_tick_does_not_hold_the_gauge_back() -> None:
    """Tick 3 is here before tick 2: the gauge shows it at once."""
    ticks = (tick(1, gpus=(gpu(power_w=100.0),)), tick(3, gpus=(gpu(power_w=300.0),)))

    assert partial(*ticks).load_kw == 0.3
    assert partial(*ticks, tick(2, gpus=(gpu(power_w=200.0),))).load_kw == 0.3


def test_ticks_no_published_interval_holds_are_counted_as_open() -> None:
    partition = feed(fresh(), [tick(number, seconds) for number, seconds in enumerate((0, 59, 60, 61), start=1)])

    assert partition.ticks_open("site-1") == 4
    close(partition, 65)
    assert partition.ticks_open("site-1") == 2


@given(st.lists(st.integers(0, 900), max_size=30))
@settings(max_examples=25)
def test_relief_is_the_sum_over_gpus(draws: list[int]) -> None:
    """Whole watts under a cap of 0.7 × 700 = 490 W."""
    gpus = tuple(gpu(f"gpu-{number}", power_w=float(draw)) for number, draw in enumerate(draws))

    assert relief(*gpus, level=SEVENTY) == pytest.approx(sum(max(0, draw - 490) for draw in draws) / 1000)


@dataclass(frozen=True)
class Harm:
    """What happens to one host's series of ticks."""

    kind: str
    second: int


HARMS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.builds(Harm, st.sampled_from(["remove", "cut", "nan", "mark", "delay"]), st.integers(0, 10)),
    ),
    max_size=12,
)


SPOILT: dict[str, dict[str, Any]] = {"nan": {"power_w": nan}, "mark": {"quality": (Quality.STALE,)}}


def harmed(series: list[HostTick], harm: Harm) -> list[HostTick]:
    """Return the ticks that still arrive in time after *harm*."""
    kept = []
    for one in series:
        hit = one.measured_at >= at(harm.second)
        spoilt = SPOILT.get(harm.kind)
        if hit and spoilt:
            kept.append(
                msgspec.structs.replace(one, gpus=tuple(msgspec.structs.replace(g, **spoilt) for g in one.gpus))
            )
        elif (harm.kind == "remove" and one.measured_at == at(harm.second)) or (hit and harm.kind in {"cut", "delay"}):
            continue
        else:
            kept.append(one)
    return kept


@given(st.lists(st.floats(0, 900), min_size=4, max_size=4), HARMS)
@settings(max_examples=25)
def test_relief_never_rises_when_telemetry_is_lost_delayed_or_spoilt(
    draws: list[float], harms: list[tuple[int, Harm]]
) -> None:
    """Four hosts of steady draw for ten seconds; whatever happens to their ticks, no level of any pool rises."""
    series = [
        [tick(n + 1, n, host=f"h{host}", gpus=(gpu(power_w=draw),)) for n in range(11)]
        for host, draw in enumerate(draws)
    ]
    worse = [list(ticks) for ticks in series]
    for host, harm in harms:
        worse[host] = harmed(worse[host], harm)

    assert all(less <= full + 1e-9 for less, full in zip(total_relief(worse), total_relief(series), strict=True))


def total_relief(series: list[list[HostTick]]) -> list[float]:
    figure = partial(*(one for ticks in series for one in ticks))
    return [sum(pool.relief_kw[level] for pool in figure.pools) for level in range(len(CAP_SHARES))]

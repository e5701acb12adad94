"""Site figures to portfolio figures: a site that falls silent can lower them, never raise them."""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.pipeline.ticks import H100, at

from pipeline.agents import portfolio as agent
from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, PortfolioCapacity, SiteCapacity, Tier, Workload
from pipeline.portfolio import capacity, counts, due_second, replaces

LEVELS = len(CAP_SHARES)
B200 = "NVIDIA B200"
NORTH, SOUTH, EAST = "north", "south", "east"
SITES = (NORTH, SOUTH)


def pool(
    relief_kw: float | tuple[float, ...] = 0.1, max_w: float = 700.0, model: str = H100, gpus: int = 1
) -> PoolLoad:
    return PoolLoad(
        tier=Tier.T3,
        workload=Workload.TRAINING,
        gpu_model=model,
        gpus=gpus,
        power_kw=0.6 * gpus,
        relief_kw=relief_kw if isinstance(relief_kw, tuple) else (relief_kw,) * LEVELS,
        max_w=max_w,
        tokens_per_s=5.0,
    )


def figure(site: str, seconds: float, *pools: PoolLoad, load_kw: float = 1.0) -> SiteCapacity:
    return SiteCapacity(
        site=site,
        as_of=at(seconds),
        known_at=at(seconds + 0.5),
        partitions=8,
        partitions_expected=8,
        hosts=2,
        hosts_stale=1,
        gpus=sum(one.gpus for one in pools),
        load_kw=load_kw,
        pools=pools,
        ticks_open=10,
        age_p50_ms=100.0,
        age_p99_ms=900.0,
        simulated=False,
    )


def newest(*figures: SiteCapacity) -> dict[str, SiteCapacity]:
    return {one.site: one for one in figures}


def total(now: datetime, *figures: SiteCapacity, expected: tuple[str, ...] = SITES) -> PortfolioCapacity:
    found = capacity(newest(*figures), expected, "fleet", now)
    assert found is not None
    return found


def test_a_portfolio_is_the_sum_of_its_sites_as_old_as_the_oldest() -> None:
    """North draws 1 MW and could let go 100 kW, south 2 MW and 200 kW; the same kind of GPUs in both."""
    found = total(at(11), figure(NORTH, 10, pool(100.0), load_kw=1000.0), figure(SOUTH, 9, pool(200.0), load_kw=2000.0))

    assert (found.portfolio, found.sites, found.sites_missing) == ("fleet", (NORTH, SOUTH), ())
    assert (found.as_of, found.known_at) == (at(9), at(11))
    assert (found.load_kw, found.hosts, found.hosts_stale, found.gpus) == (3000.0, 4, 2, 2)
    assert len(found.pools) == 1
    assert (found.pools[0].relief_kw, found.pools[0].power_kw, found.pools[0].tokens_per_s) == (
        (300.0,) * LEVELS,
        1.2,
        10.0,
    )


def test_different_gpus_stay_different_pools() -> None:
    found = total(at(10), figure(NORTH, 10, pool(1.0)), figure(SOUTH, 10, pool(2.0, model=B200)))

    assert [(one.gpu_model, one.relief_kw[0]) for one in found.pools] == [(B200, 2.0), (H100, 1.0)]


def test_one_simulated_site_makes_the_sum_simulated() -> None:
    real = figure(NORTH, 10, pool())

    assert not total(at(10), real, expected=(NORTH,)).simulated
    assert total(at(10), real, msgspec.structs.replace(figure(SOUTH, 10, pool()), simulated=True)).simulated


def test_a_site_silent_for_more_than_ten_seconds_takes_all_it_had_with_it_and_is_named() -> None:
    north, south = figure(NORTH, 20, pool(1.0)), figure(SOUTH, 10, pool(2.0))

    assert total(at(20), north, south).sites_missing == ()
    late = total(at(20.001), north, south)

    assert (late.sites, late.sites_missing, late.load_kw, late.hosts) == ((NORTH,), (SOUTH,), 1.0, 2)
    assert late.pools[0].relief_kw[0] == 1.0


def test_a_site_never_heard_of_is_missing() -> None:
    assert total(at(10), figure(NORTH, 10, pool())).sites_missing == (SOUTH,)


def test_a_site_nobody_expects_adds_nothing() -> None:
    """A laboratory mirrored by mistake must not be sold."""
    found = total(at(10), figure(NORTH, 10, pool(1.0)), figure("laboratory", 10, pool(9.0)), expected=(NORTH,))

    assert (found.sites, found.load_kw, found.pools[0].relief_kw[0]) == ((NORTH,), 1.0, 1.0)


def test_without_any_site_there_is_no_figure_rather_than_zero() -> None:
    assert capacity({}, SITES, "fleet", at(10)) is None
    assert capacity(newest(figure(NORTH, 10, pool())), SITES, "fleet", at(21)) is None


def test_a_site_whose_clock_is_far_ahead_is_missing() -> None:
    assert total(at(10), figure(NORTH, 10, pool()), figure(SOUTH, 20.5, pool())).sites_missing == (SOUTH,)


def test_a_site_with_other_cap_levels_is_missing_rather_than_misread() -> None:
    other = figure(SOUTH, 10, pool(tuple(range(LEVELS + 1))))

    assert total(at(10), figure(NORTH, 10, pool(1.0)), other).sites_missing == (SOUTH,)


def test_a_missing_site_s_limit_still_says_what_a_share_of_it_is() -> None:
    """
    North's GPUs may draw 700 W, south's 1000 W. At a share of 0.7 both are capped at 700 W, which is north's own 1.0.

    South fell silent: were 0.7 now read as 490 W, north would seem to free 0.06 kW more by south's silence.
    """
    falling = tuple(0.01 * level for level in range(LEVELS))
    north = figure(NORTH, 20, pool(falling, max_w=700.0))
    south = figure(SOUTH, 5, pool(0.0, max_w=1000.0))

    both, alone = total(at(14), north, south), total(at(20), north, south)

    assert (alone.sites_missing, alone.gpus) == ((SOUTH,), 1)
    assert both.pools[0].relief_kw[CAP_SHARES.index(0.7)] == alone.pools[0].relief_kw[CAP_SHARES.index(0.7)] == 0.0
    assert alone.pools[0].max_w == 1000.0


def test_a_pool_that_only_a_missing_site_has_is_gone_not_zero() -> None:
    found = total(at(20), figure(NORTH, 20, pool()), figure(SOUTH, 5, pool(model=B200)))

    assert [one.gpu_model for one in found.pools] == [H100]


reliefs = st.lists(st.floats(0, 1e4), min_size=LEVELS, max_size=LEVELS).map(lambda some: tuple(sorted(some)))
pools = st.builds(pool, reliefs, st.sampled_from([700.0, 800.0, 1000.0]), st.sampled_from([H100, B200]))


def figures_of(site: str) -> st.SearchStrategy[SiteCapacity]:
    return st.lists(pools, max_size=3).map(lambda some: figure(site, 20, *some))


figures = st.fixed_dictionaries({site: figures_of(site) for site in (*SITES, EAST)})


@given(figures, st.sets(st.sampled_from([*SITES, EAST]), max_size=2))
def test_whichever_sites_fall_silent_no_pool_s_relief_rises(all_sites: dict[str, SiteCapacity], gone: set[str]) -> None:
    silent = {
        site: msgspec.structs.replace(one, as_of=at(0)) if site in gone else one for site, one in all_sites.items()
    }

    before = capacity(all_sites, all_sites, "fleet", at(20))
    after = capacity(silent, silent, "fleet", at(20))

    assert before is not None
    assert after is not None
    known = {(one.tier, one.workload, one.gpu_model): one for one in before.pools}
    for one in after.pools:
        same = known[one.tier, one.workload, one.gpu_model]
        assert one.max_w == same.max_w
        assert all(now <= then for now, then in zip(one.relief_kw, same.relief_kw, strict=True))
        assert (one.gpus, one.power_kw) <= (same.gpus, same.power_kw)
    assert after.load_kw <= before.load_kw
    assert set(after.sites) | set(after.sites_missing) == set(all_sites)


@given(figures)
def test_no_sum_frees_more_than_its_sites_do(all_sites: dict[str, SiteCapacity]) -> None:
    found = capacity(all_sites, all_sites, "fleet", at(20))

    assert found is not None
    for level in range(LEVELS):
        own = sum(one.relief_kw[level] for site in all_sites.values() for one in site.pools)
        assert sum(one.relief_kw[level] for one in found.pools) <= own * (1 + 1e-12)


def test_a_figure_that_comes_again_or_late_changes_nothing() -> None:
    known = figure(NORTH, 10, pool())

    assert not replaces(known, known, at(10))
    assert not replaces(known, figure(NORTH, 9, pool()), at(10))
    assert replaces(known, figure(NORTH, 11, pool()), at(11))
    assert replaces(None, known, at(10))


def test_a_figure_from_a_clock_that_ran_ahead_does_not_keep_the_right_ones_out() -> None:
    an_hour_ahead = figure(NORTH, 3600, pool())

    assert not counts(an_hour_ahead, at(10))
    assert replaces(an_hour_ahead, figure(NORTH, 10, pool()), at(10))


@pytest.mark.parametrize(
    ("seconds", "published", "due"),
    [
        pytest.param((10, 10), None, 10, id="everyone is in"),
        pytest.param((11, 10), 10, None, id="the other one is still out"),
        pytest.param((12, 10), 10, 11, id="it holds up the rest for a second, not longer"),
        pytest.param((12, 1), 11, 12, id="a missing site holds up nobody"),
        pytest.param((12,), 11, 12, id="a single site"),
        pytest.param((12, 12), 12, None, id="never twice"),
        pytest.param((1, 1), None, None, id="nobody"),
    ],
)
def test_a_second_is_due_when_the_present_sites_are_in(
    seconds: tuple[int, ...], published: int | None, due: int | None
) -> None:
    known = newest(*(figure(site, second, pool()) for site, second in zip(SITES, seconds, strict=False)))

    found = due_second(known, None if published is None else at(published), at(12.5))

    assert found == (None if due is None else at(due))


async def published(*arrivals: tuple[float, SiteCapacity]) -> list[PortfolioCapacity]:
    """Return what the agent publishes when figures arrive at these seconds."""
    sent: list[PortfolioCapacity] = []
    clock = {"now": at(0)}

    async def arriving() -> AsyncIterator[SiteCapacity]:
        for seconds, one in arrivals:
            clock["now"] = at(seconds)
            yield one

    async def emit(one: PortfolioCapacity) -> None:
        sent.append(one)

    await agent.run(arriving(), {}, emit, portfolio="fleet", expected=SITES, now=lambda: clock["now"])
    return sent


async def test_the_agent_publishes_each_second_once_however_often_figures_come() -> None:
    """
    Second 10 of both sites, all of it again as after a link's return, then second 11.

    North speaks first, when nobody knows of south yet: second 10 is north's alone.
    """
    ten, eleven = [[figure(site, second, pool(1.0)) for site in SITES] for second in (10, 11)]

    sent = await published(*((10.5, one) for one in (*ten, *ten)), (11.4, eleven[0]), (11.5, ten[1]), (11.6, eleven[1]))

    assert [(one.as_of, one.sites, one.pools[0].relief_kw[0]) for one in sent] == [
        (at(10), (NORTH,), 1.0),
        (at(11), SITES, 2.0),
    ]

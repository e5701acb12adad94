"""Who works where, what the site is expected to draw, and the days before."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet import curves
from deploy.fleet.history import history
from deploy.fleet.jobs import POOLS, hosts_per_pool, lay_out
from deploy.fleet.model import FleetModel
from deploy.fleet.plan import plan
from deploy.fleet.settings import FleetSettings
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Workload
from pipeline.tiers import floor_w

PACIFIC = "America/Los_Angeles"
EVENING = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)  # Thursday 18:00 in California
MINUTE = timedelta(minutes=1)
REAL = {
    "azure": "data/azure_llm_2023/AzureLLMInferenceTrace_conv.csv",
    "servegen": "data/servegen_alibaba/m-large_10min.csv",
}


def test_two_hundred_hosts_are_split_by_the_pools_shares() -> None:
    """10, 20, 13, 10, 42 and 5 percent."""
    assert hosts_per_pool(200) == (20, 40, 26, 20, 84, 10)


@given(st.integers(1, 400), st.sampled_from([4, 8, 16]))
def test_every_gpu_belongs_to_one_engine_and_to_at_most_one_job(hosts: int, gpus: int) -> None:
    """Nothing is left over, nothing counted twice, for any fleet; engines are runs of consecutive GPUs."""
    layout = lay_out(hosts, gpus)
    owned = Counter(gpu for share in layout.shares for gpu in range(share.first_gpu, share.first_gpu + share.gpus))

    assert sum(hosts_per_pool(hosts)) == hosts
    assert [engine.first_gpu for engine in layout.engines] == np.cumsum(
        [0, *(engine.gpus for engine in layout.engines)]
    ).tolist()[:-1]
    assert len(layout.engine_of_gpu()) == sum(group.gpus for group in layout.groups) == hosts * gpus
    assert max(owned.values(), default=1) == 1
    assert len(owned) == sum(POOLS[pool].workload is not Workload.IDLE for pool in layout.pool_of_gpu())


def test_a_training_job_spans_hosts_and_moves_as_one_engine() -> None:
    """84 training hosts are 16 jobs on five hosts and one on four: 17 engines, of 40 and of 32 GPUs."""
    layout = lay_out(200, 8)
    engines = [engine.gpus for engine in layout.engines if POOLS[engine.pool].workload is Workload.TRAINING]

    assert Counter(engines) == {40: 16, 32: 1}


def test_the_site_draws_about_1_4_megawatts_of_which_three_tenths_can_go() -> None:
    """
    What comes out of the mix on a weekday evening: the draw above the floor of T2 and T3, mean over a minute.

    1.39 MW of load; 343 kW of relief in the GPUs are 429 kW at the meter, 0.31 of it.
    """
    site = plan(FleetSettings(), PACIFIC)
    model = FleetModel(site, EVENING.timestamp())
    tiers = [POOLS[pool].tier for pool in site.layout.pool_of_gpu()]
    floors = np.array([floor_w(tier, curves.MIN_LIMIT_W, curves.MAX_LIMIT_W) for tier in tiers])
    relieved, relief_kw = np.isin(tiers, ["T2", "T3"]), []

    for second in range(1, 61):
        model.step(EVENING.timestamp() + second)
        relief_kw.append(np.maximum(model.power_w - floors, 0.0)[relieved].sum() / 1000)
    load_kw = site.site_kw(np.array([EVENING.timestamp()]))[0]

    assert load_kw == pytest.approx(1390, rel=0.01)
    assert np.mean(relief_kw) == pytest.approx(343, rel=0.02)
    assert np.mean(relief_kw) * (1 + curves.NODE_W_PER_GPU_W) / load_kw == pytest.approx(0.31, abs=0.01)


def live_kw(settings: FleetSettings, begin: datetime) -> float:
    """Return the live fleet's mean load over the minute from *begin*, stepped as at twice real time."""
    site = plan(settings, PACIFIC)
    model = FleetModel(site, begin.timestamp(), pace=2.0)
    fixed_kw = settings.hosts * curves.node_overhead_w(settings.gpus_per_host) / 1000
    for number in range(1, 301):
        model.step(begin.timestamp() + 0.2 * number)
    return fixed_kw + (1 + curves.NODE_W_PER_GPU_W) * float(model.energy_j.sum()) / 60 / 1000


@pytest.mark.parametrize("trace", [None, "azure", "servegen"])
def test_the_live_fleet_draws_what_history_says_of_its_minute(
    request: pytest.FixtureRequest, trace: str | None
) -> None:
    """Within 1 %: both follow one plan, days and demand included, and the noise averages out."""
    shared: Path | None = request.getfixturevalue("shared_data") if trace else None
    settings = FleetSettings(trace=str(shared / REAL[trace]) if shared and trace else "")

    expected = history(settings, 0, EVENING + MINUTE, MINUTE, timezone=PACIFIC).row(-1, named=True)

    assert expected["start"] == EVENING
    assert live_kw(settings, EVENING) == pytest.approx(expected["load_kw"], rel=0.01)


def test_history_holds_the_days_before_and_the_day_so_far() -> None:
    """Two whole local days and 18 hours of the third: 66 hourly rows, from local midnight, 07:00 UTC in summer."""
    frame = history(FleetSettings(hosts=20), 2, EVENING, timedelta(hours=1), timezone=PACIFIC, extra_kw=5.0)

    assert list(frame.schema.items()) == [("start", pl.Datetime("us", "UTC")), ("load_kw", pl.Float64())]
    assert frame.height == 66
    assert frame["start"][0] == datetime(2026, 7, 21, 7, tzinfo=UTC)
    assert frame["start"][-1] == datetime(2026, 7, 24, 0, tzinfo=UTC)
    assert frame["start"].is_sorted()


@pytest.mark.parametrize(
    ("end_of_day", "hours"),
    [
        (datetime(2026, 3, 9, 6, 59, 59, tzinfo=UTC), 23),
        (datetime(2026, 11, 2, 7, 59, 59, tzinfo=UTC), 25),
    ],
)
def test_days_of_clock_change_have_23_and_25_hours(end_of_day: datetime, hours: int) -> None:
    """Half-hour rows of the whole day but its last."""
    frame = history(FleetSettings(hosts=4), 0, end_of_day, timedelta(minutes=30), timezone=PACIFIC)

    assert frame.height == 2 * hours - 1


def test_a_step_that_began_on_the_day_before_is_left_out() -> None:
    """Midnight in Kolkata is 18:30 UTC: the first whole hour of its day begins at 19:00."""
    frame = history(FleetSettings(hosts=4), 0, EVENING, timedelta(hours=1), timezone="Asia/Kolkata")

    assert frame["start"][0] == datetime(2026, 7, 23, 19, tzinfo=UTC)


def test_constant_load_beside_the_fleet_is_added() -> None:
    """5 kW in every row."""
    bare, more = (
        history(FleetSettings(hosts=4), 0, EVENING, timedelta(hours=1), timezone=PACIFIC, extra_kw=extra_kw)
        for extra_kw in (0.0, 5.0)
    )

    assert (more["load_kw"] - bare["load_kw"]).to_list() == pytest.approx([5.0] * bare.height)


def test_days_differ_by_a_few_percent() -> None:
    """Standard deviation of twenty days at the same hour: between 1 and 5 %."""
    frame = history(FleetSettings(), 20, EVENING, timedelta(hours=1), timezone=PACIFIC)
    same_hour = frame.filter(pl.col("start").dt.convert_time_zone(PACIFIC).dt.hour() == 17)["load_kw"].to_numpy()

    assert len(same_hour) == 21
    assert 0.01 < same_hour.std() / same_hour.mean() < 0.05


def test_history_is_the_seeds_and_nobody_elses() -> None:
    """Same seed, same rows; another seed, other rows."""
    one, again, other = (
        history(FleetSettings(hosts=20, seed=seed), 1, EVENING, timedelta(hours=1), timezone=PACIFIC)["load_kw"]
        for seed in (7, 7, 8)
    )

    assert one.equals(again)
    assert not one.equals(other)


def test_an_unknown_time_zone_is_a_config_error() -> None:
    """With the name in it."""
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        history(FleetSettings(), 1, EVENING, MINUTE, timezone="Mars/Olympus")

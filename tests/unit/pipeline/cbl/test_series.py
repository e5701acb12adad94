"""The real series as loads: gaps stay gaps, stamps are starts, and the simulated power by hand."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.cbl import series
from pipeline.cbl.series import Engine
from pipeline.errors import ConfigError

#: Idle 200 W; 100 tokens/s at 600 W, 300 at 1,000 W.
ENGINE = Engine(200.0, np.array([100.0, 300.0]), np.array([600.0, 1000.0]))


@pytest.fixture
def data(shared_data: Path) -> Path:
    """Folder of the data files; skips where there is none."""
    if not (folder := shared_data / "data").is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; set FIRMWATT_SHARED")
    return folder


def test_engines_that_share_the_demand_follow_the_measured_curve() -> None:
    # 600 tokens/s at most: two engines, which take 0, 50, 100, 200 and 300 each.
    drawn = series.spread_kw(np.array([0.0, 100.0, 200.0, 400.0, 600.0]), ENGINE)

    assert drawn.tolist() == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])


def test_engines_that_are_filled_in_turn_draw_the_same_for_each_token() -> None:
    # Two engines idle at 200 W each; one that is full adds 800 W for its 300 tokens/s.
    drawn = series.packed_kw(np.array([0.0, 150.0, 300.0, 600.0]), ENGINE)

    assert drawn.tolist() == pytest.approx([0.4, 0.8, 1.2, 2.0])


def test_a_fleet_is_as_large_as_its_highest_demand_needs() -> None:
    assert [series.engines_for(np.array([0.0, most]), ENGINE) for most in (300.0, 301.0, 900.0)] == [1, 2, 3]


def written(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_window_without_any_request_is_a_gap_and_not_an_idle_fleet(tmp_path: Path) -> None:
    model, task = series.ENGINE_MODEL, series.ENGINE_TASK
    written(
        tmp_path,
        "mlenergy_v3/benchmark_runs_flat.csv",
        "model_id,task,num_gpus,avg_power_watts,output_throughput_tokens_per_sec\n"
        f"{model},{task},2,1140,500\n{model},other,2,1,1\nother,{task},2,1,1\n",
    )
    written(
        tmp_path,
        "servegen_alibaba/m-large_10min.csv",
        "t_s,rate_rps,rate_rps_with_token_data,input_tokens_per_s,output_tokens_per_s,active_clients\n"
        "0,4,2,9,100,1\n600,0,0,0,0,0\n1200,10,8,9,400,1\n",
    )

    found = series.llm_demand(tmp_path, date(2025, 3, 3))

    # 500 tokens in 10 requests: 50 each. One engine, idle at 2 x 70 W, 2 W a token.
    packed = found.loads.filter(resource="tokens, packed")
    assert packed["start"].to_list() == [
        datetime(2025, 3, 2, 16, tzinfo=UTC),
        datetime(2025, 3, 2, 16, 20, tzinfo=UTC),
    ]
    assert packed["load_kw"].to_list() == pytest.approx([0.34, 0.94])
    assert found.loads.filter(resource="requests, packed")["load_kw"].to_list() == pytest.approx([0.54, 1.14])
    assert found.simulated
    assert any("1 of 3 windows" in note for note in found.notes)
    assert any("assumed" in note for note in found.notes)


def test_zeros_and_the_half_hour_of_new_year_are_missing_readings_of_a_building(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "cambridge_buildings" / "hourly_kwh_8buildings_2016-2018.csv.gz"
    path.parent.mkdir()
    path.write_bytes(
        gzip.compress(
            b"datetime,outdoor_temp_c,rel_humidity_pct,b0\n"
            b"2016-01-01 00:00:00,2.6,92.7,12.1\n2016-01-01 01:00:00,3.0,92.9,24.5\n2016-01-01 02:00:00,2.5,94.7,0.0\n"
        )
    )

    found = series.buildings(tmp_path)

    assert found.loads["load_kw"].to_list() == [None, 24.5, None]
    assert found.loads["start"].to_list()[1] == datetime(2016, 1, 1, 1, tzinfo=UTC)
    assert found.temperatures is not None
    assert found.temperatures["celsius"].to_list() == [2.6, 3.0, 2.5]
    assert found.notes[0].startswith("1 readings of zero")


def test_an_imputed_hour_of_a_region_is_a_gap_and_its_stamp_is_the_start(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "eia930_demand" / "subregion_hourly_2020-2022.csv.gz"
    path.parent.mkdir()
    path.write_bytes(
        gzip.compress(
            b"datetime_utc,region,raw_mw,quality,clean_mw\n"
            b"2020-01-01 00:00:00,PJM-PS,11,OKAY,11\n2020-01-01 01:00:00,PJM-PS,900,DELTA,12\n"
            b"2020-01-01 02:00:00,PJM-PS,MISSING,MISSING,12\n2020-01-01 02:00:00,CISO-SCE,7,OKAY,7\n"
        )
    )

    by_name = {one.name: one for one in series.demand(tmp_path)}

    pjm = by_name["demand-pjm"]
    assert pjm.loads["load_kw"].to_list() == [11000.0, None, None]
    assert pjm.loads["start"].to_list()[0] == datetime(2019, 12, 31, 23, tzinfo=UTC)
    assert (pjm.calendar.timezone, by_name["demand-ciso"].calendar.timezone) == (
        "America/New_York",
        "America/Los_Angeles",
    )


def test_a_folder_without_the_data_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*hourly_kwh.*; set FIRMWATT_SHARED"):
        series.buildings(tmp_path)


def test_the_recorded_demand_becomes_fourteen_days_of_four_loads(data: Path) -> None:
    found = series.llm_demand(data)

    assert found.loads.group_by("resource").len().sort("resource").rows() == [
        ("requests, packed", 2016),
        ("requests, spread", 2016),
        ("tokens, packed", 2016),
        ("tokens, spread", 2016),
    ]
    # 114,508 tokens/s at most are 17 engines of 6,827.2; the first window's 42,038.3 are 6.157 full ones at 2,547.5 W.
    first = found.loads.filter(resource="tokens, packed")["load_kw"].to_list()[0]
    assert first == pytest.approx((17 * 280 + 42038.3 / 6827.208 * (2547.518 - 280)) / 1000, rel=1e-6)


def test_the_buildings_keep_their_readings_and_lose_their_zeros(data: Path) -> None:
    found = series.buildings(data)

    gaps = found.loads.group_by("resource").agg(pl.col("load_kw").null_count()).sort("resource").rows()
    assert dict(gaps) == {"b0": 50, "b2": 3, "b31": 73, "b33": 3, "b35": 7, "b5": 50, "b52": 3, "b58": 4}
    assert found.loads["load_kw"].min() > 0  # type: ignore[operator]
    assert len(found.loads) == 8 * 26304


def test_the_regions_hold_what_was_reported_and_nothing_imputed(data: Path) -> None:
    found = series.demand(data)

    assert [(one.name, one.loads["load_kw"].null_count()) for one in found] == [
        ("demand-pjm", 406),
        ("demand-erco", 107),
        ("demand-ciso", 25),
        ("demand-nyis", 6),
    ]
    assert {one.grid for one in found} == {timedelta(hours=1)}
    first = found[0].loads.filter(resource="PJM-DOM").sort("start").row(0)
    assert first == ("PJM-DOM", datetime(2019, 12, 31, 23, tzinfo=UTC), 11_775_000.0)

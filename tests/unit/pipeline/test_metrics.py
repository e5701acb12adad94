"""A worker's page: what it holds, how far behind, how old; absent where unknown."""

from datetime import timedelta

from doubles.worker_status import MACHINE, capacity, page, partial, portfolio, samples, status
from unit.pipeline.ticks import NOON

from pipeline.metrics import Held
from pipeline.tally import Tally


def test_figures_are_in_base_units_and_at_the_partition_that_is_held() -> None:
    shown = samples(page(status()))

    assert shown["firmwatt_pipeline_info", "firmwatt", "worker-1"] == 1
    assert shown["firmwatt_pipeline_partition_offset_records", "3"] == 12_345
    assert shown["firmwatt_pipeline_lag_records", "firmwatt-rollup", "3", "telemetry.host.v1"] == 40
    assert shown["firmwatt_pipeline_stalled_seconds", "firmwatt", "0", "site.partial.v1"] == 12.5
    assert shown["firmwatt_pipeline_ticks_total",] == 12_000
    assert shown["firmwatt_pipeline_irregular_ticks_total", "3", "redelivered"] == 7
    assert shown["firmwatt_pipeline_interval_missing_ticks_total", "300"] == 5
    assert shown["firmwatt_pipeline_corrections_total", "300"] == 0, "none of that length, which is known"
    assert shown["firmwatt_pipeline_published_timestamp_seconds", "3"] == MACHINE - 1
    assert shown["firmwatt_pipeline_state_bytes", "3"] == 1_500_000
    assert shown["firmwatt_pipeline_hosts_quarantined", "3", "site-1"] == 1
    assert shown["firmwatt_pipeline_ends_total", "rollup_stuck"] == 1
    assert shown["firmwatt_pipeline_ends_total", "kafka_gone"] == 0
    assert shown["firmwatt_site_load_watts", "site-1"] == 56_000
    assert shown["firmwatt_site_tick_age_seconds", "0.99", "site-1"] == 1.25
    assert shown["firmwatt_site_figure_timestamp_seconds", "site-1"] == NOON.timestamp()
    assert shown["firmwatt_archive_rows_total", "site.capacity.v1"] == 900
    assert shown["firmwatt_archive_free_bytes",] == 40e9
    assert shown["process_resident_memory_bytes",] > 1e6


def test_a_partition_that_went_to_another_worker_is_no_longer_shown() -> None:
    """Its counts stay in the process; shown here as well, sums over all workers would have it twice."""
    shown = samples(page(status(held=(Held(5, 1, replaying=True),))))

    assert {key[1] for key in shown if key[0].startswith("firmwatt_pipeline_partition_")} == {"5"}
    assert shown["firmwatt_pipeline_partition_replaying", "5"] == 1
    for name in ("state_bytes", "published_timestamp_seconds", "open_intervals", "hosts", "irregular_ticks_total"):
        assert (f"firmwatt_pipeline_{name}", "3") not in {key[:2] for key in shown}


def test_ages_of_an_old_figure_say_nothing_about_now() -> None:
    """Ten seconds later its time is still shown, for whoever asks how old it is; ten minutes later nothing is."""
    after = {
        seconds: {key[0] for key in samples(page(status(now=NOON + timedelta(seconds=seconds))))}
        for seconds in (10, 11, 601)
    }

    assert "firmwatt_site_tick_age_seconds" in after[10]
    assert "firmwatt_site_tick_age_seconds" not in after[11]
    assert "firmwatt_site_figure_timestamp_seconds" in after[11]
    assert "firmwatt_site_figure_timestamp_seconds" not in after[601]


def test_what_is_unknown_is_absent_and_not_zero() -> None:
    """No host was heard of, hence no age; an object store has no disk; nothing was archived yet."""
    silent = capacity(age_p50_ms=None, age_p99_ms=None)
    shown = samples(page(status(figures=(silent,), disk=None, written={}, written_at=None, lags=(), tally=Tally())))

    names = {key[0] for key in shown}
    assert not {name for name in names if name.startswith("firmwatt_archive")}
    assert "firmwatt_site_tick_age_seconds" not in names
    assert "firmwatt_pipeline_lag_records" not in names
    assert "firmwatt_pipeline_published_timestamp_seconds" not in names


def test_each_site_of_a_partition_is_shown() -> None:
    tally = Tally(gauges={(3, "a"): partial(hosts=1), (3, "b"): partial(hosts=2)})

    shown = samples(page(status(tally=tally)))

    assert (shown["firmwatt_pipeline_hosts", "3", "a"], shown["firmwatt_pipeline_hosts", "3", "b"]) == (1, 2)


def test_each_site_that_is_missing_from_the_portfolio_is_named() -> None:
    known = portfolio(sites=("a", "b"), sites_missing=("c", "d"))

    shown = samples(page(status(portfolios=(known,))))

    assert shown["firmwatt_portfolio_sites", "portfolio-1"] == 2
    missing = {key[2]: value for key, value in shown.items() if key[0] == "firmwatt_portfolio_sites_missing"}
    assert missing == {"c": 1, "d": 1}


def test_a_portfolio_that_another_worker_publishes_now_names_no_missing_sites_here() -> None:
    """Ten seconds later the last figure's time is left, for whoever asks how old it is."""
    names = {
        seconds: {
            key[0] for key in samples(page(status(now=NOON + timedelta(seconds=seconds)))) if "portfolio" in key[0]
        }
        for seconds in (10, 11, 601)
    }

    assert names[10] == {
        "firmwatt_portfolio_sites",
        "firmwatt_portfolio_sites_missing",
        "firmwatt_portfolio_figure_timestamp_seconds",
    }
    assert names[11] == {"firmwatt_portfolio_figure_timestamp_seconds"}
    assert names[601] == set()

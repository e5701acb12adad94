"""What the demo decides before it starts anything."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.demo.plan import INTERVAL, ORIGIN, Options, bidding_lead, first_interval, run_folder
from pipeline.errors import ConfigError

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


def test_the_event_starts_on_the_first_minute_that_leaves_time_to_offer() -> None:
    """At 12:00:10 with a lead of 40 s and 20 s of gate closure, 12:01 is too near; 12:02 has a minute to spare."""
    assert first_interval(NOON + timedelta(seconds=10), timedelta(seconds=40)) == NOON + timedelta(minutes=2)


def test_a_machine_that_is_slow_to_start_processes_gets_more_time_to_offer() -> None:
    """Ten seconds of the clock and less are in the 50 s; processes that take 42 s get 82."""
    assert bidding_lead(timedelta(seconds=10)) == bidding_lead(timedelta(seconds=3)) == timedelta(seconds=50)
    assert bidding_lead(timedelta(seconds=42)) == timedelta(seconds=82)


def test_the_demos_day_is_a_business_day_in_california() -> None:
    """Thursday, 17:57 local is 00:57 UTC on Friday."""
    assert datetime(2026, 7, 24, 0, 57, tzinfo=UTC) == ORIGIN
    assert ORIGIN.second == 0
    assert timedelta(minutes=1) == INTERVAL


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (Options(hosts=0), "--hosts"),
        (Options(minutes=0), "--minutes"),
        (Options(speed=0), "--speed"),
        (Options(history_days=-1), "--history-days"),
        (Options(lose_replies=1.0), "--lose-replies"),
        (Options(trace=Path("no/such/file.csv")), "--trace no/such/file.csv: no such file"),
    ],
)
def test_an_option_that_cannot_work_is_named(options: Options, named: str) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match=named):
        options.checked()


def test_two_runs_beside_each_other_have_folders_of_their_own() -> None:
    """The same second, two processes."""
    assert run_folder(Path("runs"), 0.0, 41) == Path("runs/1970-01-01T00-00-00Z-41")
    assert run_folder(Path("runs"), 0.0, 41) != run_folder(Path("runs"), 0.0, 42)

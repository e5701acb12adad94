"""The figures a run leaves behind: ranks that were measured, a file that is whole or not there."""

import json
from pathlib import Path

import pytest
from doubles.builders import MINUTE, rules

from bidding.agents.feed import World
from bidding.agents.summary import Summary, summarise, write_summary
from bidding.ledger import Ledger
from pipeline.errors import EnvironmentProblem


def made(*latencies_ms: float, **venue: object) -> Summary:
    world = World("site-1", MINUTE, MINUTE)
    world.ack_latency_ms.extend(latencies_ms)
    return summarise(Ledger(), world, [], [], rules(**venue))


def test_percentiles_are_nearest_ranks() -> None:
    """Of 1 to 100 ms the 50th and the 99th, of one and two the first; of nothing nothing."""
    hundred, two, none = made(*range(100, 0, -1)), made(2.0, 1.0), made()

    assert (hundred.ack_p50_ms, hundred.ack_p99_ms) == (50.0, 99.0)
    assert (two.ack_p50_ms, two.ack_p99_ms) == (1.0, 2.0)
    assert (none.ack_p50_ms, none.ack_p99_ms) == (None, None)


def test_the_totals_are_in_the_venues_currency_and_simulated_if_the_venue_is() -> None:
    summary = made(currency="EUR", simulated=True)

    assert (summary.currency, summary.simulated) == ("EUR", True)


def test_the_file_is_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.json", made(7.0))

    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["ack_p50_ms"] == 7.0
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_file_that_cannot_be_written_is_one_error_and_leaves_no_draft(tmp_path: Path) -> None:
    """A folder stands where the file should be."""
    (tmp_path / "summary.json").mkdir()

    with pytest.raises(EnvironmentProblem, match="cannot write the summary"):
        write_summary(tmp_path / "summary.json", made())

    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]

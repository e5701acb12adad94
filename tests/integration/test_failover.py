"""Hot standby under load: the primary is killed or stopped, the standby goes on, nothing is sent twice."""

from pathlib import Path

from doubles.broken_bidder import no_fencing
from doubles.failover import fail_over_again_and_again


def test_six_failovers_leave_nothing_wrong(tmp_path: Path) -> None:
    """The long form is tests/long/failover.py."""
    toll = fail_over_again_and_again(tmp_path, rounds=6, seed=1)

    assert toll.kills >= 1, toll
    assert toll.stops >= 1, toll
    assert toll.verdict is not None
    assert toll.verdict.offers >= 6, toll
    assert toll.wrong == {}, toll


def test_without_a_fence_a_stale_primary_is_noticed(tmp_path: Path) -> None:
    toll = fail_over_again_and_again(tmp_path, rounds=4, seed=1, build=no_fencing)

    assert toll.stops >= 1, toll
    assert toll.wrong, toll

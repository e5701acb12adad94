"""A submitter killed and stopped at random points, a venue that loses replies: nothing twice, lost or too late."""

from pathlib import Path

import pytest
from doubles.broken_bidder import PLANTED, SYMPTOM
from doubles.submitter import kill_again_and_again


def test_twenty_kills_and_stops_leave_nothing_wrong(tmp_path: Path) -> None:
    """The long form, with a bound on what was not seen, is tests/long/kill_submitter.py."""
    toll = kill_again_and_again(tmp_path, kills=20, seed=1)

    assert toll.kills + toll.stops + toll.starved == 20
    assert toll.verdict.offers >= 20, toll
    assert toll.verdict.asked >= 1, toll
    assert toll.verdict.replies_lost >= 1, toll
    assert toll.wrong == {}, toll.unexpected or toll


@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug != "no fencing"])  # that one: test_failover.py
def test_the_harness_catches(bug: str, tmp_path: Path) -> None:
    """Each planted bug, within a few lives, by what it does."""
    toll = kill_again_and_again(tmp_path, kills=10, seed=2, build=PLANTED[bug], stop_share=0.0)

    assert SYMPTOM[bug] in toll.wrong, toll

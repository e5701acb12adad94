"""A submitter killed at random points, against a venue that loses replies: nothing twice, nothing lost."""

from pathlib import Path

from doubles.submitter import kill_again_and_again


def test_twenty_kills_make_no_duplicate_and_lose_no_offer(tmp_path: Path) -> None:
    """The long form, with a bound on what was not seen, is tests/long/kill_submitter.py."""
    toll = kill_again_and_again(tmp_path, kills=20, seed=1)

    assert toll.kills == 20
    assert toll.offers >= 20, toll
    assert toll.asked >= 1, toll
    assert (toll.duplicates, toll.lost) == (0, 0)

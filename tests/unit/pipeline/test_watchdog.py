"""A rollup that has stopped is noticed; one that has nothing to do is not taken for it."""

from pipeline.watchdog import Progress


def watched(*answers: tuple[float, int, int]) -> Progress[str]:
    """Return what is known after answers of (seconds, position, end)."""
    progress: Progress[str] = Progress()
    for at, position, end in answers:
        progress = progress.seen({"p0": position}, {"p0": end}, at)
    return progress


def test_lag_without_progress_for_thirty_seconds_is_stuck() -> None:
    progress = watched((0, 5, 9), (10, 5, 9), (29.9, 5, 12))

    assert progress.stuck(29.9) == []
    assert progress.stuck(30) == ["p0"]


def test_progress_or_nothing_to_do_is_not_stuck() -> None:
    assert watched((0, 5, 9), (29, 6, 9)).stuck(30) == []
    assert watched((0, 5, 5), (29, 5, 5), (40, 5, 9)).stuck(45) == []


def test_a_partition_that_went_to_another_worker_is_forgotten() -> None:
    assert watched((0, 5, 9)).seen({}, {}, 29).stuck(40) == []


def test_kafka_is_gone_after_ten_seconds_without_an_answer() -> None:
    assert not Progress[str]().is_gone(started_at=0, at=10)
    assert Progress[str]().is_gone(started_at=0, at=10.1)
    assert not watched((5, 1, 1)).is_gone(started_at=0, at=15)
    assert watched((5, 1, 1)).is_gone(started_at=0, at=15.1)

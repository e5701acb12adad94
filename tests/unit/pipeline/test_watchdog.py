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


def test_an_agent_that_leaves_records_for_ten_seconds_is_stuck() -> None:
    assert watched((0, 5, 9), (9.9, 5, 9)).agents_stuck({"p0": 9}, 9.9) == []
    assert watched((0, 5, 9), (10, 5, 9)).agents_stuck({"p0": 9}, 10) == ["p0"]


def test_a_partition_that_waits_while_another_is_caught_up_with_gets_a_minute() -> None:
    """p0 stands at 5 of 9; p1 moves, 1,001 records behind; with 1,000 behind nobody is catching up any more."""
    progress: Progress[str] = Progress()
    for at in range(60):
        progress = progress.seen({"p0": 5, "p1": at}, {"p0": 9, "p1": at + 1001}, at)

    assert progress.agents_stuck({"p0": 9, "p1": 59 + 1001}, 59) == []
    assert progress.agents_stuck({"p0": 9, "p1": 59 + 1000}, 59) == ["p0"]
    assert progress.agents_stuck({"p0": 9, "p1": 59 + 1001}, 60) == ["p0"]


def test_what_stands_itself_is_not_catching_up() -> None:
    """Both stand, p1 a thousand records behind: nothing is being caught up with."""
    progress: Progress[str] = Progress()
    for at in range(11):
        progress = progress.seen({"p0": 5, "p1": 0}, {"p0": 9, "p1": 5000}, at)

    assert progress.agents_stuck({"p0": 9, "p1": 5000}, 10) == ["p0", "p1"]


def test_kafka_is_gone_after_ten_seconds_without_an_answer() -> None:
    assert not Progress[str]().is_gone(started_at=0, at=10)
    assert Progress[str]().is_gone(started_at=0, at=10.1)
    assert not watched((5, 1, 1)).is_gone(started_at=0, at=15)
    assert watched((5, 1, 1)).is_gone(started_at=0, at=15.1)

"""A rollup that has stopped is noticed; one that has nothing to do is not taken for it."""

from pipeline.watchdog import AgentsProgress, Progress


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


def agents(
    *answers: tuple[float, dict[str, int], dict[str, int]], ends: dict[str, int], rebalancing: bool = False
) -> AgentsProgress[str]:
    """Return what is known of agents after answers of (seconds, taken in, committed)."""
    progress: AgentsProgress[str] = AgentsProgress()
    for at, taken, committed in answers:
        progress = progress.seen(taken, committed, ends, at, rebalancing=rebalancing)
    return progress


def test_an_agent_that_takes_nothing_in_for_ten_seconds_is_stuck() -> None:
    progress = agents((0, {"p0": 5}, {"p0": 5}), (9.9, {"p0": 5}, {"p0": 5}), ends={"p0": 9})

    assert progress.stuck(9.9) == []
    assert progress.stuck(10) == ["p0"]


def test_a_commit_may_take_a_minute_and_no_longer() -> None:
    """All nine are taken in, and five committed: as after a record that nobody acknowledges."""
    progress = agents((0, {"p0": 9}, {"p0": 5}), (59, {"p0": 9}, {"p0": 5}), ends={"p0": 9})

    assert progress.stuck(59.9) == []
    assert progress.stuck(60) == ["p0"]


def test_a_rebalance_may_take_a_minute_and_no_longer() -> None:
    answers = [(float(at), {"p0": 5}, {"p0": 5}) for at in range(60)]
    progress = agents(*answers, ends={"p0": 9}, rebalancing=True)

    assert progress.stuck(59.9) == []
    assert progress.stuck(60) == ["p0"]


def test_after_a_rebalance_the_ten_seconds_begin_anew() -> None:
    progress = agents((0, {"p0": 5}, {"p0": 5}), (20, {"p0": 5}, {"p0": 5}), ends={"p0": 9}, rebalancing=True)
    progress = progress.seen({"p0": 5}, {"p0": 5}, {"p0": 9}, 21)

    assert progress.stuck(30.9) == []
    assert progress.stuck(31) == ["p0"]


def test_a_partition_that_waits_while_another_is_caught_up_with_gets_a_minute() -> None:
    """Of p0 5 of 9 are taken in; p1 moves on, 1,001 records behind; at 1,000 behind nobody is catching up."""
    for behind, stuck in ((1001, []), (1000, ["p0"])):
        progress: AgentsProgress[str] = AgentsProgress()
        for at in range(30):
            progress = progress.seen({"p0": 5, "p1": at}, {"p0": at, "p1": at}, {"p0": 30, "p1": at + behind}, at)
        assert progress.stuck(30) == stuck


def test_what_stands_still_itself_is_not_catching_up() -> None:
    """Both stand, p1 thousands of records behind."""
    both = {"p0": 5, "p1": 0}
    progress = agents((0, both, both), (10, both, both), ends={"p0": 9, "p1": 5000})

    assert progress.stuck(10) == ["p0", "p1"]


def test_kafka_is_gone_after_ten_seconds_without_an_answer() -> None:
    assert not Progress[str]().is_gone(started_at=0, at=10)
    assert Progress[str]().is_gone(started_at=0, at=10.1)
    assert not watched((5, 1, 1)).is_gone(started_at=0, at=15)
    assert watched((5, 1, 1)).is_gone(started_at=0, at=15.1)

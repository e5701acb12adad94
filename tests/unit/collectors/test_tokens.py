"""Token counters that jobs hand in, as files and pushed."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.tokens import MAX_LENGTH, MAX_TEXTS, TokenBoard, Tokens, parse

PAGE = """
# HELP firmwatt_job_tokens_total Tokens of a job.
# TYPE firmwatt_job_tokens_total counter
firmwatt_job_tokens_total{job="chat"} 1.8e+07
firmwatt_job_tokens_total{job="chat",kind="prompt"} 5e6 1700000000000
firmwatt_job_tokens_total{ kind="prompt", job="batch \\"b\\"" } 7
firmwatt_job_tokens_total_created{job="chat"} 1.7e9
vllm:generation_tokens_total{model_name="m"} 3
"""


def line(count: float, job: str = "chat", **labels: str) -> str:
    """Return one sample."""
    named = ",".join(f'{name}="{text}"' for name, text in {"job": job, **labels}.items())
    return f"firmwatt_job_tokens_total{{{named}}} {count}\n"


def test_only_firmwatts_metric_is_read() -> None:
    """Comments, other metrics and a time stamp are passed over."""
    assert [(sample.job, sample.kind, sample.tokens) for sample in parse(PAGE)] == [
        ("chat", "", 18e6),
        ("chat", "prompt", 5e6),
        ('batch "b"', "prompt", 7),
    ]


@pytest.mark.parametrize(
    "malformed",
    [
        "firmwatt_job_tokens_total 5",
        'firmwatt_job_tokens_total{kind="prompt"} 5',
        'firmwatt_job_tokens_total{job="a"}',
        'firmwatt_job_tokens_total{job="a"} five',
        'firmwatt_job_tokens_total{job="a"} -5',
        'firmwatt_job_tokens_total{job="a"} NaN',
        'firmwatt_job_tokens_total{job="a"} +Inf',
    ],
)
def test_a_malformed_sample_is_an_error_and_not_a_count(malformed: str) -> None:
    with pytest.raises(ValueError, match=r"not a|no job"):
        parse(malformed)


@given(st.text())
def test_no_text_does_worse_than_that(text: str) -> None:
    """Whatever a job writes: samples, or a `ValueError` that becomes one line in the log."""
    try:
        samples = parse(text)
    except ValueError:
        return
    assert all(sample.tokens >= 0 for sample in samples)


def test_files_and_pushes_of_a_job_are_added_up(tmp_path: Path) -> None:
    """Ranks of 100 and 50 tokens in a file, 7 more pushed; nobody counts the prompt."""
    file = tmp_path / "train.prom"
    file.write_text(line(100, "train", rank="0") + line(50, "train", rank="1"))
    board = TokenBoard(str(tmp_path))
    now_s = file.stat().st_mtime

    board.push("elsewhere", line(7, "train") + line(9, "chat", kind="prompt"), now_s)

    assert board.read(now_s) == ({"train": Tokens(157), "chat": Tokens(None, 9)}, ())


def test_a_counter_that_starts_again_opens_a_new_epoch(tmp_path: Path) -> None:
    board = TokenBoard(str(tmp_path))
    file = tmp_path / "chat.prom"
    found = []
    for count in (100, 200, 5):
        file.write_text(line(count))
        found.append(board.read(file.stat().st_mtime)[0]["chat"])

    assert found == [Tokens(100, None, 0), Tokens(200, None, 0), Tokens(5, None, 1)]


def test_the_restart_of_one_rank_is_not_hidden_by_another() -> None:
    """Rank 0 loses 90, rank 1 makes 900 meanwhile."""
    board = TokenBoard()
    found = []
    for ranks in ((100, 100), (10, 1000)):
        board.push("train", "".join(line(count, rank=str(rank)) for rank, count in enumerate(ranks)), 0)
        found.append(board.read(0)[0]["chat"])

    assert found == [Tokens(200, None, 0), Tokens(1010, None, 1)]


def test_a_counter_that_joins_brings_all_it_ever_counted_and_is_not_believed_to_have_made_it_now() -> None:
    """A job that went on from a checkpoint; the epoch keeps its 10¹² tokens out of every difference."""
    board = TokenBoard()
    board.push("rank-0", line(100, rank="0"), 0)
    before = board.read(0)[0]["chat"]
    board.push("rank-1", line(1e12, rank="1"), 1)

    assert [before, board.read(1)[0]["chat"]] == [Tokens(100, None, 0), Tokens(1e12 + 100, None, 1)]


def test_a_rank_that_is_late_takes_nothing_back_and_brings_nothing_twice() -> None:
    """Rank 1 says 50, nothing for 100 s, then 80."""
    board = TokenBoard()
    found = []
    for now_s, ranks in ((0, {"0": 100, "1": 50}), (50, {"0": 110}), (100, {"0": 120}), (101, {"1": 80})):
        for rank, count in ranks.items():
            board.push(f"rank-{rank}", line(count, rank=rank), now_s)
        found.append(board.read(now_s)[0]["chat"])

    assert found == [Tokens(150), Tokens(160), Tokens(170), Tokens(200)]


def test_a_job_that_stops_counting_is_unknown_and_not_idle(tmp_path: Path) -> None:
    """The file was last written 61 seconds ago, and so was the push."""
    file = tmp_path / "chat.prom"
    file.write_text(line(5))
    os.utime(file, (1000, 1000))
    board = TokenBoard(str(tmp_path))
    board.push("train", line(7, "train"), 1000)

    assert board.read(1060)[0] == {"chat": Tokens(5), "train": Tokens(7)}
    assert board.read(1061)[0] == {}


def test_a_file_from_the_future_is_as_stale_as_one_from_the_past(tmp_path: Path) -> None:
    """A clock that was set back would keep it fresh for ever."""
    file = tmp_path / "chat.prom"
    file.write_text(line(5))
    os.utime(file, (1000, 1000))

    assert TokenBoard(str(tmp_path)).read(939)[0] == {}


def test_a_broken_file_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "bad.prom").write_text('firmwatt_job_tokens_total{job="a"} five\n')
    (tmp_path / "binary.prom").write_bytes(b"\xff\xfe")
    (tmp_path / "good.prom").write_text(line(5, "b"))
    (tmp_path / "huge.prom").write_text("#" * (MAX_LENGTH + 1))
    (tmp_path / "unfinished.prom.tmp").write_text(line(5, "c"))

    counted, problems = TokenBoard(str(tmp_path)).read((tmp_path / "good.prom").stat().st_mtime)

    assert counted == {"b": Tokens(5)}
    assert [problem.split(":")[0] for problem in problems] == ["bad.prom", "binary.prom", "huge.prom"]


def test_a_folder_full_of_files_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    for number in range(MAX_TEXTS + 1):
        (tmp_path / f"{number:03}.prom").write_text(line(1, rank=str(number)))

    counted, problems = TokenBoard(str(tmp_path)).read((tmp_path / "000.prom").stat().st_mtime)

    assert counted == {"chat": Tokens(MAX_TEXTS)}
    assert problems == (f"{tmp_path}: 257 files; the first 256 are read",)


def test_no_folder_and_no_push_means_nobody_counts() -> None:
    assert TokenBoard().read(0) == ({}, ())


def test_what_is_pushed_replaces_what_the_same_name_pushed_before() -> None:
    board = TokenBoard()
    for count in (100, 130):
        board.push("chat", line(count), 0)

    assert board.read(0)[0] == {"chat": Tokens(130)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('firmwatt_job_tokens_total{job="a"} five', "not a count"),
        ("#" * (MAX_LENGTH + 1), "longer than 1048576"),
        ("", "no firmwatt_job_tokens_total in it"),
        ('firmwatt_job_token_total{job="a"} 5\n', "no firmwatt_job_tokens_total in it"),
    ],
)
def test_a_push_that_is_refused_leaves_the_one_before(text: str, reason: str) -> None:
    board = TokenBoard()
    board.push("chat", line(100), 0)

    with pytest.raises(ValueError, match=reason):
        board.push("chat", text, 1)

    assert board.read(1)[0] == {"chat": Tokens(100)}


def test_pushes_are_bounded_in_number_until_old_ones_lapse() -> None:
    board = TokenBoard()
    for number in range(MAX_TEXTS):
        board.push(str(number), line(1, rank=str(number)), 0)

    with pytest.raises(ValueError, match="256 names push already"):
        board.push("one more", line(1), 60)
    board.push("one more", line(1), 61)

    assert board.read(61)[0] == {"chat": Tokens(1)}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90), st.booleans(), st.integers(0, 40)), max_size=30))
def test_tokens_are_never_taken_back_and_never_counted_twice(doings: list[tuple[int, int, bool, int]]) -> None:
    """Two ranks count, start again, and are late by any time: differences within an epoch are at most what was made."""
    board, counts, made, now_s = TokenBoard(), [0, 0], 0, 0
    found = [Tokens()]
    for rank, more, restarts, passed_s in doings:
        counts[rank] = more + (0 if restarts else counts[rank])
        made += more
        now_s += passed_s
        board.push(f"rank-{rank}", line(counts[rank], rank=str(rank)), now_s)
        found.append(board.read(now_s)[0]["chat"])

    differences = [
        later.tokens_total - earlier.tokens_total
        for earlier, later in pairwise(found)
        if later.epoch == earlier.epoch and later.tokens_total is not None and earlier.tokens_total is not None
    ]
    assert min(differences, default=0) >= 0
    assert sum(differences) <= made

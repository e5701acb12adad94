"""Token counters from text files."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.tokens import TokenFolder, Tokens, add_up, parse

PAGE = """
# HELP firmwatt_job_tokens_total Tokens of a job.
# TYPE firmwatt_job_tokens_total counter
firmwatt_job_tokens_total{job="chat"} 1.8e+07
firmwatt_job_tokens_total{job="chat",kind="prompt"} 5e6 1700000000000
firmwatt_job_tokens_total{ kind="prompt", job="batch \\"b\\"" } 7
firmwatt_job_tokens_total_created{job="chat"} 1.7e9
vllm:generation_tokens_total{model_name="m"} 3
"""


def test_only_firmwatts_metric_is_read() -> None:
    """Comments, other metrics and a time stamp are passed over."""
    assert parse(PAGE) == [("chat", "", 18e6), ("chat", "prompt", 5e6), ('batch "b"', "prompt", 7)]


@pytest.mark.parametrize(
    "line",
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
def test_a_malformed_sample_is_an_error_and_not_a_count(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a|no job"):
        parse(line)


@given(st.text())
def test_no_text_does_worse_than_that(text: str) -> None:
    """Whatever a job writes: samples, or a `ValueError` that becomes one line in the log."""
    try:
        samples = parse(text)
    except ValueError:
        return
    assert all(count >= 0 for _, _, count in samples)


def test_ranks_and_engines_of_a_job_are_added_up() -> None:
    """Two ranks of 100 and 50 tokens; nobody counts the prompt."""
    assert add_up([("train", "", 100), ("train", "", 50)]) == {"train": Tokens(tokens_total=150)}


def test_a_counter_that_starts_again_opens_a_new_epoch(tmp_path: Path) -> None:
    folder = TokenFolder(str(tmp_path))
    file = tmp_path / "chat.prom"
    found = []
    for count in (100, 200, 5):
        file.write_text(f'firmwatt_job_tokens_total{{job="chat"}} {count}\n')
        found.append(folder.read(file.stat().st_mtime)[0]["chat"])

    assert found == [Tokens(100, None, 0), Tokens(200, None, 0), Tokens(5, None, 1)]


def test_a_job_that_stops_counting_is_unknown_and_not_idle(tmp_path: Path) -> None:
    """The file was last written 61 seconds ago."""
    file = tmp_path / "chat.prom"
    file.write_text('firmwatt_job_tokens_total{job="chat"} 5\n')
    os.utime(file, (1000, 1000))

    assert TokenFolder(str(tmp_path)).read(1060)[0] == {"chat": Tokens(5)}
    assert TokenFolder(str(tmp_path)).read(1061)[0] == {}


def test_a_broken_file_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "bad.prom").write_text('firmwatt_job_tokens_total{job="a"} five\n')
    (tmp_path / "binary.prom").write_bytes(b"\xff\xfe")
    (tmp_path / "good.prom").write_text('firmwatt_job_tokens_total{job="b"} 5\n')
    (tmp_path / "unfinished.prom.tmp").write_text('firmwatt_job_tokens_total{job="c"} 5\n')

    counted, problems = TokenFolder(str(tmp_path)).read((tmp_path / "good.prom").stat().st_mtime)

    assert counted == {"b": Tokens(5)}
    assert [problem.split(":")[0] for problem in problems] == ["bad.prom", "binary.prom"]


def test_no_folder_means_nobody_counts() -> None:
    assert TokenFolder("").read(0) == ({}, ())

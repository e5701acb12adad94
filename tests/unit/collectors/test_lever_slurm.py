"""Jobs paused and resumed through a real `scontrol` process: which jobs, in what state, and what Slurm refuses."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.slurm_control import Slurm as Cluster
from doubles.slurm_program import DISABLED, NOT_SUPPORTED

from collectors.levers import FREE, Found, LeverError, Reading, apply
from collectors.levers.slurm import Settings, Slurm, connect, job_in
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import load

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return a Slurm on which job 42 runs on this node, n1."""
    slurm = Cluster(tmp_path / "slurm")
    slurm.run(42)
    return slurm


def lever_of(cluster: Cluster, timeout_s: float = 10) -> Slurm:
    """Return a lever on node n1."""
    return connect(Settings(scontrol=str(cluster.path), node="n1", timeout_s=timeout_s))


def refusal_of(lever: Slurm, level: float = 0, job: str = "42") -> LeverError:
    """Return what the lever says when *job* cannot be set."""
    with pytest.raises(LeverError) as refused:
        lever.set(job, level)
    return refused.value


def changes(cluster: Cluster) -> list[tuple[str, ...]]:
    """Return the runs of `scontrol` that were to change something."""
    return [call.words for call in cluster.calls if "show" not in call.words]


# Which jobs


def test_slurms_jobs_on_this_node_are_found_and_no_others(cluster: Cluster) -> None:
    """43 runs elsewhere, 44 is unknown to Slurm, and the rest are no numbers."""
    cluster.run(43, "n[2-3]")
    lever = lever_of(cluster)

    assert lever.kind is Kind.RUN
    assert lever.find(NOON, ("42", "43", "44", "chat-70b", "-1", "042", "42;reboot", "")) == (Found("42"),)


def test_the_controller_is_asked_about_each_job_once(cluster: Cluster) -> None:
    lever = lever_of(cluster)
    for minute in range(3):
        lever.find(NOON + timedelta(minutes=minute), ("42",))

    assert [call.words for call in cluster.calls] == [("--json", "show", "job", "42")]


def test_a_host_without_jobs_of_slurms_asks_nobody(cluster: Cluster) -> None:
    assert lever_of(cluster).find(NOON, ("chat-70b",)) == ()
    assert cluster.calls == []


def test_a_job_that_slurm_did_not_know_is_asked_about_again_after_half_a_minute(cluster: Cluster) -> None:
    lever = lever_of(cluster)
    early = lever.find(NOON, ("43",))
    cluster.run(43)
    soon, later = (lever.find(NOON + timedelta(seconds=wait_s), ("43",)) for wait_s in (29, 30))

    assert (early, soon, later) == ((), (), (Found("43"),))


def test_while_the_controller_is_away_whoever_claims_the_jobs_is_believed(cluster: Cluster) -> None:
    """One question for both jobs, and none for half a minute."""
    cluster.is_away()
    lever = lever_of(cluster)
    found = [lever.find(NOON + timedelta(seconds=wait_s), ("42", "43")) for wait_s in (0, 29)]
    asked = len(cluster.calls)
    cluster.mend()

    assert found == [(Found("42"), Found("43"))] * 2
    assert asked == 1
    assert lever.find(NOON + timedelta(seconds=30), ("42", "43")) == (Found("42"),)


def test_a_closed_lever_asks_anew(cluster: Cluster) -> None:
    lever = lever_of(cluster)
    lever.find(NOON, ("42",))
    lever.close()
    lever.find(NOON, ("42",))

    assert len(cluster.calls) == 2


# What it reads


def test_a_running_job_reads_one_and_a_suspended_one_nought(cluster: Cluster) -> None:
    lever = lever_of(cluster)
    running = lever.read("42")
    cluster.becomes(42, "SUSPENDED")

    assert running == Reading(subject="42", lowest=0, highest=1, requested=1, enforced=1)
    assert lever.read("42").requested == 0


def test_a_job_on_several_nodes_says_so_since_all_are_paused_at_once(cluster: Cluster) -> None:
    cluster.run(43, "n[1-4]")

    assert lever_of(cluster).read("43").note == "it also runs on 3 other nodes, and is paused on all at once"


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ("PENDING", Trouble.LOST),
        ("COMPLETING", Trouble.LOST),
        ("COMPLETED", Trouble.LOST),
        ("OUT_OF_MEMORY", Trouble.LOST),
        ("CONFIGURING", Trouble.FAILED),
    ],
)
def test_a_job_in_any_other_state_can_be_neither_read_nor_set(cluster: Cluster, state: str, trouble: Trouble) -> None:
    cluster.becomes(42, state)
    lever = lever_of(cluster)
    with pytest.raises(LeverError, match=f"job 42 is {state}") as told:
        lever.read("42")

    assert (told.value.trouble, refusal_of(lever).trouble) == (trouble, trouble)
    assert changes(cluster) == []


@pytest.mark.parametrize(
    ("states", "runs"),
    [(["RUNNING", "CONFIGURING"], True), ("RUNNING", True), (["SUSPENDED"], False), ("SUSPENDED", False)],
)
def test_states_are_read_as_releases_print_them(cluster: Cluster, states: Any, *, runs: bool) -> None:
    """A list since Slurm 23.11, one word before; flags stand beside the state."""
    cluster.run(42, job_state=states)
    with cluster._state() as known:
        known["jobs"]["42"]["job_state"] = states

    assert lever_of(cluster).read("42").requested == float(runs)


@pytest.mark.parametrize(
    ("array", "task", "address"),
    [
        (0, None, "42"),
        (0, {"set": True, "number": 0}, "42"),
        ({"set": True, "infinite": False, "number": 0}, {"set": False, "number": 0}, "42"),
        ({"set": False, "number": 9}, {"set": True, "number": 0}, "42"),
        ({"set": True, "number": 9}, {"set": False, "number": 0}, "42"),
        ({"set": True, "number": 9}, {"set": True, "number": 0}, "9_0"),
        (9, 0, "9_0"),
    ],
)
def test_numbers_are_read_as_releases_print_them(array: object, task: object, address: str) -> None:
    """One with `set` since Slurm 23.02, a plain one before."""
    job = {"job_id": 42, "job_state": ["RUNNING"], "nodes": "n1", "array_job_id": array, "array_task_id": task}

    assert job_in(json.dumps({"jobs": [job]}).encode(), "42").address == address


def test_of_all_jobs_an_older_slurm_answers_with_the_right_one_is_taken(cluster: Cluster) -> None:
    jobs = [{"job_id": number, "job_state": "RUNNING", "nodes": f"n{number}"} for number in (1, 42, 3)]

    assert job_in(json.dumps({"jobs": jobs}).encode(), "42").nodes == ("n42",)


@pytest.mark.parametrize(
    ("reply", "trouble", "words"),
    [
        (b"JobId=42\n", Trouble.FAILED, "answered no job"),
        (b'{"jobs": []}', Trouble.LOST, "Slurm knows no job 42"),
        (b'{"errors": [{"description": "Invalid job id specified"}]}', Trouble.LOST, "Invalid job id"),
        (b'{"errors": ["Zero Bytes were transmitted or received"]}', Trouble.FAILED, "Zero Bytes"),
    ],
)
def test_a_reply_without_the_job_is_an_error(reply: bytes, trouble: Trouble, words: str) -> None:
    with pytest.raises(LeverError, match=words) as told:
        job_in(reply, "42")

    assert told.value.trouble is trouble


# What it sets


def test_a_job_is_paused_and_resumed(cluster: Cluster) -> None:
    lever = lever_of(cluster)
    paused, resumed = apply(lever, "42", 0), apply(lever, "42", 1)

    assert (paused.requested, resumed.requested) == (0, 1)
    assert changes(cluster) == [("suspend", "42"), ("resume", "42")]


def test_free_lets_it_run(cluster: Cluster) -> None:
    cluster.becomes(42, "SUSPENDED")
    lever_of(cluster).set("42", FREE)

    assert cluster.state(42) == "RUNNING"


def test_what_is_so_already_is_no_error(cluster: Cluster) -> None:
    """A suspended job is suspended again, lest Slurm's time slicing resumes it; a running one is left in peace."""
    lever = lever_of(cluster)
    for level in (1, 0, 0):
        lever.set("42", level)

    assert changes(cluster) == [("suspend", "42")] * 2


def test_another_host_of_the_job_that_was_quicker_is_no_error(cluster: Cluster, tmp_path: Path) -> None:
    """Between our look and our resume the job is resumed from elsewhere: Slurm says that it is not suspended."""
    program = tmp_path / "scontrol-behind-another"
    program.write_text(f'#!/bin/sh\n[ "$1" = resume ] && {cluster.path} resume 42\nexec {cluster.path} "$@"\n')
    program.chmod(0o755)
    cluster.becomes(42, "SUSPENDED")
    connect(Settings(scontrol=str(program), node="n1")).set("42", 1)

    assert [call.code for call in cluster.calls if call.words[0] == "resume"] == [0, 1]


def test_one_task_of_an_array_is_named_by_array_and_index(tmp_path: Path) -> None:
    """Task 3 has the array's own number, 42, which alone would pause all of its tasks, on all nodes."""
    task = {"job_id": 42, "job_state": ["RUNNING"], "nodes": "n1", "array_job_id": {"set": True, "number": 42}}
    other = {**task, "job_id": 43, "nodes": "n9", "array_task_id": {"set": True, "number": 0}}
    reply = json.dumps({"jobs": [other, {**task, "array_task_id": {"set": True, "number": 3}}]})
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$*" >>"$0.calls"\n[ "$2" = show ] && echo \'{reply}\'\nexit 0\n')
    program.chmod(0o755)
    lever = connect(Settings(scontrol=str(program), node="n1"))
    for name in ("42", "42_3"):
        lever.set(name, 0)

    asked = (tmp_path / "scontrol.calls").read_text().splitlines()
    assert asked == ["--json show job 42", "suspend 42_3", "--json show job 42_3", "suspend 42_3"]


@pytest.mark.parametrize("level", [0.5, -1, float("nan")])
def test_half_a_job_is_out_of_range(cluster: Cluster, level: float) -> None:
    assert refusal_of(lever_of(cluster), level).trouble is Trouble.OUT_OF_RANGE
    assert cluster.calls == []


# What is refused


def test_who_is_no_operator_is_told_who_may(cluster: Cluster) -> None:
    cluster.denies()
    refused = refusal_of(lever_of(cluster))

    assert refused.trouble is Trouble.NO_PERMISSION
    assert str(refused) == (
        "scontrol: Access/permission denied for job 42; Slurm lets only its operators and administrators suspend jobs"
    )


def test_a_job_that_slurm_has_forgotten_is_lost(cluster: Cluster) -> None:
    cluster.forgets(42)
    lever = lever_of(cluster)
    with pytest.raises(LeverError, match="Invalid job id specified") as told:
        lever.read("42")

    assert (told.value.trouble, refusal_of(lever).trouble) == (Trouble.LOST, Trouble.LOST)


@pytest.mark.parametrize(("text", "trouble"), [(NOT_SUPPORTED, Trouble.NOT_SUPPORTED), (DISABLED, Trouble.FAILED)])
def test_slurms_own_words_are_passed_on(cluster: Cluster, text: str, trouble: Trouble) -> None:
    cluster.refuses(text)
    refused = refusal_of(lever_of(cluster))

    assert (refused.trouble, str(refused)) == (trouble, f"scontrol: {text} for job 42")


def test_a_controller_that_is_away_is_a_failure(cluster: Cluster) -> None:
    cluster.is_away()
    refused = refusal_of(lever_of(cluster))

    assert (refused.trouble, "Unable to contact slurm controller" in str(refused)) == (Trouble.FAILED, True)


def test_a_slurm_that_says_yes_and_does_nothing_is_found_out(cluster: Cluster) -> None:
    cluster.ignores()
    with pytest.raises(LeverError) as told:
        apply(lever_of(cluster), "42", 0)

    assert told.value.trouble is Trouble.NOT_TAKEN


def test_a_program_that_hangs_is_killed(cluster: Cluster) -> None:
    cluster.hangs()
    began = time.monotonic()
    refused = refusal_of(lever_of(cluster, timeout_s=0.2))

    assert (refused.trouble, "did not end within 0.2 s" in str(refused)) == (Trouble.HANGS, True)
    assert time.monotonic() - began < 5


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    refused = refusal_of(connect(Settings(scontrol=str(tmp_path / "scontrol"), node="n1")))

    assert (refused.trouble, "No such file or directory" in str(refused)) == (Trouble.FAILED, True)


@pytest.mark.parametrize("name", ["-42", "042", "42,43", "42_[0-9]", "42+1", "42\n", "4２", "job=42", ""])
def test_nothing_but_a_jobs_number_ever_reaches_the_program(cluster: Cluster, name: str) -> None:
    lever = lever_of(cluster)
    with pytest.raises(LeverError, match="no number of a Slurm job") as told:
        lever.read(name)

    assert (told.value.trouble, refusal_of(lever, 0, name).trouble) == (Trouble.NOT_SUPPORTED, Trouble.NOT_SUPPORTED)
    assert cluster.calls == []


def test_settings_name_the_program(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('[lever.slurm]\nscontrol = "/opt/slurm/bin/scontrol"\nnode = "n1"\n')

    assert load(file, "lever.slurm", Settings).timeout_s == 10
    with pytest.raises(ConfigError, match="needs the program scontrol"):
        connect(Settings(scontrol=""))

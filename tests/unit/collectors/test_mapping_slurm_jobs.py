"""What `scontrol` says in the words of Slurm 21.08 to 25.11."""

import json
from typing import Any

import pytest
from doubles.slurm import job
from hypothesis import given
from hypothesis import strategies as st

from collectors import SourceError
from collectors.mappings._slurm_jobs import MAX_NODES, Job, hosts, minors, parse


def reply(*jobs: dict[str, Any]) -> bytes:
    """Return these jobs as `scontrol` prints them."""
    return json.dumps({"meta": {}, "jobs": jobs, "errors": []}).encode()


def old(job: dict[str, Any]) -> dict[str, Any]:
    """Return *job* as 21.08 and 22.05 print it: one state, plain numbers, allocations by position."""
    resources = {"nodes": job["nodes"], "allocated_cpus": 8, "allocated_nodes": {"0": {"memory": 9000}}}
    return job | {"job_state": job["job_state"][0], "array_job_id": 0, "job_resources": resources}


def middle(job: dict[str, Any]) -> dict[str, Any]:
    """Return *job* as 23.02 prints it: one state, numbers that say whether they are set."""
    resources = {"nodes": job["nodes"], "allocated_hosts": 1, "allocated_nodes": [{"nodename": job["nodes"]}]}
    return job | {"job_state": job["job_state"][0], "job_resources": resources}


def number_in_a_wrapper(job: dict[str, Any]) -> dict[str, Any]:
    """Return *job* with its number as all other numbers are."""
    return job | {"job_id": {"set": True, "infinite": False, "number": job["job_id"]}}


def without_resources(job: dict[str, Any]) -> dict[str, Any]:
    """Return *job* as 25.05 prints it to those who may not see all of it."""
    return job | {"job_resources": {"allocated_nodes": None}}


ALICE = Job("4711", "alice", "physics", "batch", "normal", (0, 1, 2, 3, 6))


@pytest.mark.parametrize("shape", [old, middle, dict, number_in_a_wrapper, without_resources])
def test_a_running_job_is_understood_in_every_releases_shape(shape: Any) -> None:
    jobs, troubles = parse(reply(shape(job(4711, "gpu14", "gpu:h100:5(IDX:0-3,6)"))), "gpu14")

    assert (jobs, troubles) == ({"4711": ALICE}, ())


def test_of_a_job_on_several_nodes_only_this_nodes_gpus_count() -> None:
    """The details stand in the order of the node list."""
    running = job(1, "gpu[08-10]", "gpu:8(IDX:0-7)", "gpu:2(IDX:4,7)", "gpu:1(IDX:3)")

    assert [parse(reply(running), node)[0]["1"].minors for node in ("gpu08", "gpu09", "gpu10")] == [
        (0, 1, 2, 3, 4, 5, 6, 7),
        (4, 7),
        (3,),
    ]


def test_jobs_elsewhere_are_not_this_nodes() -> None:
    assert parse(reply(job(1, "gpu1", "gpu:1(IDX:0)"), job(2, "gpu11", "gpu:1(IDX:0)")), "gpu01") == ({}, ())


@pytest.mark.parametrize(
    ("state", "holds"),
    [
        (["RUNNING"], True),
        ("RUNNING", True),
        (["SUSPENDED"], True),
        (["RUNNING", "CONFIGURING"], True),
        (["CANCELLED", "COMPLETING"], True),
        (["COMPLETED"], False),
        ("PENDING", False),
        (["FAILED"], False),
        ([], False),
        (None, False),
    ],
)
def test_a_job_holds_its_gpus_until_it_has_left_the_node(state: Any, holds: bool) -> None:  # noqa: FBT001 - a column
    jobs, _ = parse(reply(job(1, "n1", "gpu:1(IDX:0)") | {"job_state": state}), "n1")

    assert bool(jobs) == holds


@pytest.mark.parametrize(
    ("detail", "numbers"),
    [
        ("gpu:h100:4(IDX:0-3)", (0, 1, 2, 3)),
        ("gpu:4(IDX:0-2,6)", (0, 1, 2, 6)),
        ("gpu:(null):2(IDX:5,7)", (5, 7)),
        ("gres/gpu:a100:1(IDX:2)", (2,)),
        ("license:1,gpu:h100:1(IDX:0),gpu:a100:2(IDX:1-2)", (0, 1, 2)),
        ("gpu:0(IDX:N/A)", ()),
        ("gpu:2", ()),
        ("shard:4(1/8,3/8)", ()),
        ("craynetwork:1(IDX:0)", ()),
        ("", ()),
        ("gpu:h100:4(IDX:3-0)", ()),
    ],
)
def test_gpu_numbers_are_read_from_the_details_of_every_release(detail: str, numbers: tuple[int, ...]) -> None:
    assert minors(detail) == numbers


def test_a_job_on_a_share_of_a_gpu_is_said_to_be_untold() -> None:
    jobs, troubles = parse(reply(job(5, "n1", "shard:2(2/4,0/4)")), "n1")

    assert jobs["5"].minors == ()
    assert troubles == ("job 5 uses a share of a GPU (shard), which Slurm does not name: it stays T0",)


@pytest.mark.parametrize(
    ("names", "expanded"),
    [
        ("gpu[08-10],cpu1", ["gpu08", "gpu09", "gpu10", "cpu1"]),
        ("n9", ["n9"]),
        ("r[0-1]n[1-2]", ["r0n1", "r0n2", "r1n1", "r1n2"]),
        ("gpu[1,3]-ib", ["gpu1-ib", "gpu3-ib"]),
        ("gpu[098-101]", ["gpu098", "gpu099", "gpu100", "gpu101"]),
        ("", []),
    ],
)
def test_host_lists_are_expanded_as_slurm_writes_them(names: str, expanded: list[str]) -> None:
    assert list(hosts(names)) == expanded


def test_absurd_gpu_numbers_do_not_fill_the_memory() -> None:
    assert len(minors("gpu:1(IDX:0-999999999)")) == 256
    assert minors(f"gpu:1(IDX:{'9' * 5000})") == ()


def test_an_absurd_host_list_does_not_fill_the_memory() -> None:
    assert sum(1 for _ in hosts("n[0-999999999]")) == MAX_NODES
    assert sum(1 for _ in hosts("n[0-99999]m[0-99999]")) == MAX_NODES


@pytest.mark.parametrize(
    "text", [b"", b"slurm_load_jobs error", b"[]", b'{"jobs": 7}', b'{"jobs": [{"job_state": 1}]}']
)
def test_a_reply_that_lists_no_jobs_is_an_error(text: bytes) -> None:
    with pytest.raises(SourceError, match="no list of jobs"):
        parse(text, "n1")


def test_an_error_in_the_reply_is_said() -> None:
    text = b'{"jobs": [], "errors": [{"error": "x", "description": "Unable to contact slurm controller"}]}'

    with pytest.raises(SourceError, match="Unable to contact slurm controller"):
        parse(text, "n1")


@pytest.mark.parametrize("text", [b'{"jobs": []}', b'{"jobs": null}'])
def test_a_cluster_without_jobs_is_no_error(text: bytes) -> None:
    assert parse(text, "n1") == ({}, ())


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_details_and_host_lists(text: str) -> None:
    assert all(isinstance(number, int) for number in minors(text))
    assert all(isinstance(name, str) for name in hosts(text))


scraps = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries(dict.fromkeys(job(1, "n1"), scraps) | {"nodes": st.just("n1") | scraps}))
def test_no_shape_of_a_job_breaks_the_reader(shape: dict[str, Any]) -> None:
    try:
        parse(reply(shape), "n1")
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is fine

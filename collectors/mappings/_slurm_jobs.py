"""
What `scontrol show jobs --json` says of one node. Pure, and lenient: the shape differs from release to release.

    release (data parser)   job_state       numbers                       nodes
    21.08, 22.05            "RUNNING"       7                             nodes: "gpu[01-02]"
    23.02 (v0.0.39)         "RUNNING"       {"set": true, "number": 7}    nodes: "gpu[01-02]"
    23.11 and later         ["RUNNING"]     {"set": true, "number": 7}    nodes: "gpu[01-02]"

GPUs are in `gres_detail`, one text for each of the job's nodes in their order: ``gpu:h100:4(IDX:0-3,6)``. IDX counts in
the order of gres.conf, which is that of the device files' minor numbers. Nothing here knows of control groups, whose
names carry no job number since Slurm 26.05 (slurm-job-exporter#66).
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from collectors import SourceError

MAX_NODES = 1 << 17
"""A node list longer than this is no node list; the largest Slurm machines have some ten thousand nodes."""
MAX_GPUS = 256
"""More numbers than this are no node's GPUs."""

ENDED = frozenset(
    "PENDING COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY REVOKED".split()  # noqa: SIM905 - as the manual lists them
)
"""States in which a job holds no node, unless it is COMPLETING as well (squeue manual, job state codes)."""

_GPUS = re.compile(r"(?:^|[,/])gpu:(?:[^,]*?:)?\d+\(IDX:([\d,-]*)\)")
_SHARES = re.compile(r"(?:^|[,/])(shard|mps):")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_RANGES = re.compile(r"([^\[\]]*)(?:\[([\d,-]+)\])?")


class Job(NamedTuple):
    """One job that holds GPUs or anything else of this node; what Slurm does not tell is empty."""

    number: str
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    minors: tuple[int, ...] = ()
    """Of the device files of its GPUs on this node."""


class _Job(msgspec.Struct):
    job_id: Any
    job_state: Any = ""
    nodes: Any = ""
    gres_detail: Any = ()
    user_name: Any = ""
    account: Any = ""
    partition: Any = ""
    qos: Any = ""


class _Reply(msgspec.Struct):
    jobs: list[_Job] | None
    errors: list[Any] | None = None


def parse(reply: bytes, node: str) -> tuple[dict[str, Job], tuple[str, ...]]:
    """
    Return the jobs on *node* by number, and a line for each one whose GPUs cannot be told.

    Raise `SourceError` for a reply that is none.
    """
    try:
        document = msgspec.json.decode(reply, type=_Reply)
    except msgspec.DecodeError as error:
        raise SourceError(f"scontrol answered no list of jobs: {error}") from error
    if document.errors and not document.jobs:
        raise SourceError(f"scontrol answered an error: {_error_text(document.errors[0])}")
    jobs: dict[str, Job] = {}
    troubles: list[str] = []
    for raw in document.jobs or []:
        if not _holds_nodes(raw.job_state):
            continue
        position = next((at for at, name in enumerate(hosts(_text(raw.nodes))) if name == node), None)
        if position is None:
            continue
        number = _number(raw.job_id)
        detail = _detail(raw.gres_detail, position)
        if share := _SHARES.search(detail):
            troubles.append(f"job {number} uses a share of a GPU ({share[1]}), which Slurm does not name: it stays T0")
        jobs[number] = Job(
            number, _text(raw.user_name), _text(raw.account), _text(raw.partition), _text(raw.qos), minors(detail)
        )
    return jobs, tuple(troubles)


def minors(detail: str) -> tuple[int, ...]:
    """Return the GPU numbers in *detail*: ``gpu:h100:4(IDX:0-2,6),gpu:a100:1(IDX:7)`` is 0, 1, 2, 6 and 7."""
    numbers = (int(number) for ranges in _GPUS.findall(detail) for number in _numbers(ranges))
    return tuple(itertools.islice(numbers, MAX_GPUS))


def hosts(names: str) -> Iterator[str]:
    """
    Yield the nodes of a Slurm host list in its order: ``gpu[08-10],cpu1`` is gpu08, gpu09, gpu10 and cpu1.

    Of several ranges in a name the last one runs fastest; of a list longer than `MAX_NODES` only the beginning comes.
    """
    every = itertools.chain.from_iterable(_expanded(name) for name in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", names))
    return itertools.islice(every, MAX_NODES)


def _expanded(name: str) -> Iterator[str]:
    parts: list[list[str]] = []
    for text, ranges in _RANGES.findall(name):
        parts += [[text], list(itertools.islice(_numbers(ranges), MAX_NODES)) if ranges else [""]]
    return ("".join(chosen) for chosen in itertools.product(*parts))


def _numbers(ranges: str) -> Iterator[str]:
    """Yield the numbers of ``0-3,06`` with the leading zeros they are written with."""
    for part in ranges.split(","):
        if told := _RANGE.fullmatch(part):
            first, last = told[1], told[2] or told[1]
            for number in range(int(first), int(last) + 1):
                yield f"{number:0{len(first)}d}"


def _holds_nodes(state: Any) -> bool:
    states = {word for word in _texts(state) if word}
    return bool(states) and ("COMPLETING" in states or not states & ENDED)


def _detail(gres_detail: Any, position: int) -> str:
    """Return what *gres_detail* says of the node at *position* of the job's nodes."""
    details = _texts(gres_detail)
    return details[position] if position < len(details) else ""


def _texts(field: Any) -> list[str]:
    """Return the texts of a field that is one text or a list of them."""
    return [_text(one) for one in (field if isinstance(field, list) else [field])]


def _number(field: Any) -> str:
    return str(field.get("number", "") if isinstance(field, dict) else field)


def _text(field: Any) -> str:
    return field if isinstance(field, str) and field != "(null)" else ""


def _error_text(error: Any) -> str:
    return str(error.get("description") or error.get("error") or error) if isinstance(error, dict) else str(error)
